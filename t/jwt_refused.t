#!/usr/bin/perl

# Tests for tokens that were given and do not hold: refused with the reason at
# each place that takes one, whether a user is required or not.  Only who shows
# none is nobody.  What is wrong with a token leaves nothing behind in OpenSSL.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Polling;
use Test::RTBus::Redis;
use Test::RTBus::SSE;
use Test::RTBus::SocketIO;
use Test::RTBus::WebSocket;

use Digest::SHA qw/ hmac_sha256 hmac_sha384 /;
use MIME::Base64 qw/ encode_base64url /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http http_ssl socket_ssl /)
	->has_daemon('redis-server')->has_daemon('openssl')->plan(135);

my $d = $t->testdir();
my $redis = Test::RTBus::Redis->new(dir => $d);
my $redis_url = $redis->url();

$t->write_file('HS256.key', 'the secret');

openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out $d/RS256.pem");
openssl("ecparam -name prime256v1 -genkey -noout -out $d/ES256.pem");
openssl("pkey -in $d/$_.pem -pubout -out $d/$_.key") for qw/ RS256 ES256 /;
openssl("req -x509 -new -key $d/RS256.pem -subj /CN=localhost -out $d/localhost.crt");

$t->write_file_expand('nginx.conf', <<"EOC");

%%TEST_GLOBALS%%

daemon off;
worker_processes 2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    large_client_header_buffers 4 64k;

    rtbus_redis      $redis_url;
    rtbus_allow      job:*;
    rtbus_command    plain;
    rtbus_jwt_key    HS256.key;

    ssl_certificate      localhost.crt;
    ssl_certificate_key  RS256.pem;

    server {
        listen       127.0.0.1:8080 reuseport;
        server_name  localhost;

        location = /state {
            rtbus_state  job:1;
        }

        location = /submit {
            rtbus_submit  plain;
        }

        location = /ws {
            rtbus  websocket;
        }

        location = /sse {
            rtbus            sse;
            rtbus_subscribe  job:1;
        }

        location /io/ {
            rtbus             socketio;
            rtbus_namespaces  / /two;
        }
    }

    server {
        listen       127.0.0.1:8443 ssl;
        server_name  localhost;

        location /RS256 {
            rtbus_jwt_key  RS256.key alg=RS256;
            rtbus_state    job:1;
        }

        location /ES256 {
            rtbus_jwt_key  ES256.key alg=ES256;
            rtbus_state    job:1;
        }
    }
}

EOC

$t->run();
wait_redis($t, 2);

wait_for { !ref $redis->try_cmd('FCALL_RO', 'rtbus_version', 0) } 'library';
$redis->cmd('FCALL', 'rtbus_publish', 1, 'job:1', 'n', '1', 'SET', 'status',
	'running');

my $now = int time();
my $good = jwt({ sub => 'ann', exp => $now + 600 });
my @good = split /\./, $good;

my %way = (
	state => \&over_state,
	submit => \&over_submit,
	WebSocket => \&over_ws,
	SSE => \&over_sse,
	'Socket.IO header' => sub { over_sio($_[0], 0) },
	'Socket.IO auth' => sub { over_sio($_[0], 1) },
	'polling header' => sub { over_polling($_[0], 0) },
	'polling auth' => sub { over_polling($_[0], 1) },
);

###############################################################################

for my $case (
	[ 'ok', 'good', $good ],
	[ 'ok', 'no token', '' ],
	[ 'ok', 'no claim', jwt({ name => 'ann' }) ],
	[ 'token expired', 'expired', jwt({ sub => 'ann', exp => $now - 1 }) ],
	[ 'not yet valid', 'nbf', jwt({ sub => 'ann', nbf => $now + 600 }) ],
	[ 'bad exp', 'exp is text', jwt({ sub => 'ann', exp => 'never' }) ],
	[ 'bad nbf', 'nbf is text', jwt({ sub => 'ann', nbf => 'now' }) ],
	[ 'bad signature', 'other secret', jwt({ sub => 'ann' }, {},
		\&hmac_sha256, 'another') ],
	[ 'bad signature', 'expired, too', jwt({ sub => 'ann',
		exp => $now - 1 }, {}, \&hmac_sha256, 'another') ],
	[ 'wrong algorithm', 'HS384', jwt({ sub => 'ann' }, { alg => 'HS384' },
		\&hmac_sha384) ],
	[ 'wrong algorithm', 'none', join '.',
		encode_base64url('{"alg":"none"}'), $good[1], $good[2] ],
	[ 'malformed token', 'text', 'a.b.c' ],
	[ 'malformed token', 'opaque', 'x' x 40 ],
	[ 'malformed token', 'too long', 'x' x 8193 ],
	[ 'unknown critical header', 'crit', jwt({ sub => 'ann' },
		{ crit => [ 'b64' ], b64 => JSON::PP::true }) ],
)
{
	my ($reason, $name, $token) = @$case;

	for my $way (sort keys %way) {
		next if $token eq '' && $way =~ /auth/;

		is($way{$way}->($token), $reason, "$name: $way");
	}
}

