#!/usr/bin/perl

# The codec of Socket.IO packets beside npm's socket.io-parser, which is what
# clients have: both read the same packets, thousands of them, good ones and ones
# that are nearly good.  What they do not agree on is in node/sio.js, with the
# reason.  "make fuzz" does it for longer.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;

use Cwd qw/ abs_path /;
use File::Basename qw/ dirname /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $top = abs_path(dirname(__FILE__) . '/..');
my ($node) = grep { -x } map { "$_/node" } split /:/, $ENV{PATH};

my @missing = (
	($node ? () : 'node'),
	(-d "$top/node_modules/socket.io-parser" ? ()
		: 'node_modules/socket.io-parser'),
	(-x "$top/build/sio" ? () : 'build/sio'),
);

if (@missing) {
	my $why = 'missing: ' . join ', ', @missing;

	die "$why\n" if $ENV{CI} || $ENV{RTBUS_REQUIRE_ALL};
	plan(skip_all => $why);
}

plan(tests => 17);

run_tap('packets', $node, "$top/t/node/sio.js", "$top/build/sio",
	"$top/t/fuzz/corpus/sio");

###############################################################################
