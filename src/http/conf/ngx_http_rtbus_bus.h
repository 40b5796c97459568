
/*
 * Buses: the Redis servers of the configuration, by name, and which of them the
 * locations use.
 */


#ifndef _NGX_HTTP_RTBUS_BUS_H_INCLUDED_
#define _NGX_HTTP_RTBUS_BUS_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


/* rtbus_redis, of http {}; rtbus_bus, of a location */

char *ngx_http_rtbus_conf_redis(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_rtbus_conf_bus(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

/* makes rmcf->buses, with the default bus: NGX_OK or NGX_ERROR */

ngx_int_t ngx_http_rtbus_bus_create(ngx_conf_t *cf,
    ngx_http_rtbus_main_conf_t *rmcf);

/*
 * Once http {} has been read: checks that each named bus has its Redis; the
 * default bus gets that of this host.  NGX_OK, or NGX_ERROR: logged.
 */

ngx_int_t ngx_http_rtbus_bus_complete(ngx_conf_t *cf,
    ngx_http_rtbus_main_conf_t *rmcf);

/*
 * Once the locations have been merged: counts the buses that are used, checks
 * that they do not share a Redis, and resolves the names of their servers.
 * NGX_OK, or NGX_ERROR: logged.
 */

ngx_int_t ngx_http_rtbus_bus_init(ngx_conf_t *cf,
    ngx_http_rtbus_main_conf_t *rmcf);


#endif /* _NGX_HTTP_RTBUS_BUS_H_INCLUDED_ */
