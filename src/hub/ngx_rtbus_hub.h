
/*
 * The hub of one worker: channels, their subscribers, and the fan-out.  This is
 * what the layer above sees of src/hub: ngx_rtbus_channel is the ground of it,
 * ngx_rtbus_listen decides what is handed out, ngx_rtbus_link knows the
 * servers.
 *
 * One subscription in Redis per channel, however many subscribers; it is made
 * for the first one and lingers for some seconds after the last one has left.
 *
 * A channel that is "known" has a position, and a durable event is handed out
 * if it is the next one: a smaller position is a double; for a larger one, the
 * stream is read first to fill the hole (ngx_rtbus_history).  All joined
 * subscribers of a channel stand at its position, so none of them needs a
 * number of its own.
 *
 * A channel may be for its owner only.  Then a subscriber gets nothing until
 * Redis has confirmed that the client's user is the owner (ngx_rtbus_owner).
 * Redis is asked once; a subscriber that has joined stays joined.
 *
 * A subscriber is embedded in what the layer above keeps per client and
 * channel.  Its handlers are called from the event loop, and joined also from
 * within ngx_rtbus_hub_join(), _release() and _resume().  A deliver or gap
 * handler only enqueues: it must neither join nor leave nor end the client;
 * what it has to end it posts.
 */


#ifndef _NGX_RTBUS_HUB_H_INCLUDED_
#define _NGX_RTBUS_HUB_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include "rtbus_schema.h"
#include "ngx_rtbus_stat.h"
#include "ngx_rtbus_msg.h"
#include "ngx_rtbus_redis_sentinel.h"
#include "ngx_rtbus_redis_shards.h"
#include "ngx_rtbus_library.h"
#include "ngx_rtbus_mailbox.h"
#include "ngx_rtbus_canary.h"


#define NGX_RTBUS_HUB_MAX_NAME  (RTBUS_CHANNEL_MAX + NGX_RTBUS_HUB_MAX_PREFIX \
                                 + sizeof("{}") - 1)
#define NGX_RTBUS_HUB_MAX_PREFIX  100   /* bytes */


typedef struct ngx_rtbus_hub_s      ngx_rtbus_hub_t;
typedef struct ngx_rtbus_channel_s  ngx_rtbus_channel_t;
typedef struct ngx_rtbus_sub_s      ngx_rtbus_sub_t;
typedef struct ngx_rtbus_read_s     ngx_rtbus_read_t;
typedef struct ngx_rtbus_owner_s    ngx_rtbus_owner_t;
typedef struct ngx_rtbus_forward_s  ngx_rtbus_forward_t;
typedef struct ngx_rtbus_caught_s    ngx_rtbus_caught_t;
typedef struct ngx_rtbus_kept_s     ngx_rtbus_kept_t;


#define NGX_RTBUS_LOST_UNKNOWN  ((uint64_t) -1)


typedef struct {
    /* an event; the frame is shared, take a reference to keep it */
    void                      (*deliver)(ngx_rtbus_sub_t *sub,
                                  ngx_rtbus_frame_t *frame);

    /*
     * Events are missing: lost ones, or NGX_RTBUS_LOST_UNKNOWN; from pos on
     * there are none missing again.
     */
    void                      (*gap)(ngx_rtbus_sub_t *sub, uint64_t lost,
                                  rtbus_pos_t pos);

    /*
     * May an event of that size (0: any) be handed out now, on top of what the
     * client has not taken yet; if not, the owner calls _resume() later.
     */
    ngx_uint_t                (*room)(ngx_rtbus_sub_t *sub, size_t size);

    /* held: the channel is known, or Redis is away; once or more */
    void                      (*ready)(ngx_rtbus_sub_t *sub);

    /* events are live from now on */
    void                      (*joined)(ngx_rtbus_sub_t *sub);

    /* not patient, and Redis is away: the owner has the subscriber leave */
    void                      (*failed)(ngx_rtbus_sub_t *sub);

    /* owned: who the client is; not empty */
    ngx_str_t                *(*user)(ngx_rtbus_sub_t *sub);

    /* owned, and the channel is not the user's: likewise */
    void                      (*refused)(ngx_rtbus_sub_t *sub);

    /* the subscriber of the same client to another channel, or NULL */
    ngx_rtbus_sub_t          *(*other)(ngx_rtbus_sub_t *sub,
                                  ngx_rtbus_channel_t *ch);
} ngx_rtbus_sub_handlers_t;


