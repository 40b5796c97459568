#!/usr/bin/perl

# Tests for rtbus_state: a page asks for a job's state before it listens, and
# after every doubt.  It has to get what Redis holds, in the declared types,
# nothing that is not declared, and an answer that says what is wrong.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx qw/ :DEFAULT http_content /;
use Test::RTBus::Redis;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http rewrite ssi gzip /)
	->has_daemon('redis-server')->plan(147);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

my $conf = <<"EOT";

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis   $url command_timeout=2s;
    rtbus_prefix  t:;
    rtbus_allow   job:*;
    rtbus_allow   user:me;
    rtbus_origin  https://app.example;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location ~ ^/job/(.+)/state\$ {
            rtbus_state  job:\$1;
        }

        location ~ ^/any/(.*)\$ {
            rtbus_state  \$1;
        }

        location ~ ^/old/(.*)\$ {
            rtbus_state  job:\$1 key=old:state:\$1;
        }

        location /types {
            rtbus_state         job:types;
            rtbus_state_fields  n:num b:bool j:json s:str plain "q\\"x";
        }

        location /gzip {
            rtbus_state      job:42;
            gzip             on;
            gzip_types       application/json;
            gzip_min_length  1;
        }

        location /ssi {
            ssi  on;
        }
    }
}

EOT

$t->write_file_expand('nginx.conf', $conf);
$t->write_file('ssi.html', 'X<!--#include virtual="/job/42/state" -->X');

$t->run();

my $up = wait_for { get('/job/none/state')->status() == 404 } 'Redis';
ok($up, 'connected');

my ($r, $etag, $body);

###############################################################################

# the declared fields, in their order and types

$redis->cmd('HSET', 't:{job:42}:state', qw/
	secret x userId u1 jobId 42 status running progress 12.5 failedAt 4
	lastSequence 3 createdAt 1 updatedAt 2 completedAt 3 epoch 9 seq 9
	/, error => 'no "way"', result => ' {"a": [1, null]} ');

$redis->cmd('XADD', 't:{job:42}:events', '1700-3', 'event', 'a');

$body = '{"jobId":"42","userId":"u1","status":"running","progress":12.5,'
	. '"lastSequence":3,"result":{"a": [1, null]},"error":"no \"way\"",'
	. '"createdAt":1,"updatedAt":2,"completedAt":3,"failedAt":4,'
	. '"position":"1700-3"}';

$r = get('/job/42/state');
is($r->status(), 200, 'state');
is($r->body(), $body, 'state body');
is($r->header('Content-Type'), 'application/json', 'state type');
is($r->header('Content-Length'), length $body, 'state length');
is($r->header('Cache-Control'), 'no-cache', 'state cache');
is($r->header('Access-Control-Allow-Origin'), undef, 'state without cors');
like($r->header('ETag'), qr/^"1700-3-[0-9a-f]{8}"$/, 'state etag');

$etag = $r->header('ETag');

# the same to HEAD, and the connection goes on

$r = get('/job/42/state', method => 'HEAD');
is($r->status(), 200, 'head');
is($r->header('ETag'), $etag, 'head etag');
is($r->header('Content-Length'), length $body, 'head length');
is(again($r, '/job/42/state')->body(), $body, 'head and on');

# 304

for my $case (
	[ $etag, 304, 'same' ],
	[ "W/$etag", 304, 'weak' ],
	[ "\"x\", $etag", 304, 'list' ],
	[ '*', 304, 'any' ],
	[ '"1700-3-00000000"', 200, 'other' ],
	[ '"1700-3"', 200, 'part' ],
)
{
	my ($value, $status, $name) = @$case;

	$r = get('/job/42/state', headers => { 'If-None-Match' => $value });
	is($r->status(), $status, "if-none-match $name");
	is($r->body(), $status == 304 ? '' : $body, "if-none-match $name body");
}

$r = get('/job/42/state', headers => { 'If-None-Match' => $etag });
is($r->header('ETag'), $etag, '304 etag');
is($r->header('Cache-Control'), 'no-cache', '304 cache');
is(again($r, '/job/42/state')->status(), 200, '304 and on');
is(get('/job/42/state', method => 'HEAD',
	headers => { 'If-None-Match' => $etag })->status(), 304, '304 to head');

$r = get('/gzip', headers => { 'Accept-Encoding' => 'gzip' });
is($r->header('ETag'), "W/$etag", 'gzip etag');
is(get('/gzip', headers => { 'If-None-Match' => "W/$etag" })->status(), 304,
	'gzip 304');

