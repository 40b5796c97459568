#!/usr/bin/perl

# Tests for the names of rtbus_redis with nginx's "resolver": they are asked for
# again each time a connection is made, all addresses are tried, and nothing
# waits for a name server that is wrong, slow or not there.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::DNS;
use Test::RTBus::Redis;
use Test::RTBus::WebSocket;

use IO::Socket::IP;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server');

plan(skip_all => 'the module is not built') unless module_file();

my $v6 = IO::Socket::IP->new(Listen => 1, LocalHost => '::1');

die "no IPv6\n" if !$v6 && ($ENV{CI} || $ENV{RTBUS_REQUIRE_ALL});
plan(skip_all => 'no IPv6') unless $v6;

# one port, several addresses

my $one = Test::RTBus::Redis->new(dir => $t->testdir());
my %o = (dir => $t->testdir(), port => $one->port());
my $two = Test::RTBus::Redis->new(%o, host => '127.0.0.2');
my $six = Test::RTBus::Redis->new(%o, host => '::1');

my $dns = Test::RTBus::DNS->new(dir => $t->testdir());
my $resolver = $dns->conf();
my $port = $one->port();

my $conf = <<"EOC";

%%TEST_GLOBALS%%

daemon off;
worker_processes 1;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis  redis://redis.test:$port connect_timeout=300ms;
    rtbus_allow  *;
    rtbus_drain  0;
    rtbus_ping   60s 60s;

    resolver     $resolver;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location / {
            rtbus websocket;
            rtbus_subscribe all;
        }

        location /health {
            rtbus_health;
        }
    }
}

EOC

$t->write_file_expand('nginx.conf', $conf)->plan(36);
$t->run();

###############################################################################

# nobody knows the name, and nginx has started

error_log_like($t, qr/\[error\].*could not connect to Redis: Host not found/,
	'no such name');
is(health(), 503, 'not well');

my $ws = Test::RTBus::WebSocket->connect(path => '/');

is($ws->status(), 101, 'a client is let in');

$dns->set('redis.test', [ '127.0.0.1' ]);

ok(green(), 'well once it has a name');
is(error_log_count($t, qr/\[error\].*Host not found/), 2,
	'a line in the log for each connection');
ok(at($one), 'events');

# it moves

$dns->set('redis.test', [ '127.0.0.2' ]);
$one->stop();

ok(at($two), 'moved');
ok(green(), 'well');
is($ws->eof(), 0, 'the client has stayed');

$one->start();

# the name server knows nothing any more, fails, or says nothing: the last
# address will do

for my $case ([ 'NXDOMAIN', rcode => 3 ], [ 'SERVFAIL', rcode => 2 ],
	[ 'silence', mute => 1 ])
{
	my ($name, @how) = @$case;

	$dns->set('redis.test', undef, @how);
	$two->stop();

	# the answer of before may be kept for this second

	ok(asked(), "$name: is asked");
	$two->start();

	ok(at($two), "$name: the last address");
	ok(green(), "$name: well");
}

error_log_like($t, qr/\[warn\].*could not resolve "redis.test": Host not found,/,
	'a line in the log');

# ... answers when nobody waits any more; what it says counts the next time

$dns->set('redis.test', [ '127.0.0.1' ], delay => 0.7);

$two->stop();

ok(at($one), 'a late answer');

$two->start();

# several: all are tried

$dns->set('redis.test', [ '127.0.0.9', '127.0.0.2', '127.0.0.1', '::1' ]);

$one->stop();

ok(at($two), 'one of several addresses');
ok(green(), 'both connections to the same');

$two->stop();

ok(at($six), 'another of them');
ok(green(), 'both connections to the same');

$one->start();

# IPv6 only

$dns->set('redis.test', [ '::1' ]);

$six->stop();
$six->start();

ok(at($six), 'IPv6 only');
ok(green(), 'well');

error_log_unlike($t, qr/\[(?:alert|crit)\]/, 'no worse lines');

###############################################################################

# a worker leaves, with the name server and Redis away

$dns->set('redis.test', undef, mute => 1);
$six->stop();

ok(asked(), 'asked');

my @old = workers($t);

$ws->drop();
ok(scalar reload_wait($t, gone => 1, timeout => 15), 'a worker leaves');
ok(!(grep { kill 0, $_ } @old), 'and is gone');

# the same with a client that is told

$dns->set('redis.test', [ '127.0.0.1' ]);
ok(green(), 'well again');

$ws = Test::RTBus::WebSocket->connect(path => '/');
$ws->wait_event('connected');

$dns->set('redis.test', undef, mute => 1);
$one->stop();
reload_wait($t);

ok($ws->wait_event('server:shutdown'), 'a client is told');
is(($ws->read_close())[0], 1012, 'and closed');

$one->start();
$dns->set('redis.test', [ '127.0.0.1' ]);
ok(green(), 'well again');

###############################################################################

# an IPv6 address in the URL needs nobody, and neither does one of the system

for my $host ('[::1]', 'localhost') {
	$six->start();

	$t->write_file_expand('nginx.conf', $conf
		=~ s!redis://redis.test!redis://$host!r
		=~ s!resolver .*;!!r);
	reload_wait($t, gone => 1);

	ok(green(), "$host without a resolver");
}

###############################################################################

# An event that is published there gets to the client.

sub at {
	my ($redis) = @_;

	return wait_for {
		eval { $redis->event('all', 'at', $redis->at()) };

		my @got = grep { ($_->{event} || '') eq 'at'
			&& $_->{data} eq $redis->at() } $ws->pending_json();
		scalar @got;
	} 'an event of ' . $redis->at(), 20;
}

sub asked {
	my $n = $dns->asked('redis.test');

	return wait_for { $dns->asked('redis.test') > $n } 'a question';
}

sub health {
	return http_get('/health') =~ m!^HTTP/1.1 (\d+)! ? $1 : 0;
}

sub green {
	return wait_for { health() == 200 } 'green', 20;
}

###############################################################################
