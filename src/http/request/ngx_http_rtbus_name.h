
/*
 * Names with variables in them: channels and patterns of the configuration,
 * names of events, and keys in Redis.
 */


#ifndef _NGX_HTTP_RTBUS_NAME_H_INCLUDED_
#define _NGX_HTTP_RTBUS_NAME_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


/*
 * A name or pattern of the configuration, cut before and after each variable:
 * "user:$rtbus_user" without a user is not "user:", and the value of
 * "$arg_channel" has to be decoded, as nginx has not done so.
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
 * Reads a channel or pattern of the configuration; only with wildcard set a "*"
 * at its end makes it a pattern.  NGX_OK or NGX_ERROR, which is logged.
 */

ngx_int_t ngx_http_rtbus_name_compile(ngx_conf_t *cf, ngx_str_t *text,
    ngx_uint_t wildcard, ngx_http_rtbus_name_t *name);

/* the same for a channel, in cf->pool; NULL: logged */

ngx_http_rtbus_name_t *ngx_http_rtbus_name_create(ngx_conf_t *cf,
    ngx_str_t *text);

/* the same for the name of an event or of a key in Redis */

ngx_int_t ngx_http_rtbus_name_cut(ngx_conf_t *cf, ngx_str_t *text,
    ngx_http_rtbus_name_t *name);

/*
 * The name as it stands for this request.  NGX_OK; NGX_DECLINED: one of its
 * variables is empty, and the value is the rest of the name; NGX_ERROR.
 */

ngx_int_t ngx_http_rtbus_name_eval(ngx_http_request_t *r,
    ngx_http_rtbus_name_t *name, ngx_str_t *value);

/*
 * The same for a content handler whose name is a channel, which is checked;
 * "bad channel" is answered, and logged as "client <does> bad channel".  With
 * NGX_OK, unless r->header_sent, the handler goes on; otherwise it returns
 * what it got.
 */

ngx_int_t ngx_http_rtbus_name_channel(ngx_http_request_t *r,
    ngx_http_rtbus_name_t *name, const char *does, ngx_str_t *channel);

/* that answer, for a channel that is bad for another reason */

ngx_int_t ngx_http_rtbus_name_bad(ngx_http_request_t *r, const char *does,
    ngx_str_t *channel);

/* is a name that of a rule, or does it begin with the rule's prefix */

ngx_uint_t ngx_http_rtbus_name_fits(ngx_str_t *rule, ngx_uint_t prefix,
    ngx_str_t *name);

/*
 * A channel from the string with its name in checked JSON.  buf has
 * RTBUS_CHANNEL_MAX bytes.  NGX_OK or NGX_DECLINED.
 */

ngx_int_t ngx_http_rtbus_name_json(rtbus_json_value_t *value, u_char *buf,
    ngx_str_t *channel);

/*
 * The channel of a job, "job:<id>", from the id in checked JSON: a string, or a
 * whole number up to 2^53, beyond which readers of JSON may round it.  buf has
 * RTBUS_CHANNEL_MAX bytes.  NGX_OK or NGX_DECLINED.
 */

ngx_int_t ngx_http_rtbus_name_job(rtbus_json_value_t *value, u_char *buf,
    ngx_str_t *channel);


#endif /* _NGX_HTTP_RTBUS_NAME_H_INCLUDED_ */
