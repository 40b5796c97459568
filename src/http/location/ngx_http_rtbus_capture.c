
#include "ngx_http_rtbus_capture.h"
#include "ngx_http_rtbus_cors.h"
#include "ngx_http_rtbus_name.h"
#include "ngx_http_rtbus_origin.h"
#include "ngx_http_rtbus_replay.h"
#include "ngx_http_rtbus_reply.h"
#include "ngx_http_rtbus_request.h"
#include "ngx_http_rtbus_text.h"
#include "ngx_http_rtbus_user.h"
#include "ngx_rtbus_job.h"
#include "rtbus_llm.h"
#include "rtbus_stream.h"


#define NGX_HTTP_RTBUS_CAPTURE_GRACE  5000   /* ms from the last event on */
#define NGX_HTTP_RTBUS_CAPTURE_HOLD   1000   /* ms that the end waits */
#define NGX_HTTP_RTBUS_CAPTURE_ID     512    /* bytes */
#define NGX_HTTP_RTBUS_CAPTURE_BUF    4096   /* bytes, the least */

/* of r->buffered: the end is kept back */
#define NGX_HTTP_RTBUS_BUFFERED       0x08

#define NGX_HTTP_RTBUS_GONE           410


typedef enum {
    NGX_HTTP_RTBUS_CAPTURE_CLAIM = 0,
    NGX_HTTP_RTBUS_CAPTURE_PASS,        /* not captured, or not any more */
    NGX_HTTP_RTBUS_CAPTURE_ATTACHED,
    NGX_HTTP_RTBUS_CAPTURE_WAIT,        /* for the header */
    NGX_HTTP_RTBUS_CAPTURE_READ         /* the answer */
} ngx_http_rtbus_capture_e;


/* where ids are put into the stream */

typedef struct {
    uint64_t                         seq;      /* of the next event */
    ngx_uint_t                       matched;  /* bytes of "data" so far */
    unsigned                         inside:1; /* not at the begin of a line */
    unsigned                         numbered:1;  /* the event has its id */
    unsigned                         cr:1;
} ngx_http_rtbus_capture_ids_t;


typedef struct {
    ngx_http_request_t              *request;
    ngx_http_rtbus_capture_conf_t   *conf;
    ngx_http_rtbus_loc_conf_t       *rlcf;
    ngx_rtbus_hub_t                 *hub;
    ngx_http_rtbus_capture_e         state;

    ngx_rtbus_job_claim_t            claim;
    ngx_rtbus_redis_call_t          *call;     /* the claim, or NULL */
    ngx_rtbus_job_t                 *job;      /* NULL: there is none any more */
    ngx_str_t                        epoch;

    ngx_http_event_handler_pt        read;     /* of the upstream's module */
    ngx_http_event_handler_pt        write;

    rtbus_stream_t                   stream;
    rtbus_llm_t                      llm;
    ngx_http_rtbus_capture_ids_t     ids;

    ngx_chain_t                     *free;     /* copies for the client */
    ngx_chain_t                     *busy;
    size_t                           unsent;   /* bytes of them, about */

    ngx_event_t                      grace;
    ngx_event_t                      hold;
    ngx_event_t                      ping;
    off_t                            sent;     /* c->sent at the last ping */

    ngx_uint_t                       status;   /* rtbus_job_status_e */
    uint64_t                         events;

    unsigned                         gone:1;   /* the client */
    unsigned                         fixed:1;  /* Content-Length is told */
    unsigned                         lost:1;   /* bytes were not understood */
    unsigned                         early:1;  /* the job has ended before the
                                                  answer, which goes on */
    unsigned                         stopping:1;
    unsigned                         last:1;   /* the end is kept back */
    unsigned                         broken:1; /* it will be no end */
} ngx_http_rtbus_capture_t;


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
    ngx_http_rtbus_capture_t *ctx, ngx_uint_t status, const char *error);
static ngx_int_t ngx_http_rtbus_capture_run(ngx_http_request_t *r,
    ngx_http_rtbus_capture_t *ctx);
static void ngx_http_rtbus_capture_cleanup(void *data);
static void ngx_http_rtbus_capture_read(ngx_http_request_t *r);
static ngx_uint_t ngx_http_rtbus_capture_left(ngx_connection_t *c);
static void ngx_http_rtbus_capture_write(ngx_http_request_t *r);
static void ngx_http_rtbus_capture_gone(ngx_http_rtbus_capture_t *ctx,
    const char *reason);

