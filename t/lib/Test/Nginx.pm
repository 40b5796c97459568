package Test::Nginx;

# Runs one private nginx per test file.  The interface is that of the official
# nginx-tests library, so a suite runs unchanged with either of the two; this
# one exists so that a checkout can be tested without fetching anything.
#
#	my $t = Test::Nginx->new()->has(qw/http proxy/)->plan(3);
#	$t->write_file_expand('nginx.conf', <<'CONF');
#	%%TEST_GLOBALS%%
#	daemon off;
#	events { }
#	http { %%TEST_GLOBALS_HTTP%% server { listen 127.0.0.1:8080; } }
#	CONF
#	$t->run();
#	like(http_get('/'), qr/200 OK/, 'index');
#
# Methods (those without a stated result return the object)
#
#	new has(@features) has_daemon($name) plan($n) todo_alerts
#	has_module($name) has_feature($name) has_version('1.2.3')    -> bool
#	write_file($name, $text) write_file_expand($name, $text)
#	read_file($name) -> text        testdir -> path       dump_config -> text
#	run([$conf_file]) try_run($why_skipped) reload stop
#	run_daemon($code_or_program, @args) stop_daemons
#	waitforfile($path [, $pid]) waitforsocket('host:port')
#	waitforsslsocket('host:port')                                -> bool
#
# Functions
#
#	http($request, %extra) http_get($uri, %extra) http_head($uri, %extra)
#		-> the whole reply, undef on error or timeout
#		%extra: SSL socket start sleep aborted body, and anything that
#		IO::Socket::INET->new() takes, PeerAddr for instance
#	http_start($request, %extra) -> socket; http_end($socket) -> reply
#	http_content($reply) -> body, chunks joined
#	port($number [, udp => 1, socket => 1]) -> the port that stands for it
#	log_in($text) log_out($text)          shown if TEST_NGINX_VERBOSE is set
#
# In write_file_expand() 127.0.0.1:8NNN and %%PORT_8NNN%% become ports that are
# free now, %%TESTDIR%% the private directory, %%TEST_GLOBALS%% and
# %%TEST_GLOBALS_HTTP%% what every configuration needs.
#
# plan($n) announces $n + 2 tests.  The last two are made when the object goes:
# "no alerts" (here also no [emerg], see expect_emerg() in Test::RTBus) and
# "no sanitizer errors".
#
# Environment: TEST_NGINX_BINARY, TEST_NGINX_GLOBALS, TEST_NGINX_GLOBALS_HTTP,
# TEST_NGINX_GLOBALS_STREAM, TEST_NGINX_MODULES, TEST_NGINX_VERBOSE,
# TEST_NGINX_CATLOG, TEST_NGINX_LEAVE.

###############################################################################

use warnings;
use strict;

use base qw/ Exporter /;

our @EXPORT = qw/ http http_get http_head log_in log_out port /;
our @EXPORT_OK = qw/ http_start http_end http_content /;

use Cwd qw/ abs_path /;
use File::Path qw/ remove_tree /;
use File::Temp qw/ tempdir /;
use IO::Socket::INET;
use POSIX qw/ WNOHANG /;
use Test::More qw//;
use Time::HiRes qw/ time /;

our $NGINX = defined $ENV{TEST_NGINX_BINARY}
	? $ENV{TEST_NGINX_BINARY} : '/usr/sbin/nginx';

our %ports;

# seconds; a start, a quit, a terminate, one http exchange

my $START = 15;
my $QUIT = 40;
my $TERM = 10;
my $HTTP = 10;

my $TICK = 0.02;

###############################################################################

sub new {
	my ($class) = @_;

	Test::More::BAIL_OUT("nginx is not at $NGINX")
		unless -x $NGINX;

	return bless {
		_pid => $$,
		_alerts => 1,
		_daemons => [],
		_testdir => abs_path(tempdir('rtbus-test-XXXXXXXX',
			TMPDIR => 1)),
	}, $class;
}

