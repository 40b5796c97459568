// The stock client, old or new: connecting, acks, namespaces, binary, users,
// what it does by itself when the connection breaks.

'use strict';

const { conf, modern, ok, is, wait, event, ask, client, cut, token, Redis,
    main } = require('./lib');

const redis = new Redis();

// each run has jobs of its own

const tag = modern ? '' : 'old-';


// Live events of the moment in which a socket moves to the worker that has its
// WebSocket may be lost; it has moved when that worker has joined the channel.

async function settled(socket, channel) {
    await wait('transport', () => socket.io.engine.transport.name
        === (conf.transport || 'websocket'));
    await ask(socket, 'subscribe', { channel });
}


async function connecting() {
    const socket = client({ query: { job: `${tag}basic` } });
    const connected = event(socket, 'connected');

    await event(socket, 'connect');

    ok(socket.connected, 'connect');
    ok(/^[\w-]{20}$/.test(socket.id), 'id');
    is(socket.recovered, modern ? false : undefined, 'nothing to recover');
    ok(await wait('transport', () => socket.io.engine.transport.name
        === (conf.transport || 'websocket')), 'transport');

    const [ hello, cursor ] = await connected;

    is(hello.sessionId, socket.id, 'connected: sessionId');
    is(hello.userId, null, 'connected: userId');
    is(cursor, `job:${tag}basic@0-0`, 'connected: cursor');

    const got = [];

    socket.on('n', (data, cursor) => got.push([ data, cursor ]));

    const ids = [];

    for (let i = 1; i <= 3; i++) {
        ids.push(await redis.publish(`job:${tag}basic`, 'n',
            { i, text: 'né😀' }));
    }

    await wait('events', () => got.length >= 3);
    is(got, ids.map((id, k) => [ { i: k + 1, text: 'né😀' },
        `job:${tag}basic@${id}` ]), 'events');

    await settled(socket, `job:${tag}basic`);

    const args = event(socket, 'args');

    await redis.cmd('PUBLISH', `job:${tag}basic`,
        '{"event":"args","args":[1,"two",[3]]}');
    is((await args).slice(0, 3), [ 1, 'two', [ 3 ] ], 'several arguments');

    // by its own wish, away and back

    socket.disconnect().connect();
    await event(socket, 'connected');
    ok(socket.connected, 'connected again');
    ok(socket.id, 'with an id');

    is(await redis.publish(`job:${tag}basic`, 'n', { i: 4 }) !== undefined
        && await wait('event', () => got.length >= 4) && got[3][0],
        { i: 4 }, 'and gets events');
}


async function acks() {
    const socket = client();

    // what is sent before the connection is there waits for it

    const early = ask(socket, 'subscribe', { channel: `job:${tag}early` });

    is(await early, { ok: true, channel: `job:${tag}early`, position: '0-0' },
        'emitted before the connect');

    const id = await redis.publish(`job:${tag}acks`, 'n', 1);

    is(await timed(socket, 20000, 'subscribe', { channel: `job:${tag}acks` }),
        [ null, { ok: true, channel: `job:${tag}acks`, position: id } ],
        'ack with a timeout');

    is(await ask(socket, 'subscribe', { channel: 'user:1' }),
        { ok: false, error: 'forbidden' }, 'ack of a refusal');

    is(await ask(socket, 'no-such-event', 1, 2),
        { ok: false, error: 'unknown event' }, 'unknown event');

    is((await Promise.all([ 1, 2, 3, 4, 5 ].map(i =>
        ask(socket, 'subscribe', { channel: `job:${tag}a${i}` }))))
        .map(a => a.channel), [ 1, 2, 3, 4, 5 ].map(i => `job:${tag}a${i}`),
        'each ack to its own');

    socket.emit('subscribe:job', `${tag}sj`);
    is((await event(socket, 'subscribed'))[0], { jobId: `${tag}sj` },
        'subscribe:job');

    // an ack that is too late is nobody's

    process.kill(conf.redis_pid, 'SIGSTOP');

    const [ error ] = await timed(socket, 50, 'subscribe',
        { channel: `job:${tag}late` });

    process.kill(conf.redis_pid, 'SIGCONT');

    is(error && error.message, 'operation has timed out', 'ack that is late');
    is(await ask(socket, 'subscribe', { channel: `job:${tag}next` }),
        { ok: true, channel: `job:${tag}next`, position: '0-0' },
        'and the next one');

    if (!modern) {
        return;
    }

    is(await socket.timeout(20000).emitWithAck('subscribe',
        { channel: `job:${tag}promise` }),
        { ok: true, channel: `job:${tag}promise`, position: '0-0' },
        'emitWithAck');

    const retrying = client({ retries: 3, ackTimeout: 20000 });

    is(await new Promise(done => retrying.emit('subscribe',
        { channel: `job:${tag}retry` }, (err, answer) => done(answer || err))),
        { ok: true, channel: `job:${tag}retry`, position: '0-0' },
        'retries and ackTimeout');
}


