
#include "ngx_rtbus_redis_conn.h"


#define NGX_RTBUS_REDIS_DELAY_MIN    100
#define NGX_RTBUS_REDIS_DELAY_MAX    5000

/* a connection that lasted so long was a good one */
#define NGX_RTBUS_REDIS_GOOD         5000

/* ms to read what has arrived */
#define NGX_RTBUS_REDIS_LATE         10


static void ngx_rtbus_redis_conn_free(ngx_rtbus_redis_conn_t *rc);


void
ngx_rtbus_redis_conn_set_state(ngx_rtbus_redis_conn_t *rc,
    ngx_rtbus_redis_conn_state_e state)
{
    static const char *const  names[] = {
        "closed", "waiting", "locating", "resolving", "connecting",
        "securing", "greeting", "up"
    };

    ngx_log_debug3(NGX_LOG_DEBUG_EVENT, &rc->log, 0,
                   "rtbus: redis %s connection, state:%s was:%s",
                   rc->role, names[state], names[rc->state]);

    rc->state = state;
    rc->up = (state == NGX_RTBUS_REDIS_CONN_UP);
}


void
ngx_rtbus_redis_conn_keep_place(ngx_rtbus_redis_conn_t *rc, ngx_log_t *log)
{
    rc->reserved = 1;

    if (rc->place == NULL && rc->peer.connection == NULL) {
        rc->place = ngx_rtbus_redis_place(log);
    }
}


void
ngx_rtbus_redis_conn_drop_place(ngx_rtbus_redis_conn_t *rc)
{
    rc->reserved = 0;

    if (rc->place) {
        ngx_rtbus_redis_place_free(rc->place);
        rc->place = NULL;
    }
}


void
ngx_rtbus_redis_conn_leave(ngx_rtbus_redis_conn_t *rc)
{
    if (rc->exiting) {
        return;
    }

    ngx_log_debug1(NGX_LOG_DEBUG_EVENT, &rc->log, 0,
                   "rtbus: redis %s connection, the worker leaves", rc->role);

    rc->exiting = 1;

    if (rc->exiting_handler) {
        rc->exiting_handler(rc);
    }
}


ngx_int_t
ngx_rtbus_redis_conn_test(ngx_rtbus_redis_conn_t *rc)
{
    int                err;
    socklen_t          len;
    ngx_connection_t  *c;

    c = rc->peer.connection;

#if (NGX_HAVE_KQUEUE)

    if (ngx_event_flags & NGX_USE_KQUEUE_EVENT) {

        if (c->write->pending_eof || c->read->pending_eof) {

            err = c->write->pending_eof ? c->write->kq_errno
                                        : c->read->kq_errno;

            ngx_rtbus_redis_conn_lost(rc, err, "connect() failed", NULL);
            return NGX_ERROR;
        }

        return NGX_OK;
    }

#endif

    err = 0;
    len = sizeof(int);

    /*
     * BSDs and Linux return 0 and set a pending error in err
     * Solaris returns -1 and sets errno
     */

    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, (void *) &err, &len) == -1) {
        err = ngx_socket_errno;
    }

    if (err) {
        ngx_rtbus_redis_conn_lost(rc, err, "connect() failed", NULL);
        return NGX_ERROR;
    }

    return NGX_OK;
}


void
ngx_rtbus_redis_conn_fail(ngx_rtbus_redis_conn_t *rc, const char *reason)
{
    if (!rc->up) {
        return;
    }

    rc->log.action = rc->reading ? "reading from Redis" : "waiting for Redis";

    ngx_rtbus_redis_conn_lost(rc, 0, reason, NULL);
}


/*
 * A busy event loop runs its timers before it has read all that is readable.
 * So the last step is to read.
 */

