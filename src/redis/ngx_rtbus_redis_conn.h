
/*
 * One connection to Redis, owned by nginx's event loop; hiredis only parses
 * replies (RESP2).
 *
 * The connection is made, and after any failure made anew, in the background:
 * all addresses in turn, then again after a delay that doubles from 100 ms to
 * 5 s, less up to half of it by chance.  The addresses are looked up before
 * each round (ngx_rtbus_redis_resolve).  The delay starts over only after the
 * connection has been up for 5 s, so that one that is lost at once each time
 * does not spin.
 *
 * The connection is "up" once TCP or the unix socket is connected and AUTH,
 * SELECT, PING and the owner's check have succeeded, all within
 * connect_timeout.  While it is down nothing is queued.  Commands without a
 * reply are lost with the connection; its users (ngx_rtbus_redis_sub,
 * ngx_rtbus_redis_cmd) handle that.
 *
 * Failures are logged at ERR once per outage, recovery at NOTICE; that one of
 * several addresses does not answer is INFO, until all of them have failed.
 *
 * From init to close a connection has a place in the worker, up or not
 * (ngx_rtbus_redis_place).
 *
 * No timer here keeps a leaving worker alive.
 */


#ifndef _NGX_RTBUS_REDIS_CONN_H_INCLUDED_
#define _NGX_RTBUS_REDIS_CONN_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_event_connect.h>
#include <hiredis/hiredis.h>
#include "ngx_rtbus_redis_url.h"
#include "ngx_rtbus_redis_resolve.h"
#include "ngx_rtbus_redis_place.h"


typedef struct ngx_rtbus_redis_conn_s  ngx_rtbus_redis_conn_t;


/* the life of a connection; ngx_rtbus_redis_conn_set_state() alone sets it */

typedef enum {
    NGX_RTBUS_REDIS_CONN_CLOSED = 0,
    NGX_RTBUS_REDIS_CONN_WAITING,           /* for the next attempt */
    NGX_RTBUS_REDIS_CONN_LOCATING,          /* the locate handler is asked */
    NGX_RTBUS_REDIS_CONN_RESOLVING,         /* its name is */
    NGX_RTBUS_REDIS_CONN_CONNECTING,
    NGX_RTBUS_REDIS_CONN_SECURING,          /* TLS handshake */
    NGX_RTBUS_REDIS_CONN_GREETING,          /* AUTH to check, see above */
    NGX_RTBUS_REDIS_CONN_UP
} ngx_rtbus_redis_conn_state_e;


/*
 * Where is Redis now?  Asked before each round of attempts; to be answered by
 * ngx_rtbus_redis_conn_located(), at once or later.  An answer that comes when
 * rc was closed meanwhile is ignored.
 */
typedef void (*ngx_rtbus_redis_locate_pt)(ngx_rtbus_redis_conn_t *rc);

/*
 * A command that ends the greeting, for the owner to see whether this is the
 * server that it wants.  The handler answers NULL, or why it is not, a static
 * text: then the connection fails.
 */
typedef const char *(*ngx_rtbus_redis_check_pt)(ngx_rtbus_redis_conn_t *rc,
    redisReply *reply);

typedef struct {
    int                             argc;
    const char                     *argv[3];
    size_t                          len[3];
    ngx_rtbus_redis_check_pt        handler;
} ngx_rtbus_redis_check_t;

/* the connection is up; the handler may queue commands */
typedef void (*ngx_rtbus_redis_up_pt)(ngx_rtbus_redis_conn_t *rc);

/* a reply, in the order of the commands; freed when the handler returns */
typedef void (*ngx_rtbus_redis_reply_pt)(ngx_rtbus_redis_conn_t *rc,
    redisReply *reply);

/*
 * Bytes from Redis, beginning with a reply.  If the handler knows the reply and
 * it is complete, the handler processes it and returns its size; otherwise it
 * returns 0, and hiredis parses the reply for the reply handler.  This saves an
 * object for each string of frequent replies.
 */
typedef size_t (*ngx_rtbus_redis_raw_pt)(ngx_rtbus_redis_conn_t *rc,
    u_char *buf, size_t len);

/*
 * A connection that was up is lost, reason is a static text.  Not called for
 * attempts that failed.  A new attempt is on its way unless rc was closed.
 */
typedef void (*ngx_rtbus_redis_down_pt)(ngx_rtbus_redis_conn_t *rc,
    const char *reason);

/*
 * The worker is full: there is no place for the connection, and it is tried
 * again after the delay.
 */
typedef void (*ngx_rtbus_redis_full_pt)(ngx_rtbus_redis_conn_t *rc);

