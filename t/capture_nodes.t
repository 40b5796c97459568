#!/usr/bin/perl

# Tests for captures where there is more than one nginx, and where there is no
# Redis: a stop at another node ends the answer at its owner, for all who read it;
# without Redis "fail" decides; what must not be captured passes unchanged.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Answer;
use Test::RTBus::Redis;
use Test::RTBus::Upstream;

use Time::HiRes qw/ time /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http proxy rewrite /)
	->has_daemon('redis-server')->plan(18);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

my $up = Test::RTBus::Upstream->new();
my $port = $up->port();

my $conf = <<"EOC";

%%TEST_GLOBALS%%

daemon off;
worker_processes  1;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis  $url command_timeout=2s;
    rtbus_allow  chat:*;

    proxy_http_version  1.1;

    server {
        listen       127.0.0.1:LISTEN;
        server_name  localhost;

        location /chat {
            proxy_pass     http://127.0.0.1:$port;
            rtbus_capture  chat:\$arg_id;
        }

        location /closed {
            proxy_pass     http://127.0.0.1:$port;
            rtbus_capture  chat:\$arg_id fail=closed;
        }

        location /replay {
            rtbus_replay  chat:\$arg_id;
        }

        location /stop {
            rtbus_stop  chat:\$arg_id;
        }
    }
}

EOC

# the other node has a directory of its own, and the same Redis

my $other = Test::Nginx->new();

$t->write_file_expand('nginx.conf', $conf =~ s/LISTEN/8080/r);
$other->write_file_expand('nginx.conf', $conf =~ s/LISTEN/8081/r);

$t->run();
$other->run();

wait_redis($t);
wait_redis($other);

###############################################################################

my $chunk = qq(data: {"choices":[{"index":0,"delta":{"content":"Hel"}}]}\n\n);

# a stop at another node

my $first = ask('/chat?id=1', method => 'POST', body => '{}', wait => 0);
my $c = $up->accept();
$c->head('text/event-stream');
$c->send($chunk);
$first->head();
ok($first->wait_body(qr/Hel/), 'the answer begins');

my $second = ask('/replay?id=1', port => port(8081));
ok($second->wait_body(qr/Hel/), 'and is read at another node');

my $began = time();

is(ask('/stop?id=1', port => port(8081), method => 'POST', body => '')->status(),
	200, 'stop there');
ok($c->gone(10), 'the upstream is closed');
note(sprintf 'after %.0f ms', 1000 * (time() - $began));

like($first->finish(), qr/Hel.*error/s, 'the first client is told');
like($second->finish(), qr/Hel.*error/s, 'and so is the second');
is($redis->cmd('HGET', '{chat:1}:state', 'status'), 'cancelled', 'state');

is(ask('/stop?id=1', method => 'DELETE')->status(), 200, 'again');
is(ask('/stop?id=none', method => 'DELETE')->status(), 404, 'none');

# a client of MCP takes its leaving for a stop

$first = ask('/chat?id=2', method => 'POST', body => '{}', wait => 0,
	headers => { 'MCP-Protocol-Version' => '2026-07-28' });
answer($up->accept());
$first->head();
is($first->finish(), $chunk, 'MCP');
is($redis->cmd('EXISTS', '{chat:2}:state'), 0, 'is not captured');

# no Redis

$redis->stop();

is(ask('/closed?id=3', method => 'POST', body => '{}')->status(), 503,
	'fail=closed without Redis');

$first = ask('/chat?id=3', method => 'POST', body => '{}', wait => 0);
answer($up->accept());
$first->head();
is($first->status(), 200, 'fail=open without Redis');
is($first->finish(), $chunk, 'unchanged');

is(ask('/replay?id=1')->status(), 503, 'replay without Redis');
ok(!$up->waiting(), 'nothing else went upstream');

###############################################################################

sub ask {
	my ($path, %o) = @_;

	return Test::RTBus::Answer->ask(path => $path, type => 'application/json',
		%o);
}

sub answer {
	my ($c) = @_;

	$c->head('text/event-stream');
	$c->send($chunk);
	$c->end();
}

###############################################################################
