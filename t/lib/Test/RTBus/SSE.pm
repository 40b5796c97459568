package Test::RTBus::SSE;

# A Server-Sent Events client: HTTP/1.0 or 1.1, chunks undone, and the stream
# read by the rules of the WHATWG HTML standard ("Interpreting an event
# stream").  It dies of chunks that are malformed.
#
#	my $sse = Test::RTBus::SSE->connect(path => '/events?channel=job:42');
#	is($sse->next_event()->{data}, '...', 'first event');
#
# connect(%options); the general ones are in RTBus.pm
#	last_event_id => $cursor, origin, accept (text/event-stream; undef
#	omits), version_http => '1.0'
#	-> the object; see status, header($name).  body is there if the reply
#	is not an event stream (is_stream is false then)
#
#	next_event([$seconds])	-> { event data id }; event is "message" if
#		none was given, id the last one seen; undef when the time is
#		over or the stream has ended (then eof is true)
#	next_json([$seconds])	-> the same, data decoded
#	wait_event($name [, $seconds]) -> event; others are kept for the next
#		calls, in order
#	pending() -> list of all events that are here now
#	comments -> list of comments so far      wait_comments($n [, $seconds])
#	faults	-> what readers that are laxer than the standard would stumble
#		on: an empty line that ends no event, an id behind its data
#	last_event_id, retry	-> as the stream has set them
#	ended	-> true if the last chunk has come (HTTP/1.1): a clean end
#	drop, close, reset	end it from this side
#
# Many of them: connect_many() in RTBus.pm and select_loop() there.
#
# Test::RTBus::SSE::Parser->new(); feed($bytes) -> list of events

###############################################################################

use warnings;
use strict;

use Time::HiRes qw/ time /;

use Test::RTBus ();

our @ISA = qw/ Test::RTBus::Client /;

sub connect {
	my ($class, %o) = @_;

	my $self = $class->open_client(%o);

	$self->{parser} = Test::RTBus::SSE::Parser->new();

	my $request = $self->_request(\%o,
		'Accept' => exists $o{accept}
			? $o{accept} : 'text/event-stream',
		'Last-Event-ID' => $o{last_event_id},
		'Origin' => $o{origin},
	);

	$self->_send_request(\%o, $request);

	$self->handshake() unless defined $o{read} && !$o{read};

	return $self;
}

sub handshake {
	my ($self, $timeout) = @_;

	$self->read_head($timeout) or return 0;

	my $type = $self->header('Content-Type') || '';

	$self->{stream} = $self->{status} == 200
		&& $type =~ m!^text/event-stream\s*(?:;|$)!i;

	if (!$self->{stream} || $self->{method} eq 'HEAD') {
		$self->read_body();
		return 0;
	}

	$self->{chunked} = ($self->header('Transfer-Encoding') || '')
		=~ /\bchunked\b/i;

	return 1;
}

sub is_stream { $_[0]{stream} ? 1 : 0 }
sub eof { $_[0]{eof} || $_[0]{ended} }
sub ended { $_[0]{ended} ? 1 : 0 }
sub comments { @{$_[0]{parser}{comments}} }
sub faults { @{$_[0]{parser}{faults}} }
sub retry { $_[0]{parser}{retry} }
sub last_event_id { $_[0]{parser}{last_id} }

sub take {
	my ($self) = @_;

	return unless $self->{stream};

	my $bytes;

	if ($self->{chunked}) {
		$bytes = $self->_unchunk();

	} else {
		($bytes, $self->{in}) = ($self->{in}, '');
	}

	return unless length $bytes;

	Test::Nginx::log_in($bytes) if $ENV{TEST_NGINX_VERBOSE};

	push @{$self->{queue}}, $self->{parser}->feed($bytes);
}

# {left} is what is to come of the current chunk, without its CRLF.

sub _unchunk {
	my ($self) = @_;

	my $out = '';

	while (length $self->{in} && !$self->{ended}) {

		if (!defined $self->{left}) {
			my $at = index $self->{in}, "\r\n";
			last if $at < 0;

			my $line = substr $self->{in}, 0, $at + 2, '';

			$line =~ /^([0-9a-f]{1,16})(?:;.*)?\r\n\z/i
				or die "A chunk of the server is malformed\n";

			$self->{left} = hex $1;
			$self->{last} = 1 if $self->{left} == 0;
		}

		if ($self->{left}) {
			my $part = substr $self->{in}, 0, $self->{left}, '';

			$self->{left} -= length $part;
			$out .= $part;
			next;
		}

		last if length $self->{in} < 2;

		die "A chunk of the server has no end\n"
			if substr($self->{in}, 0, 2, '') ne "\r\n";

		delete $self->{left};
		$self->{ended} = $self->{last};
	}

	return $out;
}

