
/* A client of Socket.IO: packets, over WebSocket or long-polling. */


#include <ctype.h>

#include "client.h"
#include "verdict.h"


/* the session has opened: to the namespace */

static void
client_opened(client_t *c)
{
    c->state = OPEN;

    if (c->kind == KIND_UPGRADE) {
        c->probe = PROBE_LATER;
        c->probed = run.now + below(&c->rng, chance(&c->rng, 50) ? 30 : 1500);
    }

    if (c->offset[0]) {
        client_send(c, "40{\"pid\":\"%s\",\"offset\":\"%s\"}", c->pid,
                    c->offset);

    } else {
        client_send(c, "40");
    }
}


static void
client_recovered(client_t *c, str_t s)
{
    int                       i;
    str_t                     v;
    static const char *const  names[] = { "pid" };

    client_log(c, "connect %.*s", (int) s.len, s.data);

    if (!json(s, names, &v, 1) || v.len == 0 || v.len >= sizeof(c->pid)) {
        violation(c, -1, "connected without a pid: %.*s", (int) s.len, s.data);
        return;
    }

    if (c->offset[0] && !same(v, c->pid)) {

        violation(c, -1, "not recovered");

        for (i = 0; i < opt.channels; i++) {
            if (c->tracks[i].known) {
                c->tracks[i].state = OUT;
            }
        }

    } else if (c->offset[0]) {
        tally.recovered++;
    }

    snprintf(c->pid, sizeof(c->pid), "%.*s", (int) v.len, v.data);
}


/* a message of Engine.IO */

void
client_packet(client_t *c, str_t s)
{
    int       n;
    str_t     v[4], null = { NULL, 0 };
    uint64_t  ack;

    if (s.len == 1 && s.data[0] == '2') {
        client_send(c, "3");
        return;
    }

    if (s.len > 1 && s.data[0] == '0') {
        client_opened(c);
        return;
    }

    if (s.len < 2 || s.data[0] != '4') {
        goto malformed;
    }

    n = s.data[1];
    s.data += 2;
    s.len -= 2;

    if (n == '0') {
        client_recovered(c, s);
        return;
    }

    if (n == '3') {
        for (ack = 0; s.len && isdigit((unsigned char) *s.data); s.len--) {
            ack = ack * 10 + (*s.data++ - '0');
        }

        if (json_array(s, v, 1) == 1) {
            client_ack(c, ack, v[0]);
            return;
        }
    }

    if (n == '2') {
        n = json_array(s, v, 4);

        if (n == 2) {
            v[2] = null;
            n = 3;
        }

        if (n == 3) {
            client_event(c, v[0], v[1], null, v[2]);
            return;
        }
    }

malformed:

    violation(c, -1, "malformed packet: %.*s",
              (int) (s.len > 300 ? 300 : s.len), s.data);
}
