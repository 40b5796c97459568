
#include "ngx_http_rtbus_bus.h"
#include "ngx_http_rtbus_file.h"


#define NGX_HTTP_RTBUS_DEFAULT  "default"       /* the bus without a name */

/* what a parameter of rtbus_redis belongs to */

typedef enum {
    NGX_HTTP_RTBUS_BUS_ITSELF = 0,
    NGX_HTTP_RTBUS_BUS_REDIS,
    NGX_HTTP_RTBUS_BUS_SENTINEL,
    NGX_HTTP_RTBUS_BUS_TLS
} ngx_http_rtbus_bus_of_e;


/*
 * set() gets the text behind the "=", and the place that is offset bytes into
 * what the parameter belongs to.  It answers NGX_OK; NGX_DECLINED: the value is
 * invalid; or NGX_ERROR: it has logged why.
 */

typedef struct {
    ngx_str_t                  name;
    ngx_http_rtbus_bus_of_e    of;
    size_t                     offset;
    ngx_int_t                (*set)(ngx_conf_t *cf, ngx_str_t *value,
                                   void *slot);
} ngx_http_rtbus_bus_param_t;


static char *ngx_http_rtbus_bus_param(ngx_conf_t *cf,
    ngx_http_rtbus_bus_t *bus, ngx_str_t *text);
static ngx_int_t ngx_http_rtbus_bus_set_str(ngx_conf_t *cf, ngx_str_t *value,
    void *slot);
static ngx_int_t ngx_http_rtbus_bus_set_user(ngx_conf_t *cf, ngx_str_t *value,
    void *slot);
static ngx_int_t ngx_http_rtbus_bus_set_msec(ngx_conf_t *cf, ngx_str_t *value,
    void *slot);
static ngx_int_t ngx_http_rtbus_bus_set_flag(ngx_conf_t *cf, ngx_str_t *value,
    void *slot);
static ngx_int_t ngx_http_rtbus_bus_set_password(ngx_conf_t *cf,
    ngx_str_t *value, void *slot);
static ngx_http_rtbus_bus_t *ngx_http_rtbus_bus_find(ngx_conf_t *cf,
    ngx_http_rtbus_main_conf_t *rmcf, ngx_str_t *name);
static ngx_int_t ngx_http_rtbus_bus_count(ngx_conf_t *cf,
    ngx_http_rtbus_main_conf_t *rmcf);
static ngx_int_t ngx_http_rtbus_bus_apart(ngx_conf_t *cf,
    ngx_http_rtbus_main_conf_t *rmcf);
static ngx_uint_t ngx_http_rtbus_bus_same_server(ngx_rtbus_redis_conf_t *one,
    ngx_rtbus_redis_conf_t *two);
static ngx_int_t ngx_http_rtbus_bus_hiredis(ngx_conf_t *cf,
    ngx_http_rtbus_main_conf_t *rmcf);
static ngx_int_t ngx_http_rtbus_bus_resolve(ngx_conf_t *cf,
    ngx_http_rtbus_main_conf_t *rmcf);


/* beside these there is "name=", which is looked at first */

