#!/usr/bin/perl

# Tests for a worker that was busy while something came for it: what lies in its
# sockets is read before the time is over for whoever has sent it.  Here it is
# stopped for a while; the event loop then is told of a few sockets at a time,
# and comes to its timers in between.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Polling;
use Test::RTBus::Redis;
use Test::RTBus::SocketIO;
use Test::RTBus::WebSocket;

use Time::HiRes qw/ sleep time /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server');

plan(skip_all => 'the module is not built') unless module_file();
plan(skip_all => 'epoll is needed') if $^O ne 'linux';

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

$t->write_file_expand('nginx.conf', <<"CONF")->plan(12);

%%TEST_GLOBALS%%

daemon off;

events {
    epoll_events  4;
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis         $url command_timeout=800ms;
    rtbus_allow         *;
    rtbus_drain         0;
    rtbus_message_rate  1000r/s;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location / {
            rtbus       websocket;
        }

        location /pinged/ {
            rtbus       websocket;
            rtbus_ping  500ms 700ms;
        }

        location /socket.io/ {
            rtbus       socketio;
            rtbus_ping  500ms 700ms;
        }

        location /publish {
            rtbus_publish job:1;
        }
    }
}

CONF

$t->run();

ok(wait_redis($t), 'Redis');

my ($worker) = workers($t);
my @crowd = Test::RTBus::WebSocket->connect_many(40, path => '/');

$_->wait_event('connected') for @crowd;

###############################################################################

# the answer of Redis is the last thing that has come

my $post = Test::RTBus::Client->open_client();

$redis->pause();

my $sent = flushed();

$post->send_raw("POST /publish HTTP/1.1\r\nHost: localhost\r\n"
	. "Content-Length: 25\r\n\r\n" . '{"event":"late","data":1}');

ok((wait_for { flushed() > $sent } 'a call'), 'a call to Redis');

busy(1.2, sub {
	$redis->resume();
	wait_for { $redis->cmd('XLEN', '{job:1}:events') } 'the event';
});

$post->read_head();

is($post->status(), 201, 'an answer that has come is read');
error_log_unlike($t, qr/command timed out/, 'no time is over');

###############################################################################

# pongs

my $ws = Test::RTBus::WebSocket->connect(path => '/pinged/', auto_pong => 0);

$ws->wait_event('connected');
ok((wait_for { $ws->recv(0); $ws->pings() } 'a ping'), 'a ping');

busy(1.2, sub { $ws->send_pong('') });

ok((wait_for { $ws->recv(0); $ws->pings() > 1 || $ws->eof() } 'a ping'),
	'another ping, WebSocket');
is($ws->is_open(), 1, 'a pong that has come is read, WebSocket');

my $io = Test::RTBus::SocketIO->connect(auto_ping => 0);

$io->join_nsp();
ok((wait_for { $io->packet(0); $io->engine_pings() } 'a ping'), 'a ping');

busy(1.2, sub { $io->send_text('3') });

ok((wait_for { $io->packet(0); $io->engine_pings() > 1 || $io->eof() }
	'a ping'), 'another ping, Socket.IO');
is($io->is_open(), 1, 'a pong that has come is read, Socket.IO');

my $poll = Test::RTBus::Polling->connect(auto_ping => 0);

$poll->join_nsp();
ok((wait_for { $poll->packet(1); $poll->engine_pings() } 'a ping'),
	'a ping, polling');

my $pong;

busy(2.2, sub {
	$pong = $poll->start('POST', body => '3');
});

is($pong->wait()->status(), 200, 'a pong that has come is read, polling');

$_->drop() for $ws, $io, @crowd;

###############################################################################

sub flushed {
	return error_log_count($t, qr/rtbus: redis flush handler/);
}

# Has the worker busy for so long; what comes meanwhile comes behind a crowd.

sub busy {
	my ($seconds, $code) = @_;

	kill 'STOP', $worker;

	my $end = time() + $seconds;

	$_->send_json({ event => 'x' }) for @crowd;
	$code->();

	sleep $end - time() if $end > time();

	kill 'CONT', $worker;
}

###############################################################################
