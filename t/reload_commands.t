#!/usr/bin/perl

# Tests for a worker that leaves while commands wait for a producer that takes
# its time: who waits for an answer gets it, or comes back and asks again; but
# worker_shutdown_timeout has the last word, and nobody is waited for who is not
# there any more.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Polling;
use Test::RTBus::Redis;
use Test::RTBus::SocketIO;
use Test::RTBus::SSE;
use Test::RTBus::WebSocket;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)
	->has_daemon('redis-server')->plan(25);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

conf('worker_shutdown_timeout 2s;');

$t->run();
wait_redis($t, 2);

###############################################################################

for my $kind (qw/ submit WebSocket SocketIO Polling /) {
	for my $id (0, 1) {
		my $name = "$kind, " . ($id ? 'with' : 'without') . ' ackId';
		my $c = command($kind, $id);
		my ($command) = $redis->take('rtbus:commands');

		ok($command, "$name: sent");
		ok(gone(20), "$name: the worker has left");
		$c->drop() if $kind ne 'Polling';
	}
}

# a command whose client another worker has by now

for my $id (0, 1) {
	my ($io, $ws) = moved($id);

	ok($ws, 'moved to another worker') or next;
	ok(gone(20), 'moved: the workers have left');
	$ws->drop();
}

# sessions without a connection, more than rtbus_drain would have let go by then

conf('worker_shutdown_timeout 2s;', 'rtbus_drain 300s;');
reload_wait($t, gone => 1, timeout => 30);

my @many = map { Test::RTBus::Polling->connect(path => '/io') } 1 .. 300;
ok($many[-1]->sid(), 'sessions');
ok(gone(10), 'sessions: the worker has left');

# without a limit the answer is waited for

conf('');
reload_wait($t, gone => 1, timeout => 30);

my $c = command('submit', 0);
my ($command) = $redis->take('rtbus:commands');
my ($old) = workers($t);

reload_wait($t);
$redis->answer($command, { data => [ 'done' ] });
$c->handshake();
is($c->body(), '"done"', 'an answer from a worker that leaves');

###############################################################################

sub conf {
	my ($timeout, $drain) = @_;

	$drain ||= 'rtbus_drain 500ms;';

	$t->write_file_expand('nginx.conf', <<"EOT");

%%TEST_GLOBALS%%

daemon off;
worker_processes 2;
$timeout

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis    $url;
    $drain
    rtbus_command  ask reply=300s;
    rtbus_user     u;

    add_header     X-Worker \$pid always;

    server {
        listen       127.0.0.1:8080 reuseport;
        server_name  localhost;

        location /submit {
            rtbus_submit  ask;
        }

        location /health {
            rtbus_health;
        }

        location /ws {
            rtbus  websocket;
        }

        location /io {
            rtbus  socketio;
        }
    }
}

EOT
}

my $acks;

sub command {
	my ($kind, $id) = @_;

	# whichever worker it comes to, that has its links to Redis

	wait_for {
		!grep { $_->status() != 200 } map {
			Test::RTBus::SSE->connect(path => '/health',
				accept => undef)
		} 1 .. 10;
	} 'health';

	my $data = $id ? { ackId => 'a' . ++$acks } : { x => 1 };

	if ($kind eq 'submit') {
		my $body = json_encode($data);

		return Test::RTBus::SSE->connect(path => '/submit',
			method => 'POST', early => $body, read => 0,
			headers => { 'Content-Length' => length $body });
	}

	my $c = "Test::RTBus::$kind"->connect(
		path => $kind eq 'WebSocket' ? '/ws' : '/io');

	if ($kind eq 'WebSocket') {
		$c->send_json({ event => 'ask', data => $data, ack => 1 });

	} else {
		$c->join_nsp();
		$c->emit('ask', $data, { ack => 1 });
	}

	return $c;
}

# until the upgrade happens to come to the other worker

sub moved {
	my ($id) = @_;

	for (1 .. 50) {
		my $io = command('Polling', $id);
		$redis->take('rtbus:commands') or return;

		my $ws = Test::RTBus::SocketIO->connect(path =>
			'/io?EIO=4&transport=websocket&sid=' . $io->sid(),
			read => 0);
		$ws->handshake();

		if ($ws->header('X-Worker')
			eq $io->opened()->header('X-Worker'))
		{
			$ws->drop();
			next;
		}

		my $get = $io->get_start();

		$ws->send_text('2probe');
		is($ws->recv_message()->{message}, '3probe', 'probe');
		$get->wait();
		$ws->send_text('5');
		$io->{sid} = undef;

		# it is there: its acknowledgements come this way
		$ws->emit('nothing', { ack => 7 });
		$ws->wait_ack(7);

		return ($io, $ws);
	}

	return;
}

sub gone {
	my ($seconds) = @_;

	return scalar reload_wait($t, gone => 1, timeout => $seconds);
}

###############################################################################
