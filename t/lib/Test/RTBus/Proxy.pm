package Test::RTBus::Proxy;

# A proxy between nginx and Redis that can do what networks do, and what Redis
# does at bad times.
#
#	my $proxy = Test::RTBus::Proxy->new(to => $redis->port());
#	my $url = $proxy->url();		# for rtbus_redis
#
# Each of these returns once it is so
#
#	swallow([role => 'pub/sub'|'command', pid => $worker])
#		what comes on such connections, all by default, is read and
#		dropped from now on, both ways; they stay open
#	stall(%which)	nothing is read from Redis on such connections
#	cut(%which)	what Redis sends is passed on in pieces
#	rate($bytes, [%which])
#		what Redis sends on such connections, and on new ones, is passed
#		on with so many bytes per second, all together; 0: no limit
#	refuse		closes all; nobody listens
#	answer($text [, later => 1])
#		closes all; on new ones each command is answered with $text, or,
#		later, all after the greeting (PING and CLIENT)
#	pass		listens, passes on what comes on new connections; closes
#		all but those that were passed on in any case
#	to($port)	new connections go there; those that are passed on stay
#	count([%which]) -> connections that are passed on

###############################################################################

use warnings;
use strict;

use IO::Select;
use IO::Socket::INET;
use Socket qw/ AF_UNIX IPPROTO_TCP PF_UNSPEC SOCK_STREAM TCP_NODELAY /;
use Time::HiRes qw/ time /;

use Test::RTBus ();

sub new {
	my ($class, %o) = @_;

	my $self = bless {
		owner => $$,
		to => $o{to},
		port => Test::RTBus::free_port(),
	}, $class;

	socketpair($self->{sock}, my $child, AF_UNIX, SOCK_STREAM, PF_UNSPEC)
		or die "socketpair: $!\n";

	my $pid = fork();
	die "Can't fork: $!\n" unless defined $pid;

	if ($pid == 0) {
		close $self->{sock};
		$SIG{$_} = 'DEFAULT' for qw/ INT TERM HUP /;
		$SIG{PIPE} = 'IGNORE';

		eval { $self->_serve($child) };
		POSIX::_exit(0);
	}

	close $child;
	$self->{pid} = $pid;

	Test::RTBus::at_end(sub { $self->_end() });

	$self->pass();

	return $self;
}

sub url {
	my ($self) = @_;

	return "redis://127.0.0.1:$self->{port}";
}

sub DESTROY {
	my ($self) = @_;
	local ($?, $!, $@);

	$self->_end();
}

sub _end {
	my ($self) = @_;

	return if $self->{owner} != $$ || !$self->{pid};

	kill 'TERM', $self->{pid};
	waitpid delete $self->{pid}, 0;
}

sub swallow { shift->_tell('swallow', @_) }
sub stall { shift->_tell('stall', @_) }
sub cut { shift->_tell('cut', @_) }

sub rate {
	my ($self, $bytes, %which) = @_;

	return $self->_tell('rate', rate => $bytes, %which);
}

sub refuse { shift->_tell('refuse') }
sub pass { shift->_tell('pass') }
sub to { shift->_tell('to', port => @_) }
sub count { shift->_tell('count', @_) }

sub answer {
	my ($self, $text, %o) = @_;

	return $self->_tell('answer', text => $text, %o);
}

sub _tell {
	my ($self, @command) = @_;

	syswrite $self->{sock}, Test::RTBus::json_encode(\@command) . "\n";

	my $reply = '';

	while ($reply !~ /\n/) {
		die "The proxy does not answer\n"
			unless Test::RTBus::wait_io(fileno $self->{sock},
				IO::Poll::POLLIN(), 10)
			&& sysread $self->{sock}, $reply, 4096, length $reply;
	}

	return 0 + $reply;
}

###############################################################################

# in the child

sub _serve {
	my ($self, $control) = @_;

	my $all = $self->{all} = IO::Select->new($control);

	$self->{peers} = {};

	while (1) {
		for my $s ($all->can_read($self->{rate} ? 0.005 : undef)) {
			if ($s == $control) {
				$self->_control($control);

			} elsif ($self->{listen} && $s == $self->{listen}) {
				$self->_accept();

			} elsif ($self->{peers}{$s}) {
				$self->_read($s, $self->{peers}{$s});
			}
		}

		$self->_trickle() if $self->{rate};
	}
}

# What has come for links with a rate, as much of it as is due by now.

sub _trickle {
	my ($self) = @_;

	my $limit = $self->{rate};
	my $now = time();

	$limit->{bytes} += $limit->{rate} * ($now - $limit->{at});
	$limit->{at} = $now;

	# a pause is not made up for

	$limit->{bytes} = $limit->{rate} * 0.1
		if $limit->{bytes} > $limit->{rate} * 0.1;

	for my $s (IO::Select->new(map { $_->{redis} } grep { $_->{slow} }
		$self->_links())->can_read(0))
	{
		last if $limit->{bytes} < 1;

		my $link = $self->{peers}{$s} or next;
		my $n = sysread $s, my $bytes, $limit->{bytes} > 16384
			? 16384 : $limit->{bytes};

		if (!$n) {
			$self->_close($link);
			next;
		}

		$limit->{bytes} -= $n;
		$self->_pass($link, $s, $bytes);
	}
}

# ... and is not waited for with the others

