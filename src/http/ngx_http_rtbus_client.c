
#include "ngx_http_rtbus_client.h"
#include "ngx_http_rtbus_access.h"
#include "ngx_http_rtbus_inbox.h"
#include "rtbus_ws.h"


#define NGX_HTTP_RTBUS_DRAIN_TICK  50    /* ms */


static void ngx_http_rtbus_client_cleanup(void *data);
static void ngx_http_rtbus_client_clear(ngx_http_rtbus_client_t *cli,
    ngx_uint_t keep);
static ngx_http_rtbus_sub_t *ngx_http_rtbus_client_create_sub(
    ngx_http_rtbus_client_t *cli, ngx_http_rtbus_channel_t *channel);
static void ngx_http_rtbus_client_connected(ngx_http_rtbus_client_t *cli);
static void ngx_http_rtbus_client_resume(ngx_http_rtbus_client_t *cli);
static void ngx_http_rtbus_client_deliver(ngx_rtbus_sub_t *sub,
    ngx_rtbus_frame_t *frame);
static void ngx_http_rtbus_client_gap(ngx_rtbus_sub_t *sub, uint64_t lost,
    rtbus_pos_t pos);
static size_t ngx_http_rtbus_client_room(ngx_rtbus_sub_t *sub);
static void ngx_http_rtbus_client_ready(ngx_rtbus_sub_t *sub);
static void ngx_http_rtbus_client_joined(ngx_rtbus_sub_t *sub);
static void ngx_http_rtbus_client_failed(ngx_rtbus_sub_t *sub);
static void ngx_http_rtbus_client_free_sub(ngx_http_rtbus_sub_t *s);
static void ngx_http_rtbus_worker_flush(ngx_event_t *ev);
static void ngx_http_rtbus_worker_exiting(void *data);
static void ngx_http_rtbus_worker_goodbye(ngx_event_t *ev);


static const ngx_rtbus_sub_handlers_t  ngx_http_rtbus_sub_handlers = {
    ngx_http_rtbus_client_deliver,
    ngx_http_rtbus_client_gap,
    ngx_http_rtbus_client_room,
    ngx_http_rtbus_client_ready,
    ngx_http_rtbus_client_joined,
    ngx_http_rtbus_client_failed
};


ngx_int_t
ngx_http_rtbus_client_init(ngx_http_rtbus_client_t *cli, ngx_http_request_t *r,
    const ngx_http_rtbus_transport_t *transport)
{
    ngx_pool_cleanup_t          *cln;
    ngx_http_rtbus_main_conf_t  *rmcf;

    rmcf = ngx_http_get_module_main_conf(r, ngx_http_rtbus_module);

    cln = ngx_pool_cleanup_add(r->pool, 0);
    if (cln == NULL) {
        return NGX_ERROR;
    }

    if (ngx_http_rtbus_rules(r, &cli->rules) != NGX_OK) {
        return NGX_ERROR;
    }

    cli->transport = transport;
    cli->request = r;
    cli->connection = r->connection;
    cli->worker = rmcf->worker;
    cli->conf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    cli->last = &cli->first;
    ngx_queue_init(&cli->subs);
    ngx_queue_init(&cli->asks);

    cli->tokens = cli->conf->message_rate * 1000;
    cli->tokens_at = ngx_current_msec;

    ngx_queue_insert_tail(&cli->worker->clients, &cli->queue);
    cli->worker->nclients++;

    if (cli->worker->draining && !cli->worker->drain.timer_set) {
        ngx_add_timer(&cli->worker->drain, NGX_HTTP_RTBUS_DRAIN_TICK);
    }

    cln->handler = ngx_http_rtbus_client_cleanup;
    cln->data = cli;

    return NGX_OK;
}


static void
ngx_http_rtbus_client_cleanup(void *data)
{
    ngx_http_rtbus_client_t  *cli = data;

    ngx_queue_t  *q;

    ngx_http_rtbus_inbox_close(cli);

    while (!ngx_queue_empty(&cli->subs)) {
        q = ngx_queue_head(&cli->subs);
        ngx_http_rtbus_client_free_sub(ngx_queue_data(q, ngx_http_rtbus_sub_t,
                                                      queue));
    }

    ngx_http_rtbus_client_clear(cli, 0);

    if (cli->marked) {
        ngx_queue_remove(&cli->dirty);
        cli->marked = 0;
    }

    ngx_queue_remove(&cli->queue);
    cli->worker->nclients--;
}


