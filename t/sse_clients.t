#!/usr/bin/perl

# Tests with stock clients for event streams, unchanged: heartbeats are nothing
# to them, and when the connection breaks they come back by themselves and miss
# nothing, though each says in a way of its own where it was.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Proxy;
use Test::RTBus::Redis;
use Test::RTBus::SSE;

use Cwd qw/ abs_path /;
use File::Basename qw/ dirname /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $top = abs_path(dirname(__FILE__) . '/..');
my ($node) = grep { -x } map { "$_/node" } split /:/, $ENV{PATH};

my @clients = qw{ eventsource event-source-polyfill reconnecting-eventsource
	@microsoft/fetch-event-source };

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
	->has_daemon('redis-server')->plan(2 * 6 * @clients);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

$t->write_file_expand('nginx.conf', <<"EOT");

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis      $url;
    rtbus_allow      job:*;
    rtbus_ping       100ms 20s;
    rtbus_origin     any;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location /events {
            rtbus            sse;
            rtbus_subscribe  job:\$arg_job;
        }
    }
}

EOT

$t->run();
wait_redis($t);

my $proxy = Test::RTBus::Proxy->new(to => port(8080));
my $jobs;

###############################################################################

for my $client (@clients) {

	# the page may have put on the URL where it was when it was loaded

	for my $loaded (0, 1) {
		client($client, $loaded);
	}
}

###############################################################################

sub client {
	my ($client, $loaded) = @_;

	my $name = $client . ($loaded ? ' of a page loaded anew' : '');
	my $job = 'c' . ++$jobs;
	my $uri = "/events?job=$job";
	my $out = $t->testdir() . "/$job";

	publish($job, 0);
	$uri .= "&last_event_id=job:$job\@0-0" if $loaded;

	my $pid = fork();
	die "Can't fork: $!\n" unless defined $pid;

	if ($pid == 0) {
		open STDOUT, '>', $out or POSIX::_exit(1);
		open STDERR, '>', "$out.err" or POSIX::_exit(1);
		exec $node, "$top/t/node/sse.js", $client,
			"http://127.0.0.1:$proxy->{port}$uri",
			"$top/node_modules" or POSIX::_exit(1);
	}

	# from the beginning, or from now on

	my @expected = ($loaded ? 0 : (), 1 .. 7);

	ok((wait_for { lines($out, 'connected') } 'connected', 20),
		"$name: connected");

	publish($job, 1);
	publish($job, "{\n  \"n\":\n2}");
	ok(numbers($out, grep { $_ <= 2 } @expected), "$name: events");

	my $beat = Test::RTBus::SSE->connect(path => $uri);
	$beat->wait_comments(5);
	$beat->drop();

	publish($job, 3);
	ok(numbers($out, grep { $_ <= 3 } @expected), "$name: after heartbeats");

	for my $n (4, 6) {
		$proxy->refuse();
		publish($job, $n);
		$proxy->pass();
		publish($job, $n + 1);

		ok(numbers($out, grep { $_ <= $n + 1 } @expected),
			"$name: comes back, $n");
	}

	is(join('', grep { /^(?:bad|sync)/ } lines($out)), '',
		"$name: nothing else");

	kill 'KILL', $pid;
	waitpid $pid, 0;
}

sub publish {
	my ($job, $data) = @_;

	$redis->cmd('FCALL', 'rtbus_publish', 1, "job:$job", 'message', $data);
}

# exactly these, in this order

sub numbers {
	my ($out, @expected) = @_;
	my $got;

	return 1 if wait_for {
		$got = join ' ', map { /^message (?:\{"n":)?(\d+)/ } lines($out);
		$got eq "@expected";
	} 'events', 20;

	diag("got: $got\nexpected: @expected\n" . join '', lines($out));

	return 0;
}

sub lines {
	my ($file, $event) = @_;

	open my $f, '<', $file or return;

	return grep { !defined $event || /^$event / } <$f>;
}

###############################################################################
