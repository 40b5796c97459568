#!/usr/bin/perl

# A person with a browser: conf/demo.conf as it is, the pages, the keys, the
# producer and the model of demo/, Chromium in front.  What is checked in the
# pages is in browser/demo.js and browser/chat.js.

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

my $t = Test::Nginx->new()->has(qw/ http proxy rewrite access auth_basic /)
	->has_daemon('redis-server')->plan(4);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());

# the directives that only a test needs; the rest is what people read

my $conf = read_all("$top/conf/demo.conf");

$conf =~ s/^load_module .*;$/%%TEST_GLOBALS%%\ndaemon off;/m;
$conf =~ s/^http \{$/http {\n    %%TEST_GLOBALS_HTTP%%\n    rtbus_drain 500ms;/m;
$conf =~ s!redis://127\.0\.0\.1:6379/0!$redis->url()!e;
$conf =~ s!server 127\.0\.0\.1:3000!server unix:%%TESTDIR%%/model.sock!;

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
my $model_log = "$d/model.log";

run_program($log, $producer, '--redis', '127.0.0.1:' . $redis->port(),
	'--rate', '100');
run_program($model_log, $node, "$top/demo/model.js", "$d/model.sock", '50');

wait_for { says($log, 'takes commands') } 'the producer'
	or die "No producer\n";
wait_for { says($model_log, 'listens') } 'the model'
	or die "No model\n";

###############################################################################

# the browser's own tests, one by one; the workers live as long as the chat

subtest 'the chat' => sub { browser('chat.js') };
subtest 'the page' => sub { browser('demo.js', master($t)) };

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

sub browser {
	my ($program, @args) = @_;

	open my $out, '-|', $node, "$top/t/browser/$program",
		'http://127.0.0.1:' . port(8080) . '/', @args
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
		or diag("exit status $?\n" . read_all($log)
			. read_all($model_log));

	done_testing();
}

sub run_program {
	my ($file, @command) = @_;

	$t->run_daemon(sub {
		open STDOUT, '>', $file or die "Can't write $file: $!\n";
		open STDERR, '>&', \*STDOUT;
		exec @command or die "Can't exec $command[0]: $!\n";
	});
}

sub says {
	my ($file, $text) = @_;

	return -e $file && index(read_all($file), $text) >= 0;
}

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
