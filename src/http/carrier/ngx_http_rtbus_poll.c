
#include "ngx_http_rtbus_poll.h"
#include "ngx_http_rtbus_reply.h"
#include "ngx_http_rtbus_carriers.h"
#include "rtbus_utf8.h"
#include "rtbus_ws.h"


/* bytes of one answer, unless a single packet is longer */
#define NGX_HTTP_RTBUS_POLL_PAYLOAD   131072

/* ms for the GET that takes the last words along */
#define NGX_HTTP_RTBUS_POLL_LINGER    5000

/* ... and for that of a client that has closed, which is under way */
#define NGX_HTTP_RTBUS_POLL_CROSSING  1000

/* if a timer is so many ms late, the worker was busy, not the client */
#define NGX_HTTP_RTBUS_POLL_BUSY      1000


/* a call of our own client; memory of the request */

typedef struct {
    ngx_http_rtbus_poll_call_t   call;       /* the first member */
    ngx_event_handler_pt         handler;    /* nginx's, of the connection */
} ngx_http_rtbus_poll_request_t;


static ngx_int_t ngx_http_rtbus_poll_flush(ngx_http_rtbus_carrier_t *car);
static void ngx_http_rtbus_poll_close(ngx_http_rtbus_carrier_t *car,
    ngx_uint_t code, const char *reason);
static void ngx_http_rtbus_poll_resume(ngx_http_rtbus_carrier_t *car);
static void ngx_http_rtbus_poll_set_timer(ngx_http_rtbus_carrier_t *car,
    ngx_msec_t ms);

static void ngx_http_rtbus_poll_abort(ngx_http_rtbus_poll_call_t *call);
static void ngx_http_rtbus_poll_timer(ngx_event_t *ev);
static void ngx_http_rtbus_poll_next(ngx_event_t *ev);
static void ngx_http_rtbus_poll_take(ngx_http_rtbus_poll_t *poll);
static ngx_uint_t ngx_http_rtbus_poll_full(ngx_http_rtbus_poll_t *poll);
static void ngx_http_rtbus_poll_last(ngx_http_rtbus_poll_t *poll);
static void ngx_http_rtbus_poll_text(ngx_http_rtbus_poll_t *poll, size_t max,
    rtbus_eio_type_e last);
static ngx_uint_t ngx_http_rtbus_poll_packets(ngx_rtbus_frame_t *frame);
static void ngx_http_rtbus_poll_finish(ngx_http_rtbus_poll_call_t **call,
    ngx_http_rtbus_eio_error_e error, ngx_http_rtbus_text_t *text);

static void ngx_http_rtbus_poll_answer(ngx_http_rtbus_poll_call_t *call,
    ngx_http_rtbus_eio_error_e error, ngx_http_rtbus_text_t *text);
static void ngx_http_rtbus_poll_connection_handler(ngx_event_t *rev);
static void ngx_http_rtbus_poll_cleanup(void *data);
static void ngx_http_rtbus_poll_free(void *data);


static const ngx_http_rtbus_transport_t  ngx_http_rtbus_poll_transport = {
    ngx_http_rtbus_poll_flush,
    ngx_http_rtbus_poll_close,
    ngx_http_rtbus_poll_resume,
    ngx_http_rtbus_poll_set_timer,
    NULL,
    NULL
};


static const char  *ngx_http_rtbus_poll_errors[] = {
    "Transport unknown",
    "Session ID unknown",
    "Bad handshake method",
    "Bad request",
    "Forbidden",
    "Unsupported protocol version"
};


ngx_int_t
ngx_http_rtbus_poll_init(ngx_http_rtbus_poll_t *poll, ngx_http_request_t *r,
    ngx_pool_t *pool, ngx_log_t *log)
{
    poll->timer.handler = ngx_http_rtbus_poll_timer;
    poll->timer.data = poll;
    poll->timer.log = log;

    /* a worker that has said goodbye does not wait for this timer */

    poll->timer.cancelable = 1;

    poll->next.handler = ngx_http_rtbus_poll_next;
    poll->next.data = poll;
    poll->next.log = log;

    poll->carrier.transport = &ngx_http_rtbus_poll_transport;

    return ngx_http_rtbus_carrier_create(&poll->carrier, r, pool, log);
}