sub DESTROY {
	my ($self) = @_;
	local ($?, $!, $@);

	# a forked daemon has a copy of the object, but owns nothing

	return if $self->{_pid} != $$;

	$self->stop();
	$self->stop_daemons();

	if (Test::More->builder->expected_tests) {
		my ($alerts, $errors) = $self->_complaints();

		if ($self->{_alerts}) {
			Test::More::is($alerts, '', 'no alerts');

		} else {
			Test::More::pass('alerts are to be expected');
		}

		Test::More::is($errors, '', 'no sanitizer errors');
	}

	print STDERR $self->_slurp('error.log') if $ENV{TEST_NGINX_CATLOG};

	remove_tree($self->{_testdir}, { error => \my $ignored })
		unless $ENV{TEST_NGINX_LEAVE};
}

# A debug log may be hundreds of megabytes: it is read line by line, and of
# thousands of equal complaints the first ones will do.

sub _complaints {
	my ($self) = @_;
	my (@alerts, @errors);

	my $alert = qr/\[alert\]|open socket #\d+ left/;

	no warnings 'once';
	$alert = qr/$alert|\[emerg\]/ unless $Test::RTBus::EXPECT_EMERG;

	open my $fh, '<', "$self->{_testdir}/error.log" or return ('', '');

	while (my $line = <$fh>) {
		if ($line =~ $alert) {
			push @alerts, $line if @alerts < 20;

		} elsif ($line =~ /Sanitizer|: runtime error: /) {
			push @errors, $line if @errors < 20;
		}
	}

	close $fh;
	chomp(@alerts, @errors);

	return (join("\n", @alerts), join("\n", @errors));
}

###############################################################################

# What nginx can do, as "nginx -V" tells it.

my %standard = map { $_ => 1 } qw/
	access auth_basic autoindex browser charset empty_gif fastcgi geo grpc
	gzip limit_conn limit_req map memcached mirror proxy referer rewrite
	scgi split_clients ssi tunnel userid uwsgi
/;

my %optional = (
	auth_request => 'http_auth_request_module',
	flv => 'http_flv_module',
	http_geoip => 'http_geoip_module',
	image_filter => 'http_image_filter_module',
	mail => 'mail',
	perl => 'http_perl_module',
	realip => 'http_realip_module',
	stream => 'stream',
	stream_geoip => 'stream_geoip_module',
	stream_ssl => 'stream_ssl_module',
	sub => 'http_sub_module',
	xslt => 'http_xslt_module',
);

my %loadable = (
	http_geoip => 'ngx_http_geoip_module',
	image_filter => 'ngx_http_image_filter_module',
	mail => 'ngx_mail_module',
	perl => 'ngx_http_perl_module',
	stream => 'ngx_stream_module',
	stream_geoip => 'ngx_stream_geoip_module',
	xslt => 'ngx_http_xslt_filter_module',
);

sub has {
	my ($self, @features) = @_;

	for my $feature (@features) {
		next if $self->has_module($feature);
		next if $self->has_feature($feature);

		Test::More::plan(skip_all => "no $feature available");
	}

	return $self;
}

sub has_module {
	my ($self, $name) = @_;

	my $v = $self->_version_text();

	return $v !~ /--without-http_${name}_module\b/ if $standard{$name};
	return $v !~ /--without-http(?!\S)/ if $name eq 'http';
	return $v !~ /--without-http-cache\b/ if $name eq 'cache';
	return $v !~ /--without-pcre\b/ if $name eq 'pcre';
	return $v =~ /TLS SNI support enabled/ if $name eq 'sni';

	return $v !~ /--without-mail_${name}_module\b/
		if $name =~ /^(?:pop3|imap|smtp)$/;
	return $v !~ /--without-http_${name}_mod/
		if $name =~ /^upstream_/;

	if (my $option = $optional{$name}) {
		return 1 if $v =~ /--with-$option(?!\S)/;

		my $module = $loadable{$name} or return 0;
		return ($ENV{TEST_NGINX_GLOBALS} || '')
			=~ /load_module\s[^;]*\b\Q$module\E[-\w]*\.so\s*;/;
	}

	return $v !~ /--without-${name}_mod/ if $name =~ /^stream_/;

	# anything else is looked for in the output as it is

	return $v =~ $name;
}

