
#include "ngx_http_rtbus_origin.h"
#include "ngx_http_rtbus_request.h"
#include "ngx_http_rtbus_text.h"


#define NGX_HTTP_RTBUS_ORIGIN_QUIET  60     /* s between two warnings */


typedef enum {
    NGX_HTTP_RTBUS_ORIGIN_EXACT = 0,
    NGX_HTTP_RTBUS_ORIGIN_HEAD,             /* *.example.com */
    NGX_HTTP_RTBUS_ORIGIN_BOTH,             /* .example.com: that, and itself */
    NGX_HTTP_RTBUS_ORIGIN_TAIL,             /* www.example.* */
    NGX_HTTP_RTBUS_ORIGIN_NULL,
    NGX_HTTP_RTBUS_ORIGIN_REGEX
} ngx_http_rtbus_origin_e;


/* in lower case */

typedef struct {
    ngx_str_t                 scheme;
    ngx_str_t                 host;
    ngx_uint_t                port;         /* 0: none, nor by the scheme */
} ngx_http_rtbus_origin_parts_t;


/* one of rtbus_origin */

typedef struct {
    ngx_http_rtbus_origin_e         kind;
    ngx_http_rtbus_origin_parts_t   parts;  /* of the host the fixed part */
#if (NGX_PCRE)
    ngx_regex_t                    *regex;
#endif
} ngx_http_rtbus_origin_t;


static ngx_int_t ngx_http_rtbus_origin_parse(
    ngx_http_rtbus_origin_parts_t *parts, ngx_str_t *text);
static ngx_int_t ngx_http_rtbus_origin_authority(ngx_str_t *text,
    ngx_str_t *host, ngx_uint_t *port);
static ngx_uint_t ngx_http_rtbus_origin_port(ngx_str_t *scheme);
static ngx_uint_t ngx_http_rtbus_origin_matches(ngx_http_rtbus_origin_t *origin,
    ngx_http_rtbus_origin_parts_t *parts, ngx_str_t *text);
static ngx_int_t ngx_http_rtbus_origin_self(ngx_http_request_t *r,
    ngx_http_rtbus_origin_parts_t *parts);
static void ngx_http_rtbus_origin_warn(ngx_http_request_t *r,
    ngx_str_t *origin);
static ngx_int_t ngx_http_rtbus_origin_add(ngx_conf_t *cf,
    ngx_http_rtbus_origin_t *origin, ngx_str_t *value);
static ngx_int_t ngx_http_rtbus_origin_wildcard(
    ngx_http_rtbus_origin_t *origin);
static ngx_int_t ngx_http_rtbus_origin_regex(ngx_conf_t *cf,
    ngx_http_rtbus_origin_t *origin, ngx_str_t *value);


ngx_int_t
ngx_http_rtbus_check_origin(ngx_http_request_t *r)
{
    u_char                         *p;
    ngx_int_t                       rc;
    ngx_str_t                       text;
    ngx_uint_t                      i;
    ngx_table_elt_t                *h;
    ngx_http_rtbus_origin_t        *origin;
    ngx_http_rtbus_loc_conf_t      *rlcf;
    ngx_http_rtbus_origin_parts_t   parts;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    h = ngx_http_rtbus_header_in(r, "origin", sizeof("origin") - 1);

    if (h == NULL || rlcf->any_origin) {
        return NGX_OK;
    }

    text.len = h->value.len;

    /* twice: as it was sent, and as expressions see it */

    text.data = ngx_pnalloc(r->pool, 2 * text.len + sizeof("https://:65535"));
    if (text.data == NULL) {
        return NGX_ERROR;
    }

    ngx_strlow(text.data, h->value.data, text.len);

    rc = ngx_http_rtbus_origin_parse(&parts, &text);

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus check origin \"%V\" parsed:%i", &text, rc);

    if (rlcf->origins == NULL) {

        if (rc != NGX_OK) {
            goto foreign;
        }

        rc = ngx_http_rtbus_origin_self(r, &parts);

        if (rc == NGX_DECLINED) {
            ngx_http_rtbus_origin_warn(r, &h->value);
            goto foreign;
        }

        ngx_log_debug2(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                       "rtbus origin \"%V\" is the server's, rc:%i", &text, rc);

        return rc;
    }

    if (rc == NGX_OK) {

        /* expressions see ws as http, and no default port */

        text.data += text.len;

        p = ngx_sprintf(text.data, "%V://%V", &parts.scheme, &parts.host);

        if (parts.port != ngx_http_rtbus_origin_port(&parts.scheme)) {
            p = ngx_sprintf(p, ":%ui", parts.port);
        }

        text.len = p - text.data;
    }

    origin = rlcf->origins->elts;

    for (i = 0; i < rlcf->origins->nelts; i++) {
        if (ngx_http_rtbus_origin_matches(&origin[i],
                                          rc == NGX_OK ? &parts : NULL, &text))
        {
            ngx_log_debug2(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                           "rtbus origin \"%V\" allowed, rule:%ui", &text, i);
            return NGX_OK;
        }
    }

