#!/usr/bin/env bash
# @ag-ui/client 1.0.0 (npm) cannot read an event stream with CR LF line ends.
#
# Expected (WHATWG HTML, 9.2.5): CR LF, LF and CR all end a line.
#
# Seen: HttpAgent fails with a SyntaxError as soon as a second event is in the
# stream, since it looks for two LFs in a row; events that came in one read are
# taken for one JSON text.  With LF the same run is read.
#
# Who meets it: an AG-UI server in Python (sse-starlette writes CR LF by default)
# or behind a gateway that normalises line ends.
#
# Run 2026-11-30, Node 20.20.2.  Exits with 0 while the behaviour is as above.

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

const run = { threadId: 't', runId: 'r' };
const events = [
    { type: 'RUN_STARTED', ...run },
    { type: 'TEXT_MESSAGE_START', messageId: 'm', role: 'assistant' },
    { type: 'TEXT_MESSAGE_CONTENT', messageId: 'm', delta: 'hello' },
    { type: 'TEXT_MESSAGE_END', messageId: 'm' },
    { type: 'RUN_FINISHED', ...run },
];

const ends = { LF: ['\n', 'hello'], 'CR LF': ['\r\n', 'SyntaxError'] };

let end;
const server = http.createServer((req, res) => {
    res.writeHead(200, { 'Content-Type': 'text/event-stream' });
    res.end(events.map(e => `data: ${JSON.stringify(e)}${end}${end}`).join(''));
}).listen(0, '127.0.0.1', async () => {
    const url = `http://127.0.0.1:${server.address().port}/`;
    let changed = 0;

    console.error = () => {};

    for (const [name, [bytes, expected]] of Object.entries(ends)) {
        let seen;
        end = bytes;

        try {
            const agent = new HttpAgent({ url });
            await agent.runAgent({});
            seen = agent.messages.map(m => m.content).join('');
        } catch (e) {
            seen = e.name;
        }

        console.log(`${name}: ${JSON.stringify(seen)}`);
        if (seen !== expected) {
            console.log(`  changed: it was ${JSON.stringify(expected)}`);
            changed = 1;
        }
    }

    server.close();
    process.exit(changed);
});
JS

node try.mjs
