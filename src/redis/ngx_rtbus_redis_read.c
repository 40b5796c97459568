
#include "ngx_rtbus_redis_read.h"


/* reads per event, so that clients are written to in between */
#define NGX_RTBUS_REDIS_READS        16
#define NGX_RTBUS_REDIS_READ_SIZE    65536

/* deliveries that one read may make: some 20 ms of work, with the writes */

#define NGX_RTBUS_REDIS_TURN         32768

/*
 * The reader moves what is left of its buffer to the front with each KiB of
 * replies taken from it: with little bytes at a time there is little to move.
 */
#define NGX_RTBUS_REDIS_FEED_SIZE    4096

/* the longest string Redis itself would accept, proto-max-bulk-len */
#define NGX_RTBUS_REDIS_MAX_REPLY    (512 * 1024 * 1024)

/*
 * Arrays in arrays: old versions of hiredis stop here, new ones never, and free
 * a reply by recursion.
 */
#define NGX_RTBUS_REDIS_MAX_DEPTH    8


static void ngx_rtbus_redis_read_rest(ngx_rtbus_redis_conn_t *rc);
static ngx_int_t ngx_rtbus_redis_read_resume(ngx_rtbus_redis_conn_t *rc);
static ngx_int_t ngx_rtbus_redis_read_hold(ngx_rtbus_redis_conn_t *rc,
    u_char *buf, size_t len);
static ngx_int_t ngx_rtbus_redis_read_parse(ngx_rtbus_redis_conn_t *rc,
    u_char *buf, size_t len);
static size_t ngx_rtbus_redis_read_portion(ngx_rtbus_redis_conn_t *rc,
    u_char *buf, size_t len);


static u_char      ngx_rtbus_redis_read_buf[NGX_RTBUS_REDIS_READ_SIZE];

/* deliveries of the current read; does it resume an earlier one */

static ngx_uint_t  ngx_rtbus_redis_read_spent;
static ngx_uint_t  ngx_rtbus_redis_read_resumes;


void
ngx_rtbus_redis_read_handler(ngx_event_t *rev)
{
    ssize_t                  n;
    ngx_uint_t               i;
    ngx_connection_t        *c;
    ngx_rtbus_redis_conn_t  *rc;

    c = rev->data;
    rc = c->data;

    ngx_log_debug2(NGX_LOG_DEBUG_EVENT, rev->log, 0,
                   "rtbus: redis read handler, up:%d close:%d",
                   rc->up, c->close);

    if (c->close) {
        c->close = 0;

        if (c->error) {
            rc->closed = 1;
            rc->log.action = NULL;
            ngx_rtbus_redis_conn_lost(rc, 0, "worker shutdown timed out", NULL);
            return;
        }

        ngx_rtbus_redis_conn_leave(rc);
        return;
    }

    if (rc->state < NGX_RTBUS_REDIS_CONN_GREETING) {

        /* an error; otherwise the write event is on its way */

        (void) ngx_rtbus_redis_conn_test(rc);
        return;
    }

    rc->log.action = rc->up ? "reading from Redis" : "greeting Redis";

    ngx_rtbus_redis_read_spent = 0;

    if (rc->held.len && ngx_rtbus_redis_read_resume(rc) != NGX_OK) {
        return;
    }

    for (i = 0;
         rev->ready && i < NGX_RTBUS_REDIS_READS && rc->held.len == 0;
         i++)
    {
        n = c->recv(c, ngx_rtbus_redis_read_buf, NGX_RTBUS_REDIS_READ_SIZE);

        if (n == NGX_AGAIN) {
            break;
        }

        if (n == NGX_ERROR) {
            ngx_rtbus_redis_conn_lost(rc, 0, "recv() failed", NULL);
            return;
        }

        if (n == 0) {
            ngx_rtbus_redis_conn_lost(rc, 0, "connection closed by Redis",
                                      NULL);
            return;
        }

        rc->heard = ngx_current_msec;

        if (ngx_rtbus_redis_read_parse(rc, ngx_rtbus_redis_read_buf, n)
            != NGX_OK)
        {
            return;
        }
    }

    if (rc->rest && rc->up && i && rc->held.len == 0) {
        ngx_rtbus_redis_read_rest(rc);
        return;
    }

    if (rev->ready || rc->held.len) {
        ngx_post_event(rev, &ngx_posted_next_events);
        return;
    }

    if (ngx_handle_read_event(rev, 0) != NGX_OK) {
        ngx_rtbus_redis_conn_lost(rc, 0, "read event failed", NULL);
    }
}


/*
 * Messages that arrive during the rest are read in one piece, and each client
 * gets them in one write.  The kernel must not wake up the worker for them.
 */

static void
ngx_rtbus_redis_read_rest(ngx_rtbus_redis_conn_t *rc)
{
    ngx_event_t  *rev;

    rev = rc->peer.connection->read;

    if (rev->active && ngx_del_event(rev, NGX_READ_EVENT, NGX_CLEAR_EVENT)
                       != NGX_OK)
    {
        ngx_rtbus_redis_conn_lost(rc, 0, "read event failed", NULL);
        return;
    }

    ngx_add_timer(&rc->rested, rc->rest);
}


void
ngx_rtbus_redis_read_rested(ngx_event_t *ev)
{
    ngx_rtbus_redis_conn_t  *rc;

    rc = ev->data;

    ngx_log_debug1(NGX_LOG_DEBUG_EVENT, ev->log, 0,
                   "rtbus: redis has rested, ms:%M", rc->rest);

    rc->peer.connection->read->ready = 1;

    ngx_rtbus_redis_read_handler(rc->peer.connection->read);
}


