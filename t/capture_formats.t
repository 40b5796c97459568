#!/usr/bin/perl

# Tests for conf/llm.conf, as it is: the answer of each kind of model server
# reaches its client and its replays byte by byte, with its text and usage in the
# state, and one that is stopped ends as the clients of that kind expect it.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Answer;
use Test::RTBus::Redis;
use Test::RTBus::Upstream;

use Cwd qw/ abs_path /;
use File::Basename qw/ dirname /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http proxy rewrite /)
	->has_daemon('redis-server');

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $up = Test::RTBus::Upstream->new();

my $conf = read_all(dirname(abs_path(__FILE__)) . '/../conf/llm.conf');

my ($url, $port) = ($redis->url(), $up->port());

$conf =~ s/^load_module .*$/%%TEST_GLOBALS%%\n\ndaemon off;/m or die;
$conf =~ s/^http \{$/http {\n%%TEST_GLOBALS_HTTP%%\n/m or die;
$conf =~ s!redis://127\.0\.0\.1:6379/0!$url! or die;
$conf =~ s/127\.0\.0\.1:3000/127.0.0.1:$port/ or die;
$conf =~ s!/var/log/nginx/!%%TESTDIR%%/! or die;
$conf =~ s/worker_processes auto/worker_processes 1/ or die;

$t->write_file_expand('nginx.conf', $conf);

# channel, path, headers, body, replay, stop, answer, text, usage, tail

my $error = qr/"message":"The answer was stopped"/;

my @cases = (
	{
		name => 'ui', channel => 'chat:ui', path => '/api/chat',
		body => '{"id":"ui","messages":[]}',
		replay => '/api/chat/ui/stream', stop => '/api/chat/ui/stop',
		answer => [
			"data: {\"type\":\"start\"}\n\n",
			"data: {\"type\":\"text-delta\",\"id\":\"0\","
				. "\"delta\":\"Hi \\ud83d\"}\n\n",
			"data: {\"type\":\"text-delta\",\"id\":\"0\","
				. "\"delta\":\"\\ude00\"}\n\n",
			"data: {\"type\":\"finish\",\"messageMetadata\":"
				. "{\"usage\":{\"totalTokens\":3}}}\n\n",
			"data: [DONE]\n\n",
		],
		text => "Hi \xf0\x9f\x98\x80", usage => '{"totalTokens":3}',
		tail => qr/^data: \{"type":"abort"\}\n\ndata: \[DONE\]\n\n\z/,
	},
	{
		name => 'openai', channel => 'chat:oa',
		path => '/v1/chat/completions',
		headers => { 'X-Chat-Id' => 'oa' },
		replay => '/api/chat/oa/stream', stop => '/api/chat/oa/stop',
		answer => [
			"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":"
				. "\"Hi\"}}]}\n\n",
			"data: {\"choices\":[],\"usage\":{\"total_tokens\":3}}"
				. "\n\n",
			"data: [DONE]\n\n",
		],
		text => 'Hi', usage => '{"total_tokens":3}',
		tail => qr/^data: \{"error":\{$error.*\n\n\z/,
	},
	{
		name => 'responses', channel => 'response:r1',
		path => '/v1/responses',
		headers => { 'X-Response-Id' => 'r1' },
		replay => '/v1/responses/r1?starting_after=-1',
		stop => '/v1/responses/r1/cancel',
		answer => [
			"event: response.created\ndata: {\"type\":"
				. "\"response.created\",\"sequence_number\":0}\n\n",
			"event: response.output_text.delta\ndata: {\"type\":"
				. "\"response.output_text.delta\",\"delta\":\"Hi\","
				. "\"sequence_number\":1}\n\n",
			"event: response.completed\ndata: {\"type\":"
				. "\"response.completed\",\"response\":{\"usage\":"
				. "{\"total_tokens\":3}},\"sequence_number\":2}\n\n",
		],
		text => 'Hi', usage => '{"total_tokens":3}',
		tail => qr/^event: error\ndata: \{"type":"error".*$error.*\n\n\z/,
	},
	{
		name => 'anthropic', channel => 'chat:an',
		path => '/v1/messages', headers => { 'X-Chat-Id' => 'an' },
		replay => '/api/chat/an/stream', stop => '/api/chat/an/stop',
		answer => [
			"event: message_start\ndata: {\"type\":"
				. "\"message_start\",\"message\":{\"usage\":"
				. "{\"input_tokens\":2,\"output_tokens\":1}}}\n\n",
			"event: ping\ndata: {\"type\":\"ping\"}\n\n",
			"event: content_block_delta\ndata: {\"type\":"
				. "\"content_block_delta\",\"delta\":{\"type\":"
				. "\"text_delta\",\"text\":\"Hi\"}}\n\n",
			"event: message_delta\ndata: {\"type\":"
				. "\"message_delta\",\"usage\":{\"output_tokens\":4}}"
				. "\n\n",
			"event: message_stop\ndata: {\"type\":"
				. "\"message_stop\"}\n\n",
		],
		text => 'Hi', usage => '{"input_tokens":2,"output_tokens":4}',
		tail => qr/^event: error\ndata: \{"type":"error","error":.*\n\n\z/,
	},
	{
		name => 'gemini', channel => 'chat:ge',
		path => '/v1beta/models/x:streamGenerateContent?alt=sse',
		headers => { 'X-Chat-Id' => 'ge' },
		replay => '/api/chat/ge/stream', stop => '/api/chat/ge/stop',
		answer => [
			"data: {\"candidates\":[{\"content\":{\"parts\":"
				. "[{\"text\":\"Hi\"}]}}]}\n\n",
			"data: {\"candidates\":[{\"finishReason\":\"STOP\"}],"
				. "\"usageMetadata\":{\"totalTokenCount\":3}}\n\n",
		],
		text => 'Hi', usage => '{"totalTokenCount":3}',
	},
	{
		name => 'ollama', channel => 'chat:ol', path => '/api/generate',
		headers => { 'X-Chat-Id' => 'ol' },
		replay => '/api/chat/ol/stream', stop => '/api/chat/ol/stop',
		type => 'application/x-ndjson',
		answer => [
			"{\"model\":\"x\",\"response\":\"Hi\",\"done\":false}\n",
			"{\"model\":\"x\",\"done\":true,\"eval_count\":3}\n",
		],
		text => 'Hi', usage => '{"eval_count":3}',
		tail => qr/^\{"error":"The answer was stopped"\}\n\z/,
	},
	{
		name => 'agui', channel => 'run:ag', path => '/agui',
		body => '{"runId":"ag"}',
		replay => '/agui/ag', stop => undef,
		answer => [
			"data: {\"type\":\"RUN_STARTED\"}\n\n",
			"data: {\"type\":\"TEXT_MESSAGE_CONTENT\","
				. "\"delta\":\"Hi\"}\n\n",
			"data: {\"type\":\"RUN_FINISHED\"}\n\n",
		],
		text => 'Hi',
	},
	{
		name => 'tanstack', channel => 'run:ta', path => '/tanstack',
		body => '{"runId":"ta"}', replay => '/tanstack?runId=ta',
		stop => undef, ids => 1,
		answer => [
			"data: {\"type\":\"RUN_STARTED\"}\n\n",
			"data: {\"type\":\"RUN_FINISHED\"}\n\n",
		],
	},
	{
		name => 'langgraph', channel => 'thread:lg',
		path => '/threads/lg/runs/stream', body => '{}',
		replay => '/threads/lg/runs/1/stream',
		stop => '/threads/lg/runs/1/cancel',
		answer => [
			"event: metadata\ndata: {\"run_id\":\"1\"}\n\n",
			"event: messages\ndata: [{\"content\":\"Hi\"},{}]\n\n",
			"event: end\ndata: null\n\n",
		],
		text => 'Hi',
		tail => qr/^event: error\ndata: \{"error":"cancelled".*\n\n\z/,
	},
);

my $tests = 0;

$tests += 7 + (defined $_->{text}) + (defined $_->{usage})
	+ ($_->{stop} ? 6 : 0) for @cases;

$t->plan($tests);

$t->run();

wait_for { !ref $redis->try_cmd('FCALL_RO', 'rtbus_version', 0) } 'library';

###############################################################################

for my $case (@cases) {
	my ($name, $answer) = @$case{qw/ name answer /};
	my $whole = join '', @$answer;

	# an answer and its replay, while it is written and when it is over

	my $a = post($case);
	my $c = $up->accept();

	$c->head($case->{type} || 'text/event-stream');
	$a->head();
	is($a->status(), 200, "$name, status");

	my $b = ask($case->{replay});

	$c->send($_) for @$answer;
	$c->end();
	$c->close();

	is(plain($a->finish()), $whole, "$name, bytes");
	ok($a->whole(), "$name, end");
	is(plain($b->finish()), $whole, "$name, replay");
	ok($b->whole(), "$name, end of the replay");
	is(plain(ask($case->{replay})->finish()), $whole,
		"$name, late replay");

	my $key = "{$case->{channel}}";
	my %state = @{$redis->cmd('HGETALL', "$key:state")};

	is($state{status}, 'completed', "$name, completed");
	is($redis->cmd('GET', "$key:output"), $case->{text}, "$name, output")
		if defined $case->{text};
	is($state{usage}, $case->{usage}, "$name, usage")
		if defined $case->{usage};

	next unless $case->{stop};

	# one that is stopped

	$a = post($case);
	$c = $up->accept();
	$c->head($case->{type} || 'text/event-stream');
	$c->send($answer->[0]);
	$a->head();
	$a->wait_body(qr/\n\z/);
	$b = ask($case->{replay});
	$b->wait_body(qr/\n\z/);

	is(ask($case->{stop}, method => 'POST', body => '')->status(), 200,
		"$name, stop");
	ok($c->gone(5), "$name, upstream is left");

	my @got = map { substr plain($_->finish()), length $answer->[0] } $a, $b;

	if ($case->{tail}) {
		like($got[0], $case->{tail}, "$name, tail");
		is($got[1], $got[0], "$name, tail of the replay");
		ok($a->whole(), "$name, end behind the tail");
		ok($b->whole(), "$name, end behind the tail of the replay");

	} else {
		is($got[0], '', "$name, no tail");
		is($got[1], '', "$name, no tail of the replay");
		ok(!$a->whole(), "$name, broken off");
		ok(!$b->whole(), "$name, replay broken off");
	}
}

###############################################################################

sub ask {
	my ($path, %o) = @_;

	return Test::RTBus::Answer->ask(path => $path, %o);
}

sub post {
	my ($case) = @_;

	return ask($case->{path}, method => 'POST', wait => 0,
		type => 'application/json', headers => $case->{headers},
		body => defined $case->{body} ? $case->{body} : '{}');
}

# without our ids and heartbeats

sub plain {
	my ($text) = @_;

	return $text =~ s/^id: .*\n//mgr =~ s/^:\n//mgr;
}

sub read_all {
	my ($name) = @_;

	open my $fh, '<', $name or die "Can't read $name: $!\n";
	local $/;
	return <$fh>;
}

###############################################################################
