
#include "ngx_rtbus_listen.h"
#include "ngx_rtbus_channel.h"
#include "ngx_rtbus_forward.h"
#include "ngx_rtbus_history.h"
#include "ngx_rtbus_job.h"
#include "ngx_rtbus_owner.h"


#define NGX_RTBUS_HUB_LINGER    5000    /* ms */

/* of a message: a position is in it, if there is one */

#define NGX_RTBUS_HUB_TAIL      2048    /* bytes */


static ngx_int_t ngx_rtbus_listen_ask(ngx_rtbus_sub_t *sub);
static void ngx_rtbus_listen_start(ngx_rtbus_sub_t *sub);
static void ngx_rtbus_listen_answer(void *data, ngx_int_t rc);
static void ngx_rtbus_listen_linger_handler(ngx_event_t *ev);
static void ngx_rtbus_listen_destroy(ngx_rtbus_channel_t *ch);

static void ngx_rtbus_listen_ready(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic);
static void ngx_rtbus_listen_refused(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic);
static void ngx_rtbus_listen_known(ngx_rtbus_channel_t *ch);
static void ngx_rtbus_listen_message(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic, u_char *data, size_t len);
static void ngx_rtbus_listen_no_event(ngx_rtbus_channel_t *ch, u_char *data,
    size_t len, rtbus_reason_e reason, ngx_uint_t filled);
static void ngx_rtbus_listen_event(ngx_rtbus_channel_t *ch, u_char *data,
    size_t len, ngx_uint_t filled);
static ngx_uint_t ngx_rtbus_listen_double(ngx_rtbus_channel_t *ch,
    rtbus_event_t *event, ngx_uint_t filled);
static void ngx_rtbus_listen_lost(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic);
static void ngx_rtbus_listen_handed_over(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic);


static const ngx_rtbus_redis_topic_handlers_t  ngx_rtbus_listen_handlers = {
    ngx_rtbus_listen_ready,
    ngx_rtbus_listen_refused,
    ngx_rtbus_listen_message,
    ngx_rtbus_listen_lost,
    ngx_rtbus_listen_handed_over
};


void
ngx_rtbus_listen_init(ngx_rtbus_hub_t *hub)
{
    ngx_queue_init(&hub->lingering);

    hub->linger.handler = ngx_rtbus_listen_linger_handler;
    hub->linger.data = hub;
    hub->linger.log = hub->log;
    hub->linger.cancelable = 1;

    hub->topic_handlers = &ngx_rtbus_listen_handlers;
    hub->epoch_handler = ngx_rtbus_job_watch;

    ngx_rtbus_history_init(hub, ngx_rtbus_listen_known,
                           ngx_rtbus_listen_start);
}


