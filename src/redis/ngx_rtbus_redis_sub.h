
/*
 * The pub/sub connection: the set of topics (Redis pub/sub channels) that the
 * worker wants, subscribed in batches, one write per loop turn, and all set up
 * again after a reconnect.
 *
 * A topic is embedded in what the caller keeps per channel.  It is ready when
 * Redis has confirmed its own SUBSCRIBE (not an earlier one of the same name:
 * confirmations are counted), and unready when the connection is lost.
 *
 * Each name has a SUBSCRIBE of its own, since Redis refuses a command as a
 * whole.  So a channel that its ACL forbids is just not ready, whatever else is
 * subscribed; it is tried again every 10 s, and ERR is logged once a minute.
 *
 * A pattern (PSUBSCRIBE) is a topic as well, in a set of its own.  It receives
 * the messages of all channels that it matches, and is never removed.
 *
 * In a Redis Cluster topics are shard channels (SSUBSCRIBE); a plain topic is
 * one of SUBSCRIBE, in a set of its own.  A shard channel that this server does
 * not have, or that it has given away, waits for ngx_rtbus_redis_sub_retry() or
 * ngx_rtbus_redis_sub_move().
 *
 * If a confirmation is due and Redis is silent for command_timeout, the
 * connection fails.
 */


#ifndef _NGX_RTBUS_REDIS_SUB_H_INCLUDED_
#define _NGX_RTBUS_REDIS_SUB_H_INCLUDED_


#include "ngx_rtbus_redis_conn.h"
#include "ngx_rtbus_redis_topics.h"


typedef struct ngx_rtbus_redis_pattern_s  ngx_rtbus_redis_pattern_t;


/* a message on a channel that matches; all bytes are valid during the call */
typedef void (*ngx_rtbus_redis_pattern_pt)(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_pattern_t *pattern, ngx_str_t *channel, u_char *data,
    size_t len);


struct ngx_rtbus_redis_pattern_s {
    ngx_rtbus_redis_topic_t         topic;      /* name: the pattern; there
                                                   are no handlers */
    ngx_rtbus_redis_pattern_pt      handler;
};


/*
 * The connection has come up, is lost or, the first time, cannot be made: see
 * conn.up and conn.failing.
 */
typedef void (*ngx_rtbus_redis_sub_changed_pt)(ngx_rtbus_redis_sub_t *rs);

/* a shard channel is not here, or the cluster is down: who has what? */
typedef void (*ngx_rtbus_redis_sub_elsewhere_pt)(ngx_rtbus_redis_sub_t *rs);


struct ngx_rtbus_redis_sub_s {
    /* set by the owner before init */

    ngx_rtbus_redis_sub_changed_pt  changed_handler;  /* may be NULL */
    ngx_rtbus_redis_sub_elsewhere_pt
                                    elsewhere_handler;  /* of a cluster */
    ngx_rtbus_redis_exiting_pt      exiting_handler;  /* see _conn.h */
    void                           *data;
    unsigned                        cluster:1;        /* topics are shard
                                                         channels */

    /* may be read by the owner: conn.up, reconnects, ready */

    ngx_rtbus_redis_conn_t          conn;
    ngx_uint_t                      reconnects; /* times up after the first */
    ngx_queue_t                     ready;      /* topics that are */

    /* private */

    ngx_rtbus_redis_topics_t        topics;
    ngx_rtbus_redis_topics_t        patterns;
    ngx_rtbus_redis_topics_t        plains;
    ngx_queue_t                     pending;    /* topics to be requested, */
    ngx_queue_t                     sent;       /* to be confirmed, */
    ngx_queue_t                     refused;    /* to be tried again, */
    ngx_queue_t                     elsewhere;  /* to be looked for */
    ngx_uint_t                      nfixed;     /* topics that are fixed */
    uint64_t                        requested;  /* SUBSCRIBE and UNSUBSCRIBE
                                                   names sent ... */
    uint64_t                        confirmed;  /* ... and answered */
    ngx_msec_t                      since;      /* when a confirmation has come
                                                   to be due */
    ngx_rtbus_redis_silence_t       silence;
    time_t                          logged;     /* refusal, at ERR */
    ngx_event_t                     batch;      /* posted: sends SUBSCRIBE */
    ngx_event_t                     timeout;    /* of confirmations */
    ngx_event_t                     retry;      /* of refused topics */
    unsigned                        started:1;  /* has been up */
    unsigned                        down:1;     /* CLUSTERDOWN was the answer:
                                                   it knows of nothing */
};


/* topics wait until the owner connects: ngx_rtbus_redis_conn_init(&rs->conn) */

ngx_int_t ngx_rtbus_redis_sub_init(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_conf_t *conf, ngx_log_t *log);

/* the topic of this name, or NULL; hash is that of the name */

ngx_rtbus_redis_topic_t *ngx_rtbus_redis_sub_lookup(ngx_rtbus_redis_sub_t *rs,
    ngx_str_t *name, uint32_t hash);

/*
 * Adds a zeroed topic whose name and handlers are set; the caller has checked
 * that the name is new.  Its memory must stay until it is removed.  Redis may
 * be away.  ready or refused follows, never from within the call.
 */

void ngx_rtbus_redis_sub_add(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic);

/* the same for a topic of SUBSCRIBE in a cluster, among the plain ones */

void ngx_rtbus_redis_sub_add_plain(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic);

/* adds a zeroed pattern whose topic.name (new as well) and handler are set */

void ngx_rtbus_redis_sub_add_pattern(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_pattern_t *pattern);

/*
 * Forgets the topic at once; UNSUBSCRIBE follows.  Allowed in any handler but
 * lost.
 */

void ngx_rtbus_redis_sub_remove(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic);

/* hands a topic that is not a pattern over to another connection */

void ngx_rtbus_redis_sub_move(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic, ngx_rtbus_redis_sub_t *to);

/* shard channels that were elsewhere may be here now */

void ngx_rtbus_redis_sub_retry(ngx_rtbus_redis_sub_t *rs);

/* closes the connection, which has no topics; it is as after _init() */

void ngx_rtbus_redis_sub_stop(ngx_rtbus_redis_sub_t *rs);

/* closes for good, no handler is called; topics may still be removed */

void ngx_rtbus_redis_sub_close(ngx_rtbus_redis_sub_t *rs);


#endif /* _NGX_RTBUS_REDIS_SUB_H_INCLUDED_ */
