// The stock clients of answers that are streamed, unchanged, before
// conf/llm.conf: an answer is read on by each client's own means from its middle,
// and one whose worker is killed ends with an error for all of them, in time and
// never in silence.  TAP on stdout; the suite gives { nginx, upstream, pid } as
// one JSON argument, pid being nginx's master.

import fs from 'node:fs';
import http from 'node:http';

import Anthropic from '@anthropic-ai/sdk';
import OpenAI from 'openai';
import { GoogleGenAI } from '@google/genai';
import { Ollama } from 'ollama';
import { Client } from '@langchain/langgraph-sdk';
import { HttpAgent } from '@ag-ui/client';
import { fetchServerSentEvents } from '@tanstack/ai-client';
import { EventSource } from 'eventsource';
import { io } from 'socket.io-client';
import * as ai7 from 'ai';
import * as ai6 from 'ai6';

const conf = JSON.parse(process.argv[2]);
const nginx = `http://127.0.0.1:${conf.nginx}`;
const fetch = globalThis.fetch;
const sleep = ms => new Promise(done => setTimeout(done, ms));

// @ag-ui/client has a promise of its own for a connection that breaks, besides

process.on('unhandledRejection', e => {
    if (!/^terminated|^fetch failed/.test(e.message)) throw e;
});

let tests = 0;

function ok(value, name, detail) {
    tests++;
    console.log(`${value ? 'ok' : 'not ok'} ${tests} - ${name}`);

    if (!value) {
        console.log(`# ${JSON.stringify(detail)?.slice(0, 600)}`);
    }
}

const is = (got, expected, name) =>
    ok(got === expected, name, { got, expected });

async function wait(what, condition, seconds = 20) {
    for (const end = Date.now() + seconds * 1000; Date.now() < end;) {
        const value = await condition();

        if (value) {
            return value;
        }

        await sleep(10);
    }

    console.log(`# timed out: ${what}`);
    return undefined;
}


// Answers: so many words, half of them before the provider is told to go on.

const words = [...Array(20).keys()].map(n => `${n} na\u00efve\n`);
const text = words.join('');
const half = words.slice(0, 10).join('');

const data = e => `data: ${JSON.stringify(e)}\n\n`;
const named = e => `event: ${e.type}\n${data(e)}`;
const item = { id: 'i', type: 'message', role: 'assistant' };
const part = { type: 'output_text', annotations: [] };
const response = { id: 'r', object: 'response', created_at: 1, model: 'm' };

let sequence = 0;

const responses = e => named({ ...e, sequence_number: sequence++ });

const anthropic = {
    first: [{ type: 'message_start', message: { id: 'm', type: 'message',
        model: 'm', role: 'assistant', content: [], stop_reason: null,
        usage: { input_tokens: 3, output_tokens: 1 } } },
    { type: 'content_block_start', index: 0,
        content_block: { type: 'text', text: '' } }].map(named),
    word: text => named({ type: 'content_block_delta', index: 0,
        delta: { type: 'text_delta', text } }),
    last: [{ type: 'content_block_stop', index: 0 },
        { type: 'message_delta', delta: { stop_reason: 'end_turn' },
            usage: { output_tokens: 8 } },
        { type: 'message_stop' }].map(named),
};

const agui = id => ({
    first: [{ type: 'RUN_STARTED', threadId: 't', runId: id },
        { type: 'TEXT_MESSAGE_START', messageId: 'm', role: 'assistant' }]
        .map(data),
    word: delta => data({ type: 'TEXT_MESSAGE_CONTENT', messageId: 'm', delta }),
    last: [{ type: 'TEXT_MESSAGE_END', messageId: 'm' },
        { type: 'RUN_FINISHED', threadId: 't', runId: id }].map(data),
});

