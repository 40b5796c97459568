
/*
 * A finite channel as the answer of a request: its events from the start, or
 * from where the client is, then what comes, and the end when there is one.
 *
 * A replay ends cleanly only if the answer is complete, or has failed by its
 * source's own word.  Otherwise the client gets the tail of the format, or the
 * transfer is aborted.
 *
 *   replay_conf     the directive
 *   replay_request  what the client asks for, and whether there is such a job
 *   replay_encode   frames
 */


#ifndef _NGX_HTTP_RTBUS_REPLAY_H_INCLUDED_
#define _NGX_HTTP_RTBUS_REPLAY_H_INCLUDED_


#include "ngx_http_rtbus_module.h"
#include "ngx_http_rtbus_carrier.h"
#include "ngx_rtbus_job.h"


typedef enum {
    NGX_HTTP_RTBUS_COUNT_NONE = 0,      /* a cursor or a position */
    NGX_HTTP_RTBUS_COUNT_SEQ,
    NGX_HTTP_RTBUS_COUNT_INDEX,
    NGX_HTTP_RTBUS_COUNT_RESPONSES
} ngx_http_rtbus_count_e;


/* rtbus_replay, in cf->pool */

struct ngx_http_rtbus_replay_conf_s {
    ngx_http_rtbus_name_t       *channel;
    ngx_http_rtbus_name_t       *after;       /* or NULL */
    ngx_http_rtbus_count_e       count;
    ngx_uint_t                   none;        /* the status for it */
    ngx_msec_t                   done;
    ngx_uint_t                   id;          /* 0, 1; unset: by format */
};


typedef struct {
    ngx_http_rtbus_carrier_t       carrier;    /* the first member */
    ngx_rtbus_sub_t                sub;
    ngx_http_rtbus_replay_conf_t  *conf;

    ngx_str_t                      channel;
    ngx_str_t                      user;
    rtbus_pos_t                    pos;        /* the client has got so far */
    uint64_t                       number;     /* with count=responses: what has
                                                  a greater one is wanted */
    ngx_rtbus_job_info_t           info;
    ngx_rtbus_redis_call_t        *call;       /* under way, or NULL */
    ngx_event_t                    timer;      /* asks for the state */
    ngx_event_t                    heartbeat;
    off_t                          waited;
    ngx_buf_t                      buf;        /* of the first frame */
    ngx_uint_t                     status;     /* rtbus_job_status_e */

    unsigned                       owned:1;    /* for its owner only */
    unsigned                       attached:1; /* instead of an upstream */
    unsigned                       placed:1;   /* pos.seq is set */
    unsigned                       exact:1;    /* ... and its epoch, too */
    unsigned                       skipping:1; /* up to number */
    unsigned                       ahead:1;    /* Redis has less than the client */
    unsigned                       joined:1;   /* has been live */
    unsigned                       behind:1;   /* is to read on from pos */
    unsigned                       ended:1;
    unsigned                       clean:1;    /* with an end of the answer */
    unsigned                       tail:1;     /* or with that of its format */
    unsigned                       done:1;     /* finalized */
} ngx_http_rtbus_replay_t;


/*
 * From a handler of the request, with the job known, and the place to begin at:
 * what the content handler returns.
 */

ngx_int_t ngx_http_rtbus_replay_start(ngx_http_request_t *r,
    ngx_http_rtbus_replay_t *rp);

/* there is nothing to replay; and there is, but the client has all of it */

ngx_int_t ngx_http_rtbus_replay_none(ngx_http_request_t *r,
    ngx_http_rtbus_replay_t *rp);
ngx_int_t ngx_http_rtbus_replay_empty(ngx_http_request_t *r);


#endif /* _NGX_HTTP_RTBUS_REPLAY_H_INCLUDED_ */
