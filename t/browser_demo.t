#!/usr/bin/perl

# A person with a browser: conf/demo.conf as it is, the page and the producer of
# demo/, Chromium in front.  What is checked in the page is in browser/demo.js.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Redis;

use Cwd qw/ abs_path /;
use File::Basename qw/ dirname /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $top = abs_path(dirname(__FILE__) . '/..');
my $chromium = $ENV{CHROMIUM} || '/usr/bin/chromium';
my $producer = $ENV{RTBUS_PRODUCER} || "$top/build/producer";

my ($node) = grep { -x } map { "$_/node" } split /:/, $ENV{PATH};

my @missing = (
	(module_file() ? () : 'the module'),
	(-x $producer ? () : 'the producer'),
	(-x $chromium ? () : 'chromium'),
	($node ? () : 'node'),
	(-d "$top/node_modules/playwright-core" ? () : 'node_modules'),
);

if (@missing) {
	my $why = 'missing: ' . join ', ', @missing;

	die "$why\n" if $ENV{CI} || $ENV{RTBUS_REQUIRE_ALL};
	plan(skip_all => $why);
}

my $t = Test::Nginx->new()->has(qw/ http rewrite access /)
	->has_daemon('redis-server')->plan(2);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());

# the directives that only a test needs; the rest is what people read

my $conf = read_all("$top/conf/demo.conf");

$conf =~ s/^load_module .*;$/%%TEST_GLOBALS%%\ndaemon off;/m;
$conf =~ s/^http \{$/http {\n    %%TEST_GLOBALS_HTTP%%\n    rtbus_drain 500ms;/m;
$conf =~ s!redis://127\.0\.0\.1:6379/0!$redis->url()!e;

$t->write_file_expand('nginx.conf', $conf);

mkdir $t->testdir() . '/demo' or die "Can't mkdir: $!\n";
$t->write_file('demo/index.html', read_all("$top/demo/index.html"));

# its workers are killed

$t->todo_alerts();
$t->run();

my $log = $t->testdir() . '/producer.log';

$t->run_daemon(sub {
	open STDERR, '>', $log or die "Can't write $log: $!\n";
	exec $producer, '--redis', '127.0.0.1:' . $redis->port(),
		'--rate', '100';
	die "Can't exec $producer: $!\n";
});

$redis->wait_subscribers('demo:start', 1) or die "No producer\n";

###############################################################################

# the browser's own tests, one by one

subtest 'the page' => sub {
	open my $out, '-|', $node, "$top/t/browser/demo.js",
		'http://127.0.0.1:' . port(8080) . '/', master($t)
		or die "Can't run node: $!\n";

	while (my $line = <$out>) {
		chomp $line;

		if ($line =~ /^(not )?ok \d+ - (.*)/) {
			ok(!$1, $2);

		} elsif ($line =~ s/^# //) {
			diag($line);
		}
	}

	ok(close($out), 'node has ended well')
		or diag("exit status $?\n" . read_all($log));

	done_testing();
};

my $ready = $redis->cmd('PUBSUB', 'NUMSUB', 'demo:start');

is($ready->[1], 1, 'the producer has survived');

###############################################################################

sub read_all {
	my ($name) = @_;

	open my $fh, '<', $name or die "Can't read $name: $!\n";
	local $/;
	return <$fh>;
}

###############################################################################
