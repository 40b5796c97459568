
/*
 * The WebSocket transport (RFC 6455): the connection, pings, the close
 * handshake.  It knows two callbacks, "message in" and, of its carrier,
 * "ended"; what a message says is the protocol's.
 *
 *   _ws_handshake  the opening handshake, at the request
 *   _ws_frame      frames in and out
 */


#ifndef _NGX_HTTP_RTBUS_WS_H_INCLUDED_
#define _NGX_HTTP_RTBUS_WS_H_INCLUDED_


#include "ngx_http_rtbus_ws_frame.h"
#include "ngx_http_rtbus_ws_handshake.h"


/*
 * Zeroed memory for one and what the protocol has with it, of that size in all,
 * that lives as long as the connection; or NULL.
 */

void *ngx_http_rtbus_ws_create(ngx_http_request_t *r, size_t size);

/*
 * The handlers of ws are set.  NGX_OK or NGX_ERROR; what has to be there for
 * ended_handler is set up next, before anything can fail.
 */

ngx_int_t ngx_http_rtbus_ws_init(ngx_http_rtbus_ws_t *ws,
    ngx_http_request_t *r);

/*
 * Answers 101, which goes with the first frame: NGX_OK, and the handler returns
 * NGX_DONE, or what it returns.
 */

ngx_int_t ngx_http_rtbus_ws_accept(ngx_http_rtbus_ws_t *ws, ngx_str_t *key);


#endif /* _NGX_HTTP_RTBUS_WS_H_INCLUDED_ */
