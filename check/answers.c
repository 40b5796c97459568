
/*
 * Who asks for captured answers, and who replays them.
 *
 * What a client gets, block by block, has to be what the upstream's log has
 * there.  A clean end is one only when the client has all of the log and the
 * upstream had ended it.  An error at the end is for answers whose worker was
 * killed; it has to come in time.  A client may go at any moment, and resumes
 * with what it had.  In the end each answer that was captured
 * is replayed once more, from its beginning to its end.
 */


#define _GNU_SOURCE

#include <sys/epoll.h>

#include "answers.h"
#include "client.h"
#include "faults.h"
#include "programs.h"
#include "verdict.h"


#define ANSWERS     4096                /* in all */
#define READERS     128
#define IN_TIME     20000               /* ms, for the end of a broken one */
#define LATER       30000               /* if nginx may be without Redis */


/* somebody who reads an answer */

typedef struct {
    io_t                 io;
    buf_t                in;
    buf_t                text;          /* without chunks */
    buf_t                out;
    head_t               head;
    chunks_t             chunks;
    answer_t            *answer;        /* NULL: it is free */
    int                  first;         /* it has asked for it */
    int                  whole;         /* from the beginning to the end */
    int                  early;         /* before the upstream was asked */
    int                  headed;
    size_t               pos;           /* in the log */
    unsigned             events;
    int                  tail;          /* an error was told */
    int64_t              since;
    int64_t              goes;          /* 0: it stays to the end */
} reader_t;


static answer_t   answers[ANSWERS];
static int        nanswers;
static reader_t   readers[READERS];
static rng_t      rng;
static int64_t    next;

static struct {
    uint64_t             refused;
    uint64_t             whole;
    uint64_t             replays;       /* to a clean end */
    uint64_t             resumes;
    uint64_t             tails;
    uint64_t             aborts;
    uint64_t             gone;
    uint64_t             bytes;
} told;


answer_t *
answer_find(int id)
{
    return id >= 0 && id < nanswers ? &answers[id] : NULL;
}


static void
reader_close(reader_t *r)
{
    io_close(&r->io);

    r->in.len = 0;
    r->text.len = 0;
    r->out.len = 0;
    r->answer = NULL;
}


static reader_t *
reader_open(answer_t *a)
{
    int        i, node;
    reader_t  *r;

    for (i = 0; i < READERS && readers[i].answer; i++) {
        /* void */
    }

    if (i == READERS) {
        return NULL;
    }

    r = &readers[i];
    node = opt.nodes > 1 && chance(&rng, 50);

    if (!io_connect(&r->io, node ? prog.beside_port : prog.nginx_port, 0, 0)) {
        return NULL;
    }

    memset(&r->chunks, 0, sizeof(chunks_t));

    r->answer = a;
    r->first = 0;
    r->early = (a->state <= ANSWER_ASKED);
    r->whole = 0;
    r->headed = 0;
    r->pos = 0;
    r->events = 0;
    r->tail = 0;
    r->since = run.now;
    r->goes = 0;

    return r;
}


/* from the event that comes after n of them, which end at pos */

static void
replay(answer_t *a, unsigned n, size_t pos, int whole)
{
    reader_t  *r;

    r = reader_open(a);

    if (r == NULL) {
        return;
    }

    r->events = n;
    r->pos = pos;
    r->whole = whole;

    if (!whole && chance(&rng, 60)) {
        r->goes = run.now + below(&rng, 2000);
    }

    putf(&r->out, "GET /replay?id=%d&n=%u HTTP/1.1\r\nHost: check\r\n\r\n",
         a->id, n);
}


static void
ask_for(void)
{
    answer_t  *a;
    reader_t  *r;

    if (nanswers == ANSWERS) {
        return;
    }

    a = &answers[nanswers];
    r = reader_open(a);

    if (r == NULL) {
        return;
    }

    a->id = nanswers++;
    a->state = ANSWER_ASKED;
    a->begun = run.now;
    a->kills = workers_killed();

    r->first = 1;

    if (chance(&rng, 40)) {
        r->goes = run.now + below(&rng, 1500);
    }

    putf(&r->out, "POST /answer?id=%d HTTP/1.1\r\nHost: check\r\n"
         "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
         a->id);
}


