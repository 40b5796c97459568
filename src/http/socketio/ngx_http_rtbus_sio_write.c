
#include "ngx_http_rtbus_sio_write.h"


static ngx_rtbus_frame_t *ngx_http_rtbus_sio_emit(
    const ngx_http_rtbus_nsp_t *nsp, rtbus_event_t *event, ngx_str_t *cursor);
static rtbus_str_t ngx_http_rtbus_sio_elements(const rtbus_str_t *array);
static ngx_uint_t ngx_http_rtbus_sio_count(const rtbus_str_t *array);
static ngx_int_t ngx_http_rtbus_sio_attach(ngx_rtbus_frame_t **frame,
    const rtbus_str_t *attachments);
static ngx_int_t ngx_http_rtbus_sio_ack(ngx_http_rtbus_client_t *cli,
    uint64_t id, ngx_str_t *data);
static ngx_int_t ngx_http_rtbus_sio_answer(ngx_http_rtbus_client_t *cli,
    uint64_t id, rtbus_json_value_t *data, rtbus_str_t *attachments);
static ngx_int_t ngx_http_rtbus_sio_send_ack(ngx_http_rtbus_client_t *cli,
    uint64_t id, rtbus_str_t *args, rtbus_str_t *attachments);
static ngx_rtbus_frame_t *ngx_http_rtbus_sio_own_event(
    ngx_http_rtbus_client_t *cli, rtbus_event_t *event, ngx_str_t *channel,
    ngx_str_t *cursor);


const ngx_http_rtbus_protocol_t  ngx_http_rtbus_sio_protocol = {
    NULL,                                  /* as the namespace has it */
    ngx_http_rtbus_sio_ack,
    ngx_http_rtbus_sio_answer,
    ngx_http_rtbus_sio_own_event
};


/* a frame with the packet's header; len bytes of JSON are to follow at *p */

ngx_rtbus_frame_t *
ngx_http_rtbus_sio_frame(const ngx_http_rtbus_nsp_t *nsp,
    rtbus_sio_packet_t *packet, size_t len, u_char **p)
{
    size_t              n;
    ngx_rtbus_frame_t  *frame;

    if (nsp) {
        packet->nsp.len = nsp->name.len;
        packet->nsp.data = nsp->name.data;
    }

    n = rtbus_sio_write_header(NULL, packet);

    frame = ngx_http_rtbus_eio_frame(n + len);

    if (frame) {
        *p = frame->data + frame->payload + 1;
        *p += rtbus_sio_write_header(*p, packet);
    }

    return frame;
}


ngx_rtbus_frame_t *
ngx_http_rtbus_sio_encode(const ngx_rtbus_format_t *format,
    ngx_rtbus_msg_t *msg)
{
    u_char      buf[RTBUS_CURSOR_ENTRY_MAX];
    ngx_str_t   cursor;

    cursor.data = buf;
    cursor.len = rtbus_cursor_write(buf, msg->channel.data, msg->channel.len,
                                    msg->pos);

    return ngx_http_rtbus_sio_emit((const ngx_http_rtbus_nsp_t *) format,
                                   msg->event, &cursor);
}


/* ["<name>",<data>,"<channel>@<position>"] */

static ngx_rtbus_frame_t *
ngx_http_rtbus_sio_emit(const ngx_http_rtbus_nsp_t *nsp, rtbus_event_t *event,
    ngx_str_t *cursor)
{
    u_char              *p;
    size_t               len;
    rtbus_str_t          data, *name;
    ngx_rtbus_frame_t   *frame;
    rtbus_sio_packet_t   packet;

    name = &event->name_json;

    if (event->args.len) {
        data = ngx_http_rtbus_sio_elements(&event->args);

    } else {
        data = event->data;

        if (data.len == 0) {
            data.data = (u_char *) "null";
            data.len = 4;
        }
    }

    ngx_memzero(&packet, sizeof(rtbus_sio_packet_t));

    packet.attachments = ngx_http_rtbus_sio_count(&event->attachments);
    packet.type = packet.attachments ? RTBUS_SIO_BINARY_EVENT
                                     : RTBUS_SIO_EVENT;

    len = sizeof("[]") - 1 + name->len;

    if (data.len) {
        len += 1 + data.len;
    }

    if (nsp->recovery) {
        len += sizeof(",\"\"") - 1 + cursor->len;
    }

    frame = ngx_http_rtbus_sio_frame(nsp, &packet, len, &p);
    if (frame == NULL) {
        return NULL;
    }

    *p++ = '[';
    p = ngx_cpymem(p, name->data, name->len);

    if (data.len) {
        *p++ = ',';
        p = ngx_cpymem(p, data.data, data.len);
    }

    if (nsp->recovery) {
        *p++ = ',';
        *p++ = '"';
        p = ngx_cpymem(p, cursor->data, cursor->len);

        frame->cursor = p - frame->data;

        *p++ = '"';
    }

    *p = ']';

    if (packet.attachments
        && ngx_http_rtbus_sio_attach(&frame, &event->attachments) != NGX_OK)
    {
        ngx_rtbus_frame_unref(frame);
        return NULL;
    }

    return frame;
}


/* what is between the brackets of an array; empty if that is white space */

