
/*
 * rtbus_status and rtbus_health: counters of all workers, and whether Redis is
 * within reach.
 */


#ifndef _NGX_HTTP_RTBUS_STATUS_H_INCLUDED_
#define _NGX_HTTP_RTBUS_STATUS_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


/* the directives, and the content handlers */

char *ngx_http_rtbus_conf_status(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_rtbus_conf_health(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

ngx_int_t ngx_http_rtbus_status_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_rtbus_health_handler(ngx_http_request_t *r);


#endif /* _NGX_HTTP_RTBUS_STATUS_H_INCLUDED_ */
