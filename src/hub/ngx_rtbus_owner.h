
/*
 * Whose a channel is: the user that its state names in "userId".  A state
 * without one, or no state, is nobody's.
 */


#ifndef _NGX_RTBUS_OWNER_H_INCLUDED_
#define _NGX_RTBUS_OWNER_H_INCLUDED_


#include "ngx_rtbus_hub.h"


/*
 * NGX_OK: the user's; NGX_DECLINED: another's or nobody's; NGX_ERROR: Redis is
 * away or has refused to say.  The question is no more when this is called.
 */
typedef void (*ngx_rtbus_owner_pt)(void *data, ngx_int_t rc);


/*
 * Asks whether a channel (checked name, without prefix) is the user's; claim:
 * one that is nobody's becomes the user's first, in the same step.  Answers the
 * question, to be cancelled if its data dies before the handler was called;
 * NULL: Redis is away or there is no memory, and the handler will not be
 * called.  It is never called from within.  The strings need not stay.
 */

ngx_rtbus_owner_t *ngx_rtbus_owner_ask(ngx_rtbus_hub_t *hub,
    ngx_str_t *channel, ngx_str_t *user, ngx_uint_t claim,
    ngx_rtbus_owner_pt handler, void *data);

/* the handler will not be called; a claim may still be made */

void ngx_rtbus_owner_cancel(ngx_rtbus_owner_t *owner);


#endif /* _NGX_RTBUS_OWNER_H_INCLUDED_ */
