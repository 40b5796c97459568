
/* Clients, and what is delivered to them. */


#define _GNU_SOURCE

#include <errno.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"


#define INPUT_SIZE    (1 << 20)
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


client_t         *clients;
uint32_t         *numbers;
uint32_t         *listeners;

uint32_t          nready;
uint32_t          nlost;
uint32_t          nfailed;
int               resuming;
char              failure[256];

uint64_t          delivered;
uint64_t          gaps;
uint64_t          doubles;
uint64_t          strays;
uint64_t          reads;
uint64_t          progress;
int               measuring;
histogram_t       latency, handshake;

static char      *input;
static uint32_t   nopening;


static void client_handler(io_t *io, uint32_t events);


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


void
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


void
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


void
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
