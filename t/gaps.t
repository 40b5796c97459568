#!/usr/bin/perl

# Tests for what cannot be delivered any more: trimmed, deleted, expired, lost
# by Redis, or replaced by another life of the channel.  A client is told, with
# numbers that are true, and goes on from there; it is told once.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Redis;
use Test::RTBus::SSE;
use Test::RTBus::WebSocket;

use File::Basename qw/ dirname /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http rewrite /)
	->has_daemon('redis-server')->plan(99);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();
my $library = dirname(__FILE__) . '/../conf/rtbus.lua';

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
        listen       127.0.0.1:8081 sndbuf=16k;
        server_name  localhost;

        location /ws {
            rtbus             websocket;
            rtbus_subscribe   \$arg_channel;
        }

        location /slow {
            rtbus             websocket;
            rtbus_send_buffer 64k;
        }

        location /sse {
            rtbus             sse;
            rtbus_subscribe   \$arg_channel;
        }
    }
}

EOC

$t->run();

ok((wait_for { !ref $redis->try_cmd('FCALL_RO', 'rtbus_version', 0) }
	'library'), 'library');

my ($channel, $epoch, $ws, $sse);
my ($number, $name, %names) = (0);

###############################################################################

# While clients are there.  A and B are the epochs of the channel.

start(1);

add(2 .. 6);
trim(5);
publish(7);
is(got(4), 'gap:3@A-4 5@A-5 6@A-6 7@A-7', 'trimmed');
again('trimmed', 3);

add(8, 9);
trim(10);
publish(10);
is(got(2), 'gap:2@A-9 10@A-10', 'trimmed to nothing');
again('trimmed to nothing', 1);

add(11 .. 14);
$redis->cmd('XDEL', "{$channel}:events", "$epoch-12", "$epoch-13");
publish(15);
is(got(4), '11@A-11 gap:2@A-13 14@A-14 15@A-15', 'deleted entries');

$redis->cmd('XSETID', "{$channel}:events", "$epoch-20");
publish(21);
is(got(2), 'gap:5@A-20 21@A-21', 'skipped positions');

trim(99);
publish(22);
is(got(1), '22@A-22', 'trimmed, but nothing was missed');

# deleted, and made anew

$redis->cmd('DEL', "{$channel}:events");
publish(1);
is(got(2), 'gap:?@B-0 1@B-1', 'deleted');
again('deleted', 1);

publish(2);
is(got(1), '2@B-2', 'deleted, and on');

# all of it, as when it expires

start(3);
$redis->cmd('PEXPIRE', "{$channel}:$_", 1) for qw/ events state output /;
wait_for { !$redis->cmd('EXISTS', "{$channel}:events") } 'expiry';

publish(1);
is(got(2), 'gap:?@B-0 1@B-1', 'expired');
again('expired', 1);

# made anew by a producer of its own, and told of later

start(3);
$redis->cmd('DEL', map { "{$channel}:$_" } qw/ events state /);
epoch($epoch + 10);
add(1, 2);
publish(3);
is(got(4), 'gap:?@B-0 1@B-1 2@B-2 3@B-3', 'made anew');

$redis->cmd('DEL', map { "{$channel}:$_" } qw/ events state /);
epoch($epoch + 10);
add(1 .. 5);
trim(4);
publish(6);
is(got(4), 'gap:?@C-3 4@C-4 5@C-5 6@C-6', 'made anew and trimmed');
again('made anew and trimmed', 3);

# by a plain XADD, which begins with 0: what stands before it is of the time
# before

start(3);
epoch($epoch + 9);
epoch($epoch + 1);
add(0);
publish(1);
is(got(3), 'gap:?@B-18446744073709551615 0@C-0 1@C-1', 'made by XADD');
again('made by XADD', 2);

# Redis has lost everything, and nginx the connection

start(3);
hush([ 'FLUSHALL' ]);
is(got(1), 'gap:?@0-0', 'lost');
again('lost', 0);

publish(1);
is(got(1), '1@B-1', 'lost, and on');

# ... and only noticed when there was something again

$redis->cmd('FLUSHALL');
publish(1);
is(got(2), 'gap:?@C-0 1@C-1', 'lost and made anew');

hush([ 'FLUSHALL' ], event(1), event(2));
is(got(3), 'gap:?@D-0 1@D-1 2@D-2', 'lost and made anew meanwhile');

# an older copy has been put back

