#!/usr/bin/perl

# Tests for the function library in Redis: durable events and snapshots need it,
# and nobody should have to think of it.  A worker loads what is missing or
# older whenever it connects, leaves alone what is newer, and where it must not
# load anything it says once what to do, and goes on with all that needs none.

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

my $t = Test::Nginx->new()->has(qw/ http rewrite /)
	->has_daemon('redis-server')->plan(55);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());

my $library = module_dir() . '/conf/rtbus.lua';

open my $fh, '<', $library or die "Can't open $library: $!\n";
my ($ours) = map { /^local VERSION = (\d+)$/ ? $1 : () } <$fh>;
close $fh;

my $loaded = qr/\[notice\].* rtbus: function library loaded into Redis/;
my $replaced = qr/\[notice\].* rtbus: function library in Redis replaced/;
# of the library itself, not of a request that has missed it

my $error = qr/\[error\].* rtbus: (?!.* is not loaded).*\bfunction library/;

###############################################################################

# missing; one worker loads it, the other finds it there

configure($redis->url(), 2);

$t->run();

ok((wait_for { (version() || 0) == $ours } 'library'), 'loaded at the start');

my @ids = map { published("job:$_") } 1 .. 4;

is(scalar(grep { /^[0-9]{13,}-1\z/ } @ids), 4, 'publish');
is(error_log_count($t, $loaded), 1, 'loaded once');

is(state_status('job:1'), 200, 'state');
is(state_status('job:none'), 404, 'state of nothing');

# there already

configure($redis->url(), 1);

reload_wait($t, gone => 1);

like(published('job:1'), qr/-2\z/, 'publish after a reload');
is(error_log_count($t, $loaded), 1, 'not loaded again');
is(error_log_count($t, $replaced), 0, 'not replaced');

# older

load(0, '"0-0"');
is(version(), 0, 'older version');

reconnect();

ok((wait_for { version() == $ours } 'library'), 'replaced');
like(published('job:1'), qr/-3\z/, 'publish after it was replaced');
error_log_like($t, $replaced, 'replaced is logged');

# newer

load(99, '"77-77"');
reconnect();

is(published('job:1'), '77-77', 'newer version is used');
is(version(), 99, 'newer version is kept');

# lost while the connection stays

$redis->cmd('FUNCTION', 'FLUSH');

my $r = post('job:1');

is($r->status(), 503, 'lost');
is(json_decode($r->body())->{error}, 'unavailable', 'lost error');
ok($r->header('Retry-After'), 'lost retry');
error_log_like($t, qr/\[error\].*function library rtbus is not loaded/,
	'lost is logged');

# who notices has it loaded again

ok((wait_for { version() == $ours } 'library'), 'loaded again');
is(state_status('job:1'), 200, 'state after it was loaded again');

reconnect();

like(published('job:1'), qr/-4\z/, 'loaded when it connects');

# what Redis keeps, and what not

$redis->cmd('FLUSHALL');
like(published('job:1'), qr/-1\z/, 'publish after FLUSHALL');

$redis->stop();
is(post('job:1')->status(), 503, 'Redis away');

$redis->start();
like(published('job:1'), qr/-1\z/, 'Redis restarted empty');

is(error_log_count($t, $error), 0, 'nothing to complain of');

# a user who may not load it; that matters only if it is missing

$redis->cmd(qw/ ACL SETUSER app on >pw ~* &* +@all -function /);
configure($redis->url(user => 'app', password => 'pw'), 1);

reload_wait($t, gone => 1);

like(published('job:1'), qr/-2\z/, 'not allowed to load, there');
is(error_log_count($t, $error), 0, 'not allowed to load, no error');
error_log_like($t, qr/\[info\].*Redis refused the function library: NOPERM/,
	'not allowed to load, info');

$redis->cmd('FUNCTION', 'FLUSH');
reconnect();

error_log_like($t, qr/$error.*\(ERR Function not found\)/,
	'not allowed to load, missing');
is(post('job:1')->status(), 503, 'not allowed to load, publish');

# functions=off

my $missing = qr/\[error\].*no function library "rtbus"/;
my $before = error_log_count($t, $missing);

configure($redis->url() . ' functions=off', 1);

reload_wait($t, gone => 1);

wait_for { error_log_count($t, $missing) > $before } 'complaint';

my ($line) = (grep { $_ =~ $missing } split /^/, error_log($t))[-1];

like($line, qr/publishing and snapshots do not work/, 'off so what');
like($line, qr/load conf\/rtbus\.lua with "FUNCTION LOAD"/, 'off what to do');

is(post('job:1')->status(), 503, 'off publish');
is(state_status('job:1'), 503, 'off state');
is(state_status('job:1', 'HEAD'), 503, 'off state HEAD');

my $ws = Test::RTBus::WebSocket->connect(path => '/ws');

is($ws->recv_json()->{event}, 'connected', 'off connected');

is_deeply(subscribe($ws, 1, 'job:1', state => JSON::PP::true),
	{ ok => JSON::PP::false, error => 'unavailable' },
	'off subscribe with state');

