#!/usr/bin/perl

# Tests for event streams over HTTP/2: several on one connection, each with its
# own flow control and its own end.

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

my $t = Test::Nginx->new()->has(qw/ http http_v2 stub_status /)
	->has_daemon('redis-server')->plan(55);

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

    gzip             on;
    gzip_types       *;
    gzip_min_length  0;

    server {
        listen       127.0.0.1:8080 http2 sndbuf=32k;
        server_name  localhost;

        location /events {
            rtbus sse;
            rtbus_subscribe job:\$arg_job;
            rtbus_send_buffer 64k;
        }

        location /large {
            rtbus sse;
            rtbus_subscribe job:\$arg_job;
        }

        location /own {
            rtbus sse;
            rtbus_user \$arg_user;
            rtbus_subscribe job:\$arg_job;
            rtbus_allow job:* owner;
        }

        location /beat {
            rtbus sse;
            rtbus_subscribe job:beat;
            rtbus_ping 100ms 10s;
        }
    }

    server {
        listen       127.0.0.1:8081;
        server_name  localhost;

        location /status {
            stub_status;
        }
    }
}

EOC

$t->run();
wait_redis($t);

###############################################################################

# events, at once

my $h2 = H2->connect();
my $a = $h2->get('/events?job=a');
my $b = $h2->get('/large?job=b');

is($h2->event($a)->{event}, 'connected', 'connected');
is($h2->event($b)->{event}, 'connected', 'another stream');

is($redis->event('job:a', 'e', 'a'), 1, 'published');
is($h2->event($a)->{data}, '"a"', 'event');

for my $i (1 .. 3) {
	$redis->event('job:b', 'e', $i);
	is($h2->event($b)->{data}, $i, "event $i of another stream");
}

for my $size (1000, 8192, 16384, 65536, 300000) {
	my $data = join '', map { sprintf '%09d,', $_ } 1 .. $size / 10;

	$redis->publish('job:b', "{\"event\":\"e\",\"data\":\"$data\"}");
	ok($h2->event($b)->{data} eq "\"$data\"", "event of $size bytes");
}

$redis->pipeline(map { [ 'PUBLISH', 'job:b',
	"{\"event\":\"n\",\"data\":$_}" ] } 1 .. 2000);

my $n = 0;
$n++ while $n < 2000 && $h2->event($b)->{data} == $n + 1;

is($n, 2000, 'many events in order');

# heartbeats

my $beat = $h2->get('/beat');

$h2->event($beat);
ok($h2->until(sub { $h2->comments($beat) >= 4 }), 'heartbeats');
is($h2->comments($a), 1, 'no heartbeats of others');

# a stream that is reset is gone, the others stay

$h2->rst($beat);

my $c = $h2->get('/events?job=c');
$h2->event($c);
$h2->rst($a);

$redis->event('job:c', 'e', 'c');
is($h2->event($c)->{data}, '"c"', 'a stream opened after a reset');
is($h2->ended($c), 0, 'it is open');

# the end of the connection is that of its streams

my $other = H2->connect();
my @streams = map { $other->get('/events?job=d') } 1 .. 20;

$other->event($_) for @streams;
$redis->event('job:d', 'e', 'd');
is(scalar(grep { $other->event($_)->{data} eq '"d"' } @streams), 20,
	'many streams on one connection');

$other->drop();

# a stream whose window is shut: what waits for it is bounded, others go on

my $narrow = H2->connect(window => 1000);
my $slow = $narrow->get('/events?job=slow');
my $fast = $narrow->get('/events?job=slow');

$narrow->window($fast, 10000000);
is($narrow->event($slow)->{event}, 'connected', 'narrow window');
is($narrow->event($fast)->{event}, 'connected', 'wide window');

my $sent = 0;

while ($sent < 500 && !error_log_count($t, qr/1013, client is too slow/)) {
	$redis->publish('job:slow', '{"event":"e","data":{"n":' . $sent++
		. ',"x":"' . 'x' x 900 . '"}}');
	last unless $narrow->event($fast)->{data} =~ /"n":@{[ $sent - 1 ]},/;
}

cmp_ok($sent, '>=', 60, 'closed not before the buffer is full');
cmp_ok($sent, '<', 100, 'closed soon after');
is($narrow->ended($slow), 0, 'an event is still under way');

cmp_ok($narrow->bytes_of($slow), '<=', 1000, 'within its window');