ngx_int_t
ngx_http_rtbus_poll_get(ngx_http_rtbus_poll_t *poll,
    ngx_http_rtbus_poll_call_t *call)
{
    ngx_http_rtbus_carrier_t  *car;

    car = &poll->carrier;

    ngx_log_debug4(NGX_LOG_DEBUG_HTTP, car->log, 0,
                   "rtbus poll get, waits:%d unsure:%d unsent:%uz state:%d",
                   poll->get != NULL, poll->unsure, car->unsent, car->state);

    if (poll->get) {
        ngx_http_rtbus_carrier_close(car, RTBUS_WS_PROTOCOL_ERROR,
                                     "two polls at a time");
        return NGX_BUSY;
    }

    call->abort = ngx_http_rtbus_poll_abort;
    call->data = poll;
    poll->get = call;
    car->quiet = 0;

    if (ngx_http_rtbus_carrier_closed(car)) {
        /* what it was waited for */
        ngx_post_event(&poll->next, &ngx_posted_events);

    } else if (car->first || ngx_http_rtbus_carrier_closing(car)) {
        ngx_http_rtbus_carrier_mark(car);
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_rtbus_poll_post(ngx_http_rtbus_poll_t *poll,
    ngx_http_rtbus_poll_call_t *call)
{
    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, poll->carrier.log, 0,
                   "rtbus poll post, waits:%d state:%d",
                   poll->post != NULL, poll->carrier.state);

    if (ngx_http_rtbus_carrier_closing(&poll->carrier)) {
        return NGX_DECLINED;
    }

    if (poll->post) {
        ngx_http_rtbus_carrier_close(&poll->carrier, RTBUS_WS_PROTOCOL_ERROR,
                                     "two posts at a time");
        return NGX_BUSY;
    }

    call->abort = ngx_http_rtbus_poll_abort;
    call->data = poll;
    poll->post = call;

    return NGX_OK;
}


void
ngx_http_rtbus_poll_body(ngx_http_rtbus_poll_t *poll, ngx_str_t *body)
{
    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, poll->carrier.log, 0,
                   "rtbus poll body of:%uz", body->len);

    /*
     * The packets are taken later, and before anything else that is posted
     * below: if the request were answered here, it could be gone before nginx
     * is done with it.
     */

    ngx_post_event(&poll->next, &ngx_posted_events);

    if (body->len == 0) {
        ngx_http_rtbus_carrier_close(&poll->carrier, RTBUS_WS_PROTOCOL_ERROR,
                                     "empty payload");

    } else if (rtbus_utf8_check(RTBUS_UTF8_ACCEPT, body->data, body->len)
               != RTBUS_UTF8_ACCEPT)
    {
        ngx_http_rtbus_carrier_close(&poll->carrier, RTBUS_WS_INVALID_PAYLOAD,
                                     "payload is not UTF-8");
    }

    poll->pos = body->len ? body->data : (u_char *) "";
    poll->last = poll->pos + body->len;
}


static void
ngx_http_rtbus_poll_abort(ngx_http_rtbus_poll_call_t *call)
{
    ngx_http_rtbus_poll_t  *poll;

    poll = call->data;

    call->abort = NULL;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, poll->carrier.log, 0,
                   "rtbus poll is aborted, get:%d", poll->get == call);

    if (poll->get == call) {
        poll->get = NULL;
        return;
    }

    poll->post = NULL;
    poll->pos = NULL;

    ngx_http_rtbus_carrier_close(&poll->carrier, RTBUS_WS_INTERNAL,
                                 "post was not completed");
}


ngx_uint_t
ngx_http_rtbus_poll_due(ngx_http_rtbus_poll_t *poll)
{
    ngx_msec_int_t  late;

    late = (ngx_msec_int_t) (ngx_current_msec - poll->timer.timer.key);

    /* if this worker was late, the request may have come in time */

    return poll->timer.timer_set
           && late >= 0 && late < NGX_HTTP_RTBUS_POLL_BUSY;
}


