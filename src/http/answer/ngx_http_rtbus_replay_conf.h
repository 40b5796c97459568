
/*
 * The directive rtbus_replay.
 */


#ifndef _NGX_HTTP_RTBUS_REPLAY_CONF_H_INCLUDED_
#define _NGX_HTTP_RTBUS_REPLAY_CONF_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


/* rtbus_replay <channel> [parameter=value ...]; sets conf->replay */

char *ngx_http_rtbus_replay_set(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);


#endif /* _NGX_HTTP_RTBUS_REPLAY_CONF_H_INCLUDED_ */
