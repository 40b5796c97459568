#!/usr/bin/perl

# Test for a worker that hangs for more than a minute: its process is there, so
# health stays red.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Redis;

use Time::HiRes qw/ time /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server');

plan(skip_all => 'the module is not built') unless module_file();

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

$t->write_file_expand('nginx.conf', <<"CONF")->plan(4);

%%TEST_GLOBALS%%

daemon off;
worker_processes 2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis $url;

    add_header X-Pid \$pid always;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location / {
            rtbus sse;
        }

        location /health {
            rtbus_health;
        }
    }
}

CONF

$t->run();

###############################################################################

wait_redis($t, 2);
ok((wait_for { health() =~ / 200 .*"workers":2/s } 'health', 20), 'well');

my ($hung, $other) = workers($t);

kill 'STOP', $hung;

ok((wait_for { health() =~ / 503 / } 'red', 20), 'a worker hangs');

# there is no sign of it but time: what is silent for a minute was given up

my $end = time() + 63;

wait_for { time() > $end || health() =~ / 200 / } 'a minute', 80;

like(health(), qr/ 503 .*"workers":2,"failing":1/s, 'it hangs on');

kill 'CONT', $hung;

ok((wait_for { health() =~ / 200 / } 'green', 20), 'well when it goes on');

###############################################################################

sub health {
	return http_get('/health') || '';
}

###############################################################################
