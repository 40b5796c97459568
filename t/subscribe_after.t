#!/usr/bin/perl

# Tests for joining a channel in the middle of its life: after a position, with
# a snapshot, or by a number that the client has counted itself.  What was
# missed comes first, then the answer, then what is new; and a snapshot with the
# events after its position is the whole truth, however fast they come.

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

my $t = Test::Nginx->new()->has(qw/ http rewrite /)
	->has_daemon('redis-server')->plan(144);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

$t->write_file_expand('nginx.conf', <<"EOC");

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis         $url;
    rtbus_allow         job:*;
    rtbus_allow         chat;
    rtbus_message_rate  1000r/s;
    rtbus_drain         10ms;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location /ws {
            rtbus           websocket;
            rtbus_subscribe \$arg_channel;
        }

        location /one {
            rtbus               websocket;
            rtbus_max_channels  1;
        }

        location ~ ^/state/(.*)\$ {
            rtbus_state \$1;
        }
    }
}

EOC

$t->run();

ok((wait_for { !ref $redis->try_cmd('FCALL_RO', 'rtbus_version', 0) }
	'library'), 'library');

my ($yes, $no) = (JSON::PP::true, JSON::PP::false);
my $ack = 0;

my @a = map { publish('job:a', $_) } 1 .. 10;
my ($epoch) = $a[0] =~ /^(\d+)/;
my ($ws, $r, @m);

###############################################################################

# after a position: what was missed, the answer, and then what is new

for my $k (0, 1, 4, 9, 10) {
	$ws = ws();
	my $after = $k ? $a[$k - 1] : '0-0';

	@m = ask($ws, 'subscribe', { channel => 'job:a', after => $after });

	is(events(@m), join(' ', map { "$_\@$a[$_ - 1]" } $k + 1 .. 10),
		"missed after $k");
	is_deeply($m[-1]{data}, { ok => $yes, channel => 'job:a',
		position => $a[9] }, "answer after $k");

	$redis->event('job:a', 'live', $k);
	is_deeply($ws->recv_json(), { event => 'live', data => $k,
		channel => 'job:a', cursor => "job:a\@$a[9]" },
		"live after $k");
}

$ws = ws();
$ws->send_json({ event => 'subscribe', data => { channel => 'job:a',
	after => $a[7] } });
is(events(map { $ws->recv_json() } 1 .. 2), "9\@$a[8] 10\@$a[9]",
	'no answer wanted');

# nothing to be after

for my $data ({}, { after => undef }, { state => undef }, { state => $no },
	{ after => undef, state => $no })
{
	@m = ask(ws(), 'subscribe', { channel => 'job:a', %$data });
	is_deeply(\@m, [ { ack => $ack, data => { ok => $yes,
		channel => 'job:a', position => $a[9] } } ],
		'from now on ' . json_encode($data));
}

# bad positions

$ws = ws();

for my $after ('', '7', '-', '1-', '-1', '1-2-3', '01-1', ' 1-1', '1-1 ', 'a-b',
	'18446744073709551616-1', '1' x 100 . '-1', "1\0-1", 7, 1.5, $yes,
	[ $a[0] ], { a => 1 })
{
	@m = ask($ws, 'subscribe', { channel => 'job:a', after => $after });
	is_deeply(\@m, [ { ack => $ack, data => { ok => $no,
		error => 'bad position' } } ],
		'bad position ' . substr json_encode($after), 0, 30);
}

# other arguments

for my $case (
	[ 'either after or state', { after => $a[0], state => $yes } ],
	[ 'bad state', { state => 1 } ],
	[ 'bad state', { state => 'true' } ],
	[ 'bad state', { state => [] } ],
	[ 'bad position', { after => 'x', state => $yes } ],
	[ 'forbidden', { channel => 'user:1', after => $a[0] } ],
	[ 'forbidden', { channel => 'user:1', state => $yes } ],
	[ 'bad channel', { channel => 'job/a', after => $a[0] } ],
	[ 'bad channel', { channel => undef, state => $yes } ],
)
{
	my ($error, $data) = @$case;

	@m = ask($ws, 'subscribe', { channel => 'job:a', %$data });
	is_deeply(\@m, [ { ack => $ack, data => { ok => $no,
		error => $error } } ], $error);
}

$ws->send_json({ event => 'subscribe', data => { channel => 'job:a',
	after => 'x' } });
