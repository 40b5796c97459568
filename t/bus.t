#!/usr/bin/perl

# Tests for several Redis in one nginx: rtbus_redis name= and rtbus_bus.  Each
# has channels, state, commands and sessions of its own, whatever their names;
# one that is away does not harm the others; and what health and status say is
# said of each.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Metrics;
use Test::RTBus::Polling;
use Test::RTBus::Redis;
use Test::RTBus::SSE;
use Test::RTBus::SocketIO;
use Test::RTBus::WebSocket;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server');

plan(skip_all => 'the module is not built') unless module_file();

my %redis = map { $_ => Test::RTBus::Redis->new(dir => $t->testdir()) }
	qw/ default second third /;
my %url = map { $_ => $redis{$_}->url() } keys %redis;

$t->write_file_expand('nginx.conf', <<"CONF")->plan(102);

%%TEST_GLOBALS%%

daemon off;
worker_processes 2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_allow    job:*;
    rtbus_user     \$arg_user;
    rtbus_command  ask reply=30s;
    rtbus_drain    200ms;
    rtbus_ping     60s 60s;

    rtbus_forward  src:* "job:{to}";

    add_header X-Pid \$pid always;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location / {
            rtbus websocket sse;
            rtbus_subscribe \$arg_channel;
        }

        location /socket.io/ {
            rtbus socketio;
            rtbus_subscribe \$arg_channel;
        }

        location /state {
            rtbus_state job:1;
        }

        location /publish {
            rtbus_publish job:1;
        }

        location /submit {
            rtbus_submit ask;
        }

        location /health {
            rtbus_health;
        }

        location /status {
            rtbus_status;
        }
    }

    # named before it is there; for a whole server, but for one location

    server {
        listen       127.0.0.1:8081;
        server_name  localhost;

        rtbus_bus second;

        location / {
            rtbus websocket sse;
            rtbus_subscribe \$arg_channel;

            location /first {
                rtbus_bus default;
                rtbus websocket sse;
                rtbus_subscribe \$arg_channel;
            }
        }

        location /socket.io/ {
            rtbus socketio;
            rtbus_subscribe \$arg_channel;
        }

        location /state {
            rtbus_state job:1;
        }

        location /publish {
            rtbus_publish job:1;
        }

        location /submit {
            rtbus_submit ask;
        }

        location /status {
            rtbus_status;
        }
    }

    # of no location that needs it: a proxy may have been meant

    server {
        listen       127.0.0.1:8082;
        server_name  localhost;

        rtbus_bus third;
    }

    rtbus_redis $url{default} command_timeout=1s;
    rtbus_redis $url{second} name=second command_timeout=1s;
    rtbus_redis $url{third} name=third;
}

CONF

my @buses = qw/ default second /;
my %port = (default => port(8080), second => port(8081));
my %other = (default => 'second', second => 'default');

$t->run();
wait_redis($t, 4);
ready();

###############################################################################

# the same names in both

my (%c, $r);

for my $bus (@buses) {
	my %o = (port => $port{$bus});

	$c{$bus} = {
		ws => Test::RTBus::WebSocket->connect(%o,
			path => '/?channel=job:1'),
		sse => Test::RTBus::SSE->connect(%o,
			path => '/?channel=job:1'),
		io => Test::RTBus::SocketIO->connect(%o,
			path => '/socket.io/?channel=job:1'),
		poll => Test::RTBus::Polling->connect(%o,
			path => '/socket.io/?channel=job:1'),
	};

	$c{$bus}{$_}->join_nsp() for qw/ io poll /;
	$_->wait_event('connected') for values %{$c{$bus}};

	cmp_ok($redis{$bus}->subscribers('job:1'), '>=', 1, "$bus: listens");
}

publish($_, 'first', $_) for @buses;

for my $bus (@buses) {
	is(next_of($bus, $_, 'first')->{data}, $bus, "$bus: its own event, $_")
		for qw/ ws sse io poll /;
}

# a live one, too, and one that is forwarded

$redis{$_}->event('job:1', 'live', $_) for reverse @buses;
$redis{$_}->event('src:1', 'forwarded', { to => 1, of => $_ })
	for reverse @buses;

for my $bus (@buses) {
	is(next_of($bus, $_, 'live')->{data}, $bus, "$bus: live, $_")
		for qw/ ws poll /;
	is(next_of($bus, 'ws', 'forwarded')->{data}{of}, $bus,
		"$bus: forwarded");
}

# state, and what is posted

