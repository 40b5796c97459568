
#include "ngx_http_rtbus_inbox.h"
#include "ngx_http_rtbus_access.h"
#include "ngx_http_rtbus_name.h"
#include "ngx_http_rtbus_rate.h"
#include "ngx_http_rtbus_reply.h"
#include "ngx_http_rtbus_sender.h"
#include "ngx_http_rtbus_snapshot.h"
#include "ngx_http_rtbus_subs.h"
#include "rtbus_ws.h"


typedef ngx_int_t (*ngx_http_rtbus_inbox_pt)(ngx_http_rtbus_client_t *cli,
    ngx_str_t *data, uint64_t *ack);


typedef struct {
    ngx_str_t                 name;
    ngx_http_rtbus_inbox_pt   handler;
    ngx_uint_t                join;        /* unsigned  join:1; */
} ngx_http_rtbus_inbox_event_t;


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

static time_t  ngx_http_rtbus_inbox_complained;


static ngx_int_t ngx_http_rtbus_inbox_rate(ngx_http_rtbus_client_t *cli,
    ngx_str_t *join, uint64_t *ack);
static ngx_uint_t ngx_http_rtbus_inbox_new(ngx_http_rtbus_client_t *cli,
    ngx_str_t *data);
static ngx_int_t ngx_http_rtbus_inbox_subscribe(ngx_http_rtbus_client_t *cli,
    ngx_str_t *data, uint64_t *ack);
static ngx_int_t ngx_http_rtbus_inbox_unsubscribe(ngx_http_rtbus_client_t *cli,
    ngx_str_t *data, uint64_t *ack);
static ngx_int_t ngx_http_rtbus_inbox_subscribe_job(
    ngx_http_rtbus_client_t *cli, ngx_str_t *data, uint64_t *ack);
static ngx_int_t ngx_http_rtbus_inbox_unsubscribe_job(
    ngx_http_rtbus_client_t *cli, ngx_str_t *data, uint64_t *ack);
static ngx_int_t ngx_http_rtbus_inbox_sync(ngx_http_rtbus_client_t *cli,
    ngx_str_t *data, uint64_t *ack);

static ngx_int_t ngx_http_rtbus_inbox_allowed(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_channel_t *channel);
static ngx_int_t ngx_http_rtbus_inbox_join(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_channel_t *channel, ngx_http_rtbus_joined_pt handler,
    uint64_t *ack);
static ngx_uint_t ngx_http_rtbus_inbox_busy(ngx_http_rtbus_client_t *cli,
    ngx_str_t *channel);
static ngx_int_t ngx_http_rtbus_inbox_join_done(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_channel_t *channel, ngx_http_rtbus_joined_pt handler,
    uint64_t *ack, ngx_int_t rc);
static void ngx_http_rtbus_inbox_joined(ngx_http_rtbus_sub_t *s, ngx_int_t rc);
static void ngx_http_rtbus_inbox_job_joined(ngx_http_rtbus_sub_t *s,
    ngx_int_t rc);
static void ngx_http_rtbus_inbox_synced(ngx_http_rtbus_sub_t *s, ngx_int_t rc);
static ngx_int_t ngx_http_rtbus_inbox_ask(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_channel_t *channel, uint64_t *ack);
static void ngx_http_rtbus_inbox_snapshot(void *data, redisReply *reply);
static ngx_int_t ngx_http_rtbus_inbox_text(ngx_http_rtbus_ask_t *ask);
static ngx_int_t ngx_http_rtbus_inbox_state(ngx_http_rtbus_ask_t *ask,
    redisReply *reply, ngx_pool_t *pool, ngx_http_rtbus_snapshot_t *state);

static ngx_uint_t ngx_http_rtbus_inbox_channel(rtbus_json_value_t *value,
    u_char *buf, ngx_str_t *channel);
static ngx_uint_t ngx_http_rtbus_inbox_job(rtbus_json_value_t *value,
    u_char *buf, ngx_str_t *channel);
