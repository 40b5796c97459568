
/*
 * The hub of one worker: channels, who listens to them, and the fan-out.
 *
 * One subscription in Redis per channel, however many subscribers; it is made
 * for the first one and lingers for some seconds after the last one has left.
 *
 * A subscriber is embedded in what the layer above keeps per client and
 * channel.  Its handlers are called from the event loop, never from within
 * ngx_rtbus_hub_join() or _leave().  A deliver handler only enqueues: it must
 * neither join nor leave nor end the client; what it has to end it posts.
 */


#ifndef _NGX_RTBUS_HUB_H_INCLUDED_
#define _NGX_RTBUS_HUB_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include "ngx_rtbus_msg.h"
#include "ngx_rtbus_redis_sub.h"
#include "ngx_rtbus_redis_cmd.h"


#define NGX_RTBUS_HUB_MAX_NAME  (RTBUS_CHANNEL_MAX + NGX_RTBUS_HUB_MAX_PREFIX)
#define NGX_RTBUS_HUB_MAX_PREFIX  100   /* bytes */


typedef struct ngx_rtbus_hub_s      ngx_rtbus_hub_t;
typedef struct ngx_rtbus_channel_s  ngx_rtbus_channel_t;
typedef struct ngx_rtbus_sub_s      ngx_rtbus_sub_t;


typedef struct {
    /* an event; the frame is shared, take a reference to keep it */
    void                      (*deliver)(ngx_rtbus_sub_t *sub,
                                  ngx_rtbus_frame_t *frame);

    /* NGX_AGAIN of a join has come to its good end */
    void                      (*joined)(ngx_rtbus_sub_t *sub);

    /* ... or not: Redis is away; the owner has the subscriber leave */
    void                      (*failed)(ngx_rtbus_sub_t *sub);
} ngx_rtbus_sub_handlers_t;


struct ngx_rtbus_sub_s {
    /* set by the owner before the join */

    const ngx_rtbus_sub_handlers_t  *handlers;
    const ngx_rtbus_format_t        *format;
    void                            *data;
    unsigned                         patient:1;  /* waits for Redis to come
                                                    back, does not fail */

    /* may be read by the owner */

    ngx_rtbus_channel_t             *ch;         /* NULL: not in the hub */
    unsigned                         joined:1;

    /* private */

    ngx_queue_t                      queue;
};


struct ngx_rtbus_channel_s {
    ngx_rtbus_redis_topic_t          topic;      /* its name has the prefix */
    ngx_str_t                        name;       /* without the prefix */
    ngx_rtbus_hub_t                 *hub;
    ngx_queue_t                      subs;       /* joined */
    ngx_queue_t                      waiting;    /* not joined yet */
    ngx_queue_t                      queue;      /* of lingering channels */
    ngx_msec_t                       until;      /* end of the linger */
    unsigned                         lingering:1;
};


#define ngx_rtbus_hub_topic_channel(t)                                        \
    ngx_queue_data(t, ngx_rtbus_channel_t, topic)


/* the worker leaves: clients are to be told; may be called more than once */
typedef void (*ngx_rtbus_hub_exiting_pt)(void *data);


struct ngx_rtbus_hub_s {
    /* set by the owner before init */

    ngx_rtbus_redis_conf_t          *redis;
    ngx_str_t                        prefix;
    size_t                           max_event;  /* bytes of an envelope */
    ngx_rtbus_hub_exiting_pt         exiting_handler;
    void                            *data;

    /* for the layer above: calls to Redis; JSON texts */

    ngx_rtbus_redis_cmd_t            cmd;
    rtbus_json_t                    *json;

    /* private */

    ngx_rtbus_redis_sub_t            sub;
    ngx_queue_t                      lingering;
    ngx_event_t                      linger;
    ngx_log_t                       *log;
    time_t                           complained; /* of invalid events, when */
    ngx_uint_t                       invalid;    /* ... not logged since */
};


/* NGX_OK or NGX_ERROR; log is the worker's */

ngx_int_t ngx_rtbus_hub_init(ngx_rtbus_hub_t *hub, ngx_log_t *log);

/* at the worker's exit: closes the links to Redis; there is no client left */

void ngx_rtbus_hub_close(ngx_rtbus_hub_t *hub);

/*
 * Subscribes to a channel (name: checked, without prefix).
 *
 * NGX_OK:       joined, events follow
 * NGX_AGAIN:    one of the handlers joined or failed will be called
 * NGX_DECLINED: Redis is away, and the subscriber is not patient
 * NGX_ERROR:    no memory
 */

ngx_int_t ngx_rtbus_hub_join(ngx_rtbus_hub_t *hub, ngx_rtbus_sub_t *sub,
    ngx_str_t *name);

/* no handler is called any more */

void ngx_rtbus_hub_leave(ngx_rtbus_sub_t *sub);


#endif /* _NGX_RTBUS_HUB_H_INCLUDED_ */