struct ngx_rtbus_sub_s {
    /* set by the owner before the join */

    const ngx_rtbus_sub_handlers_t  *handlers;
    const ngx_rtbus_format_t        *format;
    void                            *data;
    rtbus_pos_t                      pos;        /* with placed: the events
                                                    after it are replayed */
    unsigned                         placed:1;
    unsigned                         epochless:1;  /* pos has a seq only */
    unsigned                         patient:1;  /* waits for Redis to come
                                                    back, does not fail */
    unsigned                         held:1;     /* until ..._release() */
    unsigned                         owned:1;    /* for its owner only; off
                                                    once it is the user's */
    unsigned                         catcher:1;  /* it is the sub of one */

    /* may be read by the owner */

    unsigned                         joined:1;
    unsigned                         catching:1; /* a catcher that began */
    unsigned                         gapped:1;   /* gap was called */
    ngx_rtbus_channel_t             *ch;         /* NULL: not in the hub */
    uint64_t                         replayed;   /* events so far */

    /* private */

    unsigned                         checked:1;  /* the stream was asked whether
                                                    it is really behind pos */
    unsigned                         stale:1;    /* pos has another event now */
    unsigned                         paused:1;   /* waits for _resume() */
    size_t                           needs;      /* bytes, of the event that it
                                                    had no room for */
    ngx_queue_t                      queue;      /* ch->subs or ch->waiting */
    ngx_queue_t                      readers;    /* of the read */
    ngx_rtbus_read_t                *read;       /* under way, or NULL */
    ngx_rtbus_owner_t               *question;   /* likewise */
};


/*
 * Placeholder for a subscriber that is about to arrive.  It keeps events up to
 * a limit of bytes shared with other catchers; beyond that it drops all of
 * them.
 */

typedef struct {
    ngx_rtbus_sub_t                  sub;        /* the first member */
    size_t                          *room;       /* bytes, set by the owner */

    /* private */

    rtbus_pos_t                      pos;        /* of the channel before */
    ngx_rtbus_caught_t              *first;
    ngx_rtbus_caught_t              **last;
} ngx_rtbus_catcher_t;


/*
 * What is known of where a channel stands; ngx_rtbus_channel_set_state() alone
 * sets it.  A channel in any of these states may linger.
 */

typedef enum {
    NGX_RTBUS_CHANNEL_SUBSCRIBING = 0,           /* Redis has not confirmed */
    NGX_RTBUS_CHANNEL_READING,                   /* its stream */
    NGX_RTBUS_CHANNEL_UNREAD,                    /* that has failed, and is
                                                    tried again */
    NGX_RTBUS_CHANNEL_KNOWN                      /* pos is set, and nothing is
                                                    missing */
} ngx_rtbus_channel_state_e;


struct ngx_rtbus_channel_s {
    ngx_rtbus_redis_topic_t          topic;      /* its name has the prefix,
                                                    see _hub_topic() */
    ngx_str_t                        name;       /* without the prefix; may be
                                                    read by the layer above */
    ngx_rtbus_hub_t                 *hub;
    ngx_queue_t                      subs;       /* joined */
    ngx_queue_t                      waiting;    /* not joined yet */
    ngx_queue_t                      queue;      /* of lingering channels */
    ngx_msec_t                       until;      /* end of the linger */

