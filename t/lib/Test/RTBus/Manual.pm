package Test::RTBus::Manual;

# The manual as suites read it: README.md, the pages of docs, and those beside
# README.md.
#
#	page($name) -> text		manual_pages() -> names
#	chapter($name, $heading) -> what stands under this heading of the
#		page, with the headings below it
#	blocks($text, $language) -> the fenced blocks in that language
#	headings($text) -> [ level, heading ], ...
#	anchors($text) -> the names that links use for them, as GitHub makes
#		them

###############################################################################

use warnings;
use strict;

use base qw/ Exporter /;
our @EXPORT = qw/ page manual_pages chapter blocks headings anchors /;

use Cwd qw/ abs_path /;
use File::Basename qw/ basename dirname /;

my $TOP = abs_path(dirname(__FILE__) . '/../../../..');

###############################################################################

sub manual_pages {
	return ('README.md', map { 'docs/' . basename($_) }
		sort glob "$TOP/docs/*.md");
}

sub page {
	my ($name) = @_;

	open my $fh, '<', "$TOP/$name" or die "Can't read $name: $!\n";
	local $/;
	return <$fh>;
}

# what stands in fences has no headings

sub headings {
	my ($text) = @_;

	return map { /^(#+) (.*)$/ ? [ length $1, $2 ] : () }
		split /\n/, $text =~ s/^```.*?^```$//msgr;
}

# lower case, without punctuation

sub anchors {
	my ($text) = @_;

	return map { lc $_->[1] =~ s/[^\w -]//gr =~ tr/ /-/r } headings($text);
}

sub chapter {
	my ($name, $heading) = @_;

	my ($level, $fence) = (0, 0);
	my @lines;

	for my $line (split /^/, page($name)) {
		$fence = !$fence if $line =~ /^```/;

		if (!$fence && $line =~ /^(#+) (.*)$/) {
			last if $level && length $1 <= $level;

			if (!$level && $2 eq $heading) {
				$level = length $1;
				next;
			}
		}

		push @lines, $line if $level;
	}

	die "$name has no \"$heading\"\n" unless $level;

	return join '', @lines;
}

sub blocks {
	my ($text, $language) = @_;

	return $text =~ /^```\Q$language\E\n(.*?)^```$/msg;
}

###############################################################################

1;

###############################################################################
