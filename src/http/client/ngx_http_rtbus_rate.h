
/*
 * rtbus_message_rate: a client that sends too fast is slowed down, and refused
 * if it goes on.
 */


#ifndef _NGX_HTTP_RTBUS_RATE_H_INCLUDED_
#define _NGX_HTTP_RTBUS_RATE_H_INCLUDED_


#include "ngx_http_rtbus_client.h"


/*
 * Takes a token for a message.  NGX_OK; what the client sends next may have to
 * wait then.  NGX_DECLINED: it has had to for too long, and *ms are left until
 * there is one.  Joins (of a new channel) are never declined while the client
 * may have more, and wait for less if those are many.
 */

ngx_int_t ngx_http_rtbus_rate_message(ngx_http_rtbus_client_t *cli,
    ngx_uint_t join, ngx_msec_t *ms);

/*
 * The same of a bucket that is filled at that rate and has room for so many
 * tokens; they are in 1/1000.
 */

ngx_int_t ngx_http_rtbus_rate_take(ngx_uint_t *tokens, ngx_msec_t *at,
    ngx_uint_t rate, ngx_uint_t room);

/* rtbus_message_rate */

char *ngx_http_rtbus_conf_message_rate(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


#endif /* _NGX_HTTP_RTBUS_RATE_H_INCLUDED_ */
