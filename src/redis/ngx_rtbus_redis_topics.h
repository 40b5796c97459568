
/*
 * Topics, the pub/sub channels of Redis that a worker wants, by their names.
 * ngx_rtbus_redis_sub subscribes to them.
 */


#ifndef _NGX_RTBUS_REDIS_TOPICS_H_INCLUDED_
#define _NGX_RTBUS_REDIS_TOPICS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


typedef struct ngx_rtbus_redis_sub_s      ngx_rtbus_redis_sub_t;
typedef struct ngx_rtbus_redis_topic_s    ngx_rtbus_redis_topic_t;


/* what becomes of a topic; statics of whoever has topics of this kind */

typedef struct {
    /* SUBSCRIBE was confirmed, at first and after every reconnect */
    void                          (*ready)(ngx_rtbus_redis_sub_t *rs,
                                      ngx_rtbus_redis_topic_t *topic);

    /* SUBSCRIBE was answered with an error, it will be repeated */
    void                          (*refused)(ngx_rtbus_redis_sub_t *rs,
                                      ngx_rtbus_redis_topic_t *topic);

    /* a message on a ready topic; the bytes are valid during the call */
    void                          (*message)(ngx_rtbus_redis_sub_t *rs,
                                      ngx_rtbus_redis_topic_t *topic,
                                      u_char *data, size_t len);

    /* the connection is lost, no topic is ready any more; this handler must
       not remove topics */
    void                          (*lost)(ngx_rtbus_redis_sub_t *rs,
                                      ngx_rtbus_redis_topic_t *topic);

    /* a topic that was ready is with another server now, and will be ready
       there; this handler must not remove topics, either */
    void                          (*handed_over)(ngx_rtbus_redis_sub_t *rs,
                                      ngx_rtbus_redis_topic_t *topic);
} ngx_rtbus_redis_topic_handlers_t;


struct ngx_rtbus_redis_topic_s {
    ngx_str_t                       name;       /* caller's memory, must stay */
    const ngx_rtbus_redis_topic_handlers_t
                                   *handlers;
    ngx_rtbus_redis_topic_t        *next;       /* in its slot */
    ngx_queue_t                     queue;      /* pending, sent, refused,
                                                   elsewhere or ready */
    uint64_t                        number;     /* of its SUBSCRIBE; 0: none */
    uint32_t                        hash;       /* of the name */
    unsigned                        ready:1;
    unsigned                        refused:1;  /* its last SUBSCRIBE was */
    unsigned                        pattern:1;
    unsigned                        plain:1;    /* in a cluster: SUBSCRIBE */
    unsigned                        fixed:1;    /* set by the owner: stays with
                                                   its server */
    unsigned                        ghost:1;    /* was removed before Redis has
                                                   answered */
    unsigned                        moves:4;    /* times that Redis has said it
                                                   is elsewhere, in a row */
};


/*
 * Topics by their names: a hash table, doubled when it has as many topics as
 * slots, so that the cost of a message does not depend on their number.
 */

typedef struct {
    ngx_rtbus_redis_topic_t       **slots;      /* malloc'ed; NULL: closed */
    ngx_uint_t                      mask;       /* number of slots - 1 */
    ngx_uint_t                      n;          /* topics */
} ngx_rtbus_redis_topics_t;


/* of a name, of this process only: clients choose names, and do not know it */

uint32_t ngx_rtbus_redis_sub_hash(ngx_str_t *name);

/* makes the key of the hash, once; NGX_OK or NGX_ERROR */

ngx_int_t ngx_rtbus_redis_topics_key(ngx_log_t *log);

/* slots: at first, a power of 2; NGX_OK or NGX_ERROR */

ngx_int_t ngx_rtbus_redis_topics_init(ngx_rtbus_redis_topics_t *topics,
    ngx_uint_t slots, ngx_log_t *log);

/* topics may still be inserted and removed, and are not found */

void ngx_rtbus_redis_topics_close(ngx_rtbus_redis_topics_t *topics);

/* the topic of this name, or NULL; hash is that of the name */

ngx_rtbus_redis_topic_t *ngx_rtbus_redis_topics_lookup(
    ngx_rtbus_redis_topics_t *topics, ngx_str_t *name, uint32_t hash);

/* topic->hash is set */

void ngx_rtbus_redis_topics_insert(ngx_rtbus_redis_topics_t *topics,
    ngx_rtbus_redis_topic_t *topic, ngx_log_t *log);
void ngx_rtbus_redis_topics_remove(ngx_rtbus_redis_topics_t *topics,
    ngx_rtbus_redis_topic_t *topic);


#endif /* _NGX_RTBUS_REDIS_TOPICS_H_INCLUDED_ */
