#!/usr/bin/perl

# Tests for what producers answer: rtbus_command with reply=, where the client's
# ack is the producer's word, and events for one client.
#
# Producers answer late, twice, to nobody and with junk.  None of that may reach
# a client that did not ask, and no client may wait for ever.

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

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server')
	->plan(70);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $redis_url = $redis->url();
my $deaf_url = $redis->url(user => 'deaf', password => 'secret');

# a user whose worker cannot listen to its mailbox

$redis->cmd(qw/ ACL SETUSER deaf on >secret ~* +@all resetchannels &job:* /);

my $conf = <<"EOC";

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis         $redis_url;
    rtbus_prefix        p:;
    rtbus_user          \$arg_user;
    rtbus_allow         job:*;
    rtbus_message_rate  1000r/s;

    rtbus_command  ask    reply=30s;
    rtbus_command  quick  reply=300ms;
    rtbus_command  mine   reply=30s job=jobId owner;
    rtbus_command  plain;
    rtbus_command  \@connect     stream=connects;
    rtbus_command  \@disconnect  stream=gone;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location /ws {
            rtbus websocket sse;
            rtbus_subscribe \$arg_channel;
        }
    }
}

EOC

$t->write_file_expand('nginx.conf', $conf);
$t->run();
wait_redis($t);

wait_for { !ref $redis->try_cmd('FCALL_RO', 'rtbus_version', 0) } 'library';
wait_for { @{$redis->cmd('PUBSUB', 'CHANNELS', 'p:rtbus:worker:*')} == 1 }
	'mailbox';

###############################################################################

my $n = 0;
my $main = 'p:rtbus:commands';

my $ws = client('ann');

# an answer

my $id = asked($ws, 'ask', { q => 1 });
my $c = $redis->take($main);

like($c->{ack}, qr/^[1-9]\d*\z/, 'ack is a number');
is($redis->answer($c, { data => [ { a => 1 } ] }), 1, 'answered');
is_deeply($ws->wait_ack($id), { ack => $id, data => { a => 1 } },
	'the ack is the answer');

is($redis->answer($c, { data => [ 'twice' ] }), 1, 'answered again');
nothing($ws, 'dropped');

# all kinds of answers

for my $case (
	[ 'two arguments', { data => [ 1, [ 2 ] ] },
		{ data => 1, args => [ 1, [ 2 ] ] } ],
	[ 'null and more', { data => [ undef, 2 ] },
		{ data => undef, args => [ undef, 2 ] } ],
	[ 'no arguments', { data => [] }, { data => undef } ],
	[ 'no data', {}, { data => undef } ],
	[ 'null', { data => undef }, { data => undef } ],
	[ 'no array', { data => 'text' }, { data => 'text' } ],
	[ 'an object', { data => { x => "\x{263a}" } },
		{ data => { x => "\x{263a}" } } ],
	[ 'binary', { data => [ { _placeholder => JSON::PP::true, num => 0 } ],
		attachments => [ 'AQID' ] },
		{ data => { _placeholder => JSON::PP::true, num => 0 },
		attachments => [ 'AQID' ] } ],
	[ 'bad attachments', { data => [ 1 ], attachments => [ 2 ] },
		{ data => { ok => JSON::PP::false, error => 'bad reply' } } ],
	[ 'no place for an attachment', { attachments => [ 'AQID' ],
		data => [ { _placeholder => JSON::PP::true, num => 1 } ] },
		{ data => { ok => JSON::PP::false, error => 'bad reply' } } ],
	[ 'no base64', { attachments => [ 'AQI_' ],
		data => [ { _placeholder => JSON::PP::true, num => 0 } ] },
		{ data => { ok => JSON::PP::false, error => 'bad reply' } } ],
)
{
	my ($name, $answer, $ack) = @$case;

	$id = asked($ws, 'ask', $name);
	$redis->answer($redis->take($main) || {}, $answer);
	is_deeply($ws->wait_ack($id), { ack => $id, %$ack }, $name);
}

# a producer that gives the field back as it was

$id = asked($ws, 'ask');
$c = $redis->take($main);
$redis->answer($c, { ack => "$c->{ack}", data => [ 'string' ] });
is($ws->wait_ack($id)->{data}, 'string', 'ack in quotes');