sub has_feature {
	my ($self, $name) = @_;

	return 1 if $name =~ /^(?:symlink|unix|udp)$/;

	if ($name =~ /^socket_ssl(?:_(sni|alpn|sslversion|reused))?$/) {
		my $part = $1 || '';

		eval { require IO::Socket::SSL; 1 } or return 0;

		return eval { IO::Socket::SSL->can_client_sni() }
			if $part eq 'sni';
		return eval { IO::Socket::SSL->can_alpn() }
			if $part eq 'alpn';
		return IO::Socket::SSL->can('get_sslversion')
			if $part eq 'sslversion';
		return IO::Socket::SSL->can('get_session_reused')
			if $part eq 'reused';

		return 1;
	}

	if ($name =~ /^(openssl|libressl):([\d.]+)([a-z]*)$/i) {
		my ($library, $numbers, $letter) = ($1, $2, $3);

		return 0 unless $self->_version_text()
			=~ /with $library ([\d.]+)([a-z]*)/i;

		my ($n, $l) = ($1, $2);
		my $order = _compare_versions($n, $numbers);

		return $order > 0 || $order == 0 && $l ge $letter;
	}

	if ($name eq 'cryptx') {
		return eval {
			require Crypt::Misc;
			Crypt::Misc->VERSION('0.067');
			1;
		};
	}

	return 0;
}

sub has_version {
	my ($self, $need) = @_;

	return 0 unless $self->_version_text() =~ m!nginx/([\d.]+)!;
	return _compare_versions($1, $need) >= 0;
}

sub has_daemon {
	my ($self, $name) = @_;

	for my $dir (split /:/, $ENV{PATH}) {
		return $self if -x "$dir/$name" && !-d _;
	}

	Test::More::plan(skip_all => "$name not found");
}

sub _version_text {
	my ($self) = @_;

	$self->{_version_text} = `$NGINX -V 2>&1`
		unless defined $self->{_version_text};

	return $self->{_version_text};
}

sub _compare_versions {
	my @a = split /\./, shift;
	my @b = split /\./, shift;

	while (@a || @b) {
		my $order = (shift @a || 0) <=> (shift @b || 0);
		return $order if $order;
	}

	return 0;
}

###############################################################################

sub plan {
	my ($self, $n) = @_;

	Test::More::plan(tests => $n + 2);
	return $self;
}

sub todo_alerts {
	my ($self) = @_;

	$self->{_alerts} = 0;
	return $self;
}

sub testdir {
	my ($self) = @_;

	return $self->{_testdir};
}

sub read_file {
	my ($self, $name) = @_;

	my $text = $self->_slurp($name);
	die "Can't read $name: $!\n" unless defined $text;

	return $text;
}

sub _slurp {
	my ($self, $name) = @_;

	open my $fh, '<', "$self->{_testdir}/$name" or return undef;
	local $/;
	my $text = <$fh>;
	close $fh;

	return defined $text ? $text : '';
}

sub write_file {
	my ($self, $name, $text) = @_;

	open my $fh, '>:raw', "$self->{_testdir}/$name"
		or die "Can't write $name: $!\n";
	print $fh $text;
	close $fh or die "Can't write $name: $!\n";

	return $self;
}

sub write_file_expand {
	my ($self, $name, $text) = @_;

	$text =~ s/%%TEST_GLOBALS%%/$self->test_globals()/ge;
	$text =~ s/%%TEST_GLOBALS_HTTP%%/$self->test_globals_http()/ge;
	$text =~ s/%%TEST_GLOBALS_STREAM%%/$self->test_globals_stream()/ge;
	$text =~ s/%%TESTDIR%%/$self->{_testdir}/g;

	$text =~ s/\b127\.0\.0\.1:(8\d{3})(?!\d)/'127.0.0.1:' . port($1)/ge;
	$text =~ s/%%PORT_(\d+)_UDP%%/port($1, udp => 1)/ge;
	$text =~ s/%%PORT_(\d+)%%/port($1)/ge;

	return $self->write_file($name, $text);
}

