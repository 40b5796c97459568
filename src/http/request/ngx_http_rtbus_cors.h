
/*
 * CORS: which requests of pages are let in, and the headers without which a
 * page does not see the answer.
 *
 * Two things happen where the content handler has no say.  Preflights carry no
 * credentials, so they are answered before any module asks for some.  And if
 * nginx or another module answers in our place, the headers are added to that
 * answer, so that the page learns what is wrong.
 */


#ifndef _NGX_HTTP_RTBUS_CORS_H_INCLUDED_
#define _NGX_HTTP_RTBUS_CORS_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


/*
 * The first thing in a content handler that answers JSON: checks the origin
 * and the method (as a mask, and as the text of the Allow header).  With
 * NGX_OK, unless r->header_sent, the handler goes on, and its answer will have
 * the CORS headers, whatever it is; otherwise the handler returns what it got.
 *
 * OPTIONS is answered here: 204 and what is allowed for a preflight, 403 for a
 * foreign origin, 405 without an origin.
 */

ngx_int_t ngx_http_rtbus_admit(ngx_http_request_t *r, ngx_uint_t mask,
    const char *methods);

/*
 * Adds Access-Control-Allow-Origin and the like if the request has an Origin,
 * which has been checked.  NGX_OK or NGX_ERROR.
 */

ngx_int_t ngx_http_rtbus_cors(ngx_http_request_t *r);

/*
 * Installs the handler of preflights and the filter of errors, at
 * postconfiguration.  NGX_OK or NGX_ERROR.
 */

ngx_int_t ngx_http_rtbus_cors_init(ngx_conf_t *cf);


#endif /* _NGX_HTTP_RTBUS_CORS_H_INCLUDED_ */
