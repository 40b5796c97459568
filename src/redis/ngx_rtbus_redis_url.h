
/*
 * The URLs of rtbus_redis:
 *
 *   redis://[[user][:password]@]host[:port][/db]
 *   unix:/path[?db=n]
 *   redis+sentinel://[[user][:password]@]host[:port][,...]/master[/db]
 *   redis+cluster://[[user][:password]@]host[:port][,...]
 *
 * "rediss" in place of "redis" is TLS.  User and password, which may be
 * percent-encoded, are those of the Redis that holds the data, not of the
 * sentinels.  An IPv6 address is in brackets.
 */


#ifndef _NGX_RTBUS_REDIS_URL_H_INCLUDED_
#define _NGX_RTBUS_REDIS_URL_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_rtbus_redis_tls.h"


#define NGX_RTBUS_REDIS_PORT           6379
#define NGX_RTBUS_REDIS_SENTINEL_PORT  26379


typedef enum {
    NGX_RTBUS_REDIS_SINGLE = 0,
    NGX_RTBUS_REDIS_SENTINEL,
    NGX_RTBUS_REDIS_CLUSTER
} ngx_rtbus_redis_kind_e;


/* a server as the configuration, a sentinel or a cluster names it */

typedef struct {
    ngx_str_t                       name;       /* "host:port" or "unix:/path",
                                                   for the log */
    ngx_str_t                       host;       /* without brackets; empty: a
                                                   unix socket */
    in_port_t                       port;
    ngx_addr_t                     *addrs;
    ngx_uint_t                      naddrs;     /* 0: only a resolver may know
                                                   them */
} ngx_rtbus_redis_node_t;


/* where Redis is; filled at configuration time, lives in cf->pool */

typedef struct {
    ngx_str_t                       name;       /* for the log: the URL less
                                                   its user and password */
    ngx_rtbus_redis_kind_e          kind;
    ngx_rtbus_redis_tls_t          *tls;        /* NULL: there is none */
    ngx_rtbus_redis_node_t         *nodes;      /* the servers of the URL */
    ngx_uint_t                      nnodes;
    ngx_str_t                       master;     /* the name sentinels know */
    ngx_str_t                       user;       /* empty: plain AUTH password */
    ngx_str_t                       password;   /* no user either: no AUTH */
    ngx_str_t                       sentinel_user;      /* likewise, for the */
    ngx_str_t                       sentinel_password;  /* sentinels */
    ngx_uint_t                      db;
    ngx_uint_t                      only_master;  /* a replica will not do */
    ngx_msec_t                      connect_timeout;
    ngx_msec_t                      command_timeout;
    ngx_msec_t                      rest;       /* of pub/sub after reading;
                                                   0: it reads on */
    ngx_resolver_t                 *resolver;   /* of names, or NULL */
    ngx_msec_t                      resolver_timeout;
} ngx_rtbus_redis_conf_t;


/*
 * Reads a URL into conf, except for the timeouts and what is beside the URL for
 * TLS.  Names are not resolved yet.  NGX_OK, or NGX_ERROR with *err set to a
 * static text for the log.
 */

ngx_int_t ngx_rtbus_redis_conf_url(ngx_conf_t *cf,
    ngx_rtbus_redis_conf_t *conf, ngx_str_t *url, char **err);

/*
 * Resolves the names of the URL, each to all of its addresses, as the system
 * does it, which may take a while.  NGX_OK, or NGX_ERROR with *err set and
 * *name to the server whose addresses are not known; the others are.
 */

ngx_int_t ngx_rtbus_redis_conf_resolve(ngx_conf_t *cf,
    ngx_rtbus_redis_conf_t *conf, ngx_str_t **name, char **err);


#endif /* _NGX_RTBUS_REDIS_URL_H_INCLUDED_ */
