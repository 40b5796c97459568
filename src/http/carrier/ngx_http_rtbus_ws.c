
#include "ngx_http_rtbus_ws.h"
#include "ngx_http_rtbus_crypto.h"
#include "ngx_http_rtbus_origin.h"
#include "ngx_http_rtbus_reply.h"
#include "ngx_http_rtbus_carriers.h"
#include "rtbus_utf8.h"


#define NGX_HTTP_RTBUS_WS_LINGER   5000    /* ms for the client's part of the
                                              close handshake */
#define NGX_HTTP_RTBUS_WS_FIRST    4096    /* bytes that a client may send in a
                                              loop turn, however many do so */
#define NGX_HTTP_RTBUS_WS_LATER    1000    /* ms to read more that has come */
#define NGX_HTTP_RTBUS_WS_PONGS    4096    /* bytes that may wait for a pong to
                                              be added to them */

#define ngx_http_rtbus_ws_is(h, name)                                         \
    ((h)->key.len == sizeof(name) - 1                                         \
     && ngx_strncmp((h)->lowcase_key, name, sizeof(name) - 1) == 0)


#if (NGX_SSL)
#define ngx_http_rtbus_ws_tls(c)  ((c)->ssl != NULL)
#else
#define ngx_http_rtbus_ws_tls(c)  0
#endif


/* what the headers of a handshake say */

typedef struct {
    ngx_table_elt_t          *version;
    ngx_table_elt_t          *key;
    unsigned                  upgrade:1;     /* has "websocket" */
    unsigned                  connection:1;  /* has "upgrade" */
    unsigned                  doubled:1;     /* another key */
} ngx_http_rtbus_ws_headers_t;


static void ngx_http_rtbus_ws_headers(ngx_http_request_t *r,
    ngx_http_rtbus_ws_headers_t *headers);
static ngx_uint_t ngx_http_rtbus_ws_token(ngx_table_elt_t *h,
    const char *token);
static ngx_int_t ngx_http_rtbus_ws_upgrade_required(ngx_http_request_t *r,
    const char *error);
static ngx_int_t ngx_http_rtbus_ws_answer(ngx_http_rtbus_ws_t *ws,
    ngx_str_t *key);
static ngx_int_t ngx_http_rtbus_ws_queue(ngx_http_rtbus_ws_t *ws,
    ngx_http_request_t *r);
static ngx_int_t ngx_http_rtbus_ws_keep_rest(ngx_http_rtbus_ws_t *ws,
    u_char *p, u_char *last);
static ngx_http_rtbus_ws_part_t *ngx_http_rtbus_ws_part(
    ngx_http_rtbus_ws_t *ws, size_t size);
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
static void ngx_http_rtbus_ws_input(ngx_http_rtbus_ws_t *ws, u_char *p,
    u_char *last);
static ngx_int_t ngx_http_rtbus_ws_payload(ngx_http_rtbus_ws_t *ws, u_char *p,
    size_t len);
static ngx_int_t ngx_http_rtbus_ws_keep(ngx_http_rtbus_ws_t *ws, u_char *p,
    size_t len);
static ngx_int_t ngx_http_rtbus_ws_control(ngx_http_rtbus_ws_t *ws, u_char *p,
    size_t len);
static ngx_int_t ngx_http_rtbus_ws_pong(ngx_http_rtbus_ws_t *ws, u_char *p,
    size_t len);
static ngx_rtbus_frame_t *ngx_http_rtbus_ws_frame(ngx_uint_t opcode, u_char *p,
    size_t len);

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


ngx_uint_t
ngx_http_rtbus_ws_asked(ngx_http_request_t *r)
{
    ngx_http_rtbus_ws_headers_t  headers;

    if (r->headers_in.upgrade == NULL) {
        return 0;
    }

    ngx_http_rtbus_ws_headers(r, &headers);

    return headers.upgrade;
}


