package Test::RTBus::Echo;

# A producer that gives back what it gets, in a process of its own: for whoever
# asks whether commands and their answers go the whole way.
#
#	Test::RTBus::Echo->start($redis);		# a Test::RTBus::Redis
#
#	start($redis [, stream => 'rtbus:commands', group => 'echo',
#		think => 0])
#		returns once nothing that is sent from now on can be missed; it
#		is ended with the suite.  think: seconds before a client that
#		has connected is answered, for those that lose an event that
#		comes in one piece with the CONNECT
#
#	@connect		is answered by the event "auth" with the data
#	message			by the event "message-back", same arguments
#	any other with an ack	by that ack, same arguments
#	any other		not at all
#
# Attachments come back as well.  JSON is passed on byte for byte.

###############################################################################

use warnings;
use strict;

use POSIX ();

use Test::RTBus ();

sub start {
	my ($class, $redis, %o) = @_;

	my $self = bless {
		stream => 'rtbus:commands',
		group => 'echo',
		think => 0,
		%o,
		redis => $redis,
		owner => $$,
	}, $class;

	$redis->cmd('XGROUP', 'CREATE', @$self{qw/ stream group /}, '$',
		'MKSTREAM');

	my $pid = fork();
	die "Can't fork: $!\n" unless defined $pid;

	if ($pid == 0) {
		# Redis may end before us

		eval { $self->_run() };
		POSIX::_exit(0);
	}

	Test::RTBus::at_end(sub {
		kill 'KILL', $pid;
		waitpid $pid, 0;
	});

	return $self;
}

sub _run {
	my ($self) = @_;

	my ($redis, $stream, $group) = @$self{qw/ redis stream group /};

	while (getppid() == $self->{owner}) {

		my $streams = $redis->cmd('XREADGROUP', 'GROUP', $group, 'me',
			'COUNT', 100, 'BLOCK', 1000, 'STREAMS', $stream, '>')
			or next;

		my @entries = @{$streams->[0][1]};
		my @answers = map { _answer(@{$_->[1]}) } @entries;

		select undef, undef, undef, $self->{think}
			if $self->{think} && grep { $_->[2] =~ /"auth"/ } @answers;

		$redis->pipeline(@answers,
			[ 'XACK', $stream, $group, map { $_->[0] } @entries ]);
	}
}

sub _answer {
	my (%command) = @_;

	my ($event, $reply) = @command{qw/ event reply /};
	my $args = $command{args} // "[$command{data}]";
	my @to = ("sid" => "\"$command{sid}\"");

	if ($event eq '@connect') {
		push @to, event => '"auth"', data => $command{data};

	} elsif ($event eq 'message') {
		push @to, event => '"message-back"', args => $args;

	} elsif (defined $command{ack}) {
		@to = (ack => $command{ack}, data => $args);

	} else {
		return ();
	}

	push @to, attachments => $command{attachments}
		if defined $command{attachments};

	my @members;

	while (my ($name, $json) = splice @to, 0, 2) {
		push @members, "\"$name\":$json";
	}

	return [ 'PUBLISH', $reply, '{' . join(',', @members) . '}' ];
}

###############################################################################

1;

###############################################################################
