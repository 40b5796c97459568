
#include "ngx_http_rtbus_inbox.h"
#include "ngx_http_rtbus_access.h"


typedef ngx_int_t (*ngx_http_rtbus_inbox_pt)(ngx_http_rtbus_client_t *cli,
    ngx_str_t *data, uint64_t *ack);


typedef struct {
    ngx_str_t                 name;
    ngx_http_rtbus_inbox_pt   handler;
} ngx_http_rtbus_inbox_event_t;


/* no client's number for an ack: no answer is wanted */
#define NGX_HTTP_RTBUS_NO_ACK  ((uint64_t) -1)


static ngx_int_t ngx_http_rtbus_inbox_subscribe(ngx_http_rtbus_client_t *cli,
    ngx_str_t *data, uint64_t *ack);
static ngx_int_t ngx_http_rtbus_inbox_unsubscribe(ngx_http_rtbus_client_t *cli,
    ngx_str_t *data, uint64_t *ack);
static void ngx_http_rtbus_inbox_joined(ngx_http_rtbus_sub_t *s, ngx_int_t rc);
static ngx_int_t ngx_http_rtbus_inbox_channel(ngx_http_rtbus_client_t *cli,
    ngx_str_t *data, ngx_str_t *channel, u_char *buf, uint64_t *ack);
static ngx_int_t ngx_http_rtbus_inbox_ok(ngx_http_rtbus_client_t *cli,
    ngx_str_t *channel, uint64_t *ack);
static ngx_int_t ngx_http_rtbus_inbox_refuse(ngx_http_rtbus_client_t *cli,
    const char *error, uint64_t *ack);


static ngx_http_rtbus_inbox_event_t  ngx_http_rtbus_inbox_events[] = {
    { ngx_string("subscribe"), ngx_http_rtbus_inbox_subscribe },
    { ngx_string("unsubscribe"), ngx_http_rtbus_inbox_unsubscribe },
    { ngx_null_string, NULL }
};


ngx_int_t
ngx_http_rtbus_inbox(ngx_http_rtbus_client_t *cli, ngx_str_t *name,
    ngx_str_t *data, uint64_t *ack)
{
    ngx_http_rtbus_inbox_event_t  *event;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, cli->connection->log, 0,
                   "rtbus client event \"%V\" ack:%d", name, ack != NULL);

    if (ngx_http_rtbus_client_rate(cli) != NGX_OK) {
        return ngx_http_rtbus_inbox_refuse(cli, "rate limited", ack);
    }

    for (event = ngx_http_rtbus_inbox_events; event->name.len; event++) {

        if (event->name.len == name->len
            && ngx_memcmp(event->name.data, name->data, name->len) == 0)
        {
            return event->handler(cli, data, ack);
        }
    }

    return ngx_http_rtbus_inbox_refuse(cli, "unknown event", ack);
}


static ngx_int_t
ngx_http_rtbus_inbox_subscribe(ngx_http_rtbus_client_t *cli, ngx_str_t *data,
    uint64_t *ack)
{
    ngx_int_t  rc;
    ngx_str_t  channel;
    u_char     buf[RTBUS_CHANNEL_MAX];

    rc = ngx_http_rtbus_inbox_channel(cli, data, &channel, buf, ack);
    if (rc != NGX_OK) {
        return (rc == NGX_DECLINED) ? NGX_OK : rc;
    }

    if (ngx_http_rtbus_check_rules(&cli->rules, &channel,
                                   cli->connection->log)
        != NGX_OK)
    {
        return ngx_http_rtbus_inbox_refuse(cli, "forbidden", ack);
    }

    rc = ngx_http_rtbus_client_join(cli, &channel, ngx_http_rtbus_inbox_joined,
                                    ack ? *ack : NGX_HTTP_RTBUS_NO_ACK);

    switch (rc) {

    case NGX_OK:
        return ngx_http_rtbus_inbox_ok(cli, &channel, ack);

    case NGX_AGAIN:
        return NGX_OK;

    case NGX_BUSY:
        return ngx_http_rtbus_inbox_refuse(cli,
                                 ngx_http_rtbus_client_find(cli, &channel)
                                 ? "subscribe is under way"
                                 : "too many channels", ack);

    case NGX_DECLINED:
        return ngx_http_rtbus_inbox_refuse(cli, "unavailable", ack);

    default: /* NGX_ERROR */
        return NGX_ERROR;
    }
}


