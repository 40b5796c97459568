
#include "ngx_http_rtbus_capture_claim.h"
#include "ngx_http_rtbus_capture_client.h"
#include "ngx_http_rtbus_cors.h"
#include "ngx_http_rtbus_name.h"
#include "ngx_http_rtbus_origin.h"
#include "ngx_http_rtbus_replay_request.h"
#include "ngx_http_rtbus_reply.h"
#include "ngx_http_rtbus_request.h"
#include "ngx_http_rtbus_text.h"
#include "ngx_http_rtbus_user.h"


#define NGX_HTTP_RTBUS_CAPTURE_ID  512    /* bytes */

#define NGX_HTTP_RTBUS_GONE        410


static ngx_int_t ngx_http_rtbus_capture_pass(ngx_http_request_t *r);
static void ngx_http_rtbus_capture_body(ngx_http_request_t *r);
static ngx_int_t ngx_http_rtbus_capture_start(ngx_http_request_t *r);
static ngx_int_t ngx_http_rtbus_capture_cursor(ngx_http_request_t *r,
    ngx_http_rtbus_capture_t *ctx);
static void ngx_http_rtbus_capture_reply(void *data, redisReply *reply);
static ngx_int_t ngx_http_rtbus_capture_claimed(ngx_http_request_t *r,
    ngx_http_rtbus_capture_t *ctx, redisReply *reply);
static ngx_int_t ngx_http_rtbus_capture_away(ngx_http_request_t *r,
    ngx_http_rtbus_capture_t *ctx, redisReply *reply);
static ngx_int_t ngx_http_rtbus_capture_refuse(ngx_http_request_t *r,
    ngx_http_rtbus_capture_t *ctx, ngx_uint_t status, ngx_uint_t error);
static ngx_int_t ngx_http_rtbus_capture_run(ngx_http_request_t *r,
    ngx_http_rtbus_capture_t *ctx);


ngx_int_t
ngx_http_rtbus_capture_handler(ngx_http_request_t *r)
{
    ngx_int_t                   rc;
    ngx_http_rtbus_loc_conf_t  *rlcf;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    if (rlcf->replay && r == r->main
        && (r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD)))
    {
        return ngx_http_rtbus_replay_handler(r);
    }

    /*
     * A question about the location, or half of one, has no answer of its own;
     * the protocol of MCP takes the leaving of a client for a cancel, and has
     * nothing to resume.
     */

    if (r != r->main
        || (r->method & (NGX_HTTP_HEAD|NGX_HTTP_OPTIONS|NGX_HTTP_TRACE))
        || rlcf->bus->worker == NULL
        || ngx_http_get_module_ctx(r, ngx_http_rtbus_capture_filter_module)
        || ngx_http_rtbus_header_in(r, "mcp-protocol-version",
                                    sizeof("mcp-protocol-version") - 1))
    {
        return ngx_http_rtbus_capture_pass(r);
    }

    /* members of the body may name the channel */

    rc = ngx_http_read_client_request_body(r, ngx_http_rtbus_capture_body);

    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        return rc;
    }

    return NGX_DONE;
}


static ngx_int_t
ngx_http_rtbus_capture_pass(ngx_http_request_t *r)
{
    ngx_http_rtbus_loc_conf_t  *rlcf;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    return rlcf->captured(r);
}


static void
ngx_http_rtbus_capture_body(ngx_http_request_t *r)
{
    ngx_int_t  rc;

    rc = ngx_http_rtbus_capture_start(r);

    if (rc != NGX_AGAIN) {
        ngx_http_finalize_request(r, rc);
    }
}


/* NGX_AGAIN: the claim is under way */

