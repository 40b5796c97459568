// Two hundred clients at once, unless told otherwise, each with a job of its
// own, and all jobs stream at once; meanwhile nothing happens, or all of them
// have to come back at once.

'use strict';

const { conf, ok, is, wait, ask, client, cut, Redis, kill_workers, reload,
    main } = require('./lib');

const CLIENTS = conf.clients || 200;
const TOTAL = 40;

// as many as would work on so many jobs

const producers = [ ...Array(8) ].map(() => new Redis());


async function stream(name, storm) {
    const all = [ ...Array(CLIENTS).keys() ].map(k => {
        const job = `${name.replace(/\W+/g, '-')}-${k}`;
        const c = { job, got: [], recovered: [], ids: new Set(), ready: false };

        c.socket = client({ query: { job } });
        c.socket.on('connect', () => {
            c.recovered.push(c.socket.recovered);
            c.ids.add(c.socket.id);
        });
        c.socket.on('connected', () => { c.ready = true; });
        c.socket.on('chunk', data => c.got.push(data.index));
        c.socket.on('sync:gap', data => c.got.push(data));

        return c;
    });

    await wait('all connected', () => all.every(c => c.ready), 30);
    is(all.filter(c => c.ready).length, CLIENTS, `${name}: all connected`);

    let over;

    for (let i = 1; i <= TOTAL; i++) {
        if (i === TOTAL / 2 && storm) {
            over = storm(all);
        }

        await Promise.all(all.map((c, k) =>
            producers[k % producers.length].publish(`job:${c.job}`, 'chunk',
                { index: i, text: 'token '.repeat(i % 9) })));

        if (storm) {
            await new Promise(done => setTimeout(done, 10));
        }
    }

    await over;
    await wait('all complete', () =>
        all.every(c => c.got.length >= TOTAL && c.socket.connected
            && (!storm || c.recovered.length > 1)), 30);
    await Promise.all(all.map(settle));

    const wrong = all.filter(c =>
        c.got.length !== TOTAL || c.got.some((n, k) => n !== k + 1));

    is(wrong.map(c => [ c.job, c.got ]), [], `${name}: all complete`);
    is(all.filter(c => c.recovered.slice(1).includes(false)).length, 0,
        `${name}: all recovered`);
    is(all.filter(c => c.ids.size !== 1).length, 0,
        `${name}: all with the id they had`);

    if (storm) {
        ok(all.every(c => c.recovered.length > 1), `${name}: all came back`);
    }

    for (const c of all) {
        c.socket.disconnect();
    }
}


// A client that polls may have to be told first that its worker is gone; what it
// sends then has no answer.

async function settle(c) {
    const answered = () => Promise.race([ ask(c.socket, 'settled'),
        new Promise(done => setTimeout(done, 5000)) ]);

    for (let i = 0; i < 5 && await answered() === undefined; i++) {
        await wait('a connection', () => c.socket.connected);
    }
}


function cut_all(all) {
    for (const c of all) {
        if (c.socket.connected) {
            cut(c.socket);
        }
    }
}


// all of them to another node, half of which then come back

async function to_and_fro(all) {
    for (const c of all) {
        c.socket.io.uri = `http://127.0.0.1:${conf.ports[1]}`;
    }

    cut_all(all);
    await wait('the other node', () => all.every(c =>
        c.recovered.length > 1 && c.socket.connected), 30);

    for (const c of all) {
        c.socket.io.uri = `http://127.0.0.1:${conf.ports[0]}`;
    }

    cut_all(all.filter((c, k) => k % 2));
}


// and the links to Redis of all workers go, too

async function everything(all) {
    const killed = kill_workers();

    await producers[0].cmd('CLIENT', 'KILL', 'TYPE', 'pubsub');
    cut_all(all);
    await killed;
    await wait('all back', () => all.every(c => c.socket.connected), 30);
    await producers[0].cmd('CLIENT', 'KILL', 'TYPE', 'pubsub');
    cut_all(all);
    await reload();
}


main(async () => {
    await stream('quiet');

    await stream('cut', cut_all);
    await stream('reload', () => reload());
    await stream('killed', () => kill_workers());
    await stream('other node', to_and_fro);
    await stream('everything', everything);
});
