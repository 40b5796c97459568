
/*
 * What has become of a request of a client: of a command, or of an event that
 * the module itself understands.
 */


#ifndef _NGX_HTTP_RTBUS_OUTCOME_H_INCLUDED_
#define _NGX_HTTP_RTBUS_OUTCOME_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


/* room that the JSON of an outcome takes at most */
#define NGX_HTTP_RTBUS_OUTCOME_MAX  512


typedef struct {
    ngx_uint_t                        error;     /* see ngx_rtbus_reason.h; 0:
                                                    see below */
    const char                       *text;      /* more than the text of error
                                                    says, or NULL */
    ngx_str_t                         id;        /* Redis has it; empty: the
                                                    producer has answered */
    ngx_uint_t                        duplicate; /* ... has had it before, and
                                                    no answer will come */
    ngx_uint_t                        seen;      /* ... has had it before */
    rtbus_json_value_t                data;      /* of the producer */
    rtbus_str_t                       attachments;  /* as above */
} ngx_http_rtbus_outcome_t;


/* what an outcome with an error says to the client */

#define ngx_http_rtbus_outcome_text(outcome)                                  \
    ((outcome)->text ? (outcome)->text                                        \
                     : ngx_rtbus_reason_text((outcome)->error))


/*
 * Writes an outcome that is not the producer's, {"ok":true,"id":"..."} or
 * {"ok":false,"error":"..."}, at most NGX_HTTP_RTBUS_OUTCOME_MAX bytes; answers
 * their number.
 */

size_t ngx_http_rtbus_outcome_json(ngx_http_rtbus_outcome_t *outcome,
    u_char *dst);


#endif /* _NGX_HTTP_RTBUS_OUTCOME_H_INCLUDED_ */
