#!/usr/bin/perl

# Short forms of "make soak": nothing is missed, no worker is stuck, no counter
# goes back, and neither memory nor descriptors grow, in one worker that lives
# while Redis goes away, and in those that come and go with reloads and upgrades
# of the binary.  Both run at a time, since most of it is waiting.

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

my $lives = start('--faults', 'redis,cut,freeze', qw/ --time 8 --workers 1 /);
my $leaves = start('--faults', 'reload,upgrade', qw/ --time 10 --workers 2
	--every 1.6 --seed 3 /);

my $text = result('one worker', $lives);

is(number($text, qr/^nginx\s+(\d+) old workers/m), 0,
	'one worker: it lived through all');
cmp_ok(number($text, qr/subscriptions cut (\d+)/), '>', 0,
	'one worker: subscriptions were cut');

$text = result('reloads', $leaves);

cmp_ok(number($text, qr/^nginx\s+(\d+) old workers/m), '>', 3,
	'reloads: old workers have left');
cmp_ok(number($text, qr/reloads (\d+)/), '>', 0, 'reloads: some');
cmp_ok(number($text, qr/upgrades (\d+)/), '>', 0, 'reloads: upgrades, too');

###############################################################################

sub start {
	my @command = ("$top/check/check", '--soak', '--module', $module,
		qw/ --clients 12 --channels 16 --rate 250 /, @_);

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
	like($text, qr/^verdict\s+missing 0, doubled 0, out of order 0, gaps 0 /m,
		"$name: exactly once, in order");
	cmp_ok(number($text, qr/(\d+) looks at the status/), '>', 10,
		"$name: counters were looked at");

	my ($first, $last) = $text =~ /^descriptors (\d+) .* (\d+) after/m;

	cmp_ok($last || 0, '<=', $first || 0, "$name: descriptors are closed");

	return $text;
}

sub number {
	my ($text, $re) = @_;

	return $text =~ $re ? $1 : -1;
}

###############################################################################
