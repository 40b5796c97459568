
/*
 * A WebSocket and its frames (RFC 6455, section 5): what is read becomes
 * messages, messages become frames that wait.  The connection is _ws's.
 */


#ifndef _NGX_HTTP_RTBUS_WS_FRAME_H_INCLUDED_
#define _NGX_HTTP_RTBUS_WS_FRAME_H_INCLUDED_


#include "ngx_http_rtbus_carrier.h"
#include "ngx_http_rtbus_park.h"
#include "rtbus_ws.h"


typedef struct ngx_http_rtbus_ws_s  ngx_http_rtbus_ws_t;


/*
 * A whole message, opcode in ws->opcode, text checked to be UTF-8; the bytes
 * are valid during the call, and may be written to.  NGX_OK, or NGX_ERROR: the
 * carrier is being closed, what follows must not be read.
 */
typedef ngx_int_t (*ngx_http_rtbus_ws_message_pt)(ngx_http_rtbus_ws_t *ws,
    u_char *p, size_t len);


/* bytes that the client has sent, malloc'ed */

typedef struct {
    size_t                        len;
    size_t                        size;        /* there is room for */
    u_char                        data[1];
} ngx_http_rtbus_ws_part_t;


struct ngx_http_rtbus_ws_s {
    ngx_http_rtbus_carrier_t      carrier;     /* the first member */

    /* set by the protocol before the handshake is answered */

    ngx_http_rtbus_ws_message_pt  message_handler;
    void                        (*timer_handler)(ngx_http_rtbus_ws_t *ws);
                                               /* the protocol has pings of its
                                                  own; NULL: it has none */
    unsigned                      binary:1;    /* messages are welcome */

    /* private */

    unsigned                      opcode:4;    /* of the message */
    unsigned                      in_frame:1;  /* its header is parsed */
    unsigned                      pinged:1;    /* the pong is awaited */
    unsigned                      peer_closed:1;  /* close frame received */
    unsigned                      failed:1;    /* what comes is dropped */

    uint32_t                      utf8;        /* of the message */
    rtbus_ws_parser_t             parser;

    ngx_http_rtbus_ws_part_t     *message;     /* its beginning */
    ngx_http_rtbus_ws_part_t     *control;     /* a frame cut */
    ngx_http_rtbus_ws_part_t     *rest;        /* what was read when the carrier
                                                  came to be held */

    ngx_event_handler_pt          handler;     /* nginx's, of the connection */
    ngx_http_rtbus_parked_t      *parked;      /* or NULL: there is a request */
};


/*
 * Takes what was read, and unmasks it in place.  If the carrier comes to be
 * held, the rest is kept in ws->rest; after an error ws->failed is set.
 */

void ngx_http_rtbus_ws_input(ngx_http_rtbus_ws_t *ws, u_char *p, u_char *last);

/* keeps it in ws->rest: NGX_OK, NGX_ERROR: no memory */

ngx_int_t ngx_http_rtbus_ws_keep_rest(ngx_http_rtbus_ws_t *ws, u_char *p,
    u_char *last);

/* queues a message or a control frame: NGX_OK, NGX_ERROR: no memory */

ngx_int_t ngx_http_rtbus_ws_send(ngx_http_rtbus_ws_t *ws, ngx_uint_t opcode,
    u_char *p, size_t len);


#endif /* _NGX_HTTP_RTBUS_WS_FRAME_H_INCLUDED_ */
