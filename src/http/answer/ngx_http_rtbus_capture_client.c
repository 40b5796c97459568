
#include "ngx_http_rtbus_capture_client.h"


static ngx_uint_t ngx_http_rtbus_capture_left(ngx_connection_t *c);
static void ngx_http_rtbus_capture_stop(ngx_http_rtbus_capture_t *ctx);
static void ngx_http_rtbus_capture_release(ngx_http_rtbus_capture_t *ctx);


/* something has happened to the client's side of the connection */

void
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


void
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

void
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
                  "rtbus: %s, the answer is read on: channel \"%V\"", reason,
                  &ctx->claim.channel);

    if (c->write->timer_set) {
        ngx_del_timer(c->write);
    }

    if (ctx->ping.timer_set) {
        ngx_del_timer(&ctx->ping);
    }
}


/* Redis has the end */

void
ngx_http_rtbus_capture_ended(void *data)
{
    ngx_http_rtbus_capture_t *ctx = data;

    ngx_rtbus_job_leave(ctx->job);
    ctx->job = NULL;

    ngx_http_rtbus_capture_release(ctx);
}


/* somebody else has ended the job, or another one has its channel */

void
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


void
ngx_http_rtbus_capture_held(ngx_event_t *ev)
{
    ngx_http_rtbus_capture_t  *ctx;

    ctx = ev->data;

    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, ev->log, 0,
                   "rtbus capture has waited for its end");

    ngx_http_rtbus_capture_release(ctx);
}
