
/*
 * The life of a client: it chooses channels, connects, joins and leaves, reads
 * slowly or not at all, goes, and comes back with what it had.
 */


#include <stdarg.h>

#include "client.h"
#include "request.h"
#include "verdict.h"


const char *const  modes[] = {
    "none", "zero", "after", "state", "sync", "job"
};

const kind_t  kinds[KINDS] = {
    { "websocket", WS },
    { "sse", SSE },
    { "socketio", SIO },
    { "polling", SIO },
    { "upgrade", SIO }
};

client_t  *clients;
int        nclients;
tally_t    tally;


void
client_log(client_t *c, const char *fmt, ...)
{
    int      n;
    char    *line;
    va_list  args;

    line = c->log[c->lines++ % LOG_LINES];

    n = snprintf(line, sizeof(c->log[0]), "%9.3f #%u ", run.now / 1000.0,
                 c->generation);

    va_start(args, fmt);
    vsnprintf(line + n, sizeof(c->log[0]) - n, fmt, args);
    va_end(args);
}


static void
forget(track_t *t)
{
    memset(t, 0, sizeof(track_t));
}


static int
wanted(client_t *c)
{
    int  i, n;

    for (n = 0, i = 0; i < opt.channels; i++) {
        n += c->tracks[i].want;
    }

    return n;
}


/* one more channel, with one of the ways to begin; some channels are busy */

static void
client_choose(client_t *c)
{
    int       chan, ways;
    chan_t   *ch;
    track_t  *t;

    if (wanted(c) >= MAX_JOINED) {
        return;
    }

    chan = below(&c->rng, chance(&c->rng, 30) && opt.channels > 1
                          ? 2 : opt.channels);
    ch = &chans[chan];
    t = &c->tracks[chan];

    if (t->want || t->state != OUT) {
        return;
    }

    forget(t);
    t->want = 1;

    ways = c->faithful ? 0 : below(&c->rng, 100);

    if (ways < 20) {
        t->mode = ZERO;
        t->known = 1;
        t->last = 0;

    } else if (ways < 40 && ch->top > 0) {
        t->mode = AFTER;
        t->known = 1;
        t->last = ch->top - below(&c->rng, seq_of(ch->top) < 1000
                                           ? seq_of(ch->top) : 1000);

    } else if (ways < 65) {
        t->mode = STATE;

    } else if (ways < 80 && c->proto != SSE) {
        t->mode = JOB;

    } else {
        t->mode = NONE;
    }
}


/* before it connects again: the same, other, or all new channels */

static void
client_rethink(client_t *c)
{
    int  i, what;

    for (i = 0; i < opt.channels; i++) {
        if (!c->tracks[i].want) {
            forget(&c->tracks[i]);
        }
    }

    if (run.phase == RUNNING && !c->faithful) {
        what = below(&c->rng, 100);

        if (what < 10) {
            for (i = 0; i < opt.channels; i++) {
                forget(&c->tracks[i]);
            }

        } else if (what < 25) {
            i = below(&c->rng, opt.channels);
            forget(&c->tracks[i]);
            client_choose(c);
        }
    }

    for (i = 0; wanted(c) == 0; i++) {
        client_choose(c);

        if (wanted(c) && c->faithful) {
            client_choose(c);
        }
    }

    while (i-- && chance(&c->rng, 60)) {
        client_choose(c);
    }
}


void
client_close(client_t *c)
{
    io_close(&c->io);
    poll_close(&c->poll);

    c->polls = 0;
    c->probe = NO_PROBE;
    c->moving = 0;
}


void
client_down(client_t *c, const char *why, int quick)
{
    int       i;
    track_t  *t;

    client_log(c, "down: %s", why);

    if (run.phase == CALM || run.phase == END) {
        violation(c, -1, "the connection ends, and nothing was broken");
    }

    client_close(c);

    c->in.len = 0;
    c->out.len = 0;
    c->text.len = 0;
    c->state = IDLE;
    c->connected = 0;
    c->headed = 0;
    c->slow = 0;
    c->deaf = 0;
    c->generation++;

    for (i = 0; i < opt.channels; i++) {
        t = &c->tracks[i];

        if (t->state == JOINING && t->mode == STATE && !t->known) {
            t->last = 0;
        }

        t->state = OUT;
        t->asked = 0;
        t->peek = 0;
        t->retry = 0;
    }

    c->next = run.now + (quick ? 0 : run.phase == RUNNING
                       ? below(&c->rng, chance(&c->rng, 20) ? 3000 : 300)
                       : 20 + below(&c->rng, 100));

    client_rethink(c);
}


