
/*
 * The upgrade of a session from long-polling to WebSocket.  Where the WebSocket
 * is at the owner of the session, its carrier is changed; at another worker the
 * session moves there as a whole, so that from then on its events do not travel
 * from worker to worker.
 */


#ifndef _NGX_HTTP_RTBUS_UPGRADE_H_INCLUDED_
#define _NGX_HTTP_RTBUS_UPGRADE_H_INCLUDED_


#include "ngx_http_rtbus_session.h"


/*
 * Answers a request with "transport=websocket" and a session id as its content
 * handler.
 */

ngx_int_t ngx_http_rtbus_upgrade_request(ngx_http_request_t *r,
    ngx_str_t *sid, const ngx_http_rtbus_eio_handlers_t *handlers);


/* for sessions: */

/* a WebSocket of another worker wants to have the session: _OK, it may try */

ngx_http_rtbus_eio_error_e ngx_http_rtbus_upgrade_asked(
    ngx_http_rtbus_session_t *s, ngx_http_rtbus_relay_from_t *from);

/* what it says later: NGX_OK, or NGX_DECLINED: that is something else */

ngx_int_t ngx_http_rtbus_upgrade_told(ngx_http_rtbus_session_t *s,
    ngx_str_t *kind, rtbus_str_t *message, ngx_http_rtbus_relay_from_t *from);

/* a poll has come: it is not to wait for long if an upgrade waits for it */

void ngx_http_rtbus_upgrade_hurry(ngx_http_rtbus_session_t *s);


#endif /* _NGX_HTTP_RTBUS_UPGRADE_H_INCLUDED_ */
