
#include "ngx_rtbus_redis_shards.h"
#include "ngx_rtbus_redis_role.h"
#include "rtbus_slot.h"


/* ms between two looks at who has which slots */
#define NGX_RTBUS_REDIS_SHARDS_MIN    250
#define NGX_RTBUS_REDIS_SHARDS_MAX    1000

/* ... when there is no reason but time */
#define NGX_RTBUS_REDIS_SHARDS_LOOK   10000

/* nodes with links that are out of their cluster, before others are asked */
#define NGX_RTBUS_REDIS_SHARDS_VAIN   2

/* times that one node is believed while no shard can be reached */
#define NGX_RTBUS_REDIS_SHARDS_SEED   4

#define NGX_RTBUS_REDIS_SHARDS_SWEEP  5000
#define NGX_RTBUS_REDIS_SHARDS_IDLE   60000

/* of one call */
#define NGX_RTBUS_REDIS_SHARDS_TRIES  8
#define NGX_RTBUS_REDIS_SHARDS_PAUSE  50
#define NGX_RTBUS_REDIS_SHARDS_WAIT   25
#define NGX_RTBUS_REDIS_SHARDS_INSIST 1000

#define NGX_RTBUS_REDIS_SHARDS_LOG    60    /* s between refusals in the log */

#define NGX_RTBUS_REDIS_SHARDS_TAGS   1000000


#define ngx_rtbus_redis_sub_shard(rs)                                         \
    ((ngx_rtbus_redis_shard_t *)                                              \
         ((u_char *) (rs) - offsetof(ngx_rtbus_redis_shard_t, sub)))

#define ngx_rtbus_redis_cmd_shard(rm)                                         \
    ((ngx_rtbus_redis_shard_t *)                                              \
         ((u_char *) (rm) - offsetof(ngx_rtbus_redis_shard_t, cmd)))

#define ngx_rtbus_redis_is(error, text)                                       \
    (ngx_strncmp((error)->str, text, sizeof(text) - 1) == 0)


static ngx_int_t ngx_rtbus_redis_shard_init(ngx_rtbus_redis_shards_t *shards,
    ngx_rtbus_redis_shard_t *shard);
static void ngx_rtbus_redis_shard_places(ngx_rtbus_redis_shard_t *shard,
    ngx_uint_t keep);
static void ngx_rtbus_redis_shard_open(ngx_rtbus_redis_shard_t *shard);
static void ngx_rtbus_redis_shard_timer(ngx_event_t *ev);
static void ngx_rtbus_redis_shard_stop(ngx_rtbus_redis_shard_t *shard);
static void ngx_rtbus_redis_shard_opened(ngx_rtbus_redis_shard_t *shard);
static void ngx_rtbus_redis_shard_sub_locate(ngx_rtbus_redis_conn_t *rc);
static void ngx_rtbus_redis_shard_cmd_locate(ngx_rtbus_redis_conn_t *rc);
static void ngx_rtbus_redis_shard_sub_changed(ngx_rtbus_redis_sub_t *rs);
static void ngx_rtbus_redis_shard_cmd_changed(ngx_rtbus_redis_cmd_t *rm);
static void ngx_rtbus_redis_shard_role(void *data, redisReply *reply);
static void ngx_rtbus_redis_shard_demoted(ngx_rtbus_redis_cmd_t *rm);
static void ngx_rtbus_redis_shard_moved(ngx_rtbus_redis_sub_t *rs);
static void ngx_rtbus_redis_shard_sub_full(ngx_rtbus_redis_conn_t *rc);
static void ngx_rtbus_redis_shard_cmd_full(ngx_rtbus_redis_conn_t *rc);
static void ngx_rtbus_redis_shard_exiting(ngx_rtbus_redis_conn_t *rc);
static ngx_int_t ngx_rtbus_redis_shard_error(ngx_rtbus_redis_cmd_t *rm,
    ngx_rtbus_redis_call_t *call, redisReply *reply);

static void ngx_rtbus_redis_seed_locate(ngx_rtbus_redis_conn_t *rc);
static void ngx_rtbus_redis_seed_changed(ngx_rtbus_redis_cmd_t *rm);
static void ngx_rtbus_redis_seed_full(ngx_rtbus_redis_conn_t *rc);
static void ngx_rtbus_redis_seed_exiting(ngx_rtbus_redis_conn_t *rc);
static void ngx_rtbus_redis_seed_close(ngx_rtbus_redis_shards_t *shards);

static void ngx_rtbus_redis_shards_refresh(ngx_rtbus_redis_shards_t *shards,
    ngx_rtbus_redis_shard_t *shard);
static void ngx_rtbus_redis_shards_ask(ngx_event_t *ev);
static ngx_rtbus_redis_cmd_t *ngx_rtbus_redis_shards_whom(
    ngx_rtbus_redis_shards_t *shards);
static void ngx_rtbus_redis_shards_state(void *data, redisReply *reply);
static void ngx_rtbus_redis_shards_told(void *data, redisReply *reply);
static void ngx_rtbus_redis_shards_doubt(ngx_rtbus_redis_shards_t *shards,
    ngx_rtbus_redis_conn_t *asked);
static void ngx_rtbus_redis_shards_visit(ngx_rtbus_redis_shards_t *shards);
static void ngx_rtbus_redis_shards_complain(ngx_rtbus_redis_shards_t *shards,
    const char *text);
static ngx_uint_t ngx_rtbus_redis_shards_trouble(
    ngx_rtbus_redis_shards_t *shards);
static ngx_int_t ngx_rtbus_redis_shards_map(ngx_rtbus_redis_shards_t *shards,
    ngx_rtbus_redis_conn_t *rc, redisReply *reply);
static ngx_int_t ngx_rtbus_redis_shards_range(ngx_rtbus_redis_shards_t *shards,
    ngx_rtbus_redis_conn_t *rc, redisReply *range,
    ngx_rtbus_redis_shard_t **slots);
static void ngx_rtbus_redis_shards_assign(ngx_rtbus_redis_shards_t *shards,
    ngx_rtbus_redis_shard_t **slots);
static void ngx_rtbus_redis_shards_hand_over(ngx_rtbus_redis_shards_t *shards,
    ngx_rtbus_redis_sub_t *rs, ngx_queue_t *queue);
static ngx_rtbus_redis_shard_t *ngx_rtbus_redis_shards_find(
    ngx_rtbus_redis_shards_t *shards, ngx_rtbus_redis_conn_t *rc,
    ngx_str_t *host, in_port_t port, redisReply *node);
