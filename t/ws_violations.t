#!/usr/bin/perl

# Tests for WebSocket clients that break the rules: each gets the close code
# that RFC 6455 has for it, a line at "info" in the log, and the end of its
# connection; the other clients of the worker notice nothing.

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

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server');

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $redis_url = $redis->url();

$t->write_file_expand('nginx.conf', <<"EOC");

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis  $redis_url;
    rtbus_allow  job:*;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location /ws {
            rtbus websocket;
        }

        location /small {
            rtbus websocket;
            rtbus_max_message 1000;
        }
    }
}

EOC

###############################################################################

my ($CONT, $TEXT, $BINARY, $CLOSE, $PING, $PONG) = (0, 1, 2, 8, 9, 10);

my $good = '{"event":"x","ack":1}';

# 1002: the frames themselves, section 5.2

my @cases = (
	[ 1002, 'text without mask', frame(mask => 0, payload => $good) ],
	[ 1002, 'ping without mask', frame(mask => 0, opcode => $PING) ],
	[ 1002, 'close without mask', frame(mask => 0, opcode => $CLOSE) ],

	(map { [ 1002, "reserved bits $_", frame(rsv => $_,
		payload => $good) ] } 1 .. 7),
	[ 1002, 'reserved bit in ping', frame(rsv => 4, opcode => $PING) ],
	[ 1002, 'reserved bit in close', frame(rsv => 1, opcode => $CLOSE) ],
	[ 1002, 'reserved bit in continuation', frame(fin => 0)
		. frame(rsv => 4, opcode => $CONT, payload => $good) ],

	(map { [ 1002, "opcode $_", frame(opcode => $_, payload => $good) ] }
		3 .. 7, 11 .. 15),

	(map { [ 1002, "$_->[0] fragmented",
		frame(opcode => $_->[1], fin => 0) ] }
		[ ping => $PING ], [ pong => $PONG ], [ close => $CLOSE ]),

	(map { [ 1002, "$_->[0] of 126", frame(opcode => $_->[1],
		payload => pack('n', 1000) . 'x' x 124) ] }
		[ ping => $PING ], [ pong => $PONG ], [ close => $CLOSE ]),
	[ 1002, 'ping of 65536', frame(opcode => $PING,
		payload => 'x' x 65536) ],

	(map { [ 1002, "$_ in 16 bits", frame(len_bytes => 16,
		payload => 'x' x $_) ] } 0, 1, 125),
	(map { [ 1002, "$_ in 64 bits", frame(len_bytes => 64,
		payload => 'x' x $_) ] } 0, 125, 126, 65535),
	[ 1002, 'ping in 16 bits', frame(opcode => $PING, len_bytes => 16) ],
	[ 1002, 'ping in 64 bits', frame(opcode => $PING, len_bytes => 64) ],
	[ 1002, 'top bit of a length', "\x81\xff\x80" . "\0" x 7 ],
	[ 1002, 'all bits of a length', "\x81\xff" . "\xff" x 8 ],
);

# their order, section 5.4

push @cases, (
	[ 1002, 'continuation of nothing', frame(opcode => $CONT) ],
	[ 1002, 'fragment of nothing', frame(opcode => $CONT, fin => 0) ],
	[ 1002, 'continuation after a message', frame(payload => $good)
		. frame(opcode => $CONT) ],
	[ 1002, 'continuation after fragments', frame(fin => 0)
		. frame(opcode => $CONT, payload => $good)
		. frame(opcode => $CONT) ],
	[ 1002, 'continuation after a ping', frame(opcode => $PING)
		. frame(opcode => $CONT) ],
	[ 1002, 'text in a message', frame(fin => 0)
		. frame(payload => $good) ],
	[ 1002, 'text in a message, later', frame(fin => 0, payload => 'x')
		. frame(opcode => $CONT, fin => 0) . frame(opcode => $PING)
		. frame(payload => $good) ],
	[ 1002, 'text to be continued in a message',
		frame(fin => 0) . frame(fin => 0) ],
	[ 1002, 'binary in a message', frame(fin => 0)
		. frame(opcode => $BINARY, payload => $good) ],
);

# closing, sections 5.5.1 and 7.4

push @cases, (
	[ 1002, 'half a close code', frame(opcode => $CLOSE,
		payload => "\x0f") . frame(opcode => $PING) ],
	(map { [ 1002, "close code $_", frame(opcode => $CLOSE,
		payload => pack 'n', $_) ] } 0, 1, 999, 1004 .. 1006, 1015,
		1016, 1100, 2000, 2999, 5000, 65535),

	(map { [ 1007, "close reason $_->[0]", frame(opcode => $CLOSE,
		payload => pack('n', 1000) . $_->[1]) ] }
		[ 'not UTF-8', "\xff" ], [ 'cut', "ok \xe2\x82" ],
		[ 'overlong', "\xc0\x80" ]),
);

