#!/usr/bin/perl

# Tests for connections that have given their request back: what the access log
# says of them at their end, and what a late CONNECT is granted, is the same as
# if it had stayed.  A request that another module has hold of stays.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Redis;
use Test::RTBus::SocketIO;
use Test::RTBus::WebSocket;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()
	->has(qw/ http auth_basic limit_conn limit_req map rewrite /)
	->has_daemon('redis-server');

plan(skip_all => 'the module is not built') unless module_file();

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();
my $d = $t->testdir();

my $stub = $t->has_module('stub_status') ? 'stub_status;' : 'return 404;';
my $realip = $t->has_module('realip')
	? 'set_real_ip_from 127.0.0.1; real_ip_header X-Forwarded-For;' : '';
my $auth = $t->has_module('auth_request') ? 'auth_request /ok;' : '';

my $mirror = $t->has_module('mirror') ? 'mirror /ok;' : '';
my $ssl = $t->has_module('http_ssl') && eval { require IO::Socket::SSL; 1 };

if (!$ssl && ($ENV{CI} || $ENV{RTBUS_REQUIRE_ALL})) {
	die "no TLS in nginx, or IO::Socket::SSL is missing\n";
}

my $listen = $ssl
	? 'listen 127.0.0.1:8443 ssl; ssl_certificate localhost.crt;'
	. ' ssl_certificate_key localhost.key;' : '';

my @vars = qw/ request request_method request_uri uri document_uri args
	query_string is_args arg_a arg_b cookie_c server_protocol scheme https
	host http_host http_user_agent http_cookie http_referer http_via
	http_x_forwarded_for http_x_twice content_length content_type
	remote_addr remote_user server_name server_port server_addr status
	bytes_sent body_bytes_sent request_length request_completion pipe
	connection_requests document_root request_filename limit_rate
	sent_http_upgrade sent_http_connection sent_http_x_added
	sent_http_content_type both mapped never rtbus_user rtbus_transport
	rtbus_channels rtbus_events rtbus_close limit_req_status
	proxy_protocol_addr proxy_protocol_port request_id id
	limit_conn_status /;

push @vars, qw/ ssl_protocol ssl_cipher ssl_session_reused / if $ssl;
push @vars, 'request_port' if $t->has_version('1.29.3');

my $format = join "'\n        '", map { "$_=\$$_|" } @vars;

$t->write_file_expand('nginx.conf', <<"CONF");

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis $url;
    rtbus_allow job:*;
    rtbus_allow user:\$rtbus_user;
    rtbus_user \$http_x_user;
    rtbus_drain 10ms;

    # its connections are counted by a cleanup of the request

    limit_conn_zone \$http_x_keep zone=keep:1m;
    limit_conn keep 100;

    limit_conn_zone \$http_x_dry zone=dry:1m;

    limit_req_zone \$remote_addr zone=often:1m rate=1000r/s;

    map \$arg_a \$mapped {
        ~^(?<part>..)  "\$part \$arg_b";
        default        none;
    }

    map \$arg_b \$never {
        default  "";
    }

    log_format all
        '$format';

    server {
        listen       127.0.0.1:8080;
        server_name  one.example.com;

        location / {
            return 404;
        }
    }

    server {
        listen       127.0.0.1:8080;
        listen       127.0.0.1:8081 proxy_protocol;
        $listen
        server_name  two.example.com;

        limit_rate   1m;
        access_log   $d/all.log all;

        set \$both "";
        set \$id \$request_id;

        location ~ ^/ws/(\\w+)/(\\w+)\$ {
            set              \$both "\$mapped \$1 and \$2";
            rtbus            websocket;
            rtbus_subscribe  job:\$1 user:\$rtbus_user;
            add_header       X-Added "yes, \$2" always;
        }

        location /inner/ {
            rewrite  ^/inner/(.*)\$ /ws/\$1?b=inner last;
        }

        location ~ ^/io/(\\w+)/\$ {
            rtbus             socketio;
            rtbus_subscribe   job:\$1 user:\$rtbus_user;
            rtbus_namespaces  / /more /last;
        }

        location /realip {
            rtbus websocket;
            $realip
        }

        location /etag {
            rtbus websocket;
            add_header ETag "a tag" always;
        }

        location /page {
            return 404;
            error_page 404 =200 /ws/one/two?a=page;
        }

        location /mirror {
            rtbus websocket;
            $mirror
        }

        location /dry {
            rtbus websocket;
            limit_conn dry 1;
            limit_conn_dry_run on;
        }

        location /auth {
            rtbus websocket;
            limit_req zone=often;
            auth_basic closed;
            auth_basic_user_file $d/users;
            $auth
        }

        location = /ok {
            return 204;
        }

        location /stub {
            access_log off;
            $stub
        }
    }
}

CONF

$t->write_file('users', "ann:{PLAIN}secret\n");

