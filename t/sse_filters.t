#!/usr/bin/perl

# Tests for filters of other modules, nginx's and those that distributions have
# packages of.  They may change what goes through, add to it, or keep some of
# it; an event has to come out at once all the same, and the worker to live.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Redis;
use Test::RTBus::SSE;
use Test::RTBus::WebSocket;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http rewrite ssi gzip charset /)
	->has_daemon('redis-server');

plan(skip_all => 'the module is not built') unless module_file();

my ($dir) = `$ENV{TEST_NGINX_BINARY} -V 2>&1` =~ /--modules-path=(\S+)/;
$dir ||= '/usr/lib/nginx/modules';

# a filter, the modules that it needs, what stands in the location

my @filters = (
	[ 'none', '', '' ],
	[ 'gzip', '', 'gzip on; gzip_types *; gzip_min_length 1;' ],
	[ 'ssi', '', 'ssi on; ssi_types *;' ],
	[ 'charset', '', 'charset b; source_charset a; charset_types *;' ],
	[ 'headers', '', 'add_header X-Y $upstream_status always; expires 1h;' ],
	[ 'rate', '', 'limit_rate 200k;' ],
	[ 'postpone', '', 'postpone_output 100k;' ],
	[ 'chunked', '', 'chunked_transfer_encoding off;' ],
	[ 'sub', '(sub)', 'sub_filter cat dog; sub_filter_types *; '
		. 'sub_filter_once off;' ],
	[ 'before', '(addition)', 'addition_types *; '
		. 'add_before_body /text;' ],
	[ 'after', '(addition)', 'addition_types *; add_after_body /text;' ],
	[ 'proxied', '(addition)', 'addition_types *; '
		. 'add_before_body /slow; add_after_body /slow;' ],
	[ 'subs', 'ngx_http_subs_filter_module', 'subs_filter cat dog; '
		. 'subs_filter_types *;' ],
	[ 'regex', 'ngx_http_subs_filter_module', 'subs_filter c(a)t d$1g r; '
		. 'subs_filter bird fish; subs_filter_types *;' ],
	[ 'echo', 'ngx_http_echo_module', 'echo_before_body "a: b"; '
		. 'echo_after_body "c: d";' ],
	[ 'lua', 'ndk_http_module ngx_http_lua_module',
		'header_filter_by_lua_block { ngx.header["X-Lua"] = 1 } '
		. 'body_filter_by_lua_block { if ngx.arg[1] then ngx.arg[1] = '
		. 'ngx.arg[1]:gsub("cat", "dog") end }' ],
	[ 'more', 'ngx_http_headers_more_filter_module',
		'more_clear_headers Cache-Control; more_set_headers "X: y";' ],
	[ 'brotli', 'ngx_http_brotli_filter_module', 'brotli on; '
		. 'brotli_types *; brotli_min_length 1;' ],
	[ 'js', 'ngx_http_js_module', 'js_body_filter filters.pass; '
		. 'js_header_filter filters.head;' ],
	[ 'srcache', 'ngx_http_srcache_filter_module', 'srcache_store PUT '
		. '/text; srcache_store_statuses 200;' ],
	[ 'xslt', 'ngx_http_xslt_filter_module', 'xslt_types text/plain;' ],
);

# some do not get on with addition, whatever the content

push @filters, [ 'all', join(' ', map { $_->[1] }
	grep { $_->[0] =~ /^(?:sub|subs|echo|lua|more)$/ } @filters),
	join ' ', map { $_->[2] }
	grep { $_->[0] =~ /^(?:ssi|sub|subs|echo|lua|more|rate)$/ }
	@filters ];

my (%loads, @missing);

