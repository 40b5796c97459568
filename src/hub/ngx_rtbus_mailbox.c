
#include "ngx_rtbus_mailbox.h"
#include <openssl/rand.h>


static void ngx_rtbus_mailbox_timer(ngx_event_t *ev);
static void ngx_rtbus_mailbox_done(ngx_rtbus_mailbox_wait_t *wait);
static void ngx_rtbus_mailbox_changed_handler(ngx_event_t *ev);
static ngx_rtbus_mailbox_t *ngx_rtbus_mailbox_topic(
    ngx_rtbus_redis_topic_t *topic);
static void ngx_rtbus_mailbox_up(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic);
static void ngx_rtbus_mailbox_down(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic);
static void ngx_rtbus_mailbox_handed_over(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic);
static void ngx_rtbus_mailbox_message(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic, u_char *data, size_t len);
static void ngx_rtbus_mailbox_refuse(ngx_rtbus_mailbox_t *mb,
    const char *text);


static const ngx_rtbus_redis_topic_handlers_t  ngx_rtbus_mailbox_handlers = {
    ngx_rtbus_mailbox_up,
    ngx_rtbus_mailbox_down,
    ngx_rtbus_mailbox_message,
    ngx_rtbus_mailbox_down,                /* lost */
    ngx_rtbus_mailbox_handed_over
};


ngx_int_t
ngx_rtbus_mailbox_init(ngx_rtbus_mailbox_t *mb,
    ngx_rtbus_redis_shards_t *shards, ngx_str_t *prefix, rtbus_json_t *json,
    ngx_log_t *log)
{
    size_t                    len;
    u_char                   *p;
    ngx_str_t                 raw, text;
    ngx_rtbus_redis_shard_t  *shard;
    u_char                    buf[NGX_RTBUS_MAILBOX_ID_LEN / 4 * 3];

    if (RAND_bytes(buf, sizeof(buf)) != 1) {
        ngx_log_error(NGX_LOG_CRIT, log, 0, "rtbus: RAND_bytes() failed");
        return NGX_ERROR;
    }

    len = prefix->len + sizeof(NGX_RTBUS_MAILBOX_NAME) - 1
          + NGX_RTBUS_MAILBOX_ID_LEN;

    mb->name.data = ngx_alloc(len, log);
    if (mb->name.data == NULL) {
        return NGX_ERROR;
    }

    mb->name.len = len;

    p = ngx_cpymem(mb->name.data, prefix->data, prefix->len);
    p = ngx_cpymem(p, NGX_RTBUS_MAILBOX_NAME,
                   sizeof(NGX_RTBUS_MAILBOX_NAME) - 1);

    raw.len = sizeof(buf);
    raw.data = buf;
    text.data = p;

    ngx_encode_base64url(&text, &raw);

    mb->id = text;

    mb->shards = shards;
    mb->json = json;
    mb->log = log;

    ngx_queue_init(&mb->waits);

    mb->changed.handler = ngx_rtbus_mailbox_changed_handler;
    mb->changed.data = mb;
    mb->changed.log = log;

    mb->topic.handlers = &ngx_rtbus_mailbox_handlers;
    mb->topic.name = mb->name;

    shard = ngx_rtbus_redis_shard(shards, mb->name.data, mb->name.len);

    ngx_rtbus_redis_sub_add(&shard->sub, &mb->topic);

    if (shards->cluster) {
        mb->plain.handlers = &ngx_rtbus_mailbox_handlers;
        mb->plain.name = mb->name;

        ngx_rtbus_redis_sub_add_plain(&shard->sub, &mb->plain);
    }

    return NGX_OK;
}


void
ngx_rtbus_mailbox_close(ngx_rtbus_mailbox_t *mb)
{
    mb->ready = 0;

    if (mb->changed.posted) {
        ngx_delete_posted_event(&mb->changed);
    }

    if (mb->name.data) {
        ngx_free(mb->name.data);
        ngx_str_null(&mb->name);
        ngx_str_null(&mb->id);
    }
}


