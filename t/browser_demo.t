#!/usr/bin/perl

# A person with a browser: conf/demo.conf as it is, the page, the keys and the
# producer of demo/, Chromium in front.  What is checked in the page is in
# browser/demo.js.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Redis;

use Cwd qw/ abs_path /;
use File::Basename qw/ dirname /;
use File::Copy qw/ copy /;
use File::Path qw/ make_path /;

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

my $t = Test::Nginx->new()->has(qw/ http rewrite access auth_basic /)
	->has_daemon('redis-server')->plan(3);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());

# the directives that only a test needs; the rest is what people read

my $conf = read_all("$top/conf/demo.conf");

$conf =~ s/^load_module .*;$/%%TEST_GLOBALS%%\ndaemon off;/m;
$conf =~ s/^http \{$/http {\n    %%TEST_GLOBALS_HTTP%%\n    rtbus_drain 500ms;/m;
$conf =~ s!redis://127\.0\.0\.1:6379/0!$redis->url()!e;

$t->write_file_expand('nginx.conf', $conf);

# the configuration is not in conf/ here, but what it names is

my $d = $t->testdir();

symlink '.', "$d/conf" or die "Can't make a link: $!\n";
system("$top/demo/keys", "$d/demo") == 0 or die "Can't make the keys\n";

copy_to($d, "$top/conf/events.schema.json");
copy_to("$d/demo/page", glob "$top/demo/page/*");
copy_to("$d/node_modules/socket.io-client/dist",
	"$top/node_modules/socket.io-client/dist/socket.io.min.js");

# its workers are killed

$t->todo_alerts();
$t->run();

my $log = "$d/producer.log";

$t->run_daemon(sub {
	open STDERR, '>', $log or die "Can't write $log: $!\n";
	exec $producer, '--redis', '127.0.0.1:' . $redis->port(),
		'--rate', '100';
	die "Can't exec $producer: $!\n";
});

wait_for { -e $log && read_all($log) =~ /takes commands/ } 'the producer'
	or die "No producer\n";

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

# whatever happened to the connections meanwhile

my (%times, @jobs);

for (@{ $redis->cmd('XRANGE', 'rtbus:commands', '-', '+') }) {
	my %field = @{ $_->[1] };

	push @jobs, $field{data} if $field{event} eq 'job:start:v1';
	$times{"$field{event} $1"}++ if $field{data} =~ /"jobId":"([^"]*)"/;
}

cmp_ok(scalar(@jobs), '>', 10, 'commands');
is_deeply([ grep { $times{$_} != 1 } sort keys %times ], [],
	'the producer has got each of them once');

###############################################################################

sub copy_to {
	my ($dir, @files) = @_;

	make_path($dir);
	copy($_, $dir) or die "Can't copy $_: $!\n" for @files;
}

sub read_all {
	my ($name) = @_;

	open my $fh, '<', $name or die "Can't read $name: $!\n";
	local $/;
	return <$fh>;
}

###############################################################################
