
#include "ngx_http_rtbus_session.h"
#include "ngx_http_rtbus_access.h"
#include "ngx_http_rtbus_body.h"
#include "ngx_http_rtbus_reply.h"
#include "ngx_http_rtbus_upgrade.h"
#include <openssl/crypto.h>
#include "rtbus_utf8.h"


/* ms for the first request after the one that opens */
#define NGX_HTTP_RTBUS_SESSION_FIRST  10000

/* ms for another worker to do what a request wants at once */
#define NGX_HTTP_RTBUS_SESSION_POST   10000

/* ... and to end a poll of a worker that leaves */
#define NGX_HTTP_RTBUS_SESSION_FLUSH  5000

/* ... and to say that an answer has arrived */
#define NGX_HTTP_RTBUS_SESSION_SURE   5000


/* a request of our client to a session of another worker; memory of it */

typedef struct {
    ngx_http_rtbus_poll_call_t  *call;
    ngx_http_rtbus_relay_ask_t  *ask;
    ngx_http_rtbus_worker_t     *worker;
    ngx_queue_t                  queue;  /* worker->relayed: polls that wait */
    uint64_t                     ref;    /* of the question */
    ngx_uint_t                   poll;   /* unsigned  poll:1; */
    u_char                       sid[NGX_HTTP_RTBUS_SESSION_ID];
} ngx_http_rtbus_relayed_t;


/* a request of another worker to a session of ours; malloc'ed */

typedef struct {
    ngx_http_rtbus_poll_call_t   call;   /* the first member */
    ngx_http_rtbus_worker_t     *worker;
    ngx_http_rtbus_relay_from_t  from;
    ngx_uint_t                   poll;   /* unsigned  poll:1; */
    ngx_str_t                    body;
    rtbus_str_t                  grants; /* an array */
    u_char                       sid[NGX_HTTP_RTBUS_SESSION_ID];
    u_char                       data[1];
} ngx_http_rtbus_remote_t;


static ngx_int_t ngx_http_rtbus_session_create(ngx_http_request_t *r,
    const ngx_http_rtbus_eio_handlers_t *handlers);
static ngx_int_t ngx_http_rtbus_session_room(ngx_http_rtbus_worker_t *worker);
static ngx_int_t ngx_http_rtbus_session_count(ngx_http_request_t *r,
    ngx_http_rtbus_session_t *s);
static void ngx_http_rtbus_session_evict(ngx_http_rtbus_session_t *s);
static void ngx_http_rtbus_session_polled(ngx_http_rtbus_session_t *s);
static void ngx_http_rtbus_session_unlist(ngx_http_rtbus_session_t *s);
static ngx_int_t ngx_http_rtbus_session_get(ngx_http_request_t *r,
    ngx_http_rtbus_session_t *s);
static ngx_int_t ngx_http_rtbus_session_post(ngx_http_request_t *r,
    ngx_http_rtbus_session_t *s);
static void ngx_http_rtbus_session_body(ngx_http_request_t *r,
    ngx_str_t *body);
static ngx_http_rtbus_eio_error_e ngx_http_rtbus_session_take(
    ngx_http_request_t *r, ngx_str_t *sid, ngx_str_t *body);

static ngx_http_rtbus_eio_error_e ngx_http_rtbus_session_relay(
    ngx_http_request_t *r, ngx_str_t *sid, ngx_str_t *body);
static void ngx_http_rtbus_session_grants(ngx_http_request_t *r,
    ngx_str_t *body, ngx_http_rtbus_text_t *text);
static void ngx_http_rtbus_session_answered(void *data, ngx_int_t rc,
    rtbus_str_t *answer);
static void ngx_http_rtbus_session_abort(ngx_http_rtbus_poll_call_t *call);
static void ngx_http_rtbus_session_written(ngx_http_rtbus_poll_call_t *call);
static void ngx_http_rtbus_session_tell(ngx_http_rtbus_relayed_t *relayed,
    const char *kind);
static void ngx_http_rtbus_session_drain(ngx_http_rtbus_worker_t *worker);
static void ngx_http_rtbus_session_lost(ngx_http_rtbus_worker_t *worker);
static void ngx_http_rtbus_session_ask_after(ngx_http_rtbus_worker_t *worker);

static void ngx_http_rtbus_session_asked(ngx_http_rtbus_worker_t *worker,
    ngx_str_t *kind, rtbus_str_t *message, ngx_http_rtbus_relay_from_t *from);
static ngx_http_rtbus_eio_error_e ngx_http_rtbus_session_remote(
    ngx_http_rtbus_worker_t *worker, ngx_http_rtbus_session_t *s,
    rtbus_json_value_t *body, rtbus_json_value_t *grants,
    ngx_http_rtbus_relay_from_t *from);
static void ngx_http_rtbus_session_settle(ngx_http_rtbus_session_t *s,
    ngx_str_t *kind, ngx_http_rtbus_relay_from_t *from);
static void ngx_http_rtbus_session_answer(ngx_http_rtbus_poll_call_t *call,
    ngx_http_rtbus_eio_error_e error, ngx_http_rtbus_text_t *text);
static void ngx_http_rtbus_session_delivered(void *data, redisReply *reply);
static void ngx_http_rtbus_session_doubt(ngx_http_rtbus_session_t *s,
    ngx_http_rtbus_relay_from_t *from);
static void ngx_http_rtbus_session_verify(ngx_http_rtbus_session_t *s);
static void ngx_http_rtbus_session_doubted(void *data, ngx_int_t rc,
    rtbus_str_t *answer);
static void ngx_http_rtbus_session_sure(ngx_http_rtbus_session_t *s);
static void ngx_http_rtbus_session_waits(ngx_http_rtbus_worker_t *worker,
    rtbus_json_value_t *ref, ngx_http_rtbus_relay_from_t *from);

static ngx_int_t ngx_http_rtbus_session_user(ngx_http_request_t *r,
    ngx_str_t *user);
static ngx_int_t ngx_http_rtbus_session_place(ngx_http_request_t *r,
    ngx_str_t *place);
static ngx_http_rtbus_eio_error_e ngx_http_rtbus_session_check(
    ngx_http_rtbus_session_t *s, ngx_str_t *user, ngx_str_t *place);
static ngx_int_t ngx_http_rtbus_session_packet(ngx_http_rtbus_poll_t *poll,
    rtbus_eio_packet_t *packet);
static void ngx_http_rtbus_session_timer(ngx_http_rtbus_poll_t *poll);
static u_char *ngx_http_rtbus_session_log(ngx_log_t *log, u_char *buf,
    size_t len);
static void ngx_http_rtbus_session_cleanup(void *data);


