// The stock client, nothing disturbed: connecting, acks, namespaces, binary.

'use strict';

const { ok, is, wait, event, client, token, Redis, main } = require('./lib');

const redis = new Redis();


async function connecting() {
    const socket = client({ query: { job: 'basic' } });
    const connected = event(socket, 'connected');

    await event(socket, 'connect');

    ok(socket.connected, 'connect');
    ok(/^[\w-]{20}$/.test(socket.id), 'id');
    is(socket.recovered, false, 'nothing to recover');
    is(socket.io.engine.transport.name, 'websocket', 'transport');

    const [ hello, cursor ] = await connected;

    is(hello.sessionId, socket.id, 'connected: sessionId');
    is(hello.userId, null, 'connected: userId');
    is(cursor, 'job:basic@0-0', 'connected: cursor');

    const got = [];

    socket.on('n', (data, cursor) => got.push([ data, cursor ]));

    const ids = [];

    for (let i = 1; i <= 3; i++) {
        ids.push(await redis.publish('job:basic', 'n', { i, text: 'né😀' }));
    }

    await wait('events', () => got.length >= 3);
    is(got, ids.map((id, k) => [ { i: k + 1, text: 'né😀' },
        `job:basic@${id}` ]), 'events');

    const args = event(socket, 'args');

    await redis.cmd('PUBLISH', 'job:basic',
        '{"event":"args","args":[1,"two",[3]]}');
    is((await args).slice(0, 3), [ 1, 'two', [ 3 ] ], 'several arguments');

    // by its own wish, away and back

    socket.disconnect().connect();
    await event(socket, 'connect');
    ok(socket.connected, 'connected again');
    ok(socket.id, 'with an id');

    is(await redis.publish('job:basic', 'n', { i: 4 }) !== undefined
        && await wait('event', () => got.length >= 4) && got[3][0],
        { i: 4 }, 'and gets events');
}


async function acks() {
    const socket = client();

    // what is sent before the connection is there waits for it

    const early = socket.emitWithAck('subscribe', { channel: 'job:early' });

    is(await early, { ok: true, channel: 'job:early', position: '0-0' },
        'emitted before the connect');

    const id = await redis.publish('job:acks', 'n', 1);

    is(await socket.timeout(20000).emitWithAck('subscribe',
        { channel: 'job:acks' }),
        { ok: true, channel: 'job:acks', position: id }, 'ack with a timeout');

    is(await new Promise(done => socket.emit('subscribe',
        { channel: 'user:1' }, done)),
        { ok: false, error: 'forbidden' }, 'ack of a refusal');

    is(await socket.emitWithAck('no-such-event', 1, 2),
        { ok: false, error: 'unknown event' }, 'unknown event');

    is((await Promise.all([ 1, 2, 3, 4, 5 ].map(i =>
        socket.emitWithAck('subscribe', { channel: `job:a${i}` }))))
        .map(a => a.channel), [ 1, 2, 3, 4, 5 ].map(i => `job:a${i}`),
        'each ack to its own');

    socket.emit('subscribe:job', 'sj');
    is((await event(socket, 'subscribed'))[0], { jobId: 'sj' },
        'subscribe:job');

    const retrying = client({ retries: 3, ackTimeout: 20000 });

    is(await new Promise(done => retrying.emit('subscribe',
        { channel: 'job:retry' }, (err, answer) => done(answer || err))),
        { ok: true, channel: 'job:retry', position: '0-0' },
        'retries and ackTimeout');
}


async function namespaces() {
    const main = client({ query: { job: 'nsp' } });
    const chat = main.io.socket('/chat');

    chat.connect();
    await Promise.all([ event(main, 'connected'), event(chat, 'connected') ]);

    ok(main.id !== chat.id, 'ids of their own');
    ok(main.io === chat.io, 'one connection');

    await chat.emitWithAck('subscribe', { channel: 'job:chat' });

    const got = [];

    main.on('n', data => got.push(`main ${data}`));
    chat.on('n', data => got.push(`chat ${data}`));

    await redis.publish('job:chat', 'n', 1);
    await redis.publish('job:nsp', 'n', 2);
    await wait('events', () => got.length >= 3);
    is(got.sort(), [ 'chat 1', 'chat 2', 'main 2' ], 'events of each');

    chat.disconnect();
    ok(main.connected, 'one leaves, the other stays');

    await redis.publish('job:nsp', 'n', 3);
    await wait('event', () => got.length >= 4);
    await main.emitWithAck('nothing');
    is(got.slice(3), [ 'main 3' ], 'and only it gets events');

    const nope = main.io.socket('/nope');

    nope.connect();
    const [ error ] = await event(nope, 'connect_error');
    is(error && error.message, 'Invalid namespace', 'connect_error');
    ok(main.connected, 'which is no matter to the others');
}


async function binary() {
    const socket = client({ query: { job: 'bin' } });

    await event(socket, 'connected');

    const bytes = Buffer.from([ ...Array(256).keys() ]);
    const large = Buffer.alloc(100000, 'x');
    const file = event(socket, 'file');

    await redis.publish('job:bin', 'file', { name: 'f',
        parts: [ { _placeholder: true, num: 0 },
            { _placeholder: true, num: 1 } ] },
        'ATTACHMENTS', JSON.stringify([ bytes.toString('base64'),
            large.toString('base64') ]));

    const [ data, cursor ] = await file;

    ok(data && Buffer.isBuffer(data.parts[0]), 'a Buffer');
    ok(data && bytes.equals(data.parts[0]), 'its bytes');
    ok(data && large.equals(data.parts[1]), 'those of the other');
    ok(/^job:bin@\d+-1$/.test(cursor), 'the cursor');

    const plain = event(socket, 'plain');

    await redis.cmd('PUBLISH', 'job:bin',
        '{"event":"plain","data":1,"attachments":[]}');
    is((await plain)[0], 1, 'no attachments');

    is(await socket.emitWithAck('subscribe', { channel: 'job:bin2',
        file: bytes, more: [ large.subarray(0, 1000) ] }),
        { ok: true, channel: 'job:bin2', position: '0-0' },
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
    is((await ann.emitWithAck('subscribe', { channel: 'user:bob' })).error,
        'forbidden', 'not that of another');
}


main(async () => {
    await connecting();
    await acks();
    await namespaces();
    await binary();
    await users();
});
