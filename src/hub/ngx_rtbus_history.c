
#include "ngx_rtbus_history.h"
#include "ngx_rtbus_channel.h"
#include "ngx_rtbus_fields.h"
#include "ngx_rtbus_position.h"


#define NGX_RTBUS_HISTORY_BATCH    131072  /* bytes, about */
#define NGX_RTBUS_HISTORY_BYTES    25165824  /* ... at worst */
#define NGX_RTBUS_HISTORY_FIRST    8       /* events, of unknown size */
#define NGX_RTBUS_HISTORY_MAX      512     /* events */

/* for subscribers, at a time: reads, and bytes that they bring, about */

#define NGX_RTBUS_HISTORY_READS    16
#define NGX_RTBUS_HISTORY_BUDGET   16777216


/* a read of the stream that is under way; malloc'ed */

struct ngx_rtbus_read_s {
    ngx_queue_t                   queue;   /* ch->reads */
    ngx_queue_t                   subs;    /* who asked; none: the channel */
    ngx_rtbus_channel_t          *ch;
    ngx_rtbus_redis_call_t       *call;    /* for entries, or NULL */
    ngx_rtbus_position_t          position;  /* asked for by the channel */
    rtbus_pos_t                   pos;     /* after this one */
    rtbus_pos_t                   target;  /* of the channel when it was sent:
                                              so far the stream has to go */
    ngx_uint_t                    count;   /* events asked for */
    ngx_queue_t                   turn;    /* hub->reads, while it waits */
    size_t                        bytes;   /* that it is counted with */
    unsigned                      own:1;   /* the channel's */
    unsigned                      waiting:1;
    unsigned                      counted:1;
};


static ngx_rtbus_read_t *ngx_rtbus_history_create(ngx_rtbus_channel_t *ch,
    rtbus_pos_t pos);
static void ngx_rtbus_history_free(ngx_rtbus_read_t *read);
static ngx_uint_t ngx_rtbus_history_admit(ngx_rtbus_read_t *read, size_t bytes);
static void ngx_rtbus_history_release(ngx_rtbus_read_t *read);
static void ngx_rtbus_history_next(ngx_event_t *ev);
static ngx_int_t ngx_rtbus_history_range(ngx_rtbus_read_t *read);
static ngx_int_t ngx_rtbus_history_position(ngx_rtbus_read_t *read);
static void ngx_rtbus_history_position_handler(void *data, rtbus_pos_t *last,
    uint64_t timestamp, redisReply *reply);
static void ngx_rtbus_history_range_handler(void *data, redisReply *reply);
static void ngx_rtbus_history_last(ngx_rtbus_read_t *read, rtbus_pos_t last,
    uint64_t timestamp);
static ngx_int_t ngx_rtbus_history_entry(ngx_rtbus_read_t *read,
    redisReply *entry);
static void ngx_rtbus_history_compare(ngx_rtbus_read_t *read,
    redisReply *fields);
static void ngx_rtbus_history_other(ngx_rtbus_read_t *read);
static uint64_t ngx_rtbus_history_lost(rtbus_pos_t from, rtbus_pos_t to);
static void ngx_rtbus_history_gap(ngx_rtbus_read_t *read, uint64_t lost,
    rtbus_pos_t pos);
static void ngx_rtbus_history_event(ngx_rtbus_read_t *read, rtbus_pos_t pos,
    redisReply *fields);
static void ngx_rtbus_history_done(ngx_rtbus_read_t *read);
static void ngx_rtbus_history_failed(ngx_rtbus_read_t *read,
    redisReply *reply);


void
ngx_rtbus_history_init(ngx_rtbus_hub_t *hub, ngx_rtbus_hub_channel_pt known,
    ngx_rtbus_hub_start_pt start)
{
    hub->known_handler = known;
    hub->start_handler = start;

    ngx_queue_init(&hub->reads);

    hub->read_next.handler = ngx_rtbus_history_next;
    hub->read_next.data = hub;
    hub->read_next.log = hub->log;
}


void
ngx_rtbus_history_close(ngx_rtbus_hub_t *hub)
{
    if (hub->read_next.posted) {
        ngx_delete_posted_event(&hub->read_next);
    }
}


