#!/usr/bin/env bash
# @azure/core-sse 2.4.0 (npm) gives an event the name of the block before it.
#
# Expected (WHATWG HTML, 9.2.6): an empty line with no data before it dispatches
# nothing and forgets the "event" field.
#
# Seen: after a block "event: ping" without data, the next block, which has data
# and no "event" field, is handed out with the name "ping".
#
# Who meets it: servers that send an event name alone as a heartbeat; consumers
# that switch on the name then throw the next token away.
#
# Run 2026-11-30, Node 20.20.2.  Exits with 0 while the behaviour is as above.

set -eu

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

npm init -y > /dev/null
npm install --silent --no-audit --no-fund @azure/core-sse@2.4.0 > /dev/null 2>&1

cat > try.mjs <<'JS'
import { createSseStream } from '@azure/core-sse';

const body = 'event: ping\n\ndata: token\n\ndata: next\n\n';
const seen = [];

for await (const e of createSseStream(new Response(body).body))
    seen.push([e.event, e.data]);

const expected = [['ping', 'token'], ['', 'next']];

console.log(JSON.stringify(seen));
if (JSON.stringify(seen) !== JSON.stringify(expected)) {
    console.log(`changed: it was ${JSON.stringify(expected)}`);
    process.exit(1);
}
JS

node try.mjs
