#!/usr/bin/perl

# Tests for a configuration that says nothing of who may do what: nobody may do
# anything.  Over each protocol and at each endpoint that takes the name of a
# channel or of a command, with a user and without; nothing of the channel is
# told, and Redis is not asked to subscribe or to write.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Polling;
use Test::RTBus::Redis;
use Test::RTBus::SSE;
use Test::RTBus::SocketIO;
use Test::RTBus::WebSocket;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server')
	->plan(41);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

$t->write_file_expand('nginx.conf', <<"CONF");

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis  $url;
    rtbus_user   \$arg_user;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location /ws {
            rtbus            websocket sse;
        }

        location /joined {
            rtbus            websocket sse;
            rtbus_subscribe  job:1;
        }

        location /socket.io/ {
            rtbus            socketio;
        }

        location /joined/io/ {
            rtbus            socketio;
            rtbus_subscribe  job:1;
        }

        location /state {
            rtbus_state      job:1;
        }

        location /submit {
            rtbus_submit     job:start;
        }
    }
}

CONF

$t->run();
wait_redis($t);

my $id = $redis->cmd('FCALL', 'rtbus_publish', 1, 'job:1', 'e', '1', 'APPEND',
	'secret', 'SET', 'userId', 'ann', 'jobId', 1);
my $keys = keys_of();
my $forbidden = { ok => JSON::PP::false, error => 'forbidden' };

###############################################################################

for my $user ('', 'user=ann') {
	my $who = $user ? 'the owner' : 'nobody';

	# what a client asks for

	my $ws = Test::RTBus::WebSocket->connect(path => "/ws?$user");

	my @asks = (
		[ 'subscribe', { channel => 'job:1' } ],
		[ 'subscribe', { channel => 'job:1', after => '0-0' } ],
		[ 'subscribe', { channel => 'job:1', state => JSON::PP::true } ],
		[ 'subscribe:job', '1' ],
		[ 'reconnect:sync', { jobId => '1', lastSequence => 0 } ],
	);

	for my $n (0 .. $#asks) {
		$ws->send_json({ event => $asks[$n][0], data => $asks[$n][1],
			ack => $n });
		is_deeply($ws->wait_ack($n)->{data}, $forbidden,
			"$who: $asks[$n][0] " . json_encode($asks[$n][1]));
	}

	for my $name ('job:start', '@connect') {
		$ws->send_json({ event => $name, data => { jobId => '1' },
			ack => 9 });
		is($ws->wait_ack(9)->{data}{error}, 'unknown event',
			"$who: command $name");
	}

	for my $class (qw/ Test::RTBus::SocketIO Test::RTBus::Polling /) {
		my $io = $class->connect(path => "/socket.io/?$user");

		$io->join_nsp();
		$io->emit('subscribe', { channel => 'job:1' }, { ack => 1 });
		is_deeply($io->wait_ack(1)->{data}, [ $forbidden ],
			"$who: subscribe, $class");
		$io->emit('job:start', { jobId => '1' }, { ack => 2 });
		is($io->wait_ack(2)->{data}[0]{error}, 'unknown event',
			"$who: command, $class");

		$io = $class->connect(path => "/joined/io/?$user");
		is($io->join_nsp()->{data}{message}, 'forbidden',
			"$who: configured, $class");
	}

	# what it brings, and what was configured for it

	$ws = Test::RTBus::WebSocket->connect(path =>
		"/ws?$user&cursor=job:1\@0-0");
	is_deeply($ws->wait_event('sync:refused')->{data},
		{ channel => 'job:1', error => 'forbidden' },
		"$who: a cursor");

	for my $class (qw/ Test::RTBus::WebSocket Test::RTBus::SSE /) {
		my $c = $class->connect(path => "/joined?$user");
		is($c->status(), 403, "$who: configured, $class");
	}

	my $sse = Test::RTBus::SSE->connect(path => "/ws?$user",
		last_event_id => 'job:1@0-0');
	isnt($sse->status(), 200, "$who: an event id");

	# what is no client

	like(http_get("/state?$user"), qr/ 403 (?!.*secret)/s, "$who: state");
	like(http("POST /submit?$user HTTP/1.0\r\nContent-Length: 0\r\n\r\n"),
		qr/ 404 /, "$who: a command by POST");

	is($redis->subscribers('job:1'), 0, "$who: nobody listens");
}

is(keys_of(), $keys, 'nothing is written');

###############################################################################

sub keys_of {
	return join ' ', sort @{$redis->cmd('KEYS', '*')};
}

###############################################################################
