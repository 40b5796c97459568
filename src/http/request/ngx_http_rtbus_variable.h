
/*
 * Variables that nginx has evaluated for one user of a request and has to
 * evaluate again for another: each CONNECT of a connection has its own token.
 */


#ifndef _NGX_HTTP_RTBUS_VARIABLE_H_INCLUDED_
#define _NGX_HTTP_RTBUS_VARIABLE_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


/*
 * To be called before the variable of that index gets the value: forgets those
 * that were evaluated with the help of it or of the second one.  Values that
 * were set ("set", "auth_request_set") stay, and so do the two themselves.
 * NGX_OK or NGX_ERROR.
 */

ngx_int_t ngx_http_rtbus_variables_renew(ngx_http_request_t *r,
    ngx_int_t index, ngx_int_t second, ngx_str_t *value);


#endif /* _NGX_HTTP_RTBUS_VARIABLE_H_INCLUDED_ */
