package Test::RTBus::SocketIO;

# Socket.IO 5 over Engine.IO 4 over the WebSocket client: packets as they are,
# nothing that a stock client would do by itself.
#
#	my $io = Test::RTBus::SocketIO->connect(path => '/socket.io/?job=1');
#	my $sid = $io->join_nsp('/', { token => '...' })->{data}{sid};
#	$io->emit('subscribe', { channel => 'job:1' }, { ack => 1 });
#	is($io->wait_ack(1)->{data}[0]{ok}, JSON::PP::true, 'subscribed');
#
# connect(%options) as in WebSocket.pm; EIO=4&transport=websocket is added to
# the query unless there is an EIO or query => '...' replaces all of it
#	auto_ping => 0 (the server's pings are not answered)
#	-> the object; open_packet is the decoded "open", undef if there is none
#
#	packet([$seconds]) -> next packet { type nsp ack data attachments text
#		name cursor }; undef when the time is over or at the end.  Data is
#		decoded, attachments is a list of bytes, name and cursor are the
#		first and the last string of an event's data
#	wait_packet($seconds, sub { cond on $_[0] }) -> packet; the others are
#		kept, in order, for packet and the wait_ functions
#	wait_name($event [, $nsp [, $seconds]])   wait_ack($n [, $nsp, [$secs]])
#	wait_event($event [, $seconds])		in any namespace, as the other
#		clients have it
#	settled() -> list of packets up to the answer of an event sent now in a
#		connected namespace ($nsp, "/"): what had to come has come
#	join_nsp([$nsp [, $auth]]) -> the answer to a CONNECT
#	leave([$nsp])
#	emit($name, $args..., { nsp => .., ack => .., attachments => [ .. ] })
#		the last hash is always that of the options
#	engine_pings -> pings of the server so far

###############################################################################

use warnings;
use strict;

use Time::HiRes qw/ time /;

use Test::RTBus::WebSocket ();

our @ISA = qw/ Test::RTBus::WebSocket /;

my $acks = 1000000;

sub connect {
	my ($class, %o) = @_;

	my $path = defined $o{path} ? $o{path} : '/socket.io/';
	my $query = defined $o{query} ? $o{query} : 'EIO=4&transport=websocket';

	$path .= ($path =~ /\?/ ? '&' : '?') . $query
		unless $path =~ /\bEIO=/ || $query eq '';

	my $self = $class->SUPER::connect(%o, path => $path);

	$self->{auto_ping} = defined $o{auto_ping} ? $o{auto_ping} : 1;
	$self->{engine_pings} = 0;
	$self->{packets} = [];

	return $self if !$self->{open} || defined $o{read} && !$o{read};

	my $f = $self->recv_message();

	if ($f && $f->{message} =~ s/^0//) {
		$self->{open_packet} = Test::RTBus::json_decode($f->{message});
	}

	return $self;
}

sub open_packet { $_[0]{open_packet} }
sub engine_pings { $_[0]{engine_pings} }

sub _next_packet {
	my ($self, $timeout) = @_;

	my $end = $self->deadline($timeout);

	while (my $f = $self->recv_message($end - time())) {
		my $text = $f->{message};

		die "The server sent a binary frame that belongs to no packet\n"
			if $f->{type} == 2;

		if ($text eq '2') {
			$self->{engine_pings}++;
			$self->send_text('3') if $self->{auto_ping};
			next;
		}

		die "The server sent a malformed packet: $text\n"
			unless $text =~ m!^4([0-6])(?:(\d+)-)?(?:(/[^,]*),)?
				(\d+)?(.*)\z!xs;

		my $p = {
			type => $1,
			nsp => defined $3 ? $3 : '/',
			ack => $4,
			data => length $5 ? Test::RTBus::json_decode($5)
				: undef,
			text => $text,
			attachments => [],
		};

		die "The server sent a malformed packet: $text\n"
			if defined $2 != ($p->{type} >= 5);

		for (1 .. $2 || 0) {
			my $a = $self->recv_message();

			die "The server sent a packet for an attachment\n"
				if $a && $a->{type} != 2;

			push @{$p->{attachments}}, $a ? $a->{message} : undef;
		}

		if ($p->{type} == 2 || $p->{type} == 5) {
			$p->{name} = $p->{data}[0];
			$p->{cursor} = $p->{data}[-1]
				if @{$p->{data}} > 1 && !ref $p->{data}[-1];
		}

		return $p;
	}

	return undef;
}

sub packet {
	my ($self, $timeout) = @_;

	return shift @{$self->{packets}} if @{$self->{packets}};
	return $self->_next_packet($timeout);
}

sub wait_packet {
	my ($self, $timeout, $fits) = @_;

	my $end = $self->deadline($timeout);
	my $kept = $self->{packets};

	for my $i (0 .. $#$kept) {
		return splice @$kept, $i, 1 if $fits->($kept->[$i]);
	}

	while (my $p = $self->_next_packet($end - time())) {
		return $p if $fits->($p);
		push @$kept, $p;
	}

	return undef;
}

sub wait_name {
	my ($self, $name, $nsp, $timeout) = @_;

	return $self->wait_packet($timeout, sub {
		defined $_[0]{name} && $_[0]{name} eq $name
			&& (!defined $nsp || $_[0]{nsp} eq $nsp);
	});
}

sub wait_event {
	my ($self, $name, $timeout) = @_;

	return $self->wait_name($name, undef, $timeout);
}

sub wait_ack {
	my ($self, $n, $nsp, $timeout) = @_;

	return $self->wait_packet($timeout, sub {
		($_[0]{type} == 3 || $_[0]{type} == 6) && $_[0]{ack} == $n
			&& (!defined $nsp || $_[0]{nsp} eq $nsp);
	});
}

sub settled {
	my ($self, $nsp) = @_;

	my $n = ++$acks;

	$self->emit('test:settled', { ack => $n, nsp => $nsp });
	$self->wait_ack($n, $nsp);

	return splice @{$self->{packets}};
}

###############################################################################

sub _nsp {
	my ($nsp) = @_;

	return defined $nsp && $nsp ne '/' ? "$nsp," : '';
}

sub join_nsp {
	my ($self, $nsp, $auth) = @_;

	$self->send_text('40' . _nsp($nsp)
		. ($auth ? Test::RTBus::json_encode($auth) : ''));

	my $name = defined $nsp ? $nsp : '/';

	return $self->wait_packet(undef, sub {
		($_[0]{type} == 0 || $_[0]{type} == 4) && $_[0]{nsp} eq $name;
	});
}

sub leave {
	my ($self, $nsp) = @_;

	return $self->send_text('41' . _nsp($nsp));
}

sub emit {
	my ($self, @args) = @_;

	my $o = pop @args;
	my $attachments = $o->{attachments};

	$self->send_text('4' . ($attachments ? '5' . @$attachments . '-' : '2')
		. _nsp($o->{nsp}) . (defined $o->{ack} ? $o->{ack} : '')
		. Test::RTBus::json_encode(\@args)) or return 0;

	for my $bytes ($attachments ? @$attachments : ()) {
		$self->send_binary($bytes) or return 0;
	}

	return 1;
}

###############################################################################

1;

###############################################################################
