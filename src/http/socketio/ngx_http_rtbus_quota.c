
#include "ngx_http_rtbus_quota.h"


static size_t ngx_http_rtbus_quota_addr(ngx_http_request_t *r, u_char *buf);


ngx_int_t
ngx_http_rtbus_quota_init(ngx_http_rtbus_worker_t *worker, ngx_cycle_t *cycle)
{
    worker->quotas = ngx_palloc(cycle->pool, sizeof(ngx_http_rtbus_quotas_t));
    if (worker->quotas == NULL) {
        return NGX_ERROR;
    }

    ngx_rbtree_init(&worker->quotas->tree, &worker->quotas->sentinel,
                    ngx_str_rbtree_insert_value);

    return NGX_OK;
}


ngx_int_t
ngx_http_rtbus_quota_take(ngx_http_rtbus_worker_t *worker,
    ngx_http_request_t *r, ngx_str_t *user, ngx_uint_t kind,
    ngx_http_rtbus_quota_t **quota)
{
    size_t                   len;
    uint32_t                 hash;
    ngx_str_t                key;
    ngx_str_node_t          *node;
    ngx_http_rtbus_quota_t  *q;
    u_char                   addr[16];

    *quota = NULL;

    if (kind == NGX_HTTP_RTBUS_QUOTA_ADDR) {
        key.data = addr;
        key.len = ngx_http_rtbus_quota_addr(r, addr);

    } else {
        key = *user;
    }

    if (key.len == 0) {
        return NGX_OK;
    }

    /* no address is a user's, whatever that is called */

    hash = ngx_crc32_long(key.data, key.len) + kind;

    node = ngx_str_rbtree_lookup(&worker->quotas->tree, &key, hash);

    if (node == NULL) {
        len = sizeof(ngx_http_rtbus_quota_t) + key.len;

        q = ngx_alloc(len, r->connection->log);
        if (q == NULL) {
            return NGX_ERROR;
        }

        q->node.node.key = hash;
        q->node.str.len = key.len;
        q->node.str.data = (u_char *) (q + 1);
        ngx_memcpy(q->node.str.data, key.data, key.len);

        q->n = 0;
        ngx_queue_init(&q->fresh);

        ngx_rbtree_insert(&worker->quotas->tree, &q->node.node);

    } else {
        q = ngx_rbtree_data(&node->node, ngx_http_rtbus_quota_t, node.node);
    }

    q->n++;
    *quota = q;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus quota kind:%ui sessions:%ui", kind, q->n);

    return NGX_OK;
}


/* an IPv6 client usually has a network of its own, which counts as one */

static size_t
ngx_http_rtbus_quota_addr(ngx_http_request_t *r, u_char *buf)
{
    struct sockaddr      *sa;
    struct sockaddr_in   *sin;
#if (NGX_HAVE_INET6)
    u_char               *p;
    struct sockaddr_in6  *sin6;
#endif

    sa = r->connection->sockaddr;

    switch (sa->sa_family) {

#if (NGX_HAVE_INET6)
    case AF_INET6:
        sin6 = (struct sockaddr_in6 *) sa;
        p = sin6->sin6_addr.s6_addr;

        if (IN6_IS_ADDR_V4MAPPED(&sin6->sin6_addr)) {
            ngx_memcpy(buf, p + 12, 4);
            return 4;
        }

        ngx_memcpy(buf, p, 8);
        return 8;
#endif

    case AF_INET:
        sin = (struct sockaddr_in *) sa;
        ngx_memcpy(buf, &sin->sin_addr, 4);
        return 4;

    default: /* AF_UNIX: all of them are the same */
        return 0;
    }
}


void
ngx_http_rtbus_quota_leave(ngx_http_rtbus_worker_t *worker,
    ngx_http_rtbus_quota_t **quota)
{
    ngx_http_rtbus_quota_t  *q;

    q = *quota;
    *quota = NULL;

    if (q == NULL || --q->n) {
        return;
    }

    ngx_rbtree_delete(&worker->quotas->tree, &q->node.node);
    ngx_free(q);
}
