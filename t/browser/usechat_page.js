/*
 * The page of usechat.js, as docs/llm.md has it: useChat({ resume: true }) and
 * nothing else.  "?id=" is the chat; "?strict" mounts it twice, as React does
 * while one develops; "?transport=workflow" is the one that counts parts; "?chat"
 * has a Chat of its own, which @ai-sdk/react 3 wants for what breaks off.
 */

import { createElement, StrictMode, useEffect } from "react";
import { createRoot } from "react-dom/client";
import { Chat, useChat } from "@ai-sdk/react";
import { DefaultChatTransport } from "ai";
import { WorkflowChatTransport } from "workflow-transport";


const query = new URLSearchParams(location.search);
const id = query.get("id");


/* what the database of an application has: what the user has said */

const asked = JSON.parse(localStorage.getItem(id) ?? "[]");


const transports = {
    workflow: () => new WorkflowChatTransport({
        api: "/api/chat",
        prepareSendMessagesRequest: ({ id, messages }) =>
            ({ body: { id, messages } }),
        prepareReconnectToStreamRequest: ({ id }) =>
            ({ api: `/api/workflow/${id}/stream` })
    }),
    default: () => new DefaultChatTransport({ api: "/api/chat" })
};

const transport = transports[query.get("transport") ?? "default"]();


/* a page that reads is left alone, one that would ask for nothing as well */

const resume = !query.has("transport") || localStorage.getItem(`run:${id}`);


window.seen = { errors: [], finished: [] };


const options = {
    id, transport, messages: asked,

    onError: e => {
        seen.errors.push(`${e.name}: ${e.message}`);

        /* the network, not the answer */

        if (e instanceof TypeError) {
            setTimeout(() => window.again(), 500);
        }
    },

    onFinish: ({ isAbort, isError, isDisconnect }) => {
        seen.finished.push({ isAbort, isError, isDisconnect });

        if (!isDisconnect) {
            localStorage.removeItem(`run:${id}`);
        }
    }
};


const own = query.has("chat") ? { chat: new Chat(options) } : options;


function Page() {
    const { messages, status, error, sendMessage, stop, resumeStream } = useChat(
        { ...own, resume: Boolean(resume) });

    useEffect(() => {
        window.say = text => {
            localStorage.setItem(`run:${id}`, "1");
            localStorage.setItem(id, JSON.stringify([ ...asked, {
                id: `u${asked.length}`, role: "user",
                parts: [ { type: "text", text } ] } ]));

            sendMessage({ text });
        };

        window.leave = stop;
        window.again = resumeStream;

        window.stopHere = async () => {
            const r = await fetch(`/api/chat/${id}/stop`, { method: "POST" });

            if (!r.ok) {
                await stop();
            }
        };
    });

    return createElement("main", { "data-status": status,
                                   "data-error": error?.message ?? "" },
        messages.map((m, n) => createElement("p", { key: n, className: m.role },
            m.parts.map(p => p.text ?? "").join(""))));
}


const page = createElement(Page);

createRoot(document.body).render(query.has("strict")
    ? createElement(StrictMode, null, page) : page);
