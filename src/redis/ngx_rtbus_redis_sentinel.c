
#include "ngx_rtbus_redis_sentinel.h"
#include "ngx_rtbus_redis_role.h"


#define NGX_RTBUS_REDIS_SENTINEL_CHANNEL  "+switch-master"

/* ms between periodic questions */
#define NGX_RTBUS_REDIS_SENTINEL_PERIOD   10000

/* so many attempts at the master that it names are made before a sentinel is
   left for the next */
#define NGX_RTBUS_REDIS_SENTINEL_USELESS  4


static void ngx_rtbus_redis_sentinel_locate(ngx_rtbus_redis_conn_t *rc);
static const char *ngx_rtbus_redis_sentinel_role(ngx_rtbus_redis_conn_t *rc,
    redisReply *reply);

static ngx_int_t ngx_rtbus_redis_sentinel_start(ngx_rtbus_redis_sentinel_t *rn,
    ngx_log_t *log);
static void ngx_rtbus_redis_sentinel_next(ngx_rtbus_redis_conn_t *rc);
static const char *ngx_rtbus_redis_sentinel_told(ngx_rtbus_redis_conn_t *rc,
    redisReply *reply);
static void ngx_rtbus_redis_sentinel_up(ngx_rtbus_redis_conn_t *rc);
static void ngx_rtbus_redis_sentinel_reply(ngx_rtbus_redis_conn_t *rc,
    redisReply *reply);
static void ngx_rtbus_redis_sentinel_down(ngx_rtbus_redis_conn_t *rc,
    const char *reason);
static void ngx_rtbus_redis_sentinel_failed(ngx_rtbus_redis_conn_t *rc);
static void ngx_rtbus_redis_sentinel_ask(ngx_rtbus_redis_sentinel_t *rn);
static void ngx_rtbus_redis_sentinel_refused(ngx_rtbus_redis_sentinel_t *rn,
    redisReply *reply);
static ngx_int_t ngx_rtbus_redis_sentinel_subscribe(
    ngx_rtbus_redis_sentinel_t *rn, const char *command);
static const char *ngx_rtbus_redis_sentinel_master(
    ngx_rtbus_redis_sentinel_t *rn, redisReply *reply, ngx_uint_t *moved);
static ngx_int_t ngx_rtbus_redis_sentinel_node(ngx_rtbus_redis_sentinel_t *rn,
    ngx_uint_t i, ngx_str_t *host, in_port_t port);
static void ngx_rtbus_redis_sentinel_answer(ngx_rtbus_redis_sentinel_t *rn);
static void ngx_rtbus_redis_sentinel_timer(ngx_event_t *ev);


static ngx_rtbus_redis_check_t  ngx_rtbus_redis_sentinel_check = {
    1, { "ROLE", NULL, NULL }, { 4, 0, 0 }, ngx_rtbus_redis_sentinel_role
};


ngx_int_t
ngx_rtbus_redis_sentinel_init(ngx_rtbus_redis_sentinel_t *rn,
    ngx_rtbus_redis_conf_t *conf, ngx_log_t *log)
{
    rn->conf = *conf;
    rn->conf.kind = NGX_RTBUS_REDIS_SINGLE;
    rn->conf.user = conf->sentinel_user;
    rn->conf.password = conf->sentinel_password;
    rn->conf.db = 0;

    rn->next = ngx_random() % conf->nnodes;
    rn->moves = 0;
    rn->useless = 0;
    rn->nwaiting = 0;
    rn->asking = 0;
    rn->deaf = 0;

    ngx_memzero(rn->masters, sizeof(rn->masters));

    rn->ask.argc = 3;
    rn->ask.argv[0] = "SENTINEL";
    rn->ask.len[0] = sizeof("SENTINEL") - 1;
    rn->ask.argv[1] = "get-master-addr-by-name";
    rn->ask.len[1] = sizeof("get-master-addr-by-name") - 1;
    rn->ask.argv[2] = (char *) conf->master.data;
    rn->ask.len[2] = conf->master.len;
    rn->ask.handler = ngx_rtbus_redis_sentinel_told;

    ngx_memzero(&rn->timer, sizeof(ngx_event_t));
    rn->timer.handler = ngx_rtbus_redis_sentinel_timer;
    rn->timer.data = rn;
    rn->timer.log = log;
    rn->timer.cancelable = 1;

    ngx_memzero(&rn->silence, sizeof(ngx_rtbus_redis_silence_t));

    return ngx_rtbus_redis_sentinel_start(rn, log);
}


