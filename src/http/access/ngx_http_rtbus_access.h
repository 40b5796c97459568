
/*
 * Who the client is and what it may join.
 */


#ifndef _NGX_HTTP_RTBUS_ACCESS_H_INCLUDED_
#define _NGX_HTTP_RTBUS_ACCESS_H_INCLUDED_


#include "ngx_http_rtbus_text.h"
#include "ngx_http_rtbus_user.h"


/*
 * The rtbus_allow rules as they stand for this request: an array of
 * ngx_http_rtbus_rule_t in r->pool, for clients that ask more than once.
 * NGX_OK or NGX_ERROR.
 */

typedef struct {
    ngx_str_t      name;
    unsigned       prefix:1;
    unsigned       owner:1;
    unsigned       fixed:1;      /* the name is the configuration's */
} ngx_http_rtbus_rule_t;

ngx_int_t ngx_http_rtbus_rules(ngx_http_request_t *r, ngx_array_t *rules);

/*
 * What a request says of the client that it brings: who it is, what it may
 * join, and the channels of rtbus_subscribe, empty names left out, not checked
 * yet.  Whoever serves the client needs the request no more.
 */

typedef struct {
    ngx_http_rtbus_identity_t   id;
    ngx_array_t                 rules;      /* ngx_http_rtbus_rule_t */
    ngx_array_t                 subscribe;  /* ngx_str_t */
} ngx_http_rtbus_grant_t;

/*
 * token: NULL, or the one to go by, see ngx_http_rtbus_identify(), which has
 * the same answers; memory of r->pool.
 */

ngx_int_t ngx_http_rtbus_grant(ngx_http_request_t *r, ngx_str_t *token,
    ngx_http_rtbus_grant_t *grant);

/*
 * The same as JSON, for the worker that has the client, and back to memory of
 * the pool: NGX_OK, NGX_DECLINED: it is of one who is refused (or something
 * else), NGX_ERROR.
 */

void ngx_http_rtbus_access_write(ngx_http_rtbus_text_t *text,
    ngx_http_rtbus_grant_t *grant);
void ngx_http_rtbus_access_refuse(ngx_http_rtbus_text_t *text,
    ngx_http_rtbus_grant_t *grant);
ngx_int_t ngx_http_rtbus_access_read(ngx_pool_t *pool, rtbus_str_t *json,
    ngx_http_rtbus_grant_t *grant);

/*
 * A copy of the rules and, behind them, of the user; one block for ngx_free(), or
 * NULL: no memory.
 */

ngx_http_rtbus_rule_t *ngx_http_rtbus_copy_rules(ngx_array_t *rules,
    ngx_str_t *user, ngx_log_t *log);

/*
 * May the user (empty: nobody) join the channel (checked name)?  The first rule
 * that fits says so: NGX_OK; NGX_AGAIN: if the channel is the user's, which is
 * yet to be asked; NGX_DECLINED: no.
 */

ngx_int_t ngx_http_rtbus_check_rules(ngx_array_t *rules, ngx_str_t *user,
    ngx_str_t *channel, ngx_log_t *log);

/* the same by the rules as they stand for this request, or NGX_ERROR */

ngx_int_t ngx_http_rtbus_check_channel(ngx_http_request_t *r, ngx_str_t *user,
    ngx_str_t *channel);

/* logs that the client asked for a channel that is not its own */

void ngx_http_rtbus_foreign(ngx_str_t *channel, ngx_log_t *log);

/*
 * The room of a cursor, which goes back to the server in one line of a request,
 * and percent-encoded; and what a channel takes of it.
 */
#define NGX_HTTP_RTBUS_CURSOR_MAX  6144

#define ngx_http_rtbus_cursor_len(name)  ((name)->len + 20)

/*
 * The channels of a new client: those of rtbus_subscribe and those of its
 * cursor (empty: none), each checked and allowed or, if owned, maybe so; arrays
 * of ngx_http_rtbus_channel_t and, for what the cursor has but the rules do not
 * allow, of ngx_str_t, with the memory of grant and cursor.
 *
 * NGX_OK, NGX_ERROR, or the HTTP status of a refusal, *error the text for it and
 * *name the channel, if one is to be named.
 */

ngx_int_t ngx_http_rtbus_channels(ngx_http_rtbus_grant_t *grant,
    ngx_str_t *cursor, ngx_uint_t max, ngx_log_t *log, ngx_array_t *channels,
    ngx_array_t *refused, const char **error, ngx_str_t *name);

/* rtbus_subscribe, rtbus_allow */

char *ngx_http_rtbus_conf_subscribe(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_rtbus_conf_allow(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);


#endif /* _NGX_HTTP_RTBUS_ACCESS_H_INCLUDED_ */
