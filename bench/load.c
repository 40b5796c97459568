
/*
 * Load on a server that is there: clients, a producer, and what it costs.
 *
 * bench/bench starts it, see there for what is measured.  The phases of a run:
 *
 *   connect   all clients, so many at a time, until each is subscribed
 *   idle      the memory of the server, beside that before the first client
 *   publish   events through Redis, at a rate (whatever the server does with
 *             them) or so many that --window deliveries are under way
 *   resume    all clients go, --missed events are published to each channel,
 *             and all come back with their cursors, as fast as they can
 *
 * Each event has a mark: its channel, its number in the channel, and the time
 * when it was due.  Each client has to get the numbers 0, 1, 2 ... of its
 * channels; whatever is missing, comes twice or to the wrong client is found.
 *
 * CPU time is that of the processes named with --server, user and system, from
 * /proc; with loopback the kernel's work of receiving is in the sender's.
 *
 * The result is one JSON object.  Exit status: 0, 1: an event was missing,
 * doubled or misled, or a client was lost, 2: it could not be run.
 */


#define _GNU_SOURCE

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <hiredis/hiredis.h>

#include "io.h"
#include "proto.h"


#define EVENT         "model:chunk:v1"
#define INPUT_SIZE    (1 << 20)
#define MAX_PIDS      64
#define TICK          200000            /* ns, of the producer */
#define FIRST_SOURCE  0x7f000100        /* 127.0.1.0 */
#define PER_SOURCE    10000             /* clients of one address */

/* what a browser says beside what it has to: a request has its length */

