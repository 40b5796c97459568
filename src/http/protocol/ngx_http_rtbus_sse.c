
#include "ngx_http_rtbus_sse.h"
#include "ngx_http_rtbus_client_life.h"
#include "ngx_http_rtbus_cors.h"
#include "ngx_http_rtbus_entry.h"
#include "ngx_http_rtbus_carriers.h"
#include "ngx_http_rtbus_reply.h"
#include "ngx_http_rtbus_subs.h"
#include "rtbus_sse.h"
#include "rtbus_ws.h"


typedef struct {
    ngx_http_rtbus_carrier_t  carrier;     /* the first member */
    ngx_http_rtbus_client_t   client;
    u_char                    sid[NGX_HTTP_RTBUS_CLIENT_SID];

    ngx_event_handler_pt      handler;     /* nginx's own, of the connection */
    ngx_event_t               heartbeat;
    off_t                     waited;      /* c->sent + 1 at the last one, when
                                              bytes were waiting */
    ngx_buf_t                 buf;         /* of the first frame, in flight */
} ngx_http_rtbus_sse_t;


static ngx_int_t ngx_http_rtbus_sse_start(ngx_http_request_t *r,
    ngx_http_rtbus_entry_t *entry);
static ngx_int_t ngx_http_rtbus_sse_comment(ngx_http_rtbus_carrier_t *car);
static void ngx_http_rtbus_sse_cleanup(void *data);
static void ngx_http_rtbus_sse_connection_handler(ngx_event_t *rev);
static void ngx_http_rtbus_sse_write_handler(ngx_http_request_t *r);
static void ngx_http_rtbus_sse_heartbeat(ngx_event_t *ev);
static ngx_int_t ngx_http_rtbus_sse_retry(ngx_http_rtbus_sse_t *sse);
static ngx_int_t ngx_http_rtbus_sse_flush(ngx_http_rtbus_carrier_t *car);
static void ngx_http_rtbus_sse_close(ngx_http_rtbus_carrier_t *car,
    ngx_uint_t code, const char *reason);
static void ngx_http_rtbus_sse_room(ngx_http_rtbus_carrier_t *car);
static void ngx_http_rtbus_sse_leave(ngx_http_rtbus_carrier_t *car);
static void ngx_http_rtbus_sse_ended(ngx_http_rtbus_carrier_t *car);
static void ngx_http_rtbus_sse_finalize(ngx_http_rtbus_sse_t *sse,
    ngx_int_t rc);
static ngx_rtbus_frame_t *ngx_http_rtbus_sse_encode(
    const ngx_rtbus_format_t *format, ngx_rtbus_msg_t *msg);
static ngx_rtbus_frame_t *ngx_http_rtbus_sse_frame(rtbus_event_t *event,
    ngx_str_t *cursor);
static ngx_int_t ngx_http_rtbus_sse_ack(ngx_http_rtbus_client_t *cli,
    uint64_t id, ngx_str_t *data);
static ngx_int_t ngx_http_rtbus_sse_answer(ngx_http_rtbus_client_t *cli,
    uint64_t id, rtbus_json_value_t *data, rtbus_str_t *attachments);
static ngx_rtbus_frame_t *ngx_http_rtbus_sse_event(
    ngx_http_rtbus_client_t *cli, rtbus_event_t *event, ngx_str_t *channel,
    ngx_str_t *cursor);


static const ngx_rtbus_format_t  ngx_http_rtbus_sse_format = {
    ngx_http_rtbus_sse_encode,
    NULL
};


static const ngx_http_rtbus_transport_t  ngx_http_rtbus_sse_transport = {
    ngx_http_rtbus_sse_flush,
    ngx_http_rtbus_sse_close,
    NULL,
    NULL,
    NULL,
    NULL
};


static const ngx_http_rtbus_protocol_t  ngx_http_rtbus_sse_protocol = {
    &ngx_http_rtbus_sse_format,
    ngx_http_rtbus_sse_ack,
    ngx_http_rtbus_sse_answer,
    ngx_http_rtbus_sse_event
};


