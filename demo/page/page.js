/*
 * The demo page of ngx_http_rtbus_module.
 *
 * It has the stock client of Socket.IO, and no code of its own for what that
 * does: it connects again, says where it was, and gets what it has missed;
 * what is emitted is sent again until there is an answer.
 *
 *     /login          a token for a name and a password
 *     job:start:v1    a command with {jobId,prompt,ackId}
 *     task:cancel:v1  a command with {jobId,ackId}
 *     subscribe       {channel,state:true}: the state of a job, with its text
 *                     so far, and then the events after it
 *     /status         what nginx has counted, for the numbers beside it
 *
 * "ackId" is what makes a command that is sent twice one command.
 *
 * #job=<id> in the address is the job that is shown: it is there again after
 * a reload, and in a second tab.  The token, the jobs and the outbox are in
 * sessionStorage: they are this tab's.
 */

"use strict";


const ENDED = [ "completed", "cancelled", "failed", "refused" ];

const WORDS = {
    "": "Waiting",
    queued: "In the outbox",
    running: "Answering",
    completed: "Done",
    cancelled: "Stopped",
    failed: "Failed",
    refused: "Refused"
};

const $ = id => document.getElementById(id);

const encoder = new TextEncoder();
const utf8Length = text => encoder.encode(text).length;


/* what is kept over a reload */

const kept = { user: "", token: "", jobs: [], queue: [], tried: [] };

let socket = null;
let connects = 0;
let cursor = "";
let cut = false;
let mended = false;

const followed = new Map();     /* jobs by id */
let job = null;                 /* the one that is shown */


function restore() {
    try {
        Object.assign(kept, JSON.parse(sessionStorage.getItem("rtbus")));

    } catch (e) {
        /* forbidden: this page forgets */
    }
}


function keep() {
    try {
        sessionStorage.setItem("rtbus", JSON.stringify(kept));

    } catch (e) {
        /* the same */
    }
}


function randomId() {
    const random = crypto.getRandomValues(new Uint8Array(6));

    return Array.from(random, n => n.toString(16).padStart(2, "0")).join("");
}


/* users */


async function login(user, password) {
    const bytes = encoder.encode(`${user}:${password}`);
    let token;

    try {
        const r = await fetch("login", {
            headers: { Authorization: "Basic "
                                      + btoa(String.fromCharCode(...bytes)) },
            credentials: "omit"
        });

        if (!r.ok) {
            notice(r.status == 401 ? "Wrong name or password."
                                   : `No token: ${r.status} ${r.statusText}`);
            return;
        }

        token = (await r.text()).trim();

    } catch (e) {
        notice(`No token: ${e.message}`);
        return;
    }

    logout();

    kept.user = user;
    kept.token = token;
    keep();
    connect();

    /* a job of somebody else stays open: the server has its say */

    fromAddress();
}


function logout() {
    if (socket) {
        socket.offAny();
        socket.disconnect();
        socket = null;
    }

    connects = 0;
    cursor = "";
    cut = false;
    job = null;
    followed.clear();

    kept.user = "";
    kept.token = "";
    keep();

    notice("");
    show();
}


/* the connection */


function connect() {
    socket = io({
        auth: { token: kept.token },
        forceNew: true,
        reconnectionDelayMax: 2000,
        retries: 100,
        ackTimeout: 8000            /* nginx waits for a producer for 5 s */
    });

    socket.on("connect", () => {
        connects++;

        /* it goes on where it was, or begins with the state */

        if (!socket.recovered) {
            for (const j of followed.values()) {
                j.joined = false;
                join(j);
            }

        } else if (mended) {
            tried("cut");
        }

        mended = false;

        show();
    });

    socket.on("disconnect", show);

    socket.on("connect_error", e => {
        if (!socket.active) {
            logout();
            notice(`The server rejected this token: ${e.message}`);
        }

        show();
    });

    socket.io.on("reconnect_attempt", show);

    socket.onAny((name, ...args) => {
        const last = args[args.length - 1];

        if (args.length > 1 && typeof last == "string") {
            cursor = last;
        }

        onEvent(name, args[0]);
        show();
    });

    socket.onAnyOutgoing((name, data) => {
        const c = kept.queue.find(c => c.data.ackId === (data && data.ackId));

        if (c) {
            c.tries++;
            show();
        }
    });

    for (const c of kept.queue) {
        if (c.user == kept.user) {
            c.tries = 0;
            send(c);
        }
    }

    for (const known of kept.jobs) {
        if (known.user == kept.user && !ENDED.includes(known.status)) {
            follow(known.id);
        }
    }

    show();
}


