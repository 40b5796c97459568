
#include "ngx_http_rtbus_replay.h"
#include "ngx_http_rtbus_replay_encode.h"
#include "ngx_http_rtbus_reply.h"
#include "ngx_http_rtbus_request.h"
#include "rtbus_llm_format.h"
#include "rtbus_ws.h"


#define NGX_HTTP_RTBUS_REPLAY_POLL   200     /* ms, until there is an answer */
#define NGX_HTTP_RTBUS_REPLAY_WATCH  2000    /* ms, is its owner there? */


static ngx_int_t ngx_http_rtbus_replay_join(ngx_http_rtbus_replay_t *rp);
static void ngx_http_rtbus_replay_catch_up(ngx_http_rtbus_replay_t *rp,
    ngx_rtbus_job_info_t *info);
static const ngx_rtbus_format_t *ngx_http_rtbus_replay_format(
    ngx_http_rtbus_replay_t *rp);
static ngx_int_t ngx_http_rtbus_replay_begin(ngx_http_rtbus_replay_t *rp);
static void ngx_http_rtbus_replay_cleanup(void *data);
static void ngx_http_rtbus_replay_timer(ngx_event_t *ev);
static void ngx_http_rtbus_replay_reply(void *data, redisReply *reply);
static void ngx_http_rtbus_replay_heartbeat(ngx_event_t *ev);
static void ngx_http_rtbus_replay_write_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_rtbus_replay_flush(ngx_http_rtbus_carrier_t *car);
static void ngx_http_rtbus_replay_close(ngx_http_rtbus_carrier_t *car,
    ngx_uint_t code, const char *reason);
static void ngx_http_rtbus_replay_last(ngx_http_rtbus_replay_t *rp);
static void ngx_http_rtbus_replay_finalize(ngx_http_rtbus_replay_t *rp,
    ngx_int_t rc);
static void ngx_http_rtbus_replay_end(ngx_http_rtbus_replay_t *rp,
    const char *reason);
static void ngx_http_rtbus_replay_again(ngx_http_rtbus_carrier_t *car);
static void ngx_http_rtbus_replay_leave(ngx_http_rtbus_carrier_t *car);
static void ngx_http_rtbus_replay_ended(ngx_http_rtbus_carrier_t *car);
static void ngx_http_rtbus_replay_deliver(ngx_rtbus_sub_t *sub,
    ngx_rtbus_frame_t *frame);
static void ngx_http_rtbus_replay_mark(ngx_http_rtbus_replay_t *rp,
    ngx_uint_t mark);
static void ngx_http_rtbus_replay_gap(ngx_rtbus_sub_t *sub, uint64_t lost,
    rtbus_pos_t pos);
static ngx_uint_t ngx_http_rtbus_replay_room(ngx_rtbus_sub_t *sub,
    size_t size);
static void ngx_http_rtbus_replay_joined(ngx_rtbus_sub_t *sub);
static void ngx_http_rtbus_replay_failed(ngx_rtbus_sub_t *sub);
static ngx_rtbus_sub_t *ngx_http_rtbus_replay_other(ngx_rtbus_sub_t *sub,
    ngx_rtbus_channel_t *ch);


static const ngx_rtbus_sub_handlers_t  ngx_http_rtbus_replay_handlers = {
    ngx_http_rtbus_replay_deliver,
    ngx_http_rtbus_replay_gap,
    ngx_http_rtbus_replay_room,
    NULL,
    ngx_http_rtbus_replay_joined,
    ngx_http_rtbus_replay_failed,
    NULL,
    NULL,
    ngx_http_rtbus_replay_other
};


static const ngx_http_rtbus_transport_t  ngx_http_rtbus_replay_transport = {
    ngx_http_rtbus_replay_flush,
    ngx_http_rtbus_replay_close,
    NULL,
    NULL,
    NULL,
    NULL
};


ngx_int_t
ngx_http_rtbus_replay_none(ngx_http_request_t *r, ngx_http_rtbus_replay_t *rp)
{
    if (rp->conf->none == NGX_HTTP_NO_CONTENT) {
        return ngx_http_rtbus_replay_empty(r);
    }

    return ngx_http_rtbus_error(r, NGX_HTTP_NOT_FOUND,
                                NGX_RTBUS_REASON_NO_REPLAY,
                                "channel", &rp->channel);
}


