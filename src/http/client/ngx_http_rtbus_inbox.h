
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

/* the client ends: replies that are still awaited on its behalf come to nobody */

void ngx_http_rtbus_inbox_close(ngx_http_rtbus_client_t *cli);


/*
 * What the client waits for, for one that moves to another worker: a number for
 * the end of a join, 0 for NULL, and back; the snapshots, as a JSON array, which
 * are asked for anew.  NGX_OK or NGX_ERROR.
 */

ngx_uint_t ngx_http_rtbus_inbox_kind(ngx_http_rtbus_joined_pt handler);
ngx_http_rtbus_joined_pt ngx_http_rtbus_inbox_handler(ngx_uint_t kind);

void ngx_http_rtbus_inbox_export(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_text_t *text);
ngx_int_t ngx_http_rtbus_inbox_import(ngx_http_rtbus_client_t *cli,
    rtbus_json_value_t *value);


#endif /* _NGX_HTTP_RTBUS_INBOX_H_INCLUDED_ */
