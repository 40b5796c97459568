#!/usr/bin/perl

# Tests for clients that send much at once: they are slowed down, and only then
# refused, with when to try again.  All the channels that a client may have can
# be joined at once, with their state or without.  A namespace that is left and
# connected to again may send no more than one that stays.

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

use Time::HiRes qw/ time /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server');

plan(skip_all => 'the module is not built') unless module_file();

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

my $conf = <<"EOC";

%%TEST_GLOBALS%%

daemon off;
worker_processes 1;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis        $url;
    rtbus_secret_file  %%TESTDIR%%/secret;
    rtbus_allow        job:*;
    rtbus_command      job:*;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location /ws {
            rtbus  websocket;
        }

        location /socket.io/ {
            rtbus  socketio;
        }

        location /slow/ws {
            rtbus               websocket;
            rtbus_ping          5s 400ms;
            rtbus_message_rate  20r/s;
        }

        location /slow/io/ {
            rtbus               socketio;
            rtbus_ping          5s 400ms;
            rtbus_namespaces    / /a;
            rtbus_message_rate  20r/s;
        }

        location /channels {
            rtbus               websocket;
            rtbus_ping          5s 2s;
            rtbus_max_channels  1000;
            rtbus_message_rate  20r/s;
        }
    }
}

EOC

my @nodes = ($t, Test::Nginx->new());

$t->write_file('secret', 'a secret that both nodes have');
$nodes[1]->write_file('secret', 'a secret that both nodes have');
$t->write_file_expand('nginx.conf', $conf);
$nodes[1]->write_file_expand('nginx.conf', $conf =~ s/8080/8081/r);

$t->plan(33);

for my $node (@nodes) {
	$node->run();
	wait_redis($node, 1);
}

my (@got, $io, $ws, $start, $took);

###############################################################################

for my $over (qw/ ws io polling relayed /) {

	# as many channels as one may have, all at once, also with their state

	is(ok_of(run($over, map { [ 'subscribe', { channel => "job:$_" } ] }
		1 .. 64)), 64, "$over: all channels at once");
	is(ok_of(run($over, map { [ 'subscribe', { channel => "job:$_",
		state => JSON::PP::true } ] } 1 .. 64)), 64,
		"$over: all with their state");

	# a queue of commands that was kept while the client was away

	is(ok_of(run($over, map { [ 'job:do', { n => $_ } ] } 1 .. 200)), 200,
		"$over: 200 commands at once");
}

# more than that is refused, soon enough for pongs to be read

for my $over (qw! slow/ws slow/io !) {
	$start = time();
	@got = run($over, map { [ 'job:do', { n => $_ } ] } 1 .. 1000);
	$took = time() - $start;

	my @refused = grep { !$_->{ok} } @got;

	is(scalar @got, 1000, "$over: a flood is answered");
	cmp_ok(ok_of(@got), '>=', 20, "$over: some of it is taken");
	cmp_ok(ok_of(@got), '<=', 20 + 20 * $took + 2, "$over: as the rate says");
	is(scalar(grep { ($_->{error} || '') ne 'rate limited' } @refused), 0,
		"$over: the rest is refused");
	is(scalar(grep { !($_->{retryAfter} && $_->{retryAfter} > 0
		&& $_->{retryAfter} <= 100) } @refused), 0,
		"$over: with when to try again");
}

select undef, undef, undef, $got[-1]{retryAfter} / 1000 if $got[-1]{retryAfter};
$io->emit('job:do', {}, { ack => 5000 });
ok($io->wait_ack(5000)->{data}[0]{ok}, 'then it is taken');

# many channels at a low rate

is(ok_of(run('channels', map { [ 'subscribe', { channel => "job:$_" } ] }
	1 .. 1000)), 1000, 'a thousand channels');

# a namespace that is left and connected to again

stream();

$io = Test::RTBus::SocketIO->connect(path => '/slow/io/');
$start = time();

for my $n (1 .. 20) {
	$io->send_text('40');
	$io->send_text("42${_}[\"job:do\",1]") for $n * 100 .. $n * 100 + 19;
	$io->send_text('41') if $n < 20;
}

$io->emit('job:last', { ack => 9000 });

@got = ();

while (my $packet = $io->packet()) {
	push @got, $packet->{data}[0] if $packet->{type} == 3;
	last if $packet->{type} == 3 && $packet->{ack} == 9000;
}