$narrow->window($slow, 10000);
ok($narrow->until(sub { $narrow->ended($slow) }), 'it ends with that event');
like($narrow->event($slow)->{data}, qr/"n":0,/, 'it comes whole');
is($narrow->events($slow), 0, 'and nothing after it');

$redis->event('job:slow', 'e', 'last');
is($narrow->event($fast)->{data}, '"last"', 'the other stream goes on');

# a window that opens little by little

my $patient = H2->connect(window => 100);
my $drip = $patient->get('/large?job=drip');

# the beginning of "connected": what is published before it is for nobody

$patient->until(sub { $patient->bytes_of($drip) >= 100 });
$redis->event('job:drip', 'e', 'x' x 5000);

for (1 .. 100) {
	$patient->window($drip, 100);
	$patient->until(sub { $patient->bytes_of($drip) >= 100 * $_ })
		or last;
}

is($patient->event($drip)->{event}, 'connected', 'small windows');
is($patient->event($drip)->{data}, '"' . 'x' x 5000 . '"',
	'event through small windows');

# the connection's own window is shut: 65535 bytes are the default

my $shut = H2->connect(window => 10000000, connection => 0);
my $one = $shut->get('/large?job=shut');
my $two = $shut->get('/large?job=shut');

$shut->event($_) for $one, $two;
$redis->event('job:shut', 'e', 'x' x 100000);
$redis->event('job:shut', 'e', 'next');

ok($shut->until(sub { $shut->{total} == 65535 }), 'window of the connection');

$shut->window(0, 1000000);

for my $stream ($one, $two) {
	is(length $shut->event($stream)->{data}, 100002,
		'large event once it opens');
	is($shut->event($stream)->{data}, '"next"', 'next event once it opens');
}

# streams that wait for Redis to say whose the job is, and end before it does

$redis->cmd('HSET', '{job:own}:state', 'userId', 'ann');

my $own = $shut->get('/own?job=own&user=ann');

is($shut->event($own)->{event}, 'connected', 'own');
$redis->event('job:own', 'e', 'own');
is($shut->event($own)->{data}, '"own"', 'own, event');

my $foreign = $shut->get('/own?job=own&user=bob');
ok($shut->until(sub { $shut->ended($foreign) }), 'foreign, refused');
is($shut->events($foreign), 0, 'foreign, no event');

my $left = H2->connect();
$redis->pause();

$left->get('/own?job=own&user=ann') for 1 .. 3;
$shut->rst($shut->get('/own?job=own&user=ann'));
$own = $shut->get('/own?job=own&user=ann');
$left->drop();

$redis->resume();

is($shut->event($own)->{event}, 'connected', 'own, after a while');

# what a real client makes of it

SKIP: {
	skip 'no curl with HTTP/2', 10 unless curl_has_http2();

	my $dir = $t->testdir();
	my $url = 'http://127.0.0.1:' . port(8080);

	$t->run_daemon('curl', '-s', '-N', '--http2-prior-knowledge',
		'--compressed', '-D', "$dir/head", '-o', "$dir/body",
		"$url/events?job=curl");

	ok((wait_for { slurp("$dir/body") =~ /event: connected/ } 'curl'),
		'curl: connected');

	my $head = slurp("$dir/head");

	like($head, qr!^HTTP/2 200!, 'curl: status');
	like($head, qr!^content-type: text/event-stream\r!m,
		'curl: content type');
	like($head, qr!^cache-control: no-store\r!m, 'curl: cache control');
	unlike($head, qr!^(?:content-encoding|content-length|connection
		|transfer-encoding):!xm, 'curl: no other headers');

	$redis->event('job:curl', 'e', "\x{20ac}");
	ok((wait_for { slurp("$dir/body")
		=~ /\nevent: e\nid: job:curl\@0-0\ndata: "\xe2\x82\xac"\n\n/ }
		'curl'), 'curl: event');

	for my $case (
		[ 400, '/events' ],
		[ 403, '/large?job=1', '-H', 'Origin: http://evil.example' ],
		[ 403, '/own?job=own&user=bob' ],
		[ 405, '/events', '-X', 'POST' ],
	)
	{
		my ($status, $path, @args) = @$case;

		open my $curl, '-|', 'curl', '-s', '-i',
			'--http2-prior-knowledge', @args, "$url$path"
			or die "Can't run curl: $!\n";

		like(join('', <$curl>),
			qr!^HTTP/2 $status .*\{"error":"[^"]+"!s,
			"curl: $status");
	}

	kill 'TERM', $t->{_daemons}[-1];
}

# all is forgotten

