
#include "ngx_http_rtbus_inbox.h"
#include "ngx_http_rtbus_access.h"
#include "ngx_http_rtbus_ask.h"
#include "ngx_http_rtbus_join.h"
#include "ngx_http_rtbus_name.h"
#include "ngx_http_rtbus_rate.h"
#include "ngx_http_rtbus_sender.h"
#include "ngx_http_rtbus_subs.h"


typedef ngx_int_t (*ngx_http_rtbus_inbox_pt)(ngx_http_rtbus_client_t *cli,
    ngx_str_t *data, uint64_t *ack);


typedef struct {
    ngx_str_t                 name;
    ngx_http_rtbus_inbox_pt   handler;
    ngx_uint_t                join;        /* unsigned  join:1; */
} ngx_http_rtbus_inbox_event_t;


static ngx_int_t ngx_http_rtbus_inbox_rate(ngx_http_rtbus_client_t *cli,
    ngx_str_t *join, uint64_t *ack);
static ngx_uint_t ngx_http_rtbus_inbox_new(ngx_http_rtbus_client_t *cli,
    ngx_str_t *data);
static ngx_int_t ngx_http_rtbus_inbox_subscribe(ngx_http_rtbus_client_t *cli,
    ngx_str_t *data, uint64_t *ack);
static ngx_int_t ngx_http_rtbus_inbox_unsubscribe(ngx_http_rtbus_client_t *cli,
    ngx_str_t *data, uint64_t *ack);
static ngx_int_t ngx_http_rtbus_inbox_subscribe_job(
    ngx_http_rtbus_client_t *cli, ngx_str_t *data, uint64_t *ack);
static ngx_int_t ngx_http_rtbus_inbox_unsubscribe_job(
    ngx_http_rtbus_client_t *cli, ngx_str_t *data, uint64_t *ack);
static ngx_int_t ngx_http_rtbus_inbox_sync(ngx_http_rtbus_client_t *cli,
    ngx_str_t *data, uint64_t *ack);

static ngx_int_t ngx_http_rtbus_inbox_allowed(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_channel_t *channel);

static ngx_uint_t ngx_http_rtbus_inbox_job(rtbus_json_value_t *value,
    u_char *buf, ngx_str_t *channel);
static ngx_uint_t ngx_http_rtbus_inbox_position(rtbus_json_value_t *value,
    rtbus_pos_t *pos);


static ngx_http_rtbus_inbox_event_t  ngx_http_rtbus_inbox_events[] = {
    { ngx_string("subscribe"), ngx_http_rtbus_inbox_subscribe, 1 },
    { ngx_string("unsubscribe"), ngx_http_rtbus_inbox_unsubscribe, 0 },
    { ngx_string("subscribe:job"), ngx_http_rtbus_inbox_subscribe_job, 1 },
    { ngx_string("unsubscribe:job"), ngx_http_rtbus_inbox_unsubscribe_job, 0 },
    { ngx_string("reconnect:sync"), ngx_http_rtbus_inbox_sync, 1 },
    { ngx_null_string, NULL, 0 }
};


ngx_int_t
ngx_http_rtbus_inbox(ngx_http_rtbus_client_t *cli, ngx_http_rtbus_input_t *in,
    uint64_t *ack)
{
    ngx_int_t                      rc;
    ngx_http_rtbus_outcome_t       refused;
    ngx_http_rtbus_inbox_event_t  *event;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, cli->carrier->log, 0,
                   "rtbus: client event \"%V\" ack:%d", &in->name, ack != NULL);

    for (event = ngx_http_rtbus_inbox_events; event->name.len; event++) {

        if (event->name.len == in->name.len
            && ngx_memcmp(event->name.data, in->name.data, in->name.len) == 0)
        {
            break;
        }
    }

    rc = ngx_http_rtbus_inbox_rate(cli, event->join ? &in->data : NULL, ack);

    if (rc != NGX_OK) {
        return (rc == NGX_DECLINED) ? NGX_OK : NGX_ERROR;
    }

    if (event->handler) {
        return event->handler(cli, &in->data, ack);
    }

    ngx_memzero(&refused, sizeof(ngx_http_rtbus_outcome_t));

    rc = ngx_http_rtbus_sender_command(cli, in, ack, &refused);

    return (rc == NGX_DECLINED)
           ? ngx_http_rtbus_client_error(cli, refused.error, refused.text, 0,
                                         ack)
           : rc;
}


