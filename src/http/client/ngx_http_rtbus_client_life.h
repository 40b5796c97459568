
/*
 * The life of a client: set up for its identity, started with its channels,
 * told that it is connected, closed when its token expires, ended.
 */


#ifndef _NGX_HTTP_RTBUS_CLIENT_LIFE_H_INCLUDED_
#define _NGX_HTTP_RTBUS_CLIENT_LIFE_H_INCLUDED_


#include "ngx_http_rtbus_client.h"


/*
 * cli is zeroed memory.  The carrier is closed when the token of the identity
 * expires.  NGX_OK or NGX_ERROR.
 */

ngx_int_t ngx_http_rtbus_client_init(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_carrier_t *car, const ngx_http_rtbus_protocol_t *protocol,
    ngx_http_rtbus_grant_t *grant);

/* writes a new sid to buf and makes it the client's: NGX_OK or NGX_ERROR */

ngx_int_t ngx_http_rtbus_client_sid(ngx_http_rtbus_client_t *cli, u_char *buf);

/*
 * The channels of a new client, each checked and allowed (or allowed to its
 * owner, whom Redis names as soon as it can be asked), and those that were
 * refused.  "connected" is sent before anything else, with the cursor; it waits
 * until Redis has said where the channels stand, unless Redis is away.  NGX_OK
 * or NGX_ERROR.
 */

ngx_int_t ngx_http_rtbus_client_start(ngx_http_rtbus_client_t *cli,
    ngx_array_t *channels, ngx_array_t *refused);

/* tells the client that the server is going away; for leave_handler */

void ngx_http_rtbus_client_goodbye(ngx_http_rtbus_client_t *cli);

/*
 * Leaves all channels; nothing is sent to the client any more.  reason: static
 * text, for producers.
 */

void ngx_http_rtbus_client_done(ngx_http_rtbus_client_t *cli,
    const char *reason);


#endif /* _NGX_HTTP_RTBUS_CLIENT_LIFE_H_INCLUDED_ */
