#!/usr/bin/perl

# Tests for the configuration: "nginx -t" takes what the documentation allows,
# without any Redis, and refuses the rest with a reason that names the mistake.
# What is not refused here would go wrong at a client.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http proxy rewrite /)
	->has_daemon('openssl');

plan(skip_all => 'the module is not built') unless module_file();

my $d = $t->testdir();

$t->write_file('error.log', '');
$t->write_file('password', "secret\nsecond line\n");
$t->write_file('password_crlf', "secret\r\n");
$t->write_file('password_empty', '');
$t->write_file('password_newline', "\nsecret\n");
$t->write_file('password_long', 'x' x 5000);
$t->write_file('secret', 'x' x 16 . "\n");
$t->write_file('secret_short', 'x' x 15 . "\n");
$t->write_file('key_long', 'x' x 100000);

for my $args ("genpkey -algorithm RSA -out $d/rsa.key",
	"ecparam -name prime256v1 -genkey -noout -out $d/private.pem",
	"pkey -in $d/rsa.key -pubout -out $d/rsa.pem",
	"pkey -in $d/private.pem -pubout -out $d/p256.pem")
{
	system("openssl $args >>$d/openssl.log 2>&1") == 0
		or die "openssl $args: " . $t->read_file('openssl.log');
}

# a directive is put into a location with "rtbus websocket" if it has a place
# there; "http:" and the like put it elsewhere, "bare:" has no "rtbus"

