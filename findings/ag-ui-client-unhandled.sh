#!/usr/bin/env bash
# @ag-ui/client 1.0.0 (npm): a connection that breaks in the middle of a run is a
# rejection that nobody can handle, beside the one of runAgent().
#
# Expected: who awaits runAgent() in try and catch has caught it.
#
# Seen: runAgent() rejects, and a second promise inside of HttpAgent rejects with
# the same error and has no handler.  Node ends the process for it, by default; a
# browser tells window.onunhandledrejection.
#
# Who meets it: servers that are AG-UI clients themselves, when the agent behind
# them restarts.  process.on('unhandledRejection') keeps them alive.
#
# Run 2026-12-01, Node 20.20.2.  Exits with 0 while the behaviour is as above.

set -eu

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

npm init -y > /dev/null
npm install --silent --no-audit --no-fund @ag-ui/client@1.0.0 rxjs@7.8.2 \
    > /dev/null

cat > try.mjs <<'JS'
import http from 'node:http';
import { HttpAgent } from '@ag-ui/client';

const event = e => `data: ${JSON.stringify(e)}\n\n`;
const seen = [];

const server = http.createServer((req, res) => {
    res.writeHead(200, { 'Content-Type': 'text/event-stream' });
    res.write(event({ type: 'RUN_STARTED', threadId: 't', runId: 'r' }));

    setTimeout(() => {
        if (req.url === '/breaks') res.destroy();
        else res.end(event({ type: 'RUN_FINISHED', threadId: 't', runId: 'r' }));
    }, 100);
});

await new Promise(done => server.listen(0, '127.0.0.1', done));

process.on('unhandledRejection', e => seen.push(`unhandled ${e.message}`));
console.error = () => {};

for (const path of ['ends', 'breaks']) {
    const url = `http://127.0.0.1:${server.address().port}/${path}`;

    try {
        await new HttpAgent({ url }).runAgent({});
        seen.push(path);
    } catch (e) {
        seen.push(`caught ${e.message}`);
    }

    await new Promise(done => setTimeout(done, 300));
}

const expected = 'ends, caught terminated, unhandled terminated';

console.log(seen.join(', '));

if (seen.join(', ') !== expected) {
    console.log(`changed: it was ${expected}`);
    process.exit(1);
}

process.exit(0);
JS

node try.mjs
