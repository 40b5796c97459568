
/*
 * The counters of all workers, in shared memory; each layer adds to its own,
 * the status location reads their sums.
 *
 * A worker has a slot of its own for each bus (each Redis that it serves), so
 * that sums can be had of one bus as well as of all.  A slot stays with the
 * name of its bus.
 *
 * The worker is the only one that writes to a slot of its own, so
 * to count is a plain add: no lock, and no cache line that another worker
 * wants.  A slot is never emptied.  When its worker is gone, killed or not,
 * another one goes on counting in it, so sums never go back, over crashes and
 * reloads alike.  What is there now and not counted, such as connections, is
 * a gauge: only those of living workers are summed, and a slot's new owner
 * starts with none.
 *
 * A worker is living when its process is there, whether it was heard of lately
 * or hangs; of one that is silent the start is looked at, since an id may have
 * been given to another process.  A slot is only taken from a process that is
 * gone.
 */


#ifndef _NGX_RTBUS_STAT_H_INCLUDED_
#define _NGX_RTBUS_STAT_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "rtbus_reason.h"
#include <ngx_event.h>


/* how often a worker proves that its path through Redis is alive, ms */
#define NGX_RTBUS_STAT_PERIOD      5000

/* without a proof for so long it is taken to be dead, ms */
#define NGX_RTBUS_STAT_LATE        8000


/* the values of labels, a small and fixed set each; see the .c for names */

typedef enum {
    NGX_RTBUS_STAT_WEBSOCKET = 0,
    NGX_RTBUS_STAT_SSE,
    NGX_RTBUS_STAT_SOCKETIO,
    NGX_RTBUS_STAT_POLLING,
    NGX_RTBUS_STAT_TRANSPORTS
} ngx_rtbus_stat_transport_e;


typedef enum {
    NGX_RTBUS_STAT_LIVE = 0,
    NGX_RTBUS_STAT_DURABLE,
    NGX_RTBUS_STAT_KINDS
} ngx_rtbus_stat_kind_e;


typedef enum {
    NGX_RTBUS_STAT_PUBSUB = 0,
    NGX_RTBUS_STAT_COMMAND,
    NGX_RTBUS_STAT_LINKS
} ngx_rtbus_stat_link_e;


/* what became of commands of clients */

typedef enum {
    NGX_RTBUS_STAT_CMD_OK = 0,             /* Redis has it */
    NGX_RTBUS_STAT_CMD_DUPLICATE,          /* ... and had it before */
    NGX_RTBUS_STAT_CMD_REPLIED,            /* the producer has answered */
    NGX_RTBUS_STAT_CMD_TIMEOUT,            /* ... has not */
    NGX_RTBUS_STAT_CMD_GONE,               /* the client did not wait for it */
    NGX_RTBUS_STAT_CMD_FORBIDDEN,
    NGX_RTBUS_STAT_CMD_INVALID,
    NGX_RTBUS_STAT_CMD_UNAVAILABLE,
    NGX_RTBUS_STAT_CMD_BUSY,               /* too many are under way */
    NGX_RTBUS_STAT_CMD_ERROR,
    NGX_RTBUS_STAT_RESULTS
} ngx_rtbus_stat_result_e;


/* why the connection of a client has ended */

typedef enum {
    NGX_RTBUS_STAT_CLOSED_CLIENT = 0,
    NGX_RTBUS_STAT_CLOSED_GONE,            /* without a word */
    NGX_RTBUS_STAT_CLOSED_SHUTDOWN,
    NGX_RTBUS_STAT_CLOSED_SLOW,
    NGX_RTBUS_STAT_CLOSED_FULL,
    NGX_RTBUS_STAT_CLOSED_PING,
    NGX_RTBUS_STAT_CLOSED_EXPIRED,
    NGX_RTBUS_STAT_CLOSED_POLICY,
    NGX_RTBUS_STAT_CLOSED_PROTOCOL,
    NGX_RTBUS_STAT_CLOSED_UNSUPPORTED,
    NGX_RTBUS_STAT_CLOSED_PAYLOAD,
    NGX_RTBUS_STAT_CLOSED_BIG,
    NGX_RTBUS_STAT_CLOSED_INTERNAL,
    NGX_RTBUS_STAT_CLOSED_OTHER,
    NGX_RTBUS_STAT_CLOSEDS
} ngx_rtbus_stat_closed_e;


/* why a request or a message of a client was refused */

typedef enum {
    NGX_RTBUS_STAT_REFUSED_ORIGIN = 0,
    NGX_RTBUS_STAT_REFUSED_UNAUTHORIZED,
    NGX_RTBUS_STAT_REFUSED_FORBIDDEN,
    NGX_RTBUS_STAT_REFUSED_CHANNELS,
    NGX_RTBUS_STAT_REFUSED_REQUESTS,
    NGX_RTBUS_STAT_REFUSED_RATE,
    NGX_RTBUS_STAT_REFUSED_UNAVAILABLE,
    NGX_RTBUS_STAT_REFUSED_TIMEOUT,
    NGX_RTBUS_STAT_REFUSED_NAMESPACE,
    NGX_RTBUS_STAT_REFUSED_METHOD,
    NGX_RTBUS_STAT_REFUSED_LARGE,
    NGX_RTBUS_STAT_REFUSED_EVENT,
    NGX_RTBUS_STAT_REFUSED_MALFORMED,
    NGX_RTBUS_STAT_REFUSED_OTHER,
    NGX_RTBUS_STAT_REFUSEDS
} ngx_rtbus_stat_refused_e;


