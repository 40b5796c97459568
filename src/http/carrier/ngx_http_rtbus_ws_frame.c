
#include "ngx_http_rtbus_ws_frame.h"
#include "rtbus_utf8.h"


#define NGX_HTTP_RTBUS_WS_PONGS    4096    /* bytes that may wait for a pong to
                                              be added to them */


static ngx_int_t ngx_http_rtbus_ws_payload(ngx_http_rtbus_ws_t *ws, u_char *p,
    size_t len);
static ngx_int_t ngx_http_rtbus_ws_keep(ngx_http_rtbus_ws_t *ws, u_char *p,
    size_t len);
static ngx_int_t ngx_http_rtbus_ws_control(ngx_http_rtbus_ws_t *ws, u_char *p,
    size_t len);
static ngx_int_t ngx_http_rtbus_ws_pong(ngx_http_rtbus_ws_t *ws, u_char *p,
    size_t len);
static ngx_rtbus_frame_t *ngx_http_rtbus_ws_frame(ngx_uint_t opcode, u_char *p,
    size_t len);
static ngx_http_rtbus_ws_part_t *ngx_http_rtbus_ws_part(
    ngx_http_rtbus_ws_t *ws, size_t size);


void
ngx_http_rtbus_ws_input(ngx_http_rtbus_ws_t *ws, u_char *p, u_char *last)
{
    size_t               n;
    ngx_int_t            rc;
    const uint8_t       *pos;
    rtbus_ws_parser_t   *parser;

    parser = &ws->parser;

    if (ws->pinged) {
        /* any sign of life is as good as the pong */
        ws->pinged = 0;

        if (!ngx_http_rtbus_carrier_closed(&ws->carrier)) {
            ngx_add_timer(ws->carrier.connection->read,
                          ws->carrier.conf->ping_interval);
        }
    }

    /* a header may be whole with no payload byte to follow, hence <= */

    while (p < last || (ws->in_frame && parser->rest == 0)) {

        if (!ws->in_frame) {
            pos = p;
            rc = rtbus_ws_parse_header(parser, &pos, last);
            p = (u_char *) pos;

            if (rc == RTBUS_AGAIN) {
                return;
            }

            if (rc == RTBUS_ERROR) {
                ws->failed = 1;
                ngx_http_rtbus_carrier_close(&ws->carrier,
                                             RTBUS_WS_PROTOCOL_ERROR,
                                             parser->reason);
                return;
            }

            if (parser->opcode < RTBUS_WS_CLOSE
                && parser->rest > ws->carrier.conf->max_message
                                  - (ws->message ? ws->message->len : 0)
                && !ngx_http_rtbus_carrier_closing(&ws->carrier))
            {
                ws->failed = 1;
                ngx_http_rtbus_carrier_close(&ws->carrier, RTBUS_WS_TOO_BIG,
                                             "message too big");
                return;
            }

            if (parser->opcode == RTBUS_WS_TEXT
                || parser->opcode == RTBUS_WS_BINARY)
            {
                ws->opcode = parser->opcode;
                ws->utf8 = RTBUS_UTF8_ACCEPT;
            }

            ws->in_frame = 1;
        }

        n = (size_t) ngx_min(parser->rest, (uint64_t) (last - p));

        rtbus_ws_unmask(parser, p, p, n);
        parser->rest -= n;

        if (parser->rest == 0) {
            ws->in_frame = 0;
        }

        if (ngx_http_rtbus_ws_payload(ws, p, n) != NGX_OK) {
            ws->failed = 1;
            return;
        }

        p += n;

        if (ws->carrier.held && p < last
            && !ngx_http_rtbus_carrier_closing(&ws->carrier))
        {
            /* the message was one that has to be answered first */

            if (ngx_http_rtbus_ws_keep_rest(ws, p, last) != NGX_OK) {
                ws->failed = 1;
                ngx_http_rtbus_carrier_nomem(&ws->carrier);
            }

            return;
        }
    }
}


/*
 * A piece of unmasked payload, the last one when the parser's rest is 0.
 * NGX_ERROR: the client is being closed, what follows must not be read.
 */

