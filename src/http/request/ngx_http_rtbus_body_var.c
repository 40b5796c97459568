
#include "ngx_http_rtbus_body_var.h"
#include "ngx_http_rtbus_variable.h"
#include <yajl/yajl_parse.h>


#define NGX_HTTP_RTBUS_BODY_READ  65536   /* bytes of a file at a time */
#define NGX_HTTP_RTBUS_BODY_MAX   4096    /* bytes of a value */


/*
 * $rtbus_body_<member>: a string or a whole number at the top level of the
 * request's body.  Of members with the same name the last one counts, as it
 * does in most parsers.
 *
 * nginx has no upper case in names of variables, so $rtbus_body_runId stands
 * for any spelling.  If the body has several spellings, the variable is not
 * found: the application might take another one than we do.
 */

typedef struct {
    ngx_str_t     name;
    ngx_uint_t    depth;
    ngx_uint_t    wanted;      /* the next value is the member's */
    ngx_uint_t    found;       /* value is set */
    ngx_uint_t    several;     /* there are several spellings */
    ngx_uint_t    spelled;     /* spelling is set */
    u_char       *spelling;    /* of the same length as the name */
    size_t        len;
    u_char        value[NGX_HTTP_RTBUS_BODY_MAX];
} ngx_http_rtbus_member_t;


static ngx_int_t ngx_http_rtbus_body_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_rtbus_body_parse(ngx_http_request_t *r,
    yajl_handle parser);
static int ngx_http_rtbus_body_null(void *ctx);
static int ngx_http_rtbus_body_boolean(void *ctx, int value);
static int ngx_http_rtbus_body_number(void *ctx, const char *p, size_t len);
static int ngx_http_rtbus_body_string(void *ctx, const unsigned char *p,
    size_t len);
static int ngx_http_rtbus_body_map(void *ctx);
static int ngx_http_rtbus_body_key(void *ctx, const unsigned char *p,
    size_t len);
static int ngx_http_rtbus_body_array(void *ctx);
static int ngx_http_rtbus_body_close(void *ctx);


static const yajl_callbacks  ngx_http_rtbus_body_callbacks = {
    ngx_http_rtbus_body_null,
    ngx_http_rtbus_body_boolean,
    NULL,
    NULL,
    ngx_http_rtbus_body_number,
    ngx_http_rtbus_body_string,
    ngx_http_rtbus_body_map,
    ngx_http_rtbus_body_key,
    ngx_http_rtbus_body_close,
    ngx_http_rtbus_body_array,
    ngx_http_rtbus_body_close
};


static ngx_http_variable_t  ngx_http_rtbus_body_vars[] = {

    { ngx_string("rtbus_body_"), NULL, ngx_http_rtbus_body_variable, 0,
      NGX_HTTP_VAR_NOCACHEABLE|NGX_HTTP_VAR_PREFIX, 0 },

      ngx_http_null_variable
};


ngx_int_t
ngx_http_rtbus_body_variables(ngx_conf_t *cf)
{
    return ngx_http_rtbus_variables_add(cf, ngx_http_rtbus_body_vars);
}


static ngx_int_t
ngx_http_rtbus_body_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t *name = (ngx_str_t *) data;

    ngx_int_t                 rc;
    yajl_handle               parser;
    ngx_http_rtbus_member_t  *member;

    v->not_found = 1;

    /* the body has to be read before, as rtbus_capture does it */

    if (r->request_body == NULL || r->request_body->bufs == NULL
        || r->reading_body)
    {
        return NGX_OK;
    }

    member = ngx_palloc(r->pool, sizeof(ngx_http_rtbus_member_t));
    if (member == NULL) {
        return NGX_ERROR;
    }

    member->name.data = name->data + sizeof("rtbus_body_") - 1;
    member->name.len = name->len - (sizeof("rtbus_body_") - 1);
    member->depth = 0;
    member->wanted = 0;
    member->found = 0;
    member->several = 0;
    member->spelled = 0;

    member->spelling = ngx_pnalloc(r->pool, member->name.len + 1);
    if (member->spelling == NULL) {
        return NGX_ERROR;
    }

    parser = yajl_alloc(&ngx_http_rtbus_body_callbacks, NULL, member);
    if (parser == NULL) {
        return NGX_ERROR;
    }

    rc = ngx_http_rtbus_body_parse(r, parser);

    yajl_free(parser);

    if (rc == NGX_ERROR) {
        return NGX_ERROR;
    }

    ngx_log_debug4(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus body member \"%V\" rc:%i found:%ui several:%ui",
                   &member->name, rc, member->found, member->several);

    if (rc == NGX_DECLINED || !member->found || member->several) {
        return NGX_OK;
    }

    v->data = member->value;
    v->len = member->len;
    v->valid = 1;
    v->no_cacheable = 1;
    v->not_found = 0;

    return NGX_OK;
}


