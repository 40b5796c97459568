#!/usr/bin/perl

# Tests for WebSocket and event streams over TLS, where a write that was put off
# has to be repeated with the same bytes: bursts to readers that come late.

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

if (($ENV{CI} || $ENV{RTBUS_REQUIRE_ALL})
	&& !eval { require IO::Socket::SSL; 1 })
{
	die "IO::Socket::SSL is missing\n";
}

my $t = Test::Nginx->new()
	->has(qw/ http http_ssl http_v2 proxy stub_status socket_ssl /)
	->has_daemon('redis-server')->has_daemon('openssl')->plan(59);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $redis_url = $redis->url();
my $long = 'x' x 1500;

$t->write_file_expand('nginx.conf', <<"EOC");

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis         $redis_url;
    rtbus_allow         job:*;
    rtbus_subscribe     job:\$arg_job;
    rtbus_message_rate  1000000r/s;

    ssl_certificate      localhost.crt;
    ssl_certificate_key  localhost.key;

    server {
        listen       127.0.0.1:8443 ssl sndbuf=32k;
        listen       127.0.0.1:8444 ssl http2;
        server_name  localhost;

        location /ws {
            rtbus websocket;
            rtbus_send_buffer 64m;
        }

        location /events {
            rtbus sse;
            rtbus_send_buffer 64m;
        }

        location /small/ws {
            rtbus websocket;
            rtbus_send_buffer 64k;
        }

        location /small/events {
            rtbus sse;
            rtbus_send_buffer 64k;
            rtbus_ping 20s 4s;
        }

        location /ping {
            rtbus websocket;
            rtbus_ping 100ms 5s;
        }

        location /long {
            rtbus websocket;
            add_header X-Long $long always;
        }

        location /unput {
            rtbus websocket;
            postpone_output 0;
        }
    }

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location / {
            proxy_pass https://127.0.0.1:8443;
            proxy_http_version 1.1;

            # nginx does not free the session at the end
            proxy_ssl_session_reuse off;

            proxy_set_header Upgrade \$http_upgrade;
            proxy_set_header Connection \$http_connection;
        }

        location /status {
            stub_status;
        }
    }
}

EOC

my $dir = $t->testdir();

$t->write_file('openssl.conf', <<EOF);
[ req ]
default_bits = 2048
encrypt_key = no
distinguished_name = req_distinguished_name
[ req_distinguished_name ]
EOF

system('openssl req -x509 -new '
	. "-config $dir/openssl.conf -subj /CN=localhost/ "
	. "-out $dir/localhost.crt -keyout $dir/localhost.key "
	. ">>$dir/openssl.out 2>&1") == 0
	or die "Can't create a certificate: $!\n";

$t->run();
wait_redis($t);

###############################################################################

my ($CLOSE, $PING, $PONG) = (8, 9, 10);

# one that never reads is given up in the middle of an event; until the end of
# the test it will be

my $never = ws('/small/ws?job=0', rcvbuf => 4096);
my $nor = sse('/small/events?job=0', rcvbuf => 4096);

$redis->event('job:0', 'e', 'x' x 900000) for 1 .. 2;

# both work at all

my $ws = ws('/ws?job=1');
my $sse = sse('/events?job=1');

is($redis->event('job:1', 'hello', { a => 1 }), 1, 'published');
is_deeply($ws->recv_json()->{data}, { a => 1 }, 'websocket event');
is($sse->next_event()->{data}, '{"a":1}', 'stream event');

my $frame = frame(payload =>
	'{"event":"subscribe","data":{"channel":"job:2"},"ack":1}');

$ws->send_raw($frame);
ok($ws->wait_ack(1)->{data}{ok}, 'subscribe');

$ws->send_bytewise($frame);
ok($ws->wait_ack(1)->{data}{ok}, 'subscribe in records of one byte');

$ws->send_raw(frame(opcode => $PING, payload => 'p') x 1000);
is(scalar(grep { ($ws->recv() || {})->{opcode} == $PONG } 1 .. 1000), 1000,
	'pings in one record');

my $text = '{"event":"x","ack":2,"data":"' . 'x' x 60000 . '"}';

$ws->send_text($text);
is($ws->wait_ack(2)->{data}{error}, 'unknown event', 'message of 60000 bytes');

