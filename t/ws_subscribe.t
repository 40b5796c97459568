#!/usr/bin/perl

# Tests for what a WebSocket client joins and gets: subscribe and unsubscribe
# with their answers and refusals, rtbus_subscribe, rtbus_allow, the limits, and
# the events themselves, byte for byte as the producer wrote them.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Redis;
use Test::RTBus::WebSocket;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server')
	->plan(204);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $redis_url = $redis->url();

$t->write_file_expand('nginx.conf', <<"EOC");

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis      $redis_url command_timeout=60s;
    rtbus_max_event  100k;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location /ws {
            rtbus websocket;
            rtbus_allow job:*;
            rtbus_message_rate 1000000r/s;
        }

        location /max {
            rtbus websocket;
            rtbus_allow job:*;
            rtbus_max_channels 3;
        }

        location /rate {
            rtbus websocket;
            rtbus_allow job:*;
            rtbus_message_rate 5r/s;
        }

        location /none {
            rtbus websocket;
        }

        location /all {
            rtbus websocket;
            rtbus_allow *;
        }

        location /rules {
            rtbus websocket;
            rtbus_allow exact;
            rtbus_allow user:\$arg_user;
            rtbus_allow team:\${arg_team}:*;
            rtbus_allow \$arg_channel;
        }

        location /auto {
            rtbus websocket;
            rtbus_allow job:*;
            rtbus_allow user:\$arg_user;
            rtbus_subscribe job:fixed job:\$arg_job;
            rtbus_subscribe user:\$arg_user;
            rtbus_max_channels 3;
        }

        location /other {
            rtbus websocket;
            rtbus_allow job:*;
            rtbus_subscribe \$arg_a \$arg_b \$arg_c;
            rtbus_max_channels 2;
        }
    }
}

EOC

$t->run();
wait_redis($t);

###############################################################################

my $n = 0;

# subscribe

my $ws = client('/ws');
my $ack = subscribe($ws, 'job:1');

ok($ack->{ok}, 'subscribe');
is($ack->{channel}, 'job:1', 'subscribe answers the channel');
is($redis->subscribers('job:1'), 1, 'subscribed in redis');

is($redis->event('job:1', 'hello', { a => 1 }), 1, 'published');

my $event = $ws->recv_json();

is($event->{event}, 'hello', 'event');
is_deeply($event->{data}, { a => 1 }, 'event data');
is($event->{channel}, 'job:1', 'event channel');

# twice

$ack = subscribe($ws, 'job:1');
ok($ack->{ok}, 'subscribe again');

$redis->event('job:1', 'once', 1);
$redis->event('job:1', 'end', 1);
is(names($ws), 'once end', 'event comes once');

# unsubscribe

$ack = unsubscribe($ws, 'job:1');
ok($ack->{ok}, 'unsubscribe');
is($ack->{channel}, 'job:1', 'unsubscribe answers the channel');

$ack = unsubscribe($ws, 'job:1');
is($ack->{ok}, JSON::PP::false, 'unsubscribe again');
is($ack->{error}, 'not subscribed', 'unsubscribe again, error');

is(refusal(unsubscribe($ws, 'job:2')), 'not subscribed', 'never subscribed');
is(refusal(unsubscribe($ws, 'user:1')), 'not subscribed',
	'never subscribed, forbidden');

my $other = client('/ws');

subscribe($other, 'job:1');
$redis->event('job:1', 'lost', 1);
$other->wait_event('lost');

subscribe($ws, 'job:1');
$redis->event('job:1', 'end', 1);
is(names($ws), 'end', 'nothing after unsubscribe');

# many channels, and others

subscribe($ws, 'job:end');

my %mine = ('job:1' => 1);

for my $step ([ 'job:1', 'job:2', 'job:3' ], [ 'job:2' ], [ ],
	[ 'job:3', 'job:4', 'job:5', 'job:6' ], [ map { "job:$_" } 1 .. 8 ],
	[ 'job:8' ])
{
	my %want = map { $_ => 1 } @$step;

	for my $channel (map { "job:$_" } 1 .. 8) {
		subscribe($ws, $channel) if $want{$channel} && !$mine{$channel};
		unsubscribe($ws, $channel)
			if !$want{$channel} && $mine{$channel};
	}

	%mine = %want;

	$redis->event("job:$_", "job:$_", $_) for 1 .. 8;
	$redis->event('job:end', 'end', 1);

	is(names($ws), join(' ', @$step, 'end'), 'channels: ' . @$step);
}

