#!/usr/bin/perl

# Tests for rtbus_publish: producers that speak no Redis post their events.
# What is answered with 201 has been taken by Redis, byte for byte; anything
# else says why, and the connection stays usable.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Redis;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http http_v2 map rewrite /)
	->has_daemon('redis-server')->plan(146);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

$t->write_file_expand('nginx.conf', <<"EOF");

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis   $url command_timeout=2s;
    rtbus_prefix  t:;
    rtbus_origin  https://app.example;

    client_body_timeout   1s;
    client_max_body_size  4m;

    # each large body passes through it many times, and never to a file

    client_body_buffer_size  1k;

    log_format    answer "\$status \$server_protocol";

    map \$server_protocol \$http2_only {
        HTTP/2.0  1;
        default   0;
    }

    server {
        listen       127.0.0.1:8080;
        listen       127.0.0.1:8081 http2;
        server_name  localhost;

        access_log   %%TESTDIR%%/http2.log answer if=\$http2_only;

        location ~ ^/live/(.*)\$ {
            rtbus_publish    \$1 live;
            rtbus_max_event  2m;
        }

        location ~ ^/small/(.*)\$ {
            rtbus_publish    \$1 live;
            rtbus_max_event  3000;
        }

        location ~ ^/durable/(.*)\$ {
            rtbus_publish  \$1;
        }

        location /file {
            client_body_in_file_only  on;

            rtbus_publish    job:42 live;
            rtbus_max_event  2m;
        }
    }
}

EOF

$t->run();

my %json = ('Content-Type' => 'application/json');
my $event = '{"event":"a","data":1}';

ok((wait_for { post('/live/job:42', $event)->status() == 201 } 'Redis'),
	'connected');

my $listener = listener();
my ($r, $body);

###############################################################################

$body = " {\"event\": \"a\",\r\n \"data\": \"\xe2\x82\xac\\u0000\",\"x\":1}\n";

$r = post('/live/job:42', $body);
is($r->status(), 201, 'live');
is($r->body(), '{"channel":"job:42"}', 'live body');
is($r->header('Content-Type'), 'application/json', 'live type');
is($r->header('Cache-Control'), 'no-store', 'live cache');
is($r->header('Access-Control-Allow-Origin'), undef, 'live without cors');
is(published(), "t:job:42 $body", 'live, as it stands');

is(again($r, '/live/user:1', $event)->body(), '{"channel":"user:1"}',
	'keepalive');
is(published(), "t:user:1 $event", 'keepalive published');

# types

for my $case (
	[ 'application/json; charset=utf-8', 201 ],
	[ 'Application/JSON ;x', 201 ],
	[ undef, 201 ],
	[ 'application/jsonx', 415 ],
	[ 'application/json-seq', 415 ],
	[ 'application/x-www-form-urlencoded', 415 ],
	[ 'text/plain', 415 ],
	[ 'json', 415 ],
)
{
	my ($type, $status) = @$case;

	$r = post('/live/job:42', $event,
		headers => { 'Content-Type' => $type });
	is($r->status(), $status, 'type ' . (defined $type ? $type : 'none'));
}

is($r->body(), '{"error":"not application/json"}', 'type body');
is(again($r, '/live/job:42', $event)->status(), 201, 'type and on');

# methods

for my $method (qw/ GET HEAD PUT DELETE OPTIONS /) {
	$r = post('/live/job:42', $event, method => $method);
	is($r->status() . ' ' . $r->header('Allow'), '405 POST', $method);
}

is(again($r, '/live/job:42', $event)->status(), 201, 'method and on');

# channels

