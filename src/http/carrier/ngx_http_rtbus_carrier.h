
/*
 * A carrier brings frames to one connection, whatever its protocol: the queue
 * of shared frames, the limit on it, its end.
 *
 * A transport embeds the carrier and sets its functions.  The protocol, which
 * may have one client on it or several, sets the handlers.  Frames are queued
 * and the carrier is marked; at the end of the loop turn each marked carrier
 * is flushed once.  Closing goes the same way, so a carrier never ends in the
 * middle of a fan-out.
 */


#ifndef _NGX_HTTP_RTBUS_CARRIER_H_INCLUDED_
#define _NGX_HTTP_RTBUS_CARRIER_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


/* reasons for closing that count for themselves */

typedef enum {
    NGX_HTTP_RTBUS_CLOSE_PING = 0,
    NGX_HTTP_RTBUS_CLOSE_EXPIRED,
    NGX_HTTP_RTBUS_CLOSE_FULL,
    NGX_HTTP_RTBUS_CLOSE_NOMEM
} ngx_http_rtbus_close_e;


/*
 * What a frame that waits takes beside its bytes: its link, its head, and what
 * malloc() adds to both.  A frame that waits for several clients is counted as
 * a whole for each of them.
 */
#define NGX_HTTP_RTBUS_FRAME_COST  96

/* bytes that may wait for a client that has not asked for any yet */
#define NGX_HTTP_RTBUS_QUIET       32768


typedef struct ngx_http_rtbus_link_s  ngx_http_rtbus_link_t;

struct ngx_http_rtbus_link_s {
    ngx_http_rtbus_link_t             *next;      /* the first member */
    ngx_rtbus_frame_t                 *frame;
};


typedef struct {
    /*
     * Writes queued frames, as many as the connection takes; NGX_OK (also when
     * some are left), NGX_ERROR: the connection is gone.
     */
    ngx_int_t                        (*flush)(ngx_http_rtbus_carrier_t *car);

    /*
     * Says goodbye and ends the connection, at once or soon.  Called at most
     * once, from the end of a loop turn; code is a WebSocket close code, reason
     * a static text.
     */
    void                             (*close)(ngx_http_rtbus_carrier_t *car,
                                         ngx_uint_t code, const char *reason);

    /* goes on reading after a hold; NULL: no message ever comes */
    void                             (*resume)(ngx_http_rtbus_carrier_t *car);

    /* the protocol's timer in so many ms; NULL: it has none */
    void                             (*timer)(ngx_http_rtbus_carrier_t *car,
                                         ngx_msec_t ms);

    /*
     * Gives the request back, from the end of a loop turn; it may have to stay.
     * NULL: it stays.
     */
    void                             (*park)(ngx_http_rtbus_carrier_t *car);

    /* car->request is there again: NGX_OK, or NGX_ERROR: no memory */
    ngx_int_t                        (*unpark)(ngx_http_rtbus_carrier_t *car);
} ngx_http_rtbus_transport_t;


typedef enum {
    NGX_HTTP_RTBUS_CARRIER_OPEN = 0,
    NGX_HTTP_RTBUS_CARRIER_CLOSING,  /* takes no more frames */
    NGX_HTTP_RTBUS_CARRIER_CLOSED,   /* transport->close was called */
    NGX_HTTP_RTBUS_CARRIER_GONE      /* it has left the worker */
} ngx_http_rtbus_carrier_state_e;


typedef void (*ngx_http_rtbus_carrier_pt)(ngx_http_rtbus_carrier_t *car);
typedef ngx_uint_t (*ngx_http_rtbus_settled_pt)(ngx_http_rtbus_carrier_t *car);


struct ngx_http_rtbus_carrier_s {
    /* set before init; data belongs to who set the handlers */

    const ngx_http_rtbus_transport_t  *transport;
    ngx_http_rtbus_carrier_pt          room_handler;  /* see wanted */
    ngx_http_rtbus_carrier_pt          leave_handler; /* the worker leaves: say
                                                         so to the client */
    ngx_http_rtbus_carrier_pt          ended_handler; /* the connection ends */
    ngx_http_rtbus_settled_pt          settled_handler; /* is neither request
                                                     nor pool needed for now;
                                                     NULL: they are */
    void                              *data;

    ngx_connection_t                  *connection;  /* NULL: there is not just
                                                     one */
    ngx_http_request_t                *request;   /* NULL: likewise, or it is
                                                     parked, see _park.h */
    ngx_pool_t                        *pool;      /* lives as long as it does,
                                                     or as the request */
    ngx_log_t                         *log;
    ngx_http_rtbus_worker_t           *worker;
    ngx_http_rtbus_loc_conf_t         *conf;

    ngx_queue_t                        queue;     /* carriers->queue */
    ngx_queue_t                        dirty;     /* carriers->dirty */

    ngx_http_rtbus_link_t             *first;     /* frames to be sent */
    ngx_http_rtbus_link_t            **last;
    size_t                             offset;    /* sent of the first one */
    size_t                             unsent;    /* bytes */
    uint32_t                           nframes;
    size_t                             replayed;  /* of the unsent bytes, those
                                                     of replays, about */
    off_t                              watched;   /* 1 more than what the
                                                     connection had taken by
                                                     then; 0: nothing waited */

