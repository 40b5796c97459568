#!/usr/bin/perl

# Tests for many commands at once whose senders are gone, or go, or wait while
# Redis does not answer: what a worker keeps for them has a limit, and nothing of
# it is touched once it is freed (see "make asan").

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus fds => 4096;
use Test::Nginx;
use Test::RTBus::Redis;
use Test::RTBus::WebSocket;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server')
	->plan(16);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $redis_url = $redis->url();

$t->write_file_expand('nginx.conf', <<"EOC");

%%TEST_GLOBALS%%

daemon off;

events {
    worker_connections 1024;
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis         $redis_url command_timeout=30s;
    rtbus_user          \$arg_user;
    rtbus_message_rate  1000r/s;
    rtbus_drain         100ms;

    rtbus_command  ask           reply=60s;
    rtbus_command  mine          reply=60s job=id owner;
    rtbus_command  plain;
    rtbus_command  \@disconnect  stream=gone;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location /ws {
            rtbus websocket;
        }

        location /submit {
            rtbus_submit  ask;
        }
    }
}

EOC

$t->run();
wait_redis($t);

wait_for { !ref $redis->try_cmd('FCALL_RO', 'rtbus_version', 0) } 'library';
wait_for { @{$redis->cmd('PUBSUB', 'CHANNELS', 'rtbus:worker:*')} == 1 }
	'mailbox';

###############################################################################

my $main = 'rtbus:commands';
my $max = 16384;
my $gone = 0;

# those who wait are not put aside for others

my @clients = clients(260);

ask($_, 1 .. 64) for @clients;
wait_length($max);

my $refused = 260 * 64 - $max;

my $n = 0;

select_loop(\@clients, sub { $n == $refused }, 30, sub {
	my ($c, $m) = @_;
	$n++ if ($m->{message} || '') =~ /too many requests/;
});

is($n, $refused, 'as many as there may be, in all');

# those who have gone are

drop(@clients);

my ($ws) = clients(1);
ask($ws, 1 .. 64);
wait_length($max + 64);

my @mine = $redis->take($main, $max + 64);
splice @mine, 0, $max;

$redis->answer($_, { data => [ 'here' ] }) for reverse @mine;

$n = 0;
$n += ($ws->wait_ack($_) || {})->{data} eq 'here' for 1 .. 64;
is($n, 64, 'answers while others have gone');

# who comes back finds what is still waited for

my ($back) = clients(1);

$back->send_json({ event => 'ask', ack => 1, data => { ackId => 'id-200-1' } });
$back->send_json({ event => 'ask', ack => 2, data => { ackId => 'id-1-1' } });
is($back->wait_ack(2)->{data}{duplicate}, JSON::PP::true,
	'the oldest has been given up');
is($redis->cmd('XLEN', $main), $max + 64, 'and nothing was sent again');

# all are waited for, or have been given up: the number is free again

$redis->publish($mine[0]{reply}, "{\"ack\":$_,\"data\":[]}")
	for 1 .. 260 * 64 + 200;
$back->drop();
$ws->drop();
$redis->take('gone', 2);

@clients = clients(20);
ask($_, 1 .. 64) for @clients;
wait_length($max + 64 + 20 * 64);
$redis->take($main, 20 * 64);

# Redis does not answer, and they go

$redis->cmd('HSET', '{job:1}:state', 'userId', 'u');

@clients = (@clients, clients(30));
$redis->pause();

for my $c (@clients[20 .. 49]) {
	$c->send_json({ event => 'ask', ack => $_, data => 1 }) for 1 .. 10;
	$c->send_json({ event => 'plain', ack => $_ }) for 11 .. 20;
	$c->send_json({ event => 'mine', ack => $_, data => { id => 1 } })
		for 21 .. 30;
	$c->send_json({ event => 'mine', ack => $_,
		data => { id => 1, ackId => "m-$_" } }) for 31 .. 40;
}

# the requests go with them

my @posts = map { post() } 1 .. 20;

settled($clients[49]);

$_->reset() for @clients[0 .. 34];
$_->reset() for @posts[0 .. 9];

settled($clients[49]);

$redis->resume();
$redis->take('gone', 35);

for my $c (@clients[35 .. 49]) {
	$n = 0;

	for my $ack (11 .. 20) {
		$n++ if $c->wait_ack($ack)->{data}{ok};
	}

	last if $n != 10;
}

is($n, 10, 'those who stay are answered');

# with an ackId they were the same for all

my @all = $redis->take($main, 30 * 30 + 10 + 20);
my %of;

$of{$_->{event}}++ for @all;
is($of{plain}, 300, 'what was sent before its sender left is sent');
is($of{ask}, 300 + 20, 'with an answer or without');
is($of{mine}, 300 + 10, 'also what Redis was asked about first');

for my $c (@all) {
	$redis->answer($c, { data => [ 'late' ] }) if $c->{ack};
}

$n = 0;

for my $c (@clients[35 .. 49]) {
	for my $ack (1 .. 10, 21 .. 40) {
		$n++ if ($c->wait_ack($ack)->{data} || '') eq 'late';
	}
}

is($n, 15 * 30, 'all answers');

# a worker leaves with clients that wait, and with those that have gone

($ws) = clients(1);
ask($ws, 1 .. 64);
$redis->take($main, 64);

my $waits = post();
my $c = $redis->take($main);

$t->reload();
is(join(' ', $ws->read_close()), '1012 server is shutting down', 'leaves');

wait_for { workers($t) && workers($t, all => 1) == 2 } 'old worker';
$redis->answer($c, { data => [ 'in time' ] });
$waits->read_head();
$waits->read_body();
is($waits->body(), '"in time"', 'not without the answer to a request');

ok((wait_for { workers($t, all => 1) == 1 }), 'then it is gone');

# killed with all of them

wait_for { @{$redis->cmd('PUBSUB', 'CHANNELS', 'rtbus:worker:*')} == 1 }
	'mailbox';

@clients = clients(10);
ask($_, 1 .. 30) for @clients;
$redis->take($main, 300);
$clients[0]->reset();
kill 'TERM', master($t);

ok((wait_for { !workers($t, all => 1) }), 'terminated');

###############################################################################

my $number;

sub clients {
	my ($n) = @_;

	my @c = map { Test::RTBus::WebSocket->connect(path => '/ws?user=u') }
		1 .. $n;

	$_->{number} = ++$number for @c;
	$_->wait_event('connected') for @c;

	return @c;
}

sub ask {
	my ($c, @acks) = @_;

	$c->send_raw(join '', map {
		$c->frame(payload => json_encode({ event => 'ask', ack => $_,
			data => { ackId => "id-$c->{number}-$_" } }))
	} @acks);
}

sub wait_length {
	my ($n) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;

	ok((wait_for {
		$redis->try_cmd('XLEN', $main) == $n
	} "$n commands", 30), "$n commands");
}

sub drop {
	my (@c) = @_;

	$_->reset() for @c;
	$redis->take('gone', scalar @c, 30);
}

sub post {
	my $c = Test::RTBus::Client->open_client(method => 'POST');

	$c->send_raw("POST /submit HTTP/1.1\r\nHost: localhost\r\n"
		. "Content-Length: 1\r\n\r\n1");

	return $c;
}

# What others have sent before was read before this.

sub settled {
	my ($c) = @_;

	$c->send_json({ event => 'unsubscribe', ack => 1000 });
	$c->wait_ack(1000);
}

###############################################################################
