
/*
 * A model server and those who ask it, for what stands between the two: what
 * does it cost a proxy to hand an answer over, and how much later does its
 * first token come?
 *
 *     answers --listen N --target NAME,PORT,URI,PID[,PID] ... [option ...]
 *
 *     --redis-pid N   whose CPU time is told, too
 *     --clients N     100: answers at the same time
 *     --events N      200: of each answer
 *     --rate R        100: events a second of each answer
 *     --burst N       1: how many of them come in one write
 *     --rounds N      4: of each target
 *
 * The targets take turns, and all of them ask the server on --listen.  Its
 * first event comes at once.  Answers begin one after the other, evenly spread
 * over half of the time that one takes.  Prints one line of JSON.
 *
 * CPU time is that of the processes named, user and system, from /proc.
 */


#define _GNU_SOURCE

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "http.h"


#define MAX_TARGETS  8
#define MAX_PIDS     16
#define TIMEOUT      30                 /* s without an answer */


typedef struct {
    char                *name;
    char                *uri;
    int                  port;
    pid_t                pids[MAX_PIDS];
    int                  npids;

    double               cpu;           /* s */
    double               redis;
    double               others;        /* what all other programs took */
    double               time;
    uint64_t             events;
    uint64_t             bad;           /* answers that were not whole */
    double              *first;         /* ms, of each answer */
    size_t               nfirst;
} target_t;

/* who asks */

typedef struct {
    http_t               http;
    void               (*handler)(io_t *io, uint32_t events);
    uint64_t             start;         /* ns: is due, or has asked */
    int                  asked;
    int                  begun;
} client_t;

/* whom they ask: a connection from a target */

typedef struct asked_s  asked_t;

struct asked_s {
    io_t                 io;
    asked_t             *next;
    buf_t                in;
    buf_t                out;
    int                  active;
    uint64_t             start;
    uint32_t             sent;
};


static void options(int argc, char **argv);
static void target_add(char *s);
static void turn(target_t *t);
static void client_ask(client_t *c);
static void client_io(io_t *io, uint32_t events);
static void client_answer(http_t *h, int status, str_t body);
static void server_listen(void);
static void server_accept(io_t *io, uint32_t events);
static void server_handler(io_t *io, uint32_t events);
static void server_request(asked_t *a);
static void server_send(asked_t *a, uint64_t now);
static void account(target_t *t, int sign);
static double cpu(pid_t pid);
static double busy(void);
static uint64_t clock_ns(void);
static int compare(const void *one, const void *two);
static double percentile(target_t *t, double share);


static struct {
    int                  listen;
    pid_t                redis_pid;
    uint32_t             clients;
    uint32_t             events;
    uint32_t             burst;
    uint32_t             rounds;
    double               rate;
} o = { 0, 0, 100, 200, 1, 4, 100 };

static target_t   targets[MAX_TARGETS];
static int        ntargets;
static target_t  *current;
static client_t  *clients;
static uint32_t   waiting;              /* clients without their answer */
static uint64_t   asked;                /* in all */
static io_t       listening;
static asked_t   *servers;


int
main(int argc, char **argv)
{
    int        i;
    uint32_t   k;
    target_t  *t;

    options(argc, argv);
    io_init();
    server_listen();

    clients = calloc(o.clients, sizeof(client_t));
    if (clients == NULL) {
        die("no memory");
    }

    for (k = 0; k < o.clients; k++) {
        http_init(&clients[k].http, client_answer);

        clients[k].handler = clients[k].http.io.handler;
        clients[k].http.io.handler = client_io;
    }

    for (i = 0; i < ntargets; i++) {
        targets[i].first = calloc((size_t) o.clients * o.rounds,
                                  sizeof(double));
        if (targets[i].first == NULL) {
            die("no memory");
        }
    }

    for (k = 0; k < o.rounds; k++) {
        for (i = 0; i < ntargets; i++) {
            turn(&targets[i]);
        }
    }

    printf("[");

    for (i = 0; i < ntargets; i++) {
        t = &targets[i];

        printf("%s{\"name\":\"%s\",\"events\":%" PRIu64 ",\"bad\":%" PRIu64
               ",\"us\":%.3f,\"redis\":%.3f,\"others\":%.0f,"
               "\"latency\":{\"p50\":%.3f,\"p99\":%.3f}}",
               i ? "," : "", t->name, t->events, t->bad,
               t->cpu * 1e6 / t->events, t->redis * 1e6 / t->events,
               t->others * 100 / t->time,
               percentile(t, .5), percentile(t, .99));
    }

    printf("]\n");

    return 0;
}


