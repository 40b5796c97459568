#!/usr/bin/perl

# The stock socket.io-client, as npm has it: that is what people will use, and no
# test of the protocol says whether it is content.  What is checked is in
# node/*.js, in TAP; here is what they need: two nginx nodes that share a Redis
# and a secret.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Redis;

use Cwd qw/ abs_path /;
use File::Basename qw/ dirname /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $top = abs_path(dirname(__FILE__) . '/..');
my ($node) = grep { -x } map { "$_/node" } split /:/, $ENV{PATH};

my @missing = (
	(module_file() ? () : 'the module'),
	($node ? () : 'node'),
	(-d "$top/node_modules/socket.io-client" ? ()
		: 'node_modules/socket.io-client'),
);

if (@missing) {
	my $why = 'missing: ' . join ', ', @missing;

	die "$why\n" if $ENV{CI} || $ENV{RTBUS_REQUIRE_ALL};
	plan(skip_all => $why);
}

my $t = Test::Nginx->new()->has(qw/ http /)
	->has_daemon('redis-server')->plan(102);

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

my @nodes = ($t, Test::Nginx->new());
my $port = 8080;

for my $node (@nodes) {
	$node->write_file('secret', "a secret that all nodes have\n");
	$node->write_file('jwt.key', "the key of the tokens\n");
	$node->write_file_expand('nginx.conf', $conf =~ s/8080/$port/r);
	$port++;
}

# workers are killed

$t->todo_alerts();

$_->run() for @nodes;

wait_for { !ref $redis->try_cmd('FCALL_RO', 'rtbus_version', 0) } 'library';

my $given = json_encode({
	ports => [ port(8080), port(8081) ],
	pids => [ map { $_->testdir() . '/nginx.pid' } @nodes ],
	redis => $redis->port(),
	secret => 'the key of the tokens',
});

script($_) for qw/ socketio recovery many /;

###############################################################################

# Each line of a script's TAP is a test of ours.

sub script {
	my ($name) = @_;

	open my $tap, '-|', $node, "$top/t/node/$name.js", $given
		or die "Can't run node: $!\n";

	my ($n, $plan) = (0);

	while (my $line = <$tap>) {
		chomp $line;

		if ($line =~ /^(not )?ok \d+ - (.*)/) {
			ok(!$1, "$name: $2");
			$n++;

		} elsif ($line =~ /^1\.\.(\d+)/) {
			$plan = $1;

		} else {
			diag($line =~ s/^# ?//r);
		}
	}

	close $tap;

	is($? >> 8 || $? & 127, 0, "$name: exit");
	is($n, $plan, "$name: all of its tests");
}

###############################################################################
