#!/usr/bin/env bash
# Four event stream readers of npm lose a line break that is an event of its own:
# @microsoft/fetch-event-source 2.0.1, @azure/core-sse 2.4.0, fetch-event-stream
# 0.1.6 and extended-eventsource 2.1.0; fetch-event-stream loses leading blanks.
#
# Expected (WHATWG HTML, 9.2.6): the data of "data:" twice is one LF (each line
# adds its value and an LF, the last LF is taken off), and only the first blank
# after the colon is not a part of the value.
#
# Seen: the data of "data:", "data:" is the empty string in all four.  With
# fetch-event-stream the data of "data:  two" is "two", not " two".
#
# Who meets it: answers of a model that are streamed as plain text, a token an
# event: "\n" and " word" are tokens.  Data in JSON is not concerned.
#
# Run 2026-11-30, Node 20.20.2.  Exits with 0 while the behaviour is as above.

set -eu

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

npm init -y > /dev/null
npm install --silent --no-audit --no-fund @microsoft/fetch-event-source@2.0.1 \
    @azure/core-sse@2.4.0 fetch-event-stream@0.1.6 extended-eventsource@2.1.0 \
    eventsource-parser@4.1.3 > /dev/null 2>&1

cat > try.mjs <<'JS'
import fetchEventSource from '@microsoft/fetch-event-source';
import { createSseStream } from '@azure/core-sse';
import { events } from 'fetch-event-stream';
import { EventSource } from 'extended-eventsource';
import { EventSourceParserStream } from 'eventsource-parser/stream';

// "one", LF, " two"
const body = 'data: one\n\ndata:\ndata:\n\ndata:  two\n\n';

const response = () => new Response(body,
    { headers: { 'Content-Type': 'text/event-stream' } });
const all = async (stream) => {
    const seen = [];
    for await (const e of stream) seen.push(e.data);
    return seen;
};

globalThis.document = { hidden: false, addEventListener() {},
                        removeEventListener() {} };
globalThis.window = globalThis;

const readers = {
    'eventsource-parser': () => all(response().body
        .pipeThrough(new TextDecoderStream())
        .pipeThrough(new EventSourceParserStream())),
    '@azure/core-sse': () => all(createSseStream(response().body)),
    'fetch-event-stream': () => all(events(response())),
    '@microsoft/fetch-event-source': async () => {
        const seen = [];
        await fetchEventSource.fetchEventSource('http://127.0.0.1/', {
            fetch: async () => response(), openWhenHidden: true,
            onmessage: e => seen.push(e.data) });
        return seen;
    },
    'extended-eventsource': () => new Promise(done => {
        const seen = [];
        globalThis.fetch = async () => response();
        const es = new EventSource('http://127.0.0.1/', {
            disableRetry: true, disableLogger: true });
        es.onmessage = e => seen.push(e.data);
        setTimeout(() => { es.close(); done(seen); }, 500);
    }),
};

const right = ['one', '\n', ' two'];
const lost = ['one', '', ' two'];
const expected = {
    'eventsource-parser': right,
    '@azure/core-sse': lost,
    'fetch-event-stream': ['one', '', 'two'],
    '@microsoft/fetch-event-source': lost,
    'extended-eventsource': lost,
};

console.log = (log => (...a) => /^(Error|Reconnect)/.test(a[0]) || log(...a))
    (console.log);
console.info = console.warn = console.error = () => {};

let changed = 0;
for (const [name, read] of Object.entries(readers)) {
    const seen = JSON.stringify(await read());
    console.log(`${name}: ${seen}`);
    if (seen !== JSON.stringify(expected[name])) {
        console.log(`  changed: it was ${JSON.stringify(expected[name])}`);
        changed = 1;
    }
}
process.exit(changed);
JS

node try.mjs
