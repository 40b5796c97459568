
/* A client over WebSocket, and the frames of Socket.IO. */


#include "client.h"
#include "verdict.h"


/* a message of the WebSocket */

static void
client_message(client_t *c, str_t s)
{
    str_t                     v[5];
    uint64_t                  ack;
    static const char *const  names[] = { "event", "data", "channel", "cursor",
                                          "ack" };

    if (!json(s, names, v, 5)) {
        violation(c, -1, "malformed message: %.*s",
                  (int) (s.len > 300 ? 300 : s.len), s.data);
        return;
    }

    if (v[4].data && number(v[4], &ack, 0, NULL)) {
        client_ack(c, ack, v[1]);
        return;
    }

    client_event(c, v[0], v[1], v[2], v[3]);
}


/* what is complete of the input; the rest is kept */

void
client_frames(client_t *c)
{
    buf_t    *b;
    str_t     s;
    size_t    pos, n;
    frame_t   frame;

    b = &c->in;
    pos = 0;

    while (c->io.fd != -1) {

        n = frame_read(b->data + pos, b->len - pos, &frame);

        if (n == 0) {
            break;
        }

        s = frame.payload;
        pos += n;

        switch (frame.first) {

        case 0x81:
            if (c->polls) {
                client_probe_answer(c, s);

            } else if (c->proto == SIO) {
                c->moving = 0;
                client_packet(c, s);

            } else {
                client_message(c, s);
            }

            break;

        case 0x88:
            client_log(c, "close %d %.*s",
                       s.len >= 2 ? (uint8_t) s.data[0] << 8
                                    | (uint8_t) s.data[1] : 0,
                       s.len > 2 ? (int) s.len - 2 : 0,
                       s.len > 2 ? s.data + 2 : "");

            if (c->polls) {
                client_probe_lost(c, "closed");
                return;
            }

            if (s.len >= 2 && s.data[0] == 3 && (uint8_t) s.data[1] == 0xf5) {
                tally.too_slow++;

            } else if (c->moving) {
                /* the session was lost on its way */
                tally.closed++;

            } else if (c->state != CLOSING
                       && !(s.len >= 2 && s.data[0] == 3
                            && (uint8_t) s.data[1] == 0xf4))
            {
                violation(c, -1, "closed by the server");
            }

            client_down(c, "close frame", 0);
            return;

        case 0x89:
            client_frame(c, 10, s.data, s.len);
            break;

        default:
            violation(c, -1, "frame with opcode %02x", frame.first);
            client_down(c, "bad frame", 0);
            return;
        }
    }

    if (c->io.fd != -1) {
        take(b, pos);
    }
}
