#!/usr/bin/perl

# Tests for rtbus_submit: commands over HTTP, for those who listen by SSE.  The
# same rules as on a socket, and each refusal with its status.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Redis;

use Digest::SHA qw/ hmac_sha256 /;
use MIME::Base64 qw/ encode_base64url /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http limit_req rewrite /)
	->has_daemon('redis-server')->plan(82);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $redis_url = $redis->url();

$t->write_file('jwt.key', 'the key');
$t->write_file_expand('nginx.conf', <<"EOC");

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    limit_req_zone  \$arg_zone zone=req:1m rate=1r/m;

    rtbus_redis    $redis_url;
    rtbus_jwt_key  jwt.key;
    rtbus_origin   https://app.example;

    rtbus_command  ask        reply=30s;
    rtbus_command  quick      reply=200ms;
    rtbus_command  mine       job=jobId owner;
    rtbus_command  task:*     job=jobId claim;
    rtbus_command  \@connect;
    rtbus_command  plain;
    rtbus_command  "two words";

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location ~ ^/submit/(.*)\$ {
            rtbus_submit \$1;
        }

        location = /arg {
            rtbus_submit task:\$arg_what;
        }

        location = /plain {
            rtbus_submit plain;
        }

        location = /user {
            rtbus_submit        plain;
            rtbus_require_user  on;
        }

        location = /small {
            rtbus_submit       plain;
            rtbus_max_message  10;
        }

        location = /limited {
            limit_req         zone=req;
            limit_req_status  429;
            rtbus_submit      plain;
        }

        location = /none {
            rtbus_submit   plain;
            rtbus_command  other;
        }
    }
}

EOC

$t->run();
wait_redis($t);

wait_for { !ref $redis->try_cmd('FCALL_RO', 'rtbus_version', 0) } 'library';
wait_for { @{$redis->cmd('PUBSUB', 'CHANNELS', 'rtbus:worker:*')} == 1 }
	'mailbox';

###############################################################################

my %json = ('Content-Type' => 'application/json');
my $main = 'rtbus:commands';
my $ann = token('ann');
my $bob = token('bob');

# accepted

my $r = post('/plain', '{"a": 1}');

is($r->status(), 202, 'accepted');
is($r->header('Content-Type'), 'application/json', 'type');
is($r->header('Cache-Control'), 'no-store', 'not to be stored');

my $body = json_decode($r->body());
is($body->{ok}, JSON::PP::true, 'ok');
is(join(' ', sort keys %$body), 'id ok', 'and the id');

my $c = $redis->take($main);

is($c->{id}, $body->{id}, 'id of the stream');
is($c->{event}, 'plain', 'event');
is($c->{data}, '{"a": 1}', 'data byte for byte');
is($c->{args}, undef, 'data once');
is($c->{user}, '', 'nobody');
is($c->{sid}, '', 'no sid');
is($c->{nsp}, '/', 'nsp');
is($c->{ack}, undef, 'no ack');

for my $case ([ "\n [1] \r\n", '[1]' ], [ '"x"', '"x"' ], [ '', 'null' ])
{
	is(post('/plain', $case->[0])->status(), 202, 'body');
	$c = $redis->take($main);
	is($c->{data}, $case->[1], 'data');
	is($c->{args}, $case->[1] eq 'null' ? '[]' : undef, 'once');
}

is(post('/plain', '1', headers => {})->status(), 202, 'no type');
is(post('/plain', '1',
	headers => { 'Content-Type' => 'Application/JSON; charset=utf-8' }
	)->status(), 202, 'type with parameters');
$redis->take($main, 2);

# who

is(post('/plain', '1', token => $ann)->status(), 202, 'a user');
is($redis->take($main)->{user}, 'ann', 'known');

refused(post('/user', '1'), 401, 'unauthorized');
is(post('/user', '1', token => 'junk')->body(),
	'{"error":"unauthorized","reason":"malformed token"}', 'no token at all');
is(post('/user', '1', token => $ann)->status(), 202, 'required user');
is($redis->take($main)->{user}, 'ann', 'likewise');

# what

refused(post('/submit/none', '1'), 404, 'unknown event');
refused(post('/submit/@connect', '1'), 404, 'unknown event');
refused(post('/none', '1'), 404, 'unknown event');
refused(post('/submit/', '1'), 400, 'no event name');
refused(post('/submit/' . 'x' x 129, '1'), 400, 'event name too long');
refused(post('/arg?what=a%0Ab', '1'), 400, 'control character in event name');
refused(post('/submit/connect', '1'), 400, 'reserved event name');
refused(post('/submit/%ff', '1'), 400, 'bad UTF-8');

is(post('/submit/two%20words', '1')->status(), 202, 'name decoded');
is($redis->take($main)->{event}, 'two words', 'event');

refused(post('/plain', '{'), 400, 'not JSON');
refused(post('/plain', "\"\xff\""), 400, 'bad UTF-8');
refused(post('/plain', '[' x 65 . ']' x 65), 400, 'nested too deep');
refused(post('/plain', '1', headers => { 'Content-Type' => 'text/plain' }),
	415, 'not application/json');
refused(post('/small', '"123456789"'), 413, 'body too large');
is(post('/small', '"12345678"')->status(), 202, 'just not too large');
$redis->take($main);

