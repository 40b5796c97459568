
/*
 * What a client is told, and whether that may be: each event has its place,
 * the cursor says what the client has, a gap accounts for what it has not.
 */


#include "client.h"
#include "verdict.h"


snapshot_t     *snapshots;
size_t          nsnapshots;

static size_t   size_snapshots;


void
client_state(client_t *c, int chan, str_t data, uint64_t *last)
{
    str_t                     v[3];
    uint64_t                  place, progress;
    snapshot_t               *s;
    static const char *const  names[] = { "position", "output", "progress" };

    if (!json(data, names, v, 3) || !find_place(c, chan, v[0], &place)) {
        violation(c, chan, "malformed state: %.*s",
                  (int) (data.len > 100 ? 100 : data.len), data.data);
        return;
    }

    progress = 0;

    if (v[2].data) {
        number(v[2], &progress, 0, NULL);
    }

    if (nsnapshots == size_snapshots) {
        size_snapshots = size_snapshots ? size_snapshots * 2 : 1024;
        snapshots = renew(snapshots, size_snapshots * sizeof(snapshot_t));
    }

    s = &snapshots[nsnapshots++];

    s->cli = c->id;
    s->chan = chan;
    s->place = place;
    s->hash = hash(HASH_START, v[1].data, v[1].len);
    s->len = v[1].len;
    s->progress = (uint32_t) progress;

    *last = place;
}


/*
 * The cursor has each channel that the client is in, and says exactly what the
 * client has got.  A channel whose position is not known yet starts here.
 */

static void
client_cursor(client_t *c, str_t cursor)
{
    int          i, chan, found[MAX_CHANNELS];
    str_t        entry, pos;
    track_t     *t;
    uint64_t     place;
    const char  *p, *end, *comma, *at;

    memset(found, 0, sizeof(int) * opt.channels);

    for (p = cursor.data, end = p + cursor.len; p < end; p = comma + 1) {

        comma = memchr(p, ',', end - p);

        if (comma == NULL) {
            comma = end;
        }

        at = memchr(p, '@', comma - p);

        entry.data = p;
        entry.len = at ? at - p : 0;
        pos.data = at + 1;
        pos.len = at ? comma - at - 1 : 0;

        chan = chan_find(entry);

        if (chan == -1 || found[chan]) {
            violation(c, chan, "malformed cursor \"%.*s\"",
                      (int) cursor.len, cursor.data);
            return;
        }

        found[chan] = 1;
        t = &c->tracks[chan];

        if (t->state == OUT) {
            violation(c, chan, "the cursor has a channel that was left: "
                      "\"%.*s\"", (int) cursor.len, cursor.data);
            continue;
        }

        if (!find_place(c, chan, pos, &place)) {
            continue;
        }

        if (!t->known) {
            if (t->state == IN) {
                t->known = 1;
                t->last = place;
                client_log(c, "%s starts at %s", chans[chan].name,
                           spell(chan, place));
            }

            continue;
        }

        if (place != t->last) {
            violation(c, chan, "the cursor says %s, the client has %s: "
                      "\"%.*s\"", spell(chan, place), spell(chan, t->last),
                      (int) cursor.len, cursor.data);
            t->last = place;
        }
    }

    for (i = 0; i < opt.channels; i++) {
        t = &c->tracks[i];

        if (t->state == IN && t->known && !found[i]) {
            violation(c, i, "the cursor lacks channel %s: \"%.*s\"",
                      chans[i].name, (int) cursor.len, cursor.data);
        }
    }
}


static int
cursor_entry(client_t *c, str_t cursor, int chan, uint64_t *place)
{
    size_t       len;
    str_t        pos;
    const char  *p, *end, *comma, *name;

    name = chans[chan].name;
    len = strlen(name);

    for (p = cursor.data, end = p + cursor.len; p < end; p = comma + 1) {

        comma = memchr(p, ',', end - p);

        if (comma == NULL) {
            comma = end;
        }

        if ((size_t) (comma - p) > len && memcmp(p, name, len) == 0
            && p[len] == '@')
        {
            pos.data = p + len + 1;
            pos.len = comma - pos.data;

            return find_place(c, chan, pos, place) && *place;
        }
    }

    return 0;
}