static ngx_int_t
ngx_http_rtbus_ws_payload(ngx_http_rtbus_ws_t *ws, u_char *p, size_t len)
{
    ngx_int_t           rc;
    rtbus_ws_parser_t  *parser;

    parser = &ws->parser;

    if (parser->opcode >= RTBUS_WS_CLOSE) {

        if (parser->rest || ws->control) {

            if (ws->control == NULL) {
                ws->control = ngx_http_rtbus_ws_part(ws, RTBUS_WS_MAX_CONTROL);

                if (ws->control == NULL) {
                    goto nomem;
                }
            }

            ngx_memcpy(ws->control->data + ws->control->len, p, len);
            ws->control->len += len;

            if (parser->rest) {
                return NGX_OK;
            }

            rc = ngx_http_rtbus_ws_control(ws, ws->control->data,
                                           ws->control->len);
            ngx_free(ws->control);
            ws->control = NULL;

            return rc;
        }

        return ngx_http_rtbus_ws_control(ws, p, len);
    }

    ngx_log_debug4(NGX_LOG_DEBUG_HTTP, ws->carrier.log, 0,
                   "rtbus ws payload opcode:%d len:%uz rest:%uL fin:%d",
                   ws->opcode, len, parser->rest, parser->fin);

    if (ngx_http_rtbus_carrier_closing(&ws->carrier)) {
        /* only the client's close frame is of interest now */
        return NGX_OK;
    }

    if (ws->opcode == RTBUS_WS_BINARY && !ws->binary) {
        ngx_http_rtbus_carrier_close(&ws->carrier, RTBUS_WS_UNSUPPORTED,
                                     "binary message");
        return NGX_ERROR;
    }

    if (ws->opcode == RTBUS_WS_TEXT) {
        ws->utf8 = rtbus_utf8_check(ws->utf8, p, len);
    }

    if (ws->utf8 == RTBUS_UTF8_REJECT
        || (ws->utf8 != RTBUS_UTF8_ACCEPT && parser->rest == 0 && parser->fin))
    {
        ngx_http_rtbus_carrier_close(&ws->carrier, RTBUS_WS_INVALID_PAYLOAD,
                                     "text is not UTF-8");
        return NGX_ERROR;
    }

    if (ws->message == NULL && parser->rest == 0 && parser->fin) {
        return ws->message_handler(ws, p, len);
    }

    if (ngx_http_rtbus_ws_keep(ws, p, len) != NGX_OK) {
        goto nomem;
    }

    if (parser->rest || !parser->fin) {
        return NGX_OK;
    }

    rc = ws->message_handler(ws, ws->message->data, ws->message->len);

    ngx_free(ws->message);
    ws->message = NULL;

    return rc;

nomem:

    ngx_http_rtbus_carrier_nomem(&ws->carrier);

    return NGX_ERROR;
}


static ngx_int_t
ngx_http_rtbus_ws_keep(ngx_http_rtbus_ws_t *ws, u_char *p, size_t len)
{
    size_t                     size;
    ngx_http_rtbus_ws_part_t  *old, *message;

    if (len == 0) {
        /* an empty fragment; there may be no buffer yet */
        return NGX_OK;
    }

    old = ws->message;

    if (old == NULL || old->len + len > old->size) {

        /* the buffer grows by what has come, not by what a header promises */

        size = old ? ngx_max(old->len + len, 2 * old->size) : len;
        size = ngx_min(size, ws->carrier.conf->max_message);

        message = ngx_http_rtbus_ws_part(ws, size);
        if (message == NULL) {
            return NGX_ERROR;
        }

        if (old) {
            message->len = old->len;
            ngx_memcpy(message->data, old->data, old->len);
            ngx_free(old);
        }

        ws->message = message;
    }

    ngx_memcpy(ws->message->data + ws->message->len, p, len);
    ws->message->len += len;

    return NGX_OK;
}