ngx_int_t
ngx_rtbus_redis_conn_silent(ngx_rtbus_redis_conn_t *rc,
    ngx_rtbus_redis_silence_t *silence, ngx_msec_t since, ngx_msec_t timeout,
    ngx_msec_t *left)
{
    ngx_msec_t    step;
    ngx_event_t  *rev;

    if ((ngx_msec_int_t) (rc->heard - since) > 0) {
        since = rc->heard;
    }

    step = ngx_rtbus_redis_conn_step(timeout);

    if (silence->from != since) {
        silence->from = since;
        silence->looked = since;
        silence->listened = 0;
        silence->doubted = 0;
    }

    silence->listened += ngx_min(ngx_current_msec - silence->looked, step);
    silence->looked = ngx_current_msec;

    if (silence->listened < timeout) {
        *left = ngx_min(timeout - silence->listened, step);
        return NGX_AGAIN;
    }

    rev = rc->peer.connection->read;

    if (silence->doubted && !rev->posted) {
        return NGX_OK;
    }

    ngx_log_debug1(NGX_LOG_DEBUG_EVENT, &rc->log, 0,
                   "rtbus: redis silent for %M ms", silence->listened);

    silence->doubted = 1;
    *left = NGX_RTBUS_REDIS_LATE;

    if (!rc->rested.timer_set) {
        ngx_post_event(rev, &ngx_posted_next_events);
    }

    return NGX_AGAIN;
}


void
ngx_rtbus_redis_conn_relocate(ngx_rtbus_redis_conn_t *rc, const char *reason)
{
    rc->delay = 0;

    if (rc->up) {
        ngx_rtbus_redis_conn_fail(rc, reason);
        return;
    }

    if (rc->reconnect.timer_set) {
        ngx_add_timer(&rc->reconnect, 0);
    }
}


void
ngx_rtbus_redis_conn_break(ngx_rtbus_redis_conn_t *rc, const char *reason)
{
    if (!rc->up) {
        return;
    }

    if (rc->broken == NULL) {
        rc->broken = reason;
    }

    ngx_post_event(&rc->flush, &ngx_posted_events);
}


void
ngx_rtbus_redis_conn_close(ngx_rtbus_redis_conn_t *rc)
{
    rc->closed = 1;

    if (rc->state != NGX_RTBUS_REDIS_CONN_CLOSED) {
        ngx_rtbus_redis_conn_set_state(rc, NGX_RTBUS_REDIS_CONN_CLOSED);
    }

    ngx_rtbus_redis_conn_free(rc);
    ngx_rtbus_redis_resolve_close(&rc->resolve);

    if (!rc->reserved) {
        ngx_rtbus_redis_conn_drop_place(rc);
    }
}


/*
 * The end of every connection and attempt, but for a close by the owner.
 * text is what Redis or hiredis has to say about the reason.
 */

void
ngx_rtbus_redis_conn_lost(ngx_rtbus_redis_conn_t *rc, ngx_err_t err,
    const char *reason, ngx_str_t *text)
{
    ngx_uint_t         up, sought, level, last, first;
    ngx_msec_t         delay;
    ngx_connection_t  *c;

    up = rc->up;
    sought = (rc->state == NGX_RTBUS_REDIS_CONN_LOCATING
              || rc->state == NGX_RTBUS_REDIS_CONN_RESOLVING);
    c = rc->peer.connection;

    rc->log.log_level = rc->level;

    last = (up || sought || rc->tries + 1 >= rc->node->naddrs);
    first = (last && !rc->failing && !rc->closed
             && (up || ++rc->rounds >= rc->places));

    level = NGX_LOG_INFO;

    if (first) {
        rc->failing = 1;

        /* nginx has logged errors of system calls at this level already */

        if (sought || (c && !c->read->error && !c->write->error)) {
            level = NGX_LOG_ERR;
        }
    }

    if (text) {
        ngx_log_error(level, &rc->log, err, "rtbus: %s Redis: %s \"%V\"",
                      up ? "lost" : "could not connect to", reason, text);

    } else {
        ngx_log_error(level, &rc->log, err, "rtbus: %s Redis: %s",
                      up ? "lost" : "could not connect to", reason);
    }

    ngx_rtbus_redis_conn_free(rc);

    ngx_rtbus_redis_conn_set_state(rc, rc->closed
                                       ? NGX_RTBUS_REDIS_CONN_CLOSED
                                       : NGX_RTBUS_REDIS_CONN_WAITING);

    if (rc->node && rc->node->naddrs) {
        rc->addr = (rc->addr + 1) % rc->node->naddrs;
    }

    if (last) {
        rc->tries = 0;

        if (up && ngx_current_msec - rc->since >= NGX_RTBUS_REDIS_GOOD) {
            rc->delay = 0;
        }

        rc->delay = ngx_min(rc->delay * 2, NGX_RTBUS_REDIS_DELAY_MAX);
        rc->delay = ngx_max(rc->delay, NGX_RTBUS_REDIS_DELAY_MIN);

        delay = rc->delay - ngx_random() % (rc->delay / 2);

    } else {
        rc->tries++;
        delay = 0;
    }

    if (!rc->closed) {
        ngx_add_timer(&rc->reconnect, delay);
    }

    if (up) {
        rc->down_handler(rc, reason);

    } else if (first && rc->failed_handler) {
        rc->failed_handler(rc);
    }
}


