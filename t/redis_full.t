#!/usr/bin/perl

# Tests for a worker that is full of clients, who come back whenever there is
# room: a link to Redis that is lost is made again, be it nginx's
# worker_connections or its file descriptors that have run out.  Where a link
# needs a place that it never had, a client goes for it.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Cluster;
use Test::RTBus::Proxy;
use Test::RTBus::Redis;
use Test::RTBus::WebSocket;

use IO::Select;
use IO::Socket::INET;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server');

plan(skip_all => 'the module is not built') unless module_file();

my $d = $t->testdir();
my $redis = Test::RTBus::Redis->new(dir => $d);
my $cluster = Test::RTBus::Cluster->new(dir => $d);
my ($node) = $cluster->masters();
my $proxy = Test::RTBus::Proxy->new(to => $node->port());

# nginx says that its connections are not enough

$t->todo_alerts()->plan(2 * 6 + 6);

my ($crowd, $n, $ws) = (undef, 0);

configure($redis->url(), 64, 1024);
$t->run();

###############################################################################

for my $case ([ 'connections', 64, 1024 ], [ 'descriptors', 512, 64 ]) {
	my ($name, @limits) = @$case;

	configure($redis->url(), @limits);
	reload_wait($t, gone => 1);

	wait_redis($t);

	$ws = Test::RTBus::WebSocket->connect(path => '/ws');
	$ws->wait_event('connected');

	$crowd = crowd();
	event("$name: full");

	for my $type (qw/ pubsub normal /) {
		# the suite's own link is one of the latter

		$redis->cmd(qw/ CLIENT KILL TYPE /, $type, qw/ SKIPME yes /);

		ok((wait_for { links() == 2 && $redis->subscribers('all') }
			'links', 15), "$name: links again, $type");
		event("$name: $type");
	}

	ok(!$ws->{closed}, "$name: the client has stayed");

	disperse();
	$ws->drop();
}

# a cluster that is found when there is no room any more

$proxy->refuse();
configure($proxy->url() =~ s/redis:/redis+cluster:/r, 48, 1024);
reload_wait($t, gone => 1);

$crowd = crowd();
$proxy->pass();

ok((wait_for { my $list = $cluster->owner('all')->cmd('CLIENT', 'LIST');
	$list =~ /name=rtbus-command-/ && $list =~ /name=rtbus-pub/ } 'links', 30),
	'cluster: links');
error_log_like($t, qr/\[warn\].*a client has to go/, 'cluster: logged');

disperse();

ok((wait_for { http_get('/health') =~ / 200 / } 'health', 20),
	'cluster: health');
like(http_get('/status'),
	qr/^rtbus_clients_closed_total\{reason="no_room"\} [1-9]/m, 'counted');

$ws = Test::RTBus::WebSocket->connect(path => '/ws');
$ws->wait_event('connected');

ok((wait_for { $cluster->subscribers('all') } 'a subscriber', 15),
	'cluster: subscribed');
$cluster->fcall('all', 'e', ++$n);
is(($ws->wait_event('e') || {})->{data}, $n, 'cluster: event');

###############################################################################

sub event {
	my ($name) = @_;

	$redis->cmd('FCALL', 'rtbus_publish', 1, 'all', 'e', ++$n);
	is(($ws->wait_event('e', 15) || {})->{data}, $n, "$name: event");
}

sub links {
	my @links = grep { /name=rtbus-/ && !/flags=\S*[cA]/ }
		split /\n/, $redis->cmd('CLIENT', 'LIST');

	return scalar @links;
}

# Clients that fill the worker, and try again whenever they are sent away.

sub crowd {
	my $full = qr/worker_connections are not enough|Too many open files/;
	my $before = error_log_count($t, $full);

	my $pid = fork();
	die "Can't fork: $!\n" unless defined $pid;

	if ($pid == 0) {
		$SIG{$_} = 'DEFAULT' for qw/ INT TERM HUP /;
		$SIG{PIPE} = 'IGNORE';

		my $clients = IO::Select->new();

		while (1) {
			while ($clients->count() < 66) {
				my $s = IO::Socket::INET->new(
					PeerAddr => '127.0.0.1:' . port(8080))
					or last;

				syswrite $s, "GET /ws HTTP/1.1\r\n"
					. "Host: localhost\r\n"
					. "Upgrade: websocket\r\n"
					. "Connection: Upgrade\r\n"
					. "Sec-WebSocket-Version: 13\r\n"
					. "Sec-WebSocket-Key: "
					. "dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

				$clients->add($s);
			}

			select undef, undef, undef, 0.01;

			for my $s ($clients->can_read(0.01)) {
				next if sysread $s, my $bytes, 65536;

				$clients->remove($s);
				close $s;
			}
		}
	}

	Test::RTBus::at_end(sub { kill 'KILL', $pid; waitpid $pid, 0 });

	wait_for { error_log_count($t, $full) > $before } 'a full worker', 20;

	return $pid;
}

sub disperse {
	kill 'KILL', $crowd;
	waitpid $crowd, 0;

	wait_for { (http_get('/status') || '') =~ / 200 / } 'room', 20;
}

sub configure {
	my ($url, $connections, $files) = @_;

	$t->write_file_expand('nginx.conf', <<"CONF");

%%TEST_GLOBALS%%

daemon off;

worker_rlimit_nofile $files;

events {
    worker_connections $connections;
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis $url connect_timeout=500ms;
    rtbus_allow *;
    rtbus_drain 0;
    rtbus_ping 60s 60s;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location /ws {
            rtbus websocket;
            rtbus_subscribe all;
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
}

###############################################################################
