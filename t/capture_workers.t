#!/usr/bin/perl

# Tests for captured answers over HTTP/2 and TLS, on several workers: one stops
# what another one reads, and a worker that dies takes no answer along in silence.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Answer;
use Test::RTBus::Redis;
use Test::RTBus::Upstream;

use POSIX ();
use Time::HiRes qw/ sleep time /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http http_v2 http_ssl proxy rewrite /)
	->has_daemon('redis-server')->has_daemon('openssl')->has_daemon('curl')
	->plan(43);

# nginx says at "alert" that a worker was killed

$t->todo_alerts();

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

my $up = Test::RTBus::Upstream->new();
my $port = $up->port();

my $d = $t->testdir();

system("openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost "
	. "-keyout $d/key.pem -out $d/cert.pem > $d/openssl.out 2>&1") == 0
	or die "Can't make a certificate\n";

$t->write_file_expand('nginx.conf', <<"EOF");

%%TEST_GLOBALS%%

daemon off;
worker_processes  2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis    $url command_timeout=2s;
    rtbus_allow    chat:*;

    proxy_http_version  1.1;
    add_header          X-Pid \$pid;

    server {
        listen       127.0.0.1:8080;
        listen       127.0.0.1:8081 http2;
        listen       127.0.0.1:8082 ssl http2;
        server_name  localhost;

        ssl_certificate      cert.pem;
        ssl_certificate_key  key.pem;

        location /chat {
            proxy_pass     http://127.0.0.1:$port;
            rtbus_capture  chat:\$arg_id format=openai;
        }

        location /cancel {
            proxy_pass     http://127.0.0.1:$port;
            rtbus_capture  chat:\$arg_id disconnect=cancel;
        }

        location /replay {
            rtbus_replay  chat:\$arg_id done=1h id=off;
        }

        location /from {
            rtbus_replay  chat:\$arg_id after=\$arg_n count=seq done=1h id=off;
        }

        location /stop {
            rtbus_stop  chat:\$arg_id;
        }

        location /state {
            rtbus_state  chat:\$arg_id;
        }

        location /status {
            rtbus_status;
        }

        location /events {
            rtbus            sse;
            rtbus_subscribe  chat:\$arg_id;
        }
    }
}

EOF

$t->run();

wait_redis($t, 2);
wait_for { !ref $redis->try_cmd('FCALL_RO', 'rtbus_version', 0) } 'library';

my ($a, $b, $c);

my $one = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n";
my $two = "data: [DONE]\n\n";

###############################################################################

# the whole of an answer, over each protocol

for my $case (
	[ 'HTTP/2', '--http2-prior-knowledge', 'http', 8081 ],
	[ 'TLS', '-k --http1.1', 'https', 8082 ],
	[ 'TLS and HTTP/2', '-k --http2', 'https', 8082 ],
)
{
	my ($name, $options, $scheme, $to) = @$case;
	my $id = $to . ($options =~ /1.1/ ? 1 : 2);

	$a = curl("$options -X POST $scheme://127.0.0.1:" . port($to)
		. "/chat?id=$id");
	$c = $up->accept();
	$c->head('text/event-stream');
	$c->send($one);
	ok($a->wait(qr/\n\n/), "$name, as it comes");
	$c->send($two);
	$c->end();
	is($a->finish(), $one . $two, "$name, bytes");
	is($a->{exit}, 0, "$name, end");
	is(ask("/replay?id=$id")->finish(), $one . $two, "$name, replay");

	# one that goes

	$a = curl("$options -X POST $scheme://127.0.0.1:" . port($to)
		. "/chat?id=$id");
	$c = $up->accept();
	$c->head('text/event-stream');
	$c->send($one);
	$a->wait(qr/\n\n/);
	$a->kill();
	sleep(0.1);
	$c->send($one);
	$c->send($two);
	$c->end();
	ok((wait_for { ended($id) } 'end'), "$name, read on");
	is(ask("/replay?id=$id")->finish(), $one . $one . $two,
		"$name, replay of the rest");
}

$a = curl('--http2-prior-knowledge -X POST http://127.0.0.1:' . port(8081)
	. '/cancel?id=c');
$c = $up->accept();
$c->head('text/event-stream');
$c->send($one);
$a->wait(qr/\n\n/);
$a->kill();
ok($c->gone(5), 'HTTP/2, cancelled by its client');

# a stop that another worker gets

$a = ask('/chat?id=s', method => 'POST', wait => 0);
$c = $up->accept();
$c->head('text/event-stream');
$c->send($one);
$a->head();
$a->wait_body(qr/\n\n/);

$b = replay_elsewhere('s', $a->header('X-Pid'));
ok($b, 'replay at another worker');
$b->wait_body(qr/\n\n/);

my ($begin, $pid);

# of those who stop one is served elsewhere; all of them are right

my @stops = map { ask('/stop?id=s', method => 'POST') } 1 .. 20;

