
#include "ngx_http_rtbus_plain.h"
#include "ngx_http_rtbus_client_life.h"
#include "ngx_http_rtbus_entry.h"
#include "ngx_http_rtbus_inbox.h"
#include "ngx_http_rtbus_subs.h"
#include "ngx_http_rtbus_ws.h"


#define NGX_HTTP_RTBUS_PLAIN_MAX_ACK  9007199254740991ULL  /* 2^53 - 1 */

/* of rtbus_max_channels by default */
#define NGX_HTTP_RTBUS_PLAIN_CHANNELS  64


typedef struct {
    ngx_http_rtbus_ws_t       ws;          /* the first member */
    ngx_http_rtbus_client_t   client;
    u_char                    sid[NGX_HTTP_RTBUS_CLIENT_SID];
} ngx_http_rtbus_plain_t;


static ngx_int_t ngx_http_rtbus_plain_start(ngx_http_request_t *r,
    ngx_http_rtbus_entry_t *entry);
static void ngx_http_rtbus_plain_room(ngx_http_rtbus_carrier_t *car);
static void ngx_http_rtbus_plain_leave(ngx_http_rtbus_carrier_t *car);
static void ngx_http_rtbus_plain_ended(ngx_http_rtbus_carrier_t *car);
static ngx_uint_t ngx_http_rtbus_plain_settled(ngx_http_rtbus_carrier_t *car);
static ngx_int_t ngx_http_rtbus_plain_message(ngx_http_rtbus_ws_t *ws,
    u_char *p, size_t len);
static ngx_rtbus_frame_t *ngx_http_rtbus_plain_encode(
    const ngx_rtbus_format_t *format, ngx_rtbus_msg_t *msg);
static ngx_rtbus_frame_t *ngx_http_rtbus_plain_frame(rtbus_event_t *event,
    ngx_str_t *channel, ngx_str_t *cursor);
static size_t ngx_http_rtbus_plain_header(u_char *dst, size_t len);
static ngx_int_t ngx_http_rtbus_plain_ack(ngx_http_rtbus_client_t *cli,
    uint64_t id, ngx_str_t *data);
static ngx_int_t ngx_http_rtbus_plain_answer(ngx_http_rtbus_client_t *cli,
    uint64_t id, rtbus_json_value_t *data, rtbus_str_t *attachments);
static ngx_rtbus_frame_t *ngx_http_rtbus_plain_event(
    ngx_http_rtbus_client_t *cli, rtbus_event_t *event, ngx_str_t *channel,
    ngx_str_t *cursor);


static const ngx_rtbus_format_t  ngx_http_rtbus_plain_format = {
    ngx_http_rtbus_plain_encode,
    ngx_http_rtbus_plain_header
};


static const ngx_http_rtbus_protocol_t  ngx_http_rtbus_plain_protocol = {
    &ngx_http_rtbus_plain_format,
    ngx_http_rtbus_plain_ack,
    ngx_http_rtbus_plain_answer,
    ngx_http_rtbus_plain_event
};


