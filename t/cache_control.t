#!/usr/bin/perl

# Tests for headers of ours that have a place of their own in nginx: "expires",
# the variables, auth_request and other modules find them there, and would add
# a second one, or miss it, if they did not.

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

my $t = Test::Nginx->new()->has(qw/ http rewrite auth_request /)
	->has_daemon('redis-server')->plan(26);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

my %what = (
	state => 'rtbus_state job:1;',
	sse => 'rtbus sse;',
	io => 'rtbus socketio;',
	status => 'rtbus_status;',
	bad => 'rtbus_state $arg_none;',
	nobody => 'rtbus_state job:1; rtbus_require_user on;',
);

my %expires = (
	none => '',
	off => 'expires off;',
	hour => 'expires 1h;',
	epoch => 'expires epoch;',
);

my $locations = join "\n", map { my $what = $_; map {
	"location /$_/$what { $what{$what} $expires{$_} "
	. 'add_header X-Cache $sent_http_cache_control always; '
	. 'add_header X-Auth $sent_http_www_authenticate always; '
	. 'add_header X-Tag $sent_http_etag always; }'
} sort keys %expires } sort keys %what;

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

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        $locations

        location /asks {
            auth_request  /none/nobody;
        }

        location /twice {
            error_page  404 = /none/state;
            add_header  Cache-Control max-age=5;
            return      404;
        }
    }
}

EOT

$t->run();
wait_redis($t);

$redis->cmd('HSET', '{job:1}:state', 'status', 'x');

###############################################################################

my $io = '?EIO=4&transport=polling';

for my $case (
	[ '/none/state', 'no-cache' ],
	[ '/off/state', 'no-cache' ],
	[ '/hour/state', 'max-age=3600' ],
	[ '/epoch/state', 'no-cache' ],
	[ '/none/sse', 'no-store' ],
	[ '/off/sse', 'no-store' ],
	[ '/hour/sse', 'max-age=3600' ],
	[ "/none/io$io", 'no-store' ],
	[ "/hour/io$io", 'max-age=3600' ],
	[ '/none/status', 'no-store' ],
	[ '/hour/status', 'max-age=3600' ],
	[ '/none/bad', 'no-store' ],
	[ '/hour/bad', 'no-store' ],
	[ '/none/nobody', 'no-store' ],
	[ '/hour/nobody', 'no-store' ],
	[ '/twice', 'no-cache' ],
)
{
	my ($uri, $expected) = @$case;

	my $r = get($uri);
	is($r->header('Cache-Control'), $expected, "$uri, one Cache-Control");
	is($r->header('X-Cache'), $expected, "$uri, variable")
		if $uri =~ m!^/none/!;
}

is(get('/none/nobody')->header('X-Auth'), 'Bearer', 'WWW-Authenticate');
like(get('/none/state')->header('X-Tag'), qr/^"0-0-/, 'ETag');

my $r = get('/asks');
is($r->status(), 401, 'auth_request');
is($r->header('WWW-Authenticate'), 'Bearer', 'auth_request, how');

###############################################################################

sub get {
	my ($uri) = @_;

	return Test::RTBus::SSE->connect(path => $uri, accept => undef);
}

###############################################################################
