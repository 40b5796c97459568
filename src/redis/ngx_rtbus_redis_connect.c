
/*
 * How a connection to Redis comes up: where it is, connect, TLS, greeting.
 */


#include "ngx_rtbus_redis_conn.h"
#include "ngx_rtbus_redis_out.h"
#include "ngx_rtbus_redis_read.h"


/* TCP keepalive, s: a peer that is gone is noticed after 30 s of silence */
#define NGX_RTBUS_REDIS_KEEPIDLE     15
#define NGX_RTBUS_REDIS_KEEPINTVL    5
#define NGX_RTBUS_REDIS_KEEPCNT      3


static void ngx_rtbus_redis_connect_locate(ngx_event_t *ev);
static void ngx_rtbus_redis_connect_resolved(ngx_rtbus_redis_resolve_t *rr,
    const char *reason);
static void ngx_rtbus_redis_connect(ngx_rtbus_redis_conn_t *rc);
static ngx_int_t ngx_rtbus_redis_connect_take_place(ngx_rtbus_redis_conn_t *rc);
static void ngx_rtbus_redis_connect_done(ngx_rtbus_redis_conn_t *rc);
static void ngx_rtbus_redis_connect_secure(ngx_rtbus_redis_conn_t *rc);
static void ngx_rtbus_redis_connect_secured(ngx_connection_t *c);
static void ngx_rtbus_redis_connect_start(ngx_rtbus_redis_conn_t *rc);
static void ngx_rtbus_redis_connect_keepalive(ngx_rtbus_redis_conn_t *rc);
static ngx_int_t ngx_rtbus_redis_connect_greet(ngx_rtbus_redis_conn_t *rc);
static void ngx_rtbus_redis_connect_greeted(ngx_rtbus_redis_conn_t *rc,
    redisReply *reply);
static void ngx_rtbus_redis_connect_write_handler(ngx_event_t *wev);


ngx_int_t
ngx_rtbus_redis_conn_init(ngx_rtbus_redis_conn_t *rc, ngx_log_t *log)
{
    rc->closed = 0;
    rc->failing = 0;
    rc->replica = 0;
    rc->mute = 0;
    rc->reading = 0;
    rc->partial = 0;
    rc->exiting = 0;

    rc->log = *log;
    rc->log.handler = ngx_rtbus_redis_conn_log_error;
    rc->log.data = rc;
    rc->log.action = NULL;
    rc->level = rc->log.log_level;

    ngx_rtbus_redis_conn_set_state(rc, NGX_RTBUS_REDIS_CONN_WAITING);

    rc->greeted = ngx_rtbus_redis_connect_greeted;

    if (rc->place == NULL) {
        rc->place = ngx_rtbus_redis_place(&rc->log);
    }

    ngx_memzero(&rc->peer, sizeof(ngx_peer_connection_t));
    rc->peer.get = ngx_event_get_peer;
    rc->peer.log = &rc->log;
    rc->peer.so_keepalive = 1;

    ngx_memzero(&rc->resolve, sizeof(ngx_rtbus_redis_resolve_t));
    rc->resolve.conf = rc->conf;
    rc->resolve.handler = ngx_rtbus_redis_connect_resolved;
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
    rc->reconnect.handler = ngx_rtbus_redis_connect_locate;
    rc->reconnect.data = rc;
    rc->reconnect.log = &rc->log;
    rc->reconnect.cancelable = 1;

    ngx_memzero(&rc->rested, sizeof(ngx_event_t));
    rc->rested.handler = ngx_rtbus_redis_read_rested;
    rc->rested.data = rc;
    rc->rested.log = &rc->log;
    rc->rested.cancelable = 1;

    ngx_memzero(&rc->flush, sizeof(ngx_event_t));
    rc->flush.handler = ngx_rtbus_redis_out_flush_handler;
    rc->flush.data = rc;
    rc->flush.log = &rc->log;

    ngx_add_timer(&rc->reconnect, 0);

    return NGX_OK;
}