# order

subscribe($ws, $_) for qw/ job:a job:b job:c /;

$redis->pipeline(map { [ 'PUBLISH', 'job:' . ('a', 'b', 'c')[$_ % 3],
	"{\"event\":\"n\",\"data\":$_}" ] } 1 .. 3000);

my $next = 1;

while ($next <= 3000) {
	my $m = $ws->recv_message() or last;
	last unless $m->{message} =~ /"data":$next,/;
	$next++;
}

is($next, 3001, 'events come in order');

# other clients are not concerned

subscribe($other, 'job:a');
is($redis->subscribers('job:a'), 1, 'one subscription for two clients');

unsubscribe($ws, 'job:a');
$redis->event('job:a', 'a', 1);
$redis->event('job:b', 'b', 1);
ok($other->wait_event('a'), 'another client stays');
is($ws->recv_json()->{event}, 'b', 'this one has left');

# all in one segment

$ws = client('/ws');

$ws->send_raw(join '', map { frame(payload => json_encode($_)) }
	request('subscribe', 'job:s1'), request('subscribe', 'job:s2'),
	request('unsubscribe', 'job:s1'), request('subscribe', 'job:s1'),
	request('subscribe', 'job:s1'), request('unsubscribe', 'job:s2'));

is(join(', ', map { my $m = $ws->wait_ack($_); refusal($m ? $m->{data} : {}) }
	$n - 5 .. $n), 'unsubscribed, unsubscribed, ok, ok, '
	. 'subscribe is under way, ok', 'answers to one segment');

$redis->event('job:s2', 'left', 1);
$redis->event('job:s1', 'joined', 1);
is(names($ws, 1), 'joined', 'the last word counts');

# without a number

$ws = client('/ws');

for my $case (
	[ 'subscribe', { channel => 'user:1' }, 'forbidden' ],
	[ 'subscribe', { channel => 'a b' }, 'bad channel' ],
	[ 'unsubscribe', { channel => 'job:1' }, 'not subscribed' ],
	[ 'nonsense', 1, 'unknown event' ],
)
{
	my ($name, $data, $error) = @$case;

	$ws->send_json({ event => $name, data => $data });

	my $m = $ws->recv_json();

	is($m->{event}, 'error', "error event: $error");
	is($m->{data}{ok}, JSON::PP::false, "error event: $error, not ok");
	is($m->{data}{error}, $error, "error event: $error, text");
}

$ws->send_json({ event => 'subscribe', data => { channel => 'job:quiet' } });
ok($redis->wait_subscribers('job:quiet', 1), 'subscribe without a number');
$redis->event('job:quiet', 'e', 1);
is($ws->recv_json()->{event}, 'e', 'no answer to subscribe');

$ws->send_json({ event => 'unsubscribe', data => { channel => 'job:quiet' } });
is(refusal(unsubscribe($ws, 'job:quiet')), 'not subscribed',
	'no answer to unsubscribe');

# names of channels

for my $channel ('job:x', 'job:', 'job:' . 'x' x 196,
	'job:AZaz09_.:-', 'job:42')
{
	$ack = subscribe($ws, $channel);
	is($ack->{channel}, $channel, 'channel ' . substr $channel, 0, 20);
}

$ws->send_text('{"event":"subscribe","ack":' . ++$n
	. ',"data":{"channel":"\u006aob\u003Aescaped"}}');
is($ws->wait_ack($n)->{data}{channel}, 'job:escaped', 'channel with escapes');

for my $channel ('', 'job:' . 'x' x 197, 'x' x 10000, 'job 1', 'job:1 ',
	' job:1', "job:\x{e9}", "job:\n", "job:1\0", 'job:{1}', 'job:*',
	'job/1', 'job:1,job:2', 'job@1', 'job:"', "job:\\", 1, undef,
	[ 'job:1' ], { a => 1 }, JSON::PP::true)
{
	my $text = json_encode($channel);

	is(refusal(subscribe($ws, $channel)), 'bad channel',
		'no channel ' . substr $text, 0, 20);
}

for my $data (undef, 'job:1', 1, [ 'job:1' ], { }, { Channel => 'job:1' }) {
	$ws->send_json({ event => 'subscribe', ack => ++$n, data => $data });
	is(refusal($ws->wait_ack($n)->{data}), 'bad channel',
		'no data ' . json_encode($data));
}

