
/*
 * The function library in Redis (conf/rtbus.lua, a part of the module): what
 * the server has is looked at after each connect, and what it lacks or has in
 * an older version is loaded.
 */


#ifndef _NGX_RTBUS_LIBRARY_H_INCLUDED_
#define _NGX_RTBUS_LIBRARY_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_rtbus_redis_cmd.h"


typedef struct {
    /* private */

    ngx_rtbus_redis_cmd_t    *cmd;
    ngx_log_t                *log;
    unsigned                  load:1;       /* allowed to */
    unsigned                  asked:1;      /* loaded already, now it counts */
    unsigned                  complained:1; /* once per outage */
    unsigned                  seen:1;       /* it was there once */
    unsigned                  lost:1;       /* ... and is not now; may be read
                                               by the owner */
} ngx_rtbus_library_t;


/*
 * To be called when the connection has come up, before any call that needs the
 * library is made: calls are carried out in order.  load: whether it may be
 * loaded; where it may not, a library that is missing is logged.
 */

void ngx_rtbus_library_check(ngx_rtbus_library_t *library,
    ngx_rtbus_redis_cmd_t *cmd, ngx_uint_t load, ngx_log_t *log);

/* whether what was there is there yet, to be called now and then */

void ngx_rtbus_library_look(ngx_rtbus_library_t *library);

/* is it Redis's answer to a call of a function that it does not have */

ngx_uint_t ngx_rtbus_library_missing(redisReply *reply);


#endif /* _NGX_RTBUS_LIBRARY_H_INCLUDED_ */
