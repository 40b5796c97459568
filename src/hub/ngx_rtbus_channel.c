
#include "ngx_rtbus_channel.h"


/* turns of the loop that are full: none for so long is calm, so long is busy */

#define NGX_RTBUS_HUB_CALM      1000    /* ms */
#define NGX_RTBUS_HUB_BUSY      2000    /* ms */

#define NGX_RTBUS_HUB_RETRY     1000    /* ms */

/* bytes of messages kept while their channel is read: of one, of all */

#define NGX_RTBUS_HUB_KEEP      (4 * 1024 * 1024)
#define NGX_RTBUS_HUB_KEEP_ALL  (64 * 1024 * 1024)


static void ngx_rtbus_channel_drop_kept(ngx_rtbus_channel_t *ch);
static void ngx_rtbus_hub_complain(ngx_rtbus_hub_t *hub, ngx_str_t *channel,
    const char *text);


void
ngx_rtbus_channel_set_state(ngx_rtbus_channel_t *ch,
    ngx_rtbus_channel_state_e state)
{
    static const char *const  names[] = {
        "subscribing", "reading", "unread", "known"
    };

    ngx_log_debug5(NGX_LOG_DEBUG_CORE, ch->hub->log, 0,
                   "rtbus: channel \"%V\" state:%s was:%s at:%uL-%uL",
                   &ch->name, names[state], names[ch->state],
                   ch->pos.epoch, ch->pos.seq);

    ch->state = state;
}


ngx_rtbus_channel_t *
ngx_rtbus_channel_get(ngx_rtbus_hub_t *hub, ngx_str_t *name)
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
        return (topic->handlers == hub->topic_handlers)
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

    ch->topic.handlers = hub->topic_handlers;
    ch->topic.hash = hash;
    ch->topic.name.len = len;
    ch->topic.name.data = p;

    ngx_rtbus_redis_sub_add(&shard->sub, &ch->topic);

    ngx_rtbus_stat_add(hub->stat, channels, 1);

    return ch;
}


ngx_rtbus_channel_t *
ngx_rtbus_channel_find(ngx_rtbus_hub_t *hub, ngx_str_t *name)
{
    ngx_rtbus_redis_topic_t  *topic;

    /* in a cluster there are no forwarded events */

    topic = ngx_rtbus_redis_sub_lookup(&hub->shards.one.sub, name,
                                       ngx_rtbus_redis_sub_hash(name));

    if (topic == NULL || topic->handlers != hub->topic_handlers) {
        return NULL;
    }

    return ngx_rtbus_hub_topic_channel(topic);
}


void
ngx_rtbus_channel_free(ngx_rtbus_channel_t *ch)
{
    ngx_rtbus_hub_t          *hub;
    ngx_rtbus_redis_shard_t  *shard;

    hub = ch->hub;

    shard = ngx_rtbus_redis_shard(&hub->shards, ch->name.data, ch->name.len);

    ngx_rtbus_redis_sub_remove(&shard->sub, &ch->topic);
    ngx_rtbus_channel_drop_kept(ch);
    ngx_free(ch);

    ngx_rtbus_stat_sub(hub->stat, channels, 1);
}


void
ngx_rtbus_channel_live(ngx_rtbus_sub_t *sub)
{
    ngx_queue_remove(&sub->queue);
    ngx_queue_insert_tail(&sub->ch->subs, &sub->queue);

    sub->joined = 1;
    sub->handlers->joined(sub);
}


/*
 * The missed events may be more than a client can be sent at once.  A
 * subscriber without room leaves the fan-out and reads on at the pace of its
 * connection.
 */

void
ngx_rtbus_channel_slow_down(ngx_rtbus_channel_t *ch, size_t size)
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

        ngx_log_debug2(NGX_LOG_DEBUG_CORE, ch->hub->log, 0,
                       "rtbus: subscriber of \"%V\" has no room, size:%uz",
                       &ch->name, size);

        ngx_queue_remove(q);
        ngx_queue_insert_tail(&ch->waiting, q);

        sub->pos = ch->pos;
        sub->placed = 1;
        sub->patient = 1;
        sub->joined = 0;
    }
}


