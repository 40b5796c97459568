
/*
 * What the clients of bench and check have in common: bytes, and non-blocking
 * sockets in one epoll.
 *
 * A program whose memory or system calls fail has nothing to say any more: it
 * ends with status 2.
 */


#ifndef PEER_IO_H
#define PEER_IO_H


#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>


#define container(p, type, member)                                            \
    ((type *) ((char *) (p) - offsetof(type, member)))

#define lit(s)  (s), sizeof(s) - 1


typedef struct {
    char                *data;
    size_t               len;
    size_t               size;
} buf_t;


typedef struct {
    const char          *data;
    size_t               len;
} str_t;


typedef struct io_s  io_t;

struct io_s {
    int                  fd;            /* -1: closed */
    uint32_t             events;        /* asked for */
    void               (*handler)(io_t *io, uint32_t events);
};


/* prints the reason with the program's name before it */

void die(const char *fmt, ...)
    __attribute__((noreturn, format(printf, 1, 2)));


/* bytes; room() is for len more behind the last one, take() drops the first */

void *renew(void *p, size_t size);
char *room(buf_t *b, size_t len);
void put(buf_t *b, const char *p, size_t len);
void putf(buf_t *b, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void take(buf_t *b, size_t len);
int same(str_t s, const char *p);
str_t text(buf_t *b);


/* to be called first */

void io_init(void);

/* waits for events, ms at most (-1: for ever), and then calls the handlers */

void io_wait(int ms);
void io_handle(void);

/*
 * A socket that listens, at a port of 127.0.0.1 that is free: the port.  Then
 * the next connection to it, not watched yet; -1: there is none.
 */

int io_listen(io_t *io);
int io_accept(io_t *io);

/* watches a socket that is there */

void io_add(io_t *io, uint32_t want);

void io_want(io_t *io, uint32_t want);
void io_close(io_t *io);

/* the peer is to see a reset when it is closed */

void io_reset(io_t *io);

/*
 * To a port of 127.0.0.1, from there or from another address (0: any); rcvbuf
 * is of the socket, or 0.  0: refused at once.
 */

int io_connect(io_t *io, int port, uint32_t from, int rcvbuf);

/* what the socket takes of b; 0: the connection is gone */

int io_write(io_t *io, buf_t *b);

/* up to max bytes: how many came, 0: nothing, -1: the end */

ssize_t io_read(io_t *io, buf_t *b, size_t max);


#endif /* PEER_IO_H */
