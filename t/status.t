#!/usr/bin/perl

# Tests for rtbus_status: what is counted, by whom and for what reason; in the
# text of Prometheus and as JSON; summed over all workers.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Metrics;
use Test::RTBus::Redis;
use Test::RTBus::SSE;
use Test::RTBus::SocketIO;
use Test::RTBus::WebSocket;

use Time::HiRes qw/ time /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http access rewrite /)
	->has_daemon('redis-server');

plan(skip_all => 'the module is not built') unless module_file();

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

my @refused = (
	[ 'forbidden', '/ws?channel=secret:1' ],
	[ 'malformed', '/ws?channel=a%20b' ],
	[ 'malformed', '/ws?cursor=nonsense' ],
	[ 'origin', '/ws', origin => 'http://elsewhere.example' ],
	[ 'unauthorized', '/user' ],
	[ 'too_many_channels', '/many' ],
	[ 'malformed', '/ws', version => 7 ],
	[ 'method', '/ws', method => 'POST' ],
);

my @asked = (
	[ 'forbidden', 'subscribe', { channel => 'secret:1' } ],
	[ 'malformed', 'subscribe', { channel => 'a b' } ],
	[ 'malformed', 'subscribe:job', 1 ],
	[ 'unknown_event', 'nonsense', 1 ],
	[ 'other', 'unsubscribe', { channel => 'job:none' } ],
);

my @invalid = (
	[ 'json', 'nonsense' ],
	[ 'json', '[]' ],
	[ 'utf8', "{\"event\":\"\xff\"}" ],
	[ 'depth', '{"event":"e","data":' . '[' x 100 . ']' x 100 . '}' ],
	[ 'name', '{}' ],
	[ 'name', '{"event":"connect"}' ],
	[ 'id', '{"event":"e","id":"x"}' ],
	[ 'timestamp', '{"event":"e","timestamp":"x"}' ],
	[ 'arguments', '{"event":"e","args":1}' ],
	[ 'size', '{"event":"e","data":"' . 'x' x 70000 . '"}' ],
	[ 'schema', '{"event":"shaped","data":"not a number"}' ],
);

my @closed = (
	[ 'client', sub { $_[0]->close(1000) } ],
	[ 'client', sub { $_[0]->close(4000, 'mine') } ],
	[ 'gone', sub { $_[0]->drop() } ],
	[ 'protocol_error', sub { $_[0]->send_frame(opcode => 1, mask => 0) } ],
	[ 'unsupported_data', sub { $_[0]->send_binary('x') } ],
	[ 'invalid_payload', sub { $_[0]->send_text('nonsense') } ],
	[ 'too_big', sub { $_[0]->send_text('x' x 70000) } ],
);

$t->write_file('shapes.json', '{"shaped":{"type":"integer"}}');

$t->write_file_expand('nginx.conf', <<"CONF");

%%TEST_GLOBALS%%

daemon off;
worker_processes 2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis $url;
    rtbus_max_event 64k;
    rtbus_schema %%TESTDIR%%/shapes.json;
    rtbus_ping 60s 60s;
    rtbus_allow job:*;

    server {
        listen       127.0.0.1:8080 sndbuf=32k;
        server_name  localhost;

        location /ws {
            rtbus websocket sse;
            rtbus_subscribe \$arg_channel;
        }

        location /sse {
            rtbus sse;
            rtbus_subscribe \$arg_channel;
            rtbus_send_buffer 64k;
            rtbus_ping 60s 1s;
        }

        location /socket.io/ {
            rtbus socketio;
            rtbus_subscribe \$arg_channel;
        }

        location /rate {
            rtbus websocket;
            rtbus_message_rate 1r/s;
        }

        location /ping {
            rtbus websocket;
            rtbus_ping 10ms 10ms;
        }

        location /command {
            rtbus websocket;
            rtbus_user \$arg_user;
            rtbus_command plain;
            rtbus_command mine job=jobId owner;
            rtbus_command asked reply=30s;
            rtbus_command hasty reply=10ms;
            rtbus_command shaped;
        }

        location /submit {
            rtbus_submit nonsense;
            rtbus_command plain;
        }

        location /user {
            rtbus websocket sse;
            rtbus_require_user on;
        }

        location /many {
            rtbus websocket sse;
            rtbus_max_channels 1;
            rtbus_subscribe job:1 job:2;
        }

        location /publish {
            rtbus_publish job:1;
        }

        location /status {
            rtbus_status;
        }

        location /denied {
            rtbus_status;
            deny all;
        }
    }
}

