
/*
 * "subscribe" with "state": a client is sent the state of a channel, and then
 * all that came after it.
 */


#ifndef _NGX_HTTP_RTBUS_ASK_H_INCLUDED_
#define _NGX_HTTP_RTBUS_ASK_H_INCLUDED_


#include "ngx_http_rtbus_client.h"


/*
 * Asks Redis for the state of a checked and allowed channel, and joins the
 * channel behind it; the client is answered later.  NGX_OK or NGX_ERROR.
 */

ngx_int_t ngx_http_rtbus_ask(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_channel_t *channel, uint64_t *ack);

/* the client ends: what is still asked for it comes to nobody */

void ngx_http_rtbus_ask_close(ngx_http_rtbus_client_t *cli);

/*
 * For a client that moves to another worker: what is asked for it as a JSON
 * array, and the other side, which asks again.  NGX_OK or NGX_ERROR.
 */

void ngx_http_rtbus_ask_export(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_text_t *text);
ngx_int_t ngx_http_rtbus_ask_import(ngx_http_rtbus_client_t *cli,
    rtbus_json_value_t *value);


#endif /* _NGX_HTTP_RTBUS_ASK_H_INCLUDED_ */
