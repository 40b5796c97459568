#!/usr/bin/perl

# Tests for users whose ids no channel can have as they are: "auth0|x", addresses,
# blanks, other scripts.  Each has a channel, by percent-encoding, wherever a name
# is made from the id, and no two users have the same one.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Redis;
use Test::RTBus::SSE;
use Test::RTBus::SocketIO;
use Test::RTBus::WebSocket;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my @users = (
	[ 'ann', 'ann' ],
	[ 'auth0|x', 'auth0%7Cx' ],
	[ 'ann@example.com', 'ann%40example.com' ],
	[ 'a b', 'a%20b' ],
	[ "\xc3\xa9ric", '%C3%A9ric' ],
	[ 'a%7Cb', 'a%257Cb' ],
	[ 'urn:a:b', 'urn:a:b' ],
	[ 'https://id.example/u/1?x=y&z#{a},*~', 'https:%2F%2Fid.example%2Fu%2F1'
		. '%3Fx%3Dy%26z%23%7Ba%7D%2C%2A%7E' ],
);

my $t = Test::Nginx->new()->has(qw/ http map rewrite /)
	->has_daemon('redis-server')->plan(11 * @users + 21);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $redis_url = $redis->url();

$t->write_file_expand('nginx.conf', <<"EOC");

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis      $redis_url;
    rtbus_user       \$http_x_user;
    rtbus_forward    job:* "user:{userId}";

    rtbus_subscribe  user:\$rtbus_user;
    rtbus_allow      user:\$rtbus_user;
    rtbus_allow      user:\$rtbus_user:*;
    rtbus_allow      room:*;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location = /ws {
            rtbus  websocket;
        }

        location = /sse {
            rtbus  sse;
        }

        location /io/ {
            rtbus  socketio;
        }

        location = /state {
            rtbus_state  user:\$rtbus_user;
        }

        location ~ ^/room/(.*)\$ {
            rtbus            sse;
            rtbus_subscribe  room:\$1 room:\$arg_room;
        }

        location ~ ^/publish/(.*)\$ {
            rtbus_publish  \$1;
        }
    }
}

EOC

$t->run();
wait_redis($t);

wait_for { !ref $redis->try_cmd('FCALL_RO', 'rtbus_version', 0) } 'library';

###############################################################################

my $n = 0;

for my $case (@users) {
	my ($user, $encoded) = @$case;

	my $channel = "user:$encoded";
	my %as = (headers => { 'X-User' => $user });

	my $ws = Test::RTBus::WebSocket->connect(path => '/ws', %as);
	is($ws->status(), 101, "$encoded: let in");
	is($ws->wait_event('connected')->{cursor}, "$channel\@0-0",
		"$encoded: channel");

	my $sse = Test::RTBus::SSE->connect(path => '/sse', %as);
	my $io = Test::RTBus::SocketIO->connect(path => '/io/', %as);
	is($io->join_nsp()->{type}, 0, "$encoded: Socket.IO");

	my $position = $redis->cmd('FCALL', 'rtbus_publish', 1, $channel, 'e',
		++$n, 'SET', 'status', "of $n");

	my $m = $ws->wait_event('e');
	is($m->{cursor}, "$channel\@$position", "$encoded: event and cursor");

	my $e = $sse->wait_event('e');
	is($e->{id}, "$channel\@$position", "$encoded: event over SSE");
	is($io->wait_name('e')->{cursor}, "$channel\@$position",
		"$encoded: event over Socket.IO");

	# from where it was, by an argument and by a header

	$redis->cmd('FCALL', 'rtbus_publish', 1, $channel, 'more', $n);

	my $cursor = $m->{cursor} =~ s/([^A-Za-z0-9])/sprintf '%%%02x', ord $1/egr;

	$ws = Test::RTBus::WebSocket->connect(path => "/ws?cursor=$cursor", %as);
	is($ws->wait_event('more')->{data}, $n, "$encoded: resumed");

	$sse = Test::RTBus::SSE->connect(path => '/sse',
		headers => { 'X-User' => $user, 'Last-Event-ID' => $m->{cursor} });
	is($sse->wait_event('more')->{data}, $n, "$encoded: SSE resumed");

	# the state, and what is forwarded

	is(json_decode(Test::RTBus::SSE->connect(path => '/state',
		accept => undef, %as)->body())->{status}, "of $n",
		"$encoded: state");

	$redis->publish("job:$n",
		"{\"event\":\"f\",\"data\":{\"userId\":\"$user\"}}");
	ok($ws->wait_event('f'), "$encoded: forwarded");

	$ws->send_json({ event => 'subscribe', ack => $n,
		data => { channel => "$channel:own" } });
	is($ws->wait_ack($n)->{data}{channel}, "$channel:own",
		"$encoded: rule with more of it");
}

# what is a name, and what is none

my $ws = Test::RTBus::WebSocket->connect(path => '/ws');

for my $case ([ 'room:a%7Cb', 'ok' ], [ 'room:%00%FF', 'ok' ],
	[ 'user:auth0%7Cx', 'forbidden' ], [ 'room:a%7cb', 'bad channel' ],
	[ 'room:a|b', 'bad channel' ], [ 'room:%', 'bad channel' ],
	[ 'room:%7', 'bad channel' ], [ 'room:%%7C', 'bad channel' ],
	[ 'room:%G0', 'bad channel' ])
{
	my ($channel, $expected) = @$case;

	$ws->send_json({ event => 'subscribe', ack => ++$n,
		data => { channel => $channel } });

	my $data = $ws->wait_ack($n)->{data};
	is($data->{error} || 'ok', $expected, "channel $channel");
}

for my $channel ('room:a%7cb', 'room:%', 'room:%7', '%%7C', 'room:%G0') {
	my $e = $redis->try_cmd('FCALL', 'rtbus_publish', 1, $channel, 'e', 1);
	like("$e", qr/bad channel/, "function: $channel");
}

is($redis->cmd('EXISTS', '{room:a%7cb}:events', '{room:%}:events'), 0,
	'nothing was written');

# what a client asks for by himself is a name or it is not

is(Test::RTBus::SSE->connect(path => '/room/a%257Cb')->status(), 200,
	'path with a name');
is(Test::RTBus::SSE->connect(path => '/room/a%7Cb')->status(), 400,
	'path without one');
is(Test::RTBus::SSE->connect(path => '/room/1?room=a%257Cb')->status(), 200,
	'argument with a name');
is(Test::RTBus::SSE->connect(path => '/room/1?room=a%7Cb')->status(), 400,
	'argument without one');

# too long even so

is(Test::RTBus::SSE->connect(path => '/sse',
	headers => { 'X-User' => "\xc3\xa9" x 40 })->status(), 400, 'too long');

$redis->publish('job:long', '{"event":"f","data":{"userId":"' . 'x' x 300
	. '"}}');
error_log_like($t, qr/\[warn\] .*"job:long" is not forwarded/,
	'not forwarded is logged');

###############################################################################
