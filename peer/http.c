
/*
 * Requests over HTTP.
 */


#define _GNU_SOURCE

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "http.h"


static void http_io_handler(io_t *io, uint32_t events);
static void http_end(http_t *h);
static int http_whole(http_t *h);
static void http_answer(http_t *h, int status);


void
http_init(http_t *h, http_handler_t handler)
{
    memset(h, 0, sizeof(http_t));

    h->io.fd = -1;
    h->io.handler = http_io_handler;
    h->handler = handler;
}


int
http_send(http_t *h, buf_t *request, int port, int rcvbuf)
{
    if (h->io.fd == -1) {
        h->answered = 0;

        if (!io_connect(&h->io, port, 0, rcvbuf)) {
            return 0;
        }
    }

    free(h->out.data);

    h->out = *request;
    memset(request, 0, sizeof(buf_t));

    h->waiting = 1;
    h->in.len = 0;
    h->got = 0;
    h->bytes = 0;

    memset(&h->head, 0, sizeof(head_t));
    memset(&h->chunks, 0, sizeof(chunks_t));

    io_want(&h->io, EPOLLOUT | (h->deaf ? 0 : EPOLLIN));

    return 1;
}


void
http_close(http_t *h)
{
    io_close(&h->io);

    free(h->in.data);
    free(h->out.data);

    memset(&h->in, 0, sizeof(buf_t));
    memset(&h->out, 0, sizeof(buf_t));

    h->waiting = 0;
    h->deaf = 0;
}


static void
http_io_handler(io_t *io, uint32_t events)
{
    http_t  *h = container(io, http_t, io);

    if (!io_write(io, &h->out)) {
        http_end(h);
        return;
    }

    io_want(io, (h->out.len ? EPOLLOUT : 0) | (h->deaf ? 0 : EPOLLIN));

    if (events & (EPOLLHUP|EPOLLERR) || (events & EPOLLIN && !h->deaf)) {
        http_read(h, 1 << 18);
    }
}


void
http_read(http_t *h, size_t max)
{
    ssize_t  n;

    n = io_read(&h->io, &h->in, max);

    if (n == -1) {
        http_end(h);
        return;
    }

    h->bytes += n;

    if (h->waiting && http_whole(h)) {

        if (h->head.close) {
            io_close(&h->io);
        }

        h->answered = 1;
        http_answer(h, h->head.status);
    }
}


/* the server does not keep the connection, or the answer ends with it */

static void
http_end(http_t *h)
{
    int  status;

    io_close(&h->io);

    if (!h->waiting) {
        return;
    }

    status = 0;

    if (h->head.len && !h->head.chunked && !h->head.sized) {
        status = h->head.status;

    } else if (h->answered && h->bytes == 0) {
        status = HTTP_STALE;
    }

    http_answer(h, status);
}


static int
http_whole(http_t *h)
{
    str_t  s;

    if (h->head.len == 0) {
        s.data = h->in.data;
        s.len = h->in.len;

        if (!head_read(s, &h->head)) {
            return 0;
        }

        take(&h->in, h->head.len);
    }

    if (!h->head.chunked) {
        return h->head.sized && h->in.len >= h->head.size;
    }

    h->got += chunks_read(&h->chunks, h->in.data + h->got,
                          h->in.len - h->got);
    h->in.len = h->got;

    return h->chunks.ended;
}


/* the handler may send the next request, or close */

static void
http_answer(http_t *h, int status)
{
    buf_t  in;
    str_t  body;

    in = h->in;

    memset(&h->in, 0, sizeof(buf_t));
    h->waiting = 0;

    body.data = in.data ? in.data : "";
    body.len = status > 0 ? in.len : 0;

    h->handler(h, status, body);

    free(in.data);
}