ngx_int_t
ngx_http_rtbus_replay_empty(ngx_http_request_t *r)
{
    ngx_str_t  value;

    ngx_str_set(&value, "no-store");

    if (ngx_http_rtbus_header(r, "Cache-Control", &value) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->headers_out.status = NGX_HTTP_NO_CONTENT;
    r->header_only = 1;

    return ngx_http_send_header(r);
}


ngx_int_t
ngx_http_rtbus_replay_start(ngx_http_request_t *r, ngx_http_rtbus_replay_t *rp)
{
    ngx_int_t            rc;
    ngx_connection_t    *c;
    ngx_pool_cleanup_t  *cln;

    c = r->connection;

    cln = ngx_pool_cleanup_add(r->pool, 0);
    if (cln == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    cln->handler = ngx_http_rtbus_replay_cleanup;
    cln->data = rp;

    rp->carrier.kind = NGX_RTBUS_STAT_SSE;
    rp->carrier.transport = &ngx_http_rtbus_replay_transport;
    rp->carrier.room_handler = ngx_http_rtbus_replay_again;
    rp->carrier.leave_handler = ngx_http_rtbus_replay_leave;
    rp->carrier.ended_handler = ngx_http_rtbus_replay_ended;
    rp->carrier.data = rp;

    if (ngx_http_rtbus_carrier_init(&rp->carrier, r) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rp->sub.handlers = &ngx_http_rtbus_replay_handlers;
    rp->sub.data = rp;

    rp->timer.handler = ngx_http_rtbus_replay_timer;
    rp->timer.data = rp;
    rp->timer.log = c->log;
    rp->timer.cancelable = 1;

    rp->heartbeat.handler = ngx_http_rtbus_replay_heartbeat;
    rp->heartbeat.data = rp;
    rp->heartbeat.log = c->log;

    ngx_http_set_ctx(r, rp, ngx_http_rtbus_module);

    /* there may be none: whether all that is over has a greater number is seen
       as it is read */

    if (!rp->info.waiting && !(rp->skipping && rp->info.over)) {

        rc = ngx_http_rtbus_replay_begin(rp);

        if (rc != NGX_OK || r->header_only) {
            return rc;
        }
    }

    switch (ngx_http_rtbus_replay_join(rp)) {

    case NGX_OK:
        break;

    case NGX_DECLINED:

        if (!r->header_sent) {
            return ngx_http_rtbus_unavailable(r, NULL);
        }

        /* fall through */

    default: /* NGX_ERROR */

        return r->header_sent ? NGX_ERROR : NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->main->count++;

    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = ngx_http_rtbus_replay_write_handler;

    if (c->read->ready) {
        ngx_post_event(c->read, &ngx_posted_events);

    } else if (ngx_handle_read_event(c->read, 0) != NGX_OK) {
        return NGX_ERROR;
    }

    c->log->action = "replaying events";

    if (rp->info.waiting || rp->info.captured) {
        ngx_add_timer(&rp->timer, (rp->info.waiting || rp->ahead)
                                  ? NGX_HTTP_RTBUS_REPLAY_POLL
                                  : NGX_HTTP_RTBUS_REPLAY_WATCH);
    }

    ngx_add_timer(&rp->heartbeat, rp->carrier.conf->ping_interval);

    return NGX_DONE;
}


static ngx_int_t
ngx_http_rtbus_replay_join(ngx_http_rtbus_replay_t *rp)
{
    if (rp->ahead) {
        return NGX_OK;
    }

    rp->sub.format = ngx_http_rtbus_replay_format(rp);
    rp->sub.pos = rp->pos;
    rp->sub.placed = 1;
    rp->sub.patient = rp->joined;

    switch (ngx_rtbus_hub_join(&rp->carrier.worker->hub, &rp->sub,
                               &rp->channel))
    {

    case NGX_OK:
    case NGX_AGAIN:
        return NGX_OK;

    case NGX_DECLINED:
        return NGX_DECLINED;

    default: /* NGX_ERROR */
        return NGX_ERROR;
    }
}


static const ngx_rtbus_format_t *
ngx_http_rtbus_replay_format(ngx_http_rtbus_replay_t *rp)
{
    ngx_uint_t  id;

    if (rp->info.lines) {
        return NGX_HTTP_RTBUS_REPLAY_LINES;
    }

    id = rp->conf->id;

    if (id == NGX_CONF_UNSET_UINT) {
        /* Google's client knows data lines only */
        id = (rp->info.format != RTBUS_LLM_GEMINI);
    }

    if (rp->skipping) {
        return id ? NGX_HTTP_RTBUS_REPLAY_COUNTED
                  : NGX_HTTP_RTBUS_REPLAY_COUNTED + 1;
    }

    return id ? NGX_HTTP_RTBUS_REPLAY_IDS : NGX_HTTP_RTBUS_REPLAY_BARE;
}


static ngx_int_t
ngx_http_rtbus_replay_begin(ngx_http_rtbus_replay_t *rp)
{
    ngx_int_t            rc;
    ngx_str_t            type;
    ngx_http_request_t  *r;

    r = rp->carrier.request;

    /*
     * The connection is kept: with "Connection: close" the fetch() of Node 20
     * takes a transfer without its last chunk for whole.
     */

    type = rp->info.type;

    if (type.len == 0) {
        ngx_str_set(&type, "text/event-stream");
    }

    rc = ngx_http_rtbus_stream_header(r, &type);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    /* the header itself is not to wait for the first event */

    return (ngx_http_send_special(r, NGX_HTTP_FLUSH) == NGX_ERROR) ? NGX_ERROR
                                                                   : NGX_OK;
}


static void
ngx_http_rtbus_replay_cleanup(void *data)
{
    ngx_http_rtbus_replay_t  *rp = data;

    if (rp->timer.timer_set) {
        ngx_del_timer(&rp->timer);
    }

    if (rp->heartbeat.timer_set) {
        ngx_del_timer(&rp->heartbeat);
    }

    if (rp->call) {
        ngx_rtbus_redis_cmd_cancel(rp->call);
        rp->call = NULL;
    }
}


/*
 * Whether there is an answer yet, and whether the owner of the job is still
 * there: if it is not, the end comes as any event.
 */

static void
ngx_http_rtbus_replay_timer(ngx_event_t *ev)
{
    ngx_rtbus_hub_t           *hub;
    ngx_rtbus_job_question_t   q;
    ngx_http_rtbus_replay_t   *rp;

    rp = ev->data;
    hub = &rp->carrier.worker->hub;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, rp->carrier.log, 0,
                   "rtbus replay of \"%V\" asks, waiting:%d", &rp->channel,
                   rp->info.waiting);

    ngx_add_timer(ev, (rp->info.waiting || rp->ahead)
                      ? NGX_HTTP_RTBUS_REPLAY_POLL
                      : NGX_HTTP_RTBUS_REPLAY_WATCH);

    if (rp->call || ngx_http_rtbus_carrier_closing(&rp->carrier)) {
        return;
    }

    ngx_rtbus_job_check(hub, &rp->channel, &q);

    rp->call = ngx_rtbus_redis_call(&hub->shards, q.argc, q.argv, q.len,
                                    ngx_http_rtbus_replay_reply, rp);
}


static void
ngx_http_rtbus_replay_reply(void *data, redisReply *reply)
{
    ngx_http_rtbus_replay_t *rp = data;

    ngx_int_t             rc;
    ngx_connection_t     *c;
    ngx_http_request_t   *r;
    ngx_rtbus_job_info_t  info;

    rp->call = NULL;

    r = rp->carrier.request;
    c = r->connection;

    /* strings are the reply's: there may be many until there is an answer */

    if (ngx_rtbus_job_info(&rp->carrier.worker->hub, reply, NULL, &info)
        != NGX_OK
        || (!rp->info.waiting && !rp->ahead)
        || ngx_http_rtbus_carrier_closing(&rp->carrier))
    {
        return;
    }

    ngx_http_set_log_request(c->log, r);

    if (rp->ahead && !rp->info.waiting) {
        ngx_http_rtbus_replay_catch_up(rp, &info);
        ngx_http_run_posted_requests(c);
        return;
    }

    if (info.last.epoch != rp->pos.epoch
        || (info.type.len == 0 && !info.running))
    {
        /* the answer has turned out to be none */

        rp->done = 1;
        ngx_http_rtbus_replay_end(rp, "no answer");
        return;
    }

    if (info.type.len == 0) {
        return;
    }

    rp->info = info;
    rp->info.waiting = 0;

    ngx_str_null(&rp->info.user);
    ngx_str_null(&rp->info.owner);

    rp->info.type.data = ngx_pstrdup(r->pool, &info.type);
    if (rp->info.type.data == NULL) {
        ngx_http_rtbus_replay_finalize(rp, NGX_ERROR);
        return;
    }

    rc = ngx_http_rtbus_replay_begin(rp);

    if (rc != NGX_OK || r->header_only) {
        ngx_http_rtbus_replay_finalize(rp, rc);
        return;
    }

    /* in a format that is known by now */

    ngx_http_rtbus_replay_again(&rp->carrier);

    ngx_http_run_posted_requests(c);
}


/* what the client has is in Redis by now, or never will be */

static void
ngx_http_rtbus_replay_catch_up(ngx_http_rtbus_replay_t *rp,
    ngx_rtbus_job_info_t *info)
{
    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, rp->carrier.log, 0,
                   "rtbus replay is ahead, at:%uL of:%uL running:%d",
                   rp->pos.seq, info->last.seq, info->running);

    if (info->last.epoch != rp->pos.epoch) {
        rp->done = 1;
        ngx_http_rtbus_replay_end(rp, "no answer");
        return;
    }

    if (info->over) {

        /* the end itself may have the number of what the client has */

        if (rp->pos.seq >= info->last.seq) {
            rp->pos.seq = info->last.seq - 1;
        }

    } else if (rp->pos.seq > info->last.seq) {
        return;
    }

    rp->ahead = 0;

    if (ngx_http_rtbus_replay_join(rp) != NGX_OK) {
        ngx_http_rtbus_replay_end(rp, "unavailable");
    }
}


static void
ngx_http_rtbus_replay_heartbeat(ngx_event_t *ev)
{
    size_t                     len;
    ngx_rtbus_frame_t         *frame;
    ngx_http_rtbus_replay_t   *rp;
    ngx_http_rtbus_carrier_t  *car;

    rp = ev->data;
    car = &rp->carrier;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, car->log, 0,
                   "rtbus replay heartbeat unsent:%uz", car->unsent);

    if (ngx_http_rtbus_carrier_closed(car)) {
        /* the last bytes were not taken in time */
        ngx_http_rtbus_replay_finalize(rp, NGX_ERROR);
        return;
    }

    if (car->inflight) {

        if (rp->waited == car->request->connection->sent + 1) {
            ngx_http_rtbus_carrier_lost(car);
            ngx_http_rtbus_carrier_close_for(car, NGX_HTTP_RTBUS_CLOSE_PING);
            return;
        }

        rp->waited = car->request->connection->sent + 1;
        ngx_add_timer(ev, car->conf->ping_timeout);
        return;
    }

    rp->waited = 0;

    ngx_add_timer(ev, car->conf->ping_interval);

    if (car->unsent || rp->info.waiting || rp->info.lines) {
        return;
    }

    /* ... and a comment only as a block of its own, which others do not want */

    len = (rp->info.format == RTBUS_LLM_GEMINI) ? 3 : 2;

    frame = ngx_rtbus_frame_create(len);

    if (frame == NULL) {
        ngx_http_rtbus_carrier_nomem(car);
        return;
    }

    ngx_memcpy(frame->data, ":\n\n", len);

    ngx_http_rtbus_carrier_push(car, frame);
    ngx_rtbus_frame_unref(frame);
}


static void
ngx_http_rtbus_replay_write_handler(ngx_http_request_t *r)
{
    ngx_http_rtbus_replay_t  *rp;

    rp = ngx_http_get_module_ctx(r, ngx_http_rtbus_module);

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus replay write handler unsent:%uz",
                   rp->carrier.unsent);

    if (ngx_http_rtbus_replay_flush(&rp->carrier) != NGX_OK) {
        ngx_http_rtbus_replay_finalize(rp, NGX_ERROR);
        return;
    }

    if (rp->carrier.first == NULL
        && ngx_http_rtbus_carrier_closed(&rp->carrier))
    {
        ngx_http_rtbus_replay_last(rp);
    }
}