###############################################################################

sub next_message {
	my ($self) = @_;

	return shift @{$self->{queue}};
}

sub next_event {
	my ($self, $timeout) = @_;

	$self->_fill($self->deadline($timeout)) or return undef;

	return shift @{$self->{queue}};
}

# A kept-alive connection does not close after the last chunk.

sub _fill {
	my ($self, $end) = @_;

	while (1) {
		$self->take();
		return 1 if @{$self->{queue}};

		last if $self->{ended} || !$self->_more($end);
	}

	return 0;
}

sub next_json {
	my ($self, $timeout) = @_;

	my $event = $self->next_event($timeout) or return undef;

	return { %$event, data => Test::RTBus::json_decode($event->{data}) };
}

sub wait_event {
	my ($self, $name, $timeout) = @_;

	my $end = $self->deadline($timeout);
	my @others;
	my $found;

	while ($self->_fill($end)) {
		my $event = shift @{$self->{queue}};

		if ($event->{event} eq $name) {
			$found = $event;
			last;
		}

		push @others, $event;
	}

	unshift @{$self->{queue}}, @others;
	return $found;
}

sub pending {
	my ($self) = @_;

	$self->pump();

	return splice @{$self->{queue}};
}

sub wait_comments {
	my ($self, $n, $timeout) = @_;

	my $end = $self->deadline($timeout);

	while (1) {
		$self->take();
		return 1 if $self->comments() >= $n;

		return 0 if $self->{ended} || !$self->_more($end);
	}
}

sub close {
	my ($self) = @_;

	$self->drop();
}

###############################################################################

package Test::RTBus::SSE::Parser;

sub new {
	my ($class) = @_;

	return bless {
		in => '',
		start => 1,
		event => '',
		data => undef,
		last_id => '',
		comments => [],
		faults => [],
	}, $class;
}

sub feed {
	my ($self, $bytes) = @_;

	$self->{in} .= $bytes;

	# one byte order mark may lead, and may come in pieces

	if ($self->{start}) {
		my $bom = "\xef\xbb\xbf";

		return () if length $self->{in} < 3
			&& $self->{in} eq substr $bom, 0, length $self->{in};

		$self->{in} =~ s/^$bom//;
		$self->{start} = 0;
	}

	# A CR ends a line at once, and a LF right behind it belongs to it.

	$self->{in} =~ s/^\n// if $self->{cr};
	$self->{cr} = 0 if length $bytes;

	my ($end) = sort { $b <=> $a } map { rindex $self->{in}, $_ }
		"\n", "\r";

	return () if $end < 0;

	my $text = substr $self->{in}, 0, $end + 1, '';
	my @lines = split /\r\n?|\n/, $text, -1;

	# behind the last end there is nothing

	pop @lines;
	$self->{cr} = substr($text, -1) eq "\r";

	return map { $self->_line($_) } @lines;
}

sub _line {
	my ($self, $line) = @_;

	if ($line eq '') {
		my ($event, $data) = @$self{qw/ event data /};

		@$self{qw/ event data /} = ('', undef);
		$self->{last_id} = $self->{id} if defined $self->{id};

		if (!defined $data) {
			push @{$self->{faults}}, 'empty line';
			return ();
		}

		chop $data;

		return {
			event => $event eq '' ? 'message' : $event,
			data => $data,
			id => $self->{last_id},
		};
	}

	if ($line =~ /^: ?(.*)/s) {
		push @{$self->{comments}}, $1;
		return ();
	}

	my ($field, $value) = split /: ?/, $line, 2;
	$value = '' unless defined $value;

	if ($field eq 'event') {
		$self->{event} = $value;

	} elsif ($field eq 'data') {
		$self->{data} = '' unless defined $self->{data};
		$self->{data} .= "$value\n";

	} elsif ($field eq 'id') {
		push @{$self->{faults}}, 'id behind data'
			if defined $self->{data};
		$self->{id} = $value unless $value =~ /\0/;

	} elsif ($field eq 'retry') {
		$self->{retry} = $value if $value =~ /^[0-9]+\z/;
	}

	return ();
}

###############################################################################

1;

###############################################################################
