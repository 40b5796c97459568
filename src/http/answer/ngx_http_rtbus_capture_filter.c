
#include "ngx_http_rtbus_capture_client.h"


#define NGX_HTTP_RTBUS_CAPTURE_HOLD  1000   /* ms that the end waits */
#define NGX_HTTP_RTBUS_CAPTURE_BUF   4096   /* bytes, the least */


static ngx_int_t ngx_http_rtbus_capture_header_filter(ngx_http_request_t *r);
static const char *ngx_http_rtbus_capture_unfit(ngx_http_request_t *r,
    ngx_uint_t *lines);
static void ngx_http_rtbus_capture_forgo(ngx_http_request_t *r,
    ngx_http_rtbus_capture_t *ctx, const char *reason);
static ngx_int_t ngx_http_rtbus_capture_begin(ngx_http_request_t *r,
    ngx_http_rtbus_capture_t *ctx, ngx_uint_t lines);
static ngx_int_t ngx_http_rtbus_capture_body_filter(ngx_http_request_t *r,
    ngx_chain_t *in);
static ngx_int_t ngx_http_rtbus_capture_send(ngx_http_request_t *r,
    ngx_http_rtbus_capture_t *ctx, ngx_chain_t *out);
static ngx_int_t ngx_http_rtbus_capture_copy(ngx_http_rtbus_capture_t *ctx,
    ngx_chain_t ***ll, const u_char *p, size_t len);
static ngx_int_t ngx_http_rtbus_capture_number(ngx_http_rtbus_capture_t *ctx,
    ngx_chain_t ***ll, u_char *p, u_char *last);
static ngx_int_t ngx_http_rtbus_capture_tail(ngx_http_rtbus_capture_t *ctx,
    ngx_chain_t ***ll);
static void ngx_http_rtbus_capture_ping(ngx_event_t *ev);
static ngx_int_t ngx_http_rtbus_capture_init(ngx_conf_t *cf);


