#!/usr/bin/perl

# Tests for a turn of the event loop: what one read from Redis brings may be
# work for seconds, if events are small and clients many.  Others have their turn
# in between, and all clients get everything, in order.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus fds => 4096;
use Test::Nginx;
use Test::RTBus::Redis;
use Test::RTBus::WebSocket;

use IO::Poll qw/ POLLIN /;
use POSIX ();
use Time::HiRes qw/ time /;

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
    worker_connections  4096;
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis  $url;
    rtbus_allow  *;
    rtbus_drain  10ms;

    rtbus_send_buffer  8m;

    server {
        listen       127.0.0.1:8080 backlog=4096;
        server_name  localhost;

        location /ws {
            rtbus            websocket;
            rtbus_subscribe  \$arg_channel;
        }

        location /status {
            rtbus_status;
        }
    }
}

EOC

# a line of the debug log for each event is not what is measured

$t->write_file('nginx.conf', $t->read_file('nginx.conf')
	=~ s/^error_log .*\Kdebug;/info;/mr);

$t->run();
wait_redis($t);

###############################################################################

my ($CLIENTS, $EVENTS) = (1000, 4000);

my @clients = Test::RTBus::WebSocket->connect_many($CLIENTS,
	path => '/ws?channel=many');
my %there;

# all of them are there

$redis->publish('many', '{"event":"e","data":1}');
ok(select_loop(\@clients, sub { keys %there == @clients }, 60, sub {
	my ($c, $m) = @_;
	$there{$c} = 1 if ($m->{message} || '') =~ /"data":1,/;
}), 'all are subscribed');

my $other = Test::RTBus::WebSocket->connect(path => '/ws?channel=few');
$other->wait_event('connected');

# reads for the clients, so that nginx is not held up by them: all of them have
# to get the bytes that the first one does, and that one every event, in order

my $pid = fork();
die "fork: $!\n" unless defined $pid;

POSIX::_exit(read_all() ? 0 : 1) if $pid == 0;

my $before = cpu_seconds(workers($t));

$redis->cmd('EVAL', 'for i = 2, tonumber(ARGV[1]) do redis.call("PUBLISH", '
	. '"many", \'{"event":"e","data":\' .. i .. "}") end', 0, $EVENTS);

# what others ask for meanwhile, until all is delivered

my ($longest, $asked) = (0, 0);

until (waitpid $pid, POSIX::WNOHANG()) {
	my $start = time();

	$other->send_json({ event => 'subscribe', ack => ++$asked,
		data => { channel => 'few' } });
	last unless $other->wait_ack($asked, 60);

	my $took = time() - $start;
	$longest = $took if $took > $longest;
}

is($?, 0, 'all get all of it, in order');

my $work = cpu_seconds(workers($t)) - $before;

note(sprintf '%d asked, longest %.3f s, %.2f s of work', $asked, $longest, $work);

cmp_ok($asked, '>', 3, 'others have their turn');
cmp_ok($longest, '<', $work / 2 + 0.2, 'and soon');

# it is seen

my ($full) = http_get('/status') =~ /^rtbus_full_turns_total (\d+)/m;

cmp_ok($full, '>', 0, 'counted');

sub read_all {
	my @socks = map { $_->sock() } @clients;
	my %of = map { fileno($_) => $_ } @socks;
	my %size = map { $_ => 0 } keys %of;
	my $first = fileno $socks[0];
	my $poll = IO::Poll->new();
	my ($bytes, $end) = ('', time() + 120);

	$poll->mask($_ => POLLIN) for @socks;

	while (time() < $end) {
		$poll->poll(1);

		for my $sock ($poll->handles(POLLIN)) {
			my $fd = fileno $sock;

			sysread($sock, my $buf, 1 << 20) or return 0;
			$size{$fd} += length $buf;
			$bytes .= $buf if $fd == $first;
		}

		last if $bytes =~ /"data":$EVENTS,/
			&& !grep { $_ != length $bytes } values %size;
	}

	my @numbers = $bytes =~ /"data":(\d+),/g;

	return "@numbers" eq join(' ', 2 .. $EVENTS);
}

###############################################################################
