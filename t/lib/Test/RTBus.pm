package Test::RTBus;

# What every rtbus suite needs around Test::Nginx: the module loaded into the
# nginx under test, waiting for conditions, and the base of the clients.  It
# settles the environment that Test::Nginx reads when it is loaded, so it is
# used before it, and works the same with the official nginx-tests library:
#
#	use Test::More;
#	use Test::RTBus;		# or: use Test::RTBus fds => 4096;
#	use Test::Nginx;
#
# Exported
#
#	wait_for { condition } [$what [, $seconds]]
#		-> the condition's true value; undef (and a diag) after 10 s
#		within other arguments: ok((wait_for { .. } 'what'), 'name')
#	json_encode($data) -> bytes, keys sorted   json_decode($bytes) -> data
#	free_port() -> a TCP port that stays ours; outside the ephemeral range
#	workers($t [, all => 1]) -> pids of workers; all: also those leaving
#	master($t) -> pid
#	reload_wait($t [, gone => 1, timeout => 30])
#		HUP; -> pids of the new workers once all of them are there
#		and none of the old ones serves (gone: once they have
#		exited); () on timeout
#	wait_redis($t [, $workers])
#		after $t->run(): once that many workers (1) have their links to
#		Redis; before that, a subscribe is "unavailable"
#	nginx_check($t, $conf_text) -> (ok, output) of "nginx -t" on that text
#	error_log($t) -> text       error_log_count($t, qr/../) -> lines
#	error_log_like($t, qr/../, $name [, $seconds])
#		one test: such a line is there, or comes in time (10 s)
#	error_log_unlike($t, qr/../, $name)
#		one test: no such line by now
#	expect_emerg()	"no alerts" lets [emerg] pass (a bad config reloaded)
#	module_file() -> path of the module, or undef if it is not built
#	run_tap($name, @command) -> number of tests
#		runs a program that writes TAP: each line of it is a test of
#		ours, and there are two more, that it has come to an end and
#		has run all it had planned
#	need_fds($n)	raises the limit of open files, or skips the suite;
#		before $t->run(), so that nginx has it too
#	rss_kb(@pids) -> resident memory   cpu_seconds(@pids) -> user + system
#	select_loop(\@clients, $until, $seconds [, $on_message])
#		reads all clients (WebSocket, SSE, in any mix, thousands of
#		them).  $until->() ends it and is its result; undef after
#		$seconds.  $on_message->($client, $message) gets each message
#		with a data or close frame (WebSocket) or event (SSE); without
#		it they wait in the clients' queues
#
# Base of the clients, Test::RTBus::Client; see WebSocket.pm and SSE.pm
#
#	options of connect(): port (port(8080)) host (127.0.0.1) path (/)
#		headers => { name => value | [ values ] } method version_http
#		omit => [ names ] request => "whole request" cut => N (bytes
#		per write) early => "bytes behind the request" ssl => 1
#		ssl_opts => {} local => "127.0.0.2" rcvbuf => N unix => path
#		timeout (10) read => 0 (do not wait for the reply)
#	connect_many($n, %options) -> list of $n clients; an option that is a
#		sub is called with 0 .. $n - 1: path => sub { "/ws?n=$_[0]" }
#	status, header($name), headers, reason, body, eof, bytes, sock, fd
#	send_raw($bytes) send_bytewise($bytes [, $pause]) -> 1, or 0 if the
#		peer is gone or does not read in time
#	wait_eof($seconds) -> 1 once the server has closed
#	drop		closes the socket without a word
#	reset		the same with a RST
#	shut_write	sends FIN, goes on reading
#
# Environment
#
#	RTBUS_MODULE		the module, if not build/ of this checkout
#	RTBUS_SANITIZED		nginx has sanitizers, see "make asan"
#	RTBUS_VALGRIND		a command that runs nginx, see "make valgrind"
#	TEST_NGINX_BINARY	/usr/sbin/nginx or the first in PATH
#	TEST_NGINX_GLOBALS	load_module goes in front, unless it speaks of
#				ngx_http_rtbus_module already

###############################################################################

use warnings;
use strict;

use base qw/ Exporter /;

our @EXPORT = qw/
	wait_for json_encode json_decode free_port workers master reload_wait
	wait_redis nginx_check error_log error_log_count error_log_like
	error_log_unlike expect_emerg module_file run_tap need_fds rss_kb
	cpu_seconds select_loop
/;