static ngx_http_rtbus_bus_param_t  ngx_http_rtbus_bus_params[] = {

    { ngx_string("connect_timeout="), NGX_HTTP_RTBUS_BUS_REDIS,
      offsetof(ngx_rtbus_redis_conf_t, connect_timeout),
      ngx_http_rtbus_bus_set_msec },

    { ngx_string("command_timeout="), NGX_HTTP_RTBUS_BUS_REDIS,
      offsetof(ngx_rtbus_redis_conf_t, command_timeout),
      ngx_http_rtbus_bus_set_msec },

    { ngx_string("password_file="), NGX_HTTP_RTBUS_BUS_REDIS,
      offsetof(ngx_rtbus_redis_conf_t, password),
      ngx_http_rtbus_bus_set_password },

    { ngx_string("functions="), NGX_HTTP_RTBUS_BUS_ITSELF,
      offsetof(ngx_http_rtbus_bus_t, functions),
      ngx_http_rtbus_bus_set_flag },

    { ngx_string("sentinel_user="), NGX_HTTP_RTBUS_BUS_SENTINEL,
      offsetof(ngx_rtbus_redis_conf_t, sentinel_user),
      ngx_http_rtbus_bus_set_user },

    { ngx_string("sentinel_password_file="), NGX_HTTP_RTBUS_BUS_SENTINEL,
      offsetof(ngx_rtbus_redis_conf_t, sentinel_password),
      ngx_http_rtbus_bus_set_password },

    { ngx_string("cacert="), NGX_HTTP_RTBUS_BUS_TLS,
      offsetof(ngx_rtbus_redis_tls_t, ca),
      ngx_http_rtbus_bus_set_str },

    { ngx_string("cert="), NGX_HTTP_RTBUS_BUS_TLS,
      offsetof(ngx_rtbus_redis_tls_t, cert),
      ngx_http_rtbus_bus_set_str },

    { ngx_string("key="), NGX_HTTP_RTBUS_BUS_TLS,
      offsetof(ngx_rtbus_redis_tls_t, key),
      ngx_http_rtbus_bus_set_str },

    { ngx_string("sni="), NGX_HTTP_RTBUS_BUS_TLS,
      offsetof(ngx_rtbus_redis_tls_t, sni),
      ngx_http_rtbus_bus_set_str },

    { ngx_string("verify="), NGX_HTTP_RTBUS_BUS_TLS,
      offsetof(ngx_rtbus_redis_tls_t, verify),
      ngx_http_rtbus_bus_set_flag }
};


char *
ngx_http_rtbus_conf_redis(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_rtbus_main_conf_t *rmcf = conf;

    char                  *err;
    ngx_str_t             *value, name;
    ngx_uint_t             i;
    ngx_http_rtbus_bus_t  *bus;

    value = cf->args->elts;

    ngx_str_set(&name, NGX_HTTP_RTBUS_DEFAULT);

    for (i = 2; i < cf->args->nelts; i++) {
        if (ngx_strncmp(value[i].data, "name=", 5) == 0) {
            name.data = value[i].data + 5;
            name.len = value[i].len - 5;
        }
    }

    bus = ngx_http_rtbus_bus_find(cf, rmcf, &name);
    if (bus == NULL) {
        return NGX_CONF_ERROR;
    }

    if (bus->redis.nodes) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"rtbus_redis\" is duplicate for the bus \"%V\"",
                           &bus->name);
        return NGX_CONF_ERROR;
    }

    bus->file_name = cf->conf_file->file.name.data;
    bus->line = cf->conf_file->line;

    if (ngx_rtbus_redis_conf_url(cf, &bus->redis, &value[1], &err) != NGX_OK) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%s in \"rtbus_redis\"", err);
        return NGX_CONF_ERROR;
    }

    for (i = 2; i < cf->args->nelts; i++) {
        if (ngx_strncmp(value[i].data, "name=", 5) != 0
            && ngx_http_rtbus_bus_param(cf, bus, &value[i]) != NGX_CONF_OK)
        {
            return NGX_CONF_ERROR;
        }
    }

    if (bus->redis.tls
        && ngx_rtbus_redis_tls_init(cf, bus->redis.tls, &err) != NGX_OK)
    {
        if (err) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%s in \"rtbus_redis\"",
                               err);
        }

        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_rtbus_bus_param(ngx_conf_t *cf, ngx_http_rtbus_bus_t *bus,
    ngx_str_t *text)
{
    char                        *needs;
    u_char                      *p, *base;
    ngx_str_t                    name, value;
    ngx_int_t                    rc;
    ngx_uint_t                   i;
    ngx_http_rtbus_bus_param_t  *param;

    needs = NULL;
    name = *text;
    p = ngx_strlchr(text->data, text->data + text->len, '=');

    if (p) {
        name.len = p + 1 - text->data;
    }

    value.data = text->data + name.len;
    value.len = text->len - name.len;

    for (i = 0; i < sizeof(ngx_http_rtbus_bus_params)
                    / sizeof(ngx_http_rtbus_bus_params[0]); i++)
    {
        param = &ngx_http_rtbus_bus_params[i];

        if (param->name.len != name.len
            || ngx_strncmp(param->name.data, name.data, name.len) != 0)
        {
            continue;
        }

        switch (param->of) {

        case NGX_HTTP_RTBUS_BUS_ITSELF:
            base = (u_char *) bus;
            break;

        case NGX_HTTP_RTBUS_BUS_TLS:
            base = (u_char *) bus->redis.tls;
            needs = base ? NULL : "rediss://";
            break;

        case NGX_HTTP_RTBUS_BUS_SENTINEL:
            base = (u_char *) &bus->redis;
            needs = (bus->redis.kind == NGX_RTBUS_REDIS_SENTINEL)
                    ? NULL : "redis+sentinel://";
            break;

        default: /* NGX_HTTP_RTBUS_BUS_REDIS */
            base = (u_char *) &bus->redis;
        }

        if (needs) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "parameter \"%V\" needs \"%s\"", text, needs);
            return NGX_CONF_ERROR;
        }

        rc = param->set(cf, &value, base + param->offset);

        if (rc == NGX_DECLINED && param->set == ngx_http_rtbus_bus_set_msec) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid time in \"%V\"", text);
            return NGX_CONF_ERROR;
        }

        if (rc == NGX_DECLINED) {
            break;
        }

        return (rc == NGX_OK) ? NGX_CONF_OK : NGX_CONF_ERROR;
    }

    /* only its name: the value may be a password */

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid parameter \"%V\"",
                       &name);
    return NGX_CONF_ERROR;
}


