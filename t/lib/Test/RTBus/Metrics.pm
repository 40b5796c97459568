package Test::RTBus::Metrics;

# Reads what rtbus_status answers, as strictly as Prometheus would and by its
# conventions.
#
#	my $m = metrics('/status');
#	is($m->{'rtbus_connections{transport="sse"}'}, 3, 'event streams');
#
# Exported
#
#	metrics([$uri]) -> { sample => value }; dies of what is no good answer
#	metrics_parse($text) -> the same for a text
#	metrics_types($text) -> { metric => type }
#	metrics_back(\%before, \%after) -> names of counters that went back
#	metrics_wait($sample, $value [, $seconds]) -> 1 once it has that value
#	metrics_sum(\%metrics, $name) -> the sum over all values of the labels

###############################################################################

use warnings;
use strict;

use base qw/ Exporter /;

our @EXPORT = qw/
	metrics metrics_parse metrics_types metrics_back metrics_wait
	metrics_sum
/;

use Test::RTBus ();

my $NUMBER = qr/\d+(?:\.\d+)?/;
my $LABEL = qr/\w+="[^"\\\n]*"/;

sub metrics {
	my ($uri) = @_;

	$uri = '/status' unless defined $uri;

	my $reply = Test::Nginx::http_get($uri);

	die "No metrics: $reply\n"
		unless defined $reply && $reply =~ m!^HTTP/1\.1 200 .*?\r\n\r\n!s;

	return metrics_parse(substr $reply, $+[0]);
}

sub metrics_parse {
	my ($text) = @_;

	return (_parse($text))[0];
}

sub metrics_types {
	my ($text) = @_;

	return (_parse($text))[1];
}

sub _parse {
	my ($text) = @_;

	my (%value, %type, $help, $name, $type, %seen);

	die "No line feed at the end\n" unless $text =~ /\n\z/;

	for my $line (split /\n/, $text) {
		if ($line =~ /^# HELP ([a-z][a-z0-9_]*) (\S.*)$/) {
			die "HELP without TYPE: $line\n" if defined $help;
			die "Twice: $line\n" if $seen{$1}++;

			$help = $1;
			next;
		}

		if ($line =~ /^# TYPE (\w+) (counter|gauge|histogram)$/) {
			die "TYPE without HELP: $line\n"
				unless defined $help && $help eq $1;

			($name, $type, $help) = ($1, $2, undef);
			$type{$name} = $type;

			die "A counter's name: $name\n"
				if ($type eq 'counter') != ($name =~ /_total$/);
			die "A name: $name\n"
				if $name =~ /_(?:count|sum|bucket|ms|kb)$/;
			next;
		}

		$line =~ /^(\w+)(\{$LABEL(?:,$LABEL)*\})? ($NUMBER)$/
			or die "Not a sample: $line\n";

		my ($of, $labels, $value) = ($1, $2, $3);

		die "Not of $name: $line\n" unless defined $name
			&& $of =~ ($type eq 'histogram'
				? qr/^\Q$name\E_(?:bucket|sum|count)$/
				: qr/^\Q$name\E$/);

		$labels = '' unless defined $labels;

		die "Twice: $line\n" if exists $value{"$of$labels"};

		$value{"$of$labels"} = $value + 0;
	}

	for my $name (grep { $type{$_} eq 'histogram' } keys %type) {
		my %buckets;

		for my $sample (keys %value) {
			next unless $sample
				=~ /^\Q$name\E_bucket\{(.*)le="(.*)"\}$/;

			$buckets{$1}{$2} = $value{$sample};
		}

		die "$name has no buckets\n" unless %buckets;

		for my $labels (keys %buckets) {
			my $bucket = $buckets{$labels};
			my $inf = delete $bucket->{'+Inf'};
			my $last = 0;

			for my $le (sort { $a <=> $b } keys %$bucket) {
				die "$name is not cumulative\n"
					if $bucket->{$le} < $last;
				$last = $bucket->{$le};
			}

			my $of = $labels =~ s/^(.*),\z/{$1}/r;

			die "$name does not add up\n" unless defined $inf
				&& $inf >= $last
				&& $inf == $value{"${name}_count$of"};
		}
	}

	return (\%value, \%type);
}

sub metrics_back {
	my ($before, $after) = @_;

	return map { "$_: $before->{$_} -> "
			. (defined $after->{$_} ? $after->{$_} : 'none') }
		grep { !defined $after->{$_} || $after->{$_} < $before->{$_} }
		grep { /_(?:total|bucket|sum|count)\b/ } sort keys %$before;
}

sub metrics_wait {
	my ($sample, $value, $timeout) = @_;

	my $got;

	my $ok = Test::RTBus::wait_for {
		my $m = eval { metrics() } || {};

		$got = $m->{$sample};
		defined $got && $got == $value;
	} undef, $timeout;

	Test::More::diag("$sample is " . (defined $got ? $got : 'not there')
		. ", not $value") unless $ok;

	return $ok;
}

sub metrics_sum {
	my ($metrics, $name) = @_;

	my $sum = 0;

	$sum += $metrics->{$_} for grep { /^\Q$name\E(?:\{|$)/ } keys %$metrics;

	return $sum;
}

###############################################################################

1;

###############################################################################
