
/*
 * Why a request, a message or a command of a client is refused.  Functions
 * answer the code: one of these, or one of rtbus_reason.h if JSON or an event
 * is wrong.  The text of a code is for clients and logs.
 */


#ifndef _NGX_RTBUS_REASON_H_INCLUDED_
#define _NGX_RTBUS_REASON_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "rtbus_reason.h"
#include "ngx_rtbus_stat.h"


typedef enum {
    /* who it is, and what it may do */
    NGX_RTBUS_REASON_ORIGIN = RTBUS_REASONS,
    NGX_RTBUS_REASON_UNAUTHORIZED,
    NGX_RTBUS_REASON_FORBIDDEN,
    NGX_RTBUS_REASON_NAMESPACE,
    NGX_RTBUS_REASON_METHOD,
    NGX_RTBUS_REASON_EVENT,

    /* too much of it */
    NGX_RTBUS_REASON_CHANNELS,
    NGX_RTBUS_REASON_REQUESTS,
    NGX_RTBUS_REASON_SESSIONS,
    NGX_RTBUS_REASON_RATE,
    NGX_RTBUS_REASON_LARGE,

    /* not now */
    NGX_RTBUS_REASON_UNAVAILABLE,
    NGX_RTBUS_REASON_BUSY,
    NGX_RTBUS_REASON_TIMEOUT,
    NGX_RTBUS_REASON_GONE,

    /* malformed */
    NGX_RTBUS_REASON_CHANNEL,
    NGX_RTBUS_REASON_NO_CHANNEL,
    NGX_RTBUS_REASON_CURSOR,
    NGX_RTBUS_REASON_POSITION,
    NGX_RTBUS_REASON_STATE,
    NGX_RTBUS_REASON_AFTER_AND_STATE,
    NGX_RTBUS_REASON_JOB_ID,
    NGX_RTBUS_REASON_ACK_ID,
    NGX_RTBUS_REASON_SEQUENCE,
    NGX_RTBUS_REASON_ID_LONG,
    NGX_RTBUS_REASON_EVENT_NAME,
    NGX_RTBUS_REASON_REPLY,
    NGX_RTBUS_REASON_CONTENT_TYPE,
    NGX_RTBUS_REASON_BODY,
    NGX_RTBUS_REASON_SCHEMA,
    NGX_RTBUS_REASON_HANDSHAKE,
    NGX_RTBUS_REASON_WS_VERSION,
    NGX_RTBUS_REASON_WS_KEY,
    NGX_RTBUS_REASON_WS_BODY,

    /* not there */
    NGX_RTBUS_REASON_NOT_SUBSCRIBED,
    NGX_RTBUS_REASON_UNSUBSCRIBED,
    NGX_RTBUS_REASON_UNDER_WAY,
    NGX_RTBUS_REASON_NO_REPLAY,
    NGX_RTBUS_REASON_NO_JOB,
    NGX_RTBUS_REASON_NO_BUS,
    NGX_RTBUS_REASON_NOT_FOUND,
    NGX_RTBUS_REASON_JOB_NOT_FOUND,

    NGX_RTBUS_REASONS
} ngx_rtbus_reason_e;


/* a static text, such as "forbidden" */

const char *ngx_rtbus_reason_text(ngx_uint_t reason);

/* the code of a text, as another worker sends it; or NGX_RTBUS_REASON_SCHEMA */

ngx_uint_t ngx_rtbus_reason_find(const u_char *text, size_t len);

/* counts a refusal, as a command's outcome in the second case */

void ngx_rtbus_reason_refused(ngx_rtbus_stat_t *stat, ngx_uint_t reason);
void ngx_rtbus_reason_command(ngx_rtbus_stat_t *stat, ngx_uint_t reason);


#endif /* _NGX_RTBUS_REASON_H_INCLUDED_ */
