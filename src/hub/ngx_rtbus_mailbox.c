
#include "ngx_rtbus_mailbox.h"
#include <openssl/rand.h>


static void ngx_rtbus_mailbox_up(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic);
static void ngx_rtbus_mailbox_down(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic);
static void ngx_rtbus_mailbox_message(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic, u_char *data, size_t len);
static void ngx_rtbus_mailbox_refuse(ngx_rtbus_mailbox_t *mb,
    const char *reason);


static const ngx_rtbus_redis_topic_handlers_t  ngx_rtbus_mailbox_handlers = {
    ngx_rtbus_mailbox_up,
    ngx_rtbus_mailbox_down,
    ngx_rtbus_mailbox_message,
    ngx_rtbus_mailbox_down                 /* lost */
};


ngx_int_t
ngx_rtbus_mailbox_init(ngx_rtbus_mailbox_t *mb, ngx_rtbus_redis_sub_t *sub,
    ngx_rtbus_redis_cmd_t *cmd, ngx_str_t *prefix, rtbus_json_t *json,
    ngx_log_t *log)
{
    size_t      len;
    u_char     *p;
    ngx_str_t   raw, text;
    u_char      buf[NGX_RTBUS_MAILBOX_ID_LEN / 4 * 3];

    if (RAND_bytes(buf, sizeof(buf)) != 1) {
        ngx_log_error(NGX_LOG_CRIT, log, 0, "RAND_bytes() failed");
        return NGX_ERROR;
    }

    len = prefix->len + sizeof(NGX_RTBUS_MAILBOX_NAME) - 1
          + NGX_RTBUS_MAILBOX_ID_LEN;

    mb->name.data = ngx_alloc(len, log);
    if (mb->name.data == NULL) {
        return NGX_ERROR;
    }

    mb->name.len = len;

    p = ngx_cpymem(mb->name.data, prefix->data, prefix->len);
    p = ngx_cpymem(p, NGX_RTBUS_MAILBOX_NAME,
                   sizeof(NGX_RTBUS_MAILBOX_NAME) - 1);

    raw.len = sizeof(buf);
    raw.data = buf;
    text.data = p;

    ngx_encode_base64url(&text, &raw);

    mb->id = text;

    mb->cmd = cmd;
    mb->prefix = *prefix;
    mb->json = json;
    mb->log = log;

    mb->topic.handlers = &ngx_rtbus_mailbox_handlers;
    mb->topic.name = mb->name;

    ngx_rtbus_redis_sub_add(sub, &mb->topic);

    return NGX_OK;
}


void
ngx_rtbus_mailbox_close(ngx_rtbus_mailbox_t *mb)
{
    mb->ready = 0;

    if (mb->name.data) {
        ngx_free(mb->name.data);
        ngx_str_null(&mb->name);
        ngx_str_null(&mb->id);
    }
}


void
ngx_rtbus_mailbox_handle(ngx_rtbus_mailbox_t *mb, const char *member,
    ngx_rtbus_mailbox_pt handler, void *data)
{
    if (mb->nkinds == NGX_RTBUS_MAILBOX_KINDS) {
        ngx_log_error(NGX_LOG_ALERT, mb->log, 0,
                      "rtbus: no room for the mailbox kind \"%s\"", member);
        return;
    }

    mb->members[mb->nkinds].name = member;
    mb->members[mb->nkinds].len = ngx_strlen(member);
    mb->handlers[mb->nkinds] = handler;
    mb->data[mb->nkinds] = data;

    mb->nkinds++;
}


ngx_uint_t
ngx_rtbus_mailbox_channel(ngx_str_t *channel)
{
    return channel->len >= sizeof(NGX_RTBUS_MAILBOX_NAME) - 1
           && ngx_strncmp(channel->data, NGX_RTBUS_MAILBOX_NAME,
                          sizeof(NGX_RTBUS_MAILBOX_NAME) - 1)
              == 0;
}


ngx_rtbus_redis_call_t *
ngx_rtbus_mailbox_send(ngx_rtbus_mailbox_t *mb, ngx_str_t *id,
    ngx_str_t *message, ngx_rtbus_redis_call_pt handler, void *data)
{
    u_char                  *p, *name;
    size_t                   len[3];
    const char              *argv[3];
    ngx_rtbus_redis_call_t  *call;

    if (id->len != NGX_RTBUS_MAILBOX_ID_LEN) {
        return NULL;
    }

    /* of the same length as our own */

    name = ngx_alloc(mb->name.len, mb->log);
    if (name == NULL) {
        return NULL;
    }

    p = ngx_cpymem(name, mb->name.data,
                   mb->name.len - NGX_RTBUS_MAILBOX_ID_LEN);
    ngx_memcpy(p, id->data, NGX_RTBUS_MAILBOX_ID_LEN);

    argv[0] = "PUBLISH";
    len[0] = 7;
    argv[1] = (char *) name;
    len[1] = mb->name.len;
    argv[2] = (char *) message->data;
    len[2] = message->len;

    call = ngx_rtbus_redis_cmd_call(mb->cmd, 3, argv, len, handler, data);

    ngx_free(name);

    return call;
}


static void
ngx_rtbus_mailbox_up(ngx_rtbus_redis_sub_t *rs, ngx_rtbus_redis_topic_t *topic)
{
    ngx_rtbus_mailbox_t  *mb;

    mb = ngx_queue_data(topic, ngx_rtbus_mailbox_t, topic);

    mb->ready = 1;

    if (mb->ready_handler) {
        mb->ready_handler(mb);
    }
}


/* refused by Redis, or the connection is lost: in time there is another try */

static void
ngx_rtbus_mailbox_down(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic)
{
    ngx_rtbus_mailbox_t  *mb;

    mb = ngx_queue_data(topic, ngx_rtbus_mailbox_t, topic);

    mb->ready = 0;
}


static void
ngx_rtbus_mailbox_message(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_topic_t *topic, u_char *data, size_t len)
{
    ngx_uint_t            i;
    const char           *reason;
    rtbus_json_value_t    message, value;
    ngx_rtbus_mailbox_t  *mb;

    mb = ngx_queue_data(topic, ngx_rtbus_mailbox_t, topic);

    ngx_log_debug1(NGX_LOG_DEBUG_CORE, mb->log, 0,
                   "rtbus mailbox message, len:%uz", len);

    if (rtbus_json_value(mb->json, data, len, &message, &reason) != RTBUS_OK) {
        ngx_rtbus_mailbox_refuse(mb, reason);
        return;
    }

    if (message.type != RTBUS_JSON_OBJECT) {
        ngx_rtbus_mailbox_refuse(mb, "not an object");
        return;
    }

    rtbus_json_members(&message.raw, mb->members, mb->nkinds);

    for (i = 0; i < mb->nkinds; i++) {

        if (mb->members[i].value.type == RTBUS_JSON_NONE) {
            continue;
        }

        value = mb->members[i].value;

        mb->handlers[i](mb->data[i], &value, &message.raw);
        return;
    }

    ngx_rtbus_mailbox_refuse(mb, "nobody knows what it is for");
}


static void
ngx_rtbus_mailbox_refuse(ngx_rtbus_mailbox_t *mb, const char *reason)
{
    if (mb->complained == ngx_time()) {
        return;
    }

    mb->complained = ngx_time();

    ngx_log_error(NGX_LOG_WARN, mb->log, 0,
                  "rtbus: message to the worker's mailbox dropped: %s",
                  reason);
}
