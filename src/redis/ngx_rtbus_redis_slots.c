
#include "ngx_rtbus_redis_slots.h"
#include "ngx_rtbus_redis_call.h"
#include "rtbus_slot.h"


/* ms between two looks at who has which slots */
#define NGX_RTBUS_REDIS_SLOTS_MIN     250
#define NGX_RTBUS_REDIS_SLOTS_MAX     1000

/* ... without any other reason */
#define NGX_RTBUS_REDIS_SLOTS_LOOK    10000

/* linked nodes that may be cut off before a node of the URL is asked */
#define NGX_RTBUS_REDIS_SLOTS_VAIN    2

/* times that a seed is asked while no shard can be reached */
#define NGX_RTBUS_REDIS_SLOTS_SEED    4

#define NGX_RTBUS_REDIS_SLOTS_LOG     60    /* s between refusals in the log */


static void ngx_rtbus_redis_slots_seed_close(ngx_rtbus_redis_shards_t *shards);
static void ngx_rtbus_redis_slots_ask(ngx_event_t *ev);
static ngx_rtbus_redis_cmd_t *ngx_rtbus_redis_slots_whom(
    ngx_rtbus_redis_shards_t *shards);
static void ngx_rtbus_redis_slots_state(void *data, redisReply *reply);
static void ngx_rtbus_redis_slots_told(void *data, redisReply *reply);
static void ngx_rtbus_redis_slots_doubt(ngx_rtbus_redis_shards_t *shards,
    ngx_rtbus_redis_conn_t *asked);
static void ngx_rtbus_redis_slots_visit(ngx_rtbus_redis_shards_t *shards);
static void ngx_rtbus_redis_slots_complain(ngx_rtbus_redis_shards_t *shards,
    const char *text);
static ngx_uint_t ngx_rtbus_redis_slots_trouble(
    ngx_rtbus_redis_shards_t *shards);
static ngx_int_t ngx_rtbus_redis_slots_map(ngx_rtbus_redis_shards_t *shards,
    ngx_rtbus_redis_conn_t *rc, redisReply *reply);
static ngx_int_t ngx_rtbus_redis_slots_range(ngx_rtbus_redis_shards_t *shards,
    ngx_rtbus_redis_conn_t *rc, redisReply *range,
    ngx_rtbus_redis_shard_t **slots);
static void ngx_rtbus_redis_slots_assign(ngx_rtbus_redis_shards_t *shards,
    ngx_rtbus_redis_shard_t **slots);
static void ngx_rtbus_redis_slots_hand_over(ngx_rtbus_redis_shards_t *shards,
    ngx_rtbus_redis_sub_t *rs, ngx_queue_t *queue);
static void ngx_rtbus_redis_slots_seed_locate(ngx_rtbus_redis_conn_t *rc);
static void ngx_rtbus_redis_slots_seed_changed(ngx_rtbus_redis_cmd_t *rm);
static void ngx_rtbus_redis_slots_seed_full(ngx_rtbus_redis_conn_t *rc);
static void ngx_rtbus_redis_slots_seed_exiting(ngx_rtbus_redis_conn_t *rc);


void
ngx_rtbus_redis_slots_init(ngx_rtbus_redis_shards_t *shards)
{
    ngx_rtbus_redis_cmd_t  *seed;

    shards->slots = NULL;
    shards->node = 0;
    shards->seeded = 0;
    shards->teller = NULL;
    shards->asked = NULL;
    shards->delay = NGX_RTBUS_REDIS_SLOTS_MIN;
    shards->last = ngx_current_msec - shards->delay;
    shards->complained = 0;
    shards->vain = 0;
    shards->seeding = 0;
    shards->again = 0;
    shards->doubted = 0;

    if (!shards->cluster) {
        return;
    }

    ngx_memzero(&shards->refresh, sizeof(ngx_event_t));
    shards->refresh.handler = ngx_rtbus_redis_slots_ask;
    shards->refresh.data = shards;
    shards->refresh.log = shards->log;
    shards->refresh.cancelable = 1;

    seed = &shards->seed;

    ngx_memzero(seed, sizeof(ngx_rtbus_redis_cmd_t));
    seed->changed_handler = ngx_rtbus_redis_slots_seed_changed;
    seed->exiting_handler = ngx_rtbus_redis_slots_seed_exiting;
    seed->conn.locate_handler = ngx_rtbus_redis_slots_seed_locate;
    seed->conn.full_handler = ngx_rtbus_redis_slots_seed_full;
    seed->conn.places = shards->conf->nnodes;

    ngx_rtbus_redis_slots_room(shards);
    ngx_rtbus_redis_slots_refresh(shards, NULL);
}


