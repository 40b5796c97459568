#!/usr/bin/perl

# Tests for durable events from POST to client: what was answered with 201 and a
# position is in the stream, in the state, and reaches each client on each
# worker exactly once at that position, however many post at the same time.
# What was refused has written nothing.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Redis;
use Test::RTBus::SSE;
use Test::RTBus::WebSocket;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http rewrite /)
	->has_daemon('redis-server')->plan(69);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

$t->write_file_expand('nginx.conf', <<"EOC");

%%TEST_GLOBALS%%

daemon off;
worker_processes 2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis   $url;
    rtbus_prefix  p:;
    rtbus_allow   job:*;

    server {
        listen       127.0.0.1:8080 reuseport;
        server_name  localhost;

        location /ws {
            rtbus           websocket;
            rtbus_subscribe \$arg_channel;

            add_header      X-Worker \$pid always;
        }

        location /sse {
            rtbus           sse;
            rtbus_subscribe \$arg_channel;

            add_header      X-Worker \$pid always;
        }

        location ~ ^/publish/(.*)\$ {
            rtbus_publish   \$1;
            rtbus_max_event 1000;
        }

        location ~ ^/state/(.*)\$ {
            rtbus_state \$1;
        }
    }
}

EOC

$t->run();

ok((wait_for { post('job:0', '{"event":"a"}')->status() == 201 } 'Redis'),
	'connected');

my ($r, $m);

###############################################################################

# clients on each worker and in each protocol

my @ws = on_each_worker('Test::RTBus::WebSocket', '/ws?channel=job:42');
my @sse = on_each_worker('Test::RTBus::SSE', '/sse?channel=job:42');

is(scalar(@ws), 2, 'WebSocket on two workers');
is(scalar(@sse), 2, 'SSE on two workers');

is((grep { $_->recv_json()->{cursor} eq 'job:42@0-0' } @ws), 2,
	'nothing yet, WebSocket');
is((grep { $_->next_event()->{id} eq 'job:42@0-0' } @sse), 2,
	'nothing yet, SSE');

my $epoch;

for my $seq (1 .. 3) {
	$r = post('job:42', qq({"event":"tok:v1","data":{"i": $seq }}));

	is($r->status(), 201, "event $seq");
	is($r->header('Content-Type'), 'application/json', "event $seq type");

	my $answer = json_decode($r->body());

	like($answer->{id}, qr/^\d{13}-$seq\z/, "event $seq id");
	is($answer->{channel}, 'job:42', "event $seq channel");

	($epoch) = $answer->{id} =~ /^(\d+)/ unless $epoch;
	is($answer->{id}, "$epoch-$seq", "event $seq epoch");

	my $message = qq({"event":"tok:v1","data":{"i": $seq },)
		. qq("channel":"job:42","cursor":"job:42\@$epoch-$seq"});

	is((grep { $_->recv_message()->{message} eq $message } @ws), 2,
		"event $seq WebSocket");

	is(scalar(grep {
		my $e = $_->next_event();
		$e->{event} eq 'tok:v1' && $e->{data} eq qq({"i": $seq })
			&& $e->{id} eq "job:42\@$epoch-$seq";
	} @sse), 2, "event $seq SSE");
}

# what Redis holds

my $entries = $redis->cmd('XRANGE', 'p:{job:42}:events', '-', '+');

is_deeply([ map { $_->[0] } @$entries ], [ map { "$epoch-$_" } 1 .. 3 ],
	'entries');
is_deeply([ @{$entries->[0][1]}[0 .. 4] ],
	[ 'event', 'tok:v1', 'data', '{"i": 1 }', 'timestamp' ], 'fields');
cmp_ok(abs($entries->[0][1][5] / 1000 - time()), '<', 60, 'timestamp');

my $ttl = $redis->cmd('PTTL', 'p:{job:42}:events') / 1000;
ok($ttl > 86390 && $ttl <= 86400, 'one day') or diag($ttl);
is($redis->cmd('PUBSUB', 'CHANNELS', '*job:*')->[0], 'p:job:42', 'prefix');

# the other forms of an event

$r = published('job:42', '{"event":"a","args":[1, "\u20ac"]}');
is($ws[0]->recv_message()->{message}, qq({"event":"a","args":[1, "\\u20ac"],)
	. qq("channel":"job:42","cursor":"job:42\@$r"}), 'args');
is($sse[0]->next_event()->{data}, '[1, "\u20ac"]', 'args, SSE');

$r = published('job:42',
	'{"event":"b","data":{"_placeholder":true,"num":0},'
	. '"attachments":["AA=="]}');
$m = $ws[0]->recv_json();
is_deeply($m->{attachments}, [ 'AA==' ], 'attachments');
is($m->{data}{num}, 0, 'attachments data');
is($m->{cursor}, "job:42\@$r", 'attachments cursor');
is($sse[0]->next_event()->{id}, "job:42\@$r", 'attachments, SSE');

published('job:42', '{"event":"\ud83d\ude00 \"q\"\\\\"}');
$m = $ws[0]->recv_json();
is($m->{event}, "\x{1f600} \"q\"\\", 'escapes in the name');
is($m->{data}, undef, 'no data');
is($sse[0]->next_event()->{event}, "\xf0\x9f\x98\x80 \"q\"\\",
	'escapes in the name, SSE');

# state and text grow in the same step

for my $part ("Hel", "lo \xe2\x82\xac", "\\n") {
	published('job:42', qq({"event":"c","append":"$part",)
		. q("set":{"status":"running","progress":50,"jobId":"42"},)
		. qq("ttl":60}));
}