static ngx_int_t
ngx_rtbus_redis_sentinel_start(ngx_rtbus_redis_sentinel_t *rn, ngx_log_t *log)
{
    ngx_rtbus_redis_conn_t  *rc;

    rn->before = 0;
    rn->after = 0;

    rc = &rn->conn;

    rc->conf = &rn->conf;
    rc->role = "sentinel";
    rc->locate_handler = ngx_rtbus_redis_sentinel_next;
    rc->check = &rn->ask;
    rc->locator = rn;
    rc->up_handler = ngx_rtbus_redis_sentinel_up;
    rc->raw_handler = NULL;
    rc->reply_handler = ngx_rtbus_redis_sentinel_reply;
    rc->down_handler = ngx_rtbus_redis_sentinel_down;
    rc->failed_handler = ngx_rtbus_redis_sentinel_failed;
    rc->exiting_handler = NULL;
    rc->data = rn;
    rc->rest = 0;
    rc->places = rn->conf.nnodes;

    return ngx_rtbus_redis_conn_init(rc, log);
}


void
ngx_rtbus_redis_sentinel_close(ngx_rtbus_redis_sentinel_t *rn)
{
    rn->nwaiting = 0;

    ngx_rtbus_redis_conn_close(&rn->conn);

    if (rn->timer.timer_set) {
        ngx_del_timer(&rn->timer);
    }
}


void
ngx_rtbus_redis_sentinel_serve(ngx_rtbus_redis_sentinel_t *rn,
    ngx_rtbus_redis_conn_t *rc)
{
    rc->locate_handler = ngx_rtbus_redis_sentinel_locate;
    rc->check = &ngx_rtbus_redis_sentinel_check;
    rc->locator = rn;
}


static void
ngx_rtbus_redis_sentinel_locate(ngx_rtbus_redis_conn_t *rc)
{
    ngx_uint_t                   i;
    ngx_rtbus_redis_sentinel_t  *rn;

    rn = rc->locator;

    for (i = 0; i < rn->nwaiting; i++) {
        if (rn->waiting[i] == rc) {
            return;
        }
    }

    if (rn->nwaiting == NGX_RTBUS_REDIS_SENTINEL_LINKS) {
        ngx_rtbus_redis_conn_located(rc, NULL, "too many connections");
        return;
    }

    if (rn->conn.failing && !rc->failing) {

        /* this connection must find out and report that Redis is away */

        ngx_rtbus_redis_conn_located(rc, NULL, "no sentinel");
        return;
    }

    rn->waiting[rn->nwaiting++] = rc;

    if (!rn->conn.up || rn->asking) {
        return;
    }

    if (rn->useless < NGX_RTBUS_REDIS_SENTINEL_USELESS) {
        ngx_rtbus_redis_sentinel_ask(rn);
        return;
    }

    ngx_log_error(NGX_LOG_INFO, rn->timer.log, 0,
                  "rtbus: the next sentinel is asked: \"%V\" is not the "
                  "master, but \"%V\" says so",
                  &rn->masters[rn->moves % 2].name, &rn->conn.node->name);

    rn->useless = 0;

    if (rn->timer.timer_set) {
        ngx_del_timer(&rn->timer);
    }

    ngx_rtbus_redis_conn_close(&rn->conn);

    (void) ngx_rtbus_redis_sentinel_start(rn, rn->timer.log);
}


