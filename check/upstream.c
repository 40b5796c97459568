
/*
 * The upstream of captured answers: speaks HTTP/1.1, and streams events as an
 * OpenAI-compatible server does, few or many in one write.
 */


#define _GNU_SOURCE

#include <sys/epoll.h>

#include "answers.h"


#define STREAMS  64


typedef struct {
    io_t                 io;
    buf_t                in;
    buf_t                out;
    answer_t            *answer;        /* NULL: it is not known yet */
    int                  left;          /* events until the end */
    int                  pace;          /* ms between writes */
    int64_t              next;
    int                  ended;         /* all is in out */
} stream_t;


static io_t      listener;
static stream_t  streams[STREAMS];
static rng_t     rng;


static void
stream_close(stream_t *s)
{
    answer_t  *a;

    a = s->answer;

    if (a && a->state == ANSWER_RUNNING) {
        a->state = (s->ended && s->out.len == 0) ? ANSWER_ENDED
                                                 : ANSWER_BROKEN;
        a->over = run.now;
    }

    io_close(&s->io);

    s->in.len = 0;
    s->out.len = 0;
    s->answer = NULL;
    s->ended = 0;
}


/* the request for an answer: "POST /answer?id=N ..." */

static void
stream_request(stream_t *s)
{
    int        id;
    char      *p;
    answer_t  *a;

    if (memmem(s->in.data, s->in.len, lit("\r\n\r\n")) == NULL) {
        return;
    }

    p = memmem(s->in.data, s->in.len, lit("?id="));
    id = p ? atoi(p + 4) : -1;
    a = answer_find(id);

    if (a == NULL || a->state != ANSWER_ASKED) {
        die("the upstream was asked for answer %d, which nobody wants", id);
    }

    a->state = ANSWER_RUNNING;

    s->answer = a;
    /* no longer than an old worker may take to leave */

    s->left = 1 + below(&rng, 120);
    s->pace = chance(&rng, 20) ? 1 : 5 + below(&rng, 40);
    s->next = run.now + below(&rng, 300);

    put(&s->out, lit("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                     "Transfer-Encoding: chunked\r\n"
                     "Connection: close\r\n\r\n"));
}


static void
stream_event(stream_t *s)
{
    buf_t   b;
    size_t  len;

    memset(&b, 0, sizeof(b));

    if (--s->left) {
        putf(&b, "data: {\"choices\":[{\"index\":0,\"delta\":{"
             "\"content\":\"%d ", s->left);

        len = chance(&rng, 3) ? below(&rng, 6000) : below(&rng, 24);

        for (len += b.len; b.len < len; /* void */) {
            put(&b, lit("token "));
        }

        put(&b, lit("\"}}]}\n\n"));

    } else {
        put(&b, lit("data: [DONE]\n\n"));
    }

    put(&s->answer->log, b.data, b.len);

    putf(&s->out, "%zx\r\n", b.len);
    put(&s->out, b.data, b.len);
    put(&s->out, lit("\r\n"));

    free(b.data);

    if (s->left == 0) {
        put(&s->out, lit("0\r\n\r\n"));
        s->ended = 1;
    }
}


static void
stream_handler(io_t *io, uint32_t events)
{
    stream_t  *s = container(io, stream_t, io);

    if (events & (EPOLLIN|EPOLLHUP|EPOLLERR)) {

        if (io_read(io, &s->in, 65536) == -1) {
            stream_close(s);
            return;
        }

        if (s->answer == NULL) {
            stream_request(s);
        }
    }

    if (!io_write(io, &s->out)) {
        stream_close(s);
        return;
    }

    if (s->ended && s->out.len == 0) {
        stream_close(s);
        return;
    }

    io_want(io, s->out.len ? EPOLLIN|EPOLLOUT : EPOLLIN);
}


static void
listener_handler(io_t *io, uint32_t events)
{
    int        i, fd;
    stream_t  *s;

    while ((fd = io_accept(io)) != -1) {

        for (i = 0; i < STREAMS && streams[i].io.fd != -1; i++) {
            /* void */
        }

        if (i == STREAMS) {
            die("more than %d answers at a time", STREAMS);
        }

        s = &streams[i];
        s->io.fd = fd;
        s->io.handler = stream_handler;

        io_add(&s->io, EPOLLIN);
    }
}


int
upstream_init(void)
{
    int  i;

    for (i = 0; i < STREAMS; i++) {
        streams[i].io.fd = -1;
    }

    seed(&rng, 3);

    listener.handler = listener_handler;

    return io_listen(&listener);
}


void
upstream_tick(void)
{
    int        i, n;
    stream_t  *s;

    for (i = 0; i < STREAMS; i++) {
        s = &streams[i];

        if (s->io.fd == -1 || s->answer == NULL || s->ended
            || run.now < s->next)
        {
            continue;
        }

        /* those that are left in the end make haste */

        s->next = run.now + (run.phase == RUNNING ? s->pace : 1);

        for (n = chance(&rng, 10) ? 16 : 1; n && !s->ended; n--) {
            stream_event(s);
        }

        io_want(&s->io, EPOLLIN|EPOLLOUT);
    }
}
