#!/usr/bin/perl

# Tests for what a Redis Cluster may be like: too old, none at all, with nothing
# in it, with names or nothing in place of addresses, with TLS, with a user who may
# do just what the manual says.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Redis;
use Test::RTBus::WebSocket;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server')
	->has_daemon('openssl');

plan(skip_all => 'the module is not built') unless module_file();

my $d = $t->testdir();
my $tls = free_port();

system("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -batch -subj /CN=x"
	. " -addext subjectAltName=IP:127.0.0.1 -keyout $d/redis.key"
	. " -out $d/redis.crt 2> $d/openssl.log") == 0
	or die "Can't make a certificate\n";

my %redis = (
	old => node('--rename-command', 'SSUBSCRIBE', 'no1',
		'--rename-command', 'FUNCTION', 'no2',
		'--rename-command', 'FCALL_RO', 'no3'),
	none => Test::RTBus::Redis->new(dir => $t->testdir()),
	names => node('--cluster-announce-hostname', 'redis.example.com',
		'--cluster-preferred-endpoint-type', 'hostname'),
	nameless => node('--cluster-preferred-endpoint-type', 'hostname'),
	unknown => node('--cluster-preferred-endpoint-type',
		'unknown-endpoint'),
	tls => node('--tls-port', $tls, '--tls-cluster', 'yes',
		'--tls-auth-clients', 'no', '--tls-cert-file', "$d/redis.crt",
		'--tls-key-file', "$d/redis.key",
		'--tls-ca-cert-file', "$d/redis.crt"),
	user => node(),
	late => node(),
);

for my $name (qw/ old names nameless unknown tls user /) {
	$redis{$name}->cmd('CLUSTER', 'ADDSLOTSRANGE', 0, 16383);
}

$redis{user}->cmd(qw/ ACL SETUSER edge on >secret resetchannels &job:*
	&rtbus:worker:* ~{job:* -@all +subscribe +unsubscribe +publish +ping
	+select +client|setname +xrange +xinfo|stream +fcall_ro +exists
	+hgetall +get +ssubscribe +sunsubscribe +spublish +cluster|slots
	+asking /);
$redis{user}->load_functions('conf/rtbus.lua');

for my $name (qw/ names nameless unknown tls user /) {
	wait_for { $redis{$name}->cmd('CLUSTER', 'INFO') =~ /state:ok/ }
		$name, 20;
}

my %url = map { my $port = $redis{$_}->port();
	my $auth = $_ eq 'user' ? 'edge:secret@' : '';
	($_ => "redis+cluster://${auth}127.0.0.1:$port") } keys %redis;

$url{tls} = "rediss+cluster://127.0.0.1:$tls";

my @names = sort keys %redis;
my ($buses, $locations) = ('', '');

for my $name (@names) {
	my $more = $name eq 'user' ? 'functions=off'
		: $name eq 'tls' ? 'cacert=redis.crt' : '';

	$buses .= "rtbus_redis $url{$name} name=$name $more;\n";
	$locations .= <<"LOCATION";

        location /$name {
            rtbus_bus $name;
            rtbus websocket;
        }
LOCATION
}

$t->write_file_expand('nginx.conf', <<"CONF")->plan(28);

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    $buses
    rtbus_allow job:*;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;
        $locations

        location /health {
            rtbus_health;
        }
    }
}

CONF

$t->run();

###############################################################################

for my $name (qw/ names nameless unknown tls user /) {
	works($name);
}

error_log_unlike($t, qr/address of .* is not known/, 'all addresses are known');

# what is of no use is said, and clients are told

for my $name (qw/ old none late /) {
	is(answer($name), 'unavailable', "$name: unavailable");
	like(http_get("/health?bus=$name"), qr/ 503 /, "$name: health");
}

error_log_like($t, qr/\[error\] .*Redis 7\.0 or newer for a cluster/,
	'too old');
error_log_like($t, qr/\[error\] .* the slots of .*cluster support disabled/,
	'no cluster');
error_log_like($t, qr/\[error\] .* the slots of .*nobody has any slot/,
	'no slots');

# it gets its slots

$redis{late}->cmd('CLUSTER', 'ADDSLOTSRANGE', 0, 16383);
works('late');

###############################################################################

sub node {
	return Test::RTBus::Redis->new(dir => $t->testdir(), args => [
		'--cluster-enabled', 'yes', '--cluster-port', free_port(),
		@_ ]);
}

sub answer {
	my ($name) = @_;

	my $ws = Test::RTBus::WebSocket->connect(path => "/$name");

	$ws->send_json({ event => 'subscribe', data => { channel => 'job:1' },
		ack => 1 });

	return $ws->wait_ack(1)->{data}{error} || $ws;
}

sub works {
	my ($name) = @_;

	my $ws = wait_for { my $ws = answer($name); ref $ws ? $ws : undef }
		"subscribe at $name", 20;

	ok($ws, "$name: subscribed");

	wait_for { !ref $redis{$name}->try_cmd('FCALL_RO', 'rtbus_version', 0) }
		'library';

	$redis{$name}->cmd('FCALL', 'rtbus_publish', 1, 'job:1', 'n', '1');
	ok($ws && $ws->wait_event('n'), "$name: event");

	ok((wait_for { http_get("/health?bus=$name") =~ / 200 / } 'health', 20),
		"$name: health");
}

###############################################################################
