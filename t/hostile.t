#!/usr/bin/perl

# Tests for clients that mean no good.  For each kind of abuse: it is refused,
# the log says why, a counter shows it, the worker's memory stays as it was, and
# well-behaved clients of the same worker get all their events meanwhile, about
# as fast as before.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus fds => 2048;
use Test::Nginx;
use Test::RTBus::Metrics;
use Test::RTBus::Redis;
use Test::RTBus::SSE;
use Test::RTBus::SocketIO;
use Test::RTBus::WebSocket;

use Socket qw/ AF_UNIX PF_UNSPEC SOCK_STREAM /;
use Time::HiRes qw/ time /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server')
	->plan(221);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

$t->write_file('jwt.key', 'a secret of some length for the tokens');

$t->write_file_expand('nginx.conf', <<"CONF");

%%TEST_GLOBALS%%

daemon off;

events {
    worker_connections 2048;
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis    $url command_timeout=20s;
    rtbus_jwt_key  %%TESTDIR%%/jwt.key;
    rtbus_allow    job:*;
    rtbus_allow    public;
    rtbus_ping     1h 1h;
    rtbus_drain    0;

    rtbus_user     \$arg_user;

    rtbus_command  do;
    rtbus_command  mine  job=id owner;
    rtbus_command  ask  reply=60s;

    rtbus_max_event  64k;

    client_header_timeout  1s;
    client_body_timeout    1s;

    server {
        listen       127.0.0.1:8080 sndbuf=32k;
        server_name  localhost;

        # what others use

        location /public {
            rtbus websocket sse;
            rtbus_subscribe public;
        }

        location /public/io/ {
            rtbus socketio;
            rtbus_subscribe public;
        }

        # what is abused

        location /ws {
            rtbus websocket sse;
            rtbus_subscribe job:\$arg_job;
        }

        location /io/ {
            rtbus socketio;
            rtbus_subscribe job:\$arg_job;
        }

        location /small {
            rtbus websocket sse;
            rtbus_subscribe job:\$arg_job;
            rtbus_send_buffer 64k;
            rtbus_ping 1h 1s;
        }

        location /small/io/ {
            rtbus socketio;
            rtbus_subscribe job:\$arg_job;
            rtbus_send_buffer 64k;
        }

        location /ping {
            rtbus websocket sse;
            rtbus_subscribe job:\$arg_job;
            rtbus_ping 300ms 300ms;
        }

        location /ping/io/ {
            rtbus socketio;
            rtbus_ping 300ms 300ms;
        }

        location /fast {
            rtbus websocket;
            rtbus_message_rate 10000r/s;
        }

        location /state {
            rtbus_state job:\$arg_job;
        }

        location /publish {
            rtbus_publish job:\$arg_job;
        }

        location /submit {
            rtbus_submit \$arg_event;
        }

        location /status {
            rtbus_status;
        }
    }
}

CONF

# lines for each allocation would be what takes the time

$t->write_file('nginx.conf', $t->read_file('nginx.conf')
	=~ s/^error_log .*\Kdebug;/info;/mr);

$t->run();
wait_redis($t);

my $worker = (workers($t))[0];
my ($CONT, $TEXT, $BINARY, $CLOSE, $PING, $PONG) = (0, 1, 2, 8, 9, 10);

###############################################################################

# how it is without

my $others = others();

wait_for { $others->{seen} = report(); $others->{seen}{n} > 100 };
select undef, undef, undef, 1;

my $calm = report();

is($calm->{missing}, 0, 'without abuse: all events');
diag(sprintf 'without abuse: p50 %.1f ms, p99 %.1f ms', @$calm{qw/ p50 p99 /});

###############################################################################

abuse('slow readers', sub {
	my @slow = (
		ws('/small?job=slow', rcvbuf => 4096),
		sse('/small?job=slow', rcvbuf => 4096),
		io('/small/io/?job=slow', rcvbuf => 4096),
	);

	$redis->pipeline(map { [ PUBLISH => 'job:slow', envelope('x' x 1000) ] }
		1 .. 400);

	return @slow;
},
	closed => { too_slow => 3 },
	log => qr/closes client, code:1013, client is too slow/,
);