/* why there is no proof, if that is known */

typedef enum {
    NGX_RTBUS_STAT_NO_TROUBLE = 0,
    NGX_RTBUS_STAT_REPLICA,
    NGX_RTBUS_STAT_LIBRARY,
    NGX_RTBUS_STAT_TROUBLES
} ngx_rtbus_stat_trouble_e;


/* what became of the answers that were captured */

typedef enum {
    NGX_RTBUS_STAT_CAPTURE_COMPLETED = 0,
    NGX_RTBUS_STAT_CAPTURE_CANCELLED,
    NGX_RTBUS_STAT_CAPTURE_INTERRUPTED,
    NGX_RTBUS_STAT_CAPTURE_FAILED,
    NGX_RTBUS_STAT_CAPTURES
} ngx_rtbus_stat_capture_e;


#define NGX_RTBUS_STAT_LAGS        14      /* bounds of a histogram */

/* its words: a count for each bound, one for all above, the sum in ms */

#define NGX_RTBUS_STAT_SUM         (NGX_RTBUS_STAT_LAGS + 1)
#define NGX_RTBUS_STAT_TIMES       (NGX_RTBUS_STAT_LAGS + 2)

#define NGX_RTBUS_STAT_NAME        32      /* bytes of a bus's name, at most */


/* all of it atomic words, for the sums */

typedef struct {
    /* counters */

    ngx_atomic_t    received[NGX_RTBUS_STAT_KINDS];
    ngx_atomic_t    invalid[RTBUS_REASON_KINDS];
    ngx_atomic_t    delivered[NGX_RTBUS_STAT_TRANSPORTS];
    ngx_atomic_t    replays;
    ngx_atomic_t    replayed;
    ngx_atomic_t    gaps;
    ngx_atomic_t    holes;
    ngx_atomic_t    full_turns;
    ngx_atomic_t    opened[NGX_RTBUS_STAT_TRANSPORTS];
    ngx_atomic_t    closed[NGX_RTBUS_STAT_CLOSEDS];
    ngx_atomic_t    refused[NGX_RTBUS_STAT_REFUSEDS];
    ngx_atomic_t    commands[NGX_RTBUS_STAT_RESULTS];
    ngx_atomic_t    captured[NGX_RTBUS_STAT_CAPTURES];
    ngx_atomic_t    capture_events;
    ngx_atomic_t    capture_bytes;
    ngx_atomic_t    claim[NGX_RTBUS_STAT_TIMES];
    ngx_atomic_t    leases;                /* that were found lost */
    ngx_atomic_t    reconnects[NGX_RTBUS_STAT_LINKS];
    ngx_atomic_t    canaries;              /* that were lost */
    ngx_atomic_t    lag[NGX_RTBUS_STAT_TIMES];

    /* gauges */

    ngx_atomic_t    connections[NGX_RTBUS_STAT_TRANSPORTS];
    ngx_atomic_t    channels;
    ngx_atomic_t    subscriptions;
    ngx_atomic_t    captures;
    ngx_atomic_t    send_queue;            /* bytes */
    ngx_atomic_t    redis_up[NGX_RTBUS_STAT_LINKS];

    /* of this worker, not summed */

    ngx_atomic_t    leaving;               /* it does not count for health */
    ngx_atomic_t    trouble;               /* ngx_rtbus_stat_trouble_e */
    ngx_atomic_t    proven;                /* the canary has come back since
                                              the links were made */
    ngx_atomic_t    canary;                /* when it last did, ms */
    ngx_atomic_t    heard;                 /* a sign of life, s */
    ngx_atomic_t    started;               /* its process was; see the .c */
    ngx_atomic_t    generation;            /* of the configuration; 0: the slot
                                              was never used */
    ngx_atomic_t    number;                /* of the worker in it */
    ngx_atomic_t    first;                 /* of the slots of this worker */
    ngx_atomic_t    owner;                 /* process id; 0: none */

    u_char          bus[NGX_RTBUS_STAT_NAME];    /* zeroes behind the name */
} ngx_rtbus_stat_t;


/*
 * What a worker has to tell of one server of a cluster.  There is room for
 * some, of all workers; without it the server is just not shown.
 */

#define NGX_RTBUS_STAT_SHARD       64      /* bytes of its name, at most */

typedef struct {
    ngx_atomic_t    owner;                 /* process id; 0: none */
    ngx_atomic_t    up[NGX_RTBUS_STAT_LINKS];
    ngx_atomic_t    canary;                /* when it last came back, ms */
    u_char          bus[NGX_RTBUS_STAT_NAME];
    u_char          name[NGX_RTBUS_STAT_SHARD];  /* zeroes behind the name */
} ngx_rtbus_stat_shard_t;


