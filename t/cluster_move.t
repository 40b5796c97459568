#!/usr/bin/perl

# Tests for slots of a Redis Cluster that move from one master to another one:
# what the functions do while the keys of a channel are here and there, and that
# clients miss nothing when 1000 slots move under load.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Cluster;
use Test::RTBus::WebSocket;

use Time::HiRes qw/ time /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server')
	->has_daemon('redis-cli');

plan(skip_all => 'the module is not built') unless module_file();

my $cluster = Test::RTBus::Cluster->new(dir => $t->testdir());
my $url = $cluster->url(($cluster->nodes())[2]);

$t->write_file_expand('nginx.conf', <<"CONF")->plan(33);

%%TEST_GLOBALS%%

daemon off;
worker_processes 2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis         $url;
    rtbus_allow         job:*;
    rtbus_message_rate  1000r/s;
    rtbus_send_buffer   16m;

    rtbus_command  ask  reply=30s;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location / {
            rtbus websocket;
        }

        location ~ ^/state/(.+)\$ {
            rtbus_state \$1;
        }

        location ~ ^/publish/(.+)\$ {
            rtbus_publish \$1;
        }

        location /status {
            rtbus_status;
        }
    }
}

CONF

$t->run();

my ($first, $second, $third) = $cluster->masters();

# channels whose slots will move, and others

my @moving = grep { $cluster->slot($_) < 1000 } map { "job:$_" } 0 .. 400;
my @staying = (grep { my $s = $cluster->slot($_); $s >= 1000 && $s < 12000 }
	map { "job:$_" } 0 .. 100)[0 .. 19];

cmp_ok(@moving, '>=', 10, 'enough channels to move');
splice @moving, 20;

my @names = (@moving, @staying);

# all shards are in use, so the library is everywhere

my $ws = client();

is(scalar(grep { subscribe($ws, $_) } @names), @names, 'subscribed');

wait_for { !grep { ref $_->try_cmd('FCALL_RO', 'rtbus_version', 0) }
	$first, $second, $third } 'library';

###############################################################################

# a slot on its way

my $name = (grep { $cluster->slot($_) >= 1000
	&& $cluster->owner($_)->port() == $first->port() }
	map { "way:$_" } 0 .. 100)[0];
my $slot = $cluster->slot($name);

$cluster->fcall($name, 'n', '1', 'APPEND', 'text', 'SET', 'status', 'new');

$second->cmd('CLUSTER', 'SETSLOT', $slot, 'IMPORTING',
	$first->cmd('CLUSTER', 'MYID'));
$first->cmd('CLUSTER', 'SETSLOT', $slot, 'MIGRATING',
	$second->cmd('CLUSTER', 'MYID'));

my @publish = ('FCALL', 'rtbus_publish', 1, $name, 'n', '2');

like($first->try_cmd(@publish), qr/^ASK $slot /, 'the key itself is nowhere');

again('nothing is there', 'rtbus_publish', 'n', '2');
again('nothing is there', 'rtbus_publish', 'n', '2', 'APPEND', ' 2');
again('nothing is there', 'rtbus_claim', 'ann');
again('nothing is there', 'rtbus_snapshot');
is($second->cmd('DBSIZE'), 0, 'nothing was made');

migrate("{$name}:events");

again('the stream is there', 'rtbus_publish', 'n', '2');
again('the stream is there', 'rtbus_publish', 'n', '2', 'APPEND', ' 2');
again('the stream is there', 'rtbus_claim', 'ann');
again('the stream is there', 'rtbus_snapshot');

migrate("{$name}:state");

again('the text is not', 'rtbus_publish', 'n', '2', 'APPEND', ' 2');
again('the text is not', 'rtbus_snapshot');

migrate("{$name}:output");

like(asking(@publish), qr/^\d+-2$/, 'all is there');
like(asking('FCALL', 'rtbus_publish', 1, $name, 'n', '3', 'APPEND', ' 3'),
	qr/^\d+-3$/, 'all is there, text');
is(asking('FCALL_RO', 'rtbus_snapshot', 1, $name)->[1], 'text 3', 'snapshot');

