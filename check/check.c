
/*
 * Does any client ever miss an event, get one twice, or out of order?
 *
 * Starts a Redis and an nginx of its own, writes numbered events to channels
 * in all the ways that producers have, follows them with clients that come, go
 * and resume at random, and breaks things meanwhile.  check/check starts it,
 * see there for how it is used.
 *
 * What is checked, for each client and channel, from the position where the
 * client started, across all its reconnects:
 *
 *   - durable events come exactly once and in order, each with the bytes that
 *     the stream has for it in the end: the truth is the stream
 *   - the cursor of every message says for all channels of the client what it
 *     has been given, no more and no less
 *   - a sync:gap accounts for what is missing; there is none at all unless the
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
 * With --soak memory and descriptors are judged, too.
 *
 * Memory is anonymous memory: of the master, and of those workers that do not
 * leave, their mean, once a second.  From a third of the time on a straight
 * line is fitted to each of the two by least squares.  It may rise by SOAK_RISE
 * KB, which is for the holes that a heap gets, and SOAK_SLOPE KB more for each
 * minute.  Where workers are killed or have to leave it is the master, from
 * which all of them are made, that would grow; where they are not, each lives
 * through all.
 *
 * In the end all clients go.  Then rtbus_status has no connection, no
 * subscription and no channel any more, and a worker has as many descriptors
 * as before the first client came.
 *
 * One thread, one epoll loop; nginx and Redis are its children.
 */


#define _GNU_SOURCE

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <hiredis/hiredis.h>

#include "http.h"
#include "io.h"
#include "poll.h"
#include "proto.h"
#include "watch.h"


#define MAX_CHANNELS      64
#define MAX_JOINED        6             /* channels of one client at a time */
#define MAX_LIVES         64            /* of a channel that is made anew */
#define PRODUCERS         4
#define HTTP_SLOTS        64
#define PENDING           256           /* unanswered commands of a producer */
#define LOG_LINES         48            /* kept of each client */
#define SHOWN             6             /* violations shown in full */
#define MAX_WORKERS       256           /* with those that leave */
#define MAX_KINDS         32

#define TICK              2             /* all times are milliseconds */
#define SILENCE           20000         /* a server that says nothing */
#define CATCH_UP          30000         /* until all are at the end */
#define CALM_TIME         1500
#define HUSH              1000          /* at most, before Redis is killed */
#define LOOK              1000          /* at nginx's processes */
#define TELL              10            /* looks */
#define LEAVE             12000         /* a worker that has to */

#define SOAK_RISE         1024          /* KB, in all */
#define SOAK_SLOPE        32            /* KB more for each minute */
#define MAXLEN            "1000000000"


typedef struct {
    uint64_t             state;
} rng_t;


/* Redis */

typedef struct link_s  link_t;
typedef struct call_s  call_t;

struct call_s {
    call_t              *next;
    void               (*handler)(link_t *l, call_t *call, redisReply *reply);
    int                  chan;
    uint64_t             hash;
    uint64_t             place;
};

struct link_s {
    io_t                 io;
    int                  up;            /* PING was answered */
    int64_t              retry;
    redisReader         *reader;
    buf_t                out;
    call_t              *first;
    call_t             **last;
    unsigned             calls;
};


/* a request over HTTP, with a connection of its own */

typedef struct request_s  request_t;
typedef struct client_s  client_t;

struct request_s {
    http_t               http;
    int                  used;
    int64_t              since;
    void               (*handler)(request_t *r, int status, str_t body);
    int                  chan;
    int                  has_events;    /* the channel had some */
    uint64_t             hash;
    client_t            *cli;
    unsigned             generation;    /* of the client */
};


/*
 * A position in one number, its place: which life of the channel, and the seq.
 * Places of a channel are in the order of its events.
 */

#define place_of(life, seq)  ((uint64_t) (life) << 32 | (seq))
#define life_of(place)       ((int) ((place) >> 32))
#define seq_of(place)        ((place) & 0xffffffff)


/* what was seen of a channel from its making to its end */

typedef struct {
    uint64_t             epoch;
    uint64_t            *seen;          /* by seq: hash of name and data */
    uint64_t             size;
} life_t;


typedef struct {
    char                 name[16];      /* "job:c<N>" */
    life_t               lives[MAX_LIVES];
    int                  nlives;        /* that were seen */
    int                  remade;        /* it was deleted so many times */
    uint64_t             top;           /* the greatest place that was seen */
    uint64_t             trimmed;       /* up to here, by us */
    uint64_t             final;         /* 0: not published yet */
    uint32_t             live[PRODUCERS];
    int                  busy;          /* XADD or DEL under way */
    int                  refused;       /* an event without a wake-up */

    /* the truth */

    uint64_t             first;
    uint64_t             count;
    uint64_t            *out_hash;      /* of the output up to seq */
    uint64_t            *out_len;
    uint32_t            *progress;
} chan_t;


/* one client in one channel */

enum { OUT = 0, JOINING, IN, LEAVING };
enum { NONE = 0, ZERO, AFTER, STATE, SYNC, JOB };

typedef struct {
    unsigned             want:1;
    unsigned             known:1;       /* last is */
    unsigned             peek:1;        /* asks for a state, being in */
    int                  state;
    int                  mode;
    uint64_t             last;          /* place */
    uint64_t             asked;         /* number of the request, 0: none */
    int64_t              since;         /* of the request */
    int64_t              retry;
    uint64_t             replayed;      /* since it was asked */
    uint32_t             live[PRODUCERS];
} track_t;


typedef enum {
    KIND_WEBSOCKET = 0, KIND_SSE, KIND_SOCKETIO, KIND_POLLING, KIND_UPGRADE,
    KINDS
} kind_e;


enum { IDLE = 0, ASKING, CONNECTING, OPEN, CLOSING };

/* a WebSocket that is to have the session of a poll */

enum { NO_PROBE = 0, PROBE_LATER, PROBE_CONNECTING, PROBE_SENT, PROBE_PAUSE };

struct client_s {
    io_t                 io;
    int                  id;
    kind_e               kind;
    proto_e              proto;
    rng_t                rng;
    int                  faithful;      /* never forgets what it had */

    int                  state;
    int                  connected;     /* has got that event */
    int                  headed;        /* has got the head */
    int                  chunked;
    chunks_t             chunks;
    unsigned             generation;    /* of the connection */
    int64_t              since;         /* connected at */
    int64_t              heard;
    int64_t              next;          /* action */
    int64_t              deaf;          /* does not read until */
    int                  slow;          /* reads little by little */
    int64_t              sip;

    buf_t                in;            /* of the connection */
    buf_t                text;          /* SSE: without chunks */
    buf_t                out;

    track_t              tracks[MAX_CHANNELS];
    uint64_t             acks;

    char                 pid[128];      /* Socket.IO */
    char                 offset[MAX_JOINED * 80];  /* to be sent with it */

    int                  node;          /* 1: the other one has its session */
    poll_t               poll;
    int                  polls;         /* it has the session, not the io */
    int                  probe;         /* where the upgrade is */
    int                  probe_node;
    int                  moving;        /* nothing came since the upgrade */
    int64_t              probed;        /* since then, or it begins then */

    unsigned             lines;
    char                 log[LOG_LINES][200];
};


typedef struct {
    int                  cli;
    int                  chan;
    uint64_t             place;
    uint64_t             hash;
    uint64_t             len;
    uint32_t             progress;
} snapshot_t;


/*
 * RUNNING is what takes the time.  Then all producers STOP; QUIET and LAST
 * have one event each per channel; in the CALM nothing is broken; END has one
 * event more.  When it is EMPTY all clients are gone.
 */

typedef enum {
    STARTING, RUNNING, STOPPING, QUIET, LAST, CALM, END, EMPTY, VERIFY
} phase_e;


/* a worker that was told to leave, or says so */

typedef struct {
    pid_t                pid;
    int64_t              since;
    int                  late;
} leaver_t;


static struct {
    /* options */

    uint64_t             seed;
    double               time;
    int                  clients;
    kind_e               kinds[MAX_KINDS];  /* they take turns */
    int                  nkinds;
    int                  channels;
    double               rate;
    int                  workers;
    int                  nodes;
    const char          *module;
    const char          *nginx;
    const char          *redis;
    const char          *dir;
    const char          *aof;
    const char          *faults;
    size_t               large;         /* bytes, of one event in a thousand */
    double               every;         /* seconds, 0: at random */
    const char          *log;
    int                  soak;
    int                  verbose;

    int64_t              zero;
    int64_t              now;
    phase_e              phase;
    int                  ready;         /* the library is there */
    int64_t              began;         /* to run */
    int64_t              ended;
    int64_t              until;
    int                  step;          /* of the phase */
    int64_t              since;         /* nothing changes any more */
    int                  stop;

    int                  redis_port;
    int                  nginx_port;
    pid_t                redis_pid;
    pid_t                nginx_pid;
    int                  daemon;        /* nginx is one, to be upgraded */
    pid_t                launcher;      /* that has made it one */
    pid_t                nginx_old;     /* the one before the upgrade */
    int                  beside_port;   /* the other node */
    pid_t                beside_pid;
    int                  upgrade;       /* step of it, 0: none */
    int64_t              upgraded;      /* it was begun */
    int64_t              redis_start;   /* it is down until */
    int64_t              redis_kill;    /* TERM was not enough */
    int64_t              hush;          /* producers pause until then */
    pid_t                frozen;
    int64_t              thaw;

    rng_t                rng;           /* producers */
    rng_t                fault_rng;
    int64_t              fault;         /* the next one */
    int64_t              reload;        /* not before */
    double               debt;
    int64_t              paid;
    int64_t              burst;
    uint32_t             n;             /* events made */

    link_t               producers[PRODUCERS];
    link_t               quiet;
    link_t               control;
    unsigned             waiting;

    int                  lossy;         /* Redis may forget */

    /* nginx, looked at */

    int64_t              look;          /* the next one */
    leaver_t             leavers[MAX_WORKERS];
    int                  nleavers;
    int64_t              slowest;       /* of those that have left */

    int64_t              ask;           /* for the status, next */
    int64_t              asked;         /* the one that was answered last */
    int                  asking;
    metrics_t            metrics;

    series_t             memory[2];     /* of the MASTER, of WORKERS */
    series_t             fds[2];
    int                  fds_first;     /* of a worker without clients */
    int                  fds_last;
} g;


enum { MASTER = 0, WORKERS };


static const char *const  modes[] = {
    "none", "zero", "after", "state", "sync", "job"
};

static const struct {
    const char  *name;
    proto_e      proto;

} kinds[] = {
    { "websocket", WS },
    { "sse", SSE },
    { "socketio", SIO },
    { "polling", SIO },
    { "upgrade", SIO }
};

static chan_t       chans[MAX_CHANNELS];
static client_t    *clients;
static int          nclients;
static request_t    requests[HTTP_SLOTS];
static snapshot_t  *snapshots;
static size_t       nsnapshots, size_snapshots;
static uint8_t     *in_stream;


static struct {
    uint64_t  published, silent, plain, live, posted;
    uint64_t  refused, unknown, races;
    uint64_t  durable, lives, bytes;
    uint64_t  connects, resumes, recovered, drops, closed, shutdowns;
    uint64_t  joins, leaves, unavailable, states, syncs, deaf, too_slow;
    uint64_t  http_states;
    uint64_t  polls, resent, unknown_sid, bad_request, away;
    uint64_t  probes, probes_lost, upgraded;
    uint64_t  kills, freezes, reloads, upgrades;
    uint64_t  redis_term, redis_kill, redis_freeze;
    uint64_t  cut_sub, cut_cmd, trims, remakes;
    uint64_t  gaps, lost;
    uint64_t  missing, doubles, order, violations;
    uint64_t  snapshots, entries;
    uint64_t  left, status;
} count;


static void client_down(client_t *c, const char *why, int quick);
static void client_probe_answer(client_t *c, str_t s);
static void client_probe_lost(client_t *c, const char *why);
static void client_send(client_t *c, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static void client_emit(client_t *c, uint64_t ack, const char *event,
    const char *fmt, ...) __attribute__((format(printf, 4, 5)));


/* ------------------------------------------------------------- utilities */


static int64_t
clock_ms(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000 - g.zero;
}


static void
say(const char *fmt, ...)
{
    va_list  args;

    if (!g.verbose) {
        return;
    }

    printf("%7.3f  ", g.now / 1000.0);
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    printf("\n");
    fflush(stdout);
}


/* splitmix64 */

static uint64_t
rnd(rng_t *r)
{
    uint64_t  z;

    z = (r->state += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;

    return z ^ (z >> 31);
}


static uint32_t
below(rng_t *r, uint32_t n)
{
    return n ? (uint32_t) ((rnd(r) >> 32) * n >> 32) : 0;
}


static int
chance(rng_t *r, int percent)
{
    return below(r, 100) < (uint32_t) percent;
}


static void
seed(rng_t *r, uint64_t id)
{
    r->state = g.seed * 0x2545f4914f6cdd1d + id;
    rnd(r);
    rnd(r);
}


#define HASH_START  0xcbf29ce484222325ull

static uint64_t
hash(uint64_t h, const char *p, size_t len)
{
    while (len--) {
        h = (h ^ (uint8_t) *p++) * 0x100000001b3;
    }

    return h;
}


static uint64_t
hash_event(str_t name, str_t data)
{
    uint64_t  h;

    h = hash(HASH_START, name.data, name.len);
    h = hash(h, "", 1);
    h = hash(h, data.data, data.len);

    return h ? h : 1;
}


static int
position(str_t s, uint64_t *epoch, uint64_t *seq)
{
    str_t  rest;

    return number(s, epoch, '-', &rest) && number(rest, seq, 0, NULL);
}


/* not one that the kernel gives to outgoing connections; held by UDP */

static int
free_port(rng_t *r)
{
    int                  i, one = 1, fd, port;
    struct sockaddr_in   sin;

    for (i = 0; i < 1000; i++) {
        port = 10000 + below(r, 22000);

        memset(&sin, 0, sizeof(sin));
        sin.sin_family = AF_INET;
        sin.sin_port = htons(port);
        sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);

        fd = socket(AF_INET, SOCK_DGRAM|SOCK_CLOEXEC, 0);

        if (bind(fd, (struct sockaddr *) &sin, sizeof(sin)) == -1) {
            close(fd);
            continue;
        }

        fd = socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, 0);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(int));

        if (bind(fd, (struct sockaddr *) &sin, sizeof(sin)) == 0) {
            close(fd);
            return port;
        }

        close(fd);
    }

    die("no free port");
    return 0;
}


/* ------------------------------------------------------------ violations */


/* a place as a position, for a moment */

static const char *
spell(int chan, uint64_t place)
{
    char         *p;
    static int    n;
    static char   buf[8][48];

    p = buf[n++ % 8];

    snprintf(p, sizeof(buf[0]), "%" PRIu64 "-%" PRIu64,
             place ? chans[chan].lives[life_of(place)].epoch : 0,
             (uint64_t) seq_of(place));

    return p;
}


