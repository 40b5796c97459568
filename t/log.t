#!/usr/bin/perl

# Tests for the variables of access logs: what a connection was like by the time
# it has ended, however it did, and nothing where there was none.

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

my $t = Test::Nginx->new()->has(qw/ http auth_basic rewrite /)
	->has_daemon('redis-server');

plan(skip_all => 'the module is not built') unless module_file();

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();
my $d = $t->testdir();

$t->write_file('users', "ann:{PLAIN}secret\n");
$t->write_file('error.html', 'no');

$t->write_file_expand('nginx.conf', <<"CONF");

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis $url;
    rtbus_allow job:*;
    rtbus_drain 10ms;
    rtbus_subscribe \$arg_a \$arg_b;
    rtbus_namespaces / /more;

    log_format rtbus '\$arg_n \$status \$rtbus_transport \$rtbus_channels '
                     '\$rtbus_events \$rtbus_close [\$rtbus_user]';
    access_log $d/rtbus.log rtbus;

    server {
        listen       127.0.0.1:8080 sndbuf=32k;
        server_name  localhost;

        location /ws {
            rtbus websocket sse;
            rtbus_user \$remote_user;
            rtbus_send_buffer 64k;
        }

        location /user {
            rtbus websocket;
            rtbus_user \$remote_user;
            auth_basic closed;
            auth_basic_user_file $d/users;
        }

        location /inner {
            rewrite ^ /ws last;
        }

        location /socket.io/ {
            rtbus socketio;
        }

        location /state {
            rtbus_state job:1;
        }

        location /early {
            # asked for before there is anything to tell
            add_header X-Transport "\$rtbus_transport" always;
            rtbus websocket;
        }

        location /status {
            rtbus_status;
        }
    }
}

CONF

$t->plan(18);
$t->run();
wait_redis($t);

###############################################################################

my $n = 0;

# no connection of a client

like(logged(sub { http_get("/state?n=$n") }), qr/^404 - - - - \[\]$/, 'state');
like(logged(sub { http_get("/status?n=$n") }), qr/^200 - - - - \[\]$/, 'status');
like(logged(sub { http_get("/ws?n=$n&a=secret") }), qr/^403 - - - - \[\]$/,
	'refused');

# how they end

is(logged(sub { ws("/ws?n=$n")->close(1000) }),
	'101 websocket 0 0 1000 []', 'closed by the client');
is(logged(sub { ws("/ws?n=$n")->close(4321) }),
	'101 websocket 0 0 4321 []', 'with a code of its own');
is(logged(sub { ended(ws("/ws?n=$n"))->send_close() }),
	'101 websocket 0 0 1005 []', 'without a code');
is(logged(sub { ws("/ws?n=$n")->drop() }),
	'101 websocket 0 0 1006 []', 'gone');
is(logged(sub { ended(ws("/ws?n=$n"))->send_text('nonsense') }),
	'101 websocket 0 0 1007 []', 'closed by the server');

# channels, events, the user

is(logged(sub {
	my $ws = ws("/user?n=$n&a=job:1&b=job:2",
		headers => { Authorization => 'Basic YW5uOnNlY3JldA==' });

	$redis->event($_, 'e', 1) for ('job:1') x 3, 'job:2';
	$ws->wait_event('e') for 1 .. 4;

	$ws->send_json({ event => 'unsubscribe', data => { channel => 'job:1' },
		ack => 1 });
	$ws->wait_ack(1);
	$ws->close(1000);
}), '101 websocket 1 4 1000 [ann]', 'channels, events, user');

is(logged(sub {
	my $ws = ws("/inner?n=$n&a=job:1");

	$redis->event('job:1', 'e', 1);
	$ws->wait_event('e');
	$ws->close(1000);
}), '101 websocket 1 1 1000 []', 'after a rewrite');

is(logged(sub {
	my $sse = Test::RTBus::SSE->connect(path => "/ws?n=$n&a=job:1");

	$sse->wait_event('connected');
	$redis->event('job:1', 'e', $_) for 1, 2;
	$sse->wait_event('e') for 1, 2;
	$sse->drop();
}), '200 sse 1 2 1006 []', 'sse');

is(logged(sub {
	my $io = Test::RTBus::SocketIO->connect(
		path => "/socket.io/?n=$n&a=job:1");

	$io->join_nsp($_) for '/', '/more';
	$io->wait_name('connected', $_) for '/', '/more';
	$redis->event('job:1', 'e', 1);
	$io->wait_name('e', $_) for '/', '/more';
	$io->close(1000);
}), '101 socketio 2 2 1000 []', 'socketio, two namespaces');

# missed events count, too

$redis->cmd('FCALL', 'rtbus_publish', 1, 'job:3', 'e', $_) for 1 .. 5;

my $epoch = $redis->cmd('HGET', '{job:3}:state', 'epoch');

is(logged(sub {
	my $ws = ws("/ws?n=$n&cursor=job:3\@$epoch-2");

	$ws->wait_event('e') for 1 .. 3;
	$ws->close(1000);
}), '101 websocket 1 3 1000 []', 'missed events');

# too slow

like(logged(sub {
	my $ws = ws("/ws?n=$n&a=job:1", rcvbuf => 4096);
	my $n = error_log_count($t, qr/client is too slow/);

	wait_for {
		$redis->event('job:1', 'e', 'x' x 10000);
		error_log_count($t, qr/client is too slow/) > $n;
	} 'the end';

	$ws->drop();
}), qr/^101 websocket 1 \d+ 1013 \[\]$/, 'too slow');

# an early look does not spoil it

like(logged(sub {
	my $ws = ws("/early?n=$n");

	is($ws->header('X-Transport'), 'websocket', 'an early look');
	$ws->close(1000);
}), qr/^101 websocket 0 0 1000 \[\]$/, 'and a late one');

# the worker leaves

is(logged(sub {
	my $ws = ended(ws("/ws?n=$n&a=job:1"));

	reload_wait($t);
}), '101 websocket 1 0 1012 []', 'reload');

is(error_log_count($t, qr/\[(?:crit|alert|emerg)\]/), 0, 'no complaints');

###############################################################################

sub ws {
	my ($path, @more) = @_;

	my $ws = Test::RTBus::WebSocket->connect(path => $path, @more);

	$ws->wait_event('connected');

	return $ws;
}

# stays after the code that it is used in, until all is over

my @kept;

sub ended {
	push @kept, @_;

	return $_[0];
}

# The line that the connections of this code leave, which have $n as argument.

sub logged {
	my ($code) = @_;

	$n++;
	$code->();

	my $line = wait_for {
		# those that are kept have to answer

		for my $ws (@kept) {
			$ws->drop() if $ws->read_close(0.01);
		}

		my ($line) = Test::RTBus::_slurp("$d/rtbus.log")
			=~ /^$n (.*)$/m;
		$line;
	} "line $n";

	@kept = ();

	return $line;
}

###############################################################################