/* to count; stat is the worker's slot, field may have an index */

#define ngx_rtbus_stat_add(stat, field, n)  (stat)->field += (n)
#define ngx_rtbus_stat_sub(stat, field, n)  (stat)->field -= (n)

/*
 * A client's connection has ended.  label: _OTHER, if its code says why: one of
 * WebSocket, 0: there was none.
 */

void ngx_rtbus_stat_closed(ngx_rtbus_stat_t *stat,
    ngx_rtbus_stat_closed_e label, ngx_uint_t code);

/* an event of that time (ms since 1970) has been handed out */

void ngx_rtbus_stat_lag(ngx_rtbus_stat_t *stat, uint64_t timestamp);

/* something has taken that long; times is a histogram of the slot */

void ngx_rtbus_stat_time(ngx_atomic_t *times, uint64_t ms);


/* the zone; handed on from one configuration to the next */

typedef struct ngx_rtbus_stat_shared_s  ngx_rtbus_stat_shared_t;

typedef struct {
    ngx_rtbus_stat_shared_t   *shared;
    ngx_uint_t                 generation;
} ngx_rtbus_stat_zone_t;


/* adds the zone at configuration time; NULL: no memory */

ngx_rtbus_stat_zone_t *ngx_rtbus_stat_zone(ngx_conf_t *cf, void *tag);

/*
 * The slot of a worker that starts, for the bus of that name; first: the first
 * that this worker asks for.  One in cycle->pool, which nobody will see, if
 * there are more of them than slots.  NULL: no memory.
 */

ngx_rtbus_stat_t *ngx_rtbus_stat_attach(ngx_rtbus_stat_zone_t *zone,
    ngx_str_t *bus, ngx_uint_t first, ngx_cycle_t *cycle);

/* of a server that the worker has links to, until owner is 0 again; or NULL */

ngx_rtbus_stat_shard_t *ngx_rtbus_stat_shard(ngx_rtbus_stat_zone_t *zone,
    ngx_rtbus_stat_t *stat, ngx_str_t *name);

/*
 * All servers, of one bus or (NULL) of all, over the workers: up is 1 where all
 * have that link, canary the age of the oldest one, owner the number of
 * workers.  Answers how many there are; shards has room for
 * NGX_RTBUS_STAT_SHARDS.
 */

#define NGX_RTBUS_STAT_SHARDS      64

ngx_uint_t ngx_rtbus_stat_shards(ngx_rtbus_stat_zone_t *zone, ngx_str_t *bus,
    ngx_rtbus_stat_shard_t *shards);

extern const char *const  ngx_rtbus_stat_links[NGX_RTBUS_STAT_LINKS];

/* the worker ends */

void ngx_rtbus_stat_detach(ngx_rtbus_stat_t *stat);


/* sums over all workers, of a bus or of all of them */

typedef struct {
    ngx_rtbus_stat_t           sum;        /* redis_up: 1 or 0 */
    ngx_atomic_t               workers;    /* those that do not leave */
    ngx_atomic_t               leaving;
    ngx_atomic_t               failing;    /* of workers: not proven alive; one
                                              of several buses is one more */
    ngx_atomic_t               age;        /* of the oldest canary, ms */
    const char                *reason;     /* NULL: all is well */
} ngx_rtbus_stat_total_t;


/* bus: its name, or NULL */

void ngx_rtbus_stat_sum(ngx_rtbus_stat_zone_t *zone, ngx_str_t *bus,
    ngx_rtbus_stat_total_t *total);


/* what there is to show, in this order */

typedef enum {
    NGX_RTBUS_METRIC_COUNTER = 0,
    NGX_RTBUS_METRIC_GAUGE,
    NGX_RTBUS_METRIC_SECONDS,              /* a gauge, kept in ms */
    NGX_RTBUS_METRIC_TIMES                 /* a histogram, see below */
} ngx_rtbus_metric_e;


typedef struct {
    const char                *name;
    const char                *help;
    ngx_rtbus_metric_e         type;
    const char                *label;      /* NULL: it has none */
    const char *const         *values;
    ngx_uint_t                 n;          /* values, 1 without a label */
    size_t                     offset;     /* in ngx_rtbus_stat_total_t */
    ngx_uint_t                 process;    /* the same for all buses */
} ngx_rtbus_metric_t;


extern const ngx_rtbus_metric_t  ngx_rtbus_metrics[];   /* until name NULL */

#define ngx_rtbus_metric_value(total, metric, i)                              \
    ((ngx_atomic_t *) ((u_char *) (total) + (metric)->offset))[i]

/* of histograms: bounds in seconds as text */

extern const char *const         ngx_rtbus_stat_bounds[NGX_RTBUS_STAT_LAGS];

/* of clients, the names of the transports */

extern const char *const
    ngx_rtbus_stat_transports[NGX_RTBUS_STAT_TRANSPORTS];


#endif /* _NGX_RTBUS_STAT_H_INCLUDED_ */