/* drops queued frames; keep: not the one that is on its way */

static void
ngx_http_rtbus_client_clear(ngx_http_rtbus_client_t *cli, ngx_uint_t keep)
{
    ngx_http_rtbus_link_t  *link, *next;

    link = cli->first;

    if (keep && link && (cli->offset || cli->inflight)) {
        next = link->next;
        link->next = NULL;
        cli->last = &link->next;
        cli->unsent = link->frame->len - cli->offset;
        link = next;

    } else {
        cli->first = NULL;
        cli->last = &cli->first;
        cli->offset = 0;
        cli->unsent = 0;
        cli->inflight = 0;
    }

    while (link) {
        next = link->next;

        ngx_rtbus_frame_unref(link->frame);

        link->next = cli->worker->links;
        cli->worker->links = link;

        link = next;
    }
}


void
ngx_http_rtbus_client_send(ngx_http_rtbus_client_t *cli,
    ngx_rtbus_frame_t *frame)
{
    if (cli->closing || cli->broken) {
        return;
    }

    if (cli->unsent && cli->unsent + frame->len > cli->conf->send_buffer) {

        /* what is queued may not have been offered to the connection yet */

        if (cli->transport->flush(cli) != NGX_OK) {
            cli->broken = 1;
            ngx_http_rtbus_client_mark(cli);
            return;
        }

        if (cli->unsent && cli->unsent + frame->len > cli->conf->send_buffer) {
            ngx_http_rtbus_client_clear(cli, 1);
            ngx_http_rtbus_client_close(cli, RTBUS_WS_TRY_LATER,
                                        "client is too slow");
            return;
        }
    }

    ngx_http_rtbus_client_push(cli, frame);
}


void
ngx_http_rtbus_client_push(ngx_http_rtbus_client_t *cli,
    ngx_rtbus_frame_t *frame)
{
    ngx_http_rtbus_link_t  *link;

    link = cli->worker->links;

    if (link) {
        cli->worker->links = link->next;

    } else {
        link = ngx_alloc(sizeof(ngx_http_rtbus_link_t), cli->connection->log);
        if (link == NULL) {
            /* a hole in the stream would be worse than its end */
            ngx_http_rtbus_client_close(cli, RTBUS_WS_INTERNAL, "no memory");
            return;
        }
    }

    ngx_rtbus_frame_ref(frame);

    link->frame = frame;
    link->next = NULL;

    *cli->last = link;
    cli->last = &link->next;
    cli->unsent += frame->len;

    ngx_http_rtbus_client_mark(cli);
}


void
ngx_http_rtbus_client_sent(ngx_http_rtbus_client_t *cli, size_t n)
{
    size_t                  rest;
    ngx_http_rtbus_link_t  *link;

    cli->unsent -= n;

    if (cli->paused) {
        /* the replay goes on outside of whatever is being done now */
        ngx_http_rtbus_client_mark(cli);
    }

    while (n) {
        link = cli->first;
        rest = link->frame->len - cli->offset;

        if (n < rest) {
            cli->offset += n;
            return;
        }

        n -= rest;
        cli->offset = 0;

        cli->first = link->next;

        if (cli->first == NULL) {
            cli->last = &cli->first;
        }

        ngx_rtbus_frame_unref(link->frame);

        link->next = cli->worker->links;
        cli->worker->links = link;
    }
}


