
/*
 * What can be seen of other processes, and of what they have counted: their
 * memory, their descriptors, whether a series of values grows, and metrics in
 * the text format of Prometheus.
 */


#ifndef CHECK_WATCH_H
#define CHECK_WATCH_H


#include "io.h"


/* the children of a process, at most max; those that have ended left out */

int children(pid_t parent, pid_t *pids, int max);

/* an nginx worker that says goodbye, by its title */

int is_leaving(pid_t pid);

/*
 * Anonymous memory in KB, and how many descriptors are open; -1: there is no
 * such process any more.  What is in files or shared is not in the former: a
 * program touches more and more of its own code, and that is no growth.
 */

long memory_kb(pid_t pid);
int descriptors(pid_t pid);


/* values over time, to be zeroed before the first one */

typedef struct {
    double               time;
    double               value;
} sample_t;

typedef struct {
    sample_t            *samples;
    size_t               n;
    size_t               size;
} series_t;

void series_add(series_t *s, double time, double value);

/*
 * The straight line that fits the values from some time on best, by least
 * squares: its mean, and how much it rises from the first sample to the last.
 */

typedef struct {
    size_t               n;             /* samples */
    double               time;          /* from the first to the last */
    double               mean;
    double               rise;
} fit_t;

void series_fit(series_t *s, double from, fit_t *fit);


/* metrics; a name has its labels with it, as they are written */

typedef struct {
    char                 name[96];
    double               value;
    int                  counter;
} metric_t;

typedef struct {
    metric_t            *list;
    size_t               n;
    size_t               size;
} metrics_t;

/* new values; back is called for each counter that was more before */

void metrics_read(metrics_t *m, str_t text,
    void (*back)(const char *name, double from, double to));

/* -1: no metric has that name */

double metrics_value(metrics_t *m, const char *name);


#endif /* CHECK_WATCH_H */
