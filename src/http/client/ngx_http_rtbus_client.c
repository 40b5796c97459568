
#include "ngx_http_rtbus_client.h"
#include "ngx_http_rtbus_crypto.h"
#include "ngx_http_rtbus_inbox.h"
#include "ngx_http_rtbus_sender.h"
#include "rtbus_ws.h"


/* ms that a client is slowed down before it is refused */
#define NGX_HTTP_RTBUS_CLIENT_SLOW  5000

/* ... and for each message, but for joins: longer is not worth waiting for */
#define NGX_HTTP_RTBUS_CLIENT_WAIT  50


static ngx_http_rtbus_sub_t *ngx_http_rtbus_client_create_sub(
    ngx_http_rtbus_client_t *cli, ngx_http_rtbus_channel_t *channel);
static void ngx_http_rtbus_client_export_sub(ngx_http_rtbus_sub_t *s,
    ngx_http_rtbus_text_t *text);
static ngx_int_t ngx_http_rtbus_client_import_sub(ngx_http_rtbus_client_t *cli,
    rtbus_json_value_t *value);
static ngx_uint_t ngx_http_rtbus_client_is_partial(
    ngx_http_rtbus_client_t *cli);
static size_t ngx_http_rtbus_client_own_cursor(ngx_http_rtbus_client_t *cli,
    u_char *dst, ngx_str_t *channel);
static ngx_uint_t ngx_http_rtbus_client_behind(ngx_http_rtbus_sub_t *s,
    ngx_http_rtbus_channel_t *channel);
static ngx_int_t ngx_http_rtbus_client_expires(ngx_http_rtbus_client_t *cli,
    time_t expires);
static void ngx_http_rtbus_client_expired(ngx_event_t *ev);
static void ngx_http_rtbus_client_wait(ngx_http_rtbus_client_t *cli,
    ngx_msec_t ms);
static void ngx_http_rtbus_client_waited(ngx_event_t *ev);
static void ngx_http_rtbus_client_connected(ngx_http_rtbus_client_t *cli);
static void ngx_http_rtbus_client_welcome(ngx_http_rtbus_client_t *cli);
static void ngx_http_rtbus_client_deliver(ngx_rtbus_sub_t *sub,
    ngx_rtbus_frame_t *frame);
static void ngx_http_rtbus_client_gap(ngx_rtbus_sub_t *sub, uint64_t lost,
    rtbus_pos_t pos);
static ngx_uint_t ngx_http_rtbus_client_room(ngx_rtbus_sub_t *sub,
    size_t size);
static ngx_uint_t ngx_http_rtbus_client_fits(ngx_rtbus_sub_t *sub,
    size_t size, size_t limit);
static void ngx_http_rtbus_client_ready(ngx_rtbus_sub_t *sub);
static void ngx_http_rtbus_client_joined(ngx_rtbus_sub_t *sub);
static void ngx_http_rtbus_client_failed(ngx_rtbus_sub_t *sub);
static ngx_str_t *ngx_http_rtbus_client_user(ngx_rtbus_sub_t *sub);
static void ngx_http_rtbus_client_refused(ngx_rtbus_sub_t *sub);
static ngx_rtbus_sub_t *ngx_http_rtbus_client_other(ngx_rtbus_sub_t *sub,
    ngx_rtbus_channel_t *ch);
static void ngx_http_rtbus_client_refuse(ngx_http_rtbus_client_t *cli,
    ngx_str_t *channel);
static void ngx_http_rtbus_client_add_sub(ngx_http_rtbus_sub_t *s);
static void ngx_http_rtbus_client_free_sub(ngx_http_rtbus_sub_t *s);


static const ngx_rtbus_sub_handlers_t  ngx_http_rtbus_sub_handlers = {
    ngx_http_rtbus_client_deliver,
    ngx_http_rtbus_client_gap,
    ngx_http_rtbus_client_room,
    ngx_http_rtbus_client_ready,
    ngx_http_rtbus_client_joined,
    ngx_http_rtbus_client_failed,
    ngx_http_rtbus_client_user,
    ngx_http_rtbus_client_refused,
    ngx_http_rtbus_client_other
};


