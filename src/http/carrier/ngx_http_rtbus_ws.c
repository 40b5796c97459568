
#include "ngx_http_rtbus_ws.h"
#include "ngx_http_rtbus_carriers.h"


#define NGX_HTTP_RTBUS_WS_LINGER   5000    /* ms for the client's part of the
                                              close handshake */
#define NGX_HTTP_RTBUS_WS_FIRST    4096    /* bytes that a client may send in a
                                              loop turn, however many do so */
#define NGX_HTTP_RTBUS_WS_LATER    1000    /* ms to read more that has come */


#if (NGX_SSL)
#define ngx_http_rtbus_ws_tls(c)  ((c)->ssl != NULL)
#else
#define ngx_http_rtbus_ws_tls(c)  0
#endif


static ngx_int_t ngx_http_rtbus_ws_queue(ngx_http_rtbus_ws_t *ws,
    ngx_http_request_t *r);
static void ngx_http_rtbus_ws_cleanup(void *data);
static ngx_int_t ngx_http_rtbus_ws_attach(ngx_http_rtbus_ws_t *ws,
    ngx_http_request_t *r);
static void ngx_http_rtbus_ws_park(ngx_http_rtbus_carrier_t *car);
static ngx_int_t ngx_http_rtbus_ws_unpark(ngx_http_rtbus_carrier_t *car);

static void ngx_http_rtbus_ws_read_handler(ngx_event_t *rev);
static void ngx_http_rtbus_ws_parked_read_handler(ngx_event_t *rev);
static void ngx_http_rtbus_ws_read(ngx_http_rtbus_ws_t *ws);
static void ngx_http_rtbus_ws_timer(ngx_http_rtbus_ws_t *ws);
static void ngx_http_rtbus_ws_write_handler(ngx_event_t *wev);
static void ngx_http_rtbus_ws_parked_write_handler(ngx_event_t *wev);
static void ngx_http_rtbus_ws_write(ngx_http_rtbus_ws_t *ws);

static ngx_int_t ngx_http_rtbus_ws_flush(ngx_http_rtbus_carrier_t *car);
static void ngx_http_rtbus_ws_close(ngx_http_rtbus_carrier_t *car,
    ngx_uint_t code, const char *reason);
static void ngx_http_rtbus_ws_resume(ngx_http_rtbus_carrier_t *car);
static void ngx_http_rtbus_ws_set_timer(ngx_http_rtbus_carrier_t *car,
    ngx_msec_t ms);
static void ngx_http_rtbus_ws_closing(ngx_http_rtbus_ws_t *ws);
static void ngx_http_rtbus_ws_finalize(ngx_http_rtbus_ws_t *ws);


static const ngx_http_rtbus_transport_t  ngx_http_rtbus_ws_transport = {
    ngx_http_rtbus_ws_flush,
    ngx_http_rtbus_ws_close,
    ngx_http_rtbus_ws_resume,
    ngx_http_rtbus_ws_set_timer,
    ngx_http_rtbus_ws_park,
    ngx_http_rtbus_ws_unpark
};


void *
ngx_http_rtbus_ws_create(ngx_http_request_t *r, size_t size)
{
    ngx_pool_cleanup_t   *cln;
    ngx_http_rtbus_ws_t  *ws;

    cln = ngx_pool_cleanup_add(r->pool, 0);
    if (cln == NULL) {
        return NULL;
    }

    /* ws outlives the request; when that is parked, its cleanup is dropped */

    ws = ngx_calloc(size, r->connection->log);
    if (ws == NULL) {
        return NULL;
    }

    cln->handler = ngx_http_rtbus_ws_cleanup;
    cln->data = ws;

    return ws;
}


ngx_int_t
ngx_http_rtbus_ws_init(ngx_http_rtbus_ws_t *ws, ngx_http_request_t *r)
{
    ws->carrier.transport = &ngx_http_rtbus_ws_transport;

    return ngx_http_rtbus_carrier_init(&ws->carrier, r);
}