ngx_int_t
ngx_http_rtbus_sse_handler(ngx_http_request_t *r)
{
    ngx_int_t               rc;
    ngx_str_t               cursor;
    ngx_http_rtbus_entry_t  entry;

    rc = ngx_http_rtbus_admit(r, NGX_HTTP_GET, "GET");
    if (rc != NGX_OK || r->header_sent) {
        return rc;
    }

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    if (ngx_http_rtbus_entry_cursor(r, &cursor) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_memzero(&entry, sizeof(ngx_http_rtbus_entry_t));

    return ngx_http_rtbus_enter(r, &entry, &cursor, ngx_http_rtbus_sse_start);
}


static ngx_int_t
ngx_http_rtbus_sse_start(ngx_http_request_t *r, ngx_http_rtbus_entry_t *entry)
{
    ngx_int_t              rc;
    ngx_str_t              type, *other;
    ngx_connection_t      *c;
    ngx_pool_cleanup_t    *cln;
    ngx_http_rtbus_sse_t  *sse;

    if (entry->wanted.channels.nelts == 0) {

        if (entry->wanted.refused.nelts) {
            other = entry->wanted.refused.elts;

            return ngx_http_rtbus_error(r, NGX_HTTP_FORBIDDEN,
                                        NGX_RTBUS_REASON_FORBIDDEN,
                                        "channel", other);
        }

        return ngx_http_rtbus_error(r, NGX_HTTP_BAD_REQUEST,
                                    NGX_RTBUS_REASON_NO_CHANNEL, NULL, NULL);
    }

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_rtbus_sse_t));
    if (cln == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    sse = cln->data;
    ngx_memzero(sse, sizeof(ngx_http_rtbus_sse_t));

    ngx_str_set(&type, "text/event-stream");

    rc = ngx_http_rtbus_stream_header(r, &type);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    /* from here on there is nothing but a stream, or its end */

    cln->handler = ngx_http_rtbus_sse_cleanup;

    sse->carrier.kind = NGX_RTBUS_STAT_SSE;
    sse->carrier.transport = &ngx_http_rtbus_sse_transport;
    sse->carrier.room_handler = ngx_http_rtbus_sse_room;
    sse->carrier.leave_handler = ngx_http_rtbus_sse_leave;
    sse->carrier.ended_handler = ngx_http_rtbus_sse_ended;
    sse->carrier.data = &sse->client;

    if (ngx_http_rtbus_carrier_init(&sse->carrier, r) != NGX_OK
        || ngx_http_rtbus_client_init(&sse->client, &sse->carrier,
                                      &ngx_http_rtbus_sse_protocol,
                                      &entry->grant)
           != NGX_OK
        || ngx_http_rtbus_client_sid(&sse->client, sse->sid) != NGX_OK
        || ngx_http_rtbus_sse_comment(&sse->carrier) != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_http_set_ctx(r, sse, ngx_http_rtbus_module);

    c = r->connection;

    r->main->count++;
    r->keepalive = 0;

    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = ngx_http_rtbus_sse_write_handler;

    c->log->action = "serving event stream";

#if (NGX_HTTP_V2)
    if (r->stream == NULL)
#endif
    {
        sse->handler = c->read->handler;

        c->idle = 1;
        c->read->handler = ngx_http_rtbus_sse_connection_handler;
    }

    sse->heartbeat.handler = ngx_http_rtbus_sse_heartbeat;
    sse->heartbeat.data = sse;
    sse->heartbeat.log = c->log;

    ngx_add_timer(&sse->heartbeat, sse->carrier.conf->ping_interval);

    if (ngx_http_rtbus_client_start(&sse->client, &entry->wanted.channels,
                                    &entry->wanted.refused)
        != NGX_OK)
    {
        ngx_http_rtbus_carrier_nomem(&sse->carrier);
    }

    return NGX_DONE;
}


/*
 * Shows proxies and clients that the stream is there.  Without an empty line
 * behind it: some clients dispatch an event at each of these.
 */

static ngx_int_t
ngx_http_rtbus_sse_comment(ngx_http_rtbus_carrier_t *car)
{
    ngx_rtbus_frame_t  *frame;

    frame = ngx_rtbus_frame_create(2);
    if (frame == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(frame->data, ":\n", 2);

    ngx_http_rtbus_carrier_send(car, frame);
    ngx_rtbus_frame_unref(frame);

    return NGX_OK;
}


static void
ngx_http_rtbus_sse_cleanup(void *data)
{
    ngx_http_rtbus_sse_t  *sse = data;

    if (sse->heartbeat.timer_set) {
        ngx_del_timer(&sse->heartbeat);
    }
}


/* HTTP/1.x: the connection is watched for its end and for the worker's */

static void
ngx_http_rtbus_sse_connection_handler(ngx_event_t *rev)
{
    ngx_connection_t      *c;
    ngx_http_request_t    *r;
    ngx_http_rtbus_sse_t  *sse;

    c = rev->data;

    /* a filter may have made a subrequest the current one */

    r = c->data;
    r = r->main;

    sse = ngx_http_get_module_ctx(r, ngx_http_rtbus_module);

    if (c->close && !c->error) {
        c->close = 0;
        ngx_http_rtbus_carriers_drain(sse->carrier.worker);
    }

    sse->handler(rev);
}


static void
ngx_http_rtbus_sse_write_handler(ngx_http_request_t *r)
{
    ngx_http_rtbus_sse_t  *sse;

    sse = ngx_http_get_module_ctx(r, ngx_http_rtbus_module);

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus: sse write handler unsent:%uz", sse->carrier.unsent);

    if (ngx_http_rtbus_sse_flush(&sse->carrier) != NGX_OK) {
        ngx_http_rtbus_sse_finalize(sse, NGX_ERROR);
        return;
    }

    if (sse->carrier.first == NULL
        && ngx_http_rtbus_carrier_closed(&sse->carrier))
    {
        ngx_http_rtbus_sse_finalize(sse, NGX_OK);
    }
}


static void
ngx_http_rtbus_sse_heartbeat(ngx_event_t *ev)
{
    ngx_http_rtbus_sse_t      *sse;
    ngx_http_rtbus_carrier_t  *car;

    sse = ev->data;
    car = &sse->carrier;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, car->log, 0,
                   "rtbus: sse heartbeat unsent:%uz", car->unsent);

    if (ngx_http_rtbus_carrier_closed(car)) {
        /* the last bytes were not taken in time */
        ngx_http_rtbus_sse_finalize(sse, NGX_ERROR);
        return;
    }

    if (car->inflight && sse->waited && ngx_http_rtbus_sse_retry(sse) != NGX_OK)
    {
        ngx_http_rtbus_carrier_lost(car);
        return;
    }

    if (car->inflight) {

        /* there is no pong: a client is alive as long as it takes bytes */

        if (sse->waited == car->request->connection->sent + 1) {
            ngx_http_rtbus_carrier_lost(car);
            ngx_http_rtbus_carrier_close_for(car, NGX_HTTP_RTBUS_CLOSE_PING);
            return;
        }

        sse->waited = car->request->connection->sent + 1;
        ngx_add_timer(ev, car->conf->ping_timeout);
        return;
    }

    sse->waited = 0;

    ngx_add_timer(ev, car->conf->ping_interval);

    if (car->unsent) {
        /* an event goes out at the end of this turn, which is as good */
        return;
    }

    if (ngx_http_rtbus_sse_comment(car) != NGX_OK) {
        ngx_http_rtbus_carrier_nomem(car);
    }
}


/* a worker that was busy has not seen that there is room in the socket */

static ngx_int_t
ngx_http_rtbus_sse_retry(ngx_http_rtbus_sse_t *sse)
{
    ngx_http_request_t  *r;

    r = sse->carrier.request;

#if (NGX_HTTP_V2)
    if (r->stream) {
        return NGX_OK;
    }
#endif

    r->connection->write->ready = 1;

    return ngx_http_rtbus_sse_flush(&sse->carrier);
}


static ngx_int_t
ngx_http_rtbus_sse_flush(ngx_http_rtbus_carrier_t *car)
{
    ngx_http_rtbus_sse_t  *sse;

    sse = (ngx_http_rtbus_sse_t *) car;

    return ngx_http_rtbus_carrier_filter(car, &sse->buf);
}


static void
ngx_http_rtbus_sse_close(ngx_http_rtbus_carrier_t *car, ngx_uint_t code,
    const char *reason)
{
    ngx_http_rtbus_sse_t  *sse;

    sse = (ngx_http_rtbus_sse_t *) car;

    if (car->broken) {
        ngx_http_rtbus_sse_finalize(sse, NGX_ERROR);
        return;
    }

    if (car->first) {
        /* what is under way is an event cut in the middle: its rest goes out */
        ngx_add_timer(&sse->heartbeat, car->conf->ping_timeout);
        return;
    }

    ngx_http_rtbus_sse_finalize(sse, NGX_OK);
}


static void
ngx_http_rtbus_sse_room(ngx_http_rtbus_carrier_t *car)
{
    ngx_http_rtbus_subs_resume(car->data);
}


static void
ngx_http_rtbus_sse_leave(ngx_http_rtbus_carrier_t *car)
{
    ngx_http_rtbus_client_goodbye(car->data);
}


static void
ngx_http_rtbus_sse_ended(ngx_http_rtbus_carrier_t *car)
{
    ngx_http_rtbus_client_done(car->data, ngx_http_rtbus_carrier_reason(car));
}


static void
ngx_http_rtbus_sse_finalize(ngx_http_rtbus_sse_t *sse, ngx_int_t rc)
{
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = sse->carrier.request;
    c = r->connection;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, c->log, 0, "rtbus: sse finalize: %i",
                   rc);

    ngx_http_rtbus_carrier_state(&sse->carrier, NGX_HTTP_RTBUS_CARRIER_CLOSED);

    if (sse->heartbeat.timer_set) {
        ngx_del_timer(&sse->heartbeat);
    }

#if (NGX_HTTP_V2)
    if (r->stream == NULL)
#endif
    {
        c->idle = 0;
        c->read->handler = sse->handler;
    }

    if (rc == NGX_OK) {
        rc = ngx_http_send_special(r, NGX_HTTP_LAST);
    }

    ngx_http_finalize_request(r, rc);
    ngx_http_run_posted_requests(c);
}