static size_t ngx_rtbus_redis_shards_peer(ngx_rtbus_redis_conn_t *rc,
    u_char *text);
static ngx_int_t ngx_rtbus_redis_shard_resolve(ngx_rtbus_redis_shard_t *shard,
    ngx_rtbus_redis_conn_t *rc, ngx_str_t *host, redisReply *node);
static ngx_int_t ngx_rtbus_redis_shards_ip(ngx_rtbus_redis_conn_t *rc,
    redisReply *node, ngx_str_t *ip);
static void ngx_rtbus_redis_shard_readdress(ngx_rtbus_redis_shard_t *shard,
    ngx_rtbus_redis_conn_t *rc, redisReply *node);
static ngx_int_t ngx_rtbus_redis_shard_address(ngx_rtbus_redis_shard_t *shard,
    ngx_str_t *ip);
static void ngx_rtbus_redis_shards_sweep(ngx_event_t *ev);

static void ngx_rtbus_redis_shards_wait(ngx_rtbus_redis_shards_t *shards,
    ngx_rtbus_redis_call_t *call);
static void ngx_rtbus_redis_shards_wait_handler(ngx_event_t *ev);
static void ngx_rtbus_redis_shards_go(ngx_rtbus_redis_shards_t *shards);
static ngx_int_t ngx_rtbus_redis_shards_send(ngx_rtbus_redis_shards_t *shards,
    ngx_rtbus_redis_call_t *call);
static void ngx_rtbus_redis_shards_asking(void *data, redisReply *reply);
static ngx_uint_t ngx_rtbus_redis_shards_awaited(
    ngx_rtbus_redis_shards_t *shards, ngx_rtbus_redis_shard_t *shard);


ngx_int_t
ngx_rtbus_redis_shards_init(ngx_rtbus_redis_shards_t *shards,
    ngx_rtbus_redis_conf_t *conf, ngx_log_t *log)
{
    shards->conf = conf;
    shards->log = log;
    shards->cluster = (conf->kind == NGX_RTBUS_REDIS_CLUSTER);
    shards->slots = NULL;
    shards->node = 0;
    shards->seeded = 0;
    shards->teller = NULL;
    shards->asked = NULL;
    shards->delay = NGX_RTBUS_REDIS_SHARDS_MIN;
    shards->last = ngx_current_msec - shards->delay;
    shards->complained = 0;
    shards->waiting = NULL;
    shards->waiting_last = &shards->waiting;
    shards->vain = 0;
    shards->seeding = 0;
    shards->again = 0;
    shards->doubted = 0;
    shards->closed = 0;

    ngx_queue_init(&shards->all);

    ngx_memzero(&shards->one, sizeof(ngx_rtbus_redis_shard_t));

    if (ngx_rtbus_redis_shard_init(shards, &shards->one) != NGX_OK) {
        return NGX_ERROR;
    }

    if (!shards->cluster) {
        ngx_queue_insert_tail(&shards->all, &shards->one.queue);

        shards->one.listed = 1;
        ngx_rtbus_redis_shard_open(&shards->one);

        return NGX_OK;
    }

    ngx_memzero(&shards->refresh, sizeof(ngx_event_t));
    shards->refresh.handler = ngx_rtbus_redis_shards_ask;
    shards->refresh.data = shards;
    shards->refresh.log = log;
    shards->refresh.cancelable = 1;

    ngx_memzero(&shards->sweep, sizeof(ngx_event_t));
    shards->sweep.handler = ngx_rtbus_redis_shards_sweep;
    shards->sweep.data = shards;
    shards->sweep.log = log;
    shards->sweep.cancelable = 1;

    /* a leaving worker stays until its calls are answered */

    ngx_memzero(&shards->wait, sizeof(ngx_event_t));
    shards->wait.handler = ngx_rtbus_redis_shards_wait_handler;
    shards->wait.data = shards;
    shards->wait.log = log;

    ngx_memzero(&shards->seed, sizeof(ngx_rtbus_redis_cmd_t));
    shards->seed.changed_handler = ngx_rtbus_redis_seed_changed;
    shards->seed.exiting_handler = ngx_rtbus_redis_seed_exiting;
    shards->seed.conn.locate_handler = ngx_rtbus_redis_seed_locate;
    shards->seed.conn.full_handler = ngx_rtbus_redis_seed_full;
    shards->seed.conn.places = conf->nnodes;

    ngx_rtbus_redis_conn_keep_place(&shards->seed.conn, log);

    ngx_rtbus_redis_shards_refresh(shards, NULL);
    ngx_add_timer(&shards->sweep, NGX_RTBUS_REDIS_SHARDS_SWEEP);

    return NGX_OK;
}


/* the set of topics is there from now on, and the links when it is opened */

static ngx_int_t
ngx_rtbus_redis_shard_init(ngx_rtbus_redis_shards_t *shards,
    ngx_rtbus_redis_shard_t *shard)
{
    shard->shards = shards;

    shard->timer.handler = ngx_rtbus_redis_shard_timer;
    shard->timer.data = shard;
    shard->timer.log = shards->log;
    shard->timer.cancelable = 1;

    shard->sub.changed_handler = ngx_rtbus_redis_shard_sub_changed;
    shard->sub.exiting_handler = ngx_rtbus_redis_shard_exiting;
    shard->sub.data = shards->data;

    shard->cmd.changed_handler = ngx_rtbus_redis_shard_cmd_changed;

    shard->sub.conn.full_handler = ngx_rtbus_redis_shard_sub_full;
    shard->cmd.conn.full_handler = ngx_rtbus_redis_shard_cmd_full;

    if (shards->cluster) {
        shard->sub.moved_handler = ngx_rtbus_redis_shard_moved;
        shard->sub.conn.locate_handler = ngx_rtbus_redis_shard_sub_locate;
        shard->cmd.error_handler = ngx_rtbus_redis_shard_error;
        shard->cmd.conn.locate_handler = ngx_rtbus_redis_shard_cmd_locate;

    } else {
        shard->cmd.demoted_handler = ngx_rtbus_redis_shard_demoted;
    }

    return ngx_rtbus_redis_sub_init(&shard->sub, shards->conf, shards->log);
}


/* whether there are to be places for its links while it is closed */

