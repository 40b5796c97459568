// The stock clients of answers that are streamed, unchanged: what each makes of
// its provider's answer has to be the same straight from the provider, through
// rtbus_capture, and from rtbus_replay.  TAP on stdout; the suite gives ports as
// one JSON argument: { nginx, upstream }.

import http from 'node:http';

const conf = JSON.parse(process.argv[2]);
const nginx = `http://127.0.0.1:${conf.nginx}`;
const fetch = globalThis.fetch;    // some clients are given another one

let tests = 0;

function ok(value, name) {
    tests++;
    console.log(`${value ? 'ok' : 'not ok'} ${tests} - ${name}`);
}

function is(got, expected, name) {
    ok(got === expected, name);

    if (got !== expected) {
        console.log(`#      got: ${JSON.stringify(got)?.slice(0, 300)}`);
        console.log(`# expected: ${JSON.stringify(expected)?.slice(0, 300)}`);
    }
}


// The words of all answers: blanks in front, a line end, beyond ASCII, and a
// character whose halves are in two of them, as servers have it that count in
// UTF-16.

const words = ['Hel', 'lo', ',', ' wor', 'ld', '.\n\n', 'na\u00efve', ' \u2713',
    '\ud83d', '\ude00!'];
const text = words.join('');

const lines = events => events.map(e => `data: ${JSON.stringify(e)}\n\n`);
const named = events => events.map(
    e => `event: ${e.type}\ndata: ${JSON.stringify(e)}\n\n`);

const openai = words.map(content => ({ id: 'c', object: 'chat.completion.chunk',
    created: 1, model: 'm',
    choices: [{ index: 0, delta: { content }, finish_reason: null }] }));

const responses = [
    { type: 'response.created', response: { id: 'r', status: 'in_progress',
        output: [] } },
    ...words.map(delta => ({ type: 'response.output_text.delta', item_id: 'i',
        output_index: 0, content_index: 0, delta })),
    { type: 'response.completed', response: { id: 'r', status: 'completed',
        output: [], usage: { input_tokens: 3, output_tokens: 8,
            total_tokens: 11 } } },
].map((e, i) => ({ ...e, sequence_number: i }));

const anthropic = [
    { type: 'message_start', message: { id: 'm', type: 'message', model: 'm',
        role: 'assistant', content: [], stop_reason: null,
        usage: { input_tokens: 3, output_tokens: 1 } } },
    { type: 'content_block_start', index: 0,
        content_block: { type: 'text', text: '' } },
    ...words.map(text => ({ type: 'content_block_delta', index: 0,
        delta: { type: 'text_delta', text } })),
    { type: 'content_block_stop', index: 0 },
    { type: 'message_delta', delta: { stop_reason: 'end_turn' },
        usage: { output_tokens: 8 } },
    { type: 'message_stop' },
];

const gemini = words.map((text, i) => ({ candidates: [{ index: 0,
    content: { role: 'model', parts: [{ text }] },
    ...(i === words.length - 1 ? { finishReason: 'STOP' } : {}) }],
    usageMetadata: { promptTokenCount: 3, candidatesTokenCount: i + 1 } }));

const ui = [
    { type: 'start', messageId: 'm' },
    { type: 'text-start', id: 't' },
    ...words.map(delta => ({ type: 'text-delta', id: 't', delta })),
    { type: 'text-end', id: 't' },
    { type: 'finish' },
];

const agui = [
    { type: 'RUN_STARTED', threadId: 't', runId: 'r' },
    { type: 'TEXT_MESSAGE_START', messageId: 'm', role: 'assistant' },
    ...words.map(delta => ({ type: 'TEXT_MESSAGE_CONTENT', messageId: 'm',
        delta })),
    { type: 'TEXT_MESSAGE_END', messageId: 'm' },
    { type: 'RUN_FINISHED', threadId: 't', runId: 'r' },
];

const ollama = [
    ...words.map(content => ({ model: 'm', created_at: '2026-11-01T00:00:00Z',
        message: { role: 'assistant', content }, done: false })),
    { model: 'm', created_at: '2026-11-01T00:00:00Z', done: true,
        message: { role: 'assistant', content: '' }, done_reason: 'stop',
        prompt_eval_count: 3, eval_count: 8 },
];

const langgraph = words.map((w, i) => ['values', { text: words.slice(0, i + 1)
    .join('') }]);

const answers = {
    openai: [...lines(openai), 'data: [DONE]\n\n'],
    responses: named(responses),
    anthropic: named(anthropic),
    gemini: lines(gemini),
    ui: [...lines(ui), 'data: [DONE]\n\n'],
    agui: lines(agui),
    ollama: ollama.map(e => JSON.stringify(e) + '\n'),
    langgraph: [
        ...langgraph.map(([event, data]) =>
            `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`),
        'event: end\ndata: null\n\n',
    ],
};


// The provider: the last part of the path says which answer.

const upstream = http.createServer(async (req, res) => {
    const format = req.url.split('/')[2];

    for await (const _ of req) { /* read */ }

    res.writeHead(200, { 'Content-Type': format === 'ollama'
        ? 'application/x-ndjson' : 'text/event-stream' });

    for (const part of answers[format]) {
        res.write(part);
        await new Promise(setImmediate);
    }

    res.end();
});

