#!/usr/bin/perl

# Tests for what Redis sees of the subscriptions: one for each channel and
# worker, however many clients there are and however they come and go.  A
# channel that was left lingers, since browsers reload and networks blink.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Redis;
use Test::RTBus::SSE;
use Test::RTBus::WebSocket;

use Time::HiRes qw/ time /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server');

plan(skip_all => 'the module is not built') unless module_file();

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

$t->write_file_expand('nginx.conf', <<"CONF")->plan(45);

%%TEST_GLOBALS%%

daemon off;
worker_processes 2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis $url;
    rtbus_allow *;
    rtbus_max_channels 300;
    rtbus_message_rate 10000r/s;

    add_header X-Pid \$pid always;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location / {
            rtbus websocket sse;
            rtbus_subscribe \$arg_channel;
        }
    }
}

CONF

my $monitor = $redis->monitor();
my (%subscribe, %unsubscribe);

$t->run();

###############################################################################

# many clients, one subscription in each worker

my (@ws, @sse, %pids);

while (keys %pids < 2 || @ws < 40) {
	push @ws, Test::RTBus::WebSocket->connect(path => '/?channel=job:1');
	push @sse, Test::RTBus::SSE->connect(path => '/?channel=job:1');
	$pids{$ws[-1]->header('X-Pid')} = $ws[-1];

	die "All clients have gone to one worker\n" if @ws > 500;
}

ok($redis->wait_subscribers('job:1', 2), 'one subscription for each worker');
is($redis->event('job:1', 'first', 1), 2, 'event to each worker');
is(scalar(grep { $_->wait_event('first') } @ws, @sse), @ws + @sse,
	'event to each client');

is(ask($ws[0], subscribe => 'job:1'), 'ok', 'subscribed twice');
$redis->event('job:1', 'second', 2);
is(scalar(grep { $_->wait_event('second') } @ws, @sse), @ws + @sse,
	'event to each client again');
is(scalar(grep { $_->{event} && $_->{event} ne 'connected' }
	map { $_->pending_json() } @ws), 0, 'and only one');

look();
is($subscribe{'job:1'}, 2, 'SUBSCRIBE once from each worker');

# one of each worker stays

my %stays = map { $_ => 1 } values %pids;

$_->drop() for @sse, grep { !$stays{$_} } @ws;
@ws = grep { $stays{$_} } @ws;

is($redis->event('job:1', 'third', 3), 2, 'event after many have left');
is(scalar(grep { $_->wait_event('third') } @ws), 2, 'event to the rest');

# all that lingers does so at the same time

my $ws = $ws[0];
my @many = map { "many:$_" } 1 .. 200;

is(join(' ', ask($ws, map { (subscribe => $_) }
	qw/ gone back flip /)), 'ok ok ok', 'subscribed');
is(scalar(grep { $_ eq 'ok' } ask($ws, map { (subscribe => $_) } @many)),
	200, 'subscribed to many');
is(subscribed(qw/ gone back flip /, @many), 203, 'in Redis');

my $start = time();

is(join(' ', ask($ws, unsubscribe => 'gone', unsubscribe => 'back')), 'ok ok',
	'left');
is(scalar(grep { $_ eq 'ok' } ask($ws, map { (unsubscribe => $_) } @many)),
	200, 'left many');
is(subscribed(qw/ gone back /, @many), 202, 'still in Redis');

is($redis->event('gone', 'missed', 1), 1, 'event while it lingers');
is(ask($ws, subscribe => 'back'), 'ok', 'back again');
is($redis->event('back', 'back', 1), 1, 'event after it is back');
ok($ws->wait_event('back'), 'event to who is back');

is(join(' ', ask($ws, (unsubscribe => 'flip', subscribe => 'flip') x 10)),
	join(' ', ('ok') x 20), 'to and fro');
$redis->event('flip', 'flip', 1);
ok($ws->wait_event('flip'), 'event after to and fro');

# faster than Redis: a subscribe that is under way is answered all the same

is(join(' ', ask($ws, subscribe => 'early', unsubscribe => 'early')),
	'unsubscribed ok', 'left before it was joined');
is(join(' ', ask($ws, subscribe => 'twice', unsubscribe => 'twice',
	subscribe => 'twice')), 'unsubscribed ok ok',
	'left before it was joined, and back');
is(join(' ', ask($ws, subscribe => 'double', subscribe => 'double')),
	'ok subscribe is under way', 'joined twice at a time');