static void
client_state_answer(request_t *r, int status, str_t body)
{
    track_t   *t;
    client_t  *c;

    c = r->cli;
    t = &c->tracks[r->chan];

    if (c->generation != r->generation || c->state != ASKING) {
        return;
    }

    client_log(c, "state of %s: %d", chans[r->chan].name, status);

    c->state = IDLE;

    if (status == 200) {
        tally.http_states++;
        client_state(c, r->chan, body, &t->last);
        t->known = 1;
        c->next = run.now + below(&c->rng, 50);
        return;
    }

    if (status == 404) {
        if (r->has_events && !chans[r->chan].remade
            && !chans[r->chan].evicted) {
            violation(c, r->chan, "no state of a channel that has events");
        }

        t->mode = ZERO;
        t->known = 1;
        t->last = 0;
        return;
    }

    if (status != 0 && status != 503) {
        violation(c, r->chan, "the state was answered with %d", status);
    }

    c->next = run.now + 100;
}


static void
client_ask(client_t *c, int chan)
{
    buf_t       request;
    request_t  *r;

    memset(&request, 0, sizeof(request));

    putf(&request, "GET /state/%s HTTP/1.0\r\nHost: check\r\n\r\n",
         chans[chan].name);

    r = request_send(&request, client_state_answer);

    if (r) {
        r->cli = c;
        r->chan = chan;
        r->has_events = (chans[chan].top != 0);
        r->generation = c->generation;

        c->state = ASKING;
        c->heard = run.now;

    } else {
        c->next = run.now + 50;
        free(request.data);
    }
}


static void
cursor_put(buf_t *b, int chan, uint64_t place)
{
    putf(b, "%s%s@%s", b->len ? "," : "", chans[chan].name,
         spell(chan, place));
}


static void
client_connect(client_t *c)
{
    int       i, n, bare, old, rcvbuf, port;
    buf_t     query, cursor, uri;
    track_t  *t;

    /* over SSE there is nobody to ask but HTTP */

    for (i = 0; c->proto == SSE && i < opt.channels; i++) {
        t = &c->tracks[i];

        if (t->want && !t->known && t->mode == STATE) {
            client_ask(c, i);
            return;
        }
    }

    bare = (c->proto != SSE && chance(&c->rng, 25));
    old = (c->proto == SSE && chance(&c->rng, 20));

    memset(&query, 0, sizeof(query));
    memset(&cursor, 0, sizeof(cursor));

    n = 0;

    for (i = 0; i < opt.channels && !bare; i++) {
        t = &c->tracks[i];

        if (!t->want) {
            continue;
        }

        memset(t->live, 0, sizeof(t->live));

        if (t->known) {

            if (c->proto != SIO || c->pid[0]) {
                cursor_put(&cursor, i, t->last);
                t->state = IN;
            }

            continue;
        }

        if (t->mode == NONE && n < 4) {
            putf(&query, "%s%c=%s", query.len ? "&" : "", 'a' + n++,
                 chans[i].name);
            t->state = IN;
        }
    }

    /*
     * With a large event in it, a buffer of one page loses segments on a busy
     * machine, and the kernel sends each of them again after 200 ms.
     */

    rcvbuf = chance(&c->rng, 50) ? (opt.large ? 65536 : 4096) : 0;
    c->polls = (c->kind == KIND_POLLING || c->kind == KIND_UPGRADE);

    port = client_port(c, &c->node);

    if (!c->polls && !io_connect(&c->io, port, 0, rcvbuf)) {
        for (i = 0; i < opt.channels; i++) {
            c->tracks[i].state = OUT;
        }

        c->next = run.now + 50;
        goto done;
    }

    c->offset[0] = '\0';

    if (cursor.len && c->proto == SIO) {
        snprintf(c->offset, sizeof(c->offset), "%.*s", (int) cursor.len,
                 cursor.data);
        cursor.len = 0;

    } else if (cursor.len && c->proto == WS) {
        putf(&query, "%scursor=%.*s", query.len ? "&" : "", (int) cursor.len,
             cursor.data);
        cursor.len = 0;

    } else if (cursor.len && old) {
        putf(&query, "%slast_event_id=%.*s", query.len ? "&" : "",
             (int) cursor.len, cursor.data);
        cursor.len = 0;
    }

    if (c->polls) {
        poll_open(&c->poll, text(&query), port, rcvbuf);
        goto connecting;
    }

    memset(&uri, 0, sizeof(uri));
    putf(&uri, "%s%.*s",
         c->proto == SIO ? "/socket.io/?EIO=4&transport=websocket&" : "/bus?",
         (int) query.len, query.data);

    request_put(&c->out, c->proto, !old, uri.data, uri.len);
    free(uri.data);

    if (cursor.len) {
        putf(&c->out, "Last-Event-ID: %.*s\r\n", (int) cursor.len,
             cursor.data);
    }

    put(&c->out, lit("\r\n"));

connecting:

    client_log(c, "connects, %.*s%s%.*s", (int) query.len, query.data,
               cursor.len ? " id " : "", (int) cursor.len, cursor.data);

    c->state = CONNECTING;
    c->since = run.now;
    c->heard = run.now;
    c->next = run.now + 200 + below(&c->rng, c->faithful ? 8000 : 4000);

    tally.connects++;

    for (i = 0; i < opt.channels; i++) {
        if (c->tracks[i].want && c->tracks[i].known) {
            tally.resumes++;
            break;
        }
    }

done:

    free(query.data);
    free(cursor.data);
}


