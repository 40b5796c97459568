#!/usr/bin/env bash
# WorkflowChatTransport of @workflow/ai 5.0.0 and @ai-sdk/workflow 2.0.43 (npm) asks
# for the rest of an answer for ever, without a pause, if it ended with "abort".
#
# Expected: "abort" is how an answer of the AI SDK ends that was stopped; retries
# have a limit (maxConsecutiveErrors, 3) and a pause.
#
# Seen: the only end it knows is "finish".  After an answer { start, text,
# abort, [DONE] } it asks ?startIndex=, gets an event stream with no event, for
# there is none left, and asks again at once: some hundred requests in a second.
# An end is no error, so maxConsecutiveErrors does not count it.  status of
# useChat() stays "streaming", and cancel() of the stream waits for ever.  A server
# gets rid of it by an error status.
#
# In Node status 204 is such a status, since its Response has no body; in a browser
# (Chromium 156) it has one, so 204 for "nothing runs" is asked for ever, too.
#
# Who meets it: servers that stop answers, or that answer a resume with what
# DefaultChatTransport wants, 204.
#
# Run 2026-12-01, Node 20.20.2.  Exits with 0 while the behaviour is as above.

set -eu

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

npm init -y > /dev/null
npm install --silent --no-audit --no-fund --legacy-peer-deps @workflow/ai@5.0.0 \
    ai@6.0.325 @ai-sdk/workflow@2.0.43 > /dev/null 2>&1

cat > try.mjs <<'JS'
import { WorkflowChatTransport as six } from '@workflow/ai';
import { WorkflowChatTransport as seven } from '@ai-sdk/workflow/client';

const chunks = [{ type: 'start' }, { type: 'text-start', id: 't' },
    { type: 'text-delta', id: 't', delta: 'hi' }, { type: 'abort' }];
const answer = chunks.map(c => `data: ${JSON.stringify(c)}\n\n`).join('')
    + 'data: [DONE]\n\n';
const headers = { 'content-type': 'text/event-stream',
    'x-workflow-run-id': 'r' };

async function requests(Transport, resumed) {
    let n = 0, last;

    const transport = new Transport({ fetch: async (url, { method }) => {
        if (method === 'POST') return new Response(answer, { headers });
        n++;
        last = url;
        await new Promise(r => setTimeout(r, 1));    // as a server would take
        return new Response(resumed === 204 ? null : 'data: [DONE]\n\n',
            { headers, status: resumed });
    } });

    const reader = (await transport.sendMessages({ chatId: 'c', messages: [],
        trigger: 'submit-message' })).getReader();
    let end = 'none';

    (async () => { while (!(await reader.read()).done); end = 'end'; })()
        .catch(e => { end = e.message.trim(); });

    await new Promise(r => setTimeout(r, 1000));
    return [n, end, last];
}

let changed = 0;

for (const [name, T] of Object.entries({ '@workflow/ai': six,
    '@ai-sdk/workflow': seven }))
{
    const [n, end, last] = await requests(T, 200);
    console.log(`${name}, 200: ${n > 100 ? 'hundreds of requests' : n} in a `
        + `second, ${last}, end: ${end}`);

    const [m, error] = await requests(T, 204);
    console.log(`${name}, 204 without a body: ${m}, ${error}`);

    if (!(n > 100 && end === 'none' && last.endsWith('?startIndex=4') && m === 1
        && error === 'Failed to fetch chat: 204'))
    {
        console.log('  changed');
        changed = 1;
    }
}

process.exit(changed);
JS

node try.mjs
