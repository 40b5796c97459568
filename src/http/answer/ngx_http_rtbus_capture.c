
#include "ngx_http_rtbus_capture.h"


#define NGX_HTTP_RTBUS_CAPTURE_GRACE  5000   /* ms from the last event on */


static void ngx_http_rtbus_capture_cleanup(void *data);
static ngx_int_t ngx_http_rtbus_capture_event(ngx_http_rtbus_capture_t *ctx);
static void ngx_http_rtbus_capture_grace(ngx_event_t *ev);


#if (NGX_DEBUG)

static const char *const  ngx_http_rtbus_capture_states[] = {
    "claim", "pass", "attached", "wait", "read"
};

#endif


ngx_http_rtbus_capture_t *
ngx_http_rtbus_capture_create(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t         *cln;
    ngx_http_rtbus_capture_t   *ctx;
    ngx_http_rtbus_loc_conf_t  *rlcf;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_rtbus_capture_t));
    if (cln == NULL) {
        return NULL;
    }

    ctx = cln->data;
    ngx_memzero(ctx, sizeof(ngx_http_rtbus_capture_t));

    cln->handler = ngx_http_rtbus_capture_cleanup;

    ctx->request = r;
    ctx->conf = rlcf->capture;
    ctx->rlcf = rlcf;
    ctx->hub = &rlcf->bus->worker->hub;

    ctx->grace.handler = ngx_http_rtbus_capture_grace;
    ctx->grace.data = ctx;
    ctx->grace.log = r->connection->log;

    return ctx;
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


ngx_http_rtbus_capture_t *
ngx_http_rtbus_capture_find(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t  *cln;

    /* an internal redirect forgets the contexts */

    for (cln = r->pool->cleanup; cln; cln = cln->next) {
        if (cln->handler == ngx_http_rtbus_capture_cleanup) {
            return cln->data;
        }
    }

    return NULL;
}


void
ngx_http_rtbus_capture_set_state(ngx_http_rtbus_capture_t *ctx,
    ngx_http_rtbus_capture_e state)
{
    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, ctx->request->connection->log, 0,
                   "rtbus capture on \"%V\", state:%s, was:%s",
                   &ctx->claim.channel, ngx_http_rtbus_capture_states[state],
                   ngx_http_rtbus_capture_states[ctx->state]);

    ctx->state = state;
}


void
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
    rtbus_reason_e       reason;
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

void
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

void
ngx_http_rtbus_capture_over(ngx_http_rtbus_capture_t *ctx, ngx_uint_t status,
    const char *error)
{
    if (ctx->job == NULL || ctx->job->over) {
        return;
    }

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, ctx->request->connection->log, 0,
                   "rtbus capture on \"%V\" is over, status:%s events:%uL",
                   &ctx->claim.channel, rtbus_job_statuses[status],
                   ctx->events);

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

void
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
