
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


#include "ngx_http_rtbus_module.h"


/* a namespace of a location, and how its events are written */

typedef struct {
    ngx_rtbus_format_t     format;     /* the first member */
    ngx_str_t              name;       /* with its slash */
    ngx_uint_t             recovery;   /* unsigned  recovery:1; */
} ngx_http_rtbus_nsp_t;


/* answers a request to a "rtbus socketio" location as its content handler */

ngx_int_t ngx_http_rtbus_sio_handler(ngx_http_request_t *r);

/* fills in a namespace at configuration time; the name is set */

void ngx_http_rtbus_sio_nsp(ngx_http_rtbus_nsp_t *nsp, ngx_uint_t recovery);


#endif /* _NGX_HTTP_RTBUS_SIO_H_INCLUDED_ */
