#!/usr/bin/perl

# Tests for a Redis Cluster: channels, states, commands and mailboxes of all
# shards, over all protocols, and the links that are made for them.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Cluster;
use Test::RTBus::Metrics;
use Test::RTBus::Polling;
use Test::RTBus::SSE;
use Test::RTBus::WebSocket;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server')
	->has_daemon('redis-cli');

plan(skip_all => 'the module is not built') unless module_file();

my $cluster = Test::RTBus::Cluster->new(dir => $t->testdir());
my @masters = $cluster->masters();

# the first node of the URL is none

my $nobody = free_port();
my $url = $cluster->url() =~ s/127/127.0.0.1:$nobody,127/r;

my $conf = <<"EOC";

%%TEST_GLOBALS%%

daemon off;
worker_processes 2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis         $url;
    rtbus_allow         job:*;
    rtbus_user          \$arg_user;
    rtbus_message_rate  1000r/s;
    rtbus_namespaces    / /a;

    rtbus_command  ask   reply=30s;
    rtbus_command  mine  job=jobId claim stream=mine;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location /ws {
            rtbus websocket sse;
        }

        location /socket.io/ {
            rtbus socketio;
            rtbus_subscribe \$arg_channel;
        }

        location ~ ^/state/(.+)\$ {
            rtbus_state \$1;
        }

        location ~ ^/kept/(.+)\$ {
            rtbus_state \$1 key=kept:\$1;
        }

        location ~ ^/publish/(.+)\$ {
            rtbus_publish \$1;
        }

        location ~ ^/live/(.+)\$ {
            rtbus_publish \$1 live;
        }

        location /status {
            rtbus_status;
        }

        location /health {
            rtbus_health;
        }
    }
}

EOC

my @nodes = ($t, Test::Nginx->new());

$t->write_file_expand('nginx.conf', $conf);
$nodes[1]->write_file_expand('nginx.conf', $conf =~ s/8080/8081/r
	=~ s/2;/1;/r =~ s/(rtbus_allow)/rtbus_prefix p:; $1/r
	=~ s/kept:/p:kept:/r);

$t->plan(57);

my ($ok, $out) = nginx_check($t,
	$conf =~ s/(rtbus_allow)/rtbus_forward job:* 'user:{u}'; $1/r);
ok(!$ok, 'rtbus_forward');
like($out, qr/"rtbus_forward" does not work with a Redis Cluster/, 'refused');

for my $case ([ "$url/1", 'a cluster has no database number' ],
	[ 'redis+cluster://', 'no host' ])
{
	($ok, $out) = nginx_check($t, $conf =~ s/\Q$url\E/$case->[0]/r);
	like($out, qr/\[emerg\] .*\Q$case->[1]/, $case->[0]);
}

for my $node (@nodes) {
	$node->run();
}

is(healthy(8080), 200, 'health');
is(healthy(8081), 200, 'health with a prefix');

###############################################################################

# one client, channels of all shards

my @names = $cluster->names('job:', 3);
my $ws = client();

is_deeply([ map { subscribe($ws, $_) } @names ], [ ('0-0') x 9 ],
	'channels of all shards');
is(healthy(8080), 200, 'health with all shards');

ok((wait_for {
	!grep { ref $_->try_cmd('FCALL_RO', 'rtbus_version', 0) } @masters;
} 'library'), 'library loaded into all masters');

my %pos;

for my $n (1 .. 3) {
	for my $name (@names) {
		push @{$pos{$name}}, $cluster->fcall($name, 'n', { n => $n });
	}
}

my %got;

for (1 .. 27) {
	my $m = $ws->wait_event('n') or last;
	push @{$got{$m->{channel}}}, $m;
}

is_deeply({ map { $_ => [ map { $_->{data}{n} } @{$got{$_}} ] } @names },
	{ map { $_ => [ 1, 2, 3 ] } @names }, 'events of all of them');

my $cursor = $got{$names[8]}[2]{cursor};

is_deeply([ sort split /,/, $cursor ],
	[ sort map { "$_\@$pos{$_}[2]" } @names ], 'one cursor');

# metrics name the shards

my @shards = map { '127.0.0.1:' . $_->port() } @masters;
my $shard = "shard=\"$shards[0]\"";
my $m = metrics();

