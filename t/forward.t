#!/usr/bin/perl

# Tests for rtbus_forward: producers and clients as they are.  A producer
# publishes each chunk to "model:chunk" and to "job:<id>"; clients that only
# listen, over each protocol and on each worker, get each chunk of their user
# once, in order, and none of another's.  Who has joined the channel of the job
# as well gets it there, and misses none when it joins in the middle.

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

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server');

plan(skip_all => 'the module is not built') unless module_file();

# a user of its own, who can be denied a command for a while

my $redis = Test::RTBus::Redis->new(dir => $t->testdir(), args => [
	'--user', 'edge', 'on', '>s3cret', 'allkeys', 'allchannels', '+@all' ]);
my $url = $redis->url(user => 'edge', password => 's3cret');

$t->write_file_expand('nginx.conf', <<"CONF")->plan(72);

%%TEST_GLOBALS%%

daemon off;
worker_processes 2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis $url;
    rtbus_message_rate 1000r/s;
    rtbus_max_event 10k;

    rtbus_forward job:* "user:{userId}";

    rtbus_user \$arg_user;
    rtbus_subscribe user:\$rtbus_user;
    rtbus_allow user:\$rtbus_user;
    rtbus_allow job:*;

    add_header X-Pid \$pid always;

    server {
        # the kernel alone would wake the same worker each time
        listen       127.0.0.1:8080 reuseport;
        server_name  localhost;

        location / {
            rtbus websocket sse;
        }

        location /socket.io/ {
            rtbus socketio;
        }
    }
}

CONF

$t->run();
wait_redis($t, 2);

ok((wait_for { !ref $redis->try_cmd('FCALL_RO', 'rtbus_version', 0) }
	'library'), 'library');
ok(patterns(1), 'one pattern');

my $fences = 0;
my ($ws, $other, @got, $n);

###############################################################################

# the user's first durable event, so that there is a position not to be moved

my $start = durable('user:7', 'first', 1);

my @clients = map { everywhere($_) } 7, 8;

is(scalar @clients, 12, 'clients of each protocol and worker');

for my $index (0 .. 19) {
	chunk(42, 7, $index);
	chunk(43, '8', $index);
}

fence(7, 8);

my @chunks = map { "model:chunk $_" } 0 .. 19;

for my $c (@clients) {
	my $name = "$c->{kind} of user $c->{user}";
	my @events = until_fence($c);

	is_deeply([ map { "$_->{event} $_->{data}{index}" } @events ],
		\@chunks, "$name: each chunk once");

	is(scalar(grep { $_->{data}{userId} eq $c->{user} } @events), 20,
		"$name: none of another's");

	my %at = map { $_->{cursor} => 1 } @events;

	is(join(' ', keys %at), 'user:' . ($c->{user} == 7
		? "7\@$start" : '8@0-0'), "$name: cursor of its channel");
}

# the frame of a channel's own event

($ws) = grep { $_->{kind} eq 'ws' && $_->{user} == 7 } @clients;

chunk(42, 7, 20);
is($ws->{c}->wait_event('model:chunk')->{channel}, 'user:7', 'channel');

# durable in its own channel: no position in the other

my @ids = map { durable('job:42', 'chunk', $_, 7) } 1 .. 2;
my $second = durable('user:7', 'second', 2);

@got = collect($ws, 3);

is_deeply([ map { "$_->{event} $_->{cursor}" } @got ],
	[ "chunk user:7\@$start", "chunk user:7\@$start",
		"second user:7\@$second" ], 'durable events');

isnt($ids[1], $second, 'positions differ');

$_->{c}->drop() for @clients;

###############################################################################

# what does not make a channel is not forwarded, and nobody complains

$ws = client('ws', 7);

# from here on all is of one worker

my $pid = $ws->{c}->header('X-Pid');