start(3);
my $dump = $redis->cmd('DUMP', "{$channel}:events");
publish(4 .. 6);
is(got(3), '4@A-4 5@A-5 6@A-6', 'before an older copy');

hush([ 'RESTORE', "{$channel}:events", 0, $dump, 'REPLACE' ]);
is(got(1), 'gap:?@A-3', 'older copy');
again('older copy', 0);

publish('new');
is(got(1), 'new@A-4', 'older copy, and on');

# ... and has grown past what was there, as after a failover

start(3);
$dump = $redis->cmd('DUMP', "{$channel}:events");
publish(4 .. 6);
is(got(3), '4@A-4 5@A-5 6@A-6', 'before other events');

another_ms();
hush([ 'RESTORE', "{$channel}:events", 0, $dump, 'REPLACE' ],
	map { event("other$_") } 4 .. 6);
is(got(1), 'gap:?@A-6', 'other events, as many');
again('other events, as many', 0);

another_ms();
hush([ 'RESTORE', "{$channel}:events", 0, $dump, 'REPLACE' ],
	map { event("new$_") } 4 .. 7);
is(got(2), 'gap:?@A-6 new7@A-7', 'other events, more');
again('other events, more', 1);

# ... under the eyes of nginx: what comes later has a number of before

start(3);
$dump = $redis->cmd('DUMP', "{$channel}:events");
publish(4 .. 8);
is(got(5), '4@A-4 5@A-5 6@A-6 7@A-7 8@A-8', 'before a copy that is older');

another_ms();
$redis->cmd('RESTORE', "{$channel}:events", 0, $dump, 'REPLACE');
publish('new4');
is(got(1), 'gap:?@A-4', 'number of before');
publish('new5', 'new6');
is(got(2), 'new5@A-5 new6@A-6', 'number of before, and on');
again('number of before', 2);

another_ms();
$redis->pipeline([ 'RESTORE', "{$channel}:events", 0, $dump, 'REPLACE' ],
	map { event("other$_") } 4 .. 6);
is(got(1), 'gap:?@A-6', 'the last number of before');
publish('new7');
is(got(1), 'new7@A-7', 'the last number of before, and on');

fresh(2);
$dump = $redis->cmd('DUMP', "{$channel}:events");
publish(3);
connect_both();

another_ms();
$redis->cmd('RESTORE', "{$channel}:events", 0, $dump, 'REPLACE');
publish('other3');
is(got(1), 'gap:?@A-3', 'number of an event that nobody was sent');

# a channel that was ahead of the clock, as when many are made at once, begins
# anew with an epoch that is smaller

for my $how ('seen', 'not seen') {
	ahead(3);
	$redis->cmd('DEL', map { "{$channel}:$_" } qw/ events state /);
	$redis->load_functions($library);

	if ($how eq 'seen') {
		publish(1 .. 5);

	} else {
		hush(map { event($_) } 1 .. 5);
	}

	is(got(6), 'gap:?@B-0 1@B-1 2@B-2 3@B-3 4@B-4 5@B-5',
		"epoch is smaller, $how");
	again("epoch is smaller, $how", 5);

	publish(6);
	is(got(1), '6@B-6', "epoch is smaller, $how, and on");
}

ahead(3);
$redis->cmd('DEL', map { "{$channel}:$_" } qw/ events state /);
$redis->load_functions($library);
epoch($epoch - 5000);
add(1 .. 5);
trim(4);
publish(6);
is(got(5), 'gap:?@B-0 gap:3@B-3 4@B-4 5@B-5 6@B-6',
	'epoch is smaller, trimmed');

# ... and somebody comes back before nginx is connected again

start(3);
$dump = $redis->cmd('DUMP', "{$channel}:events");
publish(4 .. 6);
got(3);

another_ms();
$redis->pipeline([ qw/ CLIENT KILL TYPE pubsub / ],
	[ qw/ ACL SETUSER default -ping / ],
	[ 'RESTORE', "{$channel}:events", 0, $dump, 'REPLACE' ],
	map { event("other$_") } 4 .. 7);

my $back = Test::RTBus::WebSocket->connect(
	path => "/ws?cursor=$channel\@$epoch-6");
$back->recv_json();

$redis->cmd(qw/ ACL SETUSER default +ping /);

is(got(2), 'gap:?@A-6 other7@A-7', 'other events, not connected');
is(join(' ', map { text(message($back)) } 1, 2), 'gap:?@A-6 other7@A-7',
	'other events, who has come back');
