#!/usr/bin/perl

# The man page that is made from docs/directives.md: it has all that the page
# has, and man finds nothing wrong with it.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::RTBus::Manual;

use Cwd qw/ abs_path /;
use File::Basename qw/ dirname /;
use File::Temp;

###############################################################################

my $top = abs_path(dirname(__FILE__) . '/..');

my ($man) = grep { -x } map { "$_/man" } split /:/, $ENV{PATH};

if (!$man) {
	die "no man\n" if $ENV{CI} || $ENV{RTBUS_REQUIRE_ALL};
	plan(skip_all => 'no man');
}

my $manual = page('docs/directives.md');
my $roff = qx{'$top/.ci/man'};

is($?, 0, 'it is made');

my $file = File::Temp->new(SUFFIX => '.7');
print $file $roff;
$file->flush();

my ($shown, $warnings) = show($file);

is($warnings, '', 'no warnings');
isnt((show(File::Temp->new(SUFFIX => '.7'), ".nonsense\n"))[1], '',
	'a warning, if there is one');

my @directives = $manual =~ /^## `(\w+)`$/mg;

cmp_ok(scalar @directives, '>', 30, 'directives');

is_deeply([ $shown =~ /^   (rtbus\w*)$/mg ], \@directives,
	'a section for each directive');

for my $name (@directives) {
	my ($syntax) = chapter('docs/directives.md', "`$name`")
		=~ /\*\*syntax\*\*: (.*)/;
	my ($section) = $shown =~ /^   $name\n(.*?)(?=^(?:   )?\w|\z)/ms;

	like($section || '', qr/syntax: \Q@{[ $syntax =~ tr!`!!dr ]}\E/, $name);
}

my ($variables) = $shown =~ /^VARIABLES\n(.*?)^\w/ms;

is_deeply([ $variables =~ /^ +\S+ \$(\w+):/mg ],
	[ chapter('docs/directives.md', 'Variables') =~ /^- `\$(\w+)`:/mg ],
	'variables');

# nothing is lost on the way but the index, and where links lead

my %shown = map { $_ => 1 } words($shown);
my $text = $manual =~ s/\A.*?(?=^[A-Z])//msr =~ s/^## Variables$//mr
	=~ s/^```\K\w+$//mgr =~ s/\]\([^)]*\)/]/gr;

is_deeply([ grep { !$shown{$_} } words($text) ], [],
	'words of the manual');

done_testing();

###############################################################################

sub show {
	my ($file, $text) = @_;

	if (defined $text) {
		print $file $text;
		$file->flush();
	}

	my $errors = File::Temp->new();

	local $ENV{MANWIDTH} = 500;
	local $ENV{LC_ALL} = 'C.UTF-8';
	local $ENV{MANROFFOPT};

	my $out = qx{'$man' --warnings -l '$file' 2>'$errors'};

	return ($out, do { local $/; <$errors> } // '');
}

sub words {
	my ($text) = @_;

	return $text =~ /(\w+)/g;
}

###############################################################################