for my $name (map { split / /, $_->[1] } @filters) {
	next if exists $loads{$name};

	if ($name =~ /^\((.*)\)$/) {
		$loads{$name} = $t->has_module($1) ? '' : undef;

	} elsif (-e "$dir/$name.so") {
		my $load = join '', map { "load_module $dir/$_.so;\n" }
			grep { -e "$dir/$_.so" }
			$name =~ /lua/ ? 'ndk_http_module' : (), $name;

		$loads{$name} = (nginx_check($t, $load
			. "%%TEST_GLOBALS%%\nevents {}\n"))[0]
			? "load_module $dir/$name.so;\n" : undef;
	}

	push @missing, $name unless defined $loads{$name};
}

die "not installed: @missing\n" if @missing && $ENV{CI}
	&& $ENV{TEST_NGINX_BINARY} eq "/usr/sbin/nginx";


my @there = grep {
	!grep { !defined $loads{$_} } split / /, $_->[1]
} @filters;

diag('without ' . join ', ', @missing) if @missing;

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

my $modules = join '', map { $loads{$_} // '' }
	sort { ($a =~ /^ndk/ ? 0 : 1) <=> ($b =~ /^ndk/ ? 0 : 1) || $a cmp $b }
	keys %loads;

my $js = defined $loads{ngx_http_js_module}
	? 'js_import filters from filters.js;' : '';

$t->write_file('filters.js', <<'EOJ');
function pass(r, data, flags) {
    r.sendBuffer(data.toLowerCase ? data : data, flags);
}
function head(r) { r.headersOut['X-JS'] = '1'; }
export default { pass, head };
EOJ

my $locations = join "\n", map { my ($name, undef, $conf) = @$_; <<"EOL" }

        location /$name/stream {
            rtbus            websocket sse;
            rtbus_subscribe  job:$name;
            rtbus_ping       100ms 3s;
            $conf
        }

        location /$name/state {
            rtbus_state  job:$name;
            $conf
        }

        location /$name/io {
            rtbus  socketio;
            $conf
        }
EOL
	@there;

my $image = defined $loads{ngx_http_xslt_filter_module}
	&& -e "$dir/ngx_http_image_filter_module.so"
	&& (nginx_check($t, "load_module $dir/ngx_http_image_filter_module.so;"
		. "\n%%TEST_GLOBALS%%\nevents {}\n"))[0];

$modules .= "load_module $dir/ngx_http_image_filter_module.so;\n" if $image;

my $http2 = $t->has_module('http_v2')
	&& `curl -V 2>&1` =~ /^Features:.*\bHTTP2\b/m;
my $listen2 = $http2 ? 'listen 127.0.0.1:8082 http2;' : '';

my $image_conf = $image ? 'image_filter test;' : '';

$t->write_file_expand('nginx.conf', <<"EOT");

$modules
%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis  $url;
    rtbus_allow  job:*;

    charset_map  a b { 80 81; }
    $js

    server {
        listen       127.0.0.1:8080;
        $listen2
        server_name  localhost;

        $locations

        location /image {
            rtbus            sse;
            rtbus_subscribe  job:image;
            $image_conf
        }

        location /text {
            return  200 ": TEXT\\n";
        }

        location /slow {
            proxy_pass  http://127.0.0.1:8081/text;
        }
    }

    server {
        listen       127.0.0.1:8081;
        server_name  localhost;

        location /text {
            limit_rate  100;
            return      200 ": TEXT ${\ ('x' x 150)}\\n";
        }
    }
}

EOT

$t->run()->plan(16 * @there + 7);
wait_redis($t);

my @workers = workers($t);

###############################################################################

filter($_->[0]) for @there;

# what is included by an event is the operator's affair, and is no crash

