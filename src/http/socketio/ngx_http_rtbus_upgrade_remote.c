
#include "ngx_http_rtbus_upgrade_remote.h"
#include "ngx_http_rtbus_upgrade.h"


static void ngx_http_rtbus_upgrade_remote_channels(ngx_http_rtbus_session_t *s,
    ngx_http_rtbus_relay_from_t *from);
static void ngx_http_rtbus_upgrade_remote_give(ngx_http_rtbus_session_t *s,
    ngx_http_rtbus_relay_from_t *from);
static void ngx_http_rtbus_upgrade_remote_forget(ngx_event_t *ev);


ngx_http_rtbus_eio_error_e
ngx_http_rtbus_upgrade_remote_asked(ngx_http_rtbus_session_t *s,
    ngx_http_rtbus_relay_from_t *from)
{
    ngx_http_rtbus_eio_error_e  error;

    error = ngx_http_rtbus_upgrade_free(s);

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, &s->log, 0,
                   "rtbus upgrade asked for by another worker, state:%d: %d",
                   s->state, error);

    if (error == NGX_HTTP_RTBUS_EIO_OK) {
        s->used = 1;
        s->upgrade_until = ngx_current_msec + NGX_HTTP_RTBUS_UPGRADE_TIMEOUT
                           + NGX_HTTP_RTBUS_UPGRADE_STEP;
        s->upgrader = *from;
    }

    return error;
}


ngx_int_t
ngx_http_rtbus_upgrade_remote_told(ngx_http_rtbus_session_t *s,
    ngx_str_t *kind, rtbus_str_t *message, ngx_http_rtbus_relay_from_t *from)
{
    rtbus_json_member_t          m[] = { rtbus_json_member("upgrade") };
    ngx_http_rtbus_relay_from_t  upgrader;

    if (!ngx_http_rtbus_relay_is(kind, "probe")
        && !ngx_http_rtbus_relay_is(kind, "channels")
        && !ngx_http_rtbus_relay_is(kind, "take")
        && !ngx_http_rtbus_relay_is(kind, "left"))
    {
        return NGX_DECLINED;
    }

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, &s->log, 0,
                   "rtbus upgrade of another worker: \"%V\", state:%d",
                   kind, s->state);

    rtbus_json_members(message, m, 1);

    upgrader = *from;

    if (rtbus_json_uint(&m[0].value.raw, &upgrader.ref) != RTBUS_OK
        || upgrader.ref == 0
        || !ngx_http_rtbus_relay_same(&upgrader, &s->upgrader)
        || s->state == NGX_HTTP_RTBUS_SESSION_UPGRADED)
    {
        ngx_http_rtbus_relay_refuse(s->poll.carrier.worker->relay, from,
                                    NGX_HTTP_RTBUS_EIO_REQUEST);
        return NGX_OK;
    }

    if (ngx_http_rtbus_relay_is(kind, "probe")) {
        ngx_http_rtbus_session_probed(s);

    } else if (ngx_http_rtbus_relay_is(kind, "left")) {
        s->upgrader.ref = 0;
        ngx_http_rtbus_session_state(s, NGX_HTTP_RTBUS_SESSION_POLLING);

    } else if (ngx_http_rtbus_relay_is(kind, "channels")) {

        /*
         * the client has stopped polling, so what still polls is not the
         * client
         */

        ngx_http_rtbus_session_state(s, NGX_HTTP_RTBUS_SESSION_LEAVING);
        ngx_http_rtbus_poll_refuse(&s->poll, NGX_HTTP_RTBUS_EIO_REQUEST);

        ngx_http_rtbus_upgrade_remote_channels(s, from);

    } else {
        ngx_http_rtbus_upgrade_remote_give(s, from);
    }

    return NGX_OK;
}


static void
ngx_http_rtbus_upgrade_remote_channels(ngx_http_rtbus_session_t *s,
    ngx_http_rtbus_relay_from_t *from)
{
    ngx_http_rtbus_text_t    text;
    ngx_http_rtbus_relay_t  *relay;

    relay = s->poll.carrier.worker->relay;

    ngx_http_rtbus_relay_begin(relay, &text, "answer");

    ngx_http_rtbus_text_lit(&text, ",\"channels\":");
    s->eio->handlers->channels(s->eio, &text);

    (void) ngx_http_rtbus_relay_answer(relay, from, &text, NULL, NULL);
}


/* the session leaves for another worker */

static void
ngx_http_rtbus_upgrade_remote_give(ngx_http_rtbus_session_t *s,
    ngx_http_rtbus_relay_from_t *from)
{
    ngx_str_t                  to;
    ngx_http_rtbus_link_t     *link;
    ngx_http_rtbus_text_t      text, queue;
    ngx_http_rtbus_worker_t   *worker;
    ngx_http_rtbus_carrier_t  *car;

    car = &s->poll.carrier;
    worker = car->worker;

    if (s->poll.post || ngx_http_rtbus_carrier_closing(car)) {
        ngx_http_rtbus_relay_refuse(worker->relay, from,
                                    NGX_HTTP_RTBUS_EIO_REQUEST);
        return;
    }

    ngx_http_rtbus_text_init(&queue, &s->log);

    for (link = car->first; link; link = link->next) {
        ngx_http_rtbus_poll_write(&queue, link->frame);
    }

    ngx_http_rtbus_relay_begin(worker->relay, &text, "answer");

    ngx_http_rtbus_text_lit(&text, ",\"opened\":");
    ngx_http_rtbus_text_number(&text, ngx_current_msec - s->eio->opened);
    ngx_http_rtbus_text_lit(&text, ",\"pinged\":");
    ngx_http_rtbus_text_number(&text, s->eio->pinged);
    ngx_http_rtbus_text_lit(&text, ",\"queue\":");
    ngx_http_rtbus_text_quote(&text, queue.data, queue.len);
    ngx_http_rtbus_text_lit(&text, ",\"session\":");

    to.data = from->from;
    to.len = NGX_RTBUS_MAILBOX_ID_LEN;

    s->eio->handlers->export(s->eio, &to, &text);

    text.failed |= queue.failed;

    ngx_http_rtbus_text_free(&queue);

    /* if it does not arrive, the client comes back with its cursor */

    (void) ngx_http_rtbus_relay_answer(worker->relay, from, &text, NULL, NULL);

    /* a late request is told that the session is elsewhere, not unknown */

    ngx_http_rtbus_poll_stop(&s->poll);
    car->ended_handler(car);
    ngx_http_rtbus_carrier_leave(car);

    ngx_http_rtbus_session_state(s, NGX_HTTP_RTBUS_SESSION_UPGRADED);
    ngx_http_rtbus_session_left(s);

    s->noop.handler = ngx_http_rtbus_upgrade_remote_forget;
    s->noop.data = s;
    s->noop.log = &s->log;
    s->noop.cancelable = 1;

    ngx_add_timer(&s->noop, NGX_HTTP_RTBUS_UPGRADE_TIMEOUT);
}


static void
ngx_http_rtbus_upgrade_remote_forget(ngx_event_t *ev)
{
    ngx_http_rtbus_session_t  *s;

    s = ev->data;

    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, ev->log, 0,
                   "rtbus session that has moved is forgotten");

    ngx_http_rtbus_poll_done(&s->poll);
}
