
/* Which fault is next, and when. */


#include <signal.h>

#include "faults.h"


extern const fault_t  fault_worker, fault_freeze, fault_reload;
extern const fault_t  fault_upgrade;
extern const fault_t  fault_redis, fault_redis_freeze, fault_cut_sub,
                      fault_cut_cmd;
extern const fault_t  fault_trim, fault_remake;
extern const fault_t  fault_slow, fault_roles, fault_full, fault_evict;

/* a seed means other faults if their order is another one */

static const fault_t *const  table[] = {
    &fault_worker, &fault_freeze, &fault_reload,
    &fault_upgrade,
    &fault_redis, &fault_redis_freeze, &fault_cut_sub, &fault_cut_cmd,
    &fault_trim, &fault_remake,
    &fault_slow, &fault_roles, &fault_full, &fault_evict,
    NULL
};


faults_t  faults;


void
thaw(void)
{
    if (faults.frozen) {
        kill(faults.frozen, SIGCONT);
        faults.frozen = 0;
    }
}


void
freeze(pid_t pid, int ms)
{
    thaw();

    if (kill(pid, SIGSTOP) == 0) {
        faults.frozen = pid;
        faults.thaw = run.now + ms;
    }
}


int
fault_asked(const char *name)
{
    size_t       len;
    const char  *p;

    len = strlen(name);

    for (p = opt.faults; *p; p += strcspn(p, ","), p += (*p == ',')) {
        if (strncmp(p, name, len) == 0 && (p[len] == ',' || p[len] == '\0')) {
            return 1;
        }
    }

    return 0;
}


void
faults_init(void)
{
    int          i;
    size_t       len;
    const char  *p;

    for (p = opt.faults; *p; p += len + (p[len] == ',')) {

        len = strcspn(p, ",");

        for (i = 0; table[i]; i++) {
            if (strncmp(p, table[i]->name, len) == 0
                && table[i]->name[len] == '\0')
            {
                break;
            }
        }

        if (table[i] == NULL && strcmp(opt.faults, "none") != 0) {
            die("there is no fault \"%.*s\"", (int) len, p);
        }
    }

    seed(&faults.rng, 2);
}


static void
fault(void)
{
    int  i, n;

    n = 0;

    for (i = 0; table[i]; i++) {
        n += fault_asked(table[i]->name) ? table[i]->weight : 0;
    }

    n = below(&faults.rng, n);

    for (i = 0; table[i]; i++) {

        n -= fault_asked(table[i]->name) ? table[i]->weight : 0;

        if (n < 0) {
            table[i]->run(&faults.rng);
            return;
        }
    }
}


void
faults_tick(void)
{
    int  i;

    if (faults.frozen && run.now > faults.thaw) {
        thaw();
    }

    for (i = 0; table[i]; i++) {
        if (table[i]->tick) {
            table[i]->tick();
        }
    }

    if (run.phase == RUNNING && run.now > faults.next) {
        faults.next += opt.every ? (int64_t) (opt.every * 1000)
                                 : run.now - faults.next + 100
                                   + below(&faults.rng, 900);
        fault();
    }
}


void
faults_stop(void)
{
    int  i;

    thaw();

    for (i = 0; table[i]; i++) {
        if (table[i]->stop) {
            table[i]->stop();
        }
    }
}


int
faults_last(void)
{
    int  i;

    for (i = 0; table[i]; i++) {
        if (table[i]->lasts && table[i]->lasts()) {
            return 1;
        }
    }

    return 0;
}


static const char  *separator;


void
fault_told(const char *what, uint64_t n)
{
    printf("%s%s %" PRIu64, separator, what, n);
    separator = ", ";
}


void
faults_report(void)
{
    int  i;

    separator = "faults      ";

    for (i = 0; table[i]; i++) {
        if (table[i]->told) {
            table[i]->told();
        }
    }

    printf("\n");
}