const providers = {
    '/v1/chat/completions': () => ({
        first: [],
        word: content => data({ id: 'c', object: 'chat.completion.chunk',
            created: 1, model: 'm', choices: [{ index: 0, delta: { content },
                finish_reason: null }] }),
        last: ['data: [DONE]\n\n'],
    }),

    '/v1/responses': () => {
        sequence = 0;

        return {
            first: [{ type: 'response.created', response: { ...response,
                status: 'in_progress', output: [] } },
            { type: 'response.output_item.added', output_index: 0,
                item: { ...item, status: 'in_progress', content: [] } },
            { type: 'response.content_part.added', item_id: 'i',
                output_index: 0, content_index: 0,
                part: { ...part, text: '' } }].map(responses),
            word: delta => responses({ type: 'response.output_text.delta',
                item_id: 'i', output_index: 0, content_index: 0, delta }),
            last: () => [{ type: 'response.output_text.done', item_id: 'i',
                output_index: 0, content_index: 0, text },
            { type: 'response.content_part.done', item_id: 'i',
                output_index: 0, content_index: 0, part: { ...part, text } },
            { type: 'response.output_item.done', output_index: 0,
                item: { ...item, status: 'completed',
                    content: [{ ...part, text }] } },
            { type: 'response.completed', response: { ...response,
                status: 'completed', output: [{ ...item,
                    status: 'completed', content: [{ ...part, text }] }],
                usage: { input_tokens: 3, output_tokens: 8,
                    total_tokens: 11 } } }].map(responses),
        };
    },

    '/v1/messages': () => anthropic,

    '/v1/models/m:streamGenerateContent': () => ({
        first: [],
        word: text => data({ candidates: [{ index: 0, content: { role: 'model',
            parts: [{ text }] } }] }),
        last: [data({ candidates: [{ index: 0, finishReason: 'STOP',
            content: { role: 'model', parts: [{ text: '' }] } }] })],
    }),

    '/api/chat': () => ({
        first: [{ type: 'start' }, { type: 'text-start', id: 't' }].map(data),
        word: delta => data({ type: 'text-delta', id: 't', delta }),
        last: [data({ type: 'text-end', id: 't' }), data({ type: 'finish' }),
            'data: [DONE]\n\n'],
    }),

    '/api/generate': () => ({
        type: 'application/x-ndjson',
        first: [],
        word: response => JSON.stringify({ model: 'm', response,
            done: false }) + '\n',
        last: [JSON.stringify({ model: 'm', response: '', done: true,
            eval_count: 8 }) + '\n'],
    }),

    '/agui': agui,
    '/tanstack': agui,

    '/threads/runs/stream': () => ({
        first: [],
        word: word => `event: custom\n${data({ word })}`,
        last: ['event: end\ndata: null\n\n'],
    }),
};

const goes = {};        // by the answer's name: what lets its second half go
const posts = {};

const upstream = http.createServer(async (req, res) => {
    let body = '';

    for await (const bytes of req) {
        body += bytes;
    }

    const { pathname } = new URL(req.url, nginx);
    const thread = /^\/threads\/([^/]+)/.exec(pathname)?.[1];
    const json = JSON.parse(body || '{}');
    const id = thread ?? req.headers['x-chat-id'] ?? req.headers['x-response-id']
        ?? json.runId ?? json.id;

    const model = providers[pathname.replace(`/${thread}`, '')](id);

    posts[id] = (posts[id] ?? 0) + 1;

    res.writeHead(200, { 'Content-Type': model.type ?? 'text/event-stream' });
    model.first.forEach(e => res.write(e));

    for (const [n, word] of words.entries()) {
        if (n === 10) {
            await new Promise(done => { goes[id] = done; });
        }

        res.write(model.word(word));
    }

    [model.last].flat().flatMap(e => typeof e === 'function' ? e() : [e])
        .forEach(e => res.write(e));

    res.end();
});

await new Promise(done => upstream.listen(conf.upstream, '127.0.0.1', done));


// A fetch() of a client that wants the answer of that URL for its own, and one
// whose first answer breaks off once it has said so much.

const instead = url => async () => fetch(nginx + url);

