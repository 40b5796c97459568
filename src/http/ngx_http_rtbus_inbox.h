
/*
 * What a client sends, the same for every protocol: events that the module
 * itself understands.
 */


#ifndef _NGX_HTTP_RTBUS_INBOX_H_INCLUDED_
#define _NGX_HTTP_RTBUS_INBOX_H_INCLUDED_


#include "ngx_http_rtbus_client.h"


/*
 * Handles one event of a client; data is checked JSON, empty when there is
 * none.  With ack not NULL the client is answered through transport->ack, now
 * or later; without it only refusals are told, by an "error" event.
 *
 * NGX_OK, or NGX_ERROR: the client cannot go on (no memory).
 */

ngx_int_t ngx_http_rtbus_inbox(ngx_http_rtbus_client_t *cli, ngx_str_t *name,
    ngx_str_t *data, uint64_t *ack);

/* the client ends: replies that are still awaited on its behalf come to nobody */

void ngx_http_rtbus_inbox_close(ngx_http_rtbus_client_t *cli);


#endif /* _NGX_HTTP_RTBUS_INBOX_H_INCLUDED_ */
