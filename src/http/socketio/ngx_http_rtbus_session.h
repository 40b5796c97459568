
/*
 * Sessions over long-polling: each has an id that names the worker that owns
 * it, and lives there between its requests.  Who may use it is decided here;
 * what its requests want is done by _eio_request, _remote and _upgrade, above.
 */


#ifndef _NGX_HTTP_RTBUS_SESSION_H_INCLUDED_
#define _NGX_HTTP_RTBUS_SESSION_H_INCLUDED_


#include "ngx_http_rtbus_eio.h"
#include "ngx_http_rtbus_poll.h"
#include "ngx_http_rtbus_quota.h"
#include "ngx_http_rtbus_relay.h"


/* the id: that of the owner's mailbox, and random characters */
#define NGX_HTTP_RTBUS_SESSION_ID                                             \
    (NGX_RTBUS_MAILBOX_ID_LEN + NGX_HTTP_RTBUS_SID_LEN)


typedef enum {
    NGX_HTTP_RTBUS_SESSION_POLLING = 0,
    NGX_HTTP_RTBUS_SESSION_PROBED,    /* a WebSocket is there: polls are not to
                                         wait */
    NGX_HTTP_RTBUS_SESSION_LEAVING,   /* ... at another worker, and the client
                                         polls no more */
    NGX_HTTP_RTBUS_SESSION_UPGRADED   /* it goes on over WebSocket */
} ngx_http_rtbus_session_state_e;


typedef struct ngx_http_rtbus_session_s  ngx_http_rtbus_session_t;
typedef struct ngx_http_rtbus_upgrade_s  ngx_http_rtbus_upgrade_t;


/* of a worker */

struct ngx_http_rtbus_sessions_s {
    ngx_rbtree_t                          tree;      /* all, by id */
    ngx_rbtree_node_t                     sentinel;
    ngx_uint_t                            n;
    ngx_queue_t                           fresh;     /* those that have never
                                                        polled, oldest first */
    ngx_queue_t                           idle;      /* ... those without a
                                                        namespace, and some
                                                        more */
    time_t                                crowded;   /* there were too many,
                                                        when */
    ngx_queue_t                           relayed;   /* polls of our clients
                                                        that other workers
                                                        answer */
    const ngx_http_rtbus_eio_handlers_t  *handlers;  /* the layer above */
};


struct ngx_http_rtbus_session_s {
    ngx_http_rtbus_poll_t         poll;      /* the first member */
    ngx_http_rtbus_eio_t         *eio;
    ngx_str_node_t                node;      /* sessions->tree */
    ngx_queue_t                   queue;     /* sessions->fresh or ->idle, or
                                                alone */
    ngx_queue_t                   own[NGX_HTTP_RTBUS_QUOTAS];
                                             /* quota->fresh, likewise */
    ngx_http_rtbus_quota_t       *quota[NGX_HTTP_RTBUS_QUOTAS];
    ngx_str_t                     user;      /* of all of its requests */
    ngx_str_t                     place;     /* location of all of them */
    ngx_str_t                     addr;      /* of the client, for the log */
    ngx_log_t                     log;
    const uint8_t                *grant;     /* of the post, the last taken */
    ngx_http_rtbus_relay_from_t   answered;  /* the last poll by relay */
    ngx_http_rtbus_relay_ask_t   *doubt;     /* has it arrived, or NULL */

    ngx_http_rtbus_upgrade_t     *upgrade;   /* the WebSocket that wants it, */
    ngx_http_rtbus_relay_from_t   upgrader;  /* ... or that of another worker */
    ngx_event_t                   noop;      /* timer: the poll is to end, or
                                                the session that has moved */
    ngx_msec_t                    upgrade_until;  /* that of another worker has
                                                so much time */
    void                        (*ends_handler)(ngx_http_rtbus_session_t *s);
                                             /* of upgrade, if it is set */

    u_char                        sid[NGX_HTTP_RTBUS_SESSION_ID];
    ngx_http_rtbus_session_state_e
                                  state;     /* by _state() only */
    unsigned                      used:1;    /* by a second request */
    unsigned                      sure:1;    /* the last poll by relay has been
                                                answered */
};


/* sessions of a worker: NGX_OK or NGX_ERROR; the end of those that are left */

ngx_int_t ngx_http_rtbus_session_init(ngx_http_rtbus_worker_t *worker,
    ngx_cycle_t *cycle);
void ngx_http_rtbus_session_close(ngx_http_rtbus_worker_t *worker);

/* answers a request that opens a session as its content handler */

ngx_int_t ngx_http_rtbus_session_create(ngx_http_request_t *r,
    const ngx_http_rtbus_eio_handlers_t *handlers);

/* does the id (of the right length) say that this worker has the session */

ngx_uint_t ngx_http_rtbus_session_ours(ngx_http_rtbus_worker_t *worker,
    ngx_str_t *sid);

/* NULL: there is no session of that id */

ngx_http_rtbus_session_t *ngx_http_rtbus_session_find(
    ngx_http_rtbus_worker_t *worker, ngx_str_t *sid);

/* may the request use our session of that id: _OK, and *s is set */

ngx_http_rtbus_eio_error_e ngx_http_rtbus_session_lookup(
    ngx_http_request_t *r, ngx_str_t *sid, ngx_http_rtbus_session_t **s);

/* adds id, user and location of the request: NGX_OK or NGX_ERROR */

ngx_int_t ngx_http_rtbus_session_describe(ngx_http_request_t *r,
    ngx_str_t *sid, ngx_http_rtbus_text_t *text);

/* may a request of that user, to that location, use it: _OK, or why not */

ngx_http_rtbus_eio_error_e ngx_http_rtbus_session_check(
    ngx_http_rtbus_session_t *s, ngx_str_t *user, ngx_str_t *place);

/* a poll has come: somebody takes what is sent to the session */

void ngx_http_rtbus_session_polled(ngx_http_rtbus_session_t *s);

void ngx_http_rtbus_session_state(ngx_http_rtbus_session_t *s,
    ngx_http_rtbus_session_state_e state);

/* a WebSocket wants to have it: this poll and later ones are to end soon */

void ngx_http_rtbus_session_probed(ngx_http_rtbus_session_t *s);

/* a poll waits: if a WebSocket wants to have the session, it is to end soon */

void ngx_http_rtbus_session_hurry(ngx_http_rtbus_session_t *s);

/* if the WebSocket of another worker has not finished in time, it has left */

void ngx_http_rtbus_session_expire(ngx_http_rtbus_session_t *s);

/* the session has a connection of its own, or has moved: it counts no more */

void ngx_http_rtbus_session_left(ngx_http_rtbus_session_t *s);


#endif /* _NGX_HTTP_RTBUS_SESSION_H_INCLUDED_ */
