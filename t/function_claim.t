#!/usr/bin/perl

# Tests for rtbus_claim of conf/rtbus.lua: of those who want a job that is nobody's
# one gets it, and what was claimed and never worked on does not stay for ever.

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

$redis->load_functions($library);

###############################################################################

is(claim('job:1', 'alice'), 'alice', 'nobody\'s');
is(user('job:1'), 'alice', 'in the state');

my $ttl = $redis->cmd('TTL', '{job:1}:state');
ok($ttl > 86300 && $ttl <= 86400, 'the state does not stay for ever');

is(claim('job:1', 'bob'), 'alice', 'another\'s');
is(claim('job:1', 'alice'), 'alice', 'again');
is(user('job:1'), 'alice', 'as it was');

is($redis->cmd('HLEN', '{job:1}:state'), 1, 'nothing else in it');

# of a job that is there

$redis->cmd('HSET', '{job:2}:state', 'status', 'queued');
is(claim('job:2', 'bob'), 'bob', 'state without a user');
is($redis->cmd('TTL', '{job:2}:state'), -1, 'its life is its maker\'s');

$redis->cmd('HSET', '{job:3}:state', 'userId', '');
is(claim('job:3', 'bob'), '', 'an empty name is one');

publish('job:1', 'e', '1', 'TTL', 1000);
is(user('job:1'), 'alice', 'kept by an event');
ok($redis->cmd('TTL', '{job:1}:state') <= 1000, 'renewed by it');

is(claim('p:{job:1}', "b\0\xff"), "b\0\xff", 'with a prefix, any bytes');
is($redis->cmd('HGET', 'p:{job:1}:state', 'userId'), "b\0\xff", 'kept so');

# what is left of a channel that has lost its state is nobody's to take

publish('job:6', 'e', '1');
$redis->cmd('DEL', '{job:6}:state');
is(claim('job:6', 'bob'), '', 'events, and no state');
is(user('job:6'), undef, 'events, nobody\'s');

publish('job:6', 'e', '2', 'APPEND', 'text');
is(claim('job:6', 'bob'), '', 'events, and a state that was made since');

publish('job:8', 'e', '1');
is(claim('job:8', 'bob'), 'bob', 'events, and a state without a user');

$redis->cmd('SET', '{job:7}:output', 'text');
is(claim('job:7', 'bob'), '', 'an output, and no state');
is($redis->cmd('EXISTS', '{job:7}:state'), 0, 'an output, no state made');

# refused

$redis->cmd('SET', '{job:4}:state', '{}');
like(claim('job:4', 'bob'), qr/^WRONGTYPE/, 'not a hash');
is($redis->cmd('GET', '{job:4}:state'), '{}', 'not touched');

my $n = $redis->cmd('DBSIZE');

is(claim('job:5', ''), 'ERR rtbus: bad user', 'empty user');
is(claim('job 5', 'bob'), 'ERR rtbus: bad channel', 'channel');
is(answer('1', 'job:5'), 'ERR rtbus: a user is expected', 'no user');
is(answer('1', 'job:5', 'a', 'b'), 'ERR rtbus: a user is expected', 'two users');
is(answer('0', 'a'), 'ERR rtbus: one key is expected, the channel', 'no key');
is(answer('2', 'job:5', 'job:6', 'a'),
	'ERR rtbus: one key is expected, the channel', 'two keys');

$redis->cmd('ACL', 'SETUSER', 'web', 'on', '>pw', '~*', '+@all', '-pexpire');

my $conn = Test::RTBus::Redis::Connection->new($redis->port());

ask($conn, 'AUTH', 'web', 'pw');

like(ask($conn, 'FCALL', 'rtbus_claim', 1, 'job:5', 'bob'),
	qr/^NOPERM rtbus: .*PEXPIRE/, 'no permission for PEXPIRE');

is($redis->cmd('DBSIZE'), $n, 'nothing written');

done_testing();

###############################################################################

sub claim { answer(1, @_) }

sub user { $redis->cmd('HGET', "{$_[0]}:state", 'userId') }

sub publish { $redis->cmd('FCALL', 'rtbus_publish', 1, @_) }

# the answer, or the text of an error

sub answer {
	my $reply = $redis->try_cmd('FCALL', 'rtbus_claim', @_);

	return ref $reply ? $reply->error() : $reply;
}

sub ask {
	my ($conn, @args) = @_;

	$conn->write(Test::RTBus::Redis::_encode(@args));

	my $reply = $conn->reply();

	return ref $reply ? $reply->error() : $reply;
}

###############################################################################
