#!/usr/bin/perl

# Another client than the stock one: python-socketio, as Debian has it.  It was
# written from the protocol, not from socket.io-client, and wants what that one
# does not ask for.  What is checked is in python/client.py, in TAP.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Echo;
use Test::RTBus::Redis;

use Cwd qw/ abs_path /;
use File::Basename qw/ dirname /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $top = abs_path(dirname(__FILE__) . '/..');

# a Python of somebody's own may come first in PATH, without Debian's modules

my ($python) = grep {
	system("$_ -c 'import socketio, websocket' 2>/dev/null") == 0
} qw! /usr/bin/python3 python3 !;

my @missing = (
	(module_file() ? () : 'the module'),
	($python ? () : 'python3 with socketio and websocket'),
);

if (@missing) {
	my $why = 'missing: ' . join ', ', @missing;

	die "$why\n" if $ENV{CI} || $ENV{RTBUS_REQUIRE_ALL};
	plan(skip_all => $why);
}

my $t = Test::Nginx->new()->has(qw/ http /)
	->has_daemon('redis-server')->plan(37);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

$t->write_file('jwt.key', "the key of the tokens\n");

$t->write_file_expand('nginx.conf', <<"EOC");

%%TEST_GLOBALS%%

daemon off;
worker_processes 2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis  $url;
    rtbus_drain  300ms;
    rtbus_allow  job:*;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location /socket.io/ {
            rtbus             socketio;
            rtbus_namespaces  / /chat;
            rtbus_subscribe   job:\$arg_job;
        }

        location /echo/ {
            rtbus             socketio;
            rtbus_command     \@connect;
            rtbus_command     message;
            rtbus_command     message-with-ack  reply=20s;
            rtbus_command     mute  stream=nobody  reply=20s;
        }

        location /user/ {
            rtbus               socketio;
            rtbus_jwt_key       jwt.key;
            rtbus_require_user  on;
            rtbus_subscribe     user:\$rtbus_user;
            rtbus_allow         user:\$rtbus_user;
        }
    }
}

EOC

$t->run();

wait_redis($t, 2);
Test::RTBus::Echo->start($redis);

run_tap('python', $python, "$top/t/python/client.py", json_encode({
	port => port(8080),
	pid => $t->testdir() . '/nginx.pid',
	redis => $redis->port(),
	redis_pid => $redis->pid(),
	secret => 'the key of the tokens',
}));

###############################################################################
