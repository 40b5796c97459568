
#include "ngx_http_rtbus_publish.h"
#include "ngx_http_rtbus_body.h"
#include "ngx_http_rtbus_cors.h"
#include "ngx_http_rtbus_handler.h"
#include "ngx_http_rtbus_name.h"
#include "ngx_http_rtbus_reply.h"


/* how an error reply of the function begins if an argument is bad */
#define NGX_HTTP_RTBUS_BADARG  "ERR rtbus: "

/* bytes of an event: the default of the function, and its limit */
#define NGX_HTTP_RTBUS_PUBLISH_SIZE      1048576
#define NGX_HTTP_RTBUS_PUBLISH_MAX_SIZE  67108864

/* fields in "set" */
#define NGX_HTTP_RTBUS_MAX_SET  1000


/* the indices of the table in ngx_http_rtbus_publish_options() */

typedef enum {
    NGX_HTTP_RTBUS_APPEND = 0,
    NGX_HTTP_RTBUS_TTL,
    NGX_HTTP_RTBUS_MAXLEN,
    NGX_HTTP_RTBUS_END,
    NGX_HTTP_RTBUS_SET,
    NGX_HTTP_RTBUS_OPTIONS
} ngx_http_rtbus_option_e;


/* the arguments of a command to Redis */

typedef struct {
    ngx_array_t     argv;       /* const char * */
    ngx_array_t     len;        /* size_t */
} ngx_http_rtbus_args_t;


static ngx_int_t ngx_http_rtbus_publish_handler(ngx_http_request_t *r);
static void ngx_http_rtbus_publish_body(ngx_http_request_t *r,
    ngx_str_t *body);
static ngx_int_t ngx_http_rtbus_publish(ngx_http_request_t *r,
    ngx_str_t *body);
static ngx_int_t ngx_http_rtbus_publish_live(ngx_http_request_t *r,
    ngx_http_rtbus_args_t *args, ngx_str_t *channel, ngx_str_t *body);
static ngx_int_t ngx_http_rtbus_publish_durable(ngx_http_request_t *r,
    ngx_http_rtbus_args_t *args, ngx_str_t *channel, rtbus_event_t *ev,
    ngx_str_t *body, const char **text);
static ngx_int_t ngx_http_rtbus_publish_options(ngx_http_request_t *r,
    ngx_http_rtbus_args_t *args, ngx_str_t *body, const char **text);
static ngx_int_t ngx_http_rtbus_publish_set(ngx_http_request_t *r,
    ngx_http_rtbus_args_t *args, rtbus_str_t *raw, const char **text);
static ngx_int_t ngx_http_rtbus_publish_key(ngx_http_request_t *r,
    ngx_str_t *channel, ngx_str_t *key);
static ngx_int_t ngx_http_rtbus_publish_name(ngx_http_request_t *r,
    ngx_str_t *channel, ngx_str_t *name);
static ngx_int_t ngx_http_rtbus_publish_arg(ngx_http_rtbus_args_t *args,
    const u_char *data, size_t len);
static ngx_int_t ngx_http_rtbus_publish_string(ngx_http_request_t *r,
    ngx_http_rtbus_args_t *args, rtbus_json_value_t *value);
static ngx_int_t ngx_http_rtbus_publish_reply(ngx_http_request_t *r,
    void *data, redisReply *reply);
static ngx_int_t ngx_http_rtbus_publish_bad(ngx_http_request_t *r,
    const char *reason);


#define ngx_http_rtbus_publish_word(args, word)                               \
    ngx_http_rtbus_publish_arg(args, (const u_char *) word, sizeof(word) - 1)


static ngx_int_t
ngx_http_rtbus_publish_handler(ngx_http_request_t *r)
{
    ngx_int_t                   rc;
    ngx_http_rtbus_loc_conf_t  *rlcf;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    rc = ngx_http_rtbus_admit(r, NGX_HTTP_POST, "POST");
    if (rc != NGX_OK || r->header_sent) {
        return rc;
    }

    rc = ngx_http_rtbus_body_type(r);
    if (rc != NGX_OK || r->header_sent) {
        return rc;
    }

    return ngx_http_rtbus_read_body(r, rlcf->max_event,
                                    ngx_http_rtbus_publish_body);
}


