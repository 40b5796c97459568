
/*
 * One client, whatever its protocol: who it is, its cursor, and all that it is
 * told beside the events of its channels.
 *
 * A client travels on a carrier; more than one may share it (the namespaces of
 * Socket.IO).
 */


#ifndef _NGX_HTTP_RTBUS_CLIENT_H_INCLUDED_
#define _NGX_HTTP_RTBUS_CLIENT_H_INCLUDED_


#include "ngx_http_rtbus_carrier.h"
#include "ngx_http_rtbus_access.h"


typedef struct ngx_http_rtbus_client_s  ngx_http_rtbus_client_t;
typedef struct ngx_http_rtbus_sub_s     ngx_http_rtbus_sub_t;
typedef struct ngx_http_rtbus_sender_s  ngx_http_rtbus_sender_t;


/* bytes of a sid that ngx_http_rtbus_client_sid() writes */
#define NGX_HTTP_RTBUS_CLIENT_SID  32

/* no client's number for an ack: no answer is wanted */
#define NGX_HTTP_RTBUS_NO_ACK      ((uint64_t) -1)


/*
 * The end of a join that took time: NGX_OK, NGX_DECLINED: Redis is away,
 * NGX_HTTP_FORBIDDEN: the channel is for its owner only, NGX_ABORT: the client
 * has left the channel meanwhile.
 */
typedef void (*ngx_http_rtbus_joined_pt)(ngx_http_rtbus_sub_t *s,
    ngx_int_t rc);


typedef enum {
    NGX_HTTP_RTBUS_CLIENT_NEW = 0,
    NGX_HTTP_RTBUS_CLIENT_STARTING,   /* Redis is asked where its channels
                                         stand */
    NGX_HTTP_RTBUS_CLIENT_CONNECTED,
    NGX_HTTP_RTBUS_CLIENT_MOVED       /* goes on at another worker */
} ngx_http_rtbus_client_state_e;


/* how the client is talked to */

typedef struct {
    const ngx_rtbus_format_t          *format;

    /* answers a request of the client; data is JSON; NGX_OK or NGX_ERROR */
    ngx_int_t                        (*ack)(ngx_http_rtbus_client_t *cli,
                                         uint64_t id, ngx_str_t *data);

    /*
     * The same with what a producer has answered, an array of arguments or any
     * other JSON as the one argument (none at all: no arguments); attachments
     * may be empty.
     */
    ngx_int_t                        (*answer)(ngx_http_rtbus_client_t *cli,
                                         uint64_t id,
                                         rtbus_json_value_t *data,
                                         rtbus_str_t *attachments);

    /*
     * A frame with an event for this client alone; channel may be NULL, cursor
     * may be empty.  NULL: no memory.
     */
    ngx_rtbus_frame_t               *(*event)(ngx_http_rtbus_client_t *cli,
                                         rtbus_event_t *event,
                                         ngx_str_t *channel,
                                         ngx_str_t *cursor);
} ngx_http_rtbus_protocol_t;


/* what a client may still send of rtbus_message_rate */

typedef struct {
    ngx_int_t                          tokens;    /* in 1/1000; below 0: owed */
    ngx_msec_t                         at;        /* when that was */
    ngx_msec_t                         since;     /* it is too fast */
    unsigned                           fast:1;    /* it is, and waits */
    unsigned                           limited:1; /* it has sent too much, which
                                                     is in the log */
} ngx_http_rtbus_bucket_t;


struct ngx_http_rtbus_client_s {
    ngx_http_rtbus_carrier_t          *carrier;
    const ngx_http_rtbus_protocol_t   *protocol;
    const ngx_rtbus_format_t          *format;    /* the protocol's, unless it
                                                     is set before init */
    ngx_rtbus_hub_t                   *hub;
    ngx_http_rtbus_client_state_e      state;     /* set by _client_set_state */

    /* Redis has said where its first channels stand */
    void                             (*start_handler)(
                                         ngx_http_rtbus_client_t *cli);

    ngx_str_t                          sid;       /* memory of the protocol */
    const ngx_str_t                   *nsp;       /* NULL: "/" */
    ngx_str_t                          user;      /* empty: nobody */
    time_t                             expires;   /* of the token */
    ngx_event_t                       *expiry;    /* its timer, malloc'ed */