void
ngx_rtbus_listen_close(ngx_rtbus_hub_t *hub)
{
    ngx_queue_t          *q;
    ngx_rtbus_channel_t  *ch;

    if (hub->linger.timer_set) {
        ngx_del_timer(&hub->linger);
    }

    ngx_rtbus_history_close(hub);

    while (!ngx_queue_empty(&hub->lingering)) {
        q = ngx_queue_head(&hub->lingering);
        ch = ngx_queue_data(q, ngx_rtbus_channel_t, queue);

        ngx_rtbus_listen_destroy(ch);
    }
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

    ch = ngx_rtbus_channel_get(hub, name);
    if (ch == NULL) {
        return NGX_ERROR;
    }

    if (ch->topic.refused) {

        ngx_log_debug1(NGX_LOG_DEBUG_CORE, hub->log, 0,
                       "rtbus: join \"%V\", Redis refuses it", name);

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
    sub->catching = 0;
    sub->gapped = 0;
    sub->checked = 0;
    sub->stale = 0;
    sub->paused = 0;
    sub->replayed = 0;
    sub->needs = 0;
    sub->read = NULL;
    sub->question = NULL;

    ngx_queue_insert_tail(&ch->waiting, &sub->queue);

    ngx_log_debug6(NGX_LOG_DEBUG_CORE, hub->log, 0,
                   "rtbus: join \"%V\", state:%d up:%ui placed:%d held:%d "
                   "owned:%d", &ch->name, (int) ch->state, up, sub->placed,
                   sub->held, sub->owned);

    if (sub->held) {
        return (ngx_rtbus_channel_known(ch) || !up) ? NGX_OK : NGX_AGAIN;
    }

    if (sub->owned && ngx_rtbus_listen_ask(sub) != NGX_OK && !sub->patient) {
        ngx_rtbus_hub_leave(sub);
        return NGX_DECLINED;
    }

    return ngx_rtbus_hub_release(sub);
}


ngx_int_t
ngx_rtbus_hub_release(ngx_rtbus_sub_t *sub)
{
    ngx_log_debug2(NGX_LOG_DEBUG_CORE, sub->ch->hub->log, 0,
                   "rtbus: release \"%V\", owned:%d",
                   &sub->ch->name, sub->owned);

    sub->held = 0;

    if (sub->owned) {
        /* beside the question where the channel stands */
        (void) ngx_rtbus_listen_ask(sub);

    } else if (ngx_rtbus_channel_known(sub->ch)) {
        ngx_rtbus_listen_start(sub);
    }

    return sub->joined ? NGX_OK : NGX_AGAIN;
}


static void
ngx_rtbus_listen_start(ngx_rtbus_sub_t *sub)
{
    ngx_rtbus_channel_t  *ch;

    ch = sub->ch;

    if (sub->owned) {
        (void) ngx_rtbus_listen_ask(sub);
        return;
    }

    if (!sub->placed) {
        sub->pos = ch->pos;
        ngx_rtbus_channel_live(sub);
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

        ngx_log_debug6(NGX_LOG_DEBUG_CORE, ch->hub->log, 0,
                       "rtbus: start \"%V\" at:%uL-%uL, ahead of:%uL-%uL "
                       "checked:%d", &ch->name, sub->pos.epoch, sub->pos.seq,
                       ch->pos.epoch, ch->pos.seq, sub->checked);

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
ngx_rtbus_listen_ask(ngx_rtbus_sub_t *sub)
{
    ngx_rtbus_channel_t  *ch;

    ch = sub->ch;

    if (sub->question) {
        return NGX_OK;
    }

    sub->question = ngx_rtbus_owner_ask(ch->hub, &ch->name,
                                        sub->handlers->user(sub), 0,
                                        ngx_rtbus_listen_answer, sub);

    if (sub->question == NULL) {
        ngx_rtbus_hub_retry(ch->hub);
        return NGX_DECLINED;
    }

    return NGX_OK;
}


static void
ngx_rtbus_listen_answer(void *data, ngx_int_t rc)
{
    ngx_rtbus_sub_t  *sub = data;

    ngx_log_debug2(NGX_LOG_DEBUG_CORE, sub->ch->hub->log, 0,
                   "rtbus: owner of \"%V\", rc:%i", &sub->ch->name, rc);

    sub->question = NULL;

    switch (rc) {

    case NGX_OK:
        sub->owned = 0;

        if (ngx_rtbus_channel_known(sub->ch)) {
            ngx_rtbus_listen_start(sub);
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

    ngx_log_debug1(NGX_LOG_DEBUG_CORE, sub->ch->hub->log, 0,
                   "rtbus: resume \"%V\"", &sub->ch->name);

    sub->paused = 0;

    if (ngx_rtbus_channel_known(sub->ch)) {
        ngx_rtbus_listen_start(sub);
    }
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

    ngx_log_debug3(NGX_LOG_DEBUG_CORE, ch->hub->log, 0,
                   "rtbus: leave \"%V\", joined:%d replayed:%uL",
                   &ch->name, sub->joined, sub->replayed);

    ngx_rtbus_history_leave(sub);

    if (sub->question) {
        ngx_rtbus_owner_cancel(sub->question);
        sub->question = NULL;
    }

    ngx_rtbus_channel_drop_caught(sub);

    ngx_queue_remove(&sub->queue);

    sub->ch = NULL;
    sub->joined = 0;

    if (!ngx_queue_empty(&ch->subs) || !ngx_queue_empty(&ch->waiting)) {
        return;
    }

    hub = ch->hub;

    ngx_log_debug1(NGX_LOG_DEBUG_CORE, hub->log, 0,
                   "rtbus: channel \"%V\" lingers", &ch->name);

    ch->lingering = 1;
    ch->until = ngx_current_msec + NGX_RTBUS_HUB_LINGER;
    ngx_queue_insert_tail(&hub->lingering, &ch->queue);

    if (!hub->linger.timer_set) {
        ngx_add_timer(&hub->linger, NGX_RTBUS_HUB_LINGER);
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

    if (sub->held && ngx_rtbus_channel_known(sub->ch) && !sub->owned) {
        /* it will be released before the channel moves on */
        *pos = sub->ch->pos;
        return NGX_OK;
    }

    return NGX_DECLINED;
}


static void
ngx_rtbus_listen_linger_handler(ngx_event_t *ev)
{
    ngx_queue_t          *q;
    ngx_msec_int_t        left;
    ngx_rtbus_hub_t      *hub;
    ngx_rtbus_channel_t  *ch;

    hub = ev->data;

    ngx_log_debug0(NGX_LOG_DEBUG_CORE, ev->log, 0, "rtbus: linger handler");

    while (!ngx_queue_empty(&hub->lingering)) {
        q = ngx_queue_head(&hub->lingering);
        ch = ngx_queue_data(q, ngx_rtbus_channel_t, queue);

        left = (ngx_msec_int_t) (ch->until - ngx_current_msec);

        if (left > 0) {
            ngx_add_timer(ev, (ngx_msec_t) left);
            return;
        }

        ngx_log_debug1(NGX_LOG_DEBUG_CORE, hub->log, 0,
                       "rtbus: channel \"%V\" has no listener", &ch->name);

        ngx_rtbus_listen_destroy(ch);
    }
}


/* of a channel that lingers */

static void
ngx_rtbus_listen_destroy(ngx_rtbus_channel_t *ch)
{
    ngx_queue_remove(&ch->queue);

    ngx_rtbus_job_forget(ch);
    ngx_rtbus_history_stop(ch);
    ngx_rtbus_channel_free(ch);
}


static void
ngx_rtbus_listen_ready(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic)
{
    ngx_log_debug1(NGX_LOG_DEBUG_CORE, &rs->conn.log, 0,
                   "rtbus: channel subscribed \"%V\"", &topic->name);

    /* what was published before the subscription is only in the stream */

    ngx_rtbus_history_channel(ngx_rtbus_hub_topic_channel(topic));
}


/* by Redis's ACL, for example; patient subscribers keep waiting */

static void
ngx_rtbus_listen_refused(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic)
{
    ngx_log_debug1(NGX_LOG_DEBUG_CORE, &rs->conn.log, 0,
                   "rtbus: channel refused \"%V\"", &topic->name);

    ngx_rtbus_channel_away(ngx_rtbus_hub_topic_channel(topic));
}


static void
ngx_rtbus_listen_known(ngx_rtbus_channel_t *ch)
{
    ngx_queue_t        waiting, *q, *next;
    ngx_rtbus_hub_t   *hub;
    ngx_rtbus_sub_t   *sub;
    ngx_rtbus_kept_t  *kept;

    hub = ch->hub;

    ngx_rtbus_job_watch(ch);

    /* subscribers without a position of their own also get what was kept */

    for (q = ngx_queue_head(&ch->waiting);
         q != ngx_queue_sentinel(&ch->waiting);
         q = next)
    {
        next = ngx_queue_next(q);
        sub = ngx_queue_data(q, ngx_rtbus_sub_t, queue);

        if (!sub->held
            && (!sub->placed || rtbus_pos_cmp(sub->pos, ch->pos) == 0))
        {
            ngx_rtbus_listen_start(sub);
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
            ngx_rtbus_listen_event(ch, kept->data, kept->len,
                                kept->fills != ch->fills);
        }

        ngx_free(kept);

        if (!ngx_rtbus_channel_known(ch)) {
            /* a hole: the event is kept again, as the first one */
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

        } else if (!ngx_rtbus_channel_known(ch)) {
            /* one before it has asked the stream, on behalf of all */
            sub->checked = 1;

        } else if (sub->read == NULL && !sub->paused) {
            ngx_rtbus_listen_start(sub);
        }
    }
}


static void
ngx_rtbus_listen_message(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic, u_char *data, size_t len)
{
    ngx_rtbus_hub_t      *hub;
    ngx_rtbus_channel_t  *ch;

    hub = rs->data;
    ch = ngx_rtbus_hub_topic_channel(topic);

    if (!ngx_rtbus_channel_known(ch) && len <= hub->max_event) {
        ngx_rtbus_channel_keep(ch, NULL, data, len, 0);
        return;
    }

    ngx_rtbus_listen_event(ch, data, len, 0);
}


/*
 * A message that is not an event.  If it looks like a durable one, the stream
 * is read to find out what clients have lost.
 */

static void
ngx_rtbus_listen_no_event(ngx_rtbus_channel_t *ch, u_char *data, size_t len,
    rtbus_reason_e reason, ngx_uint_t filled)
{
    u_char  *tail;

    ngx_rtbus_hub_invalid(ch->hub, &ch->name, reason);

    tail = data + len - ngx_min(len, NGX_RTBUS_HUB_TAIL);

    if (filled || !ngx_rtbus_channel_known(ch)
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
ngx_rtbus_listen_event(ngx_rtbus_channel_t *ch, u_char *data, size_t len,
    ngx_uint_t filled)
{
    rtbus_reason_e    reason;
    rtbus_event_t     event;
    ngx_rtbus_hub_t  *hub;
    ngx_rtbus_msg_t   msg;

    hub = ch->hub;

    reason = ngx_rtbus_hub_parse(hub, &event, data, len);

    if (reason) {
        ngx_rtbus_listen_no_event(ch, data, len, reason, filled);
        return;
    }

    msg.pos = event.pos;

    if (event.pos.epoch == 0 && event.pos.seq == 0) {
        /* a live event */
        msg.pos = ch->pos;

    } else if (!rtbus_pos_next(ch->pos, event.pos)) {

        if (ngx_rtbus_listen_double(ch, &event, filled)) {
            return;
        }

        if (filled) {
            /* the stream decides, and does not contain it */
            ngx_rtbus_hub_invalid(hub, &ch->name, RTBUS_REASON_ID_FOREIGN);
            return;
        }

        ngx_log_debug5(NGX_LOG_DEBUG_CORE, hub->log, 0,
                       "rtbus: hole in \"%V\": %uL-%uL after %uL-%uL",
                       &ch->name, event.pos.epoch, event.pos.seq,
                       ch->pos.epoch, ch->pos.seq);

#if !(NGX_RTBUS_DEBUG_NO_FILL)

        /* without it check/check has something to find */

        ngx_rtbus_stat_add(hub->stat, holes, 1);
        ngx_rtbus_channel_keep(ch, NULL, data, len, 1);
        ngx_rtbus_history_channel(ch);
        return;

#endif
    }

    if (hub->schema && ngx_rtbus_hub_check(hub, &ch->name, &event) != NGX_OK) {

        /* a durable event still counts as the next one */

        if (event.pos.epoch || event.pos.seq) {
            ch->timestamp = event.timestamp;
        }

        ch->pos = msg.pos;
        return;
    }

    msg.event = &event;
    msg.channel = ch->name;
    msg.frames = NULL;

    ngx_rtbus_channel_deliver(ch, &msg);

    ngx_rtbus_msg_done(&msg);
}


/*
 * Is this an event that the channel has had already?  It is not if the channel
 * was created again, possibly with a smaller epoch, or if numbers were used a
 * second time, as by an older copy of Redis.  Then its timestamp is later than
 * that of the channel's last event.
 */

static ngx_uint_t
ngx_rtbus_listen_double(ngx_rtbus_channel_t *ch, rtbus_event_t *event,
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


static void
ngx_rtbus_listen_lost(ngx_rtbus_redis_sub_t *rs, ngx_rtbus_redis_topic_t *topic)
{
    ngx_rtbus_channel_t  *ch;

    ch = ngx_rtbus_hub_topic_channel(topic);

    /* events may be lost until it is subscribed again */

    ngx_rtbus_channel_set_state(ch, NGX_RTBUS_CHANNEL_SUBSCRIBING);
    ngx_rtbus_history_stop(ch);
    ngx_rtbus_channel_drop_all_caught(ch);

    ngx_rtbus_channel_away(ch);
}


/* to another server of the cluster: waiting subscribers keep waiting */

static void
ngx_rtbus_listen_handed_over(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic)
{
    ngx_rtbus_channel_t  *ch;

    ch = ngx_rtbus_hub_topic_channel(topic);

    ngx_rtbus_channel_set_state(ch, NGX_RTBUS_CHANNEL_SUBSCRIBING);
    ngx_rtbus_history_stop(ch);
}


void
ngx_rtbus_listen_failed(ngx_rtbus_hub_t *hub, ngx_queue_t *topics)
{
    ngx_queue_t              *q;
    ngx_rtbus_redis_topic_t  *topic;

    for (q = ngx_queue_head(topics);
         q != ngx_queue_sentinel(topics);
         q = ngx_queue_next(q))
    {
        topic = ngx_queue_data(q, ngx_rtbus_redis_topic_t, queue);

        if (topic->handlers == hub->topic_handlers) {
            ngx_rtbus_channel_away(ngx_rtbus_hub_topic_channel(topic));
        }
    }
}


void
ngx_rtbus_listen_again(ngx_rtbus_redis_shard_t *shard)
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

        if (topic->handlers != &ngx_rtbus_listen_handlers) {
            continue;
        }

        ch = ngx_rtbus_hub_topic_channel(topic);

        if (!ngx_rtbus_channel_known(ch)) {
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
                ngx_rtbus_listen_start(sub);
            }
        }
    }
}
