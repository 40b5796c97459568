
#include "ngx_http_rtbus_replay.h"
#include "ngx_http_rtbus_access.h"
#include "ngx_http_rtbus_carrier.h"
#include "ngx_http_rtbus_cors.h"
#include "ngx_http_rtbus_name.h"
#include "ngx_http_rtbus_reply.h"
#include "ngx_http_rtbus_request.h"
#include "ngx_rtbus_job.h"
#include "rtbus_llm.h"
#include "rtbus_number.h"
#include "rtbus_sse.h"
#include "rtbus_ws.h"


#define NGX_HTTP_RTBUS_REPLAY_POLL   200     /* ms, until there is an answer */
#define NGX_HTTP_RTBUS_REPLAY_WATCH  2000    /* ms, whether its owner is there */


/* what a frame tells beside its bytes, in frame->payload */

#define NGX_HTTP_RTBUS_MARK_STATUS   0x000f
#define NGX_HTTP_RTBUS_MARK_CAPTURE  0x0010
#define NGX_HTTP_RTBUS_MARK_FORMAT   8       /* bits to the left */


typedef struct {
    ngx_http_rtbus_carrier_t       carrier;    /* the first member */
    ngx_rtbus_sub_t                sub;
    ngx_http_rtbus_replay_conf_t  *conf;

    ngx_str_t                      channel;
    ngx_str_t                      user;
    ngx_str_t                      type;       /* of the answer; empty: there is
                                                  none yet */
    rtbus_pos_t                    pos;        /* the client has got so far */
    uint64_t                       number;     /* with count=responses: what has
                                                  a greater one is wanted */
    ngx_rtbus_job_info_t           info;
    ngx_rtbus_redis_call_t        *call;       /* under way, or NULL */
    ngx_event_t                    timer;      /* asks for the state */
    ngx_event_t                    heartbeat;
    off_t                          waited;
    ngx_buf_t                      buf;        /* of the first frame, in flight */
    ngx_uint_t                     status;     /* rtbus_job_status_e */

    unsigned                       owned:1;    /* for its owner only */
    unsigned                       attached:1; /* instead of an upstream */
    unsigned                       placed:1;   /* pos.seq is set */
    unsigned                       exact:1;    /* ... and its epoch, too */
    unsigned                       skipping:1; /* up to number */
    unsigned                       started:1;  /* has a carrier */
    unsigned                       joined:1;   /* has been live */
    unsigned                       behind:1;   /* is to read on from pos */
    unsigned                       ended:1;
    unsigned                       clean:1;    /* with an end of the answer */
    unsigned                       tail:1;     /* or with that of its format */
    unsigned                       done:1;     /* finalized */
} ngx_http_rtbus_replay_t;


static ngx_int_t ngx_http_rtbus_replay_ask(ngx_http_request_t *r,
    ngx_http_rtbus_replay_t *rp);
static ngx_int_t ngx_http_rtbus_replay_after(ngx_http_request_t *r,
    ngx_http_rtbus_replay_t *rp);
static ngx_int_t ngx_http_rtbus_replay_cursor(ngx_http_rtbus_replay_t *rp,
    ngx_str_t *text);
static ngx_int_t ngx_http_rtbus_replay_value(ngx_http_request_t *r,
    ngx_http_rtbus_replay_t *rp, ngx_str_t *value);
static ngx_int_t ngx_http_rtbus_replay_checked(ngx_http_request_t *r,
    void *data, redisReply *reply);
static ngx_int_t ngx_http_rtbus_replay_place(ngx_http_rtbus_replay_t *rp);
static ngx_int_t ngx_http_rtbus_replay_none(ngx_http_request_t *r,
    ngx_http_rtbus_replay_t *rp);
static ngx_int_t ngx_http_rtbus_replay_empty(ngx_http_request_t *r);
static ngx_int_t ngx_http_rtbus_replay_start(ngx_http_request_t *r,
    ngx_http_rtbus_replay_t *rp);