sub test_globals {
	my ($self) = @_;

	return $self->{_test_globals} ||= join "\n",
		"pid $self->{_testdir}/nginx.pid;",
		"error_log $self->{_testdir}/error.log debug;",
		$ENV{TEST_NGINX_GLOBALS} || '',
		$self->_globals_modules(), '';
}

# Dynamic modules of the nginx itself are loaded if their place is told.

sub _globals_modules {
	my ($self) = @_;

	my $dir = $ENV{TEST_NGINX_MODULES};
	return () unless defined $dir;

	$dir = abs_path($dir);

	return map { "load_module $dir/$_.so;" }
		grep { -e "$dir/$_.so" }
		map { $loadable{$_} }
		sort { length $a <=> length $b || $a cmp $b }
		grep { $self->_version_text() =~ /--with-$optional{$_}=dynamic/ }
		keys %loadable;
}

sub test_globals_http {
	my ($self) = @_;

	my $dir = $self->{_testdir};

	return $self->{_test_globals_http} ||= join "\n",
		"root $dir;",
		"access_log $dir/access.log;",
		"client_body_temp_path $dir/client_body_temp;",
		(map { $_ . "_temp_path $dir/${_}_temp;" }
			grep { $self->has_module($_) }
			qw/ proxy fastcgi uwsgi scgi /),
		$ENV{TEST_NGINX_GLOBALS_HTTP} || '', '';
}

sub test_globals_stream {
	return $ENV{TEST_NGINX_GLOBALS_STREAM} || '';
}

###############################################################################

# A port is ours for the life of the process if we hold the number for the
# other transport; nginx itself then takes the free one.

sub port {
	my ($number, %opts) = @_;

	my $p = $ports{$number} ||= _reserve_port($number, $opts{udp});

	return $opts{socket} ? $p->{socket} : $p->{port};
}

sub _reserve_port {
	my ($number, $udp) = @_;

	my $bind = sub {
		my ($proto, $port) = @_;

		return IO::Socket::INET->new(
			Proto => $proto,
			LocalAddr => '127.0.0.1',
			LocalPort => $port,
			$proto eq 'tcp' ? (Listen => 1, ReuseAddr => 1) : ()
		);
	};

	my ($used, $held) = $udp ? qw/ udp tcp / : qw/ tcp udp /;
	my $base = $number - $number % 500;
	my $try = $number;

	for (1 .. 200) {
		my $hold = $bind->($held, $try);
		my $probe = $hold && $bind->($used, $try);

		return { port => $try, socket => $hold } if $probe;

		$try = $base + int(rand(500));
	}

	die "No free port near $number\n";
}

###############################################################################

sub run {
	my ($self, $conf) = @_;

	if (defined $conf) {
		open my $fh, '<', $conf or die "Can't read $conf: $!\n";
		local $/;
		$self->write_file_expand('nginx.conf', <$fh>);
	}

	my $dir = $self->{_testdir};

	my $pid = fork();
	die "Can't fork: $!\n" unless defined $pid;

	if ($pid == 0) {
		{ exec $NGINX, $self->_arguments() }
		print STDERR "Can't exec $NGINX: $!\n";
		POSIX::_exit(127);
	}

	$self->waitforfile("$dir/nginx.pid", $pid)
		or do {
			$self->_end_of($pid, [ 'KILL', $TERM ]);

			my @why = grep { /\[emerg\]/ }
				split /\n/, ($self->_slurp('error.log') || '');
			die join("\n", "Can't start nginx", @why) . "\n";
		};

	# the file is there a moment before what it says

	_until(sub { $self->_master() });

	$self->{_master} = $pid;
	$self->{_started} = 1;

	return $self;
}

sub _arguments {
	my ($self) = @_;

	my $dir = $self->{_testdir};
	my @args = ('-p', "$dir/", '-c', 'nginx.conf', '-e', 'error.log');

	# a configuration without %%TEST_GLOBALS%% needs them all the same

	push @args, '-g', "pid $dir/nginx.pid; error_log $dir/error.log debug;"
		unless $self->{_test_globals};

	return @args;
}