if ($ssl) {
	$t->write_file('openssl.conf', <<EOF);
[ req ]
default_bits = 2048
encrypt_key = no
distinguished_name = req_distinguished_name
[ req_distinguished_name ]
EOF

	system('openssl req -x509 -new '
		. "-config $d/openssl.conf -subj /CN=localhost/ "
		. "-out $d/localhost.crt -keyout $d/localhost.key "
		. ">>$d/openssl.out 2>&1") == 0
		or die "Can't create a certificate: $!\n";
}

$t->plan(79);
$t->run();
wait_redis($t);

###############################################################################

my %headers = (
	'Host' => 'two.example.com:8080',
	'User-Agent' => 'a client (of some kind)',
	'Referer' => 'http://two.example.com/page?x=1',
	'Cookie' => 'a=1; c=some%20thing; d=',
	'Via' => '1.1 somewhere',
	'X-Forwarded-For' => '192.0.2.1, 192.0.2.2',
	'X-Twice' => 'once',
	'X-User' => 'ann',
);

my $asked = 0;
my ($parked, $kept);

# each path as it is, and with a request that has to stay

for my $path ('/ws/one/two', '/ws/one/two?a=some&b=thing%20else',
	'/inner/x1/y2?a=lost', '/ws//one/../one/%74wo?a=&b=1?2',
	'http://two.example.com/ws/one/two?a=full')
{
	($parked, $kept) = map { plain($path, $_) } 'X-Drop', 'X-Keep';

	is($parked->{lines}, 0, "$path: given back");
	is($kept->{lines}, 1, "$path: kept");
	is($parked->{log}, $kept->{log}, "$path: the same in the log");
}

# what the connection knows

SKIP: {
	skip 'no TLS', 5 unless $ssl;

	($parked, $kept) = map { plain('/ws/one/two', $_, ssl => 1) }
		'X-Drop', 'X-Keep';

	is($parked->{lines}, 0, 'TLS: given back');
	like($parked->{log}, qr/\|ssl_protocol=TLSv1/, 'TLS: the protocol');
	is($parked->{log}, $kept->{log}, 'TLS: the same in the log');
}

($parked, $kept) = map { plain('/ws/one/two', $_, port => port(8081),
	method => "PROXY TCP4 192.0.2.7 192.0.2.8 1234 80\r\nGET") }
	'X-Drop', 'X-Keep';

is($parked->{lines}, 0, 'PROXY: given back');
like($parked->{log}, qr/\|proxy_protocol_addr=192\.0\.2\.7\|/,
	'PROXY: the address');
is($parked->{log}, $kept->{log}, 'PROXY: the same in the log');

# an error that becomes a connection

($parked, $kept) = map { plain('/page', $_) } 'X-Drop', 'X-Keep';

like($parked->{log}, qr/\|status=101\|/, 'error_page: 101');
is($parked->{lines}, 0, 'error_page: given back');
is($parked->{log}, $kept->{log}, 'error_page: the same in the log');

# one too many that is let in

my $before = error_log_count($t, qr/rtbus: keeps the request/);
my $first = Test::RTBus::WebSocket->connect(path => '/dry',
	headers => { %headers, 'X-Dry' => 1 });

$first->wait_event('connected');
wait_for { error_log_count($t, qr/rtbus: keeps the request/) > $before }
	'the first to be kept';

$parked = plain('/dry', 'X-Dry');

is($parked->{lines}, 0, 'limit_conn_dry_run: given back');
is($parked->{limit}, 'REJECTED_DRY_RUN', 'limit_conn_dry_run: the status');
is(ended(sub { $first->close(1000) })->{limit}, 'PASSED',
	'limit_conn: the status');

# what other modules keep

SKIP: {
	skip 'no mirror', 3 unless $mirror;

	my $kept = plain('/mirror', 'X-Drop');

	is($kept->{lines}, 1, 'mirror: kept');
	like($kept->{log}, qr/\|status=101\|/, 'mirror: in the log');
}

SKIP: {
	skip 'no realip', 3 unless $realip;

	my $kept = plain('/realip', 'X-Drop');

	is($kept->{lines}, 1, 'realip: kept');
	like($kept->{log}, qr/\|remote_addr=192\.0\.2\.2\|/, 'realip: the address');
}

$kept = plain('/etag', 'X-Drop');

is($kept->{lines}, 1, 'etag: kept');
like($kept->{log}, qr/\|status=101\|/, 'etag: in the log');

$headers{Authorization} = 'Basic YW5uOnNlY3JldA==';

($parked, $kept) = map { plain('/auth', $_) } 'X-Drop', 'X-Keep';

is($parked->{lines}, 0, 'auth_request, auth_basic, limit_req: given back');
like($parked->{log}, qr/\|remote_user=ann\|/, 'auth_basic: the user');
like($parked->{log}, qr/\|limit_req_status=PASSED\|/,
	'limit_req: the status');
is($parked->{log}, $kept->{log}, 'auth_request: the same in the log');

