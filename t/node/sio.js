// Socket.IO packets, read by this module (sio.c) and by npm's socket.io-parser:
// what one takes and the other does not is in the list below with the reason, or
// it is a fault.  Where both take it, they have to find the same in it; and what
// this module writes, the other one has to read.
//
//     node sio.js <program> <directory with packets> [--packets N | --time S]
//                 [--seed N]
//
// The packets are those of the fuzzer, ones that the parser's own encoder has
// made, and both, changed at random.  TAP on stdout; --seed repeats a run.

'use strict';

const { spawn } = require('child_process');
const fs = require('fs');
const path = require('path');
const util = require('util');

const { Decoder, Encoder, PacketType } = require('socket.io-parser');

const MAX_ATTACHMENTS = 64;
const BATCH = 500;

const [program, corpus, ...args] = process.argv.slice(2);
const options = { packets: 20000, time: 0,
    seed: Math.floor(Math.random() * 2 ** 32) };

for (let i = 0; i < args.length; i += 2) {
    options[args[i].slice(2)] = Number(args[i + 1]);
}

// ------------------------------------------------------ what differs on purpose

// A packet as the protocol has it, for the reasons to look at.  The parser takes
// for a number whatever JavaScript makes one of.

const FORM = /^([0-6])(?:([^-]*)-)?(\/[^,]*(?:,|$))?([\d\s]*)([^]*)$/u;

function form(text) {
    const m = FORM.exec(text) || [];
    const binary = m[1] === '5' || m[1] === '6';

    if (!binary) {
        const plain = /^([0-6])(\/[^,]*(?:,|$))?([\d\s]*)([^]*)$/u.exec(text);

        return plain ? { type: Number(plain[1]), nsp: plain[2] || '/',
            id: plain[3], json: plain[4] } : {};
    }

    return { type: Number(m[1]), attachments: m[2], nsp: m[3] || '/',
        id: m[4] || '', json: m[5] || '' };
}

function depth(json) {
    let most = 0;

    (function down(value, n) {
        if (value !== null && typeof value === 'object') {
            most = Math.max(most, n);
            Object.values(value).forEach((v) => down(v, n + 1));
        }
    })(json, 1);

    return most;
}

// Taken by the parser, refused here: what, why, one of them, and how they are told.

const refused = [
    ['a type that is white space, or none', 'JavaScript: Number(" ") is 0',
        ' {}', (text) => text === '' || /^\s/u.test(text)],

    ['a number of attachments that is not written in digits',
        'JavaScript: Number("0x2")', '50x2-["a"]',
        (text, f) => f.attachments !== undefined
            && !/^\d+$/.test(f.attachments)],

    ['white space before the JSON', 'JavaScript: it is an ack id of 0',
        '2 ["a"]', (text, f) => /\s/u.test(f.id) || /^\s/u.test(f.json)],

    ['an ack id that a double does not hold', 'it would be another one',
        '29007199254740993["a"]',
        (text, f) => Number(f.id) > Number.MAX_SAFE_INTEGER],

    ['an ack id where none may be', 'protocol: EVENT and ACK have one',
        '07{}', (text, f) => f.id !== '' && [0, 1, 4].includes(f.type)],

    ['an ACK without an id', 'protocol: there is nothing to acknowledge',
        '3[]', (text, f) => f.id === '' && [3, 6].includes(f.type)],

    ['an EVENT or ACK without an array', 'protocol: the payload is mandatory',
        '2', (text, f) => f.json === '' && [2, 3, 5, 6].includes(f.type)],

    ['a namespace that is too long', 'a limit: 200 bytes',
        `0/${'n'.repeat(200)}`,
        (text, f) => Buffer.byteLength(f.nsp.replace(/,$/, '')) > 200],

    ['a namespace with control characters', 'it gets into logs',
        '0/a\n', (text, f) => /[\0-\x1f\x7f]/.test(f.nsp)],

    ['JSON that is nested too deep', 'a limit: 64 levels',
        `2["a",${'['.repeat(64)}${']'.repeat(64)}]`,
        (text, f, packet) => depth(packet.data) > 64],
];

// taken here, refused by the parser

const taken = [
    ['an EVENT that has no name, or one that the client keeps for itself',
        'what a name may be is for the layer above to say',
        '2["connect"]', (text, f) => [2, 5].includes(f.type)],
];

// ------------------------------------------------------------- the two decoders

