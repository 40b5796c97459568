#!/usr/bin/perl

# Tests for Socket.IO 5 over Engine.IO 4, packet by packet.
#
# The stock client is one way to speak it; what is checked here is the protocol
# that all clients rely upon, what a client gets that does not keep to it, and
# that a pid and a cursor give nobody more than is his.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Redis;
use Test::RTBus::SocketIO;

use MIME::Base64 qw/ encode_base64 /;
use Time::HiRes qw/ time /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)
	->has_daemon('redis-server');

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $redis_url = $redis->url();

my $conf = <<"EOC";

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis        $redis_url;
    rtbus_secret_file  %%TESTDIR%%/secret;
    rtbus_allow        job:*;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location /socket.io/ {
            rtbus             socketio;
            rtbus_namespaces  / /chat /admin/x;
            rtbus_subscribe   job:\$arg_job job:\$arg_two;
        }

        location /bare/ {
            rtbus             socketio;
            rtbus_recovery    off;
            rtbus_namespaces  / /chat;
            rtbus_subscribe   job:\$arg_job job:\$arg_two;
        }

        location /chat-only/ {
            rtbus             socketio;
            rtbus_namespaces  /chat;
        }

        location /ping/ {
            rtbus             socketio;
            rtbus_ping        200ms 400ms;
        }

        location /tight/ {
            rtbus               socketio;
            rtbus_subscribe     \$arg_channel;
            rtbus_max_message   1k;
            rtbus_max_channels  2;
            rtbus_message_rate  3r/s;
        }
    }
}

EOC

$t->write_file('secret', "a secret that all nodes have\n");
$t->write_file_expand('nginx.conf', $conf);

# the same namespaces, another secret

my $t2 = Test::Nginx->new();

$t2->write_file('secret', "a secret that is quite another\n");
$t2->write_file_expand('nginx.conf', $conf =~ s/8080/8081/r);

$t->plan(303);

$t->run();
$t2->run();

ok((wait_for { !ref $redis->try_cmd('FCALL_RO', 'rtbus_version', 0) }
	'library'), 'library');

my ($io, $p, $q, $m, @got);

###############################################################################

# the open packet

$io = open_io();

is($io->status(), 101, 'handshake');

my $open = $io->open_packet();

like($open->{sid}, qr/^[\w-]{20}\z/, 'open sid');
is_deeply($open->{upgrades}, [], 'open upgrades');
is($open->{pingInterval}, 25000, 'open pingInterval');
is($open->{pingTimeout}, 20000, 'open pingTimeout');
is($open->{maxPayload}, 65536, 'open maxPayload');
is(join(' ', sort keys %$open),
	'maxPayload pingInterval pingTimeout sid upgrades', 'open members');

$open = open_io(path => '/ping/')->open_packet();

is($open->{pingInterval}, 200, 'pingInterval of rtbus_ping');
is($open->{pingTimeout}, 400, 'pingTimeout of rtbus_ping');

is(open_io(path => '/tight/')->open_packet()->{maxPayload}, 1024,
	'maxPayload of rtbus_max_message');

isnt(open_io()->open_packet()->{sid}, $io->open_packet()->{sid},
	'a sid of its own');

is(open_io(query => 'transport=websocket&EIO=4&b64=1&t=abc')->status(), 101,
	'arguments in any order');
is(open_io(path => '/socket.io')->status(), 404, 'no slash')
	or diag 'the location is /socket.io/';

###############################################################################

# requests that are none; codes and words are those of the reference server

for my $case (
	[ 'EIO 3', 5, 'Unsupported protocol version',
		'EIO=3&transport=websocket' ],
	[ 'EIO 3, polling', 5, 'Unsupported protocol version',
		'EIO=3&transport=polling' ],
	[ 'EIO 44', 5, 'Unsupported protocol version',
		'EIO=44&transport=websocket' ],
	[ 'no EIO', 5, 'Unsupported protocol version',
		'transport=websocket' ],
	[ 'no transport', 0, 'Transport unknown', 'EIO=4' ],
	[ 'other transport', 0, 'Transport unknown',
		'EIO=4&transport=flashsocket' ],
	[ 'a session id', 1, 'Session ID unknown',
		'EIO=4&transport=websocket&sid=abc' ],
)
{
	my ($name, $code, $message, $query) = @$case;

	for my $how ([ 'upgrade' ], [ 'request', omit => [ qw/ Upgrade
		Connection Sec-WebSocket-Key Sec-WebSocket-Version / ] ])
	{
		my ($kind, @omit) = @$how;

		my $io = Test::RTBus::SocketIO->connect(
			path => "/socket.io/?$query", query => '', @omit);

		is($io->status(), 400, "$name, $kind: 400");
		is_deeply(json_decode($io->body()),
			{ code => $code, message => $message },
			"$name, $kind: body");
	}
}

$io = open_io(omit => [ 'Upgrade' ]);
is($io->status(), 400, 'no upgrade: 400');
is($io->header('Content-Type'), 'application/json', 'no upgrade: type');
is_deeply(json_decode($io->body()), { code => 3, message => 'Bad request' },
	'no upgrade: body');