static void
options(int argc, char **argv)
{
    int  c;

    enum { LISTEN = 1, TARGET, REDIS_PID, CLIENTS, EVENTS, RATE, BURST,
           ROUNDS };

    static const struct option  names[] = {
        { "listen", required_argument, NULL, LISTEN },
        { "target", required_argument, NULL, TARGET },
        { "redis-pid", required_argument, NULL, REDIS_PID },
        { "clients", required_argument, NULL, CLIENTS },
        { "events", required_argument, NULL, EVENTS },
        { "rate", required_argument, NULL, RATE },
        { "burst", required_argument, NULL, BURST },
        { "rounds", required_argument, NULL, ROUNDS },
        { NULL, 0, NULL, 0 }
    };

    while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {

        switch (c) {
        case LISTEN: o.listen = atoi(optarg); break;
        case TARGET: target_add(optarg); break;
        case REDIS_PID: o.redis_pid = atoi(optarg); break;
        case CLIENTS: o.clients = atoi(optarg); break;
        case EVENTS: o.events = atoi(optarg); break;
        case RATE: o.rate = atof(optarg); break;
        case BURST: o.burst = atoi(optarg); break;
        case ROUNDS: o.rounds = atoi(optarg); break;
        default: exit(2);
        }
    }

    if (o.listen == 0 || ntargets == 0 || optind != argc) {
        die("--listen and --target are needed, see answers.c");
    }

    if (o.clients == 0 || o.events == 0 || o.burst == 0 || o.rounds == 0
        || !(o.rate > 0))
    {
        die("there is nothing to do");
    }
}


static void
target_add(char *s)
{
    char      *p;
    target_t  *t;

    if (ntargets == MAX_TARGETS) {
        die("too many targets");
    }

    t = &targets[ntargets++];

    t->name = strtok(s, ",");
    p = strtok(NULL, ",");
    t->port = p ? atoi(p) : 0;
    t->uri = strtok(NULL, ",");

    while ((p = strtok(NULL, ",")) && t->npids < MAX_PIDS) {
        t->pids[t->npids++] = atoi(p);
    }

    if (t->port == 0 || t->uri == NULL || t->npids == 0) {
        die("bad target, see answers.c");
    }
}


/* an answer for each client, from this target */

static void
turn(target_t *t)
{
    asked_t   *a;
    uint32_t   k;
    uint64_t   now, end;

    current = t;
    waiting = o.clients;

    now = clock_ns();
    end = now + (uint64_t) ((TIMEOUT + o.events / o.rate) * 1e9);

    for (k = 0; k < o.clients; k++) {
        clients[k].start = now + (uint64_t) (k * o.events / o.rate / 2
                                             / o.clients * 1e9);
        clients[k].asked = 0;
    }

    account(t, -1);

    while (waiting) {
        io_wait(1);
        io_handle();

        now = clock_ns();

        if (now > end) {
            die("%s: %" PRIu32 " answers did not end", t->name, waiting);
        }

        for (k = 0; k < o.clients; k++) {
            if (!clients[k].asked && clients[k].start <= now) {
                client_ask(&clients[k]);
            }
        }

        for (a = servers; a; a = a->next) {
            if (a->active) {
                server_send(a, now);
            }
        }
    }

    account(t, 1);

    /* the next target has another port */

    for (k = 0; k < o.clients; k++) {
        http_close(&clients[k].http);
    }
}


