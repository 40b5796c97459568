#!/usr/bin/perl

# Tests for WebSocket frames, RFC 6455 section 5: whatever lengths, fragments
# and segments a message comes in, it is the same message.

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
	->plan(54);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $redis_url = $redis->url();

$t->write_file_expand('nginx.conf', <<"EOC");

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis         $redis_url;
    rtbus_allow         job:*;
    rtbus_message_rate  1000000r/s;
    rtbus_max_message   200k;
    rtbus_send_buffer   64m;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location /ws {
            rtbus websocket;
        }
    }
}

EOC

$t->run();
wait_redis($t);

###############################################################################

my ($TEXT, $PING, $PONG) = (1, 9, 10);
my $n = 0;

my $ws = client();

# lengths

for my $len (40, 124 .. 128, 255, 256, 65534 .. 65537, 131072, 204800) {
	my $text = text($len);

	$ws->send_text($text);
	ok(acked($ws), "length $len");
}

# the key of the mask

for my $key ("\0\0\0\0", "\xff\xff\xff\xff", "\0\xff\0\xff",
	"\x01\x02\x04\x08")
{
	my $channel = 'job:' . join '', map { chr 97 + $_ % 26 } 1 .. 100;

	$ws->send_frame(key => $key, payload => subscribe($channel));
	is(joined($ws), $channel,
		'mask ' . unpack 'H*', $key);
}

# fragments

my $channel = 'job:fragments';
my $text = subscribe($channel);

for my $size (length $text, 100, 20, 7, 4, 3, 2, 1) {
	$ws->send_raw(fragments($text, $size));
	is(joined($ws), $channel, "fragments of $size");
}

$ws->send_raw(fragments(text(200000), 70000));
ok(acked($ws), 'fragments of 70000');

$text = text(100);

$ws->send_raw(frame(fin => 0, payload => '') . join('',
	map { frame(opcode => 0, fin => 0, payload => $_) } '', $text, '', '')
	. frame(opcode => 0, payload => ''));
ok(acked($ws), 'empty fragments');

$text = text(100);

$ws->send_raw(frame(fin => 0, payload => substr $text, 0, 10));
$ws->send_raw(frame(opcode => 0, fin => 0, payload => ''));
$ws->send_raw(frame(opcode => 0, payload => substr $text, 10));
ok(acked($ws), 'empty fragment between others');

# control frames between the fragments come first

$text = text(100);

$ws->send_raw(between($text, frame(opcode => $PING, payload => 'between'),
	frame(opcode => $PONG, payload => 'between'),
	frame(opcode => $PING, payload => '')));

is(join(' ', pongs($ws, 2 * (length($text) - 1))),
	join(' ', ('between', '') x (length($text) - 1)),
	'pings between fragments');
ok(acked($ws), 'message around pings');

# UTF-8

my $utf8 = '{"event":"x","ack":' . ++$n . ',"data":"'
	. "\xc2\xa2\xe2\x82\xac\xf0\x9d\x84\x9e\xf4\x8f\xbf\xbf" . '"}';

$ws->send_text($utf8);
ok(acked($ws), 'UTF-8');

for my $size (1 .. 3) {
	$ws->send_raw(fragments($utf8, $size));
	ok(acked($ws), "UTF-8 in fragments of $size");
}

$ws->send_raw(between($utf8, frame(opcode => $PING, payload => "\xff")));
is(unpack('H*', join('', pongs($ws, length($utf8) - 1))),
	'ff' x (length($utf8) - 1), 'pings between the bytes of a character');
ok(acked($ws), 'UTF-8 around pings');

$ws->send_bytewise(frame(payload => $utf8));
ok(acked($ws), 'UTF-8 in segments of one byte');

# pings

for my $payload ('', 'x', "\0", join('', map { chr $_ * 2 } 1 .. 125)) {
	my $len = length $payload;

	$ws->send_ping($payload);
	is(unpack('H*', pong($ws)), unpack('H*', $payload), "ping of $len");
}

my $payload = join '', map { chr $_ } 131 .. 255;

$ws->send_bytewise(frame(opcode => $PING, payload => $payload));
is(unpack('H*', pong($ws)), unpack('H*', $payload), 'ping cut at every byte');

$text = text(100);

$ws->send_raw(frame(fin => 0, payload => substr $text, 0, 20));
$ws->send_bytewise(frame(opcode => $PING, payload => 'cut'));
is(pong($ws), 'cut', 'ping cut at every byte between fragments');
$ws->send_raw(frame(opcode => 0, payload => substr $text, 20));
ok(acked($ws), 'message around a cut ping');

$ws->send_raw(join '', map { frame(opcode => $PING, payload => $_) }
	1 .. 300);
is(join(' ', pongs($ws, 300)), join(' ', 1 .. 300),
	'pings in one segment');

# pongs that nobody asked for