sub dump_config {
	my ($self) = @_;

	my $args = join ' ', map { "'$_'" } $self->_arguments();

	return `$NGINX -T $args 2>&1`;
}

sub try_run {
	my ($self, $message) = @_;

	# what nginx says on stderr is expected here

	open my $stderr, '>&', \*STDERR or die "Can't dup stderr: $!\n";
	open STDERR, '>', '/dev/null' or die "Can't open /dev/null: $!\n";

	my $ok = eval { $self->run(); 1 };

	open STDERR, '>&', $stderr or die "Can't restore stderr: $!\n";

	return $self if $ok;

	_log('', $self->_slurp('error.log') || $@);
	Test::More::plan(skip_all => $message);
}

# The pid file is asked each time: a binary upgrade changes the master.

sub _master {
	my ($self) = @_;

	return ($self->_slurp('nginx.pid') || '') =~ /^(\d+)/ ? $1 : undef;
}

sub reload {
	my ($self) = @_;

	return $self unless $self->{_started};

	my $pid = $self->_master() or die "No nginx.pid to reload by\n";
	kill 'HUP', $pid;

	return $self;
}

sub stop {
	my ($self) = @_;

	return $self unless $self->{_started};

	my $pid = $self->_master() || $self->{_master};

	# workers outlive a master that had to be killed

	my @family = ($pid, _children($pid));

	$self->_end_of($pid, [ 'QUIT', $QUIT ], [ 'TERM', $TERM ])
		or do {
			@family = ($pid, _children($pid), @family);
			Test::More::diag("nginx $pid had to be killed");
			kill 'KILL', grep { _is_nginx($_) } @family;
			$self->_end_of($pid, [ 'KILL', $TERM ]);
		};

	waitpid($self->{_master}, WNOHANG);

	$self->{_started} = 0;
	return $self;
}

# Sends the signals in turn, each with its time to obey; true as soon as the
# process is gone.  It need not be our own child (after an upgrade it is not).

sub _end_of {
	my ($self, $pid, @steps) = @_;

	for my $step (@steps) {
		my ($signal, $seconds) = @$step;
		my $end = time() + $seconds;

		kill $signal, $pid;

		while (1) {
			return 1 if waitpid($pid, WNOHANG) > 0;
			return 1 if !kill 0, $pid;
			last if time() > $end;
			_tick();
		}
	}

	return 0;
}

sub _children {
	my ($parent) = @_;
	my @pids;

	for my $stat (glob '/proc/[0-9]*/stat') {
		open my $fh, '<', $stat or next;
		my $line = <$fh>;
		push @pids, $1 if defined $line
			&& $line =~ /^(\d+) \(.*\) \S (\d+) /s && $2 == $parent;
	}

	return @pids;
}

sub _is_nginx {
	my ($pid) = @_;

	open my $fh, '<', "/proc/$pid/comm" or return 0;
	return (<$fh> || '') =~ /^nginx/;
}

sub run_daemon {
	my ($self, $code, @args) = @_;

	my $pid = fork();
	die "Can't fork: $!\n" unless defined $pid;

	if ($pid == 0) {
		if (ref $code eq 'CODE') {
			$code->(@args);
			exit 0;
		}

		{ exec $code, @args }
		print STDERR "Can't exec $code: $!\n";
		POSIX::_exit(127);
	}

	push @{$self->{_daemons}}, $pid;
	return $self;
}

sub stop_daemons {
	my ($self) = @_;

	while (defined(my $pid = shift @{$self->{_daemons}})) {
		$self->_end_of($pid, [ 'TERM', 5 ], [ 'KILL', $TERM ]);
	}

	return $self;
}

sub waitforfile {
	my ($self, $file, $pid) = @_;

	my $end = time() + $START;
	my $gone;

	while (1) {
		return 1 if -e $file;
		return 0 if $gone || time() > $end;

		# one more look after the exit: the file may be its last word

		$gone = $pid && waitpid($pid, WNOHANG) != 0;
		_tick() unless $gone;
	}
}

