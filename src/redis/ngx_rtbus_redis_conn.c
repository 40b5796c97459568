
#include "ngx_rtbus_redis_conn.h"
#include "rtbus_number.h"


#define NGX_RTBUS_REDIS_DELAY_MIN    100
#define NGX_RTBUS_REDIS_DELAY_MAX    5000

/* a connection that lasted so long was a good one */
#define NGX_RTBUS_REDIS_GOOD         5000

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

/* TCP keepalive, s: a peer that is gone is noticed after 30 s of silence */
#define NGX_RTBUS_REDIS_KEEPIDLE     15
#define NGX_RTBUS_REDIS_KEEPINTVL    5
#define NGX_RTBUS_REDIS_KEEPCNT      3

/* ms to read what has arrived */
#define NGX_RTBUS_REDIS_LATE         10

/* type, number, CR and LF ahead of each array and string, at most */
#define NGX_RTBUS_REDIS_HEADER       (RTBUS_NUMBER_MAX + 3)

#define NGX_RTBUS_REDIS_OUT_SIZE     4096
#define NGX_RTBUS_REDIS_OUT_KEEP     65536
#define NGX_RTBUS_REDIS_OUT_MAX      (64 * 1024 * 1024)
#define NGX_RTBUS_REDIS_OUT_REST     (8 * 1024 * 1024)
#define NGX_RTBUS_REDIS_OUT_SMALL    16384


static void ngx_rtbus_redis_conn_locate(ngx_event_t *ev);
static void ngx_rtbus_redis_conn_resolved(ngx_rtbus_redis_resolve_t *rr,
    const char *reason);
static void ngx_rtbus_redis_conn_connect(ngx_rtbus_redis_conn_t *rc);
static ngx_int_t ngx_rtbus_redis_conn_take_place(ngx_rtbus_redis_conn_t *rc);
static void ngx_rtbus_redis_conn_connected(ngx_rtbus_redis_conn_t *rc);
static void ngx_rtbus_redis_conn_secure(ngx_rtbus_redis_conn_t *rc);
static void ngx_rtbus_redis_conn_secured(ngx_connection_t *c);
static void ngx_rtbus_redis_conn_start(ngx_rtbus_redis_conn_t *rc);
static void ngx_rtbus_redis_conn_keepalive(ngx_rtbus_redis_conn_t *rc);
static ngx_int_t ngx_rtbus_redis_conn_test(ngx_rtbus_redis_conn_t *rc);
static ngx_int_t ngx_rtbus_redis_conn_greet(ngx_rtbus_redis_conn_t *rc);
static void ngx_rtbus_redis_conn_greeted(ngx_rtbus_redis_conn_t *rc,
    redisReply *reply);
static void ngx_rtbus_redis_conn_read_handler(ngx_event_t *rev);
static void ngx_rtbus_redis_conn_rest(ngx_rtbus_redis_conn_t *rc);
static void ngx_rtbus_redis_conn_rested(ngx_event_t *ev);
static ngx_int_t ngx_rtbus_redis_conn_resume(ngx_rtbus_redis_conn_t *rc);
static ngx_int_t ngx_rtbus_redis_conn_hold(ngx_rtbus_redis_conn_t *rc,
    u_char *buf, size_t len);
static ngx_int_t ngx_rtbus_redis_conn_parse(ngx_rtbus_redis_conn_t *rc,
    u_char *buf, size_t len);
static size_t ngx_rtbus_redis_conn_portion(ngx_rtbus_redis_conn_t *rc,
    u_char *buf, size_t len);
static void ngx_rtbus_redis_conn_write_handler(ngx_event_t *wev);
static void ngx_rtbus_redis_conn_flush_handler(ngx_event_t *ev);
static void ngx_rtbus_redis_conn_write(ngx_rtbus_redis_conn_t *rc);
static ngx_int_t ngx_rtbus_redis_conn_append(ngx_rtbus_redis_conn_t *rc,
    int argc, const char **argv, const size_t *argvlen);
static ngx_uint_t ngx_rtbus_redis_conn_fits(ngx_rtbus_redis_conn_t *rc,
    size_t len);
