
#include "ngx_http_rtbus_client.h"
#include "ngx_http_rtbus_outcome.h"


static size_t ngx_http_rtbus_client_own_cursor(ngx_http_rtbus_client_t *cli,
    u_char *dst, ngx_str_t *channel);


void
ngx_http_rtbus_client_set_state(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_client_state_e state)
{
    ngx_log_debug4(NGX_LOG_DEBUG_HTTP, cli->carrier->log, 0,
                   "rtbus: client %V state:%d to:%d channels:%ui",
                   &cli->sid, cli->state, state, cli->nsubs);

    cli->state = state;
}


ngx_http_rtbus_sub_t *
ngx_http_rtbus_client_find(ngx_http_rtbus_client_t *cli, ngx_str_t *channel)
{
    ngx_str_t             *name;
    ngx_queue_t           *q;
    ngx_http_rtbus_sub_t  *s;

    for (q = ngx_queue_head(&cli->subs);
         q != ngx_queue_sentinel(&cli->subs);
         q = ngx_queue_next(q))
    {
        s = ngx_queue_data(q, ngx_http_rtbus_sub_t, queue);
        name = &s->sub.ch->name;

        if (name->len == channel->len
            && ngx_memcmp(name->data, channel->data, name->len) == 0)
        {
            return s;
        }
    }

    return NULL;
}


/*
 * A client comes back with the cursor of the last event, which must have all
 * of its channels.  One that takes no cursors, or merges them, may have more.
 */

ngx_uint_t
ngx_http_rtbus_client_full(ngx_http_rtbus_client_t *cli, ngx_str_t *channel)
{
    size_t                      max;
    ngx_http_rtbus_loc_conf_t  *conf;

    conf = cli->carrier->conf;

    if (cli->nsubs == conf->max_channels) {
        return 1;
    }

    if (cli->merges || cli->bare) {
        return 0;
    }

    max = NGX_HTTP_RTBUS_CURSOR_MAX;

    if (cli->keeps) {
        /* it comes with a CONNECT, which has a token beside it */
        max = ngx_min(max, conf->max_message / 2);
    }

    return cli->names + ngx_http_rtbus_cursor_len(channel) > max;
}


void
ngx_http_rtbus_client_event(ngx_http_rtbus_client_t *cli, const char *name,
    ngx_str_t *data, ngx_str_t *channel)
{
    u_char         *p;
    size_t          len;
    rtbus_event_t   event;
    u_char          json[RTBUS_EVENT_NAME_MAX + 2];

    len = ngx_strlen(name);

    p = json;
    *p++ = '"';
    p = ngx_cpymem(p, name, len);
    *p++ = '"';

    event.name.len = len;
    event.name.data = json + 1;
    event.name_json.len = p - json;
    event.name_json.data = json;
    event.data.len = data->len;
    event.data.data = data->data;
    event.args.len = 0;
    event.attachments.len = 0;

    ngx_http_rtbus_client_send(cli, &event, channel);
}


void
ngx_http_rtbus_client_send(ngx_http_rtbus_client_t *cli, rtbus_event_t *event,
    ngx_str_t *channel)
{
    ngx_str_t           cursor;
    ngx_rtbus_frame_t  *frame;
    u_char              own[RTBUS_CURSOR_ENTRY_MAX];

    if (ngx_http_rtbus_carrier_closing(cli->carrier)) {
        return;
    }

    frame = NULL;

    cli->stale_cursor = 0;

    if (ngx_http_rtbus_client_is_partial(cli)) {
        cursor.data = own;
        cursor.len = ngx_http_rtbus_client_own_cursor(cli, own, channel);

        frame = cli->protocol->event(cli, event, channel, &cursor);
        goto send;
    }

    cursor.len = ngx_http_rtbus_client_cursor(cli, NULL, NULL);
    cursor.data = ngx_alloc(cursor.len + 1, cli->carrier->log);

    if (cursor.data) {
        ngx_http_rtbus_client_cursor(cli, cursor.data, NULL);

        frame = cli->protocol->event(cli, event, channel, &cursor);

        ngx_free(cursor.data);
    }

send:

    if (frame == NULL) {
        ngx_http_rtbus_carrier_nomem(cli->carrier);
        return;
    }

    ngx_http_rtbus_carrier_send(cli->carrier, frame);
    ngx_rtbus_frame_unref(frame);
}


