
#include "ngx_rtbus_redis_sub.h"
#include "ngx_rtbus_redis_raw.h"


/*
 * Names in flight.  Redis drops a subscriber whose replies pile up (the class
 * pubsub of client-output-buffer-limit), so after a reconnect they are not all
 * requested at once.
 */
#define NGX_RTBUS_REDIS_SUB_WINDOW  4096

#define NGX_RTBUS_REDIS_SUB_TOPICS  64      /* slots at first, a power of 2 */
#define NGX_RTBUS_REDIS_SUB_PATTERNS  8
#define NGX_RTBUS_REDIS_SUB_PLAINS  8

/* times in a row that a topic may be elsewhere before it counts as refused */
#define NGX_RTBUS_REDIS_SUB_MOVES   10

#define NGX_RTBUS_REDIS_SUB_RETRY   10000
#define NGX_RTBUS_REDIS_SUB_LOG     60


#define ngx_rtbus_redis_sub_is(kind, text)                                    \
    ((kind)->len == sizeof(text) - 1                                          \
     && ngx_memcmp((kind)->data, text, sizeof(text) - 1) == 0)


static void ngx_rtbus_redis_sub_insert(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topics_t *topics, ngx_rtbus_redis_topic_t *topic);
static void ngx_rtbus_redis_sub_up(ngx_rtbus_redis_conn_t *rc);
static void ngx_rtbus_redis_sub_down(ngx_rtbus_redis_conn_t *rc,
    const char *reason);
static void ngx_rtbus_redis_sub_failed(ngx_rtbus_redis_conn_t *rc);
static void ngx_rtbus_redis_sub_unready(ngx_queue_t *from, ngx_queue_t *lost);
static void ngx_rtbus_redis_sub_reply(ngx_rtbus_redis_conn_t *rc,
    redisReply *reply);
static ngx_int_t ngx_rtbus_redis_sub_strings(redisReply *reply,
    ngx_str_t *str);
static size_t ngx_rtbus_redis_sub_raw(ngx_rtbus_redis_conn_t *rc, u_char *buf,
    size_t len);
static void ngx_rtbus_redis_sub_message(ngx_rtbus_redis_sub_t *rs,
    ngx_str_t *name, ngx_str_t *message, ngx_uint_t shard);
static void ngx_rtbus_redis_sub_pmessage(ngx_rtbus_redis_sub_t *rs,
    ngx_str_t *pattern, ngx_str_t *channel, ngx_str_t *message);
static void ngx_rtbus_redis_sub_ended(ngx_rtbus_redis_sub_t *rs,
    ngx_str_t *name);
static ngx_uint_t ngx_rtbus_redis_sub_redirect(redisReply *error);
static void ngx_rtbus_redis_sub_confirm(ngx_rtbus_redis_sub_t *rs,
    redisReply *error);
static void ngx_rtbus_redis_sub_batch_handler(ngx_event_t *ev);
static ngx_int_t ngx_rtbus_redis_sub_send(ngx_rtbus_redis_sub_t *rs,
    ngx_str_t *command, ngx_str_t *name);
static ngx_int_t ngx_rtbus_redis_sub_write(ngx_rtbus_redis_sub_t *rs,
    ngx_str_t *command, ngx_str_t *name);
static void ngx_rtbus_redis_sub_leave_ghost(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic);
static void ngx_rtbus_redis_sub_free_ghosts(ngx_rtbus_redis_sub_t *rs);
static void ngx_rtbus_redis_sub_timeout_handler(ngx_event_t *ev);
static void ngx_rtbus_redis_sub_retry_handler(ngx_event_t *ev);


