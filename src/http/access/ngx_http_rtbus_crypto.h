
/*
 * The parts of OpenSSL that a worker needs for each client: a hash, a MAC,
 * random bytes.
 *
 * Looking up an algorithm, setting up a key or drawing a few random bytes costs
 * more than the work itself.  So contexts are made once per process, and random
 * bytes are drawn in blocks.  A failure is logged.
 */


#ifndef _NGX_HTTP_RTBUS_CRYPTO_H_INCLUDED_
#define _NGX_HTTP_RTBUS_CRYPTO_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


#define NGX_HTTP_RTBUS_CRYPTO_SHA1  20    /* bytes */
#define NGX_HTTP_RTBUS_CRYPTO_MAC   32


/*
 * The bits of a public key in PEM, of RSA or, with ec set, of an elliptic
 * curve; 0: not such a key.  For the configuration; nothing is logged.
 */

ngx_uint_t ngx_http_rtbus_crypto_key(ngx_str_t *pem, ngx_uint_t ec);

/* in a worker; the secret is the key of the MAC: NGX_OK or NGX_ERROR */

ngx_int_t ngx_http_rtbus_crypto_init(ngx_str_t *secret, ngx_log_t *log);
void ngx_http_rtbus_crypto_close(void);

/* SHA-1 of a and b, one after the other: NGX_OK or NGX_ERROR */

ngx_int_t ngx_http_rtbus_crypto_sha1(u_char *dst, ngx_str_t *a, ngx_str_t *b,
    ngx_log_t *log);

/* HMAC-SHA-256 of the text: NGX_OK or NGX_ERROR */

ngx_int_t ngx_http_rtbus_crypto_mac(u_char *dst, ngx_str_t *text,
    ngx_log_t *log);

/* up to 64 random bytes: NGX_OK or NGX_ERROR */

ngx_int_t ngx_http_rtbus_crypto_random(u_char *dst, size_t len,
    ngx_log_t *log);


#endif /* _NGX_HTTP_RTBUS_CRYPTO_H_INCLUDED_ */
