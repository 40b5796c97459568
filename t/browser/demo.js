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

/* what the page has found out about the events; how much came with the state */

const WHOLE = /^✓ nothing missing, nothing doubled: (\d+) of (\d+) bytes /;

const PHONE = { width: 375, height: 740 };
const DESK = { width: 1280, height: 800 };

let count = 0;
let failed = 0;
let browser;

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

async function token(user) {
    const r = await fetch(new URL("/login", url), {
        headers: { Authorization: "Basic " + btoa(`${user}:${user}`) }
    });

    return await r.text();
}


async function state(id, user) {
    const r = await fetch(new URL(`/api/job/${id}/state`, url), {
        headers: { Authorization: `Bearer ${await token(user || "alice")}` }
    });

    return r.ok ? await r.json() : { error: r.status };
}


async function publish(channel, event, data, more) {
    const r = await fetch(new URL(`/publish/${channel}`, url), {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ event, data, ...more })
    });

    return r.status;
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


async function visit(context, hash) {
    const page = await context.newPage();

    watch(page);
    await page.goto(new URL(hash || "", url).href);

    return page;
}


async function open(context, hash, user) {
    const page = await visit(context, hash);

    await page.fill("#name", user || "alice");
    await page.fill("#password", user || "alice");
    await page.click("#login button");
    await page.waitForSelector("#conn[data-state=live]");

    return page;
}


/* things that go on at the same time, each as in a browser of its own */

async function together(...things) {
    await Promise.all(things.map(async thing => {
        const context = await browser.newContext({ viewport: DESK });

        await thing(context);
        await context.close();
    }));
}


async function start(page, prompt) {
    await page.fill("#prompt", prompt || PROMPT);
    await page.click("#start");
    await page.waitForSelector("#job[data-status=running]");

    return page.getAttribute("#job", "data-id");
}


const text = (page, id) => page.textContent(`#${id}`);
const attribute = (page, name) => page.getAttribute("#job", `data-${name}`);


/* the page has seen that the person has tried something */

async function tried(page, what) {
    try {
        await page.waitForSelector(`[data-try=${what}][data-done=yes]`,
                                   { state: "attached" });
        ok(true, `tried: ${what}`);

    } catch (e) {
        ok(false, `tried: ${what}`);
    }
}


/* until something is as it should be; what it was at the end otherwise */

async function becomes(page, id, expected) {
    try {
        await page.waitForFunction(
                ([ id, text ]) => document.getElementById(id).textContent
                                  == text,
                [ id, expected ], { polling: 20 });

    } catch (e) {
        /* the caller shows the difference */
    }

    return text(page, id);
}


/* until so many commands are in the outbox; how many were there at the end */

async function waiting(page, n) {
    try {
        await page.waitForSelector(`#queue[data-length='${n}']`,
                                   { state: "attached" });

    } catch (e) {
        /* the same */
    }

    return Number(await page.getAttribute("#queue", "data-length"));
}


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


/* until so many characters are there, or the job is over */

async function until(page, length) {
    await page.waitForFunction(n =>
        document.getElementById("output").textContent.length > n
        || document.getElementById("job").dataset.status == "completed",
        length, { polling: 20 });
}


async function shot(page, name) {
    if (process.env.SHOTS) {
        await page.screenshot({ path: path.join(process.env.SHOTS,
                                                `${name}.png`) });
    }
}


/* the text is there, once, and at most "from" bytes of it from the state */

async function whole(page, id, name, from) {
    const s = await state(id);
    const check = await text(page, "check");
    const m = WHOLE.exec(check);

    is(await text(page, "output"), s.output, `${name}: the text of the state`);
    ok(m, `${name}: none missing, none doubled`, check);
    is(m ? Number(m[2]) : 0, Buffer.byteLength(s.output),
       `${name}: all of its bytes`);

    if (from !== undefined) {
        ok(m && Number(m[1]) <= from,
           `${name}: at most ${from} of them from the state`, check);
    }

    return m ? Number(m[1]) : 0;
}


