
#include "ngx_rtbus_redis_resolve.h"


/* addresses of a name that are tried, at most */
#define NGX_RTBUS_REDIS_RESOLVE_MAX  64


static ngx_int_t ngx_rtbus_redis_resolve_literal(
    ngx_rtbus_redis_resolve_t *rr);
static ngx_int_t ngx_rtbus_redis_resolve_host(ngx_rtbus_redis_resolve_t *rr);
static void ngx_rtbus_redis_resolve_ask(ngx_rtbus_redis_resolve_t *rr);
static void ngx_rtbus_redis_resolve_handler(ngx_resolver_ctx_t *ctx);
static void ngx_rtbus_redis_resolve_patience(ngx_event_t *ev);
static void ngx_rtbus_redis_resolve_fail(ngx_rtbus_redis_resolve_t *rr,
    const char *reason);
static void ngx_rtbus_redis_resolve_done(ngx_rtbus_redis_resolve_t *rr,
    const char *reason);
static void ngx_rtbus_redis_resolve_use(ngx_rtbus_redis_resolve_t *rr,
    ngx_addr_t *addrs, ngx_uint_t n);
static ngx_addr_t *ngx_rtbus_redis_resolve_addrs(ngx_resolver_addr_t *from,
    ngx_uint_t n, in_port_t port, ngx_log_t *log);
static ngx_int_t ngx_rtbus_redis_resolve_cmp(const void *one,
    const void *two);


void
ngx_rtbus_redis_resolve(ngx_rtbus_redis_resolve_t *rr,
    ngx_rtbus_redis_node_t *node)
{
    ngx_int_t  rc;

    rr->node = *node;

    if (node->host.len == 0) {
        ngx_rtbus_redis_resolve_done(rr, node->naddrs ? NULL : "no address");
        return;
    }

    if (ngx_rtbus_redis_resolve_host(rr) != NGX_OK) {
        ngx_rtbus_redis_resolve_done(rr, "no memory");
        return;
    }

    rc = ngx_rtbus_redis_resolve_literal(rr);

    if (rc != NGX_DECLINED) {
        ngx_rtbus_redis_resolve_done(rr, rc == NGX_OK ? NULL : "no memory");
        return;
    }

    if (rr->conf->resolver == NULL) {
        ngx_rtbus_redis_resolve_done(rr, rr->node.naddrs
                                         ? NULL : "no resolver for its name");
        return;
    }

    rr->waiting = 1;

    if (rr->ctx == NULL) {
        ngx_rtbus_redis_resolve_ask(rr);
    }

    if (rr->waiting && rr->node.naddrs) {

        if (rr->failing) {

            /* it was waited for in vain already: an answer is for next time */

            ngx_rtbus_redis_resolve_fail(rr, "no answer yet");
            return;
        }

        rr->patience.handler = ngx_rtbus_redis_resolve_patience;
        rr->patience.data = rr;
        rr->patience.log = rr->log;
        rr->patience.cancelable = 1;

        ngx_add_timer(&rr->patience, rr->conf->connect_timeout);
    }
}


/* what is known of another host is forgotten */

static ngx_int_t
ngx_rtbus_redis_resolve_host(ngx_rtbus_redis_resolve_t *rr)
{
    ngx_rtbus_redis_node_t  *node;

    node = &rr->node;

    if (rr->host.len != node->host.len || rr->port != node->port
        || ngx_strncasecmp(rr->host.data, node->host.data, node->host.len)
           != 0)
    {
        ngx_rtbus_redis_resolve_close(rr);

        rr->host.data = ngx_alloc(node->host.len, rr->log);
        if (rr->host.data == NULL) {
            return NGX_ERROR;
        }

        rr->host.len = node->host.len;
        rr->port = node->port;

        ngx_strlow(rr->host.data, node->host.data, node->host.len);

        return NGX_OK;
    }

    if (rr->late) {
        ngx_rtbus_redis_resolve_use(rr, rr->late, rr->nlate);
        rr->late = NULL;

    } else if (rr->known) {
        node->addrs = rr->known;
        node->naddrs = rr->nknown;
    }

    return NGX_OK;
}


