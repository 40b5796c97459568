
/*
 * A person with a browser on the demo page: Chromium, driven by playwright.
 *
 *     node t/browser/demo.js http://127.0.0.1:8080/ [pid of nginx]
 *
 * The server and the producer of demo/ have to run already; a producer at
 * --rate 100 makes it quick.  With a pid, the nginx of this master process is
 * reloaded and its workers are killed; "rtbus_drain 500ms" in its configuration
 * makes that quick, too.  Prints TAP.  CHROMIUM is the browser's program
 * (/usr/bin/chromium); SHOTS, a directory, gets a picture of each step.
 */

"use strict";


const fs = require("fs");
const path = require("path");
const { chromium } = require("playwright-core");


const TIMEOUT = 30000;
const PROMPT = "Is “naïve” <b>spelt</b> with 2 dots — or 🦆 \"one\" \\ two?";

const url = process.argv[2];
const master = Number(process.argv[3]);

/* all tokens came as events, none twice */

const WHOLE = new RegExp("^✓ none missing, none doubled: tokens 1–(\\d+) of \\1 "
                         + "\\(\\1 as events\\)$");
const LATE = new RegExp("^✓ none missing, none doubled: tokens 1–(\\d+) of \\1 "
                        + "\\(\\d+ as events, \\d+ from the state\\)$");

let count = 0;
let failed = 0;
let browser;

const complaints = [];

const BOTH = [ "ws", "sse" ];
const NAMES = { ws: "WebSocket", sse: "SSE" };


function ok(passed, name, detail) {
    console.log(`${passed ? "ok" : "not ok"} ${++count} - ${name}`);

    if (!passed) {
        failed++;

        if (detail !== undefined) {
            console.log(String(detail).replace(/^/gm, "# "));
        }
    }
}


function is(got, expected, name) {
    ok(got === expected, name,
       `got:      ${JSON.stringify(got)}\n`
       + `expected: ${JSON.stringify(expected)}`);
}


/* what the server says, without the page */

async function state(id) {
    const r = await fetch(new URL(`/api/job/${id}/state`, url));

    return r.ok ? await r.json() : { error: r.status };
}


async function publish(channel, event, data) {
    const r = await fetch(new URL(`/publish/${channel}`, url), {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ event, data })
    });

    return r.status;
}


async function open(context, hash) {
    const page = await context.newPage();

    watch(page);
    await page.goto(new URL(hash || "", url).href);

    return page;
}


/* things that go on at the same time, each as in a browser of its own */

async function together(...things) {
    await Promise.all(things.map(async thing => {
        const context = await browser.newContext();

        await thing(context);
        await context.close();
    }));
}


function watch(page) {
    page.setDefaultTimeout(TIMEOUT);

    page.on("pageerror", e => complaints.push(`page: ${e.stack || e}`));

    page.on("console", m => {
        if (m.type() == "error") {
            complaints.push(`console: ${m.text()} ${m.location().url}`);
        }
    });
}


async function start(page, via, prompt) {
    await page.fill("#prompt", prompt || PROMPT);
    await page.check(`#via-${via}`, { force: true });
    await page.click("#start");
    await page.waitForSelector("#job[data-status=running]");

    return page.getAttribute("#job", "data-id");
}


const text = (page, id) => page.textContent(`#${id}`);
const attribute = (page, name) => page.getAttribute("#job", `data-${name}`);


/* the end of the job, with all of its text; what is shown otherwise */

async function finish(page) {
    try {
        await page.waitForSelector(
                "#job[data-status=completed][data-whole=yes]");
        return "whole";

    } catch (e) {
        return `status ${await attribute(page, "status")}, `
               + `whole "${await attribute(page, "whole")}", `
               + `${await text(page, "conn")}, ${await text(page, "check")}, `
               + `${await text(page, "notice")}`;
    }
}


/* until so many characters are there; the job still runs then */

async function until(page, length) {
    await page.waitForFunction(
            n => document.getElementById("output").textContent.length > n,
            length, { polling: 20 });
}


async function shot(page, name) {
    if (process.env.SHOTS) {
        await page.screenshot({ path: path.join(process.env.SHOTS,
                                                `${name}.png`),
                                fullPage: true });
    }
}