static void
ngx_rtbus_redis_shard_places(ngx_rtbus_redis_shard_t *shard, ngx_uint_t keep)
{
    ngx_log_t  *log;

    log = shard->shards->log;

    if (keep) {
        ngx_rtbus_redis_conn_keep_place(&shard->sub.conn, log);
        ngx_rtbus_redis_conn_keep_place(&shard->cmd.conn, log);
        return;
    }

    ngx_rtbus_redis_conn_drop_place(&shard->sub.conn);
    ngx_rtbus_redis_conn_drop_place(&shard->cmd.conn);
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
        ngx_rtbus_redis_conn_keep_place(&shards->seed.conn, shards->log);
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


static void
ngx_rtbus_redis_shard_open(ngx_rtbus_redis_shard_t *shard)
{
    ngx_rtbus_redis_shards_t  *shards;

    shards = shard->shards;

    shard->open = 1;
    shard->used = ngx_current_msec;

    shards->handlers->opened(shard);

    /* of memory they take none yet */

    (void) ngx_rtbus_redis_conn_init(&shard->sub.conn, shards->log);
    (void) ngx_rtbus_redis_cmd_init(&shard->cmd, shards->conf, shards->log);

    if (shards->cluster) {
        shard->opening = 1;
        ngx_add_timer(&shard->timer, shards->conf->connect_timeout);
    }
}


static void
ngx_rtbus_redis_shard_timer(ngx_event_t *ev)
{
    ngx_rtbus_redis_shard_t  *shard;

    shard = ev->data;

    ngx_log_debug1(NGX_LOG_DEBUG_EVENT, ev->log, 0,
                   "rtbus redis shard \"%V\" timer", &shard->node.name);

    shard->opening = 0;
    shard->shards->handlers->failed(shard);

    ngx_rtbus_redis_shards_go(shard->shards);
    ngx_rtbus_redis_shards_refresh(shard->shards, NULL);
}


static void
ngx_rtbus_redis_shard_stop(ngx_rtbus_redis_shard_t *shard)
{
    if (!shard->open) {
        return;
    }

    ngx_rtbus_redis_cmd_close(&shard->cmd);
    shard->shards->handlers->closed(shard);
    ngx_rtbus_redis_sub_stop(&shard->sub);

    if (shard->timer.timer_set) {
        ngx_del_timer(&shard->timer);
    }

    shard->open = 0;
    shard->opening = 0;
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

    ngx_rtbus_redis_seed_close(shards);
    ngx_rtbus_redis_conn_drop_place(&shards->seed.conn);

    if (shards->refresh.timer_set) {
        ngx_del_timer(&shards->refresh);
    }

    if (shards->sweep.timer_set) {
        ngx_del_timer(&shards->sweep);
    }

    ngx_rtbus_redis_shards_go(shards);

    if (shards->wait.timer_set) {
        ngx_del_timer(&shards->wait);
    }
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


ngx_rtbus_redis_shard_t *
ngx_rtbus_redis_shard(ngx_rtbus_redis_shards_t *shards, u_char *name,
    size_t len)
{
    ngx_rtbus_redis_shard_t  *shard;

    if (shards->slots == NULL) {
        return &shards->one;
    }

    shard = shards->slots[rtbus_slot(name, len)];

    if (shard == NULL) {
        return &shards->one;
    }

    if (!shard->open && !shards->closed) {
        ngx_rtbus_redis_shard_open(shard);
    }

    return shard;
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


ngx_rtbus_redis_shard_t *
ngx_rtbus_redis_shards_next(ngx_rtbus_redis_shards_t *shards,
    ngx_rtbus_redis_shard_t *shard)
{
    ngx_queue_t  *q;

    for (q = shard ? ngx_queue_next(&shard->queue)
                   : ngx_queue_head(&shards->all);
         q != ngx_queue_sentinel(&shards->all);
         q = ngx_queue_next(q))
    {
        shard = ngx_queue_data(q, ngx_rtbus_redis_shard_t, queue);

        if (shard->open) {
            return shard;
        }
    }

    return NULL;
}


ngx_int_t
ngx_rtbus_redis_shard_has_tag(ngx_rtbus_redis_shard_t *shard, ngx_uint_t n)
{
    u_char                    *p;
    u_char                     buf[NGX_INT_T_LEN];
    ngx_rtbus_redis_shards_t  *shards;

    shards = shard->shards;

    if (shards->slots == NULL) {
        return NGX_DECLINED;
    }

    p = ngx_sprintf(buf, "%ui", n);

    return (shards->slots[rtbus_slot(buf, p - buf)] == shard) ? NGX_OK
                                                              : NGX_DECLINED;
}


ngx_int_t
ngx_rtbus_redis_shard_tag(ngx_rtbus_redis_shard_t *shard, ngx_uint_t *n)
{
    if (!shard->listed) {
        return NGX_DECLINED;
    }

    for (*n = 0; *n < NGX_RTBUS_REDIS_SHARDS_TAGS; (*n)++) {

        if (ngx_rtbus_redis_shard_has_tag(shard, *n) == NGX_OK) {
            return NGX_OK;
        }
    }

    return NGX_DECLINED;
}


/* links of shards */

static void
ngx_rtbus_redis_shard_sub_locate(ngx_rtbus_redis_conn_t *rc)
{
    ngx_rtbus_redis_conn_located(rc, &ngx_rtbus_redis_sub_shard(rc->data)->node,
                                 NULL);
}


static void
ngx_rtbus_redis_shard_cmd_locate(ngx_rtbus_redis_conn_t *rc)
{
    ngx_rtbus_redis_conn_located(rc, &ngx_rtbus_redis_cmd_shard(rc->data)->node,
                                 NULL);
}


static void
ngx_rtbus_redis_shard_opened(ngx_rtbus_redis_shard_t *shard)
{
    if (!shard->opening || !shard->sub.conn.up || !shard->cmd.conn.up) {
        return;
    }

    shard->opening = 0;
    ngx_del_timer(&shard->timer);
}


static void
ngx_rtbus_redis_shard_sub_changed(ngx_rtbus_redis_sub_t *rs)
{
    ngx_rtbus_redis_shard_t  *shard;

    shard = ngx_rtbus_redis_sub_shard(rs);

    ngx_rtbus_redis_shard_opened(shard);

    shard->shards->handlers->sub_changed(shard);

    if (!rs->conn.up) {
        ngx_rtbus_redis_shards_refresh(shard->shards, NULL);
    }
}


static void
ngx_rtbus_redis_shard_cmd_changed(ngx_rtbus_redis_cmd_t *rm)
{
    ngx_rtbus_redis_shard_t   *shard;
    ngx_rtbus_redis_shards_t  *shards;

    shard = ngx_rtbus_redis_cmd_shard(rm);
    shards = shard->shards;

    ngx_rtbus_redis_shard_opened(shard);

    shards->handlers->cmd_changed(shard);

    if (!rm->conn.up) {
        ngx_rtbus_redis_shards_refresh(shards, NULL);
        return;
    }

    if (shards->cluster) {

        if (shards->vain == 0) {
            ngx_rtbus_redis_seed_close(shards);
        }

        ngx_rtbus_redis_shards_go(shards);
    }
}


void
ngx_rtbus_redis_shard_look(ngx_rtbus_redis_shard_t *shard)
{
    ngx_rtbus_redis_shards_t  *shards;

    static const char         *argv[] = { "ROLE" };
    static const size_t        len[] = { 4 };

    shards = shard->shards;

    if (!shards->cluster && shards->conf->only_master
        && !shard->cmd.conn.mute)
    {
        (void) ngx_rtbus_redis_cmd_call(&shard->cmd, 1, argv, len,
                                        ngx_rtbus_redis_shard_role, shard);
    }
}


static void
ngx_rtbus_redis_shard_role(void *data, redisReply *reply)
{
    ngx_rtbus_redis_shard_t *shard = data;

    if (reply == NULL) {
        return;
    }

    if (ngx_rtbus_redis_role_mute(reply)) {
        shard->cmd.conn.mute = 1;
        return;
    }

    if (ngx_rtbus_redis_role(&shard->cmd.conn, reply)
        && shard->cmd.conn.replica)
    {
        ngx_rtbus_redis_shard_demoted(&shard->cmd);
    }
}


/*
 * The other link may well be one to the same server.  From now on neither is up
 * before a master has said that it is one.
 */

static void
ngx_rtbus_redis_shard_demoted(ngx_rtbus_redis_cmd_t *rm)
{
    ngx_rtbus_redis_shard_t  *shard;

    shard = ngx_rtbus_redis_cmd_shard(rm);

    shard->sub.conn.replica = 1;
    shard->cmd.conn.replica = 1;

    if (shard->cmd.conn.check == NULL) {
        shard->sub.conn.check = &ngx_rtbus_redis_role_check;
        shard->cmd.conn.check = &ngx_rtbus_redis_role_check;
    }

    ngx_rtbus_redis_conn_fail(&shard->sub.conn,
                              "it is not the master any more");
    ngx_rtbus_redis_conn_fail(&shard->cmd.conn,
                              "it is not the master any more");
}


static void
ngx_rtbus_redis_shard_moved(ngx_rtbus_redis_sub_t *rs)
{
    ngx_rtbus_redis_shard_t  *shard;

    shard = ngx_rtbus_redis_sub_shard(rs);

    ngx_rtbus_redis_shards_refresh(shard->shards, rs->down ? NULL : shard);
}


static void
ngx_rtbus_redis_shard_sub_full(ngx_rtbus_redis_conn_t *rc)
{
    ngx_rtbus_redis_shards_t  *shards;

    shards = ngx_rtbus_redis_sub_shard(rc->data)->shards;

    shards->handlers->full(shards->data);
}


static void
ngx_rtbus_redis_shard_cmd_full(ngx_rtbus_redis_conn_t *rc)
{
    ngx_rtbus_redis_shards_t  *shards;

    shards = ngx_rtbus_redis_cmd_shard(rc->data)->shards;

    shards->handlers->full(shards->data);
}


static void
ngx_rtbus_redis_shard_exiting(ngx_rtbus_redis_conn_t *rc)
{
    ngx_rtbus_redis_shards_t  *shards;

    shards = ngx_rtbus_redis_sub_shard(rc->data)->shards;

    shards->handlers->exiting(shards->data);
}


/*
 * MOVED <slot> <host>:<port>, and ASK likewise; the host may be empty.  Or a
 * message was received by nobody.
 */

static ngx_int_t
ngx_rtbus_redis_shard_error(ngx_rtbus_redis_cmd_t *rm,
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

        /* it may have been between two subscriptions */

        if ((ngx_msec_int_t) (kept->insist - ngx_current_msec) <= 0) {
            return NGX_DECLINED;
        }

        ngx_rtbus_redis_shards_wait(shards, call);
        return NGX_OK;
    }

    if (ngx_rtbus_redis_is(reply, "TRYAGAIN")) {
        ngx_rtbus_redis_shards_wait(shards, call);
        return NGX_OK;
    }

    if (ngx_rtbus_redis_is(reply, "CLUSTERDOWN")) {

        /* it does not know, others may */

        ngx_rtbus_redis_shards_refresh(shards, NULL);
        return NGX_ABORT;
    }

    ask = ngx_rtbus_redis_is(reply, "ASK ");

    if (!ask && !ngx_rtbus_redis_is(reply, "MOVED ")) {
        return NGX_DECLINED;
    }

    if (!ask) {
        ngx_rtbus_redis_shards_refresh(shards, shard);
    }

    if (++kept->tries > NGX_RTBUS_REDIS_SHARDS_TRIES) {
        return NGX_ABORT;
    }

    ngx_log_debug1(NGX_LOG_DEBUG_EVENT, shards->log, 0,
                   "rtbus redis call is sent again: %s", reply->str);

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

    to = ngx_rtbus_redis_shards_find(shards, &rm->conn, &host, port, NULL);

    if (to == NULL) {
        return NGX_ABORT;
    }

    kept->to = to;
    kept->asking = ask;

    if (kept->tries == 1) {
        kept->due = ngx_current_msec;
    }

    ngx_rtbus_redis_shards_wait(shards, call);

    return NGX_OK;
}


/* the link to some node of the URL */

static void
ngx_rtbus_redis_seed_locate(ngx_rtbus_redis_conn_t *rc)
{
    ngx_rtbus_redis_conf_t    *conf;
    ngx_rtbus_redis_shards_t  *shards;

    shards = ngx_queue_data(rc->data, ngx_rtbus_redis_shards_t, seed);
    conf = shards->conf;

    shards->node %= conf->nnodes;

    ngx_rtbus_redis_conn_located(rc, &conf->nodes[shards->node++], NULL);
}


static void
ngx_rtbus_redis_seed_changed(ngx_rtbus_redis_cmd_t *rm)
{
    ngx_rtbus_redis_shards_t  *shards;

    shards = ngx_queue_data(rm, ngx_rtbus_redis_shards_t, seed);

    if (rm->conn.up) {
        shards->seeded = 0;
        ngx_rtbus_redis_shards_refresh(shards, NULL);
    }
}


static void
ngx_rtbus_redis_seed_full(ngx_rtbus_redis_conn_t *rc)
{
    ngx_rtbus_redis_shards_t  *shards;

    shards = ngx_queue_data(rc->data, ngx_rtbus_redis_shards_t, seed);

    shards->handlers->full(shards->data);
}


static void
ngx_rtbus_redis_seed_exiting(ngx_rtbus_redis_conn_t *rc)
{
    ngx_rtbus_redis_shards_t  *shards;

    shards = ngx_queue_data(rc->data, ngx_rtbus_redis_shards_t, seed);

    shards->handlers->exiting(shards->data);
}


static void
ngx_rtbus_redis_seed_close(ngx_rtbus_redis_shards_t *shards)
{
    if (shards->seeding) {
        shards->seeding = 0;
        ngx_rtbus_redis_cmd_close(&shards->seed);
    }
}


/* who has which slots: asks, soon; shard: it knows something, or NULL */

static void
ngx_rtbus_redis_shards_refresh(ngx_rtbus_redis_shards_t *shards,
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

    elapsed = ngx_current_msec - shards->last;
    delay = (elapsed < shards->delay) ? shards->delay - elapsed : 0;

    /* it may be set for a look that has time */

    if (shards->refresh.timer_set
        && (ngx_msec_int_t) (shards->refresh.timer.key - ngx_current_msec)
           <= (ngx_msec_int_t) delay)
    {
        return;
    }

    ngx_add_timer(&shards->refresh, delay);
}


static void
ngx_rtbus_redis_shards_ask(ngx_event_t *ev)
{
    ngx_rtbus_redis_cmd_t     *rm;
    ngx_rtbus_redis_shards_t  *shards;

    static const char         *info[] = { "CLUSTER", "INFO" };
    static const char         *argv[] = { "CLUSTER", "SLOTS" };
    static const size_t        info_len[] = { 7, 4 };
    static const size_t        len[] = { 7, 5 };

    shards = ev->data;

    ngx_log_debug0(NGX_LOG_DEBUG_EVENT, ev->log, 0, "rtbus redis shards ask");

    rm = ngx_rtbus_redis_shards_whom(shards);

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
                                 ngx_rtbus_redis_shards_state, shards)
           == NULL
        || ngx_rtbus_redis_cmd_call(rm, 2, argv, len,
                                    ngx_rtbus_redis_shards_told, shards)
           == NULL)
    {
        ngx_add_timer(ev, shards->delay);
        return;
    }

    shards->asked = &rm->conn;
}


