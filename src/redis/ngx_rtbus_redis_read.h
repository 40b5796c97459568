
/*
 * Reading from Redis: what has arrived is cut into replies, and given to the
 * owner of the connection; so much of it in a turn of the event loop.
 */


#ifndef _NGX_RTBUS_REDIS_READ_H_INCLUDED_
#define _NGX_RTBUS_REDIS_READ_H_INCLUDED_


#include "ngx_rtbus_redis_conn.h"


void ngx_rtbus_redis_read_handler(ngx_event_t *rev);

/* the timer of a connection that has rested */

void ngx_rtbus_redis_read_rested(ngx_event_t *ev);


#endif /* _NGX_RTBUS_REDIS_READ_H_INCLUDED_ */
