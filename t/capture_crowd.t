#!/usr/bin/perl

# Many answers at a time whose clients leave at random: nothing of an answer is
# lost, and none is mixed with another.  What is checked is in node/crowd.mjs, in
# TAP.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus fds => 2048;
use Test::Nginx;
use Test::RTBus::Redis;

use Cwd qw/ abs_path /;
use File::Basename qw/ dirname /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $top = abs_path(dirname(__FILE__) . '/..');
my ($node) = grep { -x } map { "$_/node" } split /:/, $ENV{PATH};

if (!$node) {
	die "missing: node\n" if $ENV{CI} || $ENV{RTBUS_REQUIRE_ALL};
	plan(skip_all => 'missing: node');
}

my $t = Test::Nginx->new()->has(qw/ http proxy /)
	->has_daemon('redis-server')->plan(7);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();
my $upstream = free_port();

$t->write_file_expand('nginx.conf', <<"EOC");

%%TEST_GLOBALS%%

daemon off;
worker_processes 2;

events {
    worker_connections  1024;
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis  $url;
    rtbus_allow  job:*;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        proxy_http_version  1.1;

        location ~ ^/answer/([\\w-]+)\$ {
            proxy_pass     http://127.0.0.1:$upstream;
            rtbus_capture  job:\$1;
        }

        location ~ ^/replay/([\\w-]+)\$ {
            rtbus_replay  job:\$1 id=off done=1h;
        }

        location ~ ^/state/([\\w-]+)\$ {
            rtbus_state  job:\$1;
        }
    }
}

EOC

$t->run();

wait_redis($t, 2);

###############################################################################

run_tap('a crowd', $node, "$top/t/node/crowd.mjs", json_encode({
	nginx => port(8080), upstream => $upstream, answers => 200, events => 30,
}));

###############################################################################
