#!/usr/bin/perl

# Tests for the producer of demo/, which others take as their example: commands
# of the stream are done once, answered and acknowledged, also when producers
# and Redis come and go.  The commands are added as nginx adds them.

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

my $top = abs_path(dirname(__FILE__) . '/..');
my $program = $ENV{RTBUS_PRODUCER} || "$top/build/producer";

my @missing = (
	((grep { -x "$_/redis-server" } split /:/, $ENV{PATH})
		? () : 'redis-server'),
	(-x $program ? () : 'the producer'),
);

if (@missing) {
	my $why = 'missing: ' . join ', ', @missing;

	die "$why\n" if $ENV{CI} || $ENV{RTBUS_REQUIRE_ALL};
	plan(skip_all => $why);
}

my $dir = tempdir('rtbus-XXXXXXXX', TMPDIR => 1, CLEANUP => 1);
my $redis = Test::RTBus::Redis->new(dir => $dir, aof => 1);
my $stream = 'rtbus:commands';

my (%pid, $answers, $count);

Test::RTBus::at_end(sub { stop($_, 'KILL') for keys %pid });

###############################################################################

# a command that was sent before there was a producer, and before the functions

my $first = command('job:start:v1', { jobId => 'first', prompt => 'why?' },
	user => 'alice', ack => 7);

listen_for('mailbox');
start('one', 200);

ok((wait_for { log_of('one') =~ /no function library/ } 'the log'),
	'waits for the functions');

$redis->load_functions("$top/conf/rtbus.lua");

my $s = finished('first');

is($s->{status}, 'completed', 'a command from before');
is_deeply([ @$s{qw/ jobId userId prompt progress /} ],
	[ 'first', 'alice', 'why?', 100 ], 'its state');
like(answer(), qr/^\{"ack":7,"data":\[\{"ok":true,"jobId":"first",
	"total":\d+\}\]\}$/x, 'the answer');

my @events = events('first');
my @chunks = map { $_->[1] } grep { $_->[0] eq 'model:chunk:v1' } @events;

is($events[0][0], 'model:start:v1', 'starts');
is($events[-1][0], 'model:complete:v1', 'completes');
is(join('', map { $_->{chunk} } @chunks), $events[-1][1]{text}, 'its text');
is_deeply([ map { $_->{index} } @chunks ], [ 1 .. $events[0][1]{total} ],
	'its tokens');
is((grep { $_->{userId} eq 'alice' } @chunks), @chunks, 'whose they are');

ok(acknowledged(), 'acknowledged');

# the user is who nginx says, not who the data says; none at all is no harm

command('job:start:v1', { jobId => 'whose', userId => 'mallory' },
	user => 'bob');
command('job:start:v1', { jobId => 'nobody' });

is(finished('whose')->{userId}, 'bob', 'user');
is(finished('nobody')->{userId}, '', 'no user');

# the same command once more is another one, and is refused

command('job:start:v1', { jobId => 'first' }, ack => 8);

is(answer(), '{"ack":8,"data":[{"ok":false,"error":"there is such a job"}]}',
	'a job that was done');
is(scalar(events('first')), scalar(@events), 'is not done again');

# what cannot be understood is answered, too, and stops nothing

for (
	[ 'job:start:v1', '{"prompt":"x"}', 'no jobId' ],
	[ 'job:start:v1', '{"jobId":"a b"}', 'no jobId' ],
	[ 'job:start:v1', '{"jobId":42}', 'no jobId' ],
	[ 'job:start:v1', '"x"', 'no jobId' ],
	[ 'job:start:v1', '{"jobId":', 'no jobId' ],
	[ 'job:start:v1', "{}\0", 'the data is too long or has zero bytes' ],
	[ 'job:start:v1', '"' . 'x' x 70000 . '"',
		'the data is too long or has zero bytes' ],
	[ 'job:stop', '{"jobId":"x"}', 'unknown command' ],
	[ '', '{"jobId":"x"}', 'unknown command' ],
) {
	my ($event, $data, $error) = @$_;

	command($event, $data, ack => 9);

	is(answer(), "{\"ack\":9,\"data\":[{\"ok\":false,\"error\":\"$error\"}]}",
		"$event " . substr($data, 0, 20) =~ s/\0/\\0/r);
}

