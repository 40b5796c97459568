#!/usr/bin/perl

# Tests for captures of upstreams that send what is no answer, bytes without
# sense, an event of 100 MB, or no end, and of one that speaks FastCGI: the client
# gets what was sent, the job says what happened, and the worker keeps its size.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Answer;
use Test::RTBus::Redis;
use Test::RTBus::Upstream;

use Digest::MD5;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http proxy fastcgi rewrite /)
	->has_daemon('redis-server')->has_daemon('curl')->plan(22);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

my $up = Test::RTBus::Upstream->new();
my $port = $up->port();

$t->write_file_expand('nginx.conf', <<"EOC");

%%TEST_GLOBALS%%

daemon off;
worker_processes  1;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis  $url command_timeout=2s;
    rtbus_allow  chat:*;

    proxy_http_version  1.1;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location /chat {
            proxy_pass     http://127.0.0.1:$port;
            rtbus_capture  chat:\$arg_id;
        }

        location /big {
            proxy_pass         http://127.0.0.1:$port;
            rtbus_capture      chat:\$arg_id format=raw;
            rtbus_send_buffer  8m;
        }

        location /short {
            proxy_pass          http://127.0.0.1:$port;
            proxy_read_timeout  500ms;
            rtbus_capture       chat:\$arg_id format=openai;
        }

        location /fastcgi {
            fastcgi_pass   127.0.0.1:$port;
            rtbus_capture  chat:\$arg_id format=openai;
        }

        location /replay {
            rtbus_replay  chat:\$arg_id done=1h id=off;
        }
    }
}

EOC

$t->run();

wait_redis($t);
wait_for { !ref $redis->try_cmd('FCALL_RO', 'rtbus_version', 0) } 'library';

my ($a, $c);

my $chunk = qq(data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n);

###############################################################################

# bytes without sense: no event, or one that is no JSON

srand(7);

my $nonsense = join '', map { chr int rand 256 } 1 .. 50_000;

$a = ask('/chat?id=1');
$c = $up->accept();
$c->head('text/event-stream');
$c->send($nonsense);
$c->end();
$a->head();
ok($a->finish() eq $nonsense, 'nonsense, bytes');
ok($a->whole(), 'nonsense, end');
ok((wait_for { status(1) ne 'running' } 'end'), 'nonsense, over');

# UTF-8 that is none: kept as it is for replays

$a = ask('/chat?id=2');
$c = $up->accept();
$c->head('text/event-stream');
$c->send("data: \xff\xfe {\n\n");
$c->end();
$a->head();
is($a->finish(), "data: \xff\xfe {\n\n", 'no UTF-8, bytes');
is(status(2), 'completed', 'no UTF-8, raw');
is(ask('/replay?id=2', method => 'GET')->finish(), "data: \xff\xfe {\n\n",
	'no UTF-8, replay');

# a line of 100 MB, an event of as many lines, and a comment

my $file = $t->testdir() . '/answer';
my ($worker) = workers($t);

for my $case (
	[ 3, 'line', 'data: ', 'x' x 1_000_000, "\n\n" ],
	[ 4, 'event', '', 'data: ' . 'x' x 999_993 . "\n", "\n" ],
	[ 5, 'comment', ':', 'x' x 1_000_000, "\n\n" ],
)
{
	my ($id, $name, $head, $piece, $tail) = @$case;

	my $pid = fork() // die "Can't fork: $!\n";

	if ($pid == 0) {
		exec 'curl', '-sN', '-X', 'POST', '-o', $file,
			'http://127.0.0.1:' . port(8080) . "/big?id=$id";
		CORE::exit(1);
	}

	$c = $up->accept();
	$c->head('text/event-stream');

	my $digest = Digest::MD5->new();
	my $sent = 0;
	my $before;

	for my $bytes ($head, ($piece) x 100, $tail) {
		$c->send($bytes) if length $bytes;
		$digest->add($bytes);
		$sent += length $bytes;

		wait_for { (-s $file || 0) > $sent - 2_000_000 } 'client';

		$before = rss($worker) if !$before && $sent > 5_000_000;
	}

	$c->end();
	waitpid $pid, 0;

	open my $f, '<', $file or die "Can't open $file: $!\n";
	binmode $f;
	is(Digest::MD5->new()->addfile($f)->hexdigest(),
		$digest->hexdigest(), "$name of 100 MB, bytes");
	close $f;
	unlink $file;

	SKIP: {
	skip 'the memory is that of a sanitizer', 1 if $ENV{RTBUS_SANITIZED};

	cmp_ok(rss($worker) - $before, '<', 32768, "$name of 100 MB, memory");

	}

	is(status($id), $name eq 'comment' ? 'completed' : 'interrupted',
		"$name of 100 MB, state");
}

# no end at all

$a = ask('/short?id=6');
$c = $up->accept();
$c->head('text/event-stream');
$c->send($chunk);
$a->head();
like($a->finish(), qr/^\Q$chunk\Edata: \{"error".*"interrupted"\}\}\n\n\z/,
	'no end, told');
is(status(6), 'interrupted', 'no end, interrupted');

# over FastCGI

$a = ask('/fastcgi?id=7');
$c = fastcgi($up);
ok($c, 'FastCGI, request');

my $fcgi = sub {
	my ($type, $data) = @_;

	syswrite $c, pack('CCnnCC', 1, $type, 1, length $data, 0, 0) . $data;
};

$fcgi->(6, "Content-Type: text/event-stream\r\n\r\n");
$fcgi->(6, $chunk);
$a->head();
ok($a->wait_body(qr/\n\n/), 'FastCGI, as it comes');
$fcgi->(6, "data: [DONE]\n\n");
$fcgi->(6, '');
$fcgi->(3, pack 'NCCCC', 0, 0, 0, 0, 0);
close $c;
is($a->finish(), "${chunk}data: [DONE]\n\n", 'FastCGI, bytes');
is(status(7), 'completed', 'FastCGI, completed');
is(ask('/replay?id=7', method => 'GET')->finish(), "${chunk}data: [DONE]\n\n",
	'FastCGI, replay');

###############################################################################

sub ask {
	my ($path, %o) = @_;

	return Test::RTBus::Answer->ask(path => $path, method => 'POST',
		wait => ($o{method} || '') eq 'GET', ($o{method} || '') eq 'GET'
			? () : (body => ''), %o);
}

sub status {
	my ($id) = @_;

	my $status = '';

	wait_for {
		$status = $redis->cmd('HGET', "{chat:$id}:state", 'status');
		$status ne 'running';
	} "end of $id";

	return $status;
}

sub rss {
	my ($pid) = @_;

	open my $f, '<', "/proc/$pid/status" or return 0;

	return (map { /^VmRSS:\s+(\d+)/ ? $1 : () } <$f>)[0];
}

# the connection, once the request is there

sub fastcgi {
	my ($up) = @_;

	return undef unless $up->waiting(10);

	my $s = $up->{sock}->accept() or return undef;
	my $in = '';

	# it ends with an empty record of STDIN

	while (1) {
		sysread $s, $in, 65536, length $in or return undef;

		my $p = 0;

		while (length($in) - $p >= 8) {
			my ($type, $len, $pad) = (unpack 'CCnnCC',
				substr $in, $p, 8)[1, 3, 4];

			return $s if $type == 5 && $len == 0;
			$p += 8 + $len + $pad;
		}
	}
}

###############################################################################