# 1003: binary, section 7.4.1

push @cases, (
	[ 1003, 'binary', frame(opcode => $BINARY, payload => $good) ],
	[ 1003, 'binary empty', frame(opcode => $BINARY) ],
	[ 1003, 'binary fragment', frame(opcode => $BINARY, fin => 0,
		payload => 'x') ],
	[ 1003, 'binary to come', frame(opcode => $BINARY, len => 1000,
		payload => '') ],
);

# 1007: text that is not UTF-8, section 8.1

my @bad = (
	[ 'stray byte', "\x80" ],
	[ 'byte FE', "\xfe" ],
	[ 'byte FF', "\xff" ],
	[ 'Latin-1', "caf\xe9 \"" ],
	[ 'overlong of two', "\xc1\xbf" ],
	[ 'overlong of three', "\xe0\x9f\xbf" ],
	[ 'overlong of four', "\xf0\x8f\xbf\xbf" ],
	[ 'surrogate', "\xed\xa0\x80" ],
	[ 'last surrogate', "\xed\xbf\xbf" ],
	[ 'above U+10FFFF', "\xf4\x90\x80\x80" ],
	[ 'five bytes', "\xf8\x88\x80\x80\x80" ],
	[ 'two of three', "\xe2\x82" ],
	[ 'three of four', "\xf0\x9d\x84" ],
);

my $quote = '{"event":"x","data":"';

push @cases, (
	(map { [ 1007, "UTF-8: $_->[0]",
		frame(payload => "$quote$_->[1]\"}") ] } @bad),
	(map { [ 1007, "UTF-8 at the end: $_->[0]",
		frame(payload => $_->[1]) ] } @bad),
	(map { [ 1007, "UTF-8 in fragments: $_->[0]",
		fragments("$_->[1]z") ] } @bad),
);

# ... and is found out as soon as the bytes are there

push @cases, (
	(map { [ 1007, "UTF-8 with more to come: $_->[0]",
		substr frame(key => "\0" x 4, payload => "$quote$_->[1]z"
			. 'x' x 500), 0, 35 ] } @bad),
	[ 1007, 'UTF-8 with more fragments to come', frame(fin => 0,
		payload => $quote) . frame(opcode => $CONT, fin => 0,
		payload => "\xe2\x82") . frame(opcode => $PING)
		. frame(opcode => $CONT, fin => 0, payload => "\xe2") ],
);

# 1007: text that is not what this server speaks

my $deep = '[' x 64 . ']' x 64;
my $long = 'x' x 129;

push @cases, map { [ 1007, length $_ < 60 ? "message $_"
	: 'message ' . substr($_, 0, 50) . '...', frame(payload => $_) ] } (
	'', ' ', 'hello', '{', '{}', '[]', '[1]', '1', '"event"', 'null',
	'true', "\0", "$good$good", "$good x", "$good,", '{"event":"x",}',
	"{'event':'x'}", '{event:"x"}', '{"event":"x","data":}',
	'{"event":"x","data":01}', '{"event":"x","data":"' . "\n" . '"}',
	'{"event":"x","data":"\x"}', '{"event":"x","data":"\u12"}',
	'{"event":"x","data":NaN}', '{"event":"x"/**/}', "\xef\xbb\xbf$good",
	'{"data":1}', '{"Event":"x"}', '{"event":1}', '{"event":null}',
	'{"event":["x"]}', '{"event":""}', '{"event":"' . $long . '"}',
	'{"event":"a\nb"}', '{"event":"\u0000"}', '{"event":"\u007f"}',
	'{"event":"x","ack":"1"}', '{"event":"x","ack":-1}',
	'{"event":"x","ack":1.5}', '{"event":"x","ack":1e3}',
	'{"event":"x","ack":null}', '{"event":"x","ack":true}',
	'{"event":"x","ack":[1]}', '{"event":"x","ack":9007199254740992}',
	'{"event":"x","ack":18446744073709551617}',
	'{"event":"x","data":' . $deep . '}',
);

# 1009, section 7.4.1

my $fragment = frame(opcode => $CONT, fin => 0, payload => 'x' x 500);
my $rest = pack 'NNN', 0x7fffffff, 0xffffffff, 0;

push @cases, (
	[ 1009, 'message of 65537', frame(payload => ' ' x 65537) ],
	[ 1009, 'message of 65537 to come', "\x81\xff"
		. pack('Q>N', 65537, 0) ],
	[ 1009, 'message of 2^63 - 1 to come', "\x81\xff$rest" ],
	[ 1009, 'message of 1001', frame(payload => ' ' x 1001), '/small' ],
	[ 1009, 'fragments of 1001', frame(fin => 0, payload => 'x' x 500)
		. $fragment . frame(opcode => $CONT, payload => 'x'),
		'/small' ],
	[ 1009, 'fragments of 1500 and more', frame(fin => 0) . $fragment
		. frame(opcode => $PING) . $fragment . $fragment, '/small' ],
	[ 1009, 'last fragment of 2^63 - 1', frame(fin => 0, payload => 'x')
		. "\x80\xff$rest", '/small' ],
);

