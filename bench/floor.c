
/*
 * The least that a push server can do: what our costs are compared with.
 *
 * It reads Redis and sends each event as a ready-made WebSocket frame, with one
 * send() per client.  There is no check, no limit, no history; it is no server
 * for anybody.
 *
 *     floor --port N --redis N [option ...]
 *
 *     --coalesce    one send() for all that one read from Redis has brought
 *     --rest US     does nothing for so long after each read from Redis
 *     --drop N      each Nth delivery is lost: to see that it is noticed
 *     --double N    each Nth delivery is made twice
 *
 * GET /...?channel=NAME is answered when Redis has confirmed the subscription.
 */


#define _GNU_SOURCE

#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/sha.h>

#include "io.h"


#define BUCKETS    65536
#define READ_SIZE  (512 * 1024)
#define GUID       "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


typedef struct channel_s  channel_t;
typedef struct client_s   client_t;

struct client_s {
    io_t                 io;
    client_t            *next;          /* dirty, or closed */
    channel_t           *channel;       /* NULL: it has not asked yet */
    uint32_t             index;         /* in channel->clients */
    int                  dirty;
    buf_t                out;
};

struct channel_s {
    channel_t           *next;          /* of the bucket */
    client_t           **clients;
    uint32_t             n;
    uint32_t             size;
    int                  confirmed;
    uint32_t             len;
    char                 name[];
};


static int         coalesce;
static long        rest;
static unsigned    drop, doubled, count;

static channel_t  *buckets[BUCKETS];
static io_t        listening, redis;
static buf_t       in, out;             /* of Redis */
static buf_t       frame;
static client_t   *dirty, *closed;


static void client_close(client_t *c);
static void client_write(client_t *c);
static void client_send(client_t *c, const char *p, size_t len);


static channel_t *
channel_find(const char *name, size_t len)
{
    size_t       i;
    uint32_t     h;
    channel_t   *ch, **bucket;

    for (h = 2166136261u, i = 0; i < len; i++) {
        h = (h ^ (uint8_t) name[i]) * 16777619;
    }

    bucket = &buckets[(h ^ h >> 16) % BUCKETS];

    for (ch = *bucket; ch; ch = ch->next) {
        if (ch->len == len && memcmp(ch->name, name, len) == 0) {
            return ch;
        }
    }

    ch = renew(NULL, sizeof(channel_t) + len);
    memset(ch, 0, sizeof(channel_t));

    ch->len = len;
    memcpy(ch->name, name, len);

    ch->next = *bucket;
    *bucket = ch;

    putf(&out, "*2\r\n$9\r\nSUBSCRIBE\r\n$%zu\r\n%.*s\r\n", len, (int) len,
         name);

    return ch;
}


static void
channel_join(channel_t *ch, client_t *c)
{
    if (ch->n == ch->size) {
        ch->size = ch->size ? ch->size * 2 : 1;
        ch->clients = renew(ch->clients, ch->size * sizeof(client_t *));
    }

    c->channel = ch;
    c->index = ch->n;
    ch->clients[ch->n++] = c;

    if (ch->confirmed) {
        client_write(c);
    }
}


static void
channel_confirmed(channel_t *ch)
{
    uint32_t  i;

    ch->confirmed = 1;

    /* who is closed leaves its place to the last one */

    for (i = ch->n; i > 0; i--) {
        client_write(ch->clients[i - 1]);
    }
}


static void
channel_event(channel_t *ch, str_t event)
{
    uint32_t  i;
    uint8_t   head[4];

    head[0] = 0x81;

    if (event.len < 126) {
        head[1] = event.len;

    } else {
        head[1] = 126;
        head[2] = event.len >> 8;
        head[3] = event.len;
    }

    frame.len = 0;
    put(&frame, (char *) head, event.len < 126 ? 2 : 4);
    put(&frame, event.data, event.len);

    for (i = ch->n; i > 0; i--) {

        count++;

        if (doubled && count % doubled == 0) {
            client_send(ch->clients[i - 1], frame.data, frame.len);
        }

        if (drop == 0 || count % drop) {
            client_send(ch->clients[i - 1], frame.data, frame.len);
        }
    }
}


/* ---------------------------------------------------------------- clients */


