
#include "ngx_http_rtbus_eio_request.h"
#include "ngx_http_rtbus_body.h"
#include "ngx_http_rtbus_cors.h"
#include "ngx_http_rtbus_remote.h"
#include "ngx_http_rtbus_reply.h"
#include "ngx_http_rtbus_upgrade.h"


/* a request that waits for the mailbox; memory of it */

typedef struct {
    ngx_rtbus_mailbox_wait_t              wait;
    ngx_http_request_t                   *request;  /* NULL: it goes on */
    ngx_http_cleanup_t                   *cleanup;
    const ngx_http_rtbus_eio_handlers_t  *handlers;
} ngx_http_rtbus_eio_request_wait_t;


static ngx_int_t ngx_http_rtbus_eio_request_wait(ngx_http_request_t *r,
    const ngx_http_rtbus_eio_handlers_t *handlers);
static void ngx_http_rtbus_eio_request_waited(void *data);
static void ngx_http_rtbus_eio_request_cancel(void *data);
static ngx_int_t ngx_http_rtbus_eio_request_serve(ngx_http_request_t *r,
    const ngx_http_rtbus_eio_handlers_t *handlers);
static ngx_int_t ngx_http_rtbus_eio_request_websocket(ngx_http_request_t *r,
    const ngx_http_rtbus_eio_handlers_t *handlers);
static ngx_int_t ngx_http_rtbus_eio_request_polling(ngx_http_request_t *r,
    const ngx_http_rtbus_eio_handlers_t *handlers);
static ngx_int_t ngx_http_rtbus_eio_request_get(ngx_http_request_t *r,
    ngx_http_rtbus_session_t *s);
static ngx_int_t ngx_http_rtbus_eio_request_post(ngx_http_request_t *r,
    ngx_http_rtbus_session_t *s);
static void ngx_http_rtbus_eio_request_body(ngx_http_request_t *r,
    ngx_str_t *body);
static ngx_http_rtbus_eio_error_e ngx_http_rtbus_eio_request_take(
    ngx_http_request_t *r, ngx_str_t *sid, ngx_str_t *body);
static ngx_uint_t ngx_http_rtbus_eio_request_arg(ngx_http_request_t *r,
    const char *name, const char *value);


ngx_int_t
ngx_http_rtbus_eio_request(ngx_http_request_t *r,
    const ngx_http_rtbus_eio_handlers_t *handlers)
{
    ngx_int_t   rc;
    ngx_uint_t  polling;

    polling = ngx_http_rtbus_eio_request_arg(r, "transport", "polling");

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus eio request method:%ui polling:%ui",
                   r->method, polling);

    if (polling) {

        /* pages of other origins have to see the refusals below, too */

        rc = ngx_http_rtbus_admit(r, (ngx_uint_t) -1, "GET, POST");

        if (rc != NGX_OK || r->header_sent) {
            return rc;
        }

    } else if (r->method != NGX_HTTP_GET) {
        return ngx_http_rtbus_not_allowed(r, "GET");
    }

    if (!ngx_http_rtbus_eio_request_arg(r, "EIO", "4")) {
        return ngx_http_rtbus_poll_reply(r, NGX_HTTP_RTBUS_EIO_VERSION, NULL);
    }

    if (!polling
        && !ngx_http_rtbus_eio_request_arg(r, "transport", "websocket"))
    {
        return ngx_http_rtbus_poll_reply(r, NGX_HTTP_RTBUS_EIO_TRANSPORT,
                                         NULL);
    }

    rc = ngx_http_rtbus_eio_request_wait(r, handlers);

    if (rc != NGX_OK) {
        return rc;
    }

    return ngx_http_rtbus_eio_request_serve(r, handlers);
}


/*
 * A request that opens a session, or is for a session of another worker, may
 * come before the workers can reach each other: the next request, or the
 * answer, would get lost.  NGX_OK, or what the content handler has to return:
 * the request waits.
 */