# junk

$id = asked($ws, 'ask');
$c = $redis->take($main);

for my $junk ('0', '-1', '1.5', '1e3', '"x"', '""', 'null', '{}', '[]', 'true',
	'18446744073709551616', $c->{ack} + 1, "\"$c->{ack}x\"")
{
	is($redis->publish($c->{reply}, "{\"ack\":$junk,\"data\":[1]}"), 1,
		"junk: $junk");
}

nothing($ws, 'not for us');
$redis->answer($c, { data => [ 2 ] });
is($ws->wait_ack($id)->{data}, 2, 'the true one');

# each its own

my $bob = client('bob');

my @ids = map { [ $_, asked($_, 'ask', $n) ] } $ws, $bob, $bob, $ws;
my @commands = $redis->take($main, 4);

my %seen = map { $_->{ack} => 1 } @commands;
is(scalar keys %seen, 4, 'numbers of their own');

$redis->answer($_, { data => [ $_->{data} + 1 ] }) for @commands[2, 0, 3, 1];

is($_->[0]->wait_ack($_->[1])->{data}, $_->[1], 'the answer to this one')
	for @ids;

# the owner is asked for first

$redis->cmd('HSET', 'p:{job:1}:state', 'userId', 'ann');
$id = asked($ws, 'mine', { jobId => 1 });
$redis->answer($redis->take($main), { data => [ 'yours' ] });
is($ws->wait_ack($id)->{data}, 'yours', 'owner');

$id = asked($bob, 'mine', { jobId => 1 });
is($bob->wait_ack($id)->{data}{error}, 'forbidden', 'not the owner');

# in time

my $start = time();

$id = asked($ws, 'quick');
is_deeply($ws->wait_ack($id)->{data},
	{ ok => JSON::PP::false, error => 'timeout' }, 'timeout');
cmp_ok(time() - $start, '>=', 0.28, 'not too early');

$c = $redis->take($main);
is($redis->answer($c, { data => [ 'late' ] }), 1, 'a late answer');
nothing($ws, 'is dropped');

# no ack: no answer

$ws->send_json({ event => 'ask', data => 'quiet' });
$c = $redis->take($main);
is($c->{ack}, undef, 'no ack wanted');
is($c->{data}, '"quiet"', 'sent all the same');

# the same command, asked again

my $once = { ackId => 'once' };

@ids = map { [ $_, asked($_, 'ask', $once) ] } $ws, client('ann'), $ws;
$c = $redis->take($main);
nothing($ws, 'all wait');
$redis->answer($c, { data => [ 'for all' ] });
is($_->[0]->wait_ack($_->[1])->{data}, 'for all', 'an answer for all of them')
	for @ids;

$id = asked($ws, 'ask', $once);
is_deeply($ws->wait_ack($id)->{data},
	{ ok => JSON::PP::true, id => $c->{id}, duplicate => JSON::PP::true },
	'it is told when the answer was given before');

# ... by a client that has lost its connection

$once = { ackId => 'lost' };

my $lost = client('ann');
asked($lost, 'ask', $once);
$c = $redis->take($main);
$lost->reset();
$redis->take('p:gone');

$lost = client('ann');
$id = asked($lost, 'ask', $once);
nothing($lost, 'waits');
$redis->answer($c, { data => [ 'there you are' ] });
is($lost->wait_ack($id)->{data}, 'there you are', 'back in time');

is($redis->cmd('XLEN', $main), 23, 'each command once');

# gone for good: the answer is for nobody

asked($lost, 'ask', { ackId => 'gone' });
asked($lost, 'ask');
@commands = $redis->take($main, 2);
$lost->reset();
$redis->take('p:gone');
is($redis->answer($_, { data => [ 'hello?' ] }), 1, 'nobody') for @commands;
nothing($ws, 'nobody else');

# so many at a time

