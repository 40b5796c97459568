
#include "ngx_http_rtbus_subs.h"


static ngx_uint_t ngx_http_rtbus_subs_behind(ngx_http_rtbus_sub_t *s,
    ngx_http_rtbus_channel_t *channel);
static void ngx_http_rtbus_subs_deliver(ngx_rtbus_sub_t *sub,
    ngx_rtbus_frame_t *frame);
static void ngx_http_rtbus_subs_gap(ngx_rtbus_sub_t *sub, uint64_t lost,
    rtbus_pos_t pos);
static ngx_uint_t ngx_http_rtbus_subs_room(ngx_rtbus_sub_t *sub, size_t size);
static ngx_uint_t ngx_http_rtbus_subs_fits(ngx_rtbus_sub_t *sub, size_t size,
    size_t limit);
static void ngx_http_rtbus_subs_ready(ngx_rtbus_sub_t *sub);
static void ngx_http_rtbus_subs_joined(ngx_rtbus_sub_t *sub);
static void ngx_http_rtbus_subs_failed(ngx_rtbus_sub_t *sub);
static ngx_str_t *ngx_http_rtbus_subs_user(ngx_rtbus_sub_t *sub);
static void ngx_http_rtbus_subs_refused(ngx_rtbus_sub_t *sub);
static ngx_rtbus_sub_t *ngx_http_rtbus_subs_other(ngx_rtbus_sub_t *sub,
    ngx_rtbus_channel_t *ch);


static const ngx_rtbus_sub_handlers_t  ngx_http_rtbus_subs_handlers = {
    ngx_http_rtbus_subs_deliver,
    ngx_http_rtbus_subs_gap,
    ngx_http_rtbus_subs_room,
    ngx_http_rtbus_subs_ready,
    ngx_http_rtbus_subs_joined,
    ngx_http_rtbus_subs_failed,
    ngx_http_rtbus_subs_user,
    ngx_http_rtbus_subs_refused,
    ngx_http_rtbus_subs_other
};


ngx_http_rtbus_sub_t *
ngx_http_rtbus_subs_create(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_channel_t *channel)
{
    ngx_http_rtbus_sub_t  *s;

    s = ngx_alloc(sizeof(ngx_http_rtbus_sub_t), cli->carrier->log);
    if (s == NULL) {
        return NULL;
    }

    ngx_memzero(s, sizeof(ngx_http_rtbus_sub_t));

    s->cli = cli;

    s->sub.handlers = &ngx_http_rtbus_subs_handlers;
    s->sub.format = cli->format;
    s->sub.data = s;
    s->sub.pos = channel->pos;
    s->sub.placed = channel->placed;
    s->sub.epochless = channel->epochless;
    s->sub.owned = channel->owned;

    s->from = channel->pos;
    s->room = ngx_http_rtbus_cursor_len(&channel->name);

    return s;
}


ngx_int_t
ngx_http_rtbus_subs_join(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_channel_t *channel, ngx_http_rtbus_joined_pt handler,
    uint64_t ack)
{
    ngx_int_t              rc;
    ngx_uint_t             again;
    ngx_http_rtbus_sub_t  *s;

    ngx_log_debug4(NGX_LOG_DEBUG_HTTP, cli->carrier->log, 0,
                   "rtbus: join \"%V\" placed:%d owned:%d channels:%ui",
                   &channel->name, channel->placed, channel->owned,
                   cli->nsubs);

    again = 0;
    s = ngx_http_rtbus_client_find(cli, &channel->name);

    if (s) {
        if (s->handler) {
            return NGX_BUSY;
        }

        again = ngx_http_rtbus_subs_behind(s, channel);
    }

    if (s && !again) {
        if (s->sub.joined) {
            return NGX_OK;
        }

        s->handler = handler;
        s->ack = ack;

        return NGX_AGAIN;
    }

    if (s) {
        ngx_http_rtbus_subs_free(s);
    }

    if (!again && ngx_http_rtbus_client_full(cli, &channel->name)) {
        return NGX_BUSY;
    }

    s = ngx_http_rtbus_subs_create(cli, channel);
    if (s == NULL) {
        return NGX_ERROR;
    }

    s->sub.patient = again;
    s->ready = 1;

    /* the client's cursor has the channel from now on */

    ngx_http_rtbus_subs_add(s);

    rc = ngx_rtbus_hub_join(cli->hub, &s->sub, &channel->name);

    if (rc == NGX_AGAIN) {
        s->handler = handler;
        s->ack = ack;

    } else if (rc == NGX_OK) {
        cli->stale_cursor = 1;

    } else {
        ngx_http_rtbus_subs_free(s);
    }

    return rc;
}