foreign:

    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                  "rtbus: client sent foreign origin %V",
                  ngx_http_rtbus_text_shown(&h->value));

    return NGX_DECLINED;
}


/* text is in lower case; NGX_OK, NGX_DECLINED: not an origin, say "null" */

static ngx_int_t
ngx_http_rtbus_origin_parse(ngx_http_rtbus_origin_parts_t *parts,
    ngx_str_t *text)
{
    u_char     *p, *last;
    ngx_str_t   authority;

    p = text->data;
    last = p + text->len;

    while (p < last && *p != ':') {

        if ((*p < 'a' || *p > 'z') && (*p < '0' || *p > '9')
            && *p != '+' && *p != '-' && *p != '.')
        {
            return NGX_DECLINED;
        }

        p++;
    }

    if (p == text->data || last - p < 4
        || ngx_strncmp(p, "://", 3) != 0)
    {
        return NGX_DECLINED;
    }

    parts->scheme.data = text->data;
    parts->scheme.len = p - text->data;

    if (parts->scheme.len == 2 && ngx_strncmp(text->data, "ws", 2) == 0) {
        ngx_str_set(&parts->scheme, "http");

    } else if (parts->scheme.len == 3 && ngx_strncmp(text->data, "wss", 3) == 0)
    {
        ngx_str_set(&parts->scheme, "https");
    }

    authority.data = p + 3;
    authority.len = last - authority.data;

    if (last[-1] == '/') {
        authority.len--;
    }

    if (ngx_http_rtbus_origin_authority(&authority, &parts->host,
                                        &parts->port)
        != NGX_OK)
    {
        return NGX_DECLINED;
    }

    if (parts->port == 0) {
        parts->port = ngx_http_rtbus_origin_port(&parts->scheme);
    }

    return NGX_OK;
}


/* a host or an address in brackets, maybe with a port; port 0: without */

static ngx_int_t
ngx_http_rtbus_origin_authority(ngx_str_t *text, ngx_str_t *host,
    ngx_uint_t *port)
{
    u_char     *p, *last;
    ngx_int_t   n;

    p = text->data;
    last = p + text->len;

    if (p < last && *p == '[') {

        p = ngx_strlchr(p, last, ']');
        if (p == NULL) {
            return NGX_DECLINED;
        }

        p++;

    } else {
        while (p < last && *p != ':' && *p != '/' && *p > ' ') {
            p++;
        }
    }

    host->data = text->data;
    host->len = p - text->data;
    *port = 0;

    if (host->len == 0) {
        return NGX_DECLINED;
    }

    if (p == last) {
        return NGX_OK;
    }

    if (*p != ':') {
        return NGX_DECLINED;
    }

    p++;
    n = ngx_atoi(p, last - p);

    if (n < 1 || n > 65535) {
        return NGX_DECLINED;
    }

    *port = n;

    return NGX_OK;
}


/* the default port of a scheme; 0: it has no default */

static ngx_uint_t
ngx_http_rtbus_origin_port(ngx_str_t *scheme)
{
    if (scheme->len == 4 && ngx_strncmp(scheme->data, "http", 4) == 0) {
        return 80;
    }

    if (scheme->len == 5 && ngx_strncmp(scheme->data, "https", 5) == 0) {
        return 443;
    }

    return 0;
}


/* parts: NULL if the text is not an origin */

