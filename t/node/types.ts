// Not run, only compiled: types.t wants no error.  A line with @ts-expect-error
// must be one, or the compiler complains about that.

import { io, Socket } from 'socket.io-client';
import type {
    Answer, ClientToServerEvents, ModelChunkV1, ServerToClientEvents
} from '../../conf/events';

const socket: Socket<ServerToClientEvents, ClientToServerEvents> = io();


// what comes

socket.on('connect', () => {});

socket.on('model:chunk:v1', (data, cursor) => {
    const chunk: string = data.chunk;
    const index: number | undefined = data.index;
    const user: string | null | undefined = data.userId;
    const at: string = cursor;
    const all: ModelChunkV1 = data;

    console.log(chunk, index, user, at, all);
});

socket.on('user:presence:v1', data => {
    const status: 'online' | 'away' | 'busy' | 'offline' = data.status;

    console.log(status);
});

socket.on('search:result:v1', data => {
    const urls: string[] = data.results.map(result => result.url);

    console.log(urls);
});

socket.on('sync:gap', data => {
    const lost: number | null = data.lost;

    console.log(lost);
});

// @ts-expect-error
socket.on('model:chunk:v99', () => {});

// @ts-expect-error
socket.on('model:chunk:v1', data => data.nonsense);

// @ts-expect-error
socket.on('model:chunk:v1', (data: string) => data);

// @ts-expect-error
socket.on('task:progress:v1', data => data.progress.length);


// what goes: with an acknowledgement or without, with a time limit or without

socket.emit('task:cancel:v1', { jobId: '42' });
socket.emit('task:cancel:v1', { jobId: '42' }, answer => answer.anything);
socket.emit('subscribe', { channel: 'job:42', state: true });
socket.emit('subscribe:job', '42', (answer: Answer) => answer.error);

socket.timeout(1000).emit('subscribe', { channel: 'job:42' },
    (error, answer) => {
        const e: Error = error;
        const position: string | undefined = answer.position;

        console.log(e, position);
    });

void socket.emitWithAck('task:cancel:v1', { jobId: '42' });

// @ts-expect-error
socket.emit('task:cancel:v1', { job: '42' });

// @ts-expect-error
socket.emit('task:cancel:v1', '42');

// @ts-expect-error
socket.emit('task:cancel:v1');

// @ts-expect-error
socket.emit('subscribe', { channel: 'job:42' }, answer => answer.nonsense);


// some commands only

const few: Socket<ServerToClientEvents,
                  ClientToServerEvents<'task:cancel:v1'>> = io();

few.emit('task:cancel:v1', { jobId: '42' });
few.emit('unsubscribe', { channel: 'job:42' });

// @ts-expect-error
few.emit('model:chunk:v1', { jobId: '42', chunk: 'Hel' });
