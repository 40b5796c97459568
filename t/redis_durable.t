#!/usr/bin/perl

# Tests for durable events when Redis goes away and comes back, or one of the two
# connections to it does, or it is mute for a while.  Clients stay connected, and
# each has all events of all its channels, once and in order, those first that
# were written while nobody listened.

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
	->has_daemon('redis-server')->plan(42);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir(), aof => 1);
my $url = $redis->url();

$t->write_file_expand('nginx.conf', <<"EOC");

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis  $url command_timeout=400ms;
    rtbus_allow  job:*;
    rtbus_drain  10ms;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location /ws {
            rtbus           websocket;
            rtbus_subscribe \$arg_channel;
        }

        location /sse {
            rtbus           sse;
        }

        location ~ ^/state/(.*)\$ {
            rtbus_state     \$1;
        }
    }
}

EOC

$t->run();

ok((wait_for { !ref $redis->try_cmd('FCALL_RO', 'rtbus_version', 0) }
	'library'), 'library');

# each client has channels of its own and some that others have, too

my @channels = map { "job:$_" } 1 .. 60;
my (%count, %cursor, @clients, $wrong);

###############################################################################

# the connection for pub/sub; what is written before it is back is in the stream

begin();

everything();
complete('all there');

$redis->pipeline([ qw/ CLIENT KILL TYPE pubsub / ], events(3));
everything();
complete('pub/sub connection killed');

$redis->pipeline(events(2), [ qw/ CLIENT KILL TYPE pubsub / ], silent(2));
back();
everything();
complete('pub/sub connection killed, no wake-ups');

# the connection for commands, just when it is needed

$redis->pipeline([ qw/ CLIENT KILL TYPE normal SKIPME yes / ], silent(3),
	events(1));
everything();
complete('command connection killed');

$redis->pipeline(silent(3), events(1),
	[ qw/ CLIENT KILL TYPE normal SKIPME yes / ]);
everything();
complete('command connection killed in the middle of it');

# both

$redis->pipeline([ qw/ CLIENT KILL TYPE pubsub / ],
	[ qw/ CLIENT KILL TYPE normal SKIPME yes / ], events(2), silent(2));
everything();
complete('both connections killed');

# more than once

for (1 .. 3) {
	$redis->pipeline([ qw/ CLIENT KILL TYPE pubsub / ], events(1));
}

everything();
complete('killed again and again');

done();

###############################################################################

# Redis is stopped, or killed; what it has answered is in its log

begin();

$redis->stop();
$redis->start();
$redis->pipeline(events(3));
everything();
complete('Redis restarted');

$redis->pipeline(events(1));
$redis->kill();
$redis->start();
$redis->pipeline(silent(2));
back();
everything();
complete('Redis killed');

done();

###############################################################################

# mute for less than the timeout: nothing happens

begin();

my $links = connections();

$redis->pause();
my $writer = later(events(2));
$redis->resume();
replies($writer);
everything();
complete('mute for a moment');

is(connections(), $links, 'mute for a moment, same connections');

# for longer; a call shows it

$redis->pause();

is(state(), 503, 'mute, call timed out');

$writer = later(events(2), silent(2), events(1));

# who comes now is welcome, and so is who comes with a cursor

my $new = Test::RTBus::WebSocket->connect(path => '/ws?channel=job:new');
my $old = Test::RTBus::WebSocket->connect(
	path => "/ws?cursor=job:1\@$cursor{'job:1'}-1");

is($new->recv_json()->{event}, 'connected', 'mute, connected');
is($old->recv_json()->{event}, 'connected', 'mute, connected with a cursor');

$redis->resume();
replies($writer);
everything();
complete('mute');

my @got = map { $old->recv_json()->{data} } 2 .. $count{'job:1'};
is("@got", join(' ', 2 .. $count{'job:1'}), 'mute, history');

my $id;

ok((wait_for {
	$id = $redis->cmd('FCALL', 'rtbus_publish', 1, 'job:new', 'n', 1);
	$new->wait_event('n', 0.1);
} 'event'), 'mute, new channel');

is((wait_for { my $s = state(); $s == 200 && $s } 'state'), 200,
	'mute, back');

done();

