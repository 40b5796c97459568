
#include "ngx_rtbus_redis_cmd.h"


/* calls kept for reuse */
#define NGX_RTBUS_REDIS_CMD_FREE  1024


static void ngx_rtbus_redis_cmd_up(ngx_rtbus_redis_conn_t *rc);
static void ngx_rtbus_redis_cmd_down(ngx_rtbus_redis_conn_t *rc,
    const char *reason);
static void ngx_rtbus_redis_cmd_failed(ngx_rtbus_redis_conn_t *rc);
static void ngx_rtbus_redis_cmd_reply(ngx_rtbus_redis_conn_t *rc,
    redisReply *reply);
static void ngx_rtbus_redis_cmd_demoted(ngx_rtbus_redis_cmd_t *rm);
static void ngx_rtbus_redis_cmd_fail(ngx_rtbus_redis_cmd_t *rm);
static void ngx_rtbus_redis_cmd_timeout_handler(ngx_event_t *ev);
static void ngx_rtbus_redis_cmd_expect(ngx_rtbus_redis_cmd_t *rm,
    ngx_rtbus_redis_call_t *call);
static ngx_rtbus_redis_call_t *ngx_rtbus_redis_call_create(
    ngx_rtbus_redis_cmd_t *rm);
static void ngx_rtbus_redis_call_done(ngx_rtbus_redis_cmd_t *rm,
    ngx_rtbus_redis_call_t *call, redisReply *reply);
static void ngx_rtbus_redis_call_destroy(ngx_rtbus_redis_cmd_t *rm,
    ngx_rtbus_redis_call_t *call);
static void ngx_rtbus_redis_call_free(ngx_rtbus_redis_call_t *call);


ngx_int_t
ngx_rtbus_redis_cmd_init(ngx_rtbus_redis_cmd_t *rm,
    ngx_rtbus_redis_conf_t *conf, ngx_log_t *log)
{
    rm->reconnects = 0;
    rm->started = 0;

    rm->first = NULL;
    rm->last = &rm->first;
    rm->free = NULL;
    rm->nfree = 0;

    ngx_memzero(&rm->timeout, sizeof(ngx_event_t));
    rm->timeout.handler = ngx_rtbus_redis_cmd_timeout_handler;
    rm->timeout.data = rm;
    rm->timeout.log = &rm->conn.log;
    rm->timeout.cancelable = 1;

    ngx_memzero(&rm->silence, sizeof(ngx_rtbus_redis_silence_t));

    rm->conn.conf = conf;
    rm->conn.role = "command";
    rm->conn.rest = 0;
    rm->conn.up_handler = ngx_rtbus_redis_cmd_up;
    rm->conn.raw_handler = NULL;
    rm->conn.reply_handler = ngx_rtbus_redis_cmd_reply;
    rm->conn.down_handler = ngx_rtbus_redis_cmd_down;
    rm->conn.failed_handler = ngx_rtbus_redis_cmd_failed;
    rm->conn.exiting_handler = rm->exiting_handler;
    rm->conn.data = rm;

    return ngx_rtbus_redis_conn_init(&rm->conn, log);
}


ngx_rtbus_redis_call_t *
ngx_rtbus_redis_cmd_call(ngx_rtbus_redis_cmd_t *rm, int argc,
    const char **argv, const size_t *argvlen, ngx_rtbus_redis_call_pt handler,
    void *data)
{
    ngx_rtbus_redis_call_t  *call;

    if (!rm->conn.up) {
        return NULL;
    }

    call = ngx_rtbus_redis_call_create(rm);
    if (call == NULL) {
        return NULL;
    }

    if (ngx_rtbus_redis_conn_send(&rm->conn, argc, argv, argvlen) != NGX_OK) {
        ngx_rtbus_redis_call_destroy(rm, call);
        return NULL;
    }

    call->handler = handler;
    call->data = data;

    ngx_rtbus_redis_cmd_expect(rm, call);

    return call;
}


static void
ngx_rtbus_redis_cmd_expect(ngx_rtbus_redis_cmd_t *rm,
    ngx_rtbus_redis_call_t *call)
{
    call->start = ngx_current_msec;
    call->next = NULL;

    *rm->last = call;
    rm->last = &call->next;

    /* a leaving worker stays until its calls are answered */

    rm->timeout.cancelable = 0;

    if (!rm->timeout.timer_set) {
        ngx_add_timer(&rm->timeout,
              ngx_rtbus_redis_conn_step(rm->conn.conf->command_timeout));
    }
}


