
/*
 * Engine.IO, protocol 4: the session under Socket.IO.  It opens, pings, and
 * passes messages up and down; today over WebSocket.
 *
 * The session knows two callbacks of the layer above, "message in" and "ended".
 */


#ifndef _NGX_HTTP_RTBUS_EIO_H_INCLUDED_
#define _NGX_HTTP_RTBUS_EIO_H_INCLUDED_


#include "ngx_http_rtbus_ws.h"
#include "rtbus_eio.h"


/* bytes of a session id: 15 random ones in base64url */
#define NGX_HTTP_RTBUS_SID_LEN  20


typedef struct ngx_http_rtbus_eio_s  ngx_http_rtbus_eio_t;


/*
 * A message (without its type), binary or text; the bytes are valid during the
 * call.  NGX_OK, or NGX_ERROR: the carrier is being closed.
 */
typedef ngx_int_t (*ngx_http_rtbus_eio_message_pt)(ngx_http_rtbus_eio_t *eio,
    u_char *p, size_t len, ngx_uint_t binary);

/* a ping interval is over: the layer above looks after its own */
typedef void (*ngx_http_rtbus_eio_tick_pt)(ngx_http_rtbus_eio_t *eio);


struct ngx_http_rtbus_eio_s {
    ngx_http_rtbus_ws_t             ws;        /* the first member */

    /* set by the layer above before the open; ended is the carrier's */

    ngx_http_rtbus_eio_message_pt   message_handler;
    ngx_http_rtbus_eio_tick_pt      tick_handler;
    void                           *data;

    u_char                          sid[NGX_HTTP_RTBUS_SID_LEN];
    ngx_msec_t                      opened;
    unsigned                        pinged:1;  /* the pong is awaited */
};


/*
 * Checks the query and the handshake.  NGX_OK and, unless r->header_sent, *key
 * is set: go on; otherwise this is what the content handler has to return.
 */

ngx_int_t ngx_http_rtbus_eio_handshake(ngx_http_request_t *r, ngx_str_t *key);

/* as ngx_http_rtbus_ws_init() and _accept(), the latter sends "open" */

ngx_int_t ngx_http_rtbus_eio_init(ngx_http_rtbus_eio_t *eio,
    ngx_http_request_t *r);
ngx_int_t ngx_http_rtbus_eio_accept(ngx_http_rtbus_eio_t *eio,
    ngx_str_t *key);

/*
 * A frame for a message of len bytes, to be written at frame->data +
 * frame->payload; NULL: no memory.
 */

ngx_rtbus_frame_t *ngx_http_rtbus_eio_frame(size_t len);

/* the header of frames, see ngx_rtbus_format_t */

size_t ngx_http_rtbus_eio_header(u_char *dst, size_t len);

/* writes NGX_HTTP_RTBUS_SID_LEN random characters: NGX_OK or NGX_ERROR */

ngx_int_t ngx_http_rtbus_eio_random(u_char *dst, ngx_log_t *log);


#endif /* _NGX_HTTP_RTBUS_EIO_H_INCLUDED_ */