/* ------------------------------------------------------------ who asks */


static void
client_ask(client_t *c)
{
    buf_t  b;

    static const char  body[] = "{\"stream\":true,\"messages\":[{\"role\":"
                                "\"user\",\"content\":\"why?\"}]}";

    memset(&b, 0, sizeof(buf_t));

    putf(&b, "POST %s HTTP/1.1\r\nHost: bench\r\nX-Chat-Id: %d-%" PRIu64 "\r\n"
             "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
         current->uri, (int) getpid(), asked++, sizeof(body) - 1, body);

    c->asked = 1;
    c->begun = 0;
    c->start = clock_ns();

    if (!http_send(&c->http, &b, current->port, 0)) {
        die("%s: the port is closed", current->name);
    }
}


static void
client_io(io_t *io, uint32_t events)
{
    client_t  *c = container(container(io, http_t, io), client_t, http);

    c->handler(io, events);

    /* the first byte of the answer behind its head */

    if (!c->begun && c->http.got) {
        c->begun = 1;
        current->first[current->nfirst++] = (clock_ns() - c->start) / 1e6;
    }
}


static void
client_answer(http_t *h, int status, str_t body)
{
    uint32_t     n;
    const char  *p, *end;

    end = body.data + body.len;
    n = 0;

    for (p = body.data; p < end; p++) {
        p = memmem(p, end - p, lit("\n\n"));
        if (p == NULL) {
            break;
        }

        n++;
    }

    waiting--;
    current->events += o.events;

    if (status != 200 || n != o.events + 1 || body.len < 14
        || memcmp(end - 14, "data: [DONE]\n\n", 14) != 0)
    {
        current->bad++;
    }
}


/* ------------------------------------------------------- whom they ask */


static void
server_listen(void)
{
    int                 one;
    struct sockaddr_in  sin;

    one = 1;

    listening.handler = server_accept;
    listening.fd = socket(AF_INET, SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC, 0);

    setsockopt(listening.fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(int));

    memset(&sin, 0, sizeof(struct sockaddr_in));
    sin.sin_family = AF_INET;
    sin.sin_port = htons(o.listen);
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);

    if (bind(listening.fd, (struct sockaddr *) &sin, sizeof(sin)) == -1
        || listen(listening.fd, 4096) == -1)
    {
        die("port %d: %s", o.listen, strerror(errno));
    }

    io_add(&listening, EPOLLIN);
}


static void
server_accept(io_t *io, uint32_t events)
{
    int       fd, one;
    asked_t  *a;

    (void) events;

    for ( ;; ) {
        fd = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK|SOCK_CLOEXEC);
        if (fd == -1) {
            return;
        }

        one = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(int));

        a = renew(NULL, sizeof(asked_t));
        memset(a, 0, sizeof(asked_t));

        a->io.fd = fd;
        a->io.handler = server_handler;
        a->next = servers;
        servers = a;

        io_add(&a->io, EPOLLIN);
    }
}


static void
server_handler(io_t *io, uint32_t events)
{
    asked_t  *a = container(io, asked_t, io);

    if (!io_write(io, &a->out)
        || (events & (EPOLLIN|EPOLLHUP|EPOLLERR)
            && io_read(io, &a->in, 1 << 16) == -1))
    {
        io_close(io);
        a->active = 0;
        a->in.len = 0;
        a->out.len = 0;
        return;
    }

    io_want(io, EPOLLIN | (a->out.len ? EPOLLOUT : 0));

    if (!a->active) {
        server_request(a);
    }
}


/* answers when the request is whole */

