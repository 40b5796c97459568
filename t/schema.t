#!/usr/bin/perl

# Tests for rtbus_schema: what has not the shape that the file wants reaches
# nobody, by whichever way it comes, and who can be told is told why.  A durable
# event that is left out leaves no gap.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Manual qw/ blocks chapter /;
use Test::RTBus::Redis;
use Test::RTBus::SSE;
use Test::RTBus::WebSocket;

use Cwd qw/ abs_path /;
use File::Basename qw/ dirname /;
use File::Copy qw/ copy /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http rewrite /)
	->has_daemon('redis-server');

plan(skip_all => 'the module is not built') unless module_file();

my $top = abs_path(dirname(__FILE__) . '/..');
my $d = $t->testdir();

my $redis = Test::RTBus::Redis->new(dir => $d);
my $url = $redis->url();

mkdir "$d/conf" or die "Can't make $d/conf: $!\n";
copy("$top/conf/events.schema.json", "$d/conf") or die "Can't copy: $!\n";

my $conf = <<"EOC";

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis   $url;
    rtbus_schema  conf/events.schema.json;
    rtbus_allow   job:*;
    rtbus_drain   10ms;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location /ws {
            rtbus           websocket;
            rtbus_command   task:*;
        }

        location = /submit {
            rtbus_submit    task:cancel:v1;
            rtbus_command   task:*;
        }

        location /sse {
            rtbus            sse;
            rtbus_subscribe  \$arg_channel;
        }

        location ~ ^/live/(.*)\$ {
            rtbus_publish  \$1 live;
        }

        location ~ ^/durable/(.*)\$ {
            rtbus_publish  \$1;
        }
    }
}

EOC

$t->write_file_expand('nginx.conf', $conf);
$t->run()->plan(104);

ok((wait_for { !ref $redis->try_cmd('FCALL_RO', 'rtbus_version', 0) }
	'library'), 'library');

my ($yes, $no) = (JSON::PP::true, JSON::PP::false);
my $n = 0;
my ($ws, $sse, $r, $epoch, @ids);

###############################################################################

# live: the next event that comes is a good one

$ws = ws('job:42');

for my $case (
	[ 'model:chunk:v1', '{"jobId":"42","chunk":"Hel","index":1}' ],
	[ 'model:chunk:v1', '{"jobId":"42","chunk":"","userId":null,"x":[]}' ],
	[ 'task:progress:v1', '{"jobId":"42","progress":0}' ],
	[ 'task:progress:v1', '{"jobId":"42","progress":33.3}' ],
	[ 'task:progress:v1', '{"jobId":"42","progress":1e2}' ],
	[ 'model:chunk:v2', '"anything"' ],
	[ 'of:no:schema', '{"jobId":42}' ],
)
{
	my ($name, $data) = @$case;

	$redis->publish('job:42', qq/{"event":"$name","data":$data}/);
	is_deeply(got($ws), [ $name, json_decode($data) ], "good $name $data");
}

for my $case (
	[ 'model:chunk:v1', '{"chunk":"Hel"}', 'data.jobId is missing' ],
	[ 'model:chunk:v1', '{"jobId":42,"chunk":"Hel"}',
		'data.jobId is not a string' ],
	[ 'model:chunk:v1', '{"jobId":"42","chunk":"Hel","index":1.5}',
		'data.index is not an integer' ],
	[ 'model:chunk:v1', '{"jobId":"42","chunk":"","userId":7}',
		'data.userId is not a string or null' ],
	[ 'model:chunk:v1', '"Hel"', 'data is not an object' ],
	[ 'model:chunk:v1', 'null', 'data is not an object' ],
	[ 'task:progress:v1', '{"jobId":"42","progress":101}',
		'data.progress is greater than 100' ],
	[ 'task:progress:v1', '{"jobId":"42","progress":-1}',
		'data.progress is less than 0' ],
	[ 'search:result:v1', '{"jobId":"42","results":[{"title":"a",'
		. '"url":"b"},{"title":"c"}]}',
		'data.results[1].url is missing' ],
	[ 'user:presence:v1', '{"userId":"7","status":"gone"}',
		'data.status is not one of the values listed' ],
)
{
	my ($name, $data, $why) = @$case;
	my $event = qq/{"event":"$name","data":$data}/;

	$redis->publish('job:42', $event);
	$redis->event('job:42', 'good', ++$n);
	is_deeply(got($ws), [ 'good', $n ], "nobody gets it: $why");

	# and whoever posts it is told, in the same words

	$r = post('/live/job:42', $event);
	like($r, qr/^HTTP\S+ 400 .*\{"error":"\Q$why\E"\}$/s, "posted: $why");
}

