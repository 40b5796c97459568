package Test::RTBus::Polling;

# Socket.IO 5 over Engine.IO 4 over long-polling.  Each request goes over a
# connection of its own, so it lands at any worker.
#
#	my $io = Test::RTBus::Polling->connect(path => '/socket.io/?job=1');
#	$io->join_nsp();
#	is($io->packet()->{name}, 'connected', 'connected');
#
# All of SocketIO.pm that makes sense: packet, wait_packet, wait_name, wait_ack,
# settled, join_nsp, leave, emit, open_packet.  And
#
#	connect(%options)	those of RTBus.pm, for all requests
#	sid			of the session
#	get([%options])		-> the answer to a GET; undef after "timeout" => N
#	get_start([%options])	-> a request; ->wait([$seconds]) -> its answer
#	post($payload [, %options])	-> the answer to a POST
#	request($method [, %options])	-> the answer to any request; sid => '..'
#		and query => '..' for what is not the session's
#	packets($answer)	-> list of Engine.IO packets, as they are
#
# An answer is a client of RTBus.pm: status, header, body.

###############################################################################

use warnings;
use strict;

use MIME::Base64 qw/ decode_base64 encode_base64 /;
use Time::HiRes qw/ time /;

use Test::RTBus::SocketIO ();

our @ISA = qw/ Test::RTBus::SocketIO /;

sub connect {
	my ($class, %o) = @_;

	my $self = bless {
		options => \%o,
		timeout => $o{timeout} || 10,
		auto_ping => defined $o{auto_ping} ? $o{auto_ping} : 1,
		engine_pings => 0,
		packets => [],
		got => [],
	}, $class;

	my $answer = $self->request('GET');

	$self->{opened} = $answer;

	if ($answer && $answer->status() == 200 && $answer->body() =~ /^0(.*)/s)
	{
		$self->{open_packet} = Test::RTBus::json_decode($1);
		$self->{sid} = $self->{open_packet}{sid};
	}

	return $self;
}

sub sid { $_[0]{sid} }
sub opened { $_[0]{opened} }
sub deadline { time() + (defined $_[1] ? $_[1] : $_[0]{timeout}) }

sub start {
	my ($self, $method, %more) = @_;

	my %o = (%{$self->{options}}, %more, method => $method);
	my $path = defined $o{path} ? $o{path} : '/socket.io/';
	my $sid = exists $o{sid} ? $o{sid} : $self->{sid};

	$path .= ($path =~ /\?/ ? '&' : '?')
		. (defined $o{query} ? $o{query} : 'EIO=4&transport=polling');
	$path .= "&sid=$sid" if defined $sid;

	return Test::RTBus::Polling::Request->start(%o, path => $path);
}

sub request {
	my ($self, $method, %more) = @_;

	return $self->start($method, %more)->wait($more{timeout});
}

sub get_start { my $self = shift; $self->start('GET', @_) }
sub get { my $self = shift; $self->request('GET', @_) }

sub post {
	my ($self, $payload, %more) = @_;

	return $self->request('POST', %more, body => $payload);
}

sub packets {
	my ($self, $answer) = @_;

	return $answer && $answer->status() == 200
		? split /\x1e/, $answer->body() : ();
}

# What the others build upon: messages one by one.

sub recv_message {
	my ($self, $timeout) = @_;

	my $end = $self->deadline($timeout);

	while (!@{$self->{got}}) {
		$self->{poll} ||= $self->get_start();

		my $answer = $self->{poll}->wait($end - time()) or return undef;

		delete $self->{poll};

		$self->{last} = $answer;

		return undef if $answer->status() != 200;

		push @{$self->{got}}, grep { $_ ne '6' }
			$self->packets($answer);
	}

	my $packet = shift @{$self->{got}};

	return $packet =~ s/^b// ? { type => 2, message => decode_base64($packet) }
		: { type => 1, message => $packet };
}

sub last_answer { $_[0]{last} }

sub send_text {
	my ($self, $text) = @_;

	my $answer = $self->post($text);

	return $answer && $answer->status() == 200;
}

sub send_binary {
	my ($self, $bytes) = @_;

	return $self->send_text('b' . encode_base64($bytes, ''));
}

###############################################################################

package Test::RTBus::Polling::Request;

our @ISA = qw/ Test::RTBus::Client /;

sub start {
	my ($class, %o) = @_;

	my $self = $class->open_client(%o);
	my $body = $o{body};

	my @length = defined $body && !$o{omit}
		? ('Content-Length' => length $body) : ();

	$self->_send_request(\%o, $self->_request(\%o, Connection => 'close',
		@length) . (defined $body ? $body : ''));

	return $self;
}

# The answer may come in pieces, of time, too.

sub wait {
	my ($self, $timeout) = @_;

	if (!$self->{status}) {
		$self->read_head($timeout) or return undef;
	}

	$self->read_body() unless defined $self->{body};

	return $self;
}

###############################################################################

1;

###############################################################################