static ngx_int_t
ngx_http_rtbus_replay_flush(ngx_http_rtbus_carrier_t *car)
{
    ngx_http_rtbus_replay_t  *rp;

    rp = (ngx_http_rtbus_replay_t *) car;

    if (rp->info.waiting) {
        return NGX_OK;
    }

    if (!car->request->header_sent && car->first
        && ngx_http_rtbus_replay_begin(rp) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_rtbus_carrier_filter(car, &rp->buf);
}


static void
ngx_http_rtbus_replay_close(ngx_http_rtbus_carrier_t *car, ngx_uint_t code,
    const char *reason)
{
    ngx_http_rtbus_replay_t  *rp;

    rp = (ngx_http_rtbus_replay_t *) car;

    if (car->broken) {
        ngx_http_rtbus_replay_finalize(rp, NGX_ERROR);
        return;
    }

    if (car->first && !rp->info.waiting) {
        ngx_add_timer(&rp->heartbeat, car->conf->ping_timeout);
        return;
    }

    ngx_http_rtbus_replay_last(rp);
}


/* all that there was to be sent has been */

static void
ngx_http_rtbus_replay_last(ngx_http_rtbus_replay_t *rp)
{
    ngx_int_t            rc;
    ngx_http_request_t  *r;

    r = rp->carrier.request;

    if (!r->header_sent) {

        if (rp->skipping && rp->clean) {
            rc = ngx_http_rtbus_replay_empty(r);

        } else if (rp->ended || rp->done) {
            rc = ngx_http_rtbus_replay_none(r, rp);

        } else {
            rc = ngx_http_rtbus_unavailable(r, NULL);
        }

        ngx_http_rtbus_replay_finalize(rp, rc);
        return;
    }

    if (rp->clean || rp->tail) {
        ngx_http_rtbus_replay_finalize(rp,
                                    ngx_http_send_special(r, NGX_HTTP_LAST));
        return;
    }

    /* without its last chunk, or with RST_STREAM */

    r->keepalive = 0;

    ngx_http_rtbus_replay_finalize(rp, NGX_OK);
}


static void
ngx_http_rtbus_replay_finalize(ngx_http_rtbus_replay_t *rp, ngx_int_t rc)
{
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = rp->carrier.request;
    c = r->connection;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "rtbus replay finalize: %i, status:%ui", rc, rp->status);

    ngx_http_rtbus_carrier_state(&rp->carrier, NGX_HTTP_RTBUS_CARRIER_CLOSED);

    ngx_http_rtbus_replay_cleanup(rp);
    ngx_rtbus_hub_leave(&rp->sub);

    ngx_http_finalize_request(r, rc);
    ngx_http_run_posted_requests(c);
}


