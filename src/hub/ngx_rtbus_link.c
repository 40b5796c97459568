
/*
 * The hub of a worker and its way to Redis: what is kept for each server it has
 * links to (the function library, the canary), and what the status tells of
 * them.  Starts and closes all that a hub is made of.
 */


#include "ngx_rtbus_hub.h"
#include "ngx_rtbus_forward.h"
#include "ngx_rtbus_job.h"
#include "ngx_rtbus_listen.h"


#define NGX_RTBUS_LINK_AGAIN    500     /* ms */


/* what a hub has for each server that it has links to; malloc'ed */

typedef struct {
    ngx_rtbus_stat_shard_t          *stat;       /* in a cluster, or NULL */
    ngx_rtbus_library_t              library;
    ngx_rtbus_canary_t               canary;
} ngx_rtbus_link_t;


static void ngx_rtbus_link_opened(ngx_rtbus_redis_shard_t *shard);
static void ngx_rtbus_link_closed(ngx_rtbus_redis_shard_t *shard);
static void ngx_rtbus_link_sub_changed(ngx_rtbus_redis_shard_t *shard);
static void ngx_rtbus_link_cmd_changed(ngx_rtbus_redis_shard_t *shard);
static void ngx_rtbus_link_failed(ngx_rtbus_redis_shard_t *shard);
static void ngx_rtbus_link_changed(ngx_rtbus_redis_shard_t *shard);
static void ngx_rtbus_link_full(void *data);
static void ngx_rtbus_link_exiting(void *data);
static void ngx_rtbus_link_failover(void *data);

static void ngx_rtbus_link_beat(ngx_event_t *ev);
static void ngx_rtbus_link_canary(ngx_rtbus_canary_t *canary);
static void ngx_rtbus_link_health(ngx_rtbus_hub_t *hub);
static void ngx_rtbus_link_mailbox_ready(ngx_rtbus_mailbox_t *mb);
static void ngx_rtbus_link_retry_handler(ngx_event_t *ev);


static const ngx_rtbus_redis_shards_handlers_t  ngx_rtbus_link_handlers = {
    ngx_rtbus_link_opened,
    ngx_rtbus_link_sub_changed,
    ngx_rtbus_link_cmd_changed,
    ngx_rtbus_link_failed,
    ngx_rtbus_link_changed,
    ngx_rtbus_link_closed,
    ngx_rtbus_link_full,
    ngx_rtbus_link_exiting
};


