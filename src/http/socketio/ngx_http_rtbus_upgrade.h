
/*
 * The upgrade of a session from long-polling to WebSocket, at the worker that
 * has the WebSocket.  If that is the owner of the session, its carrier is
 * changed.  Otherwise the session moves there as a whole, so that from then on
 * its events do not travel from worker to worker (see _upgrade_remote).
 */


#ifndef _NGX_HTTP_RTBUS_UPGRADE_H_INCLUDED_
#define _NGX_HTTP_RTBUS_UPGRADE_H_INCLUDED_


#include "ngx_http_rtbus_session.h"


/* ms for a WebSocket to finish the upgrade, and for each step of it */
#define NGX_HTTP_RTBUS_UPGRADE_TIMEOUT  10000
#define NGX_HTTP_RTBUS_UPGRADE_STEP     5000


/*
 * Answers a request with "transport=websocket" and a session id as its content
 * handler.
 */

ngx_int_t ngx_http_rtbus_upgrade_request(ngx_http_request_t *r,
    ngx_str_t *sid, const ngx_http_rtbus_eio_handlers_t *handlers);


/* may a WebSocket, of any worker, try to get our session: _OK or _REQUEST */

ngx_http_rtbus_eio_error_e ngx_http_rtbus_upgrade_free(
    ngx_http_rtbus_session_t *s);


#endif /* _NGX_HTTP_RTBUS_UPGRADE_H_INCLUDED_ */