ngx_int_t
ngx_rtbus_redis_address(ngx_str_t *host, in_port_t port, ngx_sockaddr_t *sa,
    socklen_t *socklen)
{
    ngx_memzero(sa, sizeof(ngx_sockaddr_t));

    sa->sockaddr_in.sin_addr.s_addr = ngx_inet_addr(host->data, host->len);

    if (sa->sockaddr_in.sin_addr.s_addr != INADDR_NONE) {
        sa->sockaddr_in.sin_family = AF_INET;
        sa->sockaddr_in.sin_port = htons(port);
        *socklen = sizeof(struct sockaddr_in);

        return NGX_OK;
    }

#if (NGX_HAVE_INET6)

    ngx_memzero(sa, sizeof(ngx_sockaddr_t));

    if (ngx_inet6_addr(host->data, host->len,
                       sa->sockaddr_in6.sin6_addr.s6_addr)
        == NGX_OK)
    {
        sa->sockaddr_in6.sin6_family = AF_INET6;
        sa->sockaddr_in6.sin6_port = htons(port);
        *socklen = sizeof(struct sockaddr_in6);

        return NGX_OK;
    }

#endif

    return NGX_DECLINED;
}


/* NGX_OK: the host is an address; NGX_DECLINED: it is a name */

static ngx_int_t
ngx_rtbus_redis_resolve_literal(ngx_rtbus_redis_resolve_t *rr)
{
    ngx_addr_t           *addrs;
    ngx_sockaddr_t        sa;
    ngx_resolver_addr_t   addr;

    ngx_memzero(&addr, sizeof(ngx_resolver_addr_t));

    addr.sockaddr = &sa.sockaddr;

    if (ngx_rtbus_redis_address(&rr->node.host, rr->port, &sa, &addr.socklen)
        != NGX_OK)
    {
        return NGX_DECLINED;
    }

    if (rr->node.naddrs) {
        return NGX_OK;
    }

    addrs = ngx_rtbus_redis_resolve_addrs(&addr, 1, rr->port, rr->log);
    if (addrs == NULL) {
        return NGX_ERROR;
    }

    ngx_rtbus_redis_resolve_use(rr, addrs, 1);

    return NGX_OK;
}


static void
ngx_rtbus_redis_resolve_ask(ngx_rtbus_redis_resolve_t *rr)
{
    ngx_resolver_ctx_t  *ctx;

    ctx = ngx_resolve_start(rr->conf->resolver, NULL);

    if (ctx == NULL || ctx == NGX_NO_RESOLVER) {
        ngx_rtbus_redis_resolve_fail(rr, "no memory");
        return;
    }

    ngx_log_debug2(NGX_LOG_DEBUG_EVENT, rr->log, 0,
                   "rtbus: redis resolves \"%V\", failing:%d",
                   &rr->host, rr->failing);

    ctx->name = rr->host;
    ctx->handler = ngx_rtbus_redis_resolve_handler;
    ctx->data = rr;
    ctx->timeout = rr->conf->resolver_timeout;
    ctx->cancelable = 1;

    rr->ctx = ctx;

    /* it may be answered here, and freed if that is an error */

    if (ngx_resolve_name(ctx) != NGX_OK) {
        rr->ctx = NULL;
        ngx_rtbus_redis_resolve_fail(rr, "no memory");
    }
}


static void
ngx_rtbus_redis_resolve_handler(ngx_resolver_ctx_t *ctx)
{
    ngx_uint_t                  n;
    ngx_addr_t                 *addrs;
    const char                 *reason;
    ngx_rtbus_redis_resolve_t  *rr;

    rr = ctx->data;

    ngx_log_debug3(NGX_LOG_DEBUG_EVENT, rr->log, 0,
                   "rtbus: redis resolved \"%V\", state:%i addresses:%ui",
                   &rr->host, ctx->state, ctx->naddrs);

    n = ngx_min(ctx->naddrs, NGX_RTBUS_REDIS_RESOLVE_MAX);
    addrs = NULL;

    if (ctx->state || n == 0) {
        reason = ctx->state ? ngx_resolver_strerror(ctx->state)
                            : "no addresses";

    } else {
        addrs = ngx_rtbus_redis_resolve_addrs(ctx->addrs, n, rr->port,
                                              rr->log);
        reason = "no memory";
    }

    ngx_resolve_name_done(ctx);
    rr->ctx = NULL;

    if (addrs == NULL) {
        ngx_rtbus_redis_resolve_fail(rr, reason);
        return;
    }

    rr->failing = 0;

    if (!rr->waiting) {

        /* those in use stay for now */

        if (rr->late) {
            ngx_free(rr->late);
        }

        rr->late = addrs;
        rr->nlate = n;
        return;
    }

    ngx_rtbus_redis_resolve_use(rr, addrs, n);
    ngx_rtbus_redis_resolve_done(rr, NULL);
}