ngx_int_t
ngx_http_rtbus_client_merge(ngx_http_rtbus_client_t *cli)
{
    size_t                  len;
    u_char                 *p;
    ngx_rtbus_frame_t      *frame;
    ngx_http_rtbus_link_t  *link, *next, *last;

    /* called with nothing of the first frame sent */

    link = cli->first;
    len = link->frame->len;

    for (last = link->next; last; last = last->next) {
        if (len + last->frame->len > NGX_HTTP_RTBUS_BUFFER) {
            break;
        }

        len += last->frame->len;
    }

    if (last == link->next) {
        return NGX_OK;
    }

    frame = ngx_rtbus_frame_create(len);
    if (frame == NULL) {
        return NGX_ERROR;
    }

    p = ngx_cpymem(frame->data, link->frame->data, link->frame->len);
    ngx_rtbus_frame_unref(link->frame);
    link->frame = frame;

    while (link->next != last) {
        next = link->next;

        p = ngx_cpymem(p, next->frame->data, next->frame->len);
        ngx_rtbus_frame_unref(next->frame);

        link->next = next->next;
        next->next = cli->worker->links;
        cli->worker->links = next;
    }

    if (link->next == NULL) {
        cli->last = &link->next;
    }

    return NGX_OK;
}


void
ngx_http_rtbus_client_mark(ngx_http_rtbus_client_t *cli)
{
    ngx_http_rtbus_worker_t  *worker;

    if (cli->marked) {
        return;
    }

    worker = cli->worker;

    cli->marked = 1;
    ngx_queue_insert_tail(&worker->dirty, &cli->dirty);

    if (!worker->flush.posted) {
        ngx_post_event(&worker->flush, &ngx_posted_events);
    }
}


void
ngx_http_rtbus_client_close(ngx_http_rtbus_client_t *cli, ngx_uint_t code,
    const char *reason)
{
    if (cli->closing) {
        return;
    }

    ngx_log_error(NGX_LOG_INFO, cli->connection->log, 0,
                  "rtbus closes client, code:%ui, %s", code, reason);

    cli->closing = 1;
    cli->close_code = code;
    cli->close_reason = reason;

    ngx_http_rtbus_client_mark(cli);
}


static void
ngx_http_rtbus_worker_flush(ngx_event_t *ev)
{
    ngx_queue_t              *q;
    ngx_connection_t         *c;
    ngx_http_rtbus_client_t  *cli;
    ngx_http_rtbus_worker_t  *worker;

    worker = ev->data;

    while (!ngx_queue_empty(&worker->dirty)) {
        q = ngx_queue_head(&worker->dirty);
        cli = ngx_queue_data(q, ngx_http_rtbus_client_t, dirty);

        ngx_queue_remove(q);
        cli->marked = 0;

        if (!cli->broken && cli->first
            && cli->transport->flush(cli) != NGX_OK)
        {
            cli->broken = 1;
        }

        if (cli->paused && !cli->broken) {
            ngx_http_rtbus_client_resume(cli);
        }

        if ((cli->closing || cli->broken) && !cli->closed) {
            cli->closed = 1;
            c = cli->connection;

            cli->transport->close(cli, cli->close_code, cli->close_reason);

            /* cli may be no more */

            ngx_http_run_posted_requests(c);
        }
    }
}


ngx_http_rtbus_sub_t *
ngx_http_rtbus_client_find(ngx_http_rtbus_client_t *cli, ngx_str_t *channel)
{
    ngx_str_t             *name;
    ngx_queue_t           *q;
    ngx_http_rtbus_sub_t  *s;

    for (q = ngx_queue_head(&cli->subs);
         q != ngx_queue_sentinel(&cli->subs);
         q = ngx_queue_next(q))
    {
        s = ngx_queue_data(q, ngx_http_rtbus_sub_t, queue);
        name = &s->sub.ch->name;

        if (name->len == channel->len
            && ngx_memcmp(name->data, channel->data, name->len) == 0)
        {
            return s;
        }
    }

    return NULL;
}


