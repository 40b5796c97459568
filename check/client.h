
/*
 * A client: what it has asked for, what it has got, and how it hears of it.
 *
 * client.c is its life, client_event.c what it is told and whether that may
 * be, client_io.c its connection.  Each of the protocols has a file, and calls
 * client_event() and client_ack() with what it has read:
 *
 *     websocket.c   sse.c   socketio.c   polling.c and upgrade.c
 */


#ifndef CHECK_CLIENT_H
#define CHECK_CLIENT_H


#include "truth.h"


#define MAX_JOINED        6             /* channels of one client at a time */
#define LOG_LINES         48            /* kept of each client */


/* one client in one channel */

enum { OUT = 0, JOINING, IN, LEAVING };
enum { NONE = 0, ZERO, AFTER, STATE, SYNC, JOB };

typedef struct {
    unsigned             want:1;
    unsigned             known:1;       /* last is */
    unsigned             peek:1;        /* asks for a state, being in */
    int                  state;
    int                  mode;
    uint64_t             last;          /* place */
    uint64_t             asked;         /* number of the request, 0: none */
    int64_t              since;         /* of the request */
    int64_t              retry;
    uint64_t             replayed;      /* since it was asked */
    uint32_t             live[PRODUCERS];
} track_t;


typedef enum {
    KIND_WEBSOCKET = 0, KIND_SSE, KIND_SOCKETIO, KIND_POLLING, KIND_UPGRADE,
    KINDS
} kind_e;

typedef struct {
    const char          *name;
    proto_e              proto;
} kind_t;


enum { IDLE = 0, ASKING, CONNECTING, OPEN, CLOSING };

/* a WebSocket that is to have the session of a poll */

enum { NO_PROBE = 0, PROBE_LATER, PROBE_CONNECTING, PROBE_SENT, PROBE_PAUSE };


typedef struct client_s  client_t;

struct client_s {
    io_t                 io;
    int                  id;
    kind_e               kind;
    proto_e              proto;
    rng_t                rng;
    int                  faithful;      /* never forgets what it had */

    int                  state;
    int                  connected;     /* has got that event */
    int                  headed;        /* has got the head */
    int                  chunked;
    chunks_t             chunks;
    unsigned             generation;    /* of the connection */
    int64_t              since;         /* connected at */
    int64_t              heard;
    int64_t              next;          /* action */
    int64_t              deaf;          /* does not read until */
    int                  slow;          /* reads little by little */
    int64_t              sip;

    buf_t                in;            /* of the connection */
    buf_t                text;          /* SSE: without chunks */
    buf_t                out;

    track_t              tracks[MAX_CHANNELS];
    uint64_t             acks;

    char                 pid[128];      /* Socket.IO */
    char                 offset[MAX_JOINED * 80];  /* to be sent with it */

    int                  node;          /* 1: the other one has its session */
    poll_t               poll;
    int                  polls;         /* it has the session, not the io */
    int                  probe;         /* where the upgrade is */
    int                  probe_node;
    int                  moving;        /* nothing came since the upgrade */
    int64_t              probed;        /* since then, or it begins then */

    unsigned             lines;
    char                 log[LOG_LINES][200];
};


/* a state that a client was given, for verify.c */

typedef struct {
    int                  cli;
    int                  chan;
    uint64_t             place;
    uint64_t             hash;
    uint64_t             len;
    uint32_t             progress;
} snapshot_t;


typedef struct {
    uint64_t             durable;
    uint64_t             lives;
    uint64_t             bytes;

    uint64_t             connects;
    uint64_t             resumes;
    uint64_t             recovered;     /* Socket.IO */
    uint64_t             drops;         /* by the client */
    uint64_t             closed;        /* by the server */
    uint64_t             too_slow;
    uint64_t             shutdowns;

    uint64_t             joins;
    uint64_t             leaves;
    uint64_t             unavailable;
    uint64_t             states;
    uint64_t             http_states;
    uint64_t             syncs;
    uint64_t             deaf;          /* or slow */

    uint64_t             polls;
    uint64_t             resent;
    uint64_t             unknown_sid;
    uint64_t             bad_request;
    uint64_t             away;
    uint64_t             probes;
    uint64_t             probes_lost;
    uint64_t             upgraded;
} tally_t;


extern const kind_t        kinds[KINDS];
extern const char *const   modes[];

extern client_t           *clients;
extern int                 nclients;
extern tally_t             tally;       /* of all of them */
extern snapshot_t         *snapshots;
extern size_t              nsnapshots;


/* its life: all of them are made, and then each has a tick */

void clients_init(void);
void client_tick(client_t *c);

/* the connection has ended: it comes back later, or at once if quick */

void client_down(client_t *c, const char *why, int quick);

/* only its connection */

void client_close(client_t *c);

/* 1: it is where all its channels end; report: it is a violation if not */

int client_done(client_t *c, int report);

/* what it does, kept for a violation of it */

void client_log(client_t *c, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));


/* what it is told: an event, the answer to its request, a state over HTTP */

void client_event(client_t *c, str_t name, str_t data, str_t channel,
    str_t cursor);
void client_ack(client_t *c, uint64_t id, str_t data);
void client_state(client_t *c, int chan, str_t data, uint64_t *last);

/* the channel whose state it waits for; -1: of none */

int asked_for(client_t *c);


/* its connection */

void client_handler(io_t *io, uint32_t events);
void client_hear(client_t *c, int hear);
void client_sip(client_t *c, size_t max);
void client_frame(client_t *c, int opcode, const char *p, size_t len);
void client_send(client_t *c, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void client_emit(client_t *c, uint64_t ack, const char *event,
    const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* the port of any node */

int client_port(client_t *c, int *node);


/* the protocols: what is complete of the input is handled */

void client_frames(client_t *c);
void client_stream(client_t *c);
void client_packet(client_t *c, str_t s);

extern const poll_handlers_t  client_polling;

int client_poll_tick(client_t *c);      /* 0: the client is down */

void client_probe(client_t *c);
void client_probe_answer(client_t *c, str_t s);
void client_probe_lost(client_t *c, const char *why);


#endif /* CHECK_CLIENT_H */
