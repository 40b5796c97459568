
#include "ngx_http_rtbus_name.h"
#include "ngx_http_rtbus_reply.h"
#include "ngx_http_rtbus_request.h"
#include "ngx_http_rtbus_text.h"


#define NGX_HTTP_RTBUS_NAME_MAX_JOB  9007199254740992ULL    /* 2^53 */


static size_t ngx_http_rtbus_name_piece(u_char *p, u_char *last,
    ngx_uint_t *variable);
static size_t ngx_http_rtbus_name_variable(u_char *p, u_char *last);
static ngx_uint_t ngx_http_rtbus_name_begins(ngx_str_t *name,
    const char *prefix, size_t len);
static ngx_int_t ngx_http_rtbus_name_encode(ngx_http_request_t *r,
    ngx_http_rtbus_name_part_t *part, ngx_str_t *value);


ngx_int_t
ngx_http_rtbus_name_compile(ngx_conf_t *cf, ngx_str_t *text,
    ngx_uint_t wildcard, ngx_http_rtbus_name_t *name)
{
    u_char      *p, *last;
    size_t       fixed;
    ngx_str_t    value, piece;
    ngx_uint_t   prefix, variable;

    value = *text;
    prefix = (wildcard && value.len && value.data[value.len - 1] == '*');

    if (prefix) {
        value.len--;
    }

    if (value.len == 0 && !prefix) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "empty channel name");
        return NGX_ERROR;
    }

    /* the text between the variables has to be valid */

    fixed = 0;
    p = value.data;
    last = p + value.len;

    while (p < last) {

        piece.len = ngx_http_rtbus_name_piece(p, last, &variable);
        piece.data = p;
        p += piece.len;

        if (variable) {
            continue;
        }

        fixed += piece.len;

        if (fixed > RTBUS_CHANNEL_MAX) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "channel name \"%V\" is too long", text);
            return NGX_ERROR;
        }

        if (rtbus_channel_check(piece.data, piece.len) != RTBUS_OK) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid character in channel name \"%V\", "
                               "only A-Z a-z 0-9 _ . : - are allowed%s",
                               text, wildcard ? " and one \"*\" at the end"
                                              : "");
            return NGX_ERROR;
        }
    }

    if (ngx_http_rtbus_name_cut(cf, &value, name) != NGX_OK) {
        return NGX_ERROR;
    }

    name->prefix = prefix;
    name->channel = 1;

    return NGX_OK;
}


ngx_http_rtbus_name_t *
ngx_http_rtbus_name_create(ngx_conf_t *cf, ngx_str_t *text)
{
    ngx_http_rtbus_name_t  *name;

    name = ngx_palloc(cf->pool, sizeof(ngx_http_rtbus_name_t));
    if (name == NULL) {
        return NULL;
    }

    if (ngx_http_rtbus_name_compile(cf, text, 0, name) != NGX_OK) {
        return NULL;
    }

    return name;
}


