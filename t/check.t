#!/usr/bin/perl

# Short runs of check/check: clients that come, go and resume while workers are
# killed, nginx is reloaded, and Redis goes away miss nothing, and get nothing
# twice; in the second run half of them poll, and their requests go to any
# worker of two nodes; in the third one Redis is slow, refuses to write, or loses
# keys, and workers are full.  All run at a time, since most of it is waiting.  A
# longer one is for whoever changes how events are kept and handed on.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;

use Cwd qw/ abs_path /;
use File::Basename qw/ dirname /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $top = dirname(abs_path(__FILE__)) . '/..';
my $module = module_file();

plan(skip_all => 'the module is not built') unless $module;
plan(skip_all => 'no redis-server') if system('which redis-server >/dev/null');

plan(tests => 15);

# the nginx under test, with what is preloaded into it

$ENV{NGINX} = $ENV{TEST_NGINX_BINARY};

my $sockets = start('--kinds', 'websocket,sse,socketio',
	qw/ --seed 7 --clients 20 --rate 600 --large 300000 /);
my $polls = start('--kinds', 'polling,websocket,polling,sse,upgrade,socketio',
	qw/ --seed 8 --clients 8 --rate 200 --nodes 2 --workers 2 /);

my $others = start('--faults', 'slow,roles,full,evict',
	qw/ --seed 9 --clients 4 --rate 150 --workers 2 --every 0.4 /);

result('sockets', $sockets);

my $text = result('polls', $polls);

cmp_ok(number($text, qr/^polling\s+requests (\d+)/m), '>', 500,
	'polls: requests');
cmp_ok(number($text, qr/upgraded (\d+)/), '>', 0, 'polls: upgrades');

$text = do { local $/; <$others> };
close $others;

is($? >> 8, 0, 'others: nothing was found') or diag($text);
like($text, qr/^verdict\s+missing 0, doubled 0, out of order 0, /m,
	'others: exactly once, in order');

my $n = 0;

$n += number($text, qr/$_ (\d+)/)
	for 'links slowed', 'stalled', 'roles swapped', 'workers full',
		'keys evicted';

cmp_ok($n, '>', 3, 'others: faults');

###############################################################################

sub start {
	my @command = ("$top/check/check", '--module', $module,
		qw/ --time 5 --channels 6 /, @_);

	open my $out, '-|', @command or die "Can't run $command[0]: $!\n";

	return $out;
}

sub result {
	my ($name, $out) = @_;

	my $text = do { local $/; <$out> };

	close $out;
	my $status = $? >> 8;

	is($status, 0, "$name: nothing was found") or diag($text);
	cmp_ok(number($text, qr/^events\s+(\d+) in the streams/m), '>', 500,
		"$name: events were published");
	cmp_ok(number($text, qr/^faults\s+workers killed (\d+)/m), '>', 0,
		"$name: workers were killed");
	like($text, qr/^verdict\s+missing 0, doubled 0, out of order 0, gaps 0 /m,
		"$name: exactly once, in order");

	like($text, qr/^answers\s+\d+, .*whole [1-9]\d*; replays [1-9]/m,
		"$name: answers were captured and replayed");

	return $text;
}

sub number {
	my ($text, $re) = @_;

	return $text =~ $re ? $1 : -1;
}

###############################################################################
