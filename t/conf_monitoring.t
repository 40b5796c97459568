#!/usr/bin/perl

# Tests for the alerts and the dashboard that come with the module: they are
# what Prometheus and Grafana read, and speak of nothing that rtbus_status does
# not have.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Metrics;

use Cwd qw/ abs_path /;
use File::Basename qw/ dirname /;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http /);

plan(skip_all => 'the module is not built') unless module_file();

my $top = abs_path(dirname(__FILE__) . '/..');

# whether there is a Redis does not matter

$t->write_file_expand('nginx.conf', <<'CONF')->plan(11);

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis unix:%%TESTDIR%%/none;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location /status {
            rtbus_status;
        }
    }
}

CONF

$t->run();

###############################################################################

my $metrics = metrics();
my %name = map { /^(\w+)/ => 1 } keys %$metrics;
my %value = map { /\{(\w+)="(.*)"\}/ ? ("$1=$2" => 1) : () } keys %$metrics;

my $rules = read_all("$top/conf/rtbus.rules.yml");
my $dashboard = read_all("$top/conf/grafana.json");

my $d = eval { json_decode($dashboard) };

is($@, '', 'dashboard is JSON');

my @panels = @{$d->{panels}};
my @exprs = map { $_->{expr} } map { @{$_->{targets}} } @panels;
my %id = map { $_->{id} => 1 } @panels;

cmp_ok(scalar @exprs, '>', 10, 'expressions');
is(scalar keys %id, scalar @panels, 'panels with ids of their own');

for ([ alerts => $rules ], [ dashboard => "@exprs" ]) {
	my ($what, $text) = @$_;

	$text =~ s/#.*//mg;

	my @used = map { s/rtbus_health//r } $text =~ /\b(rtbus_\w+)/g;

	is_deeply([ grep { length && !$name{$_} } @used ], [],
		"$what: metrics are there");

	# label="value" and label=~"value|value"

	my @values;

	while ($text =~ /\b(reason|transport|kind|link|result|status)=~?"([^"]*)"/g) {
		my $label = $1;

		push @values, map { "$label=$_" } split /\|/, $2;
	}

	is_deeply([ grep { !$value{$_} } @values ], [],
		"$what: values of labels are there");
}

# nothing that counts is left out

my %shown = map { $_ => 1 } "@exprs" =~ /\b(rtbus_\w+)/g;

is_deeply([ grep { !$shown{$_} && /_total$/ } sort keys %name ], [],
	'dashboard: has all counters');

# the manual has a row for each metric, with all that its label may be

my $manual = read_all("$top/docs/operations.md");

my @rows = map { [ /^\| `(\w+)` \|(?: `(\w+)`)? \| (.*)$/ ] }
	$manual =~ /^(\| `rtbus_\w+` \| .*)$/mg;

my (%documented, %values);

for my $row (@rows) {
	my ($name, $label, $text) = @$row;

	if ($name =~ /_seconds$/ && $label) {
		$documented{"${name}_$_"} = 1 for qw/ count sum /;
		next;
	}

	# where a label has no list of its own, it was in a row above

	my @list = $label ? $text =~ /`([a-z]\w*)`/g : ();

	$values{$label} = \@list if @list;
	$documented{$label ? "$name\{$label=\"$_\"}" : $name} = 1
		for $label ? @{$values{$label}} : '';
}

is_deeply([ sort keys %documented ],
	[ grep { !/le=/ } sort keys %$metrics ], 'docs/operations.md: metrics');

SKIP: {
	my $found = grep { -x "$_/promtool" } split /:/, $ENV{PATH};

	die "no promtool\n"
		if !$found && ($ENV{CI} || $ENV{RTBUS_REQUIRE_ALL});
	skip('no promtool', 2) unless $found;

	my $out = `promtool check rules $top/conf/rtbus.rules.yml 2>&1`;

	is($?, 0, 'promtool check rules') || diag($out);

	# those of the dashboard as rules, with the interval that Grafana puts in

	my $n = 0;

	$t->write_file('dashboard.yml', "groups:\n- name: all\n  rules:\n"
		. join '', map { s/\$__rate_interval/5m/gr
			=~ s/(.*)/"  - record: r" . $n++ . "\n    expr: '$1'\n"/er
		} @exprs);

	my $dir = $t->testdir();

	$out = `promtool check rules $dir/dashboard.yml 2>&1`;

	is($?, 0, 'promtool, expressions of the dashboard') || diag($out);
}

###############################################################################

sub read_all {
	my ($file) = @_;

	open my $fh, '<', $file or die "Can't read $file: $!\n";
	local $/;
	return <$fh>;
}

###############################################################################
