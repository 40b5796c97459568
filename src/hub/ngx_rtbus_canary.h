
/*
 * The canary of a worker: a message that it sends to itself through Redis,
 * every 5 s.  If it comes back, commands reach Redis and published messages
 * reach this worker.  An open socket proves neither.
 *
 * It goes to the worker's mailbox.  In a cluster each shard has a canary, with
 * a shard channel of its own, "<mailbox>{<n>}", in one of the shard's slots.
 *
 * If a canary is still missing after two periods, the pub/sub connection is
 * dead and reconnects.  As long as other messages arrive, the canary may be
 * behind them, for a minute.
 */


#ifndef _NGX_RTBUS_CANARY_H_INCLUDED_
#define _NGX_RTBUS_CANARY_H_INCLUDED_


#include "ngx_rtbus_mailbox.h"
#include "ngx_rtbus_stat.h"


typedef struct ngx_rtbus_canary_s  ngx_rtbus_canary_t;

/* it has come back, or the links are not proven any more */
typedef void (*ngx_rtbus_canary_pt)(ngx_rtbus_canary_t *canary);


struct ngx_rtbus_canary_s {
    /* may be read by the owner */

    ngx_rtbus_redis_shard_t   *shard;
    ngx_msec_t                 back;       /* when it was; with not proven:
                                              since when it is expected */
    unsigned                   proven:1;   /* since the links were made */

    /* private */

    ngx_rtbus_mailbox_t       *mailbox;
    ngx_rtbus_canary_pt        handler;
    ngx_rtbus_stat_t          *stat;
    ngx_log_t                 *log;
    ngx_rtbus_redis_topic_t    topic;      /* in a cluster */
    u_char                    *name;       /* of it, malloc'ed */
    ngx_uint_t                 tag;        /* in the name */
    ngx_msec_t                 sent;       /* when the one that flies was, or
                                              when Redis has said so */
    uint64_t                   number;     /* of it */
    time_t                     complained;
    unsigned                   flying:1;
    unsigned                   published:1;
    unsigned                   doubted:1;  /* it is late, and what has arrived
                                              is being read */
    unsigned                   named:1;    /* there is a topic */
};


/* canary is zeroed memory that lives as long as the connections do */

void ngx_rtbus_canary_init(ngx_rtbus_canary_t *canary,
    ngx_rtbus_mailbox_t *mailbox, ngx_rtbus_redis_shard_t *shard,
    ngx_rtbus_stat_t *stat, ngx_rtbus_canary_pt handler, ngx_log_t *log);

/* the commands are closed, the pub/sub connection is not yet */

void ngx_rtbus_canary_close(ngx_rtbus_canary_t *canary);

/* in a cluster: the slots of the shard have changed */

void ngx_rtbus_canary_name(ngx_rtbus_canary_t *canary);

/*
 * To be called every NGX_RTBUS_STAT_PERIOD; after NGX_AGAIN in a moment, once
 * all that has arrived by now is read.
 */

ngx_int_t ngx_rtbus_canary_check(ngx_rtbus_canary_t *canary);

/*
 * A connection has come up, or the mailbox is ready: sends a canary at once, if
 * both connections and the mailbox are there.
 */

void ngx_rtbus_canary_send(ngx_rtbus_canary_t *canary);

/* a connection is lost: nothing is proven until the next canary is back */

void ngx_rtbus_canary_lost(ngx_rtbus_canary_t *canary);


#endif /* _NGX_RTBUS_CANARY_H_INCLUDED_ */
