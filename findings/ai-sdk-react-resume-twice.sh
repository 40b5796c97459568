#!/usr/bin/env bash
# @ai-sdk/react 3.0.328 (npm): an answer that is resumed after a break of the
# network is shown twice by useChat(), if the hook makes the Chat.
#
# Expected ("Chatbot Resume Streams" of ai 6 and 7): DefaultChatTransport takes a
# resumed stream for a full replay (resumeStreamIsReplay is true), so the first
# "start" resets the half answer and nothing is there twice.
#
# Seen: useChat({ transport }) wraps the transport and leaves out this property,
# so the Chat sees none; the replay is appended to the half: "HelloHello world",
# with or without a messageId.  It resumes by itself when the page becomes visible
# again, or by resumeStream().  A Chat that the application makes, as
# useChat({ chat: new Chat({ transport }) }), shows "Hello world", as do both ways
# with @ai-sdk/react 4.0.177.  A reload of the page is not concerned.
#
# Who meets it: chats on version 6 of the SDK whose server replays from the start.
#
# Run 2026-12-01, Node 20.20.2.  Exits with 0 while the behaviour is as above.

set -eu

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

npm init -y > /dev/null
npm install --silent --no-audit --no-fund react@19.3.1 react-dom@19.3.1 \
    jsdom@26.1.0 three@npm:@ai-sdk/react@3.0.328 six@npm:ai@6.0.325 \
    four@npm:@ai-sdk/react@4.0.177 seven@npm:ai@7.0.173 > /dev/null 2>&1

cat > try.mjs <<'JS'
import { JSDOM } from 'jsdom';

const { window } = new JSDOM('<!DOCTYPE html><body></body>');
Object.assign(globalThis, { window, document: window.document,
    IS_REACT_ACT_ENVIRONMENT: false });
globalThis.navigator ??= window.navigator;

const { createElement } = await import('react');
const { createRoot } = await import('react-dom/client');

const start = messageId => ({ type: 'start', ...messageId && { messageId } });
const delta = delta => ({ type: 'text-delta', id: 't', delta });

// the POST breaks off in its middle, GET has all of it

function server(messageId) {
    const half = [start(messageId), { type: 'text-start', id: 't' },
        delta('Hello')];
    const rest = [delta(' world'), { type: 'text-end', id: 't' },
        { type: 'finish' }];

    return async (url, { method } = {}) => {
        const events = (method === 'POST' ? half : [...half, ...rest])
            .map(e => `data: ${JSON.stringify(e)}\n\n`);
        const enc = new TextEncoder();

        return new Response(new ReadableStream({
            async pull(c) {
                if (events.length) {
                    c.enqueue(enc.encode(events.shift()));
                } else if (method === 'POST') {
                    await new Promise(r => setTimeout(r, 50));
                    c.error(new TypeError('network error'));
                } else {
                    c.close();
                }
            },
        }), { headers: { 'content-type': 'text/event-stream' } });
    };
}

async function until(condition) {
    for (let n = 0; n < 500 && !condition(); n++)
        await new Promise(r => setTimeout(r, 10));
}

async function run({ useChat, Chat }, { DefaultChatTransport }, own, messageId) {
    const options = { id: 'c', onError() {}, transport: new DefaultChatTransport(
        { fetch: server(messageId) }) };
    const props = own ? { chat: new Chat(options) } : options;
    let chat;

    const root = createRoot(document.createElement('div'));
    root.render(createElement(() => { chat = useChat(props); return null; }));

    await until(() => chat);
    chat.sendMessage({ text: 'hi' });
    await until(() => chat.status === 'error');
    chat.resumeStream();
    await until(() => chat.status === 'ready');

    const text = chat.messages.filter(m => m.role === 'assistant')
        .map(m => m.parts.map(p => p.text ?? '').join('')).join('|');

    root.unmount();
    return text;
}

const versions = {
    '@ai-sdk/react 3': [await import('three'), await import('six')],
    '@ai-sdk/react 4': [await import('four'), await import('seven')],
};

let changed = 0;

for (const [name, [react, ai]] of Object.entries(versions)) {
    for (const own of [false, true]) {
        for (const messageId of [undefined, 'm']) {
            const seen = await run(react, ai, own, messageId);
            const expected = !own && name.endsWith('3') ? 'HelloHello world'
                : 'Hello world';

            console.log(`${name}, ${own ? 'own Chat' : 'Chat of the hook'}, ${
                messageId ? 'messageId' : 'no messageId'}: ${seen}`);

            if (seen !== expected) {
                console.log(`  changed: it was ${expected}`);
                changed = 1;
            }
        }
    }
}

process.exit(changed);
JS

node try.mjs
