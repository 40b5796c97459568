#!/usr/bin/perl

# The stock socket.io-client as it comes: it starts with long-polling, and
# upgrades; and one that stays with long-polling for good.  Its requests may land
# anywhere: with one worker, with four, and behind a proxy that sends each to
# another of two nodes.  The scripts in node/*.js are those of socketio_client.t.
#
# Most of it is waiting: the three are there at the same time, each with a Redis
# of its own.

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

$t->plan(954);

# requests go to one node after the other; connections to them are kept

my $proxy = <<'EOC';

    upstream nodes {
        server 127.0.0.1:8100;
        server 127.0.0.1:8101;
        keepalive 16;
    }

    map $http_upgrade $upgrade {
        default upgrade;
        ''      '';
    }

    server {
        listen       127.0.0.1:8103;
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

my $conf = <<'EOC';

%%TEST_GLOBALS%%

daemon off;
worker_processes WORKERS;

events {
    worker_connections 2048;
}

http {
    %%TEST_GLOBALS_HTTP%%

    error_log %%TESTDIR%%/error.log info;

    rtbus_redis        REDIS;
    rtbus_secret_file  secret;
    rtbus_drain        300ms;
    rtbus_allow        job:*;

    server {
        listen       127.0.0.1:8080 reuseport;
        server_name  localhost;

        location /socket.io/ {
            rtbus             socketio;
            rtbus_namespaces  / /chat;
            rtbus_subscribe   job:$arg_job;
        }

        location /bare/ {
            rtbus             socketio;
            rtbus_recovery    off;
            rtbus_subscribe   job:$arg_job;
        }

        location /echo/ {
            rtbus             socketio;
            rtbus_namespaces  / /chat;
            rtbus_command     @connect;
            rtbus_command     message;
            rtbus_command     message-with-ack  reply=20s;
            rtbus_command     mute  stream=nobody  reply=100ms;
            rtbus_command     slow  stream=nobody  reply=20s;
        }

        location /user/ {
            rtbus               socketio;
            rtbus_jwt_key       jwt.key;
            rtbus_require_user  on;
            rtbus_subscribe     user:$rtbus_user;
            rtbus_allow         user:$rtbus_user;
        }
    }
}

EOC

my $front = Test::Nginx->new();

$front->write_file_expand('nginx.conf', <<"EOC");

%%TEST_GLOBALS%%

daemon off;

events {
    worker_connections 2048;
}

http {
    %%TEST_GLOBALS_HTTP%%
    error_log %%TESTDIR%%/error.log info;
$proxy}

EOC

my @scripts = qw/ socketio recovery many /;

my @setups = (
	setup('one worker', $t, 1, 8080),
	setup('four workers', Test::Nginx->new(), 4, 8090),
	setup('two nodes', Test::Nginx->new(), 2, 8100, $front),
);

undef $t;

# the scripts take their time, and tell what they have seen when they are done

for my $transport (qw/ websocket polling /) {
	start($_, $transport) for @setups;
	report($_, $transport) for @setups;
}

# all at once; they look for alerts when they are destroyed

kill 'QUIT', map { $_->read_file('nginx.pid') } map { @{$_->{nodes}} } @setups;
@setups = ();

###############################################################################

# three nodes; behind the front, two of them are one to the clients

sub setup {
	my ($name, $first, $workers, $port, $front) = @_;

	my @nodes = ($first, Test::Nginx->new(), Test::Nginx->new());
	my $redis = Test::RTBus::Redis->new(dir => $first->testdir());

	Test::RTBus::Echo->start($redis);

	for my $i (0 .. 2) {
		my $text = $conf =~ s/WORKERS/$workers/r
			=~ s/8080/$port + $i/er
			=~ s/REDIS/$redis->url()/er;

		# the third has a secret that it has made up by itself

		$text =~ s/rtbus_secret_file .*// if $i == 2;

		$nodes[$i]->write_file('secret',
			"a secret that all nodes have\n");
		$nodes[$i]->write_file('jwt.key', "the key of the tokens\n");
		$nodes[$i]->write_file_expand('nginx.conf', $text);

		# workers are killed

		$nodes[$i]->todo_alerts();

		$nodes[$i]->run();
		wait_redis($nodes[$i], $workers);
	}

	$front->run() if $front;

	return {
		name => $name,
		nodes => \@nodes,
		redis => $redis,
		dir => $first->testdir(),
		ports => [ map { port($_) } $front
			? ($port + 3, $port + 3, $port + 2)
			: ($port .. $port + 2) ],
		together => $front ? 2 : undef,
	};
}

sub start {
	my ($setup, $transport) = @_;

	my $given = json_encode({
		ports => $setup->{ports},
		pids => [ map { $_->testdir() . '/nginx.pid' }
			@{$setup->{nodes}} ],
		redis => $setup->{redis}->port(),
		redis_pid => $setup->{redis}->pid(),
		client => 'socket.io-client',
		clients => 30,
		secret => 'the key of the tokens',
		transport => $transport,
		transports => $transport eq 'polling' ? [ 'polling' ]
			: 'default',
		together => $setup->{together},
	});

	# the producer's stream stays

	my @keys = grep { !/^rtbus:/ } @{$setup->{redis}->cmd('KEYS', '*')};

	$setup->{redis}->cmd('DEL', @keys) if @keys;

	$setup->{pid} = fork();
	die "Can't fork: $!\n" unless defined $setup->{pid};

	return if $setup->{pid};

	exec 'sh', '-c', 'for name in $4; do
		"$0" "$1/$name.js" "$2" > "$3/$name.tap"
		echo $? > "$3/$name.exit"
	done', $node, "$top/t/node", $given, $setup->{dir}, "@scripts";
}

sub report {
	my ($setup, $transport) = @_;

	waitpid $setup->{pid}, 0;

	run_tap("$setup->{name}, $transport, $_", 'sh', '-c',
		'cat $0.tap; exit $(cat $0.exit)', "$setup->{dir}/$_")
		for @scripts;
}

###############################################################################
