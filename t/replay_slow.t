#!/usr/bin/perl

# Tests for long histories: a client that reads slowly gets all of it, in order,
# at its own pace, and is not closed for it, while nginx holds no more of it than
# the client's buffer; and many clients that come back at once share the reads.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus fds => 1024;
use Test::Nginx;
use Test::RTBus::Redis;
use Test::RTBus::SSE;
use Test::RTBus::WebSocket;

use Time::HiRes qw/ time /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http rewrite /)
	->has_daemon('redis-server')->plan(24);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

$t->write_file_expand('nginx.conf', <<"EOC");

%%TEST_GLOBALS%%

daemon off;

events {
    worker_connections 1024;
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis  $url;
    rtbus_allow  job:*;
    rtbus_drain  10ms;

    server {
        listen       127.0.0.1:8080;
        listen       127.0.0.1:8081 sndbuf=16k;
        server_name  localhost;

        location /ws {
            rtbus             websocket;
        }

        location /small/ws {
            rtbus             websocket;
            rtbus_send_buffer 64k;
        }

        location /small/sse {
            rtbus             sse;
            rtbus_send_buffer 64k;
        }
    }
}

EOC

$t->run();

ok((wait_for { !ref $redis->try_cmd('FCALL_RO', 'rtbus_version', 0) }
	'library'), 'library');

my %epoch;

###############################################################################

# 20000 events, 5 MB; each client's window and buffers are small, and it reads a
# bit at a time

fill('job:long', 20000, 250);

my @slow = (slow_ws('job:long'), slow_sse('job:long'));

is((grep { $_->status() == ($_->can('recv_json') ? 101 : 200) } @slow), 2,
	'slow clients');

my $before = rss_kb(workers($t));
my $most = 0;
my $reads = reads();

my $all = slowly(\@slow, 20000, sub {
	my $rss = rss_kb(workers($t)) - $before;
	$most = $rss if $rss > $most;
});

ok($all, 'all of a long history');
is(wrong(@slow), '', 'in order');

SKIP: {
	skip 'a sanitizer keeps memory', 1 if $ENV{RTBUS_SANITIZED};

	cmp_ok($most, '<', 2000, 'memory of nginx');
}

note("$most kB, ", reads() - $reads, ' reads');

# live from then on

publish('job:long', 20001);
ok(slowly(\@slow, 20001), 'live after a long history');
is((grep { !$_->eof() } @slow), 2, 'still connected');

$_->drop() for @slow;

###############################################################################

# sizes that nobody could foresee: small ones, and then large ones

fill('job:mixed', 1000, 10);
fill('job:mixed', 200, 30000);

@slow = (slow_ws('job:mixed'), slow_sse('job:mixed'));
$before = rss_kb(workers($t));
$most = 0;

ok(slowly(\@slow, 1200, sub {
	my $rss = rss_kb(workers($t)) - $before;
	$most = $rss if $rss > $most;
}), 'large events behind small ones');
is(wrong(@slow), '', 'large events behind small ones, in order');
note("$most kB");

$_->drop() for @slow;

###############################################################################

# Events of another channel, and answers, come in between: what is replayed
# leaves room for them.

fill('job:live', 1, 10);

my $both = slow_ws('job:long', "job:live\@$epoch{'job:live'}-1");
my ($live, $acks) = (0, 0);

$both->{next}{'job:live'} = 2;

$all = slowly([ $both ], 20001, sub {
	publish('job:live', 2 + $live++) if $live < 50;

	$both->send_json({ event => 'x', ack => ++$acks }) if $acks < 20;
});

ok($all, 'beside another channel');
ok(select_loop([ $both ], sub {
	return $both->{next}{'job:live'} == $live + 2
		&& $both->{acks} == $acks;
}, 10, \&message), "beside another channel, $live events and $acks answers");
is(wrong($both), '', 'beside another channel, in order');

$both->drop();

###############################################################################

# who does not read at all is not closed for what it has asked for, and gets the
# rest when it reads again

my $mute = slow_ws('job:long');

wait_quiet();

fill('job:long', 100, 250);

ok(!$mute->wait_eof(0.3), 'mute client stays');
ok(slowly([ $mute ], 20101), 'mute client goes on');
is(wrong($mute), '', 'mute client, in order');

$mute->drop();

###############################################################################

# A producer goes on all the time.  Who has come to its end is a client like any
# other, and closed if it is too slow then; it comes back by its cursor.

my $many = 6000;

fill('job:fast', 1, 20);
$t->run_daemon(\&producer, 'job:fast', $many);

