#!/usr/bin/perl

# Tests for If-None-Match, If-Match and the like.  Only the state of a job is a
# document that the client may have already.  Whatever else was asked for has
# been done, taken from a queue, or is a stream: a 304 or 412 would be a lie,
# and a stream behind it would be the answer to somebody else's request.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Polling;
use Test::RTBus::Redis;
use Test::RTBus::SSE;
use Test::RTBus::WebSocket;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http rewrite /)
	->has_daemon('redis-server')->plan(77);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

$t->write_file_expand('nginx.conf', <<"EOT");

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis      $url;
    rtbus_allow      job:*;
    rtbus_subscribe  job:1;
    rtbus_command    ask reply=10s;
    rtbus_command    do;
    rtbus_user       u;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location /events {
            rtbus  sse;
        }

        location /ws {
            rtbus  websocket;
        }

        location /io {
            rtbus  socketio;
        }

        location /state {
            rtbus_state  job:1;
        }

        location /publish {
            rtbus_publish  job:1;
        }

        location /live {
            rtbus_publish  job:1 live;
        }

        location /do {
            rtbus_submit  do;
        }

        location /ask {
            rtbus_submit  ask;
        }

        location /status {
            rtbus_status;
        }

        location /health {
            rtbus_health;
        }

        location /empty {
            error_page  404 =204 /events;
            return      404;
        }

        location /empty_ws {
            error_page  404 =204 /ws;
            return      404;
        }

        location /file {
            return  200 SEE-THIS;
        }
    }
}

EOT

$t->run();
wait_redis($t);

$redis->cmd('HSET', '{job:1}:state', 'status', 'x');

###############################################################################

my %conditions = (
	'If-None-Match' => '*',
	'If-Match' => '"x"',
	'If-Unmodified-Since' => 'Thu, 01 Jan 1970 00:00:01 GMT',
	'If-Modified-Since' => 'Thu, 01 Jan 2099 00:00:00 GMT',
	'Range' => 'bytes=0-1',
);

for my $name (sort keys %conditions) {
	my %h = ($name => $conditions{$name});

	my $sse = Test::RTBus::SSE->connect(path => '/events',
		headers => { %h });
	is($sse->status(), 200, "$name, sse");
	is($sse->next_event()->{event}, 'connected', "$name, sse connected");
	$sse->drop();

	my $ws = Test::RTBus::WebSocket->connect(path => '/ws',
		headers => { %h });
	is($ws->status(), 101, "$name, websocket");
	$ws->drop();

	for my $uri (qw/ status status?format=json health /) {
		is(get("/$uri", headers => { %h })->status(), 200,
			"$name, $uri");
	}

	is(post('/publish', '{"event":"e"}', %h)->status(), 201,
		"$name, publish");
	is(post('/live', '{"event":"e"}', %h)->status() =~ /^20/, 1,
		"$name, live");
	is(post('/do', '1', %h)->status(), 202, "$name, submit");
	$redis->take('rtbus:commands');

	my $r = post('/ask', '1', %h, wait => 1);
	my ($command) = $redis->take('rtbus:commands');
	$redis->answer($command, { data => [ 'done' ] });
	$r->handshake();
	is($r->status(), 200, "$name, submit with a reply");
	is($r->body(), '"done"', "$name, reply");

	my $io = Test::RTBus::Polling->connect(path => '/io',
		headers => { %h });
	is($io->opened()->status(), 200, "$name, polling opened");
	is($io->join_nsp()->{type}, 0, "$name, polling joined");
	is($io->packet()->{name}, 'connected', "$name, polling events");
}

# what the state has, it has still: RFC 9110 section 13

is(get('/state', headers => { 'If-None-Match' => '*' })->status(), 304,
	'state 304');
is(get('/state', headers => { 'If-Match' => '"x"' })->status(), 412,
	'state 412');

# an answer that may have no body ends with its header, and the next request of
# the connection has the next answer

my $r = get('/empty');
is($r->status(), 204, 'stream without a body');

is(metrics_connections(), 0, 'no client is left of it');

$redis->event('job:1', 'e', 1);
$r->send_raw("GET /file HTTP/1.1\r\nHost: localhost\r\n\r\n");
$r->handshake();
is($r->status(), 200, 'next request');
is($r->body(), 'SEE-THIS', 'next request, body');

is(Test::RTBus::WebSocket->connect(path => '/empty_ws')->status(), 101,
	'websocket');

###############################################################################

sub get {
	my ($uri, %o) = @_;

	return Test::RTBus::SSE->connect(path => $uri, accept => undef, %o);
}

sub post {
	my ($uri, $body, %h) = @_;
	my $wait = delete $h{wait};

	return get($uri, method => 'POST', early => $body,
		$wait ? (read => 0) : (), headers => {
		'Content-Type' => 'application/json',
		'Content-Length' => length $body, %h });
}

sub metrics_connections {
	my ($n) = get('/status')->body()
		=~ /^rtbus_connections\{transport="sse"\} (\d+)/m;

	return $n;
}

###############################################################################
