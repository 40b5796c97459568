
#include "ngx_http_rtbus_body.h"
#include "ngx_http_rtbus_reply.h"
#include "ngx_http_rtbus_text.h"


typedef struct {
    ngx_http_rtbus_body_pt   handler;
    ngx_str_t                body;       /* what has come so far */
    size_t                   size;       /* room for it */
    size_t                   max;
} ngx_http_rtbus_body_t;


static void ngx_http_rtbus_body_start(ngx_http_request_t *r);
static void ngx_http_rtbus_body_read(ngx_http_request_t *r);
static ngx_int_t ngx_http_rtbus_body_append(ngx_http_request_t *r,
    ngx_http_rtbus_body_t *ctx);
static ngx_int_t ngx_http_rtbus_body_reserve(ngx_http_request_t *r,
    ngx_http_rtbus_body_t *ctx, size_t n);
static void ngx_http_rtbus_body_finalize(ngx_http_request_t *r, ngx_int_t rc);
static ngx_int_t ngx_http_rtbus_body_too_large(ngx_http_request_t *r);


ngx_int_t
ngx_http_rtbus_body_type(ngx_http_request_t *r)
{
    u_char           *p, *last;
    ngx_table_elt_t  *h;

    h = r->headers_in.content_type;

    if (h == NULL) {
        return NGX_OK;
    }

    p = h->value.data;
    last = p + h->value.len;

    if (h->value.len >= sizeof("application/json") - 1
        && ngx_strncasecmp(p, (u_char *) "application/json",
                           sizeof("application/json") - 1)
           == 0)
    {
        p += sizeof("application/json") - 1;

        while (p < last && (*p == ' ' || *p == '\t')) {
            p++;
        }

        if (p == last || *p == ';') {
            return NGX_OK;
        }
    }

    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                  "rtbus: client sent body of type %V",
                  ngx_http_rtbus_text_shown(&h->value));

    return ngx_http_rtbus_error(r, NGX_HTTP_UNSUPPORTED_MEDIA_TYPE,
                                NGX_RTBUS_REASON_CONTENT_TYPE, NULL, NULL);
}


ngx_int_t
ngx_http_rtbus_read_body(ngx_http_request_t *r, size_t max,
    ngx_http_rtbus_body_pt handler)
{
    ngx_int_t               rc;
    ngx_http_rtbus_body_t  *ctx;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus body length:%O max:%uz",
                   r->headers_in.content_length_n, max);

    if (r->headers_in.content_length_n > (off_t) max) {

        /* no "100 Continue": the body would be discarded */

        r->expect_tested = 1;

        return ngx_http_rtbus_body_too_large(r);
    }

    ctx = ngx_pcalloc(r->pool, sizeof(ngx_http_rtbus_body_t));
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->handler = handler;
    ctx->max = max;

    ngx_http_set_ctx(r, ctx, ngx_http_rtbus_module);

    r->request_body_no_buffering = 1;
    r->request_body_in_file_only = 0;

    rc = ngx_http_read_client_request_body(r, ngx_http_rtbus_body_start);

    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        return rc;
    }

    return NGX_DONE;
}


static void
ngx_http_rtbus_body_start(ngx_http_request_t *r)
{
    if (r->reading_body) {
        r->read_event_handler = ngx_http_rtbus_body_read;
    }

    ngx_http_rtbus_body_read(r);
}


