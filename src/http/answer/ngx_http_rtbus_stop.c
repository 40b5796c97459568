
#include "ngx_http_rtbus_stop.h"
#include "ngx_http_rtbus_access.h"
#include "ngx_http_rtbus_handler.h"
#include "ngx_http_rtbus_name.h"
#include "ngx_http_rtbus_reply.h"
#include "ngx_rtbus_job.h"


typedef struct {
    ngx_str_t               channel;
    ngx_str_t               user;
    ngx_rtbus_job_info_t    info;
    ngx_uint_t              owned;    /* unsigned  owned:1; */
} ngx_http_rtbus_stop_t;


static ngx_int_t ngx_http_rtbus_stop_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_rtbus_stop_checked(ngx_http_request_t *r,
    void *data, redisReply *reply);
static ngx_int_t ngx_http_rtbus_stop_done(ngx_http_request_t *r, void *data,
    redisReply *reply);
static ngx_int_t ngx_http_rtbus_stop_reply(ngx_http_request_t *r,
    ngx_http_rtbus_stop_t *stop, ngx_uint_t status);
static ngx_int_t ngx_http_rtbus_stop_none(ngx_http_request_t *r,
    ngx_http_rtbus_stop_t *stop);


static ngx_int_t
ngx_http_rtbus_stop_handler(ngx_http_request_t *r)
{
    ngx_int_t                   rc;
    ngx_http_rtbus_stop_t      *stop;
    ngx_rtbus_job_question_t    q;
    ngx_http_rtbus_identity_t   id;
    ngx_http_rtbus_loc_conf_t  *rlcf;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    rc = ngx_http_rtbus_admit_bare(r, NGX_HTTP_POST|NGX_HTTP_DELETE,
                                   "POST, DELETE", &id);
    if (rc != NGX_OK || r->header_sent) {
        return rc;
    }

    stop = ngx_pcalloc(r->pool, sizeof(ngx_http_rtbus_stop_t));
    if (stop == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    stop->user = id.user;

    rc = ngx_http_rtbus_name_channel(r, rlcf->stop, "wants to stop the job of",
                                     &stop->channel);
    if (rc != NGX_OK || r->header_sent) {
        return rc;
    }

    switch (ngx_http_rtbus_access_check_request(r, &id.user, &stop->channel)) {

    case NGX_OK:
        break;

    case NGX_AGAIN:
        stop->owned = 1;
        break;

    case NGX_DECLINED:
        ngx_http_rtbus_access_foreign(&stop->channel, r->connection->log);
        return ngx_http_rtbus_stop_none(r, stop);

    default: /* NGX_ERROR */
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (rlcf->bus->worker == NULL) {
        return ngx_http_rtbus_unavailable(r, NULL);
    }

    ngx_rtbus_job_check(&rlcf->bus->worker->hub, &stop->channel, &q);

    return ngx_http_rtbus_call(r, q.argc, q.argv, q.len,
                               ngx_http_rtbus_stop_checked, stop);
}


static ngx_int_t
ngx_http_rtbus_stop_checked(ngx_http_request_t *r, void *data,
    redisReply *reply)
{
    ngx_http_rtbus_stop_t *stop = data;

    ngx_rtbus_job_info_t       *info;
    ngx_rtbus_job_question_t    q;
    ngx_http_rtbus_loc_conf_t  *rlcf;

    info = &stop->info;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus stop of \"%V\" is answered", &stop->channel);

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    switch (ngx_rtbus_job_info(&rlcf->bus->worker->hub, reply, r->pool, info)) {

    case NGX_OK:
        break;

    case NGX_DECLINED:
        return ngx_http_rtbus_unavailable(r, reply);

    default: /* NGX_ERROR */
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_log_debug4(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus stop of \"%V\" owned:%ui captured:%d running:%d",
                   &stop->channel, stop->owned, (int) info->captured,
                   (int) info->running);

    if (stop->owned
        && (stop->user.len == 0
            || !ngx_http_rtbus_str_eq(&info->user, &stop->user)))
    {
        ngx_http_rtbus_access_foreign(&stop->channel, r->connection->log);
        return ngx_http_rtbus_stop_none(r, stop);
    }

    if (!info->captured) {
        return ngx_http_rtbus_stop_none(r, stop);
    }

    if (!info->running) {
        return ngx_http_rtbus_stop_reply(r, stop, info->status);
    }

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    ngx_rtbus_job_stop(&rlcf->bus->worker->hub, &stop->channel, info, &q);

    return ngx_http_rtbus_call(r, q.argc, q.argv, q.len,
                               ngx_http_rtbus_stop_done, stop);
}


/* the job has ended in Redis; its owner leaves the upstream */

static ngx_int_t
ngx_http_rtbus_stop_done(ngx_http_request_t *r, void *data, redisReply *reply)
{
    ngx_http_rtbus_stop_t *stop = data;

    ngx_str_t                   owner;
    ngx_http_rtbus_loc_conf_t  *rlcf;

    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY
        || reply->elements != 2
        || reply->element[0]->type != REDIS_REPLY_STRING)
    {
        return ngx_http_rtbus_unavailable(r, reply);
    }

    owner.data = (u_char *) reply->element[0]->str;
    owner.len = reply->element[0]->len;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus stop of \"%V\" done, owner:\"%V\"",
                   &stop->channel, &owner);

    if (owner.len) {
        rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

        ngx_rtbus_job_tell(&rlcf->bus->worker->hub, &owner);
    }

    return ngx_http_rtbus_stop_reply(r, stop, RTBUS_JOB_CANCELLED);
}


static ngx_int_t
ngx_http_rtbus_stop_reply(ngx_http_request_t *r, ngx_http_rtbus_stop_t *stop,
    ngx_uint_t status)
{
    u_char       *p;
    ngx_str_t     json;
    const char   *text;

    text = (status < RTBUS_JOB_STATUSES) ? rtbus_job_statuses[status] : "";

    p = ngx_pnalloc(r->pool, sizeof("{\"channel\":\"\",\"status\":\"\"}")
                             + stop->channel.len + ngx_strlen(text));
    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    json.data = p;
    json.len = ngx_sprintf(p, "{\"channel\":\"%V\",\"status\":\"%s\"}",
                           &stop->channel, text)
               - p;

    return ngx_http_rtbus_reply(r, NGX_HTTP_OK, &json);
}


static ngx_int_t
ngx_http_rtbus_stop_none(ngx_http_request_t *r, ngx_http_rtbus_stop_t *stop)
{
    return ngx_http_rtbus_error(r, NGX_HTTP_NOT_FOUND, NGX_RTBUS_REASON_NO_JOB,
                                "channel", &stop->channel);
}


char *
ngx_http_rtbus_conf_stop(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_rtbus_loc_conf_t *rlcf = conf;

    ngx_str_t  *value;

    if (rlcf->stop) {
        return "is duplicate";
    }

    value = cf->args->elts;

    rlcf->stop = ngx_http_rtbus_name_create(cf, &value[1]);
    if (rlcf->stop == NULL) {
        return NGX_CONF_ERROR;
    }

    return (ngx_http_rtbus_handler_set(cf, ngx_http_rtbus_stop_handler)
            == NGX_OK) ? NGX_CONF_OK : NGX_CONF_ERROR;
}
