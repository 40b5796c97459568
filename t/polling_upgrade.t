#!/usr/bin/perl

# Tests for the upgrade from long-polling to WebSocket, packet by packet, with
# one worker and with four: there the WebSocket is at another worker than the
# session most of the time, and the session moves.  Nothing of it may be lost,
# come twice or out of order: events that were queued, events that come
# meanwhile, live ones too, subscriptions, what the client waits for, who it is.

###############################################################################

use warnings;
use strict;

use POSIX ();
use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Metrics;
use Test::RTBus::Polling;
use Test::RTBus::Redis;
use Test::RTBus::SocketIO;

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
worker_processes WORKERS;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis     $url;
    rtbus_allow     job:*;
    rtbus_allow     user:\$rtbus_user;
    rtbus_user      \$arg_user;
    rtbus_forward   job:storm* "user:{to}";
    rtbus_command   ask reply=20s;
    rtbus_command   \@connect;
    rtbus_command   \@disconnect;

    add_header X-Pid \$pid always;

    server {
        listen       127.0.0.1:8080 reuseport;
        server_name  localhost;

        location /socket.io/ {
            rtbus               socketio;
            rtbus_namespaces    / /chat;
            rtbus_subscribe     job:\$arg_job;
            rtbus_message_rate  1000r/s;
        }

        location /other/ {
            rtbus socketio;
        }

        location /ping/ {
            rtbus       socketio;
            rtbus_ping  400ms 1s;
        }

        location = /status { rtbus_status; }
    }
}

EOC

# of ten sessions with four workers some move and some do not

my $rounds = 10;

$t->plan(2 * 39 + 2 * $rounds * 16);

my ($io, $ws, $r, $p, %seen);

for my $workers (1, 4) {
	$t->write_file_expand('nginx.conf', $conf =~ s/WORKERS/$workers/r);
	$t->run();
	wait_redis($t, $workers);
	$redis->cmd('FLUSHALL');

	whole("$workers workers, $_", "$workers-$_") for 1 .. $rounds;

	storm($workers, "$workers workers: ");

	# what has moved is counted where it is

	undef $_ for $io, $ws, $p;
	ok(metrics_wait('rtbus_subscriptions', 0), 'no subscription is left');

	refusals($workers > 1 ? "$workers workers: " : '');
	others($workers > 1 ? "$workers workers: " : '', $workers);

	$t->stop();
}

###############################################################################

