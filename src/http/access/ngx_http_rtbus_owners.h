
/*
 * Whose the channels are that are for their owner only.
 *
 * Redis is asked, so this may take a moment, in which the client gets no
 * answer.  It does not wait for a Redis that is away: such channels are left
 * "owned" then, and the hub asks as soon as it can.
 */


#ifndef _NGX_HTTP_RTBUS_OWNERS_H_INCLUDED_
#define _NGX_HTTP_RTBUS_OWNERS_H_INCLUDED_


#include "ngx_http_rtbus_access.h"


typedef struct ngx_http_rtbus_owners_s  ngx_http_rtbus_owners_t;


/*
 * All is known that can be.  NGX_OK: the channels of the cursor that are not
 * the user's have moved from channels to refused; NGX_DECLINED: the channel of
 * that name, one of rtbus_subscribe, is not the user's; NGX_ERROR: no memory.
 * The owners are freed before this is called.
 */
typedef void (*ngx_http_rtbus_owners_pt)(void *data, ngx_int_t rc,
    ngx_str_t *name);


/* how many of the channels are for their owner only */

ngx_uint_t ngx_http_rtbus_owners_count(ngx_http_rtbus_wanted_t *wanted);

/*
 * Asks for the owners of these channels; wanted has to stay until the answer.
 * NGX_OK: there is nothing to ask, or nobody; NGX_AGAIN: the handler will be
 * called, and *owners is to be cancelled if its data dies before; NGX_ERROR: no
 * memory.
 */

ngx_int_t ngx_http_rtbus_owners_ask(ngx_rtbus_hub_t *hub, ngx_str_t *user,
    ngx_http_rtbus_wanted_t *wanted, ngx_http_rtbus_owners_t **owners,
    ngx_http_rtbus_owners_pt handler, void *data);

void ngx_http_rtbus_owners_cancel(ngx_http_rtbus_owners_t *owners);


#endif /* _NGX_HTTP_RTBUS_OWNERS_H_INCLUDED_ */