ngx_int_t
ngx_http_rtbus_session_init(ngx_http_rtbus_worker_t *worker,
    ngx_cycle_t *cycle)
{
    ngx_rbtree_init(&worker->sessions, &worker->sentinel,
                    ngx_str_rbtree_insert_value);

    ngx_queue_init(&worker->fresh);
    ngx_queue_init(&worker->idle);
    ngx_http_rtbus_quota_init(worker);
    ngx_queue_init(&worker->relayed);

    if (ngx_http_rtbus_relay_init(worker, ngx_http_rtbus_session_asked, cycle)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    worker->relay->drain_handler = ngx_http_rtbus_session_drain;
    worker->relay->lost_handler = ngx_http_rtbus_session_lost;
    worker->relay->doubt_handler = ngx_http_rtbus_session_ask_after;

    return NGX_OK;
}


void
ngx_http_rtbus_session_close(ngx_http_rtbus_worker_t *worker)
{
    ngx_rbtree_node_t         *node, *next;
    ngx_http_rtbus_session_t  *s;

    if (worker->sessions.root == &worker->sentinel) {
        return;
    }

    for (node = ngx_rbtree_min(worker->sessions.root, &worker->sentinel);
         node;
         node = next)
    {
        next = ngx_rbtree_next(&worker->sessions, node);
        s = ngx_rbtree_data(node, ngx_http_rtbus_session_t, node.node);

        /* the others have requests, which end as all requests do */

        if (s->poll.get == NULL && s->poll.post == NULL
            && (s->upgrade == NULL || !s->upgraded))
        {
            ngx_http_rtbus_poll_done(&s->poll);
        }
    }
}


ngx_int_t
ngx_http_rtbus_session_request(ngx_http_request_t *r,
    const ngx_http_rtbus_eio_handlers_t *handlers)
{
    ngx_int_t                    rc;
    ngx_str_t                    sid;
    ngx_http_rtbus_session_t    *s;
    ngx_http_rtbus_loc_conf_t   *rlcf;
    ngx_http_rtbus_eio_error_e   error;

    if (ngx_http_arg(r, (u_char *) "sid", 3, &sid) != NGX_OK) {

        if (r->method != NGX_HTTP_GET) {
            return ngx_http_rtbus_poll_reply(r, NGX_HTTP_RTBUS_EIO_METHOD,
                                             NULL);
        }

        return ngx_http_rtbus_session_create(r, handlers);
    }

    if (r->method != NGX_HTTP_GET && r->method != NGX_HTTP_POST) {
        return ngx_http_rtbus_not_allowed(r, "GET, POST");
    }

    if (sid.len != NGX_HTTP_RTBUS_SESSION_ID) {
        return ngx_http_rtbus_poll_reply(r, NGX_HTTP_RTBUS_EIO_SID, NULL);
    }

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);
    rlcf->bus->worker->eio = handlers;

    if (ngx_http_rtbus_session_ours(rlcf->bus->worker, &sid)) {

        error = ngx_http_rtbus_session_lookup(r, &sid, &s);

        if (error != NGX_HTTP_RTBUS_EIO_OK) {
            return ngx_http_rtbus_poll_reply(r, error, NULL);
        }

        return (r->method == NGX_HTTP_GET) ? ngx_http_rtbus_session_get(r, s)
                                           : ngx_http_rtbus_session_post(r, s);
    }

    if (r->method == NGX_HTTP_POST) {
        return ngx_http_rtbus_read_body(r, rlcf->max_message,
                                        ngx_http_rtbus_session_body);
    }

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    error = ngx_http_rtbus_session_relay(r, &sid, NULL);

    if (error != NGX_HTTP_RTBUS_EIO_OK) {
        return ngx_http_rtbus_poll_reply(r, error, NULL);
    }

    r->main->count++;

    return NGX_DONE;
}


