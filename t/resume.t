#!/usr/bin/perl

# Tests for resume by cursor.  A client holds all that is known of it: whatever
# message was the last one it saw, it comes back with the cursor of that message,
# to any worker of any nginx, and gets exactly what came after it.

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
	->has_daemon('redis-server')->plan(155);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

my $conf = <<"EOC";

%%TEST_GLOBALS%%

daemon off;
worker_processes 2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis         $url;
    rtbus_allow         job:*;
    rtbus_allow         user:\$arg_user;
    rtbus_max_channels  5;

    add_header          X-Worker \$pid always;

    server {
        listen       127.0.0.1:8080 reuseport;
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

$t->write_file_expand('nginx.conf', $conf);
$t->run();

# another node of the fleet

my $t2 = Test::Nginx->new();

$t2->write_file_expand('nginx.conf', $conf =~ s/8080/8081/r);
$t2->run();

ok((wait_for { !ref $redis->try_cmd('FCALL_RO', 'rtbus_version', 0) }
	'library'), 'library');

my @a = map { publish('job:a', $_) } 1 .. 6;
my @b = map { publish('job:b', $_) } 1 .. 4;
my @c = map { publish('user:9', $_) } 1 .. 2;

my ($c, $m, $r);

###############################################################################

# one channel from each of its positions, over each way there is

for my $k (0 .. 6) {
	my $cursor = 'job:a@' . ($k ? $a[$k - 1] : '0-0');
	my $missed = join ' ', map { "$_\@$a[$_ - 1]" } $k + 1 .. 6;

	is(missed(ws($cursor), 6 - $k), $missed, "WebSocket after $k");
	is(missed(sse_header($cursor), 6 - $k), $missed, "Last-Event-ID $k");
	is(missed(sse($cursor), 6 - $k), $missed, "?last_event_id= $k");
}

# "connected" comes first and has the cursor, which is as good as that given

for my $c (ws("job:a\@$a[2]"), sse("job:a\@$a[2]")) {
	my $name = (ref $c) =~ s/.*://r;
	my $m = $c->{first};

	is($m->{event}, 'connected', "$name connected");
	is($m->{cursor}, "job:a\@$a[2]", "$name cursor of connected");
	like($m->{data}{sessionId}, qr/^[0-9a-f]{32}\z/, "$name sessionId");
	cmp_ok(abs($m->{data}{timestamp} / 1000 - time()), '<', 60,
		"$name timestamp");
	is(missed($c, 3), "4\@$a[3] 5\@$a[4] 6\@$a[5]", "$name the rest");
}

# without a cursor: from now on, and the first cursor says from where

$c = ws('', '&channel=job:a');
is($c->{first}{cursor}, "job:a\@$a[5]", 'no cursor');

$a[6] = publish('job:a', 7);
is(missed($c, 1), "7\@$a[6]", 'no cursor, next');
is(missed(ws($c->{first}{cursor}), 1), "7\@$a[6]", 'cursor of connected');

$c = ws('');
is($c->{first}{cursor}, undef, 'no channel, no cursor')
	or diag explain $c->{first};

# a cursor places a channel of rtbus_subscribe, too, and adds others

$c = ws("job:a\@$a[5]", '&channel=job:a');
is(missed($c, 1), "7\@$a[6]", 'configured channel');

$c = ws("job:b\@$b[2]", '&channel=job:a');
is_deeply(places($c->{first}{cursor}),
	{ 'job:a' => $a[6], 'job:b' => $b[2] }, 'configured and another');
is(missed($c, 1), "4\@$b[3]", 'configured and another, missed');

###############################################################################

# several channels: each in order, and each message's cursor covers all of them

for my $connect (\&ws, \&sse, \&sse_header) {
	my $cursor = "job:a\@$a[4],job:b\@0-0,user:9\@$c[0]";

	$c = $connect->($cursor, '&user=9');
	my $name = (ref $c) =~ s/.*://r;

	is_deeply(places($c->{first}{cursor}), places($cursor),
		"$name several");

	my %at = %{places($cursor)};
	my %got;

	for my $i (1 .. 7) {
		my $m = next_message($c) or last;

		push @{$got{$m->{channel}}}, $m->{data}
			if defined $m->{channel};

		my $now = places($m->{cursor});
		my @moved = grep { $now->{$_} ne $at{$_} } keys %at;

		is("@moved", $m->{channel} || $moved[0],
			"$name moves in one channel");
		%at = %$now;
	}

	is_deeply(\%at, { 'job:a' => $a[6], 'job:b' => $b[3],
		'user:9' => $c[1] }, "$name end of all");

	next if $connect != \&ws;

	is_deeply(\%got, { 'job:a' => [ 6, 7 ], 'job:b' => [ 1 .. 4 ],
		'user:9' => [ 2 ] }, "$name events of all");
}

# wherever the connection breaks, the next one goes on from there

my ($broken, %all, $end) = (0);
my $cursor = 'job:a@0-0,job:b@0-0';

while (1) {
	$c = ws($cursor);

	for (1 .. 1 + $broken % 3) {
		my $m = next_message($c, 0.5);
		$end = !$m;
		last if $end;

		push @{$all{$m->{channel}}}, $m->{data};
		$cursor = $m->{cursor};
	}

	last if $end || $broken > 30;

	$c->reset();
	$broken++;
}

is_deeply(\%all, { 'job:a' => [ 1 .. 7 ], 'job:b' => [ 1 .. 4 ] },
	"broken off $broken times");

# live events have no position of their own and move nothing

$c = ws("job:a\@$a[6],job:b\@$b[2]");
is(missed($c, 1), "4\@$b[3]", 'before live');

for my $i (1 .. 3) {
	$redis->event('job:a', 'live', $i);
	$m = $c->wait_event('live');
	is($m->{data}, $i, "live $i");
	is_deeply(places($m->{cursor}),
		{ 'job:a' => $a[6], 'job:b' => $b[3] }, "live $i cursor");
}

$a[7] = publish('job:a', 8);
is(missed(ws($m->{cursor}), 1), "8\@$a[7]", 'cursor of a live event');
is($c->wait_event('n')->{data}, 8, 'durable after live');

# the order of the channels and how the URL is written do not matter

is_deeply(missed(ws("job:b\@$b[3],job:a\@$a[6]"), 1), "8\@$a[7]", 'order');
is_deeply(missed(ws("job%3Ab%40$b[3]%2Cjob%3aa%40$a[6]"), 1), "8\@$a[7]",
	'escaped');
is_deeply(missed(sse("job%3Ab%40$b[3]%2Cjob%3aa%40$a[6]"), 1), "8\@$a[7]",
	'escaped, SSE');
is_deeply(missed(ws("%6a%6f%62:a\@$a[6]"), 1), "8\@$a[7]", 'all escaped');

# the header counts, where there are both

$c = Test::RTBus::SSE->connect(path => "/sse?last_event_id=job:a\@$a[0]",
	last_event_id => "job:a\@$a[6]");
is($c->next_event()->{id}, "job:a\@$a[6]", 'header before argument');

$c = Test::RTBus::SSE->connect(path => "/sse?last_event_id=job:a\@$a[6]",
	last_event_id => '');
is($c->next_event()->{id}, "job:a\@$a[6]", 'empty header');

###############################################################################

# any worker, any node

my %workers;

for (1 .. 100) {
	$c = ws("job:a\@$a[4]");
	my $pid = $c->header('X-Worker');

	next if $workers{$pid};

	$workers{$pid} = missed($c, 3);
	last if keys %workers == 2;
}

is_deeply([ values %workers ], [ ("6\@$a[5] 7\@$a[6] 8\@$a[7]") x 2 ],
	'each worker');

is(missed(ws("job:a\@$a[4]", '', 8081), 3), "6\@$a[5] 7\@$a[6] 8\@$a[7]",
	'another node');
is(missed(sse_header("job:a\@$a[4]", '', 8081), 3),
	"6\@$a[5] 7\@$a[6] 8\@$a[7]", 'another node, SSE');

reload_wait($t);

is(missed(ws("job:a\@$a[4]"), 3), "6\@$a[5] 7\@$a[6] 8\@$a[7]", 'reloaded');

###############################################################################

# malformed: 400, whatever is wrong with it

for my $case (
	[ 'a name only', 'job:a' ],
	[ 'no position', 'job:a@' ],
	[ 'no channel', "\@$a[0]" ],
	[ 'half a position', 'job:a@1732300000000' ],
	[ 'no sequence', 'job:a@1732300000000-' ],
	[ 'no epoch', 'job:a@-7' ],
	[ 'three numbers', 'job:a@1-2-3' ],
	[ 'negative', 'job:a@1--2' ],
	[ 'sign', 'job:a@%2b1-2' ],
	[ 'leading zero', 'job:a@01-2' ],
	[ 'leading zero of the sequence', 'job:a@1-02' ],
	[ 'letters', 'job:a@1-2x' ],
	[ 'hexadecimal', 'job:a@0x1-2' ],
	[ 'too large', 'job:a@18446744073709551616-1' ],
	[ 'sequence too large', 'job:a@1-18446744073709551616' ],
	[ 'bad channel', 'job/a@1-2' ],
	[ 'long channel', 'job:' . 'a' x 197 . '@1-2' ],
	[ 'space', 'job:a@1-2,%20job:b@1-2' ],
	[ 'zero byte', 'job:a@1-2%00' ],
	[ 'comma at the end', 'job:a@1-2,' ],
	[ 'comma at the start', ',job:a@1-2' ],
	[ 'two commas', 'job:a@1-2,,job:b@1-2' ],
	[ 'only a comma', ',' ],
	[ 'other separator', 'job:a@1-2;job:b@1-2' ],
	[ 'channel twice', 'job:a@1-2,job:b@1-2,job:a@1-2' ],
	[ 'forbidden channel twice', 'user:1@1-2,job:b@1-2,user:1@1-2' ],
	[ 'bad behind a forbidden one', 'user:1@1-2,job:b' ],
)
{
	my ($name, $cursor) = @$case;

	my @got = map { $_->status() . ($_->body() || '') }
		ws($cursor), sse($cursor),
		sse_header($cursor =~ s/%20/ /r);	# a header is not decoded

	is_deeply(\@got, [ ('400{"error":"bad cursor"}') x 3 ], $name);
}

# the largest there are, are fine

for my $cursor ('job:a@18446744073709551615-18446744073709551615',
	'job:a@0-0', 'job:' . 'a' x 196 . '@1-2')
{
	is_deeply([ map { $_->status() } ws($cursor), sse($cursor) ],
		[ 101, 200 ], substr $cursor, 0, 40);
}

# too many, those counted that are forbidden

my $five = join ',', map { "job:$_\@0-0" } 1 .. 5;

is(ws($five)->status(), 101, 'as many as may be');

for my $more ("$five,job:6\@0-0", "$five,user:1\@0-0") {
	my @got = map { $_->status() . ($_->body() || '') } ws($more), sse($more);

	is_deeply(\@got, [ ('400{"error":"too many channels"}') x 2 ],
		'too many');
}

is(ws($five, '&channel=job:0')->status(), 400, 'too many, configured');
is(ws($five, '&channel=job:1')->status(), 101, 'configured is one of them');

# forbidden: that one is refused, the rest resumes

for my $connect (\&ws, \&sse, \&sse_header) {
	$c = $connect->("user:9\@0-0,job:a\@$a[6],user:1\@5-5", '&user=2');
	my $name = (ref $c) =~ s/.*://r;

	is($c->{first}{cursor}, "job:a\@$a[6]", "$name forbidden, cursor");

	for my $channel (qw/ user:9 user:1 /) {
		my $m = next_message($c);

		is($m->{event}, 'sync:refused', "$name $channel refused");
		is_deeply($m->{data},
			{ channel => $channel, error => 'forbidden' },
			"$name $channel refused, data");
	}

	is(missed($c, 1), "8\@$a[7]", "$name forbidden, the rest");

	publish('user:9', 3);
	publish('user:1', 1);
	$redis->event('job:a', 'end', 1);

	is(next_message($c)->{event}, 'end', "$name nothing of them");
}

# all of them; over WebSocket others can be joined later, over SSE not

$c = sse_header('user:9@0-0,user:1@0-0');
is($c->status(), 403, 'SSE all forbidden');
is($c->body(), '{"error":"forbidden","channel":"user:9"}',
	'SSE all forbidden, body');

$c = ws('user:9@0-0');
is($c->status(), 101, 'all forbidden');
is($c->{first}{event}, 'connected', 'all forbidden, connected');
is(next_message($c)->{event}, 'sync:refused', 'all forbidden, refused');

$c->send_json({ event => 'subscribe', data => { channel => 'job:a' },
	ack => 1 });
is($c->wait_ack(1)->{data}{position}, $a[7], 'all forbidden, goes on');

###############################################################################

# Nothing is missed and the worker has still to find that out: live events that
# come meanwhile are for whoever is there.

my $here = publish('job:live', 1);

$redis->cmd(qw/ ACL SETUSER default -xinfo /);

$c = ws("job:live\@$here");

ok($redis->wait_subscribers('job:live', 1), 'subscribed');
error_log_like($t, qr/cannot read the history of channel "job:live"/,
	'its position is not known');

$redis->event('job:live', 'live', $_) for 1, 2;
$redis->cmd(qw/ ACL SETUSER default +xinfo /);

is_deeply([ map { $m = next_message($c); "$m->{event} $m->{data} $m->{cursor}" }
	1, 2 ], [ map { "live $_ job:live\@$here" } 1, 2 ],
	'live events that came meanwhile');

publish('job:live', 2);
is(next_message($c)->{data}, 2, 'and what is next');

###############################################################################

sub publish {
	my ($channel, $data) = @_;

	return $redis->cmd('FCALL', 'rtbus_publish', 1, $channel, 'n', $data);
}

# each of these reads the first message, "connected"

sub ws {
	my ($cursor, $more, $port) = @_;

	return first(Test::RTBus::WebSocket->connect(
		port => port($port || 8080),
		path => "/ws?cursor=$cursor" . ($more || '')));
}

sub sse {
	my ($cursor, $more, $port) = @_;

	return first(Test::RTBus::SSE->connect(
		port => port($port || 8080),
		path => "/sse?last_event_id=$cursor" . ($more || '')));
}

sub sse_header {
	my ($cursor, $more, $port) = @_;

	return first(Test::RTBus::SSE->connect(
		port => port($port || 8080),
		path => '/sse?' . ($more || ''), last_event_id => $cursor));
}

sub first {
	my ($c) = @_;

	$c->{first} = next_message($c)
		if $c->status() == 101 || $c->status() == 200;

	return $c;
}

# the same form for both protocols

sub next_message {
	my ($c, $timeout) = @_;

	return $c->recv_json($timeout) if $c->can('recv_json');

	my $e = $c->next_json($timeout) or return undef;

	return { event => $e->{event}, data => $e->{data},
		cursor => $e->{id} };
}

# "data@position" of so many events, none of them anything else; a cursor begins
# with the channel of its event

sub missed {
	my ($c, $n) = @_;
	my @got;

	for (1 .. $n) {
		my $m = next_message($c) or last;

		push @got, $m->{event} eq 'n' && $m->{cursor} =~ /^[^@]+@([^,]+)/
			? "$m->{data}\@$1" : $m->{event};
	}

	return join ' ', @got;
}

sub places {
	my ($cursor) = @_;

	return { map { split /@/ } split /,/, $cursor };
}

###############################################################################