static void
found(reader_t *r, const char *what)
{
    answer_t  *a;

    a = r->answer;

    violation(NULL, -1, "answer %d: %s; %s since %.3f, has %u events and %zu "
              "bytes of %zu, the upstream has %s at %.3f", a->id, what,
              r->first ? "asked for" : "replayed", r->since / 1000.0,
              r->events, r->pos, a->log.len,
              a->state == ANSWER_ENDED ? "ended" : a->state == ANSWER_BROKEN
              ? "lost its connection" : "not ended", a->over / 1000.0);
}


/* an error instead of the rest is for those whose worker was killed */

static void
reader_told_error(reader_t *r)
{
    answer_t  *a;

    a = r->answer;

    told.tails++;

    if (a->kills == workers_killed()) {
        found(r, "an error, and no worker was killed");
    }

    if (r->whole || !r->first) {
        a->proved = 1;
    }
}


static void
reader_ended(reader_t *r)
{
    answer_t  *a;

    a = r->answer;

    if (r->tail) {
        reader_told_error(r);
        return;
    }

    if (a->state != ANSWER_ENDED || r->pos != a->log.len || r->text.len) {
        verdict.missing++;
        found(r, "a clean end of a half");
        return;
    }

    told.whole += r->first;
    told.replays += !r->first;
    a->proved |= r->whole;
}


/* blocks of events that are complete; 0: one of them should not be there */

static int
reader_events(reader_t *r)
{
    char      *p, *end;
    size_t     len, pos;
    answer_t  *a;

    a = r->answer;
    pos = 0;

    for ( ;; ) {
        p = r->text.data + pos;
        end = memmem(p, r->text.len - pos, lit("\n\n"));

        if (end == NULL) {
            break;
        }

        len = end + 2 - p;
        pos += len;

        if (p[0] == ':') {
            /* a heartbeat */
            continue;
        }

        if (!r->tail && r->pos + len <= a->log.len
            && memcmp(a->log.data + r->pos, p, len) == 0)
        {
            r->pos += len;
            r->events++;
            continue;
        }

        if (!r->tail && len > 16 && memcmp(p, lit("data: {\"error\":")) == 0) {
            r->tail = 1;
            continue;
        }

        verdict.order++;
        found(r, "an event that the upstream has not said there");

        return 0;
    }

    take(&r->text, pos);

    return 1;
}


/* 0: there is nothing more to be read */

static int
reader_head(reader_t *r)
{
    int        away;
    str_t      s;
    answer_t  *a;

    a = r->answer;
    s = text(&r->in);

    if (!head_read(s, &r->head)) {
        return 1;
    }

    if (r->head.status == 200) {
        take(&r->in, r->head.len);
        r->headed = 1;
        return 1;
    }

    if (r->head.status >= 500 && fault_asked("full")) {
        /* for want of a connection, be it to the upstream */
        away = 1;

    } else {
        away = (r->head.status == 503);
    }

    if (r->first && away) {
        /* Redis was away, or a call to it was not answered */
        a->refused = (a->state == ANSWER_ASKED);
        a->unsure = 1;
        told.refused++;

    } else if (r->first) {
        found(r, "was not proxied");

    } else if (r->head.status == 204) {

        if (r->events && a->state == ANSWER_ENDED && r->pos == a->log.len) {
            /* it has all of it */

        } else if (a->refused || a->unsure) {
            a->proved |= r->whole;

        } else if (r->early) {
            /* it was not captured yet */

        } else if (r->events == 0 && a->kills != workers_killed()) {
            /* its worker was killed before Redis had anything of it */
            a->proved |= r->whole;

        } else {
            found(r, "there is none to replay");
        }

    } else if (!away) {
        found(r, "was refused");
    }

    return 0;
}


/* the client goes on with what it had, as one does whose connection ends */

static void
reader_gone(reader_t *r, int resume)
{
    answer_t  *a;
    size_t     pos;
    unsigned   n;

    a = r->answer;
    n = r->events;
    pos = r->pos;

    if (r->first && a->state == ANSWER_ASKED) {
        /* the request may have been lost before it has reached anybody */
        a->unsure = 1;
    }

    resume = resume && !r->tail && n && run.phase == RUNNING;

    reader_close(r);

    if (resume) {
        told.resumes++;
        replay(a, n, pos, 0);
    }
}