my @nothing = ('{"userId":null}', '{"userId":""}', '{"userId":7.5}',
	'{"userId":7e0}', '{"userId":true}', '{"userId":["7"]}',
	'{"userId":{"id":7}}', '{"userId":"7 "}', '{"userId":"a/b"}',
	'{"userId":"' . 'x' x 200 . '"}', '{"userid":"7"}', '{}', '[]',
	'"userId"', '7', 'null', '{"a":{"userId":"7"}}');

$redis->publish('job:1', qq/{"event":"no","data":$_}/) for @nothing;
$redis->publish('job:1', '{"event":"no","userId":"7"}');

my @something = ('{"userId":"7"}', '{"userId":7}', '{"userId":"8","userId":7}',
	'{ "a" : [{"userId":8}] , "user\u0049d" : "\u0037" }');

$redis->publish('job:1', qq/{"event":"yes","data":$_}/) for @something;
$redis->publish('job:1', '{"event":"yes","args":[{"userId":7},{"userId":8}]}');
$redis->publish("job: any\nname", '{"event":"yes","data":{"userId":7}}');

fence(7);
is(join(' ', map { $_->{event} } until_fence($ws)), 'yes ' x 5 . 'yes',
	'values that make a channel');
is($redis->subscribers('user:'), 0, 'no channel was made');
is($redis->subscribers('user:a'), 0, 'none for a user without clients');
error_log_unlike($t, qr/invalid event/, 'no complaint');

# no event at all: where a name may be anything the pattern stands for it

ok(complaint('job:1', '{"event":', 'job:1', 'not JSON'), 'not JSON');
ok(complaint("job:\nname", '{"data":{}}', 'job:*', 'no event name'),
	'bad name of a channel');
ok(complaint('job:1', '{"event":"e","data":"' . 'x' x 10240 . '"}',
	'job:1', 'too long'), 'event too long');

###############################################################################

# joined to both: there only, in time; and here again when it has left

$other = client('ws', 7, $pid);
subscribe($ws, 'job:42');

chunk(42, 7, 1);
durable('job:42', 'chunk', 3, 7);
chunk(43, 7, 2);
fence(7);

is(channels(until_fence($ws)), 'job:42 job:42 user:7', 'joined to both');
is(channels(until_fence($other)), 'user:7 user:7 user:7',
	'and one that is not');

unsubscribe($ws, 'job:42');

chunk(42, 7, 3);
fence(7);
is(channels(until_fence($ws)), 'user:7', 'left one of both');

# two sockets of one connection are two clients

my $io = client('io', 7, $pid)->{c};
$io->emit('subscribe', { channel => 'job:42' }, { ack => 1 });
$io->wait_ack(1);

chunk(42, 7, 4);
fence(7);

is(scalar(grep { $_->{event} eq 'model:chunk' }
	until_fence({ kind => 'io', c => $io })), 1, 'socket.io, joined to both');

$io->drop();

# a replay misses live events: they come here; what is durable comes there

my $after = durable('job:80', 'chunk', 1, 7);

subscribe($other, 'job:80');
fence(7);
until_fence($_) for $ws, $other;
deny('xrange');

$ws->{c}->send_json({ event => 'subscribe', data => { channel => 'job:80',
	after => '0-0' }, ack => 3 });

error_log_like($t, qr/cannot read the history of channel "job:80"/,
	'replay is under way');

chunk(80, 7, 1);
my $last = durable('job:80', 'chunk', 2, 7);
fence(7);

is(channels(until_fence($ws)), 'user:7', 'live event while joining');

allow('xrange');

is_deeply([ map { "$_->{channel} $_->{cursor}" } collect($ws, 2) ], [
	"job:80 job:80\@$after,user:7\@$second",
	"job:80 job:80\@$last,user:7\@$second" ], 'durable ones by the replay');
ok($ws->{c}->wait_ack(3)->{data}{ok}, 'joined');

fence(7);
is(channels(until_fence($ws)), '', 'and nothing else');
is(channels(until_fence($other)), 'job:80 job:80', 'the other one');