static void
client_durable(client_t *c, int chan, str_t name, str_t data, str_t cursor)
{
    track_t   *t;
    uint64_t   place, next;

    t = &c->tracks[chan];

    if (!cursor_entry(c, cursor, chan, &place)) {
        violation(c, chan, "no position with \"%.*s\"", (int) data.len,
                  data.data);
        return;
    }

    tally.durable++;
    t->replayed++;

    if (!t->known) {
        t->known = 1;
        t->last = place - 1;
        client_log(c, "%s starts at %s", chans[chan].name,
                   spell(chan, t->last));
    }

    /* after nothing at all comes the first one of any life */

    next = t->last ? t->last + 1 : place_of(life_of(place), 1);

    if (place < next) {
        verdict.doubles++;
        violation(c, chan, "event %s comes again, after %s",
                  spell(chan, place), spell(chan, t->last));

    } else if (place > next) {
        verdict.missing += life_of(place) == life_of(next) ? place - next : 1;
        violation(c, chan, "event %s comes after %s",
                  spell(chan, place), spell(chan, t->last));
    }

    seen(c, chan, place, hash_event(name, data));

    t->last = place;
}


static void
client_live(client_t *c, int chan, str_t *v)
{
    track_t   *t;
    uint64_t   p, n;

    t = &c->tracks[chan];

    if (!number(v[1], &p, 0, NULL) || p >= PRODUCERS
        || !number(v[2], &n, 0, NULL) || n > chans[chan].live[p])
    {
        violation(c, chan, "live event that nobody has sent");
        return;
    }

    tally.lives++;

    if (n <= t->live[p]) {
        if (n == t->live[p]) {
            verdict.doubles++;

        } else {
            verdict.order++;
        }

        violation(c, chan, "live event %" PRIu64 " of producer %" PRIu64
                  " comes after %u", n, p, t->live[p]);

    } else if (run.phase >= CALM && n != t->live[p] + 1) {
        verdict.missing += n - t->live[p] - 1;
        violation(c, chan, "live event %" PRIu64 " of producer %" PRIu64
                  " comes after %u, and nothing was broken", n, p,
                  t->live[p]);
    }

    t->live[p] = n;
}


static void
client_gap(client_t *c, str_t data)
{
    int                       chan;
    str_t                     v[3];
    chan_t                   *ch;
    track_t                  *t;
    uint64_t                  place, last, lost;
    static const char *const  names[] = { "channel", "lost", "position" };

    verdict.gaps++;

    client_log(c, "sync:gap %.*s", (int) data.len, data.data);

    if (!json(data, names, v, 3) || (chan = chan_find(v[0])) == -1) {
        violation(c, -1, "malformed sync:gap %.*s", (int) data.len,
                  data.data);
        return;
    }

    if (!find_place(c, chan, v[2], &place)) {
        return;
    }

    ch = &chans[chan];
    t = &c->tracks[chan];

    if (t->state == OUT || !t->known) {
        violation(c, chan, "sync:gap in a channel where the client is not");
        return;
    }

    if (opt.lossy) {
        /* whatever was lost may have been the end of the stream */
        t->last = place;
        return;
    }

    /* nothing at all is before the beginning of any life */

    last = t->last ? t->last : place_of(life_of(place), 0);

    if (life_of(place) != life_of(last) || place == 0) {

        /* remade, or gone: all that it has now is still to come */

        if (ch->remade == 0 || (place && place < last)
            || (seq_of(place) != 0 && place > ch->trimmed)
            || !same(v[1], "null"))
        {
            violation(c, chan, "sync:gap from %s to %s says that %.*s are "
                      "lost, the channel was remade %d times",
                      spell(chan, t->last), spell(chan, place),
                      (int) v[1].len, v[1].data, ch->remade);
        }

    } else if (place > ch->trimmed && ch->remade <= life_of(place)) {
        violation(c, chan, "sync:gap up to %s, but the stream was trimmed up "
                  "to %s at most", spell(chan, place),
                  spell(chan, ch->trimmed));

    } else if (!number(v[1], &lost, 0, NULL) || place != last + lost) {
        violation(c, chan, "sync:gap from %s to %s says that %.*s are lost",
                  spell(chan, t->last), spell(chan, place), (int) v[1].len,
                  v[1].data);

    } else {
        verdict.lost += lost;
    }

    t->last = place;
}