void
ngx_rtbus_redis_slots_close(ngx_rtbus_redis_shards_t *shards)
{
    ngx_rtbus_redis_slots_seed_close(shards);
    ngx_rtbus_redis_conn_drop_place(&shards->seed.conn);

    if (shards->refresh.timer_set) {
        ngx_del_timer(&shards->refresh);
    }
}


void
ngx_rtbus_redis_slots_room(ngx_rtbus_redis_shards_t *shards)
{
    ngx_rtbus_redis_conn_keep_place(&shards->seed.conn, shards->log);
}


void
ngx_rtbus_redis_slots_seeded(ngx_rtbus_redis_shards_t *shards)
{
    if (shards->vain == 0) {
        ngx_rtbus_redis_slots_seed_close(shards);
    }
}


void
ngx_rtbus_redis_slots_refresh(ngx_rtbus_redis_shards_t *shards,
    ngx_rtbus_redis_shard_t *shard)
{
    ngx_msec_t  elapsed, delay;

    if (!shards->cluster || shards->closed) {
        return;
    }

    if (shard) {
        shards->teller = shard;
    }

    if (shards->asked) {
        shards->again = 1;
        return;
    }

    ngx_log_debug2(NGX_LOG_DEBUG_EVENT, shards->log, 0,
                   "rtbus: redis slots may have changed, told:%d delay:%M",
                   shard != NULL, shards->delay);

    elapsed = ngx_current_msec - shards->last;
    delay = (elapsed < shards->delay) ? shards->delay - elapsed : 0;

    /* it may be set for a later, periodic look */

    if (shards->refresh.timer_set
        && (ngx_msec_int_t) (shards->refresh.timer.key - ngx_current_msec)
           <= (ngx_msec_int_t) delay)
    {
        return;
    }

    ngx_add_timer(&shards->refresh, delay);
}


static void
ngx_rtbus_redis_slots_ask(ngx_event_t *ev)
{
    ngx_rtbus_redis_cmd_t     *rm;
    ngx_rtbus_redis_shards_t  *shards;

    static const char         *info[] = { "CLUSTER", "INFO" };
    static const char         *argv[] = { "CLUSTER", "SLOTS" };
    static const size_t        info_len[] = { 7, 4 };
    static const size_t        len[] = { 7, 5 };

    shards = ev->data;

    rm = ngx_rtbus_redis_slots_whom(shards);

    ngx_log_debug2(NGX_LOG_DEBUG_EVENT, ev->log, 0,
                   "rtbus: redis slots are asked for, node:%d seed:%d",
                   rm != NULL, rm == &shards->seed);

    if (rm == NULL) {

        if (!shards->seeding) {
            shards->seeding = 1;
            (void) ngx_rtbus_redis_cmd_init(&shards->seed, shards->conf,
                                            shards->log);
        }

        /* it follows when that is up */

        return;
    }

    shards->again = 0;
    shards->doubted = 0;
    shards->last = ngx_current_msec;

    if (ngx_rtbus_redis_cmd_call(rm, 2, info, info_len,
                                 ngx_rtbus_redis_slots_state, shards)
           == NULL
        || ngx_rtbus_redis_cmd_call(rm, 2, argv, len,
                                    ngx_rtbus_redis_slots_told, shards)
           == NULL)
    {
        ngx_add_timer(ev, shards->delay);
        return;
    }

    shards->asked = &rm->conn;
}


