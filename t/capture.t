#!/usr/bin/perl

# Tests for rtbus_capture: an answer of an upstream reaches its client as it is,
# and is a job beside that, whose events are read to the end whatever the client
# does.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Answer;
use Test::RTBus::Redis;
use Test::RTBus::Upstream;

use Time::HiRes qw/ sleep time /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http proxy rewrite /)
	->has_daemon('redis-server')->plan(204);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

my $up = Test::RTBus::Upstream->new();
my $port = $up->port();

$t->write_file_expand('nginx.conf', <<"EOF");

%%TEST_GLOBALS%%

daemon off;
worker_processes  1;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis    $url command_timeout=2s;
    rtbus_allow    chat:*;
    rtbus_user     \$arg_user;

    client_body_buffer_size  1k;

    log_format  capture  escape=none
                         "\$uri \$rtbus_capture \$rtbus_capture_events "
                         "\$rtbus_capture_usage";

    upstream app {
        server     127.0.0.1:$port;
        keepalive  4;
    }

    proxy_http_version  1.1;
    proxy_set_header    Connection "";

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        access_log   %%TESTDIR%%/capture.log capture;

        location /chat {
            proxy_pass     http://app;
            rtbus_capture  chat:\$rtbus_body_id;

            location /chat/off {
                proxy_pass     http://app;
                rtbus_capture  off;
            }
        }

        location /raw {
            proxy_pass     http://app;
            rtbus_capture  chat:\$arg_id format=raw;
        }

        location /ids {
            proxy_pass     http://app;
            rtbus_capture  chat:\$arg_id ids=on;
        }

        location /small {
            proxy_pass       http://app;
            rtbus_capture    chat:\$arg_id max=1k;
            rtbus_max_event  2k;
        }

        location /attach {
            proxy_pass     http://app;
            rtbus_capture  chat:\$arg_id busy=attach;
        }

        location /replace {
            proxy_pass     http://app;
            rtbus_capture  chat:\$arg_id busy=replace;
        }

        location /key {
            proxy_pass     http://app;
            rtbus_capture  chat:\$arg_id id=\$http_idempotency_key keep=1h;
        }

        location /cancel {
            proxy_pass     http://app;
            rtbus_capture  chat:\$arg_id disconnect=cancel;
        }

        location /ping {
            proxy_pass     http://app;
            rtbus_capture  chat:\$arg_id;
            rtbus_ping     100ms 10s;
        }

        location /one {
            proxy_pass     http://app;
            rtbus_capture  chat:\$arg_id;
            rtbus_replay   chat:\$arg_id;
        }

        location /replay {
            rtbus_replay  chat:\$arg_id done=1h;
        }

        location /bare {
            rtbus_replay  chat:\$arg_id done=1h id=off;
        }

        location /stop {
            rtbus_stop  chat:\$arg_id;
        }

        location /stopother {
            rtbus_stop  other:\$arg_id;
        }

        location /state {
            rtbus_state  chat:\$arg_id;
        }

        location /status {
            rtbus_status;
        }
    }
}

EOF

$t->run();

wait_for { !ref $redis->try_cmd('FCALL_RO', 'rtbus_version', 0) } 'library';

my ($a, $b, $c, $r, $state);

###############################################################################

# an answer, as it is; nothing is left out and nothing added

my @chunks = (
	"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hel\"}}]}\n\n",
	": comment\r\ndata: {\"choices\":[{\"index\":0,\"delta\":",
	"{\"content\":\"lo\"}}]}\r\n\r\ndata: {\"choices\":[],\"usage\":",
	"{\"total_tokens\":7}}\n\n",
	"data: [DONE]\n\n",
);

$a = post('/chat', '{"id":"x","id":"1"}', wait => 0);
$c = $up->accept();

like($c->request(), qr!^POST /chat HTTP/1.1\r\n!, 'request');
is($c->body(), '{"id":"x","id":"1"}', 'request body');

is(state('1')->{status}, 'running', 'running');
is(state('1')->{owner} =~ /^\S{12}:\d+\z/ && 1, 1, 'owner');
is(post('/chat', '{"id":"1"}')->status(), 409, 'busy');

