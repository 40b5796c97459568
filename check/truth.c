
/* The channels, and what was seen of them. */


#include "truth.h"
#include "verdict.h"


chan_t  chans[MAX_CHANNELS];


uint64_t
hash(uint64_t h, const char *p, size_t len)
{
    while (len--) {
        h = (h ^ (uint8_t) *p++) * 0x100000001b3;
    }

    return h;
}


uint64_t
hash_event(str_t name, str_t data)
{
    uint64_t  h;

    h = hash(HASH_START, name.data, name.len);
    h = hash(h, "", 1);
    h = hash(h, data.data, data.len);

    return h ? h : 1;
}


int
position(str_t s, uint64_t *epoch, uint64_t *seq)
{
    str_t  rest;

    return number(s, epoch, '-', &rest) && number(rest, seq, 0, NULL);
}


/* a place as a position, for a moment */

const char *
spell(int chan, uint64_t place)
{
    char         *p;
    static int    n;
    static char   buf[8][48];

    p = buf[n++ % 8];

    snprintf(p, sizeof(buf[0]), "%" PRIu64 "-%" PRIu64,
             place ? chans[chan].lives[life_of(place)].epoch : 0,
             (uint64_t) seq_of(place));

    return p;
}


int
chan_find(str_t name)
{
    uint64_t  i;
    str_t     s;

    if (name.len < 6 || memcmp(name.data, "job:c", 5) != 0) {
        return -1;
    }

    s.data = name.data + 5;
    s.len = name.len - 5;

    if (!number(s, &i, 0, NULL) || i >= (uint64_t) opt.channels) {
        return -1;
    }

    return (int) i;
}


/* the place of a position; 0: there can be no such one */

int
find_place(struct client_s *c, int chan, str_t pos, uint64_t *place)
{
    int       i;
    chan_t   *ch;
    uint64_t  epoch, seq;

    ch = &chans[chan];

    if (!position(pos, &epoch, &seq)) {
        violation(c, chan, "malformed position \"%.*s\"", (int) pos.len,
                  pos.data);
        return 0;
    }

    *place = 0;

    if (epoch == 0 && seq == 0) {
        return 1;
    }

    for (i = ch->nlives - 1; i >= 0; i--) {
        if (ch->lives[i].epoch == epoch) {
            break;
        }
    }

    if (i == -1) {

        if (ch->nlives > ch->remade || ch->nlives == MAX_LIVES
            || (ch->nlives && epoch < ch->lives[ch->nlives - 1].epoch))
        {
            violation(c, chan, "a position of another epoch: \"%.*s\"",
                      (int) pos.len, pos.data);
            return 0;
        }

        i = ch->nlives++;
        ch->lives[i].epoch = epoch;
    }

    if (seq > 100000000) {
        violation(c, chan, "position \"%.*s\"", (int) pos.len, pos.data);
        return 0;
    }

    *place = place_of(i, seq);

    return 1;
}


void
seen(struct client_s *c, int chan, uint64_t place, uint64_t h)
{
    chan_t    *ch;
    life_t    *life;
    uint64_t   size, seq;

    ch = &chans[chan];
    life = &ch->lives[life_of(place)];
    seq = seq_of(place);

    if (seq >= life->size) {

        size = life->size ? life->size : 1024;

        while (size <= seq) {
            size *= 2;
        }

        life->seen = renew(life->seen, size * sizeof(uint64_t));
        memset(life->seen + life->size, 0,
               (size - life->size) * sizeof(uint64_t));
        life->size = size;
    }

    if (life->seen[seq] == 0) {
        life->seen[seq] = h;

    } else if (life->seen[seq] != h && !opt.lossy) {
        violation(c, chan, "event %s is not what others have got",
                  spell(chan, place));
    }

    if (place > ch->top) {
        ch->top = place;
    }
}
