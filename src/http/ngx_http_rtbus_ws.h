
/*
 * The WebSocket carrier (RFC 6455): handshake, frames, pings, the close
 * handshake.  What a message says is the inbox's.
 */


#ifndef _NGX_HTTP_RTBUS_WS_H_INCLUDED_
#define _NGX_HTTP_RTBUS_WS_H_INCLUDED_


#include "ngx_http_rtbus_client.h"


/* answers a request to a "rtbus websocket" location as its content handler */

ngx_int_t ngx_http_rtbus_ws_handler(ngx_http_request_t *r);


#endif /* _NGX_HTTP_RTBUS_WS_H_INCLUDED_ */
