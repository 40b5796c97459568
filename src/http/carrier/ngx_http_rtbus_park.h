
/*
 * The request of a connection that goes on without it.
 *
 * What nginx keeps for a request is several times what a client takes that has
 * been answered with 101.  So the request is taken apart: its line, its headers
 * and what the phases have made of them are packed into one block, the rest is
 * given back.  It is made anew when it is needed, which is for the access log at
 * the latest, and looks the same to whoever reads it.
 *
 * A request that others have hold of stays as it is: one with a cleanup or a
 * context of another module, with subrequests, a body, or an upstream.
 */


#ifndef _NGX_HTTP_RTBUS_PARK_H_INCLUDED_
#define _NGX_HTTP_RTBUS_PARK_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


typedef struct ngx_http_rtbus_parked_s  ngx_http_rtbus_parked_t;


/*
 * Not to be called from within a handler of the request, which is gone
 * afterwards, without a line in the log.  The cleanups of r->pool with this data
 * are the caller's, as is the context of this module; they are dropped.  buf is
 * for NGX_HTTP_RTBUS_BUFFER bytes.  The event handlers and data of the
 * connection are left to the caller.  NGX_OK; NGX_DECLINED: the request stays;
 * NGX_AGAIN: for now, as somebody is not done with it or there is no memory.
 */

ngx_int_t ngx_http_rtbus_park(ngx_http_request_t *r, void *data, u_char *buf,
    ngx_http_rtbus_parked_t **parked);

/*
 * The request again, with nothing of the caller's, who calls ngx_free() or, if
 * it cannot go on with it, ngx_http_rtbus_repark().  NULL: no memory, and
 * everything is as it was.
 */

ngx_http_request_t *ngx_http_rtbus_unpark(ngx_http_rtbus_parked_t *parked);
void ngx_http_rtbus_repark(ngx_http_rtbus_parked_t *parked,
    ngx_http_request_t *r);

/* the connection is closed next: there will be no request any more */

void ngx_http_rtbus_unpark_drop(ngx_http_rtbus_parked_t *parked);


#endif /* _NGX_HTTP_RTBUS_PARK_H_INCLUDED_ */
