package Test::RTBus::WebSocket;

# A WebSocket client (RFC 6455) that can do everything a good client must not,
# and that dies as soon as the server does: masked, malformed or unasked-for
# frames, a wrong Sec-WebSocket-Accept, bad UTF-8 or close codes.
#
#	my $ws = Test::RTBus::WebSocket->connect(path => '/ws');
#	$ws->send_json({ event => 'subscribe', data => {...}, ack => 1 });
#	is($ws->wait_ack(1)->{data}{ok}, JSON::PP::true, 'subscribed');
#	is($ws->wait_event('model:chunk:v1')->{data}{chunk}, 'hi', 'chunk');
#
# connect(%options); all are optional, the general ones are in RTBus.pm
#	version (13; undef omits) key (random; undef omits) protocol origin
#	auto_pong => 0 (pings are not answered) auto_close => 0 (a close frame
#	is not answered) strict => 0 (the server's frames are not judged)
#	read => 0, then handshake([$seconds]) later
#	-> the object; dies if there is no TCP connection.  A refusal is no
#	error: see is_open, status, header($name), body
#
# Sending; -> 1, or 0 if the server is gone or takes nothing in time.  Payload
# is bytes; a string with Perl's UTF-8 flag is encoded
#	send_text($s) send_binary($s) send_ping($s) send_pong($s)
#	send_json($data)
#	send_close([$code [, $reason]])		no code: an empty payload
#	send_frame(opcode => 1, payload => '', fin => 1, rsv => 0, mask => 1,
#		key => 4 bytes, len_bytes => 7|16|64, len => what to claim)
#	frame(...) -> the bytes of such a frame; also a class method
#	send_raw($bytes) send_bytewise($bytes [, $pause])
#
# Receiving; the default of $seconds is connect's timeout (10)
#	recv([$seconds])	-> next frame { opcode fin rsv payload }, and
#		{message} with the whole message on its last frame; undef when
#		the time is over or the server has closed (then eof is true)
#	recv_message([$seconds]) -> the same, but only frames with {message}
#	recv_json([$seconds])	-> next message, decoded; undef likewise
#	wait_json($seconds, sub { cond on $_[0] })
#		-> first message that fits; the others are kept, in order, for
#		recv_json and the wait_ functions
#	wait_event($name [, $seconds]) -> message     wait_ack($n [, $seconds])
#	pending_json() -> list of all that is here now
#	read_close([$seconds])	-> (code, reason); (1005, '') for an empty one,
#		(1006, '') for an end without a close frame, () for no end;
#		messages before it are kept
#	wait_eof($seconds) -> true once the TCP connection has ended
#	pings -> pings seen so far    is_open
#	close([$code [, $reason]])	-> as read_close: the whole ceremony
#	drop (no ceremony)  reset (RST)
#
# Many of them: connect_many() in RTBus.pm and select_loop() there.

###############################################################################

use warnings;
use strict;

use Digest::SHA qw/ sha1_base64 /;
use Encode ();
use MIME::Base64 qw/ encode_base64 /;
use Time::HiRes qw/ time /;

use Test::RTBus ();

our @ISA = qw/ Test::RTBus::Client /;

my $GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

sub connect {
	my ($class, %o) = @_;

	my $self = $class->open_client(%o);

	$self->{auto_pong} = defined $o{auto_pong} ? $o{auto_pong} : 1;
	$self->{auto_close} = defined $o{auto_close} ? $o{auto_close} : 1;
	$self->{strict} = defined $o{strict} ? $o{strict} : 1;
	$self->{kept} = [];
	$self->{pings} = 0;

	my $key = exists $o{key} ? $o{key}
		: encode_base64(join('', map { chr int rand 256 } 1 .. 16), '');

	$self->{key} = $key;

	my $request = $self->_request(\%o,
		'Upgrade' => 'websocket',
		'Connection' => 'Upgrade',
		'Sec-WebSocket-Key' => $key,
		'Sec-WebSocket-Version' => exists $o{version}
			? $o{version} : 13,
		'Sec-WebSocket-Protocol' => $o{protocol},
		'Origin' => $o{origin},
	);

	$self->_send_request(\%o, $request);

	$self->handshake() unless defined $o{read} && !$o{read};

	return $self;
}

sub handshake {
	my ($self, $timeout) = @_;

	$self->read_head($timeout) or return 0;

	if ($self->{status} != 101) {
		$self->read_body();
		return 0;
	}

	my $key = defined $self->{key} ? $self->{key} : '';
	my $accept = $self->header('Sec-WebSocket-Accept');

	die "The server's Sec-WebSocket-Accept is wrong\n"
		unless defined $accept
		&& $accept eq sha1_base64($key . $GUID) . '=';

	die "The server's Upgrade is not websocket\n"
		unless lc($self->header('Upgrade') || '') eq 'websocket';

	die "The server's Connection has no upgrade\n"
		unless ($self->header('Connection') || '') =~ /\bupgrade\b/i;

	$self->{open} = 1;
	return 1;
}

