#!/usr/bin/perl

# The TypeScript declarations of the events: they are those of the schema, and
# the types of the stock client take them.

###############################################################################

use warnings;
use strict;

use Test::More;

use Cwd qw/ abs_path /;
use File::Basename qw/ dirname /;
use File::Temp qw/ tempdir /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $top = abs_path(dirname(__FILE__) . '/..');
my $tsc = "$top/node_modules/typescript/bin/tsc";
my $options = '--noEmit --strict --target es2022 --lib es2022,dom'
	. ' --module nodenext --moduleResolution nodenext';

my @missing = (
	((grep { -x "$_/node" } split /:/, $ENV{PATH}) ? () : 'node'),
	(-e $tsc ? () : 'node_modules/typescript'),
);

if (@missing) {
	my $why = 'missing: ' . join ', ', @missing;

	die "$why\n" if $ENV{CI} || $ENV{RTBUS_REQUIRE_ALL};
	plan(skip_all => $why);
}

plan(tests => 8);

chdir $top or die "Can't go to $top: $!\n";

my $d = tempdir('rtbus-types-XXXXXXXX', TMPDIR => 1, CLEANUP => 1);

###############################################################################

is(types('conf/events.schema.json'), read_all('conf/events.d.ts'),
	'conf/events.d.ts is up to date; "make types" makes it anew');

is(compile('t/node/types.ts'), '', 'with socket.io-client');

# everything that a schema can say

write_all("$d/all.json", <<'EOF');
{
    "$comment": "no event",
    "a:v1": {
        "type": "object",
        "description": "ends */ here",
        "required": ["x", "free", "in-quotes"],
        "properties": {
            "x": { "type": ["integer", "number", "null"] },
            "in-quotes": { "enum": ["a\"b", 1.5, null, true] },
            "list": { "type": "array", "items": { "enum": [1, 2] } },
            "any": true,
            "never": false,
            "map": {
                "type": "object",
                "additionalProperties": { "type": "string" }
            },
            "inner": {
                "type": ["object", "null"],
                "required": ["z"],
                "properties": {
                    "y": { "type": "array", "title": "why" },
                    "z": { "type": "boolean" }
                },
                "additionalProperties": false
            }
        }
    },
    "a.v1": { "type": "string" },
    "7": {},
    "connected": { "type": "null" }
}
EOF

my $all = types("$d/all.json");

has($all, <<'EOF', 'all that a schema can say');
/** ends * / here */
export interface AV1 {
    x: number | null;
    "in-quotes": "a\"b" | 1.5 | null | true;
    list?: (1 | 2)[];
    any?: unknown;
    map?: { [member: string]: string };
    inner?: {
        /** why */
        y?: unknown[];
        z: boolean;
    } | null;
    free: unknown;
}

export type AV1_2 = string;

export type Connected = null;
EOF

# an object lists members that are whole numbers first

has($all, <<'EOF', 'names');
export interface Events {
    "7": Event7;
    "a:v1": AV1;
    "a.v1": AV1_2;
    "connected": Connected;
}
EOF

write_all("$d/all.d.ts", $all);
is(compile("$d/all.d.ts"), '', 'all of it compiles');

# an event of the file goes before one of the module

write_all("$d/use.ts", <<'EOF');
import type { ServerToClientEvents } from './all';

const f: ServerToClientEvents['connected'] = (data: null) => data;
const g: ServerToClientEvents['state'] = data => data.position;

export { f, g };
EOF
is(compile("$d/use.ts"), '', 'an event of the module in the file');

# the compiler does look

write_all("$d/bad.ts", "const s: string = 1;\n\nexport { s };\n");
like(compile("$d/bad.ts"), qr/TS2322/, 'an error');

is(system("make -s types SCHEMA=$d/all.json TYPES=$d/made.d.ts BUILD=$d"
	. " >$d/make.log 2>&1") || read_all("$d/made.d.ts"), $all,
	'make types');

###############################################################################

sub has {
	my ($text, $part, $name) = @_;

	ok(index($text, $part) >= 0, $name) || diag($text);
}

sub types {
	my ($file) = @_;

	my $text = `.ci/types '$file' 2>&1`;

	return $? ? "failed: $text" : $text;
}

sub compile {
	my ($file) = @_;

	my $text = `node '$tsc' $options '$file' 2>&1`;

	return $? && $text eq '' ? "failed: $?" : $text;
}

sub read_all {
	my ($name) = @_;

	open my $fh, '<', $name or die "Can't read $name: $!\n";
	local $/;
	return <$fh>;
}

sub write_all {
	my ($name, $text) = @_;

	open my $fh, '>', $name or die "Can't write $name: $!\n";
	print $fh $text;
	close $fh or die "Can't write $name: $!\n";
}

###############################################################################
