
#include "ngx_http_rtbus_replay_request.h"
#include "ngx_http_rtbus_access.h"
#include "ngx_http_rtbus_name.h"
#include "ngx_http_rtbus_replay.h"
#include "ngx_http_rtbus_reply.h"
#include "ngx_http_rtbus_request.h"
#include "rtbus_number.h"


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
                      "rtbus: client in a subrequest \"%V\"", &r->uri);
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    rc = ngx_http_rtbus_admit_bare(r, NGX_HTTP_GET|NGX_HTTP_HEAD, "GET, HEAD",
                                   &id);
    if (rc != NGX_OK || r->header_sent) {
        return rc;
    }

    rp = ngx_pcalloc(r->pool, sizeof(ngx_http_rtbus_replay_t));
    if (rp == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rp->conf = rlcf->replay;
    rp->user = id.user;

    rc = ngx_http_rtbus_name_channel(r, rp->conf->channel,
                                     "asked for a replay of", &rp->channel);
    if (rc != NGX_OK || r->header_sent) {
        return rc;
    }

    if (ngx_rtbus_mailbox_channel(&rp->channel)) {
        return ngx_http_rtbus_name_bad(r, "asked for a replay of",
                                       &rp->channel);
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

    return ngx_http_rtbus_call(r, q.argc, q.argv, q.len,
                               ngx_http_rtbus_replay_checked, rp);
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
                  "rtbus: client sent bad position %V",
                  ngx_http_rtbus_text_shown(value));

    return ngx_http_rtbus_error(r, NGX_HTTP_BAD_REQUEST,
                                NGX_RTBUS_REASON_POSITION, NULL, NULL);
}


static ngx_int_t
ngx_http_rtbus_replay_checked(ngx_http_request_t *r, void *data,
    redisReply *reply)
{
    ngx_http_rtbus_replay_t *rp = data;

    ngx_rtbus_job_info_t       *info;
    ngx_http_rtbus_loc_conf_t  *rlcf;

    info = &rp->info;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    switch (ngx_rtbus_job_info(&rlcf->bus->worker->hub, reply, r->pool, info)) {

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

        /*
         * A browser gives a body to 204, too: a client that counts events
         * (WorkflowChatTransport) reads an end that it does not know, and asks
         * again at once, for ever.  So it gets what "none" says.
         */

        if (rp->exact) {
            return ngx_http_rtbus_replay_empty(r);
        }

        return ngx_http_rtbus_replay_none(r, rp);

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

    if (rp->pos.seq <= info->last.seq) {
        return NGX_OK;
    }

    /*
     * An event goes to the client of a capture before it goes to Redis: that
     * client is right if it comes back at once, and if the rest got lost
     */

    if (!info->captured
        || (info->over && info->status != RTBUS_JOB_INTERRUPTED))
    {
        return NGX_DECLINED;
    }

    rp->ahead = 1;

    return NGX_OK;
}