# the log has at most one line a second

for my $text ('"model:chunk:v1": data.jobId is missing',
	'"task:progress:v1": data.progress is missing')
{
	my ($name) = $text =~ /^"(.*?)"/;

	ok((wait_for {
		$redis->event('job:42', $name, $name =~ /^m/ ? {}
			: { jobId => '42' });
		error_log_count($t, qr/\[warn\] .*rtbus:\ invalid\ event
			\ on\ channel\ "job:42"\ dropped:\ \Q$text\E,
			\ \d+\ more\ since/x);
	} $text), "log $text");
}

# the first of several arguments is the data

for my $case (
	[ '"args":[{"jobId":"42","chunk":"a"},1]', 1 ],
	[ '"args":[{"jobId":"42"},{"chunk":"a"}]', 0 ],
	[ '"args":[]', 0 ],
	[ '"x":1', 0 ],
)
{
	my ($text, $good) = @$case;

	$redis->publish('job:42', qq/{"event":"model:chunk:v1",$text}/);
	$redis->event('job:42', 'good', ++$n);

	is_deeply($ws->recv_json()->{args},
		[ { jobId => '42', chunk => 'a' }, 1 ], $text) if $good;
	is_deeply(got($ws), [ 'good', $n ], "$text and on");
}

# names and members with escapes are what they say

$redis->publish('job:42', '{"event":"model:chun\u006b:v1","data":1}');
$redis->publish('job:42', '{"event":"model:chunk:v1",'
	. '"data":{"\u006aobId":"42","chunk":"escaped"}}');
is(got($ws)->[1]{chunk}, 'escaped', 'escapes');

###############################################################################

# durable: the bad ones keep their place, and there is no gap

$sse = Test::RTBus::SSE->connect(path => '/sse?channel=job:d');
is($sse->next_event()->{event}, 'connected', 'sse');

$ws = ws('job:d');

@ids = map { chunk('job:d', $_) } 'a', undef, 'b', undef, undef, 'c';
($epoch) = $ids[0] =~ /^(\d+)/;

is(join(' ', @ids), join(' ', map { "$epoch-$_" } 1 .. 6),
	'the function takes them all');
is(chunks($ws, 3), 'a@1 b@3 c@6', 'listening');
is(join(' ', map { $_->{data}{chunk} } map { $sse->next_json() } 1 .. 3),
	'a b c', 'listening with sse');

$ws = Test::RTBus::WebSocket->connect(path => '/ws');
$ws->recv_json();

$ws->send_json({ event => 'subscribe', ack => 1,
	data => { channel => 'job:d', after => '0-0' } });
is(chunks($ws, 3), 'a@1 b@3 c@6', 'replayed');
is_deeply($ws->recv_json(), { ack => 1, data => { ok => $yes,
	channel => 'job:d', position => "$epoch-6" } }, 'replayed up to here');

$ws = Test::RTBus::WebSocket->connect(path => "/ws?cursor=job:d\@$epoch-3");
is($ws->recv_json()->{event}, 'connected', 'resumed');
is(chunks($ws, 1), 'c@6', 'resumed behind');

