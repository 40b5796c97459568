#!/usr/bin/perl

# Tests for more than Redis takes at a time: the call that there is no room for is
# refused, alone; others, of clients and of the worker itself, are not affected.

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

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server');

plan(skip_all => 'the module is not built') unless module_file();

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

$t->write_file_expand('nginx.conf', <<"CONF")->plan(12);

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis       $url command_timeout=20s;
    rtbus_allow       *;
    rtbus_max_event   100m;
    rtbus_send_buffer 100m;
    rtbus_drain       0;

    client_max_body_size     100m;
    client_body_buffer_size  100m;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location / {
            rtbus          websocket;
            rtbus_command  task:*;
        }

        location /publish {
            rtbus_publish  job:1;
        }
    }
}

CONF

$t->run();

ok(wait_redis($t), 'Redis');

my $ws = Test::RTBus::WebSocket->connect(path => '/');

$ws->wait_event('connected');

###############################################################################

is(start(70)->wait_status(), 503, 'one that is too long is refused');
is(start(0)->wait_status(), 201, 'the next one is not');

# Redis is busy, and many come

$redis->pause();

my @posts = map { start(7) } 1 .. 12;

ok((wait_for {
	error_log_count($t, qr/no room to send FCALL of 7\d+ bytes/) >= 3
} 'refusals'), 'no room');

my $small = start(0);

$ws->send_json({ event => 'task:do', data => { n => 1 }, ack => 1 });
$ws->send_json({ event => 'subscribe', data => { channel => 'job:2' },
	ack => 2 });

$redis->resume();

my %status;

$status{$_->wait_status()}++ for @posts;

is_deeply([ sort keys %status ], [ 201, 503 ], 'some are refused');
cmp_ok($status{201}, '>=', 5, 'others are not');
is($small->wait_status(), 201, 'a small one is not');
is($ws->wait_ack(1)->{data}{ok}, JSON::PP::true(), 'a command is not');
is($ws->wait_ack(2)->{data}{ok}, JSON::PP::true(), 'a subscription is not');

is($redis->cmd('XLEN', '{job:1}:events'), $status{201} + 2,
	'what was refused is not in the stream');
is(error_log_count($t, qr/rtbus: lost Redis/), 0, 'no link is lost');
is(start(0)->wait_status(), 201, 'and on it goes');

###############################################################################

# a POST of so many MB

sub start {
	my ($size) = @_;

	my $body = '{"event":"e","data":"' . 'x' x ($size * 1_000_000) . '"}';
	my $c = Test::RTBus::Client->open_client(timeout => 30);

	$c->send_raw("POST /publish HTTP/1.1\r\nHost: localhost\r\n"
		. 'Content-Length: ' . length($body) . "\r\n\r\n$body");

	return bless $c, 'Test::RTBus::Post';
}

{
	package Test::RTBus::Post;

	our @ISA;
	BEGIN { @ISA = qw/ Test::RTBus::Client / }

	sub wait_status {
		my ($self) = @_;

		$self->read_head();

		return $self->status();
	}
}

###############################################################################
