
/*
 * What is read off a request: headers and arguments.
 */


#ifndef _NGX_HTTP_RTBUS_REQUEST_H_INCLUDED_
#define _NGX_HTTP_RTBUS_REQUEST_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


/* a request header by its lower-case name, or NULL */

ngx_table_elt_t *ngx_http_rtbus_header_in(ngx_http_request_t *r,
    const char *name, size_t len);

/* an argument of the request, decoded; empty: it is missing */

ngx_int_t ngx_http_rtbus_arg(ngx_http_request_t *r, const char *name,
    ngx_str_t *value);

/*
 * Undoes the percent-encoding of arguments, which nginx has left encoded.  What
 * nginx has decoded must not be decoded again: locations and rules have matched
 * it as it stands.  NGX_OK or NGX_ERROR.
 */

ngx_int_t ngx_http_rtbus_decode(ngx_http_request_t *r, ngx_str_t *value);

/* copies a string to memory of another pool: NGX_OK or NGX_ERROR */

ngx_int_t ngx_http_rtbus_copy_str(ngx_pool_t *pool, ngx_str_t *dst,
    ngx_str_t *src);


#endif /* _NGX_HTTP_RTBUS_REQUEST_H_INCLUDED_ */
