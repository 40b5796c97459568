
/*
 * A text that grows as it is written: JSON for other workers, payloads of
 * long-polling.  The writer need not check each step: if there is no memory,
 * the text is "failed" from then on.
 */


#ifndef _NGX_HTTP_RTBUS_TEXT_H_INCLUDED_
#define _NGX_HTTP_RTBUS_TEXT_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


typedef struct {
    u_char        *data;       /* malloc'ed */
    size_t         len;
    size_t         size;
    ngx_log_t     *log;
    ngx_uint_t     failed;     /* unsigned  failed:1; */
} ngx_http_rtbus_text_t;


void ngx_http_rtbus_text_init(ngx_http_rtbus_text_t *text, ngx_log_t *log);
void ngx_http_rtbus_text_free(ngx_http_rtbus_text_t *text);

/* room for len more bytes, which the caller writes and counts; NULL: failed */

u_char *ngx_http_rtbus_text_reserve(ngx_http_rtbus_text_t *text, size_t len);

void ngx_http_rtbus_text_add(ngx_http_rtbus_text_t *text, const void *p,
    size_t len);

#define ngx_http_rtbus_text_lit(text, s)                                      \
    ngx_http_rtbus_text_add(text, s, sizeof(s) - 1)

/* a JSON string, in its quotes; a number */

void ngx_http_rtbus_text_quote(ngx_http_rtbus_text_t *text, const void *p,
    size_t len);
void ngx_http_rtbus_text_number(ngx_http_rtbus_text_t *text, uint64_t n);

/* bytes that need not be UTF-8, as a JSON string of base64 */

void ngx_http_rtbus_text_base64(ngx_http_rtbus_text_t *text, ngx_str_t *value);

/*
 * Reads that back, to memory of the pool; the second reads any JSON string.
 * NGX_OK, NGX_DECLINED: the value is something else, NGX_ERROR.
 */

ngx_int_t ngx_http_rtbus_text_debase64(ngx_pool_t *pool, ngx_str_t *dst,
    rtbus_json_value_t *value);
ngx_int_t ngx_http_rtbus_text_unquote(ngx_pool_t *pool, ngx_str_t *dst,
    rtbus_json_value_t *value);


/*
 * A value that a client has sent, in a form that is safe in the log: a JSON
 * string, in its quotes, cut if it is long.  It lasts until the next call.
 */

ngx_str_t *ngx_http_rtbus_text_shown(ngx_str_t *value);


#endif /* _NGX_HTTP_RTBUS_TEXT_H_INCLUDED_ */