/* from within a fan-out as well: it ends at the end of the turn */

static void
ngx_http_rtbus_replay_end(ngx_http_rtbus_replay_t *rp, const char *reason)
{
    ngx_http_rtbus_carrier_close(&rp->carrier, RTBUS_WS_NORMAL, reason);
}


/*
 * There is room again: a replay goes on; one that has been live, and could not
 * keep up, is a replay from where it was.
 */

static void
ngx_http_rtbus_replay_again(ngx_http_rtbus_carrier_t *car)
{
    ngx_http_rtbus_replay_t  *rp;

    rp = (ngx_http_rtbus_replay_t *) car;

    if (rp->ahead) {
        return;
    }

    if (!rp->behind) {
        ngx_rtbus_hub_resume(&rp->sub);
        return;
    }

    rp->behind = 0;

    ngx_rtbus_hub_leave(&rp->sub);

    if (ngx_http_rtbus_replay_join(rp) != NGX_OK) {
        ngx_http_rtbus_replay_end(rp, "replay cannot go on");
    }
}


/* without its end, a client asks for the rest elsewhere */

static void
ngx_http_rtbus_replay_leave(ngx_http_rtbus_carrier_t *car)
{
}


static void
ngx_http_rtbus_replay_ended(ngx_http_rtbus_carrier_t *car)
{
    ngx_http_rtbus_replay_t  *rp;

    rp = (ngx_http_rtbus_replay_t *) car;

    ngx_http_rtbus_replay_cleanup(rp);
    ngx_rtbus_hub_leave(&rp->sub);
}


