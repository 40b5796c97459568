
/* Those who write events, in all the ways that producers have. */


#ifndef CHECK_PRODUCERS_H
#define CHECK_PRODUCERS_H


#include "link.h"


typedef struct {
    rng_t                rng;
    double               debt;          /* events that are due */
    int64_t              paid;
    int64_t              burst;         /* the next one */
    uint32_t             n;             /* events made */
    int64_t              hush;          /* they pause until then */
    link_t               links[PRODUCERS];
    link_t               quiet;         /* what wakes nobody */
} producers_t;

/* what they have to show for it */

typedef struct {
    uint64_t             published;
    uint64_t             silent;        /* without a wake-up */
    uint64_t             plain;         /* a bare XADD */
    uint64_t             live;
    uint64_t             posted;
    uint64_t             refused;
    uint64_t             unknown;       /* the reply was lost */
    uint64_t             races;         /* between bare XADDs and others */
} produced_t;

extern producers_t  producers;
extern produced_t   produced;


void producers_init(void);
void producers_tick(void);

/* they have a connection; all that they have sent is answered */

int producers_up(void);
int producers_idle(void);

/* the last event of a phase */

void publish_final(int chan, int silent);


#endif /* CHECK_PRODUCERS_H */