ngx_int_t
ngx_http_rtbus_inbox_malformed(ngx_http_rtbus_client_t *cli,
    ngx_uint_t error, uint64_t *ack)
{
    ngx_int_t  rc;

    rc = ngx_http_rtbus_inbox_rate(cli, NULL, ack);

    if (rc != NGX_OK) {
        return (rc == NGX_DECLINED) ? NGX_OK : NGX_ERROR;
    }

    return ngx_http_rtbus_client_refuse(cli, error, ack);
}


/*
 * NGX_OK, NGX_DECLINED: it comes too fast, and the client is told; NGX_ERROR.
 * join: the data of an event that joins a channel, or NULL.
 */

static ngx_int_t
ngx_http_rtbus_inbox_rate(ngx_http_rtbus_client_t *cli, ngx_str_t *join,
    uint64_t *ack)
{
    ngx_int_t   rc;
    ngx_msec_t  ms;

    rc = ngx_http_rtbus_rate_message(cli, 0, &ms);

    if (rc != NGX_OK && join && ngx_http_rtbus_inbox_new(cli, join)) {
        rc = ngx_http_rtbus_rate_message(cli, 1, &ms);
    }

    if (rc == NGX_OK) {
        return NGX_OK;
    }

    /* a flood is worth one line of the log */

    if (!cli->bucket.limited) {
        cli->bucket.limited = 1;

        ngx_log_error(NGX_LOG_INFO, cli->carrier->log, 0,
                      "rtbus: client is refused, rate limited");
    }

    rc = ngx_http_rtbus_client_error(cli, NGX_RTBUS_REASON_RATE, NULL, ms,
                                     ack);

    return (rc == NGX_OK) ? NGX_DECLINED : rc;
}


/* is it a channel that the client has not */

static ngx_uint_t
ngx_http_rtbus_inbox_new(ngx_http_rtbus_client_t *cli, ngx_str_t *data)
{
    u_char                buf[RTBUS_CHANNEL_MAX];
    ngx_str_t             channel;
    rtbus_reason_e        reason;
    rtbus_json_value_t    value;
    rtbus_json_member_t   m[] = { rtbus_json_member("channel"),
                                  rtbus_json_member("jobId") };

    if (rtbus_json_value(cli->hub->json, data->data, data->len, &value,
                         &reason)
        != RTBUS_OK)
    {
        return 0;
    }

    if (value.type == RTBUS_JSON_OBJECT) {
        rtbus_json_members(&value.raw, m, 2);
        value = m[1].value;

        if (m[0].value.type == RTBUS_JSON_STRING) {
            return ngx_http_rtbus_name_json(&m[0].value, buf, &channel)
                   == NGX_OK
                   && ngx_http_rtbus_client_find(cli, &channel) == NULL;
        }
    }

    return ngx_http_rtbus_inbox_job(&value, buf, &channel) == RTBUS_REASON_NONE
           && ngx_http_rtbus_client_find(cli, &channel) == NULL;
}


/* {"channel":"...","after":"<position>","state":true} */

