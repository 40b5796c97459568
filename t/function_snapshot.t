#!/usr/bin/perl

# Tests for rtbus_snapshot of conf/rtbus.lua: state, text and position as of one
# moment, since a client adds the events after that position to the other two.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::RTBus::Redis;

use Cwd qw/ abs_path /;
use File::Basename qw/ dirname /;
use File::Temp qw/ tempdir /;
use POSIX ();

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

grep { -x "$_/redis-server" } split /:/, $ENV{PATH}
	or plan(skip_all => 'no redis-server');

my $library = abs_path(dirname(__FILE__) . '/../conf/rtbus.lua');
my $dir = tempdir('rtbus-XXXXXXXX', TMPDIR => 1, CLEANUP => 1);

my $redis = Test::RTBus::Redis->new(dir => $dir);

$redis->cmd('CONFIG', 'SET', 'repl-diskless-sync-delay', 0);
$redis->load_functions($library);

my $replica = Test::RTBus::Redis->new(dir => $dir,
	args => [ '--replicaof', '127.0.0.1', $redis->port() ]);

###############################################################################

is($redis->cmd('FCALL_RO', 'rtbus_version', 0), 5, 'version');
is($redis->cmd('FCALL', 'rtbus_version', 0), 5, 'version by FCALL');

is_deeply(snapshot('job:1'), [ [], '', '0-0' ], 'nothing');

my $id = publish('job:1', 'e', '1');

my $snapshot = snapshot('job:1');
my %state = @{$snapshot->[0]};
my ($epoch) = split /-/, $id;

is(join(' ', sort keys %state), 'createdAt epoch seq updatedAt', 'fields');
is("$state{epoch}-$state{seq}", $id, 'seq in the state');
is($snapshot->[1], '', 'no output');
is($snapshot->[2], $id, 'position');

publish('job:1', 'e', '2', 'APPEND', "a\0\xc3\xa9", 'SET', 'f', "\xff\r\n");
publish('job:1', 'e', '3', 'APPEND', '2');

$snapshot = snapshot('job:1');
%state = @{$snapshot->[0]};

is($state{f}, "\xff\r\n", 'value of any bytes');
is($snapshot->[1], "a\0\xc3\xa92", 'output');
is($snapshot->[2], "$epoch-3", 'next position');
is_deeply(snapshot('{job:1}'), $snapshot, 'channel in braces');
is_deeply($redis->cmd('FCALL', 'rtbus_snapshot', 1, 'job:1'), $snapshot,
	'by FCALL');

publish('p:{job:1}', 'e', '1');
like(snapshot('p:{job:1}')->[2], qr/^(?!$epoch)\d+-1\z/, 'with a prefix');

# the stream's last id, whatever has become of the entries

$redis->cmd('XDEL', '{job:1}:events', "$epoch-3");
is(snapshot('job:1')->[2], "$epoch-3", 'last entry deleted');
$redis->cmd('XTRIM', '{job:1}:events', 'MAXLEN', 0);
is(snapshot('job:1')->[2], "$epoch-3", 'trimmed to nothing');
$redis->cmd('XADD', '{job:1}:events', "$epoch-9", 'event', 'e');
is(snapshot('job:1')->[2], "$epoch-9", 'producer has added one');
$redis->cmd('DEL', '{job:1}:state');
is_deeply(snapshot('job:1'), [ [], "a\0\xc3\xa92", "$epoch-9" ], 'no state');
$redis->cmd('DEL', '{job:1}:events');
is_deeply(snapshot('job:1'), [ [], "a\0\xc3\xa92", '0-0' ], 'no stream');

$redis->cmd('HSET', '{job:2}:state', 'a', 'b');
is_deeply(snapshot('job:2'), [ [ 'a', 'b' ], '', '0-0' ], 'state alone');

$redis->cmd('XGROUP', 'CREATE', '{job:3}:events', 'g', '0', 'MKSTREAM');
is_deeply(snapshot('job:3'), [ [], '', '0-0' ], 'stream of a group');

# a text that Redis has lost, as when it evicts keys

publish('job:4', 'e', '1', 'APPEND', 'abc');
publish('job:4', 'e', '1', 'APPEND', 'de');
%state = @{snapshot('job:4')->[0]};
is($state{outputLength}, 5, 'length of the output');
is($state{outputLost}, undef, 'nothing lost');

$redis->cmd('DEL', '{job:4}:output');
%state = @{snapshot('job:4')->[0]};
is($state{outputLost}, 5, 'lost');

publish('job:4', 'e', '1', 'APPEND', 'fgh');
is(snapshot('job:4')->[1], 'fgh', 'begun anew');
%state = @{snapshot('job:4')->[0]};
is($state{outputLost}, 5, 'lost before that');
is($state{outputLength}, 3, 'length of what is there');

