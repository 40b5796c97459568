
#include "ngx_http_rtbus_pack.h"


/* a string that is not a part of the request line */
#define NGX_HTTP_RTBUS_PACK_APART  65535


static void ngx_http_rtbus_pack_headers(ngx_http_rtbus_packer_t *packer,
    ngx_list_t *headers);
static void ngx_http_rtbus_pack_variables(ngx_http_rtbus_packer_t *packer,
    ngx_http_request_t *r);
static void ngx_http_rtbus_pack_captures(ngx_http_rtbus_packer_t *packer,
    ngx_http_request_t *r);
static void ngx_http_rtbus_pack_str(ngx_http_rtbus_packer_t *packer,
    ngx_str_t *str);
static void ngx_http_rtbus_pack_text(ngx_http_rtbus_packer_t *packer,
    ngx_str_t *str);
static void ngx_http_rtbus_pack_number(ngx_http_rtbus_packer_t *packer,
    ngx_uint_t n);
static void ngx_http_rtbus_pack_bytes(ngx_http_rtbus_packer_t *packer, void *p,
    size_t len);
static ngx_int_t ngx_http_rtbus_unpack_headers_in(ngx_http_request_t *r,
    u_char **p);
static ngx_uint_t ngx_http_rtbus_unpack_taken(ngx_http_request_t *r,
    ngx_http_header_t *hh);
static ngx_int_t ngx_http_rtbus_unpack_headers_out(ngx_http_request_t *r,
    u_char **p);
static ngx_table_elt_t *ngx_http_rtbus_unpack_header(ngx_list_t *headers,
    u_char **p);
static void ngx_http_rtbus_unpack_variables(ngx_http_request_t *r, u_char **p);
static ngx_int_t ngx_http_rtbus_unpack_captures(ngx_http_request_t *r,
    u_char **p);
static void ngx_http_rtbus_unpack_str(u_char **p, ngx_str_t *line,
    ngx_str_t *str);


void
ngx_http_rtbus_pack(ngx_http_rtbus_packer_t *packer, ngx_http_request_t *r)
{
    ngx_http_rtbus_pack_text(packer, &r->request_line);
    ngx_http_rtbus_pack_headers(packer, &r->headers_in.headers);

    ngx_http_rtbus_pack_str(packer, &r->uri);
    ngx_http_rtbus_pack_str(packer, &r->args);
    ngx_http_rtbus_pack_str(packer, &r->exten);
    ngx_http_rtbus_pack_str(packer, &r->unparsed_uri);
    ngx_http_rtbus_pack_str(packer, &r->method_name);
    ngx_http_rtbus_pack_str(packer, &r->http_protocol);
    ngx_http_rtbus_pack_str(packer, &r->schema);
    ngx_http_rtbus_pack_str(packer, &r->headers_in.server);

    ngx_http_rtbus_pack_headers(packer, &r->headers_out.headers);
    ngx_http_rtbus_pack_variables(packer, r);
    ngx_http_rtbus_pack_captures(packer, r);
}


static void
ngx_http_rtbus_pack_headers(ngx_http_rtbus_packer_t *packer,
    ngx_list_t *headers)
{
    ngx_uint_t        i, n, pass;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    n = 0;

    for (pass = 0; pass < 2; pass++) {

        if (pass) {
            ngx_http_rtbus_pack_number(packer, n);
        }

        for (part = &headers->part; part; part = part->next) {
            h = part->elts;

            for (i = 0; i < part->nelts; i++) {

                if (h[i].hash == 0) {
                    /* deleted, as it were */
                    continue;
                }

                if (pass == 0) {
                    n++;
                    continue;
                }

                ngx_http_rtbus_pack_text(packer, &h[i].key);
                ngx_http_rtbus_pack_text(packer, &h[i].value);
            }
        }
    }
}


/* packs those that were evaluated, as they might have other values now */

static void
ngx_http_rtbus_pack_variables(ngx_http_rtbus_packer_t *packer,
    ngx_http_request_t *r)
{
    ngx_str_t                   value;
    ngx_uint_t                  i, n;
    ngx_http_variable_value_t  *v;
    ngx_http_core_main_conf_t  *cmcf;

    cmcf = ngx_http_get_module_main_conf(r, ngx_http_core_module);

    v = r->variables;
    n = cmcf->variables.nelts;

    for (i = 0; i < n; i++) {

        if (!v[i].valid && !v[i].not_found) {
            continue;
        }

        ngx_http_rtbus_pack_number(packer, i + 1);
        ngx_http_rtbus_pack_number(packer, v[i].valid
                                           | v[i].no_cacheable << 1
                                           | v[i].not_found << 2
                                           | v[i].escape << 3);

        ngx_str_null(&value);

        if (v[i].valid) {
            value.len = v[i].len;
            value.data = v[i].data;
        }

        ngx_http_rtbus_pack_str(packer, &value);
    }

    ngx_http_rtbus_pack_number(packer, 0);
}


