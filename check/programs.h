
/* nginx, one or two nodes of it, and Redis: our children. */


#ifndef CHECK_PROGRAMS_H
#define CHECK_PROGRAMS_H


#include <sys/types.h>

#include "check.h"


typedef struct {
    int                  redis_port;
    int                  nginx_port;
    int                  beside_port;   /* the other node */
    int                  way_port;      /* of nginx to Redis */
    int                  upstream_port;
    int                  connections;   /* of a worker, at most */
    pid_t                redis_pid;     /* 0: it is down */
    pid_t                nginx_pid;
    pid_t                beside_pid;
    pid_t                launcher;      /* that has made nginx a daemon */
    pid_t                nginx_old;     /* the one before the upgrade */
    int64_t              redis_start;   /* it is down until */
    int64_t              redis_kill;    /* TERM was not enough */
} programs_t;

extern programs_t  prog;


/* ports; then Redis is started, and nginx when it is there */

void programs_init(void);
void redis_start(void);
void nginx_start(void);

/* handles the end of our children, which may be an error */

void reap(void);

/* all of them are to end, and have ended, in time */

void programs_quit(void);
void programs_end(void);

/* whom nginx.pid names; 0: nobody yet */

pid_t nginx_master(void);

/* of the first node, with those that leave; of both; MAX_WORKERS at most */

int workers(pid_t *pids);
int all_workers(pid_t *pids);


#endif /* CHECK_PROGRAMS_H */
