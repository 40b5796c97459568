#!/usr/bin/perl

# Tests for the ways into Redis: password, ACL user, password file, database,
# unix socket; for the names with a prefix; and for doors that stay closed,
# which are an outage like any other, with no password in the log.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Redis;
use Test::RTBus::WebSocket;

use Cwd qw/ abs_path /;
use File::Basename qw/ dirname /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server');

plan(skip_all => 'the module is not built') unless module_file();

my $d = $t->testdir();

# every character that means something in a URL or to nginx's configuration

my $password = 'p@ss: w/o#rd%40?&"';
my $encoded = 'p%40ss%3A%20w%2fo%23rd%2540%3F%26%22';

my $open = Test::RTBus::Redis->new(dir => $d);
my $closed = Test::RTBus::Redis->new(dir => $d, password => $password);

my ($at, $locked) = map { '127.0.0.1:' . $_->port() } $open, $closed;

my $functions = dirname(abs_path(__FILE__)) . '/../conf/rtbus.lua';

for my $redis ($open, $closed) {
	$redis->load_functions($functions);

	for my $db (0, 3) {
		$redis->pipeline([ 'SELECT', $db ],
			[ 'HSET', '{job:42}:state', 'status', "db$db" ],
			[ 'HSET', 'app1:{job:42}:state', 'status', "p$db" ],
			[ 'SELECT', 0 ]);
	}
}

# all that the module needs, and not a bit more; the functions are there

$closed->cmd('ACL', 'SETUSER', 'edge:1', 'on', '>s3cret', 'resetchannels',
	'&job:*', '&rtbus:worker:*', '%R~{job:*', '-@all', '+subscribe', '+unsubscribe',
	'+fcall_ro', '+exists', '+hgetall', '+get', '+xrange',
	'+xinfo|stream',
	'+publish', '+ping', '+select', '+client|setname');
$closed->cmd('ACL', 'SETUSER', 'mute', 'on', '>s3cret', 'allchannels',
	'allkeys', '+@all', '-ping', '-client');

$t->write_file('password', "$password\nnot this\n");
$t->write_file('password_user', "s3cret\r\n");
$t->write_file('password_wrong', "wr0ng-secret\n");

my @ways = (
	[ 'no password', $open, "redis://$at" ],
	[ 'password', $closed, "'redis://:$encoded\@$locked'" ],
	[ 'user default', $closed, "'redis://default:$encoded\@$locked/0'" ],
	[ 'ACL user', $closed, "redis://edge%3A1:s3cret\@$locked" ],
	[ 'ACL user, database', $closed, "redis://edge%3A1:s3cret\@$locked/3",
		3 ],
	[ 'ACL user without PING', $closed, "redis://mute:s3cret\@$locked" ],
	[ 'password file', $closed, "redis://$locked password_file=password" ],
	[ 'password file, user', $closed,
		"redis://edge%3A1\@$locked password_file=$d/password_user" ],
	[ 'password file comes first', $closed,
		"redis://edge%3A1:wrong\@$locked password_file=password_user" ],
	[ 'database', $open, "redis://$at/3", 3 ],
	[ 'unix socket', $open, 'unix:' . $open->socket() ],
	[ 'unix socket, database', $open, 'unix:' . $open->socket() . '?db=3',
		3 ],
	[ 'unix socket, password file, database', $closed,
		'unix:' . $closed->socket()
		. '?db=3 password_file=password', 3 ],
	[ 'prefix', $open, "redis://$at; rtbus_prefix app1:", 0, 'app1:' ],
	[ 'prefix, database', $open, "redis://$at/3; rtbus_prefix app1:", 3,
		'app1:' ],
);

# with what the log has to say

my @doors = (
	[ 'no password given', "redis://$locked",
		'PING was answered "NOAUTH' ],
	[ 'wrong password', "redis://:wr0ng-secret\@$locked",
		'AUTH (?:or SELECT )?was answered "WRONGPASS' ],
	[ 'wrong password file', "redis://$locked password_file=password_wrong",
		'AUTH (?:or SELECT )?was answered "WRONGPASS' ],
	[ 'unknown user', "redis://nobody:wr0ng-secret\@$locked",
		'AUTH (?:or SELECT )?was answered "WRONGPASS' ],
	[ 'password for a Redis without one', "redis://:wr0ng-secret\@$at",
		'AUTH (?:or SELECT )?was answered "' ],
	[ 'no such database', "redis://$at/99",
		'SELECT was answered "ERR DB index is out of range' ],
	[ 'no unix socket', "unix:$d/none.sock", 'connect\(\) .*No such file' ],
);

