#!/usr/bin/perl

# Tests for nginx's own modules in front of WebSocket, SSE, Socket.IO and the
# state: limits, access by address, password and subrequest, error pages, the
# access log.  None of that is done again by this module, so it has to work with
# it.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Redis;
use Test::RTBus::SSE;
use Test::RTBus::SocketIO;
use Test::RTBus::WebSocket;

use MIME::Base64 qw/ encode_base64 /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()
	->has(qw/ http access auth_basic limit_conn limit_req proxy rewrite /)
	->has_daemon('redis-server');

plan(skip_all => 'the module is not built') unless module_file();

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

my $subrequests = $t->has_module('auth_request');

# the same in front of each protocol

my $locations = locations('', 'rtbus websocket sse')
	. locations('/io', 'rtbus socketio')
	. locations('/state', 'rtbus_state job:1');

$t->plan(3 * 33 + 12 + 3);

$t->write_file('passwd', "alice:{PLAIN}secret\nbob:{PLAIN}other\n");

mkdir $t->testdir() . '/page';
$t->write_file("page/$_", "PAGE-$_") for 401, 403, 429, 500, 503;

$t->write_file_expand('nginx.conf', <<"CONF");

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis $url;
    rtbus_allow *;
    rtbus_drain 0;

    log_format ends '\$status \$uri \$bytes_sent \$request_length';
    access_log %%TESTDIR%%/ends.log ends;

    limit_conn_zone \$arg_zone zone=conn:1m;
    limit_conn_status 429;
    limit_req_zone \$arg_zone zone=req:1m rate=1r/m;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

$locations
        location = /auth {
            internal;
            proxy_pass http://127.0.0.1:8081;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_set_header Upgrade "";
            proxy_set_header X-Cookie \$http_cookie;
        }

        location /page {
        }
    }

    server {
        listen       127.0.0.1:8081;
        server_name  localhost;

        location / {
            add_header X-User \$http_x_cookie;

            if (\$http_x_cookie = "") {
                return 401;
            }

            if (\$http_x_cookie = mallory) {
                return 403;
            }

            if (\$http_x_cookie = broken) {
                return 502;
            }

            return 204;
        }
    }
}

CONF

$t->run();

wait_for { error_log_count($t, qr/connected to Redis/) == 2 } 'Redis';

###############################################################################

my %good = (WebSocket => 101, SSE => 200, SocketIO => 101);

for my $kind (sort keys %good) {
	my $good = $good{$kind};

	my $connect = sub { client($kind, @_) };

	# limit_conn: as long as the client is there, however it leaves

	my $zone = "/conn?zone=$kind";
	my @clients = map { $connect->($zone) } 1 .. 3;

	is(join(' ', map { $_->status() } @clients), "$good $good $good",
		"$kind: connections");

	my $more = $connect->($zone);
	is($more->status(), 429, "$kind: one too many");
	is($more->body(), 'PAGE-429', "$kind: page for it");
	is($connect->("$zone-other")->status(), $good,
		"$kind: elsewhere it is not");

	# another kind of client counts as well

	my ($other) = grep { $_ ne $kind } sort keys %good;
	is(client($other, $zone)->status(), 429, "$kind: too many of both");

	for my $end (qw/ close reset drop /) {
		(shift @clients)->$end();

		my $next = wait_for {
			my $c = $connect->($zone);
			$c->status() == $good && $c;
		} 'a free place';

		ok($next, "$kind: a place is free, $end");
		push @clients, $next;
	}

	is($connect->($zone)->status(), 429, "$kind: but only that");

	$redis->wait_subscribers('all', 1);
	$redis->event('all', 'limited', 1);
	is(scalar(grep { $_->wait_event('limited') } @clients), 3,
		"$kind: events meanwhile");

	$_->drop() for @clients;

	# limit_req: handshakes

	$zone = "/req?zone=$kind";
	@clients = map { $connect->($zone) } 1 .. 3;

	is(join(' ', map { $_->status() } @clients), "$good $good 503",
		"$kind: requests");
	is($clients[2]->body(), 'PAGE-503', "$kind: page for too many");

	$redis->wait_subscribers('all', 1);
	$redis->event('all', 'slowly', 1);
	is(scalar(grep { $_->wait_event('slowly') } @clients[0, 1]), 2,
		"$kind: events of those who are in");

	$_->drop() for @clients;

	# addresses

	my $denied = $connect->('/address');

	is($denied->status(), 403, "$kind: address denied");
	is($denied->body(), 'PAGE-403', "$kind: page for it");
	is($connect->('/address', local => '127.0.0.2')->status(), $good,
		"$kind: address allowed");

	# passwords

	$denied = $connect->('/password');

	is($denied->status(), 401, "$kind: no password");
	like($denied->header('WWW-Authenticate') || '', qr/^Basic/,
		"$kind: asked for one");
	is($denied->body(), 'PAGE-401', "$kind: page for no password");
	is($connect->('/password', password('alice', 'other'))->status(), 401,
		"$kind: wrong password");

	my $c = $connect->('/password', password('alice', 'secret'));

	is($c->status(), $good, "$kind: password");
	ok(told($c, 'user:alice', "$kind-alice"), "$kind: user of a channel");

	$c->drop();

	# one or the other

	is($connect->('/either')->status(), 401, "$kind: neither");
	is($connect->('/either', local => '127.0.0.2')->status(), $good,
		"$kind: address or password: address");
	is($connect->('/either', password('bob', 'other'))->status(), $good,
		"$kind: address or password: password");

	# subrequests

	SKIP: {
		skip 'no auth_request', 5 unless $subrequests;

		is($connect->('/subrequest')->status(), 401,
			"$kind: subrequest says 401");
		is($connect->('/subrequest', as('mallory'))->status(), 403,
			"$kind: subrequest says 403");

		my $broken = $connect->('/subrequest', as('broken'));

		is($broken->status() . ' ' . $broken->body(), '500 PAGE-500',
			"$kind: subrequest fails");

		my $c = $connect->('/subrequest', as('carol'));

		is($c->status(), $good, "$kind: subrequest allows");
		ok(told($c, 'user:carol', "$kind-carol"),
			"$kind: user from the subrequest");

		$c->drop();
	}

	# the log is written at the end

	$c = $connect->("/open/$kind");

	$redis->wait_subscribers('all', 1);
	$redis->event('all', 'logged', 'x' x 3000);
	$c->wait_event('logged');

	http_get("/page/403?$kind");
	is(scalar(log_lines(qr!^\d+ (?:/io)?/open/$kind !)), 0,
		"$kind: nothing in the access log while it lasts");

	$c->drop();

	my ($line) = @{(wait_for {
		my @lines = log_lines(qr!^\d+ (?:/io)?/open/$kind !);
		@lines && \@lines;
	} 'the access log') || ['']};

	my ($status, undef, $bytes) = split ' ', $line;

	is($status, $good, "$kind: status in the access log");
	cmp_ok($bytes, '>', 3000, "$kind: all that was sent");
}