static void
ngx_http_rtbus_pack_captures(ngx_http_rtbus_packer_t *packer,
    ngx_http_request_t *r)
{
#if (NGX_PCRE)

    int         end;
    ngx_str_t   text;
    ngx_uint_t  i;

    /* the first pair is not used, and an expression may have none */

    if (r->ncaptures <= 2) {
        ngx_http_rtbus_pack_number(packer, 0);
        return;
    }

    ngx_http_rtbus_pack_number(packer, r->ncaptures);

    end = 0;

    for (i = 2; i < r->ncaptures; i++) {
        end = ngx_max(end, r->captures[i]);
    }

    ngx_http_rtbus_pack_bytes(packer, r->captures,
                              r->ncaptures * sizeof(int));

    text.data = r->captures_data;
    text.len = end;

    ngx_http_rtbus_pack_str(packer, &text);

#endif
}


static void
ngx_http_rtbus_pack_str(ngx_http_rtbus_packer_t *packer, ngx_str_t *str)
{
    u_char  *line;

    ngx_http_rtbus_pack_number(packer, str->len);

    if (str->len == 0) {
        return;
    }

    line = packer->line.data;

    if (str->data >= line && str->data + str->len <= line + packer->line.len) {
        ngx_http_rtbus_pack_number(packer, str->data - line);
        return;
    }

    ngx_http_rtbus_pack_number(packer, NGX_HTTP_RTBUS_PACK_APART);
    ngx_http_rtbus_pack_bytes(packer, str->data, str->len);
}


/* what nginx's parser leaves has a zero behind it */

static void
ngx_http_rtbus_pack_text(ngx_http_rtbus_packer_t *packer, ngx_str_t *str)
{
    ngx_http_rtbus_pack_number(packer, str->len);
    ngx_http_rtbus_pack_bytes(packer, str->data, str->len);
    ngx_http_rtbus_pack_bytes(packer, "", 1);
}


static void
ngx_http_rtbus_pack_number(ngx_http_rtbus_packer_t *packer, ngx_uint_t n)
{
    uint16_t  number;

    if (n > 65535) {
        packer->full = 1;
        return;
    }

    number = (uint16_t) n;

    ngx_http_rtbus_pack_bytes(packer, &number, sizeof(uint16_t));
}


static void
ngx_http_rtbus_pack_bytes(ngx_http_rtbus_packer_t *packer, void *p, size_t len)
{
    if (len > (size_t) (packer->last - packer->pos)) {
        packer->full = 1;
        return;
    }

    if (len) {
        packer->pos = ngx_cpymem(packer->pos, p, len);
    }
}


/* what is unpacked stays where it lies */