function timed(socket, ms, ...args) {
    return new Promise(done => socket.timeout(ms).emit(...args,
        (...answer) => done(answer)));
}


async function namespaces() {
    const main = client({ query: { job: `${tag}nsp` } });
    const chat = main.io.socket('/chat');

    chat.connect();
    await Promise.all([ event(main, 'connected'), event(chat, 'connected') ]);

    ok(main.id !== chat.id, 'ids of their own');
    ok(main.io === chat.io, 'one connection');

    await ask(chat, 'subscribe', { channel: `job:${tag}chat` });

    const got = [];

    main.on('n', data => got.push(`main ${data}`));
    chat.on('n', data => got.push(`chat ${data}`));

    await redis.publish(`job:${tag}chat`, 'n', 1);
    await redis.publish(`job:${tag}nsp`, 'n', 2);
    await wait('events', () => got.length >= 3);
    is(got.sort(), [ 'chat 1', 'chat 2', 'main 2' ], 'events of each');

    chat.disconnect();
    ok(main.connected, 'one leaves, the other stays');

    await redis.publish(`job:${tag}nsp`, 'n', 3);
    await wait('event', () => got.length >= 4);
    await ask(main, 'nothing');
    is(got.slice(3), [ 'main 3' ], 'and only it gets events');

    const nope = main.io.socket('/nope');

    nope.connect();
    const [ error ] = await event(nope, 'connect_error');
    is(error && error.message, 'Invalid namespace', 'connect_error');
    ok(main.connected, 'which is no matter to the others');
}


async function binary() {
    const socket = client({ query: { job: `${tag}bin` } });

    await event(socket, 'connected');

    const bytes = Buffer.from([ ...Array(256).keys() ]);
    const large = Buffer.alloc(100000, 'x');
    const file = event(socket, 'file');

    await redis.publish(`job:${tag}bin`, 'file', { name: 'f',
        parts: [ { _placeholder: true, num: 0 },
            { _placeholder: true, num: 1 } ] },
        'ATTACHMENTS', JSON.stringify([ bytes.toString('base64'),
            large.toString('base64') ]));

    const [ data, cursor ] = await file;

    ok(data && Buffer.isBuffer(data.parts[0]), 'a Buffer');
    ok(data && bytes.equals(data.parts[0]), 'its bytes');
    ok(data && large.equals(data.parts[1]), 'those of the other');
    ok(cursor.startsWith(`job:${tag}bin@`) && cursor.endsWith('-1'),
        'the cursor');

    await settled(socket, `job:${tag}bin`);

    const plain = event(socket, 'plain');

    await redis.cmd('PUBLISH', `job:${tag}bin`,
        '{"event":"plain","data":1,"attachments":[]}');
    is((await plain)[0], 1, 'no attachments');

    const mixed = event(socket, 'mixed');

    await redis.cmd('PUBLISH', `job:${tag}bin`, JSON.stringify({ event: 'mixed',
        args: [ 1, { _placeholder: true, num: 0 }, 'two' ],
        attachments: [ bytes.toString('base64') ] }));
    is((await mixed).slice(0, 3), [ 1, bytes, 'two' ], 'one of the arguments');

    is(await ask(socket, 'subscribe', { channel: `job:${tag}bin2`,
        file: bytes, more: [ large.subarray(0, 1000) ] }),
        { ok: true, channel: `job:${tag}bin2`, position: '0-0' },
        'binary from the client');
}


