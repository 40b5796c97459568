
/*
 * ngx_http_rtbus_module: the realtime edge of a job system.
 *
 * Directives, configuration, the start and the end of a worker; what happens in
 * between is below src/.
 */


#include "ngx_http_rtbus_module.h"
#include "ngx_http_rtbus_access.h"
#include "ngx_http_rtbus_body_var.h"
#include "ngx_http_rtbus_bus.h"
#include "ngx_http_rtbus_capture_claim.h"
#include "ngx_http_rtbus_capture_conf.h"
#include "ngx_http_rtbus_carrier.h"
#include "ngx_http_rtbus_command_rule.h"
#include "ngx_http_rtbus_cors.h"
#include "ngx_http_rtbus_crypto.h"
#include "ngx_http_rtbus_log.h"
#include "ngx_http_rtbus_rate.h"
#include "ngx_http_rtbus_main.h"
#include "ngx_http_rtbus_name.h"
#include "ngx_http_rtbus_origin.h"
#include "ngx_http_rtbus_proto.h"
#include "ngx_http_rtbus_publish.h"
#include "ngx_http_rtbus_replay_conf.h"
#include "ngx_http_rtbus_replay_request.h"
#include "ngx_http_rtbus_sio.h"
#include "ngx_http_rtbus_snapshot.h"
#include "ngx_http_rtbus_state.h"
#include "ngx_http_rtbus_status.h"
#include "ngx_http_rtbus_stop.h"
#include "ngx_http_rtbus_submit.h"
#include "ngx_http_rtbus_user.h"
#include "ngx_http_rtbus_worker.h"


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
static ngx_int_t ngx_http_rtbus_init(ngx_conf_t *cf);
static ngx_int_t ngx_http_rtbus_init_process(ngx_cycle_t *cycle);
static ngx_int_t ngx_http_rtbus_init_worker(ngx_cycle_t *cycle,
    ngx_http_rtbus_main_conf_t *rmcf, ngx_http_rtbus_bus_t *bus,
    ngx_uint_t first);
static void ngx_http_rtbus_exit_process(ngx_cycle_t *cycle);


static ngx_conf_num_bounds_t  ngx_http_rtbus_channels_bounds = {
    ngx_conf_check_num_bounds, 1, 10000
};


static ngx_conf_post_t  ngx_http_rtbus_coalesce_post = {
    ngx_http_rtbus_conf_coalesce
};


static ngx_conf_post_t  ngx_http_rtbus_jwt_claim_post = {
    ngx_http_rtbus_jwt_claim_name
};


static ngx_command_t  ngx_http_rtbus_commands[] = {

    { ngx_string("rtbus_redis"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_1MORE,
      ngx_http_rtbus_conf_redis,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("rtbus_bus"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_rtbus_conf_bus,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("rtbus_prefix"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_rtbus_conf_prefix,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("rtbus_forward"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE2,
      ngx_http_rtbus_conf_forward,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("rtbus_secret_file"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_rtbus_conf_secret_file,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("rtbus_schema"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE12,
      ngx_http_rtbus_conf_schema,
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
      ngx_http_rtbus_conf_proto,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("rtbus_subscribe"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_rtbus_conf_subscribe,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("rtbus_allow"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_http_rtbus_conf_allow,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("rtbus_origin"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_rtbus_conf_origin,
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
      ngx_http_rtbus_conf_namespaces,
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
      ngx_http_rtbus_conf_ping,
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
      ngx_http_rtbus_conf_message_rate,
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
      ngx_http_rtbus_conf_state,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("rtbus_state_fields"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_rtbus_conf_state_fields,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("rtbus_command"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_rtbus_conf_command,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("rtbus_publish"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_http_rtbus_conf_publish,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("rtbus_submit"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_rtbus_conf_submit,
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
      ngx_http_rtbus_conf_stop,
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
      ngx_http_rtbus_conf_status,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("rtbus_health"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_http_rtbus_conf_health,
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

    if (ngx_http_rtbus_bus_create(cf, rmcf) != NGX_OK) {
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

    ngx_conf_init_msec_value(rmcf->coalesce, 0);
    ngx_conf_init_msec_value(rmcf->drain, 10000);

    if (rmcf->prefix.data == NULL) {
        ngx_str_set(&rmcf->prefix, "");
    }

    if (ngx_http_rtbus_bus_complete(cf, rmcf) != NGX_OK) {
        return NGX_CONF_ERROR;
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
     *     rlcf->cors = 0;
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

        /* in front of an application that is its own business */

        conf->cors = (conf->handler != ngx_http_rtbus_capture_handler
                      && conf->protocols != NGX_HTTP_RTBUS_WEBSOCKET);
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

            prev->fields = ngx_http_rtbus_snapshot_default_fields(cf);
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
        && ngx_http_rtbus_sio_merge(cf, conf) != NGX_OK)
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

    if (ngx_http_rtbus_bus_init(cf, rmcf) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ngx_http_rtbus_cors_init(cf) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_rtbus_secret_init(cf, rmcf);
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

