
/*
 * Who the client is: the value of rtbus_user, by default the user of a JSON
 * Web Token (RFC 7519, verified by libjwt).
 *
 * The algorithm is the configured one and no other, whatever a token says of
 * itself.  A token is never written to the log.
 */


#ifndef _NGX_HTTP_RTBUS_USER_H_INCLUDED_
#define _NGX_HTTP_RTBUS_USER_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


typedef struct {
    ngx_str_t      user;        /* empty: nobody; memory of r->pool */
    time_t         expires;     /* the token; 0: never */
    const char    *reason;      /* why the token is not valid, or NULL */
} ngx_http_rtbus_identity_t;


/*
 * Finds out who sends this request or, if token is not NULL, who has sent that
 * token in it.  $rtbus_jwt_user and $rtbus_user have these values from then on.
 *
 * NGX_OK; NGX_DECLINED: the token is not valid, and id->reason says why, or
 * there is no user, and rtbus_require_user is on; NGX_ERROR.
 */

ngx_int_t ngx_http_rtbus_identify(ngx_http_request_t *r, ngx_str_t *token,
    ngx_http_rtbus_identity_t *id);

/*
 * The same for a content handler, and answers a refusal.  With NGX_OK, unless
 * r->header_sent, the handler goes on; otherwise it returns what it got.
 */

ngx_int_t ngx_http_rtbus_admit_user(ngx_http_request_t *r,
    ngx_http_rtbus_identity_t *id);

/*
 * The same for a request whose body says nothing and is discarded, after
 * ngx_http_rtbus_admit().
 */

ngx_int_t ngx_http_rtbus_admit_bare(ngx_http_request_t *r, ngx_uint_t mask,
    const char *methods, ngx_http_rtbus_identity_t *id);

/*
 * Answers 401 with WWW-Authenticate; reason: of an invalid token, or NULL.
 * Returns what the content handler has to return.
 */

ngx_int_t ngx_http_rtbus_unauthorized(ngx_http_request_t *r,
    const char *reason);


/* adds $rtbus_user and $rtbus_jwt_user; for preconfiguration */

ngx_int_t ngx_http_rtbus_user_variables(ngx_conf_t *cf);

/* rtbus_jwt_key <file> [alg=<algorithm>] */

char *ngx_http_rtbus_jwt_key(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

/* checks the value of rtbus_jwt_claim: a handler of ngx_conf_post_t */

char *ngx_http_rtbus_jwt_claim_name(ngx_conf_t *cf, void *post, void *data);

/* completes the conf where nothing was configured: NGX_OK or NGX_ERROR */

ngx_int_t ngx_http_rtbus_user_merge(ngx_conf_t *cf,
    ngx_http_rtbus_loc_conf_t *conf, ngx_http_rtbus_loc_conf_t *prev);


#endif /* _NGX_HTTP_RTBUS_USER_H_INCLUDED_ */