static ngx_int_t
ngx_http_rtbus_inbox_subscribe(ngx_http_rtbus_client_t *cli, ngx_str_t *data,
    uint64_t *ack)
{
    u_char                    buf[RTBUS_CHANNEL_MAX];
    ngx_int_t                 rc;
    ngx_uint_t                error;
    rtbus_reason_e            reason;
    rtbus_json_type_e         type;
    rtbus_json_member_t       m[] = { rtbus_json_member("channel"),
                                      rtbus_json_member("after"),
                                      rtbus_json_member("state") };
    ngx_http_rtbus_channel_t  channel;

    rc = rtbus_json_object(cli->hub->json, data->data, data->len, m, 3,
                           &reason);

    if (rc != RTBUS_OK) {
        return ngx_http_rtbus_client_refuse(cli, NGX_RTBUS_REASON_CHANNEL, ack);
    }

    ngx_memzero(&channel, sizeof(ngx_http_rtbus_channel_t));

    if (ngx_http_rtbus_name_json(&m[0].value, buf, &channel.name)
        != NGX_OK)
    {
        return ngx_http_rtbus_client_refuse(cli, NGX_RTBUS_REASON_CHANNEL, ack);
    }

    type = m[1].value.type;

    if (type != RTBUS_JSON_NONE && type != RTBUS_JSON_NULL) {

        error = ngx_http_rtbus_inbox_position(&m[1].value, &channel.pos);
        if (error) {
            return ngx_http_rtbus_client_refuse(cli, error, ack);
        }

        channel.placed = 1;
    }

    if (ngx_http_rtbus_inbox_allowed(cli, &channel) != NGX_OK) {
        return ngx_http_rtbus_client_refuse(cli, NGX_RTBUS_REASON_FORBIDDEN,
                                            ack);
    }

    type = m[2].value.type;

    if (type == RTBUS_JSON_NONE || type == RTBUS_JSON_NULL
        || m[2].value.raw.len == sizeof("false") - 1)
    {
        return ngx_http_rtbus_join(cli, &channel, NGX_HTTP_RTBUS_JOIN_CHANNEL,
                                   ack);
    }

    if (type != RTBUS_JSON_BOOL) {
        return ngx_http_rtbus_client_refuse(cli, NGX_RTBUS_REASON_STATE, ack);
    }

    if (channel.placed) {
        return ngx_http_rtbus_client_refuse(cli,
                                            NGX_RTBUS_REASON_AFTER_AND_STATE,
                                            ack);
    }

    return ngx_http_rtbus_ask(cli, &channel, ack);
}


/* NGX_OK, and whether the channel's owner has to be asked; NGX_DECLINED */

static ngx_int_t
ngx_http_rtbus_inbox_allowed(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_channel_t *channel)
{
    ngx_int_t    rc;
    ngx_array_t  rules;

    rules.elts = cli->rules;
    rules.nelts = cli->nrules;

    rc = ngx_http_rtbus_access_check(&rules, &cli->user, &channel->name,
                                     cli->carrier->log);

    channel->owned = (rc == NGX_AGAIN);

    return (rc == NGX_DECLINED) ? NGX_DECLINED : NGX_OK;
}


/* {"channel":"..."} */

static ngx_int_t
ngx_http_rtbus_inbox_unsubscribe(ngx_http_rtbus_client_t *cli,
    ngx_str_t *data, uint64_t *ack)
{
    u_char                buf[RTBUS_CHANNEL_MAX];
    ngx_int_t             rc;
    ngx_str_t             channel;
    rtbus_reason_e        reason;
    rtbus_json_member_t   m[] = { rtbus_json_member("channel") };

    rc = rtbus_json_object(cli->hub->json, data->data, data->len, m, 1,
                           &reason);

    if (rc != RTBUS_OK
        || ngx_http_rtbus_name_json(&m[0].value, buf, &channel) != NGX_OK)
    {
        return ngx_http_rtbus_client_refuse(cli, NGX_RTBUS_REASON_CHANNEL, ack);
    }

    if (ngx_http_rtbus_subs_leave(cli, &channel) != NGX_OK) {
        return ngx_http_rtbus_client_refuse(cli,
                                            NGX_RTBUS_REASON_NOT_SUBSCRIBED,
                                            ack);
    }

    return ngx_http_rtbus_join_ok(cli, &channel, ack);
}


/* "<jobId>" */

static ngx_int_t
ngx_http_rtbus_inbox_subscribe_job(ngx_http_rtbus_client_t *cli,
    ngx_str_t *data, uint64_t *ack)
{
    u_char                     buf[RTBUS_CHANNEL_MAX];
    ngx_uint_t                 error;
    rtbus_reason_e             reason;
    rtbus_json_value_t         value;
    ngx_http_rtbus_channel_t   channel;

    ngx_memzero(&channel, sizeof(ngx_http_rtbus_channel_t));

    error = NGX_RTBUS_REASON_JOB_ID;

    if (rtbus_json_value(cli->hub->json, data->data, data->len, &value,
                         &reason)
        == RTBUS_OK)
    {
        error = ngx_http_rtbus_inbox_job(&value, buf, &channel.name);
    }

    if (error) {
        return ngx_http_rtbus_client_refuse(cli, NGX_RTBUS_REASON_JOB_ID, ack);
    }

    if (ngx_http_rtbus_inbox_allowed(cli, &channel) != NGX_OK) {
        return ngx_http_rtbus_client_refuse(cli, NGX_RTBUS_REASON_FORBIDDEN,
                                            ack);
    }

    return ngx_http_rtbus_join(cli, &channel, NGX_HTTP_RTBUS_JOIN_JOB, ack);
}