/* is the position before all that the client has got of the channel */

static ngx_uint_t
ngx_http_rtbus_subs_behind(ngx_http_rtbus_sub_t *s,
    ngx_http_rtbus_channel_t *channel)
{
    if (!channel->placed) {
        return 0;
    }

    if (channel->exact || (!s->sub.placed && !s->sub.joined)) {
        return 1;
    }

    return rtbus_pos_cmp(channel->pos, s->from) < 0;
}


ngx_int_t
ngx_http_rtbus_subs_leave(ngx_http_rtbus_client_t *cli, ngx_str_t *channel)
{
    rtbus_pos_t                pos;
    ngx_http_rtbus_sub_t      *s;
    ngx_http_rtbus_joined_pt   handler;

    s = ngx_http_rtbus_client_find(cli, channel);

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, cli->carrier->log, 0,
                   "rtbus: leave \"%V\" found:%d", channel, s != NULL);

    if (s == NULL) {
        return NGX_DECLINED;
    }

    handler = s->handler;
    s->handler = NULL;

    if (handler) {
        handler(s, NGX_ABORT);
    }

    if (ngx_rtbus_hub_position(&s->sub, &pos) == NGX_OK) {
        /* the client's cursor may have it */
        cli->stale_cursor = 1;
    }

    ngx_http_rtbus_subs_free(s);

    return NGX_OK;
}


void
ngx_http_rtbus_subs_add(ngx_http_rtbus_sub_t *s)
{
    ngx_queue_insert_tail(&s->cli->subs, &s->queue);

    s->cli->nsubs++;
    s->cli->names += s->room;
    s->cli->carrier->nchannels++;

    ngx_rtbus_stat_add(s->cli->hub->stat, subscriptions, 1);
}


void
ngx_http_rtbus_subs_free(ngx_http_rtbus_sub_t *s)
{
    ngx_rtbus_hub_leave(&s->sub);

    ngx_queue_remove(&s->queue);

    s->cli->nsubs--;
    s->cli->names -= s->room;
    s->cli->carrier->nchannels--;

    ngx_rtbus_stat_sub(s->cli->hub->stat, subscriptions, 1);

    ngx_free(s);
}


static void
ngx_http_rtbus_subs_deliver(ngx_rtbus_sub_t *sub, ngx_rtbus_frame_t *frame)
{
    ngx_http_rtbus_sub_t  *s = sub->data;

    size_t                     len;
    u_char                    *p;
    ngx_rtbus_frame_t         *own;
    ngx_http_rtbus_client_t   *cli;
    ngx_http_rtbus_carrier_t  *car;

    cli = s->cli;
    car = cli->carrier;
    own = NULL;

    if (ngx_http_rtbus_carrier_closing(car)) {
        return;
    }

    if (frame && frame->cursor && cli->nsubs > 1
        && !ngx_http_rtbus_client_is_partial(cli))
    {

        /* where it stands in its other channels is this client's alone */

        len = ngx_http_rtbus_client_cursor(cli, NULL, s);

        if (len) {
            frame = ngx_rtbus_frame_extend(frame, len, &p);
            own = frame;

            if (frame) {
                ngx_http_rtbus_client_cursor(cli, p, s);
            }
        }
    }

    if (frame == NULL) {
        /* a hole in the stream would be worse than its end */
        ngx_http_rtbus_carrier_nomem(car);
        return;
    }

    if (sub->joined) {
        ngx_http_rtbus_carrier_send(car, frame);

    } else {
        /* a replay does not ask for more than there is room for */
        ngx_http_rtbus_carrier_push(car, frame);

        if (!ngx_http_rtbus_carrier_closing(car)) {
            car->replayed += frame->len;
        }
    }

    if (!ngx_http_rtbus_carrier_closing(car)) {
        car->events++;
        ngx_rtbus_stat_add(cli->hub->stat, delivered[car->kind], 1);
    }

    if (own) {
        ngx_rtbus_frame_unref(own);
    }
}


