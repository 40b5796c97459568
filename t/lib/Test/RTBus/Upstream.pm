package Test::RTBus::Upstream;

# A server that does as the suite says: it is in the suite's own process, which
# writes an answer piece by piece and sees when nginx leaves.
#
#	my $up = Test::RTBus::Upstream->new();		# $up->port()
#	my $c = $up->accept();		# undef after 10 s; ->request() ->body()
#	$c = $up->next($c);		# the next request, on this connection
#					# or on a new one
#	$c->head('text/event-stream');	# 200, chunked
#	$c->send("data: 1\n\n");
#	$c->end();			# the last chunk; keeps the connection
#	$c->close();			# without it
#
#	head($type, %o)	status => 200, chunked => 1, headers => [ "X: y" ]
#	raw($bytes)	as they are
#	gone([$seconds])	-> true once nginx has closed
#	waiting()	-> true if a connection is there to be accepted

###############################################################################

use warnings;
use strict;

use IO::Select;
use IO::Socket::INET;
use Time::HiRes qw/ time /;

use Test::RTBus ();

sub new {
	my ($class, %o) = @_;

	my $port = Test::RTBus::free_port();

	my $s = IO::Socket::INET->new(LocalAddr => '127.0.0.1',
		LocalPort => $port, Listen => 512, ReuseAddr => 1)
		or die "Can't listen on $port: $!\n";

	return bless { sock => $s, port => $port }, $class;
}

sub port { $_[0]{port} }

sub waiting {
	my ($self, $timeout) = @_;

	return IO::Select->new($self->{sock})->can_read($timeout || 0) ? 1 : 0;
}

sub accept {
	my ($self, $timeout) = @_;

	$self->waiting(defined $timeout ? $timeout : 10) or return undef;

	my $s = $self->{sock}->accept() or return undef;
	my $c = bless { sock => $s, in => '' }, 'Test::RTBus::Upstream::Client';

	return $c->read_request() ? $c : undef;
}

sub next {
	my ($self, $c, $timeout) = @_;

	my $set = IO::Select->new($self->{sock}, $c->{sock});
	my $end = time() + (defined $timeout ? $timeout : 10);

	while ((my $left = $end - time()) > 0) {

		for my $s ($set->can_read($left)) {
			return $self->accept() if $s == $self->{sock};
			return $c if $c->read_request();

			$set->remove($s);
		}
	}

	return undef;
}

###############################################################################

package Test::RTBus::Upstream::Client;

sub read_request {
	my ($self, $timeout) = @_;

	my $end = time() + (defined $timeout ? $timeout : 10);

	while ($self->{in} !~ /^(.*?\r\n)\r\n/s) {
		$self->_more($end) or return 0;
	}

	$self->{in} =~ s/^(.*?\r\n)\r\n//s;
	$self->{request} = $1;

	my ($length) = $self->{request} =~ /^content-length: (\d+)/im;

	while (length $self->{in} < ($length || 0)) {
		$self->_more($end) or return 0;
	}

	$self->{body} = substr $self->{in}, 0, $length || 0, '';

	return 1;
}

sub _more {
	my ($self, $end) = @_;

	my $left = $end - time();

	return 0 if $left <= 0
		|| !IO::Select->new($self->{sock})->can_read($left);

	return sysread $self->{sock}, $self->{in}, 65536, length $self->{in};
}

sub request { $_[0]{request} }
sub body { $_[0]{body} }

sub raw {
	my ($self, $bytes) = @_;

	local $SIG{PIPE} = 'IGNORE';

	my $at = 0;

	while ($at < length $bytes) {
		my $n = syswrite $self->{sock}, $bytes, length($bytes) - $at,
			$at;

		return 0 unless defined $n;
		$at += $n;
	}

	return 1;
}

sub head {
	my ($self, $type, %o) = @_;

	$self->{chunked} = defined $o{chunked} ? $o{chunked} : 1;

	return $self->raw(join "\r\n", 'HTTP/1.1 ' . ($o{status} || 200) . ' X',
		(defined $type ? "Content-Type: $type" : ()),
		($self->{chunked} ? 'Transfer-Encoding: chunked' : ()),
		@{$o{headers} || []}, '', '');
}

sub send {
	my ($self, $bytes) = @_;

	return $self->raw($self->{chunked}
		? sprintf("%x\r\n%s\r\n", length $bytes, $bytes) : $bytes);
}

sub end {
	my ($self) = @_;

	return $self->raw("0\r\n\r\n");
}

sub close {
	my ($self) = @_;

	CORE::close($self->{sock});
}

sub gone {
	my ($self, $timeout) = @_;

	my $end = time() + (defined $timeout ? $timeout : 10);

	while (1) {
		my $left = $end - time();

		return 0 if $left <= 0
			|| !IO::Select->new($self->{sock})->can_read($left);

		return 1 unless sysread $self->{sock}, my $buf, 65536;
	}
}

###############################################################################

1;

###############################################################################
