#!/usr/bin/perl

# Tests for rtbus_replay: the events of a job from the start, then live, then the
# end.  A client may take an end for success, so there is none unless the job
# has come to it.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Answer;
use Test::RTBus::Redis;

use HTTP::Tiny;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http rewrite /)
	->has_daemon('redis-server')->plan(80);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

$t->write_file_expand('nginx.conf', <<"EOF");

%%TEST_GLOBALS%%

daemon off;
worker_processes  1;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis    $url command_timeout=2s;
    rtbus_allow    job:*;
    rtbus_allow    own:* owner;
    rtbus_user     \$arg_user;
    rtbus_drain    100ms;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location /replay {
            rtbus_replay  job:\$arg_job;
        }

        location /own {
            rtbus_replay  own:\$arg_job;
        }

        location /other {
            rtbus_replay  other:\$arg_job none=404;
        }

        location /after {
            rtbus_replay  job:\$arg_job after=\$arg_after done=1h;
        }

        location /seq {
            rtbus_replay  job:\$arg_job after=\$arg_after count=seq id=off;
        }

        location /index {
            rtbus_replay  job:\$arg_job after=\$arg_i count=index none=404;
        }

        location /responses {
            rtbus_replay  job:\$arg_job after=\$arg_starting_after
                          count=responses;
        }

        location /short {
            rtbus_replay  job:\$arg_job done=0;
        }

        location /slow {
            rtbus_replay       job:\$arg_job;
            rtbus_send_buffer  64k;
        }

        location /ping {
            rtbus_replay  job:\$arg_job;
            rtbus_ping    50ms 10s;
        }

        location /state {
            rtbus_state  job:\$arg_job;
        }

        location /publish {
            rtbus_publish  job:\$arg_job;
        }
    }
}

EOF

$t->run();

wait_for { !ref $redis->try_cmd('FCALL_RO', 'rtbus_version', 0) } 'library';

my ($a, $b, $id, $epoch);

###############################################################################

# nothing there

is(ask('/replay?job=no')->status(), 204, 'none');
is(ask('/other?job=1')->status(), 404, 'not allowed');
is(ask('/index?job=no')->status(), 404, 'none with a status of its own');
is(ask('/index?job=no')->finish(),
	'{"error":"nothing to replay","channel":"job:no"}', 'none body');
is(ask('/replay?job=a%20b')->status(), 400, 'bad channel');
is(ask('/replay?job=no', method => 'POST')->status(), 405, 'method');
is(ask('/replay?job=no', method => 'HEAD')->status(), 204, 'none to HEAD');

# while it runs

publish('1', 'a', '{"n":1}');
$id = publish('1', 'message', '"x"');

($epoch) = $id =~ /^(\d+)-2\z/;

$a = ask('/replay?job=1');

is($a->status(), 200, 'status');
is($a->header('Content-Type'), 'text/event-stream', 'type');
is($a->header('Cache-Control'), 'no-store', 'cache');
is($a->header('X-Accel-Buffering'), 'no', 'buffering');

my $begin = "event: a\nid: job:1\@$epoch-1\ndata: {\"n\":1}\n\n"
	. "id: job:1\@$epoch-2\ndata: \"x\"\n\n";

ok($a->wait_body(qr/-2\n.*\n\n/), 'events so far');
is($a->got(), $begin, 'events so far, bytes');

$b = ask('/seq?job=1&after=1');
ok($b->wait_body(qr/\n\n/), 'after a number');
is($b->got(), "data: \"x\"\n\n", 'without ids');

is(ask('/replay?job=1', method => 'HEAD')->status(), 200, 'HEAD');

# live, and what is live only is no part of it

$redis->publish('job:1', '{"event":"live","data":0}');
publish('1', 'b', '[2]', 'END', 'completed');

is($a->finish(), $begin . "event: b\nid: job:1\@$epoch-3\ndata: [2]\n\n",
	'live, then the end');
ok($a->whole(), 'ended');
is($b->finish(), "data: \"x\"\n\nevent: b\ndata: [2]\n\n", 'the other');
ok($b->whole(), 'ended, too');

# over