use Cwd qw/ abs_path /;
use File::Basename qw/ dirname /;
use File::Temp qw/ tempdir /;
use IO::Poll qw/ POLLIN POLLOUT /;
use IO::Socket::INET;
use JSON::PP ();
use POSIX ();
use Scalar::Util qw/ weaken /;
use Test::More ();
use Time::HiRes qw/ time /;

our $EXPECT_EMERG;

my $PID = $$;
my $MODULE;

my @runs;		# nginx, weak
my @cleanups;		# code, for the very end

###############################################################################

die "Test::RTBus has to be used before Test::Nginx\n"
	if $INC{'Test/Nginx.pm'};

_set_signals();
_set_binary();
_set_globals();

# An interrupted suite has to go through its destructors, else nginx stays; so
# has one whose output nobody reads any more.
# Forked helpers die of the signal as they would without us.

sub _set_signals {
	for my $name (qw/ INT TERM HUP PIPE /) {
		next if $SIG{$name};

		my $pid = $$;

		$SIG{$name} = sub {
			if ($$ == $pid) {
				$SIG{PIPE} = 'IGNORE';
				exit 1;
			}

			$SIG{$name} = 'DEFAULT';
			kill $name, $$;
		};
	}
}

# Both libraries take one executable file for nginx.  A script stands in for it
# where the environment has to differ for nginx alone, and where the official
# library would load dynamic modules that a distribution packs separately.

sub _set_binary {
	my $nginx = $ENV{TEST_NGINX_BINARY};

	if (!defined $nginx) {
		($nginx) = grep { -x $_ && !-d _ } '/usr/sbin/nginx',
			map { "$_/nginx" } split /:/, $ENV{PATH};

		$nginx = '/usr/sbin/nginx' unless defined $nginx;
		$ENV{TEST_NGINX_BINARY} = $nginx;
	}

	return unless -x $nginx;

	my $dynamic = !defined $ENV{TEST_NGINX_MODULES}
		&& `$nginx -V 2>&1` =~ /--with-\S+=dynamic/;

	return unless $ENV{RTBUS_SANITIZED} || $ENV{RTBUS_VALGRIND} || $dynamic;
	return if $^C;

	my $real = _quote(abs_path($nginx));
	my ($run, $short) = ($real, '');

	if ($ENV{RTBUS_SANITIZED}) {
		my %set = (
			ASAN_OPTIONS => $ENV{ASAN_OPTIONS}
				|| 'detect_odr_violation=0',
			LSAN_OPTIONS => $ENV{LSAN_OPTIONS}
				|| 'print_suppressions=0:suppressions='
					. dirname(abs_path(__FILE__))
					. '/../../lsan.supp',
			UBSAN_OPTIONS => $ENV{UBSAN_OPTIONS}
				|| 'print_stacktrace=1:print_summary=1',
		);

		$run = join ' ', 'env', (map { "$_=" . _quote($set{$_}) }
			sort keys %set), $real;

		# one that only reads its configuration frees nothing

		$short = "ASAN_OPTIONS="
			. _quote("$set{ASAN_OPTIONS}:detect_leaks=0");

	} elsif ($ENV{RTBUS_VALGRIND}) {
		$run = "$ENV{RTBUS_VALGRIND} $real";
	}

	my $file = tempdir('rtbus-nginx-XXXXXXXX', TMPDIR => 1, CLEANUP => 1)
		. '/nginx';

	open my $fh, '>', $file or die "Can't write $file: $!\n";
	print $fh <<SCRIPT;
#!/bin/sh

if [ "\$1" = -V ]; then
	$real -V 2>&1 | sed 's/ --with-[^ ]*=dynamic//g' >&2
	exit
fi

case " \$* " in
	*" -t "* | *" -s "*) exec env $short $real "\$@"
esac

exec $run "\$@"
SCRIPT
	close $fh or die "Can't write $file: $!\n";
	chmod 0755, $file;

	$ENV{TEST_NGINX_BINARY} = $file;
}

sub _quote {
	my ($s) = @_;

	$s =~ s/'/'\\''/g;
	return "'$s'";
}

