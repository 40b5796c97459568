
/* A session of Socket.IO over long-polling. */


#include "client.h"
#include "verdict.h"


static int
client_route(poll_t *p, int again)
{
    client_t  *c = container(p, client_t, poll);

    int  node;

    tally.polls++;

    if (again) {
        tally.resent++;
        client_log(c, "polls again");
    }

    return chance(&c->rng, 15) ? client_port(c, &node) : 0;
}


static void
client_poll_packet(poll_t *p, str_t packet)
{
    client_t  *c = container(p, client_t, poll);

    tally.bytes += packet.len;
    c->heard = run.now;

    if (!same(packet, "1")) {
        client_packet(c, packet);
        return;
    }

    client_log(c, "close");

    if (c->state != CLOSING) {
        tally.closed++;
    }

    client_down(c, "close packet", 0);
}


/* the worker that had the session, or that it was asked by, may be gone */

static void
client_poll_failed(poll_t *p, int status, str_t body)
{
    client_t  *c = container(p, client_t, poll);

    uint64_t                  code;
    str_t                     v;
    static const char *const  names[] = { "code" };

    client_log(c, "a request has failed: %d %.*s", status,
               (int) (body.len > 100 ? 100 : body.len), body.data);

    if (c->state == CLOSING && status == 400) {
        /* it is closed */

    } else if (status == 503) {
        tally.away++;

    } else if (status == 400 && json(body, names, &v, 1)
               && number(v, &code, 0, NULL) && (code == 1 || code == 3))
    {
        tally.unknown_sid += code == 1;
        tally.bad_request += code == 3;

    } else if (status > 0) {
        violation(c, -1, "a request was answered with %d: %.*s", status,
                  (int) (body.len > 300 ? 300 : body.len), body.data);

    } else if (c->state != CLOSING) {
        tally.closed++;
    }

    client_down(c, "a request has failed", 0);
}


/* now it is the WebSocket that has the session */

static void
client_poll_paused(poll_t *p)
{
    client_t  *c = container(p, client_t, poll);

    buf_t  queue;
    str_t  rest, packet;

    queue = p->queue;
    memset(&p->queue, 0, sizeof(buf_t));

    poll_close(p);

    client_log(c, "upgraded");
    tally.upgraded++;

    c->polls = 0;
    c->probe = NO_PROBE;
    c->node = c->probe_node;
    c->moving = 1;

    client_frame(c, 1, lit("5"));

    for (rest = text(&queue); packet_read(&rest, &packet); /* void */ ) {
        client_frame(c, 1, packet.data, packet.len);
    }

    free(queue.data);

    client_hear(c, run.now >= c->deaf && !c->slow);
}


const poll_handlers_t  client_polling = {
    client_route,
    client_poll_packet,
    client_poll_paused,
    client_poll_failed
};


/* 0: the client is down */

int
client_poll_tick(client_t *c)
{
    if (c->deaf || c->slow) {
        return 1;
    }

    if (run.now - c->heard > SILENCE) {
        violation(c, -1, "no answer to a poll in %d s", SILENCE / 1000);
        client_down(c, "timed out", 0);
        return 0;
    }

    if (c->probe == PROBE_LATER) {

        if (run.now >= c->probed && c->state == OPEN) {
            client_probe(c);
        }

    } else if (c->probe && run.now - c->probed > SILENCE) {
        violation(c, -1, "no upgrade in %d s", SILENCE / 1000);
        client_down(c, "timed out", 0);
        return 0;
    }

    return 1;
}
