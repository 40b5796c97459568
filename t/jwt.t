#!/usr/bin/perl

# Tests for users: JSON Web Tokens (RFC 7519), rtbus_user and what depends on it.
#
# A token is all that stands between a user and another one's channels.  So each
# way to forge one is tried at each place that takes one, and a good one has to
# work at all of them until it expires.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Redis;
use Test::RTBus::SSE;
use Test::RTBus::SocketIO;
use Test::RTBus::WebSocket;

use Digest::SHA qw/ hmac_sha256 hmac_sha384 hmac_sha512 /;
use MIME::Base64 qw/ encode_base64 encode_base64url /;
use Time::HiRes qw/ time /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http auth_basic map /)
	->has_daemon('redis-server')->has_daemon('openssl')->plan(285);

my $d = $t->testdir();
my $redis = Test::RTBus::Redis->new(dir => $d);
my $redis_url = $redis->url();

my @algs = qw/ HS256 HS384 HS512 RS256 ES256 /;
my %secret = map { $_ => "the secret of $_ " . 'x' x 48 } @algs[0 .. 2];

$t->write_file("$_.key", "$secret{$_}\n") for keys %secret;

openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out $d/RS256.pem");
openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out $d/other.pem");
openssl("ecparam -name prime256v1 -genkey -noout -out $d/ES256.pem");
openssl("ecparam -name prime256v1 -genkey -noout -out $d/other-ec.pem");
openssl("pkey -in $d/$_.pem -pubout -out $d/$_.key") for qw/ RS256 ES256 /;

my $all = '';

for my $alg (@algs) {
	$all .= block($alg, "rtbus_jwt_key $d/$alg.key alg=$alg;"
		. ' rtbus_require_user on;');
}

$all .= block('anon', "rtbus_jwt_key $d/HS256.key;");
$all .= block('claim', "rtbus_jwt_key $d/HS256.key; rtbus_jwt_claim uid;"
	. ' rtbus_require_user on;');
$all .= block('mine', "rtbus_jwt_key $d/HS256.key; rtbus_require_user on;"
	. ' rtbus_allow user:$rtbus_user;');
$all .= block('both', "rtbus_jwt_key $d/HS256.key;"
	. ' rtbus_subscribe user:$rtbus_user job:1;'
	. ' rtbus_allow user:$rtbus_user; rtbus_allow job:1;');
$all .= block('nokey', 'rtbus_require_user on;');
$all .= block('mapped', "rtbus_jwt_key $d/HS256.key;"
	. ' rtbus_user $mapped; rtbus_require_user on;');
$all .= block('basic', 'rtbus_user $remote_user; rtbus_require_user on;'
	. ' rtbus_subscribe user:$rtbus_user; rtbus_allow user:$rtbus_user;'
	. " rtbus_allow job:1; auth_basic closed; auth_basic_user_file $d/users;");

$t->write_file('users', "ann:{PLAIN}secret\nbob:{PLAIN}secret\n");

$t->write_file_expand('nginx.conf', <<"EOC");

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis        $redis_url;
    rtbus_secret_file  $d/HS512.key;
    rtbus_allow        job:*;

    large_client_header_buffers 4 64k;

    log_format  who  '\$uri [\$rtbus_user] [\$rtbus_jwt_user]';

    map \$rtbus_jwt_user \$mapped {
        ann      admin;
        default  "";
    }

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        access_log   $d/who.log who;

$all
    }
}

EOC

$t->run();

ok((wait_for { !ref $redis->try_cmd('FCALL_RO', 'rtbus_version', 0) }
	'library'), 'library');

$redis->cmd('FCALL', 'rtbus_publish', 1, 'job:1', 'n', '1', 'SET', 'status',
	'running');

my $now = int time();
my @hidden;		# tokens that came by header or in auth
my @ways = qw/ state head ws sse io /;

my ($ws, $sse, $io, $c, $m);

###############################################################################

# a good token of each algorithm, at each place and in each way

for my $alg (@algs) {
	my $token = jwt($alg, { sub => 'ann', exp => $now + 600,
		nbf => $now - 600, iat => $now, x => [ 1, { y => 2 } ] });

	for my $way (@ways) {
		is(try($alg, $way, $token), $way =~ /state|head/ ? '200'
			: 'ann', "$alg, $way");
	}

	for my $way (qw/ state ws sse io /) {
		is(try($alg, $way, $token, 'arg'), $way eq 'state' ? '200'
			: 'ann', "$alg, $way, ?token=");
	}
}