size_t
ngx_http_rtbus_client_cursor(ngx_http_rtbus_client_t *cli, u_char *dst,
    ngx_http_rtbus_sub_t *except)
{
    size_t                 len;
    ngx_str_t             *name;
    ngx_queue_t           *q;
    rtbus_pos_t            pos;
    ngx_http_rtbus_sub_t  *s;
    u_char                 buf[RTBUS_POSITION_MAX];

    len = 0;

    for (q = ngx_queue_head(&cli->subs);
         q != ngx_queue_sentinel(&cli->subs);
         q = ngx_queue_next(q))
    {
        s = ngx_queue_data(q, ngx_http_rtbus_sub_t, queue);

        if (s == except || s->sub.ch == NULL
            || ngx_rtbus_hub_position(&s->sub, &pos) != NGX_OK)
        {
            continue;
        }

        name = &s->sub.ch->name;

        if (dst == NULL) {
            len += (len || except) + name->len + 1 + rtbus_pos_write(buf, pos);
            continue;
        }

        if (len || except) {
            dst[len++] = ',';
        }

        len += rtbus_cursor_write(dst + len, name->data, name->len, pos);
    }

    return len;
}


/* of that channel alone; empty if there is none */

static size_t
ngx_http_rtbus_client_own_cursor(ngx_http_rtbus_client_t *cli, u_char *dst,
    ngx_str_t *channel)
{
    rtbus_pos_t            pos;
    ngx_http_rtbus_sub_t  *s;

    s = channel ? ngx_http_rtbus_client_find(cli, channel) : NULL;

    if (s == NULL || ngx_rtbus_hub_position(&s->sub, &pos) != NGX_OK) {
        return 0;
    }

    return rtbus_cursor_write(dst, channel->data, channel->len, pos);
}


void
ngx_http_rtbus_client_tell_cursor(ngx_http_rtbus_client_t *cli)
{
    ngx_str_t  data;

    if (ngx_http_rtbus_client_is_partial(cli) == cli->partial) {
        return;
    }

    cli->partial = !cli->partial;

    if (cli->partial) {
        ngx_str_set(&data, "{\"complete\":false}");

    } else {
        ngx_str_set(&data, "{\"complete\":true}");
    }

    ngx_http_rtbus_client_event(cli, "sync:cursor", &data, NULL);
}


void
ngx_http_rtbus_client_refuse_channel(ngx_http_rtbus_client_t *cli,
    ngx_str_t *channel)
{
    u_char     *p;
    ngx_str_t   data;
    u_char      buf[RTBUS_CHANNEL_MAX + 64];

    ngx_rtbus_reason_refused(cli->hub->stat, NGX_RTBUS_REASON_FORBIDDEN);

    p = ngx_snprintf(buf, sizeof(buf),
                     "{\"channel\":\"%V\",\"error\":\"forbidden\"}", channel);
    data.data = buf;
    data.len = p - buf;

    ngx_http_rtbus_client_event(cli, "sync:refused", &data, channel);
}


ngx_int_t
ngx_http_rtbus_client_refuse(ngx_http_rtbus_client_t *cli, ngx_uint_t error,
    uint64_t *ack)
{
    return ngx_http_rtbus_client_error(cli, error, NULL, 0, ack);
}


ngx_int_t
ngx_http_rtbus_client_error(ngx_http_rtbus_client_t *cli, ngx_uint_t error,
    const char *text, ngx_msec_t retry, uint64_t *ack)
{
    ngx_str_t                 data;
    ngx_http_rtbus_outcome_t  outcome;
    u_char                    buf[NGX_HTTP_RTBUS_OUTCOME_MAX
                                  + sizeof(",\"retryAfter\":")
                                  + NGX_INT_T_LEN];

    ngx_memzero(&outcome, sizeof(ngx_http_rtbus_outcome_t));

    outcome.error = error;
    outcome.text = text;

    if (retry == 0) {
        ngx_log_error(NGX_LOG_INFO, cli->carrier->log, 0,
                      "rtbus: client is refused, %s",
                      ngx_http_rtbus_outcome_text(&outcome));
    }

    ngx_rtbus_reason_refused(cli->hub->stat, error);

    data.data = buf;
    data.len = ngx_http_rtbus_outcome_json(&outcome, buf);

    if (retry) {
        /* in front of the brace */
        data.len = ngx_sprintf(buf + data.len - 1, ",\"retryAfter\":%M}", retry)
                   - buf;
    }

    if (ack) {
        return cli->protocol->ack(cli, *ack, &data);
    }

    ngx_http_rtbus_client_event(cli, "error", &data, NULL);

    return NGX_OK;
}