static ngx_rtbus_redis_cmd_t *
ngx_rtbus_redis_shards_whom(ngx_rtbus_redis_shards_t *shards)
{
    ngx_rtbus_redis_shard_t  *shard;

    shard = shards->teller;
    shards->teller = NULL;

    if (shard && shard->open && shard->cmd.conn.up) {
        return &shard->cmd;
    }

    if (shards->vain >= NGX_RTBUS_REDIS_SHARDS_VAIN
        && (!shards->seeding || shards->seed.conn.up))
    {
        /* those that there are links to do not know, a node of the URL may */

        return shards->seeding ? &shards->seed : NULL;
    }

    for (shard = ngx_rtbus_redis_shards_next(shards, NULL);
         shard;
         shard = ngx_rtbus_redis_shards_next(shards, shard))
    {
        if (shard->cmd.conn.up) {

            /* in turn: one of them may not have heard of what the others know */

            ngx_queue_remove(&shard->queue);
            ngx_queue_insert_tail(&shards->all, &shard->queue);

            return &shard->cmd;
        }
    }

    if (shards->seeding && shards->seed.conn.up) {

        if (shards->seeded++ < NGX_RTBUS_REDIS_SHARDS_SEED) {
            return &shards->seed;
        }

        ngx_rtbus_redis_conn_fail(&shards->seed.conn,
                                  "no server that it knows can be reached");
    }

    return NULL;
}