configure("redis://$at");

$t->plan(6 * @ways + 6 * @doors + 9);
$t->run();

###############################################################################

for my $way (@ways) {
	my ($name, $redis, $link, $db, $prefix) = @$way;

	$prefix = '' unless defined $prefix;

	configure($link);
	is(scalar reload_wait($t), 1, $name);

	my $ws = Test::RTBus::WebSocket->connect(path => '/');
	my $ack;

	ok((wait_for {
		$ws->send_json({ event => 'subscribe',
			data => { channel => 'job:42' }, ack => 1 });
		$ack = $ws->wait_ack(1);
		$ack && $ack->{data}{ok};
	} 'a subscription'), "$name: subscribed");

	# pub/sub knows no databases

	is($redis->event("${prefix}job:42", 'hello', $name), 1,
		"$name: published");

	my $event = $ws->wait_event('hello') || {};

	is(join(' ', map { $event->{$_} } qw/ channel data /),
		"job:42 $name", "$name: event");

	$db = ($prefix ? 'p' : 'db') . ($db || 0);

	ok((wait_for { http_get('/state/') =~ /"status":"$db"/ } 'state'),
		"$name: state");

	# round and back

	http_post('/publish/', '{"event":"posted","data":1}');
	ok($ws->wait_event('posted'), "$name: posted");

	$ws->drop();
}

# a channel that the ACL forbids is refused, others are not affected

configure("redis://edge%3A1:s3cret\@$locked");
reload_wait($t);

my $ws = Test::RTBus::WebSocket->connect(path => '/?channel=secret:0');

is($ws->status(), 101, 'forbidden by ACL: client stays');

wait_for { http_get('/state/') =~ / 200 / } 'Redis';

for my $n (1 .. 2) {
	$ws->send_json({ event => 'subscribe',
		data => { channel => "secret:$n" }, ack => $n });
	$ws->send_json({ event => 'subscribe',
		data => { channel => "job:$n" }, ack => $n + 10 });

	my $ack = $ws->wait_ack($n) || {};

	is($ack->{data}{error}, 'unavailable', 'forbidden by ACL: answered');
	ok($ws->wait_ack($n + 10)->{data}{ok}, 'forbidden by ACL: others');
}

is($closed->event('job:1', 'hello', 1), 1, 'forbidden by ACL: published');
ok($ws->wait_event('hello'), 'forbidden by ACL: event of another channel');

error_log_like($t, qr/\[error\].*could not subscribe to "secret:\d".*NOPERM/,
	'forbidden by ACL: logged');

$ws->drop();

###############################################################################

for my $door (@doors) {
	my ($name, $link, $reason) = @$door;

	configure($link);
	my ($pid) = reload_wait($t);

	ok($pid, "$name: nginx starts");

	my $re = qr/\] $pid#.*could not connect to Redis/;

	ok((wait_for { error_log_count($t, $re) >= 6 } 'attempts'),
		"$name: tried again");
	is(error_log_count($t, qr/\[(?:error|crit)\] $pid#/), 2,
		"$name: one error of each connection");
	is(error_log_count($t, qr/\[(?:error|crit)\] $pid#.*$reason.*, redis: /),
		2, "$name: with the reason");

	my $ws = Test::RTBus::WebSocket->connect(path => '/');

	$ws->send_json({ event => 'subscribe',
		data => { channel => 'job:42' }, ack => 1 });
	is($ws->wait_ack(1)->{data}{error}, 'unavailable',
		"$name: subscribe unavailable");
	like(http_get('/state/'), qr/ 503 /, "$name: state unavailable");

	$ws->drop();
}

# what Redis quotes, what is in the URL, what was read from a file

my $secrets = join '|', map { quotemeta } $password, $encoded, 'wr0ng-secret',
	's3cret';

error_log_unlike($t, qr/$secrets/, 'no password in the log');

###############################################################################

sub configure {
	my ($link) = @_;

	$t->write_file_expand('nginx.conf', <<"CONF");

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis $link;
    rtbus_allow *;
    rtbus_drain 0;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location / {
            rtbus websocket;
            rtbus_subscribe \$arg_channel;
        }

        location /state/ {
            rtbus_state job:42;
        }

        location /publish/ {
            rtbus_publish job:42 live;
        }
    }
}

CONF
}

sub http_post {
	my ($uri, $body) = @_;

	return http("POST $uri HTTP/1.0\r\nContent-Length: " . length($body)
		. "\r\n\r\n$body");
}

###############################################################################
