
/*
 * The channels, and what was ever seen of them.  Whoever sees an event, a
 * producer or a client, says so here: all have to have seen the same one.
 */


#ifndef CHECK_TRUTH_H
#define CHECK_TRUTH_H


#include "check.h"


#define MAX_LIVES         64            /* of a channel that is remade */

#define HASH_START        0xcbf29ce484222325ull


/*
 * A position in one number, its place: which life of the channel, and the seq.
 * Places of a channel are in the order of its events.
 */

#define place_of(life, seq)  ((uint64_t) (life) << 32 | (seq))
#define life_of(place)       ((int) ((place) >> 32))
#define seq_of(place)        ((place) & 0xffffffff)


/* what was seen of a channel from its making to its end */

typedef struct {
    uint64_t             epoch;
    uint64_t            *seen;          /* by seq: hash of name and data */
    uint64_t             size;
} life_t;


typedef struct {
    char                 name[16];      /* "job:c<N>" */
    life_t               lives[MAX_LIVES];
    int                  nlives;        /* that were seen */
    int                  remade;        /* it was deleted so many times */
    uint64_t             top;           /* the greatest place that was seen */
    uint64_t             trimmed;       /* up to here, by us */
    uint64_t             final;         /* 0: not published yet */
    uint32_t             live[PRODUCERS];
    int                  busy;          /* XADD or DEL under way */
    int                  refused;       /* an event without a wake-up */
    int                  evicted;       /* a key of it, by us */

    /* the stream at the end, for verify.c */

    uint64_t             first;
    uint64_t             count;
    uint64_t            *out_hash;      /* of the output up to seq */
    uint64_t            *out_len;
    uint32_t            *progress;
} chan_t;


extern chan_t  chans[MAX_CHANNELS];


struct client_s;

/* the number of a channel; -1: no channel has that name */

int chan_find(str_t name);

/* <epoch>-<seq>; 0: s is not a position */

int position(str_t s, uint64_t *epoch, uint64_t *seq);

/* the place of a position; 0: there can be no such one */

int find_place(struct client_s *c, int chan, str_t pos, uint64_t *place);

/* a place as a position, for a moment */

const char *spell(int chan, uint64_t place);

uint64_t hash(uint64_t h, const char *p, size_t len);
uint64_t hash_event(str_t name, str_t data);

/* somebody has seen an event at its place; c: NULL: a producer has */

void seen(struct client_s *c, int chan, uint64_t place, uint64_t h);


#endif /* CHECK_TRUTH_H */
