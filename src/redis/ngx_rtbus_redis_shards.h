
/*
 * Where channels and keys are: with one server, or with the masters of a Redis
 * Cluster, each of which has some of the 16384 slots.
 *
 * A shard is a server with its two links.  In a cluster they are made when the
 * shard is first asked for, and closed when nothing has been for a while.  Who
 * has which slot is learned from CLUSTER SLOTS, of any node, again whenever an
 * answer shows that it is different by now, or a link is lost, at a limited
 * rate.  A topic is always in the set of the shard that its slot belongs to;
 * when that changes it is handed over.
 *
 * Calls go to the shard of their key.  MOVED and ASK are followed, TRYAGAIN is
 * tried again within command_timeout.  A call to a shard whose links are being
 * made waits for them; one to a shard that is away fails at once.
 *
 * Each master with slots has places in the worker for its two links, whether
 * they are made or not.
 *
 * Topics of slots that nobody has, or before it is known who has them, wait in
 * shards->one, which is the only server outside of a cluster.
 */


#ifndef _NGX_RTBUS_REDIS_SHARDS_H_INCLUDED_
#define _NGX_RTBUS_REDIS_SHARDS_H_INCLUDED_


#include "ngx_rtbus_redis_shard.h"
#include "ngx_rtbus_redis_call.h"


ngx_int_t ngx_rtbus_redis_shards_init(ngx_rtbus_redis_shards_t *shards,
    ngx_rtbus_redis_conf_t *conf, ngx_log_t *log);

/*
 * Closes all links; calls fail, other handlers but closed are not called.
 * Topics may still be removed, from what is freed with _free().
 */

void ngx_rtbus_redis_shards_close(ngx_rtbus_redis_shards_t *shards);
void ngx_rtbus_redis_shards_free(ngx_rtbus_redis_shards_t *shards);

/* a connection of nginx is free: places that are wanted may be had now */

void ngx_rtbus_redis_shards_room(ngx_rtbus_redis_shards_t *shards);

/* the links of this name could not be made, and are tried again */

ngx_uint_t ngx_rtbus_redis_shards_failing(ngx_rtbus_redis_shards_t *shards,
    ngx_str_t *name);


#endif /* _NGX_RTBUS_REDIS_SHARDS_H_INCLUDED_ */
