
/* The way from nginx to Redis, which can be made slow, or no way at all. */


#include <sys/epoll.h>

#include "programs.h"
#include "proxy.h"


#define PAIRS   256
#define CHUNK   65536
#define KEPT    262144                  /* bytes that the other side may lag */


typedef struct {
    io_t                 io;
    buf_t                out;           /* what it is still to get */
    double               debt;          /* bytes that may be read from it */
    int                  side;          /* of the pair */
} side_t;

typedef struct {
    side_t               sides[2];      /* nginx, Redis */
    int                  used;
} pair_t;


static io_t     listener;
static pair_t   pairs[PAIRS];
static long     limit = PROXY_OPEN;
static int64_t  ticked;


static pair_t *
pair_of(side_t *s)
{
    return container(s - s->side, pair_t, sides);
}


static void
pair_close(pair_t *p)
{
    int  i;

    for (i = 0; i < 2; i++) {
        io_close(&p->sides[i].io);
        p->sides[i].out.len = 0;
    }

    p->used = 0;
}


/* what is read, and what is waited for */

static void
side_want(side_t *s)
{
    pair_t    *p;
    uint32_t   want;

    p = pair_of(s);
    want = s->out.len ? EPOLLOUT : 0;

    if (limit == PROXY_OPEN && p->sides[!s->side].out.len < KEPT) {
        want |= EPOLLIN;
    }

    io_want(&s->io, want);
}


/* 0: the pair is gone */

static int
side_pass(side_t *s, size_t max)
{
    pair_t   *p;
    side_t   *to;
    ssize_t   n;

    p = pair_of(s);
    to = &p->sides[!s->side];

    n = io_read(&s->io, &to->out, max);

    if (!io_write(&to->io, &to->out) || n == -1) {
        pair_close(p);
        return 0;
    }

    if (n > 0 && limit != PROXY_OPEN) {
        s->debt -= n;
    }

    side_want(s);
    side_want(to);

    return 1;
}


static void
side_handler(io_t *io, uint32_t events)
{
    side_t  *s = container(io, side_t, io);

    if (!io_write(io, &s->out)) {
        pair_close(pair_of(s));
        return;
    }

    if (io->events & EPOLLIN && events & (EPOLLIN|EPOLLHUP|EPOLLERR)) {
        side_pass(s, CHUNK);
        return;
    }

    if (events & (EPOLLHUP|EPOLLERR)) {
        pair_close(pair_of(s));
        return;
    }

    side_want(s);
    side_want(&pair_of(s)->sides[!s->side]);
}


static void
listener_handler(io_t *io, uint32_t events)
{
    int      i, fd;
    pair_t  *p;

    while ((fd = io_accept(io)) != -1) {

        for (i = 0; i < PAIRS && pairs[i].used; i++) {
            /* void */
        }

        if (i == PAIRS) {
            die("more than %d connections to Redis", PAIRS);
        }

        p = &pairs[i];
        p->used = 1;

        for (i = 0; i < 2; i++) {
            p->sides[i].side = i;
            p->sides[i].debt = 0;
            p->sides[i].io.handler = side_handler;
        }

        p->sides[0].io.fd = fd;
        io_add(&p->sides[0].io, EPOLLIN);

        p->sides[1].io.fd = -1;

        if (!io_connect(&p->sides[1].io, prog.redis_port, 0, 0)) {
            pair_close(p);
        }
    }
}


int
proxy_init(void)
{
    int  i;

    for (i = 0; i < PAIRS; i++) {
        pairs[i].sides[0].io.fd = -1;
        pairs[i].sides[1].io.fd = -1;
    }

    listener.handler = listener_handler;

    return io_listen(&listener);
}


void
proxy_tick(void)
{
    int      i, k;
    double   more;
    side_t  *s;

    more = (limit == PROXY_OPEN) ? 0
                                 : (run.now - ticked) * (double) limit / 1000;
    ticked = run.now;

    if (more == 0) {
        return;
    }

    for (i = 0; i < PAIRS; i++) {
        for (k = 0; k < 2 && pairs[i].used; k++) {
            s = &pairs[i].sides[k];
            s->debt = (s->debt + more > CHUNK) ? CHUNK : s->debt + more;

            if (s->debt >= 1
                && pairs[i].sides[!k].out.len < KEPT
                && !side_pass(s, (size_t) s->debt))
            {
                break;
            }
        }
    }
}


void
proxy_rate(long rate)
{
    int  i, k;

    limit = rate;
    ticked = run.now;

    for (i = 0; i < PAIRS; i++) {
        for (k = 0; k < 2 && pairs[i].used; k++) {
            pairs[i].sides[k].debt = 0;
            side_want(&pairs[i].sides[k]);
        }
    }
}


void
proxy_cut(void)
{
    int  i;

    for (i = 0; i < PAIRS; i++) {
        if (pairs[i].used) {
            io_reset(&pairs[i].sides[0].io);
            io_reset(&pairs[i].sides[1].io);
            pair_close(&pairs[i]);
        }
    }
}
