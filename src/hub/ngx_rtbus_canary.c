
#include "ngx_rtbus_canary.h"


/* timers may come a little early or late */
#define NGX_RTBUS_CANARY_MISSING  (2 * NGX_RTBUS_STAT_PERIOD - 100)

/* ms that it may be behind other messages, as long as these come */
#define NGX_RTBUS_CANARY_BEHIND   60000

#define NGX_RTBUS_CANARY_LOG      60      /* s between refusals in the log */

#define NGX_RTBUS_CANARY_TEXT     (sizeof("{\"canary\":}") + NGX_INT64_LEN)


static void ngx_rtbus_canary_text(ngx_rtbus_canary_t *canary, ngx_str_t *text);
static void ngx_rtbus_canary_ready(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic);
static void ngx_rtbus_canary_unready(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic);
static void ngx_rtbus_canary_message(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic, u_char *data, size_t len);
static void ngx_rtbus_canary_sent(void *data, redisReply *reply);
static void ngx_rtbus_canary_mail(void *data, rtbus_json_value_t *value,
    rtbus_str_t *message);
static void ngx_rtbus_canary_back(ngx_rtbus_canary_t *canary);


static const ngx_rtbus_redis_topic_handlers_t  ngx_rtbus_canary_handlers = {
    ngx_rtbus_canary_ready,
    ngx_rtbus_canary_unready,              /* refused */
    ngx_rtbus_canary_message,
    ngx_rtbus_canary_unready,              /* lost */
    ngx_rtbus_canary_unready               /* handed over */
};


void
ngx_rtbus_canary_init(ngx_rtbus_canary_t *canary, ngx_rtbus_mailbox_t *mailbox,
    ngx_rtbus_redis_shard_t *shard, ngx_rtbus_stat_t *stat,
    ngx_rtbus_canary_pt handler, ngx_log_t *log)
{
    canary->mailbox = mailbox;
    canary->shard = shard;
    canary->stat = stat;
    canary->handler = handler;
    canary->log = log;
    canary->back = ngx_current_msec;

    if (!shard->shards->cluster) {
        ngx_rtbus_mailbox_handle(mailbox, "canary", ngx_rtbus_canary_mail,
                                 canary);
        return;
    }

    ngx_rtbus_canary_name(canary);
}


void
ngx_rtbus_canary_close(ngx_rtbus_canary_t *canary)
{
    if (canary->named) {
        ngx_rtbus_redis_sub_remove(&canary->shard->sub, &canary->topic);
        canary->named = 0;
    }

    if (canary->name) {
        ngx_free(canary->name);
        canary->name = NULL;
    }
}


void
ngx_rtbus_canary_name(ngx_rtbus_canary_t *canary)
{
    u_char                   *p;
    ngx_uint_t                n;
    ngx_rtbus_redis_shard_t  *shard;

    shard = canary->shard;

    if (canary->named) {

        if (ngx_rtbus_redis_shard_has_tag(shard, canary->tag) == NGX_OK) {
            return;
        }

        ngx_rtbus_canary_lost(canary);
        ngx_rtbus_canary_close(canary);
    }

    if (ngx_rtbus_redis_shard_tag(shard, &n) != NGX_OK) {
        return;
    }

    canary->name = ngx_alloc(canary->mailbox->name.len + NGX_INT_T_LEN + 2,
                             canary->log);
    if (canary->name == NULL) {
        return;
    }

    p = ngx_sprintf(canary->name, "%V{%ui}", &canary->mailbox->name, n);

    ngx_memzero(&canary->topic, sizeof(ngx_rtbus_redis_topic_t));

    canary->topic.name.len = p - canary->name;
    canary->topic.name.data = canary->name;
    canary->topic.handlers = &ngx_rtbus_canary_handlers;
    canary->topic.fixed = 1;

    canary->tag = n;
    canary->named = 1;

    ngx_rtbus_redis_sub_add(&shard->sub, &canary->topic);
}


ngx_int_t
ngx_rtbus_canary_check(ngx_rtbus_canary_t *canary)
{
    ngx_msec_t               age;
    ngx_connection_t        *c;
    ngx_rtbus_redis_conn_t  *rc;

    ngx_log_debug2(NGX_LOG_DEBUG_CORE, canary->log, 0,
                   "rtbus: canary check, flying:%d proven:%d",
                   canary->flying, canary->proven);

    if (!canary->flying) {
        ngx_rtbus_canary_send(canary);
        return NGX_OK;
    }

    age = ngx_current_msec - canary->sent;

    /* a message that is not published yet is a matter of the other link */

    if (!canary->published || age < NGX_RTBUS_CANARY_MISSING) {
        return NGX_OK;
    }

    rc = &canary->shard->sub.conn;
    c = rc->peer.connection;

    if (c == NULL || !rc->up) {
        return NGX_OK;
    }

    /* it is behind other messages, or a busy worker has read little so far */

    if (age < NGX_RTBUS_CANARY_BEHIND
        && ngx_current_msec - rc->heard < NGX_RTBUS_STAT_PERIOD)
    {
        return NGX_OK;
    }

    if (c->read->posted) {
        return NGX_OK;
    }

    if (!canary->doubted) {
        canary->doubted = 1;
        ngx_post_event(c->read, &ngx_posted_next_events);
        return NGX_AGAIN;
    }

    ngx_rtbus_stat_add(canary->stat, canaries, 1);

    ngx_rtbus_redis_conn_fail(rc, "the canary is missing");

    return NGX_OK;
}


