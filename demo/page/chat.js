/*
 * The chat of the demo of ngx_http_rtbus_module.
 *
 *     /login                a token for a name and a password
 *     /v1/chat/completions  the model; nginx keeps what it answers as the job
 *                           that the header "X-Chat-Id" names
 *     /chat/<id>/stream     the same answer again, and what is still to come
 *     /chat/<id>/stop       ends it
 *     /chat/<id>/state      its text, when it is over for long
 *
 * #chat=<id> in the address is the chat, whose messages are in sessionStorage;
 * each of its answers is a job of its own.  #watch=<id of a job> looks on, over
 * Socket.IO, from whatever browser of the same user.
 */

"use strict";


const WORDS = {
    running: "Answering",
    completed: "Done",
    cancelled: "Stopped",
    interrupted: "Interrupted",
    failed: "Failed",
    refused: "Refused: you have no such answer"
};

const $ = id => document.getElementById(id);


/* sessionStorage: who it is, as in page.js, and the chats of this tab */

const kept = name => {
    try {
        return JSON.parse(sessionStorage.getItem(name)) || {};

    } catch (e) {
        return {};                  /* forbidden: this page forgets */
    }
};

const keep = (name, value) => {
    try {
        sessionStorage.setItem(name, JSON.stringify(value));

    } catch (e) {
        /* the same */
    }
};

const me = { user: "", token: "", ...kept("rtbus") };
const chats = kept("rtbus-chats");

let chat = null;                    /* { id, messages } */
let turn = null;                    /* the answer that is shown, or NULL */
let socket = null;

/* the network of this page, while somebody has cut it */

let reading = new AbortController();
let mended = Promise.resolve();
let mend = null;


/* requests */


const wait = ms => new Promise(resolve => setTimeout(resolve, ms));

const ask = (path, options) => fetch(path, {
    ...options,
    signal: reading.signal,
    headers: { Authorization: `Bearer ${me.token}`, ...options?.headers }
});


async function login(user, password) {
    const bytes = new TextEncoder().encode(`${user}:${password}`);

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

    signIn(user, (await r.text()).trim());
    fromAddress();
}


function signIn(user, token) {
    Object.assign(me, { user, token });
    keep("rtbus", { ...kept("rtbus"), user, token });
    notice("");
}


/* an answer */


function newTurn(id, question) {
    turn = { id, question, text: "", status: "running", over: "–", events: 0,
             resumed: 0, cursor: "", error: "" };
    show();

    return turn;
}


/* event: { id, data } of the stream; true: it was the last one */

function onEvent(t, event) {
    if (event.id) {
        t.cursor = event.id;
    }

    if (event.data == "[DONE]") {
        t.status = "completed";
        return true;
    }

    return onChunk(t, JSON.parse(event.data));
}


function onChunk(t, chunk) {
    if (chunk.error) {
        t.status = { cancelled: "cancelled", interrupted: "interrupted" }
                   [chunk.error.type] || "failed";
        t.error = chunk.error.message || "";
        return true;
    }

    t.events++;
    t.text += chunk.choices?.[0]?.delta?.content || "";

    return false;
}


/* true: it has come to its end; false: the stream broke off before */

async function read(t, response) {
    const reader = response.body.pipeThrough(new TextDecoderStream())
                                .getReader();
    let text = "", ended = false;

    for ( ;; ) {
        const { done, value } = await reader.read();

        if (done || t != turn) {
            return ended;
        }

        text += value;

        const blocks = text.split("\n\n");

        text = blocks.pop();

        for (const block of blocks) {
            const event = {};

            for (const line of block.split("\n")) {
                const m = /^(id|data): ?(.*)$/.exec(line);

                if (m) {
                    event[m[1]] = m[2];
                }
            }

            /* a comment keeps the connection alive */

            if (event.data !== undefined && onEvent(t, event)) {
                ended = true;
            }
        }

        show();
    }
}


/* the request, or the replay from where this page is, until it is over */

