#!/usr/bin/perl

# Tests for Redis Sentinel: three of them with a master and two replicas.  The
# master is killed, and moved while it lives; sentinels are away, mute, of
# another opinion, or want a password.  Clients stay, and each durable event
# comes once, in its order.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Redis;
use Test::RTBus::WebSocket;

use IO::Socket::INET;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server');

plan(skip_all => 'the module is not built') unless module_file();

my $d = $t->testdir();

my @fast = ('--repl-diskless-sync-delay', '0', '--repl-ping-replica-period',
	'1');

my $master = Test::RTBus::Redis->new(dir => $d, args => [ @fast ]);

my @servers = ($master, map { Test::RTBus::Redis->new(dir => $d,
	args => [ @fast, '--replicaof', '127.0.0.1', $master->port() ]) } 1 .. 2);

my @sentinels = map { Test::RTBus::Redis->new(dir => $d,
	password => $_ == 3 ? 's3cret' : undef, sentinel => [
		'monitor mymaster 127.0.0.1 ' . $master->port() . ' 2',
		'down-after-milliseconds mymaster 2000',
		'failover-timeout mymaster 2000',
		'parallel-syncs mymaster 2' ]) } 1 .. 3;

# of the sentinels with a password just one would be alone

$_->try_cmd('CONFIG', 'SET', 'sentinel-pass', 's3cret') for @sentinels;

wait_for { 2 == grep { info($_, 'replication') =~ /^master_link_status:up/m }
	@servers[1, 2] } 'replicas';
wait_for { 3 == grep { info($_, 'sentinel')
	=~ /address=127\.0\.0\.1:\d+,slaves=2,sentinels=3/ } @sentinels }
	'sentinels', 30;

my $url = 'redis+sentinel://' . join(',', map { '127.0.0.1:' . $_->port() }
	@sentinels[0, 1]) . '/mymaster';

my @wrong = (
	[ "redis+sentinel://127.0.0.1:1", 'no name of the master' ],
	[ "redis+sentinel://127.0.0.1:1/", 'no name of the master' ],
	[ "redis+sentinel://127.0.0.1:1/m/x", 'invalid database number' ],
	[ "redis+sentinel://127.0.0.1:1,/m", 'no host' ],
	[ "redis://127.0.0.1:1 sentinel_user=me",
		'"sentinel_user=me" needs "redis+sentinel://"' ],
);

configure($url);

$t->plan(61);
$t->run();

my ($ws, $n) = (undef, 0);

###############################################################################

subscribed();

is($ws->{told}{data}{position}, '0-0', 'nothing yet');
publish_and_get(3, 'at first');

# the master is killed

my $old = $master;

$old->cmd('WAIT', 2, 10000);
$old->kill();

$master = new_master();
isnt($master->port(), $old->port(), 'another master');

publish_and_get(3, 'master killed');
error_log_like($t, qr/\[notice\].*master "mymaster" of Redis is at 127\.0\.0\.1:${\
	$master->port()}/, 'logged');

is(metric(), '1 1', 'links up');

# ... and comes back as a replica

$old->start();
wait_for { info($old, 'replication') =~ /^master_link_status:up/m }
	'the old master', 40;

publish_and_get(2, 'old master is back');

# the master is moved, both are alive; the old one closes its clients

wait_for { info($sentinels[0], 'sentinel') =~ /status=ok,.*slaves=2/ }
	'all to be well', 30;

$old = $master;

ok((wait_for { !ref $sentinels[0]->try_cmd('SENTINEL', 'FAILOVER',
	'mymaster') } 'a failover', 30), 'moved');

$master = new_master($old);
publish_and_get(3, 'master moved');

# the sentinel that nginx talks to halts, and the master is killed

wait_for { info($sentinels[0], 'sentinel') =~ /status=ok,.*slaves=2/
	&& 2 == grep { info($_, 'replication') =~ /^master_link_status:up/m }
	@servers } 'all to be well', 30;

my ($used) = grep { info($_, 'clients') && grep { /name=rtbus-sentinel/ }
	split /\n/, $_->cmd('CLIENT', 'LIST') } @sentinels[0, 1];

ok($used, 'nginx talks to a sentinel');

my ($other) = grep { $_ != $used } @sentinels[0, 1];

$used->kill();
publish_and_get(2, 'sentinel killed');

$old = $master;
$old->cmd('WAIT', 2, 10000);
$old->kill();

