#!/usr/bin/perl

# Tests for the names of a cursor.  Libraries add it to the URL by names of
# their own, where the page may have put one already; whichever is newest says where
# the client stands, over WebSocket and SSE alike.

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

my $t = Test::Nginx->new()->has(qw/ http /)
	->has_daemon('redis-server')->plan(51);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

$t->write_file_expand('nginx.conf', <<"EOT");

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis      $url;
    rtbus_allow      job:*;
    rtbus_subscribe  job:1;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location / {
            rtbus  websocket sse;
        }
    }
}

EOT

$t->run();
wait_redis($t);

my ($a, $b) = map {
	my $c = $_;
	[ map { $redis->cmd('FCALL', 'rtbus_publish', 1, $c, 'e', $_) } 1 .. 5 ]
} 'job:1', 'job:2';

my ($a2, $a4, $b1, $b4) = map { enc($_) } "job:1\@$a->[1]", "job:1\@$a->[3]",
	"job:2\@$b->[0]", "job:2\@$b->[3]";

my ($epoch) = split /-/, $a->[0];
my $old = enc('job:1@' . ($epoch - 1000) . '-9');

###############################################################################

# one, by any name

for my $name (qw/ lastEventId Last-Event-ID last_event_id cursor LASTEVENTID /)
{
	is(both("/?$name=$a4"), '5', "$name");
	is(both("/?x=1&$name=$a4&y"), '5', "$name in the middle");
}

is(both('/', 'Last-Event-ID' => "job:1\@$a->[3]"), '5', 'header');

# none

for my $args ('', '?', '?cursor', '?cursor=', '?cursor=&lastEventId=', '?&&=&',
	"?cursors=$a4", "?ursor=$a4", "?x=cursor=$a4")
{
	is(both("/$args"), '', "none in \"$args\"");
}

# several: the newest of each channel

is(both("/?cursor=$a2&lastEventId=$a4"), '5', 'newer last');
is(both("/?cursor=$a4&lastEventId=$a2"), '5', 'newer first');
is(both("/?lastEventId=$a2&lastEventId=$a4"), '5', 'the same name twice');
is(both("/?cursor=$a4&cursor=$a4"), '5', 'twice the same');
is(both("/?cursor=$a2", 'Last-Event-ID' => "job:1\@$a->[3]"), '5',
	'newer header');
is(both("/?cursor=$a4", 'Last-Event-ID' => "job:1\@$a->[1]"), '5',
	'older header');
is(both("/?cursor=$a4&last_event_id=" . enc('job:1@0-0')), '5',
	'nothing yet is older');
is(both("/?cursor=$old&last_event_id=$a4"), '5', 'a former epoch is older');
is(both("/?cursor=$a2&last_event_id=$a4," . $b4), '5 5',
	'one more channel');
is(both("/?cursor=$a2,$b4&last_event_id=$a4,$b1"), '5 5',
	'each of its own');
is(both("/?cursor=$b1&cursor=$a2,$b4&last_event_id=$a4"), '5 5', 'three');

# one that is no cursor is told, wherever it stands

for my $args ("?cursor=17", "?cursor=17&lastEventId=$a4",
	"?cursor=$a4&lastEventId=17", "?cursor=$a4&lastEventId=$a2,$a2",
	"?cursor=$a2,$a2&lastEventId=$a4")
{
	for my $h ('Upgrade', 'X-Other') {
		my $c = client("/$args", $h => 'websocket');
		is($c->status(), 400, "400 for $args, $h");
		is(json_decode($c->body())->{error}, 'bad cursor',
			"bad cursor in $args, $h");
	}
}

###############################################################################

sub enc { return $_[0] =~ s/([^\w.-])/sprintf '%%%02X', ord $1/egr }

sub client {
	my ($uri, %h) = @_;

	return ($h{Upgrade} ? 'Test::RTBus::WebSocket' : 'Test::RTBus::SSE')
		->connect(path => $uri, headers => { %h });
}

# the data of what was replayed, if both transports agree

sub both {
	my ($uri, %h) = @_;
	my @got;

	for my $upgrade (0, 1) {
		my $c = client($uri, %h,
			$upgrade ? (Upgrade => 'websocket') : ());
		my @channels = ('job:1', $uri =~ /job%3A2/ ? 'job:2' : ());
		my @data;

		$c->wait_event('connected');

		for my $channel (@channels) {
			wait_for { $redis->subscribers($channel) } 'joined';
			$redis->event($channel, 'end', 0);
		}

		while (my $m = $upgrade ? $c->recv_json() : $c->next_json()) {
			shift @channels if $m->{event} eq 'end';
			last unless @channels;
			push @data, $m->{data} if $m->{event} eq 'e';
			push @data, $m->{event} if $m->{event} =~ /^sync/;
		}

		push @got, join ' ', @data;
		$c->drop();
	}

	return $got[0] eq $got[1] ? $got[0] : "sse: $got[0], ws: $got[1]";
}

###############################################################################
