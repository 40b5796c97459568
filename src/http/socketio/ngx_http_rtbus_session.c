
#include "ngx_http_rtbus_session.h"
#include "ngx_http_rtbus_reply.h"
#include "ngx_http_rtbus_request.h"
#include "ngx_http_rtbus_user.h"
#include <openssl/crypto.h>


/* bytes of a session's pool */
#define NGX_HTTP_RTBUS_SESSION_POOL   2048

/* ms for the first request after the one that opens */
#define NGX_HTTP_RTBUS_SESSION_FIRST  10000

/* ms that a poll may wait while there is a WebSocket */
#define NGX_HTTP_RTBUS_SESSION_NOOP   100


static ngx_int_t ngx_http_rtbus_session_room(ngx_http_rtbus_worker_t *worker);
static ngx_int_t ngx_http_rtbus_session_count(ngx_http_request_t *r,
    ngx_http_rtbus_session_t *s);
static void ngx_http_rtbus_session_evict(ngx_http_rtbus_session_t *s);
static void ngx_http_rtbus_session_unlist(ngx_http_rtbus_session_t *s);

static ngx_int_t ngx_http_rtbus_session_user(ngx_http_request_t *r,
    ngx_str_t *user);
static ngx_int_t ngx_http_rtbus_session_place(ngx_http_request_t *r,
    ngx_str_t *place);
static void ngx_http_rtbus_session_noop(ngx_event_t *ev);
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
    worker->sessions = ngx_pcalloc(cycle->pool,
                                   sizeof(ngx_http_rtbus_sessions_t));
    if (worker->sessions == NULL) {
        return NGX_ERROR;
    }

    ngx_rbtree_init(&worker->sessions->tree, &worker->sessions->sentinel,
                    ngx_str_rbtree_insert_value);

    ngx_queue_init(&worker->sessions->fresh);
    ngx_queue_init(&worker->sessions->idle);

    return ngx_http_rtbus_quota_init(worker, cycle);
}


void
ngx_http_rtbus_session_close(ngx_http_rtbus_worker_t *worker)
{
    ngx_rbtree_node_t         *node, *next;
    ngx_http_rtbus_session_t  *s;

    if (worker->sessions->tree.root == &worker->sessions->sentinel) {
        return;
    }

    for (node = ngx_rbtree_min(worker->sessions->tree.root,
                               &worker->sessions->sentinel);
         node;
         node = next)
    {
        next = ngx_rbtree_next(&worker->sessions->tree, node);
        s = ngx_rbtree_data(node, ngx_http_rtbus_session_t, node.node);

        /* the others have requests, which end as all requests do */

        if (s->poll.get == NULL && s->poll.post == NULL
            && (s->upgrade == NULL
                || s->state != NGX_HTTP_RTBUS_SESSION_UPGRADED))
        {
            ngx_http_rtbus_poll_done(&s->poll);
        }
    }
}


ngx_int_t
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

    if (worker->sessions->n >= ngx_cycle->connection_n
        && ngx_http_rtbus_session_room(worker) != NGX_OK)
    {
        if (worker->sessions->crowded != ngx_time()) {
            worker->sessions->crowded = ngx_time();

            ngx_log_error(NGX_LOG_WARN, log, 0,
                          "rtbus: %ui sessions are not enough, see "
                          "worker_connections", worker->sessions->n);
        }

        return ngx_http_rtbus_poll_reply(r, NGX_HTTP_RTBUS_EIO_AWAY, NULL);
    }

    if (ngx_http_rtbus_session_user(r, &user) != NGX_OK
        || ngx_http_rtbus_session_place(r, &place) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    pool = ngx_create_pool(NGX_HTTP_RTBUS_SESSION_POOL, ngx_cycle->log);
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
                                         NGX_RTBUS_REASON_SESSIONS, NULL, NULL);
    }

    s->node.node.key = ngx_crc32_short(s->sid, NGX_HTTP_RTBUS_SESSION_ID);

    ngx_rbtree_insert(&worker->sessions->tree, &s->node.node);
    worker->sessions->n++;

    cln->handler = ngx_http_rtbus_session_cleanup;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, &s->log, 0,
                   "rtbus session create \"%V\" sessions:%ui",
                   &s->node.str, worker->sessions->n);

    /* a flood of sessions that nobody uses is not kept for a ping's time */

    car->transport->timer(car, ngx_min(NGX_HTTP_RTBUS_SESSION_FIRST,
                                       car->conf->ping_interval));

    return ngx_http_rtbus_poll_reply(r, NGX_HTTP_RTBUS_EIO_OK, &text);