/* the first attempt of all has failed, whatever the address */
typedef void (*ngx_rtbus_redis_failed_pt)(ngx_rtbus_redis_conn_t *rc);

/*
 * A silence that is waited for: embedded in whoever waits, zeroed memory.  What
 * counts is the time in which this worker has listened, in some steps: one that
 * was busy for a while has not heard what lies in the socket by now.
 */

typedef struct {
    ngx_msec_t                      from;       /* its beginning */
    ngx_msec_t                      looked;     /* the last look at it */
    ngx_msec_t                      listened;   /* ms so far */
    unsigned                        doubted:1;  /* what has arrived by now is
                                                   being read */
} ngx_rtbus_redis_silence_t;

/* ms between two looks */
#define ngx_rtbus_redis_conn_step(timeout)  ngx_max((timeout) / 4, 1)

/*
 * This worker leaves; called once, at the moment nginx asks idle connections to
 * close, or with the next attempt to connect when there was no connection then.
 * The connection stays, and is still made anew if lost, until rc is closed; it
 * closes by itself when worker_shutdown_timeout is over.
 */
typedef void (*ngx_rtbus_redis_exiting_pt)(ngx_rtbus_redis_conn_t *rc);


struct ngx_rtbus_redis_conn_s {
    /* set by the owner before init; all handlers but locate, raw, failed, full
       and exiting required */

    ngx_rtbus_redis_conf_t         *conf;
    const char                     *role;       /* "pub/sub" or "command" */
    ngx_rtbus_redis_locate_pt       locate_handler;  /* NULL: conf->nodes */
    ngx_rtbus_redis_check_t        *check;      /* or NULL */
    void                           *locator;    /* of locate and check */
    ngx_rtbus_redis_up_pt           up_handler;
    ngx_rtbus_redis_raw_pt          raw_handler;
    ngx_rtbus_redis_reply_pt        reply_handler;
    ngx_rtbus_redis_down_pt         down_handler;
    ngx_rtbus_redis_failed_pt       failed_handler;
    ngx_rtbus_redis_full_pt         full_handler;
    ngx_rtbus_redis_exiting_pt      exiting_handler;
    void                           *data;

    ngx_uint_t                      places;     /* that locate_handler names in
                                                   turn: Redis is away when
                                                   none of them is there */
    ngx_msec_t                      rest;       /* ms without reading after a
                                                   read, or 0 */

    /* may be read by the owner */

    ngx_rtbus_redis_conn_state_e    state;
    unsigned                        up:1;       /* state is ..._UP */
    unsigned                        failing:1;  /* Redis is away, which is
                                                   logged */
    unsigned                        closed:1;   /* for good */
    unsigned                        replica:1;  /* it is no master, though one
                                                   was wanted */
    unsigned                        mute:1;     /* it does not tell its role */

    /* private */

    unsigned                        reading:1;  /* in the loop of replies */
    unsigned                        partial:1;  /* the reader has a part of a
                                                   reply */
    unsigned                        exiting:1;  /* the owner was told */
    unsigned                        reserved:1; /* the place stays when it is
                                                   closed */
    ngx_rtbus_redis_reply_pt        greeted;    /* a reply, before it is up */
    ngx_log_t                       log;
    ngx_connection_t               *place;      /* NULL: the connection has it,
                                                   or there is none */
    ngx_peer_connection_t           peer;
    ngx_rtbus_redis_resolve_t       resolve;
    ngx_rtbus_redis_node_t         *node;       /* where it is, of resolve; or
                                                   NULL */
    ngx_uint_t                      addr;       /* of it, the one to try next */
    ngx_uint_t                      tries;      /* addresses tried in a row */
    ngx_uint_t                      rounds;     /* places tried in a row */
    ngx_uint_t                      level;      /* of the log, lowered while
                                                   an attempt is no news */
    ngx_uint_t                      greeting;   /* replies to AUTH, SELECT,
                                                   PING, SETNAME and the check
                                                   to come */
    redisReader                    *reader;
    ngx_str_t                       held;       /* malloc'ed, read, and for the
                                                   next turn of the loop */
    ngx_buf_t                       out;        /* malloc'ed, bytes to send */
    const char                     *broken;     /* why to fail when flushed */
    ngx_msec_t                      heard;      /* when Redis has sent bytes, or
                                                   made room for more */
    time_t                          refused;    /* a command was, when */
    ngx_msec_t                      since;      /* when it came up */
    ngx_msec_t                      delay;      /* of the last attempt */
    ngx_event_t                     reconnect;  /* cancelable timer */
    ngx_event_t                     flush;      /* posted, end of loop turn */
    ngx_event_t                     rested;     /* cancelable timer */
};