abuse('half-open connections', sub {
	my @gone = (
		ws('/ping', auto_pong => 0),
		sse('/ping?job=gone', rcvbuf => 4096),
		io('/ping/io/', auto_ping => 0),
	);

	$redis->pipeline(map { [ PUBLISH => 'job:gone', envelope('x' x 1000) ] }
		1 .. 400);

	return @gone;
},
	closed => { ping_timeout => 3 },
	log => qr/closes client, code:1011, ping timeout/,
);

abuse('slow handshakes', sub {
	my @slow = map { Test::RTBus::WebSocket->connect(read => 0,
		request => "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpg") }
		1 .. 300;

	ok(select_loop(\@slow, sub { !grep { !$_->eof() } @slow }, 20),
		'slow handshakes: ended');
},
	log => qr/client timed out.* while reading client request headers/,
);

abuse('slow bodies', sub {
	my @slow = map { Test::RTBus::WebSocket->connect(read => 0,
		request => "POST $_ HTTP/1.1\r\nHost: localhost\r\n"
			. "Content-Length: 60000\r\n\r\n{\"event\":") }
		('/publish?job=1', '/submit?event=do') x 50;

	ok(select_loop(\@slow, sub { !grep { !$_->eof() } @slow }, 20),
		'slow bodies: ended');
},
	refused => { timeout => 100 },
	log => qr/client is refused, status:408, timeout/,
);

###############################################################################

abuse('a flood of messages', sub {
	my @flood = (ws('/ws'), io('/io/'));

	$flood[0]->send_raw(join '', map { frame(payload =>
		"{\"event\":\"do\",\"ack\":$_}") } 1 .. 2000);
	$flood[1]->send_raw(join '', map { frame(payload =>
		"42$_\[\"do\"]") } 1 .. 2000);

	for my $c (@flood) {
		my ($ok, $limited, $other) = (0, 0, 0);

		for my $n (1 .. 2000) {
			my $a = $c->wait_ack($n)->{data};
			$a = $a->[0] if ref $a eq 'ARRAY';

			$a->{ok} ? $ok++ : $a->{error} eq 'rate limited'
				? $limited++ : $other++;
		}

		is($other, 0, 'messages: done or limited');
		cmp_ok($ok, '>=', 50, 'messages: a second of them is done');
		cmp_ok($limited, '>=', 1000, 'messages: most are refused');
	}

	return @flood;
},
	refused => { rate_limited => 2000 },
	commands => { ok => 100 },
	log => qr/client is refused, rate limited/,
);

abuse('a flood of commands', sub {
	my $flood = ws('/fast');

	$flood->send_raw(join '', map { frame(payload =>
		"{\"event\":\"ask\",\"ack\":$_}") } 1 .. 2000);

	my %got;

	for my $n (65 .. 2000) {
		my $a = $flood->wait_ack($n);
		$got{$a->{data}{error} || 'ok'}++;
	}

	is_deeply(\%got, { 'too many requests' => 2000 - 64 },
		'commands: 64 at a time');

	$flood->drop();
},
	refused => { too_many_requests => 2000 - 64 },
	commands => { gone => 64 },
	log => qr/client is refused, too many requests/,
);

abuse('a flood of subscriptions', sub {
	my $flood = ws('/fast');

	$flood->send_raw(join '', map { frame(payload =>
		'{"event":"subscribe","data":{"channel":"job:' . $_
		. "\"},\"ack\":$_}") } 1 .. 3000);

	my %got;

	for my $n (1 .. 3000) {
		my $a = $flood->wait_ack($n);
		$got{$a->{data}{error} || 'ok'}++;
	}

	is_deeply(\%got, { ok => 64, 'too many channels' => 3000 - 64 },
		'subscriptions: 64 of them');

	return $flood;
},
	refused => { too_many_channels => 3000 - 64 },
	log => qr/client is refused, too many channels/,
);