wait_for { $redis->cmd('XLEN', '{job:fast}:events') > 500 } 'the producer';

my @fast = map { client('Test::RTBus::WebSocket', 'job:fast', path => '/ws') }
	1 .. 5;

push @fast, slow_ws('job:fast'), slow_sse('job:fast');

ok(select_loop(\@fast, sub {
	for my $c (@fast) {
		$c = again($c, 'job:fast') if $c->eof() && !$c->{wrong};
	}

	return !grep { $_->{next}{'job:fast'} <= $many } @fast;
}, 30, \&message), 'beside a producer');

is(wrong(@fast), '', 'beside a producer, in order');

$_->drop() for @fast;

###############################################################################

# 200 clients miss the same 2000 events.  They come while Redis is mute, so that
# none has got anything before the last one is there.

fill('job:crowd', 2000, 200);

my $first = client('Test::RTBus::WebSocket', 'job:crowd', path => '/ws',
	at => 2000);

my $stream = join '', map {
	Test::RTBus::WebSocket->frame(mask => 0, payload =>
		'{"event":"n","data":[' . $_ . ',"' . 'x' x 200 . '"],'
		. '"channel":"job:crowd","cursor":"job:crowd@'
		. "$epoch{'job:crowd'}-$_\"}")
} 1 .. 2000;

my (@crowd, @sse);

$reads = reads();

$redis->pause();

for my $i (1 .. 200) {
	if ($i % 10) {
		push @crowd, client('Test::RTBus::WebSocket', 'job:crowd',
			path => '/ws');
	} else {
		push @sse, client('Test::RTBus::SSE', 'job:crowd',
			path => '/small/sse');
	}
}

$redis->resume();

is(raw($stream, @crowd), 180, 'a crowd');

ok(select_loop(\@sse, sub {
	return !grep { $_->{next}{'job:crowd'} <= 2000 } @sse;
}, 20, \&message), 'a crowd, SSE');
is(wrong(@sse), '', 'a crowd, SSE in order');

$reads = reads() - $reads;

cmp_ok($reads, '<', 100, 'a crowd shares its reads');
note("$reads reads for 200 clients");

publish('job:crowd', 2001);

ok(select_loop([ $first, @crowd, @sse ], sub {
	return !grep { $_->{next}{'job:crowd'} <= 2001 } $first, @crowd, @sse;
}, 20, \&message), 'a crowd, live');
is(wrong($first, @crowd, @sse), '', 'a crowd, live in order');

$_->drop() for @crowd, @sse;

# from all over they do not, and get what each of them has missed

@crowd = map {
	client('Test::RTBus::WebSocket', 'job:crowd', path => '/ws',
		at => 19 * $_)
} 1 .. 100;

is(raw($stream, @crowd), 100, 'a crowd from all over');

$_->drop() for $first, @crowd;

###############################################################################

sub fill {
	my ($channel, $n, $size) = @_;

	my $first = $redis->cmd('HGET', "{$channel}:state", 'seq') || 0;
	my @replies;

	while ($n) {
		my $batch = $n < 1000 ? $n : 1000;

		@replies = $redis->pipeline(map {
			[ 'FCALL', 'rtbus_publish', 1, $channel, 'n',
				'[' . ++$first . ',"' . 'x' x $size . '"]',
				'MAXLEN', 1000000 ]
		} 1 .. $batch);
		$n -= $batch;
	}

	($epoch{$channel}) = $replies[-1] =~ /^(\d+)/;
}

sub publish {
	my ($channel, $seq) = @_;

	$redis->cmd('FCALL', 'rtbus_publish', 1, $channel, 'n', "[$seq,\"\"]",
		'MAXLEN', 1000000);
}

sub producer {
	my ($channel, $last) = @_;
	my $seq = 1;

	while ($seq < $last) {
		$redis->pipeline(map {
			[ 'FCALL', 'rtbus_publish', 1, $channel, 'n',
				'[' . ++$seq . ',"' . 'x' x 100 . '"]',
				'MAXLEN', 1000000 ]
		} 1 .. 20);

		select undef, undef, undef, 0.005;
	}
}

# a client that has the channel up to "at", or nothing of it

sub client {
	my ($class, $channel, %o) = @_;

	my $at = delete $o{at} || 0;
	my $cursor = $at ? "$channel\@$epoch{$channel}-$at" : "$channel\@0-0";

	$cursor .= ",$o{more}" if $o{more};
	delete $o{more};

	my $sse = $class =~ /SSE/;
	my $c = $class->connect(%o, $sse ? (last_event_id => $cursor)
		: (path => "$o{path}?cursor=$cursor"));

	$c->{next} = { $channel => $at + 1 };
	$c->{acks} = 0;
	$c->{wrong} = '';

	return $c;
}