ngx_int_t
ngx_rtbus_hub_init(ngx_rtbus_hub_t *hub, ngx_log_t *log)
{
    hub->log = log;
    hub->connected = ngx_current_msec;

    ngx_queue_init(&hub->jobs);
    ngx_queue_init(&hub->watched);

    ngx_rtbus_listen_init(hub);

    hub->libraries.load = hub->functions;
    hub->libraries.log = log;

    ngx_rtbus_libraries_init(&hub->libraries);

    hub->retry.handler = ngx_rtbus_link_retry_handler;
    hub->retry.data = hub;
    hub->retry.log = log;
    hub->retry.cancelable = 1;

    hub->json = rtbus_json_create(RTBUS_EVENT_DEPTH);
    if (hub->json == NULL) {
        return NGX_ERROR;
    }

    hub->beat.handler = ngx_rtbus_link_beat;
    hub->beat.data = hub;
    hub->beat.log = log;
    hub->beat.cancelable = 1;

    if (hub->redis->kind == NGX_RTBUS_REDIS_SENTINEL) {
        hub->sentinel.failover_handler = ngx_rtbus_link_failover;
        hub->sentinel.data = hub;

        if (ngx_rtbus_redis_sentinel_init(&hub->sentinel, hub->redis, log)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    hub->shards.handlers = &ngx_rtbus_link_handlers;
    hub->shards.data = hub;

    if (ngx_rtbus_redis_shards_init(&hub->shards, hub->redis, log) != NGX_OK) {
        return NGX_ERROR;
    }

    hub->mailbox.ready_handler = ngx_rtbus_link_mailbox_ready;

    if (ngx_rtbus_mailbox_init(&hub->mailbox, &hub->shards, &hub->prefix,
                               hub->json, log)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_rtbus_job_init(hub);

    ngx_add_timer(&hub->beat, NGX_RTBUS_STAT_PERIOD);

    return ngx_rtbus_forward_init(hub);
}


void
ngx_rtbus_hub_close(ngx_rtbus_hub_t *hub)
{
    /* those whose calls fail want to try again, or leave their channels */

    ngx_rtbus_redis_shards_close(&hub->shards);
    ngx_rtbus_job_close(hub);

    if (hub->beat.timer_set) {
        ngx_del_timer(&hub->beat);
    }

    if (hub->redis->kind == NGX_RTBUS_REDIS_SENTINEL) {
        ngx_rtbus_redis_sentinel_close(&hub->sentinel);
    }

    if (hub->retry.timer_set) {
        ngx_del_timer(&hub->retry);
    }

    ngx_rtbus_listen_close(hub);

    ngx_rtbus_redis_shards_free(&hub->shards);
    ngx_rtbus_mailbox_close(&hub->mailbox);
    ngx_rtbus_forward_close(hub);

    if (hub->json) {
        rtbus_json_destroy(hub->json);
        hub->json = NULL;
    }

    ngx_rtbus_frame_drop_kept();
}


static void
ngx_rtbus_link_opened(ngx_rtbus_redis_shard_t *shard)
{
    ngx_rtbus_hub_t       *hub;
    ngx_rtbus_link_t  *link;

    hub = shard->shards->data;

    if (hub->redis->kind == NGX_RTBUS_REDIS_SENTINEL) {
        ngx_rtbus_redis_sentinel_serve(&hub->sentinel, &shard->sub.conn);
        ngx_rtbus_redis_sentinel_serve(&hub->sentinel, &shard->cmd.conn);
    }

    link = ngx_calloc(sizeof(ngx_rtbus_link_t), hub->log);

    shard->data = link;

    if (link == NULL) {
        /* it will not count as well, and has no functions */
        return;
    }

    if (shard->shards->cluster) {
        link->stat = ngx_rtbus_stat_shard(hub->zone, hub->stat,
                                          &shard->node.name);
    }

    ngx_rtbus_library_init(&link->library, &hub->libraries, &shard->cmd);

    ngx_rtbus_canary_init(&link->canary, &hub->mailbox, shard, hub->stat,
                          ngx_rtbus_link_canary, hub->log);
}


static void
ngx_rtbus_link_closed(ngx_rtbus_redis_shard_t *shard)
{
    ngx_rtbus_link_t  *link;

    link = shard->data;

    if (link) {
        ngx_rtbus_canary_close(&link->canary);
        ngx_rtbus_library_close(&link->library);

        if (link->stat) {
            link->stat->owner = 0;
        }

        ngx_free(link);
        shard->data = NULL;
    }
}


static void
ngx_rtbus_link_sub_changed(ngx_rtbus_redis_shard_t *shard)
{
    ngx_rtbus_hub_t       *hub;
    ngx_rtbus_link_t  *link;

    hub = shard->shards->data;
    link = shard->data;

    ngx_log_debug2(NGX_LOG_DEBUG_CORE, hub->log, 0,
                   "rtbus: link pub/sub, up:%d reconnects:%ui",
                   shard->sub.conn.up, shard->sub.reconnects);

    ngx_rtbus_mailbox_changed(&hub->mailbox);

    if (!shard->sub.conn.up) {
        if (link) {
            ngx_rtbus_canary_lost(&link->canary);
        }

    } else if (shard->sub.reconnects) {
        ngx_rtbus_stat_add(hub->stat, reconnects[NGX_RTBUS_STAT_PUBSUB], 1);
    }

    ngx_rtbus_link_health(hub);
}


static void
ngx_rtbus_link_cmd_changed(ngx_rtbus_redis_shard_t *shard)
{
    ngx_rtbus_hub_t       *hub;
    ngx_rtbus_link_t  *link;

    hub = shard->shards->data;
    link = shard->data;

    ngx_log_debug2(NGX_LOG_DEBUG_CORE, hub->log, 0,
                   "rtbus: link commands, up:%d reconnects:%ui",
                   shard->cmd.conn.up, shard->cmd.reconnects);

    ngx_rtbus_mailbox_changed(&hub->mailbox);

    if (!shard->cmd.conn.up) {
        if (link) {
            ngx_rtbus_canary_lost(&link->canary);
        }

        ngx_rtbus_link_health(hub);
        return;
    }

    if (shard->cmd.reconnects) {
        ngx_rtbus_stat_add(hub->stat, reconnects[NGX_RTBUS_STAT_COMMAND], 1);
        hub->connected = ngx_current_msec;
    }

    ngx_rtbus_redis_shard_look(shard);

    if (link) {
        ngx_rtbus_library_check(&link->library);
        ngx_rtbus_canary_send(&link->canary);
    }

    ngx_rtbus_link_health(hub);

    ngx_rtbus_listen_again(shard);
}


static void
ngx_rtbus_link_failed(ngx_rtbus_redis_shard_t *shard)
{
    ngx_rtbus_hub_t  *hub;

    hub = shard->shards->data;

    ngx_rtbus_listen_failed(hub, &shard->sub.pending);
    ngx_rtbus_listen_failed(hub, &shard->sub.sent);
    ngx_rtbus_listen_failed(hub, &shard->sub.elsewhere);

    ngx_rtbus_link_health(hub);
}


static void
ngx_rtbus_link_changed(ngx_rtbus_redis_shard_t *shard)
{
    ngx_rtbus_link_t  *link;

    link = shard->data;

    if (link) {
        ngx_rtbus_canary_name(&link->canary);
    }

    ngx_rtbus_link_health(shard->shards->data);
}


static void
ngx_rtbus_link_full(void *data)
{
    ngx_rtbus_hub_t  *hub = data;

    hub->full_handler(hub->data);
}


static void
ngx_rtbus_link_exiting(void *data)
{
    ngx_rtbus_hub_t  *hub = data;

    hub->stat->leaving = 1;

    hub->exiting_handler(hub->data);
}


static void
ngx_rtbus_link_failover(void *data)
{
    ngx_rtbus_hub_t *hub = data;

    ngx_rtbus_redis_shard_t  *shard;

    ngx_log_debug0(NGX_LOG_DEBUG_CORE, hub->log, 0,
                   "rtbus: link, another master");

    shard = &hub->shards.one;

    ngx_rtbus_redis_conn_relocate(&shard->sub.conn, "the master has moved");
    ngx_rtbus_redis_conn_relocate(&shard->cmd.conn, "the master has moved");
}


static void
ngx_rtbus_link_beat(ngx_event_t *ev)
{
    ngx_msec_t                again;
    ngx_rtbus_hub_t          *hub;
    ngx_rtbus_link_t     *link;
    ngx_rtbus_redis_shard_t  *shard;

    hub = ev->data;

    ngx_log_debug0(NGX_LOG_DEBUG_CORE, ev->log, 0, "rtbus: hub beat");

    again = NGX_RTBUS_STAT_PERIOD;

    hub->stat->heard = ngx_time();

    ngx_rtbus_job_beat(hub);

    for (shard = ngx_rtbus_redis_shards_next(&hub->shards, NULL);
         shard;
         shard = ngx_rtbus_redis_shards_next(&hub->shards, shard))
    {
        link = shard->data;

        ngx_rtbus_redis_shard_look(shard);

        if (link) {
            ngx_rtbus_library_look(&link->library);
        }

        if (link && ngx_rtbus_canary_check(&link->canary) == NGX_AGAIN) {
            again = NGX_RTBUS_LINK_AGAIN;
        }
    }

    ngx_add_timer(ev, again);

    ngx_rtbus_link_health(hub);
}


static void
ngx_rtbus_link_canary(ngx_rtbus_canary_t *canary)
{
    ngx_rtbus_link_health(canary->shard->shards->data);
}


/*
 * What the status tells of this worker's path to Redis: all servers that it
 * needs are well, and it needs at least one.  A server of a cluster that has
 * just come to be needed does not count until its canary is late.
 */

static void
ngx_rtbus_link_health(ngx_rtbus_hub_t *hub)
{
    ngx_uint_t                 sub, cmd, proven, trouble, n;
    ngx_msec_t                 age, oldest;
    ngx_rtbus_link_t      *link;
    ngx_rtbus_redis_shard_t   *shard;
    ngx_rtbus_redis_shards_t  *shards;

    shards = &hub->shards;

    sub = 1;
    cmd = 1;
    proven = 1;
    trouble = NGX_RTBUS_STAT_NO_TROUBLE;
    oldest = 0;
    n = 0;

    if (shards->cluster
        && (shards->one.sub.topics.n || shards->one.sub.plains.n))
    {
        /* there are channels that nobody has */
        proven = 0;
    }

    for (shard = ngx_rtbus_redis_shards_next(shards, NULL);
         shard;
         shard = ngx_rtbus_redis_shards_next(shards, shard))
    {
        link = shard->data;

        if (link && link->stat) {
            link->stat->up[NGX_RTBUS_STAT_PUBSUB] = shard->sub.conn.up;
            link->stat->up[NGX_RTBUS_STAT_COMMAND] = shard->cmd.conn.up;
            link->stat->canary = link->canary.back;
        }

        if (!shard->listed || shard->opening) {
            continue;
        }

        sub &= shard->sub.conn.up;
        cmd &= shard->cmd.conn.up;

        if (shard->sub.conn.replica || shard->cmd.conn.replica) {
            trouble = NGX_RTBUS_STAT_REPLICA;

        } else if (link && link->library.lost && trouble == 0) {
            trouble = NGX_RTBUS_STAT_LIBRARY;
        }

        if (link == NULL) {
            proven = 0;
            continue;
        }

        age = ngx_current_msec - link->canary.back;

        if (link->canary.proven) {
            oldest = ngx_max(oldest, age);

        } else if (shards->cluster && shard->sub.conn.up && shard->cmd.conn.up
                   && age < NGX_RTBUS_STAT_LATE)
        {
            continue;

        } else {
            proven = 0;
        }

        n++;
    }

    hub->stat->redis_up[NGX_RTBUS_STAT_PUBSUB] = (n && sub);
    hub->stat->redis_up[NGX_RTBUS_STAT_COMMAND] = (n && cmd);

    ngx_log_debug4(NGX_LOG_DEBUG_CORE, hub->log, 0,
                   "rtbus: link health, servers:%ui sub:%ui cmd:%ui proven:%ui",
                   n, sub, cmd, proven);

    hub->stat->trouble = trouble;
    hub->stat->proven = (n && proven);

    if (hub->stat->proven) {
        hub->stat->canary = ngx_current_msec - oldest;
    }
}


static void
ngx_rtbus_link_mailbox_ready(ngx_rtbus_mailbox_t *mb)
{
    ngx_rtbus_hub_t  *hub;

    ngx_rtbus_link_t  *link;

    hub = ngx_queue_data(mb, ngx_rtbus_hub_t, mailbox);
    link = hub->shards.one.data;

    if (link) {
        ngx_rtbus_canary_send(&link->canary);
    }
}


static void
ngx_rtbus_link_retry_handler(ngx_event_t *ev)
{
    ngx_rtbus_hub_t          *hub;
    ngx_rtbus_redis_shard_t  *shard;

    hub = ev->data;

    ngx_log_debug0(NGX_LOG_DEBUG_CORE, ev->log, 0, "rtbus: link retry");

    for (shard = ngx_rtbus_redis_shards_next(&hub->shards, NULL);
         shard;
         shard = ngx_rtbus_redis_shards_next(&hub->shards, shard))
    {
        ngx_rtbus_listen_again(shard);
    }
}
