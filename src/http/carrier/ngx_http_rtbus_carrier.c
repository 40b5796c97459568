
#include "ngx_http_rtbus_carrier.h"
#include "rtbus_ws.h"


/*
 * Bytes wait for the connection.  Other bits of c->buffered do not mean that:
 * some filters never clear theirs.
 */

#if (NGX_SSL)
#define ngx_http_rtbus_carrier_waits(c)                                       \
    ((c)->buffered & (NGX_HTTP_WRITE_BUFFERED|NGX_SSL_BUFFERED))
#else
#define ngx_http_rtbus_carrier_waits(c)                                       \
    ((c)->buffered & NGX_HTTP_WRITE_BUFFERED)
#endif


/* free links that a worker keeps */
#define NGX_HTTP_RTBUS_LINKS_KEPT  16384


typedef struct {
    ngx_uint_t                 code;       /* of WebSocket */
    const char                *text;
    ngx_rtbus_stat_closed_e    label;
} ngx_http_rtbus_close_t;


static void ngx_http_rtbus_carrier_cleanup(void *data);
static ngx_int_t ngx_http_rtbus_carrier_output(ngx_http_rtbus_carrier_t *car,
    ngx_buf_t *b, ngx_chain_t *in);
static void ngx_http_rtbus_carrier_clear(ngx_http_rtbus_carrier_t *car,
    ngx_uint_t keep);
static void ngx_http_rtbus_carrier_drop(ngx_http_rtbus_worker_t *worker,
    ngx_http_rtbus_link_t *link);
static ngx_uint_t ngx_http_rtbus_carrier_full(ngx_http_rtbus_carrier_t *car,
    ngx_rtbus_frame_t *frame);


static const ngx_http_rtbus_close_t  ngx_http_rtbus_closes[] = {
    { RTBUS_WS_INTERNAL, "ping timeout", NGX_RTBUS_STAT_CLOSED_PING },
    { RTBUS_WS_POLICY, "token expired", NGX_RTBUS_STAT_CLOSED_EXPIRED },
    { RTBUS_WS_TRY_LATER, "no room for Redis", NGX_RTBUS_STAT_CLOSED_FULL },
    { RTBUS_WS_INTERNAL, "no memory", NGX_RTBUS_STAT_CLOSED_INTERNAL }
};


ngx_int_t
ngx_http_rtbus_carrier_init(ngx_http_rtbus_carrier_t *car,
    ngx_http_request_t *r)
{
    car->connection = r->connection;
    car->request = r;

    return ngx_http_rtbus_carrier_create(car, r, r->pool, r->connection->log);
}


ngx_int_t
ngx_http_rtbus_carrier_attach(ngx_http_rtbus_carrier_t *car,
    ngx_http_request_t *r)
{
    ngx_pool_cleanup_t  *cln;

    cln = ngx_pool_cleanup_add(r->pool, 0);
    if (cln == NULL) {
        return NGX_ERROR;
    }

    cln->handler = ngx_http_rtbus_carrier_cleanup;
    cln->data = car;

    car->request = r;
    car->pool = r->pool;

    return NGX_OK;
}


ngx_int_t
ngx_http_rtbus_carrier_create(ngx_http_rtbus_carrier_t *car,
    ngx_http_request_t *r, ngx_pool_t *pool, ngx_log_t *log)
{
    ngx_rtbus_stat_t           *stat;
    ngx_pool_cleanup_t         *cln;
    ngx_http_rtbus_carriers_t  *carriers;
    ngx_http_rtbus_loc_conf_t  *rlcf;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    car->close_label = NGX_RTBUS_STAT_CLOSED_OTHER;

    cln = ngx_pool_cleanup_add(pool, 0);
    if (cln == NULL) {
        return NGX_ERROR;
    }

    car->pool = pool;
    car->log = log;
    car->worker = rlcf->bus->worker;
    car->conf = rlcf;

    car->last = &car->first;

    carriers = car->worker->carriers;

    ngx_queue_insert_tail(&carriers->queue, &car->queue);
    carriers->n++;

    stat = car->worker->hub.stat;

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, log, 0,
                   "rtbus carrier create kind:%d carriers:%ui draining:%d",
                   car->kind, carriers->n, carriers->draining);

    ngx_rtbus_stat_add(stat, opened[car->kind], 1);
    ngx_rtbus_stat_add(stat, connections[car->kind], 1);

    if (carriers->draining && !carriers->drain.timer_set
        && !carriers->drain.posted)
    {
        ngx_post_event(&carriers->drain, &ngx_posted_events);
    }

    cln->handler = ngx_http_rtbus_carrier_cleanup;
    cln->data = car;

    return NGX_OK;
}