ngx_int_t
ngx_http_rtbus_plain_handler(ngx_http_request_t *r)
{
    ngx_int_t               rc;
    ngx_str_t               cursor;
    ngx_http_rtbus_entry_t  entry;

    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus websocket handler");

    ngx_memzero(&entry, sizeof(ngx_http_rtbus_entry_t));

    rc = ngx_http_rtbus_ws_handshake(r, &entry.key);
    if (rc != NGX_OK || r->header_sent) {
        /* refused, and the answer to it may well be on its way */
        return rc;
    }

    if (ngx_http_rtbus_entry_cursor(r, &cursor) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_rtbus_enter(r, &entry, &cursor,
                                ngx_http_rtbus_plain_start);
}


static ngx_int_t
ngx_http_rtbus_plain_start(ngx_http_request_t *r,
    ngx_http_rtbus_entry_t *entry)
{
    ngx_int_t                  rc;
    ngx_http_rtbus_plain_t    *plain;
    ngx_http_rtbus_carrier_t  *car;

    plain = ngx_http_rtbus_ws_create(r, sizeof(ngx_http_rtbus_plain_t));
    if (plain == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    car = &plain->ws.carrier;

    car->kind = NGX_RTBUS_STAT_WEBSOCKET;
    car->room_handler = ngx_http_rtbus_plain_room;
    car->leave_handler = ngx_http_rtbus_plain_leave;
    car->ended_handler = ngx_http_rtbus_plain_ended;
    car->settled_handler = ngx_http_rtbus_plain_settled;
    car->data = &plain->client;

    plain->ws.message_handler = ngx_http_rtbus_plain_message;

    if (ngx_http_rtbus_ws_init(&plain->ws, r) != NGX_OK
        || ngx_http_rtbus_client_init(&plain->client, car,
                                      &ngx_http_rtbus_plain_protocol,
                                      &entry->grant)
           != NGX_OK
        || ngx_http_rtbus_client_sid(&plain->client, plain->sid) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    /* whoever raises the limit has clients that can do with it */

    plain->client.merges = (car->conf->max_channels
                            > NGX_HTTP_RTBUS_PLAIN_CHANNELS);

    rc = ngx_http_rtbus_ws_accept(&plain->ws, &entry->key);
    if (rc != NGX_OK) {
        return rc;
    }

    if (ngx_http_rtbus_client_start(&plain->client, &entry->wanted.channels,
                                    &entry->wanted.refused)
        != NGX_OK)
    {
        ngx_http_rtbus_carrier_nomem(car);

    } else if (plain->client.state == NGX_HTTP_RTBUS_CLIENT_STARTING) {
        /* the 101 does not wait for Redis */
        ngx_http_rtbus_carrier_mark(car);
    }

    return NGX_DONE;
}


static void
ngx_http_rtbus_plain_room(ngx_http_rtbus_carrier_t *car)
{
    ngx_http_rtbus_subs_resume(car->data);
}


static void
ngx_http_rtbus_plain_leave(ngx_http_rtbus_carrier_t *car)
{
    ngx_http_rtbus_client_goodbye(car->data);
}


static void
ngx_http_rtbus_plain_ended(ngx_http_rtbus_carrier_t *car)
{
    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, car->log, 0,
                   "rtbus websocket client ended");

    ngx_http_rtbus_client_done(car->data, ngx_http_rtbus_carrier_reason(car));
}


static ngx_uint_t
ngx_http_rtbus_plain_settled(ngx_http_rtbus_carrier_t *car)
{
    ngx_http_rtbus_client_t *cli = car->data;

    return cli->state == NGX_HTTP_RTBUS_CLIENT_CONNECTED;
}


static ngx_int_t
ngx_http_rtbus_plain_message(ngx_http_rtbus_ws_t *ws, u_char *p, size_t len)
{
    ngx_int_t                 rc;
    uint64_t                  ack;
    ngx_uint_t                deep, has_ack;
    rtbus_reason_e            reason;
    rtbus_json_t             *json;
    rtbus_event_t             event;
    ngx_http_rtbus_input_t    in;
    ngx_http_rtbus_client_t  *cli;
    rtbus_json_member_t       m[] = { rtbus_json_member("event"),
                                      rtbus_json_member("data"),
                                      rtbus_json_member("ack") };

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, ws->carrier.log, 0,
                   "rtbus websocket message len:%uz", len);

    cli = ws->carrier.data;

    rc = rtbus_json_object(cli->hub->json, p, len, m, 3, &reason);
    deep = 0;

    if (rc != RTBUS_OK && reason == RTBUS_REASON_DEPTH) {

        /* who waits for the answer has to be found all the same */

        json = rtbus_json_create(len);
        if (json == NULL) {
            goto nomem;
        }

        deep = 1;
        rc = rtbus_json_object(json, p, len, m, 3, &reason);

        rtbus_json_destroy(json);
    }

    if (rc != RTBUS_OK) {
        ngx_http_rtbus_carrier_close(&ws->carrier, RTBUS_WS_INVALID_PAYLOAD,
                                     rtbus_reason_text(reason));
        return NGX_ERROR;
    }

    if (m[2].value.type != RTBUS_JSON_NONE
        && (rtbus_json_uint(&m[2].value.raw, &ack) != RTBUS_OK
            || ack > NGX_HTTP_RTBUS_PLAIN_MAX_ACK))
    {
        ngx_http_rtbus_carrier_close(&ws->carrier, RTBUS_WS_INVALID_PAYLOAD,
                                     "ack is not a number");
        return NGX_ERROR;
    }

    has_ack = (m[2].value.type != RTBUS_JSON_NONE);

    if (deep) {
        reason = RTBUS_REASON_DEPTH;
        rc = RTBUS_ERROR;

    } else {
        rc = rtbus_event_name(&event, &m[0].value.raw, &reason);
    }

    if (rc != RTBUS_OK) {

        if (!has_ack) {
            ngx_http_rtbus_carrier_close(&ws->carrier,
                                         RTBUS_WS_INVALID_PAYLOAD,
                                         rtbus_reason_text(reason));
            return NGX_ERROR;
        }

        rc = ngx_http_rtbus_inbox_malformed(cli,
                                            deep ? RTBUS_REASON_DEPTH
                                                 : NGX_RTBUS_REASON_EVENT_NAME,
                                            &ack);
        if (rc != NGX_OK) {
            goto nomem;
        }

        return NGX_OK;
    }

    in.name.len = event.name.len;
    in.name.data = event.name.data;

    in.data.len = m[1].value.raw.len;
    in.data.data = m[1].value.raw.data;

    in.args = in.data;
    ngx_str_null(&in.attachments);

    rc = ngx_http_rtbus_inbox(cli, &in, has_ack ? &ack : NULL);

    if (rc == NGX_OK) {
        return NGX_OK;
    }

nomem:

    ngx_http_rtbus_carrier_nomem(&ws->carrier);

    return NGX_ERROR;
}


static ngx_rtbus_frame_t *
ngx_http_rtbus_plain_encode(const ngx_rtbus_format_t *format,
    ngx_rtbus_msg_t *msg)
{
    ngx_str_t   cursor;
    u_char      buf[RTBUS_CURSOR_ENTRY_MAX];

    cursor.data = buf;
    cursor.len = rtbus_cursor_write(buf, msg->channel.data, msg->channel.len,
                                    msg->pos);

    return ngx_http_rtbus_plain_frame(msg->event, &msg->channel, &cursor);
}


/* {"event":...,"data":...,"channel":"...","cursor":"<channel>@<position>"} */

static ngx_rtbus_frame_t *
ngx_http_rtbus_plain_frame(rtbus_event_t *event, ngx_str_t *channel,
    ngx_str_t *cursor)
{
    u_char             *p;
    size_t              len, header;
    rtbus_str_t         data, *name, *attachments;
    const char         *member;
    ngx_rtbus_frame_t  *frame;

    name = &event->name_json;
    attachments = &event->attachments;

    if (event->args.len) {
        member = ",\"args\":";
        data = event->args;

    } else {
        member = ",\"data\":";
        data = event->data;

        if (data.len == 0) {
            data.data = (u_char *) "null";
            data.len = 4;
        }
    }

    len = sizeof("{\"event\":}") - 1 + name->len
          + sizeof(",\"data\":") - 1 + data.len;

    if (attachments->len) {
        len += sizeof(",\"attachments\":") - 1 + attachments->len;
    }

    if (channel) {
        len += sizeof(",\"channel\":\"\"") - 1 + channel->len;
    }

    if (cursor->len) {
        len += sizeof(",\"cursor\":\"\"") - 1 + cursor->len;
    }

    header = rtbus_ws_header_len(len);

    frame = ngx_rtbus_frame_create(header + len);
    if (frame == NULL) {
        return NULL;
    }

    frame->payload = header;

    p = rtbus_ws_write_header(frame->data, RTBUS_WS_TEXT, len);

    p = ngx_cpymem(p, "{\"event\":", sizeof("{\"event\":") - 1);
    p = ngx_cpymem(p, name->data, name->len);
    p = ngx_cpymem(p, member, sizeof(",\"data\":") - 1);
    p = ngx_cpymem(p, data.data, data.len);

    if (attachments->len) {
        p = ngx_cpymem(p, ",\"attachments\":",
                       sizeof(",\"attachments\":") - 1);
        p = ngx_cpymem(p, attachments->data, attachments->len);
    }

    if (channel) {
        p = ngx_cpymem(p, ",\"channel\":\"", sizeof(",\"channel\":\"") - 1);
        p = ngx_cpymem(p, channel->data, channel->len);
        *p++ = '"';
    }

    if (cursor->len) {
        p = ngx_cpymem(p, ",\"cursor\":\"", sizeof(",\"cursor\":\"") - 1);
        p = ngx_cpymem(p, cursor->data, cursor->len);

        frame->cursor = p - frame->data;

        *p++ = '"';
    }

    *p = '}';

    return frame;
}


static size_t
ngx_http_rtbus_plain_header(u_char *dst, size_t len)
{
    if (dst) {
        (void) rtbus_ws_write_header(dst, RTBUS_WS_TEXT, len);
    }

    return rtbus_ws_header_len(len);
}


static ngx_int_t
ngx_http_rtbus_plain_ack(ngx_http_rtbus_client_t *cli, uint64_t id,
    ngx_str_t *data)
{
    u_char     *buf;
    size_t      len;
    ngx_int_t   rc;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, cli->carrier->log, 0,
                   "rtbus websocket ack id:%uL", id);

    len = sizeof("{\"ack\":,\"data\":}") - 1 + NGX_INT64_LEN + data->len;

    buf = ngx_alloc(len, cli->carrier->log);
    if (buf == NULL) {
        return NGX_ERROR;
    }

    len = ngx_sprintf(buf, "{\"ack\":%uL,\"data\":%V}", id, data) - buf;

    rc = ngx_http_rtbus_ws_send((ngx_http_rtbus_ws_t *) cli->carrier,
                                RTBUS_WS_TEXT, buf, len);
    ngx_free(buf);

    return rc;
}


