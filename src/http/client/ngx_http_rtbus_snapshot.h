
/*
 * What Redis has of a channel: its state, its output, its position.  Read from
 * the replies of Redis, and written as the JSON that the state endpoint answers
 * and that is the data of a "state" event.
 */


#ifndef _NGX_HTTP_RTBUS_SNAPSHOT_H_INCLUDED_
#define _NGX_HTTP_RTBUS_SNAPSHOT_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


typedef enum {
    NGX_HTTP_RTBUS_STR = 0,
    NGX_HTTP_RTBUS_NUM,
    NGX_HTTP_RTBUS_JSON,
    NGX_HTTP_RTBUS_BOOL
} ngx_http_rtbus_type_e;


/* a field of the state that may leave the server */

typedef struct {
    ngx_str_t                name;
    ngx_http_rtbus_type_e    type;
} ngx_http_rtbus_field_t;


/* all memory is the caller's */

typedef struct {
    ngx_keyval_t            *fields;     /* names and values */
    ngx_uint_t               nfields;
    ngx_str_t                user;       /* the owner; empty: nobody */
    ngx_str_t                output;     /* data NULL: there is no output */
    rtbus_pos_t              pos;
    unsigned                 raw:1;      /* the values are JSON, not yet of a
                                            type */
} ngx_http_rtbus_snapshot_t;


/*
 * The readers answer NGX_OK; NGX_DECLINED: the reply is something else;
 * NGX_ERROR: no memory.  What they read stays memory of the reply, but for the
 * array of fields, which is the pool's.
 */

/* the reply of rtbus_snapshot: all of it */

ngx_int_t ngx_http_rtbus_snapshot_read(ngx_pool_t *pool, redisReply *reply,
    ngx_http_rtbus_snapshot_t *snapshot);

/* the reply of HGETALL: the fields and the user */

ngx_int_t ngx_http_rtbus_snapshot_pairs(ngx_pool_t *pool, redisReply *reply,
    ngx_http_rtbus_snapshot_t *snapshot);

/*
 * The reply of GET, a JSON object: the declared fields (ngx_http_rtbus_field_t)
 * and the user, some of it memory of the pool.
 */

ngx_int_t ngx_http_rtbus_snapshot_object(ngx_pool_t *pool, rtbus_json_t *json,
    ngx_array_t *declared, redisReply *reply,
    ngx_http_rtbus_snapshot_t *snapshot);

/* does the reply say that the key holds another type than was asked for */

ngx_uint_t ngx_http_rtbus_snapshot_wrong(redisReply *reply);


/* the value of a field, or NULL */

ngx_str_t *ngx_http_rtbus_snapshot_find(ngx_http_rtbus_snapshot_t *snapshot,
    ngx_str_t *name);

/* is the user (if not empty) the owner */

ngx_uint_t ngx_http_rtbus_snapshot_owned(ngx_http_rtbus_snapshot_t *snapshot,
    ngx_str_t *user);

/*
 * Writes the declared fields in their order, output and position; memory of
 * the pool, which also takes what is needed on the way.  only: names separated
 * by commas, or NULL: all.  NGX_OK or NGX_ERROR.
 */

ngx_int_t ngx_http_rtbus_snapshot_json(ngx_pool_t *pool, rtbus_json_t *json,
    ngx_array_t *declared, ngx_http_rtbus_snapshot_t *snapshot,
    ngx_str_t *only, ngx_str_t *text);


/* the fields declared where there is no rtbus_state_fields; NULL: no memory */

ngx_array_t *ngx_http_rtbus_snapshot_default_fields(ngx_conf_t *cf);

/* rtbus_state_fields name[:type] ...; sets conf->fields */

char *ngx_http_rtbus_conf_state_fields(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


#endif /* _NGX_HTTP_RTBUS_SNAPSHOT_H_INCLUDED_ */