static ngx_int_t ngx_http_rtbus_replay_join(ngx_http_rtbus_replay_t *rp);
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

static ngx_rtbus_frame_t *ngx_http_rtbus_replay_encode(
    const ngx_rtbus_format_t *format, ngx_rtbus_msg_t *msg);
static ngx_int_t ngx_http_rtbus_replay_source(rtbus_event_t *event,
    rtbus_str_t *name, rtbus_str_t *data, u_char **memory);
static ngx_uint_t ngx_http_rtbus_replay_mark_of(rtbus_event_t *event);
static uint64_t ngx_http_rtbus_replay_number(rtbus_event_t *event);

static char *ngx_http_rtbus_replay_param(ngx_conf_t *cf,
    ngx_http_rtbus_replay_conf_t *conf, ngx_str_t *param);


/* with ids, without them, lines of JSON; and those with numbers of their own */

static const ngx_rtbus_format_t  ngx_http_rtbus_replay_formats[] = {
    { ngx_http_rtbus_replay_encode, NULL },
    { ngx_http_rtbus_replay_encode, NULL },
    { ngx_http_rtbus_replay_encode, NULL },
    { ngx_http_rtbus_replay_encode, NULL },
    { ngx_http_rtbus_replay_encode, NULL }
};

#define NGX_HTTP_RTBUS_REPLAY_IDS      (&ngx_http_rtbus_replay_formats[0])
#define NGX_HTTP_RTBUS_REPLAY_BARE     (&ngx_http_rtbus_replay_formats[1])
#define NGX_HTTP_RTBUS_REPLAY_LINES    (&ngx_http_rtbus_replay_formats[2])
#define NGX_HTTP_RTBUS_REPLAY_COUNTED  (&ngx_http_rtbus_replay_formats[3])


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


static ngx_http_rtbus_replay_conf_t  ngx_http_rtbus_replay_default = {
    NULL,
    NULL,
    NGX_HTTP_RTBUS_COUNT_NONE,
    NGX_HTTP_NO_CONTENT,
    0,
    NGX_CONF_UNSET_UINT
};


