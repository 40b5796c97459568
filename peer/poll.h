
/*
 * A session of Engine.IO over long-polling: a GET that waits for packets, and
 * POSTs of others, each over a connection of its own.
 */


#ifndef PEER_POLL_H
#define PEER_POLL_H


#include "http.h"


typedef struct poll_s  poll_t;

typedef struct {

    /*
     * Where the next request of the session goes: a port, to which it gets a
     * new connection, or 0: where the one before went, or the one that has
     * opened it.  again: it is a GET that was not answered.
     */
    int                (*route)(poll_t *p, int again);

    /* a packet has come; the first one is "0{...}", a "noop" is left out */

    void               (*packet)(poll_t *p, str_t packet);

    /* the pause that was asked for */

    void               (*paused)(poll_t *p);

    /*
     * A request was not answered as it should be; status: see http.h.  What is
     * left to do is poll_close().
     */
    void               (*failed)(poll_t *p, int status, str_t body);

} poll_handlers_t;


struct poll_s {
    http_t                  get;
    http_t                  post;
    const poll_handlers_t  *handlers;
    buf_t                   query;      /* of each request */
    buf_t                   queue;      /* packets for the next POST */
    char                    sid[64];    /* empty: it is not open yet */
    int                     port;
    int                     rcvbuf;     /* of new connections, for the GET */
    unsigned                pausing:1;  /* no more requests */
    unsigned                refused:1;  /* a connection was: to be closed */
    unsigned                number;     /* of the session */
};


/* once; then sessions may be opened one after the other */

void poll_init(poll_t *p, const poll_handlers_t *handlers);

/* query: further arguments, or empty */

void poll_open(poll_t *p, str_t query, int port, int rcvbuf);

void poll_send(poll_t *p, const char *packet, size_t len);

/* the requests that are under way are the last ones, until it goes on */

void poll_pause(poll_t *p);
void poll_resume(poll_t *p);

/* packets are dropped, also those that have come and were not handled yet */

void poll_close(poll_t *p);


#endif /* PEER_POLL_H */
