
/*
 * The life of a worker: starts what it has of a bus, and ends it.  Only the
 * module calls this.
 */


#ifndef _NGX_HTTP_RTBUS_WORKER_H_INCLUDED_
#define _NGX_HTTP_RTBUS_WORKER_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


/* worker is zeroed memory, hub.redis and the like set; NGX_OK or NGX_ERROR */

ngx_int_t ngx_http_rtbus_worker_init(ngx_http_rtbus_worker_t *worker,
    ngx_cycle_t *cycle);

/* at the exit, there is no client left */

void ngx_http_rtbus_worker_close(ngx_http_rtbus_worker_t *worker);


#endif /* _NGX_HTTP_RTBUS_WORKER_H_INCLUDED_ */