/* NGX_OK, NGX_DECLINED: the body is not JSON, NGX_ERROR */

static ngx_int_t
ngx_http_rtbus_body_parse(ngx_http_request_t *r, yajl_handle parser)
{
    off_t         offset;
    u_char       *buf;
    size_t        n;
    ssize_t       size;
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    buf = NULL;

    for (cl = r->request_body->bufs; cl; cl = cl->next) {
        b = cl->buf;

        if (ngx_buf_in_memory(b)) {

            if (yajl_parse(parser, b->pos, b->last - b->pos)
                != yajl_status_ok)
            {
                return NGX_DECLINED;
            }

            continue;
        }

        if (!b->in_file) {
            continue;
        }

        if (buf == NULL) {
            buf = ngx_palloc(r->pool, NGX_HTTP_RTBUS_BODY_READ);
            if (buf == NULL) {
                return NGX_ERROR;
            }
        }

        for (offset = b->file_pos; offset < b->file_last; offset += size) {

            n = (size_t) ngx_min(b->file_last - offset,
                                 NGX_HTTP_RTBUS_BODY_READ);

            size = ngx_read_file(b->file, buf, n, offset);

            if (size <= 0) {
                return NGX_ERROR;
            }

            if (yajl_parse(parser, buf, size) != yajl_status_ok) {
                return NGX_DECLINED;
            }
        }
    }

    return (yajl_complete_parse(parser) == yajl_status_ok) ? NGX_OK
                                                           : NGX_DECLINED;
}


/* takes the value of the member; len -1: neither a string nor a number */

static void
ngx_http_rtbus_body_take(ngx_http_rtbus_member_t *member, const u_char *p,
    ssize_t len)
{
    if (!member->wanted || member->depth != 1) {
        return;
    }

    member->wanted = 0;
    member->found = 0;

    if (len < 0 || len > NGX_HTTP_RTBUS_BODY_MAX) {
        return;
    }

    ngx_memcpy(member->value, p, len);

    member->len = len;
    member->found = 1;
}


static int
ngx_http_rtbus_body_null(void *ctx)
{
    ngx_http_rtbus_body_take(ctx, NULL, -1);
    return 1;
}


static int
ngx_http_rtbus_body_boolean(void *ctx, int value)
{
    ngx_http_rtbus_body_take(ctx, NULL, -1);
    return 1;
}


static int
ngx_http_rtbus_body_number(void *ctx, const char *p, size_t len)
{
    size_t  i;

    for (i = 0; i < len; i++) {
        if ((p[i] < '0' || p[i] > '9') && (i || p[i] != '-')) {
            ngx_http_rtbus_body_take(ctx, NULL, -1);
            return 1;
        }
    }

    ngx_http_rtbus_body_take(ctx, (u_char *) p, len);
    return 1;
}


static int
ngx_http_rtbus_body_string(void *ctx, const unsigned char *p, size_t len)
{
    ngx_http_rtbus_body_take(ctx, p, len);
    return 1;
}


static int
ngx_http_rtbus_body_map(void *ctx)
{
    ngx_http_rtbus_member_t *member = ctx;

    ngx_http_rtbus_body_take(ctx, NULL, -1);
    member->depth++;

    return 1;
}


static int
ngx_http_rtbus_body_array(void *ctx)
{
    ngx_http_rtbus_member_t *member = ctx;

    /* objects in an array at the top are not at the top level */

    if (member->depth == 0) {
        member->depth++;
    }

    return ngx_http_rtbus_body_map(ctx);
}


static int
ngx_http_rtbus_body_key(void *ctx, const unsigned char *p, size_t len)
{
    ngx_http_rtbus_member_t *member = ctx;

    if (member->depth != 1) {
        return 1;
    }

    member->wanted = (len == member->name.len
                      && ngx_strncasecmp((u_char *) p, member->name.data, len)
                         == 0);

    if (member->wanted && !member->spelled) {
        member->spelled = 1;
        ngx_memcpy(member->spelling, p, len);

    } else if (member->wanted && ngx_memcmp(member->spelling, p, len) != 0) {
        member->several = 1;
    }

    return 1;
}


static int
ngx_http_rtbus_body_close(void *ctx)
{
    ngx_http_rtbus_member_t *member = ctx;

    member->depth--;

    return 1;
}