void
ngx_http_rtbus_poll_noop(ngx_http_rtbus_poll_t *poll)
{
    if (poll->get && !poll->unsure) {
        ngx_http_rtbus_poll_text(poll, 0, RTBUS_EIO_NOOP);
    }
}


void
ngx_http_rtbus_poll_refuse(ngx_http_rtbus_poll_t *poll,
    ngx_http_rtbus_eio_error_e error)
{
    ngx_http_rtbus_poll_finish(&poll->get, error, NULL);
}


void
ngx_http_rtbus_poll_done(ngx_http_rtbus_poll_t *poll)
{
    ngx_http_rtbus_poll_stop(poll);

    ngx_destroy_pool(poll->carrier.pool);
}


void
ngx_http_rtbus_poll_stop(ngx_http_rtbus_poll_t *poll)
{
    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, poll->carrier.log, 0,
                   "rtbus poll ends, get:%d post:%d unsent:%uz",
                   poll->get != NULL, poll->post != NULL,
                   poll->carrier.unsent);

    ngx_http_rtbus_carrier_state(&poll->carrier,
                                 NGX_HTTP_RTBUS_CARRIER_CLOSED);

    poll->pos = NULL;

    ngx_http_rtbus_poll_finish(&poll->get, NGX_HTTP_RTBUS_EIO_SID, NULL);
    ngx_http_rtbus_poll_finish(&poll->post, NGX_HTTP_RTBUS_EIO_SID, NULL);

    if (poll->timer.timer_set) {
        ngx_del_timer(&poll->timer);
    }

    if (poll->next.posted) {
        ngx_delete_posted_event(&poll->next);
    }
}


static ngx_int_t
ngx_http_rtbus_poll_flush(ngx_http_rtbus_carrier_t *car)
{
    ngx_http_rtbus_poll_t  *poll;

    poll = (ngx_http_rtbus_poll_t *) car;

    if (poll->get && !poll->unsure && !ngx_http_rtbus_carrier_closing(car)) {
        ngx_http_rtbus_poll_text(poll, NGX_HTTP_RTBUS_POLL_PAYLOAD, 0);
    }

    return NGX_OK;
}


/*
 * The last word comes in an answer of its own: the stock client takes a "close"
 * before the packets in front of it, and keeps those for later, beside what it
 * will recover.  If no GET waits, the client is about to send one; where there
 * is something to be said, we wait for it.
 */

static void
ngx_http_rtbus_poll_close(ngx_http_rtbus_carrier_t *car, ngx_uint_t code,
    const char *reason)
{
    ngx_http_rtbus_poll_t  *poll;

    poll = (ngx_http_rtbus_poll_t *) car;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, car->log, 0,
                   "rtbus poll close code:%ui get:%d",
                   code, poll->get != NULL);

    switch (code) {

    case RTBUS_WS_NORMAL:
        ngx_add_timer(&poll->timer, NGX_HTTP_RTBUS_POLL_CROSSING);
        break;

    case RTBUS_WS_RESTART:
    case RTBUS_WS_POLICY:
    case RTBUS_WS_TRY_LATER:
        ngx_add_timer(&poll->timer, NGX_HTTP_RTBUS_POLL_LINGER);
        break;

    default:

        if (poll->get == NULL) {
            ngx_http_rtbus_poll_done(poll);
            return;
        }
    }

    if (poll->get) {
        ngx_http_rtbus_poll_last(poll);
    }
}


static void
ngx_http_rtbus_poll_resume(ngx_http_rtbus_carrier_t *car)
{
    ngx_http_rtbus_poll_t  *poll;

    poll = (ngx_http_rtbus_poll_t *) car;

    ngx_post_event(&poll->next, &ngx_posted_events);
}


