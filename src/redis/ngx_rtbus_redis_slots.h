
/*
 * Which shard has which slots of a cluster.  CLUSTER SLOTS is sent to a shard,
 * or to a node of the URL (the seed) if there is no other link; topics are
 * handed over to the shards that have their slots now.
 */


#ifndef _NGX_RTBUS_REDIS_SLOTS_H_INCLUDED_
#define _NGX_RTBUS_REDIS_SLOTS_H_INCLUDED_


#include "ngx_rtbus_redis_shard.h"


void ngx_rtbus_redis_slots_init(ngx_rtbus_redis_shards_t *shards);
void ngx_rtbus_redis_slots_close(ngx_rtbus_redis_shards_t *shards);

/* asks soon; shard: one that has reported a change, or NULL */

void ngx_rtbus_redis_slots_refresh(ngx_rtbus_redis_shards_t *shards,
    ngx_rtbus_redis_shard_t *shard);

/* a shard can be asked: the seed is not needed any more */

void ngx_rtbus_redis_slots_seeded(ngx_rtbus_redis_shards_t *shards);

/* a connection of nginx is free: the seed may have it */

void ngx_rtbus_redis_slots_room(ngx_rtbus_redis_shards_t *shards);


#endif /* _NGX_RTBUS_REDIS_SLOTS_H_INCLUDED_ */