function cutOrMend() {
    cut = !cut;
    socket.io.reconnection(!cut);

    if (cut) {
        socket.io.engine.close();

    } else {
        mended = true;
        socket.connect();
    }

    show();
}


/* the outbox: commands that nobody has answered yet */


function command(event, data) {
    const c = { event, user: kept.user, tries: 0, early: !socket.connected,
                data: { ...data, ackId: randomId() } };

    kept.queue.push(c);
    keep();
    send(c);
    show();
}


function send(c) {
    const over = socket;

    socket.emit(c.event, c.data, (error, answer) => {
        if (socket != over) {
            return;
        }

        if (error || answer.error == "unavailable"
            || answer.error == "rate limited"
            || answer.error == "too many requests")
        {
            setTimeout(() => {
                if (socket == over) {
                    send(c);
                }
            }, answer?.retryAfter || 1000);
            return;
        }

        kept.queue = kept.queue.filter(other => other != c);
        keep();
        answered(c, answer);
        show();
    });
}


function answered(c, answer) {
    if (c.event != "job:start:v1") {
        if (!answer.ok) {
            notice(`Not stopped: ${answer.error}`);
        }

        return;
    }

    const j = follow(c.data.jobId);

    if (c.early && answer.ok) {
        tried("outbox");
    }

    /* the command is in Redis, and the next producer will take it */

    if (answer.error == "timeout") {
        notice("No producer has answered yet. Is it running?");

    } else if (!answer.ok) {
        j.message = answer.error;
        setStatus(j, "failed");
        return;
    }

    setStatus(j, "");
    join(j);
}


function starting(id) {
    return kept.queue.some(c => c.event == "job:start:v1" && c.data.jobId == id);
}


/* jobs: those that run, and the one that is shown */


function follow(id) {
    const known = kept.jobs.find(k => k.id == id);

    let j = followed.get(id);

    if (j) {
        return j;
    }

    j = {
        id,
        channel: `job:${id}`,
        joining: false,
        joined: false,
        stale: false,           /* the state comes next */

        prompt: known ? known.prompt : "",
        status: starting(id) ? "queued" : "",
        message: "",
        progress: 0,
        tokens: 0,

        text: "",
        bytes: 0,               /* of text */
        begun: 0,               /* bytes that came with the state */
        doubled: 0,
        missing: 0,
        whole: "",              /* "yes" or "no" once it is known */

        position: "",           /* of the last event */
        events: 0,              /* that came one by one, */
        astray: 0               /* and those of them not in their turn */
    };

    followed.set(id, j);
    join(j);

    return j;
}


function join(j) {
    const over = socket;

    if (!socket || j.joining || ENDED.includes(j.status) || starting(j.id)) {
        return;
    }

    j.joining = true;

    socket.emit("subscribe", { channel: j.channel, state: true },
                (error, answer) =>
    {
        j.joining = false;

        if (socket != over) {
            return;
        }

        if (!error && answer.ok) {
            j.joined = true;

            if (ENDED.includes(j.status)) {
                leave(j);
            }

        } else if (!error && answer.error == "forbidden") {
            setStatus(j, "refused");

        } else {
            setTimeout(() => {
                if (socket == over) {
                    join(j);
                }
            }, 1000);
        }

        show();
    });
}


