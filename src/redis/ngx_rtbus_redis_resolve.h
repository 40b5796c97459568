
/*
 * The addresses of a server as they are now: its name is asked for again each
 * time, by nginx's resolver, and nothing waits meanwhile.
 *
 * Without a resolver, and while it has no answer, the last addresses that are
 * known are used, at first those of the configuration.  An answer that is late
 * counts next time.  An address needs no resolver, and neither does a unix
 * socket.
 *
 * They are in an order of their own, the same whoever asks: connections that
 * belong together get to the same server.
 *
 * Neither a timer nor a question keeps a leaving worker alive.
 */


#ifndef _NGX_RTBUS_REDIS_RESOLVE_H_INCLUDED_
#define _NGX_RTBUS_REDIS_RESOLVE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include "ngx_rtbus_redis_url.h"


typedef struct ngx_rtbus_redis_resolve_s  ngx_rtbus_redis_resolve_t;


/*
 * NULL: rr->node has an address at least; or why there is none, a static text.
 * Called once for each question, also from within.
 */
typedef void (*ngx_rtbus_redis_resolved_pt)(ngx_rtbus_redis_resolve_t *rr,
    const char *reason);


struct ngx_rtbus_redis_resolve_s {
    /* set by the owner, all else zeroed */

    ngx_rtbus_redis_conf_t         *conf;
    ngx_rtbus_redis_resolved_pt     handler;
    void                           *data;
    ngx_log_t                      *log;

    /*
     * The answer: the node that was asked for, with its addresses of now, which
     * stay until the next question.
     */

    ngx_rtbus_redis_node_t          node;

    /* private; all pointers are to malloc'ed memory */

    ngx_str_t                       host;       /* whose addresses these are,
                                                   in lower case */
    in_port_t                       port;
    ngx_addr_t                     *known;
    ngx_uint_t                      nknown;
    ngx_addr_t                     *late;       /* for the next time, or NULL */
    ngx_uint_t                      nlate;
    ngx_resolver_ctx_t             *ctx;        /* the question, or NULL */
    ngx_event_t                     patience;   /* timer: what is known will
                                                   do */
    unsigned                        waiting:1;  /* the owner is */
    unsigned                        failing:1;  /* it was logged */
};


/*
 * Asks for the addresses of a node, of which name, host and port are needed;
 * its own addresses, if it has any, are those of the configuration.  The node
 * stays until the next question, its strings with it.  One question at a time.
 */

void ngx_rtbus_redis_resolve(ngx_rtbus_redis_resolve_t *rr,
    ngx_rtbus_redis_node_t *node);

/* the handler is not called any more; what is known stays */

void ngx_rtbus_redis_resolve_cancel(ngx_rtbus_redis_resolve_t *rr);

/* the end: all memory is given back */

void ngx_rtbus_redis_resolve_close(ngx_rtbus_redis_resolve_t *rr);

/* NGX_OK: the host is an IP address, now in *sa; NGX_DECLINED: it is not one */

ngx_int_t ngx_rtbus_redis_address(ngx_str_t *host, in_port_t port,
    ngx_sockaddr_t *sa, socklen_t *socklen);


#endif /* _NGX_RTBUS_REDIS_RESOLVE_H_INCLUDED_ */
