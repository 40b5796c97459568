#!/usr/bin/perl

# Tests for TLS to Redis: certificates that are right are let in, by name and by
# address, and with one of our own; wrong ones stay outside, with the reason in
# the log; large events, restarts, a server that never gets on with it.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Redis;
use Test::RTBus::WebSocket;

use IO::Socket::INET;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server')
	->has_daemon('openssl');

plan(skip_all => 'the module is not built') unless module_file();

my $d = $t->testdir();

ca($_) for qw/ ca stranger /;

cert('server', 'ca', 'DNS:localhost,DNS:redis.test,IP:127.0.0.1');
cert('named', 'ca', 'DNS:redis.test');
cert('foreign', 'stranger', 'DNS:localhost,IP:127.0.0.1');
cert('old', 'ca', 'DNS:localhost,IP:127.0.0.1', 0);
cert('client', 'ca', 'DNS:client');
cert('nobody', 'stranger', 'DNS:client');

my %redis = map { $_ => tls_redis($_) } qw/ server named foreign old /;

$redis{mutual} = tls_redis('server', 'yes');

my $mute = IO::Socket::INET->new(Listen => 50, LocalAddr => '127.0.0.1')
	or die "Can't listen: $!\n";

# a port where no TLS is spoken

my %at = (map({ $_ => '127.0.0.1:' . $redis{$_}{tls} } keys %redis),
	plain => '127.0.0.1:' . $redis{server}{redis}->port(),
	mute => '127.0.0.1:' . $mute->sockport());

$_->{redis}->cmd('HSET', '{job:42}:state', 'status', 'here') for values %redis;

my $ca = 'cacert=ca.crt';

my @ways = (
	[ 'address', 'server', "rediss://$at{server} $ca" ],
	[ 'name', 'server', "rediss://localhost:$redis{server}{tls}/0 $ca" ],
	[ 'sni', 'named', "rediss://$at{named} $ca sni=redis.test" ],
	[ 'full path', 'server', "rediss://$at{server} cacert=$d/ca.crt" ],
	[ 'verify off', 'foreign', "rediss://$at{foreign} verify=off" ],
	[ 'certificate of ours', 'mutual',
		"rediss://$at{mutual} $ca cert=client.crt key=client.key" ],
);

my @doors = (
	[ 'another CA', "rediss://$at{foreign} $ca", 'certificate is not valid, "' ],
	[ 'not in the store of the system', "rediss://$at{server}",
		'certificate is not valid, "' ],
	[ 'expired', "rediss://$at{old} $ca",
		'certificate is not valid, "certificate has expired"' ],
	[ 'another name', "rediss://$at{server} $ca sni=other.test",
		'certificate is not for "other.test"' ],
	[ 'another address', "rediss://$at{named} $ca",
		'certificate is not for "127.0.0.1"' ],
	[ 'no certificate of ours', "rediss://$at{mutual} $ca",
		'connection closed|recv\(\) failed|SSL_(?:read|write)\(\) failed|' .
		'SSL_do_handshake\(\) failed' ],
	[ 'certificate of ours from another CA',
		"rediss://$at{mutual} $ca cert=nobody.crt key=nobody.key",
		'connection closed|recv\(\) failed|SSL_(?:read|write)\(\) failed|' .
		'SSL_do_handshake\(\) failed' ],
	[ 'no TLS there', "rediss://$at{plain} $ca connect_timeout=200ms",
		'SSL_do_handshake\(\) failed|no TLS handshake' ],
	[ 'no TLS here', "redis://$at{server}",
		'connection closed|invalid reply|recv\(\) failed' ],
	[ 'no answer', "rediss://$at{mute} $ca connect_timeout=100ms",
		'no TLS handshake' ],
);

my @wrong = (
	[ "redis://$at{plain} $ca", '"cacert=ca.crt" needs "rediss://"' ],
	[ "redis://$at{plain} verify=off", '"verify=off" needs "rediss://"' ],
	[ "rediss://$at{server} cacert=none.crt", 'none.crt' ],
	[ "rediss://$at{server} cert=client.crt", '"cert=" needs "key="' ],
	[ "rediss://$at{server} key=client.key", '"key=" needs "cert="' ],
	[ "rediss://$at{server} cert=client.crt key=nobody.key",
		'key values mismatch' ],
	[ "rediss://$at{server} verify=maybe", 'invalid parameter "verify="' ],
	[ "rediss://$at{server} sni=", 'invalid parameter "sni="' ],
);

configure("rediss://$at{server} $ca");

$t->plan(4 * @ways + 5 * @doors + 2 * @wrong + 10);
$t->run();

###############################################################################

for my $way (@ways) {
	my ($name, $who, $link) = @$way;

	configure($link);
	is(scalar reload_wait($t), 1, $name);

	my $ws = subscribed($name);
	my $redis = $redis{$who}{redis};

	is($redis->event('job:42', 'hello', $name), 1, "$name: published");
	is(($ws->wait_event('hello') || {})->{data}, $name, "$name: event");
	ok((wait_for { http_get('/state/') =~ /"status":"here"/ } 'state'),
		"$name: state");

	$ws->drop();
}