sub whole {
	my ($is, $job) = @_;

	my $query = "job=$job&user=ann";

	$io = open_io($query);
	$io->join_nsp();
	my $sid = $io->packet()->{data}[1]{sessionId};
	$io->join_nsp('/chat');
	$io->emit('subscribe', { channel => "job:$job-b" }, { ack => 1 });
	ok($io->wait_ack(1)->{data}[0]{ok}, "$is: subscribed");

	my @got;
	my $n = 0;

	publish($job, ++$n) for 1 .. 5;
	push @got, event() for 1 .. 10;

	# what is queued goes along: nobody polls for these

	publish($job, ++$n) for 1 .. 5;
	publish("$job-b", ++$n);

	# a command whose answer comes after the move

	$io->emit('ask', { n => 1 }, { ack => 7 });
	my $reply = command($redis, $job);

	$ws = upgrade($query);
	is($ws->status(), 101, "$is: handshake");

	$p = $io->get_start();
	publish($job, ++$n);
	$ws->send_text('2probe');
	is($ws->recv_message()->{message}, '3probe', "$is: probe");

	my @left = $io->packets($p->wait());
	push @got, map { number($_) } @left;

	# the end of polling: a last poll that nothing comes for

	publish($job, ++$n);

	for (1 .. 30) {
		my @more = $io->packets($io->get());
		push @got, map { number($_) } @more;
		last if grep { $_ eq '6' } @more;
	}

	pass("$is: polls end");
	publish($job, ++$n) for 1 .. 3;

	# "upgrade", and at once what is for the session

	$ws->send_raw($ws->frame(opcode => 1, payload => '5')
		. $ws->frame(opcode => 1,
			payload => '428["subscribe",{"channel":"job:none"}]')
		. $ws->frame(opcode => 1,
			payload => '429["subscribe",{"channel":"user:ann"}]')
		. $ws->frame(opcode => 1,
			payload => '42/chat,9["subscribe",{"channel":"user:bob"}]'));

	publish($job, ++$n) for 1 .. 5;

	$ws->{packets} = [];

	ok($ws->wait_ack(8)->{data}[0]{ok}, "$is: a message right behind it");
	ok($ws->wait_ack(9, '/')->{data}[0]{ok}, "$is: the rules move");
	is($ws->wait_ack(9, '/chat')->{data}[0]{error}, 'forbidden',
		"$is: for each namespace");

	publish($job, ++$n) for 1 .. 5;
	publish("$job-b", ++$n);

	# each namespace has the common channel, the first one the other, too

	my $count = 2 * $n - 2;

	for my $kept (splice @{$ws->{packets}}) {
		push @got, number($kept->{text});
	}

	while (@got < $count) {
		my $packet = $ws->wait_name('n') or last;
		push @got, number($packet->{text});
	}

	my @main = grep { !/chat/ } @got;
	my @chat = map { /chat (\d+)/ } @got;

	# 11 and the last are the other channel's: one does not wait for another

	my @common = grep { $_ != 11 && $_ != $n } 1 .. $n;

	is_deeply([ grep { $_ != 11 && $_ != $n } @main ], \@common,
		"$is: each once and in order");
	is_deeply([ grep { $_ == 11 || $_ == $n } @main ], [ 11, $n ],
		"$is: those of another channel");
	is_deeply(\@chat, \@common, "$is: in the other namespace");

	# the answer to the command, and an event for this client

	$redis->cmd('PUBLISH', $reply->{reply},
		qq({"ack":$reply->{ack},"data":[{"the":"answer"}]}));
	is_deeply(($ws->wait_ack(7) || {})->{data}, [ { the => 'answer' } ],
		"$is: a command's answer");

	$redis->cmd('PUBLISH', $reply->{reply},
		qq({"sid":"$sid","event":"personal","data":"for you"}));
	is(($ws->wait_name('personal') || {})->{data}[1], 'for you',
		"$is: an event for the client");

	$ws->emit('ask', { n => 2 }, { ack => 10 });
	my $second = command($redis, $job);
	is("$second->{sid} $second->{user}", "$sid ann", "$is: who it is");
	$redis->cmd('PUBLISH', $second->{reply},
		qq({"ack":$second->{ack},"data":[2]}));
	is_deeply(($ws->wait_ack(10) || {})->{data}, [ 2 ],
		"$is: the next one's answer");

	# polling is over

	is($io->get()->status(), 400, "$is: no poll any more");

	# the end, which is told once

	$ws->drop();

	my @names;

	wait_for { @names = map { $_->{event} } entries($redis);
		grep { $_ eq '@disconnect' } @names } 'the end';

	is_deeply([ sort @names ], [ '@connect', '@connect', '@disconnect',
		'@disconnect', 'ask', 'ask' ], "$is: what producers are told")
		or diag(explain(\@names));

	$redis->cmd('DEL', 'rtbus:commands');
}

# Events without end while sessions move: each client gets all of them from the
# first one on, most of which are live, on the channel of the job, on that of the
# user, or on both, and then once.

sub storm {
	my ($workers, $is) = @_;

	my $pid = publisher("storm$workers");
	my $moved = 0;
	my @holes;

	for my $i (1 .. 30) {
		my $query = $i % 3 ? "job=storm$workers&user=ann" : 'user=ann';

		$io = open_io($query);
		$io->join_nsp();
		$io->join_nsp('/chat');

		if ($i % 3 != 1) {
			$io->emit('subscribe', { channel => 'user:ann' },
				{ ack => 1 });
			$io->wait_ack(1);
		}

		$ws = upgrade($query);
		$moved++ if $ws->header('X-Pid') ne $io->opened()->header('X-Pid');

		$io->{poll} ||= $io->get_start();
		$ws->send_text('2probe');
		$ws->recv_message();

		my $last = delete($io->{poll})->wait();

		my @got = map { number($_) } (map { $_->{text} } @{$io->{packets}}),
			@{$io->{got}}, $io->packets($last);

		$ws->send_text('5');
		$ws->{packets} = [];

		for (1 .. 300) {
			my $packet = $ws->packet() or last;
			push @got, number($packet->{text});
		}

		$ws->drop();

		for my $nsp (qr/^(\d+)/, $i % 3 ? qr/^chat (\d+)/ : ()) {
			my @n = map { /$nsp/ ? $1 : () } @got;

			push @holes, map { "$i: $n[$_ - 1] $n[$_]" }
				grep { $n[$_] != $n[$_ - 1] + 1 } 1 .. $#n;
			push @holes, "$i: too few" if @n < 100;
		}
	}

	kill 'KILL', $pid;
	waitpid $pid, 0;

	is_deeply(\@holes, [], "${is}all of a storm") or diag("@holes");
	is($moved > 0, $workers > 1, "${is}sessions have moved")
		or diag($moved);
}