static void
ngx_http_rtbus_publish_body(ngx_http_request_t *r, ngx_str_t *body)
{
    ngx_http_finalize_request(r, ngx_http_rtbus_publish(r, body));
}


static ngx_int_t
ngx_http_rtbus_publish(ngx_http_request_t *r, ngx_str_t *body)
{
    char                        err[RTBUS_SCHEMA_ERROR];
    ngx_int_t                   rc;
    ngx_str_t                  *channel;
    const char                 *text;
    rtbus_reason_e              reason;
    rtbus_event_t               ev;
    const rtbus_schema_t       *schema;
    ngx_http_rtbus_args_t       args;
    ngx_http_rtbus_loc_conf_t  *rlcf;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    if (rlcf->bus->worker == NULL) {
        return ngx_http_rtbus_unavailable(r, NULL);
    }

    channel = ngx_palloc(r->pool, sizeof(ngx_str_t));
    if (channel == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_rtbus_name_channel(r, rlcf->publish, "sent event to",
                                     channel);
    if (rc != NGX_OK || r->header_sent) {
        return rc;
    }

    if (ngx_rtbus_mailbox_channel(channel)) {
        return ngx_http_rtbus_name_bad(r, "sent event to", channel);
    }

    if (rtbus_event_parse(rlcf->bus->worker->hub.json, &ev, body->data,
                          body->len, &reason)
        != RTBUS_OK)
    {
        return ngx_http_rtbus_publish_bad(r, rtbus_reason_text(reason));
    }

    if (ev.pos.epoch || ev.pos.seq) {
        return ngx_http_rtbus_publish_bad(r, "id is not allowed");
    }

    schema = rlcf->bus->worker->hub.schema;

    if (schema && rtbus_schema_event(schema, &ev, err) != RTBUS_OK) {
        return ngx_http_rtbus_publish_bad(r, err);
    }

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus publish to \"%V\" size:%uz live:%ui", channel,
                   body->len, rlcf->live);

    if (ngx_array_init(&args.argv, r->pool, 8, sizeof(const char *)) != NGX_OK
        || ngx_array_init(&args.len, r->pool, 8, sizeof(size_t)) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (rlcf->live) {
        rc = ngx_http_rtbus_publish_live(r, &args, channel, body);

    } else {
        rc = ngx_http_rtbus_publish_durable(r, &args, channel, &ev, body,
                                            &text);
    }

    if (rc == NGX_DECLINED) {
        return ngx_http_rtbus_publish_bad(r, text);
    }

    if (rc != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_rtbus_call(r, args.argv.nelts, args.argv.elts,
                               args.len.elts, ngx_http_rtbus_publish_reply,
                               channel);
}


static ngx_int_t
ngx_http_rtbus_publish_live(ngx_http_request_t *r,
    ngx_http_rtbus_args_t *args, ngx_str_t *channel, ngx_str_t *body)
{
    ngx_int_t                   rc;
    ngx_str_t                   name;
    ngx_http_rtbus_loc_conf_t  *rlcf;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    rc = rlcf->bus->worker->hub.shards.cluster
         ? ngx_http_rtbus_publish_word(args, "SPUBLISH")
         : ngx_http_rtbus_publish_word(args, "PUBLISH");

    if (rc != NGX_OK
        || ngx_http_rtbus_publish_name(r, channel, &name) != NGX_OK
        || ngx_http_rtbus_publish_arg(args, name.data, name.len) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_rtbus_publish_arg(args, body->data, body->len);
}


/*
 * FCALL rtbus_publish 1 <channel> <event> <data> and the options that the
 * envelope has.  NGX_DECLINED: one of them is bad, *text says why.
 */

static ngx_int_t
ngx_http_rtbus_publish_durable(ngx_http_request_t *r,
    ngx_http_rtbus_args_t *args, ngx_str_t *channel, rtbus_event_t *ev,
    ngx_str_t *body, const char **text)
{
    ngx_str_t                   name, size;
    ngx_http_rtbus_loc_conf_t  *rlcf;

    if (ev->data.len == 0) {
        /* with args there is no data */
        ev->data.data = (uint8_t *) "null";
        ev->data.len = ev->args.len ? 0 : 4;
    }

    if (ngx_http_rtbus_publish_key(r, channel, &name) != NGX_OK
        || ngx_http_rtbus_publish_word(args, "FCALL") != NGX_OK
        || ngx_http_rtbus_publish_word(args, "rtbus_publish") != NGX_OK
        || ngx_http_rtbus_publish_word(args, "1") != NGX_OK
        || ngx_http_rtbus_publish_arg(args, name.data, name.len) != NGX_OK
        || ngx_http_rtbus_publish_arg(args, ev->name.data, ev->name.len)
           != NGX_OK
        || ngx_http_rtbus_publish_arg(args, ev->data.data, ev->data.len)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (ev->args.len
        && (ngx_http_rtbus_publish_word(args, "ARGS") != NGX_OK
            || ngx_http_rtbus_publish_arg(args, ev->args.data, ev->args.len)
               != NGX_OK))
    {
        return NGX_ERROR;
    }

    /* a location may accept longer events than the function by default */

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    if (body->len > NGX_HTTP_RTBUS_PUBLISH_SIZE) {

        size.data = ngx_pnalloc(r->pool, NGX_SIZE_T_LEN);
        if (size.data == NULL) {
            return NGX_ERROR;
        }

        size.len = ngx_sprintf(size.data, "%uz",
                               ngx_min(rlcf->max_event,
                                       NGX_HTTP_RTBUS_PUBLISH_MAX_SIZE))
                   - size.data;

        if (ngx_http_rtbus_publish_word(args, "MAXSIZE") != NGX_OK
            || ngx_http_rtbus_publish_arg(args, size.data, size.len) != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    if (ev->attachments.len
        && (ngx_http_rtbus_publish_word(args, "ATTACHMENTS") != NGX_OK
            || ngx_http_rtbus_publish_arg(args, ev->attachments.data,
                                          ev->attachments.len)
               != NGX_OK))
    {
        return NGX_ERROR;
    }

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus publish to \"%V\" args:%ui", channel,
                   args->argv.nelts);

    return ngx_http_rtbus_publish_options(r, args, body, text);
}


static ngx_int_t
ngx_http_rtbus_publish_options(ngx_http_request_t *r,
    ngx_http_rtbus_args_t *args, ngx_str_t *body, const char **text)
{
    uint64_t                    n;
    rtbus_json_value_t         *value;
    rtbus_reason_e              reason;
    rtbus_json_member_t         members[NGX_HTTP_RTBUS_OPTIONS] = {
        rtbus_json_member("append"),
        rtbus_json_member("ttl"),
        rtbus_json_member("maxlen"),
        rtbus_json_member("end"),
        rtbus_json_member("set")
    };
    ngx_http_rtbus_loc_conf_t  *rlcf;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    /* the text has been checked, so only memory can be missing */

    if (rtbus_json_object(rlcf->bus->worker->hub.json, body->data, body->len,
                          members, NGX_HTTP_RTBUS_OPTIONS, &reason)
        != RTBUS_OK)
    {
        return NGX_ERROR;
    }

    value = &members[NGX_HTTP_RTBUS_APPEND].value;

    if (value->type != RTBUS_JSON_NONE) {

        if (value->type != RTBUS_JSON_STRING) {
            *text = "append is not a string";
            return NGX_DECLINED;
        }

        if (ngx_http_rtbus_publish_word(args, "APPEND") != NGX_OK
            || ngx_http_rtbus_publish_string(r, args, value) != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    value = &members[NGX_HTTP_RTBUS_TTL].value;

    if (value->type != RTBUS_JSON_NONE) {

        if (rtbus_json_uint(&value->raw, &n) != RTBUS_OK || n == 0) {
            *text = "ttl is not a positive integer";
            return NGX_DECLINED;
        }

        if (ngx_http_rtbus_publish_word(args, "TTL") != NGX_OK
            || ngx_http_rtbus_publish_string(r, args, value) != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    value = &members[NGX_HTTP_RTBUS_MAXLEN].value;

    if (value->type != RTBUS_JSON_NONE) {

        if (rtbus_json_uint(&value->raw, &n) != RTBUS_OK || n == 0) {
            *text = "maxlen is not a positive integer";
            return NGX_DECLINED;
        }

        if (ngx_http_rtbus_publish_word(args, "MAXLEN") != NGX_OK
            || ngx_http_rtbus_publish_string(r, args, value) != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    value = &members[NGX_HTTP_RTBUS_END].value;

    if (value->type != RTBUS_JSON_NONE) {

        if (value->type != RTBUS_JSON_STRING) {
            *text = "end is not a string";
            return NGX_DECLINED;
        }

        if (ngx_http_rtbus_publish_word(args, "END") != NGX_OK
            || ngx_http_rtbus_publish_string(r, args, value) != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    value = &members[NGX_HTTP_RTBUS_SET].value;

    if (value->type == RTBUS_JSON_NONE) {
        return NGX_OK;
    }

    if (value->type != RTBUS_JSON_OBJECT) {
        *text = "set is not an object";
        return NGX_DECLINED;
    }

    return ngx_http_rtbus_publish_set(r, args, &value->raw, text);
}


/* SET takes all arguments after it, so it comes last; not without fields */

static ngx_int_t
ngx_http_rtbus_publish_set(ngx_http_request_t *r,
    ngx_http_rtbus_args_t *args, rtbus_str_t *raw, const char **text)
{
    ngx_uint_t           n;
    const uint8_t       *pos;
    rtbus_json_value_t   value;

    n = 0;
    pos = NULL;

    /* names and values alternate */

    while (rtbus_json_next(&value, &pos, raw) == RTBUS_OK) {

        if (n == 0 && ngx_http_rtbus_publish_word(args, "SET") != NGX_OK) {
            return NGX_ERROR;
        }

        if (n++ == 2 * NGX_HTTP_RTBUS_MAX_SET) {
            *text = "set has too many fields";
            return NGX_DECLINED;
        }

        if (ngx_http_rtbus_publish_string(r, args, &value) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/* the key by which the functions know the channel */

static ngx_int_t
ngx_http_rtbus_publish_key(ngx_http_request_t *r, ngx_str_t *channel,
    ngx_str_t *key)
{
    ngx_http_rtbus_loc_conf_t  *rlcf;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    key->data = ngx_pnalloc(r->pool, NGX_RTBUS_HUB_MAX_KEY);
    if (key->data == NULL) {
        return NGX_ERROR;
    }

    key->len = ngx_rtbus_hub_key(&rlcf->bus->worker->hub, key->data, channel,
                                 "");

    return NGX_OK;
}


/* the pub/sub channel */

static ngx_int_t
ngx_http_rtbus_publish_name(ngx_http_request_t *r, ngx_str_t *channel,
    ngx_str_t *name)
{
    ngx_http_rtbus_loc_conf_t  *rlcf;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    name->data = ngx_pnalloc(r->pool, NGX_RTBUS_HUB_MAX_NAME);
    if (name->data == NULL) {
        return NGX_ERROR;
    }

    name->len = ngx_rtbus_hub_topic(&rlcf->bus->worker->hub, name->data,
                                    channel);

    return NGX_OK;
}


static ngx_int_t
ngx_http_rtbus_publish_arg(ngx_http_rtbus_args_t *args, const u_char *data,
    size_t len)
{
    size_t       *n;
    const char  **arg;

    arg = ngx_array_push(&args->argv);
    if (arg == NULL) {
        return NGX_ERROR;
    }

    n = ngx_array_push(&args->len);
    if (n == NULL) {
        return NGX_ERROR;
    }

    *arg = (const char *) data;
    *n = len;

    return NGX_OK;
}


/* a string without its quotes, any other value as JSON */

static ngx_int_t
ngx_http_rtbus_publish_string(ngx_http_request_t *r,
    ngx_http_rtbus_args_t *args, rtbus_json_value_t *value)
{
    u_char  *p;
    size_t   len;

    if (value->type != RTBUS_JSON_STRING) {
        return ngx_http_rtbus_publish_arg(args, value->raw.data,
                                          value->raw.len);
    }

    p = ngx_pnalloc(r->pool, value->raw.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    len = rtbus_json_unquote(p, &value->raw);

    return ngx_http_rtbus_publish_arg(args, p, len);
}


static ngx_int_t
ngx_http_rtbus_publish_reply(ngx_http_request_t *r, void *data,
    redisReply *reply)
{
    ngx_str_t  *channel = data;

    u_char                     *p;
    size_t                      len;
    ngx_str_t                   json;
    ngx_http_rtbus_loc_conf_t  *rlcf;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus publish to \"%V\" done, reply:%d", channel,
                   reply ? reply->type : 0);

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    if (reply && reply->type == REDIS_REPLY_ERROR
        && ngx_strncmp(reply->str, NGX_HTTP_RTBUS_BADARG,
                       sizeof(NGX_HTTP_RTBUS_BADARG) - 1)
           == 0)
    {
        return ngx_http_rtbus_publish_bad(r, reply->str
                                          + sizeof(NGX_HTTP_RTBUS_BADARG) - 1);
    }

    if (reply == NULL
        || reply->type != (rlcf->live ? REDIS_REPLY_INTEGER
                                      : REDIS_REPLY_STRING))
    {
        return ngx_http_rtbus_unavailable(r, reply);
    }

    /* nothing has to be escaped in a channel or a position */

    len = sizeof("{\"id\":\"\",\"channel\":\"\"}") - 1 + channel->len;

    if (!rlcf->live) {
        len += reply->len;
    }

    p = ngx_pnalloc(r->pool, len);
    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    json.data = p;

    *p++ = '{';

    if (!rlcf->live) {
        p = ngx_sprintf(p, "\"id\":\"%*s\",", reply->len, reply->str);
    }

    p = ngx_sprintf(p, "\"channel\":\"%V\"}", channel);

    json.len = p - json.data;

    return ngx_http_rtbus_reply(r, NGX_HTTP_CREATED, &json);
}


static ngx_int_t
ngx_http_rtbus_publish_bad(ngx_http_request_t *r, const char *reason)
{
    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                  "rtbus: client sent bad event: %s", reason);

    ngx_http_rtbus_refused(r, NGX_HTTP_BAD_REQUEST, NGX_RTBUS_REASON_BODY);

    return ngx_http_rtbus_error_text(r, NGX_HTTP_BAD_REQUEST, reason, NULL,
                                     NULL);
}


char *
ngx_http_rtbus_conf_publish(ngx_conf_t *cf, ngx_command_t *args, void *conf)
{
    ngx_http_rtbus_loc_conf_t *rlcf = conf;

    ngx_str_t  *value;

    if (rlcf->publish) {
        return "is duplicate";
    }

    value = cf->args->elts;

    rlcf->publish = ngx_http_rtbus_name_create(cf, &value[1]);
    if (rlcf->publish == NULL) {
        return NGX_CONF_ERROR;
    }

    if (cf->args->nelts == 3) {

        if (ngx_strcmp(value[2].data, "live") != 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\"", &value[2]);
            return NGX_CONF_ERROR;
        }

        rlcf->live = 1;
    }

    return (ngx_http_rtbus_handler_set(cf, ngx_http_rtbus_publish_handler)
            == NGX_OK) ? NGX_CONF_OK : NGX_CONF_ERROR;
}
