#!/usr/bin/perl

# Tests for clients with more channels than a cursor can name.  A stock client
# goes back with the cursor of the last event, in a line of the request or in a
# packet: it cannot join more than fit there, and always gets back in.  Over
# WebSocket a client may, and is told that cursors are of one channel each.

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

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server');

plan(skip_all => 'the module is not built') unless module_file();

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

# as long as names may be

my @long = map { sprintf 'job:%03d%s', $_, 'x' x 193 } 1 .. 64;

$t->write_file_expand('nginx.conf', <<"EOC");

%%TEST_GLOBALS%%

daemon off;
worker_processes 1;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis         $url;
    rtbus_allow         job:*;
    rtbus_message_rate  10000r/s;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location /io/ {
            rtbus  socketio;
        }

        location /small/ {
            rtbus              socketio;
            rtbus_max_message  2k;
        }

        location /bare/ {
            rtbus           socketio;
            rtbus_recovery  off;
        }

        location /default {
            rtbus  websocket;
        }

        location /plain {
            rtbus               websocket sse;
            rtbus_max_channels  1000;
        }

        location /uuid {
            rtbus               websocket sse;
            rtbus_max_channels  1000;
        }

        location /many {
            rtbus            websocket sse;
            rtbus_subscribe  @long[0 .. 31];
        }

        location /manyio/ {
            rtbus            socketio;
            rtbus_subscribe  @long[0 .. 31];
        }
    }
}

EOC

$t->plan(33);
$t->run();
wait_redis($t, 1);

my ($io, $ws, $sse, $answer, $joined, $cursor, @got);

###############################################################################

# Socket.IO: what was joined is recovered, whatever was refused

for my $class (qw/ SocketIO Polling /) {
	$io = "Test::RTBus::$class"->connect(path => '/io/');
	$joined = $io->join_nsp();

	@got = joins($io, @long);

	is_deeply([ grep { $_ ne 'ok' && $_ ne 'too many channels' } @got ], [],
		"$class: joined or refused");
	cmp_ok(scalar(grep { $_ eq 'ok' } @got), '>=', 20, "$class: some");
	cmp_ok(scalar(grep { $_ eq 'ok' } @got), '<', 64, "$class: not all");

	my @mine = grep { $got[$_] eq 'ok' } 0 .. 63;

	durable($long[$mine[0]], 'n', 1);
	$cursor = $io->wait_name('n')->{cursor};

	is(scalar(split /,/, $cursor), scalar @mine, "$class: in the cursor");
	cmp_ok(length($cursor), '<', 7000, "$class: which is short enough");

	$io->drop() if $class eq 'SocketIO';
	durable($long[$_], 'missed', $_) for @mine;

	$io = "Test::RTBus::$class"->connect(path => '/io/');

	is($io->join_nsp('/', { pid => $joined->{data}{pid}, offset => $cursor })
		->{data}{pid}, $joined->{data}{pid}, "$class: recovered");

	my %missed;

	for (@mine) {
		my $p = $io->wait_name('missed') or last;
		$missed{$p->{data}[1]}++;
	}

	is_deeply(\%missed, { map { $_ => 1 } @mine }, "$class: each event once");
}

# a CONNECT has to fit into a message

$io = Test::RTBus::SocketIO->connect(path => '/small/');
$io->join_nsp();
@got = joins($io, @long[0 .. 9]);
is(join(' ', map { s/ /_/gr } @got), join(' ', ('ok') x 4,
	('too_many_channels') x 6), 'with short messages');

# without a cursor

$io = Test::RTBus::SocketIO->connect(path => '/bare/');
$io->join_nsp();
is(scalar(grep { $_ eq 'ok' } joins($io, @long)), 64, 'recovery is off');

# WebSocket with the default: the last cursor has all

$ws = Test::RTBus::WebSocket->connect(path => '/default');
@got = joins($ws, @long);
my @mine = grep { $got[$_] eq 'ok' } 0 .. 63;

is(scalar(grep { $got[$_] eq 'too many channels' } @mine .. 63), 64 - @mine,
	'WebSocket: the last ones are refused');
durable($long[0], 'n', 1);
$cursor = $ws->wait_event('n')->{cursor};
$ws->drop();
durable($long[$_], 'missed', 1) for @mine;

$ws = Test::RTBus::WebSocket->connect(path => "/default?cursor=$cursor");
is(scalar(grep { $ws->wait_event('missed') } @mine), scalar @mine,
	'WebSocket: the others are resumed');

# as many as may be, and then cursors of one channel

$ws = Test::RTBus::WebSocket->connect(path => '/plain');

