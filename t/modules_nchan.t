#!/usr/bin/perl

# Tests with Nchan in the same nginx, as everybody has it who moves from one to
# the other: both talk to Redis, each with a hiredis of its own, and neither may
# get that of the other, whoever is loaded first.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx qw/ :DEFAULT http_content http_end /;
use Test::RTBus::Redis;
use Test::RTBus::WebSocket;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server');

plan(skip_all => 'the module is not built') unless module_file();

my ($dir) = `$ENV{TEST_NGINX_BINARY} -V 2>&1` =~ /--modules-path=(\S+)/;
my $nchan = ($dir || '/usr/lib/nginx/modules') . '/ngx_nchan_module.so';

plan(skip_all => 'no Nchan') unless -e $nchan;

# nothing, if ours is a part of nginx

my $ours = $ENV{TEST_NGINX_GLOBALS} =~ s/^(load_module [^;]*rtbus[^;]*;)//m
	? $1 : '';

# that of a distribution is for the nginx of the distribution

my ($fits, $output) = nginx_check($t,
	"load_module $nchan;\n%%TEST_GLOBALS%%\nevents {}\n");

plan(skip_all => 'Nchan is for another nginx')
	if !$fits && $output =~ /version|binary compatible/;

$t->plan(2 * 10 + 3);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());

###############################################################################

both('Nchan first', "load_module $nchan; $ours");
both('Nchan last', "$ours load_module $nchan;");

# no directive of ours: there is nothing to notice

start("$ours load_module $nchan;", '');
theirs('only Nchan');
$t->stop();

###############################################################################

sub both {
	my ($order, $modules) = @_;

	start($modules, <<EOF);
    rtbus_redis ${\ $redis->url()};
    rtbus_allow *;

    server {
        listen       127.0.0.1:8081;
        server_name  localhost;

        location = /ws {
            rtbus websocket;
            rtbus_subscribe job:\$arg_job;
        }

        location ~ ^/publish/(.+)\$ {
            rtbus_publish \$1;
        }

        location ~ ^/state/(.+)\$ {
            rtbus_state \$1;
        }
    }
EOF

	my $job = $order =~ s/\W+/-/gr;
	my @workers = @{
		(wait_for { my @w = workers($t); @w == 2 && \@w } 'workers')
			|| []
	};

	# strings of all kinds come from Redis: positions, states, events

	ok((wait_for {
		post(8081, "/publish/job:$job", '{"event":"a","data":{"n":1}}')
			=~ /^HTTP\S+ 201 /
	} 'a first event'), "$order, publish");

	my $ws = Test::RTBus::WebSocket->connect(port => port(8081),
		path => "/ws?job=$job");

	is($ws->status(), 101, "$order, WebSocket");
	ok($ws->wait_event('connected'), "$order, connected");

	$redis->cmd('FCALL', 'rtbus_publish', 1, "job:$job", 'b', '{"n":2}',
		'SET', 'status', 'running');

	is(number($ws->wait_event('b')), 2, "$order, a durable event");

	$redis->event("job:$job", 'live', { n => 3 });
	is(number($ws->wait_event('live')), 3, "$order, a live event");

	my $state = json_decode(http_content(http(
		"GET /state/job:$job HTTP/1.0\r\n\r\n",
		PeerAddr => '127.0.0.1:' . port(8081))) || 'null');

	is($state->{status}, 'running', "$order, state");

	theirs($order);

	is(join(' ', workers($t)), "@workers", "$order, the same workers");

	$ws->drop();
	$t->stop();
}

# somebody waits for a message, and gets it by way of Redis

sub theirs {
	my ($order) = @_;

	my $id = $order =~ s/\W+/-/gr;

	ok((wait_for {
		post(8080, "/pub?id=first-$id", 'a message') =~ /^HTTP\S+ 20\d /
	} 'Redis of Nchan'), "$order, Nchan has Redis");

	my $s = http("GET /sub?id=$id HTTP/1.0\r\n\r\n", start => 1);

	like(post(8080, "/pub?id=$id", 'a message'), qr/^HTTP\S+ 20\d /,
		"$order, to Nchan");
	like(http_end($s), qr/a message/, "$order, from Nchan");
}

sub start {
	my ($modules, $http) = @_;

	$t->write_file_expand('nginx.conf', <<EOF);

$modules

%%TEST_GLOBALS%%

daemon off;
worker_processes 2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    upstream redis {
        nchan_redis_server ${\ $redis->url()};
    }

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        nchan_redis_pass redis;
        nchan_channel_id \$arg_id;

        location = /pub {
            nchan_publisher;
        }

        location = /sub {
            nchan_subscriber longpoll;
        }
    }

$http
}

EOF

	$t->run();
}

sub post {
	my ($port, $path, $body) = @_;

	return http("POST $path HTTP/1.0\r\nHost: localhost\r\n"
		. "Content-Type: application/json\r\n"
		. 'Content-Length: ' . length($body) . "\r\n\r\n$body",
		PeerAddr => '127.0.0.1:' . port($port)) || '';
}

sub number {
	my ($m) = @_;

	return $m ? $m->{data}{n} : undef;
}

###############################################################################