failed:

    ngx_destroy_pool(pool);

    return NGX_HTTP_INTERNAL_SERVER_ERROR;
}


/*
 * A client can open sessions without end.  So that others still get in, the
 * oldest session that was never polled gives way, or else one that is not in
 * use yet: NGX_OK, or NGX_DECLINED: there is none.
 */

static ngx_int_t
ngx_http_rtbus_session_room(ngx_http_rtbus_worker_t *worker)
{
    ngx_queue_t               *q;
    ngx_http_rtbus_session_t  *s;

    if (!ngx_queue_empty(&worker->sessions->fresh)) {
        q = ngx_queue_head(&worker->sessions->fresh);

        ngx_http_rtbus_session_evict(ngx_queue_data(q,
                                            ngx_http_rtbus_session_t, queue));
        return NGX_OK;
    }

    while (!ngx_queue_empty(&worker->sessions->idle)) {
        q = ngx_queue_head(&worker->sessions->idle);
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
 * Counts the session for its address and its user: NGX_OK, NGX_DECLINED: they
 * have too many, and each of these is polled; or NGX_ERROR.
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
                          "rtbus: client has too many sessions, %ui of its %s",
                          max, i == NGX_HTTP_RTBUS_QUOTA_ADDR ? "address"
                                                              : "user");
            return NGX_DECLINED;
        }

        q = ngx_queue_head(&quota->fresh);

        ngx_http_rtbus_session_evict(ngx_queue_data(q,
                                           ngx_http_rtbus_session_t, own[i]));
    }

    ngx_queue_insert_tail(&worker->sessions->fresh, &s->queue);

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
    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, &s->log, 0,
                   "rtbus session gives way, used:%d wanted:%d",
                   s->used, s->eio->wanted);

    ngx_http_rtbus_session_unlist(s);

    if (ngx_http_rtbus_carrier_closed(&s->poll.carrier)) {
        ngx_http_rtbus_poll_done(&s->poll);

    } else {
        ngx_http_rtbus_carrier_close(&s->poll.carrier, RTBUS_WS_INTERNAL,
                                     "session makes room for another one");
    }
}


/* a client takes what is sent to the session */

void
ngx_http_rtbus_session_polled(ngx_http_rtbus_session_t *s)
{
    if (!s->poll.carrier.quiet
        || ngx_http_rtbus_carrier_closing(&s->poll.carrier))
    {
        return;
    }

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, &s->log, 0,
                   "rtbus session is polled, wanted:%d", s->eio->wanted);

    ngx_http_rtbus_session_unlist(s);

    if (!s->eio->wanted) {
        ngx_queue_insert_tail(&s->poll.carrier.worker->sessions->idle,
                              &s->queue);
    }
}


/* the session gives way to no other from now on */

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

    node = ngx_str_rbtree_lookup(&worker->sessions->tree, sid, hash);

    return node ? ngx_rbtree_data(&node->node, ngx_http_rtbus_session_t,
                                  node.node)
                : NULL;
}


/* the user by this request alone, whatever tokens CONNECT packets may bring */

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


/* a sid is valid only for the user and at the location that opened it */

ngx_http_rtbus_eio_error_e
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
                      "rtbus: client sent the session id of another user");

        return NGX_HTTP_RTBUS_EIO_FORBIDDEN;
    }

    ngx_http_rtbus_session_expire(s);

    return (s->state >= NGX_HTTP_RTBUS_SESSION_LEAVING)
           ? NGX_HTTP_RTBUS_EIO_REQUEST : NGX_HTTP_RTBUS_EIO_OK;
}