static void
ngx_http_rtbus_carrier_cleanup(void *data)
{
    ngx_http_rtbus_carrier_end(data);
}


void
ngx_http_rtbus_carrier_end(ngx_http_rtbus_carrier_t *car)
{
    if (car->state == NGX_HTTP_RTBUS_CARRIER_GONE) {
        return;
    }

    ngx_rtbus_stat_closed(car->worker->hub.stat, car->close_label,
                          car->close_code);

    /* from here on no client on this carrier may queue or join */

    ngx_http_rtbus_carrier_state(car, NGX_HTTP_RTBUS_CARRIER_CLOSED);

    car->ended_handler(car);

    ngx_http_rtbus_carrier_leave(car);
}


void
ngx_http_rtbus_carrier_leave(ngx_http_rtbus_carrier_t *car)
{
    ngx_http_rtbus_carrier_state(car, NGX_HTTP_RTBUS_CARRIER_GONE);

    ngx_rtbus_stat_sub(car->worker->hub.stat, connections[car->kind], 1);

    ngx_http_rtbus_carrier_clear(car, 0);

    if (car->marked) {
        ngx_queue_remove(&car->dirty);
        car->marked = 0;
    }

    ngx_queue_remove(&car->queue);
    car->worker->carriers->n--;
}


/* drops queued frames; keep: not the one that is on its way */

static void
ngx_http_rtbus_carrier_clear(ngx_http_rtbus_carrier_t *car, ngx_uint_t keep)
{
    ngx_http_rtbus_link_t  *link, *next;

    link = car->first;

    ngx_rtbus_stat_sub(car->worker->hub.stat, send_queue, car->unsent);

    if (keep && link && (car->offset || car->inflight)) {
        next = link->next;
        link->next = NULL;
        car->last = &link->next;
        car->unsent = link->frame->len - car->offset;
        car->nframes = 1;
        link = next;

    } else {
        car->first = NULL;
        car->last = &car->first;
        car->offset = 0;
        car->unsent = 0;
        car->nframes = 0;
        car->inflight = 0;
    }

    car->replayed = 0;

    ngx_rtbus_stat_add(car->worker->hub.stat, send_queue, car->unsent);

    while (link) {
        next = link->next;

        ngx_http_rtbus_carrier_drop(car->worker, link);

        link = next;
    }
}


static void
ngx_http_rtbus_carrier_drop(ngx_http_rtbus_worker_t *worker,
    ngx_http_rtbus_link_t *link)
{
    ngx_rtbus_frame_unref(link->frame);

    if (worker->carriers->nlinks == NGX_HTTP_RTBUS_LINKS_KEPT) {
        ngx_free(link);
        return;
    }

    link->next = worker->carriers->links;
    worker->carriers->links = link;
    worker->carriers->nlinks++;
}


void
ngx_http_rtbus_carrier_send(ngx_http_rtbus_carrier_t *car,
    ngx_rtbus_frame_t *frame)
{
    if (ngx_http_rtbus_carrier_closing(car) || car->broken) {
        return;
    }

    if (ngx_http_rtbus_carrier_full(car, frame)) {

        /* what is queued may not have been offered to the connection yet */

        if (car->transport->flush(car) != NGX_OK) {
            ngx_http_rtbus_carrier_lost(car);
            return;
        }

        if (ngx_http_rtbus_carrier_full(car, frame)) {
            ngx_http_rtbus_carrier_clear(car, 1);
            ngx_http_rtbus_carrier_close(car, RTBUS_WS_TRY_LATER,
                                         "client is too slow");
            return;
        }
    }

    ngx_http_rtbus_carrier_push(car, frame);
}