my $state = json_decode(get('/state/job:42')->body());

is($state->{output}, "Hello \x{20ac}\n", 'output');
is($state->{status}, 'running', 'state');
is($state->{progress}, 50, 'state number');
is($state->{position}, "$epoch-9", 'state position');

$_->wait_event('c') for map { ($_) x 3 } $ws[0], $sse[0];

for my $name (qw/ events state output /) {
	my $left = $redis->cmd('PTTL', "p:{job:42}:$name") / 1000;
	ok($left > 58 && $left <= 60, "ttl $name") or diag($left);
}

# trimmed "about" to a length: by whole nodes of the stream

published('job:short', '{"event":"d","maxlen":1}') for 1 .. 250;
cmp_ok($redis->cmd('XLEN', 'p:{job:short}:events'), '<', 150, 'maxlen');

# what is refused writes nothing

for my $case (
	[ 'id', '"id":"1-1"' ],
	[ 'another id', '"id":7' ],
	[ 'empty id', '"id":""' ],
	[ 'append', '"append":{}' ],
	[ 'ttl', '"ttl":0' ],
	[ 'long ttl', '"ttl":315360001' ],
	[ 'huge ttl', '"ttl":99999999999999999999' ],
	[ 'maxlen', '"maxlen":1.5' ],
	[ 'set', '"set":"a"' ],
	[ 'set of seq', '"set":{"seq":9}' ],
	[ 'set of epoch', '"set":{"a":1,"epoch":9}' ],
)
{
	my ($name, $member) = @$case;

	$r = post('job:bad', qq({"event":"a","data":1,$member}));

	is($r->status(), 400, "bad $name") or diag($r->body());
}

is(post('job:bad', '{"event":"a","data":"' . 'x' x 1000 . '"}')->status(), 413,
	'too long');
is_deeply([ map { $redis->cmd('EXISTS', "p:{job:bad}:$_") }
	qw/ events state output / ], [ 0, 0, 0 ], 'nothing written');

# many at once: each position once, in the order of each who posts, and to all

my ($posters, $each) = (16, 60);
my $all = $posters * $each;

my @posters = map {
	Test::RTBus::Client->open_client(method => 'POST')
} 1 .. $posters;

for my $p (0 .. $#posters) {
	$posters[$p]->send_raw(join '', map {
		request('job:42', qq({"event":"n","data":[$p,$_]}))
	} 1 .. $each);
}

my (%seqs, @order);

for my $p (0 .. $#posters) {
	for my $i (1 .. $each) {
		my $id = answer($posters[$p])->{id};
		my ($seq) = $id =~ /^$epoch-(\d+)\z/ or next;

		$seqs{$seq} = [ $p, $i ];
		push @{$order[$p]}, $seq;
	}
}

is_deeply([ sort { $a <=> $b } keys %seqs ], [ 10 .. 9 + $all ],
	'concurrent posts');
is((grep { "@$_" eq join ' ', sort { $a <=> $b } @$_ } @order), $posters,
	'concurrent posts in order');

# and what clients have got of it

my @expected = map { "$epoch-$_ @{$seqs{$_} || []}" } 10 .. 9 + $all;

for my $ws (@ws) {
	my @got;

	while (@got < $all) {
		my $e = $ws->wait_event('n') or last;
		push @got, "$e->{cursor} @{$e->{data}}" =~ s/^job:42@//r;
	}

	is_deeply(\@got, \@expected, 'concurrent posts, WebSocket');
}

for my $sse (@sse) {
	my @got;

	while (@got < $all) {
		my $e = $sse->wait_event('n') or last;
		my $data = json_decode($e->{data});
		push @got, "$e->{id} @$data" =~ s/^job:42@//r;
	}

	is_deeply(\@got, \@expected, 'concurrent posts, SSE');
}

# nothing came twice

published('job:42', '{"event":"end"}');

is((grep { ($_->recv_json() || {})->{event} eq 'end' } $ws[0]), 1,
	'end, WebSocket');
is((grep { ($_->next_event() || {})->{event} eq 'end' } $sse[0]), 1,
	'end, SSE');

###############################################################################

sub on_each_worker {
	my ($class, $path) = @_;
	my %by;

	wait_for {
		my $c = $class->connect(path => $path);
		$by{$c->header('X-Worker') || 0} ||= $c;
		return keys %by == 2;
	} 'a client on each worker';

	return values %by;
}

sub request {
	my ($channel, $body) = @_;

	return "POST /publish/$channel HTTP/1.1\r\nHost: localhost\r\n"
		. "Content-Length: " . length($body) . "\r\n\r\n$body";
}

sub post {
	my ($channel, $body) = @_;

	my $c = Test::RTBus::Client->open_client(method => 'POST');

	$c->send_raw(request($channel, $body));
	$c->read_body() if $c->read_head();

	return $c;
}

# the next answer on a connection

sub answer {
	my ($c) = @_;

	$c->{headers} = {};
	$c->read_head() && $c->read_body();

	return $c->status() == 201 ? json_decode($c->body()) : { id => '' };
}

sub published {
	my ($channel, $body) = @_;

	my $r = post($channel, $body);

	return $r->status() == 201 ? json_decode($r->body())->{id}
		: $r->status();
}

sub get {
	my ($path) = @_;

	return Test::RTBus::SSE->connect(path => $path, accept => undef);
}

###############################################################################
