#!/usr/bin/perl

# Tests for captures in a Redis Cluster: channels of all masters, their replays,
# and a stop.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Answer;
use Test::RTBus::Cluster;
use Test::RTBus::Upstream;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http proxy rewrite /)
	->has_daemon('redis-server')->has_daemon('redis-cli');

plan(skip_all => 'the module is not built') unless module_file();

my $cluster = Test::RTBus::Cluster->new(dir => $t->testdir());
my $url = $cluster->url();

my $up = Test::RTBus::Upstream->new();
my $port = $up->port();

$t->write_file_expand('nginx.conf', <<"EOC")->plan(16);

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis  $url;
    rtbus_allow  chat:*;

    proxy_http_version  1.1;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location /chat {
            proxy_pass     http://127.0.0.1:$port;
            rtbus_capture  \$arg_id format=openai;
        }

        location /replay {
            rtbus_replay  \$arg_id done=1h id=off;
        }

        location /stop {
            rtbus_stop  \$arg_id;
        }
    }
}

EOC

$t->run();

wait_redis($t);

my ($a, $b, $c);

my $one = qq(data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n);
my $end = "data: [DONE]\n\n";

###############################################################################

my @names = $cluster->names('chat:', 1);

for my $id (@names) {
	begin($id);

	$c->send($one . $end);
	$c->end();
	is($a->finish(), $one . $one . $end, "$id, bytes");
	is($b->finish(), $one . $one . $end, "$id, live replay");
	is(get("/replay?id=$id")->finish(), $one . $one . $end,
		"$id, replay");
	is($cluster->cmd('HGET', "{$id}:state", 'status'), 'completed',
		"$id, state");
}

# a stop

begin($names[0]);
is(post("/stop?id=$names[0]")->status(), 200, 'stop');
ok($c->gone(10), 'upstream is left');
like($a->finish(), qr/"cancelled"/, 'its client is told');
is($b->finish(), $a->got(), 'and the replay');

###############################################################################

sub begin {
	my ($id) = @_;

	$a = post("/chat?id=$id", wait => 0);
	$c = $up->accept();
	$c->head('text/event-stream');
	$c->send($one);
	$a->head();
	$a->wait_body(qr/\n\n/);

	$b = get("/replay?id=$id");
	$b->wait_body(qr/\n\n/);
}

sub get {
	return Test::RTBus::Answer->ask(path => @_);
}

sub post {
	return Test::RTBus::Answer->ask(method => 'POST', body => '',
		path => @_);
}

###############################################################################
