
/*
 * Those who write events: a function of the library, a transaction of their
 * own, a bare XADD, PUBLISH, and a POST.
 */


#include <time.h>

#include "producers.h"
#include "request.h"
#include "truth.h"
#include "verdict.h"


#define PENDING     256                 /* unanswered commands of a producer */
#define MAXLEN      "1000000000"

#define CALM_RATE   150                 /* events per second, at most */
#define CALM_BURST  10


producers_t  producers;
produced_t   produced;


static void added(link_t *l, call_t *call, redisReply *reply);


/*
 * Without a wake-up, but complete: a transaction of some producer's own.  The
 * function goes on from the stream's last id.
 */

static const char  silent_script[] =
    "local k = KEYS[1] .. ':events'\n"
    "local i = redis.pcall('XINFO', 'STREAM', k)\n"
    "if i.err then return redis.error_reply('ERR no stream') end\n"
    "local id\n"
    "for n = 1, #i, 2 do\n"
    "  if i[n] == 'last-generated-id' then id = i[n + 1] end\n"
    "end\n"
    "local e, s = string.match(id, '(%d+)-(%d+)')\n"
    "id = e .. '-' .. string.format('%d', tonumber(s) + 1)\n"
    "redis.call('XADD', k, id, 'event', ARGV[1], 'data', ARGV[2],\n"
    "           'timestamp', ARGV[4])\n"
    "redis.call('APPEND', KEYS[1] .. ':output', ARGV[3] .. ';')\n"
    "redis.call('HSET', KEYS[1] .. ':state', 'progress', ARGV[3])\n"
    "return id\n";


static const char *const  paddings[] = {
    "abcdefghijklmnopqrstuvwxyz", "\\n", "\\\"", "\\\\", "\xc3\xa9",
    "\xf0\x9f\x98\x80", "\\u00e9", "\x7f", "{", "]", ",", " ", "\\r\\n"
};


/* {"c":<channel>,"p":<producer>,"n":<n>[,"t":1],"pad":"..."} */

static void
make_data(buf_t *b, int chan, int producer, uint32_t n, int token)
{
    size_t  len;

    putf(b, "{\"c\":%d,\"p\":%d,\"n\":%u%s", chan, producer, n,
         token ? ",\"t\":1" : "");

    switch (below(&producers.rng, 100)) {

    case 0:
        /* in the calm nobody's buffer is to be full */

        len = (run.phase == RUNNING) ? 2000 + below(&producers.rng, 12000) : 0;

        if (len && opt.large && below(&producers.rng, 10) == 0) {
            len = opt.large / 2 + below(&producers.rng, opt.large / 2);
        }

        break;

    case 1:
    case 2:
    case 3:
    case 4:
    case 5:
    case 6:
        len = below(&producers.rng, 700);
        break;

    default:
        len = 0;
    }

    if (len) {
        put(b, lit(",\"pad\":\""));

        for (len += b->len; b->len < len; /* void */) {
            putf(b, "%s", paddings[below(&producers.rng, countof(paddings))]);
        }

        put(b, lit("\""));
    }

    put(b, lit("}"));
}


static void
published(link_t *l, call_t *call, redisReply *reply)
{
    if (reply == NULL) {
        produced.unknown++;
        return;
    }

    if (reply->type != REDIS_REPLY_STRING
        || !find_place(NULL, call->chan, reply_text(reply), &call->place))
    {
        produced.refused++;
        return;
    }

    seen(NULL, call->chan, call->place, call->hash);
}


static void
count_published(link_t *l, call_t *call, redisReply *reply)
{
    published(l, call, reply);
    produced.published += call->place != 0;
}


static void
count_silent(link_t *l, call_t *call, redisReply *reply)
{
    published(l, call, reply);
    produced.silent += call->place != 0;
}


static void
set_final(link_t *l, call_t *call, redisReply *reply)
{
    published(l, call, reply);

    run.waiting--;

    if (call->place) {
        chans[call->chan].final = call->place;

    } else if (reply) {
        chans[call->chan].refused = 1;
    }
}


static void
publish(link_t *l, int producer, int chan, int final)
{
    buf_t         data;
    char          key[24], n[16], token[16];
    str_t         name;
    size_t        len[13];
    call_t       *call;
    const char   *argv[13];

    memset(&data, 0, sizeof(data));

    producers.n++;
    snprintf(n, sizeof(n), "%u", producers.n);
    snprintf(token, sizeof(token), "%u;", producers.n);
    snprintf(key, sizeof(key), "{%s}", chans[chan].name);
    make_data(&data, chan, producer, producers.n, 1);

    name.data = final ? "last:v1" : "token:v1";
    name.len = strlen(name.data);

    argv[0] = "FCALL";
    argv[1] = "rtbus_publish";
    argv[2] = "1";
    argv[3] = chance(&producers.rng, 50) ? key : chans[chan].name;
    argv[4] = name.data;
    argv[5] = data.data;
    argv[6] = "APPEND";
    argv[7] = token;
    argv[8] = "MAXLEN";
    argv[9] = MAXLEN;
    argv[10] = "SET";
    argv[11] = "progress";
    argv[12] = n;

    for (int i = 0; i < 13; i++) {
        len[i] = (i == 5) ? data.len : strlen(argv[i]);
    }

    call = link_call(l, final ? set_final : count_published, 13, argv, len);
    call->chan = chan;
    call->hash = hash_event(name, text(&data));

    free(data.data);
}


