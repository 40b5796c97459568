
#include "ngx_http_rtbus_park.h"
#include "ngx_http_rtbus_pack.h"


struct ngx_http_rtbus_parked_s {
    ngx_connection_t        *connection;
    ngx_http_connection_t   *http_connection;
    void                   **srv_conf;
    void                   **loc_conf;
    void                    *log_data;      /* nginx's */
    ngx_log_handler_pt       log_handler;   /* likewise */

    time_t                   start_sec;
    size_t                   limit_rate;
    uint32_t                 request_length;
    uint32_t                 header_size;
    uint32_t                 size;          /* of data */
    uint16_t                 start_msec;
    uint16_t                 status;
    uint16_t                 err_status;

    unsigned                 limit_conn_status:2;
    unsigned                 limit_req_status:3;
    unsigned                 limit_rate_set:1;
    unsigned                 add_uri_to_alias:1;
    unsigned                 valid_location:1;
    unsigned                 valid_unparsed_uri:1;
    unsigned                 pipeline:1;
    unsigned                 internal:1;
    unsigned                 error_page:1;
    unsigned                 root_tested:1;

#if (nginx_version >= 1029003)
    in_port_t                port;
#endif

    u_char                   data[1];
};


static const char *ngx_http_rtbus_park_obstacle(ngx_http_request_t *r,
    void *data);
static const char *ngx_http_rtbus_park_contexts(ngx_http_request_t *r);
static void ngx_http_rtbus_park_find(void);
static const char *ngx_http_rtbus_park_module(ngx_uint_t index);
static void ngx_http_rtbus_park_buffers(ngx_connection_t *c,
    ngx_http_connection_t *hc);
static u_char *ngx_http_rtbus_park_log(ngx_log_t *log, u_char *buf,
    size_t len);


/* the last one is Debian's, for max_headers */

static struct {
    const char  *name;
    ngx_uint_t   index;
} ngx_http_rtbus_park_modules[] = {
    { "ngx_http_rtbus_module", NGX_MODULE_UNSET_INDEX },
    { "ngx_http_auth_request_module", NGX_MODULE_UNSET_INDEX },
    { "ngx_http_header_count_module", NGX_MODULE_UNSET_INDEX },
    { NULL, NGX_MODULE_UNSET_INDEX }
};


ngx_int_t
ngx_http_rtbus_park(ngx_http_request_t *r, void *data, u_char *buf,
    ngx_http_rtbus_parked_t **result)
{
    char                     *action;
    size_t                    len;
    ngx_log_t                *log;
    const char               *obstacle;
    ngx_connection_t         *c;
    ngx_pool_cleanup_t       *cln;
    ngx_http_rtbus_parked_t  *parked;
    ngx_http_rtbus_packer_t   packer;

    c = r->connection;
    log = c->log;

    obstacle = ngx_http_rtbus_park_obstacle(r, data);

    if (obstacle) {
        ngx_log_error(NGX_LOG_INFO, log, 0,
                      "rtbus: keeps the request in memory: %s", obstacle);
        return NGX_DECLINED;
    }

    if (r->count != 1 || r->blocked || r->aio || r->postponed
        || r->posted_requests || r->out || r->buffered || c->buffered)
    {
        ngx_log_debug4(NGX_LOG_DEBUG_HTTP, log, 0,
                       "rtbus park later, count:%d blocked:%d out:%d "
                       "buffered:%xd", r->count, r->blocked, r->out != NULL,
                       c->buffered);
        return NGX_AGAIN;
    }

    packer.pos = buf;
    packer.last = buf + NGX_HTTP_RTBUS_BUFFER;
    packer.line = r->request_line;
    packer.full = 0;

    ngx_http_rtbus_pack(&packer, r);

    if (packer.full) {
        ngx_log_error(NGX_LOG_INFO, log, 0,
                      "rtbus: keeps the request in memory: it is too large");
        return NGX_DECLINED;
    }

    len = packer.pos - buf;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, log, 0,
                   "rtbus park, packed:%uz", len);

    parked = ngx_alloc(offsetof(ngx_http_rtbus_parked_t, data) + len, log);
    if (parked == NULL) {
        return NGX_AGAIN;
    }

    ngx_memcpy(parked->data, buf, len);

    parked->size = len;
    parked->connection = c;
    parked->http_connection = r->http_connection;
    parked->srv_conf = r->srv_conf;
    parked->loc_conf = r->loc_conf;
    parked->start_sec = r->start_sec;
    parked->start_msec = r->start_msec;
    parked->limit_rate = r->limit_rate;
    parked->request_length = r->request_length;
    parked->header_size = r->header_size;
    parked->status = r->headers_out.status;
    parked->err_status = r->err_status;
    parked->limit_conn_status = r->limit_conn_status;
    parked->limit_req_status = r->limit_req_status;
    parked->limit_rate_set = r->limit_rate_set;
    parked->add_uri_to_alias = r->add_uri_to_alias;
    parked->valid_location = r->valid_location;
    parked->valid_unparsed_uri = r->valid_unparsed_uri;
    parked->pipeline = r->pipeline;
    parked->internal = r->internal;
    parked->error_page = r->error_page;
    parked->root_tested = r->root_tested;

