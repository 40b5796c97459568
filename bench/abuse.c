
/*
 * Clients that mean no good, as fast as one process can be: what they do to the
 * others is what bench/bench measures.
 *
 *   abuse --port N --kind NAME [--clients N]
 *
 * It ends when it is told to.  Each kind is a request, bytes that follow it for
 * as long as the connection lasts, and whether the answers are read; who is
 * closed comes again.
 */


#define _GNU_SOURCE

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "io.h"
#include "proto.h"


#define MUCH        65536
#define CHANNEL     "/ws?channel=job:0"     /* that of those who behave */

#define OP_TEXT     1
#define OP_PING     9


typedef struct {
    const char          *name;
    void               (*begin)(buf_t *b);
    void               (*more)(buf_t *b);   /* NULL: nothing, or once */
    int                  deaf;              /* reads nothing */
    int                  slow;              /* a byte in each turn of 10 ms */
} kind_t;


typedef struct {
    io_t                 io;
    buf_t                out;
} client_t;


static const kind_t     *kind;
static int               port;
static buf_t             first, again;
static buf_t             sink;


static void client_handler(io_t *io, uint32_t events);


/* -------------------------------------------------------------- the kinds */


static void
handshake(buf_t *b, const char *uri)
{
    request_put(b, WS, 1, uri, strlen(uri));
    put(b, lit("\r\n"));
}


static void
open_socket(buf_t *b)
{
    handshake(b, "/ws");
}


static void
open_channel(buf_t *b)
{
    handshake(b, CHANNEL);
}


static void
repeat(buf_t *b, int c, size_t n)
{
    memset(room(b, n), c, n);
    b->len += n;
}


static void
frames(buf_t *b, int opcode, const char *text)
{
    while (b->len < MUCH) {
        frame_put(b, opcode, text, strlen(text));
    }
}


static void
more_messages(buf_t *b)
{
    frames(b, OP_TEXT, "{\"event\":\"nothing\",\"ack\":1}");
}


static void
more_channels(buf_t *b)
{
    int    i;
    char   text[128];

    for (i = 0; b->len < MUCH; i++) {
        snprintf(text, sizeof(text), "{\"event\":\"%s\",\"data\":{\"channel\":"
                 "\"job:%d\"},\"ack\":1}", i % 2 ? "unsubscribe" : "subscribe",
                 i / 2 % 1000);
        frame_put(b, OP_TEXT, text, strlen(text));
    }
}


static void
more_deep(buf_t *b)
{
    buf_t  text;

    memset(&text, 0, sizeof(buf_t));

    put(&text, lit("{\"event\":\"x\",\"data\":"));
    repeat(&text, '[', 60000);
    frame_put(b, OP_TEXT, text.data, text.len);

    free(text.data);
}


static void
more_long(buf_t *b)
{
    buf_t  text;

    memset(&text, 0, sizeof(buf_t));

    put(&text, lit("{\"event\":\"nothing\",\"ack\":1,\"data\":\""));
    repeat(&text, 'x', 60000);
    put(&text, lit("\"}"));
    frame_put(b, OP_TEXT, text.data, text.len);

    free(text.data);
}


static void
more_bytes(buf_t *b)
{
    size_t  i;

    static const char  text[] = "{\"event\":\"nothing\",\"ack\":1}";

    /* frames without FIN: the first, and continuations of it */

    while (b->len < MUCH) {

        for (i = 0; i < sizeof(text) - 2; i++) {
            put(b, i ? "\x00\x81\0\0\0\0" : "\x01\x81\0\0\0\0", 6);
            put(b, &text[i], 1);
        }

        put(b, "\x80\x81\0\0\0\0}", 7);
    }
}


static void
more_pings(buf_t *b)
{
    frames(b, OP_PING, "");
}


static void
begin_slow(buf_t *b)
{
    put(b, lit("GET /ws HTTP/1.1\r\nHost: bench\r\nX: "));
    repeat(b, 'x', 900);
}


static void
begin_cursor(buf_t *b)
{
    int    i;
    buf_t  uri;

    memset(&uri, 0, sizeof(buf_t));
    put(&uri, lit("/ws?cursor=job:x@0-0"));

    for (i = 0; i < 400; i++) {
        putf(&uri, ",job:%d@0-0", i);
    }

    put(&uri, lit("\0"));
    handshake(b, uri.data);
    free(uri.data);
}


