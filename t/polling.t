#!/usr/bin/perl

# Tests for Engine.IO over HTTP long-polling, request by request: what the
# protocol says, what the reference server answers where it says nothing, and
# what a client gets that does not keep to it.  With four workers most requests
# land at a worker that does not have the session.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Polling;
use Test::RTBus::Redis;

use MIME::Base64 qw/ encode_base64 /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server');

plan(skip_all => 'the module is not built') unless module_file();

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

my $conf = <<"EOC";

%%TEST_GLOBALS%%

daemon off;
worker_processes WORKERS;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    log_format codes '\$request_method \$status';
    access_log %%TESTDIR%%/codes.log codes;

    rtbus_redis $url;
    rtbus_allow job:*;

    limit_conn_zone \$arg_who zone=conn:1m;
    limit_req_zone \$arg_who zone=req:1m rate=1r/m;

    server {
        listen       127.0.0.1:8080 reuseport;
        server_name  localhost;

        location /socket.io/ {
            rtbus             socketio;
            rtbus_namespaces  / /chat;
            rtbus_subscribe   job:\$arg_job job:\$arg_two;
        }

        location /ping/ {
            rtbus       socketio;
            rtbus_ping  300ms 300ms;
        }

        location /tight/ {
            rtbus              socketio;
            rtbus_subscribe    job:\$arg_job;
            rtbus_max_message  1k;
            rtbus_send_buffer  16k;
        }

        location /user/ {
            rtbus               socketio;
            rtbus_user          \$http_x_user;
            rtbus_require_user  on;
            rtbus_subscribe     user:\$rtbus_user;
            rtbus_allow         user:\$rtbus_user;
        }

        location /users/ {
            rtbus        socketio;
            rtbus_user   \$http_x_user;
            rtbus_allow  *;
        }

        location /origin/ {
            rtbus         socketio;
            rtbus_origin  https://app.example;
        }

        location /conn/ {
            rtbus       socketio;
            limit_conn  conn 1;
        }

        location /req/ {
            rtbus      socketio;
            limit_req  zone=req burst=2 nodelay;
        }
    }
}

EOC

$t->plan(229);

my ($io, $p, $r, @got);

my @messages = ('Transport unknown', 'Session ID unknown',
	'Bad handshake method', 'Bad request', 'Forbidden',
	'Unsupported protocol version');

for my $workers (1, 4) {
	$t->write_file_expand('nginx.conf', $conf =~ s/WORKERS/$workers/r);
	$t->run();
	wait_redis($t, $workers);
	$redis->cmd('FLUSHALL');

	run($workers);

	$t->stop();
}

###############################################################################

