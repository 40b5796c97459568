
#include "ngx_rtbus_redis_url.h"


static ngx_int_t ngx_rtbus_redis_conf_unix(ngx_conf_t *cf,
    ngx_rtbus_redis_conf_t *conf, ngx_str_t *url, char **err);
static ngx_int_t ngx_rtbus_redis_conf_user(ngx_conf_t *cf,
    ngx_rtbus_redis_conf_t *conf, u_char *p, u_char *last, char **err);
static ngx_int_t ngx_rtbus_redis_conf_path(ngx_rtbus_redis_conf_t *conf,
    u_char *p, u_char *last, char **err);
static ngx_int_t ngx_rtbus_redis_conf_db(u_char *p, u_char *last,
    ngx_uint_t *db);
static ngx_int_t ngx_rtbus_redis_conf_nodes(ngx_conf_t *cf,
    ngx_rtbus_redis_conf_t *conf, u_char *p, u_char *last, char **err);
static ngx_int_t ngx_rtbus_redis_conf_node(ngx_conf_t *cf,
    ngx_rtbus_redis_node_t *node, ngx_str_t *url, in_port_t port,
    ngx_uint_t resolve, char **err);
static ngx_int_t ngx_rtbus_redis_conf_unescape(ngx_conf_t *cf, ngx_str_t *dst,
    u_char *p, u_char *last, char **err);


static struct {
    ngx_str_t               name;
    ngx_rtbus_redis_kind_e  kind;
    ngx_uint_t              tls;
} ngx_rtbus_redis_schemes[] = {
    { ngx_string("redis://"), NGX_RTBUS_REDIS_SINGLE, 0 },
    { ngx_string("rediss://"), NGX_RTBUS_REDIS_SINGLE, 1 },
    { ngx_string("redis+sentinel://"), NGX_RTBUS_REDIS_SENTINEL, 0 },
    { ngx_string("rediss+sentinel://"), NGX_RTBUS_REDIS_SENTINEL, 1 },
    { ngx_string("redis+cluster://"), NGX_RTBUS_REDIS_CLUSTER, 0 },
    { ngx_string("rediss+cluster://"), NGX_RTBUS_REDIS_CLUSTER, 1 },
    { ngx_null_string, 0, 0 }
};


