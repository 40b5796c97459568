#!/usr/bin/perl

# useChat({ resume: true }) of the AI SDK, in a browser: conf/llm.conf as it is,
# Chromium in front, each version of the SDK.  What is checked in the pages is in
# browser/usechat.js.

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

my ($node) = grep { -x } map { "$_/node" } split /:/, $ENV{PATH};

my @packages = qw! playwright-core esbuild react react-dom ai ai6
	@ai-sdk/react ai-sdk-react3 @ai-sdk/workflow @workflow/ai !;

my @missing = (
	(module_file() ? () : 'the module'),
	(-x $chromium ? () : 'chromium'),
	($node ? () : 'node'),
	(map { -d "$top/node_modules/$_" ? () : "node_modules/$_" } @packages),
);

if (@missing) {
	my $why = 'missing: ' . join ', ', @missing;

	die "$why\n" if $ENV{CI} || $ENV{RTBUS_REQUIRE_ALL};
	plan(skip_all => $why);
}

my $t = Test::Nginx->new()->has(qw/ http proxy rewrite /)
	->has_daemon('redis-server')->plan(155);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();
my $upstream = free_port();

open my $fh, '<', "$top/conf/llm.conf" or die "Can't read llm.conf: $!\n";
my $conf = do { local $/; <$fh> };
close $fh;

# what only a test needs

my $more = <<"EOC";
        location /page/ {
            types { text/html html; text/javascript js; }
            root  %%TESTDIR%%;
        }

EOC

$conf =~ s/^load_module .*$/%%TEST_GLOBALS%%\n\ndaemon off;/m or die;
$conf =~ s/^http \{$/http {\n%%TEST_GLOBALS_HTTP%%\n/m or die;
$conf =~ s!redis://127\.0\.0\.1:6379/0!$url! or die;
$conf =~ s/127\.0\.0\.1:3000/127.0.0.1:$upstream/ or die;
$conf =~ s!/var/log/nginx/!%%TESTDIR%%/! or die;
$conf =~ s/worker_processes auto/worker_processes 2/ or die;
$conf =~ s/^(        # AI SDK)/$more$1/m or die;

$t->write_file_expand('nginx.conf', $conf);

# its workers are killed

$t->todo_alerts();
$t->run();

wait_redis($t, 2);

###############################################################################

run_tap('useChat', $node, "$top/t/browser/usechat.js", json_encode({
	nginx => port(8080), upstream => $upstream, root => $t->testdir(),
	pid => master($t),
}));

is(error_log_count($t, qr/\[alert\](?!.*exited on signal 9)/), 0,
	'no other alert');


###############################################################################
