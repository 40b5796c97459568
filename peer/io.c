
/*
 * Bytes, and sockets in one epoll.
 */


#define _GNU_SOURCE

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io.h"


#define EVENTS  512


static int                 epoll = -1;
static int                 nevents;
static struct epoll_event  events[EVENTS];


void
die(const char *fmt, ...)
{
    va_list  args;

    fprintf(stderr, "%s: ", program_invocation_short_name);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fprintf(stderr, "\n");

    exit(2);
}


void *
renew(void *p, size_t size)
{
    p = realloc(p, size);

    if (p == NULL) {
        die("no memory");
    }

    return p;
}


char *
room(buf_t *b, size_t len)
{
    if (b->size - b->len < len) {
        b->size = (b->size * 2 > b->len + len) ? b->size * 2 : b->len + len;
        b->data = renew(b->data, b->size);
    }

    return b->data + b->len;
}


void
put(buf_t *b, const char *p, size_t len)
{
    if (len) {
        memcpy(room(b, len), p, len);
        b->len += len;
    }
}


void
putf(buf_t *b, const char *fmt, ...)
{
    int      n;
    va_list  args;

    va_start(args, fmt);
    n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);

    room(b, n + 1);

    va_start(args, fmt);
    vsnprintf(b->data + b->len, n + 1, fmt, args);
    va_end(args);

    b->len += n;
}


void
take(buf_t *b, size_t len)
{
    b->len -= len;

    if (len && b->len) {
        memmove(b->data, b->data + len, b->len);
    }
}


int
same(str_t s, const char *p)
{
    return s.len == strlen(p) && memcmp(s.data, p, s.len) == 0;
}


str_t
text(buf_t *b)
{
    str_t  s;

    s.data = b->data;
    s.len = b->len;

    return s;
}


void
io_init(void)
{
    epoll = epoll_create1(EPOLL_CLOEXEC);

    if (epoll == -1) {
        die("epoll_create1: %s", strerror(errno));
    }
}


void
io_wait(int ms)
{
    nevents = epoll_wait(epoll, events, EVENTS, ms);

    if (nevents == -1 && errno != EINTR) {
        die("epoll_wait: %s", strerror(errno));
    }
}


void
io_handle(void)
{
    int    i;
    io_t  *io;

    for (i = 0; i < nevents; i++) {
        io = events[i].data.ptr;

        if (io->fd != -1) {
            io->handler(io, events[i].events);
        }
    }
}


void
io_add(io_t *io, uint32_t want)
{
    struct epoll_event  ee;

    io->events = want;

    ee.events = want;
    ee.data.ptr = io;

    if (epoll_ctl(epoll, EPOLL_CTL_ADD, io->fd, &ee) == -1) {
        die("epoll_ctl: %s", strerror(errno));
    }
}


void
io_want(io_t *io, uint32_t want)
{
    struct epoll_event  ee;

    if (io->fd == -1 || io->events == want) {
        return;
    }

    ee.events = want;
    ee.data.ptr = io;

    if (epoll_ctl(epoll, EPOLL_CTL_MOD, io->fd, &ee) == -1) {
        die("epoll_ctl: %s", strerror(errno));
    }

    io->events = want;
}


void
io_close(io_t *io)
{
    if (io->fd != -1) {

        /* close() is not enough while a child has not reached its exec() */

        epoll_ctl(epoll, EPOLL_CTL_DEL, io->fd, NULL);
        close(io->fd);
        io->fd = -1;
    }
}


void
io_reset(io_t *io)
{
    struct linger  linger;

    linger.l_onoff = 1;
    linger.l_linger = 0;

    if (io->fd != -1) {
        setsockopt(io->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    }
}


int
io_listen(io_t *io)
{
    socklen_t            len;
    struct sockaddr_in   sin;

    memset(&sin, 0, sizeof(sin));
    sin.sin_family = AF_INET;
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);

    len = sizeof(sin);

    io->fd = socket(AF_INET, SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC, 0);

    if (io->fd == -1
        || bind(io->fd, (struct sockaddr *) &sin, sizeof(sin)) == -1
        || listen(io->fd, 511) == -1
        || getsockname(io->fd, (struct sockaddr *) &sin, &len) == -1)
    {
        die("listen: %s", strerror(errno));
    }

    io_add(io, EPOLLIN);

    return ntohs(sin.sin_port);
}


int
io_accept(io_t *io)
{
    int  fd, one = 1;

    fd = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK|SOCK_CLOEXEC);

    if (fd != -1) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(int));
    }

    return fd;
}


int
io_connect(io_t *io, int port, uint32_t from, int rcvbuf)
{
    int                  one = 1;
    struct sockaddr_in   sin;

    io->fd = socket(AF_INET, SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC, 0);

    if (io->fd == -1) {
        die("socket: %s", strerror(errno));
    }

    if (rcvbuf) {
        setsockopt(io->fd, SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof(int));
    }

    setsockopt(io->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(int));

    memset(&sin, 0, sizeof(sin));
    sin.sin_family = AF_INET;

    if (from) {
        setsockopt(io->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one,
                   sizeof(int));

        sin.sin_addr.s_addr = htonl(from);

        if (bind(io->fd, (struct sockaddr *) &sin, sizeof(sin)) == -1) {
            die("bind: %s", strerror(errno));
        }
    }

    sin.sin_port = htons(port);
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);

    if (connect(io->fd, (struct sockaddr *) &sin, sizeof(sin)) == -1
        && errno != EINPROGRESS)
    {
        close(io->fd);
        io->fd = -1;
        return 0;
    }

    io_add(io, EPOLLIN|EPOLLOUT);

    return 1;
}


int
io_write(io_t *io, buf_t *b)
{
    ssize_t  n;

    while (b->len) {
        n = send(io->fd, b->data, b->len, MSG_NOSIGNAL);

        if (n == -1) {
            if (errno == EINTR) {
                continue;
            }

            return errno == EAGAIN || errno == EINPROGRESS
                   || errno == ENOTCONN;
        }

        take(b, n);
    }

    return 1;
}


ssize_t
io_read(io_t *io, buf_t *b, size_t max)
{
    size_t   size;
    ssize_t  n, got;

    got = 0;

    while (max) {
        size = max < 65536 ? max : 65536;

        n = recv(io->fd, room(b, size), size, 0);

        if (n == -1 && errno == EINTR) {
            continue;
        }

        if (n == -1 && errno == EAGAIN) {
            break;
        }

        if (n <= 0) {
            return got ? got : -1;
        }

        b->len += n;
        got += n;
        max -= n;

        if ((size_t) n < size) {
            break;
        }
    }

    return got;
}