    /* for the log, by ngx_http_rtbus_client */

    uint64_t                           events;    /* of channels, so far */
    ngx_uint_t                         nchannels; /* joined now */

    ngx_uint_t                         close_code;
    const char                        *close_reason;
    ngx_rtbus_stat_closed_e            close_label;  /* _OTHER: the code says
                                                        it */

    unsigned                           kind:4;    /* ngx_rtbus_stat_transport_e,
                                                     set before init */
    unsigned                           wanted:1;  /* call room_handler when some
                                                     bytes were sent */
    unsigned                           held:3;    /* takes no messages now; why,
                                                     NGX_HTTP_RTBUS_HELD_... */
    unsigned                           busy:1;    /* not to be sent away now */
    unsigned                           marked:1;  /* in the queue */
    unsigned                           inflight:1;  /* the first frame's bytes
                                                     must stay as they are */
    unsigned                           state:2;   /* set by _state() only */
    unsigned                           broken:1;  /* nothing can be written any
                                                     more, set by _lost() */
    unsigned                           kept:1;    /* the request stays */
    unsigned                           quiet:1;   /* the client has not asked
                                                     for what waits, ever */
};


#define ngx_http_rtbus_carrier_closing(car)                                   \
    ((car)->state >= NGX_HTTP_RTBUS_CARRIER_CLOSING)

#define ngx_http_rtbus_carrier_closed(car)                                    \
    ((car)->state >= NGX_HTTP_RTBUS_CARRIER_CLOSED)

/* the memory that what waits for the client takes, and may take */

#define ngx_http_rtbus_carrier_queued(car)                                    \
    ((car)->unsent + (size_t) (car)->nframes * NGX_HTTP_RTBUS_FRAME_COST)

/* the same without what a replay has put there, which asks for room itself */

#define ngx_http_rtbus_carrier_live(car)                                      \
    (ngx_http_rtbus_carrier_queued(car)                                       \
     - ngx_min((car)->replayed, (car)->unsent))

#define ngx_http_rtbus_carrier_limit(car)                                     \
    ((car)->quiet ? ngx_min((car)->conf->send_buffer, NGX_HTTP_RTBUS_QUIET)   \
                  : (car)->conf->send_buffer)


/* the carriers of a worker, and what they share; see _carriers.h */

typedef void (*ngx_http_rtbus_carriers_pt)(ngx_http_rtbus_worker_t *worker);

struct ngx_http_rtbus_carriers_s {
    ngx_queue_t                        queue;     /* all of them, the oldest
                                                     first */
    ngx_uint_t                         n;
    ngx_queue_t                        dirty;     /* those with something to do
                                                     at the end of the loop
                                                     turn */
    ngx_event_t                        flush;     /* posted: does it */

    ngx_http_rtbus_link_t             *links;     /* free ones */
    ngx_uint_t                         nlinks;
    u_char                            *in;        /* NGX_HTTP_RTBUS_BUFFER
                                                     bytes */
    u_char                            *out;       /* likewise */

    size_t                             share;     /* of input, left in this
                                                     turn */
    ngx_event_t                        turn;      /* posted: it is over */
    ngx_event_t                        room;      /* posted: a client has made
                                                     room for Redis */

    ngx_event_t                        drain;     /* timer of the goodbyes */
    ngx_msec_t                         drain_time;
    ngx_msec_t                         drain_until;
    ngx_event_t                        late;      /* cancelable timer: it is
                                                     time to leave, whoever
                                                     waits */

    /* set after init: what else leaves, and does not wait any longer */

    ngx_http_rtbus_carriers_pt         drain_handler;
    ngx_http_rtbus_carriers_pt         late_handler;

    unsigned                           draining:1;
};


/*
 * car is zeroed memory that lives as long as the request, or the connection if
 * the request may be parked.  The carrier leaves the worker by a cleanup of
 * r->pool.  NGX_OK or NGX_ERROR.
 */

ngx_int_t ngx_http_rtbus_carrier_init(ngx_http_rtbus_carrier_t *car,
    ngx_http_request_t *r);

/* the same for a carrier whose request was parked: it goes on with r */

ngx_int_t ngx_http_rtbus_carrier_attach(ngx_http_rtbus_carrier_t *car,
    ngx_http_request_t *r);

/* does what the cleanup does, for a carrier that has no request any more */

void ngx_http_rtbus_carrier_end(ngx_http_rtbus_carrier_t *car);

/*
 * The same for a carrier that outlives requests: r is the first one, the
 * carrier leaves the worker by a cleanup of the pool.
 */

ngx_int_t ngx_http_rtbus_carrier_create(ngx_http_rtbus_carrier_t *car,
    ngx_http_request_t *r, ngx_pool_t *pool, ngx_log_t *log);

/*
 * Moves what a carrier has not sent yet, and the client or clients on it, to
 * another carrier.  The first carrier leaves the worker.
 */

void ngx_http_rtbus_carrier_move(ngx_http_rtbus_carrier_t *to,
    ngx_http_rtbus_carrier_t *from);