static ngx_int_t
ngx_http_rtbus_eio_request_wait(ngx_http_request_t *r,
    const ngx_http_rtbus_eio_handlers_t *handlers)
{
    ngx_str_t                           sid;
    ngx_http_cleanup_t                 *cln;
    ngx_http_rtbus_worker_t            *worker;
    ngx_http_rtbus_loc_conf_t          *rlcf;
    ngx_http_rtbus_eio_request_wait_t  *w;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);
    worker = rlcf->bus->worker;

    if (ngx_http_arg(r, (u_char *) "sid", 3, &sid) == NGX_OK) {

        if (sid.len != NGX_HTTP_RTBUS_SESSION_ID
            || ngx_http_rtbus_session_ours(worker, &sid))
        {
            return NGX_OK;
        }

    } else if (ngx_http_rtbus_eio_request_arg(r, "transport", "websocket")) {
        return NGX_OK;
    }

    if (ngx_rtbus_mailbox_state(&worker->hub.mailbox) != NGX_AGAIN) {
        return NGX_OK;
    }

    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus eio request waits for the mailbox");

    cln = ngx_http_cleanup_add(r, sizeof(ngx_http_rtbus_eio_request_wait_t));
    if (cln == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    w = cln->data;
    ngx_memzero(w, sizeof(ngx_http_rtbus_eio_request_wait_t));

    cln->handler = ngx_http_rtbus_eio_request_cancel;

    w->request = r;
    w->cleanup = cln;
    w->handlers = handlers;

    w->wait.handler = ngx_http_rtbus_eio_request_waited;
    w->wait.data = w;

    ngx_rtbus_mailbox_wait(&worker->hub.mailbox, &w->wait);

    r->connection->log->action = "waiting for Redis";

    r->main->count++;

    return NGX_DONE;
}


static void
ngx_http_rtbus_eio_request_waited(void *data)
{
    ngx_http_rtbus_eio_request_wait_t *w = data;

    ngx_int_t            rc;
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = w->request;
    w->request = NULL;
    w->cleanup->handler = NULL;

    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "rtbus eio request goes on: \"%V\"", &r->uri);

    rc = ngx_http_rtbus_eio_request_serve(r, w->handlers);

    ngx_http_finalize_request(r, rc);

    ngx_http_run_posted_requests(c);
}


static void
ngx_http_rtbus_eio_request_cancel(void *data)
{
    ngx_http_rtbus_eio_request_wait_t *w = data;

    if (w->request) {
        ngx_rtbus_mailbox_cancel(&w->wait);
    }
}


static ngx_int_t
ngx_http_rtbus_eio_request_serve(ngx_http_request_t *r,
    const ngx_http_rtbus_eio_handlers_t *handlers)
{
    if (ngx_http_rtbus_eio_request_arg(r, "transport", "polling")) {
        return ngx_http_rtbus_eio_request_polling(r, handlers);
    }

    return ngx_http_rtbus_eio_request_websocket(r, handlers);
}


static ngx_int_t
ngx_http_rtbus_eio_request_websocket(ngx_http_request_t *r,
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
        ngx_http_rtbus_carrier_nomem(&ws->carrier);
    }

    return NGX_DONE;
}


static ngx_int_t
ngx_http_rtbus_eio_request_polling(ngx_http_request_t *r,
    const ngx_http_rtbus_eio_handlers_t *handlers)
{
    ngx_int_t                    rc;
    ngx_str_t                    sid;
    ngx_http_rtbus_session_t    *s;
    ngx_http_rtbus_loc_conf_t   *rlcf;
    ngx_http_rtbus_eio_error_e   error;

    if (ngx_http_arg(r, (u_char *) "sid", 3, &sid) != NGX_OK) {

        if (r->method != NGX_HTTP_GET) {
            return ngx_http_rtbus_poll_reply(r, NGX_HTTP_RTBUS_EIO_METHOD,
                                             NULL);
        }

        return ngx_http_rtbus_session_create(r, handlers);
    }

    if (r->method != NGX_HTTP_GET && r->method != NGX_HTTP_POST) {
        return ngx_http_rtbus_not_allowed(r, "GET, POST");
    }

    if (sid.len != NGX_HTTP_RTBUS_SESSION_ID) {
        return ngx_http_rtbus_poll_reply(r, NGX_HTTP_RTBUS_EIO_SID, NULL);
    }

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);
    rlcf->bus->worker->sessions->handlers = handlers;

    if (ngx_http_rtbus_session_ours(rlcf->bus->worker, &sid)) {

        error = ngx_http_rtbus_session_lookup(r, &sid, &s);

        ngx_log_debug2(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                       "rtbus eio session is ours: \"%V\" error:%d",
                       &sid, error);

        if (error != NGX_HTTP_RTBUS_EIO_OK) {
            return ngx_http_rtbus_poll_reply(r, error, NULL);
        }

        if (r->method == NGX_HTTP_POST) {
            return ngx_http_rtbus_eio_request_post(r, s);
        }

        return ngx_http_rtbus_eio_request_get(r, s);
    }

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus eio session of another worker: \"%V\"", &sid);

    if (r->method == NGX_HTTP_POST) {
        return ngx_http_rtbus_read_body(r, rlcf->max_message,
                                        ngx_http_rtbus_eio_request_body);
    }

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    error = ngx_http_rtbus_remote_request(r, &sid, NULL);

    if (error != NGX_HTTP_RTBUS_EIO_OK) {
        return ngx_http_rtbus_poll_reply(r, error, NULL);
    }

    r->main->count++;

    return NGX_DONE;
}


