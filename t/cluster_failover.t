#!/usr/bin/perl

# Tests for masters of a Redis Cluster that are killed, and for those that hand
# over: clients stay, miss nothing, and are told what Redis itself has lost; the
# other shards go on meanwhile; status and health say so.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Cluster;
use Test::RTBus::Metrics;
use Test::RTBus::WebSocket;

use Time::HiRes qw/ time /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server')
	->has_daemon('redis-cli');

plan(skip_all => 'the module is not built') unless module_file();

my $cluster = Test::RTBus::Cluster->new(dir => $t->testdir(), replicas => 1,
	timeout => 2000);
my $url = $cluster->url();

$t->write_file_expand('nginx.conf', <<"CONF")->plan(20);

%%TEST_GLOBALS%%

daemon off;
worker_processes 2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis         $url connect_timeout=500ms command_timeout=1s;
    rtbus_allow         job:*;
    rtbus_message_rate  1000r/s;
    rtbus_send_buffer   16m;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location / {
            rtbus websocket;
        }

        location ~ ^/state/(.+)\$ {
            rtbus_state \$1;
        }

        location /status {
            rtbus_status;
        }

        location /health {
            rtbus_health;
        }
    }
}

CONF

$t->run();

my @names = $cluster->names('job:', 4);
my @masters = $cluster->masters();

my @clients = map { client() } 1 .. 4;

for my $client (@clients) {
	subscribe($client, $_) for @names;
}

is(health(), 200, 'health');

# each has got all up to n, in order; what Redis has lost is told

my (%got, %gaps, @wrong);

sub check {
	my ($n, $what) = @_;
	my $short = 0;

	for my $client (@clients) {
		my $got = $got{$client} ||= { map { $_ => 0 } @names };

		while (grep { $_ < $n } values %$got) {
			my $m = $client->recv_json(20) or last;
			my $event = $m->{event} || '';

			if ($event eq 'sync:gap') {
				$gaps{$client}{$m->{data}{channel}}++;

			} elsif ($event eq 'n') {
				push @wrong, "$m->{channel}: $m->{data}{n}"
					. " after $got->{$m->{channel}}"
					if $m->{data}{n}
						!= $got->{$m->{channel}} + 1
					&& !delete
						$gaps{$client}{$m->{channel}};

				$got->{$m->{channel}} = $m->{data}{n};
			}
		}

		$short++ if grep { $_ < $n } values %$got;
	}

	is($short, 0, "$what: all clients have all");
	is("@wrong", '', "$what: in order");
}

my $n = 0;

sub publish {
	my ($count) = @_;

	for (1 .. $count) {
		$n++;
		$cluster->fcall($_, 'n', { n => $n }) for @names;
	}
}

publish(10);
check($n, 'at first');

###############################################################################

# a master is killed; its channels wait, the others go on

my $dead = $cluster->owner($names[0]);
my ($of_dead) = grep { $cluster->owner($_)->port() == $dead->port() } @names;
my ($of_other) = grep { $cluster->owner($_)->port() != $dead->port() } @names;

publish(5);

# on the connection that has written; what a failover loses is for check/cluster

cmp_ok($dead->cmd('WAIT', 1, 10000), '>=', 1, 'replicated');
$dead->kill();

my $ws = client();

ok(subscribe($ws, $of_other), 'others can be joined');
$cluster->fcall($of_other, 'other', '1');
ok($ws->wait_event('other'), 'and have events');

ok((wait_for { health() == 503 } 'health'), 'health is red');

my $reply = http_get("/state/$of_dead");

SKIP: {
	skip 'there is a new master already', 1
		if $cluster->owner($of_dead)->port() != $dead->port();

	like($reply, qr/ 503 /, 'a state of the dead one');
}

ok((wait_for { $cluster->owner($of_dead)->port() != $dead->port() }
	'a new master', 30), 'failover');
ok((wait_for { health() == 200 } 'health', 30), 'health is green again');

like(http_get("/state/$of_dead"), qr/ 200 /, 'a state of the new one');
ok(subscribe($ws, $of_dead), 'its channels can be joined');

publish(10);
check($n, 'killed');

# it comes back as a replica, and gets its place back

$dead->start();
$cluster->wait_ok(30);

wait_for { $dead->cmd('INFO', 'replication')
	=~ /role:slave.*master_link_status:up/s } 'replica', 20;

ok((wait_for {
	$dead->try_cmd('CLUSTER', 'FAILOVER');
	publish(5);
	$cluster->owner($of_dead)->port() == $dead->port();
} 'the old master', 30), 'handed over');

publish(10);
check($n, 'handed over');

# all masters at once, one after the other back

$_->kill() for $cluster->masters();
ok((wait_for { health() == 503 } 'health'), 'all masters are dead');

$_->start() for grep { !$_->pid() } $cluster->nodes();
ok((wait_for { eval { $cluster->ok() } } 'cluster', 40), 'all are back');
ok((wait_for { health() == 200 } 'health', 30), 'health');

###############################################################################

sub client {
	my $client = Test::RTBus::WebSocket->connect(path => '/');

	$client->wait_event('connected');

	return $client;
}

sub subscribe {
	my ($client, $name) = @_;

	return wait_for {
		$client->send_json({ event => 'subscribe',
			data => { channel => $name }, ack => 1 });
		$client->wait_ack(1)->{data}{ok};
	} "subscribe $name", 20;
}

sub health {
	my $reply = http_get('/health');

	return $reply && $reply =~ / (\d+) / ? $1 : 0;
}

###############################################################################
