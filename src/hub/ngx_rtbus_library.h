
/*
 * The function library in Redis (conf/rtbus.lua, a part of the module).  After
 * each connect the version in the server is checked; if the library is missing
 * or older, it is loaded.
 */


#ifndef _NGX_RTBUS_LIBRARY_H_INCLUDED_
#define _NGX_RTBUS_LIBRARY_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_rtbus_redis_cmd.h"


/* of all servers */

typedef struct {
    /* set by the owner before init */

    ngx_uint_t                load;         /* allowed to; where it is not, a
                                               library that is missing is
                                               logged */
    ngx_log_t                *log;

    /* private */

    ngx_queue_t               servers;      /* ngx_rtbus_library_t */
    time_t                    checked;      /* after a loss, when */
} ngx_rtbus_libraries_t;


/* of one of them */

typedef struct {
    /* private */

    ngx_queue_t               queue;        /* all->servers */
    ngx_rtbus_libraries_t    *all;
    ngx_rtbus_redis_cmd_t    *cmd;
    unsigned                  asked:1;      /* loaded, and checked once more */
    unsigned                  complained:1; /* once per outage */
    unsigned                  seen:1;       /* it was there once */
    unsigned                  lost:1;       /* ... and is not now; may be read
                                               by the owner */
} ngx_rtbus_library_t;


void ngx_rtbus_libraries_init(ngx_rtbus_libraries_t *all);

/* library is zeroed memory */

void ngx_rtbus_library_init(ngx_rtbus_library_t *library,
    ngx_rtbus_libraries_t *all, ngx_rtbus_redis_cmd_t *cmd);

/* the server is not used any more, its commands are closed */

void ngx_rtbus_library_close(ngx_rtbus_library_t *library);

/*
 * To be called when the connection has come up, before any call that needs the
 * library is made: calls are carried out in order.
 */

void ngx_rtbus_library_check(ngx_rtbus_library_t *library);

/* checks that the library is still there; to be called periodically */

void ngx_rtbus_library_look(ngx_rtbus_library_t *library);

/*
 * A server has answered that it does not have a function: at most once a
 * second, the library is checked in all servers, and loaded if that is allowed.
 */

void ngx_rtbus_library_lost(ngx_rtbus_libraries_t *all);

/* is it Redis's answer to a call of a function that it does not have */

ngx_uint_t ngx_rtbus_library_missing(redisReply *reply);


#endif /* _NGX_RTBUS_LIBRARY_H_INCLUDED_ */
