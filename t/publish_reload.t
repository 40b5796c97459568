#!/usr/bin/perl

# A request that waits for Redis is answered by its worker, also when that is
# about to leave: nginx ends a worker as soon as no timer is left, and waiting
# for a reply of Redis once had none.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx qw/ :DEFAULT http_end /;
use Test::RTBus::Redis;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server')
	->plan(2);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

$t->write_file_expand('nginx.conf', <<"EOF");

%%TEST_GLOBALS%%

daemon off;
worker_processes 1;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis $url;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location / {
            rtbus_publish job:1;
        }
    }
}

EOF

$t->run();

###############################################################################

my $body = '{"event":"test:v1"}';

my $post = "POST / HTTP/1.0\r\nHost: localhost\r\n"
	. "Content-Type: application/json\r\n"
	. 'Content-Length: ' . length($body) . "\r\n\r\n$body";

wait_for { http($post) =~ m!^HTTP/1.1 201 ! } 'the first event';

my ($worker) = workers($t);

$redis->pause();

my $s = http($post, start => 1);

# the command is there, though nobody looks at it

select undef, undef, undef, 0.3;

my @new = reload_wait($t);

ok(@new && kill(0, $worker), 'the worker stays for the reply');

$redis->resume();

like(http_end($s), qr!^HTTP/1.1 201 !, 'the event is published');

###############################################################################
