
/*
 * Redis is a replica of a master that is not there, as in a failover that goes
 * wrong: it serves reads and subscriptions and refuses to write.  Then it is a
 * master again.
 */


#include "faults.h"
#include "link.h"


static int64_t   until;                 /* it is a master from then on */
static int       asked;                 /* to be one */
static uint64_t  swaps;


static void
master_again(link_t *l, call_t *call, redisReply *reply)
{
    asked = 0;

    if (reply && reply->type == REDIS_REPLY_STATUS) {
        until = 0;
        say("Redis is a master again");
    }
}


static void
become_replica(rng_t *r)
{
    if (until || !control.up) {
        return;
    }

    /* nobody listens at port 1 */

    link_command(&control, NULL, "REPLICAOF 127.0.0.1 1");

    until = run.now + 100 + below(r, chance(r, 30) ? 3500 : 800);
    swaps++;
    say("Redis is a replica");
}


static void
roles_tick(void)
{
    if (until && !asked && run.now > until && control.up) {
        asked = 1;
        link_command(&control, master_again, "REPLICAOF NO ONE");
    }
}


static void
roles_stop(void)
{
    if (until) {
        until = run.now;
    }
}


static int
roles_last(void)
{
    return until != 0;
}


static void
roles_told(void)
{
    if (fault_asked("roles")) {
        fault_told("roles swapped", swaps);
    }
}


const fault_t  fault_roles = {
    "roles", 10, become_replica, roles_tick, roles_stop, roles_last, roles_told
};
