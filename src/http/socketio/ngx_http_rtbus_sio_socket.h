
/*
 * What Socket.IO has of a client: the session, and a socket, which is a client
 * of its own, for each namespace that it is connected to.
 */


#ifndef _NGX_HTTP_RTBUS_SIO_SOCKET_H_INCLUDED_
#define _NGX_HTTP_RTBUS_SIO_SOCKET_H_INCLUDED_


#include "ngx_http_rtbus_client.h"
#include "ngx_http_rtbus_eio.h"
#include "ngx_http_rtbus_entry.h"


/* a namespace of a location, and how its events are written */

typedef struct {
    ngx_rtbus_format_t     format;     /* the first member */
    ngx_str_t              name;       /* with its slash */
    ngx_uint_t             recovery;   /* unsigned  recovery:1; */
} ngx_http_rtbus_nsp_t;


typedef struct {
    ngx_http_rtbus_eio_t          eio;       /* the first member */
    ngx_queue_t                   sockets;
    ngx_uint_t                    connects;  /* packets so far */
    ngx_uint_t                    tokens;    /* of rtbus_message_rate, for
                                                them, in 1/1000 */
    ngx_msec_t                    tokens_at;

    /* of the namespaces that were left, as they stand; malloc'ed, or NULL */

    ngx_http_rtbus_bucket_t      *buckets;

    /* a binary packet whose attachments are still to come; malloc'ed */

    u_char                       *packet;
    size_t                        length;
    size_t                        received;  /* bytes of attachments */
    ngx_uint_t                    attachments;
    ngx_str_t                     binary;    /* what has come of them, an array
                                                of strings in base64 */
    size_t                        room;      /* for it, malloc'ed */
} ngx_http_rtbus_sio_t;


/* the channels of a socket that has no answer to its CONNECT yet; malloc'ed */

typedef struct {
    ngx_http_rtbus_owners_t      *owners;    /* asked for, or NULL */
    ngx_http_rtbus_wanted_t       wanted;
} ngx_http_rtbus_connect_t;


/* one namespace of one client; malloc'ed */

typedef struct {
    ngx_http_rtbus_client_t       client;    /* the first member */
    ngx_queue_t                   queue;     /* sio->sockets */
    const ngx_http_rtbus_nsp_t   *nsp;
    ngx_http_rtbus_connect_t     *connect;   /* NULL: it is connected */
    u_char                        sid[NGX_HTTP_RTBUS_SID_LEN];
} ngx_http_rtbus_socket_t;


/* the namespace of a location, or NULL; the socket of a namespace, or NULL */

ngx_http_rtbus_nsp_t *ngx_http_rtbus_sio_find_nsp(
    ngx_http_rtbus_loc_conf_t *conf, rtbus_str_t *name);
ngx_http_rtbus_socket_t *ngx_http_rtbus_sio_find(ngx_http_rtbus_sio_t *sio,
    rtbus_str_t *nsp);

/* a socket whose client is yet to be set up; NULL: no memory */

ngx_http_rtbus_socket_t *ngx_http_rtbus_sio_socket_create(
    ngx_http_rtbus_sio_t *sio, ngx_http_rtbus_nsp_t *nsp);

/* ends it, and its client with that reason, and frees it */

void ngx_http_rtbus_sio_socket_end(ngx_http_rtbus_socket_t *socket,
    const char *reason);

/* its CONNECT is answered, or it ends: frees socket->connect */

void ngx_http_rtbus_sio_connect_free(ngx_http_rtbus_socket_t *socket);

/*
 * A client that leaves a namespace and comes back may send no more than one
 * that stays: its bucket is kept, NGX_OK or NGX_ERROR, and its next socket
 * takes it.
 */

ngx_int_t ngx_http_rtbus_sio_keep_bucket(ngx_http_rtbus_sio_t *sio,
    ngx_http_rtbus_socket_t *socket);
void ngx_http_rtbus_sio_take_bucket(ngx_http_rtbus_sio_t *sio,
    ngx_http_rtbus_socket_t *socket);

/* the end of a binary packet, frees what has come of it */

void ngx_http_rtbus_sio_drop(ngx_http_rtbus_sio_t *sio);

/* closes the carrier; NGX_ERROR, for the caller to return */

ngx_int_t ngx_http_rtbus_sio_fail(ngx_http_rtbus_sio_t *sio,
    const char *reason);
ngx_int_t ngx_http_rtbus_sio_nomem(ngx_http_rtbus_sio_t *sio);


#endif /* _NGX_HTTP_RTBUS_SIO_SOCKET_H_INCLUDED_ */