ngx_int_t
ngx_http_rtbus_ws_accept(ngx_http_rtbus_ws_t *ws, ngx_str_t *key)
{
    ngx_buf_t                 *b;
    ngx_int_t                  rc;
    ngx_connection_t          *c;
    ngx_http_request_t        *r;
    ngx_http_core_loc_conf_t  *clcf;

    r = ws->carrier.request;
    c = r->connection;
    b = r->header_in;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "rtbus ws accept, came with it:%uz",
                   (size_t) (b->last - b->pos));

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (clcf->tcp_nodelay && ngx_tcp_nodelay(c) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (b->pos < b->last
        && ngx_http_rtbus_ws_keep_rest(ws, b->pos, b->last) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    b->pos = b->last;

    rc = ngx_http_rtbus_ws_answer(r, key);

    if (rc == NGX_OK) {
        rc = ngx_http_rtbus_ws_queue(ws, r);
    }

    if (rc != NGX_OK) {
        return rc;
    }

    r->main->count++;
    r->keepalive = 0;

    ngx_http_set_ctx(r, ws, ngx_http_rtbus_module);

    c->log->action = "serving websocket";

    ws->handler = c->read->handler;

    c->idle = 1;
    c->read->handler = ngx_http_rtbus_ws_read_handler;
    c->write->handler = ngx_http_rtbus_ws_write_handler;

    ngx_add_timer(c->read, ws->carrier.conf->ping_interval);

    /* what came with the handshake, and after it, is read at its own event */

    ngx_post_event(c->read, &ngx_posted_events);

    return NGX_OK;
}


/*
 * The write filter has kept the 101 until there is more to send.  It goes to
 * the beginning of our queue, to be sent in one write with what follows it.
 */

static ngx_int_t
ngx_http_rtbus_ws_queue(ngx_http_rtbus_ws_t *ws, ngx_http_request_t *r)
{
    size_t              len;
    u_char             *p;
    ngx_chain_t        *cl;
    ngx_rtbus_frame_t  *frame;

    len = 0;

    for (cl = r->out; cl; cl = cl->next) {
        len += ngx_buf_size(cl->buf);
    }

    if (len == 0) {
        return NGX_OK;
    }

    frame = ngx_rtbus_frame_create(len);
    if (frame == NULL) {
        return NGX_ERROR;
    }

    p = frame->data;

    for (cl = r->out; cl; cl = cl->next) {
        p = ngx_cpymem(p, cl->buf->pos, cl->buf->last - cl->buf->pos);
    }

    r->out = NULL;

    ngx_http_rtbus_carrier_put(&ws->carrier, frame);
    ngx_rtbus_frame_unref(frame);

    return NGX_OK;
}


/* the end of the request is that of the connection, unless it is parked */

static ngx_int_t
ngx_http_rtbus_ws_attach(ngx_http_rtbus_ws_t *ws, ngx_http_request_t *r)
{
    ngx_pool_cleanup_t  *cln;

    cln = ngx_pool_cleanup_add(r->pool, 0);

    if (cln == NULL
        || ngx_http_rtbus_carrier_attach(&ws->carrier, r) != NGX_OK)
    {
        return NGX_ERROR;
    }

    cln->handler = ngx_http_rtbus_ws_cleanup;
    cln->data = ws;

    return NGX_OK;
}


static void
ngx_http_rtbus_ws_park(ngx_http_rtbus_carrier_t *car)
{
    ngx_int_t             rc;
    ngx_connection_t     *c;
    ngx_http_rtbus_ws_t  *ws;

    ws = (ngx_http_rtbus_ws_t *) car;
    c = car->connection;

    rc = ngx_http_rtbus_park(car->request, ws, car->worker->carriers->out,
                             &ws->parked);

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "rtbus ws park *%uA: %i", c->number, rc);

    if (rc != NGX_OK) {
        car->kept = (rc == NGX_DECLINED);
        return;
    }

    car->request = NULL;
    car->pool = NULL;

    c->data = ws;
    c->read->handler = ngx_http_rtbus_ws_parked_read_handler;
    c->write->handler = ngx_http_rtbus_ws_parked_write_handler;
}


static ngx_int_t
ngx_http_rtbus_ws_unpark(ngx_http_rtbus_carrier_t *car)
{
    ngx_connection_t     *c;
    ngx_http_request_t   *r;
    ngx_http_rtbus_ws_t  *ws;

    ws = (ngx_http_rtbus_ws_t *) car;
    c = car->connection;

    r = ngx_http_rtbus_unpark(ws->parked);
    if (r == NULL) {
        return NGX_ERROR;
    }

    if (ngx_http_rtbus_ws_attach(ws, r) != NGX_OK) {
        ngx_http_rtbus_repark(ws->parked, r);
        return NGX_ERROR;
    }

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "rtbus ws unpark *%uA", c->number);

    ngx_free(ws->parked);
    ws->parked = NULL;

    ngx_http_set_ctx(r, ws, ngx_http_rtbus_module);

    c->data = r;
    c->read->handler = ngx_http_rtbus_ws_read_handler;
    c->write->handler = ngx_http_rtbus_ws_write_handler;

    return NGX_OK;
}


