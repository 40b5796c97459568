#!/usr/bin/perl

# README.md says what the module has: each directive with its true default and
# contexts, none that is not there, and examples that nginx takes.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;

use Cwd qw/ abs_path /;
use File::Basename qw/ dirname /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $top = abs_path(dirname(__FILE__) . '/..');

my $source = read_all("$top/ngx_http_rtbus_module.c");
my $all = join '', $source, map { read_all($_) } glob "$top/src/http/*.c $top/src/http/*/*.c";
my $readme = read_all("$top/README.md");

my $t = Test::Nginx->new()->has(qw/ http rewrite access auth_basic proxy
	auth_request limit_conn limit_req /);

my %command = commands($source);
my %section = sections($readme);
my @blocks = $readme =~ /^```nginx\n(.*?)^```$/msg;

$t->plan(3 + 3 * keys(%section) + @blocks + 12);

###############################################################################

cmp_ok(scalar(keys %command), '>', 10, 'directives in the source');

is_deeply([ sort keys %section ], [ sort keys %command ],
	'directives of README.md are those of the module');

for my $name (sort keys %section) {
	my ($syntax, $default, $context) = @{ $section{$name} };

	like($syntax, qr/^`$name(?: .+)?`$/, "$name syntax");
	is(value($default), default_of($name), "$name default");
	is($context, join(', ', map { "`$_`" } contexts($name)),
		"$name context");
}

# whoever reads an example may copy it, and has a key

$t->write_file('jwt.key', "0123456789abcdef\n");

for my $i (0 .. $#blocks) {
	my ($ok, $output) = nginx_check($t, whole($blocks[$i]));

	ok($ok, 'example ' . ($i + 1)) or diag($output);
}

is((nginx_check($t, whole("rtbus_nonsense on;\n")))[0], 0,
	'an example that is wrong');

# links within the page: a heading's name in lower case, without punctuation