sub run {
	my ($workers) = @_;

	my $is = $workers > 1 ? "$workers workers: " : '';

	# the open packet

	$io = open_io();
	$r = $io->opened();

	is($r->status(), 200, "${is}open");
	is($r->header('Content-Type'), 'text/plain; charset=UTF-8',
		"${is}open: type");
	is($r->header('Cache-Control'), 'no-store', "${is}open: not kept");
	like($r->body(), qr/^0\{"sid":"[\w-]{32}","upgrades":\["websocket"\],"pingInterval":25000,"pingTimeout":20000,"maxPayload":65536\}\z/,
		"${is}open: packet");
	isnt(open_io()->sid(), $io->sid(), "${is}open: a sid of its own");
	is(open_io(path => '/tight/')->open_packet()->{maxPayload}, 1024,
		"${is}open: maxPayload");

	# refusals

	for my $case (
		[ 'no EIO', 5, 'GET', query => 'transport=polling' ],
		[ 'EIO 3', 5, 'GET', query => 'EIO=3&transport=polling' ],
		[ 'no transport', 0, 'GET', query => 'EIO=4' ],
		[ 'other transport', 0, 'GET', query => 'EIO=4&transport=x' ],
		[ 'POST opens nothing', 2, 'POST', body => '40' ],
		[ 'nor does PUT', 2, 'PUT', body => '' ],
		[ 'nor DELETE', 2, 'DELETE' ],
		[ 'short sid', 1, 'GET', sid => 'abc' ],
		[ 'empty sid', 1, 'GET', sid => '' ],
		[ 'long sid', 1, 'POST', sid => 'a' x 33, body => '40' ],
		[ 'unknown sid', 1, 'GET', sid => 'a' x 32 ],
		[ 'unknown sid, POST', 1, 'POST', sid => 'a' x 32,
			body => '40' ],
		[ 'unknown sid of this worker', 1, 'GET',
			sid => substr($io->sid(), 0, 12) . 'a' x 20 ],
		[ 'the like, POST', 1, 'POST', body => '40',
			sid => substr($io->sid(), 0, 12) . 'a' x 20 ],
	)
	{
		my ($name, $code, $method, %o) = @$case;

		refused(Test::RTBus::Polling::start($io, $method, sid => undef,
			%o)->wait(), $code, "$is$name");
	}

	$r = $io->request('DELETE');
	is($r->status(), 405, "${is}DELETE");
	is($r->header('Allow'), 'GET, POST', "${is}DELETE: allow");
	is($io->request('HEAD')->status(), 405, "${is}HEAD");
	is($io->post('3')->status(), 200, "${is}the session is still there");

	# packets, several in a payload

	$io = open_io('job=a');
	$r = $io->post('40');

	is($r->status(), 200, "${is}post");
	is($r->body(), 'ok', "${is}post: answer");
	is($r->header('Content-Type'), 'text/html', "${is}post: type");
	is($r->header('Cache-Control'), 'no-store', "${is}post: not kept");

	$r = $io->get();

	is($r->header('Content-Type'), 'text/plain; charset=UTF-8',
		"${is}get: type");
	is($r->header('Cache-Control'), 'no-store', "${is}get: not kept");
	like($r->body(), qr/^40\{[^\x1e]*\}\x1e42\["connected",/,
		"${is}two packets in an answer");

	is($io->post(join "\x1e", '421["subscribe",{"channel":"job:b"}]',
		'40/chat,', '42/chat,2["subscribe",{"channel":"job:b"}]',
		'423["subscribe",{"channel":"user:1"}]')->body(), 'ok',
		"${is}several packets");

	ok($io->wait_ack(1)->{data}[0]{ok}, "${is}the first");
	is($io->wait_ack(3)->{data}[0]{error}, 'forbidden', "${is}the last");
	ok($io->wait_ack(2, '/chat')->{data}[0]{ok}, "${is}of a namespace");

	# what comes while nobody waits is kept, in order; the rest at once

	publish('b', 'n', $_) for 1 .. 30;

	@got = map { $io->wait_name('n', '/')->{data}[1] } 1 .. 30;
	is_deeply(\@got, [ 1 .. 30 ], "${is}in order");
	$io->settled();

	$r = $io->get_start();
	publish('b', 'later', 1);
	like($r->wait()->body(), qr/^42(\/chat,)?\["later",1,/, "${is}at once");

	# long ones, beyond what one answer takes

	publish('b', 'long', 'x' x 90000) for 1 .. 3;
	publish('b', 'huge', "\x{7f}\x1e\"\\\n" x 8000);

	is(length $io->wait_name('long', '/')->{data}[1], 90000, "${is}long")
		for 1 .. 3;
	is($io->wait_name('huge', '/')->{data}[1],
		"\x{7f}\x1e\"\\\n" x 8000, "${is}huge");

	# binary, both ways

	$redis->cmd('PUBLISH', 'job:a', '{"event":"bin","args":'
		. '[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}],'
		. '"attachments":["AAECAwT/","/w=="]}');

	$p = $io->wait_name('bin');
	is_deeply($p->{attachments}, [ "\0\1\2\3\4\xff", "\xff" ],
		"${is}binary event");
	like($p->{cursor}, qr/^job:a\@0-0/, "${is}with a cursor");

	$io = open_io('job=a');
	$io->join_nsp();
	$io->emit('subscribe', { channel => 'job:c',
		file => { _placeholder => 1, num => 0 } },
		{ ack => 5, attachments => [ "\0\1\2" ] });
	ok($io->wait_ack(5)->{data}[0]{ok}, "${is}binary from the client");

	is($io->post("451-6" . '["subscribe",{"channel":"job:d",'
		. '"file":{"_placeholder":true,"num":0}}]' . "\x1ebAAEC")
		->body(), 'ok', "${is}in one payload");
	ok($io->wait_ack(6)->{data}[0]{ok}, "${is}and its answer");

	# pings

	$io = open_io(path => '/ping/');
	$io->join_nsp();

	is($io->get()->body() =~ /2\z/ ? 2 : $io->get()->body(), 2,
		"${is}ping");
	is($io->post('3')->body(), 'ok', "${is}pong");
	is($io->get()->body(), '2', "${is}ping again");
	refused_in_time($io, "${is}without a pong");

	# the end, by the client; its poll may be under way on another road

	$io = open_io();
	$p = $io->get_start();
	is($io->post('1')->body(), 'ok', "${is}close");
	like($p->wait()->body(), qr/^6\z/, "${is}close: the poll ends");
	refused($io->get(), 1, "${is}close: gone");
	refused($io->post('3'), 1, "${is}close: for posts, too");

	$io = open_io();
	is($io->post("3\x1e1\x1e3")->body(), 'ok', "${is}close in the middle");
	is($io->get()->body(), '6', "${is}close: a poll that crosses");
	refused($io->get(), 1, "${is}close: but no other");

	# two polls at a time

	$io = open_io();
	@got = sort map { $_->wait()->body() } $io->get_start(),
		$io->get_start();
	is($got[0], '1', "${is}two polls: the first");
	is($got[1], '{"code":3,"message":"Bad request"}', "${is}two polls");
	refused($io->get(), 1, "${is}two polls: gone");

	# bytes that are no payload

	for my $case (
		[ 'empty', '' ],
		[ 'unknown type', 'abc' ],
		[ 'ping', '2' ],
		[ 'open', '0' ],
		[ 'separator at the end', "3\x1e" ],
		[ 'empty packet', "3\x1e\x1e3" ],
		[ 'not UTF-8', "42[\"\xff\"]" ],
		[ 'cut UTF-8', "42[\"\xc3" ],
		[ 'no base64', 'b*' ],
		[ 'attachment of nothing', 'bAAEC' ],
		[ 'no Socket.IO', '4abc' ],
		[ 'event without CONNECT', '42["a"]' ],
	)
	{
		my ($name, $bytes) = @$case;

		$io = open_io();
		refused($io->post($bytes), 3, "$is$name");
		refused($io->get(), 1, "$is$name: gone");
	}

	# too long

	$io = open_io(path => '/tight/');
	is($io->post('4' x 1024)->status(), 400, "${is}just not too long");

	$io = open_io(path => '/tight/');
	is($io->post('3' x 1025)->status(), 413, "${is}too long");

	# who does not poll

	$io = open_io('job=slow', path => '/tight/');
	$io->join_nsp();
	$io->packet();
	publish('slow', 'n', 'x' x 4000) for 1 .. 8;
	error_log_like($t, qr/code:1013, client is too slow/,
		"${is}too slow");
	is($io->get()->body(), '1', "${is}too slow: told so");
	refused($io->get(), 1, "${is}too slow: gone");

	# users: a sid is of no use to another one, and elsewhere

	$io = open_io(path => '/user/', headers => { 'X-User' => 'ann' });
	is($io->join_nsp()->{type}, 0, "${is}user");
	is($io->packet()->{data}[1]{userId}, 'ann', "${is}user: who");

	for my $case (
		[ 'another', headers => { 'X-User' => 'bob' } ],
		[ 'nobody', headers => {} ],
	)
	{
		my ($name, @o) = @$case;

		for my $method (qw/ GET POST /) {
			$r = $io->request($method, @o, body => '3');
			is($r->status() . $r->body(),
				'403{"code":4,"message":"Forbidden"}',
				"$is$name, $method");
		}
	}

	refused($io->get(path => '/users/'), 1, "${is}another location");

	$p = $io->get_start();
	$redis->publish('user:ann', { event => 'e', data => 1 });
	like($p->wait()->body(), qr/^42\["e",1,/, "${is}and she is served");

	$io = open_io(path => '/user/');
	is_deeply($io->join_nsp()->{data}, { message => 'unauthorized' },
		"${is}no user");
	is($io->request('GET', headers => { 'X-User' => 'eve' })->status(), 403,
		"${is}nobody's is nobody's");

	# origins

	$r = open_io(path => '/origin/', headers => {
		Origin => 'https://app.example' })->opened();
	is($r->status(), 200, "${is}origin");
	is($r->header('Access-Control-Allow-Origin'), 'https://app.example',
		"${is}origin: allowed");
	is($r->header('Access-Control-Allow-Credentials'), 'true',
		"${is}origin: credentials");

	$r = open_io(path => '/origin/', query => 'EIO=3&transport=polling',
		headers => { Origin => 'https://app.example' })->opened();
	is($r->header('Access-Control-Allow-Origin'), 'https://app.example',
		"${is}origin: of a refusal");

	is(open_io(path => '/origin/', headers => {
		Origin => 'https://evil.example' })->opened()->status(), 403,
		"${is}foreign origin");

	$r = $io->request('OPTIONS', path => '/origin/', headers => {
		Origin => 'https://app.example',
		'Access-Control-Request-Method' => 'POST',
		'Access-Control-Request-Headers' => 'content-type' });
	is($r->status(), 204, "${is}preflight");
	is($r->header('Access-Control-Allow-Methods'), 'GET, POST',
		"${is}preflight: methods");
	is($r->header('Access-Control-Allow-Headers'), 'content-type',
		"${is}preflight: headers");

	# nginx's own limits

	undef $p;
	$io = open_io("who=a$workers", path => '/conn/');

	# nginx counts a request until it is done with it, which is a while after
	# the client has the answer

	is((wait_for {
		$p = $io->get_start() if !$p || $p->wait(0);
		$io->post('3')->status() == 503;
	} 'limit_conn'), 1, "${is}limit_conn");
	$p->drop();
	is((wait_for { $io->post('3')->status() == 200 } 'the end of it'), 1,
		"${is}limit_conn: the poll is over");

	$io = open_io("who=r$workers", path => '/req/');
	is($io->post('3')->status(), 200, "${is}limit_req");
	is($io->post('3')->status(), 200, "${is}limit_req: burst");
	is($io->post('3')->status(), 503, "${is}limit_req: over it");

	return if $workers > 1;

	# Two at a time, and a client that is gone: what is seen of them depends on
	# the way that they take.

	$io = open_io();
	$p = $io->start('POST', headers => { 'Content-Length' => 2 },
		body => '', omit => [ 1 ]);
	is((wait_for { my $r = $io->post('3');
		$r->status() == 400 } 'two posts'), 1, 'two posts');

	$io = open_io('job=gone');
	$io->join_nsp();
	$io->packet();

	my $gone = () = $t->read_file('codes.log') =~ /GET 499/g;

	$io->get_start()->drop();
	wait_for { (() = $t->read_file('codes.log') =~ /GET 499/g) > $gone }
		'the end of the poll';
	publish('gone', 'n', 7);
	is($io->wait_name('n')->{data}[1], 7, 'a poll that nobody waits for');
	ok($io->leave() && $io->post('1'), 'and goes on');

	# A client that is gone before the answer to its post is written.

	$io = open_io();
	$p = $io->start('POST', body => '3',
		headers => { Connection => 'keep-alive' });
	is($p->wait()->body(), 'ok', 'a post');

	my ($worker) = workers($t);

	kill 'STOP', $worker;
	$p->send_raw("POST /socket.io/?EIO=4&transport=polling&sid="
		. $io->sid() . " HTTP/1.1\r\nHost: localhost\r\n"
		. "Content-Length: 1\r\n\r\n3");
	$p->reset();
	kill 'CONT', $worker;
	is($io->post('3')->body(), 'ok', 'a post that nobody waits for');
}

###############################################################################

sub open_io {
	my $query = @_ % 2 ? shift : '';
	my %o = @_;

	my $path = $o{path} || '/socket.io/';

	$path .= "?$query" if $query;

	return Test::RTBus::Polling->connect(%o, path => $path);
}

sub publish {
	my ($job, $event, $data) = @_;

	$redis->cmd('FCALL', 'rtbus_publish', 1, "job:$job", $event,
		json_encode([ $data ]) =~ s/^\[(.*)\]\z/$1/sr);
}

sub refused {
	my ($answer, $code, $name) = @_;

	is($answer->status() . ' ' . $answer->body(),
		"400 {\"code\":$code,\"message\":\"$messages[$code]\"}", $name);
}

sub refused_in_time {
	my ($io, $name) = @_;

	ok((wait_for { my $r = $io->get(); $r->status() == 400 } 'the end'),
		$name);
}

###############################################################################