async function users(context) {
    const page = await visit(context);

    await shot(page, "login");

    await page.fill("#password", "wrong");
    await page.click("#login button");

    is(await becomes(page, "notice", "Wrong name or password."),
       "Wrong name or password.", "login: a wrong password");
    is(await text(page, "conn"), "signed out", "login: no connection");

    await page.fill("#password", "alice");
    await page.click("#login button");
    await page.waitForSelector("#conn[data-state=live]");

    is(await page.getAttribute("[data-user=alice]", "aria-pressed"), "true",
       "login: alice");
    ok(await page.isVisible("#hello"), "login: the page asks");
    await shot(page, "hello");

    /* her job is not for bob, whether he knows its name or not */

    const id = await start(page);

    await until(page, 150);
    await page.click("[data-user=bob]");
    await page.waitForSelector("#job[data-status=refused]");

    ok(/“forbidden”/.test(await text(page, "check")), "bob: is refused");
    is(await text(page, "output"), "", "bob: sees no text");
    is(await page.getAttribute("#jobs a", "data-owner"), "alice",
       "bob: knows whose it is");
    is(await attribute(page, "id"), id, "bob: it is her job");
    is(await page.isEnabled("#stop"), false, "bob: cannot stop it");
    is((await state(id, "bob")).error, 403, "bob: nor read its state");
    await tried(page, "other");
    await shot(page, "refused");

    await page.fill("#open-id", "no-such-job");
    await page.click("#open button");
    await page.waitForSelector("#job[data-status=refused]"
                               + "[data-id=no-such-job]");

    ok(true, "bob: nor a job that is none");

    const own = await start(page, "I am bob");

    is((await state(own, "bob")).userId, "bob", "bob: has jobs of his own");
    is((await state(own, "alice")).error, 403, "bob: alice cannot read them");

    /* hers has gone on, and she sees all of it */

    await page.click("[data-user=alice]");
    await page.waitForSelector("#job[data-status=refused]");
    await page.click(`#jobs a[href="#job=${id}"]`);

    is(await finish(page), "whole", "alice: is back, and has all of her text");
    await whole(page, id, "alice");

    /* a token that the server does not take, such as an old one */

    await page.evaluate(() => {
        const kept = JSON.parse(sessionStorage.getItem("rtbus"));

        kept.token = kept.token.slice(0, -3) + "xyz";
        sessionStorage.setItem("rtbus", JSON.stringify(kept));
    });

    await page.reload();
    await page.waitForSelector("#login");

    is(await becomes(page, "notice", "The server rejected this token: "
                                     + "unauthorized"),
       "The server rejected this token: unauthorized", "a bad token");

    await page.click("#login button");
    await page.waitForSelector("#conn[data-state=live]");
    await page.click("#logout");
    is(await becomes(page, "conn", "signed out"), "signed out", "logout");
    ok(await page.isVisible("#login") && !await page.isVisible("#job"),
       "logout: nothing is shown");

    await page.close();
}


async function answer(context) {
    const page = await open(context);
    const id = await start(page);

    await until(page, 200);
    await shot(page, "running");

    ok(await page.evaluate(() => document.getElementById("progress").value)
       > 0, "answer: the bar moves");

    await page.waitForFunction(() => /^[1-9]/.test(
            document.getElementById("rate").textContent));

    ok(/^[1-9]\d*$/.test(await text(page, "connections")),
       "numbers: connections", await text(page, "connections"));
    ok(/^[\d.]+ ms$/.test(await text(page, "lag")), "numbers: lag",
       await text(page, "lag"));
    ok(/^\d+ workers?, Redis is up; /.test(await text(page, "counted")),
       "numbers: the rest", await text(page, "counted"));
    ok(/ events\/s$/.test(await text(page, "brief")), "numbers: in brief",
       await text(page, "brief"));
    ok(/,1?\d\.\d+ 59,20$/.test(await page.getAttribute("#chart polygon",
                                                       "points")),
       "numbers: the curve", await page.getAttribute("#chart polygon",
                                                     "points"));
    ok((await text(page, "cursor")).startsWith(`job:${id}@`),
       "answer: the cursor is shown", await text(page, "cursor"));
    is(await text(page, "question"), PROMPT, "answer: the question");
    is(await finish(page), "whole", "answer: all of the text has arrived");

    const s = await state(id);

    ok((await text(page, "output")).includes(PROMPT),
       "answer: the prompt is quoted");
    is(s.status, "completed", "answer: the state is completed");
    is(s.userId, "alice", "answer: it is hers");
    await whole(page, id, "answer", 400);

    ok(/^Done: \d+ tokens in [\d.]+ s$/.test(await text(page, "status")),
       "answer: how long it took", await text(page, "status"));
    is(await waiting(page, 0), 0, "answer: the outbox is empty");
    is(await becomes(page, "cursor", "–"), "–",
       "answer: nothing is followed any more");
    ok(/^Socket\.IO, /.test(await text(page, "transport")),
       "answer: the transport is shown");
    is(await page.getAttribute("#jobs a", "data-status"), "completed",
       "answer: the list knows");

    await tried(page, "ask");
    await shot(page, "done");
    await page.close();
}


