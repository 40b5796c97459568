
/* Workers are killed or frozen, and nginx is reloaded. */


#include <signal.h>

#include "faults.h"
#include "look.h"
#include "programs.h"


static uint64_t  kills;
static uint64_t  freezes;
static uint64_t  reloads;


/* one of them, now and then all at once */

static void
kill_worker(rng_t *r)
{
    int    i, n;
    pid_t  pids[MAX_WORKERS];

    if (faults.upgrade == 1) {
        /* a new master looks like a worker */
        return;
    }

    n = all_workers(pids);

    if (n && !chance(r, 8)) {
        pids[0] = pids[below(r, n)];
        n = 1;
    }

    for (i = 0; i < n; i++) {
        kill(pids[i], SIGKILL);
        kills++;
        say("worker %d killed", (int) pids[i]);
    }
}


static void
freeze_worker(rng_t *r)
{
    int    n;
    pid_t  pids[MAX_WORKERS];

    if (faults.upgrade == 1) {
        return;
    }

    n = all_workers(pids);

    if (n) {
        n = below(r, n);
        freeze(pids[n], 50 + below(r, 1500));
        freezes++;
        say("worker %d frozen", (int) pids[n]);
    }
}


static void
reload(rng_t *r)
{
    int  beside;

    if (run.now < faults.reload || faults.upgrade) {
        return;
    }

    beside = prog.beside_pid && chance(r, 50);

    leave_all(beside);

    faults.reload = run.now + 1500;
    kill(beside ? prog.beside_pid : prog.nginx_pid, SIGHUP);
    reloads++;
    say("reload%s", beside ? " of the other node" : "");
}


uint64_t
workers_killed(void)
{
    return kills;
}


static void
worker_told(void)
{
    fault_told("workers killed", kills);
}


const fault_t  fault_worker = {
    "worker", 25, kill_worker, NULL, NULL, NULL, worker_told
};


static void
freeze_told(void)
{
    fault_told("frozen", freezes);
}


const fault_t  fault_freeze = {
    "freeze", 10, freeze_worker, NULL, NULL, NULL, freeze_told
};


static void
reload_told(void)
{
    fault_told("reloads", reloads);
}


const fault_t  fault_reload = {
    "reload", 12, reload, NULL, NULL, NULL, reload_told
};