const decoder = new Decoder({ maxAttachments: MAX_ATTACHMENTS });

function theirs(text) {
    try {
        const p = decoder.decodeString(text);

        return { type: p.type, attachments: p.attachments || 0, id: p.id,
            nsp: p.nsp, data: p.data };
    } catch (e) {
        return { refused: e.message };
    }
}

function hex(text) {
    return text === '-' ? '' : Buffer.from(text, 'hex').toString();
}

function ours(line) {
    if (line[0] === '-') {
        return { refused: line.slice(2) };
    }

    const [type, attachments, id, nsp, header, json] = line.split(' ');

    return { type: Number(type), attachments: Number(attachments),
        id: id === '-' ? undefined : Number(id), nsp: hex(nsp),
        data: json === '-' ? undefined : JSON.parse(hex(json)),
        written: hex(header) + hex(json) };
}

const child = spawn(program, [], { stdio: ['pipe', 'pipe', 'inherit'] });
const waiting = [];
let rest = '';
let ended = false;

child.stdout.setEncoding('latin1');
child.stdout.on('data', (chunk) => {
    const lines = (rest + chunk).split('\n');

    rest = lines.pop();
    lines.forEach((line) => waiting.shift()(line));
});

child.on('exit', (code, signal) => {
    ended = code !== 0 ? `${program} has ended: ${code || signal}` : true;
    waiting.forEach((resolve) => resolve(null));
});

child.stdin.on('error', () => {});

function ask(text) {
    const bytes = Buffer.from(text);
    const head = Buffer.alloc(4);

    head.writeUInt32LE(bytes.length);
    child.stdin.write(Buffer.concat([head, bytes]));

    return new Promise((resolve) => { waiting.push(resolve); });
}

// ------------------------------------------------------------------ the packets

let state = options.seed >>> 0;

function random(n) {
    state = (state + 0x6d2b79f5) >>> 0;

    let t = state;

    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);

    return ((t ^ (t >>> 14)) >>> 0) % n;
}

function pick(list) {
    return list[random(list.length)];
}

function value(n) {
    switch (random(n > 3 ? 6 : 9)) {
    case 0: return null;
    case 1: return random(2) === 1;
    case 2: return random(1000) - 500;
    case 3: return random(1000) / 7 * 10 ** (random(40) - 20);
    case 4: return pick(['', 'a', 'ü€😀', '"\\\n\0', '\ud800', '__proto__']);
    case 5: return Buffer.from([random(256)]);
    case 6: return Array.from({ length: random(4) }, () => value(n + 1));
    default: return Object.fromEntries(Array.from({ length: random(4) },
        () => [pick(['a', 'b', '', '_placeholder', 'num', 'é']),
            value(n + 1)]));
    }
}

const encoder = new Encoder();

function encoded() {
    const type = random(5);
    const packet = { type, nsp: pick(['/', '/', '/a', '/a/b', '/ü', '/?x=1']) };

    switch (type) {
    case PacketType.CONNECT:
        packet.data = pick([undefined, {}, { token: 'x' }]);
        break;
    case PacketType.EVENT:
        packet.id = pick([undefined, 0, 7, 2 ** 53 - 1]);
        packet.data = [pick(['a', 'connect', 7, 'job:1']), value(0)];
        break;
    case PacketType.ACK:
        packet.id = random(1000);
        packet.data = [value(0)];
        break;
    case PacketType.CONNECT_ERROR:
        packet.data = pick(['no', { message: 'no' }]);
        break;
    }

    return encoder.encode(packet)[0];
}

const PIECES = ['0', '1', '2', '3', '4', '5', '6', '7', '-', '/', ',', '[', ']',
    '{', '}', '"', '\\', ' ', '\n', '\t', '\u00a0', '\u2028', '\ufeff', '.', '+',
    'e', 'x', '0x', '00', '64', '65', '10-', '1e1-', '[]', '{}', '["a"]', 'null',
    'true', '/a,', '/,', '?', '\0', '\x7f', 'é', '😀', '٣', '9007199254740991',
    '9007199254740992', '99999999999999999999', '{"_placeholder":true,"num":0}',
    '['.repeat(63), ']'.repeat(63),
    `[${'['.repeat(62)}${']'.repeat(62)}]`, '\\ud800', '\\u00', '__proto__',
    '/' + 'n'.repeat(199), 'n'.repeat(200)];