async function stopped(context) {
    const page = await open(context);
    const id = await start(page);

    await until(page, 50);
    await page.click("#stop");
    await page.waitForSelector("#job[data-status=cancelled]");

    const s = await state(id);
    const output = await text(page, "output");

    is(s.status, "cancelled", "stop: the job is cancelled");
    is(output, s.output, "stop: the text ends there");
    is(await page.isEnabled("#stop"), false, "stop: once");
    ok(/^Stopped: \d+ tokens/.test(await text(page, "status")),
       "stop: it is told", await text(page, "status"));
    await tried(page, "stop");
    await shot(page, "stopped");

    /* as many tokens as a producer that went on would have sent meanwhile */

    const another = await start(page, "another one");

    await until(page, 200);
    is((await state(id)).output, output, "stop: nothing comes after it");

    /* both at once: what is shown, and what runs behind it */

    await page.click(`#jobs a[href="#job=${id}"]`);
    is(await becomes(page, "output", output), output,
       "list: back to the first");
    await page.waitForSelector(`#jobs a[href="#job=${another}"]`
                               + "[data-status=completed]");
    await page.click(`#jobs a[href="#job=${another}"]`);
    is(await finish(page), "whole", "list: the other one has gone on");
    await whole(page, another, "list", 400);

    await page.close();
}


/* events that any program publishes, with nothing but a name and a text */

async function foreign(context) {
    const id = `by-hand-${Date.now()}`;
    const channel = `job:${id}`;

    is(await publish(channel, "job:created:v1", { jobId: id },
                     { set: { jobId: id, userId: "alice" } }),
       201, "by hand: published");

    const page = await open(context, `#job=${id}`);

    await page.waitForSelector("#job[data-position$='-1']");

    await publish(channel, "model:chunk:v1",
                  { jobId: id, chunk: "<i>hi</i> " });
    await publish(channel, "model:chunk:v1",
                  { jobId: id, chunk: "there", offset: 10 });

    is(await becomes(page, "output", "<i>hi</i> there"), "<i>hi</i> there",
       "by hand: shown");
    is(await text(page, "check"), "✓ nothing missing, nothing doubled: 0 of 15 "
       + "bytes came with the state, the rest in 2 events, in order",
       "by hand: counted");

    await publish(channel, "model:chunk:v1",
                  { jobId: id, chunk: "there", offset: 10 });
    await publish(channel, "model:chunk:v1",
                  { jobId: id, chunk: "!", offset: 17 });

    is(await becomes(page, "output", "<i>hi</i> there!"), "<i>hi</i> there!",
       "by hand: the double is not shown");
    is(await text(page, "check"), "✗ missing pieces: 1, doubled tokens: 1, "
       + "events out of order: 0",
       "by hand: it is the producer's fault, and told");

    await page.close();
}


/* on a slow machine the job may be over before the tabs are there: again */