function leave(j) {
    if (j.joined) {
        j.joined = false;
        socket.emit("unsubscribe", { channel: j.channel });
    }
}


/* where the cursor stands in a channel: [ epoch, seq ], or null */

function place(channel) {
    for (const part of cursor.split(",")) {
        const [ name, position ] = part.split("@");

        if (name == channel && position) {
            return position.split("-").map(Number);
        }
    }

    return null;
}


/* events count 1, 2, 3 ... in their channel */

function inTurn(j) {
    const now = place(j.channel);
    const last = j.position && j.position.split("-").map(Number);

    if (!now || (last && now[0] == last[0] && now[1] == last[1])) {
        return;                 /* a live event, which has no position */
    }

    if (last && (now[0] != last[0] || now[1] != last[1] + 1)) {
        j.astray++;
    }

    j.events++;
    j.position = now.join("-");
}


function onEvent(name, data) {
    let j;

    if (!data || typeof data != "object") {
        return;
    }

    if (name == "server:shutdown") {
        tried("nginx");
        return;
    }

    if (name == "sync:gap" || name == "sync:refused") {
        j = followed.get(data.channel.replace("job:", ""));

        if (j && name == "sync:refused") {
            setStatus(j, "refused");

        } else if (j) {

            /* events are no longer there: what they said is in the state */

            leave(j);
            j.position = "";
            j.stale = true;
            join(j);
        }

        return;
    }

    j = followed.get(data.jobId);

    if (!j) {
        return;
    }

    if (name == "state") {
        onState(j, data);
        return;
    }

    if (j.stale) {
        return;
    }

    inTurn(j);

    switch (name) {

    case "model:start:v1":
        setStatus(j, "running");
        break;

    case "model:chunk:v1":
        setStatus(j, "running");
        onChunk(j, data);
        break;

    case "task:progress:v1":
        j.progress = data.progress;
        break;

    case "model:complete:v1":
        j.whole = (j.text == data.text) ? "yes" : "no";
        j.tokens = data.tokens;
        j.progress = 100;
        j.message = took(data);
        setStatus(j, "completed");
        tried("ask");
        break;

    case "job:cancelled:v1":
        j.tokens = data.tokens;
        j.message = took(data);
        setStatus(j, "cancelled");
        tried("stop");
        break;

    case "model:error:v1":
        j.message = data.error;
        setStatus(j, "failed");
        break;
    }
}


/* the text so far; older than what is here if it was asked for twice */

function onState(j, state) {
    const [ epoch, seq ] = state.position.split("-").map(Number);
    const last = j.position.split("-").map(Number);

    if (last[0] == epoch && last[1] > seq) {
        return;
    }

    j.stale = false;
    j.position = state.position;
    j.text = state.output || "";
    j.bytes = utf8Length(j.text);
    j.begun = j.bytes;
    j.events = 0;
    j.missing = 0;
    j.prompt = state.prompt || j.prompt;
    j.progress = state.progress || 0;
    j.message = state.error || took(state.result);
    j.whole = (state.status == "completed") ? "yes" : "";

    if (state.result) {
        j.tokens = state.result.tokens;
    }

    setStatus(j, state.status || "");
}


/* "offset" says how many bytes of text come before this token */

function onChunk(j, data) {
    if (Number.isInteger(data.offset) && data.offset < j.bytes) {
        j.doubled++;
        return;
    }

    if (Number.isInteger(data.offset) && data.offset > j.bytes) {
        j.missing++;
        j.bytes = data.offset;
    }

    j.text += data.chunk;
    j.bytes += utf8Length(data.chunk);

    if (data.total) {
        j.tokens = data.index;
        j.progress = 100 * data.index / data.total;
    }
}


function took(result) {
    return result && result.duration !== undefined
           ? `${result.tokens} tokens in `
             + `${(result.duration / 1000).toFixed(1)} s` : "";
}