await new Promise(done => upstream.listen(conf.upstream, '127.0.0.1', done));


// Each client gets a base URL and a fetch(), and gives the text it has read.

async function join(stream, take) {
    let s = '';

    for await (const e of stream) {
        s += take(e) ?? '';
    }

    return s;
}

const clients = {
    async openai(base, fetch) {
        const { default: OpenAI } = await import('openai');
        const client = new OpenAI({ apiKey: 'k', baseURL: base, fetch,
            maxRetries: 0 });

        return join(await client.chat.completions.create({ model: 'm',
            messages: [{ role: 'user', content: 'hi' }], stream: true }),
            e => e.choices[0]?.delta?.content);
    },

    async responses(base, fetch) {
        const { default: OpenAI } = await import('openai');
        const client = new OpenAI({ apiKey: 'k', baseURL: base, fetch,
            maxRetries: 0 });

        return join(await client.responses.create({ model: 'm', input: 'hi',
            stream: true }), e => e.delta);
    },

    async anthropic(base, fetch) {
        const { default: Anthropic } = await import('@anthropic-ai/sdk');
        const client = new Anthropic({ apiKey: 'k', baseURL: base, fetch,
            maxRetries: 0 });

        return client.messages.stream({ model: 'm', max_tokens: 9,
            messages: [{ role: 'user', content: 'hi' }] }).finalText();
    },

    async gemini(base, fetch) {
        const { GoogleGenAI } = await import('@google/genai');
        const client = new GoogleGenAI({ apiKey: 'k',
            httpOptions: { baseUrl: base } });
        const own = globalThis.fetch;

        globalThis.fetch = fetch;

        try {
            return await join(await client.models.generateContentStream(
                { model: 'm', contents: 'hi' }), e => e.text);
        } finally {
            globalThis.fetch = own;
        }
    },

    async ui(base, fetch) {
        const { DefaultChatTransport } = await import('ai');
        const transport = new DefaultChatTransport({ api: `${base}/chat`,
            fetch });

        return join(await transport.sendMessages({ chatId: 'c', messages: [],
            trigger: 'submit-message' }),
            e => e.type === 'text-delta' ? e.delta : '');
    },

    async agui(base, fetch) {
        const { HttpAgent } = await import('@ag-ui/client');
        const own = globalThis.fetch;

        globalThis.fetch = fetch;

        try {
            const agent = new HttpAgent({ url: `${base}/run` });
            await agent.runAgent({});
            return agent.messages.map(m => m.content).join('');
        } finally {
            globalThis.fetch = own;
        }
    },

    async ollama(base, fetch) {
        const { Ollama } = await import('ollama');
        const client = new Ollama({ host: base, fetch });

        return join(await client.chat({ model: 'm', stream: true,
            messages: [{ role: 'user', content: 'hi' }] }),
            e => e.message.content);
    },

    async langgraph(base, fetch) {
        const { Client } = await import('@langchain/langgraph-sdk');
        const client = new Client({ apiUrl: base, apiKey: 'k',
            callerOptions: { maxRetries: 0, fetch } });
        let last = '';

        for await (const e of client.runs.stream(null, 'a',
            { input: {}, streamMode: 'values' }))
        {
            last = e.data?.text ?? last;
        }

        return last;
    },
};

// AG-UI by another client, which has no name of the format

clients.tanstack = async (base, fetch) => {
    const { fetchServerSentEvents } = await import('@tanstack/ai-client');
    const connection = fetchServerSentEvents(`${base}/run`,
        { fetchClient: fetch });

    return join(connection.connect([{ role: 'user', content: 'hi' }], {}),
        e => e.delta);
};

const format = name => name === 'tanstack' ? 'agui' : name;


// A client's own request, but for another URL: that of the replay.

const replayed = url => async () => fetch(url);

for (const name of Object.keys(clients)) {
    const job = `${name}-${process.pid}`;
    const bytes = answers[format(name)].join('');
    const read = async (base, how) => {
        try {
            return await clients[name](base, how);
        } catch (e) {
            return `${e.name}: ${e.message}`;
        }
    };

    is(await read(`${nginx}/plain/${format(name)}`, fetch), text,
        `${name}: straight from its provider`);

    is(await read(`${nginx}/answer/${format(name)}/${job}`, fetch), text,
        `${name}: captured`);

    is(await read(`${nginx}/answer/${format(name)}/${job}`,
        replayed(`${nginx}/replay/${job}`)), text, `${name}: replayed`);

    // what the first client gets is what the provider sent, byte for byte

    const raw = await fetch(`${nginx}/answer/${format(name)}/${job}-raw`,
        { method: 'POST', body: '{}' });

    is(await raw.text(), bytes, `${name}: byte for byte`);

    const state = await (await fetch(`${nginx}/state/${job}-raw`)).json();

    is(state.status, 'completed', `${name}: completed`);
    is(state.output, format(name) === 'langgraph' ? state.output : text,
        `${name}: the text so far`);
    is(state.events, answers[format(name)].length, `${name}: events`);
}

upstream.close();
upstream.closeAllConnections();
console.log(`1..${tests}`);
process.exit(0);
