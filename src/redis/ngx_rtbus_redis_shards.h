
/*
 * Where channels and keys are: with one server, or with the masters of a Redis
 * Cluster, each of which has some of the 16384 slots.
 *
 * A shard is a server with its two links.  In a cluster, the links of a shard
 * are opened on first use and closed when idle.  CLUSTER SLOTS of any node
 * tells which shard has which slots; it is asked again, at a limited rate, if a
 * reply shows a change or a link is lost (ngx_rtbus_redis_slots).  A topic is
 * always in the set of the shard that has its slot; when the slot moves, the
 * topic is handed over.
 *
 * Calls go to the shard of their key (ngx_rtbus_redis_call).  MOVED and ASK are
 * followed, and after TRYAGAIN the call is repeated within command_timeout.  A
 * call waits while the links of its shard are being opened, and fails at once
 * if the shard is away.
 *
 * Each master with slots has places in the worker for its two links, open or
 * not.
 *
 * Topics whose slot nobody has, or whose shard is not known yet, wait in
 * shards->one.  Outside of a cluster that is the only server.
 */


#ifndef _NGX_RTBUS_REDIS_SHARDS_H_INCLUDED_
#define _NGX_RTBUS_REDIS_SHARDS_H_INCLUDED_


#include "ngx_rtbus_redis_shard.h"
#include "ngx_rtbus_redis_call.h"


ngx_int_t ngx_rtbus_redis_shards_init(ngx_rtbus_redis_shards_t *shards,
    ngx_rtbus_redis_conf_t *conf, ngx_log_t *log);

/*
 * Closes all links.  Calls fail; of the other handlers only closed is called.
 * Topics may still be removed until _free() is called.
 */

void ngx_rtbus_redis_shards_close(ngx_rtbus_redis_shards_t *shards);
void ngx_rtbus_redis_shards_free(ngx_rtbus_redis_shards_t *shards);

/* a connection of nginx is free: links without a place may take it */

void ngx_rtbus_redis_shards_room(ngx_rtbus_redis_shards_t *shards);

/* could the links for this name not be made; they are tried again */

ngx_uint_t ngx_rtbus_redis_shards_failing(ngx_rtbus_redis_shards_t *shards,
    ngx_str_t *name);


#endif /* _NGX_RTBUS_REDIS_SHARDS_H_INCLUDED_ */
