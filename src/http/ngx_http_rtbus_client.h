
/*
 * One client, whatever its protocol: its subscriptions, its queue of shared
 * frames, its limits, its end.
 *
 * The transport embeds the client and gives it a table of functions.  Frames
 * are queued and the client is marked; at the end of the loop turn each marked
 * client is flushed once.  Closing goes the same way, so a client never ends
 * in the middle of a fan-out.
 */


#ifndef _NGX_HTTP_RTBUS_CLIENT_H_INCLUDED_
#define _NGX_HTTP_RTBUS_CLIENT_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


struct ngx_http_rtbus_link_s {
    ngx_http_rtbus_link_t             *next;
    ngx_rtbus_frame_t                 *frame;
};


typedef struct ngx_http_rtbus_sub_s  ngx_http_rtbus_sub_t;

/* the end of a join that took time: NGX_OK, NGX_DECLINED: Redis is away */
typedef void (*ngx_http_rtbus_joined_pt)(ngx_http_rtbus_sub_t *s,
    ngx_int_t rc);


typedef struct {
    const ngx_rtbus_format_t          *format;

    /*
     * Writes queued frames, as many as the connection takes; NGX_OK (also when
     * some are left), NGX_ERROR: the connection is gone.
     */
    ngx_int_t                        (*flush)(ngx_http_rtbus_client_t *cli);

    /*
     * Says goodbye and ends the client, at once or soon.  Called at most once,
     * from the end of a loop turn; code is a WebSocket close code, reason a
     * static text.
     */
    void                             (*close)(ngx_http_rtbus_client_t *cli,
                                         ngx_uint_t code, const char *reason);

    /* answers a request of the client; data is JSON; NGX_OK or NGX_ERROR */
    ngx_int_t                        (*ack)(ngx_http_rtbus_client_t *cli,
                                         uint64_t id, ngx_str_t *data);

    /*
     * A frame with an event of the module itself; channel may be NULL, cursor
     * may be empty.  NULL: no memory.
     */
    ngx_rtbus_frame_t               *(*event)(const char *name,
                                         ngx_str_t *data, ngx_str_t *channel,
                                         ngx_str_t *cursor);
} ngx_http_rtbus_transport_t;


struct ngx_http_rtbus_client_s {
    const ngx_http_rtbus_transport_t  *transport;
    ngx_http_request_t                *request;
    ngx_connection_t                  *connection;
    ngx_http_rtbus_worker_t           *worker;
    ngx_http_rtbus_loc_conf_t         *conf;

    ngx_array_t                        rules;     /* see _access.h */

    ngx_queue_t                        queue;     /* worker->clients */
    ngx_queue_t                        dirty;     /* worker->dirty */

    ngx_http_rtbus_link_t             *first;     /* frames to be sent */
    ngx_http_rtbus_link_t            **last;
    size_t                             offset;    /* sent of the first one */
    size_t                             unsent;    /* bytes */

    ngx_queue_t                        subs;
    ngx_uint_t                         nsubs;
    ngx_array_t                        refused;   /* ngx_str_t, of the cursor */
    ngx_queue_t                        asks;      /* of the inbox, see there */
    ngx_uint_t                         nasks;

    ngx_uint_t                         tokens;    /* of rtbus_message_rate, in
                                                     1/1000 */
    ngx_msec_t                         tokens_at;

    ngx_uint_t                         close_code;
    const char                        *close_reason;

    unsigned                           starting:1;  /* not connected yet */
    unsigned                           paused:1;  /* a replay waits for room */
    unsigned                           marked:1;  /* in worker->dirty */
    unsigned                           inflight:1;  /* the first frame's bytes
                                                     must stay as they are */
    unsigned                           closing:1; /* takes no more frames */
    unsigned                           closed:1;  /* transport->close called */
    unsigned                           broken:1;  /* the connection is gone */
};


struct ngx_http_rtbus_sub_s {
    ngx_rtbus_sub_t                    sub;
    ngx_queue_t                        queue;     /* cli->subs */
    ngx_http_rtbus_client_t           *cli;
    ngx_http_rtbus_joined_pt           handler;   /* NULL: nobody waits */
    uint64_t                           ack;       /* for the handler */
    unsigned                           ready:1;   /* when the client starts */
};


