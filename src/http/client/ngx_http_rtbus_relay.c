
#include "ngx_http_rtbus_relay.h"


/* ms between looks at whether those that are asked still live */
#define NGX_HTTP_RTBUS_RELAY_CHECK  2000


struct ngx_http_rtbus_relay_peer_s {
    ngx_queue_t                    queue;     /* relay->peers */
    ngx_queue_t                    asks;
    ngx_http_rtbus_relay_t        *relay;
    ngx_rtbus_redis_call_t        *call;      /* the look, or NULL */
    uint64_t                       losses;    /* on its side */
    u_char                         id[NGX_RTBUS_MAILBOX_ID_LEN];
    unsigned                       known:1;   /* ... it has said so */
    unsigned                       failing:1;
};


struct ngx_http_rtbus_relay_ask_s {
    ngx_rbtree_node_t              node;      /* relay->asks */
    ngx_queue_t                    queue;     /* peer->asks */
    ngx_http_rtbus_relay_peer_t   *peer;
    ngx_http_rtbus_relay_t        *relay;
    ngx_rtbus_redis_call_t        *call;      /* until it is sent */
    ngx_event_t                    timer;
    uint64_t                       ref;
    ngx_uint_t                     losses;    /* of the mailbox until then */
    ngx_uint_t                     doubtful;  /* unsigned  doubtful:1; */
    ngx_http_rtbus_relay_pt        handler;
    void                          *data;
};


static void ngx_http_rtbus_relay_message(void *data, rtbus_json_value_t *value,
    rtbus_str_t *message);
static void ngx_http_rtbus_relay_answered(ngx_http_rtbus_relay_t *relay,
    rtbus_json_value_t *ref, rtbus_str_t *message);
static void ngx_http_rtbus_relay_alive(ngx_http_rtbus_relay_t *relay,
    ngx_http_rtbus_relay_from_t *from);
static ngx_http_rtbus_relay_ask_t *ngx_http_rtbus_relay_find(
    ngx_http_rtbus_relay_t *relay, uint64_t ref);
static void ngx_http_rtbus_relay_sent(void *data, redisReply *reply);
static void ngx_http_rtbus_relay_timer(ngx_event_t *ev);
static void ngx_http_rtbus_relay_done(ngx_http_rtbus_relay_ask_t *ask,
    ngx_int_t rc, rtbus_str_t *answer);
static ngx_http_rtbus_relay_peer_t *ngx_http_rtbus_relay_peer(
    ngx_http_rtbus_relay_t *relay, ngx_str_t *id);
static void ngx_http_rtbus_relay_check(ngx_event_t *ev);
static void ngx_http_rtbus_relay_lost(ngx_http_rtbus_relay_t *relay);
static void ngx_http_rtbus_relay_checked(void *data, redisReply *reply);
static void ngx_http_rtbus_relay_fail(ngx_http_rtbus_relay_peer_t *peer,
    ngx_int_t rc);
static void ngx_http_rtbus_relay_told(void *data, redisReply *reply);


ngx_int_t
ngx_http_rtbus_relay_init(ngx_http_rtbus_worker_t *worker,
    ngx_http_rtbus_relay_asked_pt handler, ngx_cycle_t *cycle)
{
    ngx_http_rtbus_relay_t  *relay;

    relay = ngx_pcalloc(cycle->pool, sizeof(ngx_http_rtbus_relay_t));
    if (relay == NULL) {
        return NGX_ERROR;
    }

    relay->mailbox = &worker->hub.mailbox;
    relay->worker = worker;
    relay->asked_handler = handler;
    relay->log = cycle->log;

    ngx_queue_init(&relay->peers);
    ngx_rbtree_init(&relay->asks, &relay->sentinel, ngx_rbtree_insert_value);

    relay->check.handler = ngx_http_rtbus_relay_check;
    relay->check.data = relay;
    relay->check.log = cycle->log;
    relay->check.cancelable = 1;

    /* numbers are not to be guessed from how many questions there were */

    relay->ref = ngx_random() & 0xfffffff;

    ngx_rtbus_mailbox_handle(relay->mailbox, "poll",
                             ngx_http_rtbus_relay_message, relay);

    worker->relay = relay;

    return NGX_OK;
}