# a field set without an event is a change

$redis->cmd('HSET', 't:{job:42}:state', 'progress', '13');

$r = get('/job/42/state', headers => { 'If-None-Match' => $etag });
is($r->status(), 200, 'changed');
isnt($r->header('ETag'), $etag, 'changed etag');
like($r->header('ETag'), qr/^"1700-3-/, 'changed, same position');

# ?fields

for my $case (
	[ 'status,progress', '{"status":"running","progress":13}' ],
	[ 'progress,status', '{"status":"running","progress":13}' ],
	[ 'status%2Cprogress', '{"status":"running","progress":13}' ],
	[ 'position', '{"position":"1700-3"}' ],
	[ 'secret,status,nonsense,', '{"status":"running"}' ],
	[ 'stat', '{}' ],
	[ 'output', '{}' ],
	[ '', '{}' ],
)
{
	my ($fields, $expected) = @$case;

	$r = get("/job/42/state?fields=$fields");
	is($r->body(), $expected, "fields $fields");
}

isnt($r->header('ETag'), $etag, 'fields etag');

# the text so far

$redis->cmd('SET', 't:{job:42}:output', "Hello,\n\"\xe2\x82\xac\"");
is(get('/job/42/state?fields=output,position')->body(),
	"{\"output\":\"Hello,\\n\\\"\xe2\x82\xac\\\"\",\"position\":\"1700-3\"}",
	'output');

$redis->cmd('SET', 't:{job:42}:output', 'x' x 2_000_000);
is(length get('/job/42/state?fields=output')->body(), 2_000_013,
	'long output');
$redis->cmd('DEL', 't:{job:42}:output');

# types: what does not fit goes out as a string

for my $case (
	[ n => '0', '0' ],
	[ n => '-1.5e+300', '-1.5e+300' ],
	[ n => '12345678901234567890123', '12345678901234567890123' ],
	[ n => ' 7 ', '7' ],
	[ n => '', '""' ],
	[ n => '007', '"007"' ],
	[ n => '0x10', '"0x10"' ],
	[ n => '1.', '"1."' ],
	[ n => 'NaN', '"NaN"' ],
	[ n => '1 2', '"1 2"' ],
	[ n => '"1"', '"\"1\""' ],
	[ n => 'true', '"true"' ],
	[ b => 'true', 'true' ],
	[ b => 'false', 'false' ],
	[ b => '1', 'true' ],
	[ b => '0', 'false' ],
	[ b => 'True', '"True"' ],
	[ b => '', '""' ],
	[ b => '01', '"01"' ],
	[ j => 'null', 'null' ],
	[ j => '"s"', '"s"' ],
	[ j => '[1,{"a":"\u0041"}]', '[1,{"a":"\u0041"}]' ],
	[ j => '{"a":1', '"{\"a\":1"' ],
	[ j => '', '""' ],
	[ j => "\"\xff\"", "\"\\\"\xef\xbf\xbd\\\"\"" ],
	[ j => '[' x 100 . ']' x 100, '"' . '[' x 100 . ']' x 100 . '"' ],
	[ s => '1', '"1"' ],
	[ plain => "a\"\\\0\x1f/\t", '"a\"\\\\\u0000\u001f/\t"' ],
	[ plain => "\xc3\xa9 \xc3( \xf0\x9f\x98\x80 \xed\xa0\x80",
		"\"\xc3\xa9 \xef\xbf\xbd( \xf0\x9f\x98\x80 "
		. "\xef\xbf\xbd" x 3 . '"' ],
	[ 'q"x' => '1', '"1"', '"q\"x"' ],
)
{
	my ($field, $value, $expected, $name) = @$case;

	$name = "\"$field\"" unless defined $name;

	$redis->cmd('DEL', 't:{job:types}:state');
	$redis->cmd('HSET', 't:{job:types}:state', $field, $value);

	my $title = substr "type $field '$value'", 0, 40;
	$title =~ s/[^ -~]/?/g;

	is(get('/types')->body(), "{$name:$expected,\"position\":\"0-0\"}",
		$title);
}

# the number of the last event

$redis->cmd('HSET', 't:{job:seq}:state', qw/ status s epoch 17 seq 5 /);
is(get('/job/seq/state')->body(),
	'{"status":"s","lastSequence":5,"position":"0-0"}', 'seq');

$redis->cmd('HSET', 't:{job:seq}:state', qw/ lastSequence 9 /);
is(get('/job/seq/state?fields=lastSequence')->body(), '{"lastSequence":9}',
	'last sequence of its own');

# a key of another's choice: a hash, or a JSON object

$redis->cmd('HSET', 'old:state:1', qw/ status done epoch 9 seq 9 /);
$redis->cmd('XADD', 't:{job:1}:events', '17-5', 'event', 'a');
is(get('/old/1?fields=status,position')->body(),
	'{"status":"done","position":"17-5"}', 'key hash');

$redis->cmd('SET', 'old:state:2', '{"secret":1,"progress":"50","status":null,'
	. '"result":{"a":[1,2]},"jobId":7,"seq":4,"epoch":17}');
is(get('/old/2')->body(), '{"jobId":7,"status":null,"progress":"50",'
	. '"lastSequence":4,"result":{"a":[1,2]},"position":"0-0"}',
	'key json');

$redis->cmd('SET', 't:{job:2}:output', 'text');
is(get('/old/2?fields=progress,output')->body(),
	'{"progress":"50","output":"text"}', 'key json and output');

$redis->cmd('SET', 't:{job:3}:state', '{"status":"x"}');
is(get('/job/3/state')->body(), '{"status":"x","position":"0-0"}',
	'json in place of the hash');

$redis->cmd('RPUSH', 't:{job:8}:state', 'item');
is(get('/job/8/state')->status(), 404, 'list in place of the hash');

$redis->cmd('SET', 'old:state:4', '[1]');
is(get('/old/4')->status(), 404, 'key array');

$redis->cmd('SET', 'old:state:5', 'text');
is(get('/old/5')->status(), 404, 'key text');

$redis->cmd('RPUSH', 'old:state:6', 'item');
is(get('/old/6')->status(), 404, 'key list');

is(get('/old/7')->body(), '{"error":"Job not found","jobId":"7"}',
	'key missing');

error_log_like($t, qr/"old:state:6" holds neither a hash nor/, 'key logged');

# what is not there, what is not allowed

$r = get('/job/none/state');
is($r->status(), 404, 'not found');
is($r->body(), '{"error":"Job not found","jobId":"none"}',
	'not found body');
is($r->header('Cache-Control'), 'no-store', 'not found cache');

is(get('/any/user:me')->body(), '{"error":"Not found","channel":"user:me"}',
	'not found channel');

$r = get('/any/user:you');
is($r->status(), 403, 'forbidden');
is($r->body(), '{"error":"forbidden","channel":"user:you"}',
	'forbidden body');

for my $name ('', 'job:a%20b', 'job:{1}', 'job:' . 'x' x 197, 'job:%e9') {
	$r = get("/any/$name");
	is($r->status(), 400, 'bad channel ' . substr $name, 0, 10);
	like($r->body(), qr/^\{"error":"bad channel"/, 'bad channel body')
}

# methods; a body nobody asked for is thrown away

for my $method (qw/ POST PUT DELETE OPTIONS /) {
	$r = get('/job/42/state', method => $method,
		headers => { 'Content-Length' => 4 }, early => 'body');
	is($r->status() . ' ' . $r->header('Allow'), '405 GET, HEAD', $method);
}

is(again($r, '/job/42/state')->status(), 200, 'method and on');

$r = get('/job/42/state', headers => { 'Content-Length' => 4 },
	early => 'body');
is(again($r, '/job/42/state')->status(), 200, 'get with a body and on');

# origins

my %app = (Origin => 'https://app.example');

$r = get('/job/42/state', headers => { %app });
is($r->header('Access-Control-Allow-Origin'), 'https://app.example', 'cors');
is($r->header('Access-Control-Allow-Credentials'), 'true',
	'cors credentials');
is($r->header('Vary'), 'Origin', 'cors vary');
like($r->header('Access-Control-Expose-Headers'), qr/ETag/, 'cors expose');

$etag = $r->header('ETag');

is(get('/job/none/state', headers => { %app })
	->header('Access-Control-Allow-Origin'), 'https://app.example',
	'cors 404');
is(get('/job/42/state', headers => { %app, 'If-None-Match' => $etag })
	->header('Access-Control-Allow-Origin'), 'https://app.example',
	'cors 304');

$r = get('/job/42/state', headers => { Origin => 'https://evil.example' });
is($r->status(), 403, 'foreign origin');
is($r->header('Access-Control-Allow-Origin'), undef, 'foreign origin cors');

$r = get('/job/42/state', method => 'OPTIONS', headers => { %app,
	'Access-Control-Request-Method' => 'GET',
	'Access-Control-Request-Headers' => 'if-none-match' });
is($r->status(), 204, 'preflight');
is($r->header('Access-Control-Allow-Methods'), 'GET, HEAD',
	'preflight methods');
is($r->header('Access-Control-Allow-Headers'), 'if-none-match',
	'preflight headers');
is($r->header('Access-Control-Allow-Origin'), 'https://app.example',
	'preflight origin');

is(get('/job/42/state', method => 'OPTIONS',
	headers => { Origin => 'https://evil.example' })->status(), 403,
	'foreign preflight');

# two at once, and as a part of a page

$r = get('/job/none/state', early => "GET /job/42/state HTTP/1.1\r\n"
	. "Host: localhost\r\n\r\n");
is($r->status(), 404, 'pipelined');
is(again($r)->status(), 200, 'pipelined second');

like(http_get('/ssi.html'), qr/\nX\{"jobId":"42",.*"position":"1700-3"}X/s,
	'subrequest');

# Redis refuses

$redis->cmd('ACL', 'SETUSER', 'default', '-hgetall');
$r = get('/job/42/state');
is($r->status(), 503, 'error reply');
is($r->header('Retry-After'), 1, 'error reply, when to retry');
is($r->body(), '{"error":"unavailable"}', 'error reply body');

$redis->cmd('ACL', 'SETUSER', 'default', '+hgetall', '-get');
is(get('/job/42/state')->status(), 503, 'error reply, output');
is(get('/old/1')->status(), 503, 'error reply to the first call');

$redis->cmd('ACL', 'SETUSER', 'default', '+@all');
is(again($r, '/job/42/state')->status(), 200, 'error reply and on');
error_log_like($t, qr/\[error\].*rtbus: call to Redis failed: "/,
	'error reply logged');

# Redis is mute: the client goes away, or is told in time

$redis->pause();

my @gone = map { get('/job/42/state', read => 0) } 1 .. 10;
$r = get('/job/42/state', read => 0);

select undef, undef, undef, 0.3;

$_->drop() for @gone;
error_log_like($t, qr/closed connection while waiting for redis/,
	'client gone');

is(again($r)->status(), 503, 'command timed out');
$redis->resume();

ok((wait_for { again($r, '/job/42/state')->status() == 200 }
	'Redis to be back'), 'redis is back');

# Redis is away

$redis->stop();
ok((wait_for { get('/job/42/state')->status() == 503 }
	'Redis to be missed'), 'redis away');
is(get('/job/42/state')->header('Retry-After'), 1, 'when to retry');
is(get('/job/42/state', method => 'HEAD')->status(), 503, 'redis away, head');

$redis->start();
$redis->cmd('HSET', 't:{job:42}:state', 'status', 'new');
ok((wait_for { get('/job/42/state?fields=status')->body()
	eq '{"status":"new"}' } 'Redis to be back'), 'redis started');

# wrong configurations

for my $case (
	[ 'a:int', qr/invalid type in "a:int"/ ],
	[ 'a:', qr/invalid type in "a:"/ ],
	[ 'a:num:x', qr/invalid type in "a:num:x"/ ],
	[ ':num', qr/empty field name in ":num"/ ],
	[ '""', qr/empty field name/ ],
	[ 'a b a:num', qr/duplicate field "a"/ ],
	[ 'a position', qr/field "position" must not be declared/ ],
	[ 'output:str', qr/field "output" must not be declared/ ],
	[ 'a; rtbus_state_fields b', qr/is duplicate/ ],
)
{
	my ($fields, $reason) = @$case;

	my ($ok, $output) = nginx_check($t, "%%TEST_GLOBALS%% events { }
		http { rtbus_state_fields $fields; }");
	like($output, $ok ? qr/refused/ : $reason, "fields $fields");
}

###############################################################################

sub get {
	my ($path, %o) = @_;

	my $c = Test::RTBus::Client->open_client(%o);

	$c->_send_request(\%o, $c->_request({ %o, path => $path }));

	return $c if exists $o{read} && !$o{read};

	return again($c);
}

# the next answer on this connection, to a request that is yet to be sent or not

sub again {
	my ($c, $path) = @_;

	if (defined $path) {
		$c->{method} = 'GET';
		$c->send_raw($c->_request({ path => $path }));
	}

	$c->{headers} = {};
	$c->{status} = 0;
	$c->{body} = '';

	$c->read_body() if $c->read_head();

	return $c;
}

###############################################################################
