
/*
 * Commands: what clients send to producers, by way of a stream in Redis.  The
 * rules of rtbus_command, one command from its check to its answer, and the
 * producers' answers, which come to the worker's mailbox.
 *
 * The same for all who ask: a client on a socket, a request of rtbus_submit.
 */


#ifndef _NGX_HTTP_RTBUS_COMMAND_H_INCLUDED_
#define _NGX_HTTP_RTBUS_COMMAND_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


/* bytes of the name of a stream, without the prefix */
#define NGX_HTTP_RTBUS_STREAM_MAX  200


/* one rtbus_command */

typedef struct {
    ngx_str_t                         name;
    ngx_str_t                         stream;    /* without the prefix */
    ngx_str_t                         job;       /* member, zero-terminated;
                                                    len 0: there is none */
    ngx_msec_t                        reply;     /* 0: is not waited for */
    ngx_uint_t                        maxlen;    /* of the stream; 0: as the
                                                    function has it */
    unsigned                          prefix:1;  /* "*" at the end, cut off */
    unsigned                          owner:1;
    unsigned                          claim:1;
} ngx_http_rtbus_command_rule_t;


/* who asks; none of it has to stay */

typedef struct {
    ngx_http_rtbus_worker_t          *worker;
    ngx_array_t                      *rules;     /* of the location, or NULL */
    ngx_str_t                         user;      /* empty: nobody */
    ngx_str_t                         sid;       /* empty: cannot be addressed */
    ngx_str_t                         nsp;
    ngx_log_t                        *log;
} ngx_http_rtbus_asker_t;


/* an event of a client: checked JSON, but for the name */

typedef struct {
    ngx_str_t                         name;
    ngx_str_t                         data;      /* the first argument; empty:
                                                    there is none */
    ngx_str_t                         args;      /* all of them, with commas
                                                    and without brackets */
    ngx_str_t                         attachments;  /* an array of strings in
                                                    base64; empty: none */
} ngx_http_rtbus_input_t;


/* what has become of a command */

typedef struct {
    ngx_uint_t                        error;     /* see ngx_rtbus_reason.h; 0:
                                                    see below */
    const char                       *text;      /* more than the text of error
                                                    says, or NULL */
    ngx_str_t                         id;        /* Redis has it; empty: the
                                                    producer has answered */
    ngx_uint_t                        duplicate; /* ... has had it before, and
                                                    no answer will come */
    ngx_uint_t                        seen;      /* ... has had it before */
    rtbus_json_value_t                data;      /* of the producer */
    rtbus_str_t                       attachments;  /* as above */
} ngx_http_rtbus_outcome_t;


/* what an outcome with an error says to the client */

#define ngx_http_rtbus_outcome_text(outcome)                                  \
    ((outcome)->text ? (outcome)->text                                        \
                     : ngx_rtbus_reason_text((outcome)->error))


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
    struct ngx_http_rtbus_parcel_s   *parcel;    /* what will be sent */

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


/* rtbus_command <pattern> [stream=] [maxlen=] [job=] [owner|claim] [reply=] */

char *ngx_http_rtbus_command(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

/* the hub and its mailbox are there */

void ngx_http_rtbus_command_init(ngx_http_rtbus_worker_t *worker);

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

/* is there a rule for an event of the module ("@connect") */

ngx_uint_t ngx_http_rtbus_command_wanted(ngx_array_t *rules, const char *name);

/* sends an event of the module, if a rule names it; data is JSON */

void ngx_http_rtbus_command_notify(ngx_http_rtbus_asker_t *asker,
    const char *name, ngx_str_t *data);

/*
 * The JSON of an outcome that is none of the producer's:
 * {"ok":true,"id":"..."} or {"ok":false,"error":"..."}.  Writes at most
 * NGX_HTTP_RTBUS_OUTCOME_MAX bytes and answers their number.
 */

#define NGX_HTTP_RTBUS_OUTCOME_MAX  512

size_t ngx_http_rtbus_command_json(ngx_http_rtbus_outcome_t *outcome,
    u_char *dst);


#endif /* _NGX_HTTP_RTBUS_COMMAND_H_INCLUDED_ */
