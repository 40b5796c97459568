#!/usr/bin/perl

# Tests for "rtbus_allow ... owner": a job is for the user that its state names.
#
# Whoever knows the number of a job knows the name of its channel.  So at each
# place that takes a channel - a join, a snapshot, the configuration, a cursor,
# the state endpoint - three users come: the owner, another one, and nobody.
# Nothing of the channel may reach the latter two, also when Redis was away when
# they came.

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

my $t = Test::Nginx->new()->has(qw/ http rewrite /)
	->has_daemon('redis-server');

my $redis = Test::RTBus::Redis->new(dir => $t->testdir(), aof => 1);
my $redis_url = $redis->url();

$t->write_file('secret', "a secret that is long enough\n");

$t->write_file_expand('nginx.conf', <<"EOC")->plan(231);

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis         $redis_url;
    rtbus_prefix        p:;
    rtbus_secret_file   %%TESTDIR%%/secret;
    rtbus_user          \$arg_user;
    rtbus_subscribe     \$arg_channel \$arg_two;
    rtbus_message_rate  1000r/s;
    rtbus_max_channels  200;

    rtbus_allow         job:open;
    rtbus_allow         job:* owner;
    rtbus_allow         job:never;
    rtbus_allow         x:*;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location / {
            rtbus  websocket sse;
        }

        location /socket.io/ {
            rtbus             socketio;
            rtbus_namespaces  / /two;
        }

        location ~ ^/state/(.+)\$ {
            rtbus_state  \$1;
        }

        location ~ ^/old/(.+)\$ {
            rtbus_state  job:\$1 key=old:\$1;
        }

        location ~ ^/few/(.+)\$ {
            rtbus_state         job:\$1 key=old:\$1;
            rtbus_state_fields  status;
        }
    }
}

EOC

$t->run();

ok((wait_for { !ref $redis->try_cmd('FCALL_RO', 'rtbus_version', 0) }
	'library'), 'library');

wait_redis($t);

my %job = (a => 'ann', b => 'bob', empty => '', open => 'bob');
my %pos;

for my $id (sort keys %job) {
	state_of($id, userId => $job{$id}, status => 'running');
	$pos{$id} = publish($id, "\"secret of $id\"", 'APPEND', "text of $id");
}

publish('nobody', '"secret of nobody"');
$redis->cmd('SET', 'p:{job:string}:state', '{"userId":"ann"}');

my @foreign = qw/ b nobody empty string never none /;

###############################################################################

# joins, by all the ways there are; nothing comes after a refusal

