#!/usr/bin/perl

# Tests for the end of a WebSocket connection, RFC 6455 section 7: close frames
# are answered and waited for, but for no longer than the linger, and however a
# connection ends, nothing of it stays.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Redis;
use Test::RTBus::WebSocket;

use Time::HiRes qw/ time /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http stub_status /)
	->has_daemon('redis-server')->plan(86);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $redis_url = $redis->url();

$t->write_file_expand('nginx.conf', <<"EOC");

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis  $redis_url;
    rtbus_allow  job:*;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location /ws {
            rtbus websocket;
            rtbus_subscribe job:all;
        }

        # without a pong the server closes

        location /soon {
            rtbus websocket;
            rtbus_subscribe job:soon;
            rtbus_ping 100ms 100ms;
        }

        location /none {
            rtbus websocket;
        }

        location /status {
            stub_status;
        }
    }
}

EOC

$t->run();
wait_redis($t);

###############################################################################

my ($CONT, $TEXT, $CLOSE, $PING) = (0, 1, 8, 9);

# those who wait for the linger are started first

my $ws = Test::RTBus::WebSocket->connect(path => '/soon', auto_pong => 0,
	auto_close => 0);
my $mute = Test::RTBus::WebSocket->connect(path => '/soon', auto_pong => 0,
	auto_close => 0);
my $bad = Test::RTBus::WebSocket->connect(path => '/none',
	auto_close => 0);

my $began = time();

$bad->send_frame(rsv => 4);
is(($bad->read_close())[0], 1002, 'violation');

# the server waits for the answer to its close frame, and does nothing else

my ($code, $reason) = $ws->read_close();

is($code, 1011, 'server closes');
is($reason, 'ping timeout', 'server closes, reason');
is(($mute->read_close())[0], 1011, 'server closes another');

$ws->send_raw(frame(payload => subscribe(1)) . frame(opcode => $PING)
	. frame(payload => 'not json') . frame(opcode => 2));
is($redis->event('job:soon', 'e', 'late'), 1, 'event');

ok(!$ws->wait_eof(0.2), 'server waits for the answer');
is(frames($ws), 'close', 'nothing comes after a close frame');

$ws->send_close(1011);
ok($ws->wait_eof(4), 'server closes after the answer');

# an answer that is no good is one, too

$ws = Test::RTBus::WebSocket->connect(path => '/soon', auto_pong => 0,
	auto_close => 0);

is(($ws->read_close())[0], 1011, 'server closes again');
$ws->send_frame(opcode => $CLOSE, payload => 'x');
ok($ws->wait_eof(4), 'server closes after a bad answer');

$ws = Test::RTBus::WebSocket->connect(path => '/soon', auto_pong => 0,
	auto_close => 0);

is(($ws->read_close())[0], 1011, 'server closes once more');
$ws->shut_write();
ok($ws->wait_eof(4), 'server closes after the end');

# codes

for my $code (1000 .. 1003, 1007 .. 1014, 3000, 3999, 4000, 4999) {
	$ws = client();

	$ws->send_close($code);
	is(join(' ', $ws->read_close()), "$code ", "close $code");
	ok($ws->wait_eof(4), "close $code, end");
}

$ws = client();

$ws->send_close();
is(($ws->read_close())[0], 1005, 'close without a code');
ok($ws->wait_eof(4), 'close without a code, end');

for my $reason ('bye', "\xe2\x82\xac\xf0\x9d\x84\x9e", 'x' x 123, "\0") {
	$ws = client();

	$ws->send_close(4000, $reason);
	is(($ws->read_close())[0], 4000,
		"reason of @{[ length $reason ]} bytes");
}

# in pieces, and within a message

$ws = client();

$ws->send_bytewise(frame(opcode => $CLOSE,
	payload => pack('n', 4001) . 'cut'));
is(($ws->read_close())[0], 4001, 'close cut at every byte');

$ws = client();

$ws->send_raw(frame(fin => 0, payload => 'begun')
	. frame(opcode => $CLOSE, payload => pack 'n', 4002));
is(($ws->read_close())[0], 4002, 'close within a message');
ok($ws->wait_eof(4), 'close within a message, end');

# what was sent behind a close frame