is(join(' ', $ws->close(4000, 'bye')), '4000 ', 'close');

$ws = Test::RTBus::WebSocket->connect(path => '/ws?job=1', ssl => 1,
	early => $frame);
ok($ws->wait_ack(1)->{data}{ok}, 'early frame');

$ws->send_frame(rsv => 4);
is(($ws->read_close())[0], 1002, 'violation');
ok($ws->wait_eof(4), 'violation, end');

$ws = ws('/ping');
ok((wait_for { $ws->pump(); $ws->pings() >= 3 } 'pings'),
	'pings of the server');
is(($ws->close())[0], 1000, 'close among pings');

# a 101 that nginx does not put off

for my $path ('/long', '/unput') {
	$ws = Test::RTBus::WebSocket->connect(path => "$path?job=8", ssl => 1);

	is($ws->status(), 101, "$path: accepted");
	ok($ws->wait_event('connected'), "$path: connected");

	$redis->event('job:8', 'e', 1);
	is(($ws->wait_event('e') || {})->{data}, 1, "$path: event");

	$ws->close();
}

$redis->event('job:1', 'e', "\n");
is($sse->next_event()->{data}, '"\n"', 'stream goes on');

# bursts to those who read later: more than the system takes, in all sizes

my @data = map { map { data($_) } 0 .. 40, 4000 + $_, 16384 - 100 + 10 * $_,
	$_ * $_ * 100 } 1 .. 40;

my @ws = map { ws('/ws?job=3', rcvbuf => 32768) } 1 .. 3;
my @sse = map { sse('/events?job=3', rcvbuf => 32768) } 1 .. 2;
push @sse, sse('/events?job=3', rcvbuf => 32768, version_http => '1.0');

my $watch = ws('/ws?job=3');

my @rest = @data;

for my $part (0 .. 9) {
	my @now = splice @rest, 0, @data / 10;

	$redis->pipeline(map { [ 'PUBLISH', 'job:3',
		"{\"event\":\"e\",\"data\":\"$_\"}" ] } @now);

	# what nginx has read it has tried to send; then the next ones come

	$watch->recv_message() for @now;

	# some move on a little, so that writes begin anywhere

	$ws[1]->pump() if $part % 2;
	$sse[1]->pump() if $part % 2;
}

for my $j (0 .. $#ws) {
	my $good = 0;

	for my $data (@data) {
		my $m = $ws[$j]->recv_message() or last;
		last unless index($m->{message}, "\"$data\"") > 0;

		$good++;
	}

	is($good, scalar @data, "burst to websocket $j");
	is(($ws[$j]->close())[0], 1000, "burst to websocket $j, close");
}

for my $j (0 .. $#sse) {
	my $good = 0;

	for my $data (@data) {
		my $event = $sse[$j]->next_event() or last;
		last unless $event->{data} eq "\"$data\"";

		$good++;
	}

	is($good, scalar @data, "burst to stream $j");
}

# a single event larger than all buffers

my $data = join '', map { sprintf '%09d,', $_ } 1 .. 90000;
my $big = ws('/small/ws?job=4');
my $bigger = sse('/small/events?job=4');

$redis->publish('job:4', "{\"event\":\"e\",\"data\":\"$data\"}");
ok(index($big->recv_message()->{message}, "\"$data\"") > 0,
	'large event to websocket');
ok($bigger->next_event()->{data} eq "\"$data\"", 'large event to stream');

# those who do not read at all are closed, and have whole events

my $slow = ws('/small/ws?job=5', rcvbuf => 4096);
my $slower = sse('/small/events?job=5', rcvbuf => 4096);
my $good = ws('/ws?job=5');
my $n = 0;

while ($n < 1000 && error_log_count($t, qr/1013, client is too slow/) < 4) {
	$redis->publish('job:5', '{"event":"e","data":{"n":' . $n
		. ',"x":"' . 'x' x 900 . '"}}');
	last unless ($good->recv_message() || {})->{message} =~ /"n":$n,/;
	$n++;
}

cmp_ok($n, '>=', 64, 'closed not before the buffer is full');
cmp_ok($n, '<', 500, 'closed soon after');

my @seen;

