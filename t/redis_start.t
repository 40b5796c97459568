#!/usr/bin/perl

# Tests for nginx that is there before Redis: it starts, takes clients, says
# "unavailable" where an answer is due, and goes on by itself as soon as Redis
# has come.  A system that boots in any order has to work.

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

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server');

plan(skip_all => 'the module is not built') unless module_file();

my $redis = Test::RTBus::Redis->new(dir => $t->testdir(), start => 0,
	port => free_port());
my $url = 'redis://127.0.0.1:' . $redis->port();

$t->write_file_expand('nginx.conf', <<"CONF")->plan(32);

%%TEST_GLOBALS%%

daemon off;
worker_processes 2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis $url;
    rtbus_allow *;
    rtbus_drain 0;

    add_header X-Pid \$pid always;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location / {
            rtbus websocket sse;
            rtbus_subscribe \$arg_channel;
        }

        location /state/ {
            rtbus_state job:42;
        }

        location /publish/ {
            rtbus_publish job:42 live;
        }

        location = /static {
        }
    }
}

CONF

$t->write_file('static', 'SEE-THIS');
$t->run();

###############################################################################

like(http_get('/static'), qr/SEE-THIS/, 'nginx has started');

# four connections have failed, two of each worker; a retry or two is no news

my $failed = qr/could not connect to Redis: connect\(\) failed/;

ok((wait_for { lines($failed) >= 8 } 'retries'), 'retries');
is_deeply([ outages() ], [ 1, 1, 1, 1 ], 'one error each');
is(error_log_count($t, qr/\[error\].*connect\(\).*: Connection refused/), 4,
	'the error says why');

# clients of both workers

my (@ws, @sse, %seen);

while (keys %seen < 2 && @ws < 300) {
	push @ws, Test::RTBus::WebSocket->connect(path => '/?channel=job:42');
	push @sse, Test::RTBus::SSE->connect(path => '/?channel=job:42');
	$seen{$ws[-1]->header('X-Pid')} = 1;
}

is(scalar keys %seen, 2, 'clients of both workers');
is(scalar(grep { $_->status() == 101 } @ws), @ws, 'websocket accepted');
is(scalar(grep { $_->is_stream() } @sse), @sse, 'event stream accepted');

$ws[0]->send_json({ event => 'subscribe', data => { channel => 'user:9' },
	ack => 1 });
is_deeply($ws[0]->wait_ack(1)->{data}, { ok => JSON::PP::false,
	error => 'unavailable' }, 'subscribe unavailable');

$ws[0]->send_json({ event => 'subscribe', data => { channel => 'user:9' } });
is($ws[0]->wait_event('error')->{data}{error}, 'unavailable',
	'subscribe unavailable, no ack');

my $reply = http_get('/state/');
like($reply, qr/ 503 .*"error":"unavailable"/s, 'state unavailable');
like($reply, qr/^Retry-After: /m, 'retry after');
like(publish(), qr/ 503 .*"error":"unavailable"/s, 'publish unavailable');

# a new configuration is welcome meanwhile

my $reloaded = Test::RTBus::WebSocket->connect(path => '/?channel=job:42');
is($reloaded->status(), 101, 'client before reload');

my @old = workers($t);
my @new = reload_wait($t);
is(scalar @new, 2, 'reload');
is(($reloaded->read_close())[0], 1012, 'old client told to go');

$_->drop() for @ws, @sse;
(@ws, @sse, %seen) = ();

ok((wait_for { workers($t, all => 1) == 2 } 'the end of the old'),
	'old workers gone');

while (keys %seen < 2 && @ws < 300) {
	push @ws, Test::RTBus::WebSocket->connect(path => '/?channel=job:42');
	push @sse, Test::RTBus::SSE->connect(path => '/?channel=job:42');
	$seen{$ws[-1]->header('X-Pid')} = 1;
}

is_deeply([ sort { $a <=> $b } keys %seen ], \@new, 'new workers serve');

# here it is

$redis->start();

ok($redis->wait_subscribers('job:42', 2), 'subscribed');
is($redis->event('job:42', 'hello', 1), 2, 'published');
is(received('hello'), @ws + @sse, 'all received');

wait_for { recoveries(@new) == 4 } 'recovery';
is(recoveries(@new), 4, 'recovery noticed once each');

$ws[0]->send_json({ event => 'subscribe', data => { channel => 'user:9' },
	ack => 2 });
ok($ws[0]->wait_ack(2)->{data}{ok}, 'subscribe works');
is($redis->event('user:9', 'private', 2), 1, 'published to one');
is($ws[0]->wait_event('private')->{data}, 2, 'private received');

like(http_get('/state/'), qr/ 404 /, 'state works');
like(publish(), qr/ 201 /, 'publish works');
is(received('posted'), @ws + @sse, 'post received');

# the same once more is another outage: one error again

my @before = outages(@new);
my $lines = lines($failed, @new);

$redis->stop();

ok((wait_for { lines($failed, @new) >= $lines + 4 } 'retries'), 'retries again');
is_deeply([ outages(@new) ], [ map { $_ + 1 } @before ],
	'one error each again');

$redis->start();

ok($redis->wait_subscribers('job:42', 2), 'subscribed again');
ok((wait_for { recoveries(@new) == 8 } 'recovery'), 'recovery again');

$redis->event('job:42', 'again', 3);
is(received('again'), @ws + @sse, 'all received again');

$_->drop() for @ws, @sse;

###############################################################################

sub publish {
	my $body = '{"event":"posted","data":1}';

	return http("POST /publish/ HTTP/1.0\r\nContent-Length: "
		. length($body) . "\r\n\r\n$body");
}

sub received {
	my ($event) = @_;

	return grep { $_->wait_event($event) } @ws, @sse;
}

# lines of the log, of these workers if any are named

sub lines {
	my ($re, @pids) = @_;

	my $pids = @pids ? join('|', @pids) : '\d+';

	return error_log_count($t, qr/\] (?:$pids)#.*$re/);
}

sub recoveries {
	my $pids = join '|', @_;

	return error_log_count($t,
		qr/\[notice\] (?:$pids)#.*connected to Redis after/);
}

# errors per worker and connection

sub outages {
	my (@pids) = @_;
	my %n;

	@pids = @old ? @new : workers($t) unless @pids;

	for my $line (split /\n/, error_log($t)) {
		$line =~ /\[error\] (\d+)#.*redis: ".*connection: (\S+)/
			or next;

		$n{"$1 $2"}++ if grep { $_ == $1 } @pids;
	}

	return map { $n{$_} } sort keys %n;
}

###############################################################################
