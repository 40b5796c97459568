
#include "ngx_http_rtbus_join.h"
#include "ngx_http_rtbus_subs.h"


static ngx_uint_t ngx_http_rtbus_join_busy(ngx_http_rtbus_client_t *cli,
    ngx_str_t *channel);
static void ngx_http_rtbus_join_done(ngx_http_rtbus_sub_t *s, ngx_int_t rc);
static void ngx_http_rtbus_join_job_done(ngx_http_rtbus_sub_t *s,
    ngx_int_t rc);
static void ngx_http_rtbus_join_sync_done(ngx_http_rtbus_sub_t *s,
    ngx_int_t rc);


/* by ngx_http_rtbus_join_e */

static const ngx_http_rtbus_joined_pt  ngx_http_rtbus_join_handlers[] = {
    NULL,
    ngx_http_rtbus_join_done,
    ngx_http_rtbus_join_job_done,
    ngx_http_rtbus_join_sync_done
};

#define ngx_http_rtbus_join_nhandlers                                         \
    (sizeof(ngx_http_rtbus_join_handlers) / sizeof(ngx_http_rtbus_joined_pt))


ngx_int_t
ngx_http_rtbus_join(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_channel_t *channel, ngx_http_rtbus_join_e kind,
    uint64_t *ack)
{
    ngx_int_t  rc;

    rc = ngx_http_rtbus_join_begin(cli, channel, kind, ack);

    return ngx_http_rtbus_join_answer(cli, channel, kind, ack, rc);
}


ngx_int_t
ngx_http_rtbus_join_begin(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_channel_t *channel, ngx_http_rtbus_join_e kind,
    uint64_t *ack)
{
    return ngx_http_rtbus_subs_join(cli, channel,
                                    ngx_http_rtbus_join_handlers[kind],
                                    ack ? *ack : NGX_HTTP_RTBUS_NO_ACK);
}


ngx_int_t
ngx_http_rtbus_join_answer(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_channel_t *channel, ngx_http_rtbus_join_e kind,
    uint64_t *ack, ngx_int_t rc)
{
    ngx_uint_t             error;
    ngx_http_rtbus_sub_t  *s;

    switch (rc) {

    case NGX_OK:
        s = ngx_http_rtbus_client_find(cli, &channel->name);
        s->ack = ack ? *ack : NGX_HTTP_RTBUS_NO_ACK;
        ngx_http_rtbus_join_handlers[kind](s, NGX_OK);
        return NGX_OK;

    case NGX_AGAIN:
        return NGX_OK;

    case NGX_BUSY:
        error = ngx_http_rtbus_join_busy(cli, &channel->name);
        return ngx_http_rtbus_client_refuse(cli, error, ack);

    case NGX_DECLINED:
        return ngx_http_rtbus_client_refuse(cli, NGX_RTBUS_REASON_UNAVAILABLE,
                                            ack);

    default: /* NGX_ERROR */
        return NGX_ERROR;
    }
}


/* why the client cannot join the channel now, or 0 */

static ngx_uint_t
ngx_http_rtbus_join_busy(ngx_http_rtbus_client_t *cli, ngx_str_t *channel)
{
    ngx_http_rtbus_sub_t  *s;

    s = ngx_http_rtbus_client_find(cli, channel);

    if (s) {
        return s->handler ? NGX_RTBUS_REASON_UNDER_WAY : RTBUS_REASON_NONE;
    }

    return ngx_http_rtbus_client_full(cli, channel) ? NGX_RTBUS_REASON_CHANNELS
                                                    : RTBUS_REASON_NONE;
}


static void
ngx_http_rtbus_join_done(ngx_http_rtbus_sub_t *s, ngx_int_t rc)
{
    uint64_t    *ack;
    ngx_uint_t   error;

    ack = (s->ack == NGX_HTTP_RTBUS_NO_ACK) ? NULL : &s->ack;

    switch (rc) {

    case NGX_OK:
        error = RTBUS_REASON_NONE;
        break;

    case NGX_ABORT:
        error = NGX_RTBUS_REASON_UNSUBSCRIBED;
        break;

    case NGX_HTTP_FORBIDDEN:
        error = NGX_RTBUS_REASON_FORBIDDEN;
        break;

    default: /* NGX_DECLINED */
        error = NGX_RTBUS_REASON_UNAVAILABLE;
        break;
    }

    if (error == RTBUS_REASON_NONE) {
        rc = ngx_http_rtbus_join_ok(s->cli, &s->sub.ch->name, ack);

    } else {
        rc = ngx_http_rtbus_client_refuse(s->cli, error, ack);
    }

    if (rc != NGX_OK) {
        ngx_http_rtbus_carrier_nomem(s->cli->carrier);
    }
}


