
#include "ngx_http_rtbus_sio_move.h"
#include "ngx_http_rtbus_client_move.h"
#include "ngx_http_rtbus_sio_write.h"


/* members of a session that moves, see ngx_http_rtbus_sio_move_import() */

enum {
    m_connects = 0,
    m_packet,
    m_sockets,
    m_left,
    m_tokens,
    m_members
};


static void ngx_http_rtbus_sio_move_export_buckets(ngx_http_rtbus_sio_t *sio,
    ngx_http_rtbus_text_t *text);
static ngx_int_t ngx_http_rtbus_sio_move_import_packet(
    ngx_http_rtbus_sio_t *sio, rtbus_json_value_t *value);
static ngx_int_t ngx_http_rtbus_sio_move_import_buckets(
    ngx_http_rtbus_sio_t *sio, rtbus_json_value_t *array);
static ngx_int_t ngx_http_rtbus_sio_move_import_socket(
    ngx_http_rtbus_sio_t *sio, rtbus_json_value_t *value,
    ngx_http_rtbus_holds_t *holds);


/* [["<namespace>","<channel>",...],...] */

void
ngx_http_rtbus_sio_move_channels(ngx_http_rtbus_eio_t *eio,
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


/* channels that cannot be listened to in advance move all the same */

void
ngx_http_rtbus_sio_move_hold(ngx_http_rtbus_carrier_t *car, rtbus_str_t *json,
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
 * {"connects":1,"tokens":<n>,
 *  "packet":["<base64>",<attachments>,<bytes of them>,[...]],
 *  "left":[<namespace>,<tokens>,...],
 *  "sockets":[{"nsp":"/","sid":"...","client":{...}},...]}
 */

void
ngx_http_rtbus_sio_move_export(ngx_http_rtbus_eio_t *eio, ngx_str_t *to,
    ngx_http_rtbus_text_t *text)
{
    ngx_str_t                 packet;
    ngx_queue_t              *q;
    ngx_http_rtbus_sio_t     *sio;
    ngx_http_rtbus_socket_t  *socket;

    sio = (ngx_http_rtbus_sio_t *) eio;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, eio->carrier->log, 0,
                   "rtbus sio moves to \"%V\" connects:%ui",
                   to, sio->connects);

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

    ngx_http_rtbus_sio_move_export_buckets(sio, text);

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


static void
ngx_http_rtbus_sio_move_export_buckets(ngx_http_rtbus_sio_t *sio,
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


ngx_int_t
ngx_http_rtbus_sio_move_import(ngx_http_rtbus_eio_t *eio, rtbus_str_t *json,
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

    rtbus_json_members(json, m, m_members);

    if (rtbus_json_uint(&m[m_connects].value.raw, &n) != RTBUS_OK
        || m[m_sockets].value.type != RTBUS_JSON_ARRAY)
    {
        return NGX_ERROR;
    }

    sio->connects = n;

    if (rtbus_json_uint(&m[m_tokens].value.raw, &n) == RTBUS_OK) {
        sio->tokens = (ngx_uint_t) n;
        sio->tokens_at = ngx_current_msec;
    }

    if (m[m_packet].value.type == RTBUS_JSON_ARRAY
        && ngx_http_rtbus_sio_move_import_packet(sio, &m[m_packet].value)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (m[m_left].value.type == RTBUS_JSON_ARRAY
        && ngx_http_rtbus_sio_move_import_buckets(sio, &m[m_left].value)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, eio->carrier->log, 0,
                   "rtbus sio comes, connects:%ui tokens:%ui packet:%d",
                   sio->connects, sio->tokens, sio->packet != NULL);

    pos = NULL;

    while (rtbus_json_next(&value, &pos, &m[m_sockets].value.raw) == RTBUS_OK) {
        if (ngx_http_rtbus_sio_move_import_socket(sio, &value,
                                                  holds) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_rtbus_sio_move_import_packet(ngx_http_rtbus_sio_t *sio,
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


static ngx_int_t
ngx_http_rtbus_sio_move_import_buckets(ngx_http_rtbus_sio_t *sio,
    rtbus_json_value_t *array)
{
    uint64_t                   n;
    ngx_str_t                  name;
    rtbus_str_t                nsp_name;
    const uint8_t             *pos;
    rtbus_json_value_t         value;
    ngx_http_rtbus_nsp_t      *nsp;
    ngx_http_rtbus_bucket_t   *bucket;
    ngx_http_rtbus_carrier_t  *car;

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
ngx_http_rtbus_sio_move_import_socket(ngx_http_rtbus_sio_t *sio,
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

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, car->log, 0,
                   "rtbus sio socket comes, \"%V\"", &nsp->name);

    socket = ngx_http_rtbus_sio_socket_create(sio, nsp);
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
