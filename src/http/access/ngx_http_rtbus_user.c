
#include "ngx_http_rtbus_user.h"
#include "ngx_http_rtbus_cors.h"
#include "ngx_http_rtbus_crypto.h"
#include "ngx_http_rtbus_file.h"
#include "ngx_http_rtbus_reply.h"
#include "ngx_http_rtbus_request.h"
#include "ngx_http_rtbus_variable.h"
#include <jwt.h>
#include <openssl/err.h>


#define NGX_HTTP_RTBUS_MAX_TOKEN  8192     /* bytes */
#define NGX_HTTP_RTBUS_MAX_KEY    65536    /* bytes of its file */


static ngx_int_t ngx_http_rtbus_jwt_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_rtbus_user_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static void ngx_http_rtbus_user_set(ngx_http_variable_value_t *v,
    ngx_str_t *value);
static ngx_int_t ngx_http_rtbus_jwt_token(ngx_http_request_t *r,
    ngx_str_t *token);
static ngx_int_t ngx_http_rtbus_jwt_verify(ngx_http_request_t *r,
    ngx_str_t *token, ngx_http_rtbus_identity_t *id);
static ngx_int_t ngx_http_rtbus_jwt_decode(ngx_http_request_t *r,
    const char *text, ngx_http_rtbus_identity_t *id, jwt_t **jwt);
static ngx_int_t ngx_http_rtbus_jwt_check(ngx_http_request_t *r, jwt_t *jwt,
    ngx_http_rtbus_identity_t *id);
static ngx_int_t ngx_http_rtbus_jwt_refuse(ngx_http_request_t *r,
    ngx_http_rtbus_identity_t *id, const char *text, const char *reason);
static ngx_uint_t ngx_http_rtbus_jwt_hollow(ngx_str_t *token);
static ngx_int_t ngx_http_rtbus_jwt_claim(ngx_http_request_t *r, jwt_t *jwt,
    ngx_str_t *user);
static char *ngx_http_rtbus_jwt_fits(ngx_conf_t *cf, ngx_str_t *file,
    ngx_str_t *key, ngx_uint_t i);
static ngx_int_t ngx_http_rtbus_jwt_date(jwt_t *jwt, const char *name,
    time_t *date);


static ngx_str_t  ngx_http_rtbus_user_name = ngx_string("rtbus_user");
static ngx_str_t  ngx_http_rtbus_jwt_name = ngx_string("rtbus_jwt_user");


/* curve: bits of its keys, RFC 7518 section 3.4 */

static struct {
    ngx_str_t      name;
    jwt_alg_t      alg;
    ngx_uint_t     curve;
} ngx_http_rtbus_jwt_algs[] = {
    { ngx_string("HS256"), JWT_ALG_HS256, 0 },
    { ngx_string("HS384"), JWT_ALG_HS384, 0 },
    { ngx_string("HS512"), JWT_ALG_HS512, 0 },
    { ngx_string("RS256"), JWT_ALG_RS256, 0 },
    { ngx_string("RS384"), JWT_ALG_RS384, 0 },
    { ngx_string("RS512"), JWT_ALG_RS512, 0 },
    { ngx_string("ES256"), JWT_ALG_ES256, 256 },
    { ngx_string("ES384"), JWT_ALG_ES384, 384 },
    { ngx_string("ES512"), JWT_ALG_ES512, 521 },
    { ngx_null_string, JWT_ALG_NONE, 0 }
};