static void
ngx_rtbus_redis_conn_free(ngx_rtbus_redis_conn_t *rc)
{
    if (rc->reconnect.timer_set) {
        ngx_del_timer(&rc->reconnect);
    }

    if (rc->rested.timer_set) {
        ngx_del_timer(&rc->rested);
    }

    if (rc->flush.posted) {
        ngx_delete_posted_event(&rc->flush);
    }

    if (rc->held.len) {
        ngx_free(rc->held.data);
        ngx_str_null(&rc->held);
    }

    if (rc->peer.connection) {
        ngx_rtbus_redis_tls_close(rc->peer.connection);
        rc->peer.connection = NULL;

        /* before anybody else asks for one */

        rc->place = ngx_rtbus_redis_place(&rc->log);
    }

    rc->peer.name = NULL;

    if (!rc->reading) {
        redisReaderFree(rc->reader);
    }

    rc->reader = NULL;

    if (rc->out.start) {
        ngx_free(rc->out.start);
        ngx_memzero(&rc->out, sizeof(ngx_buf_t));
    }

    ngx_rtbus_redis_resolve_cancel(&rc->resolve);

    rc->greeting = 0;
    rc->broken = NULL;
}


u_char *
ngx_rtbus_redis_conn_log_error(ngx_log_t *log, u_char *buf, size_t len)
{
    u_char                  *p;
    ngx_rtbus_redis_conn_t  *rc;

    p = buf;

    if (log->action) {
        p = ngx_snprintf(buf, len, " while %s", log->action);
        len -= p - buf;
        buf = p;
    }

    rc = log->data;

    p = ngx_snprintf(buf, len, ", redis: \"%V\", connection: %s",
                     &rc->conf->name, rc->role);
    len -= p - buf;
    buf = p;

    if (rc->node && rc->peer.name
        && (rc->node->naddrs > 1 || rc->locate_handler))
    {
        p = ngx_snprintf(buf, len, ", address: %V", rc->peer.name);
    }

    return p;
}


/* versions differ in where a reply has its text, and a reader its place */

ngx_int_t
ngx_rtbus_redis_conn_hiredis(void)
{
    void         *data;
    ngx_int_t     rc;
    redisReader  *reader;
    redisReply   *reply;

    static char   text[] = "$2" CRLF "ok" CRLF;

    reader = redisReaderCreate();
    if (reader == NULL) {
        return NGX_ERROR;
    }

    if (redisReaderFeed(reader, text, sizeof(text) - 1) != REDIS_OK
        || redisReaderGetReply(reader, &data) != REDIS_OK
        || data == NULL)
    {
        redisReaderFree(reader);
        return NGX_ERROR;
    }

    reply = data;

    rc = (reply->type == REDIS_REPLY_STRING
          && reply->len == 2
          && ngx_memcmp(reply->str, "ok", 2) == 0
          && reader->pos == reader->len
          && reader->ridx == -1)
         ? NGX_OK : NGX_DECLINED;

    freeReplyObject(reply);
    redisReaderFree(reader);

    return rc;
}