static void
client_log(client_t *c, const char *fmt, ...)
{
    int      n;
    char    *line;
    va_list  args;

    line = c->log[c->lines++ % LOG_LINES];

    n = snprintf(line, sizeof(c->log[0]), "%9.3f #%u ", g.now / 1000.0,
                 c->generation);

    va_start(args, fmt);
    vsnprintf(line + n, sizeof(c->log[0]) - n, fmt, args);
    va_end(args);
}


static void
violation(client_t *c, int chan, const char *fmt, ...)
{
    int       i;
    unsigned  line;
    va_list   args;
    track_t  *t;

    if (count.violations++ >= SHOWN) {
        return;
    }

    printf("\nVIOLATION at %.3f s: ", g.now / 1000.0);
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    printf("\n");

    if (chan >= 0) {
        printf("  channel %s, seen up to %s\n", chans[chan].name,
               spell(chan, chans[chan].top));
    }

    if (c) {
        printf("  client %d, %s, connection #%u since %.3f\n", c->id,
               kinds[c->kind].name, c->generation, c->since / 1000.0);

        for (i = 0; i < g.channels; i++) {
            t = &c->tracks[i];

            if (t->want || t->state != OUT) {
                printf("    %-8s %s last:%s%s %s\n",
                       chans[i].name,
                       t->state == OUT ? "out" : t->state == JOINING
                       ? "joining" : t->state == IN ? "in" : "leaving",
                       spell(i, t->last), t->known ? "" : " (unknown)",
                       modes[t->mode]);
            }
        }

        line = c->lines > LOG_LINES ? c->lines - LOG_LINES : 0;

        for ( /* void */ ; line < c->lines; line++) {
            printf("    %s\n", c->log[line % LOG_LINES]);
        }
    }

    fflush(stdout);
}


/* ----------------------------------------------------------------- truth */


static int
chan_find(str_t name)
{
    uint64_t  i;
    str_t     s;

    if (name.len < 6 || memcmp(name.data, "job:c", 5) != 0) {
        return -1;
    }

    s.data = name.data + 5;
    s.len = name.len - 5;

    if (!number(s, &i, 0, NULL) || i >= (uint64_t) g.channels) {
        return -1;
    }

    return (int) i;
}


/* the place of a position; 0: there can be no such one */

static int
find_place(client_t *c, int chan, str_t pos, uint64_t *place)
{
    int       i;
    chan_t   *ch;
    uint64_t  epoch, seq;

    ch = &chans[chan];

    if (!position(pos, &epoch, &seq)) {
        violation(c, chan, "malformed position \"%.*s\"", (int) pos.len,
                  pos.data);
        return 0;
    }

    *place = 0;

    if (epoch == 0 && seq == 0) {
        return 1;
    }

    for (i = ch->nlives - 1; i >= 0; i--) {
        if (ch->lives[i].epoch == epoch) {
            break;
        }
    }

    if (i == -1) {

        if (ch->nlives > ch->remade || ch->nlives == MAX_LIVES
            || (ch->nlives && epoch < ch->lives[ch->nlives - 1].epoch))
        {
            violation(c, chan, "a position of another epoch: \"%.*s\"",
                      (int) pos.len, pos.data);
            return 0;
        }

        i = ch->nlives++;
        ch->lives[i].epoch = epoch;
    }

    if (seq > 100000000) {
        violation(c, chan, "position \"%.*s\"", (int) pos.len, pos.data);
        return 0;
    }

    *place = place_of(i, seq);

    return 1;
}


/* an event at its place, from whoever has it; c: NULL: it is a producer */

static void
seen(client_t *c, int chan, uint64_t place, uint64_t h)
{
    chan_t    *ch;
    life_t    *life;
    uint64_t   size, seq;

    ch = &chans[chan];
    life = &ch->lives[life_of(place)];
    seq = seq_of(place);

    if (seq >= life->size) {

        size = life->size ? life->size : 1024;

        while (size <= seq) {
            size *= 2;
        }

        life->seen = renew(life->seen, size * sizeof(uint64_t));
        memset(life->seen + life->size, 0,
               (size - life->size) * sizeof(uint64_t));
        life->size = size;
    }

    if (life->seen[seq] == 0) {
        life->seen[seq] = h;

    } else if (life->seen[seq] != h && !g.lossy) {
        violation(c, chan, "event %s is not what others have got",
                  spell(chan, place));
    }

    if (place > ch->top) {
        ch->top = place;
    }
}


/* ----------------------------------------------------------------- Redis */


static void link_handler(io_t *io, uint32_t events);


static void
link_down(link_t *l)
{
    call_t  *call;

    io_close(&l->io);

    l->up = 0;
    l->retry = g.now + 30;
    l->out.len = 0;

    if (l->reader) {
        redisReaderFree(l->reader);
        l->reader = NULL;
    }

    while (l->first) {
        call = l->first;
        l->first = call->next;

        if (l->first == NULL) {
            l->last = &l->first;
        }

        l->calls--;

        if (call->handler) {
            call->handler(l, call, NULL);
        }

        free(call);
    }
}


static call_t *
link_call(link_t *l, void (*handler)(link_t *l, call_t *call, redisReply *r),
    int argc, const char **argv, const size_t *len)
{
    char     *cmd;
    call_t   *call;
    int64_t   n;

    n = redisFormatCommandArgv(&cmd, argc, argv, len);

    if (n < 0) {
        die("no memory");
    }

    put(&l->out, cmd, n);
    redisFreeCommand(cmd);

    call = calloc(1, sizeof(call_t));

    if (call == NULL) {
        die("no memory");
    }

    call->handler = handler;

    *l->last = call;
    l->last = &call->next;
    l->calls++;

    io_want(&l->io, EPOLLIN|EPOLLOUT);

    return call;
}


/* words without blanks in them */

static call_t *
link_command(link_t *l, void (*handler)(link_t *l, call_t *call,
    redisReply *r), const char *fmt, ...)
{
    int          argc;
    char         line[256], *word, *save;
    size_t       len[16];
    va_list      args;
    const char  *argv[16];

    va_start(args, fmt);
    vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);

    argc = 0;

    for (word = strtok_r(line, " ", &save); word;
         word = strtok_r(NULL, " ", &save))
    {
        argv[argc] = word;
        len[argc++] = strlen(word);
    }

    return link_call(l, handler, argc, argv, len);
}


static void
link_greeted(link_t *l, call_t *call, redisReply *reply)
{
    if (reply && reply->type != REDIS_REPLY_ERROR) {
        l->up = 1;
    }
}


static void
link_tick(link_t *l)
{
    if (l->io.fd != -1) {

        if (!l->up && g.now > l->retry) {
            /* it loads, or does not listen */
            link_down(l);
        }

        return;
    }

    if (g.now < l->retry || g.redis_pid == 0) {
        return;
    }

    l->io.handler = link_handler;

    if (l->last == NULL) {
        l->last = &l->first;
    }

    if (!io_connect(&l->io, g.redis_port, 0, 0)) {
        l->retry = g.now + 30;
        return;
    }

    l->retry = g.now + 5000;
    l->reader = redisReaderCreate();

    link_command(l, link_greeted, "PING");
}


static void
link_handler(io_t *io, uint32_t events)
{
    link_t      *l = container(io, link_t, io);

    int          first;
    void        *reply;
    buf_t        b;
    call_t      *call;
    ssize_t      n;

    if (!io_write(io, &l->out)) {
        link_down(l);
        return;
    }

    io_want(io, l->out.len ? EPOLLIN|EPOLLOUT : EPOLLIN);

    if (!(events & (EPOLLIN|EPOLLHUP|EPOLLERR))) {
        return;
    }

    memset(&b, 0, sizeof(b));
    n = io_read(io, &b, 1 << 20);

    if (n > 0 && redisReaderFeed(l->reader, b.data, b.len) != REDIS_OK) {
        n = -1;
    }

    free(b.data);

    while (n > 0) {

        if (redisReaderGetReply(l->reader, &reply) != REDIS_OK) {
            n = -1;
            break;
        }

        if (reply == NULL) {
            break;
        }

        call = l->first;

        if (call == NULL) {
            die("unexpected reply of Redis");
        }

        l->first = call->next;

        if (l->first == NULL) {
            l->last = &l->first;
        }

        l->calls--;
        first = !l->up;

        if (call->handler) {
            call->handler(l, call, reply);
        }

        freeReplyObject(reply);
        free(call);

        if (first && !l->up) {
            /* it is loading */
            n = -1;
            break;
        }
    }

    if (n == -1) {
        link_down(l);
    }
}


/* ------------------------------------------------------------- producers */


/*
 * Without a wake-up, but complete: a transaction of some producer's own.  The
 * function goes on from the stream's last id.
 */

static const char  silent_script[] =
    "local k = KEYS[1] .. ':events'\n"
    "local i = redis.pcall('XINFO', 'STREAM', k)\n"
    "if i.err then return redis.error_reply('ERR no stream') end\n"
    "local id\n"
    "for n = 1, #i, 2 do\n"
    "  if i[n] == 'last-generated-id' then id = i[n + 1] end\n"
    "end\n"
    "local e, s = string.match(id, '(%d+)-(%d+)')\n"
    "id = e .. '-' .. string.format('%d', tonumber(s) + 1)\n"
    "redis.call('XADD', k, id, 'event', ARGV[1], 'data', ARGV[2],\n"
    "           'timestamp', ARGV[4])\n"
    "redis.call('APPEND', KEYS[1] .. ':output', ARGV[3] .. ';')\n"
    "redis.call('HSET', KEYS[1] .. ':state', 'progress', ARGV[3])\n"
    "return id\n";


static const char *const  paddings[] = {
    "abcdefghijklmnopqrstuvwxyz", "\\n", "\\\"", "\\\\", "\xc3\xa9",
    "\xf0\x9f\x98\x80", "\\u00e9", "\x7f", "{", "]", ",", " ", "\\r\\n"
};


/* {"c":<channel>,"p":<producer>,"n":<n>[,"t":1],"pad":"..."} */

static void
make_data(buf_t *b, int chan, int producer, uint32_t n, int token)
{
    size_t  len;

    putf(b, "{\"c\":%d,\"p\":%d,\"n\":%u%s", chan, producer, n,
         token ? ",\"t\":1" : "");

    switch (below(&g.rng, 100)) {

    case 0:
        /* in the calm nobody's buffer is to be full */

        len = (g.phase == RUNNING) ? 2000 + below(&g.rng, 12000) : 0;

        if (len && g.large && below(&g.rng, 10) == 0) {
            len = g.large / 2 + below(&g.rng, g.large / 2);
        }

        break;

    case 1:
    case 2:
    case 3:
    case 4:
    case 5:
    case 6:
        len = below(&g.rng, 700);
        break;

    default:
        len = 0;
    }

    if (len) {
        put(b, lit(",\"pad\":\""));

        for (len += b->len; b->len < len; /* void */) {
            putf(b, "%s", paddings[below(&g.rng, sizeof(paddings)
                                                 / sizeof(paddings[0]))]);
        }

        put(b, lit("\""));
    }

    put(b, lit("}"));
}


static str_t
text(buf_t *b)
{
    str_t  s;

    s.data = b->data;
    s.len = b->len;

    return s;
}


static str_t
reply_text(redisReply *reply)
{
    str_t  s;

    s.data = reply->str ? reply->str : "";
    s.len = reply->len;

    return s;
}


static void
published(link_t *l, call_t *call, redisReply *reply)
{
    if (reply == NULL) {
        count.unknown++;
        return;
    }

    if (reply->type != REDIS_REPLY_STRING
        || !find_place(NULL, call->chan, reply_text(reply), &call->place))
    {
        count.refused++;
        return;
    }

    seen(NULL, call->chan, call->place, call->hash);
}


static void
count_published(link_t *l, call_t *call, redisReply *reply)
{
    published(l, call, reply);
    count.published += call->place != 0;
}


static void
count_silent(link_t *l, call_t *call, redisReply *reply)
{
    published(l, call, reply);
    count.silent += call->place != 0;
}


static void
set_final(link_t *l, call_t *call, redisReply *reply)
{
    published(l, call, reply);

    g.waiting--;

    if (call->place) {
        chans[call->chan].final = call->place;

    } else if (reply) {
        chans[call->chan].refused = 1;
    }
}


static void
publish(link_t *l, int producer, int chan, int final)
{
    buf_t         data;
    char          key[24], n[16], token[16];
    str_t         name;
    size_t        len[13];
    call_t       *call;
    const char   *argv[13];

    memset(&data, 0, sizeof(data));

    g.n++;
    snprintf(n, sizeof(n), "%u", g.n);
    snprintf(token, sizeof(token), "%u;", g.n);
    snprintf(key, sizeof(key), "{%s}", chans[chan].name);
    make_data(&data, chan, producer, g.n, 1);

    name.data = final ? "last:v1" : "token:v1";
    name.len = strlen(name.data);

    argv[0] = "FCALL";
    argv[1] = "rtbus_publish";
    argv[2] = "1";
    argv[3] = chance(&g.rng, 50) ? key : chans[chan].name;
    argv[4] = name.data;
    argv[5] = data.data;
    argv[6] = "APPEND";
    argv[7] = token;
    argv[8] = "MAXLEN";
    argv[9] = MAXLEN;
    argv[10] = "SET";
    argv[11] = "progress";
    argv[12] = n;

    for (int i = 0; i < 13; i++) {
        len[i] = (i == 5) ? data.len : strlen(argv[i]);
    }

    call = link_call(l, final ? set_final : count_published, 13, argv, len);
    call->chan = chan;
    call->hash = hash_event(name, text(&data));

    free(data.data);
}


static void
publish_silent(link_t *l, int producer, int chan, int final)
{
    buf_t        data;
    char         key[24], n[16], now[24];
    str_t        name = { lit("silent:v1") };
    size_t       len[8];
    call_t      *call;
    const char  *argv[8];

    memset(&data, 0, sizeof(data));

    g.n++;
    snprintf(n, sizeof(n), "%u", g.n);
    snprintf(now, sizeof(now), "%lld", (long long) time(NULL) * 1000);
    snprintf(key, sizeof(key), "{%s}", chans[chan].name);
    make_data(&data, chan, producer, g.n, 1);

    argv[0] = "EVAL";
    argv[1] = silent_script;
    argv[2] = "1";
    argv[3] = key;
    argv[4] = name.data;
    argv[5] = data.data;
    argv[6] = n;
    argv[7] = now;

    for (int i = 0; i < 8; i++) {
        len[i] = (i == 5) ? data.len : strlen(argv[i]);
    }

    call = link_call(l, final ? set_final : count_silent, 8, argv, len);
    call->chan = chan;
    call->hash = hash_event(name, text(&data));

    free(data.data);
}


/* the last id is read, the next one added; another producer may be first */