$took = time() - $start;

cmp_ok(stream(), '<=', 20 + 20 * $took + 2,
	'DISCONNECT and CONNECT give nothing');
is($got[-1]{error}, 'rate limited', 'and the last one is refused');

# the same after an upgrade to another worker

$io = Test::RTBus::Polling->connect(path => '/slow/io/');
$io->join_nsp();
$io->post(join "\x1e", map { "42$_\[\"job:do\",1]" } 1 .. 40);
$io->post('41');
$io->get();

$ws = Test::RTBus::SocketIO->connect(port => port(8081), read => 0,
	path => '/slow/io/?EIO=4&transport=websocket&sid=' . $io->sid());
$ws->handshake();
$ws->send_text('2probe');
is($ws->recv_message()->{message}, '3probe', 'a probe');
$ws->send_text('5');

stream();
$start = time();
$ws->send_text('40');
$ws->send_text("42${_}[\"job:do\",1]") for 1 .. 30;
$ws->wait_ack(30);
$took = time() - $start;

cmp_ok(stream(), '<=', 2 + 20 * $took + 20 * 0.5, 'the bucket goes along');

# and that of CONNECTs

$io = Test::RTBus::Polling->connect(path => '/slow/io/');
$io->join_nsp();
$io->post(join "\x1e", ('40/none,') x 40);

for (my $n = 0; $n < 40; ) {
	my @got = $io->packets($io->get()) or last;
	$n += grep { /^44/ } @got;
}

$ws = Test::RTBus::SocketIO->connect(port => port(8081), read => 0,
	path => '/slow/io/?EIO=4&transport=websocket&sid=' . $io->sid());
$ws->handshake();
$start = time();
$ws->send_text('2probe');
$ws->recv_message();
$ws->send_text('5');
$ws->send_text('40/none,') for 1 .. 20;

my %said;

for (1 .. 20) {
	my $p = $ws->wait_packet(10, sub { $_[0]{type} == 4 }) or last;
	$said{$p->{data}{message}}++;
}

$took = time() - $start;

cmp_ok($said{'Invalid namespace'} || 0, '<=', 2 + 20 * ($took + 0.2),
	'the bucket of CONNECTs, too');

error_log_like($t, qr/\[info\].*client sent messages too fast/, 'in the log');
cmp_ok(error_log_count($t, qr/client is refused, rate limited/), '<=', 6,
	'not many lines');

###############################################################################

# sends all of them in one go -> the answers, in order

sub run {
	my ($over, @events) = @_;
	my $n = 0;

	if ($over =~ m!ws|channels!) {
		my $ws = Test::RTBus::WebSocket->connect(path => "/$over");

		$ws->send_text(json_encode({ event => $_->[0], data => $_->[1],
			ack => ++$n })) for @events;

		my %ack;

		while (keys %ack < @events) {
			my $m = $ws->recv_message() or last;
			$m = json_decode($m->{message});
			$ack{$m->{ack}} = $m->{data} if $m->{ack};
		}

		return map { $ack{$_} || {} } 1 .. @events;
	}

	$io = $over eq 'io' || $over eq 'slow/io'
		? Test::RTBus::SocketIO->connect(path => $over eq 'io'
			? '/socket.io/' : '/slow/io/')
		: Test::RTBus::Polling->connect(path => '/socket.io/',
			port => port(8080));

	$io->{options}{port} = port(8081) if $over eq 'relayed';
	$io->join_nsp();

	my @packets = map { '42' . ++$n . json_encode($_) } @events;
	my ($post, %ack);

	if ($over =~ /io/) {
		$io->send_text($_) for @packets;

	} else {
		$post = $io->start('POST', body => join "\x1e", @packets);
	}

	while (keys %ack < @events) {
		my $p = $io->packet() or last;
		$ack{$p->{ack}} = $p->{data}[0] if $p->{type} == 3;
	}

	$post->wait() if $post;

	return map { $ack{$_} || {} } 1 .. @events;
}

sub ok_of { scalar grep { $_->{ok} } @_ }

# commands that are in the stream, which is emptied

sub stream {
	my $n = $redis->cmd('XLEN', 'rtbus:commands');

	$redis->cmd('DEL', 'rtbus:commands');

	return $n;
}

###############################################################################