/* a frame that is too long is sent all the same if nothing else waits */

static ngx_uint_t
ngx_http_rtbus_carrier_full(ngx_http_rtbus_carrier_t *car,
    ngx_rtbus_frame_t *frame)
{
    return car->unsent
           && ngx_http_rtbus_carrier_live(car) + frame->len
              > ngx_http_rtbus_carrier_limit(car);
}


void
ngx_http_rtbus_carrier_push(ngx_http_rtbus_carrier_t *car,
    ngx_rtbus_frame_t *frame)
{
    ngx_http_rtbus_carrier_put(car, frame);
    ngx_http_rtbus_carrier_mark(car);
}


void
ngx_http_rtbus_carrier_put(ngx_http_rtbus_carrier_t *car,
    ngx_rtbus_frame_t *frame)
{
    ngx_http_rtbus_link_t  *link;

    link = car->worker->carriers->links;

    if (link) {
        car->worker->carriers->links = link->next;
        car->worker->carriers->nlinks--;

    } else {
        link = ngx_alloc(sizeof(ngx_http_rtbus_link_t), car->log);
        if (link == NULL) {
            /* a hole in the stream would be worse than its end */
            ngx_http_rtbus_carrier_nomem(car);
            return;
        }
    }

    ngx_rtbus_frame_ref(frame);

    link->frame = frame;
    link->next = NULL;

    *car->last = link;
    car->last = &link->next;
    car->unsent += frame->len;
    car->nframes++;

    ngx_rtbus_stat_add(car->worker->hub.stat, send_queue, frame->len);
}


ngx_rtbus_frame_t *
ngx_http_rtbus_carrier_last(ngx_http_rtbus_carrier_t *car)
{
    ngx_http_rtbus_link_t  *link;

    if (car->first == NULL) {
        return NULL;
    }

    link = (ngx_http_rtbus_link_t *) car->last;

    if (link == car->first && (car->offset || car->inflight)) {
        return NULL;
    }

    return link->frame;
}


void
ngx_http_rtbus_carrier_replace(ngx_http_rtbus_carrier_t *car,
    ngx_rtbus_frame_t *frame)
{
    ngx_rtbus_stat_t       *stat;
    ngx_http_rtbus_link_t  *link;

    stat = car->worker->hub.stat;
    link = (ngx_http_rtbus_link_t *) car->last;

    car->unsent -= link->frame->len;
    ngx_rtbus_stat_sub(stat, send_queue, link->frame->len);

    ngx_rtbus_frame_unref(link->frame);
    ngx_rtbus_frame_ref(frame);

    link->frame = frame;

    car->unsent += frame->len;
    ngx_rtbus_stat_add(stat, send_queue, frame->len);
}


void
ngx_http_rtbus_carrier_watch(ngx_http_rtbus_carrier_t *car)
{
    /* with an empty queue it would be the socket that takes bytes */

    car->watched = (car->unsent && car->connection)
                   ? car->connection->sent + 1 : 0;
}


ngx_uint_t
ngx_http_rtbus_carrier_takes(ngx_http_rtbus_carrier_t *car)
{
    ngx_uint_t  takes;

    takes = (car->watched && car->connection
             && car->connection->sent + 1 != car->watched);

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, car->log, 0,
                   "rtbus carrier takes:%ui unsent:%uz", takes, car->unsent);

    ngx_http_rtbus_carrier_watch(car);

    return takes;
}


