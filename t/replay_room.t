#!/usr/bin/perl

# Tests for replays of events that are large beside the client's buffer: nobody is
# closed because of what a replay has put there, whatever else comes meanwhile;
# and no more of a history is in the worker's memory than it may send.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Redis;
use Test::RTBus::SSE;
use Test::RTBus::SocketIO;
use Test::RTBus::WebSocket;

use Time::HiRes qw/ sleep /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server');

plan(skip_all => 'the module is not built') unless module_file();

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

$t->write_file_expand('nginx.conf', <<"CONF")->plan(9);

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis  $url;
    rtbus_allow  *;
    rtbus_drain  0;

    server {
        listen       127.0.0.1:8080 sndbuf=4k;
        server_name  localhost;

        rtbus_send_buffer 64k;

        location / {
            rtbus       websocket sse;
        }

        location /large/ {
            rtbus             websocket;
            rtbus_send_buffer 1m;
        }

        location /socket.io/ {
            rtbus            socketio;
        }
    }
}

CONF

$t->run();

ok(wait_redis($t), 'Redis');

###############################################################################

fill('job:big', 6, 58_000);

my %clients = (
	WebSocket => Test::RTBus::WebSocket->connect(rcvbuf => 4096,
		path => '/?cursor=job:big@0-0,job:live@0-0'),
	SSE => Test::RTBus::SSE->connect(rcvbuf => 4096, path => '/',
		last_event_id => 'job:big@0-0,job:live@0-0'),
	'Socket.IO' => Test::RTBus::SocketIO->connect(rcvbuf => 4096),
);

my $io = $clients{'Socket.IO'};

$io->join_nsp();
$io->emit('subscribe', { channel => 'job:live' }, { ack => 1 });
$io->wait_ack(1);
$io->emit('subscribe', { channel => 'job:big', after => '0-0' }, { ack => 2 });

$redis->wait_subscribers('job:live', 1);

# each has one in its buffer, and cannot take another one yet

sleep 0.3;

$redis->event('job:live', 'live', 'x' x 20_000) for 1 .. 2;
sleep 0.3;

for my $name (sort keys %clients) {
	my $c = $clients{$name};
	my ($big, $live) = (0, 0);

	while ($big < 6 || $live < 2) {
		my $e = $name eq 'SSE' ? $c->next_json(10)
			: $name eq 'WebSocket' ? $c->recv_json(10)
			: $c->packet(10);

		last unless $e;

		my $event = $e->{event} || $e->{name} || '';

		$big++ if $event eq 'n';
		$live++ if $event eq 'live';
	}

	is("$big $live", '6 2', "all of a replay and what is live, $name");
	$c->drop();
}

is(error_log_count($t, qr/code:1013/), 0, 'nobody is closed');

###############################################################################

# small ones, and then large ones, for one who reads nothing

fill('job:grows', 33, 10);
fill('job:grows', 150, 1_000_000);

my $before = rss_kb(workers($t));
my $ws = Test::RTBus::WebSocket->connect(rcvbuf => 4096,
	path => '/large/?cursor=job:grows@0-0');

ok((wait_for { error_log_count($t, qr/history of "job:grows": entries/) > 1 }
	'reads'), 'reads');

my $most = 0;

for (1 .. 20) {
	my $rss = rss_kb(workers($t)) - $before;
	$most = $rss if $rss > $most;
	sleep 0.05;
}

SKIP: {
	skip 'a sanitizer keeps memory', 1 if $ENV{RTBUS_SANITIZED};

	cmp_ok($most, '<', 50_000, "memory, $most kB");
}

ok($ws->wait_json(60, sub { $_[0]{event} eq 'n' && $_[0]{data}[0] == 40 }),
	'the large ones come when it reads');
is(error_log_count($t, qr/code:1013/), 0, 'it is not closed');

$ws->drop();

###############################################################################

sub fill {
	my ($channel, $n, $size) = @_;

	my $first = $redis->cmd('XLEN', "{$channel}:events");

	$redis->cmd('FCALL', 'rtbus_publish', 1, $channel, 'n',
		'[' . ($first + $_) . ',"' . 'x' x $size . '"]')
		for 1 .. $n;
}

###############################################################################
