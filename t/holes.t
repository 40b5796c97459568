#!/usr/bin/perl

# Tests for events that do not come one after the other: wake-ups that were
# never sent, come twice, too late or in the wrong order, or speak of events that
# nobody has written, and entries of the stream that are no events.  The stream
# is the truth: what is in it arrives, once and in order, and nothing of all that
# stops a channel.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Redis;
use Test::RTBus::SSE;
use Test::RTBus::WebSocket;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http rewrite /)
	->has_daemon('redis-server')->plan(64);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

$t->write_file_expand('nginx.conf', <<"EOC");

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis  $url;
    rtbus_allow  job:*;
    rtbus_drain  10ms;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location /ws {
            rtbus           websocket;
            rtbus_subscribe \$arg_channel;
        }

        location /sse {
            rtbus           sse;
            rtbus_subscribe \$arg_channel;
        }
    }
}

EOC

$t->run();

ok((wait_for { !ref $redis->try_cmd('FCALL_RO', 'rtbus_version', 0) }
	'library'), 'library');

my $library = qr/rtbus: invalid event on channel "job:\w+" dropped/;
my ($channel, $epoch, $ws, $sse, $reads, $id);

###############################################################################

# written without a wake-up: the next one brings it

start('job:a');

add(2);
is(publish(3), "$epoch-3", 'added, then published');
is(got(2), '2@2 3@3', 'one missed');

add($_) for 4 .. 8;
publish(9);
is(got(6), join(' ', map { "$_\@$_" } 4 .. 9), 'some missed');

add($_) for 10 .. 1499;
publish(1500);
is(got(1491), join(' ', map { "$_\@$_" } 10 .. 1500), 'many missed');

# by the wake-up of the producer's own

add($_) for 1501, 1502;
wake(1502);
is(got(2), '1501@1501 1502@1502', 'wake-up by hand');

# a live event does not tell of it, and does not move anything

add(1503);
live('a');
is(got(1), 'a@1502', 'live event before a hole is filled');
publish(1504);
is(got(2), '1503@1503 1504@1504', 'hole filled after a live event');

# live events around a hole come in their order, but have no place among the
# others: what is in the stream goes first

add(1505);
$redis->pipeline(map { [ 'PUBLISH', $channel, $_ ] }
	envelope('live', 'b'), envelope('n', 1506, "$epoch-1506"),
	envelope('live', 'c'), envelope('n', 1507, "$epoch-1507"))
	if add(1506) && add(1507);
is(got(5), 'b@1504 1505@1505 1506@1506 1507@1507 c@1507',
	'live events around a hole');

# who joins now begins where the stream is

my $late = connect_ws();
is($late->{cursor}, "$channel\@$epoch-1507", 'position of who comes now');

###############################################################################

# doubles

start('job:b');

publish($_) for 2 .. 5;
is(got(4), '2@2 3@3 4@4 5@5', 'before doubles');

wake($_) for 5, 5, 4, 1, 5;
$redis->publish($channel, envelope('n', 'other', "$epoch-3"));
publish(6);
wake(6);
publish(7);
is(got(2), '6@6 7@7', 'doubles');

# in the wrong order

add($_) for 8 .. 11;
wake($_) for 11, 9, 8, 10;
is(got(4), '8@8 9@9 10@10 11@11', 'wrong order');

add($_) for 12 .. 14;
wake(13);
wake(14);
wake(12);
live('end');
is(got(4), '12@12 13@13 14@14 end@14', 'wrong order, nothing doubled');

# of a channel that there was before

$redis->publish($channel, envelope('n', 'old', $epoch - 1 . "-$_"))
	for 1, 14, 15, 16;
publish(15);
is(got(1), '15@15', 'smaller epoch');

###############################################################################

# ahead of all that was written: it is said in the log, and all goes on

start('job:c');
publish($_) for 2, 3;
is(got(2), '2@2 3@3', 'before strange ids');

reads();

wake(9);
live('a');
is(got(1), 'a@3', 'live event behind an id that is not in the stream');
error_log_like($t, qr/$library: id is not in the stream/,
	'id that is not in the stream is logged');
cmp_ok(reads(), '<=', 2, 'the stream is asked for it');

publish(4);
is(got(1), '4@4', 'next event behind it');

publish($_) for 5 .. 10;
is(got(6), join(' ', map { "$_\@$_" } 5 .. 10),
	'the event of that id, once it is there');

# an epoch to come

$redis->publish($channel, envelope('n', 'x', $epoch + 5 . '-1'));
$redis->publish($channel, envelope('n', 'x', '18446744073709551615-1'));
publish(11);
is(got(1), '11@11', 'greater epoch that is not in the stream');

# many of them do not make many reads each

reads();
wake(1000 + $_) for 1 .. 100;
publish(12);
is(got(1), '12@12', 'many ids that are not in the stream');
cmp_ok(reads(), '<=', 210, 'reads for them');

# on a channel that has no stream

$channel = 'job:d';
$ws = connect_ws();
$sse = connect_sse();