void
ngx_http_rtbus_carrier_sent(ngx_http_rtbus_carrier_t *car, size_t n)
{
    size_t                  rest;
    ngx_http_rtbus_link_t  *link;

    car->unsent -= n;
    car->replayed -= ngx_min(car->replayed, n);

    ngx_rtbus_stat_sub(car->worker->hub.stat, send_queue, n);

    if (car->wanted) {
        /* the client that waits for room goes on later */
        ngx_http_rtbus_carrier_mark(car);
    }

    while (n) {
        link = car->first;
        rest = link->frame->len - car->offset;

        if (n < rest) {
            car->offset += n;
            return;
        }

        n -= rest;
        car->offset = 0;
        car->nframes--;

        car->first = link->next;

        if (car->first == NULL) {
            car->last = &car->first;
        }

        ngx_http_rtbus_carrier_drop(car->worker, link);
    }
}


ngx_int_t
ngx_http_rtbus_carrier_filter(ngx_http_rtbus_carrier_t *car, ngx_buf_t *b)
{
    ngx_chain_t  out;

    if (car->inflight
        && ngx_http_rtbus_carrier_output(car, b, NULL) != NGX_OK)
    {
        return NGX_ERROR;
    }

    while (car->first && !car->inflight) {

        if (ngx_http_rtbus_carrier_merge(car) != NGX_OK) {
            return NGX_ERROR;
        }

        ngx_memzero(b, sizeof(ngx_buf_t));

        b->pos = car->first->frame->data;
        b->last = b->pos + car->first->frame->len;
        b->start = b->pos;
        b->end = b->last;
        b->memory = 1;
        b->flush = 1;
        b->tag = (ngx_buf_tag_t) &ngx_http_rtbus_module;

        out.buf = b;
        out.next = NULL;

        car->inflight = 1;

        if (ngx_http_rtbus_carrier_output(car, b, &out) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    if (car->inflight
#if (NGX_HTTP_V2)
        && car->request->stream == NULL
#endif
        && ngx_handle_write_event(car->connection->write, 0) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


/*
 * The filters' answer does not tell whether the bytes are gone: NGX_AGAIN may
 * be about what another filter keeps.  NGX_OK or NGX_ERROR.
 */

static ngx_int_t
ngx_http_rtbus_carrier_output(ngx_http_rtbus_carrier_t *car, ngx_buf_t *b,
    ngx_chain_t *in)
{
    ngx_buf_t            flush;
    ngx_chain_t          out;
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = car->request;
    c = car->connection;

    if (ngx_http_output_filter(r, in) == NGX_ERROR) {
        return NGX_ERROR;
    }

    if (b->pos != b->last && c->data == r
        && !ngx_http_rtbus_carrier_waits(c))
    {
        /* a filter has not passed the flush on, so what it wrote waits */

        ngx_memzero(&flush, sizeof(ngx_buf_t));

        flush.flush = 1;

        out.buf = &flush;
        out.next = NULL;

        if (ngx_http_write_filter(r, &out) == NGX_ERROR
            || ngx_http_output_filter(r, NULL) == NGX_ERROR)
        {
            return NGX_ERROR;
        }
    }

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "rtbus filters left:%uz buffered:%xd current:%d",
                   (size_t) (b->last - b->pos), c->buffered, c->data == r);

    if (b->pos == b->last && !ngx_http_rtbus_carrier_waits(c)) {
        car->inflight = 0;
        ngx_http_rtbus_carrier_sent(car, car->first->frame->len);
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_rtbus_carrier_merge(ngx_http_rtbus_carrier_t *car)
{
    size_t                  len;
    u_char                 *p;
    ngx_rtbus_frame_t      *frame;
    ngx_http_rtbus_link_t  *link, *next, *last;

    /* nothing of the first frame has been sent */

    link = car->first;
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

        link->next = next->next;
        car->nframes--;

        ngx_http_rtbus_carrier_drop(car->worker, next);
    }

    if (link->next == NULL) {
        car->last = &link->next;
    }

    return NGX_OK;
}


void
ngx_http_rtbus_carrier_move(ngx_http_rtbus_carrier_t *to,
    ngx_http_rtbus_carrier_t *from)
{
    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, to->log, 0,
                   "rtbus carrier takes over frames:%uD unsent:%uz events:%uL",
                   from->nframes, from->unsent, from->events);

    to->room_handler = from->room_handler;
    to->leave_handler = from->leave_handler;
    to->ended_handler = from->ended_handler;
    to->settled_handler = from->settled_handler;
    to->data = from->data;

    if (from->first) {
        *to->last = from->first;
        to->last = from->last;
        to->unsent += from->unsent;
        to->replayed += from->replayed;
        to->nframes += from->nframes;

        from->first = NULL;
        from->last = &from->first;
        from->unsent = 0;
        from->replayed = 0;
        from->nframes = 0;
    }

    to->events = from->events;
    to->nchannels = from->nchannels;
    to->wanted |= from->wanted;

    ngx_http_rtbus_carrier_mark(to);

    ngx_http_rtbus_carrier_leave(from);
}


void
ngx_http_rtbus_carrier_hold(ngx_http_rtbus_carrier_t *car, ngx_uint_t why)
{
    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, car->log, 0,
                   "rtbus carrier hold:%xi held:%xd", why, car->held);

    if (car->transport->resume) {
        car->held |= why;
    }
}


void
ngx_http_rtbus_carrier_release(ngx_http_rtbus_carrier_t *car, ngx_uint_t why)
{
    if (!(car->held & why)) {
        return;
    }

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, car->log, 0,
                   "rtbus carrier release:%xi held:%xd", why, car->held);

    car->held &= ~why;

    if (!car->held && !ngx_http_rtbus_carrier_closed(car)) {
        car->transport->resume(car);
    }
}


void
ngx_http_rtbus_carrier_mark(ngx_http_rtbus_carrier_t *car)
{
    ngx_http_rtbus_worker_t  *worker;

    if (car->marked) {
        return;
    }

    worker = car->worker;

    car->marked = 1;
    ngx_queue_insert_tail(&worker->carriers->dirty, &car->dirty);

    if (!worker->carriers->flush.posted) {
        ngx_post_event(&worker->carriers->flush, &ngx_posted_events);
    }
}


void
ngx_http_rtbus_carrier_close(ngx_http_rtbus_carrier_t *car, ngx_uint_t code,
    const char *reason)
{
    if (ngx_http_rtbus_carrier_closing(car)) {
        return;
    }

    ngx_log_error(NGX_LOG_INFO, car->log, 0,
                  "rtbus: closes client, code:%ui, %s", code, reason);

    ngx_http_rtbus_carrier_state(car, NGX_HTTP_RTBUS_CARRIER_CLOSING);

    car->close_code = code;
    car->close_reason = reason;

    ngx_http_rtbus_carrier_mark(car);
}


void
ngx_http_rtbus_carrier_close_for(ngx_http_rtbus_carrier_t *car,
    ngx_http_rtbus_close_e why)
{
    const ngx_http_rtbus_close_t  *close;

    if (ngx_http_rtbus_carrier_closing(car)) {
        return;
    }

    close = &ngx_http_rtbus_closes[why];

    car->close_label = close->label;

    ngx_http_rtbus_carrier_close(car, close->code, close->text);
}


void
ngx_http_rtbus_carrier_left(ngx_http_rtbus_carrier_t *car, ngx_uint_t code)
{
    if (ngx_http_rtbus_carrier_closing(car)) {
        return;
    }

    car->close_label = NGX_RTBUS_STAT_CLOSED_CLIENT;

    ngx_http_rtbus_carrier_close(car, code, "closed by client");
}


void
ngx_http_rtbus_carrier_nomem(ngx_http_rtbus_carrier_t *car)
{
    ngx_http_rtbus_carrier_close_for(car, NGX_HTTP_RTBUS_CLOSE_NOMEM);
}


void
ngx_http_rtbus_carrier_lost(ngx_http_rtbus_carrier_t *car)
{
    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, car->log, 0,
                   "rtbus carrier lost its connection, unsent:%uz",
                   car->unsent);

    car->broken = 1;

    ngx_http_rtbus_carrier_mark(car);
}