async function job(context, via) {
    const name = NAMES[via];
    const page = await open(context);
    const id = await start(page, via);

    await until(page, 200);
    await shot(page, `${via}-running`);

    ok(await page.evaluate(() => document.getElementById("progress").value)
       > 0, `${name}: the bar moves`);
    is(await page.getAttribute("#conn", "data-state"), "live",
       `${name}: connected`);

    is(await finish(page), "whole", `${name}: all of the text has arrived`);

    const s = await state(id);
    const output = await text(page, "output");

    is(output, s.output, `${name}: the text is that of the state`);
    ok(output.includes(PROMPT), `${name}: the prompt is quoted`, output);
    is(s.status, "completed", `${name}: the state is completed`);

    const check = await text(page, "check");

    ok(WHOLE.test(check), `${name}: no index is missing or doubled`, check);

    const sequence = await text(page, "sequence");

    ok(/^✓ events 1–\d+ in turn, none twice$/.test(sequence),
       `${name}: all events in turn`, sequence);
    ok(/^cursor job:[^ ]+@\d+-\d+$/.test(await text(page, "cursor")),
       `${name}: the cursor is shown`);

    const shown = JSON.parse(await text(page, "state"));

    is(shown.jobId, id, `${name}: the state is shown`);
    is(shown.status, "completed", `${name}: its end is shown`);

    await shot(page, `${via}-done`);
    await page.close();
}


/* on a slow machine the job may be over before the tabs are there: again */

async function threeTabs(context) {
    for (let tries = 1; /* void */; tries++) {
        const page = await open(context);
        const id = await start(page, "ws");

        await until(page, 300);

        const [ second ] = await Promise.all([ context.waitForEvent("page"),
                                               page.click("#second-tab") ]);

        watch(second);

        const third = await open(context, `#job=${id}&via=sse`);

        await until(second, 300);
        await until(third, 300);

        if (await attribute(page, "status") == "running" || tries == 5) {
            return [ id, page, second, third ];
        }

        for (const tab of [ page, second, third ]) {
            await tab.close();
        }
    }
}


async function secondTab(context) {
    const [ id, page, second, third ] = await threeTabs(context);

    for (const [ tab, name ] of [ [ page, "first" ], [ second, "second" ],
                                  [ third, "third, over SSE" ] ])
    {
        is(await finish(tab), "whole", `tabs: ${name}: all of the text`);
        is(await text(tab, "output"), (await state(id)).output,
           `tabs: ${name}: the text is that of the state`);
    }

    for (const [ tab, name ] of [ [ second, "second" ], [ third, "third" ] ]) {
        const check = await text(tab, "check");

        ok(LATE.test(check),
           `tabs: ${name}: the state, then the rest`, check);
    }

    await shot(second, "second-tab");

    const late = await open(context, `#job=${id}`);

    is(await finish(late), "whole", "tabs: one that comes after the end");
    is(await text(late, "output"), (await state(id)).output,
       "tabs: the text is that of the state");

    for (const tab of [ page, second, third, late ]) {
        await tab.close();
    }
}


/* jobs in their middle */

async function running(context, vias) {
    const pages = await Promise.all(vias.map(() => open(context)));
    const ids = await Promise.all(pages.map((page, i) => start(page, vias[i])));

    await Promise.all(pages.map(page => until(page, 150)));

    return [ pages, ids ];
}


/*
 * Something happens to the connections of all these jobs in their middle, so
 * many times.  On a slow machine a job may be over before: again.
 */

async function interrupted(context, what, vias, times, action) {
    let pages, ids;

    for (let tries = 1; /* void */; tries++) {
        [ pages, ids ] = await running(context, vias);

        for (let n = 1; n <= times; n++) {
            await action(pages, n);
            await Promise.all(pages.map(page => resumed(page, n)));
        }

        const counts = await Promise.all(pages.map(page =>
                                                   attribute(page, "resumed")));

        if (counts.every(n => n >= times) || tries == 5) {
            break;
        }

        await Promise.all(pages.map(page => page.close()));
    }

    const ends = await Promise.all(pages.map(finish));

    for (const [ i, page ] of pages.entries()) {
        const name = `${what}, ${NAMES[vias[i]]}`;
        const s = await state(ids[i]);
        const check = await text(page, "check");
        const sequence = await text(page, "sequence");

        is(ends[i], "whole", `${name}: all of the text`);
        is(await attribute(page, "id"), ids[i], `${name}: the same job`);
        is(await text(page, "output"), s.output,
           `${name}: the text is that of the state`);
        ok(WHOLE.test(check), `${name}: no index is missing or doubled`, check);
        ok(/^✓ events 1–(\d+) in turn, none twice, resumed /.test(sequence),
           `${name}: resumed, all events in turn`, sequence);
        is(/–(\d+) in/.exec(sequence)[1], String(s.lastSequence),
           `${name}: up to the last event`);
        is(await text(page, "notice"), "", `${name}: nothing to complain of`);

        await shot(page, `${what}-${vias[i]}`);
        await page.close();
    }
}


