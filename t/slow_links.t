#!/usr/bin/perl

# Tests for slow links: between nginx and Redis, where a reply may be long under
# way, and others are behind it; and to clients, where a ping is behind what was
# sent before.  Whoever takes or sends bytes is there.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Proxy;
use Test::RTBus::Redis;
use Test::RTBus::SocketIO;
use Test::RTBus::WebSocket;

use Time::HiRes qw/ sleep time /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server');

plan(skip_all => 'the module is not built') unless module_file();

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $proxy = Test::RTBus::Proxy->new(to => $redis->port());
my $url = $proxy->url();

$t->write_file_expand('nginx.conf', <<"CONF")->plan(11);

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis  $url command_timeout=200ms;
    rtbus_allow  *;
    rtbus_drain  0;

    server {
        listen       127.0.0.1:8080 sndbuf=16k;
        server_name  localhost;

        location / {
            rtbus       websocket;
        }

        location /pinged/ {
            rtbus       websocket;
            rtbus_ping  300ms 300ms;
        }

        location /socket.io/ {
            rtbus            socketio;
            rtbus_subscribe  job:slow;
            rtbus_ping       300ms 300ms;
        }

        location /publish {
            rtbus_publish job:other;
        }

        location /health {
            rtbus_health;
        }
    }
}

CONF

$t->run();

ok(wait_redis($t), 'Redis');

###############################################################################

# one reply takes longer than command_timeout

my $events = 6;

fill('job:large', $events, 900_000);

$proxy->rate(3_000_000);

my $ws = Test::RTBus::WebSocket->connect(path => '/?cursor=job:large@0-0',
	timeout => 60);

my @sick = ();
my @answers;
my $n = 0;

while ($n < $events) {
	my $message = $ws->recv_json(0.2);

	$n++ if $message && $message->{event} eq 'n'
		&& $message->{data}[0] == $n + 1;

	last if $ws->eof() || time() - $^T > 90;

	push @sick, http_get('/health') =~ /^HTTP\S+ 503/ ? 1 : ();
	push @answers, publish() if @answers < 3;
}

is($n, $events, 'events that are long under way');
is_deeply(\@sick, [], 'healthy all the while');
is("@answers", '201 201 201', 'answers behind them');
is(error_log_count($t, qr/rtbus: lost Redis/), 0, 'no link is lost');

$proxy->rate(0);
$ws->drop();

###############################################################################

# a client that reads a bit at a time, with pings behind what it has to read

fill('job:slow', 40, 10_000);

$ws = Test::RTBus::WebSocket->connect(path => '/pinged/?cursor=job:slow@0-0',
	rcvbuf => 4096);

slowly($ws, 2.5);

is($ws->wait_json(10, sub { $_[0]{event} eq 'n' && $_[0]{data}[0] == 40 })
	? 1 : 0, 1, 'a slow client gets all, WebSocket');
ok(!$ws->eof(), 'it stays, WebSocket');
$ws->drop();

my $io = Test::RTBus::SocketIO->connect(rcvbuf => 4096);

$io->join_nsp('/');
$io->wait_name('connected');
fill('job:slow', 40, 10_000);

slowly($io, 2.5);

ok($io->wait_packet(10, sub {
	($_[0]{name} || '') eq 'n' && $_[0]{data}[1][0] == 80
}), 'a slow client gets all, Socket.IO');
ok(!$io->eof(), 'it stays, Socket.IO');
$io->drop();

# who takes nothing is not there

$ws = Test::RTBus::WebSocket->connect(path => '/pinged/?cursor=job:slow@0-0',
	rcvbuf => 4096);

ok((wait_for { error_log_count($t, qr/code:1011, ping timeout/) }
	'the end of a client that is not there'), 'who takes nothing');

$ws->drop();

is(error_log_count($t, qr/closes client, code:1011/), 1, 'no one else was closed');

###############################################################################

sub fill {
	my ($channel, $n, $size) = @_;

	my $first = $redis->cmd('XLEN', "{$channel}:events");

	$redis->pipeline(map {
		[ 'FCALL', 'rtbus_publish', 1, $channel, 'n',
			'[' . ($first + $_) . ',"' . 'x' x $size . '"]' ]
	} 1 .. $n);
}

sub publish {
	my $body = '{"event":"e","data":1}';

	my $reply = http("POST /publish HTTP/1.0\r\nHost: localhost\r\n"
		. 'Content-Length: ' . length($body) . "\r\n\r\n$body");

	return $reply =~ /^HTTP\S+ (\d+)/ ? $1 : 'none';
}

# takes some bytes now and then, and answers nothing

sub slowly {
	my ($c, $seconds) = @_;

	my $end = time() + $seconds;

	while (time() < $end) {
		sysread $c->sock(), $c->{in}, 4096, length $c->{in};
		sleep 0.05;
	}
}

###############################################################################