ngx_rtbus_redis_call_t *
ngx_rtbus_redis_call_keep(int argc, const char **argv, const size_t *argvlen,
    ngx_rtbus_redis_call_pt handler, void *data, ngx_log_t *log)
{
    int                      i;
    size_t                   size;
    u_char                  *p;
    ngx_rtbus_redis_call_t  *call;
    ngx_rtbus_redis_kept_t  *kept;

    size = sizeof(ngx_rtbus_redis_kept_t)
           + argc * (sizeof(char *) + sizeof(size_t));

    for (i = 0; i < argc; i++) {
        size += argvlen[i];
    }

    call = ngx_alloc(sizeof(ngx_rtbus_redis_call_t), log);
    if (call == NULL) {
        return NULL;
    }

    kept = ngx_alloc(size, log);
    if (kept == NULL) {
        ngx_free(call);
        return NULL;
    }

    ngx_memzero(kept, sizeof(ngx_rtbus_redis_kept_t));

    kept->argc = argc;
    kept->argv = (const char **) &kept[1];
    kept->argvlen = (size_t *) &kept->argv[argc];

    p = (u_char *) &kept->argvlen[argc];

    for (i = 0; i < argc; i++) {
        kept->argv[i] = (char *) p;
        kept->argvlen[i] = argvlen[i];

        if (argvlen[i]) {
            p = ngx_cpymem(p, argv[i], argvlen[i]);
        }
    }

    call->handler = handler;
    call->data = data;
    call->next = NULL;
    call->kept = kept;

    return call;
}


ngx_int_t
ngx_rtbus_redis_call_send(ngx_rtbus_redis_cmd_t *rm,
    ngx_rtbus_redis_call_t *call)
{
    ngx_rtbus_redis_kept_t  *kept;

    kept = call->kept;

    if (ngx_rtbus_redis_conn_send(&rm->conn, kept->argc, kept->argv,
                                  kept->argvlen)
        != NGX_OK)
    {
        return NGX_DECLINED;
    }

    ngx_rtbus_redis_cmd_expect(rm, call);

    return NGX_OK;
}


void
ngx_rtbus_redis_call_fail(ngx_rtbus_redis_call_t *call)
{
    if (call->handler) {
        call->handler(call->data, NULL);
    }

    ngx_rtbus_redis_call_free(call);
}


void
ngx_rtbus_redis_cmd_cancel(ngx_rtbus_redis_call_t *call)
{
    call->handler = NULL;
}


void
ngx_rtbus_redis_cmd_close(ngx_rtbus_redis_cmd_t *rm)
{
    ngx_rtbus_redis_call_t  *call;

    ngx_rtbus_redis_conn_close(&rm->conn);

    ngx_rtbus_redis_cmd_fail(rm);

    while (rm->free) {
        call = rm->free;
        rm->free = call->next;
        ngx_free(call);
    }

    rm->nfree = 0;
}


static void
ngx_rtbus_redis_cmd_up(ngx_rtbus_redis_conn_t *rc)
{
    ngx_rtbus_redis_cmd_t  *rm;

    rm = rc->data;

    if (rm->started) {
        rm->reconnects++;
    }

    rm->started = 1;

    if (rm->changed_handler) {
        rm->changed_handler(rm);
    }
}


static void
ngx_rtbus_redis_cmd_down(ngx_rtbus_redis_conn_t *rc, const char *reason)
{
    ngx_rtbus_redis_cmd_t  *rm;

    rm = rc->data;

    if (rm->changed_handler) {
        rm->changed_handler(rm);
    }

    ngx_rtbus_redis_cmd_fail(rm);
}


static void
ngx_rtbus_redis_cmd_failed(ngx_rtbus_redis_conn_t *rc)
{
    ngx_rtbus_redis_cmd_t  *rm;

    rm = rc->data;

    if (rm->changed_handler) {
        rm->changed_handler(rm);
    }
}


static void
ngx_rtbus_redis_cmd_fail(ngx_rtbus_redis_cmd_t *rm)
{
    ngx_rtbus_redis_call_t  *call, *next;

    if (rm->timeout.timer_set) {
        ngx_del_timer(&rm->timeout);
    }

    call = rm->first;

    rm->first = NULL;
    rm->last = &rm->first;

    /* the handlers may cancel those that follow */

    while (call) {
        next = call->next;
        ngx_rtbus_redis_call_done(rm, call, NULL);
        call = next;
    }
}


