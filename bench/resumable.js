/*
 * An application that passes the answers of a model server on, and keeps them
 * in Redis with the package resumable-stream, for rtbus_capture to be compared
 * with.
 *
 *     node bench/resumable.js DIR PORT UPSTREAM_PORT REDIS_PORT
 *
 * DIR/node_modules has the packages "resumable-stream" and "redis".
 */

"use strict";


const http = require("http");
const path = require("path");
const { createRequire } = require("module");
const { Readable } = require("stream");


const [ dir, port, upstream, redis ] = process.argv.slice(2);
const find = createRequire(path.join(path.resolve(dir), "package.json"));

const { createClient } = find("redis");
const { createResumableStreamContext } = find("resumable-stream");

const agent = new http.Agent({ keepAlive: true });


/* the body of the answer, as strings */

function asked(req) {
    return new Promise((resolve, reject) => {
        const up = http.request({
            port: upstream, host: "127.0.0.1", method: "POST", path: req.url,
            agent, headers: { "Content-Type": "application/json",
                              "Content-Length":
                                  req.headers["content-length"] }
        }, res => {
            resolve(Readable.toWeb(res).pipeThrough(new TextDecoderStream()));
        });

        up.on("error", reject);
        req.pipe(up);
    });
}


async function main() {
    const url = `redis://127.0.0.1:${redis}`;
    const publisher = createClient({ url });
    const subscriber = createClient({ url });

    await Promise.all([ publisher.connect(), subscriber.connect() ]);

    const context = createResumableStreamContext({ waitUntil: null, publisher,
                                                   subscriber });

    const answer = async (req, res) => {
        const body = await asked(req);
        const stream = await context.createNewResumableStream(
                                 req.headers["x-chat-id"], () => body);

        res.writeHead(200, { "Content-Type": "text/event-stream" });

        for await (const chunk of stream) {
            res.write(chunk);
        }

        res.end();
    };

    http.createServer((req, res) => {
        answer(req, res).catch(e => {
            console.error(e);
            res.destroy();
        });
    }).listen(Number(port), "127.0.0.1");
}


main().catch(e => {
    console.error(e);
    process.exit(1);
});
