
/*
 * The way in for a request that becomes a client: who sends it, which channels
 * it is to have, and whether those that are for their owner only are its own.
 */


#ifndef _NGX_HTTP_RTBUS_ENTRY_H_INCLUDED_
#define _NGX_HTTP_RTBUS_ENTRY_H_INCLUDED_


#include "ngx_http_rtbus_owners.h"


/* a request that becomes a client */

typedef struct ngx_http_rtbus_entry_s  ngx_http_rtbus_entry_t;

/* it may: answers what the request is to be finalized with */
typedef ngx_int_t (*ngx_http_rtbus_entry_pt)(ngx_http_request_t *r,
    ngx_http_rtbus_entry_t *entry);

struct ngx_http_rtbus_entry_s {
    ngx_http_rtbus_grant_t          grant;
    ngx_http_rtbus_wanted_t         wanted;
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