static void
publish_silent(link_t *l, int producer, int chan, int final)
{
    buf_t        data;
    char         key[24], n[16], now[24];
    str_t        name = { lit("silent:v1") };
    size_t       len[8];
    call_t      *call;
    const char  *argv[8];

    memset(&data, 0, sizeof(data));

    producers.n++;
    snprintf(n, sizeof(n), "%u", producers.n);
    snprintf(now, sizeof(now), "%lld", (long long) time(NULL) * 1000);
    snprintf(key, sizeof(key), "{%s}", chans[chan].name);
    make_data(&data, chan, producer, producers.n, 1);

    argv[0] = "EVAL";
    argv[1] = silent_script;
    argv[2] = "1";
    argv[3] = key;
    argv[4] = name.data;
    argv[5] = data.data;
    argv[6] = n;
    argv[7] = now;

    for (int i = 0; i < 8; i++) {
        len[i] = (i == 5) ? data.len : strlen(argv[i]);
    }

    call = link_call(l, final ? set_final : count_silent, 8, argv, len);
    call->chan = chan;
    call->hash = hash_event(name, text(&data));

    free(data.data);
}


/* the last id is read, the next one added; another producer may be first */

static void
added(link_t *l, call_t *call, redisReply *reply)
{
    uint64_t  place;

    chans[call->chan].busy = 0;

    if (reply == NULL) {
        produced.unknown++;
        return;
    }

    if (reply->type != REDIS_REPLY_STRING
        || !find_place(NULL, call->chan, reply_text(reply), &place))
    {
        produced.races++;
        return;
    }

    seen(NULL, call->chan, place, call->hash);
    produced.plain++;
}


static void
add_plain(link_t *l, call_t *call, redisReply *reply)
{
    char          key[32], id[48], now[24];
    str_t         name = { lit("plain:v1") };
    buf_t         data;
    chan_t       *ch;
    size_t        len[9];
    call_t       *next;
    uint64_t      epoch, seq;
    const char   *argv[9];

    ch = &chans[call->chan];

    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY
        || reply->elements != 1
        || !position(reply_text(reply->element[0]->element[0]), &epoch, &seq))
    {
        ch->busy = 0;
        return;
    }

    memset(&data, 0, sizeof(data));

    producers.n++;
    snprintf(now, sizeof(now), "%lld", (long long) time(NULL) * 1000);
    snprintf(key, sizeof(key), "{%s}:events", ch->name);
    snprintf(id, sizeof(id), "%" PRIu64 "-%" PRIu64, epoch, seq + 1);
    make_data(&data, call->chan, PRODUCERS, producers.n, 0);

    argv[0] = "XADD";
    argv[1] = key;
    argv[2] = id;
    argv[3] = "event";
    argv[4] = name.data;
    argv[5] = "data";
    argv[6] = data.data;
    argv[7] = "timestamp";
    argv[8] = now;

    for (int i = 0; i < 9; i++) {
        len[i] = (i == 6) ? data.len : strlen(argv[i]);
    }

    next = link_call(l, added, 9, argv, len);
    next->chan = call->chan;
    next->hash = hash_event(name, text(&data));

    free(data.data);
}


static void
publish_plain(link_t *l, int chan)
{
    call_t  *call;

    if (chans[chan].busy) {
        return;
    }

    chans[chan].busy = 1;

    call = link_command(l, add_plain, "XREVRANGE {%s}:events + - COUNT 1",
                        chans[chan].name);
    call->chan = chan;
}


static void
publish_live(link_t *l, int producer, int chan)
{
    buf_t        b;
    size_t       len[3];
    const char  *argv[3];

    memset(&b, 0, sizeof(b));

    putf(&b, "{\"event\":\"live:v1\",\"data\":{\"c\":%d,\"p\":%d,\"n\":%u}}",
         chan, producer, ++chans[chan].live[producer]);

    argv[0] = "PUBLISH";
    argv[1] = chans[chan].name;
    argv[2] = b.data;
    len[0] = 7;
    len[1] = strlen(argv[1]);
    len[2] = b.len;

    link_call(l, NULL, 3, argv, len);
    produced.live++;

    free(b.data);
}


static void
posted(request_t *r, int status, str_t body)
{
    str_t                     id;
    uint64_t                  place;
    static const char *const  names[] = { "id" };

    if (status == 0) {
        produced.unknown++;
        return;
    }

    if (status != 201 || !json(body, names, &id, 1)
        || !find_place(NULL, r->chan, id, &place))
    {
        produced.refused++;

        if (status != 503 && status != 201) {
            violation(NULL, r->chan, "POST was answered with %d", status);
        }

        return;
    }

    seen(NULL, r->chan, place, r->hash);
    produced.posted++;
}


