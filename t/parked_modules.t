#!/usr/bin/perl

# Tests for other modules that look at the request of a WebSocket once it was
# given back: its line, headers and variables are there, the buffer that it was
# read into is not, and nobody dies of that.

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

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server');

plan(skip_all => 'the module is not built') unless module_file();

my ($dir) = `$ENV{TEST_NGINX_BINARY} -V 2>&1` =~ /--modules-path=(\S+)/;
$dir ||= '/usr/lib/nginx/modules';

my ($loads, @there) = ('');

for my $set ([ 'ngx_http_echo_module' ],
	[ 'ndk_http_module', 'ngx_http_lua_module' ])
{
	my @files = map { "$dir/$_.so" } @$set;
	my $load = join '', map { "load_module $_;\n" } @files;

	next if grep { !-e } @files;
	next unless (nginx_check($t, "$load%%TEST_GLOBALS%%\nevents {}\n"))[0];

	$loads .= $load;
	push @there, $set->[-1] =~ /(echo|lua)/;
}

if (@there < 2) {
	die "missing: modules echo and lua\n" if $ENV{CI}
		&& $ENV{TEST_NGINX_BINARY} eq '/usr/sbin/nginx';
	plan(skip_all => 'no modules echo and lua');
}

$t->plan(7);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

$t->write_file_expand('nginx.conf', <<"EOT");

$loads
%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis  $url;
    rtbus_allow  job:*;

    log_format  seen  'header=\$http_x_seen line=\$request raw=['
                      '\$echo_client_request_headers] lua=[\$lua]';

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        set  \$lua  '';

        location /ws {
            rtbus  websocket;

            access_log  %%TESTDIR%%/seen.log  seen;

            log_by_lua_block {
                ngx.var.lua = #ngx.req.raw_header() .. " "
                              .. (ngx.req.get_headers()["x-seen"] or "")
            }
        }
    }
}

EOT

$t->run();
wait_redis($t);

###############################################################################

my $ws = Test::RTBus::WebSocket->connect(path => '/ws?a=b',
	headers => { 'X-Seen' => 'yes' });

ok($ws->wait_event('connected'), 'connected');
$ws->send_json({ event => 'nothing', ack => 1 });
ok($ws->wait_ack(1), 'an answer');
error_log_unlike($t, qr/rtbus: keeps the request/, 'given back');

$ws->close();

my $line = wait_for { read_log() } 'the log';

like($line || '', qr!^header=yes line=GET /ws\?a=b HTTP/1\.1 raw=!,
	'header and line');
unlike($line || '', qr!raw=\[[^]]*X-Seen!, 'no buffer, as the manual says');
error_log_unlike($t, qr/exited on signal/, 'no worker has died');
is(Test::RTBus::WebSocket->connect(path => '/ws')->status(), 101, 'and on');

###############################################################################

sub read_log {
	open my $f, '<', $t->testdir() . '/seen.log' or return;

	return <$f>;
}

###############################################################################
