
/*
 * The mailbox of a worker: a pub/sub channel of its own in Redis.  Producers
 * answer commands with it, and workers of all nodes talk to each other.
 *
 *   <prefix>rtbus:worker:<id>     one JSON object per message
 *
 * The members of a message say what it is for: each user of the mailbox owns
 * one member name, such as "ack" or "sid", and gets the messages that have it.
 *
 * Delivery is at most once.  A caller that waits for a message needs a timeout.
 *
 * In a cluster, producers still answer with PUBLISH, which all nodes pass on.
 * Workers use SPUBLISH: it returns the number of receivers, and only one node
 * gets the message.  A worker subscribes to its mailbox in both ways.
 */


#ifndef _NGX_RTBUS_MAILBOX_H_INCLUDED_
#define _NGX_RTBUS_MAILBOX_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_rtbus_redis_shards.h"
#include "rtbus_json.h"


/* bytes of an id: 9 random ones in base64url, so that nobody can guess it */
#define NGX_RTBUS_MAILBOX_ID_LEN   12

#define NGX_RTBUS_MAILBOX_NAME     "rtbus:worker:"

/* kinds of messages */
#define NGX_RTBUS_MAILBOX_KINDS    8


typedef struct ngx_rtbus_mailbox_s  ngx_rtbus_mailbox_t;


/*
 * A message with the member of this user: its value, and the message as a
 * whole, both checked JSON (see rtbus_json_members()) and valid during the
 * call.
 */
typedef void (*ngx_rtbus_mailbox_pt)(void *data, rtbus_json_value_t *value,
    rtbus_str_t *message);

/* messages reach us, at first and after every reconnect */
typedef void (*ngx_rtbus_mailbox_ready_pt)(ngx_rtbus_mailbox_t *mb);


/* who waits for the mailbox; memory of the caller */

typedef struct {
    /* set by the caller; called once, from the event loop */

    void                     (*handler)(void *data);
    void                      *data;

    /* private */

    ngx_queue_t                queue;     /* mb->waits */
    ngx_event_t                timer;
} ngx_rtbus_mailbox_wait_t;


struct ngx_rtbus_mailbox_s {
    /* set by the owner before init */

    ngx_rtbus_mailbox_ready_pt ready_handler;    /* may be NULL */

    /* may be read by the owner */

    ngx_str_t                  id;
    ngx_str_t                  name;      /* with the prefix: for "reply" */
    unsigned                   ready:1;   /* messages reach us */
    ngx_uint_t                 losses;    /* times it stopped being ready */

    /* private */

    ngx_rtbus_redis_topic_t    topic;
    ngx_rtbus_redis_topic_t    plain;     /* in a cluster */
    ngx_rtbus_redis_shards_t  *shards;
    ngx_queue_t                waits;
    ngx_event_t                changed;   /* posted: looks after them */
    rtbus_json_t              *json;
    ngx_log_t                 *log;
    time_t                     complained;
    ngx_uint_t                 nkinds;
    rtbus_json_member_t        members[NGX_RTBUS_MAILBOX_KINDS];
    ngx_rtbus_mailbox_pt       handlers[NGX_RTBUS_MAILBOX_KINDS];
    void                      *data[NGX_RTBUS_MAILBOX_KINDS];
};


/*
 * Subscribes to a new mailbox, with an id that no worker had before.  mb is
 * zeroed memory that lives as long as the worker, and so does the prefix.
 * NGX_OK or NGX_ERROR.
 */

ngx_int_t ngx_rtbus_mailbox_init(ngx_rtbus_mailbox_t *mb,
    ngx_rtbus_redis_shards_t *shards, ngx_str_t *prefix, rtbus_json_t *json,
    ngx_log_t *log);

/* frees what init has allocated; the pub/sub connection is closed already */

void ngx_rtbus_mailbox_close(ngx_rtbus_mailbox_t *mb);

/* messages with this member (static text) go to the handler */

void ngx_rtbus_mailbox_handle(ngx_rtbus_mailbox_t *mb, const char *member,
    ngx_rtbus_mailbox_pt handler, void *data);

/*
 * NGX_OK: messages get through, both ways; NGX_DECLINED: Redis is away or
 * refuses; NGX_AGAIN: one of these soon, since the worker has just started or
 * has just reconnected.
 */

ngx_int_t ngx_rtbus_mailbox_state(ngx_rtbus_mailbox_t *mb);

/*
 * With NGX_AGAIN: calls the handler of the zeroed wait once this is over, or
 * has taken connect_timeout.
 */

void ngx_rtbus_mailbox_wait(ngx_rtbus_mailbox_t *mb,
    ngx_rtbus_mailbox_wait_t *wait);

/* the handler will not be called */

void ngx_rtbus_mailbox_cancel(ngx_rtbus_mailbox_wait_t *wait);

/* for the hub: a connection to Redis has changed */

void ngx_rtbus_mailbox_changed(ngx_rtbus_mailbox_t *mb);

/* is the channel a mailbox: no client may join it or publish to it */

ngx_uint_t ngx_rtbus_mailbox_channel(ngx_str_t *channel);

/*
 * Sends a message, one JSON object, to the mailbox of that id.  The reply is
 * the number of receivers: 0 if that worker does not exist, or not any more.
 * Returns as ngx_rtbus_redis_call() does; NULL also if the id is invalid.
 */

ngx_rtbus_redis_call_t *ngx_rtbus_mailbox_send(ngx_rtbus_mailbox_t *mb,
    ngx_str_t *id, ngx_str_t *message, ngx_rtbus_redis_call_pt handler,
    void *data);


#endif /* _NGX_RTBUS_MAILBOX_H_INCLUDED_ */