for my $case (
	[ 'message', frame(payload => subscribe(1)) ],
	[ 'ping', frame(opcode => $PING) ],
	[ 'close', frame(opcode => $CLOSE, payload => pack 'n', 4999) ],
	[ 'rubbish', "\xff" x 100 ],
	[ 'half a frame', "\x81" ],
)
{
	my ($name, $bytes) = @$case;

	$ws = client();

	$ws->send_raw(frame(opcode => $CLOSE, payload => pack 'n', 4003)
		. $bytes);
	is(($ws->read_close())[0], 4003, "close with a $name behind it");
	ok($ws->wait_eof(4), "close with a $name behind it, end");
	is(frames($ws), 'close', "$name behind a close is ignored");
}

# who has nothing to add may shut its side at once; the worker sees both at once

$ws = client();

halted(sub {
	$ws->send_raw(frame(opcode => $CLOSE, payload => pack 'n', 4004));
	$ws->shut_write();
});

is(($ws->read_close())[0], 4004, 'close and the end');

$ws = client();

halted(sub {
	$ws->send_raw(frame(rsv => 4));
	$ws->shut_write();
});

is(($ws->read_close())[0], 1002, 'violation and the end');
ok($ws->wait_eof(4), 'violation and the end, end');

# what was sent in front of it

$ws = client();

$ws->send_raw(frame(payload => subscribe(1)) . frame(opcode => $PING)
	. frame(opcode => $CLOSE));
is(($ws->read_close())[0], 1005, 'close behind a message');
like(frames($ws), qr/pong.*close$/, 'message before a close is not ignored');

# no ceremony

for my $case (
	[ 'end', '' ],
	[ 'end in a frame', substr frame(payload => 'hello'), 0, 8 ],
	[ 'end in a head', substr frame(payload => 'hello'), 0, 1 ],
	[ 'end in a ping', substr frame(opcode => $PING, payload => 'hello'),
		0, 8 ],
	[ 'end in a message', frame(fin => 0, payload => 'hello') ],
)
{
	my ($name, $bytes) = @$case;

	$ws = client();

	$ws->send_raw($bytes);
	$ws->shut_write();
	is(join(' ', $ws->read_close(4)), '1006 ', $name);

	$ws = client();

	$ws->send_raw($bytes);
	$ws->reset();
}

error_log_like($t, qr/\[info\] .*without a close frame/, 'end is logged');

$ws = client();
$ws->drop();

# linger

ok(!$mute->eof(), 'server waits for an answer');

$mute->wait_eof();
between(time() - $began, 5, 20, 'server waits no longer than the linger');

# this one could go on for ever: what it sends is read and dropped

ok((wait_for { !$bad->send_raw('x' x 1000) } 'end of the linger'),
	'server reads no longer than the linger');
between(time() - $began, 4.9, 20, 'linger after a violation');

# all are gone, and so are their subscriptions

like((wait_for {
	http_get('/status') =~ /Active connections: (1)\D/ && $1
} 'the end of all connections'), qr/1/, 'no connection is left');

ok($redis->wait_subscribers('job:all', 0), 'no subscription is left');

error_log_unlike($t, qr/\[(?:warn|error|crit)\].*client:/,
	'nothing to complain of');

###############################################################################

sub client {
	my $ws = Test::RTBus::WebSocket->connect(path => '/ws', timeout => 5,
		auto_close => 0);

	$ws->wait_event('connected');

	return $ws;
}

sub frame {
	return Test::RTBus::WebSocket->frame(@_);
}

sub subscribe {
	my ($ack) = @_;

	return json_encode({ event => 'subscribe', ack => $ack,
		data => { channel => 'job:other' } });
}

# what has come, without messages of the server's own

sub frames {
	my ($ws) = @_;
	my @seen;

	while (my $f = $ws->recv(0)) {
		push @seen, $f->{opcode} == $CLOSE ? 'close'
			: $f->{opcode} == $PING ? 'ping'
			: $f->{opcode} != $TEXT ? 'pong'
			: $f->{message} =~ /"ack"/ ? 'ack'
			: $f->{message} =~ /"e"/ ? 'event' : ();
	}

	return join ' ', grep { $_ ne 'ping' } @seen;
}

# does something while the worker sleeps

sub halted {
	my ($code) = @_;

	my ($pid) = workers($t);

	kill 'STOP', $pid;

	wait_for {
		open my $fh, '<', "/proc/$pid/stat" or die "No worker\n";
		<$fh> =~ /\) T /;
	} 'the worker to halt';

	$code->();

	kill 'CONT', $pid;
}

sub between {
	my ($value, $low, $high, $name) = @_;

	ok($value >= $low && $value <= $high, $name)
		or diag("$value is not between $low and $high");
}

###############################################################################
