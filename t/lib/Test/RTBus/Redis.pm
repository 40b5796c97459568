package Test::RTBus::Redis;

# A real redis-server of the suite's own: it can be stopped, killed, started
# again and spoken to, and nothing of it stays.
#
#	my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
#
#	new(dir => $path, [ port => N, host => $address, aof => 1,
#		password => $text, args => [ '--maxmemory', '10mb', ... ],
#		start => 0,
#		sentinel => [ 'monitor mymaster 127.0.0.1 6379 2', ... ] ])
#			sentinel: it is one, with these lines of configuration;
#			args there are of what a sentinel knows
#	port socket dir pid log	-> number, paths, pid (undef if down), text
#	at	-> "127.0.0.1:N"
#	url([ db => N, user => $u, password => $p ])  -> redis://127.0.0.1:N/0
#	start		again, same port and directory; returns when it answers
#	stop		TERM, waits; kill: KILL, waits
#	pause, resume	SIGSTOP, SIGCONT: a server that is there but mute
#	cmd(@args)	-> the reply; dies of an error reply, but waits for nginx
#			to load its functions
#	try_cmd(@args)	-> the reply, errors as Test::RTBus::Redis::Error
#	pipeline([@args], ...)	-> list of replies, errors as such objects
#			($r->error is the text, and so is "$r")
#	publish($channel, $bytes | \%data)	-> receivers
#	event($channel, $name, $data [, %more])	-> receivers; an envelope
#	subscribers($channel)	-> PUBSUB NUMSUB
#	wait_subscribers($channel, $n [, $seconds])	-> true when there are n
#	take($stream, [ $n [, $seconds ] ])
#			-> the next $n (1) commands of the stream, as a consumer
#			of the group "test" gets and acknowledges them: hashes
#			of the fields, the stream's id as {id}; fewer when the
#			time (10 s) is over
#	answer($command, \%message)	-> receivers; PUBLISH to its {reply},
#			with its {ack} unless the message has an "ack" or "sid"
#	load_functions($file)	FUNCTION LOAD REPLACE
#	monitor() -> object with lines([$seconds]): what MONITOR has shown
#
# Replies: strings and numbers as they are, nil as undef, arrays as array
# references.  A process forked from the suite gets a connection of its own and
# stops nothing.  At the end Redis is stopped after nginx.

###############################################################################

use warnings;
use strict;

use File::Path qw/ make_path remove_tree /;
use POSIX qw/ WNOHANG /;
use Time::HiRes qw/ time /;

use Test::RTBus ();

my $WAIT = 15;
my $count = 0;

sub new {
	my ($class, %o) = @_;

	die "Test::RTBus::Redis needs a dir\n" unless defined $o{dir};

	my $self = bless {
		owner => $$,
		dir => "$o{dir}/redis-" . ++$count,
		port => $o{port},
		host => defined $o{host} ? $o{host} : '127.0.0.1',
		aof => $o{aof},
		password => $o{password},
		args => $o{args} || [],
		sentinel => $o{sentinel},
	}, $class;

	make_path($self->{dir});

	# this also keeps the object until nginx is gone

	Test::RTBus::at_end(sub { $self->_finish() });

	$self->start() unless defined $o{start} && !$o{start};

	return $self;
}

sub DESTROY {
	my ($self) = @_;
	local ($?, $!, $@);

	$self->_finish();
}

sub _finish {
	my ($self) = @_;

	return if $self->{owner} != $$;

	$self->_end('TERM');

	remove_tree($self->{dir}, { error => \my $ignored })
		unless $ENV{TEST_NGINX_LEAVE};
}

###############################################################################

sub port { $_[0]{port} }
sub at { ($_[0]{host} =~ /:/ ? "[$_[0]{host}]" : $_[0]{host}) . ":$_[0]{port}" }
sub dir { $_[0]{dir} }
sub pid { $_[0]{pid} }
sub socket { "$_[0]{dir}/redis.sock" }
sub log { Test::RTBus::_slurp("$_[0]{dir}/redis.log") }

