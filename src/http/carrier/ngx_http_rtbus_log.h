
/*
 * Variables for access logs: what a client's connection was like, by the time
 * it has ended.
 */


#ifndef _NGX_HTTP_RTBUS_LOG_H_INCLUDED_
#define _NGX_HTTP_RTBUS_LOG_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


/*
 * Adds $rtbus_transport, $rtbus_channels, $rtbus_events and $rtbus_close,
 * before the configuration is read: NGX_OK or NGX_ERROR.
 */

ngx_int_t ngx_http_rtbus_log_variables(ngx_conf_t *cf);


#endif /* _NGX_HTTP_RTBUS_LOG_H_INCLUDED_ */