ngx_int_t
ngx_http_rtbus_client_start(ngx_http_rtbus_client_t *cli,
    ngx_array_t *channels, ngx_array_t *refused)
{
    ngx_int_t                  rc;
    ngx_uint_t                 i, waiting;
    ngx_http_rtbus_sub_t      *s;
    ngx_http_rtbus_channel_t  *channel;

    cli->starting = 1;
    cli->refused = *refused;

    channel = channels->elts;
    waiting = 0;

    for (i = 0; i < channels->nelts; i++) {

        s = ngx_http_rtbus_client_create_sub(cli, &channel[i]);
        if (s == NULL) {
            return NGX_ERROR;
        }

        s->sub.patient = 1;
        s->sub.held = 1;

        rc = ngx_rtbus_hub_join(&cli->worker->hub, &s->sub, &channel[i].name);

        if (rc == NGX_ERROR) {
            ngx_free(s);
            return NGX_ERROR;
        }

        ngx_queue_insert_tail(&cli->subs, &s->queue);
        cli->nsubs++;

        if (rc == NGX_OK || channel[i].placed) {
            s->ready = 1;

        } else {
            waiting = 1;
        }
    }

    if (!waiting) {
        ngx_http_rtbus_client_connected(cli);
    }

    return NGX_OK;
}


static void
ngx_http_rtbus_client_ready(ngx_rtbus_sub_t *sub)
{
    ngx_http_rtbus_sub_t  *s = sub->data;

    ngx_queue_t              *q;
    ngx_http_rtbus_client_t  *cli;

    cli = s->cli;
    s->ready = 1;

    for (q = ngx_queue_head(&cli->subs);
         q != ngx_queue_sentinel(&cli->subs);
         q = ngx_queue_next(q))
    {
        s = ngx_queue_data(q, ngx_http_rtbus_sub_t, queue);

        if (!s->ready) {
            return;
        }
    }

    if (cli->starting) {
        ngx_http_rtbus_client_connected(cli);
    }
}


static void
ngx_http_rtbus_client_connected(ngx_http_rtbus_client_t *cli)
{
    u_char                *p;
    ngx_str_t              data, *refused;
    ngx_uint_t             i;
    ngx_time_t            *tp;
    ngx_queue_t           *q;
    ngx_http_rtbus_sub_t  *s;
    u_char                 buf[RTBUS_CHANNEL_MAX + 128];

    cli->starting = 0;

    tp = ngx_timeofday();

    p = ngx_snprintf(buf, sizeof(buf),
                     "{\"sessionId\":\"%08xD%08xD%08xD%08xD\","
                     "\"userId\":null,\"timestamp\":%uL}",
                     (uint32_t) ngx_random(), (uint32_t) ngx_random(),
                     (uint32_t) ngx_random(), (uint32_t) ngx_random(),
                     (uint64_t) tp->sec * 1000 + tp->msec);
    data.data = buf;
    data.len = p - buf;

    ngx_http_rtbus_client_event(cli, "connected", &data, NULL);

    refused = cli->refused.elts;

    for (i = 0; i < cli->refused.nelts; i++) {
        p = ngx_snprintf(buf, sizeof(buf),
                         "{\"channel\":\"%V\",\"error\":\"forbidden\"}",
                         &refused[i]);
        data.data = buf;
        data.len = p - buf;

        ngx_http_rtbus_client_event(cli, "sync:refused", &data,
                                    &refused[i]);
    }

    for (q = ngx_queue_head(&cli->subs);
         q != ngx_queue_sentinel(&cli->subs);
         q = ngx_queue_next(q))
    {
        s = ngx_queue_data(q, ngx_http_rtbus_sub_t, queue);

        (void) ngx_rtbus_hub_release(&s->sub);
    }
}


static ngx_http_rtbus_sub_t *
ngx_http_rtbus_client_create_sub(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_channel_t *channel)
{
    ngx_http_rtbus_sub_t  *s;

    s = ngx_alloc(sizeof(ngx_http_rtbus_sub_t), cli->connection->log);
    if (s == NULL) {
        return NULL;
    }

    ngx_memzero(s, sizeof(ngx_http_rtbus_sub_t));

    s->cli = cli;

    s->sub.handlers = &ngx_http_rtbus_sub_handlers;
    s->sub.format = cli->transport->format;
    s->sub.data = s;
    s->sub.pos = channel->pos;
    s->sub.placed = channel->placed;
    s->sub.epochless = channel->epochless;

    return s;
}


