#!/usr/bin/perl

# Tests for rtbus_health and what is behind it: a subscription that is dead
# though its socket is not, Redis that answers what it should not, and all the
# other ways in which events may stop to come.  Health is red while they do, for
# all workers and whichever is asked; then all goes on by itself, and no durable
# event is missing.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Metrics;
use Test::RTBus::Proxy;
use Test::RTBus::Redis;
use Test::RTBus::SSE;
use Test::RTBus::WebSocket;

use Time::HiRes qw/ time /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http access /)->has_daemon('redis-server');

plan(skip_all => 'the module is not built') unless module_file();

my $redis = Test::RTBus::Redis->new(dir => $t->testdir(), args => [
	qw/ --client-output-buffer-limit /, 'pubsub 1mb 1mb 0' ]);
my $proxy = Test::RTBus::Proxy->new(to => $redis->port());
my $url = $proxy->url();

my @answers = (
	[ '-LOADING', "-LOADING Redis is loading the dataset in memory\r\n" ],
	[ '-READONLY',
		"-READONLY You can't write against a read only replica.\r\n" ],
	[ '-NOAUTH', "-NOAUTH Authentication required.\r\n" ],
	[ '-MOVED', "-MOVED 3999 127.0.0.1:6381\r\n" ],
	[ 'garbage', "HTTP/1.1 400 Bad Request\r\n\r\n" ],
	[ 'silence', '' ],
);

$t->plan(20 + 5 * (7 + 2 + @answers) + 10);

$t->write_file_expand('nginx.conf', <<"CONF");

%%TEST_GLOBALS%%

daemon off;
worker_processes 2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis $url connect_timeout=500ms command_timeout=500ms;
    rtbus_allow *;
    rtbus_ping 60s 60s;

    add_header X-Pid \$pid always;

    server {
        listen       127.0.0.1:8080 reuseport;
        server_name  localhost;

        location / {
            rtbus websocket sse;
            rtbus_subscribe all;
        }

        location /health {
            rtbus_health;
        }

        location /denied {
            rtbus_health;
            deny all;
        }

        location /status {
            rtbus_status;
        }
    }
}

CONF

$proxy->refuse();
$t->run();

###############################################################################

# no Redis from the beginning

my ($status, $body, $reply) = health();

is($status, 503, 'no Redis');
is($body->{status}, 'unavailable', 'no Redis, status');
is($body->{reason}, 'no connection to Redis', 'no Redis, reason');
like($reply, qr/^Retry-After: \d+\r/m, 'when to ask again');
like($reply, qr!^Content-Type: application/json\r!m, 'type');
like($reply, qr!^Cache-Control: no-store\r!m, 'not kept');
like(http("HEAD /health HTTP/1.0\r\nHost: localhost\r\n\r\n"),
	qr!^HTTP/1.1 503 .*\r\n\r\n\z!s, 'HEAD');

$proxy->pass();

ok(green(), 'well once Redis is there');

($status, $body, $reply) = health();

is($body->{status}, 'ok', 'status');
is($body->{workers}, 2, 'workers');
is($body->{failing}, 0, 'none fails');
like($body->{canaryAge}, qr/^\d+(\.\d+)?$/, 'age of the canary');
unlike($reply, qr/^Retry-After/m, 'nothing to wait for');
like($reply, qr!^Content-Type: application/json\r!m, 'type');
like($reply, qr!^Cache-Control: no-store\r!m, 'not kept');
like(http("HEAD /health HTTP/1.0\r\nHost: localhost\r\n\r\n"),
	qr!^HTTP/1.1 200 .*\r\n\r\n\z!s, 'HEAD');
like(http("POST /health HTTP/1.0\r\nHost: localhost\r\n"
	. "Content-Length: 0\r\n\r\n"),
	qr!^HTTP/1.1 405 .*^Allow: GET, HEAD\r!ms, 'POST');
like(http("OPTIONS /health HTTP/1.0\r\nHost: localhost\r\n\r\n"),
	qr!^HTTP/1.1 405 !, 'OPTIONS');
like(http_get('/denied'), qr!^HTTP/1.1 403 !, 'deny');

# clients on both workers

my @workers = workers($t);
my @clients = on_workers(\@workers, qw/ Test::RTBus::WebSocket
	Test::RTBus::SSE /);

my $n = 0;

publish(3);
is(whole(), '', 'events');

# bytes of one worker's subscription are swallowed; all workers know

my $lost = metrics()->{rtbus_canary_lost_total};

fault('the subscription of a worker is dead', 12, sub {
	$proxy->swallow(role => 'pub/sub', pid => $workers[0]);
});

is(metrics()->{rtbus_canary_lost_total}, $lost + 1, 'a lost canary');
is(error_log_count($t,
	qr/\[error\].*lost Redis: the canary is missing.*pub\/sub/),
	1, 'a lost canary in the log');

# the same for what it sends, and for both at once

fault('commands are swallowed', 12, sub {
	$proxy->swallow(role => 'command');
});

fault('all is swallowed', 12, sub { $proxy->swallow() });

# mute, killed, dropped, away

fault('CLIENT PAUSE', 12, sub {
	$redis->cmd(qw/ CLIENT PAUSE 9000 ALL /);
});

