
#include "ngx_http_rtbus_eio.h"
#include "ngx_http_rtbus_access.h"
#include "ngx_http_rtbus_crypto.h"
#include "ngx_http_rtbus_reply.h"


/* codes and messages as the reference server answers them */

#define NGX_HTTP_RTBUS_EIO_TRANSPORT   0
#define NGX_HTTP_RTBUS_EIO_SID         1
#define NGX_HTTP_RTBUS_EIO_REQUEST     3
#define NGX_HTTP_RTBUS_EIO_FORBIDDEN   4
#define NGX_HTTP_RTBUS_EIO_VERSION     5


static ngx_int_t ngx_http_rtbus_eio_refuse(ngx_http_request_t *r,
    ngx_uint_t status, ngx_uint_t code, const char *message);
static ngx_uint_t ngx_http_rtbus_eio_arg(ngx_http_request_t *r,
    const char *name, const char *value);
static ngx_int_t ngx_http_rtbus_eio_message(ngx_http_rtbus_ws_t *ws,
    u_char *p, size_t len);
static void ngx_http_rtbus_eio_timer(ngx_http_rtbus_ws_t *ws);


ngx_int_t
ngx_http_rtbus_eio_handshake(ngx_http_request_t *r, ngx_str_t *key)
{
    ngx_str_t  sid;

    if (r->method != NGX_HTTP_GET) {
        return ngx_http_rtbus_not_allowed(r, "GET");
    }

    if (!ngx_http_rtbus_eio_arg(r, "EIO", "4")) {
        return ngx_http_rtbus_eio_refuse(r, NGX_HTTP_BAD_REQUEST,
                                         NGX_HTTP_RTBUS_EIO_VERSION,
                                         "Unsupported protocol version");
    }

    if (!ngx_http_rtbus_eio_arg(r, "transport", "websocket")) {
        return ngx_http_rtbus_eio_refuse(r, NGX_HTTP_BAD_REQUEST,
                                         NGX_HTTP_RTBUS_EIO_TRANSPORT,
                                         "Transport unknown");
    }

    if (ngx_http_arg(r, (u_char *) "sid", 3, &sid) == NGX_OK) {
        return ngx_http_rtbus_eio_refuse(r, NGX_HTTP_BAD_REQUEST,
                                         NGX_HTTP_RTBUS_EIO_SID,
                                         "Session ID unknown");
    }

    if (r->headers_in.upgrade == NULL) {
        return ngx_http_rtbus_eio_refuse(r, NGX_HTTP_BAD_REQUEST,
                                         NGX_HTTP_RTBUS_EIO_REQUEST,
                                         "Bad request");
    }

    return ngx_http_rtbus_ws_handshake(r, key);
}


static ngx_int_t
ngx_http_rtbus_eio_refuse(ngx_http_request_t *r, ngx_uint_t status,
    ngx_uint_t code, const char *message)
{
    u_char     *p;
    size_t      len;
    ngx_str_t   json;

    len = sizeof("{\"code\":,\"message\":\"\"}") - 1 + NGX_INT_T_LEN
          + ngx_strlen(message);

    p = ngx_pnalloc(r->pool, len);
    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    json.data = p;
    json.len = ngx_sprintf(p, "{\"code\":%ui,\"message\":\"%s\"}", code,
                           message)
               - p;

    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                  "client sent bad Engine.IO request: %s", message);

    return ngx_http_rtbus_reply(r, status, &json);
}


static ngx_uint_t
ngx_http_rtbus_eio_arg(ngx_http_request_t *r, const char *name,
    const char *value)
{
    ngx_str_t  arg;

    return ngx_http_arg(r, (u_char *) name, ngx_strlen(name), &arg) == NGX_OK
           && arg.len == ngx_strlen(value)
           && ngx_strncmp(arg.data, value, arg.len) == 0;
}


ngx_int_t
ngx_http_rtbus_eio_init(ngx_http_rtbus_eio_t *eio, ngx_http_request_t *r)
{
    eio->ws.message_handler = ngx_http_rtbus_eio_message;
    eio->ws.timer_handler = ngx_http_rtbus_eio_timer;
    eio->ws.binary = 1;

    eio->opened = ngx_current_msec;

    return ngx_http_rtbus_ws_init(&eio->ws, r);
}


