#!/usr/bin/perl

# Tests for the configurations that come with the module: who copies one gets
# an nginx that starts.  Only what is bound to the machine is replaced: where
# the module, the logs and the temporary files are, and the account.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;

use Cwd qw/ abs_path /;
use File::Basename qw/ basename dirname /;
use File::Copy qw/ copy /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http access rewrite auth_basic /);

plan(skip_all => 'the module is not built') unless module_file();

my $root = dirname(dirname(abs_path(__FILE__)));
my @files = sort glob "$root/conf/*.conf";
my $d = $t->testdir();

$t->write_file('error.log', '');
$t->plan(2 * @files + 3);

###############################################################################

cmp_ok(scalar @files, '>', 0, 'there are configurations');

# what they include lies beside them, or is made before they are used

mkdir "$d/conf" or die "Can't make $d/conf: $!\n";
system("$root/demo/keys", "$d/conf/demo") == 0 or die "Can't make the keys\n";

for my $file (glob "$root/conf/*") {
	copy($file, "$d/conf") if -f $file;
}

for my $file (@files) {
	my $name = basename($file);
	my $text = $t->read_file("conf/$name");

	my $loads = qr!^load_module build/ngx_http_rtbus_module\.so;$!m;

	like($text, $loads, "$name: loads what \"make build\" makes");

	$text =~ s/$loads//;

	# the first lines of the test's own globals are of another place

	my $globals = $ENV{TEST_NGINX_GLOBALS};
	my $user = $text =~ /^user\s/m;

	$globals =~ s/\buser\s[^;]*;// if $user;
	$text = "$globals\npid $d/$name.pid;\n$text";

	my $temp = join '', map { "$_ $d/$_;\n" }
		map { "${_}_temp_path" }
		'client_body', grep { $t->has_module($_) }
		qw/ proxy fastcgi uwsgi scgi /;

	$text =~ s!(access_log )/var/log/nginx/!$1$d/!g;

	$text =~ s/^http \{$/http {\naccess_log $d\/access.log;\n$temp/m;

	$t->write_file("conf/$name", $text);

	my $output = `'$ENV{TEST_NGINX_BINARY}' -t -p '$root/' \\
		-c '$d/conf/$name' -e '$d/$name.log' 2>&1`;

	is($?, 0, "$name: nginx -t") || diag($output);
}

# systemd says nothing of a drop-in that is right; it needs a unit to drop into

SKIP: {
	skip 'no systemd-analyze', 2
		if system('systemd-analyze --version >/dev/null 2>&1');

	mkdir "$d/units" or die "Can't make $d/units: $!\n";
	mkdir "$d/units/nginx.service.d" or die "Can't make a directory: $!\n";

	$t->write_file('units/nginx.service',
		"[Service]\nType=forking\nExecStart=/bin/true\n");

	my $dropin = read_all("$root/conf/nginx.service.d/rtbus.conf");

	$t->write_file('units/nginx.service.d/rtbus.conf', $dropin);
	is(verify_unit(), '', 'systemd drop-in');

	$t->write_file('units/nginx.service.d/rtbus.conf',
		$dropin =~ s/^LimitNOFILE=\K/many/mr);
	isnt(verify_unit(), '', 'systemd drop-in that is wrong');
}

###############################################################################

sub verify_unit {
	return `SYSTEMD_UNIT_PATH='$d/units:' systemd-analyze verify \\
		'$d/units/nginx.service' 2>&1`;
}

sub read_all {
	my ($name) = @_;

	open my $fh, '<', $name or die "Can't read $name: $!\n";
	local $/;
	return <$fh>;
}

###############################################################################
