
#include "ngx_http_rtbus_ws_handshake.h"
#include "ngx_http_rtbus_crypto.h"
#include "ngx_http_rtbus_origin.h"
#include "ngx_http_rtbus_reply.h"
#include "rtbus_ws.h"


#define ngx_http_rtbus_ws_is(h, name)                                         \
    ((h)->key.len == sizeof(name) - 1                                         \
     && ngx_strncmp((h)->lowcase_key, name, sizeof(name) - 1) == 0)


/* what the headers of a handshake say */

typedef struct {
    ngx_table_elt_t          *version;
    ngx_table_elt_t          *key;
    unsigned                  upgrade:1;     /* has "websocket" */
    unsigned                  connection:1;  /* has "upgrade" */
    unsigned                  doubled:1;     /* another key */
} ngx_http_rtbus_ws_headers_t;


static void ngx_http_rtbus_ws_headers(ngx_http_request_t *r,
    ngx_http_rtbus_ws_headers_t *headers);
static ngx_uint_t ngx_http_rtbus_ws_token(ngx_table_elt_t *h,
    const char *token);
static ngx_int_t ngx_http_rtbus_ws_upgrade_required(ngx_http_request_t *r,
    ngx_uint_t error);


ngx_uint_t
ngx_http_rtbus_ws_asked(ngx_http_request_t *r)
{
    ngx_http_rtbus_ws_headers_t  headers;

    if (r->headers_in.upgrade == NULL) {
        return 0;
    }

    ngx_http_rtbus_ws_headers(r, &headers);

    return headers.upgrade;
}