static void
client_ask_join(client_t *c, int chan)
{
    track_t     *t;
    chan_t      *ch;
    const char  *name;

    ch = &chans[chan];
    name = ch->name;
    t = &c->tracks[chan];

    memset(t->live, 0, sizeof(t->live));

    t->state = JOINING;
    t->asked = ++c->acks;
    t->since = run.now;
    t->replayed = 0;

    if (t->known) {
        /* a number without its epoch is of the present one */

        t->mode = (chance(&c->rng, 30) && ch->remade == 0) ? SYNC : AFTER;
    }

    switch (t->mode) {

    case SYNC:
        client_emit(c, c->acks, "reconnect:sync", "{\"jobId\":\"%s\","
                    "\"lastSequence\":%" PRIu64 "}", name + 4,
                    (uint64_t) seq_of(t->last));
        break;

    case AFTER:
        client_emit(c, c->acks, "subscribe", "{\"channel\":\"%s\","
                    "\"after\":\"%s\"}", name, spell(chan, t->last));
        break;

    case STATE:
        client_emit(c, c->acks, "subscribe", "{\"channel\":\"%s\","
                    "\"state\":true}", name);
        break;

    case JOB:
        client_emit(c, c->acks, "subscribe:job", "\"%s\"", name + 4);
        break;

    default:
        client_emit(c, c->acks, "subscribe", "{\"channel\":\"%s\"}", name);
    }
}


/* a client that does something */

static void
client_act(client_t *c)
{
    int       i, chan;
    track_t  *t;

    c->next = run.now + 50 + below(&c->rng, c->faithful ? 5000 : 2500);

    switch (below(&c->rng, 10)) {

    case 0:
    case 1:
    case 2:
        tally.drops++;

        if (chance(&c->rng, 30)) {
            io_reset(&c->io);
            io_reset(&c->poll.get.io);
            io_reset(&c->poll.post.io);
        }

        client_down(c, "dropped", chance(&c->rng, 30));
        return;

    case 3:
        if (c->polls) {
            client_send(c, "1");
            c->state = CLOSING;

        } else if (c->proto != SSE) {
            client_frame(c, 8, "\x03\xe8", 2);
            client_log(c, "> close");
            c->state = CLOSING;
        }

        return;

    case 4:
        tally.deaf++;
        c->deaf = run.now + below(&c->rng, chance(&c->rng, 30) ? 5000 : 1500);
        client_log(c, "deaf until %.3f", c->deaf / 1000.0);
        client_hear(c, 0);
        return;

    case 5:
        tally.deaf++;
        c->slow = 1;
        client_log(c, "slow");
        client_hear(c, 0);
        return;

    default:
        break;
    }

    if (c->proto == SSE) {
        return;
    }

    chan = below(&c->rng, opt.channels);

    for (i = 0; i < opt.channels; i++) {
        chan = (chan + 1) % opt.channels;

        if (c->tracks[chan].state == IN) {
            break;
        }
    }

    t = &c->tracks[chan];

    if (t->state != IN || t->asked || chance(&c->rng, 40)) {
        if (!c->faithful) {
            client_choose(c);
        }

        return;
    }

    t->asked = ++c->acks;
    t->since = run.now;

    if (chance(&c->rng, 30) && (c->proto != SIO || asked_for(c) == -1)) {
        t->peek = 1;
        client_emit(c, c->acks, "subscribe", "{\"channel\":\"%s\","
                    "\"state\":true}", chans[chan].name);
        return;
    }

    t->state = LEAVING;
    t->want = (c->faithful || wanted(c) == 1 || chance(&c->rng, 50));
    tally.leaves++;

    client_emit(c, c->acks, "unsubscribe", "{\"channel\":\"%s\"}",
                chans[chan].name);
}


