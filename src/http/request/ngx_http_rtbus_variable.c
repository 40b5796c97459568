
#include "ngx_http_rtbus_variable.h"


static ngx_uint_t ngx_http_rtbus_variable_pure(ngx_http_request_t *r,
    ngx_http_variable_t *v, ngx_http_variable_value_t *vv);


ngx_int_t
ngx_http_rtbus_variables_add(ngx_conf_t *cf, ngx_http_variable_t *vars)
{
    ngx_http_variable_t  *var, *v;

    for (v = vars; v->name.len; v++) {

        var = ngx_http_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    return NGX_OK;
}


/*
 * nginx does not know which variables depend on which.  But every stored value
 * was evaluated with the present one: if a second evaluation gives the same,
 * the value can be forgotten and evaluated again at any time.  A value that
 * was set cannot.
 */

ngx_int_t
ngx_http_rtbus_variables_renew(ngx_http_request_t *r, ngx_int_t index,
    ngx_int_t second, ngx_str_t *value)
{
    u_char                     *pure;
    ngx_int_t                   i, n;
    ngx_http_variable_t        *v;
    ngx_http_variable_value_t  *vv;
    ngx_http_core_main_conf_t  *cmcf;
#if (NGX_PCRE)
    int                        *captures;
    u_char                     *captures_data;
    ngx_uint_t                  ncaptures;
#endif

    vv = r->variables;

    if (!vv[index].valid
        || ngx_http_rtbus_str_eq(&vv[index], value))
    {
        return NGX_OK;
    }

    cmcf = ngx_http_get_module_main_conf(r, ngx_http_core_module);

    v = cmcf->variables.elts;
    n = cmcf->variables.nelts;

    pure = ngx_calloc(n, r->connection->log);
    if (pure == NULL) {
        return NGX_ERROR;
    }

#if (NGX_PCRE)

    /* a map may match regular expressions: keep the location's captures */

    captures = r->captures;
    captures_data = r->captures_data;
    ncaptures = r->ncaptures;

    r->captures = NULL;
    r->ncaptures = 0;

#endif

    /* variables depend on each other: first look at all, then forget */

    for (i = 0; i < n; i++) {
        if (i != index && i != second && v[i].get_handler
            && (vv[i].valid || vv[i].not_found))
        {
            pure[i] = ngx_http_rtbus_variable_pure(r, &v[i], &vv[i]);
        }
    }

    for (i = 0; i < n; i++) {
        if (pure[i]) {
            ngx_log_debug1(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                           "rtbus variable \"%V\" is evaluated again",
                           &v[i].name);

            vv[i].valid = 0;
            vv[i].not_found = 0;
        }
    }

#if (NGX_PCRE)

    r->captures = captures;
    r->captures_data = captures_data;
    r->ncaptures = ncaptures;

#endif

    ngx_free(pure);

    return NGX_OK;
}


static ngx_uint_t
ngx_http_rtbus_variable_pure(ngx_http_request_t *r, ngx_http_variable_t *v,
    ngx_http_variable_value_t *vv)
{
    ngx_http_variable_value_t  value;

    ngx_memzero(&value, sizeof(ngx_http_variable_value_t));

    if (v->get_handler(r, &value, v->data) != NGX_OK) {
        return 0;
    }

    return value.valid == vv->valid
           && value.not_found == vv->not_found
           && (!vv->valid
               || ngx_http_rtbus_str_eq(&value, vv));
}