static void
server_request(asked_t *a)
{
    char    *end, *length;
    size_t   len;

    if (a->in.len == 0) {
        return;
    }

    *room(&a->in, 1) = '\0';

    end = strstr(a->in.data, "\r\n\r\n");
    length = strcasestr(a->in.data, "Content-Length: ");

    if (end == NULL || length == NULL) {
        return;
    }

    len = end + 4 - a->in.data + atoi(length + 16);

    if (a->in.len < len) {
        return;
    }

    take(&a->in, len);

    a->active = 1;
    a->sent = 0;
    a->start = clock_ns();

    putf(&a->out, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                  "Transfer-Encoding: chunked\r\n\r\n");

    server_send(a, a->start);
}


/* what is due, by as many as go together */

static void
server_send(asked_t *a, uint64_t now)
{
    size_t         size;
    uint32_t       n;
    uint64_t       due;

    static const char  event[] =
        "data: {\"id\":\"chatcmpl-1796085061\",\"object\":"
        "\"chat.completion.chunk\",\"created\":1796085061,\"model\":"
        "\"nonsense-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":"
        "\" token\"},\"finish_reason\":null}]}\n\n";

    due = (uint64_t) ((now - a->start) / 1e9 * o.rate / o.burst + 1) * o.burst;

    while (a->sent < o.events && a->sent < due) {
        n = o.events - a->sent < o.burst ? o.events - a->sent : o.burst;
        size = sizeof(event) - 1;

        a->sent += n;
        putf(&a->out, "%zx\r\n", n * size);

        while (n--) {
            put(&a->out, event, size);
        }

        put(&a->out, lit("\r\n"));
    }

    if (a->sent == o.events) {
        put(&a->out, lit("e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"));
        a->active = 0;
    }

    if (!io_write(&a->io, &a->out)) {
        io_close(&a->io);
        a->active = 0;
        return;
    }

    io_want(&a->io, EPOLLIN | (a->out.len ? EPOLLOUT : 0));
}


/* ---------------------------------------------------------- accounting */


/* before a turn, with -1, and behind it */

static void
account(target_t *t, int sign)
{
    int     i;
    double  server, redis;

    server = 0;

    for (i = 0; i < t->npids; i++) {
        server += cpu(t->pids[i]);
    }

    redis = o.redis_pid ? cpu(o.redis_pid) : 0;

    t->cpu += sign * server;
    t->redis += sign * redis;
    t->others += sign * (busy() - server - redis - cpu(getpid()));
    t->time += sign * (clock_ns() / 1e9);
}


/* how long a process has run, in seconds */

static double
cpu(pid_t pid)
{
    FILE      *f;
    char       name[64];
    uint64_t   ns;

    snprintf(name, sizeof(name), "/proc/%d/schedstat", (int) pid);
    f = fopen(name, "r");

    if (f == NULL || fscanf(f, "%" SCNu64, &ns) != 1) {
        die("%s cannot be read: has the server ended?", name);
    }

    fclose(f);

    return ns / 1e9;
}


/* the same of all processes of the machine */

static double
busy(void)
{
    FILE           *f;
    double          s;
    unsigned long   v[7];

    s = 0;
    f = fopen("/proc/stat", "r");

    /* user nice system idle iowait irq softirq */

    if (f && fscanf(f, "cpu %lu %lu %lu %lu %lu %lu %lu", &v[0], &v[1], &v[2],
                    &v[3], &v[4], &v[5], &v[6]) == 7)
    {
        s = (double) (v[0] + v[1] + v[2] + v[5] + v[6]) / sysconf(_SC_CLK_TCK);
    }

    if (f) {
        fclose(f);
    }

    return s;
}


static uint64_t
clock_ns(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return ts.tv_sec * (uint64_t) 1000000000 + ts.tv_nsec;
}


static int
compare(const void *one, const void *two)
{
    double  a = *(const double *) one;
    double  b = *(const double *) two;

    return (a > b) - (a < b);
}


static double
percentile(target_t *t, double share)
{
    if (t->nfirst == 0) {
        return 0;
    }

    qsort(t->first, t->nfirst, sizeof(double), compare);

    return t->first[(size_t) (share * (t->nfirst - 1))];
}