static ngx_uint_t ngx_http_rtbus_inbox_position(rtbus_json_value_t *value,
    rtbus_pos_t *pos);
static void ngx_http_rtbus_inbox_event(ngx_http_rtbus_client_t *cli,
    const char *name, ngx_str_t *channel);
static ngx_int_t ngx_http_rtbus_inbox_ok(ngx_http_rtbus_client_t *cli,
    ngx_str_t *channel, uint64_t *ack);


static ngx_http_rtbus_inbox_event_t  ngx_http_rtbus_inbox_events[] = {
    { ngx_string("subscribe"), ngx_http_rtbus_inbox_subscribe, 1 },
    { ngx_string("unsubscribe"), ngx_http_rtbus_inbox_unsubscribe, 0 },
    { ngx_string("subscribe:job"), ngx_http_rtbus_inbox_subscribe_job, 1 },
    { ngx_string("unsubscribe:job"), ngx_http_rtbus_inbox_unsubscribe_job, 0 },
    { ngx_string("reconnect:sync"), ngx_http_rtbus_inbox_sync, 1 },
    { ngx_null_string, NULL, 0 }
};


/* ends of joins; 0 is none */

static const ngx_http_rtbus_joined_pt  ngx_http_rtbus_inbox_handlers[] = {
    NULL,
    ngx_http_rtbus_inbox_joined,
    ngx_http_rtbus_inbox_job_joined,
    ngx_http_rtbus_inbox_synced
};

#define ngx_http_rtbus_inbox_nhandlers                                        \
    (sizeof(ngx_http_rtbus_inbox_handlers) / sizeof(ngx_http_rtbus_joined_pt))


ngx_int_t
ngx_http_rtbus_inbox(ngx_http_rtbus_client_t *cli, ngx_http_rtbus_input_t *in,
    uint64_t *ack)
{
    ngx_int_t                      rc;
    ngx_http_rtbus_outcome_t       refused;
    ngx_http_rtbus_inbox_event_t  *event;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, cli->carrier->log, 0,
                   "rtbus client event \"%V\" ack:%d", &in->name, ack != NULL);

    for (event = ngx_http_rtbus_inbox_events; event->name.len; event++) {

        if (event->name.len == in->name.len
            && ngx_memcmp(event->name.data, in->name.data, in->name.len) == 0)
        {
            break;
        }
    }

    rc = ngx_http_rtbus_inbox_rate(cli, event->join ? &in->data : NULL, ack);

    if (rc != NGX_OK) {
        return (rc == NGX_DECLINED) ? NGX_OK : NGX_ERROR;
    }

    if (event->handler) {
        return event->handler(cli, &in->data, ack);
    }

    ngx_memzero(&refused, sizeof(ngx_http_rtbus_outcome_t));

    rc = ngx_http_rtbus_sender_command(cli, in, ack, &refused);

    return (rc == NGX_DECLINED)
           ? ngx_http_rtbus_client_error(cli, refused.error, refused.text, 0,
                                         ack)
           : rc;
}


ngx_int_t
ngx_http_rtbus_inbox_malformed(ngx_http_rtbus_client_t *cli,
    ngx_uint_t error, uint64_t *ack)
{
    ngx_int_t  rc;

    rc = ngx_http_rtbus_inbox_rate(cli, NULL, ack);

    if (rc != NGX_OK) {
        return (rc == NGX_DECLINED) ? NGX_OK : NGX_ERROR;
    }

    return ngx_http_rtbus_client_refuse(cli, error, ack);
}


/*
 * NGX_OK, NGX_DECLINED: it comes too fast, and the client is told; NGX_ERROR.
 * join: the data of an event that joins a channel, or NULL.
 */

