
#include "ngx_http_rtbus_ask.h"
#include "ngx_http_rtbus_access.h"
#include "ngx_http_rtbus_join.h"
#include "ngx_http_rtbus_name.h"
#include "ngx_http_rtbus_reply.h"
#include "ngx_http_rtbus_snapshot.h"


/* snapshots that one client may wait for at a time */
#define NGX_HTTP_RTBUS_MAX_ASKS  16


/* a snapshot that a client waits for; malloc'ed */

typedef struct {
    ngx_queue_t               queue;       /* cli->asks */
    ngx_http_rtbus_client_t  *cli;
    ngx_rtbus_redis_call_t   *call;
    uint64_t                  ack;
    ngx_str_t                 channel;
    unsigned                  owned:1;
    unsigned                  text:1;      /* the state is a string */
    u_char                    name[RTBUS_CHANNEL_MAX];
} ngx_http_rtbus_ask_t;


/* of this worker: when a state was last complained of */

static time_t  ngx_http_rtbus_ask_complained;


static ngx_int_t ngx_http_rtbus_ask_text(ngx_http_rtbus_ask_t *ask);
static ngx_int_t ngx_http_rtbus_ask_read(ngx_http_rtbus_ask_t *ask,
    redisReply *reply, ngx_pool_t *pool, ngx_http_rtbus_snapshot_t *state);
static void ngx_http_rtbus_ask_reply(void *data, redisReply *reply);


/*
 * A snapshot first, then what came after it: whoever comes late to a long
 * answer gets its text in one piece.
 */

ngx_int_t
ngx_http_rtbus_ask(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_channel_t *channel, uint64_t *ack)
{
    size_t                 len[4];
    u_char                 key[NGX_RTBUS_HUB_MAX_KEY];
    const char            *argv[4];
    ngx_rtbus_hub_t       *hub;
    ngx_http_rtbus_ask_t  *ask;

    if (cli->nasks == NGX_HTTP_RTBUS_MAX_ASKS) {
        return ngx_http_rtbus_client_refuse(cli, NGX_RTBUS_REASON_REQUESTS,
                                            ack);
    }

    ask = ngx_alloc(sizeof(ngx_http_rtbus_ask_t), cli->carrier->log);
    if (ask == NULL) {
        return NGX_ERROR;
    }

    ask->cli = cli;
    ask->ack = ack ? *ack : NGX_HTTP_RTBUS_NO_ACK;
    ask->owned = channel->owned;
    ask->text = 0;
    ask->channel.len = channel->name.len;
    ask->channel.data = ask->name;
    ngx_memcpy(ask->name, channel->name.data, channel->name.len);

    hub = cli->hub;

    argv[0] = "FCALL_RO";
    len[0] = 8;
    argv[1] = "rtbus_snapshot";
    len[1] = 14;
    argv[2] = "1";
    len[2] = 1;
    argv[3] = (char *) key;
    len[3] = ngx_rtbus_hub_key(hub, key, &channel->name, "");

    ask->call = ngx_rtbus_redis_call(&hub->shards, 4, argv, len,
                                     ngx_http_rtbus_ask_reply, ask);

    if (ask->call == NULL) {
        ngx_free(ask);
        return ngx_http_rtbus_client_refuse(cli, NGX_RTBUS_REASON_UNAVAILABLE,
                                            ack);
    }

    ngx_queue_insert_tail(&cli->asks, &ask->queue);

    if (++cli->nasks == NGX_HTTP_RTBUS_MAX_ASKS) {
        /* what comes next waits for one of them */
        ngx_http_rtbus_carrier_hold(cli->carrier, NGX_HTTP_RTBUS_HELD_ASKS);
    }

    return NGX_OK;
}


/* the state is no hash: maybe a string, as the state endpoint has it */

static ngx_int_t
ngx_http_rtbus_ask_text(ngx_http_rtbus_ask_t *ask)
{
    size_t            len[2];
    u_char            key[NGX_RTBUS_HUB_MAX_KEY];
    const char       *argv[2];
    ngx_rtbus_hub_t  *hub;

    hub = ask->cli->hub;

    argv[0] = "GET";
    len[0] = 3;
    argv[1] = (char *) key;
    len[1] = ngx_rtbus_hub_key(hub, key, &ask->channel, ":state");

    ask->text = 1;
    ask->call = ngx_rtbus_redis_call(&hub->shards, 2, argv, len,
                                     ngx_http_rtbus_ask_reply, ask);

    return ask->call ? NGX_OK : NGX_DECLINED;
}


