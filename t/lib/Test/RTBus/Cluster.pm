package Test::RTBus::Cluster;

# A real Redis Cluster of the suite's own, on loopback.
#
#	my $cluster = Test::RTBus::Cluster->new(dir => $t->testdir());
#
#	new(dir => $path, [ masters => 3, replicas => 0 (of each master),
#		timeout => 3000 (cluster-node-timeout, ms), args => [ ... ] ])
#	url([ @nodes ])	-> redis+cluster://127.0.0.1:N,...; of all nodes
#	nodes		-> list of Test::RTBus::Redis, all that run or not
#	masters		-> those that are masters with slots by now
#	owner($key)	-> the one that has the key's slot
#	slot($key)	-> number
#	names($prefix, $n)
#			-> $n names for each master, by turns: the channels
#			<prefix>0, <prefix>1, ... that it takes
#	cmd(@args)	-> the reply, of the right node; follows MOVED and ASK,
#			repeats what is to be tried again for 15 s; dies of an
#			error reply.  A command may be carried out twice if its
#			node dies
#	try_cmd(@args)	-> likewise, an error as Test::RTBus::Redis::Error
#	fcall($channel, $event, \%data | $json, @options)
#			-> position; rtbus_publish
#	event($channel, $name, $data [, %more])	-> receivers; SPUBLISH
#	subscribers($channel)	-> of the shard channel, on all nodes
#	wait_subscribers($channel, $n [, $seconds])
#	take, answer	as in Test::RTBus::Redis
#	reshard($from, $to, $slots [, wait => 0])
#			moves slots from one node to another one, keys and all;
#			-> true; without waiting -> a pid
#	ok		-> true if all nodes that run agree on who has what
#	wait_ok([$seconds])
#
# A process forked from the suite may use it, for commands.

###############################################################################

use warnings;
use strict;

use base qw/ Test::RTBus::Redis /;

use Time::HiRes qw/ time /;

use Test::RTBus ();
use Test::RTBus::Redis;

my $WAIT = 15;

sub new {
	my ($class, %o) = @_;

	my $masters = $o{masters} || 3;
	my $replicas = $o{replicas} || 0;

	my $self = bless { owner => $$, map => {} }, $class;

	for (1 .. $masters * (1 + $replicas)) {
		push @{$self->{nodes}}, Test::RTBus::Redis->new(
			dir => $o{dir},
			args => [
				'--cluster-enabled', 'yes',
				'--cluster-port', Test::RTBus::free_port(),
				'--cluster-node-timeout', $o{timeout} || 3000,
				'--cluster-config-file', 'nodes.conf',
				'--cluster-allow-replica-migration', 'no',
				'--repl-diskless-sync-delay', 0,
				@{$o{args} || []},
			],
		);
	}

	$self->_redis_cli('create', (map { "127.0.0.1:" . $_->port() }
		$self->nodes()), '--cluster-replicas', $replicas)
		or die "Can't create a cluster\n$self->{said}";

	$self->wait_ok(60) or die "The cluster does not come up\n";

	# a replica without the data would take over with none

	Test::RTBus::wait_for {
		$masters * $replicas == grep {
			$_->cmd('INFO', 'replication')
				=~ /role:slave.*master_link_status:up/s
		} $self->nodes();
	} 'replicas', 60;

	return $self;
}

sub DESTROY {
}

sub _redis_cli {
	my ($self, @args) = @_;

	open my $cli, '-|', 'redis-cli', '--cluster', @args, '--cluster-yes'
		or die "Can't run redis-cli: $!\n";

	local $/;
	$self->{said} = <$cli>;

	return close $cli;
}

###############################################################################

sub nodes { @{$_[0]{nodes}} }

sub url {
	my ($self, @nodes) = @_;

	@nodes = $self->nodes() unless @nodes;

	return 'redis+cluster://'
		. join ',', map { '127.0.0.1:' . $_->port() } @nodes;
}

sub port { ($_[0]->nodes())[0]->port() }

# What some node says that runs.

sub _any {
	my ($self, @args) = @_;

	for my $node (grep { $_->pid() && !$_->{paused} } $self->nodes()) {
		my $reply = eval { $node->try_cmd(@args) };

		return $reply if defined $reply
			&& ref $reply ne 'Test::RTBus::Redis::Error';
	}

	die "No node of the cluster answers\n";
}

sub _node {
	my ($self, $port) = @_;

	return (grep { $_->port() == $port } $self->nodes())[0];
}

sub masters {
	my ($self) = @_;
	my %seen;

	return grep { !$seen{$_}++ } map { $self->_node($_->[2][1]) }
		sort { $a->[0] <=> $b->[0] } @{$self->_any('CLUSTER', 'SLOTS')};
}

sub owner {
	my ($self, $key) = @_;

	my $slot = $self->slot($key);

	for my $range (@{$self->_any('CLUSTER', 'SLOTS')}) {
		return $self->_node($range->[2][1])
			if $range->[0] <= $slot && $slot <= $range->[1];
	}

	return undef;
}