void
ngx_http_rtbus_relay_begin(ngx_http_rtbus_relay_t *relay,
    ngx_http_rtbus_text_t *text, const char *kind)
{
    ngx_http_rtbus_text_init(text, relay->log);

    ngx_http_rtbus_text_lit(text, "{\"poll\":\"");
    ngx_http_rtbus_text_add(text, kind, ngx_strlen(kind));
    ngx_http_rtbus_text_lit(text, "\"");
}


void
ngx_http_rtbus_relay_refer(ngx_http_rtbus_relay_t *relay,
    ngx_http_rtbus_text_t *text, uint64_t ref)
{
    ngx_http_rtbus_text_lit(text, ",\"from\":\"");
    ngx_http_rtbus_text_add(text, relay->mailbox->id.data,
                            relay->mailbox->id.len);
    ngx_http_rtbus_text_lit(text, "\",\"ref\":");
    ngx_http_rtbus_text_number(text, ref);
}


ngx_http_rtbus_relay_ask_t *
ngx_http_rtbus_relay_ask(ngx_http_rtbus_relay_t *relay, ngx_str_t *id,
    ngx_http_rtbus_text_t *text, ngx_msec_t ms,
    ngx_http_rtbus_relay_pt handler, void *data)
{
    ngx_str_t                     message;
    ngx_http_rtbus_relay_ask_t   *ask;
    ngx_http_rtbus_relay_peer_t  *peer;

    ask = NULL;

    if (!relay->mailbox->ready) {
        /* the answer would not find us */
        goto failed;
    }

    if (relay->nasks >= ngx_cycle->connection_n) {

        if (relay->complained != ngx_time()) {
            relay->complained = ngx_time();

            ngx_log_error(NGX_LOG_WARN, relay->log, 0,
                          "rtbus: %ui requests wait for other workers, see "
                          "worker_connections", relay->nasks);
        }

        goto failed;
    }

    ngx_http_rtbus_relay_refer(relay, text, ++relay->ref);
    ngx_http_rtbus_text_lit(text, "}");

    if (text->failed) {
        goto failed;
    }

    ask = ngx_calloc(sizeof(ngx_http_rtbus_relay_ask_t), relay->log);
    if (ask == NULL) {
        goto failed;
    }

    peer = ngx_http_rtbus_relay_peer(relay, id);
    if (peer == NULL) {
        goto failed;
    }

    message.data = text->data;
    message.len = text->len;

    ask->call = ngx_rtbus_mailbox_send(relay->mailbox, id, &message,
                                       ngx_http_rtbus_relay_sent, ask);

    if (ask->call == NULL) {

        if (ngx_queue_empty(&peer->asks)) {
            ngx_http_rtbus_relay_fail(peer, NGX_ERROR);
        }

        goto failed;
    }

    ngx_http_rtbus_text_free(text);

    ask->relay = relay;
    ask->peer = peer;
    ask->ref = relay->ref;
    ask->losses = relay->mailbox->losses;
    ask->handler = handler;
    ask->data = data;

    ask->node.key = (ngx_rbtree_key_t) ask->ref;
    ngx_rbtree_insert(&relay->asks, &ask->node);
    ngx_queue_insert_tail(&peer->asks, &ask->queue);
    relay->nasks++;

    ask->timer.handler = ngx_http_rtbus_relay_timer;
    ask->timer.data = ask;
    ask->timer.log = relay->log;

    ngx_add_timer(&ask->timer, ms);

    return ask;

failed:

    ngx_http_rtbus_text_free(text);

    if (ask) {
        ngx_free(ask);
    }

    return NULL;
}


uint64_t
ngx_http_rtbus_relay_ref(ngx_http_rtbus_relay_ask_t *ask)
{
    return ask->ref;
}


ngx_uint_t
ngx_http_rtbus_relay_stale(ngx_http_rtbus_relay_ask_t *ask)
{
    return ask->losses != ask->relay->mailbox->losses;
}


