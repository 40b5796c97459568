
#include "ngx_http_rtbus_state.h"
#include "ngx_http_rtbus_access.h"
#include "ngx_http_rtbus_handler.h"
#include "ngx_http_rtbus_name.h"
#include "ngx_http_rtbus_reply.h"
#include "ngx_http_rtbus_snapshot.h"
#include "ngx_http_rtbus_user.h"
#include "ngx_rtbus_job.h"


typedef struct {
    ngx_str_t                 channel;
    ngx_str_t                 key;        /* of the state */
    ngx_str_t                 only;       /* of ?fields=, data NULL: all */
    ngx_str_t                 user;       /* who asks */
    ngx_http_rtbus_snapshot_t    state;
    unsigned                  owned:1;    /* for its owner only */
    unsigned                  answered:1;
    unsigned                  apart:1;    /* the key may be on another server */
    unsigned                  judged:1;   /* Redis was asked for the lease */
} ngx_http_rtbus_state_ctx_t;


static ngx_int_t ngx_http_rtbus_state_key(ngx_http_request_t *r,
    ngx_str_t *channel, const char *name, ngx_str_t *key);
static ngx_int_t ngx_http_rtbus_state_only(ngx_http_request_t *r,
    ngx_str_t *only);
static ngx_int_t ngx_http_rtbus_state_call(ngx_http_request_t *r,
    ngx_http_rtbus_state_ctx_t *ctx);
static ngx_int_t ngx_http_rtbus_state_get(ngx_http_request_t *r,
    const char *command, ngx_str_t *key, ngx_http_rtbus_call_pt handler,
    void *data);
static ngx_int_t ngx_http_rtbus_state_snapshot_handler(ngx_http_request_t *r,
    void *data, redisReply *reply);
static ngx_uint_t ngx_http_rtbus_state_stale(ngx_http_rtbus_snapshot_t *state);
static ngx_int_t ngx_http_rtbus_state_judge(ngx_http_request_t *r,
    ngx_http_rtbus_state_ctx_t *ctx);
static ngx_int_t ngx_http_rtbus_state_judged(ngx_http_request_t *r, void *data,
    redisReply *reply);
static ngx_int_t ngx_http_rtbus_state_hash(ngx_http_request_t *r, void *data,
    redisReply *reply);
static ngx_int_t ngx_http_rtbus_state_string(ngx_http_request_t *r, void *data,
    redisReply *reply);
static ngx_int_t ngx_http_rtbus_state_reply(ngx_http_request_t *r,
    ngx_http_rtbus_state_ctx_t *ctx);
static ngx_int_t ngx_http_rtbus_state_missing(ngx_http_request_t *r,
    ngx_http_rtbus_state_ctx_t *ctx);
static ngx_int_t ngx_http_rtbus_state_forbidden(ngx_http_request_t *r,
    ngx_http_rtbus_state_ctx_t *ctx);
/* of this worker: when a state was last complained of */

static time_t  ngx_http_rtbus_state_complained;