#if (nginx_version >= 1029003)
    parked->port = r->port;
#endif

    for (cln = r->pool->cleanup; cln; cln = cln->next) {
        cln->handler = NULL;
    }

    ngx_http_set_ctx(r, NULL, ngx_http_rtbus_module);

    r->logged = 1;

#if (NGX_STAT_STUB)

    /* the connection is still counted as one that is written to */

    r->stat_writing = 0;

#endif

    action = log->action;

    ngx_http_free_request(r, 0);

    c->destroyed = 0;
    log->action = action;

    ngx_http_rtbus_park_buffers(c, parked->http_connection);

    parked->log_data = log->data;
    parked->log_handler = log->handler;

    log->data = parked;
    log->handler = ngx_http_rtbus_park_log;

    *result = parked;

    return NGX_OK;
}


/* NULL, or why the request has to stay until its end */

static const char *
ngx_http_rtbus_park_obstacle(ngx_http_request_t *r, void *data)
{
    ngx_http_cleanup_t             *cln;
    ngx_pool_cleanup_t             *pcln;
    ngx_http_headers_out_t         *out;
    ngx_http_core_loc_conf_t       *clcf;
    static ngx_http_headers_out_t   none;

    if (r != r->main || r->stream || r->http_version != NGX_HTTP_VERSION_11
        || r->method != NGX_HTTP_GET || r->upstream || r->upstream_states
        || r->request_body)
    {
        return "it is in use";
    }

#if (NGX_HTTP_CACHE)

    if (r->cache) {
        return "it is in use";
    }

#endif

#if (NGX_PCRE && !NGX_PCRE2)

    /* an expression that did not match may have written over them */

    if (r->ncaptures > 2) {
        return "captures";
    }

#endif

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (clcf->post_action.data) {
        return "post_action";
    }

    for (cln = r->cleanup; cln; cln = cln->next) {
        if (cln->handler) {
            return "cleanup of another module";
        }
    }

    for (pcln = r->pool->cleanup; pcln; pcln = pcln->next) {
        if (pcln->handler && pcln->data != data) {
            return "cleanup of another module";
        }
    }

    /*
     * Of the headers of the 101 only the list is packed.  This relies on the
     * order of nginx's fields, the same in 1.22 and 1.31: what has a place of
     * its own, and the type, is after the status and before the length.
     */

    out = &r->headers_out;

    if (out->trailers.part.nelts) {
        return "trailers";
    }

    if (ngx_memcmp(&out->status_line, &none.status_line,
                   offsetof(ngx_http_headers_out_t, content_length_n)
                   - offsetof(ngx_http_headers_out_t, status_line))
        != 0)
    {
        return "headers of the response";
    }

    return ngx_http_rtbus_park_contexts(r);
}


/*
 * Other modules may still need their context for variables that are evaluated
 * later.  Only a few modules are known not to.
 */