static void
ngx_rtbus_redis_cmd_reply(ngx_rtbus_redis_conn_t *rc, redisReply *reply)
{
    ngx_uint_t               demoted;
    ngx_rtbus_redis_cmd_t   *rm;
    ngx_rtbus_redis_call_t  *call;

    rm = rc->data;
    call = rm->first;

    if (call == NULL) {
        ngx_rtbus_redis_conn_fail(rc, "unexpected reply");
        return;
    }

    rm->first = call->next;

    if (rm->first == NULL) {
        rm->last = &rm->first;
        rm->timeout.cancelable = 1;
    }

    /* where a master is wanted */

    demoted = ((rc->conf->only_master || rc->locate_handler)
               && reply->type == REDIS_REPLY_ERROR
               && ngx_strncmp(reply->str, "READONLY", 8) == 0);

    if (call->kept && call->handler && rm->error_handler
        && (reply->type == REDIS_REPLY_ERROR
            || (call->kept->insisting && reply->type == REDIS_REPLY_INTEGER
                && reply->integer == 0)))
    {
        switch (rm->error_handler(rm, call, reply)) {

        case NGX_OK:
            return;

        case NGX_ABORT:
            reply = NULL;
            break;
        }
    }

    ngx_rtbus_redis_call_done(rm, call, reply);

    if (demoted) {
        ngx_rtbus_redis_cmd_demoted(rm);
    }
}


static void
ngx_rtbus_redis_cmd_demoted(ngx_rtbus_redis_cmd_t *rm)
{
    ngx_log_debug0(NGX_LOG_DEBUG_EVENT, &rm->conn.log, 0,
                   "rtbus: redis is not the master any more");

    if (rm->demoted_handler) {
        rm->demoted_handler(rm);
        return;
    }

    ngx_rtbus_redis_conn_fail(&rm->conn, "it is not the master any more");
}


static void
ngx_rtbus_redis_cmd_timeout_handler(ngx_event_t *ev)
{
    ngx_msec_t              left;
    ngx_rtbus_redis_cmd_t  *rm;

    rm = ev->data;

    ngx_log_debug1(NGX_LOG_DEBUG_EVENT, ev->log, 0,
                   "rtbus: redis cmd timeout, first:%p", rm->first);

    if (rm->first == NULL) {
        return;
    }

    if (ngx_rtbus_redis_conn_silent(&rm->conn, &rm->silence, rm->first->start,
                                    rm->conn.conf->command_timeout, &left)
        == NGX_AGAIN)
    {
        ngx_add_timer(ev, left);
        return;
    }

    ngx_rtbus_redis_conn_fail(&rm->conn, "command timed out");
}


static ngx_rtbus_redis_call_t *
ngx_rtbus_redis_call_create(ngx_rtbus_redis_cmd_t *rm)
{
    ngx_rtbus_redis_call_t  *call;

    call = rm->free;

    if (call) {
        rm->free = call->next;
        rm->nfree--;
        return call;
    }

    call = ngx_alloc(sizeof(ngx_rtbus_redis_call_t), &rm->conn.log);

    if (call) {
        call->kept = NULL;
    }

    return call;
}


static void
ngx_rtbus_redis_call_done(ngx_rtbus_redis_cmd_t *rm,
    ngx_rtbus_redis_call_t *call, redisReply *reply)
{
    if (call->handler) {
        call->handler(call->data, reply);
    }

    ngx_rtbus_redis_call_destroy(rm, call);
}


static void
ngx_rtbus_redis_call_destroy(ngx_rtbus_redis_cmd_t *rm,
    ngx_rtbus_redis_call_t *call)
{
    if (call->kept || rm->conn.closed
        || rm->nfree == NGX_RTBUS_REDIS_CMD_FREE)
    {
        ngx_rtbus_redis_call_free(call);
        return;
    }

    call->next = rm->free;
    rm->free = call;
    rm->nfree++;
}


static void
ngx_rtbus_redis_call_free(ngx_rtbus_redis_call_t *call)
{
    if (call->kept) {
        ngx_free(call->kept);
    }

    ngx_free(call);
}
