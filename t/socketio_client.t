#!/usr/bin/perl

# The stock socket.io-client, as npm has it: that is what people will use, and no
# test of the protocol says whether it is content.  What is checked is in
# node/*.js, in TAP; here is what they need: nginx nodes that share a Redis, two
# of them a secret, too.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Echo;
use Test::RTBus::Redis;

use Cwd qw/ abs_path /;
use File::Basename qw/ dirname /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $top = abs_path(dirname(__FILE__) . '/..');
my ($node) = grep { -x } map { "$_/node" } split /:/, $ENV{PATH};

# the newest, and the last without recovery

my @clients = qw/ socket.io-client socket.io-client-4.5 /;

my @missing = (
	(module_file() ? () : 'the module'),
	($node ? () : 'node'),
	(map { -d "$top/node_modules/$_" ? () : "node_modules/$_" } @clients),
);

if (@missing) {
	my $why = 'missing: ' . join ', ', @missing;

	die "$why\n" if $ENV{CI} || $ENV{RTBUS_REQUIRE_ALL};
	plan(skip_all => $why);
}

my $t = Test::Nginx->new()->has(qw/ http /)
	->has_daemon('redis-server')->plan(250);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $redis_url = $redis->url();

my $conf = <<"EOC";

%%TEST_GLOBALS%%

daemon off;
worker_processes 2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis        $redis_url;
    rtbus_secret_file  secret;
    rtbus_drain        300ms;
    rtbus_allow        job:*;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location /socket.io/ {
            rtbus             socketio;
            rtbus_namespaces  / /chat;
            rtbus_subscribe   job:\$arg_job;
        }

        location /bare/ {
            rtbus             socketio;
            rtbus_recovery    off;
            rtbus_subscribe   job:\$arg_job;
        }

        location /echo/ {
            rtbus             socketio;
            rtbus_namespaces  / /chat;
            rtbus_command     \@connect;
            rtbus_command     message;
            rtbus_command     message-with-ack  reply=20s;
            rtbus_command     mute  stream=nobody  reply=100ms;
            rtbus_command     slow  stream=nobody  reply=20s;
        }

        location /user/ {
            rtbus               socketio;
            rtbus_jwt_key       jwt.key;
            rtbus_require_user  on;
            rtbus_subscribe     user:\$rtbus_user;
            rtbus_allow         user:\$rtbus_user;
        }
    }
}

EOC

my @nodes = ($t, Test::Nginx->new(), Test::Nginx->new());
my @ports = (8080 .. 8082);

for my $i (0 .. 2) {
	my $text = $conf =~ s/8080/$ports[$i]/r;

	# the third has one that it has made up by itself

	$text =~ s/rtbus_secret_file .*// if $i == 2;

	$nodes[$i]->write_file('secret', "a secret that nodes share\n");
	$nodes[$i]->write_file('jwt.key', "the key of the tokens\n");
	$nodes[$i]->write_file_expand('nginx.conf', $text);
}

# workers are killed

$t->todo_alerts();

$_->run() for @nodes;

wait_for { !ref $redis->try_cmd('FCALL_RO', 'rtbus_version', 0) } 'library';

Test::RTBus::Echo->start($redis);

my %given = (
	ports => [ map { port($_) } @ports ],
	pids => [ map { $_->testdir() . '/nginx.pid' } @nodes ],
	redis => $redis->port(),
	redis_pid => $redis->pid(),
	secret => 'the key of the tokens',
);

for my $client (@clients) {
	script($_, $client) for qw/ socketio rejoin /;
}

script($_, $clients[0]) for qw/ recovery many /;

###############################################################################

sub script {
	my ($name, $client) = @_;

	run_tap($client eq $clients[0] ? $name : "$name, old client",
		$node, "$top/t/node/$name.js",
		json_encode({ %given, client => $client }));
}

###############################################################################