abuse('channels joined and left', sub {
	my $flood = ws('/fast');

	$flood->send_raw(join '', map { frame(payload =>
		'{"event":"subscribe","data":{"channel":"job:churn:' . $_ . '"}}')
		. frame(payload => '{"event":"unsubscribe","data":{"channel":'
		. "\"job:churn:$_\"},\"ack\":$_}") } 1 .. 2000);

	ok($flood->wait_ack(2000), 'channels: joined and left');

	return $flood;
});

###############################################################################

abuse('long and deep JSON', sub {
	my $deep = '[' x 10000 . ']' x 10000;

	my @cases = (
		[ 1007, ws('/ws'), "{\"event\":\"do\",\"data\":$deep}" ],
		[ 1007, ws('/ws'), $deep ],
		[ 1002, io('/io/'), "40/a,{\"token\":$deep}" ],
		[ 1009, ws('/ws'), ' ' x 70000 ],
		[ 1009, io('/io/'), '42["do","' . 'x' x 70000 . '"]' ],
	);

	for my $case (@cases) {
		my ($code, $c, $text) = @$case;

		$c->send_text($text);
		is(($c->read_close())[0], $code, 'JSON: '
			. substr $text, 0, 20);
	}

	my $io = io('/io/');
	$io->send_text("421[\"do\",$deep]");
	is($io->wait_ack(1)->{data}[0]{error}, 'nested too deep',
		'JSON: the client is told');

	# what is not there is not waited for

	my $claim = ws('/ws');
	$claim->send_raw(frame(len => 2 ** 40, payload => ''));
	is(($claim->read_close())[0], 1009, 'JSON: a terabyte');

	is(post('/publish?job=1', "{\"event\":\"e\",\"data\":$deep}"), 400,
		'JSON: deep, published');
	is(post('/submit?event=do', $deep), 400, 'JSON: deep, submitted');
	is(post('/publish?job=1', ' ' x 900000), 413, 'JSON: long, published');
	is(post('/submit?event=do', ' ' x 900000), 413,
		'JSON: long, submitted');
},
	closed => { invalid_payload => 2, protocol_error => 1, too_big => 3 },
	refused => { malformed => 2, too_large => 2 },
	log => qr/client sent bad event: nested too deep/,
);

abuse('producers that have gone wrong', sub {
	my $ws = ws('/ws?job=wrong');
	$ws->wait_event('connected');

	my $deep = '[' x 10000 . ']' x 10000;

	$redis->publish('job:wrong', $_) for 'x', "{\"event\":\"\xff\"}",
		"{\"event\":\"e\",\"data\":$deep}", '{}', '{"event":""}',
		envelope('x' x 100000), '{"event":"e","args":1}',
		'{"event":"e","id":"x"}';

	$redis->event('job:wrong', 'right', 1);

	my @got;

	while (my $m = $ws->recv_json()) {
		push @got, $m->{event};
		last if $m->{event} eq 'right';
	}

	is("@got", 'right', 'producers: only what is right comes');
},
	invalid => { json => 1, utf8 => 1, depth => 1, name => 2, size => 1,
		arguments => 1, id => 1 },
	log => qr/invalid event on channel "job:wrong" dropped/,
);

###############################################################################

