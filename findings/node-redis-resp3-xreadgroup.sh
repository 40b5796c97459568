#!/usr/bin/env bash
# redis 5.12.1 (npm, node-redis): xReadGroup() answers in another shape when the
# client speaks RESP3.
#
# Expected: the protocol is a matter of the wire; the client's own reply types
# ("an array of { name, messages }") stay.
#
# Seen: with RESP: 2 an array of { name, messages: [ { id, message: {...} } ] };
# with RESP: 3 an object by stream, whose entries are [ id, [ field, value, ... ] ].
# xRange() and xAutoClaim() answer alike in both.
#
# Who meets it: a consumer of a stream of commands that turns on RESP: 3, for
# client-side caching say, and finds no "messages".
#
# Needs redis-server 6 or later.
# Run 2026-11-30, Node 20.20.2, Redis 7.0.15.  Exits with 0 while it is as above.

set -eu

dir=$(mktemp -d)
trap 'kill "$(cat "$dir/pid")"; rm -rf "$dir"' EXIT
cd "$dir"

redis-server --port 0 --unixsocket "$dir/redis" --pidfile "$dir/pid" \
    --daemonize yes --save '' --dir "$dir" > /dev/null
until redis-cli -s "$dir/redis" PING > /dev/null 2>&1; do sleep 0.1; done

npm init -y > /dev/null
npm install --silent --no-audit --no-fund redis@5.12.1 > /dev/null

cat > try.mjs <<'JS'
import { createClient } from 'redis';

const expected = {
    2: '[{"name":"c","messages":[{"id":"1-1","message":{"event":"start"}}]}]',
    3: '{"c":[["1-1",["event","start"]]]}',
};
const range = '[{"id":"1-1","message":{"event":"start"}}]';
let changed = 0;

const check = (what, seen, was) => {
    seen = JSON.stringify(seen);
    console.log(`${what}: ${seen}`);
    if (seen !== was) {
        console.log(`  changed: it was ${was}`);
        changed = 1;
    }
};

for (const RESP of [2, 3]) {
    const redis = createClient({ socket: { path: process.argv[2] }, RESP });

    await redis.connect();
    await redis.flushAll();
    await redis.xAdd('c', '1-1', { event: 'start' });
    await redis.xGroupCreate('c', 'g', '0');
    check(`RESP${RESP} xReadGroup`, await redis.xReadGroup('g', 'me',
        [{ key: 'c', id: '>' }]), expected[RESP]);
    check(`RESP${RESP} xRange`, await redis.xRange('c', '-', '+'), range);
    redis.destroy();
}
process.exit(changed);
JS

node try.mjs "$dir/redis"
