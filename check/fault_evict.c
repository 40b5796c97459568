
/*
 * Redis loses one of the keys of a channel, as it does if its memory is full.
 * Without its stream the channel is another one; without its state or output
 * the events are still to come, exactly once.
 */


#include "faults.h"
#include "link.h"
#include "truth.h"


static uint64_t  evicted;


static void
key_deleted(link_t *l, call_t *call, redisReply *reply)
{
    chans[call->chan].busy = 0;
}


static void
evict(rng_t *r)
{
    int                       chan, key;
    call_t                   *call;
    chan_t                   *ch;
    static const char *const  keys[] = { "state", "output", "events" };

    chan = below(r, opt.channels);
    key = below(r, countof(keys));
    ch = &chans[chan];

    if (!control.up || ch->busy || ch->remade == MAX_LIVES - 1) {
        return;
    }

    ch->evicted = 1;
    ch->remade += (key == 2);
    ch->busy = 1;

    call = link_command(&control, key_deleted, "DEL {%s}:%s", ch->name,
                        keys[key]);
    call->chan = chan;

    evicted++;
    say("%s of %s evicted", keys[key], ch->name);
}


static void
evict_told(void)
{
    if (fault_asked("evict")) {
        fault_told("keys evicted", evicted);
    }
}


const fault_t  fault_evict = {
    "evict", 10, evict, NULL, NULL, NULL, evict_told
};