static void
begin_headers(buf_t *b)
{
    int  i;

    put(b, lit("GET /ws HTTP/1.1\r\nHost: bench\r\n"));

    for (i = 0; i < 1000; i++) {
        putf(b, "X-%d: ", i);
        repeat(b, 'x', 100);
        put(b, lit("\r\n"));
    }

    put(b, lit("\r\n"));
}


static const kind_t  kinds[] = {
    { "messages", open_socket, more_messages, 0, 0 },
    { "channels", open_socket, more_channels, 0, 0 },
    { "deep", open_socket, more_deep, 0, 0 },
    { "long", open_socket, more_long, 0, 0 },
    { "fragments", open_socket, more_bytes, 0, 0 },
    { "pings", open_socket, more_pings, 1, 0 },
    { "deaf", open_channel, NULL, 1, 0 },
    { "slow", begin_slow, NULL, 0, 1 },
    { "cursors", begin_cursor, NULL, 0, 0 },
    { "headers", begin_headers, NULL, 0, 0 },
    { NULL, NULL, NULL, 0, 0 }
};


/* ------------------------------------------------------------ the clients */


static void
client_open(client_t *c)
{
    c->io.handler = client_handler;
    c->out.len = 0;
    put(&c->out, first.data, first.len);

    if (!io_connect(&c->io, port, 0, kind->deaf ? 4096 : 0)) {
        die("refused at port %d", port);
    }

    if (kind->deaf || kind->slow) {
        io_want(&c->io, kind->deaf ? EPOLLOUT : EPOLLIN);
    }
}


static void
client_again(client_t *c)
{
    io_close(&c->io);
    client_open(c);
}


static void
client_handler(io_t *io, uint32_t events)
{
    client_t  *c;

    c = container(io, client_t, io);

    if (events & (EPOLLIN|EPOLLERR|EPOLLHUP)) {
        sink.len = 0;

        if (kind->deaf || io_read(io, &sink, MUCH) == -1) {
            client_again(c);
            return;
        }
    }

    if (!(events & EPOLLOUT) || kind->slow) {
        return;
    }

    if (c->out.len == 0 && again.len) {
        put(&c->out, again.data, again.len);
    }

    if (!io_write(io, &c->out)) {
        client_again(c);
        return;
    }

    if (c->out.len == 0 && again.len == 0) {
        io_want(io, kind->deaf ? 0 : EPOLLIN);
    }
}


/* a byte of the request */

static void
client_drip(client_t *c)
{
    buf_t  one;

    if (c->out.len == 0) {
        client_again(c);
        return;
    }

    one = c->out;
    one.len = 1;

    if (!io_write(&c->io, &one)) {
        client_again(c);

    } else if (one.len == 0) {
        c->out.len--;
        memmove(c->out.data, c->out.data + 1, c->out.len);
    }
}


int
main(int argc, char **argv)
{
    int                         opt, i, n;
    client_t                   *clients;
    const char                 *name;
    static const struct option  options[] = {
        { "port",    required_argument, NULL, 'p' },
        { "kind",    required_argument, NULL, 'k' },
        { "clients", required_argument, NULL, 'c' },
        { NULL, 0, NULL, 0 }
    };

    n = 10;
    name = "";

    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {

        switch (opt) {
        case 'p': port = atoi(optarg); break;
        case 'k': name = optarg; break;
        case 'c': n = atoi(optarg); break;
        default: return 2;
        }
    }

    for (kind = kinds; kind->name && strcmp(kind->name, name); kind++) {
        /* void */
    }

    if (kind->name == NULL || n < 1) {
        die("no kind \"%s\"", name);
    }

    kind->begin(&first);

    if (kind->more) {
        kind->more(&again);
    }

    io_init();

    clients = calloc(n, sizeof(client_t));
    if (clients == NULL) {
        die("no memory");
    }

    for (i = 0; i < n; i++) {
        client_open(&clients[i]);
    }

    for ( ;; ) {
        io_wait(kind->slow ? 10 : -1);
        io_handle();

        if (kind->slow) {
            for (i = 0; i < n; i++) {
                client_drip(&clients[i]);
            }
        }
    }
}