static ngx_str_t  ngx_rtbus_redis_subscribe = ngx_string("SUBSCRIBE");
static ngx_str_t  ngx_rtbus_redis_psubscribe = ngx_string("PSUBSCRIBE");
static ngx_str_t  ngx_rtbus_redis_unsubscribe = ngx_string("UNSUBSCRIBE");
static ngx_str_t  ngx_rtbus_redis_ssubscribe = ngx_string("SSUBSCRIBE");
static ngx_str_t  ngx_rtbus_redis_sunsubscribe = ngx_string("SUNSUBSCRIBE");


ngx_int_t
ngx_rtbus_redis_sub_init(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_conf_t *conf, ngx_log_t *log)
{
    rs->reconnects = 0;
    rs->started = 0;

    ngx_queue_init(&rs->pending);
    ngx_queue_init(&rs->sent);
    ngx_queue_init(&rs->refused);
    ngx_queue_init(&rs->elsewhere);
    ngx_queue_init(&rs->ready);

    rs->nfixed = 0;

    rs->requested = 0;
    rs->confirmed = 0;
    rs->since = 0;
    rs->logged = 0;

    ngx_memzero(&rs->silence, sizeof(ngx_rtbus_redis_silence_t));

    ngx_memzero(&rs->batch, sizeof(ngx_event_t));
    rs->batch.handler = ngx_rtbus_redis_sub_batch_handler;
    rs->batch.data = rs;
    rs->batch.log = &rs->conn.log;

    ngx_memzero(&rs->timeout, sizeof(ngx_event_t));
    rs->timeout.handler = ngx_rtbus_redis_sub_timeout_handler;
    rs->timeout.data = rs;
    rs->timeout.log = &rs->conn.log;
    rs->timeout.cancelable = 1;

    ngx_memzero(&rs->retry, sizeof(ngx_event_t));
    rs->retry.handler = ngx_rtbus_redis_sub_retry_handler;
    rs->retry.data = rs;
    rs->retry.log = &rs->conn.log;
    rs->retry.cancelable = 1;

    rs->conn.conf = conf;
    rs->conn.role = "pub/sub";
    rs->conn.rest = conf->rest;
    rs->conn.up_handler = ngx_rtbus_redis_sub_up;
    rs->conn.raw_handler = ngx_rtbus_redis_sub_raw;
    rs->conn.reply_handler = ngx_rtbus_redis_sub_reply;
    rs->conn.down_handler = ngx_rtbus_redis_sub_down;
    rs->conn.failed_handler = ngx_rtbus_redis_sub_failed;
    rs->conn.exiting_handler = rs->exiting_handler;
    rs->conn.data = rs;

    if (ngx_rtbus_redis_topics_key(log) != NGX_OK
        || ngx_rtbus_redis_topics_init(&rs->topics, NGX_RTBUS_REDIS_SUB_TOPICS,
                                       log)
           != NGX_OK
        || ngx_rtbus_redis_topics_init(&rs->patterns,
                                       NGX_RTBUS_REDIS_SUB_PATTERNS, log)
           != NGX_OK
        || ngx_rtbus_redis_topics_init(&rs->plains, NGX_RTBUS_REDIS_SUB_PLAINS,
                                       log)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


ngx_rtbus_redis_topic_t *
ngx_rtbus_redis_sub_lookup(ngx_rtbus_redis_sub_t *rs, ngx_str_t *name,
    uint32_t hash)
{
    return ngx_rtbus_redis_topics_lookup(&rs->topics, name, hash);
}


void
ngx_rtbus_redis_sub_add(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic)
{
    topic->pattern = 0;
    topic->plain = 0;

    ngx_rtbus_redis_sub_insert(rs, &rs->topics, topic);
}


void
ngx_rtbus_redis_sub_add_plain(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic)
{
    topic->pattern = 0;
    topic->plain = 1;

    ngx_rtbus_redis_sub_insert(rs, &rs->plains, topic);
}


void
ngx_rtbus_redis_sub_add_pattern(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_pattern_t *pattern)
{
    pattern->topic.pattern = 1;

    ngx_rtbus_redis_sub_insert(rs, &rs->patterns, &pattern->topic);
}


static void
ngx_rtbus_redis_sub_insert(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topics_t *topics, ngx_rtbus_redis_topic_t *topic)
{
    topic->number = 0;
    topic->ready = 0;
    topic->refused = 0;
    topic->moves = 0;

    topic->hash = ngx_rtbus_redis_sub_hash(&topic->name);

    ngx_rtbus_redis_topics_insert(topics, topic, &rs->conn.log);

    rs->nfixed += topic->fixed;

    ngx_queue_insert_tail(&rs->pending, &topic->queue);

    if (rs->conn.up) {
        ngx_post_event(&rs->batch, &ngx_posted_events);
    }
}


void
ngx_rtbus_redis_sub_remove(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic)
{
    ngx_log_debug3(NGX_LOG_DEBUG_EVENT, &rs->conn.log, 0,
                   "rtbus: redis topic \"%V\" is removed, ready:%d number:%uL",
                   &topic->name, topic->ready, topic->number);

    ngx_rtbus_redis_topics_remove(topic->plain ? &rs->plains : &rs->topics,
                                  topic);

    rs->nfixed -= topic->fixed;

    if (rs->cluster && topic->number && !topic->ready) {
        ngx_rtbus_redis_sub_leave_ghost(rs, topic);
    }

    ngx_queue_remove(&topic->queue);

    if (topic->number == 0) {
        return;
    }

    /*
     * At once, the name may be gone later; and so it is ahead of a SUBSCRIBE
     * of the same name.  If it fails, so does the connection.
     */

    if (rs->cluster && !topic->plain) {

        /*
         * Its answer may be an error, and looks like what comes unasked when
         * a slot moves.  The one to the UNSUBSCRIBE behind it, of what was
         * never subscribed to, cannot be taken for something else.
         */

        (void) ngx_rtbus_redis_sub_write(rs, &ngx_rtbus_redis_sunsubscribe,
                                         &topic->name);
    }

    (void) ngx_rtbus_redis_sub_send(rs, &ngx_rtbus_redis_unsubscribe,
                                    &topic->name);
}


void
ngx_rtbus_redis_sub_move(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic, ngx_rtbus_redis_sub_t *to)
{
    ngx_uint_t  ready;

    ready = topic->ready;

    ngx_rtbus_redis_sub_remove(rs, topic);
    ngx_rtbus_redis_sub_insert(to, topic->plain ? &to->plains : &to->topics,
                               topic);

    if (ready) {
        topic->handlers->handed_over(to, topic);
    }
}


void
ngx_rtbus_redis_sub_retry(ngx_rtbus_redis_sub_t *rs)
{
    if (ngx_queue_empty(&rs->elsewhere)) {
        return;
    }

    ngx_queue_add(&rs->pending, &rs->elsewhere);
    ngx_queue_init(&rs->elsewhere);

    if (rs->conn.up) {
        ngx_post_event(&rs->batch, &ngx_posted_events);
    }
}


/*
 * Replaces a removed topic in the queue of those to be confirmed, so that an
 * error reply can be assigned to its topic.
 */

static void
ngx_rtbus_redis_sub_leave_ghost(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic)
{
    ngx_rtbus_redis_topic_t  *ghost;

    ghost = ngx_calloc(sizeof(ngx_rtbus_redis_topic_t), &rs->conn.log);

    if (ghost == NULL) {
        ngx_rtbus_redis_conn_break(&rs->conn, "no memory");
        return;
    }

    ghost->ghost = 1;
    ghost->number = topic->number;

    ngx_queue_insert_tail(&topic->queue, &ghost->queue);
}


static void
ngx_rtbus_redis_sub_free_ghosts(ngx_rtbus_redis_sub_t *rs)
{
    ngx_queue_t              *q, *next;
    ngx_rtbus_redis_topic_t  *topic;

    for (q = ngx_queue_head(&rs->sent);
         q != ngx_queue_sentinel(&rs->sent);
         q = next)
    {
        next = ngx_queue_next(q);
        topic = ngx_queue_data(q, ngx_rtbus_redis_topic_t, queue);

        if (topic->ghost) {
            ngx_queue_remove(q);
            ngx_free(topic);
        }
    }
}


void
ngx_rtbus_redis_sub_close(ngx_rtbus_redis_sub_t *rs)
{
    ngx_rtbus_redis_sub_stop(rs);

    ngx_rtbus_redis_topics_close(&rs->topics);
    ngx_rtbus_redis_topics_close(&rs->patterns);
    ngx_rtbus_redis_topics_close(&rs->plains);
}


void
ngx_rtbus_redis_sub_stop(ngx_rtbus_redis_sub_t *rs)
{
    ngx_rtbus_redis_conn_close(&rs->conn);

    ngx_rtbus_redis_sub_free_ghosts(rs);

    rs->requested = 0;
    rs->confirmed = 0;
    rs->started = 0;

    if (rs->batch.posted) {
        ngx_delete_posted_event(&rs->batch);
    }

    if (rs->timeout.timer_set) {
        ngx_del_timer(&rs->timeout);
    }

    if (rs->retry.timer_set) {
        ngx_del_timer(&rs->retry);
    }
}


static void
ngx_rtbus_redis_sub_up(ngx_rtbus_redis_conn_t *rc)
{
    ngx_rtbus_redis_sub_t  *rs;

    rs = rc->data;

    if (rs->started) {
        rs->reconnects++;
    }

    rs->started = 1;

    ngx_log_debug2(NGX_LOG_DEBUG_EVENT, &rc->log, 0,
                   "rtbus: redis sub up, topics:%ui patterns:%ui",
                   rs->topics.n, rs->patterns.n);

    ngx_post_event(&rs->batch, &ngx_posted_events);

    if (rs->changed_handler) {
        rs->changed_handler(rs);
    }
}


static void
ngx_rtbus_redis_sub_down(ngx_rtbus_redis_conn_t *rc, const char *reason)
{
    ngx_queue_t               lost, *q;
    ngx_rtbus_redis_sub_t    *rs;
    ngx_rtbus_redis_topic_t  *topic;

    rs = rc->data;

    ngx_log_debug3(NGX_LOG_DEBUG_EVENT, &rc->log, 0,
                   "rtbus: redis sub down, topics:%ui requested:%uL "
                   "confirmed:%uL", rs->topics.n, rs->requested,
                   rs->confirmed);

    if (rs->batch.posted) {
        ngx_delete_posted_event(&rs->batch);
    }

    if (rs->timeout.timer_set) {
        ngx_del_timer(&rs->timeout);
    }

    if (rs->retry.timer_set) {
        ngx_del_timer(&rs->retry);
    }

    rs->requested = 0;
    rs->confirmed = 0;

    if (rs->changed_handler) {
        rs->changed_handler(rs);
    }

    ngx_queue_init(&lost);

    ngx_rtbus_redis_sub_free_ghosts(rs);

    ngx_rtbus_redis_sub_unready(&rs->ready, &lost);
    ngx_rtbus_redis_sub_unready(&rs->sent, &lost);
    ngx_rtbus_redis_sub_unready(&rs->refused, &lost);
    ngx_rtbus_redis_sub_unready(&rs->elsewhere, &lost);
    ngx_rtbus_redis_sub_unready(&rs->pending, &lost);

    while (!ngx_queue_empty(&lost)) {
        q = ngx_queue_head(&lost);
        topic = ngx_queue_data(q, ngx_rtbus_redis_topic_t, queue);

        ngx_queue_remove(q);
        ngx_queue_insert_tail(&rs->pending, q);

        if (!topic->pattern) {
            topic->handlers->lost(rs, topic);
        }
    }
}


static void
ngx_rtbus_redis_sub_failed(ngx_rtbus_redis_conn_t *rc)
{
    ngx_rtbus_redis_sub_t  *rs;

    rs = rc->data;

    if (rs->changed_handler) {
        rs->changed_handler(rs);
    }
}


static void
ngx_rtbus_redis_sub_unready(ngx_queue_t *from, ngx_queue_t *lost)
{
    ngx_queue_t              *q;
    ngx_rtbus_redis_topic_t  *topic;

    while (!ngx_queue_empty(from)) {
        q = ngx_queue_head(from);
        topic = ngx_queue_data(q, ngx_rtbus_redis_topic_t, queue);

        topic->number = 0;
        topic->ready = 0;
        topic->refused = 0;

        ngx_queue_remove(q);
        ngx_queue_insert_tail(lost, q);
    }
}


static void
ngx_rtbus_redis_sub_reply(ngx_rtbus_redis_conn_t *rc, redisReply *reply)
{
    ngx_str_t               kind, str[3];
    ngx_rtbus_redis_sub_t  *rs;

    rs = rc->data;

    if (reply->type == REDIS_REPLY_ERROR) {
        ngx_rtbus_redis_sub_confirm(rs, reply);
        return;
    }

    if (reply->type == REDIS_REPLY_ARRAY
        && (reply->elements == 3 || reply->elements == 4)
        && reply->element[0]->type == REDIS_REPLY_STRING)
    {
        kind.len = reply->element[0]->len;
        kind.data = (u_char *) reply->element[0]->str;

        if (reply->elements == 4) {

            if (ngx_rtbus_redis_sub_is(&kind, "pmessage")
                && ngx_rtbus_redis_sub_strings(reply, str) == NGX_OK)
            {
                ngx_rtbus_redis_sub_pmessage(rs, &str[0], &str[1], &str[2]);
                return;
            }

        } else if (ngx_rtbus_redis_sub_is(&kind, "message")
                   || ngx_rtbus_redis_sub_is(&kind, "smessage"))
        {
            if (ngx_rtbus_redis_sub_strings(reply, str) == NGX_OK) {
                ngx_rtbus_redis_sub_message(rs, &str[0], &str[1],
                                            kind.data[0] == 's');
                return;
            }

        } else if (ngx_rtbus_redis_sub_is(&kind, "subscribe")
                   || ngx_rtbus_redis_sub_is(&kind, "ssubscribe")
                   || ngx_rtbus_redis_sub_is(&kind, "psubscribe")
                   || ngx_rtbus_redis_sub_is(&kind, "unsubscribe"))
        {
            ngx_rtbus_redis_sub_confirm(rs, NULL);
            return;

        } else if (rs->cluster
                   && ngx_rtbus_redis_sub_is(&kind, "sunsubscribe"))
        {
            if (reply->element[1]->type == REDIS_REPLY_STRING) {
                str[0].len = reply->element[1]->len;
                str[0].data = (u_char *) reply->element[1]->str;

                ngx_rtbus_redis_sub_ended(rs, &str[0]);
            }

            return;
        }
    }

    ngx_rtbus_redis_conn_fail(rc, "unexpected reply");
}


/* the strings that follow the kind */

static ngx_int_t
ngx_rtbus_redis_sub_strings(redisReply *reply, ngx_str_t *str)
{
    size_t  i;

    for (i = 1; i < reply->elements; i++, str++) {

        if (reply->element[i]->type != REDIS_REPLY_STRING) {
            return NGX_DECLINED;
        }

        str->len = reply->element[i]->len;
        str->data = (u_char *) reply->element[i]->str;
    }

    return NGX_OK;
}


/* replies that this does not take go to the handler above */

static size_t
ngx_rtbus_redis_sub_raw(ngx_rtbus_redis_conn_t *rc, u_char *buf, size_t len)
{
    size_t                  size;
    ngx_str_t               str[3];
    ngx_rtbus_redis_raw_e   kind;
    ngx_rtbus_redis_sub_t  *rs;

    rs = rc->data;

    size = ngx_rtbus_redis_raw_parse(buf, len, &kind, str);

    if (size == 0) {
        return 0;
    }

    switch (kind) {

    case NGX_RTBUS_REDIS_RAW_CONFIRM:
        ngx_rtbus_redis_sub_confirm(rs, NULL);
        break;

    case NGX_RTBUS_REDIS_RAW_PMESSAGE:
        ngx_rtbus_redis_sub_pmessage(rs, &str[0], &str[1], &str[2]);
        break;

    default:
        ngx_rtbus_redis_sub_message(rs, &str[0], &str[1],
                                    kind == NGX_RTBUS_REDIS_RAW_SMESSAGE);
    }

    return size;
}


/* in a cluster, messages without a shard are for the plain topics */

static void
ngx_rtbus_redis_sub_message(ngx_rtbus_redis_sub_t *rs, ngx_str_t *name,
    ngx_str_t *message, ngx_uint_t shard)
{
    uint32_t                   hash;
    ngx_rtbus_redis_topic_t   *topic;
    ngx_rtbus_redis_topics_t  *topics;

    hash = ngx_rtbus_redis_sub_hash(name);

    topics = (shard || !rs->cluster) ? &rs->topics : &rs->plains;

    topic = ngx_rtbus_redis_topics_lookup(topics, name, hash);

    if (topic && topic->ready) {
        topic->handlers->message(rs, topic, message->data, message->len);
    }
}


static void
ngx_rtbus_redis_sub_pmessage(ngx_rtbus_redis_sub_t *rs, ngx_str_t *pattern,
    ngx_str_t *channel, ngx_str_t *message)
{
    uint32_t                    hash;
    ngx_rtbus_redis_pattern_t  *found;

    hash = ngx_rtbus_redis_sub_hash(pattern);

    found = (ngx_rtbus_redis_pattern_t *)
                ngx_rtbus_redis_topics_lookup(&rs->patterns, pattern, hash);

    if (found && found->topic.ready) {
        found->handler(rs, found, channel, message->data, message->len);
    }
}


/*
 * The slot of a shard channel has moved.  If the topic is not ready, this is
 * the reply to an earlier SUNSUBSCRIBE of the same name.
 */

static void
ngx_rtbus_redis_sub_ended(ngx_rtbus_redis_sub_t *rs, ngx_str_t *name)
{
    ngx_rtbus_redis_topic_t  *topic;

    topic = ngx_rtbus_redis_sub_lookup(rs, name,
                                       ngx_rtbus_redis_sub_hash(name));

    if (topic == NULL || !topic->ready) {
        return;
    }

    ngx_log_debug1(NGX_LOG_DEBUG_EVENT, &rs->conn.log, 0,
                   "rtbus: redis has ended \"%V\"", name);

    topic->ready = 0;
    topic->number = 0;

    ngx_queue_remove(&topic->queue);
    ngx_queue_insert_tail(&rs->elsewhere, &topic->queue);

    topic->handlers->handed_over(rs, topic);

    rs->elsewhere_handler(rs);
}


/* does the error say that another server has the shard channel, or will */

static ngx_uint_t
ngx_rtbus_redis_sub_redirect(redisReply *error)
{
    return ngx_strncmp(error->str, "MOVED ", 6) == 0
           || ngx_strncmp(error->str, "ASK ", 4) == 0
           || ngx_strncmp(error->str, "TRYAGAIN", 8) == 0;
}


/*
 * The reply to one SUBSCRIBE, PSUBSCRIBE or UNSUBSCRIBE, in the order of the
 * commands.
 */

static void
ngx_rtbus_redis_sub_confirm(ngx_rtbus_redis_sub_t *rs, redisReply *error)
{
    time_t                    now;
    ngx_str_t                 text;
    ngx_uint_t                level;
    ngx_queue_t              *q;
    ngx_rtbus_redis_topic_t  *topic;

    if (rs->confirmed == rs->requested) {
        ngx_rtbus_redis_conn_fail(&rs->conn, "unexpected reply");
        return;
    }

    q = ngx_queue_head(&rs->sent);
    topic = ngx_queue_data(q, ngx_rtbus_redis_topic_t, queue);

    if (ngx_queue_empty(&rs->sent) || topic->number != rs->confirmed + 1) {
        topic = NULL;
    }

    if (topic == NULL && error && rs->cluster) {

        /* to SUNSUBSCRIBE; the one that counts is behind it */

        return;
    }

    rs->confirmed++;

    if (!ngx_queue_empty(&rs->pending)) {
        ngx_post_event(&rs->batch, &ngx_posted_events);
    }

    if (topic == NULL) {

        /* UNSUBSCRIBE, or SUBSCRIBE of a topic that was removed since */

        return;
    }

    ngx_queue_remove(q);

    if (topic->ghost) {
        ngx_free(topic);
        return;
    }

    if (error == NULL) {
        topic->ready = 1;
        topic->refused = 0;
        topic->moves = 0;
        ngx_queue_insert_tail(&rs->ready, q);

        if (!topic->pattern) {
            topic->handlers->ready(rs, topic);
        }

        return;
    }

    topic->number = 0;

    if (rs->cluster && ngx_rtbus_redis_sub_redirect(error)
        && topic->moves < NGX_RTBUS_REDIS_SUB_MOVES)
    {
        ngx_log_debug3(NGX_LOG_DEBUG_EVENT, &rs->conn.log, 0,
                       "rtbus: redis topic \"%V\" is elsewhere, moves:%d: %s",
                       &topic->name, topic->moves, error->str);

        topic->moves++;
        ngx_queue_insert_tail(&rs->elsewhere, q);

        rs->elsewhere_handler(rs);
        return;
    }

    topic->moves = 0;
    topic->refused = 1;

    if (rs->cluster
        && (ngx_rtbus_redis_sub_redirect(error)
            || ngx_strncmp(error->str, "CLUSTERDOWN", 11) == 0))
    {
        ngx_queue_insert_tail(&rs->elsewhere, q);

        rs->down = !ngx_rtbus_redis_sub_redirect(error);
        rs->elsewhere_handler(rs);
        rs->down = 0;

    } else {
        ngx_queue_insert_tail(&rs->refused, q);
    }

    if (!rs->retry.timer_set) {
        ngx_add_timer(&rs->retry, NGX_RTBUS_REDIS_SUB_RETRY);
    }

    level = NGX_LOG_INFO;
    now = ngx_time();

    if (rs->logged == 0 || now - rs->logged >= NGX_RTBUS_REDIS_SUB_LOG) {
        rs->logged = now;
        level = NGX_LOG_ERR;
    }

    text.len = error->len;
    text.data = (u_char *) error->str;

    ngx_log_error(level, &rs->conn.log, 0,
                  "rtbus: could not subscribe to \"%V\": Redis answered \"%V\"",
                  &topic->name, &text);

    if (level == NGX_LOG_ERR && rs->cluster
        && ngx_strncmp(error->str, "ERR unknown command", 19) == 0)
    {
        ngx_log_error(NGX_LOG_ERR, &rs->conn.log, 0,
                      "rtbus: it takes Redis 7.0 or newer for a cluster, with "
                      "shard channels and functions");
    }

    if (!topic->pattern) {
        topic->handlers->refused(rs, topic);
    }
}


static void
ngx_rtbus_redis_sub_batch_handler(ngx_event_t *ev)
{
    ngx_str_t                *command;
    ngx_queue_t              *q;
    ngx_rtbus_redis_sub_t    *rs;
    ngx_rtbus_redis_topic_t  *topic;

    rs = ev->data;

    ngx_log_debug2(NGX_LOG_DEBUG_EVENT, ev->log, 0,
                   "rtbus: redis batch handler, requested:%uL confirmed:%uL",
                   rs->requested, rs->confirmed);

    while (!ngx_queue_empty(&rs->pending)
           && rs->requested - rs->confirmed < NGX_RTBUS_REDIS_SUB_WINDOW)
    {
        q = ngx_queue_head(&rs->pending);
        topic = ngx_queue_data(q, ngx_rtbus_redis_topic_t, queue);

        if (topic->pattern) {
            command = &ngx_rtbus_redis_psubscribe;

        } else if (rs->cluster && !topic->plain) {
            command = &ngx_rtbus_redis_ssubscribe;

        } else {
            command = &ngx_rtbus_redis_subscribe;
        }

        if (ngx_rtbus_redis_sub_send(rs, command, &topic->name) != NGX_OK) {
            return;
        }

        topic->number = rs->requested;

        ngx_queue_remove(q);
        ngx_queue_insert_tail(&rs->sent, q);
    }
}


static ngx_int_t
ngx_rtbus_redis_sub_send(ngx_rtbus_redis_sub_t *rs, ngx_str_t *command,
    ngx_str_t *name)
{
    ngx_int_t  rv;

    rv = ngx_rtbus_redis_sub_write(rs, command, name);

    if (rv != NGX_OK) {
        return rv;
    }

    if (rs->requested == rs->confirmed) {
        rs->since = ngx_current_msec;
    }

    rs->requested++;

    if (!rs->timeout.timer_set) {
        ngx_add_timer(&rs->timeout,
              ngx_rtbus_redis_conn_step(rs->conn.conf->command_timeout));
    }

    return NGX_OK;
}


static ngx_int_t
ngx_rtbus_redis_sub_write(ngx_rtbus_redis_sub_t *rs, ngx_str_t *command,
    ngx_str_t *name)
{
    size_t       len[2];
    ngx_int_t    rv;
    const char  *argv[2];

    argv[0] = (char *) command->data;
    len[0] = command->len;
    argv[1] = (char *) name->data;
    len[1] = name->len;

    rv = ngx_rtbus_redis_conn_send(&rs->conn, 2, argv, len);

    if (rv == NGX_ERROR) {
        /* Redis and the worker would disagree on what is subscribed */
        ngx_rtbus_redis_conn_break(&rs->conn, "cannot send");
    }

    return rv;
}


static void
ngx_rtbus_redis_sub_timeout_handler(ngx_event_t *ev)
{
    ngx_msec_t              left;
    ngx_rtbus_redis_sub_t  *rs;

    rs = ev->data;

    ngx_log_debug2(NGX_LOG_DEBUG_EVENT, ev->log, 0,
                   "rtbus: redis sub timeout, requested:%uL confirmed:%uL",
                   rs->requested, rs->confirmed);

    if (rs->requested == rs->confirmed) {
        return;
    }

    if (ngx_rtbus_redis_conn_silent(&rs->conn, &rs->silence, rs->since,
                                    rs->conn.conf->command_timeout, &left)
        == NGX_AGAIN)
    {
        ngx_add_timer(ev, left);
        return;
    }

    ngx_rtbus_redis_conn_fail(&rs->conn, "SUBSCRIBE timed out");
}


static void
ngx_rtbus_redis_sub_retry_handler(ngx_event_t *ev)
{
    ngx_rtbus_redis_sub_t  *rs;

    rs = ev->data;

    ngx_log_debug0(NGX_LOG_DEBUG_EVENT, ev->log, 0,
                   "rtbus: redis sub retry handler");

    if (ngx_queue_empty(&rs->refused)) {
        return;
    }

    ngx_queue_add(&rs->pending, &rs->refused);
    ngx_queue_init(&rs->refused);

    ngx_post_event(&rs->batch, &ngx_posted_events);
}
