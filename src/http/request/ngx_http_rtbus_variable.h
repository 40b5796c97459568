
/*
 * Variables: adding those of the module, and having nginx evaluate again, for
 * another user, those of a request: each CONNECT of a connection has its own
 * token.
 */


#ifndef _NGX_HTTP_RTBUS_VARIABLE_H_INCLUDED_
#define _NGX_HTTP_RTBUS_VARIABLE_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


/* adds the variables of a table, for preconfiguration: NGX_OK or NGX_ERROR */

ngx_int_t ngx_http_rtbus_variables_add(ngx_conf_t *cf,
    ngx_http_variable_t *vars);

/*
 * To be called before the variable of that index gets the value: forgets those
 * that were evaluated with the help of it or of the second one.  Values that
 * were set ("set", "auth_request_set") stay, and so do the two themselves.
 * NGX_OK or NGX_ERROR.
 */

ngx_int_t ngx_http_rtbus_variables_renew(ngx_http_request_t *r,
    ngx_int_t index, ngx_int_t second, ngx_str_t *value);


#endif /* _NGX_HTTP_RTBUS_VARIABLE_H_INCLUDED_ */
