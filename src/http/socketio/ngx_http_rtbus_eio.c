
#include "ngx_http_rtbus_eio.h"
#include "ngx_http_rtbus_crypto.h"
#include "ngx_http_rtbus_reply.h"
#include "ngx_http_rtbus_session.h"
#include "ngx_http_rtbus_upgrade.h"


/* a request that waits for the mailbox; memory of it */

typedef struct {
    ngx_rtbus_mailbox_wait_t              wait;
    ngx_http_request_t                   *request;  /* NULL: it goes on */
    ngx_http_cleanup_t                   *cleanup;
    const ngx_http_rtbus_eio_handlers_t  *handlers;
} ngx_http_rtbus_eio_wait_t;


static ngx_int_t ngx_http_rtbus_eio_wait(ngx_http_request_t *r,
    const ngx_http_rtbus_eio_handlers_t *handlers);
static void ngx_http_rtbus_eio_waited(void *data);
static void ngx_http_rtbus_eio_cancel(void *data);
static ngx_int_t ngx_http_rtbus_eio_serve(ngx_http_request_t *r,
    const ngx_http_rtbus_eio_handlers_t *handlers);
static ngx_int_t ngx_http_rtbus_eio_websocket(ngx_http_request_t *r,
    const ngx_http_rtbus_eio_handlers_t *handlers);
static ngx_uint_t ngx_http_rtbus_eio_arg(ngx_http_request_t *r,
    const char *name, const char *value);
static ngx_int_t ngx_http_rtbus_eio_ws_message(ngx_http_rtbus_ws_t *ws,
    u_char *p, size_t len);
static void ngx_http_rtbus_eio_ws_timer(ngx_http_rtbus_ws_t *ws);
static ngx_int_t ngx_http_rtbus_eio_send(ngx_http_rtbus_eio_t *eio, u_char *p,
    size_t len);


ngx_int_t
ngx_http_rtbus_eio_handler(ngx_http_request_t *r,
    const ngx_http_rtbus_eio_handlers_t *handlers)
{
    ngx_int_t   rc;
    ngx_uint_t  polling;

    polling = ngx_http_rtbus_eio_arg(r, "transport", "polling");

    if (polling) {

        /* pages of other origins are to see the refusals below, too */

        rc = ngx_http_rtbus_admit(r, (ngx_uint_t) -1, "GET, POST");

        if (rc != NGX_OK || r->header_sent) {
            return rc;
        }

    } else if (r->method != NGX_HTTP_GET) {
        return ngx_http_rtbus_not_allowed(r, "GET");
    }

    if (!ngx_http_rtbus_eio_arg(r, "EIO", "4")) {
        return ngx_http_rtbus_poll_reply(r, NGX_HTTP_RTBUS_EIO_VERSION, NULL);
    }

    if (!polling && !ngx_http_rtbus_eio_arg(r, "transport", "websocket")) {
        return ngx_http_rtbus_poll_reply(r, NGX_HTTP_RTBUS_EIO_TRANSPORT,
                                         NULL);
    }

    rc = ngx_http_rtbus_eio_wait(r, handlers);

    if (rc != NGX_OK) {
        return rc;
    }

    return ngx_http_rtbus_eio_serve(r, handlers);
}


/*
 * A request that opens a session, or is for one of another worker, may come
 * before workers can reach each other: the next one, or the answer, would get
 * lost.  NGX_OK, or what the content handler has to return: it waits.
 */

