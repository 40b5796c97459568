#!/usr/bin/perl

# Tests for captured answers beside rtbus_schema: their events are checked as all
# others, but for the end, which is the module's own and which no replay could do
# without.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Answer;
use Test::RTBus::Redis;
use Test::RTBus::Upstream;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http proxy rewrite /)
	->has_daemon('redis-server')->plan(7);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

my $up = Test::RTBus::Upstream->new();
my $port = $up->port();

$t->write_file('schema.json', '{"message":true}');

$t->write_file_expand('nginx.conf', <<"EOC");

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis   $url;
    rtbus_schema  %%TESTDIR%%/schema.json strict;
    rtbus_allow   chat:*;

    proxy_http_version  1.1;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location /chat {
            proxy_pass     http://127.0.0.1:$port;
            rtbus_capture  chat:\$arg_id format=raw;
        }

        location /replay {
            rtbus_replay  chat:\$arg_id done=1h id=off;
        }
    }
}

EOC

$t->run();

wait_redis($t);
wait_for { !ref $redis->try_cmd('FCALL_RO', 'rtbus_version', 0) } 'library';

###############################################################################

my $a = Test::RTBus::Answer->ask(path => '/chat?id=1', method => 'POST',
	body => '', wait => 0);
my $c = $up->accept();
$c->head('text/event-stream');
$c->send("data: 1\n\n");
$a->head();
$a->wait_body(qr/\n\n/);

my $b = Test::RTBus::Answer->ask(path => '/replay?id=1');
ok($b->wait_body(qr/data: 1\n\n/), 'what is in the file is replayed');

$c->send("event: other\ndata: 2\n\n");
$c->end();

is($a->finish(), "data: 1\n\nevent: other\ndata: 2\n\n", 'its client gets all');
is($b->finish(), "data: 1\n\n", 'a live replay without the rest');
ok($b->whole(), 'ends');

$b = Test::RTBus::Answer->ask(path => '/replay?id=1');
is($b->finish(), "data: 1\n\n", 'a late one');
ok($b->whole(), 'ends');

error_log_like($t, qr/"other": event name is not in the schema/, 'logged');

###############################################################################
