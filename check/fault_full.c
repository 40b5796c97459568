
/*
 * Clients who say nothing take all connections of the workers.  New clients
 * are turned away; those who are connected lose nothing.
 */


#include <sys/epoll.h>

#include "faults.h"
#include "programs.h"


#define IDLERS   4096
#define AT_ONCE  128                    /* in a tick */


static io_t      idlers[IDLERS];
static int       nidlers;               /* of them are asked for */
static int       begun;
static int       port;
static int64_t   until;
static uint64_t  fulls;
static uint64_t  turned_away;


static void
idler_handler(io_t *io, uint32_t events)
{
    buf_t  b;

    if (events & (EPOLLIN|EPOLLHUP|EPOLLERR)) {
        memset(&b, 0, sizeof(b));

        if (io_read(io, &b, 4096) == -1) {
            turned_away++;
            io_close(io);
        }

        free(b.data);
        return;
    }

    io_want(io, EPOLLIN);
}


static void
empty(void)
{
    int  i;

    if (until == 0) {
        return;
    }

    for (i = 0; i < begun; i++) {
        io_close(&idlers[i]);
    }

    until = 0;
    nidlers = 0;
    begun = 0;
    say("%" PRIu64 " connections turned away so far", turned_away);
}


static void
fill(rng_t *r)
{
    if (until || faults.upgrade) {
        return;
    }

    nidlers = opt.workers * prog.connections + 200;
    nidlers = nidlers > IDLERS ? IDLERS : nidlers;

    port = prog.beside_pid && chance(r, 50) ? prog.beside_port
                                            : prog.nginx_port;
    until = run.now + 500 + below(r, 2000);
    fulls++;
    say("%d connections to port %d", nidlers, port);
}


static void
full_tick(void)
{
    int    i;
    io_t  *io;

    if (until == 0) {
        return;
    }

    for (i = 0; i < AT_ONCE && begun < nidlers; i++) {
        io = &idlers[begun];
        io->handler = idler_handler;
        io->fd = -1;

        if (!io_connect(io, port, 0, 0)) {
            break;
        }

        begun++;
    }

    if (run.now > until) {
        empty();
    }
}


static void
full_told(void)
{
    if (fault_asked("full")) {
        fault_told("workers full", fulls);
        fault_told("turned away", turned_away);
    }
}


const fault_t  fault_full = {
    "full", 8, fill, full_tick, empty, NULL, full_told
};
