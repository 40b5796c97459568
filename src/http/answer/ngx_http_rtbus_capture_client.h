
/*
 * The client's side of an answer that is captured: the handlers that replace
 * those of the upstream's module, the stop of an answer, and its end, which is
 * kept back until Redis has it.
 */


#ifndef _NGX_HTTP_RTBUS_CAPTURE_CLIENT_H_INCLUDED_
#define _NGX_HTTP_RTBUS_CAPTURE_CLIENT_H_INCLUDED_


#include "ngx_http_rtbus_capture.h"


/* of the request: something has happened to the connection of the client */

void ngx_http_rtbus_capture_read(ngx_http_request_t *r);
void ngx_http_rtbus_capture_write(ngx_http_request_t *r);

/* the client gets nothing more, and the upstream is read on */

void ngx_http_rtbus_capture_gone(ngx_http_rtbus_capture_t *ctx,
    const char *reason);

/* handlers of the job, and of ctx->hold */

void ngx_http_rtbus_capture_ended(void *data);
void ngx_http_rtbus_capture_lost(void *data);
void ngx_http_rtbus_capture_held(ngx_event_t *ev);


#endif /* _NGX_HTTP_RTBUS_CAPTURE_CLIENT_H_INCLUDED_ */
