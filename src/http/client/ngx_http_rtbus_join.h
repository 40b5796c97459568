
/*
 * The channels that a client joins by events of its own, and what it is told of
 * each.
 */


#ifndef _NGX_HTTP_RTBUS_JOIN_H_INCLUDED_
#define _NGX_HTTP_RTBUS_JOIN_H_INCLUDED_


#include "ngx_http_rtbus_client.h"


/* what the client has asked for, which says how it is answered */

typedef enum {
    NGX_HTTP_RTBUS_JOIN_NONE = 0,
    NGX_HTTP_RTBUS_JOIN_CHANNEL,      /* "subscribe" */
    NGX_HTTP_RTBUS_JOIN_JOB,          /* "subscribe:job" */
    NGX_HTTP_RTBUS_JOIN_SYNC          /* "reconnect:sync" */
} ngx_http_rtbus_join_e;


/*
 * Joins a checked and allowed channel, and answers the client, now or later;
 * ack may be NULL.  NGX_OK or NGX_ERROR.
 */

ngx_int_t ngx_http_rtbus_join(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_channel_t *channel, ngx_http_rtbus_join_e kind,
    uint64_t *ack);

/*
 * The same in two steps, with rc in between, for what has to be sent once it is
 * known that the client has the channel: rc is NGX_OK or NGX_AGAIN then.
 */

ngx_int_t ngx_http_rtbus_join_begin(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_channel_t *channel, ngx_http_rtbus_join_e kind,
    uint64_t *ack);
ngx_int_t ngx_http_rtbus_join_answer(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_channel_t *channel, ngx_http_rtbus_join_e kind,
    uint64_t *ack, ngx_int_t rc);

/*
 * The client has joined or left the channel: {"ok":true,...}, and its cursor if
 * it has to know it.  NGX_OK or NGX_ERROR.
 */

ngx_int_t ngx_http_rtbus_join_ok(ngx_http_rtbus_client_t *cli,
    ngx_str_t *channel, uint64_t *ack);

/* "subscribed" and the like, with the job id of the channel */

void ngx_http_rtbus_join_job_event(ngx_http_rtbus_client_t *cli,
    const char *name, ngx_str_t *channel);

/* what a join is waited for, as a number for another worker; and back */

ngx_http_rtbus_join_e ngx_http_rtbus_join_kind(ngx_http_rtbus_sub_t *s);
void ngx_http_rtbus_join_wait(ngx_http_rtbus_sub_t *s, ngx_uint_t kind);


#endif /* _NGX_HTTP_RTBUS_JOIN_H_INCLUDED_ */
