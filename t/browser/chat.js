/*
 * A person with a browser on the chat page: Chromium, driven by playwright.
 *
 *     node t/browser/chat.js http://127.0.0.1:8080/
 *
 * The server and the model of demo/ have to run already.  Prints TAP.  CHROMIUM
 * is the browser's program (/usr/bin/chromium); SHOTS, a directory, gets a
 * picture of each step.
 */

"use strict";


const path = require("path");
const { chromium } = require("playwright-core");


const TIMEOUT = 30000;

const url = process.argv[2];

let count = 0;
let failed = 0;

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


const text = (page, id) => page.textContent(`#${id}`);
const status = page => page.getAttribute("#job", "data-status");


async function shot(page, name) {
    if (process.env.SHOTS) {
        await page.screenshot({ path: path.join(process.env.SHOTS,
                                                `${name}.png`) });
    }
}


async function visit(context, where) {
    const page = await context.newPage();

    page.setDefaultTimeout(TIMEOUT);
    page.on("pageerror", e => complaints.push(`page: ${e.stack || e}`));

    page.on("console", m => {
        if (m.type() == "error") {
            complaints.push(`console: ${m.text()} ${m.location().url}`);
        }
    });

    await page.goto(new URL(where, url).href);

    return page;
}


async function signIn(page, user) {
    await page.fill("#name", user);
    await page.fill("#password", user);
    await page.click("#login button");
    await page.waitForSelector("#logout", { state: "visible" });
}


async function say(page, prompt) {
    const before = await page.getAttribute("#job", "data-id");

    await page.fill("#prompt", prompt);
    await page.click("#start");
    await page.waitForSelector(`#job:not([data-id='${before}'])`
                               + "[data-status=running]");

    return page.getAttribute("#job", "data-id");
}


async function until(page, length) {
    await page.waitForFunction(n =>
        document.getElementById("output").textContent.length > n
        || document.getElementById("job").dataset.status != "running",
        length, { polling: 20 });
}


async function ends(page, expected) {
    try {
        await page.waitForSelector(`#job[data-status=${expected}]`);

    } catch (e) {
        /* the caller shows the difference */
    }

    return status(page);
}


/* what nginx has kept, without the page */

async function state(id, user) {
    const login = await fetch(new URL("/login", url), {
        headers: { Authorization: "Basic " + btoa(`${user}:${user}`) }
    });

    const r = await fetch(new URL(`/chat/${id}/state`, url), {
        headers: { Authorization: `Bearer ${await login.text()}` }
    });

    return r.ok ? await r.json() : { error: r.status };
}


/* on a slow machine an answer may be over before it is interrupted: again */

async function running(page, prompt, length) {
    for (let tries = 1; /* void */; tries++) {
        const id = await say(page, prompt);

        await until(page, length);

        if (await status(page) == "running" || tries == 5) {
            return id;
        }
    }
}


async function reads(page) {
    const id = await running(page, "Why is the sky “naïve”, \\ 🦆?", 40);

    ok(true, "ask: tokens come");
    await shot(page, "chat-running");
    is(await text(page, "transport"), "fetch", "ask: over fetch");
    is(await ends(page, "completed"), "completed", "ask: done");

    const s = await state(id, "alice");

    is(await text(page, "output"), s.output, "ask: the text of the state");
    ok(s.output.includes("“Why is the sky “naïve”, \\ 🦆?”"),
       "ask: the question is quoted", s.output);
    is(s.status, "completed", "ask: the state is completed");
    is(s.userId, "alice", "ask: it is hers");
    ok(s.usage?.completion_tokens > 20, "ask: what it has cost",
       JSON.stringify(s));
    is((await state(id, "bob")).error, 403, "ask: bob cannot read it");
}


async function reloads(page) {
    const id = await running(page, "And again?", 40);

    for (const n of [ 1, 2 ]) {
        await page.reload();
        await until(page, 40 + 40 * n);
    }

    is(await page.getAttribute("#job", "data-id"), id, "reload: same answer");
    is(await ends(page, "completed"), "completed", "reload: done");
    is(await text(page, "transport"), "fetch, replayed", "reload: a replay");
    is(await text(page, "question"), "And again?", "reload: the question");

    const s = await state(id, "alice");

    is(await text(page, "output"), s.output, "reload: the whole text, once");
    is(s.output.split("question number").length, 2,
       "reload: the model knows what was before, and was asked once");
    ok(await page.locator("#history p").count() >= 2,
       "reload: what was before is shown");
    await shot(page, "chat-reloaded");

    await page.reload();
    is(await text(page, "output"), s.output, "reload: after the end");
}


/* the connection of the page breaks, and it goes on behind what it has */