static const char *
ngx_http_rtbus_park_contexts(ngx_http_request_t *r)
{
    ngx_uint_t  i, n;

    if (ngx_http_rtbus_park_modules[0].index == NGX_MODULE_UNSET_INDEX) {
        ngx_http_rtbus_park_find();
    }

    for (i = 0; i < ngx_http_max_module; i++) {

        if (r->ctx[i] == NULL) {
            continue;
        }

        for (n = 0; i != ngx_http_rtbus_park_modules[n].index; n++) {
            if (ngx_http_rtbus_park_modules[n].name == NULL) {
                return ngx_http_rtbus_park_module(i);
            }
        }
    }

    return NULL;
}


/* a module that nginx does not have counts as this one */

static void
ngx_http_rtbus_park_find(void)
{
    ngx_uint_t     i, n;
    ngx_module_t  *module;

    for (n = 0; ngx_http_rtbus_park_modules[n].name; n++) {

        ngx_http_rtbus_park_modules[n].index = ngx_http_rtbus_module.ctx_index;

        for (i = 0; ngx_cycle->modules[i]; i++) {
            module = ngx_cycle->modules[i];

            if (module->type == NGX_HTTP_MODULE
                && ngx_strcmp(module->name,
                              ngx_http_rtbus_park_modules[n].name)
                   == 0)
            {
                ngx_http_rtbus_park_modules[n].index = module->ctx_index;
            }
        }
    }
}


static const char *
ngx_http_rtbus_park_module(ngx_uint_t index)
{
    ngx_uint_t     i;
    ngx_module_t  *module;

    for (i = 0; ngx_cycle->modules[i]; i++) {
        module = ngx_cycle->modules[i];

        if (module->type == NGX_HTTP_MODULE && module->ctx_index == index) {
            return module->name;
        }
    }

    return "context of another module";
}


/* as nginx does it for a connection that waits for the next request */

static void
ngx_http_rtbus_park_buffers(ngx_connection_t *c, ngx_http_connection_t *hc)
{
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    b = c->buffer;

    if (b && b->start && ngx_pfree(c->pool, b->start) == NGX_OK) {
        b->start = NULL;
        b->pos = NULL;
        b->last = NULL;
        b->end = NULL;
    }

    while (hc->free) {
        cl = hc->free;
        hc->free = cl->next;

        ngx_pfree(c->pool, cl->buf->start);
        ngx_free_chain(c->pool, cl);
    }

    while (hc->busy) {
        cl = hc->busy;
        hc->busy = cl->next;

        ngx_pfree(c->pool, cl->buf->start);
        ngx_free_chain(c->pool, cl);
    }

    hc->nbusy = 0;

#if (NGX_HTTP_SSL)

    if (c->ssl) {
        ngx_ssl_free_buffer(c);
    }

#endif
}


ngx_http_request_t *
ngx_http_rtbus_unpark(ngx_http_rtbus_parked_t *parked)
{
    char                      *action;
    void                      *data;
    u_char                    *p;
    ngx_log_t                 *log;
    ngx_connection_t          *c;
    ngx_http_request_t        *r;
    ngx_http_core_loc_conf_t  *clcf;

    c = parked->connection;
    log = c->log;
    action = log->action;
    data = c->data;

    log->data = parked->log_data;
    log->handler = parked->log_handler;

    c->data = parked->http_connection;

    r = ngx_http_create_request(c);

    c->data = data;

    if (r == NULL) {
        log->data = parked;
        log->handler = ngx_http_rtbus_park_log;
        return NULL;
    }

    c->requests--;

#if (NGX_STAT_STUB)

    (void) ngx_atomic_fetch_add(ngx_stat_requests, -1);
    (void) ngx_atomic_fetch_add(ngx_stat_reading, -1);

    r->stat_reading = 0;
    r->stat_writing = 1;

#endif

    r->srv_conf = parked->srv_conf;
    r->loc_conf = parked->loc_conf;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);
    ngx_set_connection_log(c, clcf->error_log);

    log->action = action;

    r->start_sec = parked->start_sec;
    r->start_msec = parked->start_msec;
    r->limit_rate = parked->limit_rate;
    r->request_length = parked->request_length;
    r->header_size = parked->header_size;
    r->headers_out.status = parked->status;
    r->err_status = parked->err_status;
    r->limit_conn_status = parked->limit_conn_status;
    r->limit_req_status = parked->limit_req_status;
    r->limit_rate_set = parked->limit_rate_set;
    r->add_uri_to_alias = parked->add_uri_to_alias;
    r->valid_location = parked->valid_location;
    r->valid_unparsed_uri = parked->valid_unparsed_uri;
    r->pipeline = parked->pipeline;
    r->internal = parked->internal;
    r->error_page = parked->error_page;
    r->root_tested = parked->root_tested;

