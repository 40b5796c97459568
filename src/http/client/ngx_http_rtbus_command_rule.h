
/*
 * rtbus_command: which events of clients are commands, and what is done with
 * them.
 */


#ifndef _NGX_HTTP_RTBUS_COMMAND_RULE_H_INCLUDED_
#define _NGX_HTTP_RTBUS_COMMAND_RULE_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


/* bytes of the name of a stream, without the prefix */
#define NGX_HTTP_RTBUS_STREAM_MAX  200


/* one rtbus_command */

typedef struct {
    ngx_str_t                         name;
    ngx_str_t                         stream;    /* without the prefix */
    ngx_str_t                         job;       /* member, zero-terminated;
                                                    len 0: there is none */
    ngx_msec_t                        reply;     /* 0: is not waited for */
    ngx_uint_t                        maxlen;    /* of the stream; 0: as the
                                                    function has it */
    unsigned                          prefix:1;  /* "*" at the end, cut off */
    unsigned                          owner:1;
    unsigned                          claim:1;
} ngx_http_rtbus_command_rule_t;


/*
 * The first rule that fits the name, or NULL; exact: a "*" of a rule does not
 * count.  rules may be NULL.
 */

const ngx_http_rtbus_command_rule_t *ngx_http_rtbus_command_rule(
    ngx_array_t *rules, ngx_str_t *name, ngx_uint_t exact);

/* is there a rule for an event of the module ("@connect") */

ngx_uint_t ngx_http_rtbus_command_wanted(ngx_array_t *rules, const char *name);

/* rtbus_command <pattern> [stream=] [maxlen=] [job=] [owner|claim] [reply=] */

char *ngx_http_rtbus_conf_command(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


#endif /* _NGX_HTTP_RTBUS_COMMAND_RULE_H_INCLUDED_ */
