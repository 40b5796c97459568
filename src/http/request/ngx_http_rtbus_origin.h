
/*
 * Which pages may connect: the Origin header (RFC 6454) is compared with the
 * origins of rtbus_origin or, without them, with the origin of the request.
 *
 * Scheme, host and port have to be the same.  A port that is not written is the
 * default one, ws and wss are http and https, one slash at the end is ignored.
 */


#ifndef _NGX_HTTP_RTBUS_ORIGIN_H_INCLUDED_
#define _NGX_HTTP_RTBUS_ORIGIN_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


/* rtbus_origin <origin> ... | any */

char *ngx_http_rtbus_conf_origin(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* NGX_OK, NGX_DECLINED: foreign origin, NGX_ERROR */

ngx_int_t ngx_http_rtbus_check_origin(ngx_http_request_t *r);


#endif /* _NGX_HTTP_RTBUS_ORIGIN_H_INCLUDED_ */
