
#include "ngx_http_rtbus_carriers.h"
#include "rtbus_ws.h"


#define NGX_HTTP_RTBUS_DRAIN_TICK  50    /* ms */
#define NGX_HTTP_RTBUS_SHARE       16384 /* bytes of input in a loop turn */


static void ngx_http_rtbus_carriers_turn(ngx_event_t *ev);
static void ngx_http_rtbus_carriers_room(void *data);
static void ngx_http_rtbus_carriers_room_handler(ngx_event_t *ev);
static void ngx_http_rtbus_carriers_late(ngx_event_t *ev);
static void ngx_http_rtbus_carriers_goodbye(ngx_event_t *ev);


ngx_int_t
ngx_http_rtbus_carriers_init(ngx_http_rtbus_worker_t *worker,
    ngx_cycle_t *cycle)
{
    ngx_http_rtbus_carriers_t   *carriers;
    ngx_http_rtbus_main_conf_t  *rmcf;

    carriers = ngx_pcalloc(cycle->pool, sizeof(ngx_http_rtbus_carriers_t));
    if (carriers == NULL) {
        return NGX_ERROR;
    }

    worker->carriers = carriers;

    rmcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_rtbus_module);

    carriers->drain_time = rmcf->drain;

    ngx_queue_init(&carriers->queue);
    ngx_queue_init(&carriers->dirty);

    carriers->flush.handler = ngx_http_rtbus_carrier_flush;
    carriers->flush.data = worker;
    carriers->flush.log = cycle->log;

    carriers->turn.handler = ngx_http_rtbus_carriers_turn;
    carriers->turn.data = worker;
    carriers->turn.log = cycle->log;

    carriers->room.handler = ngx_http_rtbus_carriers_room_handler;
    carriers->room.data = worker;
    carriers->room.log = cycle->log;

    carriers->drain.handler = ngx_http_rtbus_carriers_goodbye;
    carriers->drain.data = worker;
    carriers->drain.log = cycle->log;

    carriers->late.handler = ngx_http_rtbus_carriers_late;
    carriers->late.data = worker;
    carriers->late.log = cycle->log;
    carriers->late.cancelable = 1;

    carriers->in = ngx_palloc(cycle->pool, NGX_HTTP_RTBUS_BUFFER);
    carriers->out = ngx_palloc(cycle->pool, NGX_HTTP_RTBUS_BUFFER);

    if (carriers->in == NULL || carriers->out == NULL) {
        return NGX_ERROR;
    }

    return NGX_OK;
}


void
ngx_http_rtbus_carriers_close(ngx_http_rtbus_worker_t *worker)
{
    ngx_http_rtbus_link_t  *link;

    while (worker->carriers->links) {
        link = worker->carriers->links;
        worker->carriers->links = link->next;
        ngx_free(link);
    }
}


size_t
ngx_http_rtbus_carriers_share(ngx_http_rtbus_worker_t *worker)
{
    if (!worker->carriers->turn.posted) {
        worker->carriers->share = NGX_HTTP_RTBUS_SHARE;
        ngx_post_event(&worker->carriers->turn, &ngx_posted_next_events);
    }

    return worker->carriers->share;
}


static void
ngx_http_rtbus_carriers_turn(ngx_event_t *ev)
{
    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, ev->log, 0,
                   "rtbus turn of the loop is over");

    /* the event is no longer posted, and this is all that counts */
}


/*
 * Sends away the client that has been connected for the longest time.  It
 * comes back to a worker that has room.
 */

void
ngx_http_rtbus_carriers_full(ngx_http_rtbus_worker_t *worker)
{
    ngx_queue_t               *q;
    ngx_pool_cleanup_t        *cln;
    ngx_http_rtbus_carrier_t  *car;

    for (q = ngx_queue_head(&worker->carriers->queue);
         q != ngx_queue_sentinel(&worker->carriers->queue);
         q = ngx_queue_next(q))
    {
        car = ngx_queue_data(q, ngx_http_rtbus_carrier_t, queue);

        if (car->connection == NULL || car->busy
            || ngx_http_rtbus_carrier_closing(car))
        {
            continue;
        }

        /* nginx destroys the pool right after it has closed the connection */

        cln = ngx_pool_cleanup_add(car->connection->pool, 0);
        if (cln == NULL) {
            return;
        }

        cln->handler = ngx_http_rtbus_carriers_room;
        cln->data = worker;

        ngx_log_error(NGX_LOG_WARN, worker->hub.log, 0,
                      "rtbus: a client has to go, there is no place for a "
                      "connection to Redis, see worker_connections");

        ngx_http_rtbus_carrier_close_for(car, NGX_HTTP_RTBUS_CLOSE_FULL);
        return;
    }
}


