#!/usr/bin/perl

# Tests for tokens that come with the CONNECTs of one connection: each namespace
# is its own token's user, also where rtbus_user and the channels come from
# variables that nginx has kept from the one before, over WebSocket and
# long-polling, at the worker that has the session and at another one.  What was
# set for the request stays.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Polling;
use Test::RTBus::Redis;
use Test::RTBus::SocketIO;

use Digest::SHA qw/ hmac_sha256 /;
use MIME::Base64 qw/ encode_base64url /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http map rewrite limit_conn /)
	->has_daemon('redis-server');

plan(skip_all => 'the module is not built') unless module_file();

my $d = $t->testdir();
my $redis = Test::RTBus::Redis->new(dir => $d);
my $url = $redis->url();

my $secret = 'a secret of sixty-four bytes' . 'x' x 36;

$t->write_file('key', $secret);
$t->write_file('secret', 'a secret that both nodes have');

my $conf = <<"EOC";

%%TEST_GLOBALS%%

daemon off;
worker_processes 1;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis        $url;
    rtbus_secret_file  $d/secret;

    # one after the other, each kept by nginx

    map \$rtbus_jwt_user \$first {
        ""          "";
        ~^(?<n>.+)\$ \$n;
    }

    map \$first \$mapped {
        ""       "";
        default  "m-\$first";
    }

    map \$rtbus_user \$tenant {
        m-ann    red;
        m-bob    blue;
        default  none;
    }

    map \$rtbus_user \$seen {
        default  "\$rtbus_user";
    }

    limit_conn_zone  \$mapped  zone=users:1m;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location /socket.io/ {
            # evaluated before anything else
            set    \$kept "\$arg_kept-\$mapped";
            limit_conn  users 100;

            rtbus             socketio;
            rtbus_namespaces  / /a /b;
            rtbus_jwt_key     $d/key;
            rtbus_user        \$mapped;
            rtbus_subscribe   user:\$rtbus_user tenant:\$tenant
                              kept:\$kept seen:\$seen;
            rtbus_allow       user:\$rtbus_user;
            rtbus_allow       tenant:\$tenant;
            rtbus_allow       seen:\$seen;
            rtbus_allow       kept:\$kept;
        }
    }
}

EOC

my @nodes = ($t, Test::Nginx->new());

$t->write_file_expand('nginx.conf', $conf);
$nodes[1]->write_file_expand('nginx.conf', $conf =~ s/8080/8081/r);

$t->plan(40);

for my $node (@nodes) {
	$node->run();
	wait_redis($node, 1);
}

###############################################################################

my $set = '';
my %token = map { $_ => jwt({ sub => $_ }) } qw/ ann bob /;

for my $over (qw/ websocket polling relayed /) {
	my $io = $over eq 'websocket'
		? Test::RTBus::SocketIO->connect(port => port(8080),
			path => '/socket.io/?kept=k')
		: Test::RTBus::Polling->connect(port => port(8080),
			path => '/socket.io/?kept=k');

	$io->{options}{port} = port(8081) if $over eq 'relayed';

	is(who($io, '/', $token{ann}), 'm-ann red', "$over: the first");
	is(who($io, '/a', $token{bob}), 'm-bob blue', "$over: the second");
	is(who($io, '/b'), 'nobody none', "$over: without a token");

	$io->leave($_) for qw! / /a /b !;

	is(who($io, '/', $token{bob}), 'm-bob blue', "$over: the same again");
	is(who($io, '/b', $token{ann}), 'm-ann red', "$over: and another");
}

# both in one post

my $io = Test::RTBus::Polling->connect(port => port(8080),
	path => '/socket.io/?kept=k');

$io->post(join "\x1e", '40' . json_encode({ token => $token{ann} }),
	'40/a,' . json_encode({ token => $token{bob} }));

is(welcome($io, '/'), 'm-ann red', 'in one post, the first');
is(welcome($io, '/a'), 'm-bob blue', 'in one post, the second');

# the request's own token, by which "set" went, and another

$set = 'm-ann';

$io = Test::RTBus::SocketIO->connect(port => port(8080),
	path => "/socket.io/?kept=k&token=$token{ann}");

is(who($io, '/'), 'm-ann red', 'the token of the request');
is(who($io, '/a', $token{bob}), 'm-bob blue', 'one of auth');

###############################################################################

# who the namespace's client is, as the server sees it, and its channels

sub who {
	my ($io, $nsp, $token) = @_;

	$io->join_nsp($nsp, $token ? { token => $token } : ());

	return welcome($io, $nsp);
}

sub welcome {
	my ($io, $nsp) = @_;

	my $packet = $io->wait_name('connected', $nsp) or return 'nothing';
	my $user = $packet->{data}[1]{userId};
	my %has = map { /^(\w+):(.*)@/ } split /,/, $packet->{data}[2];

	is($has{kept} . ' ' . ($has{user} || '') . ' ' . ($has{seen}
		|| ''), "k-$set " . ($user || '') . ' ' . ($user || ''),
		"channels of " . ($user || 'nobody'));

	return ($user || 'nobody') . ' ' . $has{tenant};
}

sub jwt {
	my ($payload) = @_;

	my $text = join '.', map { encode_base64url(json_encode($_)) }
		{ typ => 'JWT', alg => 'HS256' }, $payload;

	return "$text." . encode_base64url(hmac_sha256($text, $secret));
}

###############################################################################
