#!/usr/bin/perl

# Tests for rtbus_command of conf/rtbus.lua: a command gets into its stream once,
# however often a client that got no answer repeats it.

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

my $cluster = Test::RTBus::Redis->new(dir => $dir,
	args => [ '--cluster-enabled', 'yes' ]);

$cluster->cmd('CLUSTER', 'ADDSLOTSRANGE', 0, 16383);
$cluster->load_functions($library);

my $redis = Test::RTBus::Redis->new(dir => $dir, aof => 1);

$redis->load_functions($library);

###############################################################################

my $s = 'rtbus:commands';

my $reply = command($s, '', 'event', 'job:start', 'data', "{\"a\":\0\xff}");

like($reply->[0], qr/^\d{13,}-\d+\z/, 'stream id');
is($reply->[1], 1, 'new');
is_deeply($redis->cmd('XRANGE', $s, '-', '+'), [ [ $reply->[0],
	[ 'event', 'job:start', 'data', "{\"a\":\0\xff}" ] ] ], 'entry');
is($redis->cmd('DBSIZE'), 1, 'no dedupe key without an id');
is($redis->cmd('TTL', $s), -1, 'the stream stays');

is(command($s, '', 'event', 'job:start')->[1], 1, 'same again without an id');

# with an id

my $first = command($s, 'id-1', 'event', 'a', '', '');

is($first->[1], 1, 'id is new');

my $key = "{$s}:dedupe:id-1";

is($redis->cmd('GET', $key), $first->[0], 'remembered');
cmp_ok($redis->cmd('PTTL', $key), '<=', 600000, 'for 600 s');
cmp_ok($redis->cmd('PTTL', $key), '>', 595000, 'and not less');

$redis->cmd('PEXPIRE', $key, 300000);

is_deeply(command($s, 'id-1', 'event', 'b'), [ $first->[0], 0 ], 'seen');
is_deeply(command($s, 'id-1', 'event', 'a', '', ''), [ $first->[0], 0 ],
	'seen again');
is($redis->cmd('XLEN', $s), 3, 'added once');
cmp_ok($redis->cmd('PTTL', $key), '<=', 300000, 'counted from the first');

is(command($s, 'id-2', 'event', 'a')->[1], 1, 'another id');
is(command('other', 'id-1', 'event', 'a')->[1], 1, 'another stream');

$redis->cmd('PEXPIRE', $key, 1);
ok((wait_for { !$redis->cmd('EXISTS', $key) } 'id to expire'), 'id expires');
is(command($s, 'id-1', 'event', 'a')->[1], 1, 'forgotten');

# ids and streams of any bytes

for my $id ('0', ' ', "\0\xff\n", '{x}', '}', 'x' x 200, '"') {
	my $a = command($s, $id, 'a', 'b');
	my $b = command($s, $id, 'a', 'b');

	is_deeply([ $a->[1], @$b ], [ 1, $a->[0], 0 ], 'id ' . show($id));
}

for my $stream ('p:rtbus:commands', "\xff \n", 'a{b', 'p{job}:c', '{x}') {
	command($stream, 'i', 'a', 'b');
	is(command($stream, 'i', 'a', 'b')->[1], 0, 'stream ' . show($stream));
}

ok($redis->cmd('EXISTS', 'p{job}:c:dedupe:i'), 'key in the hash tag');
ok($redis->cmd('EXISTS', '{p:rtbus:commands}:dedupe:i'), 'key with a tag');

is(command('a}b', '', 'a', 'b')->[1], 1, 'brace without a pair, no id');

# errors

my @wrong = (
	[ 0, [], 'one key' ],
	[ 2, [ 'a', 'b', '', 'a', 'b' ], 'one key' ],
	[ 1, [ '', '', 'a', 'b' ], 'bad stream' ],
	(map { [ 1, [ $_, 'id', 'a', 'b' ], 'bad stream' ] }
		'a}b', 'a{}b', '}{', '{}{a}'),
	[ 1, [ $s ], 'a dedupe id and fields' ],
	[ 1, [ $s, '' ], 'no fields' ],
	[ 1, [ $s, 'id' ], 'no fields' ],
	[ 1, [ $s, '', 'a' ], 'a field has no value' ],
	[ 1, [ $s, 'id', 'a', 'b', 'c' ], 'a field has no value' ],
	[ 1, [ $s, 'x' x 201, 'a', 'b' ], 'dedupe id is too long' ],
	[ 1, [ $s, '', map { ($_, $_) } 1 .. 1001 ], 'too many fields' ],
	[ 1, [ $s, '', 'MAXLEN', 5 ], 'no fields' ],
	[ 1, [ $s, '', 'MAXLEN', 5, 'a' ], 'a field has no value' ],
	[ 1, [ $s, '', 'MAXLEN', 5, map { ($_, $_) } 1 .. 1001 ],
		'too many fields' ],
	(map { [ 1, [ $s, '', 'MAXLEN', $_, 'a', 'b' ], 'MAXLEN is not' ] }
		'', 0, -1, 'x', '05', '1e3', 1000000001),
);