ngx_int_t
ngx_http_rtbus_client_join(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_channel_t *channel, ngx_http_rtbus_joined_pt handler,
    uint64_t ack)
{
    ngx_int_t              rc;
    ngx_http_rtbus_sub_t  *s;

    s = ngx_http_rtbus_client_find(cli, &channel->name);

    if (s) {
        if (s->handler) {
            return NGX_BUSY;
        }

        if (s->sub.joined) {
            return NGX_OK;
        }

        s->handler = handler;
        s->ack = ack;

        return NGX_AGAIN;
    }

    if (cli->nsubs == cli->conf->max_channels) {
        return NGX_BUSY;
    }

    s = ngx_http_rtbus_client_create_sub(cli, channel);
    if (s == NULL) {
        return NGX_ERROR;
    }

    /* the client's cursor has the channel from now on */

    ngx_queue_insert_tail(&cli->subs, &s->queue);
    cli->nsubs++;

    rc = ngx_rtbus_hub_join(&cli->worker->hub, &s->sub, &channel->name);

    if (rc == NGX_AGAIN) {
        s->handler = handler;
        s->ack = ack;

    } else if (rc != NGX_OK) {
        ngx_http_rtbus_client_free_sub(s);
    }

    return rc;
}


ngx_int_t
ngx_http_rtbus_client_leave(ngx_http_rtbus_client_t *cli, ngx_str_t *channel)
{
    ngx_http_rtbus_sub_t  *s;

    s = ngx_http_rtbus_client_find(cli, channel);

    if (s == NULL) {
        return NGX_DECLINED;
    }

    ngx_http_rtbus_client_free_sub(s);

    return NGX_OK;
}


static void
ngx_http_rtbus_client_free_sub(ngx_http_rtbus_sub_t *s)
{
    ngx_rtbus_hub_leave(&s->sub);

    ngx_queue_remove(&s->queue);
    s->cli->nsubs--;

    ngx_free(s);
}


static void
ngx_http_rtbus_client_deliver(ngx_rtbus_sub_t *sub, ngx_rtbus_frame_t *frame)
{
    ngx_http_rtbus_sub_t  *s = sub->data;

    size_t                    len;
    u_char                   *p;
    ngx_rtbus_frame_t        *own;
    ngx_http_rtbus_client_t  *cli;

    cli = s->cli;
    own = NULL;

    if (frame && frame->cursor && cli->nsubs > 1) {

        /* where it stands in its other channels is this client's alone */

        len = ngx_http_rtbus_client_cursor(cli, NULL, s);

        if (len) {
            frame = ngx_rtbus_frame_extend(frame, len, &p);
            own = frame;

            if (frame) {
                ngx_http_rtbus_client_cursor(cli, p, s);
            }
        }
    }

    if (frame == NULL) {
        /* a hole in the stream would be worse than its end */
        ngx_http_rtbus_client_close(cli, RTBUS_WS_INTERNAL, "no memory");
        return;
    }

    if (sub->joined) {
        ngx_http_rtbus_client_send(cli, frame);

    } else if (!cli->closing) {
        /* a replay does not ask for more than there is room for */
        ngx_http_rtbus_client_push(cli, frame);
    }

    if (own) {
        ngx_rtbus_frame_unref(own);
    }
}


static void
ngx_http_rtbus_client_gap(ngx_rtbus_sub_t *sub, uint64_t lost, rtbus_pos_t pos)
{
    ngx_http_rtbus_sub_t  *s = sub->data;

    u_char     *p;
    ngx_str_t   data;
    u_char      buf[RTBUS_CHANNEL_MAX + RTBUS_POSITION_MAX + 128];

    p = ngx_snprintf(buf, sizeof(buf), "{\"channel\":\"%V\",\"lost\":",
                     &sub->ch->name);

    if (lost == NGX_RTBUS_LOST_UNKNOWN) {
        p = ngx_cpymem(p, "null", 4);

    } else {
        p = ngx_sprintf(p, "%uL", lost);
    }

    p = ngx_cpymem(p, ",\"position\":\"", sizeof(",\"position\":\"") - 1);
    p += rtbus_pos_write(p, pos);
    *p++ = '"';
    *p++ = '}';

    data.data = buf;
    data.len = p - buf;

    ngx_http_rtbus_client_event(s->cli, "sync:gap", &data,
                                &sub->ch->name);
}