$master = new_master(undef, $other);
publish_and_get(3, 'sentinel killed, master killed');

$used->start();
$old->start();
$ws->drop();

# one that does not get on with it is left, too; so is one that names a server
# which is no master, or does not know the name

my $liar = IO::Socket::INET->new(Listen => 50, LocalAddr => '127.0.0.1',
	ReuseAddr => 1) or die "Can't listen: $!\n";
my $mute = IO::Socket::INET->new(Listen => 50, LocalAddr => '127.0.0.1',
	ReuseAddr => 1) or die "Can't listen: $!\n";

my ($replica) = grep { info($_, 'replication') =~ /^role:slave/m } @servers;
my $stranger = Test::RTBus::Redis->new(dir => $d, sentinel => []);
my $pid = lie($liar, $replica->port());

for my $case (
	[ 'away', free_port() ],
	[ 'mute', $mute->sockport() ],
	[ 'stranger', $stranger->port() ],
	[ 'no sentinel', $replica->port() ],
	[ 'liar', $liar->sockport() ])
{
	my ($name, $port) = @$case;

	# it is the first one by chance

	my @pids;

	for my $turn (1 .. 3) {
		configure("redis+sentinel://127.0.0.1:$port,127.0.0.1:"
			. $other->port() . '/mymaster connect_timeout=200ms');
		push @pids, reload_wait($t);

		ok((wait_for { metric() eq '1 1' } 'links', 20), "$name: links up");
	}

	subscribed();
	publish_and_get(1, $name);
	$ws->drop();

	my $re = join '|', @pids;

	is(error_log_count($t, qr/\[(?:error|crit)\] (?:$re)#.*connection: sentinel/),
		0, "$name: of several, no error") if $name ne 'liar';
}

kill 'KILL', $pid;
waitpid $pid, 0;

# the sentinels' own password; the log has it not

$t->write_file('password', "s3cret\n");

for my $case ([ 0, '' ], [ 1, 'sentinel_password_file=password' ],
	[ 1, 'sentinel_user=default sentinel_password_file=password' ])
{
	my ($ok, $more) = @$case;

	configure('redis+sentinel://127.0.0.1:' . $sentinels[2]->port()
		. "/mymaster $more");
	my ($worker) = reload_wait($t);

	if ($ok) {
		ok((wait_for { metric() eq '1 1' } 'links'), 'password');
		next;
	}

	error_log_like($t, qr/\[error\] $worker#.*PING was answered "NOAUTH.*connection: sentinel/,
		'no password');
	like(http_get('/health'), qr/ 503 /, 'no password: health');
}

# none is there, who asks later hears of it, too

configure('redis+sentinel://127.0.0.1:' . free_port() . '/mymaster');
my ($lonely) = reload_wait($t);

for my $link (qw/ sentinel pub\/sub command /) {
	error_log_like($t, qr/\[error\] $lonely#.*connection: $link/,
		"no sentinel: $link");
}

# a user that may not subscribe, and one that may

my @rules = qw/ on >w4tch +ping +client|setname
	+sentinel|get-master-addr-by-name /;
my @more = qw/ +subscribe +unsubscribe &+switch-master /;

$sentinels[2]->cmd('ACL', 'SETUSER', 'deaf', @rules);
$sentinels[2]->cmd('ACL', 'SETUSER', 'all', @rules, @more);

$t->write_file('watcher', "w4tch\n");

for my $user (qw/ deaf all /) {
	configure('redis+sentinel://127.0.0.1:' . $sentinels[2]->port()
		. "/mymaster sentinel_user=$user sentinel_password_file=watcher");
	my ($pid) = reload_wait($t);

	ok((wait_for { metric() eq '1 1' } 'links'), "$user: links up");

	my $id = link_id($sentinels[2], "sentinel-$pid");

	# each new connection asks again

	for (1 .. 2) {
		my $old = link_id($master, "command-$pid");

		$master->cmd('CLIENT', 'KILL', 'ID', $old);

		wait_for { link_id($master, "command-$pid") !~ /^(?:$old|none)$/ }
			'another connection';
	}

	is(link_id($sentinels[2], "sentinel-$pid"), $id, "$user: the connection stays");
	is(error_log_count($t, qr/\[error\] $pid#.*SUBSCRIBE was answered "NOPERM/),
		$user eq 'deaf' ? 1 : 0, "$user: told once");
}

# a name that nobody knows

configure($url =~ s/mymaster/nobody/r);
my ($worker) = reload_wait($t);

error_log_like($t, qr/\[error\] $worker#.*does not know the master/, 'no master');
like(http_get('/health'), qr/ 503 /, 'no master: health');

for my $wrong (@wrong) {
	my ($link, $reason) = @$wrong;

	my ($ok, $out) = nginx_check($t, config($link));

	like($out, qr/\Q$reason\E/, "refused: $link");
}

error_log_unlike($t, qr/s3cret/, 'no password in the log');

###############################################################################

sub subscribed {
	wait_for { metric() eq '1 1' } 'links', 20;

	$ws = Test::RTBus::WebSocket->connect(path => '/');

	wait_for {
		$ws->send_json({ event => 'subscribe',
			data => { channel => 'job:42' }, ack => 1 });

		$ws->{told} = $ws->wait_ack(1);

		$ws->{told} && $ws->{told}{data}{ok};
	} 'a subscription';
}

# the link may still be on its way to the new master: the events are durable

sub publish_and_get {
	my ($count, $name) = @_;

	my @got;
	my $first = $n + 1;

	for (1 .. $count) {
		$n++;
		$master->cmd('FCALL', 'rtbus_publish', 1, 'job:42', 'n', $n);
	}

	for (1 .. $count) {
		my $event = $ws->wait_event('n', 20) || {};
		push @got, $event->{data};
	}

	is_deeply(\@got, [ $first .. $n ], "$name: events");
	ok(!$ws->{closed}, "$name: the client stays") if $name =~ /master/;
}

sub new_master {
	my ($old, $sentinel) = @_;

	$sentinel ||= $sentinels[0];
	$old ||= $master;

	my $new;

	wait_for {
		my $at = $sentinel->try_cmd('SENTINEL', 'GET-MASTER-ADDR-BY-NAME',
			'mymaster');

		($new) = grep { $_->port() == $at->[1] } @servers;

		$new && $new != $old
			&& info($new, 'replication') =~ /^role:master/m;
	} 'a new master', 40;

	return $new;
}

sub info {
	my ($redis, $section) = @_;

	my $text = eval { $redis->try_cmd('INFO', $section) };

	return defined $text ? "$text" : '';
}

sub link_id {
	my ($redis, $name) = @_;

	my ($link) = grep { /name=rtbus-\Q$name\E / }
		split /\n/, $redis->cmd('CLIENT', 'LIST');

	return $link && $link =~ /^id=(\d+)/ ? $1 : 'none';
}

sub metric {
	my $text = http_get('/status');

	return join ' ', map { $text =~ /^rtbus_redis_up\{link="$_"\} (\d)/m
		? $1 : 'none' } qw/ pubsub command /;
}

# a sentinel that names a replica

sub lie {
	my ($listen, $port) = @_;

	my $pid = fork();
	die "Can't fork: $!\n" unless defined $pid;
	return $pid if $pid;

	while (my $client = $listen->accept()) {
		my $in = '';

		while (sysread $client, $in, 4096, length $in) {
			while ($in =~ s/^\*(\d+)\r\n((?:\$\d+\r\n[^\r]*\r\n)+)//) {
				my @args = $2 =~ /\$\d+\r\n([^\r]*)\r\n/g;
				my $name = uc $args[0];

				syswrite $client, $name eq 'PING' ? "+PONG\r\n"
					: $name eq 'SENTINEL'
					? "*2\r\n\$9\r\n127.0.0.1\r\n\$"
						. length($port) . "\r\n$port\r\n"
					: $name =~ /SUBSCRIBE/
					? "*3\r\n\$" . length($name) . "\r\n"
						. lc($name) . "\r\n\$"
						. length($args[1])
						. "\r\n$args[1]\r\n:1\r\n"
					: "+OK\r\n";
			}
		}
	}

	POSIX::_exit(0);
}

sub config {
	my ($link) = @_;

	return <<"EOC";

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis  $link;
    rtbus_drain  0;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        rtbus_allow  *;

        location / {
            rtbus       websocket;
            rtbus_ping  5m 5m;
        }

        location /status {
            rtbus_status;
        }

        location /health {
            rtbus_health;
        }
    }
}

EOC
}

sub configure {
	$t->write_file_expand('nginx.conf', config(@_));
}

###############################################################################
