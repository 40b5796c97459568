
/*
 * The past of a channel: its stream in Redis.  It is read to find the channel's
 * position, to fill holes, and to bring subscribers from their own position up
 * to the channel's.
 *
 * Only the numbers are checked: seq 7 is followed by 8.  If it is not, the
 * subscribers are told of a gap, and reading continues behind it.
 *
 * Subscribers at the same position of a channel share a read.  A subscriber is
 * not sent more than it has room for, and all of them together have a limit of
 * reads and of bytes at a time; the others wait in order.  What a channel reads
 * for itself does not wait.
 */


#ifndef _NGX_RTBUS_HISTORY_H_INCLUDED_
#define _NGX_RTBUS_HISTORY_H_INCLUDED_


#include "ngx_rtbus_hub.h"


/*
 * known: called when a channel is known, for what was kept and who waits;
 * start: brings a subscriber that is not joined to where its channel is.
 */

void ngx_rtbus_history_init(ngx_rtbus_hub_t *hub,
    ngx_rtbus_hub_channel_pt known, ngx_rtbus_hub_start_pt start);

/* the connections are closed already */

void ngx_rtbus_history_close(ngx_rtbus_hub_t *hub);

/*
 * Makes a channel known whose topic is ready: finds its position the first
 * time, and reads the events after its position later.  The known handler
 * follows, or ngx_rtbus_hub_retry() after a failure.
 */

void ngx_rtbus_history_channel(ngx_rtbus_channel_t *ch);

/*
 * Brings a subscriber of a known channel from sub->pos to the channel's;
 * ngx_rtbus_channel_live() follows, maybe at once.
 */

void ngx_rtbus_history_replay(ngx_rtbus_sub_t *sub);

/* the subscriber leaves */

void ngx_rtbus_history_leave(ngx_rtbus_sub_t *sub);

/* cancels the channel's own read */

void ngx_rtbus_history_stop(ngx_rtbus_channel_t *ch);


#endif /* _NGX_RTBUS_HISTORY_H_INCLUDED_ */