function setStatus(j, status) {
    const known = kept.jobs.find(k => k.id == j.id);

    j.status = status;

    if (ENDED.includes(status)) {
        leave(j);
    }

    if (status == "refused") {
        tried("other");
        return;
    }

    if (known && known.status != status) {
        known.status = status;
        keep();

    } else if (!known && j.prompt) {
        kept.jobs.unshift({ id: j.id, prompt: j.prompt, user: kept.user,
                            status });
        keep();
    }
}


/* what the person has tried */


function tried(what) {
    if (!kept.tried.includes(what)) {
        kept.tried.push(what);
        keep();
        show();
    }
}


/* the server's numbers: once a second, as long as somebody looks */


const rates = Array(60).fill(0);    /* of the last minute, the newest last */
let counters = null;                /* the last ones, to tell what was since */


async function count() {
    if (!document.hidden) {
        try {
            const r = await fetch("status?format=json");

            if (r.status == 403 || r.status == 404) {
                $("server").hidden = true;
                return;
            }

            renderServer(await r.json());

        } catch (e) {
            counters = null;
            renderServer(null);
        }
    }

    setTimeout(count, 1000);
}


const sum = values => Object.values(values).reduce((a, b) => a + b, 0);
const many = (n, what) => `${n} ${what}${n == 1 ? "" : "s"}`;


function renderServer(now) {
    let rate = null, lag = null;

    if (now) {
        const ages = now.rtbus_delivery_lag_seconds;
        const last = counters;

        counters = {
            time: performance.now(),
            events: sum(now.rtbus_events_delivered_total),
            lags: ages.count,
            lag: ages.sum
        };

        /* nginx may have been restarted */

        if (last && counters.events >= last.events) {
            rate = (counters.events - last.events) * 1000
                   / (counters.time - last.time);
        }

        if (last && counters.lags > last.lags) {
            lag = (counters.lag - last.lag) * 1000
                  / (counters.lags - last.lags);
        }
    }

    rates.push(rate || 0);
    rates.shift();

    const clients = now && sum(now.rtbus_connections);
    const up = now && sum(now.rtbus_redis_up) == 2;

    setText("connections", now ? String(clients) : "–");
    setText("rate", rate == null ? "–" : rate.toFixed(0));
    setText("lag", lag == null ? "–"
                   : `${lag < 10 ? lag.toFixed(1) : lag.toFixed(0)} ms`);
    setText("brief", now ? `${many(clients, "connection")}, `
                           + `${(rate || 0).toFixed(0)} events/s` : "");

    setText("counted", !now ? "No answer."
            : `${many(now.rtbus_workers, "worker")}, `
              + `Redis is ${up ? "up" : "down"}; `
              + `${many(now.rtbus_replayed_events_total, "missed event")} `
              + `replayed, ${many(now.rtbus_gaps_total, "gap")}`);

    $("server").dataset.state = up ? "up" : "away";

    /* the highest of them reaches the top, a few do not */

    const top = Math.max(20, ...rates);
    const points = rates.map((n, i) =>
                             `${i},${(19.5 - 19 * n / top).toFixed(2)}`)
                        .join(" ");

    $("chart").lastElementChild.setAttribute("points", points);
    $("chart").firstElementChild.setAttribute("points",
                                              `0,20 ${points} 59,20`);
}


/* showing it */


let shown = false;

function show() {
    if (!shown) {
        shown = true;
        setTimeout(render, 16);
    }
}