/* NGX_OK, NGX_DECLINED: there is none to be had, NGX_ERROR: no memory */

static ngx_int_t
ngx_http_rtbus_ask_read(ngx_http_rtbus_ask_t *ask, redisReply *reply,
    ngx_pool_t *pool, ngx_http_rtbus_snapshot_t *state)
{
    ngx_int_t                 rc;
    ngx_uint_t                level;
    ngx_http_rtbus_client_t  *cli;

    cli = ask->cli;

    if (!ask->text) {
        rc = ngx_http_rtbus_snapshot_read(pool, reply, state);

    } else {
        ngx_memzero(state, sizeof(ngx_http_rtbus_snapshot_t));

        if (reply->type == REDIS_REPLY_NIL) {
            return NGX_OK;
        }

        rc = ngx_http_rtbus_snapshot_object(pool, cli->hub->json,
                                            cli->carrier->conf->fields, reply,
                                            state);
    }

    if (rc != NGX_DECLINED) {
        return rc;
    }

    if (ngx_rtbus_library_missing(reply)) {
        ngx_rtbus_hub_library_lost(cli->hub);
    }

    level = ngx_http_rtbus_complaint(&ngx_http_rtbus_ask_complained);

    ngx_log_error(level, cli->carrier->log, 0,
                  "rtbus: no snapshot of channel \"%V\": %s",
                  &ask->channel,
                  reply->type == REDIS_REPLY_ERROR ? reply->str
                  : ask->text ? "the state is neither a hash nor a JSON object"
                  : "bad reply");

    return NGX_DECLINED;
}


static void
ngx_http_rtbus_ask_reply(void *data, redisReply *reply)
{
    ngx_http_rtbus_ask_t  *ask = data;

    uint64_t                  *ack;
    ngx_int_t                  rc;
    ngx_str_t                  json;
    ngx_pool_t                *pool;
    ngx_http_rtbus_snapshot_t  state;
    ngx_http_rtbus_client_t   *cli;
    ngx_http_rtbus_channel_t   channel;

    cli = ask->cli;
    ack = (ask->ack == NGX_HTTP_RTBUS_NO_ACK) ? NULL : &ask->ack;

    if (reply && !ask->text && !ngx_http_rtbus_carrier_closing(cli->carrier)
        && ngx_http_rtbus_snapshot_wrong(reply)
        && ngx_http_rtbus_ask_text(ask) == NGX_OK)
    {
        return;
    }

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, cli->carrier->log, 0,
                   "rtbus: snapshot of \"%V\" reply:%d text:%d",
                   &ask->channel, reply != NULL, ask->text);

    ngx_queue_remove(&ask->queue);
    cli->nasks--;

    ngx_http_rtbus_carrier_release(cli->carrier, NGX_HTTP_RTBUS_HELD_ASKS);

    pool = NULL;

    if (ngx_http_rtbus_carrier_closing(cli->carrier)) {
        goto done;
    }

    rc = NGX_DECLINED;

    if (reply) {
        pool = ngx_create_pool(4096, cli->carrier->log);
        if (pool == NULL) {
            goto nomem;
        }

        rc = ngx_http_rtbus_ask_read(ask, reply, pool, &state);
    }

    if (rc == NGX_DECLINED) {
        rc = ngx_http_rtbus_client_refuse(cli, NGX_RTBUS_REASON_UNAVAILABLE,
                                          ack);

        if (rc != NGX_OK) {
            goto nomem;
        }

        goto done;
    }

    if (rc != NGX_OK) {
        goto nomem;
    }

    /* to join, as anywhere, the owner is who the hash names */

    if (ask->owned
        && (ask->text || !ngx_http_rtbus_snapshot_owned(&state, &cli->user)))
    {
        ngx_http_rtbus_access_foreign(&ask->channel, cli->carrier->log);

        if (ngx_http_rtbus_client_refuse(cli, NGX_RTBUS_REASON_FORBIDDEN, ack)
            != NGX_OK)
        {
            goto nomem;
        }

        goto done;
    }

    if (ngx_http_rtbus_snapshot_json(pool, cli->hub->json,
                                     cli->carrier->conf->fields, &state, NULL,
                                     &json)
        != NGX_OK)
    {
        goto nomem;
    }

    ngx_memzero(&channel, sizeof(ngx_http_rtbus_channel_t));

    channel.name = ask->channel;
    channel.pos = state.pos;
    channel.placed = 1;
    channel.exact = 1;

    /*
     * What follows the state is what it has not in it, for all clients.  The
     * channel is joined first, so that the cursor beside the state has it, and
     * no state comes that is not followed by events.
     */

    rc = ngx_http_rtbus_join_begin(cli, &channel, NGX_HTTP_RTBUS_JOIN_CHANNEL,
                                   ack);

    if (rc == NGX_OK || rc == NGX_AGAIN) {
        ngx_http_rtbus_client_event(cli, "state", &json, &ask->channel);
    }

    if (ngx_http_rtbus_join_answer(cli, &channel, NGX_HTTP_RTBUS_JOIN_CHANNEL,
                                   ack, rc)
        == NGX_OK)
    {
        goto done;
    }