abuse('long cursors', sub {
	my $many = join ',', map { "job:$_\@0-0" } 1 .. 400;
	my $x = 'x' x 7000;

	is(ws("/ws?cursor=$many")->status(), 400, 'cursors: many channels');
	is(ws("/ws?cursor=$x")->status(), 400, 'cursors: long');
	is(ws('/ws?cursor=' . '%25' x 2000)->status(), 400,
		'cursors: percent-encoded');
	is(ws('/ws?cursor=' . 'x' x 1000000)->status(), 414,
		'cursors: a megabyte in the URL');
	is(sse('/ws', last_event_id => $many)->status(), 400,
		'cursors: many channels in the header');
	is(sse('/ws', last_event_id => 'x' x 1000000)->status(), 400,
		'cursors: a megabyte in the header');

	# over Socket.IO it begins anew, if only it is short enough

	my $io = io('/io/');
	my $pid = $io->leave() && $io->join_nsp()->{data}{pid};

	for my $offset (join(',', map { "a:$_\@0-0" } 1 .. 5000), 'x' x 60000) {
		my $c = io('/io/', pid => $pid, offset => $offset);

		isnt($c->{sid}, (split /\./, $pid)[0], 'cursors: a new socket');
	}

	my $c = io('/io/');
	$c->leave();
	$c->send_text('40{"pid":"' . $pid . '","offset":"' . 'x' x 1000000
		. '"}');
	is(($c->read_close())[0], 1009, 'cursors: a megabyte');
},
	refused => { too_many_channels => 2, malformed => 2 },
	closed => { too_big => 1 },
	log => qr/client sent malformed cursor/,
);

abuse('odd requests', sub {
	my %upgrade = (Upgrade => 'websocket', Connection => 'Upgrade',
		'Sec-WebSocket-Version' => 13,
		'Sec-WebSocket-Key' => 'MDEyMzQ1Njc4OWFiY2RlZg==');

	my @cases = (
		[ 405, 'POST', '/ws', { %upgrade } ],
		[ 405, 'HEAD', '/ws', {} ],
		[ 405, 'TRACE', '/ws', {} ],
		[ 405, 'BREW', '/ws', {} ],
		[ 405, 'DELETE', '/state?job=1', {} ],
		[ 405, 'GET', '/publish?job=1', {} ],
		[ 405, 'PUT', '/submit?event=do', {} ],
		[ 405, 'POST', '/status', {} ],
		[ 405, 'POST', '/io/?EIO=4&transport=websocket', {} ],
		[ 426, 'GET', '/fast', {} ],
		[ 426, 'GET', '/fast', { %upgrade, Upgrade => 'h2c' } ],
		[ 426, 'GET', '/fast', { %upgrade,
			Connection => ',' x 5000 . 'close' } ],
		[ 400, 'GET', '/fast', { %upgrade,
			'Sec-WebSocket-Key' => [ 'MDEyMzQ1Njc4OWFiY2RlZg==',
				'MDEyMzQ1Njc4OWFiY2RlZg==' ] } ],
		[ 400, 'GET', '/fast', { %upgrade,
			'Sec-WebSocket-Key' => 'x' x 5000 } ],
		[ 400, 'GET', '/fast', { %upgrade, 'Content-Length' => 5 } ],
		[ 403, 'GET', '/fast', { %upgrade,
			Origin => 'http://' . 'x' x 5000 } ],
		[ 400, 'GET', '/ws?job=' . '%2e%2e%2f' x 500, {} ],
		[ 400, 'GET', '/ws?job=' . 'x' x 5000, {} ],
		[ 404, 'GET', '/state?job=1&fields=' . ',%2c' x 1500, {} ],
		[ 400, 'GET', '/state?job=' . '%00' x 1000, {} ],
		[ 404, 'POST', '/submit?event=' . 'x' x 100, {} ],
		[ 400, 'POST', '/submit?event=' . 'x' x 5000, {} ],
		[ 400, 'GET', '/io/?EIO=4&transport=' . 'x' x 5000, {} ],
		[ 400, 'GET', '/io/?EIO=9', {} ],
		[ 400, 'GET', '/io/?EIO=4&transport=websocket&sid='
			. 'x' x 5000, {} ],
	);

	for my $case (@cases) {
		my ($status, $method, $uri, $headers) = @$case;

		my $c = Test::RTBus::SSE->connect(method => $method,
			path => $uri, headers => $headers);

		is($c->status(), $status, "$method " . substr($uri, 0, 40)
			. " is $status");
		$c->drop();
	}

	my $c = Test::RTBus::SSE->connect(path => '/fast', version_http => '1.0',
		headers => { %upgrade });
	is($c->status(), 426, 'HTTP/1.0');

	$c = Test::RTBus::SSE->connect(path => '/ws?job=1', headers =>
		{ map { ("X-$_" => 'x' x 500) } 1 .. 1000 });
	is($c->status(), 400, 'a thousand headers');
},
	refused => { method => 8, malformed => 12, origin => 1,
		unknown_event => 1 },
	log => qr/client is refused, status:405, method not allowed/,
);

