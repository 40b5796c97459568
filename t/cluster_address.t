#!/usr/bin/perl

# Test for a Redis Cluster whose nodes go by names: one that comes back with
# another address is found by what the others tell of it.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Redis;
use Test::RTBus::WebSocket;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server');

plan(skip_all => 'the module is not built') unless module_file();

my @nodes = map { Test::RTBus::Redis->new(dir => $t->testdir(), args => [
	'--cluster-enabled', 'yes', '--cluster-port', free_port(),
	'--cluster-config-file', 'nodes.conf', '--bind', '127.0.0.1', '127.0.0.2',
	'--cluster-announce-ip', '127.0.0.1',
	'--cluster-announce-hostname', "$_.example.com",
	'--cluster-preferred-endpoint-type', 'hostname' ]) } qw/ a b /;

my ($first, $moving) = @nodes;

# the channel "all" is in one of the first half of slots

$moving->cmd('CLUSTER', 'ADDSLOTSRANGE', 0, 8191);
$first->cmd('CLUSTER', 'ADDSLOTSRANGE', 8192, 16383);
$moving->cmd('CLUSTER', 'SET-CONFIG-EPOCH', 2);
$first->cmd('CLUSTER', 'SET-CONFIG-EPOCH', 1);
$first->cmd('CLUSTER', 'MEET', '127.0.0.1', $moving->port(),
	$moving->cmd('CONFIG', 'GET', 'cluster-port')->[1]);

wait_for { 2 == grep { $_->cmd('CLUSTER', 'INFO') =~ /cluster_state:ok/ }
	@nodes } 'the cluster', 30;
wait_for { 2 == grep { $_->cmd('CLUSTER', 'NODES') =~ /a\.example/
	&& $_->cmd('CLUSTER', 'NODES') =~ /b\.example/ } @nodes } 'names', 30;

my $url = 'redis+cluster://127.0.0.1:' . $first->port();

$t->write_file_expand('nginx.conf', <<"CONF")->plan(4);

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis $url connect_timeout=500ms;
    rtbus_allow *;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location / {
            rtbus websocket;
            rtbus_subscribe all;
            rtbus_ping 60s 60s;
        }
    }
}

CONF

$t->run();

###############################################################################

my $ws = Test::RTBus::WebSocket->connect(path => '/');
$ws->wait_event('connected');

wait_for { $moving->cmd('PUBSUB', 'SHARDNUMSUB', 'all')->[1] } 'a subscriber',
	20;
wait_for { !ref $moving->try_cmd('FCALL_RO', 'rtbus_version', 0) } 'library';

$moving->cmd('FCALL', 'rtbus_publish', 1, 'all', 'e', 1);
is(($ws->wait_event('e', 20) || {})->{data}, 1, 'at the first address');

# its new address

$moving->cmd('CONFIG', 'SET', 'cluster-announce-ip', '127.0.0.2');
wait_for { $first->cmd('CLUSTER', 'NODES') =~ /127\.0\.0\.2:/ } 'another address',
	30;

$moving->cmd('CONFIG', 'SET', 'bind', '127.0.0.2');
$moving->cmd(qw/ CLIENT KILL TYPE pubsub /);
$moving->cmd(qw/ CLIENT KILL TYPE normal SKIPME yes /);

ok((wait_for { $moving->cmd('PUBSUB', 'SHARDNUMSUB', 'all')->[1] } 'a subscriber',
	30), 'subscribed at the new one');

$moving->cmd('FCALL', 'rtbus_publish', 1, 'all', 'e', 2);
is(($ws->wait_event('e', 20) || {})->{data}, 2, 'at the new address');
error_log_like($t, qr/\[notice\].*has the address 127\.0\.0\.2 now/, 'logged');

###############################################################################