void
ngx_rtbus_history_channel(ngx_rtbus_channel_t *ch)
{
    ngx_int_t          rc;
    ngx_rtbus_read_t  *read;

    ch->fills++;

    ngx_log_debug4(NGX_LOG_DEBUG_CORE, ch->hub->log, 0,
                   "rtbus: history of \"%V\" is read, placed:%d fills:%ui "
                   "again:%d", &ch->name, ch->placed, ch->fills,
                   ch->read != NULL);

    if (ch->read) {
        /* what it brings may be from before the connection was lost */
        ngx_rtbus_history_stop(ch);
    }

    read = ngx_rtbus_history_create(ch, ch->pos);

    if (read == NULL) {
        ngx_rtbus_channel_set_state(ch, NGX_RTBUS_CHANNEL_UNREAD);
        ngx_rtbus_hub_retry(ch->hub);
        return;
    }

    ngx_rtbus_channel_set_state(ch, NGX_RTBUS_CHANNEL_READING);

    read->own = 1;
    ch->read = read;

    rc = ch->placed ? ngx_rtbus_history_range(read)
                    : ngx_rtbus_history_position(read);

    if (rc != NGX_OK) {
        ngx_rtbus_history_failed(read, NULL);
    }
}


void
ngx_rtbus_history_stop(ngx_rtbus_channel_t *ch)
{
    ngx_rtbus_read_t  *read;

    read = ch->read;

    if (read == NULL) {
        return;
    }

    if (read->call) {
        ngx_rtbus_redis_cmd_cancel(read->call);
    }

    ngx_rtbus_position_cancel(&read->position);
    ngx_rtbus_history_free(read);
}


void
ngx_rtbus_history_replay(ngx_rtbus_sub_t *sub)
{
    ngx_queue_t          *q;
    ngx_rtbus_read_t     *read;
    ngx_rtbus_channel_t  *ch;

    ch = sub->ch;

    if (!sub->handlers->room(sub, sub->needs)) {
        ngx_log_debug2(NGX_LOG_DEBUG_CORE, ch->hub->log, 0,
                       "rtbus: replay of \"%V\" waits for room, size:%uz",
                       &ch->name, sub->needs);

        sub->paused = 1;
        return;
    }

    sub->needs = 0;

    if (rtbus_pos_cmp(sub->pos, ch->pos) == 0) {
        ngx_rtbus_channel_live(sub);
        return;
    }

    for (q = ngx_queue_head(&ch->reads);
         q != ngx_queue_sentinel(&ch->reads);
         q = ngx_queue_next(q))
    {
        read = ngx_queue_data(q, ngx_rtbus_read_t, queue);

        if (rtbus_pos_cmp(read->pos, sub->pos) == 0) {
            goto found;
        }
    }

    read = ngx_rtbus_history_create(ch, sub->pos);

    if (read == NULL) {
        goto failed;
    }

    ngx_queue_insert_tail(&ch->reads, &read->queue);

    if (ngx_rtbus_history_range(read) != NGX_OK) {
        ngx_rtbus_history_free(read);
        goto failed;
    }

found:

    ngx_log_debug5(NGX_LOG_DEBUG_CORE, ch->hub->log, 0,
                   "rtbus: replay of \"%V\" after:%uL-%uL to:%uL-%uL",
                   &ch->name, sub->pos.epoch, sub->pos.seq,
                   ch->pos.epoch, ch->pos.seq);

    sub->read = read;
    ngx_queue_insert_tail(&read->subs, &sub->readers);

    return;

failed:

    ngx_rtbus_hub_retry(ch->hub);
}


void
ngx_rtbus_history_leave(ngx_rtbus_sub_t *sub)
{
    ngx_rtbus_read_t  *read;

    read = sub->read;

    if (read == NULL) {
        return;
    }

    ngx_queue_remove(&sub->readers);
    sub->read = NULL;

    if (!ngx_queue_empty(&read->subs)) {
        return;
    }

    if (read->call) {
        ngx_rtbus_redis_cmd_cancel(read->call);
        ngx_rtbus_history_free(read);

    } else if (read->waiting) {
        ngx_rtbus_history_free(read);
    }
}


