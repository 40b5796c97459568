
/*
 * The state endpoint: what Redis has of a channel, over HTTP.
 */


#ifndef _NGX_HTTP_RTBUS_STATE_H_INCLUDED_
#define _NGX_HTTP_RTBUS_STATE_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


/* rtbus_state, and its content handler */

char *ngx_http_rtbus_conf_state(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

ngx_int_t ngx_http_rtbus_state_handler(ngx_http_request_t *r);


#endif /* _NGX_HTTP_RTBUS_STATE_H_INCLUDED_ */
