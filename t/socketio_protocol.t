#!/usr/bin/perl

# What a server of Engine.IO 4 and Socket.IO 5 owes to every client, with a
# producer behind it that gives back all it gets.  It covers what the public
# test suite of the protocol asks of WebSocket, and the server is set up as that
# one wants it.  The suite itself, https://github.com/socketio/socket.io-protocol,
# is run as well if its folder is named, after "npm ci" there:
#
#	RTBUS_SIO_SUITE=/path/to/socket.io-protocol/test-suite \
#		prove -It/lib t/socketio_protocol.t

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Echo;
use Test::RTBus::Redis;
use Test::RTBus::SocketIO;

use Cwd qw/ abs_path /;
use Digest::SHA qw/ hmac_sha256 /;
use MIME::Base64 qw/ encode_base64url /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server');

plan(skip_all => 'the module is not built') unless module_file();

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

$t->write_file('jwt.key', "the key of the tokens\n");

$t->write_file_expand('nginx.conf', <<"EOC");

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis         $url;
    rtbus_max_message   1000000;
    rtbus_message_rate  1000r/s;

    rtbus_command       \@connect;
    rtbus_command       message;
    rtbus_command       message-*  reply=20s;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location /socket.io/ {
            rtbus             socketio;
            rtbus_namespaces  / /custom;
            rtbus_recovery    off;
            rtbus_ping        300ms 200ms;
        }

        location /key/ {
            rtbus             socketio;
            rtbus_recovery    off;
            rtbus_jwt_key     jwt.key;
        }

        # the same for those who take their time

        location /calm/ {
            rtbus             socketio;
            rtbus_namespaces  / /custom;
            rtbus_recovery    off;
        }
    }
}

EOC

$t->plan(103);

$t->run();

wait_redis($t);
Test::RTBus::Echo->start($redis,
	think => $ENV{RTBUS_SIO_SUITE} ? 0.03 : 0);

my $io;

###############################################################################

# Engine.IO: the handshake

$io = open_io('/socket.io/');

my $open = $io->open_packet();

is(join(' ', sort keys %$open),
	'maxPayload pingInterval pingTimeout sid upgrades', 'handshake');
ok(!ref $open->{sid} && length $open->{sid}, 'sid');
is_deeply($open->{upgrades}, [], 'no upgrades of a WebSocket');
is_deeply([ @$open{qw/ pingInterval pingTimeout maxPayload /} ],
	[ 300, 200, 1000000 ], 'intervals and the longest payload');

for my $query ('transport=websocket', 'EIO=abc&transport=websocket', 'EIO=4',
	'EIO=4&transport=abc')
{
	is(open_io("/socket.io/?$query", query => '')->status(), 400, $query);
}

# the heartbeat

$io = open_io('/socket.io/', auto_ping => 0);

for (1 .. 3) {
	is(text($io), '2', 'ping');
	$io->send_text('3');
}

is(text($io), '2', 'a ping with no answer');
ok($io->read_close(5), 'and the end');

# the end

$io = open_io('/calm/');
$io->send_text('1');
ok($io->read_close(), 'closed by the client');

$io = open_io('/calm/');
$io->send_text('abc');
ok($io->read_close(), 'no packet at all');

# who does not connect to a namespace, nor answers pings

$io = open_io('/socket.io/', auto_ping => 0);
ok($io->read_close(5), 'silence');

###############################################################################

# Socket.IO: CONNECT