static ngx_rtbus_read_t *
ngx_rtbus_history_create(ngx_rtbus_channel_t *ch, rtbus_pos_t pos)
{
    ngx_rtbus_read_t  *read;

    read = ngx_alloc(sizeof(ngx_rtbus_read_t), ch->hub->log);
    if (read == NULL) {
        return NULL;
    }

    ngx_memzero(read, sizeof(ngx_rtbus_read_t));

    ngx_queue_init(&read->subs);

    read->ch = ch;
    read->pos = pos;

    return read;
}


static void
ngx_rtbus_history_free(ngx_rtbus_read_t *read)
{
    if (read->own) {
        read->ch->read = NULL;

    } else {
        ngx_queue_remove(&read->queue);
        ngx_rtbus_history_release(read);
    }

    ngx_free(read);
}


/* may a read that brings so many bytes begin; else it waits */

static ngx_uint_t
ngx_rtbus_history_admit(ngx_rtbus_read_t *read, size_t bytes)
{
    ngx_rtbus_hub_t  *hub;

    hub = read->ch->hub;

    if (hub->reading == 0
        || (hub->reading < NGX_RTBUS_HISTORY_READS
            && hub->read_bytes + bytes <= NGX_RTBUS_HISTORY_BUDGET))
    {
        read->bytes = bytes;
        read->counted = 1;

        hub->reading++;
        hub->read_bytes += bytes;

        return 1;
    }

    ngx_log_debug3(NGX_LOG_DEBUG_CORE, hub->log, 0,
                   "rtbus: history of \"%V\" waits, reading:%ui bytes:%uz",
                   &read->ch->name, hub->reading, hub->read_bytes);

    read->waiting = 1;
    ngx_queue_insert_tail(&hub->reads, &read->turn);

    return 0;
}


static void
ngx_rtbus_history_release(ngx_rtbus_read_t *read)
{
    ngx_rtbus_hub_t  *hub;

    hub = read->ch->hub;

    if (read->waiting) {
        ngx_queue_remove(&read->turn);
        read->waiting = 0;
    }

    if (!read->counted) {
        return;
    }

    read->counted = 0;

    hub->reading--;
    hub->read_bytes -= read->bytes;

    if (!ngx_queue_empty(&hub->reads)) {
        ngx_post_event(&hub->read_next, &ngx_posted_events);
    }
}


static void
ngx_rtbus_history_next(ngx_event_t *ev)
{
    ngx_rtbus_hub_t *hub = ev->data;

    ngx_queue_t       *q;
    ngx_rtbus_read_t  *read;

    ngx_log_debug2(NGX_LOG_DEBUG_CORE, hub->log, 0,
                   "rtbus: history next, reading:%ui bytes:%uz",
                   hub->reading, hub->read_bytes);

    while (!ngx_queue_empty(&hub->reads)) {
        q = ngx_queue_head(&hub->reads);
        read = ngx_queue_data(q, ngx_rtbus_read_t, turn);

        ngx_queue_remove(q);
        read->waiting = 0;

        if (ngx_rtbus_history_range(read) != NGX_OK) {
            ngx_rtbus_history_failed(read, NULL);
            return;
        }

        if (read->waiting) {

            /* it stays the first one */

            ngx_queue_remove(&read->turn);
            ngx_queue_insert_head(&hub->reads, &read->turn);
            return;
        }
    }
}


/*
 * The range includes the entry at the position itself: if that is the first one
 * of the reply, nothing is missing after it.
 */

