#!/usr/bin/env bash
# undici 6.24.1 (npm; it is the fetch() of Node 20.20.2): an answer that is cut off
# in the middle is whole for it, if its head says "Connection: close".
#
# Expected (RFC 9112, 8): a chunked message without its last chunk is incomplete,
# whatever Connection says; only one without any framing ends with the connection.
#
# Seen: of a chunked answer with "Connection: close" whose connection ends after
# five bytes, text() gives the five bytes and no error.  With "keep-alive", or with
# no such line, it rejects with "terminated".  undici 7.30.2 does in all cases, and
# node:http tells "aborted".
#
# Who meets it: streams of tokens, whose formats have an end of their own that
# clients do not insist on.  A server that closes after each answer, and breaks in
# one, leaves a half that looks like all of it.
#
# Run 2026-12-01.  Exits with 0 while the behaviour is as above.

set -eu

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

npm init -y > /dev/null
npm install --silent --no-audit --no-fund six@npm:undici@6.24.1 \
    seven@npm:undici@7.30.2 > /dev/null 2>&1

cat > try.mjs <<'JS'
import http from 'node:http';
import net from 'node:net';

const [, , name, ...expected] = process.argv;

// each version in a process of its own: they share a global dispatcher

const get = name === 'node:http' ? url => new Promise((done, fail) =>
    http.get(url, res => {
        res.on('end', () => done('end')).on('error', fail).resume();
    }).on('error', fail))
    : url => import(name).then(({ fetch }) => fetch(url)).then(r => r.text());

let line;
const server = net.createServer(c => c.once('data', () => {
    c.write(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n${line}\r\n`
        + '5\r\nhello\r\n');
    setTimeout(() => c.end(), 50);
}));

await new Promise(done => server.listen(0, '127.0.0.1', done));

const seen = [];

for (line of ['Connection: close\r\n', 'Connection: keep-alive\r\n', '']) {
    seen.push(await get(`http://127.0.0.1:${server.address().port}/`)
        .catch(e => e.message));
}

console.log(`${name}: close: ${seen[0]}, keep-alive: ${seen[1]}, none: ${seen[2]}`);

if (seen.join() !== expected.join()) {
    console.log(`  changed: it was ${expected}`);
    process.exit(1);
}

process.exit(0);
JS

node try.mjs six hello terminated terminated
node try.mjs seven terminated terminated terminated
node try.mjs node:http aborted aborted aborted
