#!/usr/bin/perl

# Tests for the stream of commands: what a producer has not acknowledged stays, and
# what has no room is refused; data is there once.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Redis;
use Test::RTBus::SocketIO;
use Test::RTBus::WebSocket;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server')
	->plan(32);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $redis_url = $redis->url();

$t->write_file_expand('nginx.conf', <<"EOC");

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis    $redis_url;
    rtbus_prefix   p:;
    rtbus_command  few    stream=few maxlen=5;
    rtbus_command  asked  stream=few maxlen=5 reply=30s;
    rtbus_command  loose  stream=loose maxlen=5;
    rtbus_command  plain;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location /io/ {
            rtbus socketio;
        }

        location = /ws {
            rtbus websocket;
        }

        location = /submit {
            rtbus_submit few;
        }

        location = /status {
            rtbus_status;
        }
    }
}

EOC

$t->run();
wait_redis($t);

wait_for { !ref $redis->try_cmd('FCALL_RO', 'rtbus_version', 0) } 'library';

my $ws = Test::RTBus::WebSocket->connect(path => '/ws');
my $io = Test::RTBus::SocketIO->connect(path => '/io/');
$io->join_nsp();

my $n = 0;

###############################################################################

# data once

for my $case ([ '["plain"]', 'null', '[]' ], [ '["plain",{"a":1}]', '{"a":1}',
	undef ], [ '["plain", [1,2] ]', '[1,2]', undef ],
	[ '["plain",1,"two"]', '1', '[1,"two"]' ])
{
	my ($text, $data, $args) = @$case;

	$io->send_text('42' . ++$n . $text);
	$io->wait_ack($n);

	my $c = $redis->take('p:rtbus:commands');

	is($c->{data}, $data, "$text: data");
	is($c->{args}, $args, "$text: args");
}

# without a group the last ones are there

is(ask('loose', $_)->{ok}, JSON::PP::true, "no group, $_") for 1, 7;
ask('loose', $_) for 8 .. 14;
is(join(' ', data('p:loose')), '10 11 12 13 14', 'no group: the last ones');

# what a group has not read is not cut

$redis->cmd('XGROUP', 'CREATE', 'p:few', 'one', 0, 'MKSTREAM');

ask('few', $_) for 1 .. 5;
is(ask('few', 6)->{error}, 'busy', 'not read: full');
is(join(' ', data('p:few')), '1 2 3 4 5', 'not read: all there');

# ... nor what it has read and not acknowledged

my @ids = take('one');
is(ask('few', { ackId => 'a' })->{error}, 'busy', 'not acknowledged: full');

my $r = submit(1);
is($r->status(), 503, 'full over HTTP');
is($r->body(), '{"error":"busy"}', 'with the reason');
ok($r->header('Retry-After'), 'and when to try again');

is(ask('asked', 1)->{error}, 'busy', 'full, with reply=');

# what is acknowledged makes room, and nothing else

$redis->cmd('XACK', 'p:few', 'one', $ids[1]);
is(ask('few', 6)->{error}, 'busy', 'one in the middle: full');

$redis->cmd('XACK', 'p:few', 'one', $ids[0]);
is(ask('few', { ackId => 'a' })->{ok}, JSON::PP::true,
	'acknowledged: room, and the ackId was not used up');
is(join(' ', data('p:few')), '3 4 5 {"ackId":"a"}', 'those are gone');
ok(ask('few', { ackId => 'a' })->{ok}, 'the same again');
is($redis->cmd('XLEN', 'p:few'), 4, 'is not added');

# of several groups the slowest counts

$redis->cmd('XGROUP', 'CREATE', 'p:few', 'two', $ids[2]);
push @ids, take('one');
$redis->cmd('XACK', 'p:few', 'one', @ids);

is(ask('few', 7)->{ok}, JSON::PP::true, 'two groups: room for one');
is(ask('few', 8)->{ok}, JSON::PP::true, 'and for what the other has read');
is(join(' ', data('p:few')), '4 5 {"ackId":"a"} 7 8',
	'the other group still has all of its');
is(ask('few', 9)->{error}, 'busy', 'two groups: full');

$redis->cmd('XACK', 'p:few', $_, take($_)) for 'one', 'two';
is(ask('few', 9)->{ok}, JSON::PP::true, 'both are done');
is(join(' ', data('p:few')), '9', 'all the others are gone');

# a stream that was evicted has no group

$redis->cmd('DEL', 'p:few');
ask('few', $_) for 1 .. 7;
is($redis->cmd('XLEN', 'p:few'), 5, 'evicted: goes on');

error_log_like($t, qr/\[error\] .*stream "few" is full/, 'logged');
like(http_get('/status'), qr/rtbus_commands_total\{result="busy"\} [1-9]/,
	'counted');

###############################################################################

sub ask {
	my ($event, $data) = @_;

	$ws->send_json({ event => $event, data => $data, ack => ++$n });

	return $ws->wait_ack($n)->{data};
}

sub submit {
	my ($data) = @_;

	my $c = Test::RTBus::Client->open_client(method => 'POST');

	$c->send_raw("POST /submit HTTP/1.1\r\nHost: localhost\r\n"
		. "Content-Length: " . length($data) . "\r\n\r\n$data");
	$c->read_body() if $c->read_head();

	return $c;
}

sub data {
	my ($stream) = @_;

	return map { { @{$_->[1]} }->{data} }
		@{$redis->cmd('XRANGE', $stream, '-', '+')};
}

sub take {
	my ($group) = @_;

	my $r = $redis->cmd('XREADGROUP', 'GROUP', $group, 'c', 'STREAMS', 'p:few',
		'>') or return;

	return map { $_->[0] } @{$r->[0][1]};
}

###############################################################################
