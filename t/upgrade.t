#!/usr/bin/perl

# Tests for the upgrade of the nginx binary: two masters with their workers
# side by side, then the old workers leave like those of a reload.  Clients of
# the new ones are not touched, neither by that nor by a step back.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus fds => 1024;
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
my $d = $t->testdir();

# with "daemon off" nginx would ignore the signal, for its parent stays

$t->write_file_expand('nginx.conf', <<"CONF")->plan(28);

%%TEST_GLOBALS%%

worker_processes 2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis $url;
    rtbus_allow *;
    rtbus_drain 200ms;

    add_header X-Pid \$pid always;

    server {
        listen       127.0.0.1:8080;
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

my $first = master($t);
my @masters = ($first);
my @first = workers($t);
my @old = connect_to(\@first, 10);

ok(received('one', @old), 'events before');

# both at a time

my ($second, @second) = upgrade($first);

isnt($second, $first, 'another master');
is(scalar @second, 2, 'its workers');
is(scalar(grep { alive($_) } $first, @first), 3, 'the old ones are there');
is(closed(@old), 0, 'no client closed');

my @new = connect_to(\@second, 10);

ok(received('two', @old, @new), 'events from both');

# the old workers leave

kill 'WINCH', $first;

is(told(@old), @old, 'clients of old workers told and closed');
ok((wait_for { !grep { alive($_) } @first } 'old workers to leave'),
	'old workers gone');
ok(alive($first), 'old master stays');
ok(received('three', @new), 'events from new workers');
is(closed(@new), 0, 'clients of new workers stay');

kill 'QUIT', $first;

ok((wait_for { !alive($first) && !-e "$d/nginx.pid.oldbin" } 'old master'),
	'old master gone');
is(master($t), $second, 'new master in its place');

push @new, connect_to(\@second, 2);

ok(received('four', @new), 'events from the new binary');

# a reload, and then one more upgrade that is taken back

my @third = reload_wait($t);

is(scalar @third, 2, 'reload of the new binary');
is(told(@new), @new, 'clients told and closed by the reload');

@old = connect_to(\@third, 5);

my ($fourth, @fourth) = upgrade($second);

is(scalar @fourth, 2, 'upgrade again');

@new = connect_to(\@fourth, 5);

ok(received('five', @old, @new), 'events from both again');

kill 'QUIT', $fourth;

is(told(@new), @new, 'clients of the newer binary told and closed');
ok((wait_for { !alive($fourth) } 'the newer master'), 'newer master gone');
ok((wait_for { (master($t) || 0) == $second } 'the pid file'),
	'back to the one before');
ok(received('six', @old), 'events from it');
is(closed(@old), 0, 'its clients stay');

push @old, connect_to(\@third, 2);

ok(received('seven', @old), 'new clients, too');

# the end; the libraries would wait for a child of theirs

kill 'QUIT', $second;

is(told(@old), @old, 'clients told and closed at the end');
ok((wait_for { !grep { alive($_) } $second, @third } 'the end', 20), 'end');
$t->{_started} = 0;

error_log_unlike($t, qr/open socket/, 'no socket left');
is(error_log_count($t, qr/\[alert\]/), 0, 'no alert');

###############################################################################

# USR2; -> the new master and its workers

sub upgrade {
	my ($old) = @_;

	kill 'USR2', $old;

	my $new = wait_for {
		my $pid = -e "$d/nginx.pid.oldbin" && master($t);

		$pid && $pid != $old && workers($t) == 2 && $pid;
	} 'a new master';

	push @masters, $new if $new;

	return ($new, workers($t));
}

# a suite that dies leaves none of them

END {
	kill 'TERM', grep { alive($_) } @masters;
}

# nobody may be there to wait for a process that has ended

sub alive {
	my ($pid) = @_;

	open my $fh, '<', "/proc/$pid/stat" or return 0;
	return (<$fh> || '') =~ /\) [^ZX] /;
}

# So many clients of each of these workers, of each kind.

sub connect_to {
	my ($pids, $n) = @_;

	my %want = map { ("$_ Test::RTBus::WebSocket" => $n,
		"$_ Test::RTBus::SSE" => $n) } @$pids;
	my (@clients, @others);

	while (grep { $_ } values %want) {
		for my $class (qw/ Test::RTBus::WebSocket Test::RTBus::SSE /) {
			my $c = $class->connect(path => '/');
			my $who = $c->header('X-Pid') . " $class";

			if ($want{$who}) {
				$want{$who}--;
				push @clients, $c;

			} else {
				push @others, $c;
			}
		}

		die "Some worker does not take clients\n" if @others > 400;
	}

	$_->drop() for @others;

	return @clients;
}

# Does an event get to each of them?  Not all subscriptions need be there yet.

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

sub closed {
	return scalar grep { $_->eof() } @_;
}

# how many have got the event, and the end that follows it

sub told {
	my $n = 0;

	for my $c (@_) {
		$c->wait_event('server:shutdown') or next;

		if ($c->isa('Test::RTBus::SSE')) {
			$c->next_event() while !$c->eof();
			$n++ if $c->ended();

		} else {
			$n++ if (($c->read_close())[0] || 0) == 1012;
		}
	}

	return $n;
}

###############################################################################
