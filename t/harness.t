#!/usr/bin/perl

# Tests for the test library itself: what it says of nginx, Redis, WebSocket
# and SSE is believed by all other suites.  Nothing here needs the module.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus fds => 2048;
use Test::Nginx qw/ :DEFAULT http_content http_start http_end /;
use Test::RTBus::Redis;
use Test::RTBus::SSE;
use Test::RTBus::WebSocket;

use Digest::SHA qw/ sha1_base64 /;
use IO::Socket::INET;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http ssi /)->has_daemon('redis-server')
	->plan(67);

note(module_file() ? 'the module is loaded' : 'the module is not built yet');

my $conf = <<'EOF';

%%TEST_GLOBALS%%

daemon off;
worker_processes 2;

events {
    worker_connections 2048;
}

http {
    %%TEST_GLOBALS_HTTP%%

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location / {
        }

        location /events {
            default_type  text/event-stream;
        }

        location /events_chunked {
            alias         %%TESTDIR%%/events;
            default_type  text/event-stream;
            ssi           on;
            ssi_types     text/event-stream;
        }
    }
}

EOF

$t->write_file_expand('nginx.conf', $conf);
$t->write_file('index.html', 'SEE-THIS');
$t->write_file('events', <<'EOF');
: hello
retry: 1500

id: job:42@1-7
event: model:chunk:v1
data: {"n":1}

data: two
data: lines

EOF

$t->run();

###############################################################################

# nginx

like(http_get('/'), qr/200 OK.*SEE-THIS$/s, 'get');
like(http_head('/'), qr/200 OK.*\n\r?\n$/s, 'head');
is(http_content(http_end(http_start("GET / HTTP/1.0\n\n"))), 'SEE-THIS',
	'content');
