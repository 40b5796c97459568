
#include "ngx_http_rtbus_handler.h"


ngx_int_t
ngx_http_rtbus_handler_set(ngx_conf_t *cf, ngx_http_handler_pt handler)
{
    ngx_http_core_loc_conf_t    *clcf;
    ngx_http_rtbus_loc_conf_t   *rlcf;
    ngx_http_rtbus_main_conf_t  *rmcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->handler) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the location has a content handler already");
        return NGX_ERROR;
    }

    clcf->handler = handler;

    rlcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_rtbus_module);
    rlcf->handler = handler;

    rmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_rtbus_module);
    rmcf->used = 1;

    return NGX_OK;
}