static ngx_int_t ngx_http_rtbus_capture_header(ngx_http_request_t *r);
static const char *ngx_http_rtbus_capture_unfit(ngx_http_request_t *r,
    ngx_uint_t *lines);
static void ngx_http_rtbus_capture_forgo(ngx_http_request_t *r,
    ngx_http_rtbus_capture_t *ctx, const char *reason);
static ngx_int_t ngx_http_rtbus_capture_begin(ngx_http_request_t *r,
    ngx_http_rtbus_capture_t *ctx, ngx_uint_t lines);
static ngx_int_t ngx_http_rtbus_capture_filter(ngx_http_request_t *r,
    ngx_chain_t *in);
static void ngx_http_rtbus_capture_feed(ngx_http_rtbus_capture_t *ctx,
    u_char *p, u_char *last);
static ngx_int_t ngx_http_rtbus_capture_event(ngx_http_rtbus_capture_t *ctx);
static void ngx_http_rtbus_capture_flush(ngx_http_rtbus_capture_t *ctx);
static void ngx_http_rtbus_capture_over(ngx_http_rtbus_capture_t *ctx,
    ngx_uint_t status, const char *error);
static void ngx_http_rtbus_capture_end(ngx_http_rtbus_capture_t *ctx,
    ngx_uint_t ended);
static ngx_int_t ngx_http_rtbus_capture_copy(ngx_http_rtbus_capture_t *ctx,
    ngx_chain_t ***ll, const u_char *p, size_t len);
static ngx_int_t ngx_http_rtbus_capture_number(ngx_http_rtbus_capture_t *ctx,
    ngx_chain_t ***ll, u_char *p, u_char *last);
static ngx_int_t ngx_http_rtbus_capture_tail(ngx_http_rtbus_capture_t *ctx,
    ngx_chain_t ***ll);
static ngx_int_t ngx_http_rtbus_capture_send(ngx_http_request_t *r,
    ngx_http_rtbus_capture_t *ctx, ngx_chain_t *out);

static void ngx_http_rtbus_capture_ended(void *data);
static void ngx_http_rtbus_capture_lost(void *data);
static void ngx_http_rtbus_capture_stop(ngx_http_rtbus_capture_t *ctx);
static void ngx_http_rtbus_capture_release(ngx_http_rtbus_capture_t *ctx);
static void ngx_http_rtbus_capture_grace(ngx_event_t *ev);
static void ngx_http_rtbus_capture_held(ngx_event_t *ev);
static void ngx_http_rtbus_capture_ping(ngx_event_t *ev);

static ngx_int_t ngx_http_rtbus_capture_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static char *ngx_http_rtbus_capture_param(ngx_conf_t *cf,
    ngx_http_rtbus_capture_conf_t *conf, ngx_str_t *param);
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


typedef enum {
    NGX_HTTP_RTBUS_CAPTURE_STATUS = 0,
    NGX_HTTP_RTBUS_CAPTURE_EVENTS,
    NGX_HTTP_RTBUS_CAPTURE_USAGE
} ngx_http_rtbus_capture_var_e;