for my $node ($second, $first) {
	$node->cmd('CLUSTER', 'SETSLOT', $slot, 'NODE',
		$second->cmd('CLUSTER', 'MYID'));
}

$cluster->wait_ok(20);

###############################################################################

# 1000 slots move, while events are published and commands sent

my $stop = $t->testdir() . '/stop';
my @clients = map { client() } 1 .. 4;

for my $client (@clients) {
	subscribe($client, $_) for @names;
}

my $pid = fork();
die "Can't fork: $!\n" unless defined $pid;

if ($pid == 0) {
	produce();
	POSIX::_exit(0);
}

ok((wait_for { $cluster->cmd('XLEN', "{$names[0]}:events") > 3 } 'producer'),
	'events flow');

my $start = time();
my $reshard = $cluster->reshard($first, $second, 1000, wait => 0);

# commands, meanwhile; the stream's slot stays, the mailbox may move

my ($asked, $answered) = (0, 0);
my $asker = client();

while (waitpid($reshard, POSIX::WNOHANG()) == 0) {
	$asker->send_json({ event => 'ask', data => { n => ++$asked },
		ack => $asked });

	my $command = $cluster->take('rtbus:commands', 1, 20) or last;

	$cluster->answer($command, { data => [ $asked ] });

	my $ack = $asker->wait_ack($asked, 20) or last;

	$answered++ if $ack->{data} eq $asked;
}

is($?, 0, 'moved');
diag(sprintf '%d slots in %.1f s, %d commands', 1000, time() - $start, $asked);
is($answered, $asked, 'commands answered');

$t->write_file('stop', '');
waitpid $pid, 0;
is($?, 0, 'published');

my $events = $cluster->cmd('HGET', "{$names[-1]}:state", 'seq');
diag("$events events in each channel");

ok(!grep({ $cluster->owner($_)->port() == $first->port() } @moving),
	'the channels are elsewhere');

# what each client has got

my %want = map { $_ => $events } @names;

for my $client (@clients) {
	my (%got, @wrong, $m);

	while (keys %got < @names || grep { $got{$_} < $events } @names) {
		$m = $client->recv_json(20) or last;

		if ($m->{event} && $m->{event} eq 'n') {
			push @wrong, "$m->{channel} $m->{data}{n}"
				if $m->{data}{n} != ++$got{$m->{channel}};

		} elsif ($m->{event} && $m->{event} eq 'sync:gap') {
			push @wrong, json_encode($m);
		}
	}

	is_deeply(\%got, \%want, 'all events');
	is("@wrong", '', 'in order, without a gap');
}

# what was live does not stay where it was

is(scalar(grep { $first->cmd('PUBSUB', 'SHARDNUMSUB', $_)->[1] } @moving), 0,
	'nobody listens at the old place');

error_log_unlike($t, qr/\[(?:error|warn)\]/, 'no error');

# clients do not mind where it is

like(http_get("/state/$moving[0]"), qr/"position":"\d+-$events"/, 'state');

###############################################################################

sub produce {
	for (my $n = 1; !-e $stop; $n++) {
		for my $name (@names) {
			$cluster->fcall($name, 'n', { n => $n },
				$n % 4 ? () : ('APPEND', "$n "));
		}

		select undef, undef, undef, 0.02;
	}
}

sub client {
	my $client = Test::RTBus::WebSocket->connect(path => '/');

	$client->wait_event('connected');

	return $client;
}

sub subscribe {
	my ($client, $name) = @_;

	return wait_for {
		$client->send_json({ event => 'subscribe',
			data => { channel => $name }, ack => 1 });
		$client->wait_ack(1)->{data}{ok};
	} "subscribe $name";
}

sub asking {
	return ($second->pipeline([ 'ASKING' ], [ @_ ]))[1];
}

sub again {
	my ($when, $function, @args) = @_;

	like(asking($function =~ /snapshot/ ? 'FCALL_RO' : 'FCALL', $function,
		1, $name, @args), qr/^TRYAGAIN rtbus: /, "$when, $function");
}

sub migrate {
	my ($key) = @_;

	$first->cmd('MIGRATE', '127.0.0.1', $second->port(), $key, 0, 5000);
}

###############################################################################
