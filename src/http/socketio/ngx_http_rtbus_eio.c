
#include "ngx_http_rtbus_eio.h"
#include "ngx_http_rtbus_crypto.h"


static ngx_int_t ngx_http_rtbus_eio_ws_message(ngx_http_rtbus_ws_t *ws,
    u_char *p, size_t len);
static void ngx_http_rtbus_eio_ws_timer(ngx_http_rtbus_ws_t *ws);


ngx_http_rtbus_eio_t *
ngx_http_rtbus_eio_create(void *p, ngx_http_rtbus_carrier_t *car,
    const ngx_http_rtbus_eio_handlers_t *handlers)
{
    ngx_http_rtbus_eio_t  *eio = p;

    eio->carrier = car;
    eio->handlers = handlers;
    eio->opened = ngx_current_msec;

    handlers->create(eio, car);

    return eio;
}


void
ngx_http_rtbus_eio_attach(ngx_http_rtbus_eio_t *eio, ngx_http_rtbus_ws_t *ws)
{
    eio->carrier = &ws->carrier;

    ws->message_handler = ngx_http_rtbus_eio_ws_message;
    ws->timer_handler = ngx_http_rtbus_eio_ws_timer;
    ws->binary = 1;
}


size_t
ngx_http_rtbus_eio_open(u_char *dst, ngx_http_rtbus_loc_conf_t *conf,
    ngx_str_t *sid, const char *upgrades)
{
    return ngx_snprintf(dst, NGX_HTTP_RTBUS_EIO_OPEN,
                        "%c{\"sid\":\"%V\",\"upgrades\":[%s],"
                        "\"pingInterval\":%M,\"pingTimeout\":%M,"
                        "\"maxPayload\":%uz}",
                        RTBUS_EIO_OPEN, sid, upgrades, conf->ping_interval,
                        conf->ping_timeout, conf->max_message)
           - dst;
}


static ngx_int_t
ngx_http_rtbus_eio_ws_message(ngx_http_rtbus_ws_t *ws, u_char *p, size_t len)
{
    rtbus_eio_packet_t     packet;
    ngx_http_rtbus_eio_t  *eio;

    eio = ws->carrier.data;

    if (ws->opcode == RTBUS_WS_BINARY) {
        return eio->handlers->message(eio, p, len, 1);
    }

    if (rtbus_eio_parse(&packet, p, len) != RTBUS_OK) {
        ngx_http_rtbus_carrier_close(&ws->carrier, RTBUS_WS_PROTOCOL_ERROR,
                                     "malformed Engine.IO packet");
        return NGX_ERROR;
    }

    return ngx_http_rtbus_eio_packet(eio, &packet);
}


static void
ngx_http_rtbus_eio_ws_timer(ngx_http_rtbus_ws_t *ws)
{
    ngx_http_rtbus_eio_timer(ws->carrier.data);
}


ngx_int_t
ngx_http_rtbus_eio_packet(ngx_http_rtbus_eio_t *eio,
    rtbus_eio_packet_t *packet)
{
    ngx_str_t                  raw, data;
    ngx_http_rtbus_carrier_t  *car;

    car = eio->carrier;

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, car->log, 0,
                   "rtbus eio packet type:%c len:%uz pinged:%d",
                   packet->type, packet->data.len, eio->pinged);

    switch (packet->type) {

    case RTBUS_EIO_PONG:

        if (eio->pinged) {
            eio->pinged = 0;
            car->transport->timer(car, car->conf->ping_interval);
        }

        return NGX_OK;

    case RTBUS_EIO_MESSAGE:
        return eio->handlers->message(eio, packet->data.data,
                                      packet->data.len, 0);

    case RTBUS_EIO_BINARY:

        /* a client that may not send binary frames, or has no frames */

        raw.len = packet->data.len;
        raw.data = packet->data.data;
        data.data = packet->data.data - 1;

        if (ngx_decode_base64(&data, &raw) == NGX_OK) {
            return eio->handlers->message(eio, data.data, data.len, 1);
        }

        ngx_http_rtbus_carrier_close(car, RTBUS_WS_PROTOCOL_ERROR,
                                     "binary message is not base64");
        return NGX_ERROR;

    case RTBUS_EIO_CLOSE:
        ngx_http_rtbus_carrier_left(car, RTBUS_WS_NORMAL);
        return NGX_ERROR;

    case RTBUS_EIO_NOOP:
        return NGX_OK;

    default:
        ngx_http_rtbus_carrier_close(car, RTBUS_WS_PROTOCOL_ERROR,
                                     "unexpected Engine.IO packet");
        return NGX_ERROR;
    }
}


