#!/usr/bin/perl

# The public test suites of the protocols, with requests that may land anywhere:
# one worker, four, and a proxy that sends each request to another of two nodes.
# They are run if their folders are named, after "npm ci" in each:
#
#	RTBUS_SIO_SUITE=/path/to/socket.io-protocol/test-suite \
#	RTBUS_EIO_SUITE=/path/to/engine.io-protocol/test-suite \
#		prove -It/lib t/polling_suite.t
#
# That of Engine.IO wants messages back as they are, and messages of Socket.IO
# are none of them: such tests are left out.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Echo;
use Test::RTBus::Redis;

use Cwd qw/ abs_path /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my %suites = (
	sio => $ENV{RTBUS_SIO_SUITE},
	eio => $ENV{RTBUS_EIO_SUITE},
);

plan(skip_all => 'RTBUS_SIO_SUITE and RTBUS_EIO_SUITE are not set')
	unless grep { defined } values %suites;

my $t = Test::Nginx->new()->has(qw/ http proxy /)
	->has_daemon('redis-server')->has_daemon('node');

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

my $conf = <<"EOC";

%%TEST_GLOBALS%%

daemon off;
worker_processes WORKERS;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis         $url;
    rtbus_max_message   1000000;
    rtbus_message_rate  1000r/s;
    rtbus_recovery      off;
    rtbus_ping          300ms 200ms;

    rtbus_command       \@connect;
    rtbus_command       message;
    rtbus_command       message-*  reply=20s;

    server {
        listen       127.0.0.1:8080 reuseport;
        server_name  localhost;

        location /socket.io/ {
            rtbus             socketio;
            rtbus_namespaces  / /custom;
        }

        location /engine.io/ {
            rtbus socketio;
        }
    }
}

EOC

my @nodes = ($t, Test::Nginx->new());
my $front = Test::Nginx->new();

$front->write_file_expand('nginx.conf', <<'EOC');

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    upstream nodes {
        server 127.0.0.1:8080;
        server 127.0.0.1:8081;
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
            proxy_set_header    Host localhost;
            proxy_set_header    Upgrade $http_upgrade;
            proxy_set_header    Connection $upgrade;
            proxy_buffering     off;
        }
    }
}

EOC

$t->plan(4 + 3 * grep { defined } values %suites);

# the suite loses an event that comes in one piece with the CONNECT

Test::RTBus::Echo->start($redis, think => 0.03);

setup('one worker', 1, 8080);
setup('four workers', 4, 8080);
setup('two nodes', 2, 8082);

###############################################################################

sub setup {
	my ($name, $workers, $port) = @_;

	my $own = 8080;

	for my $node (@nodes) {
		$node->write_file_expand('nginx.conf', $conf
			=~ s/WORKERS/$workers/r =~ s/8080/$own/r);
		$own++;
		$node->run();
		wait_redis($node, $workers);
	}

	$front->run() if $port == 8082;

	for my $suite (grep { defined $suites{$_} } sort keys %suites) {
		my @less = $suite eq 'eio'
			? ('--grep', 'sends and receives|upgrade', '--invert')
			: ();

		subtest "$name, $suite" => sub {
			run_tap($suite, 'node',
				mocha($suite, $port, "$name-$suite"), @less);
			done_testing();
		};
	}

	$_->stop() for @nodes, $port == 8082 ? $front : ();
}

# The suites know one port only: what is run is a copy that knows ours.

sub mocha {
	my ($suite, $port, $name) = @_;

	my $from = $suites{$suite};
	my $dir = $t->testdir() . "/$name" =~ tr/ /-/r;

	mkdir $dir or die "Can't make $dir: $!\n";

	for my $name (qw/ node-imports.js package.json node_modules /) {
		symlink abs_path("$from/$name"), "$dir/$name"
			or die "Can't link $name: $!\n";
	}

	open my $in, '<', "$from/test-suite.js"
		or die "Can't read $from/test-suite.js: $!\n";
	my $text = do { local $/; <$in> };

	$port = port($port);
	$text =~ s/localhost:3000/127.0.0.1:$port/
		or die "The suite has no port\n";

	open my $out, '>', "$dir/test-suite.js"
		or die "Can't write $dir/test-suite.js: $!\n";
	print $out $text;
	close $out;

	return ("$dir/node_modules/mocha/bin/mocha", '--reporter', 'tap',
		"$dir/test-suite.js");
}

###############################################################################
