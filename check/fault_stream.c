
/*
 * Channels lose events: their streams are trimmed, or deleted and made again.
 * There are gaps then, which have to account for it.
 */


#include "faults.h"
#include "link.h"
#include "truth.h"


static uint64_t  trims;
static uint64_t  remakes;


static void
trim_done(link_t *l, call_t *call, redisReply *reply)
{
    if (reply && reply->type == REDIS_REPLY_INTEGER) {
        trims++;
    }
}


static void
deleted(link_t *l, call_t *call, redisReply *reply)
{
    chans[call->chan].busy = 0;
}


static void
trim(rng_t *r)
{
    int      chan;
    chan_t  *ch;

    chan = below(r, opt.channels);
    ch = &chans[chan];

    if (!control.up || seq_of(ch->top) <= 20) {
        return;
    }

    ch->trimmed = ch->top - below(r, 20);

    link_command(&control, trim_done, "XTRIM {%s}:events MINID %s",
                 ch->name, spell(chan, ch->trimmed + 1));
    say("%s trimmed up to %s", ch->name, spell(chan, ch->trimmed));
}


static void
remake(rng_t *r)
{
    int      chan;
    call_t  *call;
    chan_t  *ch;

    chan = below(r, opt.channels);
    ch = &chans[chan];

    if (!control.up || ch->busy || ch->remade == MAX_LIVES - 1) {
        return;
    }

    ch->remade++;
    ch->busy = 1;

    call = link_command(&control, deleted,
                        "DEL {%s}:events {%s}:state {%s}:output", ch->name,
                        ch->name, ch->name);
    call->chan = chan;

    remakes++;
    say("%s deleted", ch->name);
}


static void
trim_told(void)
{
    fault_told("trims", trims);
}


const fault_t  fault_trim = {
    "trim", 12, trim, NULL, NULL, NULL, trim_told
};


static void
remake_told(void)
{
    fault_told("deletes", remakes);
}


const fault_t  fault_remake = {
    "remake", 12, remake, NULL, NULL, NULL, remake_told
};