# a bad one is the last

@ids = map { chunk('job:d', $_) } undef;
$redis->event('job:d', 'good', ++$n);
is($ws->recv_json()->{cursor}, "job:d\@$epoch-7", 'last one passed over');

$ws->send_json({ event => 'unsubscribe', ack => 1,
	data => { channel => 'job:d' } });
is($ws->wait_ack(1)->{data}{ok}, $yes, 'left');
is(subscribe($ws, 'job:d')->{position}, "$epoch-7", 'last one counts');

# read from the stream, since nobody was told

silent('job:d', 8, '{"jobId":"d","chunk":"e"}');
silent('job:d', 9, '{"jobId":"d"}');
silent('job:d', 10, '{"jobId":"d","chunk":"f"}');
silent('job:d', 11, '[]');
chunk('job:d', 'g');

is(chunks($ws, 3), 'e@8 f@10 g@12', 'filled');

silent('job:d', 13, '{}');
$redis->cmd(qw/ CLIENT KILL TYPE pubsub /);
silent('job:d', 14, '{"jobId":"d","chunk":"h"}');
silent('job:d', 15, '{}');

is(chunks($ws, 1), 'h@14', 'after the connection was lost');

error_log_unlike($t, qr/gap in channel/, 'no gap');

# posted: nothing is written

my $listener = Test::RTBus::Redis::Connection->new($redis->port());
$listener->write("PSUBSCRIBE *\r\n");
$listener->reply();

my $bad = '{"event":"task:progress:v1","data":{"jobId":"p"},"append":"x",'
	. '"set":{"status":"running"}}';

$r = post('/durable/job:p', $bad);
like($r, qr/400 .*\{"error":"data.progress is missing"\}$/s, 'post');
is(scalar @{ $redis->cmd('KEYS', '*job:p*') }, 0, 'nothing written');

$r = post('/live/job:p', $bad);
like($r, qr/400 .*\{"error":"data.progress is missing"\}$/s, 'post live');

$r = post('/durable/job:p', '{"event":"task:progress:v1",'
	. '"data":{"jobId":"p","progress":50}}');
like($r, qr/ 201 .*"id":"\d+-1"/s, 'post good');

my $m = $listener->reply();
like($m->[3], qr/"progress":50/, 'nothing published before');

$r = post('/durable/job:p', '{"event":"task:progress:v1"}');
like($r, qr/400 .*\{"error":"data is missing"\}$/s, 'post without data');

$r = post('/durable/job:p', '{"event":"model:chunk:v1",'
	. '"args":[{"jobId":"p","chunk":"a"},{}]}');
like($r, qr/ 201 .*"id":"\d+-2"/s, 'post args');

$r = post('/durable/job:p', '{"event":"model:chunk:v1","args":[{"a\"\n":1}]}');
like($r, qr/400 .*\{"error":"data.jobId is missing"\}$/s, 'post bad args');

# commands: nothing goes to the stream that is not as it should be

is_deeply(command($ws, 'task:cancel:v1', {}),
	{ ok => $no, error => 'data.jobId is missing' }, 'bad command');
is_deeply(command($ws, 'task:cancel:v1', { jobId => 5 }),
	{ ok => $no, error => 'data.jobId is not a string' }, 'bad member');
like(post('/submit', '{}'), qr/ 400 .*\{"error":"data.jobId is missing"\}$/s,
	'bad submit');
is($redis->cmd('EXISTS', 'rtbus:commands'), 0, 'no command yet');

ok(command($ws, 'task:cancel:v1', { jobId => '5' })->{ok}, 'good command');
like(post('/submit', '{"jobId":"5"}'), qr/ 202 /, 'good submit');

###############################################################################

# strict, by a reload; a file of another shape

$t->write_file('conf/strict.json', <<'EOF');
{
    "a:v1": {
        "type": "object",
        "properties": { "x": { "items": { "type": "boolean" } } },
        "additionalProperties": false
    },
    "b:v1": true
}
EOF

