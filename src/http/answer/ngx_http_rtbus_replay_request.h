
/*
 * What a client asks of a replay: which channel, from where on, and whether
 * there is a job that it may have.
 */


#ifndef _NGX_HTTP_RTBUS_REPLAY_REQUEST_H_INCLUDED_
#define _NGX_HTTP_RTBUS_REPLAY_REQUEST_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


ngx_int_t ngx_http_rtbus_replay_handler(ngx_http_request_t *r);

/*
 * Answers a request with the job that runs on a channel, or has ended, whoever
 * the client is; to be returned from a content handler.  last: the cursor
 * behind which the answer begins, or empty.
 */

ngx_int_t ngx_http_rtbus_replay_attach(ngx_http_request_t *r,
    ngx_str_t *channel, ngx_str_t *last);


#endif /* _NGX_HTTP_RTBUS_REPLAY_REQUEST_H_INCLUDED_ */