static void
ngx_http_rtbus_replay_deliver(ngx_rtbus_sub_t *sub, ngx_rtbus_frame_t *frame)
{
    ngx_http_rtbus_replay_t *rp = sub->data;

    ngx_http_rtbus_carrier_t  *car;

    car = &rp->carrier;

    if (rp->ended || rp->behind || ngx_http_rtbus_carrier_closing(car)) {
        return;
    }

    if (frame == NULL) {
        ngx_http_rtbus_carrier_nomem(car);
        return;
    }

    if (rp->info.waiting
        || (sub->joined && car->unsent
            && car->unsent + frame->len > car->conf->send_buffer))
    {
        /* it is read once more, when it can be written */

        rp->behind = 1;
        car->wanted = !rp->info.waiting;

        if (rp->info.waiting) {
            ngx_add_timer(&rp->timer, 1);
        }

        return;
    }

    rp->pos = sub->joined ? sub->ch->pos : sub->pos;

    if (frame->len
        && !(rp->skipping && frame->tail && frame->tail - 1 <= rp->number))
    {
        ngx_http_rtbus_carrier_push(car, frame);

        car->events++;
        ngx_rtbus_stat_add(car->worker->hub.stat, delivered[car->kind], 1);
    }

    if (frame->payload) {
        ngx_http_rtbus_replay_mark(rp, frame->payload);
    }
}


