
#include "ngx_http_rtbus_cors.h"
#include "ngx_http_rtbus_origin.h"
#include "ngx_http_rtbus_reply.h"
#include "ngx_http_rtbus_request.h"


static ngx_int_t ngx_http_rtbus_admit_origin(ngx_http_request_t *r);
static ngx_int_t ngx_http_rtbus_preflight(ngx_http_request_t *r,
    const char *methods);
static ngx_int_t ngx_http_rtbus_cors_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_rtbus_cors_filter(ngx_http_request_t *r);
static ngx_uint_t ngx_http_rtbus_cors_there(ngx_http_request_t *r);


static ngx_http_output_header_filter_pt  ngx_http_rtbus_next_header_filter;


static ngx_str_t  ngx_http_rtbus_vary = ngx_string("Origin");
static ngx_str_t  ngx_http_rtbus_credentials = ngx_string("true");
static ngx_str_t  ngx_http_rtbus_expose = ngx_string("ETag, Retry-After");
static ngx_str_t  ngx_http_rtbus_max_age = ngx_string("600");


ngx_int_t
ngx_http_rtbus_admit(ngx_http_request_t *r, ngx_uint_t mask,
    const char *methods)
{
    ngx_int_t  rc;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus admit \"%V\" to \"%V\"", &r->method_name, &r->uri);

    if (r->method == NGX_HTTP_OPTIONS) {
        return ngx_http_rtbus_preflight(r, methods);
    }

    rc = ngx_http_rtbus_admit_origin(r);
    if (rc != NGX_OK || r->header_sent) {
        return rc;
    }

    if (!(r->method & mask)) {
        return ngx_http_rtbus_not_allowed(r, methods);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_rtbus_admit_origin(ngx_http_request_t *r)
{
    switch (ngx_http_rtbus_check_origin(r)) {

    case NGX_OK:
        break;

    case NGX_DECLINED:
        return ngx_http_rtbus_error(r, NGX_HTTP_FORBIDDEN,
                                    NGX_RTBUS_REASON_ORIGIN, NULL, NULL);

    default: /* NGX_ERROR */
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ngx_http_rtbus_cors(r) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_rtbus_preflight(ngx_http_request_t *r, const char *methods)
{
    ngx_int_t         rc;
    ngx_str_t         value;
    ngx_table_elt_t  *h;

    h = ngx_http_rtbus_header_in(r, "origin", sizeof("origin") - 1);

    if (h == NULL) {
        return ngx_http_rtbus_not_allowed(r, methods);
    }

    rc = ngx_http_rtbus_admit_origin(r);
    if (rc != NGX_OK || r->header_sent) {
        return rc;
    }

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    value.data = (u_char *) methods;
    value.len = ngx_strlen(methods);

    if (ngx_http_rtbus_header(r, "Access-Control-Allow-Methods", &value)
        != NGX_OK
        || ngx_http_rtbus_header(r, "Access-Control-Max-Age",
                                 &ngx_http_rtbus_max_age)
           != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    /* tracers and frameworks add headers of their own: all are allowed */

    h = ngx_http_rtbus_header_in(r, "access-control-request-headers",
                                 sizeof("access-control-request-headers") - 1);

    if (h
        && ngx_http_rtbus_header(r, "Access-Control-Allow-Headers", &h->value)
           != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->headers_out.status = NGX_HTTP_NO_CONTENT;

    return ngx_http_send_header(r);
}


ngx_int_t
ngx_http_rtbus_cors(ngx_http_request_t *r)
{
    ngx_table_elt_t  *h;

    h = ngx_http_rtbus_header_in(r, "origin", sizeof("origin") - 1);

    if (h == NULL) {
        return NGX_OK;
    }

    if (ngx_http_rtbus_header(r, "Access-Control-Allow-Origin", &h->value)
        != NGX_OK
        || ngx_http_rtbus_header(r, "Access-Control-Allow-Credentials",
                                 &ngx_http_rtbus_credentials)
           != NGX_OK
        || ngx_http_rtbus_header(r, "Access-Control-Expose-Headers",
                                 &ngx_http_rtbus_expose)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_rtbus_header(r, "Vary", &ngx_http_rtbus_vary);
}


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
     * The first in the array is called last: after limit_req and the like, and
     * before modules that ask for credentials.
     */

    h = handlers->elts;

    ngx_memmove(h + 1, h, (handlers->nelts - 1) * sizeof(ngx_http_handler_pt));

    h[0] = ngx_http_rtbus_cors_handler;

    ngx_http_rtbus_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_rtbus_cors_filter;

    return NGX_OK;
}


/* answers a preflight as the content handler would do it */

static ngx_int_t
ngx_http_rtbus_cors_handler(ngx_http_request_t *r)
{
    ngx_http_rtbus_loc_conf_t  *rlcf;

    if (r->method != NGX_HTTP_OPTIONS || r != r->main) {
        return NGX_DECLINED;
    }

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    if (rlcf->handler == NULL
        || !rlcf->cors
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
 * Without these headers a page does not see the status, only that something
 * has failed.  Answers after ngx_http_rtbus_admit() have them or must not have
 * them; disable_not_modified tells them from others.
 */

static ngx_int_t
ngx_http_rtbus_cors_filter(ngx_http_request_t *r)
{
    ngx_int_t                   rc;
    ngx_http_rtbus_loc_conf_t  *rlcf;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    if (rlcf->handler == NULL || !rlcf->cors || r != r->main) {
        return ngx_http_rtbus_next_header_filter(r);
    }

    if ((r->headers_out.status < NGX_HTTP_BAD_REQUEST
         && r->err_status < NGX_HTTP_BAD_REQUEST)
        || r->disable_not_modified
        || ngx_http_rtbus_cors_there(r))
    {
        return ngx_http_rtbus_next_header_filter(r);
    }

    rc = ngx_http_rtbus_check_origin(r);

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus cors of an answer that is not ours, status:%ui rc:%i",
                   r->headers_out.status, rc);

    if (rc == NGX_ERROR
        || (rc == NGX_OK && ngx_http_rtbus_cors(r) != NGX_OK))
    {
        return NGX_ERROR;
    }

    return ngx_http_rtbus_next_header_filter(r);
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
