
#include "ngx_rtbus_redis_topics.h"
#include "rtbus_hash.h"
#include <openssl/rand.h>


static void ngx_rtbus_redis_topics_grow(ngx_rtbus_redis_topics_t *topics,
    ngx_log_t *log);


/* of all buses of the process */

static u_char      ngx_rtbus_redis_topics_random[RTBUS_HASH_KEY];
static ngx_uint_t  ngx_rtbus_redis_topics_keyed;


uint32_t
ngx_rtbus_redis_sub_hash(ngx_str_t *name)
{
    return rtbus_hash(ngx_rtbus_redis_topics_random, name->data, name->len);
}


ngx_int_t
ngx_rtbus_redis_topics_key(ngx_log_t *log)
{
    if (ngx_rtbus_redis_topics_keyed) {
        return NGX_OK;
    }

    if (RAND_bytes(ngx_rtbus_redis_topics_random, RTBUS_HASH_KEY) != 1) {
        ngx_log_error(NGX_LOG_CRIT, log, 0, "rtbus: RAND_bytes() failed");
        return NGX_ERROR;
    }

    ngx_rtbus_redis_topics_keyed = 1;

    return NGX_OK;
}


ngx_int_t
ngx_rtbus_redis_topics_init(ngx_rtbus_redis_topics_t *topics, ngx_uint_t slots,
    ngx_log_t *log)
{
    topics->n = 0;
    topics->mask = slots - 1;
    topics->slots = ngx_calloc(slots * sizeof(ngx_rtbus_redis_topic_t *), log);

    return topics->slots ? NGX_OK : NGX_ERROR;
}


void
ngx_rtbus_redis_topics_close(ngx_rtbus_redis_topics_t *topics)
{
    if (topics->slots) {
        ngx_free(topics->slots);
        topics->slots = NULL;
    }
}


ngx_rtbus_redis_topic_t *
ngx_rtbus_redis_topics_lookup(ngx_rtbus_redis_topics_t *topics,
    ngx_str_t *name, uint32_t hash)
{
    ngx_rtbus_redis_topic_t  *topic;

    if (topics->slots == NULL) {
        return NULL;
    }

    for (topic = topics->slots[hash & topics->mask];
         topic;
         topic = topic->next)
    {
        if (topic->hash == hash
            && topic->name.len == name->len
            && ngx_memcmp(topic->name.data, name->data, name->len) == 0)
        {
            return topic;
        }
    }

    return NULL;
}


void
ngx_rtbus_redis_topics_insert(ngx_rtbus_redis_topics_t *topics,
    ngx_rtbus_redis_topic_t *topic, ngx_log_t *log)
{
    ngx_rtbus_redis_topic_t  **slot;

    topics->n++;

    if (topics->slots == NULL) {
        return;
    }

    if (topics->n > topics->mask + 1) {
        ngx_rtbus_redis_topics_grow(topics, log);
    }

    slot = &topics->slots[topic->hash & topics->mask];

    topic->next = *slot;
    *slot = topic;
}


/* without the memory for it everything is as slow as it is */

static void
ngx_rtbus_redis_topics_grow(ngx_rtbus_redis_topics_t *topics, ngx_log_t *log)
{
    ngx_uint_t                 i, n;
    ngx_rtbus_redis_topic_t   *topic, *next, **slots, **slot;

    n = (topics->mask + 1) * 2;

    slots = ngx_calloc(n * sizeof(ngx_rtbus_redis_topic_t *), log);
    if (slots == NULL) {
        return;
    }

    for (i = 0; i <= topics->mask; i++) {

        for (topic = topics->slots[i]; topic; topic = next) {
            next = topic->next;
            slot = &slots[topic->hash & (n - 1)];

            topic->next = *slot;
            *slot = topic;
        }
    }

    ngx_free(topics->slots);

    topics->slots = slots;
    topics->mask = n - 1;
}


void
ngx_rtbus_redis_topics_remove(ngx_rtbus_redis_topics_t *topics,
    ngx_rtbus_redis_topic_t *topic)
{
    ngx_rtbus_redis_topic_t  **slot;

    topics->n--;

    if (topics->slots == NULL) {
        return;
    }

    slot = &topics->slots[topic->hash & topics->mask];

    while (*slot != topic) {
        slot = &(*slot)->next;
    }

    *slot = topic->next;
}