void
ngx_rtbus_channel_away(ngx_rtbus_channel_t *ch)
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


void
ngx_rtbus_channel_deliver(ngx_rtbus_channel_t *ch, ngx_rtbus_msg_t *msg)
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
        ch->hub->epoch_handler(ch);
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

    if (ch->catchers == 0) {
        return;
    }

    for (q = ngx_queue_head(&ch->waiting);
         q != ngx_queue_sentinel(&ch->waiting);
         q = ngx_queue_next(q))
    {
        sub = ngx_queue_data(q, ngx_rtbus_sub_t, queue);

        if (sub->catching) {
            ngx_rtbus_channel_catch(sub, msg);
        }
    }
}


void
ngx_rtbus_hub_catch(ngx_rtbus_catcher_t *catcher)
{
    ngx_rtbus_channel_t  *ch;

    ch = catcher->sub.ch;

    if (ch == NULL || !ngx_rtbus_channel_known(ch) || catcher->sub.catching) {
        return;
    }

    ngx_log_debug3(NGX_LOG_DEBUG_CORE, ch->hub->log, 0,
                   "rtbus: events of \"%V\" are caught from:%uL-%uL",
                   &ch->name, ch->pos.epoch, ch->pos.seq);

    catcher->pos = ch->pos;
    catcher->first = NULL;
    catcher->last = &catcher->first;
    catcher->sub.catching = 1;

    ch->catchers++;
}


void
ngx_rtbus_channel_catch(ngx_rtbus_sub_t *sub, ngx_rtbus_msg_t *msg)
{
    size_t                size;
    ngx_rtbus_frame_t    *frame;
    ngx_rtbus_caught_t   *caught;
    ngx_rtbus_catcher_t  *catcher;

    catcher = (ngx_rtbus_catcher_t *) sub;
    size = 0;
    caught = NULL;

    frame = ngx_rtbus_msg_frame(msg, sub->format);

    if (frame) {
        size = sizeof(ngx_rtbus_caught_t) + frame->len;

        if (size <= *catcher->room) {
            caught = ngx_alloc(sizeof(ngx_rtbus_caught_t), sub->ch->hub->log);
        }
    }

    if (caught == NULL) {
        ngx_rtbus_channel_drop_caught(sub);
        return;
    }

    *catcher->room -= size;

    ngx_rtbus_frame_ref(frame);

    caught->next = NULL;
    caught->frame = frame;
    caught->pos = msg->pos;

    *catcher->last = caught;
    catcher->last = &caught->next;
}


/* the subscriber's position advances with each event: cursors contain it */

void
ngx_rtbus_hub_take(ngx_rtbus_sub_t *sub, ngx_rtbus_catcher_t *catcher)
{
    ngx_rtbus_caught_t  *caught;

    if (!catcher->sub.catching || !sub->held || sub->owned || !sub->placed
        || sub->epochless || sub->ch != catcher->sub.ch
        || rtbus_pos_cmp(sub->pos, catcher->pos) != 0)
    {
        return;
    }

    for (caught = catcher->first; caught; caught = caught->next) {
        sub->pos = caught->pos;
        sub->handlers->deliver(sub, caught->frame);
    }

    /* events that are not handed out have advanced the channel, too */

    sub->pos = sub->ch->pos;
}


void
ngx_rtbus_channel_drop_caught(ngx_rtbus_sub_t *sub)
{
    ngx_rtbus_caught_t   *caught;
    ngx_rtbus_catcher_t  *catcher;

    if (!sub->catching) {
        return;
    }

    sub->catching = 0;
    sub->ch->catchers--;

    catcher = (ngx_rtbus_catcher_t *) sub;

    while (catcher->first) {
        caught = catcher->first;
        catcher->first = caught->next;

        *catcher->room += sizeof(ngx_rtbus_caught_t) + caught->frame->len;

        ngx_rtbus_frame_unref(caught->frame);
        ngx_free(caught);
    }
}


