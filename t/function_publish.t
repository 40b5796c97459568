#!/usr/bin/perl

# Tests for rtbus_publish of conf/rtbus.lua: one event, one step.  All that a
# client believes of a position rests on it, so the numbers have to be right
# whatever producers, operators and the clock do to the keys.

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
use Time::HiRes qw/ sleep /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

grep { -x "$_/redis-server" } split /:/, $ENV{PATH}
	or plan(skip_all => 'no redis-server');

my $library = abs_path(dirname(__FILE__) . '/../conf/rtbus.lua');
my $dir = tempdir('rtbus-XXXXXXXX', TMPDIR => 1, CLEANUP => 1);

my $redis = Test::RTBus::Redis->new(dir => $dir);

is($redis->load_functions($library), 'rtbus', 'library loaded');

# a cluster takes its time to come up: it is used at the end

my $cluster = Test::RTBus::Redis->new(dir => $dir,
	args => [ '--cluster-enabled', 'yes' ]);

$cluster->cmd('CLUSTER', 'ADDSLOTSRANGE', 0, 16383);
$cluster->load_functions($library);

# all that is published on any channel, in order

my $sub = listen_to($redis, 'PSUBSCRIBE', '*');

###############################################################################

# one event

my $before = now_ms();
my $id = fcall('job:1', 'model:chunk:v1', '{"n":1}');
my $after = now_ms();

my ($epoch, $seq) = $id =~ /^(\d+)-(\d+)\z/;

is($seq, 1, 'first seq');
cmp_ok($epoch, '>=', $before, 'epoch is not before');
cmp_ok($epoch, '<=', $after, 'epoch is not after');

my $entries = $redis->cmd('XRANGE', '{job:1}:events', '-', '+');
my %entry = @{$entries->[0][1]};

is(@$entries, 1, 'one entry');
is($entries->[0][0], $id, 'entry id');
is(join(' ', sort keys %entry), 'data event timestamp', 'entry fields');
is($entry{event}, 'model:chunk:v1', 'entry event');
is($entry{data}, '{"n":1}', 'entry data');
cmp_ok($entry{timestamp}, '>=', $before, 'timestamp is not before');
cmp_ok($entry{timestamp}, '<=', $after, 'timestamp is not after');

is_deeply(state('job:1'), {
	epoch => $epoch, seq => 1,
	createdAt => $entry{timestamp}, updatedAt => $entry{timestamp}
}, 'state at birth');

is_deeply([ messages() ], [ [ 'job:1', '{"event":"model:chunk:v1",'
	. '"data":{"n":1},"id":"' . $id . '","timestamp":' . $entry{timestamp}
	. '}' ] ], 'message');

is($redis->cmd('EXISTS', '{job:1}:output'), 0, 'no output');
like_ttl('job:1', 86400, 'default TTL');

# with everything; names of options in any case, SET takes what follows

$id = fcall('job:1', 'e', '2', 'append', "a\x{c3}\x{a9}\n", 'Ttl', '1000',
	'MAXLEN', '5', 'set', 'status', 'running', 'TTL', "\x00\xff", '', 'x');

is($id, "$epoch-2", 'next position');

my $state = state('job:1');

is($state->{status}, 'running', 'field');
is($state->{TTL}, "\x00\xff", 'field named like an option, of any bytes');
is($state->{''}, 'x', 'field with no name');
is($state->{seq}, 2, 'seq in the state');
is($state->{epoch}, $epoch, 'epoch in the state');
is($state->{createdAt}, $entry{timestamp}, 'createdAt stays');
is($redis->cmd('GET', '{job:1}:output'), "a\x{c3}\x{a9}\n", 'output');
like_ttl('job:1', 1000, 'TTL');

fcall('job:1', 'e', '3', 'APPEND', 'b', 'SET', 'updatedAt', 'u');

is($redis->cmd('GET', '{job:1}:output'), "a\x{c3}\x{a9}\nb", 'output grows');
is(state('job:1')->{updatedAt}, 'u', 'updatedAt of the producer');
like_ttl('job:1', 86400, 'default TTL again');

fcall('job:1', 'e', '4', 'APPEND', '');
is($redis->cmd('STRLEN', '{job:1}:output'), 5, 'nothing appended');

fcall('job:new', 'e', '4', 'APPEND', '');
is($redis->cmd('EXISTS', '{job:new}:output'), 0, 'no output of nothing');

$redis->cmd('HSET', '{job:old}:state', 'createdAt', 'long ago', 'a', 'b');
fcall('job:old', 'e', '1');
is(state('job:old')->{createdAt}, 'long ago', 'createdAt is kept');
is(state('job:old')->{a}, 'b', 'fields are kept');

fcall('job:made', 'e', '1', 'SET', 'createdAt', 'then');
is(state('job:made')->{createdAt}, 'then', 'createdAt of the producer');

# the last event of a job; the first end of an epoch counts

fcall('job:over', 'e', '1');
my $end = fcall('job:over', 'e', '2', 'END', 'completed');
my $ended = state('job:over');

is($ended->{status}, 'completed', 'END, status');
is($ended->{end}, $end, 'END, position');
is($ended->{endedAt}, $ended->{updatedAt}, 'END, time');

%entry = @{$redis->cmd('XREVRANGE', '{job:over}:events', '+', '-')->[0][1]};
is($entry{end}, 'completed', 'END, entry');
like((messages())[-1][1], qr/,"end":"completed","id":"\Q$end\E"/,
	'END, message');

fcall('job:over', 'e', '3', 'END', 'failed');
is(state('job:over')->{end}, $end, 'END, again');

fcall('job:over2', 'e', '1', 'END', 'failed', 'ATTACHMENTS', '["eA=="]',
	'SET', 'status', 'mine');
is(state('job:over2')->{status}, 'mine', 'END, status of the producer');
like((messages())[-1][1], qr/,"attachments":\["eA=="\],"end":"failed",/,
	'END and ATTACHMENTS');

my @pairs = map { ("field$_", $_) } 1 .. 1000;

fcall('job:wide', 'e', '1', 'SET', @pairs);
is($redis->cmd('HLEN', '{job:wide}:state'), 1004, '1000 fields');

