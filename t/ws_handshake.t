#!/usr/bin/perl

# Tests for the WebSocket opening handshake, RFC 6455 section 4.2.
#
# Whatever a browser, a proxy or a script sends at a WebSocket location either
# becomes a connection or gets the status that says what was wrong with it; and
# an origin that is not ours does not get in.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Redis;
use Test::RTBus::WebSocket;

use MIME::Base64 qw/ encode_base64 /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http http_v2 ssi /)
	->has_daemon('redis-server')->plan(149);

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
        listen       127.0.0.1:8081 http2;
        server_name  localhost;

        location /ws {
            rtbus websocket;
        }

        location /any {
            rtbus websocket;
            rtbus_origin any;
        }

        location /list {
            rtbus websocket;
            rtbus_origin https://a.example http://b.example:8080;

            location /list/any {
                rtbus websocket;
                rtbus_origin any;
            }
        }

        location /ssi {
            ssi on;
            ssi_types *;
        }
    }
}

EOC

$t->write_file('ssi', '<!--#include virtual="/ws" -->END');

$t->run();
wait_redis($t);

###############################################################################

# a good one

my $ws = shakes('good', key => 'dGhlIHNhbXBsZSBub25jZQ==');

is($ws->header('Sec-WebSocket-Accept'), 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=',
	'accept of section 1.3');
is($ws->reason(), 'Switching Protocols', 'reason');
is(lc $ws->header('Upgrade'), 'websocket', 'upgrade');
is(lc $ws->header('Connection'), 'upgrade', 'connection');

for my $name (qw/ Content-Length Transfer-Encoding Content-Type
	Sec-WebSocket-Extensions Sec-WebSocket-Protocol /)
{
	is($ws->header($name), undef, "no $name");
}

works($ws, 'good');

$ws = shakes('offers are not taken', protocol => 'chat, superchat',
	headers => { 'Sec-WebSocket-Extensions' => 'permessage-deflate' });

is($ws->header('Sec-WebSocket-Protocol'), undef, 'no protocol');
is($ws->header('Sec-WebSocket-Extensions'), undef, 'no extension');

shakes('query', path => '/ws?a=b');
shakes('no origin', origin => undef);

# what is not an upgrade

my $no = refused(426, 'no upgrade', omit => [ qw/ Upgrade / ]);

is(lc $no->header('Upgrade'), 'websocket', '426 names the protocol');
like($no->header('Connection'), qr/\bupgrade\b/i,
	'426 upgrade is listed in connection');
is($no->header('Content-Type'), 'application/json', '426 is json');
ok(json_decode($no->body())->{error}, '426 has an error');

refused(426, 'no connection', omit => [ qw/ Connection / ]);
refused(426, 'neither', omit => [ qw/ Connection Upgrade / ]);
refused(426, 'other upgrade', headers => { Upgrade => 'h2c' });
refused(426, 'longer upgrade', headers => { Upgrade => 'websockets' });
refused(426, 'shorter upgrade', headers => { Upgrade => 'websocke' });
refused(426, 'empty upgrade', headers => { Upgrade => '' });
refused(426, 'close', headers => { Connection => 'close' });
refused(426, 'longer connection', headers => { Connection => 'upgrade2' });
refused(426, 'words, not a list',
	headers => { Connection => 'keep-alive upgrade' });
refused(426, 'HTTP/1.0', version_http => '1.0');

# lists and case

for my $value ('upgrade', 'UPGRADE', 'keep-alive, Upgrade',
	'Upgrade, keep-alive', "keep-alive\t,\tupGrade\t, x", ',,Upgrade,')
{
	shakes("connection: $value", headers => { Connection => $value });
}

shakes('connection in two lines',
	headers => { Connection => [ 'keep-alive', 'Upgrade' ] });
shakes('connection in two lines, first',
	headers => { Connection => [ 'Upgrade', 'keep-alive' ] });

for my $value ('WebSocket', 'h2c, websocket', 'websocket,h2c',
	" h2c ,\tWEBSOCKET ")
{
	shakes("upgrade: $value", headers => { Upgrade => $value });
}

shakes('upgrade in two lines',
	headers => { Upgrade => [ 'h2c', 'websocket' ] });
shakes('upgrade in two lines, first',
	headers => { Upgrade => [ 'websocket', 'h2c' ] });