#if (nginx_version >= 1029003)
    r->port = parked->port;
#endif

    r->method = NGX_HTTP_GET;
    r->http_version = NGX_HTTP_VERSION_11;
    r->http_major = 1;
    r->http_minor = 1;
    r->http_state = NGX_HTTP_PROCESS_REQUEST_STATE;
    r->header_sent = 1;

    p = ngx_pnalloc(r->pool, parked->size);

    if (p) {
        ngx_memcpy(p, parked->data, parked->size);

        if (ngx_http_rtbus_unpack(r, p) == NGX_OK) {
            return r;
        }
    }

    ngx_http_rtbus_repark(parked, r);

    return NULL;
}


void
ngx_http_rtbus_repark(ngx_http_rtbus_parked_t *parked, ngx_http_request_t *r)
{
    char              *action;
    ngx_connection_t  *c;

    c = parked->connection;
    action = c->log->action;

    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "rtbus repark");

    r->logged = 1;

#if (NGX_STAT_STUB)
    r->stat_writing = 0;
#endif

    ngx_http_free_request(r, 0);

    c->destroyed = 0;

    c->log->data = parked;
    c->log->handler = ngx_http_rtbus_park_log;
    c->log->action = action;
}


void
ngx_http_rtbus_unpark_drop(ngx_http_rtbus_parked_t *parked)
{
    ngx_log_t  *log;

#if (NGX_STAT_STUB)
    (void) ngx_atomic_fetch_add(ngx_stat_writing, -1);
#endif

    log = parked->connection->log;

    log->data = parked->log_data;
    log->handler = parked->log_handler;

    ngx_free(parked);
}


/* adds to the line of the error log what nginx adds for a request */

static u_char *
ngx_http_rtbus_park_log(ngx_log_t *log, u_char *buf, size_t len)
{
    u_char                    *p, *data;
    ngx_str_t                  line, key, value, host, referer;
    ngx_uint_t                 i, n;
    ngx_http_core_srv_conf_t  *cscf;
    ngx_http_rtbus_parked_t   *parked;

    parked = log->data;

    cscf = parked->srv_conf[ngx_http_core_module.ctx_index];

    p = buf;

    if (log->action) {
        p = ngx_snprintf(buf, len, " while %s", log->action);
        len -= p - buf;
        buf = p;
    }

    data = parked->data;

    ngx_http_rtbus_unpack_text(&data, &line);

    p = ngx_snprintf(buf, len, ", client: %V, server: %V, request: \"%V\"",
                     &parked->connection->addr_text, &cscf->server_name,
                     &line);
    len -= p - buf;
    buf = p;

    ngx_str_null(&host);
    ngx_str_null(&referer);

    n = ngx_http_rtbus_unpack_number(&data);

    for (i = 0; i < n; i++) {
        ngx_http_rtbus_unpack_text(&data, &key);
        ngx_http_rtbus_unpack_text(&data, &value);

        if (key.len == 4 && ngx_strncasecmp(key.data, (u_char *) "host", 4)
                            == 0)
        {
            host = value;

        } else if (key.len == 7
                   && ngx_strncasecmp(key.data, (u_char *) "referer", 7) == 0)
        {
            referer = value;
        }
    }

    if (host.data) {
        p = ngx_snprintf(buf, len, ", host: \"%V\"", &host);
        len -= p - buf;
        buf = p;
    }

    if (referer.data) {
        p = ngx_snprintf(buf, len, ", referrer: \"%V\"", &referer);
    }

    return p;
}