unsubscribe($_, 'job:80') for $ws, $other;

# channels that are just being read keep what comes, as they do with their own

subscribe($ws, 'job:42');
deny('xrange');

my $failed = failed();

$redis->cmd('CLIENT', 'KILL', 'TYPE', 'pubsub');

ok(patterns(1) && $redis->wait_subscribers('user:7', 1)
	&& $redis->wait_subscribers('job:42', 1), 'subscribed again');

# what has failed once is not ready, and not known for a while

ok((wait_for { failed() > $failed } 'read'), 'channels are being read');

for my $index (1 .. 3) {
	chunk(42, 7, $index);
	chunk(43, 7, $index);
	live('user:7', 'own', $index);
}

durable('job:43', 'chunk', 4, 7);
live('user:7', 'last', 5);

is($ws->{c}->recv_json(0), undef, 'nothing while channels are read');

allow('xrange');

@got = collect($other, 11);

is(join(' ', map { $_->{event} } @got), join(' ',
	('model:chunk model:chunk own') x 3, 'chunk last'), 'all, in order');
is(channels(@got), join(' ', ('user:7') x 11), 'all on one channel');
is(positions(@got), "user:7\@$second", 'its position has not moved');

@got = collect($ws, 11);

is(join(' ', sort map { "$_->{channel} $_->{event} "
	. (ref $_->{data} ? $_->{data}{index} : $_->{data}) } @got),
	join(' ', (map { "job:42 model:chunk $_" } 1 .. 3),
		'user:7 chunk 4', 'user:7 last 5',
		(map { "user:7 model:chunk $_" } 1 .. 3),
		(map { "user:7 own $_" } 1 .. 3)),
	'joined to both, each of them being read');

###############################################################################

# Redis goes and comes back

$redis->kill();
$redis->start();

ok(patterns(1) && $redis->wait_subscribers('user:7', 1)
	&& $redis->wait_subscribers('job:42', 1), 'a new Redis');

# channels that are known hand out at once what comes; before that each tells
# of its gap, in no order

live('job:42', 'known', 1);
$ws->{c}->wait_event('known') or die "No job:42\n";

fence(7);
until_fence($_) for $ws, $other;

chunk(42, 7, 1);
chunk(43, 7, 2);
fence(7);

is(channels(until_fence($ws)), 'job:42 user:7', 'events, joined to both');
is(channels(until_fence($other)), 'user:7 user:7', 'events');

# a pattern that Redis refuses does no harm to the rest

$redis->cmd('ACL', 'SETUSER', 'edge', 'resetchannels', '&user:*', '&job:4?');
$redis->cmd('CLIENT', 'KILL', 'TYPE', 'pubsub');

error_log_like($t, qr/could not subscribe to "job:\*": .*NOPERM/,
	'pattern refused');

ok(patterns(0) && $redis->wait_subscribers('user:7', 1)
	&& $redis->wait_subscribers('job:42', 1), 'channels are not');

is($ws->{c}->is_open(), 1, 'clients stay');

###############################################################################

# A client of each protocol on each worker.

sub everywhere {
	my ($user) = @_;

	return map { my $kind = $_; map { client($kind, $user, $_) }
		workers($t) } qw/ ws sse io /;
}

# A connected client, of this worker if there is a pid.

sub client {
	my ($kind, $user, $pid) = @_;

	my %class = (ws => 'Test::RTBus::WebSocket', sse => 'Test::RTBus::SSE',
		io => 'Test::RTBus::SocketIO');

	my $path = $kind eq 'io' ? '/socket.io/' : '/';
	my $c;

	for (1 .. 300) {
		$c = $class{$kind}->connect(path => "$path?user=$user");

		last if !$pid || $c->header('X-Pid') == $pid;
		$c->drop();
	}

	if ($kind eq 'io') {
		$c->join_nsp('/');
		$c->wait_name('connected');

	} else {
		$c->wait_event('connected');
	}

	return { kind => $kind, user => $user, c => $c };
}