sub _set_globals {
	my $globals = $ENV{TEST_NGINX_GLOBALS};
	$globals = '' unless defined $globals;

	my $file = $ENV{RTBUS_MODULE};
	$file = dirname(abs_path(__FILE__))
		. '/../../../build/ngx_http_rtbus_module.so'
		unless defined $file;

	$MODULE = abs_path($file) if -e $file;

	my $nginx = $ENV{TEST_NGINX_BINARY};
	my $static = -x $nginx && `$nginx -V 2>&1` =~ /--add-module=\S*rtbus/;

	if (!$static && $globals !~ /ngx_http_rtbus_module/ && $MODULE) {
		$globals = "load_module $MODULE;\n$globals";
	}

	# run by root, nginx would give its workers an account that may not
	# enter the test's directory

	if ($> == 0 && $globals !~ /(?:^|[;\s])user\s/) {
		$globals .= "\nuser root;";
	}

	# a binary upgrade passes on only what is named

	if ($ENV{RTBUS_SANITIZED} && $globals !~ /env ASAN_OPTIONS/) {
		$globals .= "\nenv ASAN_OPTIONS; env LSAN_OPTIONS;"
			. " env UBSAN_OPTIONS;";
	}

	$ENV{TEST_NGINX_GLOBALS} = "$globals\n";
}

sub import {
	my ($class, %opts) = @_;

	$class->export_to_level(1, $class);

	need_fds($opts{fds}) if $opts{fds};
}

###############################################################################

# A file lexical that a named sub mentions would be destroyed after Test::More
# has counted the tests, too late for the two that Test::Nginx adds.  So each
# nginx is ended here, before Test::More, and before the Redis it talks to.

INIT {
	if (my $new = Test::Nginx->can('new')) {
		no warnings qw/ redefine once /;

		*Test::Nginx::new = sub {
			my $t = $new->(@_);

			push @runs, $t;
			weaken($runs[-1]);

			return $t;
		};
	}
}

END {
	if ($$ == $PID) {
		my $status = $?;

		for my $t (grep { defined } @runs) {
			next if $t->{_pid} != $$;

			$t->DESTROY();
			$t->{_pid} = 0;
		}

		for my $code (@cleanups) {
			$code->();
		}

		$? = $status;
	}
}

sub at_end {
	my ($code) = @_;

	push @cleanups, $code;
}

###############################################################################

sub wait_for (&;$$@) {
	my ($cond, $what, $timeout) = @_;

	$timeout = 10 unless defined $timeout;

	die "wait_for in a list of arguments needs parentheses around it\n"
		if @_ > 3 || $timeout !~ /^[\d.]+$/;

	my $end = time() + $timeout;
	my $step = 0.002;

	while (1) {
		my $value = $cond->();
		return $value if $value;

		last if time() > $end;

		select undef, undef, undef, $step;
		$step *= 2 if $step < 0.05;
	}

	Test::More::diag("timed out after $timeout s: $what") if defined $what;
	return undef;
}

my $json;

sub _json {
	return $json ||= JSON::PP->new->utf8->canonical->allow_nonref;
}

sub json_encode {
	my ($data) = @_;

	return _json()->encode($data);
}

sub json_decode {
	my ($bytes) = @_;

	return _json()->decode($bytes);
}

# A server that is stopped and started again needs its port to be free in
# between, so it is not one that the kernel gives to outgoing connections.
# Holding the UDP port of the same number keeps other suites away.

my @held;

sub free_port {
	my ($low, $high) = (10000, 32000);

	if (open my $fh, '<', '/proc/sys/net/ipv4/ip_local_port_range') {
		my ($first) = split ' ', <$fh>;
		$high = $first - 1 if $first > $low + 1000;
	}

	for (1 .. 200) {
		my $port = $low + int(rand($high - $low));

		my $hold = IO::Socket::INET->new(Proto => 'udp',
			LocalAddr => '127.0.0.1', LocalPort => $port)
			or next;
		IO::Socket::INET->new(Proto => 'tcp', Listen => 1,
			LocalAddr => '127.0.0.1', LocalPort => $port,
			ReuseAddr => 1)
			or next;

		push @held, $hold;
		return $port;
	}

	die "No free port between $low and $high\n";
}

sub module_file {
	return $MODULE;
}

sub expect_emerg {
	$EXPECT_EMERG = 1;
}

