#!/usr/bin/perl

# Tests for sessions over long-polling of a worker that has just started: it
# cannot be reached by others, nor can it ask them, until Redis has its mailbox.
# Requests wait for that, unless Redis is known to be away.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Polling;
use Test::RTBus::Redis;
use Test::RTBus::SocketIO;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http rewrite /)
	->has_daemon('redis-server');

plan(skip_all => 'the module is not built') unless module_file();

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

# no timeout is to come before the client's own

my $conf = <<"EOC";

%%TEST_GLOBALS%%

daemon off;
worker_processes 1;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis  $url connect_timeout=60s command_timeout=60s;
    rtbus_allow  job:*;
    rtbus_drain  100ms;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location /socket.io/ {
            rtbus            socketio;
            rtbus_subscribe  job:\$arg_job;
        }

        location /alive {
            return 204;
        }
    }
}

EOC

my @nodes = ($t, Test::Nginx->new());

$t->write_file_expand('nginx.conf', $conf);
$nodes[1]->write_file_expand('nginx.conf', $conf =~ s/8080/8081/r);

$t->plan(23);

my ($io, $new, $p, $q, $ws);

# the one that is there, and the one that starts

my %first = (port => port(8080));
my %second = (port => port(8081));

$t->run();
wait_redis($t, 1);

###############################################################################

# Redis does not answer yet

$io = open_io(%first);
$io->join_nsp();
$io->packet();

$redis->pause();
$nodes[1]->run();

$new = start_io(%second);
$p = $io->get_start(%second);
$q = $io->start('POST', %second,
	body => '421["subscribe",{"channel":"job:b"}]');

$ws = Test::RTBus::SocketIO->connect(%second, read => 0,
	path => '/socket.io/?EIO=4&transport=websocket&sid=' . $io->sid());

my $gone = start_io(%second);

alive();

is($new->wait(0.05), undef, 'a session is not opened');
is($p->wait(0.05), undef, 'a poll at another one waits');
is($q->wait(0.05), undef, 'and a post');

$gone->drop();
alive();

is(Test::RTBus::SocketIO->connect(%second,
	path => '/socket.io/?EIO=4&transport=websocket')->open_packet()
	->{maxPayload}, 65536, 'over WebSocket nothing has to wait');

$redis->resume();

$new = opened($new);
ok($new->sid(), 'it is opened');
is($new->post('40', %first)->body(), 'ok', 'and others reach it at once');
like($new->get(%first)->body(), qr/^40\{/, 'a poll, too');

is($q->wait()->body(), 'ok', 'the post is done');
like($p->wait()->body(), qr/431\[\{"ok":true/, 'the poll has its answer');

$ws->handshake();
is($ws->status(), 101, 'an upgrade');

# ... after which nothing holds the request

$ws->send_text('2probe');
is(($ws->recv_message() || {})->{message}, '3probe', 'a probe');

$ws->send_text('5');
$ws->send_text('422["subscribe",{"channel":"job:b"}]');
ok(comes($ws, qr/^432\[\{"ok":true/), 'the upgrade is done');

$redis->event('job:b', 'e', 1);
ok(comes($ws, qr/^42\["e",1/), 'an event');

is(error_log_count($nodes[1], qr/rtbus: keeps the request/), 0,
	'the request is given back');

# ... and will not

stop($nodes[1]);
$redis->pause();
$nodes[1]->run();

$new = start_io(%second);
$p = $io->get_start(%second);
alive();
is($new->wait(0.05), undef, 'again');

$redis->kill();

is($new->wait()->status(), 200, 'Redis goes away: it is opened');
is($p->wait()->status(), 503, 'but others are out of reach');

# Redis is away, all the time

stop($nodes[1]);
$nodes[1]->run();

$new = open_io(%second);
is($new->opened()->status(), 200, 'no Redis: a session is opened');
is($new->post('40', %second)->body(), 'ok', 'and used');
is($io->get(%second)->status(), 503, 'a poll at another one is refused');

# it is let in, but may not listen

$redis->start();
stop($nodes[1]);
$redis->cmd('ACL', 'SETUSER', 'default', 'resetchannels');
$nodes[1]->run();

is(open_io(%second)->opened()->status(), 200, 'no mailbox: one is opened');

stop($_) for @nodes;

###############################################################################

sub open_io {
	return Test::RTBus::Polling->connect(@_,
		path => '/socket.io/?job=a');
}

# a message among others

sub comes {
	my ($ws, $what) = @_;

	while (my $m = $ws->recv_message()) {
		return 1 if $m->{message} =~ $what;
	}

	return 0;
}

# the request that opens a session, and the session

sub start_io {
	return Test::RTBus::Polling::Request->start(@_, method => 'GET',
		path => '/socket.io/?job=a&EIO=4&transport=polling');
}

sub opened {
	my ($request) = @_;

	return bless {
		%{open_io(%first)},
		sid => json_decode($request->wait()->body() =~ s/^0//r)->{sid},
	}, 'Test::RTBus::Polling';
}

# at once: sessions that are there would have some seconds to take leave

sub stop {
	my ($node) = @_;

	kill 'TERM', $node->read_file('nginx.pid');
	$node->stop();
}

# the worker has seen all that came before

sub alive {
	http_get('/alive', socket => IO::Socket::INET->new(Proto => 'tcp',
		PeerAddr => '127.0.0.1:' . port(8081)));
}

###############################################################################
