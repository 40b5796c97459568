// Runs a program of the manual that is meant for a page: the second argument is
// its file, the first one JSON with "token" and "url", where the page would have
// come from.  What the page would show is printed, one JSON string a line, each
// time that it changes.

'use strict';

const fs = require('fs');
const vm = require('vm');

const { io } = require('socket.io-client');
const { EventSource } = require('eventsource');
const { WebSocket } = require('ws');

const { token, url } = JSON.parse(process.argv[2]);

let text = '';

const output = {
    get textContent() {
        return text;
    },

    set textContent(value) {
        text = value;
        console.log(JSON.stringify(text));
    }
};

vm.runInNewContext(fs.readFileSync(process.argv[3], 'utf8'), {
    crypto: require('crypto').webcrypto, encodeURIComponent, fetch, setTimeout,
    EventSource, WebSocket, output, token,
    io: (...args) => io(...(typeof args[0] === 'string' ? [] : [ url ]),
                        ...args)
});