# crit of any kind

for my $crit ([ 'exp' ], [], undef, 'exp', { exp => 1 }) {
	is(over_state(jwt({ sub => 'ann' }, { crit => $crit })),
		'unknown critical header', 'crit ' . json_encode($crit));
}

# the answer

my $r = request('/state', 'Bearer a.b.c');
is($r->status(), 401, 'status');
is($r->header('WWW-Authenticate'), 'Bearer error="invalid_token"', 'header');
is($r->body(), '{"error":"unauthorized","reason":"malformed token"}', 'body');

# a session of another worker says the same

is(join(', ', map { over_polling(jwt({ sub => 'ann', exp => $now - 1 }), 1) }
	1 .. 8), join(', ', ('token expired') x 8), 'polling, any worker');

# nothing is left for whoever asks OpenSSL next: nginx would log an alert

for my $alg (qw/ RS256 ES256 /) {
	for my $token (join('.', encode_base64url("{\"alg\":\"$alg\"}"),
			$good[1], $good[2]),
		join('.', encode_base64url("{\"alg\":\"$alg\"}"), $good[1],
			'A' x 342),
		$good, 'a.b.c')
	{
		my $c = request("/$alg", "Bearer $token", ssl => 1,
			port => port(8443));
		is($c->status(), 401, "$alg over TLS");
	}
}

###############################################################################

sub jwt {
	my ($claims, $header, $hmac, $secret) = @_;

	my $text = join '.', map { encode_base64url(json_encode($_)) }
		{ alg => 'HS256', %{$header || {}} }, $claims;

	return "$text." . encode_base64url(($hmac || \&hmac_sha256)->($text,
		defined $secret ? $secret : 'the secret'));
}

sub request {
	my ($path, $authorization, %o) = @_;

	return Test::RTBus::SSE->connect(path => $path, accept => undef,
		headers => { Authorization => $authorization }, %o);
}

sub bearer {
	my ($token) = @_;

	return length $token ? (headers => { Authorization => "Bearer $token" })
		: ();
}

sub refusal {
	my ($c) = @_;

	return $c->status() if $c->status() != 401;
	return json_decode($c->body())->{reason} || 'none';
}

sub over_state {
	my ($token) = @_;

	my $c = Test::RTBus::SSE->connect(path => '/state', accept => undef,
		bearer($token));

	return $c->status() == 200 ? 'ok' : refusal($c);
}

sub over_submit {
	my ($token) = @_;

	my $c = Test::RTBus::Client->open_client(method => 'POST');

	$c->send_raw("POST /submit HTTP/1.1\r\nHost: localhost\r\n"
		. (length $token ? "Authorization: Bearer $token\r\n" : '')
		. "Content-Length: 1\r\n\r\n1");
	$c->read_body() if $c->read_head();

	return $c->status() == 202 ? 'ok' : refusal($c);
}

sub over_ws {
	my ($token) = @_;

	my $c = Test::RTBus::WebSocket->connect(path => '/ws', bearer($token));

	return $c->status() == 101 ? 'ok' : refusal($c);
}

sub over_sse {
	my ($token) = @_;

	my $c = Test::RTBus::SSE->connect(path => '/sse', bearer($token));

	return $c->status() == 200 ? 'ok' : refusal($c);
}

sub over_sio {
	my ($token, $auth) = @_;

	return answer(Test::RTBus::SocketIO->connect(path => '/io/',
		$auth ? () : bearer($token)), $token, $auth);
}

sub over_polling {
	my ($token, $auth) = @_;

	return answer(Test::RTBus::Polling->connect(path => '/io/',
		$auth ? () : bearer($token)), $token, $auth);
}

sub answer {
	my ($io, $token, $auth) = @_;

	my $p = $io->join_nsp('/', $auth ? { token => $token } : ());

	return 'no answer' if !$p;
	return 'ok' if $p->{type} == 0;
	return $p->{data}{message} if $p->{data}{message} ne 'unauthorized';
	return $p->{data}{data}{reason} || 'none';
}

sub openssl {
	my ($args) = @_;

	system("openssl $args >>$d/openssl.log 2>&1") == 0
		or die "openssl $args: " . $t->read_file('openssl.log');
}

###############################################################################