ngx_uint_t
ngx_http_rtbus_relay_doubtful(ngx_http_rtbus_relay_ask_t *ask)
{
    ngx_uint_t  doubtful;

    /* before it is sent nobody can know it */

    doubtful = (ask->doubtful && ask->call == NULL);

    if (doubtful) {
        ask->doubtful = 0;
    }

    return doubtful;
}


ngx_uint_t
ngx_http_rtbus_relay_waits(ngx_http_rtbus_relay_t *relay, uint64_t ref)
{
    return ngx_http_rtbus_relay_find(relay, ref) != NULL;
}


void
ngx_http_rtbus_relay_hurry(ngx_http_rtbus_relay_ask_t *ask, ngx_msec_t ms)
{
    ngx_add_timer(&ask->timer, ms);
}


void
ngx_http_rtbus_relay_cancel(ngx_http_rtbus_relay_ask_t *ask)
{
    ask->handler = NULL;

    ngx_http_rtbus_relay_done(ask, NGX_ERROR, NULL);
}


static void
ngx_http_rtbus_relay_done(ngx_http_rtbus_relay_ask_t *ask, ngx_int_t rc,
    rtbus_str_t *answer)
{
    void                         *data;
    ngx_http_rtbus_relay_pt       handler;
    ngx_http_rtbus_relay_peer_t  *peer;

    if (ask->call) {
        ngx_rtbus_redis_cmd_cancel(ask->call);
    }

    if (ask->timer.timer_set) {
        ngx_del_timer(&ask->timer);
    }

    ngx_rbtree_delete(&ask->relay->asks, &ask->node);
    ngx_queue_remove(&ask->queue);
    ask->relay->nasks--;

    peer = ask->peer;
    handler = ask->handler;
    data = ask->data;

    ngx_free(ask);

    if (ngx_queue_empty(&peer->asks) && !peer->failing) {
        ngx_http_rtbus_relay_fail(peer, NGX_ERROR);
    }

    if (handler) {
        handler(data, rc, answer);
    }
}


static void
ngx_http_rtbus_relay_sent(void *data, redisReply *reply)
{
    ngx_http_rtbus_relay_ask_t  *ask = data;

    ask->call = NULL;

    if (reply && reply->type == REDIS_REPLY_INTEGER) {

        if (reply->integer == 0) {
            ngx_http_rtbus_relay_done(ask, NGX_DECLINED, NULL);
        }

        return;
    }

    ngx_http_rtbus_relay_done(ask, NGX_ERROR, NULL);
}


static void
ngx_http_rtbus_relay_timer(ngx_event_t *ev)
{
    ngx_http_rtbus_relay_done(ev->data, NGX_ERROR, NULL);
}


static void
ngx_http_rtbus_relay_message(void *data, rtbus_json_value_t *value,
    rtbus_str_t *message)
{
    ngx_http_rtbus_relay_t  *relay = data;

    ngx_str_t                     kind, id;
    rtbus_json_member_t           m[] = { rtbus_json_member("from"),
                                          rtbus_json_member("ref") };
    ngx_http_rtbus_text_t         text;
    ngx_http_rtbus_relay_from_t   from;

    if (value->type != RTBUS_JSON_STRING) {
        return;
    }

    kind.data = value->raw.data + 1;
    kind.len = value->raw.len - 2;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, relay->log, 0,
                   "rtbus: relay message \"%V\"", &kind);

    rtbus_json_members(message, m, 2);

    if (ngx_http_rtbus_relay_is(&kind, "answer")) {
        ngx_http_rtbus_relay_answered(relay, &m[1].value, message);
        return;
    }

    from.ref = 0;

    if (m[0].value.type != RTBUS_JSON_STRING
        || m[0].value.raw.len != NGX_RTBUS_MAILBOX_ID_LEN + 2
        || rtbus_json_uint(&m[1].value.raw, &from.ref) != RTBUS_OK)
    {
        return;
    }

    ngx_memcpy(from.from, m[0].value.raw.data + 1, NGX_RTBUS_MAILBOX_ID_LEN);

    if (ngx_http_rtbus_relay_is(&kind, "check")) {
        ngx_http_rtbus_relay_begin(relay, &text, "alive");
        ngx_http_rtbus_relay_refer(relay, &text, relay->mailbox->losses
                                                 + relay->failures);

        id.data = from.from;
        id.len = NGX_RTBUS_MAILBOX_ID_LEN;

        (void) ngx_http_rtbus_relay_tell(relay, &id, &text, NULL, NULL);
        return;
    }

    if (ngx_http_rtbus_relay_is(&kind, "alive")) {
        ngx_http_rtbus_relay_alive(relay, &from);
        return;
    }

    relay->asked_handler(relay->worker, &kind, message, &from);
}


