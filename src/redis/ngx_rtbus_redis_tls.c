
#include "ngx_rtbus_redis_tls.h"


#define NGX_RTBUS_REDIS_TLS_DEPTH  9    /* of a chain of certificates */


#if (NGX_SSL)

static ngx_int_t ngx_rtbus_redis_tls_name(ngx_connection_t *c,
    ngx_rtbus_redis_tls_t *tls, ngx_str_t *host, ngx_str_t *name);
static ngx_uint_t ngx_rtbus_redis_tls_is_address(ngx_str_t *name);
static ngx_int_t ngx_rtbus_redis_tls_check_address(ngx_connection_t *c,
    ngx_str_t *address);


ngx_int_t
ngx_rtbus_redis_tls_init(ngx_conf_t *cf, ngx_rtbus_redis_tls_t *tls, char **err)
{
    ngx_pool_cleanup_t  *cln;

    *err = NULL;

    if (tls->cert.len == 0 && tls->key.len) {
        *err = "\"key=\" needs \"cert=\"";
        return NGX_ERROR;
    }

    if (tls->cert.len && tls->key.len == 0) {
        *err = "\"cert=\" needs \"key=\"";
        return NGX_ERROR;
    }

    tls->ssl.log = cf->log;

    if (ngx_ssl_create(&tls->ssl, NGX_SSL_TLSv1_2|NGX_SSL_TLSv1_3, NULL)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    cln = ngx_pool_cleanup_add(cf->pool, 0);
    if (cln == NULL) {
        ngx_ssl_cleanup_ctx(&tls->ssl);
        return NGX_ERROR;
    }

    cln->handler = ngx_ssl_cleanup_ctx;
    cln->data = &tls->ssl;

    /* what is to be sent grows, and moves, while a write is put off */

    SSL_CTX_set_mode(tls->ssl.ctx, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);

    if (tls->cert.len
        && ngx_ssl_certificate(cf, &tls->ssl, &tls->cert, &tls->key, NULL)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (tls->ca.len) {
        return ngx_ssl_trusted_certificate(cf, &tls->ssl, &tls->ca,
                                           NGX_RTBUS_REDIS_TLS_DEPTH);
    }

    if (tls->verify && SSL_CTX_set_default_verify_paths(tls->ssl.ctx) == 0) {
        ngx_ssl_error(NGX_LOG_EMERG, cf->log, 0,
                      "SSL_CTX_set_default_verify_paths() failed");
        return NGX_ERROR;
    }

    return NGX_OK;
}


ngx_int_t
ngx_rtbus_redis_tls_handshake(ngx_connection_t *c, ngx_rtbus_redis_tls_t *tls,
    ngx_str_t *host, void (*handler)(ngx_connection_t *c))
{
    ngx_int_t  rc;
    ngx_str_t  name;

    c->pool = ngx_create_pool(256, c->log);
    if (c->pool == NULL) {
        return NGX_ERROR;
    }

    if (ngx_ssl_create_connection(&tls->ssl, c, NGX_SSL_CLIENT) != NGX_OK
        || ngx_rtbus_redis_tls_name(c, tls, host, &name) != NGX_OK)
    {
        return NGX_ERROR;
    }

    /* RFC 6066, section 3: no addresses in SNI */

    if (!ngx_rtbus_redis_tls_is_address(&name)
        && SSL_set_tlsext_host_name(c->ssl->connection, (char *) name.data)
           == 0)
    {
        ngx_ssl_error(NGX_LOG_ERR, c->log, 0,
                      "SSL_set_tlsext_host_name(\"%V\") failed", &name);
        return NGX_ERROR;
    }

    rc = ngx_ssl_handshake(c);

    if (rc == NGX_AGAIN) {
        c->ssl->handler = handler;
    }

    return rc;
}


const char *
ngx_rtbus_redis_tls_verify(ngx_connection_t *c, ngx_rtbus_redis_tls_t *tls,
    ngx_str_t *host, ngx_str_t *text)
{
    long       n;
    ngx_str_t  name;

    ngx_str_null(text);

    if (!c->ssl->handshaked) {
        return "TLS handshake failed";
    }

    if (!tls->verify) {
        return NULL;
    }

    n = SSL_get_verify_result(c->ssl->connection);

    if (n != X509_V_OK) {
        text->data = (u_char *) X509_verify_cert_error_string(n);
        text->len = ngx_strlen(text->data);

        return "certificate is not valid,";
    }

    if (ngx_rtbus_redis_tls_name(c, tls, host, &name) != NGX_OK) {
        return "no memory";
    }

    if ((ngx_rtbus_redis_tls_is_address(&name)
         ? ngx_rtbus_redis_tls_check_address(c, &name)
         : ngx_ssl_check_host(c, &name))
        != NGX_OK)
    {
        *text = name;
        return "certificate is not for";
    }

    return NULL;
}


/* OpenSSL wants it with a zero at the end */

static ngx_int_t
ngx_rtbus_redis_tls_name(ngx_connection_t *c, ngx_rtbus_redis_tls_t *tls,
    ngx_str_t *host, ngx_str_t *name)
{
    if (tls->sni.len) {
        *name = tls->sni;
        return NGX_OK;
    }

    name->len = host->len;
    name->data = ngx_pnalloc(c->pool, host->len + 1);
    if (name->data == NULL) {
        return NGX_ERROR;
    }

    (void) ngx_cpystrn(name->data, host->data, host->len + 1);

    return NGX_OK;
}


static ngx_uint_t
ngx_rtbus_redis_tls_is_address(ngx_str_t *name)
{
    u_char  in6[16];

    if (ngx_inet_addr(name->data, name->len) != INADDR_NONE) {
        return 1;
    }

    return ngx_strlchr(name->data, name->data + name->len, ':')
           && ngx_inet6_addr(name->data, name->len, in6) == NGX_OK;
}


static ngx_int_t
ngx_rtbus_redis_tls_check_address(ngx_connection_t *c, ngx_str_t *address)
{
    int    n;
    X509  *cert;

    cert = SSL_get_peer_certificate(c->ssl->connection);
    if (cert == NULL) {
        return NGX_ERROR;
    }

    n = X509_check_ip_asc(cert, (char *) address->data, 0);

    X509_free(cert);

    return (n == 1) ? NGX_OK : NGX_ERROR;
}


void
ngx_rtbus_redis_tls_close(ngx_connection_t *c)
{
    ngx_pool_t  *pool;

    if (c->ssl) {
        c->ssl->no_wait_shutdown = 1;

        if (ngx_ssl_shutdown(c) == NGX_AGAIN) {

            /* there is no room for a goodbye */

            c->ssl->no_send_shutdown = 1;
            (void) ngx_ssl_shutdown(c);
        }
    }

    pool = c->pool;

    ngx_close_connection(c);

    if (pool) {
        ngx_destroy_pool(pool);
    }
}

#else

ngx_int_t
ngx_rtbus_redis_tls_init(ngx_conf_t *cf, ngx_rtbus_redis_tls_t *tls, char **err)
{
    *err = "TLS needs an nginx that is built with SSL";

    return NGX_ERROR;
}


ngx_int_t
ngx_rtbus_redis_tls_handshake(ngx_connection_t *c, ngx_rtbus_redis_tls_t *tls,
    ngx_str_t *host, void (*handler)(ngx_connection_t *c))
{
    return NGX_ERROR;
}


const char *
ngx_rtbus_redis_tls_verify(ngx_connection_t *c, ngx_rtbus_redis_tls_t *tls,
    ngx_str_t *host, ngx_str_t *text)
{
    ngx_str_null(text);

    return "TLS handshake failed";
}


void
ngx_rtbus_redis_tls_close(ngx_connection_t *c)
{
    ngx_close_connection(c);
}

#endif
