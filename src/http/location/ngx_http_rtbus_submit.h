
/*
 * rtbus_submit: a POST becomes a command.
 */


#ifndef _NGX_HTTP_RTBUS_SUBMIT_H_INCLUDED_
#define _NGX_HTTP_RTBUS_SUBMIT_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


/* the directive */

char *ngx_http_rtbus_conf_submit(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


#endif /* _NGX_HTTP_RTBUS_SUBMIT_H_INCLUDED_ */