/*
 * A node that is cut off from the others has the map of that time.  Who may not
 * be asked is believed.
 */

static void
ngx_rtbus_redis_shards_state(void *data, redisReply *reply)
{
    ngx_rtbus_redis_shards_t *shards = data;

    shards->doubted = (reply && reply->type == REDIS_REPLY_STRING
                       && ngx_strstr(reply->str, "cluster_state:fail"));
}


static void
ngx_rtbus_redis_shards_told(void *data, redisReply *reply)
{
    ngx_rtbus_redis_shards_t *shards = data;

    ngx_int_t                 rc;
    ngx_rtbus_redis_conn_t   *asked;
    ngx_rtbus_redis_shard_t  *shard;

    asked = shards->asked;
    shards->asked = NULL;

    rc = NGX_DECLINED;

    if (reply && reply->type == REDIS_REPLY_ARRAY && reply->elements
        && shards->doubted)
    {
        ngx_rtbus_redis_shards_doubt(shards, asked);

    } else if (reply && reply->type == REDIS_REPLY_ARRAY) {
        shards->vain = 0;

        rc = ngx_rtbus_redis_shards_map(shards, asked, reply);

        if (rc == NGX_DECLINED) {
            ngx_rtbus_redis_shards_complain(shards, "nobody has any slot");
        }

    } else if (reply) {
        ngx_rtbus_redis_shards_complain(shards,
                                        reply->type == REDIS_REPLY_ERROR
                                        ? reply->str : "unexpected reply");
    }

    if (rc == NGX_OK) {
        shards->delay = NGX_RTBUS_REDIS_SHARDS_MIN;

    } else {
        shards->delay = ngx_min(shards->delay * 2, NGX_RTBUS_REDIS_SHARDS_MAX);
    }

    for (shard = ngx_rtbus_redis_shards_next(shards, NULL);
         shard;
         shard = ngx_rtbus_redis_shards_next(shards, shard))
    {
        ngx_rtbus_redis_sub_retry(&shard->sub);
    }

    ngx_rtbus_redis_shards_go(shards);

    if (shards->closed) {
        return;
    }

    if (shards->again || shards->vain
        || ngx_rtbus_redis_shards_trouble(shards))
    {
        ngx_rtbus_redis_shards_refresh(shards, NULL);
        return;
    }

    shards->delay = NGX_RTBUS_REDIS_SHARDS_MIN;

    if (asked != &shards->seed.conn) {
        ngx_rtbus_redis_seed_close(shards);
    }

    /* a node may be wrong without a sign of it */

    ngx_rtbus_redis_shards_visit(shards);

    if (!shards->refresh.timer_set) {
        ngx_add_timer(&shards->refresh, NGX_RTBUS_REDIS_SHARDS_LOOK);
    }
}


/* what it says proves nothing: another node is asked */