for my $name ('', 'a%20b', 'job:%7b1%7d', 'x' x 201) {
	$r = post("/live/$name", $event);
	like($r->body(), qr/^\{"error":"bad channel","channel":"/,
		'bad channel ' . substr $name, 0, 10);
}

is($r->status(), 400, 'bad channel status');

# events

for my $case (
	[ '', 'not JSON' ],
	[ '{"event":"a"', 'not JSON' ],
	[ '{"event":"a"} x', 'not JSON' ],
	[ '{"event":"a","data":01}', 'not JSON' ],
	[ "{\"event\":\"a\",\"data\":\"\xff\"}", 'bad UTF-8' ],
	[ '{"event":"a","data":' . '[' x 100 . ']' x 100 . '}',
		'nested too deep' ],
	[ '["event"]', 'not an object' ],
	[ '{"data":1}', 'no event name' ],
	[ '{"event":""}', 'no event name' ],
	[ '{"event":7}', 'event name is not a string' ],
	[ '{"event":"' . 'x' x 129 . '"}', 'event name too long' ],
	[ '{"event":"a\nb"}', 'control character in event name' ],
	[ '{"event":"a","id":7}', 'bad id' ],
	[ '{"event":"a","id":"1-2"}', 'id is not allowed' ],
	[ '{"event":"a","timestamp":"now"}', 'bad timestamp' ],
	[ '{"event":"a","args":{}}', 'args is not an array' ],
	[ '{"event":"a","args":[],"data":1}', 'both data and args' ],
	[ '{"event":"a","attachments":[1]}',
		'attachments is not an array of strings' ],
)
{
	my ($bytes, $reason) = @$case;

	$r = post('/live/job:42', $bytes);
	is($r->status() . $r->body(), "400{\"error\":\"$reason\"}",
		"event: $reason");
}

is(again($r, '/live/job:42', $event)->status(), 201, 'bad event and on');

# sizes

my $large = '{"event":"a","data":"' . 'x' x 2_000_000 . '"}';
my $fits = '{"event":"a","data":"' . 'x' x 2977 . '"}';
is(length $fits, 3000, 'as large as may be');

drain();

is(post('/live/job:42', $large)->status(), 201, 'large');
ok(published() eq "t:job:42 $large", 'large published');
is(post('/live/job:42', chunked($large, 7000), chunks())->status(), 201,
	'large in chunks');
ok(published() eq "t:job:42 $large", 'large in chunks published');

is(post('/small/job:42', $fits)->status(), 201, 'fits');
is(post('/small/job:42', chunked($fits, 100), chunks())->status(), 201,
	'fits in chunks');

$r = post('/small/job:42', "$fits ");
is($r->status(), 413, 'too large');
is($r->body(), '{"error":"body too large"}', 'too large body');

is(post('/small/job:42', $large)->status(), 413, 'far too large');
is(post('/small/job:42', chunked("$fits ", 100), chunks())->status(), 413,
	'too large in chunks');

# nobody knows the end of such a body: it is refused before that has come

$r = post('/small/job:42', chunked($large, 1000) =~ s/0\r\n\r\n\z//r,
	chunks());
is($r->status(), 413, 'far too large in chunks');
is($r->body(), '{"error":"body too large"}', 'far too large body');

# pieces

$body = '{"event":"a","data":"' . 'abc' x 100 . '"}';

drain();

for my $size (1, 7) {
	$r = post('/live/job:42', $body, cut => $size);
	is($r->status(), 201, "pieces of $size");
	is(published(), "t:job:42 $body", "pieces of $size published");

	$r = post('/live/job:42', chunked($body, 13), chunks(), cut => $size);
	is($r->status(), 201, "chunks in pieces of $size");
	is(published(), "t:job:42 $body",
		"chunks in pieces of $size published");
}

$r = post('/live/job:42', chunked($body, 13), chunks(), cut => 50,
	more => request('/live/job:43', $event));
is(again($r)->body(), '{"channel":"job:43"}', 'pipelined behind chunks');

$r = post('/live/job:42', "5\r\n{\"eve\r\nX\r\n", chunks());
is($r->status(), 400, 'bad chunks');

# Expect

$r = post('/live/job:42', '', headers => { %json, Expect => '100-continue',
	'Content-Length' => length $body });
is($r->status(), 100, 'continue');
$r->send_raw($body);
is(again($r)->status(), 201, 'continued');

$r = post('/small/job:42', '', headers => { %json, Expect => '100-continue',
	'Content-Length' => 3001 });
is($r->status(), 413, 'no continue for a body that is too large');

# bodies that do not come

my @gone = map { post('/live/job:42', $_, headers => { %json,
	'Content-Length' => 1000 }, read => 0) } '', '{"ev', 'x' x 999;

select undef, undef, undef, 0.1;

$_->drop() for @gone;
error_log_like($t, qr/prematurely closed connection.*POST/, 'body cut off');

$r = post('/live/job:42', '{"ev', headers => { %json,
	'Content-Length' => 1000 }, read => 0);
ok($r->wait_eof(5), 'body timed out');

# HTTP/2

SKIP: {
	skip 'no curl with HTTP/2', 6 unless `curl --version` =~ /\bHTTP2\b/;

	drain();

	my $file = $t->testdir() . '/body';
	my $port = port(8081);
	my $http2 = 0;

	for my $case (
		[ live => $event, '', 201 ],
		[ live => $large, '', 201 ],
		[ live => $large, '-H Content-Length:', 201 ],
		[ small => $large, '', 413 ],
		[ small => $large, '-H Content-Length:', 413 ],
	)
	{
		my ($path, $bytes, $more, $status) = @$case;

		$t->write_file('body', $bytes);

		system "curl -s -m 10 --http2-prior-knowledge $more"
			. ' -o /dev/null -H Content-Type:application/json'
			. " --data-binary \@$file"
			. " http://127.0.0.1:$port/$path/job:42";

		# behind the answer the rest of a body is refused with
		# NO_ERROR, which some versions of curl take for an error:
		# the log tells what was answered

		my $n = ++$http2;
		my @log;

		wait_for { (@log = split /\n/, $t->read_file('http2.log')) == $n };
		is($log[-1], "$status HTTP/2.0", "http2 $path "
			. length($bytes) . " $more");
	}

	published();
	ok(published() eq "t:job:42 $large", 'http2 published');
}

# a file is not made, even if that is what was asked for

is(post('/file', $large)->status(), 201, 'client_body_in_file_only');
error_log_unlike($t, qr/client request body is buffered to a temp/, 'no file');

# origins

my %app = (Origin => 'https://app.example');

$r = post('/live/job:42', $event, headers => { %json, %app });
is($r->status(), 201, 'cors');
is($r->header('Access-Control-Allow-Origin'), 'https://app.example',
	'cors origin');
is($r->header('Access-Control-Allow-Credentials'), 'true',
	'cors credentials');
is($r->header('Vary'), 'Origin', 'cors vary');

for my $case (
	[ 405, headers => { %app }, method => 'GET' ],
	[ 413, headers => { %app, 'Content-Length' => 3001 } ],
	[ 415, headers => { %app, 'Content-Type' => 'a/b' } ],
)
{
	my ($status, %o) = @$case;

	$r = post('/small/job:42', $event, %o);
	is($r->status() . $r->header('Access-Control-Allow-Origin'),
		"${status}https://app.example", "cors $status");
}

drain();

$r = post('/live/job:42', $event, headers => { %json,
	Origin => 'https://evil.example' });
is($r->status(), 403, 'foreign origin');
is($r->body(), '{"error":"origin not allowed"}', 'foreign origin body');
is($r->header('Access-Control-Allow-Origin'), undef, 'foreign origin cors');

again($r, '/live/job:44', $event);
is(published(), "t:job:44 $event", 'foreign origin not published');

$r = post('/live/job:42', '', method => 'OPTIONS', headers => { %app,
	'Access-Control-Request-Method' => 'POST',
	'Access-Control-Request-Headers' => 'content-type,x-trace' });
is($r->status(), 204, 'preflight');
is($r->header('Access-Control-Allow-Methods'), 'POST', 'preflight methods');
is($r->header('Access-Control-Allow-Headers'), 'content-type,x-trace',
	'preflight headers');
is(again($r, '/live/job:42', $event)->status(), 201, 'preflight and on');

# durable events: in the stream, and to those who listen

$redis->cmd('DEL', map { "t:{job:42}:$_" } qw/ events state output /);

my ($epoch) = post('/durable/job:42', $event)->body()
	=~ /^\{"id":"(\d+)-1","channel":"job:42"\}$/;
ok($epoch, 'durable');

my $seq = 1;

drain();

for my $case (
	[ '{"event":"\u0061"}', [ qw/ event a data null / ] ],
	[ '{"event":"a","data":{"x" : 1}}', [ qw/ event a data /,
		'{"x" : 1}' ] ],
	[ '{"event":"a","args":[1,{}]}', [ 'event', 'a', 'args', '[1,{}]' ] ],
	[ '{"event":"a","data":1,"attachments":["AA=="]}',
		[ qw/ event a data 1 attachments ["AA=="] / ] ],
)
{
	my ($bytes, $fields) = @$case;

	$seq++;

	$r = post('/durable/job:42', $bytes);
	is($r->status() . $r->body(),
		"201{\"id\":\"$epoch-$seq\",\"channel\":\"job:42\"}", 'durable');

	my $entry = $redis->cmd('XREVRANGE', 't:{job:42}:events', '+', '-',
		'COUNT', 1)->[0];
	my %entry = @{$entry->[1]};

	like(delete $entry{timestamp}, qr/^\d{13}$/, 'durable timestamp');
	is_deeply([ $entry->[0], \%entry ], [ "$epoch-$seq", { @$fields } ],
		"durable $bytes");
	like(published(), qr/^t:job:42 \{"event":"a",.*"id":"$epoch-$seq"/,
		'durable published');
}

post('/durable/job:42', '{"set" : { "status":"a b", "x":{"a":[1,"b"]},'
	. '"n" : 1.5 ,"z":null},"ttl":60,"append":"A\n\u20ac","maxlen":5,'
	. '"event":"a","data":[]}');
post('/durable/job:42', '{"event":"a","append":"","set":{}}');
post('/durable/job:42', '{"event":"a","append":"B","ttl":60}');

is_deeply([ map { $redis->cmd('HGET', 't:{job:42}:state', $_) }
	qw/ status x n z / ], [ 'a b', '{"a":[1,"b"]}', '1.5', 'null' ],
	'durable set');
is($redis->cmd('GET', 't:{job:42}:output'), "A\n\xe2\x82\xacB",
	'durable append');
cmp_ok($redis->cmd('TTL', 't:{job:42}:events'), '<=', 60, 'durable ttl');

for my $case (
	[ '"append":1', 'append is not a string' ],
	[ '"ttl":0', 'ttl is not a positive integer' ],
	[ '"ttl":"60"', 'ttl is not a positive integer' ],
	[ '"ttl":1.5', 'ttl is not a positive integer' ],
	[ '"maxlen":-1', 'maxlen is not a positive integer' ],
	[ '"set":[]', 'set is not an object' ],
	[ '"set":{' . join(',', map { "\"$_\":1" } 0 .. 1000) . '}',
		'set has too many fields' ],
	[ '"data":1,"id":"1-1"', 'id is not allowed' ],
)
{
	my ($member, $reason) = @$case;

	$r = post('/durable/job:42', "{\"event\":\"a\",$member}");
	is($r->status() . $r->body(), "400{\"error\":\"$reason\"}",
		substr "durable $member", 0, 40);
}

$r = post('/durable/job:42', '{"event":"a","set":{"seq":1}}');
like($r->status() . $r->body(), qr/^400\{"error":"SET may not set .*seq/,
	'durable, refused by the function');

$redis->cmd('FUNCTION', 'FLUSH');

# whoever notices that it is gone has it loaded again

is(post('/durable/job:42', $event)->status(), 503, 'no function');
ok((wait_for { post('/durable/job:42', $event)->status() == 201 } 'publish'),
	'function is back');
is(error_log_count($t, qr/\[error\].*function library rtbus is not loaded/),
	1, 'no function, logged once');

# Redis refuses, is mute, is away

$redis->cmd('ACL', 'SETUSER', 'default', '-publish');
$r = post('/live/job:42', $event);
is($r->status(), 503, 'error reply');
is($r->header('Retry-After'), 1, 'error reply, when to retry');
is($r->body(), '{"error":"unavailable"}', 'error reply body');
$redis->cmd('ACL', 'SETUSER', 'default', '+publish');
is(again($r, '/live/job:42', $event)->status(), 201, 'error reply and on');

$redis->pause();

@gone = map { post('/live/job:42', $event, read => 0) } 1 .. 10;
$r = post('/live/job:42', $event, read => 0);

select undef, undef, undef, 0.3;

$_->drop() for @gone;
error_log_like($t, qr/closed connection while waiting for redis/,
	'client gone');

is(again($r)->status(), 503, 'command timed out');
$redis->resume();

ok((wait_for { again($r, '/live/job:42', $event)->status() == 201 }
	'Redis to be back'), 'redis is back');

$redis->stop();
ok((wait_for { post('/live/job:42', $event)->status() == 503 }
	'Redis to be missed'), 'redis away');
is(post('/live/job:42', '{')->status(), 400, 'redis away, bad event');

$redis->start();
ok((wait_for { post('/live/job:42', $event)->status() == 201 }
	'Redis to be back'), 'redis started');

# wrong configurations

for my $case (
	[ 'rtbus_publish;', qr/invalid number of arguments/ ],
	[ 'rtbus_publish a durable;', qr/invalid parameter "durable"/ ],
	[ 'rtbus_publish a; rtbus_publish b;', qr/is duplicate/ ],
	[ 'rtbus_publish a; rtbus_state b;', qr/has a content handler/ ],
)
{
	my ($directives, $reason) = @$case;

	my ($ok, $output) = nginx_check($t, "%%TEST_GLOBALS%% events { }
		http { server { location / { $directives } } }");
	like($output, $ok ? qr/refused/ : $reason, $directives);
}

###############################################################################

sub request {
	my ($path, $bytes, %o) = @_;

	my $head = Test::RTBus::Client::_request(
		{ method => $o{method} || 'POST' },
		{ path => $path, headers => { 'Content-Length' => length $bytes,
			%{$o{headers} || \%json} } }
	);

	return $head . $bytes . ($o{more} || '');
}

sub post {
	my ($path, $bytes, %o) = @_;

	my $c = Test::RTBus::Client->open_client(method => 'POST', %o);

	$c->_send_request(\%o, request($path, $bytes, %o));

	return $c if exists $o{read} && !$o{read};

	return again($c);
}

# the next answer on this connection, to a request that is yet to be sent or not

sub again {
	my ($c, $path, $bytes) = @_;

	if (defined $path) {
		$c->{method} = 'POST';
		$c->send_raw(request($path, $bytes));
	}

	$c->{headers} = {};
	$c->{status} = 0;
	$c->{body} = '';

	$c->read_body() if $c->read_head();

	return $c;
}

sub chunks {
	return (headers => { %json, 'Content-Length' => undef,
		'Transfer-Encoding' => 'chunked' });
}

sub chunked {
	my ($bytes, $size) = @_;

	return join('', map { sprintf "%x\r\n%s\r\n", length, $_ }
		unpack "(a$size)*", $bytes) . "0\r\n\r\n";
}

# who listens gets what was published, and with it what was not

sub listener {
	my $c = Test::RTBus::Redis::Connection->new($redis->port());

	$c->write("PSUBSCRIBE t:*\r\n");
	$c->reply();

	return $c;
}

sub published {
	my $reply;

	# but for the messages that workers send themselves

	do {
		$reply = $listener->reply();
	} while ($reply->[2] =~ /^t:rtbus:worker:/);

	return "$reply->[2] $reply->[3]";
}

sub drain {
	$redis->publish('t:drained', 1);

	while (published() ne 't:drained 1') {
		# nothing
	}
}

###############################################################################