/* the channel of which a state is waited for */

int
asked_for(client_t *c)
{
    int       i;
    track_t  *t;

    for (i = 0; i < opt.channels; i++) {
        t = &c->tracks[i];

        if (t->peek || (t->state == JOINING && t->mode == STATE)) {
            return i;
        }
    }

    return -1;
}


/* an event of a channel */

static void
client_channel_event(client_t *c, str_t name, str_t data, str_t channel,
    str_t cursor)
{
    int                       chan, live;
    str_t                     v[3];
    track_t                  *t;
    uint64_t                  n;
    static const char *const  names[] = { "c", "p", "n" };

    if (!json(data, names, v, 3) || !number(v[0], &n, 0, NULL)
        || n >= (uint64_t) opt.channels)
    {
        violation(c, -1, "malformed event: %.*s", (int) data.len, data.data);
        return;
    }

    chan = (int) n;
    t = &c->tracks[chan];
    live = same(name, "live:v1");

    if (channel.data && !same(channel, chans[chan].name)) {
        violation(c, chan, "the channel is given as \"%.*s\"",
                  (int) channel.len, channel.data);
    }

    if (t->state == OUT) {
        violation(c, chan, "event of a channel where the client is not");
        return;
    }

    if (t->state == JOINING && (!t->known || live)) {
        violation(c, chan, "event before the channel is joined");
    }

    if (live) {
        client_live(c, chan, v);

    } else {
        client_durable(c, chan, name, data, cursor);
    }

    client_cursor(c, cursor);
}


/* 0: it should not be there */

static int
client_told_state(client_t *c, str_t data, str_t channel)
{
    int       chan;
    track_t  *t;

    /* over Socket.IO one is asked for at a time */

    chan = (c->proto == SIO) ? asked_for(c) : chan_find(channel);

    if (chan == -1
        || (c->tracks[chan].mode != STATE && !c->tracks[chan].peek))
    {
        violation(c, chan, "a state that was not asked for");
        return 0;
    }

    t = &c->tracks[chan];
    tally.states++;

    /* who is in the channel already goes on from there, too */

    client_state(c, chan, data, &t->last);
    t->known = 1;

    client_log(c, "%s state at %s", chans[chan].name, spell(chan, t->last));

    return 1;
}


static int
client_synced(client_t *c, str_t data)
{
    int                       chan;
    char                      full[24];
    str_t                     v[4], job;
    track_t                  *t;
    uint64_t                  n;
    static const char *const  names[] = { "jobId", "replayed", "lastSequence",
                                          "complete" };

    if (!json(data, names, v, 4)) {
        violation(c, -1, "malformed sync:complete");
        return 0;
    }

    job.data = full;
    job.len = snprintf(full, sizeof(full), "job:%.*s", (int) v[0].len,
                       v[0].data);
    chan = chan_find(job);

    if (chan == -1 || c->tracks[chan].mode != SYNC) {
        violation(c, chan, "sync:complete that was not asked for");
        return 0;
    }

    t = &c->tracks[chan];
    tally.syncs++;

    if (!number(v[2], &n, 0, NULL) || n != seq_of(t->last)) {
        violation(c, chan, "sync:complete, lastSequence:%" PRIu64, n);
    }

    if (!number(v[1], &n, 0, NULL) || n != t->replayed) {
        violation(c, chan, "sync:complete, replayed:%" PRIu64 ", %" PRIu64
                  " came", n, t->replayed);
    }

    if (!same(v[3], "true") && !chans[chan].trimmed
        && !chans[chan].remade && !opt.lossy)
    {
        violation(c, chan, "sync:complete is not complete");
    }

    return 1;
}