delete $headers{Authorization};

# headers that need more than one of nginx's buffers

$headers{"X-Long-$_"} = $_ x 1500 for 'a', 'b';

($parked, $kept) = map { plain('/ws/one/two?a=long', $_) }
	'X-Drop', 'X-Keep';

is($parked->{lines}, 0, 'large: given back');
is($parked->{log}, $kept->{log}, 'large: the same in the log');

delete $headers{"X-Long-$_"} for 'a', 'b';

# the next namespace is granted what the request says

($parked, $kept) = map { socketio('/io/one/', $_) } 'X-Drop', 'X-Keep';

is($parked->{lines}, 0, 'socketio: given back');
is($kept->{lines}, 1, 'socketio: kept');
is($parked->{log}, $kept->{log}, 'socketio: the same in the log');

# what is complained of is known by its request

my $ws = Test::RTBus::WebSocket->connect(path => '/ws/log/me?a=1',
	headers => \%headers);

$ws->wait_event('connected');
$ws->send_text('nonsense');
is($ws->read_close(), 1007, 'nonsense');
$ws->drop();

like(error_log($t),
	qr!code:1007.*\bclient:\ 127\.0\.0\.1,\ server:\ two\.example\.com,
	\ request:\ "GET\ /ws/log/me\?a=1\ HTTP/1\.1",
	\ host:\ "two\.example\.com:8080",
	\ referrer:\ "http://two\.example\.com/page\?x=1"!x, 'the error log');

SKIP: {
	skip 'no stub_status', 4 unless $stub =~ /stub_status/;

	my $before = wait_for { my $s = stub(); $s->{active} == 1 && $s };

	my @ws = map { Test::RTBus::WebSocket->connect(path => "/ws/s/$_",
		headers => \%headers) } 1 .. 3;
	$_->wait_event('connected') for @ws;

	my $s = stub();

	is($s->{active}, 4, 'stub_status: active');
	is($s->{reading} . $s->{waiting}, '00', 'stub_status: nothing is read');
	is($s->{writing}, 4, 'stub_status: writing');

	$_->close(1000) for @ws;

	$s = wait_for { my $s = stub(); $s->{active} == 1 && $s };

	is($s->{requests} - $before->{requests} - $s->{asked} + $before->{asked},
		3, 'stub_status: no request is counted twice');
}

is(error_log_count($t, qr/\[(?:crit|alert|emerg)\]/), 0, 'no complaints');

###############################################################################

# the line of the access log, and how many requests were kept

sub ended {
	my ($code) = @_;

	my $n = () = Test::RTBus::_slurp("$d/all.log") =~ /\n/g;
	my $lines = error_log_count($t, qr/rtbus: keeps the request/);

	$code->();

	my $log = wait_for {
		my @log = split /\n/, Test::RTBus::_slurp("$d/all.log");
		@log > $n && $log[-1];
	} 'the line';

	# each has an id of its own, the same at both ends, and only those that
	# are kept have been counted

	$log =~ s/\|request_id=(\w{32})\|id=\1\|/|/;
	$log =~ s/\|limit_conn_status=([\w-]*)\|/|/;

	return {
		log => $log,
		limit => $1,
		lines => error_log_count($t, qr/rtbus: keeps the request/) - $lines
	};
}

sub plain {
	my ($path, $header, %o) = @_;

	return ended(sub {
		my $ws = Test::RTBus::WebSocket->connect(path => $path,
			headers => { %headers, $header => '1' }, %o);

		my $data = $ws->wait_event('connected')->{data};

		is($data->{userId}, 'ann', "$path: the user");

		$ws->send_json({ event => 'subscribe',
			data => { channel => 'user:ann' }, ack => 1 });
		$ws->wait_ack(1);

		$redis->event('user:ann', 'e', 1);
		$ws->wait_event('e');
		$ws->close(1000);
	});
}

sub socketio {
	my ($path, $header) = @_;

	return ended(sub {
		my $io = Test::RTBus::SocketIO->connect(path => $path,
			headers => { %headers, $header => '1' });

		for my $nsp (qw! / /more /last !) {
			$io->join_nsp($nsp);

			my $data = $io->wait_name('connected', $nsp)->{data}[1];

			is($data->{userId}, 'ann', "$path, $nsp: the user");

			$redis->event($_, 'e', 1) for 'user:ann', 'job:one';
			$io->wait_name('e', $nsp) for 1, 2;
		}

		$io->close(1000);
	});
}

sub stub {
	my %s;

	my $body = http(<<EOR);
GET /stub HTTP/1.0
Host: two.example.com

EOR

	$asked++;

	@s{qw/ active requests reading writing waiting /} = $body
		=~ /connections: (\d+).*?\d+ \d+ (\d+) .*?(\d+) \D+(\d+) \D+(\d+)/s;
	$s{asked} = $asked;

	return \%s;
}

###############################################################################
