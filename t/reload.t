#!/usr/bin/perl

# Tests for workers that leave, by a reload or for good, with clients on them:
# each client is told, all in their turn over rtbus_drain and not at once, and
# closed as its protocol has it; then the worker is gone.  New clients are
# served all the time, whether Redis is there or not.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus fds => 2048;
use Test::Nginx;
use Test::RTBus::Redis;
use Test::RTBus::SSE;
use Test::RTBus::WebSocket;

use Time::HiRes qw/ time /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server');

plan(skip_all => 'the module is not built') unless module_file();

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());

$t->plan(46);

configure(drain => '1s');
$t->run();

###############################################################################

# a quiet reload

my @clients = connect_all(30);
my @old = workers($t);
my @bye = farewell(\@clients, sub { $t->reload() });

is_deeply(summary(@bye), { 'websocket 1012' => 60, 'sse ended' => 60 },
	'all are told and closed');
is(scalar(grep { $_->{message} =~ /./ && $_->{after} =~ /^\d+$/
	&& $_->{after} >= 100 && $_->{after} <= 10000 } @bye), 120,
	'with what to do');
cmp_ok(keys %{{ map { $_->{after} => 1 } @bye }}, '>', 10,
	'not all to come back at once');

my @at = sort { $a <=> $b } map { $_->{at} } @bye;

cmp_ok($at[-1] - $at[0], '>', 0.6, 'spread over rtbus_drain');
cmp_ok($at[60] - $at[0], '>', 0.2, 'evenly');
cmp_ok($at[-1], '<', 5, 'and soon');

ok(gone(@old), 'old workers gone');

my $ws = Test::RTBus::WebSocket->connect(path => '/?channel=all');
my %old = map { $_ => 1 } @old;

is($ws->status(), 101, 'new client');
ok(!$old{$ws->header('X-Pid')}, 'of a new worker');

ok(hello($ws), 'event from a new worker');
$ws->drop();

###############################################################################

# under load: events in a row, requests, clients that come

$t->run_daemon(\&produce, $redis);

my (@all, @served);
my $reloads = 3;

@clients = connect_all(15);
@served = map { $_->header('X-Pid') } @clients;

for my $n (1 .. $reloads) {
	@old = workers($t);

	my @asks = grep { $_->isa('Test::RTBus::WebSocket') } @clients;

	push @all, farewell(\@clients, sub {
		$t->reload();
		push @asks, connect_some(10, \@clients);
		ask($_) for @asks;
	});

	@clients = connect_all(15);
	push @served, map { $_->header('X-Pid') } @clients;
	ask($_) for grep { $_->isa('Test::RTBus::WebSocket') } @clients;

	ok(gone(@old), "old workers gone under load, $n");
}

push @all, farewell(\@clients, sub { $t->reload() });

is(scalar(grep { !defined } @served), 0, 'always served');
is(scalar(grep { $_->{end} !~ /^(?:1012|ended)$/ } @all), 0,
	'all closed under load');
is(scalar(grep { $_->{wrong} } @all), 0, 'no event missing before the end');
is(scalar(grep { $_->{late} } @all), 0, 'nothing after the goodbye');
cmp_ok(scalar(grep { $_->{seen} } @all), '>', @all / 2, 'events were seen');
cmp_ok(scalar(grep { $_->{answered} } @all), '>', 0, 'requests were answered');

$t->stop_daemons();

###############################################################################

# Redis is not there, or does not answer

for my $how (qw/ stop pause /) {
	configure(drain => '200ms');
	reload_wait($t, gone => 1);

	@clients = connect_all(10);
	@old = workers($t);

	$redis->$how();

	# who comes while it is away leaves like the others

	push @clients, connect_all(2);

	@bye = farewell(\@clients, sub { $t->reload() });

	is_deeply(summary(@bye), { 'websocket 1012' => 24, 'sse ended' => 24 },
		"all are told and closed, $how");
	ok(gone(@old), "old workers gone, $how");

	$ws = Test::RTBus::WebSocket->connect(path => '/?channel=all');
	is($ws->status(), 101, "new client, $how");

	$how eq 'stop' ? $redis->start() : $redis->resume();

	ok(hello($ws), "event when Redis is back, $how");
	$ws->drop();
}

# no drain at all

configure(drain => '0');
reload_wait($t, gone => 1);

@clients = connect_all(10);
@bye = farewell(\@clients, sub { $t->reload() });

is_deeply(summary(@bye), { 'websocket 1012' => 20, 'sse ended' => 20 },
	'all are told and closed without drain');

###############################################################################