static void
added(link_t *l, call_t *call, redisReply *reply)
{
    uint64_t  place;

    chans[call->chan].busy = 0;

    if (reply == NULL) {
        count.unknown++;
        return;
    }

    if (reply->type != REDIS_REPLY_STRING
        || !find_place(NULL, call->chan, reply_text(reply), &place))
    {
        count.races++;
        return;
    }

    seen(NULL, call->chan, place, call->hash);
    count.plain++;
}


static void
add_plain(link_t *l, call_t *call, redisReply *reply)
{
    char          key[32], id[48], now[24];
    str_t         name = { lit("plain:v1") };
    buf_t         data;
    chan_t       *ch;
    size_t        len[9];
    call_t       *next;
    uint64_t      epoch, seq;
    const char   *argv[9];

    ch = &chans[call->chan];

    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY
        || reply->elements != 1
        || !position(reply_text(reply->element[0]->element[0]), &epoch, &seq))
    {
        ch->busy = 0;
        return;
    }

    memset(&data, 0, sizeof(data));

    g.n++;
    snprintf(now, sizeof(now), "%lld", (long long) time(NULL) * 1000);
    snprintf(key, sizeof(key), "{%s}:events", ch->name);
    snprintf(id, sizeof(id), "%" PRIu64 "-%" PRIu64, epoch, seq + 1);
    make_data(&data, call->chan, PRODUCERS, g.n, 0);

    argv[0] = "XADD";
    argv[1] = key;
    argv[2] = id;
    argv[3] = "event";
    argv[4] = name.data;
    argv[5] = "data";
    argv[6] = data.data;
    argv[7] = "timestamp";
    argv[8] = now;

    for (int i = 0; i < 9; i++) {
        len[i] = (i == 6) ? data.len : strlen(argv[i]);
    }

    next = link_call(l, added, 9, argv, len);
    next->chan = call->chan;
    next->hash = hash_event(name, text(&data));

    free(data.data);
}


static void
publish_plain(link_t *l, int chan)
{
    call_t  *call;

    if (chans[chan].busy) {
        return;
    }

    chans[chan].busy = 1;

    call = link_command(l, add_plain, "XREVRANGE {%s}:events + - COUNT 1",
                        chans[chan].name);
    call->chan = chan;
}


static void
publish_live(link_t *l, int producer, int chan)
{
    buf_t        b;
    size_t       len[3];
    const char  *argv[3];

    memset(&b, 0, sizeof(b));

    putf(&b, "{\"event\":\"live:v1\",\"data\":{\"c\":%d,\"p\":%d,\"n\":%u}}",
         chan, producer, ++chans[chan].live[producer]);

    argv[0] = "PUBLISH";
    argv[1] = chans[chan].name;
    argv[2] = b.data;
    len[0] = 7;
    len[1] = strlen(argv[1]);
    len[2] = b.len;

    link_call(l, NULL, 3, argv, len);
    count.live++;

    free(b.data);
}


/* ------------------------------------------------------------------ HTTP */


static void
request_end(http_t *h, int status, str_t body)
{
    request_t  *r = container(h, request_t, http);

    http_close(h);

    r->handler(r, status, body);

    memset(r, 0, sizeof(request_t));
    h->io.fd = -1;
}


static request_t *
request_send(buf_t *request, void (*handler)(request_t *r, int status,
    str_t body))
{
    int         i;
    request_t  *r;

    for (i = 0; i < HTTP_SLOTS; i++) {
        r = &requests[i];

        if (r->used) {
            continue;
        }

        http_init(&r->http, request_end);

        if (!http_send(&r->http, request, g.nginx_port, 0)) {
            return NULL;
        }

        r->used = 1;
        r->since = g.now;
        r->handler = handler;

        return r;
    }

    return NULL;
}


static void
posted(request_t *r, int status, str_t body)
{
    str_t                     id;
    uint64_t                  place;
    static const char *const  names[] = { "id" };

    if (status == 0) {
        count.unknown++;
        return;
    }

    if (status != 201 || !json(body, names, &id, 1)
        || !find_place(NULL, r->chan, id, &place))
    {
        count.refused++;

        if (status != 503 && status != 201) {
            violation(NULL, r->chan, "POST was answered with %d", status);
        }

        return;
    }

    seen(NULL, r->chan, place, r->hash);
    count.posted++;
}


static void
publish_http(int chan)
{
    str_t       name = { lit("token:v1") };
    buf_t       data, body, request;
    request_t  *r;

    memset(&data, 0, sizeof(data));
    memset(&body, 0, sizeof(body));
    memset(&request, 0, sizeof(request));

    g.n++;
    make_data(&data, chan, PRODUCERS, g.n, 1);

    putf(&body, "{\"event\":\"token:v1\",\"data\":%.*s,\"append\":\"%u;\","
         "\"maxlen\":" MAXLEN ",\"set\":{\"progress\":%u}}",
         (int) data.len, data.data, g.n, g.n);

    putf(&request, "POST /publish/%s HTTP/1.0\r\nHost: check\r\n"
         "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
         chans[chan].name, body.len);
    put(&request, body.data, body.len);

    r = request_send(&request, posted);

    if (r) {
        r->chan = chan;
        r->hash = hash_event(name, text(&data));
    }

    free(data.data);
    free(body.data);
    free(request.data);
}


static void
produce(int chan)
{
    int      p;
    link_t  *l;

    p = below(&g.rng, PRODUCERS);
    l = &g.producers[p];

    switch (below(&g.rng, 50)) {

    case 0:
        publish_http(chan);
        return;

    case 1:
        l = &g.quiet;

        if (l->up && l->calls < PENDING) {
            publish_plain(l, chan);
        }

        return;

    case 2:
    case 3:
    case 4:
    case 5:
        l = &g.quiet;

        if (l->up && l->calls < PENDING) {
            publish_silent(l, PRODUCERS, chan, 0);
        }

        return;

    case 6:
    case 7:
    case 8:
    case 9:
        if (l->up && l->calls < PENDING) {
            publish_live(l, p, chan);
        }

        return;

    default:
        if (l->up && l->calls < PENDING) {
            publish(l, p, chan, 0);
        }
    }
}


/* holes, with live events right behind them */

static void
produce_calmly(int chan)
{
    int      p;
    link_t  *l;

    p = below(&g.rng, PRODUCERS);
    l = &g.producers[p];

    if (!l->up || l->calls >= PENDING) {
        return;
    }

    if (chance(&g.rng, 40)) {
        publish_silent(l, p, chan, 0);
    }

    publish(l, p, chan, 0);

    while (chance(&g.rng, 50)) {
        publish_live(l, p, chan);
    }
}


static void
producers_tick(void)
{
    int  i, chan;

    if ((g.phase != RUNNING && g.phase != CALM) || g.hush) {
        g.paid = g.now;
        return;
    }

    g.debt += (g.now - g.paid) * g.rate / 1000;
    g.paid = g.now;

    /* what could not be done in time is let be */

    if (g.debt > g.rate / 5 + 1) {
        g.debt = g.rate / 5 + 1;
    }

    while (g.phase == CALM && g.debt >= 1) {
        g.debt -= 3;
        produce_calmly(below(&g.rng, g.channels));
    }

    if (g.now > g.burst && g.phase == RUNNING) {
        g.burst = g.now + 200 + below(&g.rng, 2000);
        chan = below(&g.rng, g.channels);

        for (i = below(&g.rng, 200); i; i--) {
            produce(chan);
            g.debt -= 1;
        }
    }

    while (g.debt >= 1) {
        g.debt -= 1;
        produce(below(&g.rng, g.channels));
    }
}


/* --------------------------------------------------------------- clients */


static void
snapshot(client_t *c, int chan, str_t data, uint64_t *last)
{
    str_t                     v[3];
    uint64_t                  place, progress;
    snapshot_t               *s;
    static const char *const  names[] = { "position", "output", "progress" };

    if (!json(data, names, v, 3) || !find_place(c, chan, v[0], &place)) {
        violation(c, chan, "malformed state: %.*s",
                  (int) (data.len > 100 ? 100 : data.len), data.data);
        return;
    }

    progress = 0;

    if (v[2].data) {
        number(v[2], &progress, 0, NULL);
    }

    if (nsnapshots == size_snapshots) {
        size_snapshots = size_snapshots ? size_snapshots * 2 : 1024;
        snapshots = renew(snapshots, size_snapshots * sizeof(snapshot_t));
    }

    s = &snapshots[nsnapshots++];

    s->cli = c->id;
    s->chan = chan;
    s->place = place;
    s->hash = hash(HASH_START, v[1].data, v[1].len);
    s->len = v[1].len;
    s->progress = (uint32_t) progress;

    *last = place;
}


/*
 * The cursor has each channel that the client is in, and says exactly what the
 * client has got.  A channel whose position is not known yet starts here.
 */

static void
client_cursor(client_t *c, str_t cursor)
{
    int          i, chan, found[MAX_CHANNELS];
    str_t        entry, pos;
    track_t     *t;
    uint64_t     place;
    const char  *p, *end, *comma, *at;

    memset(found, 0, sizeof(int) * g.channels);

    for (p = cursor.data, end = p + cursor.len; p < end; p = comma + 1) {

        comma = memchr(p, ',', end - p);

        if (comma == NULL) {
            comma = end;
        }

        at = memchr(p, '@', comma - p);

        entry.data = p;
        entry.len = at ? at - p : 0;
        pos.data = at + 1;
        pos.len = at ? comma - at - 1 : 0;

        chan = chan_find(entry);

        if (chan == -1 || found[chan]) {
            violation(c, chan, "malformed cursor \"%.*s\"",
                      (int) cursor.len, cursor.data);
            return;
        }

        found[chan] = 1;
        t = &c->tracks[chan];

        if (t->state == OUT) {
            violation(c, chan, "the cursor has a channel that was left: "
                      "\"%.*s\"", (int) cursor.len, cursor.data);
            continue;
        }

        if (!find_place(c, chan, pos, &place)) {
            continue;
        }

        if (!t->known) {
            if (t->state == IN) {
                t->known = 1;
                t->last = place;
                client_log(c, "%s starts at %s", chans[chan].name,
                           spell(chan, place));
            }

            continue;
        }

        if (place != t->last) {
            violation(c, chan, "the cursor says %s, the client has %s: "
                      "\"%.*s\"", spell(chan, place), spell(chan, t->last),
                      (int) cursor.len, cursor.data);
            t->last = place;
        }
    }

    for (i = 0; i < g.channels; i++) {
        t = &c->tracks[i];

        if (t->state == IN && t->known && !found[i]) {
            violation(c, i, "the cursor lacks channel %s: \"%.*s\"",
                      chans[i].name, (int) cursor.len, cursor.data);
        }
    }
}


static int
cursor_entry(client_t *c, str_t cursor, int chan, uint64_t *place)
{
    size_t       len;
    str_t        pos;
    const char  *p, *end, *comma, *name;

    name = chans[chan].name;
    len = strlen(name);

    for (p = cursor.data, end = p + cursor.len; p < end; p = comma + 1) {

        comma = memchr(p, ',', end - p);

        if (comma == NULL) {
            comma = end;
        }

        if ((size_t) (comma - p) > len && memcmp(p, name, len) == 0
            && p[len] == '@')
        {
            pos.data = p + len + 1;
            pos.len = comma - pos.data;

            return find_place(c, chan, pos, place) && *place;
        }
    }

    return 0;
}


static void
client_durable(client_t *c, int chan, str_t name, str_t data, str_t cursor)
{
    track_t   *t;
    uint64_t   place, next;

    t = &c->tracks[chan];

    if (!cursor_entry(c, cursor, chan, &place)) {
        violation(c, chan, "no position with \"%.*s\"", (int) data.len,
                  data.data);
        return;
    }

    count.durable++;
    t->replayed++;

    if (!t->known) {
        t->known = 1;
        t->last = place - 1;
        client_log(c, "%s starts at %s", chans[chan].name,
                   spell(chan, t->last));
    }

    /* after nothing at all comes the first one of any life */

    next = t->last ? t->last + 1 : place_of(life_of(place), 1);

    if (place < next) {
        count.doubles++;
        violation(c, chan, "event %s comes again, after %s",
                  spell(chan, place), spell(chan, t->last));

    } else if (place > next) {
        count.missing += life_of(place) == life_of(next) ? place - next : 1;
        violation(c, chan, "event %s comes after %s",
                  spell(chan, place), spell(chan, t->last));
    }

    seen(c, chan, place, hash_event(name, data));

    t->last = place;
}


static void
client_live(client_t *c, int chan, str_t *v)
{
    track_t   *t;
    uint64_t   p, n;

    t = &c->tracks[chan];

    if (!number(v[1], &p, 0, NULL) || p >= PRODUCERS
        || !number(v[2], &n, 0, NULL) || n > chans[chan].live[p])
    {
        violation(c, chan, "live event that nobody has sent");
        return;
    }

    count.lives++;

    if (n <= t->live[p]) {
        if (n == t->live[p]) {
            count.doubles++;

        } else {
            count.order++;
        }

        violation(c, chan, "live event %" PRIu64 " of producer %" PRIu64
                  " comes after %u", n, p, t->live[p]);

    } else if (g.phase >= CALM && n != t->live[p] + 1) {
        count.missing += n - t->live[p] - 1;
        violation(c, chan, "live event %" PRIu64 " of producer %" PRIu64
                  " comes after %u, and nothing was broken", n, p,
                  t->live[p]);
    }

    t->live[p] = n;
}


static void
client_gap(client_t *c, str_t data)
{
    int                       chan;
    str_t                     v[3];
    chan_t                   *ch;
    track_t                  *t;
    uint64_t                  place, last, lost;
    static const char *const  names[] = { "channel", "lost", "position" };

    count.gaps++;

    client_log(c, "sync:gap %.*s", (int) data.len, data.data);

    if (!json(data, names, v, 3) || (chan = chan_find(v[0])) == -1) {
        violation(c, -1, "malformed sync:gap %.*s", (int) data.len,
                  data.data);
        return;
    }

    if (!find_place(c, chan, v[2], &place)) {
        return;
    }

    ch = &chans[chan];
    t = &c->tracks[chan];

    if (t->state == OUT || !t->known) {
        violation(c, chan, "sync:gap in a channel where the client is not");
        return;
    }

    if (g.lossy) {
        /* whatever was lost may have been the end of the stream */
        t->last = place;
        return;
    }

    /* nothing at all is before the beginning of any life */

    last = t->last ? t->last : place_of(life_of(place), 0);

    if (life_of(place) != life_of(last) || place == 0) {

        /* made anew, or gone; what it has now is all to come */

        if (ch->remade == 0 || (place && place < last)
            || (seq_of(place) != 0 && place > ch->trimmed)
            || !same(v[1], "null"))
        {
            violation(c, chan, "sync:gap from %s to %s says that %.*s are "
                      "lost, the channel was made anew %d times",
                      spell(chan, t->last), spell(chan, place),
                      (int) v[1].len, v[1].data, ch->remade);
        }

    } else if (place > ch->trimmed && ch->remade <= life_of(place)) {
        violation(c, chan, "sync:gap up to %s, but the stream was trimmed up "
                  "to %s at most", spell(chan, place),
                  spell(chan, ch->trimmed));

    } else if (!number(v[1], &lost, 0, NULL) || place != last + lost) {
        violation(c, chan, "sync:gap from %s to %s says that %.*s are lost",
                  spell(chan, t->last), spell(chan, place), (int) v[1].len,
                  v[1].data);

    } else {
        count.lost += lost;
    }

    t->last = place;
}