static void
ngx_http_rtbus_replay_mark(ngx_http_rtbus_replay_t *rp, ngx_uint_t mark)
{
    size_t              len;
    ngx_uint_t          format;
    ngx_rtbus_frame_t  *frame;

    rp->ended = 1;
    rp->status = mark & NGX_HTTP_RTBUS_MARK_STATUS;

    switch (rp->status) {

    case RTBUS_JOB_COMPLETED:
    case RTBUS_JOB_FAILED:
        rp->clean = 1;
        break;

    default: /* RTBUS_JOB_CANCELLED, RTBUS_JOB_INTERRUPTED */

        format = (mark & NGX_HTTP_RTBUS_MARK_CAPTURE)
                 ? mark >> NGX_HTTP_RTBUS_MARK_FORMAT : RTBUS_LLM_RAW;
        len = rtbus_llm_tail(NULL, format, rp->status);

        if (len == 0) {
            break;
        }

        frame = ngx_rtbus_frame_create(len);
        if (frame == NULL) {
            break;
        }

        rtbus_llm_tail(frame->data, format, rp->status);
        ngx_http_rtbus_carrier_push(&rp->carrier, frame);
        ngx_rtbus_frame_unref(frame);

        rp->tail = 1;
    }

    ngx_http_rtbus_replay_end(rp, "end of the job");
}


/* trimmed, or the channel was made anew: this answer will never be whole */

static void
ngx_http_rtbus_replay_gap(ngx_rtbus_sub_t *sub, uint64_t lost, rtbus_pos_t pos)
{
    ngx_http_rtbus_replay_t *rp = sub->data;

    if (!rp->ended) {
        rp->done = 1;
        ngx_http_rtbus_replay_end(rp, "events are lost");
    }
}


static ngx_uint_t
ngx_http_rtbus_replay_room(ngx_rtbus_sub_t *sub, size_t size)
{
    ngx_http_rtbus_replay_t *rp = sub->data;

    size_t                     limit;
    ngx_http_rtbus_carrier_t  *car;

    car = &rp->carrier;

    if (ngx_http_rtbus_carrier_closing(car) || rp->behind) {
        return 0;
    }

    limit = car->conf->send_buffer;

    if (!sub->joined) {
        limit /= 2;
    }

    if (car->unsent && car->unsent + size > limit && !car->broken
        && ngx_http_rtbus_replay_flush(car) != NGX_OK)
    {
        ngx_http_rtbus_carrier_lost(car);
    }

    if (car->unsent && car->unsent + size > limit) {
        car->wanted = 1;
        return 0;
    }

    return 1;
}


static void
ngx_http_rtbus_replay_joined(ngx_rtbus_sub_t *sub)
{
    ngx_http_rtbus_replay_t *rp = sub->data;

    rp->joined = 1;
    sub->patient = 1;
}


static void
ngx_http_rtbus_replay_failed(ngx_rtbus_sub_t *sub)
{
    ngx_http_rtbus_replay_t *rp = sub->data;

    ngx_http_rtbus_replay_end(rp, "unavailable");
}


static ngx_rtbus_sub_t *
ngx_http_rtbus_replay_other(ngx_rtbus_sub_t *sub, ngx_rtbus_channel_t *ch)
{
    return NULL;
}
