
#include "ngx_http_rtbus_client_life.h"
#include "ngx_http_rtbus_crypto.h"
#include "ngx_http_rtbus_ask.h"
#include "ngx_http_rtbus_sender.h"
#include "ngx_http_rtbus_subs.h"
#include "rtbus_ws.h"


/* seconds after which the time of a token is looked at again, at the latest */
#define NGX_HTTP_RTBUS_CLIENT_EXPIRY  86400


static ngx_int_t ngx_http_rtbus_client_expires(ngx_http_rtbus_client_t *cli,
    time_t expires);
static void ngx_http_rtbus_client_expired(ngx_event_t *ev);
static void ngx_http_rtbus_client_connected(ngx_http_rtbus_client_t *cli);
static void ngx_http_rtbus_client_welcome(ngx_http_rtbus_client_t *cli);


ngx_int_t
ngx_http_rtbus_client_init(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_carrier_t *car, const ngx_http_rtbus_protocol_t *protocol,
    ngx_http_rtbus_grant_t *grant)
{
    ngx_str_t  user;

    cli->carrier = car;
    cli->protocol = protocol;

    if (cli->format == NULL) {
        cli->format = protocol->format;
    }

    cli->hub = &car->worker->hub;

    ngx_queue_init(&cli->subs);
    ngx_queue_init(&cli->asks);

    cli->bucket.tokens = car->conf->message_rate * 1000;
    cli->bucket.at = ngx_current_msec;

    /* it outlives the request */

    user = grant->id.user;

    cli->rules = ngx_http_rtbus_access_copy_rules(&grant->rules, &user,
                                                  car->log);
    if (cli->rules == NULL) {
        return NGX_ERROR;
    }

    cli->nrules = grant->rules.nelts;
    cli->user = user;

    if (grant->id.expires
        && ngx_http_rtbus_client_expires(cli, grant->id.expires) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_rtbus_client_expires(ngx_http_rtbus_client_t *cli, time_t expires)
{
    time_t  s;

    cli->expiry = ngx_calloc(sizeof(ngx_event_t),
                             cli->carrier->log);
    if (cli->expiry == NULL) {
        return NGX_ERROR;
    }

    cli->expiry->handler = ngx_http_rtbus_client_expired;
    cli->expiry->data = cli;
    cli->expiry->log = cli->carrier->log;
    cli->expiry->cancelable = 1;

    /* timers do not reach further than some weeks: it is looked at again */

    s = ngx_max(expires - ngx_time(), 0);
    s = ngx_min(s, NGX_HTTP_RTBUS_CLIENT_EXPIRY);

    cli->expires = expires;
    ngx_add_timer(cli->expiry, (ngx_msec_t) s * 1000 + 1);

    return NGX_OK;
}


static void
ngx_http_rtbus_client_expired(ngx_event_t *ev)
{
    time_t                    s;
    ngx_http_rtbus_client_t  *cli;

    cli = ev->data;

    s = cli->expires - ngx_time();

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, cli->carrier->log, 0,
                   "rtbus: token expires in:%T", s);

    if (s > 0) {
        s = ngx_min(s, NGX_HTTP_RTBUS_CLIENT_EXPIRY);
        ngx_add_timer(ev, (ngx_msec_t) s * 1000);
        return;
    }

    ngx_http_rtbus_carrier_close_for(cli->carrier,
                                     NGX_HTTP_RTBUS_CLOSE_EXPIRED);
}


ngx_int_t
ngx_http_rtbus_client_sid(ngx_http_rtbus_client_t *cli, u_char *buf)
{
    u_char  random[NGX_HTTP_RTBUS_CLIENT_SID / 2];

    if (ngx_http_rtbus_crypto_random(random, sizeof(random),
                                     cli->carrier->log)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_hex_dump(buf, random, sizeof(random));

    cli->sid.len = NGX_HTTP_RTBUS_CLIENT_SID;
    cli->sid.data = buf;

    return NGX_OK;
}


ngx_int_t
ngx_http_rtbus_client_start(ngx_http_rtbus_client_t *cli,
    ngx_array_t *channels, ngx_array_t *refused)
{
    ngx_int_t                  rc;
    ngx_uint_t                 i, waiting;
    ngx_http_rtbus_sub_t      *s;
    ngx_http_rtbus_channel_t  *channel;

    ngx_http_rtbus_client_set_state(cli, NGX_HTTP_RTBUS_CLIENT_STARTING);
    cli->start_handler = ngx_http_rtbus_client_connected;
    cli->refused = refused->elts;
    cli->nrefused = refused->nelts;

    channel = channels->elts;
    waiting = 0;

    for (i = 0; i < channels->nelts; i++) {

        s = ngx_http_rtbus_subs_create(cli, &channel[i]);
        if (s == NULL) {
            return NGX_ERROR;
        }

        s->sub.patient = 1;
        s->sub.held = 1;

        rc = ngx_rtbus_hub_join(cli->hub, &s->sub, &channel[i].name);

        if (rc == NGX_ERROR) {
            ngx_free(s);
            return NGX_ERROR;
        }

        ngx_http_rtbus_subs_add(s);

        if (rc == NGX_OK || channel[i].placed) {
            s->ready = 1;

        } else {
            waiting = 1;
        }
    }

    if (!waiting) {
        ngx_http_rtbus_client_connected(cli);
        return NGX_OK;
    }

    /* "connected" comes before any answer */

    ngx_http_rtbus_carrier_hold(cli->carrier, NGX_HTTP_RTBUS_HELD_START);

    return NGX_OK;
}


static void
ngx_http_rtbus_client_connected(ngx_http_rtbus_client_t *cli)
{
    ngx_uint_t             i;
    ngx_queue_t           *q;
    ngx_http_rtbus_sub_t  *s;

    ngx_http_rtbus_client_set_state(cli, NGX_HTTP_RTBUS_CLIENT_CONNECTED);
    ngx_http_rtbus_carrier_release(cli->carrier, NGX_HTTP_RTBUS_HELD_START);

    if (!cli->bare) {
        ngx_http_rtbus_client_welcome(cli);
    }

    ngx_http_rtbus_sender_connected(cli);

    for (i = 0; i < cli->nrefused; i++) {
        ngx_http_rtbus_client_refuse_channel(cli, &cli->refused[i]);
    }

    cli->nrefused = 0;

    for (q = ngx_queue_head(&cli->subs);
         q != ngx_queue_sentinel(&cli->subs);
         q = ngx_queue_next(q))
    {
        s = ngx_queue_data(q, ngx_http_rtbus_sub_t, queue);

        (void) ngx_rtbus_hub_release(&s->sub);
    }
}


/* {"sessionId":"...","userId":"..."|null,"timestamp":<ms>} */

static void
ngx_http_rtbus_client_welcome(ngx_http_rtbus_client_t *cli)
{
    u_char      *p;
    size_t       len;
    ngx_str_t    data;
    ngx_time_t  *tp;

    len = sizeof("{\"sessionId\":\"\",\"userId\":,\"timestamp\":}") - 1
          + cli->sid.len
          + rtbus_json_quote(NULL, cli->user.data, cli->user.len) + 4
          + NGX_INT64_LEN;

    data.data = ngx_alloc(len, cli->carrier->log);
    if (data.data == NULL) {
        ngx_http_rtbus_carrier_nomem(cli->carrier);
        return;
    }

    p = ngx_cpymem(data.data, "{\"sessionId\":\"",
                   sizeof("{\"sessionId\":\"") - 1);
    p = ngx_cpymem(p, cli->sid.data, cli->sid.len);
    p = ngx_cpymem(p, "\",\"userId\":", sizeof("\",\"userId\":") - 1);

    if (cli->user.len) {
        p += rtbus_json_quote(p, cli->user.data, cli->user.len);

    } else {
        p = ngx_cpymem(p, "null", 4);
    }

    tp = ngx_timeofday();

    p = ngx_sprintf(p, ",\"timestamp\":%uL}",
                    (uint64_t) tp->sec * 1000 + tp->msec);

    data.len = p - data.data;

    ngx_http_rtbus_client_event(cli, "connected", &data, NULL);

    ngx_free(data.data);
}


void
ngx_http_rtbus_client_goodbye(ngx_http_rtbus_client_t *cli)
{
    u_char     *p;
    ngx_str_t   data;
    u_char      buf[128];

    p = ngx_snprintf(buf, sizeof(buf),
                     "{\"message\":\"server is shutting down\","
                     "\"reconnectAfter\":%M}",
                     (ngx_msec_t) (100 + ngx_random() % 900));
    data.data = buf;
    data.len = p - buf;

    ngx_http_rtbus_client_event(cli, "server:shutdown", &data, NULL);
}


void
ngx_http_rtbus_client_done(ngx_http_rtbus_client_t *cli, const char *reason)
{
    ngx_queue_t  *q;

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, cli->carrier->log, 0,
                   "rtbus: client ends, state:%d channels:%ui, %s",
                   cli->state, cli->nsubs, reason);

    if (cli->expiry) {
        if (cli->expiry->timer_set) {
            ngx_del_timer(cli->expiry);
        }

        ngx_free(cli->expiry);
        cli->expiry = NULL;
    }

    if (cli->slow) {
        ngx_del_timer(cli->slow);
        ngx_free(cli->slow);
        cli->slow = NULL;
    }

    ngx_http_rtbus_ask_close(cli);
    ngx_http_rtbus_sender_done(cli, reason);

    while (!ngx_queue_empty(&cli->subs)) {
        q = ngx_queue_head(&cli->subs);
        ngx_http_rtbus_subs_free(ngx_queue_data(q, ngx_http_rtbus_sub_t,
                                                      queue));
    }

    if (cli->rules) {
        ngx_free(cli->rules);
        cli->rules = NULL;
    }
}
