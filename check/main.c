
/*
 * Does any client ever miss an event, get one twice, or out of order?
 *
 * Starts a Redis and an nginx of its own, writes numbered events to channels
 * in all the ways that producers have, follows them with clients that come, go
 * and resume at random, and breaks things while they do so.  check/check has
 * started it, see there for how it is used.
 *
 * What is checked, for each client and channel, from the position where the
 * client started, across all its reconnects:
 *
 *   - durable events come exactly once and in order, each with the bytes that
 *     the stream has for it in the end: the truth is the stream
 *   - the cursor of every message says for all channels of the client what it
 *     has been given, no more and no less
 *   - a sync:gap accounts for what is missing; no gap comes at all unless the
 *     stream was trimmed or deleted
 *   - live events come at most once per connection, in each producer's order
 *   - a snapshot's output and fields are those of its position
 *   - nothing comes for a channel that was left
 *
 * At the end an event without a wake-up is added to each channel, and the
 * subscriptions are cut: every client has to get it.  Then one with a wake-up.
 * Then a while without faults: now live events may not be lost either, and no
 * connection ends.
 *
 * All the time nginx is looked at, too:
 *
 *   - a worker that has to leave is gone in time
 *   - no counter of rtbus_status ever goes back, whatever becomes of workers;
 *     in the calm its numbers of workers and connections are the real ones
 *
 * With --soak memory and descriptors are judged, too; look.c says how.
 * In the end all clients go.  Then rtbus_status has no connection, no
 * subscription and no channel any more, and a worker has as many descriptors
 * as before the first client came.
 *
 * Where it is:
 *
 *     main.c phase.c run.c         options, the loop, what is done when
 *     producers.c                  who writes events
 *     answers.c upstream.c         captured answers, those who replay them
 *     client*.c                    who gets them; one file for each protocol:
 *                                  websocket.c sse.c socketio.c polling.c
 *                                  upgrade.c
 *     faults.c fault_*.c           what is broken
 *     truth.c verify.c verdict.c   what was seen, the streams, what was found
 *     look.c watch.c               memory, descriptors, counters, workers
 *     programs.c link.c request.c  nginx, Redis, and connections to them
 *
 * One thread, one epoll loop; nginx and Redis are its children.
 */


#define _GNU_SOURCE

#include <getopt.h>
#include <signal.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "answers.h"
#include "client.h"
#include "faults.h"
#include "link.h"
#include "look.h"
#include "producers.h"
#include "programs.h"
#include "request.h"
#include "verdict.h"


static void
report(void)
{
    printf("\n");
    printf("events      %" PRIu64 " in the streams: published %" PRIu64
           ", by POST %" PRIu64 ", without wake-up %" PRIu64
           ", bare XADD %" PRIu64 ", reply lost %" PRIu64 "; live %" PRIu64
           "\n", verdict.entries, produced.published, produced.posted,
           produced.silent, produced.plain, produced.unknown, produced.live);
    printf("deliveries  %" PRIu64 " durable, %" PRIu64 " live, %" PRIu64
           " MB\n", tally.durable, tally.lives, tally.bytes >> 20);
    printf("clients     %d, connects %" PRIu64 ", resumes %" PRIu64
           ", recovered %" PRIu64 ", dropped by client %" PRIu64
           ", by server %" PRIu64 ", too slow %" PRIu64 ", shutdown %" PRIu64
           "\n", nclients, tally.connects, tally.resumes, tally.recovered,
           tally.drops, tally.closed, tally.too_slow, tally.shutdowns);
    printf("polling     requests %" PRIu64 ", sent again %" PRIu64
           ", session unknown %" PRIu64 ", bad request %" PRIu64
           ", unavailable %" PRIu64 "; probes %" PRIu64 ", lost %" PRIu64
           ", upgraded %" PRIu64 "\n", tally.polls, tally.resent,
           tally.unknown_sid, tally.bad_request, tally.away, tally.probes,
           tally.probes_lost, tally.upgraded);
    printf("channels    joins %" PRIu64 ", leaves %" PRIu64 ", unavailable %"
           PRIu64 ", states %" PRIu64 " + %" PRIu64 " by HTTP, syncs %" PRIu64
           ", deaf or slow %" PRIu64 "\n", tally.joins, tally.leaves,
           tally.unavailable, tally.states, tally.http_states, tally.syncs,
           tally.deaf);
    answers_report();
    faults_report();
    printf("nginx       %" PRIu64 " old workers left, the slowest in %.1f s; "
           "%" PRIu64 " looks at the status\n", looks.left,
           looks.slowest / 1000.0, looks.answers);

    if (opt.soak) {
        report_use("master", MASTER);
        report_use("worker", WORKERS);
        printf("descriptors %d of a worker before the first client, %d after "
               "the last one\n", looks.fds_first, looks.fds_last);
    }

    printf("verdict     missing %" PRIu64 ", doubled %" PRIu64
           ", out of order %" PRIu64 ", gaps %" PRIu64 " (%" PRIu64
           " events), snapshots checked %" PRIu64 ", violations %" PRIu64
           "\n", verdict.missing, verdict.doubles, verdict.order, verdict.gaps,
           verdict.lost, verdict.snapshots, verdict.violations);
}


static void
on_signal(int sig)
{
    run.stop = 1;
}


