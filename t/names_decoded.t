#!/usr/bin/perl

# Tests for names that come with the request: what nginx has decoded is not
# decoded again, or "deny" and rules would have looked at another name; an
# argument, which nginx leaves as it is, is decoded once, in each directive.
# What is logged of them cannot look like a line of the log.

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

my $t = Test::Nginx->new()->has(qw/ http access rewrite /)
	->has_daemon('redis-server')->plan(38);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $redis_url = $redis->url();

$t->write_file_expand('nginx.conf', <<"EOC");

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    error_log      %%TESTDIR%%/error.log debug;
    error_log      %%TESTDIR%%/info.log info;

    rtbus_redis    $redis_url;
    rtbus_command  *;
    rtbus_allow    job:*;
    rtbus_allow    room:\$arg_room;
    rtbus_allow    team:\${Arg_team}:*;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location ~ ^/submit/admin: {
            deny all;
        }

        location ~ ^/submit/([\\s\\S]*)\$ {
            rtbus_submit \$1;
        }

        location ~ ^/events/([\\s\\S]*)\$ {
            rtbus sse;
            rtbus_subscribe \$1;
        }

        location ~ ^/digit/(.)\$ {
            rtbus sse;
            rtbus_subscribe job:\$12;
        }

        location ~ ^/state/([\\s\\S]*)\$ {
            rtbus_state \$1;
        }

        location ~ ^/publish/([\\s\\S]*)\$ {
            rtbus_publish \$1 live;
        }

        location = /submit {
            rtbus_submit task:\$arg_name;
        }

        location = /events {
            rtbus sse;
            rtbus_subscribe \$arg_channel job:\$arg_job;
        }

        location = /state {
            rtbus_state \$arg_channel;
        }

        location = /kept {
            rtbus_state job:1 key=kept:\$arg_id;
        }

        location = /publish {
            rtbus_publish job:\${arg_job} live;
        }
    }
}

EOC

$t->run();
wait_redis($t);

wait_for { !ref $redis->try_cmd('FCALL_RO', 'rtbus_version', 0) } 'library';

###############################################################################

my $event = '{"event":"e","data":1}';

# what nginx has decoded

is(post('/submit/admin:reset', 1)->status(), 403, 'denied');
is(post('/submit/%61dmin:reset', 1)->status(), 403, 'denied, encoded');
is(post('/submit/%2561dmin:reset', 1)->status(), 202, 'encoded twice');
is($redis->take('rtbus:commands')->{event}, '%61dmin:reset',
	'is another event');

is(get('/events/job:1')->status(), 200, 'channel');
is(get('/events/%6aob:1')->status(), 200, 'channel, encoded');
like(get('/events/%256Aob:1')->status(), qr/^40[03]$/,
	'channel, encoded twice');
like(get('/state/job%253A1')->status(), qr/^40[03]$/, 'state, encoded twice');

$redis->cmd('HSET', '{job:1}:state', 'status', 'up');

is(get('/state/job%3A1')->status(), 200, 'state, encoded');

is(post('/publish/job%3A1', $event)->body(), '{"channel":"job:1"}',
	'publish, encoded');
isnt(post('/publish/job%253A1', $event)->body(), '{"channel":"job:1"}',
	'publish, encoded twice');

my $c = get('/digit/7');
ok($redis->wait_subscribers('job:72', 1), 'a digit behind a capture');

# what nginx leaves encoded

is(post('/submit?name=a%3Ab', 1)->status(), 202, 'event in an argument');
is($redis->take('rtbus:commands')->{event}, 'task:a:b', 'event decoded');

is(post('/submit?name=%2561', 1)->status(), 202, 'event encoded twice');
is($redis->take('rtbus:commands')->{event}, 'task:%61', 'event decoded once');

$c = get('/events?channel=job%3Aa%3Ab&job=c%2Dd');
is($c->status(), 200, 'channels in arguments');
ok($redis->wait_subscribers('job:a:b', 1), 'channel decoded');
ok($redis->wait_subscribers('job:c-d', 1), 'part of a channel decoded');

like(get('/events?channel=job%253A1')->status(), qr/^40[03]$/,
	'channel decoded once');

is(get('/events?room=a%3Ab&channel=room%3Aa%3Ab')->status(), 200, 'rule');
is(get('/events?room=a%3Ab&channel=room:a:c')->status(), 403, 'rule fits not');
is(get('/events?team=%61&channel=team:a:1')->status(), 200,
	'rule in upper case');

is(get('/state?channel=job%3A1')->body(), '{"status":"up","position":"0-0"}',
	'state');
like(get('/state?channel=job%253A1')->status(), qr/^40[03]$/,
	'state decoded once');
is(get('/state')->status(), 400, 'state of no channel');

$redis->cmd('HSET', 'kept:a:b', 'status', 'kept');
like(get('/kept?id=a%3Ab')->body(), qr/"status":"kept"/, 'key');

is(post('/publish?job=a%3Ab', $event)->body(), '{"channel":"job:a:b"}',
	'publish');

# the log

my $encoded = '%0A2026' . join '%20', '/01/01', '00:00:00', '%5Bcrit%5D',
	'1%231:', 'forged';

for my $path ("/events/x$encoded", "/events?channel=x$encoded",
	"/events?last_event_id=x$encoded", "/state/x$encoded",
	"/state?channel=x$encoded")
{
	is(get($path)->status(), 400, 'line feed in ' . substr $path, 0, 14);
}

is(post("/publish/x$encoded", $event)->status(), 400, 'line feed in publish');

is(post("/submit/x$encoded", 1)->status(), 400, 'line feed in submit');

# nginx's own debug lines have addresses as they are

my $log = $t->read_file('info.log');

like($log, qr/ channel "x\\n2026.* forged"/, 'channel escaped');
like($log, qr/ cursor "x\\n2026.* forged"/, 'cursor escaped');
unlike($log, qr/^2026\/01/m, 'no line is forged');

###############################################################################

sub get {
	my ($path) = @_;

	return Test::RTBus::SSE->connect(path => $path);
}

sub post {
	my ($path, $bytes) = @_;

	my $c = Test::RTBus::Client->open_client(method => 'POST');

	$c->send_raw("POST $path HTTP/1.1\r\nHost: localhost\r\n"
		. "Content-Type: application/json\r\nContent-Length: "
		. length($bytes) . "\r\n\r\n$bytes");

	$c->read_body() if $c->read_head();

	return $c;
}

###############################################################################