#define BROWSER                                                               \
    "Pragma: no-cache\r\n"                                                    \
    "Cache-Control: no-cache\r\n"                                             \
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 "         \
    "(KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n"                  \
    "Origin: http://bench\r\n"                                                \
    "Accept-Encoding: gzip, deflate, br, zstd\r\n"                            \
    "Accept-Language: en-US,en;q=0.9\r\n"

#define EXTENSIONS                                                            \
    "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"

/* "mark":"<channel>.<number>.<ns>", in hexadecimal */
#define MARK          "\"mark\":\""
#define MARK_LEN      (8 + 1 + 8 + 1 + 16)


enum { GONE = 0, ASKING, OPENING, JOINING, READY };

typedef struct {
    io_t                 io;
    uint32_t             first;         /* of its channels */
    uint32_t             joined;
    uint32_t            *next;          /* number, of each channel */
    uint32_t             one;           /* ... when there is one channel */
    int                  state;
    int                  chunked;
    uint64_t             since;         /* ns */
    chunks_t             chunks;
    buf_t                rest;          /* a message that is not whole */
    buf_t                out;
    char                *cursor;
    char                *pid;           /* of Socket.IO */
} client_t;


/* values from 0 to 2^36 us in steps of 3 % */

#define STEPS         32

typedef struct {
    uint64_t             n[36 * STEPS];
    uint64_t             count;
    uint64_t             max;
} histogram_t;


/* CPU time of processes, in seconds */

typedef struct {
    double               total;
    double               user;
} cpu_t;

typedef struct {
    uint64_t             time;          /* ns */
    cpu_t                server;
    cpu_t                redis;
    cpu_t                self;
    double               busy;          /* all processes of the machine */
    double               steal;
} sample_t;


static struct {
    /* options */

    int                  port;
    int                  redis_port;
    proto_e              proto;
    const char          *path;
    int                  bare;          /* the answer is all that it says */
    int                  ask;           /* channels are joined by message */
    uint32_t             clients;
    uint32_t             channels;
    uint32_t             flight;
    double               rate;
    uint64_t             window;
    double               time;
    double               warm;
    int                  size;
    int                  durable;
    uint32_t             each;          /* events per channel, not a time */
    uint32_t             missed;
    double               settle;
    double               silence;       /* that tells that nothing comes */
    const char          *token;
    pid_t                servers[MAX_PIDS];
    int                  nservers;
    pid_t                redis_pid;

    uint32_t             per_client;    /* channels */
} o;


static uint64_t        now;             /* ns, of the loop turn */
static client_t       *clients;
static uint32_t       *numbers;         /* of each channel, the next one */
static uint32_t       *listeners;       /* of each channel */
static char           *input;

static uint32_t        nready;
static uint32_t        nopening;
static uint32_t        nlost;           /* clients that were ready */
static uint32_t        nfailed;
static int             resuming;
static char            failure[256];    /* of the first one */

static uint64_t        owed;            /* deliveries, from the beginning */
static uint64_t        delivered;
static uint64_t        gaps;
static uint64_t        doubles;
static uint64_t        strays;
static uint64_t        reads;
static uint64_t        progress;        /* when something came */
static int             measuring;
static histogram_t     latency, handshake, lag;

static redisContext   *redis;
static io_t            producer;
static io_t            timer;
static uint64_t        published;
static uint64_t        answered;
static char           *padding;


static void client_handler(io_t *io, uint32_t events);


/* -------------------------------------------------------------- the clock */


static uint64_t
clock_ns(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000000000 + ts.tv_nsec;
}


static void
turn(int ms)
{
    io_wait(ms);
    now = clock_ns();
    io_handle();
}


static void
wait_for(double s)
{
    uint64_t  end;

    end = clock_ns() + (uint64_t) (s * 1e9);

    do {
        turn(10);
    } while (now < end);
}


static void
histogram_add(histogram_t *h, uint64_t ns)
{
    int       e;
    uint64_t  us;

    us = ns / 1000;
    e = 0;

    while (us >> e >= 2 * STEPS) {
        e++;
    }

    /* us >> e is in STEPS .. 2 * STEPS - 1, below that it is exact */

    h->n[e * STEPS + (us >> e)]++;
    h->count++;

    if (ns > h->max) {
        h->max = ns;
    }
}


/* in ms */

static double
histogram_part(histogram_t *h, double part)
{
    int       i, e;
    uint64_t  want, sum;

    want = h->count * part;

    for (i = 0, sum = 0; i < 36 * STEPS; i++) {
        sum += h->n[i];

        if (sum > want) {
            e = (i < 2 * STEPS) ? 0 : i / STEPS - 1;
            return ((double) ((uint64_t) (i - e * STEPS) << e)) / 1000;
        }
    }

    return h->max / 1e6;
}


/* ------------------------------------------------------------ accounting */


/*
 * How long a process has run is known in ns, how much of that was in user mode
 * in ticks.
 */

static void
cpu_add(cpu_t *cpu, pid_t pid)
{
    FILE           *f;
    char            name[64], *p, line[1024];
    double          total, ticks;
    uint64_t        ns;
    unsigned long   user, system;

    snprintf(name, sizeof(name), "/proc/%d/stat", (int) pid);
    f = fopen(name, "r");

    if (f == NULL || fgets(line, sizeof(line), f) == NULL
        || (p = strrchr(line, ')')) == NULL
        || sscanf(p + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
                  &user, &system) != 2)
    {
        die("%s cannot be read: has the server ended?", name);
    }

    fclose(f);

    ticks = sysconf(_SC_CLK_TCK);
    total = (user + system) / ticks;

    snprintf(name, sizeof(name), "/proc/%d/schedstat", (int) pid);
    f = fopen(name, "r");

    if (f) {
        if (fscanf(f, "%" SCNu64, &ns) == 1 && ns) {
            total = ns / 1e9;
        }

        fclose(f);
    }

    cpu->total += total;
    cpu->user += user / ticks;
}


static void
sample(sample_t *s)
{
    int            i;
    FILE          *f;
    unsigned long  v[8];

    memset(s, 0, sizeof(sample_t));

    s->time = clock_ns();

    for (i = 0; i < o.nservers; i++) {
        cpu_add(&s->server, o.servers[i]);
    }

    if (o.redis_pid) {
        cpu_add(&s->redis, o.redis_pid);
    }

    cpu_add(&s->self, getpid());

    /* user nice system idle iowait irq softirq steal */

    f = fopen("/proc/stat", "r");

    if (f && fscanf(f, "cpu %lu %lu %lu %lu %lu %lu %lu %lu", &v[0], &v[1],
                    &v[2], &v[3], &v[4], &v[5], &v[6], &v[7]) == 8)
    {
        s->busy = (double) (v[0] + v[1] + v[2] + v[5] + v[6])
                  / sysconf(_SC_CLK_TCK);
        s->steal = (double) v[7] / sysconf(_SC_CLK_TCK);
    }

    if (f) {
        fclose(f);
    }
}


/* bytes that the server has for itself */

static double
memory(pid_t *pids, int n)
{
    int            i;
    char           name[64], line[256];
    FILE          *f;
    double         sum;
    unsigned long  kb;

    for (i = 0, sum = 0; i < n; i++) {
        snprintf(name, sizeof(name), "/proc/%d/smaps_rollup", (int) pids[i]);
        f = fopen(name, "r");

        if (f == NULL) {
            die("%s: %s", name, strerror(errno));
        }

        while (fgets(line, sizeof(line), f)) {
            if (sscanf(line, "Pss: %lu kB", &kb) == 1) {
                sum += kb * 1024.0;
            }
        }

        fclose(f);
    }

    return sum;
}


/* -------------------------------------------------------------- deliveries */


static int
hex(const char *p, int n, uint64_t *v)
{
    int       i, c;
    uint64_t  x;

    for (i = 0, x = 0; i < n; i++) {
        c = p[i];

        if (c >= '0' && c <= '9') {
            c -= '0';

        } else if (c >= 'a' && c <= 'f') {
            c -= 'a' - 10;

        } else {
            return 0;
        }

        x = x << 4 | c;
    }

    *v = x;

    return 1;
}


/* events look alike: the mark is most likely where it was last time */

static const char *
mark(str_t s)
{
    const char     *p;
    static size_t   at;

    if (s.len >= at + sizeof(MARK) - 1 + MARK_LEN
        && memcmp(s.data + at, lit(MARK)) == 0)
    {
        return s.data + at + sizeof(MARK) - 1;
    }

    p = memmem(s.data, s.len, lit(MARK));

    if (p == NULL
        || s.data + s.len - p < (ptrdiff_t) (sizeof(MARK) - 1 + MARK_LEN))
    {
        return NULL;
    }

    at = p - s.data;

    return p + sizeof(MARK) - 1;
}


/* 1: it was one of ours */

static int
deliver(client_t *c, str_t s)
{
    uint32_t    *next;
    uint64_t     chan, n, time;
    const char  *p;

    p = mark(s);

    if (p == NULL) {
        return 0;
    }

    if (!hex(p, 8, &chan) || !hex(p + 9, 8, &n) || !hex(p + 18, 16, &time)
        || chan - c->first >= o.per_client)
    {
        strays++;
        return 1;
    }

    progress = now;
    next = &c->next[chan - c->first];

    if (n < *next) {
        doubles++;
        return 1;
    }

    gaps += n - *next;
    *next = n + 1;
    delivered++;

    if (measuring && now > time) {
        histogram_add(&latency, now - time);
    }

    return 1;
}


/* ---------------------------------------------------------------- clients */


static void
client_close(client_t *c)
{
    io_close(&c->io);

    if (c->state == READY) {
        nready--;

    } else if (c->state != GONE) {
        nopening--;
    }

    c->state = GONE;
    c->rest.len = 0;
    c->out.len = 0;
}


static void
client_fail(client_t *c, const char *fmt, ...)
{
    size_t   len;
    va_list  args;

    if (failure[0] == '\0') {
        va_start(args, fmt);
        vsnprintf(failure, sizeof(failure), fmt, args);
        va_end(args);

        /* it goes into JSON */

        for (len = 0; failure[len]; len++) {
            if (failure[len] < ' ' || strchr("\"\\", failure[len])) {
                failure[len] = '\'';
            }
        }
    }

    if (c->state == READY) {
        nlost++;

    } else {
        nfailed++;
    }

    client_close(c);
}


static void
client_put(client_t *c, const char *fmt, ...)
{
    int      n;
    char     buf[2048];
    va_list  args;

    va_start(args, fmt);
    n = vsnprintf(buf, sizeof(buf), fmt, args);
    va_end(args);

    frame_put(&c->out, 1, buf, n);
    io_want(&c->io, EPOLLIN|EPOLLOUT);
}


static void
client_ready(client_t *c)
{
    uint32_t  i;

    c->state = READY;
    nopening--;
    nready++;
    progress = now;

    histogram_add(&handshake, now - c->since);

    for (i = 0; i < o.per_client && !resuming; i++) {
        listeners[c->first + i]++;
    }
}


/* asks for its channels, in one go */

static void
client_join(client_t *c)
{
    uint32_t  i;

    c->state = JOINING;

    for (i = 0; i < o.per_client; i++) {

        if (o.proto == SIO) {
            client_put(c, "42%" PRIu32 "[\"subscribe\","
                       "{\"channel\":\"job:%" PRIu32 "\"}]", i, c->first + i);

        } else {
            client_put(c, "{\"event\":\"subscribe\","
                       "\"data\":{\"channel\":\"job:%" PRIu32 "\"},"
                       "\"ack\":%" PRIu32 "}", c->first + i, i);
        }
    }
}


static void
client_joined(client_t *c, str_t ack)
{
    if (memmem(ack.data, ack.len, lit("\"ok\":true")) == NULL) {
        client_fail(c, "not joined: %.*s", (int) ack.len, ack.data);
        return;
    }

    if (++c->joined == o.per_client) {
        client_ready(c);
    }
}


static void
client_cursor(client_t *c, const char *p, size_t len)
{
    if (o.missed) {
        c->cursor = renew(c->cursor, len + 1);
        memcpy(c->cursor, p, len);
        c->cursor[len] = '\0';
    }
}


/* {"event":...,"data":...,"channel":...,"cursor":"..."} */

static void
client_message(client_t *c, str_t s)
{
    char  *p;

    if (o.missed && s.len > 2) {
        p = memmem(s.data, s.len, lit("\"cursor\":\""));

        if (p) {
            p += sizeof("\"cursor\":\"") - 1;
            client_cursor(c, p, s.data + s.len - 2 - p);
        }
    }

    if (c->state == READY && deliver(c, s)) {
        return;
    }

    if (s.len > 7 && memcmp(s.data, "{\"ack\":", 7) == 0) {
        client_joined(c, s);
        return;
    }

    if (c->state == OPENING
        && memmem(s.data, s.len, lit("\"event\":\"connected\"")))
    {
        if (o.ask && !resuming) {
            client_join(c);

        } else {
            client_ready(c);
        }
    }
}


/* 42["name",data,"cursor"], and what is needed to get so far */

static void
client_packet(client_t *c, str_t s)
{
    char  *p, *end;

    if (s.len > 2 && s.data[0] == '4' && s.data[1] == '2') {

        if (o.missed && s.len > 4 && s.data[s.len - 2] == '"') {
            end = (char *) s.data + s.len - 2;
            p = memrchr(s.data, '"', end - s.data);

            if (p) {
                client_cursor(c, p + 1, end - p - 1);
            }
        }

        deliver(c, s);
        return;
    }

    if (s.len == 1 && s.data[0] == '2') {
        client_put(c, "3");
        return;
    }

    if (s.len > 1 && s.data[0] == '0') {

        if (resuming && c->pid && c->cursor) {
            client_put(c, "40{\"pid\":\"%s\",\"offset\":\"%s\"}", c->pid,
                       c->cursor);

        } else if (o.token) {
            client_put(c, "40{\"token\":\"%s\"}", o.token);

        } else {
            client_put(c, "40");
        }

        return;
    }

    if (s.len > 1 && s.data[0] == '4' && s.data[1] == '0') {

        if (o.missed && !resuming) {
            p = memmem(s.data, s.len, lit("\"pid\":\""));
            end = p ? memchr(p + 7, '"', s.data + s.len - p - 7) : NULL;

            if (end) {
                c->pid = strndup(p + 7, end - p - 7);
            }
        }

        if (resuming) {
            client_ready(c);

        } else {
            client_join(c);
        }

        return;
    }

    if (s.len > 1 && s.data[0] == '4' && s.data[1] == '3') {
        client_joined(c, s);
        return;
    }

    client_fail(c, "unexpected packet %.*s", (int) s.len, s.data);
}


static void
client_event(client_t *c, event_t *ev)
{
    if (ev->data.data == NULL) {
        return;
    }

    client_cursor(c, ev->id.data, ev->id.len);

    if (!deliver(c, ev->data) && c->state == OPENING
        && same(ev->name, "connected"))
    {
        client_ready(c);
    }
}


static size_t
client_head(client_t *c, str_t s)
{
    head_t  head;

    if (!head_read(s, &head)) {
        return 0;
    }

    if (head.status != (o.proto == SSE ? 200 : 101)) {
        client_fail(c, "answered with %d", head.status);
        return 0;
    }

    c->chunked = head.chunked;
    c->state = OPENING;

    memset(&c->chunks, 0, sizeof(chunks_t));

    if (o.bare) {
        client_ready(c);
    }

    return head.len;
}


/* answers how much of it was whole */

static size_t
client_input(client_t *c, str_t s)
{
    size_t    n, pos;
    event_t   ev;
    frame_t   frame;

    for (pos = 0; pos < s.len && c->state > ASKING; pos += n) {

        if (o.proto == SSE) {
            n = event_read(s.data + pos, s.len - pos, &ev);

            if (n) {
                client_event(c, &ev);
            }

        } else {
            n = frame_read(s.data + pos, s.len - pos, &frame);

            if (n == 0) {
                break;
            }

            switch (frame.first) {

            case 0x81:
                if (o.proto == SIO) {
                    client_packet(c, frame.payload);

                } else {
                    client_message(c, frame.payload);
                }

                break;

            case 0x89:
                frame_put(&c->out, 10, frame.payload.data, frame.payload.len);
                io_want(&c->io, EPOLLIN|EPOLLOUT);
                break;

            default:
                client_fail(c, "frame %02x %.*s", frame.first,
                            frame.payload.len > 2
                            ? (int) frame.payload.len - 2 : 0,
                            frame.payload.data + 2);
            }
        }

        if (n == 0) {
            break;
        }
    }

    return pos;
}


static void
client_read(client_t *c)
{
    str_t    s;
    char    *p;
    size_t   n, kept;
    ssize_t  got;

    kept = c->rest.len;

    if (kept > INPUT_SIZE / 2) {
        client_fail(c, "message too long");
        return;
    }

    got = recv(c->io.fd, input + kept, INPUT_SIZE - kept, 0);

    if (got == -1 && errno == EAGAIN) {
        return;
    }

    if (got <= 0) {
        client_fail(c, "closed by the server");
        return;
    }

    reads++;

    if (kept) {
        memcpy(input, c->rest.data, kept);
        c->rest.len = 0;
    }

    p = input;

    if (c->state == ASKING) {
        s.data = input;
        s.len = kept + got;

        n = client_head(c, s);

        if (c->state == GONE) {
            return;
        }

        p += n;
        got += kept - n;
        kept = 0;
    }

    if (c->state != ASKING && c->chunked) {
        got = chunks_read(&c->chunks, p + kept, got);
    }

    s.data = p;
    s.len = kept + got;

    n = client_input(c, s);

    if (c->state != GONE && n < s.len) {
        put(&c->rest, s.data + n, s.len - n);
    }
}


static void
client_handler(io_t *io, uint32_t events)
{
    client_t  *c = container(io, client_t, io);

    if (events & EPOLLOUT) {

        if (!io_write(io, &c->out)) {
            client_fail(c, "write failed");
            return;
        }

        io_want(io, c->out.len ? EPOLLIN|EPOLLOUT : EPOLLIN);
    }

    if (events & ~EPOLLOUT) {
        client_read(c);
    }
}


static void
client_connect(client_t *c)
{
    buf_t     uri;
    uint32_t  i;

    i = c - clients;

    c->since = now;
    c->joined = 0;

    /* one address has 28,000 ports, and they rest for a minute after use */

    if (!io_connect(&c->io, o.port,
                    FIRST_SOURCE + getpid() % 64 * 256 + 1 + i / PER_SOURCE
                    + (resuming ? 100 : 0), 0))
    {
        nfailed++;
        return;
    }

    c->state = ASKING;
    nopening++;

    memset(&uri, 0, sizeof(buf_t));
    putf(&uri, "%s", o.path);

    if (resuming && o.proto == WS) {
        putf(&uri, "&cursor=%s", c->cursor ? c->cursor : "");

    } else if (!o.ask && !resuming) {
        putf(&uri, "&channel=job:%" PRIu32, c->first);
    }

    request_put(&c->out, o.proto, 1, uri.data, uri.len);
    free(uri.data);

    put(&c->out, lit(BROWSER));

    if (o.proto != SSE) {
        put(&c->out, lit(EXTENSIONS));
    }

    if (resuming && o.proto == SSE) {
        putf(&c->out, "Last-Event-ID: %s\r\n", c->cursor ? c->cursor : "");
    }

    if (o.token && o.proto != SIO) {
        putf(&c->out, "Authorization: Bearer %s\r\n", o.token);
    }

    put(&c->out, lit("\r\n"));
}


static void
connect_all(uint32_t flight)
{
    uint32_t  i;

    now = clock_ns();
    progress = now;
    i = 0;

    while (nready + nfailed + nlost < o.clients) {

        while (i < o.clients && nopening < flight) {
            client_connect(&clients[i++]);
        }

        turn(100);

        if (now - progress > (uint64_t) (o.silence * 1e9)) {
            nfailed += o.clients - nready - nfailed - nlost;

            if (failure[0] == '\0') {
                strcpy(failure, "no answer to a handshake");
            }
        }
    }
}


/* ---------------------------------------------------------------- producer */


static void
producer_handler(io_t *io, uint32_t events)
{
    int          done;
    void        *data;
    redisReply  *reply;

    if (events & EPOLLOUT && redisBufferWrite(redis, &done) != REDIS_OK) {
        die("Redis: %s", redis->errstr);
    }

    if (events & ~EPOLLOUT) {

        if (redisBufferRead(redis) != REDIS_OK) {
            die("Redis: %s", redis->errstr);
        }

        for ( ;; ) {

            if (redisGetReplyFromReader(redis, &data) != REDIS_OK) {
                die("Redis: %s", redis->errstr);
            }

            reply = data;

            if (reply == NULL) {
                break;
            }

            if (reply->type == REDIS_REPLY_ERROR) {
                die("Redis has answered \"%s\"", reply->str);
            }

            freeReplyObject(reply);
            answered++;
        }
    }
}


static void
producer_flush(void)
{
    int  done;

    if (redisBufferWrite(redis, &done) != REDIS_OK) {
        die("Redis: %s", redis->errstr);
    }

    io_want(&producer, done ? EPOLLIN : EPOLLIN|EPOLLOUT);
}


static void
publish(uint32_t chan, uint64_t due)
{
    int          argc, n;
    char         name[16];
    size_t       len[6];
    const char  *argv[6];

    static char  *data, *message;
    static int    size;

    if (data == NULL) {
        size = o.size + 256;
        data = renew(NULL, size);
        message = renew(NULL, size + 64);
    }

    n = snprintf(data, size, "{" MARK "%08" PRIx32 ".%08" PRIx32 ".%016" PRIx64
                 "\",\"pad\":\"%s\"}", chan, numbers[chan]++, due, padding);

    argv[1] = name;
    len[1] = snprintf(name, sizeof(name), "job:%" PRIu32, chan);

    if (o.durable) {
        argv[3] = name;
        len[3] = len[1];

        argv[0] = "FCALL";
        len[0] = 5;
        argv[1] = "rtbus_publish";
        len[1] = 13;
        argv[2] = "1";
        len[2] = 1;
        argv[4] = EVENT;
        len[4] = sizeof(EVENT) - 1;
        argv[5] = data;
        len[5] = n;
        argc = 6;

    } else {
        argv[0] = "PUBLISH";
        len[0] = 7;
        argv[2] = message;
        len[2] = snprintf(message, size + 64, "{\"event\":\"" EVENT "\","
                          "\"data\":%s}", data);
        argc = 3;
    }

    if (redisAppendCommandArgv(redis, argc, argv, len) != REDIS_OK) {
        die("Redis: %s", redis->errstr);
    }

    published++;
    owed += listeners[chan];
}


static void
timer_handler(io_t *io, uint32_t events)
{
    uint64_t  n;

    if (read(io->fd, &n, sizeof(n)) == -1 && errno != EAGAIN) {
        die("timer: %s", strerror(errno));
    }
}


static void
timer_set(uint64_t ns)
{
    struct itimerspec  its;

    its.it_value.tv_sec = ns / 1000000000;
    its.it_value.tv_nsec = ns % 1000000000;
    its.it_interval = its.it_value;

    if (timerfd_settime(timer.fd, 0, &its, NULL) == -1) {
        die("timer: %s", strerror(errno));
    }
}


/* until all has come, or nothing comes any more */

static void
drain(void)
{
    progress = clock_ns();

    while (delivered + gaps < owed || answered < published) {
        turn(10);

        if (now - progress > (uint64_t) (o.silence * 1e9) || nready == 0) {
            break;
        }
    }
}


/* at a rate, all channels in turn */

static void
produce(double rate, double time, uint64_t limit)
{
    double    step;
    uint64_t  start, due, i;

    step = 1e9 / rate;

    /* what is due within a tick leaves together */

    timer_set(step > TICK ? (uint64_t) step : TICK);
    start = clock_ns();

    for (i = 0; i < limit; /* void */ ) {

        turn(100);

        for ( ;; ) {
            due = start + (uint64_t) (i * step);

            if (due > now || i == limit) {
                break;
            }

            if (due - start >= (uint64_t) (time * 1e9)) {
                limit = i;
                break;
            }

            if (measuring) {
                histogram_add(&lag, now - due);
            }

            publish(i++ % o.channels, due);
        }

        producer_flush();
    }

    timer_set(0);
}


/* no more than so many deliveries under way */

static void
produce_window(uint64_t window, double time)
{
    uint64_t  end, i;

    now = clock_ns();
    end = now + (uint64_t) (time * 1e9);
    progress = now;

    for (i = 0; now < end; /* void */ ) {

        while (owed - delivered - gaps + listeners[i % o.channels] <= window) {
            publish(i++ % o.channels, now);
        }

        producer_flush();
        turn(100);

        if (now - progress > (uint64_t) (o.silence * 1e9)) {
            break;
        }
    }
}


/* as fast as Redis takes them */

static void
produce_all(uint32_t each)
{
    uint64_t  i, n;

    n = (uint64_t) each * o.channels;

    for (i = 0; i < n; /* void */ ) {

        while (i < n && published - answered < 1000) {
            publish(i++ % o.channels, clock_ns());
        }

        producer_flush();
        turn(100);
    }

    while (answered < published) {
        turn(100);
    }
}


static void
producer_init(void)
{
    redis = redisConnectNonBlock("127.0.0.1", o.redis_port);

    if (redis == NULL || redis->err) {
        die("no Redis on port %d", o.redis_port);
    }

    producer.fd = redis->fd;
    producer.handler = producer_handler;

    io_add(&producer, EPOLLIN);

    timer.fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK|TFD_CLOEXEC);
    timer.handler = timer_handler;

    if (timer.fd == -1) {
        die("timerfd_create: %s", strerror(errno));
    }

    io_add(&timer, EPOLLIN);

    padding = renew(NULL, o.size + 1);
    memset(padding, 'x', o.size);

    /* the rest of the data is 53 bytes */

    padding[o.size > 53 ? o.size - 53 : 0] = '\0';
}


