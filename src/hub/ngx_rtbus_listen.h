
/*
 * Subscribers join, start and leave; channels linger; and messages from Redis
 * are handed out in order, or kept while the past is read (ngx_rtbus_history).
 * Implements most of ngx_rtbus_hub.h; the calls here are for ngx_rtbus_link.
 */


#ifndef _NGX_RTBUS_LISTEN_H_INCLUDED_
#define _NGX_RTBUS_LISTEN_H_INCLUDED_


#include "ngx_rtbus_hub.h"


void ngx_rtbus_listen_init(ngx_rtbus_hub_t *hub);

/* the connections are closed; frees channels without subscribers */

void ngx_rtbus_listen_close(ngx_rtbus_hub_t *hub);

/* connecting has failed: tells the subscribers that do not wait for Redis */

void ngx_rtbus_listen_failed(ngx_rtbus_hub_t *hub, ngx_queue_t *topics);

/* resumes what was left when the command connection was away */

void ngx_rtbus_listen_again(ngx_rtbus_redis_shard_t *shard);


#endif /* _NGX_RTBUS_LISTEN_H_INCLUDED_ */