# who has not been told yet is served as before

configure(drain => '60s');
reload_wait($t, gone => 1);

@clients = grep { $_->isa('Test::RTBus::WebSocket') } connect_all(60);
@old = workers($t);

reload_wait($t);

$_->send_json({ event => 'subscribe', data => { channel => 'late' },
	ack => 1 }) for @clients;

my %n;

$n{answer($_)}++ for @clients;

cmp_ok($n{ok} || 0, '>', 0, 'requests to leaving workers');
is($n{''} || 0, 0, 'nobody without an answer');

$redis->event('late', 'late', 1);

%n = ();
$n{event($_, 'late')}++ for @clients;

cmp_ok($n{late} || 0, '>', 0, 'events from leaving workers');
is($n{''} || 0, 0, 'nobody without an event');

$_->drop() for @clients;
ok(gone(@old), 'old workers gone with their clients');

###############################################################################

# worker_shutdown_timeout has the last word

configure(drain => '60s', timeout => '500ms');
reload_wait($t, gone => 1);

@clients = connect_all(10);
@old = workers($t);

my $start = time();

@bye = farewell(\@clients, sub { $t->reload() });

is(scalar @bye, 40, 'all closed by worker_shutdown_timeout');
cmp_ok(time() - $start, '>', 0.4, 'not before');
ok(gone(@old), 'old workers gone by worker_shutdown_timeout');
cmp_ok(time() - $start, '<', 10, 'not much later');

###############################################################################

# clients that do not do their part do not hold up the worker for long: one
# that does not answer the close frame, and two that do not read

configure(drain => '200ms', ping => '1s 1s');
reload_wait($t, gone => 1);

my $deaf = Test::RTBus::WebSocket->connect(path => '/?channel=all',
	auto_close => 0);
my @slow = map { $_->connect(path => '/?channel=all', rcvbuf => 4096) }
	qw/ Test::RTBus::WebSocket Test::RTBus::SSE /;

@old = workers($t);

wait_for { $redis->subscribers('all') } 'a subscription';
$redis->event('all', 'big', 'x' x 500000) for 1 .. 4;

$start = time();

$t->reload();

is(($deaf->read_close())[0], 1012, 'close frame to a deaf client');
ok(gone(@old), 'old workers gone in spite of clients');
cmp_ok(time() - $start, '<', 15, 'in time');
ok($deaf->wait_eof(1), 'deaf client closed');

$_->drop() for @slow;

###############################################################################

# for good

configure(drain => '300ms');
reload_wait($t, gone => 1);

@clients = connect_all(10);
@bye = farewell(\@clients, sub { kill 'QUIT', master($t) });

is_deeply(summary(@bye), { 'websocket 1012' => 20, 'sse ended' => 20 },
	'all are told and closed at quit');

my $pid = waitpid $t->{_master} || -1, 0;
my $status = $?;

cmp_ok($pid, '>', 0, 'nginx has ended');
is($status, 0, 'as it should');

# the libraries want to stop something

unlink $t->testdir() . '/nginx.pid';
$t->run();

error_log_unlike($t, qr/open socket/, 'no socket left');
is(error_log_count($t, qr/\[alert\]/), 0, 'no alert');

###############################################################################

sub configure {
	my (%o) = @_;

	my $url = $redis->url();
	my $ping = $o{ping} || '25s 20s';
	my $timeout = $o{timeout} ? "worker_shutdown_timeout $o{timeout};" : '';

	$t->write_file_expand('nginx.conf', <<"CONF");

%%TEST_GLOBALS%%

daemon off;
worker_processes 2;
$timeout

events {
    worker_connections 2048;
}

http {
    %%TEST_GLOBALS_HTTP%%

    # at "debug" it would take most of the time
    error_log %%TESTDIR%%/error.log info;

    rtbus_redis $url command_timeout=300ms connect_timeout=300ms;
    rtbus_allow *;
    rtbus_drain $o{drain};
    rtbus_ping $ping;
    rtbus_message_rate 10000r/s;

    add_header X-Pid \$pid always;

    server {
        listen       127.0.0.1:8080 reuseport;
        server_name  localhost;

        location / {
            rtbus websocket sse;
            rtbus_subscribe \$arg_channel;
        }
    }
}

CONF
}

# An old worker may be in Redis's list still, so one event is not enough.

sub hello {
	my ($ws) = @_;

	return wait_for {
		$redis->event('all', 'hello', 1);
		$ws->wait_event('hello', 0.1);
	} 'an event';
}

# What came first, what was asked for or the goodbye.

