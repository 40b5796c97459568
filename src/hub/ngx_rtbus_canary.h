
/*
 * The canary of a worker: a message that it sends to its own mailbox through
 * Redis, every 5 s.  When it comes back, commands get to Redis and what is
 * published gets to this worker; a socket that looks well proves neither.
 *
 * A canary that is still missing after two periods means that the pub/sub
 * connection is dead: it is given up and made anew.
 *
 * What is known is in the worker's slot of ngx_rtbus_stat, for all workers to
 * see: "proven" and "canary".
 */


#ifndef _NGX_RTBUS_CANARY_H_INCLUDED_
#define _NGX_RTBUS_CANARY_H_INCLUDED_


#include "ngx_rtbus_mailbox.h"
#include "ngx_rtbus_stat.h"


typedef struct {
    /* private */

    ngx_rtbus_mailbox_t       *mailbox;
    ngx_rtbus_redis_sub_t     *sub;
    ngx_rtbus_redis_cmd_t     *cmd;
    ngx_rtbus_stat_t          *stat;
    ngx_log_t                 *log;
    ngx_event_t                timer;      /* cancelable */
    ngx_msec_t                 sent;       /* when the one that flies was */
    uint64_t                   number;     /* of it */
    time_t                     complained;
    unsigned                   flying:1;
} ngx_rtbus_canary_t;


/* canary is zeroed memory that lives as long as the connections do */

void ngx_rtbus_canary_init(ngx_rtbus_canary_t *canary,
    ngx_rtbus_mailbox_t *mailbox, ngx_rtbus_redis_sub_t *sub,
    ngx_rtbus_redis_cmd_t *cmd, ngx_rtbus_stat_t *stat, ngx_log_t *log);

void ngx_rtbus_canary_close(ngx_rtbus_canary_t *canary);

/*
 * A connection has come up, or the mailbox has become ready: sends one at once
 * if all is there.
 */

void ngx_rtbus_canary_send(ngx_rtbus_canary_t *canary);

/* a connection is lost: nothing is proven until the next one comes back */

void ngx_rtbus_canary_lost(ngx_rtbus_canary_t *canary);


#endif /* _NGX_RTBUS_CANARY_H_INCLUDED_ */
