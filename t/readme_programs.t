#!/usr/bin/perl

# The programs of the manual, taken from there and run: whoever copies one has
# something that works.  The synopsis is the nginx for all of them; only ports
# are replaced.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Manual qw/ blocks chapter /;
use Test::RTBus::Redis;
use Test::RTBus::WebSocket;

use Cwd qw/ abs_path /;
use File::Basename qw/ dirname /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $top = abs_path(dirname(__FILE__) . '/..');

my ($node) = grep { -x } map { "$_/node" } split /:/, $ENV{PATH};

# a Python of somebody's own may come first in PATH, without Debian's modules

my ($python) = grep {
	system("$_ -c 'import redis' 2>/dev/null") == 0
} qw! /usr/bin/python3 python3 !;

my @missing = (
	(module_file() ? () : 'the module'),
	($python ? () : 'python3 with redis'),
	($node && -d "$top/node_modules/ioredis" ? () : 'node_modules'),
	(map { my $name = $_;
		(grep { -x "$_/$name" } split /:/, $ENV{PATH}) ? () : $name
	} qw/ cc curl openssl redis-cli /),
);

if (@missing) {
	my $why = 'missing: ' . join ', ', @missing;

	die "$why\n" if $ENV{CI} || $ENV{RTBUS_REQUIRE_ALL};
	plan(skip_all => $why);
}

my $t = Test::Nginx->new()->has(qw/ http rewrite access /)
	->has_daemon('redis-server')->plan(36);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $d = $t->testdir();

my ($conf) = programs('README', 'Synopsis', 'nginx');
my $url = $redis->url();

