package Test::RTBus::DNS;

# A name server for nginx's resolver, on 127.0.0.1 and a port of its own, that
# can be wrong in the ways that name servers are.
#
#	my $dns = Test::RTBus::DNS->new(dir => $t->testdir());
#	$dns->set('redis.test' => [ '127.0.0.1', '::1' ]);
#
# In nginx.conf: "resolver" and what conf() answers.
#
#	set($name => \@addresses [, %options])
#		ttl => N (0)  mute => 1 (no answer)  delay => N (seconds)
#		rcode => N (2: SERVFAIL, 3: NXDOMAIN)
#	A name that was not set does not exist.
#	asked($name) -> how many questions there were for it

###############################################################################

use warnings;
use strict;

use IO::Poll qw/ POLLIN /;
use IO::Socket::INET;
use POSIX ();
use Socket qw/ AF_INET AF_INET6 inet_pton /;
use Time::HiRes qw/ time /;

use Test::RTBus ();

my $count = 0;

sub new {
	my ($class, %o) = @_;

	my $self = bless {
		owner => $$,
		names => {},
		file => "$o{dir}/dns-" . ++$count,
	}, $class;

	$self->_write();

	my $sock = IO::Socket::INET->new(Proto => 'udp',
		LocalAddr => '127.0.0.1', LocalPort => 0)
		or die "Can't open a socket: $!\n";

	$self->{port} = $sock->sockport();

	my $pid = fork();
	die "Can't fork: $!\n" unless defined $pid;

	if ($pid == 0) {
		$SIG{$_} = 'DEFAULT' for qw/ INT TERM HUP PIPE /;

		$self->_serve($sock);
		POSIX::_exit(0);
	}

	$self->{pid} = $pid;

	Test::RTBus::at_end(sub { $self->_finish() });

	return $self;
}

sub _finish {
	my ($self) = @_;

	return if $self->{owner} != $$ || !$self->{pid};

	CORE::kill('KILL', $self->{pid});
	waitpid $self->{pid}, 0;

	delete $self->{pid};
}

sub conf { "127.0.0.1:$_[0]{port}" }

sub set {
	my ($self, $name, $addresses, %o) = @_;

	$self->{names}{$name} = { addresses => $addresses, %o };
	$self->_write();
}

sub _write {
	my ($self) = @_;

	my $file = "$self->{file}.new";

	open my $fh, '>', $file or die "Can't write $file: $!\n";
	print $fh Test::RTBus::json_encode($self->{names});
	close $fh or die "Can't write $file: $!\n";

	rename $file, $self->{file} or die "Can't rename $file: $!\n";
}

sub asked {
	my ($self, $name) = @_;

	return scalar grep { $_ eq $name } split /\n/,
		Test::RTBus::_slurp("$self->{file}.asked");
}

###############################################################################

# What is late waits, and does not hold up the others.

sub _serve {
	my ($self, $sock) = @_;

	my @late;

	while (getppid() == $self->{owner}) {
		if (Test::RTBus::wait_io(fileno $sock, POLLIN, 0.02)) {
			my $from = recv $sock, my $question, 4096, 0;

			push @late, $self->_answer($question, $from)
				if defined $from && length $question > 16;
		}

		for my $reply (grep { $_->{due} <= time() } @late) {
			send $sock, $reply->{bytes}, 0, $reply->{to};
		}

		@late = grep { $_->{due} > time() } @late;
	}
}

sub _answer {
	my ($self, $question, $from) = @_;

	my ($id, $flags) = unpack 'nn', $question;
	my ($at, @labels) = (12);

	while (my $len = unpack 'x' . $at . 'C', $question) {
		push @labels, substr $question, $at + 1, $len;
		$at += 1 + $len;
	}

	my $name = join '.', @labels;
	my ($type) = unpack 'x' . ($at + 1) . 'n', $question;
	my $asked = substr $question, 12, $at + 5 - 12;

	open my $fh, '>>', "$self->{file}.asked" or return;
	print $fh "$name\n";
	close $fh;

	my $known = Test::RTBus::json_decode(Test::RTBus::_slurp($self->{file}));
	my $is = $known->{$name} || { rcode => 3 };

	return if $is->{mute};

	my $family = $type == 28 ? AF_INET6 : AF_INET;

	my @data = $type == 1 || $type == 28
		? grep { defined } map { /:/ == ($type == 28)
			? inet_pton($family, $_) : undef }
			@{$is->{addresses} || []}
		: ();

	my $rcode = $is->{rcode} || 0;

	@data = () if $rcode;

	return {
		to => $from,
		due => time() + ($is->{delay} || 0),
		bytes => pack('n6', $id, 0x8180 | $rcode, 1, scalar @data, 0, 0)
			. $asked . join '', map {
				pack 'nnnNn/a', 0xc00c, $type, 1,
					$is->{ttl} || 0, $_
			} @data,
	};
}

###############################################################################

1;

###############################################################################
