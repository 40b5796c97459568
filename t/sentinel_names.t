#!/usr/bin/perl

# Tests for sentinels that have names, and that name the master by its own: both
# are resolved each time, by nginx's "resolver".

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::DNS;
use Test::RTBus::Redis;
use Test::RTBus::WebSocket;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server');

plan(skip_all => 'the module is not built') unless module_file();

my $one = Test::RTBus::Redis->new(dir => $t->testdir());
my $port = $one->port();
my $two = Test::RTBus::Redis->new(dir => $t->testdir(), port => $port,
	host => '127.0.0.2');

# whether it can reach the master itself does not matter

my $sentinel = Test::RTBus::Redis->new(dir => $t->testdir(), sentinel => [
	'resolve-hostnames yes', 'announce-hostnames yes',
	"monitor mymaster redis.test $port 1" ]);
my $sentinel_port = $sentinel->port();

my $dns = Test::RTBus::DNS->new(dir => $t->testdir());
my $resolver = $dns->conf();

$dns->set('sentinel.test', [ '127.0.0.1', '127.0.0.9' ]);
$dns->set('redis.test', [ '127.0.0.1' ]);

my $conf = <<"EOC";

%%TEST_GLOBALS%%

daemon off;
worker_processes 1;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis  redis+sentinel://sentinel.test:$sentinel_port/mymaster
                 connect_timeout=500ms;
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

$t->write_file_expand('nginx.conf', $conf)->plan(10);
$t->run();

###############################################################################

is_deeply($sentinel->cmd(qw/ SENTINEL get-master-addr-by-name mymaster /),
	[ 'redis.test', $port ], 'a name');

my $ws = Test::RTBus::WebSocket->connect(path => '/');

ok(green(), 'well');
ok(at($one), 'events of the master');
error_log_like($t, qr/\[notice\].*master "mymaster" of Redis is at redis\.test:$port/,
	'its name in the log');

# the master has another address

$dns->set('redis.test', [ '127.0.0.2' ]);
$one->stop();

ok(at($two), 'the master has moved');

# the sentinel as well

$dns->set('sentinel.test', [ '127.0.0.9', '127.0.0.1' ]);
$sentinel->stop();
$sentinel->start();

$two->stop();
$two->start();

ok(at($two), 'sentinel and master are back');
ok(green(), 'well');

$ws->drop();

# nobody who could resolve it

$t->write_file_expand('nginx.conf', $conf =~ s/sentinel\.test/127.0.0.1/r
	=~ s/resolver .*;//r);
reload_wait($t, gone => 1);

error_log_like($t, qr/\[error\].*could not connect to Redis: no resolver for /,
	'no resolver');
is(health(), 503, 'not well');

error_log_unlike($t, qr/\[(?:alert|crit)\]/, 'no worse lines');

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

sub health {
	return http_get('/health') =~ m!^HTTP/1.1 (\d+)! ? $1 : 0;
}

sub green {
	return wait_for { health() == 200 } 'green', 20;
}

###############################################################################
