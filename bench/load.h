
/*
 * What the parts of load.c have in common.
 *
 *   load.c           options, the phases of a run, the result
 *   load_client.c    clients, and what is delivered to them
 *   load_produce.c   events through Redis
 *   load_measure.c   time, histograms, CPU time and memory of processes
 */


#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H


#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include <hiredis/hiredis.h>

#include "io.h"
#include "proto.h"


#define EVENT         "model:chunk:v1"
#define MAX_PIDS      64

/* "mark":"<channel>.<number>.<ns>", in hexadecimal */
#define MARK          "\"mark\":\""
#define MARK_LEN      (8 + 1 + 8 + 1 + 16)


typedef struct {
    int                  port;
    int                  redis_port;
    proto_e              proto;
    const char          *path;
    int                  bare;          /* the answer is all that it says */
    int                  ask;           /* channels are joined by message */
    uint32_t             clients;
    uint32_t             channels;
    uint32_t             flight;
    double               rate;
    uint64_t             window;
    double               time;
    double               warm;
    int                  size;
    int                  durable;
    uint32_t             each;          /* events per channel, not a time */
    uint32_t             missed;
    double               settle;
    double               silence;       /* that tells that nothing comes */
    const char          *token;
    pid_t                servers[MAX_PIDS];
    int                  nservers;
    pid_t                redis_pid;

    uint32_t             per_client;    /* channels */
} options_t;


enum { GONE = 0, ASKING, OPENING, JOINING, READY };

typedef struct {
    io_t                 io;
    uint32_t             first;         /* of its channels */
    uint32_t             joined;
    uint32_t            *next;          /* number, of each channel */
    uint32_t             one;           /* ... when there is one channel */
    int                  state;
    int                  chunked;
    uint64_t             since;         /* ns */
    chunks_t             chunks;
    buf_t                rest;          /* a message that is not whole */
    buf_t                out;
    char                *cursor;
    char                *pid;           /* of Socket.IO */
} client_t;


/* values from 0 to 2^36 us in steps of 3 % */

#define STEPS         32

typedef struct {
    uint64_t             n[36 * STEPS];
    uint64_t             count;
    uint64_t             max;
} histogram_t;


/* CPU time of processes, in seconds */

typedef struct {
    double               total;
    double               user;
} cpu_t;

typedef struct {
    uint64_t             time;          /* ns */
    cpu_t                server;
    cpu_t                redis;
    cpu_t                self;
    double               busy;          /* all processes of the machine */
    double               steal;
} sample_t;


extern options_t       o;

extern uint64_t        now;             /* ns, of the loop turn */
extern client_t       *clients;
extern uint32_t       *numbers;         /* of each channel, the next one */
extern uint32_t       *listeners;       /* of each channel */

extern uint32_t        nready;
extern uint32_t        nlost;           /* clients that were ready */
extern uint32_t        nfailed;
extern int             resuming;
extern char            failure[256];    /* of the first one */

extern uint64_t        owed;            /* deliveries, from the beginning */
extern uint64_t        delivered;
extern uint64_t        gaps;
extern uint64_t        doubles;
extern uint64_t        strays;
extern uint64_t        reads;
extern uint64_t        progress;        /* when something came */
extern int             measuring;
extern histogram_t     latency, handshake, lag;

extern redisContext   *redis;
extern uint64_t        published;


/* load_measure.c; turn() is one of the loop, and says what the time is */

uint64_t clock_ns(void);
void turn(int ms);
void wait_for(double s);

void histogram_add(histogram_t *h, uint64_t ns);
double histogram_part(histogram_t *h, double part);  /* in ms */

void sample(sample_t *s);
double memory(pid_t *pids, int n);


/* load_client.c */

void clients_init(void);
void connect_all(uint32_t flight);
void client_close(client_t *c);


/* load_produce.c: at a rate, within a window of deliveries, or so many each */

void producer_init(void);
void produce(double rate, double time, uint64_t limit);
void produce_window(uint64_t window, double time);
void produce_all(uint32_t each);

/* until all is there, or nothing comes any more */

void drain(void);
void wait_for_silence(void);


#endif /* BENCH_LOAD_H */