async function users() {
    const path = '/user/';
    const nobody = client({ path });

    const [ error ] = await event(nobody, 'connect_error');
    is(error && error.message, 'unauthorized', 'no token');

    const wrong = client({ path,
        auth: { token: token({ sub: 'ann' }, 'not the secret') } });
    const [ refused ] = await event(wrong, 'connect_error');
    is(refused && refused.message, 'unauthorized', 'a wrong token');

    const ann = client({ path, auth: { token: token({ sub: 'ann' }) } });
    const [ hello ] = await event(ann, 'connected');

    is(hello && hello.userId, 'ann', 'the user of the token');

    const mine = event(ann, 'mine');

    await redis.publish('user:ann', 'mine', 1);
    is((await mine)[0], 1, 'her own channel');
    is((await ask(ann, 'subscribe', { channel: 'user:bob' })).error,
        'forbidden', 'not that of another');
}


// What is emitted while the connection is away goes out when it is back.

async function reconnecting() {
    const socket = client({ query: { job: `${tag}back` } });
    const chat = socket.io.socket('/chat');
    const reasons = [], answers = [];

    chat.connect();
    socket.on('disconnect', reason => reasons.push(reason));
    await Promise.all([ event(socket, 'connected'), event(chat, 'connected') ]);

    const again = Promise.all([ event(socket, 'connect'),
        event(chat, 'connect') ]);

    socket.on('disconnect', () => {
        for (const i of [ 1, 2, 3 ]) {
            socket.emit('subscribe', { channel: `job:${tag}away${i}` },
                answer => answers.push(answer.channel));
        }
    });

    cut(socket);
    await again;
    ok(socket.connected && chat.connected, 'both are back');
    is(reasons, [ 'transport close' ], 'why it was away');

    await wait('answers', () => answers.length >= 3);
    is(answers, [ 1, 2, 3 ].map(i => `job:${tag}away${i}`),
        'emitted while away');

    const got = event(socket, 'n');

    await redis.publish(`job:${tag}away2`, 'n', 5);
    is((await got)[0], 5, 'and done');
}


// There and back again through a producer.

async function commands() {
    const path = '/echo/';
    const bytes = Buffer.from([ ...Array(256).keys() ]);
    const socket = client({ path, auth: { name: 'x', list: [ 1, null ] } });

    is((await event(socket, 'auth'))[0], { name: 'x', list: [ 1, null ] },
        'producers know of it');

    for (const [ what, ...args ] of [
        [ 'several arguments', 1, '2', { 3: [ false, null ] } ],
        [ 'no argument' ],
        [ 'text', 'né😀\n' ],
        [ 'binary', bytes, { parts: [ bytes.subarray(0, 1), 'x' ] } ]
    ]) {
        is(await new Promise(done => socket.emit('message-with-ack', ...args,
            (...answer) => done(answer))), args, `an answer, ${what}`);

        const back = event(socket, 'message-back');

        socket.emit('message', ...args);
        is((await back).slice(0, args.length), args, `an event, ${what}`);
    }

    const { ok: done, id } = await ask(socket, 'message', 1);

    ok(done && /^\d+-\d+$/.test(id), 'no answer is wanted, but Redis has it');

    is(await ask(socket, 'mute', 1), { ok: false, error: 'timeout' },
        'a producer that does not answer');

    const [ error ] = await timed(socket, 50, 'slow', 1);

    is(error && error.message, 'operation has timed out',
        'one that is slower than we can wait');

    // it connects by itself; asked to, it would send a second CONNECT

    const chat = socket.io.socket('/chat');

    await event(chat, 'auth');

    const both = Promise.all([ event(socket, 'message-back'),
        event(chat, 'message-back') ]);

    socket.emit('message', 'main');
    chat.emit('message', 'chat');
    is((await both).map(args => args[0]), [ 'main', 'chat' ],
        'each namespace its own');

    // emitted while away, by an id that is still the same or a new one

    const again = event(socket, 'message-back');

    socket.once('disconnect', () => socket.emit('message', 'late'));
    cut(socket);
    is((await again)[0], 'late', 'emitted while away');
}


main(async () => {
    await connecting();
    await acks();
    await namespaces();
    await binary();
    await users();
    await reconnecting();
    await commands();
});
