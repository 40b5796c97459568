
/*
 * rtbus_stop: ends the job that runs on a channel.
 */


#ifndef _NGX_HTTP_RTBUS_STOP_H_INCLUDED_
#define _NGX_HTTP_RTBUS_STOP_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


/* the directive */

char *ngx_http_rtbus_conf_stop(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);


#endif /* _NGX_HTTP_RTBUS_STOP_H_INCLUDED_ */
