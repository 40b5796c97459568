
/*
 * The binary of nginx is upgraded: first there are two masters with their
 * workers, then the old workers leave, then their master.
 */


#include <signal.h>

#include "faults.h"
#include "look.h"
#include "programs.h"


static int64_t   upgraded;              /* it was begun */
static uint64_t  upgrades;


static void
upgrade(rng_t *r)
{
    if (run.now < faults.reload || faults.upgrade) {
        return;
    }

    kill(prog.nginx_pid, SIGUSR2);

    faults.upgrade = 1;
    upgraded = run.now;
    upgrades++;
    say("upgrade");
}


static void
upgrade_tick(void)
{
    pid_t  pid, pids[MAX_WORKERS];

    if (faults.upgrade == 0) {
        return;
    }

    if (run.now - upgraded > CATCH_UP) {
        die("nginx is not upgraded, see %s/error.log", opt.dir);
    }

    switch (faults.upgrade) {

    case 1:
        pid = nginx_master();

        if (pid == 0 || pid == prog.nginx_pid
            || children(pid, pids, MAX_WORKERS) < opt.workers)
        {
            return;
        }

        leave_all(0);

        prog.nginx_old = prog.nginx_pid;
        prog.nginx_pid = pid;
        faults.upgrade = 2;

        kill(prog.nginx_old, SIGWINCH);
        say("workers of the old nginx leave");

        return;

    case 2:
        if (children(prog.nginx_old, pids, MAX_WORKERS) == 1) {
            faults.upgrade = 3;
            kill(prog.nginx_old, SIGQUIT);
        }

        return;

    default: /* 3 */

        if (prog.nginx_old) {
            return;
        }

        /* a new binary starts its counters at 0 */

        looks.metrics.n = 0;

        faults.reload = run.now + 1500;
        faults.upgrade = 0;
        say("upgraded");
    }
}


static int
upgrade_lasts(void)
{
    return faults.upgrade != 0;
}


static void
upgrade_told(void)
{
    fault_told("upgrades", upgrades);
}


const fault_t  fault_upgrade = {
    "upgrade", 8, upgrade, upgrade_tick, NULL, upgrade_lasts, upgrade_told
};
