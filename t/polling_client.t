#!/usr/bin/perl

# The stock socket.io-client as it comes: it starts with long-polling, and
# upgrades; and one that stays with long-polling for good.  Its requests may land
# anywhere: with one worker, with four, and behind a proxy that sends each to
# another of two nodes.  The scripts in node/*.js are those of socketio_client.t.

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

my $t = Test::Nginx->new()->has(qw/ http proxy /)
	->has_daemon('redis-server');

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $redis_url = $redis->url();

$t->plan(942);

# requests go to one node after the other; connections to them are kept

my $proxy = <<'EOC';

    upstream nodes {
        server 127.0.0.1:8080;
        server 127.0.0.1:8081;
        keepalive 16;
    }

    map $http_upgrade $upgrade {
        default upgrade;
        ''      '';
    }

    server {
        listen       127.0.0.1:8082;
        server_name  localhost;

        location / {
            proxy_pass          http://nodes;
            proxy_http_version  1.1;
            proxy_set_header    Host $http_host;
            proxy_set_header    Upgrade $http_upgrade;
            proxy_set_header    Connection $upgrade;
            proxy_buffering     off;
        }
    }
EOC

# where no worker is the owner of all sessions, connections are spread evenly

my $conf = <<"EOC";

%%TEST_GLOBALS%%

daemon off;
worker_processes WORKERS;

events {
    worker_connections 2048;
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis        $redis_url;
    rtbus_secret_file  secret;
    rtbus_drain        300ms;
    rtbus_allow        job:*;

    server {
        listen       127.0.0.1:8080 reuseport;
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
my @ports = (8080, 8081, 8083);
my $front = Test::Nginx->new();

for my $node (@nodes) {
	$node->write_file('secret', "a secret that all nodes have\n");
	$node->write_file('jwt.key', "the key of the tokens\n");
}

$front->write_file_expand('nginx.conf', <<"EOC");

%%TEST_GLOBALS%%

daemon off;

events {
    worker_connections 2048;
}

http {
    %%TEST_GLOBALS_HTTP%%
$proxy}

EOC

Test::RTBus::Echo->start($redis);

# workers are killed

$_->todo_alerts() for @nodes;

setup('one worker', 1, [ 8080, 8081, 8083 ]);
setup('four workers', 4, [ 8080, 8081, 8083 ]);
setup('two nodes', 2, [ 8082, 8082, 8083 ], 2);

# they look for alerts when they are destroyed

undef $t;
@nodes = ();

###############################################################################

sub setup {
	my ($name, $workers, $ports, $together) = @_;

	for my $i (0 .. 2) {
		my $text = $conf =~ s/WORKERS/$workers/r
			=~ s/8080/$ports[$i]/r;

		# the third has a secret that it has made up by itself

		$text =~ s/rtbus_secret_file .*// if $i == 2;

		$nodes[$i]->write_file_expand('nginx.conf', $text);
		$nodes[$i]->run();
		wait_redis($nodes[$i], $workers);
	}

	$front->run() if $together;

	for my $transport (qw/ websocket polling /) {
		my $given = {
			ports => [ map { port($_) } @$ports ],
			pids => [ map { $_->testdir() . '/nginx.pid' } @nodes ],
			redis => $redis->port(),
			redis_pid => $redis->pid(),
			client => 'socket.io-client',
			clients => 60,
			secret => 'the key of the tokens',
			transport => $transport,
			transports => $transport eq 'polling' ? [ 'polling' ]
				: 'default',
			together => $together,
		};

		# the producer's stream stays

		my @keys = grep { !/^rtbus:/ } @{$redis->cmd('KEYS', '*')};

		$redis->cmd('DEL', @keys) if @keys;

		script("$name, $transport", $_, $given)
			for qw/ socketio recovery many /;
	}

	$_->stop() for @nodes, $together ? $front : ();
}

sub script {
	my ($what, $name, $given) = @_;

	run_tap("$what, $name", $node, "$top/t/node/$name.js",
		json_encode($given));
}

###############################################################################