static ngx_rtbus_redis_cmd_t *
ngx_rtbus_redis_slots_whom(ngx_rtbus_redis_shards_t *shards)
{
    ngx_rtbus_redis_shard_t  *shard;

    shard = shards->teller;
    shards->teller = NULL;

    if (shard && shard->open && shard->cmd.conn.up) {
        return &shard->cmd;
    }

    if (shards->vain >= NGX_RTBUS_REDIS_SLOTS_VAIN
        && (!shards->seeding || shards->seed.conn.up))
    {
        /* the linked nodes do not know, a node of the URL may */

        return shards->seeding ? &shards->seed : NULL;
    }

    for (shard = ngx_rtbus_redis_shards_next(shards, NULL);
         shard;
         shard = ngx_rtbus_redis_shards_next(shards, shard))
    {
        if (shard->cmd.conn.up) {

            /* in turn: one may not have heard of what the others know */

            ngx_queue_remove(&shard->queue);
            ngx_queue_insert_tail(&shards->all, &shard->queue);

            return &shard->cmd;
        }
    }

    if (shards->seeding && shards->seed.conn.up) {

        if (shards->seeded++ < NGX_RTBUS_REDIS_SLOTS_SEED) {
            return &shards->seed;
        }

        ngx_rtbus_redis_conn_fail(&shards->seed.conn,
                                  "no server that it knows can be reached");
    }

    return NULL;
}


/*
 * A node that is cut off from the others has an old map.  If the user may not
 * call CLUSTER INFO, the node is believed.
 */

static void
ngx_rtbus_redis_slots_state(void *data, redisReply *reply)
{
    ngx_rtbus_redis_shards_t *shards = data;

    shards->doubted = (reply && reply->type == REDIS_REPLY_STRING
                       && ngx_strstr(reply->str, "cluster_state:fail"));
}


static void
ngx_rtbus_redis_slots_told(void *data, redisReply *reply)
{
    ngx_rtbus_redis_shards_t *shards = data;

    ngx_int_t                 rc;
    ngx_rtbus_redis_conn_t   *asked;
    ngx_rtbus_redis_shard_t  *shard;

    ngx_log_debug3(NGX_LOG_DEBUG_EVENT, shards->log, 0,
                   "rtbus: redis slots, type:%d doubted:%d vain:%ui",
                   reply ? reply->type : 0, shards->doubted, shards->vain);

    asked = shards->asked;
    shards->asked = NULL;

    rc = NGX_DECLINED;

    if (reply && reply->type == REDIS_REPLY_ARRAY && reply->elements
        && shards->doubted)
    {
        ngx_rtbus_redis_slots_doubt(shards, asked);

    } else if (reply && reply->type == REDIS_REPLY_ARRAY) {
        shards->vain = 0;

        rc = ngx_rtbus_redis_slots_map(shards, asked, reply);

        if (rc == NGX_DECLINED) {
            ngx_rtbus_redis_slots_complain(shards, "nobody has any slot");
        }

    } else if (reply) {
        ngx_rtbus_redis_slots_complain(shards,
                                        reply->type == REDIS_REPLY_ERROR
                                        ? reply->str : "unexpected reply");
    }

    if (rc == NGX_OK) {
        shards->delay = NGX_RTBUS_REDIS_SLOTS_MIN;

    } else {
        shards->delay = ngx_min(shards->delay * 2, NGX_RTBUS_REDIS_SLOTS_MAX);
    }

    for (shard = ngx_rtbus_redis_shards_next(shards, NULL);
         shard;
         shard = ngx_rtbus_redis_shards_next(shards, shard))
    {
        ngx_rtbus_redis_sub_retry(&shard->sub);
    }

    ngx_rtbus_redis_call_go(shards);

    if (shards->closed) {
        return;
    }

    if (shards->again || shards->vain
        || ngx_rtbus_redis_slots_trouble(shards))
    {
        ngx_rtbus_redis_slots_refresh(shards, NULL);
        return;
    }

    shards->delay = NGX_RTBUS_REDIS_SLOTS_MIN;

    if (asked != &shards->seed.conn) {
        ngx_rtbus_redis_slots_seed_close(shards);
    }

    /* a node may be wrong without any sign of it */

    ngx_rtbus_redis_slots_visit(shards);

    if (!shards->refresh.timer_set) {
        ngx_add_timer(&shards->refresh, NGX_RTBUS_REDIS_SLOTS_LOOK);
    }
}