ngx_int_t
ngx_http_rtbus_ws_handshake(ngx_http_request_t *r, ngx_str_t *key)
{
    u_char                        buf[24];
    ngx_int_t                     rc;
    ngx_str_t                     raw, value;
    ngx_table_elt_t              *h;
    ngx_http_rtbus_ws_headers_t   headers;

    if (r->method != NGX_HTTP_GET) {
        return ngx_http_rtbus_not_allowed(r, "GET");
    }

    if (r->headers_in.content_length_n > 0 || r->headers_in.chunked) {
        return ngx_http_rtbus_error(r, NGX_HTTP_BAD_REQUEST,
                                    NGX_RTBUS_REASON_WS_BODY, NULL, NULL);
    }

    /* RFC 6455 section 4.2.1 */

    ngx_http_rtbus_ws_headers(r, &headers);

    ngx_log_debug4(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus ws handshake upgrade:%d connection:%d key:%d two:%d",
                   headers.upgrade, headers.connection,
                   headers.key != NULL, headers.doubled);

    if (r->http_version != NGX_HTTP_VERSION_11
        || !headers.upgrade || !headers.connection)
    {
        return ngx_http_rtbus_ws_upgrade_required(r,
                                                  NGX_RTBUS_REASON_HANDSHAKE);
    }

    h = headers.version;

    if (h == NULL || h->value.len != 2
        || ngx_strncmp(h->value.data, "13", 2) != 0)
    {
        ngx_str_set(&value, "13");

        if (ngx_http_rtbus_header(r, "Sec-WebSocket-Version", &value)
            != NGX_OK)
        {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        return ngx_http_rtbus_ws_upgrade_required(r,
                                                  NGX_RTBUS_REASON_WS_VERSION);
    }

    h = headers.key;

    raw.data = buf;

    if (h == NULL || headers.doubled || h->value.len != 24
        || ngx_decode_base64(&raw, &h->value) != NGX_OK || raw.len != 16)
    {
        return ngx_http_rtbus_error(r, NGX_HTTP_BAD_REQUEST,
                                    NGX_RTBUS_REASON_WS_KEY, NULL, NULL);
    }

    *key = h->value;

    rc = ngx_http_rtbus_check_origin(r);

    if (rc == NGX_DECLINED) {
        return ngx_http_rtbus_error(r, NGX_HTTP_FORBIDDEN,
                                    NGX_RTBUS_REASON_ORIGIN, NULL, NULL);
    }

    return rc;
}


ngx_int_t
ngx_http_rtbus_ws_answer(ngx_http_request_t *r, ngx_str_t *key)
{
    ngx_int_t          rc;
    ngx_str_t          raw, value;
    ngx_connection_t  *c;
    u_char             hash[NGX_HTTP_RTBUS_CRYPTO_SHA1];
    static ngx_str_t   guid = ngx_string(RTBUS_WS_GUID);

    if (ngx_http_rtbus_crypto_sha1(hash, key, &guid, r->connection->log)
        != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    raw.data = hash;
    raw.len = sizeof(hash);

    value.data = ngx_pnalloc(r->pool, ngx_base64_encoded_length(raw.len));
    if (value.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_encode_base64(&value, &raw);

    if (ngx_http_rtbus_header(r, "Sec-WebSocket-Accept", &value) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_str_set(&value, "websocket");

    if (ngx_http_rtbus_header(r, "Upgrade", &value) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->headers_out.status = NGX_HTTP_SWITCHING_PROTOCOLS;

    /* nginx writes no reason after it, and some clients wait for one */

    ngx_str_set(&r->headers_out.status_line, "101 Switching Protocols");

    /* nothing else is understood, whatever error_page has brought us here */

    r->err_status = 0;

    rc = ngx_http_send_header(r);

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus ws answers 101: %i, waits:%d", rc, r->out != NULL);

    ngx_str_null(&r->headers_out.status_line);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return (rc == NGX_OK) ? NGX_ERROR : rc;
    }

    c = r->connection;

    /* TLS has kept what the write filter has not */

    if (c->buffered
        && (ngx_http_send_special(r, NGX_HTTP_FLUSH) == NGX_ERROR
            || c->buffered))
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* a list may come in several lines (RFC 9110 section 5.3), a key may not */

static void
ngx_http_rtbus_ws_headers(ngx_http_request_t *r,
    ngx_http_rtbus_ws_headers_t *headers)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    ngx_memzero(headers, sizeof(ngx_http_rtbus_ws_headers_t));

    part = &r->headers_in.headers.part;
    h = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                return;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        if (ngx_http_rtbus_ws_is(&h[i], "upgrade")) {
            headers->upgrade |= ngx_http_rtbus_ws_token(&h[i], "websocket");

        } else if (ngx_http_rtbus_ws_is(&h[i], "connection")) {
            headers->connection |= ngx_http_rtbus_ws_token(&h[i], "upgrade");

        } else if (ngx_http_rtbus_ws_is(&h[i], "sec-websocket-version")) {
            headers->version = &h[i];

        } else if (ngx_http_rtbus_ws_is(&h[i], "sec-websocket-key")) {
            headers->doubled = (headers->key != NULL);
            headers->key = &h[i];
        }
    }
}


/* is the token in the comma-separated list of the header's value */

static ngx_uint_t
ngx_http_rtbus_ws_token(ngx_table_elt_t *h, const char *token)
{
    u_char  *p, *start, *last, *end;
    size_t   len;

    len = ngx_strlen(token);
    last = h->value.data + h->value.len;

    for (p = h->value.data; p < last; p++) {

        start = p;

        while (p < last && *p != ',') {
            p++;
        }

        end = p;

        while (start < end && (*start == ' ' || *start == '\t')) {
            start++;
        }

        while (end > start && (end[-1] == ' ' || end[-1] == '\t')) {
            end--;
        }

        if ((size_t) (end - start) == len
            && ngx_strncasecmp(start, (u_char *) token, len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


/* 426 names what to upgrade to (RFC 9110 section 15.5.22), except in HTTP/2 */

static ngx_int_t
ngx_http_rtbus_ws_upgrade_required(ngx_http_request_t *r, ngx_uint_t error)
{
    ngx_str_t  protocol, option;

    if (r->http_version < NGX_HTTP_VERSION_20) {

        ngx_str_set(&protocol, "websocket");
        ngx_str_set(&option, "upgrade");

        if (ngx_http_rtbus_header(r, "Upgrade", &protocol) != NGX_OK
            || ngx_http_rtbus_header(r, "Connection", &option) != NGX_OK)
        {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    return ngx_http_rtbus_error(r, 426, error, NULL, NULL);
}
