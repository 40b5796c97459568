#!/usr/bin/perl

# Tests for a state that is a string with a JSON object, as other programs may
# keep it: who joins a channel gets it just as the state endpoint gives it.  And
# for what no client may do, whatever it finds in Redis: fill the log.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Polling;
use Test::RTBus::Redis;
use Test::RTBus::SocketIO;
use Test::RTBus::SSE;
use Test::RTBus::WebSocket;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http rewrite /)
	->has_daemon('redis-server')->plan(27);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

$t->write_file_expand('nginx.conf', <<"EOT");

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis         $url;
    rtbus_prefix        t:;
    rtbus_message_rate  10000r/s;
    rtbus_allow         job:own* owner;
    rtbus_allow         job:*;
    rtbus_user          \$arg_user;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location /ws {
            rtbus  websocket;
        }

        location /io {
            rtbus  socketio;
        }

        location ~ ^/state/(.+)\$ {
            rtbus_state  job:\$1;
        }
    }
}

EOT

$t->run();
wait_redis($t);

sub key { return "t:{job:$_[0]}:$_[1]" }

$redis->cmd('SET', key('text', 'state'),
	'{"status":"run","progress":5,"secret":1,"userId":"ann","seq":7}');
$redis->cmd('SET', key('own', 'state'), '{"status":"x","userId":"ann"}');
$redis->cmd('SET', key('bad', 'state'), 'no JSON');
$redis->cmd('SET', key('array', 'state'), '[1]');
$redis->cmd('RPUSH', key('list', 'state'), 'a');
$redis->cmd('HSET', key('hash', 'state'), 'status', 'run');
$redis->cmd('SET', key('events', 'events'), 'no stream');

###############################################################################

# the same as at the endpoint, over all transports, and events follow

for my $job (qw/ text hash none /) {
	my $expected = endpoint($job);

	for my $kind (qw/ WebSocket SocketIO Polling /) {
		my $c = open_client($kind);
		my $state = subscribe($c, $kind, "job:$job");

		is_deeply($state, $expected, "$job, $kind: state");

		$redis->event("t:job:$job", "after", 1);
		ok($c->wait_event('after'), "$job, $kind: events follow");
		$c->drop() if $kind ne 'Polling';
	}
}

for my $job (qw/ bad array list /) {
	my $c = open_client('WebSocket');
	is(subscribe($c, 'WebSocket', "job:$job"), 'unavailable',
		"$job: no state");
}

is(endpoint('text')->{progress}, 5, 'a member of it');
is(endpoint('text')->{secret}, undef, 'no more than is declared');

# whose it is counts, as for a hash; that joining asks of the hash alone is
# another matter

my $c = open_client('WebSocket', 'bob');
is(subscribe($c, 'WebSocket', 'job:own'), 'forbidden', 'not his');
$c->drop();

# as often as they like

my $ws = open_client('WebSocket');

for my $n (1 .. 100) {
	for my $job (qw/ bad list events /) {
		$ws->send_json({ event => 'subscribe', data => {
			channel => "job:$job", state => JSON::PP::true },
			ack => $n });
		$ws->wait_ack($n);
		$ws->send_json({ event => 'unsubscribe', data => {
			channel => "job:$job" } });
	}
}

Test::RTBus::SSE->connect(path => "/state/bad", accept => undef) for 1 .. 50;

cmp_ok(error_log_count($t, qr/\[(?:error|warn|crit)\].*rtbus/), '<=', 60,
	'the log is not filled');
cmp_ok(error_log_count($t, qr/\[error\].*(?:neither a hash|no snapshot)/),
	'<=', 2, 'one line a minute');

error_log_like($t, qr/(?:neither a hash nor a JSON|no snapshot)/,
	'but it is said');

###############################################################################

sub endpoint {
	my ($job) = @_;

	my $r = Test::RTBus::SSE->connect(path => "/state/$job",
		accept => undef);

	return $r->status() == 200 ? json_decode($r->body())
		: { position => '0-0' };
}

sub open_client {
	my ($kind, $user) = @_;

	my $c = "Test::RTBus::$kind"->connect(path => ($kind eq 'WebSocket'
		? '/ws' : '/io') . '?user=' . ($user // 'ann'));
	$c->join_nsp() if $kind ne 'WebSocket';

	return $c;
}

sub subscribe {
	my ($c, $kind, $channel) = @_;
	my $data = { channel => $channel, state => JSON::PP::true };

	if ($kind eq 'WebSocket') {
		$c->send_json({ event => 'subscribe', data => $data,
			ack => 1 });
		my $answer = $c->wait_ack(1)->{data};
		return $answer->{error} unless $answer->{ok};
		return $c->wait_event('state')->{data};
	}

	$c->emit('subscribe', $data, { ack => 1 });
	return unless $c->wait_ack(1)->{data}[0]{ok};

	return $c->wait_event('state')->{data}[1];
}

###############################################################################
