
#include "ngx_http_rtbus_file.h"


#define NGX_HTTP_RTBUS_FILE_LINE  4096    /* bytes of a password or a secret */


ssize_t
ngx_http_rtbus_file_read(ngx_conf_t *cf, ngx_str_t *name, u_char *buf,
    size_t size)
{
    ssize_t     n;
    ngx_file_t  file;

    if (ngx_conf_full_name(cf->cycle, name, 1) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_memzero(&file, sizeof(ngx_file_t));

    file.name = *name;
    file.log = cf->log;

    file.fd = ngx_open_file(name->data, NGX_FILE_RDONLY, NGX_FILE_OPEN, 0);

    if (file.fd == NGX_INVALID_FILE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_open_file_n " \"%V\" failed", name);
        return NGX_ERROR;
    }

    n = ngx_read_file(&file, buf, size, 0);

    if (ngx_close_file(file.fd) == NGX_FILE_ERROR) {
        ngx_conf_log_error(NGX_LOG_ALERT, cf, ngx_errno,
                           ngx_close_file_n " \"%V\" failed", name);
    }

    return n;
}


ngx_int_t
ngx_http_rtbus_file_line(ngx_conf_t *cf, ngx_str_t *name, ngx_str_t *line)
{
    size_t   len;
    ssize_t  n;
    u_char   buf[NGX_HTTP_RTBUS_FILE_LINE + 1];

    n = ngx_http_rtbus_file_read(cf, name, buf, sizeof(buf));

    if (n == NGX_ERROR) {
        return NGX_ERROR;
    }

    for (len = 0; len < (size_t) n; len++) {
        if (buf[len] == LF || buf[len] == CR) {
            break;
        }
    }

    if (len == 0 || len > NGX_HTTP_RTBUS_FILE_LINE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the first line of \"%V\" is %s", name,
                           len ? "too long" : "empty");
        return NGX_ERROR;
    }

    line->data = ngx_pnalloc(cf->pool, len);
    if (line->data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(line->data, buf, len);
    line->len = len;

    ngx_explicit_memzero(buf, sizeof(buf));

    return NGX_OK;
}