/* its map may be old: another node is asked */

static void
ngx_rtbus_redis_slots_doubt(ngx_rtbus_redis_shards_t *shards,
    ngx_rtbus_redis_conn_t *asked)
{
    shards->vain++;

    ngx_rtbus_redis_slots_complain(shards,
                                    "its node has \"cluster_state:fail\"");

    if (asked == &shards->seed.conn) {
        shards->vain = 0;
        ngx_rtbus_redis_conn_fail(asked, "its cluster is down");
    }
}


/* opens one more master, so that all of them are asked in turn */

static void
ngx_rtbus_redis_slots_visit(ngx_rtbus_redis_shards_t *shards)
{
    ngx_queue_t              *q;
    ngx_rtbus_redis_shard_t  *shard;

    for (q = ngx_queue_head(&shards->all);
         q != ngx_queue_sentinel(&shards->all);
         q = ngx_queue_next(q))
    {
        shard = ngx_queue_data(q, ngx_rtbus_redis_shard_t, queue);

        if (shard->listed && !shard->open) {
            ngx_rtbus_redis_shard_open(shard);
            return;
        }
    }
}


static void
ngx_rtbus_redis_slots_complain(ngx_rtbus_redis_shards_t *shards,
    const char *text)
{
    ngx_uint_t  level;

    level = NGX_LOG_INFO;

    if (shards->complained == 0
        || ngx_time() - shards->complained >= NGX_RTBUS_REDIS_SLOTS_LOG)
    {
        shards->complained = ngx_time();
        level = NGX_LOG_ERR;
    }

    ngx_log_error(level, shards->log, 0,
                  "rtbus: could not get the slots of the cluster \"%V\": %s",
                  &shards->conf->name, text);
}


/* is the map incomplete, or a master away */

static ngx_uint_t
ngx_rtbus_redis_slots_trouble(ngx_rtbus_redis_shards_t *shards)
{
    ngx_rtbus_redis_shard_t  *shard;

    if (shards->slots == NULL
        || shards->one.sub.topics.n || shards->one.sub.plains.n)
    {
        return 1;
    }

    for (shard = ngx_rtbus_redis_shards_next(shards, NULL);
         shard;
         shard = ngx_rtbus_redis_shards_next(shards, shard))
    {
        if (shard->listed && !ngx_rtbus_redis_shard_usable(shard)) {
            return 1;
        }
    }

    return 0;
}


/* NGX_OK; NGX_AGAIN: it is as it was; NGX_DECLINED: it is of no use */

static ngx_int_t
ngx_rtbus_redis_slots_map(ngx_rtbus_redis_shards_t *shards,
    ngx_rtbus_redis_conn_t *rc, redisReply *reply)
{
    size_t                     i;
    ngx_uint_t                 n;
    ngx_rtbus_redis_shard_t  **slots;

    slots = ngx_calloc(RTBUS_SLOTS * sizeof(ngx_rtbus_redis_shard_t *),
                       shards->log);
    if (slots == NULL) {
        return NGX_AGAIN;
    }

    n = 0;

    for (i = 0; i < reply->elements; i++) {
        if (ngx_rtbus_redis_slots_range(shards, rc, reply->element[i], slots)
            == NGX_OK)
        {
            n++;
        }
    }

    if (n == 0) {
        ngx_free(slots);
        return NGX_DECLINED;
    }

    if (shards->slots
        && ngx_memcmp(slots, shards->slots,
                      RTBUS_SLOTS * sizeof(ngx_rtbus_redis_shard_t *))
           == 0)
    {
        ngx_free(slots);
        return NGX_AGAIN;
    }

    ngx_rtbus_redis_slots_assign(shards, slots);

    return NGX_OK;
}


/* [ first slot, last slot, [ host, port, id, [ "ip", ... ] ], replicas ... ] */