is_deeply([ sort map { /^rtbus_shard_up\{shard="(.*)",link="pubsub"/ }
	keys %$m ], [ sort @shards ], 'shards');
is($m->{"rtbus_shard_up{$shard,link=\"command\"}"}, 1, 'one is up');
cmp_ok($m->{"rtbus_shard_workers{$shard}"}, '>=', 1, 'with workers');
cmp_ok($m->{"rtbus_shard_canary_age_seconds{$shard}"}, '<', 8, 'and a canary');
is_deeply([ sort keys %{json_decode((split /\r\n\r\n/,
	http_get('/status?format=json'))[1])->{shards}} ], [ sort @shards ],
	'shards in JSON');

# live events are of the shard as well

is($cluster->event($_, 'live', 'x'), 1, 'live event') for @names[0 .. 2];
is_deeply([ sort map { $ws->wait_event('live')->{channel} } 1 .. 3 ],
	[ sort @names[0 .. 2] ], 'received');

# resumed by its cursor

$ws->close();

$cluster->fcall($_, 'n', { n => 4 }) for @names;

$ws = client("?cursor=$cursor");

my %missed = map { my $m = $ws->wait_event('n');
	($m->{channel} => $m->{data}{n}) } @names;

is_deeply(\%missed, { map { $_ => 4 } @names }, 'missed events');

my $sse = Test::RTBus::SSE->connect(path => '/ws', last_event_id => $cursor);

is_deeply({ map { $sse->wait_event('n')->{data} => 1 } @names },
	{ '{"n":4}' => 1 }, 'over SSE, too');

# states, published over HTTP

for my $name (@names[0 .. 2]) {
	like(post("/publish/$name", { event => 'n', data => { n => 5 },
		set => { status => 'done' }, append => 'text' }),
		qr/ 201 .*"id":"\d+-5"/s, 'published');
	is($ws->wait_event('n')->{data}{n}, 5, 'received');
	like(http_get("/state/$name"), qr/"status":"done".*"output":"text"/,
		'state');
	like(post("/live/$name", { event => 'live', data => 1 }), qr/ 201 /,
		'published live');
	is($ws->wait_event('live')->{channel}, $name, 'received');
}

# a state whose key is of another shard

$cluster->cmd('HSET', "kept:$names[0]", 'status', 'kept');
like(http_get("/kept/$names[0]"), qr/"status":"kept"/, 'state kept elsewhere');

# a snapshot, and what comes after it

$ws->send_json({ event => 'subscribe', ack => 7,
	data => { channel => 'job:new', state => JSON::PP::true } });
ok($ws->wait_event('state'), 'snapshot');
ok($ws->wait_ack(7)->{data}{ok}, 'subscribed');

# commands, their owners and their answers

$ws->send_json({ event => 'ask', data => { q => 1 }, ack => 8 });

my $command = $cluster->take('rtbus:commands');

# by any node: a plain PUBLISH gets to all of them

$cluster->answer($command, { data => [ 'a' ] });
is($ws->wait_ack(8)->{data}, 'a', 'answered');

my $ann = client('?user=ann');

for my $name (@names[0 .. 2]) {
	my ($job) = $name =~ /:(.*)/;

	$ann->send_json({ event => 'mine', data => { jobId => "new$job" },
		ack => 9 });
	ok($ann->wait_ack(9)->{data}{ok}, 'claimed');
	is($cluster->cmd('HGET', "{job:new$job}:state", 'userId'), 'ann',
		'owner');
}

# polling: requests of a session go to both workers

my $io = Test::RTBus::Polling->connect(
	path => "/socket.io/?channel=$names[0]");

$io->join_nsp();
$io->wait_name('connected');
$cluster->fcall($names[0], 'poll', { n => $_ }) for 1 .. 20;
is_deeply([ map { $io->wait_name('poll')->{data}[1]{n} } 1 .. 20 ],
	[ 1 .. 20 ], 'polled');

# a prefix

$ws = client('', 8081);
subscribe($ws, $_) for @names;

is_deeply([ map { $cluster->subscribers("p:{$_}") } @names ], [ (1) x 9 ],
	'shard channels with a prefix');

for my $name (@names) {
	$cluster->fcall("p:{$name}", 'n', { n => 6 });
	$cluster->event("p:{$name}", 'live', 6);
	post("/live/$name", { event => 'live', data => 7 }, 8081);
}

is_deeply({ map { $ws->wait_event('n')->{channel} => 1 } @names },
	{ map { $_ => 1 } @names }, 'events with a prefix');
is_deeply({ map { my $m = $ws->wait_event('live');
	("$m->{channel} $m->{data}" => 1) } 1 .. 18 },
	{ map { ("$_ 6" => 1, "$_ 7" => 1) } @names }, 'live ones');
is_deeply([ map { ref $cluster->try_cmd('EXISTS', "p:{$_}:events")
	|| $cluster->cmd('EXISTS', "p:{$_}:events") } @names ], [ (1) x 9 ],
	'keys with a prefix');

# one that nobody listens to any more is unsubscribed

$ws->send_json({ event => 'unsubscribe', data => { channel => $names[1] } });
ok($cluster->wait_subscribers("p:{$names[1]}", 0, 20), 'unsubscribed');
is(subscribe($ws, $names[1]), $cluster->fcall("p:{$names[1]}", 'n', '1')
	=~ s/-2$/-1/r, 'and subscribed to again');

# what is down there

is(error_log_count($t, qr/\[error\]/), error_log_count($t,
	qr/\[error\] .*127\.0\.0\.1:$nobody/), 'no error but of who is not there');

$_->stop() for @nodes;

###############################################################################

sub healthy {
	my ($port) = @_;
	my $status;

	wait_for {
		my $reply = http_get('/health',
			PeerAddr => '127.0.0.1:' . port($port));

		$reply && (($status) = $reply =~ / (\d+) /) && $status == 200;
	} 'health', 20;

	return $status;
}

sub client {
	my ($query, $port) = @_;

	my $client = Test::RTBus::WebSocket->connect(
		path => '/ws' . ($query || ''), port => port($port || 8080));

	$client->wait_event('connected');

	return $client;
}

sub subscribe {
	my ($client, $name) = @_;

	$client->send_json({ event => 'subscribe', data => { channel => $name },
		ack => 1 });

	my $ack = $client->wait_ack(1);

	return $ack->{data}{position} || json_encode($ack->{data});
}

sub post {
	my ($uri, $data, $port) = @_;

	my $body = json_encode($data);

	return http(<<EOF, PeerAddr => '127.0.0.1:' . port($port || 8080));
POST $uri HTTP/1.0
Host: localhost
Content-Type: application/json
Content-Length: @{[length $body]}

$body
EOF
}

###############################################################################
