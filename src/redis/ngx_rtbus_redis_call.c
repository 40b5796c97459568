
#include "ngx_rtbus_redis_call.h"
#include "rtbus_slot.h"


#define NGX_RTBUS_REDIS_CALL_WAIT     25    /* ms */
#define NGX_RTBUS_REDIS_CALL_INSIST   1000  /* ms */


static void ngx_rtbus_redis_call_wait_handler(ngx_event_t *ev);
static ngx_int_t ngx_rtbus_redis_call_try(ngx_rtbus_redis_shards_t *shards,
    ngx_rtbus_redis_call_t *call);
static void ngx_rtbus_redis_call_asking(void *data, redisReply *reply);


void
ngx_rtbus_redis_call_init(ngx_rtbus_redis_shards_t *shards)
{
    shards->waiting = NULL;
    shards->waiting_last = &shards->waiting;

    /* a leaving worker stays until its calls are answered */

    ngx_memzero(&shards->wait, sizeof(ngx_event_t));
    shards->wait.handler = ngx_rtbus_redis_call_wait_handler;
    shards->wait.data = shards;
    shards->wait.log = shards->log;
}


void
ngx_rtbus_redis_call_close(ngx_rtbus_redis_shards_t *shards)
{
    ngx_rtbus_redis_call_go(shards);

    if (shards->wait.timer_set) {
        ngx_del_timer(&shards->wait);
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
        ngx_rtbus_redis_call_wait(shards, call);
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
        call->kept->insist = ngx_current_msec + NGX_RTBUS_REDIS_CALL_INSIST;
    }
}


void
ngx_rtbus_redis_call_wait(ngx_rtbus_redis_shards_t *shards,
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
        ngx_add_timer(&shards->wait, NGX_RTBUS_REDIS_CALL_WAIT);
    }
}


static void
ngx_rtbus_redis_call_wait_handler(ngx_event_t *ev)
{
    ngx_log_debug0(NGX_LOG_DEBUG_EVENT, ev->log, 0,
                   "rtbus: redis calls have waited");

    ngx_rtbus_redis_call_go(ev->data);
}


void
ngx_rtbus_redis_call_go(ngx_rtbus_redis_shards_t *shards)
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

        rc = ngx_rtbus_redis_call_try(shards, call);

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
        ngx_add_timer(&shards->wait, NGX_RTBUS_REDIS_CALL_WAIT);
    }
}


/* NGX_OK: it is sent; NGX_AGAIN: not yet; NGX_ERROR: it will never be */

static ngx_int_t
ngx_rtbus_redis_call_try(ngx_rtbus_redis_shards_t *shards,
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
                                    ngx_rtbus_redis_call_asking, NULL)
           == NULL)
    {
        return NGX_ERROR;
    }

    kept->to = NULL;
    kept->asking = 0;

    return ngx_rtbus_redis_call_send(&shard->cmd, call);
}


static void
ngx_rtbus_redis_call_asking(void *data, redisReply *reply)
{
    /* what follows it will tell */
}


ngx_uint_t
ngx_rtbus_redis_call_awaited(ngx_rtbus_redis_shards_t *shards,
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