static ngx_http_variable_t  ngx_http_rtbus_capture_vars[] = {

    { ngx_string("rtbus_capture"), NULL, ngx_http_rtbus_capture_variable,
      NGX_HTTP_RTBUS_CAPTURE_STATUS, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("rtbus_capture_events"), NULL,
      ngx_http_rtbus_capture_variable, NGX_HTTP_RTBUS_CAPTURE_EVENTS,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("rtbus_capture_usage"), NULL,
      ngx_http_rtbus_capture_variable, NGX_HTTP_RTBUS_CAPTURE_USAGE,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

      ngx_http_null_variable
};


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
    ngx_int_t                       rc;
    ngx_str_t                       value;
    ngx_pool_cleanup_t             *cln;
    ngx_rtbus_job_claim_t          *claim;
    ngx_rtbus_job_question_t        q;
    ngx_http_rtbus_capture_t       *ctx;
    ngx_http_rtbus_identity_t       id;
    ngx_http_rtbus_loc_conf_t      *rlcf;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    rc = ngx_http_rtbus_identify(r, NULL, &id);

    if (rc == NGX_DECLINED) {
        return ngx_http_rtbus_unauthorized(r, id.reason);
    }

    if (rc != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
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
                      "client sent request for no channel, %V, which is not "
                      "captured", ngx_http_rtbus_text_shown(&value));

        return ngx_http_rtbus_capture_pass(r);
    }

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_rtbus_capture_t));
    if (cln == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx = cln->data;
    ngx_memzero(ctx, sizeof(ngx_http_rtbus_capture_t));

    cln->handler = ngx_http_rtbus_capture_cleanup;

    ctx->request = r;
    ctx->conf = rlcf->capture;
    ctx->rlcf = rlcf;
    ctx->hub = &rlcf->bus->worker->hub;

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
                                             "id is too long");
    }

    if (r->method == NGX_HTTP_POST
        && ngx_http_rtbus_capture_cursor(r, ctx) != NGX_OK)
    {
        return ngx_http_rtbus_capture_refuse(r, ctx, NGX_HTTP_RTBUS_GONE, "gone");
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

    if (ngx_rtbus_job_claimed(claim, reply) != NGX_OK) {
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

        ctx->state = NGX_HTTP_RTBUS_CAPTURE_ATTACHED;

        return ngx_http_rtbus_replay_attach(r, &claim->channel, &last);

    case NGX_RTBUS_JOB_BUSY:

        /* for clients that would try again by themselves */

        ngx_str_set(&value, "false");

        if (ngx_http_rtbus_header(r, "x-should-retry", &value) != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        return ngx_http_rtbus_capture_refuse(r, ctx, NGX_HTTP_CONFLICT,
                                             "busy");

    case NGX_RTBUS_JOB_FORBIDDEN:
        return ngx_http_rtbus_capture_refuse(r, ctx, NGX_HTTP_FORBIDDEN,
                                             "forbidden");

    default: /* NGX_RTBUS_JOB_GONE */
        return ngx_http_rtbus_capture_refuse(r, ctx, NGX_HTTP_RTBUS_GONE, "gone");
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
    ctx->state = NGX_HTTP_RTBUS_CAPTURE_PASS;

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
    ngx_http_rtbus_capture_t *ctx, ngx_uint_t status, const char *error)
{
    ctx->state = NGX_HTTP_RTBUS_CAPTURE_PASS;

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

    ctx->state = NGX_HTTP_RTBUS_CAPTURE_WAIT;

    if (c->error) {
        /* HTTP/2: it has reset the stream meanwhile */
        ngx_http_rtbus_capture_gone(ctx, "client has left");
    }

    ctx->grace.handler = ngx_http_rtbus_capture_grace;
    ctx->grace.data = ctx;
    ctx->grace.log = c->log;

    ctx->hold.handler = ngx_http_rtbus_capture_held;
    ctx->hold.data = ctx;
    ctx->hold.log = c->log;

    ctx->ping.handler = ngx_http_rtbus_capture_ping;
    ctx->ping.data = ctx;
    ctx->ping.log = c->log;

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


static void
ngx_http_rtbus_capture_cleanup(void *data)
{
    ngx_http_rtbus_capture_t *ctx = data;

    if (ctx->call) {
        ngx_rtbus_redis_cmd_cancel(ctx->call);
        ctx->call = NULL;
    }

    if (ctx->grace.timer_set) {
        ngx_del_timer(&ctx->grace);
    }

    if (ctx->hold.timer_set) {
        ngx_del_timer(&ctx->hold);
    }

    if (ctx->ping.timer_set) {
        ngx_del_timer(&ctx->ping);
    }

    if (ctx->job) {

        if (ctx->state == NGX_HTTP_RTBUS_CAPTURE_WAIT) {
            (void) ngx_rtbus_job_flush(ctx->job, RTBUS_JOB_FAILED, NULL,
                                       "no answer");

        } else if (ctx->state == NGX_HTTP_RTBUS_CAPTURE_READ) {
            ngx_http_rtbus_capture_end(ctx, 0);
        }

        if (ctx->job) {
            ngx_rtbus_job_leave(ctx->job);
            ctx->job = NULL;
        }
    }

    rtbus_stream_free(&ctx->stream);
    rtbus_llm_free(&ctx->llm);
}


/* something has happened to the client's side of the connection */

static void
ngx_http_rtbus_capture_read(ngx_http_request_t *r)
{
    ngx_connection_t          *c;
    ngx_http_rtbus_capture_t  *ctx;

    c = r->connection;
    ctx = ngx_http_get_module_ctx(r, ngx_http_rtbus_capture_filter_module);

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "rtbus capture read handler, error:%d, gone:%d",
                   c->error, ctx->gone);

    if (c->error) {
        ngx_http_rtbus_capture_gone(ctx, "client has left");

    } else if (!ctx->gone && ngx_http_rtbus_capture_left(c)) {

        /* it may have closed its half only, and read on */

        if (!ctx->conf->cancel) {
            return;
        }

        ngx_http_rtbus_capture_gone(ctx, "client has left");
    }

    if (ctx->gone && ctx->conf->cancel) {
        ngx_http_rtbus_capture_stop(ctx);
    }
}


static ngx_uint_t
ngx_http_rtbus_capture_left(ngx_connection_t *c)
{
    int     n;
    char    buf[1];

#if (NGX_HTTP_V2)
    ngx_http_request_t  *r;

    r = c->data;

    if (r->stream) {
        return 0;
    }
#endif

#if (NGX_HAVE_EPOLLRDHUP)

    if ((ngx_event_flags & NGX_USE_EPOLL_EVENT) && ngx_use_epoll_rdhup) {
        return c->read->pending_eof;
    }

#endif

    n = recv(c->fd, buf, 1, MSG_PEEK);

    return n == 0 || (n == -1 && ngx_socket_errno != NGX_EAGAIN);
}


static void
ngx_http_rtbus_capture_write(ngx_http_request_t *r)
{
    ngx_connection_t          *c;
    ngx_http_core_loc_conf_t  *clcf;
    ngx_http_rtbus_capture_t  *ctx;

    c = r->connection;
    ctx = ngx_http_get_module_ctx(r, ngx_http_rtbus_capture_filter_module);

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "rtbus capture write handler, unsent:%uz, gone:%d",
                   ctx->unsent, ctx->gone);

    if (c->write->timedout) {
        c->write->timedout = 0;
        ngx_http_rtbus_capture_gone(ctx, "client timed out");
        return;
    }

    if (c->error) {
        ngx_http_rtbus_capture_gone(ctx, "client has left");
    }

    if (ctx->gone || ctx->state != NGX_HTTP_RTBUS_CAPTURE_READ) {
        return;
    }

    (void) ngx_http_output_filter(r, NULL);

    if (!c->buffered || ctx->gone) {
        return;
    }

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (!c->write->delayed) {
        ngx_add_timer(c->write, clcf->send_timeout);
    }

    if (ngx_handle_write_event(c->write, clcf->send_lowat) != NGX_OK) {
        ngx_http_rtbus_capture_gone(ctx, "client cannot be written to");
    }
}


/*
 * With c->error set the upstream's module would neither try another server nor
 * read on; the request gets it back at its end.
 */

static void
ngx_http_rtbus_capture_gone(ngx_http_rtbus_capture_t *ctx, const char *reason)
{
    ngx_connection_t  *c;

    c = ctx->request->connection;

    c->error = 0;

    if (ctx->gone) {
        return;
    }

    ctx->gone = 1;

    ngx_log_error(NGX_LOG_INFO, c->log, 0,
                  "%s, the answer is read on: channel \"%V\"", reason,
                  &ctx->claim.channel);

    if (c->write->timer_set) {
        ngx_del_timer(c->write);
    }

    if (ctx->ping.timer_set) {
        ngx_del_timer(&ctx->ping);
    }
}


static ngx_int_t
ngx_http_rtbus_capture_header(ngx_http_request_t *r)
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
    ctx->state = NGX_HTTP_RTBUS_CAPTURE_PASS;
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

    ctx->state = NGX_HTTP_RTBUS_CAPTURE_READ;
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
        ngx_add_timer(&ctx->ping, ctx->rlcf->ping_interval);
    }

    return rc;
}


