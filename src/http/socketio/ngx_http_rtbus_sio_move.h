
/*
 * A Socket.IO session that goes on at another worker: what it is made of as
 * JSON, and made of that JSON.  See ngx_http_rtbus_eio_handlers_t.
 */


#ifndef _NGX_HTTP_RTBUS_SIO_MOVE_H_INCLUDED_
#define _NGX_HTTP_RTBUS_SIO_MOVE_H_INCLUDED_


#include "ngx_http_rtbus_sio_socket.h"


void ngx_http_rtbus_sio_move_channels(ngx_http_rtbus_eio_t *eio,
    ngx_http_rtbus_text_t *text);
void ngx_http_rtbus_sio_move_hold(ngx_http_rtbus_carrier_t *car,
    rtbus_str_t *json, ngx_http_rtbus_holds_t *holds);
void ngx_http_rtbus_sio_move_export(ngx_http_rtbus_eio_t *eio, ngx_str_t *to,
    ngx_http_rtbus_text_t *text);
ngx_int_t ngx_http_rtbus_sio_move_import(ngx_http_rtbus_eio_t *eio,
    rtbus_str_t *json, ngx_http_rtbus_holds_t *holds);


#endif /* _NGX_HTTP_RTBUS_SIO_MOVE_H_INCLUDED_ */