/*
 * From the answer to the probe up to its "upgrade" the stock client must not
 * lose the WebSocket: it would wait for a ping, with neither transport.  So
 * neither of the two is sent away in between, should a worker leave.
 */

void
ngx_http_rtbus_session_state(ngx_http_rtbus_session_t *s,
    ngx_http_rtbus_session_state_e state)
{
    if (s->state == NGX_HTTP_RTBUS_SESSION_UPGRADED) {
        return;
    }

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, &s->log, 0,
                   "rtbus session state:%d>%d", s->state, state);

    s->state = state;

    if (state == NGX_HTTP_RTBUS_SESSION_POLLING) {
        s->poll.carrier.busy = 0;

    } else if (state == NGX_HTTP_RTBUS_SESSION_PROBED) {
        s->poll.carrier.busy = 1;
    }
}


void
ngx_http_rtbus_session_expire(ngx_http_rtbus_session_t *s)
{
    if (s->upgrader.ref
        && (ngx_msec_int_t) (ngx_current_msec - s->upgrade_until) > 0)
    {
        ngx_log_debug0(NGX_LOG_DEBUG_HTTP, &s->log, 0,
                       "rtbus session waits no longer for an upgrade");

        s->upgrader.ref = 0;
        ngx_http_rtbus_session_state(s, NGX_HTTP_RTBUS_SESSION_POLLING);
    }
}


/*
 * The client goes on over WebSocket once its poll is over.  A poll that comes
 * after the probe may have to wait for as long as the upgrade takes.  It is not
 * ended at once: what comes next may be the upgrade, and a client that polls
 * beside it is refused.
 */

void
ngx_http_rtbus_session_probed(ngx_http_rtbus_session_t *s)
{
    if (s->state != NGX_HTTP_RTBUS_SESSION_POLLING) {
        return;
    }

    ngx_http_rtbus_session_state(s, NGX_HTTP_RTBUS_SESSION_PROBED);

    s->noop.handler = ngx_http_rtbus_session_noop;
    s->noop.data = s;
    s->noop.log = &s->log;
    s->noop.cancelable = 1;

    if (s->poll.get) {
        ngx_add_timer(&s->noop, NGX_HTTP_RTBUS_SESSION_NOOP);
    }
}


void
ngx_http_rtbus_session_hurry(ngx_http_rtbus_session_t *s)
{
    ngx_http_rtbus_session_expire(s);

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, &s->log, 0,
                   "rtbus session has a poll that waits, state:%d", s->state);

    if (s->state == NGX_HTTP_RTBUS_SESSION_PROBED
        && !ngx_http_rtbus_carrier_closing(&s->poll.carrier))
    {
        ngx_add_timer(&s->noop, NGX_HTTP_RTBUS_SESSION_NOOP);
    }
}


static void
ngx_http_rtbus_session_noop(ngx_event_t *ev)
{
    ngx_http_rtbus_session_t  *s;

    s = ev->data;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, ev->log, 0,
                   "rtbus session ends a poll for the upgrade, waits:%d",
                   s->poll.get != NULL);

    ngx_http_rtbus_poll_noop(&s->poll);
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

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, &s->log, 0,
                   "rtbus session timer used:%d state:%d open:%M",
                   s->used, s->state, ngx_current_msec - s->eio->opened);

    left = (ngx_msec_int_t) (s->eio->opened + interval - ngx_current_msec);

    if (left > 0) {

        /* the session was given time for its first request */

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

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, &s->log, 0,
                   "rtbus session ends, state:%d doubt:%d",
                   s->state, s->doubt != NULL);

    if (s->noop.timer_set) {
        ngx_del_timer(&s->noop);
    }

    if (s->upgrade) {
        s->ends_handler(s);
    }

    if (s->doubt) {
        ngx_http_rtbus_relay_cancel(s->doubt);
    }

    worker = s->poll.carrier.worker;

    ngx_http_rtbus_session_left(s);

    ngx_rbtree_delete(&worker->sessions->tree, &s->node.node);
    worker->sessions->n--;
}