static void
ngx_http_rtbus_relay_answered(ngx_http_rtbus_relay_t *relay,
    rtbus_json_value_t *ref, rtbus_str_t *message)
{
    uint64_t                     n;
    ngx_http_rtbus_relay_ask_t  *ask;

    if (rtbus_json_uint(&ref->raw, &n) != RTBUS_OK) {
        return;
    }

    ask = ngx_http_rtbus_relay_find(relay, n);

    if (ask) {
        ngx_http_rtbus_relay_done(ask, NGX_OK, message);
    }
}


/*
 * What the other worker was asked, or has answered, may have been lost there.
 * The same is true of what came before its first word.
 */

static void
ngx_http_rtbus_relay_alive(ngx_http_rtbus_relay_t *relay,
    ngx_http_rtbus_relay_from_t *from)
{
    ngx_queue_t                  *q;
    ngx_http_rtbus_relay_ask_t   *ask;
    ngx_http_rtbus_relay_peer_t  *peer;

    for (q = ngx_queue_head(&relay->peers);
         q != ngx_queue_sentinel(&relay->peers);
         q = ngx_queue_next(q))
    {
        peer = ngx_queue_data(q, ngx_http_rtbus_relay_peer_t, queue);

        if (ngx_memcmp(peer->id, from->from, NGX_RTBUS_MAILBOX_ID_LEN) == 0) {
            goto found;
        }
    }

    return;

found:

    if (peer->known && peer->losses == from->ref) {
        return;
    }

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, relay->log, 0,
                   "rtbus: relay doubts, known:%d losses:%uL",
                   peer->known, from->ref);

    peer->known = 1;
    peer->losses = from->ref;

    for (q = ngx_queue_head(&peer->asks);
         q != ngx_queue_sentinel(&peer->asks);
         q = ngx_queue_next(q))
    {
        ask = ngx_queue_data(q, ngx_http_rtbus_relay_ask_t, queue);

        ask->doubtful = 1;
    }

    relay->doubt_handler(relay->worker);
}


static ngx_http_rtbus_relay_ask_t *
ngx_http_rtbus_relay_find(ngx_http_rtbus_relay_t *relay, uint64_t ref)
{
    ngx_rbtree_key_t    key;
    ngx_rbtree_node_t  *node;

    key = (ngx_rbtree_key_t) ref;
    node = relay->asks.root;

    while (node != &relay->sentinel && node->key != key) {
        node = (key < node->key) ? node->left : node->right;
    }

    return (node == &relay->sentinel)
           ? NULL : ngx_rbtree_data(node, ngx_http_rtbus_relay_ask_t, node);
}