static void
kinds_of_clients(const char *names)
{
    int     kind;
    str_t   name;
    size_t  len;

    for ( ;; ) {
        len = strcspn(names, ",");

        name.data = names;
        name.len = len;

        for (kind = 0; kind < KINDS && !same(name, kinds[kind].name); kind++) {
            /* void */
        }

        if (kind == KINDS || opt.nkinds == MAX_KINDS) {
            die("bad kinds of clients, see check/check --help");
        }

        opt.kinds[opt.nkinds++] = kind;

        if (names[len] == '\0') {
            return;
        }

        names += len + 1;
    }
}


static void
options(int argc, char **argv)
{
    int          c;
    const char  *names = "websocket,sse,socketio,polling,upgrade";

    static const struct option  list[] = {
        { "seed", 1, NULL, 's' }, { "time", 1, NULL, 't' },
        { "clients", 1, NULL, 'k' }, { "channels", 1, NULL, 'm' },
        { "rate", 1, NULL, 'r' }, { "workers", 1, NULL, 'w' },
        { "kinds", 1, NULL, 'K' }, { "nodes", 1, NULL, 'N' },
        { "module", 1, NULL, 'M' },
        { "nginx", 1, NULL, 'n' }, { "redis", 1, NULL, 'R' },
        { "dir", 1, NULL, 'd' }, { "aof", 1, NULL, 'a' },
        { "faults", 1, NULL, 'f' }, { "log", 1, NULL, 'l' },
        { "every", 1, NULL, 'e' }, { "large", 1, NULL, 'L' },
        { "answers", 1, NULL, 'A' },
        { "soak", 0, NULL, 'S' }, { "verbose", 0, NULL, 'v' },
        { NULL, 0, NULL, 0 }
    };

    opt.seed = 1;
    opt.time = 60;
    opt.clients = 40;
    opt.channels = 12;
    opt.rate = 1000;
    opt.workers = 3;
    opt.nodes = 1;
    opt.nginx = "nginx";
    opt.redis = "redis-server";
    opt.aof = "always";
    opt.faults = "worker,freeze,reload,redis,cut";
    opt.log = "info";
    opt.answers = 4;

    while ((c = getopt_long(argc, argv, "", list, NULL)) != -1) {
        switch (c) {
        case 's': opt.seed = strtoull(optarg, NULL, 10); break;
        case 't': opt.time = atof(optarg); break;
        case 'k': opt.clients = atoi(optarg); break;
        case 'm': opt.channels = atoi(optarg); break;
        case 'r': opt.rate = atof(optarg); break;
        case 'w': opt.workers = atoi(optarg); break;
        case 'K': names = optarg; break;
        case 'N': opt.nodes = atoi(optarg); break;
        case 'M': opt.module = optarg; break;
        case 'n': opt.nginx = optarg; break;
        case 'R': opt.redis = optarg; break;
        case 'd': opt.dir = optarg; break;
        case 'a': opt.aof = optarg; break;
        case 'f': opt.faults = optarg; break;
        case 'l': opt.log = optarg; break;
        case 'e': opt.every = atof(optarg); break;
        case 'L': opt.large = strtoul(optarg, NULL, 10); break;
        case 'A': opt.answers = atoi(optarg); break;
        case 'S': opt.soak = 1; break;
        case 'v': opt.verbose = 1; break;
        default: exit(2);
        }
    }

    if (opt.module == NULL || opt.dir == NULL || opt.channels < 1
        || opt.channels > MAX_CHANNELS || opt.clients < 1 || opt.workers < 1
        || opt.nodes < 1 || opt.nodes > 2)
    {
        die("started with bad options, use check/check");
    }

    kinds_of_clients(names);

    opt.lossy = strcmp(opt.aof, "always") != 0;

    if (opt.lossy) {
        /* what they would lose is no matter of a gap */
        opt.answers = 0;
    }

    opt.daemon = fault_asked("upgrade");
}


/* some clients go before the workers do, others are told to */

static void
end(void)
{
    int  i;

    run.phase = VERIFY;

    thaw();

    requests_close();

    for (i = 0; i < nclients; i += 2) {
        client_close(&clients[i]);
    }

    programs_quit();

    usleep(400000);

    for (i = 0; i < nclients; i++) {
        client_close(&clients[i]);
    }

    programs_end();
}


static void
init(void)
{
    int  i;

    run.zero = clock_ms();

    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);

    io_init();

    programs_init();

    for (i = 0; i < opt.channels; i++) {
        snprintf(chans[i].name, sizeof(chans[i].name), "job:c%d", i);
    }

    link_init(&control);
    requests_init();
    producers_init();
    answers_init();
    clients_init();
    faults_init();
}


int
main(int argc, char **argv)
{
    int  i;

    options(argc, argv);

    init();

    redis_start();

    while (run.phase != VERIFY) {

        io_wait(TICK);
        run.now = clock_ms();
        io_handle();

        reap();

        link_tick(&control);
        faults_tick();
        look_tick();
        phase_tick();
        producers_tick();
        answers_tick();

        for (i = 0; i < nclients; i++) {
            client_tick(&clients[i]);
        }

        requests_tick();

        if (run.stop && run.phase <= RUNNING && run.stop++ > 1) {
            break;
        }
    }

    if (run.phase == VERIFY) {
        verify();

        /* what is free already a sanitizer keeps for a while */

        if (opt.soak && getenv("RTBUS_SANITIZED") == NULL) {
            soaked();
        }
    }

    end();
    report();

    return verdict.violations || run.stop ? 1 : 0;
}
