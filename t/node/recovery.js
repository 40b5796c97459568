// The stock client in the middle of an answer, when something breaks.

'use strict';

const { conf, ok, is, wait, event, client, cut, token, Redis, kill_workers,
    reload, main } = require('./lib');

const redis = new Redis();

const TOTAL = 120;       // events of an answer
const BREAK = 40;        // after so many something breaks


function numbers(n) {
    return [ ...Array(n).keys() ].map(i => i + 1);
}

// A producer that does not care whether anybody listens.

async function produce(channel, total) {
    for (let i = 1; i <= total; i++) {
        await redis.publish(channel, 'chunk', { index: i });
        await new Promise(done => setTimeout(done, 4));
    }
}


// One answer; disturb() is called in the middle of it, and the connection has to
// break at least once.

async function answer(name, disturb, options = {}) {
    const job = name.replace(/\W+/g, '-');
    const socket = client({ query: { job }, ...options });
    const got = [], ids = [], recovered = [];
    let breaks = 0, goodbyes = 0;

    socket.on('connect', () => {
        ids.push(socket.id);
        recovered.push(socket.recovered);
    });
    socket.on('disconnect', () => breaks++);
    socket.on('server:shutdown', data => {
        goodbyes += data.reconnectAfter > 0;
    });
    socket.on('sync:gap', data => got.push(data));

    await event(socket, 'connected');

    let disturbed;

    socket.on('chunk', data => {
        got.push(data.index);

        if (data.index === BREAK) {
            disturbed = disturb(socket);
        }
    });

    await produce(`job:${job}`, TOTAL);
    await wait('all of it', () => got.length >= TOTAL && breaks
        && socket.connected);
    await disturbed;

    is(got, numbers(TOTAL), `${name}: each index once and in order`);
    ok(breaks > 0, `${name}: the connection broke`);
    is(recovered, [ false, ...Array(ids.length - 1).fill(true) ],
        `${name}: recovered`);
    is(new Set(ids).size, 1, `${name}: the id is the same`);

    socket.disconnect();

    return goodbyes;
}


function move(socket, node) {
    socket.io.uri = `http://127.0.0.1:${conf.ports[node]}`;

    if (socket.connected) {
        cut(socket);
    }
}


// Two sockets of one connection, each with channels of its own besides a common
// one.

async function two_namespaces() {
    const main = client({ query: { job: 'both' } });
    const chat = main.io.socket('/chat');

    chat.connect();
    await Promise.all([ event(main, 'connected'), event(chat, 'connected') ]);
    await main.emitWithAck('subscribe', { channel: 'job:left' });
    await chat.emitWithAck('subscribe', { channel: 'job:right' });

    const got = { main: {}, chat: {} };
    let n = 0;

    for (const [ name, socket ] of [ [ 'main', main ], [ 'chat', chat ] ]) {
        socket.on('chunk', (data, cursor) => {
            const key = data.of;

            (got[name][key] = got[name][key] || []).push(data.index);

            if (++n === 60 || n === 150) {
                cut(main);
            }
        });
    }

    const ids = [ main.id, chat.id ];

    for (let i = 1; i <= 60; i++) {
        for (const of of [ 'both', 'left', 'right' ]) {
            await redis.publish(`job:${of}`, 'chunk', { of, index: i });
        }

        await new Promise(done => setTimeout(done, 2));
    }

    await wait('all of it', () => n >= 240);
    await wait('connected', () => main.connected && chat.connected);

    is(got, { main: { both: numbers(60), left: numbers(60) },
        chat: { both: numbers(60), right: numbers(60) } },
        'two namespaces: each index once and in order');
    is([ main.recovered, chat.recovered ], [ true, true ],
        'two namespaces: recovered');
    is([ main.id, chat.id ], ids, 'two namespaces: ids');

    main.disconnect();
    chat.disconnect();
}


// What was missed may be binary.

// A channel that was joined is part of what is recovered, and one that was left
// is not, also when no event has come since.

async function joined_or_left() {
    const socket = client({ query: { job: 'quiet' } });
    const got = [];

    socket.on('chunk', data => got.push(data.of));

    await event(socket, 'connected');
    await socket.emitWithAck('subscribe', { channel: 'job:quiet2' });
    cut(socket);
    await wait('the break', () => !socket.connected);
    await redis.publish('job:quiet2', 'chunk', { of: 'joined' });
    await event(socket, 'connected');
    ok(socket.recovered, 'joined: recovered');
    await wait('the event', () => got.length);
    is(got, [ 'joined' ], 'joined: what was missed');

    await socket.emitWithAck('unsubscribe', { channel: 'job:quiet2' });
    cut(socket);
    await wait('the break', () => !socket.connected);
    await redis.publish('job:quiet2', 'chunk', { of: 'left' });
    await event(socket, 'connected');
    ok(socket.recovered, 'left: recovered');
    await redis.publish('job:quiet', 'chunk', { of: 'the other' });
    await wait('the event', () => got.length > 1);
    await socket.emitWithAck('settled');
    is(got.slice(1), [ 'the other' ], 'left: nothing of it');
    socket.disconnect();
}


async function binary() {
    const socket = client({ query: { job: 'binary' } });
    const got = [];

    socket.on('part', data => {
        got.push(data.bytes.toString());

        if (got.length === 3) {
            cut(socket);
        }
    });

    await event(socket, 'connected');

    for (let i = 1; i <= 9; i++) {
        await redis.publish('job:binary', 'part',
            { bytes: { _placeholder: true, num: 0 } }, 'ATTACHMENTS',
            JSON.stringify([ Buffer.from(`part ${i}`).toString('base64') ]));
        await new Promise(done => setTimeout(done, 5));
    }

    await wait('parts', () => got.length >= 9 && socket.connected);
    is(got, numbers(9).map(i => `part ${i}`), 'binary: each part once');
    ok(socket.recovered, 'binary: recovered');
    socket.disconnect();
}


