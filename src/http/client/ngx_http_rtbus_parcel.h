
/*
 * The call of Redis that sends a command, whole, for as long as it has to wait:
 * until Redis has said whose the job is.
 */


#ifndef _NGX_HTTP_RTBUS_PARCEL_H_INCLUDED_
#define _NGX_HTTP_RTBUS_PARCEL_H_INCLUDED_


#include "ngx_http_rtbus_command_rule.h"


/* FCALL rtbus_command 1 <stream> <dedupe id> MAXLEN <n>, and eleven fields */
#define NGX_HTTP_RTBUS_PARCEL_ARGS  (7 + 2 * 11)


/* who asks; none of it has to stay */

typedef struct {
    ngx_http_rtbus_worker_t          *worker;
    ngx_array_t                      *rules;     /* of the location, or NULL */
    ngx_str_t                         user;      /* empty: nobody */
    ngx_str_t                         sid;       /* empty: no address */
    ngx_str_t                         nsp;
    ngx_log_t                        *log;
} ngx_http_rtbus_asker_t;


/* an event of a client: checked JSON, but for the name */

typedef struct {
    ngx_str_t                         name;
    ngx_str_t                         data;      /* the first argument; empty:
                                                    there is none */
    ngx_str_t                         args;      /* all of them, with commas
                                                    and without brackets */
    ngx_str_t                         attachments;  /* an array of strings in
                                                    base64; empty: none */
} ngx_http_rtbus_input_t;


/* one block, malloc'ed; ngx_free() frees it */

typedef struct {
    size_t                            size;
    int                               argc;
    const char                       *argv[NGX_HTTP_RTBUS_PARCEL_ARGS];
    size_t                            len[NGX_HTTP_RTBUS_PARCEL_ARGS];
    u_char                            text[1];
} ngx_http_rtbus_parcel_t;


/* ack: its number, 0: no answer is asked for; NULL: no memory */

ngx_http_rtbus_parcel_t *ngx_http_rtbus_parcel_create(
    ngx_http_rtbus_asker_t *asker, const ngx_http_rtbus_command_rule_t *rule,
    ngx_http_rtbus_input_t *in, ngx_str_t *job, ngx_str_t *dedupe,
    uint64_t ack);


#endif /* _NGX_HTTP_RTBUS_PARCEL_H_INCLUDED_ */
