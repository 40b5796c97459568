#!/usr/bin/perl

# Tests for a module that was built for another nginx: nginx says so, does not
# start with it, and goes on with what it has when the file is replaced.
# What nginx looks at is a version and a list of what was compiled in; a copy of
# the module with another one is a module for another nginx.  "make builds" tries
# real ones.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::WebSocket;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /);

plan(skip_all => 'the module is not built') unless module_file();

my $module = $t->testdir() . '/module.so';

# in place of the one that all suites load

$ENV{TEST_NGINX_GLOBALS}
	=~ s/^load_module [^;]*ngx_http_rtbus_module\.so"?;/load_module $module;/
	or plan(skip_all => 'the module is a part of nginx');

my $conf = <<'EOF';

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_allow *;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location = /ws {
            rtbus websocket;
        }
    }
}

EOF

$t->write_file_expand('nginx.conf', $conf)->plan(10);

###############################################################################

my ($version) = `$ENV{TEST_NGINX_BINARY} -v 2>&1` =~ m!/(\d+\.\d+\.\d+)!;

$version = sprintf '%d%03d%03d', split /\./, $version;

my $code = read_module();

# ngx_module_t: two indexes that are not set, a name and two fields that nobody
# has set either, the version

my $head = pack 'q2 Q3', -1, -1, 0, 0, 0;
my $at = index $code, $head . pack 'Q', $version;

cmp_ok($at, '>', 0, 'version in the module');
ok($code =~ /\0([48],[48],[48],)([01]{20,})\0/, 'signature in the module');

my ($signature, $begin, $features) = ("$1$2", $1, $2);

my $newer = $code;
substr $newer, $at + length $head, 8, pack 'Q', $version + 1;

my $other = $code;
substr $other, index($other, "\0$signature\0") + 1, length $signature,
	$begin . ($features =~ tr/01/10/r);

put_module($newer);
refused(qr/version @{[$version + 1]} instead of $version/, 'another version');

put_module($other);
refused(qr/is not binary compatible/, 'other features');

# The file is replaced while nginx runs, as by the upgrade of a package: what is
# loaded stays so, also after a reload.  A new nginx is refused.

put_module($code);
$t->run();

put_module($newer);
ok(reload_wait($t), 'reload, the module is replaced');

my $ws = Test::RTBus::WebSocket->connect(path => '/ws');

is($ws->status(), 101, 'nginx goes on with what it has');

refused(qr/version \d+ instead of/, 'a new one');

###############################################################################

sub refused {
	my ($re, $name) = @_;

	my ($ok, $output) = nginx_check($t, $conf);

	# "ok" is also false when it crashes

	is($ok, 0, "$name, refused");
	like($output, $re, "$name, said");
}

sub read_module {
	open my $fh, '<:raw', module_file() or die "Can't read the module: $!\n";
	local $/;
	return <$fh>;
}

# a running nginx has the old one mapped

sub put_module {
	my ($bytes) = @_;

	open my $fh, '>:raw', "$module.new" or die "Can't write $module: $!\n";
	print $fh $bytes;
	close $fh or die "Can't write $module: $!\n";

	rename "$module.new", $module or die "Can't rename $module: $!\n";
}

###############################################################################