my @good = (
	'bare: empty_gif',

	# everything has a default
	'rtbus_allow *',

	'http: rtbus_redis redis://127.0.0.1',
	'http: rtbus_redis redis://127.0.0.1/',
	'http: rtbus_redis redis://127.0.0.1:6379',
	'http: rtbus_redis redis://127.0.0.1:6379/15',
	'http: rtbus_redis redis://localhost:1/0',
	'http: rtbus_redis REDIS://127.0.0.1',
	'http: rtbus_redis rediss://127.0.0.1',
	'http: rtbus_redis redis://:password@127.0.0.1',
	'http: rtbus_redis redis://user:p%40ss%2f@127.0.0.1:6379/1',
	'http: rtbus_redis redis://us%3Aer:@127.0.0.1',
	'http: rtbus_redis unix:/tmp/redis.sock',
	'http: rtbus_redis unix:/tmp/redis.sock?db=3',
	'http: rtbus_redis redis://127.0.0.1 connect_timeout=100ms',
	'http: rtbus_redis redis://127.0.0.1 command_timeout=1m'
		. ' connect_timeout=2s',
	'http: rtbus_redis redis://127.0.0.1 password_file=password',
	'http: rtbus_redis unix:/a; rtbus_redis unix:/b name=b;'
		. ' rtbus_redis unix:/c name=A-z_0.9',
	'http: rtbus_redis unix:/a name=a; rtbus_bus a',
	'http: rtbus_bus a; rtbus_redis unix:/a name=a',
	'http: rtbus_redis unix:/a name=default; rtbus_bus default',
	'http: rtbus_redis unix:/a name=' . 'x' x 32,
	'http: rtbus_redis unix:/a functions=off name=a connect_timeout=1s',
	'http: rtbus_redis redis://name.invalid; resolver 127.0.0.1',
	'http: resolver 127.0.0.1; rtbus_redis redis://name.invalid',
	'http: rtbus_redis redis://[::1]:6379',
	'http: rtbus_bus default',
	'server: rtbus_bus default',
	'rtbus_bus default',
	"http: rtbus_redis unix:/tmp/r password_file=$d/password_crlf",

	'http: rtbus_prefix app1:',
	'http: rtbus_prefix ""',
	'http: rtbus_prefix ' . 'x' x 100,
	'http: rtbus_forward job:* "user:{userId}"',
	'http: rtbus_forward * "{tenant}:{user.id}:x"',
	'http: rtbus_forward job:42 all',
	'http: rtbus_forward job:* "{userId}"; rtbus_forward job:* "{teamId}"',
	'http: rtbus_forward job:* a; rtbus_forward job: a',
	'http: rtbus_forward ' . 'x' x 200 . '* ' . 'x' x 200,
	'http: rtbus_drain 0',
	'http: rtbus_drain 90s',

	'http: rtbus_secret_file secret',
	"http: rtbus_secret_file $d/secret",

	'bare: rtbus socketio',
	'bare: rtbus websocket',
	'bare: rtbus sse',
	'bare: rtbus websocket sse',
	'bare: rtbus sse websocket',

	'rtbus_subscribe job:42',
	'rtbus_subscribe job:$arg_job user:${arg_user} A.b_c:D-9',
	'rtbus_subscribe $arg_a$arg_b',
	'rtbus_subscribe a; rtbus_subscribe b',
	'rtbus_subscribe ' . 'x' x 200,
	'http: rtbus_subscribe news',
	'server: rtbus_subscribe news',

	'rtbus_allow job:*',
	'rtbus_allow job:42',
	'rtbus_allow user:$arg_user',
	'rtbus_allow user:$arg_user:*',
	'rtbus_allow a; rtbus_allow b',
	'rtbus_allow job:* owner; rtbus_allow *',
	'rtbus_allow owner; rtbus_allow owner owner',
	'http: rtbus_allow *',
	'server: rtbus_allow *',

	'rtbus_origin any',
	'rtbus_origin https://example.com',
	'rtbus_origin https://example.com http://localhost:3000',
	'rtbus_origin https://*.example.com https://.example.com https://example.*',
	'rtbus_origin "~^https://(a|b)\.example$" null capacitor://localhost',
	'rtbus_origin http://[::1]:3000 wss://Example.com:443',
	'http: rtbus_origin any',
	'server: rtbus_origin any',

	'rtbus_user $remote_user',
	'rtbus_user "$arg_a:$arg_b"',
	'http: rtbus_user $arg_user',
	'server: rtbus_user $arg_user',
	'rtbus_require_user on',
	'server: rtbus_require_user off',
	"rtbus_jwt_key rsa.pem alg=RS512",
	"rtbus_jwt_key p256.pem alg=ES256",
	'rtbus_jwt_key password',
	'rtbus_jwt_key password alg=HS256; rtbus_jwt_claim user_id',
	"http: rtbus_jwt_key $d/password alg=HS512",
	'server: rtbus_jwt_claim name',

	'rtbus_namespaces /',
	'rtbus_namespaces / /chat /jobs.v1',
	'http: rtbus_namespaces /chat',
	'rtbus_recovery off',
	'server: rtbus_recovery on',

	'rtbus_ping 1s 500ms',
	'http: rtbus_ping 1m 1m',
	'server: rtbus_ping 10 10',

	'rtbus_max_event 10',
	'http: rtbus_max_event 10m',
	'rtbus_max_message 1k',
	'server: rtbus_max_message 1k',
	'rtbus_max_channels 1',
	'http: rtbus_max_channels 10000',
	'rtbus_message_rate 1r/s',
	'server: rtbus_message_rate 1000000r/s',
	'rtbus_send_buffer 256k',
	'http: rtbus_send_buffer 1024m',
	'rtbus_max_sessions 0',
	'server: rtbus_max_sessions 10',

	'bare: rtbus_state job:42',
	'bare: rtbus_state job:$arg_job',
	'bare: rtbus_state $arg_channel key=job:state:$arg_job',
	'bare: rtbus_state job:42 "key=anything{at all}"',
	'rtbus_state_fields status',
	'http: rtbus_state_fields status progress:num result:json done:bool'
		. ' error:str',
	'server: rtbus_state_fields status',

	'rtbus_command task:cancel:v1',
	'rtbus_command *',
	'rtbus_command "two words*"',
	'rtbus_command ' . 'x' x 128,
	'rtbus_command a stream=s job=jobId owner reply=10s',
	'rtbus_command a maxlen=1; rtbus_command @connect maxlen=1000000000',
	'rtbus_command a reply=100ms claim job=id "stream={tag}:s"; rtbus_command b',
	'rtbus_command a job=jobId "stream={"; rtbus_command a',
	'rtbus_command @connect; rtbus_command @disconnect stream=s',
	'http: rtbus_command a',
	'server: rtbus_command a',
	'bare: rtbus_submit task:cancel:v1; rtbus_command *',
	'bare: rtbus_submit $arg_event',
	'bare: rtbus_submit task:$arg_event',

	'bare: rtbus_publish job:42',
	'bare: rtbus_publish $arg_channel live',
);