void
client_event(client_t *c, str_t name, str_t data, str_t channel, str_t cursor)
{
    if (!c->connected && !same(name, "connected")
        && !same(name, "server:shutdown"))
    {
        violation(c, -1, "\"%.*s\" comes before \"connected\"",
                  (int) name.len, name.data);
    }

    if (name.len > 3 && memcmp(name.data + name.len - 3, ":v1", 3) == 0) {
        client_channel_event(c, name, data, channel, cursor);
        return;
    }

    if (same(name, "connected")) {
        client_log(c, "connected, cursor \"%.*s\"", (int) cursor.len,
                   cursor.data);

        if (c->connected) {
            violation(c, -1, "connected twice");
        }

        c->connected = 1;

    } else if (same(name, "sync:gap")) {
        client_gap(c, data);

    } else if (same(name, "server:shutdown")) {
        client_log(c, "server:shutdown");
        tally.shutdowns++;

    } else if (same(name, "state")) {

        if (!client_told_state(c, data, channel)) {
            return;
        }

    } else if (same(name, "sync:complete")) {

        if (!client_synced(c, data)) {
            return;
        }

    } else if (same(name, "subscribed")) {
        client_log(c, "subscribed %.*s", (int) data.len, data.data);

    } else if (same(name, "sync:cursor") && c->proto == SIO) {
        client_log(c, "sync:cursor %.*s", (int) data.len, data.data);

    } else {
        violation(c, -1, "unexpected event \"%.*s\" %.*s", (int) name.len,
                  name.data, (int) data.len, data.data);
        return;
    }

    client_cursor(c, cursor);
}


void
client_ack(client_t *c, uint64_t id, str_t data)
{
    int                       chan;
    str_t                     v[4];
    track_t                  *t;
    uint64_t                  place;
    static const char *const  names[] = { "ok", "error", "channel",
                                          "position" };

    for (chan = 0; chan < opt.channels; chan++) {
        if (c->tracks[chan].asked == id) {
            break;
        }
    }

    client_log(c, "ack %" PRIu64 " %.*s", id,
               (int) (data.len > 120 ? 120 : data.len), data.data);

    if (chan == opt.channels || !json(data, names, v, 4)) {
        violation(c, -1, "ack that was not expected: %" PRIu64 " %.*s", id,
                  (int) data.len, data.data);
        return;
    }

    t = &c->tracks[chan];
    t->asked = 0;

    if (!same(v[0], "true")) {

        if (!same(v[1], "unavailable")) {
            violation(c, chan, "refused: %.*s", (int) data.len, data.data);
        }

        tally.unavailable++;

        if (t->state == JOINING) {
            t->state = OUT;
            t->retry = run.now + 50 + below(&c->rng, 400);
        }

        t->peek = 0;
        return;
    }

    if (!same(v[2], chans[chan].name)) {
        violation(c, chan, "ack for another channel: %.*s", (int) data.len,
                  data.data);
    }

    if (t->state == LEAVING) {
        t->state = OUT;
        t->known = t->want;

        if (!t->want) {
            t->last = 0;
        }

        return;
    }

    if (!find_place(c, chan, v[3], &place)) {
        return;
    }

    if (!t->known) {

        if (t->mode == STATE) {
            violation(c, chan, "joined without the state that was asked for");
        }

        t->known = 1;
        t->last = place;

    } else if (place != t->last) {
        violation(c, chan, "the ack says %s, the client has %s",
                  spell(chan, place), spell(chan, t->last));
        t->last = place;
    }

    if (t->state == JOINING) {
        tally.joins++;
    }

    t->peek = 0;
    t->state = IN;
}