sub run_tap {
	my ($name, @command) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;

	open my $tap, '-|', @command or die "Can't run $command[0]: $!\n";

	my ($n, $plan) = (0);

	while (my $line = <$tap>) {
		chomp $line;

		if ($line =~ /^(not )?ok \d+ (?:- )?(.*)/) {
			Test::More::ok(!$1, "$name: $2");
			$n++;

		} elsif ($line =~ /^1\.\.(\d+)/) {
			$plan = $1;

		} else {
			Test::More::diag($line =~ s/^# ?//r);
		}
	}

	CORE::close($tap);

	Test::More::is($? >> 8 || $? & 127, 0, "$name: exit");
	Test::More::is($n, $plan, "$name: all of its tests");

	return $n;
}

# Perl's core has no setrlimit().

sub need_fds {
	my ($n) = @_;

	my ($soft, $hard) = _slurp('/proc/self/limits')
		=~ /^Max open files\s+(\S+)\s+(\S+)/m or return 1;

	my $enough = sub { $_[0] eq 'unlimited' || $_[0] >= $n };

	return 1 if $enough->($soft);

	if ($enough->($hard)
		&& system('prlimit', "--pid=$$", "--nofile=$n:$hard") == 0)
	{
		return 1;
	}

	Test::More::plan(skip_all => "$n open files needed, $hard allowed");
}

###############################################################################

sub master {
	my ($t) = @_;

	return _slurp($t->testdir() . '/nginx.pid') =~ /^(\d+)/ ? $1 : undef;
}

sub workers {
	my ($t, %opts) = @_;

	my $master = master($t);
	return () unless defined $master;

	# under valgrind the title is valgrind's, but the log knows

	my $log = $ENV{RTBUS_VALGRIND} ? error_log($t) : undef;
	my @pids;

	for my $dir (glob '/proc/[0-9]*') {
		my $stat = _slurp("$dir/stat");

		next unless $stat =~ /^(\d+) \(.*\) (\S) (\d+) /s;
		my ($pid, $state, $parent) = ($1, $2, $3);

		next if $parent != $master || $state =~ /[ZX]/;

		my $title = _slurp("$dir/cmdline");

		if (defined $log) {
			$title = 'nginx: worker process'
				if $log =~ /start worker process $pid\n/;
			$title .= ' is shutting down'
				if $log =~ /\] $pid#\d+: gracefully shutting/;
		}

		next unless $title =~ /^nginx: worker process/;
		next if $title =~ /shutting down/ && !$opts{all};

		push @pids, $pid;
	}

	# an array: its number in scalar context

	@pids = sort { $a <=> $b } @pids;
	return @pids;
}

sub reload_wait {
	my ($t, %opts) = @_;

	# a signal that comes before the first worker may be lost

	wait_for { workers($t) } 'workers to reload', $opts{timeout} || 30;

	my %old = map { $_ => 1 } workers($t, all => 1);
	my ($n) = _slurp($t->testdir() . '/nginx.conf')
		=~ /^\s*worker_processes\s+(\d+)/m;

	$n = 1 unless $n;

	$t->reload();

	my $new = wait_for {
		my @now = workers($t, all => $opts{gone});

		return undef if @now < $n || grep { $old{$_} } @now;
		return \@now;
	} 'new workers', $opts{timeout} || 30;

	return $new ? @$new : ();
}

# Each worker has two links, and says so at "info".

sub wait_redis {
	my ($t, $workers) = @_;

	my $links = 2 * ($workers || 1);

	return wait_for {
		error_log_count($t, qr/rtbus: connected to Redis/) >= $links
	} 'links to Redis';
}

sub rss_kb {
	my (@pids) = @_;
	my $sum = 0;

	for my $pid (@pids) {
		$sum += $1 if _slurp("/proc/$pid/status") =~ /^VmRSS:\s+(\d+)/m;
	}

	return $sum;
}

sub cpu_seconds {
	my (@pids) = @_;
	my $ticks = 0;

	for my $pid (@pids) {
		my @f = split ' ', _slurp("/proc/$pid/stat") =~ s/^.*\) //sr;
		$ticks += $f[11] + $f[12] if @f > 12;
	}

	return $ticks / POSIX::sysconf(POSIX::_SC_CLK_TCK());
}

sub _slurp {
	my ($file) = @_;

	open my $fh, '<', $file or return '';
	local $/;
	my $text = <$fh>;

	return defined $text ? $text : '';
}

###############################################################################

my $checks = 0;

