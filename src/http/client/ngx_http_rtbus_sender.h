
/*
 * A client as a sender of commands: those that are under way for it, and the
 * table by which producers reach it, which knows a client from its first
 * command on.
 */


#ifndef _NGX_HTTP_RTBUS_SENDER_H_INCLUDED_
#define _NGX_HTTP_RTBUS_SENDER_H_INCLUDED_


#include "ngx_http_rtbus_client.h"
#include "ngx_http_rtbus_command.h"


/* the hub and its mailbox are there; NGX_OK or NGX_ERROR */

ngx_int_t ngx_http_rtbus_sender_init(ngx_http_rtbus_worker_t *worker,
    ngx_cycle_t *cycle);

/* at the worker's exit, before the links to Redis are closed */

void ngx_http_rtbus_sender_close(ngx_http_rtbus_worker_t *worker);

/*
 * Runs an event as a command.  With ack not NULL the client is told its
 * outcome; without it only failures, by an "error" event.
 *
 * NGX_OK; NGX_DECLINED: refused, *error says why; NGX_ERROR: no memory.
 */

ngx_int_t ngx_http_rtbus_sender_command(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_input_t *in, uint64_t *ack,
    ngx_http_rtbus_outcome_t *refused);

/*
 * What the client has said of itself (checked JSON, an object), for "@connect";
 * before the client starts.  NGX_OK or NGX_ERROR.
 */

ngx_int_t ngx_http_rtbus_sender_auth(ngx_http_rtbus_client_t *cli,
    rtbus_str_t *auth);

/* the client is connected, or has ended: producers are told if they care */

void ngx_http_rtbus_sender_connected(ngx_http_rtbus_client_t *cli);
void ngx_http_rtbus_sender_done(ngx_http_rtbus_client_t *cli,
    const char *reason);

/*
 * The client goes on at another worker, whose mailbox is that: what is sent to
 * it here is passed on, for as long as it is; and the other side of it: NGX_OK
 * or NGX_ERROR.
 */

void ngx_http_rtbus_sender_move(ngx_http_rtbus_client_t *cli, ngx_str_t *to);
ngx_int_t ngx_http_rtbus_sender_import(ngx_http_rtbus_client_t *cli);


#endif /* _NGX_HTTP_RTBUS_SENDER_H_INCLUDED_ */
