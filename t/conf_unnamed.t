#!/usr/bin/perl

# Tests for "if" and "limit_except": nginx makes a location without a name of
# each, which inherits the handler but not what that needs.  Whatever serves a
# location has to serve it there just as well, and so it has to in named,
# nested and regex locations.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Polling;
use Test::RTBus::Redis;
use Test::RTBus::SocketIO;
use Test::RTBus::SSE;
use Test::RTBus::WebSocket;

use Cwd qw/ abs_path /;
use File::Basename qw/ dirname /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

# what serves a location, and what it is to be asked

my %kind = (
	state => [ 'rtbus_state job:$job', \&state ],
	key => [ 'rtbus_state job:$job key=t:key:$job', \&state ],
	publish => [ 'rtbus_publish job:$job', \&publish ],
	live => [ 'rtbus_publish job:$job live', \&publish ],
	replay => [ 'rtbus_replay job:$job', \&replay ],
	submit => [ 'rtbus_submit do:$job', \&submit ],
	sse => [ 'rtbus sse', \&sse ],
	ws => [ 'rtbus websocket', \&websocket ],
	both => [ 'rtbus websocket sse', \&both ],
	io => [ 'rtbus socketio', \&socketio ],
	status => [ 'rtbus_status', \&status ],
	health => [ 'rtbus_health', \&status ],
);

# what belongs to it, nothing of it the default

my $settings = <<'EOT';
rtbus_bus            two;
rtbus_subscribe      job:$job;
rtbus_allow          job:$job;
rtbus_allow          job:other;
rtbus_origin         https://app.example;
rtbus_user           u-$job;
rtbus_require_user   on;
rtbus_jwt_key        %%TESTDIR%%/jwt.key;
rtbus_jwt_claim      name;
rtbus_namespaces     /chat;
rtbus_recovery       off;
rtbus_ping           7s 8s;
rtbus_max_event      1000;
rtbus_max_message    2000;
rtbus_max_channels   2;
rtbus_message_rate   1000r/s;
rtbus_send_buffer    100k;
rtbus_state_fields   color;
rtbus_command        do:*;
EOT

# a location with it; HANDLER and $job are to be put in

my %place = (
	plain => 'location /plain/KIND { HANDLER }',
	if => 'location /if/KIND { '
		. 'if ($http_x_if) { add_header X-If yes; } HANDLER }',
	ifs => 'location /ifs/KIND { HANDLER '
		. 'if ($http_x_if) { set $job 1; add_header X-If no; } '
		. 'if ($http_x_if = 1) { add_header X-If yes; } }',
	except => 'location /except/KIND { '
		. 'limit_except DELETE { allow all; } HANDLER }',
	regex => 'location ~ ^/regex/KIND/(.*)$ { set $job $1; '
		. 'if ($http_x_if) { add_header X-If yes; } HANDLER }',
	nested => 'location /nested/KIND { location /nested/KIND/1 { '
		. 'if ($http_x_if) { add_header X-If yes; } '
		. 'limit_except DELETE { allow all; } HANDLER } }',
	named => 'location /named/KIND { try_files /none @KIND; } '
		. 'location @KIND { '
		. 'if ($http_x_if) { add_header X-If yes; } HANDLER }',
	inner => 'location /inner/KIND { rtbus_status; location /inner/KIND/1 { '
		. 'limit_except PUT { allow all; } set $job 1; HANDLER } }',
);

my $t = Test::Nginx->new()->has(qw/ http rewrite access proxy /)
	->has_daemon('redis-server');

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

my $locations = '';

for my $place (sort keys %place) {
	for my $kind (sort keys %kind) {
		my $text = $place{$place};

		$text =~ s/KIND/$kind/g;
		$text =~ s/HANDLER/$kind{$kind}[0];\n$settings/;

		$locations .= "$text\n";
	}
}

$t->write_file('jwt.key', "0123456789abcdef\n");