static ngx_int_t
ngx_http_rtbus_capture_start(ngx_http_request_t *r)
{
    ngx_int_t                   rc;
    ngx_str_t                   value;
    ngx_rtbus_job_claim_t      *claim;
    ngx_rtbus_job_question_t    q;
    ngx_http_rtbus_capture_t   *ctx;
    ngx_http_rtbus_identity_t   id;
    ngx_http_rtbus_loc_conf_t  *rlcf;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    rc = ngx_http_rtbus_admit_user(r, &id);
    if (rc != NGX_OK || r->header_sent) {
        return rc;
    }

    rc = ngx_http_rtbus_name_eval(r, rlcf->capture->channel, &value);

    if (rc == NGX_ERROR) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (rc == NGX_DECLINED
        || rtbus_channel_check(value.data, value.len) != RTBUS_OK
        || ngx_rtbus_mailbox_channel(&value))
    {
        ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                      "rtbus: client sent request for no channel, %V, which "
                      "is not captured", ngx_http_rtbus_text_shown(&value));

        return ngx_http_rtbus_capture_pass(r);
    }

    ctx = ngx_http_rtbus_capture_create(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    claim = &ctx->claim;

    claim->channel = value;
    claim->user = id.user;
    claim->busy = ctx->conf->busy;
    claim->keep = ctx->conf->keep;

    if (ctx->conf->id
        && ngx_http_complex_value(r, ctx->conf->id, &claim->key) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (claim->key.len > NGX_HTTP_RTBUS_CAPTURE_ID) {
        return ngx_http_rtbus_capture_refuse(r, ctx, NGX_HTTP_BAD_REQUEST,
                                             NGX_RTBUS_REASON_ID_LONG);
    }

    if (r->method == NGX_HTTP_POST
        && ngx_http_rtbus_capture_cursor(r, ctx) != NGX_OK)
    {
        return ngx_http_rtbus_capture_refuse(r, ctx, NGX_HTTP_RTBUS_GONE,
                                             NGX_RTBUS_REASON_GONE);
    }

    ngx_http_set_ctx(r, ctx, ngx_http_rtbus_capture_filter_module);

    ngx_rtbus_job_claim(ctx->hub, claim, &q);

    ctx->call = ngx_rtbus_redis_call(&ctx->hub->shards, q.argc, q.argv, q.len,
                                     ngx_http_rtbus_capture_reply, ctx);
    if (ctx->call == NULL) {
        return ngx_http_rtbus_capture_away(r, ctx, NULL);
    }

    /* who has asked gets an answer, whether he waits for it or not */

    r->read_event_handler = ngx_http_block_reading;
    r->write_event_handler = ngx_http_request_empty_handler;

    r->connection->log->action = "claiming a channel";

    return NGX_AGAIN;
}


/* NGX_DECLINED: a Last-Event-ID that is none of this channel */

static ngx_int_t
ngx_http_rtbus_capture_cursor(ngx_http_request_t *r,
    ngx_http_rtbus_capture_t *ctx)
{
    ngx_table_elt_t       *h;
    const uint8_t         *p, *last;
    rtbus_cursor_entry_t   entry;

    h = ngx_http_rtbus_header_in(r, "last-event-id",
                                 sizeof("last-event-id") - 1);

    if (h == NULL || h->value.len == 0) {
        return NGX_OK;
    }

    p = h->value.data;
    last = p + h->value.len;

    while (rtbus_cursor_next(&entry, &p, last) == RTBUS_OK) {

        if (entry.channel.len == ctx->claim.channel.len
            && ngx_strncmp(entry.channel.data, ctx->claim.channel.data,
                           entry.channel.len)
               == 0)
        {
            ctx->claim.cursor.data = ngx_pnalloc(r->pool, RTBUS_POSITION_MAX);
            if (ctx->claim.cursor.data == NULL) {
                return NGX_ERROR;
            }

            ctx->claim.cursor.len = rtbus_pos_write(ctx->claim.cursor.data,
                                                    entry.pos);
            return NGX_OK;
        }
    }

    return NGX_DECLINED;
}


static void
ngx_http_rtbus_capture_reply(void *data, redisReply *reply)
{
    ngx_http_rtbus_capture_t *ctx = data;

    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    ctx->call = NULL;

    r = ctx->request;
    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    ngx_http_finalize_request(r, ngx_http_rtbus_capture_claimed(r, ctx,
                                                                reply));
    ngx_http_run_posted_requests(c);
}


static ngx_int_t
ngx_http_rtbus_capture_claimed(ngx_http_request_t *r,
    ngx_http_rtbus_capture_t *ctx, redisReply *reply)
{
    u_char                 *p;
    ngx_str_t               value, last;
    ngx_rtbus_job_claim_t  *claim;

    claim = &ctx->claim;

    if (ngx_rtbus_job_claimed(ctx->hub, claim, reply) != NGX_OK) {
        return ngx_http_rtbus_capture_away(r, ctx, reply);
    }

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus capture on \"%V\": %ui", &claim->channel,
                   claim->verdict);

    switch (claim->verdict) {

    case NGX_RTBUS_JOB_CLAIMED:
        break;

    case NGX_RTBUS_JOB_FOLLOW:

        ngx_str_null(&last);

        if (claim->cursor.len) {
            last.data = ngx_pnalloc(r->pool, claim->channel.len + 1
                                             + claim->cursor.len);
            if (last.data == NULL) {
                return NGX_HTTP_INTERNAL_SERVER_ERROR;
            }

            p = ngx_cpymem(last.data, claim->channel.data, claim->channel.len);
            *p++ = '@';
            p = ngx_cpymem(p, claim->cursor.data, claim->cursor.len);
            last.len = p - last.data;
        }

        ngx_http_rtbus_capture_set_state(ctx, NGX_HTTP_RTBUS_CAPTURE_ATTACHED);

        return ngx_http_rtbus_replay_attach(r, &claim->channel, &last);

    case NGX_RTBUS_JOB_BUSY:

        /* for clients that would try again by themselves */

        ngx_str_set(&value, "false");

        if (ngx_http_rtbus_header(r, "x-should-retry", &value) != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        return ngx_http_rtbus_capture_refuse(r, ctx, NGX_HTTP_CONFLICT,
                                             NGX_RTBUS_REASON_BUSY);

    case NGX_RTBUS_JOB_FORBIDDEN:
        return ngx_http_rtbus_capture_refuse(r, ctx, NGX_HTTP_FORBIDDEN,
                                             NGX_RTBUS_REASON_FORBIDDEN);

    default: /* NGX_RTBUS_JOB_GONE */
        return ngx_http_rtbus_capture_refuse(r, ctx, NGX_HTTP_RTBUS_GONE,
                                             NGX_RTBUS_REASON_GONE);
    }

    if (claim->old.len) {
        ngx_rtbus_job_tell(ctx->hub, &claim->old);
    }

    ctx->job = ngx_rtbus_job_create(ctx->hub, claim);
    if (ctx->job == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->epoch.len = claim->epoch.len;
    ctx->epoch.data = ngx_pstrdup(r->pool, &claim->epoch);
    if (ctx->epoch.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->job->ended_handler = ngx_http_rtbus_capture_ended;
    ctx->job->lost_handler = ngx_http_rtbus_capture_lost;
    ctx->job->data = ctx;

    return ngx_http_rtbus_capture_run(r, ctx);
}


static ngx_int_t
ngx_http_rtbus_capture_away(ngx_http_request_t *r,
    ngx_http_rtbus_capture_t *ctx, redisReply *reply)
{
    ngx_http_rtbus_capture_set_state(ctx, NGX_HTTP_RTBUS_CAPTURE_PASS);

    if (ctx->conf->closed) {
        return ngx_http_rtbus_unavailable(r, reply);
    }

    if (reply && reply->type == REDIS_REPLY_ERROR) {

        if (ngx_rtbus_library_missing(reply)) {
            ngx_rtbus_hub_library_lost(ctx->hub);
        }

        if (ctx->hub->failed != ngx_time()) {
            ctx->hub->failed = ngx_time();

            ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                          "rtbus: cannot claim channel \"%V\": %s",
                          &ctx->claim.channel, reply->str);
        }
    }

    return ngx_http_rtbus_capture_pass(r);
}


static ngx_int_t
ngx_http_rtbus_capture_refuse(ngx_http_request_t *r,
    ngx_http_rtbus_capture_t *ctx, ngx_uint_t status, ngx_uint_t error)
{
    ngx_http_rtbus_capture_set_state(ctx, NGX_HTTP_RTBUS_CAPTURE_PASS);

    if (ngx_http_rtbus_check_origin(r) == NGX_OK
        && ngx_http_rtbus_cors(r) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_rtbus_error(r, status, error, "channel",
                                &ctx->claim.channel);
}


static ngx_int_t
ngx_http_rtbus_capture_run(ngx_http_request_t *r,
    ngx_http_rtbus_capture_t *ctx)
{
    ngx_int_t                  rc;
    ngx_connection_t          *c;
    ngx_http_event_handler_pt  read, write;

    c = r->connection;

    ngx_http_rtbus_capture_set_state(ctx, NGX_HTTP_RTBUS_CAPTURE_WAIT);

    if (c->error) {
        /* HTTP/2: it has reset the stream meanwhile */
        ngx_http_rtbus_capture_gone(ctx, "client has left");
    }

    ctx->hold.handler = ngx_http_rtbus_capture_held;
    ctx->hold.data = ctx;
    ctx->hold.log = c->log;

    read = r->read_event_handler;
    write = r->write_event_handler;

    rc = ctx->rlcf->captured(r);

    if (rc != NGX_DONE) {
        return rc;
    }

    /* the upstream's module gives up when its client does */

    if (ctx->state == NGX_HTTP_RTBUS_CAPTURE_WAIT && r->upstream
        && r->upstream->cleanup)
    {
        if (r->read_event_handler != read) {
            ctx->read = r->read_event_handler;
            r->read_event_handler = ngx_http_rtbus_capture_read;
        }

        if (r->write_event_handler != write) {
            ctx->write = r->write_event_handler;
            r->write_event_handler = ngx_http_rtbus_capture_write;
        }
    }

    if (ctx->gone) {
        ngx_post_event(c->read, &ngx_posted_events);
    }

    return NGX_DONE;
}