sub waitforsocket {
	my ($self, $peer) = @_;

	return _until(sub {
		IO::Socket::INET->new(Proto => 'tcp', PeerAddr => $peer);
	});
}

sub waitforsslsocket {
	my ($self, $peer) = @_;

	require IO::Socket::SSL;

	return _until(sub {
		IO::Socket::SSL->new(
			PeerAddr => $peer,
			SSL_verify_mode => IO::Socket::SSL::SSL_VERIFY_NONE(),
			Timeout => 1
		);
	});
}

sub _until {
	my ($cond) = @_;
	my $end = time() + $START;

	while (1) {
		return 1 if $cond->();
		return 0 if time() > $end;
		_tick();
	}
}

sub _tick {
	select undef, undef, undef, $TICK;
}

###############################################################################

sub log_in { _log('<< ', @_) }
sub log_out { _log('>> ', @_) }

sub _log {
	my ($mark, @text) = @_;

	return unless $ENV{TEST_NGINX_VERBOSE};

	my $text = join ' ', grep { defined } @text;

	if (length $text > 2048) {
		$text = substr($text, 0, 2048) . '... ' . length($text)
			. ' bytes in all';
	}

	for my $line (split /\n/, $text) {
		$line =~ s/([^\x20-\x7e])/sprintf '\\x%02x', ord $1/ge;
		print "# $mark$line\n";
	}
}

###############################################################################

sub http_get {
	my ($uri, %extra) = @_;

	return http("GET $uri HTTP/1.0\nHost: localhost\n\n", %extra);
}

sub http_head {
	my ($uri, %extra) = @_;

	return http("HEAD $uri HTTP/1.0\nHost: localhost\n\n", %extra);
}

sub http {
	my ($request, %extra) = @_;

	my $s = http_start($request, %extra);

	return $s if !$s || $extra{start};
	return http_end($s);
}

sub http_start {
	my ($request, %extra) = @_;

	return _in_time(sub {
		my $s = $extra{socket} || IO::Socket::INET->new(
			Proto => 'tcp',
			PeerAddr => '127.0.0.1:'
				. port($extra{SSL} ? 8443 : 8080),
			%extra
		)
			or die "Can't connect: $!\n";

		if ($extra{SSL}) {
			require IO::Socket::SSL;

			IO::Socket::SSL->start_SSL(
				$s,
				SSL_verify_mode =>
					IO::Socket::SSL::SSL_VERIFY_NONE(),
				%extra
			)
				or die "TLS: " . IO::Socket::SSL::errstr() . "\n";
		}

		_say($s, $request);

		select undef, undef, undef, $extra{sleep} if $extra{sleep};
		return $s if $extra{aborted};

		_say($s, $extra{body}) if $extra{body};

		return $s;
	});
}

sub _say {
	my ($s, $text) = @_;

	log_out($text);
	$s->print($text);
	$s->flush();
}

sub http_end {
	my ($s) = @_;

	my $reply = _in_time(sub {
		local $/;
		my $all = $s->getline();
		$s->close();
		return $all;
	});

	log_in($reply) if defined $reply;
	return $reply;
}

sub _in_time {
	my ($code) = @_;

	my $result = eval {
		local $SIG{ALRM} = sub { die "timed out\n" };
		local $SIG{PIPE} = sub { die "connection closed\n" };

		alarm $HTTP;
		$code->();
	};

	my $error = $@;
	alarm 0;

	log_in("http: $error") if $error;
	return $result;
}

sub http_content {
	my ($reply) = @_;

	return undef unless defined $reply;

	my ($head, $body) = split /\r?\n\r?\n/, $reply, 2;

	return undef unless defined $body;
	return $body unless $head =~ /^Transfer-Encoding:\s*chunked/mi;

	my $content = '';

	while ($body =~ /\G([0-9a-f]+)[^\n]*\n/gci) {
		my $size = hex $1;

		return $content if $size == 0;

		$content .= substr $body, pos $body, $size;
		last if pos($body) + $size > length $body;

		pos($body) += $size;
		$body =~ /\G\r?\n/gc;
	}

	return $content . '[no-last-chunk]';
}

###############################################################################

1;

###############################################################################