sub url {
	my ($self, %o) = @_;

	my $password = defined $o{password} ? $o{password} : $self->{password};
	my $auth = '';

	if (defined $password) {
		$auth = (defined $o{user} ? $o{user} : '') . ":$password@";
	}

	return "redis://$auth" . $self->at() . '/' . ($o{db} || 0);
}

sub start {
	my ($self) = @_;

	return $self if $self->{pid};

	# a port that we chose may be taken by the time Redis wants it; one
	# that is known to others already has to be had

	my $tries = defined $self->{port} ? 1 : 5;

	while ($tries--) {
		$self->{port} = Test::RTBus::free_port()
			unless defined $self->{port};

		return $self if $self->_try_start();

		delete $self->{port} if $tries;
	}

	die "Can't start redis-server\n" . $self->log();
}

sub _try_start {
	my ($self) = @_;

	my @args = (
		'--port', $self->{port},
		'--bind', $self->{host},
		'--unixsocket', $self->socket(),
		'--unixsocketperm', '777',
		'--dir', $self->{dir},
		'--save', '',
		'--appendonly', $self->{aof} ? 'yes' : 'no',
		'--appendfsync', 'always',
		'--daemonize', 'no',
		'--enable-debug-command', 'yes',
		@{$self->{args}},
	);

	# it may have any character, and arguments are not quoted by all versions

	if (defined $self->{password}) {
		my $file = "$self->{dir}/redis-$self->{port}.conf";

		open my $fh, '>', $file or die "Can't write $file: $!\n";
		print $fh 'requirepass "'
			. ($self->{password} =~ s/(["\\])/\\$1/gr) . "\"\n";
		close $fh or die "Can't write $file: $!\n";

		unshift @args, $file;
	}

	@args = $self->_sentinel() if $self->{sentinel};

	my $pid = fork();
	die "Can't fork: $!\n" unless defined $pid;

	if ($pid == 0) {
		open STDIN, '<', '/dev/null';
		open STDOUT, '>>', "$self->{dir}/redis.log";
		open STDERR, '>&', \*STDOUT;

		{ exec 'redis-server', @args }
		POSIX::_exit(127);
	}

	my $end = time() + $WAIT;

	while (time() < $end) {
		return 0 if waitpid($pid, WNOHANG) > 0;

		# an answer could be that of a stranger who has our port

		my $reply = eval { $self->try_cmd('INFO', 'server') };

		if (defined $reply && $reply =~ /^process_id:(\d+)/m
			&& $1 == $pid
			&& $self->try_cmd('PING') eq 'PONG')
		{
			$self->{pid} = $pid;
			return 1;
		}

		select undef, undef, undef, 0.01;
	}

	CORE::kill('KILL', $pid);
	waitpid $pid, 0;

	return 0;
}

# It writes what it learns into its file, and finds it there again.

sub _sentinel {
	my ($self) = @_;

	my $file = "$self->{dir}/sentinel.conf";

	if (!-e $file) {
		open my $fh, '>', $file or die "Can't write $file: $!\n";

		print $fh map { "$_\n" } "port $self->{port}", 'bind 127.0.0.1',
			"dir $self->{dir}", defined $self->{password}
				? "requirepass $self->{password}" : (),
			map { "sentinel $_" } @{$self->{sentinel}};
		close $fh;
	}

	return ($file, '--sentinel', @{$self->{args}});
}

sub stop {
	my ($self) = @_;

	return $self->_end('TERM');
}

sub kill {
	my ($self) = @_;

	return $self->_end('KILL');
}

sub _end {
	my ($self, $signal) = @_;

	my $pid = $self->{pid} or return $self;

	die "Redis belongs to another process\n" if $self->{owner} != $$;

	delete $self->{conn};

	CORE::kill($signal, $pid);
	CORE::kill('CONT', $pid) if delete $self->{paused};

	my $end = time() + $WAIT;

	while (waitpid($pid, WNOHANG) == 0) {
		CORE::kill('KILL', $pid) if time() > $end;
		select undef, undef, undef, 0.005;
	}

	delete $self->{pid};
	return $self;
}

sub pause {
	my ($self) = @_;

	$self->{paused} = 1;
	CORE::kill('STOP', $self->{pid});

	# the signal takes its time; who has halted shows as T

	Test::RTBus::wait_for {
		Test::RTBus::_slurp("/proc/$self->{pid}/stat") =~ /\) T /;
	} 'redis-server to halt';

	return $self;
}

sub resume {
	my ($self) = @_;

	delete $self->{paused};
	CORE::kill('CONT', $self->{pid});

	return $self;
}

###############################################################################

sub cmd {
	my ($self, @args) = @_;

	my $reply = $self->try_cmd(@args);

	# nginx loads its functions a moment after it has its links

	for (1 .. 100) {
		last if ref $reply ne 'Test::RTBus::Redis::Error'
			|| $reply->error() !~ /Function not found/;

		select undef, undef, undef, 0.1;
		$reply = $self->try_cmd(@args);
	}

	die "Redis: " . $reply->error() . "\n"
		if ref $reply eq 'Test::RTBus::Redis::Error';

	return $reply;
}

sub try_cmd {
	my ($self, @args) = @_;

	return ($self->pipeline(\@args))[0];
}

sub pipeline {
	my ($self, @cmds) = @_;

	my $out = join '', map { _encode(@$_) } @cmds;

	# a connection from before a restart, or one that a test has killed,
	# shows as closed at the first read

	for my $fresh (0, 1) {
		my $conn = $self->_conn($fresh);

		$conn->write($out) or next;

		my $first = eval { [ $conn->reply() ] };

		if (!$first) {
			next if $@ =~ /closed/ && !$fresh;
			die $@;
		}

		return ($first->[0], map { $conn->reply() } 2 .. @cmds);
	}

	die "Redis does not take the command\n";
}

sub _conn {
	my ($self, $fresh) = @_;

	my $conn = $self->{conn};

	return $conn if $conn && !$fresh && $conn->{pid} == $$;

	return $self->{conn} = $self->_connect();
}

sub _connect {
	my ($self) = @_;

	my $conn = Test::RTBus::Redis::Connection->new($self->{port},
		$self->{host});

	if (defined $self->{password}) {
		$conn->write(_encode('AUTH', $self->{password}));
		$conn->reply();
	}

	return $conn;
}

sub _encode {
	my (@args) = @_;

	my $out = '*' . @args . "\r\n";

	for my $arg (@args) {
		utf8::encode($arg) if utf8::is_utf8($arg);
		$out .= '$' . length($arg) . "\r\n$arg\r\n";
	}

	return $out;
}

###############################################################################

sub publish {
	my ($self, $channel, $message) = @_;

	$message = Test::RTBus::json_encode($message) if ref $message;

	return $self->cmd('PUBLISH', $channel, $message);
}

sub event {
	my ($self, $channel, $name, $data, %more) = @_;

	return $self->publish($channel,
		{ event => $name, data => $data, %more });
}

sub subscribers {
	my ($self, $channel) = @_;

	return $self->cmd('PUBSUB', 'NUMSUB', $channel)->[1];
}

sub wait_subscribers {
	my ($self, $channel, $n, $timeout) = @_;

	return Test::RTBus::wait_for {
		$self->subscribers($channel) == $n
	} "$n subscribers of $channel", $timeout;
}

sub take {
	my ($self, $stream, $n, $timeout) = @_;
	my @commands;

	$n = 1 unless defined $n;

	Test::RTBus::wait_for {
		my $reply = $self->try_cmd('XREADGROUP', 'GROUP', 'test', 'one',
			'COUNT', $n - @commands, 'NOACK', 'STREAMS', $stream,
			'>');

		if (ref $reply eq 'Test::RTBus::Redis::Error') {
			$self->try_cmd('XGROUP', 'CREATE', $stream, 'test', 0,
				'MKSTREAM');
			return 0;
		}

		for my $entry ($reply ? @{$reply->[0][1]} : ()) {
			push @commands, { @{$entry->[1]}, id => $entry->[0] };
		}

		@commands == $n;
	} undef, $timeout;

	return wantarray ? @commands : $commands[0];
}

sub answer {
	my ($self, $command, $message) = @_;

	$message = { ack => $command->{ack} + 0, %$message }
		unless exists $message->{ack} || exists $message->{sid};

	return $self->publish($command->{reply}, $message);
}

sub load_functions {
	my ($self, $file) = @_;

	return $self->cmd('FUNCTION', 'LOAD', 'REPLACE',
		Test::RTBus::_slurp($file));
}

sub monitor {
	my ($self) = @_;

	my $conn = $self->_connect();

	$conn->write(_encode('MONITOR'));
	$conn->reply();

	return $conn;
}

###############################################################################

package Test::RTBus::Redis::Error;

use overload '""' => sub { $_[0]{error} }, fallback => 1;

sub new {
	my ($class, $error) = @_;

	return bless { error => $error }, $class;
}

sub error { $_[0]{error} }

###############################################################################

# One connection; replies are read one at a time, in a bounded time.

package Test::RTBus::Redis::Connection;

use IO::Poll qw/ POLLIN /;
use IO::Socket::IP;
use Time::HiRes qw/ time /;

sub new {
	my ($class, $port, $host) = @_;

	my $sock = IO::Socket::IP->new(
		Type => SOCK_STREAM,
		PeerHost => defined $host ? $host : '127.0.0.1',
		PeerPort => $port
	)
		or die "Can't connect to Redis at port $port: $!\n";

	return bless { sock => $sock, in => '', pid => $$ }, $class;
}

sub write {
	my ($self, $bytes) = @_;

	local $SIG{PIPE} = 'IGNORE';

	while (length $bytes) {
		my $n = syswrite $self->{sock}, $bytes;

		if (!defined $n) {
			next if $!{EINTR};
			return 0;
		}

		substr $bytes, 0, $n, '';
	}

	return 1;
}

sub _more {
	my ($self, $end) = @_;

	Test::RTBus::wait_io(fileno $self->{sock}, POLLIN, $end - time())
		or return 0;

	my $n = sysread $self->{sock}, $self->{in}, 262144, length $self->{in};
	die "Redis has closed the connection\n" unless $n;

	return 1;
}

sub _need {
	my ($self, $end) = @_;

	# a signal may cut the wait short

	until ($self->_more($end)) {
		die "Redis does not answer\n" if time() > $end;
	}
}

sub reply {
	my ($self, $end) = @_;

	$end = time() + 15 unless defined $end;

	my $at;

	while (($at = index $self->{in}, "\r\n") < 0) {
		$self->_need($end);
	}

	my $line = substr $self->{in}, 0, $at + 2, '';
	my $type = substr $line, 0, 1, '';

	$line =~ s/\r\n\z//;

	return $line if $type eq '+' || $type eq ':';
	return Test::RTBus::Redis::Error->new($line) if $type eq '-';

	if ($type eq '$') {
		return undef if $line < 0;

		while (length $self->{in} < $line + 2) {
			$self->_need($end);
		}

		my $bulk = substr $self->{in}, 0, $line + 2, '';
		return substr $bulk, 0, $line;
	}

	if ($type eq '*') {
		return undef if $line < 0;
		return [ map { $self->reply($end) } 1 .. $line ];
	}

	die "Redis sent a reply of type '$type'\n";
}

# For MONITOR: what has come, and what comes within the time.

sub lines {
	my ($self, $timeout) = @_;

	my $end = time() + ($timeout || 0);

	while ($self->_more($end)) {
		# nothing
	}

	my @lines;

	while ($self->{in} =~ s/^\+(.*?)\r\n//s) {
		push @lines, $1;
	}

	return @lines;
}

###############################################################################

1;

###############################################################################
