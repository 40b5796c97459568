
/* A session of long-polling that goes on over WebSocket. */


#include "client.h"
#include "verdict.h"


void
client_probe(client_t *c)
{
    buf_t  uri;

    c->probed = run.now;

    if (!io_connect(&c->io, client_port(c, &c->probe_node), 0, 0)) {
        client_probe_lost(c, "refused at once");
        return;
    }

    tally.probes++;

    c->probe = PROBE_CONNECTING;
    c->headed = 0;
    c->in.len = 0;
    c->out.len = 0;

    memset(&uri, 0, sizeof(uri));
    putf(&uri, "/socket.io/?EIO=4&transport=websocket&%.*s&sid=%s",
         (int) c->poll.query.len, c->poll.query.data, c->poll.sid);

    request_put(&c->out, SIO, 1, uri.data, uri.len);
    put(&c->out, lit("\r\n"));

    free(uri.data);

    client_log(c, "probes");
}


/* a client may think better of it */

void
client_probe_answer(client_t *c, str_t s)
{
    if (c->probe != PROBE_SENT || !same(s, "3probe")) {
        violation(c, -1, "the probe was answered with \"%.*s\"",
                  (int) (s.len > 300 ? 300 : s.len), s.data);
        client_down(c, "bad probe", 0);
        return;
    }

    client_log(c, "3probe");

    if (run.phase == RUNNING && chance(&c->rng, 10)) {
        client_probe_lost(c, "given up");
        return;
    }

    c->probe = PROBE_PAUSE;

    poll_pause(&c->poll);
}


/* the poll still has the session, and goes on */

void
client_probe_lost(client_t *c, const char *why)
{
    client_log(c, "the probe is lost: %s", why);

    tally.probes_lost++;

    io_close(&c->io);

    c->in.len = 0;
    c->out.len = 0;
    c->headed = 0;

    c->probe = chance(&c->rng, 50) ? PROBE_LATER : NO_PROBE;
    c->probed = run.now + below(&c->rng, 500);

    if (c->poll.pausing) {
        poll_resume(&c->poll);
    }
}