$ws->send_pong($_) for '', 'x', "\xff" x 125;
$ws->send_bytewise(frame(opcode => $PONG, payload => 'cut'));
$ws->send_text(text(100));
ok(acked($ws), 'pongs are ignored');
is(scalar $ws->pending_json(), 0, 'pongs are not answered');

# segments

my @frames = (
	frame(payload => text(130), key => 'abcd'),
	frame(opcode => $PING, payload => 'hello'),
	fragments(text(40), 15),
	frame(opcode => $PING, payload => ''),
);

my $bytes = join('', @frames);

$ws->send_bytewise($bytes);
like(seen($ws, 4), qr/^ack ping:hello ack ping: $/, 'segments of one byte');

my $same = 0;

for my $at (1 .. length($bytes) - 1) {
	$ws->send_raw(substr $bytes, 0, $at);
	select undef, undef, undef, 0.002;
	$ws->send_raw(substr $bytes, $at);

	last unless seen($ws, 4) eq 'ack ping:hello ack ping: ';

	$same++;
}

is($same, length($bytes) - 1, 'cut in two at every byte');

my $many = '';
$many .= frame(payload => text(100)) . fragments(text(50), 20)
	. frame(opcode => $PING, payload => $n) for 1 .. 500;

my $first = $n - 999;

$ws->send_raw($many);

$same = 0;

for my $i (map { $first + 2 * $_ } 0 .. 499) {
	my @acks = map { $ws->recv_json() } 1 .. 2;

	last unless $acks[1] && $acks[0]{ack} == $i && $acks[1]{ack} == $i + 1;
	last unless pong($ws) eq $i + 1;

	$same++;
}

is($same, 500, 'many frames in one segment, in order');

$many = frame(payload => text(65540), key => "\x5a\xa5\x00\xff");

$ws->send_bytewise(substr $many, 0, 20, '');
$ws->send_raw($many);
ok(acked($ws), 'long header cut at every byte');

is(($ws->close())[0], 1000, 'no complaint to the end');

# the frames of the server; their headers are judged by the client

$ws = client();
$channel = 'job:lengths';

$ws->send_text(subscribe($channel));
$ws->wait_ack($n);

my @lengths = (0 .. 130, 65536 - 130 .. 65536, 131072);

$redis->pipeline(map { [ 'PUBLISH', $channel,
	'{"event":"e","data":"' . 'x' x $_ . '"}' ] } @lengths);

$same = 0;

for my $len (@lengths) {
	my $m = $ws->recv_message();
	last unless $m && $m->{message} =~ /"data":"(x*)"/ && $len == length $1;

	$same++;
}

is($same, scalar @lengths, 'lengths of events');

###############################################################################

sub client {
	my $ws = Test::RTBus::WebSocket->connect(path => '/ws', timeout => 5);

	$ws->wait_event('connected');

	return $ws;
}

sub frame {
	return Test::RTBus::WebSocket->frame(@_);
}

# a message of so many bytes that will be answered

sub text {
	my ($len) = @_;

	my $text = '{"event":"x","ack":' . ++$n;

	# a wrong byte among the spaces would make it something else

	return $text . ' ' x ($len - length($text) - 1) . '}';
}

sub subscribe {
	my ($channel) = @_;

	return json_encode({ event => 'subscribe', ack => ++$n,
		data => { channel => $channel } });
}

sub fragments {
	my ($text, $size) = @_;

	my @parts = unpack "(a$size)*", $text;

	return join '', map {
		frame(opcode => $_ ? 0 : $TEXT, fin => $_ == $#parts,
			payload => $parts[$_])
	} 0 .. $#parts;
}

# each byte a fragment, and the frames between them

sub between {
	my ($text, @frames) = @_;

	my @parts = split //, $text;

	return frame(fin => 0, payload => shift @parts) . join '', map {
		(@frames, frame(opcode => 0, fin => $_ == $#parts,
			payload => $parts[$_]))
	} 0 .. $#parts;
}

# the last message was answered, and that is what comes next

sub acked {
	my ($ws) = @_;

	my $m = $ws->recv_json();
	return $m && defined $m->{ack} && $m->{ack} == $n;
}

sub joined {
	my ($ws) = @_;

	my $m = $ws->recv_json();
	return $m && $m->{data}{channel};
}

sub pong {
	my ($ws) = @_;

	my $f = $ws->recv();
	return $f && $f->{opcode} == $PONG ? $f->{payload} : 'no pong';
}

sub pongs {
	my ($ws, $count) = @_;
	my @pongs;

	for (1 .. $count) {
		my $f = $ws->recv();
		last unless $f && $f->{opcode} == $PONG;

		push @pongs, $f->{payload};
	}

	return @pongs;
}

sub seen {
	my ($ws, $count) = @_;
	my $seen = '';

	for (1 .. $count) {
		my $f = $ws->recv() or last;

		$seen .= $f->{opcode} == $PONG ? "ping:$f->{payload} "
			: $f->{message} =~ /"ack"/ ? 'ack ' : 'other ';
	}

	return $seen;
}

###############################################################################
