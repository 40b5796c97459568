#!/usr/bin/perl

# Tests for commands over Socket.IO: all arguments, binary both ways, namespaces;
# and for "@connect" and "@disconnect", which nobody sends but the module.
#
# Whatever way a client goes, producers that have asked hear of it once; and what
# is its secret they do not hear at all.

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

use Digest::SHA qw/ hmac_sha256 /;
use MIME::Base64 qw/ encode_base64 encode_base64url /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server')
	->plan(78);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $redis_url = $redis->url();

$t->write_file('jwt.key', 'the key');
$t->write_file_expand('nginx.conf', <<"EOC");

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis    $redis_url;
    rtbus_allow    job:*;
    rtbus_drain    500ms;

    rtbus_command  ask    reply=30s;
    rtbus_command  plain;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        rtbus_jwt_key  jwt.key;

        location /socket.io/ {
            rtbus             socketio;
            rtbus_namespaces  / /chat;
            rtbus_subscribe   job:\$arg_job;
        }

        location /bare/ {
            rtbus           socketio;
            rtbus_recovery  off;
        }

        location /none/ {
            rtbus          socketio;
            rtbus_command  other;
        }

        location /small/ {
            rtbus              socketio;
            rtbus_max_message  1000;
        }

        location /hello/ {
            rtbus              socketio;
            rtbus_namespaces   / /chat;
            rtbus_command      \@connect     stream=hello;
            rtbus_command      \@disconnect  stream=bye;
            rtbus_command      *            stream=star;
        }

        location /ping/ {
            rtbus              socketio;
            rtbus_command      \@connect     stream=hello;
            rtbus_command      \@disconnect  stream=bye;
            rtbus_ping         200ms 200ms;
        }

        location /leave/ {
            rtbus              socketio;
            rtbus_require_user on;
            rtbus_command      \@connect     stream=hello;
            rtbus_command      \@disconnect  stream=bye;
        }

        location /star/ {
            rtbus              socketio;
            rtbus_command      *  stream=star;
        }

        location /plain {
            rtbus              websocket sse;
            rtbus_subscribe    \$arg_channel;
            rtbus_command      \@connect     stream=hello;
            rtbus_command      \@disconnect  stream=bye;
        }
    }

    server {
        listen       127.0.0.1:8081;
        server_name  localhost;

        location /hello/ {
            rtbus              socketio;
            rtbus_command      \@connect     stream=hello;
            rtbus_command      \@disconnect  stream=bye;
        }
    }
}

EOC

$t->run();
wait_redis($t);

wait_for { !ref $redis->try_cmd('FCALL_RO', 'rtbus_version', 0) } 'library';
wait_for { @{$redis->cmd('PUBSUB', 'CHANNELS', 'rtbus:worker:*')} == 1 }
	'mailbox';

###############################################################################

my $n = 0;
my $main = 'rtbus:commands';

my $io = Test::RTBus::SocketIO->connect(path => '/socket.io/?job=1');
my $sid = $io->join_nsp('/')->{data}{sid};
my $chat = $io->join_nsp('/chat', { token => token('ann') })->{data}{sid};
my $cursor = $io->wait_name('connected', '/')->{cursor};
my ($c, $p);

# arguments

for my $case (
	[ '[]', 'null' ],
	[ '[{"a":1}]', '{"a":1}', { a => 1 } ],
	[ '[1,"two",[3],null]', '1', 1, 'two', [ 3 ], undef ],
	[ '[' . join(',', 1 .. 40) . ']', 1, 1 .. 40 ],
)
{
	my ($args, $data, @args) = @$case;

	$io->emit('plain', @args, { ack => ++$n });
	$p = $io->wait_ack($n);
	$c = $redis->take($main);

	is_deeply($p->{data}, [ { ok => JSON::PP::true, id => $c->{id} } ],
		'acknowledged');
	is($c->{args}, @args != 1 ? $args : undef, 'args, unless it is one');
	is($c->{data}, $data, 'data');
}

