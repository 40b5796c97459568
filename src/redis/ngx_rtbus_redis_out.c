
#include "ngx_rtbus_redis_out.h"
#include "rtbus_number.h"


/* type, number, CR and LF ahead of each array and string, at most */
#define NGX_RTBUS_REDIS_HEADER       (RTBUS_NUMBER_MAX + 3)

#define NGX_RTBUS_REDIS_OUT_SIZE     4096
#define NGX_RTBUS_REDIS_OUT_KEEP     65536
#define NGX_RTBUS_REDIS_OUT_MAX      (64 * 1024 * 1024)
#define NGX_RTBUS_REDIS_OUT_REST     (8 * 1024 * 1024)
#define NGX_RTBUS_REDIS_OUT_SMALL    16384


static ngx_uint_t ngx_rtbus_redis_out_fits(ngx_rtbus_redis_conn_t *rc,
    size_t len);
static void ngx_rtbus_redis_out_refuse(ngx_rtbus_redis_conn_t *rc,
    const char *command, size_t len);
static u_char *ngx_rtbus_redis_out_header(u_char *p, u_char type, size_t n);
static ngx_int_t ngx_rtbus_redis_out_reserve(ngx_rtbus_redis_conn_t *rc,
    size_t len);


ngx_int_t
ngx_rtbus_redis_conn_send(ngx_rtbus_redis_conn_t *rc, int argc,
    const char **argv, const size_t *argvlen)
{
    if (!rc->up) {
        return NGX_DECLINED;
    }

    if (rc->broken) {
        return NGX_ERROR;
    }

    if (ngx_rtbus_redis_out_append(rc, argc, argv, argvlen) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_post_event(&rc->flush, &ngx_posted_events);

    return NGX_OK;
}


/* an array of strings, as Redis wants its commands */

ngx_int_t
ngx_rtbus_redis_out_append(ngx_rtbus_redis_conn_t *rc, int argc,
    const char **argv, const size_t *argvlen)
{
    int      i;
    size_t   len;
    u_char  *p;

    len = NGX_RTBUS_REDIS_HEADER;

    for (i = 0; i < argc && len <= NGX_RTBUS_REDIS_OUT_MAX; i++) {

        if (argvlen[i] > NGX_RTBUS_REDIS_OUT_MAX) {
            len = argvlen[i];
            break;
        }

        len += NGX_RTBUS_REDIS_HEADER + argvlen[i] + 2;
    }

    if (!ngx_rtbus_redis_out_fits(rc, len)) {
        ngx_rtbus_redis_out_refuse(rc, argv[0], len);
        return NGX_ERROR;
    }

    if (ngx_rtbus_redis_out_reserve(rc, len) != NGX_OK) {
        return NGX_ERROR;
    }

    p = ngx_rtbus_redis_out_header(rc->out.last, '*', argc);

    for (i = 0; i < argc; i++) {
        p = ngx_rtbus_redis_out_header(p, '$', argvlen[i]);

        if (argvlen[i]) {
            p = ngx_cpymem(p, argv[i], argvlen[i]);
        }

        *p++ = CR;
        *p++ = LF;
    }

    rc->out.last = p;

    return NGX_OK;
}


/*
 * A command that does not fit is refused; others are not affected.  The last
 * part of the room is for small commands, so that large ones cannot block them.
 */

static ngx_uint_t
ngx_rtbus_redis_out_fits(ngx_rtbus_redis_conn_t *rc, size_t len)
{
    size_t  max;

    max = (len > NGX_RTBUS_REDIS_OUT_SMALL)
          ? NGX_RTBUS_REDIS_OUT_MAX - NGX_RTBUS_REDIS_OUT_REST
          : NGX_RTBUS_REDIS_OUT_MAX;

    return len <= max && (size_t) (rc->out.last - rc->out.pos) <= max - len;
}


static void
ngx_rtbus_redis_out_refuse(ngx_rtbus_redis_conn_t *rc, const char *command,
    size_t len)
{
    ngx_uint_t  level;

    level = NGX_LOG_INFO;

    if (rc->refused != ngx_time()) {
        rc->refused = ngx_time();
        level = NGX_LOG_WARN;
    }

    ngx_log_error(level, &rc->log, 0,
                  "rtbus: no room to send %s of %uz bytes to Redis, "
                  "unsent: %uz", command, len,
                  (size_t) (rc->out.last - rc->out.pos));
}


static u_char *
ngx_rtbus_redis_out_header(u_char *p, u_char type, size_t n)
{
    *p++ = type;
    p += rtbus_number_write(p, n);
    *p++ = CR;
    *p++ = LF;

    return p;
}


static ngx_int_t
ngx_rtbus_redis_out_reserve(ngx_rtbus_redis_conn_t *rc, size_t len)
{
    u_char     *p;
    size_t      size, used;
    ngx_buf_t  *b;

    b = &rc->out;

    if (len <= (size_t) (b->end - b->last)) {
        return NGX_OK;
    }

    used = b->last - b->pos;
    size = b->end - b->start;

    if (used + len <= size && used <= size / 2) {
        ngx_memmove(b->start, b->pos, used);
        b->pos = b->start;
        b->last = b->pos + used;
        return NGX_OK;
    }

    size = ngx_max(size * 2, NGX_RTBUS_REDIS_OUT_SIZE);

    while (size < used + len) {
        size *= 2;
    }

    p = ngx_alloc(size, &rc->log);
    if (p == NULL) {
        return NGX_ERROR;
    }

    if (b->start) {
        ngx_memcpy(p, b->pos, used);
        ngx_free(b->start);
    }

    b->start = p;
    b->pos = p;
    b->last = p + used;
    b->end = p + size;

    return NGX_OK;
}


void
ngx_rtbus_redis_out_flush_handler(ngx_event_t *ev)
{
    ngx_rtbus_redis_conn_t  *rc;

    rc = ev->data;

    ngx_log_debug1(NGX_LOG_DEBUG_EVENT, ev->log, 0,
                   "rtbus: redis flush handler, size:%uz",
                   (size_t) (rc->out.last - rc->out.pos));

    if (rc->broken) {
        rc->log.action = "writing to Redis";
        ngx_rtbus_redis_conn_lost(rc, 0, rc->broken, NULL);
        return;
    }

    if (rc->peer.connection->write->ready) {
        ngx_rtbus_redis_out_write(rc);
    }
}


void
ngx_rtbus_redis_out_write(ngx_rtbus_redis_conn_t *rc)
{
    ssize_t            n;
    ngx_buf_t         *b;
    ngx_connection_t  *c;

    c = rc->peer.connection;
    b = &rc->out;

    if (rc->up) {
        rc->log.action = "writing to Redis";
    }

    while (b->pos < b->last) {

        n = c->send(c, b->pos, b->last - b->pos);

        if (n == NGX_ERROR) {
            ngx_rtbus_redis_conn_lost(rc, 0, "send() failed", NULL);
            return;
        }

        if (n == NGX_AGAIN || n == 0) {
            break;
        }

        b->pos += n;
    }

    if (b->pos == b->last) {

        if (b->end - b->start > NGX_RTBUS_REDIS_OUT_KEEP) {
            ngx_free(b->start);
            ngx_memzero(b, sizeof(ngx_buf_t));
        }

        b->pos = b->start;
        b->last = b->start;
    }

    if (ngx_handle_write_event(c->write, 0) != NGX_OK) {
        ngx_rtbus_redis_conn_lost(rc, 0, "write event failed", NULL);
    }
}
