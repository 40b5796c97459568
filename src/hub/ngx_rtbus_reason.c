
#include "ngx_rtbus_reason.h"


typedef struct {
    const char                  *text;
    ngx_rtbus_stat_refused_e     refused;    /* what a refusal counts as */
    ngx_rtbus_stat_result_e      result;     /* ... a command's outcome */
} ngx_rtbus_reason_t;


#define ngx_rtbus_reason(reason)                                              \
    ngx_rtbus_reasons[(reason) - NGX_RTBUS_REASON_ORIGIN]

#define ngx_rtbus_reason_index(name)                                          \
    NGX_RTBUS_REASON_##name - NGX_RTBUS_REASON_ORIGIN


static const ngx_rtbus_reason_t  ngx_rtbus_reasons[] = {

    [ngx_rtbus_reason_index(ORIGIN)] = { "origin not allowed",
        NGX_RTBUS_STAT_REFUSED_ORIGIN, NGX_RTBUS_STAT_CMD_FORBIDDEN },
    [ngx_rtbus_reason_index(UNAUTHORIZED)] = { "unauthorized",
        NGX_RTBUS_STAT_REFUSED_UNAUTHORIZED, NGX_RTBUS_STAT_CMD_FORBIDDEN },
    [ngx_rtbus_reason_index(FORBIDDEN)] = { "forbidden",
        NGX_RTBUS_STAT_REFUSED_FORBIDDEN, NGX_RTBUS_STAT_CMD_FORBIDDEN },
    [ngx_rtbus_reason_index(NAMESPACE)] = { "Invalid namespace",
        NGX_RTBUS_STAT_REFUSED_NAMESPACE, NGX_RTBUS_STAT_CMD_INVALID },
    [ngx_rtbus_reason_index(METHOD)] = { "method not allowed",
        NGX_RTBUS_STAT_REFUSED_METHOD, NGX_RTBUS_STAT_CMD_INVALID },
    [ngx_rtbus_reason_index(EVENT)] = { "unknown event",
        NGX_RTBUS_STAT_REFUSED_EVENT, NGX_RTBUS_STAT_CMD_INVALID },

    [ngx_rtbus_reason_index(CHANNELS)] = { "too many channels",
        NGX_RTBUS_STAT_REFUSED_CHANNELS, NGX_RTBUS_STAT_CMD_INVALID },
    [ngx_rtbus_reason_index(REQUESTS)] = { "too many requests",
        NGX_RTBUS_STAT_REFUSED_REQUESTS, NGX_RTBUS_STAT_CMD_BUSY },
    [ngx_rtbus_reason_index(SESSIONS)] = { "too many sessions",
        NGX_RTBUS_STAT_REFUSED_REQUESTS, NGX_RTBUS_STAT_CMD_INVALID },
    [ngx_rtbus_reason_index(RATE)] = { "rate limited",
        NGX_RTBUS_STAT_REFUSED_RATE, NGX_RTBUS_STAT_CMD_INVALID },
    [ngx_rtbus_reason_index(LARGE)] = { "body too large",
        NGX_RTBUS_STAT_REFUSED_LARGE, NGX_RTBUS_STAT_CMD_INVALID },

    [ngx_rtbus_reason_index(UNAVAILABLE)] = { "unavailable",
        NGX_RTBUS_STAT_REFUSED_UNAVAILABLE, NGX_RTBUS_STAT_CMD_UNAVAILABLE },
    [ngx_rtbus_reason_index(BUSY)] = { "busy",
        NGX_RTBUS_STAT_REFUSED_OTHER, NGX_RTBUS_STAT_CMD_BUSY },
    [ngx_rtbus_reason_index(TIMEOUT)] = { "timeout",
        NGX_RTBUS_STAT_REFUSED_TIMEOUT, NGX_RTBUS_STAT_CMD_TIMEOUT },
    [ngx_rtbus_reason_index(GONE)] = { "gone",
        NGX_RTBUS_STAT_REFUSED_OTHER, NGX_RTBUS_STAT_CMD_INVALID },

    [ngx_rtbus_reason_index(CHANNEL)] = { "bad channel",
        NGX_RTBUS_STAT_REFUSED_MALFORMED, NGX_RTBUS_STAT_CMD_INVALID },
    [ngx_rtbus_reason_index(NO_CHANNEL)] = { "no channel",
        NGX_RTBUS_STAT_REFUSED_MALFORMED, NGX_RTBUS_STAT_CMD_INVALID },
    [ngx_rtbus_reason_index(CURSOR)] = { "bad cursor",
        NGX_RTBUS_STAT_REFUSED_MALFORMED, NGX_RTBUS_STAT_CMD_INVALID },
    [ngx_rtbus_reason_index(POSITION)] = { "bad position",
        NGX_RTBUS_STAT_REFUSED_MALFORMED, NGX_RTBUS_STAT_CMD_INVALID },
    [ngx_rtbus_reason_index(STATE)] = { "bad state",
        NGX_RTBUS_STAT_REFUSED_MALFORMED, NGX_RTBUS_STAT_CMD_INVALID },
    [ngx_rtbus_reason_index(AFTER_AND_STATE)] = { "either after or state",
        NGX_RTBUS_STAT_REFUSED_MALFORMED, NGX_RTBUS_STAT_CMD_INVALID },
    [ngx_rtbus_reason_index(JOB_ID)] = { "bad jobId",
        NGX_RTBUS_STAT_REFUSED_MALFORMED, NGX_RTBUS_STAT_CMD_INVALID },
    [ngx_rtbus_reason_index(ACK_ID)] = { "bad ackId",
        NGX_RTBUS_STAT_REFUSED_MALFORMED, NGX_RTBUS_STAT_CMD_INVALID },
    [ngx_rtbus_reason_index(SEQUENCE)] = { "bad lastSequence",
        NGX_RTBUS_STAT_REFUSED_MALFORMED, NGX_RTBUS_STAT_CMD_INVALID },
    [ngx_rtbus_reason_index(ID_LONG)] = { "id is too long",
        NGX_RTBUS_STAT_REFUSED_MALFORMED, NGX_RTBUS_STAT_CMD_INVALID },
    [ngx_rtbus_reason_index(EVENT_NAME)] = { "bad event name",
        NGX_RTBUS_STAT_REFUSED_MALFORMED, NGX_RTBUS_STAT_CMD_INVALID },
    [ngx_rtbus_reason_index(REPLY)] = { "bad reply",
        NGX_RTBUS_STAT_REFUSED_MALFORMED, NGX_RTBUS_STAT_CMD_INVALID },
    [ngx_rtbus_reason_index(CONTENT_TYPE)] = { "not application/json",
        NGX_RTBUS_STAT_REFUSED_MALFORMED, NGX_RTBUS_STAT_CMD_INVALID },
    [ngx_rtbus_reason_index(BODY)] = { "bad event",
        NGX_RTBUS_STAT_REFUSED_MALFORMED, NGX_RTBUS_STAT_CMD_INVALID },
    [ngx_rtbus_reason_index(SCHEMA)] = { "not as the schema has it",
        NGX_RTBUS_STAT_REFUSED_MALFORMED, NGX_RTBUS_STAT_CMD_INVALID },
    [ngx_rtbus_reason_index(HANDSHAKE)] = { "websocket handshake expected",
        NGX_RTBUS_STAT_REFUSED_MALFORMED, NGX_RTBUS_STAT_CMD_INVALID },
    [ngx_rtbus_reason_index(WS_VERSION)] = { "websocket version 13 expected",
        NGX_RTBUS_STAT_REFUSED_MALFORMED, NGX_RTBUS_STAT_CMD_INVALID },
    [ngx_rtbus_reason_index(WS_KEY)] = { "bad Sec-WebSocket-Key",
        NGX_RTBUS_STAT_REFUSED_MALFORMED, NGX_RTBUS_STAT_CMD_INVALID },
    [ngx_rtbus_reason_index(WS_BODY)] = { "body in a websocket handshake",
        NGX_RTBUS_STAT_REFUSED_MALFORMED, NGX_RTBUS_STAT_CMD_INVALID },

    [ngx_rtbus_reason_index(NOT_SUBSCRIBED)] = { "not subscribed",
        NGX_RTBUS_STAT_REFUSED_OTHER, NGX_RTBUS_STAT_CMD_INVALID },
    [ngx_rtbus_reason_index(UNSUBSCRIBED)] = { "unsubscribed",
        NGX_RTBUS_STAT_REFUSED_OTHER, NGX_RTBUS_STAT_CMD_INVALID },
    [ngx_rtbus_reason_index(UNDER_WAY)] = { "subscribe is under way",
        NGX_RTBUS_STAT_REFUSED_OTHER, NGX_RTBUS_STAT_CMD_INVALID },
    [ngx_rtbus_reason_index(NO_REPLAY)] = { "nothing to replay",
        NGX_RTBUS_STAT_REFUSED_OTHER, NGX_RTBUS_STAT_CMD_INVALID },
    [ngx_rtbus_reason_index(NO_JOB)] = { "no such job",
        NGX_RTBUS_STAT_REFUSED_OTHER, NGX_RTBUS_STAT_CMD_INVALID },
    [ngx_rtbus_reason_index(NO_BUS)] = { "unknown bus",
        NGX_RTBUS_STAT_REFUSED_OTHER, NGX_RTBUS_STAT_CMD_INVALID },
    [ngx_rtbus_reason_index(NOT_FOUND)] = { "Not found",
        NGX_RTBUS_STAT_REFUSED_OTHER, NGX_RTBUS_STAT_CMD_INVALID },
    [ngx_rtbus_reason_index(JOB_NOT_FOUND)] = { "Job not found",
        NGX_RTBUS_STAT_REFUSED_OTHER, NGX_RTBUS_STAT_CMD_INVALID }
};


