
#include "ngx_rtbus_hub.h"
#include "ngx_rtbus_forward.h"
#include "ngx_rtbus_history.h"
#include "ngx_rtbus_job.h"
#include "ngx_rtbus_owner.h"


#define NGX_RTBUS_HUB_LINGER    5000    /* ms */
#define NGX_RTBUS_HUB_RETRY     1000    /* ms */
#define NGX_RTBUS_HUB_AGAIN     500     /* ms */

/* turns of the loop that are full: none for so long is calm, so long is busy */

#define NGX_RTBUS_HUB_CALM      1000    /* ms */
#define NGX_RTBUS_HUB_BUSY      2000    /* ms */

/* of a message: a position is in it, if there is one */

#define NGX_RTBUS_HUB_TAIL      2048    /* bytes */

/* bytes of messages kept while their channel is read: of one, of all */
#define NGX_RTBUS_HUB_KEEP      (4 * 1024 * 1024)
#define NGX_RTBUS_HUB_KEEP_ALL  (64 * 1024 * 1024)


static ngx_rtbus_channel_t *ngx_rtbus_hub_channel(ngx_rtbus_hub_t *hub,
    ngx_str_t *name);
static ngx_int_t ngx_rtbus_hub_ask(ngx_rtbus_sub_t *sub);
static void ngx_rtbus_hub_answer(void *data, ngx_int_t rc);
static void ngx_rtbus_hub_linger_handler(ngx_event_t *ev);
static void ngx_rtbus_hub_destroy(ngx_rtbus_channel_t *ch);

static void ngx_rtbus_hub_ready(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic);
static void ngx_rtbus_hub_refused(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic);
static void ngx_rtbus_hub_message(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic, u_char *data, size_t len);
static void ngx_rtbus_hub_event(ngx_rtbus_channel_t *ch, u_char *data,
    size_t len, ngx_uint_t filled);
static void ngx_rtbus_hub_no_event(ngx_rtbus_channel_t *ch, u_char *data,
    size_t len, const char *reason, ngx_uint_t filled);
static ngx_uint_t ngx_rtbus_hub_double(ngx_rtbus_channel_t *ch,
    rtbus_event_t *event, ngx_uint_t filled);
static void ngx_rtbus_hub_drop_kept(ngx_rtbus_channel_t *ch);
static void ngx_rtbus_hub_drop_hold(ngx_rtbus_sub_t *sub);

static void ngx_rtbus_hub_complain(ngx_rtbus_hub_t *hub, ngx_str_t *channel,
    const char *reason);
static void ngx_rtbus_hub_lost(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic);
static void ngx_rtbus_hub_handed_over(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic);

static void ngx_rtbus_hub_opened(ngx_rtbus_redis_shard_t *shard);
static void ngx_rtbus_hub_sub_changed(ngx_rtbus_redis_shard_t *shard);
static void ngx_rtbus_hub_cmd_changed(ngx_rtbus_redis_shard_t *shard);
static void ngx_rtbus_hub_failed(ngx_rtbus_redis_shard_t *shard);
static void ngx_rtbus_hub_failed_topics(ngx_queue_t *topics);
static void ngx_rtbus_hub_changed(ngx_rtbus_redis_shard_t *shard);
static void ngx_rtbus_hub_closed(ngx_rtbus_redis_shard_t *shard);
static void ngx_rtbus_hub_full(void *data);
static void ngx_rtbus_hub_exiting(void *data);
static void ngx_rtbus_hub_moved(void *data);

static void ngx_rtbus_hub_beat(ngx_event_t *ev);
static void ngx_rtbus_hub_canary(ngx_rtbus_canary_t *canary);
static void ngx_rtbus_hub_health(ngx_rtbus_hub_t *hub);
static void ngx_rtbus_hub_mailbox_ready(ngx_rtbus_mailbox_t *mb);
static void ngx_rtbus_hub_retry_handler(ngx_event_t *ev);
static void ngx_rtbus_hub_again(ngx_rtbus_redis_shard_t *shard);


static const ngx_rtbus_redis_topic_handlers_t  ngx_rtbus_hub_topic_handlers = {
    ngx_rtbus_hub_ready,
    ngx_rtbus_hub_refused,
    ngx_rtbus_hub_message,
    ngx_rtbus_hub_lost,
    ngx_rtbus_hub_handed_over
};


static const ngx_rtbus_redis_shards_handlers_t  ngx_rtbus_hub_shards = {
    ngx_rtbus_hub_opened,
    ngx_rtbus_hub_sub_changed,
    ngx_rtbus_hub_cmd_changed,
    ngx_rtbus_hub_failed,
    ngx_rtbus_hub_changed,
    ngx_rtbus_hub_closed,
    ngx_rtbus_hub_full,
    ngx_rtbus_hub_exiting
};