$back->drop();

# missed while nginx was not connected

renew();
start(4);

hush(map({ event($_) } 5 .. 9), trimmed(8));
is(got(3), 'gap:3@A-7 8@A-8 9@A-9', 'missed and trimmed');

hush(map({ event($_) } 10 .. 12), trimmed(99));
is(got(1), 'gap:3@A-12', 'missed and trimmed to nothing');
again('missed and trimmed to nothing', 0);

hush(trimmed(99));
publish(13);
is(got(1), '13@A-13', 'trimmed, nothing missed');

###############################################################################

# while clients are away

start(9);
drop();

trim(6);
is(resumed(3, 3), 'gap:2@A-5 6@A-6 7@A-7', 'away, trimmed');
is(resumed(5, 1), '6@A-6', 'away, trimmed but not missed');
is(resumed(0, 2), 'gap:5@A-5 6@A-6', 'away, trimmed since the beginning');
is(resumed(8, 1), '9@A-9', 'away, trimmed long before');

$redis->cmd('XDEL', "{$channel}:events", "$epoch-8");
is(resumed(6, 3), '7@A-7 gap:1@A-8 9@A-9', 'away, deleted entry');

$redis->cmd('XDEL', "{$channel}:events", "$epoch-9");
is(resumed(6, 2), '7@A-7 gap:2@A-9', 'away, last entry deleted');

trim(99);
is(resumed(3, 1), 'gap:6@A-9', 'away, trimmed to nothing');
is(resumed(0, 1), 'gap:9@A-9', 'away, trimmed to nothing, all');
is(resumed(9, 0), '', 'away, trimmed to nothing, nothing missed');

start(3);
is(resumed(7, 4, '0'), 'gap:?@A-0 1@A-1 2@A-2 3@A-3', 'away, from nowhere');

for my $mode ('nobody was there', 'somebody was there', 'somebody is there') {
	begin($mode, 3);
	is(resumed(5, 1), 'gap:?@A-3', "$mode, ahead");

	begin($mode, 3);
	is(resumed(5, 1, $epoch + 1), 'gap:?@A-3', "$mode, epoch ahead");

	begin($mode, 3);
	is(resumed(3, 4, $epoch - 1), 'gap:?@A-0 1@A-1 2@A-2 3@A-3',
		"$mode, epoch before");

	begin($mode, 3);
	$redis->cmd('DEL', map { "{$channel}:$_" } qw/ events state /);
	is(resumed(2, 1), $mode =~ /nobody/ ? 'gap:?@0-0' : 'gap:1@A-3',
		"$mode, deleted");

	begin($mode, 3);
	my $old = $epoch;
	$redis->cmd('DEL', map { "{$channel}:$_" } qw/ events state /);
	publish(1 .. 3);
	is(resumed(3, 4, $old), 'gap:?@B-0 1@B-1 2@B-2 3@B-3',
		"$mode, made anew");

	trim(3);
	is(resumed(3, 2, $old), 'gap:?@B-2 3@B-3',
		"$mode, made anew and trimmed");
}

# one of several channels; what is told has the position of all of them

start(4);
drop();
my $other = $channel . ':other';
my $pos = $redis->cmd('FCALL', 'rtbus_publish', 1, $other, 'n', 1);
trim(4);

$ws = Test::RTBus::WebSocket->connect(
	path => "/ws?cursor=$channel\@$epoch-1,$other\@0-0");
$ws->recv_json();

my %at;

for (1 .. 3) {
	my $m = $ws->recv_json();

	%at = map { split /@/ } split /,/, $m->{cursor};
	is_deeply([ sort keys %at ], [ $channel, $other ], 'both positions');
}

is_deeply(\%at, { $channel => "$epoch-4", $other => $pos }, 'both at the end');
drop();

###############################################################################

# what is no stream at all: there are live events, for all

renew();

$channel = 'job:wrong';
$redis->cmd('SET', "{$channel}:events", 'x');

connect_both();
is($ws->{cursor}, 'job:wrong@0-0', 'no stream');
live('a');
is(got(1), 'a@0-0', 'no stream, live event');
error_log_like($t, qr/\[error\].*events key of channel "job:wrong" is not a/,
	'no stream is logged');

reconnect();
live('b');
is(got(1), 'b@0-0', 'no stream, reconnected');