static ngx_int_t
ngx_http_rtbus_bus_set_str(ngx_conf_t *cf, ngx_str_t *value, void *slot)
{
    if (value->len == 0) {
        return NGX_DECLINED;
    }

    *(ngx_str_t *) slot = *value;

    return NGX_OK;
}


/* an empty user is the default one */

static ngx_int_t
ngx_http_rtbus_bus_set_user(ngx_conf_t *cf, ngx_str_t *value, void *slot)
{
    *(ngx_str_t *) slot = *value;

    return NGX_OK;
}


static ngx_int_t
ngx_http_rtbus_bus_set_msec(ngx_conf_t *cf, ngx_str_t *value, void *slot)
{
    ngx_msec_t  msec;

    msec = ngx_parse_time(value, 0);

    if (msec == (ngx_msec_t) NGX_ERROR || msec == 0) {
        return NGX_DECLINED;
    }

    *(ngx_msec_t *) slot = msec;

    return NGX_OK;
}


static ngx_int_t
ngx_http_rtbus_bus_set_flag(ngx_conf_t *cf, ngx_str_t *value, void *slot)
{
    ngx_flag_t  *flag = slot;

    if (ngx_strcmp(value->data, "on") == 0) {
        *flag = 1;
        return NGX_OK;
    }

    if (ngx_strcmp(value->data, "off") == 0) {
        *flag = 0;
        return NGX_OK;
    }

    return NGX_DECLINED;
}


static ngx_int_t
ngx_http_rtbus_bus_set_password(ngx_conf_t *cf, ngx_str_t *value, void *slot)
{
    return ngx_http_rtbus_file_line(cf, value, slot);
}


char *
ngx_http_rtbus_conf_bus(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_rtbus_loc_conf_t *rlcf = conf;

    ngx_str_t                   *value;
    ngx_http_rtbus_bus_t        *bus;
    ngx_http_rtbus_main_conf_t  *rmcf;

    if (rlcf->bus != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;
    rmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_rtbus_module);

    bus = ngx_http_rtbus_bus_find(cf, rmcf, &value[1]);
    if (bus == NULL) {
        return NGX_CONF_ERROR;
    }

    if (bus->file_name == NULL) {

        /* its rtbus_redis may be yet to come */

        bus->file_name = cf->conf_file->file.name.data;
        bus->line = cf->conf_file->line;
    }

    rlcf->bus = bus;

    return NGX_CONF_OK;
}


/* the bus of that name, which is made if it is not there; NULL: logged */