void
ngx_http_rtbus_carrier_state(ngx_http_rtbus_carrier_t *car,
    ngx_http_rtbus_carrier_state_e state)
{
    if (car->state >= (unsigned) state) {
        return;
    }

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, car->log, 0,
                   "rtbus carrier state:%d>%d broken:%d",
                   car->state, state, car->broken);

    car->state = state;
}


const char *
ngx_http_rtbus_carrier_reason(ngx_http_rtbus_carrier_t *car)
{
    /* with or without a close frame, the client has gone */

    if (car->close_reason == NULL
        || car->close_label == NGX_RTBUS_STAT_CLOSED_CLIENT)
    {
        return "transport close";
    }

    return car->close_reason;
}


ngx_http_rtbus_carrier_t *
ngx_http_rtbus_carrier_of(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t  *cln;

    /* found also after an internal redirect, which forgets the contexts */

    for (cln = r->pool->cleanup; cln; cln = cln->next) {
        if (cln->handler == ngx_http_rtbus_carrier_cleanup) {
            return cln->data;
        }
    }

    return NULL;
}


void
ngx_http_rtbus_carrier_flush(ngx_event_t *ev)
{
    ngx_queue_t               *q;
    ngx_connection_t          *c;
    ngx_http_rtbus_worker_t   *worker;
    ngx_http_rtbus_carrier_t  *car;

    worker = ev->data;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, ev->log, 0,
                   "rtbus carriers flush, carriers:%ui", worker->carriers->n);

    while (!ngx_queue_empty(&worker->carriers->dirty)) {
        q = ngx_queue_head(&worker->carriers->dirty);
        car = ngx_queue_data(q, ngx_http_rtbus_carrier_t, dirty);

        ngx_queue_remove(q);
        car->marked = 0;

        if (!car->broken && car->first
            && car->transport->flush(car) != NGX_OK)
        {
            car->broken = 1;
        }

        if (car->wanted && !car->broken
            && !ngx_http_rtbus_carrier_closing(car))
        {
            car->wanted = 0;
            car->room_handler(car);
        }

        if (ngx_http_rtbus_carrier_closing(car) || car->broken) {

            if (ngx_http_rtbus_carrier_closed(car)) {
                continue;
            }

            ngx_http_rtbus_carrier_state(car, NGX_HTTP_RTBUS_CARRIER_CLOSED);

            c = car->request ? car->connection : NULL;

            car->transport->close(car, car->close_code, car->close_reason);

            /* car may be no more */

            if (c) {
                ngx_http_run_posted_requests(c);
            }

            continue;
        }

        if (car->request && car->request->posted_requests) {
            /* subrequests of filters, in front of what was flushed */
            ngx_http_run_posted_requests(car->connection);
            continue;
        }

        if (car->request && !car->kept && car->transport->park
            && car->settled_handler && car->settled_handler(car))
        {
            car->transport->park(car);
        }
    }
}


char *
ngx_http_rtbus_conf_ping(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_rtbus_loc_conf_t  *rlcf = conf;

    ngx_str_t  *value;

    if (rlcf->ping_interval != NGX_CONF_UNSET_MSEC) {
        return "is duplicate";
    }

    value = cf->args->elts;

    rlcf->ping_interval = ngx_parse_time(&value[1], 0);
    rlcf->ping_timeout = ngx_parse_time(&value[2], 0);

    if (rlcf->ping_interval == (ngx_msec_t) NGX_ERROR
        || rlcf->ping_interval == 0
        || rlcf->ping_timeout == (ngx_msec_t) NGX_ERROR
        || rlcf->ping_timeout == 0)
    {
        return "has an invalid time";
    }

    return NGX_CONF_OK;
}
