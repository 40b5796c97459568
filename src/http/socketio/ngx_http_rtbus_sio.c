
#include "ngx_http_rtbus_sio.h"
#include "ngx_http_rtbus_client_life.h"
#include "ngx_http_rtbus_client_move.h"
#include "ngx_http_rtbus_crypto.h"
#include "ngx_http_rtbus_eio_request.h"
#include "ngx_http_rtbus_entry.h"
#include "ngx_http_rtbus_inbox.h"
#include "ngx_http_rtbus_rate.h"
#include "ngx_http_rtbus_remote.h"
#include "ngx_http_rtbus_sender.h"
#include "ngx_http_rtbus_subs.h"
#include <openssl/crypto.h>
#include "rtbus_attachments.h"
#include "rtbus_sio.h"


#define NGX_HTTP_RTBUS_SIO_TIMEOUT   45000  /* ms to connect to a namespace */
#define NGX_HTTP_RTBUS_SIO_CONNECTS  1000   /* CONNECT packets of a session, a
                                               KiB of one as one */

/* "<sid>.<HMAC>", the latter 16 bytes in base64url */
#define NGX_HTTP_RTBUS_PID_MAC       16
#define NGX_HTTP_RTBUS_PID_LEN       (NGX_HTTP_RTBUS_SID_LEN + 1 + 22)


typedef struct {
    ngx_http_rtbus_eio_t          eio;       /* the first member */
    ngx_queue_t                   sockets;
    ngx_uint_t                    connects;  /* packets so far */
    ngx_uint_t                    tokens;    /* of rtbus_message_rate, for
                                                them, in 1/1000 */
    ngx_msec_t                    tokens_at;

    /* of the namespaces that were left, as they stand; malloc'ed, or NULL */

    ngx_http_rtbus_bucket_t      *buckets;

    /* a binary packet whose attachments are still to come; malloc'ed */

    u_char                       *packet;
    size_t                        length;
    size_t                        received;  /* bytes of attachments */
    ngx_uint_t                    attachments;
    ngx_str_t                     binary;    /* what has come of them, an array
                                                of strings in base64 */
    size_t                        room;      /* for it, malloc'ed */
} ngx_http_rtbus_sio_t;


/* the channels of a socket that has no answer to its CONNECT yet; malloc'ed */

typedef struct {
    ngx_http_rtbus_owners_t      *owners;    /* asked for, or NULL */
    ngx_array_t                   channels;  /* ngx_http_rtbus_channel_t */
    ngx_array_t                   refused;   /* ngx_str_t */
} ngx_http_rtbus_connect_t;


/* one namespace of one client; malloc'ed */

typedef struct {
    ngx_http_rtbus_client_t       client;    /* the first member */
    ngx_queue_t                   queue;     /* sio->sockets */
    const ngx_http_rtbus_nsp_t   *nsp;
    ngx_http_rtbus_connect_t     *connect;   /* NULL: it is connected */
    u_char                        sid[NGX_HTTP_RTBUS_SID_LEN];
} ngx_http_rtbus_socket_t;


static void ngx_http_rtbus_sio_create(ngx_http_rtbus_eio_t *eio,
    ngx_http_rtbus_carrier_t *car);
static void ngx_http_rtbus_sio_room(ngx_http_rtbus_carrier_t *car);
static void ngx_http_rtbus_sio_leave(ngx_http_rtbus_carrier_t *car);
static void ngx_http_rtbus_sio_ended(ngx_http_rtbus_carrier_t *car);
static ngx_uint_t ngx_http_rtbus_sio_settled(ngx_http_rtbus_carrier_t *car);
static void ngx_http_rtbus_sio_tick(ngx_http_rtbus_eio_t *eio);
static void ngx_http_rtbus_sio_moved(ngx_http_rtbus_eio_t *eio);
static void ngx_http_rtbus_sio_list(ngx_http_rtbus_eio_t *eio,
    ngx_http_rtbus_text_t *text);
static void ngx_http_rtbus_sio_hold(ngx_http_rtbus_carrier_t *car,
    rtbus_str_t *json, ngx_http_rtbus_holds_t *holds);
static void ngx_http_rtbus_sio_export(ngx_http_rtbus_eio_t *eio,
    ngx_str_t *to, ngx_http_rtbus_text_t *text);
static ngx_int_t ngx_http_rtbus_sio_import(ngx_http_rtbus_eio_t *eio,
    rtbus_str_t *json, ngx_http_rtbus_holds_t *holds);
static ngx_int_t ngx_http_rtbus_sio_import_packet(ngx_http_rtbus_sio_t *sio,
    rtbus_json_value_t *value);
static void ngx_http_rtbus_sio_export_buckets(ngx_http_rtbus_sio_t *sio,
    ngx_http_rtbus_text_t *text);
static ngx_int_t ngx_http_rtbus_sio_import_buckets(ngx_http_rtbus_sio_t *sio,
    rtbus_json_value_t *array);
static ngx_int_t ngx_http_rtbus_sio_import_socket(ngx_http_rtbus_sio_t *sio,
    rtbus_json_value_t *value, ngx_http_rtbus_holds_t *holds);
static ngx_int_t ngx_http_rtbus_sio_message(ngx_http_rtbus_eio_t *eio,
    u_char *p, size_t len, ngx_uint_t binary);
static ngx_int_t ngx_http_rtbus_sio_keep(ngx_http_rtbus_sio_t *sio, u_char *p,
    size_t len);
static void ngx_http_rtbus_sio_drop(ngx_http_rtbus_sio_t *sio);
static ngx_int_t ngx_http_rtbus_sio_packet(ngx_http_rtbus_sio_t *sio,
    rtbus_sio_packet_t *packet);
static ngx_int_t ngx_http_rtbus_sio_connect(ngx_http_rtbus_sio_t *sio,
    rtbus_sio_packet_t *packet);
static ngx_int_t ngx_http_rtbus_sio_keep_bucket(ngx_http_rtbus_sio_t *sio,
    ngx_http_rtbus_socket_t *socket);
static void ngx_http_rtbus_sio_take_bucket(ngx_http_rtbus_sio_t *sio,
    ngx_http_rtbus_socket_t *socket);
static ngx_int_t ngx_http_rtbus_sio_channels(ngx_http_rtbus_socket_t *socket,
    ngx_http_rtbus_grant_t *grant, ngx_str_t *cursor, const char **error);
static void ngx_http_rtbus_sio_owners(void *data, ngx_int_t rc,
    ngx_str_t *name);
static ngx_int_t ngx_http_rtbus_sio_connected(ngx_http_rtbus_socket_t *socket);
static void ngx_http_rtbus_sio_connect_done(ngx_http_rtbus_socket_t *socket);
static ngx_http_rtbus_socket_t *ngx_http_rtbus_sio_socket(
    ngx_http_rtbus_sio_t *sio, ngx_http_rtbus_nsp_t *nsp);
static ngx_int_t ngx_http_rtbus_sio_connect_error(ngx_http_rtbus_sio_t *sio,
    rtbus_str_t *nsp, const char *message,
    const char *reason);
static ngx_int_t ngx_http_rtbus_sio_grant(ngx_http_rtbus_sio_t *sio,
    rtbus_json_value_t *token, ngx_http_rtbus_grant_t *grant);
static ngx_int_t ngx_http_rtbus_sio_request_grant(ngx_http_request_t *r,
    rtbus_json_value_t *value, ngx_http_rtbus_grant_t *grant);
static ngx_int_t ngx_http_rtbus_sio_relay_grant(ngx_http_request_t *r,
    u_char *p, size_t len, ngx_http_rtbus_text_t *text);
static ngx_int_t ngx_http_rtbus_sio_recover(ngx_http_rtbus_sio_t *sio,
    ngx_http_rtbus_socket_t *socket, rtbus_json_member_t *auth,
    ngx_str_t *cursor);
static ngx_int_t ngx_http_rtbus_sio_pid(ngx_http_rtbus_socket_t *socket,
    u_char *pid);
static ngx_int_t ngx_http_rtbus_sio_event(ngx_http_rtbus_socket_t *socket,
    rtbus_sio_packet_t *packet);
static ngx_int_t ngx_http_rtbus_sio_malformed(ngx_http_rtbus_socket_t *socket,
    rtbus_sio_packet_t *packet, const char *error);
static ngx_http_rtbus_nsp_t *ngx_http_rtbus_sio_find_nsp(
    ngx_http_rtbus_loc_conf_t *conf, rtbus_str_t *name);
static ngx_http_rtbus_socket_t *ngx_http_rtbus_sio_find(
    ngx_http_rtbus_sio_t *sio, rtbus_str_t *nsp);
static void ngx_http_rtbus_sio_end(ngx_http_rtbus_socket_t *socket,
    const char *reason);
static ngx_int_t ngx_http_rtbus_sio_fail(ngx_http_rtbus_sio_t *sio,
    const char *reason);
static ngx_int_t ngx_http_rtbus_sio_nomem(ngx_http_rtbus_sio_t *sio);
static ngx_rtbus_frame_t *ngx_http_rtbus_sio_frame(
    const ngx_http_rtbus_nsp_t *nsp, rtbus_sio_packet_t *packet, size_t len,
    u_char **p);
