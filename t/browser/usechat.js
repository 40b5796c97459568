/*
 * useChat({ resume: true }) of the AI SDK in Chromium, driven by playwright,
 * before conf/llm.conf: pages are loaded again, tabs are opened and one of them
 * stops, nginx is reloaded and its workers are killed.  What the pages show has to
 * be what the model has said.
 *
 *     node t/browser/usechat.js '{ "nginx": 8080, "upstream": 3000,
 *                                  "root": "/tmp/pages", "pid": 1 }'
 *
 * The server has to run already; the model is in here.  Prints TAP.  CHROMIUM is
 * the browser's program (/usr/bin/chromium).
 */

"use strict";


const fs = require("fs");
const http = require("http");
const path = require("path");
const esbuild = require("esbuild");
const { chromium } = require("playwright-core");


const TIMEOUT = 30000;

const conf = JSON.parse(process.argv[2]);
const url = `http://127.0.0.1:${conf.nginx}`;

/* by which names the page knows its packages, and what they are */

const VERSIONS = {
    "ai 7": {
        "workflow-transport": "@ai-sdk/workflow/client"
    },
    "ai 6": {
        "ai": "ai6",
        "@ai-sdk/react": "ai-sdk-react3",
        "workflow-transport": "@workflow/ai"
    }
};

let count = 0;
let failed = 0;
let browser;


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


/* texts are long: only where they part */

function same(got, expected, name) {
    let n = 0;

    while (n < got.length && got[n] === expected[n]) {
        n++;
    }

    ok(got === expected, name, `equal up to ${n} of ${got.length} and `
       + `${expected.length}: ${JSON.stringify(got.slice(n - 20, n + 60))}`);
}


/* no word waits for Redis, so who asked may have had one when the stop came there */

function stopped(got, kept, name) {
    ok(got.startsWith(kept)
       && got.slice(kept.length).split("\n").length <= 3, name,
       JSON.stringify({ got, kept }));
}


async function wait(what, condition, seconds = 20) {
    const end = Date.now() + seconds * 1000;

    while (Date.now() < end) {
        const value = await condition();

        if (value) {
            return value;
        }

        await new Promise(resolve => setTimeout(resolve, 20));
    }

    console.log(`# timed out: ${what}`);
    return undefined;
}


/*
 * The model: says a word every few milliseconds until it is told to end, or its
 * connection is closed.  The answer of a chat: { words, posts, text, end() }.
 */

const answers = {};

const model = http.createServer(async (req, res) => {
    let body = "";

    for await (const part of req) {
        body += part;
    }

    const { id } = JSON.parse(body);
    const answer = answers[id] ??= { posts: 0 };

    let over = false;

    answer.posts++;
    answer.words = 0;
    answer.text = "";
    answer.gone = false;
    answer.end = () => { over = true; };

    res.on("close", () => { answer.gone = true; });

    res.writeHead(200, { "Content-Type": "text/event-stream",
                         "x-vercel-ai-ui-message-stream": "v1" });

    const send = chunk => res.write(`data: ${JSON.stringify(chunk)}\n\n`);

    /* half of the servers give their message a name */

    send(/named/.test(id) ? { type: "start", messageId: `m-${id}` }
                          : { type: "start" });
    send({ type: "start-step" });
    send({ type: "text-start", id: "t" });

    while (!over && !answer.gone) {
        const delta = `${answer.words++} na\u00efve \ud83e\udd86 \\ \n`;

        answer.text += delta;
        send({ type: "text-delta", id: "t", delta });
        await new Promise(resolve => setTimeout(resolve, 10));
    }

    send({ type: "text-end", id: "t" });
    send({ type: "finish-step" });
    send({ type: "finish" });
    res.end("data: [DONE]\n\n");
});


async function bundle() {
    for (const [ version, alias ] of Object.entries(VERSIONS)) {
        const dir = path.join(conf.root, "page", version.replace(" ", ""));

        fs.mkdirSync(dir, { recursive: true });

        await esbuild.build({
            entryPoints: [ path.join(__dirname, "usechat_page.js") ],
            absWorkingDir: path.join(__dirname, "../.."),
            bundle: true, format: "esm", platform: "browser",
            define: { "process.env.NODE_ENV": '"development"' },
            logLevel: "error", outfile: path.join(dir, "page.js"), alias
        });

        fs.writeFileSync(path.join(dir, "index.html"),
            "<!DOCTYPE html><meta charset=utf-8><link rel=icon href=data:,>"
            + "<body><script type=module src=page.js></script>");
    }
}


