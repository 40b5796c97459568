
/*
 * The state of a channel as JSON: what the state endpoint answers, and the
 * data of a "state" event.
 */


#ifndef _NGX_HTTP_RTBUS_STATE_H_INCLUDED_
#define _NGX_HTTP_RTBUS_STATE_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


/* what Redis has of a channel; all memory is the caller's */

typedef struct {
    ngx_keyval_t     *fields;     /* names and values */
    ngx_uint_t        nfields;
    ngx_str_t         user;       /* whose it is; empty: nobody's */
    ngx_str_t         output;     /* data NULL: there is none */
    rtbus_pos_t       pos;
    unsigned          raw:1;      /* the values are JSON, not yet of a type */
} ngx_http_rtbus_state_t;


/*
 * Writes the declared fields (ngx_http_rtbus_field_t) in their order, output
 * and position; memory of the pool, which also takes what is needed meanwhile.
 * only: names separated by commas, or NULL: all.  NGX_OK or NGX_ERROR.
 */

ngx_int_t ngx_http_rtbus_state_json(ngx_pool_t *pool, rtbus_json_t *json,
    ngx_array_t *declared, ngx_http_rtbus_state_t *state, ngx_str_t *only,
    ngx_str_t *text);

/*
 * Reads the reply of rtbus_snapshot; all but the array of fields (memory of the
 * pool) stays the reply's.  NGX_OK, NGX_DECLINED: it is none, NGX_ERROR.
 */

ngx_int_t ngx_http_rtbus_state_snapshot(ngx_pool_t *pool, redisReply *reply,
    ngx_http_rtbus_state_t *state);

/* the reply says that the key holds something else than was asked for */

ngx_uint_t ngx_http_rtbus_state_wrong(redisReply *reply);

/*
 * Where the state is no hash, it may be a string with a JSON object: reads the
 * reply of GET, the position and the output of state stay as they are.  Names
 * and values are memory of the reply and of the pool.  NGX_OK, NGX_DECLINED: it
 * is none, NGX_ERROR.
 */

ngx_int_t ngx_http_rtbus_state_members(ngx_pool_t *pool, rtbus_json_t *json,
    ngx_array_t *declared, redisReply *reply, ngx_http_rtbus_state_t *state);

/* does it name the user (not empty) as its owner */

ngx_uint_t ngx_http_rtbus_state_is(ngx_http_rtbus_state_t *state,
    ngx_str_t *user);


/* the fields declared where there is no rtbus_state_fields; NULL: no memory */

ngx_array_t *ngx_http_rtbus_state_default_fields(ngx_conf_t *cf);

/* rtbus_state_fields name[:type] ...; sets conf->fields */

char *ngx_http_rtbus_state_fields(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* rtbus_state, and its content handler */

char *ngx_http_rtbus_conf_state(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

ngx_int_t ngx_http_rtbus_state_handler(ngx_http_request_t *r);


#endif /* _NGX_HTTP_RTBUS_STATE_H_INCLUDED_ */