/* {"ack":1,"data":<the first argument>}, and "args" if there are more */

static ngx_int_t
ngx_http_rtbus_plain_answer(ngx_http_rtbus_client_t *cli, uint64_t id,
    rtbus_json_value_t *data, rtbus_str_t *attachments)
{
    u_char              *p, *buf;
    size_t               len;
    ngx_int_t            rc;
    rtbus_str_t          args;
    const uint8_t       *pos;
    rtbus_json_value_t   first, other;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, cli->carrier->log, 0,
                   "rtbus websocket answer id:%uL", id);

    args.len = 0;
    first = *data;

    if (data->type == RTBUS_JSON_ARRAY) {
        pos = NULL;

        if (rtbus_json_next(&first, &pos, &data->raw) != RTBUS_OK) {
            first.type = RTBUS_JSON_NONE;

        } else if (rtbus_json_next(&other, &pos, &data->raw) == RTBUS_OK) {
            args = data->raw;
        }
    }

    if (first.type == RTBUS_JSON_NONE) {
        first.raw.data = (uint8_t *) "null";
        first.raw.len = 4;
    }

    len = sizeof("{\"ack\":,\"data\":,\"args\":,\"attachments\":}") - 1
          + NGX_INT64_LEN + first.raw.len + args.len + attachments->len;

    buf = ngx_alloc(len, cli->carrier->log);
    if (buf == NULL) {
        return NGX_ERROR;
    }

    p = ngx_sprintf(buf, "{\"ack\":%uL,\"data\":", id);
    p = ngx_cpymem(p, first.raw.data, first.raw.len);

    if (args.len) {
        p = ngx_cpymem(p, ",\"args\":", sizeof(",\"args\":") - 1);
        p = ngx_cpymem(p, args.data, args.len);
    }

    if (attachments->len) {
        p = ngx_cpymem(p, ",\"attachments\":",
                       sizeof(",\"attachments\":") - 1);
        p = ngx_cpymem(p, attachments->data, attachments->len);
    }

    *p++ = '}';

    rc = ngx_http_rtbus_ws_send((ngx_http_rtbus_ws_t *) cli->carrier,
                                RTBUS_WS_TEXT, buf, p - buf);
    ngx_free(buf);

    return rc;
}


static ngx_rtbus_frame_t *
ngx_http_rtbus_plain_event(ngx_http_rtbus_client_t *cli, rtbus_event_t *event,
    ngx_str_t *channel, ngx_str_t *cursor)
{
    return ngx_http_rtbus_plain_frame(event, channel, cursor);
}