static ngx_http_rtbus_bus_t *
ngx_http_rtbus_bus_find(ngx_conf_t *cf, ngx_http_rtbus_main_conf_t *rmcf,
    ngx_str_t *name)
{
    u_char                 *p;
    ngx_uint_t              i;
    ngx_http_rtbus_bus_t   *bus, **elt;

    elt = rmcf->buses.elts;

    for (i = 0; i < rmcf->buses.nelts; i++) {
        if (elt[i]->name.len == name->len
            && ngx_strncmp(elt[i]->name.data, name->data, name->len) == 0)
        {
            return elt[i];
        }
    }

    /* a name is the value of a label, and an argument */

    for (p = name->data; p < name->data + name->len; p++) {
        if ((*p < 'a' || *p > 'z') && (*p < 'A' || *p > 'Z')
            && (*p < '0' || *p > '9') && *p != '_' && *p != '-' && *p != '.')
        {
            break;
        }
    }

    if (name->len == 0 || name->len > NGX_RTBUS_STAT_NAME
        || p != name->data + name->len)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid name of a bus \"%V\"", name);
        return NULL;
    }

    bus = ngx_pcalloc(cf->pool, sizeof(ngx_http_rtbus_bus_t));
    if (bus == NULL) {
        return NULL;
    }

    bus->name = *name;
    bus->functions = 1;
    bus->redis.connect_timeout = 1000;
    bus->redis.command_timeout = 2000;

    elt = ngx_array_push(&rmcf->buses);
    if (elt == NULL) {
        return NULL;
    }

    *elt = bus;

    return bus;
}


/* the default bus is the first, whether it is configured or not */

ngx_int_t
ngx_http_rtbus_bus_create(ngx_conf_t *cf, ngx_http_rtbus_main_conf_t *rmcf)
{
    ngx_str_t  name;

    if (ngx_array_init(&rmcf->buses, cf->pool, 1,
                       sizeof(ngx_http_rtbus_bus_t *))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_str_set(&name, NGX_HTTP_RTBUS_DEFAULT);

    return ngx_http_rtbus_bus_find(cf, rmcf, &name) ? NGX_OK : NGX_ERROR;
}


ngx_int_t
ngx_http_rtbus_bus_complete(ngx_conf_t *cf, ngx_http_rtbus_main_conf_t *rmcf)
{
    char                   *err;
    ngx_str_t               url;
    ngx_uint_t              i;
    ngx_http_rtbus_bus_t  **bus;

    bus = rmcf->buses.elts;

    if (bus[0]->redis.nodes == NULL) {

        ngx_str_set(&url, "redis://127.0.0.1:6379/0");

        if (ngx_rtbus_redis_conf_url(cf, &bus[0]->redis, &url, &err)
            != NGX_OK)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%s in \"%V\"", err,
                               &url);
            return NGX_ERROR;
        }
    }

    for (i = 0; i < rmcf->buses.nelts; i++) {

        if (bus[i]->redis.nodes == NULL) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "unknown bus \"%V\" in %s:%ui", &bus[i]->name,
                          bus[i]->file_name, bus[i]->line);
            return NGX_ERROR;
        }

        bus[i]->redis.rest = rmcf->coalesce;
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_rtbus_bus_init(ngx_conf_t *cf, ngx_http_rtbus_main_conf_t *rmcf)
{
    if (ngx_http_rtbus_bus_count(cf, rmcf) != NGX_OK
        || ngx_http_rtbus_bus_apart(cf, rmcf) != NGX_OK
        || ngx_http_rtbus_bus_hiredis(cf, rmcf) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_rtbus_bus_resolve(cf, rmcf);
}


static ngx_int_t
ngx_http_rtbus_bus_count(ngx_conf_t *cf, ngx_http_rtbus_main_conf_t *rmcf)
{
    ngx_uint_t              i;
    ngx_http_rtbus_bus_t  **bus;

    bus = rmcf->buses.elts;

    for (i = 0; i < rmcf->buses.nelts; i++) {
        rmcf->nbuses += bus[i]->used;

        if (rmcf->forward && bus[i]->used
            && bus[i]->redis.kind == NGX_RTBUS_REDIS_CLUSTER)
        {
            /* patterns do not match what is sent to shard channels */

            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "\"rtbus_forward\" does not work with a Redis "
                          "Cluster");
            return NGX_ERROR;
        }
    }

    if (rmcf->nbuses == 0) {

        if (rmcf->used) {

            /* only the status or the health, of the first that was set */

            i = (bus[0]->file_name == NULL && rmcf->buses.nelts > 1);

            bus[i]->used = 1;
            rmcf->nbuses = 1;
        }

        return NGX_OK;
    }

    if (bus[0]->used && bus[0]->file_name == NULL && rmcf->buses.nelts > 1) {

        /* likely, one is meant that has a name */

        ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                      "a location without \"rtbus_bus\" uses the Redis at "
                      "127.0.0.1:6379, as all \"rtbus_redis\" have names");
    }

    return NGX_OK;
}