static void
ngx_http_rtbus_poll_set_timer(ngx_http_rtbus_carrier_t *car, ngx_msec_t ms)
{
    ngx_http_rtbus_poll_t  *poll;

    poll = (ngx_http_rtbus_poll_t *) car;

    if (!ngx_http_rtbus_carrier_closed(car)) {
        /* a busy worker gives no client more time than others have */

        ms -= ngx_min(ms / 2, poll->late);

        poll->due = ngx_current_msec + ms;
        ngx_add_timer(&poll->timer, ms);
    }
}


static void
ngx_http_rtbus_poll_timer(ngx_event_t *ev)
{
    ngx_http_rtbus_poll_t  *poll;

    poll = ev->data;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, ev->log, 0,
                   "rtbus poll timer, state:%d", poll->carrier.state);

    if (ngx_http_rtbus_carrier_closed(&poll->carrier)) {
        ngx_http_rtbus_poll_done(poll);
        return;
    }

    /* nginx leaves a timer as it is when it would not change much */

    if ((ngx_msec_int_t) (ngx_current_msec - poll->due) > 0) {
        poll->late = ngx_current_msec - poll->due;
    }

    if (poll->late >= NGX_HTTP_RTBUS_POLL_BUSY && !poll->doubted) {

        /* this worker has not read yet what has come in time */

        poll->doubted = 1;
        poll->late = 0;
        poll->due = ngx_current_msec + NGX_HTTP_RTBUS_POLL_BUSY;
        ngx_add_timer(ev, NGX_HTTP_RTBUS_POLL_BUSY);
        return;
    }

    poll->doubted = 0;

    poll->timer_handler(poll);

    poll->late = 0;
}


static void
ngx_http_rtbus_poll_next(ngx_event_t *ev)
{
    ngx_http_rtbus_poll_t  *poll;

    poll = ev->data;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, ev->log, 0,
                   "rtbus poll next, state:%d", poll->carrier.state);

    if (ngx_http_rtbus_carrier_closed(&poll->carrier)) {

        if (poll->get) {
            ngx_http_rtbus_poll_last(poll);
        }

        return;
    }

    if (poll->pos) {
        ngx_http_rtbus_poll_take(poll);
    }
}


/*
 * Packets are taken one by one, and the carrier may come to be held after
 * each.  While many of the answers to them still wait for a GET, the rest of
 * the packets wait, and so does the client.
 */

static void
ngx_http_rtbus_poll_take(ngx_http_rtbus_poll_t *poll)
{
    ngx_int_t                   rc;
    rtbus_eio_packet_t          packet;
    ngx_http_rtbus_carrier_t   *car;
    ngx_http_rtbus_eio_error_e  error;

    car = &poll->carrier;
    car->request = poll->post->request;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, car->log, 0,
                   "rtbus poll takes bytes:%z held:%xd",
                   (ssize_t) (poll->last - poll->pos), car->held);

    error = NGX_HTTP_RTBUS_EIO_OK;

    while (!ngx_http_rtbus_carrier_closing(car)) {

        if (car->held || ngx_http_rtbus_poll_full(poll)) {
            car->request = NULL;
            return;
        }

        rc = rtbus_eio_next(&packet, &poll->pos, poll->last);

        if (rc == RTBUS_AGAIN) {
            break;
        }

        if (rc != RTBUS_OK) {
            ngx_http_rtbus_carrier_close(car, RTBUS_WS_PROTOCOL_ERROR,
                                         "malformed payload");
            break;
        }

        if (poll->packet_handler(poll, &packet) != NGX_OK) {
            break;
        }
    }

    car->request = NULL;
    poll->pos = NULL;

    if (ngx_http_rtbus_carrier_closing(car)
        && car->close_code != RTBUS_WS_NORMAL)
    {
        error = NGX_HTTP_RTBUS_EIO_REQUEST;
    }

    ngx_http_rtbus_poll_finish(&poll->post, error, NULL);
}


static ngx_uint_t
ngx_http_rtbus_poll_full(ngx_http_rtbus_poll_t *poll)
{
    ngx_http_rtbus_carrier_t  *car;

    car = &poll->carrier;

    /* a client may poll only once its post is answered */

    return poll->pos < poll->last
           && car->unsent
           && ngx_http_rtbus_carrier_queued(car)
              > ngx_http_rtbus_carrier_limit(car) / 2;
}


