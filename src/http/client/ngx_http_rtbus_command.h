
/*
 * Commands: what clients send to producers, by way of a stream in Redis.  One
 * command from its check to its answer, and the producers' answers, which come
 * to the worker's mailbox.
 *
 * The same for all who ask: a client on a socket, a request of rtbus_submit.
 */


#ifndef _NGX_HTTP_RTBUS_COMMAND_H_INCLUDED_
#define _NGX_HTTP_RTBUS_COMMAND_H_INCLUDED_


#include "ngx_http_rtbus_outcome.h"
#include "ngx_http_rtbus_parcel.h"


typedef struct ngx_http_rtbus_command_s  ngx_http_rtbus_command_t;

/*
 * Called once, never from within ngx_http_rtbus_command_run(); the command is
 * no more when this returns, and all of the outcome neither.
 */
typedef void (*ngx_http_rtbus_command_pt)(void *data,
    ngx_http_rtbus_command_t *cmd, ngx_http_rtbus_outcome_t *outcome);


struct ngx_http_rtbus_command_s {
    /* for who asks */

    ngx_queue_t                       queue;
    uint64_t                          ack;

    /* private */

    ngx_http_rtbus_worker_t          *worker;
    const ngx_http_rtbus_command_rule_t  *rule;
    ngx_http_rtbus_command_pt         handler;   /* NULL: nobody waits */
    void                             *data;

    ngx_rtbus_owner_t                *owner;     /* the question under way */
    ngx_rtbus_redis_call_t           *call;      /* likewise */
    ngx_http_rtbus_parcel_t          *parcel;    /* what will be sent */

    ngx_rbtree_node_t                 node;      /* key: number of the ack */
    ngx_str_node_t                    same;      /* key: hash of the string,
                                                    stream and dedupe id */
    ngx_event_t                       timer;     /* of the answer */

    unsigned                          wants:1;   /* the producer's answer */
    unsigned                          waiting:1; /* has node and timer */
    unsigned                          known:1;   /* has same */
    unsigned                          orphan:1;  /* in commands.orphans */

    u_char                            text[1];   /* of same */
};


/* the hub and its mailbox are there; NGX_OK or NGX_ERROR */

ngx_int_t ngx_http_rtbus_command_init(ngx_http_rtbus_worker_t *worker,
    ngx_cycle_t *cycle);

/* at the worker's exit, after the links to Redis: frees what is left */

void ngx_http_rtbus_command_close(ngx_http_rtbus_worker_t *worker);

/*
 * Runs an event of a client as a command.  answer: the client wants to know
 * what the producer says, where the rule has it.
 *
 * Answers the command, and the handler will be called; NULL: the command is
 * refused.  Then error and text of *refused, which is zeroed memory, say why;
 * error 0: no memory.  The text lasts until the next command.
 */

ngx_http_rtbus_command_t *ngx_http_rtbus_command_run(
    ngx_http_rtbus_asker_t *asker, ngx_http_rtbus_input_t *in,
    ngx_uint_t answer, ngx_http_rtbus_command_pt handler, void *data,
    ngx_http_rtbus_outcome_t *refused);

/*
 * The worker is about to leave, and waits for no producer any more: neither for
 * answers that are awaited now nor for those of later commands.
 */

void ngx_http_rtbus_commands_late(ngx_http_rtbus_worker_t *worker);

/*
 * Who asked is gone, and the handler will not be called.  The command itself
 * goes its way.
 */

void ngx_http_rtbus_command_leave(ngx_http_rtbus_command_t *cmd);

/* sends an event of the module, if a rule names it; data is JSON */

void ngx_http_rtbus_command_notify(ngx_http_rtbus_asker_t *asker,
    const char *name, ngx_str_t *data);


#endif /* _NGX_HTTP_RTBUS_COMMAND_H_INCLUDED_ */