static void
ngx_rtbus_redis_shards_doubt(ngx_rtbus_redis_shards_t *shards,
    ngx_rtbus_redis_conn_t *asked)
{
    shards->vain++;

    ngx_rtbus_redis_shards_complain(shards,
                                    "its node has \"cluster_state:fail\"");

    if (asked == &shards->seed.conn) {
        shards->vain = 0;
        ngx_rtbus_redis_conn_fail(asked, "its cluster is down");
    }
}


/* has links to one more master, so that all of them are asked in turn */

static void
ngx_rtbus_redis_shards_visit(ngx_rtbus_redis_shards_t *shards)
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
ngx_rtbus_redis_shards_complain(ngx_rtbus_redis_shards_t *shards,
    const char *text)
{
    ngx_uint_t  level;

    level = NGX_LOG_INFO;

    if (shards->complained == 0
        || ngx_time() - shards->complained >= NGX_RTBUS_REDIS_SHARDS_LOG)
    {
        shards->complained = ngx_time();
        level = NGX_LOG_ERR;
    }

    ngx_log_error(level, shards->log, 0,
                  "rtbus could not get the slots of the cluster \"%V\": %s",
                  &shards->conf->name, text);
}


/* what is known cannot be all of it */

static ngx_uint_t
ngx_rtbus_redis_shards_trouble(ngx_rtbus_redis_shards_t *shards)
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
ngx_rtbus_redis_shards_map(ngx_rtbus_redis_shards_t *shards,
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
        if (ngx_rtbus_redis_shards_range(shards, rc, reply->element[i], slots)
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

    ngx_rtbus_redis_shards_assign(shards, slots);

    return NGX_OK;
}


/* [ first slot, last slot, [ host, port, id, [ "ip", ... ] ], replicas ... ] */

static ngx_int_t
ngx_rtbus_redis_shards_range(ngx_rtbus_redis_shards_t *shards,
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
            /* it should have a name and has none */
            host.len = 0;
        }
    }

    shard = ngx_rtbus_redis_shards_find(shards, rc, &host, (in_port_t) port,
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
ngx_rtbus_redis_shards_assign(ngx_rtbus_redis_shards_t *shards,
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
        ngx_rtbus_redis_shards_hand_over(shards, &shard->sub,
                                         &shard->sub.ready);
        ngx_rtbus_redis_shards_hand_over(shards, &shard->sub,
                                         &shard->sub.sent);
        ngx_rtbus_redis_shards_hand_over(shards, &shard->sub,
                                         &shard->sub.refused);
        ngx_rtbus_redis_shards_hand_over(shards, &shard->sub,
                                         &shard->sub.moved);
        ngx_rtbus_redis_shards_hand_over(shards, &shard->sub,
                                         &shard->sub.pending);

        if (q == ngx_queue_sentinel(&shards->all)) {
            break;
        }

        shard = ngx_queue_data(q, ngx_rtbus_redis_shard_t, queue);
    }

    /* each master is to have the library, whoever needs it first */

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

    /* those without slots are closed; not from within their own handlers */

    ngx_add_timer(&shards->sweep, 0);
}


static void
ngx_rtbus_redis_shards_hand_over(ngx_rtbus_redis_shards_t *shards,
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

            /* it is for all nodes, and nothing comes while it moves */

            continue;
        }

        to = ngx_rtbus_redis_shard(shards, topic->name.data, topic->name.len);

        if (&to->sub != rs) {
            ngx_rtbus_redis_sub_move(rs, topic, &to->sub);
        }
    }
}


/*
 * The server at that place; rc: who has told of it, and is meant where there is
 * no host.  node: as CLUSTER SLOTS has it, or NULL.
 */

static ngx_rtbus_redis_shard_t *
ngx_rtbus_redis_shards_find(ngx_rtbus_redis_shards_t *shards,
    ngx_rtbus_redis_conn_t *rc, ngx_str_t *host, in_port_t port,
    redisReply *node)
{
    u_char                   *p;
    ngx_str_t                 name;
    ngx_uint_t                v6;
    ngx_queue_t              *q;
    ngx_rtbus_redis_shard_t  *shard;
    u_char                    buf[NGX_RTBUS_REDIS_SHARD_NAME];
    u_char                    text[NGX_SOCKADDR_STRLEN];
    ngx_str_t                 ip;

    if (host->len == 0) {
        ip.data = text;
        ip.len = ngx_rtbus_redis_shards_peer(rc, text);

        host = &ip;
    }

    v6 = (ngx_strlchr(host->data, host->data + host->len, ':') != NULL);

    if (host->len == 0
        || host->len + sizeof("[]:65535") - 1 > NGX_RTBUS_REDIS_SHARD_NAME)
    {
        return NULL;
    }

    p = ngx_sprintf(buf, v6 ? "[%V]:%ui" : "%V:%ui", host, (ngx_uint_t) port);

    name.len = p - buf;
    name.data = buf;

    for (q = ngx_queue_head(&shards->all);
         q != ngx_queue_sentinel(&shards->all);
         q = ngx_queue_next(q))
    {
        shard = ngx_queue_data(q, ngx_rtbus_redis_shard_t, queue);

        if (shard->node.name.len == name.len
            && ngx_memcmp(shard->node.name.data, buf, name.len) == 0)
        {
            ngx_rtbus_redis_shard_readdress(shard, rc, node);
            return shard;
        }
    }

    shard = ngx_calloc(sizeof(ngx_rtbus_redis_shard_t), shards->log);
    if (shard == NULL) {
        return NULL;
    }

    shard->shards = shards;

    ngx_memcpy(shard->name, buf, name.len);

    shard->node.name.len = name.len;
    shard->node.name.data = shard->name;
    shard->node.host.len = host->len;
    shard->node.host.data = shard->name + v6;
    shard->node.port = port;

    if (ngx_rtbus_redis_shard_resolve(shard, rc, host, node) != NGX_OK) {
        ngx_log_error(NGX_LOG_ERR, shards->log, 0,
                      "rtbus: the address of \"%V\" in the cluster \"%V\" is "
                      "not known", &name, &shards->conf->name);
        ngx_free(shard);
        return NULL;
    }

    if (ngx_rtbus_redis_shard_init(shards, shard) != NGX_OK) {
        ngx_rtbus_redis_sub_close(&shard->sub);
        ngx_free(shard);
        return NULL;
    }

    ngx_queue_insert_tail(&shards->all, &shard->queue);

    return shard;
}


/* the address of who has told */