sub nginx_check {
	my ($t, $text) = @_;

	my $name = 'check-' . ++$checks;
	my $dir = $t->testdir();

	$t->write_file_expand("$name.conf", $text);

	my @globals = $text =~ /%%TEST_GLOBALS%%/ ? ()
		: ('-g', "pid $dir/$name.pid; error_log $dir/$name.log;");

	my $command = join ' ', map { _quote($_) }
		$ENV{TEST_NGINX_BINARY}, '-t', '-p', "$dir/",
		'-c', "$name.conf", '-e', "$name.log", @globals;

	my $output = `$command 2>&1`;

	return ($? == 0 ? 1 : 0, $output);
}

sub error_log {
	my ($t) = @_;

	return _slurp($t->testdir() . '/error.log');
}

sub error_log_count {
	my ($t, $re) = @_;

	open my $fh, '<', $t->testdir() . '/error.log' or return 0;
	my $n = 0;

	while (my $line = <$fh>) {
		$n++ if $line =~ $re;
	}

	return $n;
}

sub error_log_like {
	my ($t, $re, $name, $timeout) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;

	my $found = wait_for { error_log_count($t, $re) } undef, $timeout;

	return Test::More::ok($found, $name)
		|| Test::More::diag("no line of error.log matches $re");
}

sub error_log_unlike {
	my ($t, $re, $name) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;

	my @lines = grep { $_ =~ $re } split /^/, error_log($t);
	splice @lines, 10 if @lines > 10;

	return Test::More::is(join('', @lines), '', $name);
}

###############################################################################

# select() has its limit at descriptor 1024, and the objects of IO::Poll cost
# too much with thousands of clients; below both is this function.

sub _poll {
	my ($timeout, @fds) = @_;

	$timeout = $timeout <= 0 ? 0 : POSIX::ceil($timeout * 1000);

	# written back in place, for select_loop() to see

	my $n = IO::Poll::_poll($timeout, @fds);

	return ($n, @fds);
}

sub wait_io {
	my ($fd, $events, $timeout) = @_;

	return (_poll($timeout, $fd, $events))[0] > 0;
}

sub select_loop {
	my ($clients, $until, $timeout, $on_message) = @_;

	my $end = time() + (defined $timeout ? $timeout : 10);

	# the head of the reply may have brought all there is

	for my $c (@$clients) {
		$c->take();
	}

	while (1) {
		if ($on_message) {
			for my $c (@$clients) {
				while (my $m = $c->next_message()) {
					$on_message->($c, $m);
				}
			}
		}

		if ($until) {
			my $value = $until->();
			return $value if $value;
		}

		my $left = $end - time();
		return undef if $left <= 0;

		my @live = grep { !$_->eof() } @$clients;

		# a condition may also come true without us

		$left = 0.05 if $left > 0.05;

		if (!@live) {
			return undef unless $until;

			select undef, undef, undef, $left;
			next;
		}

		my ($n, @ready) = _poll($left, map { ($_->fd(), POLLIN) } @live);

		next unless $n > 0;

		for my $i (0 .. $#live) {
			$live[$i]->pump() if $ready[2 * $i + 1];
		}
	}
}

###############################################################################

# A client that has sent an HTTP request and got the head of the reply.  The
# socket does not block.  A subclass has take(), which moves what it can parse
# from {in} to {queue}, and next_message(), which gives the next of interest.

package Test::RTBus::Client;

use IO::Poll qw/ POLLIN POLLOUT /;
use IO::Socket::INET;
use IO::Socket::UNIX;
use Socket qw/
	IPPROTO_TCP PF_INET SOCK_STREAM SOL_SOCKET SO_LINGER SO_RCVBUF
	TCP_NODELAY inet_aton pack_sockaddr_in
/;
use Time::HiRes qw/ time /;

sub open_client {
	my ($class, %o) = @_;

	my $self = bless {
		in => '',
		queue => [],
		eof => 0,
		bytes => 0,
		timeout => $o{timeout} || 10,
		status => 0,
		reason => '',
		headers => {},
		method => $o{method} || 'GET',
	}, $class;

	$self->{sock} = $self->_socket(%o);

	return $self;
}

# An option that is a sub gives each client its own value.

sub connect_many {
	my ($class, $n, %o) = @_;
	my @clients;

	for my $i (0 .. $n - 1) {
		my %mine = map {
			$_ => ref $o{$_} eq 'CODE' ? $o{$_}->($i) : $o{$_}
		} keys %o;

		push @clients, $class->connect(%mine);
	}

	return @clients;
}