$r = post('/plain', '', method => 'GET');
refused($r, 405, 'method not allowed');
is($r->header('Allow'), 'POST', 'allowed');

is(post('/limited?zone=1', '1')->status(), 202, 'limit_req');
is(post('/limited?zone=1', '1')->status(), 429, 'limit_req, too many');
$redis->take($main);

# jobs

$redis->cmd('HSET', '{job:1}:state', 'userId', 'ann');

is(post('/submit/mine', '{"jobId":"1"}', token => $ann)->status(), 202,
	'owner');
refused(post('/submit/mine', '{"jobId":"1"}', token => $bob), 403,
	'forbidden');
refused(post('/submit/mine', '{"jobId":"1"}'), 403, 'forbidden');
refused(post('/submit/mine', '{}', token => $ann), 400, 'bad jobId');

is(post('/arg?what=start%3Av1', '{"jobId":2}', token => $bob)->status(), 202,
	'claim');
is($redis->cmd('HGET', '{job:2}:state', 'userId'), 'bob', 'claimed');
is_deeply([ map { $_->{event} } $redis->take($main, 2) ],
	[ 'mine', 'task:start:v1' ], 'events');

# once

$body = post('/plain', '{"ackId":"a"}', token => $ann)->body();
is(post('/plain', '{"ackId":"a"}', token => $ann)->body(), $body, 'once');
isnt(post('/plain', '{"ackId":"a"}', token => $bob)->body(), $body,
	'another user');
refused(post('/plain', '{"ackId":1}'), 400, 'bad ackId');
$redis->take($main, 2);

# the producer's answer

for my $case ([ '[{"a":[1]}]', '{"a":[1]}' ], [ '[1,"x"]', '[1,"x"]' ],
	[ '[]', 'null' ], [ '"text"', '"text"' ])
{
	$r = post('/submit/ask', '1', read => 0);
	$c = $redis->take($main);
	$redis->publish($c->{reply}, "{\"ack\":$c->{ack},\"data\":$case->[0]}");
	again($r);
	is($r->status(), 200, 'answered');
	is($r->body(), $case->[1], 'with the answer');
}

refused(post('/submit/quick', '1'), 504, 'timeout');
$redis->take($main);

# a client that does not wait for it

$r = post('/submit/ask', '1', read => 0);
$c = $redis->take($main);
$r->drop();

# ... and one that comes back

$r = post('/submit/ask', '{"ackId":"back"}', read => 0);
$c = $redis->take($main);
$r->drop();
$r = post('/submit/ask', '{"ackId":"back"}', read => 0);
my $second = post('/submit/ask', '{"ackId":"back"}', read => 0);

# who comes later is answered by now

post('/plain', '1');
$redis->take($main);

$redis->publish($c->{reply}, "{\"ack\":$c->{ack},\"data\":[2]}");
is(again($r)->body(), '2', 'the answer to the first one');
is(again($second)->body(), '2', 'and for all');

$r = post('/submit/ask', '{"ackId":"back"}');
is($r->status(), 202, 'answered before');
is(json_decode($r->body())->{duplicate}, JSON::PP::true, 'a duplicate');

# pages of others

$r = post('/plain', '1', headers => { %json, Origin => 'https://evil.example' });
refused($r, 403, 'origin not allowed');

$r = post('/plain', '1', headers => { %json, Origin => 'https://app.example' });
is($r->status(), 202, 'origin');
is($r->header('Access-Control-Allow-Origin'), 'https://app.example', 'CORS');

$r = post('/plain', '', method => 'OPTIONS', headers => {
	Origin => 'https://app.example',
	'Access-Control-Request-Method' => 'POST',
	'Access-Control-Request-Headers' => 'content-type' });
is($r->status(), 204, 'preflight');
is($r->header('Access-Control-Allow-Methods'), 'POST', 'methods');

# without Redis

$redis->stop();

$r = post('/plain', '1');
refused($r, 503, 'unavailable');
ok($r->header('Retry-After'), 'Retry-After');
refused(post('/submit/ask', '1'), 503, 'unavailable');

error_log_unlike($t, qr/^(?!.*\[debug\]).*\Q$ann/, 'no token in the log');

###############################################################################

sub token {
	my ($user) = @_;

	my $text = encode_base64url('{"alg":"HS256","typ":"JWT"}') . '.'
		. encode_base64url(json_encode({ sub => $user }));

	return "$text." . encode_base64url(hmac_sha256($text, 'the key'));
}

sub refused {
	my ($r, $status, $error) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is($r->status() . " " . ($r->body() || ''),
		"$status {\"error\":\"$error\"}", "$status $error");
}

sub post {
	my ($path, $bytes, %o) = @_;

	my %headers = (%{$o{headers} || \%json}, 'Content-Length' => length $bytes);
	$headers{Authorization} = "Bearer $o{token}" if $o{token};

	my $method = $o{method} || 'POST';
	my $c = Test::RTBus::Client->open_client(method => $method);

	$c->send_raw("$method $path HTTP/1.1\r\nHost: localhost\r\n"
		. join('', map { "$_: $headers{$_}\r\n" } sort keys %headers)
		. "\r\n$bytes");

	return exists $o{read} ? $c : again($c);
}

sub again {
	my ($c) = @_;

	$c->read_body() if $c->read_head();

	return $c;
}

###############################################################################