abuse('tokens that prove nothing', sub {
	my $io = io('/io/');
	my $part = 'eyJhbGciOiJIUzI1NiJ9';

	$io->leave();

	for my $token ('x' x 60000, '.' x 60000, "$part.$part.$part",
		"$part." . 'A' x 8000 . '.A', "\0")
	{
		my $p = $io->join_nsp('/', { token => $token });
		is($p->{data}{message}, 'unauthorized', 'tokens: refused');
	}

	is(sse('/ws?job=1&token=' . '%41' x 2500)->status(), 401,
		'tokens: refused by URL');

	return $io;
},
	log => qr/client sent a token that is malformed/,
);

###############################################################################

abuse('tiny fragments', sub {
	my $ws = ws('/ws');
	my $text = '{"event":"x","ack":1,"data":"' . 'x' x 60000 . '"}';

	my $tiny = sub {
		my ($text) = @_;
		my @byte = split //, $text;

		return join '', frame(fin => 0, payload => shift @byte),
			(map { "\x00\x81\0\0\0\0$_" } @byte);
	};

	$ws->send_raw($tiny->($text) . frame(opcode => $CONT));
	is($ws->wait_ack(1)->{data}{error}, 'unknown event',
		'fragments: a byte each');

	$ws->send_raw($tiny->('x' x 65537));
	is(($ws->read_close())[0], 1009, 'fragments: too many');

	# empty ones are nothing at all

	$ws = ws('/ws');
	$ws->send_raw(frame(fin => 0) . "\x00\x80\0\0\0\0" x 200000
		. frame(opcode => $CONT,
			payload => '{"event":"x","ack":2}'));
	ok($ws->wait_ack(2), 'fragments: empty ones');

	return $ws;
},
	closed => { too_big => 1 },
	refused => { unknown_event => 2 },
);

abuse('packets that nobody asked for', sub {
	my $ws = ws('/ws');
	my $io = io('/io/');

	$ws->send_raw("\x8a\x80\0\0\0\0" x 200000);
	$io->send_raw(frame(payload => '3') x 100000
		. frame(payload => '6') x 100000
		. frame(payload => '431[]') x 50000);
	$io->send_raw(join '', (frame(payload =>
		'461-1[{"_placeholder":true,"num":0}]'),
		frame(opcode => $BINARY, payload => 'x' x 100)) x 10000);

	$ws->send_json({ event => 'x', ack => 1 });
	ok($ws->wait_ack(1), 'packets: pongs');

	$io->emit('x', { ack => 1 });
	ok($io->wait_ack(1), 'packets: acknowledgements and such');

	return $ws, $io;
});

abuse('bytes behind the handshake', sub {
	my $ws = ws('/ws', early => frame(payload => '{"event":"x"}') x 2000);

	ok((wait_for {
		(($ws->recv_json() || {})->{data}{error} || '') eq 'rate limited';
	} 'too many', 30), 'behind the handshake: read');

	$ws = ws('/ws', early => 'x' x 60000);
	is(($ws->read_close())[0], 1002, 'behind the handshake: rubbish');
},
	refused => { rate_limited => 1000 },
	closed => { protocol_error => 1 },
);