sub answer {
	my ($ws) = @_;

	my $m = $ws->wait_json(undef, sub { defined $_[0]{ack}
		|| $_[0]{event} eq 'server:shutdown' }) or return '';

	return $m->{event} || $m->{data}{error} || 'ok';
}

sub event {
	my ($ws, $name) = @_;

	my $m = $ws->wait_json(undef, sub { defined $_[0]{event}
		&& $_[0]{event} =~ /^(?:\Q$name\E|server:shutdown)$/ });

	return $m ? $m->{event} : $ws->eof() ? 'closed' : '';
}

# So many of each kind for each of the two workers.

sub connect_all {
	my ($n) = @_;
	my (%n, @clients);

	for my $class (qw/ Test::RTBus::WebSocket Test::RTBus::SSE /) {
		my (%n, @more);

		while (keys %n < 2 || grep { $_ < $n } values %n) {
			my $c = $class->connect(path => '/?channel=all');

			die "Not accepted: " . $c->status() . "\n"
				unless defined $c->header('X-Pid');

			if (++$n{$c->header('X-Pid')} > $n) {
				push @more, $c;
				next;
			}

			push @clients, $c;
		}

		$_->drop() for @more;
	}

	return @clients;
}

# While a reload goes on: whoever of the workers takes them.

sub connect_some {
	my ($n, $clients) = @_;

	my @new = Test::RTBus::WebSocket->connect_many($n,
		path => '/?channel=all');

	push @$clients, @new;
	push @served, map { $_->header('X-Pid') } @new;

	return @new;
}

# Requests that have to be answered unless the end comes first.

sub ask {
	my ($ws) = @_;

	for my $n (1 .. 5) {
		$ws->send_json({ event => 'subscribe',
			data => { channel => "x:$n" }, ack => $n });
		$ws->send_json({ event => 'unsubscribe',
			data => { channel => "x:$n" }, ack => 10 + $n });
	}
}

# Publishes numbers until it is killed.

sub produce {
	my ($redis) = @_;

	for (my $n = 1; 1; $n++) {
		$redis->publish('all', qq/{"event":"n","data":$n}/);
		select undef, undef, undef, 0.002;
	}
}

# Does what makes the workers leave, and reads their clients until all have
# ended; -> what became of each.

sub farewell {
	my ($clients, $leave) = @_;

	my %leaving = map { $_ => 1 } workers($t);

	my $start = time();
	$leave->();

	my @mine = grep { $leaving{$_->header('X-Pid')} } @$clients;
	my %bye = map { $_->fd() => { kind => $_->isa('Test::RTBus::SSE')
		? 'sse' : 'websocket', answered => 0, at => 0, after => '',
		message => '' } } @mine;

	my $read = sub {
		my ($c, $m) = @_;
		my $bye = $bye{$c->fd()};

		if (defined $m->{opcode} && $m->{opcode} == 8) {
			$bye->{end} = unpack 'n', $m->{payload};
			return;
		}

		# once is enough, and it is the last

		$bye->{late}++ if $bye->{at};

		my $data = $m->{message};
		$data = qq/{"event":"$m->{event}","data":$m->{data}}/
			unless defined $data;

		if ($data =~ /^\{"event":"n","data":(\d+)/) {
			$bye->{wrong}++ if defined $bye->{last}
				&& $1 != $bye->{last} + 1;
			$bye->{last} = $1;
			$bye->{seen}++;
			return;
		}

		my $json = json_decode($data);

		if (defined $json->{ack}) {
			$bye->{answered}++;

		} elsif ($json->{event} eq 'server:shutdown') {
			$bye->{at} = time() - $start;
			$bye->{message} = $json->{data}{message};
			$bye->{after} = $json->{data}{reconnectAfter};
		}
	};

	select_loop(\@mine, sub { !grep { !$_->eof() } @mine }, 20, $read);

	for my $c (@mine) {
		my $bye = $bye{$c->fd()};

		$bye->{end} = 'ended' if $bye->{kind} eq 'sse' && $c->ended();
		$bye->{end} = $c->eof() ? 'cut' : 'open'
			unless defined $bye->{end};

	}

	# those of new workers stay, for the next time

	@$clients = grep { !$leaving{$_->header('X-Pid')} } @$clients;

	$_->drop() for @mine, @$clients;
	@$clients = ();

	return values %bye;
}

sub summary {
	my %n;

	$n{"$_->{kind} $_->{end}"}++ for @_;

	return \%n;
}

sub gone {
	my (@pids) = @_;

	return wait_for { !grep { kill 0, $_ } @pids } 'workers to leave', 20;
}

###############################################################################
