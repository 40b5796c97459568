
#include "ngx_rtbus_position.h"
#include "ngx_rtbus_channel.h"


/* what may be asked of a stream */

typedef enum {
    NGX_RTBUS_POSITION_FUNCTION = 0,
    NGX_RTBUS_POSITION_INFO,
    NGX_RTBUS_POSITION_EXISTS
} ngx_rtbus_position_question_e;


static ngx_int_t ngx_rtbus_position_question(ngx_rtbus_position_t *p,
    ngx_rtbus_position_question_e question);
static void ngx_rtbus_position_function_handler(void *data, redisReply *reply);
static void ngx_rtbus_position_info_handler(void *data, redisReply *reply);
static void ngx_rtbus_position_exists_handler(void *data, redisReply *reply);
static void ngx_rtbus_position_none(ngx_rtbus_position_t *p);
static void ngx_rtbus_position_no_stream(ngx_rtbus_position_t *p);
static ngx_int_t ngx_rtbus_position_info_last(redisReply *reply,
    rtbus_pos_t *pos);


ngx_int_t
ngx_rtbus_position_ask(ngx_rtbus_position_t *p)
{
    return ngx_rtbus_position_question(p, NGX_RTBUS_POSITION_FUNCTION);
}


void
ngx_rtbus_position_cancel(ngx_rtbus_position_t *p)
{
    if (p->call) {
        ngx_rtbus_redis_cmd_cancel(p->call);
        p->call = NULL;
    }
}


static ngx_int_t
ngx_rtbus_position_question(ngx_rtbus_position_t *p,
    ngx_rtbus_position_question_e question)
{
    int                       argc;
    size_t                    len[4];
    u_char                    key[NGX_RTBUS_HUB_MAX_KEY];
    const char               *argv[4], *suffix;
    ngx_rtbus_hub_t          *hub;
    ngx_rtbus_channel_t      *ch;
    ngx_rtbus_redis_call_pt   handler;

    ch = p->ch;
    hub = ch->hub;

    argc = 0;
    suffix = ":events";

    switch (question) {

    case NGX_RTBUS_POSITION_FUNCTION:
        argv[argc] = "FCALL_RO";
        len[argc++] = 8;
        argv[argc] = "rtbus_position";
        len[argc++] = 14;
        argv[argc] = "1";
        len[argc++] = 1;
        suffix = "";
        handler = ngx_rtbus_position_function_handler;
        break;

    case NGX_RTBUS_POSITION_INFO:
        argv[argc] = "XINFO";
        len[argc++] = 5;
        argv[argc] = "STREAM";
        len[argc++] = 6;
        handler = ngx_rtbus_position_info_handler;
        break;

    default: /* NGX_RTBUS_POSITION_EXISTS */
        argv[argc] = "EXISTS";
        len[argc++] = 6;
        handler = ngx_rtbus_position_exists_handler;
    }

    argv[argc] = (char *) key;
    len[argc++] = ngx_rtbus_hub_key(hub, key, &ch->name, suffix);

    p->call = ngx_rtbus_redis_call(&hub->shards, argc, argv, len, handler, p);

    return p->call ? NGX_OK : NGX_ERROR;
}


/* [ position, timestamp ] */