asked($ws, 'ask') for 1 .. 64;
@commands = $redis->take($main, 64);
$id = asked($ws, 'ask');
is($ws->wait_ack($id)->{data}{error}, 'too many requests', 'too many');
$id = asked($bob, 'plain');
ok($bob->wait_ack($id)->{data}{ok}, 'not for another');
$redis->take($main);
$redis->answer($_, { data => [ 1 ] }) for @commands;
ok($ws->wait_ack($id = asked($ws, 'plain'))->{data}{ok}, 'none any more');
$redis->take($main);
$ws->pending_json();

# events for one client

asked($bob, 'plain');
my $at = $redis->take($main);
$bob->wait_ack($n);

is($redis->publish($at->{reply}, { sid => $at->{sid}, event => 'to:you',
	data => { x => 1 } }), 1, 'event');
is_deeply($bob->wait_event('to:you'), { event => 'to:you', data => { x => 1 } },
	'for one client');

$redis->publish($at->{reply}, { sid => $at->{sid}, event => 'to:you',
	args => [ 1, 2 ], attachments => [ 'AA==' ] });
is_deeply($bob->wait_event('to:you'), { event => 'to:you', args => [ 1, 2 ],
	attachments => [ 'AA==' ] }, 'arguments and attachments');

$redis->publish($at->{reply}, { sid => $at->{sid}, event => 'to:you' });
is_deeply($bob->wait_event('to:you'), { event => 'to:you', data => undef },
	'without data');

for my $bad ({ event => 'connect' }, { event => '' }, {},
	{ event => 'x', data => 1, args => [ 1 ] })
{
	$redis->publish($at->{reply}, { sid => $at->{sid}, %$bad });
}

$redis->publish($at->{reply}, { sid => $_, event => 'to:you' })
	for 'nobody', '', 'x' x 100, 7, undef, {};

nothing($bob, 'none that is no event');
nothing($ws, 'none for another');

# ... in one line a second at most

ok((wait_for {
	$redis->publish($at->{reply}, { sid => $at->{sid}, event => 'connect' });

	return error_log_count($t,
		qr/rtbus.*p:rtbus:worker:.*reserved event name/);
} 'a line'), 'told in the log');

# with a cursor, when there is one

my $ch = client('cat', '&channel=job:9');
asked($ch, 'plain');
$at = $redis->take($main);
$redis->publish($at->{reply}, { sid => $at->{sid}, event => 'to:you' });
is($ch->wait_event('to:you')->{cursor}, $ch->{cursor}, 'the cursor of the client');

# one who is told by "@connect" only

my $sse = Test::RTBus::SSE->connect(path => '/ws?user=sse&channel=job:9');
my ($hello) = grep { $_->{user} eq 'sse' } $redis->take('p:connects', 7);
$redis->publish($hello->{reply}, { sid => $hello->{sid}, event => 'to:you',
	args => [ 'a', 'b' ] });
my $e = $sse->wait_event('to:you');
is($e->{data}, '["a","b"]', 'an event for one SSE client');

# a worker that hears nothing does not let its clients wait

$conf =~ s/\Q$redis_url/$deaf_url/;
$t->write_file_expand('nginx.conf', $conf);
reload_wait($t, gone => 1);

$ws = client('ann');
ok((wait_for {
	$ws->wait_ack(asked($ws, 'plain'))->{data}{ok}
} 'Redis'), 'commands');
$id = asked($ws, 'ask');
is($ws->wait_ack($id)->{data}{error}, 'unavailable', 'but no answers');

###############################################################################

sub client {
	my ($user, $more) = @_;

	my $ws = Test::RTBus::WebSocket->connect(path => "/ws?user=$user"
		. ($more || ''));

	my $hello = $ws->wait_event('connected');

	$ws->{sid} = $hello->{data}{sessionId};
	$ws->{cursor} = $hello->{cursor};

	return $ws;
}

sub asked {
	my ($ws, $event, $data) = @_;

	$ws->send_json({ event => $event, @_ > 2 ? (data => $data) : (),
		ack => ++$n });

	return $n;
}

# What was sent to the mailbox before this event has been dealt with.

sub nothing {
	my ($ws, $name) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$redis->publish($c->{reply}, { sid => $ws->{sid}, event => 'settled' });

	is_deeply($ws->recv_json(), { event => 'settled', data => undef },
		$name);
}

###############################################################################