static size_t
ngx_rtbus_redis_shards_peer(ngx_rtbus_redis_conn_t *rc, u_char *text)
{
    return ngx_sock_ntop(rc->peer.sockaddr, rc->peer.socklen, text,
                         NGX_SOCKADDR_STRLEN, 0);
}


/*
 * The host is an address.  Where it is a name, Redis tells the address beside
 * it, unless it is a lone node that does not know its own one; or it is a name
 * of the URL.
 */

static ngx_int_t
ngx_rtbus_redis_shard_resolve(ngx_rtbus_redis_shard_t *shard,
    ngx_rtbus_redis_conn_t *rc, ngx_str_t *host, redisReply *node)
{
    size_t                   i;
    ngx_str_t                ip;
    u_char                   text[NGX_SOCKADDR_STRLEN];
    ngx_rtbus_redis_conf_t  *conf;

    if (ngx_rtbus_redis_shard_address(shard, host) == NGX_OK) {
        return NGX_OK;
    }

    ip.data = text;

    if (ngx_rtbus_redis_shards_ip(rc, node, &ip) == NGX_OK
        && ngx_rtbus_redis_shard_address(shard, &ip) == NGX_OK)
    {
        return NGX_OK;
    }

    conf = shard->shards->conf;

    for (i = 0; i < conf->nnodes; i++) {

        if (conf->nodes[i].port == shard->node.port
            && conf->nodes[i].host.len == host->len
            && ngx_strncasecmp(conf->nodes[i].host.data, host->data, host->len)
               == 0)
        {
            shard->node.addrs = conf->nodes[i].addrs;
            shard->node.naddrs = conf->nodes[i].naddrs;
            return NGX_OK;
        }
    }

    return NGX_DECLINED;
}


/* the address beside a name; ip has room for that of who has told */

static ngx_int_t
ngx_rtbus_redis_shards_ip(ngx_rtbus_redis_conn_t *rc, redisReply *node,
    ngx_str_t *ip)
{
    size_t       i;
    redisReply  *meta, *name, *value;

    if (node == NULL || node->elements < 4
        || node->element[3]->type != REDIS_REPLY_ARRAY)
    {
        return NGX_DECLINED;
    }

    meta = node->element[3];

    for (i = 0; i + 1 < meta->elements; i += 2) {
        name = meta->element[i];
        value = meta->element[i + 1];

        if (name->type != REDIS_REPLY_STRING
            || value->type != REDIS_REPLY_STRING
            || name->len != 2 || ngx_strncmp(name->str, "ip", 2) != 0)
        {
            continue;
        }

        if (value->len == 0) {
            ip->len = ngx_rtbus_redis_shards_peer(rc, ip->data);
            return NGX_OK;
        }

        ip->len = value->len;
        ip->data = (u_char *) value->str;

        return NGX_OK;
    }

    return NGX_DECLINED;
}


/*
 * A name that is known may have another address by now.  Links that are up stay:
 * not all nodes hear of it at the same time.
 */

static void
ngx_rtbus_redis_shard_readdress(ngx_rtbus_redis_shard_t *shard,
    ngx_rtbus_redis_conn_t *rc, redisReply *node)
{
    ngx_str_t       ip;
    socklen_t       socklen;
    ngx_sockaddr_t  sa;
    u_char          text[NGX_SOCKADDR_STRLEN];

    if (ngx_rtbus_redis_address(&shard->node.host, shard->node.port, &sa,
                                &socklen)
        == NGX_OK)
    {
        return;
    }

    ip.data = text;

    if (ngx_rtbus_redis_shards_ip(rc, node, &ip) != NGX_OK
        || ngx_rtbus_redis_address(&ip, shard->node.port, &sa, &socklen)
           != NGX_OK)
    {
        return;
    }

    if (shard->node.addrs == &shard->addr
        && ngx_cmp_sockaddr(&sa.sockaddr, socklen, shard->addr.sockaddr,
                            shard->addr.socklen, 1)
           == NGX_OK)
    {
        return;
    }

    ngx_log_error(NGX_LOG_NOTICE, shard->shards->log, 0,
                  "rtbus: \"%V\" of the cluster \"%V\" has the address %V now",
                  &shard->node.name, &shard->shards->conf->name, &ip);

    (void) ngx_rtbus_redis_shard_address(shard, &ip);

    if (!shard->open) {
        return;
    }

    if (!shard->sub.conn.up) {
        ngx_rtbus_redis_conn_moved(&shard->sub.conn, "it has another address");
    }

    if (!shard->cmd.conn.up) {
        ngx_rtbus_redis_conn_moved(&shard->cmd.conn, "it has another address");
    }
}


static ngx_int_t
ngx_rtbus_redis_shard_address(ngx_rtbus_redis_shard_t *shard, ngx_str_t *ip)
{
    socklen_t       socklen;
    ngx_sockaddr_t  sa;

    if (ngx_rtbus_redis_address(ip, shard->node.port, &sa, &socklen) != NGX_OK)
    {
        return NGX_DECLINED;
    }

    shard->sockaddr = sa;
    shard->addr.socklen = socklen;
    shard->addr.sockaddr = &shard->sockaddr.sockaddr;
    shard->addr.name = shard->node.name;

    shard->node.addrs = &shard->addr;
    shard->node.naddrs = 1;

    return NGX_OK;
}


/* closes what has no slots any more, or nothing to do */

static void
ngx_rtbus_redis_shards_sweep(ngx_event_t *ev)
{
    ngx_queue_t               *q, *next;
    ngx_rtbus_redis_shard_t   *shard;
    ngx_rtbus_redis_shards_t  *shards;

    shards = ev->data;

    ngx_add_timer(ev, NGX_RTBUS_REDIS_SHARDS_SWEEP);

    for (q = ngx_queue_head(&shards->all);
         q != ngx_queue_sentinel(&shards->all);
         q = next)
    {
        next = ngx_queue_next(q);
        shard = ngx_queue_data(q, ngx_rtbus_redis_shard_t, queue);

        if ((shard->listed && !shard->open)
            || ngx_rtbus_redis_shards_awaited(shards, shard))
        {
            continue;
        }

        if (shard->listed
            && ngx_current_msec - shard->used < NGX_RTBUS_REDIS_SHARDS_IDLE)
        {
            continue;
        }

        if (shard->open) {

            /* its answers may still come */

            if (shard->cmd.first
                || shard->sub.topics.n > shard->sub.nfixed
                || shard->sub.plains.n)
            {
                continue;
            }

            ngx_log_error(NGX_LOG_INFO, shards->log, 0,
                          "rtbus closes its connections to \"%V\", there is "
                          "nothing to do", &shard->node.name);

            ngx_rtbus_redis_shard_stop(shard);
        }

        if (shard->listed) {
            continue;
        }

        if (shards->teller == shard) {
            shards->teller = NULL;
        }

        ngx_queue_remove(&shard->queue);
        ngx_rtbus_redis_shard_places(shard, 0);
        ngx_rtbus_redis_sub_close(&shard->sub);
        ngx_free(shard);
    }
}