for my $door (@doors) {
	my ($name, $link, $reason) = @$door;

	configure($link);
	my ($pid) = reload_wait($t);

	ok($pid, "$name: nginx starts");

	my $re = qr/\] $pid#.*could not connect to Redis/;

	ok((wait_for { error_log_count($t, $re) >= 4 } 'attempts'),
		"$name: tried again");
	ok((wait_for { error_log_count($t,
			qr/\[(?:error|crit)\] $pid#.*(?:$reason).*, redis: /) } 'log'),
		"$name: with the reason");

	# either connection says it once

	cmp_ok(error_log_count($t, qr/\[(?:error|crit)\] $pid#/), '<=', 2,
		"$name: just once");

	like(http_get('/state/'), qr/ 503 /, "$name: state unavailable");
}

for my $wrong (@wrong) {
	my ($link, $reason) = @$wrong;

	my ($ok, $out) = nginx_check($t, config($link));

	ok(!$ok, "refused: $link");
	like($out, qr/\Q$reason\E/, "refused: $reason");
}

# more than a record, in both directions; more than the sockets hold

configure("rediss://$at{server} $ca");
reload_wait($t);

my $ws = subscribed('large');
my $redis = $redis{server}{redis};
my $text = join '', map { chr(97 + $_ % 26) } 1 .. 700_000;

$redis->event('job:42', 'large', $text);
is(($ws->wait_event('large') || {})->{data}, $text, 'large event');

http_post('/publish/', qq({"event":"posted","data":"$text"}));
is(($ws->wait_event('posted') || {})->{data}, $text, 'large event posted');

$redis->pipeline(map { [ 'PUBLISH', 'job:42',
	'{"event":"many","data":' . $_ . '}' ] } 1 .. 5000);

is_deeply([ map { ($ws->wait_event('many') || {})->{data} } 1 .. 5000 ],
	[ 1 .. 5000 ], 'many events');

# Redis does not read for a while: what waits grows, and moves

my $long = substr $text, 0, 600_000;

$redis->pause();

my @posts = map {
	my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1:' . port(8080))
		or die "Can't connect: $!\n";

	$s->autoflush(1);
	print $s "POST /others/ HTTP/1.0\r\nContent-Length: "
		. (length($long) + 25) . "\r\n\r\n"
		. qq({"event":"put","data":"$long"});
	$s;
} 1 .. 40;

$redis->resume();

my @codes = map { local $/; <$_> =~ /^HTTP\S+ (\d+)/ ? $1 : 'none' } @posts;

is_deeply(\@codes, [ (201) x 40 ], 'Redis paused: all is sent');

# durable ones, and Redis goes away

publish($_) for 1 .. 3;
is(($ws->wait_event('n') || {})->{data}, $_, "event $_") for 1 .. 3;

$redis->kill();
$redis->start();

wait_for { !ref $redis->try_cmd(fcall(1)) } 'functions';

publish(2);

my $gap = $ws->wait_event('sync:gap') || {};

is($gap->{data}{channel}, 'job:42', 'Redis came back empty: told');

ok((wait_for {
	publish(9);
	$ws->wait_event('n', 1);
} 'events'), 'goes on');

$ws->drop();

error_log_like($t, qr/\[notice\].*connected to Redis after a failure/,
	'recovery logged');

###############################################################################

sub http_post {
	my ($uri, $body) = @_;

	return http("POST $uri HTTP/1.0\r\nContent-Length: " . length($body)
		. "\r\n\r\n$body");
}

sub subscribed {
	my ($name) = @_;

	my $ws = Test::RTBus::WebSocket->connect(path => '/');

	wait_for {
		$ws->send_json({ event => 'subscribe',
			data => { channel => 'job:42' }, ack => 1 });

		my $ack = $ws->wait_ack(1);

		$ack && $ack->{data}{ok};
	} "$name: a subscription";

	return $ws;
}

sub publish {
	$redis->cmd(fcall(@_));
}

sub fcall {
	return ('FCALL', 'rtbus_publish', 1, 'job:42', 'n', $_[0]);
}

sub tls_redis {
	my ($name, $auth) = @_;

	my $port = Test::RTBus::free_port();

	return { tls => $port,
		redis => Test::RTBus::Redis->new(dir => $d, args => [
			'--tls-port', $port, '--tls-auth-clients', $auth || 'no',
			'--tls-cert-file', "$d/$name.crt",
			'--tls-key-file', "$d/$name.key",
			'--tls-ca-cert-file', "$d/ca.crt" ]) };
}

sub ca {
	my ($name) = @_;

	openssl("req -x509 -newkey rsa:2048 -nodes -days 9 -subj /CN=$name "
		. "-keyout $d/$name.key -out $d/$name.crt");
}

sub cert {
	my ($name, $ca, $names, $days) = @_;

	# one of no days has expired by now

	$days = 9 unless defined $days;

	$t->write_file("$name.ext", "subjectAltName=$names\n");

	openssl("req -newkey rsa:2048 -nodes -subj /CN=$name "
		. "-keyout $d/$name.key -out $d/$name.csr");
	openssl("x509 -req -in $d/$name.csr -CA $d/$ca.crt -CAkey $d/$ca.key "
		. "-CAcreateserial -days $days -extfile $d/$name.ext "
		. "-out $d/$name.crt");
}

sub openssl {
	my ($args) = @_;

	system("openssl $args >>$d/openssl.out 2>&1") == 0
		or die "openssl $args failed\n"
			. Test::RTBus::_slurp("$d/openssl.out");
}

sub config {
	my ($link) = @_;

	return <<"EOC";

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis  $link;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        rtbus_allow      *;
        rtbus_max_event  1m;

        client_max_body_size     1m;
        client_body_buffer_size  1m;

        location / {
            rtbus              websocket;
            rtbus_send_buffer  4m;
        }

        location /state/ {
            rtbus_state  job:42;
        }

        location /publish/ {
            rtbus_publish  job:42;
        }

        location /others/ {
            rtbus_publish  job:43;
        }
    }
}

EOC
}

sub configure {
	$t->write_file_expand('nginx.conf', config(@_));
}

###############################################################################
