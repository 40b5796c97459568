#!/usr/bin/perl

# Tests for a worker that leaves while a request waits for Redis: the request
# gets its answer first, and no socket is left open.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx qw/ :DEFAULT http_start http_end /;
use Test::RTBus::Redis;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/http/)->has_daemon('redis-server')
	->plan(4);
my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

$t->write_file_expand('nginx.conf', <<"EOC");

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis $url command_timeout=30s;
    rtbus_allow job:*;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location /state {
            rtbus_state job:1;
        }
    }
}

EOC

$t->run();

ok((wait_for { http_get('/state') =~ /404 Not/ } 'state'), 'no state yet');

$redis->cmd('FCALL', 'rtbus_publish', 1, 'job:1', 'x', '1');

###############################################################################

my ($old) = workers($t);

$redis->pause();

my $s = http("GET /state HTTP/1.0\r\nHost: localhost\r\n\r\n", start => 1);

# the request has reached Redis's socket when the worker has logged it

ok((wait_for { error_log($t) =~ m!GET /state.*GET /state!s } 'request'),
	'request waits');

kill 'HUP', master($t);

ok((wait_for { error_log($t) =~ /$old#\d+: gracefully shutting down/ } 'QUIT'),
	'the worker is told to leave');

$redis->resume();

like(http_end($s), qr/200 OK.*"lastSequence":1/s, 'answer all the same');

###############################################################################
