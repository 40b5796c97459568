
/*
 * What is broken while the phase is RUNNING.  A new fault is a file with one
 * or more fault_t, which the table in faults.c lists.
 */


#ifndef CHECK_FAULTS_H
#define CHECK_FAULTS_H


#include <sys/types.h>

#include "check.h"


typedef struct {
    const char          *name;          /* of --faults; some share one */
    int                  weight;
    void               (*run)(rng_t *r);

    /* any of these may be NULL */

    void               (*tick)(void);   /* always */
    void               (*stop)(void);   /* all is to be well from now on */
    int                (*lasts)(void);  /* it is not over yet */
    void               (*told)(void);   /* calls fault_told() */
} fault_t;


typedef struct {
    rng_t                rng;
    int64_t              next;
    int64_t              reload;        /* not before */
    pid_t                frozen;
    int64_t              thaw;
    int                  upgrade;       /* step of it, 0: none */
} faults_t;

extern faults_t  faults;


void faults_init(void);
void faults_tick(void);
void faults_stop(void);
int faults_last(void);

/* the line of the report, and one of its numbers */

void faults_report(void);
void fault_told(const char *what, uint64_t n);

/* 1: --faults has it */

int fault_asked(const char *name);


/* fault_worker.c: so many by now */

uint64_t workers_killed(void);


/* one process at a time is stopped */

void freeze(pid_t pid, int ms);
void thaw(void);


#endif /* CHECK_FAULTS_H */