# and what is still allowed

my @allowed = (
	[ 'message of 65536', frame(payload => pad(65536)) ],
	[ 'message of 1000', frame(payload => pad(1000)), '/small' ],
	[ 'fragments of 1000', fragments(pad(1000)), '/small' ],
	[ 'messages of 1500 in sum', frame(payload => pad(500)) x 3, '/small' ],
	[ 'fragments of 1500 in sum', fragments(pad(500)) x 3, '/small' ],
	map { [ "message $_", frame(payload => $_) ] } (
		" \t\r\n$good\n ",
		'{"ack":1,"event":"x","other":{"a":[1,2,{}]},"data":null}',
		'{"event":"' . substr($long, 1) . '","ack":1}',
		'{"event":"\u00e9","ack":1}',
		'{"event":"x","ack":1,"\u0000":1}',
		'{"event":"x","ack":2,"ack":1}',
		'{"event":"x","ack":1,"data":' . substr($deep, 1, -1) . '}',
	),
);

my @acks = (0, 1, '9007199254740991');

###############################################################################

$t->plan(2 * @cases + 2 * @allowed + @acks + 16)->run();
wait_redis($t);

my $worker = wait_for { join ' ', workers($t) } 'worker';

my $witness = client('/ws');

$witness->send_json({ event => 'subscribe', ack => 1,
	data => { channel => 'job:witness' } });
$witness->wait_ack(1);

for my $case (@cases) {
	my ($code, $name, $bytes, $path) = @$case;

	my $ws = client($path || '/ws');

	# what stands behind it does not count any more

	$ws->send_raw($bytes);
	$ws->send_raw(frame(payload => '{"event":"x","ack":99}'));

	is(($ws->read_close())[0], $code, "$code: $name");
	ok($ws->wait_eof() && !$ws->wait_ack(99, 0), "$code: $name, end");
}

for my $case (@allowed) {
	my ($name, $bytes, $path) = @$case;

	my $ws = client($path || '/ws');

	$ws->send_raw($bytes);
	ok($ws->wait_ack(1), $name);
	is(($ws->close())[0], 1000, "$name, end");
}

for my $ack (@acks) {
	my $ws = client('/ws');

	$ws->send_text('{"event":"x","ack":' . $ack . '}');
	ok($ws->wait_ack($ack), "ack $ack");
}

# what came before it counts

my $ws = client('/ws');

$ws->send_raw(frame(payload => $good) . frame(rsv => 4));
ok($ws->wait_ack(1), 'message before a violation');
is(($ws->read_close())[0], 1002, 'violation after a message');

# the close frame arrives however much the client sends

$ws = client('/ws');

$ws->send_raw(frame(rsv => 4) . 'x' x 1000000);
is(($ws->read_close())[0], 1002, 'violation before a megabyte');

# cut at every byte

$ws = client('/ws');

$ws->send_bytewise(frame(payload => $good)
	. frame(len => 65537, payload => ''));
ok($ws->wait_ack(1), 'message before a violation cut at every byte');
is(($ws->read_close())[0], 1009, 'violation cut at every byte');

# the witness

$redis->event('job:witness', 'e', 'all is well');
is($witness->wait_event('e')->{data}, 'all is well',
	'other clients are not concerned');
is(join(' ', workers($t)), $worker, 'nor is the worker');
is($witness->is_open(), 1, 'witness is still connected');

# the log

for my $line ('1002, frame without mask', '1002, frame with reserved bits',
	'1002, length with the top bit set', '1003, binary message',
	'1007, text is not UTF-8', '1007, not JSON', '1007, no event name',
	'1009, message too big')
{
	error_log_like($t, qr/\[info\] .*$line.*client: 127\.0\.0\.1/,
		"log: $line");
}

###############################################################################

sub client {
	my ($path) = @_;

	my $ws = Test::RTBus::WebSocket->connect(path => $path, timeout => 5);

	$ws->wait_event('connected');

	return $ws;
}

sub frame {
	return Test::RTBus::WebSocket->frame(@_);
}

# each byte a fragment

sub fragments {
	my ($text) = @_;

	my @parts = split //, $text;

	return join '', map {
		frame(opcode => $_ ? $CONT : $TEXT, fin => $_ == $#parts,
			payload => $parts[$_])
	} 0 .. $#parts;
}

sub pad {
	my ($len) = @_;

	return $good . ' ' x ($len - length $good);
}

###############################################################################