static ngx_int_t
ngx_http_rtbus_capture_filter(ngx_http_request_t *r, ngx_chain_t *in)
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


/* a copy for the client, in a buffer of ours; with an empty one it is the last */

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

    /* bytes of "data" that are not sent yet, since the id comes before them, are
       not copied from here if they have come with an earlier piece */

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


static void
ngx_http_rtbus_capture_feed(ngx_http_rtbus_capture_t *ctx, u_char *p,
    u_char *last)
{
    int             rc;
    const uint8_t  *pos;

    if (ctx->lost) {
        return;
    }

    pos = p;

    for ( ;; ) {
        rc = rtbus_stream_parse(&ctx->stream, &pos, last);

        if (rc == RTBUS_AGAIN) {
            return;
        }

        if (rc != RTBUS_OK) {
            ctx->lost = 1;
            ngx_http_rtbus_capture_over(ctx, RTBUS_JOB_INTERRUPTED,
                                        "an event is too long");
            return;
        }

        if (ctx->job && ngx_http_rtbus_capture_event(ctx) != NGX_OK) {
            return;
        }
    }
}


static ngx_int_t
ngx_http_rtbus_capture_event(ngx_http_rtbus_capture_t *ctx)
{
    ngx_int_t            rc;
    ngx_uint_t           json;
    const char          *reason;
    rtbus_str_t         *name, *data;
    rtbus_json_value_t   value;

    name = &ctx->stream.name;
    data = &ctx->stream.data;

    if (ctx->job->over) {
        return NGX_OK;
    }

    json = (rtbus_json_value(ctx->hub->json, data->data, data->len, &value,
                             &reason)
            == RTBUS_OK);

    if (ctx->llm.format == RTBUS_LLM_AUTO) {
        ctx->llm.format = rtbus_llm_detect(name, json ? &value.raw : data,
                                           json, ctx->stream.lines);

        (void) ngx_rtbus_job_begin(ctx->job, NULL, ctx->llm.format);
    }

    rc = ngx_rtbus_job_add(ctx->job, name, data, json);

    if (rc == NGX_DECLINED) {
        ngx_http_rtbus_capture_over(ctx, RTBUS_JOB_INTERRUPTED,
                                    "an event is too long");
        return NGX_DECLINED;
    }

    if (rc != NGX_OK
        || rtbus_llm_event(&ctx->llm, name, json ? &value.raw : data, json)
           != RTBUS_OK
        || ngx_rtbus_job_text(ctx->job, &ctx->llm.text) != NGX_OK)
    {
        ngx_http_rtbus_capture_over(ctx, RTBUS_JOB_INTERRUPTED, "no memory");
        return NGX_DECLINED;
    }

    ctx->events = ctx->job->events;

    if (ctx->job->size > ctx->conf->max
        || ctx->job->waiting > 2 * ctx->conf->max)
    {
        ngx_http_rtbus_capture_over(ctx, RTBUS_JOB_INTERRUPTED,
                                    "the answer is too long");
        return NGX_DECLINED;
    }

    if ((ctx->llm.ended || ctx->llm.failed) && !ctx->grace.timer_set) {
        ngx_add_timer(&ctx->grace, NGX_HTTP_RTBUS_CAPTURE_GRACE);
    }

    return NGX_OK;
}