static ngx_http_module_t  ngx_http_rtbus_capture_filter_ctx = {
    NULL,                                  /* preconfiguration */
    ngx_http_rtbus_capture_init,           /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    NULL,                                  /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_rtbus_capture_filter_module = {
    NGX_MODULE_V1,
    &ngx_http_rtbus_capture_filter_ctx,    /* module context */
    NULL,                                  /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static ngx_http_output_header_filter_pt  ngx_http_next_header_filter;
static ngx_http_output_body_filter_pt    ngx_http_next_body_filter;


static ngx_int_t
ngx_http_rtbus_capture_header_filter(ngx_http_request_t *r)
{
    ngx_uint_t                 lines;
    const char                *reason;
    ngx_http_rtbus_capture_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_rtbus_capture_filter_module);

    if (ctx == NULL || ctx->state != NGX_HTTP_RTBUS_CAPTURE_WAIT
        || r != r->main)
    {
        return ngx_http_next_header_filter(r);
    }

    reason = ngx_http_rtbus_capture_unfit(r, &lines);

    if (reason == NULL) {
        return ngx_http_rtbus_capture_begin(r, ctx, lines);
    }

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus capture forgoes it: %s", reason);

    ngx_http_rtbus_capture_forgo(r, ctx, reason);

    return ngx_http_next_header_filter(r);
}


/* NULL, or why an answer is none to be captured */

static const char *
ngx_http_rtbus_capture_unfit(ngx_http_request_t *r, ngx_uint_t *lines)
{
    size_t      len;
    ngx_str_t  *type;

    static ngx_str_t  types[] = {
        ngx_string("text/event-stream"),
        ngx_string("application/x-ndjson")
    };

    if (r->headers_out.status != NGX_HTTP_OK) {
        return "the answer has another status than 200";
    }

    if (r->upstream == NULL || r->header_only) {
        return "the answer is not the upstream's";
    }

    if (r->headers_out.content_encoding
        && r->headers_out.content_encoding->value.len)
    {
        return "the answer is compressed";
    }

    type = &r->headers_out.content_type;

    for (*lines = 0; *lines < 2; (*lines)++) {
        len = types[*lines].len;

        if (type->len >= len
            && ngx_strncasecmp(type->data, types[*lines].data, len) == 0
            && (type->len == len || type->data[len] == ';'
                || type->data[len] == ' '))
        {
            return NULL;
        }
    }

    return "the answer is no stream of events";
}


/* the answer is passed on as without us */

static void
ngx_http_rtbus_capture_forgo(ngx_http_request_t *r,
    ngx_http_rtbus_capture_t *ctx, const char *reason)
{
    ngx_http_rtbus_capture_set_state(ctx, NGX_HTTP_RTBUS_CAPTURE_PASS);
    ctx->status = RTBUS_JOB_FAILED;

    (void) ngx_rtbus_job_flush(ctx->job, RTBUS_JOB_FAILED, NULL, reason);
    ngx_rtbus_job_leave(ctx->job);
    ctx->job = NULL;

    if (r->read_event_handler == ngx_http_rtbus_capture_read) {
        r->read_event_handler = ctx->read;
    }

    if (r->write_event_handler == ngx_http_rtbus_capture_write) {
        r->write_event_handler = ctx->write;
    }

    if (ctx->gone) {
        r->connection->error = 1;
    }
}


static ngx_int_t
ngx_http_rtbus_capture_begin(ngx_http_request_t *r,
    ngx_http_rtbus_capture_t *ctx, ngx_uint_t lines)
{
    ngx_int_t         rc;
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    ngx_http_rtbus_capture_set_state(ctx, NGX_HTTP_RTBUS_CAPTURE_READ);
    ctx->llm.format = ctx->conf->format;

    if (ctx->llm.format == RTBUS_LLM_AUTO && !lines) {

        part = &r->headers_out.headers.part;
        h = part->elts;

        for (i = 0; /* void */ ; i++) {

            if (i >= part->nelts) {
                if (part->next == NULL) {
                    break;
                }

                part = part->next;
                h = part->elts;
                i = 0;
            }

            if (h[i].hash
                && h[i].key.len == sizeof("x-vercel-ai-ui-message-stream") - 1
                && ngx_strncasecmp(h[i].key.data,
                                   (u_char *) "x-vercel-ai-ui-message-stream",
                                   h[i].key.len)
                   == 0)
            {
                ctx->llm.format = RTBUS_LLM_UI;
                break;
            }
        }
    }

    rtbus_stream_init(&ctx->stream, lines, ctx->rlcf->max_event);

    if (ngx_rtbus_job_begin(ctx->job, &r->headers_out.content_type,
                            ctx->llm.format)
        != NGX_OK
        || ngx_rtbus_job_flush(ctx->job, RTBUS_JOB_RUNNING, NULL, NULL)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    /* each piece of the answer goes out as it comes */

    r->upstream->buffering = 0;
    r->allow_ranges = 0;

    ctx->ids.seq = 1;

    if (ctx->conf->ids && !lines) {
        ngx_http_clear_content_length(r);
    }

    ctx->fixed = (r->headers_out.content_length_n != -1);

    if (ctx->gone) {
        return NGX_OK;
    }

    rc = ngx_http_next_header_filter(r);

    if (rc == NGX_ERROR) {
        ngx_http_rtbus_capture_gone(ctx, "client has left");
        return NGX_OK;
    }

    if (!lines && !ctx->fixed) {
        ctx->ping.handler = ngx_http_rtbus_capture_ping;
        ctx->ping.data = ctx;
        ctx->ping.log = r->connection->log;

        ngx_add_timer(&ctx->ping, ctx->rlcf->ping_interval);
    }

    return rc;
}


static ngx_int_t
ngx_http_rtbus_capture_body_filter(ngx_http_request_t *r, ngx_chain_t *in)
{
    ngx_int_t                  rc;
    ngx_buf_t                 *b;
    ngx_uint_t                 last, flush;
    ngx_chain_t               *cl, *out, **ll;
    ngx_http_rtbus_capture_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_rtbus_capture_filter_module);

    if (ctx == NULL || ctx->state != NGX_HTTP_RTBUS_CAPTURE_READ
        || r != r->main)
    {
        return ngx_http_next_body_filter(r, in);
    }

    if (r->upstream && r->upstream->cleanup
        && r->write_event_handler != ngx_http_rtbus_capture_write)
    {
        /* it is set anew when the header has been sent */
        ctx->write = r->write_event_handler;
        r->write_event_handler = ngx_http_rtbus_capture_write;
    }

    out = NULL;
    ll = &out;
    last = 0;
    flush = 0;

    for (cl = in; cl; cl = cl->next) {
        b = cl->buf;

        last |= b->last_buf;
        flush |= b->flush;

        if (!ngx_buf_in_memory(b) || b->pos == b->last) {
            continue;
        }

        if (!ctx->gone) {
            rc = (ctx->conf->ids && !ctx->stream.lines && !ctx->early)
                 ? ngx_http_rtbus_capture_number(ctx, &ll, b->pos, b->last)
                 : ngx_http_rtbus_capture_copy(ctx, &ll, b->pos,
                                               b->last - b->pos);
            if (rc != NGX_OK) {
                return NGX_ERROR;
            }
        }

        ngx_http_rtbus_capture_feed(ctx, b->pos, b->last);

        b->pos = b->last;
    }

    /* what comes to an end without the end of the transfer is broken off */

    if (!last && flush && r->upstream && r->upstream->cleanup == NULL
        && !ctx->last)
    {
        ctx->broken = 1;
    }

    ngx_log_debug4(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus capture body filter, events:%uL last:%ui broken:%d "
                   "gone:%d", ctx->events, last, ctx->broken, ctx->gone);

    if ((last || ctx->broken) && !ctx->last) {
        ctx->last = 1;

        ngx_http_rtbus_capture_end(ctx, last);

        if (ngx_http_rtbus_capture_tail(ctx, &ll) != NGX_OK) {
            return NGX_ERROR;
        }

        if (ctx->job && !ctx->job->away) {
            r->buffered |= NGX_HTTP_RTBUS_BUFFERED;
            ngx_add_timer(&ctx->hold, NGX_HTTP_RTBUS_CAPTURE_HOLD);
        }

    } else if (in) {
        ngx_http_rtbus_capture_flush(ctx);
    }

    if (ctx->gone) {

        if (ctx->last) {
            /* there is nobody whom the end could be kept back for */
            r->buffered &= ~NGX_HTTP_RTBUS_BUFFERED;
            r->connection->error = 1;
        }

        return NGX_OK;
    }

    last = (ctx->last && !(r->buffered & NGX_HTTP_RTBUS_BUFFERED)
            && !ctx->broken);

    if (last || (flush && out == NULL)) {

        cl = ngx_alloc_chain_link(r->pool);
        b = ngx_calloc_buf(r->pool);

        if (cl == NULL || b == NULL) {
            return NGX_ERROR;
        }

        b->last_buf = last;
        b->flush = !last;

        cl->buf = b;
        cl->next = NULL;
        *ll = cl;

        /* an end comes once */

        ctx->broken |= last;
    }

    return ngx_http_rtbus_capture_send(r, ctx, out);
}


static ngx_int_t
ngx_http_rtbus_capture_send(ngx_http_request_t *r,
    ngx_http_rtbus_capture_t *ctx, ngx_chain_t *out)
{
    ngx_int_t     rc;
    ngx_chain_t  *cl;

    for (cl = out; cl && cl->next; cl = cl->next) { /* void */ }

    if (cl) {
        cl->buf->flush = !cl->buf->last_buf;
    }

    if (out == NULL && ctx->busy == NULL && !r->connection->buffered) {
        return NGX_OK;
    }

    rc = ngx_http_next_body_filter(r, out);

    if (rc == NGX_ERROR) {
        ngx_http_rtbus_capture_gone(ctx, "client has left");

        if (ctx->last) {
            r->buffered &= ~NGX_HTTP_RTBUS_BUFFERED;
            r->connection->error = 1;
        }

        return NGX_OK;
    }

    ngx_chain_update_chains(r->pool, &ctx->free, &ctx->busy, &out,
                            (ngx_buf_tag_t)
                            &ngx_http_rtbus_capture_filter_module);

    ctx->unsent = 0;

    for (cl = ctx->busy; cl; cl = cl->next) {
        ctx->unsent += cl->buf->last - cl->buf->pos;
    }

    if (ctx->unsent > ctx->rlcf->send_buffer) {
        ngx_http_rtbus_capture_gone(ctx, "client is too slow");
    }

    return rc;
}


/* a copy for the client, in buffers of ours */

static ngx_int_t
ngx_http_rtbus_capture_copy(ngx_http_rtbus_capture_t *ctx, ngx_chain_t ***ll,
    const u_char *p, size_t len)
{
    size_t        n;
    ngx_buf_t    *b;
    ngx_pool_t   *pool;
    ngx_chain_t  *cl;

    pool = ctx->request->pool;

    while (len) {

        if (ctx->free) {
            cl = ctx->free;
            ctx->free = cl->next;
            cl->next = NULL;
            b = cl->buf;

        } else {
            cl = ngx_alloc_chain_link(pool);
            if (cl == NULL) {
                return NGX_ERROR;
            }

            b = ngx_create_temp_buf(pool, NGX_HTTP_RTBUS_CAPTURE_BUF);
            if (b == NULL) {
                return NGX_ERROR;
            }

            b->tag = (ngx_buf_tag_t) &ngx_http_rtbus_capture_filter_module;
            cl->buf = b;
            cl->next = NULL;
        }

        n = ngx_min(len, (size_t) (b->end - b->start));

        b->pos = b->start;
        b->last = ngx_cpymem(b->pos, p, n);
        b->flush = 0;

        p += n;
        len -= n;

        **ll = cl;
        *ll = &cl->next;
    }

    return NGX_OK;
}


/* the same with an id in front of the data of each event */

static ngx_int_t
ngx_http_rtbus_capture_number(ngx_http_rtbus_capture_t *ctx, ngx_chain_t ***ll,
    u_char *p, u_char *last)
{
    u_char                        *from, *to, c;
    ngx_uint_t                     end;
    ngx_http_rtbus_capture_ids_t  *ids;
    u_char                         buf[16 + RTBUS_CHANNEL_MAX
                                       + RTBUS_POSITION_MAX];

    static u_char  data[] = "data";

    ids = &ctx->ids;
    from = p;

    /* bytes of "data" wait for what follows them, since the id comes first; so
       those of an earlier piece are not copied from this one */

    for ( /* void */ ; p < last; p++) {
        c = *p;
        end = (c == '\r' || c == '\n');

        if (c == '\n' && ids->cr) {
            ids->cr = 0;
            continue;
        }

        ids->cr = (c == '\r');

        if (!ids->inside && !ids->numbered && ids->matched < 4
            && c == data[ids->matched])
        {
            ids->matched++;

            if (ids->matched == 1) {

                /* up to here; the rest waits for what it will be */

                if (ngx_http_rtbus_capture_copy(ctx, ll, from, p - from)
                    != NGX_OK)
                {
                    return NGX_ERROR;
                }
            }

            from = p + 1;
            continue;
        }

        if (ids->matched) {

            if (ids->matched == 4 && (c == ':' || end)) {
                to = ngx_sprintf(buf, "id: %V@%V-%uL\n", &ctx->claim.channel,
                                 &ctx->epoch, ids->seq);

                if (ngx_http_rtbus_capture_copy(ctx, ll, buf, to - buf)
                    != NGX_OK)
                {
                    return NGX_ERROR;
                }

                ids->numbered = 1;
            }

            if (ngx_http_rtbus_capture_copy(ctx, ll, data, ids->matched)
                != NGX_OK)
            {
                return NGX_ERROR;
            }

            ids->inside = 1;
            ids->matched = 0;
            from = p;
        }

        if (!end) {
            ids->inside = 1;
            continue;
        }

        if (!ids->inside) {

            /* an empty line: the next event */

            if (ids->numbered) {
                ids->seq++;
            }

            ids->numbered = 0;
        }

        ids->inside = 0;
    }

    return ngx_http_rtbus_capture_copy(ctx, ll, from, last - from);
}


/*
 * The client of an answer that has come to no good end is told so as replays
 * are: by an event of the format, or by no end at all.
 */

static ngx_int_t
ngx_http_rtbus_capture_tail(ngx_http_rtbus_capture_t *ctx, ngx_chain_t ***ll)
{
    size_t   len;
    u_char  *p;

    if (ctx->gone || ctx->fixed || ctx->lost
        || (ctx->status != RTBUS_JOB_CANCELLED
            && ctx->status != RTBUS_JOB_INTERRUPTED))
    {
        return NGX_OK;
    }

    if (ctx->early && !ctx->stopping) {
        return NGX_OK;
    }

    len = rtbus_llm_tail(NULL, ctx->llm.format, ctx->status);

    if (len == 0 || !rtbus_stream_between(&ctx->stream)) {
        ctx->broken = 1;
        ctx->request->keepalive = 0;
        return NGX_OK;
    }

    p = ngx_pnalloc(ctx->request->pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    rtbus_llm_tail(p, ctx->llm.format, ctx->status);

    ctx->broken = 0;

    return ngx_http_rtbus_capture_copy(ctx, ll, p, len);
}


static void
ngx_http_rtbus_capture_ping(ngx_event_t *ev)
{
    size_t                     len;
    ngx_chain_t               *out, **ll;
    ngx_connection_t          *c;
    ngx_http_request_t        *r;
    ngx_http_rtbus_capture_t  *ctx;

    ctx = ev->data;
    r = ctx->request;
    c = r->connection;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, ev->log, 0,
                   "rtbus capture heartbeat, unsent:%uz gone:%d", ctx->unsent,
                   ctx->gone);

    if (ctx->gone || ctx->last || ctx->lost) {
        return;
    }

    ngx_add_timer(ev, ctx->rlcf->ping_interval);

    if (c->sent != ctx->sent || ctx->unsent
        || !rtbus_stream_between(&ctx->stream) || ctx->ids.matched)
    {
        ctx->sent = c->sent;
        return;
    }

    out = NULL;
    ll = &out;

    len = (ctx->llm.format == RTBUS_LLM_GEMINI) ? 3 : 2;

    ngx_http_set_log_request(c->log, r);

    if (ngx_http_rtbus_capture_copy(ctx, &ll, (u_char *) ":\n\n", len)
        == NGX_OK)
    {
        (void) ngx_http_rtbus_capture_send(r, ctx, out);
    }

    ctx->sent = c->sent;

    ngx_http_run_posted_requests(c);
}


static ngx_int_t
ngx_http_rtbus_capture_init(ngx_conf_t *cf)
{
    ngx_http_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_rtbus_capture_header_filter;

    ngx_http_next_body_filter = ngx_http_top_body_filter;
    ngx_http_top_body_filter = ngx_http_rtbus_capture_body_filter;

    return NGX_OK;
}
