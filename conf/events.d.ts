// The types of events.schema.json, made by "make types": not to be edited.
//
//     import { io, Socket } from "socket.io-client";
//     import type { ServerToClientEvents, ClientToServerEvents }
//         from "./events";
//
//     const socket: Socket<ServerToClientEvents, ClientToServerEvents> = io();

/** A model begins to answer. */
export interface ModelStartV1 {
    jobId: string;
    userId?: string | null;
    model?: string;
    total?: number;
}

/** A piece of the answer; index counts the pieces of a job. */
export interface ModelChunkV1 {
    jobId: string;
    userId?: string | null;
    chunk: string;
    index?: number;
    total?: number;
    offset?: number;
}

/** The whole answer; duration in milliseconds. */
export interface ModelCompleteV1 {
    jobId: string;
    userId?: string | null;
    text?: string;
    tokens?: number;
    duration?: number;
}

/** There will be no more of the answer. */
export interface ModelErrorV1 {
    jobId: string;
    userId?: string | null;
    error: string;
    code?: string;
}

/** A search begins. */
export interface SearchStartV1 {
    jobId: string;
    userId?: string | null;
    query?: string;
}

/** Results so far, or some more of them. */
export interface SearchResultV1 {
    jobId: string;
    userId?: string | null;
    results: {
        title: string;
        url: string;
        snippet?: string;
        score?: number;
    }[];
    index?: number;
    total?: number;
}

/** The search is over; duration in milliseconds. */
export interface SearchCompleteV1 {
    jobId: string;
    userId?: string | null;
    total?: number;
    duration?: number;
}

/** The search has failed. */
export interface SearchErrorV1 {
    jobId: string;
    userId?: string | null;
    error: string;
    code?: string;
}

/** A research begins. */
export interface ResearchStartV1 {
    jobId: string;
    userId?: string | null;
    topic?: string;
}

/** A piece of the report. */
export interface ResearchChunkV1 {
    jobId: string;
    userId?: string | null;
    chunk: string;
    index?: number;
    total?: number;
}

/** A source that the report is built on. */
export interface ResearchSourceV1 {
    jobId: string;
    userId?: string | null;
    url: string;
    title?: string;
    snippet?: string;
}

/** The whole report; duration in milliseconds. */
export interface ResearchCompleteV1 {
    jobId: string;
    userId?: string | null;
    text?: string;
    sources?: number;
    tokens?: number;
    duration?: number;
}

/** How far a task is, in percent. */
export interface TaskProgressV1 {
    jobId: string;
    userId?: string | null;
    progress: number;
    status?: string;
    message?: string;
}

/** A task is done. */
export interface TaskCompleteV1 {
    jobId: string;
    userId?: string | null;
    progress?: number;
    status?: string;
    message?: string;
    result?: unknown;
}

/** A task has failed. */
export interface TaskErrorV1 {
    jobId: string;
    userId?: string | null;
    progress?: number;
    status?: string;
    message?: string;
    error?: string;
}

/** Asks for the end of a task; from a client, a command. */
export interface TaskCancelV1 {
    jobId: string;
    userId?: string | null;
    progress?: number;
    status?: string;
    message?: string;
}

/** The job waits for a worker. */
export interface JobCreatedV1 {
    jobId: string;
    userId?: string | null;
    status?: string;
    type?: string;
    timestamp?: number;
}

/** A worker has taken the job. */
export interface JobRunningV1 {
    jobId: string;
    userId?: string | null;
    status?: string;
    worker?: string;
    timestamp?: number;
}

/** How far the job is, in percent. */
export interface JobProgressV1 {
    jobId: string;
    userId?: string | null;
    status?: string;
    progress: number;
    message?: string;
    timestamp?: number;
}

/** What was done so far is safe. */
export interface JobCheckpointedV1 {
    jobId: string;
    userId?: string | null;
    status?: string;
    checkpoint?: string;
    progress?: number;
    timestamp?: number;
}

/** The job rests. */
export interface JobPausedV1 {
    jobId: string;
    userId?: string | null;
    status?: string;
    reason?: string;
    timestamp?: number;
}

/** The job goes on. */
export interface JobResumedV1 {
    jobId: string;
    userId?: string | null;
    status?: string;
    checkpoint?: string;
    progress?: number;
    timestamp?: number;
}

/** The job was ended before it was done. */
export interface JobCancelledV1 {
    jobId: string;
    userId?: string | null;
    status?: string;
    reason?: string;
    timestamp?: number;
}

/** The job is done. */
export interface JobCompletedV1 {
    jobId: string;
    userId?: string | null;
    status?: string;
    result?: unknown;
    duration?: number;
    timestamp?: number;
}

/** The job has failed. */
export interface JobFailedV1 {
    jobId: string;
    userId?: string | null;
    status?: string;
    error?: string;
    attempt?: number;
    timestamp?: number;
}

