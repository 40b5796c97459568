
#include "ngx_http_rtbus_crypto.h"
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>

#if OPENSSL_VERSION_NUMBER >= 0x30000000L
#include <openssl/core_names.h>
#include <openssl/params.h>
#else
#include <openssl/hmac.h>
#endif


#define NGX_HTTP_RTBUS_CRYPTO_BLOCK  1024


#if OPENSSL_VERSION_NUMBER >= 0x30000000L

typedef EVP_MAC_CTX  ngx_http_rtbus_crypto_mac_t;

#define ngx_http_rtbus_crypto_mac_free  EVP_MAC_CTX_free

#else

typedef HMAC_CTX     ngx_http_rtbus_crypto_mac_t;

#define ngx_http_rtbus_crypto_mac_free  HMAC_CTX_free

#endif


static ngx_http_rtbus_crypto_mac_t *ngx_http_rtbus_crypto_mac_create(
    ngx_str_t *secret);
static ngx_int_t ngx_http_rtbus_crypto_failed(const char *what,
    ngx_log_t *log);


/* of this process; the random bytes that are left are at the block's end */

static EVP_MD_CTX                   *ngx_http_rtbus_crypto_md;
static ngx_http_rtbus_crypto_mac_t  *ngx_http_rtbus_crypto_hmac;
static size_t                        ngx_http_rtbus_crypto_left;
static u_char  ngx_http_rtbus_crypto_block[NGX_HTTP_RTBUS_CRYPTO_BLOCK];


ngx_int_t
ngx_http_rtbus_crypto_init(ngx_str_t *secret, ngx_log_t *log)
{
    ngx_http_rtbus_crypto_left = 0;

    ngx_http_rtbus_crypto_md = EVP_MD_CTX_new();

    if (ngx_http_rtbus_crypto_md == NULL
        || EVP_DigestInit_ex(ngx_http_rtbus_crypto_md, EVP_sha1(), NULL) != 1)
    {
        return ngx_http_rtbus_crypto_failed("EVP_DigestInit_ex()", log);
    }

    ngx_http_rtbus_crypto_hmac = ngx_http_rtbus_crypto_mac_create(secret);

    if (ngx_http_rtbus_crypto_hmac == NULL) {
        return ngx_http_rtbus_crypto_failed("initialisation of HMAC", log);
    }

    return NGX_OK;
}


void
ngx_http_rtbus_crypto_close(void)
{
    EVP_MD_CTX_free(ngx_http_rtbus_crypto_md);
    ngx_http_rtbus_crypto_md = NULL;

    ngx_http_rtbus_crypto_mac_free(ngx_http_rtbus_crypto_hmac);
    ngx_http_rtbus_crypto_hmac = NULL;

    OPENSSL_cleanse(ngx_http_rtbus_crypto_block, NGX_HTTP_RTBUS_CRYPTO_BLOCK);
    ngx_http_rtbus_crypto_left = 0;
}


ngx_uint_t
ngx_http_rtbus_crypto_key(ngx_str_t *pem, ngx_uint_t ec)
{
    BIO         *bio;
    EVP_PKEY    *key;
    ngx_uint_t   bits;

    bits = 0;
    key = NULL;

    bio = BIO_new_mem_buf(pem->data, (int) pem->len);

    if (bio) {
        key = PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
        BIO_free(bio);
    }

    if (key) {
        if (EVP_PKEY_base_id(key) == (ec ? EVP_PKEY_EC : EVP_PKEY_RSA)) {
            bits = (ngx_uint_t) EVP_PKEY_bits(key);
        }

        EVP_PKEY_free(key);
    }

    ERR_clear_error();

    return bits;
}


ngx_int_t
ngx_http_rtbus_crypto_sha1(u_char *dst, ngx_str_t *a, ngx_str_t *b,
    ngx_log_t *log)
{
    EVP_MD_CTX  *md;

    md = ngx_http_rtbus_crypto_md;

    /* without a type the last one is used */

    if (EVP_DigestInit_ex(md, NULL, NULL) != 1
        || EVP_DigestUpdate(md, a->data, a->len) != 1
        || EVP_DigestUpdate(md, b->data, b->len) != 1
        || EVP_DigestFinal_ex(md, dst, NULL) != 1)
    {
        return ngx_http_rtbus_crypto_failed("SHA-1", log);
    }

    return NGX_OK;
}


