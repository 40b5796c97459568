// Many answers at a time, whose clients leave at random: every replay has to be
// what the provider has sent, and every job completed.  TAP on stdout; the suite
// gives { nginx, upstream, answers, events } as one JSON argument.

import http from 'node:http';

const conf = JSON.parse(process.argv[2]);
const nginx = `http://127.0.0.1:${conf.nginx}`;
const sent = new Map();
const leave = new Map();
const sleep = ms => new Promise(done => setTimeout(done, ms));

let tests = 0;

function is(got, expected, name) {
    const ok = got === expected;

    tests++;
    console.log(`${ok ? 'ok' : 'not ok'} ${tests} - ${name}`);

    if (!ok) {
        console.log(`#      got: ${JSON.stringify(got)?.slice(0, 300)}`);
        console.log(`# expected: ${JSON.stringify(expected)?.slice(0, 300)}`);
    }
}

const upstream = http.createServer(async (req, res) => {
    const job = req.url.split('/')[2];
    let log = '';

    for await (const _ of req) { /* read */ }

    leave.get(job)?.();
    res.writeHead(200, { 'Content-Type': 'text/event-stream' });

    for (let i = 0; i < conf.events; i++) {
        const event = `data: ${JSON.stringify({ choices: [{ index: 0,
            delta: { content: `${job} ${i} ` } }] })}\n\n`;

        log += event;
        res.write(event);
        await sleep(Math.random() * 40);
    }

    log += 'data: [DONE]\n\n';
    sent.set(job, log);
    res.end('data: [DONE]\n\n');
});

await new Promise(done => upstream.listen(conf.upstream, '127.0.0.1', done));

// some read to the end, most go once the provider has been asked: before the
// header, or somewhere in the middle

async function client(job, i) {
    const abort = new AbortController();

    if (i % 4) {
        leave.set(job, () => setTimeout(() => abort.abort(),
            Math.random() * 40 * conf.events / 3));
    }

    try {
        const answer = await fetch(`${nginx}/answer/${job}`,
            { method: 'POST', body: '{}', signal: abort.signal });
        return await answer.text();
    } catch {
        return undefined;
    }
}

const jobs = [...Array(conf.answers).keys()].map(i => `crowd-${i}`);
const read = await Promise.all(jobs.map(client));

const end = Date.now() + 60000;

while (sent.size < jobs.length && Date.now() < end) {
    await sleep(50);
}

is(sent.size, jobs.length, 'all are read to the end');

let whole = 0, left = 0, same = 0, completed = 0;

for (const [i, job] of jobs.entries()) {
    if (read[i] === undefined) left++;
    else if (read[i] === sent.get(job)) whole++;

    let state;

    for (;;) {
        state = await (await fetch(`${nginx}/state/${job}`)).json();
        if (state.status !== 'running' || Date.now() > end) break;
        await sleep(20);
    }

    if (state.status === 'completed') completed++;

    const replay = await (await fetch(`${nginx}/replay/${job}`)).text();

    if (replay === sent.get(job)) same++;
}

is(whole + left, jobs.length, 'who has stayed has all of it');
is(left > 0 && whole > 0, true, `some have left (${left})`);
is(completed, jobs.length, 'all are completed');
is(same, jobs.length, 'every replay is what was sent');

upstream.close();
console.log(`1..${tests}`);
process.exit(0);