ngx_int_t
ngx_http_rtbus_identify(ngx_http_request_t *r, ngx_str_t *token,
    ngx_http_rtbus_identity_t *id)
{
    ngx_str_t                    sent;
    ngx_http_rtbus_loc_conf_t   *rlcf;
    ngx_http_rtbus_main_conf_t  *rmcf;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);
    rmcf = ngx_http_get_module_main_conf(r, ngx_http_rtbus_module);

    ngx_memzero(id, sizeof(ngx_http_rtbus_identity_t));

    if (rlcf->jwt_key.len) {

        if (token == NULL) {
            if (ngx_http_rtbus_jwt_token(r, &sent) != NGX_OK) {
                return NGX_ERROR;
            }

            token = &sent;
        }

        if (ngx_http_rtbus_jwt_verify(r, token, id) == NGX_ERROR) {
            return NGX_ERROR;
        }
    }

    /* variables may have been evaluated before, with another token */

    if (ngx_http_rtbus_variables_renew(r, rmcf->jwt_index, rmcf->user_index,
                                       &id->user)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_http_rtbus_user_set(&r->variables[rmcf->jwt_index], &id->user);

    if (ngx_http_complex_value(r, rlcf->user, &id->user) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_http_rtbus_user_set(&r->variables[rmcf->user_index], &id->user);

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus user \"%V\" expires:%T, %s", &id->user, id->expires,
                   id->reason ? id->reason : "ok");

    if (id->reason) {
        /* a client with an invalid token is not treated as one without */
        return NGX_DECLINED;
    }

    if (id->user.len == 0 && rlcf->require_user) {

        ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                      "rtbus: client has no user, and rtbus_require_user "
                      "is on");
        return NGX_DECLINED;
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_rtbus_admit_user(ngx_http_request_t *r,
    ngx_http_rtbus_identity_t *id)
{
    switch (ngx_http_rtbus_identify(r, NULL, id)) {

    case NGX_OK:
        return NGX_OK;

    case NGX_DECLINED:
        return ngx_http_rtbus_unauthorized(r, id->reason);

    default: /* NGX_ERROR */
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
}


ngx_int_t
ngx_http_rtbus_admit_bare(ngx_http_request_t *r, ngx_uint_t mask,
    const char *methods, ngx_http_rtbus_identity_t *id)
{
    ngx_int_t  rc;

    rc = ngx_http_rtbus_admit(r, mask, methods);
    if (rc != NGX_OK || r->header_sent) {
        return rc;
    }

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    return ngx_http_rtbus_admit_user(r, id);
}


ngx_int_t
ngx_http_rtbus_unauthorized(ngx_http_request_t *r, const char *reason)
{
    ngx_str_t  value, text;

    ngx_str_null(&text);

    if (reason) {
        /* RFC 6750, section 3.1 */
        ngx_str_set(&value, "Bearer error=\"invalid_token\"");

        text.data = (u_char *) reason;
        text.len = ngx_strlen(reason);

    } else {
        ngx_str_set(&value, "Bearer");
    }

    if (ngx_http_rtbus_header(r, "WWW-Authenticate", &value) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_rtbus_error(r, NGX_HTTP_UNAUTHORIZED,
                                NGX_RTBUS_REASON_UNAUTHORIZED,
                                reason ? "reason" : NULL, &text);
}


ngx_int_t
ngx_http_rtbus_user_variables(ngx_conf_t *cf)
{
    ngx_http_variable_t         *var;
    ngx_http_rtbus_main_conf_t  *rmcf;

    var = ngx_http_add_variable(cf, &ngx_http_rtbus_user_name, 0);
    if (var == NULL) {
        return NGX_ERROR;
    }

    var->get_handler = ngx_http_rtbus_user_variable;

    var = ngx_http_add_variable(cf, &ngx_http_rtbus_jwt_name, 0);
    if (var == NULL) {
        return NGX_ERROR;
    }

    var->get_handler = ngx_http_rtbus_jwt_variable;

    rmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_rtbus_module);

    rmcf->user_index = ngx_http_get_variable_index(cf,
                                                   &ngx_http_rtbus_user_name);
    rmcf->jwt_index = ngx_http_get_variable_index(cf,
                                                  &ngx_http_rtbus_jwt_name);

    return (rmcf->user_index == NGX_ERROR || rmcf->jwt_index == NGX_ERROR)
           ? NGX_ERROR : NGX_OK;
}


static ngx_int_t
ngx_http_rtbus_jwt_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t                   token;
    ngx_http_rtbus_identity_t   id;
    ngx_http_rtbus_loc_conf_t  *rlcf;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    ngx_memzero(&id, sizeof(ngx_http_rtbus_identity_t));

    if (rlcf->jwt_key.len
        && (ngx_http_rtbus_jwt_token(r, &token) != NGX_OK
            || ngx_http_rtbus_jwt_verify(r, &token, &id) == NGX_ERROR))
    {
        return NGX_ERROR;
    }

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus variable jwt user \"%V\"", &id.user);

    ngx_http_rtbus_user_set(v, &id.user);

    return NGX_OK;
}


static ngx_int_t
ngx_http_rtbus_user_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t                   user;
    ngx_http_rtbus_loc_conf_t  *rlcf;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    if (ngx_http_complex_value(r, rlcf->user, &user) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus variable user \"%V\"", &user);

    ngx_http_rtbus_user_set(v, &user);

    return NGX_OK;
}


static void
ngx_http_rtbus_user_set(ngx_http_variable_value_t *v, ngx_str_t *value)
{
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;
    v->len = value->len;
    v->data = value->data;
}


