
/*
 * TLS to Redis, by nginx's own SSL connections.
 *
 * The certificate of Redis is verified, unless that is switched off: it has to
 * come from a CA of the file, or of the system's store if there is none, and to
 * be for the name of the server (sni=, or the host, which may be an address).
 *
 * All functions are there, and refuse, in an nginx that was built without SSL.
 */


#ifndef _NGX_RTBUS_REDIS_TLS_H_INCLUDED_
#define _NGX_RTBUS_REDIS_TLS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>


/* filled at configuration time, lives in cf->pool */

typedef struct {
    ngx_str_t                       ca;         /* PEM files, or empty */
    ngx_str_t                       cert;       /* ours, with its key */
    ngx_str_t                       key;
    ngx_str_t                       sni;        /* zero-terminated; empty: the
                                                   host of the server */
    ngx_flag_t                      verify;
#if (NGX_SSL)
    ngx_ssl_t                       ssl;
#endif
} ngx_rtbus_redis_tls_t;


/*
 * Once all is set: reads the files.  NGX_OK, or NGX_ERROR: it was logged, or
 * *err is a static text for the log.
 */

ngx_int_t ngx_rtbus_redis_tls_init(ngx_conf_t *cf, ngx_rtbus_redis_tls_t *tls,
    char **err);

/*
 * Begins the handshake on a connection that has been made and is to live in
 * c->pool, which is created here and goes with ngx_rtbus_redis_tls_close().
 * NGX_OK: it is over; NGX_AGAIN: handler is called when it is, or when the
 * timer of c->write is; then c's own handlers are to be set again.  NGX_ERROR:
 * it has failed, which was logged.
 */

ngx_int_t ngx_rtbus_redis_tls_handshake(ngx_connection_t *c,
    ngx_rtbus_redis_tls_t *tls, ngx_str_t *host,
    void (*handler)(ngx_connection_t *c));

/*
 * When the handshake is over: NULL, or why it has failed or why this is not the
 * server that is wanted, a static text; *text has the details, if there are
 * any.
 */

const char *ngx_rtbus_redis_tls_verify(ngx_connection_t *c,
    ngx_rtbus_redis_tls_t *tls, ngx_str_t *host, ngx_str_t *text);

/* closes a connection, whether it has TLS or not; never waits */

void ngx_rtbus_redis_tls_close(ngx_connection_t *c);


#endif /* _NGX_RTBUS_REDIS_TLS_H_INCLUDED_ */