$b = ask('/replay?job=1');
is($b->finish(), $a->got(), 'again');
ok($b->whole(), 'again, ended');
is(ask('/short?job=1')->status(), 204, 'over for too long');

my $state = json_decode(ask('/state?job=1')->finish());

is($state->{status}, 'completed', 'status in the state');
is($redis->cmd('HGET', '{job:1}:state', 'end'), "$epoch-3", 'end in the hash');

my %entry = @{$redis->cmd('XREVRANGE', '{job:1}:events', '+', '-', 'COUNT', 1)
	->[0][1]};
is($entry{end}, 'completed', 'mark in the entry');

# where to begin

for my $case (
	[ '/after?job=1&after=', 3 ],
	[ '/after?job=1&after=-1', 3 ],
	[ "/after?job=1&after=$epoch-1", 2 ],
	[ "/after?job=1&after=job:1\@$epoch-2", 1 ],
	[ "/after?job=1&after=job%3a1%40$epoch-2", 1 ],
	[ "/after?job=1&after=x:2\@1-1,job:1\@$epoch-2", 1 ],
	[ '/seq?job=1&after=0', 3 ],
	[ '/seq?job=1&after=2', 1 ],
	[ '/index?job=1&i=0', 3 ],
	[ '/index?job=1&i=2', 1 ],
)
{
	my ($path, $n) = @$case;

	my @events = ask($path)->finish() =~ /\n\n/g;
	is(@events, $n, $path);
}

# one after the other, on one connection

my $http = HTTP::Tiny->new(keep_alive => 1);
my @same;

for (1 .. 3) {
	my $got = $http->get('http://127.0.0.1:' . port(8080) . '/seq?job=1');

	push @same, [ $got->{content}, $http->{handle}
		&& $http->{handle}{fh}->sockport() ];
}

ok($same[0][1], 'a connection is open behind a replay');
is_deeply([ @same[1, 2] ], [ @same[0, 0] ], 'a connection is kept');

for my $case (
	[ "/after?job=1&after=$epoch-3", 204 ],
	[ '/seq?job=1&after=3', 204 ],
	[ '/index?job=1&i=3', 404 ],
	[ '/after?job=1&after=1-1', 204 ],
	[ '/index?job=1&i=9', 404 ],
	[ '/after?job=1&after=x', 400 ],
	[ "/seq?job=1&after=$epoch-1", 400 ],
	[ '/seq?job=1&after=-2', 400 ],
	[ '/seq?job=1&after=1.5', 400 ],
	[ '/seq?job=1&after=99999999999999999999999', 400 ],
)
{
	my ($path, $status) = @$case;

	is(ask($path)->status(), $status, $path);
}

# the header counts before the argument

is(last_id("job:1\@$epoch-2", '/after?job=1&after=-1')->finish(),
	"event: b\nid: job:1\@$epoch-3\ndata: [2]\n\n", 'Last-Event-ID');
is(last_id("job:1\@$epoch-3")->status(), 204, 'Last-Event-ID, has all');
is(last_id('job:1@1-1')->status(), 204, 'Last-Event-ID of another epoch');
is(last_id("job:2\@$epoch-1")->status(), 204, 'of another channel');
is(last_id('msg_1')->status(), 204, 'of another server');

# sequence_number

publish('r', 'response.created', '{"sequence_number":0}');
publish('r', 'response.delta', '{"sequence_number":5}');
publish('r', 'response.delta', '{"sequence_number":6}');
publish('r', 'response.completed', '{"sequence_number":7}', 'END', 'completed');

is(ask('/responses?job=r&starting_after=5')->finish() =~ s/^id: .*\n//mgr,
	"event: response.delta\ndata: {\"sequence_number\":6}\n\n"
	. "event: response.completed\ndata: {\"sequence_number\":7}\n\n",
	'after a sequence_number');
is(ask('/responses?job=r&starting_after=7')->status(), 204, 'after the last');
is(() = ask('/responses?job=r')->finish() =~ /\n\n/g, 4, 'from the start');

# how it ends

publish('f', 'e', '1', 'END', 'failed');
$a = ask('/replay?job=f');
like($a->finish(), qr/data: 1\n\n\z/, 'failed');
ok($a->whole(), 'failed by its own word');