static ngx_int_t
ngx_http_rtbus_session_create(ngx_http_request_t *r,
    const ngx_http_rtbus_eio_handlers_t *handlers)
{
    u_char                     *p;
    ngx_int_t                   rc;
    ngx_str_t                   user, place;
    ngx_log_t                  *log;
    ngx_pool_t                 *pool;
    ngx_pool_cleanup_t         *cln;
    ngx_http_rtbus_text_t       text;
    ngx_http_rtbus_worker_t    *worker;
    ngx_http_rtbus_session_t   *s;
    ngx_http_rtbus_carrier_t   *car;
    ngx_http_rtbus_loc_conf_t  *rlcf;

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    log = r->connection->log;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);
    worker = rlcf->bus->worker;

    if (worker->nsessions >= ngx_cycle->connection_n
        && ngx_http_rtbus_session_room(worker) != NGX_OK)
    {
        if (worker->crowded != ngx_time()) {
            worker->crowded = ngx_time();

            ngx_log_error(NGX_LOG_WARN, log, 0,
                          "rtbus: %ui sessions are not enough, see "
                          "worker_connections", worker->nsessions);
        }

        return ngx_http_rtbus_poll_reply(r, NGX_HTTP_RTBUS_EIO_AWAY, NULL);
    }

    if (ngx_http_rtbus_session_user(r, &user) != NGX_OK
        || ngx_http_rtbus_session_place(r, &place) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    pool = ngx_create_pool(2048, ngx_cycle->log);
    if (pool == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    cln = ngx_pool_cleanup_add(pool, sizeof(ngx_http_rtbus_session_t));
    if (cln == NULL) {
        goto failed;
    }

    s = cln->data;
    ngx_memzero(s, sizeof(ngx_http_rtbus_session_t));

    ngx_queue_init(&s->queue);
    ngx_queue_init(&s->own[NGX_HTTP_RTBUS_QUOTA_ADDR]);
    ngx_queue_init(&s->own[NGX_HTTP_RTBUS_QUOTA_USER]);

    p = ngx_cpymem(s->sid, worker->hub.mailbox.id.data,
                   NGX_RTBUS_MAILBOX_ID_LEN);

    if (ngx_http_rtbus_copy_str(pool, &s->user, &user) != NGX_OK
        || ngx_http_rtbus_copy_str(pool, &s->place, &place) != NGX_OK
        || ngx_http_rtbus_copy_str(pool, &s->addr, &r->connection->addr_text)
           != NGX_OK
        || ngx_http_rtbus_eio_random(p, log) != NGX_OK)
    {
        goto failed;
    }

    /* the log of the connection, which the session outlives */

    s->log = *log;
    s->log.handler = ngx_http_rtbus_session_log;
    s->log.data = s;
    s->log.action = NULL;

    s->eio = ngx_pcalloc(pool, handlers->size);
    if (s->eio == NULL) {
        goto failed;
    }

    ngx_http_rtbus_eio_create(s->eio, &s->poll.carrier, handlers);

    s->poll.carrier.kind = NGX_RTBUS_STAT_POLLING;
    s->poll.carrier.quiet = 1;

    s->poll.packet_handler = ngx_http_rtbus_session_packet;
    s->poll.timer_handler = ngx_http_rtbus_session_timer;

    if (ngx_http_rtbus_poll_init(&s->poll, r, pool, &s->log) != NGX_OK) {
        goto failed;
    }

    car = &s->poll.carrier;

    s->node.str.len = NGX_HTTP_RTBUS_SESSION_ID;
    s->node.str.data = s->sid;

    ngx_http_rtbus_text_init(&text, log);

    p = ngx_http_rtbus_text_reserve(&text, NGX_HTTP_RTBUS_EIO_OPEN);
    if (p == NULL) {
        goto failed;
    }

    text.len = ngx_http_rtbus_eio_open(p, car->conf, &s->node.str,
                                       "\"websocket\"");

    rc = ngx_http_rtbus_session_count(r, s);

    if (rc != NGX_OK) {
        ngx_http_rtbus_text_free(&text);
        ngx_destroy_pool(pool);

        return (rc == NGX_ERROR) ? NGX_HTTP_INTERNAL_SERVER_ERROR
                  : ngx_http_rtbus_error(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                                         "too many sessions", NULL, NULL);
    }

    s->node.node.key = ngx_crc32_short(s->sid, NGX_HTTP_RTBUS_SESSION_ID);

    ngx_rbtree_insert(&worker->sessions, &s->node.node);
    worker->nsessions++;

    cln->handler = ngx_http_rtbus_session_cleanup;

    /* a flood of sessions that nobody uses is not kept for a ping's time */

    car->transport->timer(car, ngx_min(NGX_HTTP_RTBUS_SESSION_FIRST,
                                       car->conf->ping_interval));

    return ngx_http_rtbus_poll_reply(r, NGX_HTTP_RTBUS_EIO_OK, &text);

failed:

    ngx_destroy_pool(pool);

    return NGX_HTTP_INTERNAL_SERVER_ERROR;
}


/*
 * Whoever may open sessions can do so without end.  The oldest one that nobody
 * has polled gives way, or else one that is of no use yet, so that others still
 * get in: NGX_OK, or NGX_DECLINED.
 */

static ngx_int_t
ngx_http_rtbus_session_room(ngx_http_rtbus_worker_t *worker)
{
    ngx_queue_t               *q;
    ngx_http_rtbus_session_t  *s;

    if (!ngx_queue_empty(&worker->fresh)) {
        q = ngx_queue_head(&worker->fresh);

        ngx_http_rtbus_session_evict(ngx_queue_data(q,
                                            ngx_http_rtbus_session_t, queue));
        return NGX_OK;
    }

    while (!ngx_queue_empty(&worker->idle)) {
        q = ngx_queue_head(&worker->idle);
        s = ngx_queue_data(q, ngx_http_rtbus_session_t, queue);

        if (s->eio->wanted) {
            ngx_http_rtbus_session_unlist(s);
            continue;
        }

        ngx_http_rtbus_session_evict(s);

        return NGX_OK;
    }

    return NGX_DECLINED;
}


/*
 * The session is one more of its address and its user: NGX_OK, or NGX_DECLINED:
 * there are too many, and each of them is polled; or NGX_ERROR.
 */

static ngx_int_t
ngx_http_rtbus_session_count(ngx_http_request_t *r,
    ngx_http_rtbus_session_t *s)
{
    ngx_uint_t                i, max;
    ngx_queue_t              *q;
    ngx_http_rtbus_quota_t   *quota;
    ngx_http_rtbus_worker_t  *worker;

    worker = s->poll.carrier.worker;
    max = s->poll.carrier.conf->max_sessions;

    for (i = 0; i < NGX_HTTP_RTBUS_QUOTAS; i++) {

        if (ngx_http_rtbus_quota_take(worker, r, &s->user, i, &s->quota[i])
            != NGX_OK)
        {
            ngx_http_rtbus_session_left(s);
            return NGX_ERROR;
        }

        quota = s->quota[i];

        if (quota == NULL || max == 0 || quota->n <= max) {
            continue;
        }

        if (ngx_queue_empty(&quota->fresh)) {
            ngx_http_rtbus_session_left(s);

            ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                          "client has too many sessions, %ui of its %s",
                          max, i == NGX_HTTP_RTBUS_QUOTA_ADDR ? "address"
                                                              : "user");
            return NGX_DECLINED;
        }

        q = ngx_queue_head(&quota->fresh);

        ngx_http_rtbus_session_evict(ngx_queue_data(q,
                                           ngx_http_rtbus_session_t, own[i]));
    }

    ngx_queue_insert_tail(&worker->fresh, &s->queue);

    for (i = 0; i < NGX_HTTP_RTBUS_QUOTAS; i++) {
        if (s->quota[i]) {
            ngx_queue_insert_tail(&s->quota[i]->fresh, &s->own[i]);
        }
    }

    return NGX_OK;
}


static void
ngx_http_rtbus_session_evict(ngx_http_rtbus_session_t *s)
{
    ngx_http_rtbus_session_unlist(s);

    if (s->poll.carrier.closed) {
        ngx_http_rtbus_poll_done(&s->poll);

    } else {
        ngx_http_rtbus_carrier_close(&s->poll.carrier, RTBUS_WS_INTERNAL,
                                     "session makes room for another one");
    }
}


/* somebody takes what comes for it */

static void
ngx_http_rtbus_session_polled(ngx_http_rtbus_session_t *s)
{
    if (!s->poll.carrier.quiet || s->poll.carrier.closing) {
        return;
    }

    ngx_http_rtbus_session_unlist(s);

    if (!s->eio->wanted) {
        ngx_queue_insert_tail(&s->poll.carrier.worker->idle, &s->queue);
    }
}


/* it gives way to no other one */

static void
ngx_http_rtbus_session_unlist(ngx_http_rtbus_session_t *s)
{
    ngx_uint_t  i;

    ngx_queue_remove(&s->queue);
    ngx_queue_init(&s->queue);

    for (i = 0; i < NGX_HTTP_RTBUS_QUOTAS; i++) {
        ngx_queue_remove(&s->own[i]);
        ngx_queue_init(&s->own[i]);
    }
}


void
ngx_http_rtbus_session_left(ngx_http_rtbus_session_t *s)
{
    ngx_uint_t                i;
    ngx_http_rtbus_worker_t  *worker;

    worker = s->poll.carrier.worker;

    ngx_http_rtbus_session_unlist(s);

    for (i = 0; i < NGX_HTTP_RTBUS_QUOTAS; i++) {
        ngx_http_rtbus_quota_leave(worker, &s->quota[i]);
    }
}


