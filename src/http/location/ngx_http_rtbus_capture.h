
/*
 * The answer of an upstream, kept as the job of a channel: a content handler in
 * front of that of proxy_pass, which claims the channel, and filters that read
 * what the upstream sends.
 *
 * The upstream is read to the end, whatever its client does: what the client is
 * sent is copied, and a client that has gone is none that the upstream's module
 * hears of.
 */


#ifndef _NGX_HTTP_RTBUS_CAPTURE_H_INCLUDED_
#define _NGX_HTTP_RTBUS_CAPTURE_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


/* rtbus_capture, in cf->pool */

struct ngx_http_rtbus_capture_conf_s {
    ngx_http_rtbus_name_t       *channel;
    ngx_http_complex_value_t    *id;          /* or NULL */
    ngx_uint_t                   format;      /* rtbus_llm_format_e */
    ngx_uint_t                   busy;        /* ngx_rtbus_job_busy_e */
    time_t                       keep;
    size_t                       max;
    unsigned                     cancel:1;    /* with its client */
    unsigned                     ids:1;
    unsigned                     closed:1;    /* without Redis: 503 */
};


extern ngx_module_t  ngx_http_rtbus_capture_filter_module;


ngx_int_t ngx_http_rtbus_capture_handler(ngx_http_request_t *r);

/* rtbus_capture <channel> [parameter=value ...] | off; sets conf->capture */

char *ngx_http_rtbus_capture_set(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* $rtbus_capture and the like; for preconfiguration */

ngx_int_t ngx_http_rtbus_capture_variables(ngx_conf_t *cf);


#endif /* _NGX_HTTP_RTBUS_CAPTURE_H_INCLUDED_ */