ok($c->gone(5), 'upstream is left');
is(grep({ $_->status() == 200 } @stops), 20, 'stopped');
like($a->finish(), qr/"cancelled"/, 'client is told');
is($b->finish(), $a->got(), 'so is the other one');

# a worker is killed: its client has no end, the others are told

$a = ask('/chat?id=k', method => 'POST', wait => 0);
$c = $up->accept();
$c->head('text/event-stream');
$c->send($one);
$a->head();
$a->wait_body(qr/\n\n/);

$pid = $a->header('X-Pid');
$b = replay_elsewhere('k', $pid);
$b->wait_body(qr/\n\n/);

# two more of it that nobody replays; one has subscribers, at both workers

my @quiet;

for my $i (1 .. 100) {
	my $x = ask("/chat?id=q$i", method => 'POST', wait => 0);
	my $y = $up->accept();

	$y->head('text/event-stream');
	$y->send($one);
	$x->head();
	$x->wait_body(qr/\n\n/);

	if ($x->header('X-Pid') == $pid) {
		push @quiet, [ "q$i", $x, $y ];
		last if @quiet == 2;
		next;
	}

	$y->send($two);
	$y->end();
	$x->finish();
}

my @subs = map { ask("/events?id=$quiet[1][0]") } 1 .. 20;

kill 'KILL', $pid;
$begin = time();

$a->finish();
ok(!$a->whole(), 'its client has no end');

like($b->finish(60), qr/^\Q$one\Edata: \{"error":\{.*"interrupted"\}\}\n\n\z/,
	'the others are told');
ok($b->whole(), 'with an end');

my $took = time() - $begin;
cmp_ok($took, '<', 20, "in time");

is($redis->cmd('HGET', '{chat:k}:state', 'status'), 'interrupted', 'state');

is(json_decode(ask("/state?id=$quiet[0][0]")->finish())->{status},
	'interrupted', 'who reads the state finds out as well');
ok((wait_for {
	$redis->cmd('HGET', "{chat:$quiet[1][0]}:state", 'status')
		eq 'interrupted'
} 'interrupted', 30), 'and who subscribes');

like(ask('/status')->finish(), qr/^rtbus_capture_leases_lost_total 3$/m,
	'each is counted once');

# who has got more than Redis waits for it, and is told if it never comes

is(ask('/from?id=k&n=1')->status(), 204, 'has all of it');
is(ask('/from?id=k&n=2')->status(), 204, 'and the error');

$b = ask('/from?id=k&n=3');
is($b->status(), 200, 'has more than there was');
like($b->finish(10), qr/^data: \{"error":\{.*"interrupted"\}\}\n\n\z/,
	'is told');

$a = ask('/chat?id=l', method => 'POST', wait => 0);
$c = $up->accept();
$c->head('text/event-stream');
$c->send($one);
$a->head();
$a->wait_body(qr/\n\n/);

$b = ask('/from?id=l&n=2');
is($b->status(), 200, 'is early');

$c->send($one);
$c->send($one);
ok($b->wait_body(qr/\n\n/), 'goes on');
$c->send($two);
$c->end();
is($b->finish(), $one . $two, 'with what comes after it');
ok($b->whole(), 'to the end');
$a->finish();

# the channel is free

$a = ask('/chat?id=k', method => 'POST', wait => 0);
ok($c = $up->accept(), 'free again');
$c->head('text/event-stream');
$c->send($two);
$c->end();
$a->head();
is($a->finish(), $two, 'the next answer');

is(error_log_count($t, qr/\[alert\](?!.*exited on signal 9)/), 0,
	'no other alert');

###############################################################################

sub ask {
	my ($path, %o) = @_;

	$o{body} = '' if ($o{method} || 'GET') eq 'POST';

	return Test::RTBus::Answer->ask(path => $path, %o);
}

sub ended {
	my ($id) = @_;

	return $redis->cmd('HGET', "{chat:$id}:state", 'status')
		eq 'completed';
}

sub replay_elsewhere {
	my ($id, $pid) = @_;

	for (1 .. 200) {
		my $b = ask("/replay?id=$id");

		return $b if $b->header('X-Pid') != $pid;
	}

	return undef;
}

sub curl {
	my ($args) = @_;

	my $pid = open my $out, '-|', "exec curl -sN $args"
		or die "Can't run curl: $!\n";

	$out->blocking(0);

	return bless { pid => $pid, out => $out, got => '' }, 'Curl';
}

###############################################################################

package Curl;

sub wait {
	my ($self, $what) = @_;

	return Test::RTBus::wait_for(sub {
		sysread $self->{out}, $self->{got}, 65536,
			length $self->{got};

		return $self->{got} =~ $what;
	}, 'bytes of curl');
}

sub finish {
	my ($self) = @_;

	$self->{out}->blocking(1);

	1 while sysread $self->{out}, $self->{got}, 65536,
		length $self->{got};

	close $self->{out};
	$self->{exit} = $? >> 8;

	return $self->{got};
}

sub kill {
	my ($self) = @_;

	CORE::kill('KILL', $self->{pid});
	close $self->{out};
}

###############################################################################