void
ngx_rtbus_mailbox_handle(ngx_rtbus_mailbox_t *mb, const char *member,
    ngx_rtbus_mailbox_pt handler, void *data)
{
    if (mb->nkinds == NGX_RTBUS_MAILBOX_KINDS) {
        ngx_log_error(NGX_LOG_ALERT, mb->log, 0,
                      "rtbus: no room for the mailbox kind \"%s\"", member);
        return;
    }

    mb->members[mb->nkinds].name = member;
    mb->members[mb->nkinds].len = ngx_strlen(member);
    mb->handlers[mb->nkinds] = handler;
    mb->data[mb->nkinds] = data;

    mb->nkinds++;
}


ngx_uint_t
ngx_rtbus_mailbox_channel(ngx_str_t *channel)
{
    return channel->len >= sizeof(NGX_RTBUS_MAILBOX_NAME) - 1
           && ngx_strncmp(channel->data, NGX_RTBUS_MAILBOX_NAME,
                          sizeof(NGX_RTBUS_MAILBOX_NAME) - 1)
              == 0;
}


ngx_rtbus_redis_call_t *
ngx_rtbus_mailbox_send(ngx_rtbus_mailbox_t *mb, ngx_str_t *id,
    ngx_str_t *message, ngx_rtbus_redis_call_pt handler, void *data)
{
    u_char                  *p, *name;
    size_t                   len[3];
    const char              *argv[3];
    ngx_rtbus_redis_call_t  *call;

    if (id->len != NGX_RTBUS_MAILBOX_ID_LEN) {
        return NULL;
    }

    /* of the same length as our own */

    name = ngx_alloc(mb->name.len, mb->log);
    if (name == NULL) {
        return NULL;
    }

    p = ngx_cpymem(name, mb->name.data,
                   mb->name.len - NGX_RTBUS_MAILBOX_ID_LEN);
    ngx_memcpy(p, id->data, NGX_RTBUS_MAILBOX_ID_LEN);

    argv[0] = mb->shards->cluster ? "SPUBLISH" : "PUBLISH";
    len[0] = ngx_strlen(argv[0]);
    argv[1] = (char *) name;
    len[1] = mb->name.len;
    argv[2] = (char *) message->data;
    len[2] = message->len;

    call = ngx_rtbus_redis_call(mb->shards, 3, argv, len, handler, data);

    ngx_free(name);

    if (call) {
        ngx_rtbus_redis_call_insist(call);
    }

    return call;
}


ngx_int_t
ngx_rtbus_mailbox_state(ngx_rtbus_mailbox_t *mb)
{
    if (mb->ready && ngx_rtbus_redis_shards_up(mb->shards)) {
        return NGX_OK;
    }

    if (mb->topic.refused
        || ngx_rtbus_redis_shards_failing(mb->shards, &mb->name))
    {
        return NGX_DECLINED;
    }

    return NGX_AGAIN;
}


void
ngx_rtbus_mailbox_wait(ngx_rtbus_mailbox_t *mb, ngx_rtbus_mailbox_wait_t *wait)
{
    ngx_queue_insert_tail(&mb->waits, &wait->queue);

    wait->timer.handler = ngx_rtbus_mailbox_timer;
    wait->timer.data = wait;
    wait->timer.log = mb->log;

    ngx_add_timer(&wait->timer, mb->shards->conf->connect_timeout);
}


void
ngx_rtbus_mailbox_cancel(ngx_rtbus_mailbox_wait_t *wait)
{
    ngx_queue_remove(&wait->queue);

    if (wait->timer.timer_set) {
        ngx_del_timer(&wait->timer);
    }
}


static void
ngx_rtbus_mailbox_timer(ngx_event_t *ev)
{
    ngx_log_debug0(NGX_LOG_DEBUG_CORE, ev->log, 0,
                   "rtbus: mailbox is not ready in time");

    ngx_rtbus_mailbox_done(ev->data);
}


static void
ngx_rtbus_mailbox_done(ngx_rtbus_mailbox_wait_t *wait)
{
    ngx_rtbus_mailbox_cancel(wait);

    wait->handler(wait->data);
}


void
ngx_rtbus_mailbox_changed(ngx_rtbus_mailbox_t *mb)
{
    if (!ngx_queue_empty(&mb->waits)) {
        ngx_post_event(&mb->changed, &ngx_posted_events);
    }
}