static ngx_rtbus_frame_t *
ngx_http_rtbus_sse_encode(const ngx_rtbus_format_t *format,
    ngx_rtbus_msg_t *msg)
{
    ngx_str_t   id;
    u_char      cursor[RTBUS_CURSOR_ENTRY_MAX];

    id.data = cursor;
    id.len = rtbus_cursor_write(cursor, msg->channel.data, msg->channel.len,
                                msg->pos);

    return ngx_http_rtbus_sse_frame(msg->event, &id);
}


static ngx_rtbus_frame_t *
ngx_http_rtbus_sse_frame(rtbus_event_t *event, ngx_str_t *cursor)
{
    size_t              end;
    rtbus_str_t         data, id;
    ngx_rtbus_frame_t  *frame;

    data = event->args.len ? event->args : event->data;

    if (data.len == 0) {
        data.data = (u_char *) "null";
        data.len = 4;
    }

    id.len = cursor->len;
    id.data = cursor->data;

    frame = ngx_rtbus_frame_create(rtbus_sse_write(NULL, &event->name, &data,
                                                   &id, &end));

    if (frame) {
        rtbus_sse_write(frame->data, &event->name, &data, &id, &end);
        frame->cursor = end;
    }

    return frame;
}


/* a stream of events has nobody who asks */

static ngx_int_t
ngx_http_rtbus_sse_ack(ngx_http_rtbus_client_t *cli, uint64_t id,
    ngx_str_t *data)
{
    return NGX_OK;
}


static ngx_int_t
ngx_http_rtbus_sse_answer(ngx_http_rtbus_client_t *cli, uint64_t id,
    rtbus_json_value_t *data, rtbus_str_t *attachments)
{
    return NGX_OK;
}


static ngx_rtbus_frame_t *
ngx_http_rtbus_sse_event(ngx_http_rtbus_client_t *cli, rtbus_event_t *event,
    ngx_str_t *channel, ngx_str_t *cursor)
{
    return ngx_http_rtbus_sse_frame(event, cursor);
}