static rtbus_str_t
ngx_http_rtbus_sio_elements(const rtbus_str_t *array)
{
    rtbus_str_t          elements;
    const uint8_t       *pos;
    rtbus_json_value_t   value;

    elements.data = array->data + 1;
    elements.len = array->len - 2;

    pos = NULL;

    if (rtbus_json_next(&value, &pos, array) != RTBUS_OK) {
        elements.len = 0;
    }

    return elements;
}


static ngx_uint_t
ngx_http_rtbus_sio_count(const rtbus_str_t *array)
{
    ngx_uint_t           n;
    const uint8_t       *pos;
    rtbus_json_value_t   value;

    n = 0;
    pos = NULL;

    while (array->len && rtbus_json_next(&value, &pos, array) == RTBUS_OK) {
        n++;
    }

    return n;
}


/* puts the attachments behind the packet, a binary WebSocket frame each */

static ngx_int_t
ngx_http_rtbus_sio_attach(ngx_rtbus_frame_t **frame,
    const rtbus_str_t *attachments)
{
    u_char              *p, *header;
    size_t               len;
    ngx_str_t            src, dst;
    const uint8_t       *pos;
    ngx_rtbus_frame_t   *old, *new;
    rtbus_json_value_t   value;

    old = *frame;

    /* base64 is longer than what it says, even with a frame's header */

    len = old->len;
    pos = NULL;

    while (rtbus_json_next(&value, &pos, attachments) == RTBUS_OK) {
        len += RTBUS_WS_MAX_HEADER + value.raw.len;
    }

    new = ngx_rtbus_frame_create(len);
    if (new == NULL) {
        return NGX_ERROR;
    }

    p = ngx_cpymem(new->data, old->data, old->len);
    pos = NULL;

    while (rtbus_json_next(&value, &pos, attachments) == RTBUS_OK) {

        /* decoded behind the longest header, then moved up to its own */

        header = p + RTBUS_WS_MAX_HEADER;

        src.data = header;
        src.len = rtbus_json_unquote(header, &value.raw);
        dst.data = header;

        if (ngx_decode_base64(&dst, &src) != NGX_OK) {
            /* an empty attachment takes its place */
            dst.len = 0;
        }

        p = rtbus_ws_write_header(p, RTBUS_WS_BINARY, dst.len);
        p = ngx_movemem(p, header, dst.len);
    }

    new->payload = old->payload;
    new->cursor = old->cursor;
    new->tail = p - new->data - old->len;
    new->len = p - new->data;

    ngx_rtbus_frame_unref(old);
    *frame = new;

    return NGX_OK;
}


static ngx_int_t
ngx_http_rtbus_sio_ack(ngx_http_rtbus_client_t *cli, uint64_t id,
    ngx_str_t *data)
{
    rtbus_str_t  args, attachments;

    args.len = data->len;
    args.data = data->data;
    attachments.len = 0;

    return ngx_http_rtbus_sio_send_ack(cli, id, &args, &attachments);
}


static ngx_int_t
ngx_http_rtbus_sio_answer(ngx_http_rtbus_client_t *cli, uint64_t id,
    rtbus_json_value_t *data, rtbus_str_t *attachments)
{
    rtbus_str_t  args;

    args = (data->type == RTBUS_JSON_ARRAY)
           ? ngx_http_rtbus_sio_elements(&data->raw) : data->raw;

    return ngx_http_rtbus_sio_send_ack(cli, id, &args, attachments);
}


/* args: with commas and without brackets */

static ngx_int_t
ngx_http_rtbus_sio_send_ack(ngx_http_rtbus_client_t *cli, uint64_t id,
    rtbus_str_t *args, rtbus_str_t *attachments)
{
    u_char                   *p;
    ngx_rtbus_frame_t        *frame;
    rtbus_sio_packet_t        packet;
    ngx_http_rtbus_socket_t  *socket;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, cli->carrier->log, 0,
                   "rtbus socketio ack id:%uL", id);

    socket = (ngx_http_rtbus_socket_t *) cli;

    ngx_memzero(&packet, sizeof(rtbus_sio_packet_t));

    packet.attachments = ngx_http_rtbus_sio_count(attachments);
    packet.type = packet.attachments ? RTBUS_SIO_BINARY_ACK : RTBUS_SIO_ACK;
    packet.has_ack = 1;
    packet.ack = id;

    frame = ngx_http_rtbus_sio_frame(socket->nsp, &packet,
                                     args->len + sizeof("[]") - 1, &p);
    if (frame == NULL) {
        return NGX_ERROR;
    }

    *p++ = '[';

    if (args->len) {
        p = ngx_cpymem(p, args->data, args->len);
    }

    *p = ']';

    if (packet.attachments
        && ngx_http_rtbus_sio_attach(&frame, attachments) != NGX_OK)
    {
        ngx_rtbus_frame_unref(frame);
        return NGX_ERROR;
    }

    ngx_http_rtbus_carrier_send(cli->carrier, frame);
    ngx_rtbus_frame_unref(frame);

    return NGX_OK;
}


static ngx_rtbus_frame_t *
ngx_http_rtbus_sio_own_event(ngx_http_rtbus_client_t *cli,
    rtbus_event_t *event, ngx_str_t *channel, ngx_str_t *cursor)
{
    ngx_http_rtbus_socket_t  *socket;

    socket = (ngx_http_rtbus_socket_t *) cli;

    return ngx_http_rtbus_sio_emit(socket->nsp, event, cursor);
}