async function visit(context, version, id, more = "") {
    const page = await context.newPage();

    page.setDefaultTimeout(TIMEOUT);
    page.on("pageerror", e => ok(false, "no error in the page", e.stack));

    await page.goto(`${url}/page/${version.replace(" ", "")}/index.html`
                    + `?id=${id}${more}`);
    await page.waitForSelector("main", { state: "attached" });

    return page;
}


const attribute = (page, name) => page.getAttribute("main", `data-${name}`);
const seen = page => page.evaluate(() => window.seen);

/* of what the model has said a page shows one message */

const text = async page => (await page.locator("p.assistant")
    .allTextContents()).join("\n-- and another one --\n");

const status = (page, ...expected) => wait(`status ${expected}`,
    async () => expected.includes(await attribute(page, "status")));

const shows = (page, words) => wait(`${words} words`,
    async () => (await text(page)).includes(`${words} na`));


const state = async id =>
    (await fetch(`${url}/api/chat/${id}/state`)).json();


async function begins(context, version, id, more) {
    const page = await visit(context, version, id, more);

    await page.evaluate(() => window.say("Why is the sky blue?"));
    await shows(page, 5);

    return page;
}


async function whole(page, id, name) {
    ok(await status(page, "ready"), `${name}: ready`);
    same(await text(page), answers[id].text, `${name}: all of the text, once`);
    is(await attribute(page, "error"), "", `${name}: no error`);
}


/* nothing runs: nothing is shown, and nobody complains */

async function nothing(context, version) {
    const page = await visit(context, version, "nothing");

    ok(await status(page, "ready"), `${version}, nothing runs: ready`);
    is(await page.locator("p").count(), 0, `${version}, nothing runs: no message`);
    is((await seen(page)).errors.join(), "", `${version}, nothing runs: no error`);

    await page.close();
}


async function reloads(context, version, id, more = "") {
    const name = `${version}, reloads${more && `, ${more.slice(1)}`}`;
    const page = await begins(context, version, id, more);

    for (let n = 1; n <= 5; n++) {
        await page.reload();
        await page.waitForSelector("main", { state: "attached" });
        ok(await shows(page, answers[id].words + 10), `${name}: ${n}`);
    }

    const second = await visit(context, version, id, more);

    ok(await shows(second, answers[id].words), `${name}: a second tab`);

    answers[id].end();

    await whole(page, id, name);
    await whole(second, id, `${name}, second tab`);
    is(answers[id].posts, 1, `${name}: the model was asked once`);
    is(await page.locator("p.user").count(), 1, `${name}: the question`);

    await second.close();
    await page.close();
}


/* the finished answer is shown once more while it is there */

async function late(context, version, id) {
    const page = await visit(context, version, id);

    ok(await shows(page, answers[id].words - 1), `${version}, late: it is shown`);
    await whole(page, id, `${version}, late`);
    await page.close();
}


async function stops(context, version, id) {
    const name = `${version}, stop`;
    const first = await begins(context, version, id);
    const second = await visit(context, version, id);

    await shows(second, answers[id].words);
    await second.evaluate(() => window.stopHere());

    ok(await status(first, "ready"), `${name}: the first tab is ready`);
    ok(await status(second, "ready"), `${name}: so is the second one`);
    ok(await wait("the model", () => answers[id].gone),
       `${name}: the model is left`);

    const s = await state(id);

    is(s.status, "cancelled", `${name}: cancelled`);
    stopped(await text(first), s.output, `${name}: the text of the state`);
    same(await text(second), s.output, `${name}: in both tabs`);
    is((await seen(first)).errors.join(), "", `${name}: no error`);

    /* and the chat goes on */

    await first.evaluate(() => window.say("And then?"));
    ok(await wait("another answer", () => answers[id].posts == 2),
       `${name}: free again`);
    await wait("some words", () => answers[id].words > 5);
    answers[id].end();
    await status(first, "ready");
    is(await first.locator("p.assistant").last().textContent(),
       answers[id].text, `${name}: the next answer`);

    await first.close();
    await second.close();
}


/* who leaves stops nothing */

async function leaves(context, version, id) {
    const name = `${version}, stop() alone`;
    const page = await begins(context, version, id);

    await page.evaluate(() => window.leave());
    ok(await status(page, "ready"), `${name}: ready`);

    const had = answers[id].words;

    ok(await wait("more words", () => answers[id].words > had + 20),
       `${name}: the model goes on`);

    await page.reload();
    ok(await shows(page, had + 20), `${name}: it is resumed`);
    answers[id].end();
    await whole(page, id, name);
    await page.close();
}


/* the transport that counts parts, which resumes a run that is under way */

