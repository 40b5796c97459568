
/* Redis ends, is killed or frozen, or loses its connections. */


#include <signal.h>

#include "faults.h"
#include "link.h"
#include "producers.h"
#include "programs.h"


#define HUSH  1000                      /* ms at most, before it is killed */


static uint64_t  redis_term;
static uint64_t  redis_kill;
static uint64_t  redis_freeze;
static uint64_t  cut_sub;
static uint64_t  cut_cmd;


static void
end_redis(rng_t *r)
{
    if (prog.redis_pid == 0 || prog.redis_start) {
        return;
    }

    thaw();

    prog.redis_start = run.now + below(r, chance(r, 25) ? 3000 : 400);

    if (chance(r, 50)) {
        kill(prog.redis_pid, SIGTERM);
        prog.redis_kill = run.now + 10000;
        redis_term++;
        say("Redis ended");

    } else {
        producers.hush = run.now + HUSH;
    }
}


/*
 * Redis, even if it syncs always, may hand an event to a subscriber that was
 * slow before it has written it: the rest of a reply goes out as soon as the
 * socket takes it.  What it has answered is written.  So all is answered when
 * it is killed; with SIGTERM it may be in the middle of things.
 */

static void
redis_tick(void)
{
    if (producers.hush
        && (opt.lossy || run.now > producers.hush || producers_idle()))
    {
        if (opt.lossy || producers_idle()) {
            kill(prog.redis_pid, SIGKILL);
            redis_kill++;
            say("Redis killed");

        } else {
            prog.redis_start = 0;
        }

        producers.hush = 0;
    }

    if (prog.redis_kill && run.now > prog.redis_kill) {
        kill(prog.redis_pid, SIGKILL);
    }

    if (prog.redis_start && prog.redis_pid == 0
        && run.now > prog.redis_start)
    {
        redis_start();
        say("Redis started");
    }
}


static void
freeze_redis(rng_t *r)
{
    if (prog.redis_pid == 0 || prog.redis_start) {
        return;
    }

    freeze(prog.redis_pid, 50 + below(r, chance(r, 30) ? 3500 : 600));
    redis_freeze++;
    say("Redis frozen");
}


static void
cut_subscriptions(rng_t *r)
{
    if (control.up) {
        link_command(&control, NULL, "CLIENT KILL TYPE pubsub");
        cut_sub++;
        say("subscriptions cut");
    }
}


static void
cut_commands(rng_t *r)
{
    if (control.up) {
        link_command(&control, NULL, "CLIENT KILL TYPE normal SKIPME yes");
        cut_cmd++;
        say("commands cut");
    }
}


static void
redis_told(void)
{
    fault_told("Redis ended", redis_term);
    fault_told("killed", redis_kill);
}


const fault_t  fault_redis = {
    "redis", 15, end_redis, redis_tick, NULL, NULL, redis_told
};


static void
redis_freeze_told(void)
{
    fault_told("frozen", redis_freeze);
}


const fault_t  fault_redis_freeze = {
    "freeze", 4, freeze_redis, NULL, NULL, NULL, redis_freeze_told
};


static void
cut_sub_told(void)
{
    fault_told("subscriptions cut", cut_sub);
}


const fault_t  fault_cut_sub = {
    "cut", 14, cut_subscriptions, NULL, NULL, NULL, cut_sub_told
};


static void
cut_cmd_told(void)
{
    fault_told("commands cut", cut_cmd);
}


const fault_t  fault_cut_cmd = {
    "cut", 14, cut_commands, NULL, NULL, NULL, cut_cmd_told
};
