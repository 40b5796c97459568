#!/usr/bin/perl

# Tests for sessions over long-polling when workers come and go, on two nodes
# that share a Redis: the owner of a session is killed, or leaves, or the worker
# that has the request does; Redis is away; there are more sessions than there
# may be.  A client is told at once that its session is gone, and its cursor
# gets it all that it has missed.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Polling;
use Test::RTBus::Redis;
use Test::RTBus::SocketIO;

use Time::HiRes qw/ time /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http http_v2 /)
	->has_daemon('redis-server');

plan(skip_all => 'the module is not built') unless module_file();

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

my $conf = <<"EOC";

%%TEST_GLOBALS%%

daemon off;
worker_processes 1;

events {
    worker_connections 128;
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis        $url command_timeout=10s;
    rtbus_allow        job:*;
    rtbus_drain        100ms;
    rtbus_secret_file  %%TESTDIR%%/secret;

    keepalive_timeout  60s;

    large_client_header_buffers 4 64k;

    server {
        listen       127.0.0.1:8080;
        listen       127.0.0.1:8082 http2;
        server_name  localhost;

        location /socket.io/ {
            rtbus            socketio;
            rtbus_subscribe  job:\$arg_job;
        }

        location /user/ {
            rtbus       socketio;
            rtbus_user  \$http_x_user;
        }
    }
}

EOC

my @nodes = ($t, Test::Nginx->new());

$t->write_file('secret', 'a secret that both nodes have');
$nodes[1]->write_file('secret', 'a secret that both nodes have');

$t->write_file_expand('nginx.conf', $conf);
$nodes[1]->write_file_expand('nginx.conf', $conf =~ s/8080/8081/r
	=~ s/8082/8083/r);

# a worker is killed

$_->todo_alerts() for @nodes;

$t->plan(51);

for my $node (@nodes) {
	$node->run();
	wait_redis($node, 1);
}

my ($io, $p, $r, $q);

# the session is the first node's, requests go to the second one

my %first = (port => port(8080));
my %second = (port => port(8081));

###############################################################################

# all that there is, on a foreign worker