/* the server keeps a channel that nobody listens to for a while */

static void
wait_for_silence(void)
{
    int            i, n;
    redisReply    *reply;
    redisContext  *control;

    control = redisConnect("127.0.0.1", o.redis_port);

    for (i = 0, n = 1; i < 150 && n && control && !control->err; i++) {

        wait_for(0.1);

        reply = redisCommand(control, "PUBSUB CHANNELS job:*");
        n = (reply && reply->type == REDIS_REPLY_ARRAY) ? reply->elements : 0;

        if (reply) {
            freeReplyObject(reply);
        }
    }

    if (control) {
        redisFree(control);
    }
}


/* ------------------------------------------------------------------- main */


static void
pids(const char *s)
{
    char  *end;

    while (*s) {

        if (o.nservers == MAX_PIDS) {
            die("too many processes");
        }

        o.servers[o.nservers] = strtol(s, &end, 10);

        if (end == s || o.servers[o.nservers++] <= 0) {
            die("bad process id \"%s\"", s);
        }

        s = (*end == ',') ? end + 1 : end;
    }
}


static void
options(int argc, char **argv)
{
    int  opt;

    enum {
        PORT = 1, REDIS, PROTOCOL, URI, BARE, ASK, CLIENTS, CHANNELS,
        FLIGHT, RATE, WINDOW, TIME, EACH, WARM, SIZE, DURABLE, MISSED,
        SETTLE, SILENCE, TOKEN, SERVER, REDIS_PID
    };

    static const struct option  longs[] = {
        { "port",      required_argument, NULL, PORT },
        { "redis",     required_argument, NULL, REDIS },
        { "protocol",  required_argument, NULL, PROTOCOL },
        { "uri",       required_argument, NULL, URI },
        { "bare",      no_argument,       NULL, BARE },
        { "ask",       no_argument,       NULL, ASK },
        { "clients",   required_argument, NULL, CLIENTS },
        { "channels",  required_argument, NULL, CHANNELS },
        { "flight",    required_argument, NULL, FLIGHT },
        { "rate",      required_argument, NULL, RATE },
        { "window",    required_argument, NULL, WINDOW },
        { "time",      required_argument, NULL, TIME },
        { "each",      required_argument, NULL, EACH },
        { "warm",      required_argument, NULL, WARM },
        { "size",      required_argument, NULL, SIZE },
        { "durable",   no_argument,       NULL, DURABLE },
        { "missed",    required_argument, NULL, MISSED },
        { "settle",    required_argument, NULL, SETTLE },
        { "silence",   required_argument, NULL, SILENCE },
        { "token",     required_argument, NULL, TOKEN },
        { "server",    required_argument, NULL, SERVER },
        { "redis-pid", required_argument, NULL, REDIS_PID },
        { NULL, 0, NULL, 0 }
    };

    static const char *const  protocols[] = { "websocket", "sse", "socketio" };
    static const char *const  uris[] = {
        "/ws?", "/sse?", "/socket.io/?EIO=4&transport=websocket"
    };

    o.clients = 1000;
    o.channels = 1;
    o.flight = 256;
    o.size = 100;
    o.settle = 0.5;
    o.silence = 5;

    while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1) {

        switch (opt) {

        case PORT: o.port = atoi(optarg); break;
        case REDIS: o.redis_port = atoi(optarg); break;
        case URI: o.path = optarg; break;
        case BARE: o.bare = 1; break;
        case ASK: o.ask = 1; break;
        case CLIENTS: o.clients = atoi(optarg); break;
        case CHANNELS: o.channels = atoi(optarg); break;
        case FLIGHT: o.flight = atoi(optarg); break;
        case RATE: o.rate = atof(optarg); break;
        case WINDOW: o.window = strtoull(optarg, NULL, 10); break;
        case TIME: o.time = atof(optarg); break;
        case EACH: o.each = atoi(optarg); break;
        case WARM: o.warm = atof(optarg); break;
        case SIZE: o.size = atoi(optarg); break;
        case DURABLE: o.durable = 1; break;
        case MISSED: o.missed = atoi(optarg); break;
        case SETTLE: o.settle = atof(optarg); break;
        case SILENCE: o.silence = atof(optarg); break;
        case TOKEN: o.token = optarg; break;
        case SERVER: pids(optarg); break;
        case REDIS_PID: o.redis_pid = atoi(optarg); break;

        case PROTOCOL:
            for (o.proto = 0; o.proto < PROTOCOLS; o.proto++) {
                if (strcmp(optarg, protocols[o.proto]) == 0) {
                    break;
                }
            }

            if (o.proto == PROTOCOLS) {
                die("unknown protocol \"%s\"", optarg);
            }

            break;

        default:
            exit(2);
        }
    }

    if (o.port == 0 || o.redis_port == 0 || optind != argc) {
        die("--port and --redis are needed, see load.c");
    }

    if (o.clients == 0 || o.channels == 0 || o.size < 0 || o.flight == 0
        || (o.channels > o.clients && o.channels % o.clients))
    {
        die("bad number of clients or channels");
    }

    if (o.path == NULL) {
        o.path = uris[o.proto];
    }

    o.per_client = o.channels > o.clients ? o.channels / o.clients : 1;

    if (o.per_client > 1 && o.proto == SSE) {
        die("one channel is what a client over SSE can have");
    }

    if (o.proto == SIO || o.per_client > 1) {
        o.ask = 1;
    }
}


