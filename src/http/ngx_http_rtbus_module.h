
/*
 * Configuration and worker state of ngx_http_rtbus_module, for the files of
 * this folder and the module itself.
 */


#ifndef _NGX_HTTP_RTBUS_MODULE_H_INCLUDED_
#define _NGX_HTTP_RTBUS_MODULE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_rtbus_hub.h"
#include "ngx_rtbus_reason.h"


/* protocols of a location, a bit each */

#define NGX_HTTP_RTBUS_SOCKETIO   0x0001
#define NGX_HTTP_RTBUS_WEBSOCKET  0x0002
#define NGX_HTTP_RTBUS_SSE        0x0004


/* bytes that are read from or written to a connection in one call */

#define NGX_HTTP_RTBUS_BUFFER     65536


#define ngx_http_rtbus_str_eq(a, b)                                           \
    ((a)->len == (b)->len                                                     \
     && ((a)->len == 0                                                        \
         || ngx_memcmp((a)->data, (b)->data, (a)->len) == 0))


typedef struct ngx_http_rtbus_worker_s   ngx_http_rtbus_worker_t;
typedef struct ngx_http_rtbus_name_s     ngx_http_rtbus_name_t;
typedef struct ngx_http_rtbus_carrier_s  ngx_http_rtbus_carrier_t;
typedef struct ngx_http_rtbus_carriers_s
                                         ngx_http_rtbus_carriers_t;
typedef struct ngx_http_rtbus_commands_s
                                         ngx_http_rtbus_commands_t;
typedef struct ngx_http_rtbus_senders_s  ngx_http_rtbus_senders_t;
typedef struct ngx_http_rtbus_relay_s    ngx_http_rtbus_relay_t;
typedef struct ngx_http_rtbus_sessions_s
                                         ngx_http_rtbus_sessions_t;
typedef struct ngx_http_rtbus_quotas_s   ngx_http_rtbus_quotas_t;
typedef struct ngx_http_rtbus_capture_conf_s
                                         ngx_http_rtbus_capture_conf_t;
typedef struct ngx_http_rtbus_replay_conf_s
                                         ngx_http_rtbus_replay_conf_t;


/* what a worker has of a bus while it lives; in cycle->pool */

struct ngx_http_rtbus_worker_s {
    ngx_rtbus_hub_t              hub;
    ngx_http_rtbus_carriers_t   *carriers;    /* see _carrier.h */

    ngx_http_rtbus_commands_t   *commands;    /* of the file of that name, as
                                                 the next one */
    ngx_http_rtbus_senders_t    *senders;

    ngx_http_rtbus_sessions_t   *sessions;    /* see _session.h */
    ngx_http_rtbus_quotas_t     *quotas;      /* who has them, see _quota.h */
    ngx_http_rtbus_relay_t      *relay;       /* to other workers */
};


/* a Redis of the configuration, and what is there for its clients */

typedef struct {
    ngx_str_t                    name;
    ngx_rtbus_redis_conf_t       redis;       /* no nodes: not configured */
    ngx_flag_t                   functions;
    ngx_uint_t                   used;        /* by a location */
    ngx_http_rtbus_worker_t     *worker;      /* NULL before the worker starts,
                                                 and if the bus is not used */
    u_char                      *file_name;   /* where it was first named */
    ngx_uint_t                   line;
} ngx_http_rtbus_bus_t;


typedef struct {
    ngx_array_t                  buses;       /* ngx_http_rtbus_bus_t *, the
                                                 default bus first */
    ngx_uint_t                   nbuses;      /* that are used */
    ngx_msec_t                   coalesce;
    ngx_str_t                    prefix;
    ngx_msec_t                   drain;
    ngx_array_t                 *forward;     /* rules, see ngx_rtbus_forward */
    size_t                       max_event;
    const rtbus_schema_t        *schema;      /* or NULL */
    ngx_str_t                    secret;      /* key of the pid */
    ngx_uint_t                   secret_file; /* it was configured */

    ngx_int_t                    user_index;  /* of $rtbus_user */
    ngx_int_t                    jwt_index;   /* of $rtbus_jwt_user */

    ngx_uint_t                   captures;    /* rtbus_capture was seen */
    ngx_uint_t                   used;        /* a directive was seen */
    ngx_rtbus_stat_zone_t       *stat;        /* NULL: nothing is used */
} ngx_http_rtbus_main_conf_t;


typedef struct {
    ngx_http_handler_pt          handler;     /* of this location, or NULL */
    ngx_http_rtbus_bus_t        *bus;
    ngx_uint_t                   protocols;
    ngx_uint_t                   cors;        /* unsigned  cors:1;
                                                 its answers are for pages */

    ngx_array_t                 *subscribe;   /* ngx_http_rtbus_name_t */
    ngx_array_t                 *allow;       /* ngx_http_rtbus_name_t */
    ngx_array_t                 *origins;     /* see _origin.c */
    ngx_uint_t                   any_origin;
    ngx_array_t                 *fields;      /* ngx_http_rtbus_field_t */
    ngx_array_t                 *namespaces;  /* ngx_http_rtbus_nsp_t */
    ngx_flag_t                   recovery;

    ngx_http_complex_value_t    *user;
    ngx_flag_t                   require_user;
    ngx_str_t                    jwt_key;     /* len 0: there is none */
    ngx_uint_t                   jwt_alg;     /* jwt_alg_t */
    ngx_str_t                    jwt_claim;   /* zero-terminated */

    ngx_msec_t                   ping_interval;
    ngx_msec_t                   ping_timeout;

    size_t                       max_event;
    size_t                       max_message;
    ngx_uint_t                   max_channels;
    ngx_uint_t                   message_rate;  /* per second */
    size_t                       send_buffer;
    ngx_uint_t                   max_sessions;

    ngx_http_rtbus_name_t       *state;       /* the channel */
    ngx_http_rtbus_name_t       *state_key;   /* or NULL */

    ngx_http_rtbus_name_t       *publish;     /* the channel */
    ngx_uint_t                   live;        /* unsigned  live:1; */

    ngx_array_t                 *commands;    /* ngx_http_rtbus_command_rule_t,
                                                 or NULL */
    ngx_http_rtbus_name_t       *submit;      /* the event */
    ngx_http_rtbus_replay_conf_t
                                *replay;      /* or NULL */
    ngx_http_rtbus_capture_conf_t
                                *capture;     /* or NULL */
    ngx_uint_t                   capturing;   /* unsigned  capturing:1;
                                                 it is this location's */
    ngx_http_handler_pt          captured;    /* the content handler that is
                                                 captured */
    ngx_http_rtbus_name_t       *stop;        /* the channel */
} ngx_http_rtbus_loc_conf_t;


extern ngx_module_t  ngx_http_rtbus_module;


#endif /* _NGX_HTTP_RTBUS_MODULE_H_INCLUDED_ */
