
#include "ngx_http_rtbus_cors.h"
#include "ngx_http_rtbus_access.h"
#include "ngx_http_rtbus_capture.h"
#include "ngx_http_rtbus_origin.h"
#include "ngx_http_rtbus_status.h"
#include "ngx_http_rtbus_reply.h"


static ngx_int_t ngx_http_rtbus_cors_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_rtbus_cors_filter(ngx_http_request_t *r);
static ngx_uint_t ngx_http_rtbus_cors_served(ngx_http_rtbus_loc_conf_t *rlcf);
static ngx_uint_t ngx_http_rtbus_cors_there(ngx_http_request_t *r);


static ngx_http_output_header_filter_pt  ngx_http_rtbus_next_header_filter;


ngx_int_t
ngx_http_rtbus_cors_init(ngx_conf_t *cf)
{
    ngx_array_t                *handlers;
    ngx_http_handler_pt        *h;
    ngx_http_core_main_conf_t  *cmcf;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    handlers = &cmcf->phases[NGX_HTTP_PREACCESS_PHASE].handlers;

    if (ngx_array_push(handlers) == NULL) {
        return NGX_ERROR;
    }

    /*
     * The first in the array is called last: behind limit_req and the like,
     * in front of whatever asks who it is.
     */

    h = handlers->elts;

    ngx_memmove(h + 1, h, (handlers->nelts - 1) * sizeof(ngx_http_handler_pt));

    h[0] = ngx_http_rtbus_cors_handler;

    ngx_http_rtbus_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_rtbus_cors_filter;

    return NGX_OK;
}


/* a preflight is answered as the content handler would do it */

static ngx_int_t
ngx_http_rtbus_cors_handler(ngx_http_request_t *r)
{
    ngx_http_rtbus_loc_conf_t  *rlcf;

    if (r->method != NGX_HTTP_OPTIONS || r != r->main) {
        return NGX_DECLINED;
    }

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    if (!ngx_http_rtbus_cors_served(rlcf)
        || ngx_http_rtbus_header_in(r, "origin", sizeof("origin") - 1) == NULL
        || ngx_http_rtbus_header_in(r, "access-control-request-method",
                                sizeof("access-control-request-method") - 1)
           == NULL)
    {
        return NGX_DECLINED;
    }

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus preflight of \"%V\"", &r->uri);

    /* no further phases */

    r->write_event_handler = ngx_http_request_empty_handler;

    ngx_http_finalize_request(r, rlcf->handler(r));

    return NGX_DONE;
}


/*
 * Without these headers a page sees no status, only that something has failed.
 * What has been through ngx_http_rtbus_admit() has them, or must not: of that,
 * answers are never conditional.
 */

static ngx_int_t
ngx_http_rtbus_cors_filter(ngx_http_request_t *r)
{
    ngx_int_t                   rc;
    ngx_http_rtbus_loc_conf_t  *rlcf;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    if (rlcf->handler == NULL || r != r->main) {
        return ngx_http_rtbus_next_header_filter(r);
    }

    if ((r->headers_out.status < NGX_HTTP_BAD_REQUEST
         && r->err_status < NGX_HTTP_BAD_REQUEST)
        || r->disable_not_modified
        || !ngx_http_rtbus_cors_served(rlcf)
        || ngx_http_rtbus_cors_there(r))
    {
        return ngx_http_rtbus_next_header_filter(r);
    }

    rc = ngx_http_rtbus_check_origin(r);

    if (rc == NGX_ERROR
        || (rc == NGX_OK && ngx_http_rtbus_cors(r) != NGX_OK))
    {
        return NGX_ERROR;
    }

    return ngx_http_rtbus_next_header_filter(r);
}


/* the others are not for pages, and in front of an application it is that one's */

static ngx_uint_t
ngx_http_rtbus_cors_served(ngx_http_rtbus_loc_conf_t *rlcf)
{
    return rlcf->handler
           && rlcf->handler != ngx_http_rtbus_status_handler
           && rlcf->handler != ngx_http_rtbus_health_handler
           && rlcf->handler != ngx_http_rtbus_capture_handler
           && rlcf->protocols != NGX_HTTP_RTBUS_WEBSOCKET;
}


static ngx_uint_t
ngx_http_rtbus_cors_there(ngx_http_request_t *r)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    for (part = &r->headers_out.headers.part; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {
            if (h[i].hash
                && h[i].key.len == sizeof("Access-Control-Allow-Origin") - 1
                && ngx_strncasecmp(h[i].key.data,
                                   (u_char *) "Access-Control-Allow-Origin",
                                   h[i].key.len)
                   == 0)
            {
                return 1;
            }
        }
    }

    return 0;
}
