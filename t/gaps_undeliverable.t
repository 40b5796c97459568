#!/usr/bin/perl

# Tests for durable events that no client can be given: longer than may be, with
# a name that Socket.IO keeps for itself, with attachments that do not fit.  The
# function refuses them; a producer can still add them itself.  Clients are told
# that they have lost one, live and in a history alike, and all goes on.

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
	->has_daemon('redis-server')->plan(28);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

$t->write_file_expand('nginx.conf', <<"EOC");

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis  $url;
    rtbus_allow  job:*;
    rtbus_drain  10ms;

    rtbus_max_event  10k;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location /ws {
            rtbus            websocket;
            rtbus_subscribe  job:a;
        }

        location /sse {
            rtbus            sse;
            rtbus_subscribe  job:a;
        }

        location /publish {
            rtbus_publish  job:a;
        }

        location /large {
            rtbus_publish    job:large;
            rtbus_max_event  2m;
            client_max_body_size  2m;
        }
    }
}

EOC

$t->run();

wait_redis($t);

###############################################################################

my ($epoch) = publish('first', 1) =~ /^(\d+)/;
my $seq = 1;
my ($ws, $sse, @lost);

connect_both();

# as a producer adds them: the entry, and the message that wakes nginx

my $hole = '{"_placeholder":true,"num":1}';

for my $case (
	[ 'reserved name', event => 'connect', data => 1 ],
	[ 'another', event => 'newListener', data => 1 ],
	[ 'too long', event => 'e', data => '"' . 'x' x 10240 . '"' ],
	[ 'too long, args', event => 'e', args => '["' . 'x' x 10240 . '"]' ],
	[ 'no string for a place', event => 'e', data => $hole,
		attachments => '["QUJD"]' ],
	[ 'no base64', event => 'e', data => 1, attachments => '["QUJD\n"]' ],
	[ '11 attachments', event => 'e', data => 1,
		attachments => '[' . '"",' x 10 . '""]' ],
)
{
	my ($name, %entry) = @$case;

	$seq++;
	$redis->cmd('XADD', '{job:a}:events', "$epoch-$seq", %entry);
	$redis->publish('job:a', '{' . join(',', '"event":"' . delete($entry{event})
		. '"', map { qq("$_":$entry{$_}) } sort keys %entry)
		. qq(,"id":"$epoch-$seq","timestamp":1}));

	is(got(), gap(), "$name, live");

	$seq++;
	publish('next', $seq);
	is(got(), "next $seq", "$name, the next one");
}

# of the function's own, with a limit above that of nginx

$seq++;
publish('e', '"' . 'x' x 20000 . '"');
is(got(), gap(), 'longer than nginx allows');

publish('next', ++$seq);
is(got(), "next $seq", 'the next one');

# in a history

my $all = join ' ', map { $_ % 2 ? "next $_" : "lost 1 at $_" } 2 .. $seq;

connect_both("job:a\@$epoch-1");
is(join(' ', map { got() } 2 .. $seq), $all, 'in a history');

# what counts is the message, live and replayed

my $around = length qq({"event":"e","data":"","id":"$epoch-) . ($seq + 1)
	. '","timestamp":1732300000123}';
my $data = '"' . 'x' x (10 * 1024 - $around) . '"';

publish('e', $data);
is(got(), "e $data", 'as long as may be');

$seq += 2;
publish('e', $data =~ s/x/xx/r);
is(got(), gap(), 'a byte more');

publish('next', 1);
is(got(), 'next 1', 'and on');

connect_both("job:a\@$epoch-" . ($seq - 2));
is(got(), "e $data", 'as long as may be, in a history');
is(got(), gap(), 'a byte more, in a history');
is(got(), 'next 1', 'and on, in a history');

# by HTTP: the limit of the location is the function's

like(post('/publish', '{"event":"connect","data":1}'),
	qr/^400 .*reserved event name/, 'reserved name by HTTP');
like(post('/publish', '{"event":"e","data":[],"attachments":["QQ"]}'),
	qr/^400 .*attachment is not base64/, 'bad base64 by HTTP');
like(post('/publish', qq({"event":"e","data":$hole,"attachments":["QQ=="]})),
	qr/^400 .*bad placeholder/, 'bad place by HTTP');
like(post('/large', '{"event":"e","data":"' . 'x' x 1500_000 . '"}'),
	qr/^201 /, 'location with a larger limit');

# whatever was refused has no position

is($redis->cmd('FCALL_RO', 'rtbus_position', 1, 'job:a')->[0],
	"$epoch-" . ($seq + 1), 'position');

###############################################################################

sub publish {
	return $redis->cmd('FCALL', 'rtbus_publish', 1, 'job:a', @_);
}

sub connect_both {
	my ($cursor) = @_;

	my $args = $cursor ? "?cursor=$cursor" : '';

	$ws = Test::RTBus::WebSocket->connect(path => "/ws$args");
	$ws->recv_json();
	$sse = Test::RTBus::SSE->connect(path => "/sse$args");
	$sse->next_event();
}

sub gap { "lost 1 at $seq" }

# the next message of both clients

sub got {
	my $m = $ws->recv_json() || {};
	my $e = $sse->next_event() || {};

	my @got = map {
		my ($name, $data) = @$_;

		$data = json_encode($data) if ref $data;

		$name ne 'sync:gap' ? "$name $data"
			: $data =~ /"lost":(\d+),.*-(\d+)"/ ? "lost $1 at $2"
			: "? $data";
	} [ $m->{event} || '', ref $m->{data} || $m->{data} !~ /^x/ ? $m->{data}
		: qq("$m->{data}") ], [ $e->{event} || '', $e->{data} ];

	return $got[0] eq $got[1] ? $got[0] : "$got[0] but $got[1]";
}

sub post {
	my ($path, $body) = @_;

	my $r = http("POST $path HTTP/1.0\r\nHost: localhost\r\n"
		. "Content-Type: application/json\r\nContent-Length: "
		. length($body) . "\r\n\r\n$body");

	return $r =~ m!^HTTP/1.1 (\d+ ).*?\r\n\r\n(.*)!s ? $1 . $2 : $r;
}

###############################################################################
