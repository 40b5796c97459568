
/*
 * Calls to the shard of their key.  In a cluster a call keeps its command until
 * it is answered, and waits while the links of its shard are made, or until it
 * may be sent again.
 */


#ifndef _NGX_RTBUS_REDIS_CALL_H_INCLUDED_
#define _NGX_RTBUS_REDIS_CALL_H_INCLUDED_


#include "ngx_rtbus_redis_shard.h"


/*
 * As ngx_rtbus_redis_cmd_call(), to the shard of the key: the first argument,
 * but the second one of XINFO, and the third one of FCALL.
 */

ngx_rtbus_redis_call_t *ngx_rtbus_redis_call(ngx_rtbus_redis_shards_t *shards,
    int argc, const char **argv, const size_t *argvlen,
    ngx_rtbus_redis_call_pt handler, void *data);

/*
 * In a cluster: for a second, a message without a receiver is sent again, since
 * the receiver may be moving from one shard to another.
 */

void ngx_rtbus_redis_call_insist(ngx_rtbus_redis_call_t *call);


/* for the other files of the shards, in a cluster: */

void ngx_rtbus_redis_call_init(ngx_rtbus_redis_shards_t *shards);

/* waiting calls fail; shards->closed is set */

void ngx_rtbus_redis_call_close(ngx_rtbus_redis_shards_t *shards);

/* the call waits until kept->due at least */

void ngx_rtbus_redis_call_wait(ngx_rtbus_redis_shards_t *shards,
    ngx_rtbus_redis_call_t *call);

/* sends the calls that have waited long enough and can be sent */

void ngx_rtbus_redis_call_go(ngx_rtbus_redis_shards_t *shards);

/* does a call wait for this shard */

ngx_uint_t ngx_rtbus_redis_call_awaited(ngx_rtbus_redis_shards_t *shards,
    ngx_rtbus_redis_shard_t *shard);


#endif /* _NGX_RTBUS_REDIS_CALL_H_INCLUDED_ */
