#!/usr/bin/perl

# Tests for answers that Redis does not give, or not in this place: another
# service at its port, a proxy in front of it, an error where "+OK" should be.
# None is taken for a success, each is logged, and the link recovers.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Redis;
use Test::RTBus::WebSocket;

use IO::Select;
use IO::Socket::INET;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server');

plan(skip_all => 'the module is not built') unless module_file();

my $redis = Test::RTBus::Redis->new(dir => $t->testdir(), start => 0,
	port => free_port());
my $url = 'redis://127.0.0.1:' . $redis->port();

# to the greeting: PING and CLIENT SETNAME

my @greetings = (
	[ "HTTP/1.1 400 Bad Request\r\n\r\n", 'connect to', 'invalid reply' ],
	[ "\0\0\0\0\0\0\0\0\r\n", 'connect to', 'invalid reply' ],
	[ "-ERR not now\r\n", 'connect to',
		'PING was answered "ERR not now"' ],
	[ "-LOADING Redis is loading\r\n", 'connect to',
		'PING was answered "LOADING' ],
	[ "*1\r\n\$99999999999999999999\r\n", 'connect to',
		'invalid reply' ],
	[ "*-2\r\n", 'connect to', 'invalid reply' ],
	[ "*1\r\n" x 100, 'connect to', 'invalid reply' ],
	[ '+PON', 'connect to', 'no answer' ],
	[ '', 'connect to', 'connection closed by Redis' ],

	# up, and then more than was asked for
	[ "+PONG\r\n+OK\r\n+OK\r\n", 'lost', 'unexpected reply' ],
	[ "+PONG\r\n-ERR unknown command\r\n:1\r\n", 'lost',
		'unexpected reply' ],
	[ "+PONG\r\n+OK\r\n*3\r\n\$7\r\nmessage\r\n\$1\r\nc\r\n:1\r\n",
		'lost', 'unexpected reply' ],
	[ "+PONG\r\n+OK\r\n*3\r\n\$9\r\nsubscribe\r\n\$1\r\nc\r\n:1\r\n",
		'lost', 'unexpected reply' ],
	[ "+PONG\r\n+OK\r\n\xff", 'lost', 'invalid reply' ],
);

# to HGETALL and SUBSCRIBE, of a link that is up

my @replies = (
	[ "+OK\r\n" ],
	[ "-ERR not here\r\n" ],
	[ "\$-1\r\n" ],
	[ ":1\r\n" ],
	[ "*0\r\n" ],
	[ "*-1\r\n" ],
	[ "*1\r\n\$1\r\na\r\n" ],
	[ "*3\r\n\$1\r\na\r\n\$1\r\nb\r\n\$1\r\nc\r\n" ],
	[ "*2\r\n:1\r\n:2\r\n" ],
	[ "*2\r\n*0\r\n*0\r\n" ],
	[ "*2\r\n\$-1\r\n\$-1\r\n" ],
	[ "nonsense\r\n" ],
	[ "\$5\r\nabc" ],
);

$t->write_file_expand('nginx.conf', <<"CONF")->plan(@greetings + @replies + 6);

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis $url connect_timeout=200ms command_timeout=100ms;
    rtbus_allow *;
    rtbus_drain 0;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location / {
            rtbus websocket;
        }

        location /state/ {
            rtbus_state job:42;
        }
    }
}

CONF

$t->run();

###############################################################################

for my $case (@greetings) {
	my ($greeting, $what, $reason) = @$case;

	answer(greet($greeting));

	# a new worker dials at once

	my ($pid) = reload_wait($t);
	my $re = qr/\[error\] $pid#.*\Q$what\E Redis: \Q$reason\E/;

	ok((wait_for { error_log_count($t, $re) } $reason),
		"$what: $reason, " . show($greeting));

	$t->stop_daemons();
}

# nobody hangs, whatever the answer