ngx_int_t
ngx_http_rtbus_replay_handler(ngx_http_request_t *r)
{
    ngx_int_t                   rc;
    ngx_http_rtbus_replay_t    *rp;
    ngx_http_rtbus_identity_t   id;
    ngx_http_rtbus_loc_conf_t  *rlcf;

    if (r != r->main) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "rtbus client in a subrequest \"%V\"", &r->uri);
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    rc = ngx_http_rtbus_admit(r, NGX_HTTP_GET|NGX_HTTP_HEAD, "GET, HEAD");
    if (rc != NGX_OK || r->header_sent) {
        return rc;
    }

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_http_rtbus_identify(r, NULL, &id);

    if (rc == NGX_DECLINED) {
        return ngx_http_rtbus_unauthorized(r, id.reason);
    }

    if (rc != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rp = ngx_pcalloc(r->pool, sizeof(ngx_http_rtbus_replay_t));
    if (rp == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rp->conf = rlcf->replay;
    rp->user = id.user;

    if (ngx_http_rtbus_name_eval(r, rp->conf->channel, &rp->channel)
        == NGX_ERROR)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (rtbus_channel_check(rp->channel.data, rp->channel.len) != RTBUS_OK
        || ngx_rtbus_mailbox_channel(&rp->channel))
    {
        ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                      "client asked for a replay of bad channel %V",
                      ngx_http_rtbus_text_shown(&rp->channel));

        return ngx_http_rtbus_error(r, NGX_HTTP_BAD_REQUEST, "bad channel",
                                    "channel", &rp->channel);
    }

    rc = ngx_http_rtbus_replay_after(r, rp);

    if (rc == NGX_DECLINED) {
        return ngx_http_rtbus_replay_none(r, rp);
    }

    if (rc != NGX_OK || r->header_sent) {
        return rc;
    }

    switch (ngx_http_rtbus_access_check_request(r, &id.user, &rp->channel)) {

    case NGX_OK:
        break;

    case NGX_AGAIN:
        rp->owned = 1;
        break;

    case NGX_DECLINED:
        ngx_http_rtbus_access_foreign(&rp->channel, r->connection->log);
        return ngx_http_rtbus_replay_none(r, rp);

    default: /* NGX_ERROR */
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_rtbus_replay_ask(r, rp);
}


ngx_int_t
ngx_http_rtbus_replay_attach(ngx_http_request_t *r, ngx_str_t *channel,
    ngx_str_t *last)
{
    ngx_http_rtbus_replay_t  *rp;

    rp = ngx_pcalloc(r->pool, sizeof(ngx_http_rtbus_replay_t));
    if (rp == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rp->conf = &ngx_http_rtbus_replay_default;
    rp->channel = *channel;
    rp->attached = 1;

    if (last->len && ngx_http_rtbus_replay_cursor(rp, last) != NGX_OK) {
        return ngx_http_rtbus_replay_none(r, rp);
    }

    return ngx_http_rtbus_replay_ask(r, rp);
}


static ngx_int_t
ngx_http_rtbus_replay_ask(ngx_http_request_t *r, ngx_http_rtbus_replay_t *rp)
{
    ngx_rtbus_job_question_t    q;
    ngx_http_rtbus_loc_conf_t  *rlcf;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    if (rlcf->bus->worker == NULL) {
        return ngx_http_rtbus_unavailable(r, NULL);
    }

    ngx_rtbus_job_check(&rlcf->bus->worker->hub, &rp->channel, &q);

    switch (ngx_http_rtbus_call(r, q.argc, q.argv, q.len,
                                ngx_http_rtbus_replay_checked, rp))
    {

    case NGX_DONE:
        return NGX_DONE;

    case NGX_DECLINED:
        return ngx_http_rtbus_unavailable(r, NULL);

    default: /* NGX_ERROR */
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
}


/* NGX_OK and, unless r->header_sent, on; NGX_DECLINED: that there is none */

static ngx_int_t
ngx_http_rtbus_replay_after(ngx_http_request_t *r, ngx_http_rtbus_replay_t *rp)
{
    ngx_str_t         value;
    ngx_table_elt_t  *h;

    h = ngx_http_rtbus_header_in(r, "last-event-id",
                                 sizeof("last-event-id") - 1);

    if (h && h->value.len) {
        return ngx_http_rtbus_replay_cursor(rp, &h->value);
    }

    if (rp->conf->after == NULL) {
        return NGX_OK;
    }

    if (ngx_http_rtbus_name_eval(r, rp->conf->after, &value) == NGX_ERROR) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (value.len == 0
        || (value.len == 2 && ngx_strncmp(value.data, "-1", 2) == 0))
    {
        return NGX_OK;
    }

    return ngx_http_rtbus_replay_value(r, rp, &value);
}


/* an id of ours names the channel, whatever else it names */

static ngx_int_t
ngx_http_rtbus_replay_cursor(ngx_http_rtbus_replay_t *rp, ngx_str_t *text)
{
    const uint8_t         *p;
    rtbus_cursor_entry_t   entry;

    p = text->data;

    while (rtbus_cursor_next(&entry, &p, text->data + text->len) == RTBUS_OK) {

        if (entry.channel.len == rp->channel.len
            && ngx_strncmp(entry.channel.data, rp->channel.data,
                           rp->channel.len)
               == 0)
        {
            rp->pos = entry.pos;
            rp->placed = 1;
            rp->exact = 1;
            return NGX_OK;
        }
    }

    return NGX_DECLINED;
}


static ngx_int_t
ngx_http_rtbus_replay_value(ngx_http_request_t *r, ngx_http_rtbus_replay_t *rp,
    ngx_str_t *value)
{
    uint64_t        n;
    const uint8_t  *last;

    last = value->data + value->len;

    if (rp->conf->count == NGX_HTTP_RTBUS_COUNT_NONE) {

        if (rtbus_pos_parse(&rp->pos, value->data, value->len) == RTBUS_OK) {
            rp->placed = 1;
            rp->exact = 1;
            return NGX_OK;
        }

        if (ngx_strlchr(value->data, value->data + value->len, '@')) {
            return ngx_http_rtbus_replay_cursor(rp, value);
        }

    } else if (rtbus_number_parse(&n, value->data, last) == last) {

        if (rp->conf->count == NGX_HTTP_RTBUS_COUNT_RESPONSES) {
            rp->number = n;
            rp->skipping = 1;

        } else {
            rp->pos.seq = n;
            rp->placed = 1;
        }

        return NGX_OK;
    }

    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                  "client sent bad position %V",
                  ngx_http_rtbus_text_shown(value));

    return ngx_http_rtbus_error(r, NGX_HTTP_BAD_REQUEST, "bad position", NULL,
                                NULL);
}


static ngx_int_t
ngx_http_rtbus_replay_checked(ngx_http_request_t *r, void *data,
    redisReply *reply)
{
    ngx_http_rtbus_replay_t *rp = data;

    ngx_rtbus_job_info_t  *info;

    info = &rp->info;

    switch (ngx_rtbus_job_info(reply, r->pool, info)) {

    case NGX_OK:
        break;

    case NGX_DECLINED:
        return ngx_http_rtbus_unavailable(r, reply);

    default: /* NGX_ERROR */
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_log_debug5(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus replay of \"%V\", status:%ui, over:%ui, last:%uL-%uL",
                   &rp->channel, info->status, (ngx_uint_t) info->over,
                   info->last.epoch, info->last.seq);

    if (rp->owned
        && (rp->user.len == 0 || info->user.len != rp->user.len
            || ngx_memcmp(info->user.data, rp->user.data, rp->user.len) != 0))
    {
        ngx_http_rtbus_access_foreign(&rp->channel, r->connection->log);
        return ngx_http_rtbus_replay_none(r, rp);
    }

    switch (ngx_http_rtbus_replay_place(rp)) {

    case NGX_OK:
        break;

    case NGX_DONE:
        return ngx_http_rtbus_replay_empty(r);

    default: /* NGX_DECLINED */
        return ngx_http_rtbus_replay_none(r, rp);
    }

    return ngx_http_rtbus_replay_start(r, rp);
}


/*
 * Where to begin: NGX_OK; NGX_DONE: the client has all of it already;
 * NGX_DECLINED: there is nothing to replay, or not any more.
 */

static ngx_int_t
ngx_http_rtbus_replay_place(ngx_http_rtbus_replay_t *rp)
{
    uint64_t               seq;
    ngx_rtbus_job_info_t  *info;

    info = &rp->info;

    if (!info->over && !info->running
        && (info->last.seq == 0 || info->captured))
    {
        return NGX_DECLINED;
    }

    if (rp->exact && rp->pos.epoch != info->last.epoch) {
        return NGX_DECLINED;
    }

    rp->pos.epoch = info->last.epoch;

    if (info->over) {

        if (!rp->attached && info->since > rp->conf->done) {
            return NGX_DECLINED;
        }

        if (info->captured && info->type.len == 0) {
            return NGX_DECLINED;
        }

        /* the capture's own mark is not for clients */

        seq = info->end.seq - (info->captured && info->end.seq);

        if (rp->placed && rp->pos.seq >= seq && rp->pos.seq <= info->last.seq
            && (seq || rp->exact))
        {
            return NGX_DONE;
        }
    }

    return (rp->pos.seq > info->last.seq) ? NGX_DECLINED : NGX_OK;
}


static ngx_int_t
ngx_http_rtbus_replay_none(ngx_http_request_t *r, ngx_http_rtbus_replay_t *rp)
{
    if (rp->conf->none == NGX_HTTP_NO_CONTENT) {
        return ngx_http_rtbus_replay_empty(r);
    }

    return ngx_http_rtbus_error(r, NGX_HTTP_NOT_FOUND, "nothing to replay",
                                "channel", &rp->channel);
}


static ngx_int_t
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


static ngx_int_t
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

    rp->started = 1;
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
        ngx_add_timer(&rp->timer, rp->info.waiting
                                  ? NGX_HTTP_RTBUS_REPLAY_POLL
                                  : NGX_HTTP_RTBUS_REPLAY_WATCH);
    }

    ngx_add_timer(&rp->heartbeat, rp->carrier.conf->ping_interval);

    return NGX_DONE;
}


static ngx_int_t
ngx_http_rtbus_replay_join(ngx_http_rtbus_replay_t *rp)
{
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
    ngx_int_t                  rc;
    ngx_str_t                  value;
    ngx_connection_t          *c;
    ngx_http_request_t        *r;
    ngx_http_core_loc_conf_t  *clcf;

    r = rp->carrier.request;
    c = r->connection;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    r->keepalive = r->header_only ? r->keepalive : 0;
    r->disable_not_modified = 1;
    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_length_n = -1;

    if (rp->info.type.len) {
        r->headers_out.content_type = rp->info.type;

    } else {
        ngx_str_set(&r->headers_out.content_type, "text/event-stream");
    }

    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;

    ngx_str_set(&value, "no-store");

    if (ngx_http_rtbus_header(r, "Cache-Control", &value) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

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

    rc = ngx_http_send_header(r);

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

    ngx_add_timer(ev, rp->info.waiting ? NGX_HTTP_RTBUS_REPLAY_POLL
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

    if (!rp->info.waiting || ngx_http_rtbus_carrier_closing(&rp->carrier)
        || ngx_rtbus_job_info(reply, r->pool, &info) != NGX_OK)
    {
        return;
    }

    ngx_http_set_log_request(c->log, r);

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

    rc = ngx_http_rtbus_replay_begin(rp);

    if (rc != NGX_OK || r->header_only) {
        ngx_http_rtbus_replay_finalize(rp, rc);
        return;
    }

    /* in a format that is known by now */

    ngx_http_rtbus_replay_again(&rp->carrier);

    ngx_http_run_posted_requests(c);
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
            ngx_http_rtbus_carrier_close(car, RTBUS_WS_INTERNAL,
                                         "ping timeout");
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


static ngx_rtbus_frame_t *
ngx_http_rtbus_replay_encode(const ngx_rtbus_format_t *format,
    ngx_rtbus_msg_t *msg)
{
    u_char             *p, *memory;
    size_t              len;
    ngx_uint_t          mark;
    rtbus_str_t         name, id, data;
    rtbus_event_t      *event;
    ngx_rtbus_frame_t  *frame;
    u_char              cursor[RTBUS_CHANNEL_MAX + 1 + RTBUS_POSITION_MAX];

    event = msg->event;

    /* what is live only is no part of the answer */

    if (event->pos.epoch == 0 && event->pos.seq == 0) {
        return ngx_rtbus_frame_create(0);
    }

    mark = ngx_http_rtbus_replay_mark_of(event);

    if (mark & NGX_HTTP_RTBUS_MARK_CAPTURE) {

        frame = ngx_rtbus_frame_create(0);

        if (frame) {
            frame->payload = mark;
        }

        return frame;
    }

    if (ngx_http_rtbus_replay_source(event, &name, &data, &memory) != NGX_OK) {
        return NULL;
    }

    id.data = cursor;
    id.len = 0;

    if (format == NGX_HTTP_RTBUS_REPLAY_IDS
        || format == NGX_HTTP_RTBUS_REPLAY_COUNTED)
    {
        p = ngx_cpymem(cursor, msg->channel.data, msg->channel.len);
        *p++ = '@';
        p += rtbus_pos_write(p, msg->pos);

        id.len = p - cursor;
    }

    if (format == NGX_HTTP_RTBUS_REPLAY_LINES) {

        frame = ngx_rtbus_frame_create(data.len + 1);

        if (frame) {
            p = ngx_cpymem(frame->data, data.data, data.len);
            *p = '\n';
        }

    } else {
        frame = ngx_rtbus_frame_create(rtbus_sse_write(NULL, &name, &data,
                                                       &id, &len));

        if (frame) {
            rtbus_sse_write(frame->data, &name, &data, &id, &len);
        }
    }

    if (frame) {
        frame->payload = mark;

        if (format >= NGX_HTTP_RTBUS_REPLAY_COUNTED) {
            frame->tail = ngx_http_rtbus_replay_number(event);
        }
    }

    if (memory) {
        ngx_free(memory);
    }

    return frame;
}


/* name and data as their source had them; *memory is to be freed, or NULL */

static ngx_int_t
ngx_http_rtbus_replay_source(rtbus_event_t *event, rtbus_str_t *name,
    rtbus_str_t *data, u_char **memory)
{
    u_char  *p;

    *memory = NULL;

    if (event->source.data) {
        *name = event->source;

    } else if (event->name.len == 7
               && ngx_strncmp(event->name.data, "message", 7) == 0)
    {
        name->len = 0;
        name->data = NULL;

    } else {
        *name = event->name;
    }

    if (event->bytes.data) {
        *data = event->bytes;

    } else if (event->args.len) {
        *data = event->args;

    } else if (event->data.len) {
        *data = event->data;

    } else {
        data->data = (u_char *) "null";
        data->len = 4;
    }

    if (!event->quoted || (!event->text && event->source.data == NULL)) {
        return NGX_OK;
    }

    p = ngx_alloc(data->len + name->len + 1, ngx_cycle->log);
    if (p == NULL) {
        return NGX_ERROR;
    }

    *memory = p;

    if (event->source.data) {
        name->data = p;
        name->len = rtbus_json_unquote(p, &event->source);
        p += name->len;
    }

    if (event->text) {
        data->len = rtbus_json_unquote(p, &event->data);
        data->data = p;
    }

    return NGX_OK;
}


static ngx_uint_t
ngx_http_rtbus_replay_mark_of(rtbus_event_t *event)
{
    ngx_uint_t   mark, n;
    rtbus_str_t  value;

    if (event->end.data == NULL) {
        return 0;
    }

    value = event->end;

    if (event->quoted) {
        value.data++;
        value.len -= 2;
    }

    n = rtbus_llm_name(rtbus_job_statuses, RTBUS_JOB_STATUSES, value.data,
                       value.len);

    mark = (n == RTBUS_JOB_RUNNING || n == RTBUS_JOB_STATUSES)
           ? RTBUS_JOB_INTERRUPTED : n;

    if (event->capture.data == NULL) {
        return mark;
    }

    value = event->capture;

    if (event->quoted) {
        value.data++;
        value.len -= 2;
    }

    n = rtbus_llm_name(rtbus_llm_names, RTBUS_LLM_FORMATS, value.data,
                       value.len);

    if (n == RTBUS_LLM_FORMATS) {
        n = RTBUS_LLM_RAW;
    }

    return mark | NGX_HTTP_RTBUS_MARK_CAPTURE
           | (n << NGX_HTTP_RTBUS_MARK_FORMAT);
}


/* sequence_number and one more; 0: the event has none */

static uint64_t
ngx_http_rtbus_replay_number(rtbus_event_t *event)
{
    uint64_t             n;
    rtbus_json_member_t  m[] = { rtbus_json_member("sequence_number") };

    if (event->text || event->data.len == 0 || event->data.data[0] != '{') {
        return 0;
    }

    rtbus_json_members(&event->data, m, 1);

    if (m[0].value.type != RTBUS_JSON_NUMBER
        || rtbus_json_uint(&m[0].value.raw, &n) != RTBUS_OK)
    {
        return 0;
    }

    return n + 1;
}


char *
ngx_http_rtbus_replay_set(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_rtbus_loc_conf_t *rlcf = conf;

    char                          *rv;
    ngx_str_t                     *value;
    ngx_uint_t                     i;
    ngx_http_rtbus_replay_conf_t  *rpcf;
    ngx_http_rtbus_main_conf_t    *rmcf;

    if (rlcf->replay) {
        return "is duplicate";
    }

    rpcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_rtbus_replay_conf_t));
    if (rpcf == NULL) {
        return NGX_CONF_ERROR;
    }

    rpcf->none = NGX_HTTP_NO_CONTENT;
    rpcf->done = 10000;
    rpcf->id = NGX_CONF_UNSET_UINT;

    value = cf->args->elts;

    rpcf->channel = ngx_palloc(cf->pool, sizeof(ngx_http_rtbus_name_t));
    if (rpcf->channel == NULL) {
        return NGX_CONF_ERROR;
    }

    if (ngx_http_rtbus_name_compile(cf, &value[1], 0, rpcf->channel)
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    for (i = 2; i < cf->args->nelts; i++) {
        rv = ngx_http_rtbus_replay_param(cf, rpcf, &value[i]);

        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    if (rpcf->count != NGX_HTTP_RTBUS_COUNT_NONE && rpcf->after == NULL) {
        return "has \"count\" without \"after\"";
    }

    rlcf->replay = rpcf;

    rmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_rtbus_module);
    rmcf->used = 1;

    return NGX_CONF_OK;
}


static char *
ngx_http_rtbus_replay_param(ngx_conf_t *cf, ngx_http_rtbus_replay_conf_t *conf,
    ngx_str_t *param)
{
    ngx_str_t  s;

    if (param->len > 6 && ngx_strncmp(param->data, "after=", 6) == 0
        && conf->after == NULL)
    {
        s.data = param->data + 6;
        s.len = param->len - 6;

        conf->after = ngx_palloc(cf->pool, sizeof(ngx_http_rtbus_name_t));
        if (conf->after == NULL) {
            return NGX_CONF_ERROR;
        }

        return (ngx_http_rtbus_name_cut(cf, &s, conf->after) == NGX_OK)
               ? NGX_CONF_OK : NGX_CONF_ERROR;
    }

    if (ngx_strcmp(param->data, "count=seq") == 0) {
        conf->count = NGX_HTTP_RTBUS_COUNT_SEQ;
        return NGX_CONF_OK;
    }

    if (ngx_strcmp(param->data, "count=index") == 0) {
        conf->count = NGX_HTTP_RTBUS_COUNT_INDEX;
        return NGX_CONF_OK;
    }

    if (ngx_strcmp(param->data, "count=responses") == 0) {
        conf->count = NGX_HTTP_RTBUS_COUNT_RESPONSES;
        return NGX_CONF_OK;
    }

    if (ngx_strcmp(param->data, "none=204") == 0) {
        conf->none = NGX_HTTP_NO_CONTENT;
        return NGX_CONF_OK;
    }

    if (ngx_strcmp(param->data, "none=404") == 0) {
        conf->none = NGX_HTTP_NOT_FOUND;
        return NGX_CONF_OK;
    }

    if (ngx_strncmp(param->data, "done=", 5) == 0) {

        s.data = param->data + 5;
        s.len = param->len - 5;

        conf->done = ngx_parse_time(&s, 0);

        if (conf->done != (ngx_msec_t) NGX_ERROR) {
            return NGX_CONF_OK;
        }
    }

    if (ngx_strcmp(param->data, "id=on") == 0) {
        conf->id = 1;
        return NGX_CONF_OK;
    }

    if (ngx_strcmp(param->data, "id=off") == 0) {
        conf->id = 0;
        return NGX_CONF_OK;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid parameter \"%V\"",
                       param);
    return NGX_CONF_ERROR;
}