static size_t
ngx_http_rtbus_client_room(ngx_rtbus_sub_t *sub)
{
    ngx_http_rtbus_sub_t  *s = sub->data;

    ngx_http_rtbus_client_t  *cli;

    cli = s->cli;

    if (cli->unsent > cli->conf->send_buffer / 2) {
        cli->paused = 1;
        return 0;
    }

    return cli->conf->send_buffer / 2 - cli->unsent + 1;
}


static void
ngx_http_rtbus_client_resume(ngx_http_rtbus_client_t *cli)
{
    ngx_queue_t           *q;
    ngx_http_rtbus_sub_t  *s;

    if (cli->unsent > cli->conf->send_buffer / 2) {
        return;
    }

    cli->paused = 0;

    for (q = ngx_queue_head(&cli->subs);
         q != ngx_queue_sentinel(&cli->subs);
         q = ngx_queue_next(q))
    {
        s = ngx_queue_data(q, ngx_http_rtbus_sub_t, queue);

        if (!s->sub.joined) {
            ngx_rtbus_hub_resume(&s->sub);
        }
    }
}


void
ngx_http_rtbus_client_event(ngx_http_rtbus_client_t *cli, const char *name,
    ngx_str_t *data, ngx_str_t *channel)
{
    ngx_str_t           cursor;
    ngx_rtbus_frame_t  *frame;

    frame = NULL;

    cursor.len = ngx_http_rtbus_client_cursor(cli, NULL, NULL);
    cursor.data = ngx_alloc(cursor.len + 1, cli->connection->log);

    if (cursor.data) {
        ngx_http_rtbus_client_cursor(cli, cursor.data, NULL);

        frame = cli->transport->event(name, data, channel, &cursor);

        ngx_free(cursor.data);
    }

    if (frame == NULL) {
        ngx_http_rtbus_client_close(cli, RTBUS_WS_INTERNAL, "no memory");
        return;
    }

    ngx_http_rtbus_client_send(cli, frame);
    ngx_rtbus_frame_unref(frame);
}


size_t
ngx_http_rtbus_client_cursor(ngx_http_rtbus_client_t *cli, u_char *dst,
    ngx_http_rtbus_sub_t *except)
{
    size_t                 len;
    ngx_str_t             *name;
    ngx_queue_t           *q;
    rtbus_pos_t            pos;
    ngx_http_rtbus_sub_t  *s;
    u_char                 buf[RTBUS_POSITION_MAX];

    len = 0;

    for (q = ngx_queue_head(&cli->subs);
         q != ngx_queue_sentinel(&cli->subs);
         q = ngx_queue_next(q))
    {
        s = ngx_queue_data(q, ngx_http_rtbus_sub_t, queue);

        if (s == except || s->sub.ch == NULL
            || ngx_rtbus_hub_position(&s->sub, &pos) != NGX_OK)
        {
            continue;
        }

        name = &s->sub.ch->name;

        if (dst == NULL) {
            len += (len || except) + name->len + 1 + rtbus_pos_write(buf, pos);
            continue;
        }

        if (len || except) {
            dst[len++] = ',';
        }

        ngx_memcpy(dst + len, name->data, name->len);
        len += name->len;

        dst[len++] = '@';
        len += rtbus_pos_write(dst + len, pos);
    }

    return len;
}


static void
ngx_http_rtbus_client_joined(ngx_rtbus_sub_t *sub)
{
    ngx_http_rtbus_sub_t  *s = sub->data;

    ngx_http_rtbus_joined_pt  handler;

    handler = s->handler;
    s->handler = NULL;

    if (handler) {
        handler(s, NGX_OK);
    }
}


static void
ngx_http_rtbus_client_failed(ngx_rtbus_sub_t *sub)
{
    ngx_http_rtbus_sub_t  *s = sub->data;

    if (s->handler) {
        s->handler(s, NGX_DECLINED);
    }

    ngx_http_rtbus_client_free_sub(s);
}