/* the channel of which a state is waited for */

static int
asked_for(client_t *c)
{
    int       i;
    track_t  *t;

    for (i = 0; i < g.channels; i++) {
        t = &c->tracks[i];

        if (t->peek || (t->state == JOINING && t->mode == STATE)) {
            return i;
        }
    }

    return -1;
}


static void
client_event(client_t *c, str_t name, str_t data, str_t channel, str_t cursor)
{
    int                       chan, live;
    str_t                     v[5];
    track_t                  *t;
    uint64_t                  n;
    static const char *const  event[] = { "c", "p", "n" };
    static const char *const  sync[] = { "jobId", "replayed", "lastSequence",
                                         "complete" };

    if (!c->connected && !same(name, "connected")
        && !same(name, "server:shutdown"))
    {
        violation(c, -1, "\"%.*s\" comes before \"connected\"",
                  (int) name.len, name.data);
    }

    if (name.len > 3 && memcmp(name.data + name.len - 3, ":v1", 3) == 0) {

        if (!json(data, event, v, 3) || !number(v[0], &n, 0, NULL)
            || n >= (uint64_t) g.channels)
        {
            violation(c, -1, "malformed event: %.*s", (int) data.len,
                      data.data);
            return;
        }

        chan = (int) n;
        t = &c->tracks[chan];
        live = same(name, "live:v1");

        if (channel.data && !same(channel, chans[chan].name)) {
            violation(c, chan, "the channel is given as \"%.*s\"",
                      (int) channel.len, channel.data);
        }

        if (t->state == OUT) {
            violation(c, chan, "event of a channel where the client is not");
            return;
        }

        if (t->state == JOINING && (!t->known || live)) {
            violation(c, chan, "event before the channel is joined");
        }

        if (live) {
            client_live(c, chan, v);

        } else {
            client_durable(c, chan, name, data, cursor);
        }

        client_cursor(c, cursor);

        return;
    }

    if (same(name, "connected")) {
        client_log(c, "connected, cursor \"%.*s\"", (int) cursor.len,
                   cursor.data);

        if (c->connected) {
            violation(c, -1, "connected twice");
        }

        c->connected = 1;

    } else if (same(name, "sync:gap")) {
        client_gap(c, data);

    } else if (same(name, "server:shutdown")) {
        client_log(c, "server:shutdown");
        count.shutdowns++;

    } else if (same(name, "state")) {

        if (c->proto == SIO) {
            /* one is asked for at a time */
            chan = asked_for(c);

        } else {
            chan = chan_find(channel);
        }

        if (chan == -1 || (c->tracks[chan].mode != STATE
                           && !c->tracks[chan].peek))
        {
            violation(c, chan, "a state that was not asked for");
            return;
        }

        t = &c->tracks[chan];
        count.states++;

        /* who is in the channel already goes on from there, too */

        snapshot(c, chan, data, &t->last);
        t->known = 1;

        client_log(c, "%s state at %s", chans[chan].name,
                   spell(chan, t->last));

    } else if (same(name, "sync:complete")) {

        str_t  job;
        char   full[24];

        if (!json(data, sync, v, 4)) {
            violation(c, -1, "malformed sync:complete");
            return;
        }

        job.data = full;
        job.len = snprintf(full, sizeof(full), "job:%.*s", (int) v[0].len,
                           v[0].data);
        chan = chan_find(job);

        if (chan == -1 || c->tracks[chan].mode != SYNC) {
            violation(c, chan, "sync:complete that was not asked for");
            return;
        }

        t = &c->tracks[chan];
        count.syncs++;

        if (!number(v[2], &n, 0, NULL) || n != seq_of(t->last)) {
            violation(c, chan, "sync:complete, lastSequence:%" PRIu64, n);
        }

        if (!number(v[1], &n, 0, NULL) || n != t->replayed) {
            violation(c, chan, "sync:complete, replayed:%" PRIu64 ", %" PRIu64
                      " came", n, t->replayed);
        }

        if (!same(v[3], "true") && !chans[chan].trimmed && !g.lossy) {
            violation(c, chan, "sync:complete is not complete");
        }

    } else if (same(name, "subscribed")) {
        client_log(c, "subscribed %.*s", (int) data.len, data.data);

    } else if (same(name, "sync:cursor") && c->proto == SIO) {
        client_log(c, "sync:cursor %.*s", (int) data.len, data.data);

    } else {
        violation(c, -1, "unexpected event \"%.*s\" %.*s", (int) name.len,
                  name.data, (int) data.len, data.data);
        return;
    }

    client_cursor(c, cursor);
}


static void
client_ack(client_t *c, uint64_t id, str_t data)
{
    int                       chan;
    str_t                     v[4];
    track_t                  *t;
    uint64_t                  place;
    static const char *const  names[] = { "ok", "error", "channel",
                                          "position" };

    for (chan = 0; chan < g.channels; chan++) {
        if (c->tracks[chan].asked == id) {
            break;
        }
    }

    client_log(c, "ack %" PRIu64 " %.*s", id,
               (int) (data.len > 120 ? 120 : data.len), data.data);

    if (chan == g.channels || !json(data, names, v, 4)) {
        violation(c, -1, "ack that was not expected: %" PRIu64 " %.*s", id,
                  (int) data.len, data.data);
        return;
    }

    t = &c->tracks[chan];
    t->asked = 0;

    if (!same(v[0], "true")) {

        if (!same(v[1], "unavailable")) {
            violation(c, chan, "refused: %.*s", (int) data.len, data.data);
        }

        count.unavailable++;

        if (t->state == JOINING) {
            t->state = OUT;
            t->retry = g.now + 50 + below(&c->rng, 400);
        }

        t->peek = 0;
        return;
    }

    if (!same(v[2], chans[chan].name)) {
        violation(c, chan, "ack for another channel: %.*s", (int) data.len,
                  data.data);
    }

    if (t->state == LEAVING) {
        t->state = OUT;
        t->known = t->want;

        if (!t->want) {
            t->last = 0;
        }

        return;
    }

    if (!find_place(c, chan, v[3], &place)) {
        return;
    }

    if (!t->known) {

        if (t->mode == STATE) {
            violation(c, chan, "joined without the state that was asked for");
        }

        t->known = 1;
        t->last = place;

    } else if (place != t->last) {
        violation(c, chan, "the ack says %s, the client has %s",
                  spell(chan, place), spell(chan, t->last));
        t->last = place;
    }

    if (t->state == JOINING) {
        count.joins++;
    }

    t->peek = 0;
    t->state = IN;
}


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


/* the session has opened: to the namespace */

static void
client_opened(client_t *c)
{
    c->state = OPEN;

    if (c->kind == KIND_UPGRADE) {
        c->probe = PROBE_LATER;
        c->probed = g.now + below(&c->rng, chance(&c->rng, 50) ? 30 : 1500);
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

        for (i = 0; i < g.channels; i++) {
            if (c->tracks[i].known) {
                c->tracks[i].state = OUT;
            }
        }

    } else if (c->offset[0]) {
        count.recovered++;
    }

    snprintf(c->pid, sizeof(c->pid), "%.*s", (int) v.len, v.data);
}


/* a message of Engine.IO */

static void
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


static void
client_frame(client_t *c, int opcode, const char *p, size_t len)
{
    frame_put(&c->out, opcode, p, len);
    io_want(&c->io, c->io.events | EPOLLOUT);
}


static void
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


static void
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


/* what is complete of the input; the rest is kept */

static void
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
                count.too_slow++;

            } else if (c->moving) {
                /* the session was lost on its way */
                count.closed++;

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


static void
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
        count.closed++;
        client_down(c, "end of the stream", 0);
    }
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
            count.closed++;
        }

        client_down(c, "connection closed", 0);
        return;
    }

    if (n == 0) {
        return;
    }

    count.bytes += n;
    c->heard = g.now;

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


