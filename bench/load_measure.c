
/* Time, histograms, and what processes have used. */


#include <errno.h>
#include <time.h>
#include <unistd.h>

#include "load.h"


uint64_t  now;


uint64_t
clock_ns(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000000000 + ts.tv_nsec;
}


void
turn(int ms)
{
    io_wait(ms);
    now = clock_ns();
    io_handle();
}


void
wait_for(double s)
{
    uint64_t  end;

    end = clock_ns() + (uint64_t) (s * 1e9);

    do {
        turn(10);
    } while (now < end);
}


void
histogram_add(histogram_t *h, uint64_t ns)
{
    int       e;
    uint64_t  us;

    us = ns / 1000;
    e = 0;

    while (us >> e >= 2 * STEPS) {
        e++;
    }

    /* us >> e is in STEPS .. 2 * STEPS - 1, below that it is exact */

    h->n[e * STEPS + (us >> e)]++;
    h->count++;

    if (ns > h->max) {
        h->max = ns;
    }
}


/* in ms */

double
histogram_part(histogram_t *h, double part)
{
    int       i, e;
    uint64_t  want, sum;

    want = h->count * part;

    for (i = 0, sum = 0; i < 36 * STEPS; i++) {
        sum += h->n[i];

        if (sum > want) {
            e = (i < 2 * STEPS) ? 0 : i / STEPS - 1;
            return ((double) ((uint64_t) (i - e * STEPS) << e)) / 1000;
        }
    }

    return h->max / 1e6;
}


/*
 * How long a process has run is known in ns, how much of that was in user mode
 * in ticks.
 */

static void
cpu_add(cpu_t *cpu, pid_t pid)
{
    FILE           *f;
    char            name[64], *p, line[1024];
    double          total, ticks;
    uint64_t        ns;
    unsigned long   user, system;

    snprintf(name, sizeof(name), "/proc/%d/stat", (int) pid);
    f = fopen(name, "r");

    if (f == NULL || fgets(line, sizeof(line), f) == NULL
        || (p = strrchr(line, ')')) == NULL
        || sscanf(p + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
                  &user, &system) != 2)
    {
        die("%s cannot be read: has the server ended?", name);
    }

    fclose(f);

    ticks = sysconf(_SC_CLK_TCK);
    total = (user + system) / ticks;

    snprintf(name, sizeof(name), "/proc/%d/schedstat", (int) pid);
    f = fopen(name, "r");

    if (f) {
        if (fscanf(f, "%" SCNu64, &ns) == 1 && ns) {
            total = ns / 1e9;
        }

        fclose(f);
    }

    cpu->total += total;
    cpu->user += user / ticks;
}


void
sample(sample_t *s)
{
    int            i;
    FILE          *f;
    unsigned long  v[8];

    memset(s, 0, sizeof(sample_t));

    s->time = clock_ns();

    for (i = 0; i < o.nservers; i++) {
        cpu_add(&s->server, o.servers[i]);
    }

    if (o.redis_pid) {
        cpu_add(&s->redis, o.redis_pid);
    }

    cpu_add(&s->self, getpid());

    /* user nice system idle iowait irq softirq steal */

    f = fopen("/proc/stat", "r");

    if (f && fscanf(f, "cpu %lu %lu %lu %lu %lu %lu %lu %lu", &v[0], &v[1],
                    &v[2], &v[3], &v[4], &v[5], &v[6], &v[7]) == 8)
    {
        s->busy = (double) (v[0] + v[1] + v[2] + v[5] + v[6])
                  / sysconf(_SC_CLK_TCK);
        s->steal = (double) v[7] / sysconf(_SC_CLK_TCK);
    }

    if (f) {
        fclose(f);
    }
}


/* bytes that the server has for itself */

double
memory(pid_t *pids, int n)
{
    int            i;
    char           name[64], line[256];
    FILE          *f;
    double         sum;
    unsigned long  kb;

    for (i = 0, sum = 0; i < n; i++) {
        snprintf(name, sizeof(name), "/proc/%d/smaps_rollup", (int) pids[i]);
        f = fopen(name, "r");

        if (f == NULL) {
            die("%s: %s", name, strerror(errno));
        }

        while (fgets(line, sizeof(line), f)) {
            if (sscanf(line, "Pss: %lu kB", &kb) == 1) {
                sum += kb * 1024.0;
            }
        }

        fclose(f);
    }

    return sum;
}