$io = open_io('all');
is($io->post('40', %second)->body(), 'ok', 'post by the other node');
like($io->get(%second)->body(), qr/^40\{.*\x1e42\["connected"/s, 'get');

$p = $io->get_start(%second);
publish('all', 1);
like($p->wait()->body(), qr/^42\["n",1,"job:all@/, 'an event');
publish('all', 2);
like($io->get(%first)->body(), qr/^42\["n",2,/, 'one at home');

# a client that goes away while it waits; what comes then is not lost

$io->get_start(%second)->drop();

wait_for {
	publish('all', 3);
	my $r = $io->get(%first, timeout => 0.5);
	# two at a time, or the answer to the one that is gone: then it has ended
	!$r || $r->status() != 200 || $r->body() =~ /"n",3/;
} 'the end of the poll';

# what CONNECT packets are granted is found out where the request is, and kept
# by the owner: both have limits

$io = open_io('connects');
is($io->post("40\x1e41\x1e40\x1e42[\"n\"]", %second)->status(), 400,
	'more CONNECT packets than namespaces');
error_log_like($t, qr/refused by Socket.IO: rate limited/, 'are refused');

my %long = (path => '/user/', headers => { 'X-User' => 'u' x 30000 });

$io = Test::RTBus::Polling->connect(%first, %long);
ok((wait_for {
	$io->post('40', %second)->status() == 400
		|| $io->get()->status() != 200
		|| $io->post('41', %second)->status() == 400;
} 'the end'), 'and many with a lot to say end it');
error_log_like($t, qr/too many CONNECT packets/, 'as they should');

# a worker dies with an answer in its hands: who asks again elsewhere, as a
# browser or a proxy does, is not given what comes behind it

$io = open_io('hands');
$io->join_nsp();
$io->packet();

my $witness = Test::RTBus::SocketIO->connect(%first,
	path => '/socket.io/?EIO=4&transport=websocket&job=hands');
$witness->join_nsp();
$witness->packet();

$p = $io->get_start(%second);
parked($io, $p, 8081);

my ($old) = workers($nodes[1]);

kill 'STOP', $old;
publish('hands', 1);
is($witness->wait_name('n')->{data}[1], 1, 'an answer is on its way');
kill 'KILL', $old;
publish('hands', 2);

$r = $io->get(%first);
like($r->status() . $r->body(), qr/^2001\z|"code":1/,
	'a second try after a lost answer');

wait_for { my ($new) = workers($nodes[1]); $new && $new != $old }
	'a new worker';
wait_redis($nodes[1], 1);

# a worker does not hear for a while, and an answer is lost

$io = open_io('deaf');
$io->join_nsp();
$io->packet();

$p = $io->get_start(%second);
parked($io, $p, 8081);

($old) = workers($nodes[1]);
my $lost = error_log_count($t, qr/answer of a poll is lost/);

kill 'STOP', $old;
$redis->cmd('CLIENT', 'KILL', 'TYPE', 'pubsub');
publish('deaf', 1);
wait_for { error_log_count($t, qr/answer of a poll is lost/) > $lost }
	'the answer is lost';
kill 'CONT', $old;

$r = $p->wait(20);
is($r && $r->status() . $r->body(),
	'400{"code":1,"message":"Session ID unknown"}',
	'who waits for a lost answer is told so');

wait_redis($_, 1) for @nodes;

# the worker that has the requests leaves: they end, and nothing else does

$io = open_io('drain');
$io->join_nsp();
$io->packet();

$p = $io->get_start(%second);
parked($io, $p, 8081);
reload_wait($nodes[1]);
wait_redis($nodes[1], 1);
is($p->wait()->body(), '6', 'a poll by a worker that leaves');
is($p->header('Connection'), 'close', 'is the last one on its connection');
publish('drain', 1);
like($io->get(%second)->body(), qr/^42\["n",1,/, 'the session goes on');

# the owner leaves

$p = $io->get_start(%second);
parked($io, $p, 8081);
reload_wait($t);
wait_redis($t, 1);
like($p->wait()->body(), qr/^42\["server:shutdown",/, 'the owner leaves');
like((wait_for { my $r = $io->get(%second); $r && $r->body() } 'the end'),
	qr/^1\z|"code":1/, 'and closes');
is($io->get(%second)->status(), 400, 'it has left');

# idle sessions do not keep it

$io = open_io('idle');
$io->join_nsp();
ok(reload_wait($t, gone => 1, timeout => 30), 'an idle session keeps nobody');
wait_redis($t, 1);

# the owner is killed while a poll waits; recovery at another worker

$io = open_io('kill');
my $joined = $io->join_nsp();
my $cursor = $io->packet()->{cursor};

$p = $io->get_start(%second);
parked($io, $p, 8081);
publish('kill', 1);
like($p->wait()->body(), qr/"n",1,"([^"]+)"/, 'before the kill');
($cursor) = $p->body() =~ /"n",1,"([^"]+)"/;

$p = $io->get_start(%second);
parked($io, $p, 8081);

my $start = time();
($old) = workers($t);

kill 'KILL', $old;

$r = $p->wait();
is($r->status() . $r->body(), '400{"code":1,"message":"Session ID unknown"}',
	'the owner is killed: a poll that waits');
cmp_ok(time() - $start, '<', 8, 'soon');

$r = $io->get(%second);
is($r->status() . $r->body(), '400{"code":1,"message":"Session ID unknown"}',
	'the next one');
$r = $io->post('3', %second);
is($r->status() . $r->body(), '400{"code":1,"message":"Session ID unknown"}',
	'a post');

my $ws = Test::RTBus::SocketIO->connect(%second, read => 0,
	path => '/socket.io/?EIO=4&transport=websocket&sid=' . $io->sid());
$ws->handshake();
is($ws->status(), 400, 'an upgrade');
is(json_decode($ws->body())->{code}, 1, 'its code');

publish('kill', $_) for 2 .. 4;

$q = open_io('kill', %second);
my $again = $q->join_nsp('/', { pid => $joined->{data}{pid},
	offset => $cursor });
is($again->{data}{pid}, $joined->{data}{pid}, 'recovered');
is($q->wait_name('n')->{data}[1], $_, "event $_") for 2 .. 4;

wait_for { my ($new) = workers($t); $new && $new != $old } 'a new worker';
wait_redis($t, 1);

# Redis is away: sessions at home go on, others cannot

$io = open_io('away');
$io->join_nsp();
$io->packet();

$redis->stop();

ok((wait_for { $io->get(%second)->status() == 503 } 'no Redis'),
	'no Redis, no relay');
is($io->post('3', %first)->body(), 'ok', 'but at home');
is(open_io('none')->opened()->status(), 200, 'and sessions are opened');

$redis->start();

# the session may have ended meanwhile, as a question that nobody answered may
# have left something undone

ok((wait_for {
	my $status = $io->post('3', %second)->status();
	$io = open_io('back') if $status == 400;
	$status == 200;
} 'Redis', 40), 'Redis is back');

# no more sessions than connections; those that nobody polls give way, and then
# those without a namespace

my @many = map { open_io('many') } 1 .. 20;

for my $io (@many) {
	$io->post('40');
	$io->get();
}

my @flood = map { open_io('many') } 1 .. 200;

is(scalar(grep { $_->opened()->status() != 200 } @flood), 0,
	'a flood of sessions locks nobody out');
is($flood[0]->post('40')->status(), 400, 'the first have made room');
is($flood[-1]->post('3')->body(), 'ok', 'the last is there');
is(scalar(grep { $_->post('3')->body() ne 'ok' } @many), 0,
	'and so are those that are polled');

for (1 .. 200) {
	my $io = open_io('many');
	push @many, $io;
	last if $io->opened()->status() != 200;
	$io->post('40');
	$io->get();
}

is($many[-1]->opened()->status(), 503, 'too many sessions');
cmp_ok(scalar(@many), '<=', 129, 'as many as connections');
error_log_like($t, qr/\[warn\].* sessions are not enough/, 'with a word');

my $times = 1;

$start = time();
$times++ while open_io('many')->opened()->status() == 503 && $times < 100;
$start = time() - $start;

cmp_ok(error_log_count($t, qr/sessions are not enough/), '<=', 2 + $start,
	"one a second, of $times");
is($many[0]->post('1')->body(), 'ok', 'the others are served');
$many[0]->get();
is(open_io('many')->opened()->status(), 200, 'and make room');
$_->post('1') for grep { $_->sid() } @many;

# HTTP/2

SKIP: {
	skip 'no curl with HTTP/2', 6
		unless `curl --version 2>/dev/null` =~ /HTTP2/;

	$io = wait_for { my $io = open_io('h2'); $io->sid() && $io } 'room';

	is(curl($io, 8082, 'POST', '40'), '200 2 ok', 'HTTP/2 post');
	like(curl($io, 8082), qr/^200 2 40\{/, 'HTTP/2 get');

	is(curl($io, 8083, 'POST', '421["subscribe",{"channel":"job:x"}]'),
		'200 2 ok', 'HTTP/2 post by the other node');
	like(curl($io, 8083), qr/^200 2 .*431\[\{"ok":true/s, 'HTTP/2 get');

	my $pid = open my $out, '-|', curl_command($io, 8083)
		or die "Can't run curl: $!\n";
	publish('h2', 1);
	like(answer(join '', <$out>), qr/^200 2 42\["n",1,/, 'HTTP/2 wait');

	is(curl($io, 8083, 'POST', '1'), '200 2 ok', 'HTTP/2 close');
}

###############################################################################

sub open_io {
	my ($job, %o) = @_;

	return Test::RTBus::Polling->connect(port => port(8080), %o,
		path => "/socket.io/?job=$job");
}

sub publish {
	my ($job, $n) = @_;

	$redis->cmd('FCALL', 'rtbus_publish', 1, "job:$job", 'n', $n);
}

# Another poll would end the session: that it waits is seen by its not being
# answered while a post that comes later is.

sub parked {
	my ($io, $p, $port) = @_;

	$io->post('3', port => port($port));
}

sub curl_command {
	my ($io, $port, $method, $body) = @_;

	my $uri = 'http://127.0.0.1:' . port($port)
		. '/socket.io/?EIO=4&transport=polling&job=h2&sid=' . $io->sid();

	return ('curl', '-s', '--max-time', 10, '--http2-prior-knowledge',
		'-w', '\n%{http_code} %{http_version}',
		'-X', $method || 'GET',
		defined $body ? ('-d', $body) : (), $uri);
}

sub curl {
	open my $out, '-|', curl_command(@_) or die "Can't run curl: $!\n";

	return answer(join '', <$out>);
}

# the body comes first

sub answer {
	my ($text) = @_;

	return $text =~ /^(.*)\n(\d+ \S+)\z/s ? "$2 $1" : $text;
}

###############################################################################
