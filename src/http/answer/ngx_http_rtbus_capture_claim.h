
/*
 * The content handler of a location with rtbus_capture, in front of that of
 * proxy_pass: it reads the request's body, claims the channel, and calls the
 * other one, or answers in its place.
 */


#ifndef _NGX_HTTP_RTBUS_CAPTURE_CLAIM_H_INCLUDED_
#define _NGX_HTTP_RTBUS_CAPTURE_CLAIM_H_INCLUDED_


#include "ngx_http_rtbus_capture.h"


ngx_int_t ngx_http_rtbus_capture_handler(ngx_http_request_t *r);


#endif /* _NGX_HTTP_RTBUS_CAPTURE_CLAIM_H_INCLUDED_ */