$ws->send_json({ event => 'subscribe', ack => ++$n });
is(refusal($ws->wait_ack($n)->{data}), 'bad channel', 'no data at all');

# what is known is known exactly

for my $name ('Subscribe', 'subscribe ', 'subscrib', 'subscribed', 'error',
	'model:chunk:v1', '@connect')
{
	$ws->send_json({ event => $name, ack => ++$n,
		data => { channel => 'job:1' } });
	is(refusal($ws->wait_ack($n)->{data}), 'unknown event',
		"unknown event $name");
}

$ws->send_text('{"event":"\u0073ubscribe","ack":' . ++$n
	. ',"data":{"channel":"job:1"}}');
ok($ws->wait_ack($n)->{data}{ok}, 'name of an event with escapes');

# rules

for my $case (
	[ '/ws', 'job:1', 'jobs:1', 'job', 'job1', 'user:1', 'xjob:1', 'Job:1',
		'JOB:1' ],
	[ '/none', undef, 'job:1', 'a' ],
	[ '/all', 'anything' ],
	[ '/rules', 'exact', 'exac', 'exact2', 'exact:1', 'user:', 'team::1',
		'user:1', 'team:' ],
	[ '/rules?user=7', 'user:7', 'user:70', 'user:', 'user:8' ],
	[ '/rules?team=a', 'team:a:1', 'team:a', 'team:ab:1', 'team:b:1' ],
	[ '/rules?user=*', undef, 'user:7', 'user:' ],
	[ '/rules?channel=c:1', 'c:1', 'c:2', 'c:', 'c:11' ],
	[ '/rules?channel=*', undef, 'c:1' ],
	[ '/rules?user=7&user=8', 'user:7', 'user:8' ],
)
{
	my ($path, $yes, @no) = @$case;

	my $ws = client($path);

	ok(subscribe($ws, $yes)->{ok}, "$path allows $yes") if defined $yes;

	is(refusal(subscribe($ws, $_)), 'forbidden', "$path forbids $_")
		for @no;
}

error_log_like($t, qr/\[info\] .*"jobs:1" that no rtbus_allow rule allows/,
	'forbidden is logged');

# too many channels

$ws = client('/max');

ok(subscribe($ws, "job:$_")->{ok}, "channel $_ of 3") for 1 .. 3;
is(refusal(subscribe($ws, 'job:4')), 'too many channels', 'channel 4 of 3');
ok(subscribe($ws, 'job:3')->{ok}, 'channel 3 again');
unsubscribe($ws, 'job:2');
ok(subscribe($ws, 'job:4')->{ok}, 'channel 4 in place of 2');
is(refusal(subscribe($ws, 'job:2')), 'too many channels', 'channel 2 of 3');

# too many messages

$ws = client('/rate');

$ws->send_raw(join '', map { frame(payload => json_encode($_)) }
	map { request('unsubscribe', "job:$_") } 1 .. 20);

my @answers = map { $ws->wait_ack($n - 20 + $_) } 1 .. 20;
my $good = grep { $_->{data}{error} eq 'not subscribed' } @answers;

cmp_ok($good, '>=', 5, 'rate: first messages');
cmp_ok($good, '<=', 10, 'rate: not all messages');
is(scalar(grep { ($_->{data}{error} || '') eq 'rate limited' } @answers),
	20 - $good, 'rate: others are limited');

ok((wait_for { subscribe($ws, 'job:1')->{ok} } 'the rate to recover'),
	'rate: later message');
is($ws->is_open(), 1, 'rate: the connection stays');

# rtbus_subscribe

for my $case (
	[ '/auto', 'job:fixed' ],
	[ '/auto?job=1', 'job:fixed', 'job:1' ],
	[ '/auto?user=7', 'job:fixed', 'user:7' ],
	[ '/auto?job=&user=7', 'job:fixed', 'user:7' ],
	[ '/auto?job=1&user=7', 'job:fixed', 'job:1', 'user:7' ],
	[ '/auto?job=fixed', 'job:fixed' ],
	[ '/other' ],
	[ '/other?b=job:1', 'job:1' ],
	[ '/other?a=job:1&b=job:2&c=job:1', 'job:1', 'job:2' ],
)
{
	my ($path, @joined) = @$case;

	my $ws = client($path);

	for my $channel (@joined) {
		$redis->wait_subscribers($channel, 1);
	}

	$redis->event($_, $_, 1) for @joined, @joined;

	is(names($ws, 2 * @joined), join(' ', @joined, @joined), $path);
}