static ngx_int_t
ngx_http_rtbus_inbox_rate(ngx_http_rtbus_client_t *cli, ngx_str_t *join,
    uint64_t *ack)
{
    ngx_int_t   rc;
    ngx_msec_t  ms;

    rc = ngx_http_rtbus_rate_message(cli, 0, &ms);

    if (rc != NGX_OK && join && ngx_http_rtbus_inbox_new(cli, join)) {
        rc = ngx_http_rtbus_rate_message(cli, 1, &ms);
    }

    if (rc == NGX_OK) {
        return NGX_OK;
    }

    /* a flood is worth one line of the log */

    if (!cli->bucket.limited) {
        cli->bucket.limited = 1;

        ngx_log_error(NGX_LOG_INFO, cli->carrier->log, 0,
                      "rtbus: client is refused, rate limited");
    }

    rc = ngx_http_rtbus_client_error(cli, NGX_RTBUS_REASON_RATE, NULL, ms,
                                     ack);

    return (rc == NGX_OK) ? NGX_DECLINED : rc;
}


/* is it a channel that the client has not */

static ngx_uint_t
ngx_http_rtbus_inbox_new(ngx_http_rtbus_client_t *cli, ngx_str_t *data)
{
    u_char                buf[RTBUS_CHANNEL_MAX];
    ngx_str_t             channel;
    rtbus_reason_e        reason;
    rtbus_json_value_t    value;
    rtbus_json_member_t   m[] = { rtbus_json_member("channel"),
                                  rtbus_json_member("jobId") };

    if (rtbus_json_value(cli->hub->json, data->data, data->len, &value,
                         &reason)
        != RTBUS_OK)
    {
        return 0;
    }

    if (value.type == RTBUS_JSON_OBJECT) {
        rtbus_json_members(&value.raw, m, 2);
        value = m[1].value;

        if (m[0].value.type == RTBUS_JSON_STRING) {
            return ngx_http_rtbus_inbox_channel(&m[0].value, buf, &channel)
                   == RTBUS_REASON_NONE
                   && ngx_http_rtbus_client_find(cli, &channel) == NULL;
        }
    }

    return ngx_http_rtbus_inbox_job(&value, buf, &channel) == RTBUS_REASON_NONE
           && ngx_http_rtbus_client_find(cli, &channel) == NULL;
}


/* {"channel":"...","after":"<position>","state":true} */

static ngx_int_t
ngx_http_rtbus_inbox_subscribe(ngx_http_rtbus_client_t *cli, ngx_str_t *data,
    uint64_t *ack)
{
    u_char                    buf[RTBUS_CHANNEL_MAX];
    ngx_int_t                 rc;
    ngx_uint_t                error;
    rtbus_reason_e            reason;
    rtbus_json_type_e         type;
    rtbus_json_member_t       m[] = { rtbus_json_member("channel"),
                                      rtbus_json_member("after"),
                                      rtbus_json_member("state") };
    ngx_http_rtbus_channel_t  channel;

    rc = rtbus_json_object(cli->hub->json, data->data, data->len, m, 3,
                           &reason);

    if (rc != RTBUS_OK) {
        return ngx_http_rtbus_client_refuse(cli, NGX_RTBUS_REASON_CHANNEL, ack);
    }

    ngx_memzero(&channel, sizeof(ngx_http_rtbus_channel_t));

    error = ngx_http_rtbus_inbox_channel(&m[0].value, buf, &channel.name);
    if (error) {
        return ngx_http_rtbus_client_refuse(cli, error, ack);
    }

    type = m[1].value.type;

    if (type != RTBUS_JSON_NONE && type != RTBUS_JSON_NULL) {

        error = ngx_http_rtbus_inbox_position(&m[1].value, &channel.pos);
        if (error) {
            return ngx_http_rtbus_client_refuse(cli, error, ack);
        }

        channel.placed = 1;
    }

    if (ngx_http_rtbus_inbox_allowed(cli, &channel) != NGX_OK) {
        return ngx_http_rtbus_client_refuse(cli, NGX_RTBUS_REASON_FORBIDDEN,
                                            ack);
    }

    type = m[2].value.type;

    if (type == RTBUS_JSON_NONE || type == RTBUS_JSON_NULL
        || m[2].value.raw.len == sizeof("false") - 1)
    {
        return ngx_http_rtbus_inbox_join(cli, &channel,
                                         ngx_http_rtbus_inbox_joined, ack);
    }

    if (type != RTBUS_JSON_BOOL) {
        return ngx_http_rtbus_client_refuse(cli, NGX_RTBUS_REASON_STATE, ack);
    }

    if (channel.placed) {
        return ngx_http_rtbus_client_refuse(cli,
                                            NGX_RTBUS_REASON_AFTER_AND_STATE,
                                            ack);
    }

    return ngx_http_rtbus_inbox_ask(cli, &channel, ack);
}