/* until it has, or the job is over */

async function resumed(page, times) {
    await page.waitForFunction(n => {
        const d = document.getElementById("job").dataset;

        return d.resumed >= n || (d.status && d.status != "running");
    }, times, { polling: 20 });
}


/* "force": the button is disabled when the job is over */

async function cut(pages) {
    await Promise.all(pages.map(page => page.click("#cut", { force: true })));
    await shot(pages[0], "cut-waiting");
}


async function switchTransport([ page ], n) {
    await page.check(n == 1 ? "#via-sse" : "#via-ws", { force: true });
}


async function reloadPage(pages) {
    await Promise.all(pages.map(page => page.reload()));
}


async function reloadServer() {
    process.kill(master, "SIGHUP");
}


async function killWorkers() {
    const children = fs.readFileSync(`/proc/${master}/task/${master}/children`,
                                     "latin1");

    for (const pid of children.split(" ").filter(Boolean)) {
        process.kill(Number(pid), "SIGKILL");
    }
}


async function stopped(context) {
    const page = await open(context);
    const id = await start(page, "ws");

    await until(page, 50);
    await page.click("#stop");
    await page.waitForSelector("#job[data-status=cancelled]");

    is((await state(id)).status, "cancelled", "stop: the job is cancelled");

    await page.close();
}


/* events that any program publishes, with nothing but a name and a text */

async function foreign(context) {
    const id = `by-hand-${Date.now()}`;
    const page = await open(context, `#job=${id}`);

    await page.waitForSelector("#conn[data-state=live]");

    is(await publish(`job:${id}`, "model:chunk:v1",
                     { jobId: id, chunk: "<i>hi</i> ", index: 1 }),
       201, "by hand: published");

    await publish(`job:${id}`, "model:chunk:v1",
                  { jobId: id, chunk: "hi ", index: 1 });
    await publish(`job:${id}`, "model:chunk:v1",
                  { jobId: id, chunk: "there", index: 4 });

    await until(page, 10);

    is(await text(page, "output"), "<i>hi</i> there",
       "by hand: shown, the double is not");
    is(await attribute(page, "whole"), "no", "by hand: the hole is seen");
    is(await text(page, "check"), "✗ missing: tokens 2–3; 1 doubled",
       "by hand: both are told");
    is(await text(page, "sequence"), "✓ events 1–3 in turn, none twice",
       "by hand: it is the producer's fault");

    await shot(page, "by-hand");
    await page.close();
}


async function main() {
    browser = await chromium.launch({
        executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
        args: [ "--no-sandbox", "--disable-gpu", "--disable-quic",
                "--no-first-run", "--disable-background-networking",
                "--disable-component-update", "--disable-sync" ]
    });

    try {
        await together(c => job(c, "ws"),
                       c => job(c, "sse"),
                       stopped,
                       foreign);

        await together(secondTab,
                       c => interrupted(c, "cut", BOTH, 1, cut),
                       c => interrupted(c, "switch", [ "ws" ], 2,
                                        switchTransport),
                       c => interrupted(c, "page reload", BOTH, 2, reloadPage));

        is(complaints.join("\n"), "", "no errors in the browser's console");

        if (master) {
            await together(c => interrupted(c, "nginx reload", BOTH, 1,
                                            reloadServer));
            await together(c => interrupted(c, "worker kill", BOTH, 1,
                                            killWorkers));
        }

        /* a browser tells of each connection that breaks */

        is(complaints.filter(c => !/^console: .*(ERR_|WebSocket)/.test(c))
                     .join("\n"), "", "nor others than of the network");

    } finally {
        await browser.close();
    }
}


if (!url) {
    console.error("usage: node t/browser/demo.js URL [PID]");
    process.exit(2);
}

main().catch(e => ok(false, "the browser did what it was told", e.stack))
    .finally(() => {
        console.log(`1..${count}`);
        process.exitCode = failed ? 1 : 0;
    });
