
/*
 * The long-polling transport of Engine.IO: a carrier that outlives the
 * requests that serve it.  A GET waits and takes what is queued, a POST brings
 * packets.
 *
 * A request is a call.  The call has a function that takes the answer to the
 * client, or to the worker that has the client.  The transport knows two
 * callbacks, "packet in" and, of its carrier, "ended".
 */


#ifndef _NGX_HTTP_RTBUS_POLL_H_INCLUDED_
#define _NGX_HTTP_RTBUS_POLL_H_INCLUDED_


#include "ngx_http_rtbus_carrier.h"
#include "ngx_http_rtbus_eio_error.h"
#include "ngx_http_rtbus_text.h"
#include "rtbus_eio.h"


/*
 * Packets of one answer, unless a single frame has more.  python-socketio 5
 * closes if it gets more.
 */
#define NGX_HTTP_RTBUS_POLL_PACKETS   16


typedef struct ngx_http_rtbus_poll_s       ngx_http_rtbus_poll_t;
typedef struct ngx_http_rtbus_poll_call_s  ngx_http_rtbus_poll_call_t;


/*
 * Answers a call, which is freed.  The function also frees the text, which is
 * NULL for the "ok" of a POST, and with an error.
 */
typedef void (*ngx_http_rtbus_poll_answer_pt)(
    ngx_http_rtbus_poll_call_t *call, ngx_http_rtbus_eio_error_e error,
    ngx_http_rtbus_text_t *text);


typedef void (*ngx_http_rtbus_poll_abort_pt)(
    ngx_http_rtbus_poll_call_t *call);


struct ngx_http_rtbus_poll_call_s {
    ngx_http_rtbus_poll_answer_pt    answer;
    ngx_http_request_t              *request;  /* NULL: another worker's */

    /*
     * Set by the side that is to answer: called if the client is gone or, if
     * it is set while the call is answered, once the client has been sent the
     * answer.  NULL: it is not called.
     */

    ngx_http_rtbus_poll_abort_pt     abort;
    void                            *data;
};


struct ngx_http_rtbus_poll_s {
    ngx_http_rtbus_carrier_t         carrier;  /* the first member */

    /* set by the protocol */

    ngx_int_t                      (*packet_handler)(
                                         ngx_http_rtbus_poll_t *poll,
                                         rtbus_eio_packet_t *packet);
    void                           (*timer_handler)(
                                         ngx_http_rtbus_poll_t *poll);

    /* may be read */

    ngx_http_rtbus_poll_call_t      *get;      /* the one that waits, or NULL */
    ngx_http_rtbus_poll_call_t      *post;     /* ... whose packets are taken */

    /* private */

    ngx_event_t                      timer;
    ngx_msec_t                       due;      /* when it should come */
    ngx_msec_t                       late;     /* ... and how much later it
                                                  has come */
    ngx_event_t                      next;     /* posted: packets go on, or the
                                                  end */
    const u_char                    *pos;      /* packets still to be taken;
                                                  NULL: none has come */
    const u_char                    *last;

    unsigned                         doubted:1;  /* the timer was late, what has
                                                    come may be read first */

    /* may be set: the GET is not to be answered with anything yet */

    unsigned                         unsure:1;
};


/*
 * poll is zeroed memory of the pool, which is destroyed at its end.  NGX_OK or
 * NGX_ERROR.
 */

ngx_int_t ngx_http_rtbus_poll_init(ngx_http_rtbus_poll_t *poll,
    ngx_http_request_t *r, ngx_pool_t *pool, ngx_log_t *log);

/*
 * A GET has come; it is answered later, never from within.  NGX_OK, or
 * NGX_BUSY: another one waits already, the session ends, and the caller
 * answers.
 */

ngx_int_t ngx_http_rtbus_poll_get(ngx_http_rtbus_poll_t *poll,
    ngx_http_rtbus_poll_call_t *call);

/*
 * A POST, in two steps: it has come (as above, or NGX_DECLINED: the session
 * takes nothing any more), and its body has come as a whole.  It is answered
 * later, never from within.  The body is written to, and has to live as long
 * as the call.
 */

ngx_int_t ngx_http_rtbus_poll_post(ngx_http_rtbus_poll_t *poll,
    ngx_http_rtbus_poll_call_t *call);
void ngx_http_rtbus_poll_body(ngx_http_rtbus_poll_t *poll, ngx_str_t *body);

/* the timer is due, and will be handled as soon as can be */

ngx_uint_t ngx_http_rtbus_poll_due(ngx_http_rtbus_poll_t *poll);

/* answers a GET that waits with a "noop" */

void ngx_http_rtbus_poll_noop(ngx_http_rtbus_poll_t *poll);

/* answers a GET that waits with an error */

void ngx_http_rtbus_poll_refuse(ngx_http_rtbus_poll_t *poll,
    ngx_http_rtbus_eio_error_e error);

/* ends it at once: calls that wait are refused, the pool is destroyed */

void ngx_http_rtbus_poll_done(ngx_http_rtbus_poll_t *poll);

/*
 * Another carrier goes on in its place: calls that wait are refused, the pool
 * stays.
 */

void ngx_http_rtbus_poll_stop(ngx_http_rtbus_poll_t *poll);

/* writes a frame's packets, each in its polling form, to a payload */

void ngx_http_rtbus_poll_write(ngx_http_rtbus_text_t *text,
    ngx_rtbus_frame_t *frame);


/*
 * _create(): a call of our own client; NULL: no memory.  _wait(): the request,
 * which the caller has counted, waits until the call is answered or the client
 * is gone; NGX_DONE or NGX_ERROR.
 */

ngx_http_rtbus_poll_call_t *ngx_http_rtbus_poll_create(ngx_http_request_t *r);
ngx_int_t ngx_http_rtbus_poll_wait(ngx_http_rtbus_poll_call_t *call);

/* the answer for a request, that a content handler has to return */

ngx_int_t ngx_http_rtbus_poll_reply(ngx_http_request_t *r,
    ngx_http_rtbus_eio_error_e error, ngx_http_rtbus_text_t *text);


#endif /* _NGX_HTTP_RTBUS_POLL_H_INCLUDED_ */
