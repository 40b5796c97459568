#!/usr/bin/perl

# A short run of bench/bench: every server gives every client all events, the
# table and the JSON are there, and an event that is lost or doubled is found.
# What the figures are does not matter here.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;

use Cwd qw/ abs_path /;
use File::Basename qw/ dirname /;
use File::Temp;
use JSON::PP;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $top = dirname(abs_path(__FILE__)) . '/..';
my $module = module_file();

plan(skip_all => 'the module is not built') unless $module;
plan(skip_all => 'no redis-server') if system('which redis-server >/dev/null');

plan(tests => 16);

# the nginx under test

$ENV{NGINX} = $ENV{TEST_NGINX_BINARY} if $ENV{TEST_NGINX_BINARY};

my $json = File::Temp->new();

my ($status, $table) = bench('--json', $json);

is($status, 0, 'nothing was lost') or diag($table);
like($table, qr/^fanout +websocket .* (?:yes|NO) .*1\.15 x/m, 'goal');

my @runs = map { decode_json($_) } <$json>;

is(join(' ', map { $_->{server} } @runs), 'floor websocket socketio sse',
	'servers');

for (@runs) {
	is($_->{publish}{deliveries}, 20 * 20, "$_->{server} deliveries");
}

is((grep { $_->{cost} > 0 && $_->{publish}{latency}{p50} > 0 } @runs), 4,
	'cost and latency');
is((grep { $_->{ratio} } @runs), 3, 'ratio to the floor');

($status, $table) = bench(qw/ --protocol floor --drop 100 /);

is($status, 1, 'lost events are found');
like($table, qr/^fanout +floor .* 6 missing/m, 'how many');

($status, $table) = bench(qw/ --protocol floor --double 100 /);

like($table, qr/^fanout +floor .* 6 doubled/m, 'doubled events are found');

# answers that are captured, beside those that are not

$json = File::Temp->new();

($status, $table) = bench(qw/ --scenario capture /, '--json', $json);

@runs = map { decode_json($_) } <$json>;

is($status, 0, 'all answers were whole') or diag($table);
is(join(', ', map { "$_->{server} $_->{events}" } @runs),
	'proxy_pass 400, rtbus_capture 400, proxy_pass, by 16 400, '
	. 'rtbus_capture, by 16 400', 'their events');
is((grep { $_->{cost} > 0 && $_->{latency}{p50} > 0 } @runs), 4,
	'what they cost');
is((grep { $_->{ratio} && $_->{redis} > 0 } @runs), 2,
	'the captured ones beside the others');

###############################################################################

# 10 events before the measurement, 20 in it

sub bench {
	my (@options) = @_;

	open my $out, '-|', "$top/bench/bench", '--module', $module,
		qw/ --scenario fanout --clients 20 --time 0.4 /, @options
		or die "Can't run bench: $!\n";

	my $text = do { local $/; <$out> };

	close $out;

	return ($? >> 8, $text);
}

###############################################################################
