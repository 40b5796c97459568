
/*
 * The upgrade of a session to a WebSocket of another worker, at the owner of
 * the session: what that worker asks, and the session given away.
 */


#ifndef _NGX_HTTP_RTBUS_UPGRADE_REMOTE_H_INCLUDED_
#define _NGX_HTTP_RTBUS_UPGRADE_REMOTE_H_INCLUDED_


#include "ngx_http_rtbus_session.h"


/* a WebSocket of another worker wants to have the session: _OK, it may try */

ngx_http_rtbus_eio_error_e ngx_http_rtbus_upgrade_remote_asked(
    ngx_http_rtbus_session_t *s, ngx_http_rtbus_relay_from_t *from);

/* what it says later: NGX_OK, or NGX_DECLINED: that is something else */

ngx_int_t ngx_http_rtbus_upgrade_remote_told(ngx_http_rtbus_session_t *s,
    ngx_str_t *kind, rtbus_str_t *message, ngx_http_rtbus_relay_from_t *from);


#endif /* _NGX_HTTP_RTBUS_UPGRADE_REMOTE_H_INCLUDED_ */
