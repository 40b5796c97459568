#!/usr/bin/env bash
# @google/genai 3.3.0 (npm) drops an event whose first line is not "data:".
#
# Expected (WHATWG HTML, 9.2.6 "Interpreting an event stream"): a comment line
# and the fields "id", "event" and unknown ones change nothing of the data, and
# several data lines are one event, joined by LF.
#
# Seen: with an "id:" line or a comment line in front of "data:" the event is
# not handed out and no error is raised, so a whole answer is empty; with "id:"
# behind "data:", or with the JSON on several data lines, a SyntaxError.
#
# Who meets it: whoever puts a resumable proxy or a heartbeat between this client
# and the provider.  A comment line is safe only as a block of its own.
#
# Run 2026-11-30, Node 20.20.2.  Exits with 0 while the behaviour is as above.

set -eu

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

npm init -y > /dev/null
npm install --silent --no-audit --no-fund @google/genai@3.3.0 > /dev/null

cat > try.mjs <<'JS'
import http from 'node:http';
import { GoogleGenAI } from '@google/genai';

const part = text => ({ candidates: [{ index: 0,
    content: { role: 'model', parts: [{ text }] } }] });
const one = part => `data: ${JSON.stringify(part)}\n`;

// name: [ how an event is written, what the client should be seen doing ]
const ways = {
    'data alone': [p => `${one(p)}\n`, 'hello'],
    'comment as a block': [p => `: ping\n\n${one(p)}\n`, 'hello'],
    'id before data': [p => `id: 1\n${one(p)}\n`, ''],
    'comment before data': [p => `: ping\n${one(p)}\n`, ''],
    'id after data': [p => `${one(p)}id: 1\n\n`, 'SyntaxError'],
    'data on several lines': [p => JSON.stringify(p, null, 1).split('\n')
        .map(line => `data: ${line}\n`).join('') + '\n', 'SyntaxError'],
};

let write;
const server = http.createServer((req, res) => {
    res.writeHead(200, { 'Content-Type': 'text/event-stream' });
    res.end(write(part('hel')) + write(part('lo')));
}).listen(0, '127.0.0.1', async () => {
    const client = new GoogleGenAI({ apiKey: 'none', httpOptions: {
        baseUrl: `http://127.0.0.1:${server.address().port}` } });
    let changed = 0;

    for (const [name, [how, expected]] of Object.entries(ways)) {
        let seen = '';
        write = how;

        try {
            const stream = await client.models.generateContentStream(
                { model: 'any', contents: 'any' });
            for await (const chunk of stream) seen += chunk.text ?? '';
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