# one event after another, every twentieth of them durable

sub publisher {
	my ($job) = @_;

	my $pid = fork();
	die "Can't fork: $!\n" unless defined $pid;

	return $pid if $pid;

	my $conn = eval { Test::RTBus::Redis::Connection->new(
		$redis->port()) };

	for (my $n = 1; $conn; $n++) {
		my $data = qq({"n":$n,"to":"ann"});

		my @cmd = $n % 20
			? ('PUBLISH', "job:$job", qq({"event":"n","data":$data}))
			: ('FCALL', 'rtbus_publish', 1, "job:$job", 'n', $data);

		$conn->write(Test::RTBus::Redis::_encode(@cmd)) or last;
		eval { $conn->reply(); 1 } or last;

		select undef, undef, undef, 0.0003;
	}

	POSIX::_exit(1);
}

sub refusals {
	my ($is) = @_;

	$io = open_io('user=ann');
	my $sid = $io->sid();

	for my $case (
		[ 'unknown', 400, 1, sid => 'a' x 32 ],
		[ 'unknown, short', 400, 1, sid => 'abc' ],
		[ 'unknown here', 400, 1, sid => substr($sid, 0, 12) . 'a' x 20 ],
		[ 'another user', 403, 4, query => 'user=bob' ],
		[ 'nobody', 403, 4, query => '' ],
		[ 'elsewhere', 400, 1, path => '/other/' ],
	)
	{
		my ($name, $status, $code, %o) = @$case;

		my $ws = upgrade($o{query} // 'user=ann', %o);
		is($ws->status(), $status, "$is$name");
		is(json_decode($ws->body())->{code}, $code, "$is$name: code");
	}

	# not a probe, not an upgrade; and the session goes on without it

	for my $text ('4hello', '2', '2probe2', '') {
		my $code;

		# the owner may not have heard of the end of the one before

		wait_for {
			my $ws = upgrade('user=ann');

			$ws->send_text($text);
			($code) = $ws->read_close();
			$code != 1008;
		} 'a WebSocket of its own';

		is($code, 1002, "${is}in place of a probe: \"$text\"");
	}

	is((wait_for {
		$ws = upgrade('user=ann');
		$ws->send_binary('2probe');
		my ($code) = $ws->read_close();
		$code != 1008 && $code;
	} 'a WebSocket of its own'), 1003, "${is}binary");

	is($io->post('3')->status(), 200, "${is}polling goes on");

	# one at a time

	ok((wait_for { $ws = upgrade('user=ann');
		$ws->send_text('2probe');
		my $f = $ws->recv_message();
		$f && $f->{message} eq '3probe' } 'an upgrade'), "${is}one");

	my $second = upgrade('user=ann');
	is(($second->read_close())[0], 1008, "${is}not two");
}

sub others {
	my ($is, $workers) = @_;

	# the session ends first

	$io = open_io();
	$io->join_nsp();
	$ws = upgrade();
	$ws->send_text('2probe');
	$ws->recv_message();
	is($io->post('1')->body(), 'ok', "${is}closed before the upgrade");
	$ws->send_text('5');
	ok(defined(($ws->read_close())[0]), "${is}and so is the WebSocket");

	# the WebSocket goes first; polling goes on, and there is another try

	$io = open_io("job=try$workers");
	$io->join_nsp();
	$io->packet();

	for (1 .. 3) {
		my $gone = upgrade("job=try$workers");
		$gone->send_text('2probe');
		$gone->recv_message();
		$gone->drop();

		ok((wait_for { my $ws = upgrade("job=try$workers");
			$ws->send_text('2probe');
			my $f = $ws->recv_message();
			$ws->drop();
			$f && ($f->{message} || '') eq '3probe' }
			'another try'), "${is}another try $_");
	}

	publish("try$workers", 1);
	is($io->wait_name('n')->{data}[1], 1, "${is}and polling goes on");

	# pings go on over WebSocket, and are missed there

	$io = open_io('', path => '/ping/');
	$io->join_nsp();
	$ws = upgrade('', path => '/ping/');
	$ws->send_text('2probe');
	$ws->recv_message();
	$ws->send_text('5');
	$ws->{auto_ping} = 0;

	ok((wait_for { my $f = $ws->recv_message();
		$f && $f->{message} eq '2' } 'a ping'), "${is}ping");
	$ws->send_text('3');
	ok((wait_for { my $f = $ws->recv_message();
		$f && $f->{message} eq '2' } 'a ping'), "${is}ping again");
	is(($ws->read_close())[0], 1011, "${is}no pong");

	# a replay that is paused for the client's sake goes on after the move

	my $job = "long$workers";

	$redis->publish("job:$job", { event => 'none' });
	publish($job, $_) for 1 .. 60;

	$io = open_io();
	$io->join_nsp();
	$io->packet();
	$io->post('421["subscribe",{"channel":"job:' . $job
		. '","after":"0-0"}]');

	$ws = upgrade();
	$ws->send_text('2probe');
	$ws->recv_message();
	$ws->send_text('5');
	$ws->{packets} = [];

	my @got;

	while (@got < 60) {
		my $packet = $ws->wait_name('n') or last;
		push @got, $packet->{data}[1];
	}

	is_deeply(\@got, [ 1 .. 60 ], "${is}a long replay");
	ok($ws->wait_ack(1)->{data}[0]{ok}, "${is}and its answer");

	# binary packets that are queued, and one whose rest is still to come

	$io = open_io("job=bin$workers");
	$io->join_nsp();
	$io->packet();
	$redis->cmd('PUBLISH', "job:bin$workers", '{"event":"bin","args":'
		. '[{"_placeholder":true,"num":0}],"attachments":["AAECAwT/"]}');
	$io->post('451-3["subscribe",{"channel":"job:b","f":'
		. '{"_placeholder":true,"num":0}}]');

	$ws = upgrade("job=bin$workers");
	$ws->send_text('2probe');
	$ws->recv_message();
	$ws->send_text('5');
	$ws->send_binary("\0\1");
	$ws->{packets} = [];

	is_deeply(($ws->wait_name('bin') || {})->{attachments},
		[ "\0\1\2\3\4\xff" ], "${is}binary");
	ok($ws->wait_ack(3)->{data}[0]{ok}, "${is}its attachment came later");

	# a second connection with the sid, afterwards

	$ws = upgrade("job=bin$workers");
	is(($ws->read_close())[0], 1008, "${is}no second upgrade");

	# a poll that waits when the upgrade comes

	$io = open_io();
	$io->join_nsp();
	$ws = upgrade();
	$ws->send_text('2probe');
	$ws->recv_message();
	$io->get() for 1 .. 2;
	$p = $io->get_start();
	$ws->send_text('5');
	$ws->{packets} = [];
	ok($p->wait(), "${is}a poll beside the upgrade ends");
	$ws->emit('no', { ack => 4 });
	ok($ws->wait_ack(4), "${is}which goes on");

}

###############################################################################

sub open_io {
	my ($query, %o) = @_;

	my $path = $o{path} || '/socket.io/';

	$path .= "?$query" if $query;

	return Test::RTBus::Polling->connect(%o, path => $path);
}

sub upgrade {
	my ($query, %o) = (@_ ? @_ : '');

	my $sid = $o{sid} || $io->sid();
	my $path = $o{path} || '/socket.io/';

	$path .= "?$query" . ($query ? '&' : '')
		. "EIO=4&transport=websocket&sid=$sid";

	my $ws = Test::RTBus::SocketIO->connect(path => $path, read => 0);
	$ws->handshake();

	return $ws;
}

sub publish {
	my ($job, $n, $text) = @_;

	$redis->cmd('FCALL', 'rtbus_publish', 1, "job:$job", 'n', $n,
		defined $text ? ('APPEND', $text) : ());
}

# "7", or "chat 7" for the other namespace

sub number {
	my ($text) = @_;

	$text =~ m!^42(/chat,)?\["n",(?:\{"n":)?(\d+)! or return ();

	return $1 ? "chat $2" : $2;
}

sub event {
	my $packet = $io->wait_name('n');

	return number($packet->{text});
}

sub entries {
	my ($redis) = @_;

	return map { my %f = @{$_->[1]}; \%f }
		@{$redis->cmd('XRANGE', 'rtbus:commands', '-', '+')};
}

sub command {
	my ($redis) = @_;

	my $last;

	wait_for {
		my @asks = grep { $_->{event} eq 'ask' } entries($redis);
		$last = $asks[-1];
		$last && !$seen{$last->{ack} . $last->{reply}}++;
	} 'a command';

	return $last;
}

###############################################################################