ngx_int_t
ngx_http_rtbus_client_rate(ngx_http_rtbus_client_t *cli)
{
    ngx_uint_t      full;
    ngx_msec_int_t  ms;

    if (cli->conf->message_rate == 0) {
        return NGX_OK;
    }

    full = cli->conf->message_rate * 1000;

    ms = (ngx_msec_int_t) (ngx_current_msec - cli->tokens_at);

    if (ms > 0) {
        /* a bucket of one second */

        cli->tokens = (ms >= 1000) ? full
                      : ngx_min(cli->tokens + ms * cli->conf->message_rate,
                                full);
        cli->tokens_at = ngx_current_msec;
    }

    if (cli->tokens < 1000) {
        return NGX_DECLINED;
    }

    cli->tokens -= 1000;

    return NGX_OK;
}


ngx_int_t
ngx_http_rtbus_worker_init(ngx_http_rtbus_worker_t *worker, ngx_cycle_t *cycle)
{
    ngx_queue_init(&worker->clients);
    ngx_queue_init(&worker->dirty);

    worker->flush.handler = ngx_http_rtbus_worker_flush;
    worker->flush.data = worker;
    worker->flush.log = cycle->log;

    worker->drain.handler = ngx_http_rtbus_worker_goodbye;
    worker->drain.data = worker;
    worker->drain.log = cycle->log;

    worker->in = ngx_palloc(cycle->pool, NGX_HTTP_RTBUS_BUFFER);
    worker->out = ngx_palloc(cycle->pool, NGX_HTTP_RTBUS_BUFFER);

    if (worker->in == NULL || worker->out == NULL) {
        return NGX_ERROR;
    }

    worker->hub.exiting_handler = ngx_http_rtbus_worker_exiting;
    worker->hub.data = worker;

    return ngx_rtbus_hub_init(&worker->hub, cycle->log);
}


void
ngx_http_rtbus_worker_close(ngx_http_rtbus_worker_t *worker)
{
    ngx_http_rtbus_link_t  *link;

    ngx_rtbus_hub_close(&worker->hub);

    while (worker->links) {
        link = worker->links;
        worker->links = link->next;
        ngx_free(link);
    }
}


static void
ngx_http_rtbus_worker_exiting(void *data)
{
    ngx_http_rtbus_worker_drain(data);
}


void
ngx_http_rtbus_worker_drain(ngx_http_rtbus_worker_t *worker)
{
    if (worker->draining) {
        return;
    }

    worker->draining = 1;
    worker->drain_until = ngx_current_msec + worker->drain_time;

    if (worker->nclients) {
        ngx_post_event(&worker->drain, &ngx_posted_events);
    }
}


/*
 * Says goodbye to so many clients that with as many at each tick all are gone
 * in time: a crowd that comes back at once would hurt the other workers.
 */

static void
ngx_http_rtbus_worker_goodbye(ngx_event_t *ev)
{
    u_char                   *p;
    ngx_str_t                 data;
    ngx_uint_t                n, ticks;
    ngx_queue_t              *q;
    ngx_msec_int_t            left;
    ngx_http_rtbus_client_t  *cli;
    ngx_http_rtbus_worker_t  *worker;
    u_char                    buf[128];

    worker = ev->data;

    left = (ngx_msec_int_t) (worker->drain_until - ngx_current_msec);
    ticks = (left > 0) ? left / NGX_HTTP_RTBUS_DRAIN_TICK + 1 : 1;

    n = (worker->nclients + ticks - 1) / ticks;

    for (q = ngx_queue_head(&worker->clients);
         n && q != ngx_queue_sentinel(&worker->clients);
         q = ngx_queue_next(q))
    {
        cli = ngx_queue_data(q, ngx_http_rtbus_client_t, queue);

        if (cli->closing) {
            continue;
        }

        n--;

        p = ngx_snprintf(buf, sizeof(buf),
                         "{\"message\":\"server is shutting down\","
                         "\"reconnectAfter\":%M}",
                         (ngx_msec_t) (100 + ngx_random() % 900));
        data.data = buf;
        data.len = p - buf;

        ngx_http_rtbus_client_event(cli, "server:shutdown", &data, NULL);
        ngx_http_rtbus_client_close(cli, RTBUS_WS_RESTART,
                                    "server is shutting down");
    }

    if (worker->nclients) {
        ngx_add_timer(ev, NGX_HTTP_RTBUS_DRAIN_TICK);
    }
}