my $sse = client('/ssi/stream');
$sse->wait_event('connected');
$redis->event('job:ssi', 'e', '<!--#include virtual=\'/slow\' -->');
like($sse->wait_event('e')->{data}, qr/^": TEXT x+$/, 'an included text');
$redis->event('job:ssi', 'f', 1);
is($sse->wait_event('f')->{data}, 1, 'and on');
$sse->drop();

# what is compressed is flushed

SKIP: {
	skip 'no brotli', 2 unless defined $loads{ngx_http_brotli_filter_module}
		&& `curl -V 2>&1` =~ /\bbrotli\b/;

	my $out = $t->testdir() . '/brotli';
	my $pid = open my $curl, '-|', 'curl', '-sN', '--compressed', '-o', $out,
		'http://127.0.0.1:' . port(8080) . '/brotli/stream' or die $!;

	ok((wait_for { seen($out, 'event: connected') } 'connected'),
		'compressed: connected');
	$redis->event('job:brotli', 'compressed', 1);
	ok((wait_for { seen($out, 'event: compressed') } 'an event'),
		'compressed: event');

	kill 'TERM', $pid;
}

# the same over HTTP/2, where a stream is flushed another way

SKIP: {
	skip 'no HTTP/2', 3 * @there unless $http2;

	for my $name (map { $_->[0] } @there) {
		my $out = $t->testdir() . "/http2-$name";
		my $pid = open my $curl, '-|', 'curl', '-sN', '-o', $out,
			'--http2-prior-knowledge', 'http://127.0.0.1:'
			. port(8082) . "/$name/stream" or die $!;

		ok((wait_for { seen($out, 'event: connected') } 'connected'),
			"HTTP/2, $name: connected");

		for my $event (qw/ one two /) {
			$redis->event("job:$name", $event, 1);
			ok((wait_for { seen($out, "event: $event") } $event),
				"HTTP/2, $name: event $event");
		}

		kill 'TERM', $pid;
	}
}

# goes away in the middle of what is put in front

$sse = client('/proxied/stream');
$redis->event('job:proxied', 'e', 'x' x 1000);
$sse->reset();

SKIP: {
	skip 'no image filter', 1 unless $image;

	is(client('/image')->status(), 415, 'an image is wanted');
}

ok(reload_wait($t, gone => 1, timeout => 60), 'nothing stays of them');

error_log_unlike($t, qr/exited on signal/, 'no worker has died');

###############################################################################

sub client {
	my ($uri) = @_;

	return Test::RTBus::SSE->connect(path => $uri,
		headers => { 'Accept-Encoding' => 'gzip' });
}

sub filter {
	my ($name) = @_;

	my $sse = client("/$name/stream");
	is($sse->status(), 200, "$name: stream");
	is($sse->header('Content-Encoding'), undef, "$name: not compressed");
	is(event($sse, 'connected')->{event}, 'connected', "$name: connected");

	# each comes at once, not with the next one

	$redis->event("job:$name", 'e', $_), is(event($sse, 'e')->{data}, $_,
		"$name: event $_") for 1 .. 3;

	my $large = join '-', 1 .. 20000;
	$redis->event("job:$name", 'e', $large);
	ok(event($sse, 'e')->{data} eq "\"$large\"", "$name: large event");

	my $n = () = $sse->comments();
	ok($sse->wait_comments($n + 2), "$name: heartbeats");

	$redis->event("job:$name", 'e', 'a cat');
	like(event($sse, 'e')->{data}, qr/^"a \w+"$/, "$name: changed");

	$sse->drop();

	my $ws = Test::RTBus::WebSocket->connect(path => "/$name/stream");
	is($ws->status(), 101, "$name: websocket");
	ok($ws->wait_event('connected'), "$name: websocket, connected");
	$ws->drop();

	$redis->cmd('HSET', "{job:$name}:state", 'status', 'x');
	my $r = Test::RTBus::SSE->connect(path => "/$name/state");
	like($r->body(), qr/\{"status":"x","position":"0-0"\}/, "$name: state");

	$r = Test::RTBus::SSE->connect(path =>
		"/$name/io?EIO=4&transport=polling");
	like($r->body(), qr/"sid"/, "$name: polling");
}

sub seen {
	my ($file, $text) = @_;

	open my $f, '<', $file or return 0;
	local $/;

	return index(<$f> // '', $text) >= 0;
}

sub event { return shift->wait_event(@_) || {} }

###############################################################################
