
/*
 * What a client sends, the same for every protocol: events that the module
 * itself understands, and commands.
 */


#ifndef _NGX_HTTP_RTBUS_INBOX_H_INCLUDED_
#define _NGX_HTTP_RTBUS_INBOX_H_INCLUDED_


#include "ngx_http_rtbus_client.h"
#include "ngx_http_rtbus_command.h"


/*
 * Handles one event of a client.  With ack not NULL the client is answered
 * through protocol->ack, now or later; without it only refusals are told, by an
 * "error" event.
 *
 * NGX_OK, or NGX_ERROR: the client cannot go on (no memory).
 */

ngx_int_t ngx_http_rtbus_inbox(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_input_t *in, uint64_t *ack);

/* the same for a message that is no event, with that error */

ngx_int_t ngx_http_rtbus_inbox_malformed(ngx_http_rtbus_client_t *cli,
    ngx_uint_t error, uint64_t *ack);


#endif /* _NGX_HTTP_RTBUS_INBOX_H_INCLUDED_ */