function render() {
    shown = false;

    renderConnection();
    renderOutbox();
    renderJobs();
    renderJob();

    for (const li of document.querySelectorAll("[data-try]")) {
        li.dataset.done = kept.tried.includes(li.dataset.try) ? "yes" : "";
    }

    $("login").hidden = (kept.user != "");
    $("hello").hidden = (kept.user == "" || job != null);
    $("logout").hidden = (kept.user == "");
    $("form").hidden = (kept.user == "");
    $("list").hidden = (kept.user == "");
    $("stop").disabled = !job || ENDED.includes(job.status)
                         || kept.queue.some(c => c.event == "task:cancel:v1"
                                                 && c.data.jobId == job.id);

    for (const button of document.querySelectorAll("[data-user]")) {
        button.hidden = (kept.user == "");
        button.setAttribute("aria-pressed",
                            button.dataset.user == kept.user);
    }
}


function renderConnection() {
    const live = socket && socket.connected;
    let state, text;

    if (!socket) {
        [ state, text ] = [ "idle", "signed out" ];

    } else if (cut || !navigator.onLine) {
        [ state, text ] = [ "offline", "offline" ];

    } else if (live) {
        [ state, text ] = [ "live", "connected" ];

    } else if (connects) {
        [ state, text ] = [ "waiting", "reconnecting" ];

    } else {
        [ state, text ] = [ "waiting", "connecting" ];
    }

    setText("conn", text);
    $("conn").dataset.state = state;

    setText("transport", live ? `Socket.IO, ${socket.io.engine.transport.name}`
                              : "–");
    setText("connects", connects == 1 ? "once"
                                      : connects ? `${connects} times` : "–");
    setText("recovered", !live || connects < 2 ? "–"
                         : socket.recovered ? "yes" : "no, started over");
    setText("cursor", cursor.replaceAll(",", "\n") || "–");

    $("cut").disabled = !live && !cut;
    setText("cut", cut ? "Restore the network" : "Cut the network");
}


function renderOutbox() {
    const items = kept.queue.map(c => {
        const li = document.createElement("li");
        const what = document.createElement("b");

        const about = kept.jobs.find(k => k.id == c.data.jobId);

        what.textContent = c.event;
        li.append(what, ` ${about ? about.prompt : c.data.jobId}`);
        li.dataset.tries = c.tries;

        const how = document.createElement("small");

        how.textContent = c.user != kept.user ? `waits for ${c.user}`
                          : c.tries == 0 ? "not sent yet"
                          : c.tries == 1 ? "sent, no answer yet"
                          : `sent ${c.tries} times, no answer yet`;
        li.append(how);

        return li;
    });

    $("queue").replaceChildren(...items);
    $("queue").dataset.length = items.length;
    $("queue-empty").hidden = (items.length != 0);
    setText("waiting", items.length ? String(items.length) : "");
}


function renderJobs() {
    const list = $("jobs");

    /* only what has changed: a button that is in use is left alone */

    while (list.children.length > kept.jobs.length) {
        list.lastChild.remove();
    }

    kept.jobs.forEach((j, i) => {
        let li = list.children[i];

        if (!li) {
            const a = document.createElement("a");

            a.append(document.createElement("span"));
            li = document.createElement("li");
            li.append(a);
            list.append(li);
        }

        const a = li.firstChild;
        const text = j.prompt || j.id;

        if (a.textContent != text) {
            a.firstChild.textContent = text;
        }

        a.href = `#job=${j.id}`;
        a.title = `${j.user}: ${text}`;
        a.dataset.status = j.status;
        a.dataset.owner = (j.user == kept.user) ? "me" : j.user;
        a.toggleAttribute("aria-current", !!job && job.id == j.id);
    });
}