function breaking(until) {
    let n = 0;

    return async (url, init) => {
        const answer = await fetch(url, init);

        if (n++) {
            return answer;
        }

        const reader = answer.body.getReader();
        const decoder = new TextDecoder();
        let all = '';

        return new Response(new ReadableStream({
            async pull(c) {
                const { done, value } = await reader.read();

                if (done) {
                    c.close();
                    return;
                }

                c.enqueue(value);
                all += decoder.decode(value, { stream: true });

                if (all.includes(until)) {
                    await sleep(50);        // what has come is read
                    reader.cancel().catch(() => {});
                    c.error(new TypeError('terminated'));
                }
            },
        }), { headers: answer.headers });
    };
}

// clients that have no fetch() of their own take the global one

async function globally(how, run) {
    globalThis.fetch = how;

    try {
        return await run();
    } finally {
        globalThis.fetch = fetch;
    }
}

// what has been read so far, as it comes

const log = {};

async function read(id, stream, take) {
    for await (const e of await stream) {
        log[id] += take(e) ?? '';
    }
}

const openai = (options = {}) => new OpenAI({ apiKey: 'k', maxRetries: 0,
    baseURL: `${nginx}/v1`, ...options });
const named_chat = id => ({ headers: { 'x-chat-id': id } });
const ui_text = e => {
    if (e.type === 'error') throw new Error(e.errorText);
    return e.delta;
};
const agui_text = e => {
    if (e.type === 'RUN_ERROR') throw new Error(e.message);
    return e.delta;
};
const graph_text = e => {
    if (e.event === 'error') throw new Error(JSON.stringify(e.data));
    return e.data?.word;
};


// ask: the first request; again: another page, or the same one after a break, in
// the middle or later.  "resumes" does so by itself.

const ui = ai => ({
    ask: id => new ai.DefaultChatTransport({ api: `${nginx}/api/chat`, fetch })
        .sendMessages({ chatId: id, messages: [], trigger: 'submit-message' })
        .then(s => read(id, s, ui_text)),

    again: async (id, name) => {
        const s = await new ai.DefaultChatTransport({ fetch,
            api: `${nginx}/api/chat` }).reconnectToStream({ chatId: id });

        await read(name, s, ui_text);
    },
});

const kinds = {
    openai: {
        ask: (id, name = id, how = fetch) => read(name, openai({ fetch: how })
            .chat.completions.create({ model: 'm', messages: [], stream: true },
                named_chat(id)), e => e.choices[0]?.delta?.content),

        again: (id, name) => kinds.openai.ask(id, name,
            instead(`/api/chat/${id}/stream`)),
    },

    'responses.retrieve': {
        ask: id => read(id, openai().responses.create({ model: 'm', input: 'hi',
            stream: true }, { headers: { 'x-response-id': id } }), e => e.delta),

        again: (id, name) => read(name, openai().responses.retrieve(id,
            { stream: true }), e => e.delta),

        // from behind the sixth word

        rest: (id, name) => read(name, openai().responses.retrieve(id,
            { stream: true, starting_after: 3 + 5 }), e => e.delta),
    },

    'responses.stream': {
        ask: id => kinds['responses.retrieve'].ask(id),

        again: async (id, name) => {
            const stream = openai().responses.stream({ response_id: id });

            await read(name, stream, e => e.delta);
            is((await stream.finalResponse()).output_text, text,
                'responses.stream: the final response');
        },

        rest: (id, name) => read(name, openai().responses.stream({
            response_id: id, starting_after: 3 + 5 }), e => e.delta),
    },

    anthropic: {
        ask: (id, name = id, how = fetch) => read(name, new Anthropic({
            apiKey: 'k', baseURL: nginx, fetch: how, maxRetries: 0 })
            .messages.stream({ model: 'm', max_tokens: 9, messages: [{
                role: 'user', content: 'hi' }] }, named_chat(id)),
            e => e.delta?.text),

        again: (id, name) => kinds.anthropic.ask(id, name,
            instead(`/api/chat/${id}/stream`)),
    },

    gemini: {
        ask: async (id, name = id) => read(name, new GoogleGenAI({ apiKey: 'k',
            httpOptions: { baseUrl: nginx, ...named_chat(id) } })
            .models.generateContentStream({ model: 'm', contents: 'hi' }),
            e => e.text),

        again: (id, name) => globally(instead(`/api/chat/${id}/stream`),
            () => kinds.gemini.ask(id, name)),
    },

    'ai 7': ui(ai7),
    'ai 6': ui(ai6),

    ollama: {
        ask: (id, name = id, how = fetch) => read(name, new Ollama({ host: nginx,
            fetch: how, ...named_chat(id) }).generate({ model: 'm',
            prompt: 'hi', stream: true }), e => e.response),

        again: (id, name) => kinds.ollama.ask(id, name,
            instead(`/api/chat/${id}/stream`)),
    },

    agui: {
        ask: async (id, name = id) => {
            let failed;
            const agent = new HttpAgent({ url: `${nginx}/agui` });

            await agent.runAgent({ runId: id }, {
                onTextMessageContentEvent: ({ event }) => {
                    log[name] += event.delta;
                },
                onRunErrorEvent: ({ event }) => { failed = event.message; },
            });

            if (failed) throw new Error(failed);
        },

        again: (id, name) => globally(instead(`/agui/${id}`),
            () => kinds.agui.ask(id, name)),
    },

    tanstack: {
        resumes: true,

        ask: (id, name = id, how = fetch) => read(name, fetchServerSentEvents(
            `${nginx}/tanstack`, { fetchClient: how }).connect([{ role: 'user',
            content: 'hi' }], {}, undefined, { runId: id, threadId: 't' }),
            agui_text),

        again: (id, name) => read(name, fetchServerSentEvents(
            `${nginx}/tanstack`).joinRun(id), agui_text),
    },

    langgraph: {
        resumes: true,

        ask: (id, name = id, how = fetch) => read(name, new Client({
            apiUrl: nginx, apiKey: 'k', callerOptions: { maxRetries: 0,
                fetch: how } }).runs.stream(id, 'a', { input: {},
            streamMode: 'custom' }), graph_text),

        again: (id, name) => read(name, new Client({ apiUrl: nginx,
            apiKey: 'k' }).runs.joinStream(id, 'current'), graph_text),
    },
};


