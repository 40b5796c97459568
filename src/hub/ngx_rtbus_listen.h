
/*
 * Who listens to a channel, and what is heard on it: subscribers join, start
 * and leave, channels linger, and messages of Redis are handed out in order,
 * or kept while the past is read (ngx_rtbus_history).  Has most of what
 * ngx_rtbus_hub.h offers; the calls here are for ngx_rtbus_link.
 */


#ifndef _NGX_RTBUS_LISTEN_H_INCLUDED_
#define _NGX_RTBUS_LISTEN_H_INCLUDED_


#include "ngx_rtbus_hub.h"


void ngx_rtbus_listen_init(ngx_rtbus_hub_t *hub);

/* nothing is read from Redis any more; frees channels that nobody listens to */

void ngx_rtbus_listen_close(ngx_rtbus_hub_t *hub);

/* an attempt to connect has failed: those who do not wait are told */

void ngx_rtbus_listen_failed(ngx_rtbus_hub_t *hub, ngx_queue_t *topics);

/* takes up what was left because the command connection was not there */

void ngx_rtbus_listen_again(ngx_rtbus_redis_shard_t *shard);


#endif /* _NGX_RTBUS_LISTEN_H_INCLUDED_ */
