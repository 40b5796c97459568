
#include "ngx_http_rtbus_sio_connect.h"
#include "ngx_http_rtbus_client_life.h"
#include "ngx_http_rtbus_crypto.h"
#include "ngx_http_rtbus_rate.h"
#include "ngx_http_rtbus_remote.h"
#include "ngx_http_rtbus_sender.h"
#include "ngx_http_rtbus_sio_write.h"
#include <openssl/crypto.h>


#define NGX_HTTP_RTBUS_SIO_CONNECTS  1000   /* CONNECT packets of a session, a
                                               KiB of one as one */

/* "<sid>.<HMAC>", the latter 16 bytes in base64url */
#define NGX_HTTP_RTBUS_PID_MAC       16
#define NGX_HTTP_RTBUS_PID_LEN       (NGX_HTTP_RTBUS_SID_LEN + 1 + 22)


static ngx_int_t ngx_http_rtbus_sio_connect_count(ngx_http_rtbus_sio_t *sio,
    rtbus_sio_packet_t *packet, ngx_http_rtbus_nsp_t *nsp,
    rtbus_json_value_t *said);
static ngx_http_rtbus_socket_t *ngx_http_rtbus_sio_connect_socket(
    ngx_http_rtbus_sio_t *sio, ngx_http_rtbus_nsp_t *nsp,
    rtbus_sio_packet_t *packet, rtbus_json_member_t *auth,
    ngx_http_rtbus_grant_t *grant, ngx_str_t *cursor);
static ngx_int_t ngx_http_rtbus_sio_connect_channels(
    ngx_http_rtbus_socket_t *socket, ngx_http_rtbus_grant_t *grant,
    ngx_str_t *cursor, ngx_uint_t *error);
static void ngx_http_rtbus_sio_connect_owners(void *data, ngx_int_t rc,
    ngx_str_t *name);
static ngx_int_t ngx_http_rtbus_sio_connected(ngx_http_rtbus_socket_t *socket);
static ngx_int_t ngx_http_rtbus_sio_connect_error(ngx_http_rtbus_sio_t *sio,
    rtbus_str_t *nsp, ngx_uint_t error, const char *reason);
static ngx_int_t ngx_http_rtbus_sio_grant(ngx_http_rtbus_sio_t *sio,
    rtbus_json_value_t *token, ngx_http_rtbus_grant_t *grant);
static ngx_int_t ngx_http_rtbus_sio_request_grant(ngx_http_request_t *r,
    rtbus_json_value_t *value, ngx_http_rtbus_grant_t *grant);
static ngx_int_t ngx_http_rtbus_sio_recover(ngx_http_rtbus_sio_t *sio,
    ngx_http_rtbus_socket_t *socket, rtbus_json_member_t *auth,
    ngx_str_t *cursor);
static ngx_int_t ngx_http_rtbus_sio_pid(ngx_http_rtbus_socket_t *socket,
    u_char *pid);