static void ngx_rtbus_redis_conn_refuse(ngx_rtbus_redis_conn_t *rc,
    const char *command, size_t len);
static u_char *ngx_rtbus_redis_conn_header(u_char *p, u_char type, size_t n);
static ngx_int_t ngx_rtbus_redis_conn_reserve(ngx_rtbus_redis_conn_t *rc,
    size_t len);
static void ngx_rtbus_redis_conn_leave(ngx_rtbus_redis_conn_t *rc);
static void ngx_rtbus_redis_conn_lost(ngx_rtbus_redis_conn_t *rc,
    ngx_err_t err, const char *reason, ngx_str_t *text);
static void ngx_rtbus_redis_conn_free(ngx_rtbus_redis_conn_t *rc);
static u_char *ngx_rtbus_redis_conn_log_error(ngx_log_t *log, u_char *buf,
    size_t len);


static u_char      ngx_rtbus_redis_conn_buf[NGX_RTBUS_REDIS_READ_SIZE];

/* deliveries of the read that is under way, and does it resume an earlier one */

static ngx_uint_t  ngx_rtbus_redis_conn_spent;
static ngx_uint_t  ngx_rtbus_redis_conn_resumes;


ngx_int_t
ngx_rtbus_redis_conn_init(ngx_rtbus_redis_conn_t *rc, ngx_log_t *log)
{
    rc->up = 0;
    rc->closed = 0;
    rc->connected = 0;
    rc->failing = 0;
    rc->replica = 0;
    rc->mute = 0;
    rc->reading = 0;
    rc->partial = 0;
    rc->exiting = 0;
    rc->locating = 0;
    rc->resolving = 0;

    rc->log = *log;
    rc->log.handler = ngx_rtbus_redis_conn_log_error;
    rc->log.data = rc;
    rc->log.action = NULL;
    rc->level = rc->log.log_level;

    if (rc->place == NULL) {
        rc->place = ngx_rtbus_redis_place(&rc->log);
    }

    ngx_memzero(&rc->peer, sizeof(ngx_peer_connection_t));
    rc->peer.get = ngx_event_get_peer;
    rc->peer.log = &rc->log;
    rc->peer.so_keepalive = 1;

    ngx_memzero(&rc->resolve, sizeof(ngx_rtbus_redis_resolve_t));
    rc->resolve.conf = rc->conf;
    rc->resolve.handler = ngx_rtbus_redis_conn_resolved;
    rc->resolve.data = rc;
    rc->resolve.log = &rc->log;

    rc->node = NULL;
    rc->addr = 0;
    rc->tries = 0;
    rc->rounds = 0;
    rc->greeting = 0;
    rc->reader = NULL;
    rc->broken = NULL;
    rc->heard = 0;
    ngx_str_null(&rc->held);
    rc->refused = 0;
    rc->since = 0;
    rc->delay = 0;

    ngx_memzero(&rc->out, sizeof(ngx_buf_t));

    ngx_memzero(&rc->reconnect, sizeof(ngx_event_t));
    rc->reconnect.handler = ngx_rtbus_redis_conn_locate;
    rc->reconnect.data = rc;
    rc->reconnect.log = &rc->log;
    rc->reconnect.cancelable = 1;

    ngx_memzero(&rc->rested, sizeof(ngx_event_t));
    rc->rested.handler = ngx_rtbus_redis_conn_rested;
    rc->rested.data = rc;
    rc->rested.log = &rc->log;
    rc->rested.cancelable = 1;

    ngx_memzero(&rc->flush, sizeof(ngx_event_t));
    rc->flush.handler = ngx_rtbus_redis_conn_flush_handler;
    rc->flush.data = rc;
    rc->flush.log = &rc->log;

    ngx_add_timer(&rc->reconnect, 0);

    return NGX_OK;
}