void
ngx_http_rtbus_eio_timer(ngx_http_rtbus_eio_t *eio)
{
    u_char                     ping;
    ngx_http_rtbus_carrier_t  *car;

    car = eio->carrier;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, car->log, 0,
                   "rtbus eio timer pinged:%d unsent:%uz",
                   eio->pinged, car->unsent);

    if (eio->pinged) {

        if (ngx_http_rtbus_carrier_takes(car)) {
            car->transport->timer(car, car->conf->ping_timeout);
            return;
        }

        ngx_http_rtbus_carrier_close_for(car, NGX_HTTP_RTBUS_CLOSE_PING);
        return;
    }

    eio->handlers->tick(eio);

    if (ngx_http_rtbus_carrier_closing(car)) {
        return;
    }

    ping = RTBUS_EIO_PING;

    if (ngx_http_rtbus_eio_send(eio, &ping, 1) != NGX_OK) {
        ngx_http_rtbus_carrier_nomem(car);
        return;
    }

    eio->pinged = 1;
    ngx_http_rtbus_carrier_watch(car);
    car->transport->timer(car, car->conf->ping_timeout);
}


ngx_int_t
ngx_http_rtbus_eio_send(ngx_http_rtbus_eio_t *eio, u_char *p, size_t len)
{
    size_t              header;
    ngx_rtbus_frame_t  *frame;

    header = ngx_http_rtbus_eio_header(NULL, len);

    frame = ngx_rtbus_frame_create(header + len);
    if (frame == NULL) {
        return NGX_ERROR;
    }

    ngx_http_rtbus_eio_header(frame->data, len);
    ngx_memcpy(frame->data + header, p, len);
    frame->payload = header;

    ngx_http_rtbus_carrier_send(eio->carrier, frame);
    ngx_rtbus_frame_unref(frame);

    return NGX_OK;
}


ngx_rtbus_frame_t *
ngx_http_rtbus_eio_frame(size_t len)
{
    size_t              header;
    ngx_rtbus_frame_t  *frame;

    header = ngx_http_rtbus_eio_header(NULL, len + 1);

    frame = ngx_rtbus_frame_create(header + len + 1);

    if (frame) {
        ngx_http_rtbus_eio_header(frame->data, len + 1);
        frame->data[header] = RTBUS_EIO_MESSAGE;
        frame->payload = header;
    }

    return frame;
}


size_t
ngx_http_rtbus_eio_header(u_char *dst, size_t len)
{
    if (dst) {
        (void) rtbus_ws_write_header(dst, RTBUS_WS_TEXT, len);
    }

    return rtbus_ws_header_len(len);
}


ngx_int_t
ngx_http_rtbus_eio_random(u_char *dst, ngx_log_t *log)
{
    ngx_str_t  raw, text;
    u_char     buf[NGX_HTTP_RTBUS_SID_LEN / 4 * 3];

    if (ngx_http_rtbus_crypto_random(buf, sizeof(buf), log) != NGX_OK) {
        return NGX_ERROR;
    }

    raw.data = buf;
    raw.len = sizeof(buf);
    text.data = dst;

    ngx_encode_base64url(&text, &raw);

    return NGX_OK;
}
