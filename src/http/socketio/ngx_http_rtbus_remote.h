
/*
 * Requests that have come to another worker than the one that has the session,
 * at both ends: the worker that has the client asks the owner of the session,
 * and gives its answer to the client.
 *
 *   "get", "post", "upgrade"                  to the owner, wants an answer
 *   "abort", "flush", "lost", "still", "done"  what has become of a poll
 *   "sure"                                     from the owner: is one done
 */


#ifndef _NGX_HTTP_RTBUS_REMOTE_H_INCLUDED_
#define _NGX_HTTP_RTBUS_REMOTE_H_INCLUDED_


#include "ngx_http_rtbus_session.h"


/* other workers may ask, and be asked, from now on: NGX_OK or NGX_ERROR */

ngx_int_t ngx_http_rtbus_remote_init(ngx_http_rtbus_worker_t *worker,
    ngx_cycle_t *cycle);

/* the worker leaves: its clients are to ask another one, with nothing lost */

void ngx_http_rtbus_remote_drain(ngx_http_rtbus_worker_t *worker);

/*
 * Asks the owner of the session to do what the request wants; body NULL: it is
 * a poll.  _OK: the request waits, the caller counts it; or what is wrong.
 */

ngx_http_rtbus_eio_error_e ngx_http_rtbus_remote_request(
    ngx_http_request_t *r, ngx_str_t *sid, ngx_str_t *body);

/*
 * A poll has come to our session, from that worker, or from our own client
 * (NULL).  If it is not certain that the answer to the poll before has arrived
 * at another worker, the poll waits until that one has said so.
 */

void ngx_http_rtbus_remote_doubt(ngx_http_rtbus_session_t *s,
    ngx_http_rtbus_relay_from_t *from);

/*
 * What the next CONNECT packet of a post is granted, as the worker that has its
 * request says: NGX_OK, or NGX_DECLINED: nothing is said.
 */

ngx_int_t ngx_http_rtbus_remote_grant(ngx_http_rtbus_carrier_t *car,
    rtbus_json_value_t *value);


#endif /* _NGX_HTTP_RTBUS_REMOTE_H_INCLUDED_ */