ngx_int_t
ngx_http_rtbus_ws_handshake(ngx_http_request_t *r, ngx_str_t *key)
{
    u_char                        buf[24];
    ngx_int_t                     rc;
    ngx_str_t                     raw, value;
    ngx_table_elt_t              *h;
    ngx_http_rtbus_ws_headers_t   headers;

    if (r->method != NGX_HTTP_GET) {
        return ngx_http_rtbus_not_allowed(r, "GET");
    }

    if (r->headers_in.content_length_n > 0 || r->headers_in.chunked) {
        return ngx_http_rtbus_error(r, NGX_HTTP_BAD_REQUEST,
                                    "body in a websocket handshake",
                                    NULL, NULL);
    }

    /* RFC 6455 section 4.2.1 */

    ngx_http_rtbus_ws_headers(r, &headers);

    if (r->http_version != NGX_HTTP_VERSION_11
        || !headers.upgrade || !headers.connection)
    {
        return ngx_http_rtbus_ws_upgrade_required(r,
                                            "websocket handshake expected");
    }

    h = headers.version;

    if (h == NULL || h->value.len != 2
        || ngx_strncmp(h->value.data, "13", 2) != 0)
    {
        ngx_str_set(&value, "13");

        if (ngx_http_rtbus_header(r, "Sec-WebSocket-Version", &value)
            != NGX_OK)
        {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        return ngx_http_rtbus_ws_upgrade_required(r,
                                            "websocket version 13 expected");
    }

    h = headers.key;

    raw.data = buf;

    if (h == NULL || headers.doubled || h->value.len != 24
        || ngx_decode_base64(&raw, &h->value) != NGX_OK || raw.len != 16)
    {
        return ngx_http_rtbus_error(r, NGX_HTTP_BAD_REQUEST,
                                    "bad Sec-WebSocket-Key", NULL, NULL);
    }

    *key = h->value;

    rc = ngx_http_rtbus_check_origin(r);

    if (rc == NGX_DECLINED) {
        return ngx_http_rtbus_error(r, NGX_HTTP_FORBIDDEN,
                                    "origin not allowed", NULL, NULL);
    }

    return rc;
}


/* a list may come in several lines (RFC 9110 section 5.3), a key may not */

static void
ngx_http_rtbus_ws_headers(ngx_http_request_t *r,
    ngx_http_rtbus_ws_headers_t *headers)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    ngx_memzero(headers, sizeof(ngx_http_rtbus_ws_headers_t));

    part = &r->headers_in.headers.part;
    h = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                return;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        if (ngx_http_rtbus_ws_is(&h[i], "upgrade")) {
            headers->upgrade |= ngx_http_rtbus_ws_token(&h[i], "websocket");

        } else if (ngx_http_rtbus_ws_is(&h[i], "connection")) {
            headers->connection |= ngx_http_rtbus_ws_token(&h[i], "upgrade");

        } else if (ngx_http_rtbus_ws_is(&h[i], "sec-websocket-version")) {
            headers->version = &h[i];

        } else if (ngx_http_rtbus_ws_is(&h[i], "sec-websocket-key")) {
            headers->doubled = (headers->key != NULL);
            headers->key = &h[i];
        }
    }
}


/* is the token in the comma-separated list of the header's value */