void
client_tick(client_t *c)
{
    int       i;
    track_t  *t;

    if (c->state == IDLE || c->state == ASKING) {
        if (c->state == IDLE && run.now >= c->next && run.phase > STARTING) {
            client_connect(c);
        }

        return;
    }

    if (c->poll.refused) {
        client_down(c, "refused at once", 0);
        return;
    }

    if ((c->deaf && run.now >= c->deaf) || (c->slow && run.phase != RUNNING)) {
        c->deaf = 0;
        c->slow = 0;
        client_hear(c, 1);
        c->heard = run.now;
    }

    if (c->slow && run.now > c->sip) {
        c->sip = run.now + below(&c->rng, 20);

        client_sip(c, 100 + below(&c->rng, 3000));

        if (c->state == IDLE) {
            return;
        }
    }

    if (c->polls && !client_poll_tick(c)) {
        return;
    }

    if (c->state == CLOSING) {
        if (run.now - c->heard > 1000) {
            client_down(c, "no answer to the close", 0);
        }

        return;
    }

    if (!c->connected) {
        if (run.now - c->since > SILENCE) {
            violation(c, -1, "not connected in %d s", SILENCE / 1000);
            client_down(c, "timed out", 0);
        }

        return;
    }

    for (i = 0; c->proto != SSE && i < opt.channels; i++) {
        t = &c->tracks[i];

        if (t->want && t->state == OUT && run.now >= t->retry
            && (c->proto != SIO || t->known || t->mode != STATE
                || asked_for(c) == -1))
        {
            client_ask_join(c, i);
        }

        if (t->asked && run.now - t->since > SILENCE
            && run.now - c->heard > SILENCE)
        {
            violation(c, i, "no ack in %d s", SILENCE / 1000);
            client_down(c, "timed out", 0);
            return;
        }
    }

    if (run.phase == RUNNING && run.now > c->next) {
        client_act(c);
    }
}


/* is the client where all its channels end */

int
client_done(client_t *c, int report)
{
    int       i, p;
    track_t  *t;

    if (!c->connected || c->state != OPEN) {
        if (report) {
            violation(c, -1, "the client is not connected at the end");
        }

        return 0;
    }

    if (c->probe) {
        if (report) {
            violation(c, -1, "the client is not upgraded at the end");
        }

        return 0;
    }

    for (i = 0; i < opt.channels; i++) {
        t = &c->tracks[i];

        if (t->state == LEAVING) {
            return 0;
        }

        if (!t->want) {
            continue;
        }

        if (t->state == IN && !t->known && run.phase == QUIET) {
            /* it was let in while Redis was away, and has no position yet */
            continue;
        }

        if (t->state != IN || t->asked || !t->known
            || t->last < chans[i].final)
        {
            if (report) {
                if (t->last < chans[i].final) {
                    verdict.missing++;
                }

                violation(c, i, "the channel ends at %s, the client has %s "
                          "(%s)", spell(i, chans[i].final),
                          spell(i, t->last), modes[t->mode]);
            }

            return 0;
        }

        for (p = 0; run.phase == END && p < PRODUCERS; p++) {

            if (t->live[p] == chans[i].live[p]) {
                continue;
            }

            if (report) {
                violation(c, i, "live events of producer %d end with %u, the "
                          "client has %u, and nothing was broken", p,
                          chans[i].live[p], t->live[p]);
            }

            return 0;
        }
    }

    return 1;
}


void
clients_init(void)
{
    int        i;
    client_t  *c;

    nclients = opt.clients * opt.nkinds;
    clients = calloc(nclients, sizeof(client_t));

    if (clients == NULL) {
        die("no memory");
    }

    for (i = 0; i < nclients; i++) {
        c = &clients[i];

        c->id = i;
        c->kind = opt.kinds[i % opt.nkinds];
        c->proto = kinds[c->kind].proto;
        c->io.fd = -1;
        c->io.handler = client_handler;
        c->faithful = (i / opt.nkinds % 4 == 0);

        poll_init(&c->poll, &client_polling);

        seed(&c->rng, 1000 + i);
        client_rethink(c);
    }
}
