
/*
 * Captured answers: an upstream streams them, a client asks for each through
 * rtbus_capture, and others replay it through rtbus_replay.
 */


#ifndef CHECK_ANSWERS_H
#define CHECK_ANSWERS_H


#include "check.h"


typedef enum {
    ANSWER_NONE = 0,
    ANSWER_ASKED,                       /* for, but not of the upstream yet */
    ANSWER_RUNNING,
    ANSWER_ENDED,                       /* the upstream has said all of it */
    ANSWER_BROKEN                       /* its connection was lost before */
} answer_e;


/* one answer; the truth about it is its log */

typedef struct {
    answer_e             state;
    int                  id;
    buf_t                log;           /* what the upstream has said */
    int64_t              begun;
    int64_t              over;          /* ENDED or BROKEN since */
    uint64_t             kills;         /* of workers, when it has begun */
    unsigned             refused:1;     /* it was not captured */
    unsigned             unsure:1;      /* nobody knows whether it was */
    unsigned             proved:1;      /* a replay of all of it was right */
    unsigned             late:1;
} answer_t;


/* upstream.c: its port; its answers go on */

int upstream_init(void);
void upstream_tick(void);

/* answers.c */

void answers_init(void);
void answers_tick(void);

/* none is asked for any more; 1: each was replayed to its end */

int answers_done(int report);

/* by its id; NULL: there is none */

answer_t *answer_find(int id);

void answers_report(void);


#endif /* CHECK_ANSWERS_H */
