
/*
 * CORS where the content handler has no say: preflights, which carry no
 * credentials, are answered before anything asks for some; and what nginx or
 * another module answers instead of us tells a page that was let in what is
 * wrong.  The rest is in ngx_http_rtbus_reply.
 */


#ifndef _NGX_HTTP_RTBUS_CORS_H_INCLUDED_
#define _NGX_HTTP_RTBUS_CORS_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


/* installs both, at postconfiguration; NGX_OK or NGX_ERROR */

ngx_int_t ngx_http_rtbus_cors_init(ngx_conf_t *cf);


#endif /* _NGX_HTTP_RTBUS_CORS_H_INCLUDED_ */
