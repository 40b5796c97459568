#!/usr/bin/perl

# Stock clients of model providers, and conf/llm.conf as it is: they read on from
# the middle of an answer, and none of them takes one for whole whose worker has
# died.  What is checked is in node/resumes.mjs, in TAP.

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
my ($node) = grep { -x } map { "$_/node" } split /:/, $ENV{PATH};

my @packages = qw! openai @anthropic-ai/sdk @google/genai ai ai6 ollama
	@ag-ui/client @langchain/langgraph-sdk @tanstack/ai-client eventsource
	socket.io-client !;

my @missing = (
	(module_file() ? () : 'the module'),
	($node ? () : 'node'),
	(map { -d "$top/node_modules/$_" ? () : "node_modules/$_" } @packages),
);

if (@missing) {
	my $why = 'missing: ' . join ', ', @missing;

	die "$why\n" if $ENV{CI} || $ENV{RTBUS_REQUIRE_ALL};
	plan(skip_all => $why);
}

my $t = Test::Nginx->new()->has(qw/ http proxy rewrite /)
	->has_daemon('redis-server')->plan(113);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();
my $upstream = free_port();

open my $fh, '<', "$top/conf/llm.conf" or die "Can't read llm.conf: $!\n";
my $conf = do { local $/; <$fh> };
close $fh;

$conf =~ s/^load_module .*$/%%TEST_GLOBALS%%\n\ndaemon off;/m or die;
$conf =~ s/^http \{$/http {\n%%TEST_GLOBALS_HTTP%%\n/m or die;
$conf =~ s!redis://127\.0\.0\.1:6379/0!$url! or die;
$conf =~ s/127\.0\.0\.1:3000/127.0.0.1:$upstream/ or die;
$conf =~ s!/var/log/nginx/!%%TESTDIR%%/! or die;
$conf =~ s/worker_processes auto/worker_processes 2/ or die;

$t->write_file_expand('nginx.conf', $conf);

# its workers are killed

$t->todo_alerts();
$t->run();

wait_redis($t, 2);

###############################################################################

run_tap('clients', $node, "$top/t/node/resumes.mjs", json_encode({
	nginx => port(8080), upstream => $upstream, pid => master($t),
}));

is(error_log_count($t, qr/\[alert\](?!.*exited on signal 9)/), 0,
	'no other alert');


###############################################################################
