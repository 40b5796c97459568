
/*
 * The way to Redis is slow for a while, or nothing passes at all.  Connections
 * do not end: neither side is told that the other one is out of reach.
 */


#include "faults.h"
#include "proxy.h"


static int64_t   until;                 /* 0: it is well */
static int       cut;                   /* and then all are reset */
static uint64_t  slowed;
static uint64_t  stalled;


static void
well(void)
{
    if (until == 0) {
        return;
    }

    proxy_rate(PROXY_OPEN);

    if (cut) {
        proxy_cut();
    }

    until = 0;
    say("the way to Redis is well again%s", cut ? ", others are reset" : "");
}


static void
slow(rng_t *r)
{
    long  rate;

    if (until) {
        return;
    }

    if (chance(r, 50)) {
        rate = 20000 + below(r, 200000);
        until = run.now + 500 + below(r, 3000);
        cut = 0;
        slowed++;

    } else {
        rate = 0;
        until = run.now + 100 + below(r, chance(r, 30) ? 4000 : 800);
        cut = chance(r, 40);
        stalled++;
    }

    proxy_rate(rate);
    say("the way to Redis has %ld bytes/s", rate);
}


static void
slow_tick(void)
{
    proxy_tick();

    if (until && run.now > until) {
        well();
    }
}


static void
slow_told(void)
{
    if (fault_asked("slow")) {
        fault_told("links slowed", slowed);
        fault_told("stalled", stalled);
    }
}


const fault_t  fault_slow = {
    "slow", 14, slow, slow_tick, well, NULL, slow_told
};
