#!/usr/bin/perl

# Tests for polls that another worker has, when the owner of the session loses
# its connection to Redis, and the question or the answer with it: they end long
# before a ping is missed, and a session that goes on keeps what it has.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Polling;
use Test::RTBus::Proxy;
use Test::RTBus::Redis;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server');

plan(skip_all => 'the module is not built') unless module_file();

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();
my $proxy = Test::RTBus::Proxy->new(to => $redis->port());

$t->write_file('secret', 'a secret that both nodes have');

my $conf = <<"EOC";

%%TEST_GLOBALS%%

daemon off;
worker_processes 1;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis        URL command_timeout=1s;
    rtbus_secret_file  @{[ $t->testdir() ]}/secret;
    rtbus_allow        job:*;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location /socket.io/ {
            rtbus            socketio;
            rtbus_subscribe  job:\$arg_job;
        }
    }
}

EOC

my @nodes = ($t, Test::Nginx->new());

# the owner is behind the proxy

my $proxied = $proxy->url();

$nodes[0]->write_file_expand('nginx.conf', $conf =~ s/URL/$proxied/r);
$nodes[1]->write_file_expand('nginx.conf', $conf =~ s/URL/$url/r
	=~ s/8080/8081/r);

$t->plan(8 + 2);

for my $node (@nodes) {
	$node->run();
	wait_redis($node, 1);
}

my %second = (port => port(8081));
my ($io, $p, $r);

###############################################################################

# one that goes on, so that the workers know each other

my $other = joined('other');
my $q = $other->get_start(%second);

# the question is lost

$io = joined('a');
$proxy->swallow(role => 'pub/sub');
$p = $io->get_start(%second);

is($p->wait(0.5), undef, 'the poll waits');

$proxy->refuse();
$proxy->pass();

$r = $p->wait(15);
is($r ? $r->status() : 'nothing', 400, 'a question that was lost');

# its session is not, if the client asks once more

$redis->event('job:a', 'n', $_) for 1 .. 2;
ok((wait_for { ($r = $io->get(%second)->body()) =~ /"n"/ } 'events', 15),
	'then it goes on') or diag $r;

# the answer is lost

$io = joined('b');
$p = $io->get_start(%second);
is($p->wait(0.5), undef, 'another poll waits');

$proxy->swallow(role => 'command');
$redis->event('job:b', 'n', 1);

is($p->wait(0.5), undef, 'the answer does not come');

$proxy->pass();

$r = $p->wait(15);
is($r ? $r->status() : 'nothing', 400, 'an answer that was lost');
is($io->get(%second)->status(), 400, 'and so is the session');

# who was there all the time

$redis->event('job:other', 'n', 'all is well');

$r = $q->wait(15);
$r = $other->get(%second) if $r && $r->body() eq '6';
like($r ? $r->body() : 'nothing', qr/all is well/, 'the other one has its event');

###############################################################################

sub joined {
	my ($job) = @_;

	my $io = Test::RTBus::Polling->connect(port => port(8080),
		path => "/socket.io/?job=$job");

	$io->post('40');
	$io->get();
	return $io;
}

###############################################################################