async function workflow(context, version, id) {
    const name = `${version}, WorkflowChatTransport`;
    const page = await begins(context, version, id, "&transport=workflow");

    for (let n = 1; n <= 2; n++) {
        await page.reload();
        ok(await shows(page, answers[id].words + 10), `${name}: reload ${n}`);
    }

    answers[id].end();
    await whole(page, id, name);
    is(answers[id].posts, 1, `${name}: the model was asked once`);

    /* it knows no answer that was stopped, and asks for its rest, once */

    await page.evaluate(() => window.say("And then?"));
    await wait("another answer", () => answers[id].posts == 2);
    await wait("some words", () => answers[id].words > 5);

    let asked = 0;

    page.on("request", r => { asked += /startIndex/.test(r.url()); });

    await page.evaluate(() => window.stopHere());
    ok(await status(page, "error"), `${name}: a stop is an error`);
    ok(/404/.test(await attribute(page, "error")), `${name}: that of 404`,
       await attribute(page, "error"));
    is(asked, 1, `${name}: it asks once more`);
    stopped(await page.locator("p.assistant").last().textContent(),
            (await state(id)).output, `${name}: with all of the text`);
    await page.close();
}


/*
 * Of all versions at a time: a tab that asked and one that looks on, and the
 * workers of nginx are others, or dead.
 */

async function pairs(context, what) {
    const all = [];

    for (const version of Object.keys(VERSIONS)) {
        const id = `${what}-${version.replace(" ", "")}`;
        const more = version == "ai 6" ? "&chat" : "";
        const first = await begins(context, version, id, more);
        const second = await visit(context, version, id, more);

        await shows(second, answers[id].words);
        all.push({ version, id, tabs: { "who asked": first,
                                        "who looks on": second } });
    }

    return all;
}


const workers = () => fs.readFileSync(
    `/proc/${conf.pid}/task/${conf.pid}/children`, "latin1").trim().split(" ")
    .map(Number);


async function reloaded(context) {
    const all = await pairs(context, "reload");
    const old = workers();

    process.kill(conf.pid, "SIGHUP");

    ok(await wait("new workers", () => workers().some(w => !old.includes(w))),
       "nginx reload: new workers");

    for (const { version, id, tabs } of all) {
        for (const [ who, page ] of Object.entries(tabs)) {
            ok(await shows(page, answers[id].words + 20),
               `${version}, nginx reload: ${who} reads on`);
        }

        answers[id].end();

        for (const [ who, page ] of Object.entries(tabs)) {
            await whole(page, id, `${version}, nginx reload, ${who}`);
            await page.close();
        }
    }
}


async function killed(context) {
    const all = await pairs(context, "kill");
    const began = Date.now();

    for (const pid of workers()) {
        process.kill(pid, "SIGKILL");
    }

    for (const { version, tabs } of all) {
        for (const [ who, page ] of Object.entries(tabs)) {
            ok(await wait("the error part", async () =>
                    /interrupted|broke/i.test(await attribute(page, "error")),
                    20 - (Date.now() - began) / 1000),
               `${version}, kill: ${who} is told`,
               `${await attribute(page, "status")} `
               + `"${await attribute(page, "error")}"`);
            is(await attribute(page, "status"), "error",
               `${version}, kill: ${who} has an error`);
        }
    }

    ok(Date.now() - began < 20000, "kill: within 20 s", Date.now() - began);

    for (const { version, id, tabs } of all) {
        const s = await state(id);

        is(s.status, "interrupted", `${version}, kill: interrupted`);

        for (const [ who, page ] of Object.entries(tabs)) {
            same(await text(page), s.output,
               `${version}, kill: ${who} has what there is, once`);
            await page.close();
        }
    }
}


async function main() {
    await new Promise(done => model.listen(conf.upstream, "127.0.0.1", done));
    await bundle();

    browser = await chromium.launch({
        executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
        args: [ "--no-sandbox", "--disable-gpu", "--disable-quic",
                "--no-first-run", "--disable-background-networking",
                "--disable-component-update", "--disable-sync" ]
    });

    try {
        const context = await browser.newContext();

        for (const version of Object.keys(VERSIONS)) {
            const v = version.replace(" ", "");

            await nothing(context, version);
            await reloads(context, version, `reload-${v}-1`);
            await late(context, version, `reload-${v}-1`);
            await reloads(context, version, `named-${v}`, "&strict");
            await stops(context, version, `stop-${v}`);
            await leaves(context, version, `leave-${v}`);
            await workflow(context, version, `workflow-${v}`);
        }

        await reloaded(context);
        await killed(context);

    } finally {
        await browser.close();
        model.close();
        model.closeAllConnections();
    }
}


main().catch(e => ok(false, "the browser did what it was told", e.stack))
    .finally(() => {
        console.log(`1..${count}`);
        process.exitCode = failed ? 1 : 0;
    });