for my $user (qw/ ann an annn ANN bob /, '') {
	my $own = $user eq 'ann' ? 'a' : $user eq 'bob' ? 'b' : '';
	my $name = $user || 'nobody';
	my $ws = ws($user);

	for my $id ('a', @foreign) {
		next if $own eq '' && $user ne '' && $id ne 'a';

		my @errors = map { ask($ws, @$_)->{error} // 'ok' } (
			[ 'subscribe', { channel => "job:$id" } ],
			[ 'subscribe', { channel => "job:$id", after => '0-0' } ],
			[ 'subscribe', { channel => "job:$id", state => \1 } ],
			[ 'subscribe:job', $id ],
			[ 'reconnect:sync', { jobId => $id, lastSequence => 0 } ]);

		# no snapshot can be had of a string
		$errors[2] = 'forbidden' if $id eq 'string'
			&& $errors[2] eq 'unavailable';

		is("@errors", join(' ', ($id eq $own ? 'ok' : 'forbidden') x 5),
			"$name joins $id");
	}

	publish($_, '"later"') for 'b', 'nobody', 'empty';
	$redis->event('p:job:a', 'end', 1);

	is_deeply([ map { $_->{data} } grep {
		($_->{channel} // "job:$own") ne "job:$own"
		|| ($_->{cursor} // '') =~ /job:(?!$own\@)/ } settled($ws) ], [],
		"$name: nothing of another's");
}

# one after the other: the owner gets what is asked for

my $ws = ws('ann');

is_deeply(ask($ws, 'subscribe', { channel => 'job:a' }),
	{ ok => JSON::PP::true, channel => 'job:a', position => $pos{a} }, 'own: joined');
is(ask($ws, 'unsubscribe', { channel => 'job:a' })->{ok}, 1, 'own: left');

ask($ws, 'subscribe', { channel => 'job:a', after => '0-0' });
is($ws->wait_event('n')->{data}, 'secret of a', 'own: what was missed');
ask($ws, 'unsubscribe', { channel => 'job:a' });

is(ask($ws, 'subscribe', { channel => 'job:a', state => \1 })->{ok}, 1,
	'own: state');
my $state = $ws->wait_event('state');
is($state->{data}{output}, 'text of a', 'own: text');
is($state->{cursor}, "job:a\@$pos{a}", 'own: cursor');
ask($ws, 'unsubscribe', { channel => 'job:a' });

is(ask($ws, 'subscribe:job', 'a')->{ok}, 1, 'own: subscribe:job');
is($ws->wait_event('subscribed')->{data}{jobId}, 'a', 'own: subscribed');

is(ask($ws, 'reconnect:sync', { jobId => 'a', lastSequence => 0 })->{ok}, 1,
	'own: reconnect:sync');
is($ws->wait_event('n')->{data}, 'secret of a', 'own: replayed');
is_deeply($ws->wait_event('sync:complete')->{data}, { jobId => 'a',
	replayed => 1, lastSequence => 1, complete => JSON::PP::true },
	'own: complete');

publish('a', '"live"');
is($ws->wait_event('n')->{data}, 'live', 'own: live');

# a refusal without an ack

$ws->send_json({ event => 'subscribe', data => { channel => 'job:b' } });
is_deeply($ws->wait_event('error')->{data}, { ok => JSON::PP::false,
	error => 'forbidden' }, 'error event');

$ws->send_json({ event => 'subscribe:job', data => 'b' });
is($ws->wait_event('error')->{data}{error}, 'forbidden',
	'error event of subscribe:job');
$ws->send_json({ event => 'subscribe',
	data => { channel => 'job:b', state => \1 } });
is($ws->wait_event('error')->{data}{error}, 'forbidden',
	'error event of state');

# the first rule that fits decides

for my $user ('ann', '') {
	my $name = $user || 'nobody';
	my $ws = ws($user);

	is(ask($ws, 'subscribe', { channel => 'job:open' })->{ok}, 1,
		"$name: an earlier rule");
	is(ask($ws, 'subscribe', { channel => 'job:never' })->{error},
		'forbidden', "$name: a later rule");
	is(ask($ws, 'subscribe', { channel => 'x:1' })->{ok}, 1,
		"$name: another channel");
	is(ask($ws, 'subscribe', { channel => 'y:1' })->{error}, 'forbidden',
		"$name: no rule");
}

# a state that comes later, and one that changes

is(ask($ws, 'subscribe', { channel => 'job:late' })->{error}, 'forbidden',
	'no state yet');
publish('late', '"before"');
is(ask($ws, 'subscribe', { channel => 'job:late' })->{error}, 'forbidden',
	'no user yet');
is($redis->cmd('FCALL', 'rtbus_claim', 1, 'p:{job:late}', 'ann'), 'ann',
	'claimed');
is(ask($ws, 'subscribe', { channel => 'job:late' })->{ok}, 1,
	'joined as soon as it is');

state_of('late', userId => 'bob');
publish('late', '"after"');
is($ws->wait_event('n')->{data}, 'after', 'who has joined stays');
is(ask($ws, 'subscribe', { channel => 'job:late' })->{ok}, 1, 'has joined');
is(ask($ws, 'subscribe', { channel => 'job:late', state => \1 })->{error},
	'forbidden', 'the state is the new owner\'s');
is(ask($ws, 'subscribe', { channel => 'job:late', after => '0-0' })->{error},
	'forbidden', 'and so is the past');
is(ask(ws('bob'), 'subscribe', { channel => 'job:late', after => '0-0' })->{ok},
	1, 'he may join');

# many at once

$ws = ws('ann');
state_of("m$_", userId => $_ % 2 ? 'ann' : 'bob') for 1 .. 150;

my $burst = '';

for (1 .. 150) {
	$burst .= $ws->frame(opcode => 1, payload => json_encode({
		event => 'subscribe', data => { channel => "job:m$_" },
		ack => $_ }));
}

$ws->send_raw($burst);

my %many = map { my $m = $ws->wait_ack($_); $_ => $m->{data}{error} // 'ok' }
	1 .. 150;

is_deeply([ grep { $many{$_} ne ($_ % 2 ? 'ok' : 'forbidden') } 1 .. 150 ], [],
	'many: each its own answer');

publish("m$_", $_) for 1 .. 150;
is_deeply([ map { ($ws->wait_event('n') || {})->{data} } 1 .. 75 ],
	[ grep { $_ % 2 } 1 .. 150 ], 'many: each its own events');

###############################################################################

# channels of the configuration: refused as a whole, or let in

$ws = ws('ann', 'channel=job:a&two=x:1');
is($ws->status(), 101, 'WebSocket: own');
like($ws->wait_event('connected')->{cursor},
	qr/^job:a\@\d+-2,x:1\@0-0\z/, 'WebSocket: own, cursor');
publish('a', '"ws"');
is($ws->wait_event('n')->{data}, 'ws', 'WebSocket: own, event');

my $sse = sse('ann', 'channel=job:a');
is($sse->status(), 200, 'SSE: own');
$sse->wait_event('connected');
publish('a', '"sse"');
is($sse->wait_event('n')->{data}, '"sse"', 'SSE: own, event');

my ($io, $p) = io('ann', 'channel=job:a');
is($p->{type}, 0, 'Socket.IO: own');
is($io->packet()->{name}, 'connected', 'Socket.IO: own, connected');
publish('a', '"io"');
is($io->wait_name('n')->{data}[1], 'io', 'Socket.IO: own, event');

for my $user ('ann', '') {
	my $name = $user || 'nobody';

	for my $id ($user ? @foreign : (@foreign, 'a')) {
		my $query = "two=x:1&channel=job:$id";
		my $body = "{\"error\":\"forbidden\",\"channel\":\"job:$id\"}";

		my $ws = ws($user, $query);
		is($ws->status() . $ws->body(), "403$body",
			"WebSocket: $name, $id");

		my $sse = sse($user, $query);
		is($sse->status() . $sse->body(), "403$body",
			"SSE: $name, $id");

		my ($io, $p) = io($user, $query);
		is_deeply([ @$p{qw/ type data /} ],
			[ 4, { message => 'forbidden' } ],
			"Socket.IO: $name, $id");
	}
}

# another try in the same session, another namespace; what comes in one piece
# with the CONNECT is answered after it

$io = Test::RTBus::SocketIO->connect(
	path => '/socket.io/?user=ann&channel=job:soon');
is($io->join_nsp()->{type}, 4, 'Socket.IO: first try');
state_of('soon', userId => 'ann');
is($io->join_nsp()->{type}, 0, 'Socket.IO: second try');
is($io->join_nsp('/two')->{type}, 0, 'Socket.IO: another namespace');

$io = Test::RTBus::SocketIO->connect(
	path => '/socket.io/?user=ann&channel=job:a');
$io->send_raw(join '', map { $io->frame(opcode => 1, payload => $_) }
	'40', '40/two,', '421["subscribe",{"channel":"x:1"}]',
	'42/two,2["subscribe",{"channel":"job:b"}]', '423["subscribe",{"channel":"job:soon"}]');

my @got;
my $acks = 0;

while ($acks < 3) {
	my $p = $io->packet() or last;

	$acks++ if $p->{type} == 3;
	push @got, $p->{type} == 3 ? "ack $p->{ack} "
		. ($p->{data}[0]{error} // 'ok') : $p->{name} // "type $p->{type}";
}

is(join(', ', sort grep { /ack/ } @got),
	'ack 1 ok, ack 2 forbidden, ack 3 ok', 'Socket.IO: in one piece');
is(join(', ', grep { !/ack|sync:cursor/ } @got),
	'type 0, connected, type 0, connected',
	'Socket.IO: in one piece, connected');
like("@got", qr/^type 0 connected/, 'Socket.IO: in one piece, in order');

###############################################################################

# a cursor is not a key

my $stolen = "job:b\@0-0,job:a\@0-0,job:none\@5-5";

for my $c (ws('ann', "cursor=$stolen"), sse('ann', "last_event_id=$stolen"),
	sse('ann', '', last_event_id => $stolen))
{
	my $name = ref $c eq 'Test::RTBus::SSE' ? 'SSE' : 'WebSocket';

	is(cursor_of($c->wait_event('connected')), 'job:a@0-0',
		"$name: stolen, cursor of connected");

	for my $id (qw/ b none /) {
		my $m = $c->wait_event('sync:refused');

		is_deeply(data_of($m), { channel => "job:$id",
			error => 'forbidden' }, "$name: stolen, job:$id refused");
	}

	is(data_of($c->wait_event('n')), 'secret of a', "$name: own replayed");

	publish('b', '"for bob"');
	publish('a', '"end"');

	my $m;
	my @more;

	while ($m = $c->wait_event('n')) {
		push @more, $m;
		last if data_of($m) eq 'end';
	}

	is_deeply([ grep { cursor_of($_) !~ /^job:a\@[-\d]+\z/ } @more ], [],
		"$name: nothing of the others");
}

is(sse('ann', 'last_event_id=job:b@0-0')->status(), 403,
	'SSE: nothing but stolen');
is(sse('', 'last_event_id=job:a@0-0')->status(), 403, 'SSE: by nobody');
$ws = ws('', 'cursor=job:a@0-0');
is($ws->wait_event('sync:refused')->{data}{channel}, 'job:a',
	'WebSocket: by nobody');

# a position for what the configuration has, too

is(ws('ann', 'channel=job:b&cursor=job:b@0-0')->status(), 403,
	'WebSocket: configured and stolen');
$ws = ws('ann', 'channel=job:a&cursor=job:a@0-0');
is($ws->wait_event('n')->{data}, 'secret of a',
	'WebSocket: configured and own');

# recovery

($io, $p) = io('ann');
my $pid = $p->{data}{pid};
$io->drop();

$io = Test::RTBus::SocketIO->connect(path => '/socket.io/?user=ann');
$p = $io->join_nsp('/', { pid => $pid, offset => $stolen });
is($p->{data}{pid}, $pid, 'Socket.IO: recovered');
is($io->wait_name('connected')->{cursor}, 'job:a@0-0',
	'Socket.IO: stolen, cursor');
is($io->wait_name('sync:refused')->{data}[1]{channel}, 'job:b',
	'Socket.IO: stolen, refused');
is($io->wait_name('sync:refused')->{data}[1]{channel}, 'job:none',
	'Socket.IO: stolen, refused, too');
is($io->wait_name('n')->{data}[1], 'secret of a', 'Socket.IO: own replayed');
is_deeply([ grep { /job:b/ } map { $_->{cursor} // '' } $io->settled() ], [],
	'Socket.IO: nothing of the others');

$io->emit('subscribe', { channel => 'job:b', state => \1 }, { ack => 1 });
is($io->wait_ack(1)->{data}[0]{error}, 'forbidden', 'Socket.IO: state');
$io->emit('subscribe:job', 'b', { ack => 2 });
is($io->wait_ack(2)->{data}[0]{error}, 'forbidden', 'Socket.IO: join');

###############################################################################

# the state endpoint: who is not the owner does not even learn that it is there

like(get('/state/job:a', 'ann'), qr/ 200 .*"userId":"ann".*"text of a"/s,
	'state: own');
like(get('/state/job:open', ''), qr/ 200 .*"text of open"/s,
	'state: open to all');
like(get('/state/x:none', 'ann'), qr/ 404 /, 'state: no owner rule, missing');

for my $user ('ann', '') {
	for my $id ($user ? @foreign : (@foreign, 'a')) {
		my $reply = get("/state/job:$id", $user);
		my $name = "state: $id by " . ($user || 'nobody');

		like($reply, qr/ 403 .*\{"error":"forbidden","channel":"job:$id"\}/s,
			$id eq 'string' && $user ? "$name, no, own" : $name)
			unless $id eq 'string' && $user;
		unlike($reply, qr/bob|secret|text of/, "$name, nothing");
	}
}

like(get('/state/job:string', 'ann'), qr/ 200 .*"userId":"ann"/s,
	'state: a JSON string names its owner');
like(get('/state/job:string', 'bob'), qr/ 403 /, 'state: and nobody else');

my ($etag) = get('/state/job:a', 'ann') =~ /^ETag: (.*?)\r$/mi;

like(get('/state/job:a', 'ann', "If-None-Match: $etag"), qr/ 304 /,
	'state: own, not modified');
like(get('/state/job:a', 'bob', "If-None-Match: $etag"), qr/ 403 /,
	'state: foreign, not modified');
like(get('/state/job:a', 'bob', '', 'HEAD'), qr/ 403 /, 'state: HEAD');
like(get('/state/job:a', 'bob', '', 'GET', 'fields=status'), qr/ 403 /,
	'state: fields');

# a state that is kept elsewhere says itself whose it is

$redis->cmd('HSET', 'old:1', 'userId', 'ann', 'status', 's');
$redis->cmd('HSET', 'old:b', 'userId', 'ann', 'status', 's');
$redis->cmd('HSET', 'old:a', 'status', 's');
$redis->cmd('SET', 'old:2', '{"userId":"\\u0061nn","status":"s"}');
$redis->cmd('SET', 'old:3', '{"userId":7,"status":"s"}');
$redis->cmd('SET', 'old:4', '{"userId":["ann"],"status":"s"}');
$redis->cmd('SET', 'old:5', '{"userId":"bob","userId":"ann","status":"s"}');
$redis->cmd('SET', 'old:6', '{"status":"s"}');
$redis->cmd('SET', 'old:7', 'nonsense');

for my $case ([ 1, 'ann', 200 ], [ 1, 'bob', 403 ], [ 1, '', 403 ],
	[ 'b', 'ann', 200 ], [ 'b', 'bob', 403 ], [ 'a', 'ann', 403 ],
	[ 2, 'ann', 200 ], [ 2, 'bob', 403 ], [ 3, '7', 200 ],
	[ 3, '8', 403 ], [ 4, 'ann', 403 ], [ 4, '["ann"]', 403 ],
	[ 5, 'ann', 200 ], [ 5, 'bob', 403 ], [ 6, 'ann', 403 ],
	[ 7, 'ann', 403 ], [ 'none', 'ann', 403 ])
{
	my ($id, $user, $status) = @$case;

	like(get("/old/$id", $user), qr/^HTTP\S+ $status /,
		"state elsewhere: $id by " . ($user || 'nobody'));
}

like(get('/few/2', 'ann'), qr/ 200 .*\{"status":"s","position":"0-0"\}/s,
	'state elsewhere: user not declared');
like(get('/few/2', 'bob'), qr/ 403 /,
	'state elsewhere: user not declared, foreign');

###############################################################################

# Redis cannot say: not now is not no, and it is not yes

$redis->cmd('ACL', 'SETUSER', 'default', '-hget');

$ws = ws('ann', 'channel=job:a&two=job:b');
is($ws->status(), 101, 'no answer: let in');
is($ws->wait_event('connected')->{cursor} // '', '', 'no answer: no position');
is(ask($ws, 'subscribe', { channel => 'job:soon' })->{error}, 'unavailable',
	'no answer: unavailable');
error_log_like($t, qr/\[error\].*cannot ask for the owner.*NOPERM/,
	'no answer: logged');

$redis->cmd('ACL', 'SETUSER', 'default', '+hget');

is_deeply($ws->wait_event('sync:refused')->{data}, { channel => 'job:b',
	error => 'forbidden' }, 'answered: refused');
joined($ws, 'a');
publish('b', '"for bob"');
publish('a', '"answered"');
$p = $ws->wait_event('n');
is($p->{data}, 'answered', 'answered: joined');

# it is away, then back: what the client has missed comes, if it is the owner

my $before = $p->{cursor};

$redis->stop();

my %away = (
	WebSocket => ws('ann', "cursor=$before,job:b\@0-0&channel=job:soon&two=job:m2"),
	SSE => sse('ann', "last_event_id=$before,job:b\@0-0&channel=job:soon&two=job:m2"),
);

is($away{WebSocket}->status(), 101, 'away: WebSocket let in');
is($away{SSE}->status(), 200, 'away: SSE let in');

($io, $p) = io('ann', 'channel=job:soon&two=job:m2');
is($p->{type}, 0, 'away: Socket.IO let in');

is(ask($away{WebSocket}, 'subscribe', { channel => 'job:m1' })->{error},
	'unavailable', 'away: subscribe');
is(ask($away{WebSocket}, 'subscribe', { channel => 'job:m1', state => \1 })
	->{error}, 'unavailable', 'away: state');
like(get('/state/job:a', 'ann'), qr/ 503 /, 'away: state endpoint');
is(ws('', 'channel=job:a')->status(), 403, 'away: nobody stays nobody');

$redis->start();
publish('a', '"missed"');
publish('b', '"for bob"');

for my $name (sort keys %away) {
	my $c = $away{$name};

	is_deeply([ sort map { data_of($_)->{channel} } map {
		$c->wait_event('sync:refused') } 1 .. 2 ], [ 'job:b', 'job:m2' ],
		"back: $name: foreign ones refused");
	is(data_of($c->wait_event('n')), 'missed',
		"back: $name: own one goes on");
	ok((wait_for { publish('soon', '"live"');
		$c->wait_event('n', 0.2) } 'live'), "back: $name: all of them");
}

is($io->wait_name('sync:refused')->{data}[1]{channel}, 'job:m2',
	'back: Socket.IO: foreign one refused');
ok((wait_for { publish('soon', '"live"'); $io->wait_name('n', '/', 0.2) }
	'live'), 'back: Socket.IO: own one goes on');

@got = map { ($_->{channel} // '') . ($_->{cursor} // '') }
	grep { ($_->{event} // '') eq 'n' } settled($away{WebSocket});
is_deeply([ grep { /job:(b|m2)/ } @got ], [], 'back: nothing of the others');

###############################################################################

# clients that go while the question is under way

is((wait_for { ask(ws('ann'), 'subscribe', { channel => 'job:a' })->{ok} }
	'Redis'), 1, 'before the pause');

my $joining = ws('ann');
my $staying = ws('ann');
my $waiting = ws('ann', 'channel=job:a');
$_->wait_event('connected') for $joining, $staying, $waiting;

$redis->pause();

my @gone;

for (1 .. 5) {
	push @gone, Test::RTBus::WebSocket->connect(read => 0,
		path => '/?user=ann&channel=job:a&two=job:b');
	push @gone, Test::RTBus::SSE->connect(read => 0,
		path => '/?user=ann&channel=job:a&two=job:b');

	my $io = Test::RTBus::SocketIO->connect(
		path => '/socket.io/?user=ann&channel=job:a&two=job:b');
	$io->send_text('40');
	$io->send_text('40/two,');
	push @gone, $io;
}

my $late = Test::RTBus::WebSocket->connect(read => 0,
	path => '/?user=ann&channel=job:a&two=job:b');
my $late_io = Test::RTBus::SocketIO->connect(
	path => '/socket.io/?user=ann&channel=job:a');
$late_io->send_text('40');

$joining->send_json({ event => 'subscribe', data => { channel => "job:$_" },
	ack => 1 }) for 'a', 'b', 'm1' .. 'm9';
$joining->send_json({ event => 'subscribe', data => { channel => 'job:a',
	state => \1 } });
$staying->send_json({ event => 'subscribe', data => { channel => 'job:m1' },
	ack => 1 });
$staying->send_json({ event => 'unsubscribe', data => { channel => 'job:m1' },
	ack => 2 });
is($staying->wait_ack(1)->{data}{error}, 'unsubscribed',
	'left while it is asked');
is($staying->wait_ack(2)->{data}{ok}, 1, 'has left');

is(ask(ws('ann'), 'unsubscribe', { channel => 'x:2' })->{error},
	'not subscribed', 'others are served');

$_->reset() for @gone, $joining;

is(ask(ws('ann'), 'unsubscribe', { channel => 'x:2' })->{error},
	'not subscribed', 'others are served still');

$redis->resume();

$late->handshake();
is($late->status(), 403, 'who waited is answered');
is($late_io->packet()->{type}, 0, 'who waited is answered, Socket.IO');
is(ask($staying, 'subscribe', { channel => 'job:m1' })->{ok}, 1,
	'who left comes back');

publish('a', '"after the pause"');
is($waiting->wait_event('n')->{data}, 'after the pause', 'all goes on');

###############################################################################

sub state_of {
	my ($id, %fields) = @_;

	$redis->cmd('HSET', "p:{job:$id}:state", %fields);
}

sub publish {
	my ($id, $data, @more) = @_;

	return $redis->cmd('FCALL', 'rtbus_publish', 1, "p:{job:$id}", 'n',
		$data, @more);
}

sub ws {
	my ($user, $query) = @_;

	return Test::RTBus::WebSocket->connect(path => '/?user=' . $user
		. '&' . ($query // ''));
}

sub sse {
	my ($user, $query, @more) = @_;

	return Test::RTBus::SSE->connect(path => '/?user=' . $user
		. '&' . ($query // ''), @more);
}

sub io {
	my ($user, $query) = @_;

	my $io = Test::RTBus::SocketIO->connect(path => '/socket.io/?user='
		. $user . '&' . ($query // ''));

	return ($io, $io->join_nsp());
}

my $asked;

sub ask {
	my ($ws, $event, $data) = @_;

	$ws->send_json({ event => $event, data => $data,
		ack => 1000 + ++$asked });

	return $ws->wait_ack(1000 + $asked)->{data};
}

# what has come by now, up to the answer of an event sent now

sub settled {
	my ($ws) = @_;

	ask($ws, 'test:settled', {});

	return $ws->pending_json();
}

sub joined {
	my ($ws, $id) = @_;

	ok((wait_for { !ask($ws, 'subscribe', { channel => "job:$id" })->{error} }
		"joined $id"), "joined $id");
}

sub data_of {
	my ($m) = @_;

	return exists $m->{id} ? json_decode($m->{data}) : $m->{data};
}

sub cursor_of { exists $_[0]{id} ? $_[0]{id} : $_[0]{cursor} }

sub get {
	my ($path, $user, $header, $method, $query) = @_;

	$method ||= 'GET';
	$header = $header ? "$header\r\n" : '';
	$query = $query ? "&$query" : '';

	return http("$method $path?user=$user$query HTTP/1.0\r\n"
		. "Host: localhost\r\n$header\r\n");
}

###############################################################################