sub _socket {
	my ($self, %o) = @_;
	my $s;

	if (defined $o{unix}) {
		$s = IO::Socket::UNIX->new(Peer => $o{unix})
			or die "Can't connect to $o{unix}: $!\n";

	} else {
		my $host = defined $o{host} ? $o{host} : '127.0.0.1';
		my $port = defined $o{port} ? $o{port}
			: Test::Nginx::port($o{ssl} ? 8443 : 8080);

		$s = IO::Socket::INET->new();

		$s->socket(PF_INET, SOCK_STREAM, 0) or die "socket: $!\n";

		# before connect(), else the window is announced already

		$s->setsockopt(SOL_SOCKET, SO_RCVBUF, $o{rcvbuf})
			if $o{rcvbuf};

		if (defined $o{local}) {
			$s->bind(pack_sockaddr_in(0, inet_aton($o{local})))
				or die "Can't bind to $o{local}: $!\n";
		}

		$s->connect(pack_sockaddr_in($port, inet_aton($host)))
			or die "Can't connect to $host:$port: $!\n";

		$s->setsockopt(IPPROTO_TCP, TCP_NODELAY, 1);
	}

	if ($o{ssl}) {
		require IO::Socket::SSL;

		IO::Socket::SSL->start_SSL(
			$s,
			SSL_verify_mode => IO::Socket::SSL::SSL_VERIFY_NONE(),
			Timeout => $self->{timeout},
			%{$o{ssl_opts} || {}}
		)
			or die "TLS: " . IO::Socket::SSL::errstr() . "\n";
	}

	$s->blocking(0);
	return $s;
}

# The request; @own are the headers that the protocol wants by itself.

sub _request {
	my ($self, $o, @own) = @_;

	return $o->{request} if defined $o->{request};

	my $path = defined $o->{path} ? $o->{path} : '/';
	my %given = %{$o->{headers} || {}};
	my %skip = map { lc $_ => 1 } @{$o->{omit} || []}, keys %given;

	my $head = "$self->{method} $path HTTP/"
		. (defined $o->{version_http} ? $o->{version_http} : '1.1')
		. "\r\n";

	@own = (Host => 'localhost', @own);

	while (my ($name, $value) = splice @own, 0, 2) {
		next if !defined $value || $skip{lc $name};
		$head .= "$name: $value\r\n";
	}

	for my $name (sort keys %given) {
		my $value = $given{$name};

		$head .= "$name: $_\r\n"
			for ref $value ? @$value : grep { defined } $value;
	}

	return "$head\r\n";
}

sub _send_request {
	my ($self, $o, $request) = @_;

	$request .= $o->{early} if defined $o->{early};

	return $self->send_raw($request) unless $o->{cut};

	return $self->_send_pieces($request, $o->{cut}, $o->{pause});
}

# Reads the head of the reply; true if there is one.

sub read_head {
	my ($self, $timeout) = @_;

	my $end = $self->deadline($timeout);

	while ($self->{in} !~ /\r?\n\r?\n/) {
		$self->_more($end) or return 0;
	}

	$self->{in} =~ s/^(.*?)\r?\n\r?\n//s;
	my $head = $1;

	Test::Nginx::log_in($head) if $ENV{TEST_NGINX_VERBOSE};

	my ($line, @fields) = split /\r?\n/, $head;

	$line =~ m!^HTTP/1\.[01] (\d{3}) ?(.*)!
		or die "The server's status line is malformed: $line\n";

	@$self{qw/ status reason /} = ($1, $2);

	for my $field (@fields) {
		my ($name, $value) = $field =~ /^([^\s:]+):\s*(.*?)\s*$/
			or die "The server's header is malformed: $field\n";

		$name = lc $name;
		$self->{headers}{$name} = exists $self->{headers}{$name}
			? "$self->{headers}{$name}, $value" : $value;
	}

	return 1;
}

# Reads the whole body of a reply that is no stream.

sub read_body {
	my ($self) = @_;

	my $end = $self->deadline();
	my $length = $self->header('Content-Length');

	if ($self->{method} eq 'HEAD' || $self->{status} =~ /^(?:1..|204|304)/)
	{
		return $self->{body} = '';
	}

	if (($self->header('Transfer-Encoding') || '') =~ /chunked/i) {
		while ($self->{in} !~ /(?:^|\r\n)0\r\n\r\n\z/) {
			$self->_more($end) or last;
		}

		my $body = '';

		while ($self->{in} =~ s/^([0-9a-f]+)\r\n//i) {
			my $size = hex $1 or last;

			$body .= substr $self->{in}, 0, $size, '';
			$self->{in} =~ s/^\r\n//;
		}

		return $self->{body} = $body;
	}

	while (!defined $length || length $self->{in} < $length) {
		$self->_more($end) or last;
	}

	return $self->{body} = substr $self->{in}, 0,
		defined $length ? $length : length $self->{in}, '';
}