/* "Authorization: Bearer", or else "?token="; empty: there is no token */

static ngx_int_t
ngx_http_rtbus_jwt_token(ngx_http_request_t *r, ngx_str_t *token)
{
    ngx_table_elt_t  *h;

    h = r->headers_in.authorization;

    if (h && h->value.len > sizeof("Bearer ") - 1
        && ngx_strncasecmp(h->value.data, (u_char *) "Bearer ",
                           sizeof("Bearer ") - 1)
           == 0)
    {
        token->data = h->value.data + sizeof("Bearer ") - 1;
        token->len = h->value.len - (sizeof("Bearer ") - 1);

        while (token->len && token->data[0] == ' ') {
            token->data++;
            token->len--;
        }

        return NGX_OK;
    }

    return ngx_http_rtbus_arg(r, "token", token);
}


/*
 * NGX_OK; NGX_DECLINED: the token is not valid, and id->reason says why, or it
 * names no user, or there is no token; NGX_ERROR: no memory.
 */

static ngx_int_t
ngx_http_rtbus_jwt_verify(ngx_http_request_t *r, ngx_str_t *token,
    ngx_http_rtbus_identity_t *id)
{
    char       *text;
    jwt_t      *jwt;
    ngx_int_t   rc;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus token size:%uz", token->len);

    if (token->len == 0) {
        return NGX_DECLINED;
    }

    if (token->len > NGX_HTTP_RTBUS_MAX_TOKEN
        || ngx_strlchr(token->data, token->data + token->len, '\0')
        || ngx_http_rtbus_jwt_hollow(token))
    {
        return ngx_http_rtbus_jwt_refuse(r, id, "malformed",
                                         "malformed token");
    }

    text = ngx_alloc(token->len + 1, r->connection->log);
    if (text == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(text, token->data, token->len);
    text[token->len] = '\0';

    rc = ngx_http_rtbus_jwt_decode(r, text, id, &jwt);

    ngx_explicit_memzero(text, token->len);
    ngx_free(text);

    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_http_rtbus_jwt_check(r, jwt, id);

    if (rc == NGX_OK) {
        rc = ngx_http_rtbus_jwt_claim(r, jwt, &id->user);
    }

    jwt_free(jwt);

    return rc;
}


/* checks the parts of the token and its signature; the same answers */

static ngx_int_t
ngx_http_rtbus_jwt_decode(ngx_http_request_t *r, const char *text,
    ngx_http_rtbus_identity_t *id, jwt_t **jwt)
{
    int                         rc;
    ngx_uint_t                  other;
    const char                 *alg;
    ngx_http_rtbus_loc_conf_t  *rlcf;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    rc = jwt_decode(jwt, text, rlcf->jwt_key.data, rlcf->jwt_key.len);

    /* nginx would take errors left in OpenSSL's queue for its own */

    ERR_clear_error();

    if (rc == ENOMEM) {
        return NGX_ERROR;
    }

    if (rc == 0) {

        /* a key of one algorithm must not be used with another's */

        if (jwt_get_alg(*jwt) == (jwt_alg_t) rlcf->jwt_alg) {
            return NGX_OK;
        }

        jwt_free(*jwt);

        return ngx_http_rtbus_jwt_refuse(r, id, "of another algorithm",
                                         "wrong algorithm");
    }

    /*
     * libjwt does not say what is wrong.  Without a key it decodes any token,
     * but forgets the algorithm.
     */

    if (jwt_decode(jwt, text, NULL, 0) != 0) {
        return ngx_http_rtbus_jwt_refuse(r, id, "malformed",
                                         "malformed token");
    }

    alg = jwt_get_header(*jwt, "alg");
    other = (alg == NULL || jwt_str_alg(alg) != (jwt_alg_t) rlcf->jwt_alg);

    jwt_free(*jwt);

    return other ? ngx_http_rtbus_jwt_refuse(r, id, "of another algorithm",
                                             "wrong algorithm")
                 : ngx_http_rtbus_jwt_refuse(r, id, "of a bad signature",
                                             "bad signature");
}


/* checks the claims of a token whose signature is good; the same answers */

static ngx_int_t
ngx_http_rtbus_jwt_check(ngx_http_request_t *r, jwt_t *jwt,
    ngx_http_rtbus_identity_t *id)
{
    char       *json;
    time_t      date;
    ngx_int_t   rc;

    /*
     * RFC 7515, section 4.1.11: names of extensions that have to be understood.
     * We do not understand any.
     */

    json = jwt_get_headers_json(jwt, "crit");

    if (json) {
        free(json);
        return ngx_http_rtbus_jwt_refuse(r, id, "of a kind not understood, "
                                         "it has a \"crit\"",
                                         "unknown critical header");
    }

    rc = ngx_http_rtbus_jwt_date(jwt, "nbf", &date);

    if (rc == NGX_ERROR) {
        return ngx_http_rtbus_jwt_refuse(r, id, "of a bad nbf", "bad nbf");
    }

    if (rc == NGX_OK && date > ngx_time()) {
        return ngx_http_rtbus_jwt_refuse(r, id, "not valid yet",
                                         "not yet valid");
    }

    rc = ngx_http_rtbus_jwt_date(jwt, "exp", &date);

    if (rc == NGX_ERROR) {
        return ngx_http_rtbus_jwt_refuse(r, id, "of a bad exp", "bad exp");
    }

    if (rc == NGX_OK) {

        if (date <= ngx_time()) {
            return ngx_http_rtbus_jwt_refuse(r, id, "expired",
                                             "token expired");
        }

        id->expires = date;
    }

    return NGX_OK;
}


/* text: for the log, "a token that is <text>"; reason: for the client */

static ngx_int_t
ngx_http_rtbus_jwt_refuse(ngx_http_request_t *r,
    ngx_http_rtbus_identity_t *id, const char *text, const char *reason)
{
    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                  "rtbus: client sent a token that is %s", text);

    id->reason = reason;

    return NGX_DECLINED;
}


