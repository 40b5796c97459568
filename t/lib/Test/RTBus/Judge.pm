package Test::RTBus::Judge;

# Whether clients have got what they should while masters of Redis were lost:
# each durable event once, in order, or a "sync:gap" in its place.
#
# The data of each event has a number that counts per channel and is never used
# again.  All that clients and the producer say is noted while it happens, and
# judged at the end, against what Redis has then.
#
#	my $judge = Test::RTBus::Judge->new();
#
#	$judge->tried($channel, $n, $master)	published to that master, which
#						is any name for it
#	$judge->published($channel, $n)		... and it has said so
#	$judge->kept($channel, $n, $position)	it is there at the end
#	$judge->event($client, $channel, $n, $position)
#	$judge->gap($client, $channel, $position)
#	$judge->resumed($client)		it has come back with its cursor
#	$judge->afresh($client)			it was told that it could not
#	$judge->last($client, $channel)		-> number of its last event
#	$judge->judge()		-> { what => how many }
#		published, delivered
#		lost	published, but not kept: what failovers have cost
#		told	gaps, and afresh, that a client was told of
#		needless	of these, those that had missed nothing
#		covered	events that are there, but that a gap has taken with it
#		unseen	lost events that did not come to a client before, so
#			that nothing shows it; per client
#		by_number	a client had events that were lost, and came
#			back with a cursor that does not show it, since others
#			have got these numbers meanwhile
#	  and faults
#		missing	kept, but the client has not got it
#		doubles	it has got it again, or out of order
#		untold	it had events that were lost, had stayed, and was told
#			nothing
#	$judge->faults()	-> how many faults, after judge()
#	$judge->examples()	-> texts about the first of them

###############################################################################

use warnings;
use strict;

my $EXAMPLES = 20;

sub new {
	my ($class) = @_;

	return bless { tried => {}, published => {}, kept => {}, seen => {},
		last => {}, examples => [] }, $class;
}

sub tried { $_[0]{tried}{$_[1]}[$_[2]] = $_[3] }
sub published { $_[0]{published}{$_[1]}[$_[2]] = 1 }
sub kept { $_[0]{kept}{$_[1]}[$_[2]] = $_[3] }

sub event {
	my ($self, $client, $channel, $n, $position) = @_;

	push @{$self->{seen}{$client}{$channel}}, "$n $position";
	$self->{last}{$client}{$channel} = $n;
}

sub gap {
	my ($self, $client, $channel, $position) = @_;

	push @{$self->{seen}{$client}{$channel}}, "gap $position";
}

sub resumed {
	my ($self, $client) = @_;

	push @$_, 'resumed' for values %{$self->{seen}{$client}};
}

sub afresh {
	my ($self, $client) = @_;

	push @$_, 'afresh' for values %{$self->{seen}{$client}};
}

sub last {
	my ($self, $client, $channel) = @_;

	return $self->{last}{$client}{$channel} || 0;
}

###############################################################################

sub judge {
	my ($self) = @_;

	my %sum = map { $_ => 0 } qw/ published delivered lost told needless
		covered unseen by_number missing doubles untold /;

	$self->{sum} = \%sum;

	for my $channel (keys %{$self->{published}}) {
		my $published = $self->{published}{$channel};
		my @n = grep { $published->[$_] } 0 .. $#$published;

		$sum{published} += @n;
		$sum{lost} += grep { !$self->{kept}{$channel}[$_] } @n;
	}

	for my $client (sort keys %{$self->{seen}}) {
		for my $channel (sort keys %{$self->{seen}{$client}}) {
			$self->_client($client, $channel);
		}
	}

	return \%sum;
}

sub faults {
	my ($self) = @_;

	return $self->{sum}{missing} + $self->{sum}{doubles}
		+ $self->{sum}{untold};
}

sub examples { @{$_[0]{examples}} }

sub _client {
	my ($self, $client, $channel) = @_;

	my $sum = $self->{sum};
	my $kept = $self->{kept}{$channel} || [];
	my $published = $self->{published}{$channel} || [];
	my $tried = $self->{tried}{$channel} || [];

	# where it stands, by number of ours, and by position if it is known

	my ($n, $at, $gap, $resumed) = (0, undef, 0, 0);

	for my $entry (@{$self->{seen}{$client}{$channel}}) {
		my ($what, $position) = split / /, $entry;

		if ($what eq 'resumed') {
			$resumed = 1;
			next;
		}

		if ($what eq 'gap' || $what eq 'afresh') {
			$sum->{told}++;
			$sum->{needless}++ if defined $position && $n
				&& $kept->[$n] && $kept->[$n] eq $position;

			($gap, $at) = (1, $position);
			next;
		}

		my $new = $what;
		my $where = "$client, $channel: $new at $position after"
			. " $n at " . (defined $at ? $at : '?');

		$sum->{delivered}++;

		if ($new <= $n) {
			$self->_fault('doubles', $where);
			next;
		}

		# it had what the new master never got, and the numbers fit

		my $stale = $n && !$gap && !$kept->[$n]
			&& ($tried->[$n] || '') ne ($tried->[$new] || '');

		if ($stale && $resumed) {
			$sum->{by_number}++;

		} elsif ($stale) {
			$self->_fault('untold', $where);

		} elsif (defined $at && !_follows($at, $position)) {
			$self->_fault('missing', $where);
		}

		for my $i ($n + 1 .. $new - 1) {
			next if !$published->[$i];

			if ($kept->[$i]) {
				$sum->{covered}++ if $gap || $stale;

			} else {
				$sum->{unseen}++ unless $gap || $stale;
			}
		}

		($n, $at, $gap, $resumed) = ($new, $position, 0, 0);
	}

	for my $i ($n + 1 .. $#$kept) {
		$self->_fault('missing', "$client, $channel: $i at the end")
			if $kept->[$i];
	}
}

sub _follows {
	my ($at, $position) = @_;

	my ($epoch, $seq) = split /-/, $at;

	return $position eq "$epoch-" . ($seq + 1)
		|| $at eq '0-0' && $position =~ /-1$/;
}

sub _fault {
	my ($self, $what, $text) = @_;

	$self->{sum}{$what}++;

	push @{$self->{examples}}, "$what: $text"
		if @{$self->{examples}} < $EXAMPLES;
}

###############################################################################

1;

###############################################################################