sub is_open {
	my ($self) = @_;

	return $self->{open} && !$self->{eof} && !$self->{closed};
}

sub pings { $_[0]{pings} }

###############################################################################

sub frame {
	my ($class, %o) = @_;

	my $payload = defined $o{payload} ? $o{payload} : '';
	utf8::encode($payload) if utf8::is_utf8($payload);

	my $fin = defined $o{fin} ? $o{fin} : 1;
	my $opcode = defined $o{opcode} ? $o{opcode} : 1;
	my $mask = defined $o{mask} ? $o{mask} : 1;
	my $len = defined $o{len} ? $o{len} : length $payload;

	my $form = $o{len_bytes} || ($len < 126 ? 7 : $len < 65536 ? 16 : 64);

	my $head = pack 'C',
		($fin ? 0x80 : 0) | ($o{rsv} || 0) << 4 | $opcode;
	my $bit = $mask ? 0x80 : 0;

	$head .= $form == 7 ? pack('C', $bit | $len)
		: $form == 16 ? pack('Cn', $bit | 126, $len)
		: pack('CQ>', $bit | 127, $len);

	return $head . $payload unless $mask;

	my $key = defined $o{key} ? $o{key}
		: pack('N', int rand 4294967296);

	return $head . $key . _xor($payload, $key);
}

sub _xor {
	my ($s, $key) = @_;

	# "^" on a number would be that of numbers

	return "$s" ^ substr $key x (length($s) / 4 + 1), 0, length $s;
}

sub send_frame {
	my ($self, %o) = @_;

	return $self->send_raw($self->frame(%o));
}

sub send_text {
	my ($self, $s) = @_;

	return $self->send_frame(opcode => 1, payload => $s);
}

sub send_json {
	my ($self, $data) = @_;

	return $self->send_text(Test::RTBus::json_encode($data));
}

sub send_binary {
	my ($self, $s) = @_;

	return $self->send_frame(opcode => 2, payload => $s);
}

sub send_ping {
	my ($self, $s) = @_;

	return $self->send_frame(opcode => 9, payload => $s);
}

sub send_pong {
	my ($self, $s) = @_;

	return $self->send_frame(opcode => 10, payload => $s);
}

sub send_close {
	my ($self, $code, $reason) = @_;

	my $payload = '';

	if (defined $code) {
		$reason = '' unless defined $reason;
		utf8::encode($reason) if utf8::is_utf8($reason);
		$payload = pack('n', $code) . $reason;
	}

	$self->{close_sent} = 1;

	return $self->send_frame(opcode => 8, payload => $payload);
}

###############################################################################

# Parses all frames that are here whole.

sub take {
	my ($self) = @_;

	return unless $self->{open};

	while (my $f = $self->_parse()) {
		$self->_judge($f) if $self->{strict};
		$self->_join($f);

		if ($f->{opcode} == 9) {
			$self->{pings}++;

			if ($self->{auto_pong} && !$self->{close_sent}) {
				$self->send_pong($f->{payload});
				next;
			}
		}

		if ($f->{opcode} == 8) {
			$self->{closed} ||= $f;

			$self->send_frame(opcode => 8,
				payload => substr $f->{payload}, 0, 2)
				if $self->{auto_close}
				&& !$self->{close_sent}++;
		}

		push @{$self->{queue}}, $f;
	}
}

sub _parse {
	my ($self) = @_;

	my $have = length $self->{in};

	return undef if $have < 2;

	my ($b0, $b1) = unpack 'CC', $self->{in};

	my ($len, $head) = ($b1 & 0x7f, 2);

	if ($len == 126) {
		return undef if $have < 4;

		($len, $head) = (unpack('x2n', $self->{in}), 4);
		$self->_blame('a length in 16 bits for no need')
			if $len < 126;

	} elsif ($len == 127) {
		return undef if $have < 10;

		($len, $head) = (unpack('x2Q>', $self->{in}), 10);
		$self->_blame('a length in 64 bits for no need')
			if $len < 65536;
	}

	my $masked = $b1 & 0x80;
	my $key;

	if ($masked) {
		$self->_blame('a masked frame');

		return undef if $have < $head + 4;

		$key = substr $self->{in}, $head, 4;
		$head += 4;
	}

	return undef if $have < $head + $len;

	substr $self->{in}, 0, $head, '';
	my $payload = substr $self->{in}, 0, $len, '';

	Test::Nginx::log_in("frame $b0 $payload") if $ENV{TEST_NGINX_VERBOSE};

	return {
		fin => $b0 >> 7,
		rsv => $b0 >> 4 & 7,
		opcode => $b0 & 15,
		payload => $masked ? _xor($payload, $key) : $payload,
	};
}

sub _blame {
	my ($self, $what) = @_;

	die "The WebSocket server sent $what\n" if $self->{strict};
}