static void
ngx_rtbus_redis_connect_locate(ngx_event_t *ev)
{
    ngx_rtbus_redis_conn_t  *rc;

    rc = ev->data;

    ngx_log_debug3(NGX_LOG_DEBUG_EVENT, ev->log, 0,
                   "rtbus: redis %s attempt, tries:%ui rounds:%ui",
                   rc->role, rc->tries, rc->rounds);

    if (ngx_exiting) {

        /* there was no connection that nginx could have asked to close */

        ngx_rtbus_redis_conn_leave(rc);

        if (rc->closed) {
            return;
        }
    }

    if (rc->tries) {
        ngx_rtbus_redis_connect(rc);
        return;
    }

    rc->log.action = "looking for Redis";

    ngx_rtbus_redis_conn_set_state(rc, NGX_RTBUS_REDIS_CONN_LOCATING);

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
    if (rc->state != NGX_RTBUS_REDIS_CONN_LOCATING) {
        return;
    }

    if (node == NULL) {
        ngx_rtbus_redis_conn_lost(rc, 0, reason, NULL);
        return;
    }

    ngx_rtbus_redis_conn_set_state(rc, NGX_RTBUS_REDIS_CONN_RESOLVING);

    rc->log.action = "resolving the name of Redis";

    ngx_rtbus_redis_resolve(&rc->resolve, node);
}


static void
ngx_rtbus_redis_connect_resolved(ngx_rtbus_redis_resolve_t *rr,
    const char *reason)
{
    ngx_rtbus_redis_conn_t  *rc;

    rc = rr->data;

    if (reason) {
        ngx_rtbus_redis_conn_lost(rc, 0, reason, NULL);
        return;
    }

    rc->node = &rr->node;
    rc->addr %= rc->node->naddrs;

    ngx_rtbus_redis_connect(rc);
}


static void
ngx_rtbus_redis_connect(ngx_rtbus_redis_conn_t *rc)
{
    ngx_int_t          n;
    ngx_uint_t         quiet;
    ngx_addr_t        *addr;
    ngx_connection_t  *c;

    ngx_rtbus_redis_conn_set_state(rc, NGX_RTBUS_REDIS_CONN_CONNECTING);

    ngx_log_debug2(NGX_LOG_DEBUG_EVENT, &rc->log, 0,
                   "rtbus: redis connect, address:%ui delay:%M",
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

    if (ngx_rtbus_redis_connect_take_place(rc) != NGX_OK) {
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

    c->read->handler = ngx_rtbus_redis_read_handler;
    c->write->handler = ngx_rtbus_redis_connect_write_handler;

    c->write->cancelable = 1;
    ngx_add_timer(c->write, rc->conf->connect_timeout);

    if (n == NGX_OK) {
        ngx_rtbus_redis_connect_done(rc);
    }
}


/* it is free for the connection that is made next; else that has failed */

static ngx_int_t
ngx_rtbus_redis_connect_take_place(ngx_rtbus_redis_conn_t *rc)
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
                   "rtbus: redis connection has no place, free:%ui",
                   ngx_cycle->free_connection_n);

    if (rc->full_handler) {
        rc->full_handler(rc);
    }

    ngx_rtbus_redis_conn_lost(rc, 0, "no worker_connections or no file "
                              "descriptor is left", NULL);

    return NGX_ERROR;
}


static void
ngx_rtbus_redis_connect_done(ngx_rtbus_redis_conn_t *rc)
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

    ngx_rtbus_redis_connect_keepalive(rc);

    if (rc->conf->tls) {
        ngx_rtbus_redis_connect_secure(rc);
        return;
    }

    ngx_rtbus_redis_connect_start(rc);
}


static void
ngx_rtbus_redis_connect_secure(ngx_rtbus_redis_conn_t *rc)
{
    ngx_int_t          n;
    ngx_connection_t  *c;

    c = rc->peer.connection;

    ngx_rtbus_redis_conn_set_state(rc, NGX_RTBUS_REDIS_CONN_SECURING);

    rc->log.action = "TLS handshaking with Redis";

    n = ngx_rtbus_redis_tls_handshake(c, rc->conf->tls, &rc->node->host,
                                      ngx_rtbus_redis_connect_secured);

    if (n == NGX_ERROR) {
        ngx_rtbus_redis_conn_lost(rc, 0, "TLS handshake failed", NULL);
        return;
    }

    if (n == NGX_OK) {
        ngx_rtbus_redis_connect_secured(c);
    }
}


static void
ngx_rtbus_redis_connect_secured(ngx_connection_t *c)
{
    ngx_str_t                text;
    const char              *reason;
    ngx_rtbus_redis_conn_t  *rc;

    rc = c->data;

    ngx_log_debug1(NGX_LOG_DEBUG_EVENT, &rc->log, 0,
                   "rtbus: redis TLS handshake, timedout:%d",
                   c->write->timedout);

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

    c->read->handler = ngx_rtbus_redis_read_handler;
    c->write->handler = ngx_rtbus_redis_connect_write_handler;

    ngx_rtbus_redis_connect_start(rc);
}