for my $status (qw/ cancelled interrupted /) {
	publish($status, 'e', '1', 'END', $status);

	$a = ask("/replay?job=$status");
	like($a->finish(), qr/data: 1\n\n\z/, $status);
	ok(!$a->whole(), "$status is broken off");
}

is(refused('END', 'done'), 'ERR rtbus: END is none of completed, cancelled, '
	. 'interrupted and failed', 'other end');
is(refused('END'), 'ERR rtbus: END has no value', 'no end');

# the first end counts

publish('2', 'e', '1', 'END', 'completed');
publish('2', 'e', '2');
publish('2', 'e', '3', 'END', 'failed');

like(ask('/replay?job=2')->finish(), qr/^event: e\nid: .*\ndata: 1\n\n\z/,
	'first end');
is($redis->cmd('HGET', '{job:2}:state', 'status'), 'completed', 'its status');

# by HTTP

$a = ask('/publish?job=h', method => 'POST', type => 'application/json',
	body => '{"event":"e","data":1,"end":"completed"}');
is($a->status(), 201, 'posted');

$a = ask('/replay?job=h');
$a->finish();
ok($a->whole(), 'posted end');

$a = ask('/publish?job=h2', method => 'POST', type => 'application/json',
	body => '{"event":"e","data":1,"end":"x"}');
is($a->status(), 400, 'posted other end');

# the owner's

$redis->cmd('FCALL', 'rtbus_publish', 1, 'own:1', 'e', '1', 'END', 'completed',
	'SET', 'userId', 'alice');

is(ask('/own?job=1&user=alice')->status(), 200, 'the owner\'s');
is(ask('/own?job=1&user=bob')->status(), 204, 'another\'s');
is(ask('/own?job=1')->status(), 204, 'nobody\'s');

# trimmed: never the rest as if it were all

publish('t', 'e', $_) for 1 .. 300;
$redis->cmd('XTRIM', '{job:t}:events', 'MAXLEN', '=', 2);

$a = ask('/replay?job=t');
$a->finish();
ok(!$a->whole(), 'without its begin');

# one that reads slowly has all of it

publish('s', 'e', '0');
$a = ask('/slow?job=s', rcvbuf => 4096);

my $long = '"' . 'x' x 20000 . '"';

publish('s', 'e', $long) for 1 .. 200;
publish('s', 'e', '"end"', 'END', 'completed');

is(length($a->finish(30) =~ s/^(?!data).*\n//mgr),
	200 * length("data: $long\n") + length("data: 0\ndata: \"end\"\n"),
	'slow client');
ok($a->whole(), 'slow client, end');

# heartbeats between events

publish('p', 'e', '1');
$a = ask('/ping?job=p');
ok($a->wait_body(qr/\n\n:\n:\n/), 'heartbeats');
publish('p', 'e', '2', 'END', 'completed');
like($a->finish(), qr/\A(?:event: e\nid: .*\ndata: \d\n\n(?::\n)*){2}\z/,
	'not within events');

# Redis away; a reload

publish('l', 'e', '1');
$a = ask('/replay?job=l');
ok($a->wait_body(qr/data: 1\n\n/), 'before the reload');

reload_wait($t);
$a->finish();
ok($a->over() && !$a->whole(), 'broken off by a reload');

$redis->stop();
ok((wait_for { ask('/replay?job=l')->status() == 503 } '503'), 'Redis away');

###############################################################################

sub ask {
	my ($path, %o) = @_;

	return Test::RTBus::Answer->ask(path => $path, %o);
}

sub last_id {
	my ($value, $path) = @_;

	return ask($path || '/replay?job=1',
		headers => { 'Last-Event-ID' => $value });
}

sub publish {
	my ($job, @args) = @_;

	return $redis->cmd('FCALL', 'rtbus_publish', 1, "job:$job", @args);
}

sub refused {
	my (@args) = @_;

	return '' . $redis->try_cmd('FCALL', 'rtbus_publish', 1, 'job:x', 'e',
		'1', @args);
}

###############################################################################