static ngx_rtbus_frame_t *ngx_http_rtbus_sio_encode(
    const ngx_rtbus_format_t *format, ngx_rtbus_msg_t *msg);
static ngx_rtbus_frame_t *ngx_http_rtbus_sio_emit(
    const ngx_http_rtbus_nsp_t *nsp, rtbus_event_t *event, ngx_str_t *cursor);
static rtbus_str_t ngx_http_rtbus_sio_elements(const rtbus_str_t *array);
static ngx_uint_t ngx_http_rtbus_sio_count(const rtbus_str_t *array);
static ngx_int_t ngx_http_rtbus_sio_attach(ngx_rtbus_frame_t **frame,
    const rtbus_str_t *attachments);
static ngx_int_t ngx_http_rtbus_sio_ack(ngx_http_rtbus_client_t *cli,
    uint64_t id, ngx_str_t *data);
static ngx_int_t ngx_http_rtbus_sio_answer(ngx_http_rtbus_client_t *cli,
    uint64_t id, rtbus_json_value_t *data, rtbus_str_t *attachments);
static ngx_int_t ngx_http_rtbus_sio_send_ack(ngx_http_rtbus_client_t *cli,
    uint64_t id, rtbus_str_t *args, rtbus_str_t *attachments);
static ngx_rtbus_frame_t *ngx_http_rtbus_sio_own_event(
    ngx_http_rtbus_client_t *cli, rtbus_event_t *event, ngx_str_t *channel,
    ngx_str_t *cursor);


static const ngx_http_rtbus_eio_handlers_t  ngx_http_rtbus_sio_handlers = {
    sizeof(ngx_http_rtbus_sio_t),
    ngx_http_rtbus_sio_create,
    ngx_http_rtbus_sio_message,
    ngx_http_rtbus_sio_tick,
    ngx_http_rtbus_sio_relay_grant,
    ngx_http_rtbus_sio_moved,
    ngx_http_rtbus_sio_list,
    ngx_http_rtbus_sio_hold,
    ngx_http_rtbus_sio_export,
    ngx_http_rtbus_sio_import
};


static const ngx_http_rtbus_protocol_t  ngx_http_rtbus_sio_protocol = {
    NULL,                                  /* as the namespace has it */
    ngx_http_rtbus_sio_ack,
    ngx_http_rtbus_sio_answer,
    ngx_http_rtbus_sio_own_event
};


void
ngx_http_rtbus_sio_nsp(ngx_http_rtbus_nsp_t *nsp, ngx_uint_t recovery)
{
    nsp->format.encode = ngx_http_rtbus_sio_encode;
    nsp->format.header = ngx_http_rtbus_eio_header;
    nsp->recovery = recovery;
}


ngx_int_t
ngx_http_rtbus_sio_handler(ngx_http_request_t *r)
{
    return ngx_http_rtbus_eio_request(r, &ngx_http_rtbus_sio_handlers);
}


static void
ngx_http_rtbus_sio_create(ngx_http_rtbus_eio_t *eio,
    ngx_http_rtbus_carrier_t *car)
{
    ngx_http_rtbus_sio_t  *sio;

    sio = (ngx_http_rtbus_sio_t *) eio;

    ngx_queue_init(&sio->sockets);

    car->kind = NGX_RTBUS_STAT_SOCKETIO;
    car->room_handler = ngx_http_rtbus_sio_room;
    car->leave_handler = ngx_http_rtbus_sio_leave;
    car->ended_handler = ngx_http_rtbus_sio_ended;
    car->settled_handler = ngx_http_rtbus_sio_settled;
    car->data = sio;
}


static void
ngx_http_rtbus_sio_room(ngx_http_rtbus_carrier_t *car)
{
    ngx_http_rtbus_sio_t  *sio = car->data;

    ngx_queue_t              *q;
    ngx_http_rtbus_socket_t  *socket;

    for (q = ngx_queue_head(&sio->sockets);
         q != ngx_queue_sentinel(&sio->sockets);
         q = ngx_queue_next(q))
    {
        socket = ngx_queue_data(q, ngx_http_rtbus_socket_t, queue);
        ngx_http_rtbus_subs_resume(&socket->client);
    }
}


static void
ngx_http_rtbus_sio_leave(ngx_http_rtbus_carrier_t *car)
{
    ngx_http_rtbus_sio_t  *sio = car->data;

    ngx_queue_t              *q;
    ngx_http_rtbus_socket_t  *socket;

    for (q = ngx_queue_head(&sio->sockets);
         q != ngx_queue_sentinel(&sio->sockets);
         q = ngx_queue_next(q))
    {
        socket = ngx_queue_data(q, ngx_http_rtbus_socket_t, queue);

        if (socket->connect == NULL) {
            ngx_http_rtbus_client_goodbye(&socket->client);
        }
    }
}


static void
ngx_http_rtbus_sio_ended(ngx_http_rtbus_carrier_t *car)
{
    ngx_http_rtbus_sio_t  *sio = car->data;

    ngx_queue_t  *q;

    while (!ngx_queue_empty(&sio->sockets)) {
        q = ngx_queue_head(&sio->sockets);
        ngx_http_rtbus_sio_end(ngx_queue_data(q, ngx_http_rtbus_socket_t,
                                              queue),
                               ngx_http_rtbus_carrier_reason(car));
    }

    ngx_http_rtbus_sio_drop(sio);

    if (sio->buckets) {
        ngx_free(sio->buckets);
        sio->buckets = NULL;
    }
}


/* between its first CONNECT and the next one */

static ngx_uint_t
ngx_http_rtbus_sio_settled(ngx_http_rtbus_carrier_t *car)
{
    ngx_http_rtbus_sio_t  *sio = car->data;

    ngx_queue_t              *q;
    ngx_http_rtbus_socket_t  *socket;

    if (sio->connects == 0) {
        return 0;
    }

    for (q = ngx_queue_head(&sio->sockets);
         q != ngx_queue_sentinel(&sio->sockets);
         q = ngx_queue_next(q))
    {
        socket = ngx_queue_data(q, ngx_http_rtbus_socket_t, queue);

        if (socket->connect || socket->client.starting) {
            return 0;
        }
    }

    return 1;
}


static void
ngx_http_rtbus_sio_end(ngx_http_rtbus_socket_t *socket, const char *reason)
{
    ngx_queue_remove(&socket->queue);
    ngx_http_rtbus_sio_connect_done(socket);
    ngx_http_rtbus_client_done(&socket->client, reason);
    ngx_free(socket);
}


static void
ngx_http_rtbus_sio_tick(ngx_http_rtbus_eio_t *eio)
{
    ngx_http_rtbus_sio_t  *sio;

    sio = (ngx_http_rtbus_sio_t *) eio;

    if (ngx_queue_empty(&sio->sockets)
        && (ngx_msec_int_t) (ngx_current_msec - eio->opened)
           >= NGX_HTTP_RTBUS_SIO_TIMEOUT)
    {
        ngx_http_rtbus_carrier_close(eio->carrier, RTBUS_WS_POLICY,
                                     "no namespace was connected in time");
    }
}


static void
ngx_http_rtbus_sio_moved(ngx_http_rtbus_eio_t *eio)
{
    ngx_queue_t              *q;
    ngx_http_rtbus_sio_t     *sio;
    ngx_http_rtbus_socket_t  *socket;

    sio = (ngx_http_rtbus_sio_t *) eio;

    for (q = ngx_queue_head(&sio->sockets);
         q != ngx_queue_sentinel(&sio->sockets);
         q = ngx_queue_next(q))
    {
        socket = ngx_queue_data(q, ngx_http_rtbus_socket_t, queue);
        socket->client.carrier = eio->carrier;
    }
}


/* [["<namespace>","<channel>",...],...] */

static void
ngx_http_rtbus_sio_list(ngx_http_rtbus_eio_t *eio,
    ngx_http_rtbus_text_t *text)
{
    ngx_queue_t              *q;
    ngx_http_rtbus_sio_t     *sio;
    ngx_http_rtbus_socket_t  *socket;

    sio = (ngx_http_rtbus_sio_t *) eio;

    ngx_http_rtbus_text_lit(text, "[");

    for (q = ngx_queue_head(&sio->sockets);
         q != ngx_queue_sentinel(&sio->sockets);
         q = ngx_queue_next(q))
    {
        socket = ngx_queue_data(q, ngx_http_rtbus_socket_t, queue);

        if (q != ngx_queue_head(&sio->sockets)) {
            ngx_http_rtbus_text_lit(text, ",");
        }

        ngx_http_rtbus_text_lit(text, "[");
        ngx_http_rtbus_text_quote(text, socket->nsp->name.data,
                                  socket->nsp->name.len);
        ngx_http_rtbus_client_channels(&socket->client, text);
        ngx_http_rtbus_text_lit(text, "]");
    }

    ngx_http_rtbus_text_lit(text, "]");
}


/* what cannot be held moves without */