// those that look on, with clients that know nothing of models

function event_source(id, name) {
    const es = new EventSource(`${nginx}/api/chat/${id}/stream`);

    return new Promise((done, fail) => {
        es.onmessage = ({ data }) => {
            const e = data === '[DONE]' ? {} : JSON.parse(data);

            log[name] += e.choices?.[0]?.delta?.content ?? '';

            if (e.error) {
                es.close();
                fail(new Error(e.error.message));
            }
        };

        es.onerror = () => {
            if (es.readyState === EventSource.CLOSED) done();
        };
    });
}

function socket(id, name) {
    const s = io(nginx, { forceNew: true, reconnectionDelay: 50,
        reconnectionDelayMax: 200 });

    return new Promise((done, fail) => {
        s.on('connect', () => {
            if (!s.recovered) {
                log[name] = '';
                s.emit('subscribe', { channel: `chat:${id}`, after: '0-0' });
            }
        });

        s.on('message', e => {
            log[name] += e?.choices?.[0]?.delta?.content ?? '';
        });

        s.on('capture:end', ({ status }) => {
            s.disconnect();
            status === 'completed' ? done() : fail(new Error(status));
        });
    });
}

const onlookers = { 'EventSource': event_source, 'socket.io-client': socket };


// what has come of it: "", or what it has failed with

const outcome = promise => promise.then(() => '',
    e => `${e.name}: ${e.message}` || 'error');

function begin(start, id, name = id) {
    log[name] = '';
    return outcome(start(id, name));
}

const come = (name, what = half) =>
    wait(`text of ${name}`, () => log[name] === what);


// another page reads it on from the middle, with those that look on

