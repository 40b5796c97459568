#!/usr/bin/perl

# Tests for events of clients that cannot be any: a name that is none, or data
# that is nested too deep.  The client is told, and its connection goes on, since
# stock clients have a queue behind it; what is not the protocol ends it.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Polling;
use Test::RTBus::Redis;
use Test::RTBus::SocketIO;
use Test::RTBus::WebSocket;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server');

plan(skip_all => 'the module is not built') unless module_file();

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

$t->write_file_expand('nginx.conf', <<"EOC");

%%TEST_GLOBALS%%

daemon off;
worker_processes 1;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis    $url;
    rtbus_command  *;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location /ws {
            rtbus  websocket;
        }

        location /socket.io/ {
            rtbus             socketio;
            rtbus_namespaces  / /a;
        }
    }
}

EOC

my @names = (
	[ 'a number', '5' ],
	[ 'empty', '""' ],
	[ 'long', '"' . 'x' x 129 . '"' ],
	[ 'with a line feed', '"a\nb"' ],
	[ 'with a zero', '"a\u0000"' ],
);

my @deep = map { '[' x $_ . ']' x $_ } 65, 5000;

$t->plan(2 * (@names + 5) + 6 + @names + 3 + 5);

$t->run();
wait_redis($t, 1);

###############################################################################

for my $class (qw/ SocketIO Polling /) {
	my $io = "Test::RTBus::$class"->connect();
	$io->join_nsp();

	for (@names) {
		is(answer($io, "421[$_->[1],1]"), '{"error":"bad event name",'
			. '"ok":false}', "$class, name $_->[0]");
	}

	for (@deep) {
		is(answer($io, "421[\"a\",$_]"), '{"error":"nested too deep",'
			. '"ok":false}', "$class, " . length($_) . ' brackets');
	}

	# with an attachment

	$io->send_text('451-1[5,{"_placeholder":true,"num":0}]');
	$io->send_binary('x');
	is(answer($io), '{"error":"bad event name","ok":false}',
		"$class, binary");

	# without an ack

	$io->send_text('42[5]');
	is($io->wait_name('error')->{data}[1]{error}, 'bad event name',
		"$class, nobody waits");

	ok(json_decode(answer($io, '421["fine",1]'))->{ok},
		"$class, the connection goes on");
}

# what the protocol has not

for my $text ('42[]', '42{}', '42[null]', '42[{}]', '42["disconnect"]',
	'42["a"')
{
	my $io = Test::RTBus::SocketIO->connect();
	$io->join_nsp();
	$io->send_text($text);
	is(($io->read_close())[0], 1002, substr($text, 0, 20));
}

# WebSocket

my $ws = Test::RTBus::WebSocket->connect(path => '/ws');

for (@names) {
	is(told($ws, "{\"event\":$_->[1],\"ack\":1}"),
		'{"ack":1,"data":{"error":"bad event name","ok":false}}',
		"WebSocket, name $_->[0]");
}

for (@deep) {
	is(told($ws, "{\"event\":\"a\",\"data\":$_,\"ack\":1}"),
		'{"ack":1,"data":{"error":"nested too deep","ok":false}}',
		'WebSocket, ' . length($_) . ' brackets');
}

like(told($ws, '{"event":"fine","ack":2}'), qr/"ok":true/, 'goes on');

for my $text ('{"data":1}', '{"event":5}', "{\"event\":\"a\",\"data\":$deep[0]}",
	'{"event":"a","ack":1,"data":' . '[' x 70, "[$deep[0]]")
{
	my $ws = Test::RTBus::WebSocket->connect(path => '/ws');
	$ws->send_text($text);
	is(($ws->read_close())[0], 1007, 'WebSocket, ' . substr($text, 0, 20));
}

###############################################################################

sub answer {
	my ($io, $text) = @_;

	$io->send_text($text) if defined $text;

	my $packet = $io->wait_ack(1, '/', 5) or return 'nothing';

	return json_encode($packet->{data}[0]);
}

sub told {
	my ($ws, $text) = @_;

	$ws->send_text($text);

	while (my $m = $ws->recv_message(5)) {
		$m = json_decode($m->{message});
		next if ($m->{event} || '') eq 'connected';
		delete $m->{cursor};
		return json_encode($m);
	}

	return 'nothing';
}

###############################################################################