static void
ngx_http_rtbus_body_read(ngx_http_request_t *r)
{
    ngx_int_t               rc;
    ngx_http_rtbus_body_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_rtbus_module);

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus read body, has:%uz", ctx->body.len);

    for ( ;; ) {

        rc = ngx_http_rtbus_body_append(r, ctx);

        if (rc == NGX_DECLINED) {
            ngx_http_rtbus_body_finalize(r, ngx_http_rtbus_body_too_large(r));
            return;
        }

        if (rc != NGX_OK) {
            ngx_http_rtbus_body_finalize(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
            return;
        }

        if (!r->reading_body) {
            break;
        }

        rc = ngx_http_read_unbuffered_request_body(r);

        if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {

            if (rc == NGX_HTTP_REQUEST_TIME_OUT) {
                ngx_http_rtbus_refused(r, rc, NGX_RTBUS_REASON_TIMEOUT);
            }

            ngx_http_rtbus_body_finalize(r, rc);
            return;
        }

        /* if all its buffers are full, nginx has stopped reading: go on */

        if (rc == NGX_AGAIN && r->request_body->bufs == NULL) {
            return;
        }
    }

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus body done, size:%uz", ctx->body.len);

    r->read_event_handler = ngx_http_block_reading;

    ctx->handler(r, &ctx->body);
}


/* NGX_OK, NGX_DECLINED: too large, NGX_ERROR */

static ngx_int_t
ngx_http_rtbus_body_append(ngx_http_request_t *r, ngx_http_rtbus_body_t *ctx)
{
    off_t         size;
    ssize_t       n;
    ngx_buf_t    *b;
    ngx_chain_t  *cl, *ln;

    if (r->request_body == NULL) {
        return NGX_OK;
    }

    for (cl = r->request_body->bufs; cl; cl = cl->next) {

        b = cl->buf;
        size = ngx_buf_size(b);

        if (size == 0) {
            continue;
        }

        if (size > (off_t) (ctx->max - ctx->body.len)) {
            return NGX_DECLINED;
        }

        if (ngx_http_rtbus_body_reserve(r, ctx, (size_t) size) != NGX_OK) {
            return NGX_ERROR;
        }

        if (ngx_buf_in_memory(b)) {
            ngx_memcpy(ctx->body.data + ctx->body.len, b->pos, (size_t) size);

        } else {

            /* another module has read the body before us */

            n = ngx_read_file(b->file, ctx->body.data + ctx->body.len,
                              (size_t) size, b->file_pos);

            if (n != (ssize_t) size) {
                return NGX_ERROR;
            }
        }

        ctx->body.len += (size_t) size;
    }

    if (!r->reading_body) {
        return NGX_OK;
    }

    /* give the buffers back to the reader */

    for (cl = r->request_body->bufs; cl; cl = ln) {
        ln = cl->next;
        cl->buf->pos = cl->buf->last;
        ngx_free_chain(r->pool, cl);
    }

    r->request_body->bufs = NULL;

    return NGX_OK;
}


static ngx_int_t
ngx_http_rtbus_body_reserve(ngx_http_request_t *r, ngx_http_rtbus_body_t *ctx,
    size_t n)
{
    u_char  *p;
    size_t   size;

    size = ctx->body.len + n;

    if (size <= ctx->size) {
        return NGX_OK;
    }

    size = ngx_min(ngx_max(size, 2 * ctx->size), ctx->max);

    p = ngx_pnalloc(r->pool, size);
    if (p == NULL) {
        return NGX_ERROR;
    }

    if (ctx->size) {
        ngx_memcpy(p, ctx->body.data, ctx->body.len);
        (void) ngx_pfree(r->pool, ctx->body.data);
    }

    ctx->body.data = p;
    ctx->size = size;

    return NGX_OK;
}


static void
ngx_http_rtbus_body_finalize(ngx_http_request_t *r, ngx_int_t rc)
{
    ngx_event_t  *rev;

    rev = r->connection->read;

    if (rev->timer_set) {
        ngx_del_timer(rev);
    }

    if (r->read_event_handler == ngx_http_rtbus_body_read) {
        r->read_event_handler = ngx_http_block_reading;
    }

    ngx_http_finalize_request(r, rc);
}


static ngx_int_t
ngx_http_rtbus_body_too_large(ngx_http_request_t *r)
{
    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                  "rtbus: client sent too large body");

    r->keepalive = 0;

    return ngx_http_rtbus_error(r, NGX_HTTP_REQUEST_ENTITY_TOO_LARGE,
                                NGX_RTBUS_REASON_LARGE, NULL, NULL);
}
