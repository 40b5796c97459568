#!/usr/bin/perl

# Tests for what sessions over long-polling may take: they hold no connection,
# so a client may have many, and what waits for a client that does not ask for
# it is memory of the worker.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Polling;
use Test::RTBus::Redis;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server');

plan(skip_all => 'the module is not built') unless module_file();

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

my $conf = <<"EOC";

%%TEST_GLOBALS%%

daemon off;
worker_processes 1;

events {
    worker_connections  128;
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis  $url;
    rtbus_allow  job:*;

    server {
        listen       127.0.0.1:8080;
        listen       unix:%%TESTDIR%%/unix.sock;
        server_name  localhost;

        location /socket.io/ {
            rtbus               socketio;
            rtbus_subscribe     job:\$arg_job;
            rtbus_message_rate  100000r/s;
        }

        location /many/ {
            rtbus               socketio;
            rtbus_subscribe     job:\$arg_job job:\$arg_two;
            rtbus_max_sessions  0;
        }

        location /few/ {
            rtbus               socketio;
            rtbus_user          \$http_x_user;
            rtbus_max_sessions  3;
        }
    }
}

EOC

$t->write_file_expand('nginx.conf', $conf);
$t->plan(26);
$t->run();
wait_redis($t, 1);

my $worker = (workers($t))[0];

# sanitizers have their own idea of what an allocation takes

my $more = $ENV{RTBUS_SANITIZED} || $ENV{RTBUS_VALGRIND} ? 3 : 1;

my ($io, @io, @posts, $before, $n, $answer);

###############################################################################

# many short packets, whose answers nobody asks for: frames take more than their
# bytes, and so does what leads to them; the post waits

my $post = join "\x1e", ('420["a"]') x 7000;

$io = open_io();
$io->post('40');
$io->get();

$before = rss_kb($worker);

my $p = $io->start('POST', body => $post);

is($p->wait(0.5), undef, 'a post waits for its answers to be polled');
cmp_ok(rss_kb($worker) - $before, '<', 1000 * $more, 'little is kept meanwhile');

$n = 0;

while ($n < 7000) {
	my @got = $io->packets($io->get(timeout => 10)) or last;
	$n += grep { /^430\[\{"ok":false/ } @got;
}

is($n, 7000, 'all of it is answered');
is($p->wait(10)->body(), 'ok', 'and so is the post');

# python-socketio takes 16 packets of an answer, and no more

$io = open_io(path => '/socket.io/?job=many');
$io->post('40');
$io->get();
$redis->event('job:many', 'n', $_) for 1 .. 40;
$redis->publish('job:many', { event => 'b', args => [ map { {
	_placeholder => JSON::PP::true, num => $_ } } 0 .. 8 ],
	attachments => [ ('eA==') x 9 ] }) for 1 .. 2;
$redis->event('job:many', 'end', 1);

my ($most, @all) = (0);

while (!@all || $all[-1] !~ /^42\["end"/) {
	my @got = $io->packets($io->get(timeout => 10)) or last;
	$most = @got if @got > $most;
	push @all, @got;
}

is(scalar @all, 40 + 20 + 1, 'all packets have come');
cmp_ok($most, '<=', 16, 'at most 16 in an answer');

# nobody ever polls: less is kept, and the client goes on when it does

$io = open_io();
$io->post('40');

$before = rss_kb($worker);
@io = map { open_io() } 1 .. 40;
$_->post('40') for @io;
@posts = map { $_->start('POST', body => $post) } @io;

is($posts[-1]->wait(0.5), undef, 'without a poll posts wait as well');
cmp_ok(rss_kb($worker) - $before, '<', 40 * 180 * $more, 'with what they have brought');

# live events for sessions that nobody polls; frames of two channels are each
# client's own

$_->drop() for @posts;

@io = map { open_io(path => "/many/?job=a&two=b") } 1 .. 100;
$_->post('40') for @io;

$before = rss_kb($worker);

for (1 .. 300) {
	$redis->event('job:a', 'n', 'x' x 1024);
}

# who is polled gets them all

$io = open_io(path => '/many/?job=c');
$io->post('40');
$redis->event('job:c', 'end', 1);
ok($io->wait_name('end'), 'events have come');

cmp_ok(rss_kb($worker) - $before, '<', 100 * 100 * $more, 'little is kept for them');
is($io[0]->get()->body(), '1', 'those are told to begin anew');

$io = open_io(path => '/many/?job=a&two=b');
my $get = $io->get_start();
$io->post('40');
like($get->wait()->body(), qr/^40\{/, 'polled');

$redis->event('job:a', 'n', 'x' x 1024) for 1 .. 300;
$n = 0;

while ($n < 300) {
	my @got = $io->packets($io->get()) or last;
	$n += grep { /^42\["n"/ } @got;
}

is($n, 300, 'who has polled may have much');

# a session that nobody polls gives way, with a namespace or without

@io = map { my $io = open_io(path => '/many/'); $io->post('40'); $io }
	1 .. 200;

is(scalar(grep { $_->opened()->status() != 200 } @io), 0,
	'those that are not polled lock nobody out');
is($io[0]->get()->status(), 400, 'the first has made room');
is($io->post('3')->body(), 'ok', 'those that are polled have not');

# no more of an address, and of a user

@io = map { few('127.0.0.2') } 1 .. 3;

$get = few('127.0.0.2');
is($get->opened()->status(), 200, 'one too many, as none is polled');
is($io[0]->get()->status(), 400, 'in place of the first');

$io[0] = $get;
@posts = map { $_->get_start() } @io;
$_->post('40') for @io;
$_->wait() for @posts;

$answer = few('127.0.0.2')->opened();

is($answer->status(), 503, 'one too many of an address');
is($answer->body(), '{"error":"too many sessions"}', 'and says so');

is(few('127.0.0.3')->opened()->status(), 200, 'another address');

# the end of one is room for another

$io[0]->post('1');
ok((wait_for { few("127.0.0.2")->opened()->status() == 200 } "room"),
	"room again");

@io = map { few("127.0.1.$_", 'bob') } 1 .. 3;
@posts = map { $_->get_start(headers => { 'X-User' => 'bob' }) } @io;
$_->post('40', headers => { 'X-User' => 'bob' }) for @io;
$_->wait() for @posts;

is(few('127.0.1.4', 'bob')->opened()->status(), 503, 'one too many of a user');
is(few('127.0.1.4', 'eve')->opened()->status(), 200, 'another user');

# who comes by a unix socket has no address

@io = map { Test::RTBus::Polling->connect(unix => $t->testdir() . '/unix.sock',
	path => '/few/') } 1 .. 5;
$_->get_start() for @io;
is(scalar(grep { $_->opened()->status() != 200 } @io), 0, 'unix sockets');

error_log_like($t, qr/\[info\].*too many sessions, 3 of its user/, 'the log');

###############################################################################

sub open_io {
	return Test::RTBus::Polling->connect(@_);
}

sub few {
	my ($addr, $user) = @_;

	return Test::RTBus::Polling->connect(path => '/few/', local => $addr,
		headers => { 'X-User' => $user || '' });
}

###############################################################################