static void
ngx_rtbus_redis_connect_start(ngx_rtbus_redis_conn_t *rc)
{
    ngx_connection_t  *c;

    c = rc->peer.connection;

    ngx_rtbus_redis_conn_set_state(rc, NGX_RTBUS_REDIS_CONN_GREETING);

    rc->log.action = "greeting Redis";

    rc->partial = 0;
    rc->reader = redisReaderCreate();

    if (rc->reader == NULL || ngx_rtbus_redis_connect_greet(rc) != NGX_OK) {
        ngx_rtbus_redis_conn_lost(rc, 0, "no memory", NULL);
        return;
    }

    if (c->read->ready) {

        /* what a read event has told before, Redis may have said no already */

        ngx_post_event(c->read, &ngx_posted_events);
    }

    ngx_rtbus_redis_out_write(rc);
}


/* the system's own times are hours; SO_KEEPALIVE is set by the connect */

static void
ngx_rtbus_redis_connect_keepalive(ngx_rtbus_redis_conn_t *rc)
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
                          "rtbus: setsockopt() of TCP keepalive failed");
            return;
        }
    }

#endif
}


static ngx_int_t
ngx_rtbus_redis_connect_greet(ngx_rtbus_redis_conn_t *rc)
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

        if (ngx_rtbus_redis_out_append(rc, argc, argv, len) != NGX_OK) {
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

        if (ngx_rtbus_redis_out_append(rc, 2, argv, len) != NGX_OK) {
            return NGX_ERROR;
        }

        rc->greeting++;
    }

    argv[0] = "PING";
    len[0] = 4;

    if (ngx_rtbus_redis_out_append(rc, 1, argv, len) != NGX_OK) {
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

    if (ngx_rtbus_redis_out_append(rc, 3, argv, len) != NGX_OK) {
        return NGX_ERROR;
    }

    rc->greeting++;

    if (rc->check == NULL) {
        return NGX_OK;
    }

    if (ngx_rtbus_redis_out_append(rc, rc->check->argc, rc->check->argv,
                                    rc->check->len)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    rc->greeting++;

    return NGX_OK;
}


static void
ngx_rtbus_redis_connect_greeted(ngx_rtbus_redis_conn_t *rc, redisReply *reply)
{
    u_char            *p;
    ngx_str_t          text;
    ngx_uint_t         left;
    const char        *reason;
    ngx_connection_t  *c;

    ngx_log_debug2(NGX_LOG_DEBUG_EVENT, &rc->log, 0,
                   "rtbus: redis greeted, type:%d left:%ui",
                   reply->type, rc->greeting);

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
                      "rtbus: connected to Redis after a failure");

    } else {
        ngx_log_error(NGX_LOG_INFO, &rc->log, 0, "rtbus: connected to Redis");
    }

    rc->log.action = "reading from Redis";

    ngx_rtbus_redis_conn_set_state(rc, NGX_RTBUS_REDIS_CONN_UP);

    rc->failing = 0;
    rc->tries = 0;
    rc->rounds = 0;
    rc->since = ngx_current_msec;

    rc->up_handler(rc);
}


static void
ngx_rtbus_redis_connect_write_handler(ngx_event_t *wev)
{
    ngx_connection_t        *c;
    ngx_rtbus_redis_conn_t  *rc;

    c = wev->data;
    rc = c->data;

    ngx_log_debug2(NGX_LOG_DEBUG_EVENT, wev->log, 0,
                   "rtbus: redis write handler, up:%d timedout:%d",
                   rc->up, wev->timedout);

    if (wev->timedout) {
        ngx_rtbus_redis_conn_lost(rc, NGX_ETIMEDOUT, "no answer", NULL);
        return;
    }

    if (rc->state < NGX_RTBUS_REDIS_CONN_GREETING) {
        ngx_rtbus_redis_connect_done(rc);
        return;
    }

    if (rc->out.pos < rc->out.last) {
        /* there was no room in the socket, and Redis has taken some bytes */
        rc->heard = ngx_current_msec;
    }

    ngx_rtbus_redis_out_write(rc);
}