for (@wrong) {
	my ($keys, $args, $reason) = @$_;

	refused(qr/^ERR rtbus: \Q$reason\E/, "$reason: "
		. show(join ' ', @$args), $keys, @$args);
}

is(command('wide', '', map { ($_, $_) } 1 .. 1000)->[1], 1, '1000 fields');

$redis->cmd('SET', 'string', 'x');
$redis->cmd('RPUSH', "{$s}:dedupe:list", 'x');

refused(qr/^WRONGTYPE /, 'not a stream', 1, 'string', '', 'a', 'b');
refused(qr/^WRONGTYPE /, 'not a stream, with an id', 1, 'string', 'id', 'a',
	'b');
refused(qr/^WRONGTYPE /, 'key of another type', 1, $s, 'list', 'a', 'b');

$redis->cmd('CONFIG', 'SET', 'maxmemory', 1);
refused(qr/^OOM /, 'no memory', 1, $s, 'oom', 'a', 'b');
$redis->cmd('CONFIG', 'SET', 'maxmemory', 0);

$redis->cmd('ACL', 'SETUSER', 'worker', 'on', '>pw', '~*', '+@all', '-set');

my $conn = Test::RTBus::Redis::Connection->new($redis->port());

ask($conn, 'AUTH', 'worker', 'pw');

my $before = $redis->cmd('DEBUG', 'DIGEST');

like(ask($conn, 'FCALL', 'rtbus_command', 1, $s, 'acl', 'a', 'b'),
	qr/^NOPERM rtbus: /, 'no permission for SET');
is($redis->cmd('DEBUG', 'DIGEST'), $before,
	'no permission for SET, nothing written');

# the same commands from several at once, each added once

my @pids;

for (1 .. 3) {
	my $pid = fork();
	die "fork: $!" unless defined $pid;

	if ($pid == 0) {
		my @r = $redis->pipeline(map { [ 'FCALL', 'rtbus_command', 1,
			'many', "id$_", 'n', $_ ] } 1 .. 300);

		POSIX::_exit((grep { ref $_ ne 'ARRAY' } @r) ? 1 : 0);
	}

	push @pids, $pid;
}

my $status = 0;

for (@pids) {
	waitpid $_, 0;
	$status ||= $?;
}

is($status, 0, 'all have been answered');

my $entries = $redis->cmd('XRANGE', 'many', '-', '+');

is_deeply([ sort { $a <=> $b } map { $_->[1][1] } @$entries ], [ 1 .. 300 ],
	'each of many is added once');

# bounded

$redis->cmd('CONFIG', 'SET', 'appendfsync', 'no');
$redis->pipeline(map { [ 'FCALL', 'rtbus_command', 1, 'long', '', 'n', $_ ] }
	1 .. 5000) for 1 .. 21;

cmp_ok($redis->cmd('XLEN', 'long'), '>=', 100000, 'stream is long');
cmp_ok($redis->cmd('XLEN', 'long'), '<=', 100100, 'and bounded');
$redis->cmd('DEL', 'long');

# a crash does not make a command new

$first = command($s, 'crash', 'a', 'b');
$redis->cmd('CONFIG', 'SET', 'appendfsync', 'always');
$redis->cmd('SET', 'x', 'x');
$redis->kill()->start();
is_deeply(command($s, 'crash', 'a', 'b'), [ $first->[0], 0 ],
	'seen before the crash');

# a cluster

ok((wait_for { $cluster->cmd('CLUSTER', 'INFO') =~ /cluster_state:ok/ }
	'cluster', 20), 'cluster is up');

for my $stream ($s, 'p{job}:c', 'p:rtbus:commands', 'a{b', '{x}y}{', '{{x}') {
	my @r = map { $cluster->try_cmd('FCALL', 'rtbus_command', 1, $stream,
		$_, 'a', 'b') } 'id}{', 'id}{';

	is_deeply([ map { ref eq 'ARRAY' ? $_->[1] : "$_" } @r ], [ 1, 0 ],
		"cluster, stream $stream");
}

done_testing();

###############################################################################

sub command {
	return $redis->cmd('FCALL', 'rtbus_command', 1, @_);
}

sub ask {
	my ($conn, @args) = @_;

	$conn->write(Test::RTBus::Redis::_encode(@args));
	return $conn->reply();
}

sub refused {
	my ($error, $name, @args) = @_;

	my $before = $redis->cmd('DEBUG', 'DIGEST');

	like($redis->try_cmd('FCALL', 'rtbus_command', @args), $error, $name);
	is($redis->cmd('DEBUG', 'DIGEST'), $before, "$name, nothing written");
}

sub show {
	my ($bytes) = @_;

	$bytes = substr($bytes, 0, 20) . '...' if length $bytes > 23;
	$bytes =~ s/([^ -~]|#)/sprintf '\\x%02x', ord $1/ge;

	return $bytes;
}

###############################################################################
