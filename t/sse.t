#!/usr/bin/perl

# Tests for event streams over HTTP/1.x: what a browser's EventSource needs of
# the reply, the format of the events, refusals, CORS, heartbeats, and that
# nothing between the producer and the client holds an event back.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Redis;
use Test::RTBus::SSE;
use Test::RTBus::WebSocket;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http proxy gzip ssi stub_status /)
	->has_daemon('redis-server')->plan(157);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $redis_url = $redis->url();

$t->write_file_expand('nginx.conf', <<"EOC");

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis  $redis_url;
    rtbus_allow  job:*;
    rtbus_allow  user:\$arg_user;

    # nothing of this may touch an event stream

    gzip             on;
    gzip_types       *;
    gzip_min_length  0;
    gzip_proxied     any;
    postpone_output  1460;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location /events {
            rtbus sse;
            rtbus_subscribe job:\$arg_job user:\$arg_user \$arg_channel;
            rtbus_max_channels 3;
        }

        location /beat {
            rtbus sse;
            rtbus_subscribe job:beat;
            rtbus_ping 100ms 10s;
        }

        location /none {
            rtbus sse;
        }

        location /any {
            rtbus sse;
            rtbus_subscribe job:1;
            rtbus_origin any;
        }

        location /list {
            rtbus sse;
            rtbus_subscribe job:1;
            rtbus_origin https://a.example http://b.example:8080;
        }

        location /both {
            rtbus websocket sse;
            rtbus_subscribe job:1;
        }

        location /ws {
            rtbus websocket;
            rtbus_subscribe job:1;
        }

        location /ssi {
            ssi on;
            ssi_types *;
        }

        location /status {
            stub_status;
        }
    }

    server {
        listen       127.0.0.1:8081;
        server_name  localhost;

        gzip off;

        location / {
            proxy_pass http://127.0.0.1:8080;
            proxy_http_version 1.1;
        }

        location /10/ {
            proxy_pass http://127.0.0.1:8080/;
            proxy_http_version 1.0;
        }
    }
}

EOC

$t->write_file('ssi', '<!--#include virtual="/events?job=1" -->END');
$t->write_file('file', 'SEE-THIS');

$t->run();
wait_redis($t);

###############################################################################

# the head of the reply

my $sse = Test::RTBus::SSE->connect(path => '/events?job=1',
	headers => { 'Accept-Encoding' => 'gzip' });

is($sse->status(), 200, 'status');
is($sse->header('Content-Type'), 'text/event-stream', 'content type');
is($sse->header('Cache-Control'), 'no-store', 'cache control');
is($sse->header('X-Accel-Buffering'), 'no', 'no buffering');
is($sse->header('Transfer-Encoding'), 'chunked', 'chunked');

for my $name (qw/ Content-Length Content-Encoding Last-Modified ETag
	Accept-Ranges Access-Control-Allow-Origin /)
{
	is($sse->header($name), undef, "no $name");
}

# it begins at once

ok($sse->wait_comments(1), 'first comment');

my $event = $sse->next_json();

is($event->{event}, 'connected', 'connected');
ok(exists $event->{data}{sessionId}, 'connected, data');

# events

is($redis->event('job:1', 'hello', { a => 1 }), 1, 'published');

$event = $sse->next_event();

is($event->{event}, 'hello', 'event');
is($event->{data}, '{"a":1}', 'data');
like($event->{id}, qr/^job:1@/, 'id');

for my $data ('{}', '[]', '0', 'null', '""', '" "', '{ "a" : [1,2 ] }', '1E400',
	'"data: x"', '"\u000a\u00e9\n\r"', "\"\xc3\xa9\xe2\x82\xac\"",
	'{"a":1,"a":2}', '"' . 'x' x 200000 . '"')
{
	$redis->publish('job:1', "{\"event\":\"e\",\"data\":$data}");

	$event = $sse->next_event();
	is($event && $event->{data}, $data, 'data ' . ascii($data));
}

# line breaks are white space in JSON, and the ends of lines here

