
#include "ngx_rtbus_msg.h"


/*
 * Small frames that are done with are kept, by their size in steps, for those
 * to come.  Where each allocation is to be watched none are.
 */

#define NGX_RTBUS_FRAME_STEP   64
#define NGX_RTBUS_FRAME_SMALL  512

#if (NGX_DEBUG_PALLOC)
#define NGX_RTBUS_FRAME_KEEP   0
#else
#define NGX_RTBUS_FRAME_KEEP   (256 * 1024)     /* bytes, of all sizes */
#endif


static size_t ngx_rtbus_frame_size(size_t len);


static ngx_rtbus_frame_t
           *ngx_rtbus_frames[NGX_RTBUS_FRAME_SMALL / NGX_RTBUS_FRAME_STEP + 1];
static size_t  ngx_rtbus_frames_kept;


ngx_rtbus_frame_t *
ngx_rtbus_frame_create(size_t len)
{
    size_t               size;
    ngx_rtbus_frame_t   *frame, **kept;

    size = ngx_rtbus_frame_size(len);
    kept = (size <= NGX_RTBUS_FRAME_SMALL)
           ? &ngx_rtbus_frames[size / NGX_RTBUS_FRAME_STEP] : NULL;

    if (kept && *kept) {
        frame = *kept;
        *kept = frame->next;
        ngx_rtbus_frames_kept -= size;

    } else {
        frame = ngx_alloc(size, ngx_cycle->log);
        if (frame == NULL) {
            return NULL;
        }
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
    size_t               size;
    ngx_rtbus_frame_t  **kept;

    size = ngx_rtbus_frame_size(frame->len);

    if (size > NGX_RTBUS_FRAME_SMALL
        || ngx_rtbus_frames_kept + size > NGX_RTBUS_FRAME_KEEP)
    {
        ngx_free(frame);
        return;
    }

    kept = &ngx_rtbus_frames[size / NGX_RTBUS_FRAME_STEP];

    frame->next = *kept;
    *kept = frame;
    ngx_rtbus_frames_kept += size;
}


/* of the memory of a frame: small ones are as large as others of their step */

static size_t
ngx_rtbus_frame_size(size_t len)
{
    size_t  size;

    size = offsetof(ngx_rtbus_frame_t, data) + len;

    if (NGX_RTBUS_FRAME_KEEP && size <= NGX_RTBUS_FRAME_SMALL) {
        size = ngx_align(size, NGX_RTBUS_FRAME_STEP);
    }

    return size;
}


void
ngx_rtbus_frame_drop_kept(void)
{
    ngx_uint_t          i;
    ngx_rtbus_frame_t  *frame, *next;

    for (i = 0; i <= NGX_RTBUS_FRAME_SMALL / NGX_RTBUS_FRAME_STEP; i++) {

        for (frame = ngx_rtbus_frames[i]; frame; frame = next) {
            next = frame->next;
            ngx_free(frame);
        }

        ngx_rtbus_frames[i] = NULL;
    }

    ngx_rtbus_frames_kept = 0;
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
    copy->tail = frame->tail;

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
