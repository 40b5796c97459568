
/*
 * CONNECT packets of Socket.IO: what the client is granted, the channels of the
 * new socket, connection state recovery, the answer.
 */


#ifndef _NGX_HTTP_RTBUS_SIO_CONNECT_H_INCLUDED_
#define _NGX_HTTP_RTBUS_SIO_CONNECT_H_INCLUDED_


#include "ngx_http_rtbus_sio_socket.h"
#include "rtbus_sio.h"


/* NGX_OK, the answer may come later; NGX_ERROR: the carrier is being closed */

ngx_int_t ngx_http_rtbus_sio_connect(ngx_http_rtbus_sio_t *sio,
    rtbus_sio_packet_t *packet);

/* see grant in ngx_http_rtbus_eio_handlers_t */

ngx_int_t ngx_http_rtbus_sio_relay_grant(ngx_http_request_t *r, u_char *p,
    size_t len, ngx_http_rtbus_text_t *text);


#endif /* _NGX_HTTP_RTBUS_SIO_CONNECT_H_INCLUDED_ */
