
/*
 * The phases.  After the faults an event without a wake-up is added to each
 * channel, and the subscriptions are cut: every client has to get it.  Then
 * one with a wake-up.  Then a while in which nothing is broken.
 */


#include "answers.h"
#include "client.h"
#include "faults.h"
#include "link.h"
#include "look.h"
#include "producers.h"
#include "programs.h"
#include "verdict.h"


#define CALM_TIME  1500                 /* ms */


static void
library_asked(link_t *l, call_t *call, redisReply *reply)
{
    run.waiting--;

    if (reply && reply->type == REDIS_REPLY_INTEGER) {
        run.ready = 1;
    }
}


static int
all_done(int report)
{
    int  i, done;

    done = 1;

    for (i = 0; i < nclients; i++) {
        if (!client_done(&clients[i], report)) {
            done = 0;

            if (!report) {
                break;
            }
        }
    }

    return done;
}


static void
late(const char *what)
{
    violation(NULL, -1, "not all clients got to the end in %d s, %s",
              CATCH_UP / 1000, what);
    all_done(1);
    answers_done(1);
}


/* 1: each channel has its final event */

static int
finals(int silent)
{
    int  i, done;

    if (run.waiting) {
        return 0;
    }

    done = 1;

    for (i = 0; i < opt.channels && control.up; i++) {

        if (chans[i].final) {
            continue;
        }

        done = 0;

        publish_final(i, silent);
    }

    return done && control.up;
}


static void
next_phase(phase_e phase)
{
    int  i;

    for (i = 0; i < opt.channels; i++) {
        chans[i].final = 0;
        chans[i].refused = 0;
    }

    run.phase = phase;
    run.until = run.now + CATCH_UP;
    run.step = 0;
}


static void
begin_calm(void)
{
    int       i, k;
    track_t  *t;

    for (k = 0; k < nclients; k++) {
        for (i = 0; i < opt.channels; i++) {
            t = &clients[k].tracks[i];

            if (t->state == IN) {
                memcpy(t->live, chans[i].live, sizeof(t->live));
            }
        }
    }

    next_phase(CALM);

    run.until = run.now + CALM_TIME;
}


/* all clients go, if somebody looks at what they leave behind */

static void
empty(void)
{
    int  i;

    if (!opt.soak) {
        run.phase = VERIFY;
        return;
    }

    say("all clients go");

    next_phase(EMPTY);

    run.since = run.now;

    for (i = 0; i < nclients; i++) {
        client_close(&clients[i]);
        clients[i].state = IDLE;
        clients[i].next = INT64_MAX;
    }
}


static void
phase_starting(void)
{
    if (control.up && prog.nginx_pid == 0 && !prog.launcher) {

        if (opt.daemon) {
            prog.nginx_pid = nginx_master();
        }

        if (prog.nginx_pid == 0) {
            nginx_start();
        }
    }

    if (run.ready && !looks.asking && looks.asked && status_is(0, 0)
        && (!opt.soak || looks.fds_first))
    {
        run.phase = RUNNING;
        run.began = run.now;
        run.until = run.now + (int64_t) (opt.time * 1000);
        faults.next = run.now + 1000;
        producers.paid = run.now;

        return;
    }

    if (!run.ready && prog.nginx_pid && control.up && run.waiting == 0) {
        link_command(&control, library_asked, "FCALL_RO rtbus_version 0");
        run.waiting++;
    }

    if (run.now > CATCH_UP) {
        die("nginx and Redis did not start, see %s", opt.dir);
    }
}


static void
phase_running(void)
{
    if (run.now < run.until && !run.stop) {
        return;
    }

    say("producers stop");

    faults_stop();

    run.ended = run.now;
    run.phase = STOPPING;
    run.until = run.now + CATCH_UP;
}


static void
phase_stopping(void)
{
    if (producers_up() && control.up && control.calls == 0
        && producers_idle() && !faults_last())
    {
        next_phase(QUIET);
    }

    if (run.now > run.until) {
        die("Redis did not come back, see %s", opt.dir);
    }
}


/* nobody is woken: the lost subscriptions make the workers read */

static void
phase_quiet(void)
{
    if (run.step == 0) {

        if (finals(1)) {
            link_command(&control, NULL, "CLIENT KILL TYPE pubsub");
            say("a silent event in each channel, subscriptions cut");
            run.step = 1;
        }

    } else if (all_done(0) && answers_done(0)) {
        say("all clients are at the end");
        next_phase(LAST);
        return;
    }

    if (run.now > run.until) {
        late("of events without a wake-up");
        next_phase(LAST);
    }
}


static void
phase_last(void)
{
    pid_t  pids[MAX_WORKERS];

    if (run.step == 0) {
        run.step = finals(0);

    } else if (all_done(0)
               && all_workers(pids) == opt.workers * opt.nodes)
    {
        say("all clients are at the end again");
        begin_calm();
        return;
    }

    if (run.now > run.until) {
        late("of the last events");
        run.phase = VERIFY;
    }
}


static void
phase_end(void)
{
    switch (run.step) {

    case 0:
        run.step = finals(0);
        break;

    case 1:
        if (all_done(0)) {

            /* a moment for what should not come */

            say("all clients are at the end for good");
            run.step = 2;
            run.until = run.now + 300;
            run.since = run.now;
            return;
        }

        break;

    case 2:
        if (run.now > run.until) {
            run.step = 3;
            run.until = run.now + CATCH_UP;
        }

        return;

    default: /* 3 */
        if (looks.asked > run.since && status_is(1, 0)) {
            empty();
            return;
        }

        if (run.now > run.until) {
            status_is(1, 1);
            empty();
        }

        return;
    }

    if (run.now > run.until) {
        late("of the last events");
        run.phase = VERIFY;
    }
}


static void
phase_empty(void)
{
    if (looks.asked > run.since && status_is(0, 0)
        && looks.fds_last && looks.fds_last <= looks.fds_first)
    {
        say("nothing is left of the clients");
        run.phase = VERIFY;
        return;
    }

    if (run.now <= run.until) {
        return;
    }

    status_is(0, 1);

    if (looks.fds_last > looks.fds_first) {
        violation(NULL, -1, "a worker has %d descriptors when all clients are "
                  "gone, and had %d before they came", looks.fds_last,
                  looks.fds_first);
    }

    run.phase = VERIFY;
}


void
phase_tick(void)
{
    switch (run.phase) {

    case STARTING:
        phase_starting();
        break;

    case RUNNING:
        phase_running();
        break;

    case STOPPING:
        phase_stopping();
        break;

    case QUIET:
        phase_quiet();
        break;

    case LAST:
        phase_last();
        break;

    case CALM:
        if (run.now > run.until) {
            next_phase(END);
        }

        break;

    case END:
        phase_end();
        break;

    case EMPTY:
        phase_empty();
        break;

    case VERIFY:
        break;
    }
}