sub subscribe {
	my ($client, $channel) = @_;

	$client->{c}->send_json({ event => 'subscribe',
		data => { channel => $channel }, ack => 1 });
	$client->{c}->wait_ack(1)->{data}{ok} or die "No $channel\n";
}

sub unsubscribe {
	my ($client, $channel) = @_;

	$client->{c}->send_json({ event => 'unsubscribe',
		data => { channel => $channel }, ack => 2 });
	$client->{c}->wait_ack(2)->{data}{ok} or die "Not on $channel\n";
}

# The next event, as one hash for all protocols; acks are left for others.

sub next_of {
	my ($client) = @_;

	my $c = $client->{c};

	if ($client->{kind} eq 'ws') {
		return $c->wait_json(10, sub { defined $_[0]{event} });
	}

	if ($client->{kind} eq 'sse') {
		my $m = $c->next_json() or return undef;

		$m->{cursor} = $m->{id};
		return $m;
	}

	my $p = $c->wait_packet(10, sub { defined $_[0]{name} })
		or return undef;

	return { event => $p->{name}, data => $p->{data}[1],
		cursor => $p->{cursor} };
}

sub collect {
	my ($client, $n) = @_;

	return grep { defined } map { next_of($client) } 1 .. $n;
}

# What has come before the last fence.

sub until_fence {
	my ($client) = @_;

	my @events;

	while (my $m = next_of($client)) {
		if ($m->{event} eq 'fence') {
			return @events if $m->{data} == $fences;
			next;
		}

		push @events, $m unless $m->{event} eq 'connected';
	}

	diag("no fence for $client->{kind} of user $client->{user}");
	return @events;
}

sub fence {
	my (@users) = @_;

	$fences++;
	live("user:$_", 'fence', $fences) for @users;
}

sub channels {
	return join ' ', map { $_->{channel} } @_;
}

sub positions {
	my %all = map { $_->{cursor} => 1 } @_;

	return join ' ', sort keys %all;
}

###############################################################################

sub live {
	my ($channel, $name, $data) = @_;

	return $redis->event($channel, $name, $data);
}

# as a producer does that knows nothing of users

sub chunk {
	my ($job, $user, $index) = @_;

	my $event = json_encode({ event => 'model:chunk', data => {
		jobId => "$job", userId => $user, chunk => "part $index",
		index => $index, total => 20 }, timestamp => 1732300000123 });

	$redis->publish('model:chunk', $event);
	$redis->publish("job:$job", $event);
}

sub durable {
	my ($channel, $name, $index, $user) = @_;

	my $data = { index => $index };
	$data->{userId} = $user if defined $user;

	return $redis->cmd('FCALL', 'rtbus_publish', 1, $channel, $name,
		json_encode($data));
}

sub patterns {
	my ($n) = @_;

	return wait_for {
		my $list = eval { $redis->cmd('CLIENT', 'LIST') } || '';

		2 == grep { /name=rtbus-pub/ && /psub=$n / } split /\n/, $list;
	} "$n patterns of each worker";
}

sub allow {
	my ($command) = @_;

	$redis->cmd('ACL', 'SETUSER', 'edge', "+$command");
}

sub deny {
	my ($command) = @_;

	$redis->cmd('ACL', 'SETUSER', 'edge', "-$command");
}

sub failed {
	return error_log_count($t, qr/cannot read the history/);
}

# Lines are limited: it is said again until one is there.

sub complaint {
	my ($channel, $bytes, $shown, $reason) = @_;

	my $re = qr/invalid event on channel "\Q$shown\E" dropped: \Q$reason\E/;

	return wait_for {
		$redis->publish($channel, $bytes);
		error_log_count($t, $re);
	} $reason;
}

###############################################################################