/* is a part of the token empty: libjwt writes a byte too many for it */

static ngx_uint_t
ngx_http_rtbus_jwt_hollow(ngx_str_t *token)
{
    u_char      ch;
    ngx_uint_t  i;

    ch = '.';

    for (i = 0; i < token->len; i++) {

        if (ch == '.' && token->data[i] == '.') {
            return 1;
        }

        ch = token->data[i];
    }

    return ch == '.';
}


/* the claim that names the user: a string, or a whole number as a string */

static ngx_int_t
ngx_http_rtbus_jwt_claim(ngx_http_request_t *r, jwt_t *jwt, ngx_str_t *user)
{
    char                       *json, *end;
    u_char                     *p;
    const char                 *value, *name;
    ngx_http_rtbus_loc_conf_t  *rlcf;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    name = (const char *) rlcf->jwt_claim.data;

    json = NULL;
    value = jwt_get_grant(jwt, name);

    if (value == NULL) {

        /* jwt_get_grant_int() returns 0 if it is not a whole number */

        json = jwt_get_grants_json(jwt, name);
        value = json;

        if (json) {
            (void) strtoll(json, &end, 10);

            if (end == json || *end != '\0') {
                value = NULL;
            }
        }
    }

    if (value == NULL) {
        free(json);

        ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                      "rtbus: client sent a token without the claim \"%s\"",
                      name);
        return NGX_DECLINED;
    }

    user->len = ngx_strlen(value);

    p = ngx_pnalloc(r->pool, user->len + 1);

    if (p) {
        ngx_memcpy(p, value, user->len);
        user->data = p;
    }

    free(json);

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus token claim \"%s\" size:%uz", name, user->len);

    return p ? NGX_OK : NGX_ERROR;
}


/*
 * A NumericDate (RFC 7519, section 2), which may have a fraction.  NGX_OK,
 * NGX_DECLINED: the claim is missing, NGX_ERROR: it is something else.
 */

static ngx_int_t
ngx_http_rtbus_jwt_date(jwt_t *jwt, const char *name, time_t *date)
{
    char    *json, *end;
    double   value;

    json = jwt_get_grants_json(jwt, name);
    if (json == NULL) {
        return NGX_DECLINED;
    }

    value = strtod(json, &end);

    if (end == json || *end != '\0' || value < -1e15 || value > 1e15) {
        free(json);
        return NGX_ERROR;
    }

    *date = (time_t) value;

    free(json);

    return NGX_OK;
}


