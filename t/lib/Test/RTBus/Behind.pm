package Test::RTBus::Behind;

# Another server in front of nginx, with the settings that the manual has for it
# in its chapter "Behind a proxy".
#
#	my $proxy = Test::RTBus::Behind->new('haproxy', $t);
#		skips the suite if it is not installed
#	$proxy->start(without => qr/regular expression/)
#		in front of port 8080; lines that match are left out.  Dies if
#		none does, or if the server does not start
#	$proxy->port
#	$proxy->stop		at the latest at the end
#	$proxy->tried($redis [, @kinds])
#			-> what works through it now: a hash of
#		websocket	a client joins, gets an event, closes; nginx is
#				told at once when the client is gone
#		sse		an event comes while the stream is open
#		prompt		and so, without a delay of the proxy's own
#		polling		a session over polls
#		upgrade		and its upgrade to WebSocket
#		post		an event by POST
#		origin		what a browser sends of a page of this server
#		address		nginx knows the client's, by X-Forwarded-For
#
#	Test::RTBus::Behind->suite('haproxy', 'http-no-delay' => 'prompt', ...)
#		a whole suite: with all settings all of this works; for each
#		pair, without the lines that match, what is named does not

###############################################################################

use warnings;
use strict;

use POSIX qw/ WNOHANG /;
use Time::HiRes qw/ time /;

use Test::RTBus ();
use Test::RTBus::Manual qw/ blocks chapter /;
use Test::RTBus::Polling ();
use Test::RTBus::SSE ();
use Test::RTBus::SocketIO ();
use Test::RTBus::WebSocket ();

# program, its language in the manual, what the settings are put into, how it is
# run in the foreground

my %servers = (
	nginx => {
		language => 'nginx',
		program => sub { $ENV{TEST_NGINX_BINARY} },
		conf => <<'EOF',
daemon off;
pid %DIR%/pid;
error_log %DIR%/log;
%USER%
events {
}
http {
access_log off;
client_body_temp_path %DIR%/body;
proxy_temp_path %DIR%/proxy;
fastcgi_temp_path %DIR%/fastcgi;
uwsgi_temp_path %DIR%/uwsgi;
scgi_temp_path %DIR%/scgi;
%SETTINGS%
}
EOF
		user => 'user root;',
		run => [ qw! -p %DIR% -e %DIR%/log -c %CONF% ! ],
	},

	haproxy => {
		conf => "global\n    maxconn 100\n\n%SETTINGS%",
		run => [ qw/ -db -f %CONF% / ],
	},

	apache => {
		program => sub { 'apache2' },
		conf => <<'EOF',
ServerRoot %DIR%
ServerName localhost
PidFile %DIR%/pid
ErrorLog %DIR%/log
Mutex file:%DIR%
%USER%
LoadModule mpm_event_module %MODULES%/mod_mpm_event.so
LoadModule authz_core_module %MODULES%/mod_authz_core.so
LoadModule proxy_module %MODULES%/mod_proxy.so
LoadModule proxy_http_module %MODULES%/mod_proxy_http.so
Listen 127.0.0.1:80
%SETTINGS%
EOF
		user => "User www-data\nGroup www-data",
		run => [ qw/ -DFOREGROUND -f %CONF% / ],
	},

	varnish => {
		program => sub { 'varnishd' },
		language => 'vcl',
		conf => '%SETTINGS%',
		run => [ (split / /, '-F -f %CONF% -n %DIR%/work -j none'
			. ' -a 127.0.0.1:%PORT% -p thread_pools=1'),
			'-s', 'default,32m' ],
	},

	lighttpd => {
		conf => <<'EOF',
server.document-root = "%DIR%"
server.errorlog = "%DIR%/log"
server.bind = "127.0.0.1"
server.port = %PORT%
%SETTINGS%
EOF
		run => [ qw/ -D -f %CONF% / ],
	},

	caddy => {
		conf => "{\n\tadmin off\n\tauto_https off\n}\n\n%SETTINGS%",
		run => [ qw/ run --adapter caddyfile --config %CONF% / ],
	},
);