nomem:

    ngx_http_rtbus_carrier_nomem(cli->carrier);

done:

    if (pool) {
        ngx_destroy_pool(pool);
    }

    ngx_free(ask);
}


void
ngx_http_rtbus_ask_close(ngx_http_rtbus_client_t *cli)
{
    ngx_queue_t           *q;
    ngx_http_rtbus_ask_t  *ask;

    while (!ngx_queue_empty(&cli->asks)) {
        q = ngx_queue_head(&cli->asks);
        ask = ngx_queue_data(q, ngx_http_rtbus_ask_t, queue);

        ngx_queue_remove(q);
        ngx_rtbus_redis_cmd_cancel(ask->call);
        ngx_free(ask);
    }
}


/* ["<channel>",<ack>,<for its owner only>,...] */

void
ngx_http_rtbus_ask_export(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_text_t *text)
{
    ngx_queue_t           *q;
    ngx_http_rtbus_ask_t  *ask;

    ngx_http_rtbus_text_lit(text, "[");

    for (q = ngx_queue_head(&cli->asks);
         q != ngx_queue_sentinel(&cli->asks);
         q = ngx_queue_next(q))
    {
        ask = ngx_queue_data(q, ngx_http_rtbus_ask_t, queue);

        if (q != ngx_queue_head(&cli->asks)) {
            ngx_http_rtbus_text_lit(text, ",");
        }

        ngx_http_rtbus_text_quote(text, ask->channel.data, ask->channel.len);
        ngx_http_rtbus_text_lit(text, ",");
        ngx_http_rtbus_text_number(text, ask->ack);
        ngx_http_rtbus_text_lit(text, ",");
        ngx_http_rtbus_text_number(text, ask->owned);
    }

    ngx_http_rtbus_text_lit(text, "]");
}


ngx_int_t
ngx_http_rtbus_ask_import(ngx_http_rtbus_client_t *cli,
    rtbus_json_value_t *value)
{
    u_char                     buf[RTBUS_CHANNEL_MAX];
    uint64_t                   ack, owned;
    const uint8_t             *pos;
    rtbus_json_value_t         v;
    ngx_http_rtbus_channel_t   channel;

    if (value->type != RTBUS_JSON_ARRAY) {
        return NGX_ERROR;
    }

    pos = NULL;

    while (rtbus_json_next(&v, &pos, &value->raw) == RTBUS_OK) {

        ngx_memzero(&channel, sizeof(ngx_http_rtbus_channel_t));

        if (ngx_http_rtbus_name_json(&v, buf, &channel.name) != NGX_OK
            || rtbus_json_next(&v, &pos, &value->raw) != RTBUS_OK
            || rtbus_json_uint(&v.raw, &ack) != RTBUS_OK
            || rtbus_json_next(&v, &pos, &value->raw) != RTBUS_OK
            || rtbus_json_uint(&v.raw, &owned) != RTBUS_OK)
        {
            return NGX_ERROR;
        }

        channel.owned = (owned & 1);

        if (ngx_http_rtbus_ask(cli, &channel,
                                     ack == NGX_HTTP_RTBUS_NO_ACK ? NULL
                                                                  : &ack)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}