const char *
ngx_rtbus_reason_text(ngx_uint_t reason)
{
    return (reason < RTBUS_REASONS) ? rtbus_reason_text(reason)
                                    : ngx_rtbus_reason(reason).text;
}


ngx_uint_t
ngx_rtbus_reason_find(const u_char *text, size_t len)
{
    ngx_uint_t   reason;
    const char  *known;

    for (reason = RTBUS_REASON_NONE + 1; reason < NGX_RTBUS_REASONS; reason++) {
        known = ngx_rtbus_reason_text(reason);

        if (ngx_strlen(known) == len && ngx_memcmp(known, text, len) == 0) {
            return reason;
        }
    }

    return NGX_RTBUS_REASON_SCHEMA;
}


/* what is wrong with JSON or an event is the client's mistake */

void
ngx_rtbus_reason_refused(ngx_rtbus_stat_t *stat, ngx_uint_t reason)
{
    ngx_uint_t  i;

    i = (reason < RTBUS_REASONS) ? NGX_RTBUS_STAT_REFUSED_MALFORMED
                                 : ngx_rtbus_reason(reason).refused;

    ngx_rtbus_stat_add(stat, refused[i], 1);
}


void
ngx_rtbus_reason_command(ngx_rtbus_stat_t *stat, ngx_uint_t reason)
{
    ngx_uint_t  i;

    i = (reason < RTBUS_REASONS) ? NGX_RTBUS_STAT_CMD_INVALID
                                 : ngx_rtbus_reason(reason).result;

    ngx_rtbus_stat_add(stat, commands[i], 1);
}