static ngx_int_t
ngx_http_rtbus_inbox_unsubscribe_job(ngx_http_rtbus_client_t *cli,
    ngx_str_t *data, uint64_t *ack)
{
    u_char               buf[RTBUS_CHANNEL_MAX];
    ngx_str_t            channel;
    ngx_uint_t           error;
    rtbus_reason_e       reason;
    rtbus_json_value_t   value;

    error = NGX_RTBUS_REASON_JOB_ID;

    if (rtbus_json_value(cli->hub->json, data->data, data->len, &value,
                         &reason)
        == RTBUS_OK)
    {
        error = ngx_http_rtbus_inbox_job(&value, buf, &channel);
    }

    if (error) {
        return ngx_http_rtbus_client_refuse(cli, NGX_RTBUS_REASON_JOB_ID, ack);
    }

    if (ngx_http_rtbus_subs_leave(cli, &channel) != NGX_OK) {
        return ngx_http_rtbus_client_refuse(cli,
                                            NGX_RTBUS_REASON_NOT_SUBSCRIBED,
                                            ack);
    }

    ngx_http_rtbus_join_job_event(cli, "unsubscribed", &channel);

    return ngx_http_rtbus_join_ok(cli, &channel, ack);
}


/*
 * {"jobId":"...","lastSequence":7}: clients that count by themselves.  They do
 * not know the epoch; it is taken to be the channel's present one.
 */

static ngx_int_t
ngx_http_rtbus_inbox_sync(ngx_http_rtbus_client_t *cli, ngx_str_t *data,
    uint64_t *ack)
{
    u_char                     buf[RTBUS_CHANNEL_MAX];
    ngx_int_t                  rc;
    rtbus_reason_e             reason;
    rtbus_json_member_t        m[] = { rtbus_json_member("jobId"),
                                       rtbus_json_member("lastSequence") };
    ngx_http_rtbus_channel_t   channel;

    rc = rtbus_json_object(cli->hub->json, data->data, data->len, m, 2,
                           &reason);

    ngx_memzero(&channel, sizeof(ngx_http_rtbus_channel_t));

    if (rc != RTBUS_OK
        || ngx_http_rtbus_inbox_job(&m[0].value, buf, &channel.name))
    {
        return ngx_http_rtbus_client_refuse(cli, NGX_RTBUS_REASON_JOB_ID, ack);
    }

    if (m[1].value.type != RTBUS_JSON_NUMBER
        || rtbus_json_uint(&m[1].value.raw, &channel.pos.seq) != RTBUS_OK)
    {
        return ngx_http_rtbus_client_refuse(cli, NGX_RTBUS_REASON_SEQUENCE,
                                            ack);
    }

    channel.placed = 1;
    channel.epochless = 1;
    channel.exact = 1;

    if (ngx_http_rtbus_inbox_allowed(cli, &channel) != NGX_OK) {
        return ngx_http_rtbus_client_refuse(cli, NGX_RTBUS_REASON_FORBIDDEN,
                                            ack);
    }

    return ngx_http_rtbus_join(cli, &channel, NGX_HTTP_RTBUS_JOIN_SYNC, ack);
}


/* why the value does not name a job, or 0; buf: RTBUS_CHANNEL_MAX bytes */

static ngx_uint_t
ngx_http_rtbus_inbox_job(rtbus_json_value_t *value, u_char *buf,
    ngx_str_t *channel)
{
    return (value->type == RTBUS_JSON_STRING
            && ngx_http_rtbus_name_job(value, buf, channel) == NGX_OK)
           ? RTBUS_REASON_NONE : NGX_RTBUS_REASON_JOB_ID;
}


static ngx_uint_t
ngx_http_rtbus_inbox_position(rtbus_json_value_t *value, rtbus_pos_t *pos)
{
    size_t  len;
    u_char  buf[RTBUS_POSITION_MAX];

    if (value->type != RTBUS_JSON_STRING
        || rtbus_json_unquote(NULL, &value->raw) > RTBUS_POSITION_MAX)
    {
        return NGX_RTBUS_REASON_POSITION;
    }

    len = rtbus_json_unquote(buf, &value->raw);

    return (rtbus_pos_parse(pos, buf, len) == RTBUS_OK)
           ? RTBUS_REASON_NONE : NGX_RTBUS_REASON_POSITION;
}