static void
ngx_http_rtbus_join_job_done(ngx_http_rtbus_sub_t *s, ngx_int_t rc)
{
    if (rc == NGX_OK) {
        ngx_http_rtbus_join_job_event(s->cli, "subscribed", &s->sub.ch->name);
    }

    ngx_http_rtbus_join_done(s, rc);
}


static void
ngx_http_rtbus_join_sync_done(ngx_http_rtbus_sub_t *s, ngx_int_t rc)
{
    u_char     *p;
    ngx_str_t   data, job;
    u_char      buf[RTBUS_CHANNEL_MAX + 128];

    if (rc == NGX_OK) {
        job.data = s->sub.ch->name.data + sizeof("job:") - 1;
        job.len = s->sub.ch->name.len - (sizeof("job:") - 1);

        p = ngx_snprintf(buf, sizeof(buf),
                         "{\"jobId\":\"%V\",\"replayed\":%uL,"
                         "\"lastSequence\":%uL,\"complete\":%s}",
                         &job, s->sub.replayed, s->sub.ch->pos.seq,
                         s->sub.gapped ? "false" : "true");
        data.data = buf;
        data.len = p - buf;

        ngx_http_rtbus_client_event(s->cli, "sync:complete", &data,
                                    &s->sub.ch->name);
    }

    ngx_http_rtbus_join_done(s, rc);
}


void
ngx_http_rtbus_join_job_event(ngx_http_rtbus_client_t *cli, const char *name,
    ngx_str_t *channel)
{
    u_char     *p;
    ngx_str_t   data, job;
    u_char      buf[RTBUS_CHANNEL_MAX + 32];

    job.data = channel->data + sizeof("job:") - 1;
    job.len = channel->len - (sizeof("job:") - 1);

    p = ngx_snprintf(buf, sizeof(buf), "{\"jobId\":\"%V\"}", &job);

    data.data = buf;
    data.len = p - buf;

    ngx_http_rtbus_client_event(cli, name, &data, channel);
}


ngx_int_t
ngx_http_rtbus_join_ok(ngx_http_rtbus_client_t *cli, ngx_str_t *channel,
    uint64_t *ack)
{
    u_char                *p;
    ngx_str_t              data;
    rtbus_pos_t            pos;
    ngx_http_rtbus_sub_t  *s;
    u_char                 buf[RTBUS_CHANNEL_MAX + RTBUS_POSITION_MAX + 64];

    if (cli->keeps && cli->stale_cursor) {

        /* else it would recover with a cursor that lacks the channel */

        p = ngx_snprintf(buf, sizeof(buf), "{\"channel\":\"%V\"}", channel);
        data.data = buf;
        data.len = p - buf;

        ngx_http_rtbus_client_event(cli, "sync:cursor", &data, channel);
    }

    if (cli->merges) {
        ngx_http_rtbus_client_tell_cursor(cli);
    }

    if (ack == NULL) {
        return NGX_OK;
    }

    p = ngx_snprintf(buf, sizeof(buf), "{\"ok\":true,\"channel\":\"%V\"",
                     channel);

    s = ngx_http_rtbus_client_find(cli, channel);

    if (s && ngx_rtbus_hub_position(&s->sub, &pos) == NGX_OK) {
        p = ngx_cpymem(p, ",\"position\":\"",
                       sizeof(",\"position\":\"") - 1);
        p += rtbus_pos_write(p, pos);
        *p++ = '"';
    }

    *p++ = '}';

    data.data = buf;
    data.len = p - buf;

    return cli->protocol->ack(cli, *ack, &data);
}


ngx_http_rtbus_join_e
ngx_http_rtbus_join_kind(ngx_http_rtbus_sub_t *s)
{
    ngx_uint_t  kind;

    for (kind = 0; kind < ngx_http_rtbus_join_nhandlers; kind++) {
        if (ngx_http_rtbus_join_handlers[kind] == s->handler) {
            return kind;
        }
    }

    return NGX_HTTP_RTBUS_JOIN_NONE;
}


void
ngx_http_rtbus_join_wait(ngx_http_rtbus_sub_t *s, ngx_uint_t kind)
{
    s->handler = (kind < ngx_http_rtbus_join_nhandlers)
                 ? ngx_http_rtbus_join_handlers[kind] : NULL;
}