function renderJob() {
    const box = $("job");

    box.hidden = !job || kept.user == "";

    if (!job) {
        box.dataset.id = box.dataset.status = "";
        return;
    }

    const scroll = $("scroll");
    const atEnd = scroll.scrollHeight - scroll.scrollTop
                  - scroll.clientHeight < 60;

    box.dataset.id = job.id;
    box.dataset.status = job.status;
    box.dataset.whole = job.whole;
    box.dataset.position = job.position;

    $("answer").setAttribute("aria-busy", job.status == "running");
    $("progress").hidden = (job.status != "running");
    $("progress").value = job.progress;
    $("second-tab").href = `#job=${job.id}`;

    setText("question", job.prompt || `Job ${job.id}`);
    setText("status", WORDS[job.status]
                      + (job.message ? `: ${job.message}` : "")
                      + (job.status == "running" && job.tokens
                         ? `, ${job.tokens} tokens` : ""));
    setText("check", describe());

    /* the text grows at its end: keep what is there, and the selection */

    const output = $("output");
    const node = output.firstChild;

    if (node && job.text.startsWith(node.data)) {

        if (node.data.length != job.text.length) {
            node.appendData(job.text.slice(node.data.length));
        }

    } else if (!node || node.data != job.text) {
        output.textContent = job.text;
    }

    if (atEnd) {
        scroll.scrollTop = scroll.scrollHeight;
    }
}


function describe() {

    if (job.status == "refused") {
        return `The server says “forbidden”: ${kept.user} has no such `
               + `job.`;
    }

    if (job.missing || job.doubled || job.astray || job.whole == "no") {
        return `✗ missing pieces: ${job.missing}, doubled tokens: `
               + `${job.doubled}, events out of order: ${job.astray}`;
    }

    if (job.text == "") {
        return "";
    }

    return `✓ nothing missing, nothing doubled: ${job.begun} of ${job.bytes} `
           + `bytes came with the state, the rest in ${job.events} events, in `
           + `order`;
}


function setText(id, text) {
    if ($(id).textContent != text) {
        $(id).textContent = text;
    }
}


function notice(text) {
    $("notice").textContent = text;
    $("notice").hidden = (text == "");
}


/* what the person does */


function startJob(prompt) {
    const id = randomId();

    kept.jobs.unshift({ id, prompt, user: kept.user, status: "queued" });
    command("job:start:v1", { jobId: id, prompt });
    follow(id);
    location.hash = `#job=${id}`;
}


function fromAddress() {
    const id = new URLSearchParams(location.hash.slice(1)).get("job") || "";

    if (kept.user == "") {
        return;
    }

    job = /^[A-Za-z0-9_.-]{1,128}$/.test(id) ? follow(id) : null;

    notice("");
    show();
    $("scroll").scrollTop = 0;
}


$("login").onsubmit = e => {
    e.preventDefault();
    login($("name").value, $("password").value);
};

$("users").onclick = e => {
    const user = e.target.dataset.user;

    if (user && user != kept.user) {
        login(user, user);
    }
};

$("logout").onclick = logout;
$("cut").onclick = cutOrMend;

$("form").onsubmit = e => {
    const prompt = $("prompt").value.trim();

    e.preventDefault();

    if (prompt != "") {
        $("prompt").value = "";
        startJob(prompt);
    }
};

$("prompt").onkeydown = e => {
    if (e.key == "Enter" && !e.shiftKey && !e.isComposing) {
        e.preventDefault();
        $("form").requestSubmit();
    }
};

$("ideas").onclick = e => {
    if (e.target.tagName == "BUTTON") {
        startJob(e.target.textContent);
    }
};

$("stop").onclick = () => command("task:cancel:v1", { jobId: job.id });

$("second-tab").onclick = () => tried("tab");

$("new").onclick = () => {
    location.hash = "";
    $("prompt").focus();
};

$("open").onsubmit = e => {
    e.preventDefault();
    location.hash = `#job=${$("open-id").value}`;
    $("open-id").value = "";
};

window.onhashchange = fromAddress;
window.ononline = window.onoffline = show;


/* on a phone it takes one line, else it is beside the text */

const wide = window.matchMedia("(min-width: 64rem)");

wide.onchange = () => {
    $("more").open = wide.matches;
};

wide.onchange();

restore();

if (kept.user != "") {
    if (performance.getEntriesByType("navigation")[0].type == "reload"
        && kept.jobs.length)
    {
        tried("reload");
    }

    connect();
    fromAddress();
}

show();
count();
