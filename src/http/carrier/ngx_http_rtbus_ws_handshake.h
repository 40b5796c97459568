
/*
 * The opening handshake of WebSocket (RFC 6455, section 4), at the request.
 */


#ifndef _NGX_HTTP_RTBUS_WS_HANDSHAKE_H_INCLUDED_
#define _NGX_HTTP_RTBUS_WS_HANDSHAKE_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


/* is an upgrade to WebSocket asked for: there are others, h2c say */

ngx_uint_t ngx_http_rtbus_ws_asked(ngx_http_request_t *r);

/*
 * Checks the handshake and the origin.  NGX_OK and, unless r->header_sent, *key
 * is set: go on; otherwise this is what the content handler has to return.
 */

ngx_int_t ngx_http_rtbus_ws_handshake(ngx_http_request_t *r, ngx_str_t *key);

/* sends the 101, which may wait in r->out: NGX_OK, or what a handler returns */

ngx_int_t ngx_http_rtbus_ws_answer(ngx_http_request_t *r, ngx_str_t *key);


#endif /* _NGX_HTTP_RTBUS_WS_HANDSHAKE_H_INCLUDED_ */
