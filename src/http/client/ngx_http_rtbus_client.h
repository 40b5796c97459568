
/*
 * One client, whatever its protocol: who it is, its subscriptions, its cursor,
 * its limits.
 *
 * A client travels on a carrier; more than one may share it (the namespaces of
 * Socket.IO).
 */


#ifndef _NGX_HTTP_RTBUS_CLIENT_H_INCLUDED_
#define _NGX_HTTP_RTBUS_CLIENT_H_INCLUDED_


#include "ngx_http_rtbus_carrier.h"
#include "ngx_http_rtbus_access.h"
#include "ngx_http_rtbus_hold.h"


typedef struct ngx_http_rtbus_client_s  ngx_http_rtbus_client_t;
typedef struct ngx_http_rtbus_sub_s     ngx_http_rtbus_sub_t;
typedef struct ngx_http_rtbus_sender_s  ngx_http_rtbus_sender_t;


/* bytes of a sid that ngx_http_rtbus_client_sid() writes */
#define NGX_HTTP_RTBUS_CLIENT_SID  32


/*
 * The end of a join that took time: NGX_OK, NGX_DECLINED: Redis is away,
 * NGX_HTTP_FORBIDDEN: the channel is for its owner only, NGX_ABORT: the client
 * has left the channel meanwhile.
 */
typedef void (*ngx_http_rtbus_joined_pt)(ngx_http_rtbus_sub_t *s,
    ngx_int_t rc);


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
    ngx_int_t                          tokens;    /* in 1/1000; below 0: they are
                                                     owed */
    ngx_msec_t                         at;        /* when that was */
    ngx_msec_t                         since;     /* ... it was too fast first */
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
    ngx_http_rtbus_sender_t           *sender;    /* see there; NULL: it has sent
                                                     no command */

    ngx_http_rtbus_bucket_t            bucket;
    ngx_event_t                       *slow;      /* timer: its next message is
                                                     taken; malloc'ed, or NULL */

    unsigned                           bare:1;    /* wants no "connected" */
    unsigned                           starting:1;  /* not connected yet */
    unsigned                           connected:1;
    unsigned                           keeps:1;   /* takes the cursor from the
                                                     events, and from nothing
                                                     else */
    unsigned                           merges:1;  /* may be sent cursors of one
                                                     channel each; else it has
                                                     no more than one can name,
                                                     unless it has none */
    unsigned                           partial:1; /* ... and knows that it is */
    unsigned                           moved:1;   /* has joined or left, and was
                                                     sent no cursor since */
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


/*
 * cli is zeroed memory.  The carrier is closed when the token of the identity
 * expires.  NGX_OK or NGX_ERROR.
 */

ngx_int_t ngx_http_rtbus_client_init(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_carrier_t *car, const ngx_http_rtbus_protocol_t *protocol,
    ngx_http_rtbus_grant_t *grant);

/*
 * The client goes on at another worker, whose mailbox is that: writes what it
 * is and where it stands, as a JSON object, and makes a client of it there
 * (instead of init; cli is zeroed memory but for sid and nsp).  What it waits
 * for is waited for anew.  NGX_OK or NGX_ERROR.  Before that the names of its
 * channels are written, each with its comma before it, for the holds.
 */

void ngx_http_rtbus_client_channels(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_text_t *text);
void ngx_http_rtbus_client_export(ngx_http_rtbus_client_t *cli, ngx_str_t *to,
    ngx_http_rtbus_text_t *text);
ngx_int_t ngx_http_rtbus_client_import(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_carrier_t *car, const ngx_http_rtbus_protocol_t *protocol,
    rtbus_str_t *json, ngx_http_rtbus_holds_t *holds);

/* writes a new sid to buf and makes it the client's: NGX_OK or NGX_ERROR */

ngx_int_t ngx_http_rtbus_client_sid(ngx_http_rtbus_client_t *cli, u_char *buf);

/*
 * Leaves all channels; nothing is sent to the client any more.  reason: static
 * text, for producers.
 */

void ngx_http_rtbus_client_done(ngx_http_rtbus_client_t *cli,
    const char *reason);

/* replays that had to wait go on if there is room; for room_handler */

void ngx_http_rtbus_client_resume(ngx_http_rtbus_client_t *cli);

/* tells the client that the server is going away; for leave_handler */

void ngx_http_rtbus_client_goodbye(ngx_http_rtbus_client_t *cli);

/*
 * The channels of a new client, each checked and allowed (or allowed to their
 * owner, who is asked for as soon as that can be), and those that were refused.
 * "connected" is sent before anything else, with the cursor; it waits
 * until Redis has said where the channels stand, unless Redis is away.  NGX_OK
 * or NGX_ERROR.
 */

ngx_int_t ngx_http_rtbus_client_start(ngx_http_rtbus_client_t *cli,
    ngx_array_t *channels, ngx_array_t *refused);

/*
 * Joins a checked and allowed channel, at its present position or behind a
 * given one.  Who has the channel already goes back to a position that is
 * before all that it has got, and keeps the channel should Redis go away.
 * NGX_OK: joined, also when it was before; NGX_AGAIN: the handler will be
 * called; NGX_DECLINED: Redis is away; NGX_BUSY: too many channels, or this one
 * is being joined; NGX_ERROR.
 */

ngx_int_t ngx_http_rtbus_client_join(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_channel_t *channel, ngx_http_rtbus_joined_pt handler,
    uint64_t ack);

/* NGX_OK, NGX_DECLINED: was not joined */

ngx_int_t ngx_http_rtbus_client_leave(ngx_http_rtbus_client_t *cli,
    ngx_str_t *channel);

/* it can have no more channels, or none of that name */

ngx_uint_t ngx_http_rtbus_client_full(ngx_http_rtbus_client_t *cli,
    ngx_str_t *channel);

/* whether cursors have all of its channels has changed: it is told */

void ngx_http_rtbus_client_tell_cursor(ngx_http_rtbus_client_t *cli);

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

/* sends any event to this client alone, likewise */

void ngx_http_rtbus_client_send(ngx_http_rtbus_client_t *cli,
    rtbus_event_t *event, ngx_str_t *channel);

/*
 * Takes a token of rtbus_message_rate for a message.  NGX_OK; what the client
 * sends next may have to wait then.  NGX_DECLINED: it has had to for too long,
 * and *ms are left until there is one.  Joins (of a new channel) are never
 * declined while the client may have more, and wait for less if those are many.
 */

ngx_int_t ngx_http_rtbus_client_rate(ngx_http_rtbus_client_t *cli,
    ngx_uint_t join, ngx_msec_t *ms);

/*
 * The same of a bucket that is filled at that rate and has room for so many
 * tokens; they are in 1/1000.
 */

ngx_int_t ngx_http_rtbus_rate(ngx_uint_t *tokens, ngx_msec_t *at,
    ngx_uint_t rate, ngx_uint_t room);

/* rtbus_message_rate */

char *ngx_http_rtbus_conf_message_rate(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


#endif /* _NGX_HTTP_RTBUS_CLIENT_H_INCLUDED_ */
