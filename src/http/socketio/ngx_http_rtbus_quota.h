
/*
 * How many sessions over long-polling an address, and a user, has in this
 * worker: they hold no connection, so nothing else limits them.
 */


#ifndef _NGX_HTTP_RTBUS_QUOTA_H_INCLUDED_
#define _NGX_HTTP_RTBUS_QUOTA_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


struct ngx_http_rtbus_quotas_s {
    ngx_rbtree_t               tree;
    ngx_rbtree_node_t          sentinel;
};


typedef struct {
    ngx_str_node_t             node;      /* quotas->tree */
    ngx_uint_t                 n;         /* sessions */
    ngx_queue_t                fresh;     /* those of them that have never
                                             polled, oldest first */
} ngx_http_rtbus_quota_t;


/* what counts as one address, and as one user */

#define NGX_HTTP_RTBUS_QUOTA_ADDR  0
#define NGX_HTTP_RTBUS_QUOTA_USER  1
#define NGX_HTTP_RTBUS_QUOTAS      2


/* NGX_OK or NGX_ERROR */

ngx_int_t ngx_http_rtbus_quota_init(ngx_http_rtbus_worker_t *worker,
    ngx_cycle_t *cycle);

/*
 * Counts one session more for the client's address, or for the user.  NGX_OK,
 * and *quota is NULL if there is nothing to count by (a unix socket, no user);
 * or NGX_ERROR.
 */

ngx_int_t ngx_http_rtbus_quota_take(ngx_http_rtbus_worker_t *worker,
    ngx_http_request_t *r, ngx_str_t *user, ngx_uint_t kind,
    ngx_http_rtbus_quota_t **quota);

/* counts one session less; *quota may be NULL, and is set to NULL */

void ngx_http_rtbus_quota_leave(ngx_http_rtbus_worker_t *worker,
    ngx_http_rtbus_quota_t **quota);


#endif /* _NGX_HTTP_RTBUS_QUOTA_H_INCLUDED_ */