ngx_int_t
ngx_http_rtbus_state_handler(ngx_http_request_t *r)
{
    ngx_int_t                    rc;
    ngx_http_rtbus_loc_conf_t   *rlcf;
    ngx_http_rtbus_state_ctx_t  *ctx;
    ngx_http_rtbus_identity_t    id;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    rc = ngx_http_rtbus_admit_bare(r, NGX_HTTP_GET|NGX_HTTP_HEAD, "GET, HEAD",
                                   &id);
    if (rc != NGX_OK || r->header_sent) {
        return rc;
    }

    ctx = ngx_pcalloc(r->pool, sizeof(ngx_http_rtbus_state_ctx_t));
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_rtbus_name_channel(r, rlcf->state, "asked for state of",
                                     &ctx->channel);
    if (rc != NGX_OK || r->header_sent) {
        return rc;
    }

    switch (ngx_http_rtbus_access_check_request(r, &id.user, &ctx->channel)) {

    case NGX_OK:
        break;

    case NGX_AGAIN:
        ctx->owned = 1;
        ctx->user = id.user;
        break;

    case NGX_DECLINED:
        return ngx_http_rtbus_state_forbidden(r, ctx);

    default: /* NGX_ERROR */
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (rlcf->state_key
        && ngx_http_rtbus_name_eval(r, rlcf->state_key, &ctx->key)
           == NGX_ERROR)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ngx_http_rtbus_state_only(r, &ctx->only) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_rtbus_state_call(r, ctx);
}


/* the key by which the functions know the channel */

static ngx_int_t
ngx_http_rtbus_state_key(ngx_http_request_t *r, ngx_str_t *channel,
    const char *suffix, ngx_str_t *key)
{
    ngx_http_rtbus_loc_conf_t  *rlcf;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    key->data = ngx_pnalloc(r->pool, NGX_RTBUS_HUB_MAX_KEY);
    if (key->data == NULL) {
        return NGX_ERROR;
    }

    key->len = ngx_rtbus_hub_key(&rlcf->bus->worker->hub, key->data, channel,
                                 suffix);
    return NGX_OK;
}


static ngx_int_t
ngx_http_rtbus_state_only(ngx_http_request_t *r, ngx_str_t *only)
{
    u_char     *dst, *src;
    ngx_str_t   value;

    if (ngx_http_arg(r, (u_char *) "fields", 6, &value) != NGX_OK) {
        return NGX_OK;
    }

    /* one byte more, so that data is not NULL for an empty list */

    dst = ngx_pnalloc(r->pool, value.len + 1);
    if (dst == NULL) {
        return NGX_ERROR;
    }

    only->data = dst;
    src = value.data;

    ngx_unescape_uri(&dst, &src, value.len, 0);

    only->len = dst - only->data;

    return NGX_OK;
}


/*
 * One step in Redis reads state, output and position, so that the events after
 * the position are exactly those that the answer lacks.  A state that is kept
 * elsewhere (key=) is read after the position: the answer may have an event
 * that comes after the position, but it lacks none before it.  In a cluster,
 * which may keep it on another server, it is asked for when the position is
 * there.
 */

static ngx_int_t
ngx_http_rtbus_state_call(ngx_http_request_t *r,
    ngx_http_rtbus_state_ctx_t *ctx)
{
    size_t                      len[4];
    ngx_int_t                   rc;
    ngx_str_t                   key;
    const char                 *argv[4];
    ngx_http_rtbus_loc_conf_t  *rlcf;

    if (ngx_http_rtbus_state_key(r, &ctx->channel, "", &key) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    argv[0] = "FCALL_RO";
    len[0] = 8;
    argv[1] = "rtbus_snapshot";
    len[1] = 14;
    argv[2] = "1";
    len[2] = 1;
    argv[3] = (const char *) key.data;
    len[3] = key.len;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    ctx->apart = (ctx->key.len
                  && rlcf->bus->redis.kind == NGX_RTBUS_REDIS_CLUSTER);

    rc = ngx_http_rtbus_call(r, 4, argv, len,
                             ngx_http_rtbus_state_snapshot_handler, ctx);

    if (rc != NGX_DONE || ctx->key.len == 0 || ctx->apart) {
        return rc;
    }

    rc = ngx_http_rtbus_state_get(r, "HGETALL", &ctx->key,
                                  ngx_http_rtbus_state_hash, ctx);
    if (rc != NGX_DONE) {
        ctx->answered = 1;
    }

    return rc;
}


static ngx_int_t
ngx_http_rtbus_state_get(ngx_http_request_t *r, const char *command,
    ngx_str_t *key, ngx_http_rtbus_call_pt handler, void *data)
{
    size_t       len[2];
    const char  *argv[2];

    argv[0] = command;
    len[0] = ngx_strlen(command);

    argv[1] = (const char *) key->data;
    len[1] = key->len;

    return ngx_http_rtbus_call(r, 2, argv, len, handler, data);
}


static ngx_int_t
ngx_http_rtbus_state_snapshot_handler(ngx_http_request_t *r, void *data,
    redisReply *reply)
{
    ngx_http_rtbus_state_ctx_t  *ctx = data;

    ngx_str_t  *output;

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus state snapshot, key:\"%V\" apart:%d answered:%d",
                   &ctx->key, (int) ctx->apart, (int) ctx->answered);

    if (ctx->answered) {
        return NGX_DONE;
    }

    if (reply == NULL && ctx->key.len && !ctx->apart) {
        /* the second call fails, too, and answers */
        return NGX_DONE;
    }

    if (reply == NULL) {
        return ngx_http_rtbus_unavailable(r, reply);
    }

    if (ctx->key.len == 0 && ngx_http_rtbus_snapshot_wrong(reply)) {

        /* not a hash: if the channel has no events, maybe a JSON object */

        if (ngx_http_rtbus_state_key(r, &ctx->channel, ":state", &ctx->key)
            != NGX_OK)
        {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        return ngx_http_rtbus_state_get(r, "GET", &ctx->key,
                                        ngx_http_rtbus_state_string, ctx);
    }

    switch (ngx_http_rtbus_snapshot_read(r->pool, reply, &ctx->state)) {

    case NGX_OK:
        break;

    case NGX_DECLINED:
        ctx->answered = 1;
        return ngx_http_rtbus_unavailable(r, reply);

    default: /* NGX_ERROR */
        ctx->answered = 1;
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ctx->key.len == 0) {

        if (ctx->state.nfields == 0) {
            return ngx_http_rtbus_state_missing(r, ctx);
        }

        if (!ctx->judged && ngx_http_rtbus_state_stale(&ctx->state)) {
            return ngx_http_rtbus_state_judge(r, ctx);
        }

        return ngx_http_rtbus_state_reply(r, ctx);
    }

    /* the fields come with the second reply; the output is of this one */

    output = &ctx->state.output;

    if (output->data) {
        output->data = ngx_pstrdup(r->pool, output);
        if (output->data == NULL) {
            ctx->answered = 1;
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    ctx->state.nfields = 0;
    ngx_str_null(&ctx->state.user);

    if (ctx->apart) {
        return ngx_http_rtbus_state_get(r, "HGETALL", &ctx->key,
                                        ngx_http_rtbus_state_hash, ctx);
    }

    return NGX_DONE;
}


/* is the lease of a running job over by our own clock */

static ngx_uint_t
ngx_http_rtbus_state_stale(ngx_http_rtbus_snapshot_t *state)
{
    uint64_t     now;
    ngx_int_t    until;
    ngx_str_t   *status, *lease;
    ngx_time_t  *tp;

    static ngx_str_t  names[] = { ngx_string("status"), ngx_string("lease") };

    status = ngx_http_rtbus_snapshot_find(state, &names[0]);
    lease = ngx_http_rtbus_snapshot_find(state, &names[1]);

    if (status == NULL || lease == NULL || status->len != 7
        || ngx_strncmp(status->data, "running", 7) != 0)
    {
        return 0;
    }

    until = ngx_atosz(lease->data, lease->len);

    tp = ngx_timeofday();
    now = (uint64_t) tp->sec * 1000 + tp->msec;

    return until > 0 && (uint64_t) until < now;
}


/* asks Redis, whose clock decides, and then reads the state again */

static ngx_int_t
ngx_http_rtbus_state_judge(ngx_http_request_t *r,
    ngx_http_rtbus_state_ctx_t *ctx)
{
    ngx_rtbus_job_question_t    q;
    ngx_http_rtbus_loc_conf_t  *rlcf;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus state of \"%V\", lease is over", &ctx->channel);

    ctx->judged = 1;

    ngx_rtbus_job_check(&rlcf->bus->worker->hub, &ctx->channel, &q);

    return ngx_http_rtbus_call(r, q.argc, q.argv, q.len,
                               ngx_http_rtbus_state_judged, ctx);
}


static ngx_int_t
ngx_http_rtbus_state_judged(ngx_http_request_t *r, void *data,
    redisReply *reply)
{
    ngx_rtbus_job_info_t        info;
    ngx_http_rtbus_loc_conf_t  *rlcf;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    /* only to count it */

    (void) ngx_rtbus_job_info(&rlcf->bus->worker->hub, reply, NULL, &info);

    return ngx_http_rtbus_state_call(r, data);
}


static ngx_int_t
ngx_http_rtbus_state_hash(ngx_http_request_t *r, void *data, redisReply *reply)
{
    ngx_http_rtbus_state_ctx_t  *ctx = data;

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus state hash \"%V\" reply:%d answered:%d", &ctx->key,
                   reply ? reply->type : 0, (int) ctx->answered);

    if (ctx->answered) {
        return NGX_DONE;
    }

    if (reply && ngx_http_rtbus_snapshot_wrong(reply)) {
        return ngx_http_rtbus_state_get(r, "GET", &ctx->key,
                                        ngx_http_rtbus_state_string, ctx);
    }

    if (reply == NULL) {
        return ngx_http_rtbus_unavailable(r, reply);
    }

    switch (ngx_http_rtbus_snapshot_pairs(r->pool, reply, &ctx->state)) {

    case NGX_OK:
        break;

    case NGX_DECLINED:
        return ngx_http_rtbus_unavailable(r, reply);

    default: /* NGX_ERROR */
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ctx->state.nfields == 0) {
        return ngx_http_rtbus_state_missing(r, ctx);
    }

    return ngx_http_rtbus_state_reply(r, ctx);
}


/* the key does not hold a hash */

static ngx_int_t
ngx_http_rtbus_state_string(ngx_http_request_t *r, void *data,
    redisReply *reply)
{
    ngx_http_rtbus_state_ctx_t  *ctx = data;

    ngx_int_t                   rc;
    ngx_uint_t                  level;
    ngx_http_rtbus_loc_conf_t  *rlcf;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus state string \"%V\" reply:%d", &ctx->key,
                   reply ? reply->type : 0);

    if (reply == NULL
        || (reply->type == REDIS_REPLY_ERROR
            && !ngx_http_rtbus_snapshot_wrong(reply)))
    {
        return ngx_http_rtbus_unavailable(r, reply);
    }

    if (reply->type == REDIS_REPLY_NIL) {
        return ngx_http_rtbus_state_missing(r, ctx);
    }

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    rc = ngx_http_rtbus_snapshot_object(r->pool, rlcf->bus->worker->hub.json,
                                        rlcf->fields, reply, &ctx->state);

    if (rc == NGX_DECLINED) {
        level = ngx_http_rtbus_complaint(&ngx_http_rtbus_state_complained);

        ngx_log_error(level, r->connection->log, 0,
                      "rtbus: Redis key %V holds neither a hash nor a JSON "
                      "object", ngx_http_rtbus_text_shown(&ctx->key));

        return ngx_http_rtbus_state_missing(r, ctx);
    }

    if (rc != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_rtbus_state_reply(r, ctx);
}


static ngx_int_t
ngx_http_rtbus_state_reply(ngx_http_request_t *r,
    ngx_http_rtbus_state_ctx_t *ctx)
{
    u_char                     *p;
    ngx_str_t                   json, etag;
    ngx_http_rtbus_loc_conf_t  *rlcf;

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus state of \"%V\" fields:%ui owned:%d",
                   &ctx->channel, ctx->state.nfields, (int) ctx->owned);

    if (ctx->owned && !ngx_http_rtbus_snapshot_owned(&ctx->state, &ctx->user)) {
        return ngx_http_rtbus_state_forbidden(r, ctx);
    }

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    if (ngx_http_rtbus_snapshot_json(r->pool, rlcf->bus->worker->hub.json,
                                     rlcf->fields, &ctx->state,
                                     ctx->only.data ? &ctx->only : NULL, &json)
        != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    /* the checksum tells changes of the hash that no event has announced */

    p = ngx_pnalloc(r->pool, sizeof("\"--01234567\"") - 1
                             + RTBUS_POSITION_MAX);
    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    etag.data = p;

    *p++ = '"';
    p += rtbus_pos_write(p, ctx->state.pos);
    p = ngx_sprintf(p, "-%08xD\"", ngx_crc32_long(json.data, json.len));

    etag.len = p - etag.data;

    return ngx_http_rtbus_reply_etag(r, &json, &etag);
}


static ngx_int_t
ngx_http_rtbus_state_missing(ngx_http_request_t *r,
    ngx_http_rtbus_state_ctx_t *ctx)
{
    ngx_str_t   id, *channel;

    channel = &ctx->channel;

    if (ctx->owned) {
        /* only the owner may know whether there is such a job */
        return ngx_http_rtbus_state_forbidden(r, ctx);
    }

    if (channel->len > 4 && ngx_strncmp(channel->data, "job:", 4) == 0) {
        id.data = channel->data + 4;
        id.len = channel->len - 4;

        return ngx_http_rtbus_error(r, NGX_HTTP_NOT_FOUND,
                                    NGX_RTBUS_REASON_JOB_NOT_FOUND,
                                    "jobId", &id);
    }

    return ngx_http_rtbus_error(r, NGX_HTTP_NOT_FOUND,
                                NGX_RTBUS_REASON_NOT_FOUND, "channel",
                                channel);
}


static ngx_int_t
ngx_http_rtbus_state_forbidden(ngx_http_request_t *r,
    ngx_http_rtbus_state_ctx_t *ctx)
{
    if (ctx->owned) {
        ngx_http_rtbus_access_foreign(&ctx->channel, r->connection->log);
    }

    return ngx_http_rtbus_error(r, NGX_HTTP_FORBIDDEN,
                                NGX_RTBUS_REASON_FORBIDDEN, "channel",
                                &ctx->channel);
}


char *
ngx_http_rtbus_conf_state(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_rtbus_loc_conf_t *rlcf = conf;

    ngx_str_t  *value, s;

    if (rlcf->state) {
        return "is duplicate";
    }

    value = cf->args->elts;

    rlcf->state = ngx_http_rtbus_name_create(cf, &value[1]);
    if (rlcf->state == NULL) {
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

        rlcf->state_key = ngx_palloc(cf->pool, sizeof(ngx_http_rtbus_name_t));
        if (rlcf->state_key == NULL) {
            return NGX_CONF_ERROR;
        }

        if (ngx_http_rtbus_name_cut(cf, &s, rlcf->state_key) != NGX_OK) {
            return NGX_CONF_ERROR;
        }
    }

    return (ngx_http_rtbus_handler_set(cf, ngx_http_rtbus_state_handler)
            == NGX_OK) ? NGX_CONF_OK : NGX_CONF_ERROR;
}
