
/*
 * rtbus_publish: a POST becomes an event of a channel.
 */


#ifndef _NGX_HTTP_RTBUS_PUBLISH_H_INCLUDED_
#define _NGX_HTTP_RTBUS_PUBLISH_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


/* the directive */

char *ngx_http_rtbus_conf_publish(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


#endif /* _NGX_HTTP_RTBUS_PUBLISH_H_INCLUDED_ */