static void
client_handler(io_t *io, uint32_t events)
{
    client_t  *c = container(io, client_t, io);

    uint32_t   want;

    if (!io_write(io, &c->out)) {

        if (c->polls) {
            client_probe_lost(c, "write failed");
            return;
        }

        count.closed++;
        client_down(c, "write failed", 0);
        return;
    }

    want = c->out.len ? EPOLLOUT : 0;

    if (c->polls || (g.now >= c->deaf && !c->slow)) {
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

static void
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

static int
client_port(client_t *c, int *node)
{
    *node = (g.nodes > 1 && chance(&c->rng, 50));

    return *node ? g.beside_port : g.nginx_port;
}


static int
client_route(poll_t *p, int again)
{
    client_t  *c = container(p, client_t, poll);

    int  node;

    count.polls++;

    if (again) {
        count.resent++;
        client_log(c, "polls again");
    }

    return chance(&c->rng, 15) ? client_port(c, &node) : 0;
}


static void
client_poll_packet(poll_t *p, str_t packet)
{
    client_t  *c = container(p, client_t, poll);

    count.bytes += packet.len;
    c->heard = g.now;

    if (!same(packet, "1")) {
        client_packet(c, packet);
        return;
    }

    client_log(c, "close");

    if (c->state != CLOSING) {
        count.closed++;
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
        count.away++;

    } else if (status == 400 && json(body, names, &v, 1)
               && number(v, &code, 0, NULL) && (code == 1 || code == 3))
    {
        count.unknown_sid += code == 1;
        count.bad_request += code == 3;

    } else if (status > 0) {
        violation(c, -1, "a request was answered with %d: %.*s", status,
                  (int) (body.len > 300 ? 300 : body.len), body.data);

    } else if (c->state != CLOSING) {
        count.closed++;
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
    count.upgraded++;

    c->polls = 0;
    c->probe = NO_PROBE;
    c->node = c->probe_node;
    c->moving = 1;

    client_frame(c, 1, lit("5"));

    for (rest = text(&queue); packet_read(&rest, &packet); /* void */ ) {
        client_frame(c, 1, packet.data, packet.len);
    }

    free(queue.data);

    client_hear(c, g.now >= c->deaf && !c->slow);
}


static const poll_handlers_t  poll_handlers = {
    client_route,
    client_poll_packet,
    client_poll_paused,
    client_poll_failed
};


static void
client_probe(client_t *c)
{
    buf_t  uri;

    c->probed = g.now;

    if (!io_connect(&c->io, client_port(c, &c->probe_node), 0, 0)) {
        client_probe_lost(c, "refused at once");
        return;
    }

    count.probes++;

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

static void
client_probe_answer(client_t *c, str_t s)
{
    if (c->probe != PROBE_SENT || !same(s, "3probe")) {
        violation(c, -1, "the probe was answered with \"%.*s\"",
                  (int) (s.len > 300 ? 300 : s.len), s.data);
        client_down(c, "bad probe", 0);
        return;
    }

    client_log(c, "3probe");

    if (g.phase == RUNNING && chance(&c->rng, 10)) {
        client_probe_lost(c, "given up");
        return;
    }

    c->probe = PROBE_PAUSE;

    poll_pause(&c->poll);
}


/* the poll still has the session, and goes on */

static void
client_probe_lost(client_t *c, const char *why)
{
    client_log(c, "the probe is lost: %s", why);

    count.probes_lost++;

    io_close(&c->io);

    c->in.len = 0;
    c->out.len = 0;
    c->headed = 0;

    c->probe = chance(&c->rng, 50) ? PROBE_LATER : NO_PROBE;
    c->probed = g.now + below(&c->rng, 500);

    if (c->poll.pausing) {
        poll_resume(&c->poll);
    }
}


static void
forget(track_t *t)
{
    memset(t, 0, sizeof(track_t));
}


static int
wanted(client_t *c)
{
    int  i, n;

    for (n = 0, i = 0; i < g.channels; i++) {
        n += c->tracks[i].want;
    }

    return n;
}


/* one more channel, with one of the ways to begin; some channels are busy */

static void
client_choose(client_t *c)
{
    int       chan, ways;
    chan_t   *ch;
    track_t  *t;

    if (wanted(c) >= MAX_JOINED) {
        return;
    }

    chan = below(&c->rng, chance(&c->rng, 30) && g.channels > 1
                          ? 2 : g.channels);
    ch = &chans[chan];
    t = &c->tracks[chan];

    if (t->want || t->state != OUT) {
        return;
    }

    forget(t);
    t->want = 1;

    ways = c->faithful ? 0 : below(&c->rng, 100);

    if (ways < 20) {
        t->mode = ZERO;
        t->known = 1;
        t->last = 0;

    } else if (ways < 40 && ch->top > 0) {
        t->mode = AFTER;
        t->known = 1;
        t->last = ch->top - below(&c->rng, seq_of(ch->top) < 1000
                                           ? seq_of(ch->top) : 1000);

    } else if (ways < 65) {
        t->mode = STATE;

    } else if (ways < 80 && c->proto != SSE) {
        t->mode = JOB;

    } else {
        t->mode = NONE;
    }
}


/* before it connects again: the same, other, or all new channels */

static void
client_rethink(client_t *c)
{
    int  i, what;

    for (i = 0; i < g.channels; i++) {
        if (!c->tracks[i].want) {
            forget(&c->tracks[i]);
        }
    }

    if (g.phase == RUNNING && !c->faithful) {
        what = below(&c->rng, 100);

        if (what < 10) {
            for (i = 0; i < g.channels; i++) {
                forget(&c->tracks[i]);
            }

        } else if (what < 25) {
            i = below(&c->rng, g.channels);
            forget(&c->tracks[i]);
            client_choose(c);
        }
    }

    for (i = 0; wanted(c) == 0; i++) {
        client_choose(c);

        if (wanted(c) && c->faithful) {
            client_choose(c);
        }
    }

    while (i-- && chance(&c->rng, 60)) {
        client_choose(c);
    }
}


static void
client_close(client_t *c)
{
    io_close(&c->io);
    poll_close(&c->poll);

    c->polls = 0;
    c->probe = NO_PROBE;
    c->moving = 0;
}


static void
client_down(client_t *c, const char *why, int quick)
{
    int       i;
    track_t  *t;

    client_log(c, "down: %s", why);

    if (g.phase == CALM || g.phase == END) {
        violation(c, -1, "the connection ends, and nothing was broken");
    }

    client_close(c);

    c->in.len = 0;
    c->out.len = 0;
    c->text.len = 0;
    c->state = IDLE;
    c->connected = 0;
    c->headed = 0;
    c->slow = 0;
    c->deaf = 0;
    c->generation++;

    for (i = 0; i < g.channels; i++) {
        t = &c->tracks[i];

        if (t->state == JOINING && t->mode == STATE && !t->known) {
            t->last = 0;
        }

        t->state = OUT;
        t->asked = 0;
        t->peek = 0;
        t->retry = 0;
    }

    c->next = g.now + (quick ? 0 : g.phase == RUNNING
                       ? below(&c->rng, chance(&c->rng, 20) ? 3000 : 300)
                       : 20 + below(&c->rng, 100));

    client_rethink(c);
}


static void
client_state_answer(request_t *r, int status, str_t body)
{
    track_t   *t;
    client_t  *c;

    c = r->cli;
    t = &c->tracks[r->chan];

    if (c->generation != r->generation || c->state != ASKING) {
        return;
    }

    client_log(c, "state of %s: %d", chans[r->chan].name, status);

    c->state = IDLE;

    if (status == 200) {
        count.http_states++;
        snapshot(c, r->chan, body, &t->last);
        t->known = 1;
        c->next = g.now + below(&c->rng, 50);
        return;
    }

    if (status == 404) {
        if (r->has_events && !chans[r->chan].remade) {
            violation(c, r->chan, "no state of a channel that has events");
        }

        t->mode = ZERO;
        t->known = 1;
        t->last = 0;
        return;
    }

    if (status != 0 && status != 503) {
        violation(c, r->chan, "the state was answered with %d", status);
    }

    c->next = g.now + 100;
}


static void
client_ask(client_t *c, int chan)
{
    buf_t       request;
    request_t  *r;

    memset(&request, 0, sizeof(request));

    putf(&request, "GET /state/%s HTTP/1.0\r\nHost: check\r\n\r\n",
         chans[chan].name);

    r = request_send(&request, client_state_answer);

    if (r) {
        r->cli = c;
        r->chan = chan;
        r->has_events = (chans[chan].top != 0);
        r->generation = c->generation;

        c->state = ASKING;
        c->heard = g.now;

    } else {
        c->next = g.now + 50;
        free(request.data);
    }
}


static void
cursor_put(buf_t *b, int chan, uint64_t place)
{
    putf(b, "%s%s@%s", b->len ? "," : "", chans[chan].name,
         spell(chan, place));
}


static void
client_connect(client_t *c)
{
    int       i, n, bare, old, rcvbuf, port;
    buf_t     query, cursor, uri;
    track_t  *t;

    /* over SSE there is nobody to ask but HTTP */

    for (i = 0; c->proto == SSE && i < g.channels; i++) {
        t = &c->tracks[i];

        if (t->want && !t->known && t->mode == STATE) {
            client_ask(c, i);
            return;
        }
    }

    bare = (c->proto != SSE && chance(&c->rng, 25));
    old = (c->proto == SSE && chance(&c->rng, 20));

    memset(&query, 0, sizeof(query));
    memset(&cursor, 0, sizeof(cursor));

    n = 0;

    for (i = 0; i < g.channels && !bare; i++) {
        t = &c->tracks[i];

        if (!t->want) {
            continue;
        }

        memset(t->live, 0, sizeof(t->live));

        if (t->known) {

            if (c->proto != SIO || c->pid[0]) {
                cursor_put(&cursor, i, t->last);
                t->state = IN;
            }

            continue;
        }

        if (t->mode == NONE && n < 4) {
            putf(&query, "%s%c=%s", query.len ? "&" : "", 'a' + n++,
                 chans[i].name);
            t->state = IN;
        }
    }

    /*
     * With a large event in it, a buffer of one page loses segments on a busy
     * machine, and the kernel sends each of them again after 200 ms.
     */

    rcvbuf = chance(&c->rng, 50) ? (g.large ? 65536 : 4096) : 0;
    c->polls = (c->kind == KIND_POLLING || c->kind == KIND_UPGRADE);

    port = client_port(c, &c->node);

    if (!c->polls && !io_connect(&c->io, port, 0, rcvbuf)) {
        for (i = 0; i < g.channels; i++) {
            c->tracks[i].state = OUT;
        }

        c->next = g.now + 50;
        goto done;
    }

    c->offset[0] = '\0';

    if (cursor.len && c->proto == SIO) {
        snprintf(c->offset, sizeof(c->offset), "%.*s", (int) cursor.len,
                 cursor.data);
        cursor.len = 0;

    } else if (cursor.len && c->proto == WS) {
        putf(&query, "%scursor=%.*s", query.len ? "&" : "", (int) cursor.len,
             cursor.data);
        cursor.len = 0;

    } else if (cursor.len && old) {
        putf(&query, "%slast_event_id=%.*s", query.len ? "&" : "",
             (int) cursor.len, cursor.data);
        cursor.len = 0;
    }

    if (c->polls) {
        poll_open(&c->poll, text(&query), port, rcvbuf);
        goto connecting;
    }

    memset(&uri, 0, sizeof(uri));
    putf(&uri, "%s%.*s",
         c->proto == SIO ? "/socket.io/?EIO=4&transport=websocket&" : "/bus?",
         (int) query.len, query.data);

    request_put(&c->out, c->proto, !old, uri.data, uri.len);
    free(uri.data);

    if (cursor.len) {
        putf(&c->out, "Last-Event-ID: %.*s\r\n", (int) cursor.len,
             cursor.data);
    }

    put(&c->out, lit("\r\n"));

connecting:

    client_log(c, "connects, %.*s%s%.*s", (int) query.len, query.data,
               cursor.len ? " id " : "", (int) cursor.len, cursor.data);

    c->state = CONNECTING;
    c->since = g.now;
    c->heard = g.now;
    c->next = g.now + 200 + below(&c->rng, c->faithful ? 8000 : 4000);

    count.connects++;

    for (i = 0; i < g.channels; i++) {
        if (c->tracks[i].want && c->tracks[i].known) {
            count.resumes++;
            break;
        }
    }

done:

    free(query.data);
    free(cursor.data);
}


static void
client_ask_join(client_t *c, int chan)
{
    track_t     *t;
    chan_t      *ch;
    const char  *name;

    ch = &chans[chan];
    name = ch->name;
    t = &c->tracks[chan];

    memset(t->live, 0, sizeof(t->live));

    t->state = JOINING;
    t->asked = ++c->acks;
    t->since = g.now;
    t->replayed = 0;

    if (t->known) {
        /* a number without its epoch is of the present one */

        t->mode = (chance(&c->rng, 30) && ch->remade == 0) ? SYNC : AFTER;
    }

    switch (t->mode) {

    case SYNC:
        client_emit(c, c->acks, "reconnect:sync", "{\"jobId\":\"%s\","
                    "\"lastSequence\":%" PRIu64 "}", name + 4,
                    (uint64_t) seq_of(t->last));
        break;

    case AFTER:
        client_emit(c, c->acks, "subscribe", "{\"channel\":\"%s\","
                    "\"after\":\"%s\"}", name, spell(chan, t->last));
        break;

    case STATE:
        client_emit(c, c->acks, "subscribe", "{\"channel\":\"%s\","
                    "\"state\":true}", name);
        break;

    case JOB:
        client_emit(c, c->acks, "subscribe:job", "\"%s\"", name + 4);
        break;

    default:
        client_emit(c, c->acks, "subscribe", "{\"channel\":\"%s\"}", name);
    }
}


/* a client that does something */

static void
client_act(client_t *c)
{
    int       i, chan;
    track_t  *t;

    c->next = g.now + 50 + below(&c->rng, c->faithful ? 5000 : 2500);

    switch (below(&c->rng, 10)) {

    case 0:
    case 1:
    case 2:
        count.drops++;

        if (chance(&c->rng, 30)) {
            io_reset(&c->io);
            io_reset(&c->poll.get.io);
            io_reset(&c->poll.post.io);
        }

        client_down(c, "dropped", chance(&c->rng, 30));
        return;

    case 3:
        if (c->polls) {
            client_send(c, "1");
            c->state = CLOSING;

        } else if (c->proto != SSE) {
            client_frame(c, 8, "\x03\xe8", 2);
            client_log(c, "> close");
            c->state = CLOSING;
        }

        return;

    case 4:
        count.deaf++;
        c->deaf = g.now + below(&c->rng, chance(&c->rng, 30) ? 5000 : 1500);
        client_log(c, "deaf until %.3f", c->deaf / 1000.0);
        client_hear(c, 0);
        return;

    case 5:
        count.deaf++;
        c->slow = 1;
        client_log(c, "slow");
        client_hear(c, 0);
        return;

    default:
        break;
    }

    if (c->proto == SSE) {
        return;
    }

    chan = below(&c->rng, g.channels);

    for (i = 0; i < g.channels; i++) {
        chan = (chan + 1) % g.channels;

        if (c->tracks[chan].state == IN) {
            break;
        }
    }

    t = &c->tracks[chan];

    if (t->state != IN || t->asked || chance(&c->rng, 40)) {
        if (!c->faithful) {
            client_choose(c);
        }

        return;
    }

    t->asked = ++c->acks;
    t->since = g.now;

    if (chance(&c->rng, 30) && (c->proto != SIO || asked_for(c) == -1)) {
        t->peek = 1;
        client_emit(c, c->acks, "subscribe", "{\"channel\":\"%s\","
                    "\"state\":true}", chans[chan].name);
        return;
    }

    t->state = LEAVING;
    t->want = (c->faithful || wanted(c) == 1 || chance(&c->rng, 50));
    count.leaves++;

    client_emit(c, c->acks, "unsubscribe", "{\"channel\":\"%s\"}",
                chans[chan].name);
}


static void
client_sip(client_t *c, size_t max)
{
    if (!c->polls) {
        client_read(c, max);

    } else if (c->poll.get.waiting) {
        http_read(&c->poll.get, max);
    }
}


/* 0: the client is down */

static int
client_poll_tick(client_t *c)
{
    if (c->deaf || c->slow) {
        return 1;
    }

    if (g.now - c->heard > SILENCE) {
        violation(c, -1, "no answer to a poll in %d s", SILENCE / 1000);
        client_down(c, "timed out", 0);
        return 0;
    }

    if (c->probe == PROBE_LATER) {

        if (g.now >= c->probed && c->state == OPEN) {
            client_probe(c);
        }

    } else if (c->probe && g.now - c->probed > SILENCE) {
        violation(c, -1, "no upgrade in %d s", SILENCE / 1000);
        client_down(c, "timed out", 0);
        return 0;
    }

    return 1;
}


static void
client_tick(client_t *c)
{
    int       i;
    track_t  *t;

    if (c->state == IDLE || c->state == ASKING) {
        if (c->state == IDLE && g.now >= c->next && g.phase > STARTING) {
            client_connect(c);
        }

        return;
    }

    if (c->poll.refused) {
        client_down(c, "refused at once", 0);
        return;
    }

    if ((c->deaf && g.now >= c->deaf) || (c->slow && g.phase != RUNNING)) {
        c->deaf = 0;
        c->slow = 0;
        client_hear(c, 1);
        c->heard = g.now;
    }

    if (c->slow && g.now > c->sip) {
        c->sip = g.now + below(&c->rng, 20);

        client_sip(c, 100 + below(&c->rng, 3000));

        if (c->state == IDLE) {
            return;
        }
    }

    if (c->polls && !client_poll_tick(c)) {
        return;
    }

    if (c->state == CLOSING) {
        if (g.now - c->heard > 1000) {
            client_down(c, "no answer to the close", 0);
        }

        return;
    }

    if (!c->connected) {
        if (g.now - c->since > SILENCE) {
            violation(c, -1, "not connected in %d s", SILENCE / 1000);
            client_down(c, "timed out", 0);
        }

        return;
    }

    for (i = 0; c->proto != SSE && i < g.channels; i++) {
        t = &c->tracks[i];

        if (t->want && t->state == OUT && g.now >= t->retry
            && (c->proto != SIO || t->known || t->mode != STATE
                || asked_for(c) == -1))
        {
            client_ask_join(c, i);
        }

        if (t->asked && g.now - t->since > SILENCE
            && g.now - c->heard > SILENCE)
        {
            violation(c, i, "no ack in %d s", SILENCE / 1000);
            client_down(c, "timed out", 0);
            return;
        }
    }

    if (g.phase == RUNNING && g.now > c->next) {
        client_act(c);
    }
}


/* is the client where all its channels end */

static int
client_done(client_t *c, int report)
{
    int       i, p;
    track_t  *t;

    if (!c->connected || c->state != OPEN) {
        if (report) {
            violation(c, -1, "the client is not connected at the end");
        }

        return 0;
    }

    if (c->probe) {
        if (report) {
            violation(c, -1, "the client is not upgraded at the end");
        }

        return 0;
    }

    for (i = 0; i < g.channels; i++) {
        t = &c->tracks[i];

        if (t->state == LEAVING) {
            return 0;
        }

        if (!t->want) {
            continue;
        }

        if (t->state == IN && !t->known && g.phase == QUIET) {
            /* it was let in while Redis was away, and has no position yet */
            continue;
        }

        if (t->state != IN || t->asked || !t->known
            || t->last < chans[i].final)
        {
            if (report) {
                if (t->last < chans[i].final) {
                    count.missing++;
                }

                violation(c, i, "the channel ends at %s, the client has %s "
                          "(%s)", spell(i, chans[i].final),
                          spell(i, t->last), modes[t->mode]);
            }

            return 0;
        }

        for (p = 0; g.phase == END && p < PRODUCERS; p++) {

            if (t->live[p] == chans[i].live[p]) {
                continue;
            }

            if (report) {
                violation(c, i, "live events of producer %d end with %u, the "
                          "client has %u, and nothing was broken", p,
                          chans[i].live[p], t->live[p]);
            }

            return 0;
        }
    }

    return 1;
}


/* --------------------------------------------------------------- programs */


static pid_t
spawn(char *const argv[], const char *log)
{
    int    fd;
    pid_t  pid, parent;

    parent = getpid();
    pid = fork();

    if (pid == -1) {
        die("fork: %s", strerror(errno));
    }

    if (pid) {
        return pid;
    }

    /* nothing stays behind, whatever becomes of us */

    prctl(PR_SET_PDEATHSIG, SIGTERM);

    if (getppid() != parent) {
        _exit(1);
    }

    setpgid(0, 0);
    signal(SIGPIPE, SIG_DFL);

    fd = open(log, O_WRONLY|O_CREAT|O_APPEND, 0644);

    if (fd != -1) {
        dup2(fd, 1);
        dup2(fd, 2);
    }

    fd = open("/dev/null", O_RDONLY);
    dup2(fd, 0);

    /* to nginx it means sockets that it inherits */

    unsetenv("NGINX");

    setenv("ASAN_OPTIONS", "detect_odr_violation=0", 0);
    setenv("UBSAN_OPTIONS", "print_stacktrace=1:print_summary=1", 0);

    execvp(argv[0], argv);

    fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
    _exit(127);
}


static void
redis_start(void)
{
    char  port[16], log[PATH_MAX], dir[PATH_MAX];

    snprintf(port, sizeof(port), "%d", g.redis_port);
    snprintf(dir, sizeof(dir), "%s", g.dir);
    snprintf(log, sizeof(log), "%s/redis.log", g.dir);

    char *const argv[] = {
        (char *) g.redis, "--port", port, "--bind", "127.0.0.1",
        "--dir", dir, "--save", "", "--appendonly", "yes",
        "--appendfsync", (char *) g.aof, "--daemonize", "no", NULL
    };

    g.redis_pid = spawn(argv, log);
    g.redis_start = 0;
    g.redis_kill = 0;
}


static pid_t
nginx_run(const char *name, const char *log, int port, const char *params,
    int daemon)
{
    char   file[PATH_MAX], conf[64], err[64], dir[PATH_MAX];
    FILE  *f;

    snprintf(dir, sizeof(dir), "%s/", g.dir);
    snprintf(conf, sizeof(conf), "%s.conf", name);
    snprintf(err, sizeof(err), "%s.log", log);

    snprintf(file, sizeof(file), "%s/%s", g.dir, conf);
    f = fopen(file, "w");

    if (f == NULL) {
        die("%s: %s", file, strerror(errno));
    }

    fprintf(f,
        "load_module %s;\n"
        "%s"
        "daemon %s;\n"
        "env ASAN_OPTIONS; env LSAN_OPTIONS; env UBSAN_OPTIONS;\n"
        "worker_processes %d;\n"
        "pid %s.pid;\n"
        "error_log %s.log %s;\n"
        "events { worker_connections 4096; }\n"
        "http {\n"
        "    access_log off;\n"
        "    client_body_temp_path client_body_temp;\n"
        "    proxy_temp_path proxy_temp;\n"
        "    fastcgi_temp_path fastcgi_temp;\n"
        "    uwsgi_temp_path uwsgi_temp;\n"
        "    scgi_temp_path scgi_temp;\n"
        "    rtbus_redis redis://127.0.0.1:%d/0;\n"
        "    rtbus_drain 1s;\n"
        "    rtbus_secret_file secret;\n"
        "    server {\n"
        "        listen 127.0.0.1:%d sndbuf=16k%s;\n"
        "        rtbus_allow job:*;\n"
        "        location = /bus {\n"
        "            rtbus websocket sse;\n"
        "            rtbus_subscribe $arg_a $arg_b $arg_c $arg_d;\n"
        "            rtbus_send_buffer 24k;\n"
        "            rtbus_message_rate 1000r/s;\n"
        "        }\n"
        "        location /socket.io/ {\n"
        "            rtbus socketio;\n"
        "            rtbus_subscribe $arg_a $arg_b $arg_c $arg_d;\n"
        "            rtbus_send_buffer 24k;\n"
        "            rtbus_message_rate 1000r/s;\n"
        "            rtbus_ping 1s 8s;\n"
        "        }\n"
        "        location = /status { rtbus_status; }\n"
        "        location ~ ^/state/(.+)$ { rtbus_state $1; }\n"
        "        location ~ ^/publish/(.+)$ { rtbus_publish $1; }\n"
        "    }\n"
        "}\n",
        g.module, getuid() ? "" : "user root;\n", daemon ? "on" : "off",
        g.workers, name, log, g.log, g.redis_port, port, params);

    fclose(f);

    char *const argv[] = {
        (char *) g.nginx, "-p", dir, "-c", conf, "-e", err, NULL
    };

    snprintf(file, sizeof(file), "%s/nginx.out", g.dir);

    return spawn(argv, file);
}


static void
nginx_start(void)
{
    char   file[PATH_MAX];
    pid_t  pid;
    FILE  *f;

    /* one that all workers have in common, also after a reload */

    snprintf(file, sizeof(file), "%s/secret", g.dir);
    f = fopen(file, "w");

    if (f == NULL || fprintf(f, "%064" PRIx64 "\n", g.seed) < 0) {
        die("%s: %s", file, strerror(errno));
    }

    fclose(f);

    pid = nginx_run("nginx", "error", g.nginx_port, "", g.daemon);

    if (g.daemon) {
        g.launcher = pid;

    } else {
        g.nginx_pid = pid;
    }

    if (g.nodes > 1) {
        g.beside_pid = nginx_run("beside", "error_beside", g.beside_port,
                                 " reuseport", 0);
    }
}


/* whom nginx.pid names; 0: nobody yet */

static pid_t
nginx_master(void)
{
    int    pid;
    char   file[PATH_MAX];
    FILE  *f;

    if (!g.daemon) {
        return g.nginx_pid;
    }

    snprintf(file, sizeof(file), "%s/nginx.pid", g.dir);
    f = fopen(file, "r");

    if (f == NULL) {
        return 0;
    }

    if (fscanf(f, "%d", &pid) != 1) {
        pid = 0;
    }

    fclose(f);

    return pid;
}


/* the workers, also those that leave; of both masters, if there are two */

static int
workers(pid_t *pids)
{
    int    i, n;
    pid_t  master;

    n = children(g.nginx_pid, pids, MAX_WORKERS);

    if (g.nginx_old) {
        n += children(g.nginx_old, pids + n, MAX_WORKERS - n);
    }

    /* a new master is a child of the old one */

    master = nginx_master();

    for (i = 0; i < n && pids[i] != master; i++) {
        /* void */
    }

    if (i < n) {
        pids[i] = pids[--n];
    }

    return n;
}


/* the same of both nodes */

static int
all_workers(pid_t *pids)
{
    int  n;

    n = workers(pids);

    if (g.beside_pid) {
        n += children(g.beside_pid, pids + n, MAX_WORKERS - n);
    }

    return n;
}


static void
reap(void)
{
    int    status;
    pid_t  pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {

        if (pid == g.redis_pid) {
            g.redis_pid = 0;
            g.redis_kill = 0;

            if (g.redis_start == 0) {
                die("Redis has ended, see %s/redis.log", g.dir);
            }

        } else if (pid == g.nginx_old) {
            g.nginx_old = 0;

        } else if (pid == g.launcher) {
            g.launcher = 0;

            if (status != 0) {
                die("nginx did not start, see %s/nginx.out", g.dir);
            }

        } else if (pid == g.nginx_pid) {
            g.nginx_pid = 0;

            if (g.phase != VERIFY) {
                die("nginx has ended, see %s/error.log", g.dir);
            }

        } else if (pid == g.beside_pid) {
            g.beside_pid = 0;

            if (g.phase != VERIFY) {
                die("nginx has ended, see %s/error_beside.log", g.dir);
            }
        }
    }
}


/* ------------------------------------------------------- nginx, looked at */


static void
leave(pid_t pid)
{
    int  i;

    for (i = 0; i < g.nleavers; i++) {
        if (g.leavers[i].pid == pid) {
            return;
        }
    }

    if (g.nleavers == MAX_WORKERS) {
        die("there are more than %d old workers", MAX_WORKERS);
    }

    g.leavers[g.nleavers].pid = pid;
    g.leavers[g.nleavers].since = g.now;
    g.leavers[g.nleavers++].late = 0;
}


/* before a reload */

static void
leave_all(int beside)
{
    int    i, n;
    pid_t  pids[MAX_WORKERS];

    n = beside ? children(g.beside_pid, pids, MAX_WORKERS) : workers(pids);

    for (i = 0; i < n; i++) {
        leave(pids[i]);
    }
}


static void
look_at_leavers(pid_t *pids, int n)
{
    int        i, k;
    int64_t    since;
    leaver_t  *l;

    for (i = 0; i < n; i++) {
        if (is_leaving(pids[i])) {
            leave(pids[i]);
        }
    }

    for (i = 0; i < g.nleavers; /* void */) {
        l = &g.leavers[i];
        since = g.now - l->since;

        for (k = 0; k < n && pids[k] != l->pid; k++) {
            /* void */
        }

        if (k == n) {
            count.left++;

            if (since > g.slowest) {
                g.slowest = since;
            }

            *l = g.leavers[--g.nleavers];
            continue;
        }

        if (since > LEAVE && !l->late) {
            l->late = 1;
            violation(NULL, -1, "worker %d had to leave %d s ago, and is "
                      "still there", (int) l->pid, LEAVE / 1000);
        }

        i++;
    }
}


/* pids: of those workers that do not leave; the greatest number is answered */

static int
look_at_use(pid_t *pids, int n)
{
    int     i, k, fds, max;
    long    kb;
    double  memory, sum, time;

    time = g.now / 1000.0;
    memory = 0;
    sum = 0;
    max = 0;

    for (i = 0, k = 0; i < n; i++) {
        kb = memory_kb(pids[i]);
        fds = descriptors(pids[i]);

        if (kb == -1 || fds == -1) {
            continue;
        }

        k++;
        memory += kb;
        sum += fds;

        if (fds > max) {
            max = fds;
        }
    }

    if (g.phase != RUNNING || k == 0) {
        return max;
    }

    series_add(&g.memory[WORKERS], time, memory / k);
    series_add(&g.fds[WORKERS], time, sum / k);
    series_add(&g.memory[MASTER], time, memory_kb(g.nginx_pid));
    series_add(&g.fds[MASTER], time, descriptors(g.nginx_pid));

    if (g.memory[WORKERS].n % TELL == 0) {
        say("a worker has %.0f KB, %.1f descriptors", memory / k, sum / k);
    }

    return max;
}


static void
counter_back(const char *name, double from, double to)
{
    violation(NULL, -1, "the counter %s goes back from %.15g to %.15g", name,
              from, to);
}


static void
status_answer(request_t *r, int status, str_t body)
{
    g.asking = 0;

    if (status == 0 || g.upgrade) {
        /* cut off, or nobody knows by which nginx it was answered */
        return;
    }

    if (status != 200) {
        violation(NULL, -1, "the status was answered with %d", status);
        return;
    }

    count.status++;
    g.asked = r->since;

    metrics_read(&g.metrics, body, counter_back);
}


static void
status_ask(void)
{
    buf_t       request;
    request_t  *r;

    memset(&request, 0, sizeof(request));
    putf(&request, "GET /status HTTP/1.0\r\nHost: check\r\n\r\n");

    r = request_send(&request, status_answer);

    if (r) {
        r->chan = -1;
        g.asking = 1;

    } else {
        free(request.data);
    }
}


/* what the status of the first node has to say, with or without clients */

static int
status_is(int any, int report)
{
    int     k, ok, n[KINDS];
    double  value;
    kind_e  kind;
    size_t  i;

    memset(n, 0, sizeof(n));

    for (k = 0; any && k < nclients; k++) {

        if (clients[k].node) {
            continue;
        }

        kind = clients[k].kind;

        if (kind == KIND_UPGRADE) {
            kind = clients[k].polls ? KIND_POLLING : KIND_SOCKETIO;
        }

        n[kind]++;
    }

    struct {
        const char  *name;
        double       value;
    } want[] = {
        { "rtbus_workers", g.workers },
        { "rtbus_leaving_workers", 0 },
        { "rtbus_redis_up{link=\"pubsub\"}", 1 },
        { "rtbus_redis_up{link=\"command\"}", 1 },
        { "rtbus_connections{transport=\"websocket\"}",
          n[KIND_WEBSOCKET] },
        { "rtbus_connections{transport=\"sse\"}", n[KIND_SSE] },
        { "rtbus_connections{transport=\"socketio\"}", n[KIND_SOCKETIO] },
        { "rtbus_connections{transport=\"polling\"}", n[KIND_POLLING] },
        { "rtbus_send_queue_bytes", 0 },
        { "rtbus_subscriptions", 0 },
        { "rtbus_channels", 0 }
    };

    /* the last three are known where there are no clients */

    i = sizeof(want) / sizeof(want[0]) - (any ? 3 : 0);
    ok = 1;

    while (i--) {
        value = metrics_value(&g.metrics, want[i].name);

        if (value == want[i].value) {
            continue;
        }

        ok = 0;

        if (report) {
            violation(NULL, -1, "%s is %.15g, and should be %.15g",
                      want[i].name, value, want[i].value);
        }
    }

    return ok;
}


static void
look(void)
{
    int    i, k, n, fds;
    pid_t  pids[MAX_WORKERS];

    look_at_leavers(pids, all_workers(pids));

    if (!g.soak) {
        return;
    }

    n = workers(pids);

    for (i = 0, k = 0; i < n; i++) {
        if (!is_leaving(pids[i])) {
            pids[k++] = pids[i];
        }
    }

    fds = look_at_use(pids, k);

    if (g.asking) {
        /* a connection of ours is one of them */
        return;
    }

    if (g.phase == STARTING) {
        g.fds_first = fds;

    } else if (g.phase == EMPTY) {
        g.fds_last = fds;
    }
}


static void
look_tick(void)
{
    int  pause;

    if (g.nginx_pid == 0 || !g.ready) {
        return;
    }

    pause = (g.phase == RUNNING) ? LOOK : LOOK / 10;

    if (g.now >= g.look) {
        g.look = g.now + pause;
        look();
    }

    if (g.now >= g.ask && !g.asking && !g.upgrade) {
        g.ask = g.now + pause;
        status_ask();
    }
}


/* the verdict on memory */

static void
soaked(void)
{
    int                       i;
    fit_t                     fit;
    double                    from, most;
    static const char *const  names[] = { "the master", "a worker" };

    from = (g.began + (g.ended - g.began) / 3) / 1000.0;

    for (i = MASTER; i <= WORKERS; i++) {
        series_fit(&g.memory[i], from, &fit);
        most = SOAK_RISE + SOAK_SLOPE * fit.time / 60;

        if (fit.n < 2) {
            violation(NULL, -1, "there are no samples of memory");

        } else if (fit.rise > most) {
            violation(NULL, -1, "the memory of %s has grown by %.0f KB in "
                      "%.0f s, at most %.0f KB would be well", names[i],
                      fit.rise, fit.time, most);
        }
    }
}


/* ----------------------------------------------------------------- faults */


/*
 * Redis, even if it syncs always, may hand an event to a subscriber that was
 * slow before it has written it: the rest of a reply goes out as soon as the
 * socket takes it.  What it has answered is written.  So all is answered when
 * it is killed; with SIGTERM it may be in the middle of things.
 */

static int
producers_idle(void)
{
    int  i;

    for (i = 0; i < PRODUCERS; i++) {
        if (g.producers[i].calls) {
            return 0;
        }
    }

    for (i = 0; i < HTTP_SLOTS; i++) {
        if (requests[i].used && requests[i].handler == posted) {
            return 0;
        }
    }

    return g.quiet.calls == 0;
}


static void
thaw(void)
{
    if (g.frozen) {
        kill(g.frozen, SIGCONT);
        g.frozen = 0;
    }
}


static void
freeze(pid_t pid, int ms)
{
    thaw();

    if (kill(pid, SIGSTOP) == 0) {
        g.frozen = pid;
        g.thaw = g.now + ms;
    }
}


static void
trim_done(link_t *l, call_t *call, redisReply *reply)
{
    if (reply && reply->type == REDIS_REPLY_INTEGER) {
        count.trims++;
    }
}


static void
deleted(link_t *l, call_t *call, redisReply *reply)
{
    chans[call->chan].busy = 0;
}


/* one of them, now and then all at once */

static void
fault_worker(rng_t *r)
{
    int    i, n;
    pid_t  pids[MAX_WORKERS];

    if (g.upgrade == 1) {
        /* a new master looks like a worker */
        return;
    }

    n = all_workers(pids);

    if (n && !chance(r, 8)) {
        pids[0] = pids[below(r, n)];
        n = 1;
    }

    for (i = 0; i < n; i++) {
        kill(pids[i], SIGKILL);
        count.kills++;
        say("worker %d killed", (int) pids[i]);
    }
}


static void
fault_freeze(rng_t *r)
{
    int    n;
    pid_t  pids[MAX_WORKERS];

    if (g.upgrade == 1) {
        return;
    }

    n = all_workers(pids);

    if (n) {
        n = below(r, n);
        freeze(pids[n], 50 + below(r, 1500));
        count.freezes++;
        say("worker %d frozen", (int) pids[n]);
    }
}


static void
fault_reload(rng_t *r)
{
    int  beside;

    if (g.now < g.reload || g.upgrade) {
        return;
    }

    beside = g.beside_pid && chance(r, 50);

    leave_all(beside);

    g.reload = g.now + 1500;
    kill(beside ? g.beside_pid : g.nginx_pid, SIGHUP);
    count.reloads++;
    say("reload%s", beside ? " of the other node" : "");
}


static void
fault_upgrade(rng_t *r)
{
    if (g.now < g.reload || g.upgrade) {
        return;
    }

    kill(g.nginx_pid, SIGUSR2);

    g.upgrade = 1;
    g.upgraded = g.now;
    count.upgrades++;
    say("upgrade");
}


/*
 * First there are two masters with their workers, then the old workers leave,
 * then their master.
 */

static void
upgrade_tick(void)
{
    pid_t  pid, pids[MAX_WORKERS];

    if (g.now - g.upgraded > CATCH_UP) {
        die("nginx is not upgraded, see %s/error.log", g.dir);
    }

    switch (g.upgrade) {

    case 1:
        pid = nginx_master();

        if (pid == 0 || pid == g.nginx_pid
            || children(pid, pids, MAX_WORKERS) < g.workers)
        {
            return;
        }

        leave_all(0);

        g.nginx_old = g.nginx_pid;
        g.nginx_pid = pid;
        g.upgrade = 2;

        kill(g.nginx_old, SIGWINCH);
        say("workers of the old nginx leave");

        return;

    case 2:
        if (children(g.nginx_old, pids, MAX_WORKERS) == 1) {
            g.upgrade = 3;
            kill(g.nginx_old, SIGQUIT);
        }

        return;

    default: /* 3 */

        if (g.nginx_old) {
            return;
        }

        /* counters begin anew with a new binary */

        g.metrics.n = 0;

        g.reload = g.now + 1500;
        g.upgrade = 0;
        say("upgraded");
    }
}


static void
fault_redis(rng_t *r)
{
    if (g.redis_pid == 0 || g.redis_start) {
        return;
    }

    thaw();

    g.redis_start = g.now + below(r, chance(r, 25) ? 3000 : 400);

    if (chance(r, 50)) {
        kill(g.redis_pid, SIGTERM);
        g.redis_kill = g.now + 10000;
        count.redis_term++;
        say("Redis ended");

    } else {
        g.hush = g.now + HUSH;
    }
}


static void
fault_redis_freeze(rng_t *r)
{
    if (g.redis_pid == 0 || g.redis_start) {
        return;
    }

    freeze(g.redis_pid, 50 + below(r, chance(r, 30) ? 3500 : 600));
    count.redis_freeze++;
    say("Redis frozen");
}


static void
fault_cut_sub(rng_t *r)
{
    if (g.control.up) {
        link_command(&g.control, NULL, "CLIENT KILL TYPE pubsub");
        count.cut_sub++;
        say("subscriptions cut");
    }
}


static void
fault_cut_cmd(rng_t *r)
{
    if (g.control.up) {
        link_command(&g.control, NULL, "CLIENT KILL TYPE normal SKIPME yes");
        count.cut_cmd++;
        say("commands cut");
    }
}


static void
fault_trim(rng_t *r)
{
    int      chan;
    chan_t  *ch;

    chan = below(r, g.channels);
    ch = &chans[chan];

    if (!g.control.up || seq_of(ch->top) <= 20) {
        return;
    }

    ch->trimmed = ch->top - below(r, 20);

    link_command(&g.control, trim_done, "XTRIM {%s}:events MINID %s",
                 ch->name, spell(chan, ch->trimmed + 1));
    say("%s trimmed up to %s", ch->name, spell(chan, ch->trimmed));
}


static void
fault_remake(rng_t *r)
{
    int      chan;
    call_t  *call;
    chan_t  *ch;

    chan = below(r, g.channels);
    ch = &chans[chan];

    if (!g.control.up || ch->busy || ch->remade == MAX_LIVES - 1) {
        return;
    }

    ch->remade++;
    ch->busy = 1;

    call = link_command(&g.control, deleted,
                        "DEL {%s}:events {%s}:state {%s}:output", ch->name,
                        ch->name, ch->name);
    call->chan = chan;

    count.remakes++;
    say("%s deleted", ch->name);
}


static const struct {
    const char  *name;
    int          weight;
    void       (*run)(rng_t *r);

} faults[] = {
    { "worker", 25, fault_worker },
    { "freeze", 10, fault_freeze },
    { "reload", 12, fault_reload },
    { "upgrade", 8, fault_upgrade },
    { "redis", 15, fault_redis },
    { "freeze", 4, fault_redis_freeze },
    { "cut", 14, fault_cut_sub },
    { "cut", 14, fault_cut_cmd },
    { "trim", 12, fault_trim },
    { "remake", 12, fault_remake },
    { NULL, 0, NULL }
};


static void
fault(void)
{
    int  i, n;

    n = 0;

    for (i = 0; faults[i].name; i++) {
        n += strstr(g.faults, faults[i].name) ? faults[i].weight : 0;
    }

    n = below(&g.fault_rng, n);

    for (i = 0; faults[i].name; i++) {

        n -= strstr(g.faults, faults[i].name) ? faults[i].weight : 0;

        if (n < 0) {
            faults[i].run(&g.fault_rng);
            return;
        }
    }
}


static void
faults_tick(void)
{
    reap();

    if (g.frozen && g.now > g.thaw) {
        thaw();
    }

    if (g.hush && (g.lossy || g.now > g.hush || producers_idle())) {

        if (g.lossy || producers_idle()) {
            kill(g.redis_pid, SIGKILL);
            count.redis_kill++;
            say("Redis killed");

        } else {
            g.redis_start = 0;
        }

        g.hush = 0;
    }

    if (g.redis_kill && g.now > g.redis_kill) {
        kill(g.redis_pid, SIGKILL);
    }

    if (g.redis_start && g.redis_pid == 0 && g.now > g.redis_start) {
        redis_start();
        say("Redis started");
    }

    if (g.upgrade) {
        upgrade_tick();
    }

    if (g.phase == RUNNING && g.now > g.fault) {
        g.fault += g.every ? (int64_t) (g.every * 1000)
                           : g.now - g.fault + 100 + below(&g.fault_rng, 900);
        fault();
    }
}


/* ----------------------------------------------------------------- phases */


static void
library_asked(link_t *l, call_t *call, redisReply *reply)
{
    g.waiting--;

    if (reply && reply->type == REDIS_REPLY_INTEGER) {
        g.ready = 1;
    }
}


static int
all_done(int report)
{
    int  i, done;

    done = 1;

    for (i = 0; i < nclients; i++) {
        if (!client_done(&clients[i], report)) {
            done = 0;

            if (!report) {
                break;
            }
        }
    }

    return done;
}


/* 1: each channel has its final event */

static int
finals(int silent)
{
    int  i, done;

    if (g.waiting) {
        return 0;
    }

    done = 1;

    for (i = 0; i < g.channels && g.control.up; i++) {

        if (chans[i].final) {
            continue;
        }

        done = 0;

        /* a channel without a stream has no last id */

        if (silent && chans[i].top && !chans[i].refused) {
            publish_silent(&g.control, PRODUCERS, i, 1);

        } else {
            publish(&g.control, PRODUCERS, i, 1);
        }

        g.waiting++;
    }

    return done && g.control.up;
}


static void
next_phase(phase_e phase)
{
    int  i;

    for (i = 0; i < g.channels; i++) {
        chans[i].final = 0;
        chans[i].refused = 0;
    }

    g.phase = phase;
    g.until = g.now + CATCH_UP;
    g.step = 0;
}


static void
begin_calm(void)
{
    int       i, k;
    track_t  *t;

    for (k = 0; k < nclients; k++) {
        for (i = 0; i < g.channels; i++) {
            t = &clients[k].tracks[i];

            if (t->state == IN) {
                memcpy(t->live, chans[i].live, sizeof(t->live));
            }
        }
    }

    next_phase(CALM);

    g.until = g.now + CALM_TIME;
}


/* all clients go, if somebody looks at what they leave behind */

static void
empty(void)
{
    int  i;

    if (!g.soak) {
        g.phase = VERIFY;
        return;
    }

    say("all clients go");

    next_phase(EMPTY);

    g.since = g.now;

    for (i = 0; i < nclients; i++) {
        client_close(&clients[i]);
        clients[i].state = IDLE;
        clients[i].next = INT64_MAX;
    }
}


static void
phase_tick(void)
{
    int    i;
    pid_t  pids[MAX_WORKERS];

    switch (g.phase) {

    case STARTING:

        if (g.control.up && g.nginx_pid == 0 && !g.launcher) {

            if (g.daemon) {
                g.nginx_pid = nginx_master();
            }

            if (g.nginx_pid == 0) {
                nginx_start();
            }
        }

        if (g.ready && !g.asking && g.asked && status_is(0, 0)
            && (!g.soak || g.fds_first))
        {
            g.phase = RUNNING;
            g.began = g.now;
            g.until = g.now + (int64_t) (g.time * 1000);
            g.fault = g.now + 1000;
            g.paid = g.now;

            return;
        }

        if (!g.ready && g.nginx_pid && g.control.up && g.waiting == 0) {
            link_command(&g.control, library_asked,
                         "FCALL_RO rtbus_version 0");
            g.waiting++;
        }

        if (g.now > 30000) {
            die("nginx and Redis did not start, see %s", g.dir);
        }

        return;

    case RUNNING:

        if (g.now < g.until && !g.stop) {
            return;
        }

        say("producers stop");

        thaw();
        g.ended = g.now;
        g.phase = STOPPING;
        g.until = g.now + CATCH_UP;

        return;

    case STOPPING:

        for (i = 0; i < PRODUCERS && g.producers[i].up; i++) {
            /* void */
        }

        if (i == PRODUCERS && g.quiet.up && g.control.up
            && g.control.calls == 0 && producers_idle() && !g.upgrade)
        {
            next_phase(QUIET);
        }

        if (g.now > g.until) {
            die("Redis did not come back, see %s", g.dir);
        }

        return;

    case QUIET:

        /* nobody is woken: the lost subscriptions make the workers read */

        if (g.step == 0) {
            if (finals(1)) {
                link_command(&g.control, NULL, "CLIENT KILL TYPE pubsub");
                say("a silent event in each channel, subscriptions cut");
                g.step = 1;
            }

        } else if (all_done(0)) {
            say("all clients are at the end");
            next_phase(LAST);
            return;
        }

        break;

    case LAST:

        if (g.step == 0) {
            g.step = finals(0);

        } else if (all_done(0) && all_workers(pids) == g.workers * g.nodes) {
            say("all clients are at the end again");
            begin_calm();
            return;
        }

        break;

    case CALM:

        if (g.now > g.until) {
            next_phase(END);
        }

        return;

    case END:

        if (g.step == 0) {
            g.step = finals(0);

        } else if (g.step == 1 && all_done(0)) {

            /* a moment for what should not come */

            say("all clients are at the end for good");
            g.step = 2;
            g.until = g.now + 300;
            g.since = g.now;
        }

        if (g.step == 2) {
            if (g.now > g.until) {
                g.step = 3;
                g.until = g.now + CATCH_UP;
            }

            return;
        }

        if (g.step == 3 && g.asked > g.since && status_is(1, 0)) {
            empty();
            return;
        }

        break;

    case EMPTY:

        if (g.asked > g.since && status_is(0, 0)
            && g.fds_last && g.fds_last <= g.fds_first)
        {
            say("nothing is left of the clients");
            g.phase = VERIFY;
            return;
        }

        break;

    default:
        return;
    }

    if (g.now > g.until && g.phase == END && g.step == 3) {
        status_is(1, 1);
        empty();
        return;
    }

    if (g.now > g.until && g.phase == EMPTY) {
        status_is(0, 1);

        if (g.fds_last > g.fds_first) {
            violation(NULL, -1, "a worker has %d descriptors when all clients "
                      "are gone, and had %d before they came", g.fds_last,
                      g.fds_first);
        }

        g.phase = VERIFY;
        return;
    }

    if (g.now > g.until) {
        violation(NULL, -1, "not all clients got to the end in %d s, %s",
                  CATCH_UP / 1000, g.phase == QUIET
                  ? "of events without a wake-up" : "of the last events");
        all_done(1);

        if (g.phase == QUIET) {
            next_phase(LAST);

        } else {
            g.phase = VERIFY;
        }
    }
}


/* ----------------------------------------------------------- the verdict */


static redisReply *
ask(redisContext *rc, const char *fmt, ...)
{
    va_list      args;
    redisReply  *reply;

    va_start(args, fmt);
    reply = redisvCommand(rc, fmt, args);
    va_end(args);

    if (reply == NULL || reply->type == REDIS_REPLY_ERROR) {
        die("Redis: %s", reply ? reply->str : rc->errstr);
    }

    return reply;
}


static void
verify_entry(int chan, redisReply *entry)
{
    str_t                     name, data, v[2];
    chan_t                   *ch;
    uint64_t                  place, seq, n, h, len;
    redisReply               *fields;
    char                      token[16];
    static const char *const  names[] = { "n", "t" };

    ch = &chans[chan];
    fields = entry->element[1];

    if (!find_place(NULL, chan, reply_text(entry->element[0]), &place)
        || life_of(place) != ch->nlives - 1 || fields->elements < 4)
    {
        violation(NULL, chan, "malformed stream entry");
        return;
    }

    seq = seq_of(place);

    name = reply_text(fields->element[1]);
    data = reply_text(fields->element[3]);

    if (ch->count == 0) {
        ch->first = seq;

        if (seq != 1 && place > ch->trimmed + 1) {
            violation(NULL, chan, "the stream begins with %" PRIu64, seq);
        }

    } else if (seq != ch->first + ch->count) {
        violation(NULL, chan, "hole in the stream before %" PRIu64, seq);
        ch->first = seq - ch->count;
    }

    ch->count++;
    count.entries++;

    seen(NULL, chan, place, hash_event(name, data));

    if (!json(data, names, v, 2) || !number(v[0], &n, 0, NULL) || n > g.n) {
        violation(NULL, chan, "malformed event in the stream");
        return;
    }

    if (in_stream[n]++) {
        violation(NULL, chan, "event %" PRIu64 " is in the stream twice", n);
    }

    if (ch->first != 1) {
        return;
    }

    /* what the output has to be after it */

    h = ch->out_hash[seq - 1];
    len = ch->out_len[seq - 1];

    ch->progress[seq] = ch->progress[seq - 1];

    if (v[1].data) {
        n = snprintf(token, sizeof(token), "%u;", (unsigned) n);
        h = hash(h, token, n);
        len += n;
        ch->progress[seq] = atoi(token);
    }

    ch->out_hash[seq] = h;
    ch->out_len[seq] = len;
}


static void
verify_channel(redisContext *rc, int chan)
{
    size_t       i, n;
    chan_t      *ch;
    uint64_t     place, last;
    redisReply  *r;

    ch = &chans[chan];

    r = ask(rc, "XREVRANGE {%s}:events + - COUNT 1", ch->name);

    last = 0;

    if (r->elements) {
        find_place(NULL, chan, reply_text(r->element[0]->element[0]), &last);
    }

    freeReplyObject(r);

    n = seq_of(last) + 1;

    ch->out_hash = calloc(n, sizeof(uint64_t));
    ch->out_len = calloc(n, sizeof(uint64_t));
    ch->progress = calloc(n, sizeof(uint32_t));
    ch->out_hash[0] = HASH_START;

    for (place = place_of(life_of(last), 0); place < last; /* void */) {

        r = ask(rc, "XRANGE {%s}:events (%s + COUNT 1000", ch->name,
                spell(chan, place));

        for (i = 0; i < r->elements; i++) {
            verify_entry(chan, r->element[i]);
        }

        if (i == 0) {
            die("the stream of %s shrinks", ch->name);
        }

        find_place(NULL, chan, reply_text(r->element[i - 1]->element[0]),
                   &place);

        freeReplyObject(r);
    }

    if (ch->top > last && !g.lossy) {
        violation(NULL, chan, "%s was delivered or answered, the stream ends "
                  "with %s", spell(chan, ch->top), spell(chan, last));
    }

    if (ch->count && ch->first == 1) {
        r = ask(rc, "GET {%s}:output", ch->name);

        if (r->len != ch->out_len[ch->count]
            || hash(HASH_START, r->str ? r->str : "", r->len)
               != ch->out_hash[ch->count])
        {
            violation(NULL, chan, "the output is not what the events say");
        }

        freeReplyObject(r);
    }
}


static void
verify(void)
{
    int              i;
    size_t           n;
    chan_t          *ch;
    uint64_t         seq;
    snapshot_t      *s;
    redisContext    *rc;

    in_stream = calloc(g.n + 1, 1);
    rc = redisConnect("127.0.0.1", g.redis_port);

    if (rc == NULL || rc->err || in_stream == NULL) {
        die("Redis: %s", rc ? rc->errstr : "no memory");
    }

    for (i = 0; i < g.channels; i++) {
        verify_channel(rc, i);
    }

    redisFree(rc);

    for (n = 0; n < nsnapshots; n++) {
        s = &snapshots[n];
        ch = &chans[s->chan];

        if (g.lossy || (s->place && (ch->first != 1
                                     || life_of(s->place) != ch->nlives - 1)))
        {
            /* nobody knows any more */
            continue;
        }

        seq = seq_of(s->place);

        if (seq > ch->count) {
            violation(&clients[s->cli], s->chan, "a state of position %s, the "
                      "stream ends with %" PRIu64, spell(s->chan, s->place),
                      ch->count);
            continue;
        }

        count.snapshots++;

        if (s->hash != ch->out_hash[seq] || s->len != ch->out_len[seq]) {
            violation(&clients[s->cli], s->chan, "the output in a state of "
                      "position %s has %" PRIu64 " bytes, up to there the "
                      "events say %" PRIu64, spell(s->chan, s->place), s->len,
                      ch->out_len[seq]);

        } else if (s->progress != ch->progress[seq]) {
            violation(&clients[s->cli], s->chan, "progress in a state of "
                      "position %s is %u, the events say %u",
                      spell(s->chan, s->place), s->progress,
                      ch->progress[seq]);
        }
    }
}


static void
wait_end(pid_t *pid, const char *name, int ms)
{
    int64_t  until;

    until = clock_ms() + ms;

    while (*pid && clock_ms() < until) {
        reap();
        usleep(5000);
    }

    if (*pid) {
        violation(NULL, -1, "%s does not end in %d s", name, ms / 1000);
        kill(*pid, SIGKILL);
        waitpid(*pid, NULL, 0);
        *pid = 0;
    }
}


static void
end(void)
{
    int  i;

    g.phase = VERIFY;
    g.redis_start = INT64_MAX;

    thaw();

    /* nginx would wait for a request that has not been sent yet */

    for (i = 0; i < HTTP_SLOTS; i++) {
        io_close(&requests[i].http.io);
    }

    /* some clients go before the workers do, others are told to */

    for (i = 0; i < nclients; i += 2) {
        client_close(&clients[i]);
    }

    if (g.nginx_pid) {
        kill(g.nginx_pid, SIGQUIT);

        if (g.beside_pid) {
            kill(g.beside_pid, SIGQUIT);
        }

        usleep(400000);

        for (i = 0; i < nclients; i++) {
            client_close(&clients[i]);
        }

        wait_end(&g.nginx_pid, "nginx", 15000);
    }

    if (g.nginx_old) {
        kill(g.nginx_old, SIGQUIT);
        wait_end(&g.nginx_old, "the old nginx", 15000);
    }

    if (g.beside_pid) {
        wait_end(&g.beside_pid, "the other nginx", 15000);
    }

    if (g.redis_pid) {
        kill(g.redis_pid, SIGTERM);
        wait_end(&g.redis_pid, "Redis", 10000);
    }
}


static void
report_use(const char *name, int who)
{
    int     i;
    fit_t   fit[3];
    double  third;

    third = (g.ended - g.began) / 3000.0;

    for (i = 0; i < 3; i++) {
        series_fit(i == 2 ? &g.fds[who] : &g.memory[who],
                   g.began / 1000.0 + (i == 0 ? 0 : third), &fit[i]);
    }

    printf("%-12s%.0f KB, %+.1f KB/min from %.0f s on (in all %+.0f KB), %.1f "
           "descriptors, %+.2f/min\n", name, fit[1].mean,
           fit[1].time ? fit[1].rise * 60 / fit[1].time : 0, third,
           fit[1].rise, fit[2].mean,
           fit[2].time ? fit[2].rise * 60 / fit[2].time : 0);
}


static void
report(void)
{
    printf("\n");
    printf("events      %" PRIu64 " in the streams: published %" PRIu64
           ", by POST %" PRIu64 ", without wake-up %" PRIu64
           ", bare XADD %" PRIu64 ", reply lost %" PRIu64 "; live %" PRIu64
           "\n", count.entries, count.published, count.posted, count.silent,
           count.plain, count.unknown, count.live);
    printf("deliveries  %" PRIu64 " durable, %" PRIu64 " live, %" PRIu64
           " MB\n", count.durable, count.lives, count.bytes >> 20);
    printf("clients     %d, connects %" PRIu64 ", resumes %" PRIu64
           ", recovered %" PRIu64 ", dropped by client %" PRIu64
           ", by server %" PRIu64 ", too slow %" PRIu64 ", shutdown %" PRIu64
           "\n", nclients, count.connects, count.resumes, count.recovered,
           count.drops, count.closed, count.too_slow, count.shutdowns);
    printf("polling     requests %" PRIu64 ", sent again %" PRIu64
           ", session unknown %" PRIu64 ", bad request %" PRIu64
           ", unavailable %" PRIu64 "; probes %" PRIu64 ", lost %" PRIu64
           ", upgraded %" PRIu64 "\n", count.polls, count.resent,
           count.unknown_sid, count.bad_request, count.away, count.probes,
           count.probes_lost, count.upgraded);
    printf("channels    joins %" PRIu64 ", leaves %" PRIu64 ", unavailable %"
           PRIu64 ", states %" PRIu64 " + %" PRIu64 " by HTTP, syncs %" PRIu64
           ", deaf or slow %" PRIu64 "\n", count.joins, count.leaves,
           count.unavailable, count.states, count.http_states, count.syncs,
           count.deaf);
    printf("faults      workers killed %" PRIu64 ", frozen %" PRIu64
           ", reloads %" PRIu64 ", upgrades %" PRIu64 ", Redis ended %" PRIu64
           ", killed %" PRIu64 ", frozen %" PRIu64 ", subscriptions cut %"
           PRIu64 ", commands cut %" PRIu64 ", trims %" PRIu64 ", deletes %"
           PRIu64 "\n", count.kills, count.freezes, count.reloads,
           count.upgrades, count.redis_term, count.redis_kill,
           count.redis_freeze, count.cut_sub, count.cut_cmd,
           count.trims, count.remakes);
    printf("nginx       %" PRIu64 " old workers left, the slowest in %.1f s; "
           "%" PRIu64 " looks at the status\n", count.left,
           g.slowest / 1000.0, count.status);

    if (g.soak) {
        report_use("master", MASTER);
        report_use("worker", WORKERS);
        printf("descriptors %d of a worker before the first client, %d after "
               "the last one\n", g.fds_first, g.fds_last);
    }

    printf("verdict     missing %" PRIu64 ", doubled %" PRIu64
           ", out of order %" PRIu64 ", gaps %" PRIu64 " (%" PRIu64
           " events), snapshots checked %" PRIu64 ", violations %" PRIu64
           "\n", count.missing, count.doubles, count.order, count.gaps,
           count.lost, count.snapshots, count.violations);
}


static void
on_signal(int sig)
{
    g.stop = 1;
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

        if (kind == KINDS || g.nkinds == MAX_KINDS) {
            die("bad kinds of clients, see check/check --help");
        }

        g.kinds[g.nkinds++] = kind;

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
        { "soak", 0, NULL, 'S' }, { "verbose", 0, NULL, 'v' },
        { NULL, 0, NULL, 0 }
    };

    g.seed = 1;
    g.time = 60;
    g.clients = 40;
    g.channels = 12;
    g.rate = 1000;
    g.workers = 3;
    g.nodes = 1;
    g.nginx = "nginx";
    g.redis = "redis-server";
    g.aof = "always";
    g.faults = "worker,freeze,reload,redis,cut";
    g.log = "info";

    while ((c = getopt_long(argc, argv, "", list, NULL)) != -1) {
        switch (c) {
        case 's': g.seed = strtoull(optarg, NULL, 10); break;
        case 't': g.time = atof(optarg); break;
        case 'k': g.clients = atoi(optarg); break;
        case 'm': g.channels = atoi(optarg); break;
        case 'r': g.rate = atof(optarg); break;
        case 'w': g.workers = atoi(optarg); break;
        case 'K': names = optarg; break;
        case 'N': g.nodes = atoi(optarg); break;
        case 'M': g.module = optarg; break;
        case 'n': g.nginx = optarg; break;
        case 'R': g.redis = optarg; break;
        case 'd': g.dir = optarg; break;
        case 'a': g.aof = optarg; break;
        case 'f': g.faults = optarg; break;
        case 'l': g.log = optarg; break;
        case 'e': g.every = atof(optarg); break;
        case 'L': g.large = strtoul(optarg, NULL, 10); break;
        case 'S': g.soak = 1; break;
        case 'v': g.verbose = 1; break;
        default: exit(2);
        }
    }

    if (g.module == NULL || g.dir == NULL || g.channels < 1
        || g.channels > MAX_CHANNELS || g.clients < 1 || g.workers < 1
        || g.nodes < 1 || g.nodes > 2)
    {
        die("started with bad options, use check/check");
    }

    kinds_of_clients(names);

    g.lossy = strcmp(g.aof, "always") != 0;
    g.daemon = strstr(g.faults, "upgrade") != NULL;
}


int
main(int argc, char **argv)
{
    int        i;
    rng_t      ports;
    str_t      none = { "", 0 };
    client_t  *c;

    options(argc, argv);

    g.zero = clock_ms();

    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);

    /* a daemon's parent leaves it, and so does a master that is upgraded */

    prctl(PR_SET_CHILD_SUBREAPER, 1);

    io_init();

    ports.state = (uint64_t) getpid() << 32 ^ (uint64_t) time(NULL);
    g.redis_port = free_port(&ports);
    g.nginx_port = free_port(&ports);
    g.beside_port = free_port(&ports);

    seed(&g.rng, 1);
    seed(&g.fault_rng, 2);

    for (i = 0; i < g.channels; i++) {
        snprintf(chans[i].name, sizeof(chans[i].name), "job:c%d", i);
    }

    for (i = 0; i < PRODUCERS; i++) {
        g.producers[i].io.fd = -1;
    }

    g.quiet.io.fd = -1;
    g.control.io.fd = -1;

    for (i = 0; i < HTTP_SLOTS; i++) {
        requests[i].http.io.fd = -1;
    }

    nclients = g.clients * g.nkinds;
    clients = calloc(nclients, sizeof(client_t));

    if (clients == NULL) {
        die("no memory");
    }

    for (i = 0; i < nclients; i++) {
        c = &clients[i];

        c->id = i;
        c->kind = g.kinds[i % g.nkinds];
        c->proto = kinds[c->kind].proto;
        c->io.fd = -1;
        c->io.handler = client_handler;
        c->faithful = (i / g.nkinds % 4 == 0);

        poll_init(&c->poll, &poll_handlers);

        seed(&c->rng, 1000 + i);
        client_rethink(c);
    }

    redis_start();

    while (g.phase != VERIFY) {

        io_wait(TICK);
        g.now = clock_ms();
        io_handle();

        for (i = 0; i < PRODUCERS; i++) {
            link_tick(&g.producers[i]);
        }

        link_tick(&g.quiet);
        link_tick(&g.control);

        faults_tick();
        look_tick();
        phase_tick();
        producers_tick();

        for (i = 0; i < nclients; i++) {
            client_tick(&clients[i]);
        }

        for (i = 0; i < HTTP_SLOTS; i++) {
            if (requests[i].used && g.now - requests[i].since > SILENCE) {
                violation(NULL, requests[i].chan, "no answer over HTTP in %d "
                          "s", SILENCE / 1000);
                request_end(&requests[i].http, 0, none);
            }
        }

        if (g.stop && g.phase <= RUNNING && g.stop++ > 1) {
            break;
        }
    }

    if (g.phase == VERIFY) {
        verify();

        /* what is free already a sanitizer keeps for a while */

        if (g.soak && getenv("RTBUS_SANITIZED") == NULL) {
            soaked();
        }
    }

    end();
    report();

    return count.violations || g.stop ? 1 : 0;
}