/*
 * cli is zeroed memory that lives as long as the request.  The client leaves
 * the worker by a cleanup of r->pool.  NGX_OK or NGX_ERROR.
 */

ngx_int_t ngx_http_rtbus_client_init(ngx_http_rtbus_client_t *cli,
    ngx_http_request_t *r, const ngx_http_rtbus_transport_t *transport);

/*
 * Queues a frame (takes a reference) that the client asked for or that the
 * protocol needs.  A client that has too much unsent is closed with 1013.
 */

void ngx_http_rtbus_client_send(ngx_http_rtbus_client_t *cli,
    ngx_rtbus_frame_t *frame);

/* the same without the limit, and also when closing: for goodbyes */

void ngx_http_rtbus_client_push(ngx_http_rtbus_client_t *cli,
    ngx_rtbus_frame_t *frame);

/* drops n sent bytes off the queue */

void ngx_http_rtbus_client_sent(ngx_http_rtbus_client_t *cli, size_t n);

/*
 * Makes the first frame, of which nothing was sent, and as many after it as fit
 * into NGX_HTTP_RTBUS_BUFFER one frame, for connections that want the same
 * bytes again after a write that did not go through (TLS, output filters).
 */

ngx_int_t ngx_http_rtbus_client_merge(ngx_http_rtbus_client_t *cli);

/* flush at the end of the loop turn */

void ngx_http_rtbus_client_mark(ngx_http_rtbus_client_t *cli);

/* the first call counts; the transport's close follows in this loop turn */

void ngx_http_rtbus_client_close(ngx_http_rtbus_client_t *cli, ngx_uint_t code,
    const char *reason);

/*
 * The channels of a new client, each checked and allowed, and those that were
 * refused.  "connected" is sent before anything else, with the cursor; it waits
 * until Redis has said where the channels stand, unless Redis is away.  NGX_OK
 * or NGX_ERROR.
 */

ngx_int_t ngx_http_rtbus_client_start(ngx_http_rtbus_client_t *cli,
    ngx_array_t *channels, ngx_array_t *refused);

/*
 * Joins a checked and allowed channel, at its present position or, with after,
 * behind that one.  NGX_OK: joined, also when it was before; NGX_AGAIN: the
 * handler will be called; NGX_DECLINED: Redis is away; NGX_BUSY: too many
 * channels, or this one is being joined; NGX_ERROR.
 */

ngx_int_t ngx_http_rtbus_client_join(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_channel_t *channel, ngx_http_rtbus_joined_pt handler,
    uint64_t ack);

/* NGX_OK, NGX_DECLINED: was not joined */

ngx_int_t ngx_http_rtbus_client_leave(ngx_http_rtbus_client_t *cli,
    ngx_str_t *channel);

/* the joined or joining subscription to this channel, or NULL */

ngx_http_rtbus_sub_t *ngx_http_rtbus_client_find(ngx_http_rtbus_client_t *cli,
    ngx_str_t *channel);

/*
 * The cursor of the client.  except: left out, and each entry has its comma
 * before it.  Answers the length; with dst NULL only the length.
 */

size_t ngx_http_rtbus_client_cursor(ngx_http_rtbus_client_t *cli, u_char *dst,
    ngx_http_rtbus_sub_t *except);

/*
 * Sends an event of the module itself, with the cursor; data is JSON, channel
 * the one that it is about, or NULL.
 */

void ngx_http_rtbus_client_event(ngx_http_rtbus_client_t *cli,
    const char *name, ngx_str_t *data, ngx_str_t *channel);

/* takes a token of rtbus_message_rate: NGX_OK or NGX_DECLINED */

ngx_int_t ngx_http_rtbus_client_rate(ngx_http_rtbus_client_t *cli);


/* the worker's part: set up, say goodbye to all clients, end */

ngx_int_t ngx_http_rtbus_worker_init(ngx_http_rtbus_worker_t *worker,
    ngx_cycle_t *cycle);
void ngx_http_rtbus_worker_drain(ngx_http_rtbus_worker_t *worker);
void ngx_http_rtbus_worker_close(ngx_http_rtbus_worker_t *worker);


#endif /* _NGX_HTTP_RTBUS_CLIENT_H_INCLUDED_ */