my @crc = map {
	my $crc = $_ << 8;
	$crc = ($crc << 1) ^ ($crc & 0x8000 ? 0x1021 : 0) for 1 .. 8;
	$crc & 0xffff;
} 0 .. 255;

sub slot {
	my ($self, $key) = @_;
	my $crc = 0;

	$key = $1 if $key =~ /\{([^}]+)\}/;
	$crc = (($crc << 8) & 0xffff) ^ $crc[($crc >> 8) ^ ord] for split //,
		$key;

	return $crc % 16384;
}

sub names {
	my ($self, $prefix, $n) = @_;
	my ($i, %names) = (0);

	my @masters = map { $_->port() } $self->masters();

	while (grep { @{$names{$_} || []} < $n } @masters) {
		my $name = $prefix . $i++;
		my $of = $names{$self->owner($name)->port()} ||= [];

		push @$of, $name if @$of < $n;
	}

	return map { my $k = $_; map { $names{$_}[$k] } @masters } 0 .. $n - 1;
}

###############################################################################

sub try_cmd {
	my ($self, @args) = @_;

	my $key = $args[0] =~ /^FCALL/ ? $args[3]
		: $args[0] eq 'XREADGROUP' ? $args[-2]
		: $args[0] =~ /^X(?:INFO|GROUP)$/ ? $args[2] : $args[1];

	my $slot = $self->slot($key);
	my $end = time() + $WAIT;
	my ($port, $asking, $reply);

	while (1) {
		my $node = $self->_node($port || $self->{map}{$slot}
			|| $self->owner($key)->port());

		my $done = eval {
			die "it is dead\n" unless $node->pid();

			$reply = ($node->pipeline($asking ? [ 'ASKING' ] : (),
				[ @args ]))[-1];
			1;
		};

		($port, $asking) = ();

		if (!$done) {
			$reply = Test::RTBus::Redis::Error->new("no answer: $@");
			delete $self->{map}{$slot};

		} elsif (ref $reply ne 'Test::RTBus::Redis::Error') {
			$self->{map}{$slot} = $node->port();
			return $reply;

		} elsif ($reply =~ /^ASK \d+ \S*:(\d+)/) {
			($port, $asking) = ($1, 1);
			next;

		} elsif ($reply =~ /^MOVED \d+ \S*:(\d+)/) {
			$self->{map}{$slot} = $1;

		} elsif ($reply !~ /^(?:TRYAGAIN|CLUSTERDOWN|LOADING)/) {
			return $reply;

		} else {
			delete $self->{map}{$slot};
		}

		last if time() > $end;

		select undef, undef, undef, 0.02;
	}

	return $reply;
}

sub pipeline { die "not in a cluster\n" }

sub fcall {
	my ($self, $channel, $event, $data, @options) = @_;

	$data = Test::RTBus::json_encode($data) if ref $data;

	return $self->cmd('FCALL', 'rtbus_publish', 1, $channel, $event, $data,
		@options);
}

sub publish {
	my ($self, $channel, $message) = @_;

	$message = Test::RTBus::json_encode($message) if ref $message;

	return $self->cmd('SPUBLISH', $channel, $message);
}

# What a producer sends to a mailbox does not depend on where it is.

sub answer {
	my ($self, $command, $message) = @_;

	my ($node) = grep { $_->pid() } $self->nodes();

	return $node->answer($command, $message);
}

sub subscribers {
	my ($self, $channel) = @_;
	my $n = 0;

	for my $node (grep { $_->pid() } $self->nodes()) {
		$n += $node->cmd('PUBSUB', 'SHARDNUMSUB', $channel)->[1];
	}

	return $n;
}

###############################################################################

sub reshard {
	my ($self, $from, $to, $slots, %o) = @_;

	my @args = ('reshard', '127.0.0.1:' . $to->port(),
		'--cluster-from', $from->cmd('CLUSTER', 'MYID'),
		'--cluster-to', $to->cmd('CLUSTER', 'MYID'),
		'--cluster-slots', $slots);

	if (!defined $o{wait} || $o{wait}) {
		return 1 if $self->_redis_cli(@args);

		Test::More::diag($self->{said});
		return 0;
	}

	my $pid = fork();
	die "Can't fork: $!\n" unless defined $pid;

	if ($pid == 0) {
		my $ok = $self->_redis_cli(@args);

		print STDERR $self->{said} unless $ok;
		POSIX::_exit($ok ? 0 : 1);
	}

	return $pid;
}

sub ok {
	my ($self) = @_;
	my %seen;

	for my $node (grep { $_->pid() } $self->nodes()) {
		my $info = $node->cmd('CLUSTER', 'INFO');

		return 0 unless $info =~ /cluster_state:ok/
			&& $info =~ /cluster_slots_ok:16384/;

		$seen{join ' ', map { "@{$_}[0, 1] $_->[2][1]" }
			sort { $a->[0] <=> $b->[0] }
			@{$node->cmd('CLUSTER', 'SLOTS')}} = 1;
	}

	return keys %seen == 1;
}

sub wait_ok {
	my ($self, $timeout) = @_;

	return Test::RTBus::wait_for { $self->ok() } 'the cluster to agree',
		$timeout;
}

###############################################################################

1;

###############################################################################
