
/*
 * The way in, the same for all protocols: who the client is, which channels it
 * is to have, and whether those that are for their owner only are its own.
 *
 * Redis is asked for the owners, so this may take a moment, in which the client
 * gets no answer.  It does not wait for a Redis that is away: such channels are
 * left "owned" then, and the hub asks as soon as it can.
 */


#ifndef _NGX_HTTP_RTBUS_ENTRY_H_INCLUDED_
#define _NGX_HTTP_RTBUS_ENTRY_H_INCLUDED_


#include "ngx_http_rtbus_access.h"


typedef struct ngx_http_rtbus_owners_s  ngx_http_rtbus_owners_t;


/*
 * All is known that can be.  NGX_OK: what the cursor had and is not the user's
 * has moved from channels to refused; NGX_DECLINED: the channel of that name,
 * one of rtbus_subscribe, is not the user's; NGX_ERROR: no memory.  The
 * questions are no more when this is called.
 */
typedef void (*ngx_http_rtbus_owners_pt)(void *data, ngx_int_t rc,
    ngx_str_t *name);


/*
 * Asks whose the owned ones of a new client's channels are; both arrays as
 * ngx_http_rtbus_channels() fills them, they have to stay.  NGX_OK: there is
 * nothing to ask, or nobody; NGX_AGAIN: the handler will be called, and *owners
 * is to be cancelled if its data dies before; NGX_ERROR: no memory.
 */

ngx_int_t ngx_http_rtbus_owners_ask(ngx_rtbus_hub_t *hub, ngx_str_t *user,
    ngx_array_t *channels, ngx_array_t *refused,
    ngx_http_rtbus_owners_t **owners, ngx_http_rtbus_owners_pt handler,
    void *data);

void ngx_http_rtbus_owners_cancel(ngx_http_rtbus_owners_t *owners);


/* a request that becomes a client */

typedef struct ngx_http_rtbus_entry_s  ngx_http_rtbus_entry_t;

/* it may: answers what the request is to be finalized with */
typedef ngx_int_t (*ngx_http_rtbus_entry_pt)(ngx_http_request_t *r,
    ngx_http_rtbus_entry_t *entry);

struct ngx_http_rtbus_entry_s {
    ngx_http_rtbus_grant_t          grant;
    ngx_array_t                     channels;  /* ngx_http_rtbus_channel_t */
    ngx_array_t                     refused;   /* ngx_str_t, of the cursor */
    ngx_str_t                       key;       /* of the handshake, the caller's
                                                  own */

    /* private */

    ngx_http_rtbus_entry_pt         handler;
    ngx_http_request_t             *request;
    ngx_http_cleanup_t             *cleanup;
    ngx_http_rtbus_owners_t        *owners;    /* under way, or NULL */
};


/*
 * The cursor of a client that comes over WebSocket or SSE, by whatever name it
 * was given: in the header Last-Event-ID or in the arguments lastEventId,
 * Last-Event-ID, last_event_id, cursor.  There may be several, say that of the
 * page's URL and that which a library has added: of each channel the newest
 * position counts.  Empty: there is none.  NGX_OK or NGX_ERROR.
 */

ngx_int_t ngx_http_rtbus_entry_cursor(ngx_http_request_t *r,
    ngx_str_t *cursor);

/*
 * Lets the request in, with this cursor (empty: none), or answers why not.  The
 * handler is called at once, or later with a copy of the entry.  This is what
 * the content handler has to return.
 */

ngx_int_t ngx_http_rtbus_enter(ngx_http_request_t *r,
    ngx_http_rtbus_entry_t *entry, ngx_str_t *cursor,
    ngx_http_rtbus_entry_pt handler);


#endif /* _NGX_HTTP_RTBUS_ENTRY_H_INCLUDED_ */