static void
ngx_http_rtbus_poll_last(ngx_http_rtbus_poll_t *poll)
{
    ngx_http_rtbus_carrier_t  *car;

    car = &poll->carrier;

    switch (car->close_code) {

    case RTBUS_WS_NORMAL:
        ngx_http_rtbus_poll_text(poll, 0, RTBUS_EIO_NOOP);
        break;

    case RTBUS_WS_RESTART:
    case RTBUS_WS_POLICY:
    case RTBUS_WS_TRY_LATER:

        if (car->first && !car->busy && !poll->unsure) {
            ngx_http_rtbus_poll_text(poll, NGX_HTTP_RTBUS_POLL_PAYLOAD, 0);
            return;
        }

        /* fall through */

    default:
        ngx_http_rtbus_poll_text(poll, 0, RTBUS_EIO_CLOSE);
    }

    ngx_http_rtbus_poll_done(poll);
}


/*
 * Answers the GET with what is queued, up to max bytes, but a frame at least
 * unless max is 0, and with a packet of that type after it (0: none).
 */

static void
ngx_http_rtbus_poll_text(ngx_http_rtbus_poll_t *poll, size_t max,
    rtbus_eio_type_e last)
{
    u_char                     type;
    size_t                     sent, size;
    ngx_uint_t                 n;
    ngx_http_rtbus_link_t     *link;
    ngx_http_rtbus_text_t      text;
    ngx_http_rtbus_carrier_t  *car;

    car = &poll->carrier;

    ngx_http_rtbus_text_init(&text, car->log);

    sent = 0;
    size = 0;
    n = 0;

    for (link = max ? car->first : NULL; link; link = link->next) {

        n += ngx_http_rtbus_poll_packets(link->frame);

        if (sent && (sent + link->frame->len > max
                     || n > NGX_HTTP_RTBUS_POLL_PACKETS))
        {
            break;
        }

        sent += link->frame->len;
        size += link->frame->len - link->frame->payload + 1;

        if (link->frame->tail) {
            /* base64, and what may be more than the header was */
            size += link->frame->tail / 2 + 8;
        }
    }

    (void) ngx_http_rtbus_text_reserve(&text, size + 2);

    size = sent;

    for (link = car->first; size; link = link->next) {
        ngx_http_rtbus_poll_write(&text, link->frame);
        size -= link->frame->len;
    }

    if (last) {
        if (text.len) {
            type = RTBUS_EIO_SEPARATOR;
            ngx_http_rtbus_text_add(&text, &type, 1);
        }

        type = last;
        ngx_http_rtbus_text_add(&text, &type, 1);
    }

    if (text.failed) {
        /* a hole in the stream would be worse than its end */
        ngx_http_rtbus_text_free(&text);
        ngx_http_rtbus_carrier_nomem(car);
        ngx_http_rtbus_poll_finish(&poll->get, NGX_HTTP_RTBUS_EIO_AWAY, NULL);
        return;
    }

    ngx_log_debug4(NGX_LOG_DEBUG_HTTP, car->log, 0,
                   "rtbus poll answer sent:%uz packets:%ui unsent:%uz last:%d",
                   sent, n, car->unsent, last);

    ngx_http_rtbus_carrier_sent(car, sent);

    if (sent && poll->pos) {
        ngx_post_event(&poll->next, &ngx_posted_events);
    }

    ngx_http_rtbus_poll_finish(&poll->get, NGX_HTTP_RTBUS_EIO_OK, &text);
}


static ngx_uint_t
ngx_http_rtbus_poll_packets(ngx_rtbus_frame_t *frame)
{
    u_char      *p, *last;
    uint64_t     len;
    ngx_uint_t   n;

    last = frame->data + frame->len;

    n = 1;

    for (p = last - frame->tail; p < last; p += len) {
        p += rtbus_ws_read_header(p, &len);
        n++;
    }

    return n;
}


/* a frame is a text packet and binary ones behind it, as for WebSocket */