ngx_int_t
ngx_rtbus_redis_conf_url(ngx_conf_t *cf, ngx_rtbus_redis_conf_t *conf,
    ngx_str_t *url, char **err)
{
    u_char      *p, *last, *at, *host, *slash;
    ngx_str_t   *scheme;
    ngx_uint_t   i;

    *err = "no memory";

    conf->kind = NGX_RTBUS_REDIS_SINGLE;
    conf->tls = NULL;
    conf->db = 0;
    conf->only_master = 0;
    ngx_str_null(&conf->master);
    ngx_str_null(&conf->user);
    ngx_str_null(&conf->password);

    if (url->len >= 5 && ngx_strncasecmp(url->data, (u_char *) "unix:", 5) == 0)
    {
        return ngx_rtbus_redis_conf_unix(cf, conf, url, err);
    }

    for (i = 0; /* void */ ; i++) {

        scheme = &ngx_rtbus_redis_schemes[i].name;

        if (scheme->len == 0) {
            *err = "unknown scheme, must be \"redis://\", \"rediss://\", "
                   "\"redis+sentinel://\", \"rediss+sentinel://\" or "
                   "\"unix:\"";
            return NGX_ERROR;
        }

        if (url->len >= scheme->len
            && ngx_strncasecmp(url->data, scheme->data, scheme->len) == 0)
        {
            break;
        }
    }

    conf->kind = ngx_rtbus_redis_schemes[i].kind;

    if (ngx_rtbus_redis_schemes[i].tls) {

        conf->tls = ngx_pcalloc(cf->pool, sizeof(ngx_rtbus_redis_tls_t));
        if (conf->tls == NULL) {
            return NGX_ERROR;
        }

        conf->tls->verify = 1;
    }

    host = url->data + scheme->len;
    last = url->data + url->len;

    slash = ngx_strlchr(host, last, '/');

    if (slash == NULL) {
        slash = last;
    }

    if (ngx_rtbus_redis_conf_path(conf, slash, last, err) != NGX_OK) {
        return NGX_ERROR;
    }

    for (at = slash - 1; at >= host; at--) {
        if (*at == '@') {
            break;
        }
    }

    if (at >= host) {

        if (ngx_rtbus_redis_conf_user(cf, conf, host, at, err) != NGX_OK) {
            return NGX_ERROR;
        }

        host = at + 1;
    }

    conf->name.len = scheme->len + (last - host);
    conf->name.data = ngx_pnalloc(cf->pool, conf->name.len);
    if (conf->name.data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_cpymem(conf->name.data, scheme->data, scheme->len);
    ngx_memcpy(p, host, last - host);

    return ngx_rtbus_redis_conf_nodes(cf, conf, host, slash, err);
}


static ngx_int_t
ngx_rtbus_redis_conf_unix(ngx_conf_t *cf, ngx_rtbus_redis_conf_t *conf,
    ngx_str_t *url, char **err)
{
    u_char     *p, *last;
    ngx_str_t   path;

    last = url->data + url->len;

    p = ngx_strlchr(url->data, last, '?');

    path.data = url->data;
    path.len = (p ? p : last) - path.data;

    if (p) {
        p++;

        if (last - p < 3 || ngx_strncmp(p, "db=", 3) != 0) {
            *err = "unknown parameter after the path";
            return NGX_ERROR;
        }

        if (ngx_rtbus_redis_conf_db(p + 3, last, &conf->db) != NGX_OK) {
            *err = "invalid database number";
            return NGX_ERROR;
        }
    }

    conf->name = *url;

    conf->nodes = ngx_pcalloc(cf->pool, sizeof(ngx_rtbus_redis_node_t));
    if (conf->nodes == NULL) {
        return NGX_ERROR;
    }

    conf->nnodes = 1;

    return ngx_rtbus_redis_conf_node(cf, conf->nodes, &path, 0, 0, err);
}


static ngx_int_t
ngx_rtbus_redis_conf_user(ngx_conf_t *cf, ngx_rtbus_redis_conf_t *conf,
    u_char *p, u_char *last, char **err)
{
    u_char  *colon;

    colon = ngx_strlchr(p, last, ':');

    if (colon == NULL) {
        colon = last;

    } else if (ngx_rtbus_redis_conf_unescape(cf, &conf->password, colon + 1,
                                             last, err)
               != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_rtbus_redis_conf_unescape(cf, &conf->user, p, colon, err);
}


/* p is the slash behind the servers, or the end of the URL */

static ngx_int_t
ngx_rtbus_redis_conf_path(ngx_rtbus_redis_conf_t *conf, u_char *p, u_char *last,
    char **err)
{
    u_char  *slash;

    if (p < last) {
        p++;
    }

    if (conf->kind == NGX_RTBUS_REDIS_SENTINEL) {

        slash = ngx_strlchr(p, last, '/');

        conf->master.data = p;
        conf->master.len = (slash ? slash : last) - p;

        if (conf->master.len == 0) {
            *err = "no name of the master";
            return NGX_ERROR;
        }

        p = slash ? slash + 1 : last;
    }

    if (p == last) {
        return NGX_OK;
    }

    if (conf->kind == NGX_RTBUS_REDIS_CLUSTER) {
        *err = "a cluster has no database number";
        return NGX_ERROR;
    }

    if (ngx_rtbus_redis_conf_db(p, last, &conf->db) != NGX_OK) {
        *err = "invalid database number";
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_rtbus_redis_conf_db(u_char *p, u_char *last, ngx_uint_t *db)
{
    ngx_int_t  n;

    n = ngx_atoi(p, last - p);

    /* Redis keeps it as an int */

    if (n == NGX_ERROR || n > 0x7fffffff) {
        return NGX_ERROR;
    }

    *db = n;

    return NGX_OK;
}


static ngx_int_t
ngx_rtbus_redis_conf_nodes(ngx_conf_t *cf, ngx_rtbus_redis_conf_t *conf,
    u_char *p, u_char *last, char **err)
{
    u_char                  *comma;
    in_port_t                port;
    ngx_str_t                url;
    ngx_array_t              nodes;
    ngx_rtbus_redis_node_t  *node;

    port = (conf->kind == NGX_RTBUS_REDIS_SENTINEL)
           ? NGX_RTBUS_REDIS_SENTINEL_PORT : NGX_RTBUS_REDIS_PORT;

    if (ngx_array_init(&nodes, cf->pool, 1, sizeof(ngx_rtbus_redis_node_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    for ( ;; ) {
        comma = NULL;

        if (conf->kind != NGX_RTBUS_REDIS_SINGLE) {
            comma = ngx_strlchr(p, last, ',');
        }

        url.data = p;
        url.len = (comma ? comma : last) - p;

        node = ngx_array_push(&nodes);
        if (node == NULL) {
            return NGX_ERROR;
        }

        ngx_memzero(node, sizeof(ngx_rtbus_redis_node_t));

        if (ngx_rtbus_redis_conf_node(cf, node, &url, port, 0, err) != NGX_OK)
        {
            return NGX_ERROR;
        }

        if (comma == NULL) {
            break;
        }

        p = comma + 1;
    }

    conf->nodes = nodes.elts;
    conf->nnodes = nodes.nelts;

    return NGX_OK;
}


static ngx_int_t
ngx_rtbus_redis_conf_node(ngx_conf_t *cf, ngx_rtbus_redis_node_t *node,
    ngx_str_t *url, in_port_t port, ngx_uint_t resolve, char **err)
{
    ngx_url_t  u;

    ngx_memzero(&u, sizeof(ngx_url_t));

    u.url = *url;
    u.default_port = port;
    u.no_resolve = !resolve;

    if (ngx_parse_url(cf->pool, &u) != NGX_OK) {

        if (u.err) {
            *err = u.err;
        }

        return NGX_ERROR;
    }

    node->name = *url;

    if (u.family != AF_UNIX) {
        node->host = u.host;
        node->port = u.port;

        if (node->host.len && node->host.data[0] == '[') {
            node->host.data++;
            node->host.len -= 2;
        }
    }

    node->addrs = u.addrs;
    node->naddrs = u.naddrs;

    return NGX_OK;
}


ngx_int_t
ngx_rtbus_redis_conf_resolve(ngx_conf_t *cf, ngx_rtbus_redis_conf_t *conf,
    ngx_str_t **name, char **err)
{
    ngx_int_t                rc;
    ngx_str_t                url;
    ngx_uint_t               i;
    ngx_rtbus_redis_node_t  *node;

    rc = NGX_OK;

    for (i = 0; i < conf->nnodes; i++) {

        node = &conf->nodes[i];

        if (node->naddrs) {
            continue;
        }

        *err = "no memory";
        url = node->name;

        if (ngx_rtbus_redis_conf_node(cf, node, &url, node->port, 1, err)
            != NGX_OK)
        {
            *name = &node->name;
            rc = NGX_ERROR;
        }
    }

    return rc;
}


static ngx_int_t
ngx_rtbus_redis_conf_unescape(ngx_conf_t *cf, ngx_str_t *dst, u_char *p,
    u_char *last, char **err)
{
    u_char     *d;
    ngx_int_t   n;

    if (p == last) {
        return NGX_OK;
    }

    d = ngx_pnalloc(cf->pool, last - p);
    if (d == NULL) {
        return NGX_ERROR;
    }

    dst->data = d;

    while (p < last) {

        if (*p != '%') {
            *d++ = *p++;
            continue;
        }

        n = (last - p > 2) ? ngx_hextoi(p + 1, 2) : NGX_ERROR;

        if (n == NGX_ERROR) {
            *err = "invalid percent-encoding in user or password";
            return NGX_ERROR;
        }

        *d++ = (u_char) n;
        p += 3;
    }

    dst->len = d - dst->data;

    return NGX_OK;
}