ngx_int_t
ngx_http_rtbus_eio_accept(ngx_http_rtbus_eio_t *eio, ngx_str_t *key)
{
    u_char                     *p;
    ngx_int_t                   rc;
    ngx_http_rtbus_loc_conf_t  *conf;
    u_char                      buf[256];

    if (ngx_http_rtbus_eio_random(eio->sid, eio->ws.carrier.connection->log)
        != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_rtbus_ws_accept(&eio->ws, key);
    if (rc != NGX_OK) {
        return rc;
    }

    conf = eio->ws.carrier.conf;

    p = ngx_snprintf(buf, sizeof(buf),
                     "%c{\"sid\":\"%*s\",\"upgrades\":[],"
                     "\"pingInterval\":%M,\"pingTimeout\":%M,"
                     "\"maxPayload\":%uz}",
                     RTBUS_EIO_OPEN, (size_t) NGX_HTTP_RTBUS_SID_LEN, eio->sid,
                     conf->ping_interval, conf->ping_timeout,
                     conf->max_message);

    if (ngx_http_rtbus_ws_send(&eio->ws, RTBUS_WS_TEXT, buf, p - buf)
        != NGX_OK)
    {
        ngx_http_rtbus_carrier_close(&eio->ws.carrier, RTBUS_WS_INTERNAL,
                                     "no memory");
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_rtbus_eio_message(ngx_http_rtbus_ws_t *ws, u_char *p, size_t len)
{
    ngx_str_t              raw, data;
    rtbus_eio_packet_t     packet;
    ngx_http_rtbus_eio_t  *eio;

    eio = (ngx_http_rtbus_eio_t *) ws;

    if (ws->opcode == RTBUS_WS_BINARY) {
        return eio->message_handler(eio, p, len, 1);
    }

    if (rtbus_eio_parse(&packet, p, len) != RTBUS_OK) {
        ngx_http_rtbus_carrier_close(&ws->carrier, RTBUS_WS_PROTOCOL_ERROR,
                                     "malformed Engine.IO packet");
        return NGX_ERROR;
    }

    switch (packet.type) {

    case RTBUS_EIO_PONG:

        if (eio->pinged) {
            eio->pinged = 0;
            ngx_add_timer(ws->carrier.connection->read,
                          ws->carrier.conf->ping_interval);
        }

        return NGX_OK;

    case RTBUS_EIO_MESSAGE:
        return eio->message_handler(eio, packet.data.data, packet.data.len, 0);

    case RTBUS_EIO_BINARY:

        /* a client that may not send binary frames */

        raw.len = packet.data.len;
        raw.data = packet.data.data;
        data.data = p;

        if (ngx_decode_base64(&data, &raw) == NGX_OK) {
            return eio->message_handler(eio, data.data, data.len, 1);
        }

        ngx_http_rtbus_carrier_close(&ws->carrier, RTBUS_WS_PROTOCOL_ERROR,
                                     "binary message is not base64");
        return NGX_ERROR;

    case RTBUS_EIO_CLOSE:
        ngx_http_rtbus_carrier_close(&ws->carrier, RTBUS_WS_NORMAL,
                                     NGX_HTTP_RTBUS_BY_CLIENT);
        return NGX_ERROR;

    case RTBUS_EIO_NOOP:
        return NGX_OK;

    default:
        ngx_http_rtbus_carrier_close(&ws->carrier, RTBUS_WS_PROTOCOL_ERROR,
                                     "unexpected Engine.IO packet");
        return NGX_ERROR;
    }
}


static void
ngx_http_rtbus_eio_timer(ngx_http_rtbus_ws_t *ws)
{
    u_char                     ping;
    ngx_http_rtbus_eio_t      *eio;
    ngx_http_rtbus_carrier_t  *car;

    eio = (ngx_http_rtbus_eio_t *) ws;
    car = &ws->carrier;

    if (eio->pinged) {
        ngx_http_rtbus_carrier_close(car, RTBUS_WS_INTERNAL, "ping timeout");
        return;
    }

    eio->tick_handler(eio);

    if (car->closing) {
        return;
    }

    ping = RTBUS_EIO_PING;

    if (ngx_http_rtbus_ws_send(ws, RTBUS_WS_TEXT, &ping, 1) != NGX_OK) {
        ngx_http_rtbus_carrier_close(car, RTBUS_WS_INTERNAL, "no memory");
        return;
    }

    eio->pinged = 1;
    ngx_add_timer(car->connection->read, car->conf->ping_timeout);
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