static ngx_int_t
ngx_rtbus_history_range(ngx_rtbus_read_t *read)
{
    size_t                n, max, len[6];
    u_char                key[NGX_RTBUS_HUB_MAX_KEY];
    u_char                from[RTBUS_POSITION_MAX], count[NGX_INT_T_LEN];
    const char           *argv[6];
    ngx_rtbus_hub_t      *hub;
    ngx_rtbus_channel_t  *ch;

    ch = read->ch;
    hub = ch->hub;

    /* what is to come may be as long as any event, whatever has come so far */

    n = NGX_RTBUS_HISTORY_BYTES / hub->max_event;

    if (ch->average) {
        n = ngx_min(n, NGX_RTBUS_HISTORY_BATCH / ch->average);
    }

    max = ch->count ? ch->count * 2 : (size_t) NGX_RTBUS_HISTORY_FIRST;
    max = ngx_min(max, NGX_RTBUS_HISTORY_MAX);
    n = ngx_min(n, max);

    read->count = ngx_max(n, 1);

    if (!read->own
        && !ngx_rtbus_history_admit(read, read->count
                                    * (ch->average ? 2 * ch->average
                                                   : NGX_RTBUS_HISTORY_BATCH)))
    {
        return NGX_OK;
    }

    ch->count = read->count;

    read->target = ch->pos;

    argv[0] = "XRANGE";
    len[0] = 6;
    argv[1] = (char *) key;
    len[1] = ngx_rtbus_hub_key(hub, key, &ch->name, ":events");
    argv[2] = (char *) from;
    len[2] = rtbus_pos_write(from, read->pos);
    argv[3] = "+";
    len[3] = 1;
    argv[4] = "COUNT";
    len[4] = 5;
    argv[5] = (char *) count;
    len[5] = ngx_sprintf(count, "%ui", read->count + 1) - count;

    read->call = ngx_rtbus_redis_call(&hub->shards, 6, argv, len,
                                      ngx_rtbus_history_range_handler, read);

    return read->call ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
ngx_rtbus_history_position(ngx_rtbus_read_t *read)
{
    read->position.ch = read->ch;
    read->position.handler = ngx_rtbus_history_position_handler;
    read->position.data = read;

    return ngx_rtbus_position_ask(&read->position);
}


static void
ngx_rtbus_history_range_handler(void *data, redisReply *reply)
{
    ngx_rtbus_read_t  *read = data;

    size_t  i, n;

    read->call = NULL;

    if (reply == NULL
        || (reply->type != REDIS_REPLY_ARRAY
            && !ngx_rtbus_position_wrong(reply)))
    {
        ngx_rtbus_history_failed(read, reply);
        return;
    }

    /* a key that is not a stream counts as missing */

    n = (reply->type == REDIS_REPLY_ARRAY) ? reply->elements : 0;

    ngx_log_debug3(NGX_LOG_DEBUG_CORE, read->ch->hub->log, 0,
                   "rtbus: history of \"%V\": entries:%uz of:%ui",
                   &read->ch->name, n, read->count + 1);

    if (n == 0 && read->own && read->pos.epoch) {

        /* trimmed to nothing, created again, or gone: where does it end? */

        if (ngx_rtbus_history_position(read) != NGX_OK) {
            ngx_rtbus_history_failed(read, NULL);
        }

        return;
    }

    for (i = 0; i < n; i++) {
        if (ngx_rtbus_history_entry(read, reply->element[i]) != NGX_OK
            || (!read->own && ngx_queue_empty(&read->subs)))
        {
            break;
        }
    }

    if (i < n) {
        /* the subscribers have come to where the channel is, or must wait */
        ngx_rtbus_history_done(read);
        return;
    }

    if (n <= read->count
        && rtbus_pos_cmp(read->pos, read->target) < 0)
    {
        /* the stream ends before the place where the channel was already */

        ngx_rtbus_history_gap(read,
                              ngx_rtbus_history_lost(read->pos, read->target),
                              read->target);
    }

    if (read->own && n > read->count) {

        /* there may be more */

        if (ngx_rtbus_history_range(read) != NGX_OK) {
            ngx_rtbus_history_failed(read, NULL);
        }

        return;
    }

    ngx_rtbus_history_done(read);
}


static void
ngx_rtbus_history_position_handler(void *data, rtbus_pos_t *last,
    uint64_t timestamp, redisReply *reply)
{
    ngx_rtbus_read_t  *read = data;

    if (last == NULL) {
        ngx_rtbus_history_failed(read, reply);
        return;
    }

    ngx_rtbus_history_last(read, *last, timestamp);
}


/* the stream ends there; the timestamp of that entry, or 0 */

static void
ngx_rtbus_history_last(ngx_rtbus_read_t *read, rtbus_pos_t last,
    uint64_t timestamp)
{
    rtbus_pos_t           pos;
    ngx_rtbus_channel_t  *ch;

    ch = read->ch;

    if (!ch->placed) {
        ch->pos = last;
        ch->timestamp = timestamp;
        ch->placed = 1;

    } else if (last.epoch < read->pos.epoch && last.epoch) {

        /* another life of the channel, if with a smaller epoch: it is read */

        pos.epoch = last.epoch;
        pos.seq = 0;

        ngx_rtbus_history_gap(read, NGX_RTBUS_LOST_UNKNOWN, pos);

        if (ngx_rtbus_history_range(read) != NGX_OK) {
            ngx_rtbus_history_failed(read, NULL);
        }

        return;

    } else if (rtbus_pos_cmp(last, read->pos) != 0) {

        ngx_rtbus_history_gap(read, ngx_rtbus_history_lost(read->pos, last),
                              last);
        ch->timestamp = timestamp;
    }

    ngx_rtbus_history_done(read);
}


/* NGX_DONE: it lies beyond the channel's position, subscribers get it live */

static ngx_int_t
ngx_rtbus_history_entry(ngx_rtbus_read_t *read, redisReply *entry)
{
    rtbus_pos_t           pos, before;
    ngx_rtbus_channel_t  *ch;

    ch = read->ch;

    if (entry->type != REDIS_REPLY_ARRAY || entry->elements != 2
        || entry->element[0]->type != REDIS_REPLY_STRING
        || rtbus_pos_parse(&pos, (u_char *) entry->element[0]->str,
                           entry->element[0]->len)
           != RTBUS_OK)
    {
        ngx_rtbus_hub_invalid(ch->hub, &ch->name, RTBUS_REASON_ENTRY);
        return NGX_OK;
    }

    if (rtbus_pos_cmp(pos, read->pos) <= 0) {

        if (read->own && rtbus_pos_cmp(pos, read->pos) == 0) {
            ngx_rtbus_history_compare(read, entry->element[1]);
        }

        return NGX_OK;
    }

    /* a client may be gone between what is told of the gap and the event */

    before = pos;

    if (before.seq-- == 0) {
        before.epoch--;
    }

    if (!read->own && rtbus_pos_cmp(pos, ch->pos) > 0) {

        if (rtbus_pos_cmp(read->pos, ch->pos) == 0) {
            return NGX_DONE;
        }

        /* what the channel has had is not in the stream any more */

        before = ch->pos;
    }

    if (!rtbus_pos_next(read->pos, pos)) {

        ngx_rtbus_history_gap(read, ngx_rtbus_history_lost(read->pos, before),
                              before);

        if (!read->own && rtbus_pos_cmp(pos, ch->pos) > 0) {
            return NGX_DONE;
        }
    }

    read->pos = pos;

    ngx_rtbus_history_event(read, pos, entry->element[1]);

    return NGX_OK;
}


/*
 * The entry where the channel stands has to be the event that it has had last.
 * It is another one when Redis has lost some events, in a failover or a crash,
 * and has given their numbers to others since.
 */

static void
ngx_rtbus_history_compare(ngx_rtbus_read_t *read, redisReply *fields)
{
    size_t                i;
    ngx_int_t             n;
    redisReply           *f, *v;
    ngx_rtbus_channel_t  *ch;

    ch = read->ch;

    if (fields->type != REDIS_REPLY_ARRAY) {
        return;
    }

    for (i = 0; i + 1 < fields->elements; i += 2) {
        f = fields->element[i];
        v = fields->element[i + 1];

        if (f->type == REDIS_REPLY_STRING && v->type == REDIS_REPLY_STRING
            && f->len == 9 && ngx_strncmp(f->str, "timestamp", 9) == 0)
        {
            n = ngx_atosz((u_char *) v->str, v->len);

            if (n <= 0) {
                return;
            }

            if (ch->timestamp && ch->timestamp != (uint64_t) n) {
                ngx_rtbus_history_other(read);
            }

            ch->timestamp = n;

            return;
        }
    }
}


/* waiting subscribers may have the lost event at the end of their cursor */

static void
ngx_rtbus_history_other(ngx_rtbus_read_t *read)
{
    ngx_queue_t          *q;
    ngx_rtbus_sub_t      *sub;
    ngx_rtbus_channel_t  *ch;

    ch = read->ch;

    for (q = ngx_queue_head(&ch->waiting);
         q != ngx_queue_sentinel(&ch->waiting);
         q = ngx_queue_next(q))
    {
        sub = ngx_queue_data(q, ngx_rtbus_sub_t, queue);

        if (sub->placed && !sub->epochless
            && rtbus_pos_cmp(sub->pos, read->pos) == 0)
        {
            sub->stale = 1;
        }
    }

    ngx_rtbus_history_gap(read, NGX_RTBUS_LOST_UNKNOWN, read->pos);
}


/* events after the first position, up to the other one: a number, if known */

static uint64_t
ngx_rtbus_history_lost(rtbus_pos_t from, rtbus_pos_t to)
{
    if (to.seq < from.seq || to.seq == UINT64_MAX
        || (from.epoch != to.epoch && (from.epoch || from.seq)))
    {
        return NGX_RTBUS_LOST_UNKNOWN;
    }

    return to.seq - from.seq;
}


static void
ngx_rtbus_history_gap(ngx_rtbus_read_t *read, uint64_t lost, rtbus_pos_t pos)
{
    ngx_uint_t            level;
    ngx_queue_t          *q, *queue;
    ngx_rtbus_sub_t      *sub;
    ngx_rtbus_channel_t  *ch;

    ch = read->ch;
    read->pos = pos;

    level = read->own ? NGX_LOG_NOTICE : NGX_LOG_INFO;

    ngx_log_error(level, ch->hub->log, 0,
                  "rtbus: gap in channel \"%V\", lost:%L, on from %uL-%uL",
                  &ch->name, (int64_t) lost, pos.epoch, pos.seq);

    if (read->own) {
        ch->pos = pos;
        ch->timestamp = 0;
        queue = &ch->subs;

        ngx_rtbus_channel_drop_all_caught(ch);

    } else {
        queue = &read->subs;
    }

    for (q = ngx_queue_head(queue);
         q != ngx_queue_sentinel(queue);
         q = ngx_queue_next(q))
    {
        if (read->own) {
            sub = ngx_queue_data(q, ngx_rtbus_sub_t, queue);

        } else {
            sub = ngx_queue_data(q, ngx_rtbus_sub_t, readers);
            sub->pos = pos;
        }

        sub->gapped = 1;
        ngx_rtbus_stat_add(ch->hub->stat, gaps, 1);
        sub->handlers->gap(sub, lost, pos);
    }
}


static void
ngx_rtbus_history_event(ngx_rtbus_read_t *read, rtbus_pos_t pos,
    redisReply *fields)
{
    size_t                size;
    rtbus_reason_e        reason;
    ngx_queue_t          *q, *next;
    rtbus_event_t         event;
    ngx_rtbus_msg_t       msg;
    ngx_rtbus_sub_t      *sub;
    ngx_rtbus_frame_t    *frame;
    ngx_rtbus_channel_t  *ch;
    u_char               *text;
    ngx_uint_t            lost;
    u_char                name[NGX_RTBUS_FIELDS_NAME];

    ch = read->ch;
    text = NULL;

    lost = 0;
    reason = ngx_rtbus_fields_parse(ch->hub, &event, fields, name, &text, pos,
                                    &lost);

    if (reason) {
        ngx_rtbus_hub_invalid(ch->hub, &ch->name, reason);
    }

    if (lost) {
        ngx_rtbus_history_gap(read, 1, pos);
        goto done;
    }

    if (reason
        || (ch->hub->schema
            && ngx_rtbus_hub_check(ch->hub, &ch->name, &event) != NGX_OK))
    {
        /* it still counts as the next one */

        if (read->own) {
            ch->pos = pos;
            ch->timestamp = 0;
        }

        for (q = ngx_queue_head(&read->subs);
             q != ngx_queue_sentinel(&read->subs);
             q = ngx_queue_next(q))
        {
            sub = ngx_queue_data(q, ngx_rtbus_sub_t, readers);
            sub->pos = pos;
        }

        goto done;
    }

    size = event.data.len + event.args.len + event.attachments.len + 256;

    ch->average = (size > ch->average) ? size : (ch->average * 7 + size) / 8;

    event.pos = pos;

    msg.event = &event;
    msg.channel = ch->name;
    msg.pos = pos;
    msg.frames = NULL;

    if (read->own) {
        ngx_rtbus_channel_slow_down(ch, size);
        ngx_rtbus_channel_deliver(ch, &msg);

    } else {

        for (q = ngx_queue_head(&read->subs);
             q != ngx_queue_sentinel(&read->subs);
             q = next)
        {
            next = ngx_queue_next(q);
            sub = ngx_queue_data(q, ngx_rtbus_sub_t, readers);

            if (!sub->handlers->room(sub, size)) {
                /* events are larger than they were: it reads them later */
                ngx_queue_remove(q);
                sub->read = NULL;
                sub->paused = 1;
                sub->needs = size;
                continue;
            }

            sub->pos = pos;

            if (sub->replayed++ == 0) {
                ngx_rtbus_stat_add(ch->hub->stat, replays, 1);
            }

            ngx_rtbus_stat_add(ch->hub->stat, replayed, 1);

            frame = ngx_rtbus_msg_frame(&msg, sub->format);

            sub->handlers->deliver(sub, frame);
            ngx_rtbus_hub_spend(ch->hub, 1);
        }
    }

    ngx_rtbus_msg_done(&msg);

done:

    if (text) {
        ngx_free(text);
    }
}


static void
ngx_rtbus_history_done(ngx_rtbus_read_t *read)
{
    ngx_queue_t           subs;
    ngx_rtbus_sub_t      *sub;
    ngx_rtbus_channel_t  *ch;

    ch = read->ch;

    if (read->own) {
        ngx_rtbus_history_free(read);

        ngx_rtbus_channel_set_state(ch, NGX_RTBUS_CHANNEL_KNOWN);
        ch->hub->known_handler(ch);

        return;
    }

    /* from here on each one is on its own: some have room, others do not */

    ngx_queue_init(&subs);

    if (!ngx_queue_empty(&read->subs)) {
        ngx_queue_add(&subs, &read->subs);
    }

    ngx_rtbus_history_free(read);

    while (!ngx_queue_empty(&subs)) {
        sub = ngx_queue_data(ngx_queue_head(&subs), ngx_rtbus_sub_t, readers);

        ngx_queue_remove(&sub->readers);
        sub->read = NULL;

        ch->hub->start_handler(sub);
    }
}


/* the reply is NULL if Redis is away: the next connection starts over */

static void
ngx_rtbus_history_failed(ngx_rtbus_read_t *read, redisReply *reply)
{
    ngx_uint_t            own;
    ngx_queue_t          *q;
    ngx_rtbus_sub_t      *sub;
    ngx_rtbus_hub_t      *hub;
    ngx_rtbus_channel_t  *ch;

    ch = read->ch;
    hub = ch->hub;

    /* it may have been too much for the link */
    ch->count = 0;
    ch->average = NGX_RTBUS_HISTORY_BATCH;

    if (reply && hub->failed != ngx_time()) {
        hub->failed = ngx_time();

        ngx_log_error(NGX_LOG_ERR, hub->log, 0,
                      "rtbus: cannot read the history of channel \"%V\": %s",
                      &ch->name,
                      reply->type == REDIS_REPLY_ERROR ? reply->str
                                                       : "unexpected reply");
    }

    while (!ngx_queue_empty(&read->subs)) {
        q = ngx_queue_head(&read->subs);
        sub = ngx_queue_data(q, ngx_rtbus_sub_t, readers);

        ngx_queue_remove(q);
        sub->read = NULL;
    }

    own = read->own;

    ngx_log_debug2(NGX_LOG_DEBUG_CORE, hub->log, 0,
                   "rtbus: history of \"%V\" cannot be read, own:%ui",
                   &ch->name, own);

    ngx_rtbus_history_free(read);

    if (own) {
        ngx_rtbus_channel_set_state(ch, NGX_RTBUS_CHANNEL_UNREAD);
        ngx_rtbus_channel_away(ch);
    }

    ngx_rtbus_hub_retry(hub);
}