async function breaks(page) {
    const id = await running(page, "Without a network?", 40);

    await page.click("#cut");
    await page.waitForSelector("#conn[data-state=offline]");

    const had = await text(page, "output");
    const events = Number(await text(page, "events"));

    /* as long as it takes the model to say more */

    for (let n = 0; n < 100; n++) {
        if ((await state(id, "alice")).output.length > had.length + 40) {
            break;
        }

        await new Promise(resolve => setTimeout(resolve, 50));
    }

    is(await text(page, "output"), had, "cut: nothing comes");
    await page.click("#cut");
    is(await ends(page, "completed"), "completed", "cut: done");

    const s = await state(id, "alice");

    is(await text(page, "output"), s.output, "cut: the whole text, once");
    is(Number(await text(page, "events")), s.events - 1,
       "cut: each event once, [DONE] aside");
    is(await text(page, "transport"), "fetch, replayed", "cut: by a replay");
    ok(events < s.events, "cut: in its middle");
}


/* nobody looks on, and it goes on */

async function leaves(page) {
    const id = await running(page, "Alone?", 40);
    const { hash } = new URL(page.url());

    await page.goto("about:blank");

    for (let n = 0; n < 300; n++) {
        if ((await state(id, "alice")).status == "completed") {
            break;
        }

        await new Promise(resolve => setTimeout(resolve, 100));
    }

    const s = await state(id, "alice");

    is(s.status, "completed", "away: it is done without the page");

    await page.goto(new URL(`chat.html${hash}`, url).href);
    is(await ends(page, "completed"), "completed", "away: back");
    is(await text(page, "output"), s.output, "away: the whole text");
}


async function stops(page, context) {
    const id = await running(page, "For how long?", 40);

    const [ second ] = await Promise.all([ context.waitForEvent("page"),
                                           page.click("#second-tab") ]);

    await second.waitForSelector("#login");
    await signIn(second, "alice");
    await second.waitForSelector("#job");
    await until(second, 60);
    is(await text(second, "transport"), "Socket.IO",
       "watch: a second tab, over Socket.IO");
    await shot(second, "chat-watched");

    await second.click("#stop");
    is(await ends(second, "cancelled"), "cancelled", "stop: told there");
    is(await ends(page, "cancelled"), "cancelled", "stop: and here");

    const s = await state(id, "alice");

    is(s.status, "cancelled", "stop: the state is cancelled");

    /* tokens do not wait for Redis: who has asked may have the next one, too */

    const asked = await text(page, "output");

    ok(asked.startsWith(s.output) && asked.length - s.output.length < 40,
       "stop: the text ends there", `${asked} # ${s.output}`);
    is(await text(second, "output"), s.output, "stop: in both tabs");
    is(await page.isEnabled("#stop"), false, "stop: once");
    ok(/^Stopped/.test(await text(page, "status")), "stop: it is shown");

    await second.close();
}


/* another browser of hers sees all of it, one of bob's nothing */

async function watches(page, browser) {
    const id = await running(page, "Who else?", 40);

    const others = [];

    for (const user of [ "alice", "bob" ]) {
        const context = await browser.newContext();
        const other = await visit(context, `chat.html#watch=${id}`);

        await signIn(other, user);
        others.push(other);
    }

    is(await ends(others[1], "refused"), "refused", "watch: bob is refused");
    is(await text(others[1], "output"), "", "watch: and sees nothing");

    is(await ends(page, "completed"), "completed", "watch: done");
    is(await ends(others[0], "completed"), "completed", "watch: there, too");

    const s = await state(id, "alice");

    is(await text(page, "output"), s.output, "watch: the whole text");
    is(await text(others[0], "output"), s.output, "watch: in both browsers");

    for (const other of others) {
        await other.context().close();
    }
}


async function main() {
    const browser = await chromium.launch({
        executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
        args: [ "--no-sandbox", "--disable-gpu", "--disable-quic",
                "--no-first-run", "--disable-background-networking",
                "--disable-component-update", "--disable-sync" ]
    });

    try {
        const context = await browser.newContext();
        const page = await visit(context, "");

        await page.click("#tabs a[href='chat.html']");
        await page.waitForSelector("#login");
        await signIn(page, "alice");

        await reads(page);
        await reloads(page);
        await stops(page, context);
        await watches(page, browser);
        await leaves(page);

        await breaks(page);

        is(complaints.join("\n"), "", "no errors in the browser's console");

        /* it fits on a phone */

        await page.setViewportSize({ width: 375, height: 740 });
        is(await page.evaluate(() =>
            document.documentElement.scrollWidth > window.innerWidth
            || document.documentElement.scrollHeight > window.innerHeight),
           false, "phone: nothing sticks out");
        await shot(page, "chat-phone");

    } finally {
        await browser.close();
    }
}


if (!url) {
    console.error("usage: node t/browser/chat.js URL");
    process.exit(2);
}

main().catch(e => ok(false, "the browser did what it was told", e.stack))
    .finally(() => {
        console.log(`1..${count}`);
        process.exitCode = failed ? 1 : 0;
    });
