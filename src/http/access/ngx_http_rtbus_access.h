
/*
 * What a client may join: the rules of rtbus_allow, and the channels that a new
 * client gets by rtbus_subscribe and by its cursor.
 */


#ifndef _NGX_HTTP_RTBUS_ACCESS_H_INCLUDED_
#define _NGX_HTTP_RTBUS_ACCESS_H_INCLUDED_


#include "ngx_http_rtbus_text.h"
#include "ngx_http_rtbus_user.h"


/* a rule of rtbus_allow as it stands for one request */

typedef struct {
    ngx_str_t      name;
    unsigned       prefix:1;
    unsigned       owner:1;
    unsigned       fixed:1;      /* the name is the configuration's */
} ngx_http_rtbus_rule_t;


/*
 * What a request says of the client that it brings: who it is, what it may
 * join, and the channels of rtbus_subscribe without the empty names, not
 * checked yet.  The client does not need the request after that.
 */

typedef struct {
    ngx_http_rtbus_identity_t   id;
    ngx_array_t                 rules;      /* ngx_http_rtbus_rule_t */
    ngx_array_t                 subscribe;  /* ngx_str_t */
} ngx_http_rtbus_grant_t;


/*
 * Reads the grant off a request, with memory of r->pool.  token: NULL, or the
 * one to go by; see ngx_http_rtbus_identify(), which has the same answers.
 */

ngx_int_t ngx_http_rtbus_access_grant(ngx_http_request_t *r, ngx_str_t *token,
    ngx_http_rtbus_grant_t *grant);

/*
 * The grant, or the reason of a refusal, as JSON for the worker that has the
 * client; and back, to memory of the pool: NGX_OK, NGX_DECLINED: it is a
 * refusal (or something else), NGX_ERROR.
 */

void ngx_http_rtbus_access_write(ngx_http_rtbus_text_t *text,
    ngx_http_rtbus_grant_t *grant);
void ngx_http_rtbus_access_refuse(ngx_http_rtbus_text_t *text,
    ngx_http_rtbus_grant_t *grant);
ngx_int_t ngx_http_rtbus_access_read(ngx_pool_t *pool, rtbus_str_t *json,
    ngx_http_rtbus_grant_t *grant);

/*
 * A copy of the rules and, behind them, of the user: one block for ngx_free(),
 * or NULL if there is no memory.
 */

ngx_http_rtbus_rule_t *ngx_http_rtbus_access_copy_rules(ngx_array_t *rules,
    ngx_str_t *user, ngx_log_t *log);


/*
 * May the user (empty: nobody) join the channel, whose name has been checked?
 * The first rule that fits decides.  NGX_OK; NGX_AGAIN: if the user owns the
 * channel, which Redis has to be asked; NGX_DECLINED: no.
 */

ngx_int_t ngx_http_rtbus_access_check(ngx_array_t *rules, ngx_str_t *user,
    ngx_str_t *channel, ngx_log_t *log);

/* the same by the rules as they stand for this request, or NGX_ERROR */

ngx_int_t ngx_http_rtbus_access_check_request(ngx_http_request_t *r,
    ngx_str_t *user, ngx_str_t *channel);

/* logs that the client asked for a channel that another user owns */

void ngx_http_rtbus_access_foreign(ngx_str_t *channel, ngx_log_t *log);


/*
 * The room of a cursor, which goes back to the server in one line of a request,
 * and percent-encoded; and what a channel takes of it.
 */
#define NGX_HTTP_RTBUS_CURSOR_MAX  6144

#define ngx_http_rtbus_cursor_len(name)  ((name)->len + 20)


/* a channel that a client is to join: at its position, or after this one */

typedef struct {
    ngx_str_t      name;
    rtbus_pos_t    pos;
    unsigned       placed:1;     /* pos is set */
    unsigned       epochless:1;  /* of pos only seq is */
    unsigned       exact:1;      /* right after pos, whatever the client has got
                                    already */
    unsigned       owned:1;      /* for its owner only, not asked for yet */
    unsigned       foreign:1;    /* the owner is somebody else */
    unsigned       fixed:1;      /* of rtbus_subscribe */
} ngx_http_rtbus_channel_t;


typedef struct {
    ngx_array_t    channels;     /* ngx_http_rtbus_channel_t, those that a rule
                                    allows */
    ngx_array_t    refused;      /* ngx_str_t, those of the cursor that no rule
                                    allows */
    ngx_uint_t     error;        /* see ngx_rtbus_reason.h */
    ngx_str_t      name;         /* of the channel, if one is to be named */
} ngx_http_rtbus_wanted_t;


/*
 * The channels of a new client, those of rtbus_subscribe and those of its
 * cursor (empty: there is none), each checked; memory of the pool, of grant
 * and of cursor.  NGX_OK, NGX_ERROR, or the HTTP status of a refusal, with
 * error and name set.
 */

ngx_int_t ngx_http_rtbus_access_channels(ngx_pool_t *pool,
    ngx_http_rtbus_grant_t *grant, ngx_str_t *cursor, ngx_uint_t max,
    ngx_http_rtbus_wanted_t *wanted, ngx_log_t *log);


/* rtbus_subscribe, rtbus_allow */

char *ngx_http_rtbus_conf_subscribe(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_rtbus_conf_allow(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);


#endif /* _NGX_HTTP_RTBUS_ACCESS_H_INCLUDED_ */