my $strict = $conf =~ s!rtbus_schema .*!rtbus_schema $d/conf/strict.json strict;!r;

$t->write_file_expand('nginx.conf', $strict);
ok(reload_wait($t), 'reload');
ok((wait_for { post('/live/job:s', '{"event":"b:v1"}') =~ / 201 / } 'Redis'),
	'connected');

$ws = ws('job:s');

for my $case (
	[ '{"event":"a:v1","data":{"x":[true,false]}}' ],
	[ '{"event":"b:v1","data":"anything"}' ],
	[ '{"event":"a:v1","data":{"x":[true,0]}}',
		'data.x[1] is not a boolean' ],
	[ '{"event":"a:v1","data":{"y\"":1}}', 'data.y\\\\\\" is not allowed' ],
	[ '{"event":"c:v1","data":1}', 'event name is not in the schema' ],
	[ '{"event":"model:chunk:v1","data":{"jobId":"1","chunk":""}}',
		'event name is not in the schema' ],
)
{
	my ($event, $why) = @$case;
	my $data = json_decode($event);

	for my $path ('/live/job:s', '/durable/job:s') {
		$r = post($path, $event);

		if ($why) {
			like($r, qr/ 400 .*\{"error":"\Q$why\E"\}$/s,
				"strict $path $why");
			next;
		}

		like($r, qr/ 201 /, "strict $path $event");
		is_deeply(got($ws), [ $data->{event}, $data->{data} ],
			"strict $path $event comes");
	}

	next unless $why;

	$redis->publish('job:s', $event);
	$redis->cmd('FCALL', 'rtbus_publish', 1, 'job:s', $data->{event},
		json_encode($data->{data}));
	$redis->event('job:s', 'b:v1', ++$n);
	is_deeply(got($ws), [ 'b:v1', $n ], "strict, nobody gets it: $why");
}

# what the module itself sends is not meant

$ws->send_json({ event => 'subscribe', ack => 1,
	data => { channel => 'job:d', state => $yes } });
is($ws->recv_json()->{event}, 'state', 'strict state');
is($ws->wait_ack(1)->{data}{position}, "$epoch-15", 'strict position');

###############################################################################

# what is wrong with a file is said where it is used

for my $case (
	[ '{"a":{"type":"string"}}' ],
	[ "{\n\"a\":{\"type\":\"string\"},\n}", 'line 3: not JSON' ],
	[ '[]', 'line 1: not an object' ],
	[ "{\n\n\"a\": {\n\"properties\":{\"b\":{\"pattern\":\"x\"}}}}",
		'line 4: a: data.b: unknown keyword "pattern"' ],
	[ '{"a":{"type":"float"}}', 'unknown type "float"' ],
	[ '{"a":' . ' ' x 1048576 . '{}}', 'bad.json" is too long' ],
)
{
	my ($text, $why) = @$case;

	$t->write_file('bad.json', $text);

	my ($ok, $output) = check('rtbus_schema bad.json');

	if (!$why) {
		ok($ok, 'a good file') || diag($output);
		next;
	}

	ok(!$ok && $output =~ /\[emerg\].*\/bad\.json".* in \S+:\d+$/m
		&& $output =~ /\Q$why\E in /,
		"not a file: $why") || diag($output);
}

$t->write_file('good.json', '{"a":true}');

for my $case (
	[ 'rtbus_schema good.json strict' ],
	[ "rtbus_schema $d/good.json" ],
	[ 'rtbus_schema none.json', 'open\(\) "\S+/none.json" failed' ],
	[ 'rtbus_schema good.json lax', 'invalid parameter "lax"' ],
	[ 'rtbus_schema', 'invalid number of arguments' ],
	[ 'rtbus_schema good.json strict strict',
		'invalid number of arguments' ],
	[ 'rtbus_schema good.json; rtbus_schema good.json', 'is duplicate' ],
	[ 'server { rtbus_schema good.json; }',
		'directive is not allowed here' ],
)
{
	my ($text, $why) = @$case;
	my ($ok, $output) = check($text);

	ok($why ? !$ok && $output =~ /\[emerg\].*$why/ : $ok, $text)
		|| diag($output);
}