void
ngx_http_rtbus_poll_write(ngx_http_rtbus_text_t *text,
    ngx_rtbus_frame_t *frame)
{
    u_char     *p, *last, *dst;
    uint64_t    len;
    ngx_str_t   raw, base64;

    if (text->len) {
        static const u_char  separator = RTBUS_EIO_SEPARATOR;

        ngx_http_rtbus_text_add(text, &separator, 1);
    }

    last = frame->data + frame->len;
    p = last - frame->tail;

    ngx_http_rtbus_text_add(text, frame->data + frame->payload,
                            p - (frame->data + frame->payload));

    while (p < last) {
        p += rtbus_ws_read_header(p, &len);

        raw.data = p;
        raw.len = (size_t) len;
        p += len;

        dst = ngx_http_rtbus_text_reserve(text,
                                      2 + ngx_base64_encoded_length(raw.len));
        if (dst == NULL) {
            return;
        }

        dst[0] = RTBUS_EIO_SEPARATOR;
        dst[1] = RTBUS_EIO_BINARY;

        base64.data = dst + 2;
        ngx_encode_base64(&base64, &raw);

        text->len += 2 + base64.len;
    }
}


static void
ngx_http_rtbus_poll_finish(ngx_http_rtbus_poll_call_t **slot,
    ngx_http_rtbus_eio_error_e error, ngx_http_rtbus_text_t *text)
{
    ngx_http_rtbus_poll_call_t  *call;

    call = *slot;

    if (call) {
        *slot = NULL;
        call->abort = NULL;

        call->answer(call, error, text);

    } else if (text) {
        ngx_http_rtbus_text_free(text);
    }
}


/* calls of our own clients */

ngx_http_rtbus_poll_call_t *
ngx_http_rtbus_poll_create(ngx_http_request_t *r)
{
    ngx_http_cleanup_t             *cln;
    ngx_http_rtbus_poll_request_t  *pr;

    cln = ngx_http_cleanup_add(r, sizeof(ngx_http_rtbus_poll_request_t));
    if (cln == NULL) {
        return NULL;
    }

    pr = cln->data;
    ngx_memzero(pr, sizeof(ngx_http_rtbus_poll_request_t));

    pr->call.answer = ngx_http_rtbus_poll_answer;
    pr->call.request = r;

    cln->handler = ngx_http_rtbus_poll_cleanup;

    return &pr->call;
}


/* neither a client that goes away nor a worker that leaves is kept waiting */

ngx_int_t
ngx_http_rtbus_poll_wait(ngx_http_rtbus_poll_call_t *call)
{
    ngx_event_t                    *rev;
    ngx_connection_t               *c;
    ngx_http_request_t             *r;
    ngx_http_rtbus_poll_request_t  *pr;

    pr = (ngx_http_rtbus_poll_request_t *) call;

    r = call->request;
    c = r->connection;
    rev = c->read;

    c->log->action = "waiting for events";

    if (!r->discard_body) {
        r->read_event_handler = ngx_http_test_reading;

        if (rev->ready) {
            ngx_post_event(rev, &ngx_posted_events);
        }
    }

    ngx_http_set_ctx(r, pr, ngx_http_rtbus_module);

#if (NGX_HTTP_V2)
    if (r->stream == NULL)
#endif
    {
        if (!rev->ready && ngx_handle_read_event(rev, 0) != NGX_OK) {
            return NGX_ERROR;
        }

        pr->handler = rev->handler;
        rev->handler = ngx_http_rtbus_poll_connection_handler;
        c->idle = 1;
    }

    return NGX_DONE;
}


static void
ngx_http_rtbus_poll_connection_handler(ngx_event_t *rev)
{
    ngx_connection_t               *c;
    ngx_http_request_t             *r;
    ngx_http_rtbus_loc_conf_t      *rlcf;
    ngx_http_rtbus_poll_request_t  *pr;

    c = rev->data;

    r = c->data;
    r = r->main;

    pr = ngx_http_get_module_ctx(r, ngx_http_rtbus_module);

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "rtbus poll connection handler close:%d error:%d eof:%d",
                   c->close, c->error, rev->eof);

    if (c->close && !c->error) {
        c->close = 0;

        rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);
        ngx_http_rtbus_carriers_drain(rlcf->bus->worker);
    }

    pr->handler(rev);
}


