
/*
 * The command connection: pipelined calls, each with a handler of its reply.
 *
 * A call fails if the connection is lost, or if Redis is silent for
 * command_timeout while the reply is due.  Then the whole connection fails,
 * since replies come in order.  As long as bytes arrive, the call keeps
 * waiting.  A call keeps a leaving worker alive, since a client may wait for
 * the reply.
 *
 * A failed command may or may not have been executed: the caller must know
 * whether it is safe to repeat.
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
 * The connection has come up, is lost or, the first time, cannot be made: see
 * conn.up and conn.failing.
 */
typedef void (*ngx_rtbus_redis_cmd_changed_pt)(ngx_rtbus_redis_cmd_t *rm);

/* a write was refused: the server is not the master any more */
typedef void (*ngx_rtbus_redis_cmd_demoted_pt)(ngx_rtbus_redis_cmd_t *rm);

/*
 * An error reply to a kept call, or 0 if the call insists on a receiver.
 * NGX_OK: the handler owns the call from now on; NGX_DECLINED: the caller gets
 * the reply; NGX_ABORT: the call has failed.
 */
typedef ngx_int_t (*ngx_rtbus_redis_cmd_error_pt)(ngx_rtbus_redis_cmd_t *rm,
    ngx_rtbus_redis_call_t *call, redisReply *reply);


/* a copy of a command that may have to be sent to another server */

typedef struct {
    int                             argc;
    const char                    **argv;
    size_t                         *argvlen;
    ngx_uint_t                      slot;
    ngx_uint_t                      tries;
    ngx_msec_t                      due;        /* when to send it */
    ngx_msec_t                      until;      /* then it has failed */
    void                           *to;         /* the server, or NULL: who has
                                                   the slot */
    ngx_msec_t                      insist;     /* until then 0 is an error */
    unsigned                        asking:1;
    unsigned                        insisting:1;
} ngx_rtbus_redis_kept_t;


struct ngx_rtbus_redis_call_s {
    ngx_rtbus_redis_call_pt         handler;    /* NULL: cancelled */
    void                           *data;
    ngx_msec_t                      start;
    ngx_rtbus_redis_call_t         *next;
    ngx_rtbus_redis_kept_t         *kept;       /* malloc'ed, or NULL */
};


struct ngx_rtbus_redis_cmd_s {
    /* set by the owner before init */

    ngx_rtbus_redis_cmd_changed_pt  changed_handler;  /* may be NULL */
    ngx_rtbus_redis_cmd_error_pt    error_handler;    /* may be NULL */
    ngx_rtbus_redis_cmd_demoted_pt  demoted_handler;  /* NULL: this connection
                                                         is made anew */
    ngx_rtbus_redis_exiting_pt      exiting_handler;  /* may be NULL */
    void                           *data;

    /* may be read by the owner: conn.up, reconnects, first */

    ngx_rtbus_redis_conn_t          conn;
    ngx_uint_t                      reconnects;

    /* private */

    ngx_rtbus_redis_call_t         *first;      /* waiting for a reply, FIFO */
    ngx_rtbus_redis_call_t        **last;
    ngx_rtbus_redis_call_t         *free;
    ngx_uint_t                      nfree;
    ngx_event_t                     timeout;    /* of the first call */
    ngx_rtbus_redis_silence_t       silence;    /* likewise */
    unsigned                        started:1;  /* has been up */
};


ngx_int_t ngx_rtbus_redis_cmd_init(ngx_rtbus_redis_cmd_t *rm,
    ngx_rtbus_redis_conf_t *conf, ngx_log_t *log);

/*
 * Queues one command.  Returns the call, which must be cancelled if its data
 * dies before the reply arrives; NULL: the connection is down or there is no
 * memory, and the handler will not be called.
 */

ngx_rtbus_redis_call_t *ngx_rtbus_redis_cmd_call(ngx_rtbus_redis_cmd_t *rm,
    int argc, const char **argv, const size_t *argvlen,
    ngx_rtbus_redis_call_pt handler, void *data);

/*
 * The handler will not be called; the command itself may still be executed.
 * Only for a call whose handler has not returned yet.
 */

void ngx_rtbus_redis_cmd_cancel(ngx_rtbus_redis_call_t *call);

/*
 * A call that keeps its command, and is not sent yet; NULL: no memory.  It ends
 * in _send() or _fail().
 */

ngx_rtbus_redis_call_t *ngx_rtbus_redis_call_keep(int argc, const char **argv,
    const size_t *argvlen, ngx_rtbus_redis_call_pt handler, void *data,
    ngx_log_t *log);

/* NGX_OK, or NGX_DECLINED: it is not sent, and still the caller's */

ngx_int_t ngx_rtbus_redis_call_send(ngx_rtbus_redis_cmd_t *rm,
    ngx_rtbus_redis_call_t *call);

/* the handler is called with NULL; without one the call is just freed */

void ngx_rtbus_redis_call_fail(ngx_rtbus_redis_call_t *call);

/* closes for good; waiting calls get their handler called with NULL */

void ngx_rtbus_redis_cmd_close(ngx_rtbus_redis_cmd_t *rm);


#endif /* _NGX_RTBUS_REDIS_CMD_H_INCLUDED_ */