static const char *
ngx_rtbus_redis_sentinel_role(ngx_rtbus_redis_conn_t *rc, redisReply *reply)
{
    const char                  *reason;
    ngx_rtbus_redis_sentinel_t  *rn;

    reason = ngx_rtbus_redis_role(rc, reply);

    if (reason == NULL) {
        rn = rc->locator;
        rn->useless = 0;
    }

    return reason;
}


/* locates our own connection, to the next sentinel */

static void
ngx_rtbus_redis_sentinel_next(ngx_rtbus_redis_conn_t *rc)
{
    ngx_rtbus_redis_node_t      *node;
    ngx_rtbus_redis_sentinel_t  *rn;

    rn = rc->data;

    node = &rn->conf.nodes[rn->next];

    rn->next = (rn->next + 1) % rn->conf.nnodes;

    ngx_rtbus_redis_conn_located(rc, node, NULL);
}


/* before the connection is up, so that the next one is tried after a failure */

static const char *
ngx_rtbus_redis_sentinel_told(ngx_rtbus_redis_conn_t *rc, redisReply *reply)
{
    ngx_uint_t                   moved;
    const char                  *reason;
    ngx_rtbus_redis_sentinel_t  *rn;

    rn = rc->data;

    reason = ngx_rtbus_redis_sentinel_master(rn, reply, &moved);

    if (reason == NULL && moved && rn->moves > 1) {
        rn->failover_handler(rn->data);
    }

    return reason;
}


static void
ngx_rtbus_redis_sentinel_up(ngx_rtbus_redis_conn_t *rc)
{
    ngx_rtbus_redis_sentinel_t  *rn;

    rn = rc->data;

    /* a failure is noticed with the next question */

    (void) ngx_rtbus_redis_sentinel_subscribe(rn, "SUBSCRIBE");

    ngx_add_timer(&rn->timer, NGX_RTBUS_REDIS_SENTINEL_PERIOD);

    ngx_rtbus_redis_sentinel_answer(rn);
}


static void
ngx_rtbus_redis_sentinel_reply(ngx_rtbus_redis_conn_t *rc, redisReply *reply)
{
    ngx_uint_t                   moved;
    redisReply                  *kind;
    const char                  *reason;
    ngx_rtbus_redis_sentinel_t  *rn;

    rn = rc->data;

    ngx_log_debug3(NGX_LOG_DEBUG_EVENT, &rc->log, 0,
                   "rtbus: redis sentinel reply, type:%d asking:%d before:%ui",
                   reply->type, rn->asking, rn->before);

    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 3) {

        /* of pub/sub: a message, or a confirmation */

        kind = reply->element[0];

        if (kind->type == REDIS_REPLY_STRING && kind->len == 7
            && ngx_strncmp(kind->str, "message", 7) == 0)
        {
            if (!rn->asking) {
                ngx_rtbus_redis_sentinel_ask(rn);
            }

        } else if (rn->before) {
            rn->before--;
        }

        return;
    }

    if (rn->before && reply->type == REDIS_REPLY_ERROR) {
        rn->before--;
        ngx_rtbus_redis_sentinel_refused(rn, reply);
        return;
    }

    if (!rn->asking) {
        ngx_rtbus_redis_conn_fail(rc, "unexpected reply");
        return;
    }

    rn->asking = 0;
    rn->before = rn->after;
    rn->after = 0;

    reason = ngx_rtbus_redis_sentinel_master(rn, reply, &moved);

    if (reason) {
        ngx_rtbus_redis_conn_fail(rc, reason);
        return;
    }

    ngx_add_timer(&rn->timer, NGX_RTBUS_REDIS_SENTINEL_PERIOD);

    if (moved) {
        rn->failover_handler(rn->data);
    }

    ngx_rtbus_redis_sentinel_answer(rn);
}


static void
ngx_rtbus_redis_sentinel_down(ngx_rtbus_redis_conn_t *rc, const char *reason)
{
    ngx_rtbus_redis_sentinel_t  *rn;

    rn = rc->data;

    rn->before = 0;
    rn->after = 0;
    rn->asking = 0;

    if (rn->timer.timer_set) {
        ngx_del_timer(&rn->timer);
    }
}


