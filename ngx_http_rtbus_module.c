
/*
 * ngx_http_rtbus_module: the realtime edge of a job system.
 *
 * Directives, configuration, the start and the end of a worker; what happens in
 * between is below src/.
 */


#include "ngx_http_rtbus_module.h"
#include "ngx_http_rtbus_access.h"
#include "ngx_http_rtbus_capture.h"
#include "ngx_http_rtbus_command.h"
#include "ngx_http_rtbus_cors.h"
#include "ngx_http_rtbus_crypto.h"
#include "ngx_http_rtbus_file.h"
#include "ngx_http_rtbus_log.h"
#include "ngx_http_rtbus_origin.h"
#include "ngx_http_rtbus_plain.h"
#include "ngx_http_rtbus_replay.h"
#include "ngx_http_rtbus_reply.h"
#include "ngx_http_rtbus_sio.h"
#include "rtbus_sio.h"
#include "ngx_http_rtbus_sse.h"
#include "ngx_http_rtbus_state.h"
#include "ngx_http_rtbus_user.h"
#include "ngx_http_rtbus_worker.h"
#include "ngx_http_rtbus_ws.h"
#include "ngx_rtbus_forward.h"
#include <openssl/rand.h>


#define NGX_HTTP_RTBUS_DEFAULT   "default"       /* the bus without a name */
#define NGX_HTTP_RTBUS_MAX_COALESCE  500 /* ms */
#define NGX_HTTP_RTBUS_MAX_LINE  4096    /* bytes of a password or a secret */
#define NGX_HTTP_RTBUS_SECRET    32      /* bytes of a random secret */
#define NGX_HTTP_RTBUS_SCHEMA    (1024 * 1024)    /* bytes of a file */


static ngx_int_t ngx_http_rtbus_variables(ngx_conf_t *cf);
static void *ngx_http_rtbus_create_main_conf(ngx_conf_t *cf);
static char *ngx_http_rtbus_init_main_conf(ngx_conf_t *cf, void *conf);
static void *ngx_http_rtbus_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_rtbus_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);
static void ngx_http_rtbus_merge_replay(ngx_http_core_loc_conf_t *clcf,
    ngx_http_rtbus_loc_conf_t *conf);
static ngx_int_t ngx_http_rtbus_merge_capture(ngx_conf_t *cf,
    ngx_http_core_loc_conf_t *clcf, ngx_http_rtbus_loc_conf_t *conf);
static void ngx_http_rtbus_merge_noname(ngx_http_core_loc_conf_t *clcf,
    ngx_http_rtbus_loc_conf_t *conf, ngx_http_rtbus_loc_conf_t *prev);
static ngx_int_t ngx_http_rtbus_merge_namespaces(ngx_conf_t *cf,
    ngx_http_rtbus_loc_conf_t *conf);
static ngx_int_t ngx_http_rtbus_init(ngx_conf_t *cf);
static ngx_int_t ngx_http_rtbus_init_buses(ngx_conf_t *cf,
    ngx_http_rtbus_main_conf_t *rmcf);
static ngx_int_t ngx_http_rtbus_init_hiredis(ngx_conf_t *cf,
    ngx_http_rtbus_main_conf_t *rmcf);
static ngx_int_t ngx_http_rtbus_init_apart(ngx_conf_t *cf,
    ngx_http_rtbus_main_conf_t *rmcf);
static ngx_uint_t ngx_http_rtbus_same_server(ngx_rtbus_redis_conf_t *one,
    ngx_rtbus_redis_conf_t *two);
static ngx_int_t ngx_http_rtbus_init_names(ngx_conf_t *cf,
    ngx_http_rtbus_main_conf_t *rmcf);
static ngx_int_t ngx_http_rtbus_init_secret(ngx_conf_t *cf,
    ngx_http_rtbus_main_conf_t *rmcf);
static ngx_int_t ngx_http_rtbus_init_process(ngx_cycle_t *cycle);
static ngx_int_t ngx_http_rtbus_init_worker(ngx_cycle_t *cycle,
    ngx_http_rtbus_main_conf_t *rmcf, ngx_http_rtbus_bus_t *bus,
    ngx_uint_t first);
static void ngx_http_rtbus_exit_process(ngx_cycle_t *cycle);

