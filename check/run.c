
/* Where the run is, its random numbers, and what it says. */


#include <stdarg.h>
#include <time.h>

#include "check.h"


options_t  opt;
run_t      run;


int64_t
clock_ms(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000 - run.zero;
}


void
say(const char *fmt, ...)
{
    va_list  args;

    if (!opt.verbose) {
        return;
    }

    printf("%7.3f  ", run.now / 1000.0);
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    printf("\n");
    fflush(stdout);
}


/* splitmix64 */

uint64_t
rnd(rng_t *r)
{
    uint64_t  z;

    z = (r->state += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;

    return z ^ (z >> 31);
}


uint32_t
below(rng_t *r, uint32_t n)
{
    return n ? (uint32_t) ((rnd(r) >> 32) * n >> 32) : 0;
}


int
chance(rng_t *r, int percent)
{
    return below(r, 100) < (uint32_t) percent;
}


void
seed(rng_t *r, uint64_t id)
{
    r->state = opt.seed * 0x2545f4914f6cdd1d + id;
    rnd(r);
    rnd(r);
}