// Where nothing can be recovered the client is told so.

async function broken(name, change, check) {
    const job = name.replace(/\W+/g, '-');
    const socket = client({ query: { job }, reconnection: false });
    const got = [], gaps = [];

    socket.on('chunk', data => got.push(data.index));
    socket.on('sync:gap', data => gaps.push(data));

    await event(socket, 'connected');
    await redis.publish(`job:${job}`, 'chunk', { index: 1 });
    await wait('event', () => got.length);

    const id = socket.id, pid = socket._pid;

    cut(socket);
    await wait('the break', () => !socket.connected);
    await change(socket, `job:${job}`);

    const connected = event(socket, 'connected');

    socket.connect();
    await connected;
    await socket.emitWithAck('settled');

    await check(socket, { id, pid, got, gaps });
    socket.disconnect();
}


async function not_recovered() {
    const fresh = name => (socket, was) => {
        is(socket.recovered, false, `${name}: not recovered`);
        ok(socket.id !== was.id, `${name}: another id`);
        is(was.gaps, [], `${name}: and so no gap`);
    };

    await broken('bad pid', socket => { socket._pid = 'x'.repeat(43); },
        fresh('bad pid'));

    await broken('forged pid', socket => {
        const [ sid, mac ] = socket._pid.split('.');

        socket._pid = `${sid.slice(0, -1)}${sid.endsWith('A') ? 'B' : 'A'}`
            + `.${mac}`;
    }, fresh('forged pid'));

    await broken('bad offset', socket => { socket._lastOffset = 'nonsense'; },
        fresh('bad offset'));

    // another life of the channel: never a silent hole

    const told = name => async (socket, was) => {
        await wait('a gap', () => !socket.recovered || was.gaps.length);

        if (!ok(!socket.recovered || (conf.transports ? was.gaps.length
            : was.gaps.length === 1),
            `${name}: sync:gap, or not recovered`))
        {
            console.log(`# ${JSON.stringify(was)}`);
        }
    };

    // a worker that knows the channel may find out with its next event only

    await broken('channel gone', async (socket, channel) => {
        await redis.cmd('DEL', `{${channel}}:events`, `{${channel}}:state`);
    }, async (socket, was) => {
        await redis.publish('job:channel-gone', 'chunk', { index: 2 });
        await told('channel gone')(socket, was);
        await wait('the event', () => was.got.length > 1);
        is(was.got, [ 1, 2 ], 'channel gone: and what is new');
    });

    await broken('foreign position', (socket, channel) => {
        socket._lastOffset = `${channel}@5-5`;
    }, told('foreign position'));

    await broken('channel made anew', async (socket, channel) => {
        await redis.cmd('DEL', `{${channel}}:events`);
        await redis.publish(channel, 'chunk', { index: 1 });
    }, told('channel made anew'));

    await broken('trimmed', async (socket, channel) => {
        for (let i = 2; i <= 9; i++) {
            await redis.publish(channel, 'chunk', { index: i });
        }

        await redis.cmd('XTRIM', `{${channel}}:events`, 'MAXLEN', 3);
    }, told('trimmed'));
}


// A pid is one user's, whoever has stolen it.

async function another_user() {
    const path = '/user/';
    const ann = client({ path, auth: { token: token({ sub: 'ann' }) } });

    await event(ann, 'connected');
    await redis.publish('user:ann', 'chunk', { index: 1 });

    const bob = client({ path, autoConnect: false,
        auth: { token: token({ sub: 'bob' }) } });
    const got = [];

    bob._pid = ann._pid;
    bob._lastOffset = 'user:ann@0-0';
    bob.on('chunk', data => got.push(data));
    bob.connect();

    const [ hello ] = await event(bob, 'connected');

    is(hello && hello.userId, 'bob', 'another user: who he is');
    ok(bob.id !== ann.id, 'another user: another id');
    is(bob.recovered, false, 'another user: not recovered');
    await bob.emitWithAck('settled');
    is(got, [], 'another user: nothing of hers');

    // she comes back with a new token

    const id = ann.id;

    ann.auth = { token: token({ sub: 'ann', n: 2 }) };
    cut(ann);
    await event(ann, 'connected');
    is([ ann.recovered, ann.id ], [ true, id ], 'a new token of the same user');
}


// To nodes that do not know the secret a client is a new one, from now on.

async function another_secret() {
    await broken('another secret', socket => move(socket, 2),
        (socket, was) => {
            is(socket.recovered, false, 'another secret: not recovered');
            ok(socket.id !== was.id, 'another secret: another id');
            ok(socket._pid !== was.pid, 'another secret: another pid');
            is(was.got, [ 1 ], 'another secret: nothing twice');
        });
}


main(async () => {
    await Promise.all([
        answer('connection cut', cut),
        answer('engine closed', socket => {
            // what has come in one answer with it is handed out first
            setImmediate(() => socket.io.engine.close());
        }),
        answer('to another node', socket => move(socket, 1)),
        answer('there and back', async socket => {
            move(socket, 1);
            await wait('the move', () => !socket.connected);
            await wait('the other node', () => socket.connected);
            move(socket, 0);
        }),
        two_namespaces(),
        joined_or_left(),
        binary()
    ]);

    await answer('worker killed', () => kill_workers());

    let goodbyes = await answer('reload', () => reload());
    ok(goodbyes === 1, 'reload: a goodbye');

    goodbyes = await answer('reload, secret at random', () => reload(2),
        { node: 2 });
    ok(goodbyes === 1, 'reload, secret at random: a goodbye');
    await not_recovered();
    await another_user();
    await another_secret();
});
