
#include "ngx_rtbus_redis_shards.h"
#include "ngx_rtbus_redis_slots.h"


#define NGX_RTBUS_REDIS_SHARDS_SWEEP  5000
#define NGX_RTBUS_REDIS_SHARDS_IDLE   60000

/* of one call */
#define NGX_RTBUS_REDIS_SHARDS_TRIES  8
#define NGX_RTBUS_REDIS_SHARDS_PAUSE  50


#define ngx_rtbus_redis_is(error, text)                                       \
    (ngx_strncmp((error)->str, text, sizeof(text) - 1) == 0)


static void ngx_rtbus_redis_shards_opened(ngx_rtbus_redis_shard_t *shard);
static void ngx_rtbus_redis_shards_sub_changed(ngx_rtbus_redis_sub_t *rs);
static void ngx_rtbus_redis_shards_cmd_changed(ngx_rtbus_redis_cmd_t *rm);
static void ngx_rtbus_redis_shards_elsewhere(ngx_rtbus_redis_sub_t *rs);
static void ngx_rtbus_redis_shards_timer(ngx_event_t *ev);
static ngx_int_t ngx_rtbus_redis_shards_error(ngx_rtbus_redis_cmd_t *rm,
    ngx_rtbus_redis_call_t *call, redisReply *reply);
static void ngx_rtbus_redis_shards_sweep(ngx_event_t *ev);


static const ngx_rtbus_redis_shard_links_t  ngx_rtbus_redis_shards_links = {
    ngx_rtbus_redis_shards_sub_changed,
    ngx_rtbus_redis_shards_cmd_changed,
    ngx_rtbus_redis_shards_timer,
    ngx_rtbus_redis_shards_elsewhere,
    ngx_rtbus_redis_shards_error
};


