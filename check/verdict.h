
/* What was found. */


#ifndef CHECK_VERDICT_H
#define CHECK_VERDICT_H


#include "check.h"


typedef struct {
    uint64_t             missing;
    uint64_t             doubles;
    uint64_t             order;
    uint64_t             gaps;
    uint64_t             lost;          /* events that gaps account for */
    uint64_t             snapshots;     /* checked */
    uint64_t             entries;       /* of the streams */
    uint64_t             violations;
} verdict_t;

extern verdict_t  verdict;


struct client_s;

/* c, chan: NULL, -1: of none; the first ones are shown with their history */

void violation(struct client_s *c, int chan, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));


#endif /* CHECK_VERDICT_H */
