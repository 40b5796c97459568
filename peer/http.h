
/*
 * A connection for requests over HTTP, one at a time.  Like a browser's, it is
 * kept for the next one as long as the server does so, too.
 */


#ifndef PEER_HTTP_H
#define PEER_HTTP_H


#include "io.h"
#include "proto.h"


typedef struct http_s  http_t;

/* status: 0: the connection has ended, HTTP_STALE: before anything came */

#define HTTP_STALE  -1

typedef void (*http_handler_t)(http_t *h, int status, str_t body);

struct http_s {
    io_t                 io;
    buf_t                in;
    buf_t                out;
    head_t               head;          /* of the answer, len 0: not yet */
    chunks_t             chunks;
    size_t               got;           /* of its body */
    uint64_t             bytes;         /* that have come, in all */
    unsigned             waiting:1;     /* for an answer */
    unsigned             answered:1;    /* it has had one */
    unsigned             deaf:1;        /* reads only when it is told to */
    http_handler_t       handler;
};


void http_init(http_t *h, http_handler_t handler);

/*
 * Sends a request, which is taken, over the connection that is kept or a new
 * one to that port; rcvbuf is of the latter.  0: it was refused at once.
 */

int http_send(http_t *h, buf_t *request, int port, int rcvbuf);

/* reads up to max bytes, and handles an answer that is whole */

void http_read(http_t *h, size_t max);

/* an answer that is waited for will not be handled any more */

void http_close(http_t *h);


#endif /* PEER_HTTP_H */