$t->write_file_expand('nginx.conf', <<"EOT");

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis   $url name=two;
    rtbus_prefix  t:;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        set  \$job  1;

        $locations

        location /deny {
            rtbus_publish  job:1;
            rtbus_bus      two;

            limit_except GET {
                deny  all;
            }
        }

        location /elsewhere {
            rtbus_state  job:1;
            rtbus_bus    two;

            if (\$http_x_if) {
                proxy_pass  http://127.0.0.1:8081;
            }
        }

        location /answered {
            rtbus_state  job:1;
            rtbus_bus    two;

            if (\$http_x_if) {
                return  202;
            }
        }
    }

    server {
        listen       127.0.0.1:8081;
        server_name  localhost;

        rtbus_bus    two;
        rtbus_allow  job:1;

        if (\$http_x_if) {
            set  \$any  1;
        }

        location /elsewhere {
            rtbus_health;
        }

        location /state {
            rtbus_state         job:1;
            rtbus_state_fields  color;
        }
    }
}

EOT

$t->run();

$redis->cmd('HSET', $_, 'color', 'red', 'status', 'x')
	for 't:{job:1}:state', 't:key:1';

plan(skip_all => 'no Redis')
	unless wait_for { get('/plain/health')->status() == 200 } 'Redis';

$t->plan(keys(%place) * keys(%kind) + 14);

###############################################################################

for my $place (sort keys %place) {
	for my $kind (sort keys %kind) {
		my $uri = "/$place/$kind";
		$uri .= '/1' if $place =~ /^(?:regex|nested|inner)$/;

		subtest "$kind in $place" => sub {
			for my $if (0, 1) {
				$kind{$kind}[1]->($uri,
					'X-Other' => 1,
					$if ? ('X-If' => 1) : ());
			}
		};
	}
}

# what "if" and "limit_except" do is done

my $r = get('/if/state', headers => { 'X-If' => 1 });
is($r->header('X-If'), 'yes', 'if is taken');

is(post('/deny')->status(), 403, 'limit_except denies');
is(get('/deny')->status(), 405, 'limit_except lets pass');

is(get('/elsewhere')->status(), 403, 'not elsewhere');
$r = get('/elsewhere', headers => { 'X-If' => 1 });
is($r->status(), 200, 'elsewhere');
like($r->body(), qr/"ok"/, 'elsewhere body');

is(get('/answered', headers => { 'X-If' => 1 })->status(), 202, 'answered');

