
/*
 * The content handler of a location: which directive of ours has it.
 */


#ifndef _NGX_HTTP_RTBUS_HANDLER_H_INCLUDED_
#define _NGX_HTTP_RTBUS_HANDLER_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


/*
 * Makes handler the content handler of the location that is being read, for
 * directives.  NGX_OK, or NGX_ERROR: the location has one already, which is
 * logged.
 */

ngx_int_t ngx_http_rtbus_handler_set(ngx_conf_t *cf,
    ngx_http_handler_pt handler);


#endif /* _NGX_HTTP_RTBUS_HANDLER_H_INCLUDED_ */