/** How far a download is: in percent, and in bytes. */
export interface DownloadProgressV1 {
    jobId: string;
    userId?: string | null;
    file?: string;
    progress?: number;
    bytes?: number;
    total?: number;
}

/** A download is there. */
export interface DownloadCompleteV1 {
    jobId: string;
    userId?: string | null;
    file?: string;
    url?: string;
    bytes?: number;
}

/** A download has failed. */
export interface DownloadErrorV1 {
    jobId: string;
    userId?: string | null;
    file?: string;
    error: string;
}

/** Where a user is seen. */
export interface UserPresenceV1 {
    userId: string;
    status: "online" | "away" | "busy" | "offline";
    lastSeen?: number;
}

/** A user has come to a channel. */
export interface UserJoinV1 {
    userId: string;
    channel?: string;
    name?: string;
    timestamp?: number;
}

/** A user has left a channel. */
export interface UserLeaveV1 {
    userId: string;
    channel?: string;
    reason?: string;
    timestamp?: number;
}

/** The data of each event. */
export interface Events {
    "model:start:v1": ModelStartV1;
    "model:chunk:v1": ModelChunkV1;
    "model:complete:v1": ModelCompleteV1;
    "model:error:v1": ModelErrorV1;
    "search:start:v1": SearchStartV1;
    "search:result:v1": SearchResultV1;
    "search:complete:v1": SearchCompleteV1;
    "search:error:v1": SearchErrorV1;
    "research:start:v1": ResearchStartV1;
    "research:chunk:v1": ResearchChunkV1;
    "research:source:v1": ResearchSourceV1;
    "research:complete:v1": ResearchCompleteV1;
    "task:progress:v1": TaskProgressV1;
    "task:complete:v1": TaskCompleteV1;
    "task:error:v1": TaskErrorV1;
    "task:cancel:v1": TaskCancelV1;
    "job:created:v1": JobCreatedV1;
    "job:running:v1": JobRunningV1;
    "job:progress:v1": JobProgressV1;
    "job:checkpointed:v1": JobCheckpointedV1;
    "job:paused:v1": JobPausedV1;
    "job:resumed:v1": JobResumedV1;
    "job:cancelled:v1": JobCancelledV1;
    "job:completed:v1": JobCompletedV1;
    "job:failed:v1": JobFailedV1;
    "download:progress:v1": DownloadProgressV1;
    "download:complete:v1": DownloadCompleteV1;
    "download:error:v1": DownloadErrorV1;
    "user:presence:v1": UserPresenceV1;
    "user:join:v1": UserJoinV1;
    "user:leave:v1": UserLeaveV1;
}

/** What the module itself sends. */
export interface ModuleEvents {
    "connected": {
        sessionId: string;
        userId: string | null;
        timestamp: number;
    };
    "state": {
        [field: string]: unknown;
        output?: string;
        position: string;
    };
    "sync:gap": { channel: string; lost: number | null; position: string };
    "sync:refused": { channel: string; error: string };
    "sync:complete": {
        jobId: string;
        replayed: number;
        lastSequence: number;
        complete: boolean;
    };
    "subscribed": { jobId: string };
    "unsubscribed": { jobId: string };
    "error": { ok: false; error: string };
    "server:shutdown": { message: string; reconnectAfter: number };
}

/** What the module itself takes. */
export interface ModuleRequests {
    "subscribe": { channel: string; after?: string; state?: boolean };
    "unsubscribe": { channel: string };
    "subscribe:job": string;
    "unsubscribe:job": string;
    "reconnect:sync": { jobId: string; lastSequence: number };
}

/** What the acknowledgement of a request says. */
export interface Answer {
    ok: boolean;
    error?: string;
    channel?: string;
    position?: string;
}

/** With rtbus_recovery off there is no cursor. */
export type ServerToClientEvents = {
    [Name in keyof Events]: (data: Events[Name], cursor: string) => void;
} & {
    [Name in Exclude<keyof ModuleEvents, keyof Events>]:
        (data: ModuleEvents[Name], cursor: string) => void;
};

/** With an acknowledgement or without. */
export type Request<Data, Ack> = (...args: [data: Data]
    | [data: Data, acknowledge: Ack]) => void;

/**
 * Which events are commands, the server's rtbus_command rules say; here it can
 * be said, too: ClientToServerEvents<"task:cancel:v1">.  The answer to one is
 * that of the producer, or an Answer.
 */
export type ClientToServerEvents<Command extends keyof Events = keyof Events> = {
    [Name in Command]: Request<Events[Name], (...answer: any[]) => void>;
} & {
    [Name in Exclude<keyof ModuleRequests, Command>]:
        Request<ModuleRequests[Name], (answer: Answer) => void>;
};