shakes('names of headers', omit => [ qw/ Upgrade Connection
	Sec-WebSocket-Key Sec-WebSocket-Version / ], headers => {
		'upgrade' => 'websocket',
		'CONNECTION' => 'upgrade',
		'sec-websocket-key' => 'dGhlIHNhbXBsZSBub25jZQ==',
		'SEC-WEBSOCKET-VERSION' => '13',
	}, key => 'dGhlIHNhbXBsZSBub25jZQ==');

# version

for my $version (undef, '', '8', '14', '1', '130', '013', '13, 8') {
	my $name = defined $version ? "'$version'" : 'none';

	$no = refused(426, "version $name", version => $version);
	is($no->header('Sec-WebSocket-Version'), 13, "version $name is told");
}

# key

refused(400, 'no key', key => undef);
refused(400, 'empty key', key => '');
refused(400, 'short key', key => encode_base64('x' x 15, ''));
refused(400, 'long key', key => encode_base64('x' x 17, ''));
refused(400, 'longer key', key => encode_base64('x' x 1000, ''));
refused(400, 'key of 18 bytes', key => encode_base64('x' x 18, ''));
refused(400, 'key is not base64', key => '!' x 22 . '==');
refused(400, 'key is not padded', key => 'x' x 22);
refused(400, 'two keys', headers => { 'Sec-WebSocket-Key' =>
	[ map { encode_base64($_ x 16, '') } qw/ a b / ] });

# methods

for my $method (qw/ POST PUT DELETE HEAD OPTIONS PROPFIND /) {
	$no = refused(405, $method, method => $method,
		headers => { 'Content-Length' => 0 });
	is($no->header('Allow'), 'GET', "$method allow");
}

# a body

$no = refused(400, 'body', headers => { 'Content-Length' => 5 },
	early => 'hello');
next_reply($no, 'body');

$no = refused(400, 'body in chunks',
	headers => { 'Transfer-Encoding' => 'chunked' },
	early => "5\r\nhello\r\n0\r\n\r\n");
next_reply($no, 'body in chunks');

shakes('empty body', headers => { 'Content-Length' => 0 });

# what was refused leaves the connection as it should be

next_reply(refused(426, 'kept alive', version => 12), 'kept alive');

# in pieces

works(shakes('cut at every byte', cut => 1), 'cut at every byte');
works(shakes('cut in the middle', cut => 90, pause => 0.01),
	'cut in the middle');

# frames that do not wait for the answer

my $frame = subscribe(1, 'job:early');

$ws = shakes('early frame', early => $frame);
ok(acked($ws, 1), 'early frame is taken');
works($ws, 'early frame');

# the buffer for a request's head has one kilobyte

$ws = shakes('early frames', early => join '', map { subscribe($_, "job:$_") }
	1 .. 40);
is(acked_up_to($ws, 40), 40, 'early frames are taken');
works($ws, 'early frames');

$ws = shakes('early frames after a long head',
	headers => { Cookie => 'x' x 5000 },
	early => join '', map { subscribe($_, "job:$_") } 1 .. 40);
is(acked_up_to($ws, 40), 40,
	'early frames after a long head are taken');

$ws = shakes('early half of a frame', early => substr $frame, 0, 9);
$ws->send_raw(substr $frame, 9);
ok(acked($ws, 1), 'early half of a frame is taken');

$ws = shakes('early bad frame', early => "\xff" x 10);
is(($ws->read_close())[0], 1002, 'early bad frame is refused');

$ws = shakes('early close', early => Test::RTBus::WebSocket->frame(opcode => 8,
	payload => pack 'n', 1000), auto_close => 0);
is(($ws->read_close())[0], 1000, 'early close is answered');
ok($ws->wait_eof(), 'early close is the end');

# same origin

for my $case (
	[ 'localhost', 'http://localhost' ],
	[ 'localhost', 'https://localhost' ],
	[ 'localhost', 'HTTP://LocalHost' ],
	[ 'LOCALHOST', 'http://localhost' ],
	[ 'localhost', 'http://localhost:80' ],
	[ 'localhost', 'https://localhost:443' ],
	[ 'localhost:80', 'http://localhost' ],
	[ 'localhost:443', 'https://localhost' ],
	[ 'localhost:8080', 'http://localhost:8080' ],
	[ '[::1]:8080', 'http://[::1]:8080' ],
	[ '[::1]', 'http://[::1]' ],
)
{
	my ($host, $origin) = @$case;

	shakes("$origin is $host", headers => { Host => $host },
		origin => $origin);
}