abuse('a flood of CONNECT packets', sub {
	my $io = io('/io/');

	# as much as a good client may do at once, and then some

	$io->leave();
	$io->send_raw((frame(payload => '40{"name":"a.b.c"}')
		. frame(payload => '41')) x 20
		. frame(payload => '40/x,') x 500);

	my %got;

	for (1 .. 520) {
		my $p = $io->wait_packet(10, sub { $_[0]{type} =~ /^[04]$/ });
		$got{$p ? $p->{type} ? $p->{data}{message} : 'ok' : 'none'}++;
	}

	is($got{ok}, 20, 'CONNECT: first ones');
	cmp_ok($got{'rate limited'} || 0, '>', 300, 'CONNECT: most refused')
		or diag(join ', ', map { "$_ $got{$_}" } sort keys %got);
	ok($io->is_open(), 'CONNECT: it may stay');

	return $io;
},
	refused => { rate_limited => 300, namespace => 10 },
	log => qr/client is refused by Socket\.IO: rate limited/,
);

abuse('large CONNECT packets', sub {
	my @all = map { io('/io/') } 1 .. 4;

	# nothing of what they bring stays for the time of the connection

	for my $io (@all) {
		$io->leave();
		$io->send_raw(join '', (frame(payload => '40{"name":"'
			. 'x' x 60000 . '"}'), frame(payload => '41')) x 40);

		is(($io->read_close())[0], 1002, 'large CONNECT: closed');
	}

	return @all;
},
	closed => { protocol_error => 4 },
	log => qr/closes client, code:1002, too many CONNECT packets/,
);


abuse('pings that are not waited for', sub {
	my $ws = ws('/ws', rcvbuf => 4096);

	# none of the answers is read

	$ws->{timeout} = 60;
	ok($ws->send_raw("\x89\x80\0\0\0\0" x 500000), 'pings: taken');
	$ws->send_raw(frame(opcode => $PING, payload => 'last'));

	my $n = 0;

	while (my $f = $ws->recv(30)) {
		$n++;
		last if $f->{payload} eq 'last';
	}

	cmp_ok($n, '>', 1, 'pings: the last one is answered');
	$ws->send_json({ event => 'x', ack => 1 });
	ok($ws->wait_ack(1), 'pings: the client may stay');

	return $ws;
});

abuse('long commands while Redis rests', sub {
	my @all = map { ws("/fast?user=$_") } 1 .. 10;
	my $long = 'x' x 60000;

	$redis->pause();

	my %got;

	# all that is not refused waits for the owner of the job

	for my $ws (@all) {
		$ws->send_raw(join '', map { frame(payload => '{"event":"mine",'
			. "\"data\":{\"id\":\"1\",\"long\":\"$long\"},\"ack\":$_}") }
			1 .. 64);
		$ws->send_json({ event => 'x', ack => 65 });
		$ws->wait_ack(65);
	}

	$redis->resume();

	for my $ws (@all) {
		for my $n (1 .. 64) {
			my $a = $ws->wait_ack($n);
			$got{$a ? $a->{data}{error} : 'none'}++;
		}
	}

	cmp_ok($got{forbidden} || 0, '>', 500, 'long commands: looked at');
	cmp_ok($got{'too many requests'} || 0, '>', 50,
		'long commands: with a limit')
		or diag(join ', ', map { "$_ $got{$_}" } sort keys %got);

	return @all;
},
	commands => { busy => 50, forbidden => 500 },
	refused => { too_many_requests => 50 },
	log => qr/client is refused, too many requests/,
	rss => 80 * 1024,
);

###############################################################################

abuse('replays that nobody takes', sub {
	my @history = map { [ FCALL => 'rtbus_publish', 1, 'job:long', 'e',
		'"' . 'x' x 1000 . '"', MAXLEN => 4000 ] } 1 .. 4000;

	$redis->pipeline(splice @history, 0, 500) while @history;

	my $all = '{"event":"subscribe","data":{"channel":"job:long",'
		. '"after":"0-0"},"ack":1}';
	my $replay = sub {
		my $ws = ws('/ws');
		my $n = 0;

		$ws->send_text($all);

		select_loop([ $ws ], sub { $n > 4000 }, 30,
			sub { $n++ if $_[1]{message} =~ /"ack"|"e"/ });
		$ws->drop();

		return $n;
	};

	my $before = calls('xrange');
	is($replay->(), 4001, 'replays: whole');
	my $whole = calls('xrange') - $before;

	# it has broken the rules, and waits to be cut off

	my @bad = map { ws('/ws') } 1 .. 5;
	$_->send_raw(frame(payload => $all) . frame(mask => 0)) for @bad;

	is(($_->read_close())[0], 1002, 'replays: closed') for @bad;

	# as long as one takes, so would theirs

	$before = calls('xrange');
	is($replay->(), 4001, 'replays: whole again');

	cmp_ok(calls('xrange') - $before, '<', 1.5 * $whole,
		'replays: not for those that are closed');

	return @bad;
},
	log => qr/closes client, code:1002, frame without mask/,
);