    rtbus_pos_t                      pos;        /* of the last event; may be
                                                    read as well */
    uint64_t                         timestamp;  /* of that one; 0: not known */
    ngx_rtbus_read_t                *read;       /* its own, or NULL */
    ngx_queue_t                      reads;      /* for its subscribers */
    ngx_rtbus_kept_t                *kept;
    ngx_rtbus_kept_t               **kept_last;
    size_t                           kept_size;  /* bytes */
    size_t                           average;    /* bytes of an event read */
    ngx_uint_t                       count;      /* events asked for last */
    ngx_uint_t                       fills;      /* own reads started so far */
    ngx_uint_t                       catchers;   /* of waiting, that began */

    uint64_t                         job_epoch;  /* asked for its job */
    ngx_rtbus_redis_call_t          *job_call;   /* under way, or NULL */
    ngx_queue_t                      job_queue;  /* hub->watched */

    ngx_rtbus_channel_state_e        state;
    unsigned                         watched:1;  /* its job runs */
    unsigned                         lingering:1;
    unsigned                         placed:1;   /* pos is set */
    unsigned                         overflow:1; /* events were not kept */
};


/* there is no connection left for a link to Redis: a client has to go */
typedef void (*ngx_rtbus_hub_full_pt)(void *data);

/* private: see ngx_rtbus_channel.h and ngx_rtbus_history.h */
typedef void (*ngx_rtbus_hub_channel_pt)(ngx_rtbus_channel_t *ch);
typedef void (*ngx_rtbus_hub_start_pt)(ngx_rtbus_sub_t *sub);

/* the worker leaves: clients must be told; may be called more than once */
typedef void (*ngx_rtbus_hub_exiting_pt)(void *data);


struct ngx_rtbus_hub_s {
    /* set by the owner before init */

    ngx_rtbus_redis_conf_t          *redis;
    ngx_str_t                        prefix;
    size_t                           max_event;  /* bytes of an envelope */
    ngx_uint_t                       functions;  /* load the library */
    const rtbus_schema_t            *schema;     /* of events, or NULL */
    ngx_rtbus_stat_t                *stat;       /* never NULL */
    ngx_rtbus_stat_zone_t           *zone;       /* of it, for the servers of
                                                    a cluster */
    ngx_array_t                     *rules;      /* of ngx_rtbus_forward; NULL:
                                                    there are none */
    ngx_rtbus_hub_full_pt            full_handler;
    ngx_uint_t                       captures;   /* jobs have owners */
    ngx_rtbus_hub_exiting_pt         exiting_handler;
    void                            *data;

    /* for the layer above: calls to Redis; the worker's mailbox; JSON texts */

    ngx_rtbus_redis_shards_t         shards;
    ngx_rtbus_mailbox_t              mailbox;
    rtbus_json_t                    *json;

    /* private: ngx_rtbus_link */

    ngx_rtbus_redis_sentinel_t       sentinel;   /* if there are any */
    ngx_rtbus_libraries_t            libraries;
    ngx_log_t                       *log;
    ngx_event_t                      retry;      /* timer: unknown channels */
    ngx_event_t                      beat;       /* timer: canaries */
    ngx_msec_t                       connected;  /* last, to a server */

    /* private: ngx_rtbus_listen */

    ngx_queue_t                      lingering;
    ngx_event_t                      linger;

    /* private: ngx_rtbus_channel, and what it calls of those above it */

    const ngx_rtbus_redis_topic_handlers_t  *topic_handlers;
    ngx_rtbus_hub_channel_pt         epoch_handler;
    size_t                           kept_size;  /* bytes, of all channels */
    ngx_msec_t                       full_since; /* turns of the loop are */
    ngx_msec_t                       full_last;
    time_t                           full_logged;
    time_t                           complained; /* of invalid events, when */
    ngx_uint_t                       invalid;    /* ... not logged since */

    /* private: ngx_rtbus_history, likewise */

    ngx_rtbus_hub_channel_pt         known_handler;
    ngx_rtbus_hub_start_pt           start_handler;
    ngx_queue_t                      reads;      /* that wait for their turn,
                                                    see ngx_rtbus_history.h */
    ngx_uint_t                       reading;    /* under way */
    size_t                           read_bytes; /* ... that they may bring */
    ngx_event_t                      read_next;  /* posted */
    time_t                           failed;     /* a read was logged, when */

