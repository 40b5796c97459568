// What the scripts of socketio_client.t and polling_client.t share: TAP on
// stdout, waiting for conditions, Redis, nginx's processes.  The suite gives its
// ports and files as one JSON argument, with "client" the package to take for
// socket.io-client, and "transports": "websocket" alone if there are none.

'use strict';

const crypto = require('crypto');
const fs = require('fs');
const net = require('net');
const util = require('util');

const conf = JSON.parse(process.argv[2]);

const { io } = require(conf.client);

// recovery, emitWithAck() and retries came with 4.6

const modern = !/^4\.[0-5]\./.test(
    require(`${conf.client}/package.json`).version);

let tests = 0;
const sockets = [];


function ok(value, name) {
    tests++;
    console.log(`${value ? 'ok' : 'not ok'} ${tests} - ${name}`);
    return !!value;
}

function is(got, expected, name) {
    if (!ok(util.isDeepStrictEqual(got, expected), name)) {
        console.log(`#      got: ${short(got)}`);
        console.log(`# expected: ${short(expected)}`);
    }
}

function short(value) {
    const text = JSON.stringify(value);

    return text && text.length > 400 ? text.slice(0, 400) + '...' : text;
}


// Resolves with the condition's value once it is true, or with undefined.

async function wait(what, condition, seconds = 20) {
    const end = Date.now() + seconds * 1000;

    for (;;) {
        const value = condition();

        if (value) {
            return value;
        }

        if (Date.now() > end) {
            console.log(`# timed out: ${what}`);
            return undefined;
        }

        await new Promise(done => setTimeout(done, 5));
    }
}

async function event(emitter, name, seconds = 20) {
    let args;

    emitter.once(name, (...a) => { args = a; });
    await wait(`event ${name}`, () => args, seconds);

    return args || [];
}


// The answer to an event, in every version of the client.

function ask(socket, ...args) {
    return new Promise(done => socket.emit(...args, done));
}


// A client of its own connection, one of the first node unless told otherwise.

function client(options = {}) {
    const { url, node, nsp, path, ...rest } = options;

    const socket = io(`http://127.0.0.1:${conf.ports[node || 0]}${nsp || '/'}`, {
        path: path || '/socket.io/',
        ...(conf.transports === 'default' ? {}
            : { transports: conf.transports || [ 'websocket' ] }),
        forceNew: true,
        reconnectionDelay: 30,
        reconnectionDelayMax: 300,
        ...rest
    });

    sockets.push(socket);

    return socket;
}

// the network goes away, with no word from either side

function cut(socket) {
    if (!socket.io.engine.transport.ws) {

        // what has come is handed out first

        setImmediate(() => cut_transport(socket.io.engine.transport));
        return;
    }

    cut_transport(socket.io.engine.transport);
}

function cut_transport(transport) {
    if (transport.ws) {
        transport.ws._socket.destroy();
    } else {
        transport.onClose();
    }
}

function token(claims, secret = conf.secret) {
    const encode = o => Buffer.from(JSON.stringify(o)).toString('base64url');
    const text = encode({ alg: 'HS256', typ: 'JWT' }) + '.' + encode(claims);

    return text + '.' + crypto.createHmac('sha256', secret).update(text)
        .digest('base64url');
}


// Redis: commands go out in order, replies are integers, strings or nil

class Redis {
    constructor() {
        this.wanted = [];
        this.in = '';
        this.sock = net.connect(conf.redis, '127.0.0.1');
        this.sock.setEncoding('latin1');
        this.sock.on('data', data => { this.in += data; this.parse(); });
    }

    parse() {
        for (;;) {
            const end = this.in.indexOf('\r\n');

            if (end < 0) {
                return;
            }

            const type = this.in[0];
            const head = this.in.slice(1, end);
            let reply = head;
            let next = end + 2;

            if (type === '$' && head !== '-1') {
                const last = next + Number(head);

                if (this.in.length < last + 2) {
                    return;
                }

                reply = this.in.slice(next, last);
                next = last + 2;
            }

            this.in = this.in.slice(next);

            const { resolve, reject } = this.wanted.shift();

            if (type === '-') {
                reject(new Error(head));
            } else {
                resolve(reply);
            }
        }
    }

    cmd(...args) {
        const parts = args.map(a => Buffer.from(String(a)));
        const pieces = [ Buffer.from(`*${parts.length}\r\n`) ];

        for (const p of parts) {
            pieces.push(Buffer.from(`$${p.length}\r\n`), p, Buffer.from('\r\n'));
        }

        this.sock.write(Buffer.concat(pieces));

        return new Promise((resolve, reject) =>
            this.wanted.push({ resolve, reject }));
    }

    publish(channel, name, data, ...options) {
        return this.cmd('FCALL', 'rtbus_publish', 1, channel, name,
            JSON.stringify(data), ...options);
    }
}


// nginx; "together": so many nodes behind one proxy share all that happens

function nodes() {
    return [ ...Array(conf.together || 1).keys() ];
}

function master(node = 0) {
    return Number(fs.readFileSync(conf.pids[node], 'latin1'));
}

function workers(node = 0) {
    const parent = String(master(node));

    return fs.readdirSync('/proc').filter(dir => {
        if (!/^\d+$/.test(dir)) {
            return false;
        }

        try {
            const stat = fs.readFileSync(`/proc/${dir}/stat`, 'latin1')
                .replace(/^.*\) /s, '').split(' ');

            return stat[1] === parent && !/[ZX]/.test(stat[0])
                && /worker process\s*\0*$/.test(
                    fs.readFileSync(`/proc/${dir}/cmdline`, 'latin1'));
        } catch (e) {
            return false;
        }
    }).map(Number);
}


async function kill_workers(node) {
    const where = node === undefined ? nodes() : [ node ];
    const old = where.flatMap(workers);

    for (const pid of old) {
        process.kill(pid, 'SIGKILL');
    }

    await wait('new workers', () => {
        const now = where.flatMap(workers);

        return now.length === old.length && !now.some(p => old.includes(p));
    });
}


async function reload(node) {
    const where = node === undefined ? nodes() : [ node ];
    const old = where.flatMap(workers);

    for (const node of where) {
        process.kill(master(node), 'SIGHUP');
    }

    await wait('new workers', () => {
        const now = where.flatMap(workers);

        return now.length && !now.some(p => old.includes(p));
    });
}


async function main(run) {
    const watchdog = setTimeout(() => {
        console.log('# the script takes too long');
        process.exit(1);
    }, 180000);

    try {
        await run();

    } catch (e) {
        console.log(`not ok ${++tests} - no exception`);
        console.log(String(e.stack).replace(/^/gm, '# '));
    }

    for (const s of sockets) {
        s.disconnect();
    }

    clearTimeout(watchdog);
    console.log(`1..${tests}`);
    process.exit(0);
}


module.exports = { conf, modern, ok, is, wait, event, ask, client, cut, token,
    Redis, kill_workers, reload, main };