static void
clients_init(void)
{
    uint32_t        i;
    client_t       *c;
    struct rlimit   rl;

    getrlimit(RLIMIT_NOFILE, &rl);

    if (o.clients + 32 > rl.rlim_max) {
        die("%" PRIu32 " clients need RLIMIT_NOFILE to be %" PRIu32
            ", the most here is %ju", o.clients, o.clients + 32,
            (uintmax_t) rl.rlim_max);
    }

    rl.rlim_cur = rl.rlim_max;
    setrlimit(RLIMIT_NOFILE, &rl);

    input = renew(NULL, INPUT_SIZE);

    numbers = calloc(o.channels, sizeof(uint32_t));
    listeners = calloc(o.channels, sizeof(uint32_t));
    clients = calloc(o.clients, sizeof(client_t));

    if (numbers == NULL || listeners == NULL || clients == NULL) {
        die("no memory");
    }

    for (i = 0; i < o.clients; i++) {
        c = &clients[i];

        c->io.fd = -1;
        c->io.handler = client_handler;
        c->first = i * o.per_client % o.channels;
        c->next = &c->one;

        if (o.per_client > 1) {
            c->next = calloc(o.per_client, sizeof(uint32_t));

            if (c->next == NULL) {
                die("no memory");
            }
        }
    }
}