$conf =~ s/^load_module .*;$/%%TEST_GLOBALS%%\ndaemon off;/m;
$conf =~ s/^worker_processes \Kauto;$/2;/m;
$conf =~ s/^http \{$/http {\n%%TEST_GLOBALS_HTTP%%\nrtbus_drain 300ms;/m;
$conf =~ s/^\s*rtbus_redis \K.*;$/$url;/m;

$t->write_file('jwt.key', "the key of the synopsis\n");
$t->write_file_expand('nginx.conf', $conf);

# node looks for packages beside the program

symlink "$top/node_modules", "$d/node_modules" or die "Can't make a link: $!\n";

$t->run();
wait_redis($t, 2);

###############################################################################

# publishing

my @created = qw/ job:42 job:created:v1 {"jobId":"42"} SET userId ann /;

$redis->cmd('FCALL', 'rtbus_publish', 1, @created);

my $token = sh((programs('clients', 'Examples', 'sh'))[0]
	. 'printf %s "$token"');
my $ws = Test::RTBus::WebSocket->connect(path => "/ws?token=$token");

$ws->send_json({ event => 'subscribe', data => { channel => 'job:42' },
	ack => 1 });
is($ws->wait_ack(1)->{data}{ok}, JSON::PP::true(), 'token of ann');

my $output = '';

published('sh', 1, sub { sh(programs('producers', 'From a shell', 'sh')) });

is($ws->wait_event('job:created:v1')->{data}{jobId}, '42', 'sh: job');

published('Python', 2, sub {
	run($python, file('publish.py',
		programs('producers', 'From Python', 'python')));
});

published('Node', 3, sub {
	run($node, file('publish.js',
		programs('producers', 'From Node', 'js')));
});

SKIP: {
	my $packages = '/usr/share/gocode';

	skip('no Go with redigo', 3)
		unless -d "$packages/src/github.com/gomodule/redigo"
			&& grep { -x "$_/go" } split /:/, $ENV{PATH};

	published('Go', 4, sub {
		run('env', 'GO111MODULE=off', "GOPATH=$packages",
			"GOCACHE=$d/go", 'go', 'run',
			file('publish.go',
				programs('producers', 'From Go', 'go')));
	});
}

published('C', 5, sub {
	run('cc', '-W', '-Wall', '-Werror', '-o', "$d/publish",
		file('publish.c', programs('producers', 'From C', 'c')), '-lhiredis')
		. run("$d/publish");
});

published('curl', undef, sub { sh(programs('producers', 'Over HTTP', 'sh')) });

# clients: what was there, what comes, and what came while they were away

my %client = map { $_ => snippet('clients', $_) }
	('socket.io-client', 'A plain WebSocket', 'EventSource');

$client{'README'} = snippet('README', 'A client');

my @curl = map { s/\bcurl/exec curl/r } programs('clients', 'curl', 'sh');

my $now = daemon('curl.now', 'sh', '-c', "token='$token'\n$curl[0]");
my $all = daemon('curl.all', 'sh', '-c', "token='$token'\n$curl[1]");

for my $name (sort keys %client) {
	is(shows($client{$name}, $output), $output, "$name: the text so far");
}

wait_for { read_all($now) =~ /^:/m && read_all($all) =~ /curl / } 'curl';

chunk('and ');

for my $name (sort keys %client) {
	is(shows($client{$name}, $output), $output, "$name: an event");
}

like((wait_for { read_all($now) =~ /^(event: model.*?)\n\n/ms && $1 } 'an event'),
	qr/^event:\ model:chunk:v1\n
		id:\ job:42\@\d+-\d+\n
		data:\ \{"jobId":"42","chunk":"and\ "\}$/x, 'curl: an event');

is(join('', (wait_for { read_all($all) =~ /and / } 'events')
		&& read_all($all) =~ /"chunk": ?"(.*?)"/g), $output,
	'curl: all events');

my $state = json_decode(sh("token='$token'\n$curl[2]"));

is($state->{output}, $output, 'curl: state');

ok(reload_wait($t, gone => 1), 'reload');
chunk("$_ ") for qw/ so on /;

for my $name (sort keys %client) {
	is(shows($client{$name}, $output), $output, "$name: goes on");
}

# commands

my $producer = daemon('producer', $python, '-u',
	file('producer.py', programs('producers', 'Commands', 'python')));

snippet('clients', 'Commands');

like((wait_for { read_all($producer) } 'a command'),
	qr/^ann wants job:start:v1 \{"jobId":"42","ackId":".*"\}$/, 'command');

###############################################################################

# the programs of a chapter of a page

sub programs {
	my ($name, $heading, $language) = @_;

	my @programs = blocks(chapter(file_of($name), $heading), $language)
		or die "No program under \"$heading\" in $name\n";

	return @programs if $language eq 'nginx';
	return map { here($_) } @programs;
}

sub file_of {
	my ($name) = @_;

	return $name eq 'README' ? 'README.md' : "docs/$name.md";
}

# what stands for the reader's machine, as it is on ours

sub here {
	my ($text) = @_;

	my ($http, $port) = (port(8080), $redis->port());

	return $text =~ s/127\.0\.0\.1:8080/127.0.0.1:$http/gr
		=~ s/\b6379\b/$port/gr =~ s/\bredis-cli\b/redis-cli -p $port/gr;
}

sub file {
	my ($name, $text) = @_;

	$t->write_file($name, $text);
	return "$d/$name";
}

sub run {
	my (@command) = @_;

	my $pid = open my $fh, '-|';

	die "Can't fork: $!\n" unless defined $pid;

	if (!$pid) {
		chdir $d or die "Can't go to $d: $!\n";
		open STDERR, '>', "$d/run.err";
		exec @command or die "Can't run $command[0]: $!\n";
	}

	local $/;
	my $out = <$fh>;

	close $fh or diag("@command: $?\n" . read_all("$d/run.err"));

	return $out;
}

sub sh {
	return run('sh', '-c', "PATH=\$PATH:/usr/bin\n@_");
}

sub daemon {
	my ($name, @command) = @_;

	$t->write_file("$name.out", '');

	$t->run_daemon(sub {
		open STDOUT, '>', "$d/$name.out" or die "Can't write: $!\n";
		open STDERR, '>', "$d/$name.err" or die "Can't write: $!\n";
		exec @command or die "Can't run $command[0]: $!\n";
	});

	return "$d/$name.out";
}

sub snippet {
	my ($page, $name) = @_;

	return daemon("page." . $name =~ s/\W//gr, $node, "$top/t/node/snippet.js",
		json_encode({ token => $token,
			url => 'http://127.0.0.1:' . port(8080) }),
		file($name =~ s/\W//gr . ".js", programs($page, $name, 'js')));
}

# what a page shows, once it is that or at the end of the time

sub shows {
	my ($file, $text) = @_;

	my $last = sub {
		my @lines = grep { /^".*"$/ } split /\n/, read_all($file);
		return @lines ? JSON::PP->new()->allow_nonref()
			->decode($lines[-1]) : '';
	};

	wait_for { $last->() eq $text } "\"$text\" in $file", 20;

	return $last->();
}

sub chunk {
	my ($text) = @_;

	$redis->cmd('FCALL', 'rtbus_publish', 1, 'job:42', 'model:chunk:v1',
		json_encode({ jobId => '42' }) =~ s/\}$/,"chunk":"$text"}/r,
		'APPEND', $text);
	$output .= $text;
}

# one event of each kind, and the position as the program knows it

sub published {
	my ($name, $progress, $code) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;

	my @positions = $code->() =~ /\b(\d{13}-\d+)\b/g;
	my $m = $ws->wait_event('model:chunk:v1');

	is($m->{data}{chunk}, "$name ", "$name: event");
	is($m->{cursor}, 'job:42@' . ($positions[-1] || ''),
		"$name: position");

	$output .= "$name ";

	is($ws->wait_event('task:progress:v1')->{data}{progress}, $progress,
		"$name: live event") if $progress;
}

sub read_all {
	my ($name) = @_;

	open my $fh, '<', $name or die "Can't read $name: $!\n";
	local $/;
	return <$fh> // '';
}

###############################################################################
