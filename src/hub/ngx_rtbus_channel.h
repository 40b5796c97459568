
/*
 * A channel of a hub, the ground of src/hub: its topic in Redis, the fan-out to
 * its subscribers, and events kept for later.  Only files of src/hub include
 * this; the layer above includes ngx_rtbus_hub.h.
 *
 * Two things are decided elsewhere: which event is the next one, and what a
 * subscriber needs before it is live (ngx_rtbus_listen, ngx_rtbus_history).
 */


#ifndef _NGX_RTBUS_CHANNEL_H_INCLUDED_
#define _NGX_RTBUS_CHANNEL_H_INCLUDED_


#include "ngx_rtbus_hub.h"


/* an event that is kept for a subscriber to come; malloc'ed */

struct ngx_rtbus_caught_s {
    ngx_rtbus_caught_t              *next;
    ngx_rtbus_frame_t               *frame;
    rtbus_pos_t                      pos;        /* of the channel after it */
};


/* where a forwarded message has come from */

typedef struct {
    ngx_str_t                        channel;    /* of Redis, with the prefix */
    ngx_uint_t                       heard;      /* the worker listens to it: it
                                                    has come there, too */
} ngx_rtbus_source_t;


/* a message that came while its channel was being read; malloc'ed */

struct ngx_rtbus_kept_s {
    ngx_rtbus_kept_t                *next;
    ngx_uint_t                       fills;      /* of the channel by then */
    ngx_rtbus_source_t               source;     /* of a forwarded message;
                                                    its name is behind data */
    size_t                           size;       /* bytes of both */
    size_t                           len;
    u_char                           data[1];
};


#define ngx_rtbus_hub_topic_channel(t)                                        \
    ngx_queue_data(t, ngx_rtbus_channel_t, topic)


#define ngx_rtbus_channel_known(ch)                                           \
    ((ch)->state == NGX_RTBUS_CHANNEL_KNOWN)


void ngx_rtbus_channel_set_state(ngx_rtbus_channel_t *ch,
    ngx_rtbus_channel_state_e state);

/* the channel of this name, without the prefix; created if it does not exist */

ngx_rtbus_channel_t *ngx_rtbus_channel_get(ngx_rtbus_hub_t *hub,
    ngx_str_t *name);

/* the channel of this name, with the prefix, or NULL */

ngx_rtbus_channel_t *ngx_rtbus_channel_find(ngx_rtbus_hub_t *hub,
    ngx_str_t *name);

/* frees a channel that has no subscribers and no reads */

void ngx_rtbus_channel_free(ngx_rtbus_channel_t *ch);

/* hands an event to all joined subscribers; the channel moves to msg->pos */

void ngx_rtbus_channel_deliver(ngx_rtbus_channel_t *ch, ngx_rtbus_msg_t *msg);

/* the subscriber stands where the channel does: from now on it is live */

void ngx_rtbus_channel_live(ngx_rtbus_sub_t *sub);

/* joined subscribers without room for so many bytes wait, and replay later */

void ngx_rtbus_channel_slow_down(ngx_rtbus_channel_t *ch, size_t size);

/* Redis is away: tells the subscribers that do not wait for it */

void ngx_rtbus_channel_away(ngx_rtbus_channel_t *ch);

/*
 * Keeps a message until its channel is known; source is NULL for one of the
 * channel's own.  first: it comes before the others that are kept.
 */

void ngx_rtbus_channel_keep(ngx_rtbus_channel_t *ch,
    ngx_rtbus_source_t *source, u_char *data, size_t len, ngx_uint_t first);

/* keeps an event for a catcher */

void ngx_rtbus_channel_catch(ngx_rtbus_sub_t *sub, ngx_rtbus_msg_t *msg);

/* drops the events of a catcher; other subscribers have none */

void ngx_rtbus_channel_drop_caught(ngx_rtbus_sub_t *sub);

/* events of the channel are missing: its catchers drop theirs */

void ngx_rtbus_channel_drop_all_caught(ngx_rtbus_channel_t *ch);


/* reads a message from Redis: RTBUS_REASON_NONE, or why it is no event */

rtbus_reason_e ngx_rtbus_hub_parse(ngx_rtbus_hub_t *hub, rtbus_event_t *event,
    u_char *data, size_t len);

/*
 * Has the event the shape that hub->schema, which is there, wants: NGX_OK, or
 * NGX_DECLINED: it is not to be handed out, and was logged, unless channel is
 * NULL.
 */

ngx_int_t ngx_rtbus_hub_check(ngx_rtbus_hub_t *hub, ngx_str_t *channel,
    rtbus_event_t *event);

/* counts deliveries of what Redis has sent */

void ngx_rtbus_hub_spend(ngx_rtbus_hub_t *hub, ngx_uint_t deliveries);

/* in a second, what Redis did not answer is asked again */

void ngx_rtbus_hub_retry(ngx_rtbus_hub_t *hub);

/* has Redis been connected without a break for so many ms */

ngx_uint_t ngx_rtbus_hub_settled(ngx_rtbus_hub_t *hub, ngx_msec_t time);


#endif /* _NGX_RTBUS_CHANNEL_H_INCLUDED_ */