is(try('HS256', 'ws', jwt('HS256', { sub => 'ann' })), 'ann', 'for ever');
is(try('HS256', 'ws', jwt('HS256', { sub => 'ann' }, { alg => 'HS256' })),
	'ann', 'no typ');
is(try('HS256', 'ws', jwt('HS256', { sub => 'ann', exp => $now + 60.5,
	nbf => $now - 60.5 })), 'ann', 'dates with a fraction');
is(try('HS256', 'ws', jwt('HS256', { sub => 'ann', exp => 99999999999 })),
	'ann', 'for thousands of years');
is(try('HS256', 'io', jwt('HS256', { sub => 'ann' }), 'auth'), 'ann',
	'auth.token');

###############################################################################

# what is no token, or no good one, is nobody's

my $good = jwt('HS256', { sub => 'ann' });
my ($h, $p, $s) = split /\./, $good;
my $public = $t->read_file('RS256.key');
my $public_ec = $t->read_file('ES256.key');

my @forged = (
	[ 'HS256', 'no token', '' ],
	[ 'HS256', 'other secret', jwt('HS256', { sub => 'ann' }, undef,
		'another secret') ],
	[ 'HS256', 'empty secret', jwt('HS256', { sub => 'ann' }, undef, '') ],
	[ 'HS256', 'other payload', join '.', $h, part({ sub => 'bob' }), $s ],
	[ 'HS256', 'other header', join '.', part({ alg => 'HS256', x => 1 }),
		$p, $s ],
	[ 'HS256', 'short signature', substr $good, 0, -4 ],
	[ 'HS256', 'no signature', "$h.$p." ],
	[ 'HS256', 'no third part', "$h.$p" ],
	[ 'HS256', 'zeros for a signature', "$h.$p." . 'A' x 43 ],
	[ 'HS256', 'expired', jwt('HS256', { sub => 'ann',
		exp => $now - 1 }) ],
	[ 'HS256', 'expired long ago', jwt('HS256', { sub => 'ann',
		exp => 0 }) ],
	[ 'HS256', 'expired before 1970', jwt('HS256', { sub => 'ann',
		exp => -1 }) ],
	[ 'HS256', 'exp is a string', jwt('HS256', { sub => 'ann',
		exp => 'never' }) ],
	[ 'HS256', 'exp is null', jwt('HS256', { sub => 'ann',
		exp => undef }) ],
	[ 'HS256', 'exp is true', jwt('HS256', { sub => 'ann',
		exp => JSON::PP::true }) ],
	[ 'HS256', 'exp is far too large', jwt('HS256', { sub => 'ann',
		exp => 1e300 }) ],
	[ 'HS256', 'expired, with a fraction', jwt('HS256', { sub => 'ann',
		exp => $now - 0.5 }) ],
	[ 'HS256', 'not valid yet', jwt('HS256', { sub => 'ann',
		nbf => $now + 60 }) ],
	[ 'HS256', 'not valid yet, with a fraction', jwt('HS256',
		{ sub => 'ann', nbf => $now + 60.5 }) ],
	[ 'HS256', 'nbf is null', jwt('HS256', { sub => 'ann',
		nbf => undef }) ],
	[ 'HS256', 'nbf is a string', jwt('HS256', { sub => 'ann',
		nbf => '1' }) ],
	[ 'HS256', 'no claim', jwt('HS256', { name => 'ann' }) ],
	[ 'HS256', 'null claim', jwt('HS256', { sub => undef }) ],
	[ 'HS256', 'empty claim', jwt('HS256', { sub => '' }) ],
	[ 'HS256', 'array claim', jwt('HS256', { sub => [ 'ann' ] }) ],
	[ 'HS256', 'object claim', jwt('HS256', { sub => { a => 'ann' } }) ],
	[ 'HS256', 'true claim', jwt('HS256', { sub => JSON::PP::true }) ],
	[ 'HS256', 'claim with a zero byte', jwt('HS256',
		{ sub => "ann\0bob" }) ],
	[ 'HS256', 'HS384 with its secret', jwt('HS384', { sub => 'ann' },
		undef, $secret{HS256}) ],
	[ 'HS256', 'HS512 with its secret', jwt('HS512', { sub => 'ann' },
		undef, $secret{HS256}) ],
	[ 'HS512', 'HS256 with its secret', jwt('HS256', { sub => 'ann' },
		undef, $secret{HS512}) ],
	[ 'HS256', 'RS256', jwt('RS256', { sub => 'ann' }) ],
	[ 'RS256', 'HS256', $good ],
	[ 'RS256', 'ES256', jwt('ES256', { sub => 'ann' }) ],
	[ 'RS256', 'other key', jwt('RS256', { sub => 'ann' }, undef,
		"$d/other.pem") ],
	[ 'ES256', 'other key', jwt('ES256', { sub => 'ann' }, undef,
		"$d/other-ec.pem") ],
	[ 'ES256', 'signature in DER', jwt('ES256', { sub => 'ann' }, undef,
		undef, 1) ],
	[ 'ES256', 'zeros for a signature', join '.',
		part({ alg => 'ES256' }), $p, encode_base64url("\0" x 64) ],

	# a public key is no secret

	map({ [ 'RS256', "$_ with the public key",
		jwt($_, { sub => 'ann' }, undef, $public) ],
		[ 'RS256', "$_ with the public key, no line feed",
		jwt($_, { sub => 'ann' }, undef, $public =~ s/\n\z//r) ],
		[ 'ES256', "$_ with the public key",
		jwt($_, { sub => 'ann' }, undef, $public_ec) ],
		[ 'ES256', "$_ with the public key, no line feed",
		jwt($_, { sub => 'ann' }, undef, $public_ec =~ s/\n\z//r) ]
	} @algs[0 .. 2]),

	# none is never an algorithm

	map({ my $alg = $_; map { my $none = $_;
		[ $alg, "$none without a signature",
			part({ alg => $none, typ => 'JWT' }) . ".$p." ],
		[ $alg, "$none in two parts",
			part({ alg => $none }) . ".$p" ],
		[ $alg, "$none with a signature",
			part({ alg => $none }) . ".$p.$s" ],
	} qw/ none None NONE nOnE / } qw/ HS256 RS256 ES256 /),

	map({ [ 'HS256', 'alg ' . json_encode($_),
		jwt('HS256', { sub => 'ann' }, { alg => $_ }) ]
	} '', 'XX256', 'HS1', undef, 256, [ 'HS256' ], JSON::PP::false),

	[ 'HS256', 'no alg', jwt('HS256', { sub => 'ann' }, {}) ],

	# what is none at all

	map({ [ 'HS256', "text $_", $_ ] } 'a', '.', '..', '...', 'a.b.c',
		'a.b.c.d', "$good.x", ".$good", "$good.", '!!!.???.###', "$h..$s",
		".$p.$s", "$h.$p.$s.$h.$p.$s", 'null', '{"sub":"ann"}'),
	[ 'HS256', 'payload is an array', sign('HS256', encode_base64url(
		'{"alg":"HS256"}') . '.' . encode_base64url('[1]')) ],
	[ 'HS256', 'payload is no JSON', sign('HS256', encode_base64url(
		'{"alg":"HS256"}') . '.' . encode_base64url('sub=ann')) ],
	[ 'HS256', 'header is no JSON', sign('HS256', encode_base64url(
		'HS256') . ".$p") ],
	[ 'HS256', 'huge', jwt('HS256', { sub => 'ann', x => 'x' x 10000 }) ],
	[ 'HS256', 'huge and no token', 'x' x 20000 ],
);

for my $case (@forged) {
	my ($alg, $name, $token) = @$case;

	is(try($alg, 'state', $token), '401', "$alg: $name");
}

# at the other places the same code says the same; some of each kind

for my $case (grep { $_->[1] =~ /^(?:no token|other secret|expired|not valid
	|no claim|huge|HS256\ with\ the\ public\ key|none\ without|text\ a\.b)/x
	} @forged)
{
	my ($alg, $name, $token) = @$case;

	my @got = map { try($alg, $_, $token) } qw/ head ws sse io /;
	push @got, try($alg, 'io', $token, 'auth');

	is("@got", '401 401 401 unauthorized unauthorized',
		"$alg: $name, elsewhere");
}

# in the argument, where more can be written

for my $case (
	[ 'zero byte', "$good%00" ],
	[ 'zero byte in front', "%00$good" ],
	[ 'space', "$good%20" ],
	[ 'line feed', "%0A$good" ],
	[ 'escaped', join('', map { sprintf '%%%02x', ord } split //, $good),
		'200' ],
)
{
	my ($name, $token, $status) = @$case;

	is(try('HS256', 'state', $token, 'arg'), $status || '401',
		"argument: $name");
}

###############################################################################

# the answer of a refusal

$c = request('/HS256/state');
is($c->status(), 401, 'refused');
is($c->header('WWW-Authenticate'), 'Bearer', '401 WWW-Authenticate');
is($c->header('Content-Type'), 'application/json', '401 type');
is_deeply(json_decode($c->body()), { error => 'unauthorized' }, '401 body');

error_log_like($t, qr/\[info\] .*token that is expired/, 'expired is logged');
error_log_like($t, qr/\[info\] .*token that is not valid yet/,
	'not valid yet is logged');
error_log_like($t, qr/\[info\] .*token that is of another algorithm/,
	'another algorithm is logged');
error_log_like($t, qr/\[info\] .*token without the claim "sub"/,
	'missing claim is logged');

# which token counts

for my $case (
	[ 'lower case', '200', "bearer $good" ],
	[ 'upper case', '200', "BEARER $good" ],
	[ 'two spaces', '200', "Bearer  $good" ],
	[ 'no space', '401', "Bearer$good" ],
	[ 'no scheme', '401', $good ],
	[ 'other scheme', '401', "Token $good" ],
	[ 'another scheme and an argument', '200',
		'Basic ' . encode_base64('a:b', ''), $good ],
	[ 'bad header and a good argument', '401', 'Bearer a.b.c', $good ],
	[ 'good header and a bad argument', '200', "Bearer $good", 'a.b.c' ],
)
{
	my ($name, $status, $header, $arg) = @$case;

	is(request('/HS256/state' . ($arg ? "?token=$arg" : ''),
		$header)->status(), $status, "header: $name");
}

my $bob = jwt('HS256', { sub => 'bob' });

$io = Test::RTBus::SocketIO->connect(path => '/HS256/io/',
	headers => { Authorization => "Bearer $good" });
is($io->join_nsp('/', { token => $bob })->{type}, 0, 'auth and header');
is($io->wait_name('connected')->{data}[1]{userId}, 'bob', 'auth counts');

$io = Test::RTBus::SocketIO->connect(path => '/HS256/io/',
	headers => { Authorization => "Bearer $good" });
is($io->join_nsp('/', { token => 'a.b.c' })->{data}{message}, 'unauthorized',
	'bad auth and a good header');
is($io->join_nsp('/', { token => $bob })->{type}, 0, 'and another try');
is($io->wait_name('connected')->{data}[1]{userId}, 'bob', 'is fine');
is($io->join_nsp('/two', {})->{type}, 0, 'another namespace');
is($io->wait_name('connected', '/two')->{data}[1]{userId}, 'ann',
	'has a user of its own');

###############################################################################

# nobody, where nobody is welcome; but not who shows a token that does not hold

for my $case ([ 'no token', '', '200 200 null null null' ],
	[ 'bad token', 'a.b.c', '401 401 401 401 unauthorized' ],
	[ 'expired', jwt('HS256', { sub => 'ann', exp => $now - 1 }),
		'401 401 401 401 unauthorized' ])
{
	my ($name, $token, $expected) = @$case;
	my @got = map { try('anon', $_, $token) } @ways;

	is("@got", $expected, "anonymous: $name");
}

is(try('anon', 'ws', $good), 'ann', 'not anonymous');
is(try('nokey', 'state', $good), '401', 'no key, no user');
is(try('nokey', 'io', $good, 'auth'), 'unauthorized', 'no key, Socket.IO');

# claims

for my $case ([ 'string', 'ann', 'ann' ], [ 'number', 42, '42' ],
	[ 'negative', -7, '-7' ], [ 'zero', 0, '0' ],
	[ 'large', 9007199254740993, '9007199254740993' ],
	[ 'fraction', 1.5, '401' ], [ 'true', JSON::PP::true, '401' ],
	[ 'odd', "\"a\\b\"\n<\x{e9}>", "\"a\\b\"\n<\x{e9}>" ],
	[ 'long', 'u' x 3000, 'u' x 3000 ])
{
	my ($name, $uid, $user) = @$case;

	is(try('claim', 'ws', jwt('HS256', { sub => 'x', uid => $uid })), $user,
		"claim: $name");
}

is(try('claim', 'state', $good), '401', 'claim: only sub');

# a value made from the user

is(try('mapped', 'ws', $good), 'admin', 'mapped');
is(try('mapped', 'io', $good, 'auth'), 'admin', 'mapped, auth.token');
is(try('mapped', 'state', $bob), '401', 'mapped to nobody');
is(try('mapped', 'io', $bob, 'auth'), 'unauthorized',
	'mapped to nobody, auth.token');

###############################################################################

# $rtbus_user in rules: one's own channel and no other

for my $case (
	[ 'ann', 'user:ann' => 'ok', 'user:bob' => 'forbidden',
		'user:' => 'forbidden', 'user:annx' => 'forbidden',
		'user:an' => 'forbidden' ],
	[ '*', 'user:ann' => 'forbidden' ],
	[ '', 'user:ann' => undef ],
	[ 'a*', 'user:ann' => 'forbidden', 'user:a' => 'forbidden' ],
	[ '%61nn', 'user:ann' => 'forbidden' ],
	[ '$arg_x', 'user:ann' => 'forbidden' ],
	[ 7, 'user:7' => 'ok', 'user:70' => 'forbidden' ],
)
{
	my ($user, %channels) = @$case;
	my $token = jwt('HS256', { sub => $user });

	for my $channel (sort keys %channels) {
		my $ws = Test::RTBus::WebSocket->connect(path => '/mine/ws',
			headers => { Authorization => "Bearer $token" });

		if (!defined $channels{$channel}) {
			is($ws->status(), 401, 'no user, no rule');
			next;
		}

		$ws->send_json({ event => 'subscribe', ack => 1,
			data => { channel => $channel } });

		my $data = $ws->wait_ack(1)->{data};
		is($data->{error} || 'ok', $channels{$channel},
			"user $user, channel $channel");
	}
}

# a cursor and an argument give no more

$ws = Test::RTBus::WebSocket->connect(
	path => '/both/ws?cursor=user:bob@0-0&rtbus_user=bob&user=bob',
	headers => { Authorization => "Bearer $good" });
is($ws->wait_event('connected')->{data}{userId}, 'ann', 'cursor of another');
is($ws->wait_event('sync:refused')->{data}{channel}, 'user:bob',
	'is refused');

# in rtbus_subscribe: each gets what is his

my %client = (
	ann => Test::RTBus::WebSocket->connect(path => '/both/ws',
		headers => { Authorization => "Bearer $good" }),
	bob => Test::RTBus::WebSocket->connect(path => "/both/ws?token=$bob"),
	nobody => Test::RTBus::WebSocket->connect(path => '/both/ws'),
);

my %first = map { $_ => $client{$_}->wait_event('connected') } keys %client;

is_deeply({ map { $_ => join ' ', sort map { s/@.*//r } split /,/,
	$first{$_}{cursor} } keys %first },
	{ ann => 'job:1 user:ann', bob => 'job:1 user:bob', nobody => 'job:1' },
	'rtbus_subscribe');

$redis->event("user:$_", 'mine', $_) for qw/ ann bob /;
$redis->event('job:1', 'all', 1);

for my $who (qw/ ann bob nobody /) {
	my @got = map { $client{$who}->recv_json() }
		$who eq 'nobody' ? 1 : (1, 2);

	is(join(' ', sort map { "$_->{event} $_->{data}" } @got),
		$who eq 'nobody' ? 'all 1' : "all 1 mine $who",
		"events of $who");
}

$io = Test::RTBus::SocketIO->connect(path => '/both/io/');
$io->join_nsp('/', { token => $good });
is_deeply([ sort map { s/@.*//r } split /,/, $io->packet()->{cursor} ],
	[ 'job:1', 'user:ann' ], 'rtbus_subscribe by auth.token');
$redis->event('user:ann', 'mine', 5);
is($io->wait_name('mine')->{data}[1], 5, 'event by auth.token');
$io->emit('subscribe', { channel => 'user:bob' }, { ack => 1 });
is($io->wait_ack(1)->{data}[0]{error}, 'forbidden', 'rules by auth.token');

# users that no channel can have as they are

is(request('/both/ws', 'Bearer ' . jwt('HS256', { sub => 'a b' }),
	ws => 1)->wait_event('connected')->{cursor} =~ s/@[-0-9]+//gr,
	'user:a%20b,job:1', 'user that is encoded');

# a pid is one user's

$io = Test::RTBus::SocketIO->connect(path => '/both/io/');
my $was = $io->join_nsp('/', { token => $good })->{data};
my $offset = $io->wait_name('connected')->{cursor};

for my $case ([ 'the same', $good, 1 ],
	[ 'the same, another token', jwt('HS256', { sub => 'ann', n => 2 }), 1 ],
	[ 'another', $bob, 0 ], [ 'nobody', '', 0 ])
{
	my ($name, $token, $old) = @$case;

	my $io = Test::RTBus::SocketIO->connect(path => '/both/io/');
	my $p = $io->join_nsp('/', { pid => $was->{pid}, offset => $offset,
		token => $token });

	is($p->{data}{sid} eq $was->{sid} ? 1 : 0, $old, "pid of $name");
}

###############################################################################

# $remote_user behind auth_basic

my $basic = 'Basic ' . encode_base64('ann:secret', '');

is(request('/basic/state', $basic)->status(), 200, 'auth_basic, state');
is(request('/basic/state')->status(), 401, 'auth_basic, nobody');
is(request('/basic/state', 'Basic ' . encode_base64('ann:no', ''))->status(),
	401, 'auth_basic, bad password');

$ws = request('/basic/ws', $basic, ws => 1);
$m = $ws->wait_event('connected');
is($m->{data}{userId}, 'ann', 'auth_basic, WebSocket');
like($m->{cursor}, qr/^user:ann@/, 'auth_basic, channel');
is(request('/basic/ws', undef, ws => 1)->status(), 401,
	'auth_basic, WebSocket, nobody');

$io = Test::RTBus::SocketIO->connect(path => '/basic/io/',
	headers => { Authorization => $basic });
is($io->join_nsp('/', { token => $bob })->{type}, 0,
	'auth_basic, Socket.IO');
is($io->packet()->{data}[1]{userId}, 'ann',
	'auth_basic, auth.token is nothing there');

###############################################################################

# a connection ends when its token expires

my $soon = int(time()) + 5;
my $short = jwt('HS256', { sub => 'ann', exp => $soon });
my %bearer = (headers => { Authorization => "Bearer $short" });

$ws = Test::RTBus::WebSocket->connect(path => '/HS256/ws', %bearer);
$sse = Test::RTBus::SSE->connect(path => '/HS256/sse', %bearer);
$io = Test::RTBus::SocketIO->connect(path => '/HS256/io/');
my $io_two = Test::RTBus::SocketIO->connect(path => '/HS256/io/');
my $later = Test::RTBus::WebSocket->connect(path => '/HS256/ws',
	headers => { Authorization => 'Bearer '
		. jwt('HS256', { sub => 'ann', exp => $soon + 600 }) });

ok($ws->wait_event('connected'), 'short, WebSocket');
ok($sse->wait_event('connected'), 'short, SSE');
is($io->join_nsp('/', { token => $short })->{type}, 0, 'short, Socket.IO');
is($io_two->join_nsp('/', { token => $good })->{type}, 0, 'one for ever');
is($io_two->join_nsp('/two', { token => $short })->{type}, 0,
	'and a short one');

is_deeply([ $ws->read_close(20) ], [ 1008, 'token expired' ],
	'expired, WebSocket');
cmp_ok(time(), '>=', $soon, 'not before its time');
ok($sse->wait_eof(20), 'expired, SSE');
ok($sse->ended(), 'expired, SSE, in good order');
is(($io->read_close(20))[0], 1008, 'expired, Socket.IO');
is(($io_two->read_close(20))[0], 1008, 'expired, one of two');
is(try('HS256', 'ws', $short), 401, 'expired, again');

ok($later->is_open(), 'the others live');
$later->send_json({ event => 'subscribe', ack => 1,
	data => { channel => 'job:1' } });
is($later->wait_ack(1)->{data}{ok}, JSON::PP::true, 'and work');

error_log_like($t, qr/\[info\] .*token expired/, 'expiry is logged');

###############################################################################

# variables of the log, and what must be in none

$_->drop() for values %client;

like($t->read_file('who.log'), qr!^/HS256/state \[ann\] \[ann\]$!m,
	'variables in the log');
like($t->read_file('who.log'), qr!^/HS256/state \[\] \[\]$!m,
	'variables without a user');
ok((wait_for { $t->read_file('who.log')
	=~ m!^/mapped/ws \[admin\] \[ann\]$!m } 'log'), 'mapped user in the log');

my %signed = map { $_ => 1 } grep { length > 20 }
	map { (split /\./)[2] || '' } @hidden;
my $never = join '|', map { quotemeta } sort keys %signed;

cmp_ok(scalar keys %signed, '>', 50, 'tokens to look for');

my @lines = grep { !/\[debug\]/ && /$never/ && !/token=/ } split /^/,
	error_log($t);

is(join('', @lines), '', 'no token in the log');
unlike(error_log($t), qr/the secret of/, 'no secret in the log');

###############################################################################

sub block {
	my ($name, $directives) = @_;

	return <<"EOC";
        location /$name/ {
            $directives

            location /$name/state {
                rtbus_state  job:1;
            }

            location /$name/ws {
                rtbus  websocket;
            }

            location /$name/sse {
                rtbus            sse;
                rtbus_subscribe  job:1;
            }

            location /$name/io/ {
                rtbus             socketio;
                rtbus_namespaces  / /two;
            }
        }

EOC
}

# The status of a refusal, 200 of the state, else the user.

sub try {
	my ($where, $way, $token, $how) = @_;

	$how ||= 'header';
	push @hidden, $token if $how ne 'arg';

	my $path = "/$where/" . ($way eq 'io' ? 'io/' : $way eq 'head' ? 'state'
		: $way);
	$path .= "?token=$token" if $how eq 'arg';

	my %o = (path => $path, timeout => 20,
		headers => $how eq 'header' && length $token
			? { Authorization => "Bearer $token" } : {});

	if ($way eq 'state' || $way eq 'head') {
		return Test::RTBus::SSE->connect(%o, accept => undef,
			method => $way eq 'head' ? 'HEAD' : 'GET')->status();
	}

	if ($way eq 'io') {
		my $io = Test::RTBus::SocketIO->connect(%o);

		return $io->status() if $io->status() != 101;

		my $p = $io->join_nsp('/', $how eq 'auth'
			? { token => $token } : ());

		return $p->{data}{message} if $p->{type} == 4;
		return user($io->packet()->{data}[1]);
	}

	if ($way eq 'ws') {
		my $ws = Test::RTBus::WebSocket->connect(%o);

		return $ws->status() if $ws->status() != 101;
		return user($ws->wait_event('connected')->{data});
	}

	my $sse = Test::RTBus::SSE->connect(%o);

	return $sse->status() if $sse->status() != 200;
	return user($sse->next_json()->{data});
}

sub user {
	my ($data) = @_;

	return defined $data->{userId} ? $data->{userId} : 'null';
}

sub request {
	my ($path, $authorization, %o) = @_;

	my $class = $o{ws} ? 'Test::RTBus::WebSocket' : 'Test::RTBus::SSE';

	return $class->connect(path => $path,
		$o{ws} ? () : (accept => undef),
		headers => { Authorization => $authorization });
}

sub part {
	my ($data) = @_;

	return encode_base64url(json_encode($data));
}

# key: the secret, or the file with the private key

sub jwt {
	my ($alg, $claims, $header, $key, $der) = @_;

	$header ||= { typ => 'JWT', alg => $alg };

	return sign($alg, part($header) . '.' . part($claims), $key, $der);
}

sub sign {
	my ($alg, $text, $key, $der) = @_;

	if ($alg =~ /^HS(\d+)/) {
		my $hmac = { 256 => \&hmac_sha256, 384 => \&hmac_sha384,
			512 => \&hmac_sha512 }->{$1};

		return "$text." . encode_base64url($hmac->($text,
			defined $key ? $key : $secret{$alg}));
	}

	$key = "$d/$alg.pem" unless defined $key;

	$t->write_file('text', $text);
	openssl("dgst -sha256 -sign $key -out $d/signature $d/text");

	my $signature = $t->read_file('signature');

	# RFC 7518, section 3.4: two numbers of 32 bytes, and no DER

	if ($alg eq 'ES256' && !$der) {
		my ($r, $s) = unpack 'x2 xC/a xC/a', $signature;

		$signature = join '', map {
			"\0" x (32 - length) . substr $_, -32 }
			map { s/^\0+//r } $r, $s;
	}

	return "$text." . encode_base64url($signature);
}

sub openssl {
	my ($args) = @_;

	system("openssl $args >>$d/openssl.log 2>&1") == 0
		or die "openssl $args: " . $t->read_file('openssl.log');
}

###############################################################################
