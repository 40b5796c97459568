
#include "ngx_http_rtbus_sio_socket.h"
#include "ngx_http_rtbus_client_life.h"


ngx_http_rtbus_nsp_t *
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


ngx_http_rtbus_socket_t *
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


/* a socket whose client is yet to be set up */

ngx_http_rtbus_socket_t *
ngx_http_rtbus_sio_socket_create(ngx_http_rtbus_sio_t *sio,
    ngx_http_rtbus_nsp_t *nsp)
{
    ngx_http_rtbus_socket_t  *socket;

    socket = ngx_calloc(sizeof(ngx_http_rtbus_socket_t),
                        sio->eio.carrier->log);
    if (socket == NULL) {
        return NULL;
    }

    socket->nsp = nsp;
    socket->client.carrier = sio->eio.carrier;
    ngx_queue_insert_tail(&sio->sockets, &socket->queue);

    socket->client.format = &nsp->format;
    socket->client.bare = !nsp->recovery;
    socket->client.keeps = nsp->recovery;

    return socket;
}


void
ngx_http_rtbus_sio_socket_end(ngx_http_rtbus_socket_t *socket,
    const char *reason)
{
    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, socket->client.carrier->log, 0,
                   "rtbus sio socket ends, \"%V\" reason:\"%s\"",
                   &socket->nsp->name, reason);

    ngx_queue_remove(&socket->queue);
    ngx_http_rtbus_sio_connect_free(socket);
    ngx_http_rtbus_client_done(&socket->client, reason);
    ngx_free(socket);
}


void
ngx_http_rtbus_sio_connect_free(ngx_http_rtbus_socket_t *socket)
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


/* a client that leaves and comes back may send no more than one that stays */

ngx_int_t
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


void
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


/* the end of a binary packet */

void
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


ngx_int_t
ngx_http_rtbus_sio_fail(ngx_http_rtbus_sio_t *sio, const char *reason)
{
    ngx_http_rtbus_carrier_close(sio->eio.carrier, RTBUS_WS_PROTOCOL_ERROR,
                                 reason);

    return NGX_ERROR;
}


ngx_int_t
ngx_http_rtbus_sio_nomem(ngx_http_rtbus_sio_t *sio)
{
    ngx_http_rtbus_carrier_nomem(sio->eio.carrier);

    return NGX_ERROR;
}