for my $bus (@buses) {
	$redis{$bus}->cmd('HSET', '{job:1}:state', 'status', "of $bus");

	is(json($bus, '/state')->{status}, "of $bus", "$bus: state");
	like(post($bus, '/publish', '{"event":"posted","data":1}'),
		qr!^HTTP/1.1 201 !, "$bus: published");
	is($redis{$bus}->cmd('XLEN', '{job:1}:events'), 2,
		"$bus: is in its stream");
	is($redis{$other{$bus}}->cmd('XLEN', '{job:1}:events'),
		$bus eq 'default' ? 1 : 2, "$bus: and in no other");

	ok(next_of($bus, $_, 'posted'), "$bus: posted, $_")
		for qw/ ws sse io poll /;
}

# one location of the server has another bus

my $first = Test::RTBus::WebSocket->connect(port => $port{second},
	path => '/first?channel=job:2');

$first->wait_event('connected');
$redis{$_}->event('job:2', 'e', $_) for reverse @buses;

is($first->wait_event('e')->{data}, 'default', 'a bus of its own');
$first->drop();

# commands; mailboxes are those of the bus

for my $bus (@buses) {
	my $ws = $c{$bus}{ws};

	$ws->send_json({ event => 'ask', data => $bus, ack => 7 });

	my $got = $redis{$bus}->take('rtbus:commands');

	is($got->{data}, "\"$bus\"", "$bus: a command");
	is($redis{$other{$bus}}->answer($got, { data => [ 'wrong' ] }), 0,
		"$bus: its mailbox is in no other");
	is($redis{$bus}->answer($got, { data => [ 'right' ] }), 1,
		"$bus: answered");
	is($ws->wait_ack(7)->{data}, 'right', "$bus: the answer");

	is($redis{$bus}->answer({ %$got }, { sid => $got->{sid},
		event => 'for:you', data => $bus }), 1, "$bus: for one client");
	is(next_of($bus, 'ws', 'for:you')->{data}, $bus, "$bus: got it");

	$c{$bus}{poll}->emit('ask', "polling $bus", { ack => 8 });
	$got = $redis{$bus}->take('rtbus:commands');
	$redis{$bus}->answer($got, { data => [ 'right' ] });

	is($c{$bus}{poll}->wait_ack(8)->{data}[0], 'right',
		"$bus: the answer over polling");
}

# a session is of its bus

for my $bus (@buses) {
	my $sid = $c{$bus}{poll}->sid();

	$r = $c{$other{$bus}}{poll}->request('POST', sid => $sid, body => '3');

	is($r->status(), 400, "$bus: no session of the other");
	like($r->body(), qr/Session ID unknown/, "$bus: says so");
}

###############################################################################

# what is said of them

my $text = http_get('/status') =~ s/.*?\r\n\r\n//sr;
my $m = metrics_parse($text);

is($m->{rtbus_workers}, 2, 'workers');
is(join(' ', grep { /^rtbus_(leaving_)?workers/ } sort keys %$m),
	'rtbus_leaving_workers rtbus_workers', 'of no bus');
is(join(' ', grep { /third/ } keys %$m), '', 'a bus that is not used');

for my $bus (@buses) {
	is($m->{"rtbus_redis_up{bus=\"$bus\",link=\"$_\"}"}, 1,
		"$bus: $_ links up") for qw/ pubsub command /;
	is($m->{"rtbus_failing_workers{bus=\"$bus\"}"}, 0, "$bus: none fails");
	is($m->{"rtbus_connections{bus=\"$bus\",transport=\"websocket\"}"}, 1,
		"$bus: clients");
}

is($m->{'rtbus_commands_total{bus="second",result="replied"}'}, 2,
	'commands of the second');