static void
ngx_http_rtbus_inbox_joined(ngx_http_rtbus_sub_t *s, ngx_int_t rc)
{
    uint64_t  *ack;

    ack = (s->ack == NGX_HTTP_RTBUS_NO_ACK) ? NULL : &s->ack;

    if (rc == NGX_OK) {
        rc = ngx_http_rtbus_inbox_ok(s->cli, &s->sub.ch->name, ack);

    } else {
        rc = ngx_http_rtbus_inbox_refuse(s->cli, "unavailable", ack);
    }

    if (rc != NGX_OK) {
        ngx_http_rtbus_client_close(s->cli, 1011, "no memory");
    }
}


static ngx_int_t
ngx_http_rtbus_inbox_unsubscribe(ngx_http_rtbus_client_t *cli,
    ngx_str_t *data, uint64_t *ack)
{
    ngx_int_t  rc;
    ngx_str_t  channel;
    u_char     buf[RTBUS_CHANNEL_MAX];

    rc = ngx_http_rtbus_inbox_channel(cli, data, &channel, buf, ack);
    if (rc != NGX_OK) {
        return (rc == NGX_DECLINED) ? NGX_OK : rc;
    }

    if (ngx_http_rtbus_client_leave(cli, &channel) != NGX_OK) {
        return ngx_http_rtbus_inbox_refuse(cli, "not subscribed", ack);
    }

    return ngx_http_rtbus_inbox_ok(cli, &channel, ack);
}


/*
 * The channel of {"channel":"..."}, decoded to buf.  NGX_DECLINED: there is none
 * or it is bad, the client was told.
 */

static ngx_int_t
ngx_http_rtbus_inbox_channel(ngx_http_rtbus_client_t *cli, ngx_str_t *data,
    ngx_str_t *channel, u_char *buf, uint64_t *ack)
{
    size_t                len;
    ngx_int_t             rc;
    const char           *reason;
    rtbus_json_member_t   m[] = { rtbus_json_member("channel") };

    rc = rtbus_json_object(cli->worker->hub.json, data->data, data->len, m, 1,
                           &reason);

    if (rc == RTBUS_NOMEM) {
        return NGX_ERROR;
    }

    if (rc != RTBUS_OK || m[0].value.type != RTBUS_JSON_STRING) {
        goto bad;
    }

    len = rtbus_json_unquote(NULL, &m[0].value.raw);

    if (len > RTBUS_CHANNEL_MAX) {
        goto bad;
    }

    rtbus_json_unquote(buf, &m[0].value.raw);

    if (rtbus_channel_check(buf, len) != RTBUS_OK) {
        goto bad;
    }

    channel->data = buf;
    channel->len = len;

    return NGX_OK;

bad:

    rc = ngx_http_rtbus_inbox_refuse(cli, "bad channel", ack);

    return (rc == NGX_OK) ? NGX_DECLINED : rc;
}


static ngx_int_t
ngx_http_rtbus_inbox_ok(ngx_http_rtbus_client_t *cli, ngx_str_t *channel,
    uint64_t *ack)
{
    u_char     *p;
    ngx_str_t   data;
    u_char      buf[RTBUS_CHANNEL_MAX + 64];

    if (ack == NULL) {
        return NGX_OK;
    }

    p = ngx_snprintf(buf, sizeof(buf), "{\"ok\":true,\"channel\":\"%V\"}",
                     channel);
    data.data = buf;
    data.len = p - buf;

    return cli->transport->ack(cli, *ack, &data);
}


static ngx_int_t
ngx_http_rtbus_inbox_refuse(ngx_http_rtbus_client_t *cli, const char *error,
    uint64_t *ack)
{
    u_char             *p;
    ngx_str_t           data;
    ngx_rtbus_frame_t  *frame;
    u_char              buf[128];

    p = ngx_snprintf(buf, sizeof(buf), "{\"ok\":false,\"error\":\"%s\"}",
                     error);
    data.data = buf;
    data.len = p - buf;

    if (ack) {
        return cli->transport->ack(cli, *ack, &data);
    }

    frame = cli->transport->event(cli, "error", &data);
    if (frame == NULL) {
        return NGX_ERROR;
    }

    ngx_http_rtbus_client_send(cli, frame);
    ngx_rtbus_frame_unref(frame);

    return NGX_OK;
}
