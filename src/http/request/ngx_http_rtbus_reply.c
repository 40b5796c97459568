
#include <nginx.h>
#include "ngx_http_rtbus_reply.h"


#define NGX_HTTP_RTBUS_UPGRADE_REQUIRED  426

/* error replies of Redis are logged at ERR that often, in seconds */
#define NGX_HTTP_RTBUS_COMPLAIN  60


typedef struct {
    ngx_http_request_t       *request;
    ngx_rtbus_redis_call_t   *call;       /* NULL: the reply was there */
    ngx_http_rtbus_call_pt    handler;
    void                     *data;
} ngx_http_rtbus_call_t;


static ngx_int_t ngx_http_rtbus_link_header(ngx_http_request_t *r,
    ngx_table_elt_t *h);
static ngx_int_t ngx_http_rtbus_send(ngx_http_request_t *r, ngx_uint_t status,
    ngx_str_t *type, ngx_str_t *body, ngx_str_t *cache);
static void ngx_http_rtbus_call_handler(void *data, redisReply *reply);
static void ngx_http_rtbus_call_cleanup(void *data);


static ngx_str_t  ngx_http_rtbus_json_type = ngx_string("application/json");
static ngx_str_t  ngx_http_rtbus_no_store = ngx_string("no-store");
static ngx_str_t  ngx_http_rtbus_no_cache = ngx_string("no-cache");
static ngx_str_t  ngx_http_rtbus_retry_after = ngx_string("1");


/* of this worker: when an error reply was last logged at ERR */

static time_t  ngx_http_rtbus_complained;


ngx_int_t
ngx_http_rtbus_reply(ngx_http_request_t *r, ngx_uint_t status, ngx_str_t *json)
{
    /* the command has run, so a precondition comes too late */

    r->disable_not_modified = 1;

    return ngx_http_rtbus_send(r, status, &ngx_http_rtbus_json_type, json,
                               &ngx_http_rtbus_no_store);
}


ngx_int_t
ngx_http_rtbus_reply_text(ngx_http_request_t *r, ngx_str_t *type,
    ngx_str_t *text)
{
    r->disable_not_modified = 1;

    return ngx_http_rtbus_send(r, NGX_HTTP_OK, type, text,
                               &ngx_http_rtbus_no_store);
}


