
#include "ngx_http_rtbus_main.h"
#include "ngx_http_rtbus_file.h"
#include "ngx_rtbus_forward.h"
#include <openssl/rand.h>


#define NGX_HTTP_RTBUS_MAIN_COALESCE  500            /* ms */
#define NGX_HTTP_RTBUS_MAIN_SECRET    32             /* bytes, if random */
#define NGX_HTTP_RTBUS_MAIN_SHORT     16             /* bytes it has at least */
#define NGX_HTTP_RTBUS_MAIN_SCHEMA    (1024 * 1024)  /* bytes of a file */


static void ngx_http_rtbus_conf_schema_cleanup(void *data);


char *
ngx_http_rtbus_conf_prefix(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_rtbus_main_conf_t *rmcf = conf;

    u_char      *p;
    ngx_str_t   *value;

    if (rmcf->prefix.data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len > NGX_RTBUS_HUB_MAX_PREFIX) {
        return "is too long";
    }

    /* braces would move the hash tag of the keys */

    for (p = value[1].data; p < value[1].data + value[1].len; p++) {
        if (*p <= ' ' || *p == '{' || *p == '}' || *p > '~') {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid character in prefix \"%V\"",
                               &value[1]);
            return NGX_CONF_ERROR;
        }
    }

    rmcf->prefix = value[1];

    return NGX_CONF_OK;
}


char *
ngx_http_rtbus_conf_forward(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_rtbus_main_conf_t *rmcf = conf;

    ngx_str_t  *value;

    value = cf->args->elts;

    if (ngx_rtbus_forward_rule(cf, &rmcf->forward, &value[1], &value[2])
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


char *
ngx_http_rtbus_conf_schema(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_rtbus_main_conf_t *rmcf = conf;

    int                  rc, strict;
    char                 err[RTBUS_SCHEMA_ERROR];
    u_char              *text;
    ssize_t              n;
    ngx_str_t           *value;
    rtbus_schema_t      *schema;
    ngx_pool_cleanup_t  *cln;

    if (rmcf->schema) {
        return "is duplicate";
    }

    value = cf->args->elts;
    strict = 0;

    if (cf->args->nelts == 3) {

        if (ngx_strcmp(value[2].data, "strict") != 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\"", &value[2]);
            return NGX_CONF_ERROR;
        }

        strict = 1;
    }

    cln = ngx_pool_cleanup_add(cf->pool, 0);
    if (cln == NULL) {
        return NGX_CONF_ERROR;
    }

    text = ngx_alloc(NGX_HTTP_RTBUS_MAIN_SCHEMA + 1, cf->log);
    if (text == NULL) {
        return NGX_CONF_ERROR;
    }

    n = ngx_http_rtbus_file_read(cf, &value[1], text,
                                 NGX_HTTP_RTBUS_MAIN_SCHEMA + 1);

    if (n == NGX_ERROR) {
        ngx_free(text);
        return NGX_CONF_ERROR;
    }

    if (n > NGX_HTTP_RTBUS_MAIN_SCHEMA) {
        ngx_free(text);
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the schema in \"%V\" is too long", &value[1]);
        return NGX_CONF_ERROR;
    }

    rc = rtbus_schema_create(&schema, text, n, strict, err);

    ngx_free(text);

    if (rc != RTBUS_OK) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid schema in \"%V\": %s", &value[1],
                           rc == RTBUS_ERROR ? err : "no memory");
        return NGX_CONF_ERROR;
    }

    cln->handler = ngx_http_rtbus_conf_schema_cleanup;
    cln->data = schema;

    rmcf->schema = schema;

    return NGX_CONF_OK;
}


static void
ngx_http_rtbus_conf_schema_cleanup(void *data)
{
    rtbus_schema_destroy(data);
}


char *
ngx_http_rtbus_conf_coalesce(ngx_conf_t *cf, void *post, void *data)
{
    ngx_msec_t *msec = data;

    /* commands and canaries would be taken for lost */

    if (*msec > NGX_HTTP_RTBUS_MAIN_COALESCE) {
        return "must not be more than 500ms";
    }

    return NGX_CONF_OK;
}


char *
ngx_http_rtbus_conf_secret_file(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_rtbus_main_conf_t *rmcf = conf;

    ngx_str_t  *value;

    if (rmcf->secret.len) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_http_rtbus_file_line(cf, &value[1], &rmcf->secret) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (rmcf->secret.len < NGX_HTTP_RTBUS_MAIN_SHORT) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the first line of \"%V\" is too short for a "
                           "secret, 16 bytes are the least", &value[1]);
        return NGX_CONF_ERROR;
    }

    rmcf->secret_file = 1;

    return NGX_CONF_OK;
}


ngx_int_t
ngx_http_rtbus_secret_init(ngx_conf_t *cf, ngx_http_rtbus_main_conf_t *rmcf)
{
    ngx_http_rtbus_main_conf_t  *old;

    if (rmcf->secret.len || !rmcf->used) {
        return NGX_OK;
    }

    rmcf->secret.data = ngx_pnalloc(cf->pool, NGX_HTTP_RTBUS_MAIN_SECRET);
    if (rmcf->secret.data == NULL) {
        return NGX_ERROR;
    }

    rmcf->secret.len = NGX_HTTP_RTBUS_MAIN_SECRET;

    old = NULL;

    if (cf->cycle->old_cycle && !ngx_is_init_cycle(cf->cycle->old_cycle)) {
        old = ngx_http_cycle_get_module_main_conf(cf->cycle->old_cycle,
                                                  ngx_http_rtbus_module);
    }

    if (old && old->secret.len == NGX_HTTP_RTBUS_MAIN_SECRET
        && !old->secret_file)
    {
        ngx_memcpy(rmcf->secret.data, old->secret.data,
                   NGX_HTTP_RTBUS_MAIN_SECRET);
        return NGX_OK;
    }

    if (RAND_bytes(rmcf->secret.data, NGX_HTTP_RTBUS_MAIN_SECRET) != 1) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0, "rtbus: RAND_bytes() failed");
        return NGX_ERROR;
    }

    return NGX_OK;
}
