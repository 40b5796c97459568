
/*
 * Files that the configuration names, read when it is.
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


#endif /* _NGX_HTTP_RTBUS_FILE_H_INCLUDED_ */
