
/*
 * rtbus: a location of clients, and which protocol each of them speaks.
 */


#ifndef _NGX_HTTP_RTBUS_PROTO_H_INCLUDED_
#define _NGX_HTTP_RTBUS_PROTO_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


char *ngx_http_rtbus_conf_proto(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);


#endif /* _NGX_HTTP_RTBUS_PROTO_H_INCLUDED_ */