    ngx_http_rtbus_rule_t             *rules;     /* malloc'ed, and the user */
    ngx_str_t                         *refused;   /* of the cursor, until it is
                                                     connected */
    uint32_t                           nrules;
    uint32_t                           nrefused;

    ngx_queue_t                        subs;
    ngx_uint_t                         nsubs;
    size_t                             names;     /* what a cursor takes */
    ngx_queue_t                        asks;      /* of the inbox, see there */
    ngx_uint_t                         nasks;
    ngx_http_rtbus_sender_t           *sender;    /* see there; NULL: no
                                                     command was sent */

    ngx_http_rtbus_bucket_t            bucket;
    ngx_event_t                       *slow;      /* timer until its next
                                                     message is taken;
                                                     malloc'ed, or NULL */

    unsigned                           bare:1;    /* wants no "connected" */
    unsigned                           keeps:1;   /* takes the cursor from the
                                                     events, and from nothing
                                                     else */
    unsigned                           merges:1;  /* may be sent cursors of one
                                                     channel each; else it has
                                                     no more than one can name,
                                                     unless it has none */
    unsigned                           partial:1; /* ... and knows that it is */
    unsigned                           stale_cursor:1;  /* has joined or left,
                                                     and was sent no cursor
                                                     since */
    unsigned                           paused:1;  /* a replay waits for room */
};


struct ngx_http_rtbus_sub_s {
    ngx_rtbus_sub_t                    sub;
    ngx_queue_t                        queue;     /* cli->subs */
    ngx_http_rtbus_client_t           *cli;
    ngx_http_rtbus_joined_pt           handler;   /* NULL: nobody waits */
    uint64_t                           ack;       /* for the handler */
    rtbus_pos_t                        from;      /* what comes after it was
                                                     sent or will be */
    uint32_t                           room;      /* in a cursor */
    unsigned                           ready:1;   /* when the client starts */
};


/* cursors have but one of its channels each, for all would be too many */

#define ngx_http_rtbus_client_is_partial(cli)                                 \
    ((cli)->merges && (cli)->names > NGX_HTTP_RTBUS_CURSOR_MAX)


void ngx_http_rtbus_client_set_state(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_client_state_e state);

/* the joined or joining subscription to this channel, or NULL */

ngx_http_rtbus_sub_t *ngx_http_rtbus_client_find(ngx_http_rtbus_client_t *cli,
    ngx_str_t *channel);

/* it can have no more channels, or none of that name */

ngx_uint_t ngx_http_rtbus_client_full(ngx_http_rtbus_client_t *cli,
    ngx_str_t *channel);

/*
 * The cursor of the client.  except: left out, and each entry has its comma
 * before it.  Answers the length; with dst NULL only the length.
 */

size_t ngx_http_rtbus_client_cursor(ngx_http_rtbus_client_t *cli, u_char *dst,
    ngx_http_rtbus_sub_t *except);

/* if cursors have got, or have no more, all of its channels, it is told so */

void ngx_http_rtbus_client_tell_cursor(ngx_http_rtbus_client_t *cli);

/*
 * Sends an event of the module itself, with the cursor; data is JSON, channel
 * the one that it is about, or NULL.
 */

void ngx_http_rtbus_client_event(ngx_http_rtbus_client_t *cli,
    const char *name, ngx_str_t *data, ngx_str_t *channel);

/* sends any event to this client alone, likewise */

void ngx_http_rtbus_client_send(ngx_http_rtbus_client_t *cli,
    rtbus_event_t *event, ngx_str_t *channel);

/*
 * {"ok":false,"error":"<text>"}, by an ack or, if that is NULL, an "error"
 * event.  text: more than the error's own text says, or NULL.  With retry, ms,
 * which becomes "retryAfter", the refusal is not logged.  NGX_OK or NGX_ERROR.
 */

ngx_int_t ngx_http_rtbus_client_refuse(ngx_http_rtbus_client_t *cli,
    ngx_uint_t error, uint64_t *ack);
ngx_int_t ngx_http_rtbus_client_error(ngx_http_rtbus_client_t *cli,
    ngx_uint_t error, const char *text, ngx_msec_t retry, uint64_t *ack);

/* refuses a channel that the client did not ask for by an event of its own */

void ngx_http_rtbus_client_refuse_channel(ngx_http_rtbus_client_t *cli,
    ngx_str_t *channel);


#endif /* _NGX_HTTP_RTBUS_CLIENT_H_INCLUDED_ */
