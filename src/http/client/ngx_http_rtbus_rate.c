
#include "ngx_http_rtbus_rate.h"


/* ms that a client is slowed down before it is refused */
#define NGX_HTTP_RTBUS_CLIENT_SLOW  5000

/* ... and for each message, but for joins: longer is not worth waiting for */
#define NGX_HTTP_RTBUS_CLIENT_WAIT  50

/* messages per second, at most */
#define NGX_HTTP_RTBUS_RATE_MAX     1000000


static void ngx_http_rtbus_rate_wait(ngx_http_rtbus_client_t *cli,
    ngx_msec_t ms);
static void ngx_http_rtbus_rate_waited(ngx_event_t *ev);


/*
 * Who sends more than it may is slowed down: the message is taken, and the next
 * one when the token is there that was owed.  Since pongs wait with them that
 * goes on for a limited time, after which messages are refused.
 */

ngx_int_t
ngx_http_rtbus_rate_message(ngx_http_rtbus_client_t *cli, ngx_uint_t join,
    ngx_msec_t *ms)
{
    ngx_int_t                   cost, full;
    ngx_uint_t                  rate;
    ngx_msec_t                  max;
    ngx_msec_int_t              passed;
    ngx_http_rtbus_bucket_t    *bucket;
    ngx_http_rtbus_loc_conf_t  *conf;

    bucket = &cli->bucket;
    conf = cli->carrier->conf;

    rate = conf->message_rate;
    full = rate * 1000;
    cost = 1000;

    passed = (ngx_msec_int_t) (ngx_current_msec - bucket->at);

    if (passed > 0) {
        bucket->tokens = (passed >= 2000)
                         ? full : ngx_min(bucket->tokens
                                          + passed * (ngx_int_t) rate, full);
        bucket->at = ngx_current_msec;
    }

    if (bucket->tokens == full) {
        bucket->fast = 0;
        bucket->limited = 0;
    }

    if (bucket->tokens >= cost) {
        bucket->tokens -= cost;
        return NGX_OK;
    }

    if (!bucket->fast) {
        bucket->fast = 1;
        bucket->since = ngx_current_msec;

        ngx_log_error(NGX_LOG_INFO, cli->carrier->log, 0,
                      "rtbus: client sent messages too fast");
    }

    max = ngx_min(NGX_HTTP_RTBUS_CLIENT_SLOW, conf->ping_timeout / 2);

    if (join && cli->nsubs < conf->max_channels) {

        /* all of them within the time of the others */

        cost = ngx_min(cost, (ngx_int_t) (rate * max / conf->max_channels));

    } else if (ngx_current_msec - bucket->since >= max
               || rate * NGX_HTTP_RTBUS_CLIENT_WAIT < 1000)
    {
        *ms = (cost - bucket->tokens + rate - 1) / rate;
        return NGX_DECLINED;
    }

    bucket->tokens -= cost;

    if (bucket->tokens < 0) {
        ngx_http_rtbus_rate_wait(cli, (rate - 1 - bucket->tokens) / rate);
    }

    return NGX_OK;
}


static void
ngx_http_rtbus_rate_wait(ngx_http_rtbus_client_t *cli, ngx_msec_t ms)
{
    if (cli->slow) {
        return;
    }

    cli->slow = ngx_calloc(sizeof(ngx_event_t), cli->carrier->log);

    if (cli->slow == NULL) {
        /* then it does not wait */
        return;
    }

    cli->slow->handler = ngx_http_rtbus_rate_waited;
    cli->slow->data = cli;
    cli->slow->log = cli->carrier->log;
    cli->slow->cancelable = 1;

    ngx_add_timer(cli->slow, ms);

    ngx_http_rtbus_carrier_hold(cli->carrier, NGX_HTTP_RTBUS_HELD_RATE);
}


static void
ngx_http_rtbus_rate_waited(ngx_event_t *ev)
{
    ngx_http_rtbus_client_t  *cli;

    cli = ev->data;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, cli->carrier->log, 0,
                   "rtbus: client goes on, tokens:%i", cli->bucket.tokens);

    cli->slow = NULL;
    ngx_free(ev);

    ngx_http_rtbus_carrier_release(cli->carrier, NGX_HTTP_RTBUS_HELD_RATE);
}


ngx_int_t
ngx_http_rtbus_rate_take(ngx_uint_t *tokens, ngx_msec_t *at, ngx_uint_t rate,
    ngx_uint_t room)
{
    ngx_uint_t      full;
    ngx_msec_int_t  ms;

    full = room * 1000;

    ms = (ngx_msec_int_t) (ngx_current_msec - *at);

    if (ms > 0) {
        *tokens = ((ngx_uint_t) ms >= full / rate)
                  ? full : ngx_min(*tokens + ms * rate, full);
        *at = ngx_current_msec;
    }

    if (*tokens < 1000) {
        return NGX_DECLINED;
    }

    *tokens -= 1000;

    return NGX_OK;
}


char *
ngx_http_rtbus_conf_message_rate(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_rtbus_loc_conf_t *rlcf = conf;

    ngx_int_t   rate;
    ngx_str_t  *value;

    if (rlcf->message_rate != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len < 4
        || ngx_strncmp(value[1].data + value[1].len - 3, "r/s", 3) != 0)
    {
        goto invalid;
    }

    rate = ngx_atoi(value[1].data, value[1].len - 3);

    if (rate == NGX_ERROR || rate == 0 || rate > NGX_HTTP_RTBUS_RATE_MAX) {
        goto invalid;
    }

    rlcf->message_rate = rate;

    return NGX_CONF_OK;

invalid:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid rate \"%V\", it must be like \"50r/s\"",
                       &value[1]);
    return NGX_CONF_ERROR;
}