$r = get('/state', port => port(8081), headers => { 'X-If' => 1 });
like($r->body(), qr/^\{"color":"red",/, 'if of a server');

# nothing of ours is taken in there, so there is nothing else to be inherited

open my $f, '<', abs_path(dirname(__FILE__) . '/..')
	. '/ngx_http_rtbus_module.c' or die $!;
my $source = do { local $/; <$f> };

unlike($source, qr/NGX_HTTP_(LIF|LMT)_CONF/, 'no directives for them');

for my $block ('if ($http_x) {', 'limit_except GET {') {
	my ($ok, $output) = nginx_check($t, "%%TEST_GLOBALS%%\nevents {}\n"
		. "http { server { location / { rtbus sse; $block rtbus_allow *; } } } }\n");

	ok(!$ok, "$block is refused");
	like($output, qr/"rtbus_allow" directive is not allowed here/,
		"$block why");
}

error_log_unlike($t, qr/exited on signal/, 'no worker has died');

###############################################################################

sub get {
	my ($uri, %o) = @_;

	return Test::RTBus::SSE->connect(path => $uri, accept => undef, %o);
}

sub post {
	my ($uri, %o) = @_;
	my $body = delete $o{body} // '{}';

	return get($uri, method => 'POST', %o, headers => {
		'Content-Type' => 'application/json',
		'Content-Length' => length $body,
		%{ $o{headers} || {} } }, early => $body);
}

sub state {
	my ($uri, %h) = @_;

	my $r = get($uri, headers => { %h });
	is($r->status(), 200, 'state');
	like($r->body(), qr/^\{"color":"red","position":"\d+-\d+"\}$/,
		'state body');

	$r = get($uri, method => 'HEAD', headers => { %h });
	is($r->status(), 200, 'state head');

	$r = get($uri, headers => { %h, Origin => 'https://app.example' });
	is($r->header('Access-Control-Allow-Origin'), 'https://app.example',
		'state cors');

	$r = get($uri, headers => { %h, Origin => 'https://foreign.example' });
	is($r->status(), 403, 'state foreign');
}

sub publish {
	my ($uri, %h) = @_;

	my $r = post($uri, headers => { %h }, body => '{"event":"a"}');
	like($r->status(), qr/^20[012]$/, 'published');

	$r = post($uri, headers => { %h },
		body => '{"event":"a","data":"' . 'x' x 1000 . '"}');
	is($r->status(), 413, 'published too much');
}

sub submit {
	my ($uri, %h) = @_;

	my $r = post($uri, headers => { %h }, body => '{"a":1}');
	is($r->status(), 202, 'submitted');

	my ($command) = $redis->take('t:rtbus:commands');
	is($command->{event}, 'do:1', 'command');
	is($command->{user}, 'u-1', 'command user');

	$r = post($uri, headers => { %h }, body => '"' . 'x' x 2000 . '"');
	is($r->status(), 413, 'submitted too much');
}

sub replay {
	my ($uri, %h) = @_;

	# of what was published above, and still runs

	my $sse = Test::RTBus::SSE->connect(path => $uri, headers => { %h });
	is($sse->status(), 200, 'replay');
	is($sse->next_event()->{event}, 'a', 'replayed');

	$sse->drop();
}

sub sse {
	my ($uri, %h) = @_;

	my $sse = Test::RTBus::SSE->connect(path => $uri, headers => { %h });
	is($sse->status(), 200, 'sse');

	my $event = $sse->next_json();
	is($event->{event}, 'connected', 'sse connected');
	is($event->{data}{userId}, 'u-1', 'sse user');
	like($event->{id}, qr/^job:1@/, 'sse channel');

	$sse->drop();
}

sub websocket {
	my ($uri, %h) = @_;

	my $ws = Test::RTBus::WebSocket->connect(path => $uri,
		headers => { %h });
	is($ws->status(), 101, 'websocket');
	is($ws->wait_event('connected')->{data}{userId}, 'u-1',
		'websocket user');

	$ws->send_json({ event => 'subscribe', data => { channel =>
		'job:none' }, ack => 1 });
	is($ws->wait_ack(1)->{data}{error}, 'forbidden', 'websocket rules');

	$ws->send_json({ event => 'subscribe', data => { channel =>
		'job:other' }, ack => 2 });
	is($ws->wait_ack(2)->{data}{ok}, JSON::PP::true, 'websocket joins');

	$ws->send_json({ event => 'do:this', data => { a => 1 }, ack => 3 });
	is($ws->wait_ack(3)->{data}{ok}, JSON::PP::true, 'websocket command');
	is(($redis->take('t:rtbus:commands'))[0]{event}, 'do:this',
		'websocket command taken');

	$ws->drop();
}

sub both {
	websocket(@_);
	sse(@_);
}

sub socketio {
	my ($uri, %h) = @_;

	for my $class (qw/ Test::RTBus::Polling Test::RTBus::SocketIO /) {
		my $io = $class->connect(path => $uri, headers => { %h });

		is($io->open_packet()->{pingInterval}, 7000, "$class opened");
		is($io->open_packet()->{pingTimeout}, 8000, "$class timeout");

		my $packet = $io->join_nsp('/chat');
		ok($packet->{data}{sid}, "$class joined");
		ok(!$packet->{data}{pid}, "$class without recovery");

		is($io->join_nsp('/')->{data}{message}, 'Invalid namespace',
			"$class namespaces");

		$io->emit('do:that', 1, { nsp => '/chat', ack => 1 });
		is($io->wait_ack(1, '/chat')->{data}[0]{ok}, JSON::PP::true,
			"$class command");
		is(($redis->take('t:rtbus:commands'))[0]{user}, 'u-1',
			"$class command taken");
	}
}

sub status {
	my ($uri, %h) = @_;

	is(get($uri, headers => { %h })->status(), 200, 'status');
}

###############################################################################
