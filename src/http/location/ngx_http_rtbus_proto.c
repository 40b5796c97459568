
#include "ngx_http_rtbus_proto.h"
#include "ngx_http_rtbus_handler.h"
#include "ngx_http_rtbus_plain.h"
#include "ngx_http_rtbus_sio.h"
#include "ngx_http_rtbus_sse.h"
#include "ngx_http_rtbus_ws.h"


static ngx_int_t ngx_http_rtbus_proto_handler(ngx_http_request_t *r);


char *
ngx_http_rtbus_conf_proto(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_rtbus_loc_conf_t *rlcf = conf;

    ngx_str_t   *value;
    ngx_uint_t   i, bit;

    if (rlcf->protocols) {
        return "is duplicate";
    }

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        if (ngx_strcmp(value[i].data, "websocket") == 0) {
            bit = NGX_HTTP_RTBUS_WEBSOCKET;

        } else if (ngx_strcmp(value[i].data, "sse") == 0) {
            bit = NGX_HTTP_RTBUS_SSE;

        } else if (ngx_strcmp(value[i].data, "socketio") == 0) {
            bit = NGX_HTTP_RTBUS_SOCKETIO;

        } else {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid protocol \"%V\", it must be "
                               "\"socketio\", \"websocket\" or \"sse\"",
                               &value[i]);
            return NGX_CONF_ERROR;
        }

        if (rlcf->protocols & bit) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "duplicate protocol \"%V\"", &value[i]);
            return NGX_CONF_ERROR;
        }

        rlcf->protocols |= bit;
    }

    if ((rlcf->protocols & NGX_HTTP_RTBUS_SOCKETIO)
        && rlcf->protocols != NGX_HTTP_RTBUS_SOCKETIO)
    {
        return "cannot serve \"socketio\" and another protocol at one location";
    }

    return (ngx_http_rtbus_handler_set(cf, ngx_http_rtbus_proto_handler)
            == NGX_OK) ? NGX_CONF_OK : NGX_CONF_ERROR;
}


static ngx_int_t
ngx_http_rtbus_proto_handler(ngx_http_request_t *r)
{
    ngx_http_rtbus_loc_conf_t  *rlcf;

    if (r != r->main) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "rtbus: client in a subrequest \"%V\"", &r->uri);
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    if (rlcf->protocols == NGX_HTTP_RTBUS_SOCKETIO) {
        return ngx_http_rtbus_sio_handler(r);
    }

    /* where both are served, whoever does not ask for WebSocket gets SSE */

    if (rlcf->protocols == NGX_HTTP_RTBUS_WEBSOCKET
        || ((rlcf->protocols & NGX_HTTP_RTBUS_WEBSOCKET)
            && ngx_http_rtbus_ws_asked(r)))
    {
        return ngx_http_rtbus_plain_handler(r);
    }

    return ngx_http_rtbus_sse_handler(r);
}