is(join(' ', grep { !/bus="/ && !/^rtbus_(leaving_)?workers$/ } keys %$m),
	'', 'all others have the label');

SKIP: {
	my $found = grep { -x "$_/promtool" } split /:/, $ENV{PATH};

	die "no promtool\n"
		if !$found && ($ENV{CI} || $ENV{RTBUS_REQUIRE_ALL});
	skip('no promtool', 1) unless $found;

	$t->write_file('metrics', $text);

	my $d = $t->testdir();

	is(`promtool check metrics < $d/metrics 2>&1`, '', 'promtool');
}

$r = json('default', '/status?format=json');

is($r->{rtbus_connections}{websocket}, 2, 'JSON: sum');
is(join(' ', sort keys %{$r->{buses}}), 'default second', 'JSON: buses');
is($r->{buses}{second}{rtbus_connections}{websocket}, 1, 'JSON: of one');
is_deeply([ grep { $_ ne 'buses' } sort keys %$r ],
	[ sort keys %{$r->{buses}{second}} ], 'JSON: the same of each');

is_deeply([ map { (health($_))[0] } '', @buses, 'third', 'none' ],
	[ 200, 200, 200, 404, 404 ], 'health');

is($redis{third}->cmd(qw/ CLIENT LIST /) =~ tr/\n//, 1,
	'nothing is opened where nobody needs it');

###############################################################################

# one is away

$redis{second}->stop();

my ($status, $body);

ok((wait_for { ($status, $body) = health(''); $status == 503 } 'red'),
	'one is away: health');
is($body->{bus}, 'second', 'which one');
is($body->{reason}, 'no connection to Redis', 'why');
is($body->{workers}, 2, 'workers');
is($body->{buses}{default}{status}, 'ok', 'the other');
is($body->{buses}{second}{status}, 'unavailable', 'and this one');
is_deeply([ map { (health($_))[0] } @buses ], [ 200, 503 ], 'each by itself');

ok(metrics_wait('rtbus_redis_up{bus="second",link="pubsub"}', 0), 'down');
is(metrics()->{'rtbus_redis_up{bus="default",link="pubsub"}'}, 1, 'up');

publish('default', 'meanwhile', 1);

ok(next_of('default', $_, 'meanwhile'), "the other goes on, $_")
	for qw/ ws sse io poll /;

like(get('second', '/state'), qr!^HTTP/1.1 503 !, 'no state of this one');
like(get('default', '/state'), qr!^HTTP/1.1 200 !, 'state of the other');

$redis{second}->start();

# its memory went with it

ok((wait_for { (health(''))[0] == 200 } 'green', 20), 'it is back');
ok((wait_for {
	!ref $redis{second}->try_cmd('FCALL_RO', 'rtbus_version', 0)
} 'library'), 'the library as well');

publish('second', 'again', 1);
ok(next_of('second', $_, 'again'), "an event, $_") for qw/ ws sse io /;

###############################################################################

# a reload: clients of both are told, counters go on

my $before = metrics();

reload_wait($t, gone => 1);

for my $bus (@buses) {
	ok(next_of($bus, $_, 'server:shutdown'), "$bus: goodbye, $_")
		for qw/ ws io /;
	is(($c{$bus}{ws}->read_close())[0], 1012, "$bus: closed");
}

is(join(' ', metrics_back($before, metrics())), '', 'counters go on');

ready();

for my $bus (@buses) {
	my $ws = Test::RTBus::WebSocket->connect(port => $port{$bus},
		path => '/?channel=job:1');

	$ws->wait_event('connected');
	publish($bus, 'late', $bus);
	is($ws->wait_event('late')->{data}, $bus, "$bus: goes on");
	$ws->drop();
}

# the health alone, of the only one: not of one that nobody has set

$t->write_file_expand('nginx.conf', <<"CONF");

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis  $url{second} name=second;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location /health {
            rtbus_health;
        }
    }
}

CONF

reload_wait($t);

ok((wait_for { (health())[0] == 200 } 'health'), 'one with a name: health');
ok((wait_for { $redis{second}->cmd('CLIENT', 'LIST') =~ /name=rtbus-command/ }
	'a connection'), 'one with a name: is used');

###############################################################################

# all proven alive, and so mailboxes are there

sub ready {
	return wait_for { (health(''))[0] == 200 } 'both buses', 20;
}

sub publish {
	my ($bus, $event, $data) = @_;

	return $redis{$bus}->cmd('FCALL', 'rtbus_publish', 1, 'job:1', $event,
		json_encode($data));
}

# The next event of that name, its data decoded.

sub next_of {
	my ($bus, $kind, $name) = @_;

	my $c = $c{$bus}{$kind};
	my $e;

	if ($c->isa('Test::RTBus::SocketIO')) {
		my $p = $c->wait_name($name) or return {};

		return { data => $p->{data}[1] };
	}

	$e = $c->wait_event($name) or return {};

	return { data => ref $e->{data} || $kind eq 'ws' ? $e->{data}
		: json_decode($e->{data}) };
}

sub get {
	my ($bus, $path) = @_;

	return http("GET $path HTTP/1.0\r\nHost: localhost\r\n\r\n",
		socket => IO::Socket::INET->new(Proto => 'tcp',
			PeerAddr => "127.0.0.1:$port{$bus}"));
}

sub post {
	my ($bus, $path, $body) = @_;

	return http("POST $path HTTP/1.0\r\nHost: localhost\r\n"
		. "Content-Length: " . length($body) . "\r\n\r\n$body",
		socket => IO::Socket::INET->new(Proto => 'tcp',
			PeerAddr => "127.0.0.1:$port{$bus}"));
}

sub json {
	my ($bus, $path) = @_;

	return json_decode(get($bus, $path) =~ s/.*?\r\n\r\n//sr);
}

# -> status, decoded body

sub health {
	my ($bus) = @_;

	my $reply = http_get('/health' . ($bus ? "?bus=$bus" : ''));

	$reply =~ m!^HTTP/1.1 (\d+) .*?\r\n\r\n(.*)!s
		or die "No answer: $reply\n";

	return ($1, json_decode($2));
}

###############################################################################
