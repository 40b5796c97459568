#!/usr/bin/perl

# Tests for rtbus_command: what clients send to producers, over WebSocket.
#
# A command that was acknowledged is in Redis, once, under the name of who sent
# it; one that is not there was refused with a reason.  Nothing in between.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Redis;
use Test::RTBus::WebSocket;

use Time::HiRes qw/ time /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server')
	->plan(98);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir(), aof => 1);
my $redis_url = $redis->url();

$t->write_file_expand('nginx.conf', <<"EOC");

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis         $redis_url;
    rtbus_prefix        p:;
    rtbus_user          \$arg_user;
    rtbus_allow         job:*;
    rtbus_message_rate  1000r/s;

    rtbus_command  task:cancel:v1  stream=first;
    rtbus_command  task:*          stream=second;
    rtbus_command  mine            job=jobId owner;
    rtbus_command  claim           job=jobId claim;
    rtbus_command  job             job=jobId;
    rtbus_command  subscribe;
    rtbus_command  wrong           stream=wrong;
    rtbus_command  "plain";

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location /ws {
            rtbus websocket;
        }

        location /all {
            rtbus          websocket;
            rtbus_command  *  stream=all;
        }

        location /slow {
            rtbus               websocket;
            rtbus_message_rate  1r/s;
        }
    }
}

EOC

$t->run();
wait_redis($t);

wait_for { !ref $redis->try_cmd('FCALL_RO', 'rtbus_version', 0) } 'library';

###############################################################################

my $n = 0;
my $main = 'p:rtbus:commands';

my $ws = client('ann');
my $sid = $ws->recv_json()->{data}{sessionId};

# what a producer gets

my $before = int(1000 * time());
my $r = ask($ws, 'plain', { a => [ 1, "\x{263a}" ], b => undef });
my $after = int(1000 * time()) + 1;

is($r->{ok}, JSON::PP::true, 'acknowledged');
like($r->{id}, qr/^\d{13,}-\d+\z/, 'with its id');
is(join(' ', sort keys %$r), 'id ok', 'and nothing else');

my $entry = $redis->cmd('XRANGE', $main, '-', '+')->[0];

is($entry->[0], $r->{id}, 'id is that of the stream');

my %f = @{$entry->[1]};
my @names = map { $entry->[1][2 * $_] } 0 .. $#{$entry->[1]} / 2;

is("@names", 'event data user sid nsp ts reply', 'fields');
is($f{event}, 'plain', 'event');
is($f{data}, "{\"a\":[1,\"\xe2\x98\xba\"],\"b\":null}", 'data');
is($f{args}, undef, 'data once');
is($f{user}, 'ann', 'user');
is($f{sid}, $sid, 'sid is that of connected');
is($f{nsp}, '/', 'nsp');
cmp_ok($f{ts}, '>=', $before - 5, 'ts is now');
cmp_ok($f{ts}, '<=', $after + 5, 'in ms');
like($f{reply}, qr/^p:rtbus:worker:[\w-]{12}\z/, 'reply');

is($redis->take($main)->{id}, $r->{id}, 'by a group');

ask($ws, 'plain');
my $c = $redis->take($main);

is($c->{data}, 'null', 'no data');
is($c->{args}, '[]', 'no arguments');

$ws->send_text('{"event":"plain","data": [ "x" , {} ] ,"ack":'
	. ++$n . '}');
ok($ws->wait_ack($n)->{data}{ok}, 'any data');

$c = $redis->take($main);

is($c->{data}, '[ "x" , {} ]', 'data byte for byte');
is($c->{args}, undef, 'and once');

ask(client(''), 'plain');
is($redis->take($main)->{user}, '', 'nobody');

# without an ack

$ws->send_json({ event => 'plain', data => 'quiet' });
is($redis->take($main)->{data}, '"quiet"', 'no ack wanted');

refused($ws, 'none', undef, 'unknown event');
is_deeply([ grep { exists $_->{ack} } $ws->pending_json() ], [],
	'and none sent');

# rules

ask($ws, 'task:cancel:v1', 1);
is($redis->take('p:first')->{data}, '1', 'first match');
ask($ws, 'task:cancel:v2', 2);
is($redis->take('p:second')->{data}, '2', 'pattern');
ask($ws, 'task:', 3);
is($redis->take('p:second')->{data}, '3', 'nothing for the star');

refused($ws, $_, 1, 'unknown event')
	for 'task', 'plai', 'plains', 'Plain', '@connect', '@disconnect', '@',
	'*', '"';

ok(ask($ws, 'subscribe', { channel => 'job:1' })->{channel},
	'built-in events are not commands');

my $all = client('ann', '/all');

ask($all, 'whatever', 4);
is($redis->take('p:all')->{event}, 'whatever', 'every event');
ask($all, 'plain', 5);
is($redis->take('p:all')->{event}, 'plain', 'rules of an inner level');
refused($all, '@connect', 1, 'unknown event');
refused($all, '@x', 1, 'unknown event');

my $slow = client('ann', '/slow');

ask($slow, 'plain', 'fast');
refused($slow, 'plain', 'fast', 'rate limited', retryAfter => 1000);
is($redis->take($main)->{data}, '"fast"', 'the first one');

