
#include "ngx_http_rtbus_client_move.h"
#include "ngx_http_rtbus_client_life.h"
#include "ngx_http_rtbus_ask.h"
#include "ngx_http_rtbus_join.h"
#include "ngx_http_rtbus_sender.h"
#include "ngx_http_rtbus_subs.h"


/* "flags" of a client */

#define NGX_HTTP_RTBUS_MOVE_CONNECTED  0x01
#define NGX_HTTP_RTBUS_MOVE_STALE      0x02   /* its cursor */
#define NGX_HTTP_RTBUS_MOVE_SENDER     0x04

/* ... and of a subscription: what is true of the position */

#define NGX_HTTP_RTBUS_MOVE_PLACED     0x01
#define NGX_HTTP_RTBUS_MOVE_EPOCHLESS  0x02
#define NGX_HTTP_RTBUS_MOVE_GAPPED     0x04
#define NGX_HTTP_RTBUS_MOVE_OWNED      0x08


/* members of a client, in the order of their table; of a subscription */

enum {
    CLIENT_TOKENS = 0,
    CLIENT_FLAGS,
    CLIENT_GRANT,
    CLIENT_SUBS,
    CLIENT_ASKS,
    CLIENT_N
};

enum {
    SUB_CHANNEL = 0,
    SUB_POS,
    SUB_FROM,
    SUB_FLAGS,
    SUB_REPLAYED,
    SUB_WAITS,
    SUB_ACK,
    SUB_N
};


static void ngx_http_rtbus_client_export_sub(ngx_http_rtbus_sub_t *s,
    ngx_http_rtbus_text_t *text);
static ngx_int_t ngx_http_rtbus_client_import_sub(ngx_http_rtbus_client_t *cli,
    rtbus_json_value_t *value);


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

