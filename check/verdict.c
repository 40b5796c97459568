
/* What was found, and what led to it. */


#include <stdarg.h>

#include "client.h"
#include "truth.h"
#include "verdict.h"


#define SHOWN  6                        /* violations shown in full */


verdict_t  verdict;


void
violation(client_t *c, int chan, const char *fmt, ...)
{
    int       i;
    unsigned  line;
    va_list   args;
    track_t  *t;

    if (verdict.violations++ >= SHOWN) {
        return;
    }

    printf("\nVIOLATION at %.3f s: ", run.now / 1000.0);
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    printf("\n");

    if (chan >= 0) {
        printf("  channel %s, seen up to %s\n", chans[chan].name,
               spell(chan, chans[chan].top));
    }

    if (c) {
        printf("  client %d, %s, connection #%u since %.3f\n", c->id,
               kinds[c->kind].name, c->generation, c->since / 1000.0);

        for (i = 0; i < opt.channels; i++) {
            t = &c->tracks[i];

            if (t->want || t->state != OUT) {
                printf("    %-8s %s last:%s%s %s\n",
                       chans[i].name,
                       t->state == OUT ? "out" : t->state == JOINING
                       ? "joining" : t->state == IN ? "in" : "leaving",
                       spell(i, t->last), t->known ? "" : " (unknown)",
                       modes[t->mode]);
            }
        }

        line = c->lines > LOG_LINES ? c->lines - LOG_LINES : 0;

        for ( /* void */ ; line < c->lines; line++) {
            printf("    %s\n", c->log[line % LOG_LINES]);
        }
    }

    fflush(stdout);
}
