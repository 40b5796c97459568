#!/usr/bin/perl

# Tests for messages that do not come in one piece: cut anywhere, many at once,
# larger than what is read at a time, with something in them that looks like
# another message.  Each client gets each event of its channels, as it was
# published, in order, and nothing that was not published there.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Proxy;
use Test::RTBus::Redis;
use Test::RTBus::WebSocket;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server');

plan(skip_all => 'the module is not built') unless module_file();

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $proxy = Test::RTBus::Proxy->new(to => $redis->port());
my $url = $proxy->url();

my $channels = 5;
my $rounds = 12;

$t->plan(2 + 3 * ($channels + 2));

$t->write_file_expand('nginx.conf', <<"CONF");

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis       $url command_timeout=10s;
    rtbus_allow       *;
    rtbus_forward     job:* 'user:{user}';
    rtbus_send_buffer 64m;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location / {
            rtbus           websocket;
            rtbus_subscribe \$arg_channel;
        }
    }
}

CONF

$t->run();

ok((wait_for { $proxy->count() == 2 } 'links'), 'links');

###############################################################################

run('as it comes');

$proxy->cut(role => 'pub/sub');
run('in pieces');

$proxy->cut();
run('all in pieces');

is(error_log_count($t, qr/\[error\]/), 0, 'no link was lost');

###############################################################################

sub run {
	my ($how) = @_;

	my $tag = $how =~ tr/ /_/r;
	my @names = map { "job:$tag-$_" } 1 .. $channels;
	my @clients = map { client($_) } @names;
	my $user = client("user:$tag");

	my (@commands, %sent, @all, $n);

	for my $round (1 .. $rounds) {
		for my $name (@names) {
			my $text = text($name, ++$n);
			my $data = { n => $n, text => $text, user => $tag };
			my $message = json_encode({ event => 'e',
				data => $data });

			# white space, as a pretty printer has it

			$message =~ s/^\{/{\r\n  / if $n % 3 == 0;

			push @commands, [ 'PUBLISH', $name, $message ];
			push @{$sent{$name}}, $data;
			push @all, $data;
		}

		# no event, whatever is in it

		push @commands, [ 'PUBLISH', $names[0],
			"x\r\n" . message($names[1], '{"event":"fake"}') ];
		push @commands, [ 'PUBLISH', $names[1],
			message($names[0], '{"event":"fake"}') x 20 ];
	}

	$redis->pipeline(@commands);
	$redis->event($_, 'end', 1) for @names, "user:$tag";

	is_deeply(got($clients[$_]), $sent{$names[$_]},
		"$how: channel $_") for 0 .. $channels - 1;

	is_deeply(got($user), \@all, "$how: by the rule");

	# subscriptions are confirmed in between

	$redis->pipeline(map { [ 'PUBLISH', $names[0], '{"event":"late"}' ] }
		1 .. 500);

	my @late = map { client("$names[0]-late-$_") } 1 .. 20;

	$redis->event("$names[0]-late-$_", 'hello', $_) for 1 .. 20;

	is(join(' ', map { my $e = $_->wait_event('hello'); $e && $e->{data} }
		@late), join(' ', 1 .. 20), "$how: joined in between");

	$_->drop() for @clients, $user, @late;
}

sub client {
	my ($channel) = @_;

	my $ws = Test::RTBus::WebSocket->connect(path => "/?channel=$channel");

	$ws->wait_event('connected');

	return $ws;
}

sub got {
	my ($ws) = @_;
	my @data;

	while (my $event = $ws->recv_json()) {
		last if $event->{event} eq 'end';
		push @data, $event->{data};
	}

	return \@data;
}

sub text {
	my ($name, $n) = @_;

	my @sizes = (0, 1, 70, 71, 4080, 300, 70000, 150, 65536, 20, 140000);

	return substr("$n of $name, \"quoted\", \x{e9}; " x 5000, 0,
		$sizes[$n % @sizes]);
}

# as it looks on the wire

sub message {
	my ($channel, $message) = @_;

	return join "\r\n", '*3', '$7', 'message',
		'$' . length $channel, $channel,
		'$' . length $message, $message, '';
}

###############################################################################
