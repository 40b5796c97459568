
/*
 * Where the stream of a channel ends.
 *
 * The function rtbus_position answers with the position only.  XINFO STREAM
 * also returns the first and the last entry, however long they are, and is used
 * if the function cannot be called: without the library, or while the slot of a
 * cluster moves.  EXISTS tells if there is no such key.
 */


#ifndef _NGX_RTBUS_POSITION_H_INCLUDED_
#define _NGX_RTBUS_POSITION_H_INCLUDED_


#include "ngx_rtbus_hub.h"


/* the key holds something other than a stream */

#define ngx_rtbus_position_wrong(reply)                                       \
    ((reply)->type == REDIS_REPLY_ERROR                                       \
     && ngx_strncmp((reply)->str, "WRONGTYPE", 9) == 0)


/*
 * last: the position of the last entry, whose timestamp is 0 if it is not
 * known; 0-0 without a stream.  NULL: it cannot be had now, reply says why, or
 * is NULL if Redis is away.
 */
typedef void (*ngx_rtbus_position_pt)(void *data, rtbus_pos_t *last,
    uint64_t timestamp, redisReply *reply);


typedef struct {
    /* set by the owner */

    ngx_rtbus_channel_t       *ch;
    ngx_rtbus_position_pt      handler;    /* never called from within */
    void                      *data;

    /* private */

    ngx_rtbus_redis_call_t    *call;       /* under way, or NULL */
} ngx_rtbus_position_t;


/* p is zeroed memory; NGX_OK: the handler will be called; NGX_ERROR */

ngx_int_t ngx_rtbus_position_ask(ngx_rtbus_position_t *p);

/* the handler will not be called, if it has not been */

void ngx_rtbus_position_cancel(ngx_rtbus_position_t *p);


#endif /* _NGX_RTBUS_POSITION_H_INCLUDED_ */