function changed(text) {
    for (let n = 1 + random(3); n > 0; n--) {
        const at = random(text.length + 1);
        const end = at + random(Math.min(8, text.length - at + 1));

        switch (random(6)) {
        case 0: text = text.slice(0, at) + pick(PIECES) + text.slice(at); break;
        case 1: text = text.slice(0, at) + text.slice(end); break;
        case 2: text = text.slice(0, at) + pick(PIECES) + text.slice(end); break;
        case 3: text = text.slice(0, at) + text.slice(at, end).repeat(2)
            + text.slice(end); break;
        case 4: text = text.slice(0, at) + pick(pool).slice(random(20)); break;
        // as a client begins it
        default: text = pick(['2', '3', '5', '51-', '62-', '0', '4'])
            + text.slice(1); break;
        }
    }

    // a text that is not UTF-8 comes to neither of them

    return text.toWellFormed ? text.toWellFormed()
        : Buffer.from(text).toString();
}

const pool = fs.readdirSync(corpus)
    .map((name) => fs.readFileSync(path.join(corpus, name)))
    .filter((bytes) => Buffer.from(bytes.toString()).equals(bytes))
    .map((bytes) => bytes.toString());

pool.unshift(...[...refused, ...taken].map(([, , example]) => example));

const given = pool.length;

function packet(n) {
    if (n < given) {
        return pool[n];
    }

    if (random(4) === 0 || pool.length < 50) {
        const text = encoded();

        pool[pool.length < 2000 ? pool.length : given + random(2000 - given)]
            = text;
        return text;
    }

    return changed(pick(pool));
}

// -------------------------------------------------------------------- the whole

const faults = [];
const seen = new Map();
let both = 0;
let neither = 0;

function fault(what, text, our, their) {
    if (faults.length < 20) {
        faults.push(`${what}: ${JSON.stringify(text)}\n#     ours   `
            + `${util.inspect(our, { breakLength: Infinity })}\n#     theirs `
            + util.inspect(their, { breakLength: Infinity }));
    }
}

function same(a, b) {
    return a.type === b.type && a.attachments === b.attachments
        && a.id === b.id && a.nsp === b.nsp
        && util.isDeepStrictEqual(a.data, b.data);
}

function judge(text, our, their) {
    if (our.refused && their.refused) {
        neither++;
        return;
    }

    if (!our.refused && !their.refused) {
        both++;

        if (!same(our, their)) {
            fault('not the same', text, our, their);
        } else if (!same(theirs(our.written), their)) {
            fault('written differently', text, our, their);
        }

        return;
    }

    const why = (our.refused ? refused : taken).find(
        ([, , , matches]) => matches(text, form(text), their));

    if (why) {
        seen.set(why, (seen.get(why) || 0) + 1);
    } else {
        fault(our.refused ? 'refused here' : 'taken here', text, our, their);
    }
}

(async () => {
    const end = options.time ? Date.now() + options.time * 1000 : Infinity;
    const most = options.time ? Infinity : options.packets;
    let n = 0;

    while (n < most && Date.now() < end && ended === false) {
        const texts = [];

        for (let i = 0; i < BATCH && n < most; i++, n++) {
            texts.push(packet(n));
        }

        const lines = await Promise.all(texts.map(ask));

        texts.forEach((text, i) => {
            if (lines[i] !== null) {
                judge(text, ours(lines[i]), theirs(text));
            }
        });
    }

    if (ended === false) {
        await new Promise((resolve) => {
            child.on('close', resolve);
            child.stdin.end();
        });
    }

    const names = [...refused, ...taken];

    console.log(`1..${names.length + 4}`);

    let i = 0;
    const ok = (good, name) => console.log(
        `${good ? 'ok' : 'not ok'} ${++i} - ${name}`);

    ok(ended === true, typeof ended === 'string' ? ended
        : `${n} packets, seed ${options.seed}`);
    ok(faults.length === 0, 'the same, but for what is meant to be different');
    faults.forEach((text) => console.log(`# ${text}`));
    ok(both > n / 10, `packets that both take: ${both} of ${n}`);
    ok(neither > n / 100, `and that neither does: ${neither}`);

    // a difference that there is no more has no place in the list

    for (const why of names) {
        ok(seen.get(why) > 0, `${refused.includes(why) ? 'refused' : 'taken'}`
            + `: ${why[0]} (${why[1]}): ${seen.get(why) || 0}`);
    }

    process.exitCode = faults.length || ended !== true ? 1 : 0;
})();
