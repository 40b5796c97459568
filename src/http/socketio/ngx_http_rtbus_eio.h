
/*
 * Engine.IO, protocol 4: the session under Socket.IO.  It opens, pings, and
 * passes messages up and down, over WebSocket or long-polling.
 *
 *   _eio          packets and pings, whatever the carrier
 *   _session      sessions over long-polling
 *   _upgrade      from long-polling to WebSocket
 *   _remote       requests that have come to another worker than the session's
 *   _eio_request  the gate: what a request is for
 */


#ifndef _NGX_HTTP_RTBUS_EIO_H_INCLUDED_
#define _NGX_HTTP_RTBUS_EIO_H_INCLUDED_


#include "ngx_http_rtbus_hold.h"
#include "ngx_http_rtbus_text.h"
#include "ngx_http_rtbus_ws.h"
#include "rtbus_eio.h"


/* random characters of an id: 15 bytes in base64url */
#define NGX_HTTP_RTBUS_SID_LEN  20


typedef struct ngx_http_rtbus_eio_s  ngx_http_rtbus_eio_t;


/* the layer above; a static of its file */

typedef struct ngx_http_rtbus_eio_handlers_s  ngx_http_rtbus_eio_handlers_t;

struct ngx_http_rtbus_eio_handlers_s {
    size_t                              size;  /* of a session */

    /*
     * A new session, zeroed memory, for a carrier whose handlers it sets;
     * car->data is the session.
     */
    void                              (*create)(ngx_http_rtbus_eio_t *eio,
                                         ngx_http_rtbus_carrier_t *car);

    /*
     * A message (without its type), binary or text; the bytes are valid during
     * the call.  NGX_OK, or NGX_ERROR: the carrier is being closed.
     */
    ngx_int_t                         (*message)(ngx_http_rtbus_eio_t *eio,
                                         u_char *p, size_t len,
                                         ngx_uint_t binary);

    /* a ping interval is over: the layer above looks after its own */
    void                              (*tick)(ngx_http_rtbus_eio_t *eio);

    /*
     * The message is for the session of another worker.  Adds what that worker
     * has to know of the request, as an element of JSON with a comma before
     * it: NGX_OK, or NGX_DECLINED: nothing.  See
     * ngx_http_rtbus_remote_grant().
     */
    ngx_int_t                         (*grant)(ngx_http_request_t *r,
                                         u_char *p, size_t len,
                                         ngx_http_rtbus_text_t *text);

    /* the session goes on with eio->carrier */
    void                              (*switched)(ngx_http_rtbus_eio_t *eio);

    /*
     * The session goes on at another worker.  First the owner adds the
     * channels of the session, as a JSON array, and the other worker listens
     * to them.  Then the owner exports the session, as a JSON object, and the
     * other worker, whose mailbox is "to", imports it: NGX_OK or NGX_ERROR.
     */
    void                              (*channels)(ngx_http_rtbus_eio_t *eio,
                                         ngx_http_rtbus_text_t *text);
    void                              (*hold)(ngx_http_rtbus_carrier_t *car,
                                         rtbus_str_t *json,
                                         ngx_http_rtbus_holds_t *holds);
    void                              (*export)(ngx_http_rtbus_eio_t *eio,
                                         ngx_str_t *to,
                                         ngx_http_rtbus_text_t *text);
    ngx_int_t                         (*import)(ngx_http_rtbus_eio_t *eio,
                                         rtbus_str_t *json,
                                         ngx_http_rtbus_holds_t *holds);
};


struct ngx_http_rtbus_eio_s {
    ngx_http_rtbus_carrier_t             *carrier;
    const ngx_http_rtbus_eio_handlers_t  *handlers;
    ngx_msec_t                            opened;
    unsigned                              pinged:1;  /* the pong is awaited */
    unsigned                              wanted:1;  /* the layer above has
                                                        found use for it */
};


/*
 * A frame for a message of len bytes, to be written at frame->data +
 * frame->payload; NULL: no memory.
 */

ngx_rtbus_frame_t *ngx_http_rtbus_eio_frame(size_t len);

/* the header of frames, see ngx_rtbus_format_t */

size_t ngx_http_rtbus_eio_header(u_char *dst, size_t len);

/* writes NGX_HTTP_RTBUS_SID_LEN random characters: NGX_OK or NGX_ERROR */

ngx_int_t ngx_http_rtbus_eio_random(u_char *dst, ngx_log_t *log);


/* for sessions: */

/*
 * p is zeroed memory of handlers->size; sets the handlers of a carrier that is
 * to be initialized
 */

ngx_http_rtbus_eio_t *ngx_http_rtbus_eio_create(void *p,
    ngx_http_rtbus_carrier_t *car,
    const ngx_http_rtbus_eio_handlers_t *handlers);

/* the "open" packet; NGX_HTTP_RTBUS_EIO_OPEN bytes are enough */

#define NGX_HTTP_RTBUS_EIO_OPEN  256

size_t ngx_http_rtbus_eio_open(u_char *dst, ngx_http_rtbus_loc_conf_t *conf,
    ngx_str_t *sid, const char *upgrades);

/* the session goes on over this WebSocket */

void ngx_http_rtbus_eio_attach(ngx_http_rtbus_eio_t *eio,
    ngx_http_rtbus_ws_t *ws);

/* queues a packet of the session itself: NGX_OK, or NGX_ERROR: no memory */

ngx_int_t ngx_http_rtbus_eio_send(ngx_http_rtbus_eio_t *eio, u_char *p,
    size_t len);

/* a packet has come: NGX_OK, or NGX_ERROR: the carrier is being closed */

ngx_int_t ngx_http_rtbus_eio_packet(ngx_http_rtbus_eio_t *eio,
    rtbus_eio_packet_t *packet);

/* the carrier's timer has expired */

void ngx_http_rtbus_eio_timer(ngx_http_rtbus_eio_t *eio);


#endif /* _NGX_HTTP_RTBUS_EIO_H_INCLUDED_ */