static void
ngx_rtbus_canary_text(ngx_rtbus_canary_t *canary, ngx_str_t *text)
{
    text->len = ngx_sprintf(text->data, "{\"canary\":%uL}", canary->number)
                - text->data;
}


void
ngx_rtbus_canary_send(ngx_rtbus_canary_t *canary)
{
    size_t                   len[3];
    ngx_str_t                message;
    const char              *argv[3];
    ngx_rtbus_redis_call_t  *call;
    u_char                   buf[NGX_RTBUS_CANARY_TEXT];

    if (canary->shard->shards->cluster ? !canary->topic.ready
                                       : !canary->mailbox->ready)
    {
        return;
    }

    if (!canary->shard->cmd.conn.up) {
        return;
    }

    canary->number++;

    ngx_log_debug2(NGX_LOG_DEBUG_CORE, canary->log, 0,
                   "rtbus: canary is sent, number:%uL named:%d",
                   canary->number, canary->named);

    message.data = buf;
    ngx_rtbus_canary_text(canary, &message);

    if (canary->named) {
        argv[0] = "SPUBLISH";
        len[0] = 8;
        argv[1] = (char *) canary->topic.name.data;
        len[1] = canary->topic.name.len;
        argv[2] = (char *) message.data;
        len[2] = message.len;

        call = ngx_rtbus_redis_cmd_call(&canary->shard->cmd, 3, argv, len,
                                        ngx_rtbus_canary_sent, canary);

    } else {
        call = ngx_rtbus_mailbox_send(canary->mailbox, &canary->mailbox->id,
                                      &message, ngx_rtbus_canary_sent, canary);
    }

    if (call) {
        canary->flying = 1;
        canary->published = 0;
        canary->doubted = 0;
        canary->sent = ngx_current_msec;
    }
}


void
ngx_rtbus_canary_lost(ngx_rtbus_canary_t *canary)
{
    ngx_log_debug2(NGX_LOG_DEBUG_CORE, canary->log, 0,
                   "rtbus: canary is lost, flying:%d proven:%d",
                   canary->flying, canary->proven);

    canary->flying = 0;

    if (canary->proven) {
        canary->proven = 0;
        canary->handler(canary);
    }
}


static void
ngx_rtbus_canary_ready(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic)
{
    ngx_rtbus_canary_send(ngx_queue_data(topic, ngx_rtbus_canary_t, topic));
}


static void
ngx_rtbus_canary_unready(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic)
{
    ngx_rtbus_canary_lost(ngx_queue_data(topic, ngx_rtbus_canary_t, topic));
}


static void
ngx_rtbus_canary_message(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic, u_char *data, size_t len)
{
    ngx_str_t            text;
    ngx_rtbus_canary_t  *canary;
    u_char               buf[NGX_RTBUS_CANARY_TEXT];

    canary = ngx_queue_data(topic, ngx_rtbus_canary_t, topic);

    text.data = buf;
    ngx_rtbus_canary_text(canary, &text);

    if (canary->flying && text.len == len
        && ngx_memcmp(text.data, data, len) == 0)
    {
        ngx_rtbus_canary_back(canary);
    }
}


/* the reply to PUBLISH; the canary itself may come back before it */

static void
ngx_rtbus_canary_sent(void *data, redisReply *reply)
{
    ngx_rtbus_canary_t *canary = data;

    ngx_str_t  text;

    if (reply == NULL) {
        return;
    }

    if (reply->type != REDIS_REPLY_ERROR) {
        canary->published = 1;
        canary->sent = ngx_current_msec;
        return;
    }

    /* it was not published, so its absence does not blame the other link */

    canary->flying = 0;

    if (ngx_time() - canary->complained < NGX_RTBUS_CANARY_LOG) {
        return;
    }

    canary->complained = ngx_time();

    text.len = reply->len;
    text.data = (u_char *) reply->str;

    ngx_log_error(NGX_LOG_ERR, canary->log, 0,
                  "rtbus: could not publish to its mailbox \"%V\": "
                  "Redis answered \"%V\"",
                  canary->named ? &canary->topic.name : &canary->mailbox->name,
                  &text);
}


static void
ngx_rtbus_canary_mail(void *data, rtbus_json_value_t *value,
    rtbus_str_t *message)
{
    ngx_rtbus_canary_t *canary = data;

    uint64_t  number;

    if (value->type != RTBUS_JSON_NUMBER
        || rtbus_json_uint(&value->raw, &number) != RTBUS_OK
        || number != canary->number || !canary->flying)
    {
        return;
    }

    ngx_rtbus_canary_back(canary);
}


static void
ngx_rtbus_canary_back(ngx_rtbus_canary_t *canary)
{
    ngx_log_debug1(NGX_LOG_DEBUG_CORE, canary->log, 0,
                   "rtbus: canary is back after %M ms",
                   ngx_current_msec - canary->sent);

    canary->flying = 0;
    canary->back = ngx_current_msec;
    canary->proven = 1;

    canary->handler(canary);
}
