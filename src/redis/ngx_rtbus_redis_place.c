
#include "ngx_rtbus_redis_place.h"


static void ngx_rtbus_redis_place_handler(ngx_event_t *ev);


ngx_connection_t *
ngx_rtbus_redis_place(ngx_log_t *log)
{
    ngx_socket_t       s;
    ngx_connection_t  *c;

    /* nginx would log an alert each time */

    if (ngx_cycle->free_connections == NULL
        && ngx_cycle->reusable_connections_n == 0)
    {
        return NULL;
    }

    /* any descriptor will do, and this one needs no file */

    s = ngx_socket(AF_UNIX, SOCK_STREAM, 0);

    if (s == (ngx_socket_t) -1) {
        return NULL;
    }

    c = ngx_get_connection(s, log);

    if (c == NULL) {
        (void) ngx_close_socket(s);
        return NULL;
    }

    c->read->handler = ngx_rtbus_redis_place_handler;
    c->write->handler = ngx_rtbus_redis_place_handler;
    c->read->log = log;
    c->write->log = log;

    return c;
}


void
ngx_rtbus_redis_place_free(ngx_connection_t *c)
{
    ngx_close_connection(c);
}


/* worker_shutdown_timeout is over: the owner gives the place up at the exit */

static void
ngx_rtbus_redis_place_handler(ngx_event_t *ev)
{
    ngx_log_debug0(NGX_LOG_DEBUG_EVENT, ev->log, 0,
                   "rtbus: redis place handler");
}
