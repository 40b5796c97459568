#!/usr/bin/perl

# Tests for requests with the id of a session that has gone on over WebSocket:
# each of them is refused, at whichever worker, from the moment on at which the
# client has said so.  Its own last poll, before that, is not.

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

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server');

plan(skip_all => 'the module is not built') unless module_file();

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

$t->write_file('secret', 'a secret that all nodes have');

my $conf = <<"EOC";

%%TEST_GLOBALS%%

daemon off;
worker_processes 1;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis        $url;
    rtbus_secret_file  @{[ $t->testdir() ]}/secret;
    rtbus_allow        job:*;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location /socket.io/ {
            rtbus            socketio;
            rtbus_subscribe  job:\$arg_job;
        }
    }
}

EOC

my @nodes = ($t, Test::Nginx->new(), Test::Nginx->new());
my @ports = map { port($_) } 8080 .. 8082;

$nodes[$_]->write_file_expand('nginx.conf', $conf =~ s/8080/808$_/r)
	for 0 .. 2;

$t->plan(3 * 4 + 8 + 2 * 2);

for my $node (@nodes) {
	$node->run();
	wait_redis($node, 1);
}

###############################################################################

# the WebSocket at the worker of the session, and at another one; requests there,
# there, and at a third one

for my $at (0, 1) {
	for my $from (0 .. 2) {
		my (%get, %post, %order);

		for my $n (1 .. 10) {
			my $io = Test::RTBus::Polling->connect(port => $ports[0]);
			my $ws = probe($io, $at);

			# both at once, without waiting for the answer

			$ws->send_raw(frame(payload => '2probe')
				. frame(payload => '5'));

			my $p = $io->get_start(port => $ports[$from]);
			my $r = $p->wait();

			$get{$r ? $r->status() : 'none'}++;

			$r = $io->post('40', port => $ports[$from]);
			$post{$r->status()}++;

			$ws->drop();
		}

		is_deeply(\%get, { 400 => 10 }, "WebSocket at $at, GET at $from");
		is_deeply(\%post, { 400 => 10 }, "WebSocket at $at, POST at $from");
	}
}

# the client's own poll, which it waits for

for my $at (0, 1) {
	my $io = Test::RTBus::Polling->connect(port => $ports[0]);
	my $ws = probe($io, $at);

	my $p = $io->get_start(port => $ports[2]);
	$ws->send_text('2probe');

	is($ws->recv_message()->{message}, '3probe', "at $at, the probe");
	is($p->wait()->body(), '6', "at $at, the poll is over");

	$ws->send_text('5');
	$ws->send_text('40');
	like(($ws->recv_message() || {})->{message}, qr/^40\{/,
		"at $at, goes on over WebSocket");
	is($io->get(port => $ports[2])->status(), 400, "at $at, no more polls");
}

###############################################################################

sub probe {
	my ($io, $at) = @_;

	my $ws = Test::RTBus::WebSocket->connect(port => $ports[$at],
		path => '/socket.io/?EIO=4&transport=websocket&sid='
			. $io->sid());

	return $ws;
}

sub frame { Test::RTBus::WebSocket::frame(undef, @_) }

###############################################################################
