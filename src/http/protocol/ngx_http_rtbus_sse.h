
/*
 * The SSE carrier (text/event-stream): through nginx's output filters, so that
 * it works over TLS, HTTP/1.0, chunked HTTP/1.1, HTTP/2 and HTTP/3 alike.
 */


#ifndef _NGX_HTTP_RTBUS_SSE_H_INCLUDED_
#define _NGX_HTTP_RTBUS_SSE_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


/* answers a request to a "rtbus sse" location as its content handler */

ngx_int_t ngx_http_rtbus_sse_handler(ngx_http_request_t *r);


#endif /* _NGX_HTTP_RTBUS_SSE_H_INCLUDED_ */
