
/*
 * Names with variables in them: channels and patterns of the configuration,
 * names of events, and keys in Redis.
 */


#ifndef _NGX_HTTP_RTBUS_NAME_H_INCLUDED_
#define _NGX_HTTP_RTBUS_NAME_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


/*
 * A name or pattern of the configuration, cut before and after each variable,
 * so that "user:$rtbus_user" with no user is told from "user:", and that of
 * "$arg_channel" is decoded what nginx has not decoded.
 */

typedef struct {
    ngx_http_complex_value_t     value;
    unsigned                     variable:1;
    unsigned                     encoded:1;   /* it is $arg_<name> */
    unsigned                     asked:1;     /* the client's own words: $1 to
                                                 $9, $rtbus_body_<member> */
} ngx_http_rtbus_name_part_t;


struct ngx_http_rtbus_name_s {
    ngx_array_t                  parts;       /* ngx_http_rtbus_name_part_t */
    unsigned                     prefix:1;    /* "*" at the end, cut off */
    unsigned                     owner:1;     /* of rtbus_allow */
    unsigned                     channel:1;   /* else of an event, or a key */
};


/*
 * Reads a channel or pattern of the configuration; a "*" at its end is taken
 * for a pattern's only where wildcard is set.  NGX_OK, NGX_ERROR: logged.
 */

ngx_int_t ngx_http_rtbus_name_compile(ngx_conf_t *cf, ngx_str_t *text,
    ngx_uint_t wildcard, ngx_http_rtbus_name_t *name);

/* the same for a name that is no channel: of an event, of a key in Redis */

ngx_int_t ngx_http_rtbus_name_cut(ngx_conf_t *cf, ngx_str_t *text,
    ngx_http_rtbus_name_t *name);

/*
 * The name as it stands for this request.  NGX_OK; NGX_DECLINED: one of its
 * variables is empty, and the value is what there is beside it; NGX_ERROR.
 */

ngx_int_t ngx_http_rtbus_name_eval(ngx_http_request_t *r,
    ngx_http_rtbus_name_t *name, ngx_str_t *value);

/*
 * The channel of a job, "job:<id>", from the id in checked JSON: a string or a
 * whole number up to 2^53, the last that all readers of JSON read as it stands.
 * buf has RTBUS_CHANNEL_MAX bytes.  NGX_OK or NGX_DECLINED.
 */

ngx_int_t ngx_http_rtbus_name_job(rtbus_json_value_t *value, u_char *buf,
    ngx_str_t *channel);


#endif /* _NGX_HTTP_RTBUS_NAME_H_INCLUDED_ */