static ngx_int_t
ngx_rtbus_redis_slots_range(ngx_rtbus_redis_shards_t *shards,
    ngx_rtbus_redis_conn_t *rc, redisReply *range,
    ngx_rtbus_redis_shard_t **slots)
{
    ngx_str_t                 host;
    long long                 i, first, last, port;
    redisReply               *node;
    ngx_rtbus_redis_shard_t  *shard;

    if (range->type != REDIS_REPLY_ARRAY || range->elements < 3
        || range->element[0]->type != REDIS_REPLY_INTEGER
        || range->element[1]->type != REDIS_REPLY_INTEGER)
    {
        return NGX_ERROR;
    }

    first = range->element[0]->integer;
    last = range->element[1]->integer;
    node = range->element[2];

    if (first < 0 || last < first || last >= RTBUS_SLOTS
        || node->type != REDIS_REPLY_ARRAY || node->elements < 2
        || node->element[1]->type != REDIS_REPLY_INTEGER)
    {
        return NGX_ERROR;
    }

    port = node->element[1]->integer;

    if (port < 1 || port > 65535) {
        return NGX_ERROR;
    }

    ngx_str_null(&host);

    if (node->element[0]->type == REDIS_REPLY_STRING) {
        host.len = node->element[0]->len;
        host.data = (u_char *) node->element[0]->str;

        if (host.len == 1 && host.data[0] == '?') {
            /* the node prefers a name and does not have one */
            host.len = 0;
        }
    }

    shard = ngx_rtbus_redis_shard_find(shards, rc, &host, (in_port_t) port,
                                        node);
    if (shard == NULL) {
        return NGX_ERROR;
    }

    for (i = first; i <= last; i++) {
        slots[i] = shard;
    }

    return NGX_OK;
}


static void
ngx_rtbus_redis_slots_assign(ngx_rtbus_redis_shards_t *shards,
    ngx_rtbus_redis_shard_t **slots)
{
    ngx_uint_t                 i, n, level;
    ngx_queue_t               *q;
    ngx_rtbus_redis_shard_t   *shard, **before;

    before = shards->slots;
    shards->slots = slots;

    for (q = ngx_queue_head(&shards->all);
         q != ngx_queue_sentinel(&shards->all);
         q = ngx_queue_next(q))
    {
        shard = ngx_queue_data(q, ngx_rtbus_redis_shard_t, queue);
        shard->listed = 0;
    }

    n = 0;

    for (i = 0; i < RTBUS_SLOTS; i++) {
        if (slots[i] && !slots[i]->listed) {
            slots[i]->listed = 1;
            ngx_rtbus_redis_shard_places(slots[i], 1);
            n++;
        }
    }

    level = before ? NGX_LOG_INFO : NGX_LOG_NOTICE;

    ngx_log_error(level, shards->log, 0,
                  "rtbus: the cluster \"%V\" has %ui masters with slots",
                  &shards->conf->name, n);

    if (before) {
        ngx_free(before);
    }

    shard = &shards->one;

    for (q = ngx_queue_head(&shards->all);
         /* void */ ;
         q = ngx_queue_next(q))
    {
        ngx_rtbus_redis_slots_hand_over(shards, &shard->sub,
                                         &shard->sub.ready);
        ngx_rtbus_redis_slots_hand_over(shards, &shard->sub,
                                         &shard->sub.sent);
        ngx_rtbus_redis_slots_hand_over(shards, &shard->sub,
                                         &shard->sub.refused);
        ngx_rtbus_redis_slots_hand_over(shards, &shard->sub,
                                         &shard->sub.elsewhere);
        ngx_rtbus_redis_slots_hand_over(shards, &shard->sub,
                                         &shard->sub.pending);

        if (q == ngx_queue_sentinel(&shards->all)) {
            break;
        }

        shard = ngx_queue_data(q, ngx_rtbus_redis_shard_t, queue);
    }

    /* each master gets the library before the first call to it */

    for (q = ngx_queue_head(&shards->all);
         q != ngx_queue_sentinel(&shards->all);
         q = ngx_queue_next(q))
    {
        shard = ngx_queue_data(q, ngx_rtbus_redis_shard_t, queue);

        if (shard->listed && !shard->open && !shards->closed) {
            ngx_rtbus_redis_shard_open(shard);
        }
    }

    for (shard = ngx_rtbus_redis_shards_next(shards, NULL);
         shard;
         shard = ngx_rtbus_redis_shards_next(shards, shard))
    {
        shards->handlers->changed(shard);
    }

    if (shards->one.sub.topics.n || shards->one.sub.plains.n) {
        shards->handlers->failed(&shards->one);
    }

    /* shards without slots are closed, but not within their handlers */

    ngx_add_timer(&shards->sweep, 0);
}


