#!/usr/bin/env bash
# ioredis 5.9.3 and iovalkey 0.4.0 (npm): "keyPrefix" is not put before the key of
# XGROUP and XINFO, but is before that of XADD and XREADGROUP.
#
# Expected: the option is for the keys of all commands; Redis says where the keys
# of a subcommand are (COMMAND GETKEYS XGROUP CREATE c g $).
#
# Seen, with keyPrefix "app:": xgroup("CREATE", "c", "g", "$", "MKSTREAM") answers
# OK and makes the stream "c"; xadd("c", ...) writes to "app:c"; xreadgroup() of
# "c" then fails with NOGROUP for "app:c".  xinfo("STREAM", "c") tells of "c", which
# is empty.  Channels of publish() and subscribe() have no prefix either, which
# is documented.
#
# Who meets it: consumers of a stream that share a Redis by prefix.  What helps:
# no keyPrefix, and the whole name everywhere.
#
# Needs redis-server; any version with streams does.
# Run 2026-11-30, Node 20.20.2, Redis 7.0.15.  Exits with 0 while it is as above.

set -eu

dir=$(mktemp -d)
trap 'kill "$(cat "$dir/pid")"; rm -rf "$dir"' EXIT
cd "$dir"

redis-server --port 0 --unixsocket "$dir/redis" --pidfile "$dir/pid" \
    --daemonize yes --save '' --dir "$dir" > /dev/null
until redis-cli -s "$dir/redis" PING > /dev/null 2>&1; do sleep 0.1; done

npm init -y > /dev/null
npm install --silent --no-audit --no-fund ioredis@5.9.3 iovalkey@0.4.0 > /dev/null

cat > try.mjs <<'JS'
import ioredis from 'ioredis';
import iovalkey from 'iovalkey';

const path = process.argv[2];
const expected = '{"made":"OK","read":"NOGROUP","keys":["app:c","c"],"length":0}';
let changed = 0;

for (const [name, Redis] of Object.entries({ ioredis, iovalkey })) {
    const plain = new Redis({ path });
    const redis = new Redis({ path, keyPrefix: 'app:' });

    await plain.flushall();
    const made = await redis.xgroup('CREATE', 'c', 'g', '$', 'MKSTREAM');
    await redis.xadd('c', '*', 'event', 'start');
    const read = await redis.xreadgroup('GROUP', 'g', 'me', 'STREAMS', 'c', '>')
        .catch(e => e.message.split(' ')[0]);
    const keys = (await plain.keys('*')).sort();
    const length = (await redis.xinfo('STREAM', 'c'))[1];
    const seen = JSON.stringify({ made, read, keys, length });

    console.log(`${name}: ${seen}`);
    if (seen !== expected) {
        console.log(`  changed: it was ${expected}`);
        changed = 1;
    }
}
process.exit(changed);
JS

node try.mjs "$dir/redis"
