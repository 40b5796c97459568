
/*
 * rtbus_submit: a POST becomes a command.
 */


#ifndef _NGX_HTTP_RTBUS_SUBMIT_H_INCLUDED_
#define _NGX_HTTP_RTBUS_SUBMIT_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


/* the directive, and the content handler */

char *ngx_http_rtbus_conf_submit(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

ngx_int_t ngx_http_rtbus_submit_handler(ngx_http_request_t *r);


#endif /* _NGX_HTTP_RTBUS_SUBMIT_H_INCLUDED_ */