static void
ngx_http_rtbus_sio_hold(ngx_http_rtbus_carrier_t *car, rtbus_str_t *json,
    ngx_http_rtbus_holds_t *holds)
{
    ngx_str_t              name;
    rtbus_str_t            nsp_name;
    const uint8_t         *pos, *p;
    rtbus_json_value_t     socket, value;
    ngx_http_rtbus_nsp_t  *nsp;

    pos = NULL;

    while (rtbus_json_next(&socket, &pos, json) == RTBUS_OK) {
        p = NULL;

        if (socket.type != RTBUS_JSON_ARRAY
            || rtbus_json_next(&value, &p, &socket.raw) != RTBUS_OK
            || ngx_http_rtbus_text_unquote(car->pool, &name, &value) != NGX_OK)
        {
            return;
        }

        nsp_name.data = name.data;
        nsp_name.len = name.len;

        nsp = ngx_http_rtbus_sio_find_nsp(car->conf, &nsp_name);

        if (nsp == NULL) {
            return;
        }

        while (rtbus_json_next(&value, &p, &socket.raw) == RTBUS_OK) {
            if (ngx_http_rtbus_holds_add(holds, &nsp->format, &value)
                != NGX_OK)
            {
                return;
            }
        }
    }
}


/*
 * {"connects":1,"tokens":<n>,"packet":["<base64>",<attachments>,<bytes of them>,[...]],
 *  "left":[<namespace>,<tokens>,...],
 *  "sockets":[{"nsp":"/","sid":"...","client":{...}},...]}
 */

static void
ngx_http_rtbus_sio_export(ngx_http_rtbus_eio_t *eio, ngx_str_t *to,
    ngx_http_rtbus_text_t *text)
{
    ngx_str_t                 packet;
    ngx_queue_t              *q;
    ngx_http_rtbus_sio_t     *sio;
    ngx_http_rtbus_socket_t  *socket;

    sio = (ngx_http_rtbus_sio_t *) eio;

    ngx_http_rtbus_text_lit(text, "{\"connects\":");
    ngx_http_rtbus_text_number(text, sio->connects);
    ngx_http_rtbus_text_lit(text, ",\"tokens\":");
    ngx_http_rtbus_text_number(text, sio->tokens);

    if (sio->packet) {
        packet.data = sio->packet;
        packet.len = sio->length;

        ngx_http_rtbus_text_lit(text, ",\"packet\":[");
        ngx_http_rtbus_text_base64(text, &packet);
        ngx_http_rtbus_text_lit(text, ",");
        ngx_http_rtbus_text_number(text, sio->attachments);
        ngx_http_rtbus_text_lit(text, ",");
        ngx_http_rtbus_text_number(text, sio->received);
        ngx_http_rtbus_text_lit(text, ",");

        if (sio->binary.len) {
            ngx_http_rtbus_text_add(text, sio->binary.data, sio->binary.len);

        } else {
            ngx_http_rtbus_text_lit(text, "null");
        }

        ngx_http_rtbus_text_lit(text, "]");
    }

    ngx_http_rtbus_sio_export_buckets(sio, text);

    ngx_http_rtbus_text_lit(text, ",\"sockets\":[");

    for (q = ngx_queue_head(&sio->sockets);
         q != ngx_queue_sentinel(&sio->sockets);
         q = ngx_queue_next(q))
    {
        socket = ngx_queue_data(q, ngx_http_rtbus_socket_t, queue);

        if (q != ngx_queue_head(&sio->sockets)) {
            ngx_http_rtbus_text_lit(text, ",");
        }

        ngx_http_rtbus_text_lit(text, "{\"nsp\":");
        ngx_http_rtbus_text_quote(text, socket->nsp->name.data,
                                  socket->nsp->name.len);
        ngx_http_rtbus_text_lit(text, ",\"sid\":");
        ngx_http_rtbus_text_quote(text, socket->sid, NGX_HTTP_RTBUS_SID_LEN);
        ngx_http_rtbus_text_lit(text, ",\"client\":");
        ngx_http_rtbus_client_export(&socket->client, to, text);
        ngx_http_rtbus_text_lit(text, "}");
    }

    ngx_http_rtbus_text_lit(text, "]}");
}


