
#include "ngx_http_rtbus_sio.h"
#include "ngx_http_rtbus_client_life.h"
#include "ngx_http_rtbus_eio_request.h"
#include "ngx_http_rtbus_inbox.h"
#include "ngx_http_rtbus_sio_connect.h"
#include "ngx_http_rtbus_sio_move.h"
#include "ngx_http_rtbus_sio_write.h"
#include "ngx_http_rtbus_subs.h"
#include "rtbus_attachments.h"


#define NGX_HTTP_RTBUS_SIO_TIMEOUT  45000  /* ms to connect to a namespace */


static void ngx_http_rtbus_sio_create(ngx_http_rtbus_eio_t *eio,
    ngx_http_rtbus_carrier_t *car);
static void ngx_http_rtbus_sio_room(ngx_http_rtbus_carrier_t *car);
static void ngx_http_rtbus_sio_leave(ngx_http_rtbus_carrier_t *car);
static void ngx_http_rtbus_sio_ended(ngx_http_rtbus_carrier_t *car);
static ngx_uint_t ngx_http_rtbus_sio_settled(ngx_http_rtbus_carrier_t *car);
static void ngx_http_rtbus_sio_tick(ngx_http_rtbus_eio_t *eio);
static void ngx_http_rtbus_sio_switched(ngx_http_rtbus_eio_t *eio);
static ngx_int_t ngx_http_rtbus_sio_message(ngx_http_rtbus_eio_t *eio,
    u_char *p, size_t len, ngx_uint_t binary);
static ngx_int_t ngx_http_rtbus_sio_keep(ngx_http_rtbus_sio_t *sio, u_char *p,
    size_t len);
static ngx_int_t ngx_http_rtbus_sio_packet(ngx_http_rtbus_sio_t *sio,
    rtbus_sio_packet_t *packet);
static ngx_int_t ngx_http_rtbus_sio_event(ngx_http_rtbus_socket_t *socket,
    rtbus_sio_packet_t *packet);
static ngx_int_t ngx_http_rtbus_sio_malformed(ngx_http_rtbus_socket_t *socket,
    rtbus_sio_packet_t *packet, ngx_uint_t error);


static const ngx_http_rtbus_eio_handlers_t  ngx_http_rtbus_sio_handlers = {
    sizeof(ngx_http_rtbus_sio_t),
    ngx_http_rtbus_sio_create,
    ngx_http_rtbus_sio_message,
    ngx_http_rtbus_sio_tick,
    ngx_http_rtbus_sio_relay_grant,
    ngx_http_rtbus_sio_switched,
    ngx_http_rtbus_sio_move_channels,
    ngx_http_rtbus_sio_move_hold,
    ngx_http_rtbus_sio_move_export,
    ngx_http_rtbus_sio_move_import
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

    ngx_queue_t              *q;
    ngx_http_rtbus_socket_t  *socket;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, car->log, 0,
                   "rtbus sio ends, connects:%ui", sio->connects);

    while (!ngx_queue_empty(&sio->sockets)) {
        q = ngx_queue_head(&sio->sockets);
        socket = ngx_queue_data(q, ngx_http_rtbus_socket_t, queue);

        ngx_http_rtbus_sio_socket_end(socket,
                                      ngx_http_rtbus_carrier_reason(car));
    }

    ngx_http_rtbus_sio_drop(sio);

    if (sio->buckets) {
        ngx_free(sio->buckets);
        sio->buckets = NULL;
    }
}


