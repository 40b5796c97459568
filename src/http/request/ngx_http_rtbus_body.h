
/*
 * Reads the whole body of a request into memory, never into a file.  A body
 * over the limit is refused as soon as that is known.
 */


#ifndef _NGX_HTTP_RTBUS_BODY_H_INCLUDED_
#define _NGX_HTTP_RTBUS_BODY_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


/*
 * Called once, with the whole body (memory of r->pool).  It has to finalize the
 * request, now or later.
 */
typedef void (*ngx_http_rtbus_body_pt)(ngx_http_request_t *r, ngx_str_t *body);


/*
 * Refuses a body that is not JSON by its header: application/json, with or
 * without parameters, or no type at all.  With NGX_OK, unless r->header_sent,
 * the handler goes on; otherwise it returns what it got.
 */

ngx_int_t ngx_http_rtbus_body_type(ngx_http_request_t *r);

/*
 * To be returned from a content handler.  A body of more than max bytes is
 * answered with 413, one that does not arrive with 408, as nginx does.
 */

ngx_int_t ngx_http_rtbus_read_body(ngx_http_request_t *r, size_t max,
    ngx_http_rtbus_body_pt handler);


#endif /* _NGX_HTTP_RTBUS_BODY_H_INCLUDED_ */