is(http_content("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	. "3\r\nfoo\r\nA\r\n0123456789\r\n0\r\n\r\n"), 'foo0123456789',
	'content in chunks');

ok((wait_for { workers($t) == 2 } 'workers'), 'workers');
is((wait_for { 0 } undef, 0.01), undef, 'wait in vain');

my @old = workers($t);
my @new = reload_wait($t, gone => 1);
is(scalar @new, 2, 'reload');
is(scalar(grep { my $pid = $_; grep { $_ == $pid } @old } @new), 0,
	'new workers');
cmp_ok(rss_kb(@new), '>', 0, 'memory');
cmp_ok(cpu_seconds(@new), '>=', 0, 'time');

is((nginx_check($t, $conf))[0], 1, 'good configuration');

my ($ok, $output) = nginx_check($t, 'events { } http { nonsense on; }');
is($ok, 0, 'bad configuration');
like($output, qr/unknown directive "nonsense"/, 'reason');

error_log_like($t, qr/gracefully shutting down/, 'in the log');
error_log_unlike($t, qr/nonsense/, 'not in the log');

is_deeply(json_decode(json_encode({ a => [ 1, "\x{20ac}", undef ] })),
	{ a => [ 1, "\x{20ac}", undef ] }, 'json');

# Redis

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $port = $redis->port();

is($redis->cmd('SET', 'key', "a\r\n\0b"), 'OK', 'redis set');
is($redis->cmd('GET', 'key'), "a\r\n\0b", 'redis get');
is($redis->cmd('GET', 'none'), undef, 'redis nil');
is_deeply($redis->cmd('EVAL', "return { 1, { 'two', {} } }", 0),
	[ 1, [ 'two', [] ] ], 'redis nested');

my @replies = $redis->pipeline([ 'PING' ], [ 'NONSENSE' ], [ 'ECHO', 'hi' ]);
is("$replies[0] $replies[2]", 'PONG hi', 'redis pipeline');
like($replies[1]->error(), qr/^ERR unknown command/, 'redis error');
ok(!eval { $redis->cmd('NONSENSE'); 1 }, 'redis error dies');

is($redis->subscribers('job:42'), 0, 'redis no subscribers');
is($redis->event('job:42', 'model:chunk:v1', {}), 0, 'redis event');
ok(-S $redis->socket(), 'redis unix socket');
is($redis->url(db => 2), "redis://127.0.0.1:$port/2", 'redis url');

my $child = fork();
exit 0 unless $child;
waitpid $child, 0;

is($redis->cmd('PING'), 'PONG', 'redis survives a child');

my $pid = $redis->pid();

$redis->pause()->resume();
is($redis->stop()->pid(), undef, 'redis stop');
ok(!kill(0, $pid), 'redis gone');
is($redis->start()->cmd('PING'), 'PONG', 'redis start');
is($redis->port(), $port, 'redis port kept');
is($redis->kill()->start()->cmd('GET', 'key'), undef, 'redis kill');

# SSE

my $stream = "\xef\xbb\xbf: c\n\ndata: a\n\nid: 7\revent: e\r\ndata:b\rdata\r"
	. "\r\nid\ndata:  c\n\ndata: d\nid: x\0\nretry: 10\nretry: x\n\n"
	. "event: none\nid: 9\n\ndata: e\n\ndata: lost";

my @events = (
	{ event => 'message', data => 'a', id => '' },
	{ event => 'e', data => "b\n", id => '7' },
	{ event => 'message', data => ' c', id => '' },
	{ event => 'message', data => 'd', id => '' },
	{ event => 'message', data => 'e', id => '9' },
);

my $parser = Test::RTBus::SSE::Parser->new();
is_deeply([ $parser->feed($stream) ], \@events, 'sse whole');
is($parser->{retry}, 10, 'sse retry');

$parser = Test::RTBus::SSE::Parser->new();
is_deeply([ map { $parser->feed($_) } split //, $stream ], \@events,
	'sse byte by byte');

for my $case ([ '/events', '1.0' ], [ '/events_chunked', '1.1' ]) {
	my ($path, $version) = @$case;

	my $sse = Test::RTBus::SSE->connect(path => $path,
		version_http => $version);

	is_deeply($sse->wait_event('message'),
		{ event => 'message', data => "two\nlines",
			id => 'job:42@1-7' }, "sse $path");
	is($sse->next_json()->{data}{n}, 1, "sse $path kept");
	is($sse->next_event(), undef, "sse $path end");
	is(join('', $sse->comments()), 'hello', "sse $path comment");
	is($sse->ended(), $version eq '1.1' ? 1 : 0, "sse $path last chunk");
}

is(Test::RTBus::SSE->connect(path => '/', method => 'POST')->status(), 405,
	'sse refused');

my @many = Test::RTBus::SSE->connect_many(1100, path => '/events',
	version_http => '1.0');
my $seen = 0;

ok(select_loop(\@many, sub { $seen == 2200 }, 20, sub { $seen++ }),
	'sse many');

@many = ();

# WebSocket

my $listen = IO::Socket::INET->new(Listen => 100, LocalAddr => '127.0.0.1')
	or die "Can't listen: $!\n";

my %peer = (port => $listen->sockport());

$t->run_daemon(\&peer, $listen);

my $ws = Test::RTBus::WebSocket->connect(%peer, cut => 7);
is($ws->status(), 101, 'ws handshake');

is_deeply([ map { $ws->send_text('x' x $_); length $ws->recv()->{message} }
	0, 125, 126, 65535, 65536 ], [ 0, 125, 126, 65535, 65536 ],
	'ws lengths');

$ws->send_bytewise($ws->frame(payload => '{"event":"a","data":"' . "\x{20ac}"
	. '"}'));
$ws->send_json({ ack => 3 });
is($ws->wait_ack(3)->{ack}, 3, 'ws ack');
is($ws->wait_event('a')->{data}, "\x{20ac}", 'ws event kept');

$ws->send_frame(fin => 0, payload => 'ab');
$ws->send_frame(opcode => 0, payload => 'cd', len_bytes => 64);
is($ws->recv()->{fin}, 0, 'ws fragment');
is($ws->recv()->{message}, 'abcd', 'ws message');

$ws->send_ping('p');
is($ws->recv()->{opcode}, 10, 'ws ping is answered');
is($ws->pings(), 1, 'ws ping is counted');
is($ws->recv(0.01), undef, 'ws nothing');

is_deeply([ $ws->close(4001, 'bye') ], [ 4001, 'bye' ], 'ws close');

my @clients = Test::RTBus::WebSocket->connect_many(50, %peer);
my %got;

$_->send_text('one'), $_->send_text('two') for @clients;
ok(select_loop(\@clients, sub { 50 == grep { $_ eq 'onetwo' } values %got },
	20, sub { $got{$_[0]} .= $_[1]{message} }), 'ws many');

$_->reset() for @clients;

is(Test::RTBus::WebSocket->connect(%peer, path => '/refuse')->body(), 'no',
	'ws refused');
ok(!eval { Test::RTBus::WebSocket->connect(%peer, path => '/liar'); 1 },
	'ws wrong accept');

# the frame is echoed as it is

for my $case (
	[ 'masked', frame => payload => 'a', mask => 1 ],
	[ 'length', frame => payload => 'a', len_bytes => 16 ],
	[ 'reserved', frame => payload => 'a', rsv => 4 ],
	[ 'UTF-8', frame => payload => "\xc0\x80" ],
	[ 'close code', frame => payload => pack('n', 1005), opcode => 8 ],
	[ 'continuation', frame => payload => 'a', opcode => 0 ],
)
{
	my ($what, undef, %o) = @$case;

	$ws = Test::RTBus::WebSocket->connect(%peer, path => '/raw');
	$ws->send_raw(Test::RTBus::WebSocket->frame(mask => 0, %o));

	eval { $ws->recv() };
	like($@, qr/server sent .*$what/, "ws blames: $what");
}

###############################################################################

# Serves one connection per process, and answers with what it gets: unmasked
# frames, or at /raw the very bytes.

sub peer {
	my ($listen) = @_;

	local $SIG{CHLD} = 'IGNORE';

	while (my $s = $listen->accept()) {
		my $pid = fork();

		if (defined $pid && $pid == 0) {
			serve($s);
			exit 0;
		}
	}
}

sub serve {
	my ($s) = @_;

	my $head = '';

	while ($head !~ /\r\n\r\n\z/) {
		sysread $s, $head, 1, length $head or return;
	}

	my ($path) = $head =~ /^GET (\S+)/;
	my ($key) = $head =~ /^Sec-WebSocket-Key: (\S+)/m;

	if ($path eq '/refuse') {
		syswrite $s, "HTTP/1.1 403 Forbidden\r\n"
			. "Content-Length: 2\r\n\r\nno";
		return;
	}

	$key .= 'liar' if $path eq '/liar';

	my $accept = sha1_base64($key . '258EAFA5-E914-47DA-95CA-C5AB0DC85B11');

	syswrite $s, "HTTP/1.1 101 Switching Protocols\r\n"
		. "Upgrade: websocket\r\nConnection: upgrade\r\n"
		. "Sec-WebSocket-Accept: $accept=\r\n\r\n";

	if ($path eq '/raw') {
		while (sysread $s, my $bytes, 4096) {
			syswrite $s, $bytes;
		}

		return;
	}

	while (1) {
		my ($b0, $b1) = unpack 'CC', exactly($s, 2);
		my $len = $b1 & 127;

		$len = unpack 'n', exactly($s, 2) if $len == 126;
		$len = unpack 'Q>', exactly($s, 8) if $len == 127;

		my $key = exactly($s, 4);
		my $payload = exactly($s, $len)
			^ substr $key x ($len / 4 + 1), 0, $len;

		$s->print(Test::RTBus::WebSocket->frame(
			fin => $b0 >> 7, opcode => $b0 & 15,
			payload => $payload, mask => 0
		));
		$s->flush();

		return if ($b0 & 15) == 8;
	}
}

sub exactly {
	my ($s, $n) = @_;

	my $bytes = '';

	while (length $bytes < $n) {
		sysread $s, $bytes, $n - length $bytes, length $bytes
			or exit 0;
	}

	return $bytes;
}

###############################################################################