is($c->{sid}, $sid, 'sid');
is($c->{nsp}, '/', 'nsp');
is($c->{user}, '', 'nobody');

$io->send_text("42" . ++$n . "[ \"plain\" , 1 ,\t{ } ]\n ");
ok($io->wait_ack($n), 'white space');
is($redis->take($main)->{args}, "[1 ,\t{ } ]", 'args as they are');

$io->emit('plain', 'chat', { ack => 1, nsp => '/chat' });
$p = $io->wait_ack(1, '/chat');
$c = $redis->take($main);

is($c->{id}, $p->{data}[0]{id}, 'in a namespace');
is($c->{nsp}, '/chat', 'its nsp');
is($c->{sid}, $chat, 'its sid');
is($c->{user}, 'ann', 'its user');

# binary to producers

my @bytes = ("\x00\xff\x01", '', 'x' x 5000, join '', map { chr } 0 .. 255);
my $holder = sub { { _placeholder => JSON::PP::true, num => $_[0] } };

$io->emit('plain', { f => $holder->(0) }, map({ $holder->($_) } 1 .. 3),
	{ ack => ++$n, attachments => \@bytes });
ok($io->wait_ack($n)->{data}[0]{ok}, 'binary');

$c = $redis->take($main);
is($c->{attachments}, json_encode([ map { encode_base64($_, '') } @bytes ]),
	'attachments in base64');
is($c->{data}, '{"f":{"_placeholder":true,"num":0}}', 'placeholder');

$io->emit('plain', 1, { ack => ++$n });
$io->wait_ack($n);
is($redis->take($main)->{attachments}, undef, 'none in the next one');

# binary that nobody can be given goes to no producer, and the session goes on

my $length = $redis->cmd('XLEN', $main);

for my $case (
	[ 'bad placeholder', [ $holder->(1) ], [ 'x' ] ],
	[ 'bad placeholder', [ { a => [ $holder->(-1) ] } ], [ 'x' ] ],
	[ 'too many attachments', [ 1 ], [ ('x') x 11 ] ],
)
{
	my ($error, $args, $attachments) = @$case;

	$io->emit('plain', @$args, { ack => ++$n, attachments => $attachments });
	is_deeply($io->wait_ack($n)->{data}, [ { ok => JSON::PP::false,
		error => $error } ], $error);
}

is($redis->cmd('XLEN', $main), $length, 'none of them sent');

my $small = Test::RTBus::SocketIO->connect(path => '/small/');
$small->join_nsp('/');
$small->emit('plain', $holder->(0), { attachments => [ 'x' x 900 ], ack => 1 });
ok($small->wait_ack(1), 'as much as a message may have');
$small->emit('plain', $holder->(0), $holder->(1),
	{ attachments => [ 'x' x 500, 'x' x 500 ] });
is(($small->read_close())[0], 1009, 'not more, in all');
$redis->take($main);

# binary from producers

$io->emit('ask', { ack => ++$n });
$c = $redis->take($main);
$redis->answer($c, { data => [ 1, $holder->(0), 'x', $holder->(1) ],
	attachments => [ map { encode_base64($_, '') } @bytes[0, 3] ] });
$p = $io->wait_ack($n);
is($p->{type}, 6, 'binary ack');
is_deeply($p->{data}, [ 1, $holder->(0), 'x', $holder->(1) ], 'arguments');
is_deeply($p->{attachments}, [ @bytes[0, 3] ], 'attachments');

$io->emit('ask', { ack => 0, nsp => '/chat' });
$redis->answer($redis->take($main), { data => [] });
is_deeply($io->wait_ack(0, '/chat')->{data}, [], 'no arguments');

for my $case ([ { data => 1 }, [ 1 ] ], [ {}, [] ], [ { data => undef }, [ undef ] ],
	[ { data => [ 1, 2, 3 ] }, [ 1, 2, 3 ] ])
{
	$io->emit('ask', { ack => ++$n });
	$redis->answer($redis->take($main), $case->[0]);
	is_deeply($io->wait_ack($n)->{data}, $case->[1], 'answer');
}

