#!/usr/bin/perl

# Tests for "connected": it comes before any answer, also to a client that does
# not wait for it, and the cursor beside a state has the channel itself, so that
# a client can resume from whatever it got last.

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

my $t = Test::Nginx->new()->has(qw/http/)->has_daemon('redis-server')
	->plan(8);
my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

$t->write_file_expand('nginx.conf', <<"EOC");

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis $url;
    rtbus_allow job:*;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location /ws {
            rtbus            websocket;
            rtbus_subscribe  job:\$arg_job;
        }
    }
}

EOC

$t->run();

ok(wait_for { try_publish() } 'function library');

###############################################################################

# the subscribe comes together with the handshake

my $early = Test::RTBus::WebSocket->frame(opcode => 1, payload => json_encode({
	event => 'subscribe', data => { channel => 'job:b', state => \1 },
	ack => 1
}));

my $ws = Test::RTBus::WebSocket->connect(path => '/ws?job=a',
	early => $early);

my ($connected, $state, $ack) = map { $ws->recv_json() } 1 .. 3;

is($connected->{event}, 'connected', 'connected is first');
like($connected->{cursor}, qr/^job:a\@0-0$/, 'with the cursor');

is($state->{event}, 'state', 'then the state');
like($state->{cursor}, qr/job:a\@0-0/, 'cursor of the state');
like($state->{cursor}, qr/job:b\@\d+-1/, 'has the channel itself');

is($ack->{ack}, 1, 'then the answer');
is(($ws->close(1000))[0], 1000, 'close');

###############################################################################

sub try_publish {
	my $r = $redis->try_cmd('FCALL', 'rtbus_publish', 1, 'job:b', 'x', '1');
	return !ref $r;
}

###############################################################################