for my $case (
	[ 403, '/other?a=user:1' ],
	[ 403, '/other?a=job:1&b=jobs' ],
	[ 400, '/other?a=job:1%20' ],
	[ 400, '/other?a=a@b' ],
	[ 400, '/other?a=job:' . 'x' x 197 ],
	[ 400, '/other?a=job:1&b=job:2&c=job:3' ],
	[ 400, '/auto?job={1}' ],
)
{
	my ($status, $path) = @$case;

	my $no = Test::RTBus::WebSocket->connect(path => $path);
	is($no->status(), $status, "$status " . substr $path, 0, 40);
}

# the answer does not wait for Redis

$redis->pause();

my $early = Test::RTBus::WebSocket->connect(path => '/auto?job=mute');

is($early->status(), 101, 'Redis is mute: 101');
is_deeply([ $early->pending_json() ], [], 'Redis is mute: not connected yet');

$redis->resume();

ok($early->wait_event('connected'), 'Redis goes on: connected');
$early->close();

# events, byte for byte

$ws = client('/ws');
subscribe($ws, 'job:1');

for my $data (
	'{}', '[]', '""', '0', '-0', 'null', 'true', 'false',
	'{ "a" : 1 ,"b":[ 1 , 2 ] }', "{\t\"a\":\r\n1}",
	'{"a":1,"a":2}', '{"b":1,"a":2}', '{"":""}',
	'12345678901234567890123456789', '0.10', '1E400', '1e-7', '-1.50E+3',
	'"\u00e9\u20AC\ud834\udd1e\/\b\"\\\\"', '"\u0000"', '"\ud800"',
	"\"\xc3\xa9\xe2\x82\xac\xf0\x9d\x84\x9e\"", "\"\xe2\x80\xa8\x7f\"",
	'[' x 60 . ']' x 60, '"' . 'x' x 90000 . '"',
	'{"event":"other","data":{"data":1},"channel":"job:2"}',
)
{
	is_event($data, "\"data\":$data,",
		"{\"event\":\"e\",\"data\":$data}");
}

is_event('no data', '"data":null,', '{"event":"e"}');
is_event('data first', '"data":{"a":1},', '{"data":{"a":1},"event":"e"}');
is_event('space around', '"data":{ },',
	" \n{ \"event\" : \"e\" ,\t\"data\" : { } } \r\n");
is_event('other members', '"data":1,',
	'{"v":[1,{"event":"x"}],"event":"e","data":1,"channel":"job:9"}');
is_event('last of a name', '"data":2,',
	'{"event":"x","event":"e","data":1,"data":2}');
is_event('timestamp', '"data":1,',
	'{"event":"e","data":1,"timestamp":1732300000123}');
is_event('timestamp of a float', '"data":1,',
	'{"event":"e","data":1,"timestamp":1732300000123.45}');
is_event('args', '"args":[1, "x",{}],', '{"event":"e","args":[1, "x",{}]}');
is_event('args empty', '"args":[],', '{"event":"e","args":[]}');
is_event('attachments', '"attachments":["AAE=" ,""],',
	'{"event":"e","data":{"_placeholder":true,"num":0},'
	. '"attachments":["AAE=" ,""]}');

for my $name ('"e"', '"caf\u00e9 \"x\""', "\"caf\xc3\xa9\"",
	'"' . 'x' x 128 . '"', '"a:b/c d"')
{
	is_event('name ' . substr($name, 0, 20), "\"event\":$name,",
		"{\"event\":$name,\"data\":1}");
}

is_event('longest', '"data":"xx', '{"event":"e","data":"'
	. 'x' x (102400 - 23) . '"}');

# no events