static void
print_times(const char *name, histogram_t *h)
{
    printf("\"%s\":{\"p50\":%.3f,\"p99\":%.3f,\"p999\":%.3f,\"max\":%.3f}",
           name, histogram_part(h, 0.5), histogram_part(h, 0.99),
           histogram_part(h, 0.999), h->max / 1e6);
}


/* CPU time from a to b, by n of whatever it is, in us; shares in percent */

static void
print_cost(sample_t *a, sample_t *b, double n)
{
    double  time, total, others;

    time = (b->time - a->time) / 1e9;
    total = b->server.total - a->server.total;

    others = b->busy - a->busy - total - (b->redis.total - a->redis.total)
             - (b->self.total - a->self.total);

    if (n < 1) {
        n = 1;
    }

    printf("\"time\":%.3f,\"us\":%.3f,\"user\":%.3f,\"redis\":%.3f,"
           "\"share\":{\"server\":%.1f,\"redis\":%.1f,\"load\":%.1f,"
           "\"others\":%.1f,\"steal\":%.1f}",
           time, total * 1e6 / n,
           (b->server.user - a->server.user) * 1e6 / n,
           (b->redis.total - a->redis.total) * 1e6 / n,
           total / time * 100,
           (b->redis.total - a->redis.total) / time * 100,
           (b->self.total - a->self.total) / time * 100,
           others > 0 ? others / time * 100 : 0,
           (b->steal - a->steal) / time * 100);
}


