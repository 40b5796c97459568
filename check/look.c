
/*
 * nginx, looked at once a second.
 *
 * Memory is anonymous memory: of the master, and of those workers that do not
 * leave, their mean.  From a third of the time on a straight line is fitted to
 * each of the two by least squares.  It may rise by SOAK_RISE KB, which is for
 * the holes that a heap gets, and SOAK_SLOPE KB more for each minute.  Where
 * workers are killed or have to leave it is the master, from which all of them
 * are made, that would grow; where they are not, each lives through all.
 */


#include "client.h"
#include "faults.h"
#include "look.h"
#include "programs.h"
#include "request.h"
#include "verdict.h"


#define LOOK        1000                /* ms between two */
#define TELL        10                  /* looks */
#define LEAVE       12000               /* ms, a worker that has to */

#define SOAK_RISE   1024                /* KB, in all */
#define SOAK_SLOPE  32                  /* KB more for each minute */


looks_t  looks;


void
leave(pid_t pid)
{
    int  i;

    for (i = 0; i < looks.nleavers; i++) {
        if (looks.leavers[i].pid == pid) {
            return;
        }
    }

    if (looks.nleavers == MAX_WORKERS) {
        die("there are more than %d old workers", MAX_WORKERS);
    }

    looks.leavers[looks.nleavers].pid = pid;
    looks.leavers[looks.nleavers].since = run.now;
    looks.leavers[looks.nleavers++].late = 0;
}


/* before a reload */

void
leave_all(int beside)
{
    int    i, n;
    pid_t  pids[MAX_WORKERS];

    n = beside ? children(prog.beside_pid, pids, MAX_WORKERS) : workers(pids);

    for (i = 0; i < n; i++) {
        leave(pids[i]);
    }
}


static void
look_at_leavers(pid_t *pids, int n)
{
    int        i, k;
    int64_t    since;
    leaver_t  *l;

    for (i = 0; i < n; i++) {
        if (is_leaving(pids[i])) {
            leave(pids[i]);
        }
    }

    for (i = 0; i < looks.nleavers; /* void */) {
        l = &looks.leavers[i];
        since = run.now - l->since;

        for (k = 0; k < n && pids[k] != l->pid; k++) {
            /* void */
        }

        if (k == n) {
            looks.left++;

            if (since > looks.slowest) {
                looks.slowest = since;
            }

            *l = looks.leavers[--looks.nleavers];
            continue;
        }

        if (since > LEAVE && !l->late) {
            l->late = 1;
            violation(NULL, -1, "worker %d had to leave %d s ago, and is "
                      "still there", (int) l->pid, LEAVE / 1000);
        }

        i++;
    }
}


/* pids: of those workers that do not leave; the greatest number is answered */

static int
look_at_use(pid_t *pids, int n)
{
    int     i, k, fds, max;
    long    kb;
    double  memory, sum, time;

    time = run.now / 1000.0;
    memory = 0;
    sum = 0;
    max = 0;

    for (i = 0, k = 0; i < n; i++) {
        kb = memory_kb(pids[i]);
        fds = descriptors(pids[i]);

        if (kb == -1 || fds == -1) {
            continue;
        }

        k++;
        memory += kb;
        sum += fds;

        if (fds > max) {
            max = fds;
        }
    }

    if (run.phase != RUNNING || k == 0) {
        return max;
    }

    series_add(&looks.memory[WORKERS], time, memory / k);
    series_add(&looks.fds[WORKERS], time, sum / k);
    series_add(&looks.memory[MASTER], time, memory_kb(prog.nginx_pid));
    series_add(&looks.fds[MASTER], time, descriptors(prog.nginx_pid));

    if (looks.memory[WORKERS].n % TELL == 0) {
        say("a worker has %.0f KB, %.1f descriptors", memory / k, sum / k);
    }

    return max;
}


static void
counter_back(const char *name, double from, double to)
{
    violation(NULL, -1, "the counter %s goes back from %.15g to %.15g", name,
              from, to);
}


static void
status_answer(request_t *r, int status, str_t body)
{
    looks.asking = 0;

    if (status == 0 || faults.upgrade) {
        /* cut off, or nobody knows by which nginx it was answered */
        return;
    }

    if (status != 200) {
        violation(NULL, -1, "the status was answered with %d", status);
        return;
    }

    looks.answers++;
    looks.asked = r->since;

    metrics_read(&looks.metrics, body, counter_back);
}


static void
status_ask(void)
{
    buf_t       request;
    request_t  *r;

    memset(&request, 0, sizeof(request));
    putf(&request, "GET /status HTTP/1.0\r\nHost: check\r\n\r\n");

    r = request_send(&request, status_answer);

    if (r) {
        r->chan = -1;
        looks.asking = 1;

    } else {
        free(request.data);
    }
}