async function twoTabs(context) {
    for (let tries = 1; /* void */; tries++) {
        const page = await open(context);
        const id = await start(page);

        await until(page, 300);

        const [ second ] = await Promise.all([ context.waitForEvent("page"),
                                               page.click("#second-tab") ]);

        watch(second);
        await second.waitForSelector("#job");
        await until(second, 300);

        if (await attribute(page, "status") == "running" || tries == 5) {
            return [ id, page, second ];
        }

        await page.close();
        await second.close();
    }
}


async function secondTab(context) {
    const [ id, page, second ] = await twoTabs(context);

    is(await text(second, "question"), PROMPT, "tabs: the question");
    await tried(page, "tab");

    for (const [ tab, name ] of [ [ page, "first" ], [ second, "second" ] ]) {
        is(await finish(tab), "whole", `tabs: ${name}: all of the text`);
        await whole(tab, id, `tabs: ${name}`);
    }

    /* a browser that knows nothing but the address */

    const other = await browser.newContext();
    const late = await open(other, `#job=${id}`);

    is(await finish(late), "whole", "tabs: one that comes after the end");
    await whole(late, id, "tabs: late");

    await other.close();
    await page.close();
    await second.close();
}


/*
 * Something happens to the connection of a job in its middle, so many times.
 * On a slow machine the job may be over before: again.
 */

async function interrupted(context, what, times, from, action) {
    let page, id;

    for (let tries = 1; /* void */; tries++) {
        let n;

        page = await open(context);
        id = await start(page);

        await until(page, 150);

        for (n = 0; n < times; n++) {
            const had = (await text(page, "output")).length;

            await action(page, n);
            await until(page, had + 50);
        }

        if (await attribute(page, "status") == "running" || tries == 5) {
            break;
        }

        await page.close();
    }

    is(await finish(page), "whole", `${what}: all of the text`);
    is(await attribute(page, "id"), id, `${what}: the same job`);
    await whole(page, id, what, from);
    is(await text(page, "notice"), "", `${what}: nothing to complain of`);
    await shot(page, what.replace(/ /g, "-"));

    return page;
}


async function reloadPage(page) {
    await page.reload();
    await page.waitForSelector("#conn[data-state=live]");
    await page.waitForSelector("#job[data-position]");
    await tried(page, "reload");
}


async function cut(page) {
    await page.click("#cut");
    await page.waitForSelector("#conn[data-state=offline]");
    await page.click("#cut");
    await page.waitForSelector("#conn[data-state=live]");
}


const recovered = (context, what) => async page => {
    is(await becomes(page, "recovered", "yes"), "yes",
       `${context}: the server has recovered it`);

    if (what) {
        await tried(page, what);
    }

    await page.close();
};


/* commands while there is no network: they wait, and are done once */

async function outbox(context) {
    const page = await open(context);

    await page.click("#cut");
    await page.waitForSelector("#conn[data-state=offline]");

    for (const prompt of [ "first, offline", "second, offline" ]) {
        await page.fill("#prompt", prompt);
        await page.click("#start");
        await page.waitForSelector("#job[data-status=queued]");
    }

    await page.click("#stop");

    is(await waiting(page, 3), 3, "outbox: two jobs and a stop wait");
    is(await page.getAttribute("#queue li", "data-tries"), "0",
       "outbox: nothing was sent");
    is(await page.isEnabled("#stop"), false, "outbox: a stop is enough");
    await shot(page, "outbox");

    await page.click("#cut");
    await page.waitForSelector("#conn[data-state=live]");
    await page.waitForSelector("#job[data-status=cancelled]");

    is(await waiting(page, 0), 0, "outbox: all are answered");
    await tried(page, "outbox");

    is((await state(await attribute(page, "id"))).status, "cancelled",
       "outbox: sent in their order");

    await page.click("#jobs li:nth-child(2) a");
    is(await finish(page), "whole", "outbox: the first job runs");
    await whole(page, await attribute(page, "id"), "outbox");

    /* the outbox outlives the page, too */

    await page.click("#cut");
    await page.waitForSelector("#conn[data-state=offline]");
    await page.fill("#prompt", "third, offline");
    await page.click("#start");
    await page.waitForSelector("#job[data-status=queued]");
    await page.reload();

    is(await finish(page), "whole", "outbox: kept over a reload");
    is(await waiting(page, 0), 0, "outbox: empty again");

    await page.close();
}


