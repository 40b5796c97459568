
/*
 * Files that the configuration names.  They are read while it is read.
 */


#ifndef _NGX_HTTP_RTBUS_FILE_H_INCLUDED_
#define _NGX_HTTP_RTBUS_FILE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/*
 * Reads the first size bytes of a file; its name becomes the full one.  Answers
 * how many there are, or NGX_ERROR, which is logged.
 */

ssize_t ngx_http_rtbus_file_read(ngx_conf_t *cf, ngx_str_t *name, u_char *buf,
    size_t size);

/*
 * Reads the first line of a file, which is a password or a secret, into memory
 * of cf->pool.  An empty line is an error.  NGX_OK, or NGX_ERROR: logged.
 */

ngx_int_t ngx_http_rtbus_file_line(ngx_conf_t *cf, ngx_str_t *name,
    ngx_str_t *line);


#endif /* _NGX_HTTP_RTBUS_FILE_H_INCLUDED_ */
