
/*
 * The directives of http {} that hold for all buses: the prefix of Redis'
 * channels and keys, the rules that forward events, the schema of events, how
 * long events are collected, and the secret.
 */


#ifndef _NGX_HTTP_RTBUS_MAIN_H_INCLUDED_
#define _NGX_HTTP_RTBUS_MAIN_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


/* rtbus_prefix, rtbus_forward, rtbus_schema, rtbus_secret_file */

char *ngx_http_rtbus_conf_prefix(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_rtbus_conf_forward(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_rtbus_conf_schema(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_rtbus_conf_secret_file(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* checks the value of rtbus_coalesce */

char *ngx_http_rtbus_conf_coalesce(ngx_conf_t *cf, void *post, void *data);

/*
 * Without rtbus_secret_file the secret is random, and a reload keeps it.  For
 * postconfiguration; NGX_OK or NGX_ERROR.
 */

ngx_int_t ngx_http_rtbus_secret_init(ngx_conf_t *cf,
    ngx_http_rtbus_main_conf_t *rmcf);


#endif /* _NGX_HTTP_RTBUS_MAIN_H_INCLUDED_ */
