
/* A request over HTTP to the first node, with a connection of its own. */


#ifndef CHECK_REQUEST_H
#define CHECK_REQUEST_H


#include "check.h"


typedef struct request_s  request_t;

/* status: 0: it was cut off */

typedef void (*request_handler_t)(request_t *r, int status, str_t body);

struct request_s {
    http_t               http;
    int                  used;
    int64_t              since;
    request_handler_t    handler;

    /* of the one who asks */

    int                  chan;          /* -1: of none */
    int                  has_events;    /* the channel had some */
    uint64_t             hash;
    struct client_s     *cli;
    unsigned             generation;    /* of the client */
};


void requests_init(void);
void requests_tick(void);
void requests_close(void);

/* how many wait for an answer to be handled by it */

int requests_waiting(request_handler_t handler);

/* takes the request; NULL: not now, and it is left */

request_t *request_send(buf_t *request, request_handler_t handler);


#endif /* CHECK_REQUEST_H */
