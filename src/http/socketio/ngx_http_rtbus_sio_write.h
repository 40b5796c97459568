
/*
 * Frames of Socket.IO packets: events, with their attachments behind them, and
 * acknowledgements.
 */


#ifndef _NGX_HTTP_RTBUS_SIO_WRITE_H_INCLUDED_
#define _NGX_HTTP_RTBUS_SIO_WRITE_H_INCLUDED_


#include "ngx_http_rtbus_sio_socket.h"
#include "rtbus_sio.h"


/* what a client calls to answer commands, and for its own events */

extern const ngx_http_rtbus_protocol_t  ngx_http_rtbus_sio_protocol;


/*
 * A frame with the packet's header, NULL: no memory; len bytes of JSON are to
 * follow at *p.  nsp NULL: packet->nsp is set.
 */

ngx_rtbus_frame_t *ngx_http_rtbus_sio_frame(const ngx_http_rtbus_nsp_t *nsp,
    rtbus_sio_packet_t *packet, size_t len, u_char **p);

/* encodes a message for all sockets of a namespace, see ngx_rtbus_format_t */

ngx_rtbus_frame_t *ngx_http_rtbus_sio_encode(const ngx_rtbus_format_t *format,
    ngx_rtbus_msg_t *msg);


#endif /* _NGX_HTTP_RTBUS_SIO_WRITE_H_INCLUDED_ */