    /* private: ngx_rtbus_forward, ngx_rtbus_job */

    ngx_rtbus_forward_t             *forward;    /* NULL: no rules */
    ngx_queue_t                      jobs;       /* that this worker owns */
    ngx_queue_t                      watched;    /* channels whose job runs */
};


/* NGX_OK or NGX_ERROR; log is the worker's */

ngx_int_t ngx_rtbus_hub_init(ngx_rtbus_hub_t *hub, ngx_log_t *log);

/*
 * At the worker's exit: closes the links to Redis and frees lingering channels.
 * No client is left, or those that are do not matter any more.
 */

void ngx_rtbus_hub_close(ngx_rtbus_hub_t *hub);

/*
 * Subscribes to a channel (name: checked, without prefix), at its present
 * position or after sub->pos.
 *
 * NGX_OK:       joined, events follow; or, held: ready
 * NGX_AGAIN:    handlers will be called
 * NGX_DECLINED: Redis is away or has refused, and the subscriber is not patient
 * NGX_ERROR:    no memory
 */

ngx_int_t ngx_rtbus_hub_join(ngx_rtbus_hub_t *hub, ngx_rtbus_sub_t *sub,
    ngx_str_t *name);

/* a held subscriber goes on: NGX_OK: joined, NGX_AGAIN: handlers are called */

ngx_int_t ngx_rtbus_hub_release(ngx_rtbus_sub_t *sub);

/* a catcher keeps events from now on, if its channel is known */

void ngx_rtbus_hub_catch(ngx_rtbus_catcher_t *catcher);

/*
 * Delivers the events of a catcher to a subscriber that is still held, if it
 * stands at the position where the catcher has begun.
 */

void ngx_rtbus_hub_take(ngx_rtbus_sub_t *sub, ngx_rtbus_catcher_t *catcher);

/* there is room again; for subscribers that are not joined */

void ngx_rtbus_hub_resume(ngx_rtbus_sub_t *sub);

/* no handler is called any more */

void ngx_rtbus_hub_leave(ngx_rtbus_sub_t *sub);

/* where the subscriber stands: NGX_OK, or NGX_DECLINED: not known yet */

ngx_int_t ngx_rtbus_hub_position(ngx_rtbus_sub_t *sub, rtbus_pos_t *pos);

/* a client's connection is closed: a link to Redis may want its place */

#define ngx_rtbus_hub_room(hub)  ngx_rtbus_redis_shards_room(&(hub)->shards)

/*
 * Redis has answered that it does not have a function of the library: at most
 * once a second, the library is checked, and loaded if that is allowed.
 */

#define ngx_rtbus_hub_library_lost(hub)                                       \
    ngx_rtbus_library_lost(&(hub)->libraries)

/*
 * A key of a channel as the contract has it: "<prefix>{<channel>}<suffix>"; the
 * key of the functions has no suffix.  Answers the length; at most
 * NGX_RTBUS_HUB_MAX_KEY bytes are written.
 */

#define NGX_RTBUS_HUB_MAX_KEY  (NGX_RTBUS_HUB_MAX_NAME + sizeof("{}:events"))

size_t ngx_rtbus_hub_key(ngx_rtbus_hub_t *hub, u_char *dst, ngx_str_t *channel,
    const char *suffix);

/*
 * The pub/sub channel of a channel: "<prefix><channel>".  In a cluster, where
 * it has to be in the slot of the keys, with a prefix "<prefix>{<channel>}".
 */

size_t ngx_rtbus_hub_topic(ngx_rtbus_hub_t *hub, u_char *dst,
    ngx_str_t *channel);

/* an event that cannot be handed out: logged at a limited rate */

void ngx_rtbus_hub_invalid(ngx_rtbus_hub_t *hub, ngx_str_t *channel,
    rtbus_reason_e reason);


#endif /* _NGX_RTBUS_HUB_H_INCLUDED_ */
