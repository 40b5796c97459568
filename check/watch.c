
/*
 * Other processes, seen through /proc, and their metrics.
 */


#define _GNU_SOURCE

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "watch.h"


int
children(pid_t parent, pid_t *pids, int max)
{
    int             n, of;
    DIR            *dir;
    char            file[300], line[512], *p, state;
    FILE           *f;
    struct dirent  *d;

    n = 0;
    dir = opendir("/proc");

    while (dir && n < max && (d = readdir(dir))) {

        if (!isdigit((unsigned char) d->d_name[0])) {
            continue;
        }

        snprintf(file, sizeof(file), "/proc/%s/stat", d->d_name);
        f = fopen(file, "r");

        if (f == NULL) {
            continue;
        }

        p = fgets(line, sizeof(line), f) ? strrchr(line, ')') : NULL;
        fclose(f);

        if (p && sscanf(p + 1, " %c %d", &state, &of) == 2
            && of == parent && state != 'Z')
        {
            pids[n++] = atoi(d->d_name);
        }
    }

    if (dir) {
        closedir(dir);
    }

    return n;
}


int
is_leaving(pid_t pid)
{
    char    file[64], title[256];
    FILE   *f;
    size_t  n;

    snprintf(file, sizeof(file), "/proc/%d/cmdline", (int) pid);
    f = fopen(file, "r");

    if (f == NULL) {
        return 0;
    }

    n = fread(title, 1, sizeof(title), f);
    fclose(f);

    return memmem(title, n, lit("is shutting down")) != NULL;
}


long
memory_kb(pid_t pid)
{
    long   kb;
    char   file[64], line[256];
    FILE  *f;

    snprintf(file, sizeof(file), "/proc/%d/smaps_rollup", (int) pid);
    f = fopen(file, "r");

    if (f == NULL) {
        return -1;
    }

    kb = -1;

    while (fgets(line, sizeof(line), f)) {
        if (sscanf(line, "Anonymous: %ld kB", &kb) == 1) {
            break;
        }
    }

    fclose(f);

    return kb;
}


int
descriptors(pid_t pid)
{
    int             n;
    DIR            *dir;
    char            name[64];
    struct dirent  *d;

    snprintf(name, sizeof(name), "/proc/%d/fd", (int) pid);
    dir = opendir(name);

    if (dir == NULL) {
        return -1;
    }

    n = 0;

    while ((d = readdir(dir))) {
        n += isdigit((unsigned char) d->d_name[0]) != 0;
    }

    closedir(dir);

    return n;
}


void
series_add(series_t *s, double time, double value)
{
    if (s->n == s->size) {
        s->size = s->size ? s->size * 2 : 256;
        s->samples = renew(s->samples, s->size * sizeof(sample_t));
    }

    s->samples[s->n].time = time;
    s->samples[s->n++].value = value;
}


void
series_fit(series_t *s, double from, fit_t *fit)
{
    size_t  i, first;
    double  t, t_mean, tt, tv;

    memset(fit, 0, sizeof(fit_t));

    for (first = 0; first < s->n && s->samples[first].time < from; first++) {
        /* void */
    }

    fit->n = s->n - first;

    if (fit->n == 0) {
        return;
    }

    fit->time = s->samples[s->n - 1].time - s->samples[first].time;
    t_mean = 0;

    for (i = first; i < s->n; i++) {
        t_mean += s->samples[i].time / fit->n;
        fit->mean += s->samples[i].value / fit->n;
    }

    tt = 0;
    tv = 0;

    for (i = first; i < s->n; i++) {
        t = s->samples[i].time - t_mean;
        tt += t * t;
        tv += t * (s->samples[i].value - fit->mean);
    }

    if (tt > 0) {
        fit->rise = tv / tt * fit->time;
    }
}


static metric_t *
metrics_find(metrics_t *m, const char *name, size_t len)
{
    size_t  i;

    for (i = 0; i < m->n; i++) {
        if (strncmp(m->list[i].name, name, len) == 0
            && m->list[i].name[len] == '\0')
        {
            return &m->list[i];
        }
    }

    return NULL;
}


/* a histogram is made of counters */

static int
is_counter(const char *name, size_t len)
{
    size_t                    i, n;
    static const char *const  ends[] = { "_total", "_bucket", "_sum",
                                         "_count" };

    for (i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        n = strlen(ends[i]);

        if (len > n && memcmp(name + len - n, ends[i], n) == 0) {
            return 1;
        }
    }

    return 0;
}


void
metrics_read(metrics_t *m, str_t text, void (*back)(const char *name,
    double from, double to))
{
    size_t       len;
    double       value;
    metric_t    *metric;
    const char  *p, *end, *line, *blank, *brace;

    for (line = text.data, end = line + text.len; line < end; line = p + 1) {

        p = memchr(line, '\n', end - line);

        if (p == NULL) {
            return;
        }

        blank = memchr(line, ' ', p - line);

        if (*line == '#' || blank == NULL) {
            continue;
        }

        len = blank - line;

        if (len >= sizeof(metric->name)) {
            continue;
        }

        value = strtod(blank, NULL);
        metric = metrics_find(m, line, len);

        if (metric == NULL) {

            if (m->n == m->size) {
                m->size = m->size ? m->size * 2 : 128;
                m->list = renew(m->list, m->size * sizeof(metric_t));
            }

            metric = &m->list[m->n++];
            memset(metric, 0, sizeof(metric_t));
            memcpy(metric->name, line, len);

            brace = memchr(line, '{', len);
            metric->counter = is_counter(line, brace ? (size_t) (brace - line)
                                                     : len);

        } else if (metric->counter && value < metric->value) {
            back(metric->name, metric->value, value);
        }

        metric->value = value;
    }
}


double
metrics_value(metrics_t *m, const char *name)
{
    metric_t  *metric;

    metric = metrics_find(m, name, strlen(name));

    return metric ? metric->value : -1;
}