my @headings = ($readme =~ s/^```.*?^```$//msgr) =~ /^(#+ .*)$/mg;
my @anchors = map { lc s/^#+ //r =~ s/[^\w -]//gr =~ tr/ /-/r } @headings;
my %anchor = map { $_ => 1 } @anchors;

is(scalar keys %anchor, scalar @anchors, 'headings have names of their own');

my ($contents) = $readme =~ /^# Contents\n(.*?)^# /ms;

is_deeply([ $contents =~ /^( *- \[.*?\])/mg ],
	[ map { s/^# (.*)/- [$1]/r =~ s/^## (.*)/    - [$1]/r }
		grep { !/^# (?:Name|Contents)$|^###/ } @headings ], 'contents');

# all directives, and all variables

my ($index) = $readme =~ /^# Directives\n(.*?)^### /ms;

is_deeply([ sort $index =~ /\[`(\w+)`\]\(#\1\)/g ], [ sort keys %command ],
	'list of directives');

my ($variables) = $readme =~ /^# Variables\n(.*?)^# /ms;
my @variables = $all =~ s/^\Q$source//r =~ /ngx_string\("(rtbus_\w+)"\)/g;

is_deeply([ sort $variables =~ /^- `\$(\w+)`:/mg ], [ sort @variables ],
	'variables');

is_deeply([ grep { !$anchor{$_} } $readme =~ /\]\(#([^)]*)\)/g ], [],
	'links');

# of all pages: what they link to, and what they say "make" can do

my $make = read_all("$top/Makefile");

for my $name ('README.md', 'CONTRIBUTING.md', 'SECURITY.md') {
	my $text = read_all("$top/$name");

	is_deeply([ grep { !-e "$top/$_" } map { s/#.*//r }
		$text =~ /\]\((?!#|https?:)([^)]*)\)/g ], [], "$name: files");

	is_deeply([ grep { $make !~ /^\Q$_\E:/m }
		$text =~ /(?:^    |`)make (?:-B )?([a-z]\w*[\w-]*)\b(?!=)/mg ],
		[], "$name: targets of make");
}

# the first release has all of them

my $changes = read_all("$top/CHANGES");

is_deeply([ grep { $changes !~ /"\Q$_\E"/ } sort(keys %command),
	map { "\$$_" } @variables ], [], 'CHANGES: directives, variables');

###############################################################################

sub read_all {
	my ($name) = @_;

	open my $fh, '<', $name or die "Can't read $name: $!\n";
	local $/;
	return <$fh>;
}

# name => [ flags, field of the configuration or undef ]

sub commands {
	my ($source) = @_;

	my ($table) = $source =~ /^static\ ngx_command_t\s+ngx_http_rtbus_commands
		\[\]\ =\ \{(.*?)^\};/msx or die "No table of directives\n";

	my %command;

	while ($table =~ /\{\s*ngx_string\("(\w+)"\),\s*([\w|\s]+?),
		.*?,\s*(?:0|offsetof\(\w+,\s*([\w.]+)\)),\s*[^,]*\}/gsx)
	{
		$command{$1} = [ $2, $3 ];
	}

	my $n = () = $table =~ /ngx_string\(/g;
	die "Can't read the table of directives\n" if $n != keys %command;

	return %command;
}

# name => [ syntax, default, context ], as they are written

sub sections {
	my ($readme) = @_;

	my ($part) = $readme =~ /^# Directives\n(.*?)^# /ms
		or die "No directives in README.md\n";

	my %section;

	while ($part =~ /^### `(\w+)`\n(.*?)(?=^###|\z)/msg) {
		my ($name, $text) = ($1, $2);

		die "$name is described twice\n" if $section{$name};

		my $bullets = join '', map { "- \\*\\*$_\\*\\*: (.*)\n" }
			qw/ syntax default context /;

		$text =~ /^\n$bullets\n\w/
			or die "No syntax, default, context of $name\n";

		$section{$name} = [ $1, $2, $3 ];
	}

	return %section;
}

sub contexts {
	my ($name) = @_;

	my $flags = $command{$name} ? $command{$name}[0] : '';

	return ($flags =~ /NGX_HTTP_MAIN_CONF/ ? 'http' : (),
		$flags =~ /NGX_HTTP_SRV_CONF/ ? 'server' : (),
		$flags =~ /NGX_HTTP_LOC_CONF/ ? 'location' : ());
}

# what the source has for a directive, as value() has it; undef for none

sub default_of {
	my ($name) = @_;

	my ($flags, $place) = @{ $command{$name} || [ '' ] };

	my %text = (
		rtbus_bus => qr/define NGX_HTTP_RTBUS_DEFAULT\s+"(.*?)"/,
		rtbus_redis => qr/ngx_str_set\(&url, "(.*?)"\)/,
		rtbus_namespaces => qr/ngx_str_set\(&nsp->name, "(.*?)"\)/,
		rtbus_user => qr/ngx_http_rtbus_jwt_name = ngx_string\("(.*?)"/,
	);

	return ($name eq 'rtbus_user' ? '$' : '') . ($all =~ $text{$name})[0]
		if $text{$name};

	if ($name eq 'rtbus_state_fields') {
		my ($table) = $all =~ /_default_fields\[\] = \{(.*?)^\};/ms;

		return join ' ', map { s/:str$//r } map { join ':', @$_ }
			map { [ /"(\w+)".*_(\w+)/ ? ($1, lc $2) : () ] }
			grep { /ngx_string/ } split /\n/, $table;
	}

	my @fields = $name eq 'rtbus_ping' ? qw/ ping_interval ping_timeout /
		: $name eq 'rtbus_message_rate' ? 'message_rate' : $place;

	return undef unless $fields[0];

	my @values;

	for my $field (@fields) {
		my ($text, $number) =
			$all =~ /ngx_conf_(?:merge|init)_(?:\w+_)?value\(
			\s*\w+->$field,\s*(?:\w+->$field,\s*)?
			(?:"(.*?)"|([\d*\s]+))\)/x or next;

		push @values, $flags =~ /FLAG/ ? $number ? 'on' : 'off'
			: defined $text ? $text : eval $number;
	}

	return @values ? "@values" : undef;
}

# `25s 20s` -> "25000 20000"; undef where it says in words that there is none

sub value {
	my ($text) = @_;

	my %unit = (k => 1024, m => 1048576, s => 1000, ms => 1, 'r/s' => 1,
		'' => 1);

	return undef unless $text =~ s/^`(.*)`$/$1/;

	return join ' ', map {
		my ($n, $unit) = /^(\d+)(\D*)$/;

		defined $n && $unit{$unit} ? $n * $unit{$unit} : $_;
	} split / /, $text;
}

# an example is a whole configuration, or what stands in http {} or server {}

sub whole {
	my ($text) = @_;

	my $dir = $t->testdir();

	$text =~ s!^(\s*rtbus_jwt_key\s+)[^\s;]+!$1$dir/jwt.key!mg;

	if ($text =~ s/^load_module .*\n/%%TEST_GLOBALS%%\n/m) {
		$text =~ s/^http \{\n/http {\n    %%TEST_GLOBALS_HTTP%%\n/m;
		return $text;
	}

	$text = "server {\nlisten 127.0.0.1:8080;\n$text\n}\n"
		unless $text =~ /^server \{/m;

	return "%%TEST_GLOBALS%%\nevents {\n}\nhttp {\n%%TEST_GLOBALS_HTTP%%\n"
		. "$text\n}\n";
}

###############################################################################
