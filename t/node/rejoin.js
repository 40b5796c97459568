// Where there is no recovery, because the client is too old for it or the server
// does not offer it, a client can still lose nothing: it joins again behind what
// it has, or says how far it has counted.

'use strict';

const { conf, modern, ok, is, wait, event, ask, client, cut, Redis, main }
    = require('./lib');

const redis = new Redis();

const TOTAL = 90;

const numbers = [ ...Array(TOTAL).keys() ].map(i => i + 1);
const tag = modern ? 'new' : 'old';


async function produce(channel, from, to) {
    for (let i = from; i <= to; i++) {
        await redis.publish(channel, 'chunk', { index: i });
        await new Promise(done => setTimeout(done, 3));
    }
}


// One answer with two breaks; join() is called at each connect.

async function answer(name, path, join) {
    const job = `${tag}-${name.replace(/\W+/g, '-')}`;
    const state = { job, channel: `job:${job}`, got: [], connects: 0 };

    await redis.publish(state.channel, 'chunk', { index: 1 });

    const socket = client({ path });

    socket.on('connect', () => {
        state.connects++;
        join(socket, state);
    });

    socket.on('sync:gap', data => state.got.push(data));
    socket.on('chunk', data => {
        state.got.push(data.index);

        if (data.index === TOTAL / 3) {
            cut(socket);
        }

        if (data.index === TOTAL * 2 / 3) {
            socket.io.uri = `http://127.0.0.1:${conf.ports[1]}`;
            cut(socket);
        }
    });

    await wait('the first', () => state.got.length);
    await produce(state.channel, 2, TOTAL);
    await wait('all of it', () => state.got.length >= TOTAL
        && state.connects === 3);
    await ask(socket, 'settled');

    is(state.got, numbers, `${name}: each index once and in order`);
    is(state.connects, 3, `${name}: the connection broke twice`);
    socket.disconnect();

    return state;
}


function after(socket, state) {
    socket.emit('subscribe', {
        channel: state.channel,
        after: state.epoch ? `${state.epoch}-${state.got.length}` : '0-0'
    }, answer => {
        state.epoch = answer.position.split('-')[0];
    });
}

function counted(socket, state) {
    state.complete = state.complete || [];

    socket.once('sync:complete', data => state.complete.push(data.complete));
    socket.emit('reconnect:sync', { jobId: state.job,
        lastSequence: state.got.length });
}


async function bare() {
    const socket = client({ path: '/bare/', query: { job: `${tag}-bare` } });
    const got = [], names = [];

    socket.onAny(name => names.push(name));
    socket.on('chunk', (...args) => got.push(args));

    /* nothing says that it is in its channel, unless it asks */

    const joined = () => new Promise(done => socket.emit('subscribe',
        { channel: `job:${tag}-bare` }, done));

    await event(socket, 'connect');
    await joined();

    const id = socket.id;

    await redis.publish(`job:${tag}-bare`, 'chunk', { index: 1 });
    await wait('the event', () => got.length);
    ok(!socket.recovered, 'bare: nothing to recover');
    is(socket._pid, undefined, 'bare: no pid');

    cut(socket);
    await wait('the break', () => !socket.connected);
    await redis.publish(`job:${tag}-bare`, 'chunk', { index: 2 });
    await event(socket, 'connect');
    ok(!socket.recovered, 'bare: not recovered');
    ok(socket.id !== id, 'bare: another id');
    await joined();

    await redis.publish(`job:${tag}-bare`, 'chunk', { index: 3 });
    await wait('the event', () => got.length > 1);
    is(got, [ [ { index: 1 } ], [ { index: 3 } ] ],
        'bare: no cursor, and what was missed is lost');
    is(names, [ 'chunk', 'chunk' ], 'bare: no other events');
}


main(async () => {
    const paths = modern ? [ '/bare/' ] : [ '/bare/', '/socket.io/' ];

    await Promise.all([ bare(), ...paths.map(async path => {
        await answer(`after, ${path}`, path, after);

        const { complete } = await answer(`counted, ${path}`, path, counted);

        is(complete, [ true, true, true ], `counted, ${path}: complete`);
    }) ]);
});
