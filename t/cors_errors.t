#!/usr/bin/perl

# Tests for CORS where somebody else answers: a preflight has no credentials, so
# whatever asks for some must not see it; and a page that was let in has to see
# that it is to log in, to send less, or to come later, whoever says so.

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

my $t = Test::Nginx->new()->has(qw/ http rewrite access auth_basic
	auth_request limit_req limit_conn /)
	->has_daemon('redis-server')->plan(144);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

# what is served, the method of a request, those that are allowed

my %served = (
	state => [ 'rtbus_state job:1;', 'GET', 'GET, HEAD' ],
	publish => [ 'rtbus_publish job:1;', 'POST', 'POST' ],
	submit => [ 'rtbus_submit do;', 'POST', 'POST' ],
	sse => [ 'rtbus sse;', 'GET', 'GET' ],
	both => [ 'rtbus websocket sse;', 'GET', 'GET' ],
	io => [ 'rtbus socketio;', 'GET', 'GET, POST' ],
);

# who refuses it, how, with what status

my %guard = (
	basic => [ 'auth_basic x; auth_basic_user_file %%TESTDIR%%/users;', 401 ],
	request => [ 'auth_request /no;', 401 ],
	deny => [ 'deny all;', 403 ],
	except => [ 'limit_except PUT { deny all; }', 403 ],
	any => [ 'satisfy any; deny all; auth_request /no;', 401 ],
);

my $locations = join "\n", map { my $s = $_; map {
	"location /$_/$s { $served{$s}[0] $guard{$_}[0] }"
} sort keys %guard } sort keys %served;

$t->write_file('users', "u:\$apr1\$x\$x\n");

$t->write_file_expand('nginx.conf', <<"EOT");

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis      $url;
    rtbus_allow      job:*;
    rtbus_subscribe  job:1;
    rtbus_command    do;
    rtbus_origin     https://a.example;

    limit_req_zone   \$uri zone=req:1m rate=1r/m;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        $locations

        location /no {
            internal;
            return  401;
        }

        location /small {
            rtbus_publish         job:1;
            client_max_body_size  5;
        }

        location /rate {
            rtbus_state  job:1;
            limit_req    zone=req;
        }

        location /said {
            rtbus_state  job:1;

            if (\$arg_x) {
                return  418 "no";
            }
        }

        location /status {
            rtbus_status;
            deny  all;
        }

        location /ws {
            rtbus  websocket;
            deny   all;
        }

        location /none {
            deny  all;
        }

        location /plain {
            rtbus_state  job:1;
        }

        location /own {
            rtbus_state  job:1;
            deny         all;
            add_header   X-Own yes always;
        }
    }
}

EOT

$t->run();
wait_redis($t);

###############################################################################

my $io = '?EIO=4&transport=polling';

for my $guard (sort keys %guard) {
	for my $served (sort keys %served) {
		my $uri = "/$guard/$served" . ($served eq 'io' ? $io : '');
		my (undef, $method, $methods) = @{ $served{$served} };

		my $r = preflight($uri, $method);
		is($r->status(), 204, "$guard, $served: preflight");
		is($r->header('Access-Control-Allow-Methods'), $methods,
			"$guard, $served: methods");

		$r = ask($uri, $method);
		is($r->status(), $guard{$guard}[1], "$guard, $served: refused");
		is(cors($r), 'https://a.example true',
			"$guard, $served: seen by the page");
	}
}

# preflights of others, and what is none

is(preflight('/basic/state', 'GET', 'https://b.example')->status(), 403,
	'preflight of a foreign origin');
is(ask('/basic/state', 'OPTIONS')->status(), 401, 'no preflight');
is(preflight('/status', 'GET')->status(), 403, 'status is not for pages');
is(preflight('/ws', 'GET')->status(), 403, 'nor is websocket');
is(preflight('/none', 'GET')->status(), 403, 'nor what is not ours');

my $r = preflight('/basic/state', 'GET', 'https://a.example',
	'Access-Control-Request-Headers' => 'authorization, x-y');
is($r->header('Access-Control-Allow-Headers'), 'authorization, x-y',
	'preflight with headers');
$r->send_raw("GET /plain HTTP/1.1\r\nHost: localhost\r\n\r\n");
$r->handshake();
is($r->status(), 404, 'the connection goes on');

# refusals by other means

$r = ask('/small', 'POST', 'https://a.example', '{"event":"e"}');
is($r->status(), 413, 'too large');
is(cors($r), 'https://a.example true', 'too large, seen by the page');

ask('/rate', 'GET');
$r = ask('/rate', 'GET');
is($r->status(), 503, 'too often');
is(cors($r), 'https://a.example true', 'too often, seen by the page');
is(preflight('/rate', 'GET')->status(), 503, 'preflights are counted');

$r = ask('/said?x=1', 'GET');
is($r->status(), 418, 'said');
is(cors($r), 'https://a.example true', 'said, seen by the page');

# once, and to nobody else

is(cors(ask('/plain', 'GET')), 'https://a.example true', 'ours');
is(cors(ask('/plain', 'GET', 'https://b.example')), '', 'not to others, ours');
is(cors(ask('/deny/state', 'GET', 'https://b.example')), '', 'not to others');
is(cors(ask('/deny/state', 'GET', undef)), '', 'not without an origin');
is(cors(ask('/none', 'GET')), '', 'not what is not ours');
is(cors(ask('/status', 'GET')), '', 'not the status');

$r = ask('/own', 'GET');
is(cors($r), 'https://a.example true', 'beside add_header');
is($r->header('X-Own'), 'yes', 'add_header');
is($r->header('Vary'), 'Origin', 'varies');

my $before = error_log_count($t, qr/foreign origin/);
ask('/plain', 'GET', 'https://b.example');
is(error_log_count($t, qr/foreign origin/), $before + 1, 'logged once');

###############################################################################

sub ask {
	my ($uri, $method, $origin, $body) = @_;

	$origin = 'https://a.example' if @_ < 3;
	$body = '{}' if $method eq 'POST' && !defined $body;

	return Test::RTBus::SSE->connect(path => $uri, method => $method,
		accept => undef, defined $body ? (early => $body) : (),
		headers => {
			defined $origin ? (Origin => $origin) : (),
			defined $body ? ('Content-Length' => length $body) : (),
		});
}

sub preflight {
	my ($uri, $method, $origin, %h) = @_;

	return Test::RTBus::SSE->connect(path => $uri, method => 'OPTIONS',
		accept => undef, headers => {
			'Origin' => $origin || 'https://a.example',
			'Access-Control-Request-Method' => $method, %h });
}

sub cors {
	my ($r) = @_;

	return join ' ', grep { defined } map { $r->header($_) }
		'Access-Control-Allow-Origin',
		'Access-Control-Allow-Credentials';
}

###############################################################################