for (const [name, kind] of Object.entries(kinds)) {
    const id = `on-${name.replace(/\W/g, '')}`;
    const asked = begin(kind.ask, id);

    await come(id);

    const again = begin(kind.again, id, `${id}-2`);
    const rest = kind.rest && begin(kind.rest, id, `${id}-3`);
    const looks = name === 'openai' ? Object.entries(onlookers) : [];
    const looking = looks.map(([who, look]) => begin(look, id, who));

    ok(await come(`${id}-2`), `${name}: half of it again`, log[`${id}-2`]);

    for (const [who] of looks) {
        ok(await come(who), `${who}: half of it`, log[who]);
    }

    goes[id]?.();

    is(await asked, '', `${name}: the first one`);
    is(log[id], text, `${name}: its text`);
    is(await again, '', `${name}: the second one`);
    is(log[`${id}-2`], text, `${name}: its text, too`);

    if (rest) {
        is(await rest, '', `${name}: the rest`);
        is(log[`${id}-3`], words.slice(6).join(''), `${name}: its text`);
    }

    for (const [n, [who]] of looks.entries()) {
        is(await looking[n], '', `${who}: to its end`);
        is(log[who], text, `${who}: its text`);
    }
}

// the network breaks, for those that go on by themselves

for (const [name, kind] of Object.entries(kinds).filter(([, k]) => k.resumes)) {
    const id = `break-${name}`;
    const asked = begin((i, n) => kind.ask(i, n, breaking('9 na')), id);

    await come(id);
    await wait('the break', () => goes[id]);
    await sleep(200);
    goes[id]?.();

    is(await asked, '', `${name}: goes on by itself`);
    is(log[id], text, `${name}: each word once`);
    is(posts[id], 1, `${name}: asked once`);
}

// a request that is tried again with the same key

{
    const client = openai({ maxRetries: 2, fetch: async (url, init) => {
        if (!tried++) {
            fetch(url, init).then(r => r.text()).catch(() => {});
            await wait('the first one', () => goes.key);
            throw new TypeError('fetch failed');
        }

        return fetch(url, init);
    } });
    let tried = 0;

    log.key = '';

    const asked = outcome(read('key', client.chat.completions.create({ model: 'm',
        messages: [], stream: true }, { headers: { 'x-chat-id': 'key',
        'idempotency-key': 'k1' } }), e => e.choices[0]?.delta?.content));

    await come('key');
    goes.key();

    is(await asked, '', 'idempotency key: the second try');
    is(log.key, text, 'idempotency key: all of the text');
    is(posts.key, 1, 'idempotency key: one request');
}

// all of them at a time, and then there is no worker any more

const running = [];

for (const [name, kind] of Object.entries(kinds)) {
    const id = `kill-${name.replace(/\W/g, '')}`;

    running.push({ name, kind, id, asked: begin(kind.ask, id) });
    await come(id);
}

const seers = Object.entries(onlookers).map(([who, look]) =>
    ({ name: who, end: begin(look, 'kill-openai', who) }));

for (const { name } of seers) {
    await come(name);
}

const began = Date.now();

for (const pid of fs.readFileSync(`/proc/${conf.pid}/task/${conf.pid}/children`,
    'latin1').trim().split(' '))
{
    process.kill(Number(pid), 'SIGKILL');
}

// those that do not go on by themselves find out, and ask

for (const one of running) {
    if (one.kind.resumes) {
        one.end = one.asked;
        continue;
    }

    const broken = await one.asked;

    ok(broken, `${one.name}: the break is told`);
}

await wait('nginx', () => fetch(nginx).then(() => 1, () => 0));

for (const one of running.filter(o => !o.kind.resumes)) {
    one.end = begin(one.kind.again, one.id, `${one.id}-2`);

    // the global fetch() is another one meanwhile

    if (/gemini|agui/.test(one.name)) {
        await come(`${one.id}-2`);
    }
}

for (const one of [...running, ...seers]) {
    const end = await Promise.race([one.end, sleep(20000 + began - Date.now())
        .then(() => 'nothing')]);

    ok(end && end !== 'nothing', `${one.name}: an error within 20 s`, end);
    console.log(`# ${one.name}: ${end.slice(0, 200)} ${Date.now() - began} ms`);

    const name = one.kind?.resumes || !one.kind ? one.id ?? one.name
        : `${one.id}-2`;

    is(log[name], half, `${one.name}: what there was, once`);
}


upstream.close();
upstream.closeAllConnections();
console.log(`1..${tests}`);
process.exit(0);