/* the browser's own word that there is no network */

async function offline(context) {
    const page = await open(context);
    const id = await start(page);

    await until(page, 150);
    await context.setOffline(true);
    is(await becomes(page, "conn", "offline"), "offline", "offline: is shown");

    await context.setOffline(false);
    await page.waitForSelector("#conn[data-state=live]");

    is(await finish(page), "whole", "offline: all of the text");
    await whole(page, id, "offline", 400);
    await recovered("offline")(page);
}


/* it fits, and can be read, on a phone and at night */

const looks = (name, viewport, colorScheme) => async () => {
    const what = `${name}, ${colorScheme}`;
    const context = await browser.newContext({ viewport, colorScheme });
    const page = await open(context);

    await shot(page, `${name}-${colorScheme}-hello`);
    await start(page, "Does this fit on a screen of any width, "
                      + "with-a-word-that-is-rather-long-as-they-go-"
                      + "in-some-languages-and-in-some-addresses?");
    await until(page, 600);
    await shot(page, `${name}-${colorScheme}-running`);

    is(await page.evaluate(() =>
        document.documentElement.scrollWidth > window.innerWidth
        || document.documentElement.scrollHeight > window.innerHeight),
       false, `${what}: nothing sticks out`);

    for (const id of [ "prompt", "start", "stop", "output", "conn" ]) {
        const box = await (await page.$(`#${id}`)).boundingBox();

        ok(box && box.x >= 0 && box.x + box.width <= viewport.width,
           `${what}: ${id} is on the screen`, JSON.stringify(box));
    }

    if (name == "phone") {
        await page.click("summary");
    }

    ok(await page.isVisible("#cursor") && await page.isVisible("#cut"),
       `${what}: the connection is shown`);

    const [ front, back ] = await page.evaluate(() => {
        const style = getComputedStyle(document.body);

        return [ style.color, style.backgroundColor ].map(
            c => Math.max(...c.match(/\d+/g).slice(0, 3).map(Number)));
    });

    ok(colorScheme == "dark" ? front > 200 && back < 40
                             : front < 60 && back > 220,
       `${what}: can be read`, `${front} on ${back}`);

    await finish(page);
    await shot(page, `${name}-${colorScheme}-done`);
    await context.close();
};


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


/* the connection that comes after it, not the one before */

const reconnects = action => async (page, n) => {
    await action();
    await page.waitForFunction(
            text => document.getElementById("connects").textContent == text
                    || document.getElementById("job").dataset.status
                       != "running",
            `${n + 2} times`, { polling: 20 });
};


async function main() {
    browser = await chromium.launch({
        executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
        args: [ "--no-sandbox", "--disable-gpu", "--disable-quic",
                "--no-first-run", "--disable-background-networking",
                "--disable-component-update", "--disable-sync" ]
    });

    try {
        await together(users, answer, stopped, foreign);

        await together(secondTab,
                       outbox,
                       c => interrupted(c, "page reload", 2, undefined,
                                        reloadPage),
                       c => interrupted(c, "cut", 2, 400, cut)
                            .then(recovered("cut", "cut")));
        await together(looks("phone", PHONE, "light"),
                       looks("phone", PHONE, "dark"),
                       looks("desk", DESK, "light"),
                       looks("desk", DESK, "dark"));

        /* of these a browser tells: the wrong password */

        is(complaints.filter(c => !/^console: .* 401 .*\/login$/.test(c))
                     .join("\n"), "", "no errors in the browser's console");

        await together(offline);

        if (master) {
            await together(c => interrupted(c, "nginx reload", 2, 400,
                                            reconnects(reloadServer))
                                .then(recovered("nginx reload", "nginx")));
            await together(c => interrupted(c, "worker kill", 2, 400,
                                            reconnects(killWorkers))
                                .then(recovered("worker kill")));
        }

        /* and of each connection that breaks */

        is(complaints.filter(c => !/^console: .*(ERR_|WebSocket|401)/.test(c))
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