# what the manual shows

my ($example) = blocks(chapter('docs/directives.md', '`rtbus_schema`'),
	'json');

$t->write_file('example.json', $example);

my ($ok, $output) = check('rtbus_schema example.json');
ok($ok, 'the example of the manual') || diag($output);

# the events that come with the module

my $shipped = json_decode($t->read_file('conf/events.schema.json'));

is(join(' ', sort grep { ref $shipped->{$_} } keys %$shipped),
	join(' ', sort map { "$_:v1" }
		(map { "model:$_" } qw/ start chunk complete error /),
		(map { "search:$_" } qw/ start result complete error /),
		(map { "research:$_" } qw/ start chunk source complete /),
		(map { "task:$_" } qw/ progress complete error cancel /),
		(map { "job:$_" } qw/ created running progress checkpointed
			paused resumed cancelled completed failed /),
		(map { "download:$_" } qw/ progress complete error /),
		(map { "user:$_" } qw/ presence join leave /)),
	'events of conf/events.schema.json');

###############################################################################

sub ws {
	my ($channel) = @_;

	my $c = Test::RTBus::WebSocket->connect(path => '/ws');

	die "No WebSocket\n" unless $c->recv_json()->{event} eq 'connected';
	die "Not subscribed\n" unless subscribe($c, $channel)->{ok};

	return $c;
}

sub subscribe {
	my ($c, $channel) = @_;

	$c->send_json({ event => 'subscribe', ack => 77,
		data => { channel => $channel } });

	return $c->wait_ack(77)->{data};
}

sub got {
	my ($c) = @_;
	my $m = $c->recv_json() || {};

	return [ $m->{event}, $m->{data} ];
}

# a durable event that is good, or without text, which is not

sub chunk {
	my ($channel, $text) = @_;

	return $redis->cmd('FCALL', 'rtbus_publish', 1, $channel,
		'model:chunk:v1', json_encode({ jobId => 'd',
			defined $text ? (chunk => $text) : () }));
}

sub silent {
	my ($channel, $seq, $data) = @_;

	$redis->cmd('XADD', "{$channel}:events", "$epoch-$seq",
		'event', 'model:chunk:v1', 'data', $data);
}

# "a@1 b@3": the texts of so many messages, and the end of their cursors

sub chunks {
	my ($c, $count) = @_;

	return join ' ', map {
		my $m = $c->recv_json() || { event => 'nothing' };
		my ($seq) = ($m->{cursor} || '') =~ /-(\d+)$/;

		($m->{data} && $m->{data}{chunk} || $m->{event}) . "\@$seq";
	} 1 .. $count;
}

sub command {
	my ($ws, $name, $data) = @_;

	$ws->send_json({ event => $name, data => $data, ack => ++$n });

	return ($ws->wait_ack($n) || {})->{data} || {};
}

sub post {
	my ($path, $body) = @_;
	my $length = length $body;

	return http("POST $path HTTP/1.0\r\nHost: localhost\r\n"
		. "Content-Type: application/json\r\n"
		. "Content-Length: $length\r\n\r\n$body");
}

sub read_all {
	my ($name) = @_;

	open my $fh, '<', $name or die "Can't read $name: $!\n";
	local $/;
	return <$fh>;
}

sub check {
	my ($text) = @_;

	$text .= ';' unless $text =~ /\}$/;

	return nginx_check($t, "%%TEST_GLOBALS%%\ndaemon off;\nevents {\n}\n"
		. "http {\n%%TEST_GLOBALS_HTTP%%\n$text\n}\n");
}

###############################################################################
