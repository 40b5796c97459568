// A hundred clients at once, each with a job of its own; and nginx is reloaded,
// or its workers are killed, while all of them stream.

'use strict';

const { ok, is, wait, client, Redis, kill_workers, reload, main }
    = require('./lib');

const CLIENTS = 100;
const TOTAL = 40;

const redis = new Redis();


async function stream(name, middle) {
    const all = [ ...Array(CLIENTS).keys() ].map(k => {
        const job = `${name}-${k}`;
        const c = { job, got: [], recovered: [], ready: false };

        c.socket = client({ query: { job } });
        c.socket.on('connect', () => c.recovered.push(c.socket.recovered));
        c.socket.on('connected', () => { c.ready = true; });
        c.socket.on('chunk', data => c.got.push(data.index));
        c.socket.on('sync:gap', data => c.got.push(data));

        return c;
    });

    await wait('all connected', () => all.every(c => c.ready), 30);
    is(all.filter(c => c.ready).length, CLIENTS, `${name}: all connected`);

    let stopped;

    for (let i = 1; i <= TOTAL; i++) {
        if (i === TOTAL / 2 && middle) {
            stopped = middle();
        }

        await Promise.all(all.map(c =>
            redis.publish(`job:${c.job}`, 'chunk', { index: i })));

        if (middle) {
            await new Promise(done => setTimeout(done, 10));
        }
    }

    await stopped;
    await wait('all complete', () =>
        all.every(c => c.got.length >= TOTAL && c.socket.connected
            && (!middle || c.recovered.length > 1)), 30);

    const wrong = all.filter(c =>
        c.got.length !== TOTAL || c.got.some((n, k) => n !== k + 1));

    is(wrong.map(c => [ c.job, c.got ]), [], `${name}: all complete`);
    is(all.filter(c => c.recovered.slice(1).includes(false)).length, 0,
        `${name}: all recovered`);

    if (middle) {
        ok(all.every(c => c.recovered.length > 1), `${name}: all came back`);
    }

    for (const c of all) {
        c.socket.disconnect();
    }
}


main(async () => {
    await stream('quiet');

    await stream('reload', reload);
    await stream('killed', kill_workers);
});
