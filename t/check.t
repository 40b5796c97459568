#!/usr/bin/perl

# A short run of bench/check: clients that come, go and resume while workers
# are killed, nginx is reloaded, and Redis goes away miss nothing, and get
# nothing twice.  A longer one is for whoever changes how events are kept and
# handed on.

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

plan(tests => 4);

# the nginx under test, with what is preloaded into it

$ENV{NGINX} = $ENV{TEST_NGINX_BINARY};

my @command = ("$top/bench/check", '--module', $module,
	qw/ --time 5 --seed 7 --clients 20 --channels 6 --rate 600 /);

open my $out, '-|', @command or die "Can't run $command[0]: $!\n";

my $text = do { local $/; <$out> };

close $out;
my $status = $? >> 8;

my ($entries) = $text =~ /^events\s+(\d+) in the streams/m;
my ($kills) = $text =~ /^faults\s+workers killed (\d+)/m;
my ($verdict) = $text =~ /^verdict\s+(.*)/m;

is($status, 0, 'nothing was found') or diag($text);
cmp_ok($entries || 0, '>', 500, 'events were published');
cmp_ok($kills || 0, '>', 0, 'workers were killed');
like($verdict || '', qr/^missing 0, doubled 0, out of order 0, gaps 0 /,
	'exactly once, in order');

###############################################################################
