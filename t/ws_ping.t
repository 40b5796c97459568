#!/usr/bin/perl

# Tests for rtbus_ping over WebSocket: a connection whose client is gone without
# a word, as phones and laptops go, is found out and ended; one that shows any
# sign of life stays.

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

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server')
	->plan(31);

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

        location /default {
            rtbus websocket;
        }

        location /ping {
            rtbus websocket;
            rtbus_subscribe job:1;
            rtbus_ping 200ms 300ms;
        }

        # time enough for a test on a busy machine

        location /patient {
            rtbus websocket;
            rtbus_subscribe job:1;
            rtbus_ping 100ms 5s;
        }
    }
}

EOC

$t->run();
wait_redis($t);

###############################################################################

my $PING = 9;

my $quiet = client('/default');
my $good = client('/patient', auto_pong => 1);

# no sign of life

my $began = time();
my $dead = client('/ping');
my $deaf = client('/ping');
my $busy = client('/ping');

my $ping = next_ping($dead);

ok($ping, 'ping');
is($ping->{payload}, '', 'ping has no payload');
ok(time() - $began >= 0.15, 'ping not at once');

# events that go out are none either

my $sent = 0;

ok((wait_for {
	$redis->event('job:1', 'e', $sent++);
	$busy->pump();
	$busy->{closed};
} 'a busy connection to be closed'), 'closed among events');

is(join(' ', $busy->read_close()), '1011 ping timeout', 'reason among events');
cmp_ok($sent, '>', 1, 'events were sent');
is($busy->pings(), 1, 'one ping among events');

is(join(' ', $dead->read_close()), '1011 ping timeout', 'closed');
cmp_ok(time() - $began, '>=', 0.45, 'not before the time');
is($dead->pings(), 1, 'one ping');
ok($dead->wait_eof(), 'end');

# nor is what came before the ping

$deaf->drop();

$deaf = client('/ping');
$deaf->send_json({ event => 'x', ack => 1 });
$deaf->wait_ack(1);

is(($deaf->read_close())[0], 1011, 'closed after a message');
is($deaf->pings(), 1, 'one ping after a message');

error_log_like($t, qr/\[info\] .*1011, ping timeout.*client: 127\.0\.0\.1/,
	'logged');

# anything else will do as well as a pong

my %life = (
	'pong' => [ map { frame(opcode => 10) } 1 .. 4 ],
	'pong of another ping' => [ map { frame(opcode => 10, payload => $_) }
		1 .. 4 ],
	'ping' => [ map { frame(opcode => $PING, payload => $_) } 1 .. 4 ],
	'message' => [ map { frame(payload => '{"event":"x"}') } 1 .. 4 ],
	'fragment' => [ frame(fin => 0),
		map { frame(fin => 0, opcode => 0) } 2 .. 4 ],
	'byte' => [ split //, substr frame(payload => 'x'), 0, 4 ],
);

my %alive = map { $_ => client('/patient') } sort keys %life;

for my $round (0 .. 3) {
	for my $name (sort keys %alive) {
		next_ping($alive{$name});
		$alive{$name}->send_raw($life{$name}[$round]);
	}
}

for my $name (sort keys %alive) {
	ok(next_ping($alive{$name}), "$name: is pinged again");
	is($alive{$name}->is_open(), 1, "$name: is alive");
}

# a good client is pinged as long as it stays

wait_for { $good->pump(); $good->pings() >= 10 } 'ten pings';

cmp_ok($good->pings(), '>=', 10, 'pings');
$redis->event('job:1', 'last', 1);
ok($good->wait_event('last'), 'pongs keep the connection');
is(($good->close())[0], 1000, 'closed at its own will');

# by default there is more time

$quiet->pump();
is($quiet->pings(), 0, 'no ping for a while by default');
is($quiet->is_open(), 1, 'no end either');

###############################################################################

sub client {
	my ($path, %o) = @_;

	my $ws = Test::RTBus::WebSocket->connect(path => $path,
		auto_pong => 0, %o);

	$ws->wait_event('connected');

	return $ws;
}

sub frame {
	return Test::RTBus::WebSocket->frame(@_);
}

sub next_ping {
	my ($ws) = @_;

	while (my $f = $ws->recv()) {
		return $f if $f->{opcode} == $PING;
	}

	return undef;
}

###############################################################################
