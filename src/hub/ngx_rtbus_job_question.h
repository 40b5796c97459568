
/*
 * Questions to Redis about a job: builds the commands and reads the replies.
 * The caller sends them.
 */


#ifndef _NGX_RTBUS_JOB_QUESTION_H_INCLUDED_
#define _NGX_RTBUS_JOB_QUESTION_H_INCLUDED_


#include "ngx_rtbus_hub.h"
#include "rtbus_llm_format.h"


/* a worker that has been without Redis so lately does not judge others, ms */
#define NGX_RTBUS_JOB_LEASE  15000


/* a command and its memory */

typedef struct {
    int                         argc;
    const char                 *argv[12];
    size_t                      len[12];
    u_char                      key[NGX_RTBUS_HUB_MAX_KEY];
    u_char                      text[2][RTBUS_POSITION_MAX];
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
 * The reply to that; strings are memory of the pool, or (NULL) the reply's.
 * NGX_OK, NGX_DECLINED: it is none, NGX_ERROR: no memory.
 */

ngx_int_t ngx_rtbus_job_info(ngx_rtbus_hub_t *hub, redisReply *reply,
    ngx_pool_t *pool, ngx_rtbus_job_info_t *info);


/* ends one that runs, for the epoch of info; its owner is told by _tell() */

void ngx_rtbus_job_stop(ngx_rtbus_hub_t *hub, ngx_str_t *channel,
    ngx_rtbus_job_info_t *info, ngx_rtbus_job_question_t *q);


#define NGX_RTBUS_JOB_OWNER  (NGX_RTBUS_MAILBOX_ID_LEN + 1 + NGX_INT64_LEN)


typedef enum {
    NGX_RTBUS_JOB_REJECT = 0,
    NGX_RTBUS_JOB_ATTACH,
    NGX_RTBUS_JOB_REPLACE
} ngx_rtbus_job_busy_e;


typedef enum {
    NGX_RTBUS_JOB_CLAIMED = 0,
    NGX_RTBUS_JOB_BUSY,
    NGX_RTBUS_JOB_FOLLOW,       /* there is one to attach to */
    NGX_RTBUS_JOB_FORBIDDEN,
    NGX_RTBUS_JOB_GONE
} ngx_rtbus_job_verdict_e;


typedef struct {
    ngx_str_t                   channel;
    ngx_str_t                   user;
    ngx_str_t                   key;        /* of its retries, or empty */
    ngx_uint_t                  busy;
    time_t                      keep;
    ngx_str_t                   cursor;     /* position, or empty */
    ngx_msec_t                  asked;      /* set by _claim() */

    /* the answer */

    ngx_uint_t                  verdict;
    ngx_str_t                   epoch;      /* of the reply */
    ngx_str_t                   old;        /* owner that is one no more */
    u_char                      owner[NGX_RTBUS_JOB_OWNER];
    size_t                      owner_len;
} ngx_rtbus_job_claim_t;


/* claims a channel; claim lives until the reply is there */

void ngx_rtbus_job_claim(ngx_rtbus_hub_t *hub, ngx_rtbus_job_claim_t *claim,
    ngx_rtbus_job_question_t *q);

/* NGX_OK: the answer is set; NGX_DECLINED: it is none */

ngx_int_t ngx_rtbus_job_claimed(ngx_rtbus_hub_t *hub,
    ngx_rtbus_job_claim_t *claim, redisReply *reply);


#endif /* _NGX_RTBUS_JOB_QUESTION_H_INCLUDED_ */