messages();

###############################################################################

# channels

for my $c ('j', 'A-Z_a.z:0-9', 'x' x 200) {
	fcall($c, 'e', '1');
	is($redis->cmd('XLEN', "{$c}:events"), 1, "channel $c");
	is((messages())[0][0], $c, "message on $c");
}

like(fcall('{job:1}', 'e', '5'), qr/-5\z/, 'channel in braces');
is((messages())[0][0], 'job:1', 'message of channel in braces');

for my $p ('p:', "any thing\n\xff", 'p' x 300) {
	my $name = substr $p, 0, 4;

	like(fcall("$p\{job:1}", 'e', '1', 'APPEND', 'x'), qr/-1\z/,
		"prefix $name");
	is((messages())[0][0], "${p}job:1", "message with prefix $name");
	is($redis->cmd('EXISTS', map { "$p\{job:1}:$_" }
		qw/ events state output /), 3, "keys with prefix $name");
}

###############################################################################

# data arrives as it was given

my @good = (
	'null', 'true', 'false', '0', '-0', '12', '-1.5', '1e5', '1E+5',
	'1.25e-7', '1e999', '123456789012345678901234567890', '""', '" "',
	'"."', '"1."', '"-.5"', '"1.x"', '{}', '[]', '[[]]', '{"":{}}',
	'{"a":1,"a":2}', '{"text":"Version 2. is out."}', '"\\u0000"',
	'"\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9"', '"\\ud83d\\ude00"', '"\\ud83d"',
	'"\\ude00 \\\\ud83d"', '"\\\\"', '["\\\\",1.5]', " \t\r\n[ 1 ,\n2 ] \n",
	"{\n\t\"a\" :\t1.5,\n\t\"b\": \"x\"\n}", "\"\x7f\"",
	"\"\xc2\x80 \xdf\xbf \xe0\xa0\x80 \xed\x9f\xbf \xee\x80\x80"
		. " \xef\xbf\xbf \xf0\x90\x80\x80 \xf4\x8f\xbf\xbf\"",
	"{\"\xc3\xa9\":\"\xe4\xbd\xa0\xe5\xa5\xbd\",\"n\":1.5,\n\"s\":\"\xf0\x9f"
		. "\x98\x80\"}",
	'[' x 63 . ']' x 63, '{"a":' x 62 . '[]' . '}' x 62,
	"[\"\\\"\",\n1.5]", "[\"\\\\\",\n\"1.\"]",
	'"' . 'x' x 100000 . '"',
	'[' . join(',', map { qq({"n":$_,"t":"\xc3\xa9."}) } 1 .. 3000) . ']',
);