$r = $ws->recv_json();
is($r->{event}, 'error', 'error without an answer');
is($r->{data}{error}, 'bad position', 'error without an answer, which');

# ahead of the stream: said, and on from where it is

for my $after ("$epoch-11", "$epoch-999", ($epoch + 1) . '-1') {
	$ws = ws();
	@m = ask($ws, 'subscribe', { channel => 'job:a', after => $after });

	is_deeply($m[0], { event => 'sync:gap', channel => 'job:a',
		cursor => "job:a\@$a[9]", data => { channel => 'job:a',
		lost => undef, position => $a[9] } }, "ahead $after");
	is_deeply([ @m[1 .. $#m] ], [ { ack => $ack, data => { ok => $yes,
		channel => 'job:a', position => $a[9] } } ],
		"ahead $after, answer");
}

# of a channel that there was before

@m = ask(ws(), 'subscribe', { channel => 'job:a', after => '5-3' });

is($m[0]{event}, 'sync:gap', 'other epoch');
is_deeply($m[0]{data}, { channel => 'job:a', lost => undef,
	position => "$epoch-0" }, 'other epoch, gap');
is(events(@m[1 .. $#m]), join(' ', map { "$_\@$a[$_ - 1]" } 1 .. 10),
	'other epoch, all there is');

# nothing there

@m = ask(ws(), 'subscribe', { channel => 'job:none', after => '0-0' });
is_deeply(\@m, [ { ack => $ack, data => { ok => $yes, channel => 'job:none',
	position => '0-0' } } ], 'after nothing');

@m = ask(ws(), 'subscribe', { channel => 'job:none', after => '1-1' });
is_deeply($m[0]{data}, { channel => 'job:none', lost => undef,
	position => '0-0' }, 'after something gone');

$ws = ws();
ask($ws, 'subscribe', { channel => 'job:new', after => '0-0' });
my $first = publish('job:new', 'x');
is($ws->recv_json()->{cursor}, "job:new\@$first", 'first of a new channel');

# who is there already gets what it asks for, not only an answer

$ws = ws();
ask($ws, 'subscribe', { channel => 'job:a' });

@m = ask($ws, 'subscribe', { channel => 'job:a', after => $a[6] });
is(events(@m), "8\@$a[7] 9\@$a[8] 10\@$a[9]", 'joined, missed');
is($m[-1]{data}{position}, $a[9], 'joined, answer');

@m = ask($ws, 'subscribe', { channel => 'job:a', after => $a[7] });
is(events(@m), '', 'joined, had it already');
is($m[-1]{data}{position}, $a[9], 'joined, had it already, answer');

###############################################################################

# the snapshot comes first, and then the answer; the tail follows

set('job:s', 'Hel', status => 'running', progress => 50, secret => 1);
my $s = set('job:s', 'lo');

$ws = ws();
@m = ask($ws, 'subscribe', { channel => 'job:s', state => $yes });

is(scalar(@m), 2, 'state and answer');
is($m[0]{event}, 'state', 'state');
is($m[0]{channel}, 'job:s', 'state channel');
is_deeply([ @{$m[0]{data}}{qw/ output status progress position /} ],
	[ 'Hello', 'running', 50, $s ], 'state data');
ok(!exists $m[0]{data}{secret}, 'state has declared fields only');
is_deeply($m[1]{data}, { ok => $yes, channel => 'job:s', position => $s },
	'state answer');

my $http = Test::RTBus::Client->open_client();
$http->send_raw("GET /state/job:s HTTP/1.0\r\nHost: localhost\r\n\r\n");
$http->read_head();
is_deeply(json_decode($http->read_body()), $m[0]{data}, 'as the endpoint has it');

$s = set('job:s', ' you');
is($ws->recv_json()->{cursor}, "job:s\@$s", 'state tail');

# again on the same connection: the state of the moment, nothing doubled

@m = ask($ws, 'subscribe', { channel => 'job:s', state => $yes });
is($m[0]{data}{output}, 'Hello you', 'state again');
is($m[1]{data}{position}, $s, 'state again, answer');

$s = set('job:s', '!');
is_deeply([ map { $_->{cursor} } $ws->recv_json() ], [ "job:s\@$s" ],
	'state again, tail');

# two at once

$ws = ws();
$ws->send_json({ event => 'subscribe', ack => ++$ack,
	data => { channel => $_, state => $yes } }) for qw/ job:s job:a /;
@m = map { $ws->recv_json() } 1 .. 4;
is((grep { $_->{event} && $_->{event} eq 'state' } @m), 2, 'two states');

# nothing there

@m = ask(ws(), 'subscribe', { channel => 'job:none', state => $yes });
is($m[0]{event}, 'state', 'state of nothing');
is($m[0]{data}{position}, '0-0', 'state of nothing, position');
is($m[1]{data}{position}, '0-0', 'state of nothing, answer');

# too many channels: nothing joined

$ws = ws('/one');
ok((ask($ws, 'subscribe', { channel => 'job:s' }))[-1]{data}{ok}, 'one');

for my $data ({ after => '0-0' }, { state => $yes }) {
	@m = ask($ws, 'subscribe', { channel => 'job:a', %$data });
	is($m[-1]{data}{error}, 'too many channels', 'too many channels');
	is(scalar(@m), 1, 'too many channels, nothing else');
}

# a wrong key

$redis->cmd('SET', '{job:w}:state', 'x');
@m = ask(ws(), 'subscribe', { channel => 'job:w', state => $yes });
is($m[-1]{data}{error}, 'unavailable', 'state is no hash');

###############################################################################

# reconnect:sync, for clients that count by themselves

$ws = ws();
@m = ask($ws, 'reconnect:sync', { jobId => 'a', lastSequence => 7 });

is(events(@m[0 .. 2]), "8\@$a[7] 9\@$a[8] 10\@$a[9]", 'sync events');
is_deeply($m[3], { event => 'sync:complete', channel => 'job:a',
	cursor => "job:a\@$a[9]", data => { jobId => 'a', replayed => 3,
	lastSequence => 10, complete => $yes } }, 'sync:complete');
is_deeply($m[4], { ack => $ack, data => { ok => $yes, channel => 'job:a',
	position => $a[9] } }, 'sync answer');

# joined, it goes back as often as it is told to

for my $last (9, 10, 0, 5) {
	@m = ask($ws, 'reconnect:sync', { jobId => 'a',
		lastSequence => $last });
	my ($done) = grep { ($_->{event} || '') eq 'sync:complete' } @m;

	is(events(@m), join(' ', map { "$_\@$a[$_ - 1]" } $last + 1 .. 10),
		"sync from $last");
	is_deeply($done->{data}, { jobId => 'a', replayed => 10 - $last,
		lastSequence => 10, complete => $yes },
		"sync:complete from $last");
}

$redis->event('job:a', 'live', 1);
is($ws->recv_json()->{event}, 'live', 'sync live');

# ahead

@m = ask($ws, 'reconnect:sync', { jobId => 'a', lastSequence => 11 });
is($m[0]{event}, 'sync:gap', 'sync ahead');
is($m[0]{data}{position}, $a[9], 'sync ahead, position');
is_deeply($m[1]{data}, { jobId => 'a', replayed => 0, lastSequence => 10,
	complete => $no }, 'sync ahead, complete');

# nothing there, and no answer wanted

$ws = ws();
$ws->send_json({ event => 'reconnect:sync', data => { jobId => 'none',
	lastSequence => 0 } });
is_deeply($ws->recv_json()->{data}, { jobId => 'none', replayed => 0,
	lastSequence => 0, complete => $yes }, 'sync of nothing');

@m = ask($ws, 'reconnect:sync', { jobId => 'none', lastSequence => 3 });
is($m[0]{event}, 'sync:gap', 'sync of something gone');
is_deeply($m[1]{data}, { jobId => 'none', replayed => 0, lastSequence => 0,
	complete => $no }, 'sync of something gone, complete');

for my $case (
	[ 'bad jobId', { lastSequence => 1 } ],
	[ 'bad jobId', { jobId => 7, lastSequence => 1 } ],
	[ 'bad jobId', { jobId => '', lastSequence => 1 } ],
	[ 'bad jobId', { jobId => 'a/b', lastSequence => 1 } ],
	[ 'bad jobId', { jobId => 'a' x 197, lastSequence => 1 } ],
	[ 'bad jobId', [ 'a', 1 ] ],
	[ 'bad jobId', undef ],
	[ 'bad lastSequence', { jobId => 'a' } ],
	[ 'bad lastSequence', { jobId => 'a', lastSequence => '1' } ],
	[ 'bad lastSequence', { jobId => 'a', lastSequence => -1 } ],
	[ 'bad lastSequence', { jobId => 'a', lastSequence => 1.5 } ],
	[ 'bad lastSequence', { jobId => 'a', lastSequence => undef } ],
)
{
	my ($error, $data) = @$case;

	@m = ask($ws, 'reconnect:sync', $data);
	is_deeply(\@m, [ { ack => $ack, data => { ok => $no,
		error => $error } } ], "sync $error");
}

# while Redis is away, who has a channel keeps it

$ws = ws();
ask($ws, 'subscribe', { channel => 'job:a' });

my $waits = $ack + 1;
my @keys = map { [ 'RESTORE', $_, 0, $redis->cmd('DUMP', $_), 'REPLACE' ] }
	map { "{job:a}:$_" } qw/ events state /;

$redis->stop();
error_log_like($t, qr/rtbus.*redis.*(?:closed|lost)/i, 'Redis lost');

$ws->send_json({ event => 'reconnect:sync', ack => ++$ack,
	data => { jobId => 'a', lastSequence => 8 } });
@m = ask(ws(), 'subscribe', { channel => 'job:a', after => $a[0] });
is($m[-1]{data}{error}, 'unavailable', 'away');

@m = ask(ws(), 'subscribe', { channel => 'job:a', state => $yes });
is($m[-1]{data}{error}, 'unavailable', 'away, state');

@m = ask(ws(), 'reconnect:sync', { jobId => 'a', lastSequence => 8 });
is($m[-1]{data}{error}, 'unavailable', 'away, sync');

$redis->{args} = [ '--appendonly', 'no' ];
$redis->start();
$redis->pipeline(@keys);

ok((wait_for { !ref $redis->try_cmd('FCALL_RO', 'rtbus_version', 0) }
	'library'), 'library again');
$redis->wait_subscribers('job:a', 1);

ok($ws->wait_ack($waits)->{data}{ok}, 'back, sync is answered');

push @a, publish('job:a', 11);
ok($ws->wait_json(10, sub { ($_[0]{data} || '') eq 11 }), 'kept the channel');

###############################################################################

# subscribe:job and unsubscribe:job

$ws = ws();

@m = ask($ws, 'subscribe:job', 'a');
is_deeply($m[0], { event => 'subscribed', channel => 'job:a',
	cursor => "job:a\@$a[10]", data => { jobId => 'a' } }, 'subscribed');
is_deeply($m[1]{data}, { ok => $yes, channel => 'job:a', position => $a[10] },
	'subscribed, answer');

@m = ask($ws, 'subscribe:job', 'a');
is($m[0]{event}, 'subscribed', 'subscribed again');

$redis->event('job:a', 'live', 2);
is($ws->recv_json()->{data}, 2, 'subscribed, events once');

@m = ask($ws, 'unsubscribe:job', 'a');
is($m[0]{event}, 'unsubscribed', 'unsubscribed');
is_deeply($m[0]{data}, { jobId => 'a' }, 'unsubscribed, data');
is_deeply($m[1]{data}, { ok => $yes, channel => 'job:a' },
	'unsubscribed, answer');

$redis->event('job:a', 'live', 3);

for my $case (
	[ 'subscribe:job', 7, 'bad jobId' ],
	[ 'subscribe:job', '', 'bad jobId' ],
	[ 'subscribe:job', { jobId => 'a' }, 'bad jobId' ],
	[ 'subscribe:job', 'a b', 'bad jobId' ],
	[ 'unsubscribe:job', undef, 'bad jobId' ],
	[ 'unsubscribe:job', 'a', 'not subscribed' ],
	[ 'unsubscribe:job', 'none', 'not subscribed' ],
)
{
	my ($event, $data, $error) = @$case;

	@m = ask($ws, $event, $data);
	is_deeply(\@m, [ { ack => $ack, data => { ok => $no,
		error => $error } } ], "$event $error");
}

###############################################################################

# whoever comes while a producer writes as fast as it can has the whole text

go_on();
$t->run_daemon(\&producer, 'job:fast');

wait_for { $redis->cmd('HGET', '{job:fast}:state', 'seq') } 'the producer';

my ($rounds, $events, $bad, $seen, $end) = (0, 0, '', 0, time() + 3);

while (!$bad && $rounds < 40 && ($rounds < 10 || time() < $end)) {
	$bad = late();
	$rounds++;
}

is($bad, '', 'whole text');
cmp_ok($rounds, '>=', 10, 'whole text many times');
cmp_ok($seen, '>', 1000, 'whole text of many parts');
note("$rounds joins of a text of up to $seen parts, $events events after them");

# and so has who asks for all of it, with each event in its place

$ws = ws();
go_on();
$ws->send_json({ event => 'subscribe', ack => ++$ack,
	data => { channel => 'job:fast', after => '0-0' } });

my ($next, $wrong, $read, $last) = (1, '', 0, -1);

while ($next - 1 != $last) {
	my $m = $ws->recv_message() or last;
	$m = $m->{message};

	next if $m =~ /^\{"ack":/;

	if ($m =~ /^\{"event":"sync:gap",.*"position":"\d+-(\d+)"/) {
		# of what was trimmed
		$next = $1 + 1;
		next;
	}

	$wrong ||= "$m is not $next"
		unless $m =~ /"data":\{"i":$next\},.*-$next"\}\z/;
	$next++;

	# Perl is slower than the producer

	if (++$read == 1000) {
		$t->stop_daemons();
		$last = $redis->cmd('HGET', '{job:fast}:state', 'seq');
	}
}

is($wrong, '', 'whole stream');
cmp_ok($last, '>', 1000, 'whole stream to its end');

###############################################################################

sub ws {
	my ($path) = @_;

	my $ws = Test::RTBus::WebSocket->connect(path => $path || '/ws');
	$ws->recv_json();

	return $ws;
}

# all messages up to the answer

sub ask {
	my ($ws, $event, $data) = @_;
	my @got;

	$ws->send_json({ event => $event, data => $data, ack => ++$ack });

	while (my $m = $ws->recv_json()) {
		push @got, $m;
		last if ($m->{ack} || 0) == $ack;
	}

	return @got;
}

sub events {
	return join ' ', map {
		my ($position) = $_->{cursor} =~ /^job:a@([^,]+)/;
		"$_->{data}\@$position";
	} grep { ($_->{event} || '') eq 'n' } @_;
}

sub publish {
	my ($channel, $data) = @_;

	return $redis->cmd('FCALL', 'rtbus_publish', 1, $channel, 'n',
		json_encode($data));
}

sub set {
	my ($channel, $text, @fields) = @_;

	return $redis->cmd('FCALL', 'rtbus_publish', 1, $channel, 'n', 'null',
		'APPEND', $text, @fields ? ('SET', @fields) : ());
}

sub producer {
	my ($channel) = @_;
	my $i = 0;

	while (1) {
		wait_for { $i < $redis->cmd('GET', 'limit') } 'the reader', 60
			or return;

		$redis->pipeline(map {
			$i++;
			[ 'FCALL', 'rtbus_publish', 1, $channel, 'n',
				"{\"i\":$i}", 'APPEND', " $i",
				'MAXLEN', 50000 ]
		} 1 .. 20);
	}
}

# The producer is let run ahead of its readers, but not so far that what they
# have not read is trimmed, however slow they are.

sub go_on {
	my $seq = $redis->cmd('HGET', '{job:fast}:state', 'seq') || 0;

	$redis->cmd('SET', 'limit', $seq + 5000);
}

# joins with the state, and reads some events after it; -> what is wrong

sub late {
	# the second one is asked for by a client that has the channel

	for my $n (1, 2) {
		my $ws = ws();

		ask($ws, 'subscribe', { channel => 'job:fast' }) if $n == 2;

		go_on();
		$ws->send_json({ event => 'subscribe', ack => $n,
			data => { channel => 'job:fast', state => $yes } });

		my $m = '';

		until ($m =~ /^\{"event":"state"/) {
			$m = ($ws->recv_message() || return 'no state')
				->{message};
		}

		go_on();

		my ($seq) = $m =~ /"position":"\d+-(\d+)"/;
		my ($text) = $m =~ /"output":"([^"]*)"/;

		return "$n: text of $seq parts is wrong"
			if $text ne join '', map { " $_" } 1 .. $seq;

		$seen = $seq;

		for (1 .. 200) {
			$m = ($ws->recv_message()
				|| return "$n: nothing after $seq")->{message};

			redo if $m =~ /^\{"ack":$n,"data":\{"ok":true/;

			$seq++;
			$events++;

			return "$n: $m is not $seq"
				unless $m =~ /"data":\{"i":$seq\},.*-$seq"\}\z/;
		}

		$ws->drop();
	}

	return '';
}

###############################################################################