ngx_rtbus_redis_call_t *
ngx_rtbus_redis_call(ngx_rtbus_redis_shards_t *shards, int argc,
    const char **argv, const size_t *argvlen, ngx_rtbus_redis_call_pt handler,
    void *data)
{
    int                       key;
    ngx_rtbus_redis_call_t   *call;
    ngx_rtbus_redis_shard_t  *shard;

    if (!shards->cluster) {
        return ngx_rtbus_redis_cmd_call(&shards->one.cmd, argc, argv, argvlen,
                                        handler, data);
    }

    if (shards->closed || shards->slots == NULL) {
        return NULL;
    }

    key = (ngx_strncmp(argv[0], "FCALL", 5) == 0) ? 3
          : (ngx_strncmp(argv[0], "XINFO", 5) == 0) ? 2 : 1;

    shard = ngx_rtbus_redis_shard(shards, (u_char *) argv[key], argvlen[key]);

    if (!shard->cmd.conn.up && !shard->opening) {
        return NULL;
    }

    call = ngx_rtbus_redis_call_keep(argc, argv, argvlen, handler, data,
                                     shards->log);
    if (call == NULL) {
        return NULL;
    }

    call->kept->slot = rtbus_slot((u_char *) argv[key], argvlen[key]);
    call->kept->due = ngx_current_msec;

    call->kept->until = ngx_current_msec + shards->conf->command_timeout;

    shard->used = ngx_current_msec;

    if (!shard->cmd.conn.up) {
        ngx_rtbus_redis_shards_wait(shards, call);
        return call;
    }

    if (ngx_rtbus_redis_call_send(&shard->cmd, call) != NGX_OK) {
        call->handler = NULL;
        ngx_rtbus_redis_call_fail(call);
        return NULL;
    }

    return call;
}


void
ngx_rtbus_redis_call_insist(ngx_rtbus_redis_call_t *call)
{
    if (call->kept) {
        call->kept->insisting = 1;
        call->kept->insist = ngx_current_msec + NGX_RTBUS_REDIS_SHARDS_INSIST;
    }
}


static void
ngx_rtbus_redis_shards_wait(ngx_rtbus_redis_shards_t *shards,
    ngx_rtbus_redis_call_t *call)
{
    ngx_msec_int_t  left;

    call->next = NULL;

    *shards->waiting_last = call;
    shards->waiting_last = &call->next;

    left = (ngx_msec_int_t) (call->kept->due - ngx_current_msec);

    if (left <= 0) {
        ngx_add_timer(&shards->wait, 0);

    } else if (!shards->wait.timer_set) {
        ngx_add_timer(&shards->wait, NGX_RTBUS_REDIS_SHARDS_WAIT);
    }
}


static void
ngx_rtbus_redis_shards_wait_handler(ngx_event_t *ev)
{
    ngx_rtbus_redis_shards_go(ev->data);
}


/* sends what has waited for long enough, if it can be sent by now */

static void
ngx_rtbus_redis_shards_go(ngx_rtbus_redis_shards_t *shards)
{
    ngx_int_t                rc;
    ngx_rtbus_redis_call_t  *call, *next, *first, **last;

    if (shards->waiting == NULL) {
        return;
    }

    call = shards->waiting;

    shards->waiting = NULL;
    shards->waiting_last = &shards->waiting;

    last = &first;

    /* the handlers may cancel others, and make calls that wait */

    while (call) {
        next = call->next;

        rc = ngx_rtbus_redis_shards_send(shards, call);

        if (rc == NGX_AGAIN) {
            *last = call;
            last = &call->next;

        } else if (rc != NGX_OK) {
            ngx_rtbus_redis_call_fail(call);
        }

        call = next;
    }

    if (last == &first) {
        return;
    }

    *last = shards->waiting;

    if (shards->waiting == NULL) {
        shards->waiting_last = last;
    }

    shards->waiting = first;

    if (!shards->wait.timer_set) {
        ngx_add_timer(&shards->wait, NGX_RTBUS_REDIS_SHARDS_WAIT);
    }
}


/* NGX_OK: it is sent; NGX_AGAIN: not yet; NGX_ERROR: it will never be */

static ngx_int_t
ngx_rtbus_redis_shards_send(ngx_rtbus_redis_shards_t *shards,
    ngx_rtbus_redis_call_t *call)
{
    ngx_rtbus_redis_kept_t   *kept;
    ngx_rtbus_redis_shard_t  *shard;

    static const char        *argv[] = { "ASKING" };
    static const size_t       len[] = { 6 };

    kept = call->kept;

    if (call->handler == NULL || shards->closed || shards->slots == NULL
        || (ngx_msec_int_t) (kept->until - ngx_current_msec) <= 0)
    {
        return NGX_ERROR;
    }

    if ((ngx_msec_int_t) (kept->due - ngx_current_msec) > 0) {
        return NGX_AGAIN;
    }

    shard = kept->to ? kept->to : shards->slots[kept->slot];

    if (shard == NULL) {
        return NGX_ERROR;
    }

    if (!shard->open) {
        ngx_rtbus_redis_shard_open(shard);
    }

    shard->used = ngx_current_msec;

    if (!shard->cmd.conn.up) {
        return shard->opening ? NGX_AGAIN : NGX_ERROR;
    }

    if (kept->asking
        && ngx_rtbus_redis_cmd_call(&shard->cmd, 1, argv, len,
                                    ngx_rtbus_redis_shards_asking, NULL)
           == NULL)
    {
        return NGX_ERROR;
    }

    kept->to = NULL;
    kept->asking = 0;

    return ngx_rtbus_redis_call_send(&shard->cmd, call);
}


static void
ngx_rtbus_redis_shards_asking(void *data, redisReply *reply)
{
    /* what follows it will tell */
}


static ngx_uint_t
ngx_rtbus_redis_shards_awaited(ngx_rtbus_redis_shards_t *shards,
    ngx_rtbus_redis_shard_t *shard)
{
    ngx_rtbus_redis_call_t  *call;

    for (call = shards->waiting; call; call = call->next) {
        if (call->kept->to == shard) {
            return 1;
        }
    }

    return 0;
}