static void
ngx_rtbus_mailbox_changed_handler(ngx_event_t *ev)
{
    ngx_queue_t          *q;
    ngx_rtbus_mailbox_t  *mb;

    mb = ev->data;

    ngx_log_debug1(NGX_LOG_DEBUG_CORE, ev->log, 0,
                   "rtbus: mailbox changed, ready:%d", mb->ready);

    while (!ngx_queue_empty(&mb->waits)
           && ngx_rtbus_mailbox_state(mb) != NGX_AGAIN)
    {
        q = ngx_queue_head(&mb->waits);

        ngx_rtbus_mailbox_done(ngx_queue_data(q, ngx_rtbus_mailbox_wait_t,
                                              queue));
    }
}


static ngx_rtbus_mailbox_t *
ngx_rtbus_mailbox_topic(ngx_rtbus_redis_topic_t *topic)
{
    return topic->plain ? ngx_queue_data(topic, ngx_rtbus_mailbox_t, plain)
                        : ngx_queue_data(topic, ngx_rtbus_mailbox_t, topic);
}


static void
ngx_rtbus_mailbox_up(ngx_rtbus_redis_sub_t *rs, ngx_rtbus_redis_topic_t *topic)
{
    ngx_rtbus_mailbox_t  *mb;

    mb = ngx_rtbus_mailbox_topic(topic);

    ngx_log_debug2(NGX_LOG_DEBUG_CORE, mb->log, 0,
                   "rtbus: mailbox is up, topic:%d plain:%d",
                   mb->topic.ready, mb->plain.ready);

    if (!mb->topic.ready || (mb->shards->cluster && !mb->plain.ready)) {
        return;
    }

    mb->ready = 1;

    ngx_rtbus_mailbox_changed(mb);

    if (mb->ready_handler) {
        mb->ready_handler(mb);
    }
}


/* refused by Redis, or the connection is lost; it is tried again later */

static void
ngx_rtbus_mailbox_down(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic)
{
    ngx_rtbus_mailbox_t  *mb;

    mb = ngx_rtbus_mailbox_topic(topic);

    ngx_log_debug2(NGX_LOG_DEBUG_CORE, mb->log, 0,
                   "rtbus: mailbox is down, ready:%d losses:%ui",
                   mb->ready, mb->losses);

    mb->ready = 0;
    mb->losses++;

    ngx_rtbus_mailbox_changed(mb);
}


/* senders to the shard channel insist on a receiver for a while */

static void
ngx_rtbus_mailbox_handed_over(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic)
{
    if (topic->plain) {
        ngx_rtbus_mailbox_down(rs, topic);
    }
}


static void
ngx_rtbus_mailbox_message(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic, u_char *data, size_t len)
{
    ngx_uint_t            i;
    rtbus_reason_e        reason;
    rtbus_json_value_t    message, value;
    ngx_rtbus_mailbox_t  *mb;

    mb = ngx_rtbus_mailbox_topic(topic);

    ngx_log_debug1(NGX_LOG_DEBUG_CORE, mb->log, 0,
                   "rtbus: mailbox message, len:%uz", len);

    if (rtbus_json_value(mb->json, data, len, &message, &reason) != RTBUS_OK) {
        ngx_rtbus_mailbox_refuse(mb, rtbus_reason_text(reason));
        return;
    }

    if (message.type != RTBUS_JSON_OBJECT) {
        ngx_rtbus_mailbox_refuse(mb, "not an object");
        return;
    }

    rtbus_json_members(&message.raw, mb->members, mb->nkinds);

    for (i = 0; i < mb->nkinds; i++) {

        if (mb->members[i].value.type == RTBUS_JSON_NONE) {
            continue;
        }

        value = mb->members[i].value;

        mb->handlers[i](mb->data[i], &value, &message.raw);
        return;
    }

    ngx_rtbus_mailbox_refuse(mb, "nobody knows what it is for");
}


static void
ngx_rtbus_mailbox_refuse(ngx_rtbus_mailbox_t *mb, const char *text)
{
    if (mb->complained == ngx_time()) {
        return;
    }

    mb->complained = ngx_time();

    ngx_log_error(NGX_LOG_WARN, mb->log, 0,
                  "rtbus: message to the worker's mailbox dropped: %s",
                  text);
}