# the same one, from where it stood

sub again {
	my ($c, $channel) = @_;

	my $sse = $c->isa('Test::RTBus::SSE');

	return client(ref $c, $channel, at => $c->{next}{$channel} - 1,
		path => '/small/' . ($sse ? 'sse' : 'ws'));
}

sub slow_ws {
	my ($channel, $more) = @_;

	return client('Test::RTBus::WebSocket', $channel, rcvbuf => 4096,
		port => port(8081), path => '/small/ws', more => $more);
}

sub slow_sse {
	my ($channel) = @_;

	return client('Test::RTBus::SSE', $channel, rcvbuf => 4096,
		port => port(8081), path => '/small/sse');
}

# Reads a little from each in turn, until each has so many of its first channel;
# true if so.

sub slowly {
	my ($clients, $n, $meanwhile) = @_;

	my $end = time() + 30;
	my $turn = 0;

	while (time() < $end) {
		my @left = grep {
			my $c = $_;
			!$c->eof() && grep {
				$_ ne 'job:live' && $c->{next}{$_} <= $n
			} keys %{$c->{next}};
		} @$clients;

		return !grep { $_->eof() } @$clients unless @left;

		for my $c (@left) {
			a_bit($c);
		}

		$meanwhile->() if $meanwhile && $turn++ % 50 == 0;
	}

	return 0;
}

# 8 kB at most, if there is anything

sub a_bit {
	my ($c) = @_;

	my $n = sysread $c->sock(), $c->{in}, 8192, length $c->{in};

	$c->{eof} = 1 if defined $n ? $n == 0
		: !$!{EAGAIN} && !$!{EWOULDBLOCK} && !$!{EINTR};

	select undef, undef, undef, 0.0005 unless $n;

	$c->take();

	while (my $m = $c->next_message()) {
		message($c, $m);
	}
}

# each has to be the next one of its channel

sub message {
	my ($c, $m) = @_;

	my ($channel, $data, $seq);

	if (exists $m->{opcode}) {
		# who is closed does not get to the end, or comes back

		return if $m->{opcode} == 8;

		my $text = $m->{message};

		return if $text =~ /^\{"event":"connected"/;

		if ($text =~ /^\{"ack":/) {
			$c->{acks}++;
			return;
		}

		($data, $channel, $seq)
			= $text =~ /"data":\[(\d+),.*"channel":"(.*?)".*?-(\d+)/
			or $c->{wrong} ||= substr $text, 0, 200;

	} else {
		return if $m->{event} eq 'connected';

		($data) = $m->{data} =~ /^\[(\d+),/;
		($channel, $seq) = $m->{id} =~ /^(.*?)@\d+-(\d+)/;

		$c->{wrong} ||= $m->{event} unless $data;
	}

	return if $c->{wrong};

	my $next = $c->{next}{$channel}++;

	$c->{wrong} = "$channel: $data at $seq, not $next"
		if $data != $next || $seq != $next;
}

# How many of these have got the end of that stream of bytes that they have
# missed.  To look at each of some hundred thousand messages would take long.

sub raw {
	my ($stream, @clients) = @_;

	my $good = 0;

	for my $c (@clients) {
		my $want = substr $stream, offset($stream,
			$c->{next}{'job:crowd'});
		my $end = time() + 10;

		# connected

		$c->recv_json() or next;
		$c->{in} = join('', map {
			$c->frame(mask => 0, payload => $_->{payload})
		} splice @{$c->{queue}}) . $c->{in};

		while (length $c->{in} < length $want && $c->_more($end)) {
			# more
		}

		$good++ if substr($c->{in}, 0, length $want, '') eq $want;
		$c->{next}{'job:crowd'} = 2001;
	}

	return $good;
}

sub offset {
	my ($stream, $seq) = @_;

	my $at = index $stream, '"data":[' . $seq . ',';
	return $at < 0 ? length $stream : rindex $stream, "\x81", $at;
}

sub wrong {
	return join '; ', map { $_->{wrong} || () } @_;
}

# XRANGE so far

sub reads {
	return $redis->cmd('INFO', 'commandstats')
		=~ /^cmdstat_xrange:calls=(\d+)/m ? $1 : 0;
}

# nginx has stopped to ask for more

sub wait_quiet {
	my ($before, $since) = (-1, time());

	wait_for {
		my $now = reads();

		($before, $since) = ($now, time()) if $now != $before;
		return time() - $since > 0.2;
	} 'quiet';
}

###############################################################################
