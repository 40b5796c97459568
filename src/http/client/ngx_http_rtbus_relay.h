
/*
 * Questions from worker to worker, on this node or another one, through their
 * mailboxes (see ngx_rtbus_mailbox.h).  A question waits for its answer for a
 * limited time, and no longer than the other worker lives.
 *
 *   {"poll":"<kind>",...,"from":"<mailbox id>","ref":<number>}
 *   {"poll":"answer","ref":<number>,...}
 *
 * and, as long as there are such questions, whether the other one is there, and
 * how often something may have been lost on its side:
 *
 *   {"poll":"check","from":"<mailbox id>","ref":0}
 *   {"poll":"alive","from":"<mailbox id>","ref":<number>}
 *
 * Members that the mailbox knows by itself, such as "ack" or "sid", must not be
 * used.
 */


#ifndef _NGX_HTTP_RTBUS_RELAY_H_INCLUDED_
#define _NGX_HTTP_RTBUS_RELAY_H_INCLUDED_


#include "ngx_http_rtbus_text.h"


typedef struct ngx_http_rtbus_relay_ask_s   ngx_http_rtbus_relay_ask_t;
typedef struct ngx_http_rtbus_relay_peer_s  ngx_http_rtbus_relay_peer_t;


/*
 * The answer, a checked JSON object, with NGX_OK; otherwise NGX_DECLINED: there
 * is no such worker (any more); NGX_ERROR: it could not be asked, or has not
 * answered in time.  Never called from within the function that asks.
 */
typedef void (*ngx_http_rtbus_relay_pt)(void *data, ngx_int_t rc,
    rtbus_str_t *answer);

/* who asks; for a message that wants no answer ref is 0 */

typedef struct {
    u_char                        from[NGX_RTBUS_MAILBOX_ID_LEN];
    uint64_t                      ref;
} ngx_http_rtbus_relay_from_t;


/* a question has come: its kind, and the message, a checked JSON object */

typedef void (*ngx_http_rtbus_relay_asked_pt)(ngx_http_rtbus_worker_t *worker,
    ngx_str_t *kind, rtbus_str_t *message, ngx_http_rtbus_relay_from_t *from);


struct ngx_http_rtbus_relay_s {
    ngx_rtbus_mailbox_t            *mailbox;
    ngx_http_rtbus_worker_t        *worker;
    ngx_http_rtbus_relay_asked_pt   asked_handler;
    void                          (*lost_handler)(
                                        ngx_http_rtbus_worker_t *worker);
    void                          (*doubt_handler)(
                                        ngx_http_rtbus_worker_t *worker);
    ngx_log_t                      *log;

    ngx_queue_t                     peers;     /* those that are asked */
    ngx_rbtree_t                    asks;      /* by their numbers */
    ngx_rbtree_node_t               sentinel;
    ngx_uint_t                      nasks;
    uint64_t                        ref;       /* of the last one */
    ngx_uint_t                      losses;    /* the mailbox's, as last seen */
    ngx_uint_t                      stale;     /* unsigned  stale:1; some are */
    ngx_uint_t                      failures;  /* to tell another worker */
    ngx_event_t                     check;     /* timer: are they alive */
    time_t                          complained;
};


/* questions are sent and answered from now on; NGX_OK or NGX_ERROR */

ngx_int_t ngx_http_rtbus_relay_init(ngx_http_rtbus_worker_t *worker,
    ngx_http_rtbus_relay_asked_pt handler, ngx_cycle_t *cycle);

/* begins a message; members are added, each with its comma before it */

void ngx_http_rtbus_relay_begin(ngx_http_rtbus_relay_t *relay,
    ngx_http_rtbus_text_t *text, const char *kind);

/* adds whom a message is from, and which question it is about */

void ngx_http_rtbus_relay_refer(ngx_http_rtbus_relay_t *relay,
    ngx_http_rtbus_text_t *text, uint64_t ref);

/*
 * Sends the message, which is freed in any case, to the mailbox of that id, and
 * waits ms for the answer.  NULL: there are too many questions, Redis is away,
 * no memory.
 */

ngx_http_rtbus_relay_ask_t *ngx_http_rtbus_relay_ask(
    ngx_http_rtbus_relay_t *relay, ngx_str_t *id, ngx_http_rtbus_text_t *text,
    ngx_msec_t ms, ngx_http_rtbus_relay_pt handler, void *data);

/* the number of a question, by which it can be told from others */

uint64_t ngx_http_rtbus_relay_ref(ngx_http_rtbus_relay_ask_t *ask);

/* the mailbox has been out of reach since it was asked */

ngx_uint_t ngx_http_rtbus_relay_stale(ngx_http_rtbus_relay_ask_t *ask);

/*
 * The other worker may not have got it, or its answer got lost there; asked for
 * once each time
 */

ngx_uint_t ngx_http_rtbus_relay_doubtful(ngx_http_rtbus_relay_ask_t *ask);

/* 0: nobody waits for the answer to the question of that number (any more) */

ngx_uint_t ngx_http_rtbus_relay_waits(ngx_http_rtbus_relay_t *relay,
    uint64_t ref);

/* the answer is waited for so many ms from now on, and no longer */

void ngx_http_rtbus_relay_hurry(ngx_http_rtbus_relay_ask_t *ask,
    ngx_msec_t ms);

/* the answer is not wanted any more */

void ngx_http_rtbus_relay_cancel(ngx_http_rtbus_relay_ask_t *ask);

/*
 * Sends a message that has no answer, or is one (to, whose ref is not 0); it is
 * freed in any case.  handler: NULL, or called with what Redis says, the number
 * of receivers.  NGX_OK or NGX_ERROR: the handler will not be called.
 */

ngx_int_t ngx_http_rtbus_relay_tell(ngx_http_rtbus_relay_t *relay,
    ngx_str_t *id, ngx_http_rtbus_text_t *text,
    ngx_rtbus_redis_call_pt handler, void *data);
ngx_int_t ngx_http_rtbus_relay_answer(ngx_http_rtbus_relay_t *relay,
    ngx_http_rtbus_relay_from_t *to, ngx_http_rtbus_text_t *text,
    ngx_rtbus_redis_call_pt handler, void *data);

/* answers a question, if it wants an answer, with the number of an error */

void ngx_http_rtbus_relay_refuse(ngx_http_rtbus_relay_t *relay,
    ngx_http_rtbus_relay_from_t *to, ngx_uint_t error);

/* are both the same question of the same worker */

ngx_uint_t ngx_http_rtbus_relay_same(ngx_http_rtbus_relay_from_t *one,
    ngx_http_rtbus_relay_from_t *other);

ngx_uint_t ngx_http_rtbus_relay_is(ngx_str_t *kind, const char *name);


#endif /* _NGX_HTTP_RTBUS_RELAY_H_INCLUDED_ */