/* connections that ask from now on wait until a sentinel is there */

static void
ngx_rtbus_redis_sentinel_failed(ngx_rtbus_redis_conn_t *rc)
{
    ngx_rtbus_redis_sentinel_t  *rn;

    rn = rc->data;

    while (rn->nwaiting) {
        rn->nwaiting--;

        ngx_rtbus_redis_conn_located(rn->waiting[rn->nwaiting], NULL,
                                     "no sentinel");
    }
}


/* a subscribed connection takes no other command */

static void
ngx_rtbus_redis_sentinel_ask(ngx_rtbus_redis_sentinel_t *rn)
{
    if (ngx_rtbus_redis_sentinel_subscribe(rn, "UNSUBSCRIBE") != NGX_OK
        || ngx_rtbus_redis_conn_send(&rn->conn, rn->ask.argc, rn->ask.argv,
                                     rn->ask.len)
           != NGX_OK)
    {
        ngx_rtbus_redis_conn_break(&rn->conn, "cannot send");
        return;
    }

    ngx_log_debug1(NGX_LOG_DEBUG_EVENT, &rn->conn.log, 0,
                   "rtbus: redis sentinel is asked, useless:%ui", rn->useless);

    rn->asking = 1;

    (void) ngx_rtbus_redis_sentinel_subscribe(rn, "SUBSCRIBE");

    rn->asked = ngx_current_msec;

    ngx_add_timer(&rn->timer,
                  ngx_rtbus_redis_conn_step(rn->conf.command_timeout));
}


static void
ngx_rtbus_redis_sentinel_refused(ngx_rtbus_redis_sentinel_t *rn,
    redisReply *reply)
{
    ngx_str_t  text;

    if (rn->deaf) {
        return;
    }

    rn->deaf = 1;

    text.len = reply->len;
    text.data = (u_char *) reply->str;

    ngx_log_error(NGX_LOG_ERR, &rn->conn.log, 0,
                  "rtbus: a failover may be noticed up to %d s late, allow the "
                  "user to subscribe to \"" NGX_RTBUS_REDIS_SENTINEL_CHANNEL
                  "\" at the sentinel: SUBSCRIBE was answered \"%V\"",
                  NGX_RTBUS_REDIS_SENTINEL_PERIOD / 1000, &text);
}


static ngx_int_t
ngx_rtbus_redis_sentinel_subscribe(ngx_rtbus_redis_sentinel_t *rn,
    const char *command)
{
    size_t       len[2];
    const char  *argv[2];

    if (rn->deaf) {
        return NGX_OK;
    }

    argv[0] = command;
    len[0] = ngx_strlen(command);
    argv[1] = NGX_RTBUS_REDIS_SENTINEL_CHANNEL;
    len[1] = sizeof(NGX_RTBUS_REDIS_SENTINEL_CHANNEL) - 1;

    if (ngx_rtbus_redis_conn_send(&rn->conn, 2, argv, len) != NGX_OK) {
        return NGX_ERROR;
    }

    if (rn->asking) {
        rn->after++;

    } else {
        rn->before++;
    }

    return NGX_OK;
}


/* NULL, or why there is no master */

