#!/usr/bin/perl

# Tests for roles that change behind an address that stays, such as that of a
# proxy: connections to a master that has been demoted are made anew, whether it
# was written to or not, and health is red until they lead to a master.  What
# only reads may have a replica.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Proxy;
use Test::RTBus::Redis;
use Test::RTBus::WebSocket;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server');

plan(skip_all => 'the module is not built') unless module_file();

my @servers = map { Test::RTBus::Redis->new(dir => $t->testdir(), args => [
	qw/ --repl-diskless-sync-delay 0 --repl-ping-replica-period 1 / ]) }
	1 .. 2;

my $proxy = Test::RTBus::Proxy->new(to => $servers[0]->port());
my ($master, $replica) = @servers;

$replica->cmd('REPLICAOF', '127.0.0.1', $master->port());
synced($replica);

$t->plan(24);

configure('rtbus websocket');
$t->run();
wait_redis($t);

my $n = 0;
my $ws = Test::RTBus::WebSocket->connect(path => '/ws');

$ws->wait_event('connected');
events('at first');

###############################################################################

# the roles are changed, and nginx writes: it finds out by itself

swap();
$master->cmd('WAIT', 1, 10000);

ok((wait_for { post(++$n) =~ / 201 /m || ($n--, 0)[1] } 'a write', 15),
	'written to the new master');
is($ws->wait_event('e')->{data}, $n, 'the event of the new master');
is($master->cmd('XLEN', '{all}:events'), $n, 'in its stream');

ok(green(), 'well with the new master');
error_log_like($t, qr/\[error\].*it is not the master any more.*pub\/sub/,
	'subscriptions made anew');
error_log_like($t, qr/\[error\].*it is not the master any more.*command/,
	'commands made anew');
events('roles changed');

# nobody writes here, and the old one has lost its master: nothing would come

swap(1);
events('the old one has no master');
ok(green(), 'well without a write');

# what the address leads to stays a replica

my $before = error_log_count($t, qr/could not connect.*not a master/);

$master->cmd('REPLICAOF', '127.0.0.1', 1);

ok((wait_for { health() =~ / 503 / } 'red', 12), 'a replica is not well');
ok((wait_for { health() =~ /"reason":"Redis is not a master"/ } 'reason', 10),
	'the reason');
error_log_like($t, qr/could not connect.*it is not a master/, 'no connection');
like(post(0), qr/ 503 /, 'no write');

wait_for { error_log_count($t, qr/could not connect.*not a master/)
	> $before + 5 } 'more attempts', 30;

my ($first) = $master->cmd('INFO', 'stats')
	=~ /total_connections_received:(\d+)/;

select undef, undef, undef, 3;

my ($last) = $master->cmd('INFO', 'stats')
	=~ /total_connections_received:(\d+)/;

cmp_ok($last - $first, '<', 8, 'at a limited rate');

$master->cmd('REPLICAOF', 'NO', 'ONE');

ok(green(), 'well when it is a master again');
events('a master again');
ok(!$ws->{closed}, 'the client has stayed');
$ws->drop();

# a location that only reads

$replica->cmd('REPLICAOF', '127.0.0.1', $master->port());
synced($replica);

$proxy->to($replica->port());
configure('rtbus_state all');
reload_wait($t);

ok(green(), 'a replica will do for the state');
like(http_get('/ws'), qr/ 200 .*"position":"\d+-$n"/s, 'state of a replica');

# who may not ask is believed

$master->cmd(qw/ ACL SETUSER default -role /);
$proxy->to($master->port());
configure('rtbus websocket');
reload_wait($t);

ok(green(), 'a user who may not ask for the role');

$ws = Test::RTBus::WebSocket->connect(path => '/ws');
$ws->wait_event('connected');
events('no role');

# ... then what is refused tells; first the library, which is looked at

swap();
$master->cmd(qw/ ACL SETUSER default -role /);

ok((wait_for { post(++$n) =~ / 201 /m || ($n--, 0)[1] } 'a write', 15),
	'no role: written to the new master');
is(($ws->wait_event('e') || {})->{data}, $n, 'no role: the event');

###############################################################################

# the replica takes over, the address leads to it, and connections stay

sub swap {
	my ($lost) = @_;

	$master->cmd('WAIT', 1, 5000);

	$replica->cmd('REPLICAOF', 'NO', 'ONE');
	$proxy->to($replica->port());
	$master->cmd('REPLICAOF', '127.0.0.1', $lost ? 1 : $replica->port());

	($master, $replica) = ($replica, $master);

	synced($replica) unless $lost;
}

sub synced {
	my ($server) = @_;

	wait_for { $server->cmd('INFO', 'replication')
		=~ /^master_link_status:up/m } 'a replica in sync', 20;
}

sub events {
	my ($name) = @_;

	my @got;
	my $from = $n + 1;

	for (1 .. 3) {
		$n++;
		$master->cmd('FCALL', 'rtbus_publish', 1, 'all', 'e', $n);
	}

	push @got, ($ws->wait_event('e', 20) || {})->{data} for 1 .. 3;

	is_deeply(\@got, [ $from .. $n ], "$name: events");
}

sub post {
	my ($data) = @_;

	my $body = "{\"event\":\"e\",\"data\":$data}";

	return http("POST /publish HTTP/1.0\r\nHost: localhost\r\n"
		. "Content-Type: application/json\r\n"
		. 'Content-Length: ' . length($body) . "\r\n\r\n$body") || '';
}

sub health {
	return http_get('/health') || '';
}

sub green {
	return wait_for { health() =~ / 200 / } 'green', 20;
}

sub configure {
	my ($what) = @_;

	my $publish = $what =~ /state/ ? 'return 404' : 'rtbus_publish all';
	my $url = $proxy->url();

	$t->write_file_expand('nginx.conf', <<"CONF");

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis $url;
    rtbus_allow *;
    rtbus_drain 0;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location /ws {
            $what;
            rtbus_ping 60s 60s;
            rtbus_subscribe all;
        }

        location /publish {
            $publish;
        }

        location /health {
            rtbus_health;
        }
    }
}

CONF
}

###############################################################################
