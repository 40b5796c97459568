
/*
 * Jobs as Redis knows them: the answers that workers of nginx capture, and those
 * of producers whose last event is marked.
 */


#ifndef _NGX_RTBUS_JOB_H_INCLUDED_
#define _NGX_RTBUS_JOB_H_INCLUDED_


#include "ngx_rtbus_hub.h"
#include "rtbus_llm.h"


/* a worker that has been without Redis so lately does not judge others, ms */
#define NGX_RTBUS_JOB_LEASE  15000


/* a command and its memory */

typedef struct {
    int                         argc;
    const char                 *argv[6];
    size_t                      len[6];
    u_char                      key[NGX_RTBUS_HUB_MAX_KEY];
    u_char                      text[RTBUS_POSITION_MAX];
} ngx_rtbus_job_question_t;


/* what Redis says of the job of a channel */

typedef struct {
    ngx_str_t                   user;
    ngx_str_t                   type;       /* of the answer; empty: unknown */
    ngx_str_t                   owner;      /* mailbox id of the worker */
    rtbus_pos_t                 last;       /* position of the channel */
    rtbus_pos_t                 end;        /* with over: of the last event */
    ngx_msec_t                  since;      /* with over: so long ago */
    ngx_uint_t                  status;     /* rtbus_job_status_e */
    ngx_uint_t                  format;     /* rtbus_llm_format_e */
    unsigned                    captured:1; /* by a worker of nginx */
    unsigned                    running:1;  /* ... still */
    unsigned                    waiting:1;  /* ... and there is no answer yet */
    unsigned                    over:1;
    unsigned                    lines:1;    /* of JSON */
} ngx_rtbus_job_info_t;


/* asks for it; names an owner that is gone as such, if this worker may */

void ngx_rtbus_job_check(ngx_rtbus_hub_t *hub, ngx_str_t *channel,
    ngx_rtbus_job_question_t *q);

/*
 * The reply to that; strings are memory of the pool.  NGX_OK, NGX_DECLINED: it
 * is none, NGX_ERROR: no memory.
 */

ngx_int_t ngx_rtbus_job_info(redisReply *reply, ngx_pool_t *pool,
    ngx_rtbus_job_info_t *info);


#endif /* _NGX_RTBUS_JOB_H_INCLUDED_ */