static void
publish_http(int chan)
{
    str_t       name = { lit("token:v1") };
    buf_t       data, body, request;
    request_t  *r;

    memset(&data, 0, sizeof(data));
    memset(&body, 0, sizeof(body));
    memset(&request, 0, sizeof(request));

    producers.n++;
    make_data(&data, chan, PRODUCERS, producers.n, 1);

    putf(&body, "{\"event\":\"token:v1\",\"data\":%.*s,\"append\":\"%u;\","
         "\"maxlen\":" MAXLEN ",\"set\":{\"progress\":%u}}",
         (int) data.len, data.data, producers.n, producers.n);

    putf(&request, "POST /publish/%s HTTP/1.0\r\nHost: check\r\n"
         "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
         chans[chan].name, body.len);
    put(&request, body.data, body.len);

    r = request_send(&request, posted);

    if (r) {
        r->chan = chan;
        r->hash = hash_event(name, text(&data));
    }

    free(data.data);
    free(body.data);
    free(request.data);
}


static void
produce(int chan)
{
    int      p;
    link_t  *l;

    p = below(&producers.rng, PRODUCERS);
    l = &producers.links[p];

    switch (below(&producers.rng, 50)) {

    case 0:
        publish_http(chan);
        return;

    case 1:
        l = &producers.quiet;

        if (l->up && l->calls < PENDING) {
            publish_plain(l, chan);
        }

        return;

    case 2:
    case 3:
    case 4:
    case 5:
        l = &producers.quiet;

        if (l->up && l->calls < PENDING) {
            publish_silent(l, PRODUCERS, chan, 0);
        }

        return;

    case 6:
    case 7:
    case 8:
    case 9:
        if (l->up && l->calls < PENDING) {
            publish_live(l, p, chan);
        }

        return;

    default:
        if (l->up && l->calls < PENDING) {
            publish(l, p, chan, 0);
        }
    }
}


/* holes, with live events right behind them */

static void
produce_calmly(int chan)
{
    int      p;
    link_t  *l;

    p = below(&producers.rng, PRODUCERS);
    l = &producers.links[p];

    if (!l->up || l->calls >= PENDING) {
        return;
    }

    if (chance(&producers.rng, 40)) {
        publish_silent(l, p, chan, 0);
    }

    publish(l, p, chan, 0);

    while (chance(&producers.rng, 50)) {
        publish_live(l, p, chan);
    }
}


void
producers_init(void)
{
    int  i;

    for (i = 0; i < PRODUCERS; i++) {
        link_init(&producers.links[i]);
    }

    link_init(&producers.quiet);

    seed(&producers.rng, 1);
}


void
producers_tick(void)
{
    int     i, chan;
    double  rate, most;

    for (i = 0; i < PRODUCERS; i++) {
        link_tick(&producers.links[i]);
    }

    link_tick(&producers.quiet);

    if ((run.phase != RUNNING && run.phase != CALM) || producers.hush) {
        producers.paid = run.now;
        return;
    }

    /* nobody is to be too slow in the calm, on a busy machine either */

    rate = opt.rate;
    most = rate / 5 + 1;

    if (run.phase == CALM) {
        rate = rate > CALM_RATE ? CALM_RATE : rate;
        most = CALM_BURST;
    }

    producers.debt += (run.now - producers.paid) * rate / 1000;
    producers.paid = run.now;

    /* what could not be done in time is let be */

    if (producers.debt > most) {
        producers.debt = most;
    }

    while (run.phase == CALM && producers.debt >= 1) {
        producers.debt -= 3;
        produce_calmly(below(&producers.rng, opt.channels));
    }

    if (run.now > producers.burst && run.phase == RUNNING) {
        producers.burst = run.now + 200 + below(&producers.rng, 2000);
        chan = below(&producers.rng, opt.channels);

        for (i = below(&producers.rng, 200); i; i--) {
            produce(chan);
            producers.debt -= 1;
        }
    }

    while (producers.debt >= 1) {
        producers.debt -= 1;
        produce(below(&producers.rng, opt.channels));
    }
}


int
producers_up(void)
{
    int  i;

    for (i = 0; i < PRODUCERS; i++) {
        if (!producers.links[i].up) {
            return 0;
        }
    }

    return producers.quiet.up;
}


int
producers_idle(void)
{
    int  i;

    for (i = 0; i < PRODUCERS; i++) {
        if (producers.links[i].calls) {
            return 0;
        }
    }

    return producers.quiet.calls == 0 && requests_waiting(posted) == 0;
}


void
publish_final(int chan, int silent)
{
    /* a channel without a stream has no last id */

    if (silent && chans[chan].top && !chans[chan].refused) {
        publish_silent(&control, PRODUCERS, chan, 1);

    } else {
        publish(&control, PRODUCERS, chan, 1);
    }

    run.waiting++;
}