static ngx_uint_t
ngx_http_rtbus_origin_matches(ngx_http_rtbus_origin_t *origin,
    ngx_http_rtbus_origin_parts_t *parts, ngx_str_t *text)
{
    ngx_str_t  *host, *fixed;

    switch (origin->kind) {

    case NGX_HTTP_RTBUS_ORIGIN_NULL:
        return text->len == 4 && ngx_strncmp(text->data, "null", 4) == 0;

    case NGX_HTTP_RTBUS_ORIGIN_REGEX:
#if (NGX_PCRE)
        return ngx_regex_exec(origin->regex, text, NULL, 0) >= 0;
#else
        return 0;
#endif

    default:
        break;
    }

    if (parts == NULL
        || parts->port != origin->parts.port
        || !ngx_http_rtbus_str_eq(&parts->scheme, &origin->parts.scheme))
    {
        return 0;
    }

    host = &parts->host;
    fixed = &origin->parts.host;

    switch (origin->kind) {

    case NGX_HTTP_RTBUS_ORIGIN_BOTH:

        if (host->len == fixed->len - 1
            && ngx_strncmp(host->data, fixed->data + 1, host->len) == 0)
        {
            return 1;
        }

        /* fall through */

    case NGX_HTTP_RTBUS_ORIGIN_HEAD:
        return host->len > fixed->len
               && ngx_strncmp(host->data + host->len - fixed->len, fixed->data,
                              fixed->len)
                  == 0;

    case NGX_HTTP_RTBUS_ORIGIN_TAIL:
        return host->len > fixed->len
               && ngx_strncmp(host->data, fixed->data, fixed->len) == 0;

    default: /* NGX_HTTP_RTBUS_ORIGIN_EXACT */
        return ngx_http_rtbus_str_eq(host, fixed);
    }
}


/*
 * Is it the origin of the request itself?  Over TLS the scheme is known.
 * Without TLS it is not, since a proxy in front may have terminated TLS.
 */

static ngx_int_t
ngx_http_rtbus_origin_self(ngx_http_request_t *r,
    ngx_http_rtbus_origin_parts_t *parts)
{
    ngx_str_t                      text;
    ngx_http_rtbus_origin_parts_t  self;

    if (r->headers_in.host == NULL
        || ngx_http_rtbus_origin_port(&parts->scheme) == 0)
    {
        return NGX_DECLINED;
    }

#if (NGX_HTTP_SSL)

    if (r->connection->ssl && parts->scheme.len != sizeof("https") - 1) {
        return NGX_DECLINED;
    }

#endif

    text.len = r->headers_in.host->value.len;

    text.data = ngx_pnalloc(r->pool, text.len);
    if (text.data == NULL) {
        return NGX_ERROR;
    }

    ngx_strlow(text.data, r->headers_in.host->value.data, text.len);

    if (ngx_http_rtbus_origin_authority(&text, &self.host, &self.port)
        != NGX_OK)
    {
        return NGX_DECLINED;
    }

    if (self.port == 0) {
        self.port = ngx_http_rtbus_origin_port(&parts->scheme);
    }

    return (self.port == parts->port
            && ngx_http_rtbus_str_eq(&self.host, &parts->host))
           ? NGX_OK : NGX_DECLINED;
}


/*
 * If a proxy in front does not pass on the Host, all browsers are refused; at
 * the default level of the log only this line says why.
 */

static void
ngx_http_rtbus_origin_warn(ngx_http_request_t *r, ngx_str_t *origin)
{
    ngx_str_t  host;

    static time_t  warned;

    if (warned && ngx_time() - warned < NGX_HTTP_RTBUS_ORIGIN_QUIET) {
        return;
    }

    warned = ngx_time();

    ngx_str_null(&host);

    if (r->headers_in.host) {
        host = r->headers_in.host->value;
    }

    /* text_shown() has one buffer */

    host = *ngx_http_rtbus_text_shown(&host);

    host.data = ngx_pstrdup(r->pool, &host);
    if (host.data == NULL) {
        return;
    }

    ngx_log_error(NGX_LOG_WARN, r->connection->log, 0,
                  "rtbus: client is refused, as its Origin %V is not that of "
                  "the Host %V: a proxy in front has to pass on the Host, or "
                  "\"rtbus_origin\" to name the Origin",
                  ngx_http_rtbus_text_shown(origin), &host);
}