# events for one socket

$redis->publish($c->{reply}, { sid => $sid, event => 'to:you', data => 'main' });
$redis->publish($c->{reply}, { sid => $chat, event => 'to:you', args => [ 1, 2 ] });

is_deeply($io->wait_name('to:you', '/')->{data}, [ 'to:you', 'main', $cursor ],
	'event, with the cursor');
is_deeply($io->wait_name('to:you', '/chat')->{data}[2], 2, 'in a namespace');

$redis->publish($c->{reply}, { sid => $sid, event => 'to:you',
	args => [ $holder->(0) ], attachments => [ encode_base64('abc', '') ] });
$p = $io->wait_name('to:you');
is_deeply($p->{attachments}, [ 'abc' ], 'binary event');
is($p->{cursor}, $cursor, 'with the cursor');

my $bare = Test::RTBus::SocketIO->connect(path => '/bare/');
my $bare_sid = $bare->join_nsp('/')->{data}{sid};
$bare->emit('plain', { ack => 1 });
$bare->wait_ack(1);
$c = $redis->take($main);
is($c->{sid}, $bare_sid, 'sid without recovery');
$redis->publish($c->{reply}, { sid => $bare_sid, event => 'to:you', data => 1 });
is_deeply($bare->wait_name('to:you')->{data}, [ 'to:you', 1 ],
	'event without a cursor');

my $none = Test::RTBus::SocketIO->connect(path => '/none/');
$none->join_nsp('/');
$none->emit('plain', $holder->(0), { ack => 1, attachments => [ 'x' ] });
is($none->wait_ack(1)->{data}[0]{error}, 'unknown event', 'no rule');

# one that has left has no events any more

$io->leave('/chat');
$io->emit('plain', { ack => ++$n });
$io->wait_ack($n);
$redis->publish($c->{reply}, { sid => $chat, event => 'to:you' });
$redis->publish($c->{reply}, { sid => $sid, event => 'last' });
is($io->wait_packet(10, sub { ($_[0]{name} || '') =~ /^(to:you|last)$/ })->{name},
	'last', 'left');

# who comes and goes

my $hello = Test::RTBus::SocketIO->connect(path => '/hello/');
$sid = $hello->join_nsp('/', { pid => 'x', offset => 'y', token => token('bob'),
	name => 'Bob', more => { token => 1 } })->{data}{sid};
$c = $redis->take('hello');

is($c->{event}, '@connect', '@connect');
is($c->{sid}, $sid, 'sid');
is($c->{user}, 'bob', 'user');
is_deeply(json_decode($c->{data}), { name => 'Bob', more => { token => 1 } },
	'auth, without what is not for producers');
is($c->{args}, undef, 'no args');

$hello->send_text('40/chat,{"\u0074oken":"secret","a":1,"t\u006fken":2,"pid":[],'
	. '"offset":"","tokens":3 } ');
is($redis->take('hello')->{data}, '{"a":1,"tokens":3}', 'escaped names');

# a token is left out whoever checks it

my $other = Test::RTBus::SocketIO->connect(port => port(8081),
	path => '/hello/');
$other->join_nsp('/', { token => token('eve'), a => 1 });
is($redis->take('hello')->{data}, '{"a":1}', 'no key, no token');
$other->close();
$redis->take('bye');

$redis->publish($c->{reply}, { sid => $sid, event => 'welcome' });
ok($hello->wait_name('welcome'), 'can be greeted');

$hello->leave('/chat');
$c = $redis->take('bye');
is($c->{event}, '@disconnect', '@disconnect');
is($c->{data}, '"client namespace disconnect"', 'by its own will');
is($c->{nsp}, '/chat', 'of a namespace');

$hello->close();
$c = $redis->take('bye');
is($c->{data}, '"transport close"', 'with the connection');
is("$c->{sid} $c->{user}", "$sid bob", 'who');