# a position of old does not stop the others

my $ahead = Test::RTBus::WebSocket->connect(
	path => "/ws?cursor=$channel\@5-5");
is($ahead->wait_event('sync:gap')->{data}{position}, '0-0',
	'no stream, position');
live('c');
is(got(1), 'c@0-0', 'no stream, live event for the others');
is($ahead->wait_event('live')->{data}, 'c', 'no stream, and for that one');

# it becomes one

$redis->cmd('DEL', "{$channel}:events");
publish(1);
is(got(1), '1@B-1', 'a stream again');

# and ceases to be one

$redis->cmd('SET', "{$channel}:events", 'x');
reconnect();
is(got(1), 'gap:?@0-0', 'no stream any more');
live('d');
is(got(1), 'd@0-0', 'no stream any more, live event');

$ahead->drop();

###############################################################################

# a client that is in the middle of a long history when an older copy is put back

renew();
start(1);
$dump = $redis->cmd('DUMP', "{$channel}:events");
$redis->cmd('XADD', "{$channel}:events", "$epoch-$_", 'event', 'n', 'data',
	'"' . 'x' x 10_000 . '"') for 2 .. 600;
reconnect();

my $slow = Test::RTBus::WebSocket->connect(port => port(8081), rcvbuf => 4096,
	path => "/slow?cursor=$channel\@$epoch-1");
is($slow->wait_event('n')->{cursor}, "$channel\@$epoch-2", 'slow');

hush([ 'RESTORE', "{$channel}:events", 0, $dump, 'REPLACE' ]);

my $reads = reads();
my ($m, $n) = (undef, 2);

while ($m = $slow->recv_json()) {
	last if $m->{event} eq 'sync:gap';
	$n++ if $m->{cursor} eq "$channel\@$epoch-" . ($n + 1);
}

cmp_ok($n, '<', 600, 'slow, history cut off');
is($m && $m->{data}{position}, "$epoch-1", 'slow, told');
cmp_ok(reads() - $reads, '<', 20, 'slow, the stream is not asked forever');

publish('new');
is(($slow->recv_json() || {})->{data}, 'new', 'slow, and on');

$slow->drop();
drop();

###############################################################################

# a channel of its own, with so many events, and a client of each kind

sub start {
	my ($n) = @_;

	fresh($n);
	connect_both();
}

sub fresh {
	my ($n) = @_;

	drop();

	$channel = 'job:' . ++$number;
	%names = ();
	$name = 'A';

	publish(1 .. $n) if $n;
}

# ... whose epoch is of tomorrow

sub ahead {
	my ($n) = @_;

	fresh();
	$redis->cmd('HSET', "{$channel}:state", 'epoch',
		$redis->cmd('TIME')->[0] * 1000 + 86400_000);
	publish(1 .. $n);
	connect_both();
}

# nginx knows of the channel or not

sub begin {
	my ($mode, $n) = @_;

	return fresh($n) if $mode =~ /^nobody/;

	start($n);
	drop() if $mode =~ /was/;
}

sub connect_both {
	$ws = Test::RTBus::WebSocket->connect(path => "/ws?channel=$channel");
	$sse = Test::RTBus::SSE->connect(path => "/sse?channel=$channel");

	$ws->{cursor} = $ws->recv_json()->{cursor};
	$sse->next_event();
}

sub drop {
	$_->drop() for grep { $_ } $ws, $sse;
	($ws, $sse) = ();
}

# a worker that waits longer for each of many reconnects is replaced

sub renew {
	drop();
	reload_wait($t);
}

sub epoch {
	($epoch) = @_;

	$names{$epoch} ||= $name++;
}

sub publish {
	for my $data (@_) {
		epoch($redis->cmd(@{event($data)}) =~ /^(\d+)/);
	}
}

sub event {
	my ($data) = @_;

	return [ 'FCALL', 'rtbus_publish', 1, $channel, 'n',
		json_encode($data) ];
}

sub add {
	$redis->cmd('XADD', "{$channel}:events", "$epoch-$_", 'event', 'n',
		'data', $_) for @_;
}

sub trim {
	$redis->cmd(@{trimmed(@_)});
}

sub trimmed {
	my ($first) = @_;

	return [ 'XTRIM', "{$channel}:events", 'MINID', "$epoch-$first" ];
}

sub live {
	my ($data) = @_;

	$redis->event($channel, 'live', $data);
}

