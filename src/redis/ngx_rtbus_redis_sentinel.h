
/*
 * Where the master is, as Redis Sentinel says: for connections that are to be
 * made to it, of one bus in one worker.
 *
 * One connection is kept to one sentinel.  It is asked each time a connection
 * to the master is to be made, and every 10 s; in between it tells of each
 * change (+switch-master), unless we may not listen.  When it does not answer,
 * does not know the master, or names one that turns out to be none, the next
 * one is asked.
 *
 * Whoever is named has to say so itself: ROLE ends the greeting.
 *
 * https://redis.io/docs/latest/develop/reference/sentinel-clients/
 */


#ifndef _NGX_RTBUS_REDIS_SENTINEL_H_INCLUDED_
#define _NGX_RTBUS_REDIS_SENTINEL_H_INCLUDED_


#include "ngx_rtbus_redis_conn.h"


/* connections to the master that may wait for an answer at the same time */
#define NGX_RTBUS_REDIS_SENTINEL_LINKS  4

/* bytes of an address or a name, at most */
#define NGX_RTBUS_REDIS_SENTINEL_HOST   255


typedef struct ngx_rtbus_redis_sentinel_s  ngx_rtbus_redis_sentinel_t;

/* the master is elsewhere now: connections to the old one are made anew */
typedef void (*ngx_rtbus_redis_sentinel_failover_pt)(void *data);


struct ngx_rtbus_redis_sentinel_s {
    /* set by the owner before init */

    ngx_rtbus_redis_sentinel_failover_pt  failover_handler;
    void                              *data;

    /* private */

    ngx_rtbus_redis_conf_t             conf;      /* of the sentinels */
    ngx_rtbus_redis_conn_t             conn;
    ngx_rtbus_redis_check_t            ask;       /* who is the master? */
    ngx_uint_t                         next;      /* sentinel to go to */
    ngx_uint_t                         moves;     /* of the master */
    ngx_uint_t                         useless;   /* answers in a row that no
                                                     connection came of */
    ngx_event_t                        timer;     /* of an answer, or until
                                                     it is asked again */
    ngx_msec_t                         asked;     /* when */
    ngx_rtbus_redis_silence_t          silence;   /* since then */
    ngx_rtbus_redis_node_t             masters[2];    /* by moves % 2 */
    u_char                             names[2][NGX_RTBUS_REDIS_SENTINEL_HOST
                                                + sizeof("[]:65535")];

    ngx_rtbus_redis_conn_t            *waiting[NGX_RTBUS_REDIS_SENTINEL_LINKS];
    ngx_uint_t                         nwaiting;

    /* replies to (UN)SUBSCRIBE yet to come, before the next answer and after */

    ngx_uint_t                         before;
    ngx_uint_t                         after;

    unsigned                           asking:1;
    unsigned                           deaf:1;    /* may not subscribe: time
                                                     alone brings questions */
};


/*
 * conf is that of the bus.  NGX_OK or NGX_ERROR; the log is the worker's.
 * The failover handler is never called from within a function of this file that
 * the owner calls.
 */

ngx_int_t ngx_rtbus_redis_sentinel_init(ngx_rtbus_redis_sentinel_t *rn,
    ngx_rtbus_redis_conf_t *conf, ngx_log_t *log);

/* has a connection, before its init, go to the master of these sentinels */

void ngx_rtbus_redis_sentinel_serve(ngx_rtbus_redis_sentinel_t *rn,
    ngx_rtbus_redis_conn_t *rc);

/* the connections to the master are closed already */

void ngx_rtbus_redis_sentinel_close(ngx_rtbus_redis_sentinel_t *rn);


#endif /* _NGX_RTBUS_REDIS_SENTINEL_H_INCLUDED_ */
