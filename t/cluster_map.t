#!/usr/bin/perl

# Tests for what is believed of a Redis Cluster, and what is done with it: a node
# that is cut off from the others, and says so, has a map that proves nothing;
# all masters get the function library, also those that no client has a channel
# of, and get it again when it is lost.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Cluster;
use Test::RTBus::WebSocket;

use IO::Select;
use IO::Socket::INET;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('redis-server')
	->has_daemon('redis-cli');

plan(skip_all => 'the module is not built') unless module_file();

my $cluster = Test::RTBus::Cluster->new(dir => $t->testdir());

# it has all slots, as it believes

my $listen = IO::Socket::INET->new(Listen => 50, LocalAddr => '127.0.0.1',
	ReuseAddr => 1) or die "Can't listen: $!\n";
my $fake = cut_off($listen);

Test::RTBus::at_end(sub { kill 'KILL', $fake; waitpid $fake, 0 });

my $url = $cluster->url() =~ s/127/'127.0.0.1:' . $listen->sockport() . ',127'/er;

$t->write_file_expand('nginx.conf', <<"CONF")->plan(6);

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis $url;
    rtbus_allow *;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location / {
            rtbus websocket;
            rtbus_subscribe all;
        }

        location /health {
            rtbus_health;
        }
    }
}

CONF

$t->run();

###############################################################################

ok((wait_for { 3 == grep { version($_) } $cluster->masters() } 'libraries', 20),
	'the library on all masters');

my $ws = Test::RTBus::WebSocket->connect(path => '/');
$ws->wait_event('connected');

ok((wait_for { $cluster->subscribers('all') } 'a subscriber', 20),
	'subscribed at who has the slot');

$cluster->fcall('all', 'e', 1);
is(($ws->wait_event('e') || {})->{data}, 1, 'event');

error_log_like($t, qr/\[error\].*slots of the cluster.*cluster_state:fail/,
	'logged');
ok((wait_for { http_get('/health') =~ / 200 / } 'health', 20), 'health');

$_->cmd('FUNCTION', 'FLUSH') for $cluster->masters();

ok((wait_for { 3 == grep { version($_) } $cluster->masters() } 'libraries', 30),
	'the library again');

###############################################################################

sub version {
	my ($node) = @_;

	my $version = $node->try_cmd('FCALL_RO', 'rtbus_version', 0);

	return ref $version ? 0 : $version;
}

sub cut_off {
	my ($server) = @_;

	my $port = $server->sockport();
	my $pid = fork();
	die "Can't fork: $!\n" unless defined $pid;
	return $pid if $pid;

	$SIG{$_} = 'DEFAULT' for qw/ INT TERM HUP /;
	$SIG{PIPE} = 'IGNORE';

	my $info = "cluster_enabled:1\r\ncluster_state:fail\r\n";
	my $all = IO::Select->new($server);
	my %in;

	while (1) {
		for my $s ($all->can_read()) {
			if ($s == $server) {
				my $new = $server->accept() or next;
				$all->add($new);
				$in{$new} = '';
				next;
			}

			if (!sysread $s, $in{$s}, 65536, length $in{$s}) {
				$all->remove($s);
				delete $in{$s};
				close $s;
				next;
			}

			while ($in{$s}
				=~ s/^\*\d+\r\n((?:\$\d+\r\n[^\r]*\r\n)+)//)
			{
				my @args = $1 =~ /\$\d+\r\n([^\r]*)\r\n/g;
				my $command = uc join ' ', @args;

				syswrite $s, $command eq 'PING' ? "+PONG\r\n"
					: $command =~ /^CLIENT/ ? "+OK\r\n"
					: $command eq 'CLUSTER INFO'
					? '$' . length($info) . "\r\n$info\r\n"
					: $command eq 'CLUSTER SLOTS'
					? "*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n"
						. "\$9\r\n127.0.0.1\r\n:$port\r\n"
						. "\$1\r\na\r\n"
					: "-CLUSTERDOWN The cluster is down\r\n";
			}
		}
	}
}

###############################################################################