void
ngx_rtbus_channel_drop_all_caught(ngx_rtbus_channel_t *ch)
{
    ngx_queue_t      *q;
    ngx_rtbus_sub_t  *sub;

    for (q = ngx_queue_head(&ch->waiting);
         ch->catchers && q != ngx_queue_sentinel(&ch->waiting);
         q = ngx_queue_next(q))
    {
        sub = ngx_queue_data(q, ngx_rtbus_sub_t, queue);

        ngx_rtbus_channel_drop_caught(sub);
    }
}


/*
 * If a message cannot be kept, a durable event is still in the stream; only
 * live events are lost, whose delivery is not promised.
 */

void
ngx_rtbus_channel_keep(ngx_rtbus_channel_t *ch, ngx_rtbus_source_t *source,
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

    ngx_log_debug4(NGX_LOG_DEBUG_CORE, hub->log, 0,
                   "rtbus: message of \"%V\" is kept, len:%uz first:%ui "
                   "forwarded:%d", &ch->name, len, first, source != NULL);

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
ngx_rtbus_channel_drop_kept(ngx_rtbus_channel_t *ch)
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
 * A turn of the loop with too many deliveries does not matter, unless most
 * turns have too many.
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
                  "rtbus: for %M ms this worker has had more to deliver than "
                  "it can, events wait in Redis; more workers or larger events "
                  "in place of many small ones would help",
                  hub->full_last - hub->full_since);
}


rtbus_reason_e
ngx_rtbus_hub_parse(ngx_rtbus_hub_t *hub, rtbus_event_t *event, u_char *data,
    size_t len)
{
    rtbus_reason_e  reason;

    if (len > hub->max_event) {
        return RTBUS_REASON_LONG;
    }

    if (rtbus_event_parse(hub->json, event, data, len, &reason) != RTBUS_OK) {
        return reason;
    }

    return RTBUS_REASON_NONE;
}


void
ngx_rtbus_hub_invalid(ngx_rtbus_hub_t *hub, ngx_str_t *channel,
    rtbus_reason_e reason)
{
    ngx_rtbus_stat_add(hub->stat, invalid[rtbus_reason_kind(reason)], 1);

    ngx_rtbus_hub_complain(hub, channel, rtbus_reason_text(reason));
}


static void
ngx_rtbus_hub_complain(ngx_rtbus_hub_t *hub, ngx_str_t *channel,
    const char *text)
{
    /* a producer that has gone wrong must not fill the log */

    if (hub->complained == ngx_time()) {
        hub->invalid++;
        return;
    }

    ngx_log_error(NGX_LOG_WARN, hub->log, 0,
                  "rtbus: invalid event on channel \"%V\" dropped: %s, "
                  "%ui more since the last such line",
                  channel, text, hub->invalid);

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

    /* the end of a capture is the module's own: without it no replay would end */

    if (channel && event->capture.data) {
        return NGX_OK;
    }

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

    ngx_rtbus_stat_add(hub->stat, invalid[RTBUS_REASON_KIND_SCHEMA], 1);

    ngx_rtbus_hub_complain(hub, channel, (char *) reason);

    return NGX_DECLINED;
}


void
ngx_rtbus_hub_retry(ngx_rtbus_hub_t *hub)
{
    if (!hub->retry.timer_set) {
        ngx_add_timer(&hub->retry, NGX_RTBUS_HUB_RETRY);
    }
}


ngx_uint_t
ngx_rtbus_hub_settled(ngx_rtbus_hub_t *hub, ngx_msec_t time)
{
    return ngx_rtbus_redis_shards_up(&hub->shards)
           && ngx_current_msec - hub->connected > time;
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