$redis->event('twice', 'twice', 1);
ok($ws->wait_event('twice'), 'event after left and back');

# a connection that is cut, and one that is closed, leave their channels

for my $end (qw/ drop reset close /) {
	my $c = Test::RTBus::WebSocket->connect(path => "/?channel=$end");

	$redis->wait_subscribers($end, 1);
	$c->$end();
}

my $c = Test::RTBus::SSE->connect(path => '/?channel=sse');

$redis->wait_subscribers('sse', 1);
$c->drop();

look();

is(join(' ', map { $subscribe{$_} || 0 } qw/ gone back flip early twice
	double /), '1 1 1 1 1 1', 'SUBSCRIBE once each');
is(join(' ', map { "$_:$unsubscribe{$_}" } sort keys %unsubscribe), '',
	'no UNSUBSCRIBE yet');

# now the time of those that nobody wants is over

ok((wait_for { subscribed('gone') == 0 } 'the end of the linger', 15),
	'not in Redis any more');

my $time = time() - $start;

cmp_ok($time, '>', 4, 'after some time');
cmp_ok($time, '<', 10, 'and not much more');

ok((wait_for { subscribed(@many) == 0 } 'the end of many', 15), 'nor many');
ok((wait_for { subscribed(qw/ early drop reset close sse /) == 0 }
	'the end of the others', 15), 'nor those of who left');
is(subscribed(qw/ back flip twice double /), 4, 'others stay in Redis');
is($redis->subscribers('job:1'), 2, 'the first channel stays, too');

look();

is(join(' ', map { $unsubscribe{$_} || 0 } qw/ gone early drop reset close
	sse /), '1 1 1 1 1 1', 'UNSUBSCRIBE once each');
is(join(' ', map { $unsubscribe{$_} || 0 } qw/ back flip twice double /),
	'0 0 0 0', 'no UNSUBSCRIBE of others');
is(scalar(grep { $subscribe{$_} == 1 && $unsubscribe{$_} == 1 } @many), 200,
	'once each of many');

# from the start

is(ask($ws, subscribe => 'gone'), 'ok', 'subscribed anew');
look();
is($subscribe{'gone'}, 2, 'SUBSCRIBE again');
is($redis->event('gone', 'found', 1), 1, 'event to who is subscribed anew');
ok($ws->wait_event('found'), 'event received');

is(join(' ', map { $_->{event} } grep { $_->{event} ne 'connected' }
	$ws->pending_json()), '', 'nothing twice, nothing that was left');

# leaving twice

is(ask($ws, unsubscribe => 'gone'), 'ok', 'left again');
is(ask($ws, unsubscribe => 'gone'), 'not subscribed', 'left already');
is(ask($ws, unsubscribe => 'never'), 'not subscribed', 'never joined');

$_->drop() for @ws;

###############################################################################

# Sends all requests in one piece; -> "ok" or the error of each answer.

my $ack;

sub ask {
	my ($ws, @requests) = @_;

	my $bytes = '';
	my @acks;

	while (my ($event, $channel) = splice @requests, 0, 2) {
		push @acks, ++$ack;

		$bytes .= $ws->frame(payload => json_encode({ event => $event,
			data => { channel => $channel }, ack => $ack }));
	}

	$ws->send_raw($bytes);

	my @answers = map {
		my $m = $ws->wait_ack($_);
		$m ? $m->{data}{error} || 'ok' : 'no answer'
	} @acks;

	return wantarray ? @answers : $answers[0];
}

# how many of these channels Redis has a subscription of

sub subscribed {
	my %n = @{$redis->cmd('PUBSUB', 'NUMSUB', @_)};

	return scalar grep { $_ } values %n;
}

# Reads what MONITOR has shown by now.

my $marks;

sub look {
	my $mark = 'mark-' . ++$marks;
	my $seen;

	$redis->cmd('ECHO', $mark);

	wait_for {
		for my $line ($monitor->lines()) {
			$seen = 1 if $line =~ /"ECHO" "$mark"/;

			$line =~ /\] "((?:UN)?SUBSCRIBE)" (.*)/ or next;
			my ($command, $names) = ($1, $2);

			for my $name ($names =~ /"([^"]*)"/g) {
				$command eq 'SUBSCRIBE'
					? $subscribe{$name}++
					: $unsubscribe{$name}++;
			}
		}

		$seen;
	} 'MONITOR';
}

###############################################################################
