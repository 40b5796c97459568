
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


#include "ngx_rtbus_redis_sub.h"
#include "ngx_rtbus_redis_cmd.h"


#define NGX_RTBUS_REDIS_SHARD_NAME  256     /* bytes: a host and a port */


typedef struct ngx_rtbus_redis_shards_s  ngx_rtbus_redis_shards_t;
typedef struct ngx_rtbus_redis_shard_s   ngx_rtbus_redis_shard_t;


typedef struct {
    /* its links are about to be made; sets shard->data */
    void                          (*opened)(ngx_rtbus_redis_shard_t *shard);

    /* a link has come up or is lost: conn.up says which */
    void                          (*sub_changed)(
                                      ngx_rtbus_redis_shard_t *shard);
    void                          (*cmd_changed)(
                                      ngx_rtbus_redis_shard_t *shard);

    /*
     * In a cluster: the links could not be made in time, they are tried again;
     * shards->one: there are topics that nobody has
     */
    void                          (*failed)(ngx_rtbus_redis_shard_t *shard);

    /* in a cluster: the shard has some slots more or less, or none */
    void                          (*changed)(ngx_rtbus_redis_shard_t *shard);

    /* its calls have failed; what it has of fixed topics is to be removed */
    void                          (*closed)(ngx_rtbus_redis_shard_t *shard);

    /* there is no place in the worker for a link that has to be made */
    void                          (*full)(void *data);

    /* this worker leaves, see ngx_rtbus_redis_exiting_pt; more than once */
    void                          (*exiting)(void *data);
} ngx_rtbus_redis_shards_handlers_t;


struct ngx_rtbus_redis_shard_s {
    /* may be read by the owner; sub.data is shards->data */

    ngx_rtbus_redis_sub_t           sub;
    ngx_rtbus_redis_cmd_t           cmd;
    ngx_rtbus_redis_shards_t       *shards;
    ngx_rtbus_redis_node_t          node;       /* in a cluster */
    void                           *data;       /* the owner's */

    unsigned                        open:1;     /* has links */
    unsigned                        opening:1;  /* they are made, and may be up
                                                   in a moment */
    unsigned                        listed:1;   /* has slots */

    /* private */

    ngx_queue_t                     queue;      /* shards->all */
    ngx_addr_t                      addr;
    ngx_sockaddr_t                  sockaddr;
    ngx_event_t                     timer;      /* of opening */
    ngx_msec_t                      used;
    u_char                          name[NGX_RTBUS_REDIS_SHARD_NAME];
};


struct ngx_rtbus_redis_shards_s {
    /* set by the owner before init */

    const ngx_rtbus_redis_shards_handlers_t
                                   *handlers;
    void                           *data;

    /* may be read by the owner */

    ngx_uint_t                      cluster;    /* unsigned  cluster:1; */
    ngx_rtbus_redis_shard_t         one;

    /* private */

    ngx_rtbus_redis_conf_t         *conf;
    ngx_log_t                      *log;
    ngx_queue_t                     all;
    ngx_rtbus_redis_shard_t       **slots;      /* malloc'ed; NULL: unknown */
    ngx_rtbus_redis_cmd_t           seed;       /* to a node of the URL, when
                                                   there is no other link */
    ngx_uint_t                      node;       /* of the URL, the next one */
    ngx_uint_t                      seeded;     /* times the seed was asked */
    ngx_rtbus_redis_shard_t        *teller;     /* has told of a change */
    ngx_rtbus_redis_conn_t         *asked;      /* for the slots, or NULL */
    ngx_msec_t                      last;       /* when that was */
    ngx_msec_t                      delay;      /* until the next time */
    time_t                          complained;
    ngx_uint_t                      vain;       /* nodes in a row that are out
                                                   of their cluster */
    ngx_event_t                     refresh;    /* cancelable timer */
    ngx_event_t                     sweep;      /* likewise */
    ngx_rtbus_redis_call_t         *waiting;    /* not sent yet, or again */
    ngx_rtbus_redis_call_t        **waiting_last;
    ngx_event_t                     wait;       /* timer */
    unsigned                        seeding:1;
    unsigned                        again:1;    /* ask once more */
    unsigned                        doubted:1;  /* who is asked has said that
                                                   its cluster is down */
    unsigned                        closed:1;
};


ngx_int_t ngx_rtbus_redis_shards_init(ngx_rtbus_redis_shards_t *shards,
    ngx_rtbus_redis_conf_t *conf, ngx_log_t *log);

/*
 * Closes all links; calls fail, other handlers but closed are not called.
 * Topics may still be removed, from what is freed with _free().
 */

void ngx_rtbus_redis_shards_close(ngx_rtbus_redis_shards_t *shards);
void ngx_rtbus_redis_shards_free(ngx_rtbus_redis_shards_t *shards);

/* the shard of a key or a channel, which is opened for it; never NULL */

ngx_rtbus_redis_shard_t *ngx_rtbus_redis_shard(
    ngx_rtbus_redis_shards_t *shards, u_char *name, size_t len);

/*
 * Asks the server whether it is a master yet, where it has to be one, outside of
 * a cluster; if not, both links are made anew.  To be called now and then.
 */

void ngx_rtbus_redis_shard_look(ngx_rtbus_redis_shard_t *shard);

/* shards that are open: the first one for NULL, NULL after the last one */

ngx_rtbus_redis_shard_t *ngx_rtbus_redis_shards_next(
    ngx_rtbus_redis_shards_t *shards, ngx_rtbus_redis_shard_t *shard);

/* the links are up, or may be soon */

#define ngx_rtbus_redis_shard_usable(shard)                                   \
    (((shard)->sub.conn.up && (shard)->cmd.conn.up) || (shard)->opening)

/* a connection of nginx is free: places that are wanted may be had now */

void ngx_rtbus_redis_shards_room(ngx_rtbus_redis_shards_t *shards);

/* there is a server for calls, or even for all of them */

#define ngx_rtbus_redis_shards_up(s)                                          \
    ((s)->cluster ? (s)->slots != NULL : (s)->one.cmd.conn.up)

/* the links of this name could not be made, and are tried again */

ngx_uint_t ngx_rtbus_redis_shards_failing(ngx_rtbus_redis_shards_t *shards,
    ngx_str_t *name);

/*
 * As ngx_rtbus_redis_cmd_call(), to the shard of the key, which is the first
 * argument, of XINFO the second and of FCALL the third one.
 */

ngx_rtbus_redis_call_t *ngx_rtbus_redis_call(ngx_rtbus_redis_shards_t *shards,
    int argc, const char **argv, const size_t *argvlen,
    ngx_rtbus_redis_call_pt handler, void *data);

/*
 * In a cluster: a message that nobody has received is sent again for a second,
 * since its receiver may be on its way from one shard to another one.
 */

void ngx_rtbus_redis_call_insist(ngx_rtbus_redis_call_t *call);

/*
 * In a cluster: a number whose digits, as a hash tag, are in a slot of the
 * shard; is n still one.  NGX_OK or NGX_DECLINED.
 */

ngx_int_t ngx_rtbus_redis_shard_tag(ngx_rtbus_redis_shard_t *shard,
    ngx_uint_t *n);
ngx_int_t ngx_rtbus_redis_shard_has_tag(ngx_rtbus_redis_shard_t *shard,
    ngx_uint_t n);


#endif /* _NGX_RTBUS_REDIS_SHARDS_H_INCLUDED_ */
