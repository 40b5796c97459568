
/*
 * A finite channel as the answer of a request: its events from the start, or from
 * where the client is, then what comes, and the end when there is one.
 *
 * An end that looks like one is given only to what is complete, or has failed by
 * its source's own word; whatever else ends it gets the tail of its format, or
 * the transfer is aborted.
 */


#ifndef _NGX_HTTP_RTBUS_REPLAY_H_INCLUDED_
#define _NGX_HTTP_RTBUS_REPLAY_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


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
    ngx_uint_t                   id;          /* 0, 1, or unset: by the format */
};


ngx_int_t ngx_http_rtbus_replay_handler(ngx_http_request_t *r);

/*
 * Answers a request with the job that runs on a channel, or has ended, whoever
 * the client is; to be returned from a content handler.  last: what comes behind
 * this position, or empty.
 */

ngx_int_t ngx_http_rtbus_replay_attach(ngx_http_request_t *r,
    ngx_str_t *channel, ngx_str_t *last);

/* rtbus_replay <channel> [parameter=value ...]; sets conf->replay */

char *ngx_http_rtbus_replay_set(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


#endif /* _NGX_HTTP_RTBUS_REPLAY_H_INCLUDED_ */
