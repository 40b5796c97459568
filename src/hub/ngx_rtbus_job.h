
/*
 * Jobs as Redis knows them: the answers that workers of nginx capture, and those
 * of producers whose last event is marked.
 */


#ifndef _NGX_RTBUS_JOB_H_INCLUDED_
#define _NGX_RTBUS_JOB_H_INCLUDED_


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
 * The reply to that; strings are memory of the pool, or (NULL) the reply's.  NGX_OK, NGX_DECLINED: it
 * is none, NGX_ERROR: no memory.
 */

ngx_int_t ngx_rtbus_job_info(redisReply *reply, ngx_pool_t *pool,
    ngx_rtbus_job_info_t *info);


/* ends one that runs, for the epoch of info; its owner is told by _tell() */

void ngx_rtbus_job_stop(ngx_rtbus_hub_t *hub, ngx_str_t *channel,
    ngx_rtbus_job_info_t *info, ngx_rtbus_job_question_t *q);

/* tells the owner of a job that it is not its any more */

void ngx_rtbus_job_tell(ngx_rtbus_hub_t *hub, ngx_str_t *owner);


/*
 * The rest is for the owner of a job.
 */

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

    /* the answer */

    ngx_uint_t                  verdict;
    ngx_str_t                   epoch;      /* of the reply */
    ngx_str_t                   old;        /* owner that is one no more */
    u_char                      owner[NGX_RTBUS_JOB_OWNER];
    size_t                      owner_len;
} ngx_rtbus_job_claim_t;


typedef struct ngx_rtbus_job_s    ngx_rtbus_job_t;
typedef struct ngx_rtbus_batch_s  ngx_rtbus_batch_t;

/* called from the event loop, never from within; the job lives on */
typedef void (*ngx_rtbus_job_pt)(void *data);

struct ngx_rtbus_job_s {
    /* set by the owner; NULL once it is gone */

    ngx_rtbus_job_pt            ended_handler;  /* the end is in Redis */
    ngx_rtbus_job_pt            lost_handler;   /* somebody has ended it */
    void                       *data;

    /* may be read by the owner */

    ngx_uint_t                  status;     /* rtbus_job_status_e, as sent */
    uint64_t                    events;     /* all that were added */
    size_t                      size;       /* bytes of them */
    unsigned                    away:1;     /* Redis does not answer */
    unsigned                    over:1;     /* no event is taken any more */

    /* private */

    ngx_queue_t                 queue;      /* hub->jobs */
    ngx_rtbus_hub_t            *hub;
    ngx_str_t                   channel;
    ngx_str_t                   epoch;
    ngx_str_t                   owner;
    ngx_str_t                   type;       /* not sent yet, or empty */
    ngx_uint_t                  format;     /* likewise, or RTBUS_LLM_AUTO */
    ngx_array_t                *adding;     /* ngx_str_t, four of an event */
    ngx_pool_t                 *pool;       /* of what is added */
    ngx_str_t                   text;       /* malloc'ed, likewise */
    size_t                      text_size;
    ngx_rtbus_batch_t          *first;      /* not answered yet */
    ngx_rtbus_batch_t         **last;
    ngx_uint_t                  nsent;
    size_t                      waiting;    /* bytes of them */
    ngx_event_t                 timer;
    ngx_msec_t                  renewed;
    ngx_msec_t                  kept;       /* the keys live from then on */
    ngx_msec_t                  left;       /* the owner has */
    unsigned                    stalled:1;
};


/* claims a channel; claim lives until the reply is there */

void ngx_rtbus_job_claim(ngx_rtbus_hub_t *hub, ngx_rtbus_job_claim_t *claim,
    ngx_rtbus_job_question_t *q);

/* NGX_OK: the answer is set; NGX_DECLINED: it is none */

ngx_int_t ngx_rtbus_job_claimed(ngx_rtbus_job_claim_t *claim,
    redisReply *reply);

/* the job that was claimed; NULL: no memory */

ngx_rtbus_job_t *ngx_rtbus_job_create(ngx_rtbus_hub_t *hub,
    ngx_rtbus_job_claim_t *claim);

/* there is an answer, of that type, whose format may be known */

ngx_int_t ngx_rtbus_job_begin(ngx_rtbus_job_t *job, ngx_str_t *type,
    ngx_uint_t format);

/*
 * Adds an event, and text that the output grows by, to what is sent with the next
 * flush.  NGX_OK; NGX_DECLINED: it is larger than an event may be; NGX_ERROR: no
 * memory.
 */

ngx_int_t ngx_rtbus_job_add(ngx_rtbus_job_t *job, rtbus_str_t *name,
    rtbus_str_t *data, ngx_uint_t json);
ngx_int_t ngx_rtbus_job_text(ngx_rtbus_job_t *job, rtbus_str_t *text);

/*
 * Sends what there is, in one call.  With a status the job ends, and takes no
 * events any more; usage and error may be empty.  NGX_OK or NGX_ERROR.
 */

ngx_int_t ngx_rtbus_job_flush(ngx_rtbus_job_t *job, ngx_uint_t status,
    rtbus_str_t *usage, const char *error);

/* no handler is called any more; a job that has not ended is interrupted */

void ngx_rtbus_job_leave(ngx_rtbus_job_t *job);


/*
 * For the hub, all but the first two only where there are captures: a channel of
 * another epoch is asked for its job, and one whose job runs at each beat, as long
 * as somebody listens to it.
 */

void ngx_rtbus_job_init(ngx_rtbus_hub_t *hub);
void ngx_rtbus_job_close(ngx_rtbus_hub_t *hub);
void ngx_rtbus_job_watch(ngx_rtbus_channel_t *ch);
void ngx_rtbus_job_forget(ngx_rtbus_channel_t *ch);
void ngx_rtbus_job_beat(ngx_rtbus_hub_t *hub);


#endif /* _NGX_RTBUS_JOB_H_INCLUDED_ */
