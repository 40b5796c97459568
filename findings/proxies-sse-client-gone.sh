#!/usr/bin/env bash
# HAProxy 2.6.12 and lighttpd 1.4.69 (Debian 12) keep the connection to the server
# of a stream whose client has gone, until the server sends something.
#
# Expected: a client's close is passed on, as nginx 1.22.1 does at once (its
# proxy_ignore_client_abort is off by default).
#
# Seen: an event stream sends its first bytes and is then quiet.  The client
# closes.  Behind nginx the server's connection closes within a second; behind the
# two it is open 10 s later, and closes with the next bytes that are written.
# With "option abortonclose" HAProxy closes at once, too, although its manual
# speaks of requests that wait in a queue.
#
# Who meets it: servers that count who is there, or stop work that nobody watches.
# A heartbeat of the server is what tells; it bounds how late.
#
# Needs haproxy, lighttpd and nginx, which it starts as the user that runs it.
# Run 2026-12-01.  Exits with 0 while the behaviour is as above.

set -eu

dir=$(mktemp -d)
pids=
trap 'kill $pids 2> /dev/null; wait; rm -rf "$dir"' EXIT
cd "$dir"

haproxy -v | head -n 1
lighttpd -v | head -n 1
nginx -v 2>&1

cat > server.mjs <<'JS'
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';

// free ports: of the server, and of the four in front

const ports = [];
for (let i = 0; i < 5; i++) {
    const s = net.createServer().listen(0, '127.0.0.1');
    await new Promise(r => s.once('listening', r));
    ports.push(s);
}
const numbers = ports.map(s => s.address().port);
await Promise.all(ports.map(s => new Promise(r => s.close(r))));

let streams = [];
http.createServer((req, res) => {
    res.writeHead(200, { 'Content-Type': 'text/event-stream' });
    res.write(': there\n\n');
    const stream = { path: req.url, res, open: true };
    res.on('close', () => { stream.open = false; });
    streams.push(stream);
}).listen(numbers[0], '127.0.0.1', () => {
    fs.writeFileSync('ports.new', numbers.join(' ') + '\n');
    fs.renameSync('ports.new', 'ports');
});

const sleep = ms => new Promise(r => setTimeout(r, ms));
while (!fs.existsSync('up')) await sleep(50);

const until = async (what, seconds) => {
    const end = Date.now() + seconds * 1000;
    while (!what() && Date.now() < end) await sleep(20);
    return what();
};

const expected = { nginx: true, haproxy: false, abortonclose: true,
                   lighttpd: false };
let changed = 0;

for (const [i, name] of Object.keys(expected).entries()) {
    let head = false;
    const client = net.connect(numbers[i + 1], '127.0.0.1');
    client.on('error', () => {});
    client.on('data', () => { head = true; });
    client.write(`GET /${name} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
    if (!await until(() => head, 10)) {
        console.log(`${name}: no stream`);
        process.exit(1);
    }
    client.destroy();

    const stream = streams.find(s => s.path === `/${name}`);
    const told = await until(() => !stream.open, 10);
    if (!told) for (let n = 0; n < 20 && stream.open; n++) {
        stream.res.write(': still there\n\n');
        await sleep(200);
    }
    console.log(`${name}: ${told ? 'closes at once'
        : `is open after 10 s; after some more bytes it is ${stream.open
            ? 'open' : 'closed'}`}`);
    if (told !== expected[name] || stream.open) {
        console.log('  changed');
        changed = 1;
    }
}
process.exit(changed);
JS

node server.mjs > log & server=$!
until [ -f ports ]; do sleep 0.1; done
read -r up nginx haproxy abortonclose lighttpd < ports

cat > nginx.conf <<CONF
daemon off; pid nginx.pid; error_log stderr;
events { }
http {
    access_log off;
    client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f;
    uwsgi_temp_path u; scgi_temp_path s;
    server {
        listen 127.0.0.1:$nginx;
        location / {
            proxy_pass http://127.0.0.1:$up;
            proxy_http_version 1.1;
            proxy_buffering off;
        }
    }
}
CONF
cat > haproxy.cfg <<CONF
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    option http-no-delay
listen plain
    bind 127.0.0.1:$haproxy
    server s 127.0.0.1:$up
listen aborting
    bind 127.0.0.1:$abortonclose
    option abortonclose
    server s 127.0.0.1:$up
CONF
cat > lighttpd.conf <<CONF
server.modules = ("mod_proxy")
server.document-root = "$dir"
server.bind = "127.0.0.1"
server.port = $lighttpd
server.stream-response-body = 2
proxy.server = ("" => (("host" => "127.0.0.1", "port" => $up)))
CONF

nginx -p "$dir/" -c nginx.conf 2> nginx.log & pids="$pids $!"
haproxy -q -f haproxy.cfg & pids="$pids $!"
lighttpd -D -f lighttpd.conf 2> lighttpd.log & pids="$pids $!"

for port in $nginx $haproxy $abortonclose $lighttpd; do
    for _ in $(seq 100); do
        (: < /dev/tcp/127.0.0.1/"$port") 2> /dev/null && break
        sleep 0.1
    done
done

touch up
rc=0
wait $server || rc=$?
cat log
exit $rc