static void
ngx_http_rtbus_subs_gap(ngx_rtbus_sub_t *sub, uint64_t lost, rtbus_pos_t pos)
{
    ngx_http_rtbus_sub_t  *s = sub->data;

    u_char     *p;
    ngx_str_t   data;
    u_char      buf[RTBUS_CHANNEL_MAX + RTBUS_POSITION_MAX + 128];

    ngx_log_debug4(NGX_LOG_DEBUG_HTTP, s->cli->carrier->log, 0,
                   "rtbus: gap in \"%V\" lost:%uL before:%uL-%uL",
                   &sub->ch->name, lost, pos.epoch, pos.seq);

    p = ngx_snprintf(buf, sizeof(buf), "{\"channel\":\"%V\",\"lost\":",
                     &sub->ch->name);

    if (lost == NGX_RTBUS_LOST_UNKNOWN) {
        p = ngx_cpymem(p, "null", 4);

    } else {
        p = ngx_sprintf(p, "%uL", lost);
    }

    p = ngx_cpymem(p, ",\"position\":\"", sizeof(",\"position\":\"") - 1);
    p += rtbus_pos_write(p, pos);
    *p++ = '"';
    *p++ = '}';

    data.data = buf;
    data.len = p - buf;

    ngx_http_rtbus_client_event(s->cli, "sync:gap", &data,
                                &sub->ch->name);
}


/*
 * A replay fills half of the buffer, the other one is for what is live; who has
 * joined already may have all of it.
 */

static ngx_uint_t
ngx_http_rtbus_subs_room(ngx_rtbus_sub_t *sub, size_t size)
{
    ngx_http_rtbus_sub_t  *s = sub->data;

    size_t                     limit;
    ngx_http_rtbus_client_t   *cli;
    ngx_http_rtbus_carrier_t  *car;

    cli = s->cli;
    car = cli->carrier;

    if (ngx_http_rtbus_carrier_closing(car)) {
        /* nothing is sent any more, so nothing is to be read for it */
        return 0;
    }

    limit = ngx_http_rtbus_carrier_limit(car);

    if (size) {
        /* the cursor is not in the size */
        size += cli->nsubs * (RTBUS_POSITION_MAX + 32);
    }

    if (!sub->joined) {
        limit /= 2;
    }

    if (!ngx_http_rtbus_subs_fits(sub, size, limit) && !car->broken
        && car->transport->flush(car) != NGX_OK)
    {
        ngx_http_rtbus_carrier_lost(car);
    }

    if (!ngx_http_rtbus_subs_fits(sub, size, limit)) {
        ngx_log_debug3(NGX_LOG_DEBUG_HTTP, car->log, 0,
                       "rtbus: replay of \"%V\" waits for room, unsent:%uz "
                       "limit:%uz", &sub->ch->name, car->unsent, limit);

        cli->paused = 1;
        car->wanted = 1;
        return 0;
    }

    return 1;
}


/* one that is too long is sent all the same if nothing else waits */

static ngx_uint_t
ngx_http_rtbus_subs_fits(ngx_rtbus_sub_t *sub, size_t size, size_t limit)
{
    size_t                     queued;
    ngx_http_rtbus_sub_t      *s;
    ngx_http_rtbus_carrier_t  *car;

    s = sub->data;
    car = s->cli->carrier;

    queued = sub->joined ? ngx_http_rtbus_carrier_live(car)
                         : ngx_http_rtbus_carrier_queued(car);

    return car->unsent == 0 || queued + size <= limit;
}


void
ngx_http_rtbus_subs_resume(ngx_http_rtbus_client_t *cli)
{
    ngx_queue_t               *q, *next;
    ngx_http_rtbus_sub_t      *s;
    ngx_http_rtbus_carrier_t  *car;

    car = cli->carrier;

    if (!cli->paused) {
        return;
    }

    /* not for a few bytes */

    if (ngx_http_rtbus_carrier_queued(car)
        > ngx_http_rtbus_carrier_limit(car) / 4)
    {
        car->wanted = 1;
        return;
    }

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, car->log, 0,
                   "rtbus: replays go on, unsent:%uz", car->unsent);

    cli->paused = 0;

    for (q = ngx_queue_head(&cli->subs);
         q != ngx_queue_sentinel(&cli->subs);
         q = next)
    {
        next = ngx_queue_next(q);
        s = ngx_queue_data(q, ngx_http_rtbus_sub_t, queue);

        if (!s->sub.joined) {
            ngx_rtbus_hub_resume(&s->sub);
        }
    }
}


