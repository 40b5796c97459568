
/*
 * One server with its two links, a shard, and the set of them; see
 * ngx_rtbus_redis_shards.h for what they are together.
 */


#ifndef _NGX_RTBUS_REDIS_SHARD_H_INCLUDED_
#define _NGX_RTBUS_REDIS_SHARD_H_INCLUDED_


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


/* what the links of a server report, to ngx_rtbus_redis_shards */

typedef struct {
    ngx_rtbus_redis_sub_changed_pt  sub_changed;
    ngx_rtbus_redis_cmd_changed_pt  cmd_changed;
    ngx_event_handler_pt            timer;      /* of opening */

    /* in a cluster */

    ngx_rtbus_redis_sub_elsewhere_pt
                                    elsewhere;
    ngx_rtbus_redis_cmd_error_pt    error;
} ngx_rtbus_redis_shard_links_t;


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

    const ngx_rtbus_redis_shard_links_t
                                   *links;
    ngx_rtbus_redis_conf_t         *conf;
    ngx_log_t                      *log;
    ngx_queue_t                     all;
    ngx_event_t                     sweep;      /* cancelable timer */
    unsigned                        closed:1;

    /* private: ngx_rtbus_redis_slots */

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
    unsigned                        seeding:1;
    unsigned                        again:1;    /* ask once more */
    unsigned                        doubted:1;  /* who is asked has said that
                                                   its cluster is down */

    /* private: ngx_rtbus_redis_call */

    ngx_rtbus_redis_call_t         *waiting;    /* not sent yet, or again */
    ngx_rtbus_redis_call_t        **waiting_last;
    ngx_event_t                     wait;       /* timer */
};


/* the shard of a key or a channel, which is opened for it; never NULL */

ngx_rtbus_redis_shard_t *ngx_rtbus_redis_shard(
    ngx_rtbus_redis_shards_t *shards, u_char *name, size_t len);

/*
 * Outside of a cluster, and if only a master will do: asks the server whether
 * it still is one; if it is not, both links reconnect.  To be called
 * periodically.
 */

void ngx_rtbus_redis_shard_look(ngx_rtbus_redis_shard_t *shard);

/* shards that are open: the first one for NULL, NULL after the last one */

ngx_rtbus_redis_shard_t *ngx_rtbus_redis_shards_next(
    ngx_rtbus_redis_shards_t *shards, ngx_rtbus_redis_shard_t *shard);

/* the links are up, or may be soon */

#define ngx_rtbus_redis_shard_usable(shard)                                   \
    (((shard)->sub.conn.up && (shard)->cmd.conn.up) || (shard)->opening)

/* there is a server for calls, or even for all of them */

#define ngx_rtbus_redis_shards_up(s)                                          \
    ((s)->cluster ? (s)->slots != NULL : (s)->one.cmd.conn.up)

/*
 * In a cluster: a number whose digits, as a hash tag, are in a slot of the
 * shard; is n still one.  NGX_OK or NGX_DECLINED.
 */

ngx_int_t ngx_rtbus_redis_shard_tag(ngx_rtbus_redis_shard_t *shard,
    ngx_uint_t *n);
ngx_int_t ngx_rtbus_redis_shard_has_tag(ngx_rtbus_redis_shard_t *shard,
    ngx_uint_t n);


/* for the other files of the shards: */

#define ngx_rtbus_redis_sub_shard(rs)                                         \
    ((ngx_rtbus_redis_shard_t *)                                              \
         ((u_char *) (rs) - offsetof(ngx_rtbus_redis_shard_t, sub)))

#define ngx_rtbus_redis_cmd_shard(rm)                                         \
    ((ngx_rtbus_redis_shard_t *)                                              \
         ((u_char *) (rm) - offsetof(ngx_rtbus_redis_shard_t, cmd)))


/*
 * Prepares a shard in zeroed memory: it can have topics from now on, and gets
 * links when it is opened.  NGX_OK or NGX_ERROR.
 */

ngx_int_t ngx_rtbus_redis_shard_init(ngx_rtbus_redis_shards_t *shards,
    ngx_rtbus_redis_shard_t *shard);

void ngx_rtbus_redis_shard_open(ngx_rtbus_redis_shard_t *shard);

/* the links are closed, calls fail; topics stay */

void ngx_rtbus_redis_shard_stop(ngx_rtbus_redis_shard_t *shard);

/* removes a shard without links from the set */

void ngx_rtbus_redis_shard_free(ngx_rtbus_redis_shard_t *shard);

/* keep: whether its links have places in the worker while it is closed */

void ngx_rtbus_redis_shard_places(ngx_rtbus_redis_shard_t *shard,
    ngx_uint_t keep);

/*
 * The shard of this host and port; it is created if it does not exist.  rc: the
 * connection that named it; without a host its peer is meant.  node: the entry
 * of CLUSTER SLOTS, or NULL.  Returns NULL if the address is not known
 * (logged), or without memory.
 */

ngx_rtbus_redis_shard_t *ngx_rtbus_redis_shard_find(
    ngx_rtbus_redis_shards_t *shards, ngx_rtbus_redis_conn_t *rc,
    ngx_str_t *host, in_port_t port, redisReply *node);


#endif /* _NGX_RTBUS_REDIS_SHARD_H_INCLUDED_ */
