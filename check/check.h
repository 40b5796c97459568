
/*
 * What all parts of the checker know: the options, where the run is, and its
 * random numbers.  main.c says what is checked.
 *
 * One thread, one epoll loop: each part has a tick, which the loop calls every
 * TICK ms.  A part that fails to do what it has to do calls die().
 */


#ifndef CHECK_H
#define CHECK_H


#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http.h"
#include "io.h"
#include "poll.h"
#include "proto.h"


#define MAX_CHANNELS      64
#define MAX_KINDS         32
#define MAX_WORKERS       256           /* with those that leave */
#define PRODUCERS         4

#define TICK              2             /* all times are milliseconds */
#define SILENCE           20000         /* a server that says nothing */
#define CATCH_UP          30000         /* until all are at the end */

#define countof(a)        (sizeof(a) / sizeof((a)[0]))


/*
 * RUNNING is what takes the time.  Then all producers STOP; QUIET and LAST
 * have one event each per channel; in the CALM nothing is broken; END has one
 * event more.  When it is EMPTY all clients are gone.
 */

typedef enum {
    STARTING, RUNNING, STOPPING, QUIET, LAST, CALM, END, EMPTY, VERIFY
} phase_e;


typedef struct {
    uint64_t             seed;
    double               time;
    int                  clients;
    int                  kinds[MAX_KINDS];  /* kind_e, they take turns */
    int                  nkinds;
    int                  channels;
    double               rate;
    int                  workers;
    int                  nodes;
    const char          *module;
    const char          *nginx;
    const char          *redis;
    const char          *dir;
    const char          *aof;
    const char          *faults;
    size_t               large;         /* bytes, of one event in a thousand */
    double               every;         /* seconds, 0: at random */
    const char          *log;
    int                  answers;       /* captured, per second */
    int                  soak;
    int                  verbose;

    int                  lossy;         /* Redis may forget */
    int                  daemon;        /* nginx is one, to be upgraded */
} options_t;


typedef struct {
    int64_t              zero;
    int64_t              now;
    phase_e              phase;
    int                  ready;         /* the library is there */
    int64_t              began;         /* to run */
    int64_t              ended;
    int64_t              until;
    int                  step;          /* of the phase */
    int64_t              since;         /* nothing changes any more */
    unsigned             waiting;       /* replies that a phase waits for */
    int                  stop;
} run_t;


extern options_t  opt;
extern run_t      run;


int64_t clock_ms(void);

/* one line, if --verbose */

void say(const char *fmt, ...)
    __attribute__((format(printf, 1, 2)));


/* each part has its own numbers, of the seed and an id */

typedef struct {
    uint64_t             state;
} rng_t;

void seed(rng_t *r, uint64_t id);
uint64_t rnd(rng_t *r);
uint32_t below(rng_t *r, uint32_t n);
int chance(rng_t *r, int percent);


/* phase.c, verify.c: what is done when, and the streams at the end */

void phase_tick(void);
void verify(void);


#endif /* CHECK_H */