for my $case (
	[ 'localhost', 'http://evil.example' ],
	[ 'localhost', 'http://localhost.evil.example' ],
	[ 'localhost', 'http://evil.localhost' ],
	[ 'localhost', 'http://localhost:8080' ],
	[ 'localhost:8080', 'http://localhost' ],
	[ 'localhost:8080', 'http://localhost:8081' ],
	[ 'localhost', 'http://localhost:443' ],
	[ 'localhost', 'http://localhost/x' ],
	[ 'localhost', 'http://' ],
	[ 'localhost', 'localhost' ],
	[ 'localhost', 'file://localhost' ],
	[ 'localhost', 'null' ],
	[ 'localhost', '' ],
)
{
	my ($host, $origin) = @$case;

	refused(403, "$origin is not $host", headers => { Host => $host },
		origin => $origin);
}

error_log_like($t, qr/\[info\] .*foreign origin "http:..evil\.example"/,
	'foreign origin is logged');

# other origins

shakes('first of the list', path => '/list', origin => 'https://a.example');
shakes('second of the list', path => '/list',
	origin => 'http://B.example:8080');
shakes('none with a list', path => '/list');

for my $origin ('http://a.example', 'https://a.example:444',
	'http://b.example', 'https://a.example.evil', 'null')
{
	refused(403, "$origin is not in the list", path => '/list',
		origin => $origin);
}

shakes('any', path => '/any', origin => 'http://evil.example');
shakes('any null', path => '/any', origin => 'null');
shakes('any within a list', path => '/list/any', origin => 'http://c.example');

# a WebSocket location where there is no client of its own

$no = refused(200, 'subrequest', path => '/ssi');
like($no->body(), qr/END/, 'subrequest is no handshake');

SKIP: {
skip 'no curl with HTTP/2', 2 unless curl_has_http2();

# RFC 9113 section 8.2.2: no connection-specific headers

my $port = port(8081);
my $reply = `curl -s -i -m 5 --http2-prior-knowledge http://127.0.0.1:$port/ws`;

is($?, 0, 'HTTP/2 reply is well-formed');
like($reply, qr/^HTTP\/2 426/, 'HTTP/2 is no way to come in');
}

###############################################################################

sub shakes {
	my ($name, %o) = @_;

	my $ws = Test::RTBus::WebSocket->connect(path => '/ws', %o);

	is($ws->status(), 101, "101: $name");
	return $ws;
}

sub refused {
	my ($status, $name, %o) = @_;

	my $ws = Test::RTBus::WebSocket->connect(path => '/ws', %o, read => 0);

	$ws->read_head() && $ws->read_body();

	is($ws->status(), $status, "$status: $name");
	return $ws;
}

sub works {
	my ($ws, $name) = @_;

	$ws->send_json({ event => 'subscribe', ack => 999,
		data => { channel => 'job:works' } });

	ok(acked($ws, 999), "$name: works");
}

sub acked {
	my ($ws, $n) = @_;

	my $ack = $ws->wait_ack($n);
	return $ack && $ack->{data}{ok};
}

sub acked_up_to {
	my ($ws, $last) = @_;

	for my $n (1 .. $last) {
		acked($ws, $n) or return $n - 1;
	}

	return $last;
}

sub subscribe {
	my ($ack, $channel) = @_;

	return Test::RTBus::WebSocket->frame(payload => json_encode({
		event => 'subscribe', ack => $ack,
		data => { channel => $channel }
	}));
}

# a second handshake on the same connection

sub next_reply {
	my ($ws, $name) = @_;

	$ws->send_raw("GET /ws HTTP/1.1\r\nHost: localhost\r\n"
		. "Upgrade: websocket\r\nConnection: Upgrade\r\n"
		. "Sec-WebSocket-Version: 13\r\n"
		. "Sec-WebSocket-Key: $ws->{key}\r\n\r\n");

	$ws->{headers} = {};
	$ws->handshake();
	is($ws->status(), 101, "$name: another try");
}

sub curl_has_http2 {
	return 1 if `curl --version 2>/dev/null` =~ /^Features:.*\bHTTP2\b/m;

	die "curl has no HTTP/2\n" if $ENV{CI} || $ENV{RTBUS_REQUIRE_ALL};
	return 0;
}

###############################################################################