/* one call for all that one read of the upstream has brought */

static void
ngx_http_rtbus_capture_flush(ngx_http_rtbus_capture_t *ctx)
{
    if (ctx->job == NULL || ctx->job->over || ctx->job->adding == NULL) {
        return;
    }

    if (ngx_rtbus_job_flush(ctx->job, RTBUS_JOB_RUNNING,
                            ctx->llm.usage.len ? &ctx->llm.usage : NULL, NULL)
        != NGX_OK)
    {
        ngx_http_rtbus_capture_over(ctx, RTBUS_JOB_INTERRUPTED, "no memory");
    }
}


/* the job is over; its client may get more */

static void
ngx_http_rtbus_capture_over(ngx_http_rtbus_capture_t *ctx, ngx_uint_t status,
    const char *error)
{
    if (ctx->job == NULL || ctx->job->over) {
        return;
    }

    ctx->status = status;
    ctx->early = !ctx->last;

    if (error) {
        ngx_log_error(NGX_LOG_INFO, ctx->request->connection->log, 0,
                      "rtbus: capture on channel \"%V\" ends, %s",
                      &ctx->claim.channel, error);
    }

    if (ctx->grace.timer_set) {
        ngx_del_timer(&ctx->grace);
    }

    if (rtbus_llm_end(&ctx->llm) == RTBUS_OK) {
        (void) ngx_rtbus_job_text(ctx->job, &ctx->llm.text);
    }

    if (ngx_rtbus_job_flush(ctx->job, status,
                            ctx->llm.usage.len ? &ctx->llm.usage : NULL,
                            error)
        != NGX_OK)
    {
        ngx_rtbus_job_leave(ctx->job);
        ctx->job = NULL;
    }
}