ngx_int_t
ngx_http_rtbus_reply_etag(ngx_http_request_t *r, ngx_str_t *json,
    ngx_str_t *etag)
{
    if (ngx_http_rtbus_header(r, "ETag", etag) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_rtbus_send(r, NGX_HTTP_OK, &ngx_http_rtbus_json_type, json,
                               &ngx_http_rtbus_no_cache);
}


ngx_int_t
ngx_http_rtbus_stream_header(ngx_http_request_t *r, ngx_str_t *type)
{
    ngx_str_t                  value;
    ngx_connection_t          *c;
    ngx_http_core_loc_conf_t  *clcf;

    c = r->connection;
    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_length_n = -1;

    r->headers_out.content_type = *type;
    r->headers_out.content_type_len = type->len;
    r->headers_out.content_type_lowcase = NULL;

    if (ngx_http_rtbus_header(r, "Cache-Control", &ngx_http_rtbus_no_store)
        != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    /* an nginx that proxies us shall pass each event on as it comes */

    ngx_str_set(&value, "no");

    if (ngx_http_rtbus_header(r, "X-Accel-Buffering", &value) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

#if (NGX_HTTP_GZIP)
    /* "gzip on" with a matching type would hold events back */

    r->gzip_tested = 1;
    r->gzip_ok = 0;
#endif

    if (
#if (NGX_HTTP_V2)
        r->stream == NULL &&
#endif
        clcf->tcp_nodelay && ngx_tcp_nodelay(c) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    /* a stream is no document that the client might have */

    r->disable_not_modified = 1;

    return ngx_http_send_header(r);
}


ngx_int_t
ngx_http_rtbus_error(ngx_http_request_t *r, ngx_uint_t status,
    ngx_uint_t error, const char *name, ngx_str_t *value)
{
    ngx_http_rtbus_refused(r, status, error);

    return ngx_http_rtbus_error_text(r, status, ngx_rtbus_reason_text(error),
                                     name, value);
}


ngx_int_t
ngx_http_rtbus_error_text(ngx_http_request_t *r, ngx_uint_t status,
    const char *error, const char *name, ngx_str_t *value)
{
    u_char     *p;
    size_t      len;
    ngx_str_t   json;

    len = sizeof("{\"error\":}") - 1
          + rtbus_json_quote(NULL, (u_char *) error, ngx_strlen(error));

    if (name) {
        len += sizeof(",\"\":") - 1 + ngx_strlen(name)
               + rtbus_json_quote(NULL, value->data, value->len);
    }

    p = ngx_pnalloc(r->pool, len);
    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    json.data = p;
    json.len = len;

    p = ngx_cpymem(p, "{\"error\":", sizeof("{\"error\":") - 1);
    p += rtbus_json_quote(p, (u_char *) error, ngx_strlen(error));

    if (name) {
        p = ngx_sprintf(p, ",\"%s\":", name);
        p += rtbus_json_quote(p, value->data, value->len);
    }

    *p = '}';

    if (status == NGX_HTTP_SERVICE_UNAVAILABLE
        && ngx_http_rtbus_header(r, "Retry-After", &ngx_http_rtbus_retry_after)
           != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_rtbus_reply(r, status, &json);
}


void
ngx_http_rtbus_refused(ngx_http_request_t *r, ngx_uint_t status,
    ngx_uint_t error)
{
    ngx_http_rtbus_loc_conf_t  *rlcf;

    if (status == NGX_HTTP_NOT_FOUND && error != NGX_RTBUS_REASON_EVENT) {
        /* a missing job or channel is not a refusal */
        return;
    }

    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                  "rtbus: client is refused, status:%ui, %s", status,
                  ngx_rtbus_reason_text(error));

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    if (rlcf->bus->worker == NULL) {
        return;
    }

    ngx_rtbus_reason_refused(rlcf->bus->worker->hub.stat, error);
}


ngx_int_t
ngx_http_rtbus_not_allowed(ngx_http_request_t *r, const char *methods)
{
    ngx_str_t  value;

    value.data = (u_char *) methods;
    value.len = ngx_strlen(methods);

    if (ngx_http_rtbus_header(r, "Allow", &value) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_rtbus_error(r, NGX_HTTP_NOT_ALLOWED,
                                NGX_RTBUS_REASON_METHOD, NULL, NULL);
}


ngx_int_t
ngx_http_rtbus_unavailable(ngx_http_request_t *r, redisReply *reply)
{
    ngx_str_t                   text;
    ngx_uint_t                  level;
    ngx_http_rtbus_loc_conf_t  *rlcf;

    if (reply == NULL) {

        /* the connection to Redis has logged why */

        ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                      "rtbus: call to Redis failed");

    } else {
        if (reply->type != REDIS_REPLY_ERROR) {
            ngx_str_set(&text, "unexpected reply");

        } else if (ngx_rtbus_library_missing(reply)) {
            ngx_str_set(&text, "function library rtbus is not loaded");

            rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);
            ngx_rtbus_hub_library_lost(&rlcf->bus->worker->hub);

        } else {
            text.data = (u_char *) reply->str;
            text.len = reply->len;
        }

        level = ngx_http_rtbus_complaint(&ngx_http_rtbus_complained);

        ngx_log_error(level, r->connection->log, 0,
                      "rtbus: call to Redis failed: \"%V\"", &text);
    }

    return ngx_http_rtbus_error(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                                NGX_RTBUS_REASON_UNAVAILABLE, NULL, NULL);
}


ngx_uint_t
ngx_http_rtbus_complaint(time_t *last)
{
    if (ngx_time() - *last < NGX_HTTP_RTBUS_COMPLAIN) {
        return NGX_LOG_INFO;
    }

    *last = ngx_time();

    return NGX_LOG_ERR;
}


ngx_int_t
ngx_http_rtbus_header(ngx_http_request_t *r, const char *name,
    ngx_str_t *value)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    h->hash = 1;
    h->key.data = (u_char *) name;
    h->key.len = ngx_strlen(name);
    h->value = *value;

#if (nginx_version >= 1023000)
    h->next = NULL;
#endif

    if (ngx_http_rtbus_link_header(r, h) != NGX_OK) {
        h->hash = 0;
        return NGX_ERROR;
    }

    return NGX_OK;
}


/*
 * Some headers have a member of their own, where "expires", variables, and
 * modules that change or clear headers look for them.
 */

static ngx_int_t
ngx_http_rtbus_link_header(ngx_http_request_t *r, ngx_table_elt_t *h)
{
#if (nginx_version < 1023000)
    ngx_uint_t         i;
    ngx_array_t       *headers;
    ngx_table_elt_t  **other;
#else
    ngx_table_elt_t   *other;
#endif

    if (ngx_strcmp(h->key.data, "ETag") == 0) {
        r->headers_out.etag = h;
        return NGX_OK;
    }

    if (ngx_strcmp(h->key.data, "WWW-Authenticate") == 0) {
        r->headers_out.www_authenticate = h;
        return NGX_OK;
    }

    if (ngx_strcmp(h->key.data, "Cache-Control") != 0) {
        return NGX_OK;
    }

    /* our header replaces those of an earlier handler */

#if (nginx_version < 1023000)

    headers = &r->headers_out.cache_control;

    if (headers->elts == NULL
        && ngx_array_init(headers, r->pool, 1, sizeof(ngx_table_elt_t *))
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    other = headers->elts;

    for (i = 0; i < headers->nelts; i++) {
        other[i]->hash = 0;
    }

    headers->nelts = 0;

    other = ngx_array_push(headers);
    if (other == NULL) {
        return NGX_ERROR;
    }

    *other = h;

#else

    for (other = r->headers_out.cache_control; other; other = other->next) {
        other->hash = 0;
    }

    r->headers_out.cache_control = h;

#endif

    return NGX_OK;
}


static ngx_int_t
ngx_http_rtbus_send(ngx_http_request_t *r, ngx_uint_t status, ngx_str_t *type,
    ngx_str_t *body, ngx_str_t *cache)
{
    ngx_int_t     rc;
    ngx_buf_t    *b;
    ngx_chain_t   out;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus reply, status:%ui size:%uz", status, body->len);

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    if (ngx_http_rtbus_header(r, "Cache-Control", cache) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->connection->log->action = "sending to client";

    r->headers_out.status = status;
    r->headers_out.content_length_n = body->len;

    if (status == NGX_HTTP_RTBUS_UPGRADE_REQUIRED) {
        ngx_str_set(&r->headers_out.status_line, "426 Upgrade Required");
    }

    r->headers_out.content_type = *type;
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    b->pos = body->data;
    b->last = body->data + body->len;
    b->memory = 1;
    b->last_buf = (r == r->main);
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}


ngx_int_t
ngx_http_rtbus_call(ngx_http_request_t *r, int argc, const char **argv,
    const size_t *argvlen, ngx_http_rtbus_call_pt handler, void *data)
{
    ngx_http_cleanup_t         *cln;
    ngx_http_rtbus_call_t      *call;
    ngx_http_rtbus_loc_conf_t  *rlcf;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus call \"%*s\" for \"%V\"", argvlen[0], argv[0],
                   &r->uri);

    if (rlcf->bus->worker == NULL) {
        return ngx_http_rtbus_unavailable(r, NULL);
    }

    cln = ngx_http_cleanup_add(r, sizeof(ngx_http_rtbus_call_t));
    if (cln == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    call = cln->data;

    call->request = r;
    call->handler = handler;
    call->data = data;

    call->call = ngx_rtbus_redis_call(&rlcf->bus->worker->hub.shards, argc,
                                      argv, argvlen,
                                      ngx_http_rtbus_call_handler, call);
    if (call->call == NULL) {
        return ngx_http_rtbus_unavailable(r, NULL);
    }

    cln->handler = ngx_http_rtbus_call_cleanup;

    return (ngx_http_rtbus_wait(r) == NGX_OK) ? NGX_DONE
                                              : NGX_HTTP_INTERNAL_SERVER_ERROR;
}


ngx_int_t
ngx_http_rtbus_wait(ngx_http_request_t *r)
{
    ngx_event_t       *rev;
    ngx_connection_t  *c;

    c = r->connection;

    if (!r->discard_body) {

        /* notice if the client closes the connection */

        rev = c->read;

        if (rev->ready) {
            ngx_post_event(rev, &ngx_posted_events);

        } else if (ngx_handle_read_event(rev, 0) != NGX_OK) {
            return NGX_ERROR;
        }

        r->read_event_handler = ngx_http_test_reading;
    }

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "rtbus wait, discards body:%d", (int) r->discard_body);

    c->log->action = "waiting for redis";

    r->main->count++;

    return NGX_OK;
}


static void
ngx_http_rtbus_call_handler(void *data, redisReply *reply)
{
    ngx_int_t               rc;
    ngx_connection_t       *c;
    ngx_http_request_t     *r;
    ngx_http_rtbus_call_t  *call;

    call = data;
    call->call = NULL;

    r = call->request;
    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "rtbus call for \"%V\" done, reply:%d",
                   &r->uri, reply ? reply->type : 0);

    rc = call->handler(r, call->data, reply);

    ngx_http_finalize_request(r, rc);

    ngx_http_run_posted_requests(c);
}


static void
ngx_http_rtbus_call_cleanup(void *data)
{
    ngx_http_rtbus_call_t  *call;

    call = data;

    if (call->call) {
        ngx_rtbus_redis_cmd_cancel(call->call);
        call->call = NULL;
    }
}
