
/*
 * A client that goes on at another worker: what it is and where it stands as
 * text, and a client made of that text.
 */


#ifndef _NGX_HTTP_RTBUS_CLIENT_MOVE_H_INCLUDED_
#define _NGX_HTTP_RTBUS_CLIENT_MOVE_H_INCLUDED_


#include "ngx_http_rtbus_client.h"
#include "ngx_http_rtbus_hold.h"


/* the names of its channels, each with its comma before it, for the holds */

void ngx_http_rtbus_client_channels(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_text_t *text);

/*
 * Writes the client as a JSON object.  It goes on at the worker whose mailbox
 * is "to"; what comes for it here is passed on.
 */

void ngx_http_rtbus_client_export(ngx_http_rtbus_client_t *cli, ngx_str_t *to,
    ngx_http_rtbus_text_t *text);

/*
 * Makes a client of that object, instead of init; cli is zeroed memory but for
 * sid and nsp.  What it waits for is asked for again.  NGX_OK or NGX_ERROR.
 */

ngx_int_t ngx_http_rtbus_client_import(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_carrier_t *car, const ngx_http_rtbus_protocol_t *protocol,
    rtbus_str_t *json, ngx_http_rtbus_holds_t *holds);


#endif /* _NGX_HTTP_RTBUS_CLIENT_MOVE_H_INCLUDED_ */