static void
run_connect(void)
{
    double    before, after, redis_before, redis_after;
    sample_t  s[2];

    before = memory(o.servers, o.nservers);
    redis_before = o.redis_pid ? memory(&o.redis_pid, 1) : 0;

    sample(&s[0]);
    connect_all(o.flight);
    sample(&s[1]);

    printf("\"connect\":{\"clients\":%" PRIu32 ",\"failed\":%" PRIu32 ",",
           nready, nfailed);
    print_cost(&s[0], &s[1], nready);
    printf(",");
    print_times("latency", &handshake);
    printf("},");

    wait_for(o.settle);

    after = memory(o.servers, o.nservers);
    redis_after = o.redis_pid ? memory(&o.redis_pid, 1) : 0;

    printf("\"idle\":{\"bytes\":%.0f,\"redis\":%.0f,\"total\":%.0f},",
           nready ? (after - before) / nready : 0,
           nready ? (redis_after - redis_before) / nready : 0, after);
}


static void
run_publish(void)
{
    double    time;
    uint64_t  was, got, events, start;
    sample_t  s[2];

    if (o.warm > 0) {
        produce(o.rate, o.warm, UINT64_MAX);
        drain();
    }

    was = delivered;
    events = published;
    reads = 0;
    measuring = 1;

    sample(&s[0]);
    start = clock_ns();

    if (o.window) {
        produce_window(o.window, o.time);

    } else {
        produce(o.rate, o.each ? 1e9 : o.time,
                o.each ? (uint64_t) o.each * o.channels : UINT64_MAX);
    }

    drain();
    sample(&s[1]);

    measuring = 0;

    got = delivered - was;
    time = (progress - start) / 1e9;

    printf("\"publish\":{\"events\":%" PRIu64 ",\"deliveries\":%" PRIu64 ","
           "\"rate\":%.0f,\"per_read\":%.2f,", published - events, got,
           got ? got / time : 0, reads ? (double) got / reads : 0);
    print_cost(&s[0], &s[1], got);
    printf(",");
    print_times("latency", &latency);
    printf(",");
    print_times("lag", &lag);
    printf("},");
}