my $here = 'directive is not allowed here';
my $number = 'invalid number of arguments';

my @bad = (
	# rtbus_redis: the address

	[ 'http: rtbus_redis', $number ],
	[ 'http: rtbus_redis 127.0.0.1:6379', 'unknown scheme' ],
	[ 'http: rtbus_redis http://127.0.0.1', 'unknown scheme' ],
	[ 'http: rtbus_redis ""', 'unknown scheme' ],
	[ 'http: rtbus_redis redis://', 'no host' ],
	[ 'http: rtbus_redis redis://:6379', 'no host' ],
	[ 'http: rtbus_redis redis://user:pw@', 'no host' ],
	[ 'http: rtbus_redis redis://127.0.0.1:0', 'invalid port' ],
	[ 'http: rtbus_redis redis://127.0.0.1:65536', 'invalid port' ],
	[ 'http: rtbus_redis redis://127.0.0.1:redis', 'invalid port' ],
	[ 'http: rtbus_redis redis://127.0.0.1/x', 'invalid database' ],
	[ 'http: rtbus_redis redis://127.0.0.1/-1', 'invalid database' ],
	[ 'http: rtbus_redis redis://127.0.0.1/1/2', 'invalid database' ],
	[ 'http: rtbus_redis redis://127.0.0.1/1?x=1', 'invalid database' ],
	[ 'http: rtbus_redis redis://127.0.0.1/4294967296',
		'invalid database' ],
	[ 'http: rtbus_redis redis://:%zz@127.0.0.1', 'percent-encoding' ],
	[ 'http: rtbus_redis redis://us%4:pw@127.0.0.1', 'percent-encoding' ],
	[ 'http: rtbus_redis redis://name.invalid',
		'host not found in "rtbus_redis" "name.invalid" in \S+:\d+' ],
	[ 'http: rtbus_redis unix:/a; rtbus_redis redis://name.invalid name=b',
		'host not found' ],
	[ 'http: rtbus_redis unix:', 'no path' ],
	[ 'http: rtbus_redis unix:/tmp/r?db=x', 'invalid database' ],
	[ 'http: rtbus_redis unix:/tmp/r?x=1', 'unknown parameter' ],
	[ 'http: rtbus_redis unix:/' . 'x' x 200, 'too long path' ],

	# and the parameters

	[ 'http: rtbus_redis redis://127.0.0.1 timeout=1s',
		'invalid parameter "timeout="' ],
	[ 'http: rtbus_redis redis://127.0.0.1 connect_timeout=x',
		'invalid time in "connect_timeout=x"' ],
	[ 'http: rtbus_redis redis://127.0.0.1 connect_timeout=0',
		'invalid time' ],
	[ 'http: rtbus_redis redis://127.0.0.1 command_timeout=',
		'invalid time' ],
	[ 'http: rtbus_redis redis://127.0.0.1 password_file=none',
		"open\\(\\) \"$d/none\" failed" ],
	[ 'http: rtbus_redis redis://127.0.0.1 password_file=password_empty',
		'password_empty" is empty' ],
	[ 'http: rtbus_redis redis://127.0.0.1 password_file=password_newline',
		'password_newline" is empty' ],
	[ 'http: rtbus_redis redis://127.0.0.1 password_file=password_long',
		'password_long" is too long' ],
	[ 'http: rtbus_redis unix:/a; rtbus_redis unix:/b', 'is duplicate' ],
	[ 'http: rtbus_redis unix:/a; rtbus_redis unix:/b name=default',
		'is duplicate for the bus "default"' ],
	[ 'http: rtbus_redis unix:/a name=a; rtbus_redis unix:/b name=a',
		'is duplicate for the bus "a"' ],
	[ 'http: rtbus_redis redis://127.0.0.1; rtbus_redis redis://127.0.0.1/1'
		. ' name=b; server { listen 127.0.0.1:8081; location /a {'
		. ' rtbus sse; } location /b { rtbus sse; rtbus_bus b; } } rtbus_drain 1s',
		'the buses "default" and "b" are on the same Redis' ],
	[ 'http: rtbus_redis unix:/a name=a; rtbus_redis unix:/a?db=1'
		. ' name=b; server { listen 127.0.0.1:8081; location /a {'
		. ' rtbus sse; rtbus_bus a; } location /b { rtbus sse;'
		. ' rtbus_bus b; } } rtbus_drain 1s',
		'the buses "a" and "b" are on the same Redis' ],
	[ 'http: rtbus_redis unix:/a name=', 'invalid name of a bus ""' ],
	[ 'http: rtbus_redis unix:/a "name=a b"',
		'invalid name of a bus "a b"' ],
	[ 'http: rtbus_redis unix:/a name=a"b', 'invalid name of a bus "a"b"' ],
	[ 'http: rtbus_redis unix:/a name=' . 'x' x 33,
		'invalid name of a bus "xx' ],
	[ 'server: rtbus_redis unix:/a', $here ],
	[ 'rtbus_redis unix:/a', $here ],
	[ 'main: rtbus_redis unix:/a', $here ],

	[ 'http: rtbus_prefix', $number ],
	[ 'http: rtbus_prefix a b', $number ],
	[ 'http: rtbus_prefix "a b"', 'invalid character in prefix "a b"' ],
	[ 'http: rtbus_prefix "{a}"', 'invalid character in prefix' ],
	[ 'http: rtbus_prefix ' . 'x' x 101, 'is too long' ],
	[ 'http: rtbus_prefix a; rtbus_prefix b', 'is duplicate' ],
	[ 'server: rtbus_prefix a', $here ],

	[ 'http: rtbus_forward job:*', $number ],
	[ 'http: rtbus_forward job:* user:{userId}', 'not terminated by ";"' ],
	[ 'http: rtbus_forward "" all', 'empty pattern' ],
	[ 'http: rtbus_forward job:** all',
		'invalid character in pattern "job:\*\*"' ],
	[ 'http: rtbus_forward *:job all', 'invalid character in pattern' ],
	[ 'http: rtbus_forward job:? all', 'invalid character in pattern' ],
	[ 'http: rtbus_forward job:$arg_a all',
		'invalid character in pattern' ],
	[ 'http: rtbus_forward ' . 'x' x 201 . ' all', 'too long' ],
	[ 'http: rtbus_forward job:* ""', 'empty channel name' ],
	[ 'http: rtbus_forward job:* user:*',
		'invalid character in channel name "user:\*"' ],
	[ 'http: rtbus_forward job:* user:$arg_a',
		'invalid character in channel name' ],
	[ 'http: rtbus_forward job:* "user:userId}"',
		'invalid character in channel name' ],
	[ 'http: rtbus_forward job:* ' . 'x' x 201, 'too long' ],
	[ 'http: rtbus_forward job:* "user:{}"', 'invalid member' ],
	[ 'http: rtbus_forward job:* "user:{userId"', 'invalid member' ],
	[ 'http: rtbus_forward job:* "user:{"', 'invalid member' ],
	[ 'http: rtbus_forward job:* "{{a}}"', 'invalid member' ],
	[ 'http: rtbus_forward job:* "{.a}"', 'invalid member' ],
	[ 'http: rtbus_forward job:* "{a.}"', 'invalid member' ],
	[ 'http: rtbus_forward job:* "{a..b}"', 'invalid member' ],
	[ 'http: rtbus_forward job:* a; rtbus_forward job:* a',
		'duplicate rule "job:\* a"' ],
	[ 'server: rtbus_forward job:* all', $here ],
	[ 'rtbus_forward job:* all', $here ],

	[ 'http: rtbus_drain x', 'invalid value' ],
	[ 'http: rtbus_drain 1s; rtbus_drain 2s', 'is duplicate' ],
	[ 'location: rtbus_drain 1s', $here ],

	[ 'http: rtbus_secret_file', $number ],
	[ 'http: rtbus_secret_file none', "open\\(\\) \"$d/none\" failed" ],
	[ 'http: rtbus_secret_file password_newline',
		'password_newline" is empty' ],
	[ 'http: rtbus_secret_file password_long',
		'password_long" is too long' ],
	[ 'http: rtbus_secret_file secret_short', 'too short for a secret' ],
	[ 'http: rtbus_secret_file secret; rtbus_secret_file secret',
		'is duplicate' ],
	[ 'server: rtbus_secret_file secret', $here ],

	[ 'http: rtbus_bus a', 'unknown bus "a" in \S+:\d+' ],
	[ 'server: rtbus_bus a', 'unknown bus "a" in \S+:\d+' ],
	[ 'rtbus_bus A', 'unknown bus "A" in \S+:\d+' ],
	[ 'http: rtbus_redis unix:/a name=a; rtbus_bus b', 'unknown bus "b"' ],
	[ 'rtbus_bus', $number ],
	[ 'rtbus_bus default default', $number ],
	[ 'rtbus_bus default; rtbus_bus default', 'is duplicate' ],
	[ 'rtbus_bus ""', 'invalid name of a bus ""' ],
	[ 'main: rtbus_bus default', $here ],

	# rtbus

	[ 'bare: rtbus', $number ],
	[ 'bare: rtbus http', 'invalid protocol "http"' ],
	[ 'bare: rtbus WebSocket', 'invalid protocol' ],
	[ 'bare: rtbus sse sse', 'duplicate protocol "sse"' ],
	[ 'bare: rtbus sse; rtbus websocket', 'is duplicate' ],
	[ 'bare: rtbus socketio sse', '"socketio" and another protocol' ],
	[ 'bare: rtbus websocket socketio', '"socketio" and another' ],
	[ 'http: rtbus sse', $here ],
	[ 'server: rtbus sse', $here ],
	[ 'main: rtbus sse', $here ],

	# one location, one content

	[ 'bare: rtbus sse; rtbus_state job:42', 'content handler already' ],
	[ 'bare: rtbus_state job:42; rtbus_publish job:42',
		'content handler already' ],
	[ 'bare: rtbus_publish job:42 live; rtbus websocket',
		'content handler already' ],
	[ 'bare: empty_gif; rtbus websocket', 'content handler already' ],
	[ 'bare: rtbus websocket; empty_gif', 'content handler' ],
	[ 'bare: rtbus_state job:42; proxy_pass http://127.0.0.1:8080',
		'content handler' ],

	# channels

	[ 'rtbus_subscribe', $number ],
	[ 'rtbus_subscribe ""', 'empty channel name' ],
	[ 'rtbus_subscribe "a b"', 'invalid character in channel name "a b"' ],
	[ 'rtbus_subscribe job:*', 'invalid character' ],
	[ 'rtbus_subscribe ok job/42', 'invalid character.*"job/42"' ],
	[ 'rtbus_subscribe "{job}"', 'invalid character' ],
	[ "rtbus_subscribe j\xc3\xb6b", 'invalid character' ],
	[ 'rtbus_subscribe job:$', 'invalid character' ],
	[ 'rtbus_subscribe job:$nonsense', 'unknown "nonsense" variable' ],
	[ 'rtbus_subscribe "job:${arg_x"', 'closing bracket' ],
	[ 'rtbus_subscribe ' . 'x' x 201, 'too long' ],
	[ 'rtbus_subscribe $arg_x:' . 'x' x 200, 'too long' ],
	[ 'main: rtbus_subscribe a', $here ],

	[ 'rtbus_allow', $number ],
	[ 'rtbus_allow job:* owner more', $number ],
	[ 'rtbus_allow job:* mine',
		'invalid parameter "mine", it must be "owner"' ],
	[ 'rtbus_allow job:* job:1', 'invalid parameter "job:1"' ],
	[ 'rtbus_allow ""', 'empty channel name' ],
	[ 'rtbus_allow job:**', 'invalid character' ],
	[ 'rtbus_allow job:*:state', 'invalid character' ],
	[ 'rtbus_allow "job 42"', 'invalid character' ],
	[ 'rtbus_allow $nonsense', 'unknown "nonsense" variable' ],
	[ 'rtbus_allow ' . 'x' x 201, 'too long' ],
	[ 'main: rtbus_allow a', $here ],

	[ 'rtbus_origin', $number ],
	(map { [ "rtbus_origin $_", 'invalid origin "' ] }
		'https://$host', 'https://*', 'https://a*.example.com',
		'https://*example.com', 'https://a.*.com', 'https://.', 'https://*.',
		"https://\xc3\xa4.example", 'https://example.com:port',
		'https://example.com:0', 'https://example.com:', 'https://[::1',
		'https://[]', 'https://user@example.com', '*.example.com',
		'https://example.com?x', 'NULL'),
	[ 'rtbus_origin ~', 'empty regex' ],
	[ 'rtbus_origin "~("', 'regex|pcre' ],
	[ 'rtbus_origin example.com', 'invalid origin "example.com"' ],
	[ 'rtbus_origin https://example.com/', 'invalid origin' ],
	[ 'rtbus_origin https://example.com/path', 'invalid origin' ],
	[ 'rtbus_origin https://', 'invalid origin' ],
	[ 'rtbus_origin ://example.com', 'invalid origin' ],
	[ 'rtbus_origin ""', 'invalid origin' ],
	[ 'rtbus_origin https://example.com *', 'invalid origin "\*"' ],
	[ 'rtbus_origin any https://example.com', 'takes nothing beside' ],
	[ 'rtbus_origin https://example.com any', 'invalid origin "any"' ],
	[ 'rtbus_origin any; rtbus_origin any', 'is duplicate' ],
	[ 'main: rtbus_origin any', $here ],

	# users

	[ 'rtbus_user', $number ],
	[ 'rtbus_user $nonsense', 'unknown "nonsense" variable' ],
	[ 'rtbus_user $arg_a; rtbus_user $arg_b', 'is duplicate' ],
	[ 'rtbus_require_user yes', 'invalid value "yes"' ],
	[ 'rtbus_require_user on; rtbus_require_user on', 'is duplicate' ],
	[ 'rtbus_jwt_key', $number ],
	[ 'rtbus_jwt_key none', "open\\(\\) \"$d/none\" failed" ],
	[ 'rtbus_jwt_key password_empty', 'password_empty" is empty' ],
	[ 'rtbus_jwt_key key_long', 'key_long" is too long' ],
	[ 'rtbus_jwt_key password HS256', 'invalid parameter "HS256"' ],
	[ 'rtbus_jwt_key password alg=', 'invalid parameter "alg="' ],
	[ 'rtbus_jwt_key password alg=RS256', 'is no public key in PEM for RS256' ],
	[ 'rtbus_jwt_key password alg=ES256', 'is no public key in PEM for ES256' ],
	[ 'rtbus_jwt_key rsa.pem', 'is PEM and no secret for HS256, "alg="' ],
	[ 'rtbus_jwt_key rsa.pem alg=ES256', 'is no public key in PEM for ES256' ],
	[ 'rtbus_jwt_key p256.pem alg=RS256', 'is no public key in PEM for RS256' ],
	[ 'rtbus_jwt_key p256.pem alg=ES384', 'is of another curve' ],
	[ 'rtbus_jwt_key private.pem alg=ES256', 'is no public key in PEM' ],
	[ 'rtbus_jwt_claim ""', 'is empty' ],
	[ 'rtbus_jwt_key password alg=none', 'invalid algorithm "none"' ],
	[ 'rtbus_jwt_key password alg=hs256', 'invalid algorithm' ],
	[ 'rtbus_jwt_key password; rtbus_jwt_key password', 'is duplicate' ],
	[ 'rtbus_jwt_claim a b', $number ],
	[ 'rtbus_jwt_claim a; rtbus_jwt_claim b', 'is duplicate' ],
	[ 'main: rtbus_user a', $here ],

	# Socket.IO

	[ 'rtbus_namespaces', $number ],
	[ 'rtbus_namespaces chat', 'invalid namespace "chat"' ],
	[ 'rtbus_namespaces ""', 'invalid namespace' ],
	[ 'rtbus_namespaces /a,b', 'invalid namespace' ],
	[ 'rtbus_namespaces "/a b"', 'invalid namespace' ],
	[ 'rtbus_namespaces /a?b', 'invalid namespace' ],
	[ 'rtbus_namespaces / /a /', 'duplicate namespace "/"' ],
	[ 'rtbus_namespaces /; rtbus_namespaces /', 'is duplicate' ],
	[ 'rtbus_recovery maybe', 'invalid value "maybe"' ],
	[ 'main: rtbus_recovery on', $here ],

	# limits

	[ 'rtbus_ping 1s', $number ],
	[ 'rtbus_ping 1s x', 'invalid time' ],
	[ 'rtbus_ping x 1s', 'invalid time' ],
	[ 'rtbus_ping 0 1s', 'invalid time' ],
	[ 'rtbus_ping 1s 0', 'invalid time' ],
	[ 'rtbus_ping 1s 1s; rtbus_ping 1s 1s', 'is duplicate' ],

	[ 'rtbus_max_event 1x', 'invalid value' ],
	[ 'rtbus_max_event 1k; rtbus_max_event 1k', 'is duplicate' ],
	[ 'rtbus_max_message -1', 'invalid value' ],
	[ 'rtbus_max_message 1k; rtbus_max_message 1k', 'is duplicate' ],
	[ 'rtbus_max_channels x', 'invalid number' ],
	[ 'rtbus_max_channels 0', 'must be between 1 and 10000' ],
	[ 'rtbus_max_channels 10001', 'must be between 1 and 10000' ],
	[ 'rtbus_max_channels 1; rtbus_max_channels 2', 'is duplicate' ],
	[ 'rtbus_send_buffer lots', 'invalid value' ],
	[ 'rtbus_send_buffer 1k; rtbus_send_buffer 1k', 'is duplicate' ],
	[ 'rtbus_max_sessions x', 'invalid number' ],
	[ 'rtbus_max_sessions 1; rtbus_max_sessions 2', 'is duplicate' ],

	(map { [ "rtbus_message_rate $_", qr/invalid rate "\Q$_\E"/ ] }
		qw! 50 50r/m r/s 0r/s -1r/s x50r/s 1000001r/s !),
	[ 'rtbus_message_rate 1r/s; rtbus_message_rate 1r/s',
		'is duplicate' ],

	# what a location serves

	[ 'bare: rtbus_state', $number ],
	[ 'bare: rtbus_state job:42 job:43', 'invalid parameter "job:43"' ],
	[ 'bare: rtbus_state job:42 key=', 'invalid parameter "key="' ],
	[ 'bare: rtbus_state $nonsense', 'unknown "nonsense" variable' ],
	[ 'bare: rtbus_state job:42 key=$nonsense', 'unknown "nonsense"' ],
	[ 'bare: rtbus_state ""', 'empty channel' ],
	[ 'bare: rtbus_state "job 42"', 'invalid character' ],
	[ 'bare: rtbus_state job:42; rtbus_state job:43', 'is duplicate' ],
	[ 'server: rtbus_state job:42', $here ],
	[ 'http: rtbus_state job:42', $here ],

	[ 'rtbus_state_fields', $number ],
	[ 'rtbus_state_fields a:text', 'invalid type in "a:text"' ],
	[ 'rtbus_state_fields :num', 'empty field name' ],
	[ 'rtbus_state_fields a b a:num', 'duplicate field "a"' ],
	[ 'rtbus_state_fields output', 'must not be declared' ],
	[ 'rtbus_state_fields a; rtbus_state_fields b', 'is duplicate' ],

	[ 'rtbus_command', $number ],
	[ 'rtbus_command ""', 'invalid event name ""' ],
	[ 'rtbus_command ' . 'x' x 129, 'invalid event name "xx' ],
	[ 'rtbus_command a*b', 'invalid character in event name "a\*b"' ],
	[ 'rtbus_command **', 'invalid character in event name "\*\*"' ],
	[ 'rtbus_command a b', 'invalid parameter "b"' ],
	[ 'rtbus_command a job=', 'invalid parameter "job="' ],
	(map { [ "rtbus_command a maxlen=$_", 'invalid number in "maxlen=' ] }
		'', 0, -1, 'x', '1k', 1000000001),
	[ 'rtbus_command a owner', 'needs "job="' ],
	[ 'rtbus_command a claim', 'needs "job="' ],
	[ 'rtbus_command a job=b owner claim', 'either "owner" or "claim"' ],
	[ 'rtbus_command a reply=', 'invalid time in "reply="' ],
	[ 'rtbus_command a reply=0', 'invalid time in "reply=0"' ],
	[ 'rtbus_command a reply=x', 'invalid time in "reply=x"' ],
	[ 'rtbus_command a stream=', 'invalid stream ""' ],
	[ 'rtbus_command a "stream=a b"', 'invalid stream "a b"' ],
	[ 'rtbus_command a "stream=a}"', 'invalid stream "a\}"' ],
	[ 'rtbus_command a "stream={}"', 'invalid stream "\{\}"' ],
	[ 'rtbus_command a stream=' . 'x' x 201, 'invalid stream "xx' ],
	[ 'rtbus_command @other', 'there is no event "@other"' ],
	[ 'rtbus_command @*', 'there is no event "@\*"' ],
	[ 'rtbus_command @connect*', 'there is no event "@connect\*"' ],
	[ 'rtbus_command @connect reply=1s', 'takes only "stream="' ],
	[ 'rtbus_command @disconnect job=a', 'takes only "stream="' ],

	[ 'bare: rtbus_submit', $number ],
	[ 'bare: rtbus_submit a b', $number ],
	[ 'bare: rtbus_submit ""', 'invalid event ""' ],
	[ 'bare: rtbus_submit @connect', 'invalid event "@connect"' ],
	[ 'bare: rtbus_submit $nonsense', 'unknown "nonsense"' ],
	[ 'bare: rtbus_submit a; rtbus_submit b', 'is duplicate' ],
	[ 'bare: rtbus_submit a; rtbus websocket', 'has a content handler already' ],
	[ 'http: rtbus_submit a', 'not allowed here' ],

	[ 'bare: rtbus_publish', $number ],
	[ 'bare: rtbus_publish job:42 dead', 'invalid parameter "dead"' ],
	[ 'bare: rtbus_publish job:42 live live', $number ],
	[ 'bare: rtbus_publish $nonsense live', 'unknown "nonsense"' ],
	[ 'bare: rtbus_publish ""', 'empty channel' ],
	[ 'bare: rtbus_publish job/42 live', 'invalid character' ],
	[ 'bare: rtbus_publish job:42; rtbus_publish job:42', 'is duplicate' ],
	[ 'server: rtbus_publish job:42', $here ],
);

