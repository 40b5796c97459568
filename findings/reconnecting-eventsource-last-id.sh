#!/usr/bin/env bash
# reconnecting-eventsource 1.6.5 (npm) forgets the last event's id if the page
# listens with "onmessage" alone.
#
# Expected (WHATWG HTML, 9.2.6): the last event ID is the stream's, whoever
# listens and however.
#
# Seen, when the server ends the stream after an event with an id, and answers the
# next request with 503: the wrapped eventsource 5.1.5 gives up and the wrapper
# makes a new one.  With a listener of addEventListener("message", ...) that one
# asks with ?lastEventId=7; with "onmessage" alone it does not, although the
# handler was given lastEventId "7".
#
# Who meets it: resumed streams begin at the start again, and events come twice.
#
# Run 2026-12-01, Node 20.20.2.  Exits with 0 while the behaviour is as above.

set -eu

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

npm init -y > /dev/null
npm install --silent --no-audit --no-fund reconnecting-eventsource@1.6.5 \
    eventsource@5.1.5 > /dev/null 2>&1

cat > try.mjs <<'JS'
import http from 'node:http';
import reconnecting from 'reconnecting-eventsource';
import { EventSource } from 'eventsource';

const Client = reconnecting.default ?? reconnecting;
let requests;

const server = http.createServer((req, res) => {
    requests.push(req.url);

    if (requests.length === 2) {
        res.writeHead(503).end();
        return;
    }

    res.writeHead(200, { 'Content-Type': 'text/event-stream' });

    if (requests.length === 1) res.end('retry: 100\nid: 7\ndata: token\n\n');
});
await new Promise(r => server.listen(0, '127.0.0.1', r));
const url = `http://127.0.0.1:${server.address().port}/`;

console.error = console.warn = () => {};
let changed = 0;

for (const [how, expected] of [['addEventListener', 'lastEventId=7'],
                               ['onmessage', '']])
{
    let id;
    requests = [];
    const es = new Client(url, { eventSourceClass: EventSource,
                                 max_retry_time: 500 });
    const seen = e => { id = e.lastEventId; };

    if (how === 'onmessage') es.onmessage = seen;
    else es.addEventListener('message', seen);

    const end = Date.now() + 10000;
    while (requests.length < 3 && Date.now() < end)
        await new Promise(r => setTimeout(r, 50));
    es.close();

    const query = (requests[2] ?? '/?none').split('?')[1] ?? '';
    console.log(`${how}: the handler got id ${id}, the new request has`
        + ` ${JSON.stringify(query)}`);
    if (query !== expected || id !== '7') {
        console.log(`  changed: it was ${JSON.stringify(expected)}`);
        changed = 1;
    }
}
process.exit(changed);
JS

node try.mjs
