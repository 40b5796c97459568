#!/usr/bin/env bash
# Three event stream clients of npm ask again, for ever, after status 204:
# event-source-polyfill 1.0.31, reconnecting-eventsource 1.6.5 (over eventsource
# 5.1.5) and @microsoft/fetch-event-source 2.0.1.
#
# Expected (WHATWG HTML, 9.2.3 and 9.2.1): a status other than 200 fails the
# connection for good; 204 is how a server tells a client not to come back.
#
# Seen: eventsource 5.1.5, undici 7.30.2 and launchdarkly-eventsource 2.2.0 ask
# once; the three ask again within some seconds, and so on as long as the page
# lives.
#
# Who meets it: a server that ends a finished stream with 204.  Such a client
# wants an event of the application that makes it close.
#
# Run 2026-11-30, Node 20.20.2.  Exits with 0 while the behaviour is as above.

set -eu

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

npm init -y > /dev/null
npm install --silent --no-audit --no-fund event-source-polyfill@1.0.31 \
    reconnecting-eventsource@1.6.5 eventsource@5.1.5 \
    @microsoft/fetch-event-source@2.0.1 launchdarkly-eventsource@2.2.0 undici@7.30.2 \
    > /dev/null 2>&1

cat > try.mjs <<'JS'
import http from 'node:http';
import polyfill from 'event-source-polyfill';
import reconnecting from 'reconnecting-eventsource';
import { EventSource } from 'eventsource';
import fetchEventSource from '@microsoft/fetch-event-source';
import launchdarkly from 'launchdarkly-eventsource';
import * as undici from 'undici';

let requests;
const server = http.createServer((req, res) => {
    requests++;
    res.writeHead(204).end();
});
await new Promise(r => server.listen(0, '127.0.0.1', r));
const url = `http://127.0.0.1:${server.address().port}/`;

globalThis.document = { hidden: false, addEventListener() {},
                        removeEventListener() {} };
globalThis.window = globalThis;
console.error = console.warn = () => {};

const plain = (Client, options) => {
    const es = new Client(url, options);
    es.onerror = () => {};
    return () => es.close();
};

// what to start, and whether it asks again
const clients = {
    'eventsource': [() => plain(EventSource), false],
    'undici': [() => plain(undici.EventSource), false],
    'launchdarkly-eventsource': [() => plain(launchdarkly.EventSource), false],
    'event-source-polyfill': [() => plain(polyfill.EventSourcePolyfill), true],
    'reconnecting-eventsource': [() => plain(reconnecting.default ?? reconnecting,
        { eventSourceClass: EventSource, max_retry_time: 1000 }), true],
    '@microsoft/fetch-event-source': [() => {
        const c = new AbortController();
        fetchEventSource.fetchEventSource(url, { signal: c.signal,
            openWhenHidden: true }).catch(() => {});
        return () => c.abort();
    }, true],
};

let changed = 0;
for (const [name, [start, expected]] of Object.entries(clients)) {
    requests = 0;
    const stop = start();
    const end = Date.now() + 8000;
    while (requests < 3 && Date.now() < end)
        await new Promise(r => setTimeout(r, 50));
    stop();

    const seen = requests > 1;
    console.log(`${name}: ${seen ? 'asks again' : 'asks once'}`);
    if (seen !== expected) {
        console.log('  changed');
        changed = 1;
    }
}
process.exit(changed);
JS

node try.mjs
