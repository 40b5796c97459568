
/*
 * The life of a worker: its start, its goodbye to all clients, its end.
 */


#ifndef _NGX_HTTP_RTBUS_WORKER_H_INCLUDED_
#define _NGX_HTTP_RTBUS_WORKER_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


/* worker is zeroed memory, hub.redis and the like set; NGX_OK or NGX_ERROR */

ngx_int_t ngx_http_rtbus_worker_init(ngx_http_rtbus_worker_t *worker,
    ngx_cycle_t *cycle);

/* nginx wants the worker to leave: clients are sent away one after the other */

void ngx_http_rtbus_worker_drain(ngx_http_rtbus_worker_t *worker);

/*
 * How many bytes may be read in this loop turn, beyond the first few of each
 * client; who reads them takes them off worker->share.  0: in the next one.
 */

size_t ngx_http_rtbus_worker_share(ngx_http_rtbus_worker_t *worker);

/* at the exit, there is no client left */

void ngx_http_rtbus_worker_close(ngx_http_rtbus_worker_t *worker);


#endif /* _NGX_HTTP_RTBUS_WORKER_H_INCLUDED_ */
