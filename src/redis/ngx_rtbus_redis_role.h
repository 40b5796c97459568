
/*
 * Whether a server is a master: a question, and a check that ends the greeting
 * of a connection once there is doubt.
 *
 * Behind an address that stays, such as that of a proxy, the roles may have
 * been changed.  A replica refuses what is written, and one that has lost its
 * master has no events.
 */


#ifndef _NGX_RTBUS_REDIS_ROLE_H_INCLUDED_
#define _NGX_RTBUS_REDIS_ROLE_H_INCLUDED_


#include "ngx_rtbus_redis_conn.h"


/*
 * The answer to ROLE: NULL, or why it is not that of a master; rc->replica is
 * set then if it says so itself.
 */

const char *ngx_rtbus_redis_role(ngx_rtbus_redis_conn_t *rc,
    redisReply *reply);

/*
 * A user who may not ask, and a proxy that does not know of roles, are believed
 * to lead to a master; rc->mute is set then.
 */

extern ngx_rtbus_redis_check_t  ngx_rtbus_redis_role_check;

ngx_uint_t ngx_rtbus_redis_role_mute(redisReply *reply);


#endif /* _NGX_RTBUS_REDIS_ROLE_H_INCLUDED_ */