/* pub/sub knows no databases: events of one bus would get to the other one */

static ngx_int_t
ngx_http_rtbus_bus_apart(ngx_conf_t *cf, ngx_http_rtbus_main_conf_t *rmcf)
{
    ngx_uint_t              i, j;
    ngx_http_rtbus_bus_t  **bus;

    bus = rmcf->buses.elts;

    for (i = 0; i < rmcf->buses.nelts; i++) {
        for (j = 0; j < i; j++) {

            if (!bus[i]->used || !bus[j]->used
                || bus[i]->redis.db == bus[j]->redis.db
                || !ngx_http_rtbus_bus_same_server(&bus[i]->redis,
                                                   &bus[j]->redis))
            {
                continue;
            }

            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "the buses \"%V\" and \"%V\" are on the same Redis, "
                          "and its databases do not separate events",
                          &bus[j]->name, &bus[i]->name);
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_uint_t
ngx_http_rtbus_bus_same_server(ngx_rtbus_redis_conf_t *one,
    ngx_rtbus_redis_conf_t *two)
{
    ngx_uint_t               i, j;
    ngx_rtbus_redis_node_t  *n1, *n2;

    if (one->kind != two->kind || one->master.len != two->master.len
        || (one->master.len
            && ngx_memcmp(one->master.data, two->master.data, one->master.len)
               != 0))
    {
        return 0;
    }

    for (i = 0; i < one->nnodes; i++) {
        for (j = 0; j < two->nnodes; j++) {

            n1 = &one->nodes[i];
            n2 = &two->nodes[j];

            if (n1->host.len == 0 && n2->host.len == 0) {

                /* sockets; what is behind the path is not a part of it */

                if (n1->name.len == n2->name.len
                    && ngx_strncmp(n1->name.data, n2->name.data, n1->name.len)
                       == 0)
                {
                    return 1;
                }

                continue;
            }

            if (n1->port == n2->port && n1->host.len == n2->host.len
                && ngx_strncasecmp(n1->host.data, n2->host.data, n1->host.len)
                   == 0)
            {
                return 1;
            }
        }
    }

    return 0;
}


/* where it could not be made a part of the module, see config */

static ngx_int_t
ngx_http_rtbus_bus_hiredis(ngx_conf_t *cf, ngx_http_rtbus_main_conf_t *rmcf)
{
    ngx_int_t  rc;

    if (rmcf->nbuses == 0) {
        return NGX_OK;
    }

    rc = ngx_rtbus_redis_conn_hiredis();

    if (rc == NGX_DECLINED) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "another module of this nginx has a hiredis of its own, "
                      "which has taken the place of that of "
                      "ngx_http_rtbus_module");
    }

    return rc == NGX_OK ? NGX_OK : NGX_ERROR;
}


/* "resolver" of http {} may have come after rtbus_redis */

static ngx_int_t
ngx_http_rtbus_bus_resolve(ngx_conf_t *cf, ngx_http_rtbus_main_conf_t *rmcf)
{
    char                      *err;
    ngx_str_t                 *name;
    ngx_uint_t                 i, level;
    ngx_resolver_t            *resolver;
    ngx_http_rtbus_bus_t     **bus;
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    /* where there is none, nginx has put in one without servers */

    resolver = clcf->resolver;

    if (resolver && resolver->connections.nelts == 0) {
        resolver = NULL;
    }

    level = resolver ? NGX_LOG_WARN : NGX_LOG_EMERG;
    bus = rmcf->buses.elts;

    for (i = 0; i < rmcf->buses.nelts; i++) {

        bus[i]->redis.resolver = resolver;
        bus[i]->redis.resolver_timeout =
                          (clcf->resolver_timeout == NGX_CONF_UNSET_MSEC)
                          ? 30000 : clcf->resolver_timeout;

        if (ngx_rtbus_redis_conf_resolve(cf, &bus[i]->redis, &name, &err)
            == NGX_OK)
        {
            continue;
        }

        ngx_log_error(level, cf->log, 0, "%s in \"rtbus_redis\" \"%V\" in "
                      "%s:%ui", err, name, bus[i]->file_name, bus[i]->line);

        if (resolver == NULL) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}