static void
ngx_http_rtbus_ws_cleanup(void *data)
{
    ngx_http_rtbus_ws_t  *ws = data;

    if (ws->message) {
        ngx_free(ws->message);
    }

    if (ws->control) {
        ngx_free(ws->control);
    }

    if (ws->rest) {
        ngx_free(ws->rest);
    }

    ngx_free(ws);
}


static void
ngx_http_rtbus_ws_read_handler(ngx_event_t *rev)
{
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    c = rev->data;
    r = c->data;

    ngx_http_rtbus_ws_read(ngx_http_get_module_ctx(r, ngx_http_rtbus_module));
}


static void
ngx_http_rtbus_ws_parked_read_handler(ngx_event_t *rev)
{
    ngx_connection_t  *c;

    c = rev->data;

    ngx_http_rtbus_ws_read(c->data);
}


static void
ngx_http_rtbus_ws_read(ngx_http_rtbus_ws_t *ws)
{
    size_t                     size;
    ssize_t                    n;
    ngx_uint_t                 more, timedout;
    ngx_event_t               *rev;
    ngx_connection_t          *c;
    ngx_http_rtbus_ws_part_t  *rest;

    c = ws->carrier.connection;
    rev = c->read;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "rtbus ws read handler timedout:%d close:%d",
                   rev->timedout, c->close);

    if (c->close) {

        if (c->error) {
            ngx_http_rtbus_ws_finalize(ws);
            return;
        }

        /* the worker leaves, and its clients go one after the other */

        c->close = 0;
        ngx_http_rtbus_carriers_drain(ws->carrier.worker);
    }

    timedout = rev->timedout;

    if (timedout) {
        rev->timedout = 0;

        if (ngx_http_rtbus_carrier_closed(&ws->carrier)) {
            /* the close handshake was not completed in time */
            ngx_http_rtbus_ws_finalize(ws);
            return;
        }

        /* a worker that was busy has not read all that has arrived */

        rev->ready = 1;
        rev->available = -1;
    }

    for (more = 0; /* void */ ; more = 1) {

        if (ws->carrier.held && !ngx_http_rtbus_carrier_closing(&ws->carrier)) {
            /* what the client has sent can wait */

            if (timedout) {
                ngx_http_rtbus_ws_timer(ws);
            }

            return;
        }

        if (ws->rest) {
            rest = ws->rest;
            ws->rest = NULL;

            if (!ws->failed) {
                ngx_http_rtbus_ws_input(ws, rest->data,
                                        rest->data + rest->len);
            }

            ngx_free(rest);

            continue;
        }

        if (!rev->ready) {
            break;
        }

        /* clients share what is read beyond that, so no flood keeps the loop */

        size = more ? ngx_http_rtbus_carriers_share(ws->carrier.worker)
                    : NGX_HTTP_RTBUS_WS_FIRST;

        if (size == 0) {

            if (timedout && !rev->timer_set) {
                /* there may be a pong in the rest */
                ngx_add_timer(rev, NGX_HTTP_RTBUS_WS_LATER);
            }

            ngx_post_event(rev, &ngx_posted_next_events);
            return;
        }

        n = c->recv(c, ws->carrier.worker->carriers->in, size);

        if (n == NGX_AGAIN) {
            break;
        }

        if (n == 0
            && ws->carrier.state == NGX_HTTP_RTBUS_CARRIER_CLOSING)
        {
            /* its side is shut already, our close frame is yet to be sent */
            ws->peer_closed = 1;
            break;
        }

        if (n == 0 || n == NGX_ERROR) {

            if (!ngx_http_rtbus_carrier_closing(&ws->carrier)) {
                ngx_log_error(NGX_LOG_INFO, c->log, 0,
                              "rtbus: client closed websocket connection "
                              "without a close frame");
            }

            ngx_http_rtbus_ws_finalize(ws);
            return;
        }

        if (more) {
            ws->carrier.worker->carriers->share -= n;
        }

        if (!ws->failed) {
            ngx_http_rtbus_ws_input(ws, ws->carrier.worker->carriers->in,
                                    ws->carrier.worker->carriers->in + n);
        }
    }

    if (ngx_handle_read_event(rev, 0) != NGX_OK) {
        ngx_http_rtbus_ws_finalize(ws);
        return;
    }

    if (timedout && !rev->timer_set) {
        ngx_http_rtbus_ws_timer(ws);
    }
}