static char *ngx_http_rtbus_redis(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_int_t ngx_http_rtbus_redis_tls(ngx_str_t *param,
    ngx_rtbus_redis_tls_t *tls);
static char *ngx_http_rtbus_bus(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_http_rtbus_bus_t *ngx_http_rtbus_find_bus(ngx_conf_t *cf,
    ngx_http_rtbus_main_conf_t *rmcf, ngx_str_t *name);
static ngx_int_t ngx_http_rtbus_first_line(ngx_conf_t *cf, ngx_str_t *name,
    ngx_str_t *line);
static char *ngx_http_rtbus_prefix(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_rtbus_schema(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static void ngx_http_rtbus_schema_cleanup(void *data);
static char *ngx_http_rtbus_forward(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_rtbus_coalesce(ngx_conf_t *cf, void *post, void *data);
static char *ngx_http_rtbus_proto(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_rtbus_subscribe(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_rtbus_allow(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_http_rtbus_name_t *ngx_http_rtbus_name(ngx_conf_t *cf,
    ngx_array_t **names, ngx_str_t *text, ngx_uint_t wildcard);
static char *ngx_http_rtbus_secret_file(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_rtbus_namespaces(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_rtbus_ping(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_rtbus_rate(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_rtbus_state(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_rtbus_publish(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_rtbus_submit(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_rtbus_stop(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_rtbus_status(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_rtbus_health(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_int_t ngx_http_rtbus_set_handler(ngx_conf_t *cf,
    ngx_http_handler_pt handler);


static ngx_conf_num_bounds_t  ngx_http_rtbus_channels_bounds = {
    ngx_conf_check_num_bounds, 1, 10000
};


static ngx_conf_post_t  ngx_http_rtbus_coalesce_post = {
    ngx_http_rtbus_coalesce
};


static ngx_conf_post_t  ngx_http_rtbus_jwt_claim_post = {
    ngx_http_rtbus_jwt_claim_name
};


static ngx_command_t  ngx_http_rtbus_commands[] = {

    { ngx_string("rtbus_redis"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_1MORE,
      ngx_http_rtbus_redis,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("rtbus_bus"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_rtbus_bus,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("rtbus_prefix"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_rtbus_prefix,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("rtbus_forward"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE2,
      ngx_http_rtbus_forward,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("rtbus_secret_file"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_rtbus_secret_file,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("rtbus_schema"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE12,
      ngx_http_rtbus_schema,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("rtbus_coalesce"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_rtbus_main_conf_t, coalesce),
      &ngx_http_rtbus_coalesce_post },

    { ngx_string("rtbus_drain"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_rtbus_main_conf_t, drain),
      NULL },

    { ngx_string("rtbus"),
      NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_rtbus_proto,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("rtbus_subscribe"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_rtbus_subscribe,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("rtbus_allow"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_http_rtbus_allow,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("rtbus_origin"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_rtbus_origin,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("rtbus_user"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_set_complex_value_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_rtbus_loc_conf_t, user),
      NULL },

    { ngx_string("rtbus_require_user"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_rtbus_loc_conf_t, require_user),
      NULL },

    { ngx_string("rtbus_jwt_key"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_http_rtbus_jwt_key,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("rtbus_jwt_claim"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_rtbus_loc_conf_t, jwt_claim),
      &ngx_http_rtbus_jwt_claim_post },

    { ngx_string("rtbus_namespaces"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_rtbus_namespaces,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("rtbus_recovery"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_rtbus_loc_conf_t, recovery),
      NULL },

    { ngx_string("rtbus_ping"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE2,
      ngx_http_rtbus_ping,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("rtbus_max_event"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_size_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_rtbus_loc_conf_t, max_event),
      NULL },

    { ngx_string("rtbus_max_message"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_size_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_rtbus_loc_conf_t, max_message),
      NULL },

    { ngx_string("rtbus_max_channels"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_rtbus_loc_conf_t, max_channels),
      &ngx_http_rtbus_channels_bounds },

    { ngx_string("rtbus_message_rate"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_rtbus_rate,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("rtbus_send_buffer"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_size_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_rtbus_loc_conf_t, send_buffer),
      NULL },

    { ngx_string("rtbus_max_sessions"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_rtbus_loc_conf_t, max_sessions),
      NULL },

    { ngx_string("rtbus_state"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_http_rtbus_state,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("rtbus_state_fields"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_rtbus_state_fields,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("rtbus_command"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_rtbus_command,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("rtbus_publish"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_http_rtbus_publish,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("rtbus_submit"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_rtbus_submit,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("rtbus_capture"),
      NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_rtbus_capture_set,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("rtbus_stop"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_rtbus_stop,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("rtbus_replay"),
      NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_rtbus_replay_set,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("rtbus_status"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_http_rtbus_status,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("rtbus_health"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_http_rtbus_health,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_rtbus_module_ctx = {
    ngx_http_rtbus_variables,              /* preconfiguration */
    ngx_http_rtbus_init,                   /* postconfiguration */

    ngx_http_rtbus_create_main_conf,       /* create main configuration */
    ngx_http_rtbus_init_main_conf,         /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_rtbus_create_loc_conf,        /* create location configuration */
    ngx_http_rtbus_merge_loc_conf          /* merge location configuration */
};


ngx_module_t  ngx_http_rtbus_module = {
    NGX_MODULE_V1,
    &ngx_http_rtbus_module_ctx,            /* module context */
    ngx_http_rtbus_commands,               /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    ngx_http_rtbus_init_process,           /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_http_rtbus_exit_process,           /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static ngx_int_t
ngx_http_rtbus_handler(ngx_http_request_t *r)
{
    ngx_http_rtbus_loc_conf_t  *rlcf;

    if (r != r->main) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "rtbus client in a subrequest \"%V\"", &r->uri);
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    if (rlcf->protocols == NGX_HTTP_RTBUS_SOCKETIO) {
        return ngx_http_rtbus_sio_handler(r);
    }

    /* where both are served, whoever does not ask for WebSocket gets SSE */

    if (rlcf->protocols == NGX_HTTP_RTBUS_WEBSOCKET
        || ((rlcf->protocols & NGX_HTTP_RTBUS_WEBSOCKET)
            && ngx_http_rtbus_ws_asked(r)))
    {
        return ngx_http_rtbus_plain_handler(r);
    }

    return ngx_http_rtbus_sse_handler(r);
}


static ngx_int_t
ngx_http_rtbus_variables(ngx_conf_t *cf)
{
    if (ngx_http_rtbus_user_variables(cf) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ngx_http_rtbus_capture_variables(cf) != NGX_OK
        || ngx_http_rtbus_body_variables(cf) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_rtbus_log_variables(cf);
}


static void *
ngx_http_rtbus_create_main_conf(ngx_conf_t *cf)
{
    ngx_str_t                    name;
    ngx_http_rtbus_main_conf_t  *rmcf;

    rmcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_rtbus_main_conf_t));
    if (rmcf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     rmcf->nbuses = 0;
     *     rmcf->prefix = { 0, NULL };
     *     rmcf->forward = NULL;
     *     rmcf->max_event = 0;
     *     rmcf->schema = NULL;
     *     rmcf->captures = 0;
     *     rmcf->used = 0;
     *     rmcf->stat = NULL;
     */

    if (ngx_array_init(&rmcf->buses, cf->pool, 1,
                       sizeof(ngx_http_rtbus_bus_t *))
        != NGX_OK)
    {
        return NULL;
    }

    ngx_str_set(&name, NGX_HTTP_RTBUS_DEFAULT);

    if (ngx_http_rtbus_find_bus(cf, rmcf, &name) == NULL) {
        return NULL;
    }

    rmcf->coalesce = NGX_CONF_UNSET_MSEC;
    rmcf->drain = NGX_CONF_UNSET_MSEC;

    return rmcf;
}


static char *
ngx_http_rtbus_init_main_conf(ngx_conf_t *cf, void *conf)
{
    ngx_http_rtbus_main_conf_t *rmcf = conf;

    char                   *err;
    ngx_str_t               url;
    ngx_uint_t              i;
    ngx_http_rtbus_bus_t  **bus;

    ngx_conf_init_msec_value(rmcf->coalesce, 0);
    ngx_conf_init_msec_value(rmcf->drain, 10000);

    if (rmcf->prefix.data == NULL) {
        ngx_str_set(&rmcf->prefix, "");
    }

    bus = rmcf->buses.elts;

    if (bus[0]->redis.nodes == NULL) {

        ngx_str_set(&url, "redis://127.0.0.1:6379/0");

        if (ngx_rtbus_redis_conf_url(cf, &bus[0]->redis, &url, &err)
            != NGX_OK)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%s in \"%V\"", err,
                               &url);
            return NGX_CONF_ERROR;
        }
    }

    for (i = 0; i < rmcf->buses.nelts; i++) {

        if (bus[i]->redis.nodes == NULL) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "unknown bus \"%V\" in %s:%ui", &bus[i]->name,
                          bus[i]->file_name, bus[i]->line);
            return NGX_CONF_ERROR;
        }

        bus[i]->redis.rest = rmcf->coalesce;
    }

    if (rmcf->used) {
        rmcf->stat = ngx_rtbus_stat_zone(cf, &ngx_http_rtbus_module);
        if (rmcf->stat == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


static void *
ngx_http_rtbus_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_rtbus_loc_conf_t  *rlcf;

    rlcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_rtbus_loc_conf_t));
    if (rlcf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     rlcf->handler = NULL;
     *     rlcf->protocols = 0;
     *     rlcf->user = NULL;
     *     rlcf->jwt_key = { 0, NULL };
     *     rlcf->jwt_alg = 0;
     *     rlcf->jwt_claim = { 0, NULL };
     *     rlcf->state = NULL;
     *     rlcf->state_key = NULL;
     *     rlcf->publish = NULL;
     *     rlcf->live = 0;
     *     rlcf->submit = NULL;
     *     rlcf->replay = NULL;
     *     rlcf->capturing = 0;
     *     rlcf->captured = NULL;
     *     rlcf->stop = NULL;
     */

    rlcf->bus = NGX_CONF_UNSET_PTR;
    rlcf->subscribe = NGX_CONF_UNSET_PTR;
    rlcf->allow = NGX_CONF_UNSET_PTR;
    rlcf->commands = NGX_CONF_UNSET_PTR;
    rlcf->capture = NGX_CONF_UNSET_PTR;
    rlcf->origins = NGX_CONF_UNSET_PTR;
    rlcf->any_origin = NGX_CONF_UNSET_UINT;
    rlcf->fields = NGX_CONF_UNSET_PTR;
    rlcf->namespaces = NGX_CONF_UNSET_PTR;
    rlcf->recovery = NGX_CONF_UNSET;
    rlcf->require_user = NGX_CONF_UNSET;
    rlcf->ping_interval = NGX_CONF_UNSET_MSEC;
    rlcf->ping_timeout = NGX_CONF_UNSET_MSEC;
    rlcf->max_event = NGX_CONF_UNSET_SIZE;
    rlcf->max_message = NGX_CONF_UNSET_SIZE;
    rlcf->max_channels = NGX_CONF_UNSET_UINT;
    rlcf->message_rate = NGX_CONF_UNSET_UINT;
    rlcf->send_buffer = NGX_CONF_UNSET_SIZE;
    rlcf->max_sessions = NGX_CONF_UNSET_UINT;

    return rlcf;
}


static char *
ngx_http_rtbus_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_rtbus_loc_conf_t *prev = parent;
    ngx_http_rtbus_loc_conf_t *conf = child;

    ngx_http_rtbus_bus_t       **bus;
    ngx_http_core_loc_conf_t    *clcf;
    ngx_http_rtbus_main_conf_t  *rmcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    rmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_rtbus_module);

    if (clcf->noname) {
        ngx_http_rtbus_merge_noname(clcf, conf, prev);
        return NGX_CONF_OK;
    }

    ngx_conf_merge_ptr_value(conf->capture, prev->capture, NULL);

    if (conf->replay) {
        ngx_http_rtbus_merge_replay(clcf, conf);
    }

    if (conf->capture
        && ngx_http_rtbus_merge_capture(cf, clcf, conf) != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (conf->handler && conf->handler != clcf->handler) {

        /* other modules take the place without a look at who has it */

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "location \"%V\" has another content handler "
                           "beside that of rtbus", &clcf->name);
        return NGX_CONF_ERROR;
    }

    bus = rmcf->buses.elts;

    ngx_conf_merge_ptr_value(conf->bus, prev->bus, bus[0]);

    if (conf->handler
        && conf->handler != ngx_http_rtbus_status_handler
        && conf->handler != ngx_http_rtbus_health_handler)
    {
        conf->bus->used = 1;

        if (conf->handler != ngx_http_rtbus_state_handler) {
            conf->bus->redis.only_master = 1;
        }
    }

    ngx_conf_merge_ptr_value(conf->subscribe, prev->subscribe, NULL);
    ngx_conf_merge_ptr_value(conf->allow, prev->allow, NULL);
    ngx_conf_merge_ptr_value(conf->commands, prev->commands, NULL);

    if (conf->any_origin == NGX_CONF_UNSET_UINT) {
        conf->any_origin = (prev->any_origin == NGX_CONF_UNSET_UINT)
                           ? 0 : prev->any_origin;
        conf->origins = (prev->origins == NGX_CONF_UNSET_PTR)
                        ? NULL : prev->origins;
    }

    if (conf->fields == NGX_CONF_UNSET_PTR) {

        if (prev->fields == NGX_CONF_UNSET_PTR) {

            /* for all locations that have no list of their own */

            prev->fields = ngx_http_rtbus_state_default_fields(cf);
            if (prev->fields == NULL) {
                return NGX_CONF_ERROR;
            }
        }

        conf->fields = prev->fields;
    }

    if (ngx_http_rtbus_user_merge(cf, conf, prev) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    ngx_conf_merge_value(conf->recovery, prev->recovery, 1);

    if (conf->namespaces == NGX_CONF_UNSET_PTR) {
        conf->namespaces = prev->namespaces;
    }

    if (conf->protocols == NGX_HTTP_RTBUS_SOCKETIO
        && ngx_http_rtbus_merge_namespaces(cf, conf) != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    ngx_conf_merge_msec_value(conf->ping_interval, prev->ping_interval, 25000);
    ngx_conf_merge_msec_value(conf->ping_timeout, prev->ping_timeout, 20000);
    ngx_conf_merge_size_value(conf->max_event, prev->max_event, 1024 * 1024);
    ngx_conf_merge_size_value(conf->max_message, prev->max_message, 64 * 1024);
    ngx_conf_merge_uint_value(conf->max_channels, prev->max_channels, 64);
    ngx_conf_merge_uint_value(conf->message_rate, prev->message_rate, 50);
    ngx_conf_merge_uint_value(conf->max_sessions, prev->max_sessions, 256);
    ngx_conf_merge_size_value(conf->send_buffer, prev->send_buffer,
                              1024 * 1024);

    return NGX_CONF_OK;
}


/* beside a capture it is for GET alone, and the location has its handler */

static void
ngx_http_rtbus_merge_replay(ngx_http_core_loc_conf_t *clcf,
    ngx_http_rtbus_loc_conf_t *conf)
{
    if (clcf->handler == NULL) {
        clcf->handler = ngx_http_rtbus_replay_handler;
    }

    conf->handler = ngx_http_rtbus_replay_handler;
}


/* the handler of "proxy_pass" is kept, and ours put before it */

static ngx_int_t
ngx_http_rtbus_merge_capture(ngx_conf_t *cf, ngx_http_core_loc_conf_t *clcf,
    ngx_http_rtbus_loc_conf_t *conf)
{
    if (clcf->handler == NULL || clcf->handler == ngx_http_rtbus_replay_handler
        || (conf->handler && conf->handler != ngx_http_rtbus_replay_handler))
    {
        if (conf->capturing && !clcf->noname) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"rtbus_capture\" in location \"%V\" needs "
                               "\"proxy_pass\" or the like beside it",
                               &clcf->name);
            return NGX_ERROR;
        }

        return NGX_OK;
    }

    conf->captured = clcf->handler;
    conf->handler = ngx_http_rtbus_capture_handler;
    clcf->handler = ngx_http_rtbus_capture_handler;

    return NGX_OK;
}


/*
 * "if" and "limit_except" take no directive of ours, and nginx runs the handler
 * of their location with this configuration: it is the location's.
 */

static void
ngx_http_rtbus_merge_noname(ngx_http_core_loc_conf_t *clcf,
    ngx_http_rtbus_loc_conf_t *conf, ngx_http_rtbus_loc_conf_t *prev)
{
    *conf = *prev;

    if (clcf->handler) {
        /* "if" has one of its own, of "proxy_pass" say */
        conf->handler = NULL;

        if (conf->capture) {
            conf->captured = clcf->handler;
            clcf->handler = ngx_http_rtbus_capture_handler;
        }

        return;
    }

    if (clcf->lmt_excpt) {
        clcf->handler = conf->handler;
    }
}


/* a location's own copy, since how events are written is the location's */

static ngx_int_t
ngx_http_rtbus_merge_namespaces(ngx_conf_t *cf,
    ngx_http_rtbus_loc_conf_t *conf)
{
    ngx_uint_t             i;
    ngx_array_t           *from;
    ngx_http_rtbus_nsp_t  *nsp, *src;

    from = conf->namespaces;

    conf->namespaces = ngx_array_create(cf->pool, 1,
                                        sizeof(ngx_http_rtbus_nsp_t));
    if (conf->namespaces == NULL) {
        return NGX_ERROR;
    }

    if (from == NGX_CONF_UNSET_PTR) {

        nsp = ngx_array_push(conf->namespaces);
        if (nsp == NULL) {
            return NGX_ERROR;
        }

        ngx_str_set(&nsp->name, "/");
        ngx_http_rtbus_sio_nsp(nsp, conf->recovery);

        return NGX_OK;
    }

    src = from->elts;

    for (i = 0; i < from->nelts; i++) {

        nsp = ngx_array_push(conf->namespaces);
        if (nsp == NULL) {
            return NGX_ERROR;
        }

        nsp->name = src[i].name;
        ngx_http_rtbus_sio_nsp(nsp, conf->recovery);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_rtbus_init(ngx_conf_t *cf)
{
    ngx_http_rtbus_loc_conf_t   *rlcf;
    ngx_http_rtbus_main_conf_t  *rmcf;

    /* what Redis sends belongs to no location: the limit of http {} counts */

    rmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_rtbus_module);
    rlcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_rtbus_module);

    rmcf->max_event = (rlcf->max_event == NGX_CONF_UNSET_SIZE)
                      ? 1024 * 1024 : rlcf->max_event;

    if (ngx_http_rtbus_init_buses(cf, rmcf) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ngx_http_rtbus_init_hiredis(cf, rmcf) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ngx_http_rtbus_init_names(cf, rmcf) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ngx_http_rtbus_cors_init(cf) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_rtbus_init_secret(cf, rmcf);
}


static ngx_int_t
ngx_http_rtbus_init_buses(ngx_conf_t *cf, ngx_http_rtbus_main_conf_t *rmcf)
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

    return ngx_http_rtbus_init_apart(cf, rmcf);
}


/* pub/sub knows no databases: events of one bus would get to the other one */

static ngx_int_t
ngx_http_rtbus_init_apart(ngx_conf_t *cf, ngx_http_rtbus_main_conf_t *rmcf)
{
    ngx_uint_t              i, j;
    ngx_http_rtbus_bus_t  **bus;

    bus = rmcf->buses.elts;

    for (i = 0; i < rmcf->buses.nelts; i++) {
        for (j = 0; j < i; j++) {

            if (!bus[i]->used || !bus[j]->used
                || bus[i]->redis.db == bus[j]->redis.db
                || !ngx_http_rtbus_same_server(&bus[i]->redis, &bus[j]->redis))
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
ngx_http_rtbus_same_server(ngx_rtbus_redis_conf_t *one,
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
ngx_http_rtbus_init_hiredis(ngx_conf_t *cf, ngx_http_rtbus_main_conf_t *rmcf)
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
ngx_http_rtbus_init_names(ngx_conf_t *cf, ngx_http_rtbus_main_conf_t *rmcf)
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


/* where none is configured: a random one, kept over reloads */

static ngx_int_t
ngx_http_rtbus_init_secret(ngx_conf_t *cf, ngx_http_rtbus_main_conf_t *rmcf)
{
    ngx_http_rtbus_main_conf_t  *old;

    if (rmcf->secret.len || !rmcf->used) {
        return NGX_OK;
    }

    rmcf->secret.data = ngx_pnalloc(cf->pool, NGX_HTTP_RTBUS_SECRET);
    if (rmcf->secret.data == NULL) {
        return NGX_ERROR;
    }

    rmcf->secret.len = NGX_HTTP_RTBUS_SECRET;

    old = NULL;

    if (cf->cycle->old_cycle && !ngx_is_init_cycle(cf->cycle->old_cycle)) {
        old = ngx_http_cycle_get_module_main_conf(cf->cycle->old_cycle,
                                                  ngx_http_rtbus_module);
    }

    if (old && old->secret.len == NGX_HTTP_RTBUS_SECRET && !old->secret_file) {
        ngx_memcpy(rmcf->secret.data, old->secret.data, NGX_HTTP_RTBUS_SECRET);
        return NGX_OK;
    }

    if (RAND_bytes(rmcf->secret.data, NGX_HTTP_RTBUS_SECRET) != 1) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0, "RAND_bytes() failed");
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_rtbus_init_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                    i, first;
    ngx_http_rtbus_bus_t        **bus;
    ngx_http_rtbus_main_conf_t   *rmcf;

    if (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NGX_OK;
    }

    rmcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_rtbus_module);

    if (rmcf == NULL || !rmcf->used) {
        return NGX_OK;
    }

    if (ngx_http_rtbus_crypto_init(&rmcf->secret, cycle->log) != NGX_OK) {
        return NGX_ERROR;
    }

    bus = rmcf->buses.elts;
    first = 1;

    for (i = 0; i < rmcf->buses.nelts; i++) {

        if (!bus[i]->used) {
            continue;
        }

        if (ngx_http_rtbus_init_worker(cycle, rmcf, bus[i], first) != NGX_OK) {
            return NGX_ERROR;
        }

        first = 0;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_rtbus_init_worker(ngx_cycle_t *cycle,
    ngx_http_rtbus_main_conf_t *rmcf, ngx_http_rtbus_bus_t *bus,
    ngx_uint_t first)
{
    ngx_http_rtbus_worker_t  *worker;

    worker = ngx_pcalloc(cycle->pool, sizeof(ngx_http_rtbus_worker_t));
    if (worker == NULL) {
        return NGX_ERROR;
    }

    worker->drain_time = rmcf->drain;

    worker->hub.redis = &bus->redis;
    worker->hub.prefix = rmcf->prefix;
    worker->hub.max_event = rmcf->max_event;
    worker->hub.functions = bus->functions;
    worker->hub.rules = rmcf->forward;
    worker->hub.schema = rmcf->schema;
    worker->hub.captures = rmcf->captures;

    worker->hub.zone = rmcf->stat;

    worker->hub.stat = ngx_rtbus_stat_attach(rmcf->stat, &bus->name, first,
                                             cycle);
    if (worker->hub.stat == NULL) {
        return NGX_ERROR;
    }

    if (ngx_http_rtbus_worker_init(worker, cycle) != NGX_OK) {
        return NGX_ERROR;
    }

    bus->worker = worker;

    return NGX_OK;
}


static void
ngx_http_rtbus_exit_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                    i;
    ngx_http_rtbus_bus_t        **bus;
    ngx_http_rtbus_main_conf_t   *rmcf;

    rmcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_rtbus_module);

    if (rmcf == NULL || !rmcf->used) {
        return;
    }

    bus = rmcf->buses.elts;

    for (i = 0; i < rmcf->buses.nelts; i++) {
        if (bus[i]->worker) {
            ngx_http_rtbus_worker_close(bus[i]->worker);
        }
    }

    ngx_http_rtbus_crypto_close();
}


static char *
ngx_http_rtbus_redis(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_rtbus_main_conf_t *rmcf = conf;

    char                  *err;
    u_char                *p;
    ngx_str_t             *value, *sentinel, s;
    ngx_msec_t            *msec;
    ngx_uint_t             i;
    ngx_http_rtbus_bus_t  *bus;

    value = cf->args->elts;
    sentinel = NULL;

    ngx_str_set(&s, NGX_HTTP_RTBUS_DEFAULT);

    for (i = 2; i < cf->args->nelts; i++) {
        if (ngx_strncmp(value[i].data, "name=", 5) == 0) {
            s.data = value[i].data + 5;
            s.len = value[i].len - 5;
        }
    }

    bus = ngx_http_rtbus_find_bus(cf, rmcf, &s);
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

    if (ngx_rtbus_redis_conf_url(cf, &bus->redis, &value[1], &err)
        != NGX_OK)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%s in \"rtbus_redis\"", err);
        return NGX_CONF_ERROR;
    }

    for (i = 2; i < cf->args->nelts; i++) {

        if (ngx_strncmp(value[i].data, "connect_timeout=", 16) == 0) {
            s.data = value[i].data + 16;
            s.len = value[i].len - 16;
            msec = &bus->redis.connect_timeout;

        } else if (ngx_strncmp(value[i].data, "command_timeout=", 16) == 0) {
            s.data = value[i].data + 16;
            s.len = value[i].len - 16;
            msec = &bus->redis.command_timeout;

        } else if (ngx_strncmp(value[i].data, "password_file=", 14) == 0) {
            s.data = value[i].data + 14;
            s.len = value[i].len - 14;

            if (ngx_http_rtbus_first_line(cf, &s, &bus->redis.password)
                != NGX_OK)
            {
                return NGX_CONF_ERROR;
            }

            continue;

        } else if (ngx_strncmp(value[i].data, "sentinel_user=", 14) == 0) {
            sentinel = &value[i];

            bus->redis.sentinel_user.data = value[i].data + 14;
            bus->redis.sentinel_user.len = value[i].len - 14;

            continue;

        } else if (ngx_strncmp(value[i].data, "sentinel_password_file=", 23)
                   == 0)
        {
            sentinel = &value[i];

            s.data = value[i].data + 23;
            s.len = value[i].len - 23;

            if (ngx_http_rtbus_first_line(cf, &s,
                                          &bus->redis.sentinel_password)
                != NGX_OK)
            {
                return NGX_CONF_ERROR;
            }

            continue;

        } else if (ngx_http_rtbus_redis_tls(&value[i], bus->redis.tls)
                   == NGX_OK)
        {
            if (bus->redis.tls == NULL) {
                ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                                   "parameter \"%V\" needs \"rediss://\"",
                                   &value[i]);
                return NGX_CONF_ERROR;
            }

            continue;

        } else if (ngx_strcmp(value[i].data, "functions=off") == 0) {
            bus->functions = 0;
            continue;

        } else if (ngx_strcmp(value[i].data, "functions=on") == 0) {
            bus->functions = 1;
            continue;

        } else if (ngx_strncmp(value[i].data, "name=", 5) == 0) {
            continue;

        } else {
            s = value[i];
            p = ngx_strlchr(s.data, s.data + s.len, '=');

            if (p) {

                /* what follows may be a password */

                s.len = p + 1 - s.data;
            }

            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\"", &s);
            return NGX_CONF_ERROR;
        }

        *msec = ngx_parse_time(&s, 0);

        if (*msec == (ngx_msec_t) NGX_ERROR || *msec == 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid time in \"%V\"", &value[i]);
            return NGX_CONF_ERROR;
        }
    }

    if (sentinel && bus->redis.kind != NGX_RTBUS_REDIS_SENTINEL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "parameter \"%V\" needs \"redis+sentinel://\"",
                           sentinel);
        return NGX_CONF_ERROR;
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


/*
 * A parameter that is for TLS, to be set if tls is not NULL: NGX_OK, or
 * NGX_DECLINED: it is none of these.
 */

static ngx_int_t
ngx_http_rtbus_redis_tls(ngx_str_t *param, ngx_rtbus_redis_tls_t *tls)
{
    ngx_str_t   *value, *name;
    ngx_uint_t   i;

    static struct {
        ngx_str_t  name;
        size_t     offset;
    } params[] = {
        { ngx_string("cacert="), offsetof(ngx_rtbus_redis_tls_t, ca) },
        { ngx_string("cert="), offsetof(ngx_rtbus_redis_tls_t, cert) },
        { ngx_string("key="), offsetof(ngx_rtbus_redis_tls_t, key) },
        { ngx_string("sni="), offsetof(ngx_rtbus_redis_tls_t, sni) }
    };

    if (ngx_strcmp(param->data, "verify=on") == 0
        || ngx_strcmp(param->data, "verify=off") == 0)
    {
        if (tls) {
            tls->verify = (param->data[8] == 'n');
        }

        return NGX_OK;
    }

    for (i = 0; i < sizeof(params) / sizeof(params[0]); i++) {

        name = &params[i].name;

        if (param->len > name->len
            && ngx_strncmp(param->data, name->data, name->len) == 0)
        {
            if (tls) {
                value = (ngx_str_t *) ((u_char *) tls + params[i].offset);

                value->data = param->data + name->len;
                value->len = param->len - name->len;
            }

            return NGX_OK;
        }
    }

    return NGX_DECLINED;
}


static char *
ngx_http_rtbus_bus(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
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

    bus = ngx_http_rtbus_find_bus(cf, rmcf, &value[1]);
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
ngx_http_rtbus_find_bus(ngx_conf_t *cf, ngx_http_rtbus_main_conf_t *rmcf,
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


/* a password or a secret is the first line of its file */

static ngx_int_t
ngx_http_rtbus_first_line(ngx_conf_t *cf, ngx_str_t *name, ngx_str_t *line)
{
    size_t   len;
    ssize_t  n;
    u_char   buf[NGX_HTTP_RTBUS_MAX_LINE + 1];

    n = ngx_http_rtbus_file_read(cf, name, buf, sizeof(buf));

    if (n == NGX_ERROR) {
        return NGX_ERROR;
    }

    for (len = 0; len < (size_t) n; len++) {
        if (buf[len] == LF || buf[len] == CR) {
            break;
        }
    }

    if (len == 0 || len > NGX_HTTP_RTBUS_MAX_LINE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the first line of \"%V\" is %s", name,
                           len ? "too long" : "empty");
        return NGX_ERROR;
    }

    line->data = ngx_pnalloc(cf->pool, len);
    if (line->data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(line->data, buf, len);
    line->len = len;

    ngx_explicit_memzero(buf, sizeof(buf));

    return NGX_OK;
}


static char *
ngx_http_rtbus_prefix(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
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


static char *
ngx_http_rtbus_schema(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
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

    text = ngx_alloc(NGX_HTTP_RTBUS_SCHEMA + 1, cf->log);
    if (text == NULL) {
        return NGX_CONF_ERROR;
    }

    n = ngx_http_rtbus_file_read(cf, &value[1], text,
                                 NGX_HTTP_RTBUS_SCHEMA + 1);

    if (n == NGX_ERROR) {
        ngx_free(text);
        return NGX_CONF_ERROR;
    }

    if (n > NGX_HTTP_RTBUS_SCHEMA) {
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

    cln->handler = ngx_http_rtbus_schema_cleanup;
    cln->data = schema;

    rmcf->schema = schema;

    return NGX_CONF_OK;
}


static void
ngx_http_rtbus_schema_cleanup(void *data)
{
    rtbus_schema_destroy(data);
}


static char *
ngx_http_rtbus_forward(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
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


static char *
ngx_http_rtbus_coalesce(ngx_conf_t *cf, void *post, void *data)
{
    ngx_msec_t *msec = data;

    /* commands and canaries would be taken for lost */

    if (*msec > NGX_HTTP_RTBUS_MAX_COALESCE) {
        return "must not be more than 500ms";
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_rtbus_proto(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_rtbus_loc_conf_t *rlcf = conf;

    ngx_str_t   *value;
    ngx_uint_t   i, bit;

    if (rlcf->protocols) {
        return "is duplicate";
    }

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        if (ngx_strcmp(value[i].data, "websocket") == 0) {
            bit = NGX_HTTP_RTBUS_WEBSOCKET;

        } else if (ngx_strcmp(value[i].data, "sse") == 0) {
            bit = NGX_HTTP_RTBUS_SSE;

        } else if (ngx_strcmp(value[i].data, "socketio") == 0) {
            bit = NGX_HTTP_RTBUS_SOCKETIO;

        } else {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid protocol \"%V\", it must be "
                               "\"socketio\", \"websocket\" or \"sse\"",
                               &value[i]);
            return NGX_CONF_ERROR;
        }

        if (rlcf->protocols & bit) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "duplicate protocol \"%V\"", &value[i]);
            return NGX_CONF_ERROR;
        }

        rlcf->protocols |= bit;
    }

    if ((rlcf->protocols & NGX_HTTP_RTBUS_SOCKETIO)
        && rlcf->protocols != NGX_HTTP_RTBUS_SOCKETIO)
    {
        return "cannot serve \"socketio\" and another protocol at one location";
    }

    if (ngx_http_rtbus_set_handler(cf, ngx_http_rtbus_handler) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_rtbus_subscribe(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_rtbus_loc_conf_t *rlcf = conf;

    ngx_str_t   *value;
    ngx_uint_t   i;

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {
        if (ngx_http_rtbus_name(cf, &rlcf->subscribe, &value[i], 0) == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_rtbus_allow(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_rtbus_loc_conf_t *rlcf = conf;

    ngx_str_t              *value;
    ngx_http_rtbus_name_t  *name;

    value = cf->args->elts;

    name = ngx_http_rtbus_name(cf, &rlcf->allow, &value[1], 1);
    if (name == NULL) {
        return NGX_CONF_ERROR;
    }

    if (cf->args->nelts == 3) {

        if (ngx_strcmp(value[2].data, "owner") != 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\", it must be "
                               "\"owner\"", &value[2]);
            return NGX_CONF_ERROR;
        }

        name->owner = 1;
    }

    return NGX_CONF_OK;
}


/* adds a name to a list of the configuration; NULL: logged */

static ngx_http_rtbus_name_t *
ngx_http_rtbus_name(ngx_conf_t *cf, ngx_array_t **names, ngx_str_t *text,
    ngx_uint_t wildcard)
{
    ngx_http_rtbus_name_t  *name;

    if (*names == NGX_CONF_UNSET_PTR) {
        *names = ngx_array_create(cf->pool, 2, sizeof(ngx_http_rtbus_name_t));
        if (*names == NULL) {
            return NULL;
        }
    }

    name = ngx_array_push(*names);
    if (name == NULL) {
        return NULL;
    }

    if (ngx_http_rtbus_name_compile(cf, text, wildcard, name) != NGX_OK) {
        return NULL;
    }

    return name;
}


static char *
ngx_http_rtbus_secret_file(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_rtbus_main_conf_t *rmcf = conf;

    ngx_str_t  *value;

    if (rmcf->secret.len) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_http_rtbus_first_line(cf, &value[1], &rmcf->secret) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (rmcf->secret.len < 16) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the first line of \"%V\" is too short for a "
                           "secret, 16 bytes are the least", &value[1]);
        return NGX_CONF_ERROR;
    }

    rmcf->secret_file = 1;

    return NGX_CONF_OK;
}


static char *
ngx_http_rtbus_namespaces(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_rtbus_loc_conf_t *rlcf = conf;

    u_char                *p;
    ngx_str_t             *value;
    ngx_uint_t             i, j;
    ngx_http_rtbus_nsp_t  *nsp, *other;

    if (rlcf->namespaces != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    rlcf->namespaces = ngx_array_create(cf->pool, cf->args->nelts - 1,
                                        sizeof(ngx_http_rtbus_nsp_t));
    if (rlcf->namespaces == NULL) {
        return NGX_CONF_ERROR;
    }

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        if (value[i].len == 0 || value[i].data[0] != '/'
            || value[i].len > RTBUS_SIO_MAX_NSP)
        {
            goto invalid;
        }

        for (p = value[i].data; p < value[i].data + value[i].len; p++) {
            if (*p <= ' ' || *p >= 0x7f || *p == ',' || *p == '?'
                || *p == '"' || *p == '\\')
            {
                goto invalid;
            }
        }

        other = rlcf->namespaces->elts;

        for (j = 0; j < rlcf->namespaces->nelts; j++) {
            if (other[j].name.len == value[i].len
                && ngx_strncmp(other[j].name.data, value[i].data,
                               value[i].len)
                   == 0)
            {
                ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                                   "duplicate namespace \"%V\"", &value[i]);
                return NGX_CONF_ERROR;
            }
        }

        nsp = ngx_array_push(rlcf->namespaces);
        if (nsp == NULL) {
            return NGX_CONF_ERROR;
        }

        nsp->name = value[i];
    }

    return NGX_CONF_OK;

invalid:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid namespace \"%V\", it must begin with \"/\"",
                       &value[i]);
    return NGX_CONF_ERROR;
}


static char *
ngx_http_rtbus_ping(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_rtbus_loc_conf_t *rlcf = conf;

    ngx_str_t  *value;

    if (rlcf->ping_interval != NGX_CONF_UNSET_MSEC) {
        return "is duplicate";
    }

    value = cf->args->elts;

    rlcf->ping_interval = ngx_parse_time(&value[1], 0);
    rlcf->ping_timeout = ngx_parse_time(&value[2], 0);

    if (rlcf->ping_interval == (ngx_msec_t) NGX_ERROR
        || rlcf->ping_interval == 0
        || rlcf->ping_timeout == (ngx_msec_t) NGX_ERROR
        || rlcf->ping_timeout == 0)
    {
        return "has an invalid time";
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_rtbus_rate(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_rtbus_loc_conf_t *rlcf = conf;

    ngx_int_t   rate;
    ngx_str_t  *value;

    if (rlcf->message_rate != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len < 4
        || ngx_strncmp(value[1].data + value[1].len - 3, "r/s", 3) != 0)
    {
        goto invalid;
    }

    rate = ngx_atoi(value[1].data, value[1].len - 3);

    if (rate == NGX_ERROR || rate == 0 || rate > 1000000) {
        goto invalid;
    }

    rlcf->message_rate = rate;

    return NGX_CONF_OK;

invalid:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid rate \"%V\", it must be like \"50r/s\"",
                       &value[1]);
    return NGX_CONF_ERROR;
}


static char *
ngx_http_rtbus_state(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_rtbus_loc_conf_t *rlcf = conf;

    ngx_str_t  *value, s;

    if (rlcf->state) {
        return "is duplicate";
    }

    value = cf->args->elts;

    rlcf->state = ngx_palloc(cf->pool, 2 * sizeof(ngx_http_rtbus_name_t));
    if (rlcf->state == NULL) {
        return NGX_CONF_ERROR;
    }

    if (ngx_http_rtbus_name_compile(cf, &value[1], 0, rlcf->state) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (cf->args->nelts == 3) {

        if (value[2].len < 5 || ngx_strncmp(value[2].data, "key=", 4) != 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\"", &value[2]);
            return NGX_CONF_ERROR;
        }

        s.data = value[2].data + 4;
        s.len = value[2].len - 4;

        rlcf->state_key = rlcf->state + 1;

        if (ngx_http_rtbus_name_cut(cf, &s, rlcf->state_key) != NGX_OK) {
            return NGX_CONF_ERROR;
        }
    }

    if (ngx_http_rtbus_set_handler(cf, ngx_http_rtbus_state_handler)
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_rtbus_publish(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_rtbus_loc_conf_t *rlcf = conf;

    ngx_str_t  *value;

    if (rlcf->publish) {
        return "is duplicate";
    }

    value = cf->args->elts;

    rlcf->publish = ngx_palloc(cf->pool, sizeof(ngx_http_rtbus_name_t));
    if (rlcf->publish == NULL) {
        return NGX_CONF_ERROR;
    }

    if (ngx_http_rtbus_name_compile(cf, &value[1], 0, rlcf->publish)
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (cf->args->nelts == 3) {

        if (ngx_strcmp(value[2].data, "live") != 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\"", &value[2]);
            return NGX_CONF_ERROR;
        }

        rlcf->live = 1;
    }

    if (ngx_http_rtbus_set_handler(cf, ngx_http_rtbus_publish_handler)
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_rtbus_submit(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_rtbus_loc_conf_t *rlcf = conf;

    ngx_str_t  *value;

    if (rlcf->submit) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len == 0 || value[1].data[0] == '@') {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid event \"%V\"",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    rlcf->submit = ngx_palloc(cf->pool, sizeof(ngx_http_rtbus_name_t));
    if (rlcf->submit == NULL) {
        return NGX_CONF_ERROR;
    }

    if (ngx_http_rtbus_name_cut(cf, &value[1], rlcf->submit) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (ngx_http_rtbus_set_handler(cf, ngx_http_rtbus_submit_handler)
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_rtbus_stop(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_rtbus_loc_conf_t *rlcf = conf;

    ngx_str_t  *value;

    if (rlcf->stop) {
        return "is duplicate";
    }

    value = cf->args->elts;

    rlcf->stop = ngx_palloc(cf->pool, sizeof(ngx_http_rtbus_name_t));
    if (rlcf->stop == NULL) {
        return NGX_CONF_ERROR;
    }

    if (ngx_http_rtbus_name_compile(cf, &value[1], 0, rlcf->stop) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return (ngx_http_rtbus_set_handler(cf, ngx_http_rtbus_stop_handler)
            == NGX_OK) ? NGX_CONF_OK : NGX_CONF_ERROR;
}


static char *
ngx_http_rtbus_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    return (ngx_http_rtbus_set_handler(cf, ngx_http_rtbus_status_handler)
            == NGX_OK) ? NGX_CONF_OK : NGX_CONF_ERROR;
}


static char *
ngx_http_rtbus_health(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    return (ngx_http_rtbus_set_handler(cf, ngx_http_rtbus_health_handler)
            == NGX_OK) ? NGX_CONF_OK : NGX_CONF_ERROR;
}


static ngx_int_t
ngx_http_rtbus_set_handler(ngx_conf_t *cf, ngx_http_handler_pt handler)
{
    ngx_http_core_loc_conf_t    *clcf;
    ngx_http_rtbus_loc_conf_t   *rlcf;
    ngx_http_rtbus_main_conf_t  *rmcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->handler) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the location has a content handler already");
        return NGX_ERROR;
    }

    clcf->handler = handler;

    rlcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_rtbus_module);
    rlcf->handler = handler;

    rmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_rtbus_module);
    rmcf->used = 1;

    return NGX_OK;
}
