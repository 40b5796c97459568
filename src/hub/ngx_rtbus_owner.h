
/*
 * The owner of a channel: the user that its state names in "userId".  Without
 * a state, or without "userId" in it, the channel has no owner.
 */


#ifndef _NGX_RTBUS_OWNER_H_INCLUDED_
#define _NGX_RTBUS_OWNER_H_INCLUDED_


#include "ngx_rtbus_hub.h"


/*
 * NGX_OK: the user is the owner; NGX_DECLINED: another user, or no owner;
 * NGX_ERROR: Redis is away or has refused to answer.  The question is freed
 * already.
 */
typedef void (*ngx_rtbus_owner_pt)(void *data, ngx_int_t rc);


/*
 * Asks whether the user owns a channel (checked name, without prefix).  claim:
 * a channel without an owner becomes the user's first, in the same step.
 * Returns the question, which must be cancelled if its data dies before the
 * handler is called; NULL: Redis is away or there is no memory, and the handler
 * will not be called.  It is never called from within.  The strings need not
 * stay.
 */

ngx_rtbus_owner_t *ngx_rtbus_owner_ask(ngx_rtbus_hub_t *hub,
    ngx_str_t *channel, ngx_str_t *user, ngx_uint_t claim,
    ngx_rtbus_owner_pt handler, void *data);

/* the handler will not be called; a claim may still succeed */

void ngx_rtbus_owner_cancel(ngx_rtbus_owner_t *owner);


#endif /* _NGX_RTBUS_OWNER_H_INCLUDED_ */