async function follow(t, request) {
    while (t == turn && t.status == "running") {
        try {
            const r = request ? await request()
                      : await ask(`chat/${t.id}/stream`, t.cursor
                                  ? { headers: { "Last-Event-ID": t.cursor } }
                                  : {});

            if (r.status == 200) {
                t.over = request ? "fetch" : "fetch, replayed";
                t.resumed += request ? 0 : 1;
                request = null;
                show();

                if (await read(t, r)) {
                    break;
                }

            } else if (request && r.status != 409) {
                t.status = "failed";
                t.error = `${r.status} ${r.statusText}`;
                break;
            }

            request = null;

            if (r.status == 204) {
                await fromState(t);
            }

        } catch (e) {

            /* no network, or it broke off: what was asked is nginx's now */

            request = null;
        }

        if (t.status == "running") {
            t.over = "–";
            show();
            await (mend ? mended : wait(1000));
        }
    }

    if (t == turn) {
        finish(t);
    }
}


/* over for so long that there is no replay any more */

async function fromState(t) {
    const r = await ask(`chat/${t.id}/state`);

    if (!r.ok) {
        t.status = (r.status < 500) ? "refused" : "running";
        return;
    }

    const state = await r.json();

    if (state.status && state.status != "running") {
        t.over = "its state";
        t.text = state.output || "";
        t.status = state.status;
    }
}


function finish(t) {
    if (chat && t.id == turnId(chat)) {
        chat.messages.push({ role: "assistant", content: t.text,
                             status: t.status });
        keep("rtbus-chats", chats);
    }

    show();
}


/* a chat: question, answer, question ... */


const turnId = c => `${c.id}-${Math.ceil(c.messages.length / 2)}`;


function send(prompt) {
    if (!chat) {
        const random = crypto.getRandomValues(new Uint8Array(6));
        const id = Array.from(random, n => n.toString(16).padStart(2, "0"))
                        .join("");

        chat = chats[id] = { id, messages: [] };
        history.replaceState(null, "", `#chat=${id}`);
    }

    chat.messages.push({ role: "user", content: prompt });
    keep("rtbus-chats", chats);

    const t = newTurn(turnId(chat), prompt);

    follow(t, () => ask("v1/chat/completions", {
        method: "POST",
        headers: { "Content-Type": "application/json", "X-Chat-Id": t.id },
        body: JSON.stringify({
            model: "nonsense-1", stream: true,
            messages: chat.messages.map(({ role, content }) =>
                                        ({ role, content }))
        })
    }));
}


function cutOrMend() {
    if (mend) {
        reading = new AbortController();
        mend();
        mend = null;

    } else {
        mended = new Promise(resolve => { mend = resolve; });
        reading.abort();
    }

    show();
}


async function stop() {
    const t = turn;

    try {
        const r = await ask(`chat/${t.id}/stop`, { method: "POST" });

        notice(r.ok ? "" : `Not stopped: ${r.status} ${r.statusText}`);

    } catch (e) {
        notice(`Not stopped: ${e.message}`);
    }
}


/* looking on, over Socket.IO */


function watch(id) {
    const t = newTurn(id, "");

    socket = io({ auth: { token: me.token }, forceNew: true });

    socket.on("connect", () => {
        t.over = "Socket.IO";
        show();

        if (socket.recovered) {
            t.resumed++;
            return;
        }

        socket.emit("subscribe", { channel: `chat:${id}`, state: true },
                    answer =>
        {
            if (!answer.ok) {
                t.status = "refused";
                show();
            }
        });
    });

    socket.on("state", state => {
        t.text = state.output || "";
        t.status = state.status || "running";
        show();
    });

    socket.on("message", (chunk, cursor) => {
        t.cursor = cursor || t.cursor;

        if (chunk != "[DONE]") {
            onChunk(t, chunk);
        }

        show();
    });

    socket.on("capture:end", end => {
        t.status = end.status;
        show();
    });

    socket.on("connect_error", e => {
        if (!socket.active) {
            notice(`The server rejected this token: ${e.message}`);
        }
    });

    socket.on("disconnect", () => {
        t.over = "–";
        show();
    });
}


/* showing it */


function paragraph(message) {
    const p = document.createElement("p");

    p.className = (message.role == "user") ? "asked" : "answered";
    p.textContent = message.content;

    return p;
}


