#!/usr/bin/perl

# What somebody does who has just found the module: starts the demo, does what
# "Quick start" in README.md says, and ends it.  Nothing of it may stay.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Manual qw/ chapter /;

use Cwd qw/ abs_path /;
use File::Basename qw/ dirname /;
use IO::Select;
use IO::Socket::INET;
use Time::HiRes qw/ time /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $top = abs_path(dirname(__FILE__) . '/..');
my $producer = $ENV{RTBUS_PRODUCER} || "$top/build/producer";
my $client = "$top/node_modules/socket.io-client/dist/socket.io.min.js";

my @missing = (
	(module_file() ? () : 'the module'),
	(-x $producer ? () : 'the producer'),
	(-e $client ? () : 'node_modules'),
	(map { my $name = $_;
		(grep { -x "$_/$name" } split /:/, $ENV{PATH}) ? () : $name
	} qw/ bash curl node redis-cli redis-server /),
);

if (@missing) {
	my $why = 'missing: ' . join ', ', @missing;

	die "$why\n" if $ENV{CI} || $ENV{RTBUS_REQUIRE_ALL};
	plan(skip_all => $why);
}

my $t = Test::Nginx->new()->has(qw/ http proxy rewrite access auth_basic /)
	->plan(17);

my $d = $t->testdir();
my ($http, $redis) = (free_port(), free_port());

# the workers of an nginx that root has started are somebody else

chmod 0755, $d;

mkdir "$d/$_" or die "Can't make $d/$_: $!\n" for qw/ build tmp /;
symlink module_file(), "$d/build/ngx_http_rtbus_module.so"
	or die "Can't make a link: $!\n";
symlink $producer, "$d/build/producer" or die "Can't make a link: $!\n";

$t->write_file('error.log', '');

###############################################################################

my $chapter = chapter('README.md', 'Quick start');
my ($follow, $speak) = map { here($_) }
	grep { /redis-cli/ } $chapter =~ /^((?:    .+\n)+)/mg;

my $self = $$;
my $pid = open my $demo, '-|';

die "Can't fork: $!\n" unless defined $pid;

if (!$pid) {
	$ENV{BUILD} = "$d/build";
	$ENV{TMPDIR} = "$d/tmp";
	$ENV{NGINX} = $ENV{TEST_NGINX_BINARY};

	# a shell in the background has its children ignore it

	local $SIG{INT} = 'DEFAULT';

	exec "$top/demo/run", "PORT=$http", "REDIS_PORT=$redis"
		or die "Can't run the demo: $!\n";
}

my $said = until_said($demo, qr/^Ctrl-C ends it\.$/m);

like($said, qr!^rtbus demo: http://127\.0\.0\.1:$http/$!m, 'it runs');

# it says what the manual does

my @known = grep { !/PUBLISH/ } split /\n/, $follow . $speak;

is_deeply([ grep { index($said, $_) < 0 } @known ], [], 'what it says');

like(get(''), qr/<title>rtbus demo</, 'page');
like(get('page.js'), qr/job:start:v1/, 'its program');
like(get('socket.io/socket.io.js'), qr/Socket\.IO v4/, 'the stock client');
like(get('status?format=json'), qr/"rtbus_workers":[1-9]/, 'numbers');

# the chat, and its model

like(get('chat.html'), qr/<title>rtbus demo: chat</, 'chat');
like(get('chat.js'), qr!/v1/chat/completions!, 'its program');

my $token = `curl -s -m 20 -u bob:bob http://127.0.0.1:$http/login`;
my @bob = ('curl', '-s', '-m', '60', '-H', "Authorization: Bearer $token");

my $answer = output(@bob, '-H', 'X-Chat-Id: c-1', '-H',
	'Content-Type: application/json', '-d',
	'{"stream":true,"messages":[{"role":"user","content":"why?"}]}',
	"http://127.0.0.1:$http/v1/chat/completions");

like($answer, qr/"content":"You".*^data: \[DONE\]\n\n\z/ms, 'it answers');
is(output(@bob, "http://127.0.0.1:$http/chat/c-1/stream"), $answer,
	'and once more');
like(output(@bob, "http://127.0.0.1:$http/chat/c-1/state"),
	qr/"userId":"bob","status":"completed".*"output":"You ask: “why\?”/,
	'its state');

# the manual's two terminals

$t->write_file('events', '');

$t->run_daemon(sub {
	open STDOUT, '>', "$d/events" or die "Can't write: $!\n";
	open STDERR, '>', '/dev/null' or die "Can't write: $!\n";
	exec 'sh', '-c', $follow =~ s/^\s*\Kcurl -N/exec curl -N/mr
		or die "Can't run sh: $!\n";
});

ok((wait_for { read_all("$d/events") =~ /^event: connected$/m } 'curl', 20),
	'somebody follows');

is(system('sh', '-c', "($speak) > /dev/null"), 0, 'and somebody speaks');

my $events = wait_for { read_all("$d/events") =~ /^(.*"progress":50.*)/ms && $1 }
	'events';

like($events || '', qr/^data: \{"jobId":"42","chunk":"hi"\}$/m, 'heard');
like($events || '', qr/^event: task:progress:v1$/m, 'heard live');

# the end

kill 'INT', $pid;
close $demo;
undef $pid;

is($?, 0, 'it ends');
is_deeply([ glob("$d/tmp/*"), grep { taken($_) } $http, $redis ], [],
	'nothing stays');

###############################################################################

END {
	kill 'INT', $pid if $pid && $$ == $self;
}

sub here {
	my ($text) = @_;

	return $text =~ s/127\.0\.0\.1:8080/127.0.0.1:$http/gr
		=~ s/redis-cli/redis-cli -p $redis/gr =~ s/^    //mgr;
}

sub until_said {
	my ($fh, $re) = @_;

	my $end = time() + 60;
	my $said = '';

	while (time() < $end && $said !~ $re) {
		next unless IO::Select->new($fh)->can_read(1);
		last unless sysread $fh, $said, 4096, length $said;
	}

	return $said;
}

sub output {
	open my $out, '-|', @_ or die "Can't run $_[0]: $!\n";
	local $/;
	return <$out> // '';
}

sub get {
	my ($path) = @_;

	return `curl -s -m 20 'http://127.0.0.1:$http/$path'`;
}

sub taken {
	my ($port) = @_;

	return IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port") ? $port : ();
}

sub read_all {
	my ($name) = @_;

	open my $fh, '<', $name or die "Can't read $name: $!\n";
	local $/;
	return <$fh> // '';
}

###############################################################################
