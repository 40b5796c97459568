
/*
 * The answer of an upstream, kept as the job of a channel: what belongs to one
 * request that is captured, and its way from the upstream's bytes to the job.
 *
 * The upstream is read to the end, whatever its client does: the client is sent
 * copies, and the upstream's module never hears of a client that has left.
 *
 *   capture_conf    the directive and the variables
 *   capture_claim   a content handler in front of that of proxy_pass: it claims
 *                   the channel and then calls the other one
 *   capture_filter  the upstream's header and body: to the job, and copies
 *                   of them to the client
 *   capture_client  events of the client's connection; stop and end
 */


#ifndef _NGX_HTTP_RTBUS_CAPTURE_H_INCLUDED_
#define _NGX_HTTP_RTBUS_CAPTURE_H_INCLUDED_


#include "ngx_http_rtbus_module.h"
#include "ngx_rtbus_job.h"
#include "rtbus_llm.h"
#include "rtbus_stream.h"


/* rtbus_capture, in cf->pool */

struct ngx_http_rtbus_capture_conf_s {
    ngx_http_rtbus_name_t       *channel;
    ngx_http_complex_value_t    *id;          /* or NULL */
    ngx_uint_t                   format;      /* rtbus_llm_format_e */
    ngx_uint_t                   busy;        /* ngx_rtbus_job_busy_e */
    time_t                       keep;
    size_t                       max;
    unsigned                     cancel:1;    /* with its client */
    unsigned                     ids:1;
    unsigned                     closed:1;    /* without Redis: 503 */
};


typedef enum {
    NGX_HTTP_RTBUS_CAPTURE_CLAIM = 0,
    NGX_HTTP_RTBUS_CAPTURE_PASS,        /* not captured, or not any more */
    NGX_HTTP_RTBUS_CAPTURE_ATTACHED,
    NGX_HTTP_RTBUS_CAPTURE_WAIT,        /* for the header */
    NGX_HTTP_RTBUS_CAPTURE_READ         /* the answer */
} ngx_http_rtbus_capture_e;


/* where ids are put into the stream */

typedef struct {
    uint64_t                         seq;      /* of the next event */
    ngx_uint_t                       matched;  /* bytes of "data" so far */
    unsigned                         inside:1; /* not at the begin of a line */
    unsigned                         numbered:1;  /* the event has its id */
    unsigned                         cr:1;
} ngx_http_rtbus_capture_ids_t;


typedef struct {
    ngx_http_request_t              *request;
    ngx_http_rtbus_capture_conf_t   *conf;
    ngx_http_rtbus_loc_conf_t       *rlcf;
    ngx_rtbus_hub_t                 *hub;
    ngx_http_rtbus_capture_e         state;

    ngx_rtbus_job_claim_t            claim;
    ngx_rtbus_redis_call_t          *call;     /* the claim, or NULL */
    ngx_rtbus_job_t                 *job;      /* NULL: it is over */
    ngx_str_t                        epoch;

    ngx_http_event_handler_pt        read;     /* of the upstream's module */
    ngx_http_event_handler_pt        write;

    rtbus_stream_t                   stream;
    rtbus_llm_t                      llm;
    ngx_http_rtbus_capture_ids_t     ids;

    ngx_chain_t                     *free;     /* copies for the client */
    ngx_chain_t                     *busy;
    size_t                           unsent;   /* bytes of them, about */

    ngx_event_t                      grace;
    ngx_event_t                      hold;
    ngx_event_t                      ping;
    off_t                            sent;     /* c->sent at the last ping */

    ngx_uint_t                       status;   /* rtbus_job_status_e */
    uint64_t                         events;

    unsigned                         gone:1;   /* the client */
    unsigned                         fixed:1;  /* Content-Length is told */
    unsigned                         lost:1;   /* bytes were not understood */
    unsigned                         early:1;  /* the job has ended before the
                                                  answer, which goes on */
    unsigned                         stopping:1;
    unsigned                         last:1;   /* the end is kept back */
    unsigned                         broken:1; /* it will be no end */
} ngx_http_rtbus_capture_t;


/* r->buffered: the end is kept back */

#define NGX_HTTP_RTBUS_BUFFERED  0x08


extern ngx_module_t  ngx_http_rtbus_capture_filter_module;


/* a context that lives as long as the request; NULL: no memory */

ngx_http_rtbus_capture_t *ngx_http_rtbus_capture_create(ngx_http_request_t *r);

/* the one of a request, after an internal redirect as well, or NULL */

ngx_http_rtbus_capture_t *ngx_http_rtbus_capture_find(ngx_http_request_t *r);

void ngx_http_rtbus_capture_set_state(ngx_http_rtbus_capture_t *ctx,
    ngx_http_rtbus_capture_e state);

/* bytes of the upstream, whose events are added to the job */

void ngx_http_rtbus_capture_feed(ngx_http_rtbus_capture_t *ctx, u_char *p,
    u_char *last);

/* one call for all that one read of the upstream has brought */

void ngx_http_rtbus_capture_flush(ngx_http_rtbus_capture_t *ctx);

/* the job is over; its client may get more */

void ngx_http_rtbus_capture_over(ngx_http_rtbus_capture_t *ctx,
    ngx_uint_t status, const char *error);

/* the transfer is over; ended: as HTTP wants it */

void ngx_http_rtbus_capture_end(ngx_http_rtbus_capture_t *ctx,
    ngx_uint_t ended);


#endif /* _NGX_HTTP_RTBUS_CAPTURE_H_INCLUDED_ */