my @KINDS = qw/ websocket sse prompt polling upgrade post origin
	address /;

my @running;

Test::RTBus::at_end(sub { $_->stop() for @running });

sub suite {
	my ($class, $name, @without) = @_;

	my $t = Test::Nginx->new()->has(qw/ http proxy realip /)
		->has_daemon('redis-server');

	Test::More::plan(skip_all => 'the module is not built')
		unless Test::RTBus::module_file();

	my $proxy = $class->new($name, $t);

	$t->plan(@KINDS + @without / 2);

	my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
	my $url = $redis->url();

	$t->write_file_expand('nginx.conf', <<"EOF");

%%TEST_GLOBALS%%

daemon off;
worker_processes 2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis $url;
    rtbus_allow *;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location = /ws {
            rtbus websocket sse;
            rtbus_subscribe job:\$arg_job;
        }

        location /socket.io/ {
            rtbus socketio;
            rtbus_subscribe job:\$arg_job;
        }

        location ~ ^/publish/(.+)\$ {
            rtbus_publish \$1;
        }

        location = /address {
            set_real_ip_from 127.0.0.1;
            real_ip_header X-Forwarded-For;

            rtbus sse;
            rtbus_subscribe job:\$arg_job-\$remote_addr;
        }
    }
}

EOF

	$t->run();
	Test::RTBus::wait_redis($t, 2);

	my $works = $proxy->start()->tried($redis);

	for my $kind (@KINDS) {
		Test::More::ok($works->{$kind}, "$name: $kind")
			or Test::More::diag($works->{"$kind why"}
				|| $proxy->output());
	}

	while (my ($line, $fails) = splice @without, 0, 2) {
		$works = $proxy->start(without => qr/$line/)
			->tried($redis, split / /, $fails);

		Test::More::is(join(' ', grep { !$works->{$_} }
			split / /, $fails), $fails, "without $line: no $fails");
	}

	$proxy->stop();
}

sub new {
	my ($class, $name, $t) = @_;

	my $server = $servers{$name} or die "Nothing is known of $name\n";

	my $program = $server->{program} ? $server->{program}->() : $name;
	my ($path) = grep { -x && !-d _ } $program =~ m!/! ? $program
		: map { "$_/$program" } split(/:/, $ENV{PATH}),
			qw! /usr/sbin /usr/local/sbin !;

	if (!defined $path) {
		my $why = "missing: $program";

		die "$why\n" if $ENV{CI} || $ENV{RTBUS_REQUIRE_ALL};
		Test::More::plan(skip_all => $why);
	}

	my $self = bless {
		%$server,
		name => $name,
		path => $path,
		dir => $t->testdir() . '/front',
		to => Test::Nginx::port(8080),
		t => $t,
		n => 0,
	}, $class;

	$self->{settings} = _settings($server->{language} || $name,
		$name eq 'nginx' ? 'proxy_pass' : '');

	push @running, $self;

	return $self;
}

# of the chapter, the first block in this language that has this text

sub _settings {
	my ($language, $part) = @_;

	my ($text) = grep { /\Q$part/ }
		blocks(chapter('docs/operations.md', 'Behind a proxy'),
			$language) or die "The manual has no settings in $language\n";

	return $text;
}