static void
ngx_rtbus_redis_conn_locate(ngx_event_t *ev)
{
    ngx_rtbus_redis_conn_t  *rc;

    rc = ev->data;

    if (ngx_exiting) {

        /* there was no connection that nginx could have asked to close */

        ngx_rtbus_redis_conn_leave(rc);

        if (rc->closed) {
            return;
        }
    }

    if (rc->tries) {
        ngx_rtbus_redis_conn_connect(rc);
        return;
    }

    rc->log.action = "looking for Redis";
    rc->locating = 1;

    if (rc->locate_handler) {
        rc->locate_handler(rc);
        return;
    }

    ngx_rtbus_redis_conn_located(rc, rc->conf->nodes, NULL);
}


void
ngx_rtbus_redis_conn_located(ngx_rtbus_redis_conn_t *rc,
    ngx_rtbus_redis_node_t *node, const char *reason)
{
    if (!rc->locating) {
        return;
    }

    if (node == NULL) {
        ngx_rtbus_redis_conn_lost(rc, 0, reason, NULL);
        return;
    }

    rc->locating = 0;
    rc->resolving = 1;

    rc->log.action = "resolving the name of Redis";

    ngx_rtbus_redis_resolve(&rc->resolve, node);
}


static void
ngx_rtbus_redis_conn_resolved(ngx_rtbus_redis_resolve_t *rr,
    const char *reason)
{
    ngx_rtbus_redis_conn_t  *rc;

    rc = rr->data;

    if (reason) {
        ngx_rtbus_redis_conn_lost(rc, 0, reason, NULL);
        return;
    }

    rc->resolving = 0;

    rc->node = &rr->node;
    rc->addr %= rc->node->naddrs;

    ngx_rtbus_redis_conn_connect(rc);
}


static void
ngx_rtbus_redis_conn_connect(ngx_rtbus_redis_conn_t *rc)
{
    ngx_int_t          n;
    ngx_uint_t         quiet;
    ngx_addr_t        *addr;
    ngx_connection_t  *c;

    ngx_log_debug2(NGX_LOG_DEBUG_EVENT, &rc->log, 0,
                   "rtbus redis connect, address:%ui, delay:%M",
                   rc->addr, rc->delay);

    rc->replica = 0;
    rc->mute = 0;

    addr = &rc->node->addrs[rc->addr];

    rc->peer.sockaddr = addr->sockaddr;
    rc->peer.socklen = addr->socklen;
    rc->peer.name = &addr->name;

    rc->log.action = "connecting to Redis";

    /* nginx logs what fails itself, but it is no news with each attempt */

    quiet = (rc->failing || rc->tries + 1 < rc->node->naddrs
             || rc->rounds + 1 < rc->places);

    if (quiet) {
        rc->log.log_level = ngx_min(rc->level, NGX_LOG_ALERT);
    }

    rc->peer.log_error = quiet ? NGX_ERROR_INFO : NGX_ERROR_ERR;

    if (ngx_rtbus_redis_conn_take_place(rc) != NGX_OK) {
        return;
    }

    n = ngx_event_connect_peer(&rc->peer);

    if (n != NGX_OK && n != NGX_AGAIN) {
        ngx_rtbus_redis_conn_lost(rc, 0, "connect() failed", NULL);
        return;
    }

    c = rc->peer.connection;

    c->data = rc;
    c->idle = 1;

    c->read->handler = ngx_rtbus_redis_conn_read_handler;
    c->write->handler = ngx_rtbus_redis_conn_write_handler;

    c->write->cancelable = 1;
    ngx_add_timer(c->write, rc->conf->connect_timeout);

    if (n == NGX_OK) {
        ngx_rtbus_redis_conn_connected(rc);
    }
}


/* it is free for the connection that is made next; else that has failed */