static void
client_close(client_t *c)
{
    channel_t  *ch;

    ch = c->channel;

    io_close(&c->io);

    if (ch) {
        c->channel = NULL;

        ch->clients[c->index] = ch->clients[--ch->n];
        ch->clients[c->index]->index = c->index;
    }

    c->out.len = 0;

    if (!c->dirty) {
        c->next = closed;
        closed = c;
    }
}


static void
client_write(client_t *c)
{
    if (!io_write(&c->io, &c->out)) {
        client_close(c);
        return;
    }

    if (c->out.len == 0 && !coalesce) {
        free(c->out.data);
        memset(&c->out, 0, sizeof(buf_t));
    }

    io_want(&c->io, c->out.len ? EPOLLIN|EPOLLOUT : EPOLLIN);
}


static void
client_send(client_t *c, const char *p, size_t len)
{
    ssize_t  n;

    n = 0;

    if (!coalesce && c->out.len == 0) {
        n = send(c->io.fd, p, len, MSG_NOSIGNAL);

        if (n == (ssize_t) len) {
            return;
        }

        if (n == -1) {
            if (errno != EAGAIN) {
                client_close(c);
                return;
            }

            n = 0;
        }

        io_want(&c->io, EPOLLIN|EPOLLOUT);
    }

    put(&c->out, p + n, len - n);

    if (coalesce && !c->dirty) {
        c->dirty = 1;
        c->next = dirty;
        dirty = c;
    }
}


static void
client_request(client_t *c, str_t s)
{
    char           *name, *key, *end;
    size_t          len;
    unsigned char   hash[SHA_DIGEST_LENGTH], accept[64];
    char            text[24 + sizeof(GUID)];

    name = memmem(s.data, s.len, lit("channel="));
    key = memmem(s.data, s.len, lit("Sec-WebSocket-Key: "));

    if (name == NULL || key == NULL) {
        client_close(c);
        return;
    }

    name += sizeof("channel=") - 1;
    key += sizeof("Sec-WebSocket-Key: ") - 1;

    for (end = name; *end != ' ' && *end != '&'; end++) { /* void */ }

    len = end - name;

    memcpy(text, key, 24);
    memcpy(text + 24, GUID, sizeof(GUID));

    SHA1((unsigned char *) text, sizeof(text) - 1, hash);
    EVP_EncodeBlock(accept, hash, sizeof(hash));

    putf(&c->out, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
         "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", accept);

    channel_join(channel_find(name, len), c);
}


static void
client_handler(io_t *io, uint32_t events)
{
    client_t  *c = container(io, client_t, io);

    str_t         s;
    ssize_t       n;
    static char   buf[4096];

    if (events & EPOLLOUT) {
        client_write(c);

        if (io->fd == -1) {
            return;
        }
    }

    if (!(events & ~EPOLLOUT)) {
        return;
    }

    n = recv(io->fd, buf, sizeof(buf), 0);

    if (n == 0 || (n == -1 && errno != EAGAIN)) {
        client_close(c);
        return;
    }

    if (n > 4 && c->channel == NULL) {

        /* it has come in one piece, or not at all */

        s.data = buf;
        s.len = n;

        if (memcmp(buf + n - 4, "\r\n\r\n", 4) == 0) {
            client_request(c, s);

        } else {
            client_close(c);
        }
    }
}


static void
accept_handler(io_t *io, uint32_t events)
{
    int        fd, one = 1;
    client_t  *c;

    for ( ;; ) {
        fd = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK|SOCK_CLOEXEC);

        if (fd == -1) {
            return;
        }

        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(int));

        c = renew(NULL, sizeof(client_t));
        memset(c, 0, sizeof(client_t));

        c->io.fd = fd;
        c->io.handler = client_handler;

        io_add(&c->io, EPOLLIN);
    }
}


/* ------------------------------------------------------------------ Redis */


/* an array of three: its size, 0: it is not whole */

static size_t
reply_read(const char *p, size_t len, str_t *v)
{
    int          i;
    char        *lf;
    size_t       size;
    const char  *start, *end;

    start = p;
    end = p + len;

    for (i = -1; i < 3; i++) {
        lf = (p < end) ? memchr(p, '\n', end - p) : NULL;

        if (lf == NULL) {
            return 0;
        }

        if (*p == '$' && i >= 0) {
            size = strtoul(p + 1, NULL, 10);

            if ((size_t) (end - lf - 1) < size + 2) {
                return 0;
            }

            v[i].data = lf + 1;
            v[i].len = size;
            p = lf + 1 + size + 2;

        } else if (*p == ':' || (*p == '*' && p[1] == '3')) {
            p = lf + 1;

        } else {
            die("Redis has answered \"%.*s\"", (int) (lf - p), p);
        }
    }

    return p - start;
}