sub _limit {
	my ($self, $link) = @_;

	my $limit = $self->{rate};

	$link->{slow} = $limit && $link->{redis}
		&& (!$limit->{role} || $limit->{role} eq $link->{role});

	return unless $link->{redis};

	if ($link->{slow}) {
		$self->{all}->remove($link->{redis});
	} else {
		$self->{all}->add($link->{redis});
	}
}

sub _control {
	my ($self, $control) = @_;

	my $line = '';

	while ($line !~ /\n/) {
		sysread $control, $line, 65536, length $line
			or POSIX::_exit(0);
	}

	my ($what, %o) = @{Test::RTBus::json_decode($line)};

	my @links = grep {
		!($o{role} && $o{role} ne $_->{role}
			|| $o{pid} && $o{pid} != $_->{pid})
	} $self->_links();

	my $n = 1;

	if ($what eq 'swallow') {
		$_->{swallow} = 1 for @links;

	} elsif ($what eq 'stall') {
		$self->{all}->remove($_->{redis}) for @links;

	} elsif ($what eq 'cut') {
		$_->{pieces} = [ 1, 2, 3, 7, 19, 50, 300, 5000 ] for @links;

	} elsif ($what eq 'rate') {
		$self->{rate} = $o{rate} ? { %o, bytes => 0, at => time() }
			: undef;

		$self->_limit($_) for $self->_links();

	} elsif ($what eq 'to') {
		$self->{to} = $o{port};

	} elsif ($what eq 'count') {
		$n = grep { $_->{redis} && !$_->{swallow} } @links;

	} else {
		$self->{answer} = $what eq 'answer' ? \%o : undef;

		$self->_close($_)
			for grep { $what ne 'pass' || !$_->{redis} } @links;

		if ($what eq 'refuse') {
			$self->{all}->remove($self->{listen});
			close delete $self->{listen};

		} elsif (!$self->{listen}) {
			$self->{listen} = Test::RTBus::wait_for {
				IO::Socket::INET->new(Listen => 64,
					ReuseAddr => 1,
					LocalAddr => '127.0.0.1',
					LocalPort => $self->{port})
			} 'the port of the proxy';

			$self->{all}->add($self->{listen});
		}
	}

	syswrite $control, "$n\n";
}

sub _links {
	my ($self) = @_;

	my %seen;

	return grep { !$seen{$_}++ } values %{$self->{peers}};
}

sub _accept {
	my ($self) = @_;

	my $s = $self->{listen}->accept() or return;
	my $link = { nginx => $s, role => '', pid => 0, in => '' };

	$s->setsockopt(IPPROTO_TCP, TCP_NODELAY, 1);

	if (!$self->{answer}) {
		$link->{redis} = IO::Socket::INET->new(
			PeerAddr => "127.0.0.1:$self->{to}")
			or return close $s;
	}

	for my $side (grep { defined } $s, $link->{redis}) {
		$self->{peers}{$side} = $link;
		$self->{all}->add($side);
	}
}

sub _close {
	my ($self, $link) = @_;

	for my $side (grep { defined } @$link{qw/ nginx redis /}) {
		delete $self->{peers}{$side};
		$self->{all}->remove($side);
		close $side;
	}
}

sub _read {
	my ($self, $s, $link) = @_;

	my $n = sysread $s, my $bytes, 65536;

	return $self->_close($link) unless $n;
	return if $link->{swallow};

	if ($s == $link->{nginx}) {
		if ($bytes =~ m!rtbus-(pub/sub|command)-(\d+)!) {
			@$link{qw/ role pid /} = ($1, $2);
			$self->_limit($link) if $self->{rate};
		}

		$bytes = $self->_answer($link, $bytes) if !$link->{redis};
	}

	$self->_pass($link, $s, $bytes);
}

sub _pass {
	my ($self, $link, $s, $bytes) = @_;

	my $to = $link->{redis} && $s == $link->{nginx}
		? $link->{redis} : $link->{nginx};

	my $pieces = $s == $link->{nginx} ? undef : $link->{pieces};

	while (length $bytes) {
		push @$pieces, shift @$pieces if $pieces;

		my $n = syswrite $to, $bytes,
			$pieces ? $pieces->[-1] : length $bytes;

		return $self->_close($link) unless $n;
		substr $bytes, 0, $n, '';
	}
}

# In place of Redis: an answer to each command that has come as a whole.

sub _answer {
	my ($self, $link, $bytes) = @_;

	my $in = \$link->{in};
	my $out = '';

	$$in .= $bytes;

	while ($$in =~ /^\*(\d+)\r\n/) {
		my ($n, $at) = ($1, $+[0]);
		my @args;

		while (@args < $n) {
			pos($$in) = $at;
			$$in =~ /\G\$(\d+)\r\n/gc or last;
			$at = pos($$in);
			last if length $$in < $at + $1 + 2;

			push @args, substr $$in, $at, $1;
			$at += $1 + 2;
		}

		last if @args < $n;

		substr $$in, 0, $at, '';

		my $answer = $self->{answer};

		$out .= !$answer->{later} ? $answer->{text}
			: $args[0] eq 'PING' ? "+PONG\r\n"
			: $args[0] eq 'CLIENT' ? "+OK\r\n"
			: $answer->{text};
	}

	return $out;
}

###############################################################################

1;

###############################################################################