/*
 * Queues a frame (takes a reference) that the client asked for or that the
 * protocol needs.  A client that has too much unsent is closed with 1013.
 */

void ngx_http_rtbus_carrier_send(ngx_http_rtbus_carrier_t *car,
    ngx_rtbus_frame_t *frame);

/* the same without the limit, and also when closing: for goodbyes */

void ngx_http_rtbus_carrier_push(ngx_http_rtbus_carrier_t *car,
    ngx_rtbus_frame_t *frame);

/* likewise, but it goes with whatever is sent next */

void ngx_http_rtbus_carrier_put(ngx_http_rtbus_carrier_t *car,
    ngx_rtbus_frame_t *frame);

/* the frame queued last, NULL if some of it may have been sent */

ngx_rtbus_frame_t *ngx_http_rtbus_carrier_last(ngx_http_rtbus_carrier_t *car);

/* puts another frame (takes a reference) in the place of that one */

void ngx_http_rtbus_carrier_replace(ngx_http_rtbus_carrier_t *car,
    ngx_rtbus_frame_t *frame);

/*
 * A client on a slow link cannot answer a ping that is behind other frames.
 * It is alive as long as it takes these.  _takes() tells whether it has taken
 * some of what waited at _watch(), and if so watches it again.
 */

void ngx_http_rtbus_carrier_watch(ngx_http_rtbus_carrier_t *car);
ngx_uint_t ngx_http_rtbus_carrier_takes(ngx_http_rtbus_carrier_t *car);

/* drops n sent bytes off the queue */

void ngx_http_rtbus_carrier_sent(ngx_http_rtbus_carrier_t *car, size_t n);

/*
 * Merges the first frame, of which nothing was sent, and as many after it as
 * fit into NGX_HTTP_RTBUS_BUFFER, into one frame.  This is for connections
 * that want the same bytes again after a write that did not go through (TLS,
 * output filters).
 */

ngx_int_t ngx_http_rtbus_carrier_merge(ngx_http_rtbus_carrier_t *car);

/*
 * The flush of a transport that writes through nginx's output filters: hands
 * them one frame, or several merged into one, at a time, as they may hold on to
 * its bytes until the connection has taken them.  b is the transport's own, for
 * the frame that is under way.  NGX_OK (also when some are left) or NGX_ERROR.
 */

ngx_int_t ngx_http_rtbus_carrier_filter(ngx_http_rtbus_carrier_t *car,
    ngx_buf_t *b);

/* the carrier ends before its memory does; the clients on it are not told */

void ngx_http_rtbus_carrier_leave(ngx_http_rtbus_carrier_t *car);

/* stops reading what clients send, and resumes when no reason is left */

#define NGX_HTTP_RTBUS_HELD_START  0x01  /* something comes before it */
#define NGX_HTTP_RTBUS_HELD_RATE   0x02  /* it has come too fast */
#define NGX_HTTP_RTBUS_HELD_ASKS   0x04  /* it has asked for much */

void ngx_http_rtbus_carrier_hold(ngx_http_rtbus_carrier_t *car,
    ngx_uint_t why);
void ngx_http_rtbus_carrier_release(ngx_http_rtbus_carrier_t *car,
    ngx_uint_t why);

/* flush at the end of the loop turn */

void ngx_http_rtbus_carrier_mark(ngx_http_rtbus_carrier_t *car);

/* the first call counts; the transport's close follows in this loop turn */

void ngx_http_rtbus_carrier_close(ngx_http_rtbus_carrier_t *car,
    ngx_uint_t code, const char *reason);

/* the same for a reason that its code does not tell from others */

void ngx_http_rtbus_carrier_close_for(ngx_http_rtbus_carrier_t *car,
    ngx_http_rtbus_close_e why);

/* the same if the client said goodbye, by that code */

void ngx_http_rtbus_carrier_left(ngx_http_rtbus_carrier_t *car,
    ngx_uint_t code);

/* the same, if there is no memory for what the client needs next */

void ngx_http_rtbus_carrier_nomem(ngx_http_rtbus_carrier_t *car);

/* a write has failed: the transport's close follows in this loop turn */

void ngx_http_rtbus_carrier_lost(ngx_http_rtbus_carrier_t *car);

/* for transports: it has come that far; states never go back */

void ngx_http_rtbus_carrier_state(ngx_http_rtbus_carrier_t *car,
    ngx_http_rtbus_carrier_state_e state);

/* why the connection has ended, a static text for producers */

const char *ngx_http_rtbus_carrier_reason(ngx_http_rtbus_carrier_t *car);

/* the carrier of the request, until its pool is destroyed, or NULL */

ngx_http_rtbus_carrier_t *ngx_http_rtbus_carrier_of(ngx_http_request_t *r);

/* the posted event of the worker: flushes and closes what is marked */

void ngx_http_rtbus_carrier_flush(ngx_event_t *ev);

/* rtbus_ping */

char *ngx_http_rtbus_conf_ping(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);


#endif /* _NGX_HTTP_RTBUS_CARRIER_H_INCLUDED_ */