static ngx_int_t
ngx_http_rtbus_session_get(ngx_http_request_t *r, ngx_http_rtbus_session_t *s)
{
    ngx_int_t                    rc;
    ngx_http_rtbus_poll_call_t  *call;

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    s->used = 1;

    call = ngx_http_rtbus_poll_create(r);
    if (call == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_http_rtbus_session_doubt(s, NULL);
    ngx_http_rtbus_session_polled(s);

    if (ngx_http_rtbus_poll_get(&s->poll, call) != NGX_OK) {
        return ngx_http_rtbus_poll_reply(r, NGX_HTTP_RTBUS_EIO_REQUEST, NULL);
    }

    ngx_http_rtbus_upgrade_hurry(s);

    r->main->count++;

    return ngx_http_rtbus_poll_wait(call);
}


static ngx_int_t
ngx_http_rtbus_session_post(ngx_http_request_t *r, ngx_http_rtbus_session_t *s)
{
    ngx_http_rtbus_poll_call_t  *call;

    s->used = 1;

    call = ngx_http_rtbus_poll_create(r);
    if (call == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    switch (ngx_http_rtbus_poll_post(&s->poll, call)) {

    case NGX_OK:
        break;

    case NGX_DECLINED:
        return ngx_http_rtbus_poll_reply(r, NGX_HTTP_RTBUS_EIO_SID, NULL);

    default: /* NGX_BUSY */
        return ngx_http_rtbus_poll_reply(r, NGX_HTTP_RTBUS_EIO_REQUEST, NULL);
    }

    return ngx_http_rtbus_read_body(r, s->poll.carrier.conf->max_message,
                                    ngx_http_rtbus_session_body);
}


static void
ngx_http_rtbus_session_body(ngx_http_request_t *r, ngx_str_t *body)
{
    ngx_str_t                    sid;
    ngx_http_rtbus_loc_conf_t   *rlcf;
    ngx_http_rtbus_eio_error_e   error;

    (void) ngx_http_arg(r, (u_char *) "sid", 3, &sid);

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    if (ngx_http_rtbus_session_ours(rlcf->bus->worker, &sid)) {
        error = ngx_http_rtbus_session_take(r, &sid, body);

    } else {
        error = ngx_http_rtbus_session_relay(r, &sid, body);
    }

    if (error != NGX_HTTP_RTBUS_EIO_OK) {
        ngx_http_finalize_request(r, ngx_http_rtbus_poll_reply(r, error,
                                                               NULL));
    }
}


static ngx_http_rtbus_eio_error_e
ngx_http_rtbus_session_take(ngx_http_request_t *r, ngx_str_t *sid,
    ngx_str_t *body)
{
    ngx_http_rtbus_session_t   *s;
    ngx_http_rtbus_loc_conf_t  *rlcf;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    s = ngx_http_rtbus_session_find(rlcf->bus->worker, sid);

    if (s == NULL || s->poll.post == NULL || s->poll.post->request != r) {
        /* it has ended meanwhile */
        return NGX_HTTP_RTBUS_EIO_SID;
    }

    ngx_http_rtbus_poll_body(&s->poll, body);

    return NGX_HTTP_RTBUS_EIO_OK;
}


/*
 * The owner is asked to do what the request wants.  What it cannot know of the
 * request goes along: who it is from and, for CONNECT packets, what they are
 * granted.
 */

static ngx_http_rtbus_eio_error_e
ngx_http_rtbus_session_relay(ngx_http_request_t *r, ngx_str_t *sid,
    ngx_str_t *body)
{
    ngx_str_t                    owner;
    ngx_msec_t                   ms;
    ngx_http_rtbus_text_t        text;
    ngx_http_rtbus_relay_t      *relay;
    ngx_http_rtbus_relayed_t    *relayed;
    ngx_http_rtbus_loc_conf_t   *rlcf;
    ngx_http_rtbus_poll_call_t  *call;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);
    relay = rlcf->bus->worker->relay;

    relayed = ngx_pcalloc(r->pool, sizeof(ngx_http_rtbus_relayed_t));
    if (relayed == NULL) {
        return NGX_HTTP_RTBUS_EIO_AWAY;
    }

    call = ngx_http_rtbus_poll_create(r);
    if (call == NULL) {
        return NGX_HTTP_RTBUS_EIO_AWAY;
    }

    relayed->call = call;
    relayed->worker = rlcf->bus->worker;
    relayed->poll = (body == NULL);
    ngx_memcpy(relayed->sid, sid->data, NGX_HTTP_RTBUS_SESSION_ID);

    ngx_http_rtbus_relay_begin(relay, &text, body ? "post" : "get");

    if (ngx_http_rtbus_session_describe(r, sid, &text) != NGX_OK) {
        ngx_http_rtbus_text_free(&text);
        return NGX_HTTP_RTBUS_EIO_AWAY;
    }

    if (body) {

        if (rtbus_utf8_check(RTBUS_UTF8_ACCEPT, body->data, body->len)
            != RTBUS_UTF8_ACCEPT)
        {
            /* JSON cannot say it; an empty one is refused as well */
            body->len = 0;
        }

        ngx_http_rtbus_session_grants(r, body, &text);
        ngx_http_rtbus_text_lit(&text, ",\"body\":");
        ngx_http_rtbus_text_quote(&text, body->data, body->len);

        ms = NGX_HTTP_RTBUS_SESSION_POST;

    } else {
        ms = rlcf->ping_interval + rlcf->ping_timeout
             + NGX_HTTP_RTBUS_SESSION_POST;
    }

    owner.data = sid->data;
    owner.len = NGX_RTBUS_MAILBOX_ID_LEN;

    relayed->ask = ngx_http_rtbus_relay_ask(relay, &owner, &text, ms,
                                            ngx_http_rtbus_session_answered,
                                            relayed);
    if (relayed->ask == NULL) {
        return NGX_HTTP_RTBUS_EIO_AWAY;
    }

    relayed->ref = ngx_http_rtbus_relay_ref(relayed->ask);

    call->abort = ngx_http_rtbus_session_abort;
    call->data = relayed;

    if (relayed->poll) {
        ngx_queue_insert_tail(&relayed->worker->relayed, &relayed->queue);

        if (relayed->worker->draining) {
            ngx_http_rtbus_session_tell(relayed, "flush");
            ngx_http_rtbus_relay_hurry(relayed->ask,
                                       NGX_HTTP_RTBUS_SESSION_FLUSH);
        }
    }

    if (ngx_http_rtbus_poll_wait(call) != NGX_DONE) {
        return NGX_HTTP_RTBUS_EIO_AWAY;
    }

    return NGX_HTTP_RTBUS_EIO_OK;
}


/* only so many are looked at: each may cost a check of its token */

static void
ngx_http_rtbus_session_grants(ngx_http_request_t *r, ngx_str_t *body,
    ngx_http_rtbus_text_t *text)
{
    ngx_uint_t                  n;
    const u_char               *pos;
    rtbus_eio_packet_t          packet;
    ngx_http_rtbus_loc_conf_t  *rlcf;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    ngx_http_rtbus_text_lit(text, ",\"grants\":[null");

    n = rlcf->namespaces->nelts;
    pos = body->data;

    while (n
           && body->len
           && rtbus_eio_next(&packet, &pos, body->data + body->len)
              == RTBUS_OK)
    {
        if (packet.type == RTBUS_EIO_MESSAGE
            && rlcf->bus->worker->eio->grant(r, packet.data.data,
                                             packet.data.len, text)
               == NGX_OK)
        {
            n--;
        }
    }

    ngx_http_rtbus_text_lit(text, "]");
}


static void
ngx_http_rtbus_session_answered(void *data, ngx_int_t rc, rtbus_str_t *answer)
{
    ngx_http_rtbus_relayed_t *relayed = data;

    size_t                       len;
    u_char                      *p;
    uint64_t                     error;
    rtbus_json_member_t          m[] = { rtbus_json_member("error"),
                                         rtbus_json_member("text") };
    ngx_http_rtbus_text_t        text, *body;
    ngx_http_rtbus_poll_call_t  *call;

    call = relayed->call;
    call->abort = NULL;
    relayed->ask = NULL;

    if (relayed->poll) {
        ngx_queue_remove(&relayed->queue);
    }

    if (rc != NGX_OK) {
        call->answer(call, rc == NGX_DECLINED ? NGX_HTTP_RTBUS_EIO_SID
                                              : NGX_HTTP_RTBUS_EIO_AWAY, NULL);
        return;
    }

    body = NULL;

    rtbus_json_members(answer, m, 2);

    if (rtbus_json_uint(&m[0].value.raw, &error) != RTBUS_OK
        || error > NGX_HTTP_RTBUS_EIO_OK)
    {
        error = NGX_HTTP_RTBUS_EIO_AWAY;
    }

    if (m[1].value.type == RTBUS_JSON_STRING) {
        ngx_http_rtbus_text_init(&text, relayed->worker->relay->log);

        len = rtbus_json_unquote(NULL, &m[1].value.raw);
        p = ngx_http_rtbus_text_reserve(&text, len + 1);

        if (p) {
            text.len = rtbus_json_unquote(p, &m[1].value.raw);
            body = &text;

        } else {
            error = NGX_HTTP_RTBUS_EIO_AWAY;
        }
    }

    if (relayed->poll && body) {
        call->abort = ngx_http_rtbus_session_written;
    }

    call->answer(call, error, body);
}


/*
 * The client is gone.  If the owner has answered already the answer is lost, and
 * so is the session.
 */

static void
ngx_http_rtbus_session_abort(ngx_http_rtbus_poll_call_t *call)
{
    ngx_http_rtbus_relayed_t  *relayed;

    relayed = call->data;
    call->abort = NULL;

    if (relayed->poll) {
        ngx_queue_remove(&relayed->queue);
        ngx_http_rtbus_session_tell(relayed, "abort");
    }

    ngx_http_rtbus_relay_cancel(relayed->ask);
}


/* the owner may go on with the next poll, wherever that will come from */

static void
ngx_http_rtbus_session_written(ngx_http_rtbus_poll_call_t *call)
{
    ngx_connection_t  *c;

    c = call->request->connection;

    ngx_http_rtbus_session_tell(call->data, c->error || c->timedout
                                            ? "abort" : "done");
}


/* says something about a poll that waits, or has its answer */

static void
ngx_http_rtbus_session_tell(ngx_http_rtbus_relayed_t *relayed,
    const char *kind)
{
    ngx_str_t                owner;
    ngx_http_rtbus_text_t    text;
    ngx_http_rtbus_relay_t  *relay;

    relay = relayed->worker->relay;

    ngx_http_rtbus_relay_begin(relay, &text, kind);

    ngx_http_rtbus_text_lit(&text, ",\"id\":");
    ngx_http_rtbus_text_quote(&text, relayed->sid, NGX_HTTP_RTBUS_SESSION_ID);

    owner.data = relayed->sid;
    owner.len = NGX_RTBUS_MAILBOX_ID_LEN;

    ngx_http_rtbus_relay_refer(relay, &text, relayed->ref);

    (void) ngx_http_rtbus_relay_tell(relay, &owner, &text, NULL, NULL);
}


/* the worker leaves: clients are to ask another one, with nothing lost */

static void
ngx_http_rtbus_session_drain(ngx_http_rtbus_worker_t *worker)
{
    ngx_queue_t               *q;
    ngx_http_rtbus_relayed_t  *relayed;

    for (q = ngx_queue_head(&worker->relayed);
         q != ngx_queue_sentinel(&worker->relayed);
         q = ngx_queue_next(q))
    {
        relayed = ngx_queue_data(q, ngx_http_rtbus_relayed_t, queue);

        ngx_http_rtbus_session_tell(relayed, "flush");
        ngx_http_rtbus_relay_hurry(relayed->ask, NGX_HTTP_RTBUS_SESSION_FLUSH);
    }
}


/* answers may have been lost: clients are to ask again, or to begin anew */

static void
ngx_http_rtbus_session_lost(ngx_http_rtbus_worker_t *worker)
{
    ngx_queue_t               *q;
    ngx_http_rtbus_relayed_t  *relayed;

    for (q = ngx_queue_head(&worker->relayed);
         q != ngx_queue_sentinel(&worker->relayed);
         q = ngx_queue_next(q))
    {
        relayed = ngx_queue_data(q, ngx_http_rtbus_relayed_t, queue);

        if (ngx_http_rtbus_relay_stale(relayed->ask)) {
            ngx_http_rtbus_session_tell(relayed, "lost");
        }
    }
}


/* the owner may have lost some: those that it does not know are to end */

static void
ngx_http_rtbus_session_ask_after(ngx_http_rtbus_worker_t *worker)
{
    ngx_queue_t               *q;
    ngx_http_rtbus_relayed_t  *relayed;

    for (q = ngx_queue_head(&worker->relayed);
         q != ngx_queue_sentinel(&worker->relayed);
         q = ngx_queue_next(q))
    {
        relayed = ngx_queue_data(q, ngx_http_rtbus_relayed_t, queue);

        if (ngx_http_rtbus_relay_doubtful(relayed->ask)) {
            ngx_http_rtbus_session_tell(relayed, "still");
        }
    }
}


/* what other workers ask us */

static void
ngx_http_rtbus_session_asked(ngx_http_rtbus_worker_t *worker,
    ngx_str_t *kind, rtbus_str_t *message, ngx_http_rtbus_relay_from_t *from)
{
    ngx_str_t                    sid, user, place;
    ngx_pool_t                  *pool;
    rtbus_json_member_t          m[] = { rtbus_json_member("id"),
                                         rtbus_json_member("user"),
                                         rtbus_json_member("place"),
                                         rtbus_json_member("body"),
                                         rtbus_json_member("grants"),
                                         rtbus_json_member("answer") };
    ngx_http_rtbus_session_t    *s;
    ngx_http_rtbus_eio_error_e   error;

    rtbus_json_members(message, m, 6);

    if (ngx_http_rtbus_relay_is(kind, "sure")) {
        ngx_http_rtbus_session_waits(worker, &m[5].value, from);
        return;
    }

    if (m[0].value.type != RTBUS_JSON_STRING) {
        return;
    }

    sid.data = m[0].value.raw.data + 1;
    sid.len = m[0].value.raw.len - 2;

    s = ngx_http_rtbus_session_find(worker, &sid);

    if (ngx_http_rtbus_relay_is(kind, "abort")
        || ngx_http_rtbus_relay_is(kind, "flush")
        || ngx_http_rtbus_relay_is(kind, "lost")
        || ngx_http_rtbus_relay_is(kind, "still")
        || ngx_http_rtbus_relay_is(kind, "done"))
    {
        if (s) {
            ngx_http_rtbus_session_settle(s, kind, from);

        } else if (kind->data[0] == 'l' || kind->data[0] == 's') {
            ngx_http_rtbus_relay_refuse(worker->relay, from,
                                        NGX_HTTP_RTBUS_EIO_SID);
        }

        return;
    }

    if (s == NULL) {
        ngx_http_rtbus_relay_refuse(worker->relay, from,
                                    NGX_HTTP_RTBUS_EIO_SID);
        return;
    }

    if (ngx_http_rtbus_upgrade_told(s, kind, message, from) == NGX_OK) {
        return;
    }

    error = NGX_HTTP_RTBUS_EIO_AWAY;

    pool = ngx_create_pool(1024, worker->relay->log);

    if (pool) {
        if (ngx_http_rtbus_text_debase64(pool, &user, &m[1].value) == NGX_OK
            && ngx_http_rtbus_text_debase64(pool, &place, &m[2].value)
               == NGX_OK)
        {
            error = ngx_http_rtbus_session_check(s, &user, &place);
        }

        ngx_destroy_pool(pool);
    }

    if (error == NGX_HTTP_RTBUS_EIO_OK
        && ngx_http_rtbus_relay_is(kind, "upgrade"))
    {
        error = ngx_http_rtbus_upgrade_asked(s, from);

        ngx_http_rtbus_relay_refuse(worker->relay, from, error);
        return;
    }

    if (error == NGX_HTTP_RTBUS_EIO_OK) {
        error = ngx_http_rtbus_session_remote(worker, s,
                                  ngx_http_rtbus_relay_is(kind, "post")
                                  ? &m[3].value : NULL,
                                  &m[4].value, from);
    }

    if (error != NGX_HTTP_RTBUS_EIO_OK) {
        ngx_http_rtbus_relay_refuse(worker->relay, from, error);
    }
}


/* body NULL: a poll */

static ngx_http_rtbus_eio_error_e
ngx_http_rtbus_session_remote(ngx_http_rtbus_worker_t *worker,
    ngx_http_rtbus_session_t *s, rtbus_json_value_t *body,
    rtbus_json_value_t *grants, ngx_http_rtbus_relay_from_t *from)
{
    size_t                    len;
    u_char                   *p;
    ngx_int_t                 rc;
    ngx_http_rtbus_remote_t  *remote;

    len = 0;

    if (body) {
        if (body->type != RTBUS_JSON_STRING
            || grants->type != RTBUS_JSON_ARRAY)
        {
            return NGX_HTTP_RTBUS_EIO_REQUEST;
        }

        len = body->raw.len + grants->raw.len;
    }

    remote = ngx_alloc(sizeof(ngx_http_rtbus_remote_t) + len, &s->log);
    if (remote == NULL) {
        return NGX_HTTP_RTBUS_EIO_AWAY;
    }

    ngx_memzero(remote, sizeof(ngx_http_rtbus_remote_t));

    remote->call.answer = ngx_http_rtbus_session_answer;
    remote->worker = worker;
    remote->from = *from;
    remote->poll = (body == NULL);
    ngx_memcpy(remote->sid, s->sid, NGX_HTTP_RTBUS_SESSION_ID);

    s->used = 1;

    if (body) {
        rc = ngx_http_rtbus_poll_post(&s->poll, &remote->call);

    } else {
        ngx_http_rtbus_session_doubt(s, from);
        ngx_http_rtbus_session_polled(s);

        rc = ngx_http_rtbus_poll_get(&s->poll, &remote->call);
    }

    if (rc != NGX_OK) {
        ngx_free(remote);

        return (rc == NGX_DECLINED) ? NGX_HTTP_RTBUS_EIO_SID
                                    : NGX_HTTP_RTBUS_EIO_REQUEST;
    }

    if (body) {
        remote->body.data = remote->data;
        remote->body.len = rtbus_json_unquote(remote->data, &body->raw);

        p = remote->data + remote->body.len;

        remote->grants.data = p;
        remote->grants.len = grants->raw.len;
        ngx_memcpy(p, grants->raw.data, grants->raw.len);

        /* the first one is for the comma's sake */

        s->grant = NULL;
        (void) ngx_http_rtbus_session_grant(&s->poll.carrier, NULL);

        ngx_http_rtbus_poll_body(&s->poll, &remote->body);

    } else {
        ngx_http_rtbus_upgrade_hurry(s);
    }

    return NGX_HTTP_RTBUS_EIO_OK;
}


ngx_int_t
ngx_http_rtbus_session_grant(ngx_http_rtbus_carrier_t *car,
    rtbus_json_value_t *value)
{
    rtbus_json_value_t         next;
    ngx_http_rtbus_remote_t   *remote;
    ngx_http_rtbus_session_t  *s;

    s = (ngx_http_rtbus_session_t *) car;

    remote = (ngx_http_rtbus_remote_t *) s->poll.post;

    if (rtbus_json_next(value ? value : &next, &s->grant, &remote->grants)
        != RTBUS_OK)
    {
        return NGX_DECLINED;
    }

    return NGX_OK;
}


/*
 * A poll that waits is over: its client is gone ("abort"), or is to ask again
 * ("flush"), also if it has not come ("lost"), or has its answer ("done").  If
 * it was answered "abort" says that the answer has not arrived, and "lost" that
 * it may not have.  "still" asks no more than whether it has come.
 */

static void
ngx_http_rtbus_session_settle(ngx_http_rtbus_session_t *s, ngx_str_t *kind,
    ngx_http_rtbus_relay_from_t *from)
{
    ngx_http_rtbus_remote_t  *remote;

    remote = (ngx_http_rtbus_remote_t *) s->poll.get;

    if (remote && remote->call.request == NULL
        && ngx_http_rtbus_relay_same(&remote->from, from))
    {
        if (ngx_http_rtbus_relay_is(kind, "abort")) {
            remote->call.abort(&remote->call);
            ngx_free(remote);

        } else if (!ngx_http_rtbus_relay_is(kind, "still")) {
            ngx_http_rtbus_poll_noop(&s->poll);
        }

        return;
    }

    if (ngx_http_rtbus_relay_is(kind, "flush")) {
        return;
    }

    if (ngx_http_rtbus_relay_is(kind, "done")) {

        if (ngx_http_rtbus_relay_same(&s->answered, from)) {
            ngx_http_rtbus_session_sure(s);
        }

        return;
    }

    if (ngx_http_rtbus_relay_is(kind, "lost")
        || ngx_http_rtbus_relay_is(kind, "still"))
    {
        if (!ngx_http_rtbus_relay_same(&s->answered, from)) {
            ngx_http_rtbus_relay_refuse(s->poll.carrier.worker->relay, from,
                                        NGX_HTTP_RTBUS_EIO_SID);

        } else if (!s->sure && s->doubt == NULL) {
            /* or the answer has just been on its way */
            ngx_http_rtbus_session_verify(s);
        }

        return;
    }

    if (ngx_http_rtbus_relay_same(&s->answered, from)) {
        ngx_http_rtbus_carrier_close(&s->poll.carrier, RTBUS_WS_INTERNAL,
                                     "answer of a poll is lost");
    }
}


static void
ngx_http_rtbus_session_answer(ngx_http_rtbus_poll_call_t *call,
    ngx_http_rtbus_eio_error_e error, ngx_http_rtbus_text_t *text)
{
    ngx_str_t                  sid;
    ngx_http_rtbus_text_t      answer;
    ngx_http_rtbus_relay_t    *relay;
    ngx_http_rtbus_remote_t   *remote;
    ngx_http_rtbus_session_t  *s;

    remote = (ngx_http_rtbus_remote_t *) call;

    relay = remote->worker->relay;

    if (text == NULL) {
        ngx_http_rtbus_relay_refuse(remote->worker->relay, &remote->from,
                                    error);
        ngx_free(remote);
        return;
    }

    sid.data = remote->sid;
    sid.len = NGX_HTTP_RTBUS_SESSION_ID;

    s = ngx_http_rtbus_session_find(remote->worker, &sid);

    if (s) {
        s->answered = remote->from;
        s->sure = 0;
    }

    ngx_http_rtbus_relay_begin(relay, &answer, "answer");

    ngx_http_rtbus_text_lit(&answer, ",\"error\":");
    ngx_http_rtbus_text_number(&answer, error);
    ngx_http_rtbus_text_lit(&answer, ",\"text\":");
    ngx_http_rtbus_text_quote(&answer, text->data, text->len);

    ngx_http_rtbus_text_free(text);

    if (ngx_http_rtbus_relay_answer(relay, &remote->from, &answer,
                                    ngx_http_rtbus_session_delivered, remote)
        != NGX_OK)
    {
        ngx_http_rtbus_session_delivered(remote, NULL);
    }
}


/* an answer that reached nobody leaves a hole: better no session than that */

static void
ngx_http_rtbus_session_delivered(void *data, redisReply *reply)
{
    ngx_http_rtbus_remote_t *remote = data;

    ngx_str_t                  sid;
    ngx_http_rtbus_session_t  *s;

    if (reply == NULL || reply->type != REDIS_REPLY_INTEGER
        || reply->integer == 0)
    {
        /* who waits for it asks after it */

        remote->worker->relay->failures++;

        sid.data = remote->sid;
        sid.len = NGX_HTTP_RTBUS_SESSION_ID;

        s = ngx_http_rtbus_session_find(remote->worker, &sid);

        if (s) {
            ngx_http_rtbus_carrier_close(&s->poll.carrier, RTBUS_WS_INTERNAL,
                                         "answer of a poll is lost");
        }
    }

    ngx_free(remote);
}


/*
 * A poll has come, from that worker or from a client of ours, and the answer to
 * the one before went to another worker, which has not said yet that it is done.
 * Has it died meanwhile, then this one is a browser's or a proxy's second try,
 * and what it would get is behind a hole.  That Redis has handed the answer on
 * does not say that it has arrived.
 */

static void
ngx_http_rtbus_session_doubt(ngx_http_rtbus_session_t *s,
    ngx_http_rtbus_relay_from_t *from)
{
    if (s->answered.ref == 0 || s->sure || s->doubt || s->poll.carrier.closing
        || (from && ngx_memcmp(from->from, s->answered.from,
                               NGX_RTBUS_MAILBOX_ID_LEN)
                    == 0))
    {
        return;
    }

    ngx_http_rtbus_session_verify(s);
}


static void
ngx_http_rtbus_session_verify(ngx_http_rtbus_session_t *s)
{
    ngx_str_t                id;
    ngx_http_rtbus_text_t    text;
    ngx_http_rtbus_relay_t  *relay;

    relay = s->poll.carrier.worker->relay;

    id.len = NGX_RTBUS_MAILBOX_ID_LEN;
    id.data = s->answered.from;

    ngx_http_rtbus_relay_begin(relay, &text, "sure");
    ngx_http_rtbus_text_lit(&text, ",\"answer\":");
    ngx_http_rtbus_text_number(&text, s->answered.ref);

    s->doubt = ngx_http_rtbus_relay_ask(relay, &id, &text,
                                        NGX_HTTP_RTBUS_SESSION_SURE,
                                        ngx_http_rtbus_session_doubted, s);

    s->poll.unsure = 1;

    if (s->doubt == NULL) {
        ngx_http_rtbus_carrier_close(&s->poll.carrier, RTBUS_WS_INTERNAL,
                                     "answer of a poll may be lost");
    }
}


static void
ngx_http_rtbus_session_doubted(void *data, ngx_int_t rc, rtbus_str_t *answer)
{
    ngx_http_rtbus_session_t *s = data;

    uint64_t             waits;
    rtbus_json_member_t  m[] = { rtbus_json_member("waits") };

    s->doubt = NULL;

    waits = 1;

    if (rc == NGX_OK) {
        rtbus_json_members(answer, m, 1);

        if (rtbus_json_uint(&m[0].value.raw, &waits) != RTBUS_OK) {
            waits = 1;
        }
    }

    if (waits) {
        ngx_http_rtbus_relay_refuse(s->poll.carrier.worker->relay,
                                    &s->answered, NGX_HTTP_RTBUS_EIO_SID);

        ngx_http_rtbus_carrier_close(&s->poll.carrier, RTBUS_WS_INTERNAL,
                                     "answer of a poll is lost");
        return;
    }

    ngx_http_rtbus_session_sure(s);
}


static void
ngx_http_rtbus_session_sure(ngx_http_rtbus_session_t *s)
{
    if (s->doubt) {
        ngx_http_rtbus_relay_cancel(s->doubt);
        s->doubt = NULL;
    }

    s->sure = 1;
    s->poll.unsure = 0;

    if (s->poll.get) {
        ngx_http_rtbus_upgrade_hurry(s);

        if (s->poll.carrier.first) {
            ngx_http_rtbus_carrier_mark(&s->poll.carrier);
        }
    }
}


/* does one of ours still wait for that answer */

static void
ngx_http_rtbus_session_waits(ngx_http_rtbus_worker_t *worker,
    rtbus_json_value_t *ref, ngx_http_rtbus_relay_from_t *from)
{
    uint64_t               n;
    ngx_http_rtbus_text_t  text;

    if (rtbus_json_uint(&ref->raw, &n) != RTBUS_OK) {
        return;
    }

    ngx_http_rtbus_relay_begin(worker->relay, &text, "answer");

    ngx_http_rtbus_text_lit(&text, ",\"waits\":");
    ngx_http_rtbus_text_number(&text,
                               ngx_http_rtbus_relay_waits(worker->relay, n));

    (void) ngx_http_rtbus_relay_answer(worker->relay, from, &text, NULL, NULL);
}


ngx_http_rtbus_eio_error_e
ngx_http_rtbus_session_lookup(ngx_http_request_t *r, ngx_str_t *sid,
    ngx_http_rtbus_session_t **s)
{
    ngx_str_t                   user, place;
    ngx_http_rtbus_loc_conf_t  *rlcf;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    *s = ngx_http_rtbus_session_find(rlcf->bus->worker, sid);

    if (*s == NULL) {
        return NGX_HTTP_RTBUS_EIO_SID;
    }

    if (ngx_http_rtbus_session_user(r, &user) != NGX_OK
        || ngx_http_rtbus_session_place(r, &place) != NGX_OK)
    {
        return NGX_HTTP_RTBUS_EIO_AWAY;
    }

    return ngx_http_rtbus_session_check(*s, &user, &place);
}


ngx_int_t
ngx_http_rtbus_session_describe(ngx_http_request_t *r, ngx_str_t *sid,
    ngx_http_rtbus_text_t *text)
{
    ngx_str_t  user, place;

    if (ngx_http_rtbus_session_user(r, &user) != NGX_OK
        || ngx_http_rtbus_session_place(r, &place) != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_http_rtbus_text_lit(text, ",\"id\":");
    ngx_http_rtbus_text_quote(text, sid->data, sid->len);
    ngx_http_rtbus_text_lit(text, ",\"user\":");
    ngx_http_rtbus_text_base64(text, &user);
    ngx_http_rtbus_text_lit(text, ",\"place\":");
    ngx_http_rtbus_text_base64(text, &place);

    return NGX_OK;
}


ngx_uint_t
ngx_http_rtbus_session_ours(ngx_http_rtbus_worker_t *worker, ngx_str_t *sid)
{
    return ngx_memcmp(worker->hub.mailbox.id.data, sid->data,
                      NGX_RTBUS_MAILBOX_ID_LEN)
           == 0;
}


ngx_http_rtbus_session_t *
ngx_http_rtbus_session_find(ngx_http_rtbus_worker_t *worker, ngx_str_t *sid)
{
    uint32_t         hash;
    ngx_str_node_t  *node;

    if (sid->len != NGX_HTTP_RTBUS_SESSION_ID) {
        return NULL;
    }

    hash = ngx_crc32_short(sid->data, sid->len);

    node = ngx_str_rbtree_lookup(&worker->sessions, sid, hash);

    return node ? ngx_rbtree_data(&node->node, ngx_http_rtbus_session_t,
                                  node.node)
                : NULL;
}


/* the user as this request alone says it, whatever CONNECT packets may bring */

static ngx_int_t
ngx_http_rtbus_session_user(ngx_http_request_t *r, ngx_str_t *user)
{
    ngx_http_rtbus_identity_t  id;

    if (ngx_http_rtbus_identify(r, NULL, &id) == NGX_ERROR) {
        return NGX_ERROR;
    }

    *user = id.user;

    return NGX_OK;
}


/* "<server name> <location>", the same on all nodes */

static ngx_int_t
ngx_http_rtbus_session_place(ngx_http_request_t *r, ngx_str_t *place)
{
    u_char                    *p;
    ngx_http_core_loc_conf_t  *clcf;
    ngx_http_core_srv_conf_t  *cscf;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);
    cscf = ngx_http_get_module_srv_conf(r, ngx_http_core_module);

    p = ngx_pnalloc(r->pool, cscf->server_name.len + 1 + clcf->name.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    place->data = p;
    place->len = ngx_sprintf(p, "%V %V", &cscf->server_name, &clcf->name) - p;

    return NGX_OK;
}


/* a sid is of use only to who has opened the session, where he has done so */

static ngx_http_rtbus_eio_error_e
ngx_http_rtbus_session_check(ngx_http_rtbus_session_t *s, ngx_str_t *user,
    ngx_str_t *place)
{
    if ((s->eio->pinged && ngx_http_rtbus_poll_due(&s->poll))
        || s->place.len != place->len
        || ngx_memcmp(s->place.data, place->data, place->len) != 0)
    {
        return NGX_HTTP_RTBUS_EIO_SID;
    }

    if (s->user.len != user->len
        || (user->len
            && CRYPTO_memcmp(s->user.data, user->data, user->len) != 0))
    {
        ngx_log_error(NGX_LOG_INFO, &s->log, 0,
                      "client sent the session id of another user");

        return NGX_HTTP_RTBUS_EIO_FORBIDDEN;
    }

    ngx_http_rtbus_upgrade_expire(s);

    return (s->leaving || s->upgraded) ? NGX_HTTP_RTBUS_EIO_REQUEST
                                       : NGX_HTTP_RTBUS_EIO_OK;
}


static ngx_int_t
ngx_http_rtbus_session_packet(ngx_http_rtbus_poll_t *poll,
    rtbus_eio_packet_t *packet)
{
    ngx_http_rtbus_session_t  *s;

    s = (ngx_http_rtbus_session_t *) poll;

    return ngx_http_rtbus_eio_packet(s->eio, packet);
}


static void
ngx_http_rtbus_session_timer(ngx_http_rtbus_poll_t *poll)
{
    ngx_msec_t                 interval;
    ngx_msec_int_t             left;
    ngx_http_rtbus_session_t  *s;

    s = (ngx_http_rtbus_session_t *) poll;

    interval = poll->carrier.conf->ping_interval;

    left = (ngx_msec_int_t) (s->eio->opened + interval - ngx_current_msec);

    if (left > 0) {

        /* the first request was waited for */

        if (!s->used) {
            ngx_http_rtbus_carrier_close(&poll->carrier, RTBUS_WS_INTERNAL,
                                         "session is not used");
            return;
        }

        poll->carrier.transport->timer(&poll->carrier, left);
        return;
    }

    ngx_http_rtbus_eio_timer(s->eio);
}


static u_char *
ngx_http_rtbus_session_log(ngx_log_t *log, u_char *buf, size_t len)
{
    u_char                    *p;
    ngx_http_rtbus_session_t  *s;

    p = buf;

    if (log->action) {
        p = ngx_snprintf(p, len, " while %s", log->action);
        len -= p - buf;
        buf = p;
    }

    s = log->data;

    return ngx_snprintf(p, len, ", client: %V, location: \"%V\"", &s->addr,
                        &s->place);
}


static void
ngx_http_rtbus_session_cleanup(void *data)
{
    ngx_http_rtbus_session_t  *s = data;

    ngx_http_rtbus_worker_t  *worker;

    ngx_http_rtbus_upgrade_cancel(s);

    if (s->doubt) {
        ngx_http_rtbus_relay_cancel(s->doubt);
    }

    worker = s->poll.carrier.worker;

    ngx_http_rtbus_session_left(s);

    ngx_rbtree_delete(&worker->sessions, &s->node.node);
    worker->nsessions--;
}