ngx_int_t
ngx_http_rtbus_sio_connect(ngx_http_rtbus_sio_t *sio,
    rtbus_sio_packet_t *packet)
{
    ngx_int_t                  rc;
    ngx_str_t                  cursor;
    ngx_uint_t                 error;
    rtbus_reason_e             reason;
    rtbus_json_value_t         said;
    rtbus_json_member_t        auth[] = { rtbus_json_member("pid"),
                                          rtbus_json_member("offset"),
                                          rtbus_json_member("token") };
    ngx_http_rtbus_nsp_t      *nsp;
    ngx_http_rtbus_grant_t     grant;
    ngx_http_rtbus_socket_t   *socket;
    ngx_http_rtbus_carrier_t  *car;

    car = sio->eio.carrier;

    if (packet->json.len
        && rtbus_json_object(car->worker->hub.json, packet->json.data,
                             packet->json.len, auth, 3, &reason)
           != RTBUS_OK)
    {
        return ngx_http_rtbus_sio_fail(sio, "bad auth in CONNECT");
    }

    nsp = ngx_http_rtbus_sio_find_nsp(car->conf, &packet->nsp);

    rc = ngx_http_rtbus_sio_connect_count(sio, packet, nsp, &said);

    if (rc == NGX_ERROR) {
        return NGX_ERROR;
    }

    if (rc != NGX_OK) {
        return ngx_http_rtbus_sio_connect_error(sio, &packet->nsp,
                                                NGX_RTBUS_REASON_RATE, NULL);
    }

    if (nsp == NULL) {
        return ngx_http_rtbus_sio_connect_error(sio, &packet->nsp,
                                                NGX_RTBUS_REASON_NAMESPACE,
                                                NULL);
    }

    if (car->request || car->connection) {
        rc = ngx_http_rtbus_sio_grant(sio, &auth[2].value, &grant);

    } else {
        rc = ngx_http_rtbus_access_read(car->pool, &said.raw, &grant);
    }

    if (rc == NGX_DECLINED) {
        return ngx_http_rtbus_sio_connect_error(sio, &packet->nsp,
                                                NGX_RTBUS_REASON_UNAUTHORIZED,
                                                grant.id.reason);
    }

    if (rc != NGX_OK) {
        return ngx_http_rtbus_sio_nomem(sio);
    }

    ngx_str_null(&cursor);

    socket = ngx_http_rtbus_sio_connect_socket(sio, nsp, packet, auth, &grant,
                                               &cursor);
    if (socket == NULL) {
        return ngx_http_rtbus_sio_nomem(sio);
    }

    rc = ngx_http_rtbus_sio_connect_channels(socket, &grant, &cursor, &error);

    if (rc == NGX_ERROR) {
        return ngx_http_rtbus_sio_nomem(sio);
    }

    if (rc != NGX_OK) {
        ngx_http_rtbus_sio_socket_end(socket,
                                      ngx_rtbus_reason_text(error));
        return ngx_http_rtbus_sio_connect_error(sio, &packet->nsp, error,
                                                NULL);
    }

    rc = ngx_http_rtbus_owners_ask(socket->client.hub, &socket->client.user,
                                   &socket->connect->wanted,
                                   &socket->connect->owners,
                                   ngx_http_rtbus_sio_connect_owners, socket);

    if (rc == NGX_AGAIN) {

        /* what the client sends until then is taken after the answer */

        ngx_http_rtbus_carrier_hold(car, NGX_HTTP_RTBUS_HELD_START);
        return NGX_OK;
    }

    if (rc != NGX_OK) {
        return ngx_http_rtbus_sio_nomem(sio);
    }

    return ngx_http_rtbus_sio_connected(socket);
}


/*
 * Counts the packet: NGX_OK; NGX_DECLINED: there are too many at a time, or the
 * worker that has the request has not granted so many; NGX_ERROR: the carrier
 * is being closed.  *said: what that worker has granted.
 */

static ngx_int_t
ngx_http_rtbus_sio_connect_count(ngx_http_rtbus_sio_t *sio,
    rtbus_sio_packet_t *packet, ngx_http_rtbus_nsp_t *nsp,
    rtbus_json_value_t *said)
{
    size_t                     length;
    ngx_int_t                  rc;
    ngx_uint_t                 rate, room;
    ngx_http_rtbus_carrier_t  *car;

    car = sio->eio.carrier;

    rate = car->conf->message_rate;
    room = rate + car->conf->namespaces->nelts;

    if (sio->connects == 0) {
        sio->tokens = room * 1000;
        sio->tokens_at = ngx_current_msec;
    }

    /*
     * What a CONNECT says stays in memory, and if the request does, what that
     * says as well.  A request that was parked is rebuilt for each CONNECT, and
     * freed.
     */

    length = packet->json.len;
    rc = NGX_OK;

    if (car->request) {
        length += car->request->request_length;

    } else if (nsp && car->connection == NULL) {
        rc = ngx_http_rtbus_remote_grant(car, said);

        if (rc == NGX_OK) {
            length += said->raw.len;
        }
    }

    sio->connects += 1 + length / 1024;

    ngx_log_debug4(NGX_LOG_DEBUG_HTTP, car->log, 0,
                   "rtbus sio connect known:%d connects:%ui length:%uz said:%i",
                   nsp != NULL, sio->connects, length, rc);

    if (sio->connects > NGX_HTTP_RTBUS_SIO_CONNECTS) {
        return ngx_http_rtbus_sio_fail(sio, "too many CONNECT packets");
    }

    if (ngx_http_rtbus_rate_take(&sio->tokens, &sio->tokens_at, rate, room)
        != NGX_OK)
    {
        return NGX_DECLINED;
    }

    return rc;
}