# refusals are requests like any other

is(scalar(log_lines(qr!^401 /page/401 !)), 6, 'refusals in the log: 401');
cmp_ok(scalar(log_lines(qr!^429 /page/429 !)), '>=', 9, 'and 429');

# the state of a job

$redis->cmd('FCALL', 'rtbus_publish', 1, 'job:1', 'n', '1', 'SET', 'status', 'ok');

for my $case (
	[ 'open', '/open', 200 ],
	[ 'address denied', '/address', 403 ],
	[ 'address allowed', '/address', 200, local => '127.0.0.2' ],
	[ 'no password', '/password', 401 ],
	[ 'wrong password', '/password', 401, password('alice', 'other') ],
	[ 'password', '/password', 200, password('alice', 'secret') ],
	[ 'neither', '/either', 401 ],
	[ 'address or password', '/either', 200, password('bob', 'other') ],
	[ 'subrequest says 401', '/subrequest', 401 ],
	[ 'subrequest says 403', '/subrequest', 403, as('mallory') ],
	[ 'subrequest fails', '/subrequest', 500, as('broken') ],
	[ 'subrequest allows', '/subrequest', 200, as('carol') ],
)
{
	my ($name, $path, $status, %o) = @$case;

	SKIP: {
		skip 'no auth_request', 1
			if !$subrequests && $path eq '/subrequest';

		my $c = Test::RTBus::SSE->connect(path => "/state$path",
			accept => undef, %o);

		is($c->status(), $status, "state: $name");
	}
}

# nobody is left

ok((wait_for {
	my $c = Test::RTBus::WebSocket->connect(
		path => '/conn?zone=WebSocket-other');
	$c->status() == 101;
} 'all to be gone'), 'all gone');

###############################################################################

# What stands in front of a protocol, its locations below a prefix.

sub locations {
	my ($prefix, $protocol) = @_;

	my $auth_request = $subrequests ? <<"CONF" : '';
        location $prefix/subrequest {
            $protocol;
            rtbus_user \$who;
            rtbus_require_user on;
            rtbus_subscribe user:\$rtbus_user;

            auth_request /auth;
            auth_request_set \$who \$upstream_http_x_user;

            error_page 500 /page/500;
        }
CONF

	return <<"CONF";
        location $prefix/open {
            $protocol;
            rtbus_subscribe all;
        }

        location $prefix/conn {
            $protocol;
            rtbus_subscribe all;
            limit_conn conn 3;

            error_page 429 /page/429;
        }

        location $prefix/req {
            $protocol;
            rtbus_subscribe all;
            limit_req zone=req burst=1 nodelay;

            error_page 503 /page/503;
        }

        location $prefix/address {
            $protocol;
            rtbus_subscribe all;
            allow 127.0.0.2;
            deny all;

            error_page 403 /page/403;
        }

        location $prefix/password {
            $protocol;
            rtbus_subscribe user:\$remote_user;
            auth_basic closed;
            auth_basic_user_file %%TESTDIR%%/passwd;

            error_page 401 /page/401;
        }

        location $prefix/either {
            $protocol;
            rtbus_subscribe all;
            satisfy any;
            allow 127.0.0.2;
            deny all;
            auth_basic closed;
            auth_basic_user_file %%TESTDIR%%/passwd;
        }

$auth_request
CONF
}

# A Socket.IO client is in the main namespace, too, if it gets that far.

sub client {
	my ($kind, $path, %o) = @_;

	my $c = "Test::RTBus::$kind"->connect(%o,
		path => $kind eq 'SocketIO' ? "/io$path" : $path);

	$c->join_nsp() if $kind eq 'SocketIO' && $c->status() == 101;

	return $c;
}

sub as {
	my ($cookie) = @_;

	return (headers => { Cookie => $cookie });
}

sub password {
	my ($user, $password) = @_;

	return (headers => { Authorization => 'Basic '
		. encode_base64("$user:$password", '') });
}

# Has the client this channel?

sub told {
	my ($c, $channel, $name) = @_;

	return wait_for {
		$redis->event($channel, $name, 1);
		$c->wait_event($name, 0.1);
	} "an event on $channel";
}

sub log_lines {
	my ($re) = @_;

	my @lines = grep { $_ =~ $re }
		split /\n/, $t->read_file('ends.log');

	return @lines;
}

###############################################################################
