
#include "ngx_http_rtbus_replay_conf.h"
#include "ngx_http_rtbus_main.h"
#include "ngx_http_rtbus_name.h"
#include "ngx_http_rtbus_replay.h"


static char *ngx_http_rtbus_replay_param(ngx_conf_t *cf,
    ngx_http_rtbus_replay_conf_t *conf, ngx_str_t *param);


char *
ngx_http_rtbus_replay_set(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_rtbus_loc_conf_t *rlcf = conf;

    char                          *rv;
    ngx_str_t                     *value;
    ngx_uint_t                     i;
    ngx_http_rtbus_replay_conf_t  *rpcf;
    ngx_http_rtbus_main_conf_t    *rmcf;

    if (rlcf->replay) {
        return "is duplicate";
    }

    rpcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_rtbus_replay_conf_t));
    if (rpcf == NULL) {
        return NGX_CONF_ERROR;
    }

    rpcf->none = NGX_HTTP_NO_CONTENT;
    rpcf->done = 10000;
    rpcf->id = NGX_CONF_UNSET_UINT;

    value = cf->args->elts;

    rpcf->channel = ngx_http_rtbus_name_create(cf, &value[1]);
    if (rpcf->channel == NULL) {
        return NGX_CONF_ERROR;
    }

    for (i = 2; i < cf->args->nelts; i++) {
        rv = ngx_http_rtbus_replay_param(cf, rpcf, &value[i]);

        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    if (rpcf->count != NGX_HTTP_RTBUS_COUNT_NONE && rpcf->after == NULL) {
        return "has \"count\" without \"after\"";
    }

    rlcf->replay = rpcf;

    rmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_rtbus_module);
    rmcf->used = 1;

    return NGX_CONF_OK;
}


static char *
ngx_http_rtbus_replay_param(ngx_conf_t *cf, ngx_http_rtbus_replay_conf_t *conf,
    ngx_str_t *param)
{
    ngx_str_t  s;

    if (param->len > 6 && ngx_strncmp(param->data, "after=", 6) == 0
        && conf->after == NULL)
    {
        s.data = param->data + 6;
        s.len = param->len - 6;

        conf->after = ngx_palloc(cf->pool, sizeof(ngx_http_rtbus_name_t));
        if (conf->after == NULL) {
            return NGX_CONF_ERROR;
        }

        return (ngx_http_rtbus_name_cut(cf, &s, conf->after) == NGX_OK)
               ? NGX_CONF_OK : NGX_CONF_ERROR;
    }

    if (ngx_strcmp(param->data, "count=seq") == 0) {
        conf->count = NGX_HTTP_RTBUS_COUNT_SEQ;
        return NGX_CONF_OK;
    }

    if (ngx_strcmp(param->data, "count=index") == 0) {
        conf->count = NGX_HTTP_RTBUS_COUNT_INDEX;
        return NGX_CONF_OK;
    }

    if (ngx_strcmp(param->data, "count=responses") == 0) {
        conf->count = NGX_HTTP_RTBUS_COUNT_RESPONSES;
        return NGX_CONF_OK;
    }

    if (ngx_strcmp(param->data, "none=204") == 0) {
        conf->none = NGX_HTTP_NO_CONTENT;
        return NGX_CONF_OK;
    }

    if (ngx_strcmp(param->data, "none=404") == 0) {
        conf->none = NGX_HTTP_NOT_FOUND;
        return NGX_CONF_OK;
    }

    if (ngx_strncmp(param->data, "done=", 5) == 0) {

        s.data = param->data + 5;
        s.len = param->len - 5;

        conf->done = ngx_parse_time(&s, 0);

        if (conf->done != (ngx_msec_t) NGX_ERROR) {
            return NGX_CONF_OK;
        }
    }

    if (ngx_strcmp(param->data, "id=on") == 0) {
        conf->id = 1;
        return NGX_CONF_OK;
    }

    if (ngx_strcmp(param->data, "id=off") == 0) {
        conf->id = 0;
        return NGX_CONF_OK;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid parameter \"%V\"",
                       param);
    return NGX_CONF_ERROR;
}
