
/*
 * $rtbus_body_<member>: the members of a request's JSON body.
 */


#ifndef _NGX_HTTP_RTBUS_BODY_VAR_H_INCLUDED_
#define _NGX_HTTP_RTBUS_BODY_VAR_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


/* adds the variables, for preconfiguration: NGX_OK or NGX_ERROR */

ngx_int_t ngx_http_rtbus_body_variables(ngx_conf_t *cf);


#endif /* _NGX_HTTP_RTBUS_BODY_VAR_H_INCLUDED_ */
