#!/usr/bin/perl

# Tests with Ruby's websocket-driver, unchanged.  It reads the status line of
# the handshake by the letter, reason phrase and all.

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

if (system("ruby -e 'require \"websocket/driver\"' >/dev/null 2>&1") != 0) {
	die "missing: ruby-websocket-driver\n" if $ENV{CI};
	plan(skip_all => 'no websocket-driver of Ruby');
}

my $t = Test::Nginx->new()->has(qw/ http /)
	->has_daemon('redis-server')->plan(4);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $url = $redis->url();

$t->write_file_expand('nginx.conf', <<"EOT");

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis  $url;
    rtbus_allow  job:*;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location /ws {
            rtbus  websocket;
        }
    }
}

EOT

$t->run();
wait_redis($t);

###############################################################################

my $out = $t->testdir() . '/out';

my $pid = fork();
die "Can't fork: $!\n" unless defined $pid;

if ($pid == 0) {
	open STDOUT, '>', $out or POSIX::_exit(1);
	exec 'ruby', "$top/t/ruby/ws.rb", 'ws://127.0.0.1:' . port(8080) . '/ws'
		or POSIX::_exit(1);
}

ok((wait_for { said(qr/^open$/m) } 'open'), 'open');
ok((wait_for { said(qr/"ok":true/) } 'an answer'), 'subscribed');

$redis->event('job:1', 'hello', 1);
ok((wait_for { said(qr/"event":"hello"/) } 'an event'), 'event');

unlike(text(), qr/^(?:error|close)/m, 'nothing is wrong');

kill 'KILL', $pid;
waitpid $pid, 0;

###############################################################################

sub text {
	open my $f, '<', $out or return '';
	local $/;

	return <$f> // '';
}

sub said { return text() =~ $_[0] }

###############################################################################
