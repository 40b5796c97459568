
/*
 * Which pages a browser may come from: the Origin header (RFC 6454) against the
 * origins of rtbus_origin or, without them, against the request's own.
 *
 * Compared are scheme, host and port, each port as it is where none is written;
 * ws and wss stand for http and https, and one slash at the end for nothing.
 */


#ifndef _NGX_HTTP_RTBUS_ORIGIN_H_INCLUDED_
#define _NGX_HTTP_RTBUS_ORIGIN_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


/* rtbus_origin <origin> ... | any */

char *ngx_http_rtbus_origin(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

/* NGX_OK, NGX_DECLINED: foreign origin, NGX_ERROR */

ngx_int_t ngx_http_rtbus_check_origin(ngx_http_request_t *r);


#endif /* _NGX_HTTP_RTBUS_ORIGIN_H_INCLUDED_ */
