#!/usr/bin/perl

# Tests for the mailboxes of workers: each has one, under a name that nobody
# knows beforehand, and it is no channel: no client may listen to it or publish
# to it, whatever the rules say, since answers to commands come that way.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Redis;
use Test::RTBus::WebSocket;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server')
	->plan(17);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $redis_url = $redis->url();

$t->write_file_expand('nginx.conf', <<"EOC");

%%TEST_GLOBALS%%

daemon off;
worker_processes 2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis   $redis_url;
    rtbus_prefix  test:;
    rtbus_allow   *;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location /ws {
            rtbus websocket;
        }

        location ~ ^/publish/(.+)\$ {
            rtbus_publish \$1;
        }
    }
}

EOC

$t->run();

###############################################################################

my $n = 0;
my @boxes = boxes(2);

is(scalar @boxes, 2, 'a mailbox for each worker');
isnt($boxes[0], $boxes[1], 'of its own');
like($_, qr/^test:rtbus:worker:[A-Za-z0-9_-]{12}$/, 'name') for @boxes;

# not for clients

my $name = $boxes[0] =~ s/^test://r;
my $ws = Test::RTBus::WebSocket->connect(path => '/ws');

is_deeply(ask($name),
	{ ok => json_decode('false'), error => 'forbidden' }, 'subscribe');
is_deeply(ask('rtbus:worker:'),
	{ ok => json_decode('false'), error => 'forbidden' }, 'the bare name');
ok(ask('rtbus:worke')->{ok},
	'another channel');

my $r = post("/publish/$name", '{"event":"e"}');

like($r, qr/ 400 .*"error":"bad channel"/s, 'publish');
like(post('/publish/rtbus:worke', '{"event":"e"}'), qr/ 201 /, 'another');

# what is no message of anybody is dropped, with a word in the log

for my $junk ('', '{', '[]', '"ack"', '{}', '{"none":1}', "{\"ack\":\"\xff\"}") {
	is($redis->cmd('PUBLISH', $boxes[0], $junk), 1, 'received');
}

error_log_like($t, qr/message to the worker's mailbox dropped: /,
	'junk in the log');

###############################################################################

# Redis is asked until so many mailboxes are there.

sub boxes {
	my ($n) = @_;
	my @names;

	wait_for {
		@names = sort @{$redis->cmd('PUBSUB', 'CHANNELS',
			'test:rtbus:worker:*')};
		@names == $n;
	} 'mailboxes';

	return @names;
}

sub ask {
	my ($channel) = @_;

	$ws->send_json({ event => 'subscribe', data => { channel => $channel },
		ack => ++$n });

	return ($ws->wait_ack($n) || {})->{data} || {};
}

sub post {
	my ($uri, $body) = @_;
	my $length = length $body;

	return http(<<"EOR" . $body);
POST $uri HTTP/1.0
Host: localhost
Content-Length: $length

EOR
}

###############################################################################
