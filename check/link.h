
/*
 * A connection to Redis, which is made again if it is lost.  The handlers of
 * all calls under way get NULL then: nobody knows what became of these calls.
 */


#ifndef CHECK_LINK_H
#define CHECK_LINK_H


#include <hiredis/hiredis.h>

#include "check.h"


typedef struct link_s  link_t;
typedef struct call_s  call_t;

typedef void (*call_handler_t)(link_t *l, call_t *call, redisReply *reply);

struct call_s {
    call_t              *next;
    call_handler_t       handler;       /* NULL: the reply is of no interest */
    int                  chan;
    uint64_t             hash;
    uint64_t             place;
};

struct link_s {
    io_t                 io;
    int                  up;            /* PING was answered */
    int64_t              retry;
    redisReader         *reader;
    buf_t                out;
    call_t              *first;
    call_t             **last;
    unsigned             calls;
};


/* for whatever is not an event: phases and faults */

extern link_t  control;


void link_init(link_t *l);
void link_tick(link_t *l);

call_t *link_call(link_t *l, call_handler_t handler, int argc,
    const char **argv, const size_t *len);

/* words without blanks in them */

call_t *link_command(link_t *l, call_handler_t handler, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

str_t reply_text(redisReply *reply);


#endif /* CHECK_LINK_H */
