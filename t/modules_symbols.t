#!/usr/bin/perl

# Tests for what the module shares with others: nginx makes the symbols of all
# modules one, and whoever is loaded first gives everybody his.  So this module
# shows nothing but what nginx asks for, and what it uses is nobody else's.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /)->has_daemon('nm');

plan(skip_all => 'the module is not built') unless module_file();

my ($dir) = `$ENV{TEST_NGINX_BINARY} -V 2>&1` =~ /--modules-path=(\S+)/;
my @others = grep { !/rtbus/ } glob(($dir || '/usr/lib/nginx/modules')
	. '/*.so');

plan(skip_all => 'no other modules') unless @others;

$t->plan(2 + @others);

###############################################################################

my ($shown, $used) = symbols(module_file());

is(join(' ', sort keys %$shown), 'ngx_module_names ngx_module_order ngx_modules',
	'what the module shows');

cmp_ok(keys %$used, '>', 100, 'what it uses');

for my $other (@others) {
	my ($theirs) = symbols($other);

	is(join(' ', sort grep { $used->{$_} } keys %$theirs), '',
		"$other has none of what it uses");
}

###############################################################################

# those that a file has for others, those that it looks for

sub symbols {
	my ($file) = @_;
	my (%shown, %used);

	for (`nm -D '$file'`) {
		my ($type, $name) = /(\S) ([^\s@]+)(?:@\S+)?$/ or next;

		if ($type eq 'U') {
			$used{$name} = 1;

		} elsif ($type ne 'w') {
			$shown{$name} = 1;
		}
	}

	return (\%shown, \%used);
}

###############################################################################