for my $data ("{\n\"a\":1\n}", "{\r\n\"a\":1\r\n}", "{\r\"a\":1\r}",
	"[\n\n1,\n\r2\r\n\r\n]")
{
	$redis->publish('job:1', "{\"event\":\"e\",\"data\":$data}");

	$event = $sse->next_event();
	is(ascii($event->{data}), ascii($data =~ s/\r\n?/\n/gr),
		'lines ' . ascii($data));
	is_deeply(json_decode($event->{data}), json_decode($data),
		'lines ' . ascii($data) . ', json');
}

$redis->publish('job:1', '{"event":"e"}');
is($sse->next_event()->{data}, 'null', 'no data');

$redis->publish('job:1', '{"event":"e","args":[1, {}]}');
is($sse->next_event()->{data}, '[1, {}]', 'args');

for my $name ('model:chunk:v1', 'data', ' x', 'a b', ':', "caf\xc3\xa9",
	'x' x 128)
{
	$redis->publish('job:1', "{\"event\":\"$name\",\"data\":1}");
	is($sse->next_event()->{event}, $name, 'name ' . ascii($name));
}

$redis->publish('job:1', '{"event":"caf\u00e9 \"x\"","data":1}');
is($sse->next_event()->{event}, "caf\xc3\xa9 \"x\"", 'name with escapes');

$redis->publish('job:1', 'no event');
$redis->publish('job:1', '{"event":"a\nb","data":1}');
$redis->publish('job:1', '{"event":"a\rb","data":1}');
$redis->publish('job:1', '{"event":"good","data":1}');
is($sse->next_event()->{event}, 'good', 'what is no event is dropped');

# many, in order

$redis->pipeline(map { [ 'PUBLISH', 'job:1',
	"{\"event\":\"n\",\"data\":$_}" ] } 1 .. 2000);

my $n = 0;
$n++ while $n < 2000 && ($sse->next_event() || {})->{data} == $n + 1;

is($n, 2000, 'many events in order');

# several channels

my $other = client('/events?job=2&user=7&channel=job:3');

for my $channel ('job:2', 'user:7', 'job:3') {
	$redis->wait_subscribers($channel, 1);
	$redis->event($channel, $channel, 1);

	is($other->next_event()->{event}, $channel, "channel $channel");
}