/*
 * Starts the first attempt; log is the worker's (cycle->log), it outlives rc.
 * No handler is called from within.  NGX_OK, or NGX_ERROR: no memory.
 */

ngx_int_t ngx_rtbus_redis_conn_init(ngx_rtbus_redis_conn_t *rc, ngx_log_t *log);

/*
 * Counts the deliveries to clients that a reply has caused.  If there are too
 * many, the rest of the read waits for the next turn of the event loop, and
 * what is unread waits in the socket.  Returns 1 if this call exceeds the limit
 * in a turn that has begun with such a rest.
 */

ngx_uint_t ngx_rtbus_redis_conn_spend(ngx_uint_t deliveries);

/*
 * A place is kept also before init and after close, until it is given up; rc is
 * zeroed memory at first, the log is the worker's.
 */

void ngx_rtbus_redis_conn_keep_place(ngx_rtbus_redis_conn_t *rc,
    ngx_log_t *log);
void ngx_rtbus_redis_conn_drop_place(ngx_rtbus_redis_conn_t *rc);

/*
 * Answers the locate handler: node, of which name, host and port are needed,
 * and which stays valid until the next answer or until rc is closed; or NULL,
 * with the reason for the log (static text): then it is asked again after the
 * delay.
 */

void ngx_rtbus_redis_conn_located(ngx_rtbus_redis_conn_t *rc,
    ngx_rtbus_redis_node_t *node, const char *reason);

/*
 * Queues one command of argc strings; it leaves at the end of the loop turn
 * together with all others of the turn.  NGX_OK; NGX_DECLINED: the connection
 * is down; NGX_ERROR: no memory, or too many bytes are unsent; this one is not
 * sent, and all others are.
 */

ngx_int_t ngx_rtbus_redis_conn_send(ngx_rtbus_redis_conn_t *rc, int argc,
    const char **argv, const size_t *argvlen);

/*
 * The owner has found the connection dead (a reply is late): closes it, calls
 * the down handler, connects again.  Safe within any handler of rc.
 */

void ngx_rtbus_redis_conn_fail(ngx_rtbus_redis_conn_t *rc, const char *reason);

/*
 * Has Redis been silent for that long, since that time or since its last byte,
 * and is there nothing more to read?  NGX_OK: it has; NGX_AGAIN: not yet, to be
 * asked again in *left ms.
 */

ngx_int_t ngx_rtbus_redis_conn_silent(ngx_rtbus_redis_conn_t *rc,
    ngx_rtbus_redis_silence_t *silence, ngx_msec_t since, ngx_msec_t timeout,
    ngx_msec_t *left);

/* the same as _fail(), at the end of the loop turn */

void ngx_rtbus_redis_conn_break(ngx_rtbus_redis_conn_t *rc,
    const char *reason);

/*
 * The owner knows that Redis is elsewhere now: as above, and one that waits for
 * its next attempt waits no longer.
 */

void ngx_rtbus_redis_conn_relocate(ngx_rtbus_redis_conn_t *rc,
    const char *reason);

/*
 * Closes for good: no handler is called any more, all memory is given back.
 * Safe within any handler, too, provided rc itself stays until it returns.
 */

void ngx_rtbus_redis_conn_close(ngx_rtbus_redis_conn_t *rc);

/*
 * Whether the hiredis that nginx has given us is the one of our header: that of
 * another module may have come first.  NGX_DECLINED: it is not.
 */

ngx_int_t ngx_rtbus_redis_conn_hiredis(void);


/* for ngx_rtbus_redis_connect, _read and _out: */

/*
 * The end of every connection and attempt, but for a close by the owner.
 * text is what Redis or hiredis has to say about the reason, or NULL.
 */

void ngx_rtbus_redis_conn_lost(ngx_rtbus_redis_conn_t *rc, ngx_err_t err,
    const char *reason, ngx_str_t *text);

void ngx_rtbus_redis_conn_set_state(ngx_rtbus_redis_conn_t *rc,
    ngx_rtbus_redis_conn_state_e state);

/* the worker leaves: the owner is told, once */

void ngx_rtbus_redis_conn_leave(ngx_rtbus_redis_conn_t *rc);

/* has connect() come to a good end; NGX_ERROR: the connection is gone */

ngx_int_t ngx_rtbus_redis_conn_test(ngx_rtbus_redis_conn_t *rc);

/* names the connection in the log */

u_char *ngx_rtbus_redis_conn_log_error(ngx_log_t *log, u_char *buf,
    size_t len);


#endif /* _NGX_RTBUS_REDIS_CONN_H_INCLUDED_ */