/* NGX_OK, and whether the channel's owner has to be asked; NGX_DECLINED */

static ngx_int_t
ngx_http_rtbus_inbox_allowed(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_channel_t *channel)
{
    ngx_int_t    rc;
    ngx_array_t  rules;

    rules.elts = cli->rules;
    rules.nelts = cli->nrules;

    rc = ngx_http_rtbus_access_check(&rules, &cli->user, &channel->name,
                                    cli->carrier->log);

    channel->owned = (rc == NGX_AGAIN);

    return (rc == NGX_DECLINED) ? NGX_DECLINED : NGX_OK;
}


static ngx_int_t
ngx_http_rtbus_inbox_join(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_channel_t *channel, ngx_http_rtbus_joined_pt handler,
    uint64_t *ack)
{
    ngx_int_t  rc;

    rc = ngx_http_rtbus_subs_join(cli, channel, handler,
                                  ack ? *ack : NGX_HTTP_RTBUS_NO_ACK);

    return ngx_http_rtbus_inbox_join_done(cli, channel, handler, ack, rc);
}


/* tells the client what ngx_http_rtbus_subs_join() has answered */

static ngx_int_t
ngx_http_rtbus_inbox_join_done(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_channel_t *channel, ngx_http_rtbus_joined_pt handler,
    uint64_t *ack, ngx_int_t rc)
{
    ngx_uint_t             error;
    ngx_http_rtbus_sub_t  *s;

    switch (rc) {

    case NGX_OK:
        s = ngx_http_rtbus_client_find(cli, &channel->name);
        s->ack = ack ? *ack : NGX_HTTP_RTBUS_NO_ACK;
        handler(s, NGX_OK);
        return NGX_OK;

    case NGX_AGAIN:
        return NGX_OK;

    case NGX_BUSY:
        error = ngx_http_rtbus_inbox_busy(cli, &channel->name);
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
ngx_http_rtbus_inbox_busy(ngx_http_rtbus_client_t *cli, ngx_str_t *channel)
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
ngx_http_rtbus_inbox_joined(ngx_http_rtbus_sub_t *s, ngx_int_t rc)
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
        rc = ngx_http_rtbus_inbox_ok(s->cli, &s->sub.ch->name, ack);

    } else {
        rc = ngx_http_rtbus_client_refuse(s->cli, error, ack);
    }

    if (rc != NGX_OK) {
        ngx_http_rtbus_carrier_nomem(s->cli->carrier);
    }
}


/*
 * A snapshot first, then what came after it: whoever comes late to a long
 * answer gets its text in one piece.
 */

static ngx_int_t
ngx_http_rtbus_inbox_ask(ngx_http_rtbus_client_t *cli,
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

    ask = ngx_alloc(sizeof(ngx_http_rtbus_ask_t),
                    cli->carrier->log);
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
                                     ngx_http_rtbus_inbox_snapshot, ask);

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
ngx_http_rtbus_inbox_text(ngx_http_rtbus_ask_t *ask)
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
                                     ngx_http_rtbus_inbox_snapshot, ask);

    return ask->call ? NGX_OK : NGX_DECLINED;
}


/* NGX_OK, NGX_DECLINED: there is none to be had, NGX_ERROR: no memory */

