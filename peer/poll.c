
/*
 * Engine.IO over long-polling.
 */


#define _GNU_SOURCE

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "poll.h"


static void poll_get(poll_t *p, int again);
static void poll_post(poll_t *p);
static void poll_request(poll_t *p, http_t *h, str_t body, int again);
static void poll_next(poll_t *p);
static void poll_got(http_t *h, int status, str_t body);
static void poll_posted(http_t *h, int status, str_t body);
static int poll_opened(poll_t *p, str_t packet);


void
poll_init(poll_t *p, const poll_handlers_t *handlers)
{
    memset(p, 0, sizeof(poll_t));

    http_init(&p->get, poll_got);
    http_init(&p->post, poll_posted);

    p->handlers = handlers;
}


void
poll_open(poll_t *p, str_t query, int port, int rcvbuf)
{
    p->query.len = 0;
    p->queue.len = 0;
    p->sid[0] = '\0';
    p->port = port;
    p->rcvbuf = rcvbuf;
    p->pausing = 0;
    p->refused = 0;

    put(&p->query, query.data, query.len);

    poll_get(p, 0);
}


void
poll_send(poll_t *p, const char *packet, size_t len)
{
    if (p->queue.len) {
        put(&p->queue, lit("\x1e"));
    }

    put(&p->queue, packet, len);

    if (!p->post.waiting && !p->pausing) {
        poll_post(p);
    }
}


void
poll_pause(poll_t *p)
{
    p->pausing = 1;

    poll_next(p);
}


void
poll_resume(poll_t *p)
{
    p->pausing = 0;

    poll_next(p);
}


void
poll_close(poll_t *p)
{
    http_close(&p->get);
    http_close(&p->post);

    p->queue.len = 0;
    p->sid[0] = '\0';
    p->number++;
}


static void
poll_get(poll_t *p, int again)
{
    str_t  none = { NULL, 0 };

    poll_request(p, &p->get, none, again);
}


static void
poll_post(poll_t *p)
{
    buf_t  queue;
    str_t  body;

    queue = p->queue;
    memset(&p->queue, 0, sizeof(buf_t));

    body.data = queue.data;
    body.len = queue.len;

    poll_request(p, &p->post, body, 0);

    free(queue.data);
}


static void
poll_request(poll_t *p, http_t *h, str_t body, int again)
{
    int    port;
    buf_t  request;

    port = p->sid[0] ? p->handlers->route(p, again) : 0;

    if (port) {
        io_close(&h->io);
    }

    memset(&request, 0, sizeof(buf_t));

    putf(&request, "%s /socket.io/?EIO=4&transport=polling%s%.*s%s%s "
         "HTTP/1.1\r\nHost: bench\r\n", body.data ? "POST" : "GET",
         p->query.len ? "&" : "", (int) p->query.len, p->query.data,
         p->sid[0] ? "&sid=" : "", p->sid);

    if (body.data) {
        putf(&request, "Content-Type: text/plain;charset=UTF-8\r\n"
             "Content-Length: %zu\r\n", body.len);
    }

    put(&request, lit("\r\n"));
    put(&request, body.data, body.len);

    if (!http_send(h, &request, port ? port : p->port,
                   h == &p->get ? p->rcvbuf : 0))
    {
        p->refused = 1;
    }

    free(request.data);
}


/* whatever can be done now */

static void
poll_next(poll_t *p)
{
    if (p->pausing) {
        if (!p->get.waiting && !p->post.waiting) {
            p->handlers->paused(p);
        }

        return;
    }

    if (p->sid[0] == '\0') {
        return;
    }

    if (!p->get.waiting) {
        poll_get(p, 0);
    }

    if (p->queue.len && !p->post.waiting) {
        poll_post(p);
    }
}


static void
poll_got(http_t *h, int status, str_t body)
{
    poll_t  *p = container(h, poll_t, get);

    str_t     packet;
    unsigned  number;

    if (status == HTTP_STALE) {

        /* a browser tries again, too */

        poll_get(p, 1);
        return;
    }

    number = p->number;

    if (status != 200 || body.len == 0
        || (p->sid[0] == '\0' && !poll_opened(p, body)))
    {
        p->handlers->failed(p, status, body);
        return;
    }

    while (packet_read(&body, &packet)) {

        if (same(packet, "6")) {
            continue;
        }

        p->handlers->packet(p, packet);

        if (p->number != number) {
            return;
        }
    }

    poll_next(p);
}


static int
poll_opened(poll_t *p, str_t packet)
{
    str_t                     sid;
    static const char *const  names[] = { "sid" };

    if (packet.data[0] != '0') {
        return 0;
    }

    packet.data++;
    packet.len--;

    if (!json(packet, names, &sid, 1) || sid.len == 0
        || sid.len >= sizeof(p->sid))
    {
        return 0;
    }

    snprintf(p->sid, sizeof(p->sid), "%.*s", (int) sid.len, sid.data);

    return 1;
}


/*
 * One that was not answered may have been taken: what was in it is not sent
 * again.
 */

static void
poll_posted(http_t *h, int status, str_t body)
{
    poll_t  *p = container(h, poll_t, post);

    if (status != 200 || !same(body, "ok")) {
        p->handlers->failed(p, status, body);
        return;
    }

    poll_next(p);
}