for my $data (@good) {
	$id = eval { fcall('job:good', 'e', $data) };

	my $entry = eval {
		$redis->cmd('XRANGE', '{job:good}:events', $id, $id)->[0]
	};
	my ($message) = map { $_->[1] } messages();

	ok(defined $id && $entry->[1][3] eq $data
		&& $message =~ /^\{"event":"e","data":\Q$data\E,"id":"$id",/,
		'data ' . show($data));
}

for my $event ('a', 'x' x 128, '@x', 'with "quotes" and \\', ' ', "\xc3\xa9",
	"\x{e2}\x{82}\x{ac}" x 42, '{}', '%0', "\xc2\x85")
{
	eval { fcall('job:good', $event, '1') };

	my $envelope = eval { json_decode((messages())[0][1]) };
	my $decoded = $event;

	utf8::decode($decoded);

	is($envelope->{event}, $decoded, 'event ' . show($event));
}

# args and attachments

$id = fcall('job:args', 'e', '', 'ARGS', '[1, {"_placeholder":true,"num":0}]',
	'ATTACHMENTS', '["AAE=", ""]');

my ($message) = map { $_->[1] } messages();
my $entry = $redis->cmd('XRANGE', '{job:args}:events', '-', '+')->[0][1];

like($message, qr/^\Q{"event":"e","args":[1, {"_placeholder":true,"num":0}],\E
	\Q"attachments":["AAE=", ""],"id":"$id","timestamp":\E\d+\}\z/x,
	'message with args');
is_deeply([ @$entry[0 .. 3] ],
	[ 'event', 'e', 'args', '[1, {"_placeholder":true,"num":0}]' ],
	'entry with args');
is({ @$entry }->{attachments}, '["AAE=", ""]', 'entry with attachments');
ok(!exists { @$entry }->{data}, 'entry without data');

fcall('job:args', 'e', '[0]', 'attachments', '[]', 'SET', 'a', 'b');

($message) = map { $_->[1] } messages();
like($message, qr/^\{"event":"e","data":\[0\],"attachments":\[\],"id":/,
	'message with data and attachments');

$entry = { @{$redis->cmd('XRANGE', '{job:args}:events', '-', '+')->[1][1]} };

is($entry->{data}, '[0]', 'entry with data and attachments');
is($entry->{attachments}, '[]', 'its attachments');

###############################################################################

# an operator's EXPIRE is not the function's clock

fcall('job:clock', 'e', '1');
$redis->cmd('EXPIRE', '{job:clock}:events', 86397);
my $then = now_ms();
fcall('job:clock', 'e', '2');
my %clock = @{$redis->cmd('XREVRANGE', '{job:clock}:events', '+', '-', 'COUNT',
	1)->[0][1]};
cmp_ok($clock{timestamp}, '>=', $then, 'timestamp behind an EXPIRE');
cmp_ok($clock{timestamp}, '<=', now_ms(), 'which is of now');
messages(2);

###############################################################################

# what is wrong is refused, with a reason, and nothing is written

$redis->cmd('SET', '{job:1}:output', 'before');

my @wrong = (
	[ 0, [], 'one key' ],
	[ 0, [ 'job:1', 'e', '1' ], 'one key' ],
	[ 2, [ 'job:1', 'job:2', 'e', '1' ], 'one key' ],

	(map { [ 1, [ $_, 'e', '1' ], 'bad channel' ] }
		'', ' ', 'job 1', 'job:1 ', "job\n", "job\0", 'j/1', 'j*',
		"j\xc3\xa9", 'x' x 201, '{', '}', '{}', 'p{}', '{job:1', 'job:1}',
		'p{job:1}x', 'p{{job:1}}', '{a}{b}', 'a}{b}', '{a b}',
		'p{' . 'x' x 201 . '}', '{job:1}:events'),

	[ 1, [ 'job:1' ], 'an event name and data' ],
	[ 1, [ 'job:1', 'e' ], 'an event name and data' ],

	[ 1, [ 'job:1', '', '1' ], 'event name is empty' ],
	[ 1, [ 'job:1', 'x' x 129, '1' ], 'event name is too long' ],
	(map { [ 1, [ 'job:1', $_, '1' ], 'control character in event name' ] }
		"\0", "a\n", "\x1f", "a\x7fb", "\tx"),
	(map { [ 1, [ 'job:1', $_, '1' ], 'event name is not UTF-8' ] }
		"\x80", "a\xff", "\xc3", "\xe2\x82", "\xed\xa0\x80"),

	(map { [ 1, [ 'job:1', 'e', $_ ], 'data is not JSON' ] }
		'', ' ', '{', '}', '[', ']', '[1', '{"a"}', '{"a":}', '{"a":1,}',
		'[1,]', '[,1]', '{,}', '{a:1}', "{'a':1}", '{1:2}', '{"a":1 "b":2}',
		'[1 2]', '1 2', '1,', '{}x', '{}{}', '"a""b"', '"a', 'a', 'nul',
		'nulll', 'True', 'NULL', 'undefined', 'nan', 'NaN', '-nan', 'inf',
		'Infinity', '-Infinity', '+1', '-', '--1', '- 1', '01', '-01', '00',
		'0x10', '0X1p3', '1.', '-1.', '1.e5', '.5', '-.5', '[1.]', '[-.5]',
		'{"a":1.}', '1.5.', '1.5.5', '1e', '1e+', '1e5.5', '1_000', '0b1',
		'1d5', '"\\x"', '"\\u12"', '"\\u12g4"', '"\\', '"\\"', '/**/1',
		"\xef\xbb\xbf1", "\"\t\"", "\"a\nb\"", "[\"a\",\"\x1f\"]", "\"\0\"",
		"1\0", "\0" . '1', "{}\0x", "\f1", "\x0b1", "[1,\x0c2]",
		"{\"a\n\":\"b\"}", "{\"a\":\"b\n\",\"c\":\"\n\"}", "[\"\\\n\"]",
		'[1.,"."]', '["a",-.5]', '"\\ud83d" x', '"\\ud83d\\"', '\\ud83d',
		'"\\\\ud83d\\"', '[' x 64 . ']' x 64, '[' x 100000,
		'{"a":' x 64 . '1' . '}' x 64),

	(map { [ 1, [ 'job:1', 'e', "\"$_\"" ], 'data is not UTF-8' ] }
		"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc3", "\xc3x",
		"\xc3\xa9\xa9", "\xe0\x9f\xbf", "\xe2\x82", "\xe2x\x82",
		"\xe2\x82\x41", "\xe4\xc3\xa9\xbd", "\xed\xa0\x80", "\xed\xbf\xbf",
		"\xf0\x8f\xbf\xbf", "\xf0\x9f\x98", "\xf0\x9f\x98x",
		"\xf0\x9fx\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff",
		"\xfe", 'ok ' x 50 . "\xe9", "\xe4\xbd\xa0" x 50 . "\xbd"),

	(map { [ 1, [ 'job:1', 'e', '1', @$_ ], 'unknown option' ] }
		[ 'x' ], [ '' ], [ 'EX', '1' ], [ 'APPEND', 'x', 'y' ], [ "TTL\0" ],
		[ 'SETS', 'a', 'b' ], [ 'epoch', '1' ]),

	(map { [ 1, [ 'job:1', 'e', '1', $_ ], uc() . ' has no value' ] }
		'APPEND', 'TTL', 'MAXLEN', 'ARGS', 'ATTACHMENTS', 'append'),
	[ 1, [ 'job:1', 'e', '1', 'TTL', '5', 'APPEND' ],
		'APPEND has no value' ],

	(map { my $o = $_; map { [ 1, [ 'job:1', 'e', '1', $o, $_ ],
			"$o is not a number from 1 to" ] }
		'', '0', '-1', '+1', '1.5', ' 1', '1 ', 'x', '0x10', '1e3', '01',
		'inf', 'nan', '2000000000', '99999999999999999999', "1\0" }
		'TTL', 'MAXLEN'),
	[ 1, [ 'job:1', 'e', '1', 'TTL', '315360001' ], 'TTL is not a number' ],
	[ 1, [ 'job:1', 'e', '1', 'MAXLEN', '1000000001' ],
		'MAXLEN is not a number' ],

	[ 1, [ 'job:1', 'e', '1', 'APPEND', "a\xff" ], 'APPEND is not UTF-8' ],
	[ 1, [ 'job:1', 'e', '1', 'APPEND', "\xe2\x82" ],
		'APPEND is not UTF-8' ],

	(map { [ 1, [ 'job:1', 'e', '1', 'TTL', '9', 'SET', @$_ ],
			'SET needs pairs' ] }
		[], [ 'a' ], [ 'a', 'b', 'c' ], [ 'a', 'b', 'TTL' ]),
	(map { [ 1, [ 'job:1', 'e', '1', 'SET', @$_ ], 'SET may not set' ] }
		[ 'epoch', '1' ], [ 'seq', '1' ], [ 'a', 'b', 'seq', '1' ]),
	[ 1, [ 'job:1', 'e', '1', 'SET', @pairs, 'a', 'b' ],
		'SET has too many fields' ],

	(map { [ 1, [ 'job:1', 'e', '1', @$_ ], "\U$_->[0]\E is given twice" ] }
		[ 'TTL', '5', 'TTL', '5' ], [ 'append', '', 'Append', '' ],
		[ 'MAXLEN', '5', 'APPEND', 'x', 'MAXLEN', '6' ],
		[ 'ATTACHMENTS', '[]', 'ATTACHMENTS', '[]' ]),

	# names that clients of Socket.IO take for something else

	(map { [ 1, [ 'job:1', $_, '1' ], 'reserved event name' ] }
		qw/ connect connect_error disconnect disconnecting newListener
		removeListener /),

	# what no client would get

	(map { [ 1, [ 'job:1', 'e', @$_ ],
			'event is too long, 1048576 bytes are allowed' ] }
		[ '"' . 'x' x 1048574 . '"' ],
		[ '', 'ARGS', '["' . 'x' x 1048572 . '"]' ],
		[ '""', 'ATTACHMENTS', '["' . 'QUJD' x 262143 . '"]' ]),
	[ 1, [ 'job:1', 'e', '"12345678"', 'MAXSIZE', '10' ],
		'event is too long, 10 bytes are allowed' ],
	[ 1, [ 'job:1', 'e', '1', 'APPEND', 'x' x 1048577 ],
		'APPEND is too long, 1048576 bytes are allowed' ],
	[ 1, [ 'job:1', 'e', '1', 'SET', 'a', 'x' x 1048576 ],
		'SET is too long, 1048576 bytes are allowed' ],
	(map { [ 1, [ 'job:1', 'e', '1', 'MAXSIZE', $_ ],
			'MAXSIZE is not a number from 1 to 67108864' ] }
		'0', '-1', 'x', '67108865'),

	# binary data

	[ 1, [ 'job:1', 'e', '1', 'ATTACHMENTS', '[' . '"",' x 10 . '""]' ],
		'ATTACHMENTS has too many attachments' ],
	(map { [ 1, [ 'job:1', 'e', '1', 'ATTACHMENTS', qq(["$_"]) ],
			'ATTACHMENTS is not base64' ] }
		'Q', 'QQ', 'QUI', '====', 'ab-_', 'QQ==QQ==', 'QUJD\\nQUJD', '!!!!',
		'QUJ\\ud83d'),
	(map { [ 1, [ 'job:1', 'e', $_, 'ATTACHMENTS', '[""]' ],
			'data has a bad placeholder' ] }
		map { qq({"a":[{"_placeholder":$_->[0],"num":$_->[1]}]}) }
		[ 'true', 1 ], [ 'true', -1 ], [ 'true', 0.5 ], [ 'true', 'null' ],
		[ 'true', '"0"' ], [ 1, 0 ]),

	(map { [ 1, [ 'job:1', 'e', $_ ], 'data is not JSON' ] }
		'"\\u\\ud80012d8"', '"\\u1\\ud83d234"', '"\\\\\\ud83d\\"'),

	[ 1, [ 'job:1', 'e', '1', 'ARGS', '[1]' ], 'with ARGS the data' ],
	[ 1, [ 'job:1', 'e', 'null', 'ARGS', '[1]' ], 'with ARGS the data' ],
	[ 1, [ 'job:1', 'e', '', 'TTL', '5' ], 'data is not JSON' ],
	(map { my $o = $_; (
		(map { [ 1, [ 'job:1', 'e', '', $o, $_ ], "$o is not an array" ] }
			'{}', '1', 'null', '"[]"', '{"a":[]}'),
		(map { [ 1, [ 'job:1', 'e', '', $o, $_ ], "$o is not JSON" ] }
			'', '[', '[1.]', '[1]]', "[\"\n\"]"),
		[ 1, [ 'job:1', 'e', '', $o, "[\"\xff\"]" ], "$o is not UTF-8" ]) }
		'ARGS', 'ATTACHMENTS'),
	(map { [ 1, [ 'job:1', 'e', '1', 'ATTACHMENTS', $_ ],
			'ATTACHMENTS is not an array of strings' ] }
		'[1]', '["a",null]', '[[]]', '["a",{}]', '[true]'),
);

refused($_->[2], 'rtbus_publish', @$_[0, 1]) for @wrong;

# keys of another type

my @types = (
	[ 'state', [ 'SET', 'x' ], [ 'APPEND', 'x' ] ],
	[ 'state', [ 'RPUSH', 'x' ], [] ],
	[ 'events', [ 'SET', 'x' ], [] ],
	[ 'events', [ 'SET', 'x' ], [ 'APPEND', 'x' ] ],
	[ 'events', [ 'HSET', 'a', 'b' ], [ 'APPEND', 'x', 'SET', 'a', 'b' ] ],
	[ 'output', [ 'RPUSH', 'x' ], [ 'APPEND', 'x' ] ],
	[ 'output', [ 'SADD', 'x' ], [ 'SET', 'a', 'b', ], 'written' ],
);

for my $known (0, 1) {
	for (@types) {
		my ($name, $make, $options, $written) = @$_;
		my $key = "{job:type}:$name";
		my ($cmd, @args) = @$make;
		my $what = "$name made by $cmd" . ($known ? ', known channel' : '');

		$redis->cmd('DEL', map { "{job:type}:$_" }
			qw/ events state output /);

		fcall('job:type', 'e', '1', 'APPEND', 'x') if $known;
		$redis->cmd('DEL', $key);
		$redis->cmd($cmd, $key, @args);
		messages();

		if ($written) {
			like(fcall('job:type', 'e', '1', @$options),
				qr/^\d+-\d+\z/, "$what, not needed");
			messages();
			next;
		}

		nothing_written(sub {
			$redis->try_cmd('FCALL', 'rtbus_publish', 1, 'job:type',
				'e', '1', @$options)
		}, qr/^WRONGTYPE /, $what);
	}
}

# out of ids: the text that was appended first goes back

for my $text ('', 'before') {
	$redis->cmd('DEL', map { "{job:end}:$_" } qw/ events state output /);
	$redis->cmd('XADD', '{job:end}:events', '18446744073709551615-'
		. '18446744073709551615', 'a', 'b');
	$redis->cmd('SET', '{job:end}:output', $text, 'EX', 100) if $text ne '';

	my $digest = $redis->cmd('DEBUG', 'DIGEST');

	like($redis->try_cmd('FCALL', 'rtbus_publish', 1, 'job:end', 'e', '1',
		'APPEND', 'x'), qr/^ERR /, 'out of ids');
	is($redis->cmd('DEBUG', 'DIGEST'), $digest, "text after '$text' is back");
	is_deeply([ messages() ], [], 'no message');
}

cmp_ok($redis->cmd('TTL', '{job:end}:output'), '>', 90, 'with its TTL');

# a text that would be too long

$redis->cmd('CONFIG', 'SET', 'proto-max-bulk-len', 1048576);
$redis->cmd('SETRANGE', '{job:long}:output', 1048570, 'x');
nothing_written(sub {
	$redis->try_cmd('FCALL', 'rtbus_publish', 1, 'job:long', 'e', '1',
		'APPEND', 'x' x 10)
}, qr/^ERR .*exceeds/, 'text too long');
$redis->cmd('CONFIG', 'SET', 'proto-max-bulk-len', 536870912);
$redis->cmd('DEL', '{job:long}:output');

# no memory

fcall('job:oom', 'e', '1');
messages();

$redis->cmd('CONFIG', 'SET', 'maxmemory', 1);

for my $c ('job:oom', 'job:oom2') {
	nothing_written(sub {
		$redis->try_cmd('FCALL', 'rtbus_publish', 1, $c, 'e', '1',
			'APPEND', 'x', 'SET', 'a', 'b')
	}, qr/^OOM /, "no memory, $c");
}

$redis->cmd('CONFIG', 'SET', 'maxmemory', 0);

# no permission

my %deny = (
	'no channels' => [ '~*', '+@all', 'resetchannels' ],
	'another channel' => [ '~*', '+@all', '&job:2' ],
	'no PUBLISH' => [ '~*', '+@all', '-publish', '&*' ],
	'no HSET' => [ '~*', '+@all', '-hset', '&*' ],
	'no HGET' => [ '~*', '+@all', '-hget', '&*' ],
	'no XADD' => [ '~*', '+@all', '-xadd', '&*' ],
	'no APPEND' => [ '~*', '+@all', '-append', '&*' ],
	'no PEXPIREAT' => [ '~*', '+@all', '-pexpireat', '&*' ],
	'no state' => [ '~job*', '~*events', '~*output', '+@all', '&*' ],
	'state to read' => [ '~job*', '~*events', '~*output', '%R~*state',
		'+@all', '&*' ],
	'no output' => [ '~job*', '~*events', '~*state', '+@all', '&*' ],
);

for my $what (sort keys %deny) {
	$redis->cmd('ACL', 'SETUSER', 'worker', 'reset', 'on', '>pw',
		@{$deny{$what}});

	my $conn = Test::RTBus::Redis::Connection->new($redis->port());

	ask($conn, 'AUTH', 'worker', 'pw');

	# a channel that is new

	nothing_written(sub {
		ask($conn, 'FCALL', 'rtbus_publish', 1, 'job:acl', 'e', '1',
			'APPEND', 'x', 'SET', 'a', 'b')
	}, qr/^NOPERM rtbus: |^(NOPERM|ERR) .* (can't (run|access)|permissions to )/,
		$what);
}

$redis->cmd('ACL', 'SETUSER', 'worker', 'reset', 'on', '>pw', '~job:p',
	'~{job:p}:*', '&job:p', '+fcall', '+hget', '+hset', '+pttl', '+time',
	'+xadd', '+xlen', '+xinfo', '+exists', '+pexpireat', '+append',
	'+publish');

my $conn = Test::RTBus::Redis::Connection->new($redis->port());

ask($conn, 'AUTH', 'worker', 'pw');
like(ask($conn, 'FCALL', 'rtbus_publish', 1, 'job:p', 'e', '1', 'APPEND', 'x'),
	qr/-1\z/, 'just the permissions it takes');
like(ask($conn, 'FCALL', 'rtbus_publish', 1, 'job:p', 'e', '1', 'APPEND', 'x'),
	qr/-2\z/, 'and again');

messages();

###############################################################################

# the stream is the truth

sub start {
	$redis->cmd('DEL', map { "{job:s}:$_" } qw/ events state output /);
	($epoch) = (fcall('job:s', 'e', '1')) =~ /^(\d+)-1\z/;
	fcall('job:s', 'e', '2');
}

sub goes_on {
	my ($expected, $what) = @_;

	is(fcall('job:s', 'e', '1'), $expected, $what);

	my ($e, $s) = split /-/, $expected;
	my $state = state('job:s');

	is("$state->{epoch}-$state->{seq}", $expected, "$what, in the state");

	$s++;
	is(fcall('job:s', 'e', '1'), "$e-$s", "$what, and on");
}

start();
$redis->cmd('XADD', '{job:s}:events', "$epoch-3", 'event', 'e', 'data', '1');
goes_on("$epoch-4", 'producer adds the next');

$redis->cmd('XADD', '{job:s}:events', "$epoch-*", 'event', 'e', 'data', '1');
goes_on("$epoch-7", 'producer adds one more');

start();
$redis->cmd('XADD', '{job:s}:events', $epoch + 5 . '-1', 'event', 'e');
goes_on($epoch + 5 . '-2', 'producer goes on to another epoch');

start();
$redis->cmd('XADD', '{job:s}:events', '18000000000000000000-7', 'event', 'e');
goes_on('18000000000000000000-8', 'producer goes on to a huge epoch');

start();
$redis->cmd('DEL', '{job:s}:state');
goes_on("$epoch-3", 'state deleted');
is(state('job:s')->{createdAt} > 0, 1, 'state has createdAt');

start();
$redis->cmd('HDEL', '{job:s}:state', 'epoch', 'seq');
goes_on("$epoch-3", 'fields of the state deleted');

for my $bad (qw/ 9999999999999 99999999999999 999999999999999 1732300000000000
	18446744073709551615 99999999999999999999 1732300000000 1 0 -1 x 1.5 * $ +
	E-1 0E 00E +E E.0 E- E-* /, '', ' E', 'E ', "\xff")
{
	start();

	(my $value = $bad) =~ s/E/$epoch/;

	$redis->cmd('HSET', '{job:s}:state', 'epoch', $value);
	goes_on("$epoch-3", 'epoch ' . show($bad) . ' in the state');
	is($redis->cmd('XLEN', '{job:s}:events'), 4, 'entries');
}

start();
$redis->cmd('HSET', '{job:s}:state', 'seq', 77);
goes_on("$epoch-3", 'seq in the state');

start();
$redis->cmd('XTRIM', '{job:s}:events', 'MAXLEN', 0);
goes_on("$epoch-3", 'trimmed to nothing');

start();
$redis->cmd('XDEL', '{job:s}:events', "$epoch-2");
goes_on("$epoch-3", 'last entry deleted');

start();
$redis->cmd('XDEL', '{job:s}:events', "$epoch-1", "$epoch-2");
goes_on("$epoch-3", 'all entries deleted');

start();
fcall('job:s', 'e', '3');
$redis->cmd('XDEL', '{job:s}:events', "$epoch-2", "$epoch-3");
$redis->cmd('HSET', '{job:s}:state', 'epoch', $epoch + 100000000);
my $added = info('{job:s}:events')->{'entries-added'};
goes_on("$epoch-4", 'last entries deleted, wrong epoch in the state');
is(info('{job:s}:events')->{'entries-added'}, $added + 2, 'entries-added');
is(info('{job:s}:events')->{'max-deleted-entry-id'}, "$epoch-3",
	'max-deleted-entry-id');

start();
$redis->cmd('XTRIM', '{job:s}:events', 'MAXLEN', 0);
$redis->cmd('HSET', '{job:s}:state', 'epoch', '17000000000000000000');
goes_on("$epoch-3", 'trimmed to nothing, no clock has such an epoch');

start();
$redis->cmd('XTRIM', '{job:s}:events', 'MAXLEN', 0);
$redis->cmd('HSET', '{job:s}:state', 'epoch', $epoch + 100000000);
like($id = fcall('job:s', 'e', '1'), qr/-1\z/, 'nothing left to go by: anew');
cmp_ok((split /-/, $id)[0], '>', $epoch + 100000000, 'with a greater epoch');
is($redis->cmd('XLEN', '{job:s}:events'), 1, 'and one entry');

$redis->cmd('XGROUP', 'CREATE', '{job:g}:events', 'g', '0', 'MKSTREAM');
like(fcall('job:g', 'e', '1'), qr/^\d{13,}-1\z/, 'stream made by a group');

for my $bad ('17000000000000000000', '99999999999999999999', 'x', '') {
	$redis->cmd('DEL', '{job:b}:events');
	$redis->cmd('HSET', '{job:b}:state', 'epoch', $bad);
	like(fcall('job:b', 'e', '1'), qr/^\d{13}-1\z/, "anew, epoch '$bad'");
}

# two databases are two worlds

my $db1 = Test::RTBus::Redis::Connection->new($redis->port());

ask($db1, 'SELECT', 1);

my @ids = map {
	(fcall('job:db', 'e', '1', 'APPEND', 'x'),
	ask($db1, 'FCALL', 'rtbus_publish', 1, 'job:db', 'e', '1',
		'APPEND', 'x'))
} 1 .. 3;

my @epochs = map { (split /-/)[0] } @ids;

is(join(' ', map { (split /-/)[1] } @ids), '1 1 2 2 3 3', 'db seqs');
ok($epochs[0] eq $epochs[2] && $epochs[2] eq $epochs[4], 'db 0 epochs');
ok($epochs[1] eq $epochs[3] && $epochs[3] eq $epochs[5], 'db 1 epochs');
cmp_ok($epochs[0], '<', $epochs[1], 'epochs differ');

for (1 .. 5) {
	$redis->cmd('PEXPIRE', "{job:db}:events", 5000);
	ask($db1, 'FCALL', 'rtbus_publish', 1, 'job:db', 'e', '1');
	fcall('job:db', 'e', '1');
}

like_ttl('job:db', 86400, 'each database has its TTL');

messages();

###############################################################################

# a channel made anew has a greater epoch

my @del = ('DEL', map { "{job:a}:$_" } qw/ events state output /);
my @pub = ('FCALL', 'rtbus_publish', 1, 'job:a', 'e', '1');

@ids = grep { /-/ } $redis->pipeline(map { ([ @del ], [ @pub ]) } 1 .. 500);
@epochs = map { (split /-/)[0] } @ids;

is(scalar(grep { /^\d+-1\z/ } @ids), 500, 'anew, 500 times in a pipeline');
is(scalar(grep { $epochs[$_] <= $epochs[$_ - 1] } 1 .. $#epochs), 0,
	'epochs always grow');

$redis->cmd('DEL', '{job:a}:events');
like($id = fcall('job:a', 'e', '1'), qr/-1\z/, 'stream deleted: anew');
cmp_ok((split /-/, $id)[0], '>', $epochs[-1], 'stream deleted, epoch');
is(state('job:a')->{epoch}, (split /-/, $id)[0], 'stream deleted, state');

# the clock has gone back by a day, as far as one can see

my $future = now_ms() + 864000000;

$redis->cmd(@del);
$redis->cmd('HSET', '{job:a}:state', 'epoch', $future);
$id = fcall('job:a', 'e', '1');
is($id, $future + 1 . '-1', 'greater than the epoch in the state');

$redis->cmd(@del);
$id = fcall('job:a', 'e', '1');
is($id, $future + 2 . '-1', 'greater than all epochs before');

my ($timestamp) = (messages())[-1][1] =~ /"timestamp":(\d+)/;
cmp_ok($timestamp, '<', $future - 800000000, 'timestamp is the clock');

###############################################################################

# how long keys live

fcall('job:l', 'e', '1', 'TTL', 50);
like_ttl('job:l', 50, 'short life');
fcall('job:l', 'e', '1', 'APPEND', 'x', 'TTL', 50);
like_ttl('job:l', 50, 'output that comes later');
$redis->cmd('DEL', '{job:l}:output');
fcall('job:l', 'e', '1', 'APPEND', 'x', 'TTL', 50);
like_ttl('job:l', 50, 'output that comes again');
fcall('job:l', 'e', '1', 'TTL', 5000);
like_ttl('job:l', 5000, 'longer life');
fcall('job:l', 'e', '1', 'TTL', 5);
like_ttl('job:l', 5, 'shorter life');
fcall('job:l', 'e', '1');
like_ttl('job:l', 86400, 'default life');

$redis->cmd('EXPIRE', "{job:l}:$_", 100) for qw/ events state output /;
fcall('job:l', 'e', '1');
like_ttl('job:l', 86400, 'after EXPIRE');

$redis->cmd('EXPIRE', "{job:l}:$_", 90000) for qw/ events state output /;
fcall('job:l', 'e', '1');
like_ttl('job:l', 86400, 'after a longer EXPIRE');

$redis->cmd('PERSIST', "{job:l}:$_") for qw/ events state output /;
fcall('job:l', 'e', '1');
like_ttl('job:l', 86400, 'after PERSIST');

$redis->cmd('DEL', '{job:l}:state');
fcall('job:l', 'e', '1');
like_ttl('job:l', 86400, 'state made anew');

$redis->cmd('DEL', '{job:l}:events');
fcall('job:l', 'e', '1');
like_ttl('job:l', 86400, 'stream made anew');

# time passes: the shortest life, of which each event counts, and timestamps

fcall('job:m', 'e', '1', 'APPEND', 'x', 'TTL', 1);
fcall('job:t', 'e', '1');

messages();

my $wrong = 0;

for (1 .. 60) {
	sleep 0.02;

	my ($from, undef, undef, $to) = $redis->pipeline([ 'TIME' ],
		[ 'FCALL', 'rtbus_publish', 1, 'job:m', 'e', '1', 'TTL', '1' ],
		[ 'FCALL', 'rtbus_publish', 1, 'job:t', 'e', '1' ], [ 'TIME' ]);

	for (messages()) {
		my ($ts) = $_->[1] =~ /"timestamp":(\d+)\}/;

		$wrong++ if $ts < ms($from) || $ts > ms($to);
	}
}

is($wrong, 0, 'timestamps');
cmp_ok($redis->cmd('PTTL', '{job:m}:state'), '>', 900, 'life of a second');
is(state('job:m')->{seq}, 61, 'all the while');
cmp_ok(($redis->pipeline([ 'FCALL', 'rtbus_publish', 1, 'job:t', 'e', '1' ],
	[ 'PTTL', '{job:t}:state' ]))[1], '>', 86398900, 'renewed after a second');

ok((wait_for { !$redis->cmd('EXISTS', map { "{job:m}:$_" }
	qw/ events state output /) } 'keys to expire'), 'expired');
like(fcall('job:m', 'e', '1'), qr/-1\z/, 'anew after that');

# how many entries

$redis->pipeline(map { [ 'FCALL', 'rtbus_publish', 1, 'job:n', 'e', $_,
	'MAXLEN', 200 ] } 1 .. 2000);

my $length = $redis->cmd('XLEN', '{job:n}:events');

cmp_ok($length, '>=', 200, 'entries kept');
cmp_ok($length, '<=', 300, 'entries trimmed');
is(state('job:n')->{seq}, 2000, 'seq goes on over trimmed ones');

$redis->pipeline(map { [ 'FCALL', 'rtbus_publish', 1, 'job:n', 'e', $_ ] }
	1 .. 10500);

$length = $redis->cmd('XLEN', '{job:n}:events');

cmp_ok($length, '>=', 10000, 'entries kept by default');
cmp_ok($length, '<=', 10100, 'entries trimmed by default');

messages();

# more channels and names than are remembered

my @many = $redis->pipeline(map { my $n = $_;
	map { [ 'FCALL', 'rtbus_publish', 1, "many:$_", "e$n:$_", $n ] }
		1 .. 2500 } 1, 2);

is(scalar(grep { /-1\z/ } @many[0 .. 2499]), 2500, 'many channels');
is(scalar(grep { /-2\z/ } @many[2500 .. 4999]), 2500, 'many channels again');
is(scalar(grep { $redis->cmd('TTL', "{many:$_}:events") > 86000 } 1 .. 2500),
	2500, 'many channels, TTL');

my @got = messages();

is(scalar(grep { $got[$_ - 1][1] =~ /^\{"event":"e1:$_","data":1,/ }
	1 .. 2500), 2500, 'many events');

###############################################################################

# many producers at once

my ($P, $N) = (4, 5000);

my @pids;

for my $p (1 .. $P) {
	my $pid = fork();
	die "fork: $!" unless defined $pid;

	if ($pid == 0) {
		my @r = $redis->pipeline(map { [ 'FCALL', 'rtbus_publish', 1,
			'job:many', "p$p", $_, 'MAXLEN', 100000 ] } 1 .. $N);

		POSIX::_exit((grep { ref } @r) ? 1 : 0);
	}

	push @pids, $pid;
}

my @seen;

push @seen, messages($P * $N - @seen) while @seen < $P * $N;

waitpid $_, 0 for @pids;

$entries = $redis->cmd('XRANGE', '{job:many}:events', '-', '+');
($epoch) = split /-/, $entries->[0][0];

is(scalar(@$entries), $P * $N, 'entries of many producers');
is(scalar(grep { $entries->[$_ - 1][0] ne "$epoch-$_" } 1 .. @$entries), 0,
	'positions have no hole');
is(scalar(grep {
		my %e = @{$entries->[$_][1]};
		$seen[$_][1] ne '{"event":"' . $e{event} . '","data":' . $e{data}
			. ',"id":"' . $entries->[$_][0] . '","timestamp":'
			. $e{timestamp} . '}'
	} 0 .. $#$entries), 0, 'messages come in the order of the stream');

my (%last, $disorder);

for (@$entries) {
	my %e = @{$_->[1]};

	$disorder++ if $e{data} != ++$last{$e{event}};
}

is($disorder, undef, 'the order of each producer');

###############################################################################

# a replica takes no events; what it has goes on when it is promoted

$redis->cmd('CONFIG', 'SET', 'repl-diskless-sync-delay', 0);

my $replica = Test::RTBus::Redis->new(dir => $dir,
	args => [ '--replicaof', '127.0.0.1', $redis->port() ]);

ok((wait_for { $replica->cmd('INFO', 'replication')
	=~ /master_link_status:up/ } 'replica', 20), 'replica in sync');

$id = fcall('job:1', 'e', '1', 'APPEND', 'x');

ok((wait_for { $replica->cmd('DEBUG', 'DIGEST')
	eq $redis->cmd('DEBUG', 'DIGEST') } 'replica'), 'replica has the same');
like($replica->try_cmd('FCALL', 'rtbus_publish', 1, 'job:1', 'e', '1'),
	qr/^READONLY /, 'replica refuses');

$replica->cmd('REPLICAOF', 'NO', 'ONE');
($epoch, $seq) = split /-/, $id;
$seq++;
is($replica->cmd('FCALL', 'rtbus_publish', 1, 'job:1', 'e', '1'),
	"$epoch-$seq", 'promoted replica goes on');
$replica->stop();

# AOF

my $aof = Test::RTBus::Redis->new(dir => $dir, aof => 1);

$aof->load_functions($library);

@ids = map { $aof->cmd('FCALL', 'rtbus_publish', 1, 'job:1', 'e', $_,
	'APPEND', $_, 'SET', 'a', $_) } 1 .. 3;

my $digest = $aof->cmd('DEBUG', 'DIGEST');

$aof->kill()->start();

is($aof->cmd('DEBUG', 'DIGEST'), $digest, 'AOF has it all');
is($aof->cmd('FCALL_RO', 'rtbus_version', 0), 5, 'AOF has the library');
($epoch) = split /-/, $ids[0];
is($aof->cmd('FCALL', 'rtbus_publish', 1, 'job:1', 'e', '1'), "$epoch-4",
	'AOF, positions go on');
cmp_ok($aof->cmd('TTL', '{job:1}:output'), '>', 86000, 'AOF, TTL');
$aof->stop();

# a cluster

ok((wait_for { $cluster->cmd('CLUSTER', 'INFO') =~ /cluster_state:ok/ }
	'cluster', 20), 'cluster is up');

for ([ 'job:1', 'job:1' ], [ '{job:1}', 'job:1' ],
	[ 'p:{job:1}', 'p:{job:1}' ], [ "\xff {job:1}", "\xff {job:1}" ])
{
	my ($key, $channel) = @$_;
	my $name = $key =~ /^\xff/ ? 'odd prefix' : $key;
	my $conn = listen_to($cluster, 'SSUBSCRIBE', $channel);

	like($cluster->try_cmd('FCALL', 'rtbus_publish', 1, $key, 'e', '1',
		'APPEND', 'x', 'SET', 'a', 'b'), qr/^\d+-\d+\z/,
		"cluster, $name");
	is($conn->reply()->[1], $channel, "cluster, message of $name");
}

is($cluster->cmd('FCALL_RO', 'rtbus_snapshot', 1, 'p:{job:1}')->[1], 'x',
	'cluster, snapshot');
$cluster->cmd('DEL', "{job:1}:events");
like($cluster->try_cmd('FCALL', 'rtbus_publish', 1, 'job:1', 'e', '1'),
	qr/^\d+-1\z/, 'cluster, anew');

done_testing();

###############################################################################

sub fcall {
	return $redis->cmd('FCALL', 'rtbus_publish', 1, @_);
}

sub ask {
	my ($conn, @args) = @_;

	$conn->write(Test::RTBus::Redis::_encode(@args));
	return $conn->reply();
}

sub listen_to {
	my ($server, $verb, $channel) = @_;

	my $conn = Test::RTBus::Redis::Connection->new($server->port());

	ask($conn, $verb, $channel);
	return $conn;
}

# [ channel, message ], all there are by now, or that many.  A marker tells that
# what was published before it has come; producers elsewhere need the number.

sub messages {
	my ($n) = @_;

	my @messages;

	$redis->cmd('PUBLISH', '-marker-', '') unless $n;

	while (1) {
		my $reply = $sub->reply();
		last if $reply->[2] eq '-marker-';

		push @messages, [ @$reply[2, 3] ];
		last if $n && @messages == $n;
	}

	return @messages;
}

sub state {
	my ($channel) = @_;

	return { @{$redis->cmd('HGETALL', "{$channel}:state")} };
}

sub info {
	my ($key) = @_;

	return { @{$redis->cmd('XINFO', 'STREAM', $key)} };
}

sub now_ms {
	return ms($redis->cmd('TIME'));
}

sub ms {
	my ($time) = @_;

	return $time->[0] * 1000 + int($time->[1] / 1000);
}

sub like_ttl {
	my ($channel, $ttl, $name) = @_;

	my @left = map { $redis->cmd('PTTL', "{$channel}:$_") }
		qw/ events state output /;

	# of keys that are there; the machine may be slow

	my @bad = grep { $_ != -2
		&& ($_ > $ttl * 1000 || $_ < $ttl * 1000 - 3000) } @left;

	ok(!@bad, "$name: @left");
}

sub nothing_written {
	my ($code, $error, $name) = @_;

	my $before = written();
	my $reply = $code->();
	my $after = written();
	my @messages = messages();

	like("$reply", $error, $name);
	ok($before eq $after && !@messages, "$name, nothing written");
}

sub written {
	my ($changes) = $redis->cmd('INFO', 'persistence')
		=~ /rdb_changes_since_last_save:(\d+)/;

	return $redis->cmd('DEBUG', 'DIGEST') . " $changes";
}

sub refused {
	my ($reason, $function, $keys, $args) = @_;

	my $name = "$reason: " . show(join ' ', grep { length } @$args);

	nothing_written(sub { $redis->try_cmd('FCALL', $function, $keys, @$args) },
		qr/^ERR rtbus: \Q$reason\E[^:]*\z/, $name);
}

sub show {
	my ($bytes) = @_;

	$bytes = substr($bytes, 0, 40) . '...' if length $bytes > 43;
	$bytes =~ s/([^ -~]|#)/sprintf '\\x%02x', ord $1/ge;

	return $bytes;
}

###############################################################################
