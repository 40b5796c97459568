
/*
 * The directive rtbus_capture, and $rtbus_capture and the like.
 */


#ifndef _NGX_HTTP_RTBUS_CAPTURE_CONF_H_INCLUDED_
#define _NGX_HTTP_RTBUS_CAPTURE_CONF_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


/* rtbus_capture <channel> [parameter=value ...] | off; sets conf->capture */

char *ngx_http_rtbus_capture_set(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* for preconfiguration */

ngx_int_t ngx_http_rtbus_capture_variables(ngx_conf_t *cf);


#endif /* _NGX_HTTP_RTBUS_CAPTURE_CONF_H_INCLUDED_ */