static void
ngx_http_rtbus_poll_answer(ngx_http_rtbus_poll_call_t *call,
    ngx_http_rtbus_eio_error_e error, ngx_http_rtbus_text_t *text)
{
    ngx_connection_t               *c;
    ngx_http_request_t             *r;
    ngx_http_rtbus_poll_request_t  *pr;

    pr = (ngx_http_rtbus_poll_request_t *) call;

    r = call->request;
    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "rtbus poll answer of \"%V\": %d", &r->uri, error);

    if (pr->handler) {
        c->idle = 0;
        c->read->handler = pr->handler;
        pr->handler = NULL;
    }

    ngx_http_finalize_request(r, ngx_http_rtbus_poll_reply(r, error, text));

    ngx_http_run_posted_requests(c);
}


static void
ngx_http_rtbus_poll_cleanup(void *data)
{
    ngx_http_rtbus_poll_request_t  *pr = data;

    ngx_connection_t  *c;

    if (pr->handler) {
        c = pr->call.request->connection;

        c->idle = 0;
        c->read->handler = pr->handler;
        pr->handler = NULL;
    }

    if (pr->call.abort) {
        pr->call.abort(&pr->call);
    }
}


ngx_int_t
ngx_http_rtbus_poll_reply(ngx_http_request_t *r,
    ngx_http_rtbus_eio_error_e error, ngx_http_rtbus_text_t *text)
{
    u_char                     *p;
    size_t                      len;
    ngx_str_t                   body, type;
    ngx_pool_cleanup_t         *cln;
    ngx_http_rtbus_loc_conf_t  *rlcf;

    if (text) {
        body.len = text->len;
        body.data = text->data;

        cln = ngx_pool_cleanup_add(r->pool, 0);
        if (cln == NULL) {
            ngx_http_rtbus_text_free(text);
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        cln->handler = ngx_http_rtbus_poll_free;
        cln->data = text->data;

        ngx_str_set(&type, "text/plain");
        ngx_str_set(&r->headers_out.charset, "UTF-8");

        return ngx_http_rtbus_reply_text(r, &type, &body);
    }

    switch (error) {

    case NGX_HTTP_RTBUS_EIO_OK:
        /* so it has always been, for the sake of some browser */
        ngx_str_set(&body, "ok");
        ngx_str_set(&type, "text/html");

        return ngx_http_rtbus_reply_text(r, &type, &body);

    case NGX_HTTP_RTBUS_EIO_AWAY:
        return ngx_http_rtbus_error(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                                    NGX_RTBUS_REASON_UNAVAILABLE, NULL, NULL);

    default:
        break;
    }

    len = sizeof("{\"code\":0,\"message\":\"\"}") - 1
          + ngx_strlen(ngx_http_rtbus_poll_errors[error]);

    p = ngx_pnalloc(r->pool, len);
    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    body.data = p;
    body.len = ngx_sprintf(p, "{\"code\":%d,\"message\":\"%s\"}", (int) error,
                           ngx_http_rtbus_poll_errors[error])
               - p;

    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                  "rtbus: client sent bad Engine.IO request: %s",
                  ngx_http_rtbus_poll_errors[error]);

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    ngx_rtbus_stat_add(rlcf->bus->worker->hub.stat,
                       refused[error == NGX_HTTP_RTBUS_EIO_FORBIDDEN
                               ? NGX_RTBUS_STAT_REFUSED_FORBIDDEN
                               : NGX_RTBUS_STAT_REFUSED_MALFORMED], 1);

    return ngx_http_rtbus_reply(r, error == NGX_HTTP_RTBUS_EIO_FORBIDDEN
                                   ? NGX_HTTP_FORBIDDEN : NGX_HTTP_BAD_REQUEST,
                                &body);
}


static void
ngx_http_rtbus_poll_free(void *data)
{
    ngx_free(data);
}