static ngx_int_t
ngx_http_rtbus_ws_control(ngx_http_rtbus_ws_t *ws, u_char *p, size_t len)
{
    int          rc;
    unsigned     code;
    const char  *reason;

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, ws->carrier.log, 0,
                   "rtbus ws control opcode:%d len:%uz state:%d",
                   ws->parser.opcode, len, ws->carrier.state);

    switch (ws->parser.opcode) {

    case RTBUS_WS_PING:

        if (ngx_http_rtbus_carrier_closing(&ws->carrier)) {
            return NGX_OK;
        }

        if (ngx_http_rtbus_ws_pong(ws, p, len) != NGX_OK) {
            ngx_http_rtbus_carrier_nomem(&ws->carrier);
            return NGX_ERROR;
        }

        return NGX_OK;

    case RTBUS_WS_PONG:
        return NGX_OK;

    default: /* RTBUS_WS_CLOSE */

        ws->peer_closed = 1;

        if (ngx_http_rtbus_carrier_closed(&ws->carrier)) {
            /* that was the answer to ours, and the end */
            ngx_post_event(ws->carrier.connection->write,
                           &ngx_posted_events);
            return NGX_ERROR;
        }

        rc = rtbus_ws_parse_close(p, len, &code, &reason);

        if (rc != RTBUS_OK) {
            ngx_http_rtbus_carrier_close(&ws->carrier, rc, reason);

        } else {
            ngx_http_rtbus_carrier_left(&ws->carrier, code);
        }

        return NGX_ERROR;
    }
}


/*
 * A client that pings faster than it reads gets the last pong only (section
 * 5.5.3), since a frame takes much more memory than its bytes.
 */

static ngx_int_t
ngx_http_rtbus_ws_pong(ngx_http_rtbus_ws_t *ws, u_char *p, size_t len)
{
    ngx_rtbus_frame_t         *frame, *last;
    ngx_http_rtbus_carrier_t  *car;

    car = &ws->carrier;

    if (car->unsent <= NGX_HTTP_RTBUS_WS_PONGS) {
        return ngx_http_rtbus_ws_send(ws, RTBUS_WS_PONG, p, len);
    }

    frame = ngx_http_rtbus_ws_frame(RTBUS_WS_PONG, p, len);
    if (frame == NULL) {
        return NGX_ERROR;
    }

    last = ngx_http_rtbus_carrier_last(car);

    if (last && last->data[0] == frame->data[0]) {
        ngx_http_rtbus_carrier_replace(car, frame);

    } else {
        ngx_http_rtbus_carrier_send(car, frame);
    }

    ngx_rtbus_frame_unref(frame);

    return NGX_OK;
}


ngx_int_t
ngx_http_rtbus_ws_send(ngx_http_rtbus_ws_t *ws, ngx_uint_t opcode, u_char *p,
    size_t len)
{
    ngx_rtbus_frame_t  *frame;

    frame = ngx_http_rtbus_ws_frame(opcode, p, len);
    if (frame == NULL) {
        return NGX_ERROR;
    }

    if (opcode == RTBUS_WS_CLOSE) {
        ngx_http_rtbus_carrier_push(&ws->carrier, frame);

    } else {
        ngx_http_rtbus_carrier_send(&ws->carrier, frame);
    }

    ngx_rtbus_frame_unref(frame);

    return NGX_OK;
}


static ngx_rtbus_frame_t *
ngx_http_rtbus_ws_frame(ngx_uint_t opcode, u_char *p, size_t len)
{
    u_char             *data;
    ngx_rtbus_frame_t  *frame;

    frame = ngx_rtbus_frame_create(rtbus_ws_header_len(len) + len);
    if (frame == NULL) {
        return NULL;
    }

    data = rtbus_ws_write_header(frame->data, opcode, len);

    if (len) {
        ngx_memcpy(data, p, len);
    }

    return frame;
}


ngx_int_t
ngx_http_rtbus_ws_keep_rest(ngx_http_rtbus_ws_t *ws, u_char *p, u_char *last)
{
    ws->rest = ngx_http_rtbus_ws_part(ws, last - p);

    if (ws->rest == NULL) {
        return NGX_ERROR;
    }

    ws->rest->len = last - p;
    ngx_memcpy(ws->rest->data, p, last - p);

    return NGX_OK;
}


static ngx_http_rtbus_ws_part_t *
ngx_http_rtbus_ws_part(ngx_http_rtbus_ws_t *ws, size_t size)
{
    ngx_http_rtbus_ws_part_t  *part;

    part = ngx_alloc(offsetof(ngx_http_rtbus_ws_part_t, data) + size,
                     ws->carrier.log);

    if (part) {
        part->len = 0;
        part->size = size;
    }

    return part;
}