static ngx_int_t
ngx_http_rtbus_eio_wait(ngx_http_request_t *r,
    const ngx_http_rtbus_eio_handlers_t *handlers)
{
    ngx_str_t                   sid;
    ngx_http_cleanup_t         *cln;
    ngx_http_rtbus_worker_t    *worker;
    ngx_http_rtbus_eio_wait_t  *w;
    ngx_http_rtbus_loc_conf_t  *rlcf;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);
    worker = rlcf->bus->worker;

    if (ngx_http_arg(r, (u_char *) "sid", 3, &sid) == NGX_OK) {

        if (sid.len != NGX_HTTP_RTBUS_SESSION_ID
            || ngx_http_rtbus_session_ours(worker, &sid))
        {
            return NGX_OK;
        }

    } else if (ngx_http_rtbus_eio_arg(r, "transport", "websocket")) {
        return NGX_OK;
    }

    if (ngx_rtbus_mailbox_state(&worker->hub.mailbox) != NGX_AGAIN) {
        return NGX_OK;
    }

    cln = ngx_http_cleanup_add(r, sizeof(ngx_http_rtbus_eio_wait_t));
    if (cln == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    w = cln->data;
    ngx_memzero(w, sizeof(ngx_http_rtbus_eio_wait_t));

    cln->handler = ngx_http_rtbus_eio_cancel;

    w->request = r;
    w->cleanup = cln;
    w->handlers = handlers;

    w->wait.handler = ngx_http_rtbus_eio_waited;
    w->wait.data = w;

    ngx_rtbus_mailbox_wait(&worker->hub.mailbox, &w->wait);

    r->connection->log->action = "waiting for Redis";

    r->main->count++;

    return NGX_DONE;
}


static void
ngx_http_rtbus_eio_waited(void *data)
{
    ngx_http_rtbus_eio_wait_t *w = data;

    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = w->request;
    w->request = NULL;
    w->cleanup->handler = NULL;

    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "rtbus eio waited for the mailbox: \"%V\"", &r->uri);

    ngx_http_finalize_request(r, ngx_http_rtbus_eio_serve(r, w->handlers));

    ngx_http_run_posted_requests(c);
}


static void
ngx_http_rtbus_eio_cancel(void *data)
{
    ngx_http_rtbus_eio_wait_t *w = data;

    if (w->request) {
        ngx_rtbus_mailbox_cancel(&w->wait);
    }
}


static ngx_int_t
ngx_http_rtbus_eio_serve(ngx_http_request_t *r,
    const ngx_http_rtbus_eio_handlers_t *handlers)
{
    if (ngx_http_rtbus_eio_arg(r, "transport", "polling")) {
        return ngx_http_rtbus_session_request(r, handlers);
    }

    return ngx_http_rtbus_eio_websocket(r, handlers);
}


