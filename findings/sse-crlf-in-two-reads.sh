#!/usr/bin/env bash
# parse-sse 0.1.0 and extended-eventsource 2.1.0 (npm) cut an event in two where
# a read ends between the CR and the LF of a line end.
#
# Expected (WHATWG HTML, 9.2.5): CR LF is one line end, wherever a read ends.
#
# Seen: the CR ends the line and the LF that comes with the next read is an empty
# line, which ends the event: one with two data lines becomes two events.  The
# same bytes in one read are one event.  eventsource-parser 4.1.3 reads both alike.
#
# Who meets it: any server that writes CR LF (sse-starlette does by default) behind
# a proxy that passes on what it has read: rarely, and at random.
#
# Run 2026-11-30, Node 20.20.2.  Exits with 0 while the behaviour is as above.

set -eu

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

npm init -y > /dev/null
npm install --silent --no-audit --no-fund parse-sse@0.1.0 \
    extended-eventsource@2.1.0 eventsource-parser@4.1.3 > /dev/null 2>&1

cat > try.mjs <<'JS'
import { parseServerSentEvents } from 'parse-sse';
import { EventSource } from 'extended-eventsource';
import { EventSourceParserStream } from 'eventsource-parser/stream';

const whole = ['data: one\r\ndata: two\r\n\r\n'];
const parts = ['data: one\r', '\ndata: two\r\n\r\n'];

const response = reads => new Response(new ReadableStream({
    async start(c) {
        for (const read of reads) {
            c.enqueue(new TextEncoder().encode(read));
            await new Promise(r => setTimeout(r, 50));
        }
        c.close();
    },
}), { headers: { 'Content-Type': 'text/event-stream' } });

const readers = {
    'eventsource-parser': async reads => {
        const seen = [];
        for await (const e of response(reads).body
            .pipeThrough(new TextDecoderStream())
            .pipeThrough(new EventSourceParserStream())) seen.push(e.data);
        return seen;
    },
    'parse-sse': async reads => {
        const seen = [];
        for await (const e of parseServerSentEvents(response(reads)))
            seen.push(e.data);
        return seen;
    },
    'extended-eventsource': reads => new Promise(done => {
        const seen = [];
        const old = globalThis.fetch;
        globalThis.fetch = async () => response(reads);
        const es = new EventSource('http://127.0.0.1/', {
            disableRetry: true, disableLogger: true });
        es.onmessage = e => seen.push(e.data);
        setTimeout(() => { es.close(); globalThis.fetch = old; done(seen); },
                   1000);
    }),
};

const expected = {
    'eventsource-parser': ['one\ntwo'],
    'parse-sse': ['one', 'two'],
    'extended-eventsource': ['one', 'two'],
};

console.log = (log => (...a) => /^(Error|Reconnect)/.test(a[0]) || log(...a))
    (console.log);
console.info = console.warn = console.error = () => {};

let changed = 0;
for (const [name, read] of Object.entries(readers)) {
    for (const [how, reads, want] of [['one read', whole, ['one\ntwo']],
                                      ['two reads', parts, expected[name]]])
    {
        const seen = JSON.stringify(await read(reads));
        console.log(`${name}, ${how}: ${seen}`);
        if (seen !== JSON.stringify(want)) {
            console.log(`  changed: it was ${JSON.stringify(want)}`);
            changed = 1;
        }
    }
}
process.exit(changed);
JS

node try.mjs