sub reads {
	return $redis->cmd('INFO', 'commandstats')
		=~ /^cmdstat_xrange:calls=(\d+)/m ? $1 : 0;
}

# events are told apart by their timestamp

sub another_ms {
	my $ms = sub {
		my ($s, $us) = @{$redis->cmd('TIME')};
		return $s * 1000 + int($us / 1000);
	};

	my $now = $ms->();

	wait_for { $ms->() > $now } 'the clock';
}

# ends the subscriptions of nginx, and waits until they are back

sub reconnect {
	hush();
}

# the same, and nginx cannot have heard of what is done meanwhile: Redis does all
# of it in one go

sub hush {
	my (@cmds) = @_;

	my ($old) = subscriber();
	my @replies = $redis->pipeline([ qw/ CLIENT KILL TYPE pubsub / ],
		@cmds);

	for my $reply (@replies) {
		epoch($1) if $reply =~ /^(\d{13,})-\d+\z/;
	}

	wait_for {
		my $new = subscriber();
		return $new && $new != $old && $redis->subscribers($channel);
	} 'subscription';
}

sub subscriber {
	return $redis->cmd(qw/ CLIENT LIST TYPE pubsub /) =~ /^id=(\d+)/
		? $1 : 0;
}

# The next n messages as both clients have them: "data@position", "gap:lost@..".

sub got {
	my ($n) = @_;

	my @ws = map { text(message($ws)) } 1 .. $n;
	my @sse = map { text(message($sse)) } 1 .. $n;

	return "@ws" eq "@sse" ? "@ws" : "@ws but @sse";
}

sub message {
	my ($c, $timeout) = @_;

	my $m = $c->can('recv_json') ? $c->recv_json($timeout)
		: $c->next_json($timeout);
	return {} unless $m;

	$m->{cursor} = $m->{id} if defined $m->{id};
	$c->{gap_at} = $m->{cursor} if $m->{event} eq 'sync:gap';

	return $m;
}

sub text {
	my ($m) = @_;

	my ($cursor) = ($m->{cursor} || '') =~ /@([^,]+)/;
	return 'none' unless defined $cursor;

	my $shown = short($cursor);

	if ($m->{event} eq 'sync:gap') {
		my ($lost, $position) = @{$m->{data}}{qw/ lost position /};

		return "gap:$position" if $position ne $cursor;
		return "gap in $m->{data}{channel}"
			if $m->{data}{channel} ne $channel;

		return 'gap:' . (defined $lost ? $lost : '?') . "\@$shown";
	}

	return "$m->{data}\@$shown";
}

sub short {
	my ($position) = @_;

	$position =~ s/^(\d+)/$names{$1} || $1/e;
	return $position;
}

# who comes back with the cursor of the gap is told nothing twice, but gets all
# that followed it

sub again {
	my ($what, $n) = @_;

	my @c = (
		Test::RTBus::WebSocket->connect(
			path => "/ws?cursor=$ws->{gap_at}"),
		Test::RTBus::SSE->connect(path => '/sse',
			last_event_id => $sse->{gap_at}),
	);

	my @got = map {
		my $c = $_;
		message($c);
		[ map { message($c)->{event} || '' } 1 .. $n ];
	} @c;

	# and then there is no more

	live('end');
	message($_) for $ws, $sse;

	push @{$got[$_]}, message($c[$_])->{event} for 0, 1;

	is_deeply(\@got, [ ([ ('n') x $n, 'live' ]) x 2 ],
		"$what, not told again");

	$_->drop() for @c;
}

# what comes after such a position, and what then after that of the gap

sub resumed {
	my ($seq, $n, $of) = @_;

	my $position = ($seq ? defined $of ? $of : $epoch : 0) . "-$seq";

	my $c = Test::RTBus::WebSocket->connect(
		path => "/ws?cursor=$channel\@$position");
	message($c);

	my @got = map { text(message($c)) } 1 .. $n;
	my $from = $c->{gap_at};

	$c->drop();

	return "@got" unless $from;

	my @rest = @got;
	1 until shift(@rest) =~ /^gap/;

	$c = Test::RTBus::WebSocket->connect(path => "/ws?cursor=$from");
	message($c);

	my @again = map { text(message($c)) } 1 .. @rest;
	$c->drop();

	return "@again" eq "@rest" ? "@got" : "@again, not @rest";
}

####################
