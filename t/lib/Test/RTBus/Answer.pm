package Test::RTBus::Answer;

# A request and its answer, byte by byte: what has come so far, and whether it
# has ended as HTTP says or was broken off.
#
#	my $a = Test::RTBus::Answer->ask(path => '/x');
#	is($a->status(), 200, 'status');
#	ok($a->wait_body(qr/hello/), 'begins');
#	is($a->finish(), "hello\n", 'body');
#	ok($a->whole(), 'ended');
#
# ask(%options); the general ones are in RTBus.pm; further:
#	body => $bytes, with a Content-Length unless headers say otherwise
#	type => "application/json"
#	wait => 0	does not wait for the head: see head([$seconds])
#
#	got		-> bytes of the body so far
#	wait_body(qr/../ [, $seconds])	-> true once they are there
#	finish([$seconds])	-> the body, once it has ended or the time is over
#	whole		-> 1 if it has ended as it should
#	over		-> 1 if there will be no more of it

###############################################################################

use warnings;
use strict;

use Test::RTBus ();

our @ISA = qw/ Test::RTBus::Client /;

sub ask {
	my ($class, %o) = @_;

	my $self = $class->open_client(%o);

	my $body = $o{body};
	my $request = $self->_request(\%o,
		'Content-Type' => $o{type},
		'Content-Length' => defined $body ? length $body : undef,
	);

	$request .= $body if defined $body;

	$self->{got} = '';
	$self->_send_request(\%o, $request);

	$self->head() unless defined $o{wait} && !$o{wait};

	return $self;
}

sub head {
	my ($self, $timeout) = @_;

	$self->read_head($timeout) or return 0;

	$self->{chunked} = ($self->header('Transfer-Encoding') || '')
		=~ /\bchunked\b/i;
	$self->{length} = $self->header('Content-Length');

	$self->{whole} = 1 if $self->{method} eq 'HEAD'
		|| $self->{status} =~ /^(?:204|304)/
		|| defined $self->{length} && $self->{length} == 0;

	$self->{head} = 1;

	return 1;
}

sub got { $_[0]->take(); $_[0]{got} }
sub whole { $_[0]->take(); $_[0]{whole} ? 1 : 0 }
sub over { $_[0]->take(); $_[0]{whole} || $_[0]{eof} ? 1 : 0 }

sub take {
	my ($self) = @_;

	return unless $self->{head};

	$self->_pull();

	if (!$self->{chunked}) {
		$self->{got} .= $self->{in};
		$self->{in} = '';

		$self->{whole} = 1 if defined $self->{length}
			? length $self->{got} >= $self->{length}
			: $self->{eof};

		return;
	}

	while (!$self->{whole}) {

		if (!defined $self->{left}) {
			$self->{in} =~ s/^([0-9a-f]+)\r\n//i or last;
			$self->{left} = hex $1;
			$self->{last} = $self->{left} == 0;
		}

		my $part = substr $self->{in}, 0, $self->{left}, '';

		$self->{left} -= length $part;
		$self->{got} .= $part;

		last if $self->{left} || $self->{in} !~ s/^\r\n//;

		delete $self->{left};
		$self->{whole} = 1 if $self->{last};
	}
}

sub wait_body {
	my ($self, $what, $timeout) = @_;

	my $end = $self->deadline($timeout);

	while (1) {
		$self->take();
		return 1 if $self->{got} =~ $what;
		return 0 if $self->{whole} || !$self->_more($end);
	}
}

sub finish {
	my ($self, $timeout) = @_;

	my $end = $self->deadline($timeout);

	while (1) {
		$self->take();
		last if $self->{whole} || !$self->_more($end);
	}

	$self->take();

	return $self->{got};
}

###############################################################################

1;

###############################################################################
