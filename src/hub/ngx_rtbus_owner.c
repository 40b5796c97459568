
#include "ngx_rtbus_owner.h"


/* a question under way; malloc'ed */

struct ngx_rtbus_owner_s {
    ngx_rtbus_hub_t          *hub;
    ngx_rtbus_redis_call_t   *call;
    ngx_rtbus_owner_pt        handler;
    void                     *data;
    size_t                    len;
    u_char                    user[1];
};


static void ngx_rtbus_owner_handler(void *data, redisReply *reply);
static ngx_int_t ngx_rtbus_owner_reply(ngx_rtbus_owner_t *owner,
    redisReply *reply);


ngx_rtbus_owner_t *
ngx_rtbus_owner_ask(ngx_rtbus_hub_t *hub, ngx_str_t *channel, ngx_str_t *user,
    ngx_uint_t claim, ngx_rtbus_owner_pt handler, void *data)
{
    int                 argc;
    size_t              len[5];
    u_char              key[NGX_RTBUS_HUB_MAX_KEY];
    const char         *argv[5];
    ngx_rtbus_owner_t  *owner;

    if (!ngx_rtbus_redis_shards_up(&hub->shards)) {
        return NULL;
    }

    owner = ngx_alloc(offsetof(ngx_rtbus_owner_t, user) + user->len, hub->log);
    if (owner == NULL) {
        return NULL;
    }

    owner->hub = hub;
    owner->handler = handler;
    owner->data = data;
    owner->len = user->len;

    if (user->len) {
        ngx_memcpy(owner->user, user->data, user->len);
    }

    if (claim) {
        argv[0] = "FCALL";
        len[0] = 5;
        argv[1] = "rtbus_claim";
        len[1] = 11;
        argv[2] = "1";
        len[2] = 1;
        argv[3] = (char *) key;
        len[3] = ngx_rtbus_hub_key(hub, key, channel, "");
        argv[4] = (char *) owner->user;
        len[4] = user->len;
        argc = 5;

    } else {
        argv[0] = "HGET";
        len[0] = 4;
        argv[1] = (char *) key;
        len[1] = ngx_rtbus_hub_key(hub, key, channel, ":state");
        argv[2] = "userId";
        len[2] = 6;
        argc = 3;
    }

    owner->call = ngx_rtbus_redis_call(&hub->shards, argc, argv, len,
                                       ngx_rtbus_owner_handler, owner);
    if (owner->call == NULL) {
        ngx_free(owner);
        return NULL;
    }

    return owner;
}


void
ngx_rtbus_owner_cancel(ngx_rtbus_owner_t *owner)
{
    ngx_rtbus_redis_cmd_cancel(owner->call);
    ngx_free(owner);
}


static void
ngx_rtbus_owner_handler(void *data, redisReply *reply)
{
    ngx_rtbus_owner_t  *owner = data;

    void                *owned;
    ngx_int_t            rc;
    ngx_rtbus_owner_pt   handler;

    rc = ngx_rtbus_owner_reply(owner, reply);

    ngx_log_debug1(NGX_LOG_DEBUG_CORE, owner->hub->log, 0,
                   "rtbus: owner asked for, rc:%i", rc);

    handler = owner->handler;
    owned = owner->data;

    ngx_free(owner);

    handler(owned, rc);
}


static ngx_int_t
ngx_rtbus_owner_reply(ngx_rtbus_owner_t *owner, redisReply *reply)
{
    ngx_rtbus_hub_t  *hub;

    hub = owner->hub;

    if (reply == NULL) {
        /* the connection to Redis has logged why */
        return NGX_ERROR;
    }

    switch (reply->type) {

    case REDIS_REPLY_STRING:

        /* an empty name is nobody's */

        return (owner->len && (size_t) reply->len == owner->len
                && ngx_memcmp(reply->str, owner->user, owner->len) == 0)
               ? NGX_OK : NGX_DECLINED;

    case REDIS_REPLY_NIL:
        return NGX_DECLINED;

    case REDIS_REPLY_ERROR:

        if (ngx_strncmp(reply->str, "WRONGTYPE", 9) == 0) {
            /* not a hash, it names nobody */
            return NGX_DECLINED;
        }

        if (ngx_rtbus_library_missing(reply)) {
            ngx_rtbus_hub_library_lost(hub);
        }

        break;
    }

    if (hub->failed != ngx_time()) {
        hub->failed = ngx_time();

        ngx_log_error(NGX_LOG_ERR, hub->log, 0,
                      "rtbus: cannot ask for the owner of a channel: %s",
                      reply->type == REDIS_REPLY_ERROR ? reply->str
                                                       : "unexpected reply");
    }

    return NGX_ERROR;
}