sub status { $_[0]{status} }
sub reason { $_[0]{reason} }
sub headers { $_[0]{headers} }
sub header { $_[0]{headers}{lc $_[1]} }
sub body { $_[0]{body} }
sub eof { $_[0]{eof} }
sub bytes { $_[0]{bytes} }
sub sock { $_[0]{sock} }
sub fd { fileno $_[0]{sock} }

# Reads what is there; false if that was nothing.

sub _pull {
	my ($self) = @_;
	my $got = 0;

	my $ssl = ref $self->{sock} eq 'IO::Socket::SSL';

	while (!$self->{eof}) {
		my $n = sysread $self->{sock}, $self->{in}, 262144,
			length $self->{in};

		if ($n) {
			$got += $n;
			$self->{bytes} += $n;

			# TLS keeps bytes that poll() does not know of

			last if !$ssl && $n < 262144;
			next;
		}

		if (!defined $n) {
			next if $!{EINTR};
			last if $!{EAGAIN} || $!{EWOULDBLOCK};

			$self->{error} = "$!";
		}

		$self->{eof} = 1;
	}

	return $got;
}

# Waits for bytes until the time has come; false then and at the end.

sub _more {
	my ($self, $end) = @_;

	while (!$self->{eof}) {
		return 1 if $self->_pull();
		last if $self->{eof};

		my $left = $end - time();
		return 0 if $left <= 0;

		Test::RTBus::wait_io($self->fd(), POLLIN, $left);
	}

	return 0;
}

# Reads and parses what is there.

sub pump {
	my ($self) = @_;

	$self->_pull();
	$self->take();
}

# Waits until something is in the queue.

sub fill {
	my ($self, $end) = @_;

	while (1) {
		$self->take();
		return 1 if @{$self->{queue}};

		$self->_more($end) or last;
	}

	$self->take();
	return @{$self->{queue}} > 0;
}

sub deadline {
	my ($self, $timeout) = @_;

	return time() + (defined $timeout ? $timeout : $self->{timeout});
}

sub wait_eof {
	my ($self, $timeout) = @_;

	my $end = $self->deadline($timeout);

	while ($self->_more($end)) {
		$self->take();
	}

	return $self->{eof};
}

sub send_raw {
	my ($self, $bytes) = @_;

	local $SIG{PIPE} = 'IGNORE';

	my $end = $self->deadline();
	my $at = 0;

	Test::Nginx::log_out($bytes) if $ENV{TEST_NGINX_VERBOSE};

	return 0 unless $self->{sock}->opened();

	while ($at < length $bytes) {
		my $n = syswrite $self->{sock}, $bytes, length($bytes) - $at,
			$at;

		if (defined $n) {
			$at += $n;
			next;
		}

		next if $!{EINTR};
		return 0 unless $!{EAGAIN} || $!{EWOULDBLOCK};

		my $left = $end - time();
		return 0 if $left <= 0;

		Test::RTBus::wait_io($self->fd(), POLLOUT, $left);
	}

	return 1;
}

# Nothing tells when the server has read, so a pause has to part the pieces.

sub send_bytewise {
	my ($self, $bytes, $pause) = @_;

	return $self->_send_pieces($bytes, 1, $pause);
}

sub _send_pieces {
	my ($self, $bytes, $size, $pause) = @_;

	while (length $bytes) {
		$self->send_raw(substr $bytes, 0, $size, '') or return 0;

		select undef, undef, undef, defined $pause ? $pause : 0.001
			if length $bytes;
	}

	return 1;
}

sub shut_write {
	my ($self) = @_;

	shutdown $self->{sock}, 1;
}

sub drop {
	my ($self) = @_;

	CORE::close($self->{sock}) if $self->{sock}->opened();
	$self->{eof} = 1;
}

sub reset {
	my ($self) = @_;

	if ($self->{sock}->opened()) {
		setsockopt $self->{sock}, SOL_SOCKET, SO_LINGER,
			pack 'ii', 1, 0;
	}

	$self->drop();
}

###############################################################################

1;

###############################################################################