char *
ngx_http_rtbus_jwt_key(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_rtbus_loc_conf_t *rlcf = conf;

    size_t       size;
    ssize_t      n;
    ngx_str_t   *value, alg;
    ngx_uint_t   i;

    if (rlcf->jwt_key.data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    ngx_str_set(&alg, "HS256");

    if (cf->args->nelts == 3) {

        if (value[2].len < 5 || ngx_strncmp(value[2].data, "alg=", 4) != 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\"", &value[2]);
            return NGX_CONF_ERROR;
        }

        alg.data = value[2].data + 4;
        alg.len = value[2].len - 4;
    }

    for (i = 0; ngx_http_rtbus_jwt_algs[i].name.len; i++) {
        if (ngx_http_rtbus_str_eq(&alg, &ngx_http_rtbus_jwt_algs[i].name)) {
            break;
        }
    }

    if (ngx_http_rtbus_jwt_algs[i].name.len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid algorithm \"%V\", it must be HS256, HS384, "
                           "HS512, RS256, RS384, RS512, ES256, ES384 or ES512",
                           &alg);
        return NGX_CONF_ERROR;
    }

    rlcf->jwt_alg = ngx_http_rtbus_jwt_algs[i].alg;

    size = NGX_HTTP_RTBUS_MAX_KEY;

    rlcf->jwt_key.data = ngx_pnalloc(cf->pool, size + 1);
    if (rlcf->jwt_key.data == NULL) {
        return NGX_CONF_ERROR;
    }

    n = ngx_http_rtbus_file_read(cf, &value[1], rlcf->jwt_key.data, size);

    if (n == NGX_ERROR) {
        return NGX_CONF_ERROR;
    }

    /* an editor's line feed is not a part of a secret */

    while (n > 0 && (rlcf->jwt_key.data[n - 1] == LF
                     || rlcf->jwt_key.data[n - 1] == CR))
    {
        n--;
    }

    if (n == 0 || (size_t) n == size) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "the key in \"%V\" is %s",
                           &value[1], n ? "too long" : "empty");
        return NGX_CONF_ERROR;
    }

    rlcf->jwt_key.data[n] = '\0';
    rlcf->jwt_key.len = n;

    return ngx_http_rtbus_jwt_fits(cf, &value[1], &rlcf->jwt_key, i);
}


/* is the key for this algorithm: if not, every token would be refused */

static char *
ngx_http_rtbus_jwt_fits(ngx_conf_t *cf, ngx_str_t *file, ngx_str_t *key,
    ngx_uint_t i)
{
    ngx_uint_t  bits, curve;
    ngx_str_t  *alg;

    static u_char  begin[] = "-----BEGIN ";

    alg = &ngx_http_rtbus_jwt_algs[i].name;
    curve = ngx_http_rtbus_jwt_algs[i].curve;

    if (alg->data[0] == 'H') {

        if (key->len > sizeof(begin) - 1
            && ngx_memcmp(key->data, begin, sizeof(begin) - 1) == 0)
        {
            /* a public key is not secret: whoever has it could make tokens */

            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "the key in \"%V\" is PEM and no secret for "
                               "%V, \"alg=\" is needed", file, alg);
            return NGX_CONF_ERROR;
        }

        return NGX_CONF_OK;
    }

    bits = ngx_http_rtbus_crypto_key(key, curve != 0);

    if (bits == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the key in \"%V\" is no public key in PEM for %V",
                           file, alg);
        return NGX_CONF_ERROR;
    }

    if (curve && bits != curve) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the key in \"%V\" is of another curve than that "
                           "of %V", file, alg);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


char *
ngx_http_rtbus_jwt_claim_name(ngx_conf_t *cf, void *post, void *data)
{
    ngx_str_t  *name = data;

    return name->len ? NGX_CONF_OK : "is empty";
}


ngx_int_t
ngx_http_rtbus_user_merge(ngx_conf_t *cf, ngx_http_rtbus_loc_conf_t *conf,
    ngx_http_rtbus_loc_conf_t *prev)
{
    ngx_str_t                          value;
    ngx_http_compile_complex_value_t   ccv;

    ngx_conf_merge_value(conf->require_user, prev->require_user, 0);
    ngx_conf_merge_str_value(conf->jwt_claim, prev->jwt_claim, "sub");

    if (conf->jwt_key.data == NULL) {
        conf->jwt_key = prev->jwt_key;
        conf->jwt_alg = prev->jwt_alg;
    }

    if (conf->user == NULL) {

        if (prev->user == NULL) {

            prev->user = ngx_pcalloc(cf->pool,
                                     sizeof(ngx_http_complex_value_t));
            if (prev->user == NULL) {
                return NGX_ERROR;
            }

            ngx_str_set(&value, "$rtbus_jwt_user");

            ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

            ccv.cf = cf;
            ccv.value = &value;
            ccv.complex_value = prev->user;

            if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
                return NGX_ERROR;
            }
        }

        conf->user = prev->user;
    }

    return NGX_OK;
}