ngx_int_t
ngx_rtbus_hub_init(ngx_rtbus_hub_t *hub, ngx_log_t *log)
{
    hub->log = log;
    hub->connected = ngx_current_msec;

    ngx_queue_init(&hub->lingering);
    ngx_queue_init(&hub->jobs);
    ngx_queue_init(&hub->watched);

    ngx_rtbus_history_init(hub);

    hub->linger.handler = ngx_rtbus_hub_linger_handler;
    hub->linger.data = hub;
    hub->linger.log = log;
    hub->linger.cancelable = 1;

    hub->retry.handler = ngx_rtbus_hub_retry_handler;
    hub->retry.data = hub;
    hub->retry.log = log;
    hub->retry.cancelable = 1;

    hub->json = rtbus_json_create(RTBUS_EVENT_DEPTH);
    if (hub->json == NULL) {
        return NGX_ERROR;
    }

    hub->beat.handler = ngx_rtbus_hub_beat;
    hub->beat.data = hub;
    hub->beat.log = log;
    hub->beat.cancelable = 1;

    if (hub->redis->kind == NGX_RTBUS_REDIS_SENTINEL) {
        hub->sentinel.moved_handler = ngx_rtbus_hub_moved;
        hub->sentinel.data = hub;

        if (ngx_rtbus_redis_sentinel_init(&hub->sentinel, hub->redis, log)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    hub->shards.handlers = &ngx_rtbus_hub_shards;
    hub->shards.data = hub;

    if (ngx_rtbus_redis_shards_init(&hub->shards, hub->redis, log) != NGX_OK) {
        return NGX_ERROR;
    }

    hub->mailbox.ready_handler = ngx_rtbus_hub_mailbox_ready;

    if (ngx_rtbus_mailbox_init(&hub->mailbox, &hub->shards, &hub->prefix,
                               hub->json, log)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_rtbus_job_init(hub);

    ngx_add_timer(&hub->beat, NGX_RTBUS_STAT_PERIOD);

    return ngx_rtbus_forward_init(hub);
}


void
ngx_rtbus_hub_close(ngx_rtbus_hub_t *hub)
{
    ngx_queue_t          *q;
    ngx_rtbus_channel_t  *ch;

    /* those whose calls fail want to try again, or leave their channels */

    ngx_rtbus_redis_shards_close(&hub->shards);
    ngx_rtbus_job_close(hub);

    if (hub->beat.timer_set) {
        ngx_del_timer(&hub->beat);
    }

    if (hub->redis->kind == NGX_RTBUS_REDIS_SENTINEL) {
        ngx_rtbus_redis_sentinel_close(&hub->sentinel);
    }

    if (hub->linger.timer_set) {
        ngx_del_timer(&hub->linger);
    }

    if (hub->retry.timer_set) {
        ngx_del_timer(&hub->retry);
    }

    if (hub->read_next.posted) {
        ngx_delete_posted_event(&hub->read_next);
    }

    while (!ngx_queue_empty(&hub->lingering)) {
        q = ngx_queue_head(&hub->lingering);
        ch = ngx_queue_data(q, ngx_rtbus_channel_t, queue);

        ngx_rtbus_hub_destroy(ch);
    }

    ngx_rtbus_redis_shards_free(&hub->shards);
    ngx_rtbus_mailbox_close(&hub->mailbox);
    ngx_rtbus_forward_close(hub);

    if (hub->json) {
        rtbus_json_destroy(hub->json);
        hub->json = NULL;
    }

    ngx_rtbus_frame_drop_kept();
}


ngx_int_t
ngx_rtbus_hub_join(ngx_rtbus_hub_t *hub, ngx_rtbus_sub_t *sub, ngx_str_t *name)
{
    ngx_uint_t                up;
    ngx_rtbus_channel_t      *ch;
    ngx_rtbus_redis_shard_t  *shard;

    shard = ngx_rtbus_redis_shard(&hub->shards, name->data, name->len);
    up = ngx_rtbus_redis_shard_usable(shard);

    if (!up && !sub->patient) {
        return NGX_DECLINED;
    }

    ch = ngx_rtbus_hub_channel(hub, name);
    if (ch == NULL) {
        return NGX_ERROR;
    }

    if (ch->topic.refused) {

        /* the next attempt may be a while away */

        if (!sub->patient) {
            return NGX_DECLINED;
        }

        up = 0;
    }

    if (ch->lingering) {
        ngx_queue_remove(&ch->queue);
        ch->lingering = 0;
    }

    sub->ch = ch;
    sub->joined = 0;
    sub->keeping = 0;
    sub->gapped = 0;
    sub->checked = 0;
    sub->stale = 0;
    sub->paused = 0;
    sub->replayed = 0;
    sub->needs = 0;
    sub->read = NULL;
    sub->question = NULL;

    ngx_queue_insert_tail(&ch->waiting, &sub->queue);

    if (sub->held) {
        return (ch->known || !up) ? NGX_OK : NGX_AGAIN;
    }

    if (sub->owned && ngx_rtbus_hub_ask(sub) != NGX_OK && !sub->patient) {
        ngx_rtbus_hub_leave(sub);
        return NGX_DECLINED;
    }

    return ngx_rtbus_hub_release(sub);
}


ngx_int_t
ngx_rtbus_hub_release(ngx_rtbus_sub_t *sub)
{
    sub->held = 0;

    if (sub->owned) {
        /* beside the question where the channel stands */
        (void) ngx_rtbus_hub_ask(sub);

    } else if (sub->ch->known) {
        ngx_rtbus_hub_start(sub);
    }

    return sub->joined ? NGX_OK : NGX_AGAIN;
}


void
ngx_rtbus_hub_start(ngx_rtbus_sub_t *sub)
{
    ngx_rtbus_channel_t  *ch;

    ch = sub->ch;

    if (sub->owned) {
        (void) ngx_rtbus_hub_ask(sub);
        return;
    }

    if (!sub->placed) {
        sub->pos = ch->pos;
        ngx_rtbus_hub_live(sub);
        return;
    }

    if (sub->epochless) {
        sub->pos.epoch = sub->pos.seq ? ch->pos.epoch : 0;
        sub->epochless = 0;
    }

    if (sub->stale) {
        sub->stale = 0;
        sub->gapped = 1;
        ngx_rtbus_stat_add(ch->hub->stat, gaps, 1);
        sub->handlers->gap(sub, NGX_RTBUS_LOST_UNKNOWN, sub->pos);
    }

    if (rtbus_pos_cmp(sub->pos, ch->pos) > 0) {

        /* the wake-up may be late, or have never been sent: ask the stream */

        if (!sub->checked) {
            sub->checked = 1;
            ngx_rtbus_history_channel(ch);
            return;
        }

        sub->pos = ch->pos;
        sub->gapped = 1;
        ngx_rtbus_stat_add(ch->hub->stat, gaps, 1);
        sub->handlers->gap(sub, NGX_RTBUS_LOST_UNKNOWN, ch->pos);
    }

    ngx_rtbus_history_replay(sub);
}


/* NGX_OK: the answer comes; NGX_DECLINED: it is asked for again later */

static ngx_int_t
ngx_rtbus_hub_ask(ngx_rtbus_sub_t *sub)
{
    ngx_rtbus_channel_t  *ch;

    ch = sub->ch;

    if (sub->question) {
        return NGX_OK;
    }

    sub->question = ngx_rtbus_owner_ask(ch->hub, &ch->name,
                                        sub->handlers->user(sub), 0,
                                        ngx_rtbus_hub_answer, sub);

    if (sub->question == NULL) {
        ngx_rtbus_hub_retry(ch->hub);
        return NGX_DECLINED;
    }

    return NGX_OK;
}


static void
ngx_rtbus_hub_answer(void *data, ngx_int_t rc)
{
    ngx_rtbus_sub_t  *sub = data;

    sub->question = NULL;

    switch (rc) {

    case NGX_OK:
        sub->owned = 0;

        if (sub->ch->known) {
            ngx_rtbus_hub_start(sub);
        }

        break;

    case NGX_DECLINED:
        sub->handlers->refused(sub);
        break;

    default: /* NGX_ERROR */

        if (sub->patient) {
            ngx_rtbus_hub_retry(sub->ch->hub);

        } else {
            sub->handlers->failed(sub);
        }
    }
}


void
ngx_rtbus_hub_resume(ngx_rtbus_sub_t *sub)
{
    if (!sub->paused) {
        return;
    }

    sub->paused = 0;

    if (sub->ch->known) {
        ngx_rtbus_hub_start(sub);
    }
}


void
ngx_rtbus_hub_live(ngx_rtbus_sub_t *sub)
{
    ngx_queue_remove(&sub->queue);
    ngx_queue_insert_tail(&sub->ch->subs, &sub->queue);

    sub->joined = 1;
    sub->handlers->joined(sub);
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

    ngx_rtbus_history_leave(sub);

    if (sub->question) {
        ngx_rtbus_owner_cancel(sub->question);
        sub->question = NULL;
    }

    ngx_rtbus_hub_drop_hold(sub);

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
    ngx_rtbus_redis_shard_t  *shard;
    ngx_rtbus_redis_topic_t  *topic;
    u_char                    buf[NGX_RTBUS_HUB_MAX_NAME];

    if (hub->prefix.len + name->len + 2 > sizeof(buf)) {
        return NULL;
    }

    len = ngx_rtbus_hub_topic(hub, buf, name);

    full.len = len;
    full.data = buf;

    hash = ngx_rtbus_redis_sub_hash(&full);

    shard = ngx_rtbus_redis_shard(&hub->shards, buf, len);
    topic = ngx_rtbus_redis_sub_lookup(&shard->sub, &full, hash);

    if (topic) {
        return (topic->handlers == &ngx_rtbus_hub_topic_handlers)
               ? ngx_rtbus_hub_topic_channel(topic) : NULL;
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
    ch->name.data = p + hub->prefix.len
                    + (len > hub->prefix.len + name->len);

    ngx_queue_init(&ch->subs);
    ngx_queue_init(&ch->waiting);
    ngx_queue_init(&ch->reads);

    ch->kept_last = &ch->kept;

    ch->topic.handlers = &ngx_rtbus_hub_topic_handlers;
    ch->topic.hash = hash;
    ch->topic.name.len = len;
    ch->topic.name.data = p;

    ngx_rtbus_redis_sub_add(&shard->sub, &ch->topic);

    ngx_rtbus_stat_add(hub->stat, channels, 1);

    return ch;
}


ngx_rtbus_channel_t *
ngx_rtbus_hub_find(ngx_rtbus_hub_t *hub, ngx_str_t *name)
{
    ngx_rtbus_redis_topic_t  *topic;

    /* in a cluster there are no forwarded events */

    topic = ngx_rtbus_redis_sub_lookup(&hub->shards.one.sub, name,
                                       ngx_rtbus_redis_sub_hash(name));

    if (topic == NULL || topic->handlers != &ngx_rtbus_hub_topic_handlers) {
        return NULL;
    }

    return ngx_rtbus_hub_topic_channel(topic);
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

        ngx_rtbus_hub_destroy(ch);
    }
}


/* of a channel that lingers */

static void
ngx_rtbus_hub_destroy(ngx_rtbus_channel_t *ch)
{
    ngx_rtbus_hub_t          *hub;
    ngx_rtbus_redis_shard_t  *shard;

    hub = ch->hub;

    shard = ngx_rtbus_redis_shard(&hub->shards, ch->name.data, ch->name.len);

    ngx_rtbus_job_forget(ch);

    ngx_queue_remove(&ch->queue);
    ngx_rtbus_redis_sub_remove(&shard->sub, &ch->topic);
    ngx_rtbus_history_stop(ch);
    ngx_rtbus_hub_drop_kept(ch);
    ngx_free(ch);

    ngx_rtbus_stat_sub(hub->stat, channels, 1);
}


static void
ngx_rtbus_hub_ready(ngx_rtbus_redis_sub_t *rs, ngx_rtbus_redis_topic_t *topic)
{
    /* what was published before the subscription is only in the stream */

    ngx_rtbus_history_channel(ngx_rtbus_hub_topic_channel(topic));
}


/* by Redis's ACL, say: who waits for an answer gets one, the others wait on */

static void
ngx_rtbus_hub_refused(ngx_rtbus_redis_sub_t *rs, ngx_rtbus_redis_topic_t *topic)
{
    ngx_rtbus_hub_away(ngx_rtbus_hub_topic_channel(topic));
}


void
ngx_rtbus_hub_known(ngx_rtbus_channel_t *ch)
{
    ngx_queue_t        waiting, *q, *next;
    ngx_rtbus_hub_t   *hub;
    ngx_rtbus_sub_t   *sub;
    ngx_rtbus_kept_t  *kept;

    hub = ch->hub;

    ngx_rtbus_job_watch(ch);

    /* who waits for no position of its own gets what was kept, too */

    for (q = ngx_queue_head(&ch->waiting);
         q != ngx_queue_sentinel(&ch->waiting);
         q = next)
    {
        next = ngx_queue_next(q);
        sub = ngx_queue_data(q, ngx_rtbus_sub_t, queue);

        if (!sub->held
            && (!sub->placed || rtbus_pos_cmp(sub->pos, ch->pos) == 0))
        {
            ngx_rtbus_hub_start(sub);
        }
    }

    while (ch->kept) {
        kept = ch->kept;

        ch->kept = kept->next;

        if (ch->kept == NULL) {
            ch->kept_last = &ch->kept;
        }

        ch->kept_size -= kept->size;
        hub->kept_size -= kept->size;

        if (kept->source.channel.len) {
            ngx_rtbus_forward_kept(ch, kept);

        } else {
            ngx_rtbus_hub_event(ch, kept->data, kept->len,
                                kept->fills != ch->fills);
        }

        ngx_free(kept);

        if (!ch->known) {
            /* a hole, and the event is kept behind the others of its like */
            return;
        }
    }

    if (ch->overflow) {
        ch->overflow = 0;
        ngx_rtbus_history_channel(ch);
        return;
    }

    ngx_queue_init(&waiting);

    if (!ngx_queue_empty(&ch->waiting)) {
        ngx_queue_add(&waiting, &ch->waiting);
        ngx_queue_init(&ch->waiting);
    }

    while (!ngx_queue_empty(&waiting)) {
        q = ngx_queue_head(&waiting);
        sub = ngx_queue_data(q, ngx_rtbus_sub_t, queue);

        ngx_queue_remove(q);
        ngx_queue_insert_tail(&ch->waiting, q);

        if (sub->held) {
            sub->handlers->ready(sub);

        } else if (!ch->known) {
            /* who was before it has asked the stream, for all of them */
            sub->checked = 1;

        } else if (sub->read == NULL && !sub->paused) {
            ngx_rtbus_hub_start(sub);
        }
    }
}


static void
ngx_rtbus_hub_message(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic, u_char *data, size_t len)
{
    ngx_rtbus_hub_t      *hub;
    ngx_rtbus_channel_t  *ch;

    hub = rs->data;
    ch = ngx_rtbus_hub_topic_channel(topic);

    if (!ch->known && len <= hub->max_event) {
        ngx_rtbus_hub_keep(ch, NULL, data, len, 0);
        return;
    }

    ngx_rtbus_hub_event(ch, data, len, 0);
}


const char *
ngx_rtbus_hub_parse(ngx_rtbus_hub_t *hub, rtbus_event_t *event, u_char *data,
    size_t len)
{
    const char  *reason;

    if (len > hub->max_event) {
        return "too long";
    }

    if (rtbus_event_parse(hub->json, event, data, len, &reason) != RTBUS_OK) {
        return reason;
    }

    return NULL;
}


/*
 * A message that is no event.  If it looks like the wake-up of a durable one,
 * the stream tells what clients have lost.
 */

static void
ngx_rtbus_hub_no_event(ngx_rtbus_channel_t *ch, u_char *data, size_t len,
    const char *reason, ngx_uint_t filled)
{
    u_char  *tail;

    ngx_rtbus_hub_invalid(ch->hub, &ch->name, reason);

    tail = data + len - ngx_min(len, NGX_RTBUS_HUB_TAIL);

    if (filled || !ch->known
        || ngx_strlcasestrn(tail, data + len, (u_char *) "\"id\"", 4 - 1)
           == NULL)
    {
        return;
    }

    ngx_rtbus_stat_add(ch->hub->stat, holes, 1);
    ngx_rtbus_history_channel(ch);
}


/* filled: the stream was read after the message had come */

static void
ngx_rtbus_hub_event(ngx_rtbus_channel_t *ch, u_char *data, size_t len,
    ngx_uint_t filled)
{
    const char       *reason;
    rtbus_event_t     event;
    ngx_rtbus_hub_t  *hub;
    ngx_rtbus_msg_t   msg;

    hub = ch->hub;

    reason = ngx_rtbus_hub_parse(hub, &event, data, len);

    if (reason) {
        ngx_rtbus_hub_no_event(ch, data, len, reason, filled);
        return;
    }

    msg.pos = event.pos;

    if (event.pos.epoch == 0 && event.pos.seq == 0) {
        /* a live event */
        msg.pos = ch->pos;

    } else if (!rtbus_pos_next(ch->pos, event.pos)) {

        if (ngx_rtbus_hub_double(ch, &event, filled)) {
            return;
        }

        if (filled) {
            /* the stream is the truth, and it knows nothing of that */
            ngx_rtbus_hub_invalid(hub, &ch->name, "id is not in the stream");
            return;
        }

        ngx_log_debug5(NGX_LOG_DEBUG_CORE, hub->log, 0,
                       "rtbus hole in \"%V\": %uL-%uL after %uL-%uL",
                       &ch->name, event.pos.epoch, event.pos.seq,
                       ch->pos.epoch, ch->pos.seq);

#if !(NGX_RTBUS_DEBUG_NO_FILL)

        /* without it bench/check has something to find */

        ngx_rtbus_stat_add(hub->stat, holes, 1);
        ngx_rtbus_hub_keep(ch, NULL, data, len, 1);
        ngx_rtbus_history_channel(ch);
        return;

#endif
    }

    if (hub->schema && ngx_rtbus_hub_check(hub, &ch->name, &event) != NGX_OK) {

        /* a durable event has its place in the row all the same */

        if (event.pos.epoch || event.pos.seq) {
            ch->timestamp = event.timestamp;
        }

        ch->pos = msg.pos;
        return;
    }

    msg.event = &event;
    msg.channel = ch->name;
    msg.frames = NULL;

    ngx_rtbus_hub_deliver(ch, &msg);

    ngx_rtbus_msg_done(&msg);
}


/*
 * A message of an event that the channel has had already, or has read from the
 * stream.  It is none if the channel is living again, with an epoch that may be
 * smaller, or if events have got numbers a second time, as from an older copy of
 * Redis: then it is later than the one that the channel has had last.
 */

static ngx_uint_t
ngx_rtbus_hub_double(ngx_rtbus_channel_t *ch, rtbus_event_t *event,
    ngx_uint_t filled)
{
    ngx_int_t  rc;

    rc = rtbus_pos_cmp(event->pos, ch->pos);

    if (rc > 0) {
        return 0;
    }

    if (filled) {
        return 1;
    }

    if (event->pos.epoch != ch->pos.epoch) {
        return 0;
    }

    if (event->timestamp == 0 || ch->timestamp == 0) {
        return 1;
    }

    return (rc == 0) ? event->timestamp == ch->timestamp
                     : event->timestamp <= ch->timestamp;
}


/*
 * What cannot be kept is only the wake-up of an event that is in the stream, or
 * a live one, which nobody was promised.
 */

void
ngx_rtbus_hub_keep(ngx_rtbus_channel_t *ch, ngx_rtbus_source_t *source,
    u_char *data, size_t len, ngx_uint_t first)
{
    u_char            *p;
    size_t             size;
    ngx_rtbus_hub_t   *hub;
    ngx_rtbus_kept_t  *kept;

    hub = ch->hub;
    size = len + (source ? source->channel.len : 0);

    if (ngx_queue_empty(&ch->subs) && ngx_queue_empty(&ch->waiting)) {
        ch->overflow = 1;
        return;
    }

    if (ch->kept_size + size > NGX_RTBUS_HUB_KEEP
        || hub->kept_size + size > NGX_RTBUS_HUB_KEEP_ALL)
    {
        ch->overflow = 1;
        return;
    }

    kept = ngx_alloc(offsetof(ngx_rtbus_kept_t, data) + size, hub->log);

    if (kept == NULL) {
        ch->overflow = 1;
        return;
    }

    kept->fills = ch->fills;
    kept->size = size;
    kept->len = len;
    p = ngx_cpymem(kept->data, data, len);

    if (source) {
        kept->source = *source;
        kept->source.channel.data = p;
        ngx_memcpy(p, source->channel.data, source->channel.len);

    } else {
        kept->source.channel.len = 0;
    }

    if (first) {
        kept->next = ch->kept;

        if (ch->kept == NULL) {
            ch->kept_last = &kept->next;
        }

        ch->kept = kept;

    } else {
        kept->next = NULL;
        *ch->kept_last = kept;
        ch->kept_last = &kept->next;
    }

    ch->kept_size += size;
    hub->kept_size += size;
}


static void
ngx_rtbus_hub_drop_kept(ngx_rtbus_channel_t *ch)
{
    ngx_rtbus_kept_t  *kept;

    while (ch->kept) {
        kept = ch->kept;
        ch->kept = kept->next;

        ch->hub->kept_size -= kept->size;
        ngx_free(kept);
    }
}


/*
 * More deliveries than a turn of the loop may have are no trouble, as long as
 * that is not so all the time.
 */

void
ngx_rtbus_hub_spend(ngx_rtbus_hub_t *hub, ngx_uint_t deliveries)
{
    if (!ngx_rtbus_redis_conn_spend(deliveries)) {
        return;
    }

    ngx_rtbus_stat_add(hub->stat, full_turns, 1);

    if (ngx_current_msec - hub->full_last > NGX_RTBUS_HUB_CALM) {
        hub->full_since = ngx_current_msec;
    }

    hub->full_last = ngx_current_msec;

    if (hub->full_last - hub->full_since < NGX_RTBUS_HUB_BUSY
        || ngx_time() < hub->full_logged + 60)
    {
        return;
    }

    hub->full_logged = ngx_time();

    ngx_log_error(NGX_LOG_WARN, hub->log, 0,
                  "rtbus: for %M ms this worker has had more to deliver than it "
                  "can, events wait in Redis; more workers or larger events in "
                  "place of many small ones would help",
                  hub->full_last - hub->full_since);
}



void
ngx_rtbus_hub_deliver(ngx_rtbus_channel_t *ch, ngx_rtbus_msg_t *msg)
{
    ngx_uint_t                 n;
    ngx_queue_t               *q;
    ngx_rtbus_sub_t           *sub;
    ngx_rtbus_stat_t          *stat;
    ngx_rtbus_frame_t         *frame;
    const ngx_rtbus_format_t  *format;

    stat = ch->hub->stat;

    if (rtbus_pos_cmp(msg->pos, ch->pos) == 0) {
        ngx_rtbus_stat_add(stat, received[NGX_RTBUS_STAT_LIVE], 1);

    } else {
        ngx_rtbus_stat_add(stat, received[NGX_RTBUS_STAT_DURABLE], 1);
        ch->timestamp = msg->event->timestamp;
    }

    if (msg->event->timestamp && !ngx_queue_empty(&ch->subs)) {
        ngx_rtbus_stat_lag(stat, msg->event->timestamp);
    }

    ch->pos = msg->pos;

    if (ch->pos.epoch != ch->job_epoch) {
        ngx_rtbus_job_watch(ch);
    }

    frame = NULL;
    format = NULL;
    n = 1;

    for (q = ngx_queue_head(&ch->subs);
         q != ngx_queue_sentinel(&ch->subs);
         q = ngx_queue_next(q))
    {
        sub = ngx_queue_data(q, ngx_rtbus_sub_t, queue);

        if (sub->format != format) {
            format = sub->format;
            frame = ngx_rtbus_msg_frame(msg, format);
        }

        sub->handlers->deliver(sub, frame);
        n++;
    }

    ngx_rtbus_hub_spend(ch->hub, n);

    if (ch->holds == 0) {
        return;
    }

    for (q = ngx_queue_head(&ch->waiting);
         q != ngx_queue_sentinel(&ch->waiting);
         q = ngx_queue_next(q))
    {
        sub = ngx_queue_data(q, ngx_rtbus_sub_t, queue);

        if (sub->keeping) {
            ngx_rtbus_hub_later(sub, msg);
        }
    }
}


void
ngx_rtbus_hub_hold(ngx_rtbus_hold_t *hold)
{
    ngx_rtbus_channel_t  *ch;

    ch = hold->sub.ch;

    if (ch == NULL || !ch->known || hold->sub.keeping) {
        return;
    }

    hold->pos = ch->pos;
    hold->first = NULL;
    hold->last = &hold->first;
    hold->sub.keeping = 1;

    ch->holds++;
}


void
ngx_rtbus_hub_later(ngx_rtbus_sub_t *sub, ngx_rtbus_msg_t *msg)
{
    size_t              size;
    ngx_rtbus_hold_t   *hold;
    ngx_rtbus_later_t  *later;
    ngx_rtbus_frame_t  *frame;

    hold = (ngx_rtbus_hold_t *) sub;
    size = 0;
    later = NULL;

    frame = ngx_rtbus_msg_frame(msg, sub->format);

    if (frame) {
        size = sizeof(ngx_rtbus_later_t) + frame->len;

        if (size <= *hold->room) {
            later = ngx_alloc(sizeof(ngx_rtbus_later_t), sub->ch->hub->log);
        }
    }

    if (later == NULL) {
        ngx_rtbus_hub_drop_hold(sub);
        return;
    }

    *hold->room -= size;

    ngx_rtbus_frame_ref(frame);

    later->next = NULL;
    later->frame = frame;
    later->pos = msg->pos;

    *hold->last = later;
    hold->last = &later->next;
}


/* the position is the subscriber's with each event: cursors have it */

void
ngx_rtbus_hub_take(ngx_rtbus_sub_t *sub, ngx_rtbus_hold_t *hold)
{
    ngx_rtbus_later_t  *later;

    if (!hold->sub.keeping || !sub->held || sub->owned || !sub->placed
        || sub->epochless || sub->ch != hold->sub.ch
        || rtbus_pos_cmp(sub->pos, hold->pos) != 0)
    {
        return;
    }

    for (later = hold->first; later; later = later->next) {
        sub->pos = later->pos;
        sub->handlers->deliver(sub, later->frame);
    }

    /* events that are not handed out have moved it, too */

    sub->pos = sub->ch->pos;
}


static void
ngx_rtbus_hub_drop_hold(ngx_rtbus_sub_t *sub)
{
    ngx_rtbus_hold_t   *hold;
    ngx_rtbus_later_t  *later;

    if (!sub->keeping) {
        return;
    }

    sub->keeping = 0;
    sub->ch->holds--;

    hold = (ngx_rtbus_hold_t *) sub;

    while (hold->first) {
        later = hold->first;
        hold->first = later->next;

        *hold->room += sizeof(ngx_rtbus_later_t) + later->frame->len;

        ngx_rtbus_frame_unref(later->frame);
        ngx_free(later);
    }
}


void
ngx_rtbus_hub_drop_holds(ngx_rtbus_channel_t *ch)
{
    ngx_queue_t      *q;
    ngx_rtbus_sub_t  *sub;

    for (q = ngx_queue_head(&ch->waiting);
         ch->holds && q != ngx_queue_sentinel(&ch->waiting);
         q = ngx_queue_next(q))
    {
        sub = ngx_queue_data(q, ngx_rtbus_sub_t, queue);

        ngx_rtbus_hub_drop_hold(sub);
    }
}


/*
 * What was missed may be more than a client can be sent at once: who has no room
 * goes on by itself, at the pace of its connection.
 */

void
ngx_rtbus_hub_slow_down(ngx_rtbus_channel_t *ch, size_t size)
{
    ngx_queue_t      *q, *next;
    ngx_rtbus_sub_t  *sub;

    for (q = ngx_queue_head(&ch->subs);
         q != ngx_queue_sentinel(&ch->subs);
         q = next)
    {
        next = ngx_queue_next(q);
        sub = ngx_queue_data(q, ngx_rtbus_sub_t, queue);

        if (sub->handlers->room(sub, size)) {
            continue;
        }

        ngx_queue_remove(q);
        ngx_queue_insert_tail(&ch->waiting, q);

        sub->pos = ch->pos;
        sub->placed = 1;
        sub->patient = 1;
        sub->joined = 0;
    }
}


void
ngx_rtbus_hub_invalid(ngx_rtbus_hub_t *hub, ngx_str_t *channel,
    const char *reason)
{
    ngx_rtbus_stat_invalid(hub->stat, reason);

    ngx_rtbus_hub_complain(hub, channel, reason);
}


static void
ngx_rtbus_hub_complain(ngx_rtbus_hub_t *hub, ngx_str_t *channel,
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


ngx_int_t
ngx_rtbus_hub_check(ngx_rtbus_hub_t *hub, ngx_str_t *channel,
    rtbus_event_t *event)
{
    char       err[RTBUS_SCHEMA_ERROR];
    u_char    *p;
    ngx_str_t  name;
    u_char     reason[sizeof("\"\": ") + RTBUS_EVENT_NAME_MAX
                      + RTBUS_SCHEMA_ERROR];

    if (rtbus_schema_event(hub->schema, event, err) == RTBUS_OK) {
        return NGX_OK;
    }

    if (channel == NULL) {
        return NGX_DECLINED;
    }

    name.len = event->name.len;
    name.data = event->name.data;

    p = ngx_sprintf(reason, "\"%V\": %s", &name, err);
    *p = '\0';

    ngx_rtbus_stat_add(hub->stat, invalid[NGX_RTBUS_STAT_INVALID_SCHEMA], 1);

    ngx_rtbus_hub_complain(hub, channel, (char *) reason);

    return NGX_DECLINED;
}


static void
ngx_rtbus_hub_lost(ngx_rtbus_redis_sub_t *rs, ngx_rtbus_redis_topic_t *topic)
{
    ngx_rtbus_channel_t  *ch;

    ch = ngx_rtbus_hub_topic_channel(topic);

    /* no more is known than that it was there */

    ch->known = 0;
    ngx_rtbus_history_stop(ch);
    ngx_rtbus_hub_drop_holds(ch);

    ngx_rtbus_hub_away(ch);
}


void
ngx_rtbus_hub_away(ngx_rtbus_channel_t *ch)
{
    ngx_queue_t      *q, *next;
    ngx_rtbus_sub_t  *sub;

    for (q = ngx_queue_head(&ch->waiting);
         q != ngx_queue_sentinel(&ch->waiting);
         q = next)
    {
        next = ngx_queue_next(q);
        sub = ngx_queue_data(q, ngx_rtbus_sub_t, queue);

        if (sub->held) {
            sub->handlers->ready(sub);

        } else if (!sub->patient) {
            sub->handlers->failed(sub);
        }
    }
}


/* to another server of the cluster: who waits goes on waiting */

static void
ngx_rtbus_hub_handed_over(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic)
{
    ngx_rtbus_channel_t  *ch;

    ch = ngx_rtbus_hub_topic_channel(topic);

    ch->known = 0;
    ngx_rtbus_history_stop(ch);
}


static void
ngx_rtbus_hub_opened(ngx_rtbus_redis_shard_t *shard)
{
    ngx_rtbus_hub_t       *hub;
    ngx_rtbus_hub_link_t  *link;

    hub = shard->shards->data;

    if (hub->redis->kind == NGX_RTBUS_REDIS_SENTINEL) {
        ngx_rtbus_redis_sentinel_serve(&hub->sentinel, &shard->sub.conn);
        ngx_rtbus_redis_sentinel_serve(&hub->sentinel, &shard->cmd.conn);
    }

    link = ngx_calloc(sizeof(ngx_rtbus_hub_link_t), hub->log);

    shard->data = link;

    if (link == NULL) {
        /* it will not count as well, and has no functions */
        return;
    }

    if (shard->shards->cluster) {
        link->stat = ngx_rtbus_stat_shard(hub->zone, hub->stat,
                                          &shard->node.name);
    }

    ngx_rtbus_canary_init(&link->canary, &hub->mailbox, shard, hub->stat,
                          ngx_rtbus_hub_canary, hub->log);
}


static void
ngx_rtbus_hub_closed(ngx_rtbus_redis_shard_t *shard)
{
    ngx_rtbus_hub_link_t  *link;

    link = shard->data;

    if (link) {
        ngx_rtbus_canary_close(&link->canary);

        if (link->stat) {
            link->stat->owner = 0;
        }

        ngx_free(link);
        shard->data = NULL;
    }
}


static void
ngx_rtbus_hub_sub_changed(ngx_rtbus_redis_shard_t *shard)
{
    ngx_rtbus_hub_t       *hub;
    ngx_rtbus_hub_link_t  *link;

    hub = shard->shards->data;
    link = shard->data;

    ngx_rtbus_mailbox_changed(&hub->mailbox);

    if (!shard->sub.conn.up) {
        if (link) {
            ngx_rtbus_canary_lost(&link->canary);
        }

    } else if (shard->sub.reconnects) {
        ngx_rtbus_stat_add(hub->stat, reconnects[NGX_RTBUS_STAT_PUBSUB], 1);
    }

    ngx_rtbus_hub_health(hub);
}


static void
ngx_rtbus_hub_cmd_changed(ngx_rtbus_redis_shard_t *shard)
{
    ngx_rtbus_hub_t       *hub;
    ngx_rtbus_hub_link_t  *link;

    hub = shard->shards->data;
    link = shard->data;

    ngx_rtbus_mailbox_changed(&hub->mailbox);

    if (!shard->cmd.conn.up) {
        if (link) {
            ngx_rtbus_canary_lost(&link->canary);
        }

        ngx_rtbus_hub_health(hub);
        return;
    }

    if (shard->cmd.reconnects) {
        ngx_rtbus_stat_add(hub->stat, reconnects[NGX_RTBUS_STAT_COMMAND], 1);
        hub->connected = ngx_current_msec;
    }

    ngx_rtbus_redis_shard_look(shard);

    if (link) {
        ngx_rtbus_library_check(&link->library, &shard->cmd, hub->functions,
                                hub->log);

        ngx_rtbus_canary_send(&link->canary);
    }

    ngx_rtbus_hub_health(hub);

    ngx_rtbus_hub_again(shard);
}


static void
ngx_rtbus_hub_failed(ngx_rtbus_redis_shard_t *shard)
{
    ngx_rtbus_hub_failed_topics(&shard->sub.pending);
    ngx_rtbus_hub_failed_topics(&shard->sub.sent);
    ngx_rtbus_hub_failed_topics(&shard->sub.moved);

    ngx_rtbus_hub_health(shard->shards->data);
}


static void
ngx_rtbus_hub_failed_topics(ngx_queue_t *topics)
{
    ngx_queue_t              *q;
    ngx_rtbus_redis_topic_t  *topic;

    for (q = ngx_queue_head(topics);
         q != ngx_queue_sentinel(topics);
         q = ngx_queue_next(q))
    {
        topic = ngx_queue_data(q, ngx_rtbus_redis_topic_t, queue);

        if (topic->handlers == &ngx_rtbus_hub_topic_handlers) {
            ngx_rtbus_hub_away(ngx_rtbus_hub_topic_channel(topic));
        }
    }
}


static void
ngx_rtbus_hub_changed(ngx_rtbus_redis_shard_t *shard)
{
    ngx_rtbus_hub_link_t  *link;

    link = shard->data;

    if (link) {
        ngx_rtbus_canary_name(&link->canary);
    }

    ngx_rtbus_hub_health(shard->shards->data);
}


static void
ngx_rtbus_hub_beat(ngx_event_t *ev)
{
    ngx_msec_t                again;
    ngx_rtbus_hub_t          *hub;
    ngx_rtbus_hub_link_t     *link;
    ngx_rtbus_redis_shard_t  *shard;

    hub = ev->data;

    ngx_log_debug0(NGX_LOG_DEBUG_CORE, ev->log, 0, "rtbus hub beat");

    again = NGX_RTBUS_STAT_PERIOD;

    hub->stat->heard = ngx_time();

    ngx_rtbus_job_beat(hub);

    for (shard = ngx_rtbus_redis_shards_next(&hub->shards, NULL);
         shard;
         shard = ngx_rtbus_redis_shards_next(&hub->shards, shard))
    {
        link = shard->data;

        ngx_rtbus_redis_shard_look(shard);

        if (link) {
            ngx_rtbus_library_look(&link->library);
        }

        if (link && ngx_rtbus_canary_check(&link->canary) == NGX_AGAIN) {
            again = NGX_RTBUS_HUB_AGAIN;
        }
    }

    ngx_add_timer(ev, again);

    ngx_rtbus_hub_health(hub);
}


static void
ngx_rtbus_hub_canary(ngx_rtbus_canary_t *canary)
{
    ngx_rtbus_hub_health(canary->shard->shards->data);
}


/*
 * What the status tells of this worker's path to Redis: all servers that it
 * needs are well, and it needs at least one.  A server of a cluster that has
 * just come to be needed does not count until its canary is late.
 */

static void
ngx_rtbus_hub_health(ngx_rtbus_hub_t *hub)
{
    ngx_uint_t                 sub, cmd, proven, trouble, n;
    ngx_msec_t                 age, oldest;
    ngx_rtbus_hub_link_t      *link;
    ngx_rtbus_redis_shard_t   *shard;
    ngx_rtbus_redis_shards_t  *shards;

    shards = &hub->shards;

    sub = 1;
    cmd = 1;
    proven = 1;
    trouble = NGX_RTBUS_STAT_NO_TROUBLE;
    oldest = 0;
    n = 0;

    if (shards->cluster
        && (shards->one.sub.topics.n || shards->one.sub.plains.n))
    {
        /* there are channels that nobody has */
        proven = 0;
    }

    for (shard = ngx_rtbus_redis_shards_next(shards, NULL);
         shard;
         shard = ngx_rtbus_redis_shards_next(shards, shard))
    {
        link = shard->data;

        if (link && link->stat) {
            link->stat->up[NGX_RTBUS_STAT_PUBSUB] = shard->sub.conn.up;
            link->stat->up[NGX_RTBUS_STAT_COMMAND] = shard->cmd.conn.up;
            link->stat->canary = link->canary.back;
        }

        if (!shard->listed || shard->opening) {
            continue;
        }

        sub &= shard->sub.conn.up;
        cmd &= shard->cmd.conn.up;

        if (shard->sub.conn.replica || shard->cmd.conn.replica) {
            trouble = NGX_RTBUS_STAT_REPLICA;

        } else if (link && link->library.lost && trouble == 0) {
            trouble = NGX_RTBUS_STAT_LIBRARY;
        }

        if (link == NULL) {
            proven = 0;
            continue;
        }

        age = ngx_current_msec - link->canary.back;

        if (link->canary.proven) {
            oldest = ngx_max(oldest, age);

        } else if (shards->cluster && shard->sub.conn.up && shard->cmd.conn.up
                   && age < NGX_RTBUS_STAT_LATE)
        {
            continue;

        } else {
            proven = 0;
        }

        n++;
    }

    hub->stat->redis_up[NGX_RTBUS_STAT_PUBSUB] = (n && sub);
    hub->stat->redis_up[NGX_RTBUS_STAT_COMMAND] = (n && cmd);

    hub->stat->trouble = trouble;
    hub->stat->proven = (n && proven);

    if (hub->stat->proven) {
        hub->stat->canary = ngx_current_msec - oldest;
    }
}


static void
ngx_rtbus_hub_moved(void *data)
{
    ngx_rtbus_hub_t *hub = data;

    ngx_rtbus_redis_shard_t  *shard;

    shard = &hub->shards.one;

    ngx_rtbus_redis_conn_moved(&shard->sub.conn, "the master has moved");
    ngx_rtbus_redis_conn_moved(&shard->cmd.conn, "the master has moved");
}


static void
ngx_rtbus_hub_mailbox_ready(ngx_rtbus_mailbox_t *mb)
{
    ngx_rtbus_hub_t  *hub;

    ngx_rtbus_hub_link_t  *link;

    hub = ngx_queue_data(mb, ngx_rtbus_hub_t, mailbox);
    link = hub->shards.one.data;

    if (link) {
        ngx_rtbus_canary_send(&link->canary);
    }
}


ngx_uint_t
ngx_rtbus_hub_settled(ngx_rtbus_hub_t *hub, ngx_msec_t time)
{
    return ngx_rtbus_redis_shards_up(&hub->shards)
           && ngx_current_msec - hub->connected > time;
}


void
ngx_rtbus_hub_retry(ngx_rtbus_hub_t *hub)
{
    if (!hub->retry.timer_set) {
        ngx_add_timer(&hub->retry, NGX_RTBUS_HUB_RETRY);
    }
}


void
ngx_rtbus_hub_library_lost(ngx_rtbus_hub_t *hub)
{
    ngx_rtbus_hub_link_t     *link;
    ngx_rtbus_redis_shard_t  *shard;

    if (hub->checked == ngx_time()) {
        return;
    }

    hub->checked = ngx_time();

    for (shard = ngx_rtbus_redis_shards_next(&hub->shards, NULL);
         shard;
         shard = ngx_rtbus_redis_shards_next(&hub->shards, shard))
    {
        link = shard->data;

        if (link && shard->cmd.conn.up) {
            ngx_rtbus_library_check(&link->library, &shard->cmd,
                                    hub->functions, hub->log);
        }
    }
}


static void
ngx_rtbus_hub_retry_handler(ngx_event_t *ev)
{
    ngx_rtbus_hub_t          *hub;
    ngx_rtbus_redis_shard_t  *shard;

    hub = ev->data;

    for (shard = ngx_rtbus_redis_shards_next(&hub->shards, NULL);
         shard;
         shard = ngx_rtbus_redis_shards_next(&hub->shards, shard))
    {
        ngx_rtbus_hub_again(shard);
    }
}


/* takes up what was left because the command connection was not there */

static void
ngx_rtbus_hub_again(ngx_rtbus_redis_shard_t *shard)
{
    ngx_queue_t              *t, *q, *next;
    ngx_rtbus_sub_t          *sub;
    ngx_rtbus_channel_t      *ch;
    ngx_rtbus_redis_topic_t  *topic;

    if (!shard->cmd.conn.up) {
        return;
    }

    for (t = ngx_queue_head(&shard->sub.ready);
         t != ngx_queue_sentinel(&shard->sub.ready);
         t = ngx_queue_next(t))
    {
        topic = ngx_queue_data(t, ngx_rtbus_redis_topic_t, queue);

        if (topic->handlers != &ngx_rtbus_hub_topic_handlers) {
            continue;
        }

        ch = ngx_rtbus_hub_topic_channel(topic);

        if (!ch->known) {
            if (ch->read == NULL) {
                ngx_rtbus_history_channel(ch);
            }

            continue;
        }

        for (q = ngx_queue_head(&ch->waiting);
             q != ngx_queue_sentinel(&ch->waiting);
             q = next)
        {
            next = ngx_queue_next(q);
            sub = ngx_queue_data(q, ngx_rtbus_sub_t, queue);

            if (!sub->held && !sub->paused && sub->read == NULL) {
                ngx_rtbus_hub_start(sub);
            }
        }
    }
}


ngx_int_t
ngx_rtbus_hub_position(ngx_rtbus_sub_t *sub, rtbus_pos_t *pos)
{
    if (sub->joined) {
        *pos = sub->ch->pos;
        return NGX_OK;
    }

    if (sub->placed && !sub->epochless) {
        *pos = sub->pos;
        return NGX_OK;
    }

    if (sub->held && sub->ch->known && !sub->owned) {
        /* it will be released before the channel moves on */
        *pos = sub->ch->pos;
        return NGX_OK;
    }

    return NGX_DECLINED;
}


size_t
ngx_rtbus_hub_key(ngx_rtbus_hub_t *hub, u_char *dst, ngx_str_t *channel,
    const char *suffix)
{
    u_char  *p;

    p = ngx_cpymem(dst, hub->prefix.data, hub->prefix.len);

    *p++ = '{';
    p = ngx_cpymem(p, channel->data, channel->len);
    *p++ = '}';

    p = ngx_cpymem(p, suffix, ngx_strlen(suffix));

    return p - dst;
}


size_t
ngx_rtbus_hub_topic(ngx_rtbus_hub_t *hub, u_char *dst, ngx_str_t *channel)
{
    u_char  *p;

    if (hub->shards.cluster && hub->prefix.len) {
        return ngx_rtbus_hub_key(hub, dst, channel, "");
    }

    p = ngx_cpymem(dst, hub->prefix.data, hub->prefix.len);
    p = ngx_cpymem(p, channel->data, channel->len);

    return p - dst;
}


static void
ngx_rtbus_hub_full(void *data)
{
    ngx_rtbus_hub_t  *hub = data;

    hub->full_handler(hub->data);
}


static void
ngx_rtbus_hub_exiting(void *data)
{
    ngx_rtbus_hub_t  *hub = data;

    hub->stat->leaving = 1;

    hub->exiting_handler(hub->data);
}
