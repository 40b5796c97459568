
#include "ngx_http_rtbus_worker.h"
#include "ngx_http_rtbus_carriers.h"
#include "ngx_http_rtbus_command.h"
#include "ngx_http_rtbus_remote.h"
#include "ngx_http_rtbus_sender.h"
#include "ngx_http_rtbus_session.h"


static void ngx_http_rtbus_worker_full(void *data);
static void ngx_http_rtbus_worker_exiting(void *data);


ngx_int_t
ngx_http_rtbus_worker_init(ngx_http_rtbus_worker_t *worker, ngx_cycle_t *cycle)
{
    if (ngx_http_rtbus_carriers_init(worker, cycle) != NGX_OK) {
        return NGX_ERROR;
    }

    worker->carriers->drain_handler = ngx_http_rtbus_remote_drain;
    worker->carriers->late_handler = ngx_http_rtbus_commands_late;

    worker->hub.full_handler = ngx_http_rtbus_worker_full;
    worker->hub.exiting_handler = ngx_http_rtbus_worker_exiting;
    worker->hub.data = worker;

    if (ngx_rtbus_hub_init(&worker->hub, cycle->log) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ngx_http_rtbus_command_init(worker, cycle) != NGX_OK
        || ngx_http_rtbus_sender_init(worker, cycle) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (ngx_http_rtbus_session_init(worker, cycle) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_rtbus_remote_init(worker, cycle);
}


void
ngx_http_rtbus_worker_close(ngx_http_rtbus_worker_t *worker)
{
    ngx_http_rtbus_session_close(worker);
    ngx_http_rtbus_sender_close(worker);

    ngx_rtbus_hub_close(&worker->hub);

    ngx_http_rtbus_command_close(worker);
    ngx_http_rtbus_carriers_close(worker);

    ngx_rtbus_stat_detach(worker->hub.stat);
}


/* without Redis no client is of use */

static void
ngx_http_rtbus_worker_full(void *data)
{
    ngx_http_rtbus_carriers_full(data);
}


static void
ngx_http_rtbus_worker_exiting(void *data)
{
    ngx_http_rtbus_carriers_drain(data);
}