$r = post('/chat', '{"id":"1"}');
is($r->header('x-should-retry'), 'false', 'busy, no retry');
is($r->finish(), '{"error":"busy","channel":"chat:1"}', 'busy body');

# a replay waits for the answer

$b = ask('/bare?id=1', wait => 0);

$c->head('text/event-stream; charset=utf-8', headers => [ 'X-App: 1' ]);
$a->head();

is($a->status(), 200, 'status');
is($a->header('X-App'), '1', 'header');
is($a->header('Content-Type'), 'text/event-stream; charset=utf-8', 'type');

$b->head();
is($b->header('Content-Type'), 'text/event-stream; charset=utf-8',
	'type of a replay');

my $whole = '';

for my $chunk (@chunks) {
	$c->send($chunk);
	$whole .= $chunk;
	ok($a->wait_body(qr/^\Q$whole\E\z/), 'as it comes');
}

$c->end();
is($a->finish(), $whole, 'bytes');
ok($a->whole(), 'end');

(my $lf = $whole) =~ s/\r\n/\n/g;
$lf =~ s/^: comment\n//m;

is($b->finish(), $lf, 'bytes of a replay');
ok($b->whole(), 'end of a replay');
is(ask('/bare?id=1')->finish(), $lf, 'bytes of a late replay');

$state = state('1');

is($state->{status}, 'completed', 'completed');
is($state->{usage}, '{"total_tokens":7}', 'usage');
is($state->{events}, 4, 'events');
is($state->{owner}, undef, 'no owner');
is($redis->cmd('GET', '{chat:1}:output'), 'Hello', 'output');
cmp_ok($redis->cmd('TTL', '{chat:1}:events'), '<=', 300, 'keep');
cmp_ok($redis->cmd('TTL', '{chat:1}:state'), '>', 3600, 'state stays');

$state = json_decode(ask('/state?id=1')->finish());

is($state->{usage}{total_tokens}, 7, 'usage in the answer');
ok($state->{startedAt} > 1e12, 'startedAt');
is($state->{events}, 4, 'events in the answer');

my @entries = entries('1');

is(join(' ', sort keys %{$entries[0]}), 'data event timestamp',
	'fields of an entry');
is($entries[3]{text}, '[DONE]', 'no JSON');
is($entries[4]{event}, 'capture:end', 'end');
is($entries[4]{data},
	'{"status":"completed","usage":{"total_tokens":7},"events":4}',
	'data of the end');

my $metrics = ask('/status')->finish();

like($metrics, qr/^rtbus_captures 0$/m, 'none runs');
like($metrics, qr/^rtbus_captures_total\{status="completed"\} 1$/m,
	'one is completed');
like($metrics, qr/^rtbus_capture_events_total 4$/m, 'its events');
like($metrics, qr/^rtbus_capture_claim_seconds_count 3$/m, 'claims');
like($metrics, qr/^rtbus_capture_claim_seconds_sum [0-9.]+$/m, 'time of claims');

is(logged('/chat', 'done'), '/chat done 4 {"total_tokens":7}', 'log');

# again, on the same channel and connection

$a = post('/chat', '{"id":1}', wait => 0);
ok($c->read_request(), 'upstream connection is kept');
like($redis->cmd('XLEN', '{chat:1}:events'), qr/^0$/, 'old events are gone');
$c->head('text/event-stream');
$c->send($chunks[0]);
$a->head();
ok($a->wait_body(qr/\n\n/), 'begun');

# a client that leaves; it is read on

