// The stock client sends commands to producers: acks, answers, binary, and its
// own offline queue.

'use strict';

const fs = require('fs');
const { conf, ok, is, wait, event, client, reload, kill_workers, main }
    = require('./lib');


async function acks() {
    const socket = client();

    const r = await socket.emitWithAck('plain', { n: 1 }, 'two');

    is(r.ok, true, 'acknowledged');
    ok(/^\d+-\d+$/.test(r.id), 'with an id');

    is(await socket.timeout(20000).emitWithAck('ask', { a: [ 'é', null ] }),
        { event: 'ask', args: [ { a: [ 'é', null ] } ], user: '' },
        'the answer of the producer');

    is(await new Promise(done => socket.emit('args', 1, 2, (...a) => done(a))),
        [ 1, 2, 'and more' ], 'several arguments');

    is((await socket.emitWithAck('unknown')).error, 'unknown event',
        'no rule');

    is((await socket.emitWithAck('mute')).error, 'timeout', 'timeout');

    let late;

    try {
        await socket.timeout(100).emitWithAck('mute');
    } catch (e) {
        late = e.message;
    }

    is(late, 'operation has timed out', 'the timeout of the client');

    const many = await Promise.all(Array.from({ length: 50 },
        (v, i) => socket.emitWithAck('ask', i)));

    is(many.map(m => m.args[0]), Array.from({ length: 50 }, (v, i) => i),
        'each its own answer');

    const steps = [];

    socket.on('step', (data, cursor) => steps.push(data));
    is(await socket.emitWithAck('steps', 3), 'done', 'events, then the answer');
    is(steps, [ 1, 2, 3 ], 'in order');
    is(socket._lastOffset, '', 'the offset is still a cursor');
}


async function binary() {
    const socket = client();
    const sent = Buffer.from([ 0, 255, 1, 2, 3 ]);
    const long = Buffer.alloc(20000, 'x');

    const [ a, b ] = await new Promise(done =>
        socket.emit('echo', { deep: [ sent ] }, long, (...r) => done(r)));

    ok(Buffer.compare(Buffer.from(a.deep[0]), sent) === 0, 'binary, nested');
    ok(Buffer.compare(Buffer.from(b), long) === 0, 'binary, long');
}


// What the suite does for us: it says so by a file.

let steps = 0;

async function please(what) {
    console.log(`!${what}`);
    steps++;

    await wait(what, () => {
        try {
            return Number(fs.readFileSync(conf.steps, 'latin1')) >= steps;
        } catch (e) {
            return false;
        }
    }, 60);
}


// Each emit gets its ack, sooner or later; what is "unavailable" is emitted
// again, as any page would do it, with the ackId that it had.

async function offline() {
    const socket = client({ retries: 100, ackTimeout: 1000 });
    const buffered = client({ path: '/other/' });

    const done = {};
    let n = 0;

    function emit(s) {
        const data = { ackId: `id-${++n}`, n };

        const send = () => s.emit('queue', data, (...args) => {
            const r = args[args.length - 1];

            if (r && r.error === 'unavailable') {
                setTimeout(send, 100);
                return;
            }

            done[data.n] = r;
        });

        send();
    }

    const some = count => {
        for (let i = 0; i < count; i++) {
            emit(socket);
        }
    };

    const all = () => wait('acks', () => Object.keys(done).length === n, 60);

    await event(socket, 'connect');
    some(10);
    await all();

    // Redis away, nginx there

    await please('stop redis');
    some(5);
    await new Promise(r => setTimeout(r, 300));
    await please('start redis');
    ok(await all(), 'Redis was away');

    // both away

    await please('stop all');
    await wait('the end', () => !socket.connected && !buffered.connected);
    some(20);

    for (let i = 0; i < 20; i++) {
        emit(buffered);
    }

    is(socket._queue.length >= 20, true, 'kept by the client');
    await please('start all');
    ok(await all(), 'all were away');

    // crashes and reloads under way

    for (let i = 0; i < 4; i++) {
        some(10);
        await (i % 2 ? reload() : kill_workers());
    }

    ok(await all(), 'workers came and went');

    some(10);
    await please('kill redis');
    ok(await all(), 'Redis was killed');

    ok(Object.values(done).every(r => r.ok && r.id), 'all have their ids');
    is(new Set(Object.values(done).map(r => r.id)).size, n, 'each its own');

    console.log(`!sent ${n}`);
}


main(async () => {
    await acks();
    await binary();
    await offline();
});