abuse('positions that are not there yet', sub {
	my $first = ws('/fast');
	my @all = map { ws('/fast') } 1 .. 40;

	$first->send_json({ event => 'subscribe', ack => 1,
		data => { channel => 'job:future' } });
	$first->wait_ack(1);

	my $before = calls('xrange') + calls('xinfo|stream');

	# all of them while the stream is looked at for the first one

	$redis->pause();

	for my $ws (@all) {
		$ws->send_raw(frame(payload => '{"event":"subscribe","ack":1,'
			. '"data":{"channel":"job:future",'
			. '"after":"9999999999999-9"}}')
			. frame(payload => '{"event":"x","ack":2}'));
	}

	$_->wait_ack(2) for @all;

	$redis->resume();

	is(scalar(grep { my $a = $_->wait_ack(1); $a && $a->{data}{ok} } @all),
		40, 'positions: all have joined');
	is(scalar(grep { $_->wait_event('sync:gap') } @all), 40,
		'positions: all are told');

	cmp_ok(calls('xrange') + calls('xinfo|stream') - $before, '<', 10,
		'positions: the stream is looked at for all at once');

	return @all;
});

###############################################################################

# nothing of it stays

ok(metrics_wait('rtbus_channels', 1, 30), 'channels are left');

for my $transport (qw/ websocket sse socketio /) {
	ok(metrics_wait("rtbus_connections{transport=\"$transport\"}", 1),
		"connections: $transport");
}

ok(metrics_wait('rtbus_send_queue_bytes', 0), 'nothing is queued');
is((workers($t))[0], $worker, 'the worker is the same');

done($others);

###############################################################################

sub ws { Test::RTBus::WebSocket->connect(path => shift, @_) }
sub sse { Test::RTBus::SSE->connect(path => shift, @_) }
sub frame { Test::RTBus::WebSocket->frame(@_) }

# connected to "/"; what is left of the options is for that

sub io {
	my ($path, %o) = @_;

	my %auth = map { exists $o{$_} ? ($_ => delete $o{$_}) : () }
		qw/ pid offset token /;

	my $io = Test::RTBus::SocketIO->connect(path => $path, %o);

	my $p = $io->join_nsp('/', %auth ? \%auth : undef);
	$io->{sid} = $p->{data}{sid};

	return $io;
}

# how often Redis was sent that command

sub calls {
	my ($command) = @_;

	return $redis->cmd('INFO', 'commandstats')
		=~ /^cmdstat_\Q$command\E:calls=(\d+)/m ? $1 : 0;
}

sub post {
	my ($uri, $body) = @_;

	my $c = Test::RTBus::SSE->connect(method => 'POST', path => $uri,
		headers => { 'Content-Length' => length $body },
		early => $body);

	return $c->status();
}

sub envelope {
	my ($data) = @_;

	return "{\"event\":\"e\",\"data\":\"$data\"}";
}

###############################################################################

# The sub does it and gives back the clients that are to stay meanwhile.

