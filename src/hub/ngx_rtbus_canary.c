
#include "ngx_rtbus_canary.h"


/* timers may come a little early or late */
#define NGX_RTBUS_CANARY_MISSING  (2 * NGX_RTBUS_STAT_PERIOD - 100)

#define NGX_RTBUS_CANARY_LOG      60      /* s between refusals in the log */


static void ngx_rtbus_canary_timer(ngx_event_t *ev);
static void ngx_rtbus_canary_sent(void *data, redisReply *reply);
static void ngx_rtbus_canary_back(void *data, rtbus_json_value_t *value,
    rtbus_str_t *message);


void
ngx_rtbus_canary_init(ngx_rtbus_canary_t *canary, ngx_rtbus_mailbox_t *mailbox,
    ngx_rtbus_redis_sub_t *sub, ngx_rtbus_redis_cmd_t *cmd,
    ngx_rtbus_stat_t *stat, ngx_log_t *log)
{
    canary->mailbox = mailbox;
    canary->sub = sub;
    canary->cmd = cmd;
    canary->stat = stat;
    canary->log = log;

    canary->timer.handler = ngx_rtbus_canary_timer;
    canary->timer.data = canary;
    canary->timer.log = log;
    canary->timer.cancelable = 1;

    ngx_rtbus_mailbox_handle(mailbox, "canary", ngx_rtbus_canary_back, canary);

    ngx_add_timer(&canary->timer, NGX_RTBUS_STAT_PERIOD);
}


void
ngx_rtbus_canary_close(ngx_rtbus_canary_t *canary)
{
    if (canary->timer.timer_set) {
        ngx_del_timer(&canary->timer);
    }
}


static void
ngx_rtbus_canary_timer(ngx_event_t *ev)
{
    ngx_connection_t    *c;
    ngx_rtbus_canary_t  *canary;

    canary = ev->data;

    ngx_log_debug2(NGX_LOG_DEBUG_CORE, ev->log, 0,
                   "rtbus canary timer, flying:%d, proven:%uA",
                   canary->flying, canary->stat->proven);

    canary->stat->heard = ngx_time();

    ngx_add_timer(ev, NGX_RTBUS_STAT_PERIOD);

    if (!canary->flying) {
        ngx_rtbus_canary_send(canary);
        return;
    }

    if (ngx_current_msec - canary->sent < NGX_RTBUS_CANARY_MISSING) {
        return;
    }

    c = canary->sub->conn.peer.connection;

    if (c == NULL || c->read->posted) {

        /* it may be in what this worker has not got round to reading */

        return;
    }

    ngx_rtbus_stat_add(canary->stat, canaries, 1);

    ngx_rtbus_redis_conn_fail(&canary->sub->conn, "the canary is missing");
}


void
ngx_rtbus_canary_send(ngx_rtbus_canary_t *canary)
{
    u_char     *p;
    ngx_str_t   message;
    u_char      buf[sizeof("{\"canary\":}") + NGX_INT64_LEN];

    if (!canary->mailbox->ready || !canary->cmd->conn.up) {
        return;
    }

    canary->number++;

    p = ngx_sprintf(buf, "{\"canary\":%uL}", canary->number);

    message.data = buf;
    message.len = p - buf;

    if (ngx_rtbus_mailbox_send(canary->mailbox, &canary->mailbox->id, &message,
                               ngx_rtbus_canary_sent, canary))
    {
        canary->flying = 1;
        canary->sent = ngx_current_msec;
    }
}


void
ngx_rtbus_canary_lost(ngx_rtbus_canary_t *canary)
{
    canary->flying = 0;
    canary->stat->proven = 0;
}


/* the answer to PUBLISH, which the canary itself may be ahead of */

static void
ngx_rtbus_canary_sent(void *data, redisReply *reply)
{
    ngx_rtbus_canary_t *canary = data;

    ngx_str_t  text;

    if (reply == NULL || reply->type != REDIS_REPLY_ERROR) {
        return;
    }

    /* it has not taken off, so its absence says nothing of the other link */

    canary->flying = 0;

    if (ngx_time() - canary->complained < NGX_RTBUS_CANARY_LOG) {
        return;
    }

    canary->complained = ngx_time();

    text.len = reply->len;
    text.data = (u_char *) reply->str;

    ngx_log_error(NGX_LOG_ERR, canary->log, 0,
                  "rtbus could not publish to its mailbox \"%V\": "
                  "Redis answered \"%V\"", &canary->mailbox->name, &text);
}


static void
ngx_rtbus_canary_back(void *data, rtbus_json_value_t *value,
    rtbus_str_t *message)
{
    ngx_rtbus_canary_t *canary = data;

    uint64_t  number;

    if (value->type != RTBUS_JSON_NUMBER
        || rtbus_json_uint(&value->raw, &number) != RTBUS_OK
        || number != canary->number || !canary->flying)
    {
        return;
    }

    ngx_log_debug1(NGX_LOG_DEBUG_CORE, canary->log, 0,
                   "rtbus canary is back after %M ms",
                   ngx_current_msec - canary->sent);

    canary->flying = 0;
    canary->stat->canary = ngx_current_msec;
    canary->stat->proven = 1;
}