static const char *
ngx_rtbus_redis_sentinel_master(ngx_rtbus_redis_sentinel_t *rn,
    redisReply *reply, ngx_uint_t *moved)
{
    ngx_int_t                port;
    ngx_str_t                host;
    redisReply             **part;
    ngx_rtbus_redis_node_t  *node;

    *moved = 0;

    if (reply->type == REDIS_REPLY_NIL) {
        return "the sentinel does not know the master";
    }

    if (reply->type == REDIS_REPLY_ERROR) {
        return "the sentinel was asked for the master and answered";
    }

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2) {
        return "the sentinel has named no master";
    }

    part = reply->element;

    if (part[0]->type != REDIS_REPLY_STRING
        || part[1]->type != REDIS_REPLY_STRING)
    {
        return "the sentinel has named no master";
    }

    host.data = (u_char *) part[0]->str;
    host.len = part[0]->len;

    port = ngx_atoi((u_char *) part[1]->str, part[1]->len);

    if (port < 1 || port > 65535) {
        return "the sentinel has named an invalid port";
    }

    node = &rn->masters[rn->moves % 2];

    if (node->port == port && node->host.len == host.len
        && ngx_memcmp(node->host.data, host.data, host.len) == 0)
    {
        return NULL;
    }

    if (ngx_rtbus_redis_sentinel_node(rn, (rn->moves + 1) % 2, &host, port)
        != NGX_OK)
    {
        return "the sentinel has named no host";
    }

    rn->moves++;
    rn->useless = 0;

    *moved = 1;

    ngx_log_error(NGX_LOG_NOTICE, rn->timer.log, 0,
                  "rtbus: master \"%V\" of Redis is at %V",
                  &rn->conf.master, &rn->masters[rn->moves % 2].name);

    return NULL;
}


/* connections still have the other one of the two */

static ngx_int_t
ngx_rtbus_redis_sentinel_node(ngx_rtbus_redis_sentinel_t *rn, ngx_uint_t i,
    ngx_str_t *host, in_port_t port)
{
    u_char                  *p;
    ngx_uint_t               n, brackets;
    ngx_rtbus_redis_node_t  *node;

    for (n = 0; n < host->len; n++) {
        if (host->data[n] <= 0x20 || host->data[n] > 0x7e) {
            return NGX_DECLINED;
        }
    }

    if (host->len == 0 || host->len > NGX_RTBUS_REDIS_SENTINEL_HOST) {
        return NGX_DECLINED;
    }

    node = &rn->masters[i];

    brackets = (ngx_strlchr(host->data, host->data + host->len, ':') != NULL);

    p = rn->names[i];

    node->name.data = p;

    if (brackets) {
        *p++ = '[';
    }

    node->host.data = p;
    node->host.len = host->len;
    node->port = port;

    p = ngx_cpymem(p, host->data, host->len);

    if (brackets) {
        *p++ = ']';
    }

    p = ngx_sprintf(p, ":%ui", (ngx_uint_t) port);

    node->name.len = p - node->name.data;

    return NGX_OK;
}


static void
ngx_rtbus_redis_sentinel_answer(ngx_rtbus_redis_sentinel_t *rn)
{
    ngx_rtbus_redis_node_t  *node;

    node = &rn->masters[rn->moves % 2];

    ngx_log_debug2(NGX_LOG_DEBUG_EVENT, &rn->conn.log, 0,
                   "rtbus: redis sentinel says \"%V\", waiting:%ui",
                   &node->name, rn->nwaiting);

    while (rn->nwaiting) {
        rn->nwaiting--;
        rn->useless++;

        ngx_rtbus_redis_conn_located(rn->waiting[rn->nwaiting], node, NULL);
    }
}


static void
ngx_rtbus_redis_sentinel_timer(ngx_event_t *ev)
{
    ngx_msec_t                   left;
    ngx_rtbus_redis_sentinel_t  *rn;

    rn = ev->data;

    ngx_log_debug2(NGX_LOG_DEBUG_EVENT, ev->log, 0,
                   "rtbus: redis sentinel timer, asking:%d waiting:%ui",
                   rn->asking, rn->nwaiting);

    if (rn->asking) {

        if (ngx_rtbus_redis_conn_silent(&rn->conn, &rn->silence, rn->asked,
                                        rn->conf.command_timeout, &left)
            == NGX_AGAIN)
        {
            ngx_add_timer(ev, left);
            return;
        }

        ngx_rtbus_redis_conn_fail(&rn->conn, "no answer in time");
        return;
    }

    ngx_rtbus_redis_sentinel_ask(rn);
}