$redis->publish($channel, envelope('n', 'x', '7-7'));
live('a');
is(got(1), 'a@0', 'no stream, live event');
is($ws->{cursor}, 'job:d@0-0', 'no stream, position');

($epoch) = publish(1) =~ /^(\d+)/;
is(got(1), '1@1', 'no stream, first event');

# ids that are none

start('job:e');
$redis->publish($channel, json_encode({ event => 'n', data => 0,
	id => $_ })) for '0-0', '', '7', "$epoch-2 ", 7, [];
publish(2);
is(got(1), '2@2', 'bad ids');

###############################################################################

# entries that are no events are passed over

start('job:f');

my $resume = "$channel\@$epoch-1";
my $seq = 1;

my @bad = (
	[ data => 1 ],
	[ event => '', data => 1 ],
	[ event => 'n', data => '{"a":' ],
	[ event => 'n', data => '1 2' ],
	[ event => 'n', data => "\"\xff\"" ],
	[ event => "n\xff", data => 1 ],
	[ event => "n\n", data => 1 ],
	[ event => "n\0", data => 1 ],
	[ event => 'n' x 129, data => 1 ],
	[ event => "\xe2\x82\xac" x 43, data => 1 ],
	[ event => 'n', args => '{}' ],
	[ event => 'n', args => '[' ],
	[ event => 'n', data => 1, attachments => '"AA=="' ],
	[ event => 'n', data => '[' x 100 . ']' x 100 ],
	[ x => 'y' ],
);

for my $fields (@bad) {
	$redis->cmd('XADD', "{$channel}:events", "$epoch-" . ++$seq, @$fields);
	publish(++$seq);

	is(got(1), "$seq\@$seq",
		'after ' . substr join(' ', @$fields) =~ s/[^ -~]/?/gr, 0, 30);
}

error_log_like($t, qr/\[warn\].*$library: /, 'bad entries are logged');

my ($lines, $more);

wait_for {
	# in another second the next one is logged, with the number of those
	# in between

	$redis->publish($channel, 'no JSON');

	my @lines = grep { $_ =~ $library } split /^/, error_log($t);

	($lines, $more) = (scalar(@lines), 0);
	$more += /(\d+) more since/ ? $1 : 0 for @lines;

	return $more;
} 'another line';

cmp_ok($lines, '<', 20, 'at a limited rate');
cmp_ok($more, '>', 10, 'and counted');

# all of them in one go

$ws = connect_ws($resume);
$sse = connect_sse($resume);
is(got(scalar @bad), join(' ', map { 2 * $_ + 1 . '@' . (2 * $_ + 1) }
	1 .. @bad), 'bad entries in a history');

# a bad one at the very end has its position all the same

($channel, my $before) = ('job:end', $channel);
my ($other) = publish(1) =~ /^(\d+)/;
$redis->cmd('XADD', "{$channel}:events", "$other-2", x => 'y');

my $end = connect_ws("$channel\@0-0");
is($end->recv_json()->{data}, 1, 'before a bad entry at the end');

live('a');
is($end->recv_json()->{cursor}, "$channel\@$other-2",
	'bad entry at the end, live event');

publish(3);
is($end->recv_json()->{data}, 3, 'bad entry at the end, next event');

($epoch) = $other;
$redis->cmd('XADD', "{$channel}:events", "$other-4", x => 'y');
wake(6);
live('b');
is($end->recv_json()->{cursor}, "$channel\@$other-4",
	'bad entry at the end of a hole, live event');

$channel = $before;
($epoch) = $resume =~ /@(\d+)/;

# other fields do not matter, nor does their order, nor who wrote them

$redis->cmd('XADD', "{$channel}:events", "$epoch-" . ++$seq, 'x', 'y',
	'timestamp', 'never', 'data', " [1]\n", 'event', 'n', 'user', "\xff");
$redis->cmd('XADD', "{$channel}:events", "$epoch-" . ++$seq, 'event', 'n');
$redis->cmd('XADD', "{$channel}:events", "$epoch-" . ++$seq, 'event', 'n',
	'data', '');
publish(++$seq);