static void
ngx_http_rtbus_ws_timer(ngx_http_rtbus_ws_t *ws)
{
    ngx_event_t               *rev;
    ngx_http_rtbus_carrier_t  *car;

    car = &ws->carrier;
    rev = car->connection->read;

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, car->log, 0,
                   "rtbus ws timer pinged:%d unsent:%uz own:%d",
                   ws->pinged, car->unsent, ws->timer_handler != NULL);

    if (ws->timer_handler) {
        ws->timer_handler(ws);
        return;
    }

    if (ws->pinged) {

        if (ngx_http_rtbus_carrier_takes(car)) {
            ngx_add_timer(rev, car->conf->ping_timeout);
            return;
        }

        ngx_http_rtbus_carrier_close_for(car, NGX_HTTP_RTBUS_CLOSE_PING);
        return;
    }

    if (ngx_http_rtbus_ws_send(ws, RTBUS_WS_PING, NULL, 0) != NGX_OK) {
        ngx_http_rtbus_carrier_nomem(car);
        return;
    }

    ws->pinged = 1;
    ngx_http_rtbus_carrier_watch(car);
    ngx_add_timer(rev, car->conf->ping_timeout);
}


static void
ngx_http_rtbus_ws_write_handler(ngx_event_t *wev)
{
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    c = wev->data;
    r = c->data;

    ngx_http_rtbus_ws_write(ngx_http_get_module_ctx(r, ngx_http_rtbus_module));
}


static void
ngx_http_rtbus_ws_parked_write_handler(ngx_event_t *wev)
{
    ngx_connection_t  *c;

    c = wev->data;

    ngx_http_rtbus_ws_write(c->data);
}


static void
ngx_http_rtbus_ws_write(ngx_http_rtbus_ws_t *ws)
{
    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, ws->carrier.log, 0,
                   "rtbus ws write handler unsent:%uz", ws->carrier.unsent);

    if (ngx_http_rtbus_ws_flush(&ws->carrier) != NGX_OK) {
        ngx_http_rtbus_ws_finalize(ws);
        return;
    }

    if (ngx_http_rtbus_carrier_closed(&ws->carrier)) {
        ngx_http_rtbus_ws_closing(ws);
    }
}


static ngx_int_t
ngx_http_rtbus_ws_flush(ngx_http_rtbus_carrier_t *car)
{
    u_char                 *p, *buf;
    size_t                  len;
    ssize_t                 n;
    ngx_connection_t       *c;
    ngx_http_rtbus_link_t  *link;

    c = car->connection;

    while (car->first && c->write->ready) {

        link = car->first;

        if (link->next == NULL || car->inflight
            || link->frame->len - car->offset >= NGX_HTTP_RTBUS_BUFFER)
        {
            buf = link->frame->data + car->offset;
            len = link->frame->len - car->offset;

        } else if (ngx_http_rtbus_ws_tls(c)) {

            /* a write that TLS puts off must be repeated with the same bytes */

            if (car->offset == 0
                && ngx_http_rtbus_carrier_merge(car) != NGX_OK)
            {
                return NGX_ERROR;
            }

            buf = car->first->frame->data + car->offset;
            len = car->first->frame->len - car->offset;

        } else {
            buf = car->worker->carriers->out;

            p = ngx_cpymem(buf, link->frame->data + car->offset,
                           link->frame->len - car->offset);

            for (link = link->next; link; link = link->next) {

                len = link->frame->len;

                if (len > (size_t) (buf + NGX_HTTP_RTBUS_BUFFER - p)) {
                    break;
                }

                p = ngx_cpymem(p, link->frame->data, len);
            }

            len = p - buf;
        }

        n = c->send(c, buf, len);

        if (n == NGX_ERROR) {
            return NGX_ERROR;
        }

        if (n == NGX_AGAIN) {
            car->inflight = ngx_http_rtbus_ws_tls(c);
            break;
        }

        car->inflight = 0;

        ngx_http_rtbus_carrier_sent(car, n);
    }

    if (car->first && ngx_handle_write_event(c->write, 0) != NGX_OK) {
        return NGX_ERROR;
    }

    return NGX_OK;
}