sub _is_utf8 {
	my ($bytes) = @_;

	return eval { Encode::decode('UTF-8', $bytes, Encode::FB_CROAK()); 1 };
}

my %CODES = map { $_ => 1 } 1000 .. 1003, 1007 .. 1014;

sub _judge {
	my ($self, $f) = @_;

	my $opcode = $f->{opcode};
	my $len = length $f->{payload};

	$self->_blame('a frame after its close frame') if $self->{closed};
	$self->_blame('reserved bits') if $f->{rsv};
	$self->_blame("opcode $opcode") if $opcode > 10
		|| $opcode > 2 && $opcode < 8;

	if ($opcode < 8) {
		$self->_blame('a continuation of nothing')
			if $opcode == 0 && !$self->{part};
		$self->_blame('a new message within another')
			if $opcode != 0 && $self->{part};
		return;
	}

	$self->_blame('a fragmented control frame') unless $f->{fin};
	$self->_blame('a control frame that is too long') if $len > 125;

	if ($opcode == 8 && $len) {
		$self->_blame('half a close code') if $len < 2;

		my ($code, $reason) = unpack 'na*', $f->{payload};

		$self->_blame("close code $code")
			unless $CODES{$code} || $code >= 3000 && $code < 5000;
		$self->_blame('a close reason that is not UTF-8')
			unless _is_utf8($reason);
	}
}

# Fragments to messages; {part} is what has come of one.

sub _join {
	my ($self, $f) = @_;

	return if $f->{opcode} >= 8;

	if ($f->{opcode} != 0 || !$self->{part}) {
		$self->{part} = { type => $f->{opcode}, bytes => '' };
	}

	$self->{part}{bytes} .= $f->{payload};

	return unless $f->{fin};

	my $part = delete $self->{part};

	$f->{type} = $part->{type};
	$f->{message} = $part->{bytes};

	if ($part->{type} == 1 && $part->{bytes} =~ /[\x80-\xff]/) {
		$self->_blame('text that is not UTF-8')
			unless _is_utf8($part->{bytes});
	}
}

###############################################################################

sub recv {
	my ($self, $timeout) = @_;

	$self->fill($self->deadline($timeout)) or return undef;

	return shift @{$self->{queue}};
}

# For select_loop(): what is here already.

sub next_message {
	my ($self) = @_;

	while (my $f = shift @{$self->{queue}}) {
		return $f if defined $f->{message} || $f->{opcode} == 8;
	}

	return undef;
}

sub recv_message {
	my ($self, $timeout) = @_;

	my $end = $self->deadline($timeout);

	while ($self->fill($end)) {
		my $f = shift @{$self->{queue}};
		return $f if defined $f->{message};
	}

	return undef;
}

sub _next_json {
	my ($self, $timeout) = @_;

	my $f = $self->recv_message($timeout) or return undef;

	return Test::RTBus::json_decode($f->{message});
}

sub recv_json {
	my ($self, $timeout) = @_;

	return shift @{$self->{kept}} if @{$self->{kept}};
	return $self->_next_json($timeout);
}

sub wait_json {
	my ($self, $timeout, $fits) = @_;

	my $end = $self->deadline($timeout);
	my $kept = $self->{kept};

	for my $i (0 .. $#$kept) {
		return splice @$kept, $i, 1 if $fits->($kept->[$i]);
	}

	while (defined(my $m = $self->_next_json($end - time()))) {
		return $m if $fits->($m);
		push @$kept, $m;
	}

	return undef;
}

sub wait_event {
	my ($self, $name, $timeout) = @_;

	return $self->wait_json($timeout, sub {
		ref $_[0] eq 'HASH' && defined $_[0]{event}
			&& $_[0]{event} eq $name;
	});
}

sub wait_ack {
	my ($self, $n, $timeout) = @_;

	return $self->wait_json($timeout, sub {
		ref $_[0] eq 'HASH' && defined $_[0]{ack} && $_[0]{ack} eq $n;
	});
}

sub pending_json {
	my ($self) = @_;
	my @all;

	while (defined(my $m = $self->recv_json(0))) {
		push @all, $m;
	}

	return @all;
}

sub read_close {
	my ($self, $timeout) = @_;

	my $end = $self->deadline($timeout);

	while (!$self->{closed}) {
		$self->take();
		last if $self->{closed};
		$self->_more($end) or last;
	}

	$self->take();

	if (my $f = $self->{closed}) {
		return (1005, '') if length $f->{payload} < 2;
		return unpack 'na*', $f->{payload};
	}

	return $self->{eof} ? (1006, '') : ();
}

sub close {
	my ($self, $code, $reason) = @_;

	my @close;

	if ($self->{open}) {
		$self->send_close(defined $code ? $code : 1000, $reason)
			unless $self->{close_sent} || $self->{eof};

		@close = $self->read_close();
	}

	$self->drop();

	return @close;
}

###############################################################################

1;

###############################################################################