static ngx_int_t
ngx_http_rtbus_eio_websocket(ngx_http_request_t *r,
    const ngx_http_rtbus_eio_handlers_t *handlers)
{
    size_t                 len;
    ngx_int_t              rc;
    ngx_str_t              key, sid;
    ngx_http_rtbus_ws_t   *ws;
    ngx_http_rtbus_eio_t  *eio;
    u_char                 random[NGX_HTTP_RTBUS_SID_LEN];
    u_char                 buf[NGX_HTTP_RTBUS_EIO_OPEN];

    if (ngx_http_arg(r, (u_char *) "sid", 3, &sid) == NGX_OK) {
        return ngx_http_rtbus_upgrade_request(r, &sid, handlers);
    }

    if (!ngx_http_rtbus_ws_asked(r)) {
        return ngx_http_rtbus_poll_reply(r, NGX_HTTP_RTBUS_EIO_REQUEST, NULL);
    }

    ngx_str_null(&key);

    rc = ngx_http_rtbus_ws_handshake(r, &key);
    if (rc != NGX_OK || r->header_sent) {
        return rc;
    }

    if (ngx_http_rtbus_eio_random(random, r->connection->log) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ws = ngx_http_rtbus_ws_create(r, sizeof(ngx_http_rtbus_ws_t)
                                     + handlers->size);
    if (ws == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    eio = ngx_http_rtbus_eio_create(ws + 1, &ws->carrier, handlers);

    ngx_http_rtbus_eio_attach(eio, ws);

    if (ngx_http_rtbus_ws_init(ws, r) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_rtbus_ws_accept(ws, &key);
    if (rc != NGX_OK) {
        return rc;
    }

    sid.len = NGX_HTTP_RTBUS_SID_LEN;
    sid.data = random;

    len = ngx_http_rtbus_eio_open(buf, ws->carrier.conf, &sid, "");

    if (ngx_http_rtbus_eio_send(eio, buf, len) != NGX_OK) {
        ngx_http_rtbus_carrier_close(&ws->carrier, RTBUS_WS_INTERNAL,
                                     "no memory");
    }

    return NGX_DONE;
}


static ngx_uint_t
ngx_http_rtbus_eio_arg(ngx_http_request_t *r, const char *name,
    const char *value)
{
    ngx_str_t  arg;

    return ngx_http_arg(r, (u_char *) name, ngx_strlen(name), &arg) == NGX_OK
           && arg.len == ngx_strlen(value)
           && ngx_strncmp(arg.data, value, arg.len) == 0;
}


ngx_http_rtbus_eio_t *
ngx_http_rtbus_eio_create(void *p, ngx_http_rtbus_carrier_t *car,
    const ngx_http_rtbus_eio_handlers_t *handlers)
{
    ngx_http_rtbus_eio_t *eio = p;

    eio->carrier = car;
    eio->handlers = handlers;
    eio->opened = ngx_current_msec;

    handlers->create(eio, car);

    return eio;
}


void
ngx_http_rtbus_eio_attach(ngx_http_rtbus_eio_t *eio, ngx_http_rtbus_ws_t *ws)
{
    eio->carrier = &ws->carrier;

    ws->message_handler = ngx_http_rtbus_eio_ws_message;
    ws->timer_handler = ngx_http_rtbus_eio_ws_timer;
    ws->binary = 1;
}


size_t
ngx_http_rtbus_eio_open(u_char *dst, ngx_http_rtbus_loc_conf_t *conf,
    ngx_str_t *sid, const char *upgrades)
{
    return ngx_snprintf(dst, NGX_HTTP_RTBUS_EIO_OPEN,
                        "%c{\"sid\":\"%V\",\"upgrades\":[%s],"
                        "\"pingInterval\":%M,\"pingTimeout\":%M,"
                        "\"maxPayload\":%uz}",
                        RTBUS_EIO_OPEN, sid, upgrades, conf->ping_interval,
                        conf->ping_timeout, conf->max_message)
           - dst;
}


static ngx_int_t
ngx_http_rtbus_eio_ws_message(ngx_http_rtbus_ws_t *ws, u_char *p, size_t len)
{
    rtbus_eio_packet_t     packet;
    ngx_http_rtbus_eio_t  *eio;

    eio = ws->carrier.data;

    if (ws->opcode == RTBUS_WS_BINARY) {
        return eio->handlers->message(eio, p, len, 1);
    }

    if (rtbus_eio_parse(&packet, p, len) != RTBUS_OK) {
        ngx_http_rtbus_carrier_close(&ws->carrier, RTBUS_WS_PROTOCOL_ERROR,
                                     "malformed Engine.IO packet");
        return NGX_ERROR;
    }

    return ngx_http_rtbus_eio_packet(eio, &packet);
}


static void
ngx_http_rtbus_eio_ws_timer(ngx_http_rtbus_ws_t *ws)
{
    ngx_http_rtbus_eio_timer(ws->carrier.data);
}


ngx_int_t
ngx_http_rtbus_eio_packet(ngx_http_rtbus_eio_t *eio,
    rtbus_eio_packet_t *packet)
{
    ngx_str_t                  raw, data;
    ngx_http_rtbus_carrier_t  *car;

    car = eio->carrier;

    switch (packet->type) {

    case RTBUS_EIO_PONG:

        if (eio->pinged) {
            eio->pinged = 0;
            car->transport->timer(car, car->conf->ping_interval);
        }

        return NGX_OK;

    case RTBUS_EIO_MESSAGE:
        return eio->handlers->message(eio, packet->data.data,
                                      packet->data.len, 0);

    case RTBUS_EIO_BINARY:

        /* a client that may not send binary frames, or has no frames */

        raw.len = packet->data.len;
        raw.data = packet->data.data;
        data.data = packet->data.data - 1;

        if (ngx_decode_base64(&data, &raw) == NGX_OK) {
            return eio->handlers->message(eio, data.data, data.len, 1);
        }

        ngx_http_rtbus_carrier_close(car, RTBUS_WS_PROTOCOL_ERROR,
                                     "binary message is not base64");
        return NGX_ERROR;

    case RTBUS_EIO_CLOSE:
        ngx_http_rtbus_carrier_close(car, RTBUS_WS_NORMAL,
                                     NGX_HTTP_RTBUS_BY_CLIENT);
        return NGX_ERROR;

    case RTBUS_EIO_NOOP:
        return NGX_OK;

    default:
        ngx_http_rtbus_carrier_close(car, RTBUS_WS_PROTOCOL_ERROR,
                                     "unexpected Engine.IO packet");
        return NGX_ERROR;
    }
}


void
ngx_http_rtbus_eio_timer(ngx_http_rtbus_eio_t *eio)
{
    u_char                     ping;
    ngx_http_rtbus_carrier_t  *car;

    car = eio->carrier;

    if (eio->pinged) {

        if (ngx_http_rtbus_carrier_takes(car)) {
            car->transport->timer(car, car->conf->ping_timeout);
            return;
        }

        ngx_http_rtbus_carrier_close(car, RTBUS_WS_INTERNAL, "ping timeout");
        return;
    }

    eio->handlers->tick(eio);

    if (car->closing) {
        return;
    }

    ping = RTBUS_EIO_PING;

    if (ngx_http_rtbus_eio_send(eio, &ping, 1) != NGX_OK) {
        ngx_http_rtbus_carrier_close(car, RTBUS_WS_INTERNAL, "no memory");
        return;
    }

    eio->pinged = 1;
    ngx_http_rtbus_carrier_watch(car);
    car->transport->timer(car, car->conf->ping_timeout);
}


/* queues a packet of the session itself: NGX_OK or NGX_ERROR */

static ngx_int_t
ngx_http_rtbus_eio_send(ngx_http_rtbus_eio_t *eio, u_char *p, size_t len)
{
    size_t              header;
    ngx_rtbus_frame_t  *frame;

    header = ngx_http_rtbus_eio_header(NULL, len);

    frame = ngx_rtbus_frame_create(header + len);
    if (frame == NULL) {
        return NGX_ERROR;
    }

    ngx_http_rtbus_eio_header(frame->data, len);
    ngx_memcpy(frame->data + header, p, len);
    frame->payload = header;

    ngx_http_rtbus_carrier_send(eio->carrier, frame);
    ngx_rtbus_frame_unref(frame);

    return NGX_OK;
}


ngx_rtbus_frame_t *
ngx_http_rtbus_eio_frame(size_t len)
{
    size_t              header;
    ngx_rtbus_frame_t  *frame;

    header = ngx_http_rtbus_eio_header(NULL, len + 1);

    frame = ngx_rtbus_frame_create(header + len + 1);

    if (frame) {
        ngx_http_rtbus_eio_header(frame->data, len + 1);
        frame->data[header] = RTBUS_EIO_MESSAGE;
        frame->payload = header;
    }

    return frame;
}


size_t
ngx_http_rtbus_eio_header(u_char *dst, size_t len)
{
    if (dst) {
        (void) rtbus_ws_write_header(dst, RTBUS_WS_TEXT, len);
    }

    return rtbus_ws_header_len(len);
}


ngx_int_t
ngx_http_rtbus_eio_random(u_char *dst, ngx_log_t *log)
{
    ngx_str_t  raw, text;
    u_char     buf[NGX_HTTP_RTBUS_SID_LEN / 4 * 3];

    if (ngx_http_rtbus_crypto_random(buf, sizeof(buf), log) != NGX_OK) {
        return NGX_ERROR;
    }

    raw.data = buf;
    raw.len = sizeof(buf);
    text.data = dst;

    ngx_encode_base64url(&text, &raw);

    return NGX_OK;
}
