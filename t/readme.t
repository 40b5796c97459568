#!/usr/bin/perl

# The manual says what the module has: each directive with its true default and
# contexts, none that is not there, examples that nginx takes, and links that
# lead somewhere.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Manual;

use Cwd qw/ abs_path /;
use File::Basename qw/ dirname /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $top = abs_path(dirname(__FILE__) . '/..');

my $source = read_all("$top/ngx_http_rtbus_module.c");
my $all = join '', $source, map { read_all($_) } glob "$top/src/http/*.c $top/src/http/*/*.c";
my @pages = manual_pages();
my %text = map { $_ => page($_) } @pages;

my $t = Test::Nginx->new()->has(qw/ http rewrite access auth_basic proxy
	auth_request limit_conn limit_req /);

my %command = commands($source);
my %section = sections($text{'docs/directives.md'});
my @blocks = map { my $name = $_; map { [ $name, $_ ] }
	blocks($text{$name}, 'nginx') } @pages;

# pages that stand beside the manual

my @beside = map { s!^\Q$top/\E!!r } glob "$top/[A-Z]*.md";
my @all = (@pages, grep { $_ ne 'README.md' } @beside);

$text{$_} //= page($_) for @all;

# the reader finds his way by a list of the chapters where there are several

my @contents = grep { !/README|directives/ && $text{$_} =~ /^- \[/m } @pages;

$t->plan(3 + 3 * keys(%section) + @blocks + 4 * @all + @contents + 7);

###############################################################################

cmp_ok(scalar(keys %command), '>', 10, 'directives in the source');

is_deeply([ sort keys %section ], [ sort keys %command ],
	'directives of the manual are those of the module');

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
	my ($name, $text) = @{ $blocks[$i] };
	my ($ok, $output) = nginx_check($t, whole($text));

	ok($ok, "$name: example " . ($i + 1)) or diag($output);
}

is((nginx_check($t, whole("rtbus_nonsense on;\n")))[0], 0,
	'an example that is wrong');

# all directives, and all variables

my ($index) = $text{'docs/directives.md'} =~ /^# Directives\n(.*?)^## /ms;

is_deeply([ sort $index =~ /\[`(\w+)`\]\(#\1\)/g ], [ sort keys %command ],
	'list of directives');

my $variables = chapter('docs/directives.md', 'Variables');
my @variables = $all =~ s/^\Q$source//r =~ /ngx_string\("(rtbus_\w+)"\)/g;

is_deeply([ sort $variables =~ /^- `\$(\w+)`:/mg ], [ sort @variables ],
	'variables');

# a page that is read first has to be short

cmp_ok(scalar split(/^/, $text{'README.md'}), '<=', 350,
	'README.md is not long');

for my $name (@contents) {
	my ($contents) = $text{$name} =~ /\A# [^\n]*\n(.*?)^## /ms;

	is_deeply([ $contents =~ /^( *- \[.*?\]\(#.*?\))$/mg ],
		[ map { '    ' x ($_->[0] - 2) . "- [$_->[1]](#"
			. (anchors("# $_->[1]"))[0] . ')' }
			grep { $_->[0] == 2 || $_->[0] == 3 }
			headings($text{$name}) ], "$name: contents");
}

# of all pages: where their links lead, and what they say "make" can do

my %anchor = map { my $name = $_; $name => { map { $_ => 1 }
	anchors($text{$name}) } } @all;

my $make = read_all("$top/Makefile");

for my $name (@all) {
	my $text = $text{$name};
	my @names = anchors($text);

	is(scalar keys %{ $anchor{$name} }, scalar @names,
		"$name: headings have names of their own");

	my @links = map { [ /^([^#]*)#?(.*)$/ ] }
		$text =~ s/^```.*?^```$//msgr =~ /\]\((?!https?:)([^)]*)\)/g;

	is_deeply([ map { $_->[0] } grep { !-e target($name, $_->[0]) } @links ],
		[], "$name: links to files");

	is_deeply([ map { "$_->[0]#$_->[1]" } grep { $_->[1] ne ''
		&& !$anchor{ page_of($name, $_->[0]) }{ $_->[1] } } @links ],
		[], "$name: links to headings");

	is_deeply([ grep { $make !~ /^\Q$_\E:/m }
		$text =~ /(?:^    |`)make (?:-B )?([a-z]\w*[\w-]*)\b(?!=)/mg ],
		[], "$name: targets of make");
}

# CONTRIBUTING.md names functions, types and files of the code

my $code = join '', $all, map { read_all($_) }
	glob "$top/src/*/*.[ch] $top/src/http/*/*.h $top/src/http/*.h";

is_deeply([ grep { $code !~ /\b\Q$_\E\b/ }
	$text{'CONTRIBUTING.md'} =~ /\b(ngx_(?:http_)?rtbus_\w*[a-z])\b/g ], [],
	'CONTRIBUTING.md: names of the code');

is_deeply([ grep { my ($dir, $file) = split m!/!;
		!grep { -e } glob "$top/src/{http/$dir,$dir}/"
			. "ngx_{http_,}rtbus_{redis_,}$file" }
	$text{'CONTRIBUTING.md'} =~ m!`([a-z]+/[a-z_]+\.c)`!g ], [],
	'CONTRIBUTING.md: files of the code');

# comments elsewhere name pages, and no heading of a page that was moved

my @files = grep { /\.(?:[chtp]m?|conf|lua|js|py|yml)$|^(?:CHANGES|Makefile)$/ }
	split /\n/, qx{cd '$top' && git ls-files 2>/dev/null};

is_deeply([ map { my $file = $_; map { "$file: $_" } grep { !-e "$top/$_" }
	read_all("$top/$file") =~ m!\b(docs/[\w-]+\.md)\b!g } @files ], [],
	'pages that other files name');

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

# a link of a page as a file of the repository

sub page_of {
	my ($name, $link) = @_;

	return $name if $link eq '';

	my $path = ($name =~ m!^(.*/)! ? $1 : '') . $link;

	1 while $path =~ s!(^|/)[^/]+/\.\./!$1!;

	return $path;
}

sub target {
	my ($name, $link) = @_;

	return "$top/" . page_of($name, $link);
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
	my ($page) = @_;

	my ($part) = $page =~ /^# Directives\n(.*?)^## Variables/ms
		or die "No directives in the manual\n";

	my %section;

	while ($part =~ /^## `(\w+)`\n(.*?)(?=^##|\z)/msg) {
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
