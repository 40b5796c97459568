
/*
 * The subscriptions of a client: how it joins and leaves a channel, and how
 * what the hub has for it reaches its carrier.
 */


#ifndef _NGX_HTTP_RTBUS_SUBS_H_INCLUDED_
#define _NGX_HTTP_RTBUS_SUBS_H_INCLUDED_


#include "ngx_http_rtbus_client.h"


/*
 * Joins a checked and allowed channel, at its present position or behind a
 * given one.  A client that has the channel already goes back to a position
 * that is before all that it has got, and keeps the channel should Redis go
 * away.
 *
 * NGX_OK: joined, also when it was before; NGX_AGAIN: the handler will be
 * called; NGX_DECLINED: Redis is away; NGX_BUSY: too many channels, or this one
 * is being joined; NGX_ERROR.
 */

ngx_int_t ngx_http_rtbus_subs_join(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_channel_t *channel, ngx_http_rtbus_joined_pt handler,
    uint64_t ack);

/* NGX_OK, NGX_DECLINED: was not joined */

ngx_int_t ngx_http_rtbus_subs_leave(ngx_http_rtbus_client_t *cli,
    ngx_str_t *channel);

/* replays that had to wait go on if there is room; for room_handler */

void ngx_http_rtbus_subs_resume(ngx_http_rtbus_client_t *cli);

/*
 * For a client that starts or is imported, which joins many at once: makes a
 * subscription (NULL: no memory), gives it to the client, and takes it back and
 * frees it.
 */

ngx_http_rtbus_sub_t *ngx_http_rtbus_subs_create(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_channel_t *channel);
void ngx_http_rtbus_subs_add(ngx_http_rtbus_sub_t *s);
void ngx_http_rtbus_subs_free(ngx_http_rtbus_sub_t *s);


#endif /* _NGX_HTTP_RTBUS_SUBS_H_INCLUDED_ */