static ngx_http_rtbus_relay_peer_t *
ngx_http_rtbus_relay_peer(ngx_http_rtbus_relay_t *relay, ngx_str_t *id)
{
    ngx_queue_t                  *q;
    ngx_http_rtbus_relay_peer_t  *peer;

    for (q = ngx_queue_head(&relay->peers);
         q != ngx_queue_sentinel(&relay->peers);
         q = ngx_queue_next(q))
    {
        peer = ngx_queue_data(q, ngx_http_rtbus_relay_peer_t, queue);

        if (ngx_memcmp(peer->id, id->data, NGX_RTBUS_MAILBOX_ID_LEN) == 0) {
            return peer;
        }
    }

    peer = ngx_calloc(sizeof(ngx_http_rtbus_relay_peer_t), relay->log);
    if (peer == NULL) {
        return NULL;
    }

    ngx_memcpy(peer->id, id->data, NGX_RTBUS_MAILBOX_ID_LEN);
    peer->relay = relay;

    ngx_queue_init(&peer->asks);
    ngx_queue_insert_tail(&relay->peers, &peer->queue);

    if (!relay->check.timer_set) {
        ngx_add_timer(&relay->check, NGX_HTTP_RTBUS_RELAY_CHECK);
    }

    return peer;
}


/*
 * A worker that was killed answers nothing, and nobody else tells.  Answers may
 * also have been missed while our own mailbox was out of reach.
 */

static void
ngx_http_rtbus_relay_check(ngx_event_t *ev)
{
    ngx_str_t                     id, message;
    ngx_queue_t                  *q;
    ngx_http_rtbus_relay_t       *relay;
    ngx_http_rtbus_relay_peer_t  *peer;
    u_char                        buf[NGX_RTBUS_MAILBOX_ID_LEN
                                      + sizeof("{\"poll\":\"check\","
                                               "\"from\":\"\",\"ref\":0}")];

    relay = ev->data;

    while (!relay->mailbox->ready && !ngx_queue_empty(&relay->peers)) {
        q = ngx_queue_head(&relay->peers);
        peer = ngx_queue_data(q, ngx_http_rtbus_relay_peer_t, queue);

        ngx_http_rtbus_relay_fail(peer, NGX_ERROR);
    }

    if (relay->losses != relay->mailbox->losses) {
        relay->losses = relay->mailbox->losses;
        relay->stale = 1;
    }

    if (relay->stale) {
        ngx_http_rtbus_relay_lost(relay);
    }

    message.data = buf;
    message.len = ngx_sprintf(buf, "{\"poll\":\"check\",\"from\":\"%V\","
                              "\"ref\":0}", &relay->mailbox->id)
                  - buf;

    id.len = NGX_RTBUS_MAILBOX_ID_LEN;

    for (q = ngx_queue_head(&relay->peers);
         q != ngx_queue_sentinel(&relay->peers);
         q = ngx_queue_next(q))
    {
        peer = ngx_queue_data(q, ngx_http_rtbus_relay_peer_t, queue);

        if (peer->call == NULL) {
            id.data = peer->id;

            peer->call = ngx_rtbus_mailbox_send(relay->mailbox, &id, &message,
                                                ngx_http_rtbus_relay_checked,
                                                peer);
        }
    }

    if (!ngx_queue_empty(&relay->peers)) {
        ngx_add_timer(&relay->check, NGX_HTTP_RTBUS_RELAY_CHECK);
    }
}


/*
 * Our mailbox has been out of reach: answers may have been lost.  Polls are
 * asked after until that is answered; the mailbox of the other worker may have
 * been out of reach, too, and still be.
 */

static void
ngx_http_rtbus_relay_lost(ngx_http_rtbus_relay_t *relay)
{
    ngx_queue_t                  *q, *p;
    ngx_http_rtbus_relay_ask_t   *ask;
    ngx_http_rtbus_relay_peer_t  *peer;

    relay->stale = 0;
    relay->lost_handler(relay->worker);

    for (q = ngx_queue_head(&relay->peers);
         q != ngx_queue_sentinel(&relay->peers);
         q = ngx_queue_next(q))
    {
        peer = ngx_queue_data(q, ngx_http_rtbus_relay_peer_t, queue);

        for (p = ngx_queue_head(&peer->asks);
             p != ngx_queue_sentinel(&peer->asks);
             p = ngx_queue_next(p))
        {
            ask = ngx_queue_data(p, ngx_http_rtbus_relay_ask_t, queue);

            relay->stale |= ngx_http_rtbus_relay_stale(ask);
        }
    }
}