static void
ngx_rtbus_position_function_handler(void *data, redisReply *reply)
{
    ngx_rtbus_position_t  *p = data;

    ngx_int_t     n;
    redisReply   *value;
    rtbus_pos_t   last;

    p->call = NULL;

    if (reply == NULL) {
        p->handler(p->data, NULL, 0, NULL);
        return;
    }

    if (ngx_rtbus_position_wrong(reply)) {
        ngx_rtbus_position_no_stream(p);
        return;
    }

    if (reply->type == REDIS_REPLY_ERROR) {

        ngx_log_debug2(NGX_LOG_DEBUG_CORE, p->ch->hub->log, 0,
                       "rtbus: position of \"%V\": %s",
                       &p->ch->name, reply->str);

        if (ngx_rtbus_library_missing(reply)) {
            ngx_rtbus_hub_library_lost(p->ch->hub);
        }

        if (ngx_rtbus_position_question(p, NGX_RTBUS_POSITION_INFO) != NGX_OK) {
            p->handler(p->data, NULL, 0, NULL);
        }

        return;
    }

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2
        || reply->element[0]->type != REDIS_REPLY_STRING
        || reply->element[1]->type != REDIS_REPLY_STRING
        || rtbus_pos_parse(&last, (u_char *) reply->element[0]->str,
                           reply->element[0]->len)
           != RTBUS_OK)
    {
        p->handler(p->data, NULL, 0, reply);
        return;
    }

    value = reply->element[1];
    n = value->len ? ngx_atosz((u_char *) value->str, value->len) : 0;

    p->handler(p->data, &last, n > 0 ? n : 0, NULL);
}


static void
ngx_rtbus_position_info_handler(void *data, redisReply *reply)
{
    ngx_rtbus_position_t  *p = data;

    rtbus_pos_t  last;

    p->call = NULL;

    if (reply && ngx_rtbus_position_wrong(reply)) {
        ngx_rtbus_position_no_stream(p);
        return;
    }

    if (reply && reply->type == REDIS_REPLY_ERROR
        && ngx_strncmp(reply->str, "ERR ", 4) == 0)
    {
        /* a missing key has no error code of its own */

        if (ngx_rtbus_position_question(p, NGX_RTBUS_POSITION_EXISTS)
            != NGX_OK)
        {
            p->handler(p->data, NULL, 0, NULL);
        }

        return;
    }

    if (reply == NULL || ngx_rtbus_position_info_last(reply, &last) != NGX_OK) {
        p->handler(p->data, NULL, 0, reply);
        return;
    }

    p->handler(p->data, &last, 0, NULL);
}


static void
ngx_rtbus_position_exists_handler(void *data, redisReply *reply)
{
    ngx_rtbus_position_t  *p = data;

    p->call = NULL;

    if (reply == NULL || reply->type != REDIS_REPLY_INTEGER
        || reply->integer != 0)
    {
        p->handler(p->data, NULL, 0, reply);
        return;
    }

    ngx_rtbus_position_none(p);
}


static void
ngx_rtbus_position_no_stream(ngx_rtbus_position_t *p)
{
    ngx_rtbus_hub_t  *hub;

    hub = p->ch->hub;

    if (hub->failed != ngx_time()) {
        hub->failed = ngx_time();

        ngx_log_error(NGX_LOG_ERR, hub->log, 0,
                      "rtbus: the events key of channel \"%V\" is not a "
                      "stream, clients get live events only; another program "
                      "may have written that key", &p->ch->name);
    }

    ngx_rtbus_position_none(p);
}


/* the last id of the stream, from XINFO STREAM */

static ngx_int_t
ngx_rtbus_position_info_last(redisReply *reply, rtbus_pos_t *pos)
{
    size_t       i;
    redisReply  *name, *value;

    if (reply->type != REDIS_REPLY_ARRAY) {
        return NGX_ERROR;
    }

    for (i = 0; i + 1 < reply->elements; i += 2) {
        name = reply->element[i];
        value = reply->element[i + 1];

        if (name->type == REDIS_REPLY_STRING
            && value->type == REDIS_REPLY_STRING
            && name->len == sizeof("last-generated-id") - 1
            && ngx_strncmp(name->str, "last-generated-id", name->len) == 0)
        {
            return rtbus_pos_parse(pos, (u_char *) value->str, value->len)
                   == RTBUS_OK ? NGX_OK : NGX_ERROR;
        }
    }

    return NGX_ERROR;
}


static void
ngx_rtbus_position_none(ngx_rtbus_position_t *p)
{
    rtbus_pos_t  none;

    none.epoch = 0;
    none.seq = 0;

    p->handler(p->data, &none, 0, NULL);
}