ngx_int_t
ngx_http_rtbus_unpack(ngx_http_request_t *r, u_char *p)
{
    ngx_int_t  rc;

    ngx_http_rtbus_unpack_text(&p, &r->request_line);

    /* a handler that fails would close the request */

    r->count++;

    rc = ngx_http_rtbus_unpack_headers_in(r, &p);

    if (rc != NGX_OK || r->count != 2) {
        return NGX_ERROR;
    }

    r->count--;

    ngx_http_rtbus_unpack_str(&p, &r->request_line, &r->uri);
    ngx_http_rtbus_unpack_str(&p, &r->request_line, &r->args);
    ngx_http_rtbus_unpack_str(&p, &r->request_line, &r->exten);
    ngx_http_rtbus_unpack_str(&p, &r->request_line, &r->unparsed_uri);
    ngx_http_rtbus_unpack_str(&p, &r->request_line, &r->method_name);
    ngx_http_rtbus_unpack_str(&p, &r->request_line, &r->http_protocol);
    ngx_http_rtbus_unpack_str(&p, &r->request_line, &r->schema);
    ngx_http_rtbus_unpack_str(&p, &r->request_line, &r->headers_in.server);

    if (ngx_http_rtbus_unpack_headers_out(r, &p) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_http_rtbus_unpack_variables(r, &p);

    return ngx_http_rtbus_unpack_captures(r, &p);
}


static ngx_int_t
ngx_http_rtbus_unpack_headers_in(ngx_http_request_t *r, u_char **p)
{
    ngx_uint_t                  n;
    ngx_table_elt_t            *h;
    ngx_http_header_t          *hh;
    ngx_http_core_main_conf_t  *cmcf;

    cmcf = ngx_http_get_module_main_conf(r, ngx_http_core_module);

    n = ngx_http_rtbus_unpack_number(p);

    if (ngx_list_init(&r->headers_in.headers, r->pool, n ? n : 1,
                      sizeof(ngx_table_elt_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    while (n--) {
        h = ngx_http_rtbus_unpack_header(&r->headers_in.headers, p);
        if (h == NULL) {
            return NGX_ERROR;
        }

        h->lowcase_key = ngx_pnalloc(r->pool, h->key.len);
        if (h->lowcase_key == NULL) {
            return NGX_ERROR;
        }

        h->hash = ngx_hash_strlow(h->lowcase_key, h->key.data, h->key.len);

        hh = ngx_hash_find(&cmcf->headers_in_hash, h->hash, h->lowcase_key,
                           h->key.len);

        if (hh == NULL) {
            continue;
        }

        if (hh->offset == offsetof(ngx_http_headers_in_t, host)) {
            /* the server was chosen */
            r->headers_in.host = h;
            continue;
        }

        if (ngx_http_rtbus_unpack_taken(r, hh)) {
            continue;
        }

        if (hh->handler(r, h, hh->offset) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    if (r->headers_in.content_length) {
        r->headers_in.content_length_n = 0;
    }

    return NGX_OK;
}


/*
 * A module may have added a header that nginx allows only once: the handler
 * would answer 400 to the second, on a connection that is no longer HTTP.
 */

static ngx_uint_t
ngx_http_rtbus_unpack_taken(ngx_http_request_t *r, ngx_http_header_t *hh)
{
    ngx_table_elt_t    **ph;
    ngx_http_header_t   *unique;

    ph = (ngx_table_elt_t **) ((char *) &r->headers_in + hh->offset);

    if (*ph == NULL) {
        return 0;
    }

    for (unique = ngx_http_headers_in; unique->name.len; unique++) {
        if (unique->offset
            == offsetof(ngx_http_headers_in_t, if_modified_since))
        {
            return hh->handler == unique->handler;
        }
    }

    return 0;
}


static ngx_int_t
ngx_http_rtbus_unpack_headers_out(ngx_http_request_t *r, u_char **p)
{
    ngx_uint_t        n;
    ngx_table_elt_t  *h;

    n = ngx_http_rtbus_unpack_number(p);

    while (n--) {
        h = ngx_http_rtbus_unpack_header(&r->headers_out.headers, p);
        if (h == NULL) {
            return NGX_ERROR;
        }

        h->hash = 1;
    }

    return NGX_OK;
}


static ngx_table_elt_t *
ngx_http_rtbus_unpack_header(ngx_list_t *headers, u_char **p)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(headers);

    if (h) {
        ngx_memzero(h, sizeof(ngx_table_elt_t));

        ngx_http_rtbus_unpack_text(p, &h->key);
        ngx_http_rtbus_unpack_text(p, &h->value);
    }

    return h;
}


static void
ngx_http_rtbus_unpack_variables(ngx_http_request_t *r, u_char **p)
{
    ngx_str_t                   value;
    ngx_uint_t                  i, flags;
    ngx_http_variable_value_t  *v;

    for ( ;; ) {
        i = ngx_http_rtbus_unpack_number(p);

        if (i == 0) {
            return;
        }

        flags = ngx_http_rtbus_unpack_number(p);

        ngx_http_rtbus_unpack_str(p, &r->request_line, &value);

        v = &r->variables[i - 1];

        v->valid = flags & 1;
        v->no_cacheable = flags >> 1 & 1;
        v->not_found = flags >> 2 & 1;
        v->escape = flags >> 3 & 1;
        v->len = value.len;
        v->data = value.len ? value.data : (u_char *) "";
    }
}


static ngx_int_t
ngx_http_rtbus_unpack_captures(ngx_http_request_t *r, u_char **p)
{
#if (NGX_PCRE)

    size_t                      len;
    ngx_str_t                   text;
    ngx_http_core_main_conf_t  *cmcf;

    r->ncaptures = ngx_http_rtbus_unpack_number(p);

    if (r->ncaptures == 0) {
        return NGX_OK;
    }

    cmcf = ngx_http_get_module_main_conf(r, ngx_http_core_module);

    /* as much as nginx allocates for those of another expression */

    len = ngx_max(r->ncaptures, cmcf->ncaptures) * sizeof(int);

    r->captures = ngx_palloc(r->pool, len);
    if (r->captures == NULL) {
        r->ncaptures = 0;
        return NGX_ERROR;
    }

    len = r->ncaptures * sizeof(int);

    ngx_memcpy(r->captures, *p, len);
    *p += len;

    ngx_http_rtbus_unpack_str(p, &r->request_line, &text);

    r->captures_data = text.data;

#endif

    return NGX_OK;
}


static void
ngx_http_rtbus_unpack_str(u_char **p, ngx_str_t *line, ngx_str_t *str)
{
    ngx_uint_t  place;

    str->len = ngx_http_rtbus_unpack_number(p);

    if (str->len == 0) {
        str->data = NULL;
        return;
    }

    place = ngx_http_rtbus_unpack_number(p);

    if (place != NGX_HTTP_RTBUS_PACK_APART) {
        str->data = line->data + place;
        return;
    }

    str->data = *p;
    *p += str->len;
}


void
ngx_http_rtbus_unpack_text(u_char **p, ngx_str_t *str)
{
    str->len = ngx_http_rtbus_unpack_number(p);
    str->data = *p;

    *p += str->len + 1;
}


ngx_uint_t
ngx_http_rtbus_unpack_number(u_char **p)
{
    uint16_t  number;

    ngx_memcpy(&number, *p, sizeof(uint16_t));

    *p += sizeof(uint16_t);

    return number;
}