is($ws->recv_message()->{message}, qq({"event":"n","data":[1],)
	. qq("channel":"job:f","cursor":"job:f\@$epoch-) . ($seq - 3) . '"}',
	'other fields');

for my $i (-2, -1) {
	my $m = $ws->recv_json();
	is_deeply($m, { event => 'n', data => undef, channel => $channel,
		cursor => "$channel\@$epoch-" . ($seq + $i) }, 'no data');
}

is($ws->recv_json()->{data}, $seq, 'other fields, next event');

# a wake-up that says something else than the stream: the position counts

$redis->publish($channel, 'no JSON');
add(++$seq);
$redis->publish($channel, envelope('n' x 129, $seq, "$epoch-$seq"));
publish(++$seq);
$ws->recv_json();
is($ws->recv_json()->{data}, $seq, 'bad wake-up');

###############################################################################

# large entries in a hole; one is larger than may be

start('job:g');

my $large = '"' . 'x' x 900_000 . '"';

for my $seq (2 .. 9) {
	$redis->cmd('XADD', "{$channel}:events", "$epoch-$seq", 'event', 'n',
		'data', $large);
}

$redis->cmd('XADD', "{$channel}:events", "$epoch-10", 'event', 'n', 'data',
	'"' . 'x' x 1_050_000 . '"');
publish(11);

# 0: it is told that one is lost

my $large_ones = '900002 ' x 8 . '0 2';

is(sizes($ws, 10), $large_ones, 'large entries, WebSocket');
is(sizes($sse, 10), $large_ones, 'large entries, SSE');

$ws = connect_ws("$channel\@$epoch-1");
is(sizes($ws, 10), $large_ones, 'large entries in a history');

###############################################################################

# nobody listens for a moment: the channel lingers, and comes back in order

start('job:h');

$_->drop() for $ws, $sse;
publish(2);
add(3);
add(4);
wake(4);

# the worker may not have read of the last one yet

wait_for {
	$ws = connect_ws();
	return 1 if $ws->{cursor} eq "$channel\@$epoch-4";

	$ws->drop();
	return 0;
} 'position';

is($ws->{cursor}, "$channel\@$epoch-4", 'position after a linger');

$sse = connect_sse();
publish(5);
is(got(1), '5@5', 'next event after a linger');

$ws = connect_ws("$channel\@$epoch-1");
$sse = connect_sse("$channel\@$epoch-2");
is(sizes($ws, 4) . sizes($sse, 3), '1 1 1 1' . '1 1 1',
	'history after a linger');

# two things at once: a hole, and those who come with a position in it

start('job:i');

add($_) for 2 .. 100;
my @late = map { connect_ws("$channel\@$epoch-$_") } 1, 50, 99;
publish(101);

is(got(100), join(' ', map { "$_\@$_" } 2 .. 101), 'hole');
is(join(' ', map { seqs($late[$_], (100, 51, 2)[$_]) } 0 .. 2),
	join(' ', 2 .. 101, 51 .. 101, 100, 101), 'hole, those with a position');

$_->drop() for @late, $late, $end, $ws, $sse;

###############################################################################

# a client of each kind at the first event of a channel

sub start {
	($channel) = @_;

	my $first = publish(1);
	($epoch) = $first =~ /^(\d+)/;

	$ws = connect_ws();
	$sse = connect_sse();
}

sub connect_ws {
	my ($cursor) = @_;

	my $c = Test::RTBus::WebSocket->connect(path => "/ws?channel=$channel"
		. ($cursor ? "&cursor=$cursor" : ''));
	$c->{cursor} = $c->recv_json()->{cursor};

	return $c;
}

sub connect_sse {
	my ($cursor) = @_;

	my $c = Test::RTBus::SSE->connect(path => "/sse?channel=$channel"
		. ($cursor ? "&last_event_id=$cursor" : ''));
	$c->next_event();

	return $c;
}

sub envelope {
	my ($name, $data, $id) = @_;

	return json_encode({ event => $name, data => $data,
		$id ? (id => $id) : () });
}

# written and told, only written, only told

sub publish {
	my ($data) = @_;

	return $redis->cmd('FCALL', 'rtbus_publish', 1, $channel, 'n', $data);
}

sub add {
	my ($seq) = @_;

	return $redis->cmd('XADD', "{$channel}:events", "$epoch-$seq",
		'event', 'n', 'data', $seq, 'timestamp', 1);
}

sub wake {
	my ($seq) = @_;

	$redis->publish($channel, envelope('n', $seq, "$epoch-$seq"));
}

sub live {
	my ($data) = @_;

	$redis->publish($channel, envelope('live', $data));
}

# "data@seq" of the next events, as both clients have them, and no other ones

sub got {
	my ($n) = @_;

	my @ws = map {
		my $m = $ws->recv_json() || {};
		($m->{data} || $m->{event}) . '@'
			. (($m->{cursor} || '') =~ /-(\d+)\z/ ? $1 : '?');
	} 1 .. $n;

	my @sse = map {
		my $m = $sse->next_event() || {};
		($m->{data} || '') =~ s/"//gr . '@'
			. (($m->{id} || '') =~ /-(\d+)\z/ ? $1 : '?');
	} 1 .. $n;

	return "@ws" eq "@sse" ? "@ws" : "@ws but @sse";
}

sub sizes {
	my ($c, $n) = @_;

	return join ' ', map {
		my $m = $c->can('recv_message')
			? ($c->recv_message() || {})->{message}
			: '"data":' . (($c->next_event() || {})->{data} || '')
			. ',';
		length(($m || '') =~ /"data":("?x*"?\d*),/ ? $1 : '')
	} 1 .. $n;
}

sub seqs {
	my ($c, $n) = @_;

	return join ' ', map {
		(($c->recv_json() || {})->{cursor} || '') =~ /-(\d+)\z/
	} 1 .. $n;
}

# XRANGE and XINFO since the last call

sub reads {
	my $info = $redis->cmd('INFO', 'commandstats');
	my $sum = 0;

	$sum += $1 while $info =~ /^cmdstat_(?:xrange|xinfo\S*):calls=(\d+)/mg;

	my $new = $sum - ($reads || 0);
	$reads = $sum;

	return $new;
}

###############################################################################
