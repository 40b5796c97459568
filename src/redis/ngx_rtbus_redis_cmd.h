
/*
 * The command connection: pipelined calls, each with a handler of its reply.
 *
 * A call fails when the connection is lost or when its reply is not there
 * within command_timeout; then the connection is given up as a whole, since
 * replies come in order.  Until then a call keeps a leaving worker alive, since
 * a client may wait for the answer.
 *
 * A failed command may or may not have been carried out: whoever repeats one
 * must know that it can be repeated.
 */


#ifndef _NGX_RTBUS_REDIS_CMD_H_INCLUDED_
#define _NGX_RTBUS_REDIS_CMD_H_INCLUDED_


#include "ngx_rtbus_redis_conn.h"


typedef struct ngx_rtbus_redis_cmd_s   ngx_rtbus_redis_cmd_t;
typedef struct ngx_rtbus_redis_call_s  ngx_rtbus_redis_call_t;


/*
 * reply is NULL when the call failed (never from within the call function);
 * otherwise it is valid during the handler only.  An error reply of Redis is a
 * reply of type REDIS_REPLY_ERROR.
 */
typedef void (*ngx_rtbus_redis_call_pt)(void *data, redisReply *reply);

/*
 * The connection has come up, is lost or, at first, cannot be made: conn.up and
 * conn.failing say which.
 */
typedef void (*ngx_rtbus_redis_cmd_changed_pt)(ngx_rtbus_redis_cmd_t *rm);


struct ngx_rtbus_redis_cmd_s {
    /* set by the owner before init */

    ngx_rtbus_redis_cmd_changed_pt  changed_handler;  /* may be NULL */
    ngx_rtbus_redis_exiting_pt      exiting_handler;  /* may be NULL */
    void                           *data;

    /* may be read by the owner: conn.up, reconnects */

    ngx_rtbus_redis_conn_t          conn;
    ngx_uint_t                      reconnects;

    /* private */

    ngx_rtbus_redis_call_t         *first;      /* waiting for a reply, FIFO */
    ngx_rtbus_redis_call_t        **last;
    ngx_rtbus_redis_call_t         *free;
    ngx_uint_t                      nfree;
    ngx_event_t                     timeout;    /* of the first call */
    unsigned                        started:1;  /* has been up */
};


ngx_int_t ngx_rtbus_redis_cmd_init(ngx_rtbus_redis_cmd_t *rm,
    ngx_rtbus_redis_conf_t *conf, ngx_log_t *log);

/*
 * Queues one command.  Answers the call, to be cancelled if its data dies
 * before the reply is there; NULL: the connection is down or there is no
 * memory, and the handler will not be called.
 */

ngx_rtbus_redis_call_t *ngx_rtbus_redis_cmd_call(ngx_rtbus_redis_cmd_t *rm,
    int argc, const char **argv, const size_t *argvlen,
    ngx_rtbus_redis_call_pt handler, void *data);

/*
 * The handler will not be called; the command itself may still be carried out.
 * Only for a call whose handler has not returned yet.
 */

void ngx_rtbus_redis_cmd_cancel(ngx_rtbus_redis_call_t *call);

/* closes for good; waiting calls get their handler called with NULL */

void ngx_rtbus_redis_cmd_close(ngx_rtbus_redis_cmd_t *rm);


#endif /* _NGX_RTBUS_REDIS_CMD_H_INCLUDED_ */
