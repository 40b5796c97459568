
/*
 * nginx, looked at: whether those leave who have to, what rtbus_status says,
 * memory and descriptors.
 */


#ifndef CHECK_LOOK_H
#define CHECK_LOOK_H


#include "check.h"
#include "watch.h"


enum { MASTER = 0, WORKERS };


/* a worker that was told to leave, or says so */

typedef struct {
    pid_t                pid;
    int64_t              since;
    int                  late;
} leaver_t;

typedef struct {
    int64_t              next;
    leaver_t             leavers[MAX_WORKERS];
    int                  nleavers;
    int64_t              slowest;       /* of those that have left */
    uint64_t             left;

    int64_t              ask;           /* for the status, next */
    int64_t              asked;         /* the one that was answered last */
    int                  asking;
    uint64_t             answers;
    metrics_t            metrics;

    series_t             memory[2];     /* of the MASTER, of WORKERS */
    series_t             fds[2];
    int                  fds_first;     /* of a worker without clients */
    int                  fds_last;
} looks_t;

extern looks_t  looks;


void look_tick(void);

/* it has to, from now on; or all workers of a node do */

void leave(pid_t pid);
void leave_all(int beside);

/* what the status of the first node has to say, with or without clients */

int status_is(int any, int report);

/* the verdict on memory, and what is said of it */

void soaked(void);
void report_use(const char *name, int who);


#endif /* CHECK_LOOK_H */
