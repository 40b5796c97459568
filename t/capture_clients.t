#!/usr/bin/perl

# Stock clients of model providers, as npm has them: what they read is the same
# straight from the provider, through rtbus_capture, and from rtbus_replay.
# What is checked is in node/answers.mjs, in TAP.

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

my @clients = qw! openai @anthropic-ai/sdk @google/genai ai @ag-ui/client ollama
	@langchain/langgraph-sdk @tanstack/ai-client !;

my @missing = (
	(module_file() ? () : 'the module'),
	($node ? () : 'node'),
	(map { -d "$top/node_modules/$_" ? () : "node_modules/$_" } @clients),
);

if (@missing) {
	my $why = 'missing: ' . join ', ', @missing;

	die "$why\n" if $ENV{CI} || $ENV{RTBUS_REQUIRE_ALL};
	plan(skip_all => $why);
}

my $t = Test::Nginx->new()->has(qw/ http proxy /)
	->has_daemon('redis-server')->plan(65);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();
my $upstream = free_port();

$t->write_file_expand('nginx.conf', <<"EOC");

%%TEST_GLOBALS%%

daemon off;
worker_processes 2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis  $url;
    rtbus_allow  job:*;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        proxy_http_version  1.1;
        proxy_buffering     off;

        location /plain/ {
            proxy_pass  http://127.0.0.1:$upstream;
        }

        location ~ ^/answer/\\w+/([\\w-]+) {
            proxy_pass     http://127.0.0.1:$upstream;
            rtbus_capture  job:\$1;
        }

        location ~ ^/replay/([\\w-]+)\$ {
            rtbus_replay  job:\$1 id=off;
        }

        location ~ ^/state/([\\w-]+)\$ {
            rtbus_state  job:\$1;
        }
    }
}

EOC

$t->run();

wait_redis($t, 2);

###############################################################################

run_tap('stock clients', $node, "$top/t/node/answers.mjs", json_encode({
	nginx => port(8080), upstream => $upstream,
}));

###############################################################################