is(open_io(version => 8)->status(), 426, 'version of WebSocket');
is(open_io(origin => 'http://evil.example')->status(), 403, 'foreign origin');

$io = open_io(method => 'POST', headers => { 'Content-Length' => 0 });
is($io->status(), 405, 'POST');
is($io->header('Allow'), 'GET', 'POST allow');

###############################################################################

# CONNECT

$io = open_io();
$p = $io->join_nsp();

is($p->{type}, 0, 'connected');
like($p->{data}{sid}, qr/^[\w-]{20}\z/, 'sid');
isnt($p->{data}{sid}, $io->open_packet()->{sid}, 'sid is not the engine\'s');
like($p->{data}{pid}, qr/^[\w.-]{30,}\z/, 'pid');
is(join(' ', sort keys %{$p->{data}}), 'pid sid', 'nothing else');
like($p->{text}, qr/^40\{/, 'no namespace in the packet');

$q = $io->packet();

is($q->{name}, 'connected', 'event connected');
is($q->{data}[1]{sessionId}, $p->{data}{sid}, 'connected sessionId');
is($q->{data}[1]{userId}, undef, 'connected userId');
cmp_ok(abs($q->{data}[1]{timestamp} / 1000 - time()), '<', 60,
	'connected timestamp');
is(scalar @{$q->{data}}, 3, 'connected has a cursor');

for my $auth ({}, { token => 'x' }, { pid => undef, offset => undef },
	{ pid => 1, offset => [] }, { a => { b => [ 1, { c => 2 } ] } })
{
	my $io = open_io();
	my $text = json_encode($auth);

	is($io->join_nsp('/', $auth)->{type}, 0, "auth $text");
}

$io = open_io();
$io->send_text('40/,{"token":"abc"}');
$p = $io->packet();
is($p->{type}, 0, 'the main namespace in full');
like($p->{text}, qr/^40\{/, 'and in short in the answer');

# what is sent in one piece with it is answered after it

$io = open_io(path => '/socket.io/?job=piece');
$io->send_raw(join '', map { $io->frame(opcode => 1, payload => $_) } '40',
	'421["subscribe",{"channel":"job:piece2"}]',
	'422["unsubscribe",{"channel":"job:piece2"}]');

is(join(' ', map { my $p = $io->packet() || {}; $p->{name} // $p->{ack} // 0 }
	1 .. 4), '0 connected 1 2', 'in one piece');

###############################################################################

# CONNECT_ERROR; the client drops it unless the namespace is in its own words

for my $nsp ('/nope', '/chat/', '/Chat', '/chat?a=b', '/chat?', '/cha',
	'/admin', '/n"q"\\', "/\xc3\xa9", '/[1]', '/' . 'n' x 199)
{
	my $io = open_io();

	$io->send_text("40$nsp,");
	is_deeply(pick($io->packet()), [ 4, $nsp,
		{ message => 'Invalid namespace' } ],
		"no namespace " . substr $nsp, 0, 20);
}

$io = open_io();
$io->send_text('40/nope');
is($io->packet()->{text}, '44/nope,{"message":"Invalid namespace"}',
	'no comma');
$io->send_text('40/nope,{"token":"x"}');
is($io->packet()->{nsp}, '/nope', 'once more');
is($io->join_nsp()->{type}, 0, 'the connection is fine');

$io = open_io(path => '/chat-only/');
is($io->join_nsp()->{type}, 4, 'no main namespace');
is($io->join_nsp('/chat')->{type}, 0, 'but another');

# what may not be joined is an error of the CONNECT, too

$io = open_io(path => '/tight/?channel=user:1');
is_deeply(pick($io->join_nsp()), [ 4, '/', { message => 'forbidden' } ],
	'forbidden channel');

$io = open_io(path => '/tight/?channel=b%20d');
is($io->join_nsp()->{data}{message}, 'bad channel', 'bad channel');

###############################################################################

# events

$io = open_io(path => '/socket.io/?job=ev');
$io->join_nsp();
is($io->wait_name('connected')->{cursor}, 'job:ev@0-0', 'first cursor');

my @pos = map { publish('ev', 'n', $_) } 1 .. 3;

for my $i (1 .. 3) {
	$p = $io->packet();
	is_deeply($p->{data}, [ 'n', $i, "job:ev\@$pos[$i - 1]" ], "event $i");
}

for my $case (
	[ 'object', '"data":{"a":[1,2.50,"\u00e9\ud83d\ude00"],"b":null}',
		'{"a":[1,2.50,"\u00e9\ud83d\ude00"],"b":null}' ],
	[ 'array', '"data":[1,[2]]', '[1,[2]]' ],
	[ 'string', '"data":"x"', '"x"' ],
	[ 'null', '"data":null', 'null' ],
	[ 'nothing', '"x":1', 'null' ],
	[ 'spaces', '"data":{ "a" : 1 }', '{ "a" : 1 }' ],
	[ 'args', '"args":[1,"two",{"three":3}]', '1,"two",{"three":3}' ],
	[ 'one arg', '"args":["one"]', '"one"' ],
)
{
	my ($name, $member, $args) = @$case;

	$redis->publish('job:ev', "{\"event\":\"live:$name\",$member}");
	is($io->packet()->{text},
		"42[\"live:$name\",$args,\"job:ev\@$pos[2]\"]",
		"event with $name");
}

$redis->publish('job:ev', '{"event":"none","args":[]}');
is($io->packet()->{text}, "42[\"none\",\"job:ev\@$pos[2]\"]",
	'event without arguments');

$redis->publish('job:ev', '{"event":"na\"me\u00e9","data":1}');
is($io->packet()->{text}, "42[\"na\\\"me\\u00e9\",1,\"job:ev\@$pos[2]\"]",
	'escaped name');

# lengths around those where the header of a frame grows

for my $len (60 .. 75, 125, 126, 127, 65450 .. 65475, 65535, 65536) {
	push @got, $len;
	$redis->event('job:ev', 'len', 'x' x $len);
}

is_deeply([ map { length $io->packet()->{data}[1] } @got ], \@got,
	'events of all lengths');

###############################################################################

# what a client sends

$io = open_io();
$io->join_nsp();
$io->emit('subscribe', { channel => 'job:in' }, { ack => 0 });
is_deeply($io->wait_ack(0)->{data}, [ { ok => JSON::PP::true,
	channel => 'job:in', position => '0-0' } ], 'ack 0');

$m = publish('in', 'n', 1);
is($io->wait_name('n')->{cursor}, "job:in\@$m", 'subscribed');

$io->emit('whatever', { ack => 9007199254740991 });
is($io->wait_ack('9007199254740991')->{text},
	'439007199254740991[{"ok":false,"error":"unknown event"}]',
	'the largest ack');

$io->emit('whatever', 1, 2, 3, {});
is_deeply($io->wait_name('error')->{data}[1], { ok => JSON::PP::false,
	error => 'unknown event' }, 'no ack');

$io->emit('subscribe', { channel => 'user:1' }, { ack => 2 });
is($io->wait_ack(2)->{data}[0]{error}, 'forbidden', 'forbidden');

$io->emit('subscribe', { ack => 3 });
is($io->wait_ack(3)->{data}[0]{error}, 'bad channel', 'no data');

$io->emit('subscribe:job', 'sj', {});
is_deeply($io->wait_name('subscribed')->{data}[1], { jobId => 'sj' },
	'subscribe:job');
$io->emit('unsubscribe:job', 'sj', { ack => 4 });
is_deeply($io->wait_name('unsubscribed')->{data}[1], { jobId => 'sj' },
	'unsubscribe:job');
is($io->wait_ack(4)->{data}[0]{ok}, JSON::PP::true, 'unsubscribe:job ack');

publish('rs', 'n', $_) for 1 .. 3;
$io->emit('reconnect:sync', { jobId => 'rs', lastSequence => 1 }, {});
is_deeply([ map { $io->wait_name('n')->{data}[1] } 1, 2 ], [ 2, 3 ],
	'reconnect:sync');
is_deeply($io->wait_name('sync:complete')->{data}[1], { jobId => 'rs',
	replayed => 2, lastSequence => 3, complete => JSON::PP::true },
	'sync:complete');

$io->send_text("42[\"subscribe\" , {\"channel\":\"job:sp\"}\n]");
$io->emit('unsubscribe', { channel => 'job:sp' }, { ack => 5 });
is($io->wait_ack(5)->{data}[0]{ok}, JSON::PP::true, 'spaces');

$io->send_text('43' . '7[1,2]');
$io->send_text('6');
$io->send_text('3');
is($io->join_nsp('/chat')->{type}, 0,
	'an ack, a noop and a pong that nobody asked for');

# the cursor is in events alone: one says so before each answer after which it
# has other channels than before, unless another event has brought it already

$io = open_io(path => '/socket.io/?job=cur');
$io->join_nsp();
$io->wait_name('connected');

publish('cur3', 'n', 1);

for my $case (
	[ 'joined', [ 'subscribe', { channel => 'job:cur2' } ],
		'sync:cursor ack', 'cur cur2' ],
	[ 'joined before', [ 'subscribe', { channel => 'job:cur2' } ], 'ack' ],
	[ 'nothing missed', [ 'subscribe', { channel => 'job:cur4',
		after => '0-0' } ], 'sync:cursor ack', 'cur cur2 cur4' ],
	[ 'missed', [ 'subscribe', { channel => 'job:cur3',
		after => '0-0' } ], 'n ack', 'cur cur2 cur3 cur4' ],
	[ 'left', [ 'unsubscribe', { channel => 'job:cur2' } ],
		'sync:cursor ack', 'cur cur3 cur4' ],
	[ 'state', [ 'subscribe', { channel => 'job:cur2', state => \1 } ],
		'state ack', 'cur cur2 cur3 cur4' ],
	[ 'job left', [ 'unsubscribe:job', 'cur2' ], 'unsubscribed ack',
		'cur cur3 cur4' ],
	[ 'job', [ 'subscribe:job', 'cur2' ], 'subscribed ack',
		'cur cur2 cur3 cur4' ],
	[ 'not allowed', [ 'subscribe', { channel => 'user:1' } ], 'ack' ],
	[ 'all left', [ 'unsubscribe', { channel => 'job:cur' } ],
		'sync:cursor ack', 'cur2 cur3 cur4' ],
)
{
	my ($name, $event, $order, $channels) = @$case;
	my (@order, $cursor);

	$io->emit(@$event, { ack => 77 });

	while ($p = $io->packet()) {
		push @order, $p->{name} || 'ack';
		last if $p->{type} == 3;

		$cursor = $p->{cursor};
	}

	is("@order", $order, "cursor: $name");
	is(join(' ', map { s/^job://r } sort keys %{places($cursor)}),
		$channels, "cursor: $name, its channels") if $channels;
}

$io->emit('subscribe', { channel => 'job:cur5' }, {});
$p = $io->wait_name('sync:cursor');
is_deeply($p->{data}[1], { channel => 'job:cur5' }, 'cursor: no ack');

###############################################################################

# namespaces are sockets of their own

$io = open_io(path => '/socket.io/?job=ns');

my %sid = map { $_ => $io->join_nsp($_)->{data} } '/', '/chat', '/admin/x';

is(scalar(keys %{{ map { $_->{sid} => 1 } values %sid }}), 3, 'three sids');
is(scalar(keys %{{ map { $_->{pid} => 1 } values %sid }}), 3, 'three pids');

for my $nsp (sort keys %sid) {
	$p = $io->wait_name('connected', $nsp);
	is($p->{data}[1]{sessionId}, $sid{$nsp}{sid}, "$nsp connected");
}

$io->emit('subscribe', { channel => 'job:only' }, { ack => 1,
	nsp => '/chat' });
$p = $io->wait_ack(1);
is($p->{nsp}, '/chat', 'ack to the namespace that asked');
is($io->packet()->{nsp}, '/chat', 'and the cursor as well');

my $only = publish('only', 'o', 1);
my $all = publish('ns', 'a', 2);

@got = map { $io->packet() } 1 .. 4;

is_deeply([ map { "$_->{nsp} $_->{name}" } grep { $_->{name} eq 'o' } @got ],
	[ '/chat o' ], 'event of one');
is_deeply([ sort map { "$_->{nsp} $_->{name}" }
	grep { $_->{name} eq 'a' } @got ],
	[ '/ a', '/admin/x a', '/chat a' ], 'event of all');

my %cursor = map { $_->{nsp} => $_->{cursor} }
	grep { $_->{name} eq 'a' } @got;

is($cursor{'/'}, "job:ns\@$all", 'cursor of one');
is_deeply(places($cursor{'/chat'}),
	{ 'job:ns' => $all, 'job:only' => $only }, 'cursor of the other');

# DISCONNECT ends one of them

$io->leave('/chat');
publish('only', 'o', 2);
publish('ns', 'a', 3);

@got = ($io->packet(), $io->packet(), $io->settled());
is_deeply([ sort map { "$_->{nsp} $_->{data}[1]" } @got ],
	[ '/ 3', '/admin/x 3' ], 'left');

$p = $io->join_nsp('/chat');
is($p->{type}, 0, 'and joined again');
isnt($p->{data}{sid}, $sid{'/chat'}{sid}, 'with another sid');

$io->leave($_) for '/', '/chat', '/admin/x';
is($io->join_nsp()->{type}, 0, 'all left, joined again');

$io->send_text('1');
is_deeply([ ($io->read_close())[0] ], [ 1000 ], 'close of the engine');

# two clients do not hear each other

my $one = open_io(path => '/socket.io/?job=c1');
my $two = open_io(path => '/socket.io/?job=c2');

$_->join_nsp() && $_->wait_name('connected') for $one, $two;

publish('c1', 'n', 1);
publish('c2', 'n', 2);

is_deeply([ map { $_->packet()->{data}[1] } $one, $two ], [ 1, 2 ],
	'each its own');
is_deeply([ map { $_->settled() } $one, $two ], [], 'and nothing else');

###############################################################################

# binary events

my @bytes = (join('', map { chr } 0 .. 255), '', 'x' x 70000);
my @base64 = map { encode_base64($_, '') } @bytes;

$io = open_io(path => '/socket.io/?job=bin&two=bin2');
$io->join_nsp();
$io->wait_name('connected');

$redis->event('job:bin', 'file', { name => 'a', parts => [ map {
	{ _placeholder => JSON::PP::true, num => $_ } } 0 .. 2 ] },
	attachments => \@base64);

$p = $io->packet();
like($p->{text}, qr/^453-\["file",/, 'binary event');
is_deeply($p->{attachments}, \@bytes, 'attachments');
is_deeply($p->{data}[1]{parts}[2], { _placeholder => JSON::PP::true,
	num => 2 }, 'placeholder');
is_deeply(places($p->{cursor}), { 'job:bin' => '0-0', 'job:bin2' => '0-0' },
	'cursor of a binary event');

$redis->publish('job:bin2', json_encode({ event => 'args', args => [ 1,
	{ _placeholder => JSON::PP::true, num => 0 } ],
	attachments => [ $base64[0] ] }));
$p = $io->packet();
like($p->{text}, qr/^451-\["args",1,\{/, 'binary event with args');
is_deeply($p->{attachments}, [ $bytes[0] ], 'attachment of args');

$redis->event('job:bin', 'plain', 1, attachments => []);
is($io->packet()->{type}, 2, 'no attachments, no binary event');

# durable ones, of all lengths, with the cursor of two channels, live and again

my @len = (0, 1, 2, 3, 30 .. 60, 100 .. 130, 65400 .. 65440);
my @sent;

my $live = $io;

%sid = connect_of('/socket.io/?job=bin&two=bin2');

for my $len (@len) {
	my $job = $len % 2 ? 'bin' : 'bin2';
	my $id = $redis->cmd('FCALL', 'rtbus_publish', 1, "job:$job", 'b',
		json_encode({ _placeholder => JSON::PP::true, num => 0,
			pad => 'p' x $len }),
		'ATTACHMENTS', json_encode([ encode_base64('b' x $len, '') ]));

	push @sent, [ $job, $id, $len, $live->packet() ];
}

$io = open_io(path => '/socket.io/?job=bin&two=bin2');
$io->join_nsp('/', { pid => $sid{pid}, offset => $sid{cursor} });
is($io->packet()->{data}[1]{sessionId}, $sid{sid}, 'recovered');

# what is replayed is in order for each channel, not over both

my %queue = map { my $job = $_; ($job => [ grep { $_->[0] eq $job } @sent ]) }
	qw/ bin bin2 /;
my @again;

for (@sent) {
	my $p = $io->packet() or last;
	my $job = length($p->{data}[1]{pad}) % 2 ? 'bin' : 'bin2';

	push @again, [ @{shift @{$queue{$job}}}[0 .. 2], $p ];
}

for my $how ([ 'live', @sent ], [ 'replayed', @again ]) {
	my ($name, @list) = @$how;
	my %at = ('job:bin' => '0-0', 'job:bin2' => '0-0');
	my @wrong;

	for my $event (@list) {
		my ($job, $id, $len, $p) = @$event;

		$at{"job:$job"} = $id;

		push @wrong, $len
			if !$p || $p->{attachments}[0] ne 'b' x $len
			|| length $p->{data}[1]{pad} != $len
			|| json_encode(places($p->{cursor}))
				ne json_encode(\%at);
	}

	is(scalar @list, scalar @len, "binary events, $name");
	is("@wrong", '', "and all of them right, $name");
}

# what is not base64 is delivered to nobody, or empty; the stream goes on

$redis->event('job:bin', 'bad', { _placeholder => JSON::PP::true, num => 0 },
	attachments => [ '!!!' ]);
$redis->event('job:bin', 'good', 1);
$p = $io->wait_name('good');
is($p->{data}[1], 1, 'after an attachment that is not base64');

# from clients: text and base64 in a text frame

$io = open_io();
$io->join_nsp();

$io->emit('subscribe', { channel => 'job:cb', file =>
	{ _placeholder => JSON::PP::true, num => 0 } },
	{ ack => 1, attachments => [ $bytes[0] ] });
is($io->wait_ack(1)->{data}[0]{ok}, JSON::PP::true, 'binary from a client');

$io->emit('whatever', [ 1, 2 ], { ack => 2,
	attachments => [ '', 'x' x 30000, 'y' ] });
is($io->wait_ack(2)->{data}[0]{error}, 'unknown event',
	'three attachments');

$io->send_text('451-3["whatever",{"_placeholder":true,"num":0}]');
$io->send_text('bAAEC');
is($io->wait_ack(3)->{data}[0]{error}, 'unknown event',
	'attachment in base64');

$io->send_text('451-["whatever",{"_placeholder":true,"num":0}]');
$io->send_ping('between');
$io->send_text('3');
$io->send_binary('z');
is($io->wait_name('error')->{data}[1]{error}, 'unknown event',
	'control packets in between');

$io->send_text('461-5[{"_placeholder":true,"num":0}]');
$io->send_binary('z');
is($io->join_nsp('/chat')->{type}, 0, 'BINARY_ACK that nobody asked for');

$io->emit('whatever', { ack => 6, nsp => '/chat', attachments => [ 'q' ] });
is($io->wait_ack(6)->{nsp}, '/chat', 'binary in a namespace');

# an end in the middle of one

$io->send_text('452-["whatever"]');
$io->send_binary('z');
$io->drop();

###############################################################################

# malformed packets end the connection, and only that one

my $watch = open_io(path => '/socket.io/?job=watch');
$watch->join_nsp();
$watch->wait_name('connected');

for my $case (
	# Engine.IO
	[ 'empty message', '' ],
	[ 'unknown engine packet', '7' ],
	[ 'letter', 'x' ],
	[ 'open from a client', '0' ],
	[ 'ping from a client', '2' ],
	[ 'probe', '2probe' ],
	[ 'upgrade', '5' ],
	[ 'not base64', 'b!!!' ],
	[ 'base64 without a packet', 'bAAEC' ],
	[ 'binary without a packet', \'x' ],
	[ 'empty binary without a packet', \'' ],

	# Socket.IO
	[ 'empty packet', '4' ],
	[ 'unknown packet', '47' ],
	[ 'packet of a letter', '4x' ],
	[ 'event of nothing', '42' ],
	[ 'event with an object', '42{"a":1}' ],
	[ 'event with a string', '42"a"' ],
	[ 'empty event', '42[]' ],
	[ 'null for a name', '42[null,1]' ],
	[ 'half an event', '42["a"' ],
	[ 'more than an event', '42["a"]x' ],
	[ 'two events', '42["a"]["b"]' ],
	[ 'bad JSON', '42["a",{"b":}]' ],
	[ 'bare words', '42["a",undefined]' ],
	[ 'ack id too large', '429007199254740992["a"]' ],
	[ 'ack id much too large', '42' . '9' x 40 . '["a"]' ],
	[ 'negative ack id', '42-1["a"]' ],
	[ 'ack without id', '43["a"]' ],
	[ 'ack with an object', '431{"a":1}' ],
	[ 'connect error from a client', '44{"message":"x"}' ],
	[ 'disconnect with a payload', '41{"a":1}' ],
	[ 'disconnect with an ack id', '411' ],
	[ 'second connect', '40' ],
	[ 'second connect with auth', '40{"a":1}' ],
	[ 'connect with an array', '40/chat,[]' ],
	[ 'connect with a string', '40/chat,"x"' ],
	[ 'connect with bad JSON', '40/chat,{"a":}' ],
	[ 'connect with an ack id', '40/chat,1{"a":1}' ],
	[ 'control character in a namespace', "40/ch\x01at," ],
	[ 'long namespace', '40/' . 'n' x 200 . ',' ],
	[ 'event without a connect', '42/chat,["a"]' ],
	[ 'event in no namespace', '42/nope,["a"]' ],
	[ 'disconnect without a connect', '41/chat,' ],
	[ 'ack without a connect', '43/chat,1[]' ],

	# binary
	[ 'binary event without a number', '45["a"]' ],
	[ 'binary event with none', '450-["a"]' ],
	[ 'binary event without a dash', '451["a"]' ],
	[ 'too many attachments', '4565-["a"]' ],
	[ 'far too many attachments', '45' . '9' x 30 . '-["a"]' ],
	[ 'attachments of an event', '421-["a"]' ],
	[ 'packet in place of an attachment', '451-["a"]', '42["b"]' ],
	[ 'binary event, bad JSON', '451-["a",}]', \'x' ],
	[ 'binary event without a connect', '451-/chat,["a"]', \'x' ],
	[ 'one attachment too many', '451-["unknown"]', \'x', \'y' ],
	[ 'binary ack without id', '461-["a"]', \'x' ],

	# names that a stock client would take for its own
	[ 'reserved name', '42["disconnect"]' ],
	[ 'another reserved name', '42["connect_error",1]' ],
)
{
	my ($name, @send) = @$case;

	my $io = open_io();
	$io->join_nsp();

	for my $s (@send) {
		ref $s ? $io->send_binary($$s) : $io->send_text($s);
	}

	is(($io->read_close())[0], 1002, $name);
}

# before any CONNECT

for my $text ('42["a"]', '41', '431[]') {
	my $io = open_io();

	$io->send_text($text);
	is(($io->read_close())[0], 1002, "$text first");
}

$io = open_io();
$io->join_nsp();
$io->send_text("42[\"\xff\"]");
is(($io->read_close())[0], 1007, 'not UTF-8');

# too much

$io = open_io(path => '/tight/');
$io->join_nsp();
$io->send_text('42["a","' . 'x' x 1020 . '"]');
is(($io->read_close())[0], 1009, 'too long a message');

$io = open_io(path => '/tight/');
$io->join_nsp();
$io->send_text('453-["a"]');
$io->send_binary('x' x 600) for 1, 2;
is(($io->read_close())[0], 1009, 'too long in pieces');

$io = open_io(path => '/tight/?channel=job:t1');
$io->join_nsp();
$io->emit('subscribe', { channel => 'job:t2' }, { ack => 1 });
$io->emit('subscribe', { channel => 'job:t3' }, { ack => 2 });
is($io->wait_ack(1)->{data}[0]{ok}, JSON::PP::true, 'two channels');
is($io->wait_ack(2)->{data}[0]{error}, 'too many channels',
	'three channels');
$io->emit('subscribe', { channel => 'job:t1' }, { ack => $_ }) for 3 .. 9;
@got = map { my $d = $io->wait_ack($_)->{data}[0]; $d->{error} || 'ok' } 3 .. 9;
ok((grep { $_ eq 'rate limited' } @got), 'too fast') or diag "@got";

$io = open_io();
$io->send_text("40/x$_,") for 1 .. 1001;
is(($io->read_close(30))[0], 1002, 'too many CONNECT packets');

publish('watch', 'n', 1);
is($watch->wait_name('n')->{data}[1], 1, 'others are as they were');

###############################################################################

# pings of the server

$io = open_io(path => '/ping/');
$io->join_nsp();
$p = $io->wait_packet(1.5, sub { $io->engine_pings() >= 3 });
cmp_ok($io->engine_pings(), '>=', 3, 'pings that are answered');
ok($io->is_open(), 'keep it open');

my $start = time();

$io = open_io(path => '/ping/', auto_ping => 0);
$io->join_nsp();
is(($io->read_close())[0], 1011, 'a ping that is not answered');
cmp_ok(time() - $start, '>', 0.55, 'after interval and timeout');
is(scalar(grep { defined $_->{message} && $_->{message} eq '2' }
	@{$io->{queue}}), 1, 'one ping');
error_log_like($t, qr/\[info\] .*ping timeout/, 'ping timeout is logged');

# a pong of WebSocket, or another packet, is none of the engine

$io = open_io(path => '/ping/', auto_ping => 0);
$io->join_nsp();
wait_for { $io->send_pong('x'); $io->send_text('6');
	$io->wait_eof(0.05) } 'timeout';
is(($io->read_close())[0], 1011, 'a pong that is none');

###############################################################################

# the bare protocol

$io = open_io(path => '/bare/?job=bare&two=bare2');
$p = $io->join_nsp();
is(join(' ', keys %{$p->{data}}), 'sid', 'no pid');

$io->emit('subscribe', { channel => 'job:x' }, { ack => 1 });
is($io->packet()->{type}, 3, 'no event connected');

publish('bare', 'n', { a => 1 });
is($io->packet()->{text}, '42["n",{"a":1}]', 'no cursor');
$redis->event('job:bare', 'live', 'text');
is($io->packet()->{text}, '42["live","text"]', 'no cursor, live');
$redis->event('job:bare', 'b', { _placeholder => JSON::PP::true, num => 0 },
	attachments => [ $base64[0] ]);
$p = $io->packet();
is($p->{text}, '451-["b",{"_placeholder":true,"num":0}]',
	'no cursor, binary');
is($p->{attachments}[0], $bytes[0], 'attachment');
$io->emit('whatever', {});
is($io->packet()->{text}, '42["error",{"ok":false,"error":"unknown event"}]',
	'no cursor, own event');

# where there is no recovery, a pid gets none

%sid = connect_of('/socket.io/?job=bare');
$io = open_io(path => '/bare/?job=bare');
$p = $io->join_nsp('/', { pid => $sid{pid}, offset => 'job:bare@0-0' });
isnt($p->{data}{sid}, $sid{sid}, 'no recovery');
is_deeply([ $io->settled() ], [], 'and no replay');

###############################################################################

# recovery

my @r = map { publish('rec', 'n', $_) } 1 .. 5;

%sid = connect_of('/socket.io/?job=rec');
is($sid{cursor}, "job:rec\@$r[4]", 'cursor before the first event');

my $offset = "job:rec\@$r[1]";

$io = open_io(path => '/socket.io/?job=rec');
$p = $io->join_nsp('/', { pid => $sid{pid}, offset => $offset });

is($p->{data}{sid}, $sid{sid}, 'the old sid');
is($p->{data}{pid}, $sid{pid}, 'the old pid');
is($io->packet()->{cursor}, $offset, 'connected, at the offset');
is_deeply([ map { $io->packet()->{data} } 1 .. 3 ],
	[ map { [ 'n', $_, "job:rec\@$r[$_ - 1]" ] } 3 .. 5 ],
	'what was missed');
is_deeply([ $io->settled() ], [], 'and no more');

# the same pid twice at a time is no harm: nothing is kept here

is(recovered(%sid, offset => $offset), 1, 'once more');

# another node of the same Redis, of another secret

$io = open_io(path => '/socket.io/?job=rec', port => port(8081));
$p = $io->join_nsp('/', { pid => $sid{pid}, offset => $offset });
isnt($p->{data}{sid}, $sid{sid}, 'another secret');
isnt($p->{data}{pid}, $sid{pid}, 'another pid');
is($io->packet()->{cursor}, "job:rec\@$r[4]", 'from now on');

my ($head, $mac) = $sid{pid} =~ /^(.*)\.(.*)\z/;
my %other = connect_of('/socket.io/?job=rec');
my ($head2, $mac2) = $other{pid} =~ /^(.*)\.(.*)\z/;

for my $case (
	[ 'mac of another', "$head.$mac2" ],
	[ 'sid of another', "$head2.$mac" ],
	[ 'no mac', $head ],
	[ 'empty mac', "$head." ],
	[ 'short mac', substr $sid{pid}, 0, -1 ],
	[ 'long mac', "$sid{pid}A" ],
	[ 'sid and mac turned round', "$mac.$head" ],
	[ 'zeros', "\0" x length $sid{pid} ],
	[ 'one bit', flip($sid{pid}) ],
	[ 'one bit of the sid', flip($sid{pid}, 3) ],
	[ 'empty', '' ],
	[ 'a sid', $sid{sid} ],
	[ 'long', 'x' x 20000 ],
	[ 'number', 1 ],
	[ 'null', undef ],
	[ 'object', { pid => $sid{pid} } ],
	[ 'array', [ $sid{pid} ] ],
)
{
	my ($name, $pid) = @$case;

	is(recovered(%sid, pid => $pid, offset => $offset), 0, "pid: $name");
}

# a pid is one namespace's

$io = open_io(path => '/socket.io/?job=rec');
$p = $io->join_nsp('/chat', { pid => $sid{pid}, offset => $offset });
isnt($p->{data}{sid}, $sid{sid}, 'pid of another namespace');

for my $case (
	[ 'none' ],
	[ 'null', undef ],
	[ 'empty', '' ],
	[ 'number', 5 ],
	[ 'object', { a => 1 } ],
	[ 'words', 'hello' ],
	[ 'no position', 'job:rec' ],
	[ 'half a position', 'job:rec@17' ],
	[ 'comma', "$offset," ],
	[ 'channel twice', "$offset,$offset" ],
	[ 'zero byte', "$offset\0" ],
	[ 'too many channels', join ',', map { "job:$_\@0-0" } 1 .. 65 ],
	[ 'long', 'x' x 20000 ],
)
{
	my ($name, @offset) = @$case;

	my $io = open_io(path => '/socket.io/?job=rec');
	my $p = $io->join_nsp('/', { pid => $sid{pid},
		@offset ? (offset => $offset[0]) : () });

	my @is = ($p->{data}{sid} eq $sid{sid} ? 'old' : 'new',
		$p->{data}{pid} eq $sid{pid} ? 'old' : 'new',
		$io->packet()->{cursor});

	is_deeply(\@is, [ 'new', 'new', "job:rec\@$r[4]" ], "offset: $name");
}

# a cursor is not a key, and what cannot be recovered is told

$io = open_io(path => '/socket.io/?job=rec');
$p = $io->join_nsp('/', { pid => $sid{pid},
	offset => "$offset,user:1\@5-5" });
is_deeply($io->wait_name('sync:refused')->{data}[1], { channel => 'user:1',
	error => 'forbidden' }, 'forbidden channel of the offset');
is_deeply([ map { $io->wait_name('n')->{data}[1] } 3 .. 5 ], [ 3 .. 5 ],
	'the others are recovered');

$io = open_io(path => '/socket.io/?job=rec');
$io->join_nsp('/', { pid => $sid{pid}, offset => 'job:rec@5-5' });
$p = $io->wait_name('sync:gap');
is($p->{data}[1]{channel}, 'job:rec', 'foreign position: sync:gap');

# a channel that was joined later, and one that is configured

$io = open_io();
my %late = %{$io->join_nsp()->{data}};
$io->emit('subscribe', { channel => 'job:rec' }, { ack => 1 });
$io->wait_ack(1);
$io->emit('subscribe', { channel => 'job:rec2' }, { ack => 2 });
$io->wait_ack(2);
$io->emit('x', {});
$late{offset} = $io->wait_name('error')->{cursor};
$io->drop();

push @r, publish('rec', 'n', 6);
my $r2 = publish('rec2', 'n', 7);

$io = open_io();
$p = $io->join_nsp('/', { pid => $late{pid}, offset => $late{offset} });
is($p->{data}{sid}, $late{sid}, 'joined later, recovered');
@got = map { $io->wait_name('n') } 1, 2;
is_deeply([ sort map { $_->{data}[1] } @got ], [ 6, 7 ],
	'joined later, missed');
is_deeply(places($got[-1]{cursor}), { 'job:rec' => $r[5],
	'job:rec2' => $r2 }, 'joined later, cursor');

###############################################################################

sub open_io {
	my (%o) = @_;

	return Test::RTBus::SocketIO->connect(%o);
}

sub publish {
	my ($job, $event, $data) = @_;

	return $redis->cmd('FCALL', 'rtbus_publish', 1, "job:$job", $event,
		json_encode($data));
}

# sid, pid and cursor of a client that has come and gone

sub connect_of {
	my ($path) = @_;

	my $io = open_io(path => $path);
	my $p = $io->join_nsp();
	my $cursor = $io->wait_name('connected')->{cursor};

	$io->drop();

	return (%{$p->{data}}, cursor => $cursor);
}

sub recovered {
	my (%sid) = @_;

	my $io = open_io(path => '/socket.io/?job=rec');
	my $p = $io->join_nsp('/', { pid => $sid{pid},
		offset => $sid{offset} });

	return -1 if $p->{type} != 0;
	return 1 if $p->{data}{sid} eq $sid{sid}
		&& $p->{data}{pid} eq $sid{pid};
	return -2 if $p->{data}{sid} eq $sid{sid};

	# and from now on

	return $io->packet()->{cursor} eq "job:rec\@$r[4]" ? 0 : -3;
}

sub flip {
	my ($pid, $at) = @_;

	$at = length($pid) - 2 unless defined $at;
	substr($pid, $at, 1) = substr($pid, $at, 1) eq 'A' ? 'B' : 'A';

	return $pid;
}

sub pick {
	my ($p) = @_;

	utf8::encode(my $nsp = $p->{nsp}) if utf8::is_utf8($p->{nsp});

	return [ @$p{qw/ type nsp data /} ];
}

sub places {
	my ($cursor) = @_;

	return { map { split /@/ } split /,/, $cursor };
}

###############################################################################
