
/*
 * Jobs: the answers that workers of nginx capture.  The questions to Redis
 * about them, and about jobs of producers, are in ngx_rtbus_job_question.
 */


#ifndef _NGX_RTBUS_JOB_H_INCLUDED_
#define _NGX_RTBUS_JOB_H_INCLUDED_


#include "ngx_rtbus_job_question.h"


/* tells the worker that owned a job that it does not any more */

void ngx_rtbus_job_tell(ngx_rtbus_hub_t *hub, ngx_str_t *owner);


/*
 * The rest is for the owner of a job.
 */

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


/* the job that was claimed; NULL: no memory */

ngx_rtbus_job_t *ngx_rtbus_job_create(ngx_rtbus_hub_t *hub,
    ngx_rtbus_job_claim_t *claim);

/* there is an answer, of that type, whose format may be known */

ngx_int_t ngx_rtbus_job_begin(ngx_rtbus_job_t *job, ngx_str_t *type,
    ngx_uint_t format);

/*
 * Adds an event, or text to be appended to the output, to the next flush.
 * NGX_OK; NGX_DECLINED: larger than an event may be; NGX_ERROR: no memory.
 */

ngx_int_t ngx_rtbus_job_add(ngx_rtbus_job_t *job, rtbus_str_t *name,
    rtbus_str_t *data, ngx_uint_t json);
ngx_int_t ngx_rtbus_job_text(ngx_rtbus_job_t *job, rtbus_str_t *text);

/*
 * Sends all that was added, in one call.  Any status but running ends the job,
 * which takes no more events; usage and error may be NULL.  NGX_OK or
 * NGX_ERROR.
 */

ngx_int_t ngx_rtbus_job_flush(ngx_rtbus_job_t *job, ngx_uint_t status,
    rtbus_str_t *usage, const char *error);

/* no handler is called any more; a job that has not ended is interrupted */

void ngx_rtbus_job_leave(ngx_rtbus_job_t *job);


/*
 * For ngx_rtbus_listen and ngx_rtbus_link.  If there are captures, Redis is
 * asked for the job of a channel when its epoch changes, and at each beat while
 * the job runs and the channel has subscribers.
 */

void ngx_rtbus_job_init(ngx_rtbus_hub_t *hub);
void ngx_rtbus_job_close(ngx_rtbus_hub_t *hub);
void ngx_rtbus_job_watch(ngx_rtbus_channel_t *ch);
void ngx_rtbus_job_forget(ngx_rtbus_channel_t *ch);
void ngx_rtbus_job_beat(ngx_rtbus_hub_t *hub);


#endif /* _NGX_RTBUS_JOB_H_INCLUDED_ */
