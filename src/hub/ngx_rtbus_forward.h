
/*
 * Rules that hand out events of Redis channels also on another channel, whose
 * name is made from their data: for producers and clients that do not know each
 * other's channels.
 *
 *   job:*  user:{userId}     data.userId "7": on channel "user:7", too
 *
 * In the other channel it is a live event, even if it is durable in its own: it
 * has no position there, does not advance that channel, and is not in its
 * stream.
 *
 * If a client gets the event on its own channel, or by an earlier rule, it does
 * not get it a second time.
 */


#ifndef _NGX_RTBUS_FORWARD_H_INCLUDED_
#define _NGX_RTBUS_FORWARD_H_INCLUDED_


#include "ngx_rtbus_hub.h"


/*
 * Adds a rule to *rules, which is made when it is NULL.  pattern: a channel
 * name that may end in "*"; channel: text and "{member}" or "{member.member}",
 * members of the data.  NGX_OK or NGX_ERROR, logged.
 */

ngx_int_t ngx_rtbus_forward_rule(ngx_conf_t *cf, ngx_array_t **rules,
    ngx_str_t *pattern, ngx_str_t *channel);


/* for ngx_rtbus_link and ngx_rtbus_listen: */

/* hub->rules may be NULL; NGX_OK or NGX_ERROR */

ngx_int_t ngx_rtbus_forward_init(ngx_rtbus_hub_t *hub);

/* the pub/sub connection is closed already */

void ngx_rtbus_forward_close(ngx_rtbus_hub_t *hub);

/* a forwarded message that was kept, its channel is known by now */

void ngx_rtbus_forward_kept(ngx_rtbus_channel_t *ch, ngx_rtbus_kept_t *kept);


#endif /* _NGX_RTBUS_FORWARD_H_INCLUDED_ */