my @bad = (
	'', ' ', 'hello', '{', '{}', '[]', '"e"', '1', 'null', "\0",
	'{"data":1}', '{"event":1,"data":1}', '{"event":null}', '{"event":""}',
	'{"event":["e"]}', '{"event":"' . 'x' x 129 . '"}',
	'{"event":"a\nb"}', '{"event":"a\u007f"}', "{\"event\":\"a\nb\"}",
	'{"event":"e","data":}', '{"event":"e","data":1}}',
	'{"event":"e","data":1', '{"event":"e","data":1}{"event":"e"}',
	'{"event":"e","data":01}', '{"event":"e","data":"\x"}',
	"{\"event\":\"e\",\"data\":\"\xff\"}",
	"{\"event\":\"e\",\"data\":\"\xed\xa0\x80\"}",
	"{\"event\":\"\xc0\x80\"}", "\xef\xbb\xbf{\"event\":\"e\"}",
	'{"event":"e","data":' . '[' x 64 . ']' x 64 . '}',
	'{"event":"e","args":1}', '{"event":"e","args":{}}',
	'{"event":"e","data":1,"args":[1]}',
	'{"event":"e","attachments":"AA=="}',
	'{"event":"e","attachments":[1]}',
	'{"event":"e","id":7}', '{"event":"e","id":""}',
	'{"event":"e","id":"x"}', '{"event":"e","id":"0-0"}',
	'{"event":"e","id":"7"}', '{"event":"e","id":"1-2-3"}',
	'{"event":"e","timestamp":"now"}', '{"event":"e","timestamp":-1}',
	'{"event":"e","data":"' . 'x' x (102401 - 23) . '"}',
);

$redis->pipeline(map({ [ 'PUBLISH', 'job:1', $_ ] } @bad),
	[ 'PUBLISH', 'job:1', '{"event":"good"}' ]);

is($ws->recv_json()->{event}, 'good', 'only the good one arrives');

# each kind gets its line, one in a second at most

my %why = (
	'not JSON' => 'hello',
	'no event name' => '{}',
	'bad id' => '{"event":"e","id":7}',
	'too long' => 'x' x 102401,
);

for my $why (sort keys %why) {
	ok((wait_for {
		$redis->publish('job:1', $why{$why});
		error_log_count($t, qr/\[warn\] .*"job:1" dropped: $why/);
	} "the log to have '$why'"), "log: $why");
}

my $lines = error_log_count($t, qr/\[warn\] .*dropped:/);
my $began = time();

$redis->pipeline(map { [ 'PUBLISH', 'job:1', 'x' x 100 ] } 1 .. 1000)
	for 1 .. 3;
$redis->event('job:1', 'good', 2);
is($ws->recv_json()->{data}, 2, 'good one after thousands of bad ones');

cmp_ok(error_log_count($t, qr/\[warn\] .*dropped:/) - $lines, '<=',
	time() - $began + 1, 'log: one line in a second at most');
error_log_like($t, qr/dropped: .*, [1-9]\d* more since/,
	'log: the others are counted');

is(($ws->close())[0], 1000, 'no complaint to the end');

###############################################################################

sub client {
	my ($path) = @_;

	my $ws = Test::RTBus::WebSocket->connect(path => $path);

	$ws->wait_event('connected') or die "No connection at $path\n";

	return $ws;
}

sub frame {
	return Test::RTBus::WebSocket->frame(@_);
}

sub request {
	my ($event, $channel) = @_;

	return { event => $event, ack => ++$n,
		data => { channel => $channel } };
}

sub subscribe {
	my ($ws, $channel) = @_;

	$ws->send_json(request('subscribe', $channel));

	my $m = $ws->wait_ack($n);
	return $m ? $m->{data} : {};
}

sub unsubscribe {
	my ($ws, $channel) = @_;

	$ws->send_json(request('unsubscribe', $channel));

	my $m = $ws->wait_ack($n);
	return $m ? $m->{data} : {};
}

sub refusal {
	my ($data) = @_;

	return $data->{ok} ? 'ok' : $data->{error};
}

# the names of events, up to "end" or so many

sub names {
	my ($ws, $count) = @_;
	my @names;

	while (!defined $count || @names < $count) {
		my $m = $ws->recv_json() or last;

		push @names, $m->{event};
		last if $m->{event} eq 'end';
	}

	return join ' ', @names;
}

sub is_event {
	my ($name, $want, $bytes) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$redis->publish('job:1', $bytes);

	my $m = $ws->recv_message();
	my $got = $m ? $m->{message} : '';

	$name =~ s/[^ -~]+/?/g;

	ok(index($got, $want) >= 0, 'event: ' . substr $name, 0, 50)
		or diag(substr $got, 0, 200);
}

###############################################################################