/*
 * One read may contain work for seconds, since each event is delivered to all
 * clients of its channel.  Other events get their turn in between.
 */

ngx_uint_t
ngx_rtbus_redis_conn_spend(ngx_uint_t deliveries)
{
    ngx_uint_t  before;

    before = ngx_rtbus_redis_read_spent;
    ngx_rtbus_redis_read_spent += deliveries;

    return ngx_rtbus_redis_read_resumes
           && before < NGX_RTBUS_REDIS_TURN
           && ngx_rtbus_redis_read_spent >= NGX_RTBUS_REDIS_TURN;
}


/* the rest of a read; NGX_ERROR: the connection is gone */

static ngx_int_t
ngx_rtbus_redis_read_resume(ngx_rtbus_redis_conn_t *rc)
{
    ngx_int_t  n;
    ngx_str_t  held;

    held = rc->held;
    ngx_str_null(&rc->held);

    /* it is not Redis that is silent */

    rc->heard = ngx_current_msec;

    ngx_rtbus_redis_read_resumes = 1;

    n = ngx_rtbus_redis_read_parse(rc, held.data, held.len);

    ngx_rtbus_redis_read_resumes = 0;

    ngx_free(held.data);

    return n;
}


static ngx_int_t
ngx_rtbus_redis_read_hold(ngx_rtbus_redis_conn_t *rc, u_char *buf, size_t len)
{
    rc->held.data = ngx_alloc(len, &rc->log);
    if (rc->held.data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(rc->held.data, buf, len);
    rc->held.len = len;

    ngx_log_debug2(NGX_LOG_DEBUG_EVENT, &rc->log, 0,
                   "rtbus: redis read is held, deliveries:%ui left:%uz",
                   ngx_rtbus_redis_read_spent, len);

    return NGX_OK;
}


/* NGX_ERROR: the connection is gone */

static ngx_int_t
ngx_rtbus_redis_read_parse(ngx_rtbus_redis_conn_t *rc, u_char *buf, size_t len)
{
    void         *reply;
    size_t        size;
    ngx_str_t     text;
    redisReader  *reader;

    /* a handler may end the connection, the reader is left to this function */

    reader = rc->reader;
    rc->reading = 1;

    while (len) {

        if (ngx_rtbus_redis_read_spent >= NGX_RTBUS_REDIS_TURN
            && ngx_rtbus_redis_read_hold(rc, buf, len) == NGX_OK)
        {
            break;
        }

        if (rc->raw_handler && rc->up && !rc->partial) {

            size = rc->raw_handler(rc, buf, len);

            if (rc->peer.connection == NULL) {
                goto closed;
            }

            if (size) {
                buf += size;
                len -= size;
                continue;
            }
        }

        size = ngx_rtbus_redis_read_portion(rc, buf, len);

        if (redisReaderFeed(reader, (char *) buf, size) != REDIS_OK) {
            goto invalid;
        }

        buf += size;
        len -= size;

        rc->partial = 1;

        do {
            if (redisReaderGetReply(reader, &reply) != REDIS_OK) {
                goto invalid;
            }

            if (reply == NULL) {
                break;
            }

            if (rc->up) {
                rc->reply_handler(rc, reply);

            } else {
                rc->greeted(rc, reply);
            }

            freeReplyObject(reply);

            if (rc->peer.connection == NULL) {
                goto closed;
            }

            rc->partial = (reader->pos != reader->len);

        } while (rc->partial);

        if (reader->ridx > NGX_RTBUS_REDIS_MAX_DEPTH) {
            rc->reading = 0;
            ngx_str_set(&text, "nested too deep");
            ngx_rtbus_redis_conn_lost(rc, 0, "invalid reply", &text);
            return NGX_ERROR;
        }

        if (reader->len - reader->pos > NGX_RTBUS_REDIS_MAX_REPLY) {
            rc->reading = 0;
            ngx_rtbus_redis_conn_lost(rc, 0, "reply too long", NULL);
            return NGX_ERROR;
        }
    }

    rc->reading = 0;

    return NGX_OK;

closed:

    rc->reading = 0;

    redisReaderFree(reader);

    return NGX_ERROR;

invalid:

    rc->reading = 0;

    text.data = (u_char *) reader->errstr;
    text.len = ngx_strlen(reader->errstr);

    ngx_rtbus_redis_conn_lost(rc, 0, "invalid reply", &text);

    return NGX_ERROR;
}


/*
 * How many bytes the reader gets at once.  If there is a raw handler, they end
 * at what looks like the end of a reply.  Otherwise the reader would also get a
 * part of the next reply, and during a flood no reply would reach the raw
 * handler ever again.  If it was not the end, the reader just gets more bytes.
 */

static size_t
ngx_rtbus_redis_read_portion(ngx_rtbus_redis_conn_t *rc, u_char *buf,
    size_t len)
{
    u_char  *p, *last;

    len = ngx_min(len, NGX_RTBUS_REDIS_FEED_SIZE);

    if (rc->raw_handler == NULL) {
        return len;
    }

    p = buf;
    last = buf + len;

    while (last - p > 2) {

        p = memchr(p, CR, last - p - 2);

        if (p == NULL) {
            break;
        }

        if (p[1] == LF && p[2] == '*') {
            return p + 2 - buf;
        }

        p++;
    }

    return len;
}
