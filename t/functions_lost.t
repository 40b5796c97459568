#!/usr/bin/perl

# Tests for a function library that is lost while nginx runs: a worker finds out
# without needing it, and loads it again; health is red as long as it may not.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Redis;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server');

plan(skip_all => 'the module is not built') unless module_file();

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

# who changes its rights is another one than nginx

$redis->cmd(qw/ ACL SETUSER edge on >secret ~* &* +@all /);
$url =~ s!//!//edge:secret@!;

$t->write_file_expand('nginx.conf', <<"CONF")->plan(6);

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis $url;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location / {
            rtbus sse;
        }

        location /health {
            rtbus_health;
        }
    }
}

CONF

$t->run();

###############################################################################

ok((wait_for { health() =~ / 200 / } 'health', 20), 'well');
ok(there(), 'the library');

$redis->cmd(qw/ FUNCTION FLUSH /);
ok((wait_for { there() } 'the library', 15), 'it is back, though not needed');

$redis->cmd(qw/ ACL SETUSER edge -function|load /);
$redis->cmd(qw/ FUNCTION FLUSH /);

ok((wait_for { health() =~ / 503 .*"reason":"Redis has lost the function/s }
	'red', 20), 'it may not be loaded: red');

$redis->cmd(qw/ ACL SETUSER edge +function|load /);

ok((wait_for { there() } 'the library', 15), 'it may: back');
ok((wait_for { health() =~ / 200 / } 'green', 20), 'well again');

###############################################################################

sub there {
	return !ref $redis->try_cmd('FCALL_RO', 'rtbus_version', 0);
}

sub health {
	return http_get('/health') || '';
}

###############################################################################