ngx_int_t
ngx_http_rtbus_name_cut(ngx_conf_t *cf, ngx_str_t *text,
    ngx_http_rtbus_name_t *name)
{
    u_char                            *p, *last;
    ngx_str_t                          value;
    ngx_uint_t                         variable;
    ngx_http_rtbus_name_part_t        *part;
    ngx_http_compile_complex_value_t   ccv;

    name->prefix = 0;
    name->owner = 0;
    name->channel = 0;

    if (ngx_array_init(&name->parts, cf->pool, 2,
                       sizeof(ngx_http_rtbus_name_part_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    p = text->data;
    last = p + text->len;

    while (p < last) {

        part = ngx_array_push(&name->parts);
        if (part == NULL) {
            return NGX_ERROR;
        }

        value.len = ngx_http_rtbus_name_piece(p, last, &variable);
        value.data = p;
        p += value.len;

        part->variable = variable;
        part->encoded = (variable
                         && ngx_http_rtbus_name_begins(&value, "arg_", 4));
        part->asked = (variable
                       && ((value.data[1] >= '1' && value.data[1] <= '9')
                           || ngx_http_rtbus_name_begins(&value, "rtbus_body_",
                                                         11)));

        ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

        ccv.cf = cf;
        ccv.value = &value;
        ccv.complex_value = &part->value;

        if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/* the length of the variable at p, or of the text before the next one */

static size_t
ngx_http_rtbus_name_piece(u_char *p, u_char *last, ngx_uint_t *variable)
{
    u_char  *start;
    size_t   len;

    len = ngx_http_rtbus_name_variable(p, last);
    *variable = (len != 0);

    if (len) {
        return len;
    }

    start = p++;

    while (p < last && ngx_http_rtbus_name_variable(p, last) == 0) {
        p++;
    }

    return p - start;
}


/* the length of a reference to a variable at p; 0: there is no reference */

static size_t
ngx_http_rtbus_name_variable(u_char *p, u_char *last)
{
    u_char      *start;
    ngx_uint_t   brace;

    if (*p != '$' || p + 1 == last) {
        return 0;
    }

    start = p++;

    if (*p >= '1' && *p <= '9') {
        /* a capture has one digit, the rest is text */
        return 2;
    }

    brace = (*p == '{');

    for (p += brace; p < last; p++) {

        if ((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z')
            || (*p >= '0' && *p <= '9') || *p == '_')
        {
            continue;
        }

        if (brace && *p == '}') {
            p++;
        }

        break;
    }

    return p - start;
}


/* "$<prefix>..." or "${<prefix>..." */

static ngx_uint_t
ngx_http_rtbus_name_begins(ngx_str_t *name, const char *prefix, size_t len)
{
    size_t  skip;

    skip = (name->len > 2 && name->data[1] == '{') ? 2 : 1;

    return name->len > skip + len
           && ngx_strncasecmp(name->data + skip, (u_char *) prefix, len) == 0;
}


ngx_int_t
ngx_http_rtbus_name_eval(ngx_http_request_t *r, ngx_http_rtbus_name_t *name,
    ngx_str_t *value)
{
    u_char                      *p;
    ngx_int_t                    rc;
    ngx_str_t                    piece;
    ngx_uint_t                   i;
    ngx_http_rtbus_name_part_t  *part;

    part = name->parts.elts;

    if (name->parts.nelts == 1 && !part->variable) {
        *value = part->value.value;
        return NGX_OK;
    }

    rc = NGX_OK;
    ngx_str_set(value, "");

    for (i = 0; i < name->parts.nelts; i++) {

        if (ngx_http_complex_value(r, &part[i].value, &piece) != NGX_OK) {
            return NGX_ERROR;
        }

        if (part[i].variable && piece.len == 0) {
            rc = NGX_DECLINED;
            continue;
        }

        if (part[i].encoded && ngx_http_rtbus_decode(r, &piece) != NGX_OK) {
            return NGX_ERROR;
        }

        if (name->channel && name->parts.nelts > 1
            && ngx_http_rtbus_name_encode(r, &part[i], &piece) != NGX_OK)
        {
            return NGX_ERROR;
        }

        if (value->len == 0) {
            *value = piece;
            continue;
        }

        p = ngx_pnalloc(r->pool, value->len + piece.len);
        if (p == NULL) {
            return NGX_ERROR;
        }

        ngx_memcpy(ngx_cpymem(p, value->data, value->len), piece.data,
                   piece.len);

        value->data = p;
        value->len += piece.len;
    }

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus name \"%V\" rc:%i", value, rc);

    return rc;
}


/*
 * Every user has a channel, so other characters than those of names are encoded
 * in a variable.  What the client itself has asked for, in the path or in an
 * argument, is not encoded: it is a valid name, or it is refused.
 */

static ngx_int_t
ngx_http_rtbus_name_encode(ngx_http_request_t *r,
    ngx_http_rtbus_name_part_t *part, ngx_str_t *value)
{
    u_char  *p;
    size_t   len;

    if (!part->variable || part->encoded || part->asked) {
        return NGX_OK;
    }

    len = rtbus_channel_encode(NULL, value->data, value->len);

    if (len == value->len) {
        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    (void) rtbus_channel_encode(p, value->data, value->len);

    value->data = p;
    value->len = len;

    return NGX_OK;
}


ngx_int_t
ngx_http_rtbus_name_channel(ngx_http_request_t *r, ngx_http_rtbus_name_t *name,
    const char *does, ngx_str_t *channel)
{
    if (ngx_http_rtbus_name_eval(r, name, channel) == NGX_ERROR) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (rtbus_channel_check(channel->data, channel->len) != RTBUS_OK) {
        return ngx_http_rtbus_name_bad(r, does, channel);
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_rtbus_name_bad(ngx_http_request_t *r, const char *does,
    ngx_str_t *channel)
{
    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                  "rtbus: client %s bad channel %V", does,
                  ngx_http_rtbus_text_shown(channel));

    return ngx_http_rtbus_error(r, NGX_HTTP_BAD_REQUEST,
                                NGX_RTBUS_REASON_CHANNEL, "channel", channel);
}


ngx_uint_t
ngx_http_rtbus_name_fits(ngx_str_t *rule, ngx_uint_t prefix, ngx_str_t *name)
{
    if (prefix ? rule->len > name->len : rule->len != name->len) {
        return 0;
    }

    return ngx_memcmp(name->data, rule->data, rule->len) == 0;
}


ngx_int_t
ngx_http_rtbus_name_json(rtbus_json_value_t *value, u_char *buf,
    ngx_str_t *channel)
{
    if (value->type != RTBUS_JSON_STRING
        || rtbus_json_unquote(NULL, &value->raw) > RTBUS_CHANNEL_MAX)
    {
        return NGX_DECLINED;
    }

    channel->data = buf;
    channel->len = rtbus_json_unquote(buf, &value->raw);

    return (rtbus_channel_check(buf, channel->len) == RTBUS_OK) ? NGX_OK
                                                                : NGX_DECLINED;
}


ngx_int_t
ngx_http_rtbus_name_job(rtbus_json_value_t *value, u_char *buf,
    ngx_str_t *channel)
{
    u_char    *p;
    size_t     len;
    uint64_t   n;

    if (value->type == RTBUS_JSON_STRING) {
        len = rtbus_json_unquote(NULL, &value->raw);

    } else if (value->type == RTBUS_JSON_NUMBER
               && rtbus_json_uint(&value->raw, &n) == RTBUS_OK
               && n <= NGX_HTTP_RTBUS_NAME_MAX_JOB)
    {
        len = value->raw.len;

    } else {
        return NGX_DECLINED;
    }

    if (len == 0 || len > RTBUS_CHANNEL_MAX - (sizeof("job:") - 1)) {
        return NGX_DECLINED;
    }

    p = ngx_cpymem(buf, "job:", sizeof("job:") - 1);

    if (value->type == RTBUS_JSON_STRING) {
        (void) rtbus_json_unquote(p, &value->raw);

    } else {
        ngx_memcpy(p, value->raw.data, len);
    }

    channel->data = buf;
    channel->len = sizeof("job:") - 1 + len;

    return (rtbus_channel_check(buf, channel->len) == RTBUS_OK)
           ? NGX_OK : NGX_DECLINED;
}