$t->plan(@good + @bad + 5);

###############################################################################

for my $text (@good) {
	my ($ok, $output) = check($text);

	ok($ok, name($text)) || diag($output);
}

for my $case (@bad) {
	my ($text, $reason) = @$case;
	my ($ok, $output) = check($text);

	ok(!$ok && $output =~ /\[emerg\].*$reason/, 'not ' . name($text))
		|| diag($output);
}

# a password must not get into the log by way of a mistake beside it

my ($ok, $output) = check('http: rtbus_redis redis://u:hunter2@127.0.0.1:x');
unlike($output, qr/hunter2/, 'password of a bad URL not shown');

($ok, $output) = check('http: rtbus_redis redis://u:hunter2%@127.0.0.1');
unlike($output, qr/hunter2/, 'bad password not shown');

# a location that nobody has told which one

my $warning = qr/\[warn\].*without "rtbus_bus" uses the Redis at 127\.0\.0\.1/;

($ok, $output) = check('http: rtbus_redis unix:/a name=a');
like($output, $warning, 'all have names');

($ok, $output) = check('http: rtbus_redis unix:/a name=a; rtbus_bus a');
unlike($output, $warning, 'it has been told');

($ok, $output) = check('http: rtbus_redis unix:/a name=a; rtbus_redis unix:/b');
unlike($output, $warning, 'one is without');

###############################################################################

sub name {
	my ($text) = @_;

	return length $text > 60 ? substr($text, 0, 60) . '...' : $text;
}

sub check {
	my ($text) = @_;

	my $place = $text =~ s/^(main|http|server|location|bare): // ? $1
		: 'location';

	my %at = map { $_ => '' } qw/ main http server location bare /;

	$at{$place} = "$text;";
	$at{location} = "rtbus websocket; $at{location}"
		if $place ne 'bare';

	return nginx_check($t, <<"CONF");

%%TEST_GLOBALS%%

daemon off;
$at{main}

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    $at{http}

    server {
        listen  127.0.0.1:8080;
        $at{server}

        location / {
            $at{location}
            $at{bare}
        }
    }
}

CONF
}

###############################################################################
