
/*
 * The gate of Engine.IO: every request to such a location comes in here.  It
 * opens a WebSocket or a session, is a poll or a post of a session, or wants to
 * upgrade one.
 */


#ifndef _NGX_HTTP_RTBUS_EIO_REQUEST_H_INCLUDED_
#define _NGX_HTTP_RTBUS_EIO_REQUEST_H_INCLUDED_


#include "ngx_http_rtbus_eio.h"


/* answers a request as its content handler */

ngx_int_t ngx_http_rtbus_eio_request(ngx_http_request_t *r,
    const ngx_http_rtbus_eio_handlers_t *handlers);


#endif /* _NGX_HTTP_RTBUS_EIO_REQUEST_H_INCLUDED_ */