static ngx_int_t
ngx_http_rtbus_eio_request_get(ngx_http_request_t *r,
    ngx_http_rtbus_session_t *s)
{
    ngx_int_t                    rc;
    ngx_http_rtbus_poll_call_t  *call;

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    s->used = 1;

    call = ngx_http_rtbus_poll_create(r);
    if (call == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_http_rtbus_remote_doubt(s, NULL);
    ngx_http_rtbus_session_polled(s);

    if (ngx_http_rtbus_poll_get(&s->poll, call) != NGX_OK) {
        return ngx_http_rtbus_poll_reply(r, NGX_HTTP_RTBUS_EIO_REQUEST, NULL);
    }

    ngx_http_rtbus_session_hurry(s);

    r->main->count++;

    return ngx_http_rtbus_poll_wait(call);
}


static ngx_int_t
ngx_http_rtbus_eio_request_post(ngx_http_request_t *r,
    ngx_http_rtbus_session_t *s)
{
    ngx_http_rtbus_poll_call_t  *call;

    s->used = 1;

    call = ngx_http_rtbus_poll_create(r);
    if (call == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    switch (ngx_http_rtbus_poll_post(&s->poll, call)) {

    case NGX_OK:
        break;

    case NGX_DECLINED:
        return ngx_http_rtbus_poll_reply(r, NGX_HTTP_RTBUS_EIO_SID, NULL);

    default: /* NGX_BUSY */
        return ngx_http_rtbus_poll_reply(r, NGX_HTTP_RTBUS_EIO_REQUEST, NULL);
    }

    return ngx_http_rtbus_read_body(r, s->poll.carrier.conf->max_message,
                                    ngx_http_rtbus_eio_request_body);
}


static void
ngx_http_rtbus_eio_request_body(ngx_http_request_t *r, ngx_str_t *body)
{
    ngx_str_t                    sid;
    ngx_http_rtbus_loc_conf_t   *rlcf;
    ngx_http_rtbus_eio_error_e   error;

    (void) ngx_http_arg(r, (u_char *) "sid", 3, &sid);

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    if (ngx_http_rtbus_session_ours(rlcf->bus->worker, &sid)) {
        error = ngx_http_rtbus_eio_request_take(r, &sid, body);

    } else {
        error = ngx_http_rtbus_remote_request(r, &sid, body);
    }

    if (error != NGX_HTTP_RTBUS_EIO_OK) {
        ngx_http_finalize_request(r, ngx_http_rtbus_poll_reply(r, error,
                                                               NULL));
    }
}


static ngx_http_rtbus_eio_error_e
ngx_http_rtbus_eio_request_take(ngx_http_request_t *r, ngx_str_t *sid,
    ngx_str_t *body)
{
    ngx_http_rtbus_session_t   *s;
    ngx_http_rtbus_loc_conf_t  *rlcf;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    s = ngx_http_rtbus_session_find(rlcf->bus->worker, sid);

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus eio body:%uz session:%d post:%d",
                   body->len, s != NULL, s && s->poll.post);

    if (s == NULL || s->poll.post == NULL || s->poll.post->request != r) {
        /* it has ended meanwhile */
        return NGX_HTTP_RTBUS_EIO_SID;
    }

    ngx_http_rtbus_poll_body(&s->poll, body);

    return NGX_HTTP_RTBUS_EIO_OK;
}


static ngx_uint_t
ngx_http_rtbus_eio_request_arg(ngx_http_request_t *r, const char *name,
    const char *value)
{
    ngx_str_t  arg;

    return ngx_http_arg(r, (u_char *) name, ngx_strlen(name), &arg) == NGX_OK
           && arg.len == ngx_strlen(value)
           && ngx_strncmp(arg.data, value, arg.len) == 0;
}
