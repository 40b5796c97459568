
#include "ngx_rtbus_redis_role.h"


static const char *ngx_rtbus_redis_role_greeted(ngx_rtbus_redis_conn_t *rc,
    redisReply *reply);


ngx_rtbus_redis_check_t  ngx_rtbus_redis_role_check = {
    1, { "ROLE", NULL, NULL }, { 4, 0, 0 }, ngx_rtbus_redis_role_greeted
};


const char *
ngx_rtbus_redis_role(ngx_rtbus_redis_conn_t *rc, redisReply *reply)
{
    redisReply  *role;

    if (reply->type == REDIS_REPLY_ERROR) {
        return "ROLE was answered";
    }

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements == 0) {
        return "ROLE was not answered";
    }

    role = reply->element[0];

    if (role->type != REDIS_REPLY_STRING || role->len != 6
        || ngx_strncmp(role->str, "master", 6) != 0)
    {
        rc->replica = 1;
        return "it is not a master";
    }

    return NULL;
}


ngx_uint_t
ngx_rtbus_redis_role_mute(redisReply *reply)
{
    return reply->type == REDIS_REPLY_ERROR
           && (ngx_strncmp(reply->str, "NOPERM", 6) == 0
               || ngx_strncmp(reply->str, "ERR", 3) == 0);
}


static const char *
ngx_rtbus_redis_role_greeted(ngx_rtbus_redis_conn_t *rc, redisReply *reply)
{
    if (ngx_rtbus_redis_role_mute(reply)) {
        rc->mute = 1;
        return NULL;
    }

    return ngx_rtbus_redis_role(rc, reply);
}