is(join(' ', sort split /,/, $other->last_event_id() =~ s/@[^,]*//gr),
	'job:2 job:3 user:7', 'cursor of several channels');
is(scalar(my @none = $sse->pending()), 0, 'other channels are not of interest');

$redis->event('job:1', 'e', 1);
ok($sse->next_event(), 'this one is');

# HTTP/1.0

my $old = Test::RTBus::SSE->connect(path => '/events?job=1',
	version_http => '1.0');

is($old->status(), 200, 'HTTP/1.0');
is($old->header('Transfer-Encoding'), undef, 'HTTP/1.0 no chunks');
is($old->header('Content-Length'), undef, 'HTTP/1.0 no length');
is($old->header('Connection'), 'close', 'HTTP/1.0 to be closed');

$old->wait_event('connected');
$redis->event('job:1', 'old', "\n");
is($old->next_event()->{data}, '"\n"', 'HTTP/1.0 event');

# on a connection that was used before, with a body, with a request behind it

$old = Test::RTBus::SSE->connect(path => '/events?job=1', request =>
	"GET /file HTTP/1.1\r\nHost: localhost\r\n\r\n", read => 0);
$old->read_head();
$old->read_body();
is($old->body(), 'SEE-THIS', 'another request');

$old->{headers} = {};
$old->send_raw("GET /events?job=1 HTTP/1.1\r\nHost: localhost\r\n"
	. "Content-Length: 10\r\n\r\n0123456789"
	. "GET /file HTTP/1.1\r\nHost: localhost\r\n\r\n");
ok($old->handshake(), 'stream on the same connection');
$old->wait_event('connected');
$redis->event('job:1', 'old', 1);
is($old->next_event()->{event}, 'old', 'event on the same connection');

# refusals

for my $case (
	[ 400, '/events', 'no channel' ],
	[ 400, '/none', 'no channel' ],
	[ 400, '/events?user=&job=', 'no channel' ],
	[ 400, '/events?channel=a%20b', 'bad channel' ],
	[ 400, '/events?job={1}', 'bad channel' ],
	[ 403, '/events?channel=secret', 'forbidden' ],
	[ 403, '/events?job=1&channel=user:7', 'forbidden' ],
)
{
	my ($status, $path, $error) = @$case;

	my $no = Test::RTBus::SSE->connect(path => $path);

	is($no->status(), $status, "$status $path");
	is(json_decode($no->body())->{error}, $error, "$status $path, error");
}

for my $method (qw/ POST PUT DELETE HEAD PATCH /) {
	my $no = Test::RTBus::SSE->connect(path => '/events?job=1',
		method => $method, headers => { 'Content-Length' => 0 });

	is($no->status(), 405, "405 $method");
	is($no->header('Allow'), 'GET', "405 $method, allow");
}

# origins

for my $case (
	[ 200, '/events?job=1', 'http://localhost' ],
	[ 403, '/events?job=1', 'http://localhost:8080' ],
	[ 403, '/events?job=1', 'http://evil.example' ],
	[ 403, '/events?job=1', 'null' ],
	[ 200, '/any', 'http://evil.example' ],
	[ 200, '/any', 'null' ],
	[ 200, '/list', 'https://a.example' ],
	[ 403, '/list', 'https://c.example' ],
)
{
	my ($status, $path, $origin) = @$case;

	my $sse = Test::RTBus::SSE->connect(path => $path, origin => $origin);

	is($sse->status(), $status, "$status $path for $origin");
	is($sse->header('Access-Control-Allow-Origin'),
		$status == 200 ? $origin : undef,
		"$status $path for $origin, allowed");

	next if $status != 200;

	is($sse->header('Access-Control-Allow-Credentials'), 'true',
		"$status $path for $origin, credentials");
	like($sse->header('Vary'), qr/\bOrigin\b/,
		"$status $path for $origin, vary");
}

# without a host there is no origin that would be the same

like(http("GET /events?job=1 HTTP/1.0\nOrigin: http://localhost\n\n"),
	qr/ 403 /, '403 without a host');

my $preflight = Test::RTBus::SSE->connect(path => '/list', method => 'OPTIONS',
	origin => 'https://a.example', headers => {
		'Access-Control-Request-Method' => 'GET',
		'Access-Control-Request-Headers' => 'last-event-id, x-other',
	});

is($preflight->status(), 204, 'preflight');
is($preflight->header('Access-Control-Allow-Origin'), 'https://a.example',
	'preflight, origin');
like($preflight->header('Access-Control-Allow-Methods'), qr/\bGET\b/,
	'preflight, methods');
is($preflight->header('Access-Control-Allow-Headers'), 'last-event-id, x-other',
	'preflight, headers');

is(Test::RTBus::SSE->connect(path => '/list', method => 'OPTIONS',
	origin => 'https://c.example')->status(), 403, 'foreign preflight');
is(Test::RTBus::SSE->connect(path => '/list', method => 'OPTIONS')->status(),
	405, 'options of no origin');

# heartbeats

my $beat = client('/beat');

ok($beat->wait_comments(5), 'heartbeats');
$redis->event('job:beat', 'e', 1);
is($beat->next_event()->{event}, 'e', 'event between heartbeats');

my $comments = () = $beat->comments();
ok($beat->wait_comments($comments + 2), 'heartbeats after an event');
is(join('', $beat->comments()), '', 'heartbeats say nothing');
is(join(', ', $beat->faults()), '', 'heartbeats are no events, ids come first');

# several channels, several lines, a replay, events of the module itself

$redis->cmd('FCALL', 'rtbus_publish', 1, 'job:2', 'lines', qq({\n"a":2\r\n}));

my $order = client('/events?job=1&cursor=job:2@0-0');
is($order->wait_event('lines')->{data}, qq({\n"a":2\n}), 'lines, replayed');
$redis->event('job:1', 'lines', "x");
like($order->wait_event('lines')->{id}, qr/^job:1@[\d-]+,job:2@[\d-]+$/,
	'whole cursor in front of the data');
is(join(', ', $order->faults()), '', 'ids come first');
$order->drop();

# an event that is about to go out when a heartbeat is due is no reason to wait
# as for a client that does not read

my @beats = map { client('/beat') } 1 .. 30;

for my $n (1 .. 200) {
	$redis->event('job:beat', 'n', $n);
	select undef, undef, undef, 0.002;
}

$redis->event('job:beat', 'last', 1);
$_->wait_event('last') for @beats;

my %seen = map { my $n = () = $_->comments(); $_->fd() => $n } @beats;

ok(select_loop(\@beats, sub {
	!grep { $_->comments() < $seen{$_->fd()} + 2 } @beats;
}, 5), 'heartbeats go on after events');

$_->drop() for @beats;

# both protocols at one location

is(client('/both')->is_stream(), 1, 'both: event stream');
is(Test::RTBus::SSE->connect(path => '/both', accept => undef)->is_stream(), 1,
	'both: event stream without accept');
is(Test::RTBus::WebSocket->connect(path => '/both')->status(), 101,
	'both: websocket');
is(Test::RTBus::WebSocket->connect(path => '/both', version => 12)->status(),
	426, 'both: bad websocket');
is(Test::RTBus::SSE->connect(path => '/ws')->status(), 426,
	'only websocket: no event stream');

# other upgrades are for others: curl --http2 and Java's client offer h2c

for my $upgrade ('h2c', 'h2c, foo', 'TLS/1.0', 'websocketx') {
	is(Test::RTBus::SSE->connect(path => '/both', headers => {
		Upgrade => $upgrade, Connection => 'Upgrade, HTTP2-Settings',
		'HTTP2-Settings' => 'AAMAAABkAAQCAAAAAAIAAAAA' })->is_stream(),
		1, "both: event stream with Upgrade: $upgrade");
}

is(Test::RTBus::WebSocket->connect(path => '/both', headers => {
	Upgrade => 'h2c, websocket' })->status(), 101, 'both: one of several');

is(Test::RTBus::SSE->connect(path => '/events?job=1', headers => {
	Upgrade => 'websocket', Connection => 'Upgrade' })->status(), 200,
	'only event stream: no upgrade');

# behind a proxy that buffers

for my $case ([ '1.1', '' ], [ '1.0', '/10' ]) {
	my ($version, $prefix) = @$case;

	my $proxied = client("$prefix/events?job=1", port => port(8081),
		headers => { 'Accept-Encoding' => 'gzip' });

	is($proxied->header('Content-Type'), 'text/event-stream',
		"proxy $version: content type");
	is($proxied->header('Cache-Control'), 'no-store',
		"proxy $version: cache control");

	for my $i (1 .. 3) {
		$redis->event('job:1', 'proxied', $i);
		is($proxied->next_event()->{data}, $i,
			"proxy $version: event $i");
	}

	$beat = client("$prefix/beat", port => port(8081));
	ok($beat->wait_comments(3), "proxy $version: heartbeats");
}

# a stream is no part of a page

like(http_get('/ssi'), qr/END/, 'subrequest');

# who goes away is forgotten

my @gone = map { client('/events?job=gone') } 1 .. 4;

push @gone, client('/events?job=gone', port => port(8081));
is($redis->subscribers('job:gone'), 1, 'subscribed');

$gone[0]->drop();
$gone[1]->reset();
$gone[2]->shut_write();
$gone[3]->send_raw("GET / HTTP/1.1\r\n");
$gone[3]->shut_write();
$gone[4]->drop();

ok($gone[2]->wait_eof(), 'closed at the end of the client');

$_->drop() for $sse, $other, $old, $beat, $preflight, @gone;

ok($redis->wait_subscribers('job:gone', 0), 'unsubscribed');

like((wait_for {
	http_get('/status') =~ /Active connections: (1)\D/ && $1
} 'the end of all connections'), qr/1/, 'no connection is left');

###############################################################################

sub client {
	my ($path, %o) = @_;

	my $sse = Test::RTBus::SSE->connect(path => $path, %o);

	$sse->wait_event('connected') or die "No stream at $path\n";

	return $sse;
}

sub ascii {
	my ($s) = @_;

	$s =~ s/\n/\\n/g;
	$s =~ s/\r/\\r/g;
	$s =~ s/[^ -~]+/?/g;

	return substr $s, 0, 60;
}

###############################################################################
