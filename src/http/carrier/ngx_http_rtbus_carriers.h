
/*
 * All carriers of a worker: the input that they share, the goodbye to them when
 * the worker leaves, the one that makes room for Redis.
 *
 * Whoever starts the worker sets drain_handler and late_handler.
 */


#ifndef _NGX_HTTP_RTBUS_CARRIERS_H_INCLUDED_
#define _NGX_HTTP_RTBUS_CARRIERS_H_INCLUDED_


#include "ngx_http_rtbus_carrier.h"


/* worker is zeroed memory; NGX_OK or NGX_ERROR */

ngx_int_t ngx_http_rtbus_carriers_init(ngx_http_rtbus_worker_t *worker,
    ngx_cycle_t *cycle);

/* at the exit, there is no client left */

void ngx_http_rtbus_carriers_close(ngx_http_rtbus_worker_t *worker);

/*
 * How many bytes may be read in this loop turn, beyond the first few of each
 * client.  The caller subtracts what it reads from carriers->share.  0: wait
 * for the next turn.
 */

size_t ngx_http_rtbus_carriers_share(ngx_http_rtbus_worker_t *worker);

/* nginx wants the worker to leave: clients are sent away one after the other */

void ngx_http_rtbus_carriers_drain(ngx_http_rtbus_worker_t *worker);

/* Redis needs a connection and there is none: sends one client away */

void ngx_http_rtbus_carriers_full(ngx_http_rtbus_worker_t *worker);


#endif /* _NGX_HTTP_RTBUS_CARRIERS_H_INCLUDED_ */
