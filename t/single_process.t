#!/usr/bin/perl

# Tests for nginx in one process, as it is run under a debugger or a profiler
# (master_process off): all works, only nobody is told when it ends.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Redis;
use Test::RTBus::SSE;
use Test::RTBus::WebSocket;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server');

plan(skip_all => 'the module is not built') unless module_file();

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

$t->write_file_expand('nginx.conf', <<"CONF")->plan(13);

%%TEST_GLOBALS%%

daemon off;
master_process off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis $url;
    rtbus_allow *;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location / {
            rtbus websocket sse;
            rtbus_subscribe \$arg_channel;
        }

        location /state/ {
            rtbus_state job:42;
        }

        location /publish/ {
            rtbus_publish job:42 live;
        }
    }
}

CONF

$redis->cmd('HSET', '{job:42}:state', 'status', 'running');

$t->run();

###############################################################################

for my $round (1, 2) {
	my $ws = Test::RTBus::WebSocket->connect(path => '/');
	my $sse = Test::RTBus::SSE->connect(path => '/?channel=job:42');

	my $joined = wait_for {
		$ws->send_json({ event => 'subscribe',
			data => { channel => 'job:42' }, ack => 1 });
		$ws->wait_ack(1)->{data}{ok};
	} 'a subscription';

	ok($joined, "subscribed, $round");
	is($redis->subscribers('job:42'), 1, "one subscription, $round");

	my $body = '{"event":"hello","data":1}';

	like(http("POST /publish/ HTTP/1.0\r\nContent-Length: "
		. length($body) . "\r\n\r\n$body"), qr/ 201 /,
		"published, $round");
	ok($ws->wait_event('hello') && $sse->wait_event('hello'),
		"received, $round");
	like(http_get('/state/'), qr/ 200 .*running/s, "state, $round");

	if ($round == 1) {
		$t->stop();

		ok($ws->wait_eof() && $sse->wait_eof(), 'closed at the end');

		$t->run();
		next;
	}

	# a short end, too

	kill 'TERM', master($t);

	ok($ws->wait_eof() && $sse->wait_eof(), 'closed by a signal');
	ok((wait_for { !-e $t->testdir() . '/nginx.pid' } 'the end'), 'end');

	$t->run();
}

###############################################################################
