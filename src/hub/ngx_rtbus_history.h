
/*
 * The past of a channel: its stream in Redis, read to find the channel's
 * position, to fill holes, and to bring subscribers from a position of theirs
 * up to the channel's.
 *
 * What is read is checked by the numbers alone: after seq 7 comes 8.  Where it
 * does not, a gap is told, and the reader goes on behind it.
 *
 * Subscribers that stand at the same position of a channel share the read.  No
 * more is read for a subscriber than it has room for, and for all of them together
 * no more at a time than some reads, and bytes: the others wait, in order.  What a
 * channel reads for itself does not wait.
 */


#ifndef _NGX_RTBUS_HISTORY_H_INCLUDED_
#define _NGX_RTBUS_HISTORY_H_INCLUDED_


#include "ngx_rtbus_hub.h"


/*
 * known: a channel has come to be known, what was kept and who waits goes on;
 * start: a subscriber that is not joined is brought to where its channel is.
 */

void ngx_rtbus_history_init(ngx_rtbus_hub_t *hub,
    ngx_rtbus_hub_channel_pt known, ngx_rtbus_hub_start_pt start);

/* the connections are closed already */

void ngx_rtbus_history_close(ngx_rtbus_hub_t *hub);

/*
 * Makes a channel whose topic is ready known: finds its position at first, reads
 * what comes after the position later on.  known follows when it is done,
 * ngx_rtbus_hub_retry() when it could not be.
 */

void ngx_rtbus_history_channel(ngx_rtbus_channel_t *ch);

/*
 * Brings a subscriber of a known channel from sub->pos to the channel's;
 * ngx_rtbus_channel_live() follows, maybe at once.
 */

void ngx_rtbus_history_replay(ngx_rtbus_sub_t *sub);

/* the subscriber leaves */

void ngx_rtbus_history_leave(ngx_rtbus_sub_t *sub);

/* the channel's own read is not wanted any more, or the channel goes */

void ngx_rtbus_history_stop(ngx_rtbus_channel_t *ch);


#endif /* _NGX_RTBUS_HISTORY_H_INCLUDED_ */
