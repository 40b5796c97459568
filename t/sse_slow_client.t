#!/usr/bin/perl

# Tests for an event stream whose client stops reading: what waits for it is
# bounded by rtbus_send_buffer, it is ended between two events, so that it can
# come back with the last id, and the other clients do not suffer.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Redis;
use Test::RTBus::SSE;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http stub_status /)
	->has_daemon('redis-server')->plan(24);

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

        location /events {
            rtbus sse;
            rtbus_send_buffer 64k;
            rtbus_ping 20s 4s;
        }

        location /default {
            rtbus sse;
        }

        location /beat {
            rtbus sse;
            rtbus_ping 200ms 300ms;
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

my $n = 0;

my @good = map { client('/events?job=1') } 1 .. 3;
my %next = map { $_ => 0 } @good;

my $slow = client('/events?job=1', rcvbuf => 4096);
my $old = client('/events?job=1', rcvbuf => 4096, version_http => '1.0');
my $never = client('/events?job=1', rcvbuf => 4096);
my $default = client('/default?job=1', rcvbuf => 4096);

# kilobytes, until the log tells of the end

flood(3);

cmp_ok($n, '>=', 64, 'closed not before the buffer is full');
cmp_ok($n, '<', 500, 'closed soon after');

# who comes back in time has whole events, and then the end

for my $case ([ 'HTTP/1.1', $slow ], [ 'HTTP/1.0', $old ]) {
	my ($name, $sse) = @$case;

	my @seen = numbers($sse);

	cmp_ok(scalar(@seen), '>', 0, "$name: events before the end");
	is(join(' ', @seen), join(' ', 0 .. $#seen),
		"$name: in order, without a hole");
	is($sse->{parser}{in}, '', "$name: nothing is cut");
	ok($sse->wait_eof(), "$name: closed");
}

is($slow->ended(), 1, 'HTTP/1.1: last chunk');

# with a larger buffer it takes longer

flood(4);

cmp_ok($n, '>=', 1024, 'default: closed not before the buffer is full');
cmp_ok($n, '<', 2048, 'default: closed soon after');

my @seen = numbers($default);
is(join(' ', @seen), join(' ', 0 .. $#seen), 'default: in order');

# the others have missed nothing

ok(select_loop(\@good, sub { !grep { $_ != $n } values %next }, 10, \&count),
	'others get everything in order');
is(scalar(grep { !$_->eof() } @good), 3, 'others stay');

# a single event may be larger than the buffer

my $big = client('/events?job=2');

for my $size (64 * 1024, 900 * 1024) {
	my $data = join '', map { sprintf '%09d,', $_ } 1 .. $size / 10;

	$redis->publish('job:2', "{\"event\":\"big\",\"data\":\"$data\"}");

	my $event = $big->next_event();
	ok($event && $event->{data} eq "\"$data\"", "event of $size bytes");
}

$redis->event('job:2', 'small', 1);
is($big->next_event()->{event}, 'small', 'event after large ones');

# there is no pong, but who takes no byte is no longer there

my $dead = client('/beat?job=3', rcvbuf => 4096);
my $alive = client('/beat?job=3');

$redis->event('job:3', 'big', 'x' x 500000);
is(length $alive->next_event()->{data}, 500002, 'event to who reads');

error_log_like($t, qr/\[info\] .*ping timeout/, 'who does not is closed');

$dead->wait_eof();
is($dead->next_event(0), undef, 'in the middle of what it did not take');

$redis->event('job:3', 'still', 1);
ok($alive->wait_event('still'), 'who reads stays');

# nothing is left of those who never read

$_->drop() for @good, $slow, $old, $default, $big, $dead, $alive;

is((wait_for {
	http_get('/status') =~ /Active connections: (1)\D/ && $1
} 'the end of all connections'), 1, 'no connection is left');

###############################################################################

sub client {
	my ($path, %o) = @_;

	my $sse = Test::RTBus::SSE->connect(path => $path, %o);

	$sse->wait_event('connected') or die "No stream at $path\n";

	return $sse;
}

# events of a kilobyte, until that many clients are closed; the good ones read

sub flood {
	my ($count) = @_;

	select_loop(\@good, sub {
		return 1 if error_log_count($t,
			qr/1013, client is too slow/) >= $count;
		return 0 if grep { $_ < $n - 40 } values %next;

		$redis->pipeline(map { [ 'PUBLISH', 'job:1',
			"{\"event\":\"e\",\"data\":{\"n\":$_,\"x\":\""
			. 'x' x 900 . '"}}' ] } $n .. $n + 9);
		$n += 10;

		return 0;
	}, 20, \&count);
}

sub count {
	my ($sse, $event) = @_;

	$next{$sse}++ if $event->{data} =~ /"n":$next{$sse},/;
}

# the events of a client up to its end

sub numbers {
	my ($sse) = @_;
	my @seen;

	while (my $event = $sse->next_event()) {
		push @seen, json_decode($event->{data})->{n};
	}

	return @seen;
}

###############################################################################