static ngx_int_t
ngx_http_rtbus_sio_import(ngx_http_rtbus_eio_t *eio, rtbus_str_t *json,
    ngx_http_rtbus_holds_t *holds)
{
    uint64_t               n;
    const uint8_t         *pos;
    rtbus_json_value_t     value;
    rtbus_json_member_t    m[] = { rtbus_json_member("connects"),
                                   rtbus_json_member("packet"),
                                   rtbus_json_member("sockets"),
                                   rtbus_json_member("left"),
                                   rtbus_json_member("tokens") };
    ngx_http_rtbus_sio_t  *sio;

    sio = (ngx_http_rtbus_sio_t *) eio;

    rtbus_json_members(json, m, 5);

    if (rtbus_json_uint(&m[0].value.raw, &n) != RTBUS_OK
        || m[2].value.type != RTBUS_JSON_ARRAY)
    {
        return NGX_ERROR;
    }

    sio->connects = n;

    if (rtbus_json_uint(&m[4].value.raw, &n) == RTBUS_OK) {
        sio->tokens = (ngx_uint_t) n;
        sio->tokens_at = ngx_current_msec;
    }

    if (m[1].value.type == RTBUS_JSON_ARRAY
        && ngx_http_rtbus_sio_import_packet(sio, &m[1].value) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (m[3].value.type == RTBUS_JSON_ARRAY
        && ngx_http_rtbus_sio_import_buckets(sio, &m[3].value) != NGX_OK)
    {
        return NGX_ERROR;
    }

    pos = NULL;

    while (rtbus_json_next(&value, &pos, &m[2].value.raw) == RTBUS_OK) {
        if (ngx_http_rtbus_sio_import_socket(sio, &value, holds) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_rtbus_sio_import_packet(ngx_http_rtbus_sio_t *sio,
    rtbus_json_value_t *value)
{
    uint64_t             n[2];
    ngx_str_t            packet;
    ngx_uint_t           i;
    const uint8_t       *pos;
    rtbus_json_value_t   v[4];

    pos = NULL;

    for (i = 0; i < 4; i++) {
        if (rtbus_json_next(&v[i], &pos, &value->raw) != RTBUS_OK) {
            return NGX_ERROR;
        }
    }

    if (ngx_http_rtbus_text_debase64(sio->eio.carrier->pool, &packet, &v[0])
        != NGX_OK
        || packet.len == 0
        || rtbus_json_uint(&v[1].raw, &n[0]) != RTBUS_OK || n[0] == 0
        || rtbus_json_uint(&v[2].raw, &n[1]) != RTBUS_OK)
    {
        return NGX_ERROR;
    }

    sio->packet = ngx_alloc(packet.len, sio->eio.carrier->log);
    if (sio->packet == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(sio->packet, packet.data, packet.len);
    sio->length = packet.len;
    sio->attachments = n[0];
    sio->received = n[1];

    if (v[3].type == RTBUS_JSON_ARRAY) {

        sio->binary.data = ngx_alloc(v[3].raw.len, sio->eio.carrier->log);
        if (sio->binary.data == NULL) {
            return NGX_ERROR;
        }

        ngx_memcpy(sio->binary.data, v[3].raw.data, v[3].raw.len);
        sio->binary.len = v[3].raw.len;
        sio->room = v[3].raw.len;
    }

    return NGX_OK;
}


static void
ngx_http_rtbus_sio_export_buckets(ngx_http_rtbus_sio_t *sio,
    ngx_http_rtbus_text_t *text)
{
    ngx_uint_t             i, n;
    ngx_http_rtbus_nsp_t  *nsp;

    if (sio->buckets == NULL) {
        return;
    }

    n = 0;
    nsp = sio->eio.carrier->conf->namespaces->elts;

    for (i = 0; i < sio->eio.carrier->conf->namespaces->nelts; i++) {

        if (sio->buckets[i].at == 0) {
            continue;
        }

        if (n++) {
            ngx_http_rtbus_text_lit(text, ",");

        } else {
            ngx_http_rtbus_text_lit(text, ",\"left\":[");
        }

        ngx_http_rtbus_text_quote(text, nsp[i].name.data, nsp[i].name.len);
        ngx_http_rtbus_text_lit(text, ",");
        ngx_http_rtbus_text_number(text, ngx_max(sio->buckets[i].tokens, 0));
    }

    if (n) {
        ngx_http_rtbus_text_lit(text, "]");
    }
}


static ngx_int_t
ngx_http_rtbus_sio_import_buckets(ngx_http_rtbus_sio_t *sio,
    rtbus_json_value_t *array)
{
    uint64_t                  n;
    ngx_str_t                 name;
    rtbus_str_t               nsp_name;
    const uint8_t            *pos;
    rtbus_json_value_t        value;
    ngx_http_rtbus_nsp_t     *nsp;
    ngx_http_rtbus_bucket_t  *bucket;
    ngx_http_rtbus_carrier_t *car;

    car = sio->eio.carrier;

    sio->buckets = ngx_calloc(car->conf->namespaces->nelts
                              * sizeof(ngx_http_rtbus_bucket_t), car->log);
    if (sio->buckets == NULL) {
        return NGX_ERROR;
    }

    pos = NULL;

    while (rtbus_json_next(&value, &pos, &array->raw) == RTBUS_OK) {

        if (ngx_http_rtbus_text_unquote(car->pool, &name, &value) != NGX_OK
            || rtbus_json_next(&value, &pos, &array->raw) != RTBUS_OK
            || rtbus_json_uint(&value.raw, &n) != RTBUS_OK)
        {
            return NGX_ERROR;
        }

        nsp_name.data = name.data;
        nsp_name.len = name.len;

        nsp = ngx_http_rtbus_sio_find_nsp(car->conf, &nsp_name);

        if (nsp == NULL) {
            continue;
        }

        bucket = &sio->buckets[nsp - (ngx_http_rtbus_nsp_t *)
                                     car->conf->namespaces->elts];

        bucket->tokens = ngx_min(n, (uint64_t) car->conf->message_rate * 1000);
        bucket->at = ngx_current_msec;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_rtbus_sio_import_socket(ngx_http_rtbus_sio_t *sio,
    rtbus_json_value_t *value, ngx_http_rtbus_holds_t *holds)
{
    ngx_str_t                  name;
    rtbus_str_t                nsp_name;
    rtbus_json_member_t        m[] = { rtbus_json_member("nsp"),
                                       rtbus_json_member("sid"),
                                       rtbus_json_member("client") };
    ngx_http_rtbus_nsp_t      *nsp;
    ngx_http_rtbus_socket_t   *socket;
    ngx_http_rtbus_carrier_t  *car;

    car = sio->eio.carrier;

    if (value->type != RTBUS_JSON_OBJECT) {
        return NGX_ERROR;
    }

    rtbus_json_members(&value->raw, m, 3);

    if (m[1].value.type != RTBUS_JSON_STRING
        || m[1].value.raw.len != NGX_HTTP_RTBUS_SID_LEN + 2
        || m[2].value.type != RTBUS_JSON_OBJECT
        || ngx_http_rtbus_text_unquote(car->pool, &name, &m[0].value)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    nsp_name.data = name.data;
    nsp_name.len = name.len;

    nsp = ngx_http_rtbus_sio_find_nsp(car->conf, &nsp_name);

    if (nsp == NULL) {
        return NGX_ERROR;
    }

    socket = ngx_http_rtbus_sio_socket(sio, nsp);
    if (socket == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(socket->sid, m[1].value.raw.data + 1, NGX_HTTP_RTBUS_SID_LEN);

    socket->client.sid.len = NGX_HTTP_RTBUS_SID_LEN;
    socket->client.sid.data = socket->sid;
    socket->client.nsp = &nsp->name;

    return ngx_http_rtbus_client_import(&socket->client, car,
                                        &ngx_http_rtbus_sio_protocol,
                                        &m[2].value.raw, holds);
}


static ngx_int_t
ngx_http_rtbus_sio_message(ngx_http_rtbus_eio_t *eio, u_char *p, size_t len,
    ngx_uint_t binary)
{
    size_t                 size;
    ngx_int_t              rc;
    const char            *reason;
    rtbus_sio_packet_t     packet;
    ngx_http_rtbus_sio_t  *sio;

    sio = (ngx_http_rtbus_sio_t *) eio;

    if (binary) {

        if (sio->packet == NULL) {
            return ngx_http_rtbus_sio_fail(sio, "attachment without a packet");
        }

        size = sio->length + sio->received + len;

        if (size > eio->carrier->conf->max_message) {
            ngx_http_rtbus_carrier_close(eio->carrier, RTBUS_WS_TOO_BIG,
                                         "message too big");
            return NGX_ERROR;
        }

        sio->received += len;

        if (ngx_http_rtbus_sio_keep(sio, p, len) != NGX_OK) {
            return ngx_http_rtbus_sio_nomem(sio);
        }

        if (--sio->attachments) {
            return NGX_OK;
        }

        if (rtbus_sio_parse(&packet, sio->packet, sio->length, &reason)
            != RTBUS_OK)
        {
            return ngx_http_rtbus_sio_fail(sio, reason);
        }

        rc = ngx_http_rtbus_sio_packet(sio, &packet);

        ngx_http_rtbus_sio_drop(sio);

        return rc;
    }

    if (sio->packet) {
        return ngx_http_rtbus_sio_fail(sio, "packet in place of attachment");
    }

    if (rtbus_sio_parse(&packet, p, len, &reason) != RTBUS_OK) {
        return ngx_http_rtbus_sio_fail(sio, reason);
    }

    if ((packet.type == RTBUS_SIO_BINARY_EVENT
         || packet.type == RTBUS_SIO_BINARY_ACK)
        && packet.attachments)
    {
        sio->packet = ngx_alloc(len, eio->carrier->log);
        if (sio->packet == NULL) {
            return ngx_http_rtbus_sio_nomem(sio);
        }

        ngx_memcpy(sio->packet, p, len);
        sio->length = len;
        sio->received = 0;
        sio->attachments = packet.attachments;

        return NGX_OK;
    }

    return ngx_http_rtbus_sio_packet(sio, &packet);
}


/* an attachment, if its packet may become a command */

static ngx_int_t
ngx_http_rtbus_sio_keep(ngx_http_rtbus_sio_t *sio, u_char *p, size_t len)
{
    u_char     *data;
    size_t      size;
    ngx_str_t   src, dst;

    if (sio->eio.carrier->conf->commands == NULL
        || sio->packet[0] != '0' + RTBUS_SIO_BINARY_EVENT)
    {
        return NGX_OK;
    }

    /* ["..."] first, then each time ,"..." in place of the bracket */

    size = sio->binary.len + ngx_base64_encoded_length(len)
           + sizeof("[\"\"]") - 1;

    if (size > sio->room) {
        size = ngx_max(size, 2 * sio->room);

        data = ngx_alloc(size, sio->eio.carrier->log);
        if (data == NULL) {
            return NGX_ERROR;
        }

        if (sio->room) {
            ngx_memcpy(data, sio->binary.data, sio->binary.len);
            ngx_free(sio->binary.data);
        }

        sio->binary.data = data;
        sio->room = size;
    }

    data = sio->binary.data + sio->binary.len;

    if (sio->binary.len) {
        data[-1] = ',';

    } else {
        *data++ = '[';
    }

    *data++ = '"';

    src.len = len;
    src.data = p;
    dst.data = data;

    ngx_encode_base64(&dst, &src);

    data += dst.len;

    *data++ = '"';
    *data++ = ']';

    sio->binary.len = data - sio->binary.data;

    return NGX_OK;
}


/* the end of a binary packet */

static void
ngx_http_rtbus_sio_drop(ngx_http_rtbus_sio_t *sio)
{
    if (sio->packet) {
        ngx_free(sio->packet);
        sio->packet = NULL;
    }

    if (sio->room) {
        ngx_free(sio->binary.data);
        ngx_str_null(&sio->binary);
        sio->room = 0;
    }
}


static ngx_int_t
ngx_http_rtbus_sio_packet(ngx_http_rtbus_sio_t *sio,
    rtbus_sio_packet_t *packet)
{
    ngx_int_t                 rc;
    ngx_http_rtbus_socket_t  *socket;

    socket = ngx_http_rtbus_sio_find(sio, &packet->nsp);

    if (packet->type == RTBUS_SIO_CONNECT) {

        if (socket) {
            return ngx_http_rtbus_sio_fail(sio, "second CONNECT");
        }

        return ngx_http_rtbus_sio_connect(sio, packet);
    }

    if (socket == NULL || socket->connect) {
        return ngx_http_rtbus_sio_fail(sio, "packet without CONNECT");
    }

    switch (packet->type) {

    case RTBUS_SIO_DISCONNECT:
        rc = ngx_http_rtbus_sio_keep_bucket(sio, socket);

        ngx_http_rtbus_sio_end(socket, "client namespace disconnect");

        return (rc == NGX_OK) ? NGX_OK : ngx_http_rtbus_sio_nomem(sio);

    case RTBUS_SIO_EVENT:
    case RTBUS_SIO_BINARY_EVENT:
        return ngx_http_rtbus_sio_event(socket, packet);

    case RTBUS_SIO_ACK:
    case RTBUS_SIO_BINARY_ACK:
        /* no event of ours asks for one */
        return NGX_OK;

    default:
        return ngx_http_rtbus_sio_fail(sio, "unexpected packet");
    }
}


static ngx_int_t
ngx_http_rtbus_sio_connect(ngx_http_rtbus_sio_t *sio,
    rtbus_sio_packet_t *packet)
{
    size_t                      length;
    ngx_int_t                   rc;
    ngx_str_t                   cursor;
    ngx_uint_t                  rate, room;
    const char                 *error;
    rtbus_json_value_t          said;
    rtbus_json_member_t         auth[] = { rtbus_json_member("pid"),
                                           rtbus_json_member("offset"),
                                           rtbus_json_member("token") };
    ngx_http_rtbus_nsp_t       *nsp;
    ngx_http_rtbus_grant_t      grant;
    ngx_http_rtbus_socket_t    *socket;
    ngx_http_rtbus_carrier_t   *car;

    car = sio->eio.carrier;

    rate = car->conf->message_rate;
    room = rate + car->conf->namespaces->nelts;

    if (sio->connects == 0) {
        sio->tokens = room * 1000;
        sio->tokens_at = ngx_current_msec;
    }

    if (packet->json.len
        && rtbus_json_object(car->worker->hub.json, packet->json.data,
                             packet->json.len, auth, 3, &error)
           != RTBUS_OK)
    {
        return ngx_http_rtbus_sio_fail(sio, "bad auth in CONNECT");
    }

    nsp = ngx_http_rtbus_sio_find_nsp(car->conf, &packet->nsp);

    /*
     * What they say is kept as long as that, and what the request says if the
     * request is: one that was given back is made anew for each CONNECT.
     */

    length = packet->json.len;
    rc = NGX_OK;

    if (car->request) {
        length += car->request->request_length;

    } else if (nsp && car->connection == NULL) {
        rc = ngx_http_rtbus_remote_grant(car, &said);

        if (rc == NGX_OK) {
            length += said.raw.len;
        }
    }

    sio->connects += 1 + length / 1024;

    if (sio->connects > NGX_HTTP_RTBUS_SIO_CONNECTS) {
        return ngx_http_rtbus_sio_fail(sio, "too many CONNECT packets");
    }

    if (ngx_http_rtbus_rate_take(&sio->tokens, &sio->tokens_at, rate, room)
        != NGX_OK
        || rc != NGX_OK)
    {
        return ngx_http_rtbus_sio_connect_error(sio, &packet->nsp,
                                                "rate limited", NULL);
    }

    if (nsp == NULL) {
        return ngx_http_rtbus_sio_connect_error(sio, &packet->nsp,
                                                "Invalid namespace", NULL);
    }

    if (car->request || car->connection) {
        rc = ngx_http_rtbus_sio_grant(sio, &auth[2].value, &grant);

    } else {
        rc = ngx_http_rtbus_access_read(car->pool, &said.raw, &grant);
    }

    if (rc == NGX_DECLINED) {
        return ngx_http_rtbus_sio_connect_error(sio, &packet->nsp,
                                                "unauthorized",
                                                grant.id.reason);
    }

    if (rc != NGX_OK) {
        return ngx_http_rtbus_sio_nomem(sio);
    }

    socket = ngx_http_rtbus_sio_socket(sio, nsp);
    if (socket == NULL) {
        return ngx_http_rtbus_sio_nomem(sio);
    }

    if (ngx_http_rtbus_client_init(&socket->client, car,
                                   &ngx_http_rtbus_sio_protocol, &grant)
        != NGX_OK)
    {
        return ngx_http_rtbus_sio_nomem(sio);
    }

    ngx_http_rtbus_sio_take_bucket(sio, socket);

    ngx_str_null(&cursor);

    if (nsp->recovery
        && ngx_http_rtbus_sio_recover(sio, socket, auth, &cursor) == NGX_ERROR)
    {
        return ngx_http_rtbus_sio_nomem(sio);
    }

    if (socket->sid[0] == '\0'
        && ngx_http_rtbus_eio_random(socket->sid, car->log)
           != NGX_OK)
    {
        return ngx_http_rtbus_sio_nomem(sio);
    }

    if (ngx_http_rtbus_sender_auth(&socket->client, &packet->json) != NGX_OK) {
        return ngx_http_rtbus_sio_nomem(sio);
    }

    rc = ngx_http_rtbus_sio_channels(socket, &grant, &cursor, &error);

    if (rc == NGX_ERROR) {
        return ngx_http_rtbus_sio_nomem(sio);
    }

    if (rc != NGX_OK) {
        ngx_http_rtbus_sio_end(socket, error);
        return ngx_http_rtbus_sio_connect_error(sio, &packet->nsp, error,
                                                NULL);
    }

    rc = ngx_http_rtbus_owners_ask(socket->client.hub, &socket->client.user,
                                   &socket->connect->channels,
                                   &socket->connect->refused,
                                   &socket->connect->owners,
                                   ngx_http_rtbus_sio_owners, socket);

    if (rc == NGX_AGAIN) {

        /* what the client sends meanwhile comes after the answer */

        ngx_http_rtbus_carrier_hold(car, NGX_HTTP_RTBUS_HELD_START);
        return NGX_OK;
    }

    if (rc != NGX_OK) {
        return ngx_http_rtbus_sio_nomem(sio);
    }

    return ngx_http_rtbus_sio_connected(socket);
}


/* who leaves a namespace and comes back may send no more than who stays */

static ngx_int_t
ngx_http_rtbus_sio_keep_bucket(ngx_http_rtbus_sio_t *sio,
    ngx_http_rtbus_socket_t *socket)
{
    ngx_array_t  *namespaces;

    namespaces = sio->eio.carrier->conf->namespaces;

    if (sio->buckets == NULL) {
        sio->buckets = ngx_calloc(namespaces->nelts
                                  * sizeof(ngx_http_rtbus_bucket_t),
                                  sio->eio.carrier->log);
        if (sio->buckets == NULL) {
            return NGX_ERROR;
        }
    }

    sio->buckets[socket->nsp - (ngx_http_rtbus_nsp_t *) namespaces->elts]
        = socket->client.bucket;

    return NGX_OK;
}


static void
ngx_http_rtbus_sio_take_bucket(ngx_http_rtbus_sio_t *sio,
    ngx_http_rtbus_socket_t *socket)
{
    ngx_array_t              *namespaces;
    ngx_http_rtbus_bucket_t  *bucket;

    if (sio->buckets == NULL) {
        return;
    }

    namespaces = sio->eio.carrier->conf->namespaces;

    bucket = &sio->buckets[socket->nsp
                           - (ngx_http_rtbus_nsp_t *) namespaces->elts];

    if (bucket->at) {
        socket->client.bucket = *bucket;
    }
}


/* NGX_OK, NGX_DECLINED: *error says why, NGX_ERROR */

static ngx_int_t
ngx_http_rtbus_sio_channels(ngx_http_rtbus_socket_t *socket,
    ngx_http_rtbus_grant_t *grant, ngx_str_t *cursor, const char **error)
{
    ngx_int_t                  rc;
    ngx_str_t                  name;
    ngx_http_rtbus_carrier_t  *car;
    ngx_http_rtbus_connect_t  *connect;

    car = socket->client.carrier;

    connect = ngx_calloc(sizeof(ngx_http_rtbus_connect_t), car->log);
    if (connect == NULL) {
        return NGX_ERROR;
    }

    socket->connect = connect;

again:

    if (ngx_array_init(&connect->channels, car->pool, 1,
                       sizeof(ngx_http_rtbus_channel_t))
        != NGX_OK
        || ngx_array_init(&connect->refused, car->pool, 1, sizeof(ngx_str_t))
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    rc = ngx_http_rtbus_channels(grant, cursor, car->conf->max_channels,
                                 car->log, &connect->channels,
                                 &connect->refused, error, &name);

    if (rc == NGX_OK || rc == NGX_ERROR) {
        return rc;
    }

    if (cursor->len == 0) {
        return NGX_DECLINED;
    }

    /* nothing can be recovered: another socket, from now on */

    ngx_str_null(cursor);

    if (ngx_http_rtbus_eio_random(socket->sid,
                                  socket->client.carrier->log)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    goto again;
}


static void
ngx_http_rtbus_sio_owners(void *data, ngx_int_t rc, ngx_str_t *name)
{
    ngx_http_rtbus_socket_t  *socket = data;

    rtbus_str_t                nsp;
    ngx_http_rtbus_sio_t      *sio;
    ngx_http_rtbus_carrier_t  *car;

    socket->connect->owners = NULL;

    car = socket->client.carrier;
    sio = car->data;

    if (car->closing) {
        return;
    }

    ngx_http_rtbus_carrier_release(car, NGX_HTTP_RTBUS_HELD_START);

    switch (rc) {

    case NGX_OK:
        (void) ngx_http_rtbus_sio_connected(socket);
        break;

    case NGX_DECLINED:
        ngx_http_rtbus_foreign(name, car->log);

        nsp.len = socket->nsp->name.len;
        nsp.data = socket->nsp->name.data;

        ngx_http_rtbus_sio_end(socket, "forbidden");
        (void) ngx_http_rtbus_sio_connect_error(sio, &nsp, "forbidden", NULL);
        break;

    default: /* NGX_ERROR */
        (void) ngx_http_rtbus_sio_nomem(sio);
    }
}


static void
ngx_http_rtbus_sio_connect_done(ngx_http_rtbus_socket_t *socket)
{
    if (socket->connect == NULL) {
        return;
    }

    if (socket->connect->owners) {
        ngx_http_rtbus_owners_cancel(socket->connect->owners);
    }

    ngx_free(socket->connect);
    socket->connect = NULL;
}


static ngx_int_t
ngx_http_rtbus_sio_connected(ngx_http_rtbus_socket_t *socket)
{
    u_char                      *p;
    ngx_int_t                    rc;
    ngx_rtbus_frame_t           *frame;
    rtbus_sio_packet_t           answer;
    ngx_http_rtbus_sio_t        *sio;
    const ngx_http_rtbus_nsp_t  *nsp;
    ngx_http_rtbus_carrier_t    *car;
    u_char                       pid[NGX_HTTP_RTBUS_PID_LEN];

    car = socket->client.carrier;
    sio = car->data;
    nsp = socket->nsp;

    if (ngx_http_rtbus_sio_pid(socket, pid) != NGX_OK) {
        return ngx_http_rtbus_sio_nomem(sio);
    }

    ngx_memzero(&answer, sizeof(rtbus_sio_packet_t));

    answer.type = RTBUS_SIO_CONNECT;

    frame = ngx_http_rtbus_sio_frame(nsp, &answer,
                                     nsp->recovery
                                     ? sizeof("{\"sid\":\"\",\"pid\":\"\"}") - 1
                                       + NGX_HTTP_RTBUS_SID_LEN
                                       + NGX_HTTP_RTBUS_PID_LEN
                                     : sizeof("{\"sid\":\"\"}") - 1
                                       + NGX_HTTP_RTBUS_SID_LEN,
                                     &p);
    if (frame == NULL) {
        return ngx_http_rtbus_sio_nomem(sio);
    }

    if (nsp->recovery) {
        ngx_sprintf(p, "{\"sid\":\"%*s\",\"pid\":\"%*s\"}",
                    (size_t) NGX_HTTP_RTBUS_SID_LEN, socket->sid,
                    (size_t) NGX_HTTP_RTBUS_PID_LEN, pid);
    } else {
        ngx_sprintf(p, "{\"sid\":\"%*s\"}",
                    (size_t) NGX_HTTP_RTBUS_SID_LEN, socket->sid);
    }

    ngx_http_rtbus_carrier_send(car, frame);
    ngx_rtbus_frame_unref(frame);

    sio->eio.wanted = 1;

    socket->client.sid.len = NGX_HTTP_RTBUS_SID_LEN;
    socket->client.sid.data = socket->sid;
    socket->client.nsp = &nsp->name;

    rc = ngx_http_rtbus_client_start(&socket->client,
                                     &socket->connect->channels,
                                     &socket->connect->refused);

    ngx_http_rtbus_sio_connect_done(socket);

    return (rc == NGX_OK) ? NGX_OK : ngx_http_rtbus_sio_nomem(sio);
}


/* a socket whose client is yet to be set up */

static ngx_http_rtbus_socket_t *
ngx_http_rtbus_sio_socket(ngx_http_rtbus_sio_t *sio, ngx_http_rtbus_nsp_t *nsp)
{
    ngx_http_rtbus_socket_t  *socket;

    socket = ngx_calloc(sizeof(ngx_http_rtbus_socket_t),
                        sio->eio.carrier->log);
    if (socket == NULL) {
        return NULL;
    }

    socket->nsp = nsp;
    ngx_queue_insert_tail(&sio->sockets, &socket->queue);

    socket->client.format = &nsp->format;
    socket->client.bare = !nsp->recovery;
    socket->client.keeps = nsp->recovery;

    return socket;
}


static ngx_int_t
ngx_http_rtbus_sio_connect_error(ngx_http_rtbus_sio_t *sio, rtbus_str_t *nsp,
    const char *message, const char *reason)
{
    u_char              *p;
    size_t               len;
    ngx_rtbus_frame_t   *frame;
    rtbus_sio_packet_t   answer;

    ngx_log_error(NGX_LOG_INFO, sio->eio.carrier->log, 0,
                  "client is refused by Socket.IO: %s", message);

    ngx_rtbus_stat_refused(sio->eio.carrier->worker->hub.stat, message, 0);

    ngx_memzero(&answer, sizeof(rtbus_sio_packet_t));

    answer.type = RTBUS_SIO_CONNECT_ERROR;
    answer.nsp = *nsp;

    len = sizeof("{\"message\":\"\"}") - 1 + ngx_strlen(message);

    if (reason) {
        len += sizeof(",\"data\":{\"reason\":\"\"}") - 1 + ngx_strlen(reason);
    }

    frame = ngx_http_rtbus_sio_frame(NULL, &answer, len, &p);
    if (frame == NULL) {
        return ngx_http_rtbus_sio_nomem(sio);
    }

    p = ngx_sprintf(p, "{\"message\":\"%s\"", message);

    if (reason) {
        p = ngx_sprintf(p, ",\"data\":{\"reason\":\"%s\"}", reason);
    }

    *p = '}';

    ngx_http_rtbus_carrier_send(sio->eio.carrier, frame);
    ngx_rtbus_frame_unref(frame);

    return NGX_OK;
}


/*
 * What the client is granted, by the token of auth or else the one of the
 * request.
 */

static ngx_int_t
ngx_http_rtbus_sio_grant(ngx_http_rtbus_sio_t *sio,
    rtbus_json_value_t *token, ngx_http_rtbus_grant_t *grant)
{
    ngx_http_rtbus_carrier_t  *car;

    car = sio->eio.carrier;

    if (car->request == NULL && car->transport->unpark(car) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_rtbus_sio_request_grant(car->request, token, grant);
}


static ngx_int_t
ngx_http_rtbus_sio_request_grant(ngx_http_request_t *r,
    rtbus_json_value_t *value, ngx_http_rtbus_grant_t *grant)
{
    ngx_str_t  token;

    if (value->type != RTBUS_JSON_STRING) {
        return ngx_http_rtbus_grant(r, NULL, grant);
    }

    token.data = ngx_pnalloc(r->pool, value->raw.len);
    if (token.data == NULL) {
        return NGX_ERROR;
    }

    token.len = rtbus_json_unquote(token.data, &value->raw);

    return ngx_http_rtbus_grant(r, &token, grant);
}


/* the same for a session of another worker; all that it can see is packets */

static ngx_int_t
ngx_http_rtbus_sio_relay_grant(ngx_http_request_t *r, u_char *p, size_t len,
    ngx_http_rtbus_text_t *text)
{
    ngx_int_t                   rc;
    const char                 *reason;
    rtbus_sio_packet_t          packet;
    rtbus_json_member_t         auth[] = { rtbus_json_member("token") };
    ngx_http_rtbus_grant_t      grant;
    ngx_http_rtbus_loc_conf_t  *rlcf;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    if (rtbus_sio_parse(&packet, p, len, &reason) != RTBUS_OK
        || packet.type != RTBUS_SIO_CONNECT
        || ngx_http_rtbus_sio_find_nsp(rlcf, &packet.nsp) == NULL)
    {
        return NGX_DECLINED;
    }

    if (packet.json.len
        && rtbus_json_object(rlcf->bus->worker->hub.json, packet.json.data,
                             packet.json.len, auth, 1, &reason)
           != RTBUS_OK)
    {
        return NGX_DECLINED;
    }

    rc = ngx_http_rtbus_sio_request_grant(r, &auth[0].value, &grant);

    if (rc == NGX_ERROR) {
        text->failed = 1;
        return NGX_OK;
    }

    ngx_http_rtbus_text_lit(text, ",");

    if (rc == NGX_DECLINED) {
        ngx_http_rtbus_access_refuse(text, &grant);
        return NGX_OK;
    }

    ngx_http_rtbus_access_write(text, &grant);

    return NGX_OK;
}


/*
 * The old sid and the cursor, if the pid proves that the sid was this client's.
 * Without that, or without a cursor, it is a new socket.
 */

static ngx_int_t
ngx_http_rtbus_sio_recover(ngx_http_rtbus_sio_t *sio,
    ngx_http_rtbus_socket_t *socket, rtbus_json_member_t *auth,
    ngx_str_t *cursor)
{
    rtbus_str_t                *raw;
    ngx_http_rtbus_carrier_t   *car;
    u_char                      pid[NGX_HTTP_RTBUS_PID_LEN];
    u_char                      mine[NGX_HTTP_RTBUS_PID_LEN];

    car = sio->eio.carrier;

    raw = &auth[0].value.raw;

    if (auth[0].value.type != RTBUS_JSON_STRING
        || rtbus_json_unquote(NULL, raw) != NGX_HTTP_RTBUS_PID_LEN
        || auth[1].value.type != RTBUS_JSON_STRING
        || auth[1].value.raw.len == 2)
    {
        return NGX_DECLINED;
    }

    rtbus_json_unquote(pid, raw);

    ngx_memcpy(socket->sid, pid, NGX_HTTP_RTBUS_SID_LEN);

    if (ngx_http_rtbus_sio_pid(socket, mine) != NGX_OK) {
        return NGX_ERROR;
    }

    if (CRYPTO_memcmp(pid, mine, NGX_HTTP_RTBUS_PID_LEN) != 0) {
        ngx_log_error(NGX_LOG_INFO, car->log, 0,
                      "client sent a pid that proves nothing");

        ngx_memzero(socket->sid, NGX_HTTP_RTBUS_SID_LEN);
        return NGX_DECLINED;
    }

    raw = &auth[1].value.raw;

    cursor->data = ngx_pnalloc(car->pool, raw->len);
    if (cursor->data == NULL) {
        return NGX_ERROR;
    }

    cursor->len = rtbus_json_unquote(cursor->data, raw);

    return NGX_OK;
}


/* "<sid>.<HMAC of namespace, user and sid>" */

static ngx_int_t
ngx_http_rtbus_sio_pid(ngx_http_rtbus_socket_t *socket, u_char *pid)
{
    u_char                    *p;
    ngx_int_t                  rc;
    ngx_str_t                  text, raw, mac, *user;
    ngx_http_rtbus_carrier_t  *car;
    u_char                     md[NGX_HTTP_RTBUS_CRYPTO_MAC];

    car = socket->client.carrier;
    user = &socket->client.user;

    text.len = socket->nsp->name.len + 1 + user->len + 1
               + NGX_HTTP_RTBUS_SID_LEN;

    text.data = ngx_alloc(text.len, car->log);
    if (text.data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_cpymem(text.data, socket->nsp->name.data, socket->nsp->name.len);
    *p++ = '\0';

    if (user->len) {
        p = ngx_cpymem(p, user->data, user->len);
    }

    *p++ = '\0';
    ngx_memcpy(p, socket->sid, NGX_HTTP_RTBUS_SID_LEN);

    rc = ngx_http_rtbus_crypto_mac(md, &text, car->log);

    ngx_free(text.data);

    if (rc != NGX_OK) {
        return NGX_ERROR;
    }

    p = ngx_cpymem(pid, socket->sid, NGX_HTTP_RTBUS_SID_LEN);
    *p++ = '.';

    raw.data = md;
    raw.len = NGX_HTTP_RTBUS_PID_MAC;
    mac.data = p;

    ngx_encode_base64url(&mac, &raw);

    return NGX_OK;
}


static ngx_int_t
ngx_http_rtbus_sio_event(ngx_http_rtbus_socket_t *socket,
    rtbus_sio_packet_t *packet)
{
    u_char                  *last;
    size_t                   n;
    ngx_int_t                rc;
    const char              *reason;
    rtbus_str_t              binary;
    rtbus_event_t            event;
    rtbus_json_value_t       args[2];
    ngx_http_rtbus_sio_t    *sio;
    ngx_http_rtbus_input_t   in;

    sio = socket->client.carrier->data;

    n = 2;

    rc = rtbus_json_array(socket->client.hub->json, packet->json.data,
                          packet->json.len, args, &n, &reason);

    /* the client may have a queue behind it that waits for an answer */

    if (rc != RTBUS_OK && ngx_strcmp(reason, "nested too deep") == 0) {
        return ngx_http_rtbus_sio_malformed(socket, packet, "nested too deep");
    }

    if (rc != RTBUS_OK) {
        return ngx_http_rtbus_sio_fail(sio, reason);
    }

    if (n == 0 || (args[0].type != RTBUS_JSON_STRING
                   && args[0].type != RTBUS_JSON_NUMBER))
    {
        return ngx_http_rtbus_sio_fail(sio, "no event name");
    }

    if (rtbus_event_name(&event, &args[0].raw, &reason) != RTBUS_OK) {

        if (ngx_strcmp(reason, "reserved event name") == 0) {
            /* no stock client can send it */
            return ngx_http_rtbus_sio_fail(sio, reason);
        }

        return ngx_http_rtbus_sio_malformed(socket, packet, "bad event name");
    }

    if (sio->binary.len) {
        binary.data = sio->binary.data;
        binary.len = sio->binary.len;

        reason = rtbus_attachments_check(&binary, &packet->json);

        if (reason) {
            return ngx_http_rtbus_sio_malformed(socket, packet, reason);
        }
    }

    ngx_memzero(&in, sizeof(ngx_http_rtbus_input_t));

    in.name.len = event.name.len;
    in.name.data = event.name.data;

    if (n > 1) {
        in.data.len = args[1].raw.len;
        in.data.data = args[1].raw.data;

        /* up to the bracket, which white space may follow */

        last = packet->json.data + packet->json.len;

        while (*--last != ']') { /* void */ }

        in.args.len = last - args[1].raw.data;
        in.args.data = args[1].raw.data;
    }

    in.attachments = sio->binary;

    rc = ngx_http_rtbus_inbox(&socket->client, &in,
                              packet->has_ack ? &packet->ack : NULL);

    return (rc == NGX_OK) ? NGX_OK : ngx_http_rtbus_sio_nomem(sio);
}


static ngx_int_t
ngx_http_rtbus_sio_malformed(ngx_http_rtbus_socket_t *socket,
    rtbus_sio_packet_t *packet, const char *error)
{
    ngx_int_t  rc;

    rc = ngx_http_rtbus_inbox_malformed(&socket->client, error,
                                        packet->has_ack ? &packet->ack : NULL);

    return (rc == NGX_OK) ? NGX_OK
              : ngx_http_rtbus_sio_nomem(socket->client.carrier->data);
}


static ngx_http_rtbus_nsp_t *
ngx_http_rtbus_sio_find_nsp(ngx_http_rtbus_loc_conf_t *conf, rtbus_str_t *name)
{
    ngx_uint_t             i;
    ngx_http_rtbus_nsp_t  *nsp;

    nsp = conf->namespaces->elts;

    for (i = 0; i < conf->namespaces->nelts; i++) {
        if (nsp[i].name.len == name->len
            && ngx_memcmp(nsp[i].name.data, name->data, name->len) == 0)
        {
            return &nsp[i];
        }
    }

    return NULL;
}


static ngx_http_rtbus_socket_t *
ngx_http_rtbus_sio_find(ngx_http_rtbus_sio_t *sio, rtbus_str_t *nsp)
{
    ngx_queue_t              *q;
    ngx_http_rtbus_socket_t  *socket;

    for (q = ngx_queue_head(&sio->sockets);
         q != ngx_queue_sentinel(&sio->sockets);
         q = ngx_queue_next(q))
    {
        socket = ngx_queue_data(q, ngx_http_rtbus_socket_t, queue);

        if (socket->nsp->name.len == nsp->len
            && ngx_memcmp(socket->nsp->name.data, nsp->data, nsp->len) == 0)
        {
            return socket;
        }
    }

    return NULL;
}


static ngx_int_t
ngx_http_rtbus_sio_fail(ngx_http_rtbus_sio_t *sio, const char *reason)
{
    ngx_http_rtbus_carrier_close(sio->eio.carrier,
                                 RTBUS_WS_PROTOCOL_ERROR, reason);

    return NGX_ERROR;
}


static ngx_int_t
ngx_http_rtbus_sio_nomem(ngx_http_rtbus_sio_t *sio)
{
    ngx_http_rtbus_carrier_close(sio->eio.carrier, RTBUS_WS_INTERNAL,
                                 "no memory");

    return NGX_ERROR;
}


/* a frame with the packet's header; len bytes of JSON are to follow at *p */

static ngx_rtbus_frame_t *
ngx_http_rtbus_sio_frame(const ngx_http_rtbus_nsp_t *nsp,
    rtbus_sio_packet_t *packet, size_t len, u_char **p)
{
    size_t              n;
    ngx_rtbus_frame_t  *frame;

    if (nsp) {
        packet->nsp.len = nsp->name.len;
        packet->nsp.data = nsp->name.data;
    }

    n = rtbus_sio_write_header(NULL, packet);

    frame = ngx_http_rtbus_eio_frame(n + len);

    if (frame) {
        *p = frame->data + frame->payload + 1;
        *p += rtbus_sio_write_header(*p, packet);
    }

    return frame;
}


static ngx_rtbus_frame_t *
ngx_http_rtbus_sio_encode(const ngx_rtbus_format_t *format,
    ngx_rtbus_msg_t *msg)
{
    u_char     *p;
    ngx_str_t   cursor;
    u_char      buf[RTBUS_CHANNEL_MAX + 1 + RTBUS_POSITION_MAX];

    p = ngx_cpymem(buf, msg->channel.data, msg->channel.len);
    *p++ = '@';
    p += rtbus_pos_write(p, msg->pos);

    cursor.data = buf;
    cursor.len = p - buf;

    return ngx_http_rtbus_sio_emit((const ngx_http_rtbus_nsp_t *) format,
                                   msg->event, &cursor);
}


/* ["<name>",<data>,"<channel>@<position>"] */

static ngx_rtbus_frame_t *
ngx_http_rtbus_sio_emit(const ngx_http_rtbus_nsp_t *nsp, rtbus_event_t *event,
    ngx_str_t *cursor)
{
    u_char              *p;
    size_t               len;
    rtbus_str_t          data, *name;
    ngx_rtbus_frame_t   *frame;
    rtbus_sio_packet_t   packet;

    name = &event->name_json;

    if (event->args.len) {
        data = ngx_http_rtbus_sio_elements(&event->args);

    } else {
        data = event->data;

        if (data.len == 0) {
            data.data = (u_char *) "null";
            data.len = 4;
        }
    }

    ngx_memzero(&packet, sizeof(rtbus_sio_packet_t));

    packet.attachments = ngx_http_rtbus_sio_count(&event->attachments);
    packet.type = packet.attachments ? RTBUS_SIO_BINARY_EVENT
                                     : RTBUS_SIO_EVENT;

    len = sizeof("[]") - 1 + name->len;

    if (data.len) {
        len += 1 + data.len;
    }

    if (nsp->recovery) {
        len += sizeof(",\"\"") - 1 + cursor->len;
    }

    frame = ngx_http_rtbus_sio_frame(nsp, &packet, len, &p);
    if (frame == NULL) {
        return NULL;
    }

    *p++ = '[';
    p = ngx_cpymem(p, name->data, name->len);

    if (data.len) {
        *p++ = ',';
        p = ngx_cpymem(p, data.data, data.len);
    }

    if (nsp->recovery) {
        *p++ = ',';
        *p++ = '"';
        p = ngx_cpymem(p, cursor->data, cursor->len);

        frame->cursor = p - frame->data;

        *p++ = '"';
    }

    *p = ']';

    if (packet.attachments
        && ngx_http_rtbus_sio_attach(&frame, &event->attachments) != NGX_OK)
    {
        ngx_rtbus_frame_unref(frame);
        return NULL;
    }

    return frame;
}


/* what is between the brackets of an array; empty if that is just space */

static rtbus_str_t
ngx_http_rtbus_sio_elements(const rtbus_str_t *array)
{
    rtbus_str_t          elements;
    const uint8_t       *pos;
    rtbus_json_value_t   value;

    elements.data = array->data + 1;
    elements.len = array->len - 2;

    pos = NULL;

    if (rtbus_json_next(&value, &pos, array) != RTBUS_OK) {
        elements.len = 0;
    }

    return elements;
}


static ngx_uint_t
ngx_http_rtbus_sio_count(const rtbus_str_t *array)
{
    ngx_uint_t           n;
    const uint8_t       *pos;
    rtbus_json_value_t   value;

    n = 0;
    pos = NULL;

    while (array->len && rtbus_json_next(&value, &pos, array) == RTBUS_OK) {
        n++;
    }

    return n;
}


/* puts the attachments behind the packet, a binary WebSocket frame each */

static ngx_int_t
ngx_http_rtbus_sio_attach(ngx_rtbus_frame_t **frame,
    const rtbus_str_t *attachments)
{
    u_char              *p, *header;
    size_t               len;
    ngx_str_t            src, dst;
    const uint8_t       *pos;
    ngx_rtbus_frame_t   *old, *new;
    rtbus_json_value_t   value;

    old = *frame;

    /* base64 is longer than what it says, even with a frame's header */

    len = old->len;
    pos = NULL;

    while (rtbus_json_next(&value, &pos, attachments) == RTBUS_OK) {
        len += RTBUS_WS_MAX_HEADER + value.raw.len;
    }

    new = ngx_rtbus_frame_create(len);
    if (new == NULL) {
        return NGX_ERROR;
    }

    p = ngx_cpymem(new->data, old->data, old->len);
    pos = NULL;

    while (rtbus_json_next(&value, &pos, attachments) == RTBUS_OK) {

        /* decoded behind the longest header, then moved up to its own */

        header = p + RTBUS_WS_MAX_HEADER;

        src.data = header;
        src.len = rtbus_json_unquote(header, &value.raw);
        dst.data = header;

        if (ngx_decode_base64(&dst, &src) != NGX_OK) {
            /* something has to be in its place */
            dst.len = 0;
        }

        p = rtbus_ws_write_header(p, RTBUS_WS_BINARY, dst.len);
        p = ngx_movemem(p, header, dst.len);
    }

    new->payload = old->payload;
    new->cursor = old->cursor;
    new->tail = p - new->data - old->len;
    new->len = p - new->data;

    ngx_rtbus_frame_unref(old);
    *frame = new;

    return NGX_OK;
}


static ngx_int_t
ngx_http_rtbus_sio_ack(ngx_http_rtbus_client_t *cli, uint64_t id,
    ngx_str_t *data)
{
    rtbus_str_t  args, attachments;

    args.len = data->len;
    args.data = data->data;
    attachments.len = 0;

    return ngx_http_rtbus_sio_send_ack(cli, id, &args, &attachments);
}


static ngx_int_t
ngx_http_rtbus_sio_answer(ngx_http_rtbus_client_t *cli, uint64_t id,
    rtbus_json_value_t *data, rtbus_str_t *attachments)
{
    rtbus_str_t  args;

    args = (data->type == RTBUS_JSON_ARRAY)
           ? ngx_http_rtbus_sio_elements(&data->raw) : data->raw;

    return ngx_http_rtbus_sio_send_ack(cli, id, &args, attachments);
}


/* args: with commas and without brackets */

static ngx_int_t
ngx_http_rtbus_sio_send_ack(ngx_http_rtbus_client_t *cli, uint64_t id,
    rtbus_str_t *args, rtbus_str_t *attachments)
{
    u_char                   *p;
    ngx_rtbus_frame_t        *frame;
    rtbus_sio_packet_t        packet;
    ngx_http_rtbus_socket_t  *socket;

    socket = (ngx_http_rtbus_socket_t *) cli;

    ngx_memzero(&packet, sizeof(rtbus_sio_packet_t));

    packet.attachments = ngx_http_rtbus_sio_count(attachments);
    packet.type = packet.attachments ? RTBUS_SIO_BINARY_ACK : RTBUS_SIO_ACK;
    packet.has_ack = 1;
    packet.ack = id;

    frame = ngx_http_rtbus_sio_frame(socket->nsp, &packet,
                                     args->len + sizeof("[]") - 1, &p);
    if (frame == NULL) {
        return NGX_ERROR;
    }

    *p++ = '[';

    if (args->len) {
        p = ngx_cpymem(p, args->data, args->len);
    }

    *p = ']';

    if (packet.attachments
        && ngx_http_rtbus_sio_attach(&frame, attachments) != NGX_OK)
    {
        ngx_rtbus_frame_unref(frame);
        return NGX_ERROR;
    }

    ngx_http_rtbus_carrier_send(cli->carrier, frame);
    ngx_rtbus_frame_unref(frame);

    return NGX_OK;
}


static ngx_rtbus_frame_t *
ngx_http_rtbus_sio_own_event(ngx_http_rtbus_client_t *cli,
    rtbus_event_t *event, ngx_str_t *channel, ngx_str_t *cursor)
{
    ngx_http_rtbus_socket_t  *socket;

    socket = (ngx_http_rtbus_socket_t *) cli;

    return ngx_http_rtbus_sio_emit(socket->nsp, event, cursor);
}


char *
ngx_http_rtbus_conf_namespaces(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_rtbus_loc_conf_t *rlcf = conf;

    u_char                *p;
    ngx_str_t             *value;
    ngx_uint_t             i, j;
    ngx_http_rtbus_nsp_t  *nsp, *other;

    if (rlcf->namespaces != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    rlcf->namespaces = ngx_array_create(cf->pool, cf->args->nelts - 1,
                                        sizeof(ngx_http_rtbus_nsp_t));
    if (rlcf->namespaces == NULL) {
        return NGX_CONF_ERROR;
    }

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        if (value[i].len == 0 || value[i].data[0] != '/'
            || value[i].len > RTBUS_SIO_MAX_NSP)
        {
            goto invalid;
        }

        for (p = value[i].data; p < value[i].data + value[i].len; p++) {
            if (*p <= ' ' || *p >= 0x7f || *p == ',' || *p == '?'
                || *p == '"' || *p == '\\')
            {
                goto invalid;
            }
        }

        other = rlcf->namespaces->elts;

        for (j = 0; j < rlcf->namespaces->nelts; j++) {
            if (other[j].name.len == value[i].len
                && ngx_strncmp(other[j].name.data, value[i].data,
                               value[i].len)
                   == 0)
            {
                ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                                   "duplicate namespace \"%V\"", &value[i]);
                return NGX_CONF_ERROR;
            }
        }

        nsp = ngx_array_push(rlcf->namespaces);
        if (nsp == NULL) {
            return NGX_CONF_ERROR;
        }

        nsp->name = value[i];
    }

    return NGX_CONF_OK;

invalid:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid namespace \"%V\", it must begin with \"/\"",
                       &value[i]);
    return NGX_CONF_ERROR;
}


/* a location's own copy, since how events are written is the location's */

ngx_int_t
ngx_http_rtbus_sio_merge(ngx_conf_t *cf,
    ngx_http_rtbus_loc_conf_t *conf)
{
    ngx_uint_t             i;
    ngx_array_t           *from;
    ngx_http_rtbus_nsp_t  *nsp, *src;

    from = conf->namespaces;

    conf->namespaces = ngx_array_create(cf->pool, 1,
                                        sizeof(ngx_http_rtbus_nsp_t));
    if (conf->namespaces == NULL) {
        return NGX_ERROR;
    }

    if (from == NGX_CONF_UNSET_PTR) {

        nsp = ngx_array_push(conf->namespaces);
        if (nsp == NULL) {
            return NGX_ERROR;
        }

        ngx_str_set(&nsp->name, "/");
        ngx_http_rtbus_sio_nsp(nsp, conf->recovery);

        return NGX_OK;
    }

    src = from->elts;

    for (i = 0; i < from->nelts; i++) {

        nsp = ngx_array_push(conf->namespaces);
        if (nsp == NULL) {
            return NGX_ERROR;
        }

        nsp->name = src[i].name;
        ngx_http_rtbus_sio_nsp(nsp, conf->recovery);
    }

    return NGX_OK;
}