$redis->cmd('XADD', $stream, '*', 'x', 'y');
command('job:start:v1', {}, ack => 'x');
command('job:start:v1', {}, ack => '');

ok(acknowledged(), 'all acknowledged');

# a cancel: the status is set, and nothing comes after it

stop('one');
start('slow', 20);

is(started('slow-1'), 'running', 'a slow job');

command('task:cancel:v1', { jobId => 'slow-1' }, ack => 10);

is(answer(), '{"ack":10,"data":[{"ok":true}]}', 'cancel: answer');

$s = finished('slow-1');

is($s->{status}, 'cancelled', 'cancel: status');

@events = events('slow-1');

is($events[-1][0], 'job:cancelled:v1', 'cancel: the last event');
is($events[-1][1]{tokens}, grep({ $_->[0] eq 'model:chunk:v1' } @events),
	'cancel: tokens until then');
cmp_ok($events[-1][1]{tokens}, '<', 20, 'cancel: at once');

# what was checked is what counts, whatever the data may be taken for

is(started('slow-2'), 'running', 'another job');

command('task:cancel:v1', '{"jobId":"slow-2","jobId":"slow-1"}',
	job => 'slow-1', ack => 11);
is(answer(), '{"ack":11,"data":[{"ok":true}]}', 'cancel: checked id');
is($redis->cmd('HGET', '{job:slow-2}:state', 'status'), 'running',
	'cancel: not the one of the data');

command('task:cancel:v1', { jobId => 'slow-1' }, job => 'slow-2', ack => 12);
is(answer(), '{"ack":12,"data":[{"ok":true}]}', 'cancel: the id beside it');
is(finished('slow-2')->{status}, 'cancelled', 'cancel: by its field');

# a job that nobody does

command('task:cancel:v1', { jobId => 'none' });
ok(acknowledged(), 'cancel: no such job');
is($redis->cmd('EXISTS', '{job:none}:state'), 0, 'cancel: makes no state');

# a producer that is killed goes on with its job when it is back

is(started('killed'), 'running', 'a job of one that is killed');

stop('slow', 'KILL');

ok(!$redis->cmd('EXISTS', '{job:killed}:cancel'), 'it is not cancelled');
is(state('killed')->{status}, 'running', 'it is not over');

start('slow', 2000);
$s = finished('killed');

is($s->{status}, 'completed', 'killed: completed');
whole('killed');

ok(acknowledged(), 'killed: acknowledged');

# one that is asked to stop, the same

stop('slow');
start('slow', 20);
is(started('stopped'), 'running', 'a job of one that is stopped');

stop('slow', 'TERM');
start('slow', 2000);

is(finished('stopped')->{status}, 'completed', 'stopped: completed');
whole('stopped');

# a cancel that was read by a producer which does not do the job

stop('slow');
start('slow', 20);
is(started('other'), 'running', 'a job of one of two');

# what it asked for before it halted is over after a while

pause('slow');
wait_for { $redis->cmd('INFO', 'clients') =~ /^blocked_clients:0/m }
	'its read to end';

start('two', 20);
command('task:cancel:v1', { jobId => 'other' });

ok((wait_for { $redis->cmd('EXISTS', '{job:other}:cancel') } 'cancel'),
	'two: read by the other one');

my $before = events('other');

resume('slow');

is(finished('other')->{status}, 'cancelled', 'two: cancelled');
cmp_ok(scalar(events('other')), '<=', $before + 4, 'two: at once');
stop('two');

# the stream is gone, and its group with it

$redis->cmd('DEL', $stream);
ok((wait_for { $redis->cmd('EXISTS', $stream) } 'the stream'),
	'made again');

is(started('again'), 'running', 'and read');

# Redis is gone