char *
ngx_http_rtbus_conf_origin(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_rtbus_loc_conf_t *rlcf = conf;

    ngx_str_t                *value;
    ngx_uint_t                i;
    ngx_http_rtbus_origin_t  *origin;

    if (rlcf->any_origin != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }

    value = cf->args->elts;

    rlcf->any_origin = 0;

    if (ngx_strcmp(value[1].data, "any") == 0) {

        if (cf->args->nelts != 2) {
            return "takes nothing beside \"any\"";
        }

        rlcf->any_origin = 1;
        rlcf->origins = NULL;

        return NGX_CONF_OK;
    }

    rlcf->origins = ngx_array_create(cf->pool, cf->args->nelts - 1,
                                     sizeof(ngx_http_rtbus_origin_t));
    if (rlcf->origins == NULL) {
        return NGX_CONF_ERROR;
    }

    for (i = 1; i < cf->args->nelts; i++) {

        origin = ngx_array_push(rlcf->origins);
        if (origin == NULL) {
            return NGX_CONF_ERROR;
        }

        ngx_memzero(origin, sizeof(ngx_http_rtbus_origin_t));

        switch (ngx_http_rtbus_origin_add(cf, origin, &value[i])) {

        case NGX_OK:
            break;

        case NGX_DECLINED:
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid origin \"%V\", it must be like "
                               "\"https://example.com\", "
                               "\"https://*.example.com\", \"~^https://\", "
                               "\"null\", or \"any\"", &value[i]);
            return NGX_CONF_ERROR;

        default: /* NGX_ERROR */
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


/* NGX_OK; NGX_DECLINED: no origin could match it; NGX_ERROR: logged */

static ngx_int_t
ngx_http_rtbus_origin_add(ngx_conf_t *cf, ngx_http_rtbus_origin_t *origin,
    ngx_str_t *value)
{
    ngx_str_t  text;

    if (value->len && value->data[0] == '~') {
        return ngx_http_rtbus_origin_regex(cf, origin, value);
    }

    if (ngx_strcmp(value->data, "null") == 0) {
        origin->kind = NGX_HTTP_RTBUS_ORIGIN_NULL;
        return NGX_OK;
    }

    text.len = value->len;

    text.data = ngx_pnalloc(cf->pool, text.len + 1);
    if (text.data == NULL) {
        return NGX_ERROR;
    }

    ngx_strlow(text.data, value->data, text.len);
    text.data[text.len] = '\0';

    /* a scheme and a host, maybe a port, and never a path */

    if (text.len == 0 || text.data[text.len - 1] == '/'
        || ngx_http_rtbus_origin_parse(&origin->parts, &text) != NGX_OK)
    {
        return NGX_DECLINED;
    }

    return ngx_http_rtbus_origin_wildcard(origin);
}


/* which hosts are meant, as in "server_name" */

static ngx_int_t
ngx_http_rtbus_origin_wildcard(ngx_http_rtbus_origin_t *origin)
{
    u_char      ch;
    ngx_str_t  *host;
    ngx_uint_t  i;

    host = &origin->parts.host;

    if (host->data[0] == '[') {

        for (i = 1; i < host->len - 1; i++) {
            ch = host->data[i];

            if ((ch < '0' || ch > '9') && (ch < 'a' || ch > 'f')
                && ch != ':' && ch != '.')
            {
                return NGX_DECLINED;
            }
        }

        return (host->len > 2) ? NGX_OK : NGX_DECLINED;
    }

    if (host->len > 2 && host->data[0] == '*' && host->data[1] == '.') {
        origin->kind = NGX_HTTP_RTBUS_ORIGIN_HEAD;
        host->data++;
        host->len--;

    } else if (host->len > 1 && host->data[0] == '.') {
        origin->kind = NGX_HTTP_RTBUS_ORIGIN_BOTH;

    } else if (host->len > 2 && host->data[host->len - 1] == '*'
               && host->data[host->len - 2] == '.')
    {
        origin->kind = NGX_HTTP_RTBUS_ORIGIN_TAIL;
        host->len--;

    } else if (host->data[0] == '.') {
        return NGX_DECLINED;
    }

    for (i = 0; i < host->len; i++) {
        ch = host->data[i];

        /* browsers send a name beyond ASCII in its "xn--" form */

        if ((ch < 'a' || ch > 'z') && (ch < '0' || ch > '9')
            && ch != '.' && ch != '-' && ch != '_')
        {
            return NGX_DECLINED;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_rtbus_origin_regex(ngx_conf_t *cf, ngx_http_rtbus_origin_t *origin,
    ngx_str_t *value)
{
#if (NGX_PCRE)
    u_char               errstr[NGX_MAX_CONF_ERRSTR];
    ngx_regex_compile_t  rc;

    if (value->len == 1) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "empty regex in origin \"%V\"", value);
        return NGX_ERROR;
    }

    ngx_memzero(&rc, sizeof(ngx_regex_compile_t));

    rc.pattern.len = value->len - 1;
    rc.pattern.data = value->data + 1;
    rc.pool = cf->pool;
    rc.options = NGX_REGEX_CASELESS;
    rc.err.len = NGX_MAX_CONF_ERRSTR;
    rc.err.data = errstr;

    if (ngx_regex_compile(&rc) != NGX_OK) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%V", &rc.err);
        return NGX_ERROR;
    }

    origin->kind = NGX_HTTP_RTBUS_ORIGIN_REGEX;
    origin->regex = rc.regex;

    return NGX_OK;

#else

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "using regex \"%V\" requires PCRE library", value);
    return NGX_ERROR;

#endif
}
