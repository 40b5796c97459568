
/* The streams at the end are the truth about all that was seen. */


#include <stdarg.h>

#include "client.h"
#include "link.h"
#include "producers.h"
#include "programs.h"
#include "verdict.h"


static uint8_t  *in_stream;             /* by number of the event */


static redisReply *
ask(redisContext *rc, const char *fmt, ...)
{
    va_list      args;
    redisReply  *reply;

    va_start(args, fmt);
    reply = redisvCommand(rc, fmt, args);
    va_end(args);

    if (reply == NULL || reply->type == REDIS_REPLY_ERROR) {
        die("Redis: %s", reply ? reply->str : rc->errstr);
    }

    return reply;
}


static void
verify_entry(int chan, redisReply *entry)
{
    str_t                     name, data, v[2];
    chan_t                   *ch;
    uint64_t                  place, seq, n, h, len;
    redisReply               *fields;
    char                      token[16];
    static const char *const  names[] = { "n", "t" };

    ch = &chans[chan];
    fields = entry->element[1];

    if (!find_place(NULL, chan, reply_text(entry->element[0]), &place)
        || life_of(place) != ch->nlives - 1 || fields->elements < 4)
    {
        violation(NULL, chan, "malformed stream entry");
        return;
    }

    seq = seq_of(place);

    name = reply_text(fields->element[1]);
    data = reply_text(fields->element[3]);

    if (ch->count == 0) {
        ch->first = seq;

        if (seq != 1 && place > ch->trimmed + 1) {
            violation(NULL, chan, "the stream begins with %" PRIu64, seq);
        }

    } else if (seq != ch->first + ch->count) {
        violation(NULL, chan, "hole in the stream before %" PRIu64, seq);
        ch->first = seq - ch->count;
    }

    ch->count++;
    verdict.entries++;

    seen(NULL, chan, place, hash_event(name, data));

    if (!json(data, names, v, 2) || !number(v[0], &n, 0, NULL)
        || n > producers.n)
    {
        violation(NULL, chan, "malformed event in the stream");
        return;
    }

    if (in_stream[n]++) {
        violation(NULL, chan, "event %" PRIu64 " is in the stream twice", n);
    }

    if (ch->first != 1) {
        return;
    }

    /* what the output has to be after it */

    h = ch->out_hash[seq - 1];
    len = ch->out_len[seq - 1];

    ch->progress[seq] = ch->progress[seq - 1];

    if (v[1].data) {
        n = snprintf(token, sizeof(token), "%u;", (unsigned) n);
        h = hash(h, token, n);
        len += n;
        ch->progress[seq] = atoi(token);
    }

    ch->out_hash[seq] = h;
    ch->out_len[seq] = len;
}


static void
verify_channel(redisContext *rc, int chan)
{
    size_t       i, n;
    chan_t      *ch;
    uint64_t     place, last;
    redisReply  *r;

    ch = &chans[chan];

    r = ask(rc, "XREVRANGE {%s}:events + - COUNT 1", ch->name);

    last = 0;

    if (r->elements) {
        find_place(NULL, chan, reply_text(r->element[0]->element[0]), &last);
    }

    freeReplyObject(r);

    n = seq_of(last) + 1;

    ch->out_hash = calloc(n, sizeof(uint64_t));
    ch->out_len = calloc(n, sizeof(uint64_t));
    ch->progress = calloc(n, sizeof(uint32_t));
    ch->out_hash[0] = HASH_START;

    for (place = place_of(life_of(last), 0); place < last; /* void */) {

        r = ask(rc, "XRANGE {%s}:events (%s + COUNT 1000", ch->name,
                spell(chan, place));

        for (i = 0; i < r->elements; i++) {
            verify_entry(chan, r->element[i]);
        }

        if (i == 0) {
            die("the stream of %s shrinks", ch->name);
        }

        find_place(NULL, chan, reply_text(r->element[i - 1]->element[0]),
                   &place);

        freeReplyObject(r);
    }

    if (ch->top > last && !opt.lossy) {
        violation(NULL, chan, "%s was delivered or answered, the stream ends "
                  "with %s", spell(chan, ch->top), spell(chan, last));
    }

    if (ch->count && ch->first == 1 && !ch->evicted) {
        r = ask(rc, "GET {%s}:output", ch->name);

        if (r->len != ch->out_len[ch->count]
            || hash(HASH_START, r->str ? r->str : "", r->len)
               != ch->out_hash[ch->count])
        {
            violation(NULL, chan, "the output is not what the events say");
        }

        freeReplyObject(r);
    }
}


void
verify(void)
{
    int              i;
    size_t           n;
    chan_t          *ch;
    uint64_t         seq;
    snapshot_t      *s;
    redisContext    *rc;

    in_stream = calloc(producers.n + 1, 1);
    rc = redisConnect("127.0.0.1", prog.redis_port);

    if (rc == NULL || rc->err || in_stream == NULL) {
        die("Redis: %s", rc ? rc->errstr : "no memory");
    }

    for (i = 0; i < opt.channels; i++) {
        verify_channel(rc, i);
    }

    redisFree(rc);

    for (n = 0; n < nsnapshots; n++) {
        s = &snapshots[n];
        ch = &chans[s->chan];

        if (opt.lossy || ch->evicted
            || (s->place && (ch->first != 1
                                     || life_of(s->place) != ch->nlives - 1)))
        {
            /* nobody knows any more */
            continue;
        }

        seq = seq_of(s->place);

        if (seq > ch->count) {
            violation(&clients[s->cli], s->chan, "a state of position %s, the "
                      "stream ends with %" PRIu64, spell(s->chan, s->place),
                      ch->count);
            continue;
        }

        verdict.snapshots++;

        if (s->hash != ch->out_hash[seq] || s->len != ch->out_len[seq]) {
            violation(&clients[s->cli], s->chan, "the output in a state of "
                      "position %s has %" PRIu64 " bytes, up to there the "
                      "events say %" PRIu64, spell(s->chan, s->place), s->len,
                      ch->out_len[seq]);

        } else if (s->progress != ch->progress[seq]) {
            violation(&clients[s->cli], s->chan, "progress in a state of "
                      "position %s is %u, the events say %u",
                      spell(s->chan, s->place), s->progress,
                      ch->progress[seq]);
        }
    }
}