for my $nsp ('', '/custom,') {
	for my $auth ('', '{}', '{"token":"abc"}',
		'{"a":[1,{"b":null}],"c":"\u00e9"}')
	{
		my $name = $nsp . ($auth || 'nothing');

		$io = open_io('/calm/');
		$io->send_text("40$nsp$auth");

		like(text($io), qr/^40$nsp\{"sid":"[^"]+"\}$/, "connect, $name");
		is(text($io), "42${nsp}[\"auth\"," . ($auth || '{}') . ']',
			"producers know, $name");
	}
}

# what is for the server alone stays there

my $text = join '.', map { encode_base64url($_) }
	'{"typ":"JWT","alg":"HS256"}', '{"sub":"ann"}';
my $token = "$text." . encode_base64url(hmac_sha256($text,
	'the key of the tokens'));

$io = open_io('/key/');
$io->send_text("40{\"a\":1,\"token\":\"$token\",\"pid\":\"x\","
	. '"offset":"","b":2}');
like(text($io), qr/^40\{"sid":"[^"]+"\}$/, 'connect with a token');
is(text($io), '42["auth",{"a":1,"b":2}]', 'producers do not see it');

$io = open_io('/calm/');
$io->send_text('40/random');
is(text($io), '44/random,{"message":"Invalid namespace"}', 'no such namespace');
$io->send_text('40');
like(text($io), qr/^40\{/, 'but others');

for my $text ('4abc', '40{', '40[]', '4', '42["message"]') {
	$io = open_io('/calm/');
	$io->send_text($text);
	ok($io->read_close(), "$text in place of it");
}

# two namespaces, one of which is left

$io = joined();
$io->send_text('40/custom,{"b":1}');
like(text($io), qr!^40/custom,\{"sid":!, 'another namespace');
is(text($io), '42/custom,["auth",{"b":1}]', 'which is a socket of its own');

$io->send_text($_) for '42/custom,["message",1]', '42["message",2]';
is(join(' ', sort map { text($io) } 1, 2),
	'42/custom,["message-back",1] 42["message-back",2]', 'each its answer');

$io->send_text($_) for '41/custom', '42["message","to the main namespace"]';
is(text($io), '42["message-back","to the main namespace"]',
	'one left, the other stays');

$io->send_text('40/custom');
like(text($io), qr!^40/custom,\{"sid":!, 'and joined again');
is(text($io), '42/custom,["auth",{}]', 'as a new socket');

$io = joined('/socket.io/');
$io->send_text('41');
is(text($io), '2', 'all left, the connection lives');

###############################################################################

# EVENT, ACK

$io = joined();

for my $args ('1,"2",{"3":[true]}', '', 'null', '{"a":{"b":[]}}', '[1,2],[]',
	'"\u00e9\ud83d\ude00","\n"', '1.50e3,-0',
	'"' . 'x' x 70000 . '"', join ',', 1 .. 100)
{
	my $name = substr $args, 0, 30;
	my $more = length $args ? ",$args" : '';

	$io->send_text("42[\"message\"$more]");
	is(text($io), "42[\"message-back\"$more]", "event, $name");

	$io->send_text("42456[\"message-with-ack\"$more]");
	is(text($io), "43456[$args]", "ack, $name");
}

for my $id (0, 9007199254740991) {
	$io->send_text("42${id}[\"message-with-ack\",$id]");
	is(text($io), "43${id}[$id]", "ack $id");
}

$io->send_text('42/custom,["message",1]');
ok($io->read_close(), 'event in a namespace that was not connected to');

$io = joined();
$io->send_text("42${_}[\"message-with-ack\",\"$_\"]") for 1 .. 50;
is_deeply([ sort map { text($io) } 1 .. 50 ],
	[ sort map { "43${_}[\"$_\"]" } 1 .. 50 ], 'each ack to its own');

$io->send_text("42[\"message\",$_]") for 1 .. 50;
is_deeply([ map { text($io) } 1 .. 50 ],
	[ map { "42[\"message-back\",$_]" } 1 .. 50 ], 'events in order');

###############################################################################

# BINARY_EVENT, BINARY_ACK

my @bytes = ("\1\2\3", "\4\5\6", '', join('', map { chr } 0 .. 255),
	'x' x 100000);

for my $case (
	[ 'two', '{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}',
		0, 1 ],
	[ 'one of three arguments', '1,{"_placeholder":true,"num":0},"2"', 0 ],
	[ 'deep', '{"a":[{"b":{"_placeholder":true,"num":0}}]}', 3 ],
	[ 'the other way round',
		'{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}',
		1, 0 ],
	[ 'empty and large', '[{"_placeholder":true,"num":0},'
		. '{"_placeholder":true,"num":1}]', 2, 4 ],
)
{
	my ($name, $args, @num) = @$case;
	my @send = @bytes[@num];
	my $n = @send;

	for my $nsp ('', '/custom,') {
		if ($nsp) {
			$io = joined('/calm/', $nsp);
			$name .= ', namespace';
		}

		send_all($io, "45$n-${nsp}[\"message\",$args]", @send);
		is_deeply(receive($io, $n),
			[ "45$n-${nsp}[\"message-back\",$args]", @send ],
			"binary event, $name");

		send_all($io, "45$n-${nsp}789[\"message-with-ack\",$args]",
			@send);
		is_deeply(receive($io, $n),
			[ "46$n-${nsp}789[$args]", @send ],
			"binary ack, $name");
	}

	$io = joined();
}

###############################################################################

# what is malformed closes the connection

for my $case (
	[ 'unknown type', '4abc' ],
	[ 'unknown number', '49' ],
	[ 'object for an event', '42{}' ],
	[ 'no payload', '42' ],
	[ 'letters for an ack id',
		'42abc["message-with-ack",1,"2",{"3":[false]}]' ],
	[ 'ack with an object', '431{}' ],
	[ 'no event name', '42[]' ],
	[ 'broken JSON', '42["message",}' ],
	[ 'binary event without a number', '45["message"]' ],
	[ 'text for an attachment', '451-["message"]', '42["message"]' ],
	[ 'an attachment of no event', \"\1\2" ],
)
{
	my ($name, @send) = @$case;

	my $io = joined();

	ref $_ ? $io->send_binary($$_) : $io->send_text($_) for @send;
	ok($io->read_close(), "malformed: $name");
}

###############################################################################

SKIP: {
	skip 'RTBUS_SIO_SUITE is not set', 1 unless $ENV{RTBUS_SIO_SUITE};

	subtest public => sub {
		run_tap('public', 'node', mocha($ENV{RTBUS_SIO_SUITE}));
		done_testing();
	};
}

###############################################################################

# The public suite knows one port only: what is run is a copy that knows ours.

sub mocha {
	my ($suite) = @_;

	my $dir = $t->testdir() . '/suite';

	mkdir $dir or die "Can't make $dir: $!\n";

	for my $name (qw/ node-imports.js package.json node_modules /) {
		symlink abs_path("$suite/$name"), "$dir/$name"
			or die "Can't link $name: $!\n";
	}

	open my $fh, '<', "$suite/test-suite.js"
		or die "Can't read $suite/test-suite.js: $!\n";
	my $text = do { local $/; <$fh> };

	$text =~ s!http://localhost:3000\b!"http://127.0.0.1:" . port(8080)!e
		or die "The suite has another address than localhost:3000\n";

	$t->write_file('suite/test-suite.js', $text);

	return ("$dir/node_modules/mocha/bin/mocha", qw/ --exit --reporter tap /,
		"$dir/test-suite.js");
}

sub open_io {
	my ($path, %o) = @_;

	return Test::RTBus::SocketIO->connect(path => $path, %o);
}

# connected to a namespace, and its producer has said so

sub joined {
	my ($path, $nsp) = @_;

	$nsp = '' unless defined $nsp;

	my $io = open_io($path || '/calm/');

	$io->send_text("40$nsp");
	text($io) for 1, 2;

	return $io;
}

# the next message as it is

sub text {
	my ($io) = @_;

	my $f = $io->recv_message() or return undef;

	return $f->{message};
}

sub send_all {
	my ($io, $text, @attachments) = @_;

	$io->send_text($text);
	$io->send_binary($_) for @attachments;
}

sub receive {
	my ($io, $attachments) = @_;

	return [ map { text($io) } 0 .. $attachments ];
}

###############################################################################
