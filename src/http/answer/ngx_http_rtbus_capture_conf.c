
#include "ngx_http_rtbus_capture_conf.h"
#include "ngx_http_rtbus_capture.h"
#include "ngx_http_rtbus_main.h"
#include "ngx_http_rtbus_name.h"
#include "ngx_http_rtbus_variable.h"


typedef enum {
    NGX_HTTP_RTBUS_CAPTURE_STATUS = 0,
    NGX_HTTP_RTBUS_CAPTURE_EVENTS,
    NGX_HTTP_RTBUS_CAPTURE_USAGE
} ngx_http_rtbus_capture_var_e;


static ngx_int_t ngx_http_rtbus_capture_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static char *ngx_http_rtbus_capture_param(ngx_conf_t *cf,
    ngx_http_rtbus_capture_conf_t *conf, ngx_str_t *param);


static ngx_http_variable_t  ngx_http_rtbus_capture_vars[] = {

    { ngx_string("rtbus_capture"), NULL, ngx_http_rtbus_capture_variable,
      NGX_HTTP_RTBUS_CAPTURE_STATUS, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("rtbus_capture_events"), NULL,
      ngx_http_rtbus_capture_variable, NGX_HTTP_RTBUS_CAPTURE_EVENTS,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("rtbus_capture_usage"), NULL,
      ngx_http_rtbus_capture_variable, NGX_HTTP_RTBUS_CAPTURE_USAGE,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

      ngx_http_null_variable
};


ngx_int_t
ngx_http_rtbus_capture_variables(ngx_conf_t *cf)
{
    return ngx_http_rtbus_variables_add(cf, ngx_http_rtbus_capture_vars);
}


static ngx_int_t
ngx_http_rtbus_capture_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    u_char                    *p;
    const char                *text;
    ngx_http_rtbus_capture_t  *ctx;

    ctx = ngx_http_rtbus_capture_find(r);

    v->not_found = 1;

    if (ctx == NULL || ctx->state == NGX_HTTP_RTBUS_CAPTURE_CLAIM
        || (ctx->state == NGX_HTTP_RTBUS_CAPTURE_PASS
            && ctx->status == RTBUS_JOB_RUNNING))
    {
        return NGX_OK;
    }

    if (ctx->state == NGX_HTTP_RTBUS_CAPTURE_ATTACHED
        && data != NGX_HTTP_RTBUS_CAPTURE_STATUS)
    {
        return NGX_OK;
    }

    switch (data) {

    case NGX_HTTP_RTBUS_CAPTURE_STATUS:

        if (ctx->state == NGX_HTTP_RTBUS_CAPTURE_ATTACHED) {
            text = "attached";

        } else if (ctx->status == RTBUS_JOB_COMPLETED) {
            text = "done";

        } else if (ctx->status != RTBUS_JOB_RUNNING) {
            text = rtbus_job_statuses[ctx->status];

        } else {
            text = (ctx->state == NGX_HTTP_RTBUS_CAPTURE_WAIT)
                   ? "failed" : "interrupted";
        }

        v->data = (u_char *) text;
        v->len = ngx_strlen(text);
        break;

    case NGX_HTTP_RTBUS_CAPTURE_EVENTS:

        p = ngx_pnalloc(r->pool, NGX_INT64_LEN);
        if (p == NULL) {
            return NGX_ERROR;
        }

        v->data = p;
        v->len = ngx_sprintf(p, "%uL", ctx->events) - p;
        break;

    default: /* NGX_HTTP_RTBUS_CAPTURE_USAGE */

        if (ctx->llm.usage.len == 0) {
            return NGX_OK;
        }

        v->data = ctx->llm.usage.data;
        v->len = ctx->llm.usage.len;
    }

    v->valid = 1;
    v->no_cacheable = 1;
    v->not_found = 0;

    return NGX_OK;
}