for my $case (@replies) {
	my ($reply) = @$case;

	answer(reply($reply));

	my ($pid) = reload_wait($t);

	wait_for {
		error_log_count($t, qr/\] $pid#.*connected to Redis/) >= 2
	} 'a link';

	my $ws = Test::RTBus::WebSocket->connect(path => '/');

	$ws->send_json({ event => 'subscribe',
		data => { channel => 'job:42' }, ack => 1 });

	my ($status) = http_get('/state/') =~ m!^HTTP/1.1 (\d+)!;
	my $ack = $ws->wait_ack(1, 2);

	is("$status " . ($ack ? $ack->{data}{error} || 'ok' : 'none'),
		'503 unavailable', 'reply ' . show($reply));

	$ws->drop();
	$t->stop_daemons();
}

# at last the real one, with the worker that has seen the others

$redis->start();

my $ws = Test::RTBus::WebSocket->connect(path => '/');

ok((wait_for {
	$ws->send_json({ event => 'subscribe',
		data => { channel => 'job:42' }, ack => 2 });

	my $ack = $ws->wait_ack(2);
	$ack && $ack->{data}{ok};
} 'a subscription'), 'subscribed in the end');

ok($redis->wait_subscribers('job:42', 1), 'subscription');
$redis->event('job:42', 'hello', 1);
is($ws->wait_event('hello')->{data}, 1, 'event');
ok((wait_for { http_get('/state/') =~ / 404 / } 'state'), 'state');

is(error_log_count($t, qr/\[(?:crit|alert|emerg)\]/), 0, 'nothing worse');
is($ws->is_open(), 1, 'client connected');

$ws->drop();

###############################################################################

sub show {
	my ($text) = @_;

	$text =~ s/([^\x20-\x7e])/sprintf '\\x%02x', ord $1/ge;

	return length $text > 40 ? substr($text, 0, 40) . '...' : "'$text'";
}

# Starts a server in the place of Redis, with a way to answer what it reads.

sub answer {
	my ($code) = @_;

	my $listen = wait_for {
		IO::Socket::INET->new(Listen => 64, ReuseAddr => 1,
			LocalAddr => '127.0.0.1', LocalPort => $redis->port())
	} 'the port of Redis';

	$t->run_daemon(\&serve, $listen, $code);
}

sub serve {
	my ($listen, $code) = @_;

	my $all = IO::Select->new($listen);
	my %peers;

	while (my @ready = $all->can_read()) {
		for my $s (@ready) {
			if ($s == $listen) {
				$s = $s->accept() or next;
				$peers{$s} = { in => '' };
				$all->add($s);
				next;
			}

			my $peer = $peers{$s};
			my $n = sysread $s, $peer->{in}, 65536,
				length $peer->{in};
			my $text = $n ? $code->($peer) : undef;

			if (!defined $text) {
				delete $peers{$s};
				$all->remove($s);
				close $s;
				next;
			}

			syswrite $s, $text;
		}
	}
}

# One text for the first bytes of a connection, and silence.

sub greet {
	my ($text) = @_;

	return sub {
		my ($peer) = @_;

		return undef if $text eq '';
		return $peer->{greeted}++ ? '' : $text;
	};
}

# The greeting as it should be, and one text for each other command.

sub reply {
	my ($text) = @_;

	return sub {
		my ($peer) = @_;
		my $in = \$peer->{in};
		my $out = '';

		while ($$in =~ /^\*(\d+)\r\n/) {
			my ($n, $at) = ($1, $+[0]);
			my @args;

			while (@args < $n) {
				pos($$in) = $at;
				$$in =~ /\G\$(\d+)\r\n/gc or last;
				$at = pos($$in);
				last if length $$in < $at + $1 + 2;

				push @args, substr $$in, $at, $1;
				$at += $1 + 2;
			}

			last if @args < $n;

			substr $$in, 0, $at, '';

			$out .= $args[0] eq 'PING' ? "+PONG\r\n"
				: $args[0] eq 'CLIENT' ? "+OK\r\n" : $text;
		}

		return $out;
	};
}

###############################################################################
