
/* A client of an event stream. */


#include "client.h"
#include "verdict.h"


void
client_stream(client_t *c)
{
    buf_t    *b;
    str_t     none = { NULL, 0 };
    size_t    pos, n;
    event_t   ev;

    b = &c->in;

    if (c->chunked) {
        n = chunks_read(&c->chunks, c->in.data, c->in.len);

        put(&c->text, c->in.data, n);
        c->in.len = 0;

        b = &c->text;
    }

    pos = 0;

    while (c->io.fd != -1) {

        n = event_read(b->data + pos, b->len - pos, &ev);

        if (n == 0) {
            break;
        }

        pos += n;

        if (ev.bad.data) {
            violation(c, -1, "unexpected line \"%.*s\"", (int) ev.bad.len,
                      ev.bad.data);
        }

        if (ev.data.data) {
            client_event(c, ev.name, ev.data, none, ev.id);
        }
    }

    if (c->io.fd == -1) {
        return;
    }

    take(b, pos);

    if (c->chunks.ended) {

        /* half an event is no event */

        client_log(c, "end of the stream, %zu bytes left over", b->len);

        c->state = CLOSING;
        tally.closed++;
        client_down(c, "end of the stream", 0);
    }
}