/* the socket with all but its channels; NULL: no memory */

static ngx_http_rtbus_socket_t *
ngx_http_rtbus_sio_connect_socket(ngx_http_rtbus_sio_t *sio,
    ngx_http_rtbus_nsp_t *nsp, rtbus_sio_packet_t *packet,
    rtbus_json_member_t *auth, ngx_http_rtbus_grant_t *grant,
    ngx_str_t *cursor)
{
    ngx_http_rtbus_socket_t   *socket;
    ngx_http_rtbus_carrier_t  *car;

    car = sio->eio.carrier;

    socket = ngx_http_rtbus_sio_socket_create(sio, nsp);
    if (socket == NULL) {
        return NULL;
    }

    if (ngx_http_rtbus_client_init(&socket->client, car,
                                   &ngx_http_rtbus_sio_protocol, grant)
        != NGX_OK)
    {
        return NULL;
    }

    ngx_http_rtbus_sio_take_bucket(sio, socket);

    if (nsp->recovery
        && ngx_http_rtbus_sio_recover(sio, socket, auth, cursor) == NGX_ERROR)
    {
        return NULL;
    }

    if (socket->sid[0] == '\0'
        && ngx_http_rtbus_eio_random(socket->sid, car->log) != NGX_OK)
    {
        return NULL;
    }

    if (ngx_http_rtbus_sender_auth(&socket->client, &packet->json) != NGX_OK) {
        return NULL;
    }

    return socket;
}


/* NGX_OK, NGX_DECLINED: *error says why, NGX_ERROR */

static ngx_int_t
ngx_http_rtbus_sio_connect_channels(ngx_http_rtbus_socket_t *socket,
    ngx_http_rtbus_grant_t *grant, ngx_str_t *cursor, ngx_uint_t *error)
{
    ngx_int_t                  rc;
    ngx_http_rtbus_carrier_t  *car;
    ngx_http_rtbus_connect_t  *connect;

    car = socket->client.carrier;

    connect = ngx_calloc(sizeof(ngx_http_rtbus_connect_t), car->log);
    if (connect == NULL) {
        return NGX_ERROR;
    }

    socket->connect = connect;

again:

    rc = ngx_http_rtbus_access_channels(car->pool, grant, cursor,
                                        car->conf->max_channels,
                                        &connect->wanted, car->log);
    *error = connect->wanted.error;

    if (rc == NGX_OK || rc == NGX_ERROR) {
        return rc;
    }

    if (cursor->len == 0) {
        return NGX_DECLINED;
    }

    /* nothing can be recovered: from now on it is another socket */

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, car->log, 0,
                   "rtbus sio recovers nothing, error:%ui", *error);

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
ngx_http_rtbus_sio_connect_owners(void *data, ngx_int_t rc, ngx_str_t *name)
{
    ngx_http_rtbus_socket_t  *socket = data;

    rtbus_str_t                nsp;
    ngx_http_rtbus_sio_t      *sio;
    ngx_http_rtbus_carrier_t  *car;

    socket->connect->owners = NULL;

    car = socket->client.carrier;
    sio = car->data;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, car->log, 0,
                   "rtbus sio owners known, rc:%i state:%d", rc, car->state);

    if (ngx_http_rtbus_carrier_closing(car)) {
        return;
    }

    ngx_http_rtbus_carrier_release(car, NGX_HTTP_RTBUS_HELD_START);

    switch (rc) {

    case NGX_OK:
        (void) ngx_http_rtbus_sio_connected(socket);
        break;

    case NGX_DECLINED:
        ngx_http_rtbus_access_foreign(name, car->log);

        nsp.len = socket->nsp->name.len;
        nsp.data = socket->nsp->name.data;

        ngx_http_rtbus_sio_socket_end(socket, "forbidden");
        (void) ngx_http_rtbus_sio_connect_error(sio, &nsp,
                                                NGX_RTBUS_REASON_FORBIDDEN,
                                                NULL);
        break;

    default: /* NGX_ERROR */
        (void) ngx_http_rtbus_sio_nomem(sio);
    }
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

    ngx_log_debug4(NGX_LOG_DEBUG_HTTP, car->log, 0,
                   "rtbus sio connected \"%V\" sid:%*s recovery:%ui",
                   &nsp->name, (size_t) NGX_HTTP_RTBUS_SID_LEN, socket->sid,
                   nsp->recovery);

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
                                     &socket->connect->wanted.channels,
                                     &socket->connect->wanted.refused);

    ngx_http_rtbus_sio_connect_free(socket);

    return (rc == NGX_OK) ? NGX_OK : ngx_http_rtbus_sio_nomem(sio);
}


