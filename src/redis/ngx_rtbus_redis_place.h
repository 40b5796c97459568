
/*
 * A place for a connection: one of nginx's worker_connections and a file
 * descriptor.  While a link to Redis is down its place is kept, since clients
 * would take it, and never give it back: a worker that is full could not get
 * Redis back.
 */


#ifndef _NGX_RTBUS_REDIS_PLACE_H_INCLUDED_
#define _NGX_RTBUS_REDIS_PLACE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>


/* a connection that is none, or NULL: there is no room for one */

ngx_connection_t *ngx_rtbus_redis_place(ngx_log_t *log);

/* whoever is next to ask nginx for a connection gets it */

void ngx_rtbus_redis_place_free(ngx_connection_t *c);


#endif /* _NGX_RTBUS_REDIS_PLACE_H_INCLUDED_ */