$redis->kill();
ok((wait_for { log_of('slow') =~ /reading connection failed/ } 'the log'),
	'Redis is away');
$redis->start();
listen_for('mailbox');

command('task:cancel:v1', { jobId => 'again' });
is(finished('again')->{status}, 'cancelled', 'Redis is back');

command('job:start:v1', { jobId => 'last' }, ack => 11);
like(answer(), qr/^\{"ack":11,"data":\[\{"ok":true,"jobId":"last"/,
	'a job after that');

stop('slow');

done_testing();

###############################################################################

sub start {
	my ($name, $rate) = @_;

	my $pid = fork();
	die "Can't fork: $!\n" unless defined $pid;

	if ($pid == 0) {
		open STDIN, '<', '/dev/null';
		open STDERR, '>', "$dir/$name.log";
		open STDOUT, '>&', \*STDERR;

		{ exec $program, '--redis', '127.0.0.1:' . $redis->port(),
			'--rate', $rate, '--name', $name }
		POSIX::_exit(127);
	}

	$pid{$name} = $pid;

	wait_for { log_of($name) =~ /takes commands/ } "producer $name";
}

sub stop {
	my ($name, $signal) = @_;

	my $pid = delete $pid{$name};

	kill $signal || 'TERM', $pid;
	kill 'CONT', $pid;
	waitpid $pid, 0;
}

sub pause {
	my ($name) = @_;

	kill 'STOP', $pid{$name};
	wait_for { read_all("/proc/$pid{$name}/stat") =~ /\) T / } 'to halt';
}

sub resume {
	kill 'CONT', $pid{$_[0]};
}

sub log_of {
	return -e "$dir/$_[0].log" ? read_all("$dir/$_[0].log") : '';
}

sub read_all {
	my ($name) = @_;

	open my $fh, '<', $name or die "Can't read $name: $!\n";
	local $/;
	return <$fh>;
}

sub command {
	my ($event, $data, %more) = @_;

	$data = json_encode($data) if ref $data;
	$more{reply} = 'mailbox' if defined $more{ack};

	return $redis->cmd('XADD', $stream, '*', 'event', $event,
		'data', $data, %more);
}

# a new job, once it has some text

sub started {
	my ($id) = @_;

	command('job:start:v1', { jobId => $id, prompt => $id }, user => 'alice');

	wait_for { events($id) > 4 } "job $id to run";

	return state($id)->{status};
}

sub state {
	my ($id) = @_;

	return { @{ $redis->cmd('HGETALL', "{job:$id}:state") } };
}

sub finished {
	my ($id) = @_;

	wait_for { (state($id)->{status} || '') =~ /^(completed|cancelled|failed)/ }
		"job $id to end", 30;

	return state($id);
}

# [ name, data ] in their order

sub events {
	my ($id) = @_;

	return map { my %f = @{ $_->[1] }; [ $f{event}, json_decode($f{data}) ] }
		@{ $redis->cmd('XRANGE', "{job:$id}:events", '-', '+') };
}

sub whole {
	my ($id) = @_;

	my @events = events($id);
	my @chunks = map { $_->[1] } grep { $_->[0] eq 'model:chunk:v1' } @events;

	is_deeply([ map { $_->{index} } @chunks ], [ 1 .. $events[0][1]{total} ],
		"$id: each token once");
	is(join('', map { $_->{chunk} } @chunks), $events[-1][1]{text},
		"$id: the whole text");
}

sub acknowledged {
	return wait_for {
		my %group = @{ $redis->cmd('XINFO', 'GROUPS', $stream)->[0] };

		$group{pending} == 0 && !($group{lag} || 0)
	} 'commands to be acknowledged';
}

# answers to commands, one after the other

sub listen_for {
	my ($channel) = @_;

	$answers = Test::RTBus::Redis::Connection->new($redis->port());
	$answers->write("SUBSCRIBE $channel\r\n");
	$answers->reply();
}

sub answer {
	return $answers->reply()->[2];
}

###############################################################################
