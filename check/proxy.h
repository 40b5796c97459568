
/*
 * The way from nginx to Redis, if it is to be a bad one: a listening port, and
 * connections of which each side gets what the other one has sent.
 */


#ifndef CHECK_PROXY_H
#define CHECK_PROXY_H


#include "check.h"


/* bytes per second and connection, each way; 0: nothing passes */

#define PROXY_OPEN  -1

/* the port in place of that of Redis */

int proxy_init(void);
void proxy_tick(void);

void proxy_rate(long rate);

/* all connections are reset */

void proxy_cut(void);


#endif /* CHECK_PROXY_H */
