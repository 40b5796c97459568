#!/usr/bin/perl

# Tests for a client that sends much at once: it is read bit by bit, so that who
# sends little does not wait until all of it is done.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Redis;
use Test::RTBus::WebSocket;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server')
	->plan(4);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

$t->write_file_expand('nginx.conf', <<"CONF");

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis         $url;
    rtbus_allow         job:*;
    rtbus_message_rate  10000r/s;
    rtbus_max_channels  10000;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location / {
            rtbus websocket;
        }
    }
}

CONF

$t->run();
wait_redis($t);

###############################################################################

my $n = 900;
my ($much, $little) = map { Test::RTBus::WebSocket->connect() } 1, 2;
my ($worker) = workers($t);

$_->wait_event('connected') for $much, $little;

# it finds both at once; in which order it does what they want, Redis sees

my $monitor = $redis->monitor();

kill 'STOP', $worker;

ok($much->send_raw(join '', map { subscribe("job:much:$_", $_) } 1 .. $n),
	'much is sent');
ok($little->send_raw(subscribe('job:little', 1)), 'a little is sent');

kill 'CONT', $worker;

ok($little->wait_ack(1)->{data}{ok} && $much->wait_ack($n)->{data}{ok},
	'both are answered');

my @channels = join(' ', $monitor->lines(0.5)) =~ /"(job:(?:much|little)[^"]*)"/g;
my ($at) = grep { $channels[$_] eq 'job:little' } 0 .. $#channels;

cmp_ok(defined $at ? $at : $n, '<', $n * 2 / 3, 'not one after the other');

###############################################################################

sub subscribe {
	my ($channel, $ack) = @_;

	return Test::RTBus::WebSocket->frame(payload => '{"event":"subscribe",'
		. "\"data\":{\"channel\":\"$channel\"},\"ack\":$ack}");
}

###############################################################################