ngx_int_t
ngx_rtbus_redis_shards_init(ngx_rtbus_redis_shards_t *shards,
    ngx_rtbus_redis_conf_t *conf, ngx_log_t *log)
{
    shards->conf = conf;
    shards->log = log;
    shards->cluster = (conf->kind == NGX_RTBUS_REDIS_CLUSTER);
    shards->links = &ngx_rtbus_redis_shards_links;
    shards->closed = 0;

    ngx_queue_init(&shards->all);

    ngx_rtbus_redis_call_init(shards);

    ngx_memzero(&shards->one, sizeof(ngx_rtbus_redis_shard_t));
    shards->one.node.name = conf->name;

    if (ngx_rtbus_redis_shard_init(shards, &shards->one) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_rtbus_redis_slots_init(shards);

    if (!shards->cluster) {
        ngx_queue_insert_tail(&shards->all, &shards->one.queue);

        shards->one.listed = 1;
        ngx_rtbus_redis_shard_open(&shards->one);

        return NGX_OK;
    }

    ngx_memzero(&shards->sweep, sizeof(ngx_event_t));
    shards->sweep.handler = ngx_rtbus_redis_shards_sweep;
    shards->sweep.data = shards;
    shards->sweep.log = log;
    shards->sweep.cancelable = 1;

    ngx_add_timer(&shards->sweep, NGX_RTBUS_REDIS_SHARDS_SWEEP);

    return NGX_OK;
}


void
ngx_rtbus_redis_shards_close(ngx_rtbus_redis_shards_t *shards)
{
    ngx_queue_t              *q;
    ngx_rtbus_redis_shard_t  *shard;

    shards->closed = 1;

    for (q = ngx_queue_head(&shards->all);
         q != ngx_queue_sentinel(&shards->all);
         q = ngx_queue_next(q))
    {
        shard = ngx_queue_data(q, ngx_rtbus_redis_shard_t, queue);
        ngx_rtbus_redis_shard_stop(shard);
    }

    if (!shards->cluster) {
        return;
    }

    ngx_rtbus_redis_slots_close(shards);

    if (shards->sweep.timer_set) {
        ngx_del_timer(&shards->sweep);
    }

    ngx_rtbus_redis_call_close(shards);
}


void
ngx_rtbus_redis_shards_free(ngx_rtbus_redis_shards_t *shards)
{
    ngx_queue_t              *q;
    ngx_rtbus_redis_shard_t  *shard;

    while (!ngx_queue_empty(&shards->all)) {
        q = ngx_queue_head(&shards->all);
        shard = ngx_queue_data(q, ngx_rtbus_redis_shard_t, queue);

        ngx_queue_remove(q);

        if (shard != &shards->one) {
            ngx_rtbus_redis_shard_places(shard, 0);
            ngx_rtbus_redis_sub_close(&shard->sub);
            ngx_free(shard);
        }
    }

    ngx_rtbus_redis_shard_places(&shards->one, 0);
    ngx_rtbus_redis_sub_close(&shards->one.sub);

    if (shards->slots) {
        ngx_free(shards->slots);
        shards->slots = NULL;
    }
}


void
ngx_rtbus_redis_shards_room(ngx_rtbus_redis_shards_t *shards)
{
    ngx_queue_t              *q;
    ngx_rtbus_redis_shard_t  *shard;

    if (shards->closed) {
        return;
    }

    if (shards->cluster) {
        ngx_rtbus_redis_slots_room(shards);
    }

    for (q = ngx_queue_head(&shards->all);
         q != ngx_queue_sentinel(&shards->all);
         q = ngx_queue_next(q))
    {
        shard = ngx_queue_data(q, ngx_rtbus_redis_shard_t, queue);

        if (shard->listed) {
            ngx_rtbus_redis_shard_places(shard, 1);
        }
    }
}


ngx_uint_t
ngx_rtbus_redis_shards_failing(ngx_rtbus_redis_shards_t *shards,
    ngx_str_t *name)
{
    ngx_rtbus_redis_shard_t  *shard;

    if (shards->cluster && shards->slots == NULL) {
        return shards->seed.conn.failing;
    }

    shard = ngx_rtbus_redis_shard(shards, name->data, name->len);

    return shard->sub.conn.failing || shard->cmd.conn.failing;
}


static void
ngx_rtbus_redis_shards_opened(ngx_rtbus_redis_shard_t *shard)
{
    if (!shard->opening || !shard->sub.conn.up || !shard->cmd.conn.up) {
        return;
    }

    shard->opening = 0;
    ngx_del_timer(&shard->timer);
}


static void
ngx_rtbus_redis_shards_sub_changed(ngx_rtbus_redis_sub_t *rs)
{
    ngx_rtbus_redis_shard_t  *shard;

    shard = ngx_rtbus_redis_sub_shard(rs);

    ngx_log_debug2(NGX_LOG_DEBUG_EVENT, shard->shards->log, 0,
                   "rtbus: redis pub/sub \"%V\", up:%d",
                   &shard->node.name, rs->conn.up);

    ngx_rtbus_redis_shards_opened(shard);

    shard->shards->handlers->sub_changed(shard);

    if (!rs->conn.up) {
        ngx_rtbus_redis_slots_refresh(shard->shards, NULL);
    }
}


static void
ngx_rtbus_redis_shards_cmd_changed(ngx_rtbus_redis_cmd_t *rm)
{
    ngx_rtbus_redis_shard_t   *shard;
    ngx_rtbus_redis_shards_t  *shards;

    shard = ngx_rtbus_redis_cmd_shard(rm);
    shards = shard->shards;

    ngx_log_debug2(NGX_LOG_DEBUG_EVENT, shards->log, 0,
                   "rtbus: redis commands \"%V\", up:%d",
                   &shard->node.name, rm->conn.up);

    ngx_rtbus_redis_shards_opened(shard);

    shards->handlers->cmd_changed(shard);

    if (!rm->conn.up) {
        ngx_rtbus_redis_slots_refresh(shards, NULL);
        return;
    }

    if (shards->cluster) {
        ngx_rtbus_redis_slots_seeded(shards);
        ngx_rtbus_redis_call_go(shards);
    }
}


static void
ngx_rtbus_redis_shards_elsewhere(ngx_rtbus_redis_sub_t *rs)
{
    ngx_rtbus_redis_shard_t  *shard;

    shard = ngx_rtbus_redis_sub_shard(rs);

    ngx_rtbus_redis_slots_refresh(shard->shards, rs->down ? NULL : shard);
}


static void
ngx_rtbus_redis_shards_timer(ngx_event_t *ev)
{
    ngx_rtbus_redis_shard_t  *shard;

    shard = ev->data;

    ngx_log_debug3(NGX_LOG_DEBUG_EVENT, ev->log, 0,
                   "rtbus: redis shard \"%V\" is not there in time, "
                   "sub:%d cmd:%d", &shard->node.name,
                   shard->sub.conn.up, shard->cmd.conn.up);

    shard->opening = 0;
    shard->shards->handlers->failed(shard);

    ngx_rtbus_redis_call_go(shard->shards);
    ngx_rtbus_redis_slots_refresh(shard->shards, NULL);
}


/*
 * MOVED <slot> <host>:<port>, or ASK in the same form; the host may be empty.
 * Or nobody has received a message.
 */

static ngx_int_t
ngx_rtbus_redis_shards_error(ngx_rtbus_redis_cmd_t *rm,
    ngx_rtbus_redis_call_t *call, redisReply *reply)
{
    u_char                    *p, *last;
    ngx_int_t                  port;
    ngx_str_t                  host;
    ngx_uint_t                 ask;
    ngx_rtbus_redis_kept_t    *kept;
    ngx_rtbus_redis_shard_t   *shard, *to;
    ngx_rtbus_redis_shards_t  *shards;

    shard = ngx_rtbus_redis_cmd_shard(rm);
    shards = shard->shards;
    kept = call->kept;

    if (shards->closed) {
        return NGX_DECLINED;
    }

    kept->to = NULL;
    kept->asking = 0;
    kept->due = ngx_current_msec + NGX_RTBUS_REDIS_SHARDS_PAUSE;

    if (reply->type == REDIS_REPLY_INTEGER) {

        /* the receiver may have been between two subscriptions */

        if ((ngx_msec_int_t) (kept->insist - ngx_current_msec) <= 0) {
            return NGX_DECLINED;
        }

        ngx_rtbus_redis_call_wait(shards, call);
        return NGX_OK;
    }

    if (ngx_rtbus_redis_is(reply, "TRYAGAIN")) {
        ngx_rtbus_redis_call_wait(shards, call);
        return NGX_OK;
    }

    if (ngx_rtbus_redis_is(reply, "CLUSTERDOWN")) {

        /* this node does not know, others may */

        ngx_rtbus_redis_slots_refresh(shards, NULL);
        return NGX_ABORT;
    }

    ask = ngx_rtbus_redis_is(reply, "ASK ");

    if (!ask && !ngx_rtbus_redis_is(reply, "MOVED ")) {
        return NGX_DECLINED;
    }

    if (!ask) {
        ngx_rtbus_redis_slots_refresh(shards, shard);
    }

    if (++kept->tries > NGX_RTBUS_REDIS_SHARDS_TRIES) {
        return NGX_ABORT;
    }

    ngx_log_debug1(NGX_LOG_DEBUG_EVENT, shards->log, 0,
                   "rtbus: redis call is sent again: %s", reply->str);

    p = (u_char *) reply->str;
    last = p + reply->len;

    p = ngx_strlchr(p, last, ' ');
    p = p ? ngx_strlchr(p + 1, last, ' ') : NULL;

    if (p == NULL) {
        return NGX_ABORT;
    }

    host.data = ++p;

    for (p = last; p > host.data && p[-1] != ':'; p--) { /* void */ }

    if (p == host.data) {
        return NGX_ABORT;
    }

    host.len = p - 1 - host.data;
    port = ngx_atoi(p, last - p);

    if (port < 1 || port > 65535) {
        return NGX_ABORT;
    }

    to = ngx_rtbus_redis_shard_find(shards, &rm->conn, &host, port, NULL);

    if (to == NULL) {
        return NGX_ABORT;
    }

    kept->to = to;
    kept->asking = ask;

    if (kept->tries == 1) {
        kept->due = ngx_current_msec;
    }

    ngx_rtbus_redis_call_wait(shards, call);

    return NGX_OK;
}


/* closes shards that have no slots any more, or that are idle */

static void
ngx_rtbus_redis_shards_sweep(ngx_event_t *ev)
{
    ngx_queue_t               *q, *next;
    ngx_rtbus_redis_shard_t   *shard;
    ngx_rtbus_redis_shards_t  *shards;

    shards = ev->data;

    ngx_log_debug0(NGX_LOG_DEBUG_EVENT, ev->log, 0,
                   "rtbus: redis shards are swept");

    ngx_add_timer(ev, NGX_RTBUS_REDIS_SHARDS_SWEEP);

    for (q = ngx_queue_head(&shards->all);
         q != ngx_queue_sentinel(&shards->all);
         q = next)
    {
        next = ngx_queue_next(q);
        shard = ngx_queue_data(q, ngx_rtbus_redis_shard_t, queue);

        if ((shard->listed && !shard->open)
            || ngx_rtbus_redis_call_awaited(shards, shard))
        {
            continue;
        }

        if (shard->listed
            && ngx_current_msec - shard->used < NGX_RTBUS_REDIS_SHARDS_IDLE)
        {
            continue;
        }

        if (shard->open) {

            /* its replies may still arrive */

            if (shard->cmd.first
                || shard->sub.topics.n > shard->sub.nfixed
                || shard->sub.plains.n)
            {
                continue;
            }

            ngx_log_error(NGX_LOG_INFO, shards->log, 0,
                          "rtbus: idle connections to \"%V\" are closed",
                          &shard->node.name);

            ngx_rtbus_redis_shard_stop(shard);
        }

        if (shard->listed) {
            continue;
        }

        if (shards->teller == shard) {
            shards->teller = NULL;
        }

        ngx_rtbus_redis_shard_free(shard);
    }
}