ngx_int_t
ngx_http_rtbus_client_init(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_carrier_t *car, const ngx_http_rtbus_protocol_t *protocol,
    ngx_http_rtbus_grant_t *grant)
{
    ngx_str_t  user;

    cli->carrier = car;
    cli->protocol = protocol;

    if (cli->format == NULL) {
        cli->format = protocol->format;
    }

    cli->hub = &car->worker->hub;

    ngx_queue_init(&cli->subs);
    ngx_queue_init(&cli->asks);

    cli->bucket.tokens = car->conf->message_rate * 1000;
    cli->bucket.at = ngx_current_msec;

    /* it outlives the request */

    user = grant->id.user;

    cli->rules = ngx_http_rtbus_copy_rules(&grant->rules, &user, car->log);
    if (cli->rules == NULL) {
        return NGX_ERROR;
    }

    cli->nrules = grant->rules.nelts;
    cli->user = user;

    if (grant->id.expires
        && ngx_http_rtbus_client_expires(cli, grant->id.expires) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


void
ngx_http_rtbus_client_channels(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_text_t *text)
{
    ngx_queue_t           *q;
    ngx_http_rtbus_sub_t  *s;

    for (q = ngx_queue_head(&cli->subs);
         q != ngx_queue_sentinel(&cli->subs);
         q = ngx_queue_next(q))
    {
        s = ngx_queue_data(q, ngx_http_rtbus_sub_t, queue);

        ngx_http_rtbus_text_lit(text, ",");
        ngx_http_rtbus_text_quote(text, s->sub.ch->name.data,
                                  s->sub.ch->name.len);
    }
}


/*
 * {"tokens":<n>,"flags":<n>,"grant":{...},"subs":[{...},...],"asks":[...]}; a
 * client that has not been told that it is connected is not moved
 */

#define NGX_HTTP_RTBUS_CLIENT_CONNECTED  0x01
#define NGX_HTTP_RTBUS_CLIENT_MOVED      0x02
#define NGX_HTTP_RTBUS_CLIENT_SENDER     0x04

void
ngx_http_rtbus_client_export(ngx_http_rtbus_client_t *cli, ngx_str_t *to,
    ngx_http_rtbus_text_t *text)
{
    ngx_uint_t               flags;
    ngx_queue_t             *q;
    ngx_http_rtbus_sub_t    *s;
    ngx_http_rtbus_grant_t   grant;

    flags = 0;

    if (cli->connected) {
        flags |= NGX_HTTP_RTBUS_CLIENT_CONNECTED;
    }

    if (cli->moved) {
        flags |= NGX_HTTP_RTBUS_CLIENT_MOVED;
    }

    if (cli->sender) {
        flags |= NGX_HTTP_RTBUS_CLIENT_SENDER;
    }

    ngx_memzero(&grant, sizeof(ngx_http_rtbus_grant_t));

    grant.id.user = cli->user;
    grant.id.expires = cli->expiry ? cli->expires : 0;
    grant.rules.elts = cli->rules;
    grant.rules.nelts = cli->nrules;

    ngx_http_rtbus_text_lit(text, "{\"tokens\":");
    ngx_http_rtbus_text_number(text, ngx_max(cli->bucket.tokens, 0));
    ngx_http_rtbus_text_lit(text, ",\"flags\":");
    ngx_http_rtbus_text_number(text, flags);
    ngx_http_rtbus_text_lit(text, ",\"grant\":");
    ngx_http_rtbus_access_write(text, &grant);
    ngx_http_rtbus_text_lit(text, ",\"subs\":[");

    for (q = ngx_queue_head(&cli->subs);
         q != ngx_queue_sentinel(&cli->subs);
         q = ngx_queue_next(q))
    {
        s = ngx_queue_data(q, ngx_http_rtbus_sub_t, queue);

        if (q != ngx_queue_head(&cli->subs)) {
            ngx_http_rtbus_text_lit(text, ",");
        }

        ngx_http_rtbus_client_export_sub(s, text);
    }

    ngx_http_rtbus_text_lit(text, "],\"asks\":");
    ngx_http_rtbus_inbox_export(cli, text);
    ngx_http_rtbus_text_lit(text, "}");

    /* it has not ended, and what is still to come for it goes after it */

    cli->connected = 0;
    ngx_http_rtbus_sender_move(cli, to);
}


/*
 * "flags" are what is true of the position, "waits" is for what a join is
 * waited for and "ack" the client's number for it
 */

#define NGX_HTTP_RTBUS_SUB_PLACED     0x01
#define NGX_HTTP_RTBUS_SUB_EPOCHLESS  0x02
#define NGX_HTTP_RTBUS_SUB_GAPPED     0x04
#define NGX_HTTP_RTBUS_SUB_OWNED      0x08

static void
ngx_http_rtbus_client_export_sub(ngx_http_rtbus_sub_t *s,
    ngx_http_rtbus_text_t *text)
{
    u_char       buf[RTBUS_POSITION_MAX];
    ngx_uint_t   flags;
    rtbus_pos_t  pos;

    flags = 0;

    if (ngx_rtbus_hub_position(&s->sub, &pos) == NGX_OK) {
        flags |= NGX_HTTP_RTBUS_SUB_PLACED;

    } else if (s->sub.placed) {
        pos = s->sub.pos;
        flags |= NGX_HTTP_RTBUS_SUB_PLACED|NGX_HTTP_RTBUS_SUB_EPOCHLESS;

    } else {
        ngx_memzero(&pos, sizeof(rtbus_pos_t));
    }

    if (s->sub.gapped) {
        flags |= NGX_HTTP_RTBUS_SUB_GAPPED;
    }

    if (s->sub.owned) {
        flags |= NGX_HTTP_RTBUS_SUB_OWNED;
    }

    ngx_http_rtbus_text_lit(text, "{\"channel\":");
    ngx_http_rtbus_text_quote(text, s->sub.ch->name.data, s->sub.ch->name.len);
    ngx_http_rtbus_text_lit(text, ",\"pos\":\"");
    ngx_http_rtbus_text_add(text, buf, rtbus_pos_write(buf, pos));
    ngx_http_rtbus_text_lit(text, "\",\"from\":\"");
    ngx_http_rtbus_text_add(text, buf, rtbus_pos_write(buf, s->from));
    ngx_http_rtbus_text_lit(text, "\",\"flags\":");
    ngx_http_rtbus_text_number(text, flags);
    ngx_http_rtbus_text_lit(text, ",\"replayed\":");
    ngx_http_rtbus_text_number(text, s->sub.replayed);
    ngx_http_rtbus_text_lit(text, ",\"waits\":");
    ngx_http_rtbus_text_number(text, ngx_http_rtbus_inbox_kind(s->handler));
    ngx_http_rtbus_text_lit(text, ",\"ack\":");
    ngx_http_rtbus_text_number(text, s->ack);
    ngx_http_rtbus_text_lit(text, "}");
}


ngx_int_t
ngx_http_rtbus_client_import(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_carrier_t *car, const ngx_http_rtbus_protocol_t *protocol,
    rtbus_str_t *json, ngx_http_rtbus_holds_t *holds)
{
    uint64_t                 tokens, flags;
    ngx_int_t                rc;
    ngx_queue_t             *q, *next;
    const uint8_t           *pos;
    rtbus_json_value_t       value;
    ngx_http_rtbus_sub_t    *s;
    rtbus_json_member_t      m[] = { rtbus_json_member("tokens"),
                                     rtbus_json_member("flags"),
                                     rtbus_json_member("grant"),
                                     rtbus_json_member("subs"),
                                     rtbus_json_member("asks") };
    ngx_http_rtbus_grant_t   grant;

    rtbus_json_members(json, m, 5);

    ngx_memzero(&grant, sizeof(ngx_http_rtbus_grant_t));

    rc = ngx_http_rtbus_access_read(car->pool, &m[2].value.raw, &grant);

    /* even then: whoever ends it expects it to have been set up */

    if (ngx_http_rtbus_client_init(cli, car, protocol, &grant) != NGX_OK
        || rc != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (rtbus_json_uint(&m[0].value.raw, &tokens) == RTBUS_OK) {
        cli->bucket.tokens = ngx_min(tokens, (uint64_t) cli->bucket.tokens);
    }

    if (m[3].value.type != RTBUS_JSON_ARRAY
        || rtbus_json_uint(&m[1].value.raw, &flags) != RTBUS_OK)
    {
        return NGX_ERROR;
    }

    cli->connected = (flags & NGX_HTTP_RTBUS_CLIENT_CONNECTED) ? 1 : 0;
    cli->moved = (flags & NGX_HTTP_RTBUS_CLIENT_MOVED) ? 1 : 0;

    if ((flags & NGX_HTTP_RTBUS_CLIENT_SENDER)
        && ngx_http_rtbus_sender_import(cli) != NGX_OK)
    {
        return NGX_ERROR;
    }

    pos = NULL;

    while (rtbus_json_next(&value, &pos, &m[3].value.raw) == RTBUS_OK) {
        if (ngx_http_rtbus_client_import_sub(cli, &value) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    /* a cursor that is sent has to have all of them */

    for (q = ngx_queue_head(&cli->subs);
         q != ngx_queue_sentinel(&cli->subs);
         q = next)
    {
        next = ngx_queue_next(q);
        s = ngx_queue_data(q, ngx_http_rtbus_sub_t, queue);

        ngx_http_rtbus_holds_take(holds, &s->sub);
        (void) ngx_rtbus_hub_release(&s->sub);
    }

    return ngx_http_rtbus_inbox_import(cli, &m[4].value);
}


static ngx_int_t
ngx_http_rtbus_client_import_sub(ngx_http_rtbus_client_t *cli,
    rtbus_json_value_t *value)
{
    uint64_t                   flags, replayed, waits, ack;
    ngx_int_t                  rc;
    rtbus_pos_t                from;
    rtbus_str_t               *raw;
    rtbus_json_member_t        m[] = { rtbus_json_member("channel"),
                                       rtbus_json_member("pos"),
                                       rtbus_json_member("from"),
                                       rtbus_json_member("flags"),
                                       rtbus_json_member("replayed"),
                                       rtbus_json_member("waits"),
                                       rtbus_json_member("ack") };
    ngx_http_rtbus_sub_t      *s;
    ngx_http_rtbus_channel_t   channel;
    u_char                     name[RTBUS_CHANNEL_MAX];

    if (value->type != RTBUS_JSON_OBJECT) {
        return NGX_ERROR;
    }

    rtbus_json_members(&value->raw, m, 7);

    raw = &m[0].value.raw;

    if (m[0].value.type != RTBUS_JSON_STRING
        || raw->len > RTBUS_CHANNEL_MAX + 2
        || m[1].value.type != RTBUS_JSON_STRING
        || m[2].value.type != RTBUS_JSON_STRING
        || rtbus_json_uint(&m[3].value.raw, &flags) != RTBUS_OK
        || rtbus_json_uint(&m[4].value.raw, &replayed) != RTBUS_OK
        || rtbus_json_uint(&m[5].value.raw, &waits) != RTBUS_OK
        || rtbus_json_uint(&m[6].value.raw, &ack) != RTBUS_OK)
    {
        return NGX_ERROR;
    }

    ngx_memzero(&channel, sizeof(ngx_http_rtbus_channel_t));

    channel.name.data = name;
    channel.name.len = rtbus_json_unquote(name, raw);
    channel.placed = (flags & NGX_HTTP_RTBUS_SUB_PLACED) ? 1 : 0;
    channel.epochless = (flags & NGX_HTTP_RTBUS_SUB_EPOCHLESS) ? 1 : 0;
    channel.owned = (flags & NGX_HTTP_RTBUS_SUB_OWNED) ? 1 : 0;

    if (rtbus_channel_check(name, channel.name.len) != RTBUS_OK
        || rtbus_pos_parse(&channel.pos, m[1].value.raw.data + 1,
                           m[1].value.raw.len - 2)
           != RTBUS_OK
        || rtbus_pos_parse(&from, m[2].value.raw.data + 1,
                           m[2].value.raw.len - 2)
           != RTBUS_OK)
    {
        return NGX_ERROR;
    }

    s = ngx_http_rtbus_client_create_sub(cli, &channel);
    if (s == NULL) {
        return NGX_ERROR;
    }

    /* the client has it already, and keeps it should Redis be away */

    s->sub.patient = 1;
    s->sub.held = 1;

    ngx_http_rtbus_client_add_sub(s);

    rc = ngx_rtbus_hub_join(cli->hub, &s->sub, &channel.name);

    if (rc != NGX_OK && rc != NGX_AGAIN) {
        ngx_http_rtbus_client_free_sub(s);
        return NGX_ERROR;
    }

    if (channel.placed) {
        s->from = from;
    }

    s->ready = 1;
    s->sub.replayed += replayed;
    s->sub.gapped |= (flags & NGX_HTTP_RTBUS_SUB_GAPPED) ? 1 : 0;
    s->ack = ack;
    s->handler = ngx_http_rtbus_inbox_handler(waits);

    return NGX_OK;
}


static ngx_int_t
ngx_http_rtbus_client_expires(ngx_http_rtbus_client_t *cli, time_t expires)
{
    time_t  s;

    cli->expiry = ngx_calloc(sizeof(ngx_event_t),
                             cli->carrier->log);
    if (cli->expiry == NULL) {
        return NGX_ERROR;
    }

    cli->expiry->handler = ngx_http_rtbus_client_expired;
    cli->expiry->data = cli;
    cli->expiry->log = cli->carrier->log;
    cli->expiry->cancelable = 1;

    /* timers do not reach further than some weeks: it is looked at again */

    s = ngx_max(expires - ngx_time(), 0);
    s = ngx_min(s, 86400);

    cli->expires = expires;
    ngx_add_timer(cli->expiry, (ngx_msec_t) s * 1000 + 1);

    return NGX_OK;
}


static void
ngx_http_rtbus_client_expired(ngx_event_t *ev)
{
    time_t                    s;
    ngx_http_rtbus_client_t  *cli;

    cli = ev->data;

    s = cli->expires - ngx_time();

    if (s > 0) {
        s = ngx_min(s, 86400);
        ngx_add_timer(ev, (ngx_msec_t) s * 1000);
        return;
    }

    ngx_http_rtbus_carrier_close(cli->carrier, RTBUS_WS_POLICY,
                                 "token expired");
}


ngx_int_t
ngx_http_rtbus_client_sid(ngx_http_rtbus_client_t *cli, u_char *buf)
{
    u_char  random[NGX_HTTP_RTBUS_CLIENT_SID / 2];

    if (ngx_http_rtbus_crypto_random(random, sizeof(random),
                                     cli->carrier->log)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_hex_dump(buf, random, sizeof(random));

    cli->sid.len = NGX_HTTP_RTBUS_CLIENT_SID;
    cli->sid.data = buf;

    return NGX_OK;
}


void
ngx_http_rtbus_client_done(ngx_http_rtbus_client_t *cli, const char *reason)
{
    ngx_queue_t  *q;

    if (cli->expiry) {
        if (cli->expiry->timer_set) {
            ngx_del_timer(cli->expiry);
        }

        ngx_free(cli->expiry);
        cli->expiry = NULL;
    }

    if (cli->slow) {
        ngx_del_timer(cli->slow);
        ngx_free(cli->slow);
        cli->slow = NULL;
    }

    ngx_http_rtbus_inbox_close(cli);
    ngx_http_rtbus_sender_done(cli, reason);

    while (!ngx_queue_empty(&cli->subs)) {
        q = ngx_queue_head(&cli->subs);
        ngx_http_rtbus_client_free_sub(ngx_queue_data(q, ngx_http_rtbus_sub_t,
                                                      queue));
    }

    if (cli->rules) {
        ngx_free(cli->rules);
        cli->rules = NULL;
    }
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


ngx_int_t
ngx_http_rtbus_client_start(ngx_http_rtbus_client_t *cli,
    ngx_array_t *channels, ngx_array_t *refused)
{
    ngx_int_t                  rc;
    ngx_uint_t                 i, waiting;
    ngx_http_rtbus_sub_t      *s;
    ngx_http_rtbus_channel_t  *channel;

    cli->starting = 1;
    cli->refused = refused->elts;
    cli->nrefused = refused->nelts;

    channel = channels->elts;
    waiting = 0;

    for (i = 0; i < channels->nelts; i++) {

        s = ngx_http_rtbus_client_create_sub(cli, &channel[i]);
        if (s == NULL) {
            return NGX_ERROR;
        }

        s->sub.patient = 1;
        s->sub.held = 1;

        rc = ngx_rtbus_hub_join(cli->hub, &s->sub, &channel[i].name);

        if (rc == NGX_ERROR) {
            ngx_free(s);
            return NGX_ERROR;
        }

        ngx_http_rtbus_client_add_sub(s);

        if (rc == NGX_OK || channel[i].placed) {
            s->ready = 1;

        } else {
            waiting = 1;
        }
    }

    if (!waiting) {
        ngx_http_rtbus_client_connected(cli);
        return NGX_OK;
    }

    /* "connected" comes before any answer */

    ngx_http_rtbus_carrier_hold(cli->carrier, NGX_HTTP_RTBUS_HELD_START);

    return NGX_OK;
}


static void
ngx_http_rtbus_client_ready(ngx_rtbus_sub_t *sub)
{
    ngx_http_rtbus_sub_t  *s = sub->data;

    ngx_queue_t              *q;
    ngx_http_rtbus_client_t  *cli;

    cli = s->cli;
    s->ready = 1;

    for (q = ngx_queue_head(&cli->subs);
         q != ngx_queue_sentinel(&cli->subs);
         q = ngx_queue_next(q))
    {
        s = ngx_queue_data(q, ngx_http_rtbus_sub_t, queue);

        if (!s->ready) {
            return;
        }
    }

    if (cli->starting) {
        ngx_http_rtbus_client_connected(cli);
    }
}


static void
ngx_http_rtbus_client_connected(ngx_http_rtbus_client_t *cli)
{
    ngx_uint_t             i;
    ngx_queue_t           *q;
    ngx_http_rtbus_sub_t  *s;

    cli->starting = 0;
    cli->connected = 1;
    ngx_http_rtbus_carrier_release(cli->carrier, NGX_HTTP_RTBUS_HELD_START);

    if (!cli->bare) {
        ngx_http_rtbus_client_welcome(cli);
    }

    ngx_http_rtbus_sender_connected(cli);

    for (i = 0; i < cli->nrefused; i++) {
        ngx_http_rtbus_client_refuse(cli, &cli->refused[i]);
    }

    cli->nrefused = 0;

    for (q = ngx_queue_head(&cli->subs);
         q != ngx_queue_sentinel(&cli->subs);
         q = ngx_queue_next(q))
    {
        s = ngx_queue_data(q, ngx_http_rtbus_sub_t, queue);

        (void) ngx_rtbus_hub_release(&s->sub);
    }
}


/* {"sessionId":"...","userId":"..."|null,"timestamp":<ms>} */

static void
ngx_http_rtbus_client_welcome(ngx_http_rtbus_client_t *cli)
{
    u_char      *p;
    size_t       len;
    ngx_str_t    data;
    ngx_time_t  *tp;

    len = sizeof("{\"sessionId\":\"\",\"userId\":,\"timestamp\":}") - 1
          + cli->sid.len
          + rtbus_json_quote(NULL, cli->user.data, cli->user.len) + 4
          + NGX_INT64_LEN;

    data.data = ngx_alloc(len, cli->carrier->log);
    if (data.data == NULL) {
        ngx_http_rtbus_carrier_close(cli->carrier, RTBUS_WS_INTERNAL,
                                     "no memory");
        return;
    }

    p = ngx_cpymem(data.data, "{\"sessionId\":\"",
                   sizeof("{\"sessionId\":\"") - 1);
    p = ngx_cpymem(p, cli->sid.data, cli->sid.len);
    p = ngx_cpymem(p, "\",\"userId\":", sizeof("\",\"userId\":") - 1);

    if (cli->user.len) {
        p += rtbus_json_quote(p, cli->user.data, cli->user.len);

    } else {
        p = ngx_cpymem(p, "null", 4);
    }

    tp = ngx_timeofday();

    p = ngx_sprintf(p, ",\"timestamp\":%uL}",
                    (uint64_t) tp->sec * 1000 + tp->msec);

    data.len = p - data.data;

    ngx_http_rtbus_client_event(cli, "connected", &data, NULL);

    ngx_free(data.data);
}


static ngx_http_rtbus_sub_t *
ngx_http_rtbus_client_create_sub(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_channel_t *channel)
{
    ngx_http_rtbus_sub_t  *s;

    s = ngx_alloc(sizeof(ngx_http_rtbus_sub_t), cli->carrier->log);
    if (s == NULL) {
        return NULL;
    }

    ngx_memzero(s, sizeof(ngx_http_rtbus_sub_t));

    s->cli = cli;

    s->sub.handlers = &ngx_http_rtbus_sub_handlers;
    s->sub.format = cli->format;
    s->sub.data = s;
    s->sub.pos = channel->pos;
    s->sub.placed = channel->placed;
    s->sub.epochless = channel->epochless;
    s->sub.owned = channel->owned;

    s->from = channel->pos;
    s->room = ngx_http_rtbus_cursor_len(&channel->name);

    return s;
}


ngx_int_t
ngx_http_rtbus_client_join(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_channel_t *channel, ngx_http_rtbus_joined_pt handler,
    uint64_t ack)
{
    ngx_int_t              rc;
    ngx_uint_t             again;
    ngx_http_rtbus_sub_t  *s;

    again = 0;
    s = ngx_http_rtbus_client_find(cli, &channel->name);

    if (s) {
        if (s->handler) {
            return NGX_BUSY;
        }

        again = ngx_http_rtbus_client_behind(s, channel);
    }

    if (s && !again) {
        if (s->sub.joined) {
            return NGX_OK;
        }

        s->handler = handler;
        s->ack = ack;

        return NGX_AGAIN;
    }

    if (s) {
        ngx_http_rtbus_client_free_sub(s);
    }

    if (!again && ngx_http_rtbus_client_full(cli, &channel->name)) {
        return NGX_BUSY;
    }

    s = ngx_http_rtbus_client_create_sub(cli, channel);
    if (s == NULL) {
        return NGX_ERROR;
    }

    s->sub.patient = again;
    s->ready = 1;

    /* the client's cursor has the channel from now on */

    ngx_http_rtbus_client_add_sub(s);

    rc = ngx_rtbus_hub_join(cli->hub, &s->sub, &channel->name);

    if (rc == NGX_AGAIN) {
        s->handler = handler;
        s->ack = ack;

    } else if (rc == NGX_OK) {
        cli->moved = 1;

    } else {
        ngx_http_rtbus_client_free_sub(s);
    }

    return rc;
}


/*
 * A client goes back with the cursor of the last event, which has to have all of
 * its channels.  One that has none, or merges them, may have more.
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


static ngx_uint_t
ngx_http_rtbus_client_is_partial(ngx_http_rtbus_client_t *cli)
{
    return cli->merges && cli->names > NGX_HTTP_RTBUS_CURSOR_MAX;
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


/* is the position before all that the client has got of the channel */

static ngx_uint_t
ngx_http_rtbus_client_behind(ngx_http_rtbus_sub_t *s,
    ngx_http_rtbus_channel_t *channel)
{
    if (!channel->placed) {
        return 0;
    }

    if (channel->exact || (!s->sub.placed && !s->sub.joined)) {
        return 1;
    }

    return rtbus_pos_cmp(channel->pos, s->from) < 0;
}


ngx_int_t
ngx_http_rtbus_client_leave(ngx_http_rtbus_client_t *cli, ngx_str_t *channel)
{
    rtbus_pos_t                pos;
    ngx_http_rtbus_sub_t      *s;
    ngx_http_rtbus_joined_pt   handler;

    s = ngx_http_rtbus_client_find(cli, channel);

    if (s == NULL) {
        return NGX_DECLINED;
    }

    handler = s->handler;
    s->handler = NULL;

    if (handler) {
        handler(s, NGX_ABORT);
    }

    if (ngx_rtbus_hub_position(&s->sub, &pos) == NGX_OK) {
        /* the client's cursor may have it */
        cli->moved = 1;
    }

    ngx_http_rtbus_client_free_sub(s);

    return NGX_OK;
}


static void
ngx_http_rtbus_client_add_sub(ngx_http_rtbus_sub_t *s)
{
    ngx_queue_insert_tail(&s->cli->subs, &s->queue);

    s->cli->nsubs++;
    s->cli->names += s->room;
    s->cli->carrier->nchannels++;

    ngx_rtbus_stat_add(s->cli->hub->stat, subscriptions, 1);
}


static void
ngx_http_rtbus_client_free_sub(ngx_http_rtbus_sub_t *s)
{
    ngx_rtbus_hub_leave(&s->sub);

    ngx_queue_remove(&s->queue);

    s->cli->nsubs--;
    s->cli->names -= s->room;
    s->cli->carrier->nchannels--;

    ngx_rtbus_stat_sub(s->cli->hub->stat, subscriptions, 1);

    ngx_free(s);
}


static void
ngx_http_rtbus_client_deliver(ngx_rtbus_sub_t *sub, ngx_rtbus_frame_t *frame)
{
    ngx_http_rtbus_sub_t  *s = sub->data;

    size_t                     len;
    u_char                    *p;
    ngx_rtbus_frame_t         *own;
    ngx_http_rtbus_client_t   *cli;
    ngx_http_rtbus_carrier_t  *car;

    cli = s->cli;
    car = cli->carrier;
    own = NULL;

    if (car->closing) {
        return;
    }

    if (frame && frame->cursor && cli->nsubs > 1
        && !ngx_http_rtbus_client_is_partial(cli))
    {

        /* where it stands in its other channels is this client's alone */

        len = ngx_http_rtbus_client_cursor(cli, NULL, s);

        if (len) {
            frame = ngx_rtbus_frame_extend(frame, len, &p);
            own = frame;

            if (frame) {
                ngx_http_rtbus_client_cursor(cli, p, s);
            }
        }
    }

    if (frame == NULL) {
        /* a hole in the stream would be worse than its end */
        ngx_http_rtbus_carrier_close(car, RTBUS_WS_INTERNAL, "no memory");
        return;
    }

    if (sub->joined) {
        ngx_http_rtbus_carrier_send(car, frame);

    } else {
        /* a replay does not ask for more than there is room for */
        ngx_http_rtbus_carrier_push(car, frame);

        if (!car->closing) {
            car->replayed += frame->len;
        }
    }

    if (!car->closing) {
        car->events++;
        ngx_rtbus_stat_add(cli->hub->stat, delivered[car->kind], 1);
    }

    if (own) {
        ngx_rtbus_frame_unref(own);
    }
}


static void
ngx_http_rtbus_client_gap(ngx_rtbus_sub_t *sub, uint64_t lost, rtbus_pos_t pos)
{
    ngx_http_rtbus_sub_t  *s = sub->data;

    u_char     *p;
    ngx_str_t   data;
    u_char      buf[RTBUS_CHANNEL_MAX + RTBUS_POSITION_MAX + 128];

    p = ngx_snprintf(buf, sizeof(buf), "{\"channel\":\"%V\",\"lost\":",
                     &sub->ch->name);

    if (lost == NGX_RTBUS_LOST_UNKNOWN) {
        p = ngx_cpymem(p, "null", 4);

    } else {
        p = ngx_sprintf(p, "%uL", lost);
    }

    p = ngx_cpymem(p, ",\"position\":\"", sizeof(",\"position\":\"") - 1);
    p += rtbus_pos_write(p, pos);
    *p++ = '"';
    *p++ = '}';

    data.data = buf;
    data.len = p - buf;

    ngx_http_rtbus_client_event(s->cli, "sync:gap", &data,
                                &sub->ch->name);
}


/*
 * A replay fills half of the buffer, the other one is for what is live; who has
 * joined already may have all of it.
 */

static ngx_uint_t
ngx_http_rtbus_client_room(ngx_rtbus_sub_t *sub, size_t size)
{
    ngx_http_rtbus_sub_t  *s = sub->data;

    size_t                     limit;
    ngx_http_rtbus_client_t   *cli;
    ngx_http_rtbus_carrier_t  *car;

    cli = s->cli;
    car = cli->carrier;

    if (car->closing) {
        /* nothing is sent any more, so nothing is to be read for it */
        return 0;
    }

    limit = ngx_http_rtbus_carrier_limit(car);

    if (size) {
        /* the cursor is not in the size */
        size += cli->nsubs * (RTBUS_POSITION_MAX + 32);
    }

    if (!sub->joined) {
        limit /= 2;
    }

    if (!ngx_http_rtbus_client_fits(sub, size, limit) && !car->broken
        && car->transport->flush(car) != NGX_OK)
    {
        car->broken = 1;
        ngx_http_rtbus_carrier_mark(car);
    }

    if (!ngx_http_rtbus_client_fits(sub, size, limit)) {
        cli->paused = 1;
        car->wanted = 1;
        return 0;
    }

    return 1;
}


/* one that is too long is sent all the same if nothing else waits */

static ngx_uint_t
ngx_http_rtbus_client_fits(ngx_rtbus_sub_t *sub, size_t size, size_t limit)
{
    size_t                     queued;
    ngx_http_rtbus_sub_t      *s;
    ngx_http_rtbus_carrier_t  *car;

    s = sub->data;
    car = s->cli->carrier;

    queued = sub->joined ? ngx_http_rtbus_carrier_live(car)
                         : ngx_http_rtbus_carrier_queued(car);

    return car->unsent == 0 || queued + size <= limit;
}


void
ngx_http_rtbus_client_resume(ngx_http_rtbus_client_t *cli)
{
    ngx_queue_t               *q, *next;
    ngx_http_rtbus_sub_t      *s;
    ngx_http_rtbus_carrier_t  *car;

    car = cli->carrier;

    if (!cli->paused) {
        return;
    }

    /* not for a few bytes */

    if (ngx_http_rtbus_carrier_queued(car)
        > ngx_http_rtbus_carrier_limit(car) / 4)
    {
        car->wanted = 1;
        return;
    }

    cli->paused = 0;

    for (q = ngx_queue_head(&cli->subs);
         q != ngx_queue_sentinel(&cli->subs);
         q = next)
    {
        next = ngx_queue_next(q);
        s = ngx_queue_data(q, ngx_http_rtbus_sub_t, queue);

        if (!s->sub.joined) {
            ngx_rtbus_hub_resume(&s->sub);
        }
    }
}


void
ngx_http_rtbus_client_goodbye(ngx_http_rtbus_client_t *cli)
{
    u_char     *p;
    ngx_str_t   data;
    u_char      buf[128];

    p = ngx_snprintf(buf, sizeof(buf),
                     "{\"message\":\"server is shutting down\","
                     "\"reconnectAfter\":%M}",
                     (ngx_msec_t) (100 + ngx_random() % 900));
    data.data = buf;
    data.len = p - buf;

    ngx_http_rtbus_client_event(cli, "server:shutdown", &data, NULL);
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
    u_char              own[RTBUS_CHANNEL_MAX + 1 + RTBUS_POSITION_MAX];

    if (cli->carrier->closing) {
        return;
    }

    frame = NULL;

    cli->moved = 0;

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
        ngx_http_rtbus_carrier_close(cli->carrier, RTBUS_WS_INTERNAL,
                                     "no memory");
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

        ngx_memcpy(dst + len, name->data, name->len);
        len += name->len;

        dst[len++] = '@';
        len += rtbus_pos_write(dst + len, pos);
    }

    return len;
}


/* of that channel alone; empty if there is none */

static size_t
ngx_http_rtbus_client_own_cursor(ngx_http_rtbus_client_t *cli, u_char *dst,
    ngx_str_t *channel)
{
    u_char                *p;
    rtbus_pos_t            pos;
    ngx_http_rtbus_sub_t  *s;

    s = channel ? ngx_http_rtbus_client_find(cli, channel) : NULL;

    if (s == NULL || ngx_rtbus_hub_position(&s->sub, &pos) != NGX_OK) {
        return 0;
    }

    p = ngx_cpymem(dst, channel->data, channel->len);
    *p++ = '@';

    return p + rtbus_pos_write(p, pos) - dst;
}


static void
ngx_http_rtbus_client_joined(ngx_rtbus_sub_t *sub)
{
    ngx_http_rtbus_sub_t  *s = sub->data;

    ngx_http_rtbus_joined_pt  handler;

    if (!sub->placed) {
        s->from = sub->pos;

    } else if (s->from.epoch == 0 && s->from.seq) {
        s->from.epoch = sub->pos.epoch;
    }

    handler = s->handler;
    s->handler = NULL;

    if (handler) {
        /* what was replayed has brought the cursor along */
        s->cli->moved = (sub->replayed == 0);

        handler(s, NGX_OK);
    }
}


static void
ngx_http_rtbus_client_failed(ngx_rtbus_sub_t *sub)
{
    ngx_http_rtbus_sub_t  *s = sub->data;

    if (s->handler) {
        s->handler(s, NGX_DECLINED);
    }

    ngx_http_rtbus_client_free_sub(s);
}


static ngx_str_t *
ngx_http_rtbus_client_user(ngx_rtbus_sub_t *sub)
{
    ngx_http_rtbus_sub_t  *s = sub->data;

    return &s->cli->user;
}


static void
ngx_http_rtbus_client_refused(ngx_rtbus_sub_t *sub)
{
    ngx_http_rtbus_sub_t  *s = sub->data;

    ngx_str_t                 channel;
    ngx_http_rtbus_client_t  *cli;
    u_char                    name[RTBUS_CHANNEL_MAX];

    cli = s->cli;

    ngx_http_rtbus_foreign(&sub->ch->name, cli->carrier->log);

    if (s->handler) {
        s->handler(s, NGX_HTTP_FORBIDDEN);
        ngx_http_rtbus_client_free_sub(s);
        return;
    }

    channel.len = sub->ch->name.len;
    channel.data = name;
    ngx_memcpy(name, sub->ch->name.data, channel.len);

    /* the cursor that goes with it has the channel no more */

    ngx_http_rtbus_client_free_sub(s);

    ngx_http_rtbus_client_refuse(cli, &channel);
}


/* a channel that the client did not ask for by an event of its own */

static void
ngx_http_rtbus_client_refuse(ngx_http_rtbus_client_t *cli, ngx_str_t *channel)
{
    u_char     *p;
    ngx_str_t   data;
    u_char      buf[RTBUS_CHANNEL_MAX + 64];

    ngx_rtbus_stat_refused(cli->hub->stat, "forbidden", 0);

    p = ngx_snprintf(buf, sizeof(buf),
                     "{\"channel\":\"%V\",\"error\":\"forbidden\"}", channel);
    data.data = buf;
    data.len = p - buf;

    ngx_http_rtbus_client_event(cli, "sync:refused", &data, channel);
}


static ngx_rtbus_sub_t *
ngx_http_rtbus_client_other(ngx_rtbus_sub_t *sub, ngx_rtbus_channel_t *ch)
{
    ngx_http_rtbus_sub_t  *s = sub->data;

    ngx_queue_t              *q;
    ngx_http_rtbus_client_t  *cli;

    cli = s->cli;

    for (q = ngx_queue_head(&cli->subs);
         q != ngx_queue_sentinel(&cli->subs);
         q = ngx_queue_next(q))
    {
        s = ngx_queue_data(q, ngx_http_rtbus_sub_t, queue);

        if (s->sub.ch == ch) {
            return &s->sub;
        }
    }

    return NULL;
}


/*
 * Who sends more than it may is slowed down: the message is taken, and the next
 * one when the token is there that was owed.  Since pongs wait with them that
 * goes on for a limited time, after which messages are refused.
 */

ngx_int_t
ngx_http_rtbus_client_rate(ngx_http_rtbus_client_t *cli, ngx_uint_t join,
    ngx_msec_t *ms)
{
    ngx_int_t                   cost, full;
    ngx_uint_t                  rate;
    ngx_msec_t                  max;
    ngx_msec_int_t              passed;
    ngx_http_rtbus_bucket_t    *bucket;
    ngx_http_rtbus_loc_conf_t  *conf;

    bucket = &cli->bucket;
    conf = cli->carrier->conf;

    rate = conf->message_rate;
    full = rate * 1000;
    cost = 1000;

    passed = (ngx_msec_int_t) (ngx_current_msec - bucket->at);

    if (passed > 0) {
        bucket->tokens = (passed >= 2000)
                         ? full : ngx_min(bucket->tokens
                                          + passed * (ngx_int_t) rate, full);
        bucket->at = ngx_current_msec;
    }

    if (bucket->tokens == full) {
        bucket->fast = 0;
        bucket->limited = 0;
    }

    if (bucket->tokens >= cost) {
        bucket->tokens -= cost;
        return NGX_OK;
    }

    if (!bucket->fast) {
        bucket->fast = 1;
        bucket->since = ngx_current_msec;

        ngx_log_error(NGX_LOG_INFO, cli->carrier->log, 0,
                      "client sent messages too fast");
    }

    max = ngx_min(NGX_HTTP_RTBUS_CLIENT_SLOW, conf->ping_timeout / 2);

    if (join && cli->nsubs < conf->max_channels) {

        /* all of them within the time of the others */

        cost = ngx_min(cost, (ngx_int_t) (rate * max / conf->max_channels));

    } else if (ngx_current_msec - bucket->since >= max
               || rate * NGX_HTTP_RTBUS_CLIENT_WAIT < 1000)
    {
        *ms = (cost - bucket->tokens + rate - 1) / rate;
        return NGX_DECLINED;
    }

    bucket->tokens -= cost;

    if (bucket->tokens < 0) {
        ngx_http_rtbus_client_wait(cli, (rate - 1 - bucket->tokens) / rate);
    }

    return NGX_OK;
}


static void
ngx_http_rtbus_client_wait(ngx_http_rtbus_client_t *cli, ngx_msec_t ms)
{
    if (cli->slow) {
        return;
    }

    cli->slow = ngx_calloc(sizeof(ngx_event_t), cli->carrier->log);

    if (cli->slow == NULL) {
        /* then it does not wait */
        return;
    }

    cli->slow->handler = ngx_http_rtbus_client_waited;
    cli->slow->data = cli;
    cli->slow->log = cli->carrier->log;
    cli->slow->cancelable = 1;

    ngx_add_timer(cli->slow, ms);

    ngx_http_rtbus_carrier_hold(cli->carrier, NGX_HTTP_RTBUS_HELD_RATE);
}


static void
ngx_http_rtbus_client_waited(ngx_event_t *ev)
{
    ngx_http_rtbus_client_t  *cli;

    cli = ev->data;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, cli->carrier->log, 0,
                   "rtbus client goes on, tokens:%i", cli->bucket.tokens);

    cli->slow = NULL;
    ngx_free(ev);

    ngx_http_rtbus_carrier_release(cli->carrier, NGX_HTTP_RTBUS_HELD_RATE);
}


ngx_int_t
ngx_http_rtbus_rate(ngx_uint_t *tokens, ngx_msec_t *at, ngx_uint_t rate,
    ngx_uint_t room)
{
    ngx_uint_t      full;
    ngx_msec_int_t  ms;

    full = room * 1000;

    ms = (ngx_msec_int_t) (ngx_current_msec - *at);

    if (ms > 0) {
        *tokens = ((ngx_uint_t) ms >= full / rate)
                  ? full : ngx_min(*tokens + ms * rate, full);
        *at = ngx_current_msec;
    }

    if (*tokens < 1000) {
        return NGX_DECLINED;
    }

    *tokens -= 1000;

    return NGX_OK;
}


char *
ngx_http_rtbus_conf_message_rate(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_rtbus_loc_conf_t *rlcf = conf;

    ngx_int_t   rate;
    ngx_str_t  *value;

    if (rlcf->message_rate != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len < 4
        || ngx_strncmp(value[1].data + value[1].len - 3, "r/s", 3) != 0)
    {
        goto invalid;
    }

    rate = ngx_atoi(value[1].data, value[1].len - 3);

    if (rate == NGX_ERROR || rate == 0 || rate > 1000000) {
        goto invalid;
    }

    rlcf->message_rate = rate;

    return NGX_CONF_OK;

invalid:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid rate \"%V\", it must be like \"50r/s\"",
                       &value[1]);
    return NGX_CONF_ERROR;
}