static ngx_int_t
ngx_http_rtbus_inbox_state(ngx_http_rtbus_ask_t *ask, redisReply *reply,
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

    level = ngx_http_rtbus_complaint(&ngx_http_rtbus_inbox_complained);

    ngx_log_error(level, cli->carrier->log, 0,
                  "rtbus: no snapshot of channel \"%V\": %s",
                  &ask->channel,
                  reply->type == REDIS_REPLY_ERROR ? reply->str
                  : ask->text ? "the state is neither a hash nor a JSON object"
                  : "bad reply");

    return NGX_DECLINED;
}


static void
ngx_http_rtbus_inbox_snapshot(void *data, redisReply *reply)
{
    ngx_http_rtbus_ask_t  *ask = data;

    uint64_t                  *ack;
    ngx_int_t                  rc;
    ngx_str_t                  json;
    ngx_pool_t                *pool;
    ngx_http_rtbus_snapshot_t     state;
    ngx_http_rtbus_client_t   *cli;
    ngx_http_rtbus_channel_t   channel;

    cli = ask->cli;
    ack = (ask->ack == NGX_HTTP_RTBUS_NO_ACK) ? NULL : &ask->ack;

    if (reply && !ask->text && !ngx_http_rtbus_carrier_closing(cli->carrier)
        && ngx_http_rtbus_snapshot_wrong(reply)
        && ngx_http_rtbus_inbox_text(ask) == NGX_OK)
    {
        return;
    }

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

        rc = ngx_http_rtbus_inbox_state(ask, reply, pool, &state);
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

        if (ngx_http_rtbus_client_refuse(cli, NGX_RTBUS_REASON_FORBIDDEN,
                                         ack) != NGX_OK) {
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

    rc = ngx_http_rtbus_subs_join(cli, &channel, ngx_http_rtbus_inbox_joined,
                                  ask->ack);

    if (rc == NGX_OK || rc == NGX_AGAIN) {
        ngx_http_rtbus_client_event(cli, "state", &json, &ask->channel);
    }

    if (ngx_http_rtbus_inbox_join_done(cli, &channel,
                                       ngx_http_rtbus_inbox_joined, ack, rc)
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
ngx_http_rtbus_inbox_close(ngx_http_rtbus_client_t *cli)
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


ngx_uint_t
ngx_http_rtbus_inbox_kind(ngx_http_rtbus_joined_pt handler)
{
    ngx_uint_t  i;

    for (i = 0; i < ngx_http_rtbus_inbox_nhandlers; i++) {
        if (ngx_http_rtbus_inbox_handlers[i] == handler) {
            return i;
        }
    }

    return 0;
}


ngx_http_rtbus_joined_pt
ngx_http_rtbus_inbox_handler(ngx_uint_t kind)
{
    return (kind < ngx_http_rtbus_inbox_nhandlers)
           ? ngx_http_rtbus_inbox_handlers[kind] : NULL;
}


/* ["<channel>",<ack>,<for its owner only>,...] */

void
ngx_http_rtbus_inbox_export(ngx_http_rtbus_client_t *cli,
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
ngx_http_rtbus_inbox_import(ngx_http_rtbus_client_t *cli,
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

        if (ngx_http_rtbus_inbox_channel(&v, buf, &channel.name)
            || rtbus_json_next(&v, &pos, &value->raw) != RTBUS_OK
            || rtbus_json_uint(&v.raw, &ack) != RTBUS_OK
            || rtbus_json_next(&v, &pos, &value->raw) != RTBUS_OK
            || rtbus_json_uint(&v.raw, &owned) != RTBUS_OK)
        {
            return NGX_ERROR;
        }

        channel.owned = (owned & 1);

        if (ngx_http_rtbus_inbox_ask(cli, &channel,
                                     ack == NGX_HTTP_RTBUS_NO_ACK ? NULL
                                                                  : &ack)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/* {"channel":"..."} */

static ngx_int_t
ngx_http_rtbus_inbox_unsubscribe(ngx_http_rtbus_client_t *cli,
    ngx_str_t *data, uint64_t *ack)
{
    u_char                buf[RTBUS_CHANNEL_MAX];
    ngx_int_t             rc;
    ngx_str_t             channel;
    ngx_uint_t            error;
    rtbus_reason_e        reason;
    rtbus_json_member_t   m[] = { rtbus_json_member("channel") };

    rc = rtbus_json_object(cli->hub->json, data->data, data->len, m, 1,
                           &reason);

    error = ngx_http_rtbus_inbox_channel(&m[0].value, buf, &channel);

    if (rc != RTBUS_OK || error) {
        return ngx_http_rtbus_client_refuse(cli, NGX_RTBUS_REASON_CHANNEL, ack);
    }

    if (ngx_http_rtbus_subs_leave(cli, &channel) != NGX_OK) {
        return ngx_http_rtbus_client_refuse(cli,
                                            NGX_RTBUS_REASON_NOT_SUBSCRIBED,
                                            ack);
    }

    return ngx_http_rtbus_inbox_ok(cli, &channel, ack);
}


/* "<jobId>" */

static ngx_int_t
ngx_http_rtbus_inbox_subscribe_job(ngx_http_rtbus_client_t *cli,
    ngx_str_t *data, uint64_t *ack)
{
    u_char                     buf[RTBUS_CHANNEL_MAX];
    ngx_uint_t                 error;
    rtbus_reason_e             reason;
    rtbus_json_value_t         value;
    ngx_http_rtbus_channel_t   channel;

    ngx_memzero(&channel, sizeof(ngx_http_rtbus_channel_t));

    error = NGX_RTBUS_REASON_JOB_ID;

    if (rtbus_json_value(cli->hub->json, data->data, data->len, &value,
                         &reason)
        == RTBUS_OK)
    {
        error = ngx_http_rtbus_inbox_job(&value, buf, &channel.name);
    }

    if (error) {
        return ngx_http_rtbus_client_refuse(cli, NGX_RTBUS_REASON_JOB_ID, ack);
    }

    if (ngx_http_rtbus_inbox_allowed(cli, &channel) != NGX_OK) {
        return ngx_http_rtbus_client_refuse(cli, NGX_RTBUS_REASON_FORBIDDEN,
                                            ack);
    }

    return ngx_http_rtbus_inbox_join(cli, &channel,
                                     ngx_http_rtbus_inbox_job_joined, ack);
}


static void
ngx_http_rtbus_inbox_job_joined(ngx_http_rtbus_sub_t *s, ngx_int_t rc)
{
    if (rc == NGX_OK) {
        ngx_http_rtbus_inbox_event(s->cli, "subscribed", &s->sub.ch->name);
    }

    ngx_http_rtbus_inbox_joined(s, rc);
}


static ngx_int_t
ngx_http_rtbus_inbox_unsubscribe_job(ngx_http_rtbus_client_t *cli,
    ngx_str_t *data, uint64_t *ack)
{
    u_char               buf[RTBUS_CHANNEL_MAX];
    ngx_str_t            channel;
    ngx_uint_t           error;
    rtbus_reason_e       reason;
    rtbus_json_value_t   value;

    error = NGX_RTBUS_REASON_JOB_ID;

    if (rtbus_json_value(cli->hub->json, data->data, data->len, &value,
                         &reason)
        == RTBUS_OK)
    {
        error = ngx_http_rtbus_inbox_job(&value, buf, &channel);
    }

    if (error) {
        return ngx_http_rtbus_client_refuse(cli, NGX_RTBUS_REASON_JOB_ID, ack);
    }

    if (ngx_http_rtbus_subs_leave(cli, &channel) != NGX_OK) {
        return ngx_http_rtbus_client_refuse(cli,
                                            NGX_RTBUS_REASON_NOT_SUBSCRIBED,
                                            ack);
    }

    ngx_http_rtbus_inbox_event(cli, "unsubscribed", &channel);

    return ngx_http_rtbus_inbox_ok(cli, &channel, ack);
}


/*
 * {"jobId":"...","lastSequence":7}: clients that count by themselves.  They do
 * not know the epoch; it is taken to be the channel's present one.
 */

static ngx_int_t
ngx_http_rtbus_inbox_sync(ngx_http_rtbus_client_t *cli, ngx_str_t *data,
    uint64_t *ack)
{
    u_char                     buf[RTBUS_CHANNEL_MAX];
    ngx_int_t                  rc;
    rtbus_reason_e             reason;
    rtbus_json_member_t        m[] = { rtbus_json_member("jobId"),
                                       rtbus_json_member("lastSequence") };
    ngx_http_rtbus_channel_t   channel;

    rc = rtbus_json_object(cli->hub->json, data->data, data->len, m, 2,
                           &reason);

    ngx_memzero(&channel, sizeof(ngx_http_rtbus_channel_t));

    if (rc != RTBUS_OK
        || ngx_http_rtbus_inbox_job(&m[0].value, buf, &channel.name))
    {
        return ngx_http_rtbus_client_refuse(cli, NGX_RTBUS_REASON_JOB_ID, ack);
    }

    if (m[1].value.type != RTBUS_JSON_NUMBER
        || rtbus_json_uint(&m[1].value.raw, &channel.pos.seq) != RTBUS_OK)
    {
        return ngx_http_rtbus_client_refuse(cli, NGX_RTBUS_REASON_SEQUENCE,
                                            ack);
    }

    channel.placed = 1;
    channel.epochless = 1;
    channel.exact = 1;

    if (ngx_http_rtbus_inbox_allowed(cli, &channel) != NGX_OK) {
        return ngx_http_rtbus_client_refuse(cli, NGX_RTBUS_REASON_FORBIDDEN,
                                            ack);
    }

    return ngx_http_rtbus_inbox_join(cli, &channel,
                                     ngx_http_rtbus_inbox_synced, ack);
}


static void
ngx_http_rtbus_inbox_synced(ngx_http_rtbus_sub_t *s, ngx_int_t rc)
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

    ngx_http_rtbus_inbox_joined(s, rc);
}


/* "subscribed" and the like, with the job id of the channel */

static void
ngx_http_rtbus_inbox_event(ngx_http_rtbus_client_t *cli, const char *name,
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


/*
 * The two below decode a name to buf, RTBUS_CHANNEL_MAX bytes; 0, or why it is
 * not one.
 */

static ngx_uint_t
ngx_http_rtbus_inbox_channel(rtbus_json_value_t *value, u_char *buf,
    ngx_str_t *channel)
{
    if (value->type != RTBUS_JSON_STRING
        || rtbus_json_unquote(NULL, &value->raw) > RTBUS_CHANNEL_MAX)
    {
        return NGX_RTBUS_REASON_CHANNEL;
    }

    channel->data = buf;
    channel->len = rtbus_json_unquote(buf, &value->raw);

    return (rtbus_channel_check(buf, channel->len) == RTBUS_OK)
           ? RTBUS_REASON_NONE : NGX_RTBUS_REASON_CHANNEL;
}


static ngx_uint_t
ngx_http_rtbus_inbox_job(rtbus_json_value_t *value, u_char *buf,
    ngx_str_t *channel)
{
    return (value->type == RTBUS_JSON_STRING
            && ngx_http_rtbus_name_job(value, buf, channel) == NGX_OK)
           ? RTBUS_REASON_NONE : NGX_RTBUS_REASON_JOB_ID;
}


static ngx_uint_t
ngx_http_rtbus_inbox_position(rtbus_json_value_t *value, rtbus_pos_t *pos)
{
    size_t  len;
    u_char  buf[RTBUS_POSITION_MAX];

    if (value->type != RTBUS_JSON_STRING
        || rtbus_json_unquote(NULL, &value->raw) > RTBUS_POSITION_MAX)
    {
        return NGX_RTBUS_REASON_POSITION;
    }

    len = rtbus_json_unquote(buf, &value->raw);

    return (rtbus_pos_parse(pos, buf, len) == RTBUS_OK)
           ? RTBUS_REASON_NONE : NGX_RTBUS_REASON_POSITION;
}


static ngx_int_t
ngx_http_rtbus_inbox_ok(ngx_http_rtbus_client_t *cli, ngx_str_t *channel,
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
