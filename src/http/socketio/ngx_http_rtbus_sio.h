
/*
 * Socket.IO, protocol 5, over an Engine.IO session: namespaces, events and
 * acknowledgements, connection state recovery.
 *
 * Each namespace that the client connects to is a socket, a client of its own.
 * An event is emitted as (name, data, cursor).  The stock client keeps the last
 * string argument as "offset" and sends it back with its "pid" when it connects
 * again; nothing of it is kept here.
 */


#ifndef _NGX_HTTP_RTBUS_SIO_H_INCLUDED_
#define _NGX_HTTP_RTBUS_SIO_H_INCLUDED_


#include "ngx_http_rtbus_sio_socket.h"


/* answers a request to a "rtbus socketio" location as its content handler */

ngx_int_t ngx_http_rtbus_sio_handler(ngx_http_request_t *r);

/* fills in a namespace at configuration time; the name is set */

void ngx_http_rtbus_sio_nsp(ngx_http_rtbus_nsp_t *nsp, ngx_uint_t recovery);

/* rtbus_namespaces */

char *ngx_http_rtbus_conf_namespaces(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/*
 * A location of Socket.IO gets a copy of conf->namespaces of its own, or the
 * default one: NGX_OK or NGX_ERROR.
 */

ngx_int_t ngx_http_rtbus_sio_merge(ngx_conf_t *cf,
    ngx_http_rtbus_loc_conf_t *conf);


#endif /* _NGX_HTTP_RTBUS_SIO_H_INCLUDED_ */
