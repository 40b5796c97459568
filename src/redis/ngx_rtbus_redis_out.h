
/*
 * Commands on their way to Redis: collected in one buffer, and sent at the end
 * of the loop turn.
 */


#ifndef _NGX_RTBUS_REDIS_OUT_H_INCLUDED_
#define _NGX_RTBUS_REDIS_OUT_H_INCLUDED_


#include "ngx_rtbus_redis_conn.h"


/*
 * Writes a command behind those that are unsent.  NGX_OK; NGX_ERROR: no memory,
 * or too many bytes are.
 */

ngx_int_t ngx_rtbus_redis_out_append(ngx_rtbus_redis_conn_t *rc, int argc,
    const char **argv, const size_t *argvlen);

/* sends what the socket takes */

void ngx_rtbus_redis_out_write(ngx_rtbus_redis_conn_t *rc);

void ngx_rtbus_redis_out_flush_handler(ngx_event_t *ev);


#endif /* _NGX_RTBUS_REDIS_OUT_H_INCLUDED_ */
