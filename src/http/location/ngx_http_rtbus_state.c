
#include "ngx_http_rtbus_state.h"
#include "ngx_http_rtbus_access.h"
#include "ngx_http_rtbus_cors.h"
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
    unsigned                  apart:1;    /* the key may be elsewhere */
    unsigned                  judged:1;   /* whether its owner is still there */
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
static ngx_int_t ngx_http_rtbus_state_send(ngx_http_request_t *r, int argc,
    const char **argv, size_t *len, ngx_http_rtbus_call_pt handler,
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

    rc = ngx_http_rtbus_admit(r, NGX_HTTP_GET|NGX_HTTP_HEAD, "GET, HEAD");
    if (rc != NGX_OK || r->header_sent) {
        return rc;
    }

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_http_rtbus_identify(r, NULL, &id);

    if (rc == NGX_DECLINED) {
        return ngx_http_rtbus_unauthorized(r, id.reason);
    }

    if (rc != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx = ngx_pcalloc(r->pool, sizeof(ngx_http_rtbus_state_ctx_t));
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ngx_http_rtbus_name_eval(r, rlcf->state, &ctx->channel) == NGX_ERROR) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (rtbus_channel_check(ctx->channel.data, ctx->channel.len) != RTBUS_OK) {
        ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                      "rtbus: client asked for state of bad channel %V",
                      ngx_http_rtbus_text_shown(&ctx->channel));

        return ngx_http_rtbus_error(r, NGX_HTTP_BAD_REQUEST,
                                    NGX_RTBUS_REASON_CHANNEL,
                                    "channel", &ctx->channel);
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


/* the channel as the functions know it */

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

    /* a byte more: an empty list is one, too */

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
 * One step in Redis: what the events behind the position say is all that the
 * answer does not have.  Where the state is kept elsewhere (key=), it is read
 * after the position, so that an event may be in both, and none in neither: in
 * a cluster, which may have it on another server, once the position is there.
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

    rc = ngx_http_rtbus_state_send(r, 4, argv, len,
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

    return ngx_http_rtbus_state_send(r, 2, argv, len, handler, data);
}


static ngx_int_t
ngx_http_rtbus_state_send(ngx_http_request_t *r, int argc, const char **argv,
    size_t *len, ngx_http_rtbus_call_pt handler, void *data)
{
    switch (ngx_http_rtbus_call(r, argc, argv, len, handler, data)) {

    case NGX_DONE:
        return NGX_DONE;

    case NGX_DECLINED:
        return ngx_http_rtbus_unavailable(r, NULL);

    default: /* NGX_ERROR */
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
}


static ngx_int_t
ngx_http_rtbus_state_snapshot_handler(ngx_http_request_t *r, void *data,
    redisReply *reply)
{
    ngx_http_rtbus_state_ctx_t  *ctx = data;

    ngx_str_t  *output;

    if (ctx->answered) {
        return NGX_DONE;
    }

    if (reply == NULL && ctx->key.len && !ctx->apart) {
        /* a lost connection is found by the second call, too */
        return NGX_DONE;
    }

    if (reply == NULL) {
        return ngx_http_rtbus_unavailable(r, reply);
    }

    if (ctx->key.len == 0 && ngx_http_rtbus_snapshot_wrong(reply)) {

        /* not a hash: of a channel without events it may be a JSON object */

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

    /* the fields come with the second reply, which the rest has to outlive */

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


/* does a job run whose owner should have been heard of, by our own clock */

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


/* Redis has a clock, too, and the last word; then the state is read again */

static ngx_int_t
ngx_http_rtbus_state_judge(ngx_http_request_t *r,
    ngx_http_rtbus_state_ctx_t *ctx)
{
    ngx_rtbus_job_question_t    q;
    ngx_http_rtbus_loc_conf_t  *rlcf;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    ctx->judged = 1;

    ngx_rtbus_job_check(&rlcf->bus->worker->hub, &ctx->channel, &q);

    return ngx_http_rtbus_state_send(r, q.argc, q.argv, q.len,
                                     ngx_http_rtbus_state_judged, ctx);
}


static ngx_int_t
ngx_http_rtbus_state_judged(ngx_http_request_t *r, void *data,
    redisReply *reply)
{
    return ngx_http_rtbus_state_call(r, data);
}


static ngx_int_t
ngx_http_rtbus_state_hash(ngx_http_request_t *r, void *data, redisReply *reply)
{
    ngx_http_rtbus_state_ctx_t  *ctx = data;

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

    /* the sum is for changes of the hash that no event has announced */

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
        /* nobody's, and whether there is such a job is its owner's business */
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

    return (ngx_http_rtbus_handler_set(cf, ngx_http_rtbus_state_handler)
            == NGX_OK) ? NGX_CONF_OK : NGX_CONF_ERROR;
}