static void
ngx_rtbus_redis_slots_hand_over(ngx_rtbus_redis_shards_t *shards,
    ngx_rtbus_redis_sub_t *rs, ngx_queue_t *queue)
{
    ngx_uint_t                listed;
    ngx_queue_t              *q, *next;
    ngx_rtbus_redis_shard_t  *to;
    ngx_rtbus_redis_topic_t  *topic;

    listed = ngx_rtbus_redis_sub_shard(rs)->listed;

    for (q = ngx_queue_head(queue);
         q != ngx_queue_sentinel(queue);
         q = next)
    {
        next = ngx_queue_next(q);
        topic = ngx_queue_data(q, ngx_rtbus_redis_topic_t, queue);

        if (topic->fixed || topic->ghost) {
            continue;
        }

        if (topic->plain && listed) {

            /* any node will do, and messages would be lost in a move */

            continue;
        }

        to = ngx_rtbus_redis_shard(shards, topic->name.data, topic->name.len);

        if (&to->sub != rs) {
            ngx_log_debug2(NGX_LOG_DEBUG_EVENT, shards->log, 0,
                           "rtbus: redis topic \"%V\" goes to \"%V\"",
                           &topic->name, &to->node.name);

            ngx_rtbus_redis_sub_move(rs, topic, &to->sub);
        }
    }
}


/* the link to a node of the URL */

static void
ngx_rtbus_redis_slots_seed_locate(ngx_rtbus_redis_conn_t *rc)
{
    ngx_rtbus_redis_conf_t    *conf;
    ngx_rtbus_redis_shards_t  *shards;

    shards = ngx_queue_data(rc->data, ngx_rtbus_redis_shards_t, seed);
    conf = shards->conf;

    shards->node %= conf->nnodes;

    ngx_rtbus_redis_conn_located(rc, &conf->nodes[shards->node++], NULL);
}


static void
ngx_rtbus_redis_slots_seed_changed(ngx_rtbus_redis_cmd_t *rm)
{
    ngx_rtbus_redis_shards_t  *shards;

    shards = ngx_queue_data(rm, ngx_rtbus_redis_shards_t, seed);

    ngx_log_debug2(NGX_LOG_DEBUG_EVENT, shards->log, 0,
                   "rtbus: redis seed, up:%d node:%ui",
                   rm->conn.up, shards->node);

    if (rm->conn.up) {
        shards->seeded = 0;
        ngx_rtbus_redis_slots_refresh(shards, NULL);
    }
}


static void
ngx_rtbus_redis_slots_seed_full(ngx_rtbus_redis_conn_t *rc)
{
    ngx_rtbus_redis_shards_t  *shards;

    shards = ngx_queue_data(rc->data, ngx_rtbus_redis_shards_t, seed);

    shards->handlers->full(shards->data);
}


static void
ngx_rtbus_redis_slots_seed_exiting(ngx_rtbus_redis_conn_t *rc)
{
    ngx_rtbus_redis_shards_t  *shards;

    shards = ngx_queue_data(rc->data, ngx_rtbus_redis_shards_t, seed);

    shards->handlers->exiting(shards->data);
}


static void
ngx_rtbus_redis_slots_seed_close(ngx_rtbus_redis_shards_t *shards)
{
    if (shards->seeding) {
        shards->seeding = 0;
        ngx_rtbus_redis_cmd_close(&shards->seed);
    }
}