#if OPENSSL_VERSION_NUMBER >= 0x30000000L

static EVP_MAC_CTX *
ngx_http_rtbus_crypto_mac_create(ngx_str_t *secret)
{
    EVP_MAC      *mac;
    OSSL_PARAM    params[2];
    EVP_MAC_CTX  *ctx;

    mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    if (mac == NULL) {
        return NULL;
    }

    ctx = EVP_MAC_CTX_new(mac);

    EVP_MAC_free(mac);

    params[0] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST,
                                                 (char *) "SHA256", 0);
    params[1] = OSSL_PARAM_construct_end();

    if (ctx && EVP_MAC_init(ctx, secret->data, secret->len, params) != 1) {
        EVP_MAC_CTX_free(ctx);
        return NULL;
    }

    return ctx;
}


ngx_int_t
ngx_http_rtbus_crypto_mac(u_char *dst, ngx_str_t *text, ngx_log_t *log)
{
    int           ok;
    size_t        len;
    EVP_MAC_CTX  *ctx;

    /* a copy: the first releases of 3.0 cannot start again without a key */

    ctx = EVP_MAC_CTX_dup(ngx_http_rtbus_crypto_hmac);

    ok = (ctx
          && EVP_MAC_update(ctx, text->data, text->len) == 1
          && EVP_MAC_final(ctx, dst, &len, NGX_HTTP_RTBUS_CRYPTO_MAC) == 1);

    EVP_MAC_CTX_free(ctx);

    return ok ? NGX_OK : ngx_http_rtbus_crypto_failed("HMAC", log);
}

#else

static HMAC_CTX *
ngx_http_rtbus_crypto_mac_create(ngx_str_t *secret)
{
    HMAC_CTX  *ctx;

    ctx = HMAC_CTX_new();

    if (ctx && HMAC_Init_ex(ctx, secret->data, secret->len, EVP_sha256(), NULL)
               != 1)
    {
        HMAC_CTX_free(ctx);
        return NULL;
    }

    return ctx;
}


ngx_int_t
ngx_http_rtbus_crypto_mac(u_char *dst, ngx_str_t *text, ngx_log_t *log)
{
    HMAC_CTX  *ctx;

    ctx = ngx_http_rtbus_crypto_hmac;

    /* without a key the last one is used */

    if (HMAC_Init_ex(ctx, NULL, 0, NULL, NULL) != 1
        || HMAC_Update(ctx, text->data, text->len) != 1
        || HMAC_Final(ctx, dst, NULL) != 1)
    {
        return ngx_http_rtbus_crypto_failed("HMAC", log);
    }

    return NGX_OK;
}

#endif


ngx_int_t
ngx_http_rtbus_crypto_random(u_char *dst, size_t len, ngx_log_t *log)
{
    u_char  *p;

    if (len > ngx_http_rtbus_crypto_left) {

        ngx_log_debug0(NGX_LOG_DEBUG_HTTP, log, 0,
                       "rtbus crypto draws random bytes");

        ngx_http_rtbus_crypto_left = 0;

        if (RAND_bytes(ngx_http_rtbus_crypto_block,
                       NGX_HTTP_RTBUS_CRYPTO_BLOCK)
            != 1)
        {
            return ngx_http_rtbus_crypto_failed("RAND_bytes()", log);
        }

        ngx_http_rtbus_crypto_left = NGX_HTTP_RTBUS_CRYPTO_BLOCK;
    }

    p = ngx_http_rtbus_crypto_block + NGX_HTTP_RTBUS_CRYPTO_BLOCK
        - ngx_http_rtbus_crypto_left;

    ngx_memcpy(dst, p, len);
    OPENSSL_cleanse(p, len);

    ngx_http_rtbus_crypto_left -= len;

    return NGX_OK;
}


static ngx_int_t
ngx_http_rtbus_crypto_failed(const char *what, ngx_log_t *log)
{
    /* nginx would take errors left in the queue for its own */

    ERR_clear_error();

    ngx_log_error(NGX_LOG_CRIT, log, 0, "rtbus: %s failed", what);

    return NGX_ERROR;
}
