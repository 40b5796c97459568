
/*
 * Frames of a replay: an event as its source had it, with an id or without, and
 * beside it the end that it may be.
 */


#ifndef _NGX_HTTP_RTBUS_REPLAY_ENCODE_H_INCLUDED_
#define _NGX_HTTP_RTBUS_REPLAY_ENCODE_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


/* what a frame tells beside its bytes, in frame->payload */

#define NGX_HTTP_RTBUS_MARK_STATUS   0x000f
#define NGX_HTTP_RTBUS_MARK_CAPTURE  0x0010
#define NGX_HTTP_RTBUS_MARK_FORMAT   8       /* bits to the left */


/* with ids, without them, lines of JSON; and those with numbers of their own */

extern const ngx_rtbus_format_t  ngx_http_rtbus_replay_formats[];

#define NGX_HTTP_RTBUS_REPLAY_IDS      (&ngx_http_rtbus_replay_formats[0])
#define NGX_HTTP_RTBUS_REPLAY_BARE     (&ngx_http_rtbus_replay_formats[1])
#define NGX_HTTP_RTBUS_REPLAY_LINES    (&ngx_http_rtbus_replay_formats[2])
#define NGX_HTTP_RTBUS_REPLAY_COUNTED  (&ngx_http_rtbus_replay_formats[3])


#endif /* _NGX_HTTP_RTBUS_REPLAY_ENCODE_H_INCLUDED_ */