/* the transfer is over; ended: as HTTP wants it */

static void
ngx_http_rtbus_capture_end(ngx_http_rtbus_capture_t *ctx, ngx_uint_t ended)
{
    ngx_uint_t  status;

    if (ctx->job == NULL || ctx->job->over) {
        return;
    }

    if (ended && !ctx->lost && rtbus_stream_end(&ctx->stream) == RTBUS_OK) {
        (void) ngx_http_rtbus_capture_event(ctx);
    }

    if (ctx->llm.failed) {
        status = RTBUS_JOB_FAILED;

    } else if (ctx->llm.ended
               || (ended && (ctx->llm.settled
                             || ctx->llm.format == RTBUS_LLM_RAW
                             || ctx->llm.format == RTBUS_LLM_AUTO)))
    {
        status = RTBUS_JOB_COMPLETED;

    } else {
        status = RTBUS_JOB_INTERRUPTED;
    }

    ngx_http_rtbus_capture_over(ctx, status, NULL);
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


/* Redis has the end */

static void
ngx_http_rtbus_capture_ended(void *data)
{
    ngx_http_rtbus_capture_t *ctx = data;

    ngx_rtbus_job_leave(ctx->job);
    ctx->job = NULL;

    ngx_http_rtbus_capture_release(ctx);
}


/* somebody else has ended the job, or another one has its channel */

static void
ngx_http_rtbus_capture_lost(void *data)
{
    ngx_http_rtbus_capture_t *ctx = data;

    ngx_connection_t  *c;

    ctx->status = ctx->job->status;

    ngx_rtbus_job_leave(ctx->job);
    ctx->job = NULL;

    if (ctx->last) {
        ngx_http_rtbus_capture_release(ctx);
        return;
    }

    ctx->early = 1;

    if (ctx->status == RTBUS_JOB_CANCELLED) {
        c = ctx->request->connection;

        ngx_http_set_log_request(c->log, ctx->request);

        ngx_http_rtbus_capture_stop(ctx);

        ngx_http_run_posted_requests(c);
    }
}


/* the upstream is left, within this call; the request may be no more */

static void
ngx_http_rtbus_capture_stop(ngx_http_rtbus_capture_t *ctx)
{
    ngx_http_request_t   *r;
    ngx_http_upstream_t  *u;

    if (ctx->stopping || ctx->last) {
        return;
    }

    ctx->stopping = 1;

    r = ctx->request;
    u = r->upstream;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus capture stop, state:%d", ctx->state);

    ngx_http_rtbus_capture_over(ctx, RTBUS_JOB_CANCELLED, NULL);

    if (u == NULL || u->cleanup == NULL) {
        return;
    }

    if (ctx->state == NGX_HTTP_RTBUS_CAPTURE_READ && ctx->write) {

        /* the module of the upstream ends it as it does after an error */

        u->error = 1;
        ctx->write(r);

    } else {
        r->main->count++;
        ngx_http_finalize_request(r, NGX_HTTP_CLIENT_CLOSED_REQUEST);
    }
}


/* the end goes on to the client, unless it has done so */

static void
ngx_http_rtbus_capture_release(ngx_http_rtbus_capture_t *ctx)
{
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = ctx->request;

    if (ctx->hold.timer_set) {
        ngx_del_timer(&ctx->hold);
    }

    if (!(r->buffered & NGX_HTTP_RTBUS_BUFFERED)) {
        return;
    }

    r->buffered &= ~NGX_HTTP_RTBUS_BUFFERED;

    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    r->write_event_handler(r);

    ngx_http_run_posted_requests(c);
}


static void
ngx_http_rtbus_capture_held(ngx_event_t *ev)
{
    ngx_http_rtbus_capture_t  *ctx;

    ctx = ev->data;

    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, ev->log, 0,
                   "rtbus capture has waited for its end");

    ngx_http_rtbus_capture_release(ctx);
}