ok($redis->wait_subscribers('job:a', 0), 'unsubscribed after a reset');
ok($redis->wait_subscribers('job:d', 0), 'unsubscribed after the end');
ok($redis->wait_subscribers('job:curl', 0), 'unsubscribed after curl');
is($redis->subscribers('job:c'), 1, 'others are not');

$_->drop() for $h2, $narrow, $patient, $shut;

is((wait_for {
	http_get('/status', PeerAddr => '127.0.0.1:' . port(8081))
		=~ /Active connections: (1)\D/ && $1
} 'the end of all connections'), 1, 'no connection is left');

###############################################################################

sub slurp {
	my ($name) = @_;

	open my $fh, '<', $name or return '';
	local $/;
	return scalar <$fh>;
}

sub curl_has_http2 {
	return 1 if `curl --version 2>/dev/null` =~ /^Features:.*\bHTTP2\b/m;

	die "curl has no HTTP/2\n" if $ENV{CI} || $ENV{RTBUS_REQUIRE_ALL};
	return 0;
}

###############################################################################

# Just enough of HTTP/2: requests without a body, windows, resets.

package H2;

use Time::HiRes qw/ time /;

BEGIN { our @ISA = 'Test::RTBus::Client' }

sub connect {
	my ($class, %o) = @_;

	my $self = $class->open_client(%o);

	$self->{next} = 1;
	$self->{total} = 0;
	$self->{streams} = {};

	my $window = defined $o{window} ? $o{window} : 10000000;

	# SETTINGS_INITIAL_WINDOW_SIZE

	$self->send_raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
		. $self->frame(4, 0, 0, pack 'nN', 4, $window));

	my $connection = defined $o{connection} ? $o{connection} : 100000000;
	$self->window(0, $connection) if $connection;

	return $self;
}

sub frame {
	my ($self, $type, $flags, $id, $payload) = @_;

	my $len = length $payload;

	return pack('CnCCN', $len >> 16, $len & 0xffff, $type, $flags, $id)
		. $payload;
}

# HEADERS with END_HEADERS and END_STREAM; literals without Huffman coding

sub get {
	my ($self, $path) = @_;

	my $id = $self->{next};
	$self->{next} += 2;

	$self->{streams}{$id} = {
		parser => Test::RTBus::SSE::Parser->new(),
		events => [],
		bytes => 0,
		ended => 0,
	};

	$self->send_raw($self->frame(1, 5, $id, "\x82\x86"
		. pack('C', 4) . pack('C/a*', $path)
		. pack('C', 1) . pack('C/a*', 'localhost')));

	return $id;
}

sub window {
	my ($self, $id, $more) = @_;

	return $self->send_raw($self->frame(8, 0, $id, pack 'N', $more));
}

sub rst {
	my ($self, $id) = @_;

	return $self->send_raw($self->frame(3, 0, $id, pack 'N', 8));
}

sub take {
	my ($self) = @_;

	while (length $self->{in} >= 9) {
		my ($high, $low, $type, $flags, $id) = unpack 'CnCCN',
			$self->{in};
		my $len = $high << 16 | $low;

		last if length $self->{in} < 9 + $len;

		substr $self->{in}, 0, 9, '';
		my $payload = substr $self->{in}, 0, $len, '';

		die "The server sent GOAWAY: " . unpack('H*', $payload) . "\n"
			if $type == 7;

		my $s = $self->{streams}{$id} or next;

		if ($type == 0) {
			$self->{total} += $len;
			$s->{bytes} += $len;
			push @{$s->{events}}, $s->{parser}->feed($payload);
		}

		die "The server reset stream $id\n" if $type == 3;

		$s->{ended} = 1 if $type <= 1 && $flags & 1;
	}
}

sub until {
	my ($self, $cond, $timeout) = @_;

	my $end = $self->deadline($timeout);

	while (1) {
		$self->take();

		my $value = $cond->();
		return $value if $value;

		return 0 if $self->eof() || time() > $end;

		$self->_more(time() + 0.05);
	}
}

# the next event of a stream; an empty one if there is none

sub event {
	my ($self, $id) = @_;

	my $events = $self->{streams}{$id}{events};

	$self->until(sub { @$events });

	return shift @$events || { event => '', data => '' };
}

sub events { scalar @{$_[0]{streams}{$_[1]}{events}} }
sub ended { $_[0]{streams}{$_[1]}{ended} }
sub bytes_of { $_[0]{streams}{$_[1]}{bytes} }
sub comments { scalar @{$_[0]{streams}{$_[1]}{parser}{comments}} }

###############################################################################
