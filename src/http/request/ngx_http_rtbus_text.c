
#include "ngx_http_rtbus_text.h"


#define NGX_HTTP_RTBUS_TEXT   512
#define NGX_HTTP_RTBUS_SHOWN  256     /* bytes of a value in the log */


void
ngx_http_rtbus_text_init(ngx_http_rtbus_text_t *text, ngx_log_t *log)
{
    ngx_memzero(text, sizeof(ngx_http_rtbus_text_t));

    text->log = log;
}


void
ngx_http_rtbus_text_free(ngx_http_rtbus_text_t *text)
{
    if (text->data) {
        ngx_free(text->data);
        text->data = NULL;
    }

    text->len = 0;
    text->size = 0;
}


u_char *
ngx_http_rtbus_text_reserve(ngx_http_rtbus_text_t *text, size_t len)
{
    size_t   size;
    u_char  *p;

    if (text->failed) {
        return NULL;
    }

    if (len <= text->size - text->len) {
        return text->data + text->len;
    }

    size = ngx_max(text->len + len, 2 * text->size);
    size = ngx_max(size, NGX_HTTP_RTBUS_TEXT);

    p = ngx_alloc(size, text->log);
    if (p == NULL) {
        text->failed = 1;
        return NULL;
    }

    if (text->data) {
        ngx_memcpy(p, text->data, text->len);
        ngx_free(text->data);
    }

    text->data = p;
    text->size = size;

    return p + text->len;
}


void
ngx_http_rtbus_text_add(ngx_http_rtbus_text_t *text, const void *p, size_t len)
{
    u_char  *dst;

    if (len == 0) {
        return;
    }

    dst = ngx_http_rtbus_text_reserve(text, len);

    if (dst) {
        ngx_memcpy(dst, p, len);
        text->len += len;
    }
}


void
ngx_http_rtbus_text_quote(ngx_http_rtbus_text_t *text, const void *p,
    size_t len)
{
    size_t   size;
    u_char  *dst;

    size = rtbus_json_quote(NULL, p, len);
    dst = ngx_http_rtbus_text_reserve(text, size);

    if (dst) {
        rtbus_json_quote(dst, p, len);
        text->len += size;
    }
}


void
ngx_http_rtbus_text_number(ngx_http_rtbus_text_t *text, uint64_t n)
{
    u_char  *dst;

    dst = ngx_http_rtbus_text_reserve(text, NGX_INT64_LEN);

    if (dst) {
        text->len = ngx_sprintf(dst, "%uL", n) - text->data;
    }
}


void
ngx_http_rtbus_text_base64(ngx_http_rtbus_text_t *text, ngx_str_t *value)
{
    u_char     *p;
    ngx_str_t   base64;

    p = ngx_http_rtbus_text_reserve(text,
                                    2 + ngx_base64_encoded_length(value->len));
    if (p == NULL) {
        return;
    }

    p[0] = '"';

    base64.data = p + 1;
    ngx_encode_base64(&base64, value);

    p[1 + base64.len] = '"';

    text->len += 2 + base64.len;
}


ngx_int_t
ngx_http_rtbus_text_debase64(ngx_pool_t *pool, ngx_str_t *dst,
    rtbus_json_value_t *value)
{
    ngx_str_t  base64;

    ngx_str_null(dst);

    if (value->type != RTBUS_JSON_STRING) {
        return NGX_DECLINED;
    }

    base64.data = value->raw.data + 1;
    base64.len = value->raw.len - 2;

    if (base64.len == 0) {
        return NGX_OK;
    }

    dst->data = ngx_pnalloc(pool, ngx_base64_decoded_length(base64.len));
    if (dst->data == NULL) {
        return NGX_ERROR;
    }

    return (ngx_decode_base64(dst, &base64) == NGX_OK) ? NGX_OK : NGX_DECLINED;
}


ngx_int_t
ngx_http_rtbus_text_unquote(ngx_pool_t *pool, ngx_str_t *dst,
    rtbus_json_value_t *value)
{
    ngx_str_null(dst);

    if (value->type != RTBUS_JSON_STRING) {
        return NGX_DECLINED;
    }

    dst->data = ngx_pnalloc(pool, value->raw.len);
    if (dst->data == NULL) {
        return NGX_ERROR;
    }

    dst->len = rtbus_json_unquote(dst->data, &value->raw);

    return NGX_OK;
}


ngx_str_t *
ngx_http_rtbus_text_shown(ngx_str_t *value)
{
    size_t  len;

    static u_char     buf[6 * NGX_HTTP_RTBUS_SHOWN + sizeof("\"\"...")];
    static ngx_str_t  shown = { 0, buf };

    len = ngx_min(value->len, NGX_HTTP_RTBUS_SHOWN);

    shown.len = rtbus_json_quote(buf, value->data, len);

    if (len < value->len) {
        shown.len = ngx_cpymem(buf + shown.len, "...", 3) - buf;
    }

    return &shown;
}