static void
redis_handler(io_t *io, uint32_t events)
{
    str_t            v[3];
    size_t           n, pos;
    ssize_t          got;
    client_t        *c;
    struct timespec  ts;

    if (events & EPOLLOUT && !(events & EPOLLIN)) {
        return;
    }

    got = recv(io->fd, room(&in, READ_SIZE), READ_SIZE, 0);

    if (got == -1 && errno == EAGAIN) {
        return;
    }

    if (got <= 0) {
        die("Redis has gone");
    }

    in.len += got;

    for (pos = 0; pos < in.len; pos += n) {
        n = reply_read(in.data + pos, in.len - pos, v);

        if (n == 0) {
            break;
        }

        if (v[0].len == 7) {
            channel_event(channel_find(v[1].data, v[1].len), v[2]);

        } else {
            channel_confirmed(channel_find(v[1].data, v[1].len));
        }
    }

    take(&in, pos);

    while (dirty) {
        c = dirty;
        dirty = c->next;
        c->dirty = 0;

        if (c->io.fd != -1) {
            client_write(c);

        } else {
            c->next = closed;
            closed = c;
        }
    }

    if (rest) {
        ts.tv_sec = rest / 1000000;
        ts.tv_nsec = rest % 1000000 * 1000;
        nanosleep(&ts, NULL);
    }
}


/* ------------------------------------------------------------------- main */


static void
options(int argc, char **argv, int *port, int *redis_port)
{
    int  opt;

    static const struct option  longs[] = {
        { "port",     required_argument, NULL, 'p' },
        { "redis",    required_argument, NULL, 'r' },
        { "coalesce", no_argument,       NULL, 'c' },
        { "rest",     required_argument, NULL, 'w' },
        { "drop",     required_argument, NULL, 'd' },
        { "double",   required_argument, NULL, 't' },
        { NULL, 0, NULL, 0 }
    };

    while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1) {

        switch (opt) {
        case 'p': *port = atoi(optarg); break;
        case 'r': *redis_port = atoi(optarg); break;
        case 'c': coalesce = 1; break;
        case 'w': rest = atol(optarg); break;
        case 'd': drop = atoi(optarg); break;
        case 't': doubled = atoi(optarg); break;
        default: exit(2);
        }
    }

    if (*port == 0 || *redis_port == 0 || optind != argc) {
        die("--port and --redis are needed, see floor.c");
    }
}


int
main(int argc, char **argv)
{
    int                  port = 0, redis_port = 0, one = 1;
    client_t            *c;
    struct rlimit        rl;
    struct sockaddr_in   sin;

    options(argc, argv, &port, &redis_port);

    signal(SIGPIPE, SIG_IGN);

    getrlimit(RLIMIT_NOFILE, &rl);
    rl.rlim_cur = rl.rlim_max;
    setrlimit(RLIMIT_NOFILE, &rl);

    io_init();

    redis.handler = redis_handler;

    if (!io_connect(&redis, redis_port, 0, 0)) {
        die("no Redis on port %d", redis_port);
    }

    listening.handler = accept_handler;
    listening.fd = socket(AF_INET, SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC, 0);

    setsockopt(listening.fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(int));

    memset(&sin, 0, sizeof(sin));
    sin.sin_family = AF_INET;
    sin.sin_port = htons(port);
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);

    if (bind(listening.fd, (struct sockaddr *) &sin, sizeof(sin)) == -1
        || listen(listening.fd, 4096) == -1)
    {
        die("port %d: %s", port, strerror(errno));
    }

    io_add(&listening, EPOLLIN);

    for ( ;; ) {
        io_wait(-1);
        io_handle();

        if (!io_write(&redis, &out)) {
            die("Redis has gone");
        }

        io_want(&redis, out.len ? EPOLLIN|EPOLLOUT : EPOLLIN);

        while (closed) {
            c = closed;
            closed = c->next;

            free(c->out.data);
            free(c);
        }
    }
}