is(scalar(grep { $_ eq 'ok' } joins($ws, @long)), 64, 'WebSocket: all');
is_deeply($ws->wait_event('sync:cursor')->{data},
	{ complete => JSON::PP::false }, 'and is told');

durable($long[63], 'n', 1);
like($ws->wait_event('n')->{cursor}, qr/^$long[63]\@\d+-1\z/,
	'the cursor of an event is its own');

# an event for the client alone has that of the channel that it is about

$ws->send_text(json_encode({ event => 'subscribe:job', ack => 900,
	data => '999' }));
like($ws->wait_event('subscribed')->{cursor}, qr/^job:999\@[\d-]+\z/,
	'and so is that of an answer');

# it comes back by itself, channel by channel

$ws->drop();
durable($long[63], 'n', 2);

$ws = Test::RTBus::WebSocket->connect(path => '/plain');
joins($ws, @long[0 .. 62]);
$ws->send_text(json_encode({ event => 'subscribe', ack => 901,
	data => { channel => $long[63], after => after($long[63], 1) } }));
is($ws->wait_event('n')->{data}, 2, 'what was missed');

# fewer again

$ws->wait_event('sync:cursor');
$ws->send_text(json_encode({ event => 'unsubscribe', ack => $_ + 1000,
	data => { channel => $long[$_] } })) for 0 .. 59;
is_deeply($ws->wait_event('sync:cursor')->{data},
	{ complete => JSON::PP::true }, 'complete again');
$ws->wait_ack(1059);

durable($long[60], 'n', 3);
$cursor = $ws->wait_event('n')->{cursor};
is(scalar(split /,/, $cursor), 4, 'with all of them');

$ws = Test::RTBus::WebSocket->connect(path => "/plain?cursor=$cursor");
is(scalar(split /,/, $ws->wait_event('connected')->{cursor}), 4, 'resumed');

# a hundred UUIDs fit, over both transports, with percent-encoding

my @uuids = map { sprintf 'job:%08x-0000-4000-8000-000000000000', $_ }
	1 .. 100;

$ws = Test::RTBus::WebSocket->connect(path => '/uuid');
is(scalar(grep { $_ eq 'ok' } joins($ws, @uuids)), 100, 'a hundred UUIDs');
durable($uuids[0], 'n', 1);
$cursor = $ws->wait_event('n')->{cursor};
is(scalar(split /,/, $cursor), 100, 'all in the cursor');

my $encoded = $cursor =~ s/([^\w.-])/sprintf '%%%02X', ord $1/ger;

$ws = Test::RTBus::WebSocket->connect(path => "/uuid?cursor=$encoded");
is(scalar(split /,/, $ws->wait_event('connected')->{cursor}), 100,
	'WebSocket: resumed');

$sse = Test::RTBus::SSE->connect(path => '/uuid',
	headers => { 'Last-Event-ID' => $cursor });
is($sse->status(), 200, 'SSE: resumed');

# channels that the configuration gives

$ws = Test::RTBus::WebSocket->connect(path => '/many');
is($ws->status(), 400, 'WebSocket: too many by configuration');

$sse = Test::RTBus::SSE->connect(path => '/many', read => 0);
$sse->read_head() unless $sse->status();
$sse->read_body();
is($sse->status() . ' ' . $sse->body(), '400 {"error":"too many channels"}',
	'SSE: too many by configuration');

$io = Test::RTBus::SocketIO->connect(path => '/manyio/');
is($io->join_nsp()->{data}{message}, 'too many channels',
	'Socket.IO: too many by configuration');

###############################################################################

sub joins {
	my ($c, @names) = @_;
	my $plain = !$c->isa('Test::RTBus::SocketIO');

	if ($plain) {
		$c->send_text(json_encode({ event => 'subscribe', ack => $_,
			data => { channel => $names[$_] } })) for 0 .. $#names;

		return map { result($c->wait_ack($_)->{data}) } 0 .. $#names;
	}

	$c->emit('subscribe', { channel => $names[$_] }, { ack => $_ })
		for 0 .. $#names;

	return map { result($c->wait_ack($_)->{data}[0]) } 0 .. $#names;
}

sub result { $_[0]{ok} ? 'ok' : $_[0]{error} }

sub durable {
	my ($channel, $name, $data) = @_;

	return $redis->cmd('FCALL', 'rtbus_publish', 1, $channel, $name, $data);
}

# the position of that number

sub after {
	my ($channel, $seq) = @_;

	return $redis->cmd('XRANGE', "{$channel}:events", '-', '+')
		->[$seq - 1][0];
}

###############################################################################