char *
ngx_http_rtbus_capture_set(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_rtbus_loc_conf_t *rlcf = conf;

    char                           *rv;
    ngx_str_t                      *value;
    ngx_uint_t                      i;
    ngx_http_rtbus_main_conf_t     *rmcf;
    ngx_http_rtbus_capture_conf_t  *ccf;

    if (rlcf->capture != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "off") == 0) {
        rlcf->capture = NULL;
        return NGX_CONF_OK;
    }

    ccf = ngx_pcalloc(cf->pool, sizeof(ngx_http_rtbus_capture_conf_t));
    if (ccf == NULL) {
        return NGX_CONF_ERROR;
    }

    ccf->format = RTBUS_LLM_AUTO;
    ccf->busy = NGX_RTBUS_JOB_REJECT;
    ccf->keep = 300;
    ccf->max = 16 * 1024 * 1024;

    ccf->channel = ngx_http_rtbus_name_create(cf, &value[1]);
    if (ccf->channel == NULL) {
        return NGX_CONF_ERROR;
    }

    for (i = 2; i < cf->args->nelts; i++) {
        rv = ngx_http_rtbus_capture_param(cf, ccf, &value[i]);

        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    rlcf->capture = ccf;
    rlcf->capturing = 1;

    rmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_rtbus_module);
    rmcf->used = 1;
    rmcf->captures = 1;

    return NGX_CONF_OK;
}


static char *
ngx_http_rtbus_capture_param(ngx_conf_t *cf,
    ngx_http_rtbus_capture_conf_t *conf, ngx_str_t *param)
{
    size_t                             len;
    ssize_t                            size;
    ngx_str_t                          s;
    ngx_uint_t                         i;
    ngx_http_compile_complex_value_t   ccv;

    static const struct {
        const char  *text;
        ngx_uint_t   busy;
    } modes[] = {
        { "busy=reject", NGX_RTBUS_JOB_REJECT },
        { "busy=attach", NGX_RTBUS_JOB_ATTACH },
        { "busy=replace", NGX_RTBUS_JOB_REPLACE }
    };

    for (i = 0; i < 3; i++) {
        if (ngx_strcmp(param->data, modes[i].text) == 0) {
            conf->busy = modes[i].busy;
            return NGX_CONF_OK;
        }
    }

    if (ngx_strcmp(param->data, "disconnect=continue") == 0
        || ngx_strcmp(param->data, "disconnect=cancel") == 0)
    {
        conf->cancel = (param->data[sizeof("disconnect=c") - 1] == 'a');
        return NGX_CONF_OK;
    }

    if (ngx_strcmp(param->data, "ids=on") == 0
        || ngx_strcmp(param->data, "ids=off") == 0)
    {
        conf->ids = (param->data[sizeof("ids=o") - 1] == 'n');
        return NGX_CONF_OK;
    }

    if (ngx_strcmp(param->data, "fail=open") == 0
        || ngx_strcmp(param->data, "fail=closed") == 0)
    {
        conf->closed = (param->data[sizeof("fail=") - 1] == 'c');
        return NGX_CONF_OK;
    }

    for (len = 0; len < param->len && param->data[len] != '='; len++) {
        /* void */
    }

    s.data = param->data + len + 1;
    s.len = (len < param->len) ? param->len - len - 1 : 0;

    if (len == 6 && ngx_strncmp(param->data, "format", 6) == 0) {
        conf->format = rtbus_llm_name(rtbus_llm_names, RTBUS_LLM_FORMATS,
                                      s.data, s.len);

        if (conf->format < RTBUS_LLM_FORMATS) {
            return NGX_CONF_OK;
        }
    }

    if (len == 4 && ngx_strncmp(param->data, "keep", 4) == 0) {
        conf->keep = ngx_parse_time(&s, 1);

        if (conf->keep != (time_t) NGX_ERROR && conf->keep > 0) {
            return NGX_CONF_OK;
        }
    }

    if (len == 3 && ngx_strncmp(param->data, "max", 3) == 0) {
        size = ngx_parse_size(&s);

        if (size != NGX_ERROR && size > 0) {
            conf->max = (size_t) size;
            return NGX_CONF_OK;
        }
    }

    if (len == 2 && s.len && ngx_strncmp(param->data, "id", 2) == 0) {

        conf->id = ngx_palloc(cf->pool, sizeof(ngx_http_complex_value_t));
        if (conf->id == NULL) {
            return NGX_CONF_ERROR;
        }

        ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

        ccv.cf = cf;
        ccv.value = &s;
        ccv.complex_value = conf->id;

        return (ngx_http_compile_complex_value(&ccv) == NGX_OK)
               ? NGX_CONF_OK : NGX_CONF_ERROR;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid parameter \"%V\"",
                       param);
    return NGX_CONF_ERROR;
}