/*
 * The code that has closed the connection may still look at it, and must not
 * find there the connection that takes its place.  So this is left to a posted
 * event, which runs soon, as others wait for room, too.
 */

static void
ngx_http_rtbus_carriers_room(void *data)
{
    ngx_http_rtbus_worker_t *worker = data;

    ngx_post_event(&worker->carriers->room, &ngx_posted_events);
}


static void
ngx_http_rtbus_carriers_room_handler(ngx_event_t *ev)
{
    ngx_http_rtbus_worker_t  *worker = ev->data;

    ngx_log_debug1(NGX_LOG_DEBUG_CORE, worker->hub.log, 0,
                   "rtbus worker has room, free:%ui",
                   ngx_cycle->free_connection_n);

    ngx_rtbus_hub_room(&worker->hub);
}


void
ngx_http_rtbus_carriers_drain(ngx_http_rtbus_worker_t *worker)
{
    ngx_msec_t        time;
    ngx_core_conf_t  *ccf;

    if (worker->carriers->draining) {
        return;
    }

    worker->carriers->draining = 1;

    time = worker->carriers->drain_time;

    /*
     * nginx closes connections after that time, but does not know of sessions,
     * nor of commands whose clients are elsewhere now
     */

    ccf = (ngx_core_conf_t *) ngx_get_conf(ngx_cycle->conf_ctx,
                                           ngx_core_module);

    if (ccf->shutdown_timeout) {
        time = ngx_min(time, ccf->shutdown_timeout);
        ngx_add_timer(&worker->carriers->late, ccf->shutdown_timeout);
    }

    worker->carriers->drain_until = ngx_current_msec + time;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, worker->hub.log, 0,
                   "rtbus worker drains, carriers:%ui time:%M",
                   worker->carriers->n, time);

    worker->carriers->drain_handler(worker);

    if (worker->carriers->n) {

        /* a posted event would wait until the loop wakes up */

        ngx_add_timer(&worker->carriers->drain, 0);
    }
}


/* the worker waits no longer for what is left */

static void
ngx_http_rtbus_carriers_late(ngx_event_t *ev)
{
    ngx_http_rtbus_worker_t  *worker = ev->data;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, ev->log, 0,
                   "rtbus worker is late, carriers:%ui", worker->carriers->n);

    worker->carriers->drain.cancelable = 1;

    worker->carriers->late_handler(worker);
}


/*
 * Says goodbye to a share of the clients, so that with as many at each tick
 * all are gone in time.  A crowd that comes back at once would hurt the other
 * workers.
 */

static void
ngx_http_rtbus_carriers_goodbye(ngx_event_t *ev)
{
    ngx_uint_t                 n, ticks;
    ngx_queue_t               *q;
    ngx_msec_int_t             left;
    ngx_http_rtbus_worker_t   *worker;
    ngx_http_rtbus_carrier_t  *car;

    worker = ev->data;

    left = (ngx_msec_int_t) (worker->carriers->drain_until - ngx_current_msec);
    ticks = (left > 0) ? left / NGX_HTTP_RTBUS_DRAIN_TICK + 1 : 1;

    n = (worker->carriers->n + ticks - 1) / ticks;

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, ev->log, 0,
                   "rtbus worker says goodbye to:%ui of:%ui ms:%i",
                   n, worker->carriers->n, (ngx_int_t) left);

    for (q = ngx_queue_head(&worker->carriers->queue);
         n && q != ngx_queue_sentinel(&worker->carriers->queue);
         q = ngx_queue_next(q))
    {
        car = ngx_queue_data(q, ngx_http_rtbus_carrier_t, queue);

        if (ngx_http_rtbus_carrier_closing(car) || car->busy) {
            continue;
        }

        n--;

        car->leave_handler(car);

        ngx_http_rtbus_carrier_close(car, RTBUS_WS_RESTART,
                                     "server is shutting down");
    }

    if (worker->carriers->n) {
        ngx_add_timer(ev, NGX_HTTP_RTBUS_DRAIN_TICK);
    }
}