void
ngx_http_rtbus_client_export(ngx_http_rtbus_client_t *cli, ngx_str_t *to,
    ngx_http_rtbus_text_t *text)
{
    ngx_uint_t               flags;
    ngx_queue_t             *q;
    ngx_http_rtbus_sub_t    *s;
    ngx_http_rtbus_grant_t   grant;

    flags = 0;

    if (cli->state == NGX_HTTP_RTBUS_CLIENT_CONNECTED) {
        flags |= NGX_HTTP_RTBUS_MOVE_CONNECTED;
    }

    if (cli->stale_cursor) {
        flags |= NGX_HTTP_RTBUS_MOVE_STALE;
    }

    if (cli->sender) {
        flags |= NGX_HTTP_RTBUS_MOVE_SENDER;
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
    ngx_http_rtbus_ask_export(cli, text);
    ngx_http_rtbus_text_lit(text, "}");

    /* it has not ended, and what is still to come for it goes after it */

    ngx_http_rtbus_client_set_state(cli, NGX_HTTP_RTBUS_CLIENT_MOVED);
    ngx_http_rtbus_sender_move(cli, to);
}


/*
 * {"channel":"...","pos":"...","from":"...","flags":<n>,"replayed":<n>,
 * "waits":<n>,"ack":<n>}: "waits" is what a join is waited for and "ack" the
 * client's number for it
 */

static void
ngx_http_rtbus_client_export_sub(ngx_http_rtbus_sub_t *s,
    ngx_http_rtbus_text_t *text)
{
    u_char       buf[RTBUS_POSITION_MAX];
    ngx_uint_t   flags;
    rtbus_pos_t  pos;

    flags = 0;

    if (ngx_rtbus_hub_position(&s->sub, &pos) == NGX_OK) {
        flags |= NGX_HTTP_RTBUS_MOVE_PLACED;

    } else if (s->sub.placed) {
        pos = s->sub.pos;
        flags |= NGX_HTTP_RTBUS_MOVE_PLACED
                 |NGX_HTTP_RTBUS_MOVE_EPOCHLESS;

    } else {
        ngx_memzero(&pos, sizeof(rtbus_pos_t));
    }

    if (s->sub.gapped) {
        flags |= NGX_HTTP_RTBUS_MOVE_GAPPED;
    }

    if (s->sub.owned) {
        flags |= NGX_HTTP_RTBUS_MOVE_OWNED;
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
    ngx_http_rtbus_text_number(text, ngx_http_rtbus_join_kind(s));
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

    rtbus_json_members(json, m, CLIENT_N);

    ngx_memzero(&grant, sizeof(ngx_http_rtbus_grant_t));

    rc = ngx_http_rtbus_access_read(car->pool, &m[CLIENT_GRANT].value.raw,
                                    &grant);

    /* even then: whoever ends it expects it to have been set up */

    if (ngx_http_rtbus_client_init(cli, car, protocol, &grant) != NGX_OK
        || rc != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (rtbus_json_uint(&m[CLIENT_TOKENS].value.raw, &tokens) == RTBUS_OK) {
        cli->bucket.tokens = ngx_min(tokens, (uint64_t) cli->bucket.tokens);
    }

    if (m[CLIENT_SUBS].value.type != RTBUS_JSON_ARRAY
        || rtbus_json_uint(&m[CLIENT_FLAGS].value.raw, &flags) != RTBUS_OK)
    {
        return NGX_ERROR;
    }


    if (flags & NGX_HTTP_RTBUS_MOVE_CONNECTED) {
        ngx_http_rtbus_client_set_state(cli, NGX_HTTP_RTBUS_CLIENT_CONNECTED);
    }

    cli->stale_cursor = (flags & NGX_HTTP_RTBUS_MOVE_STALE) ? 1 : 0;

    if ((flags & NGX_HTTP_RTBUS_MOVE_SENDER)
        && ngx_http_rtbus_sender_import(cli) != NGX_OK)
    {
        return NGX_ERROR;
    }

    pos = NULL;

    while (rtbus_json_next(&value, &pos, &m[CLIENT_SUBS].value.raw)
           == RTBUS_OK)
    {
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

    return ngx_http_rtbus_ask_import(cli, &m[CLIENT_ASKS].value);
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

    rtbus_json_members(&value->raw, m, SUB_N);

    raw = &m[SUB_CHANNEL].value.raw;

    if (m[SUB_CHANNEL].value.type != RTBUS_JSON_STRING
        || raw->len > RTBUS_CHANNEL_MAX + 2
        || m[SUB_POS].value.type != RTBUS_JSON_STRING
        || m[SUB_FROM].value.type != RTBUS_JSON_STRING
        || rtbus_json_uint(&m[SUB_FLAGS].value.raw, &flags) != RTBUS_OK
        || rtbus_json_uint(&m[SUB_REPLAYED].value.raw, &replayed) != RTBUS_OK
        || rtbus_json_uint(&m[SUB_WAITS].value.raw, &waits) != RTBUS_OK
        || rtbus_json_uint(&m[SUB_ACK].value.raw, &ack) != RTBUS_OK)
    {
        return NGX_ERROR;
    }

    ngx_memzero(&channel, sizeof(ngx_http_rtbus_channel_t));

    channel.name.data = name;
    channel.name.len = rtbus_json_unquote(name, raw);
    channel.placed = (flags & NGX_HTTP_RTBUS_MOVE_PLACED) ? 1 : 0;
    channel.epochless = (flags & NGX_HTTP_RTBUS_MOVE_EPOCHLESS) ? 1 : 0;
    channel.owned = (flags & NGX_HTTP_RTBUS_MOVE_OWNED) ? 1 : 0;

    if (rtbus_channel_check(name, channel.name.len) != RTBUS_OK
        || rtbus_pos_parse(&channel.pos, m[SUB_POS].value.raw.data + 1,
                           m[SUB_POS].value.raw.len - 2)
           != RTBUS_OK
        || rtbus_pos_parse(&from, m[SUB_FROM].value.raw.data + 1,
                           m[SUB_FROM].value.raw.len - 2)
           != RTBUS_OK)
    {
        return NGX_ERROR;
    }

    s = ngx_http_rtbus_subs_create(cli, &channel);
    if (s == NULL) {
        return NGX_ERROR;
    }

    /* the client has it already, and keeps it should Redis be away */

    s->sub.patient = 1;
    s->sub.held = 1;

    ngx_http_rtbus_subs_add(s);

    rc = ngx_rtbus_hub_join(cli->hub, &s->sub, &channel.name);

    if (rc != NGX_OK && rc != NGX_AGAIN) {
        ngx_http_rtbus_subs_free(s);
        return NGX_ERROR;
    }

    if (channel.placed) {
        s->from = from;
    }

    s->ready = 1;
    s->sub.replayed += replayed;
    s->sub.gapped |= (flags & NGX_HTTP_RTBUS_MOVE_GAPPED) ? 1 : 0;
    s->ack = ack;
    ngx_http_rtbus_join_wait(s, waits);

    return NGX_OK;
}
