
/*
 * A message on its way from Redis to the clients, and its frames.
 *
 * The message lives on the stack of whoever delivers it; its event is slices
 * of the bytes that Redis sent.  What outlives the delivery are the frames: the
 * bytes that go to clients, built at most once per message and format, shared
 * by reference by all the clients that wait to be written to.  References are
 * plain numbers: a worker has one thread.
 */


#ifndef _NGX_RTBUS_MSG_H_INCLUDED_
#define _NGX_RTBUS_MSG_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "rtbus_event.h"


typedef struct ngx_rtbus_msg_s     ngx_rtbus_msg_t;
typedef struct ngx_rtbus_frame_s   ngx_rtbus_frame_t;
typedef struct ngx_rtbus_format_s  ngx_rtbus_format_t;


struct ngx_rtbus_frame_s {
    ngx_rtbus_frame_t          *next;     /* of the same message */
    const ngx_rtbus_format_t   *format;
    size_t                      len;
    uint32_t                    refs;

    /*
     * Offsets for a client with further channels: where the payload begins,
     * where the text of the cursor ends (0: there is no cursor), and how many
     * bytes follow the payload.
     */

    uint32_t                    payload;
    size_t                      cursor;
    size_t                      tail;

    u_char                      data[1];  /* len bytes */
};


/* how one protocol writes a message; a static of the protocol's file */

struct ngx_rtbus_format_s {
    /* builds the frame with ngx_rtbus_frame_create(); NULL: no memory */
    ngx_rtbus_frame_t        *(*encode)(const ngx_rtbus_format_t *format,
                                  ngx_rtbus_msg_t *msg);

    /*
     * The header of a frame of len bytes of payload: answers its length, with
     * dst NULL only the length.  NULL: this format's frames have no header.
     */
    size_t                    (*header)(u_char *dst, size_t len);
};


struct ngx_rtbus_msg_s {
    rtbus_event_t              *event;
    ngx_str_t                   channel;
    rtbus_pos_t                 pos;      /* of the channel after it */
    ngx_rtbus_frame_t          *frames;   /* made so far, a reference each */
};


/*
 * With one reference, which is the caller's.  The worker keeps small frames
 * that are done with for those to come, up to a limit, until it ends.
 */

ngx_rtbus_frame_t *ngx_rtbus_frame_create(size_t len);
void ngx_rtbus_frame_free(ngx_rtbus_frame_t *frame);
void ngx_rtbus_frame_drop_kept(void);

#define ngx_rtbus_frame_ref(frame)    (frame)->refs++

#define ngx_rtbus_frame_unref(frame)                                          \
    if (--(frame)->refs == 0) {                                               \
        ngx_rtbus_frame_free(frame);                                          \
    }

/*
 * The frame of the message in this format, made when it is not there yet; the
 * reference stays the message's.  NULL: no memory.
 */

ngx_rtbus_frame_t *ngx_rtbus_msg_frame(ngx_rtbus_msg_t *msg,
    const ngx_rtbus_format_t *format);

/*
 * A copy of a frame with room for len more bytes of cursor text
 * (",<channel>@<position>...") at *more: one client's own frame, with one
 * reference.  NULL: no memory.
 */

ngx_rtbus_frame_t *ngx_rtbus_frame_extend(ngx_rtbus_frame_t *frame, size_t len,
    u_char **more);

/* gives back the message's references */

void ngx_rtbus_msg_done(ngx_rtbus_msg_t *msg);


#endif /* _NGX_RTBUS_MSG_H_INCLUDED_ */
