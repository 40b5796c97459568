
/*
 * The channels of a session that is about to come from another worker.  That
 * delivers until it hands the session over; this one listens by then, too, and
 * keeps what comes from that moment on, so that no live event is lost.
 *
 * The moment is the same for both: what Redis sends a worker, messages from
 * worker to worker as well, comes in one order, which is that of all workers.
 */


#ifndef _NGX_HTTP_RTBUS_HOLD_H_INCLUDED_
#define _NGX_HTTP_RTBUS_HOLD_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


typedef struct {
    ngx_queue_t            holds;
    ngx_rtbus_hub_t       *hub;
    ngx_log_t             *log;
    size_t                 room;          /* bytes that may still be kept */
    void                 (*handler)(void *data);
    void                  *data;
} ngx_http_rtbus_holds_t;


/* zeroed memory; none of the others has to be called after it but free */

void ngx_http_rtbus_holds_init(ngx_http_rtbus_holds_t *holds,
    ngx_rtbus_hub_t *hub, size_t room, ngx_log_t *log);
void ngx_http_rtbus_holds_free(ngx_http_rtbus_holds_t *holds);

/* listens to a channel for a client with that format: NGX_OK or NGX_ERROR */

ngx_int_t ngx_http_rtbus_holds_add(ngx_http_rtbus_holds_t *holds,
    const ngx_rtbus_format_t *format, rtbus_json_value_t *channel);

/*
 * NGX_OK: it is known where they all stand, or Redis is away; NGX_AGAIN: the
 * handler will be called, from the event loop, once or more.
 */

ngx_int_t ngx_http_rtbus_holds_wait(ngx_http_rtbus_holds_t *holds,
    void (*handler)(void *data), void *data);

/* keeps what comes from now on */

void ngx_http_rtbus_holds_begin(ngx_http_rtbus_holds_t *holds);

/* the held subscriber is of the session: it gets what was kept */

void ngx_http_rtbus_holds_take(ngx_http_rtbus_holds_t *holds,
    ngx_rtbus_sub_t *sub);


#endif /* _NGX_HTTP_RTBUS_HOLD_H_INCLUDED_ */
