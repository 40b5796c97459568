
#include "ngx_http_rtbus_entry.h"
#include "ngx_http_rtbus_reply.h"
#include "ngx_http_rtbus_request.h"


static ngx_uint_t ngx_http_rtbus_entry_name(ngx_str_t *name);
static ngx_int_t ngx_http_rtbus_entry_merge(ngx_http_request_t *r,
    ngx_str_t *cursor, ngx_str_t *other);
static ngx_int_t ngx_http_rtbus_entry_parse(ngx_pool_t *pool,
    ngx_array_t *entries, ngx_str_t *cursor);
static rtbus_cursor_entry_t *ngx_http_rtbus_entry_find(ngx_array_t *entries,
    rtbus_str_t *channel);
static void ngx_http_rtbus_enter_handler(void *data, ngx_int_t rc,
    ngx_str_t *name);
static void ngx_http_rtbus_enter_cleanup(void *data);


static ngx_str_t  ngx_http_rtbus_entry_names[] = {
    ngx_string("lastEventId"),
    ngx_string("Last-Event-ID"),
    ngx_string("last_event_id"),
    ngx_string("cursor"),
    ngx_null_string
};


ngx_int_t
ngx_http_rtbus_entry_cursor(ngx_http_request_t *r, ngx_str_t *cursor)
{
    u_char           *p, *last, *end;
    ngx_str_t         name, value;
    ngx_table_elt_t  *h;

    ngx_str_null(cursor);

    h = ngx_http_rtbus_header_in(r, "last-event-id",
                                 sizeof("last-event-id") - 1);
    if (h) {
        *cursor = h->value;
    }

    last = r->args.data + r->args.len;

    for (p = r->args.data; p < last; p = end + 1) {

        end = ngx_strlchr(p, last, '&');
        if (end == NULL) {
            end = last;
        }

        name.data = p;

        p = ngx_strlchr(p, end, '=');
        if (p == NULL) {
            continue;
        }

        name.len = p++ - name.data;

        value.data = p;
        value.len = end - p;

        if (value.len == 0 || !ngx_http_rtbus_entry_name(&name)) {
            continue;
        }

        if (ngx_http_rtbus_decode(r, &value) != NGX_OK
            || ngx_http_rtbus_entry_merge(r, cursor, &value) != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus entry cursor \"%V\"", cursor);

    return NGX_OK;
}


static ngx_uint_t
ngx_http_rtbus_entry_name(ngx_str_t *name)
{
    ngx_str_t  *known;

    for (known = ngx_http_rtbus_entry_names; known->len; known++) {
        if (name->len == known->len
            && ngx_strncasecmp(name->data, known->data, known->len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


/* if one of them is malformed, it is the result: the client has to be told */

static ngx_int_t
ngx_http_rtbus_entry_merge(ngx_http_request_t *r, ngx_str_t *cursor,
    ngx_str_t *other)
{
    u_char                *p;
    ngx_int_t              rc;
    ngx_uint_t             i;
    ngx_array_t            entries, others;
    rtbus_cursor_entry_t  *entry, *to;

    if (cursor->len == 0 || ngx_http_rtbus_str_eq(cursor, other)) {
        *cursor = *other;
        return NGX_OK;
    }

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus entry cursors size:%uz and size:%uz are merged",
                   cursor->len, other->len);

    rc = ngx_http_rtbus_entry_parse(r->pool, &entries, cursor);

    if (rc != NGX_OK) {
        return (rc == NGX_DECLINED) ? NGX_OK : NGX_ERROR;
    }

    rc = ngx_http_rtbus_entry_parse(r->pool, &others, other);

    if (rc == NGX_DECLINED) {
        *cursor = *other;
        return NGX_OK;
    }

    if (rc != NGX_OK) {
        return NGX_ERROR;
    }

    entry = others.elts;

    for (i = 0; i < others.nelts; i++) {

        to = ngx_http_rtbus_entry_find(&entries, &entry[i].channel);

        if (to == NULL) {
            to = ngx_array_push(&entries);
            if (to == NULL) {
                return NGX_ERROR;
            }

            *to = entry[i];

        } else if (rtbus_pos_cmp(to->pos, entry[i].pos) < 0) {
            to->pos = entry[i].pos;
        }
    }

    /* a position has one spelling, so no entry is longer than it was */

    p = ngx_pnalloc(r->pool, cursor->len + 1 + other->len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    cursor->data = p;
    entry = entries.elts;

    for (i = 0; i < entries.nelts; i++) {

        if (i) {
            *p++ = ',';
        }

        p = ngx_cpymem(p, entry[i].channel.data, entry[i].channel.len);
        *p++ = '@';
        p += rtbus_pos_write(p, entry[i].pos);
    }

    cursor->len = p - cursor->data;

    return NGX_OK;
}


/* NGX_OK, NGX_DECLINED: the cursor is malformed, NGX_ERROR */

static ngx_int_t
ngx_http_rtbus_entry_parse(ngx_pool_t *pool, ngx_array_t *entries,
    ngx_str_t *cursor)
{
    int                    rc;
    const uint8_t         *pos;
    rtbus_cursor_entry_t   entry, *next;

    if (ngx_array_init(entries, pool, 4, sizeof(rtbus_cursor_entry_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    pos = cursor->data;

    for ( ;; ) {

        rc = rtbus_cursor_next(&entry, &pos, cursor->data + cursor->len);

        if (rc == RTBUS_AGAIN) {
            return NGX_OK;
        }

        if (rc != RTBUS_OK
            || ngx_http_rtbus_entry_find(entries, &entry.channel))
        {
            return NGX_DECLINED;
        }

        next = ngx_array_push(entries);
        if (next == NULL) {
            return NGX_ERROR;
        }

        *next = entry;
    }
}


static rtbus_cursor_entry_t *
ngx_http_rtbus_entry_find(ngx_array_t *entries, rtbus_str_t *channel)
{
    ngx_uint_t             i;
    rtbus_cursor_entry_t  *entry;

    entry = entries->elts;

    for (i = 0; i < entries->nelts; i++) {
        if (ngx_http_rtbus_str_eq(&entry[i].channel, channel)) {
            return &entry[i];
        }
    }

    return NULL;
}


ngx_int_t
ngx_http_rtbus_enter(ngx_http_request_t *r, ngx_http_rtbus_entry_t *entry,
    ngx_str_t *cursor, ngx_http_rtbus_entry_pt handler)
{
    ngx_int_t                   rc;
    ngx_http_cleanup_t         *cln;
    ngx_http_rtbus_entry_t     *waiting;
    ngx_http_rtbus_wanted_t    *wanted;
    ngx_http_rtbus_loc_conf_t  *rlcf;

    rc = ngx_http_rtbus_access_grant(r, NULL, &entry->grant);

    if (rc == NGX_DECLINED) {
        return ngx_http_rtbus_unauthorized(r, entry->grant.id.reason);
    }

    if (rc != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);
    wanted = &entry->wanted;

    rc = ngx_http_rtbus_access_channels(r->pool, &entry->grant, cursor,
                                        rlcf->max_channels, wanted,
                                        r->connection->log);
    if (rc == NGX_ERROR) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (rc != NGX_OK) {
        return ngx_http_rtbus_error(r, rc, wanted->error,
                                    wanted->name.len ? "channel" : NULL,
                                    &wanted->name);
    }

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus enter \"%V\" owned:%ui", &r->uri,
                   ngx_http_rtbus_owners_count(wanted));

    if (ngx_http_rtbus_owners_count(wanted) == 0) {
        return handler(r, entry);
    }

    /* the entry is on the caller's stack */

    cln = ngx_http_cleanup_add(r, sizeof(ngx_http_rtbus_entry_t));
    if (cln == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    waiting = cln->data;
    *waiting = *entry;

    waiting->handler = handler;
    waiting->request = r;
    waiting->cleanup = cln;

    rc = ngx_http_rtbus_owners_ask(&rlcf->bus->worker->hub,
                                   &waiting->grant.id.user, &waiting->wanted,
                                   &waiting->owners,
                                   ngx_http_rtbus_enter_handler, waiting);

    if (rc == NGX_OK) {
        return handler(r, waiting);
    }

    if (rc != NGX_AGAIN) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    cln->handler = ngx_http_rtbus_enter_cleanup;

    if (ngx_http_rtbus_wait(r) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return NGX_DONE;
}


static void
ngx_http_rtbus_enter_handler(void *data, ngx_int_t rc, ngx_str_t *name)
{
    ngx_http_rtbus_entry_t  *entry = data;

    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    entry->owners = NULL;
    entry->cleanup->handler = NULL;

    r = entry->request;
    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "rtbus owners for \"%V\" known, rc:%i", &r->uri, rc);

    switch (rc) {

    case NGX_OK:
        rc = entry->handler(r, entry);
        break;

    case NGX_DECLINED:
        ngx_http_rtbus_access_foreign(name, c->log);
        rc = ngx_http_rtbus_error(r, NGX_HTTP_FORBIDDEN,
                                  NGX_RTBUS_REASON_FORBIDDEN, "channel", name);
        break;

    default: /* NGX_ERROR */
        rc = NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_http_finalize_request(r, rc);

    ngx_http_run_posted_requests(c);
}


static void
ngx_http_rtbus_enter_cleanup(void *data)
{
    ngx_http_rtbus_entry_t  *entry = data;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, entry->request->connection->log, 0,
                   "rtbus entry cleanup, asked:%d", entry->owners != NULL);

    if (entry->owners) {
        ngx_http_rtbus_owners_cancel(entry->owners);
        entry->owners = NULL;
    }
}
