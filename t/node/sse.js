// A stock client for event streams, for sse_clients.t: says on stdout what it
// gets, as its users would handle it.  The package, the URL and the folder of the
// packages are its arguments.

'use strict';

const [name, url, modules] = process.argv.slice(2);

const load = (module) => require(`${modules}/${module}`);

// data is JSON to everybody: what is not is the end of many a handler

function got(event, data) {
    try {
        console.log(`${event} ${JSON.stringify(JSON.parse(data))}`);

    } catch (e) {
        console.log(`bad ${event} "${data}"`);
        throw e;
    }
}

function listen(source) {
    // reconnecting-eventsource keeps the id of what it has a listener for

    for (const event of ['message', 'connected', 'sync:gap']) {
        source.addEventListener(event, (e) => got(event, e.data));
    }
}

const clients = {
    'eventsource'() {
        const { EventSource } = load('eventsource');

        listen(new EventSource(url));
    },

    'event-source-polyfill'() {
        const { EventSourcePolyfill } = load('event-source-polyfill');

        listen(new EventSourcePolyfill(url, { heartbeatTimeout: 30000 }));
    },

    'reconnecting-eventsource'() {
        const { EventSource } = load('eventsource');
        const Reconnecting = load('reconnecting-eventsource').default;

        // one that gives up is the reason to have it

        class Single extends EventSource {
            set onerror(handler) {
                super.onerror = (e) => {
                    this.close();
                    handler(e);
                };
            }
        }

        listen(new Reconnecting(url, { eventSourceClass: Single,
                                       max_retry_time: 300 }));
    },

    '@microsoft/fetch-event-source'() {
        globalThis.window = globalThis;
        globalThis.document = { addEventListener() {},
                                removeEventListener() {} };

        const { fetchEventSource } = load('@microsoft/fetch-event-source');

        fetchEventSource(url, {
            fetch,
            openWhenHidden: true,
            onmessage: (e) => got(e.event || 'message', e.data),
            onclose() { throw new Error('again'); },
            onerror: () => 300
        });
    }
};

process.on('uncaughtException', (e) => console.log(`bad ${e}`));

clients[name]();
