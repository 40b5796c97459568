
/*
 * A person with a browser on the demo page: Chromium, driven by playwright.
 *
 *     node t/browser/demo.js http://127.0.0.1:8080/
 *
 * The server and the producer of demo/ have to run already; a producer at
 * --rate 150 makes it quick.  Prints TAP.  CHROMIUM is the browser's program
 * (/usr/bin/chromium); SHOTS, a directory, gets a picture of each step.
 */

"use strict";


const path = require("path");
const { chromium } = require("playwright-core");


const TIMEOUT = 30000;
const PROMPT = "Is “naïve” <b>spelt</b> with 2 dots — or 🦆 \"one\" \\ two?";

const url = process.argv[2];

let count = 0;
let failed = 0;
let context;

const complaints = [];


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


async function open(hash) {
    const page = await context.newPage();

    watch(page);
    await page.goto(new URL(hash || "", url).href);

    return page;
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


async function job(via, name) {
    const page = await open();
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

    ok(/^✓ nothing missing: tokens 1–(\d+) of \1 \(\d+ live/.test(check),
       `${name}: no index is missing`, check);

    const shown = JSON.parse(await text(page, "state"));

    is(shown.jobId, id, `${name}: the state is shown`);
    is(shown.status, "completed", `${name}: its end is shown`);

    await shot(page, `${via}-done`);
    await page.close();
}


/* on a slow machine the job may be over before the tabs are there: again */

async function threeTabs() {
    for (let tries = 1; /* void */; tries++) {
        const page = await open();
        const id = await start(page, "ws");

        await until(page, 300);

        const [ second ] = await Promise.all([ context.waitForEvent("page"),
                                               page.click("#second-tab") ]);

        watch(second);

        const third = await open(`#job=${id}&via=sse`);

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


async function secondTab() {
    const [ id, page, second, third ] = await threeTabs();

    for (const [ tab, name ] of [ [ page, "first" ], [ second, "second" ],
                                  [ third, "third, over SSE" ] ])
    {
        is(await finish(tab), "whole", `tabs: ${name}: all of the text`);
        is(await text(tab, "output"), (await state(id)).output,
           `tabs: ${name}: the text is that of the state`);
    }

    for (const [ tab, name ] of [ [ second, "second" ], [ third, "third" ] ]) {
        const check = await text(tab, "check");

        ok(/\(\d+ live, \d+ from the state/.test(check),
           `tabs: ${name}: joined in the middle`, check);
    }

    await shot(second, "second-tab");

    const late = await open(`#job=${id}`);

    is(await finish(late), "whole", "tabs: one that comes after the end");
    is(await text(late, "output"), (await state(id)).output,
       "tabs: the text is that of the state");

    for (const tab of [ page, second, third, late ]) {
        await tab.close();
    }
}


async function interrupted(via, name) {
    const page = await open();
    const id = await start(page, via);

    await until(page, 100);
    await page.click("#cut");
    await page.waitForSelector("#conn[data-state=waiting]");
    await shot(page, `${via}-cut`);
    await page.waitForSelector("#conn:not([data-state=waiting])");

    is(await finish(page), "whole", `${name}: cut: all of the text`);
    is(await text(page, "output"), (await state(id)).output,
       `${name}: cut: the text is that of the state`);

    await page.close();
}


async function switched() {
    const page = await open();
    const id = await start(page, "ws");

    await until(page, 100);
    await page.check("#via-sse", { force: true });
    await until(page, 400);
    await page.check("#via-ws", { force: true });

    is(await finish(page), "whole", "switch of transport: all of the text");
    is(await text(page, "output"), (await state(id)).output,
       "switch of transport: the text is that of the state");

    await page.close();
}


async function reloaded() {
    const page = await open();
    const id = await start(page, "ws");

    await until(page, 100);
    await page.reload();

    is(await finish(page), "whole", "reload of the page: all of the text");
    is(await attribute(page, "id"), id, "reload of the page: the same job");
    is(await text(page, "output"), (await state(id)).output,
       "reload of the page: the text is that of the state");

    await page.close();
}


async function stopped() {
    const page = await open();
    const id = await start(page, "ws");

    await until(page, 50);
    await page.click("#stop");
    await page.waitForSelector("#job[data-status=cancelled]");

    is((await state(id)).status, "cancelled", "stop: the job is cancelled");

    await page.close();
}


/* events that any program publishes, with nothing but a name and a text */

async function foreign() {
    const id = `by-hand-${Date.now()}`;
    const page = await open(`#job=${id}`);

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
    is(await text(page, "check"), "✗ missing: tokens 2–3",
       "by hand: the hole is told");

    await shot(page, "by-hand");
    await page.close();
}


async function main() {
    const browser = await chromium.launch({
        executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
        args: [ "--no-sandbox", "--disable-gpu", "--disable-quic",
                "--no-first-run", "--disable-background-networking",
                "--disable-component-update", "--disable-sync" ]
    });

    try {
        context = await browser.newContext();

        await job("ws", "WebSocket");
        await job("sse", "SSE");
        await secondTab();
        await interrupted("ws", "WebSocket");
        await interrupted("sse", "SSE");
        await switched();
        await reloaded();
        await stopped();
        await foreign();

        /* only a job that has no state may be answered with 404 */

        const bad = complaints.filter(c => !/ 404 .*\/by-hand-/.test(c));

        is(bad.join("\n"), "", "no errors in the browser's console");

    } finally {
        await browser.close();
    }
}


if (!url) {
    console.error("usage: node t/browser/demo.js URL");
    process.exit(2);
}

main().catch(e => ok(false, "the browser did what it was told", e.stack))
    .finally(() => {
        console.log(`1..${count}`);
        process.exitCode = failed ? 1 : 0;
    });
