#!/usr/bin/perl

# Tests for several rtbus_forward rules, behind a prefix: a client on more than
# one of the channels of an event gets it once, as does one whose producer has
# published the same bytes to two channels that match.  Patterns that overlap
# are subscribed to once, and the prefix is text, whatever Redis could read into
# it.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Redis;
use Test::RTBus::WebSocket;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server');

plan(skip_all => 'the module is not built') unless module_file();

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

# to Redis that could be a pattern of many prefixes

my $prefix = 'a*[1]?\\:';

$t->write_file('schema.json', '{"shape":{"required":["text"]}}');

$t->write_file_expand('nginx.conf', <<"CONF")->plan(33);

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis $url;
    rtbus_prefix '$prefix';
    rtbus_schema schema.json;
    rtbus_message_rate 1000r/s;
    rtbus_allow *;

    rtbus_forward job:4* watch;
    rtbus_forward job:* "user:{userId}";
    rtbus_forward job:* "team:{owner.team}:{owner.no}";
    rtbus_forward model:chunk "user:{userId}";
    rtbus_forward self:* "self:{id}";
    rtbus_forward rtbus:* "user:{userId}";

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location / {
            rtbus websocket;
        }
    }
}

CONF

$t->run();
wait_redis($t);

###############################################################################

# job:* stands for job:4*, too

is((wait_for { $redis->cmd('PUBSUB', 'NUMPAT') == 4 } 'patterns'), 1,
	'patterns that overlap');

my $fences = 0;

my $user = client('user:7');
my $team = client('team:red:5');
my $both = client('team:red:5', 'user:7');
my $watch = client('watch');
my $three = client('watch', 'user:7', 'team:red:5');
my $job = client('user:7', 'watch', 'job:41');

my %data = (userId => '7', owner => { team => 'red', no => 5 });

event('job:41', 'a', \%data);

is(got($user), 'user:7 a', 'one of the channels');
is(got($team), 'team:red:5 a', 'another one');
is(got($both), 'user:7 a', 'two: the first rule counts');
is(got($watch), 'watch a', 'the channel of a rule without members');
is(got($three), 'watch a', 'three channels');
is(got($job), 'job:41 a', 'its own channel');

event('job:31', 'b', { owner => { team => 'red', no => 5 } });

is(got($both), 'team:red:5 b', 'a rule that makes nothing');
is(got($watch), '', 'a rule that does not match');

event('job:31', 'c', { userId => '7', owner => { team => 'red' } });
event('job:31', 'c', { userId => '7', owner => 'red' });
event('job:31', 'c', { userId => '7', owner => { team => 'red',
	no => 'x' x 200 } });

is(got($team), 'team:red:5 b', 'half of what is needed');
is(got($both), join(' ', ('user:7 c') x 3), 'that of another rule');

# a channel that an event is forwarded to is no source

event('self:1', 'd', { id => 1 });
event('self:2', 'd', { id => 1 });

my $self = client('self:1');

event('self:1', 'e', { id => 1 });
event('self:2', 'f', { id => 1 });
event('self:1', 'g', { id => 2 });

is(got($self), 'self:1 e self:1 f self:1 g', 'its own channel again');

# mailboxes of workers are not for clients

my ($box) = grep { index($_, "${prefix}rtbus:worker:") == 0 }
	@{ $redis->cmd('PUBSUB', 'CHANNELS', '*rtbus:worker:*') };

ok($box, 'mailbox');
event(substr($box, length $prefix), 'secret', \%data);
event('rtbus:other', 'h', \%data);

is(got($user), 'user:7 c user:7 c user:7 c user:7 h', 'no mailbox');

# the prefix is text

for my $other ('', 'axx1x\\:', 'a*1x\\:', 'a*[1]x\\:', 'a*[1]?:',
	'a\\*\\[1\\]\\?\\\\:', "x$prefix")
{
	$redis->event("${other}job:41", 'foreign', \%data);
}

$redis->event("a*[1]?\\:", 'foreign', \%data);

is(got($user), '', 'other prefixes');

###############################################################################

got($_) for $both, $three, $job;

# the same bytes on two channels

my $at = 1732300000123;

event('model:chunk', 'k', \%data, timestamp => $at);
event('job:31', 'k', \%data, timestamp => $at);

is(got($user), 'user:7 k', 'published twice');
is(got($team), 'team:red:5 k', 'published twice, another rule');
is(got($both), 'user:7 k', 'published twice, two channels');