static void
ngx_rtbus_redis_resolve_patience(ngx_event_t *ev)
{
    ngx_rtbus_redis_resolve_t  *rr;

    rr = ev->data;

    ngx_rtbus_redis_resolve_fail(rr, "no answer yet");
}


/* there is no answer: the last one has to do */

static void
ngx_rtbus_redis_resolve_fail(ngx_rtbus_redis_resolve_t *rr, const char *reason)
{
    if (!rr->waiting) {
        return;
    }

    if (rr->node.naddrs == 0) {
        ngx_rtbus_redis_resolve_done(rr, reason);
        return;
    }

    if (!rr->failing) {
        rr->failing = 1;

        ngx_log_error(NGX_LOG_WARN, rr->log, 0,
                      "rtbus: could not resolve \"%V\": %s, the last addresses "
                      "are used", &rr->host, reason);
    }

    ngx_rtbus_redis_resolve_done(rr, NULL);
}


static void
ngx_rtbus_redis_resolve_done(ngx_rtbus_redis_resolve_t *rr, const char *reason)
{
    ngx_rtbus_redis_resolve_cancel(rr);

    rr->handler(rr, reason);
}


void
ngx_rtbus_redis_resolve_cancel(ngx_rtbus_redis_resolve_t *rr)
{
    rr->waiting = 0;

    if (rr->patience.timer_set) {
        ngx_del_timer(&rr->patience);
    }
}


void
ngx_rtbus_redis_resolve_close(ngx_rtbus_redis_resolve_t *rr)
{
    ngx_rtbus_redis_resolve_cancel(rr);

    if (rr->ctx) {
        ngx_resolve_name_done(rr->ctx);
        rr->ctx = NULL;
    }

    if (rr->known) {
        ngx_free(rr->known);
        rr->known = NULL;
    }

    if (rr->late) {
        ngx_free(rr->late);
        rr->late = NULL;
    }

    if (rr->host.data) {
        ngx_free(rr->host.data);
        ngx_str_null(&rr->host);
    }

    rr->failing = 0;
}


static void
ngx_rtbus_redis_resolve_use(ngx_rtbus_redis_resolve_t *rr, ngx_addr_t *addrs,
    ngx_uint_t n)
{
    if (rr->known) {
        ngx_free(rr->known);
    }

    rr->known = addrs;
    rr->nknown = n;

    rr->node.addrs = addrs;
    rr->node.naddrs = n;
}


/* a copy in one block, in order; NULL: no memory */

static ngx_addr_t *
ngx_rtbus_redis_resolve_addrs(ngx_resolver_addr_t *from, ngx_uint_t n,
    in_port_t port, ngx_log_t *log)
{
    u_char          *p;
    ngx_uint_t       i;
    ngx_addr_t      *addrs;
    ngx_sockaddr_t  *sa;

    addrs = ngx_alloc(n * (sizeof(ngx_addr_t) + sizeof(ngx_sockaddr_t)
                           + NGX_SOCKADDR_STRLEN), log);
    if (addrs == NULL) {
        return NULL;
    }

    sa = (ngx_sockaddr_t *) &addrs[n];
    p = (u_char *) &sa[n];

    for (i = 0; i < n; i++) {
        ngx_memcpy(&sa[i], from[i].sockaddr, from[i].socklen);
        ngx_inet_set_port(&sa[i].sockaddr, port);

        addrs[i].sockaddr = &sa[i].sockaddr;
        addrs[i].socklen = from[i].socklen;
        addrs[i].name.data = p;
        addrs[i].name.len = ngx_sock_ntop(&sa[i].sockaddr, from[i].socklen, p,
                                          NGX_SOCKADDR_STRLEN, 1);
        p += NGX_SOCKADDR_STRLEN;
    }

    /* resolvers turn them round and round */

    ngx_sort(addrs, n, sizeof(ngx_addr_t), ngx_rtbus_redis_resolve_cmp);

    return addrs;
}


static ngx_int_t
ngx_rtbus_redis_resolve_cmp(const void *one, const void *two)
{
    const ngx_addr_t *first = one;
    const ngx_addr_t *second = two;

    if (first->sockaddr->sa_family != second->sockaddr->sa_family) {
        return (first->sockaddr->sa_family == AF_INET) ? -1 : 1;
    }

    return ngx_memcmp(first->sockaddr, second->sockaddr, first->socklen);
}
