
#include "ngx_rtbus_redis_raw.h"
#include "rtbus_number.h"


/* how a reply of one kind begins, as Redis writes it, and goes on */

typedef struct {
    ngx_str_t                       head;
    ngx_rtbus_redis_raw_e           kind;
    ngx_uint_t                      strings;
    ngx_uint_t                      number;     /* unsigned  number:1; */
} ngx_rtbus_redis_raw_head_t;


static ngx_int_t ngx_rtbus_redis_raw_string(u_char **pos, u_char *last,
    ngx_str_t *str);
static ngx_int_t ngx_rtbus_redis_raw_number(u_char **pos, u_char *last,
    u_char type, uint64_t *n);


static const ngx_rtbus_redis_raw_head_t  ngx_rtbus_redis_raw_heads[] = {
    { ngx_string("*3" CRLF "$7" CRLF "message" CRLF),
      NGX_RTBUS_REDIS_RAW_MESSAGE, 2, 0 },
    { ngx_string("*3" CRLF "$8" CRLF "smessage" CRLF),
      NGX_RTBUS_REDIS_RAW_SMESSAGE, 2, 0 },
    { ngx_string("*4" CRLF "$8" CRLF "pmessage" CRLF),
      NGX_RTBUS_REDIS_RAW_PMESSAGE, 3, 0 },
    { ngx_string("*3" CRLF "$9" CRLF "subscribe" CRLF),
      NGX_RTBUS_REDIS_RAW_CONFIRM, 1, 1 },
    { ngx_string("*3" CRLF "$10" CRLF "psubscribe" CRLF),
      NGX_RTBUS_REDIS_RAW_CONFIRM, 1, 1 },
    { ngx_string("*3" CRLF "$10" CRLF "ssubscribe" CRLF),
      NGX_RTBUS_REDIS_RAW_CONFIRM, 1, 1 },
    { ngx_string("*3" CRLF "$11" CRLF "unsubscribe" CRLF),
      NGX_RTBUS_REDIS_RAW_CONFIRM, 1, 1 },
    { ngx_null_string, NGX_RTBUS_REDIS_RAW_CONFIRM, 0, 0 }
};


size_t
ngx_rtbus_redis_raw_parse(u_char *buf, size_t len,
    ngx_rtbus_redis_raw_e *kind, ngx_str_t *str)
{
    u_char                            *p, *last;
    uint64_t                           n;
    ngx_uint_t                         i;
    const ngx_rtbus_redis_raw_head_t  *raw;

    last = buf + len;

    for (raw = ngx_rtbus_redis_raw_heads; raw->head.len; raw++) {

        if (len >= raw->head.len
            && ngx_memcmp(buf, raw->head.data, raw->head.len) == 0)
        {
            break;
        }
    }

    if (raw->head.len == 0) {
        return 0;
    }

    p = buf + raw->head.len;

    for (i = 0; i < raw->strings; i++) {
        if (ngx_rtbus_redis_raw_string(&p, last, &str[i]) != NGX_OK) {
            return 0;
        }
    }

    if (raw->number
        && ngx_rtbus_redis_raw_number(&p, last, ':', &n) != NGX_OK)
    {
        return 0;
    }

    *kind = raw->kind;

    return p - buf;
}


static ngx_int_t
ngx_rtbus_redis_raw_string(u_char **pos, u_char *last, ngx_str_t *str)
{
    u_char    *p;
    uint64_t   n;

    if (ngx_rtbus_redis_raw_number(pos, last, '$', &n) != NGX_OK) {
        return NGX_DECLINED;
    }

    p = *pos;

    if (last - p < 2 || n > (uint64_t) (last - p - 2)) {
        return NGX_DECLINED;
    }

    if (p[n] != CR || p[n + 1] != LF) {
        return NGX_DECLINED;
    }

    str->len = n;
    str->data = p;

    *pos = p + n + 2;

    return NGX_OK;
}


static ngx_int_t
ngx_rtbus_redis_raw_number(u_char **pos, u_char *last, u_char type,
    uint64_t *n)
{
    u_char  *p;

    p = *pos;

    if (p == last || *p++ != type) {
        return NGX_DECLINED;
    }

    p = (u_char *) rtbus_number_parse(n, p, last);

    if (p == NULL || last - p < 2 || p[0] != CR || p[1] != LF) {
        return NGX_DECLINED;
    }

    *pos = p + 2;

    return NGX_OK;
}
