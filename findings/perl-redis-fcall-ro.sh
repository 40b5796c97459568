#!/usr/bin/env bash
# Perl's Redis 2.000 (Debian 12, libredis-perl 2:2.000-1) cannot send FCALL_RO by
# the method of that name.
#
# Expected: $redis->fcall_ro("twice", 1, "key") sends FCALL_RO.
#
# Seen: the module cuts a method's name at underscores (config_get is CONFIG GET),
# so FCALL is sent with "RO" as the name of the function.  Redis answers "ERR
# Function not found", which reads as if the library was not loaded.
#
# Who meets it: readers of a function with the flag no-writes.  FCALL calls it
# as well, on a master.
#
# Needs redis-server 7.
# Run 2026-11-30, Perl 5.36, Redis 7.0.15.  Exits with 0 while it is as above.

set -eu

dir=$(mktemp -d)
trap 'kill "$(cat "$dir/pid")"; rm -rf "$dir"' EXIT
cd "$dir"

redis-server --port 0 --unixsocket "$dir/redis" --pidfile "$dir/pid" \
    --daemonize yes --save '' --dir "$dir" > /dev/null
until redis-cli -s "$dir/redis" PING > /dev/null 2>&1; do sleep 0.1; done

apt-get download -q libredis-perl=2:2.000-1 libio-socket-timeout-perl \
    libpackage-stash-perl libtry-tiny-perl > /dev/null 2>&1 || true
for deb in *.deb; do dpkg -x "$deb" .; done

redis-cli -s "$dir/redis" FUNCTION LOAD "#!lua name=try
redis.register_function{ function_name = 'twice', flags = { 'no-writes' },
    callback = function(keys) return keys[1] .. keys[1] end }" > /dev/null

echo "redis-cli: $(redis-cli -s "$dir/redis" FCALL_RO twice 1 ab)"

cat > try.pl <<'PERL'
use strict;
use warnings;
use Redis;

my $redis = Redis->new(sock => $ARGV[0]);
my %expected = (fcall => 'abab', fcall_ro => 'ERR Function not found');
my $changed = 0;

for my $method (sort keys %expected) {
    my $seen = eval { $redis->$method('twice', 1, 'ab') };

    ($seen) = $@ =~ /(ERR [^,]*)/ unless defined $seen;
    print "$method: $seen\n";

    if ($seen ne $expected{$method}) {
        print "  changed: it was $expected{$method}\n";
        $changed = 1;
    }
}

exit $changed;
PERL

perl -I usr/share/perl5 try.pl "$dir/redis"
