
/*
 * The request of a connection that goes on without it.
 *
 * Once a client has been answered with 101, nginx's request takes several
 * times the memory of the client itself.  So the request is taken apart: its
 * line, its headers and what the phases have made of them are packed into one
 * block, and the rest is freed.  The request is rebuilt when it is needed, at
 * the latest for the access log, and looks the same to whoever reads it.
 *
 * A request that others refer to stays as it is: one with a cleanup or a
 * context of another module, with subrequests, a body, or an upstream.
 */


#ifndef _NGX_HTTP_RTBUS_PARK_H_INCLUDED_
#define _NGX_HTTP_RTBUS_PARK_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


typedef struct ngx_http_rtbus_parked_s  ngx_http_rtbus_parked_t;


/*
 * Parks the request, which is freed without a line in the log; not to be
 * called from within a handler of it.  The cleanups of r->pool with this data,
 * and the context of this module, are the caller's; they are dropped.  buf has
 * room for NGX_HTTP_RTBUS_BUFFER bytes.  The caller sets the event handlers
 * and the data of the connection.
 *
 * NGX_OK; NGX_DECLINED: the request has to stay; NGX_AGAIN: it has to stay for
 * now, as it is still in use or there is no memory.
 */

ngx_int_t ngx_http_rtbus_park(ngx_http_request_t *r, void *data, u_char *buf,
    ngx_http_rtbus_parked_t **parked);

/*
 * Rebuilds the request, without anything of the caller's.  The caller frees
 * parked with ngx_free() or, if it cannot go on with the request, calls
 * ngx_http_rtbus_repark().  NULL: no memory, and nothing has changed.
 */

ngx_http_request_t *ngx_http_rtbus_unpark(ngx_http_rtbus_parked_t *parked);
void ngx_http_rtbus_repark(ngx_http_rtbus_parked_t *parked,
    ngx_http_request_t *r);

/* the connection is closed next: there will be no request any more */

void ngx_http_rtbus_unpark_drop(ngx_http_rtbus_parked_t *parked);


#endif /* _NGX_HTTP_RTBUS_PARK_H_INCLUDED_ */