# jobs

refused($ws, 'job', $_, 'bad jobId')
	for undef, '', 'a/b', {}, { jobId => '' }, { jobId => [ 1 ] },
	{ jobId => 1.5 }, { jobId => -1 }, { jobId => 'a' x 197 }, [ 'a' ], \1,
	{ jobid => 'a' };

for my $id ('a', 7, { jobId => 'a.b-c' }, { jobId => 8 }) {
	ok(ask($ws, 'job', $id)->{ok}, 'jobId');
}

$redis->take($main, 4);

$redis->cmd('HSET', 'p:{job:anns}:state', 'userId', 'ann');
$redis->cmd('HSET', 'p:{job:bobs}:state', 'userId', 'bob');
$redis->cmd('HSET', 'p:{job:none}:state', 'status', 'new');

ok(ask($ws, 'mine', { jobId => 'anns' })->{ok}, 'owner');
ok(ask($ws, 'mine', 'anns')->{ok}, 'owner, a string');
refused($ws, 'mine', $_, 'forbidden') for 'bobs', 'none', 'missing';
refused(client(''), 'mine', 'anns', 'forbidden');
refused(client(''), 'claim', 'new', 'forbidden');

is_deeply([ map { $_->{data} } $redis->take($main, 2) ],
	[ '{"jobId":"anns"}', '"anns"' ], 'commands of the owner');

ok(ask($ws, 'claim', { jobId => 'new' })->{ok}, 'claim');
is($redis->cmd('HGET', 'p:{job:new}:state', 'userId'), 'ann', 'claimed');
ok(ask($ws, 'claim', { jobId => 'new' })->{ok}, 'claimed before');
ok(ask($ws, 'mine', { jobId => 'new' })->{ok}, 'owned from now on');
refused(client('bob'), 'claim', { jobId => 'new' }, 'forbidden');
refused(client('bob'), 'mine', { jobId => 'new' }, 'forbidden');
$redis->take($main, 3);

# once

my $id = { ackId => 'x-1', n => 1 };

$r = ask($ws, 'plain', $id);
is_deeply(ask($ws, 'plain', $id), $r, 'the same answer again');
is_deeply(ask(client('ann'), 'plain', { ackId => 'x-1' }), $r,
	'on another connection');
isnt(ask(client('bob'), 'plain', $id)->{id}, $r->{id}, 'of another user');
isnt(ask($ws, 'job', { %$id, jobId => 'a' })->{id}, $r->{id},
	'of another event');
ok(ask($ws, 'plain', { ackId => undef })->{ok}, 'null is no ackId');
ok(ask($ws, 'plain', { ackId => 'x' x 150 })->{ok}, 'long ackId');

is($redis->cmd('XLEN', $main), 20, 'each command once');

refused($ws, 'plain', { ackId => $_ }, 'bad ackId')
	for 1, '', [ 'x' ], 'x' x 190, 'x' x 250, "\x{263a}" x 70;

# two users with names that would be one, without the lengths

isnt(ask(client('a:4:plain'), 'plain', { ackId => 'b' })->{id},
	ask(client('a'), 'plain', { ackId => '4:plain:b' })->{id},
	'names with colons');

# without Redis

$redis->cmd('SET', 'p:wrong', 'no stream');
refused($ws, 'wrong', 1, 'unavailable');
error_log_like($t, qr/rtbus: no command for stream "wrong": .*WRONGTYPE/,
	'logged');

$redis->cmd('FUNCTION', 'FLUSH');
refused($ws, 'plain', 1, 'unavailable');
ok((wait_for { ask($ws, 'plain', 1)->{ok} } 'function'), 'loaded again');

my $len = $redis->cmd('XLEN', $main);

$redis->stop();
refused($ws, 'plain', { ackId => 'y' }, 'unavailable');
refused($ws, 'mine', 'anns', 'unavailable');
refused($ws, 'claim', 'anns', 'unavailable');

$redis->start();
ok((wait_for { ask($ws, 'plain', { ackId => 'y' })->{ok} } 'Redis'),
	'again with Redis');
ok(ask($ws, 'plain', { ackId => 'y' })->{ok}, 'and again');
is($redis->cmd('XLEN', $main), $len + 1, 'once');

###############################################################################

sub client {
	my ($user, $path) = @_;

	return Test::RTBus::WebSocket->connect(
		path => ($path || '/ws') . "?user=$user");
}

sub ask {
	my ($ws, $event, $data) = @_;

	$ws->send_json({ event => $event, @_ > 2 ? (data => $data) : (),
		ack => ++$n });

	return ($ws->wait_ack($n) || {})->{data} || {};
}

sub refused {
	my ($ws, $event, $data, $error, %more) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;

	my $answer = ask($ws, $event, $data);

	# it is a little less later on

	ok(delete $answer->{retryAfter} <= delete $more{retryAfter},
		"$event: again") if $more{retryAfter};

	is_deeply($answer, { ok => JSON::PP::false, error => $error },
		"$event " . json_encode($data) . ": $error");
}

###############################################################################