fault('CLIENT KILL', 12, sub {
	# a new connection would be there before health is asked
	$proxy->stall(role => 'pub/sub');
	$redis->cmd(qw/ CLIENT KILL TYPE pubsub /);
});

fault('output buffer limit', 12, sub {
	$proxy->stall(role => 'pub/sub');

	wait_for {
		$redis->event('all', 'noise', 'x' x 500000) for 1 .. 10;
		$redis->cmd('INFO', 'clients') =~ /^pubsub_clients:(\d+)/m
			? !$1 : !$redis->subscribers('all');
	} 'the end of the subscribers';
});

fault('the first dial is refused', 12, sub {
	my $refused = qr/could not connect to Redis: connect\(\) failed/;
	my $n = error_log_count($t, $refused);

	$proxy->refuse();

	wait_for { error_log_count($t, $refused) > $n + 2 } 'refusals';
}, sub { $proxy->pass() });

# answers that Redis gives at bad times, or never

for my $case (@answers) {
	my ($name, $text) = @$case;

	# some before as well, see redis_answers.t for the others

	for my $later ($name =~ /LOADING|garbage/ ? (0, 1) : 1) {
		fault($name . ($later ? ' after the greeting' : ''), 12, sub {
			$proxy->answer($text, later => $later);
		}, sub { $proxy->pass() });
	}
}

# a worker that stands still

kill 'STOP', $workers[0];

ok((wait_for { (health($workers[1]))[0] == 503 } 'red', 12),
	'a worker that stands still');
is((health($workers[1]))[1]->{failing}, 1, 'it is the only one');

kill 'CONT', $workers[0];

ok(green(), 'well when it goes on');

# who may not publish to the mailbox has no proof, but keeps what works

my $reconnects = metrics()->{'rtbus_redis_reconnects_total{link="pubsub"}'};

$redis->cmd(qw/ ACL SETUSER default -publish /);

error_log_like($t, qr/\[error\].*could not publish to its mailbox.*NOPERM/,
	'a canary that is refused');

# longer than a canary may be missing

my $began = time();

ok((wait_for { metrics()->{rtbus_canary_age_seconds} > 16 } 'time', 25),
	'no proof meanwhile');
cmp_ok(time() - $began, '>', 5, 'in seconds');

$redis->cmd(qw/ ACL SETUSER default +publish /);

ok(green(), 'well when it may');
is(metrics()->{'rtbus_redis_reconnects_total{link="pubsub"}'}, $reconnects,
	'the subscription was left alone');

$_->drop() for @clients;

###############################################################################

# Something goes wrong, and health is red for whoever is asked, within so many
# seconds; after it is over (if it is not by itself) all is well again, and what
# was published meanwhile is there.  Five tests.

sub fault {
	my ($name, $seconds, $begin, $end) = @_;

	publish(1);
	$begin->();

	# some of it takes a while by itself

	my $start = time();

	my $red = wait_for {
		(health($workers[1]))[0] == 503;
	} "$name: red", $seconds;

	ok($red, "$name: red");
	cmp_ok(time() - $start, '<', 10.5, "$name: within two periods");

	publish(1);
	$end->() if $end;

	ok(green(), "$name: green");
	publish(1);

	is(whole(), '', "$name: no event is missing");
	is(scalar(grep { $_->eof() } @clients), 0, "$name: clients connected");
}

sub publish {
	my ($count) = @_;

	# Redis may be mute

	for (1 .. $count) {
		my $id = eval { $redis->cmd('FCALL', 'rtbus_publish', 1, 'all',
			'e', $n + 1) };

		$n++ if $id;
	}
}

# What was published is compared with what each client gets; '' if it is all.

sub whole {
	my @bad;

	for my $c (@clients) {
		while (($c->{seen} || 0) < $n) {
			my $e = $c->wait_event('e') or last;

			push @bad, "$e->{data} after " . ($c->{seen} || 0)
				if $e->{data} != ($c->{seen} || 0) + 1;

			$c->{seen} = $e->{data};
		}

		push @bad, ($c->{seen} || 0) . " of $n" if $c->{seen} != $n;
	}

	return join ', ', @bad;
}

# -> status, decoded body, the whole reply; of that worker or any

sub health {
	my ($pid) = @_;

	for (1 .. 200) {
		my $reply = http_get('/health') || '';

		next if $pid && $reply !~ /^X-Pid: \Q$pid\E\r/m;

		$reply =~ m!^HTTP/1.1 (\d+) .*?\r\n\r\n(.*)!s
			or die "No answer: $reply\n";

		return ($1, json_decode($2), $reply);
	}

	die "Worker $pid does not answer\n";
}

sub green {
	return wait_for { (health())[0] == 200 } 'green', 20;
}

# one client of each class on each worker

sub on_workers {
	my ($pids, @classes) = @_;
	my @found;

	for my $class (@classes) {
		my %left = map { $_ => 1 } @$pids;

		while (%left) {
			my $c = $class->connect(path => '/');

			# "connected" has a cursor: nothing is missed after it

			if (delete $left{$c->header('X-Pid')}) {
				$c->wait_event('connected');
				push @found, $c;

			} else {
				$c->drop();
			}
		}
	}

	return @found;
}

###############################################################################
