#!/usr/bin/perl

# Tests for the pages that browsers come from: origins are compared by scheme,
# host and port, as nginx compares the names of servers; and an operator whose
# proxy hides the Host is told so.

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

my $t = Test::Nginx->new()->has(qw/ http http_ssl proxy rewrite socket_ssl /)
	->has_daemon('redis-server')->has_daemon('openssl');

my $d = $t->testdir();
my $redis = Test::RTBus::Redis->new(dir => $d);
my $redis_url = $redis->url();

system("openssl req -x509 -new -newkey rsa:2048 -nodes -subj /CN=localhost"
	. " -keyout $d/localhost.key -out $d/localhost.crt >$d/openssl.log 2>&1")
	== 0 or die "openssl: " . $t->read_file('openssl.log');

my %lists = (
	exact => 'https://app.example http://[::1]:8080 HTTPS://Up.Example:443'
		. ' wss://socket.example capacitor://localhost',
	head => 'https://*.example.com',
	both => 'https://.example.com:8443',
	tail => 'http://www.example.*',
	regex => '"~^https://(?:a|b)\.example$" "~^http://c[0-9]+\.example:81$"',
	null => 'null https://app.example',
);

my $lists = join '', map { "
        location = /$_ {
            rtbus         websocket sse;
            rtbus_origin  $lists{$_};
        }
" } sort keys %lists;

$t->write_file_expand('nginx.conf', <<"EOC");

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    error_log  $d/error.log debug;
    error_log  $d/warn.log warn;

    rtbus_redis      $redis_url;
    rtbus_allow      job:*;
    rtbus_subscribe  job:1;

    ssl_certificate      localhost.crt;
    ssl_certificate_key  localhost.key;

    server {
        listen       127.0.0.1:8080;
        listen       127.0.0.1:8443 ssl;
        server_name  localhost;

        location = /same {
            rtbus  websocket sse;
        }
$lists
    }

    server {
        listen       127.0.0.1:8081;
        server_name  localhost;

        location / {
            proxy_pass  http://127.0.0.1:8080;
        }
    }
}

EOC

my @cases = (
	# the request's own: its scheme is known over TLS only

	[ same => 1, 'http://localhost', 'https://localhost', 'http://localhost/',
		'ws://localhost', 'wss://localhost', 'wss://LOCALHOST:443/',
		'http://localhost:80' ],
	[ same => 0, 'http://localhost//', 'http://localhost:443',
		'https://localhost:80', 'http://localhost/x', 'ws://other',
		'http://localhost:0', 'http://localhost:', 'http://localhost:99999',
		'http://localhost:8080', 'ftp://localhost', 'http:/localhost', 'null',
		'http://', 'http:///', '/', '://localhost', 'http://user@localhost' ],

	[ exact => 1, 'https://app.example', 'https://app.example:443',
		'https://app.example/', 'wss://app.example', 'HTTPS://App.Example',
		'http://[::1]:8080', 'https://up.example', 'https://socket.example',
		'capacitor://localhost' ],
	[ exact => 0, 'http://app.example', 'https://app.example:444',
		'https://app.example.evil', 'https://x.app.example', 'http://[::1]',
		'http://[::1', 'http://localhost', 'null', 'capacitor://localhost:1' ],

	[ head => 1, 'https://a.example.com', 'https://a.b.example.com:443',
		'wss://a.example.com' ],
	[ head => 0, 'https://example.com', 'http://a.example.com',
		'https://a.example.com:444', 'https://aexample.com',
		'https://a.example.com.evil', 'https://.example.com' ],

	[ both => 1, 'https://example.com:8443', 'https://a.example.com:8443' ],
	[ both => 0, 'https://example.com', 'https://aexample.com:8443' ],

	[ tail => 1, 'http://www.example.org', 'http://www.example.co.uk:80' ],
	[ tail => 0, 'http://www.example', 'http://www.example.',
		'http://www.examples.org', 'https://www.example.org' ],

	[ regex => 1, 'https://a.example', 'HTTPS://B.EXAMPLE', 'wss://b.example',
		'https://a.example:443/', 'http://c12.example:81' ],
	[ regex => 0, 'https://c.example', 'http://a.example',
		'https://a.example:444', 'http://c.example:81', 'null' ],

	[ null => 1, 'null', 'https://app.example' ],
	[ null => 0, 'nul', 'nulls', 'null://', 'https://null' ],
);

my $n = 0;
$n += @$_ - 2 for @cases;

$t->plan($n + 14);
$t->run();
wait_redis($t);

###############################################################################

for my $case (@cases) {
	my ($path, $yes, @origins) = @$case;

	for my $origin (@origins) {
		is(status("/$path", $origin), $yes ? 200 : 403,
			"$path: $origin");
	}
}

# over TLS

for my $case ([ 'https://localhost', 200 ], [ 'wss://localhost', 200 ],
	[ 'https://localhost:443', 200 ], [ 'http://localhost', 403 ],
	[ 'http://localhost:443', 403 ], [ 'ws://localhost', 403 ])
{
	is(status('/same', $case->[0], ssl => 1, port => port(8443)), $case->[1],
		"TLS: $case->[0]");
}

is(Test::RTBus::WebSocket->connect(path => '/same', origin => 'wss://localhost',
	)->status(), 101, 'WebSocket');
is(Test::RTBus::WebSocket->connect(path => '/head',
	origin => 'https://example.com')->status(), 403, 'WebSocket, foreign');

# what is let in is told so as it was sent

is(Test::RTBus::SSE->connect(path => '/head',
	origin => 'https://A.example.com')->header('Access-Control-Allow-Origin'),
	'https://A.example.com', 'CORS');

# the Host of an upstream

is(status('/same', 'http://localhost', port => port(8081)), 403, 'proxied');
is(status('/same', "http://a\x1b[2Jb", port => port(8081)), 403,
	'a control character');

my @warnings = grep { /rtbus:/ } split /^/, $t->read_file('warn.log');

is(@warnings, 1, 'one warning a minute');
like($warnings[0], qr/\[warn\] .*Origin "http:\S+" is not that of the Host "/,
	'names both');
unlike($t->read_file('error.log'), qr/\[info\].*\x1b/, 'is shown in escapes');

###############################################################################

sub status {
	my ($path, $origin, %o) = @_;

	return Test::RTBus::SSE->connect(path => $path, origin => $origin, %o)
		->status();
}

###############################################################################
