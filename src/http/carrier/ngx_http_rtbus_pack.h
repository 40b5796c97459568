
/*
 * What a request is made of, as bytes, and a request made of them: its line,
 * headers, variables and captures.
 *
 * A string is its length and then, if it is a part of the request line, its
 * place there, in 2 bytes each.
 */


#ifndef _NGX_HTTP_RTBUS_PACK_H_INCLUDED_
#define _NGX_HTTP_RTBUS_PACK_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


/* the caller sets pos, last and line; full: there was not room for all of it */

typedef struct {
    u_char                  *pos;
    u_char                  *last;
    ngx_str_t                line;
    ngx_uint_t               full;          /* unsigned  full:1; */
} ngx_http_rtbus_packer_t;


void ngx_http_rtbus_pack(ngx_http_rtbus_packer_t *packer,
    ngx_http_request_t *r);

/* fills in r, whose pool and lists are there; NGX_OK or NGX_ERROR: no memory */

ngx_int_t ngx_http_rtbus_unpack(ngx_http_request_t *r, u_char *p);

/*
 * Parts of it, in their order, for the log: the line, the number of headers,
 * key and value of each.
 */

void ngx_http_rtbus_unpack_text(u_char **p, ngx_str_t *str);
ngx_uint_t ngx_http_rtbus_unpack_number(u_char **p);


#endif /* _NGX_HTTP_RTBUS_PACK_H_INCLUDED_ */