$hello = hello();
$hello->reset();
is($redis->take('bye')->{data}, '"transport close"', 'reset');

$hello = hello();
$hello->send_text('41');
$hello->reset();
is($redis->take('bye')->{data}, '"client namespace disconnect"',
	'a disconnect, then a reset');

$hello = hello(path => '/ping/', auto_ping => 0);
is($redis->take('bye')->{data}, '"ping timeout"', 'ping timeout');

$hello = hello();
$hello->send_text('junk');
is($redis->take('bye')->{data}, '"malformed Engine.IO packet"', 'junk');

# a command right before the end

$hello = hello();
$hello->send_raw($hello->frame(payload => '42["last",1]')
	. $hello->frame(payload => '41') . $hello->frame(payload => '41'));
is($redis->take('star')->{event}, 'last', 'the last word');
is($redis->take('bye')->{data}, '"client namespace disconnect"', 'and the end');

# who was refused has not been there

my $leave = Test::RTBus::SocketIO->connect(path => '/leave/');
is($leave->join_nsp('/', { token => 'x' })->{type}, 4, 'refused');
$leave->close();

# a star is no name of them

my $star = Test::RTBus::SocketIO->connect(path => '/star/');
$star->join_nsp('/');
$star->emit($_, { ack => ++$n }) for 'a', '@connect';
is($star->wait_ack($n)->{data}[0]{error}, 'unknown event', 'no "@connect"');
$star->close();

# other protocols

my $ws = Test::RTBus::WebSocket->connect(path => '/plain');
$sid = $ws->wait_event('connected')->{data}{sessionId};
$c = $redis->take('hello');
is("$c->{event} $c->{sid} $c->{data} $c->{nsp}", "\@connect $sid {} /",
	'WebSocket');
$ws->close(1000);
$c = $redis->take('bye');
is("$c->{event} $c->{sid} $c->{data}", "\@disconnect $sid \"transport close\"",
	'and its end');

my $sse = Test::RTBus::SSE->connect(path => '/plain?channel=job:1');
$c = $redis->take('hello');
is("$c->{event} $c->{data}", '@connect {}', 'SSE');
$sse->drop();
is($redis->take('bye')->{data}, '"transport close"', 'and its end');

is_deeply([ map { $_->{event} } $redis->take('star', 2, 0.2) ], [ 'a' ],
	'nothing else');

# the worker leaves: all are told before it is gone

$hello = hello();
my @many = map { hello() } 1 .. 20;
$ws = Test::RTBus::WebSocket->connect(path => '/plain');
$redis->take('hello');

reload_wait($t, gone => 1);

is_deeply([ map { $_->{data} } $redis->take('bye', 22) ],
	[ ('"server is shutting down"') x 22 ], 'a worker that leaves');

# the worker is closed by nginx, clients or not

$hello = hello();
$t->stop();
is($redis->take('bye')->{event}, '@disconnect', 'shutdown');

is($redis->cmd('XLEN', 'hello'), $redis->cmd('XLEN', 'bye'),
	'who has come has gone');

my $text = join ' ', map { "@{$_->[1]}" } map {
	@{$redis->cmd('XRANGE', $_, '-', '+')} } 'hello', 'bye', 'star', $main;
unlike($text, qr/eyJ|secret/, 'no token in any command');
error_log_unlike($t, qr/^(?!.*\[debug\]).*eyJ/, 'nor in the log');

###############################################################################

sub hello {
	my (%o) = @_;

	my $io = Test::RTBus::SocketIO->connect(path => '/hello/', %o);
	$io->join_nsp('/');
	$redis->take('hello');

	return $io;
}

sub token {
	my ($user) = @_;

	my $text = encode_base64url('{"alg":"HS256","typ":"JWT"}') . '.'
		. encode_base64url(json_encode({ sub => $user }));

	return "$text." . encode_base64url(hmac_sha256($text, 'the key'));
}

###############################################################################