CONF

$t->plan(107);
$t->run();
wait_redis($t, 2);

###############################################################################

# the answer, once nothing changes any more

metrics_wait('rtbus_failing_workers', 0);

my $reply = http_get('/status');
my ($text) = $reply =~ /\r\n\r\n(.*)/s;

like($reply, qr!^HTTP/1.1 200 OK!, 'status');
like($reply, qr!^Content-Type: text/plain; version=0\.0\.4; charset=utf-8\r!m,
	'type');
like($reply, qr!^Cache-Control: no-store\r!m, 'not kept');

my $m = eval { metrics_parse($text) };

is($@, '', 'well-formed');

SKIP: {
	my $found = grep { -x "$_/promtool" } split /:/, $ENV{PATH};

	die "no promtool\n"
		if !$found && ($ENV{CI} || $ENV{RTBUS_REQUIRE_ALL});
	skip('no promtool', 1) unless $found;

	$t->write_file('metrics', $text);

	my $d = $t->testdir();

	is(`promtool check metrics < $d/metrics 2>&1`, '', 'promtool');
}

$reply = http_get('/status?format=json');

like($reply, qr!^Content-Type: application/json\r!m, 'JSON type');
like($reply, qr!^Cache-Control: no-store\r!m, 'JSON not kept');
is_deeply(numberless(json_decode($reply =~ s/.*?\r\n\r\n//sr)),
	numberless(tree($m, metrics_types($text))), 'JSON has the same');

$reply = http("HEAD /status HTTP/1.0\r\nHost: localhost\r\n\r\n");

like($reply, qr!^HTTP/1.1 200 OK.*^Content-Length: \d{4}\r.*\r\n\r\n\z!ms,
	'HEAD');

for my $method (qw/ POST PUT DELETE OPTIONS /) {
	like(http("$method /status HTTP/1.0\r\nHost: localhost\r\n"
		. "Content-Length: 0\r\n\r\n"),
		qr!^HTTP/1.1 405 .*^Allow: GET, HEAD\r!ms, $method);
}

like(http_get('/denied'), qr!^HTTP/1.1 403 !, 'deny');

is($m->{rtbus_workers}, 2, 'workers');
is($m->{rtbus_leaving_workers}, 0, 'none leaves');
ok(metrics_wait('rtbus_redis_up{link="pubsub"}', 1), 'pub/sub links up');
ok(metrics_wait('rtbus_redis_up{link="command"}', 1), 'command links up');

# connections

my @ws = map { Test::RTBus::WebSocket->connect(path => '/ws?channel=job:1') }
	1 .. 3;
my @sse = map { Test::RTBus::SSE->connect(path => '/sse?channel=job:1') }
	1 .. 2;
my $io = Test::RTBus::SocketIO->connect(path => '/socket.io/?channel=job:1');

$io->join_nsp('/');

for ([ websocket => 3 ], [ sse => 2 ], [ socketio => 1 ], [ polling => 0 ]) {
	my ($transport, $n) = @$_;

	ok(metrics_wait("rtbus_connections{transport=\"$transport\"}", $n),
		"connections, $transport");
}

ok(metrics_wait('rtbus_subscriptions', 6), 'subscriptions');

my $workers = $redis->subscribers('job:1');

ok(metrics_wait('rtbus_channels', $workers), 'channels');

# events

$redis->event('job:1', 'live', 1);
$redis->cmd('FCALL', 'rtbus_publish', 1, 'job:1', 'durable', 1);

ok($_->wait_event('durable'), 'event') for @ws, @sse;
ok($io->wait_name('durable'), 'event');

$m = metrics();

is($m->{'rtbus_events_received_total{kind="live"}'}, $workers, 'live');
is($m->{'rtbus_events_received_total{kind="durable"}'}, $workers, 'durable');
is($m->{'rtbus_events_delivered_total{transport="websocket"}'}, 6,
	'delivered, websocket');
is($m->{'rtbus_events_delivered_total{transport="sse"}'}, 4,
	'delivered, sse');
is($m->{'rtbus_events_delivered_total{transport="socketio"}'}, 2,
	'delivered, socketio');

# how old they were

my %lag = lag();

for ([ 3, '2.5', '5' ], [ 0.04, '0.025', '30' ], [ -5, undef, '0.001' ],
	[ 1000, '30', '+Inf' ])
{
	my ($age, $over, $under) = @$_;

	%lag = lag();
	$redis->event('job:1', 'old', 1,
		timestamp => int((time() - $age) * 1000));
	$_->wait_event('old') for @ws, @sse;
	$io->wait_name('old');

	my %now = lag();

	is(join(' ', map { $now{$_} - $lag{$_} } grep { defined } $over, $under),
		join(' ', defined $over ? 0 : (), $workers), "lag of $age s");
}

# a replay, a hole, a gap

my $epoch = $redis->cmd('HGET', '{job:1}:state', 'epoch');

$redis->cmd('FCALL', 'rtbus_publish', 1, 'job:1', 'durable', $_) for 2 .. 4;

my $late = Test::RTBus::WebSocket->connect(
	path => "/ws?cursor=job:1\@$epoch-1");

$late->wait_event('durable') for 1 .. 3;

# it may be the first one of its worker

$workers = $redis->subscribers('job:1');

is(metrics()->{rtbus_replays_total}, 1, 'a replay');
is(metrics()->{rtbus_replayed_events_total}, 3, 'of three events');

$redis->cmd('XADD', '{job:1}:events', "$epoch-5", 'event', 'quiet',
	'data', 1);
$redis->event('job:1', 'durable', 6, id => "$epoch-7");

# what its wake-up tells of is not in the stream: the hole was filled, no more

ok($late->wait_event('quiet'), 'a hole is filled');
ok(metrics_wait('rtbus_holes_total', $workers), 'a hole');
ok(metrics_wait('rtbus_events_invalid_total{reason="id"}', $workers),
	'an id that is not in the stream');

$redis->cmd('FCALL', 'rtbus_publish', 1, 'job:2', 'e', 1) for 1 .. 5;
$redis->cmd('XTRIM', '{job:2}:events', 'MAXLEN', 2);
$epoch = $redis->cmd('HGET', '{job:2}:state', 'epoch');

my $lost = Test::RTBus::WebSocket->connect(
	path => "/ws?cursor=job:2\@$epoch-1");

ok($lost->wait_event('sync:gap'), 'told of a gap');
is(metrics()->{rtbus_gaps_total}, 1, 'a gap');

$lost->drop();

# what producers do wrong

for my $case (@invalid) {
	my ($reason, $message) = @$case;
	my $name = "rtbus_events_invalid_total{reason=\"$reason\"}";
	my $n = metrics()->{$name};

	$redis->publish('job:1', $message);

	ok(metrics_wait($name, $n + $workers), "invalid, $reason");
}

# what clients may not do

for my $case (@refused) {
	my ($reason, $path, %more) = @$case;

	is(more("rtbus_refused_total{reason=\"$reason\"}", sub {
		Test::RTBus::WebSocket->connect(path => $path, %more)->drop();
	}), 1, "refused, $reason");
}

my $ack = 0;

for my $case (@asked) {
	my ($reason, $event, $data) = @$case;

	is(more("rtbus_refused_total{reason=\"$reason\"}", sub {
		$ws[0]->send_json({ event => $event, data => $data,
			ack => ++$ack });
		$ws[0]->wait_ack($ack);
	}), 1, "refused, $reason: $event");
}

is(more('rtbus_refused_total{reason="namespace"}', sub {
	$io->join_nsp('/none');
}), 1, 'refused, namespace');

my $rate = Test::RTBus::WebSocket->connect(path => '/rate');

is(more('rtbus_refused_total{reason="rate_limited"}', sub {
	$rate->send_json({ event => 'subscribe', data => { channel => 'job:1' },
		ack => $_ }) for 1 .. 2;
	$rate->wait_ack(2);
}), 1, 'refused, rate_limited');

$rate->drop();

is(more('rtbus_refused_total{reason="too_large"}', sub {
	http("POST /publish HTTP/1.0\r\nHost: localhost\r\n"
		. "Content-Length: 70000\r\n\r\n" . 'x' x 70000);
}), 1, 'refused, too_large');

is(more('rtbus_refused_total{reason="unknown_event"}', sub {
	http("POST /submit HTTP/1.0\r\nHost: localhost\r\n"
		. "Content-Length: 0\r\n\r\n");
}), 1, 'refused, unknown_event: submit');

# commands

my $cmd = Test::RTBus::WebSocket->connect(path => '/command?user=ann');

is(command('ok', 'plain', 1), 1, 'command, ok');
is(command('ok', 'plain', { ackId => 'a' }), 1, 'command, ok with an id');
is(command('duplicate', 'plain', { ackId => 'a' }), 1, 'command, duplicate');
is(command('forbidden', 'mine', { jobId => 'none' }), 1,
	'command, forbidden');
is(command('invalid', 'mine', {}), 1, 'command, invalid');
is(command('invalid', 'shaped', 'x'), 1, 'command, invalid by its shape');
is(command('timeout', 'hasty', 1), 1, 'command, timeout');

is(more('rtbus_commands_total{result="replied"}', sub {
	$cmd->send_json({ event => 'asked', data => 1, ack => ++$ack });

	my %fields = asked();

	$redis->publish($fields{reply}, { ack => 0 + $fields{ack},
		data => [ 1 ] });
	$cmd->wait_ack($ack);
}), 1, 'command, replied');

$cmd->send_json({ event => 'asked', data => 2, ack => ++$ack });
asked();

my $gone = metrics()->{'rtbus_commands_total{result="gone"}'};

$cmd->drop();

ok(metrics_wait('rtbus_commands_total{result="gone"}', $gone + 1),
	'command, gone');

# how they end

for my $case (@closed) {
	my ($reason, $code) = @$case;
	my $name = "rtbus_clients_closed_total{reason=\"$reason\"}";
	my $n = metrics()->{$name};
	my $ws = Test::RTBus::WebSocket->connect(path => '/ws');

	$code->($ws);

	# the server waits for the end of those that it closes itself

	$ws->read_close() && $ws->drop() if $reason ne 'gone';

	ok(metrics_wait($name, $n + 1), "closed, $reason");
}

my $mute = Test::RTBus::WebSocket->connect(path => '/ping', auto_pong => 0);

$mute->wait_eof();

ok(metrics_wait('rtbus_clients_closed_total{reason="ping_timeout"}', 1),
	'closed, ping_timeout');

# bytes that wait, and then one too many

my $slow = Test::RTBus::SSE->connect(path => '/sse?channel=job:slow',
	rcvbuf => 4096);

$redis->wait_subscribers('job:slow', 1);

my $most = 0;

ok((wait_for {
	my $m = metrics();
	my $queue = $m->{rtbus_send_queue_bytes};

	$most = $queue if $queue > $most;
	$redis->event('job:slow', 'e', 'x' x 4000) for 1 .. 5;

	$m->{'rtbus_clients_closed_total{reason="too_slow"}'};
} 'a slow client'), 'closed, too_slow');

cmp_ok($most, '>', 4000, 'bytes waited');
cmp_ok($most, '<', 300000, 'as many as the buffer takes');

$slow->drop();

ok(metrics_wait('rtbus_send_queue_bytes', 0), 'none waits any more');

# none is left

$_->drop() for @ws, @sse, $io, $late;

for my $transport (qw/ websocket sse socketio /) {
	ok(metrics_wait("rtbus_connections{transport=\"$transport\"}", 0),
		"no connection, $transport");
}

ok(metrics_wait('rtbus_subscriptions', 0), 'no subscription');

$m = metrics();

is(metrics_sum($m, 'rtbus_clients_opened_total'),
	metrics_sum($m, 'rtbus_clients_closed_total'), 'as many ended as began');

# channels linger for a moment

ok(metrics_wait('rtbus_channels', 0, 15), 'no channel');

# nobody answers

$redis->stop();

ok(metrics_wait('rtbus_redis_up{link="pubsub"}', 0), 'pub/sub links down');
ok(metrics_wait('rtbus_redis_up{link="command"}', 0), 'command links down');

$redis->start();

ok(metrics_wait('rtbus_redis_up{link="pubsub"}', 1), 'pub/sub links back');
ok(metrics_wait('rtbus_redis_up{link="command"}', 1), 'command links back');

$m = metrics();

is($m->{'rtbus_redis_reconnects_total{link="pubsub"}'}, 2, 'reconnects');
is($m->{'rtbus_redis_reconnects_total{link="command"}'}, 2, 'of both links');

###############################################################################

# a command that is answered, by how much its result grows

sub command {
	my ($result, $event, $data) = @_;

	return more("rtbus_commands_total{result=\"$result\"}", sub {
		$cmd->send_json({ event => $event, data => $data,
			ack => ++$ack });
		$cmd->wait_ack($ack);
	});
}

# the fields of the last command, once it is one that wants an answer

sub asked {
	my $entry = wait_for {
		my $last = $redis->cmd('XREVRANGE', 'rtbus:commands', '+', '-',
			'COUNT', 1);

		my %fields = @$last ? @{$last->[0][1]} : ();
		$fields{ack} && $fields{event} eq 'asked' && \%fields;
	} 'a command';

	$redis->cmd('DEL', 'rtbus:commands');

	return %$entry;
}

# by how much a counter grows, which is there at once

sub more {
	my ($name, $code) = @_;

	my $before = metrics()->{$name};

	$code->();

	return metrics()->{$name} - $before;
}

sub lag {
	my $m = metrics();

	return map { /^rtbus_delivery_lag_seconds_bucket\{le="(.*)"\}/
		? ($1 => $m->{$_}) : () } keys %$m;
}

# the text as the JSON should be

sub tree {
	my ($m, $types) = @_;

	my %tree;

	for my $sample (keys %$m) {
		my ($name, $value) = $sample =~ /^(\w+)(?:\{\w+="(.*)"\})?$/;

		if ($name =~ /^(.*)_(bucket|sum|count)$/ && $types->{$1}) {
			if (defined $value) {
				$tree{$1}{buckets}{$value} = $m->{$sample};

			} else {
				$tree{$1}{$2} = $m->{$sample};
			}

		} elsif (defined $value) {
			$tree{$name}{$value} = $m->{$sample};

		} else {
			$tree{$name} = $m->{$sample};
		}
	}

	return \%tree;
}

# the age of the canary is another one by now

sub numberless {
	my ($tree) = @_;

	$tree->{rtbus_canary_age_seconds} = 'age';

	return $tree;
}

###############################################################################