event('job:31', 'l', \%data, timestamp => $at) for 1 .. 2;

is(got($user), 'user:7 l user:7 l', 'twice on one channel');

event('model:chunk', 'm', \%data, timestamp => $at) for 1 .. 3;
event('job:31', 'm', \%data, timestamp => $at) for 1 .. 3;

is(got($user), 'user:7 m user:7 m user:7 m', 'three times on two');

event($_ % 2 ? 'model:chunk' : 'job:31', 'n', \%data, timestamp => $at)
	for 1 .. 6;

is(got($user), 'user:7 n user:7 n user:7 n', 'three times, in turn');

event('model:chunk', 'o', \%data);
event('job:31', 'o', \%data);

is(got($user), 'user:7 o user:7 o', 'without a timestamp');

event('model:chunk', 'p', \%data, timestamp => $at);
event('job:31', 'p', \%data, timestamp => $at + 1);

is(got($user), 'user:7 p user:7 p', 'another timestamp');

event('model:chunk', 'q', { %data, index => 1 }, timestamp => $at);
event('job:31', 'q', { %data, index => 2 }, timestamp => $at);

is(got($user), 'user:7 q user:7 q', 'other data');

# many, a thousand at a time, each once on two channels

my @many = map { my $n = $_; map { [ 'PUBLISH', "$prefix$_",
	json_encode({ event => "r$n", data => \%data, timestamp => $at + $n })
] } 'model:chunk', 'job:31' } 1 .. 1000;

$redis->pipeline(@many);

ok(got($user) eq join(' ', map { "user:7 r$_" } 1 .. 1000), 'many');

got($_) for $team, $both, $three, $job;

# durable ones are numbered each by itself

$redis->cmd('FCALL', 'rtbus_publish', 1, "$prefix\{$_}", 's',
	json_encode(\%data)) for 'job:31', 'job:41';

is(got($user), 'user:7 s user:7 s', 'durable');
is(got($job), 'user:7 s job:41 s', 'durable, one on its own channel');

###############################################################################

# invalid events count once, though two rules match and the channel is joined

my ($count, $lines) = (0, 0);

ok((wait_for {
	event('job:41', '', {});
	$count++;
	got($job);

	my $n = error_log_count($t, qr/invalid event/);
	my $again = $n > $lines && $lines;

	$lines = $n;
	$again;
} 'two lines'), 'invalid events');

my $counted = 0;

for my $line (split /\n/, error_log($t)) {
	$counted += 1 + $1 if $line
		=~ /invalid event on channel "job:41".* (\d+) more since/;
}

is($counted, $count, 'each counted once');

event('job:31', 't', \%data);
is(got($team), 'team:red:5 s team:red:5 s team:red:5 t', 'and on it goes');

# nor is an event forwarded that has another shape than it should

ok((wait_for {
	event('job:31', 'shape', \%data);
	error_log_count($t, qr/on channel "job:31" .*"shape": .*text is missing/);
} 'line'), 'wrong shape');

event('job:41', 'shape', \%data);
event('job:31', 'shape', { %data, text => 'x' });

is(got($team), 'team:red:5 shape', 'right shape');

# no more channels than clients have asked for

is_deeply([ sort grep { !/rtbus:worker/ }
	map { substr $_, length $prefix } @{ $redis->cmd('PUBSUB', 'CHANNELS') }
	], [ 'job:41', 'self:1', 'team:red:5', 'user:7', 'watch' ],
	'no other channels');

###############################################################################

sub client {
	my (@channels) = @_;

	my $c = Test::RTBus::WebSocket->connect(path => '/');

	for my $channel (@channels) {
		$c->send_json({ event => 'subscribe',
			data => { channel => $channel }, ack => 1 });
		$c->wait_ack(1)->{data}{ok} or die "No $channel\n";
	}

	$c->wait_event('connected');

	return { c => $c, channel => $channels[0] };
}

sub event {
	my ($channel, $name, $data, %more) = @_;

	return $redis->event("$prefix$channel", $name, $data, %more);
}

# What a client has got by now, as text.

sub got {
	my ($client) = @_;

	my $name = 'fence' . ++$fences;
	my @got;

	event($client->{channel}, $name, 1);

	while (my $m = $client->{c}->recv_json()) {
		last if $m->{event} eq $name;

		push @got, "$m->{channel} $m->{event}"
			unless $m->{event} =~ /^fence/;
	}

	return join ' ', @got;
}

###############################################################################
