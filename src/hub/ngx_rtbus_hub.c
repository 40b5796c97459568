
#include "ngx_rtbus_hub.h"


#define NGX_RTBUS_HUB_LINGER    5000    /* ms */


static void ngx_rtbus_hub_ready(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic);
static void ngx_rtbus_hub_message(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic, u_char *data, size_t len);
static void ngx_rtbus_hub_invalid(ngx_rtbus_hub_t *hub, ngx_str_t *channel,
    const char *reason);
static void ngx_rtbus_hub_deliver(ngx_rtbus_channel_t *ch,
    ngx_rtbus_msg_t *msg);
static void ngx_rtbus_hub_lost(ngx_rtbus_redis_sub_t *rs);
static void ngx_rtbus_hub_exiting(ngx_rtbus_redis_conn_t *rc);
static ngx_rtbus_channel_t *ngx_rtbus_hub_channel(ngx_rtbus_hub_t *hub,
    ngx_str_t *name);
static void ngx_rtbus_hub_linger_handler(ngx_event_t *ev);


ngx_int_t
ngx_rtbus_hub_init(ngx_rtbus_hub_t *hub, ngx_log_t *log)
{
    hub->log = log;

    ngx_queue_init(&hub->lingering);

    hub->linger.handler = ngx_rtbus_hub_linger_handler;
    hub->linger.data = hub;
    hub->linger.log = log;
    hub->linger.cancelable = 1;

    hub->json = rtbus_json_create(RTBUS_EVENT_DEPTH);
    if (hub->json == NULL) {
        return NGX_ERROR;
    }

    hub->sub.ready_handler = ngx_rtbus_hub_ready;
    hub->sub.message_handler = ngx_rtbus_hub_message;
    hub->sub.lost_handler = ngx_rtbus_hub_lost;
    hub->sub.exiting_handler = ngx_rtbus_hub_exiting;
    hub->sub.data = hub;

    if (ngx_rtbus_redis_sub_init(&hub->sub, hub->redis, log) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_rtbus_redis_cmd_init(&hub->cmd, hub->redis, log);
}


void
ngx_rtbus_hub_close(ngx_rtbus_hub_t *hub)
{
    if (hub->linger.timer_set) {
        ngx_del_timer(&hub->linger);
    }

    ngx_rtbus_redis_cmd_close(&hub->cmd);
    ngx_rtbus_redis_sub_close(&hub->sub);

    if (hub->json) {
        rtbus_json_destroy(hub->json);
        hub->json = NULL;
    }
}


ngx_int_t
ngx_rtbus_hub_join(ngx_rtbus_hub_t *hub, ngx_rtbus_sub_t *sub, ngx_str_t *name)
{
    ngx_rtbus_channel_t  *ch;

    if (!hub->sub.conn.up && !sub->patient) {
        return NGX_DECLINED;
    }

    ch = ngx_rtbus_hub_channel(hub, name);
    if (ch == NULL) {
        return NGX_ERROR;
    }

    if (ch->lingering) {
        ngx_queue_remove(&ch->queue);
        ch->lingering = 0;
    }

    sub->ch = ch;

    if (ch->topic.ready) {
        sub->joined = 1;
        ngx_queue_insert_tail(&ch->subs, &sub->queue);
        return NGX_OK;
    }

    sub->joined = 0;
    ngx_queue_insert_tail(&ch->waiting, &sub->queue);

    return NGX_AGAIN;
}


void
ngx_rtbus_hub_leave(ngx_rtbus_sub_t *sub)
{
    ngx_rtbus_hub_t      *hub;
    ngx_rtbus_channel_t  *ch;

    ch = sub->ch;

    if (ch == NULL) {
        return;
    }

    ngx_queue_remove(&sub->queue);

    sub->ch = NULL;
    sub->joined = 0;

    if (!ngx_queue_empty(&ch->subs) || !ngx_queue_empty(&ch->waiting)) {
        return;
    }

    hub = ch->hub;

    ch->lingering = 1;
    ch->until = ngx_current_msec + NGX_RTBUS_HUB_LINGER;
    ngx_queue_insert_tail(&hub->lingering, &ch->queue);

    if (!hub->linger.timer_set) {
        ngx_add_timer(&hub->linger, NGX_RTBUS_HUB_LINGER);
    }
}


static ngx_rtbus_channel_t *
ngx_rtbus_hub_channel(ngx_rtbus_hub_t *hub, ngx_str_t *name)
{
    u_char                   *p;
    size_t                    len;
    uint32_t                  hash;
    ngx_str_t                 full;
    ngx_rtbus_channel_t      *ch;
    ngx_rtbus_redis_topic_t  *topic;
    u_char                    buf[NGX_RTBUS_HUB_MAX_NAME];

    len = hub->prefix.len + name->len;

    if (len > sizeof(buf)) {
        return NULL;
    }

    p = ngx_cpymem(buf, hub->prefix.data, hub->prefix.len);
    ngx_memcpy(p, name->data, name->len);

    full.len = len;
    full.data = buf;

    hash = ngx_crc32_short(buf, len);

    topic = ngx_rtbus_redis_sub_lookup(&hub->sub, &full, hash);

    if (topic) {
        return ngx_rtbus_hub_topic_channel(topic);
    }

    ch = ngx_alloc(sizeof(ngx_rtbus_channel_t) + len, hub->log);
    if (ch == NULL) {
        return NULL;
    }

    ngx_memzero(ch, sizeof(ngx_rtbus_channel_t));

    p = (u_char *) ch + sizeof(ngx_rtbus_channel_t);
    ngx_memcpy(p, buf, len);

    ch->hub = hub;
    ch->name.len = name->len;
    ch->name.data = p + hub->prefix.len;

    ngx_queue_init(&ch->subs);
    ngx_queue_init(&ch->waiting);

    ch->topic.sn.node.key = hash;
    ch->topic.sn.str.len = len;
    ch->topic.sn.str.data = p;

    ngx_rtbus_redis_sub_add(&hub->sub, &ch->topic);

    return ch;
}


static void
ngx_rtbus_hub_linger_handler(ngx_event_t *ev)
{
    ngx_queue_t          *q;
    ngx_msec_int_t        left;
    ngx_rtbus_hub_t      *hub;
    ngx_rtbus_channel_t  *ch;

    hub = ev->data;

    while (!ngx_queue_empty(&hub->lingering)) {
        q = ngx_queue_head(&hub->lingering);
        ch = ngx_queue_data(q, ngx_rtbus_channel_t, queue);

        left = (ngx_msec_int_t) (ch->until - ngx_current_msec);

        if (left > 0) {
            ngx_add_timer(ev, (ngx_msec_t) left);
            return;
        }

        ngx_log_debug1(NGX_LOG_DEBUG_CORE, hub->log, 0,
                       "rtbus channel \"%V\" has no listener", &ch->name);

        ngx_queue_remove(q);
        ngx_rtbus_redis_sub_remove(&hub->sub, &ch->topic);
        ngx_free(ch);
    }
}


static void
ngx_rtbus_hub_ready(ngx_rtbus_redis_sub_t *rs, ngx_rtbus_redis_topic_t *topic)
{
    ngx_queue_t          *q;
    ngx_rtbus_sub_t      *sub;
    ngx_rtbus_channel_t  *ch;

    ch = ngx_rtbus_hub_topic_channel(topic);

    while (!ngx_queue_empty(&ch->waiting)) {
        q = ngx_queue_head(&ch->waiting);
        sub = ngx_queue_data(q, ngx_rtbus_sub_t, queue);

        ngx_queue_remove(q);
        ngx_queue_insert_tail(&ch->subs, q);

        sub->joined = 1;
        sub->handlers->joined(sub);
    }
}


static void
ngx_rtbus_hub_message(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic, u_char *data, size_t len)
{
    ngx_int_t             rc;
    const char           *reason;
    rtbus_event_t         event;
    ngx_rtbus_hub_t      *hub;
    ngx_rtbus_msg_t       msg;
    ngx_rtbus_channel_t  *ch;

    hub = rs->data;
    ch = ngx_rtbus_hub_topic_channel(topic);

    if (len > hub->max_event) {
        ngx_rtbus_hub_invalid(hub, &ch->name, "too long");
        return;
    }

    rc = rtbus_event_parse(hub->json, &event, data, len, &reason);

    if (rc != RTBUS_OK) {
        ngx_rtbus_hub_invalid(hub, &ch->name,
                              rc == RTBUS_ERROR ? reason : "no memory");
        return;
    }

    msg.event = &event;
    msg.channel = ch->name;
    msg.pos = event.pos;
    msg.frames = NULL;

    ngx_rtbus_hub_deliver(ch, &msg);

    ngx_rtbus_msg_done(&msg);
}


static void
ngx_rtbus_hub_deliver(ngx_rtbus_channel_t *ch, ngx_rtbus_msg_t *msg)
{
    ngx_queue_t        *q;
    ngx_rtbus_sub_t    *sub;
    ngx_rtbus_frame_t  *frame;

    for (q = ngx_queue_head(&ch->subs);
         q != ngx_queue_sentinel(&ch->subs);
         q = ngx_queue_next(q))
    {
        sub = ngx_queue_data(q, ngx_rtbus_sub_t, queue);

        frame = ngx_rtbus_msg_frame(msg, sub->format);
        if (frame == NULL) {
            return;
        }

        sub->handlers->deliver(sub, frame);
    }
}


static void
ngx_rtbus_hub_invalid(ngx_rtbus_hub_t *hub, ngx_str_t *channel,
    const char *reason)
{
    /* a producer that has gone wrong must not fill the log */

    if (hub->complained == ngx_time()) {
        hub->invalid++;
        return;
    }

    ngx_log_error(NGX_LOG_WARN, hub->log, 0,
                  "rtbus: invalid event on channel \"%V\" dropped: %s, "
                  "%ui more since the last such line",
                  channel, reason, hub->invalid);

    hub->complained = ngx_time();
    hub->invalid = 0;
}


static void
ngx_rtbus_hub_lost(ngx_rtbus_redis_sub_t *rs)
{
    ngx_rtbus_hub_t          *hub;
    ngx_rbtree_t             *tree;
    ngx_rbtree_node_t        *node;
    ngx_queue_t              *q, *next;
    ngx_rtbus_sub_t          *sub;
    ngx_rtbus_channel_t      *ch;
    ngx_rtbus_redis_topic_t  *topic;

    hub = rs->data;
    tree = &rs->topics;

    if (tree->root == tree->sentinel) {
        return;
    }

    for (node = ngx_rbtree_min(tree->root, tree->sentinel);
         node;
         node = ngx_rbtree_next(tree, node))
    {
        topic = (ngx_rtbus_redis_topic_t *) node;
        ch = ngx_rtbus_hub_topic_channel(topic);

        for (q = ngx_queue_head(&ch->waiting);
             q != ngx_queue_sentinel(&ch->waiting);
             q = next)
        {
            next = ngx_queue_next(q);
            sub = ngx_queue_data(q, ngx_rtbus_sub_t, queue);

            if (sub->patient) {
                continue;
            }

            sub->handlers->failed(sub);
        }
    }

    ngx_log_debug1(NGX_LOG_DEBUG_CORE, hub->log, 0,
                   "rtbus subscriptions lost, redis up:%d", rs->conn.up);
}


static void
ngx_rtbus_hub_exiting(ngx_rtbus_redis_conn_t *rc)
{
    ngx_rtbus_hub_t        *hub;
    ngx_rtbus_redis_sub_t  *rs;

    rs = rc->data;
    hub = rs->data;

    hub->exiting_handler(hub->data);
}