static ngx_uint_t
ngx_http_rtbus_ws_token(ngx_table_elt_t *h, const char *token)
{
    u_char  *p, *start, *last, *end;
    size_t   len;

    len = ngx_strlen(token);
    last = h->value.data + h->value.len;

    for (p = h->value.data; p < last; p++) {

        start = p;

        while (p < last && *p != ',') {
            p++;
        }

        end = p;

        while (start < end && (*start == ' ' || *start == '\t')) {
            start++;
        }

        while (end > start && (end[-1] == ' ' || end[-1] == '\t')) {
            end--;
        }

        if ((size_t) (end - start) == len
            && ngx_strncasecmp(start, (u_char *) token, len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


/* 426 names what to upgrade to (RFC 9110 section 15.5.22), except in HTTP/2 */

static ngx_int_t
ngx_http_rtbus_ws_upgrade_required(ngx_http_request_t *r, const char *error)
{
    ngx_str_t  protocol, option;

    if (r->http_version < NGX_HTTP_VERSION_20) {

        ngx_str_set(&protocol, "websocket");
        ngx_str_set(&option, "upgrade");

        if (ngx_http_rtbus_header(r, "Upgrade", &protocol) != NGX_OK
            || ngx_http_rtbus_header(r, "Connection", &option) != NGX_OK)
        {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    return ngx_http_rtbus_error(r, 426, error, NULL, NULL);
}


void *
ngx_http_rtbus_ws_create(ngx_http_request_t *r, size_t size)
{
    ngx_pool_cleanup_t   *cln;
    ngx_http_rtbus_ws_t  *ws;

    cln = ngx_pool_cleanup_add(r->pool, 0);
    if (cln == NULL) {
        return NULL;
    }

    /* it outlives the request, whose cleanup is gone when that is parked */

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

    rc = ngx_http_rtbus_ws_answer(ws, key);
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


static ngx_int_t
ngx_http_rtbus_ws_answer(ngx_http_rtbus_ws_t *ws, ngx_str_t *key)
{
    ngx_int_t            rc;
    ngx_str_t            raw, value;
    ngx_connection_t    *c;
    ngx_http_request_t  *r;
    u_char               hash[NGX_HTTP_RTBUS_CRYPTO_SHA1];
    static ngx_str_t     guid = ngx_string(RTBUS_WS_GUID);

    r = ws->carrier.request;

    if (ngx_http_rtbus_crypto_sha1(hash, key, &guid, r->connection->log)
        != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    raw.data = hash;
    raw.len = sizeof(hash);

    value.data = ngx_pnalloc(r->pool, ngx_base64_encoded_length(raw.len));
    if (value.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_encode_base64(&value, &raw);

    if (ngx_http_rtbus_header(r, "Sec-WebSocket-Accept", &value) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_str_set(&value, "websocket");

    if (ngx_http_rtbus_header(r, "Upgrade", &value) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->headers_out.status = NGX_HTTP_SWITCHING_PROTOCOLS;

    /* nginx writes no reason after it, and some clients wait for one */

    ngx_str_set(&r->headers_out.status_line, "101 Switching Protocols");

    /* nothing else is understood, whatever error_page has brought us here */

    r->err_status = 0;

    rc = ngx_http_send_header(r);

    ngx_str_null(&r->headers_out.status_line);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return (rc == NGX_OK) ? NGX_ERROR : rc;
    }

    c = r->connection;

    /* TLS has kept what the write filter has not */

    if (c->buffered
        && (ngx_http_send_special(r, NGX_HTTP_FLUSH) == NGX_ERROR
            || c->buffered))
    {
        return NGX_ERROR;
    }

    return ngx_http_rtbus_ws_queue(ws, r);
}


/*
 * Takes the 101, which the write filter has kept until there is more to send, to
 * the beginning of our queue: it goes in one write with what follows it.
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


static ngx_int_t
ngx_http_rtbus_ws_keep_rest(ngx_http_rtbus_ws_t *ws, u_char *p, u_char *last)
{
    ws->rest = ngx_http_rtbus_ws_part(ws, last - p);

    if (ws->rest == NULL) {
        return NGX_ERROR;
    }

    ws->rest->len = last - p;
    ngx_memcpy(ws->rest->data, p, last - p);

    return NGX_OK;
}


static ngx_http_rtbus_ws_part_t *
ngx_http_rtbus_ws_part(ngx_http_rtbus_ws_t *ws, size_t size)
{
    ngx_http_rtbus_ws_part_t  *part;

    part = ngx_alloc(offsetof(ngx_http_rtbus_ws_part_t, data) + size,
                     ws->carrier.log);

    if (part) {
        part->len = 0;
        part->size = size;
    }

    return part;
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

    rc = ngx_http_rtbus_park(car->request, ws, car->worker->out,
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

        /* the worker leaves, clients go one after the other */

        c->close = 0;
        ngx_http_rtbus_carriers_drain(ws->carrier.worker);
    }

    timedout = rev->timedout;

    if (timedout) {
        rev->timedout = 0;

        if (ws->carrier.closed) {
            /* the close handshake was not completed in time */
            ngx_http_rtbus_ws_finalize(ws);
            return;
        }

        /* a worker that was busy has not read all that has arrived */

        rev->ready = 1;
        rev->available = -1;
    }

    for (more = 0; /* void */ ; more = 1) {

        if (ws->carrier.held && !ws->carrier.closing) {
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

        /* more than that has to be shared, or those who flood keep the loop */

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

        n = c->recv(c, ws->carrier.worker->in, size);

        if (n == NGX_AGAIN) {
            break;
        }

        if (n == 0 && ws->carrier.closing && !ws->carrier.closed) {
            /* its side is shut already, our close frame is yet to be sent */
            ws->peer_closed = 1;
            break;
        }

        if (n == 0 || n == NGX_ERROR) {

            if (!ws->carrier.closing) {
                ngx_log_error(NGX_LOG_INFO, c->log, 0,
                              "client closed websocket connection without "
                              "a close frame");
            }

            ngx_http_rtbus_ws_finalize(ws);
            return;
        }

        if (more) {
            ws->carrier.worker->share -= n;
        }

        if (!ws->failed) {
            ngx_http_rtbus_ws_input(ws, ws->carrier.worker->in,
                                    ws->carrier.worker->in + n);
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
    ngx_event_t              *rev;
    ngx_http_rtbus_carrier_t  *car;

    car = &ws->carrier;
    rev = car->connection->read;

    if (ws->timer_handler) {
        ws->timer_handler(ws);
        return;
    }

    if (ws->pinged) {

        if (ngx_http_rtbus_carrier_takes(car)) {
            ngx_add_timer(rev, car->conf->ping_timeout);
            return;
        }

        ngx_http_rtbus_carrier_close(car, RTBUS_WS_INTERNAL, "ping timeout");
        return;
    }

    if (ngx_http_rtbus_ws_send(ws, RTBUS_WS_PING, NULL, 0) != NGX_OK) {
        ngx_http_rtbus_carrier_close(car, RTBUS_WS_INTERNAL, "no memory");
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

    if (ws->carrier.closed) {
        ngx_http_rtbus_ws_closing(ws);
    }
}


static void
ngx_http_rtbus_ws_input(ngx_http_rtbus_ws_t *ws, u_char *p, u_char *last)
{
    size_t               n;
    ngx_int_t            rc;
    const uint8_t       *pos;
    rtbus_ws_parser_t   *parser;

    parser = &ws->parser;

    if (ws->pinged) {
        /* any sign of life is as good as the pong */
        ws->pinged = 0;

        if (!ws->carrier.closed) {
            ngx_add_timer(ws->carrier.connection->read,
                          ws->carrier.conf->ping_interval);
        }
    }

    /* a header may be whole with no payload byte to follow, hence <= */

    while (p < last || (ws->in_frame && parser->rest == 0)) {

        if (!ws->in_frame) {
            pos = p;
            rc = rtbus_ws_parse_header(parser, &pos, last);
            p = (u_char *) pos;

            if (rc == RTBUS_AGAIN) {
                return;
            }

            if (rc == RTBUS_ERROR) {
                ws->failed = 1;
                ngx_http_rtbus_carrier_close(&ws->carrier,
                                            RTBUS_WS_PROTOCOL_ERROR,
                                            parser->reason);
                return;
            }

            if (parser->opcode < RTBUS_WS_CLOSE
                && parser->rest > ws->carrier.conf->max_message
                                  - (ws->message ? ws->message->len : 0)
                && !ws->carrier.closing)
            {
                ws->failed = 1;
                ngx_http_rtbus_carrier_close(&ws->carrier, RTBUS_WS_TOO_BIG,
                                            "message too big");
                return;
            }

            if (parser->opcode == RTBUS_WS_TEXT
                || parser->opcode == RTBUS_WS_BINARY)
            {
                ws->opcode = parser->opcode;
                ws->utf8 = RTBUS_UTF8_ACCEPT;
            }

            ws->in_frame = 1;
        }

        n = (size_t) ngx_min(parser->rest, (uint64_t) (last - p));

        rtbus_ws_unmask(parser, p, p, n);
        parser->rest -= n;

        if (parser->rest == 0) {
            ws->in_frame = 0;
        }

        if (ngx_http_rtbus_ws_payload(ws, p, n) != NGX_OK) {
            ws->failed = 1;
            return;
        }

        p += n;

        if (ws->carrier.held && !ws->carrier.closing && p < last) {

            /* the message was one that has to be answered first */

            if (ngx_http_rtbus_ws_keep_rest(ws, p, last) != NGX_OK) {
                ws->failed = 1;
                ngx_http_rtbus_carrier_close(&ws->carrier, RTBUS_WS_INTERNAL,
                                             "no memory");
            }

            return;
        }
    }
}


/*
 * A piece of unmasked payload, the last one when the parser's rest is 0.
 * NGX_ERROR: the client is being closed, what follows must not be read.
 */

static ngx_int_t
ngx_http_rtbus_ws_payload(ngx_http_rtbus_ws_t *ws, u_char *p, size_t len)
{
    ngx_int_t           rc;
    rtbus_ws_parser_t  *parser;

    parser = &ws->parser;

    if (parser->opcode >= RTBUS_WS_CLOSE) {

        if (parser->rest || ws->control) {

            if (ws->control == NULL) {
                ws->control = ngx_http_rtbus_ws_part(ws, RTBUS_WS_MAX_CONTROL);

                if (ws->control == NULL) {
                    goto nomem;
                }
            }

            ngx_memcpy(ws->control->data + ws->control->len, p, len);
            ws->control->len += len;

            if (parser->rest) {
                return NGX_OK;
            }

            rc = ngx_http_rtbus_ws_control(ws, ws->control->data,
                                           ws->control->len);
            ngx_free(ws->control);
            ws->control = NULL;

            return rc;
        }

        return ngx_http_rtbus_ws_control(ws, p, len);
    }

    if (ws->carrier.closing) {
        /* only the client's close frame is of interest now */
        return NGX_OK;
    }

    if (ws->opcode == RTBUS_WS_BINARY && !ws->binary) {
        ngx_http_rtbus_carrier_close(&ws->carrier, RTBUS_WS_UNSUPPORTED,
                                     "binary message");
        return NGX_ERROR;
    }

    if (ws->opcode == RTBUS_WS_TEXT) {
        ws->utf8 = rtbus_utf8_check(ws->utf8, p, len);
    }

    if (ws->utf8 == RTBUS_UTF8_REJECT
        || (ws->utf8 != RTBUS_UTF8_ACCEPT && parser->rest == 0 && parser->fin))
    {
        ngx_http_rtbus_carrier_close(&ws->carrier, RTBUS_WS_INVALID_PAYLOAD,
                                    "text is not UTF-8");
        return NGX_ERROR;
    }

    if (ws->message == NULL && parser->rest == 0 && parser->fin) {
        return ws->message_handler(ws, p, len);
    }

    if (ngx_http_rtbus_ws_keep(ws, p, len) != NGX_OK) {
        goto nomem;
    }

    if (parser->rest || !parser->fin) {
        return NGX_OK;
    }

    rc = ws->message_handler(ws, ws->message->data, ws->message->len);

    ngx_free(ws->message);
    ws->message = NULL;

    return rc;

nomem:

    ngx_http_rtbus_carrier_close(&ws->carrier, RTBUS_WS_INTERNAL, "no memory");

    return NGX_ERROR;
}


static ngx_int_t
ngx_http_rtbus_ws_keep(ngx_http_rtbus_ws_t *ws, u_char *p, size_t len)
{
    size_t                     size;
    ngx_http_rtbus_ws_part_t  *old, *message;

    if (len == 0) {
        /* an empty fragment; there may be no buffer yet */
        return NGX_OK;
    }

    old = ws->message;

    if (old == NULL || old->len + len > old->size) {

        /* grown by what has come, not by what a header promises */

        size = old ? ngx_max(old->len + len, 2 * old->size) : len;
        size = ngx_min(size, ws->carrier.conf->max_message);

        message = ngx_http_rtbus_ws_part(ws, size);
        if (message == NULL) {
            return NGX_ERROR;
        }

        if (old) {
            message->len = old->len;
            ngx_memcpy(message->data, old->data, old->len);
            ngx_free(old);
        }

        ws->message = message;
    }

    ngx_memcpy(ws->message->data + ws->message->len, p, len);
    ws->message->len += len;

    return NGX_OK;
}


static ngx_int_t
ngx_http_rtbus_ws_control(ngx_http_rtbus_ws_t *ws, u_char *p, size_t len)
{
    int          rc;
    unsigned     code;
    const char  *reason;

    switch (ws->parser.opcode) {

    case RTBUS_WS_PING:

        if (ws->carrier.closing) {
            return NGX_OK;
        }

        if (ngx_http_rtbus_ws_pong(ws, p, len) != NGX_OK) {
            ngx_http_rtbus_carrier_close(&ws->carrier, RTBUS_WS_INTERNAL,
                                        "no memory");
            return NGX_ERROR;
        }

        return NGX_OK;

    case RTBUS_WS_PONG:
        return NGX_OK;

    default: /* RTBUS_WS_CLOSE */

        ws->peer_closed = 1;

        if (ws->carrier.closed) {
            /* that was the answer to ours, and the end */
            ngx_post_event(ws->carrier.connection->write,
                           &ngx_posted_events);
            return NGX_ERROR;
        }

        rc = rtbus_ws_parse_close(p, len, &code, &reason);

        if (rc != RTBUS_OK) {
            ngx_http_rtbus_carrier_close(&ws->carrier, rc, reason);

        } else {
            ngx_http_rtbus_carrier_close(&ws->carrier, code,
                                        NGX_HTTP_RTBUS_BY_CLIENT);
        }

        return NGX_ERROR;
    }
}


/*
 * Who pings faster than it reads gets the last pong only (section 5.5.3): a
 * frame takes much more memory than the bytes that it has.
 */

static ngx_int_t
ngx_http_rtbus_ws_pong(ngx_http_rtbus_ws_t *ws, u_char *p, size_t len)
{
    ngx_rtbus_frame_t         *frame, *last;
    ngx_http_rtbus_carrier_t  *car;

    car = &ws->carrier;

    if (car->unsent <= NGX_HTTP_RTBUS_WS_PONGS) {
        return ngx_http_rtbus_ws_send(ws, RTBUS_WS_PONG, p, len);
    }

    frame = ngx_http_rtbus_ws_frame(RTBUS_WS_PONG, p, len);
    if (frame == NULL) {
        return NGX_ERROR;
    }

    last = ngx_http_rtbus_carrier_last(car);

    if (last && last->data[0] == frame->data[0]) {
        ngx_http_rtbus_carrier_replace(car, frame);

    } else {
        ngx_http_rtbus_carrier_send(car, frame);
    }

    ngx_rtbus_frame_unref(frame);

    return NGX_OK;
}


ngx_int_t
ngx_http_rtbus_ws_send(ngx_http_rtbus_ws_t *ws, ngx_uint_t opcode, u_char *p,
    size_t len)
{
    ngx_rtbus_frame_t  *frame;

    frame = ngx_http_rtbus_ws_frame(opcode, p, len);
    if (frame == NULL) {
        return NGX_ERROR;
    }

    if (opcode == RTBUS_WS_CLOSE) {
        ngx_http_rtbus_carrier_push(&ws->carrier, frame);

    } else {
        ngx_http_rtbus_carrier_send(&ws->carrier, frame);
    }

    ngx_rtbus_frame_unref(frame);

    return NGX_OK;
}


static ngx_rtbus_frame_t *
ngx_http_rtbus_ws_frame(ngx_uint_t opcode, u_char *p, size_t len)
{
    u_char             *data;
    ngx_rtbus_frame_t  *frame;

    frame = ngx_rtbus_frame_create(rtbus_ws_header_len(len) + len);
    if (frame == NULL) {
        return NULL;
    }

    data = rtbus_ws_write_header(frame->data, opcode, len);

    if (len) {
        ngx_memcpy(data, p, len);
    }

    return frame;
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
            buf = car->worker->out;

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
 * The closing handshake, section 7: ours after theirs and the connection is
 * done; ours first and theirs is waited for.  After a protocol error nothing
 * more can be understood; what comes is read and dropped all the same, since
 * closing with unread bytes would have the kernel throw away our close frame.
 */

static void
ngx_http_rtbus_ws_close(ngx_http_rtbus_carrier_t *car, ngx_uint_t code,
    const char *reason)
{
    size_t                len;
    ngx_http_rtbus_ws_t  *ws;
    u_char                buf[RTBUS_WS_MAX_CONTROL];

    ws = (ngx_http_rtbus_ws_t *) car;

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
    if (!car->closed) {
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

    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, c->log, 0, "rtbus ws finalize");

    ws->carrier.closing = 1;
    ws->carrier.closed = 1;

    if (ws->carrier.inflight) {
        /* TLS allows no goodbye in the middle of a write */
        c->timedout = 1;
    }

    c->idle = 0;

    if (ws->parked && ngx_http_rtbus_ws_unpark(&ws->carrier) != NGX_OK) {

        /* no line in the access log, then */

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