static ngx_int_t
ngx_rtbus_redis_conn_take_place(ngx_rtbus_redis_conn_t *rc)
{
    if (rc->place == NULL) {
        rc->place = ngx_rtbus_redis_place(&rc->log);
    }

    if (rc->place) {
        ngx_rtbus_redis_place_free(rc->place);
        rc->place = NULL;
        return NGX_OK;
    }

    ngx_log_debug1(NGX_LOG_DEBUG_EVENT, &rc->log, 0,
                   "rtbus redis conn has no place, free:%ui",
                   ngx_cycle->free_connection_n);

    if (rc->full_handler) {
        rc->full_handler(rc);
    }

    ngx_rtbus_redis_conn_lost(rc, 0, "no worker_connections or no file "
                              "descriptor is left", NULL);

    return NGX_ERROR;
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


static void
ngx_rtbus_redis_conn_connected(ngx_rtbus_redis_conn_t *rc)
{
    ngx_connection_t  *c;

    c = rc->peer.connection;

    if (ngx_rtbus_redis_conn_test(rc) != NGX_OK) {
        return;
    }

    if (ngx_tcp_nodelay(c) != NGX_OK) {
        ngx_rtbus_redis_conn_lost(rc, 0, "setsockopt() failed", NULL);
        return;
    }

    ngx_rtbus_redis_conn_keepalive(rc);

    if (rc->conf->tls) {
        ngx_rtbus_redis_conn_secure(rc);
        return;
    }

    ngx_rtbus_redis_conn_start(rc);
}


static void
ngx_rtbus_redis_conn_secure(ngx_rtbus_redis_conn_t *rc)
{
    ngx_int_t          n;
    ngx_connection_t  *c;

    c = rc->peer.connection;

    rc->log.action = "TLS handshaking with Redis";

    n = ngx_rtbus_redis_tls_handshake(c, rc->conf->tls, &rc->node->host,
                                      ngx_rtbus_redis_conn_secured);

    if (n == NGX_ERROR) {
        ngx_rtbus_redis_conn_lost(rc, 0, "TLS handshake failed", NULL);
        return;
    }

    if (n == NGX_OK) {
        ngx_rtbus_redis_conn_secured(c);
    }
}


static void
ngx_rtbus_redis_conn_secured(ngx_connection_t *c)
{
    ngx_str_t                text;
    const char              *reason;
    ngx_rtbus_redis_conn_t  *rc;

    rc = c->data;

    if (c->write->timedout) {
        ngx_rtbus_redis_conn_lost(rc, NGX_ETIMEDOUT, "no TLS handshake", NULL);
        return;
    }

    reason = ngx_rtbus_redis_tls_verify(c, rc->conf->tls, &rc->node->host,
                                        &text);

    if (reason) {
        ngx_rtbus_redis_conn_lost(rc, 0, reason, text.len ? &text : NULL);
        return;
    }

    c->read->handler = ngx_rtbus_redis_conn_read_handler;
    c->write->handler = ngx_rtbus_redis_conn_write_handler;

    ngx_rtbus_redis_conn_start(rc);
}


static void
ngx_rtbus_redis_conn_start(ngx_rtbus_redis_conn_t *rc)
{
    ngx_connection_t  *c;

    c = rc->peer.connection;

    rc->connected = 1;
    rc->log.action = "greeting Redis";

    rc->partial = 0;
    rc->reader = redisReaderCreate();

    if (rc->reader == NULL || ngx_rtbus_redis_conn_greet(rc) != NGX_OK) {
        ngx_rtbus_redis_conn_lost(rc, 0, "no memory", NULL);
        return;
    }

    if (c->read->ready) {

        /* what a read event has told before, Redis may have said no already */

        ngx_post_event(c->read, &ngx_posted_events);
    }

    ngx_rtbus_redis_conn_write(rc);
}


/* the system's own times are hours; SO_KEEPALIVE is set by the connect */

static void
ngx_rtbus_redis_conn_keepalive(ngx_rtbus_redis_conn_t *rc)
{
#if (NGX_HAVE_KEEPALIVE_TUNABLE)

    ngx_uint_t  i;

    static struct {
        int     name;
        int     value;
    } options[] = {
        { TCP_KEEPIDLE, NGX_RTBUS_REDIS_KEEPIDLE },
        { TCP_KEEPINTVL, NGX_RTBUS_REDIS_KEEPINTVL },
        { TCP_KEEPCNT, NGX_RTBUS_REDIS_KEEPCNT }
    };

    if (rc->peer.sockaddr->sa_family == AF_UNIX) {
        return;
    }

    for (i = 0; i < sizeof(options) / sizeof(options[0]); i++) {

        if (setsockopt(rc->peer.connection->fd, IPPROTO_TCP, options[i].name,
                       (const void *) &options[i].value, sizeof(int))
            == -1)
        {
            ngx_log_error(NGX_LOG_INFO, &rc->log, ngx_socket_errno,
                          "setsockopt() of TCP keepalive failed");
            return;
        }
    }

#endif
}


static ngx_int_t
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


static ngx_int_t
ngx_rtbus_redis_conn_greet(ngx_rtbus_redis_conn_t *rc)
{
    u_char                  *p;
    u_char                   name[64], db[NGX_INT_T_LEN];
    size_t                   len[3];
    ngx_int_t                argc;
    const char              *argv[3];
    ngx_rtbus_redis_conf_t  *conf;

    conf = rc->conf;

    if (conf->user.len || conf->password.len) {
        argc = 0;

        argv[argc] = "AUTH";
        len[argc++] = 4;

        if (conf->user.len) {
            argv[argc] = (char *) conf->user.data;
            len[argc++] = conf->user.len;
        }

        argv[argc] = conf->password.len ? (char *) conf->password.data : "";
        len[argc++] = conf->password.len;

        if (ngx_rtbus_redis_conn_append(rc, argc, argv, len) != NGX_OK) {
            return NGX_ERROR;
        }

        rc->greeting++;
    }

    if (conf->db) {
        p = ngx_sprintf(db, "%ui", conf->db);

        argv[0] = "SELECT";
        len[0] = 6;
        argv[1] = (char *) db;
        len[1] = p - db;

        if (ngx_rtbus_redis_conn_append(rc, 2, argv, len) != NGX_OK) {
            return NGX_ERROR;
        }

        rc->greeting++;
    }

    argv[0] = "PING";
    len[0] = 4;

    if (ngx_rtbus_redis_conn_append(rc, 1, argv, len) != NGX_OK) {
        return NGX_ERROR;
    }

    rc->greeting++;

    p = ngx_snprintf(name, sizeof(name), "rtbus-%s-%P", rc->role, ngx_pid);

    argv[0] = "CLIENT";
    len[0] = 6;
    argv[1] = "SETNAME";
    len[1] = 7;
    argv[2] = (char *) name;
    len[2] = p - name;

    if (ngx_rtbus_redis_conn_append(rc, 3, argv, len) != NGX_OK) {
        return NGX_ERROR;
    }

    rc->greeting++;

    if (rc->check == NULL) {
        return NGX_OK;
    }

    if (ngx_rtbus_redis_conn_append(rc, rc->check->argc, rc->check->argv,
                                    rc->check->len)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    rc->greeting++;

    return NGX_OK;
}


static void
ngx_rtbus_redis_conn_greeted(ngx_rtbus_redis_conn_t *rc, redisReply *reply)
{
    u_char            *p;
    ngx_str_t          text;
    ngx_uint_t         left;
    const char        *reason;
    ngx_connection_t  *c;

    /* ... of ours */

    left = rc->greeting - (rc->check ? 1 : 0);

    if (reply->type == REDIS_REPLY_ERROR) {

        text.len = reply->len;
        text.data = (u_char *) reply->str;

        switch (left) {

        case 0:
            break;

        case 1:

            /* CLIENT SETNAME is a courtesy only */

            break;

        case 2:

            /*
             * PING is refused while Redis loads or wants a password.  But a
             * user who may not PING may well do what is needed here, and
             * Redis that cannot save its data still passes messages on.
             */

            if (ngx_strncmp(reply->str, "NOPERM", 6) == 0
                || ngx_strncmp(reply->str, "MISCONF", 7) == 0)
            {
                break;
            }

            ngx_rtbus_redis_conn_lost(rc, 0, "PING was answered", &text);
            return;

        default:

            /* after a comma Redis may quote the arguments: the password */

            p = ngx_strlchr(text.data, text.data + text.len, ',');

            if (p) {
                text.len = p - text.data;
            }

            ngx_rtbus_redis_conn_lost(rc, 0,
                                      (left == 3 && rc->conf->db)
                                      ? "SELECT was answered"
                                      : "AUTH was answered", &text);
            return;
        }
    }

    if (left == 0) {
        reason = rc->check->handler(rc, reply);

        if (reason) {
            ngx_rtbus_redis_conn_lost(rc, 0, reason,
                                      (reply->type == REDIS_REPLY_ERROR)
                                      ? &text : NULL);
            return;
        }
    }

    if (--rc->greeting) {
        return;
    }

    c = rc->peer.connection;

    ngx_del_timer(c->write);

    rc->log.log_level = rc->level;

    c->log_error = NGX_ERROR_ERR;

    rc->log.action = NULL;

    if (rc->failing) {
        ngx_log_error(NGX_LOG_NOTICE, &rc->log, 0,
                      "rtbus connected to Redis after a failure");

    } else {
        ngx_log_error(NGX_LOG_INFO, &rc->log, 0, "rtbus connected to Redis");
    }

    rc->log.action = "reading from Redis";

    rc->up = 1;
    rc->failing = 0;
    rc->tries = 0;
    rc->rounds = 0;
    rc->since = ngx_current_msec;

    rc->up_handler(rc);
}


static void
ngx_rtbus_redis_conn_read_handler(ngx_event_t *rev)
{
    ssize_t                  n;
    ngx_uint_t               i;
    ngx_connection_t        *c;
    ngx_rtbus_redis_conn_t  *rc;

    c = rev->data;
    rc = c->data;

    ngx_log_debug2(NGX_LOG_DEBUG_EVENT, rev->log, 0,
                   "rtbus redis read handler, up:%d, close:%d",
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

    if (!rc->connected) {

        /* an error; otherwise the write event is on its way */

        (void) ngx_rtbus_redis_conn_test(rc);
        return;
    }

    rc->log.action = rc->up ? "reading from Redis" : "greeting Redis";

    ngx_rtbus_redis_conn_spent = 0;

    if (rc->held.len && ngx_rtbus_redis_conn_resume(rc) != NGX_OK) {
        return;
    }

    for (i = 0;
         rev->ready && i < NGX_RTBUS_REDIS_READS && rc->held.len == 0;
         i++)
    {
        n = c->recv(c, ngx_rtbus_redis_conn_buf, NGX_RTBUS_REDIS_READ_SIZE);

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

        if (ngx_rtbus_redis_conn_parse(rc, ngx_rtbus_redis_conn_buf, n)
            != NGX_OK)
        {
            return;
        }
    }

    if (rc->rest && rc->up && i && rc->held.len == 0) {
        ngx_rtbus_redis_conn_rest(rc);
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
 * What comes meanwhile is read in one piece, and leaves in one write for each
 * client.  The kernel is not to wake us up for it.
 */

static void
ngx_rtbus_redis_conn_rest(ngx_rtbus_redis_conn_t *rc)
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


static void
ngx_rtbus_redis_conn_rested(ngx_event_t *ev)
{
    ngx_rtbus_redis_conn_t  *rc;

    rc = ev->data;

    rc->peer.connection->read->ready = 1;

    ngx_rtbus_redis_conn_read_handler(rc->peer.connection->read);
}


/*
 * What one read has brought may be work for seconds: an event is delivered to
 * each client of its channel.  Others have their turn in between.
 */

ngx_uint_t
ngx_rtbus_redis_conn_spend(ngx_uint_t deliveries)
{
    ngx_uint_t  before;

    before = ngx_rtbus_redis_conn_spent;
    ngx_rtbus_redis_conn_spent += deliveries;

    return ngx_rtbus_redis_conn_resumes
           && before < NGX_RTBUS_REDIS_TURN
           && ngx_rtbus_redis_conn_spent >= NGX_RTBUS_REDIS_TURN;
}


/* the rest of a read; NGX_ERROR: the connection is gone */

static ngx_int_t
ngx_rtbus_redis_conn_resume(ngx_rtbus_redis_conn_t *rc)
{
    ngx_int_t  n;
    ngx_str_t  held;

    held = rc->held;
    ngx_str_null(&rc->held);

    /* it is not Redis that is silent */

    rc->heard = ngx_current_msec;

    ngx_rtbus_redis_conn_resumes = 1;

    n = ngx_rtbus_redis_conn_parse(rc, held.data, held.len);

    ngx_rtbus_redis_conn_resumes = 0;

    ngx_free(held.data);

    return n;
}


static ngx_int_t
ngx_rtbus_redis_conn_hold(ngx_rtbus_redis_conn_t *rc, u_char *buf, size_t len)
{
    rc->held.data = ngx_alloc(len, &rc->log);
    if (rc->held.data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(rc->held.data, buf, len);
    rc->held.len = len;

    ngx_log_debug2(NGX_LOG_DEBUG_EVENT, &rc->log, 0,
                   "rtbus: redis read is held, deliveries:%ui left:%uz",
                   ngx_rtbus_redis_conn_spent, len);

    return NGX_OK;
}


/* NGX_ERROR: the connection is gone */

static ngx_int_t
ngx_rtbus_redis_conn_parse(ngx_rtbus_redis_conn_t *rc, u_char *buf, size_t len)
{
    void         *reply;
    size_t        size;
    ngx_str_t     text;
    redisReader  *reader;

    /* a handler may end the connection, the reader is left to this function */

    reader = rc->reader;
    rc->reading = 1;

    while (len) {

        if (ngx_rtbus_redis_conn_spent >= NGX_RTBUS_REDIS_TURN
            && ngx_rtbus_redis_conn_hold(rc, buf, len) == NGX_OK)
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

        size = ngx_rtbus_redis_conn_portion(rc, buf, len);

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
                ngx_rtbus_redis_conn_greeted(rc, reply);
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
 * How many bytes the reader gets at once.  Where the owner takes replies as they
 * come this ends at what looks like the end of one, so that the next one does not
 * fall to the reader, too: a flood that was cut once would never get out of it.
 * If it is no end the reader just gets more.
 */

static size_t
ngx_rtbus_redis_conn_portion(ngx_rtbus_redis_conn_t *rc, u_char *buf,
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

    if (ngx_rtbus_redis_conn_append(rc, argc, argv, argvlen) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_post_event(&rc->flush, &ngx_posted_events);

    return NGX_OK;
}


/* an array of strings, as Redis wants its commands */

static ngx_int_t
ngx_rtbus_redis_conn_append(ngx_rtbus_redis_conn_t *rc, int argc,
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

    if (!ngx_rtbus_redis_conn_fits(rc, len)) {
        ngx_rtbus_redis_conn_refuse(rc, argv[0], len);
        return NGX_ERROR;
    }

    if (ngx_rtbus_redis_conn_reserve(rc, len) != NGX_OK) {
        return NGX_ERROR;
    }

    p = ngx_rtbus_redis_conn_header(rc->out.last, '*', argc);

    for (i = 0; i < argc; i++) {
        p = ngx_rtbus_redis_conn_header(p, '$', argvlen[i]);

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
 * What does not fit is refused alone.  The last part is for small commands only:
 * whoever sends large ones must not be in the way of everybody else.
 */

static ngx_uint_t
ngx_rtbus_redis_conn_fits(ngx_rtbus_redis_conn_t *rc, size_t len)
{
    size_t  max;

    max = (len > NGX_RTBUS_REDIS_OUT_SMALL)
          ? NGX_RTBUS_REDIS_OUT_MAX - NGX_RTBUS_REDIS_OUT_REST
          : NGX_RTBUS_REDIS_OUT_MAX;

    return len <= max && (size_t) (rc->out.last - rc->out.pos) <= max - len;
}


static void
ngx_rtbus_redis_conn_refuse(ngx_rtbus_redis_conn_t *rc, const char *command,
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
ngx_rtbus_redis_conn_header(u_char *p, u_char type, size_t n)
{
    *p++ = type;
    p += rtbus_number_write(p, n);
    *p++ = CR;
    *p++ = LF;

    return p;
}


static ngx_int_t
ngx_rtbus_redis_conn_reserve(ngx_rtbus_redis_conn_t *rc, size_t len)
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


static void
ngx_rtbus_redis_conn_write_handler(ngx_event_t *wev)
{
    ngx_connection_t        *c;
    ngx_rtbus_redis_conn_t  *rc;

    c = wev->data;
    rc = c->data;

    ngx_log_debug2(NGX_LOG_DEBUG_EVENT, wev->log, 0,
                   "rtbus redis write handler, up:%d, timedout:%d",
                   rc->up, wev->timedout);

    if (wev->timedout) {
        ngx_rtbus_redis_conn_lost(rc, NGX_ETIMEDOUT, "no answer", NULL);
        return;
    }

    if (!rc->connected) {
        ngx_rtbus_redis_conn_connected(rc);
        return;
    }

    if (rc->out.pos < rc->out.last) {
        /* there was no room in the socket, and Redis has taken some bytes */
        rc->heard = ngx_current_msec;
    }

    ngx_rtbus_redis_conn_write(rc);
}


static void
ngx_rtbus_redis_conn_flush_handler(ngx_event_t *ev)
{
    ngx_rtbus_redis_conn_t  *rc;

    rc = ev->data;

    ngx_log_debug1(NGX_LOG_DEBUG_EVENT, ev->log, 0,
                   "rtbus redis flush handler, size:%uz",
                   (size_t) (rc->out.last - rc->out.pos));

    if (rc->broken) {
        rc->log.action = "writing to Redis";
        ngx_rtbus_redis_conn_lost(rc, 0, rc->broken, NULL);
        return;
    }

    if (rc->peer.connection->write->ready) {
        ngx_rtbus_redis_conn_write(rc);
    }
}


static void
ngx_rtbus_redis_conn_write(ngx_rtbus_redis_conn_t *rc)
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


static void
ngx_rtbus_redis_conn_leave(ngx_rtbus_redis_conn_t *rc)
{
    if (rc->exiting) {
        return;
    }

    rc->exiting = 1;

    if (rc->exiting_handler) {
        rc->exiting_handler(rc);
    }
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
 * An event loop that was busy comes to its timers before it has come to all that
 * is readable.  So the last step is to read.
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
                   "rtbus redis silent for %M ms", silence->listened);

    silence->doubted = 1;
    *left = NGX_RTBUS_REDIS_LATE;

    if (!rc->rested.timer_set) {
        ngx_post_event(rev, &ngx_posted_next_events);
    }

    return NGX_AGAIN;
}


void
ngx_rtbus_redis_conn_moved(ngx_rtbus_redis_conn_t *rc, const char *reason)
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
    rc->up = 0;

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

static void
ngx_rtbus_redis_conn_lost(ngx_rtbus_redis_conn_t *rc, ngx_err_t err,
    const char *reason, ngx_str_t *text)
{
    ngx_uint_t         up, level, last, first;
    ngx_msec_t         delay;
    ngx_connection_t  *c;

    up = rc->up;
    c = rc->peer.connection;

    rc->log.log_level = rc->level;

    last = (up || rc->locating || rc->resolving
            || rc->tries + 1 >= rc->node->naddrs);
    first = (last && !rc->failing && !rc->closed
             && (up || ++rc->rounds >= rc->places));

    level = NGX_LOG_INFO;

    if (first) {
        rc->failing = 1;

        /* nginx has logged errors of system calls at this level already */

        if (rc->locating || rc->resolving
            || (c && !c->read->error && !c->write->error))
        {
            level = NGX_LOG_ERR;
        }
    }

    if (text) {
        ngx_log_error(level, &rc->log, err, "rtbus %s Redis: %s \"%V\"",
                      up ? "lost" : "could not connect to", reason, text);

    } else {
        ngx_log_error(level, &rc->log, err, "rtbus %s Redis: %s",
                      up ? "lost" : "could not connect to", reason);
    }

    ngx_rtbus_redis_conn_free(rc);

    rc->up = 0;

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

    rc->locating = 0;
    rc->resolving = 0;
    rc->connected = 0;
    rc->greeting = 0;
    rc->broken = NULL;
}


static u_char *
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
