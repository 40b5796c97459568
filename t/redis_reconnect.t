#!/usr/bin/perl

# Tests for a Redis that goes and comes back, in each way it can: clients stay
# connected, every subscription is set up again, and events flow again.  What a
# client has asked for in between is answered, with "unavailable".

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Redis;
use Test::RTBus::SSE;
use Test::RTBus::WebSocket;

use Time::HiRes qw/ time /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server');

plan(skip_all => 'the module is not built') unless module_file();

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

$t->write_file_expand('nginx.conf', <<"CONF")->plan(43);

%%TEST_GLOBALS%%

daemon off;
worker_processes 2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis $url connect_timeout=300ms command_timeout=300ms;
    rtbus_allow *;
    rtbus_message_rate 1000r/s;

    add_header X-Pid \$pid always;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location / {
            rtbus websocket sse;
            rtbus_subscribe all \$arg_channel;
        }

        location /state/ {
            rtbus_state job:42;
        }
    }
}

CONF

$t->run();

wait_for { error_log_count($t, qr/connected to Redis/) == 4 } 'Redis';

# clients of both workers; each has a channel of its own beside the common one

my (@ws, @sse, %seen, %channels);

while (keys %seen < 2 || @ws < 20) {
	my $n = @ws;

	push @ws, Test::RTBus::WebSocket->connect(path => '/');
	push @sse, Test::RTBus::SSE->connect(path => "/?channel=sse:$n");

	$ws[$n]->send_json({ event => 'subscribe',
		data => { channel => "ws:$n" }, ack => 1 });

	$seen{$ws[$n]->header('X-Pid')} = 1;
	$channels{"ws:$n"} = $ws[$n];
	$channels{"sse:$n"} = $sse[$n];

	die "All clients have gone to one worker\n" if $n > 300;
}

is(scalar(grep { $_->wait_ack(1)->{data}{ok} } @ws), @ws, 'subscribed');
is(scalar(grep { $_->wait_event('connected') } @ws, @sse), @ws + @sse,
	'connected');

my @pids = sort { $a <=> $b } keys %seen;
my $round = 0;

ok(restored(), 'subscriptions');
works('at first');

###############################################################################

is_deeply({ outages() }, {}, 'no error yet');

$redis->stop();

like(http_get('/state/'), qr/ 503 /, 'state unavailable');

ask(2);
is(unavailable(2), @ws, 'subscribe unavailable');

$redis->start();
works('after a stop');
is_deeply({ outages() }, { map { ("$_ command" => 1, "$_ pub/sub" => 1) }
	@pids }, 'one error for each connection');

$redis->kill();
$redis->start();
works('after a kill');

# the pub/sub connections alone

my @command = clients('command');

$redis->cmd('CLIENT', 'KILL', 'TYPE', 'pubsub');
works('after CLIENT KILL of pub/sub');
is_deeply([ clients('command') ], \@command, 'the others are left alone');

# the command connections alone

my @pubsub = clients('pub/sub');

$redis->cmd('CLIENT', 'KILL', 'ID', $_) for clients('command');
ok((wait_for { clients('command') == 2 } 'command connections'),
	'connected again');
works('after CLIENT KILL of commands');
is_deeply([ clients('pub/sub') ], \@pubsub, 'no other was touched');

# there, but mute: a call has a limit, and so has a subscribe

$redis->pause();

my $start = time();
my $reply = http_get('/state/');

like($reply, qr/ 503 /, 'state unavailable when Redis halts');
cmp_ok(time() - $start, '>=', 0.25, 'but not before the timeout');
cmp_ok(time() - $start, '<', 5, 'nor much later');

ask(3);
is(unavailable(3), @ws, 'subscribe under way unavailable');
error_log_like($t, qr/\[error\].*lost Redis: command timed out/,
	'command timeout logged');
error_log_like($t, qr/\[error\].*lost Redis: SUBSCRIBE timed out/,
	'subscribe timeout logged');

# now the kernel takes connections that nobody serves

error_log_like($t, qr/could not connect to Redis: no answer/,
	'connect timeout logged');

$redis->resume();
works('after a halt');

# killed with a subscribe under way

$redis->pause();
ask(4);

# all have been read as soon as one that was sent after them is answered

for my $ws (@ws) {
	$ws->send_json({ event => 'nonsense', ack => 5 });
	$ws->wait_ack(5);
}

$redis->kill();
is(unavailable(4), @ws, 'subscribe unavailable when Redis is killed');

$redis->start();
works('after a kill with subscribes under way');

is(scalar(grep { $_->is_open() } @ws), @ws, 'websockets never closed');
is(scalar(grep { !$_->eof() } @sse), @sse, 'event streams never closed');
is(join(' ', workers($t)), "@pids", 'workers never ended');

# nobody waits for what was refused

ok($redis->wait_subscribers('late:4', 0), 'refused, not subscribed');

$_->drop() for @ws, @sse;

###############################################################################

# All is as it should be: subscriptions, state, and an event to each.

sub works {
	my ($when) = @_;

	# Redis here keeps nothing over its end

	$redis->cmd('HSET', '{job:42}:state', 'status', 'running');

	ok(restored(), "subscribed $when");
	ok((wait_for { clients('command') == 2 } 'command connections')
		&& http_get('/state/') =~ / 200 .*running/s, "state $when");

	my $name = 'round' . ++$round;
	my @all = (@ws, @sse);
	my $got = 0;

	$redis->event('all', $name, $round);
	$redis->event($_, "$name:own", $_) for sort keys %channels;

	for my $c (@all) {
		$got++ if $c->wait_event($name);
	}

	for my $channel (sort keys %channels) {
		my $c = $channels{$channel};
		my $event = $c->wait_event("$name:own");

		$got++ if $event && $event->{data} =~ /^"?\Q$channel\E"?$/;
	}

	is($got, 2 * @all, "events $when");

	# nothing twice

	my @more = map { ref $_->{data} ? () : $_->{event} }
		(map { $_->pending_json() } @ws), map { $_->pending() } @sse;

	is("@more", '', "nothing else $when") if @more;
}

# Each worker has subscribed to the common channel, and one to each other.

sub restored {
	return wait_for {
		my @channels = sort keys %channels;
		my %n = eval { @{$redis->cmd('PUBSUB', 'NUMSUB', 'all',
			@channels)} };

		($n{all} || 0) == 2 && !grep { $n{$_} != 1 } @channels;
	} 'subscriptions', 15;
}

# Each client asks for one more channel, which it never gets.

sub ask {
	my ($ack) = @_;

	$_->send_json({ event => 'subscribe',
		data => { channel => "late:$ack" }, ack => $ack }) for @ws;
}

sub unavailable {
	my ($ack) = @_;

	return grep {
		my $m = $_->wait_ack($ack);
		$m && ($m->{data}{error} || '') eq 'unavailable'
	} @ws;
}

# ids of the module's connections, by their role

sub clients {
	my ($role) = @_;

	my $list = eval { $redis->cmd('CLIENT', 'LIST') } || '';

	my @ids = sort { $a <=> $b }
		$list =~ /^id=(\d+) .* name=rtbus-\Q$role\E-\d+ /mg;

	return @ids;
}

# lines at ERR by worker and connection

sub outages {
	my %n;

	for my $line (split /\n/, error_log($t)) {
		$line =~ /\[error\] (\d+)#.*redis: ".*connection: (\S+)/
			and $n{"$1 $2"}++;
	}

	return %n;
}

###############################################################################