function show() {
    const scroll = $("scroll");
    const atEnd = scroll.scrollHeight - scroll.scrollTop
                  - scroll.clientHeight < 60;
    const watching = socket != null;
    const running = turn != null && turn.status == "running";

    $("login").hidden = (me.user != "");
    $("logout").hidden = (me.user == "");
    $("form").hidden = (me.user == "" || watching && !running);
    $("prompt").hidden = $("start").hidden = watching;
    $("start").disabled = running || mend != null;
    $("stop").disabled = !running || mend != null;
    $("hello").hidden = (me.user == "" || turn != null);
    $("job").hidden = (turn == null);

    const lost = running && turn.over == "–" && turn.cursor != "";

    const [ state, word ] = me.user == "" ? [ "idle", "signed out" ]
                            : mend ? [ "offline", "offline" ]
                            : lost ? [ "waiting", "reconnecting" ]
                            : [ "live", me.user ];

    setText("conn", word);
    $("conn").dataset.state = state;

    $("cut").disabled = (me.user == "" || watching);
    setText("cut", mend ? "Restore the network" : "Cut the network");

    if (turn) {
        $("job").dataset.id = turn.id;
        $("job").dataset.status = turn.status;
        $("second-tab").href = `#watch=${turn.id}`;
        $("second-tab").hidden = watching;
        $("question").hidden = (turn.question == "");

        setText("question", turn.question);
        setText("output", turn.text);
        setText("status", WORDS[turn.status]
                          + (turn.error ? `: ${turn.error}` : ""));
        setText("transport", turn.over);
        setText("events", String(turn.events));
        setText("resumed", turn.resumed ? String(turn.resumed) : "–");
        setText("cursor", turn.cursor || "–");
    }

    /* what came before the question that is shown */

    const before = chat && turn && !watching
                   ? chat.messages.slice(0, chat.messages.length
                         - (chat.messages.length % 2 ? 1 : 2)) : [];

    if ($("history").children.length != before.length) {
        $("history").replaceChildren(...before.map(paragraph));
    }

    if (atEnd) {
        scroll.scrollTop = scroll.scrollHeight;
    }
}


function setText(id, text) {
    if ($(id).textContent != text) {
        $(id).textContent = text;
    }
}


function notice(text) {
    setText("notice", text);
    $("notice").hidden = (text == "");
}


function fromAddress() {
    const address = new URLSearchParams(location.hash.slice(1));
    const watched = address.get("watch");

    socket?.disconnect();
    socket = null;
    turn = null;
    chat = chats[address.get("chat")] || null;

    if (me.user == "") {
        chat = null;

    } else if (/^[A-Za-z0-9_-]{1,64}$/.test(watched || "")) {
        chat = null;
        watch(watched);

    } else if (chat) {
        const last = chat.messages[chat.messages.length - 1];
        const over = (last.role == "assistant");
        const asked = chat.messages[chat.messages.length - (over ? 2 : 1)];
        const t = newTurn(turnId(chat), asked.content);

        if (over) {
            t.text = last.content;
            t.status = last.status;

        } else {
            follow(t);
        }
    }

    show();
}


$("login").onsubmit = e => {
    e.preventDefault();
    login($("name").value, $("password").value)
        .catch(e => notice(`No token: ${e.message}`));
};

$("logout").onclick = () => {
    signIn("", "");
    fromAddress();
};

$("form").onsubmit = e => {
    const prompt = $("prompt").value.trim();

    e.preventDefault();

    if (prompt != "" && turn?.status != "running" && !mend) {
        $("prompt").value = "";
        send(prompt);
    }
};

$("prompt").onkeydown = e => {
    if (e.key == "Enter" && !e.shiftKey && !e.isComposing) {
        e.preventDefault();
        $("form").requestSubmit();
    }
};

$("stop").onclick = stop;
$("cut").onclick = cutOrMend;

$("new").onclick = () => {
    location.hash = "";
    $("prompt").focus();
};

window.onhashchange = fromAddress;


/* on a phone it takes one line, else it is beside the text */

const wide = window.matchMedia("(min-width: 64rem)");

wide.onchange = () => {
    $("more").open = wide.matches;
};

wide.onchange();
fromAddress();