sub start {
	my ($self, %o) = @_;

	$self->stop();

	my $dir = "$self->{dir}-" . ++$self->{n};
	mkdir $dir or die "Can't make $dir: $!\n";

	my $settings = $self->{settings};

	if (defined $o{without}) {
		$settings =~ s/^.*$o{without}.*\n//mg
			or die "The manual has no line $o{without}\n";
	}

	$self->{port} = Test::RTBus::free_port();

	my %value = (
		DIR => $dir,
		CONF => "$dir/conf",
		PORT => $self->{port},
		USER => $> == 0 ? $self->{user} : '',
		MODULES => '/usr/lib/apache2/modules',
	);

	my $conf = $self->{conf} =~ s/%SETTINGS%/$settings/r;

	$conf =~ s/127\.0\.0\.1:80\b/127.0.0.1:$self->{port}/g;
	$conf =~ s/127\.0\.0\.1:8080\b/127.0.0.1:$self->{to}/g;
	$conf =~ s/\b8080\b/$self->{to}/g;

	my ($command, @args) = map { s/%([A-Z]+)%/$value{$1}/gr } $conf,
		@{$self->{run}};

	open my $fh, '>', $value{CONF} or die "Can't write $value{CONF}: $!\n";
	print $fh $command;
	close $fh;

	my $pid = fork();
	die "Can't fork: $!\n" unless defined $pid;

	if ($pid == 0) {
		setpgrp(0, 0);
		open STDIN, '<', '/dev/null';
		open STDOUT, '>>', "$dir/output";
		open STDERR, '>&', \*STDOUT;
		$ENV{HOME} = $ENV{XDG_DATA_HOME} = $ENV{XDG_CONFIG_HOME} = $dir;

		{ exec $self->{path}, @args }
		POSIX::_exit(127);
	}

	$self->{pid} = $pid;

	Test::RTBus::wait_for {
		die "$self->{name} has ended:\n" . $self->output()
			if waitpid($pid, WNOHANG) == $pid;

		IO::Socket::INET->new(PeerAddr => "127.0.0.1:$self->{port}")
	} "$self->{name} in front", 30
		or die "$self->{name} does not listen:\n" . $self->output();

	return $self;
}

sub port {
	my ($self) = @_;

	return $self->{port};
}

sub output {
	my ($self) = @_;

	return join '', map { Test::RTBus::_slurp("$self->{dir}-$self->{n}/$_") }
		qw/ output log /;
}

sub stop {
	my ($self) = @_;

	my $pid = delete $self->{pid} or return;

	for my $signal (qw/ TERM KILL /) {
		kill $signal, $signal eq 'KILL' ? -$pid : $pid;

		Test::RTBus::wait_for {
			waitpid($pid, WNOHANG)
		} undef, 5 and last;
	}

	kill 'KILL', -$pid;
}

###############################################################################

my $jobs = 0;

sub tried {
	my ($self, $redis, @kinds) = @_;

	my %works;

	for my $kind (@kinds ? @kinds : @KINDS) {
		my $try = $self->can("_$kind");

		# with all settings there is time; without one of them none of
		# this is expected

		$self->{timeout} = @kinds ? 2 : 20;
		$works{$kind} = eval { $try->($self, $redis) } ? 1 : 0;
		$works{"$kind why"} = $@;
	}

	return \%works;
}

# What a client of this proxy gives to connect().

sub _to {
	my ($self, $path, %more) = @_;

	my $job = 'behind-' . $$ . '-' . ++$jobs;

	$path .= ($path =~ /\?/ ? '&' : '?') . "job=$job";

	return ("job:$job", port => $self->{port}, path => $path, timeout => $self->{timeout},
		headers => { Host => "127.0.0.1:$self->{port}" }, %more);
}

sub _websocket {
	my ($self, $redis) = @_;

	my ($channel, %to) = $self->_to('/ws');
	my $ws = Test::RTBus::WebSocket->connect(%to);

	return 0 unless $ws->is_open() && $ws->wait_event('connected');

	$ws->send_json({ event => 'subscribe', data => { channel => 'job:b' },
		ack => 1 });

	my $ack = $ws->wait_ack(1);
	return 0 unless $ack && $ack->{data}{ok};

	$redis->event($channel, 'hello', { text => "\x{fc}" x 70000 });

	my $m = $ws->wait_event('hello');
	return 0 unless $m && length $m->{data}{text} == 70000;

	# the code goes there and back

	my ($code) = $ws->close(4000, 'enough');
	return 0 unless $code == 4000;

	# one that vanishes

	$ws = Test::RTBus::WebSocket->connect(%to);
	return 0 unless $ws->is_open() && $redis->wait_subscribers($channel, 1);

	$ws->drop();

	return $redis->wait_subscribers($channel, 0, 20);
}

