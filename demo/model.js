/*
 * A "language model" for the chat of the demo: it answers the way OpenAI's
 * chat completions do, with nonsense, a token at a time.
 *
 *     node demo/model.js PORT|/path/to/socket [tokens/s]
 *
 * It knows nothing of rtbus: a server that streams, and stops when whoever has
 * asked is gone.
 */

"use strict";


const fs = require("fs");
const http = require("http");


const MAX_BODY = 1 << 20;

const SENTENCES = [
    "Put it into a teapot, and ask the teapot.",
    "Those who know — there are three of them — do not agree. 🦆",
    "In Zürich they serve it cold, with an umbrella on the side.",
    "The lighthouse has been told, and will think about it.",
    "Nobody has ever lost a second hat that way.",
    "Measured in ducks it is seven; in geese, “rather more”.",
    "My cousin Zoë tried it in a lift, and says: never between floors. ☕",
    "The literature is unanimous, but in a language that nobody reads.",
    "An accordion helps; two of them do not.",
    "So the queue is empty, and yet somebody stands in it."
];

const address = process.argv[2];
const rate = Number(process.argv[3] || 25);

if (!address || !(rate > 0)) {
    console.error("usage: node demo/model.js PORT|/path/to/socket [tokens/s]");
    process.exit(2);
}


/* text or { type, text } parts */

function textOf(content) {
    return Array.isArray(content)
           ? content.map(part => part && part.text || "").join("")
           : String(content || "");
}


function compose(messages) {
    const asked = messages.filter(m => m && m.role == "user");
    const last = asked.length ? textOf(asked[asked.length - 1].content) : "";
    const begin = Array.from(last).reduce((n, c) => n + c.codePointAt(0), 0);

    const text = asked.length > 1
                 ? `That is your question number ${asked.length}: “${last}”.`
                 : `You ask: “${last}”.`;

    const chosen = Array.from({ length: 9 }, (_, i) =>
                       SENTENCES[(begin + 3 * i) % SENTENCES.length]);

    return `${text} ${chosen.slice(0, 4).join(" ")}\n\n`
           + chosen.slice(4).join(" ");
}


function answer(body, res) {
    const tokens = compose(body.messages).match(/\s*\S{1,5}/gu);
    const created = Math.floor(Date.now() / 1000);
    const begun = performance.now();
    let sent = 0;

    const send = (choices, more) => res.write("data: " + JSON.stringify({
        id: `chatcmpl-${created}`, object: "chat.completion.chunk", created,
        model: "nonsense-1", choices, ...more
    }) + "\n\n");

    const delta = (delta, reason) =>
        send([ { index: 0, delta, finish_reason: reason || null } ]);

    res.writeHead(200, { "Content-Type": "text/event-stream",
                         "Cache-Control": "no-cache" });
    delta({ role: "assistant", content: "" });

    /* as many as are due: timers are not quick enough for a high rate */

    const timer = setInterval(() => {
        const due = (performance.now() - begun) * rate / 1000;

        while (sent < tokens.length && sent < due) {
            delta({ content: tokens[sent++] });
        }

        if (sent < tokens.length) {
            return;
        }

        clearInterval(timer);
        delta({}, "stop");
        send([], { usage: { prompt_tokens: body.messages.length,
                            completion_tokens: sent,
                            total_tokens: body.messages.length + sent } });
        res.end("data: [DONE]\n\n");
    }, Math.max(5, 1000 / rate));

    res.on("close", () => clearInterval(timer));
}


function refuse(res, status, message) {
    res.writeHead(status, { "Content-Type": "application/json",
                            "Connection": "close" });
    res.end(JSON.stringify({ error: { message,
                                      type: "invalid_request_error" } }));
}


const server = http.createServer((req, res) => {
    let text = "";

    if (req.method != "POST" || req.url != "/v1/chat/completions") {
        refuse(res, 404, "there is POST /v1/chat/completions, and that is all");
        return;
    }

    req.setEncoding("utf8");

    req.on("data", chunk => {
        if (text.length <= MAX_BODY) {
            text += chunk;
        }
    });

    req.on("end", () => {
        let body = null;

        try {
            body = text.length <= MAX_BODY && JSON.parse(text);

        } catch (e) {
            /* the same as none */
        }

        if (!body || !Array.isArray(body.messages) || body.stream !== true) {
            refuse(res, 400, "\"messages\" and \"stream\":true are wanted");
            return;
        }

        answer(body, res);
    });
});

server.on("error", e => {
    console.error(`model: ${e.message}`);
    process.exit(1);
});


const listening = () => console.log(`model: listens on ${address}`);

if (/^\d+$/.test(address)) {
    server.listen(Number(address), "127.0.0.1", listening);

} else {
    server.listen(address, () => {

        /* the workers of an nginx that root has started are somebody else */

        fs.chmodSync(address, 0o666);
        listening();
    });
}

for (const signal of [ "SIGTERM", "SIGINT" ]) {
    process.on(signal, () => {
        server.close();
        process.exit(0);
    });
}
