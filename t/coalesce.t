#!/usr/bin/perl

# Tests for rtbus_coalesce: what Redis sends while a worker rests reaches a
# client in one piece, whole and in order, and a rest is in nobody's way, neither
# in that of a connection that breaks nor in that of a worker that leaves.

###############################################################################

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/ time /;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Redis;
use Test::RTBus::WebSocket;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server')
	->plan(13);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $redis_url = $redis->url();

my $conf = <<"EOC";

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis     $redis_url;
    rtbus_coalesce  400ms;
    rtbus_allow     job:*;
    rtbus_drain     10ms;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location /ws {
            rtbus            websocket;
            rtbus_subscribe  job:42;
        }
    }
}

EOC

$t->write_file_expand('nginx.conf', $conf);
$t->run();
wait_redis($t);

###############################################################################

my $ws = client();

# the first one wakes the worker, the others have to wait

is(burst($ws, 20), join(' ', 1 .. 20), 'live events, in order');
cmp_ok(pause($ws), '>', 0.3, 'the worker rests');

my @ids = map { $redis->cmd('FCALL', 'rtbus_publish', 1, 'job:42', 'd',
	$_) } 1 .. 20;

is(join(' ', map { my $m = $ws->wait_event('d'); $m && $m->{data} } 1 .. 20),
	join(' ', 1 .. 20), 'durable events');

# a connection that is lost in the middle of a rest

$redis->event('job:42', 'e', 0);
ok($ws->wait_event('e'), 'an event before');

$redis->cmd('CLIENT', 'KILL', 'TYPE', 'pubsub');
$redis->cmd('FCALL', 'rtbus_publish', 1, 'job:42', 'd', 21);

is(($ws->wait_event('d') || {})->{data}, 21, 'connection lost, event filled in');
$redis->wait_subscribers('job:42', 1);

is(burst($ws, 10), join(' ', 1 .. 10), 'and on it goes');

# a worker that leaves in the middle of one

$redis->event('job:42', 'e', 0);
ok($ws->wait_event('e'), 'an event before the reload');

reload_wait($t);
ok($ws->wait_event('server:shutdown'), 'a rest does not keep a worker');

# without it there is no rest

$t->write_file_expand('nginx.conf', $conf =~ s/rtbus_coalesce.*\n//r);
reload_wait($t);

$ws = client();

is(burst($ws, 20), join(' ', 1 .. 20), 'off: events');
ok((wait_for { pause($ws) < 0.3 } 'no pause'), 'off: as they come');

like(nginx_check($t, conf('600ms')), qr/"rtbus_coalesce" directive must not be/,
	'too long');
like(nginx_check($t, conf('x')), qr/invalid value/, 'no time');
like(nginx_check($t, conf('2ms; rtbus_coalesce 2ms')), qr/is duplicate/,
	'duplicate');

###############################################################################

sub conf {
	my ($value) = @_;

	return $conf =~ s/rtbus_coalesce +\S+;/rtbus_coalesce $value;/r;
}

sub client {
	my $ws = Test::RTBus::WebSocket->connect(path => '/ws');

	$ws->wait_event('connected') or die "No connection\n";
	return $ws;
}

# Publishes so many, one after the other; what came.

sub burst {
	my ($ws, $n) = @_;

	$redis->event('job:42', 'e', $_) for 1 .. $n;

	return join ' ', map { my $m = $ws->wait_event('e'); $m && $m->{data} }
		1 .. $n;
}

# Seconds between two events, the second of which is published when the first
# one is here.  A busy machine can only make it longer.

sub pause {
	my ($ws) = @_;

	$redis->event('job:42', 'e', 1);
	$ws->wait_event('e');
	my $start = time();

	$redis->event('job:42', 'e', 2);
	$ws->wait_event('e');

	return time() - $start;
}

###############################################################################