/* what the status of the first node has to say, with or without clients */

int
status_is(int any, int report)
{
    int     k, ok, n[KINDS];
    double  value;
    kind_e  kind;
    size_t  i;

    memset(n, 0, sizeof(n));

    for (k = 0; any && k < nclients; k++) {

        if (clients[k].node) {
            continue;
        }

        kind = clients[k].kind;

        if (kind == KIND_UPGRADE) {
            kind = clients[k].polls ? KIND_POLLING : KIND_SOCKETIO;
        }

        n[kind]++;
    }

    struct {
        const char  *name;
        double       value;
    } want[] = {
        { "rtbus_workers", opt.workers },
        { "rtbus_leaving_workers", 0 },
        { "rtbus_redis_up{link=\"pubsub\"}", 1 },
        { "rtbus_redis_up{link=\"command\"}", 1 },
        { "rtbus_connections{transport=\"websocket\"}",
          n[KIND_WEBSOCKET] },
        { "rtbus_connections{transport=\"sse\"}", n[KIND_SSE] },
        { "rtbus_connections{transport=\"socketio\"}", n[KIND_SOCKETIO] },
        { "rtbus_connections{transport=\"polling\"}", n[KIND_POLLING] },
        { "rtbus_send_queue_bytes", 0 },
        { "rtbus_subscriptions", 0 },
        { "rtbus_channels", 0 }
    };

    /* the last three are known where there are no clients */

    i = sizeof(want) / sizeof(want[0]) - (any ? 3 : 0);
    ok = 1;

    while (i--) {
        value = metrics_value(&looks.metrics, want[i].name);

        if (value == want[i].value) {
            continue;
        }

        ok = 0;

        if (report) {
            violation(NULL, -1, "%s is %.15g, and should be %.15g",
                      want[i].name, value, want[i].value);
        }
    }

    return ok;
}


static void
look(void)
{
    int    i, k, n, fds;
    pid_t  pids[MAX_WORKERS];

    look_at_leavers(pids, all_workers(pids));

    if (!opt.soak) {
        return;
    }

    n = workers(pids);

    for (i = 0, k = 0; i < n; i++) {
        if (!is_leaving(pids[i])) {
            pids[k++] = pids[i];
        }
    }

    fds = look_at_use(pids, k);

    if (looks.asking) {
        /* a connection of ours is one of them */
        return;
    }

    if (run.phase == STARTING) {
        looks.fds_first = fds;

    } else if (run.phase == EMPTY) {
        looks.fds_last = fds;
    }
}


void
look_tick(void)
{
    int  pause;

    if (prog.nginx_pid == 0 || !run.ready) {
        return;
    }

    pause = (run.phase == RUNNING) ? LOOK : LOOK / 10;

    if (run.now >= looks.next) {
        looks.next = run.now + pause;
        look();
    }

    if (run.now >= looks.ask && !looks.asking && !faults.upgrade) {
        looks.ask = run.now + pause;
        status_ask();
    }
}


/* the verdict on memory */

void
soaked(void)
{
    int                       i;
    fit_t                     fit;
    double                    from, most;
    static const char *const  names[] = { "the master", "a worker" };

    from = (run.began + (run.ended - run.began) / 3) / 1000.0;

    for (i = MASTER; i <= WORKERS; i++) {
        series_fit(&looks.memory[i], from, &fit);
        most = SOAK_RISE + SOAK_SLOPE * fit.time / 60;

        if (fit.n < 2) {
            violation(NULL, -1, "there are no samples of memory");

        } else if (fit.rise > most) {
            violation(NULL, -1, "the memory of %s has grown by %.0f KB in "
                      "%.0f s, at most %.0f KB would be well", names[i],
                      fit.rise, fit.time, most);
        }
    }
}


void
report_use(const char *name, int who)
{
    int     i;
    fit_t   fit[3];
    double  third;

    third = (run.ended - run.began) / 3000.0;

    for (i = 0; i < 3; i++) {
        series_fit(i == 2 ? &looks.fds[who] : &looks.memory[who],
                   run.began / 1000.0 + (i == 0 ? 0 : third), &fit[i]);
    }

    printf("%-12s%.0f KB, %+.1f KB/min from %.0f s on (in all %+.0f KB), %.1f "
           "descriptors, %+.2f/min\n", name, fit[1].mean,
           fit[1].time ? fit[1].rise * 60 / fit[1].time : 0, third,
           fit[1].rise, fit[2].mean,
           fit[2].time ? fit[2].rise * 60 / fit[2].time : 0);
}