while (my $f = $slow->recv()) {
	last if $f->{opcode} == $CLOSE;
	push @seen, $1 if $f->{message} && $f->{message} =~ /"n":(\d+),/;
}

is(join(' ', @seen), join(' ', 0 .. $#seen), 'slow websocket: in order');
is(($slow->read_close())[0], 1013, 'slow websocket: close');

@seen = ();

while (my $event = $slower->next_event()) {
	push @seen, $1 if $event->{data} =~ /"n":(\d+),/;
}

is(join(' ', @seen), join(' ', 0 .. $#seen), 'slow stream: in order');
is($slower->ended(), 1, 'slow stream: end');

$redis->event('job:5', 'e', 'last');
is($good->recv_json()->{data}, 'last', 'others go on');

# those who leave in the middle of an event are let go without a complaint

# (the client's TLS would say goodbye to a socket that is shut)

$SIG{PIPE} = 'IGNORE';

my $reader = ws('/ws?job=7');

for my $how (qw/ shut_write drop reset /) {
	my $ws = ws('/ws?job=7', rcvbuf => 4096);
	my $sse = sse('/events?job=7', rcvbuf => 4096);

	# once the reader has it all, others have been written to

	$redis->event('job:7', 'e', 'x' x 900000);
	ok($reader->recv_message(), "$how in the middle");

	$ws->$how();
	$sse->$how();
	ok($ws->wait_eof() && $sse->wait_eof(), "$how in the middle, end");
}

# an nginx in front that speaks TLS to us

$ws = Test::RTBus::WebSocket->connect(path => '/ws?job=6');
is($ws->status(), 101, 'proxied websocket');

my $stream = Test::RTBus::SSE->connect(path => '/events?job=6');
is($stream->status(), 200, 'proxied stream');

$ws->wait_event('connected');
$stream->wait_event('connected');

for my $k (1 .. 3) {
	$redis->event('job:6', 'e', $k);
	is($ws->recv_json()->{data}, $k, "proxied websocket, event $k");
	is($stream->next_event()->{data}, $k, "proxied stream, event $k");
}

is(($ws->close())[0], 1000, 'proxied websocket, close');

# HTTP/2

SKIP: {
	skip 'no curl with HTTP/2', 3 unless curl_has_http2();

	my $url = 'https://127.0.0.1:' . port(8444);

	$t->run_daemon('curl', '-s', '-N', '-k', '--http2', '-D', "$dir/head",
		'-o', "$dir/body", "$url/events?job=curl");

	ok((wait_for { slurp("$dir/body") =~ /event: connected/ } 'curl'),
		'curl: connected');
	like(slurp("$dir/head"), qr!^HTTP/2 200!, 'curl: HTTP/2');

	$redis->event('job:curl', 'e', 'x' x 60000);
	ok((wait_for { slurp("$dir/body") =~ /^data: "x{60000}"\n\n/m }
		'curl'), 'curl: event');

	kill 'TERM', $t->{_daemons}[-1];
}

# nothing stays

$_->drop() for $sse, @sse, $watch, $big, $bigger, $slow, $slower, $good,
	$reader, $stream;

is((wait_for {
	http_get('/status') =~ /Active connections: (1)\D/ && $1
} 'the end of all connections'), 1, 'no connection is left');

# a goodbye that TLS puts off as well would keep the connection, or be refused

error_log_unlike($t, qr/SSL_shutdown: -1/, 'no goodbye in a write put off');
error_log_unlike($t, qr/\[(?:error|crit)\].*client:/, 'nothing to complain of');

###############################################################################

sub ws {
	my ($path, %o) = @_;

	my $ws = Test::RTBus::WebSocket->connect(path => $path, ssl => 1, %o);

	$ws->wait_event('connected') or die "No connection at $path\n";

	return $ws;
}

sub sse {
	my ($path, %o) = @_;

	my $sse = Test::RTBus::SSE->connect(path => $path, ssl => 1, %o);

	$sse->wait_event('connected') or die "No stream at $path\n";

	return $sse;
}

sub frame {
	return Test::RTBus::WebSocket->frame(@_);
}

# the data of an event: no two places are alike

sub data {
	my ($size) = @_;

	return substr join(',', 1000 .. 1001 + $size / 5), 0, $size;
}

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
