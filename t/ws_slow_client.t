#!/usr/bin/perl

# Tests for a WebSocket client that stops reading: what waits for it is bounded
# by rtbus_send_buffer, it is closed with 1013, and neither the other clients
# nor the memory of nginx suffer.

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

my $t = Test::Nginx->new()->has(qw/ http stub_status /)
	->has_daemon('redis-server')->plan(30);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $redis_url = $redis->url();

# the buffers of the system are kept small, too

$t->write_file_expand('nginx.conf', <<"EOC");

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis      $redis_url;
    rtbus_allow      job:*;
    rtbus_subscribe  job:\$arg_job;

    server {
        listen       127.0.0.1:8080 sndbuf=32k;
        server_name  localhost;

        location /ws {
            rtbus websocket;
            rtbus_send_buffer 64k;
        }

        location /default {
            rtbus websocket;
        }

        location /status {
            stub_status;
        }
    }
}

EOC

$t->run();
wait_redis($t);

###############################################################################

my $CLOSE = 8;
my $n = 0;

my @good = map { client('/ws?job=1') } 1 .. 3;
my %next = map { $_ => 0 } @good;

my $slow = client('/ws?job=1', rcvbuf => 4096);
my $never = client('/ws?job=1', rcvbuf => 4096);
my $default = client('/default?job=1', rcvbuf => 4096);

# kilobytes, until the log tells of the end

flood(2);

my $limit = $n;

cmp_ok($limit, '>=', 64, 'closed not before the buffer is full');
cmp_ok($limit, '<', 500, 'closed soon after');

# a client that comes back in time learns why

my @seen = map { $_->{n} } numbers($slow);

is(($slow->read_close())[0], 1013, 'close code');
is(($slow->read_close())[1], 'client is too slow', 'close reason');
ok($slow->wait_eof(), 'end');

cmp_ok(scalar(@seen), '>', 0, 'events before the close frame');
is(join(' ', @seen), join(' ', 0 .. $#seen), 'in order, without a hole');

# with a larger buffer it takes longer

is($default->is_open(), 1, 'default: more room');

flood(3);

cmp_ok($n, '>=', 1024, 'default: closed not before the buffer is full');
cmp_ok($n, '<', 2048, 'default: closed soon after');

@seen = map { $_->{n} } numbers($default);

is(($default->read_close())[0], 1013, 'default: close code');
is(join(' ', @seen), join(' ', 0 .. $#seen), 'default: in order');

# the others have missed nothing

ok(select_loop(\@good, sub { !grep { $_ != $n } values %next }, 10, \&count),
	'others get everything in order');
is(scalar(grep { $_->is_open() } @good), 3, 'others stay');

# who does not even read the close frame is ended after the linger

is(connections(1 + @good), 1 + @good, 'no connection is left behind');

# a single event may be larger than the buffer

my $big = client('/ws?job=2');

for my $size (64 * 1024, 100 * 1024, 900 * 1024) {
	my $data = join '', map { sprintf '%09d,', $_ } 1 .. $size / 10;

	$redis->publish('job:2', "{\"event\":\"big\",\"data\":\"$data\"}");

	my $m = $big->recv_message();

	ok($m && $m->{message} =~ /"data":"([^"]*)"/ && $1 eq $data,
		"event of $size bytes");
}

$redis->event('job:2', 'small', 1);
is($big->recv_json()->{event}, 'small', 'event after large ones');

# but it is the last one for a client that does not read it

my $stuck = client('/ws?job=2', rcvbuf => 4096);

$redis->publish('job:2', '{"event":"big","data":"' . 'x' x 900000 . '"}');
$big->recv_message();
$redis->event('job:2', 'small', 1);
is($big->recv_json()->{event}, 'small', 'event after another large one');

is($stuck->recv_message()->{message} =~ tr/x//, 900000,
	'event under way comes whole');
is(($stuck->read_close())[0], 1013, 'close after the event under way');

# who closes has what was under way first

my $closing = client('/ws?job=2', rcvbuf => 4096);

$redis->publish('job:2', '{"event":"big","data":"' . 'x' x 900000 . '"}');
$big->recv_message();
$closing->send_close(4000);

is($closing->recv_message()->{message} =~ tr/x//, 900000,
	'event before the answer to a close frame');
is(($closing->read_close())[0], 4000, 'answer to a close frame');

# answers wait like events do

my $chatty = client('/ws', rcvbuf => 4096);
my $closed = error_log_count($t, qr/1013, client is too slow/);

$chatty->send_raw(frame(payload => '{"event":"x","ack":1}') x 100)
	for 1 .. 50;

# before that nothing is read of them

ok((wait_for {
	error_log_count($t, qr/1013, client is too slow/) > $closed
} 'the end'), 'answers are bounded');
is(($chatty->read_close())[0], 1013, 'close code after messages');

# much more than the buffers to many who do not read

my @slow = map { client('/ws?job=3', rcvbuf => 4096) } 1 .. 100;
my $reader = client('/default?job=3');
my ($worker) = workers($t);
my $before = rss_kb($worker);
my $got = 0;

for my $round (1 .. 100) {
	$redis->pipeline(map { [ 'PUBLISH', 'job:3',
		'{"event":"e","data":"' . 'x' x 2000 . '"}' ] } 1 .. 100);

	select_loop([ $reader ], sub { $got == 100 * $round }, 10,
		sub { $got++ }) or last;
}

is($got, 10000, 'a reader gets it all');

SKIP: {
skip 'the memory is that of a sanitizer', 1 if $ENV{RTBUS_SANITIZED};

my $more = rss_kb($worker) - $before;
cmp_ok($more, '<', 8192, 'memory is bounded');
note("$more KiB more for 20 MB to 100 clients that do not read");
}

is(error_log_count($t, qr/1013, client is too slow/), 5 + 100,
	'all that do not read are closed');

$_->drop() for @slow, @good, $big, $stuck, $closing, $chatty, $reader;
is(connections(1), 1, 'no connection is left behind at last');

###############################################################################

sub client {
	my ($path, %o) = @_;

	my $ws = Test::RTBus::WebSocket->connect(path => $path, %o);

	$ws->wait_event('connected') or die "No connection at $path\n";

	return $ws;
}

sub frame {
	return Test::RTBus::WebSocket->frame(@_);
}

# events of a kilobyte, until that many clients are closed; the good ones read

sub flood {
	my ($count) = @_;
	my $why = '1013, client is too slow';

	select_loop(\@good, sub {
		return 1 if error_log_count($t, qr/$why/) >= $count;
		return 0 if grep { $_ < $n - 40 } values %next;

		$redis->pipeline(map { [ 'PUBLISH', 'job:1',
			"{\"event\":\"e\",\"data\":{\"n\":$_,\"x\":\""
			. 'x' x 900 . '"}}' ] } $n .. $n + 9);
		$n += 10;

		return 0;
	}, 20, \&count);
}

sub count {
	my ($ws, $m) = @_;

	$next{$ws}++ if $m->{message} && $m->{message} =~ /"n":$next{$ws},/;
}

# the events of a client up to its close frame

sub numbers {
	my ($ws) = @_;
	my @seen;

	while (my $f = $ws->recv()) {
		last if $f->{opcode} == $CLOSE;

		push @seen, json_decode($f->{message})->{data}
			if defined $f->{message};
	}

	return @seen;
}

sub connections {
	my ($want) = @_;
	my $have;

	wait_for {
		($have) = http_get('/status') =~ /Active connections: (\d+)/;
		$have == $want;
	} "$want connections", 20;

	return $have;
}

###############################################################################