/* the last event has come, and the transfer goes on */

static void
ngx_http_rtbus_capture_grace(ngx_event_t *ev)
{
    ngx_http_rtbus_capture_t  *ctx;

    ctx = ev->data;

    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, ev->log, 0, "rtbus capture grace");

    ngx_http_rtbus_capture_over(ctx, ctx->llm.failed ? RTBUS_JOB_FAILED
                                                     : RTBUS_JOB_COMPLETED,
                                NULL);
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


ngx_int_t
ngx_http_rtbus_capture_variables(ngx_conf_t *cf)
{
    ngx_http_variable_t  *var, *v;

    for (v = ngx_http_rtbus_capture_vars; v->name.len; v++) {

        var = ngx_http_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_rtbus_capture_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    u_char                    *p;
    const char                *text;
    ngx_pool_cleanup_t        *cln;
    ngx_http_rtbus_capture_t  *ctx;

    ctx = NULL;

    /* found also after an internal redirect, which forgets the contexts */

    for (cln = r->pool->cleanup; cln; cln = cln->next) {
        if (cln->handler == ngx_http_rtbus_capture_cleanup) {
            ctx = cln->data;
            break;
        }
    }

    v->not_found = 1;

    if (ctx == NULL || ctx->state == NGX_HTTP_RTBUS_CAPTURE_CLAIM
        || (ctx->state == NGX_HTTP_RTBUS_CAPTURE_PASS
            && ctx->status == RTBUS_JOB_RUNNING))
    {
        return NGX_OK;
    }

    if (ctx->state == NGX_HTTP_RTBUS_CAPTURE_ATTACHED
        && data != NGX_HTTP_RTBUS_CAPTURE_STATUS)
    {
        return NGX_OK;
    }

    switch (data) {

    case NGX_HTTP_RTBUS_CAPTURE_STATUS:

        if (ctx->state == NGX_HTTP_RTBUS_CAPTURE_ATTACHED) {
            text = "attached";

        } else if (ctx->status == RTBUS_JOB_COMPLETED) {
            text = "done";

        } else if (ctx->status != RTBUS_JOB_RUNNING) {
            text = rtbus_job_statuses[ctx->status];

        } else {
            text = (ctx->state == NGX_HTTP_RTBUS_CAPTURE_WAIT)
                   ? "failed" : "interrupted";
        }

        v->data = (u_char *) text;
        v->len = ngx_strlen(text);
        break;

    case NGX_HTTP_RTBUS_CAPTURE_EVENTS:

        p = ngx_pnalloc(r->pool, NGX_INT64_LEN);
        if (p == NULL) {
            return NGX_ERROR;
        }

        v->data = p;
        v->len = ngx_sprintf(p, "%uL", ctx->events) - p;
        break;

    default: /* NGX_HTTP_RTBUS_CAPTURE_USAGE */

        if (ctx->llm.usage.len == 0) {
            return NGX_OK;
        }

        v->data = ctx->llm.usage.data;
        v->len = ctx->llm.usage.len;
    }

    v->valid = 1;
    v->no_cacheable = 1;
    v->not_found = 0;

    return NGX_OK;
}


char *
ngx_http_rtbus_capture_set(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_rtbus_loc_conf_t *rlcf = conf;

    char                           *rv;
    ngx_str_t                      *value;
    ngx_uint_t                      i;
    ngx_http_rtbus_main_conf_t     *rmcf;
    ngx_http_rtbus_capture_conf_t  *ccf;

    if (rlcf->capture != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "off") == 0) {
        rlcf->capture = NULL;
        return NGX_CONF_OK;
    }

    ccf = ngx_pcalloc(cf->pool, sizeof(ngx_http_rtbus_capture_conf_t));
    if (ccf == NULL) {
        return NGX_CONF_ERROR;
    }

    ccf->format = RTBUS_LLM_AUTO;
    ccf->busy = NGX_RTBUS_JOB_REJECT;
    ccf->keep = 300;
    ccf->max = 16 * 1024 * 1024;

    ccf->channel = ngx_palloc(cf->pool, sizeof(ngx_http_rtbus_name_t));
    if (ccf->channel == NULL) {
        return NGX_CONF_ERROR;
    }

    if (ngx_http_rtbus_name_compile(cf, &value[1], 0, ccf->channel)
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    for (i = 2; i < cf->args->nelts; i++) {
        rv = ngx_http_rtbus_capture_param(cf, ccf, &value[i]);

        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    rlcf->capture = ccf;
    rlcf->capturing = 1;

    rmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_rtbus_module);
    rmcf->used = 1;
    rmcf->captures = 1;

    return NGX_CONF_OK;
}


static char *
ngx_http_rtbus_capture_param(ngx_conf_t *cf,
    ngx_http_rtbus_capture_conf_t *conf, ngx_str_t *param)
{
    size_t                             len;
    ssize_t                            size;
    ngx_str_t                          s;
    ngx_uint_t                         i;
    ngx_http_compile_complex_value_t   ccv;

    static const struct {
        const char  *text;
        ngx_uint_t   busy;
    } modes[] = {
        { "busy=reject", NGX_RTBUS_JOB_REJECT },
        { "busy=attach", NGX_RTBUS_JOB_ATTACH },
        { "busy=replace", NGX_RTBUS_JOB_REPLACE }
    };

    for (i = 0; i < 3; i++) {
        if (ngx_strcmp(param->data, modes[i].text) == 0) {
            conf->busy = modes[i].busy;
            return NGX_CONF_OK;
        }
    }

    if (ngx_strcmp(param->data, "disconnect=continue") == 0
        || ngx_strcmp(param->data, "disconnect=cancel") == 0)
    {
        conf->cancel = (param->data[sizeof("disconnect=c") - 1] == 'a');
        return NGX_CONF_OK;
    }

    if (ngx_strcmp(param->data, "ids=on") == 0
        || ngx_strcmp(param->data, "ids=off") == 0)
    {
        conf->ids = (param->data[sizeof("ids=o") - 1] == 'n');
        return NGX_CONF_OK;
    }

    if (ngx_strcmp(param->data, "fail=open") == 0
        || ngx_strcmp(param->data, "fail=closed") == 0)
    {
        conf->closed = (param->data[sizeof("fail=") - 1] == 'c');
        return NGX_CONF_OK;
    }

    for (len = 0; len < param->len && param->data[len] != '='; len++) {
        /* void */
    }

    s.data = param->data + len + 1;
    s.len = (len < param->len) ? param->len - len - 1 : 0;

    if (len == 6 && ngx_strncmp(param->data, "format", 6) == 0) {
        conf->format = rtbus_llm_name(rtbus_llm_names, RTBUS_LLM_FORMATS,
                                      s.data, s.len);

        if (conf->format < RTBUS_LLM_FORMATS) {
            return NGX_CONF_OK;
        }
    }

    if (len == 4 && ngx_strncmp(param->data, "keep", 4) == 0) {
        conf->keep = ngx_parse_time(&s, 1);

        if (conf->keep != (time_t) NGX_ERROR && conf->keep > 0) {
            return NGX_CONF_OK;
        }
    }

    if (len == 3 && ngx_strncmp(param->data, "max", 3) == 0) {
        size = ngx_parse_size(&s);

        if (size != NGX_ERROR && size > 0) {
            conf->max = (size_t) size;
            return NGX_CONF_OK;
        }
    }

    if (len == 2 && s.len && ngx_strncmp(param->data, "id", 2) == 0) {

        conf->id = ngx_palloc(cf->pool, sizeof(ngx_http_complex_value_t));
        if (conf->id == NULL) {
            return NGX_CONF_ERROR;
        }

        ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

        ccv.cf = cf;
        ccv.value = &s;
        ccv.complex_value = conf->id;

        return (ngx_http_compile_complex_value(&ccv) == NGX_OK)
               ? NGX_CONF_OK : NGX_CONF_ERROR;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid parameter \"%V\"",
                       param);
    return NGX_CONF_ERROR;
}


static ngx_int_t
ngx_http_rtbus_capture_init(ngx_conf_t *cf)
{
    ngx_http_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_rtbus_capture_header;

    ngx_http_next_body_filter = ngx_http_top_body_filter;
    ngx_http_top_body_filter = ngx_http_rtbus_capture_filter;

    return NGX_OK;
}