static ngx_int_t
ngx_http_rtbus_sio_connect_error(ngx_http_rtbus_sio_t *sio, rtbus_str_t *nsp,
    ngx_uint_t error, const char *reason)
{
    u_char              *p;
    size_t               len;
    const char          *message;
    ngx_rtbus_frame_t   *frame;
    rtbus_sio_packet_t   answer;

    message = ngx_rtbus_reason_text(error);

    ngx_log_error(NGX_LOG_INFO, sio->eio.carrier->log, 0,
                  "rtbus: client is refused by Socket.IO: %s", message);

    ngx_rtbus_reason_refused(sio->eio.carrier->worker->hub.stat, error);

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
 * What the client is granted, by the token in auth or, without one, by the
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


/* the same for a session of another worker, which does not see the request */

ngx_int_t
ngx_http_rtbus_sio_relay_grant(ngx_http_request_t *r, u_char *p, size_t len,
    ngx_http_rtbus_text_t *text)
{
    ngx_int_t                   rc;
    const char                 *wrong;
    rtbus_reason_e              reason;
    rtbus_sio_packet_t          packet;
    rtbus_json_member_t         auth[] = { rtbus_json_member("token") };
    ngx_http_rtbus_grant_t      grant;
    ngx_http_rtbus_loc_conf_t  *rlcf;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    if (rtbus_sio_parse(&packet, p, len, &wrong) != RTBUS_OK
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


static ngx_int_t
ngx_http_rtbus_sio_request_grant(ngx_http_request_t *r,
    rtbus_json_value_t *value, ngx_http_rtbus_grant_t *grant)
{
    ngx_str_t  token;

    if (value->type != RTBUS_JSON_STRING) {
        return ngx_http_rtbus_access_grant(r, NULL, grant);
    }

    token.data = ngx_pnalloc(r->pool, value->raw.len);
    if (token.data == NULL) {
        return NGX_ERROR;
    }

    token.len = rtbus_json_unquote(token.data, &value->raw);

    return ngx_http_rtbus_access_grant(r, &token, grant);
}


/*
 * Sets the old sid and the cursor, if the pid proves that the sid was this
 * client's.  Without such a pid, or without a cursor, it is a new socket.
 */

static ngx_int_t
ngx_http_rtbus_sio_recover(ngx_http_rtbus_sio_t *sio,
    ngx_http_rtbus_socket_t *socket, rtbus_json_member_t *auth,
    ngx_str_t *cursor)
{
    u_char                     pid[NGX_HTTP_RTBUS_PID_LEN];
    u_char                     mine[NGX_HTTP_RTBUS_PID_LEN];
    rtbus_str_t               *raw;
    ngx_http_rtbus_carrier_t  *car;

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
                      "rtbus: client sent a pid that proves nothing");

        ngx_memzero(socket->sid, NGX_HTTP_RTBUS_SID_LEN);
        return NGX_DECLINED;
    }

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, car->log, 0,
                   "rtbus sio recovers sid:%*s",
                   (size_t) NGX_HTTP_RTBUS_SID_LEN, socket->sid);

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
