
/* The connection of a client: bytes in, bytes out. */


#include <stdarg.h>
#include <sys/epoll.h>

#include "client.h"
#include "programs.h"
#include "verdict.h"


void
client_send(client_t *c, const char *fmt, ...)
{
    int      n;
    char     buf[1024];
    va_list  args;

    va_start(args, fmt);
    n = vsnprintf(buf, sizeof(buf), fmt, args);
    va_end(args);

    client_log(c, "> %s", buf);

    if (c->polls) {
        poll_send(&c->poll, buf, n);

    } else {
        client_frame(c, 1, buf, n);
    }
}


void
client_emit(client_t *c, uint64_t ack, const char *event, const char *fmt, ...)
{
    char     data[256];
    va_list  args;

    va_start(args, fmt);
    vsnprintf(data, sizeof(data), fmt, args);
    va_end(args);

    if (c->proto == SIO) {
        client_send(c, "42%" PRIu64 "[\"%s\",%s]", ack, event, data);

    } else {
        client_send(c, "{\"event\":\"%s\",\"data\":%s,\"ack\":%" PRIu64
                    "}", event, data, ack);
    }
}


void
client_frame(client_t *c, int opcode, const char *p, size_t len)
{
    frame_put(&c->out, opcode, p, len);
    io_want(&c->io, c->io.events | EPOLLOUT);
}


static void
client_head(client_t *c)
{
    str_t   s;
    head_t  head;

    s.data = c->in.data;
    s.len = c->in.len;

    if (!head_read(s, &head)) {
        return;
    }

    if (c->polls && (head.status == 400 || head.status == 503)) {
        client_log(c, "no upgrade: %d", head.status);
        client_probe_lost(c, "refused");
        return;
    }

    if (head.status != (c->proto == SSE ? 200 : 101)) {
        violation(c, -1, "the server has answered %d:\n%.*s", head.status,
                  (int) head.len, c->in.data);
        client_down(c, "refused", 0);
        return;
    }

    c->chunked = head.chunked;
    c->headed = 1;

    memset(&c->chunks, 0, sizeof(c->chunks));

    take(&c->in, head.len);

    if (c->polls) {
        client_frame(c, 1, lit("2probe"));
        c->probe = PROBE_SENT;
        return;
    }

    c->state = OPEN;
}


static void
client_read(client_t *c, size_t max)
{
    ssize_t  n;

    n = io_read(&c->io, &c->in, max);

    if (n == -1 && c->polls) {
        client_probe_lost(c, "connection closed");
        return;
    }

    if (n == -1) {

        if (c->state != CLOSING) {
            tally.closed++;
        }

        client_down(c, "connection closed", 0);
        return;
    }

    if (n == 0) {
        return;
    }

    tally.bytes += n;
    c->heard = run.now;

    if (!c->headed) {
        client_head(c);

        if (!c->headed) {
            return;
        }
    }

    if (c->proto == SSE) {
        client_stream(c);

    } else {
        client_frames(c);
    }
}


void
client_handler(io_t *io, uint32_t events)
{
    client_t  *c = container(io, client_t, io);

    uint32_t   want;

    if (!io_write(io, &c->out)) {

        if (c->polls) {
            client_probe_lost(c, "write failed");
            return;
        }

        tally.closed++;
        client_down(c, "write failed", 0);
        return;
    }

    want = c->out.len ? EPOLLOUT : 0;

    if (c->polls || (run.now >= c->deaf && !c->slow)) {
        want |= EPOLLIN;
    }

    io_want(io, want);

    if (events & (EPOLLHUP|EPOLLERR)
        || (events & EPOLLIN && want & EPOLLIN))
    {
        client_read(c, 1 << 18);
    }
}


/* the connection that brings events is read, or not */

void
client_hear(client_t *c, int hear)
{
    io_t  *io;

    io = &c->io;

    if (c->polls) {
        io = &c->poll.get.io;
        c->poll.get.deaf = !hear;
    }

    io_want(io, hear ? io->events | EPOLLIN : io->events & ~EPOLLIN);
}


/* the port of any node */

int
client_port(client_t *c, int *node)
{
    *node = (opt.nodes > 1 && chance(&c->rng, 50));

    return *node ? prog.beside_port : prog.nginx_port;
}


void
client_sip(client_t *c, size_t max)
{
    if (!c->polls) {
        client_read(c, max);

    } else if (c->poll.get.waiting) {
        http_read(&c->poll.get, max);
    }
}
