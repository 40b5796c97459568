#!/usr/bin/perl

# Tests for a worker that is killed: its clients lose their connection and
# nothing else happens to anybody.  Another worker takes its place, subscribes
# again and serves those who come back.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Redis;
use Test::RTBus::SSE;
use Test::RTBus::WebSocket;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server');

plan(skip_all => 'the module is not built') unless module_file();

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

# nginx says at "alert" that a worker was killed

$t->todo_alerts()->plan(2 * 9 + 2);

$t->write_file_expand('nginx.conf', <<"CONF");

%%TEST_GLOBALS%%

daemon off;
worker_processes 2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis $url;
    rtbus_allow *;
    rtbus_drain 10s;

    add_header X-Pid \$pid always;

    server {
        listen       127.0.0.1:8080 reuseport;
        server_name  localhost;

        location / {
            rtbus websocket sse;
            rtbus_subscribe all;
        }
    }
}

CONF

$t->run();

###############################################################################

wait_for { workers($t) == 2 } 'workers';

for my $signal (qw/ KILL TERM /) {
	my ($killed, $spared) = workers($t);
	my %clients = map { $_ => [] } $killed, $spared;

	while (grep { @$_ < 10 } values %clients) {
		for my $class (qw/ Test::RTBus::WebSocket Test::RTBus::SSE /) {
			my $c = $class->connect(path => '/');
			push @{$clients{$c->header('X-Pid')}}, $c;
		}
	}

	ok(received("before $signal", map { @$_ } values %clients),
		"events before $signal");

	kill $signal, $killed;

	is(scalar(grep { $_->wait_eof() } @{$clients{$killed}}),
		@{$clients{$killed}}, "clients lose their connection, $signal");
	is(scalar(grep { $_->eof() } @{$clients{$spared}}), 0,
		"others do not, $signal");

	ok((wait_for { workers($t) == 2 && !grep { $_ == $killed } workers($t) }
		'a new worker'), "a new worker, $signal");

	my ($new) = grep { $_ != $spared } workers($t);

	ok(received("without $signal", @{$clients{$spared}}),
		"events to the others, $signal");

	# they come back, some of them to the new one

	my @back;
	my $at = 0;

	while (!$at) {
		push @back, Test::RTBus::WebSocket->connect(path => '/');
		$at = $back[-1]->header('X-Pid') == $new;
	}

	ok(received("after $signal", @back), "events to the new one, $signal");
	ok((wait_for { $redis->subscribers('all') == 2 } 'subscriptions'),
		"one subscription each, $signal");
	is(scalar(grep { $_->eof() } @{$clients{$spared}}), 0,
		"others are still there, $signal");
	ok(received("at last $signal", @{$clients{$spared}}, @back),
		"events to all, $signal");

	$_->drop() for @back, map { @$_ } values %clients;
}

$t->stop();

is(error_log_count($t, qr/\[alert\](?!.*exited on signal 9)/), 0,
	'no other alert');
error_log_unlike($t, qr/open socket/, 'no socket left');

###############################################################################

sub received {
	my ($name, @clients) = @_;

	my %left = map { $_ => $_ } @clients;

	return wait_for {
		$redis->event('all', $name, 1);

		for my $c (values %left) {
			delete $left{$c} if $c->wait_event($name, 0.1);
		}

		!%left;
	} "event $name", 20;
}

###############################################################################