static void
ngx_http_rtbus_subs_ready(ngx_rtbus_sub_t *sub)
{
    ngx_http_rtbus_sub_t  *s = sub->data;

    ngx_queue_t              *q;
    ngx_http_rtbus_client_t  *cli;

    cli = s->cli;
    s->ready = 1;

    for (q = ngx_queue_head(&cli->subs);
         q != ngx_queue_sentinel(&cli->subs);
         q = ngx_queue_next(q))
    {
        s = ngx_queue_data(q, ngx_http_rtbus_sub_t, queue);

        if (!s->ready) {
            return;
        }
    }

    if (cli->state == NGX_HTTP_RTBUS_CLIENT_STARTING) {
        cli->start_handler(cli);
    }
}


static void
ngx_http_rtbus_subs_joined(ngx_rtbus_sub_t *sub)
{
    ngx_http_rtbus_sub_t  *s = sub->data;

    ngx_http_rtbus_joined_pt  handler;

    if (!sub->placed) {
        s->from = sub->pos;

    } else if (s->from.epoch == 0 && s->from.seq) {
        s->from.epoch = sub->pos.epoch;
    }

    ngx_log_debug4(NGX_LOG_DEBUG_HTTP, s->cli->carrier->log, 0,
                   "rtbus: joined \"%V\" at:%uL-%uL replayed:%ui",
                   &sub->ch->name, sub->pos.epoch, sub->pos.seq,
                   (ngx_uint_t) sub->replayed);

    handler = s->handler;
    s->handler = NULL;

    if (handler) {
        /* what was replayed has brought the cursor along */
        s->cli->stale_cursor = (sub->replayed == 0);

        handler(s, NGX_OK);
    }
}


static void
ngx_http_rtbus_subs_failed(ngx_rtbus_sub_t *sub)
{
    ngx_http_rtbus_sub_t  *s = sub->data;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, s->cli->carrier->log, 0,
                   "rtbus: join of \"%V\" failed, waited for:%d",
                   &sub->ch->name, s->handler != NULL);

    if (s->handler) {
        s->handler(s, NGX_DECLINED);
    }

    ngx_http_rtbus_subs_free(s);
}


static ngx_str_t *
ngx_http_rtbus_subs_user(ngx_rtbus_sub_t *sub)
{
    ngx_http_rtbus_sub_t  *s = sub->data;

    return &s->cli->user;
}


static void
ngx_http_rtbus_subs_refused(ngx_rtbus_sub_t *sub)
{
    ngx_http_rtbus_sub_t  *s = sub->data;

    ngx_str_t                 channel;
    ngx_http_rtbus_client_t  *cli;
    u_char                    name[RTBUS_CHANNEL_MAX];

    cli = s->cli;

    ngx_http_rtbus_access_foreign(&sub->ch->name, cli->carrier->log);

    if (s->handler) {
        s->handler(s, NGX_HTTP_FORBIDDEN);
        ngx_http_rtbus_subs_free(s);
        return;
    }

    channel.len = sub->ch->name.len;
    channel.data = name;
    ngx_memcpy(name, sub->ch->name.data, channel.len);

    /* the cursor that goes with it has the channel no more */

    ngx_http_rtbus_subs_free(s);

    ngx_http_rtbus_client_refuse_channel(cli, &channel);
}


static ngx_rtbus_sub_t *
ngx_http_rtbus_subs_other(ngx_rtbus_sub_t *sub, ngx_rtbus_channel_t *ch)
{
    ngx_http_rtbus_sub_t  *s = sub->data;

    ngx_queue_t              *q;
    ngx_http_rtbus_client_t  *cli;

    cli = s->cli;

    for (q = ngx_queue_head(&cli->subs);
         q != ngx_queue_sentinel(&cli->subs);
         q = ngx_queue_next(q))
    {
        s = ngx_queue_data(q, ngx_http_rtbus_sub_t, queue);

        if (s->sub.ch == ch) {
            return &s->sub;
        }
    }

    return NULL;
}
