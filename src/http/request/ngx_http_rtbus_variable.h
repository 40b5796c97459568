
/*
 * Variables that nginx has evaluated for one user of a request, and that are to
 * be evaluated for another one: the CONNECTs of one connection have a token
 * each.
 */


#ifndef _NGX_HTTP_RTBUS_VARIABLE_H_INCLUDED_
#define _NGX_HTTP_RTBUS_VARIABLE_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


/*
 * The variable of that index is about to get the value: what was evaluated
 * before by way of it, or of the second one, is forgotten, and what was set
 * ("set", "auth_request_set") stays.  Both are left as they are.  NGX_OK or
 * NGX_ERROR.
 */

ngx_int_t ngx_http_rtbus_variables_renew(ngx_http_request_t *r,
    ngx_int_t index, ngx_int_t second, ngx_str_t *value);


#endif /* _NGX_HTTP_RTBUS_VARIABLE_H_INCLUDED_ */