is(error_log_count($t, qr/rtbus: gap in channel/), 0, 'no gaps');

###############################################################################

# clients of new workers; channels as they are

sub begin {
	reload_wait($t);

	$wrong = '';

	$redis->pipeline(events(1)) unless %count;

	for my $i (0 .. 11) {
		my @mine = map { $channels[($i * 5 + $_) % @channels] } 0 .. 9;
		my %at = map { $_ => $redis->cmd('FCALL_RO',
			'rtbus_snapshot', 1, $_)->[2] } @mine;
		my $cursor = join ',', map { "$_\@$at{$_}" } @mine;

		for (@mine) {
			($cursor{$_}, $count{$_}) = $at{$_} =~ /^(\d+)-(\d+)/;
		}

		my $c = $i % 3
			? Test::RTBus::WebSocket->connect(
				path => "/ws?cursor=$cursor")
			: Test::RTBus::SSE->connect(path => '/sse',
				last_event_id => $cursor);

		$c->{next} = { map { $_ => $count{$_} + 1 } @mine };
		push @clients, $c;
	}

	wait_for { $redis->subscribers('job:1') } 'subscriptions';
}

sub done {
	$_->drop() for @clients, grep { $_ } $new, $old;
	@clients = ();
}

# commands for so many events on each channel; the data is the number

sub events {
	my ($n) = @_;

	return map {
		my $channel = $_;
		map { [ 'FCALL', 'rtbus_publish', 1, $channel, 'n',
			++$count{$channel} ] } 1 .. $n;
	} @channels;
}

# the same without a wake-up

sub silent {
	my ($n) = @_;

	return map {
		my $channel = $_;
		map { [ 'XADD', "{$channel}:events",
			"$cursor{$channel}-" . ++$count{$channel},
			'event', 'n', 'data', $count{$channel} ] } 1 .. $n;
	} @channels;
}

sub everything {
	$redis->pipeline(events(2));
}

# all clients have all of it, and are still there

sub complete {
	my ($name) = @_;

	my $all = select_loop(\@clients, sub {
		for my $c (@clients) {
			for my $channel (keys %{$c->{next}}) {
				return 0 if $c->{next}{$channel}
					<= $count{$channel};
			}
		}

		return 1;
	}, 15, \&message);

	ok($all, $name) or diag(join ' ', map {
		my $c = $_;
		grep { $c->{next}{$_} <= $count{$_} } keys %{$c->{next}}
	} @clients);

	is($wrong, '', "$name, in order");
	is((grep { !$_->eof() } @clients), 12, "$name, still connected");
}

sub message {
	my ($c, $m) = @_;

	my ($channel, $data, $seq) = defined $m->{message}
		? $m->{message} =~ /"data":(\d+),"channel":"(.*?)".*?-(\d+)/
			? ($2, $1, $3) : ()
		: ($m->{id} || '') =~ /^(.*?)@\d+-(\d+)/
			? ($1, $m->{data}, $2) : ();

	my $text = defined $m->{message} ? $m->{message}
		: "$m->{event} $m->{data}";

	return if $text =~ /^(?:\{"event":")?connected/;

	if (!defined $channel || $data ne $seq
		|| $data ne $c->{next}{$channel})
	{
		$wrong ||= $text;
		return;
	}

	$c->{next}{$channel}++;
}

# nginx listens again

sub back {
	wait_for { $redis->subscribers($channels[-1]) } 'subscriptions';
}

sub connections {
	return join ' ', sort
		map { /^id=(\d+).* name=rtbus/ ? $1 : () }
		split /\n/, $redis->cmd('CLIENT', 'LIST');
}

# what Redis will find when it goes on

sub later {
	my (@cmds) = @_;

	my $conn = Test::RTBus::Redis::Connection->new($redis->port());

	$conn->write(join '', map { Test::RTBus::Redis::_encode(@$_) } @cmds);
	$conn->{wanted} = @cmds;

	return $conn;
}

sub replies {
	my ($conn) = @_;

	$conn->reply() for 1 .. $conn->{wanted};
}

sub state {
	return Test::RTBus::SSE->connect(path => '/state/job:1',
		accept => undef)->status();
}

###############################################################################
