#!/usr/bin/perl

# Tests for a crowd that resumes, each client at a place of its own: what is read
# for them at a time is bounded, the others wait for their turn, and all get
# everything, in order, while the channel's own events go on.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus fds => 1024;
use Test::Nginx;
use Test::RTBus::Redis;
use Test::RTBus::SSE;

use List::Util qw/ max /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http rewrite /)
	->has_daemon('redis-server')->plan(5);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

$t->write_file_expand('nginx.conf', <<"EOC");

%%TEST_GLOBALS%%

daemon off;

events {
    worker_connections  1024;
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis  $url;
    rtbus_allow  job:*;
    rtbus_drain  10ms;

    server {
        listen       127.0.0.1:8080 backlog=1024;
        server_name  localhost;

        location / {
            rtbus            sse;
            rtbus_subscribe  job:a;
        }
    }
}

EOC

$t->run();
wait_redis($t);

###############################################################################

my ($CLIENTS, $EVENTS) = (200, 1000);

my ($epoch) = publish(1) =~ /^(\d+)/;

$redis->pipeline(map { [ 'FCALL', 'rtbus_publish', 1, 'job:a', 'e', $_ ] }
	2 .. $EVENTS);

# somebody holds the channel, so that its place is known

my $first = Test::RTBus::SSE->connect(path => '/');
$first->next_event();

my $n = 0;

my @clients = Test::RTBus::SSE->connect_many($CLIENTS,
	path => sub { '/?cursor=job:a@' . $epoch . '-' . ++$n });

my %at;
@at{@clients} = 1 .. $CLIENTS;
my $wrong = 0;

publish($EVENTS + 1);
is($first->next_event()->{data}, $EVENTS + 1, 'what is new does not wait');

ok(select_loop(\@clients, sub { !grep { $_ != $EVENTS + 1 } values %at }, 120,
	sub {
		my ($c, $e) = @_;

		return if ($e->{event} || '') ne 'e';

		$wrong++ if $e->{data} != ++$at{$c};
	}), 'all get to the end');

is($wrong, 0, 'each event once, in order');

my @reading = error_log($t) =~ /history of "job:a" waits, reading:(\d+)/g;

cmp_ok(scalar @reading, '>', 0, 'some wait');
cmp_ok(max(0, @reading), '<=', 16, 'reads at a time');

###############################################################################

sub publish {
	return $redis->cmd('FCALL', 'rtbus_publish', 1, 'job:a', 'e', @_);
}

###############################################################################