# the position alone, and small whatever the events are

$redis->cmd('FCALL', 'rtbus_publish', 1, 'job:5', 'e', '"' . 'x' x 1000000 . '"')
	for 1 .. 2;
my ($last) = @{$redis->cmd('XREVRANGE', '{job:5}:events', '+', '-', 'COUNT', 1)};
my %entry = @{$last->[1]};

is_deeply(position('job:5'), [ $last->[0], $entry{timestamp} ], 'position');
is_deeply(position('none'), [ '0-0', '' ], 'position of none');
$redis->cmd('XDEL', '{job:5}:events', $last->[0]);
is_deeply(position('job:5'), [ $last->[0], '' ], 'last entry is gone');
$redis->cmd('DEL', '{job:5}:events');
is_deeply(position('job:5'), [ '0-0', '' ], 'no stream, position');

# errors

my @wrong = (
	[ 0, [], 'one key' ],
	[ 2, [ 'job:1', 'job:2' ], 'one key' ],
	[ 1, [ 'job:1', 'x' ], 'no arguments' ],
	(map { [ 1, [ $_ ], 'bad channel' ] } '', 'job 1', 'j*', 'x' x 201,
		'{}', 'job:1}', '{job:1}:events', "job:1\n"),
);

for (@wrong) {
	my ($keys, $args, $reason) = @$_;

	like($redis->try_cmd('FCALL_RO', 'rtbus_snapshot', $keys, @$args),
		qr/^ERR rtbus: \Q$reason\E/, "$reason: "
		. join(' ', map { substr $_, 0, 20 } grep { !/\n/ } @$args));
}

for (qw/ state output events /) {
	$redis->cmd($_ eq 'output' ? 'RPUSH' : 'SET', "{job:$_}:$_", 'x');
	like($redis->try_cmd('FCALL_RO', 'rtbus_snapshot', 1, "job:$_"),
		qr/^WRONGTYPE /, "$_ of another type");
}

# all of one moment: the text is as long as the position says

my $pid = fork();
die "fork: $!" unless defined $pid;

if ($pid == 0) {
	for my $n (1 .. 3000) {
		$redis->cmd('FCALL', 'rtbus_publish', 1, 'job:x', 'e', $n,
			'APPEND', 'x', 'SET', 'n', $n);
	}

	POSIX::_exit(0);
}

my ($n, $wrong, $looks) = (0, 0, 0);

ok((wait_for {
	my ($state, $output, $position) = @{snapshot('job:x')};
	my %state = @$state;

	($n) = $position =~ /-(\d+)\z/;
	$wrong++ if $n && ($n != length $output || $n != $state{n}
		|| $position ne "$state{epoch}-$state{seq}");
	$looks++;

	$n == 3000;
} 'producer'), 'producer is done');

waitpid $pid, 0;
is($wrong, 0, 'snapshots are whole');
note("$looks snapshots");

# a replica

ok((wait_for { $replica->cmd('DEBUG', 'DIGEST')
	eq $redis->cmd('DEBUG', 'DIGEST') } 'replica', 20), 'replica in sync');

is_deeply($replica->cmd('FCALL_RO', 'rtbus_snapshot', 1, 'job:x'),
	snapshot('job:x'), 'snapshot of a replica');
is_deeply($replica->cmd('FCALL_RO', 'rtbus_snapshot', 1, 'none'),
	[ [], '', '0-0' ], 'nothing on a replica');
is($replica->cmd('FCALL_RO', 'rtbus_version', 0), 5, 'version of a replica');

# by a user who may read only

$redis->cmd('ACL', 'SETUSER', 'reader', 'on', '>pw', '%R~*', '+fcall_ro',
	'+hgetall', '+get', '+exists', '+xinfo');

my $conn = Test::RTBus::Redis::Connection->new($redis->port());

for ([ 'AUTH', 'reader', 'pw' ], [ 'FCALL_RO', 'rtbus_snapshot', 1, 'job:x' ]) {
	$conn->write(Test::RTBus::Redis::_encode(@$_));
	$snapshot = $conn->reply();
}

is_deeply($snapshot, snapshot('job:x'), 'permission to read is enough');

# no memory

$redis->cmd('CONFIG', 'SET', 'maxmemory', 1);
is(length snapshot('job:x')->[1], 3000, 'no memory');

done_testing();

###############################################################################

# reading changes nothing

sub snapshot {
	return $redis->cmd('FCALL_RO', 'rtbus_snapshot', 1, @_);
}

sub position {
	return $redis->cmd('FCALL_RO', 'rtbus_position', 1, @_);
}

sub publish {
	return $redis->cmd('FCALL', 'rtbus_publish', 1, @_);
}

###############################################################################
