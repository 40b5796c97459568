#!/usr/bin/perl

# Tests for many: 1000 clients on one channel, and 1000 channels with a client
# each, WebSocket and SSE, with one worker and with several.  Each client gets
# each event of its channels, once and in order, and none of another's.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus fds => 4096;
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

my $clients = 1000;
my $events = 40;		# to all
my $rounds = 4;			# to each

$t->plan(2 * 9);

###############################################################################

for my $workers (1, 4) {
	$t->stop();
	configure($workers);
	$t->run();

	my $with = $workers == 1 ? 'with 1 worker' : "with $workers workers";

	my @clients = (
		Test::RTBus::WebSocket->connect_many($clients / 2,
			path => sub { "/?own=own:$_[0]" }),
		Test::RTBus::SSE->connect_many($clients / 2,
			path => sub { '/?own=own:' . ($clients / 2 + $_[0]) })
	);

	is(scalar(grep { $_->status() == 101 || $_->status() == 200 }
		@clients), $clients, "clients $with");

	my %n;

	$n{$_->header('X-Pid')}++ for @clients;

	is(scalar keys %n, $workers, "clients of each worker $with");

	# by chance, a quarter each; not so few as to test nothing

	is(scalar(grep { $_ < $clients / $workers / 4 } values %n), 0,
		"clients spread $with");

	my %got = map { $clients[$_]->fd() => { n => $_, all => 0, own => 0 } }
		0 .. $#clients;

	my (@wrong, $count);
	my $read = sub { message(\%got, \@wrong, \$count, @_) };

	ok($redis->wait_subscribers('all', $workers, 30)
		&& (wait_for { subscribed() } 'subscriptions', 30),
		"one subscription for each worker and channel $with");

	# one channel: in one piece, then one by one

	my @publish = map {
		[ 'PUBLISH', 'all', qq/{"event":"all","data":$_}/ ]
	} 1 .. $events;

	$redis->pipeline(splice @publish, 0, $events / 2);
	$redis->cmd(@$_) for @publish;

	$count = 0;
	select_loop(\@clients, sub { $count >= $events * $clients }, 60,
		$read);

	is(scalar(grep { $_->{all} == $events } values %got), $clients,
		"all events of one channel $with");

	# a channel each; some for all in between

	@publish = ();

	for my $round (1 .. $rounds) {
		push @publish, map {
			[ 'PUBLISH', "own:$_",
				qq/{"event":"own","data":"$_ $round"}/ ]
		} 0 .. $#clients;

		push @publish, [ 'PUBLISH', 'all', '{"event":"all","data":'
			. ($events + $round) . '}' ];
	}

	is(scalar(grep { $_ == 1 } $redis->pipeline(@publish)),
		$rounds * ($clients + ($workers == 1)),
		"one receiver each $with");

	$count = 0;
	select_loop(\@clients, sub { $count >= 2 * $rounds * $clients }, 60,
		$read);

	is(scalar(grep { $_->{all} == $events + $rounds
		&& $_->{own} == $rounds } values %got), $clients,
		"all events of many channels $with");

	is(join(', ', splice @wrong, 0, 10), '', "nothing else $with");
	is(scalar(grep { $_->eof() } @clients), 0, "nobody closed $with");

	$_->drop() for @clients;
}

###############################################################################

sub configure {
	my ($workers) = @_;

	my $url = $redis->url();

	$t->write_file_expand('nginx.conf', <<"CONF");

%%TEST_GLOBALS%%

daemon off;
worker_processes $workers;

events {
    worker_connections 4096;
}

http {
    %%TEST_GLOBALS_HTTP%%

    # at "debug" it would take most of the time
    error_log %%TESTDIR%%/error.log info;

    rtbus_redis $url;
    rtbus_allow *;

    add_header X-Pid \$pid always;

    server {
        # the kernel alone would wake the same worker each time
        listen       127.0.0.1:8080 reuseport;
        server_name  localhost;

        location / {
            rtbus websocket sse;
            rtbus_subscribe all \$arg_own;
        }
    }
}

CONF
}

sub subscribed {
	my %n = @{$redis->cmd('PUBSUB', 'NUMSUB',
		map { "own:$_" } 0 .. $clients - 1)};

	return $clients == grep { $_ == 1 } values %n;
}

# Counts a message, if it is the next one that this client has to get.

sub message {
	my ($got, $wrong, $count, $c, $m) = @_;

	my $mine = $got->{$c->fd()};
	my ($name, $data);

	if (defined $m->{message}) {
		($name, $data) = $m->{message}
			=~ /^\{"event":"([^"]*)","data":"?([^",}]*)/;
	} else {
		($name, $data) = ($m->{event}, $m->{data} =~ /^"?([^"]*)/);
	}

	if (!defined $name) {
		push @$wrong, 'a frame with opcode '
			. (defined $m->{opcode} ? $m->{opcode} : 'none');

	} elsif ($name eq 'all' && $data == $mine->{all} + 1) {
		$mine->{all}++;
		$$count++;

	} elsif ($name eq 'own' && $data eq "$mine->{n} " . ($mine->{own} + 1))
	{
		$mine->{own}++;
		$$count++;

	} elsif ($name ne 'connected') {
		push @$wrong, "$name $data to $mine->{n}";
	}
}

###############################################################################