$a->drop();
$c->send($_) for @chunks[1 .. $#chunks];
$c->end();

ok((wait_for { state('1')->{status} eq 'completed' } 'end'), 'read on');
is($redis->cmd('GET', '{chat:1}:output'), 'Hello', 'read on, output');
is(ask('/bare?id=1')->finish(), $lf, 'read on, replay');

# one that leaves before there is an answer; with reset

for my $way (qw/ drop reset /) {
	$a = post('/chat', '{"id":"2"}', wait => 0);
	$c = $up->next($c);
	$a->$way();
	sleep(0.1);
	$c->head('text/event-stream');
	$c->send($_) for @chunks;
	$c->end();

	ok((wait_for { state('2')->{status} eq 'completed' } 'end'),
		"$way before the header");
	is(ask('/bare?id=2')->finish(), $lf, "$way, replay");
}

# one that reads nothing

$a = ask('/raw?id=3', method => 'POST', wait => 0, rcvbuf => 4096);
$c = $up->next($c);
$c->head('text/event-stream');

my $long = 'x' x 100_000;

for (1 .. 80) {
	$c->send("data: $long\n\n");
}

$c->send("data: end\n\n");
$c->end();

ok((wait_for { state('3')->{status} eq 'completed' } 'end', 30),
	'reads nothing');
is(state('3')->{events}, 81, 'reads nothing, events');
$a->drop();

# not captured

for my $case (
	[ 'application/json', 200, [] ],
	[ 'text/event-stream', 500, [] ],
	[ 'text/event-stream', 302, [ 'Location: /x' ] ],
	[ 'text/event-stream', 200, [ 'Content-Encoding: gzip' ] ],
	[ undef, 200, [] ],
)
{
	my ($type, $status, $headers) = @$case;
	my $name = ($type || 'none') . " $status @$headers";

	$a = post('/chat', '{"id":"4"}', wait => 0);
	$c = $up->next($c);
	$c->head($type, status => $status, headers => $headers);
	$c->send('whatever');
	$c->end();

	$a->head();
	is($a->status(), $status, $name);
	is($a->finish(), 'whatever', "$name, body");

	ok((wait_for { state('4')->{status} eq 'failed' } 'failed'),
		"$name, failed");
	is($redis->cmd('XLEN', '{chat:4}:events'), 0, "$name, no events");
	is(ask('/replay?id=4')->status(), 204, "$name, no replay");
}

like(state('4')->{error}, qr/no stream/, 'error');

for my $body ('', '{}', '{"id":"1","ID":"2"}', '{"id":""}', '{"id":"a b"}', '{"id":null}',
	'{"id":{"id":"1"}}', '[{"id":"1"}]', '{"id":"1"', 'id')
{
	$a = post('/chat', $body, wait => 0);
	$c = $up->next($c);
	$c->head('text/event-stream');
	$c->send($chunks[0]);
	$c->end();
	$a->head();
	is($a->finish(), $chunks[0], "no channel: $body");
}

# bodies: with escapes, in a file, deep, with many members

my $deep = '[' x 100_000 . ']' x 100_000;

for my $case (
	[ '{"I\u0064":"\u0035"}', '5' ],
	[ '{"x":"' . 'y' x 300_000 . '","id":"6"}', '6' ],
	[ "{\"x\":$deep,\"id\":\"7\"}", '7' ],
	[ '{' . '"id":"no",' x 100_000 . '"id":8}', '8' ],
)
{
	my ($body, $id) = @$case;

	$a = post('/chat', $body, wait => 0);
	$c = $up->next($c);
	is(length $c->body(), length $body, "body with $id");
	is(state($id)->{status}, 'running', "channel $id");
	$c->head('text/event-stream');
	$c->send($_) for @chunks;
	$c->end();
	$a->head();
	is($a->finish(), $whole, "answer $id");
}

# broken off: told so in the words of the format, or by no end

$a = post('/chat', '{"id":"9"}', wait => 0);
$c = $up->next($c);
$c->head('text/event-stream');
$c->send($chunks[0]);
$a->head();
$a->wait_body(qr/\n\n/);
$b = ask('/bare?id=9');
$c->close();

like($a->finish(), qr/^\Q$chunks[0]\Edata: \{"error":\{"message".*\n\n\z/,
	'upstream breaks off');
is($b->finish(), $a->got(), 'the same for a replay');
ok($a->whole() && $b->whole(), 'with an end');
is(state('9')->{status}, 'interrupted', 'interrupted');

$a = ask('/raw?id=10', method => 'POST', wait => 0);
$c = $up->accept();
$c->head('text/event-stream');
$c->send($chunks[0]);
$a->head();
$a->wait_body(qr/\n\n/);
$b = ask('/bare?id=10');
$c->close();
$a->finish();
$b->finish();
ok(!$a->whole() && $a->over(), 'raw is broken off');
ok(!$b->whole() && $b->over(), 'so is its replay');
isnt($b->header('Connection'), 'close', 'which did not say that it would be');

$a = post('/chat', '{"id":"11"}', wait => 0);
$c = $up->accept();
$c->head('text/event-stream');
$c->send("$chunks[0]data: {");
$a->head();
$a->wait_body(qr/\{\z/);
$c->close();
$a->finish();
ok(!$a->whole() && $a->over(), 'half an event is broken off');
like(ask('/bare?id=11')->finish(), qr/^\Q$chunks[0]\Edata: \{"error"/,
	'which a replay has not');

# ended as HTTP has it, but not as the format does

$a = post('/chat', '{"id":"12"}', wait => 0);
$c = $up->accept();
$c->head('text/event-stream');
$c->send($chunks[0]);
$c->end();
$a->head();
like($a->finish(), qr/data: \{"error"/, 'no last event');
is(state('12')->{status}, 'interrupted', 'no last event, interrupted');

$a = ask('/raw?id=13', method => 'POST', wait => 0);
$c->read_request();
$c->head('text/event-stream');
$c->send("data: 1\n\n");
$c->end();
$a->head();
is($a->finish(), "data: 1\n\n", 'raw');
is(state('13')->{status}, 'completed', 'raw, completed');

# an error of its own

$a = post('/chat', '{"id":"14"}', wait => 0);
$c->read_request();
$c->head('text/event-stream');
$c->send("$chunks[0]data: {\"error\":{\"message\":\"x\"}}\n\n");
$c->end();
$a->head();
like($a->finish(), qr/"x"\}\}\n\n\z/, 'error of the upstream');
is(state('14')->{status}, 'failed', 'failed');
$b = ask('/bare?id=14');
like($b->finish(), qr/"x"\}\}\n\n\z/, 'replay of an error');
ok($b->whole(), 'ends with it');

# ids

$a = ask('/ids?id=15', method => 'POST', wait => 0);
$c->read_request();
$c->head('text/event-stream', chunked => 0,
	headers => [ 'Content-Length: ' . length $whole ]);
$c->raw($_) for split //, $whole;
$a->head();
is($a->header('Content-Length'), undef, 'no length with ids');

my $epoch = state('15')->{epoch};
my $n = 0;
(my $numbered = $whole) =~ s/^data/"id: chat:15\@$epoch-" . ++$n
	. "\ndata"/gme;

is($a->finish(), $numbered, 'ids');

my $end = time() + 10;

is(last_id('/ids', 15, 2)->finish(), ask('/replay?id=15')->finish()
	=~ s/^(?:id.*\n.*\n\n){2}//r, 'POST with an id');
is(last_id('/ids', 15, 4)->status(), 204, 'POST with the last id');
is(last_id('/ids', 15, 9)->status(), 410, 'POST with a later id');
ok(!$up->waiting(), 'no request for it');

# heartbeats

$a = ask('/ping?id=16', method => 'POST', wait => 0);
$c->read_request();
$c->head('text/event-stream');
$a->head();
$c->send("data: 1\n");
ok(!$a->wait_body(qr/\n:/, 0.5), 'no heartbeat in an event');
$c->send("\n");
ok($a->wait_body(qr/\n\n:\n/), 'heartbeat');
$c->send("data: 2\n\n");
$c->end();
like($a->finish(), qr/^(:\n)*data: 1\n\n(?::\n)+data: 2\n\n\z/, 'between');

# limits

for my $case (
	[ 'max', "data: 1\n\n" x 10 . "data: " . '1' x 1100 . "\n\n" ],
	[ 'event', "data: " . '1' x 3000 . "\n\n" ],
	[ 'line', 'data' x 3000 ],
)
{
	my ($what, $bytes) = @$case;

	$a = ask('/small?id=17', method => 'POST', wait => 0);
	$c = $up->next($c);
	$c->head('text/event-stream');
	$c->send("data: 0\n\n");
	$c->send($bytes);
	$c->send("\n\ndata: 9\n\n");
	$c->end();
	$a->head();
	is($a->finish(), "data: 0\n\n$bytes\n\ndata: 9\n\n", "$what, all of it");
	ok($a->whole(), "$what, end");
	is(state('17')->{status}, 'interrupted', "$what, interrupted");
}

# 10000 events at once

$a = ask('/raw?id=18', method => 'POST', wait => 0);
$c->read_request();
$c->head('text/event-stream');
$c->send(join '', map { "data: $_\n\n" } 1 .. 10000);
$c->end();
$a->head();
is(length $a->finish(), 10000 * length("data: \n\n") + 38894, 'many events');
is((wait_for { (state('18')->{events} || 0) == 10000 } 'many events', 60), 1,
	'many events, all of them');
is(length ask('/bare?id=18')->finish(20), 10000 * length("data: \n\n") + 38894,
	'many events again');

# lines of JSON

my $lines = "{\"message\":{\"content\":\"a\"},\"done\":false}\n"
	. "{\"response\":\"b\",\"done\":true,\"eval_count\":3}\n";

$a = ask('/chat?', method => 'POST', wait => 0, body => '{"id":"19"}');
$c->read_request();
$c->head('application/x-ndjson');
$c->send($_) for split //, $lines;
$c->end();
$a->head();
is($a->finish(), $lines, 'lines');
$b = ask('/replay?id=19');
is($b->header('Content-Type'), 'application/x-ndjson', 'lines, type');
is($b->finish(), $lines, 'lines, replay');
is($redis->cmd('GET', '{chat:19}:output'), 'ab', 'lines, output');
is(state('19')->{usage}, '{"eval_count":3}', 'lines, usage');

# names; those that others could not be told

my $names = "event: a\ndata: 1\n\nevent: message\ndata: 2\n\n"
	. "event: connect\ndata: 3\n\ndata: 4\n\nevent: \x01\"\ndata: 5\n\n";

$a = ask('/raw?id=20', method => 'POST', wait => 0);
$c->read_request();
$c->head('text/event-stream');
$b = ask('/bare?id=20', wait => 0);
$c->send($names);
$c->end();
$a->head();
is($a->finish(), $names, 'names');
$b->head();
is($b->finish(), $names, 'names, replay');
is(ask('/bare?id=20')->finish(), $names, 'names, late replay');
is((entries('20'))[2]{event}, 'message', 'name for others');

# GET is the replay's

is(ask('/one?id=21')->status(), 204, 'GET');
ok(!$up->waiting(), 'GET does not go upstream');

###############################################################################

# busy=attach

$a = ask('/attach?id=30', method => 'POST', wait => 0);
$c->read_request();
$c->head('text/event-stream');
$c->send("data: 1\n\n");
$a->head();
$a->wait_body(qr/\n\n/);
$b = ask('/attach?id=30', method => 'POST');
ok($b->wait_body(qr/data: 1\n\n/), 'attached');
$c->send("data: 2\n\n");
$c->end();
$a->finish();
like($b->finish(), qr/^id: .*\ndata: 1\n\nid: .*\ndata: 2\n\n\z/, 'to the end');
is(logged('/attach', 'attached'), '/attach attached  ', 'attached, log');

# busy=replace

$a = ask('/replace?id=31', method => 'POST', wait => 0);
$c->read_request();
$c->head('text/event-stream');
$c->send($chunks[0]);
$a->head();
$a->wait_body(qr/\n\n/);
$b = ask('/replace?id=31', method => 'POST', wait => 0);
ok($c->gone(5), 'the old one is stopped');
like($a->finish(), qr/"cancelled"/, 'its client is told so');
$c = $up->accept();
$c->head('text/event-stream');
$c->send("data: new\n\n");
$c->end();
$b->head();
is($b->finish(), "data: new\n\n", 'the new one');
is(ask('/bare?id=31')->finish(), "data: new\n\n", 'nothing of the old one');

# another user's

$a = ask('/raw?id=32&user=alice', method => 'POST', wait => 0);
$c->read_request();
$c->head('text/event-stream');
$c->send("data: 1\n\n");
$c->end();
$a->head();
$a->finish();

is(ask('/raw?id=32&user=bob', method => 'POST')->status(), 403, 'another\'s');
is(ask('/raw?id=32', method => 'POST')->status(), 403, 'nobody\'s');

# idempotency keys

$a = key('33', 'k1', wait => 0);
$c->read_request();
$b = key('33', 'k1', wait => 0);
$c->head('text/event-stream');
$c->send("data: 1\n\n");
$a->head();
$b->head();
$c->end();
is($a->finish(), "data: 1\n\n", 'first');
like($b->finish(), qr/data: 1\n\n\z/, 'the same');
ok(!$up->waiting(), 'one request');
like(key('33', 'k1')->finish(), qr/data: 1\n\n\z/, 'the same, later');
is(key('33', 'k' x 600)->status(), 400, 'too long');

$a = key('33', 'k2', wait => 0);
ok($c->read_request(), 'another key');
$c->close();
$a->head();
is($a->status(), 502, 'failed');
$a->finish();
$a = key('33', 'k2', wait => 0);
$c = $up->accept();
ok($c, 'a key is tried again after a failure');
$c->head('text/event-stream');
$c->end();
$a->head();
$a->finish();

###############################################################################

# stop

is(ask('/stop?id=no', method => 'POST')->status(), 404, 'stop nothing');
is(ask('/stopother?id=1', method => 'POST')->status(), 404, 'not allowed');
is(ask('/stop?id=1')->status(), 405, 'stop by GET');

$a = post('/chat', '{"id":"40"}', wait => 0);
$c->read_request();
$c->head('text/event-stream');
$c->send($chunks[0]);
$a->head();
$a->wait_body(qr/\n\n/);
$b = ask('/bare?id=40');
$b->wait_body(qr/\n\n/);

$r = ask('/stop?id=40', method => 'POST');
is($r->status(), 200, 'stop');
is($r->finish(), '{"channel":"chat:40","status":"cancelled"}', 'stop body');
ok($c->gone(5), 'upstream is left');
like($a->finish(), qr/^\Q$chunks[0]\Edata: \{"error".*"cancelled"\}\}\n\n\z/,
	'client is told');
is($b->finish(), $a->got(), 'replay is told');
ok($a->whole() && $b->whole(), 'with an end');
is(state('40')->{status}, 'cancelled', 'cancelled');
is(ask('/stop?id=40', method => 'DELETE')->status(), 200, 'stop again');
is(logged('/chat', 'cancelled'), '/chat cancelled 1 ', 'stop, log');

# before there is an answer

$a = post('/chat', '{"id":"41"}', wait => 0);
$c = $up->accept();
is(ask('/stop?id=41', method => 'POST')->status(), 200, 'stop, no answer yet');
ok($c->gone(5), 'upstream is left');
is(state('41')->{status}, 'cancelled', 'cancelled');
is(ask('/replay?id=41')->status(), 204, 'no replay');

# disconnect=cancel

for my $begun (0, 1) {
	$a = ask('/cancel?id=42', method => 'POST', wait => 0);
	$c = $up->accept();

	if ($begun) {
		$c->head('text/event-stream');
		$c->send($chunks[0]);
		$a->head();
		$a->wait_body(qr/\n\n/);
	}

	$a->drop();
	ok($c->gone(5), "client leaves, begun $begun");
	ok((wait_for { state('42')->{status} eq 'cancelled' } 'cancelled'),
		"client leaves, cancelled, begun $begun");
}

###############################################################################

# Redis away

$a = post('/chat', '{"id":"50"}', wait => 0);
$c = $up->accept();
$c->head('text/event-stream');
$c->send($chunks[0]);
$a->head();
$a->wait_body(qr/\n\n/);

$redis->pause();
$c->send($_) for @chunks[1 .. 3];
ok($a->wait_body(qr/total_tokens.*\n\n/), 'no event waits for Redis');
$redis->resume();
$c->send($chunks[4]);
$c->end();
is($a->finish(), $whole, 'Redis away for a while');
ok((wait_for { state('50')->{status} eq 'completed' } 'end', 20), 'completed');
is(ask('/bare?id=50')->finish(), $lf, 'all events');

# the answers to several calls are lost at a time: all of them come again

$a = post('/chat', '{"id":"again"}', wait => 0);
$c->read_request();
$c->head('text/event-stream');

for my $n (1 .. 3) {
	$c->send($chunks[0]);
	wait_for { (state('again')->{events} || 0) == $n } "event $n";
}

$state = state('again');

for my $n (0 .. 2) {
	is_deeply(append($n, ''), [ 'ok', $n + 1 ], "call $n again");
}

is_deeply(append(4, ''), [ 'over', 'lost' ], 'one that others are missing for');
is(scalar(entries('again')), 3, 'nothing is there twice');

$c->send($_) for @chunks[1 .. $#chunks];
$c->end();
$a->head();
is($a->finish(), $chunks[0] x 2 . $whole, 'to the end');
is_deeply(append(0, ''), [ 'ok', 1 ], 'completed, and the first call again');
is_deeply(append(0, 'interrupted'), [ 'over', 'completed' ], 'no other end');

# a reload

$a = post('/chat', '{"id":"51"}', wait => 0);
$c->read_request();
$c->head('text/event-stream');
$c->send($chunks[0]);
$a->head();
$a->wait_body(qr/\n\n/);

reload_wait($t);

is(post('/chat', '{"id":"51"}')->status(), 409, 'still running');
$c->send($_) for @chunks[1 .. $#chunks];
$c->end();
is($a->finish(), $whole, 'reload');
ok((wait_for { state('51')->{status} eq 'completed' } 'end'), 'completed');
is(ask('/bare?id=51')->finish(), $lf, 'reload, replay');

# without Redis there is no capture

$redis->stop();
$a = post('/chat', '{"id":"52"}', wait => 0);
$c = $up->accept();
$c->head('text/event-stream');
$c->send($chunks[0]);
$c->end();
$a->head();
is($a->finish(), $chunks[0], 'fail=open');

###############################################################################

sub ask {
	my ($path, %o) = @_;

	$o{body} = '' if ($o{method} || 'GET') eq 'POST' && !defined $o{body};

	return Test::RTBus::Answer->ask(path => $path, %o);
}

sub post {
	my ($path, $body, %o) = @_;

	return ask($path, method => 'POST', type => 'application/json',
		body => $body, %o);
}

sub key {
	my ($id, $key, %o) = @_;

	return ask("/key?id=$id", method => 'POST',
		headers => { 'Idempotency-Key' => $key }, %o);
}

sub last_id {
	my ($path, $id, $seq) = @_;

	return ask("$path?id=$id", method => 'POST', headers => {
		'Last-Event-ID' => "chat:$id\@$epoch-$seq" });
}

sub state {
	my ($id) = @_;

	return { @{$redis->cmd('HGETALL', "{chat:$id}:state")} };
}

sub entries {
	my ($id) = @_;

	return map { { @{$_->[1]} } }
		@{$redis->cmd('XRANGE', "{chat:$id}:events", '-', '+')};
}

# a call of the worker once more

sub append {
	my ($before, $status) = @_;

	return $redis->cmd('FCALL', 'rtbus_job_append', 1, '{chat:again}',
		$state->{epoch}, $before, $state->{owner}, 0, '', '', '',
		$status, '', '', 'message', '{}', '', '');
}

# a line of that location with that word in it

sub logged {
	my ($uri, $word) = @_;

	return wait_for {
		(grep { /^\Q$uri\E \Q$word\E / }
			split /\n/, $t->read_file('capture.log'))[0];
	} "line of $uri";
}

###############################################################################
