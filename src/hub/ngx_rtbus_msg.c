
#include "ngx_rtbus_msg.h"


ngx_rtbus_frame_t *
ngx_rtbus_frame_create(size_t len)
{
    ngx_rtbus_frame_t  *frame;

    frame = ngx_alloc(offsetof(ngx_rtbus_frame_t, data) + len,
                      ngx_cycle->log);
    if (frame == NULL) {
        return NULL;
    }

    frame->next = NULL;
    frame->format = NULL;
    frame->len = len;
    frame->refs = 1;
    frame->payload = 0;
    frame->cursor = 0;
    frame->tail = 0;

    return frame;
}


void
ngx_rtbus_frame_free(ngx_rtbus_frame_t *frame)
{
    ngx_free(frame);
}


ngx_rtbus_frame_t *
ngx_rtbus_msg_frame(ngx_rtbus_msg_t *msg, const ngx_rtbus_format_t *format)
{
    ngx_rtbus_frame_t  *frame;

    for (frame = msg->frames; frame; frame = frame->next) {
        if (frame->format == format) {
            return frame;
        }
    }

    frame = format->encode(format, msg);
    if (frame == NULL) {
        return NULL;
    }

    frame->format = format;
    frame->next = msg->frames;
    msg->frames = frame;

    return frame;
}


ngx_rtbus_frame_t *
ngx_rtbus_frame_extend(ngx_rtbus_frame_t *frame, size_t len, u_char **more)
{
    u_char             *p;
    size_t              header, payload;
    ngx_rtbus_frame_t  *copy;

    payload = frame->len - frame->payload - frame->tail + len;
    header = frame->format->header ? frame->format->header(NULL, payload) : 0;

    copy = ngx_rtbus_frame_create(header + payload + frame->tail);
    if (copy == NULL) {
        return NULL;
    }

    if (header) {
        frame->format->header(copy->data, payload);
    }

    p = ngx_cpymem(copy->data + header, frame->data + frame->payload,
                   frame->cursor - frame->payload);
    *more = p;
    p += len;
    ngx_memcpy(p, frame->data + frame->cursor, frame->len - frame->cursor);

    copy->format = frame->format;
    copy->payload = header;

    return copy;
}


void
ngx_rtbus_msg_done(ngx_rtbus_msg_t *msg)
{
    ngx_rtbus_frame_t  *frame, *next;

    for (frame = msg->frames; frame; frame = next) {
        next = frame->next;
        frame->next = NULL;
        ngx_rtbus_frame_unref(frame);
    }

    msg->frames = NULL;
}