my $reply = subscribe($ws, 2, 'job:1');

ok($reply->{ok}, 'off subscribe');
like($reply->{position}, qr/^\d+-2\z/, 'off position');

my $sse = Test::RTBus::SSE->connect(path => '/sse');

is($sse->next_event()->{event}, 'connected', 'off SSE');

$redis->event('job:1', 'live', 1);

is($ws->wait_event('live')->{data}, 1, 'off live event');
is($sse->wait_event('live')->{data}, 1, 'off live event, SSE');

# what is in the stream is delivered all the same

my $position = $reply->{position} =~ s/-2\z/-3/r;

$redis->cmd('XADD', '{job:1}:events', $position, 'event', 'added', 'data', 2);
$redis->event('job:1', 'added', 2, id => $position);

is($ws->wait_event('added')->{cursor}, "job:1\@$position",
	'off durable event');
is($sse->wait_event('added')->{id}, "job:1\@$position",
	'off durable event, SSE');

reconnect();

is(post('job:1')->status(), 503, 'off after a reconnect');
is(version(), undef, 'off never loaded');
is(error_log_count($t, $missing), $before + 1, 'off one line');

# an older one is not replaced either

load(0, '"55-55"');
reconnect();

is(published('job:1'), '55-55', 'off older version is used');
is(version(), 0, 'off older version is kept');

# by hand, and without a reconnect

$redis->load_functions($library);

like(published('job:1'), qr/-4\z/, 'off loaded by hand');
is($ws->wait_event('e')->{data}, 'x', 'off loaded by hand, event');
is(state_status('job:1'), 200, 'off loaded by hand, state');
ok(subscribe($ws, 3, 'job:1', state => JSON::PP::true)->{ok},
	'off loaded by hand, subscribe with state');
ok($ws->wait_event('state'), 'off loaded by hand, state event');

reconnect();
load(0, '"66-66"');
reconnect();

error_log_like($t, qr/$error in Redis has version 0, $ours is needed/,
	'off older version is told of');

###############################################################################

sub configure {
	my ($url, $workers) = @_;

	$t->write_file_expand('nginx.conf', <<"EOC");

%%TEST_GLOBALS%%

daemon off;
worker_processes $workers;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis  $url;
    rtbus_allow  job:*;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location /ws {
            rtbus websocket;
        }

        location /sse {
            rtbus sse;
            rtbus_subscribe job:1;
        }

        location ~ ^/publish/(.*)\$ {
            rtbus_publish \$1;
        }

        location ~ ^/state/(.*)\$ {
            rtbus_state \$1;
        }
    }
}

EOC
}

sub module_dir {
	return __FILE__ =~ m!^(.*/)?t/[^/]+\z! ? ($1 || '') . '.' : '..';
}

# another library of our name

sub load {
	my ($version, $id) = @_;

	$redis->cmd('FUNCTION', 'LOAD', 'REPLACE', <<"EOF");
#!lua name=rtbus
redis.register_function('rtbus_publish', function() return $id end)
redis.register_function{
    function_name = 'rtbus_version',
    callback = function() return $version end,
    flags = { 'no-writes' },
}
EOF
}

sub version {
	my $reply = $redis->try_cmd('FCALL_RO', 'rtbus_version', 0);

	return ref $reply ? undef : $reply;
}

# closes all that nginx has open to Redis; it is back when it has asked for the
# version of the library, at least

sub reconnect {
	my %old = map { $_->{id} => 1 } connections();

	$redis->cmd(qw/ CLIENT KILL TYPE normal SKIPME yes /);
	$redis->cmd(qw/ CLIENT KILL TYPE pubsub /);

	wait_for {
		my @now = connections();

		return @now == keys %old
			&& !(grep { $old{$_->{id}} } @now)
			&& grep { $_->{name} =~ /command/
				&& $_->{cmd} !~ /ping|setname/ } @now;
	} 'reconnect';
}

sub connections {
	my $me = $redis->cmd('CLIENT', 'ID');

	return grep { $_->{id} != $me }
		map { { map { split /=/, $_, 2 } split / / } }
		split /\n/, $redis->cmd('CLIENT', 'LIST');
}

sub post {
	my ($channel) = @_;

	my $body = '{"event":"e","data":"x"}';

	return Test::RTBus::SSE->connect(path => "/publish/$channel",
		method => 'POST', accept => undef,
		headers => { 'Content-Length' => length $body },
		early => $body);
}

sub published {
	my ($channel) = @_;

	my $r;

	wait_for {
		$r = post($channel);
		return $r->status() == 201;
	} "event on $channel";

	return json_decode($r->body())->{id} || '';
}

sub state_status {
	my ($channel, $method) = @_;

	return Test::RTBus::SSE->connect(path => "/state/$channel",
		method => $method || 'GET', accept => undef)->status();
}

sub subscribe {
	my ($ws, $ack, $channel, %more) = @_;

	$ws->send_json({ event => 'subscribe', ack => $ack,
		data => { channel => $channel, %more } });

	my $m = $ws->wait_ack($ack);

	return $m ? $m->{data} : {};
}

###############################################################################