static void
ngx_http_rtbus_relay_checked(void *data, redisReply *reply)
{
    ngx_http_rtbus_relay_peer_t  *peer = data;

    peer->call = NULL;

    if (reply && reply->type == REDIS_REPLY_INTEGER && reply->integer == 0) {
        ngx_http_rtbus_relay_fail(peer, NGX_DECLINED);
    }
}


/* ends all that was asked of that worker, and forgets it */

static void
ngx_http_rtbus_relay_fail(ngx_http_rtbus_relay_peer_t *peer, ngx_int_t rc)
{
    ngx_queue_t                 *q;
    ngx_http_rtbus_relay_ask_t  *ask;

    /* the end of one request may be that of others */

    peer->failing = 1;

    while (!ngx_queue_empty(&peer->asks)) {
        q = ngx_queue_head(&peer->asks);
        ask = ngx_queue_data(q, ngx_http_rtbus_relay_ask_t, queue);

        ngx_http_rtbus_relay_done(ask, rc, NULL);
    }

    if (peer->call) {
        ngx_rtbus_redis_cmd_cancel(peer->call);
    }

    ngx_queue_remove(&peer->queue);
    ngx_free(peer);
}


ngx_int_t
ngx_http_rtbus_relay_tell(ngx_http_rtbus_relay_t *relay, ngx_str_t *id,
    ngx_http_rtbus_text_t *text, ngx_rtbus_redis_call_pt handler, void *data)
{
    ngx_int_t   rc;
    ngx_str_t   message;

    rc = NGX_ERROR;

    ngx_http_rtbus_text_lit(text, "}");

    if (!text->failed) {
        message.data = text->data;
        message.len = text->len;

        if (handler == NULL) {
            handler = ngx_http_rtbus_relay_told;
            data = relay;
        }

        if (ngx_rtbus_mailbox_send(relay->mailbox, id, &message, handler,
                                   data))
        {
            rc = NGX_OK;
        }
    }

    if (rc != NGX_OK) {
        relay->failures++;
    }

    ngx_http_rtbus_text_free(text);

    return rc;
}


static void
ngx_http_rtbus_relay_told(void *data, redisReply *reply)
{
    ngx_http_rtbus_relay_t *relay = data;

    if (reply == NULL || reply->type != REDIS_REPLY_INTEGER) {
        relay->failures++;
    }
}


ngx_int_t
ngx_http_rtbus_relay_answer(ngx_http_rtbus_relay_t *relay,
    ngx_http_rtbus_relay_from_t *to, ngx_http_rtbus_text_t *text,
    ngx_rtbus_redis_call_pt handler, void *data)
{
    ngx_str_t  id;

    id.len = NGX_RTBUS_MAILBOX_ID_LEN;
    id.data = to->from;

    ngx_http_rtbus_text_lit(text, ",\"ref\":");
    ngx_http_rtbus_text_number(text, to->ref);

    return ngx_http_rtbus_relay_tell(relay, &id, text, handler, data);
}


void
ngx_http_rtbus_relay_refuse(ngx_http_rtbus_relay_t *relay,
    ngx_http_rtbus_relay_from_t *to, ngx_uint_t error)
{
    ngx_http_rtbus_text_t  text;

    if (to->ref == 0) {
        return;
    }

    ngx_http_rtbus_relay_begin(relay, &text, "answer");

    ngx_http_rtbus_text_lit(&text, ",\"error\":");
    ngx_http_rtbus_text_number(&text, error);

    (void) ngx_http_rtbus_relay_answer(relay, to, &text, NULL, NULL);
}


ngx_uint_t
ngx_http_rtbus_relay_same(ngx_http_rtbus_relay_from_t *one,
    ngx_http_rtbus_relay_from_t *other)
{
    return one->ref == other->ref
           && ngx_memcmp(one->from, other->from, NGX_RTBUS_MAILBOX_ID_LEN)
              == 0;
}


ngx_uint_t
ngx_http_rtbus_relay_is(ngx_str_t *kind, const char *name)
{
    return kind->len == ngx_strlen(name)
           && ngx_strncmp(kind->data, name, kind->len) == 0;
}
