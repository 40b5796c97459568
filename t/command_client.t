#!/usr/bin/perl

# The stock socket.io-client sends commands, and a producer answers them: see
# node/command.js for what is checked.  Its offline queue is what people will
# rely on: nginx and Redis come and go meanwhile, and in the end each command is
# in the stream, once.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Redis;

use Cwd qw/ abs_path /;
use File::Basename qw/ dirname /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $top = abs_path(dirname(__FILE__) . '/..');
my ($node) = grep { -x } map { "$_/node" } split /:/, $ENV{PATH};

my @missing = (
	(module_file() ? () : 'the module'),
	($node ? () : 'node'),
	(-d "$top/node_modules/socket.io-client" ? ()
		: 'node_modules/socket.io-client'),
);

if (@missing) {
	my $why = 'missing: ' . join ', ', @missing;

	die "$why\n" if $ENV{CI} || $ENV{RTBUS_REQUIRE_ALL};
	plan(skip_all => $why);
}

my $t = Test::Nginx->new()->has(qw/ http /)
	->has_daemon('redis-server')->plan(24);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir(), aof => 1);
my $redis_url = $redis->url();

$t->write_file_expand('nginx.conf', <<"EOC");

%%TEST_GLOBALS%%

daemon off;
worker_processes 2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis         $redis_url;
    rtbus_drain         300ms;
    rtbus_message_rate  1000r/s;

    rtbus_command  queue  stream=queue;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location /socket.io/ {
            rtbus          socketio;
            rtbus_command  queue  stream=queue;
            rtbus_command  plain;
            rtbus_command  mute   reply=300ms;
            rtbus_command  ask    stream=asked reply=20s;
            rtbus_command  args   stream=asked reply=20s;
            rtbus_command  steps  stream=asked reply=20s;
            rtbus_command  echo   stream=asked reply=20s;
        }

        location /other/ {
            rtbus  socketio;
        }
    }
}

EOC

# workers are killed

$t->todo_alerts();
$t->run();
wait_redis($t, 2);

wait_for { !ref $redis->try_cmd('FCALL_RO', 'rtbus_version', 0) } 'library';
wait_for { @{$redis->cmd('PUBSUB', 'CHANNELS', 'rtbus:worker:*')} == 2 }
	'mailboxes';

###############################################################################

my $steps = $t->testdir() . '/steps';
my $step = 0;
my $sent;

my $producer = producer();

my $given = json_encode({
	client => "$top/node_modules/socket.io-client",
	ports => [ port(8080) ],
	pids => [ $t->testdir() . '/nginx.pid' ],
	redis => $redis->port(),
	steps => $steps,
});

my %do = (
	'stop redis' => sub { $redis->stop() },
	'start redis' => sub { $redis->start() },
	'kill redis' => sub { $redis->kill(); $redis->start() },
	'stop all' => sub { $t->stop(); $redis->stop() },
	'start all' => sub { $redis->start(); $t->run() },
);

open my $tap, '-|', $node, "$top/t/node/command.js", $given
	or die "Can't run node: $!\n";

my ($n, $plan) = (0);

while (my $line = <$tap>) {
	chomp $line;

	if ($line =~ /^(not )?ok \d+ - (.*)/) {
		ok(!$1, $2);
		$n++;

	} elsif ($line =~ /^1\.\.(\d+)/) {
		$plan = $1;

	} elsif ($line =~ /^!sent (\d+)/) {
		$sent = $1;

	} elsif ($line =~ /^!(.*)/) {
		kill 'KILL', $producer;
		waitpid $producer, 0;

		$do{$1}->();
		$t->write_file('steps', ++$step);

	} else {
		diag($line =~ s/^# ?//r);
	}
}

close $tap;

is($? >> 8 || $? & 127, 0, 'exit');
is($n, $plan, 'all tests of the script');

# once each

my @all = $redis->take('queue', $sent + 1, 1);
my %seen;

$seen{json_decode($_->{data})->{n}}++ for @all;

is(scalar @all, $sent, 'as many commands as were sent');
is(join(' ', grep { ($seen{$_} || 0) != 1 } 1 .. $sent), '', 'each once');

###############################################################################

# A producer as anybody would write it, for what is asked.

sub producer {
	my $pid = fork();
	die "Can't fork: $!\n" unless defined $pid;

	return $pid if $pid;

	my %event = (
		ask => sub {
			my ($c, $args) = @_;
			{ data => [ { event => 'ask', args => $args,
				user => $c->{user} } ] };
		},
		args => sub {
			my ($c, $args) = @_;
			{ data => [ @$args, 'and more' ] };
		},
		steps => sub {
			my ($c, $args) = @_;

			$redis->publish($c->{reply}, { sid => $c->{sid},
				event => 'step', data => $_ }) for 1 .. $args->[0];
			{ data => [ 'done' ] };
		},
		echo => sub {
			my ($c, $args) = @_;
			{ data => $args,
				attachments => json_decode($c->{attachments}) };
		},
	);

	while (1) {
		my $c = $redis->take('asked') or next;
		my $answer = $event{$c->{event}}->($c, json_decode($c->{args}
			|| "[$c->{data}]"));

		$redis->answer($c, $answer);
	}
}

END {
	kill 'KILL', $producer if $producer;
}

###############################################################################
