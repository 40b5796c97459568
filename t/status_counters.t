#!/usr/bin/perl

# Tests for counters over the end of workers: killed, reloaded, more or fewer
# of them than before.  They never go back, and nothing is counted of workers
# that are gone but what they have counted.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Metrics;
use Test::RTBus::Redis;
use Test::RTBus::WebSocket;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server');

plan(skip_all => 'the module is not built') unless module_file();

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

# nginx says at "alert" that a worker was killed

$t->todo_alerts()->plan(37);

configure($t, 2);
$t->run();
wait_redis($t, 2);

###############################################################################

my ($last, @back);
my $delivered = 'rtbus_events_delivered_total';
my @clients = connect_all(10);

my $n = deliver();

is(metrics_sum(look(), $delivered), $n, 'delivered');
is(look()->{'rtbus_connections{transport="websocket"}'}, 10, 'connections');

# workers are killed one after the other, again and again

for my $round (1 .. 3) {
	for my $pid (workers($t)) {
		kill 'KILL', $pid;

		# those that it had are gone, those of others are not

		@clients = grep { $_->header('X-Pid') != $pid } @clients;

		ok(metrics_wait('rtbus_connections{transport="websocket"}',
			scalar @clients), "connections, $round");

		ok((wait_for { workers($t) == 2 && look()->{rtbus_workers} == 2 }
			'workers'), "workers, $round");

		push @clients, connect_all(10 - @clients);
		$n += deliver();

		is(metrics_sum(look(), $delivered), $n,
			"delivered by the living and the dead, $round");
	}
}

ok((wait_for { my $m = look();
	$m->{rtbus_failing_workers} == 0
		&& $m->{'rtbus_redis_up{link="pubsub"}'} }
	'links'), 'all are well');

# more of them, fewer of them; those that leave still count

for my $workers (4, 1, 3) {
	configure($t, $workers);

	my @old = workers($t);

	reload_wait($t);

	ok((wait_for {
		my $m = look();

		$m->{rtbus_workers} == $workers
			&& $m->{rtbus_leaving_workers} <= @old
	} 'workers'), "$workers workers");

	is(look()->{'rtbus_connections{transport="websocket"}'},
		@clients, 'connections to those that leave') if $workers == 4;

	$_->drop() for @clients;

	ok(metrics_wait('rtbus_leaving_workers', 0, 20), 'none leaves');

	@clients = connect_all(10);
	$n += deliver();

	is(metrics_sum(look(), $delivered), $n, "delivered, $workers workers");
}

# reloads in a row, with clients on board

for (1 .. 5) {
	reload_wait($t);
	push @clients, connect_all(2);
}

ok((wait_for { $redis->subscribers('all') } 'subscription'), 'subscribed');

$_->drop() for @clients;
@clients = connect_all(5);
$n = metrics_sum(look(), $delivered);
$n += deliver();

is(metrics_sum(look(), $delivered), $n, 'delivered after reloads');
ok(metrics_wait('rtbus_leaving_workers', 0, 20), 'none leaves');
is(look()->{rtbus_workers}, 3, 'workers after all');

# in all of this

is_deeply(\@back, [], 'no counter has gone back');

$_->drop() for @clients;

$t->stop();

is(error_log_count($t, qr/\[alert\](?!.*exited on signal 9)/), 0,
	'no other alert');

###############################################################################

sub configure {
	my ($t, $workers) = @_;

	$t->write_file_expand('nginx.conf', <<"CONF");

%%TEST_GLOBALS%%

daemon off;
worker_processes $workers;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis $url;
    rtbus_allow *;
    rtbus_drain 60s;
    rtbus_ping 60s 60s;

    add_header X-Pid \$pid always;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location / {
            rtbus websocket;
            rtbus_subscribe all;
        }

        location /status {
            rtbus_status;
        }
    }
}

CONF
}

# All that is ever seen of the counters is compared with what was seen before.

sub look {
	my $m = wait_for { eval { metrics() } } 'an answer';

	push @back, metrics_back($last, $m) if $last;

	return $last = $m;
}

sub connect_all {
	my ($n) = @_;

	my @all;

	# a connection may be waiting for a worker that is killed

	while (@all < $n) {
		my $ws = eval { Test::RTBus::WebSocket->connect(path => '/') };

		push @all, $ws if $ws && $ws->status() == 101
			&& $ws->wait_event('connected');
	}

	return @all;
}

# One event, which all clients get, maybe by the stream.

sub deliver {
	my $got = 0;

	$redis->cmd('FCALL', 'rtbus_publish', 1, 'all', 'e', ++$got);

	$got = grep { $_->wait_event('e') } @clients;
	is($got, @clients, 'each has its event') if $got != @clients;

	return $got;
}

###############################################################################