static void
reader_handler(io_t *io, uint32_t events)
{
    reader_t  *r = container(io, reader_t, io);

    size_t     n;
    ssize_t    got;

    if (!io_write(io, &r->out)) {
        told.aborts++;
        reader_gone(r, 1);
        return;
    }

    io_want(io, r->out.len ? EPOLLIN|EPOLLOUT : EPOLLIN);

    if (!(events & (EPOLLIN|EPOLLHUP|EPOLLERR))) {
        return;
    }

    got = io_read(io, &r->in, 1 << 18);

    if (got > 0) {
        told.bytes += got;

        if (!r->headed && !reader_head(r)) {
            reader_gone(r, 0);
            return;
        }

        if (!r->headed) {
            return;
        }

        n = chunks_read(&r->chunks, r->in.data, r->in.len);
        put(&r->text, r->in.data, n);
        r->in.len = 0;

        if (!reader_events(r)) {
            reader_gone(r, 0);
            return;
        }

        if (r->chunks.ended) {
            reader_ended(r);
            reader_gone(r, 0);
        }

        return;
    }

    if (got == -1) {
        told.aborts++;

        if (r->first && r->headed && r->answer->kills == workers_killed()) {
            found(r, "broken off, and no worker was killed");
        }

        reader_gone(r, 1);
    }
}


void
answers_init(void)
{
    int  i;

    for (i = 0; i < READERS; i++) {
        readers[i].io.fd = -1;
        readers[i].io.handler = reader_handler;
    }

    seed(&rng, 4);
}


/* a worker that was without Redis does not judge others at once */

static int64_t
in_time(void)
{
    size_t                    i;
    static const char *const  names[] = { "redis", "freeze", "cut", "slow",
                                          "roles", "full" };

    for (i = 0; i < countof(names); i++) {
        if (fault_asked(names[i])) {
            return LATER;
        }
    }

    return IN_TIME;
}


static void
readers_tick(void)
{
    int        i;
    answer_t  *a;
    reader_t  *r;

    for (i = 0; i < READERS; i++) {
        r = &readers[i];
        a = r->answer;

        if (a == NULL) {
            continue;
        }

        if (r->goes && run.now > r->goes) {
            told.gone++;

            if (chance(&rng, 30)) {
                io_reset(&r->io);
            }

            reader_gone(r, chance(&rng, 70));
            continue;
        }

        if (a->over && !a->late && run.now - a->over > in_time()
            && run.now - r->since > in_time())
        {
            a->late = 1;
            found(r, "a silent half");
        }
    }
}


void
answers_tick(void)
{
    int        i;
    answer_t  *a;

    if (opt.answers == 0) {
        return;
    }

    upstream_tick();
    readers_tick();

    if (run.phase != RUNNING || run.now < next) {
        return;
    }

    next = run.now + below(&rng, 2000 / opt.answers);

    ask_for();

    /* the last ones are of most interest, being under way */

    if (nanswers && chance(&rng, 80)) {
        i = nanswers - 1 - below(&rng, nanswers < 12 ? nanswers : 12);
        a = &answers[i];

        replay(a, 0, 0, 0);
    }
}


/* 1: somebody replays all of it */

static int
answer_asked(answer_t *a)
{
    int  i;

    for (i = 0; i < READERS; i++) {
        if (readers[i].answer == a && readers[i].whole) {
            return 1;
        }
    }

    return 0;
}


int
answers_done(int report)
{
    int        i, done;
    answer_t  *a;

    done = 1;

    for (i = 0; i < READERS; i++) {
        done &= (readers[i].answer == NULL);
    }

    for (i = 0; i < nanswers; i++) {
        a = &answers[i];

        if (a->proved || a->refused || a->state == ANSWER_NONE) {
            continue;
        }

        done = 0;

        if (report) {
            violation(NULL, -1, "answer %d of %zu bytes was not replayed to "
                      "its end", a->id, a->log.len);

        } else if (!answer_asked(a)) {
            replay(a, 0, 0, 1);
        }
    }

    return done;
}


void
answers_report(void)
{
    printf("answers     %d, refused %" PRIu64 ", whole %" PRIu64 "; replays %"
           PRIu64 ", resumes %" PRIu64 ", errors told %" PRIu64 ", broken off "
           "%" PRIu64 ", dropped by client %" PRIu64 ", %" PRIu64 " KB\n",
           nanswers, told.refused, told.whole, told.replays, told.resumes,
           told.tails, told.aborts, told.gone, told.bytes >> 10);
}
