
/*
 * Replies of a pub/sub connection, taken where they lie: those that come often
 * can do without an object of hiredis for each of their strings.
 */


#ifndef _NGX_RTBUS_REDIS_RAW_H_INCLUDED_
#define _NGX_RTBUS_REDIS_RAW_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


typedef enum {
    NGX_RTBUS_REDIS_RAW_MESSAGE = 0,        /* channel, message */
    NGX_RTBUS_REDIS_RAW_SMESSAGE,           /* likewise, of a shard channel */
    NGX_RTBUS_REDIS_RAW_PMESSAGE,           /* pattern, channel, message */
    NGX_RTBUS_REDIS_RAW_CONFIRM             /* of a SUBSCRIBE or its like */
} ngx_rtbus_redis_raw_e;


/*
 * The size of the reply at the beginning of buf, and str (three of them) in it;
 * or 0: it has not come as a whole, or it is of another kind.
 */

size_t ngx_rtbus_redis_raw_parse(u_char *buf, size_t len,
    ngx_rtbus_redis_raw_e *kind, ngx_str_t *str);


#endif /* _NGX_RTBUS_REDIS_RAW_H_INCLUDED_ */