static void
run_resume(void)
{
    double    opened;
    uint32_t  i;
    uint64_t  was, start;
    sample_t  s[2];

    for (i = 0; i < o.clients; i++) {
        client_close(&clients[i]);
    }

    wait_for_silence();
    produce_all(o.missed);

    was = delivered;
    resuming = 1;

    sample(&s[0]);
    start = clock_ns();

    connect_all(o.clients);
    opened = (clock_ns() - start) / 1e9;

    drain();
    sample(&s[1]);

    printf("\"resume\":{\"events\":%" PRIu64 ",\"opened\":%.3f,\"last\":%.3f,",
           delivered - was, opened, (progress - start) / 1e9);
    print_cost(&s[0], &s[1], delivered - was);
    printf("},");
}


int
main(int argc, char **argv)
{
    uint64_t  missing;

    options(argc, argv);

    signal(SIGPIPE, SIG_IGN);

    io_init();
    clients_init();
    producer_init();

    printf("{");

    run_connect();

    if (nfailed == 0 && (o.rate > 0 || o.window)) {
        run_publish();
    }

    if (nfailed == 0 && o.missed) {
        run_resume();
    }

    missing = owed - delivered;

    printf("\"check\":{\"missing\":%" PRIu64 ",\"doubled\":%" PRIu64 ","
           "\"misled\":%" PRIu64 ",\"failed\":%" PRIu32 ",\"lost\":%" PRIu32
           ",\"failure\":\"%s\"}}\n", missing, doubles, strays, nfailed, nlost,
           failure);

    return missing || doubles || strays || nfailed || nlost;
}
