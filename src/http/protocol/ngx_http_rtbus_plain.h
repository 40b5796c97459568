
/*
 * The plain WebSocket protocol: one JSON object per text message, both ways.
 *
 *   server: {"event":...,"data":...,"channel":"...","cursor":"..."}
 *   client: {"event":...,"data":...,"ack":1}
 *   server: {"ack":1,"data":...}
 */


#ifndef _NGX_HTTP_RTBUS_PLAIN_H_INCLUDED_
#define _NGX_HTTP_RTBUS_PLAIN_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


/* answers a request to a "rtbus websocket" location as its content handler */

ngx_int_t ngx_http_rtbus_plain_handler(ngx_http_request_t *r);


#endif /* _NGX_HTTP_RTBUS_PLAIN_H_INCLUDED_ */