/*
 * The closing handshake, section 7.  If the client's close frame has come
 * first, the connection is done once ours is sent; otherwise we wait for the
 * client's.  After a protocol error nothing can be understood any more.  What
 * comes is still read and dropped: if bytes were left unread, the kernel would
 * throw away our close frame.
 */

static void
ngx_http_rtbus_ws_close(ngx_http_rtbus_carrier_t *car, ngx_uint_t code,
    const char *reason)
{
    size_t                len;
    ngx_http_rtbus_ws_t  *ws;
    u_char                buf[RTBUS_WS_MAX_CONTROL];

    ws = (ngx_http_rtbus_ws_t *) car;

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, car->log, 0,
                   "rtbus ws close code:%ui broken:%d peer_closed:%d",
                   code, car->broken, ws->peer_closed);

    if (car->broken) {
        ngx_http_rtbus_ws_finalize(ws);
        return;
    }

    len = 0;

    if (code != RTBUS_WS_NO_STATUS) {
        buf[0] = (u_char) (code >> 8);
        buf[1] = (u_char) code;
        len = 2;

        if (!ws->peer_closed) {
            len = ngx_cpystrn(buf + 2, (u_char *) reason, sizeof(buf) - 2)
                  - buf;
        }
    }

    if (ngx_http_rtbus_ws_send(ws, RTBUS_WS_CLOSE, buf, len) != NGX_OK
        || ngx_http_rtbus_ws_flush(car) != NGX_OK)
    {
        ngx_http_rtbus_ws_finalize(ws);
        return;
    }

    ngx_add_timer(car->connection->read, NGX_HTTP_RTBUS_WS_LINGER);

    ngx_http_rtbus_ws_closing(ws);
}


static void
ngx_http_rtbus_ws_resume(ngx_http_rtbus_carrier_t *car)
{
    ngx_post_event(car->connection->read, &ngx_posted_events);
}


static void
ngx_http_rtbus_ws_set_timer(ngx_http_rtbus_carrier_t *car, ngx_msec_t ms)
{
    if (!ngx_http_rtbus_carrier_closed(car)) {
        ngx_add_timer(car->connection->read, ms);
    }
}


static void
ngx_http_rtbus_ws_closing(ngx_http_rtbus_ws_t *ws)
{
    ngx_http_rtbus_carrier_t  *car;

    car = &ws->carrier;

    if (car->first) {
        return;
    }

    if (ws->peer_closed) {
        ngx_http_rtbus_ws_finalize(ws);
        return;
    }

    if (ws->failed
        && ngx_shutdown_socket(car->connection->fd,
                               NGX_WRITE_SHUTDOWN)
           == -1)
    {
        ngx_connection_error(car->connection, ngx_socket_errno,
                             ngx_shutdown_socket_n " failed");
        ngx_http_rtbus_ws_finalize(ws);
    }
}


static void
ngx_http_rtbus_ws_finalize(ngx_http_rtbus_ws_t *ws)
{
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    c = ws->carrier.connection;

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "rtbus ws finalize state:%d parked:%d inflight:%d",
                   ws->carrier.state, ws->parked != NULL,
                   ws->carrier.inflight);

    ngx_http_rtbus_carrier_state(&ws->carrier, NGX_HTTP_RTBUS_CARRIER_CLOSED);

    if (ws->carrier.inflight) {
        /* TLS allows no goodbye in the middle of a write */
        c->timedout = 1;
    }

    c->idle = 0;

    if (ws->parked && ngx_http_rtbus_ws_unpark(&ws->carrier) != NGX_OK) {

        /* then there is no line in the access log */

        ngx_http_rtbus_unpark_drop(ws->parked);
        ngx_http_rtbus_carrier_end(&ws->carrier);
        ngx_http_rtbus_ws_cleanup(ws);

        ngx_http_close_connection(c);
        return;
    }

    r = ws->carrier.request;

    c->read->handler = ws->handler;
    c->write->handler = ws->handler;
    r->read_event_handler = ngx_http_block_reading;
    r->write_event_handler = ngx_http_request_empty_handler;

    ngx_http_finalize_request(r, NGX_ERROR);
    ngx_http_run_posted_requests(c);
}