sub _sse {
	my ($self, $redis) = @_;

	my ($channel, %to) = $self->_to('/ws');
	my $sse = Test::RTBus::SSE->connect(%to);

	return 0 unless $sse->is_stream() && $sse->wait_event('connected');

	$redis->event($channel, 'hello', 1);
	return 0 unless $sse->wait_event('hello');

	# some notice it only when they write, which they do with each ping

	$sse->drop();

	return Test::RTBus::wait_for {
		$redis->event($channel, 'hello', 2);
		$redis->subscribers($channel) == 0
	} undef, 20;
}

# The shortest of some times: a machine that is busy is late now and then, a
# proxy that waits for more always.

sub _prompt {
	my ($self, $redis) = @_;

	my ($channel, %to) = $self->_to('/ws');
	my $sse = Test::RTBus::SSE->connect(%to);

	return 0 unless $sse->is_stream() && $sse->wait_event('connected');

	my $least = 9;

	for my $n (1 .. 15) {
		my $from = time();

		$redis->event($channel, 'hello', $n);
		return 0 unless $sse->wait_event('hello');

		my $took = time() - $from;
		$least = $took if $took < $least;
	}

	$self->{least} = $least;
	return $least < 0.1;
}

sub _polling {
	my ($self, $redis) = @_;

	my ($channel, %to) = $self->_to('/socket.io/');
	my $io = Test::RTBus::Polling->connect(%to);

	return 0 unless $io->open_packet();
	return 0 unless $io->join_nsp() && $io->wait_name('connected');

	# one that waits

	my $poll = $io->get_start();
	$redis->event($channel, 'hello', 1);

	my $answer = $poll->wait();

	return $answer && $answer->body() =~ /hello/;
}

sub _upgrade {
	my ($self, $redis) = @_;

	my ($channel, %to) = $self->_to('/socket.io/');
	my $io = Test::RTBus::Polling->connect(%to);

	return 0 unless $io->open_packet();
	return 0 unless $io->join_nsp() && $io->wait_name('connected');

	my $ws = Test::RTBus::WebSocket->connect(%to, path =>
		"/socket.io/?EIO=4&transport=websocket&sid=$io->{sid}");

	return 0 unless $ws->is_open();

	$ws->send_text('2probe');

	my $m = $ws->recv_message();
	return 0 unless $m && $m->{message} eq '3probe';

	$ws->send_text('5');

	# it is there once it answers

	$ws->send_text('420["subscribe",{"channel":"job:b"}]');

	1 while ($m = $ws->recv_message()) && $m->{message} !~ /^430\[/;
	return 0 unless $m;

	$redis->event($channel, 'hello', 1);

	1 while ($m = $ws->recv_message()) && $m->{message} !~ /^42\["hello"/;
	return $m;
}

sub _post {
	my ($self) = @_;

	my $body = '{"event":"hello"}';

	return (Test::Nginx::http("POST /publish/job:post HTTP/1.1\r\n"
		. "Host: 127.0.0.1:$self->{port}\r\nConnection: close\r\n"
		. "Content-Type: application/json\r\n"
		. 'Content-Length: ' . length($body) . "\r\n\r\n$body",
		PeerAddr => "127.0.0.1:$self->{port}") || '')
		=~ m!^HTTP/1\.[01] 201 !;
}

sub _origin {
	my ($self) = @_;

	my (undef, %to) = $self->_to('/ws',
		origin => "http://127.0.0.1:$self->{port}");

	my $sse = Test::RTBus::SSE->connect(%to);

	return $sse->status() == 200;
}

sub _address {
	my ($self, $redis) = @_;

	my ($channel, %to) = $self->_to('/address', local => '127.0.0.2');
	my $sse = Test::RTBus::SSE->connect(%to);

	return 0 unless $sse->is_stream() && $sse->wait_event('connected');

	return $redis->wait_subscribers("$channel-127.0.0.2", 1,
		$self->{timeout});
}

###############################################################################

1;

###############################################################################
