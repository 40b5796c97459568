
#include "ngx_http_rtbus_log.h"
#include "ngx_http_rtbus_carrier.h"
#include "ngx_http_rtbus_variable.h"


/* RFC 6455 section 7.4.1: the connection was lost without a close code */
#define NGX_HTTP_RTBUS_ABNORMAL  1006


typedef enum {
    NGX_HTTP_RTBUS_LOG_TRANSPORT = 0,
    NGX_HTTP_RTBUS_LOG_CHANNELS,
    NGX_HTTP_RTBUS_LOG_EVENTS,
    NGX_HTTP_RTBUS_LOG_CLOSE
} ngx_http_rtbus_log_e;


static ngx_int_t ngx_http_rtbus_log_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);


static ngx_http_variable_t  ngx_http_rtbus_log_vars[] = {

    { ngx_string("rtbus_transport"), NULL, ngx_http_rtbus_log_variable,
      NGX_HTTP_RTBUS_LOG_TRANSPORT, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("rtbus_channels"), NULL, ngx_http_rtbus_log_variable,
      NGX_HTTP_RTBUS_LOG_CHANNELS, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("rtbus_events"), NULL, ngx_http_rtbus_log_variable,
      NGX_HTTP_RTBUS_LOG_EVENTS, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("rtbus_close"), NULL, ngx_http_rtbus_log_variable,
      NGX_HTTP_RTBUS_LOG_CLOSE, NGX_HTTP_VAR_NOCACHEABLE, 0 },

      ngx_http_null_variable
};


ngx_int_t
ngx_http_rtbus_log_variables(ngx_conf_t *cf)
{
    return ngx_http_rtbus_variables_add(cf, ngx_http_rtbus_log_vars);
}


/* the log is written while the request's pool, and the carrier, still live */

static ngx_int_t
ngx_http_rtbus_log_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    u_char                     *p;
    ngx_str_t                   value;
    ngx_http_rtbus_carrier_t   *car;
    ngx_http_rtbus_loc_conf_t  *rlcf;

    car = ngx_http_rtbus_carrier_of(r);

    if (car == NULL) {

        rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

        if (data == NGX_HTTP_RTBUS_LOG_TRANSPORT
            && rlcf->protocols == NGX_HTTP_RTBUS_SOCKETIO
            && ngx_http_arg(r, (u_char *) "transport", 9, &value) == NGX_OK
            && value.len == 7 && ngx_strncmp(value.data, "polling", 7) == 0)
        {
            /* a session outlives its requests */
            v->data = value.data;
            v->len = value.len;
            v->valid = 1;
            v->no_cacheable = 1;
            v->not_found = 0;
            return NGX_OK;
        }

        v->not_found = 1;
        return NGX_OK;
    }

    v->valid = 1;
    v->no_cacheable = 1;
    v->not_found = 0;

    if (data == NGX_HTTP_RTBUS_LOG_TRANSPORT) {
        v->data = (u_char *) ngx_rtbus_stat_transports[car->kind];
        v->len = ngx_strlen(v->data);
        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, NGX_INT64_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    v->data = p;

    switch (data) {

    case NGX_HTTP_RTBUS_LOG_CHANNELS:
        p = ngx_sprintf(p, "%ui", car->nchannels);
        break;

    case NGX_HTTP_RTBUS_LOG_EVENTS:
        p = ngx_sprintf(p, "%uL", car->events);
        break;

    default: /* NGX_HTTP_RTBUS_LOG_CLOSE */
        p = ngx_sprintf(p, "%ui", car->close_code ? car->close_code
                                          : NGX_HTTP_RTBUS_ABNORMAL);
        break;
    }

    v->len = p - v->data;

    return NGX_OK;
}