/* the request is needed again for the next CONNECT only */

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

        if (socket->connect
            || socket->client.state == NGX_HTTP_RTBUS_CLIENT_STARTING)
        {
            return 0;
        }
    }

    return 1;
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
ngx_http_rtbus_sio_switched(ngx_http_rtbus_eio_t *eio)
{
    ngx_queue_t              *q;
    ngx_http_rtbus_sio_t     *sio;
    ngx_http_rtbus_socket_t  *socket;

    sio = (ngx_http_rtbus_sio_t *) eio;

    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, eio->carrier->log, 0,
                   "rtbus sio goes on with another carrier");

    for (q = ngx_queue_head(&sio->sockets);
         q != ngx_queue_sentinel(&sio->sockets);
         q = ngx_queue_next(q))
    {
        socket = ngx_queue_data(q, ngx_http_rtbus_socket_t, queue);
        socket->client.carrier = eio->carrier;
    }
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

        sio->attachments--;

        ngx_log_debug3(NGX_LOG_DEBUG_HTTP, eio->carrier->log, 0,
                       "rtbus sio attachment len:%uz of:%uz left:%ui",
                       len, sio->received, sio->attachments);

        if (sio->attachments) {
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


static ngx_int_t
ngx_http_rtbus_sio_packet(ngx_http_rtbus_sio_t *sio,
    rtbus_sio_packet_t *packet)
{
    ngx_int_t                 rc;
    ngx_http_rtbus_socket_t  *socket;

    socket = ngx_http_rtbus_sio_find(sio, &packet->nsp);

    ngx_log_debug4(NGX_LOG_DEBUG_HTTP, sio->eio.carrier->log, 0,
                   "rtbus sio packet type:%d len:%uz socket:%d ack:%d",
                   packet->type, packet->json.len, socket != NULL,
                   packet->has_ack);

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

        ngx_http_rtbus_sio_socket_end(socket, "client namespace disconnect");

        return (rc == NGX_OK) ? NGX_OK : ngx_http_rtbus_sio_nomem(sio);

    case RTBUS_SIO_EVENT:
    case RTBUS_SIO_BINARY_EVENT:
        return ngx_http_rtbus_sio_event(socket, packet);

    case RTBUS_SIO_ACK:
    case RTBUS_SIO_BINARY_ACK:
        /* none of our events asks for an acknowledgement */
        return NGX_OK;

    default:
        return ngx_http_rtbus_sio_fail(sio, "unexpected packet");
    }
}


static ngx_int_t
ngx_http_rtbus_sio_event(ngx_http_rtbus_socket_t *socket,
    rtbus_sio_packet_t *packet)
{
    u_char                  *last;
    size_t                   n;
    ngx_int_t                rc;
    rtbus_reason_e           reason;
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

    if (rc != RTBUS_OK && reason == RTBUS_REASON_DEPTH) {
        return ngx_http_rtbus_sio_malformed(socket, packet, RTBUS_REASON_DEPTH);
    }

    if (rc != RTBUS_OK) {
        return ngx_http_rtbus_sio_fail(sio, rtbus_reason_text(reason));
    }

    if (n == 0 || (args[0].type != RTBUS_JSON_STRING
                   && args[0].type != RTBUS_JSON_NUMBER))
    {
        return ngx_http_rtbus_sio_fail(sio, "no event name");
    }

    if (rtbus_event_name(&event, &args[0].raw, &reason) != RTBUS_OK) {

        if (reason == RTBUS_REASON_NAME_RESERVED) {
            /* no stock client can send it */
            return ngx_http_rtbus_sio_fail(sio, rtbus_reason_text(reason));
        }

        return ngx_http_rtbus_sio_malformed(socket, packet,
                                            NGX_RTBUS_REASON_EVENT_NAME);
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
    rtbus_sio_packet_t *packet, ngx_uint_t error)
{
    ngx_int_t  rc;

    rc = ngx_http_rtbus_inbox_malformed(&socket->client, error,
                                        packet->has_ack ? &packet->ack : NULL);

    return (rc == NGX_OK) ? NGX_OK
              : ngx_http_rtbus_sio_nomem(socket->client.carrier->data);
}


char *
ngx_http_rtbus_conf_namespaces(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_rtbus_loc_conf_t  *rlcf = conf;

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
