#!/usr/bin/env bash
# @tanstack/ai-client 0.33.2 (npm): a line of an event stream that it does not
# know is read as JSON.
#
# Expected (WHATWG HTML, 9.2.6): a field with an unknown name is ignored, and
# several data lines are one event, joined by LF.
#
# Seen: fetchServerSentEvents() throws a SyntaxError for a line such as
# "x-trace: 1" (the whole line goes to JSON.parse), and for JSON that is spread
# over several data lines (each line is parsed alone).
#
# Who meets it: servers that pretty-print JSON, gateways that add a field.
#
# Run 2026-11-30, Node 20.20.2.  Exits with 0 while the behaviour is as above.

set -eu

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

npm init -y > /dev/null
npm install --silent --no-audit --no-fund @tanstack/ai-client@0.33.2 > /dev/null

cat > try.mjs <<'JS'
import http from 'node:http';
import { fetchServerSentEvents } from '@tanstack/ai-client';

const chunk = { type: 'TEXT_MESSAGE_CONTENT', messageId: 'm', delta: 'hello' };
const data = JSON.stringify(chunk);
const end = `data: ${JSON.stringify({ type: 'RUN_FINISHED', runId: 'r',
    threadId: 't' })}\n\n`;

const ways = {
    'data alone': [`data: ${data}\n\n`, 'hello'],
    'id before data': [`id: 1\ndata: ${data}\n\n`, 'hello'],
    'unknown field': [`x-trace: 1\ndata: ${data}\n\n`, 'SyntaxError'],
    'data on several lines': [JSON.stringify(chunk, null, 1).split('\n')
        .map(line => `data: ${line}\n`).join('') + '\n', 'SyntaxError'],
};

let body;
const server = http.createServer((req, res) => {
    res.writeHead(200, { 'Content-Type': 'text/event-stream' });
    res.end(body + end);
}).listen(0, '127.0.0.1', async () => {
    const url = `http://127.0.0.1:${server.address().port}/`;
    let changed = 0;

    console.error = console.warn = () => {};

    for (const [name, [bytes, expected]] of Object.entries(ways)) {
        let seen = '';
        body = bytes;

        try {
            const stream = fetchServerSentEvents(url)
                .connect([{ role: 'user', content: 'any' }], {});
            for await (const c of stream) seen += c.delta ?? '';
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