sub abuse {
	my ($name, $code, %want) = @_;

	my $before = metrics();
	my $rss = rss_kb($worker);
	report();

	my @clients = $code->();

	my %metrics = (
		closed => [ 'rtbus_clients_closed_total', 'reason' ],
		refused => [ 'rtbus_refused_total', 'reason' ],
		invalid => [ 'rtbus_events_invalid_total', 'reason' ],
		commands => [ 'rtbus_commands_total', 'result' ],
	);

	for my $kind (sort keys %metrics) {
		my ($metric, $label) = @{$metrics{$kind}};

		for my $value (sort keys %{$want{$kind} || {}}) {
			my $sample = "$metric\{$label=\"$value\"}";
			my $least = $before->{$sample} + $want{$kind}{$value};

			ok((wait_for { metrics()->{$sample} >= $least } $sample),
				"$name: counted as $value");
		}
	}

	error_log_like($t, $want{log}, "$name: logged") if $want{log};

	$rss = rss_kb($worker) - $rss;

	SKIP: {
		skip 'the memory is that of a sanitizer', 1
			if $ENV{RTBUS_SANITIZED};

		cmp_ok($rss, '<', $want{rss} || 8192, "$name: memory");
	}

	my $seen = report();

	is($seen->{missing}, 0, "$name: others get all of their events");
	cmp_ok($seen->{p99}, '<', 10 * $calm->{p99} + 1000,
		"$name: others get them in time");

	diag(sprintf '%s: p50 %.1f ms, p99 %.1f ms (x %.1f), %d kB', $name,
		@$seen{qw/ p50 p99 /}, $seen->{p99} / $calm->{p99}, $rss);

	$_->drop() for grep { ref } @clients;
}

# A process of its own that publishes events and has a client of each protocol
# that takes them.

sub others {
	socketpair my $ours, my $theirs, AF_UNIX, SOCK_STREAM, PF_UNSPEC
		or die "socketpair: $!\n";

	$_->autoflush(1) for $ours, $theirs;

	my $pid = fork();
	die "fork: $!\n" unless defined $pid;

	if ($pid == 0) {
		close $ours;

		eval { others_run($theirs); 1 } or print STDERR $@;
		POSIX::_exit(0);
	}

	close $theirs;

	return { pid => $pid, pipe => $ours };
}

sub others_run {
	my ($pipe) = @_;

	my @clients = (ws('/public'), sse('/public'), io('/public/io/'));
	my ($n, $next, @late) = (0, time());
	my %got = map { $_ => 0 } @clients;
	my %there;

	my $take = sub {
		my ($c, $m) = @_;

		my $text = defined $m->{message} ? $m->{message} : $m->{data};

		$there{$c} = 1 if defined $text && $text =~ /there/;

		return unless defined $text && $text =~ /\[(\d+),([\d.]+)\]/;

		push @late, (time() - $2) * 1000;
		$got{$c}++ if $1 == $got{$c} + 1;
	};

	# a live event reaches those that nginx has subscribed for by then

	for (1 .. 1000) {
		last if keys %there == @clients;

		$redis->publish('public', '{"event":"e","data":"there"}');
		select_loop(\@clients, sub { keys %there == @clients }, 0.05,
			$take);
	}

	while (1) {
		$redis->publish('public', sprintf '{"event":"e","data":[%d,%.6f]}',
			++$n, time());

		$next += 0.01;
		$next = time() if $next < time() - 1;

		select_loop(\@clients, sub { time() >= $next }, 1, $take);

		next unless Test::RTBus::wait_io(fileno $pipe, 1, 0);

		defined <$pipe> or return;

		# all that was published is to come

		select_loop(\@clients, sub { !grep { $_ != $n } values %got },
			10, $take);

		my @sorted = sort { $a <=> $b } @late;
		my $missing = 0;
		$missing += $n - $_ for values %got;

		print $pipe Test::RTBus::json_encode({ n => scalar @sorted,
			p50 => $sorted[@sorted / 2],
			p99 => $sorted[@sorted * 0.99],
			missing => $missing }) . "\n";

		@late = ();
	}
}

sub report {
	my $pipe = $others->{pipe};

	print $pipe "report\n";
	my $line = <$pipe>;

	return Test::RTBus::json_decode($line);
}

sub done {
	close $others->{pipe};
	waitpid $others->{pid}, 0;
}

###############################################################################
